//! [`Checkpoint`]: whether all that was logged since is on disk, whichever processor stands before the exporter.

use crate::delivery::Remote;
use crate::error::{BoxError, CheckpointError};
use crate::observe::loss::LossReason;
use crate::process::check_process;

/// A moment of an exporter, from [`SpoolHandle::checkpoint`](crate::SpoolHandle::checkpoint): take it before records are
/// logged, and [`confirm`](Self::confirm) that they are on disk.
///
/// `SdkLoggerProvider::force_flush` alone does not tell that. The SDK's batch processor exports in several steps and returns
/// the result of the last one, and exports between two flushes return theirs to nobody; the simple processor's flush always
/// succeeds. The exporter counts what failed, so a checkpoint knows.
///
/// # Examples
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use opentelemetry::logs::{LogRecord, Logger, LoggerProvider};
/// use opentelemetry_sdk::logs::SdkLoggerProvider;
/// use opentelemetry_spool::LogExporter;
///
/// let exporter = LogExporter::builder()
///     .with_endpoint("http://127.0.0.1:9/ingest")
///     .with_spool_dir(dir.path())
///     .build()?;
/// let handle = exporter.handle();
/// let provider = SdkLoggerProvider::builder().with_batch_exporter(exporter).build();
/// let logger = provider.logger("payments");
///
/// let checkpoint = handle.checkpoint();
/// let mut record = logger.create_log_record();
/// record.set_body("order 4711 is paid".into());
/// logger.emit(record);
/// checkpoint.confirm(|| provider.force_flush())?; // now it may be acknowledged
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[must_use = "nothing is known before `confirm`"]
pub struct Checkpoint {
    remote: Remote,
    before: Failures,
}

/// What kept records from the disk so far.
#[derive(Clone, Copy, Debug)]
struct Failures {
    exports: u64,
    not_written: u64,
    buffer_full: u64,
    encode_failed: u64,
}

impl Failures {
    fn of(remote: &Remote) -> Self {
        let counters = &remote.counters;
        let lost = |reason| counters.losses.get(reason);
        Self {
            exports: counters.failed_exports.get(),
            not_written: lost(LossReason::NotWritten),
            buffer_full: lost(LossReason::BufferFull),
            encode_failed: lost(LossReason::EncodeFailed),
        }
    }
}

impl Checkpoint {
    pub(crate) fn new(remote: Remote) -> Self {
        let before = Failures::of(&remote);
        Self { remote, before }
    }

    /// Runs `flush`, which is to be `provider.force_flush()`, and succeeds if every record that was logged between the
    /// checkpoint and this call was written to the spool, as safe as
    /// [`with_durability`](crate::LogExporterBuilder::with_durability) says.
    ///
    /// It blocks for as long as the flush does: at most 5 s with the SDK's batch processor and with
    /// [`SpoolProcessor`](crate::SpoolProcessor). It may be called again: with `SpoolProcessor`, whose failed commits are
    /// retried, an error without lost records can be a success later; with the SDK's processors records of a failed export
    /// are lost, and the checkpoint fails for good.
    ///
    /// - The counts are the exporter's. A record of another thread that fails meanwhile makes this an error too; a success is
    ///   one for the records of all threads that were logged before this call.
    /// - **The SDK's batch processor loses records before the exporter sees them while its queue of 2,048 records is full, and
    ///   tells nobody: a success does not cover these.** `SpoolProcessor` counts them, as `buffer_full`.
    /// - A record that was written and then given up by a limit of the spool (`evicted`, `expired`) is no failure here:
    ///   [`stats`](crate::SpoolHandle::stats) counts it.
    ///
    /// # Errors
    ///
    /// [`CheckpointError`], with the exports and records that failed since the checkpoint, and the error of `flush`. It is
    /// an error also after the exporter's shutdown: confirm before. In a process that was forked its source is
    /// [`SpoolError::Forked`](crate::SpoolError::Forked), at once: `flush` is not called, which could wait there for a thread that
    /// the process has not.
    pub fn confirm<E: Into<BoxError>>(&self, flush: impl FnOnce() -> Result<(), E>) -> Result<(), CheckpointError> {
        let flushed = match check_process() {
            Ok(()) => flush().map_err(Into::into),
            Err(forked) => Err(forked.into()),
        };
        let now = Failures::of(&self.remote);
        // Records of an export after the shutdown are counted by nobody.
        let is_open = self.remote.spool().is_some_and(|spool| !spool.is_closed());
        let source = flushed.err().or_else(|| (!is_open).then(|| "the exporter is shut down".into()));
        let since = |now: u64, before: u64| now.saturating_sub(before);
        let error = CheckpointError {
            failed_exports: since(now.exports, self.before.exports),
            not_written_records: since(now.not_written, self.before.not_written),
            buffer_full_records: since(now.buffer_full, self.before.buffer_full),
            encode_failed_records: since(now.encode_failed, self.before.encode_failed),
            source,
        };
        if error.is_none() { Ok(()) } else { Err(error) }
    }
}

impl std::fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checkpoint").field("before", &self.before).finish_non_exhaustive()
    }
}
