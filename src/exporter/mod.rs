//! The way in: what the SDK calls.
//!
//! [`LogExporter`] partitions a batch, encodes it and appends it to a pipeline's spool; [`SpoolProcessor`] does so record by
//! record. This is the only folder beside `encode` that knows the SDK.
//! Listeners through which other processes hand in records belong into a folder `relay` beside this one.

pub(crate) mod builder;
pub(crate) mod caller_thread;
pub(crate) mod checkpoint;
pub(crate) mod gap_record;
pub(crate) mod handle;
pub(crate) mod intake;
pub(crate) mod log_builder;
pub(crate) mod log_exporter;
pub(crate) mod marked;
#[cfg(feature = "metrics")]
pub(crate) mod metric_builder;
#[cfg(feature = "metrics")]
pub(crate) mod metric_exporter;
mod probe;
#[cfg(feature = "trace")]
pub(crate) mod span_builder;
#[cfg(feature = "trace")]
pub(crate) mod span_exporter;
pub(crate) mod spool_processor;
#[cfg(feature = "metrics")]
mod thinning;

pub use builder::ExporterBuilder;
pub use caller_thread::CallerThreadProcessor;
pub use checkpoint::Checkpoint;
pub use handle::SpoolHandle;
pub use log_builder::{LogExporterBuilder, LogSettings};
pub use log_exporter::LogExporter;
#[cfg(feature = "metrics")]
pub use metric_builder::{MetricExporterBuilder, MetricSettings};
#[cfg(feature = "metrics")]
pub use metric_exporter::MetricExporter;
#[cfg(feature = "trace")]
pub use span_builder::{SpanExporterBuilder, SpanSettings};
#[cfg(feature = "trace")]
pub use span_exporter::SpanExporter;
pub use spool_processor::{SpoolProcessor, SpoolProcessorBuilder, Spooled};
