//! What an exporter says of itself: events, counts, metrics.

pub(crate) mod event;
#[cfg(feature = "metrics")]
pub(crate) mod metrics;
pub(crate) mod stats;
