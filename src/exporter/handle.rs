//! [`SpoolHandle`]: the application's view of a running exporter.

use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use opentelemetry::Context;

use crate::delivery::worker::Control;
use crate::error::{FlushError, SpoolError};
use crate::observe::stats::{Counters, SpoolStats};
use crate::process::check_process;
use crate::spool::{RejectedRecord, Spool};

/// A handle of a running [`LogExporter`](crate::LogExporter): reads statistics and rejected records, and flushes, pauses
/// and resumes delivery.
///
/// It is cheap to clone and keeps nothing alive. After the exporter is shut down, [`stats`](Self::stats) still returns the
/// counters, and the other methods return errors or do nothing.
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
    /// Counts since the exporter was built, and the contents of the spool now. Reads the sizes of the spool's files.
    pub fn stats(&self) -> SpoolStats {
        match self.spool() {
            None => self.counters.snapshot(),
            Some(spool) => stats(&spool, &self.counters),
        }
    }

    /// Delivers everything that was accepted before this call now, and waits for it at most `timeout`.
    ///
    /// Batches that wait for a retry are tried at once, and nothing lingers. `SdkLoggerProvider::force_flush` is the other
    /// half: it returns when the records are *on disk*; call it first. This method blocks the calling thread.
    ///
    /// # Errors
    ///
    /// [`FlushError::Timeout`] if the time is up, [`FlushError::Paused`] while delivery is paused and
    /// [`FlushError::ShutDown`] after the shutdown. The records stay in the spool in each case.
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

    /// The records that the endpoint rejected for good, the oldest first, each with the endpoint's response.
    ///
    /// The records are in the directory `rejected` of the spool, one JSON file each; a file may be deleted once its record
    /// is dealt with. This method reads all of them into memory: at most
    /// [`with_max_rejected_bytes`](crate::LogExporterBuilder::with_max_rejected_bytes), 16 MiB by default.
    ///
    /// # Errors
    ///
    /// [`SpoolError::Closed`] after the shutdown, [`SpoolError::Io`] if the directory cannot be read.
    pub fn rejected(&self) -> Result<Vec<RejectedRecord>, SpoolError> {
        let spool = self.spool().ok_or(SpoolError::Closed)?;
        spool.rejected().records()
    }

    /// Stops delivery after the requests that are in flight. Records are accepted and spooled as before.
    pub fn pause(&self) {
        self.set_paused(true);
    }

    /// Resumes delivery after [`pause`](Self::pause).
    pub fn resume(&self) {
        self.set_paused(false);
    }

    fn set_paused(&self, paused: bool) {
        if check_process().is_ok() {
            self.control.set_paused(paused);
        }
    }

    /// The spool; `None` after the shutdown, and in a forked process, where its locks may be held for ever.
    fn spool(&self) -> Option<Arc<Spool>> {
        check_process().ok()?;
        self.spool.upgrade()
    }
}

/// The counters, and the contents of the spool.
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
