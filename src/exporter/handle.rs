//! The handle: what the application sees of its spool while it runs.

use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use opentelemetry::Context;

use crate::delivery::worker::Control;
use crate::error::{FlushError, SpoolError};
use crate::observe::stats::{Counters, SpoolStats};
use crate::process::check_process;
use crate::spool::{RejectedRecord, Spool};

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
    pub(crate) spool: Weak<Spool>,
    pub(crate) control: Arc<Control>,
    pub(crate) counters: Arc<Counters>,
}

impl SpoolHandle {
    /// What was done so far and what the spool holds now. Reads the sizes of the spool's files.
    pub fn stats(&self) -> SpoolStats {
        match self.spool() {
            None => self.counters.snapshot(),
            Some(spool) => stats(&spool, &self.counters),
        }
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
        let Some(spool) = self.spool() else { return Err(FlushError::ShutDown) };
        if self.control.is_paused() {
            return Err(FlushError::Paused);
        }
        let _hurry = self.control.hurry();
        if spool.wait_delivered(timeout) {
            Ok(())
        } else if self.control.is_paused() {
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
        let spool = self.spool().ok_or(SpoolError::Closed)?;
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
            self.control.set_paused(paused);
        }
    }

    /// `None` after the exporter is shut down, and in a process that was forked: there its locks may be held for ever.
    fn spool(&self) -> Option<Arc<Spool>> {
        check_process().ok()?;
        self.spool.upgrade()
    }
}

/// What was counted, and what the spool holds.
pub(crate) fn stats(spool: &Spool, counters: &Counters) -> SpoolStats {
    let depth = spool.depth();
    SpoolStats {
        pending_records: depth.pending_records,
        oldest_age: spool.oldest_age(SystemTime::now()),
        recovering: !spool.is_recovered(),
        segments: depth.segments,
        disk_bytes: spool.disk_bytes(),
        ..counters.snapshot()
    }
}

impl std::fmt::Debug for SpoolHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SpoolHandle").field("stats", &self.stats()).finish()
    }
}
