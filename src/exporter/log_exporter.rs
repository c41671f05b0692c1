//! The exporter: partitions a batch, encodes it and appends it to the spool.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use opentelemetry::InstrumentationScope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogBatch, SdkLogRecord};

use crate::encode::blocks::{Encoded, EnvelopeEnds};
use crate::encode::common::time::time_of;
use crate::encode::framing::Framing;
use crate::encode::{Encoder, Filtered, LogView, NestedEncoder, RedactedLog};
use crate::error::BoxError;
use crate::exporter::handle::SpoolHandle;
use crate::exporter::intake::{Intake, Kept, checked, key_by};

pub(crate) type PartitionKey = dyn Fn(&SdkLogRecord, &InstrumentationScope) -> String + Send + Sync;

pub(crate) type RecordFilter = dyn Fn(&dyn LogView, &InstrumentationScope) -> Filtered + Send + Sync;

/// Written once, when the provider tells its resource.
pub(crate) type SharedEncoder = Arc<RwLock<Box<dyn Encoder>>>;

/// A log exporter that writes records to a durable spool on disk, and delivers them from there.
///
/// `export` returns once the records are on disk; a thread of the exporter sends them, and retries them until the endpoint
/// has taken them. An accepted record is lost only by a limit of the spool (`evicted`, `expired`) or a damaged disk
/// (`corrupt`), and each loss is counted and reported. The exporter works with `BatchLogProcessor`, `SimpleLogProcessor`
/// and, for bursts, [`SpoolProcessor`](crate::SpoolProcessor), inside and outside an async runtime.
///
/// - `SdkLoggerProvider::force_flush` returns when every record is *on disk*.
/// - [`SpoolHandle::flush`] returns when every record is *delivered*.
/// - `SdkLoggerProvider::shutdown` delivers until the spool is empty, but no longer than the SDK allows (5 s), and tries a
///   failing batch once. The rest stays in the spool for the next start; that is a success, not an error.
/// - Dropping the exporter without a shutdown stops delivery at once. Accepted records stay in the spool.
/// - A process that forks builds its exporters afterwards, one in each process: a copy of an exporter in a forked process
///   returns an error from every call, and so does `build` there.
///
/// Telemetry is suppressed on the exporter's threads, including those of the storage engine: their own logs do not come
/// back as records.
pub struct LogExporter {
    pub(crate) encoder: SharedEncoder,
    pub(crate) partition_key: Option<Box<PartitionKey>>,
    pub(crate) record_filter: Option<Box<RecordFilter>>,
    pub(crate) intake: Intake,
}

impl LogExporter {
    /// A handle that reads statistics and rejected records, and flushes, pauses and resumes delivery.
    pub fn handle(&self) -> SpoolHandle {
        self.intake.handle()
    }

    pub(crate) fn framing(&self) -> Framing {
        framing(&**self.encoder.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Gives `add` a record's partition key and what it is on the wire. A record that has none, or that is filtered out, is counted.
    pub(crate) fn encoded<T>(
        &self,
        record: &SdkLogRecord,
        scope: &InstrumentationScope,
        add: impl FnOnce(&str, Encoded<'_>) -> T,
    ) -> Option<T> {
        let Some(filter) = &self.record_filter else { return self.encoded_as(record, record, scope, add) };
        match self.intake.filtered(|| filter(record, scope))? {
            Kept::Without(redaction) => {
                let redacted = RedactedLog { record, redaction: &redaction };
                self.encoded_as(record, &redacted, scope, add)
            }
            Kept::Whole => self.encoded_as(record, record, scope, add),
        }
    }

    /// Encodes a record as encoders are to see it, in the partition of what was logged.
    fn encoded_as<T>(
        &self,
        record: &SdkLogRecord,
        view: &dyn LogView,
        scope: &InstrumentationScope,
        add: impl FnOnce(&str, Encoded<'_>) -> T,
    ) -> Option<T> {
        let key = || key_by(self.partition_key.as_deref(), |key| key(record, scope));
        let write =
            |out: &mut Vec<u8>| write(&**self.encoder.read().unwrap_or_else(PoisonError::into_inner), view, scope, out);
        self.intake.encoded(time_of(record), key, write, add)
    }
}

/// The framing of what [`encode`] makes, but for a record that [`framing_of`] has another one for.
pub(crate) fn framing(encoder: &dyn Encoder) -> Framing {
    encoder.nested().map_or_else(|| encoder.framing(), NestedEncoder::framing)
}

/// The framing of a record, where it is another one than [`framing`]. The SDK's records have none.
#[cfg(feature = "relay")]
pub(crate) fn framing_of(encoder: &dyn Encoder, record: &dyn LogView) -> Option<Framing> {
    if encoder.nested().is_some() { None } else { encoder.framing_of(record) }
}

/// Puts a record with its envelope into `out`, and nothing else.
pub(crate) fn encode<'a>(
    encoder: &dyn Encoder,
    record: &dyn LogView,
    scope: &InstrumentationScope,
    out: &'a mut Vec<u8>,
) -> Result<Encoded<'a>, BoxError> {
    checked(time_of(record), |out| write(encoder, record, scope, out), out)
}

/// Appends a record behind its envelope.
pub(crate) fn write(
    encoder: &dyn Encoder,
    record: &dyn LogView,
    scope: &InstrumentationScope,
    out: &mut Vec<u8>,
) -> Result<EnvelopeEnds, BoxError> {
    let Some(nested) = encoder.nested() else {
        return encoder.encode(record, scope, out).map(|()| EnvelopeEnds::default());
    };
    nested.outer(record, out);
    let outer = out.len();
    nested.inner(record, scope, out)?;
    let inner = out.len();
    nested.record(record, out).map(|()| EnvelopeEnds { outer, inner })
}

impl opentelemetry_sdk::logs::LogExporter for LogExporter {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        let appended = self.intake.export(
            || self.framing(),
            |framing, blocks| {
                for (record, scope) in batch.iter() {
                    self.encoded(record, scope, |key, encoded| blocks.push(key, encoded, framing.separator()));
                }
            },
        );
        appended.map(drop)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.intake.shutdown(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.encoder.write().unwrap_or_else(PoisonError::into_inner).set_resource(resource);
    }
}

impl std::fmt::Debug for LogExporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let stats = self.intake.pipeline.counters().snapshot();
        f.debug_struct("LogExporter").field("stats", &stats).finish_non_exhaustive()
    }
}
