//! The marked log record.

use std::time::SystemTime;

use opentelemetry::InstrumentationScope;
use opentelemetry::logs::{AnyValue, LogRecord, Logger, LoggerProvider, Severity};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;

use super::record::{MARK, Marked, NAME, TEXT};
use crate::encode::Encoder;
use crate::error::BoxError;
use crate::exporter::intake::key_by;
use crate::exporter::log_exporter::{PartitionKey, framing, write};

/// A log record.
pub(crate) fn log_record(mut encoder: Box<dyn Encoder>, key: Option<&PartitionKey>) -> Result<Marked, BoxError> {
    let scope = InstrumentationScope::builder(NAME).build();
    let logger = SdkLoggerProvider::builder().build().logger_with_scope(scope.clone());
    let mut record = logger.create_log_record();
    let now = SystemTime::now();
    record.set_timestamp(now);
    record.set_observed_timestamp(now);
    record.set_severity_number(Severity::Info);
    record.set_severity_text("INFO");
    record.set_body(TEXT.into());
    record.add_attribute(MARK, AnyValue::Boolean(true));
    encoder.set_resource(&Resource::builder().build());
    let key = key_by(key, |key| key(&record, &scope))?;
    Marked::new(key, framing(&*encoder), |out| write(&*encoder, &record, &scope, out))
}
