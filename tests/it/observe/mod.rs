#[cfg(all(feature = "self-metrics", feature = "trace", feature = "metrics"))]
mod metrics;
#[cfg(all(feature = "self-metrics", feature = "trace", feature = "metrics", feature = "relay"))]
mod ops;
