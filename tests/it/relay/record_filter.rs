//! The record filter of a relay: it sees log records of every protocol, and what it leaves out is nowhere.

use common::children::filtered::{SECRET, filter};
use common::{Receiver, files_with, spool_dir, wait_for};
use opentelemetry_spool::{Filtered, Listener, Protocol, Redaction};

use super::message::{JSON, PROTOBUF, otlp_json, otlp_protobuf};
use super::{any_port, builder, http_of};

fn messages() -> Vec<String> {
    ["drop", "panic", "body", "none"].map(|prefix| format!("{prefix}-{SECRET}")).into_iter().collect()
}

#[test]
fn what_a_filter_leaves_out_is_in_no_file_whatever_came_and_whatever_is_stored() {
    for stored in [None, Some(Protocol::HttpBinary), Some(Protocol::HttpJson)] {
        let (receiver, spool) = (Receiver::start_down(), spool_dir());
        let builder = builder(&receiver, spool.path()).with_listener(Listener::Http(any_port()));
        let builder = match stored {
            Some(protocol) => builder.with_protocol(protocol),
            None => builder,
        };
        let relay = builder.with_record_filter(filter).build().expect("a relay");
        let mut client = http_of(&relay);
        let all = [messages(), vec!["keep-all".to_owned()]].concat();
        for (kind, body) in [(JSON, otlp_json(&all)), (PROTOBUF, otlp_protobuf(&all))] {
            let response = client.ask("POST", "/v1/logs", &[kind], &body).expect("a response");
            assert_eq!(response.status, 200, "{stored:?}: {}", response.text());
        }
        let stats = wait_for("all records", || {
            let stats = relay.logs().stats();
            (stats.accepted_records == 6).then_some(stats)
        });
        assert_eq!((stats.filtered_records, stats.encode_failed_records), (2, 2), "{stored:?}");
        assert!(!files_with(spool.path(), b"keep-all").is_empty(), "{stored:?}");
        assert_eq!(files_with(spool.path(), SECRET.as_bytes()), Vec::<std::path::PathBuf>::new(), "{stored:?}");
        receiver.come_up();
        wait_for("the deliveries", || (relay.logs().stats().delivered_records == 6).then_some(()));
        let sent: Vec<_> = receiver.requests().iter().flat_map(|request| request.body.to_vec()).collect();
        let has = |text: &str| sent.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(has("keep-all") && has("redacted") && !has(SECRET), "{stored:?}");
    }
}

/// A field of protobuf with bytes in it.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let byte = |number: usize| u8::try_from(number).expect("a short field");
    [&[(number << 3) | 2, byte(bytes.len() & 0x7f) | 0x80, byte(bytes.len() >> 7)][..], bytes].concat()
}

#[test]
fn what_a_filter_cannot_see_of_a_record_is_not_stored_either() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let builder = builder(&receiver, spool.path()).with_listener(Listener::Http(any_port()));
    let builder = builder.with_protocol(Protocol::HttpBinary);
    let redact = |record: &dyn opentelemetry_spool::LogView| match record.body() {
        Some(opentelemetry::logs::AnyValue::String(body)) if body.as_str() == "redact" => {
            Filtered::Redact(Redaction::new().without("password"))
        }
        _ => Filtered::Keep,
    };
    let relay = builder.with_record_filter(move |record, _| redact(record)).build().expect("a relay");
    let text = |text: &str| field(1, text.as_bytes());
    let body = |value: &str| field(5, &text(value));
    let password = field(6, &[field(1, b"password"), field(2, &text(SECRET))].concat());
    let nested = (0..60).fold(text(SECRET), |inner, _| field(5, &field(1, &inner)));
    let records = [
        // Of two bodies the last one counts, and of two values of one.
        [body(SECRET), body("keep-1")].concat(),
        field(5, &[text(SECRET), text("keep-2")].concat()),
        // What this version does not know.
        [body("keep-3"), field(15, SECRET.as_bytes())].concat(),
        [body("keep-4"), field(6, &[field(1, b"deep"), field(2, &nested)].concat())].concat(),
        // Its last field has no end.
        [body("redact"), password.clone(), vec![(6 << 3) | 2, 100]].concat(),
        [body("redact"), password].concat(),
    ];
    let records: Vec<u8> = records.iter().flat_map(|record| field(2, record)).collect();
    let request = field(1, &field(2, &records));
    let response = http_of(&relay).ask("POST", "/v1/logs", &[PROTOBUF], &request).expect("a response");
    assert_eq!(response.status, 200, "{}", response.text());
    let stats = wait_for("all records", || {
        let stats = relay.logs().stats();
        (stats.accepted_records + stats.encode_failed_records == 6).then_some(stats)
    });
    assert_eq!(stats.encode_failed_records, 1);
    assert_eq!(files_with(spool.path(), SECRET.as_bytes()), Vec::<std::path::PathBuf>::new());
    receiver.come_up();
    wait_for("the deliveries", || (relay.logs().stats().delivered_records == 5).then_some(()));
    let sent: Vec<_> = receiver.requests().iter().flat_map(|request| request.body.to_vec()).collect();
    let has = |text: &str| sent.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(["keep-1", "keep-2", "keep-3", "keep-4", "redact"].into_iter().all(has) && !has(SECRET));
}

#[test]
fn a_request_of_which_a_filter_drops_everything_is_taken() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let builder = builder(&receiver, spool.path()).with_listener(Listener::Http(any_port()));
    let relay = builder.with_record_filter(filter).build().expect("a relay");
    let mut client = http_of(&relay);
    let response = client.ask("POST", "/v1/logs", &[JSON], &otlp_json(&["drop-1".to_owned()])).expect("a response");
    assert_eq!((response.status, &*response.text()), (200, "{}"));
    assert_eq!(relay.logs().stats().filtered_records, 1);
    let response = client.ask("POST", "/v1/logs", &[JSON], &otlp_json(&["keep-2".to_owned()])).expect("a response");
    assert_eq!(response.status, 200);
    assert_eq!(receiver.wait_for_records(1), ["keep-2"]);
}
