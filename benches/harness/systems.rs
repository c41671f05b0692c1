//! The systems that are compared. Another system is a function and a line in [`SYSTEMS`].

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use opentelemetry::logs::{AnyValue, LogRecord, Logger, Severity};
use opentelemetry_otlp::{Protocol, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{
    BatchConfigBuilder, BatchLogProcessor, LogBatch, LogExporter as SdkLogExporter, SdkLogRecord, SdkLogger,
    SdkLoggerProvider,
};
use opentelemetry_spool::{BoxError, Durability, Encoder, JsonEncoder, LogExporter, SpoolProcessor};

use crate::args::Args;
use crate::mark::Messages;
use crate::records::logged;
use crate::sample;

/// The attribute that says which partition a record belongs to.
const PARTITION: &str = "tenant";
/// The number of records that the SDK exports at a time, by default.
const BATCH: u64 = 512;

#[derive(Debug)]
pub(crate) struct System {
    pub(crate) name: &'static str,
    /// Ours are compared with the others.
    pub(crate) ours: bool,
    /// The promise that it makes, for the report.
    pub(crate) guarantee: &'static str,
    pub(crate) start: Start,
}

#[derive(Debug)]
pub(crate) enum Start {
    /// Records go through an SDK provider to the receiver.
    Provider(fn(&Args) -> Result<Pipeline, BoxError>),
    /// Batches that are encoded already go to a file and nowhere else.
    File(fn(&Args) -> Result<PlainFile, BoxError>),
}

pub(crate) static SYSTEMS: &[System] = &[
    System {
        name: "spool",
        ours: true,
        guarantee: "An accepted record is on disk, as durable as --durability says. It is delivered at least once and \
                    in order, after any outage, kill or restart; only a full spool (--max-disk) gives up the oldest.",
        start: Start::Provider(spool),
    },
    System {
        name: "spool-processor",
        ours: true,
        guarantee: "As spool, but without the SDK's queue: what was emitted is on disk within a tenth of a second and \
                    the time of a commit, and `emit` waits for a moment while the disk falls behind.",
        start: Start::Provider(spool_processor),
    },
    System {
        name: "otlp-json",
        ours: false,
        guarantee: "Keeps nothing on disk. A batch that fails is tried again a few times within about a second, then dropped; \
                    what the queue has no room for meanwhile is dropped too, and a kill takes all of it.",
        start: Start::Provider(|args| otlp(args, Protocol::HttpJson)),
    },
    System {
        name: "otlp-protobuf",
        ours: false,
        guarantee: "As otlp-json.",
        start: Start::Provider(|args| otlp(args, Protocol::HttpBinary)),
    },
    System {
        name: "file",
        ours: false,
        guarantee: "Not an exporter, a yardstick: the bytes of a batch, encoded beforehand, are appended to a file, as \
                    durable as --durability says. They go nowhere: `arrived` is what was written.",
        start: Start::File(PlainFile::create),
    },
];

pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    SYSTEMS.iter().map(|system| system.name)
}

/// The system of this name; the options allow no other.
pub(crate) fn named(name: &str) -> &'static System {
    SYSTEMS.iter().find(|system| system.name == name).expect("the name of a system")
}

/// The systems that are asked for, all for none.
pub(crate) fn chosen(args: &Args) -> Vec<&'static System> {
    let chosen = |system: &&System| args.systems.is_empty() || args.systems.iter().any(|name| name == system.name);
    SYSTEMS.iter().filter(chosen).collect()
}

impl System {
    pub(crate) fn delivers(&self) -> bool {
        matches!(self.start, Start::Provider(_))
    }
}

/// A provider, and what can be known of its records besides what arrives.
pub(crate) struct Pipeline {
    pub(crate) provider: SdkLoggerProvider,
    /// The count of records taken from the SDK's queue; `None` where there is no such queue to wait for.
    pub(crate) taken: Option<Arc<Taken>>,
    /// How many records wait outside the SDK's queue.
    pub(crate) waiting: Box<dyn Fn() -> u64 + Send + Sync>,
}

fn spool(args: &Args) -> Result<Pipeline, BoxError> {
    let exporter = spool_exporter(args)?;
    let handle = exporter.handle();
    Ok(behind_batches(args, exporter, move || handle.stats().pending_records))
}

fn spool_processor(args: &Args) -> Result<Pipeline, BoxError> {
    let exporter = spool_exporter(args)?;
    let handle = exporter.handle();
    let provider = SdkLoggerProvider::builder().with_log_processor(SpoolProcessor::new(exporter)?).build();
    Ok(Pipeline { provider, taken: None, waiting: Box::new(move || handle.stats().pending_records) })
}

fn spool_exporter(args: &Args) -> Result<LogExporter, BoxError> {
    let builder = LogExporter::builder()
        .with_endpoint(endpoint(args))
        .with_spool_dir(args.dir.join("spool"))
        .with_max_spool_bytes(args.max_disk_bytes())
        .with_durability(args.durability())
        .with_spool_compression(args.spool_compression())
        .with_max_in_flight(args.max_in_flight);
    let builder = match args.compression() {
        Some(compression) => builder.with_compression(compression),
        None => builder,
    };
    let builder =
        if args.partitions > 1 { builder.with_partition_key(|record, _| partition_of(record)) } else { builder };
    Ok(builder.build()?)
}

fn otlp(args: &Args, protocol: Protocol) -> Result<Pipeline, BoxError> {
    let builder = opentelemetry_otlp::LogExporter::builder().with_http().with_protocol(protocol);
    Ok(behind_batches(args, builder.with_endpoint(endpoint(args)).build()?, || 0))
}

fn endpoint(args: &Args) -> String {
    format!("http://127.0.0.1:{}/v1/logs", args.port)
}

/// Puts an exporter behind the SDK's batch processor, the same for all.
fn behind_batches(
    args: &Args,
    exporter: impl SdkLogExporter + 'static,
    waiting: impl Fn() -> u64 + Send + Sync + 'static,
) -> Pipeline {
    let taken = Arc::new(Taken::default());
    let exporter = Counted { exporter, taken: taken.clone() };
    let config = BatchConfigBuilder::default().with_max_queue_size(args.queue).build();
    let processor = BatchLogProcessor::builder(exporter).with_batch_config(config).build();
    let provider = SdkLoggerProvider::builder().with_log_processor(processor).build();
    Pipeline { provider, taken: Some(taken), waiting: Box::new(waiting) }
}

/// Counts the records that were taken from the SDK's queue and exported.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    records: AtomicU64,
    failed: AtomicU64,
}

impl Taken {
    pub(crate) fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// Those of them whose export ended with an error.
    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

/// Counts what comes back from an exporter, so that an emitter can wait for it.
#[derive(Debug)]
struct Counted<E> {
    exporter: E,
    taken: Arc<Taken>,
}

impl<E: SdkLogExporter> SdkLogExporter for Counted<E> {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        let records = batch.iter().count() as u64;
        let result = self.exporter.export(batch).await;
        self.taken.records.fetch_add(records, Ordering::Relaxed);
        if result.is_err() {
            self.taken.failed.fetch_add(records, Ordering::Relaxed);
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn event_enabled(&self, level: Severity, target: &str, name: Option<&str>) -> bool {
        self.exporter.event_enabled(level, target, name)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// The same record for every system: a message, two attributes, and a third where there are partitions.
pub(crate) fn record(
    logger: &SdkLogger,
    message: String,
    partition: u64,
    partitions: u64,
) -> <SdkLogger as Logger>::LogRecord {
    let mut record = logger.create_log_record();
    record.set_severity_number(Severity::Info);
    record.set_body(message.into());
    record.add_attribute("user", "someone");
    record.add_attribute("attempt", 3);
    if partitions > 1 {
        record.add_attribute(PARTITION, format!("t{partition}"));
    }
    record
}

fn partition_of(record: &SdkLogRecord) -> String {
    match record.attributes_iter().find(|(key, _)| key.as_str() == PARTITION) {
        Some((_, AnyValue::String(partition))) => partition.to_string(),
        _ => String::new(),
    }
}

/// A file that gets the bytes of a batch, encoded beforehand. When it has reached `--max-disk` it begins anew.
#[derive(Debug)]
pub(crate) struct PlainFile {
    path: PathBuf,
    file: File,
    batch: Vec<u8>,
    written: u64,
    max_bytes: u64,
    durability: Durability,
    synced: Instant,
}

impl PlainFile {
    pub(crate) const BATCH: u64 = BATCH;

    fn create(args: &Args) -> Result<Self, BoxError> {
        let messages = Messages::of_bytes(args.record_bytes);
        let records = logged(|logger| {
            for number in 0..BATCH {
                let message = messages.message(number, sample::now());
                logger.emit(record(logger, message, number % args.partitions, args.partitions));
            }
        });
        let (encoder, mut batch) = (JsonEncoder::default(), Vec::new());
        for (record, scope) in &records {
            encoder.encode(record, scope, &mut batch)?;
            batch.push(b',');
        }
        let path = args.dir.join("plain");
        let file = File::create(&path)?;
        let (max_bytes, durability) = (args.max_disk_bytes(), args.durability());
        Ok(Self { path, file, batch, written: 0, max_bytes, durability, synced: Instant::now() })
    }

    /// Appends a batch.
    pub(crate) fn append(&mut self) -> std::io::Result<()> {
        if self.written + self.batch.len() as u64 > self.max_bytes {
            self.file = File::create(&self.path)?;
            self.written = 0;
        }
        self.file.write_all(&self.batch)?;
        self.written += self.batch.len() as u64;
        let sync = match self.durability {
            Durability::Interval(interval) => self.synced.elapsed() >= interval,
            durability => durability == Durability::Sync,
        };
        if sync {
            self.file.sync_data()?;
            self.synced = Instant::now();
        }
        Ok(())
    }
}
