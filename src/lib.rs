//! Exporters for the OpenTelemetry SDK that write every log record, span and metric to a durable spool on disk before it is
//! sent, and retry it until the endpoint has taken it.
//!
//! [`LogExporter`] receives batches from the SDK's log processors, writes them to the spool and returns; [`SpoolProcessor`]
//! does so without the SDK's queue. A thread of the exporter sends the batches over HTTP, in order, across outages,
//! restarts, kills and power cuts. The spool is bounded, 1 GiB by default: a record that a limit or a damaged disk takes is
//! counted and reported in the stream.
//!
//! ```
//! # let dir = tempfile::tempdir()?;
//! use opentelemetry::logs::{LogRecord, Logger, LoggerProvider, Severity};
//! use opentelemetry_sdk::logs::SdkLoggerProvider;
//! use opentelemetry_spool::{LogExporter, SpoolProcessor};
//!
//! let exporter = LogExporter::builder()
//!     .with_endpoint("http://127.0.0.1:9/ingest") // nobody listens there
//!     .with_spool_dir(dir.path())
//!     .build()?;
//! let spool = exporter.handle();
//! let provider = SdkLoggerProvider::builder().with_log_processor(SpoolProcessor::new(exporter)?).build();
//!
//! let logger = provider.logger("example");
//! let mut record = logger.create_log_record();
//! record.set_severity_number(Severity::Info);
//! record.set_body("kept".into());
//! logger.emit(record);
//!
//! provider.force_flush()?; // on disk
//! assert_eq!(spool.stats().pending_records, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # A record's way
//!
//! ```text
//! Logger::emit
//!   -> CallerThreadProcessor   optional: notes which thread logged
//!   -> BatchLogProcessor       the SDK's own; or SpoolProcessor, for bursts
//!   -> LogExporter::export     partition, encode, append, sync; only now Ok      exporter, encode, spool
//! ------------------------------------------------------------------ on disk
//!   -> the next batch          of one partition, under one id until it is acked  spool
//!   -> the header hook         before every attempt                              transport
//!   -> the request             over HTTP                                         transport
//!   -> the verdict             ack | retry | hold | split | reject               transport, delivery
//! ```
//!
//! # Where to read on
//!
//! | chapter | subject |
//! |---|---|
//! | [`guarantees`](docs::guarantees) | when a record is safe, what is lost, what is sent twice |
//! | [`delivery`](docs::delivery) | responses, retries, the rejected store, order |
//! | [`formats`](docs::formats) | JSON, OTLP, text, forms, `_bulk`, Loki, Splunk, ClickHouse, your own |
//! | [`headers`](docs::headers) | static, per batch, per partition |
//! | [`configuration`](docs::configuration) | every setting: method, environment variable, YAML |
//! | [`limits`](docs::limits) | sizes, times, bursts, memory |
//! | [`cost`](docs::cost) | CPU, memory, disk and network, and which setting to turn |
//! | [`operations`](docs::operations) | where to put the spool, what to watch, upgrades |
//! | [`stability`](docs::stability) | what a new version may change: API, compiler, disk format; when a downgrade is possible |
//! | [`short_lived`](docs::short_lived) | jobs that log and leave: who delivers the rest, what a start and an end cost |
//! | [`relay`](docs::relay), [`relay_clients`](docs::relay_clients) | other processes of the host through the same spool, and how each is configured |
//! | [`recipes`](docs::recipes) | a service that must start, tokens that expire, exactly once, systemd, Docker, Kubernetes, alerts |
//! | [`metrics`](docs::metrics) | instruments, events, queries for a dashboard |
//! | [`tool`](docs::tool) | `otel-spool`, the command line |
//! | [`tool_json`](docs::tool_json) | the keys of what it prints for programs |
//! | [`receivers`](docs::receivers) | real endpoints that were tried, and how |
//! | [`troubleshooting`](docs::troubleshooting) | from the symptom to the cause |
//! | [`migration`](docs::migration) | from `opentelemetry-otlp` and the Python handlers |
//! | [`comparison`](docs::comparison) | what others keep, and when to take which |
//!
//! To learn the types, begin with [`LogExporter`] (the meaning of flushing, shutting down and dropping),
//! [`ExporterBuilder`] (every setting with its default; `SpanExporter` and `MetricExporter` have the same), [`SpoolProcessor`] (the processor for bursts),
//! [`SpoolHandle`] (statistics, flush, pause) and [`SpoolEvent`] (changes of state). `ARCHITECTURE.md` in the
//! repository describes the inside.

#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
mod config;
mod delivery;
mod encode;
mod error;
mod exporter;
mod observe;
mod process;
#[cfg(feature = "relay")]
mod relay;
mod spool;
mod transport;

#[cfg(feature = "config-file")]
pub use config::file::ExporterConfig;
pub use config::values::{Compression, Durability, FullPolicy, Method, Protocol, RetryPolicy, SpoolCompression};
pub use encode::framing::{Framing, ResponseProtocol};
#[cfg(feature = "otlp")]
pub use encode::{AttributeValue, AttributesView, OtlpEncoder};
#[cfg(feature = "metrics")]
pub use encode::{
    BucketsView, ExemplarView, ExponentialHistogramView, HistogramView, MetricKind, MetricNumber, MetricView,
    PointValue, PointView,
};
pub use encode::{
    BulkEncoder, ClickHouseEncoder, Encoder, Filtered, FormEncoder, FromSdk, JsonEncoder, LevelScale, LogView,
    LokiEncoder, PickleEncoder, RecordOrigin, Redaction, SdkEncoder, SourceCodeKey, SplunkEncoder, Template,
    TextEncoder, TraceIds,
};
#[cfg(feature = "trace")]
pub use encode::{EventView, LinkView, SpanView};
pub use error::{BoxError, CheckpointError, ExporterBuildError, FlushError, HeaderError, SpoolError, TemplateError};
pub use exporter::{
    CallerThreadProcessor, Checkpoint, ExporterBuilder, LogExporter, LogExporterBuilder, LogSettings, SpoolHandle,
    SpoolProcessor, SpoolProcessorBuilder, Spooled,
};
#[cfg(feature = "metrics")]
pub use exporter::{MetricExporter, MetricExporterBuilder, MetricSettings};
#[cfg(feature = "trace")]
pub use exporter::{SpanExporter, SpanExporterBuilder, SpanSettings};
pub use observe::event::SpoolEvent;
pub use observe::loss::LossReason;
pub use observe::probe::{ProbeMode, ProbeReport, ProbeResult, ProbeStage, ProbeStep};
pub use observe::stats::{Flushed, SpoolStats};
#[cfg(all(fuzzing, feature = "relay"))]
#[doc(hidden)]
pub use relay::fuzzing as relay_fuzzing;
#[cfg(feature = "relay")]
pub use relay::{
    DropReason, Listener, ListenerStats, ParsePartitionByError, PartitionBy, Relay, RelayBuilder, RelaySettings,
    RelayStats,
};
pub use spool::RejectedRecord;
#[cfg(fuzzing)]
#[doc(hidden)]
pub use spool::fuzzing;
pub use transport::http::headers::HeaderMap;
pub use transport::http::response::Response;
pub use transport::request::BatchContext;
pub use transport::verdict::{Rejection, Verdict};

#[cfg(any(doc, doctest))]
pub mod docs;

/// The README, so that its code is tested.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
