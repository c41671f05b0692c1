//! Logging with OpenTelemetry's logs API, for an application without a logging library or with a bridge of its own.
//!
//! The caller sets the place in the code, as attributes named by the semantic conventions.
//!
//! ```text
//! cargo run --example logs_api
//! ```

mod print_receiver;

use std::time::SystemTime;

use opentelemetry::logs::{LogRecord, Logger, LoggerProvider, Severity};
use opentelemetry::trace::{Tracer, TracerProvider};
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

    let logger = logs.logger("shop");
    traces.tracer("shop").in_span("checkout", |_| {
        let mut record = logger.create_log_record();
        record.set_timestamp(SystemTime::now());
        record.set_severity_number(Severity::Info);
        record.set_severity_text("INFO");
        record.set_body("order taken".into());
        record.add_attribute("order", 17);
        record.add_attribute("paid", true);
        record.add_attribute("code.file.path", file!());
        record.add_attribute("code.line.number", i64::from(line!()));
        record.add_attribute("code.function.name", concat!(module_path!(), "::main"));
        logger.emit(record);
    });

    logs.shutdown()?;
    traces.shutdown()?;
    Ok(())
}
