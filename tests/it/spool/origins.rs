//! Two endpoints, one directory: records go to the endpoint that they were logged for, also after a crash.
//!
//! Exporters once adopted whatever lay in their directory. Of two services with different vendors, the one that went on delivered to
//! its own vendor what the other one had logged before it was killed.

use std::path::Path;
use std::process::Command;

use common::{Child, Receiver, Service, exporter, exporter_to, in_words, names, settings, spool_dir};
use opentelemetry_spool::{ExporterBuildError, SpoolError, SpoolStats};

use crate::CHILD;

/// A service of its own process, which logs 500 records and is killed.
fn killed(receiver: &Receiver, spool: &Path) {
    let mut child = Child::start(Command::new(CHILD), "service", settings(&receiver.url("/ingest"), spool));
    child.tell("log one 1 500");
    child.wait_for("accepted one 500");
    child.kill();
}

fn has_stranded(records: u64) -> impl Fn(&SpoolStats) -> bool {
    move |stats| stats.stranded_records == records
}

#[test]
fn what_a_killed_service_logged_for_one_vendor_never_reaches_another_one() {
    let (one, two, spool) = (Receiver::start_down(), Receiver::start(), spool_dir());
    killed(&one, spool.path());
    for run in 1..=2 {
        let service = Service::simple(exporter(&two, &spool));
        service.wait_for_stats("the records of the other vendor", has_stranded(500));
        service.log_all("two", 10 * run..=10 * run + 4);
        service.deliver();
        let stats = service.handle.stats();
        assert_eq!((stats.stranded_records, stats.pending_records, stats.lost_records), (500, 0, 0));
    }
    assert_eq!(two.delivered(), [names("two", 10..=14), names("two", 20..=24)].concat());

    one.come_up();
    let restarted = Service::simple(exporter(&one, &spool));
    restarted.deliver();
    assert_eq!(one.delivered(), names("one", 1..=500));
    drop(restarted);
    let service = Service::simple(exporter(&two, &spool));
    service.log("last");
    service.deliver();
    assert_eq!(service.handle.stats().stranded_records, 0);
    assert_eq!(two.delivered().len(), 11);
}

#[test]
fn after_a_change_of_the_endpoint_the_backlog_is_delivered_when_the_old_one_is_named() {
    let (old, new, spool) = (Receiver::start_down(), Receiver::start(), spool_dir());
    killed(&old, spool.path());
    let with_password = old.url("").replace("http://", "http://me:s3cret@");
    let moved = exporter(&new, &spool).with_adopt_from([with_password, "https://elsewhere.example.com".to_owned()]);
    let service = Service::simple(moved);
    service.log("new");
    new.wait_for_records(501);
    service.deliver();
    let mut delivered = new.delivered();
    delivered.sort_unstable();
    assert_eq!(delivered, [vec!["new".to_owned()], names("one", 1..=500)].concat());
    assert_eq!(service.handle.stats().stranded_records, 0);
}

#[test]
fn the_old_endpoint_can_be_named_in_the_environment() {
    let (old, new, spool) = (Receiver::start_down(), Receiver::start(), spool_dir());
    killed(&old, spool.path());
    let (url, from) = (new.url("/ingest"), format!("https://elsewhere.example.com, {}", old.url("/another/path")));
    let from = [("OTEL_EXPORTER_SPOOL_ADOPT_FROM", from.as_ref())];
    let mut child = Child::start(Command::new(CHILD), "service", settings(&url, spool.path()).into_iter().chain(from));
    assert_eq!(new.wait_for_records(500), names("one", 1..=500));
    child.tell("flush");
    child.wait_for("flushed");
    child.finish();
}

#[test]
fn another_path_of_the_same_server_is_the_same_endpoint() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    killed(&receiver, spool.path());
    receiver.come_up();
    let service = Service::simple(exporter_to(&receiver.url("/another/path?key=1"), &spool));
    service.deliver();
    assert_eq!(receiver.delivered(), names("one", 1..=500));
    assert!(receiver.requests().iter().all(|request| request.target == "/another/path?key=1"));
}

#[test]
fn two_exporters_of_one_process_with_different_endpoints_take_two_directories() {
    let (one, two, spool) = (Receiver::start(), Receiver::start(), spool_dir());
    let first = Service::simple(exporter(&one, &spool));
    let url = two.url("/ingest").replace("http://", "http://me:s3cret@");
    let error = exporter_to(&url, &spool).build().expect_err("another endpoint");
    assert!(matches!(error, ExporterBuildError::Spool(SpoolError::OtherOrigin { .. })), "{error:?}");
    let words = in_words(&error);
    for part in [&one.url(""), &two.url(""), &spool.path().display().to_string(), "a directory of its own"] {
        assert!(words.contains(part), "{part} in {words}");
    }
    assert!(!words.contains("s3cret"), "{words}");

    let (beside, elsewhere) = (Service::simple(exporter(&one, &spool)), spool_dir());
    let apart = Service::simple(exporter(&two, &elsewhere));
    for service in [&first, &beside, &apart] {
        service.log("m");
        service.deliver();
    }
    assert_eq!((one.delivered().len(), two.delivered().len()), (2, 1));
    drop((first, beside));
    // Whoever has shut down is in nobody's way.
    drop(Service::simple(exporter(&two, &spool)));
}

#[test]
fn a_url_that_is_none_is_an_error_that_does_not_repeat_it() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let adopting = exporter(&receiver, &spool).with_adopt_from(["http://old", "me:s3cret@old"]);
    let words = in_words(&adopting.build().expect_err("no URL"));
    assert!(
        words.starts_with("`with_adopt_from` is invalid: the URL at place 2 is none; allowed are http://"),
        "{words}"
    );
    assert!(!words.contains("s3cret"), "{words}");
}
