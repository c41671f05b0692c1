//! A record that the receiver rejects for good costs itself alone, and is kept; too large a batch is split.

use common::{Answer, Receiver, Request, Service, by_tenant, exporter, name, names, spool_dir};

fn is_bad(message: &str) -> bool {
    message.starts_with("bad")
}

/// Refuses every request that has a bad record in it.
fn rejects_bad_records(receiver: &Receiver, status: u16) {
    receiver.answer_by(move |request: &Request| {
        let bad = request.messages.iter().any(|message| is_bad(message));
        if bad { Answer::status(status).body("there is no field `x`") } else { Answer::ok() }
    });
}

/// Logs records, of which these are bad, so that they come in one batch; gives the messages.
fn log_with_bad_ones(service: &Service, bad: &[usize], count: usize) -> Vec<String> {
    service.handle.pause();
    let message = |number| name(if bad.contains(&number) { "bad" } else { "good" }, number);
    let messages: Vec<_> = (1..=count).map(message).collect();
    for message in &messages {
        service.log(message);
    }
    service.sync();
    service.handle.resume();
    messages
}

#[test]
fn a_bad_record_is_found_and_rejected_and_the_others_arrive_in_order() {
    for status in [400, 415, 422] {
        let (receiver, spool) = (Receiver::start(), spool_dir());
        rejects_bad_records(&receiver, status);
        let service = Service::batch(exporter(&receiver, &spool).with_max_batch_records(64));
        let messages = log_with_bad_ones(&service, &[1, 77, 78, 200], 200);
        service.deliver();

        let good: Vec<_> = messages.iter().filter(|message| !is_bad(message)).cloned().collect();
        assert_eq!(receiver.delivered(), good);
        let rejected = service.handle.rejected().expect("the rejected store");
        assert_eq!(rejected.len(), 4);
        for (record, number) in rejected.iter().zip([1, 77, 78, 200]) {
            assert_eq!((record.status, &*record.response), (status, "there is no field `x`"));
            let body: serde_json::Value = serde_json::from_slice(&record.body).expect("the body as it was sent");
            assert_eq!(body[0]["message"], name("bad", number));
            let sent = receiver.requests();
            let refused = sent.iter().find(|request| request.key() == record.batch_id).expect("that request");
            assert_eq!(refused.body, record.body);
        }
        let stats = service.handle.stats();
        assert_eq!((stats.delivered_records, stats.rejected_records, stats.pending_records), (196, 4, 0));
        // Each bad record takes a request for each split of its batch of 64, and a request for itself.
        assert!(receiver.requests().len() <= 4 + 4 * (1 + 2 * 6), "{} requests", receiver.requests().len());
    }
}

#[test]
fn a_batch_that_is_too_large_is_split_until_it_is_not() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    receiver.answer_by(|request| if request.body.len() > 3_000 { Answer::status(413) } else { Answer::ok() });
    let service = Service::batch(exporter(&receiver, &spool));
    let messages = log_with_bad_ones(&service, &[], 100);
    service.deliver();

    assert_eq!(receiver.delivered(), messages);
    assert_eq!(service.handle.rejected().expect("the rejected store"), []);
}

#[test]
fn a_single_record_that_is_too_large_is_rejected() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    receiver.answer_by(|request| if request.body.len() > 100_000 { Answer::status(413) } else { Answer::ok() });
    let service = Service::simple(exporter(&receiver, &spool));
    service.log("before");
    service.log_with("large", |record| {
        opentelemetry::logs::LogRecord::add_attribute(record, "padding", "x".repeat(200_000));
    });
    service.log("after");
    service.deliver();

    assert_eq!(receiver.delivered(), ["before", "after"]);
    let rejected = service.handle.rejected().expect("the rejected store");
    assert_eq!(rejected.iter().map(|record| record.status).collect::<Vec<_>>(), [413]);
}

#[test]
fn a_server_that_rejects_everything_is_not_flooded_and_few_records_reach_the_rejected_store() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    receiver.answer_always(Answer::status(400));
    // The default policy: a partition that seems to be rejected altogether is retried every 15 to 30 s.
    let service =
        Service::batch(exporter(&receiver, &spool).with_retry_policy(opentelemetry_spool::RetryPolicy::default()));
    log_with_bad_ones(&service, &[], 500);
    receiver.wait_for_requests(32);
    assert!(service.handle.flush(std::time::Duration::from_millis(300)).is_err());

    // The flush itself makes one more.
    assert!(receiver.requests().len() <= 34, "{} requests", receiver.requests().len());
    let rejected = service.handle.stats().rejected_records;
    assert!(rejected <= 20, "{rejected} of 500 rejected");

    receiver.answer_always(Answer::ok());
    service.deliver();
    let stats = service.handle.stats();
    assert_eq!(stats.delivered_records + stats.rejected_records, 500);
}

#[test]
fn a_partition_that_is_rejected_does_not_hold_the_others() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    rejects_bad_records(&receiver, 400);
    let service = Service::batch(exporter(&receiver, &spool).with_partition_key(by_tenant));
    for number in 1..=100 {
        service.log_of("bad", number..=number);
        service.log_of("good", number..=number);
    }
    service.deliver();

    assert_eq!(receiver.delivered(), names("good", 1..=100));
    assert_eq!(service.handle.stats().rejected_records, 100);
}

#[test]
fn the_rejected_store_outlives_the_exporter_and_when_it_is_full_what_is_rejected_waits() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    receiver.answer_always(Answer::status(400));
    let service = Service::simple(exporter(&receiver, &spool).with_max_rejected_bytes(20_000));
    service.store_all("bad", 1..=100);
    let is_full = |error: &String| error.contains("the rejected store") && error.contains("20000 bytes");
    let stats = service.wait_for_stats("a full store", |stats| stats.last_error.as_ref().is_some_and(is_full));
    assert_eq!(stats.pending_records, 100 - stats.rejected_records, "nothing is lost");
    drop(service);

    receiver.go_down();
    let service = Service::simple(exporter(&receiver, &spool));
    let rejected = service.handle.rejected().expect("the rejected store");
    assert!(!rejected.is_empty() && rejected.len() < 60, "{}", rejected.len());
    let first: serde_json::Value = serde_json::from_slice(&rejected.first().expect("one").body).expect("JSON");
    assert_eq!(first[0]["message"], name("bad", 1));
    let files = std::fs::read_dir(spool.path().join("rejected")).expect("a directory").flatten();
    let bytes: u64 = files.map(|file| file.metadata().expect("a file").len()).sum();
    assert!(bytes <= 20_000, "{bytes} bytes");
}
