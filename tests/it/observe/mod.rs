#[cfg(feature = "self-metrics")]
mod metrics;
