//! What an exporter says of itself: events, counts, metrics.

pub(crate) mod counter;
pub(crate) mod event;
pub(crate) mod loss;
#[cfg(feature = "metrics")]
pub(crate) mod metrics;
pub(crate) mod stats;
