//! `CallerThreadProcessor`: a record tells which thread logged it.

use std::collections::HashMap;
use std::thread;

use common::{Receiver, Service, exporter, spool_dir};
use opentelemetry::logs::{LogRecord as _, Logger as _, Severity};
use opentelemetry_sdk::logs::{LoggerProviderBuilder, SdkLoggerProvider};
use opentelemetry_spool::CallerThreadProcessor;
use serde_json::Value;

fn service(receiver: &Receiver, spool: &tempfile::TempDir) -> Service {
    let provider = SdkLoggerProvider::builder().with_log_processor(CallerThreadProcessor::new());
    Service::build(exporter(receiver, spool), provider, LoggerProviderBuilder::with_batch_exporter)
}

/// The records that arrived, by message.
fn records(receiver: &Receiver) -> HashMap<String, Value> {
    let requests = receiver.requests();
    let records = requests.iter().flat_map(common::Request::records);
    records.map(|record| (record["message"].as_str().expect("a message").to_owned(), record)).collect()
}

#[test]
fn a_record_names_the_thread_that_logged_it_and_not_the_batch_processor_s() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let service = service(&receiver, &spool);

    thread::scope(|scope| {
        for name in ["cart", "päyment"] {
            let service = &service;
            let thread = thread::Builder::new().name(name.to_owned());
            let log = move || ["1", "2"].map(|number| service.log(&format!("{name} {number}")));
            thread.spawn_scoped(scope, log).expect("a thread");
        }
        scope.spawn(|| service.log("anonymous"));
    });
    service.log("test");
    service.deliver();

    let records = records(&receiver);
    assert_eq!(records.len(), 6);
    let id = |message: &str| records[message]["thread"]["id"].as_u64().expect("an id");
    let name = |message: &str| &records[message]["thread"]["name"];
    assert_eq!(name("cart 1"), "cart");
    assert_eq!(name("cart 2"), "cart");
    assert_eq!(name("päyment 1"), "päyment");
    assert_eq!(name("anonymous"), &Value::Null);
    assert_eq!(name("test"), thread::current().name().expect("the test's name"));
    assert_eq!(id("cart 1"), id("cart 2"));
    let mut ids = ["cart 1", "päyment 1", "anonymous", "test"].map(id);
    ids.sort_unstable();
    assert!(ids[0] > 0 && ids.windows(2).all(|pair| pair[0] < pair[1]), "{ids:?}");
}

#[test]
fn the_thread_is_said_once() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let service = service(&receiver, &spool);
    service.log("hello");
    service.deliver();

    let record = &records(&receiver)["hello"];
    let extra = record["extra"].as_object().expect("other attributes");
    assert_eq!(extra.keys().collect::<Vec<_>>(), ["shop"], "what became `thread` is no other attribute");
}

#[test]
fn without_the_processor_no_thread_is_made_up() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let service = Service::batch(exporter(&receiver, &spool));
    service.log("hello");
    service.log_with("told", |record| {
        record.add_attribute("thread.id", 42);
        record.add_attribute("thread.name", "mine");
    });
    service.deliver();

    let records = records(&receiver);
    assert_eq!(records["hello"]["thread"]["name"], Value::Null);
    assert_eq!(records["hello"]["thread"]["id"], Value::Null);
    assert_eq!(records["told"]["thread"]["id"], 42);
    assert_eq!(records["told"]["thread"]["name"], "mine");
}

#[test]
fn the_processor_stops_no_record_and_no_flush_or_shutdown_of_those_behind_it() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let service = service(&receiver, &spool);
    for (level, message) in [(Severity::Trace, "trace"), (Severity::Fatal4, "fatal")] {
        assert!(service.logger.event_enabled(level, "target", Some("name")), "{message} is asked for");
        service.log_with(message, |record| record.set_severity_number(level));
    }
    service.provider.force_flush().expect("each processor is flushed");
    assert_eq!(service.handle.stats().accepted_records, 2);
    service.deliver();
    service.log("last");
    service.provider.shutdown().expect("each processor is shut down");
    assert_eq!(receiver.delivered(), ["trace", "fatal", "last"]);
}
