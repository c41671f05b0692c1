//! Logging with `log`: its records become OpenTelemetry's, with the place in the code and the active span.
//!
//! It needs the bridge's feature `experimental_metadata_attributes`, and `kv` of `log` for the key-value pairs.
//!
//! ```text
//! cargo run --example bridge_log
//! ```

mod print_receiver;

use opentelemetry::trace::{Tracer, TracerProvider};
use opentelemetry_appender_log::OpenTelemetryLogBridge;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use opentelemetry_spool::{BoxError, CallerThreadProcessor, LogExporter};

fn main() -> Result<(), BoxError> {
    let spool_dir = tempfile::tempdir()?;
    let exporter =
        LogExporter::builder().with_endpoint(print_receiver::start()?).with_spool_dir(spool_dir.path()).build()?;
    let logs = SdkLoggerProvider::builder()
        .with_log_processor(CallerThreadProcessor::new())
        .with_batch_exporter(exporter)
        .build();
    let traces = SdkTracerProvider::builder().build(); // .with_batch_exporter(...)

    log::set_boxed_logger(Box::new(OpenTelemetryLogBridge::new(&logs)))?;
    log::set_max_level(log::LevelFilter::Info);

    traces.tracer("shop").in_span("checkout", |_| log::info!(order = 17, paid = true; "order taken"));

    logs.shutdown()?;
    traces.shutdown()?;
    Ok(())
}
