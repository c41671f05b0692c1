//! A swap from `opentelemetry_otlp`: an import and the processor change, and logs survive bursts, outages and restarts.
//!
//! The builder's methods have the same names; the spool directory is the only addition. `with_batch_exporter(exporter)`
//! still works, with the SDK's queue, which loses records of a burst. The wire format here is this crate's JSON, so that it can
//! be read; without the encoder, and with the feature `otlp`, it is OTLP as before.
//!
//! ```text
//! cargo run --example swap_in
//! ```

mod print_receiver;

use std::collections::HashMap;
use std::time::Duration;

use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
// use opentelemetry_otlp::{LogExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_spool::{BoxError, JsonEncoder, LogExporter, SpoolProcessor};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::prelude::*;

fn main() -> Result<(), BoxError> {
    let endpoint = print_receiver::start()?; // put the URL of your own here
    let spool_dir = tempfile::tempdir()?; // and a directory that is there tomorrow, as /var/lib/checkout/spool

    let exporter = LogExporter::builder()
        .with_http()
        .with_endpoint(endpoint)
        .with_timeout(Duration::from_secs(3))
        .with_headers(HashMap::from([("x-api-key".to_owned(), "secret".to_owned())]))
        .with_spool_dir(spool_dir.path()) // new
        .with_encoder(JsonEncoder::default()) // for this example
        .build()?;

    let provider = SdkLoggerProvider::builder()
        .with_log_processor(SpoolProcessor::new(exporter)?) // was: .with_batch_exporter(exporter)
        .build();
    let bridge = OpenTelemetryTracingBridge::new(&provider).with_filter(LevelFilter::INFO);
    tracing_subscriber::registry().with(bridge).init();

    tracing::info!(order = 17, "order taken");
    tracing::error!(order = 17, "payment failed");

    provider.shutdown()?;
    Ok(())
}
