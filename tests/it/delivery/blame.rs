//! Whose fault a failure is, is found by experiment: with receivers that refuse by age, content, name, position and size,
//! that fail in parts, or as a whole, for a while.
//!
//! While the endpoint takes some record of a partition, no other record waits for the one that it does not take; while it
//! takes none, nothing is rejected.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use common::{Answer, Judge, Service, by_tenant, exporter, name, names, spool_dir};
use opentelemetry::logs::LogRecord as _;
use opentelemetry_spool::{BulkEncoder, JsonEncoder, LogExporterBuilder, SplunkEncoder, SpoolStats};
use tempfile::TempDir;

const HOUR: Duration = Duration::from_secs(60 * 60);

fn is_bad(message: &str) -> bool {
    message.starts_with("bad")
}

/// Messages, of which these are bad.
fn messages(count: usize, bad: &[usize]) -> Vec<String> {
    (1..=count).map(|number| name(if bad.contains(&number) { "bad" } else { "good" }, number)).collect()
}

fn good(messages: &[String]) -> Vec<String> {
    messages.iter().filter(|message| !is_bad(message)).cloned().collect()
}

/// A service that sends batches of 64 records to a judge.
fn service(judge: &Judge, spool: &TempDir, change: impl FnOnce(LogExporterBuilder) -> LogExporterBuilder) -> Service {
    Service::batch(change(exporter(judge.receiver(), spool).with_max_batch_records(64)))
}

/// Stores records, so that they wait together.
fn log_together(service: &Service, messages: &[String]) {
    service.handle.pause();
    for messages in messages.chunks(500) {
        for message in messages {
            service.log(message);
        }
        service.sync();
    }
    service.handle.resume();
}

fn wait_for_nothing_pending(service: &Service) -> SpoolStats {
    service.wait_for_stats("nothing pending", |stats| stats.pending_records == 0)
}

/// Waits until so many records are rejected, among live ones, and nothing is pending. Gives the figures, and the live records
/// that the judge has.
fn settle(service: &Service, judge: &Judge, rejected: u64) -> (SpoolStats, Vec<String>) {
    service.wait_for_rejected(rejected);
    let stats = wait_for_nothing_pending(service);
    let live = judge.stored().iter().filter(|message| message.starts_with("live-")).count();
    (stats, names("live", 1..=live))
}

/// The rejected store holds exactly the bad records.
fn check_rejected(service: &Service, messages: &[String]) {
    let rejected = service.handle.rejected().expect("the rejected store");
    let mut bodies: Vec<_> = rejected.iter().map(|record| String::from_utf8_lossy(&record.body)).collect();
    bodies.sort();
    let body = bodies.concat();
    let bad = messages.iter().filter(|message| is_bad(message));
    assert!(bad.clone().all(|message| body.contains(message.as_str())), "{body}");
    assert!(good(messages).iter().all(|message| !body.contains(message.as_str())), "{body}");
    assert_eq!(service.handle.stats().rejected_records, bad.count() as u64);
}

#[test]
fn a_record_that_is_refused_alone_while_others_are_taken_is_rejected() {
    for status in [400, 422] {
        let (judge, spool) = (Judge::by_content(is_bad, Answer::status(status).body("no field `x`")), spool_dir());
        let messages = messages(300, &[1, 77, 78, 200]);
        let service = service(&judge, &spool, |exporter| exporter);
        log_together(&service, &messages);
        let (stats, live) = settle(&service, &judge, 4);
        judge.check(&[good(&messages), live.clone()].concat());
        check_rejected(&service, &messages);
        assert_eq!(stats.delivered_records, 296 + live.len() as u64, "{stats:?}");
        // For each bad one: halves, and the control records between them.
        assert!(judge.distinct() < 5 + 4 * 30 + live.len(), "{stats:?}");
        assert_eq!(judge.again(), 0);
    }
}

#[test]
fn a_lone_record_that_is_refused_waits_until_something_else_is_taken() {
    let (judge, spool) = (Judge::by_content(is_bad, Answer::status(400)), spool_dir());
    let service = service(&judge, &spool, |exporter| exporter);
    service.log("bad");
    service.sync();
    let stats = service.wait_for_stats("some tries", |stats| stats.failed_requests >= 5);
    assert_eq!((stats.rejected_records, stats.pending_records), (0, 1), "{stats:?}");

    let behind = messages(20, &[]);
    log_together(&service, &behind);
    let (stats, live) = settle(&service, &judge, 1);
    judge.check(&[behind, live].concat());
    assert_eq!(stats.rejected_records, 1);
}

#[test]
fn while_nothing_is_taken_nothing_is_rejected() {
    for status in [400, 403, 413, 422, 500] {
        let (judge, spool) = (Judge::by_content(|_| false, Answer::ok()), spool_dir());
        judge.break_down(Some(status));
        let messages = messages(300, &[]);
        let service = service(&judge, &spool, |exporter| exporter);
        log_together(&service, &messages);
        // What an operator has to mend is asked for seldom.
        let tries = if status == 403 { 1 } else { 10 };
        let stats = service.wait_for_stats("some tries", |stats| stats.failed_requests >= tries);
        assert_eq!((stats.rejected_records, stats.pending_records), (0, 300), "{status}: {stats:?}");

        judge.break_down(None);
        service.flush();
        judge.check(&messages);
        assert_eq!(service.handle.stats().rejected_records, 0, "{status}");
    }
}

#[test]
fn a_record_that_the_endpoint_fails_for_is_deferred_and_the_others_flow_in_order() {
    let poisoned = Arc::new(AtomicBool::new(true));
    let still = Arc::clone(&poisoned);
    let is_poison = move |message: &str| is_bad(message) && still.load(Ordering::Relaxed);
    let (judge, spool) = (Judge::by_content(is_poison, Answer::status(500)), spool_dir());
    let messages = messages(300, &[77]);
    let service = service(&judge, &spool, |exporter| exporter);
    log_together(&service, &messages);
    let stats = service.wait_for_stats("the others", |stats| stats.delivered_records == 299);
    assert_eq!((stats.rejected_records, stats.pending_records), (0, 1), "{stats:?}");
    judge.check(&good(&messages));

    // Records behind it do not wait for it.
    log_together(&service, &names("later", 1..=100));
    let stats = service.wait_for_stats("the later ones", |stats| stats.delivered_records == 399);
    assert_eq!((stats.rejected_records, stats.pending_records), (0, 1), "{stats:?}");

    poisoned.store(false, Ordering::Relaxed);
    service.flush();
    judge.check(&[messages, names("later", 1..=100)].concat());
    assert_eq!(service.handle.stats().rejected_records, 0);
}

#[test]
fn what_is_deferred_outlives_a_restart() {
    let poisoned = Arc::new(AtomicBool::new(true));
    let still = Arc::clone(&poisoned);
    let is_poison = move |message: &str| is_bad(message) && still.load(Ordering::Relaxed);
    let (judge, spool) = (Judge::by_content(is_poison, Answer::status(500)), spool_dir());
    let messages = messages(200, &[77]);
    let first = service(&judge, &spool, |exporter| exporter);
    log_together(&first, &messages);
    first.wait_for_stats("the others", |stats| stats.delivered_records == 199);
    let _ = first.provider.shutdown();
    drop(first);

    poisoned.store(false, Ordering::Relaxed);
    let second = service(&judge, &spool, |exporter| exporter);
    second.flush();
    judge.check(&messages);
    let stats = second.handle.stats();
    assert_eq!((stats.rejected_records, stats.pending_records), (0, 0), "{stats:?}");
}

#[test]
fn a_shard_that_fails_for_a_while_costs_nothing() {
    let broken = Arc::new(AtomicBool::new(true));
    let still = Arc::clone(&broken);
    let of_the_shard = move |message: &str| {
        let number: usize = message.rsplit('-').next().and_then(|number| number.parse().ok()).expect("a number");
        number % 4 == 3 && still.load(Ordering::Relaxed)
    };
    let (judge, spool) = (Judge::by_content(of_the_shard, Answer::status(500)), spool_dir());
    let messages = messages(16, &[]);
    let service = service(&judge, &spool, |exporter| exporter.with_max_batch_records(4));
    log_together(&service, &messages);
    let stats = service.wait_for_stats("the other shards", |stats| stats.delivered_records == 12);
    assert_eq!((stats.rejected_records, stats.pending_records), (0, 4), "{stats:?}");

    broken.store(false, Ordering::Relaxed);
    service.flush();
    judge.check(&messages);
    let stats = service.handle.stats();
    assert_eq!((stats.rejected_records, stats.lost_records), (0, 0), "{stats:?}");
}

#[test]
fn a_strict_order_sends_no_record_before_another() {
    let (judge, spool) = (Judge::by_content(is_bad, Answer::status(500)), spool_dir());
    let messages = messages(300, &[77]);
    let service = service(&judge, &spool, |exporter| exporter.with_strict_order(true));
    log_together(&service, &messages);
    let stats = service.wait_for_stats("some tries", |stats| stats.failed_requests >= 20);
    assert_eq!((stats.probed_records, stats.rejected_records), (0, 0), "{stats:?}");
    let stored = judge.stored();
    assert_eq!(stored, messages[..stored.len()]);
    assert!(stored.len() < 77);
}

/// Logs records that were made so long ago, a minute apart.
fn log_from_the_past(service: &Service, messages: &[String], began: Duration) {
    let start = SystemTime::now() - began;
    service.handle.pause();
    for (minute, message) in (0..).zip(messages) {
        service.log_with(message, |record| record.set_timestamp(start + Duration::from_secs(60 * minute)));
    }
    service.sync();
}

#[test]
fn a_backlog_of_hours_with_a_bad_record_arrives_where_old_records_are_refused() {
    let (judge, spool) = (Judge::by_age(HOUR, is_bad), spool_dir());
    judge.break_down(Some(503));
    let service = service(&judge, &spool, |exporter| exporter.with_max_batch_records(30));
    let (backlog, live) = (messages(180, &[50]), names("live", 1..=60));
    log_from_the_past(&service, &backlog, 3 * HOUR);
    service.handle.resume();
    service.wait_for_stats("an outage", |stats| stats.failed_requests >= 10);
    log_together(&service, &live);
    judge.break_down(None);
    service.flush();

    // A probe with the newest record would have had the whole backlog refused.
    judge.check(&[good(&backlog), live].concat());
    check_rejected(&service, &backlog);
}

#[test]
fn a_stretch_of_old_records_holds_no_new_ones() {
    let (judge, spool) = (Judge::by_age(HOUR, |_| false), spool_dir());
    let service = service(&judge, &spool, |exporter| exporter);
    service.log("good-000000");
    service.deliver();
    let (old, new) = (names("bad", 1..=600), names("good", 1..=10));
    service.handle.pause();
    let long_ago = SystemTime::now() - 8 * 24 * HOUR;
    for message in &old {
        service.log_with(message, |record| record.set_timestamp(long_ago));
    }
    service.sync();
    log_together(&service, &new);

    service.wait_for_stats("the new ones", |stats| stats.delivered_records == 11);
    let (stats, live) = settle(&service, &judge, 600);
    // What lies between the stretch and the control that was taken is parked with it.
    judge.check_stored(&[vec!["good-000000".to_owned()], new, live.clone()].concat());
    check_rejected(&service, &old);
    // Ten batches: the first by halves and records, the others by a few records each.
    assert!(judge.distinct() < 400 + live.len(), "{} batches, {stats:?}", judge.distinct());
}

#[test]
fn what_a_response_names_is_rejected_without_an_experiment() {
    let (judge, spool) = (Judge::by_name(is_bad), spool_dir());
    let bad: Vec<_> = (200..1_300).collect();
    let messages = messages(1_500, &bad);
    // One batch is named as a whole, others in part.
    let bulk = |exporter: LogExporterBuilder| exporter.with_encoder(BulkEncoder::new(JsonEncoder::default()));
    let service = service(&judge, &spool, bulk);
    log_together(&service, &messages);
    let (stats, live) = settle(&service, &judge, 1_100);
    judge.check_stored(&[good(&messages), live.clone()].concat());
    assert_eq!(stats.rejected_records, 1_100, "{stats:?}");
    assert_eq!(judge.again(), 0);
    // 24 batches, and a control record for each that was refused whole.
    assert!(judge.distinct() < 100 + live.len(), "{} batches, {stats:?}", judge.distinct());
}

#[test]
fn what_a_response_says_to_be_stored_is_not_sent_again() {
    let (judge, spool) = (Judge::by_position(is_bad), spool_dir());
    let messages = messages(128, &[61, 100]);
    let service = service(&judge, &spool, |exporter| exporter.with_encoder(SplunkEncoder::default()));
    log_together(&service, &messages);
    wait_for_nothing_pending(&service);

    judge.check(&good(&messages));
    check_rejected(&service, &messages);
    assert_eq!(judge.again(), 0, "surplus copies");
}

#[test]
fn a_batch_that_is_too_large_is_split_whatever_the_status() {
    for status in [400, 413, 500] {
        let (judge, spool) = (Judge::by_size(5_000, status), spool_dir());
        let messages = messages(128, &[]);
        let service = service(&judge, &spool, |exporter| exporter);
        log_together(&service, &messages);
        let stats = wait_for_nothing_pending(&service);
        judge.check(&messages);
        assert_eq!((stats.rejected_records, judge.again()), (0, 0), "{status}: {stats:?}");
    }
}

#[test]
fn a_throttle_rejects_nothing_and_is_asked_little() {
    let (judge, spool) = (Judge::throttle(), spool_dir());
    let service = service(&judge, &spool, |exporter| exporter.with_partition_key(by_tenant));
    service.handle.pause();
    let tenants: Vec<_> = (0..8).map(|number| format!("tenant{number}")).collect();
    for tenant in &tenants {
        service.log_of(tenant, 1..=5);
    }
    service.sync();
    service.handle.resume();
    let stats = wait_for_nothing_pending(&service);
    let mut expected: Vec<_> = tenants.iter().flat_map(|tenant| names(tenant, 1..=5)).collect();
    let mut stored = judge.stored();
    expected.sort();
    stored.sort();
    assert_eq!(stored, expected);
    assert_eq!((stats.rejected_records, stats.probed_records), (0, 0), "{stats:?}");
    // The first eight come at once; from then on one request probes for all.
    assert!(stats.requests < 8 * 5, "{stats:?}");
}
