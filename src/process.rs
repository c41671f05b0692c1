//! Threads of this crate.

use std::io;
use std::thread::{Builder, JoinHandle};

use opentelemetry::Context;

/// Starts a thread on which telemetry is suppressed: what the storage engine and the HTTP client log there must not
/// come back as records to export.
pub(crate) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    Builder::new().name(format!("otel-spool-{name}")).spawn(move || {
        let _suppressed = Context::enter_telemetry_suppressed_scope();
        run();
    })
}
