//! A log exporter for the OpenTelemetry SDK that never loses a record it has accepted.
#![doc = ""]

mod background;
mod batch;
mod builder;
mod config;
mod drain;
mod encode;
mod error;
mod exporter;
mod handle;
mod hook;
mod processor;
mod retry;
mod spool;
mod stats;
mod transport;
mod worker;

pub use batch::{BatchContext, Framing, HeaderMap};
pub use builder::LogExporterBuilder;
pub use config::{Durability, RetryPolicy};
pub use encode::{Encoder, JsonEncoder, LevelScale, SourceCodeKey};
pub use error::{BoxError, ExporterBuildError, FlushError, HeaderError, SpoolError};
pub use exporter::LogExporter;
pub use handle::SpoolHandle;
pub use processor::CallerThreadProcessor;
pub use stats::SpoolStats;
