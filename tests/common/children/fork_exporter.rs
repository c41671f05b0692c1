//! A service that forks before or after it has built an exporter, and logs in both processes.

use std::process;

use fork::Fork;
use opentelemetry_spool::{ExporterBuildError, FlushError, SpoolError, SpoolHandle};

use super::{NEVER, exporter};
use crate::child::{commands, say};
use crate::service::{Returned, Service};

pub(crate) fn main() {
    let open = || Service::candid(exporter());
    let log = |(service, returned): &(Service, Returned), message: &str| {
        service.log(message);
        std::mem::replace(&mut *returned.lock().unwrap(), Ok(()))
    };
    let deliver = |message: &str| {
        let built = open().expect("an exporter");
        log(&built, message).expect("a record is accepted");
        built.0.flush();
    };
    say("ready");
    let built_before = commands().next().is_some_and(|when| when == "after");
    let built = built_before.then(|| open().expect("an exporter"));
    match fork::fork().expect("a process") {
        Fork::Child => {
            if let Some(built) = built {
                let refused = log(&built, "of the copy").expect_err("a copy accepts nothing").to_string();
                assert!(refused.contains("forked"), "{refused}");
                expect_refusals(&built.0.handle);
                drop(built);
                let Err(ExporterBuildError::Spool(SpoolError::Forked)) = open() else { panic!("that would hang") };
            } else {
                deliver("of the child");
            }
            process::exit(0);
        }
        Fork::Parent(child) => {
            deliver("of the parent");
            let status = fork::waitpid(child).expect("the child ends");
            if let Some(built) = built {
                log(&built, "after the child").expect("a record is accepted");
                built.0.flush();
            }
            say(&format!("ended {status}"));
        }
    }
}

/// What a copy of a handle says, at once: nothing that it could wait for is in this process.
fn expect_refusals(handle: &SpoolHandle) {
    assert_eq!(handle.flush(NEVER), Err(FlushError::Forked));
    assert!(matches!(handle.rejected(), Err(SpoolError::Forked)));
    let confirmed = handle.checkpoint().confirm(|| -> Result<(), SpoolError> { panic!("a flush that would wait") });
    let source = confirmed.expect_err("a copy confirms nothing").source.expect("a cause");
    assert!(source.to_string().contains("forked"), "{source}");
    assert_eq!(handle.stats().in_flight_requests, 0);
}
