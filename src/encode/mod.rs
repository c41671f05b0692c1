//! From records to bytes: the [`Encoder`] trait and one file per wire format.

pub(crate) mod blocks;
mod bulk;
mod clickhouse;
mod common;
mod form;
pub(crate) mod framing;
mod json;
mod loki;
#[cfg(feature = "otlp")]
mod otlp;
mod splunk;
mod text;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::InstrumentationScope;
use opentelemetry_sdk::{Resource, logs::SdkLogRecord};

use crate::encode::framing::Framing;
use crate::error::BoxError;

pub use bulk::BulkEncoder;
pub use clickhouse::ClickHouseEncoder;
pub use common::template::Template;
pub use form::FormEncoder;
pub use json::{JsonEncoder, LevelScale, SourceCodeKey};
pub use loki::LokiEncoder;
#[cfg(feature = "otlp")]
pub use otlp::OtlpEncoder;
pub use splunk::SplunkEncoder;
pub use text::TextEncoder;

/// When a record was made, else when it was observed.
#[inline]
pub(crate) fn time_of(record: &SdkLogRecord) -> Option<SystemTime> {
    record.timestamp().or(record.observed_timestamp())
}

/// The same since 1970, for formats that cannot do without: else it is now.
fn since_epoch(record: &SdkLogRecord) -> Duration {
    time_of(record).unwrap_or_else(SystemTime::now).duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Turns one record into the bytes that go over the wire.
///
/// A format is an encoder for one record plus the [`Framing`] that joins records into a body.
pub trait Encoder: Send + Sync + 'static {
    /// How the encoded records are joined. Asked once per export, or once before the first record.
    fn framing(&self) -> Framing;

    /// Appends one encoded record to `out`.
    ///
    /// # Errors
    ///
    /// The record is then not spooled but counted in [`SpoolStats::encode_failed_records`](crate::SpoolStats); what
    /// was written to `out` is taken back, and the rest of the batch goes on.
    fn encode(&self, record: &SdkLogRecord, scope: &InstrumentationScope, out: &mut Vec<u8>) -> Result<(), BoxError>;

    /// The resource of the provider, told once before the first record.
    fn set_resource(&mut self, _resource: &Resource) {}
}
