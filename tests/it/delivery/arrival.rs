//! Every logged record arrives: through both processors, past every failure, in order, in batches of the right size.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use common::{
    Answer, PATIENCE, Receiver, Request, Service, by_tenant, exporter, exporter_to, impatient, name, names, patient,
    spool_dir,
};
use opentelemetry::InstrumentationScope;
use opentelemetry::logs::{AnyValue, LogRecord as _};
use opentelemetry_spool::{BoxError, Durability, Encoder, FlushError, Flushed, Framing, LogView};

/// Longer than any test lasts.
const NEVER: Duration = Duration::from_secs(1_000 * 60 * 60);

fn lengths(requests: &[Request]) -> Vec<usize> {
    requests.iter().map(|request| request.messages.len()).collect()
}

fn of<'a>(messages: &'a [String], prefix: &str) -> Vec<&'a String> {
    messages.iter().filter(|message| message.starts_with(prefix)).collect()
}

#[test]
fn a_record_logged_through_the_simple_processor_reaches_the_endpoint() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let service = Service::simple(exporter(&receiver, &spool));

    service.log("hello");

    let request = receiver.wait_for_requests(1).remove(0);
    assert_eq!(request.method, "POST");
    assert_eq!(request.target, "/ingest");
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(request.header("content-length"), Some(request.body.len().to_string().as_str()));
    assert!(!request.key().is_empty());
    let records = request.records();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0]["message"], "hello");
    assert_eq!(records[0]["level"]["name"], "INFO");
    assert_eq!(records[0]["extra"]["shop"], "Zürich");
}

#[test]
fn records_logged_through_the_batch_processor_reach_the_endpoint_in_order() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let service = Service::batch(exporter(&receiver, &spool));

    service.store_all("m", 1..=5_000);
    service.deliver();

    assert_eq!(receiver.delivered(), names("m", 1..=5_000));
    assert_eq!(receiver.look(|log| log.repeated), 0);
}

#[test]
fn the_endpoint_s_path_and_query_are_kept() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let path = "/ingest/v1/?source=a%20b&x=%2F&y";
    let service = Service::simple(exporter_to(&receiver.url(path), &spool));

    service.log("hello");

    assert_eq!(receiver.wait_for_requests(1)[0].target, path);
}

/// Has the receiver respond with `failures` first, and expects one record to come through under one key.
fn a_record_comes_through_after(failures: &[Answer]) {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    failures.iter().cloned().for_each(|failure| receiver.answer_next(failure));
    let service = Service::simple(exporter(&receiver, &spool));

    service.log("hello");
    service.deliver();

    let requests = receiver.requests();
    assert_eq!(requests.len(), failures.len() + 1, "every failure is followed by one more attempt, success by none");
    assert!(requests.iter().all(|request| request.key() == requests[0].key() && request.body == requests[0].body));
    assert_eq!(receiver.delivered(), ["hello"]);
    let stats = service.handle.stats();
    assert_eq!((stats.accepted_records, stats.delivered_records, stats.pending_records), (1, 1, 0));
}

#[test]
fn a_record_reaches_the_endpoint_after_a_503() {
    a_record_comes_through_after(&[Answer::status(503)]);
}

#[test]
fn a_record_reaches_the_endpoint_after_a_429() {
    a_record_comes_through_after(&[Answer::status(429)]);
}

#[test]
fn a_record_reaches_the_endpoint_after_any_number_of_failures_of_any_kind() {
    let statuses = [500, 408, 502, 429, 504, 503, 507, 599].map(Answer::status);
    let failures: Vec<_> =
        (0..5).flat_map(|_| statuses.iter().cloned().chain([Answer::Reset])).chain([Answer::status(503)]).collect();
    a_record_comes_through_after(&failures);
}

#[test]
fn a_record_reaches_the_endpoint_after_its_connection_was_reset() {
    a_record_comes_through_after(&[Answer::Reset, Answer::Reset]);
}

#[test]
fn a_record_whose_success_got_lost_on_the_way_is_sent_again_under_the_same_key() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    receiver.answer_next(Answer::Lost);
    let service = Service::simple(exporter(&receiver, &spool));

    service.log("hello");
    service.deliver();

    let requests = receiver.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!((requests[0].key(), &requests[0].body), (requests[1].key(), &requests[1].body));
    assert_eq!(receiver.look(|log| log.repeated), 1);
}

#[test]
fn a_record_reaches_the_endpoint_after_connections_were_refused() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let service = Service::simple(exporter(&receiver, &spool));
    service.log("hello");
    let refused = service.wait_for_stats("refused requests", |stats| stats.failed_requests > 2);
    assert_eq!(refused.pending_records, 1);
    assert!(refused.last_error.is_some());

    receiver.come_up();

    assert_eq!(receiver.wait_for_records(1), ["hello"]);
}

#[test]
fn a_request_without_a_response_times_out_and_is_retried_with_the_same_key_and_bytes() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    receiver.answer_next(Answer::hang());
    let service = Service::simple(exporter(&receiver, &spool).with_timeout(Duration::from_millis(300)));

    service.log("hello");
    service.deliver();

    let requests = receiver.requests();
    assert!(requests.len() > 1);
    assert_eq!(requests[0].answered, None);
    assert!(requests.iter().all(|request| request.key() == requests[0].key() && request.body == requests[0].body));
    assert_eq!(receiver.delivered(), ["hello"]);
}

#[test]
fn any_2xx_is_a_success() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let service = Service::simple(exporter(&receiver, &spool));
    for (number, status) in [(1, 200), (2, 201), (3, 202), (4, 204), (5, 299)] {
        receiver.answer_next(Answer::status(status));
        service.log(&name("m", number));
        service.deliver();
    }
    assert_eq!(receiver.delivered(), names("m", 1..=5));
    assert_eq!(receiver.requests().len(), 5);
}

#[test]
fn retry_after_in_seconds_takes_the_place_of_the_backoff() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    receiver.answer_next(Answer::status(503).header("retry-after", "1"));
    receiver.answer_next(Answer::status(429).header("retry-after", "0"));
    // Left to the backoff, the next attempt would come in days.
    let service = Service::simple(exporter(&receiver, &spool).with_retry_policy(patient()));

    service.log("hello");

    assert_eq!(receiver.wait_for_records(1), ["hello"]);
}

#[test]
fn retry_after_as_a_date_takes_the_place_of_the_backoff() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let soon = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(2));
    let past = httpdate::fmt_http_date(SystemTime::now() - Duration::from_secs(3600));
    receiver.answer_next(Answer::status(503).header("retry-after", soon));
    receiver.answer_next(Answer::status(503).header("retry-after", past));
    let service = Service::simple(exporter(&receiver, &spool).with_retry_policy(patient()));

    service.log("hello");

    assert_eq!(receiver.wait_for_records(1), ["hello"]);
}

#[test]
fn retry_after_is_limited_to_the_longest_that_is_allowed() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let far = httpdate::fmt_http_date(SystemTime::now() + NEVER);
    receiver.answer_next(Answer::status(503).header("retry-after", "86400000"));
    receiver.answer_next(Answer::status(503).header("retry-after", far));
    let mut policy = patient();
    policy.max_retry_after = Duration::from_millis(10);
    let service = Service::simple(exporter(&receiver, &spool).with_retry_policy(policy));

    service.log("hello");

    assert_eq!(receiver.wait_for_records(1), ["hello"]);
}

#[test]
fn a_retry_after_that_is_neither_leaves_the_delay_to_the_backoff() {
    for nonsense in ["", "soon", "-1", "1.5", "Thu, 99 Foo 2026 25:00:00 GMT"] {
        a_record_comes_through_after(&[Answer::status(503).header("retry-after", nonsense)]);
    }
}

#[test]
fn records_arrive_in_order_within_each_partition_while_requests_fail() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let count = AtomicUsize::new(0);
    receiver.answer_by(move |_| match count.fetch_add(1, Ordering::Relaxed) % 7 {
        0 => Answer::status(503),
        2 => Answer::Reset,
        3 => Answer::Lost,
        5 => Answer::status(429).header("retry-after", "0"),
        _ => Answer::ok(),
    });
    // Where requests fail for long, as on a busy machine, a control would leave the order.
    let exporter = exporter(&receiver, &spool).with_strict_order(true);
    let service = Service::batch(exporter.with_partition_key(by_tenant).with_max_batch_records(7));

    let tenants = ["a", "b", "c", ""];
    for number in 1..=300 {
        for tenant in tenants {
            service.log_of(tenant, number..=number);
        }
        if number % 50 == 0 {
            service.sync();
        }
    }
    service.deliver();

    let delivered = receiver.delivered();
    assert_eq!(delivered.len(), 4 * 300);
    for tenant in tenants {
        let prefix = format!("{tenant}-");
        assert!(of(&delivered, &prefix).into_iter().eq(&names(tenant, 1..=300)), "partition {tenant:?}");
    }
    for request in receiver.requests() {
        let of_tenants: HashSet<_> = request.messages.iter().map(|message| message.split_once('-')).collect();
        let of_tenants: HashSet<_> = of_tenants.into_iter().map(|parts| parts.map(|(tenant, _)| tenant)).collect();
        assert_eq!(of_tenants.len(), 1, "one request carries one partition");
        assert!(request.messages.len() <= 7);
    }
}

#[test]
fn threads_that_log_at_once_each_find_their_records_in_order() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let service = Service::simple(exporter(&receiver, &spool));

    std::thread::scope(|scope| {
        for thread in 0..8 {
            let service = &service;
            scope.spawn(move || service.log_all(&format!("t{thread}"), 1..=50));
        }
    });
    service.deliver();

    let delivered = receiver.delivered();
    assert_eq!(delivered.len(), 8 * 50);
    for thread in 0..8 {
        let thread = format!("t{thread}");
        assert!(of(&delivered, &thread).into_iter().eq(&names(&thread, 1..=50)));
    }
}

#[test]
fn a_partition_that_gets_429_for_ever_does_not_hold_the_others() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let holds = |request: &Request| request.messages[0].starts_with("slow");
    receiver.answer_by(move |request| if holds(request) { Answer::status(429) } else { Answer::ok() });
    let service = Service::batch(exporter(&receiver, &spool).with_partition_key(by_tenant));

    for number in 1..=200 {
        for tenant in ["slow1", "fast1", "slow2", "fast2"] {
            service.log_of(tenant, number..=number);
        }
    }
    service.sync();
    let delivered = receiver.wait_for_records(400);
    // The slow ones are asked again and again, and what comes later still overtakes them.
    for tenant in ["slow1", "slow2"] {
        receiver.wait_until("repeated requests", |log| {
            let requests = log.requests.iter().filter(|request| request.messages[0].starts_with(tenant));
            (requests.count() > 3).then_some(())
        });
    }
    service.log_of("fast1", 201..=201);
    service.sync();
    receiver.wait_for_records(401);

    assert!(of(&delivered, "slow").is_empty());
    assert!(of(&delivered, "fast1").into_iter().eq(&names("fast1", 1..=200)));
    assert!(of(&delivered, "fast2").into_iter().eq(&names("fast2", 1..=200)));
    service.wait_for_stats("only the slow ones to be left", |stats| stats.pending_records == 400);

    receiver.answer_always(Answer::ok());
    service.deliver();

    let delivered = receiver.delivered();
    assert_eq!(delivered.len(), 801);
    assert!(of(&delivered, "slow1").into_iter().eq(&names("slow1", 1..=200)));
    assert!(of(&delivered, "slow2").into_iter().eq(&names("slow2", 1..=200)));
}

#[test]
fn a_partition_that_has_to_wait_for_an_hour_does_not_hold_the_others() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    receiver.answer_by(|request| {
        let slow = request.messages[0].starts_with("slow");
        if slow { Answer::status(429).header("retry-after", "3600") } else { Answer::ok() }
    });
    let mut policy = common::impatient();
    policy.max_retry_after = NEVER;
    let service = Service::simple(exporter(&receiver, &spool).with_partition_key(by_tenant).with_retry_policy(policy));

    service.log_of("slow", 1..=1);
    receiver.wait_for_requests(1);
    service.log_of("fast", 1..=10);
    receiver.wait_for_records(10);
    service.log_of("slow", 2..=2);
    service.log_of("fast", 11..=20);

    assert_eq!(receiver.wait_for_records(20), names("fast", 1..=20));
    let requests = receiver.requests();
    let slow: Vec<_> = requests.iter().filter(|request| request.messages[0].starts_with("slow")).collect();
    assert_eq!(slow.len(), 1, "the slow one was not asked again");
}

#[test]
fn a_partition_whose_requests_hang_does_not_hold_the_others() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    receiver.answer_by(|request| if request.messages[0].starts_with("hung") { Answer::hang() } else { Answer::ok() });
    let service = Service::simple(exporter(&receiver, &spool).with_partition_key(by_tenant).with_timeout(NEVER));

    service.log_of("hung", 1..=3);
    receiver.wait_for_requests(1);
    service.log_of("fast", 1..=10);

    assert_eq!(receiver.wait_for_records(10), names("fast", 1..=10));
}

#[test]
fn a_batch_that_the_endpoint_does_not_take_is_held_and_delivered_when_it_does() {
    let elsewhere = Receiver::start();
    for status in [300, 301, 302, 303, 307, 308, 401, 403, 404, 405, 407, 431] {
        let (receiver, spool) = (Receiver::start(), spool_dir());
        receiver.answer_always(Answer::status(status).header("location", elsewhere.url("/")).body("no"));
        // Otherwise the second record can be the control of the first.
        let service = Service::simple(exporter(&receiver, &spool).with_strict_order(true));

        service.log("first");
        let requests = receiver.wait_for_requests(3);
        assert!(requests.iter().all(|request| request.body == requests[0].body), "{status}");
        assert!(requests.iter().all(|request| request.key() == requests[0].key()), "{status}");
        service.log("second");
        service.sync();
        receiver.wait_for_requests(requests.len() + 2);

        let stats = service.handle.stats();
        assert_eq!((stats.accepted_records, stats.delivered_records, stats.pending_records), (2, 0, 2), "{status}");
        let error = stats.last_error.expect("an error that was not overcome");
        assert!(error.contains(&status.to_string()), "{status}: {error}");

        receiver.answer_always(Answer::ok());
        service.deliver();
        assert_eq!(receiver.delivered(), ["first", "second"], "{status}");
        assert_eq!(service.handle.stats().pending_records, 0, "{status}");
    }
    assert_eq!(elsewhere.requests().len(), 0);
}

#[test]
fn a_held_partition_does_not_hold_the_others() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    receiver.answer_by(|request| Answer::status(if request.messages[0].starts_with("bad") { 401 } else { 200 }));
    let service = Service::simple(exporter(&receiver, &spool).with_partition_key(by_tenant));

    service.log_of("bad", 1..=3);
    service.log_of("good", 1..=10);

    assert_eq!(receiver.wait_for_records(10), names("good", 1..=10));
    service.wait_for_stats("only the bad ones to be left", |stats| stats.pending_records == 3);
}

#[test]
fn a_batch_has_at_most_max_batch_records_and_gathers_what_several_exports_stored() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let service = Service::simple(exporter(&receiver, &spool).with_max_batch_records(8));
    service.handle.pause();
    service.log_all("m", 1..=100);
    service.handle.resume();
    service.deliver();

    assert_eq!(receiver.delivered(), names("m", 1..=100));
    assert_eq!(lengths(&receiver.requests()), [8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 4]);
}

#[test]
fn one_export_of_many_records_is_sent_in_batches_of_max_batch_records() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let service = Service::batch(exporter(&receiver, &spool).with_max_batch_records(100));
    service.handle.pause();
    service.log_all("m", 1..=250);
    service.sync();
    service.handle.resume();
    service.deliver();

    assert_eq!(receiver.delivered(), names("m", 1..=250));
    assert_eq!(lengths(&receiver.requests()), [100, 100, 50]);
}

#[test]
fn one_record_per_request_is_possible() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let service = Service::batch(exporter(&receiver, &spool).with_max_batch_records(1));
    service.log_all("m", 1..=20);
    service.deliver();

    assert_eq!(receiver.delivered(), names("m", 1..=20));
    assert_eq!(receiver.requests().len(), 20);
}

/// The number of requests that are held.
fn held(log: &common::Log) -> usize {
    log.requests.iter().filter(|request| request.answered.is_none()).count()
}

#[test]
fn several_requests_of_a_partition_are_in_flight_where_that_is_allowed() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let builder = exporter(&receiver, &spool).with_max_batch_records(1).with_max_in_flight(4).with_timeout(NEVER);
    let service = Service::batch(builder);
    service.log_all("m", 1..=100);
    service.deliver();
    // By now it knows that the endpoint responds fast.
    receiver.answer_always(Answer::hang());
    service.log_all("m", 101..=200);
    service.sync();
    receiver.wait_until("several requests that are held", |log| (held(log) >= 2).then_some(()));
    assert!(receiver.look(held) <= 4);
    // They are acknowledged in any order.
    receiver.answer_always(Answer::ok());
    receiver.release();
    service.deliver();

    let mut delivered = receiver.delivered();
    assert_eq!(receiver.look(held), 0);
    delivered.sort();
    assert_eq!(delivered, names("m", 1..=200));
    assert_eq!(receiver.requests().len(), 200);
}

#[test]
fn what_was_in_flight_behind_a_request_that_hung_is_retried_under_the_same_ids_after_a_restart() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let builder = || exporter(&receiver, &spool).with_max_batch_records(1).with_max_in_flight(4).with_timeout(NEVER);
    let service = Service::batch(builder());
    service.log_all("m", 1..=100);
    service.deliver();
    // The first request that is in flight stays so.
    receiver.answer_by(|request| if request.messages[0] == name("m", 101) { Answer::hang() } else { Answer::ok() });
    service.log_all("m", 101..=120);
    service.sync();
    receiver.wait_for_records(119);
    let before: Vec<_> = receiver.requests().iter().map(|request| request.key().to_owned()).collect();
    drop(service);
    receiver.answer_always(Answer::ok());
    let service = Service::batch(builder());
    service.deliver();

    let again: Vec<_> = receiver.requests()[before.len()..].iter().map(|request| request.key().to_owned()).collect();
    // What was acknowledged behind it does not come again.
    assert!(again.len() == 1 && before.contains(&again[0]), "{again:?} after {before:?}");
    let delivered: HashSet<_> = receiver.delivered().into_iter().collect();
    assert_eq!(delivered.len(), 120);
}

#[test]
fn a_body_is_never_longer_than_max_batch_bytes_unless_a_single_record_is() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let service = Service::batch(exporter(&receiver, &spool).with_max_batch_bytes(4_000));
    service.handle.pause();
    for number in 1..=200 {
        let size = if number % 50 == 25 { 10_000 } else { number * 7 % 900 };
        service.log_with(&name("m", number), |record| record.add_attribute("padding", "x".repeat(size)));
        if number % 30 == 0 {
            service.sync();
        }
    }
    service.sync();
    service.handle.resume();
    service.deliver();

    assert_eq!(receiver.delivered(), names("m", 1..=200));
    let requests = receiver.requests();
    for request in &requests {
        assert!(request.body.len() <= 4_000 || request.messages.len() == 1, "{} bytes", request.body.len());
    }
    assert_eq!(requests.iter().filter(|request| request.body.len() > 10_000).count(), 4);
    // No batch could have taken the next one's first record as well.
    for pair in requests.windows(2) {
        let next = &serde_json::to_string(&pair[1].records()[0]).expect("a record");
        // (Numbers can be written shorter here than they were.)
        assert!(pair[0].body.len() + 1 + next.len() > 3_980, "a batch of {} bytes was not filled", pair[0].body.len());
    }
}

#[test]
fn a_batch_waits_for_more_records_while_it_lingers() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let service = Service::simple(exporter(&receiver, &spool).with_linger(NEVER).with_max_batch_records(10));

    service.log_all("m", 1..=25);
    receiver.wait_for_requests(2);
    // Whoever flushes does not want to wait.
    service.deliver();

    assert_eq!(receiver.delivered(), names("m", 1..=25));
    assert_eq!(lengths(&receiver.requests()), [10, 10, 5]);
}

#[test]
fn nothing_that_lingers_escapes_a_flush_whenever_it_comes() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let exporter = exporter(&receiver, &spool).with_linger(NEVER).with_durability(Durability::Process);
    let service = Service::simple(exporter);
    for number in 1..=1_000 {
        service.log(&name("m", number));
        service.flush();
    }
    assert_eq!(receiver.delivered(), names("m", 1..=1_000));
}

#[test]
fn a_batch_lingers_until_it_has_max_batch_bytes() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let service = Service::simple(exporter(&receiver, &spool).with_linger(NEVER).with_max_batch_bytes(2_000));

    for number in 1..=20 {
        service.log_with(&name("m", number), |record| record.add_attribute("padding", "x".repeat(300)));
    }
    receiver.wait_for_requests(2);

    for request in receiver.requests() {
        assert!((2..=5).contains(&request.messages.len()), "{} records", request.messages.len());
    }
}

#[test]
fn a_batch_does_not_linger_for_longer_than_it_may() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let service = Service::simple(exporter(&receiver, &spool).with_linger(Duration::from_millis(50)));

    service.log_all("m", 1..=3);

    assert_eq!(receiver.wait_for_records(3), names("m", 1..=3));
}

#[test]
fn every_batch_has_a_key_of_its_own() {
    let receiver = Receiver::start();
    for _ in 0..2 {
        let spool = spool_dir();
        for _ in 0..2 {
            let exporter = exporter(&receiver, &spool).with_partition_key(by_tenant).with_max_batch_records(5);
            let service = Service::simple(exporter);
            for tenant in ["a", "b"] {
                // The same bytes every time: a key must not depend on what is in the batch alone.
                service.log_of(tenant, 1..=20);
            }
            service.deliver();
            service.provider.shutdown().expect("an orderly end");
        }
    }

    let requests = receiver.requests();
    let keys: HashSet<_> = requests.iter().map(Request::key).collect();
    assert_eq!(keys.len(), requests.len());
    assert_eq!(receiver.delivered().len(), 2 * 2 * 2 * 20);
}

#[test]
fn an_outage_loses_nothing() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let service = Service::batch(exporter(&receiver, &spool));
    service.store_all("before", 1..=100);
    receiver.wait_for_records(100);

    receiver.go_down();
    service.store_all("during", 1..=1_500);
    assert_eq!(service.handle.stats().pending_records, 1_500);
    receiver.come_up();
    service.store_all("after", 1..=100);
    service.deliver();

    let expected = [names("before", 1..=100), names("during", 1..=1_500), names("after", 1..=100)].concat();
    assert_eq!(receiver.delivered(), expected);
}

#[test]
fn the_endpoint_may_come_and_go() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let service = Service::batch(exporter(&receiver, &spool).with_max_batch_records(10));
    for round in 1..=10 {
        service.store_all(&format!("r{round:02}"), 1..=100);
        receiver.go_down();
        service.store_all(&format!("s{round:02}"), 1..=20);
        receiver.come_up();
    }
    service.deliver();

    let expected: Vec<_> = (1..=10)
        .flat_map(|round| [names(&format!("r{round:02}"), 1..=100), names(&format!("s{round:02}"), 1..=20)].concat())
        .collect();
    assert_eq!(receiver.delivered(), expected);
}

#[test]
fn records_are_accepted_while_the_endpoint_hangs() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    receiver.answer_always(Answer::hang());
    let service = Service::batch(exporter(&receiver, &spool).with_timeout(NEVER));

    service.log("first");
    service.sync();
    receiver.wait_for_requests(1);
    service.store_all("m", 1..=3_000);

    assert_eq!(service.handle.stats().accepted_records, 3_001);
    assert_eq!(receiver.requests().len(), 1);
    receiver.answer_always(Answer::ok());
    receiver.release();
    service.deliver();
    assert_eq!(receiver.delivered()[1..], names("m", 1..=3_000));
}

#[test]
fn stats_report_what_happened() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let service = Service::simple(exporter(&receiver, &spool).with_max_batch_records(5));
    let stats = service.handle.stats();
    assert_eq!((stats.accepted_records, stats.delivered_records, stats.pending_records), (0, 0, 0));
    assert_eq!((stats.requests, stats.failed_requests, stats.failed_exports), (0, 0, 0));
    assert_eq!(stats.last_error, None);

    service.handle.pause();
    service.log_all("m", 1..=12);
    let stats = service.handle.stats();
    assert_eq!((stats.accepted_records, stats.delivered_records, stats.pending_records), (12, 0, 12));
    assert!(stats.segments >= 1);
    assert!(stats.disk_bytes > Some(0));

    receiver.answer_next(Answer::status(503));
    receiver.answer_next(Answer::status(200));
    receiver.answer_next(Answer::status(500));
    service.handle.resume();
    service.deliver();
    let stats = service.handle.stats();
    assert_eq!((stats.accepted_records, stats.delivered_records, stats.pending_records), (12, 12, 0));
    assert_eq!((stats.requests, stats.failed_requests), (5, 2));
    assert_eq!((stats.encode_failed_records, stats.failed_exports), (0, 0));
}

#[test]
fn nothing_is_sent_while_delivery_is_paused() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let service = Service::simple(exporter(&receiver, &spool));
    service.log("before");
    receiver.wait_for_records(1);
    service.deliver();

    service.handle.pause();
    service.log_all("m", 1..=10);
    assert_eq!(service.handle.flush(PATIENCE), Err(FlushError::Paused));
    assert_eq!(receiver.requests().len(), 1);
    assert_eq!(service.handle.stats().pending_records, 10);

    service.handle.resume();
    assert_eq!(receiver.wait_for_records(11)[1..], names("m", 1..=10));
}

#[test]
fn a_request_that_is_in_flight_is_counted_though_delivery_is_paused_meanwhile() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    receiver.answer_next(Answer::hang());
    let service = Service::simple(exporter(&receiver, &spool));
    service.log("first");
    receiver.wait_for_requests(1);
    service.handle.pause();
    service.log("second");
    receiver.release();
    receiver.wait_for_records(1);
    service.handle.resume();
    service.deliver();

    assert_eq!(receiver.delivered(), ["first", "second"]);
    assert_eq!(receiver.requests().len(), 2);
}

#[test]
fn flush_returns_when_everything_is_delivered_and_not_before() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let service = Service::simple(exporter(&receiver, &spool).with_timeout(NEVER));
    assert_eq!(service.handle.flush(PATIENCE), Ok(Flushed::default()), "there is nothing to wait for");

    receiver.answer_always(Answer::hang());
    service.log_all("m", 1..=3);
    receiver.wait_for_requests(1);
    let timeout = Duration::from_millis(20);
    let error = service.handle.flush(timeout).expect_err("nothing is delivered");
    assert_eq!(error, FlushError::Timeout { timeout, pending: 3 });
    assert!(error.to_string().contains("3 records"), "{error}");

    receiver.answer_always(Answer::ok());
    receiver.release();
    let flushed = service.handle.flush(PATIENCE).expect("all is delivered");
    assert_eq!((flushed.delivered_records, flushed.rejected_records), (3, 0));
    assert_eq!(receiver.delivered(), names("m", 1..=3));
    assert_eq!(service.handle.stats().pending_records, 0);
}

#[test]
fn flush_says_how_many_records_were_delivered_and_how_many_rejected_since_the_one_before() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    receiver.answer_by(|request| {
        let bad = request.messages.iter().any(|message| message.starts_with("bad"));
        if bad { Answer::status(422).body("no") } else { Answer::ok() }
    });
    let service = Service::simple(exporter(&receiver, &spool));
    let flushed = || {
        let flushed = service.handle.flush(PATIENCE).expect("nothing waits");
        (flushed.delivered_records, flushed.rejected_records)
    };
    service.log("good");
    assert_eq!((flushed(), flushed()), ((1, 0), (0, 0)));
    service.log_all("bad", 1..=2);
    service.wait_for_rejected(2);
    service.handle.pause();
    assert_eq!(service.handle.flush(PATIENCE), Err(FlushError::Paused));
    service.handle.resume();
    let counted = flushed();
    let live = service.handle.stats().delivered_records - 1;
    assert_eq!(counted, (live, 2), "also after a flush that failed");
    assert_eq!(flushed(), (0, 0));
}

#[test]
fn flush_does_not_wait_for_what_is_logged_meanwhile() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let service = Service::simple(exporter(&receiver, &spool).with_max_batch_records(1));
    let (stop, backlog) = (AtomicBool::new(false), 100);
    std::thread::scope(|scope| {
        service.log_all("early", 1..=20);
        for thread in 0..2 {
            // Faster than one record per request: there is always something left.
            let (service, stop) = (&service, &stop);
            scope.spawn(move || {
                for number in 1.. {
                    service.log(&name(&format!("late{thread}"), number));
                    if stop.load(Ordering::Relaxed) && number > backlog {
                        break;
                    }
                }
            });
        }
        let flushed = service.handle.flush(PATIENCE);
        stop.store(true, Ordering::Relaxed);
        flushed.expect("what was there before is delivered");
        assert!(receiver.delivered().starts_with(&names("early", 1..=20)));
    });
}

/// Text lines; a record whose body is `bad` cannot be encoded.
struct Lines;

impl Encoder for Lines {
    fn framing(&self) -> Framing {
        Framing::new("text/x-lines; charset=utf-8", "<\n", "\n--\n", "\n>")
    }

    fn encode(&self, record: &dyn LogView, _scope: &InstrumentationScope, out: &mut Vec<u8>) -> Result<(), BoxError> {
        let Some(AnyValue::String(text)) = record.body() else { return Err("no text".into()) };
        out.extend_from_slice(text.as_str().as_bytes());
        if text.as_str() == "bad" { Err("bad is bad".into()) } else { Ok(()) }
    }
}

#[test]
fn an_encoder_of_ones_own_decides_what_a_body_looks_like() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let service = Service::batch(exporter(&receiver, &spool).with_encoder(Lines).with_max_batch_records(2));
    service.handle.pause();
    service.log_these(&["one", "two", "three"]);
    service.sync();
    service.handle.resume();
    service.deliver();

    let bodies: Vec<_> = receiver.requests().into_iter().map(|request| request.body).collect();
    assert_eq!(bodies, ["<\none\n--\ntwo\n>", "<\nthree\n>"]);
    assert_eq!(receiver.requests()[0].header("content-type"), Some("text/x-lines; charset=utf-8"));
}

#[test]
fn a_record_that_cannot_be_encoded_is_counted_and_holds_nobody() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let service = Service::batch(exporter(&receiver, &spool).with_encoder(Lines));
    service.handle.pause();
    service.log_these(&["bad", "one", "bad", "bad", "two", "bad"]);
    service.sync();
    let stats = service.handle.stats();
    assert_eq!((stats.accepted_records, stats.encode_failed_records), (2, 4));
    service.handle.resume();
    service.deliver();

    assert_eq!(receiver.requests()[0].body, "<\none\n--\ntwo\n>");
}

#[test]
fn many_partitions_are_all_served() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let service = Service::batch(exporter(&receiver, &spool).with_partition_key(by_tenant));
    for number in 1..=5 {
        for tenant in 0..200 {
            service.log_of(&format!("tenant{tenant}/ü\n"), number..=number);
        }
        service.sync();
    }
    service.deliver();

    let mut of_tenants: HashMap<String, Vec<String>> = HashMap::new();
    for message in receiver.delivered() {
        let (tenant, number) = message.rsplit_once('-').expect("a message");
        of_tenants.entry(tenant.to_owned()).or_default().push(number.to_owned());
    }
    assert_eq!(of_tenants.len(), 200);
    assert!(of_tenants.into_values().all(|numbers| numbers == ["000001", "000002", "000003", "000004", "000005"]));
}

#[test]
fn an_endpoint_that_is_down_is_not_asked_by_every_partition() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let exporter = exporter(&receiver, &spool).with_retry_policy(patient());
    let service = Service::batch(exporter.with_partition_key(by_tenant));
    for tenant in 0..200 {
        service.log_of(&format!("tenant{tenant}"), 1..=2);
    }
    service.sync();
    service.wait_for_stats("requests", |stats| stats.requests >= 16);
    let [first, second] = [(); 2].map(|()| {
        service.handle.flush(Duration::from_millis(500)).expect_err("the endpoint is down");
        service.handle.stats().requests
    });
    assert!(first < 64 && second - first <= 2, "{first} requests, then {second}");

    receiver.come_up();
    service.deliver();
    assert_eq!(receiver.delivered().len(), 400);
}

#[test]
fn many_partitions_that_find_no_endpoint_at_once_do_not_add_up_to_a_long_wait() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let mut policy = impatient();
    (policy.initial_delay, policy.max_delay) = (Duration::from_millis(50), NEVER);
    let exporter = exporter(&receiver, &spool).with_retry_policy(policy).with_partition_key(by_tenant);
    let service = Service::batch(exporter);
    for tenant in 0..64 {
        service.log_of(&format!("tenant{tenant}"), 1..=1);
    }
    service.sync();
    // The sixteen that report, and those that were in flight then.
    service.wait_for_stats("requests", |stats| stats.failed_requests >= 16 + 15);
    receiver.come_up();
    receiver.wait_for_records(64);
}
