//! Tests through the public API, in the folders of what they are about: those of `src`.
//!
//! Tests that take a process of their own are in `host`, and services to be killed in `common/children`.

#[cfg(all(unix, feature = "config-file", feature = "gzip-http", feature = "otlp", feature = "relay", feature = "tls"))]
mod config;
mod delivery;
mod docs;
mod encode;
mod exporter;
mod observe;
mod spool;
mod transport;

#[cfg(feature = "cli")]
mod cli;
#[cfg(all(unix, feature = "gzip-http", feature = "otlp", feature = "tls"))]
mod receivers;
#[cfg(feature = "cli")]
mod relay;
mod soak;

/// The helper program.
const CHILD: &str = env!("CARGO_BIN_EXE_spool-test-child");
