mod client;
mod early;
mod early_answers;
#[cfg(all(feature = "relay", unix))]
mod files;
mod headers;
mod raw;
mod responses;
#[cfg(feature = "relay")]
mod sockets;
#[cfg(feature = "tls")]
mod tls;
mod words;

#[cfg(feature = "relay")]
use std::path::Path;

#[cfg(feature = "relay")]
use common::exporter_to;
#[cfg(feature = "relay")]
use opentelemetry_spool::{LogExporterBuilder, TextEncoder};

/// Exports records as they are, so that a file or a socket shows them.
#[cfg(feature = "relay")]
fn texts(endpoint: &str, spool: &Path) -> LogExporterBuilder {
    exporter_to(endpoint, spool).with_encoder(TextEncoder::new("{message}").expect("a template"))
}
