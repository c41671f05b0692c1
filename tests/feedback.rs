//! With everything bridged at TRACE, what the exporter itself does is never logged through it.
//!
//! A subscriber is a process's own, so each of these runs in a child process.

mod common;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use common::{Answer, Authority, Child, Receiver, Service, commands, exporter_to, say, setting, spool_dir};
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_sdk::logs::{LoggerProviderBuilder, SdkLoggerProvider};
use opentelemetry_spool::CallerThreadProcessor;
use tracing_subscriber::prelude::*;

fn start(processor: &str, receiver: &Receiver, spool: &Path, authority: Option<&Authority>) -> Child {
    let (endpoint, root) = (receiver.url("/ingest"), authority.map(Authority::pem).unwrap_or_default());
    let settings: [(&str, &OsStr); 4] = [
        ("SPOOL_TEST_PROCESSOR", processor.as_ref()),
        ("SPOOL_TEST_ENDPOINT", endpoint.as_ref()),
        ("SPOOL_TEST_DIR", spool.as_ref()),
        ("SPOOL_TEST_ROOT", root.as_ref()),
    ];
    Child::start("child_that_bridges_everything", settings)
}

/// A child process: an application that logs with `tracing`, everything bridged.
#[test]
#[ignore = "a child process's part"]
fn child_that_bridges_everything() {
    let add = match setting("SPOOL_TEST_PROCESSOR").as_str() {
        "simple" => LoggerProviderBuilder::with_simple_exporter,
        _ => LoggerProviderBuilder::with_batch_exporter,
    };
    let mut exporter = exporter_to(&setting("SPOOL_TEST_ENDPOINT"), setting("SPOOL_TEST_DIR"))
        .with_timeout(Duration::from_millis(500))
        .with_segment_bytes(1 << 20)
        .with_async_header_hook(|batch, headers| async move {
            // Also what the hook logs is about delivery, and would never end.
            tracing::info!(target: "hook", batch = batch.id(), "asked");
            Ok(headers)
        });
    let root = setting("SPOOL_TEST_ROOT");
    if !root.is_empty() {
        exporter = exporter.with_root_certificate_pem(root);
    }
    let provider = SdkLoggerProvider::builder().with_log_processor(CallerThreadProcessor::new());
    let service = Service::build(exporter, provider, add);
    // No filter: TRACE, and the `log` crate's records with it.
    tracing_subscriber::registry().with(OpenTelemetryTracingBridge::new(&service.provider)).init();
    say("ready");
    for command in commands() {
        let mut words = command.split(' ');
        match words.next() {
            Some("log") => {
                for number in 1..=words.next().expect("a count").parse().expect("a number") {
                    tracing::trace!(number, padding = "x".repeat(1_000), "hello");
                    if number % 100 == 0 {
                        service.sync();
                    }
                }
                service.sync();
            }
            Some("sync") => service.sync(),
            Some("flush") => service.deliver(),
            Some("shutdown") => drop(service.provider.shutdown()),
            _ => panic!("what is {command:?}?"),
        }
        say(&format!("done {command}: {}", service.handle.stats().accepted_records));
    }
}

impl Child {
    /// Has the child do something; gives how many records it has accepted so far.
    fn has(&mut self, command: &str) -> u64 {
        self.tell(command);
        self.wait_for(&format!("done {command}:")).parse().expect("a number")
    }
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
        // The test harness runs the child's part on a thread that has its name.
        assert!(thread == "main" || thread == "child_that_bridges_everything", "thread {thread:?}: {sources:#?}");
    }
    assert!(sources.keys().any(|(target, _)| target == "feedback"), "{sources:#?}");
}

/// Lets many cycles of the processor and of the delivery go by: not one record may come of them.
fn stays_quiet(child: &mut Child, receiver: &Receiver) {
    let (accepted, requests) = (child.has("flush"), receiver.requests().len());
    for _ in 0..20 {
        child.has("sync");
        child.has("flush");
    }
    assert_eq!(child.has("flush"), accepted, "records while the application is quiet: {:#?}", sources(receiver));
    assert_eq!(receiver.requests().len(), requests);
}

#[test]
fn an_idle_exporter_sends_nothing() {
    for processor in ["simple", "batch"] {
        let (receiver, spool) = (Receiver::start(), spool_dir());
        let mut child = start(processor, &receiver, spool.path(), None);
        child.wait_for("ready");
        child.has("log 10");
        child.has("flush");
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
        child.has("log 3000");
        child.has("flush");
        stays_quiet(&mut child, &receiver);
        nothing_is_about_delivery(&receiver);
        let of_the_application = sources(&receiver).into_iter().filter(|((target, _), _)| target == "feedback");
        assert_eq!(of_the_application.map(|(_, count)| count).sum::<usize>(), 3_000);
        child.has("shutdown");
        child.finish();
    }
}

#[test]
fn an_exporter_in_trouble_does_not_feed_itself() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let mut child = start("batch", &receiver, spool.path(), None);
    child.has("log 100");
    receiver.come_up();
    for trouble in [Answer::status(503), Answer::Reset, Answer::status(401), Answer::Lost, Answer::hang()] {
        receiver.answer_next(trouble);
        child.has("log 100");
        child.has("flush");
    }
    stays_quiet(&mut child, &receiver);
    nothing_is_about_delivery(&receiver);
    child.finish();
}

#[test]
fn an_exporter_over_tls_does_not_feed_itself() {
    let (authority, spool) = (Authority::new(), spool_dir());
    let receiver = Receiver::start_tls(authority.server(None));
    let mut child = start("batch", &receiver, spool.path(), Some(&authority));
    child.has("log 100");
    child.has("flush");
    stays_quiet(&mut child, &receiver);
    nothing_is_about_delivery(&receiver);
    child.finish();
}
