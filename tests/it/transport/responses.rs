//! The body of a response: long, broken off, without an end, and repeating what it was sent.

use common::children::NEVER;
use common::{Answer, Receiver, Service, exporter, exporter_to, spool_dir};

use super::raw::Raw;

#[test]
fn a_success_is_one_without_its_end_where_the_status_says_it_all() {
    let server = Raw::start(|connection| {
        while connection.request().is_some() {
            connection.say("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n");
        }
    });
    let spool = spool_dir();
    let service = Service::simple(exporter_to(&server.url(), &spool).with_timeout(NEVER));
    for message in ["a", "b"] {
        service.log(message);
        service.deliver();
    }
    assert_eq!((server.requests(), service.handle.stats().delivered_records), (2, 2));
}

#[test]
fn a_secret_that_a_server_repeats_is_neither_shown_nor_stored() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    receiver.answer_by(|request| {
        if !request.messages.iter().any(|message| message == "hello") {
            return Answer::ok();
        }
        let heads = request.headers.iter().map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap_or("?")));
        Answer::status(400).body(&format!("\u{1b}[2J{} {}", request.target, heads.collect::<String>()))
    });
    let service = Service::simple(
        exporter(&receiver, &spool)
            .with_endpoint(receiver.url("/ingest?key=qu3ry-key"))
            .with_headers([("authorization", "Bearer t0ken-of-ours"), ("x-api-key", "k3y-of-ours")]),
    );
    service.log("hello");
    service.wait_for_rejected(1);

    let rejected = service.handle.rejected().expect("the rejected store");
    let kept = &rejected[0].response;
    assert!(kept.contains("/ingest?key=***") && kept.contains("x-api-key: ***"), "{kept}");
    let shown = format!("{kept} {:?}", service.handle.stats());
    for secret in ["t0ken-of-ours", "k3y-of-ours", "qu3ry-key", "\u{1b}"] {
        assert!(!shown.contains(secret), "{secret:?} in {shown}");
    }
    assert!(kept.len() <= 4 << 10);
}
