//! What the tests stand on: a scripted server, a service that logs, a child process to kill.

// Each test file is a program of its own and uses a part of this.
#![allow(dead_code, unreachable_pub, unused_imports)]
// What a helper cannot do is a failed test.
#![allow(clippy::missing_panics_doc)]

mod certificates;
mod child;
mod disk;
mod program;
mod receiver;
mod service;

pub use certificates::Authority;
pub use child::{Child, commands, end_with_the_parent, say, setting, settings};
pub use disk::{Disk, run, skip};
pub use program::{Program, ask, free_port, installed, wait_for, wait_for_port};
pub use receiver::{Answer, Log, PATIENCE, Receiver, Request};
pub use service::{
    Careless, Returned, Service, by_tenant, check_runs, export, exporter, exporter_to, impatient, in_time, name, names,
    noise, patient,
};

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
