//! [`Intake`]: what exporters of all signals have in common. It appends what an export encodes, and shuts down.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use opentelemetry::Context;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};

use crate::delivery::Pipeline;
use crate::encode::blocks::{Blocks, Encoded, Envelope, EnvelopeEnds};
use crate::encode::framing::Framing;
use crate::encode::{Filtered, Redaction};
use crate::error::{BoxError, SpoolError, error_chain};
use crate::exporter::handle::SpoolHandle;
use crate::observe::event::SpoolEvent;
use crate::observe::loss::LossReason;
use crate::observe::stats::Counters;
use crate::process::{Logging, check_process};
use crate::spool::{Appended, MAX_RECORD_BYTES};

/// How long a shutdown waits for events that are logged on another thread, and for the user's function.
const EVENTS_PATIENCE: Duration = Duration::from_millis(100);

/// How long dropping an exporter that was not shut down waits for its threads.
pub(crate) const DROP_PATIENCE: Duration = Duration::from_secs(2);

/// The most that a thread keeps to encode its next record in.
const MAX_KEPT_SCRATCH: usize = 64 << 10;

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The way into a pipeline's spool.
pub struct Intake {
    pub(crate) pipeline: Pipeline,
    blocks: Mutex<Blocks>,
    shut_down: AtomicBool,
    warned_of_encoder: AtomicBool,
}

impl Intake {
    pub(crate) fn new(pipeline: Pipeline) -> Self {
        Self {
            pipeline,
            blocks: Mutex::default(),
            shut_down: AtomicBool::new(false),
            warned_of_encoder: AtomicBool::new(false),
        }
    }

    pub(crate) fn handle(&self) -> SpoolHandle {
        SpoolHandle::new(&self.pipeline)
    }

    /// Appends what `add` adds to empty blocks, with telemetry suppressed. Returns where it is.
    pub(crate) fn export(
        &self,
        framing: impl FnOnce() -> Framing,
        add: impl FnOnce(&Framing, &mut Blocks),
    ) -> Result<Vec<Appended>, OTelSdkError> {
        let (_suppressed, _logging) = (Context::enter_telemetry_suppressed_scope(), Logging::begin());
        check_process().map_err(failure)?;
        if self.shut_down.load(Ordering::Acquire) {
            return Err(OTelSdkError::AlreadyShutdown);
        }
        match contained(|| self.append(framing, add)) {
            Ok(appended) => Ok(appended),
            Err(SpoolError::Closed) => Err(OTelSdkError::AlreadyShutdown),
            Err(error) => {
                self.pipeline.counters().failed_exports.add(1);
                Err(failure(error))
            }
        }
    }

    fn append(
        &self,
        framing: impl FnOnce() -> Framing,
        add: impl FnOnce(&Framing, &mut Blocks),
    ) -> Result<Vec<Appended>, SpoolError> {
        let spool = self.pipeline.spool().upgrade().ok_or(SpoolError::Closed)?;
        let framing = framing();
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        blocks.clear();
        add(&framing, &mut blocks);
        if blocks.records() == 0 {
            return Ok(Vec::new());
        }
        let all = blocks.all();
        let appended = spool.append(&all, &framing).inspect_err(|error| {
            if !matches!(error, SpoolError::Closed) && spool.note_not_written(&all) {
                self.pipeline.events().report(SpoolEvent::not_written(blocks.records(), error_chain(error)));
            }
        })?;
        self.pipeline.counters().accepted_records.add(blocks.records());
        Ok(appended)
    }

    /// Has earlier records not sent any more that nobody was sent yet, because `newer` ones stand for them.
    #[cfg(feature = "metrics")]
    pub(crate) fn withdraw(&self, earlier: &[Appended], newer: &Appended) {
        let _suppressed = Context::enter_telemetry_suppressed_scope();
        let Some(spool) = self.pipeline.spool().upgrade() else { return };
        // Where that cannot be kept, they are sent.
        let withdrawn = contained(|| spool.withdraw(earlier, newer)).unwrap_or_default();
        self.pipeline.counters().thinned_records.add(withdrawn);
    }

    /// Gives `add` a record's partition key and what it is on the wire. A record that has none is counted.
    pub(crate) fn encoded<T>(
        &self,
        timestamp: Option<SystemTime>,
        key: impl FnOnce() -> Result<String, BoxError>,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<EnvelopeEnds, BoxError>,
        add: impl FnOnce(&str, Encoded<'_>) -> T,
    ) -> Option<T> {
        // Taken, not borrowed: whatever an encoder does, it may come back here.
        let mut bytes = SCRATCH.try_with(Cell::take).unwrap_or_default();
        let encoded = key().and_then(|key| Ok((key, checked(timestamp, encode, &mut bytes)?)));
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

    /// What a filter of the application leaves of a record: see [`filtered`]. `None` if nothing of it is stored, which is counted.
    pub(crate) fn filtered(&self, filter: impl FnOnce() -> Filtered) -> Option<Kept> {
        filtered(self.pipeline.counters(), filter).inspect_err(|error| self.note_encode_failed(error)).ok().flatten()
    }

    /// Counts a record that is lost, and touches no lock of the spool: this runs on threads that log, also after a fork.
    fn note_encode_failed(&self, error: &BoxError) {
        self.pipeline.counters().losses.add(LossReason::EncodeFailed, 1);
        if !self.warned_of_encoder.swap(true, Ordering::Relaxed) {
            self.pipeline.events().report(SpoolEvent::EncodeFailed { reason: error_chain(&**error) });
        }
    }

    pub(crate) fn shutdown(&self, timeout: Duration) -> OTelSdkResult {
        let _suppressed = Context::enter_telemetry_suppressed_scope();
        check_process().map_err(failure)?;
        if self.shut_down.swap(true, Ordering::AcqRel) {
            return Err(OTelSdkError::AlreadyShutdown);
        }
        let stopped = self.pipeline.stop(timeout);
        self.pipeline.events().settle(EVENTS_PATIENCE);
        if stopped { Ok(()) } else { Err(OTelSdkError::Timeout(timeout)) }
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        let _suppressed = Context::enter_telemetry_suppressed_scope();
        if !*self.shut_down.get_mut() && check_process().is_ok() {
            self.pipeline.abort(DROP_PATIENCE);
        }
    }
}

/// A record of which a filter leaves anything.
pub(crate) enum Kept {
    Whole,
    Without(Redaction),
}

/// Asks a filter of the application what is left of a record. `None` if the filter drops the record, which is counted.
///
/// # Errors
///
/// If the filter panics: it is not known what has to be left out of the record, so it is lost.
pub(crate) fn filtered(counters: &Counters, filter: impl FnOnce() -> Filtered) -> Result<Option<Kept>, BoxError> {
    match catch_unwind(AssertUnwindSafe(filter)).map_err(|_| "the record filter panicked")? {
        Filtered::Keep => Ok(Some(Kept::Whole)),
        Filtered::Redact(redaction) => Ok(Some(Kept::Without(redaction))),
        Filtered::Drop => {
            counters.filtered_records.add(1);
            Ok(None)
        }
    }
}

/// The key that a function of the application gives; without one, that of the partition that has no name. A record whose key is not known
/// is in nobody's partition: it could go out with another one's headers.
pub(crate) fn key_by<F: ?Sized>(function: Option<&F>, key: impl FnOnce(&F) -> String) -> Result<String, BoxError> {
    let Some(function) = function else { return Ok(String::new()) };
    catch_unwind(AssertUnwindSafe(|| key(function))).map_err(|_| "the partition key function panicked".into())
}

/// Has a record with its envelope written into `out`, and nothing else.
pub(crate) fn checked(
    timestamp: Option<SystemTime>,
    encode: impl FnOnce(&mut Vec<u8>) -> Result<EnvelopeEnds, BoxError>,
    out: &mut Vec<u8>,
) -> Result<Encoded<'_>, BoxError> {
    out.clear();
    let ends = catch_unwind(AssertUnwindSafe(|| encode(out))).unwrap_or_else(|_| Err("the encoder panicked".into()));
    let EnvelopeEnds { outer, inner } = ends?;
    if out.len() > MAX_RECORD_BYTES {
        return Err(SpoolError::RecordTooLarge { bytes: out.len(), max_bytes: MAX_RECORD_BYTES }.into());
    }
    let envelope = Envelope { outer: &out[..outer], inner: &out[outer..inner] };
    Ok(Encoded { bytes: &out[inner..], envelope, timestamp })
}

/// Appends records. The processor's thread does not survive a panic.
pub(crate) fn contained<T>(append: impl FnOnce() -> Result<T, SpoolError>) -> Result<T, SpoolError> {
    let panicked = |_| Err(SpoolError::Panicked { action: "append to", path: PathBuf::from("the spool") });
    catch_unwind(AssertUnwindSafe(append)).unwrap_or_else(panicked)
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
pub(crate) fn failure(error: SpoolError) -> OTelSdkError {
    OTelSdkError::InternalFailure(error_chain(&error))
}
