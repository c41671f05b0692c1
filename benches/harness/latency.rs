//! How long things took.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Percentiles, in whatever unit they were recorded.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
    pub(crate) max: u64,
}

/// A histogram of three digits for up to ten minutes in nanoseconds; what took longer counts as that.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(600_000_000_000, 3).expect("bounds that are allowed")
}

impl Latency {
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        let [p50, p90, p99, p999] = [0.5, 0.9, 0.99, 0.999].map(|share| histogram.value_at_quantile(share));
        Self { p50, p90, p99, p999, max: histogram.max() }
    }
}
