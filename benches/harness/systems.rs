//! The systems that are compared. Another system is a function and a line in [`SYSTEMS`].

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use opentelemetry::logs::AnyValue;
use opentelemetry_otlp::{Protocol, WithExportConfig};
use opentelemetry_sdk::logs::{
    BatchConfigBuilder, BatchLogProcessor, LogExporter as SdkLogExporter, SdkLogRecord, SdkLoggerProvider,
};
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider, Temporality};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder as SpanConfigBuilder, BatchSpanProcessor, SdkTracerProvider, SpanExporter as SdkSpanExporter,
};
use opentelemetry_spool::{
    BoxError, Durability, Encoder, ExporterBuilder, JsonEncoder, LogExporter, LogExporterBuilder, MetricExporter,
    SpanExporter, SpoolHandle, SpoolProcessor,
};

use crate::args::Args;
use crate::counted::{Counted, Taken};
use crate::mark::Messages;
use crate::records::logged;
use crate::sample;
use crate::signals::{Emitter, PARTITION, Provider, Signal};

/// The number of records that the SDK exports at a time, by default.
const BATCH: u64 = 512;

#[derive(Debug)]
pub(crate) struct System {
    pub(crate) name: &'static str,
    /// Its name in the README.
    pub(crate) title: fn(Signal) -> &'static str,
    /// Ours are compared with the others.
    pub(crate) ours: bool,
    /// The signals that it takes.
    signals: &'static [Signal],
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

const ALL: &[Signal] = &[Signal::Logs, Signal::Spans, Signal::Metrics];

pub(crate) static SYSTEMS: &[System] = &[
    System {
        name: "spool",
        title: |signal| match signal {
            Signal::Logs => "`LogExporter`, JSON",
            Signal::Spans => "`SpanExporter`, OTLP protobuf",
            Signal::Metrics => "`MetricExporter`, OTLP protobuf",
        },
        ours: true,
        signals: ALL,
        guarantee: "An accepted record is on disk, as durable as --durability says. It is delivered at least once and \
                    in order, after any outage, kill or restart; only a full spool (--max-disk) gives up the oldest.",
        start: Start::Provider(spool),
    },
    System {
        name: "spool-processor",
        title: |signal| match signal {
            Signal::Logs => "`SpoolProcessor`, JSON",
            _ => "`SpoolProcessor`, OTLP protobuf",
        },
        ours: true,
        signals: &[Signal::Logs, Signal::Spans],
        guarantee: "As `LogExporter`, but without the SDK's queue: what was emitted is on disk within a tenth of a second and \
                    the time of a commit, and `emit` waits for a moment while the disk falls behind.",
        start: Start::Provider(|args| spool_processor(args, log_exporter(args), false)),
    },
    System {
        name: "spool-processor-journal",
        title: |_| "`SpoolProcessor`, JSON, journal",
        ours: true,
        signals: &[Signal::Logs],
        guarantee: "As `SpoolProcessor`, and what `emit` has returned for survives a kill.",
        start: Start::Provider(|args| spool_processor(args, log_exporter(args), true)),
    },
    System {
        name: "spool-otlp",
        title: |_| "`LogExporter`, OTLP protobuf",
        ours: true,
        signals: &[Signal::Logs],
        guarantee: "As `LogExporter` with JSON.",
        start: Start::Provider(|args| logs_through_spool(args, otlp_log_exporter(args))),
    },
    System {
        name: "spool-processor-otlp",
        title: |_| "`SpoolProcessor`, OTLP protobuf",
        ours: true,
        signals: &[Signal::Logs],
        guarantee: "As `SpoolProcessor` with JSON.",
        start: Start::Provider(|args| spool_processor(args, otlp_log_exporter(args), false)),
    },
    System {
        name: "otlp-json",
        title: |_| "`opentelemetry-otlp`, JSON",
        ours: false,
        signals: ALL,
        guarantee: "Keeps nothing on disk. A batch that fails is tried again a few times within about a second, then dropped; \
                    what the queue has no room for meanwhile is dropped too, and a kill takes all of it.",
        start: Start::Provider(|args| otlp(args, Protocol::HttpJson)),
    },
    System {
        name: "otlp-protobuf",
        title: |_| "`opentelemetry-otlp`, protobuf",
        ours: false,
        signals: ALL,
        guarantee: "As with JSON.",
        start: Start::Provider(|args| otlp(args, Protocol::HttpBinary)),
    },
    System {
        name: "file",
        title: |_| "a plain file",
        ours: false,
        signals: &[Signal::Logs],
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

/// The systems that are asked for, all for none, as far as they take the signal.
pub(crate) fn chosen(args: &Args) -> Vec<&'static System> {
    let is_meant = |system: &System| args.systems.is_empty() || args.systems.iter().any(|name| name == system.name);
    let chosen = |system: &&System| is_meant(system) && system.signals.contains(&args.signal);
    SYSTEMS.iter().filter(chosen).collect()
}

impl System {
    pub(crate) fn delivers(&self) -> bool {
        matches!(self.start, Start::Provider(_))
    }
}

/// A provider, and what can be known of its records besides what arrives.
pub(crate) struct Pipeline {
    pub(crate) provider: Provider,
    /// The count of records taken from the SDK's queue; `None` where there is no such queue to wait for.
    pub(crate) taken: Option<Arc<Taken>>,
    /// How many records wait outside the SDK's queue.
    pub(crate) waiting: Box<dyn Fn() -> u64 + Send + Sync>,
}

fn spool(args: &Args) -> Result<Pipeline, BoxError> {
    Ok(match args.signal {
        Signal::Logs => logs_through_spool(args, log_exporter(args))?,
        Signal::Spans => {
            let exporter = span_exporter(args)?;
            let handle = exporter.handle();
            Pipeline { waiting: pending(handle), ..spans_in_batches(args, exporter) }
        }
        Signal::Metrics => {
            let exporter = configured(args, MetricExporter::builder()).with_temporality(Temporality::Delta).build()?;
            let handle = exporter.handle();
            Pipeline { waiting: pending(handle), ..collected_by_flushes(exporter) }
        }
    })
}

fn logs_through_spool(args: &Args, builder: LogExporterBuilder) -> Result<Pipeline, BoxError> {
    let exporter = builder.build()?;
    let handle = exporter.handle();
    Ok(Pipeline { waiting: pending(handle), ..logs_in_batches(args, exporter) })
}

fn spool_processor(args: &Args, logs: LogExporterBuilder, journal: bool) -> Result<Pipeline, BoxError> {
    let (provider, handle) = if args.signal == Signal::Spans {
        let exporter = span_exporter(args)?;
        let handle = exporter.handle();
        let provider = SdkTracerProvider::builder().with_span_processor(SpoolProcessor::new(exporter)?).build();
        (Provider::Spans(provider), handle)
    } else {
        let exporter = logs.build()?;
        let handle = exporter.handle();
        let processor = SpoolProcessor::builder(exporter).with_journal(journal).build()?;
        (Provider::Logs(SdkLoggerProvider::builder().with_log_processor(processor).build()), handle)
    };
    Ok(Pipeline { provider, taken: None, waiting: pending(handle) })
}

/// A path of OTLP would mean OTLP.
fn log_exporter(args: &Args) -> LogExporterBuilder {
    partitioned(args)
        .with_endpoint(format!("http://127.0.0.1:{}/ingest", args.port))
        .with_encoder(JsonEncoder::default())
}

fn otlp_log_exporter(args: &Args) -> LogExporterBuilder {
    partitioned(args).with_protocol(opentelemetry_spool::Protocol::HttpBinary)
}

fn partitioned(args: &Args) -> LogExporterBuilder {
    let builder = configured(args, LogExporter::builder());
    if args.partitions > 1 { builder.with_partition_key(|record, _| partition_of(record)) } else { builder }
}

fn span_exporter(args: &Args) -> Result<SpanExporter, BoxError> {
    Ok(configured(args, SpanExporter::builder()).build()?)
}

fn configured<S>(args: &Args, builder: ExporterBuilder<S>) -> ExporterBuilder<S> {
    let mut builder = builder
        .with_endpoint(endpoint(args))
        .with_spool_dir(args.dir.join("spool"))
        .with_max_spool_bytes(args.max_disk_bytes())
        .with_durability(args.durability())
        .with_spool_compression(args.spool_compression());
    if let Some(requests) = args.max_in_flight {
        builder = builder.with_max_in_flight(requests);
    }
    match args.compression() {
        Some(compression) => builder.with_compression(compression),
        None => builder,
    }
}

fn pending(handle: SpoolHandle) -> Box<dyn Fn() -> u64 + Send + Sync> {
    Box::new(move || handle.stats().pending_records)
}

fn otlp(args: &Args, protocol: Protocol) -> Result<Pipeline, BoxError> {
    let endpoint = endpoint(args);
    Ok(match args.signal {
        Signal::Logs => {
            let builder = opentelemetry_otlp::LogExporter::builder().with_http().with_protocol(protocol);
            logs_in_batches(args, builder.with_endpoint(endpoint).build()?)
        }
        Signal::Spans => {
            let builder = opentelemetry_otlp::SpanExporter::builder().with_http().with_protocol(protocol);
            spans_in_batches(args, builder.with_endpoint(endpoint).build()?)
        }
        Signal::Metrics => {
            let builder = opentelemetry_otlp::MetricExporter::builder().with_temporality(Temporality::Delta);
            collected_by_flushes(builder.with_http().with_protocol(protocol).with_endpoint(endpoint).build()?)
        }
    })
}

fn endpoint(args: &Args) -> String {
    format!("http://127.0.0.1:{}{}", args.port, args.signal.path())
}

/// Puts an exporter behind the SDK's batch processor, the same for all.
fn logs_in_batches(args: &Args, exporter: impl SdkLogExporter + 'static) -> Pipeline {
    let taken = Arc::new(Taken::default());
    let exporter = Counted { exporter, taken: taken.clone() };
    let config = BatchConfigBuilder::default().with_max_queue_size(args.queue()).build();
    let processor = BatchLogProcessor::builder(exporter).with_batch_config(config).build();
    let provider = SdkLoggerProvider::builder().with_log_processor(processor).build();
    Pipeline { provider: Provider::Logs(provider), taken: Some(taken), waiting: Box::new(|| 0) }
}

/// The same for spans.
fn spans_in_batches(args: &Args, exporter: impl SdkSpanExporter + 'static) -> Pipeline {
    let taken = Arc::new(Taken::default());
    let exporter = Counted { exporter, taken: taken.clone() };
    let config = SpanConfigBuilder::default().with_max_queue_size(args.queue()).build();
    let processor = BatchSpanProcessor::builder(exporter).with_batch_config(config).build();
    let provider = SdkTracerProvider::builder().with_span_processor(processor).build();
    Pipeline { provider: Provider::Spans(provider), taken: Some(taken), waiting: Box::new(|| 0) }
}

/// Puts an exporter behind a reader that collects when the emitter flushes, and at no other time.
fn collected_by_flushes(exporter: impl PushMetricExporter) -> Pipeline {
    let reader = PeriodicReader::builder(exporter).with_interval(Duration::from_secs(24 * 60 * 60)).build();
    let provider = SdkMeterProvider::builder().with_reader(reader).build();
    Pipeline { provider: Provider::Metrics(provider), taken: None, waiting: Box::new(|| 0) }
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
                let partition = (args.partitions > 1).then_some(number % args.partitions);
                Emitter::Logs(logger.clone()).emit(message, partition);
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
