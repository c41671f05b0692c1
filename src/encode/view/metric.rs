//! [`MetricView`] and [`PointView`]: a metric and its points as encoders see them.

use std::fmt;
use std::ops::Range;
use std::time::SystemTime;

use opentelemetry::{Key, SpanId, TraceId};
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::{
    AggregatedMetrics, Exemplar, ExponentialBucket, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge,
    GaugeDataPoint, Histogram, HistogramDataPoint, Metric, MetricData, Sum, SumDataPoint,
};

use super::attributes::{AttributeValue, AttributesView, visit_plain};

/// A metric as encoders see it: the points of one instrument, borrowed from whoever has them.
///
/// The SDK's metric implements it.
///
/// # Examples
///
/// ```
/// use opentelemetry_spool::{MetricView, PointView};
///
/// /// The metric's last time.
/// fn time(metric: &dyn MetricView) -> Option<std::time::SystemTime> {
///     let mut last = None;
///     metric.visit_points(0..metric.points(), &mut |point| last = last.max(Some(point.time())));
///     last
/// }
/// ```
pub trait MetricView {
    /// The name of the instrument.
    fn name(&self) -> &str;

    /// The description of the instrument.
    fn description(&self) -> &str;

    /// The unit of the values.
    fn unit(&self) -> &str;

    /// The kind of its points, which is the same for all of them.
    fn kind(&self) -> MetricKind;

    /// The number of points.
    fn points(&self) -> usize;

    /// Calls `visit` with each point of a part, in order. Whatever is beyond the last point is left out.
    fn visit_points(&self, part: Range<usize>, visit: &mut dyn FnMut(&dyn PointView));
}

/// The kind of a metric, which says how its points are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetricKind {
    /// The latest value.
    Gauge,
    /// The sum of all values.
    Sum {
        /// Whether the sum is of all values or of those since the last point.
        temporality: Temporality,
        /// Whether it only ever grows.
        is_monotonic: bool,
    },
    /// The number of values in buckets with bounds of their own.
    Histogram {
        /// Whether the counts are of all values or of those since the last point.
        temporality: Temporality,
    },
    /// The number of values in buckets whose bounds are powers.
    ExponentialHistogram {
        /// Whether the counts are of all values or of those since the last point.
        temporality: Temporality,
    },
}

/// A point of a metric: what was measured with one set of attributes.
pub trait PointView: AttributesView {
    /// The time since which was measured.
    fn start_time(&self) -> Option<SystemTime>;

    /// The time until which was measured.
    fn time(&self) -> SystemTime;

    /// The value, as the metric's kind has it.
    fn value(&self) -> PointValue<'_>;

    /// Calls `visit` with each exemplar, in order.
    fn visit_exemplars(&self, visit: &mut dyn FnMut(&dyn ExemplarView));
}

/// The value of a point.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum PointValue<'a> {
    /// The value of a gauge or a sum.
    Number(MetricNumber),
    /// The value of a histogram.
    Histogram(&'a dyn HistogramView),
    /// The value of an exponential histogram.
    ExponentialHistogram(&'a dyn ExponentialHistogramView),
}

impl fmt::Debug for PointValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => f.debug_tuple("Number").field(number).finish(),
            Self::Histogram(histogram) => {
                f.debug_struct("Histogram").field("count", &histogram.count()).finish_non_exhaustive()
            }
            Self::ExponentialHistogram(histogram) => {
                f.debug_struct("ExponentialHistogram").field("count", &histogram.count()).finish_non_exhaustive()
            }
        }
    }
}

/// A measured number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MetricNumber {
    /// An integer. One beyond 64 bits with a sign, which OTLP has not, is the largest one.
    Int(i64),
    /// A floating-point number.
    Double(f64),
}

impl From<f64> for MetricNumber {
    fn from(value: f64) -> Self {
        Self::Double(value)
    }
}

impl From<i64> for MetricNumber {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<u64> for MetricNumber {
    fn from(value: u64) -> Self {
        Self::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

/// The value of a histogram: how many values are in each bucket.
pub trait HistogramView {
    /// The number of values.
    fn count(&self) -> u64;

    /// The sum of the values, where it is known.
    fn sum(&self) -> Option<f64>;

    /// The least value, where it is known.
    fn min(&self) -> Option<f64>;

    /// The greatest value, where it is known.
    fn max(&self) -> Option<f64>;

    /// Calls `visit` with the upper bound of each bucket but the last, which has none.
    fn visit_bounds(&self, visit: &mut dyn FnMut(f64));

    /// Calls `visit` with the count of each bucket.
    fn visit_bucket_counts(&self, visit: &mut dyn FnMut(u64));
}

/// The value of an exponential histogram: how many values are in each bucket, whose bounds are powers of `2^(2^-scale)`.
pub trait ExponentialHistogramView {
    /// The number of values.
    fn count(&self) -> u64;

    /// The sum of the values, where it is known.
    fn sum(&self) -> Option<f64>;

    /// The least value, where it is known.
    fn min(&self) -> Option<f64>;

    /// The greatest value, where it is known.
    fn max(&self) -> Option<f64>;

    /// The scale: the greater it is, the narrower the buckets are.
    fn scale(&self) -> i32;

    /// The number of values that are zero, or as near to it as the threshold says.
    fn zero_count(&self) -> u64;

    /// The greatest absolute value that counts as zero.
    fn zero_threshold(&self) -> f64;

    /// The buckets of the positive values.
    fn positive(&self) -> &dyn BucketsView;

    /// The buckets of the negative values.
    fn negative(&self) -> &dyn BucketsView;
}

/// Neighbouring buckets of an exponential histogram.
pub trait BucketsView {
    /// The index of the first bucket.
    fn offset(&self) -> i32;

    /// Calls `visit` with the count of each bucket.
    fn visit_counts(&self, visit: &mut dyn FnMut(u64));
}

/// A value that stands as an example for those of a point. Its attributes are those that the point has not.
pub trait ExemplarView: AttributesView {
    /// The time at which it was measured.
    fn time(&self) -> SystemTime;

    /// The value.
    fn value(&self) -> MetricNumber;

    /// The trace in which it was measured; [`TraceId::INVALID`] if there is none.
    fn trace_id(&self) -> TraceId;

    /// The span in which it was measured; [`SpanId::INVALID`] if there is none.
    fn span_id(&self) -> SpanId;
}

impl MetricView for Metric {
    fn name(&self) -> &str {
        Self::name(self)
    }

    fn description(&self) -> &str {
        Self::description(self)
    }

    fn unit(&self) -> &str {
        Self::unit(self)
    }

    fn kind(&self) -> MetricKind {
        match self.data() {
            AggregatedMetrics::F64(data) => kind_of(data),
            AggregatedMetrics::I64(data) => kind_of(data),
            AggregatedMetrics::U64(data) => kind_of(data),
        }
    }

    fn points(&self) -> usize {
        match self.data() {
            AggregatedMetrics::F64(data) => count_of(data),
            AggregatedMetrics::I64(data) => count_of(data),
            AggregatedMetrics::U64(data) => count_of(data),
        }
    }

    fn visit_points(&self, part: Range<usize>, visit: &mut dyn FnMut(&dyn PointView)) {
        match self.data() {
            AggregatedMetrics::F64(data) => visit_data(data, part, visit),
            AggregatedMetrics::I64(data) => visit_data(data, part, visit),
            AggregatedMetrics::U64(data) => visit_data(data, part, visit),
        }
    }
}

fn kind_of<T>(data: &MetricData<T>) -> MetricKind {
    match data {
        MetricData::Gauge(_) => MetricKind::Gauge,
        MetricData::Sum(sum) => MetricKind::Sum { temporality: sum.temporality(), is_monotonic: sum.is_monotonic() },
        MetricData::Histogram(histogram) => MetricKind::Histogram { temporality: histogram.temporality() },
        MetricData::ExponentialHistogram(histogram) => {
            MetricKind::ExponentialHistogram { temporality: histogram.temporality() }
        }
    }
}

fn count_of<T>(data: &MetricData<T>) -> usize {
    match data {
        MetricData::Gauge(gauge) => gauge.data_points().count(),
        MetricData::Sum(sum) => sum.data_points().count(),
        MetricData::Histogram(histogram) => histogram.data_points().count(),
        MetricData::ExponentialHistogram(histogram) => histogram.data_points().count(),
    }
}

fn visit_data<T: Measured>(data: &MetricData<T>, part: Range<usize>, visit: &mut dyn FnMut(&dyn PointView)) {
    match data {
        MetricData::Gauge(gauge) => visit_each(gauge, gauge.data_points(), part, visit),
        MetricData::Sum(sum) => visit_each(sum, sum.data_points(), part, visit),
        MetricData::Histogram(histogram) => visit_each(histogram, histogram.data_points(), part, visit),
        MetricData::ExponentialHistogram(histogram) => visit_each(histogram, histogram.data_points(), part, visit),
    }
}

fn visit_each<'a, P: SdkPoint + 'a>(
    aggregate: &impl Times,
    points: impl Iterator<Item = &'a P>,
    part: Range<usize>,
    visit: &mut dyn FnMut(&dyn PointView),
) {
    let times = (aggregate.start_time(), aggregate.time());
    points.skip(part.start).take(part.len()).for_each(|point| visit(&Timed { point, times }));
}

/// A number that the SDK measures.
trait Measured: Copy + Into<MetricNumber> {
    /// The number as histograms have it.
    fn as_f64(self) -> f64;
}

impl Measured for f64 {
    fn as_f64(self) -> f64 {
        self
    }
}

#[allow(clippy::cast_precision_loss, reason = "OTLP has doubles alone in histograms, which hold 53 bits")]
impl Measured for i64 {
    fn as_f64(self) -> f64 {
        self as f64
    }
}

#[allow(clippy::cast_precision_loss, reason = "OTLP has doubles alone in histograms, which hold 53 bits")]
impl Measured for u64 {
    fn as_f64(self) -> f64 {
        self as f64
    }
}

/// The times that the points of the SDK have in common.
trait Times {
    fn start_time(&self) -> Option<SystemTime>;
    fn time(&self) -> SystemTime;
}

macro_rules! times {
    ($($aggregate:ident),*) => {$(
        impl<T> Times for $aggregate<T> {
            fn start_time(&self) -> Option<SystemTime> {
                Self::start_time(self).into()
            }

            fn time(&self) -> SystemTime {
                Self::time(self)
            }
        }
    )*};
}

times!(Gauge, Sum, Histogram, ExponentialHistogram);

/// A point of the SDK, which has no times of its own.
trait SdkPoint {
    fn visit_attributes<'a>(&'a self, visit: &mut dyn FnMut(&'a Key, AttributeValue<'a>));
    fn value(&self) -> PointValue<'_>;
    fn visit_exemplars(&self, visit: &mut dyn FnMut(&dyn ExemplarView));
}

macro_rules! sdk_points {
    ($($point:ident: $value:expr),* $(,)?) => {$(
        impl<T: Measured> SdkPoint for $point<T> {
            fn visit_attributes<'a>(&'a self, visit: &mut dyn FnMut(&'a Key, AttributeValue<'a>)) {
                visit_plain(self.attributes(), visit);
            }

            fn value(&self) -> PointValue<'_> {
                ($value)(self)
            }

            fn visit_exemplars(&self, visit: &mut dyn FnMut(&dyn ExemplarView)) {
                self.exemplars().for_each(|exemplar| visit(exemplar));
            }
        }
    )*};
}

sdk_points! {
    GaugeDataPoint: |point: &Self| PointValue::Number(Self::value(point).into()),
    SumDataPoint: |point: &Self| PointValue::Number(Self::value(point).into()),
    HistogramDataPoint: PointValue::Histogram,
    ExponentialHistogramDataPoint: PointValue::ExponentialHistogram,
}

/// A point of the SDK with its times.
struct Timed<'a, P> {
    point: &'a P,
    times: (Option<SystemTime>, SystemTime),
}

impl<P: SdkPoint> AttributesView for Timed<'_, P> {
    fn visit_attributes<'a>(&'a self, visit: &mut dyn FnMut(&'a Key, AttributeValue<'a>)) {
        self.point.visit_attributes(visit);
    }
}

impl<P: SdkPoint> PointView for Timed<'_, P> {
    fn start_time(&self) -> Option<SystemTime> {
        self.times.0
    }

    fn time(&self) -> SystemTime {
        self.times.1
    }

    fn value(&self) -> PointValue<'_> {
        self.point.value()
    }

    fn visit_exemplars(&self, visit: &mut dyn FnMut(&dyn ExemplarView)) {
        self.point.visit_exemplars(visit);
    }
}

impl<T: Measured> HistogramView for HistogramDataPoint<T> {
    fn count(&self) -> u64 {
        Self::count(self)
    }

    fn sum(&self) -> Option<f64> {
        Some(Self::sum(self).as_f64())
    }

    fn min(&self) -> Option<f64> {
        Self::min(self).map(T::as_f64)
    }

    fn max(&self) -> Option<f64> {
        Self::max(self).map(T::as_f64)
    }

    fn visit_bounds(&self, visit: &mut dyn FnMut(f64)) {
        self.bounds().for_each(visit);
    }

    fn visit_bucket_counts(&self, visit: &mut dyn FnMut(u64)) {
        self.bucket_counts().for_each(visit);
    }
}

impl<T: Measured> ExponentialHistogramView for ExponentialHistogramDataPoint<T> {
    fn count(&self) -> u64 {
        Self::count(self) as u64
    }

    fn sum(&self) -> Option<f64> {
        Some(Self::sum(self).as_f64())
    }

    fn min(&self) -> Option<f64> {
        Self::min(self).map(T::as_f64)
    }

    fn max(&self) -> Option<f64> {
        Self::max(self).map(T::as_f64)
    }

    fn scale(&self) -> i32 {
        Self::scale(self).into()
    }

    fn zero_count(&self) -> u64 {
        Self::zero_count(self)
    }

    fn zero_threshold(&self) -> f64 {
        Self::zero_threshold(self)
    }

    fn positive(&self) -> &dyn BucketsView {
        self.positive_bucket()
    }

    fn negative(&self) -> &dyn BucketsView {
        self.negative_bucket()
    }
}

impl BucketsView for ExponentialBucket {
    fn offset(&self) -> i32 {
        Self::offset(self)
    }

    fn visit_counts(&self, visit: &mut dyn FnMut(u64)) {
        self.counts().for_each(visit);
    }
}

impl<T: Measured> AttributesView for Exemplar<T> {
    fn visit_attributes<'a>(&'a self, visit: &mut dyn FnMut(&'a Key, AttributeValue<'a>)) {
        visit_plain(self.filtered_attributes(), visit);
    }
}

impl<T: Measured> ExemplarView for Exemplar<T> {
    fn time(&self) -> SystemTime {
        Self::time(self)
    }

    fn value(&self) -> MetricNumber {
        self.value.into()
    }

    fn trace_id(&self) -> TraceId {
        TraceId::from_bytes(*Self::trace_id(self))
    }

    fn span_id(&self) -> SpanId {
        SpanId::from_bytes(*Self::span_id(self))
    }
}
