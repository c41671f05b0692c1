//! Servers for OTLP understand every span and every point: they have what `opentelemetry-otlp` makes of the same, field by field.

use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope as ProtoScope;
use opentelemetry_proto::tonic::metrics::v1::{ResourceMetrics, ScopeMetrics, metric::Data, number_data_point};
use opentelemetry_proto::tonic::resource::v1::Resource as ProtoResource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use opentelemetry_spool::{ExporterBuilder, MetricExporter, SpanExporter, SpoolHandle};

use super::*;
use crate::exporter::signals::{
    Both, all_single_points, end_spans, measured_by, on, resource, single_points, single_spans, sort, sorted,
};

const SPANS: &str = "/v1/traces";
const METRICS: &str = "/v1/metrics";

/// How many spans are ended, in batches of 100; ten of them by each call of `end_spans`.
const ENDED: usize = 300;
/// How many points `measure` makes.
const POINTS: usize = 158;

/// Every way in which OTLP is sent.
fn ways() -> impl Iterator<Item = (Protocol, Option<Compression>)> {
    let protocols = [Protocol::HttpJson, Protocol::HttpBinary];
    protocols.into_iter().flat_map(|protocol| [None, Some(Compression::Gzip)].map(|gzip| (protocol, gzip)))
}

/// All of it was taken at the first attempt.
fn check_delivery(handle: &SpoolHandle, records: usize) {
    common::flush(handle);
    let stats = handle.stats();
    assert_eq!((stats.delivered_records, stats.rejected_records, stats.failed_requests), (records as u64, 0, 0));
}

/// Sends spans to a server, and gives what the OTLP exporter makes of the same ones.
fn send_spans(endpoint: String, protocol: Protocol, compression: Option<Compression>) -> Vec<ResourceSpans> {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let theirs = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_protocol(opentelemetry_otlp::Protocol::HttpBinary)
        .with_endpoint(receiver.url(SPANS))
        .build()
        .expect("their exporter");
    let ours = SpanExporter::builder()
        .with_endpoint(endpoint)
        .with_protocol(protocol)
        .with_max_batch_records(100)
        .with_spool_dir(spool.path());
    let ours = compressed(ours, compression).build().expect("an exporter");
    let handle = ours.handle();
    let provider = SdkTracerProvider::builder()
        .with_resource(resource())
        .with_batch_exporter(ours)
        .with_batch_exporter(theirs)
        .build();
    for _ in 0..ENDED / 10 {
        end_spans(&provider);
    }
    provider.force_flush().expect("a flush");
    check_delivery(&handle, ENDED);
    provider.shutdown().expect("a shutdown");
    single_spans(&on(&receiver, SPANS))
}

/// What the OTLP exporter makes of the same metrics. The end of the provider measures once more.
struct Measured {
    points: Vec<ResourceMetrics>,
    _provider: SdkMeterProvider,
    _receiver: Receiver,
    _spool: TempDir,
}

/// Sends metrics to a server.
fn send_metrics(endpoint: String, protocol: Protocol, compression: Option<Compression>) -> Measured {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let theirs = opentelemetry_otlp::MetricExporter::builder()
        .with_http()
        .with_protocol(opentelemetry_otlp::Protocol::HttpBinary)
        .with_endpoint(receiver.url(METRICS))
        .build()
        .expect("their exporter");
    let ours = MetricExporter::builder().with_endpoint(endpoint).with_protocol(protocol).with_spool_dir(spool.path());
    let ours = compressed(ours, compression).build().expect("an exporter");
    let handle = ours.handle();
    let provider = measured_by(Both { ours, theirs });
    provider.force_flush().expect("a flush");
    common::flush(&handle);
    let stats = handle.stats();
    assert_eq!((stats.lost_records, stats.rejected_records, stats.failed_requests), (0, 0, 0), "{stats:?}");
    let points = all_single_points(&on(&receiver, METRICS));
    Measured { points, _provider: provider, _receiver: receiver, _spool: spool }
}

fn compressed<S>(builder: ExporterBuilder<S>, compression: Option<Compression>) -> ExporterBuilder<S> {
    match compression {
        Some(compression) => builder.with_compression(compression),
        None => builder,
    }
}

impl Rotel {
    /// What it has passed on to a path, once there is so much.
    fn passed_on<T>(&self, path: &str, count: usize, parts: impl Fn(&[common::Request]) -> Vec<T>) -> Vec<T> {
        wait_for("what rotel passes on", || {
            let understood = parts(&on(&self.next, path));
            (understood.len() >= count).then_some(understood)
        })
    }
}

#[test]
fn rotel_understands_every_span() {
    for (protocol, compression) in ways() {
        let Some(rotel) = Rotel::start() else { return };
        let expected = send_spans(rotel.endpoint(SPANS), protocol, compression);
        let understood = rotel.passed_on(SPANS, ENDED, single_spans);
        assert_eq!(understood.len(), ENDED, "{protocol:?}, {compression:?}");
        assert_eq!(sorted(understood), sorted(expected), "{protocol:?}, {compression:?}");
    }
}

#[test]
fn rotel_understands_every_point_and_of_json_only_doubles_since_it_takes_64_bit_integers_as_numbers_alone() {
    for (protocol, compression) in ways() {
        let Some(rotel) = Rotel::start() else { return };
        let measured = send_metrics(rotel.endpoint(METRICS), protocol, compression);
        assert_eq!(measured.points.len(), POINTS);
        let is_understood = |point: &ResourceMetrics| protocol == Protocol::HttpBinary || is_double(point);
        let expected: Vec<_> = measured.points.iter().filter(|point| is_understood(point)).collect();
        let understood = rotel.passed_on(METRICS, expected.len(), |requests| {
            let mut points = all_single_points(requests);
            points.retain(is_understood);
            points
        });
        assert_eq!(sorted(understood), sorted(expected), "{protocol:?}, {compression:?}");
    }
}

fn is_double(point: &ResourceMetrics) -> bool {
    let points = match &point.scope_metrics[0].metrics[0].data {
        Some(Data::Gauge(gauge)) => &gauge.data_points,
        Some(Data::Sum(sum)) => &sum.data_points,
        _ => return false,
    };
    matches!(points[0].value, Some(number_data_point::Value::AsDouble(_)))
}

/// The resource and the scope of a span or a metric, as mock-collector keeps them: their attributes alone.
fn around(kept: &Value) -> (Option<ProtoResource>, Option<ProtoScope>) {
    let attributes = |of: &str| -> Vec<proto::KeyValue> {
        let mut attributes: Vec<_> = serde_json::from_value(kept[of].clone()).expect("attributes");
        sort(&mut attributes);
        attributes
    };
    let resource = ProtoResource { attributes: attributes("resource"), ..Default::default() };
    (Some(resource), Some(ProtoScope { attributes: attributes("scope"), ..Default::default() }))
}

/// Asks mock-collector what it has.
fn kept(collector: &mut Program, signal: &str) -> Vec<Value> {
    collector.tell(signal);
    serde_json::from_str(&collector.line()).expect("JSON")
}

fn without_names(scope: &mut Option<ProtoScope>) {
    if let Some(scope) = scope {
        scope.name.clear();
        scope.version.clear();
    }
}

#[test]
fn mock_collector_understands_every_span() {
    for (protocol, compression) in ways() {
        let Some(mut collector) = mock_collector(protocol) else { return };
        let mut expected = send_spans(format!("{}{SPANS}", collector.line()), protocol, compression);
        for resource in &mut expected {
            resource.schema_url.clear();
            for scope in &mut resource.scope_spans {
                scope.schema_url.clear();
                without_names(&mut scope.scope);
            }
        }
        let of_span = |kept: &Value| {
            let (resource, scope) = around(kept);
            let spans = vec![serde_json::from_value(kept["record"].clone()).expect("a span")];
            let scope_spans = vec![ScopeSpans { scope, spans, ..Default::default() }];
            ResourceSpans { resource, scope_spans, ..Default::default() }
        };
        let understood: Vec<_> = kept(&mut collector, "spans").iter().map(of_span).collect();
        assert_eq!(understood.len(), ENDED, "{protocol:?}, {compression:?}");
        assert_eq!(sorted(understood), sorted(expected), "{protocol:?}, {compression:?}");
    }
}

#[test]
fn mock_collector_understands_every_point() {
    for (protocol, compression) in ways() {
        let Some(mut collector) = mock_collector(protocol) else { return };
        let mut measured = send_metrics(format!("{}{METRICS}", collector.line()), protocol, compression);
        for resource in &mut measured.points {
            resource.schema_url.clear();
            for scope in &mut resource.scope_metrics {
                scope.schema_url.clear();
                without_names(&mut scope.scope);
            }
        }
        let of_metric = |kept: &Value| -> Vec<ResourceMetrics> {
            let (resource, scope) = around(kept);
            let metric = serde_json::from_value(kept["record"].clone()).expect("a metric");
            let of_point = |point| {
                let scope = ScopeMetrics { scope: scope.clone(), metrics: vec![point], ..Default::default() };
                ResourceMetrics { resource: resource.clone(), scope_metrics: vec![scope], ..Default::default() }
            };
            single_points(&metric).into_iter().map(of_point).collect()
        };
        let understood: Vec<_> = kept(&mut collector, "metrics").iter().flat_map(of_metric).collect();
        assert_eq!(understood.len(), POINTS, "{protocol:?}, {compression:?}");
        assert_eq!(sorted(understood), sorted(measured.points), "{protocol:?}, {compression:?}");
    }
}
