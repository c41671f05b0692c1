//! [`SpoolProcessor`]: a processor of log records or spans in front of the spool, for bursts.

pub(crate) mod buffer;
pub(crate) mod committer;
mod journaling;
mod panic_hook;

use std::cell::Cell;
#[cfg(feature = "self-metrics")]
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry::logs::Severity;
use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::logs::{LogExporter as _, LogProcessor, SdkLogRecord};
#[cfg(feature = "trace")]
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};

#[cfg(feature = "config-file")]
use crate::config::file::ExporterConfig;
#[cfg(not(feature = "config-file"))]
use crate::config::values::ProcessorSettings;
use crate::encode::blocks::Encoded;
use crate::encode::framing::Framing;
use crate::error::ExporterBuildError;
use crate::exporter::intake::{DROP_PATIENCE, Intake, failure};
use crate::exporter::log_exporter::LogExporter;
#[cfg(feature = "trace")]
use crate::exporter::span_exporter::SpanExporter;
use crate::exporter::spool_processor::buffer::{Added, Buffer, BufferLimits, JournalOf, Unflushed};
use crate::observe::event::SpoolEvent;
use crate::observe::loss::LossReason;
#[cfg(feature = "self-metrics")]
use crate::observe::metrics::SelfMetrics;
#[cfg(feature = "self-metrics")]
use crate::observe::processor_metrics;
use crate::process::{Logging, check_process};

/// The time that `force_flush` waits: as long as the SDK's batch processor.
const FLUSH_PATIENCE: Duration = Duration::from_secs(5);

/// A processor for bursts: encodes each record on the thread that logs, and commits many records together. In front of a
/// `SpanExporter` it is a span processor.
///
/// The SDK's `BatchLogProcessor` loses records while its queue of 2,048 records is full. This processor takes its
/// place: it holds 8 MiB of encoded records, and when the disk falls behind, `emit` waits up to 500 ms for room. A
/// record that finds none is lost, counted as `buffer_full` and reported in the stream.
///
/// - `SdkLoggerProvider::force_flush` returns when every record is *on disk*. If the spool does not take them, it returns
///   an error that says why; the records stay in memory and are retried every second.
/// - [`SpoolHandle::flush`](crate::SpoolHandle::flush) returns when every record on disk is *delivered*. Call
///   `force_flush` first.
/// - `SdkLoggerProvider::shutdown` commits the rest, then shuts the exporter down. Records that the spool does not take
///   even then are lost, save for those in the journal, and an error says how many and why.
/// - Dropping the processor without a shutdown commits the rest as well, for at most two seconds.
/// - A kill loses the records in memory: those of [`with_commit_delay`](SpoolProcessorBuilder::with_commit_delay) and of
///   one commit; while the disk is slow or fails, up to the whole buffer. [With a journal](SpoolProcessorBuilder::with_journal)
///   it loses none that `emit` has returned for.
/// - A copy in a forked process keeps nothing and waits for nothing; `force_flush` and `shutdown` return errors there.
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
pub struct SpoolProcessor<E = LogExporter> {
    buffer: Arc<Buffer>,
    exporter: E,
    /// Records of this severity are committed soon, and higher ones.
    commit_at: Option<Severity>,
    shut_down: AtomicBool,
    /// Closed when the commit thread has ended.
    ended: Mutex<Receiver<()>>,
}

/// An exporter that a [`SpoolProcessor`] can be in front of: [`LogExporter`], and `SpanExporter` with the feature `trace`.
pub trait Spooled: sealed::Exporter {}

impl<E: sealed::Exporter> Spooled for E {}

/// What nobody else can implement.
pub(crate) mod sealed {
    use crate::encode::framing::Framing;
    use crate::exporter::intake::Intake;

    pub trait Exporter: std::fmt::Debug {
        fn intake(&self) -> &Intake;

        fn framing(&self) -> Framing;
    }
}

impl sealed::Exporter for LogExporter {
    fn intake(&self) -> &Intake {
        &self.intake
    }

    fn framing(&self) -> Framing {
        Self::framing(self)
    }
}

#[cfg(feature = "trace")]
impl sealed::Exporter for SpanExporter {
    fn intake(&self) -> &Intake {
        &self.intake
    }

    fn framing(&self) -> Framing {
        self.encoder.framing()
    }
}

impl<E: Spooled> SpoolProcessor<E> {
    /// A processor with the defaults of [`builder`](Self::builder).
    ///
    /// # Errors
    ///
    /// [`ExporterBuildError::Thread`] if the commit thread cannot be started.
    pub fn new(exporter: E) -> Result<Self, ExporterBuildError> {
        Self::builder(exporter).build()
    }

    /// A builder of a processor in front of `exporter`.
    pub fn builder(exporter: E) -> SpoolProcessorBuilder<E> {
        SpoolProcessorBuilder {
            exporter,
            max_bytes: None,
            commit_delay: None,
            max_wait: None,
            journal: None,
            commit_on_panic: None,
            commit_at: None,
            #[cfg(feature = "config-file")]
            config: None,
        }
    }

    /// Adds a record, once it is `encoded`: false if it is not kept, and counted.
    fn add(&self, encoded: impl FnOnce(&dyn Fn(&str, Encoded<'_>) -> Added) -> Option<Added>) -> bool {
        if self.shut_down.load(Ordering::Relaxed) {
            self.buffer.counts.already_shutdown.add(1);
            return false;
        }
        let (_suppressed, _logging) = (Context::enter_telemetry_suppressed_scope(), Logging::begin());
        let bytes = Cell::new(0);
        let added = encoded(&|key, record| {
            bytes.set(record.len() as u64);
            self.buffer.add(key, record)
        });
        match added {
            Some(Added::Kept) => {}
            Some(Added::Lost { first }) => self.note_lost(bytes.get(), first),
            Some(Added::Ignored) => self.buffer.counts.already_shutdown.add(1),
            // The filter and the encoder are the exporter's, which counts what they leave out.
            None => self.buffer.counts.processed.add(1),
        }
        added == Some(Added::Kept)
    }

    /// Counts a record that found no room.
    fn note_lost(&self, bytes: u64, first: bool) {
        let pipeline = &self.exporter.intake().pipeline;
        self.buffer.counts.queue_full.add(1);
        pipeline.counters().losses.add_bytes(LossReason::BufferFull, bytes);
        pipeline.counters().losses.add(LossReason::BufferFull, 1);
        if first {
            pipeline.events().report(SpoolEvent::BufferFull);
        }
    }

    fn flush(&self) -> OTelSdkResult {
        let _suppressed = Context::enter_telemetry_suppressed_scope();
        check_process().map_err(failure)?;
        self.buffer.flush(FLUSH_PATIENCE).map_err(|error| sdk_error(error, FLUSH_PATIENCE))
    }

    fn shut_down(&self, timeout: Duration) -> OTelSdkResult {
        let _suppressed = Context::enter_telemetry_suppressed_scope();
        check_process().map_err(failure)?;
        let begun = Instant::now();
        if self.shut_down.swap(true, Ordering::AcqRel) {
            return Err(OTelSdkError::AlreadyShutdown);
        }
        // A fifth of the time is left for the exporter, also when the disk hangs.
        let committed = self.stop(timeout.mul_f64(0.8));
        let shut_down = self.exporter.intake().shutdown(timeout.saturating_sub(begun.elapsed()));
        committed.map_err(|error| sdk_error(error, timeout)).and(shut_down)
    }
}

impl<E> SpoolProcessor<E> {
    /// Commits the buffer and ends the commit thread, within `patience`.
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
        let is_kept = self.add(|add| self.exporter.encoded(record, scope, add));
        let is_urgent = |least| record.severity_number().is_some_and(|severity| severity >= least);
        if is_kept && self.commit_at.is_some_and(is_urgent) {
            self.buffer.commit_soon();
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.shut_down(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
        self.buffer.set_framing(self.exporter.framing());
    }
}

#[cfg(feature = "trace")]
impl SpanProcessor for SpoolProcessor<SpanExporter> {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        // Others are recorded, but not to be exported.
        if span.span_context.is_sampled() {
            self.add(|add| self.exporter.encoded(span, add));
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.shut_down(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.encoder.set_resource(resource);
    }
}

impl<E> Drop for SpoolProcessor<E> {
    fn drop(&mut self) {
        let _suppressed = Context::enter_telemetry_suppressed_scope();
        if !*self.shut_down.get_mut() && check_process().is_ok() {
            // A failure is reported by events of its own.
            let _ = self.stop(DROP_PATIENCE);
        }
    }
}

impl<E: std::fmt::Debug> std::fmt::Debug for SpoolProcessor<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SpoolProcessor").field("exporter", &self.exporter).finish_non_exhaustive()
    }
}

/// Configures a [`SpoolProcessor`]. Every value is allowed.
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
#[must_use = "nothing is made before `build`"]
pub struct SpoolProcessorBuilder<E = LogExporter> {
    exporter: E,
    max_bytes: Option<usize>,
    commit_delay: Option<Duration>,
    max_wait: Option<Duration>,
    journal: Option<bool>,
    commit_on_panic: Option<bool>,
    commit_at: Option<Severity>,
    #[cfg(feature = "config-file")]
    config: Option<ExporterConfig>,
}

impl SpoolProcessorBuilder<LogExporter> {
    /// Sets the least severity of a record with which a commit begins at once, instead of after
    /// [`with_commit_delay`](Self::with_commit_delay). `emit` does not wait for it. Default: none.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use opentelemetry::logs::Severity;
    /// use opentelemetry_spool::{LogExporter, SpoolProcessor};
    ///
    /// let exporter = LogExporter::builder().build()?; // configured by the environment
    /// let processor = SpoolProcessor::builder(exporter).with_commit_at(Severity::Error).build()?;
    /// # Ok::<(), opentelemetry_spool::ExporterBuildError>(())
    /// ```
    pub fn with_commit_at(mut self, least: Severity) -> Self {
        self.commit_at = Some(least);
        self
    }
}

impl<E: Spooled> SpoolProcessorBuilder<E> {
    /// Sets the size of the buffer, in bytes of encoded records and their bookkeeping. Default: 8 MiB.
    ///
    /// The buffer holds the records that are not on disk yet. A record larger than the buffer is taken while it is empty.
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
        self.max_bytes = Some(max);
        self
    }

    /// Sets the time that a record waits in memory for others to be committed with. Default: 100 ms; zero commits as soon
    /// as the commit before is done.
    ///
    /// A kill of the process can lose the records of this time and of the commit itself. A commit begins earlier once a
    /// quarter of the buffer or 1 MiB, whichever is less, has come together.
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
        self.commit_delay = Some(delay);
        self
    }

    /// Sets the longest time that `emit` waits for room in the buffer before its record is lost. Default: 500 ms; zero
    /// never waits.
    ///
    /// The default is longer than a working disk takes for a commit, so records that come faster than the disk takes them
    /// are slowed down instead of lost. A broken disk does not hold the application up: once an `emit` has waited in vain,
    /// or a commit has failed, no `emit` waits until a commit succeeds.
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
        self.max_wait = Some(wait);
        self
    }

    /// Sets whether each record is written to a journal before `emit` returns, so that it survives every end of the process: a kill, an
    /// abort, a lack of memory. Default: `false`.
    ///
    /// The journal is two files in the spool. A write there costs `emit` a system call, which goes to the page cache and waits for no disk; once a
    /// commit has put the records into segments, the journal begins anew. The next process that opens the spool takes what a killed one has left there,
    /// once and in order. A power cut loses what is not committed, as without a journal.
    ///
    /// A disk that stalls can block a write. If several in a row take more than 5 ms, or one fails, the journal is suspended until a commit succeeds: records
    /// are in memory alone then, [`not_journaled_records`](crate::SpoolStats::not_journaled_records) counts them, and the events
    /// `Spool.JournalSuspended` and `Spool.JournalResumed` report it. Other threads wait for one that is blocked as long as
    /// [`with_max_wait`](Self::with_max_wait) says, but 5 ms at least.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use opentelemetry_spool::{LogExporter, SpoolProcessor};
    ///
    /// let exporter = LogExporter::builder().build()?; // configured by the environment
    /// let processor = SpoolProcessor::builder(exporter).with_journal(true).build()?;
    /// # Ok::<(), opentelemetry_spool::ExporterBuildError>(())
    /// ```
    pub fn with_journal(mut self, journal: bool) -> Self {
        self.journal = Some(journal);
        self
    }

    /// Sets whether a panic of any thread of the process has the buffer committed, before it unwinds or aborts the process. Default:
    /// `false`.
    ///
    /// It sets a panic hook when the processor is built, which calls the one that was set before and stays for good. The thread that panics waits for the commit,
    /// at most 200 ms, and for no lock. A hook that is set later takes its place unless it calls it.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use opentelemetry_spool::{LogExporter, SpoolProcessor};
    ///
    /// let exporter = LogExporter::builder().build()?; // configured by the environment
    /// let processor = SpoolProcessor::builder(exporter).with_commit_on_panic(true).build()?;
    /// # Ok::<(), opentelemetry_spool::ExporterBuildError>(())
    /// ```
    pub fn with_commit_on_panic(mut self, commit: bool) -> Self {
        self.commit_on_panic = Some(commit);
        self
    }

    /// Takes what is not set in code from the processor `spool` of a configuration file: the one that the exporter's node stands in.
    /// Takes the crate's feature `config-file`.
    ///
    /// ```yaml
    /// logger_provider:
    ///   processors:
    ///     - spool:
    ///         max_buffer_bytes: 32MiB
    ///         commit_delay: 20 # as `schedule_delay`, in milliseconds
    ///         max_wait: 500
    ///         journal: true
    ///         exporter:
    ///           spool:
    ///             endpoint: https://collector.example.com/v1/logs
    ///             encoding: protobuf
    ///             spool_dir: /var/lib/checkout/spool
    /// ```
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use opentelemetry_spool::{ExporterConfig, LogExporter, SpoolProcessor};
    ///
    /// let config = ExporterConfig::from_yaml(&std::fs::read_to_string("/etc/checkout/otel.yaml")?)?;
    /// let exporter = LogExporter::builder().with_config(config.clone()).build()?;
    /// let processor = SpoolProcessor::builder(exporter).with_config(config).build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "config-file")]
    pub fn with_config(mut self, config: ExporterConfig) -> Self {
        self.config = Some(config);
        self
    }

    /// Starts the commit thread and returns the processor.
    ///
    /// # Errors
    ///
    /// [`ExporterBuildError::Invalid`] if a file says what is not allowed, with its line; [`ExporterBuildError::Thread`] if the
    /// thread cannot be started; [`ExporterBuildError::Spool`] if the journal cannot be made.
    pub fn build(self) -> Result<SpoolProcessor<E>, ExporterBuildError> {
        #[cfg(feature = "config-file")]
        let file = {
            let signal = self.exporter.intake().pipeline.signal;
            self.config.map(|config| config.processor(signal)).transpose()?.unwrap_or_default()
        };
        #[cfg(not(feature = "config-file"))]
        let file = ProcessorSettings::default();
        let max_bytes = file.max_buffer_bytes.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        let limits = BufferLimits {
            max_bytes: self.max_bytes.or(max_bytes).unwrap_or(8 << 20),
            commit_delay: self.commit_delay.or(file.commit_delay).unwrap_or(Duration::from_millis(100)),
            max_wait: self.max_wait.or(file.max_wait).unwrap_or(Duration::from_millis(500)),
        };
        let exporter = self.exporter;
        let pipeline = &exporter.intake().pipeline;
        let spool = pipeline.spool().clone();
        let opened = spool.upgrade().filter(|_| self.journal.or(file.journal).unwrap_or(false));
        let least_segment = opened.as_ref().map_or(0, |spool| spool.least_segment());
        // As much as a commit begins with, and what comes until then.
        let ahead = limits.worth_a_commit() + limits.worth_a_commit() / 8;
        let journal = opened.map(|spool| spool.create_journal(ahead)).transpose().map_err(ExporterBuildError::Spool)?;
        let journal = journal.map(|journal| {
            let (events, counters) = (pipeline.events().clone(), pipeline.counters().clone());
            JournalOf { journal, events, counters }
        });
        let buffer = Arc::new(Buffer::new(limits, exporter.framing(), journal, least_segment));
        #[cfg(feature = "self-metrics")]
        if let Some(SelfMetrics { meter, names, .. }) = exporter.intake().pipeline.self_metrics() {
            let queue: Weak<Buffer> = Arc::downgrade(&buffer);
            processor_metrics::install(meter, names, queue);
        }
        let for_thread = buffer.clone();
        let (counters, events) =
            (exporter.intake().pipeline.counters().clone(), exporter.intake().pipeline.events().clone());
        let (end, ended) = sync_channel::<()>(0);
        crate::process::spawn("commit", move || {
            committer::run(&for_thread, &spool, &counters, &events);
            drop(end);
        })
        .inspect_err(|_| buffer.close_journal([false; 2]))
        .map_err(ExporterBuildError::Thread)?;
        if self.commit_on_panic.or(file.commit_on_panic).unwrap_or(false) {
            panic_hook::add(&buffer);
        }
        let (shut_down, ended) = (AtomicBool::new(false), Mutex::new(ended));
        let commit_at = self.commit_at.or(file.commit_at);
        Ok(SpoolProcessor { buffer, exporter, commit_at, shut_down, ended })
    }
}
