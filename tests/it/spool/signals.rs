//! Queues of other signals beside those of logs.

use std::fs;
use std::path::{Path, PathBuf};

use common::{Receiver, Service, exporter, names, parts_of, spool_dir, wait_for, with_signal};

/// The directories of the queues of a signal.
fn queues(spool: &Path, signal: &str) -> Vec<PathBuf> {
    common::queues(spool).into_iter().filter(|queue| parts_of(queue)[1] == signal).collect()
}

/// A queue that an exporter left that is gone.
fn left(receiver: &Receiver, spool: &Path, prefix: &str) -> PathBuf {
    let service = Service::careless(exporter(receiver, spool));
    service.handle.pause();
    service.log_all(prefix, 1..=10);
    drop(service);
    queues(spool, "logs").remove(0)
}

#[test]
fn a_log_exporter_alone_never_delivers_what_a_dead_exporter_of_traces_has_left() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    for _ in 0..2 {
        let queue = left(&receiver, spool.path(), "spans");
        fs::rename(&queue, with_signal(&queue, "traces")).expect("a queue that can be renamed");
    }
    left(&receiver, spool.path(), "left");
    let second = Service::careless(exporter(&receiver, &spool));
    let service = Service::careless(exporter(&receiver, &spool));
    service.log_all("m", 1..=10);
    // It is given up by its owner, so that the other one looks for queues to adopt.
    second.handle.pause();
    second.log_all("second", 1..=10);
    drop(second);
    let mut delivered = receiver.wait_for_records(30);
    delivered.sort_unstable();
    assert_eq!(delivered, [names("left", 1..=10), names("m", 1..=10), names("second", 1..=10)].concat());
    service.deliver();
    drop(service);

    assert_eq!(receiver.delivered().len(), 30);
    wait_for("the queues of logs to be deleted", || queues(spool.path(), "logs").is_empty().then_some(()));
    assert_eq!(queues(spool.path(), "traces").len(), 2);
}
