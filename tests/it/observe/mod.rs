#[cfg(feature = "metrics")]
mod metrics;
