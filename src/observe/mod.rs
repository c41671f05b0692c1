//! Observation: the events, counts and metrics of an exporter.

pub(crate) mod counter;
pub(crate) mod event;
pub(crate) mod items;
pub(crate) mod loss;
#[cfg(feature = "self-metrics")]
pub(crate) mod metrics;
pub(crate) mod probe;
#[cfg(feature = "self-metrics")]
pub(crate) mod processor_metrics;
pub(crate) mod stats;
