//! The process that this crate is a guest in: its threads, its forks, and numbers that no other process draws.

use std::cell::Cell;
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

thread_local! {
    static IS_LOGGING: Cell<bool> = const { Cell::new(false) };
}

/// Says, as long as it lives, that this thread hands telemetry to the crate. Where a bridge does that, the thread is in the middle of an
/// event of `tracing`, and another one that begins there would be filtered as a part of it.
pub(crate) struct Logging(bool);

impl Logging {
    pub(crate) fn begin() -> Self {
        Self(IS_LOGGING.try_with(|is_logging| is_logging.replace(true)).unwrap_or(true))
    }

    /// Whether this thread does so now.
    pub(crate) fn is_here() -> bool {
        // A thread that ends hands over what is logged then.
        IS_LOGGING.try_with(Cell::get).unwrap_or(true)
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        let _ = IS_LOGGING.try_with(|is_logging| is_logging.set(self.0));
    }
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
