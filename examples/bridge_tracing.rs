//! Logging with `tracing`: events become records, with the place in the code and the span that they were logged in.
//!
//! It needs the bridge's feature `experimental_metadata_attributes`, and tracing-opentelemetry, which turns spans into a trace.
//!
//! ```text
//! cargo run --example bridge_tracing
//! ```

mod print_receiver;

use opentelemetry::trace::TracerProvider;
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use opentelemetry_spool::{BoxError, CallerThreadProcessor, LogExporter};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::prelude::*;

fn main() -> Result<(), BoxError> {
    let spool_dir = tempfile::tempdir()?;
    let exporter =
        LogExporter::builder().with_endpoint(print_receiver::start()?).with_spool_dir(spool_dir.path()).build()?;
    let logs = SdkLoggerProvider::builder()
        .with_log_processor(CallerThreadProcessor::new())
        .with_batch_exporter(exporter)
        .build();
    let traces = SdkTracerProvider::builder().build(); // .with_batch_exporter(...)

    tracing_subscriber::registry()
        .with(tracing_opentelemetry::layer().with_tracer(traces.tracer("shop")).with_filter(LevelFilter::INFO))
        .with(OpenTelemetryTracingBridge::new(&logs).with_filter(LevelFilter::INFO))
        .init();

    tracing::info_span!("checkout").in_scope(|| tracing::info!(order = 17, paid = true, "order taken"));

    logs.shutdown()?;
    traces.shutdown()?;
    Ok(())
}
