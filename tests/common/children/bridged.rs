//! An application that logs with `tracing`, everything bridged.

use std::time::Duration;

use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_sdk::logs::{LoggerProviderBuilder, SdkLoggerProvider};
use opentelemetry_spool::CallerThreadProcessor;
use tracing_subscriber::prelude::*;

use super::exporter;
use crate::child::{commands, say, setting};
use crate::service::Service;

pub(crate) fn main() {
    let add = match setting("PROCESSOR").as_str() {
        "simple" => LoggerProviderBuilder::with_simple_exporter,
        _ => LoggerProviderBuilder::with_batch_exporter,
    };
    let mut exporter = exporter()
        .with_timeout(Duration::from_millis(500))
        .with_segment_bytes(1 << 20)
        .with_async_header_hook(|batch, headers| async move {
            // Also what the hook logs is about delivery, and would never end.
            tracing::info!(target: "hook", batch = batch.id(), "asked");
            Ok(headers)
        });
    let root = setting("ROOT");
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
