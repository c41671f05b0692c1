//! What clients of HTTP are answered, and when.

use common::{Receiver, noise, spool_dir, wait_for};
use opentelemetry_spool::{FullPolicy, Listener};

use super::client::{Http, Response, ask};
use super::message::{FORM, JSON, PROTOBUF, gzip, otlp_json, otlp_protobuf};
use super::{any_port, builder, http_of, http_relay};

/// A request, and what is answered: the content type, and the body.
type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], Vec<u8>, Option<&'a str>, &'a [u8]);

fn assert_answered(response: &Response, content_type: Option<&str>, body: &[u8], of: &str) {
    assert_eq!(response.status, 200, "{of}: {}", response.text());
    assert_eq!(response.header("content-length"), Some(&*body.len().to_string()), "{of}");
    assert_eq!(response.header("content-type"), content_type, "{of}");
    assert_eq!((response.header("retry-after"), &*response.body), (None, body), "{of}");
}

#[test]
fn what_is_stored_is_answered_200_in_the_form_of_the_client() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let relay = http_relay(&receiver, spool.path());
    let record = |name: &str| vec![name.to_owned()];
    let python = br#"[{"message":"array","created":1764201600.5,"level":{"number":20,"name":"INFO"}}]"#;
    let cases: Vec<Case<'_>> = vec![
        ("POST", "/v1/logs", &[JSON], otlp_json(&record("json")), Some(JSON.1), b"{}"),
        ("POST", "/v1/logs", &[PROTOBUF], otlp_protobuf(&record("protobuf")), Some(PROTOBUF.1), b""),
        ("POST", "/otlp/v1/logs", &[JSON], otlp_json(&record("prefix")), Some(JSON.1), b"{}"),
        ("POST", "/", &[JSON], otlp_json(&record("root")), Some(JSON.1), b"{}"),
        (
            "POST",
            "/v1/logs",
            &[PROTOBUF, ("Content-Encoding", "gzip")],
            gzip(&otlp_protobuf(&record("gzip"))),
            Some(PROTOBUF.1),
            b"",
        ),
        ("POST", "/v1/logs", &[PROTOBUF], Vec::new(), Some(PROTOBUF.1), b""),
        ("POST", "/log", &[FORM], b"msg=form&levelname=INFO&levelno=20&created=1.5&args=%28%29".to_vec(), None, b""),
        ("GET", "/log?msg=query&levelname=INFO&levelno=20&created=1.5", &[], Vec::new(), None, b""),
        ("POST", "/logs", &[JSON], python.to_vec(), None, b""),
        ("POST", "/", &[("Content-Type", "text/plain")], b"text".to_vec(), None, b""),
    ];
    let mut connection = http_of(&relay);
    for (method, target, headers, body, content_type, expected) in &cases {
        let response = connection.ask(method, target, headers, body).expect("a response");
        assert_answered(&response, *content_type, expected, target);
        assert_eq!(response.header("keep-alive"), Some("timeout=60"), "{target}");
    }
    let mut delivered = receiver.wait_for_records(cases.len() - 1);
    delivered.sort();
    assert_eq!(delivered, ["array", "form", "gzip", "json", "prefix", "protobuf", "query", "root", "text"]);
    // A success says nothing about records that were rejected, since none were.
    assert_eq!((relay.stats().records(), relay.logs().stats().lost_records), (9, 0));
}

#[test]
fn health_checks_are_answered_and_hold_no_record() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let relay = http_relay(&receiver, spool.path());
    let mut connection = http_of(&relay);
    for (method, target) in [("HEAD", "/"), ("GET", "/"), ("HEAD", "/v1/logs"), ("HEAD", "/?msg=a&levelname=INFO")] {
        let response = connection.ask(method, target, &[], b"").expect("a response");
        assert_answered(&response, None, b"", target);
    }
    assert_eq!(relay.stats().listeners[0].messages, 0);
    assert_eq!(relay.logs().stats().accepted_records, 0);
}

#[test]
fn a_client_of_http_1_0_is_answered_and_the_connection_closed() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let relay = http_relay(&receiver, spool.path());
    let mut connection = http_of(&relay);
    connection.send(b"GET /log?msg=old&levelname=INFO HTTP/1.0\r\nHost: localhost\r\n\r\n").expect("it is sent");
    let response = connection.response(false).expect("a response");
    assert_answered(&response, None, b"", "HTTP/1.0");
    assert!(connection.is_closed());
    assert_eq!(receiver.wait_for_records(1), ["old"]);
}

#[test]
fn a_client_that_sends_again_is_told_once_that_it_is_stored_and_again() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let relay = http_relay(&receiver, spool.path());
    let body = otlp_json(&["once".to_owned()]);
    let mut connection = http_of(&relay);
    for _ in 0..3 {
        let response = connection.ask("POST", "/v1/logs", &[JSON], &body).expect("a response");
        assert_answered(&response, Some(JSON.1), b"{}", "a repetition");
    }
    // Two texts that are alike are two records: these clients never send one again.
    for _ in 0..2 {
        let response = connection.ask("POST", "/", &[("Content-Type", "text/plain")], b"twice").expect("a response");
        assert_answered(&response, None, b"", "a text");
    }
    assert_eq!(receiver.wait_for_records(3), ["once", "twice", "twice"]);
    assert_eq!(relay.stats().dropped(opentelemetry_spool::DropReason::Duplicate), 2);
}

#[test]
fn a_body_that_is_none_of_otlp_is_refused_in_its_form() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let relay = http_relay(&receiver, spool.path());
    let mut connection = http_of(&relay);
    for (headers, body) in [(JSON, &b"{\"resourceLogs\":[{"[..]), (PROTOBUF, b"\xff\xff\xff")] {
        let response = connection.ask("POST", "/v1/logs", &[headers], body).expect("a response");
        assert_eq!((response.status, response.header("content-type")), (400, Some(headers.1)), "{}", response.text());
        assert_eq!(response.header("retry-after"), None);
        assert!(!response.body.is_empty());
    }
    let spans = br#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"a"}]}]}]}"#;
    let response = connection.ask("POST", "/v1/traces", &[JSON], spans).expect("a response");
    assert_eq!(response.status, 404, "an endpoint of JSON gets no spans: {}", response.text());
    assert_eq!(relay.logs().stats().accepted_records, 0);
}

#[test]
fn a_full_spool_that_refuses_is_503_with_the_time_to_wait() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let builder = builder(&receiver, spool.path()).with_listener(Listener::Http(any_port()));
    let builder = builder.with_segment_bytes(1 << 20).with_max_spool_bytes(8 << 20);
    let relay = builder.with_full_policy(FullPolicy::RejectNew).build().expect("a relay");
    let mut connection = http_of(&relay);
    let mut stored = Vec::new();
    let refused = (0..).find_map(|number: usize| {
        assert!(number < 10_000, "it never becomes full");
        let id = format!("{number} {}", noise(100_000));
        let body = otlp_json(std::slice::from_ref(&id));
        let response = connection.ask("POST", "/v1/logs", &[JSON], &body).expect("a response");
        if response.status == 200 {
            stored.push(id);
            return None;
        }
        Some((body, response))
    });
    let (body, response) = refused.expect("a refusal");
    assert_eq!((response.status, response.header("retry-after")), (503, Some("3")), "{}", response.text());
    assert_eq!(response.header("content-type"), Some(JSON.1));

    // What was refused is stored when it is sent again and there is room.
    receiver.come_up();
    receiver.wait_for_records(stored.len());
    wait_for("room in the spool", || {
        let response = connection.ask("POST", "/v1/logs", &[JSON], &body).expect("a response");
        (response.status == 200).then_some(())
    });
    assert_eq!(receiver.wait_for_records(stored.len() + 1)[..stored.len()], stored);
    assert_eq!(relay.logs().stats().lost_records, 0, "who was refused sends it again");
}

#[test]
fn requests_that_come_together_are_answered_in_their_order() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let relay = http_relay(&receiver, spool.path());
    let mut connection = http_of(&relay);
    let texts: Vec<_> = (0..20).map(|number| format!("text {number}")).collect();
    let requests: Vec<_> = texts
        .iter()
        .map(|text| {
            format!("POST / HTTP/1.1\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{text}", text.len())
        })
        .collect();
    connection.send(requests.concat().as_bytes()).expect("it is sent");
    for text in &texts {
        assert_answered(&connection.response(false).expect("a response"), None, b"", text);
    }
    assert_eq!(receiver.wait_for_records(texts.len()), texts);
}

#[test]
fn a_client_that_asks_whether_it_may_send_is_told_so_first() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let relay = http_relay(&receiver, spool.path());
    let mut connection = http_of(&relay);
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    connection.send(head.as_bytes()).expect("it is sent");
    assert_eq!(connection.response(false).expect("a permission").status, 100);
    connection.send(b"hello").expect("it is sent");
    assert_answered(&connection.response(false).expect("a response"), None, b"", "100-continue");
    assert_eq!(receiver.wait_for_records(1), ["hello"]);
}

#[test]
fn a_body_in_chunks_is_taken() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let relay = http_relay(&receiver, spool.path());
    let mut connection = Http::connect(relay.addresses()[0]).expect("the relay listens");
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n";
    for piece in [head, "3\r\nhel\r\n", "2\r\nlo\r\n", "0\r\n\r\n"] {
        connection.send(piece.as_bytes()).expect("it is sent");
    }
    assert_answered(&connection.response(false).expect("a response"), None, b"", "chunks");
    let closing = ask(relay.addresses()[0], "GET", "/?log=closing", &[("Connection", "close")], "");
    assert_eq!((closing.status, closing.header("connection")), (200, Some("close")));
    assert_eq!(receiver.wait_for_records(2), ["hello", "closing"]);
}
