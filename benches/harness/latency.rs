//! How long things took.

use hdrhistogram::Histogram;

use crate::report::run::Latency;

/// A histogram of three digits for up to ten minutes in nanoseconds; what took longer counts as that.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(600_000_000_000, 3).expect("bounds that are allowed")
}

pub(crate) fn percentiles(histogram: &Histogram<u64>) -> Latency {
    let [p50, p90, p99, p999] = [0.5, 0.9, 0.99, 0.999].map(|share| histogram.value_at_quantile(share));
    Latency { p50, p90, p99, p999, max: histogram.max() }
}
