//! [`SpoolHandle`]: the application's view of a running exporter.

use std::time::Duration;

use opentelemetry::Context;

use crate::delivery::{Pipeline, Remote};
use crate::error::{FlushError, SpoolError};
use crate::exporter::checkpoint::Checkpoint;
use crate::observe::stats::{Flushed, SpoolStats};
use crate::process::check_process;
use crate::spool::RejectedRecord;

/// A handle of a running [`LogExporter`](crate::LogExporter): reads statistics and rejected records, and flushes, pauses
/// and resumes delivery.
///
/// It is cheap to clone and keeps nothing alive. After the exporter is shut down, [`stats`](Self::stats) still returns the
/// counters and what was in the spool at its end, and the other methods return errors or do nothing.
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

    /// The counts so far and the contents of the spool now, or after the shutdown those at its end. Reads the sizes of the spool's
    /// files.
    pub fn stats(&self) -> SpoolStats {
        self.remote.stats()
    }

    /// Delivers everything that was accepted before this call now, and waits for it at most `timeout`.
    ///
    /// Batches that wait for a retry are tried at once, and nothing lingers. `SdkLoggerProvider::force_flush` is the other
    /// half: it returns when the records are *on disk*; call it first, with a [`checkpoint`](Self::checkpoint) to be sure of each. This method blocks the calling thread.
    ///
    /// Nothing waits any more when it returns, but an endpoint may have rejected records for good: [`Flushed`] counts both, since the flush
    /// before that succeeded or since the exporter was built.
    ///
    /// # Errors
    ///
    /// [`FlushError::Timeout`] if the time is up, [`FlushError::Paused`] while delivery is paused,
    /// [`FlushError::ShutDown`] after the shutdown, and at once [`FlushError::Forked`] in a process that was forked. The records
    /// stay in the spool in each case.
    pub fn flush(&self, timeout: Duration) -> Result<Flushed, FlushError> {
        let _suppressed = Context::enter_telemetry_suppressed_scope();
        check_process().map_err(|_| FlushError::Forked)?;
        let Some(spool) = self.remote.spool() else { return Err(FlushError::ShutDown) };
        if self.remote.control.is_paused() {
            return Err(FlushError::Paused);
        }
        let _hurry = self.remote.control.hurry();
        if spool.wait_delivered(timeout) {
            Ok(self.remote.counters.flush())
        } else if self.remote.control.is_paused() {
            Err(FlushError::Paused)
        } else if spool.is_closed() {
            Err(FlushError::ShutDown)
        } else {
            Err(FlushError::Timeout { timeout, pending: spool.depth().pending_records })
        }
    }

    /// The records of the exporter's signal that the endpoint rejected for good, the oldest first, each with the endpoint's
    /// response.
    ///
    /// The records are in the directory `rejected` of the spool, one JSON file each, or one for a batch that was rejected as a
    /// whole; a file may be deleted once its record is dealt with. This method reads all of them into memory: at most
    /// [`with_max_rejected_bytes`](crate::LogExporterBuilder::with_max_rejected_bytes), 16 MiB by default. A file that was
    /// altered or cannot be read is left out; `otel-spool verify` and `rejected list` name it.
    ///
    /// # Errors
    ///
    /// [`SpoolError::Closed`] after the shutdown, [`SpoolError::Forked`] in a process that was forked, [`SpoolError::Io`] if the
    /// directory cannot be read.
    pub fn rejected(&self) -> Result<Vec<RejectedRecord>, SpoolError> {
        check_process()?;
        let spool = self.remote.spool().ok_or(SpoolError::Closed)?;
        spool.rejected().records()
    }

    /// Notes how many exports and records have failed so far, to [`confirm`](Checkpoint::confirm) later that all records that
    /// are logged from now on are on disk.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # fn log_something() {}
    /// use opentelemetry_sdk::logs::SdkLoggerProvider;
    /// use opentelemetry_spool::LogExporter;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let exporter = LogExporter::builder().build()?; // configured by the environment
    /// let handle = exporter.handle();
    /// let provider = SdkLoggerProvider::builder().with_batch_exporter(exporter).build();
    ///
    /// let checkpoint = handle.checkpoint();
    /// log_something();
    /// if let Err(error) = checkpoint.confirm(|| provider.force_flush()) {
    ///     eprintln!("{error}"); // such as: 2 exports failed; records: 1024 not_written, ...
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint::new(self.remote.clone())
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
            self.remote.control.set_paused(paused);
        }
    }
}

impl std::fmt::Debug for SpoolHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SpoolHandle").field("stats", &self.stats()).finish()
    }
}
