//! With a share for the backlog, new records do not wait for it: after an outage, after a restart and after a kill
//! everything arrives once, and each half keeps its order.

use std::ops::RangeInclusive;
use std::process::Command;
use std::time::Duration;

use common::{Answer, Child, Receiver, Service, by_tenant, exporter, name, names, settings, spool_dir};
use opentelemetry_spool::{ExporterBuildError, LogExporter, LogExporterBuilder};

use crate::CHILD;

/// Longer than any test lasts.
const NEVER: Duration = Duration::from_secs(1_000 * 60 * 60);

const TENANTS: [&str; 2] = ["a", "b"];

/// An exporter that sends one record at a time.
fn sharing(receiver: &Receiver, spool: &tempfile::TempDir) -> LogExporterBuilder {
    let exporter = exporter(receiver, spool).with_partition_key(by_tenant).with_timeout(NEVER);
    exporter.with_max_batch_records(1).with_backlog_share(0.25)
}

/// Where a record is among those that arrived.
fn at(delivered: &[String], message: &str) -> usize {
    delivered.iter().position(|arrived| arrived == message).unwrap_or_else(|| panic!("{message} is not there"))
}

/// What arrived of a tenant in one half: its records from `first` to `last`.
fn half<'a>(delivered: &'a [String], tenant: &str, numbers: RangeInclusive<usize>) -> Vec<&'a String> {
    let half = names(tenant, numbers);
    delivered.iter().filter(|message| half.contains(message)).collect()
}

#[test]
fn after_a_start_new_records_arrive_before_the_backlog_of_several_segments_and_partitions_is_through() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    for segment in 0..3 {
        let service = Service::careless(sharing(&receiver, &spool));
        for tenant in TENANTS {
            service.log_of(tenant, 10 * segment + 1..=10 * segment + 10);
        }
    }

    receiver.answer_always(Answer::hang());
    receiver.come_up();
    let service = Service::simple(sharing(&receiver, &spool));
    receiver.wait_for_requests(2);
    for tenant in TENANTS {
        service.log_of(tenant, 101..=105);
    }
    assert!(service.handle.stats().segments >= 4);
    receiver.answer_always(Answer::ok());
    receiver.release();
    service.deliver();

    let delivered = receiver.delivered();
    assert_eq!(delivered.len(), 70);
    for tenant in TENANTS {
        assert_eq!(half(&delivered, tenant, 1..=30), names(tenant, 1..=30).iter().collect::<Vec<_>>());
        assert_eq!(half(&delivered, tenant, 101..=105), names(tenant, 101..=105).iter().collect::<Vec<_>>());
        // One request of four is the backlog's while both wait.
        assert!(at(&delivered, &name(tenant, 105)) < at(&delivered, &name(tenant, 4)), "{delivered:?}");
    }
}

#[test]
fn after_an_outage_new_records_arrive_before_the_backlog_is_through() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let service = Service::simple(sharing(&receiver, &spool));
    service.log_of("a", 1..=30);
    service.wait_for_stats("refused requests", |stats| stats.failed_requests > 1);
    let before = service.handle.stats().segments;
    receiver.answer_next(Answer::ok());
    receiver.answer_always(Answer::hang());
    receiver.come_up();
    receiver.wait_for_requests(2);
    // Behind the mark that the first success has set.
    service.wait_for_stats("a segment behind the mark", |stats| stats.segments > before);
    service.log_of("a", 101..=101);
    receiver.answer_always(Answer::ok());
    receiver.release();
    service.deliver();

    let delivered = receiver.delivered();
    assert_eq!(delivered.len(), 31);
    assert!(at(&delivered, &name("a", 101)) < at(&delivered, &name("a", 30)), "{delivered:?}");
    assert_eq!(half(&delivered, "a", 1..=30), names("a", 1..=30).iter().collect::<Vec<_>>());
}

#[test]
fn a_kill_while_both_halves_are_delivered_loses_nothing_and_repeats_under_the_same_keys() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let endpoint = receiver.url("/ingest");
    let share = ("OTEL_EXPORTER_SPOOL_BACKLOG_SHARE", "0.5".as_ref());
    for run in 1..=4 {
        let settings = settings(&endpoint, spool.path()).into_iter().chain([share]);
        let mut child = Child::start(Command::new(CHILD), "service", settings);
        child.tell(&format!("log r{run} 1 1000"));
        child.wait_for(&format!("accepted r{run} 1000"));
        if run > 1 {
            // In the middle: some of the backlog, and some of the new records.
            let requests = receiver.requests().len();
            receiver.come_up();
            receiver.wait_for_requests(requests + 4);
            receiver.go_down();
        }
        child.kill();
    }

    receiver.come_up();
    Service::batch(exporter(&receiver, &spool).with_backlog_share(0.5)).deliver();
    let delivered = receiver.delivered();
    assert_eq!(delivered.len(), 4_000);
    for run in 1..=4 {
        let of_run = names(&format!("r{run}"), 1..=1_000);
        let mut arrived: Vec<_> = delivered.iter().filter(|message| message.starts_with(&format!("r{run}"))).collect();
        arrived.sort_by_key(|message| at(&of_run, message));
        assert_eq!(arrived, of_run.iter().collect::<Vec<_>>(), "each once");
    }
}

#[test]
fn a_share_is_refused_with_a_strict_order_and_outside_of_its_bounds() {
    let build = |share: f64, strict: bool| {
        let spool = spool_dir();
        let exporter = LogExporter::builder().with_endpoint("http://127.0.0.1:1/").with_spool_dir(spool.path());
        exporter.with_strict_order(strict).with_backlog_share(share).build().map(drop)
    };
    let error = build(0.5, true).expect_err("an order that is not strict");
    assert!(matches!(error, ExporterBuildError::Invalid { .. }));
    assert!(error.to_string().contains("with_strict_order"), "{error}");
    for wrong in [-0.1, 1.1, f64::NAN] {
        let error = build(wrong, false).expect_err("a share out of bounds");
        assert!(error.to_string().contains("0 to 1"), "{error}");
    }
    build(1.0, true).expect("that is off");
}
