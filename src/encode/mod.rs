//! From records to bytes: the [`Encoder`] trait, one file per wire format, and what joins records into bodies.

pub(crate) mod blocks;
mod bulk;
mod clickhouse;
pub(crate) mod common;
pub(crate) mod encoder;
mod form;
pub(crate) mod formats;
pub(crate) mod framing;
pub(crate) mod json;
mod loki;
#[cfg(feature = "otlp")]
pub(crate) mod otlp;
mod pickle;
pub(crate) mod points;
mod splunk;
mod text;
#[cfg(feature = "relay")]
pub(crate) mod transcode;
pub(crate) mod view;

pub use bulk::BulkEncoder;
pub use clickhouse::ClickHouseEncoder;
#[cfg(feature = "relay")]
pub(crate) use common::any_value::{is_null, json_text, null};
pub use common::template::Template;
pub(crate) use encoder::NestedEncoder;
pub use encoder::{Encoder, FromSdk, SdkEncoder};
pub use form::FormEncoder;
pub use json::{JsonEncoder, LevelScale, SourceCodeKey};
pub use loki::LokiEncoder;
#[cfg(feature = "metrics")]
pub(crate) use otlp::MetricEncoder;
#[cfg(feature = "otlp")]
pub use otlp::OtlpEncoder;
#[cfg(feature = "trace")]
pub(crate) use otlp::SpanEncoder;
#[cfg(feature = "relay")]
pub(crate) use otlp::otlp_framing;
pub use pickle::PickleEncoder;
pub use splunk::SplunkEncoder;
pub use text::TextEncoder;
pub(crate) use view::RedactedLog;
#[cfg(feature = "otlp")]
pub use view::{AttributeValue, AttributesView};
#[cfg(feature = "metrics")]
pub use view::{
    BucketsView, ExemplarView, ExponentialHistogramView, HistogramView, MetricKind, MetricNumber, MetricView,
    PointValue, PointView,
};
#[cfg(feature = "trace")]
pub use view::{EventView, LinkView, SpanView};
pub use view::{Filtered, LogView, RecordOrigin, Redaction, TraceIds};
