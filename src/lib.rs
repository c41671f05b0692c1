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
//! - [`LogExporterBuilder`]: every setting with its default.
//! - [`LogExporter`]: what flushing, shutting down and dropping mean.
//! - [`SpoolProcessor`]: a processor for bursts, in place of the SDK's.
//! - [`SpoolHandle`]: what is in the spool; flush, pause and resume.
//! - [`BatchContext`] and [`HeaderMap`]: what a header hook sees and sets.
//! - [`JsonEncoder`], [`Encoder`] and [`Framing`]: the wire format, and how to write another.
//! - [`Verdict`]: what an answer means; [`RetryPolicy`]; [`Durability`]; [`FullPolicy`]; [`Compression`];
//!   [`SpoolCompression`].
//! - [`cost`]: what a record costs in CPU, memory, disk and network, and which setting to turn.
//! - The README: guarantees, answers and retries.

mod background;
mod batch;
mod buffer;
mod builder;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
mod commit;
mod config;
mod drain;
mod encode;
mod error;
mod exporter;
mod gap;
mod groups;
mod handle;
mod hook;
mod limit;
mod processor;
mod retry;
mod spool;
mod spool_processor;
mod stats;
mod transport;
mod worker;

pub use batch::{BatchContext, Framing, HeaderMap};
pub use builder::LogExporterBuilder;
pub use config::{Compression, Durability, FullPolicy, RetryPolicy, SpoolCompression};
pub use encode::{Encoder, JsonEncoder, LevelScale, SourceCodeKey};
pub use error::{BoxError, ExporterBuildError, FlushError, HeaderError, SpoolError};
pub use exporter::LogExporter;
pub use handle::SpoolHandle;
pub use processor::CallerThreadProcessor;
pub use retry::{Response, Verdict};
pub use spool::RejectedRecord;
#[cfg(fuzzing)]
#[doc(hidden)]
pub use spool::fuzzing;
pub use spool_processor::{SpoolProcessor, SpoolProcessorBuilder};
pub use stats::SpoolStats;

#[cfg(doc)]
#[doc = include_str!("docs/cost.md")]
pub mod cost {}

/// The README's code is tested as well.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
