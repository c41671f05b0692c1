//! The exporter: partitions a batch, encodes it and appends it to the spool.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use opentelemetry::{Context, InstrumentationScope, otel_warn};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::logs::{LogBatch, SdkLogRecord};

use crate::builder::LogExporterBuilder;
use crate::encode::Encoder;
use crate::error::{BoxError, SpoolError};
use crate::handle::SpoolHandle;
use crate::spool::{Group, check_process};
use crate::stats::Counters;
use crate::transport::error_chain;
use crate::worker::Worker;

pub(crate) type PartitionKey = dyn Fn(&SdkLogRecord, &InstrumentationScope) -> String + Send + Sync;

/// Written once, when the provider tells its resource.
pub(crate) type SharedEncoder = Arc<RwLock<Box<dyn Encoder>>>;

/// How long dropping an exporter that was not shut down waits for its threads.
const DROP_PATIENCE: Duration = Duration::from_secs(2);

/// Buffers larger than this are given back after an export.
const MAX_KEPT_BYTES: usize = 4 << 20;
const MAX_KEPT_BUFFERS: usize = 64;

/// A log exporter that never loses a record it has accepted.
///
/// `export` returns once the records are in the spool, on disk; a thread of the exporter's own sends them from there.
/// It works with `BatchLogProcessor` and `SimpleLogProcessor`, inside and outside an async runtime.
///
/// - `SdkLoggerProvider::force_flush`: what was logged is *on disk*.
/// - [`SpoolHandle::flush`]: what was logged is *delivered*.
/// - `SdkLoggerProvider::shutdown`: sends until all is delivered, but no longer than the SDK allows (5 s), and tries
///   what fails only once. The rest stays in the spool for the next start; that is success, not an error.
/// - Dropping without a shutdown breaks off at once, and loses nothing either.
/// - A process that forks builds its exporters afterwards, one in each process: the copy of one that was there before
///   refuses every call with an error, and so does `build`.
///
/// What happens on its threads, those of the storage engine included, is not logged through it: telemetry is suppressed
/// there.
pub struct LogExporter {
    pub(crate) encoder: SharedEncoder,
    pub(crate) partition_key: Option<Box<PartitionKey>>,
    pub(crate) worker: Worker,
    pub(crate) counters: Arc<Counters>,
    pub(crate) groups: Mutex<Groups>,
    pub(crate) shut_down: AtomicBool,
    pub(crate) warned_of_encoder: AtomicBool,
}

/// The records of one export by partition, in buffers that are used again.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    /// Which buffer a key has. Not used without a partition key function.
    keys: HashMap<String, usize>,
    buffers: Vec<Group>,
    used: usize,
}

impl LogExporter {
    /// Begins to configure an exporter.
    pub fn builder() -> LogExporterBuilder {
        LogExporterBuilder::default()
    }

    /// A handle to look into the spool and to flush, pause and resume delivery.
    pub fn handle(&self) -> SpoolHandle {
        SpoolHandle {
            spool: self.worker.spool.clone(),
            control: self.worker.control.clone(),
            counters: self.counters.clone(),
        }
    }

    fn append(&self, batch: &LogBatch<'_>) -> Result<(), SpoolError> {
        let spool = self.worker.spool.upgrade().ok_or(SpoolError::Closed)?;
        let encoder = self.encoder.read().unwrap_or_else(PoisonError::into_inner);
        let framing = encoder.framing();
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        groups.reset();
        let mut records = 0;
        for (record, scope) in batch.iter() {
            let outcome = self.key_of(record, scope).and_then(|key| {
                let group = groups.group(key);
                encode_into(&**encoder, record, scope, framing.separator(), group)
            });
            match outcome {
                Ok(()) => records += 1,
                Err(error) => self.count_unencodable(&error),
            }
        }
        drop(encoder);
        let filled = groups.filled();
        if !filled.is_empty() {
            spool.append(&filled, &framing)?;
            self.counters.accepted_records.add(records);
        }
        Ok(())
    }

    /// A record whose key is not known is in nobody's partition: it could go out with another one's headers.
    fn key_of(&self, record: &SdkLogRecord, scope: &InstrumentationScope) -> Result<String, BoxError> {
        let Some(key) = &self.partition_key else { return Ok(String::new()) };
        catch_unwind(AssertUnwindSafe(|| key(record, scope))).map_err(|_| "the partition key function panicked".into())
    }

    fn count_unencodable(&self, error: &BoxError) {
        self.counters.unencodable_records.add(1);
        if !self.warned_of_encoder.swap(true, Ordering::Relaxed) {
            otel_warn!(
                name: "Spool.RecordNotEncoded",
                reason = error_chain(&**error),
                message = "A record could not be encoded and is lost. Further ones are counted only."
            );
        }
    }
}

/// Adds a record to those of its partition; nothing of it is left there after an error.
pub(crate) fn encode_into(
    encoder: &dyn Encoder,
    record: &SdkLogRecord,
    scope: &InstrumentationScope,
    separator: &[u8],
    group: &mut Group,
) -> Result<(), BoxError> {
    // An encoder sees a buffer of its own: whatever it does there costs no other record.
    group.scratch.clear();
    let encode = || encoder.encode(record, scope, &mut group.scratch);
    catch_unwind(AssertUnwindSafe(encode)).unwrap_or_else(|_| Err("the encoder panicked".into()))?;
    if !group.ends.is_empty() {
        group.payload.extend_from_slice(separator);
    }
    group.payload.extend_from_slice(&group.scratch);
    group.ends.push(group.payload.len());
    if let Some(time) = record.timestamp().or(record.observed_timestamp()) {
        group.first_timestamp = Some(group.first_timestamp.map_or(time, |first| first.min(time)));
        group.last_timestamp = Some(group.last_timestamp.map_or(time, |last| last.max(time)));
    }
    Ok(())
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn failure(error: SpoolError) -> OTelSdkError {
    OTelSdkError::InternalFailure(error_chain(&error))
}

impl Groups {
    fn reset(&mut self) {
        self.keys.clear();
        self.used = 0;
        self.buffers.truncate(MAX_KEPT_BUFFERS);
        for group in &mut self.buffers {
            if group.payload.capacity().max(group.scratch.capacity()) > MAX_KEPT_BYTES {
                *group = Group::default();
            }
            group.payload.clear();
            group.ends.clear();
            (group.first_timestamp, group.last_timestamp) = (None, None);
        }
    }

    fn group(&mut self, key: String) -> &mut Group {
        let used = &mut self.used;
        let at = *self.keys.entry(key).or_insert_with(|| {
            *used += 1;
            *used - 1
        });
        if at == self.buffers.len() {
            self.buffers.push(Group::default());
        }
        &mut self.buffers[at]
    }

    /// Every key that has records, with them, in the order in which the keys were first seen.
    fn filled(&self) -> Vec<(&str, &Group)> {
        let mut keys: Vec<_> = self.keys.iter().collect();
        keys.sort_unstable_by_key(|(_, at)| **at);
        let all = keys.into_iter().map(|(key, at)| (key.as_str(), &self.buffers[*at]));
        all.filter(|(_, group)| !group.ends.is_empty()).collect()
    }
}

impl opentelemetry_sdk::logs::LogExporter for LogExporter {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        let _suppressed = Context::enter_telemetry_suppressed_scope();
        check_process().map_err(failure)?;
        if self.shut_down.load(Ordering::Acquire) {
            return Err(OTelSdkError::AlreadyShutdown);
        }
        // The processor's thread does not survive a panic.
        let panicked = |_| Err(SpoolError::Panicked { action: "append to", path: PathBuf::from("the spool") });
        match catch_unwind(AssertUnwindSafe(|| self.append(&batch))).unwrap_or_else(panicked) {
            Ok(()) => Ok(()),
            Err(SpoolError::Closed) => Err(OTelSdkError::AlreadyShutdown),
            Err(error) => {
                self.counters.failed_exports.add(1);
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
        // The last tenth is for closing the spool.
        self.worker.control.stop(timeout.mul_f64(0.9));
        if self.worker.wait(timeout) { Ok(()) } else { Err(OTelSdkError::Timeout(timeout)) }
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.encoder.write().unwrap_or_else(PoisonError::into_inner).set_resource(resource);
    }
}

impl Drop for LogExporter {
    fn drop(&mut self) {
        let _suppressed = Context::enter_telemetry_suppressed_scope();
        if !*self.shut_down.get_mut() && check_process().is_ok() {
            self.worker.control.stop(Duration::ZERO);
            self.worker.wait(DROP_PATIENCE);
        }
    }
}

impl std::fmt::Debug for LogExporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogExporter").field("stats", &self.counters.snapshot()).finish_non_exhaustive()
    }
}
