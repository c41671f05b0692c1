//! The status page of a relay that runs.

use std::net::SocketAddr;

use common::{Receiver, noise, spool_dir, wait_for};
use opentelemetry_spool::{FullPolicy, Listener, PartitionBy, Relay};
use serde_json::Value;

use super::client::{Response, ask};
use super::message::{JSON, otlp_json};
use super::{any_port, builder, http_of};

fn relay(receiver: &Receiver, spool: &std::path::Path) -> Relay {
    let builder = builder(receiver, spool).with_listener(Listener::Http(any_port())).with_status(any_port());
    builder.build().expect("a relay")
}

fn status_of(relay: &Relay) -> SocketAddr {
    relay.status_address().expect("a status page")
}

fn get(relay: &Relay, target: &str) -> Response {
    ask(status_of(relay), "GET", target, &[], "")
}

fn json_of(relay: &Relay) -> Value {
    let response = get(relay, "/status.json");
    assert_eq!((response.status, response.header("content-type")), (200, Some("application/json")));
    serde_json::from_slice(&response.body).expect("JSON")
}

#[test]
fn each_page_shows_the_counts_of_the_relay() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let relay = relay(&receiver, spool.path());
    let mut client = http_of(&relay);
    let body = otlp_json(&["one".to_owned(), "two".to_owned()]);
    for _ in 0..2 {
        assert_eq!(client.ask("POST", "/v1/logs", &[JSON], &body).expect("a response").status, 200);
    }

    let page = get(&relay, "/");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(page.header("content-security-policy").is_some_and(|policy| policy.contains("default-src 'self'")));
    let status = json_of(&relay);
    let signal = &status["signals"][0];
    assert_eq!((&signal["accepted"], &signal["pending"]), (&2.into(), &2.into()), "{status}");
    assert!(status["endpoint"].as_str().is_some_and(|endpoint| endpoint.ends_with("/ingest")));
    let metrics = get(&relay, "/metrics").text();
    for line in ["opentelemetry_spool_accepting 1", "pending_records{signal=\"logs\"} 2", "duplicate"] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    assert_eq!((get(&relay, "/healthz").status, &*get(&relay, "/healthz").text()), (200, "ok\n"));
    assert_eq!(get(&relay, "/nothing").status, 404);

    let failing = wait_for("the same words in both places", || {
        let status = json_of(&relay);
        let words = status["verdict"]["detail"].as_str()?.to_owned();
        (status["signals"][0]["last_error"] == words).then_some(words)
    });
    assert!(failing.starts_with(&format!("{}: no connection to ", receiver.url("/ingest"))), "{failing}");

    receiver.come_up();
    receiver.wait_for_records(2);
    wait_for("what is delivered", || (json_of(&relay)["signals"][0]["pending"] == 0).then_some(()));
    // A page is no message, and no connection of a client.
    let listener = &relay.stats().listeners[0];
    assert_eq!((listener.connections, listener.messages), (1, 2));
}

#[test]
fn head_says_the_length_of_the_page_and_sends_none() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let relay = relay(&receiver, spool.path());
    for target in ["/", "/status.js", "/status.css", "/healthz"] {
        let (page, head) = (get(&relay, target), ask(status_of(&relay), "HEAD", target, &[], ""));
        assert_eq!((page.status, head.status), (200, 200), "{target}");
        assert_eq!(head.header("content-length"), Some(&*page.body.len().to_string()), "{target}");
        assert_eq!(head.header("content-type"), page.header("content-type"), "{target}");
    }
}

#[test]
fn the_page_is_not_for_other_sites_and_takes_nothing() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let relay = relay(&receiver, spool.path());
    let foreign = [("Origin", "https://page.example"), ("Sec-Fetch-Site", "cross-site"), ("Host", "page.example")];
    for header in foreign {
        assert_eq!(ask(status_of(&relay), "GET", "/status.json", &[header], "").status, 403, "{header:?}");
    }
    assert_eq!(ask(status_of(&relay), "GET", "/", &[("Sec-Fetch-Site", "same-origin")], "").status, 200);
    let refused = ask(status_of(&relay), "POST", "/v1/logs", &[JSON], otlp_json(&["a".to_owned()]));
    assert_eq!(refused.status, 404);
    let refused = ask(status_of(&relay), "POST", "/status.json", &[], "");
    assert_eq!((refused.status, refused.header("allow")), (405, Some("GET, HEAD")));
    assert_eq!(relay.logs().stats().accepted_records, 0);
}

#[test]
fn partition_keys_are_shown_only_when_they_are_asked_for() {
    for shown in [false, true] {
        let (receiver, spool) = (Receiver::start_down(), spool_dir());
        let builder = builder(&receiver, spool.path()).with_listener(Listener::Http(any_port()));
        let builder = builder.with_status(any_port()).with_status_keys(shown);
        let relay = builder.with_partition_by(PartitionBy::Header("x-tenant".into())).build().expect("a relay");
        let headers = [JSON, ("x-tenant", "acme-tenant")];
        ask(relay.addresses()[0], "POST", "/v1/logs", &headers, otlp_json(&["a".to_owned()]));
        let status = json_of(&relay);
        assert_eq!(status["signals"][0]["partitions"], 1, "{status}");
        assert_eq!(get(&relay, "/status.json").text().contains("acme-tenant"), shown);
        for target in ["/", "/metrics", "/healthz", "/history.json"] {
            assert!(!get(&relay, target).text().contains("acme-tenant"), "{target}");
        }
    }
}

#[test]
fn a_relay_that_takes_nothing_is_not_healthy() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let builder = builder(&receiver, spool.path()).with_listener(Listener::Http(any_port())).with_status(any_port());
    let builder = builder.with_segment_bytes(1 << 20).with_max_spool_bytes(8 << 20);
    let relay = builder.with_full_policy(FullPolicy::RejectNew).build().expect("a relay");
    let mut client = http_of(&relay);
    let full = (0..10_000).find(|number| {
        let body = otlp_json(&[format!("{number} {}", noise(100_000))]);
        client.ask("POST", "/v1/logs", &[JSON], &body).expect("a response").status == 503
    });
    assert!(full.is_some());
    let health = get(&relay, "/healthz");
    assert_eq!(health.status, 503, "{}", health.text());
    assert!(get(&relay, "/metrics").text().contains("\nopentelemetry_spool_accepting 0\n"));
    assert_eq!(json_of(&relay)["verdict"]["level"], "bad");
}
