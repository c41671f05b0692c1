//! A service that logs: provider, logger and spool handle in one.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, SystemTime};

use opentelemetry::InstrumentationScope;
use opentelemetry::logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{
    LogBatch, LogExporter as _, LogProcessor, LoggerProviderBuilder, SdkLogRecord, SdkLogger, SdkLoggerProvider,
};
use opentelemetry_spool::{
    ExporterBuildError, FlushError, LogExporter, LogExporterBuilder, RetryPolicy, SpoolHandle, SpoolStats,
};

use crate::progress::{AT_MOST, PATIENCE, Progress};
use crate::receiver::Receiver;

/// Retries that come at once.
pub fn impatient() -> RetryPolicy {
    retry_policy(Duration::from_millis(1), Duration::from_millis(5))
}

/// Retries that never come within a test, unless the server says when.
pub fn patient() -> RetryPolicy {
    let days = Duration::from_secs(1_000 * 24 * 60 * 60);
    retry_policy(days, days)
}

fn retry_policy(initial_delay: Duration, max_delay: Duration) -> RetryPolicy {
    let mut policy = RetryPolicy::default();
    policy.initial_delay = initial_delay;
    policy.max_delay = max_delay;
    policy
}

/// An exporter to `/ingest` of the receiver that repeats fast.
pub fn exporter(receiver: &Receiver, spool: impl AsRef<Path>) -> LogExporterBuilder {
    exporter_to(&receiver.url("/ingest"), spool)
}

/// An exporter to an endpoint that repeats fast.
pub fn exporter_to(endpoint: &str, spool: impl AsRef<Path>) -> LogExporterBuilder {
    LogExporter::builder().with_endpoint(endpoint).with_spool_dir(spool.as_ref()).with_retry_policy(impatient())
}

/// A partition key function: the attribute `tenant`, or nothing.
pub fn by_tenant(record: &SdkLogRecord, _scope: &InstrumentationScope) -> String {
    record
        .attributes_iter()
        .find(|(key, _)| key.as_str() == "tenant")
        .and_then(|(_, value)| match value {
            AnyValue::String(tenant) => Some(tenant.to_string()),
            _ => None,
        })
        .unwrap_or_default()
}

/// Text that does not get smaller in the spool.
pub fn noise(bytes: usize) -> String {
    std::iter::repeat_with(fastrand::alphanumeric).take(bytes).collect()
}

/// `m-000001`, `m-000002`, ...
pub fn names(prefix: &str, numbers: RangeInclusive<usize>) -> Vec<String> {
    numbers.map(|number| name(prefix, number)).collect()
}

pub fn name(prefix: &str, number: usize) -> String {
    format!("{prefix}-{number:06}")
}

pub struct Service {
    pub provider: SdkLoggerProvider,
    pub handle: SpoolHandle,
    pub logger: SdkLogger,
}

impl Service {
    /// Over the SDK's simple processor: `emit` returns after the record is in the spool.
    pub fn simple(exporter: LogExporterBuilder) -> Self {
        Self::build(exporter, SdkLoggerProvider::builder(), LoggerProviderBuilder::with_simple_exporter)
    }

    /// Over the SDK's batch processor.
    pub fn batch(exporter: LogExporterBuilder) -> Self {
        Self::build(exporter, SdkLoggerProvider::builder(), LoggerProviderBuilder::with_batch_exporter)
    }

    /// Over a processor that neither shuts the exporter down nor hides what `export` returned. Dropping this service
    /// drops the exporter, without a shutdown.
    pub fn careless(exporter: LogExporterBuilder) -> Self {
        Self::build(exporter, SdkLoggerProvider::builder(), |provider, exporter| {
            provider.with_log_processor(Careless(exporter))
        })
    }

    /// Over a processor that keeps what the last `export` returned.
    pub fn candid(exporter: LogExporterBuilder) -> Result<(Self, Returned), ExporterBuildError> {
        let exporter = exporter.build()?;
        let (handle, returned) = (exporter.handle(), Returned::new(Mutex::new(Ok(()))));
        let processor = Candid { exporter, returned: Arc::clone(&returned) };
        let provider = SdkLoggerProvider::builder().with_log_processor(processor).build();
        Ok((Self { logger: provider.logger("test"), handle, provider }, returned))
    }

    pub fn build(
        exporter: LogExporterBuilder,
        provider: LoggerProviderBuilder,
        add: impl FnOnce(LoggerProviderBuilder, LogExporter) -> LoggerProviderBuilder,
    ) -> Self {
        let exporter = exporter.build().expect("an exporter");
        let handle = exporter.handle();
        let provider = add(provider, exporter).build();
        let logger = provider.logger("test");
        Self { provider, handle, logger }
    }

    /// Logs one record.
    pub fn log(&self, message: &str) {
        self.log_with(message, |_| {});
    }

    /// Logs one record, to which `change` may add.
    pub fn log_with(&self, message: &str, change: impl FnOnce(&mut SdkLogRecord)) {
        let mut record = self.logger.create_log_record();
        record.set_timestamp(SystemTime::now());
        record.set_severity_number(Severity::Info);
        record.set_severity_text("INFO");
        record.set_body(AnyValue::from(message.to_owned()));
        record.add_attribute("shop", "Zürich");
        change(&mut record);
        self.logger.emit(record);
    }

    /// Logs records with these numbers; no more of them than the batch processor's queue takes.
    pub fn log_all(&self, prefix: &str, numbers: RangeInclusive<usize>) {
        for number in numbers {
            self.log(&name(prefix, number));
        }
    }

    /// Logs records of one tenant, whose name is the prefix of the messages.
    pub fn log_of(&self, tenant: &str, numbers: RangeInclusive<usize>) {
        for number in numbers {
            self.log_with(&name(tenant, number), |record| record.add_attribute("tenant", tenant.to_owned()));
        }
    }

    /// Logs any number of records and waits until they are on disk.
    pub fn store_all(&self, prefix: &str, numbers: RangeInclusive<usize>) {
        for number in numbers {
            self.log(&name(prefix, number));
            if number % 500 == 0 {
                self.sync();
            }
        }
        self.sync();
    }

    /// Logs one record with each of these messages.
    pub fn log_these(&self, messages: &[&str]) {
        for message in messages {
            self.log(message);
        }
    }

    /// Waits until the figures are as `condition` wants them. Nothing tells when they change, so this asks again.
    pub fn wait_for_stats(&self, what: &str, condition: impl Fn(&SpoolStats) -> bool) -> SpoolStats {
        let mut progress = Progress::new();
        loop {
            let stats = self.handle.stats();
            if condition(&stats) {
                return stats;
            }
            let is_stuck = progress.at(figure(&stats)).is_none();
            assert!(!is_stuck, "{what}: nothing moved for {PATIENCE:?}; there was {stats:?}");
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until so many records are rejected. Each has to be refused between two requests that are taken, so live records are
    /// logged meanwhile: `live-000001`, `live-000002`, ...
    pub fn wait_for_rejected(&self, count: u64) -> SpoolStats {
        let (mut progress, mut live) = (Progress::new(), 0);
        loop {
            let stats = self.handle.stats();
            if stats.rejected_records >= count {
                return stats;
            }
            let is_stuck = progress.at(stats.rejected_records).is_none();
            assert!(!is_stuck, "rejected records: nothing moved for {PATIENCE:?}; there was {stats:?}");
            live += 1;
            self.log(&name("live", live));
            self.sync();
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until all is delivered or rejected. `log_live` logs live records of every partition meanwhile, between which that
    /// can be rejected which is refused.
    pub fn settle(&self, mut log_live: impl FnMut(usize)) {
        let mut progress = Progress::new();
        for live in 1.. {
            log_live(live);
            self.sync();
            if self.handle.flush(Duration::from_secs(1)).is_ok() {
                return;
            }
            let stats = self.handle.stats();
            let moves = progress.at((stats.rejected_records, stats.pending_records)).is_some();
            assert!(moves, "nothing is rejected any more; there was {stats:?}");
        }
    }

    /// Waits until all that was logged is on disk.
    pub fn sync(&self) {
        self.provider.force_flush().expect("records reach the disk");
    }

    /// Waits until all that was logged is delivered.
    pub fn deliver(&self) {
        self.sync();
        self.flush();
    }

    /// Waits until all that is on disk is delivered.
    pub fn flush(&self) {
        flush(&self.handle);
    }
}

/// The result of an `export`.
pub type Returned = Arc<Mutex<OTelSdkResult>>;

/// Exports each record at once, on the thread that logs, and keeps what `export` returned.
struct Candid {
    exporter: LogExporter,
    returned: Returned,
}

impl fmt::Debug for Candid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Candid")
    }
}

impl LogProcessor for Candid {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        *self.returned.lock().unwrap() = export(&self.exporter, &[(&*record, scope)]);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Exports each record at once, on the thread that logs, and fails the test if `export` does.
pub struct Careless(pub LogExporter);

impl fmt::Debug for Careless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Careless")
    }
}

impl LogProcessor for Careless {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        export(&self.0, &[(&*record, scope)]).expect("export accepts the record");
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Calls `export` as a processor does.
pub fn export(exporter: &LogExporter, records: &[(&SdkLogRecord, &InstrumentationScope)]) -> OTelSdkResult {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(exporter.export(LogBatch::new(records)))
}

/// The figures that move while an exporter works.
fn figure(stats: &SpoolStats) -> [u64; 7] {
    let SpoolStats { accepted_records, delivered_records, pending_records, .. } = stats;
    let SpoolStats { rejected_records, lost_records, requests, disk_bytes, .. } = stats;
    [
        *accepted_records,
        *delivered_records,
        *pending_records,
        *rejected_records,
        *lost_records,
        *requests,
        disk_bytes.unwrap_or_default(),
    ]
}

/// Waits until all that is on disk is delivered, as long as any of it is.
pub fn flush(handle: &SpoolHandle) {
    let mut progress = Progress::new();
    while let Err(error) = handle.flush(PATIENCE / 4) {
        let stats = handle.stats();
        let is_late = matches!(error, FlushError::Timeout { .. });
        let moves = progress.at((stats.delivered_records, stats.pending_records, stats.rejected_records)).is_some();
        assert!(is_late && moves, "{error}; there was {stats:?}");
    }
}

/// Fails the test if `work` does not end, instead of hanging with it.
pub fn in_time<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, done) = mpsc::channel();
    let worker = thread::spawn(move || {
        let _ = sender.send(work());
    });
    match done.recv_timeout(AT_MOST) {
        Ok(value) => value,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("{what} hangs"),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            let panic = worker.join().err().unwrap_or_else(|| Box::new("no panic"));
            std::panic::resume_unwind(panic);
        }
    }
}

/// Fails unless what each run of a tenant delivered is 1, 2, 3, ... at least as far as was accepted, run after run. The
/// messages are named after tenant and run.
pub fn check_runs(delivered: &[String], tenants: &[&str], accepted: &[usize]) {
    for tenant in tenants {
        let mut messages = delivered.iter().filter(|message| message.starts_with(tenant)).peekable();
        for (run, &accepted) in accepted.iter().enumerate() {
            let prefix = format!("{tenant}-{run}");
            let mut count: usize = 0;
            while messages.next_if(|message| **message == name(&prefix, count + 1)).is_some() {
                count += 1;
            }
            assert!(
                count >= accepted,
                "run {run} of tenant {tenant}: {accepted} accepted, {count} delivered in order, then came {:?}",
                messages.peek()
            );
        }
        assert_eq!(messages.next(), None, "tenant {tenant}");
    }
}
