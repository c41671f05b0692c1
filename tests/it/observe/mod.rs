#[cfg(all(feature = "self-metrics", feature = "trace", feature = "metrics"))]
mod metrics;
