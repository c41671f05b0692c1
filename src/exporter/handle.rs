//! The handle: what the application sees of its spool while it runs.

use std::time::Duration;

use opentelemetry::Context;

use crate::delivery::{Pipeline, Remote};
use crate::error::{FlushError, SpoolError};
use crate::observe::stats::SpoolStats;
use crate::process::check_process;
use crate::spool::RejectedRecord;

/// Looks into the spool of a [`LogExporter`](crate::LogExporter) and steers its delivery. Cheap to clone; it keeps
/// nothing alive.
///
/// # Examples
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use opentelemetry_spool::LogExporter;
///
/// let exporter = LogExporter::builder()
///     .with_endpoint("http://127.0.0.1:9/ingest")
///     .with_spool_dir(dir.path())
///     .build()?;
/// let handle = exporter.handle();
/// assert_eq!(handle.stats().pending_records, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct SpoolHandle {
    remote: Remote,
}

impl SpoolHandle {
    pub(crate) fn new(pipeline: &Pipeline) -> Self {
        Self { remote: pipeline.remote() }
    }

    /// What was done so far and what the spool holds now. Reads the sizes of the spool's files.
    pub fn stats(&self) -> SpoolStats {
        self.remote.stats()
    }

    /// Delivers everything that was accepted before this call, and waits for it up to `timeout`.
    ///
    /// What waits for a retry is tried at once, and nothing lingers. It is the other half of
    /// `SdkLoggerProvider::force_flush`, which returns when the records are *on disk*: call that first.
    /// Blocks the calling thread.
    ///
    /// # Errors
    ///
    /// If the time is up, delivery is paused or the exporter is shut down. Nothing is lost by that.
    pub fn flush(&self, timeout: Duration) -> Result<(), FlushError> {
        let _suppressed = Context::enter_telemetry_suppressed_scope();
        let Some(spool) = self.remote.spool() else { return Err(FlushError::ShutDown) };
        if self.remote.control.is_paused() {
            return Err(FlushError::Paused);
        }
        let _hurry = self.remote.control.hurry();
        if spool.wait_delivered(timeout) {
            Ok(())
        } else if self.remote.control.is_paused() {
            Err(FlushError::Paused)
        } else if spool.is_closed() {
            Err(FlushError::ShutDown)
        } else {
            Err(FlushError::Timeout { timeout, pending: spool.depth().pending_records })
        }
    }

    /// What the receiver refused for good, the oldest first: with its answer, and as it was
    /// before compression.
    ///
    /// The records lie in the directory `rejected` of the spool, a JSON file each; who has dealt with one may delete its
    /// file. Reads all of them: at most what
    /// [`with_max_rejected_bytes`](crate::LogExporterBuilder::with_max_rejected_bytes) allows.
    ///
    /// # Errors
    ///
    /// If the exporter is shut down or the directory cannot be read.
    pub fn rejected(&self) -> Result<Vec<RejectedRecord>, SpoolError> {
        let spool = self.remote.spool().ok_or(SpoolError::Closed)?;
        spool.rejected().records()
    }

    /// Stops delivering, after the requests that are under way or just begin. Records are accepted and spooled as before.
    pub fn pause(&self) {
        self.set_paused(true);
    }

    /// Goes on delivering after [`pause`](Self::pause).
    pub fn resume(&self) {
        self.set_paused(false);
    }

    fn set_paused(&self, paused: bool) {
        if check_process().is_ok() {
            self.remote.control.set_paused(paused);
        }
    }
}

impl std::fmt::Debug for SpoolHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SpoolHandle").field("stats", &self.stats()).finish()
    }
}
