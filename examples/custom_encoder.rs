//! A wire format of your own: logfmt, a line per record, as `text/plain`.
//!
//! A format is an encoder for one record and a framing that joins records to a request body.
//!
//! ```text
//! cargo run --example custom_encoder
//! ```

mod print_receiver;

use std::io::Write;

use opentelemetry::InstrumentationScope;
use opentelemetry::logs::{AnyValue, LogRecord, Logger, LoggerProvider, Severity};
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_spool::{BoxError, Encoder, Framing, LogExporter, LogView};

struct Logfmt;

impl Encoder for Logfmt {
    fn framing(&self) -> Framing {
        Framing::new("text/plain; charset=utf-8", "", "\n", "\n")
    }

    fn encode(&self, record: &dyn LogView, scope: &InstrumentationScope, out: &mut Vec<u8>) -> Result<(), BoxError> {
        let level = record.severity_number().map_or("INFO", |severity| severity.name());
        write!(out, "level={level} logger={}", scope.name())?;
        if let Some(body) = record.body() {
            write!(out, " msg=")?;
            write_value(out, body)?;
        }
        for (key, value) in record.attributes() {
            write!(out, " {key}=")?;
            write_value(out, value)?;
        }
        Ok(())
    }
}

/// Text is quoted and escaped, so that a line feed in a value does not end the line.
fn write_value(out: &mut Vec<u8>, value: &AnyValue) -> std::io::Result<()> {
    match value {
        AnyValue::String(text) => write!(out, "{:?}", text.as_str()),
        AnyValue::Int(number) => write!(out, "{number}"),
        AnyValue::Double(number) => write!(out, "{number}"),
        AnyValue::Boolean(truth) => write!(out, "{truth}"),
        other => write!(out, "{:?}", format!("{other:?}")),
    }
}

fn main() -> Result<(), BoxError> {
    let spool_dir = tempfile::tempdir()?;
    let exporter = LogExporter::builder()
        .with_endpoint(print_receiver::start()?)
        .with_spool_dir(spool_dir.path())
        .with_encoder(Logfmt)
        .build()?;
    let provider = SdkLoggerProvider::builder().with_batch_exporter(exporter).build();

    let logger = provider.logger("orders");
    for (order, text) in [(17, "order taken"), (18, "customer says:\n\"no\"")] {
        let mut record = logger.create_log_record();
        record.set_severity_number(Severity::Warn);
        record.set_body(text.into());
        record.add_attribute("order", order);
        logger.emit(record);
    }

    provider.shutdown()?;
    Ok(())
}
