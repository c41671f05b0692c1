//! A metric, with its points and their exemplars.

use std::ops::Range;

use opentelemetry::{SpanId, TraceId};
use opentelemetry_sdk::metrics::Temporality;

use super::fields::{Field, Fields};
use super::value::write_attributes;
use crate::encode::common::time::nanos;
use crate::encode::view::{
    BucketsView, ExemplarView, ExponentialHistogramView, HistogramView, MetricKind, MetricNumber, MetricView,
    PointValue, PointView,
};

/// The most points of one metric in a record. A request is divided between records, and one that is too large for its receiver can
/// be divided no further.
const MAX_POINTS: usize = 64;

/// `Metric`.
const NAME: Field = Field::new(1, "name");
const DESCRIPTION: Field = Field::new(2, "description");
const UNIT: Field = Field::new(3, "unit");
const GAUGE: Field = Field::new(5, "gauge");
const SUM: Field = Field::new(7, "sum");
const HISTOGRAM: Field = Field::new(9, "histogram");
const EXPONENTIAL_HISTOGRAM: Field = Field::new(10, "exponentialHistogram");

/// `Gauge`, `Sum`, `Histogram`, `ExponentialHistogram`.
const DATA_POINTS: Field = Field::new(1, "dataPoints");
/// All but `Gauge`.
const TEMPORALITY: Field = Field::new(2, "aggregationTemporality");
/// `Sum`.
const IS_MONOTONIC: Field = Field::new(3, "isMonotonic");

/// A point of any kind.
const START_TIME: Field = Field::new(2, "startTimeUnixNano");
const TIME: Field = Field::new(3, "timeUnixNano");

/// `NumberDataPoint`.
const NUMBER_AS_DOUBLE: Field = Field::new(4, "asDouble").explicit();
const NUMBER_EXEMPLARS: Field = Field::new(5, "exemplars");
const NUMBER_AS_INT: Field = Field::new(6, "asInt").explicit();
const NUMBER_ATTRIBUTES: Field = Field::new(7, "attributes");

/// `HistogramDataPoint`, `ExponentialHistogramDataPoint`.
const COUNT: Field = Field::new(4, "count");
const TOTAL: Field = Field::new(5, "sum").explicit();

/// `HistogramDataPoint`.
const BUCKET_COUNTS: Field = Field::new(6, "bucketCounts");
const BOUNDS: Field = Field::new(7, "explicitBounds");
const HISTOGRAM_EXEMPLARS: Field = Field::new(8, "exemplars");
const HISTOGRAM_ATTRIBUTES: Field = Field::new(9, "attributes");
const HISTOGRAM_MIN: Field = Field::new(11, "min").explicit();
const HISTOGRAM_MAX: Field = Field::new(12, "max").explicit();

/// `ExponentialHistogramDataPoint`.
const EXPONENTIAL_ATTRIBUTES: Field = Field::new(1, "attributes");
const SCALE: Field = Field::new(6, "scale");
const ZERO_COUNT: Field = Field::new(7, "zeroCount");
const POSITIVE: Field = Field::new(8, "positive");
const NEGATIVE: Field = Field::new(9, "negative");
const EXPONENTIAL_EXEMPLARS: Field = Field::new(11, "exemplars");
const EXPONENTIAL_MIN: Field = Field::new(12, "min").explicit();
const EXPONENTIAL_MAX: Field = Field::new(13, "max").explicit();
const ZERO_THRESHOLD: Field = Field::new(14, "zeroThreshold");

/// `ExponentialHistogramDataPoint.Buckets`.
const OFFSET: Field = Field::new(1, "offset");
const COUNTS: Field = Field::new(2, "bucketCounts");

/// `Exemplar`.
const EXEMPLAR_TIME: Field = Field::new(2, "timeUnixNano");
const EXEMPLAR_AS_DOUBLE: Field = Field::new(3, "asDouble").explicit();
const EXEMPLAR_SPAN_ID: Field = Field::new(4, "spanId");
const EXEMPLAR_TRACE_ID: Field = Field::new(5, "traceId");
const EXEMPLAR_AS_INT: Field = Field::new(6, "asInt").explicit();
const EXEMPLAR_ATTRIBUTES: Field = Field::new(7, "filteredAttributes");

/// The parts of a metric that are a record each. A metric without points has none.
pub(super) fn parts(metric: &dyn MetricView) -> impl Iterator<Item = Range<usize>> + use<> {
    let points = metric.points();
    (0..points).step_by(MAX_POINTS).map(move |start| start..points.min(start + MAX_POINTS))
}

/// The fields of a metric with this part of its points.
pub(super) fn write_metric(metric: &dyn MetricView, part: Range<usize>, out: &mut impl Fields) {
    out.text(NAME, metric.name());
    out.text(DESCRIPTION, metric.description());
    out.text(UNIT, metric.unit());
    let (field, temporality, is_monotonic) = match metric.kind() {
        MetricKind::Gauge => (GAUGE, None, false),
        MetricKind::Sum { temporality, is_monotonic } => (SUM, Some(temporality), is_monotonic),
        MetricKind::Histogram { temporality } => (HISTOGRAM, Some(temporality), false),
        MetricKind::ExponentialHistogram { temporality } => (EXPONENTIAL_HISTOGRAM, Some(temporality), false),
    };
    out.message(field, |out| {
        out.list(DATA_POINTS, |list| {
            metric.visit_points(part, &mut |point| list.push(|out| write_point(point, out)));
        });
        out.uint32(TEMPORALITY, temporality.map_or(0, number_of));
        out.bool(IS_MONOTONIC, is_monotonic);
    });
}

fn number_of(temporality: Temporality) -> u32 {
    if temporality == Temporality::Delta { 1 } else { 2 }
}

fn write_point(point: &dyn PointView, out: &mut impl Fields) {
    out.fixed64(START_TIME, point.start_time().map_or(0, nanos));
    out.fixed64(TIME, nanos(point.time()));
    let (attributes, exemplars) = match point.value() {
        PointValue::Number(number) => {
            write_number(NUMBER_AS_INT, NUMBER_AS_DOUBLE, number, out);
            (NUMBER_ATTRIBUTES, NUMBER_EXEMPLARS)
        }
        PointValue::Histogram(histogram) => {
            write_histogram(histogram, out);
            (HISTOGRAM_ATTRIBUTES, HISTOGRAM_EXEMPLARS)
        }
        PointValue::ExponentialHistogram(histogram) => {
            write_exponential_histogram(histogram, out);
            (EXPONENTIAL_ATTRIBUTES, EXPONENTIAL_EXEMPLARS)
        }
    };
    write_attributes(attributes, point, out);
    out.list(exemplars, |list| {
        point.visit_exemplars(&mut |exemplar| list.push(|out| write_exemplar(exemplar, out)));
    });
}

fn write_number(as_int: Field, as_double: Field, number: MetricNumber, out: &mut impl Fields) {
    match number {
        MetricNumber::Int(value) => out.sfixed64(as_int, value),
        MetricNumber::Double(value) => out.double(as_double, value),
    }
}

fn write_double(field: Field, value: Option<f64>, out: &mut impl Fields) {
    if let Some(value) = value {
        out.double(field, value);
    }
}

fn write_histogram(histogram: &dyn HistogramView, out: &mut impl Fields) {
    out.fixed64(COUNT, histogram.count());
    write_double(TOTAL, histogram.sum(), out);
    out.fixed64s(BUCKET_COUNTS, |visit| histogram.visit_bucket_counts(visit));
    out.doubles(BOUNDS, |visit| histogram.visit_bounds(visit));
    write_double(HISTOGRAM_MIN, histogram.min(), out);
    write_double(HISTOGRAM_MAX, histogram.max(), out);
}

fn write_exponential_histogram(histogram: &dyn ExponentialHistogramView, out: &mut impl Fields) {
    out.fixed64(COUNT, histogram.count());
    write_double(TOTAL, histogram.sum(), out);
    out.sint32(SCALE, histogram.scale());
    out.fixed64(ZERO_COUNT, histogram.zero_count());
    out.message(POSITIVE, |out| write_buckets(histogram.positive(), out));
    out.message(NEGATIVE, |out| write_buckets(histogram.negative(), out));
    write_double(EXPONENTIAL_MIN, histogram.min(), out);
    write_double(EXPONENTIAL_MAX, histogram.max(), out);
    out.double(ZERO_THRESHOLD, histogram.zero_threshold());
}

fn write_buckets(buckets: &dyn BucketsView, out: &mut impl Fields) {
    out.sint32(OFFSET, buckets.offset());
    out.uint64s(COUNTS, |visit| buckets.visit_counts(visit));
}

fn write_exemplar(exemplar: &dyn ExemplarView, out: &mut impl Fields) {
    out.fixed64(EXEMPLAR_TIME, nanos(exemplar.time()));
    write_number(EXEMPLAR_AS_INT, EXEMPLAR_AS_DOUBLE, exemplar.value(), out);
    if exemplar.span_id() != SpanId::INVALID {
        out.id(EXEMPLAR_SPAN_ID, exemplar.span_id().to_bytes());
    }
    if exemplar.trace_id() != TraceId::INVALID {
        out.id(EXEMPLAR_TRACE_ID, exemplar.trace_id().to_bytes());
    }
    write_attributes(EXEMPLAR_ATTRIBUTES, exemplar, out);
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use opentelemetry::metrics::MeterProvider;
    use opentelemetry::{Key, KeyValue, Value};
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
    use opentelemetry_proto::tonic::metrics::v1::metric::Data;
    use opentelemetry_proto::tonic::metrics::v1::{Metric, exemplar, number_data_point};
    use opentelemetry_sdk::error::OTelSdkResult;
    use opentelemetry_sdk::metrics::data::ResourceMetrics;
    use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
    use opentelemetry_sdk::metrics::{Aggregation, Instrument, PeriodicReader, SdkMeterProvider, Stream};
    use prost::Message;
    use serde_json::json;

    use super::*;
    use crate::config::values::Protocol;
    use crate::encode::otlp::pieces;
    use crate::encode::view::{AttributeValue, AttributesView};

    /// Each record of a metric, from either format.
    fn written(metric: &dyn MetricView) -> [Vec<Metric>; 2] {
        let bytes = |protocol| {
            pieces::metric_parts(metric).map(move |part| {
                let mut out = Vec::new();
                pieces::write_metric(protocol, metric, part, &mut out);
                out
            })
        };
        let of_json = |bytes: Vec<u8>| {
            let text = String::from_utf8([b"{", &*bytes, b"}"].concat()).unwrap();
            assert!(!text.contains("null"), "{text}");
            serde_json::from_str(&text).unwrap()
        };
        [
            bytes(Protocol::HttpBinary).map(|bytes| Metric::decode(&*bytes).unwrap()).collect(),
            bytes(Protocol::HttpJson).map(of_json).collect(),
        ]
    }

    /// The metric that the generated types make of the SDK's, and the records that are written of it.
    type Compared = (Metric, [Vec<Metric>; 2]);

    /// Keeps what it is given in both ways.
    #[derive(Clone)]
    struct Compare {
        temporality: Temporality,
        metrics: Arc<Mutex<Vec<Compared>>>,
    }

    impl PushMetricExporter for Compare {
        async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
            let mut expected = ExportMetricsServiceRequest::from(metrics);
            let scopes = expected.resource_metrics.remove(0).scope_metrics;
            for (scope, expected) in metrics.scope_metrics().zip(scopes) {
                let pairs = scope.metrics().zip(expected.metrics);
                let pairs = pairs.map(|(metric, expected)| (expected, written(metric)));
                self.metrics.lock().unwrap().extend(pairs);
            }
            Ok(())
        }

        fn force_flush(&self) -> OTelSdkResult {
            Ok(())
        }

        fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
            Ok(())
        }

        fn temporality(&self) -> Temporality {
            self.temporality
        }
    }

    /// What is collected after `measure`. Histograms called `exponential` are exponential.
    fn collected(temporality: Temporality, measure: impl FnOnce(&opentelemetry::metrics::Meter)) -> Vec<Compared> {
        let exporter = Compare { temporality, metrics: Arc::default() };
        let exponential = |instrument: &Instrument| {
            let aggregation =
                Aggregation::Base2ExponentialHistogram { max_size: 160, max_scale: 20, record_min_max: true };
            let is_exponential = instrument.name().starts_with("exponential");
            is_exponential.then(|| Stream::builder().with_aggregation(aggregation).build().unwrap())
        };
        let reader = PeriodicReader::builder(exporter.clone()).with_interval(Duration::from_secs(86_400)).build();
        let provider = SdkMeterProvider::builder().with_reader(reader).with_view(exponential).build();
        measure(&provider.meter("meter"));
        provider.force_flush().unwrap();
        std::mem::take(&mut *exporter.metrics.lock().unwrap())
    }

    fn sets() -> [Vec<KeyValue>; 2] {
        [vec![], vec![KeyValue::new("route", "/orders"), KeyValue::new("cached", false)]]
    }

    fn every_instrument(meter: &opentelemetry::metrics::Meter) {
        for set in &sets() {
            meter.u64_counter("u64 counter").with_unit("By").with_description("bytes").build().add(3, set);
            meter.f64_counter("f64_counter").build().add(0.5, set);
            meter.i64_up_down_counter("i64_up_down_counter").build().add(-7, set);
            meter.f64_up_down_counter("f64_up_down_counter").build().add(-0.25, set);
            meter.u64_gauge("u64_gauge").build().record(0, set);
            meter.i64_gauge("i64_gauge").build().record(i64::MIN, set);
            meter.f64_gauge("f64_gauge").build().record(0.0, set);
            for value in [0, 1, 7, 700, 70_000, 1 << 60] {
                meter.u64_histogram("u64_histogram").build().record(value, set);
                meter.u64_histogram("exponential_u64").build().record(value, set);
            }
            for value in [0.0, -0.001, -8.5, 1.0, 7.25, 1e9] {
                meter.f64_histogram("f64_histogram").build().record(value, set);
                meter.f64_histogram("exponential_f64").build().record(value, set);
            }
        }
        meter.f64_histogram("without_bounds").with_boundaries(Vec::new()).build().record(1.0, &[]);
    }

    #[test]
    fn every_metric_of_the_sdk_is_what_the_generated_types_make_of_it() {
        for temporality in [Temporality::Cumulative, Temporality::Delta, Temporality::LowMemory] {
            let metrics = collected(temporality, every_instrument);
            assert_eq!(metrics.len(), 11, "{metrics:?}");
            for (expected, written) in metrics {
                assert_eq!(written, [vec![expected.clone()], vec![expected]]);
            }
        }
    }

    #[test]
    fn a_record_has_at_most_64_points_and_all_of_them_have_each_point_once() {
        let counts = [1, 64, 65, 150];
        let metrics = collected(Temporality::Cumulative, |meter| {
            for count in counts {
                let counter = meter.u64_counter(format!("counter_{count}")).build();
                (0..count).for_each(|number| counter.add(1, &[KeyValue::new("number", number)]));
            }
        });
        let points = |metric: &Metric| match &metric.data {
            Some(Data::Sum(sum)) => sum.data_points.clone(),
            other => panic!("{other:?}"),
        };
        for (expected, written) in metrics {
            for records in written {
                let parts: Vec<_> = records.iter().map(points).collect();
                assert!(parts.iter().all(|part| (1..=64).contains(&part.len())), "{parts:?}");
                assert_eq!(parts.len(), points(&expected).len().div_ceil(64));
                assert_eq!(parts.concat(), points(&expected), "in their order");
            }
        }
    }

    #[test]
    fn an_integer_that_otlp_has_not_is_the_largest_that_it_has() {
        let metrics =
            collected(Temporality::Cumulative, |meter| meter.u64_counter("counter").build().add(u64::MAX, &[]));
        for metric in metrics[0].1.iter().flatten() {
            let Some(Data::Sum(sum)) = &metric.data else { panic!("{metric:?}") };
            assert_eq!(sum.data_points[0].value, Some(number_data_point::Value::AsInt(i64::MAX)));
        }
    }

    /// A gauge of one point, which has an exemplar with a span and one without. The SDK makes none.
    struct WithExemplars(MetricNumber);

    struct Example {
        number: MetricNumber,
        span: u64,
        attribute: (Key, Value),
    }

    impl MetricView for WithExemplars {
        fn name(&self) -> &'static str {
            "gauge"
        }

        fn description(&self) -> &'static str {
            ""
        }

        fn unit(&self) -> &'static str {
            ""
        }

        fn kind(&self) -> MetricKind {
            MetricKind::Gauge
        }

        fn points(&self) -> usize {
            1
        }

        fn visit_points(&self, _part: Range<usize>, visit: &mut dyn FnMut(&dyn PointView)) {
            visit(self);
        }
    }

    impl AttributesView for WithExemplars {
        fn visit_attributes<'a>(&'a self, _visit: &mut dyn FnMut(&'a Key, AttributeValue<'a>)) {}
    }

    impl PointView for WithExemplars {
        fn start_time(&self) -> Option<SystemTime> {
            None
        }

        fn time(&self) -> SystemTime {
            UNIX_EPOCH + Duration::from_nanos(500)
        }

        fn value(&self) -> PointValue<'_> {
            PointValue::Number(self.0)
        }

        fn visit_exemplars(&self, visit: &mut dyn FnMut(&dyn ExemplarView)) {
            let attribute = ("thread".into(), "main".into());
            visit(&Example { number: self.0, span: 0xc2, attribute: attribute.clone() });
            visit(&Example { number: self.0, span: 0, attribute });
        }
    }

    impl AttributesView for Example {
        fn visit_attributes<'a>(&'a self, visit: &mut dyn FnMut(&'a Key, AttributeValue<'a>)) {
            visit(&self.attribute.0, AttributeValue::Plain(&self.attribute.1));
        }
    }

    impl ExemplarView for Example {
        fn time(&self) -> SystemTime {
            UNIX_EPOCH + Duration::from_nanos(400)
        }

        fn value(&self) -> MetricNumber {
            self.number
        }

        fn trace_id(&self) -> TraceId {
            TraceId::from(u128::from(self.span))
        }

        fn span_id(&self) -> SpanId {
            SpanId::from(self.span)
        }
    }

    #[test]
    fn an_exemplar_has_its_value_attributes_and_span() {
        for (number, value) in [
            (MetricNumber::Int(-3), exemplar::Value::AsInt(-3)),
            (MetricNumber::Double(0.0), exemplar::Value::AsDouble(0.0)),
        ] {
            for metric in written(&WithExemplars(number)).iter().flatten() {
                let Some(Data::Gauge(gauge)) = &metric.data else { panic!("{metric:?}") };
                let [with_span, without] = &*gauge.data_points[0].exemplars else { panic!("{gauge:?}") };
                for exemplar in [with_span, without] {
                    assert_eq!((exemplar.time_unix_nano, exemplar.value), (400, Some(value)));
                    assert_eq!(exemplar.filtered_attributes[0].key, "thread");
                }
                assert_eq!(
                    (&*with_span.span_id, &*with_span.trace_id),
                    (&0xc2_u64.to_be_bytes()[..], &0xc2_u128.to_be_bytes()[..])
                );
                assert_eq!((without.span_id.len(), without.trace_id.len()), (0, 0));
            }
        }
    }

    #[test]
    fn a_point_in_json_is_this_text() {
        let mut out = Vec::new();
        pieces::write_metric(Protocol::HttpJson, &WithExemplars(f64::INFINITY.into()), 0..1, &mut out);
        let written: serde_json::Value = serde_json::from_slice(&[b"{", &*out, b"}"].concat()).unwrap();
        let exemplar = json!({
            "timeUnixNano": "400",
            "asDouble": "Infinity",
            "filteredAttributes": [{"key": "thread", "value": {"stringValue": "main"}}],
        });
        let mut with_span = exemplar.clone();
        with_span["spanId"] = "00000000000000c2".into();
        with_span["traceId"] = "000000000000000000000000000000c2".into();
        let point = json!({"timeUnixNano": "500", "asDouble": "Infinity", "exemplars": [with_span, exemplar]});
        assert_eq!(written, json!({"name": "gauge", "gauge": {"dataPoints": [point]}}));
    }
}
