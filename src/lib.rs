//! A log exporter for the OpenTelemetry SDK that never loses a record it has accepted.
//!
//! [`LogExporter`] takes batches from the SDK's log processors, writes them to a spool on disk, and returns; [`SpoolProcessor`]
//! does so without the SDK's queue. A thread of
//! its own sends them from there over HTTP, in order, until the endpoint has taken them: across outages, restarts, kills
//! and power cuts.
//!
//! ```
//! # let dir = tempfile::tempdir()?;
//! use opentelemetry::logs::{LogRecord, Logger, LoggerProvider, Severity};
//! use opentelemetry_sdk::logs::SdkLoggerProvider;
//! use opentelemetry_spool::LogExporter;
//!
//! let exporter = LogExporter::builder()
//!     .with_endpoint("http://127.0.0.1:9/ingest") // nobody listens there
//!     .with_spool_dir(dir.path())
//!     .build()?;
//! let spool = exporter.handle();
//! let provider = SdkLoggerProvider::builder().with_batch_exporter(exporter).build();
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
//!   -> CallerThreadProcessor   optional: which thread logged
//!   -> BatchLogProcessor       the SDK's own; or SpoolProcessor, for bursts
//!   -> LogExporter::export     partition, encode, append, sync; only now Ok
//! ------------------------------------------------------------------ on disk
//!   -> the next batch          of one partition, under one id until it is acknowledged
//!   -> the header hook         before every attempt
//!   -> POST
//!   -> delivered | again | divided | rejected
//! ```
//!
//! # Where to look
//!
//! | chapter | |
//! |---|---|
//! | [`guarantees`] | when a record is safe, what is lost, what comes twice |
//! | [`delivery`] | answers, retries, the rejected store, order |
//! | [`formats`] | JSON, OTLP, text, forms, `_bulk`, Loki, Splunk, ClickHouse, your own |
//! | [`headers`] | static, per batch, per tenant |
//! | [`configuration`] | every setting: method, environment variable, YAML |
//! | [`limits`] | sizes, times, bursts, memory |
//! | [`cost`] | CPU, memory, disk and network, and which setting to turn |
//! | [`operations`] | where to put it, what to watch, upgrades |
//! | [`metrics`] | instruments, events, queries for a dashboard |
//! | [`tool`] | `otel-spool`, the command line |
//! | [`receivers`] | real endpoints that were tried, and how |
//! | [`troubleshooting`] | from what you see to what it is |
//! | [`migration`] | from `opentelemetry-otlp` and the Python handlers |
//!
//! Of the types, begin with [`LogExporter`] (what flushing, shutting down and dropping mean), [`LogExporterBuilder`] (every
//! setting with its default), [`SpoolProcessor`] (a processor for bursts) [`SpoolHandle`] (what is in the spool)
//! and [`SpoolEvent`] (what a callback is told).

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
mod spool;
mod transport;

#[cfg(feature = "config-file")]
pub use config::file::ExporterConfig;
pub use config::values::{Compression, Durability, FullPolicy, Method, Protocol, RetryPolicy, SpoolCompression};
#[cfg(feature = "otlp")]
pub use encode::OtlpEncoder;
pub use encode::framing::{Framing, ResponseProtocol};
pub use encode::{
    BulkEncoder, ClickHouseEncoder, Encoder, FormEncoder, JsonEncoder, LevelScale, LokiEncoder, SourceCodeKey,
    SplunkEncoder, Template, TextEncoder,
};
pub use error::{BoxError, ExporterBuildError, FlushError, HeaderError, SpoolError, TemplateError};
pub use exporter::LogExporter;
pub use exporter::builder::LogExporterBuilder;
pub use exporter::caller_thread::CallerThreadProcessor;
pub use exporter::handle::SpoolHandle;
pub use exporter::spool_processor::{SpoolProcessor, SpoolProcessorBuilder};
pub use observe::event::SpoolEvent;
pub use observe::loss::LossReason;
pub use observe::stats::SpoolStats;
pub use spool::RejectedRecord;
#[cfg(fuzzing)]
#[doc(hidden)]
pub use spool::fuzzing;
pub use transport::http::headers::HeaderMap;
pub use transport::http::response::Response;
pub use transport::request::BatchContext;
pub use transport::verdict::{Rejection, Verdict};

#[cfg(any(doc, doctest))]
mod docs;
#[cfg(any(doc, doctest))]
pub use docs::*;

/// The README's code is tested as well.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
