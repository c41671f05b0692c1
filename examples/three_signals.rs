//! Logs, spans and metrics of one service through one spool directory: each has a queue of its own, and its own path at the
//! collector.
//!
//! ```text
//! cargo run --example three_signals --features trace,metrics
//! ```

mod print_receiver;

use opentelemetry::KeyValue;
use opentelemetry::metrics::MeterProvider;
use opentelemetry::trace::{Tracer, TracerProvider};
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use opentelemetry_spool::{BoxError, LogExporter, MetricExporter, Protocol, SpanExporter, SpoolProcessor};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::prelude::*;

fn main() -> Result<(), BoxError> {
    let collector = print_receiver::start()?; // put the URL of your own here
    let collector = collector.trim_end_matches("/logs");
    let spool = tempfile::tempdir()?; // and a directory that is there tomorrow, as /var/lib/checkout/spool

    let logs = LogExporter::builder()
        .with_endpoint(format!("{collector}/v1/logs"))
        .with_protocol(Protocol::HttpJson)
        .with_spool_dir(spool.path())
        .build()?;
    let spans = SpanExporter::builder()
        .with_endpoint(format!("{collector}/v1/traces"))
        .with_protocol(Protocol::HttpJson)
        .with_spool_dir(spool.path())
        .build()?;
    let metrics = MetricExporter::builder()
        .with_endpoint(format!("{collector}/v1/metrics"))
        .with_protocol(Protocol::HttpJson)
        .with_spool_dir(spool.path())
        .build()?;

    let loggers = SdkLoggerProvider::builder().with_log_processor(SpoolProcessor::new(logs)?).build();
    let tracers = SdkTracerProvider::builder().with_span_processor(SpoolProcessor::new(spans)?).build();
    let meters = SdkMeterProvider::builder().with_periodic_exporter(metrics).build();
    let bridge = OpenTelemetryTracingBridge::new(&loggers).with_filter(LevelFilter::INFO);
    tracing_subscriber::registry().with(bridge).init();

    let orders = meters.meter("checkout").u64_counter("orders").build();
    tracers.tracer("checkout").in_span("take an order", |_| {
        tracing::info!(order = 17, "order taken");
        orders.add(1, &[KeyValue::new("shop", "north")]);
    });

    loggers.shutdown()?;
    tracers.shutdown()?;
    meters.shutdown()?;
    Ok(())
}
