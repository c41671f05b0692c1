//! How many data points an OTLP request of metrics has. Its records are metrics with several points each, and OpenTelemetry's conventions
//! count points.

use serde_json::Value;

use crate::config::values::Signal;
use crate::observe::items::CountItems;

/// Counts what responses and OpenTelemetry's conventions count, where that is not the records.
pub(crate) fn items_of(signal: Signal) -> Option<CountItems> {
    match signal {
        Signal::Logs | Signal::Traces => None,
        Signal::Metrics => Some(data_points),
    }
}

/// The number of data points in the body of an `ExportMetricsServiceRequest`; `None` if it is none.
fn data_points(content_type: &str, body: &[u8]) -> Option<u64> {
    if content_type.starts_with("application/json") {
        let request: Value = serde_json::from_slice(body).ok()?;
        return Some(in_json(&request));
    }
    // `resource_metrics`, `scope_metrics`, `metrics`, one of the kinds of a metric, `data_points`.
    in_protobuf(body, &[&[1], &[2], &[2], &[5, 7, 9, 10, 11], &[1]])
}

fn in_json(request: &Value) -> u64 {
    let scopes = list(request, "resourceMetrics").flat_map(|of| list(of, "scopeMetrics"));
    let metrics = scopes.flat_map(|of| list(of, "metrics")).filter_map(Value::as_object);
    metrics.flat_map(|metric| metric.values()).map(|kind| list(kind, "dataPoints").count() as u64).sum()
}

fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value.get(name).and_then(Value::as_array).into_iter().flatten()
}

/// Counts the messages at the end of a path: the numbers of the fields that count at each step.
fn in_protobuf(mut message: &[u8], path: &[&[u64]]) -> Option<u64> {
    let Some((step, rest)) = path.split_first() else { return Some(1) };
    let mut count = 0;
    while !message.is_empty() {
        let key = varint(&mut message)?;
        let length = match key & 7 {
            0 => {
                varint(&mut message)?;
                continue;
            }
            1 => 8,
            2 => varint(&mut message)?,
            5 => 4,
            _ => return None,
        };
        let (field, behind) = message.split_at_checked(usize::try_from(length).ok()?)?;
        message = behind;
        if key & 7 == 2 && step.contains(&(key >> 3)) {
            count += in_protobuf(field, rest)?;
        }
    }
    Some(count)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
    use opentelemetry_proto::tonic::metrics::v1::{
        ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric,
        NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, metric::Data,
    };
    use prost::Message as _;

    use super::*;

    fn numbers(count: usize) -> Vec<NumberDataPoint> {
        vec![NumberDataPoint { time_unix_nano: 7, flags: 1, ..NumberDataPoint::default() }; count]
    }

    /// A metric of each kind, with 1, 2, 4, 8 and 16 points.
    fn request() -> ExportMetricsServiceRequest {
        let kinds = [
            Data::Gauge(Gauge { data_points: numbers(1) }),
            Data::Sum(Sum { data_points: numbers(2), aggregation_temporality: 2, is_monotonic: true }),
            Data::Histogram(Histogram {
                data_points: vec![HistogramDataPoint { bucket_counts: vec![1, 2], ..Default::default() }; 4],
                aggregation_temporality: 2,
            }),
            Data::ExponentialHistogram(ExponentialHistogram {
                data_points: vec![ExponentialHistogramDataPoint::default(); 8],
                aggregation_temporality: 2,
            }),
            Data::Summary(Summary { data_points: vec![SummaryDataPoint::default(); 16] }),
        ];
        let metrics = kinds.map(|data| Metric { name: "name".into(), data: Some(data), ..Metric::default() }).to_vec();
        let scope = ScopeMetrics { metrics, ..ScopeMetrics::default() };
        let resource = ResourceMetrics { scope_metrics: vec![scope.clone(), scope], ..ResourceMetrics::default() };
        ExportMetricsServiceRequest { resource_metrics: vec![resource.clone(), resource] }
    }

    #[test]
    fn the_points_of_every_kind_are_counted_in_both_formats() {
        assert_eq!(data_points("application/x-protobuf", &request().encode_to_vec()), Some(4 * 31));
        let json = serde_json::to_vec(&request()).unwrap();
        assert_eq!(data_points("application/json", &json), Some(4 * 31));
    }

    #[test]
    fn what_is_no_request_has_no_count() {
        let body = request().encode_to_vec();
        assert_eq!(data_points("application/x-protobuf", &body[..body.len() - 1]), None);
        assert_eq!(data_points("application/json", b"{"), None);
        assert_eq!(data_points("application/json", b"[1]"), Some(0));
        assert_eq!(data_points("application/x-protobuf", b""), Some(0));
    }
}
