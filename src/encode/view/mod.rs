//! Views: records, spans and metrics as encoders see them, borrowed from whoever has them.

#[cfg(feature = "otlp")]
mod attributes;
mod log;
#[cfg(feature = "metrics")]
mod metric;
mod redaction;
#[cfg(feature = "trace")]
mod span;

#[cfg(feature = "otlp")]
pub use attributes::{AttributeValue, AttributesView};
pub use log::{LogView, RecordOrigin, TraceIds};
#[cfg(feature = "metrics")]
pub use metric::{
    BucketsView, ExemplarView, ExponentialHistogramView, HistogramView, MetricKind, MetricNumber, MetricView,
    PointValue, PointView,
};
pub(crate) use redaction::RedactedLog;
pub use redaction::{Filtered, Redaction};
#[cfg(feature = "trace")]
pub use span::{EventView, LinkView, SpanView};
