//! With everything bridged at TRACE, what the exporter itself does is never logged through it.
//!
//! A subscriber is a process's own, so each of these runs in a child process.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;

use std::process::Command;

use common::{Answer, Authority, Child, Receiver, spool_dir};

use crate::CHILD;

fn start(processor: &str, receiver: &Receiver, spool: &Path, authority: Option<&Authority>) -> Child {
    start_as("bridged", processor, &receiver.url("/ingest"), spool, authority)
}

fn start_as(name: &str, processor: &str, endpoint: &str, spool: &Path, authority: Option<&Authority>) -> Child {
    let root = authority.map(Authority::pem).unwrap_or_default();
    let settings: [(&str, &OsStr); 4] = [
        ("SPOOL_CHILD_PROCESSOR", processor.as_ref()),
        ("SPOOL_CHILD_ENDPOINT", endpoint.as_ref()),
        ("SPOOL_CHILD_DIR", spool.as_ref()),
        ("SPOOL_CHILD_ROOT", root.as_ref()),
    ];
    Child::start(Command::new(CHILD), name, settings)
}

/// Has the child do something; gives how many records it has accepted so far.
fn has(child: &mut Child, command: &str) -> u64 {
    child.tell(command);
    child.wait_for(&format!("done {command}:")).parse().expect("a number")
}

/// How many records came from where: the target that they were logged with, and the thread.
fn sources(receiver: &Receiver) -> BTreeMap<(String, String), usize> {
    let mut sources = BTreeMap::new();
    for request in receiver.requests() {
        for record in request.records() {
            let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            *sources.entry((text(&record["target"]), text(&record["thread"]["name"]))).or_default() += 1;
        }
    }
    sources
}

/// Fails if a record is about delivery, or comes from a thread that is not the application's.
fn nothing_is_about_delivery(receiver: &Receiver) {
    let sources = sources(receiver);
    let ours =
        ["hyper", "reqwest", "sled", "opentelemetry_spool", "opentelemetry-spool", "rustls", "h2", "mio", "hook"];
    for (target, thread) in sources.keys() {
        assert!(!ours.iter().any(|ours| target.starts_with(ours)), "a record of {target}: {sources:#?}");
        assert!(thread == "main", "thread {thread:?}: {sources:#?}");
    }
    assert!(sources.keys().any(|(target, _)| target == "common::children::bridged"), "{sources:#?}");
}

/// Lets many cycles of the processor and of the delivery go by: not one record may come of them.
fn stays_quiet(child: &mut Child, receiver: &Receiver) {
    let (accepted, requests) = (has(child, "flush"), receiver.requests().len());
    for _ in 0..20 {
        has(child, "sync");
        has(child, "flush");
    }
    assert_eq!(has(child, "flush"), accepted, "records while the application is quiet: {:#?}", sources(receiver));
    assert_eq!(receiver.requests().len(), requests);
}

#[test]
fn an_idle_exporter_sends_nothing() {
    for processor in ["simple", "batch"] {
        let (receiver, spool) = (Receiver::start(), spool_dir());
        let mut child = start(processor, &receiver, spool.path(), None);
        child.wait_for("ready");
        has(&mut child, "log 10");
        has(&mut child, "flush");
        stays_quiet(&mut child, &receiver);
        nothing_is_about_delivery(&receiver);
        child.finish();
    }
}

#[test]
fn a_busy_exporter_does_not_feed_itself() {
    for processor in ["simple", "batch"] {
        let (receiver, spool) = (Receiver::start(), spool_dir());
        let mut child = start(processor, &receiver, spool.path(), None);
        // Enough for the spool to begin new segments and to delete old ones.
        has(&mut child, "log 3000");
        has(&mut child, "flush");
        stays_quiet(&mut child, &receiver);
        nothing_is_about_delivery(&receiver);
        let of_the_application =
            sources(&receiver).into_iter().filter(|((target, _), _)| target == "common::children::bridged");
        assert_eq!(of_the_application.map(|(_, count)| count).sum::<usize>(), 3_000);
        has(&mut child, "shutdown");
        child.finish();
    }
}

/// The simple processor holds a lock while the first record waits for a segment.
#[test]
fn a_start_with_records_that_wait_neither_feeds_itself_nor_waits_for_itself() {
    for processor in ["simple", "batch"] {
        let (receiver, spool) = (Receiver::start_down(), spool_dir());
        let mut child = start(processor, &receiver, spool.path(), None);
        has(&mut child, "log 100");
        has(&mut child, "sync");
        child.kill();
        let mut child = start(processor, &receiver, spool.path(), None);
        has(&mut child, "log 100");
        assert_eq!(has(&mut child, "sync"), 100);
        receiver.come_up();
        has(&mut child, "flush");
        stays_quiet(&mut child, &receiver);
        nothing_is_about_delivery(&receiver);
        child.finish();
    }
}

#[test]
fn an_exporter_in_trouble_does_not_feed_itself() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let mut child = start("batch", &receiver, spool.path(), None);
    has(&mut child, "log 100");
    receiver.come_up();
    for trouble in [Answer::status(503), Answer::Reset, Answer::status(401), Answer::Lost, Answer::hang()] {
        receiver.answer_next(trouble);
        has(&mut child, "log 100");
        has(&mut child, "flush");
    }
    stays_quiet(&mut child, &receiver);
    nothing_is_about_delivery(&receiver);
    child.finish();
}

#[cfg(feature = "tls")]
#[test]
fn an_exporter_over_tls_does_not_feed_itself() {
    let (authority, spool) = (Authority::new(), spool_dir());
    let receiver = Receiver::start_tls(authority.server(None));
    let mut child = start("batch", &receiver, spool.path(), Some(&authority));
    has(&mut child, "log 100");
    has(&mut child, "flush");
    stays_quiet(&mut child, &receiver);
    nothing_is_about_delivery(&receiver);
    child.finish();
}

/// With exporters of all three signals.
#[cfg(all(feature = "trace", feature = "metrics"))]
mod all_signals {
    use common::Request;
    use serde_json::Value;

    use super::*;

    const ORDERS: usize = 600;

    /// The values of a key, wherever it is in a request's body.
    fn values_of(key: &str, value: &Value, found: &mut Vec<Value>) {
        match value {
            Value::Array(values) => values.iter().for_each(|value| values_of(key, value, found)),
            Value::Object(object) => {
                found.extend(object.get(key).cloned());
                object.values().for_each(|value| values_of(key, value, found));
            }
            _ => {}
        }
    }

    /// What is under a key in the requests that were taken on a path.
    fn taken(receiver: &Receiver, path: &str, key: &str) -> Vec<Value> {
        let mut found = Vec::new();
        let of_path = |request: &Request| request.target == path && request.answered == Some(200);
        for request in receiver.requests().into_iter().filter(of_path) {
            values_of(key, &serde_json::from_slice(&request.plain()).expect("JSON"), &mut found);
        }
        found.into_iter().flat_map(|value| value.as_array().cloned().unwrap_or_default()).collect()
    }

    /// Fails if a span, a metric or a record is about delivery.
    fn nothing_is_about_delivery(receiver: &Receiver) {
        let spans = taken(receiver, "/v1/traces", "spans");
        let metrics = taken(receiver, "/v1/metrics", "metrics");
        let records = taken(receiver, "/v1/logs", "logRecords");
        let names = |of: &[Value]| of.iter().map(|each| each["name"].to_string()).collect::<Vec<_>>();
        assert_eq!(names(&spans), vec!["\"order\""; ORDERS]);
        assert!(!metrics.is_empty() && names(&metrics).iter().all(|name| name == "\"orders\""), "{metrics:#?}");
        let is_taken = |record: &&Value| record["body"]["stringValue"] == "taken";
        assert_eq!(records.iter().filter(is_taken).count(), ORDERS);
        for request in receiver.requests() {
            let body = String::from_utf8(request.plain().into_owned()).expect("JSON");
            for ours in
                ["hyper", "reqwest", "sled::", "rustls", "\"hook\"", "asked", "otel-spool-", "opentelemetry_spool"]
            {
                assert!(!body.contains(ours), "{ours} in {body}");
            }
        }
    }

    #[test]
    fn the_delivery_of_spans_metrics_and_logs_makes_none_itself() {
        for processor in ["simple", "batch"] {
            let (receiver, spool) = (Receiver::start(), spool_dir());
            let mut child = start_as("traced", processor, &receiver.url(""), spool.path(), None);
            child.wait_for("ready");
            let mut has = |command: &str| {
                child.tell(command);
                child.wait_for(&format!("done {command}:"))
            };
            for trouble in [Answer::status(503), Answer::Reset, Answer::status(401), Answer::hang()] {
                receiver.answer_next(trouble);
                has(&format!("work {}", ORDERS / 4));
                has("flush");
            }
            let (accepted, requests) = (has("flush"), receiver.requests().len());
            for _ in 0..20 {
                assert_eq!(has("flush"), accepted, "while the application is quiet");
            }
            assert_eq!(receiver.requests().len(), requests);
            nothing_is_about_delivery(&receiver);
            child.finish();
        }
    }
}
