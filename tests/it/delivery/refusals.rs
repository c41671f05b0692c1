//! A record that the receiver rejects for good costs itself alone, and is kept; too large a batch is split.

use std::collections::HashSet;

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

/// What was delivered, without the live records.
fn delivered(receiver: &Receiver) -> Vec<String> {
    receiver.delivered().into_iter().filter(|message| !message.starts_with("live")).collect()
}

#[test]
fn a_bad_record_is_found_and_rejected_and_the_others_arrive_in_order_but_for_the_probes() {
    for status in [400, 415, 422] {
        let (receiver, spool) = (Receiver::start(), spool_dir());
        rejects_bad_records(&receiver, status);
        let service = Service::batch(exporter(&receiver, &spool).with_max_batch_records(64));
        let messages = log_with_bad_ones(&service, &[1, 77, 78, 200], 200);
        let stats = service.wait_for_rejected(4);
        service.deliver();

        let mut good: Vec<_> = messages.iter().filter(|message| !is_bad(message)).cloned().collect();
        let mut delivered = delivered(&receiver);
        let early = delivered.windows(2).filter(|pair| pair[0] > pair[1]).count() as u64;
        assert!((1..=stats.probed_records).contains(&early), "{early} early, {} probed", stats.probed_records);
        delivered.sort();
        good.sort();
        assert_eq!(delivered, good);
        let mut rejected = service.handle.rejected().expect("the rejected store");
        rejected.sort_by(|a, b| a.body.cmp(&b.body));
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
        assert_eq!((stats.rejected_records, stats.pending_records), (4, 0));
        // For each bad record: its batch of 64, a part of each split, and a control that can be bad as well. How often each comes
        // again depends on how soon another is taken.
        let refused = receiver.requests().into_iter().filter(|request| request.answered != Some(200));
        let refused: HashSet<_> = refused.map(|request| request.key().to_owned()).collect();
        assert!(refused.len() <= 4 * (1 + 6 + 1), "{} batches were refused", refused.len());
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
    service.wait_for_rejected(1);
    service.deliver();

    assert_eq!(delivered(&receiver), ["before", "after"]);
    let rejected = service.handle.rejected().expect("the rejected store");
    assert_eq!(rejected.iter().map(|record| record.status).collect::<Vec<_>>(), [413]);
}

#[test]
fn a_server_that_rejects_everything_is_not_flooded_and_no_record_reaches_the_rejected_store() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    receiver.answer_always(Answer::status(400).body("there is no field `x`"));
    // The default policy: a partition that seems to be rejected altogether is retried every 15 to 30 s.
    let service =
        Service::batch(exporter(&receiver, &spool).with_retry_policy(opentelemetry_spool::RetryPolicy::default()));
    let messages = log_with_bad_ones(&service, &[], 500);
    receiver.wait_for_requests(2);
    assert!(service.handle.flush(std::time::Duration::from_millis(300)).is_err());

    // The batch, at most sixteen controls, and those of the flush.
    assert!(receiver.requests().len() <= 24, "{} requests", receiver.requests().len());
    assert_eq!(service.handle.stats().rejected_records, 0);

    receiver.answer_always(Answer::ok());
    service.deliver();
    let mut delivered = receiver.delivered();
    delivered.sort();
    assert_eq!(delivered, messages);
}

#[test]
fn a_partition_that_is_rejected_does_not_hold_the_others_and_loses_nothing() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    rejects_bad_records(&receiver, 400);
    let service = Service::batch(exporter(&receiver, &spool).with_partition_key(by_tenant));
    for number in 1..=100 {
        service.log_of("bad", number..=number);
        service.log_of("good", number..=number);
    }
    service.sync();
    assert_eq!(receiver.wait_for_records(100), names("good", 1..=100));

    let stats = service.wait_for_stats("all that is good", |stats| stats.pending_records == 100);
    assert_eq!(stats.rejected_records, 0, "nothing of that partition is taken");
    receiver.answer_always(Answer::ok());
    service.deliver();
    assert_eq!(service.handle.stats().rejected_records, 0);
}

#[test]
fn a_rejected_store_that_is_full_holds_what_is_refused_and_nothing_else() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    rejects_bad_records(&receiver, 400);
    let service = Service::simple(exporter(&receiver, &spool).with_max_rejected_bytes(3_000));
    service.log("good-0");
    service.store_all("bad", 1..=12);
    let stats = service.wait_for_rejected(3);
    service.store_all("good", 1..=50);
    let stats = service.wait_for_stats("what is good", |now| now.delivered_records >= stats.delivered_records + 50);
    assert!(stats.pending_records > 0, "{stats:?}");
    service.handle.pause();
    let stats = service.wait_for_stats("nothing in flight", |stats| stats.in_flight_requests == 0);
    let kept = service.handle.rejected().expect("the rejected store").len() as u64;
    assert_eq!(service.handle.stats().rejected_records, kept, "none is evicted");
    assert!(stats.rejected_records < 12 && stats.pending_records > 0, "{stats:?}");
    let files = || std::fs::read_dir(spool.path().join("rejected")).expect("a directory").flatten();
    let bytes: u64 = files().map(|file| file.metadata().expect("a file").len()).sum();
    assert!(bytes <= 3_000, "{bytes} bytes");

    // Once there is room, the rest is kept: nothing of it before that is counted anew.
    drop(service);
    for file in files() {
        std::fs::remove_file(file.path()).expect("a file that is deleted");
    }
    let service = Service::simple(exporter(&receiver, &spool));
    service.wait_for_rejected(12 - kept);
    service.deliver();
}
