//! The ground that the tests stand on: a scripted server, a service that logs, a child process to kill.

// Nobody but the tests beside it uses this.
#![allow(missing_docs)]
// A helper that cannot do its work fails the test.
#![allow(clippy::missing_errors_doc, clippy::missing_panics_doc, clippy::new_without_default)]

mod certificates;
mod child;
pub mod children;
mod disk;
mod filesystem;
mod judges;
mod program;
mod progress;
mod receiver;
mod service;
mod spool_files;
#[cfg(target_os = "linux")]
mod terminal;
mod variables;
mod wire;

pub use certificates::Authority;
pub use child::{Child, emulated, settings};
pub use disk::{Disk, Stall, run, skip};
pub use filesystem::{FileSystem, Kind, Mount, fill};
pub use judges::{Judge, Ledger, Record, Ruling};
#[cfg(target_os = "linux")]
pub use program::without_privileges;
pub use program::{Program, ask, free_port, wait_for_port};
pub use progress::{AT_MOST, PATIENCE, Progress, wait_for};
pub use receiver::{Answer, Log, Receiver, Request};
pub use service::{
    Careless, Returned, Service, by_tenant, check_runs, export, exporter, exporter_to, flush, impatient, in_time, name,
    names, noise, patient,
};
pub use spool_files::{files_with, list, parts_of, queues, segments, with_signal};
#[cfg(target_os = "linux")]
pub use terminal::Terminal;
pub use variables::{proptest_config, seed, variable};
pub use wire::{Head, Heard, Wire, WireServer};

/// An error with its causes.
pub fn in_words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// A directory for a spool, removed when dropped.
pub fn spool_dir() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("opentelemetry-spool-test-").tempdir().expect("a temporary directory")
}
