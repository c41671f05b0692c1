//! A service over `SpoolProcessor` that forks with a buffer that is full.

use std::process;

use fork::Fork;

use super::{NEVER, exporter};
use crate::child::say;
use crate::children::processor::service;

pub(crate) fn main() {
    let service =
        service(exporter(), |it| it.with_commit_delay(NEVER).with_max_buffer_bytes(100_000).with_max_wait(NEVER));
    service.log("of the parent");
    match fork::fork().expect("a process") {
        Fork::Child => {
            // More than there is room for.
            service.log_all("copy", 1..=1_000);
            for refused in [service.provider.force_flush(), service.provider.shutdown()] {
                let error = refused.expect_err("a copy keeps nothing").to_string();
                assert!(error.contains("forked"), "{error}");
            }
            drop(service);
            process::exit(0);
        }
        Fork::Parent(child) => {
            let status = fork::waitpid(child).expect("the child ends");
            service.deliver();
            say(&format!("ended {status}"));
        }
    }
}
