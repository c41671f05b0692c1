//! The process that this crate is a guest in: its threads, its forks, and numbers that no other process draws.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::OnceLock;
use std::thread::{Builder, JoinHandle};
use std::time::SystemTime;

use opentelemetry::Context;

use crate::error::SpoolError;

/// Starts a thread on which telemetry is suppressed: what the storage engine and the HTTP client log there must not
/// come back as records to export.
pub(crate) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    Builder::new().name(format!("otel-spool-{name}")).spawn(move || {
        let _suppressed = Context::enter_telemetry_suppressed_scope();
        run();
    })
}

/// An error if this process was forked from the one that first opened a database. Takes no lock: another thread may have
/// held it at that moment.
pub(crate) fn check_process() -> Result<(), SpoolError> {
    static PROCESS: OnceLock<u32> = OnceLock::new();
    let process = std::process::id();
    if *PROCESS.get_or_init(|| process) == process { Ok(()) } else { Err(SpoolError::Forked) }
}

/// A number unlike any other.
pub(crate) fn unique_number() -> u64 {
    // A forked child draws the same random state as its parent would: its process id makes the difference.
    RandomState::new().hash_one((std::process::id(), SystemTime::now()))
}
