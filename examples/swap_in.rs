//! A swap from `opentelemetry_otlp`: one import changes, and logs survive outages and restarts.
//!
//! The builder's methods have the same names; the spool directory is the only addition. The wire format here is this
//! crate's JSON; with the feature `otlp`, `.with_protocol(Protocol::HttpBinary)` makes it OTLP, as before.
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
use opentelemetry_spool::{BoxError, LogExporter};
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
        .build()?;

    let provider = SdkLoggerProvider::builder().with_batch_exporter(exporter).build();
    let bridge = OpenTelemetryTracingBridge::new(&provider).with_filter(LevelFilter::INFO);
    tracing_subscriber::registry().with(bridge).init();

    tracing::info!(order = 17, "order taken");
    tracing::error!(order = 17, "payment failed");

    provider.shutdown()?;
    Ok(())
}
