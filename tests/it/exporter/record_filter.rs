//! The record filter: what it leaves out of a record is on no disk and in no request.

use std::path::Path;
use std::process::Command;

use common::children::filtered::{DOORS, SECRET, filter, log_all};
use common::{Child, Receiver, Service, exporter, files_with, settings, spool_dir};
use serde_json::Value;

use crate::CHILD;

fn assert_is_nowhere(secret: &str, spool: &Path, what: &str) {
    assert_eq!(files_with(spool, secret.as_bytes()), Vec::<std::path::PathBuf>::new(), "{what}");
}

#[test]
fn what_a_filter_leaves_out_is_in_no_file_after_a_kill_and_in_no_request() {
    for door in DOORS {
        let (receiver, spool) = (Receiver::start_down(), spool_dir());
        let endpoint = receiver.url("/ingest");
        let settings = settings(&endpoint, spool.path()).into_iter().chain([("SPOOL_CHILD_DOOR", door.as_ref())]);
        let mut child = Child::start(Command::new(CHILD), "filtered", settings);
        child.tell("log");
        assert_eq!(child.wait_for("filtered"), "1 1", "{door}");
        child.kill();
        // The files have the others: the search would find the secret.
        assert!(!files_with(spool.path(), b"keep-all").is_empty(), "{door}");
        assert_is_nowhere(SECRET, spool.path(), door);

        receiver.come_up();
        Service::batch(exporter(&receiver, &spool)).deliver();
        let sent: Vec<Value> = receiver.requests().iter().flat_map(common::Request::records).collect();
        let messages: Vec<_> = sent.iter().map(|record| &record["message"]).collect();
        assert_eq!(messages, ["redacted", "", "keep-all", "attributes"], "{door}: {sent:?}");
        let extra = &sent[3]["extra"];
        assert_eq!((&extra["token"], &extra["shop"]), (&"redacted".into(), &"Zürich".into()), "{door}");
        assert_eq!(extra.get("password"), None, "{door}");
        let bodies = receiver.requests().into_iter().map(|request| request.plain().to_vec());
        assert!(bodies.into_iter().all(|body| !String::from_utf8_lossy(&body).contains(SECRET)), "{door}");
    }
}

#[cfg(feature = "otlp")]
#[test]
fn every_format_is_written_without_what_a_filter_leaves_out() {
    use opentelemetry_spool::{LogExporterBuilder, Protocol, TextEncoder};

    let configure = |exporter: LogExporterBuilder, nth: usize| match nth {
        0 => exporter.with_protocol(Protocol::HttpBinary),
        1 => exporter.with_protocol(Protocol::HttpJson),
        _ => exporter.with_encoder(TextEncoder::new("{message} {attributes}").expect("a template")),
    };
    for nth in 0..3 {
        let (receiver, spool) = (Receiver::start_down(), spool_dir());
        let service = Service::careless(configure(exporter(&receiver, &spool).with_record_filter(filter), nth));
        log_all(&service);
        assert!(!files_with(spool.path(), b"keep-all").is_empty(), "format {nth}");
        assert_is_nowhere(SECRET, spool.path(), &format!("format {nth}"));
    }
}

#[test]
fn what_a_filter_drops_is_no_loss_and_a_filter_that_panics_lets_nothing_through() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let service = Service::careless(exporter(&receiver, &spool).with_record_filter(filter));
    log_all(&service);
    service.flush();
    let stats = service.handle.stats();
    assert_eq!((stats.accepted_records, stats.delivered_records, stats.filtered_records), (4, 4, 1));
    assert_eq!((stats.encode_failed_records, stats.lost_records), (1, 1));
}

#[test]
fn the_partition_of_a_record_is_that_of_what_was_logged() {
    use opentelemetry::logs::LogRecord as _;
    use opentelemetry_spool::{Filtered, Redaction};

    let (receiver, spool) = (Receiver::start(), spool_dir());
    let exporter = exporter(&receiver, &spool)
        .with_partition_key(common::by_tenant)
        .with_header_hook(|batch, headers| Ok(headers.insert("x-tenant", batch.partition_key())?))
        .with_record_filter(|_, _| Filtered::Redact(Redaction::new().without("tenant")));
    let service = Service::careless(exporter);
    service.log_with("one", |record| record.add_attribute("tenant", "acme"));
    service.flush();
    let request = receiver.requests().remove(0);
    assert_eq!(request.header("x-tenant"), Some("acme"));
    assert_eq!(request.records()[0]["extra"].get("tenant"), None);
}

#[cfg(feature = "trace")]
#[test]
fn a_span_is_stored_as_its_filter_leaves_it() {
    use opentelemetry::KeyValue;
    use opentelemetry::trace::{Span as _, Status, Tracer as _, TracerProvider as _};
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use opentelemetry_spool::{SpanExporter, SpoolProcessor};

    for journal in [false, true] {
        let (receiver, spool) = (Receiver::start_down(), spool_dir());
        let exporter = SpanExporter::builder().with_endpoint(receiver.url("/v1/traces")).with_spool_dir(spool.path());
        let exporter = exporter.with_record_filter(|span| {
            assert_ne!(span.name, "panic");
            span.attributes.retain(|attribute| attribute.key.as_str() != "password");
            span.events.events.clear();
            span.status = Status::Unset;
            span.name != "drop"
        });
        let exporter = exporter.build().expect("an exporter");
        let handle = exporter.handle();
        let processor = SpoolProcessor::builder(exporter).with_journal(journal).build().expect("a processor");
        let provider = SdkTracerProvider::builder().with_span_processor(processor).build();
        for name in ["kept", "drop", "panic"] {
            let mut span = provider.tracer("test").start(name);
            span.set_attribute(KeyValue::new("password", SECRET));
            span.add_event("an event", vec![KeyValue::new("password", SECRET)]);
            span.set_status(Status::error(SECRET));
            span.end();
        }
        assert!(!journal || !files_with(spool.path(), b"kept").is_empty());
        assert_is_nowhere(SECRET, spool.path(), "before a commit");
        provider.force_flush().expect("spans reach the disk");
        assert!(!files_with(spool.path(), b"kept").is_empty());
        assert_is_nowhere(SECRET, spool.path(), "after it");
        let stats = handle.stats();
        assert_eq!((stats.accepted_records, stats.filtered_records, stats.encode_failed_records), (1, 1, 1));
    }
}
