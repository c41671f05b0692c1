//! [`SpoolProcessor`]: a front of the spool for bursts.

pub(crate) mod buffer;
pub(crate) mod committer;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::logs::{LogExporter as _, LogProcessor, SdkLogRecord};

use crate::error::ExporterBuildError;
use crate::exporter::spool_processor::buffer::{Added, Buffer, BufferLimits, Unflushed};
use crate::exporter::{DROP_PATIENCE, LogExporter, failure};
use crate::observe::event::SpoolEvent;
use crate::observe::loss::LossReason;
use crate::process::check_process;

/// As long as the SDK's batch processor.
const FLUSH_PATIENCE: Duration = Duration::from_secs(5);

/// Takes bursts: a log processor that encodes each record where it is logged and commits to the spool in groups.
///
/// The SDK's `BatchLogProcessor` drops what comes while its queue of 2,048 records is full. This one takes its place: it
/// holds 8 MiB of encoded records, and when the disk falls behind, `emit` waits a moment before a record is dropped. What
/// is dropped is counted and told in the stream, as all losses are.
///
/// - `SdkLoggerProvider::force_flush`: what was logged is *on disk*. If the spool does not take it, an error says why, and
///   the records are kept in memory and tried again every second.
/// - [`SpoolHandle::flush`](crate::SpoolHandle::flush): what is on disk is *delivered*. Call `force_flush` first.
/// - `SdkLoggerProvider::shutdown`: commits the rest, then shuts the exporter down. What the spool does not take even then
///   is lost: an error says so.
/// - Dropping without a shutdown commits the rest as well, for two seconds at most.
/// - A kill takes what is in memory: what was logged within [`with_commit_delay`](SpoolProcessorBuilder::with_commit_delay)
///   and the time that a commit takes; while the disk is slow or refuses, up to the whole buffer.
/// - A copy in a process that was forked keeps nothing and waits for nothing; `force_flush` and `shutdown` are errors
///   there.
///
/// The partition key function and the encoder run on the threads that log, with telemetry suppressed.
///
/// # Examples
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use opentelemetry_sdk::logs::SdkLoggerProvider;
/// use opentelemetry_spool::{LogExporter, SpoolProcessor};
///
/// let exporter = LogExporter::builder()
///     .with_endpoint("http://127.0.0.1:9/ingest")
///     .with_spool_dir(dir.path())
///     .build()?;
/// let provider = SdkLoggerProvider::builder()
///     .with_log_processor(SpoolProcessor::new(exporter)?)
///     .build();
/// # provider.shutdown()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SpoolProcessor {
    buffer: Arc<Buffer>,
    exporter: LogExporter,
    shut_down: AtomicBool,
    /// Closed when the committing thread has ended.
    ended: Mutex<Receiver<()>>,
}

impl SpoolProcessor {
    /// A processor with the defaults of [`builder`](Self::builder).
    ///
    /// # Errors
    ///
    /// If its thread cannot be started.
    pub fn new(exporter: LogExporter) -> Result<Self, ExporterBuildError> {
        Self::builder(exporter).build()
    }

    /// Begins to configure a processor in front of an exporter.
    pub fn builder(exporter: LogExporter) -> SpoolProcessorBuilder {
        let limits = BufferLimits {
            max_bytes: 8 << 20,
            commit_delay: Duration::from_millis(100),
            max_wait: Duration::from_millis(500),
        };
        SpoolProcessorBuilder { exporter, limits }
    }

    /// Commits what there is, for as long as `patience`.
    fn stop(&self, patience: Duration) -> Result<(), Unflushed> {
        self.buffer.stop();
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
            return Err(Unflushed::Timeout);
        }
        self.buffer.failure().map_or(Ok(()), |reason| Err(Unflushed::Failed(reason)))
    }
}

fn sdk_error(error: Unflushed, timeout: Duration) -> OTelSdkError {
    match error {
        Unflushed::Stopped => OTelSdkError::AlreadyShutdown,
        Unflushed::Timeout => OTelSdkError::Timeout(timeout),
        Unflushed::Failed(reason) => OTelSdkError::InternalFailure(reason),
    }
}

impl LogProcessor for SpoolProcessor {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        if self.shut_down.load(Ordering::Relaxed) {
            return;
        }
        let _suppressed = Context::enter_telemetry_suppressed_scope();
        let added = self.exporter.encoded(record, scope, |key, encoded| self.buffer.add(key, encoded));
        if let Some(Added::Dropped { first }) = added {
            self.exporter.pipeline.counters().losses.add(LossReason::BufferFull, 1);
            if first {
                self.exporter.pipeline.events().report(SpoolEvent::BufferFull);
            }
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        let _suppressed = Context::enter_telemetry_suppressed_scope();
        check_process().map_err(failure)?;
        self.buffer.flush(FLUSH_PATIENCE).map_err(|error| sdk_error(error, FLUSH_PATIENCE))
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        let _suppressed = Context::enter_telemetry_suppressed_scope();
        check_process().map_err(failure)?;
        let begun = Instant::now();
        if self.shut_down.swap(true, Ordering::AcqRel) {
            return Err(OTelSdkError::AlreadyShutdown);
        }
        // Some of the time is the exporter's, also when the disk hangs.
        let committed = self.stop(timeout.mul_f64(0.8));
        let shut_down = self.exporter.shutdown_with_timeout(timeout.saturating_sub(begun.elapsed()));
        committed.map_err(|error| sdk_error(error, timeout)).and(shut_down)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
        self.buffer.set_framing(self.exporter.framing());
    }
}

impl Drop for SpoolProcessor {
    fn drop(&mut self) {
        let _suppressed = Context::enter_telemetry_suppressed_scope();
        if !*self.shut_down.get_mut() && check_process().is_ok() {
            // What fails is told by its own warnings.
            let _ = self.stop(DROP_PATIENCE);
        }
    }
}

impl std::fmt::Debug for SpoolProcessor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SpoolProcessor").field("exporter", &self.exporter).finish_non_exhaustive()
    }
}

/// Configures a [`SpoolProcessor`]. Any value is allowed.
///
/// # Examples
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use std::time::Duration;
///
/// use opentelemetry_spool::{LogExporter, SpoolProcessor};
///
/// let exporter = LogExporter::builder()
///     .with_endpoint("http://127.0.0.1:9/ingest")
///     .with_spool_dir(dir.path())
///     .build()?;
/// // For a thread that must never wait: a larger buffer instead.
/// let processor = SpoolProcessor::builder(exporter)
///     .with_max_buffer_bytes(64 << 20)
///     .with_max_wait(Duration::ZERO)
///     .build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct SpoolProcessorBuilder {
    exporter: LogExporter,
    limits: BufferLimits,
}

impl SpoolProcessorBuilder {
    /// How much may be in memory that is not on disk yet, in bytes of encoded records with what it takes to manage them.
    /// Default: 8 MiB.
    ///
    /// A record that is larger is taken while the buffer is empty.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use opentelemetry_spool::{LogExporter, SpoolProcessor};
    ///
    /// let exporter = LogExporter::builder().build()?; // configured by the environment
    /// let processor = SpoolProcessor::builder(exporter).with_max_buffer_bytes(32 << 20).build()?; // 32 MiB
    /// # Ok::<(), opentelemetry_spool::ExporterBuildError>(())
    /// ```
    pub fn with_max_buffer_bytes(mut self, max: usize) -> Self {
        self.limits.max_bytes = max;
        self
    }

    /// How long a record waits in memory for others to be committed with. Default: 100 ms; zero commits as soon as the
    /// commit before is done.
    ///
    /// It is what a kill of the process can take, with the time of the commit itself. Once a quarter of the buffer or 1 MiB,
    /// whichever is less, has come together, it is committed earlier.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use opentelemetry_spool::{LogExporter, SpoolProcessor};
    ///
    /// let exporter = LogExporter::builder().build()?; // configured by the environment
    /// let processor = SpoolProcessor::builder(exporter).with_commit_delay(Duration::from_millis(20)).build()?;
    /// # Ok::<(), opentelemetry_spool::ExporterBuildError>(())
    /// ```
    pub fn with_commit_delay(mut self, delay: Duration) -> Self {
        self.limits.commit_delay = delay;
        self
    }

    /// How long `emit` waits while the buffer is full, before the record is dropped. Default: 500 ms; zero never waits.
    ///
    /// The default is longer than a disk that works takes for a commit, so that records which come faster than the disk
    /// takes them are slowed down and not lost. A disk that does not work holds nobody up for long: once somebody has waited
    /// in vain, or the spool has refused a commit, nobody waits until something was committed again.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use opentelemetry_spool::{LogExporter, SpoolProcessor};
    ///
    /// let exporter = LogExporter::builder().build()?; // configured by the environment
    /// let processor = SpoolProcessor::builder(exporter).with_max_wait(Duration::ZERO).build()?; // never
    /// # Ok::<(), opentelemetry_spool::ExporterBuildError>(())
    /// ```
    pub fn with_max_wait(mut self, wait: Duration) -> Self {
        self.limits.max_wait = wait;
        self
    }

    /// Starts the thread that commits, and returns the processor.
    ///
    /// # Errors
    ///
    /// If the thread cannot be started.
    pub fn build(self) -> Result<SpoolProcessor, ExporterBuildError> {
        let Self { exporter, limits } = self;
        let buffer = Arc::new(Buffer::new(limits, exporter.framing()));
        let (for_thread, spool) = (buffer.clone(), exporter.pipeline.spool().clone());
        let (counters, events) = (exporter.pipeline.counters().clone(), exporter.pipeline.events().clone());
        let (end, ended) = sync_channel::<()>(0);
        crate::process::spawn("commit", move || {
            committer::run(&for_thread, &spool, &counters, &events);
            drop(end);
        })
        .map_err(ExporterBuildError::Thread)?;
        Ok(SpoolProcessor { buffer, exporter, shut_down: AtomicBool::new(false), ended: Mutex::new(ended) })
    }
}
