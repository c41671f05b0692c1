//! The exporter: partitions a batch, encodes it and appends it to the spool.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::logs::{LogBatch, SdkLogRecord};

use crate::delivery::Pipeline;
use crate::encode::blocks::{Blocks, Encoded, Envelope};
use crate::encode::common::time::time_of;
use crate::encode::framing::Framing;
use crate::encode::{Encoder, NestedEncoder};
use crate::error::error_chain;
use crate::error::{BoxError, SpoolError};
use crate::exporter::handle::SpoolHandle;
use crate::observe::event::SpoolEvent;
use crate::observe::loss::LossReason;
use crate::process::check_process;
use crate::spool::MAX_RECORD_BYTES;

pub(crate) type PartitionKey = dyn Fn(&SdkLogRecord, &InstrumentationScope) -> String + Send + Sync;

/// Written once, when the provider tells its resource.
pub(crate) type SharedEncoder = Arc<RwLock<Box<dyn Encoder>>>;

/// How long dropping an exporter that was not shut down waits for its threads.
pub(crate) const DROP_PATIENCE: Duration = Duration::from_secs(2);

/// What a thread keeps at most to encode its next record in.
const MAX_KEPT_SCRATCH: usize = 64 << 10;

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

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
    pub(crate) pipeline: Pipeline,
    pub(crate) blocks: Mutex<Blocks>,
    pub(crate) shut_down: AtomicBool,
    pub(crate) warned_of_encoder: AtomicBool,
}

impl LogExporter {
    /// A handle that reads statistics and rejected records, and flushes, pauses and resumes delivery.
    pub fn handle(&self) -> SpoolHandle {
        SpoolHandle::new(&self.pipeline)
    }

    fn append(&self, batch: &LogBatch<'_>) -> Result<(), SpoolError> {
        let spool = self.pipeline.spool().upgrade().ok_or(SpoolError::Closed)?;
        let framing = self.framing();
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        blocks.clear();
        for (record, scope) in batch.iter() {
            self.encoded(record, scope, |key, encoded| blocks.push(key, encoded, framing.separator()));
        }
        if blocks.records() > 0 {
            let all = blocks.all();
            spool.append(&all, &framing).inspect_err(|error| {
                if !matches!(error, SpoolError::Closed) {
                    spool.note_not_written(&all);
                }
            })?;
            self.pipeline.counters().accepted_records.add(blocks.records());
        }
        Ok(())
    }

    pub(crate) fn framing(&self) -> Framing {
        framing(&**self.encoder.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Gives `add` a record's partition key and what it is on the wire. A record that has none is counted.
    pub(crate) fn encoded<T>(
        &self,
        record: &SdkLogRecord,
        scope: &InstrumentationScope,
        add: impl FnOnce(&str, Encoded<'_>) -> T,
    ) -> Option<T> {
        // Taken, not borrowed: whatever an encoder does, it may come back here.
        let mut bytes = SCRATCH.try_with(Cell::take).unwrap_or_default();
        let encoded = self.key_of(record, scope).and_then(|key| {
            let encoder = self.encoder.read().unwrap_or_else(PoisonError::into_inner);
            Ok((key, encode(&**encoder, record, scope, &mut bytes)?))
        });
        let result = match encoded {
            Ok((key, encoded)) => Some(add(&key, encoded)),
            Err(error) => {
                self.note_encode_failed(&error);
                None
            }
        };
        if bytes.capacity() <= MAX_KEPT_SCRATCH {
            // Not while the thread's own storage is being torn down.
            let _ = SCRATCH.try_with(|scratch| scratch.set(bytes));
        }
        result
    }

    /// A record whose key is not known is in nobody's partition: it could go out with another one's headers.
    fn key_of(&self, record: &SdkLogRecord, scope: &InstrumentationScope) -> Result<String, BoxError> {
        let Some(key) = &self.partition_key else { return Ok(String::new()) };
        catch_unwind(AssertUnwindSafe(|| key(record, scope))).map_err(|_| "the partition key function panicked".into())
    }

    /// Counts a record that is lost, and touches no lock of the spool: this runs on threads that log, also after a fork.
    fn note_encode_failed(&self, error: &BoxError) {
        self.pipeline.counters().losses.add(LossReason::EncodeFailed, 1);
        if !self.warned_of_encoder.swap(true, Ordering::Relaxed) {
            self.pipeline.events().report(SpoolEvent::EncodeFailed { reason: error_chain(&**error) });
        }
    }
}

/// The framing of what [`encode`] makes.
pub(crate) fn framing(encoder: &dyn Encoder) -> Framing {
    encoder.nested().map_or_else(|| encoder.framing(), NestedEncoder::framing)
}

/// Puts a record with its envelope into `out`, and nothing else.
pub(crate) fn encode<'a>(
    encoder: &dyn Encoder,
    record: &SdkLogRecord,
    scope: &InstrumentationScope,
    out: &'a mut Vec<u8>,
) -> Result<Encoded<'a>, BoxError> {
    out.clear();
    let encode = || {
        let Some(nested) = encoder.nested() else { return encoder.encode(record, scope, out).map(|()| (0, 0)) };
        nested.outer(out);
        let outer = out.len();
        nested.inner(record, scope, out)?;
        let inner = out.len();
        nested.record(record, out).map(|()| (outer, inner))
    };
    let ends = catch_unwind(AssertUnwindSafe(encode)).unwrap_or_else(|_| Err("the encoder panicked".into()));
    let (outer, inner) = ends?;
    if out.len() > MAX_RECORD_BYTES {
        return Err(SpoolError::RecordTooLarge { bytes: out.len(), max_bytes: MAX_RECORD_BYTES }.into());
    }
    let envelope = Envelope { outer: &out[..outer], inner: &out[outer..inner] };
    Ok(Encoded { bytes: &out[inner..], envelope, timestamp: time_of(record) })
}

/// Appends records. The processor's thread does not survive a panic.
pub(crate) fn contained(append: impl FnOnce() -> Result<(), SpoolError>) -> Result<(), SpoolError> {
    let panicked = |_| Err(SpoolError::Panicked { action: "append to", path: PathBuf::from("the spool") });
    catch_unwind(AssertUnwindSafe(append)).unwrap_or_else(panicked)
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
pub(crate) fn failure(error: SpoolError) -> OTelSdkError {
    OTelSdkError::InternalFailure(error_chain(&error))
}

impl opentelemetry_sdk::logs::LogExporter for LogExporter {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        let _suppressed = Context::enter_telemetry_suppressed_scope();
        check_process().map_err(failure)?;
        if self.shut_down.load(Ordering::Acquire) {
            return Err(OTelSdkError::AlreadyShutdown);
        }
        match contained(|| self.append(&batch)) {
            Ok(()) => Ok(()),
            Err(SpoolError::Closed) => Err(OTelSdkError::AlreadyShutdown),
            Err(error) => {
                self.pipeline.counters().failed_exports.add(1);
                Err(failure(error))
            }
        }
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        let _suppressed = Context::enter_telemetry_suppressed_scope();
        check_process().map_err(failure)?;
        if self.shut_down.swap(true, Ordering::AcqRel) {
            return Err(OTelSdkError::AlreadyShutdown);
        }
        if self.pipeline.stop(timeout) { Ok(()) } else { Err(OTelSdkError::Timeout(timeout)) }
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.encoder.write().unwrap_or_else(PoisonError::into_inner).set_resource(resource);
    }
}

impl Drop for LogExporter {
    fn drop(&mut self) {
        let _suppressed = Context::enter_telemetry_suppressed_scope();
        if !*self.shut_down.get_mut() && check_process().is_ok() {
            self.pipeline.abort(DROP_PATIENCE);
        }
    }
}

impl std::fmt::Debug for LogExporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogExporter").field("stats", &self.pipeline.counters().snapshot()).finish_non_exhaustive()
    }
}
