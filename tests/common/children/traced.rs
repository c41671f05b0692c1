//! An application that is instrumented with `tracing` and exports all three signals, everything bridged.

use std::path::PathBuf;
use std::time::Duration;

use opentelemetry::global;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry::trace::{Span as _, Tracer as _, TracerProvider as _};
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::SdkTracerProvider;
use opentelemetry_spool::Protocol;
use tracing::Instrument;
use tracing_subscriber::prelude::*;

use super::{NEVER, signals};
use crate::child::{commands, say, setting};
use crate::service::{Service, flush};

/// What a hook does is about delivery, and would never end.
fn ask() {
    let _span = tracing::info_span!(target: "hook", "asked").entered();
    tracing::info!(target: "hook", "asked");
    global::tracer("hook").start("asked").end();
}

pub(crate) fn main() {
    let (endpoint, spool) = (setting("ENDPOINT"), PathBuf::from(setting("DIR")));
    let short = Duration::from_millis(500);
    let logs = Service::batch(
        signals::logs(&endpoint, &spool)
            .with_protocol(Protocol::HttpJson)
            .with_timeout(short)
            .with_segment_bytes(1 << 20)
            .with_header_hook(|_, _| {
                ask();
                Ok(())
            }),
    );
    let spans = signals::spans(&endpoint, &spool)
        .with_protocol(Protocol::HttpJson)
        .with_timeout(short)
        .with_segment_bytes(1 << 20)
        .with_async_header_hook(|_, headers| {
            let hook = async {
                ask();
                tokio::task::yield_now().await;
                ask();
                Ok(headers)
            };
            hook.instrument(tracing::info_span!(target: "hook", "asked"))
        });
    let spans = spans.build().expect("an exporter of spans");
    let metrics = signals::metrics(&endpoint, &spool)
        .with_protocol(Protocol::HttpJson)
        .with_timeout(short)
        .with_header_hook(|_, _| {
            ask();
            Ok(())
        })
        .build()
        .expect("an exporter of metrics");
    let handles = [logs.handle.clone(), spans.handle(), metrics.handle()];
    let provider = match setting("PROCESSOR").as_str() {
        "simple" => SdkTracerProvider::builder().with_simple_exporter(spans),
        _ => SdkTracerProvider::builder().with_batch_exporter(spans),
    };
    let provider = provider.build();
    let reader = PeriodicReader::builder(metrics).with_interval(NEVER).build();
    let meters = SdkMeterProvider::builder().with_reader(reader).build();
    global::set_tracer_provider(provider.clone());
    global::set_meter_provider(meters.clone());
    // No filter: TRACE, and the `log` crate's records with it.
    tracing_subscriber::registry()
        .with(OpenTelemetryTracingBridge::new(&logs.provider))
        .with(tracing_opentelemetry::layer().with_tracer(provider.tracer("application")))
        .init();
    let orders = meters.meter("application").u64_counter("orders").build();
    say("ready");
    for command in commands() {
        let mut words = command.split(' ');
        match words.next() {
            Some("work") => {
                for number in 1..=words.next().expect("a count").parse().expect("a number") {
                    let _order = tracing::info_span!("order", number, padding = "x".repeat(500)).entered();
                    tracing::info!(number, "taken");
                    orders.add(1, &[]);
                    if number % 100 == 0 {
                        logs.sync();
                        provider.force_flush().expect("spans reach the disk");
                    }
                }
                meters.force_flush().expect("points reach the disk");
            }
            Some("flush") => {
                logs.sync();
                provider.force_flush().expect("spans reach the disk");
                handles.iter().for_each(flush);
            }
            _ => panic!("what is {command:?}?"),
        }
        let accepted = handles.each_ref().map(|handle| handle.stats().accepted_records);
        say(&format!("done {command}: {accepted:?}"));
    }
}
