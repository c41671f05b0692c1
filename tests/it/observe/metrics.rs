//! Metrics: their names, units and values, and that the chapter says of them what is so.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use common::children::NEVER;
use common::children::processor::{lossless, service as with_processor};
use common::{Answer, Receiver, Service, exporter, flush, noise, spool_dir};
use opentelemetry::KeyValue;
use opentelemetry::logs::LogRecord as _;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry::trace::{Span as _, Tracer as _, TracerProvider as _};
use opentelemetry_sdk::metrics::data::{
    AggregatedMetrics, HistogramDataPoint, Metric, MetricData, ResourceMetrics, ScopeMetrics,
};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, SdkMeterProvider};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanProcessor as _};
use opentelemetry_spool::{LogExporterBuilder, MetricExporter, Protocol, SpanExporter, SpoolProcessor};

const CHAPTER: &str = include_str!("../../../src/docs/metrics.md");

/// A series, as it was collected.
#[derive(Clone, Debug)]
struct Point {
    name: String,
    unit: String,
    kind: &'static str,
    attributes: BTreeMap<String, String>,
    /// The value; for a histogram the number of values.
    value: f64,
    /// The bounds of a histogram's buckets.
    bounds: Option<Vec<f64>>,
}

/// A meter provider that is asked when a test wants to.
struct Meters {
    provider: SdkMeterProvider,
    exporter: InMemoryMetricExporter,
}

impl Meters {
    fn new() -> Self {
        let exporter = InMemoryMetricExporter::default();
        Self { provider: SdkMeterProvider::builder().with_periodic_exporter(exporter.clone()).build(), exporter }
    }

    fn collect(&self) -> Vec<Point> {
        self.exporter.reset();
        self.provider.force_flush().expect("metrics are collected");
        let collected = self.exporter.get_finished_metrics().expect("what was collected");
        let scopes = collected.iter().flat_map(ResourceMetrics::scope_metrics);
        scopes
            .filter(|scope| scope.scope().name() == "opentelemetry-spool")
            .flat_map(ScopeMetrics::metrics)
            .flat_map(points)
            .collect()
    }

    /// The value of the only series with these attributes, besides those that every one has.
    fn value(&self, name: &str, attributes: &[(&str, &str)]) -> Option<f64> {
        let points = self.collect();
        let is_common = |key: &str| key.starts_with("otel.component.") || key.starts_with("server.");
        let mut found = points.iter().filter(|point| point.name == name).filter(|point| {
            let own = point.attributes.iter().filter(|(key, _)| !is_common(key));
            own.map(|(key, value)| (key.as_str(), value.as_str())).eq(attributes.iter().copied())
        });
        let value = found.next().map(|point| point.value);
        assert!(found.next().is_none(), "more than one {name} with {attributes:?}: {points:#?}");
        value
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of tests are small")]
fn points(metric: &Metric) -> Vec<Point> {
    let point = |kind, attributes: Vec<&opentelemetry::KeyValue>, value| Point {
        name: metric.name().to_owned(),
        unit: metric.unit().to_owned(),
        kind,
        attributes: attributes.iter().map(|pair| (pair.key.to_string(), pair.value.to_string())).collect(),
        value,
        bounds: None,
    };
    match metric.data() {
        AggregatedMetrics::U64(MetricData::Sum(sum)) if sum.is_monotonic() => {
            sum.data_points().map(|at| point("counter", at.attributes().collect(), at.value() as f64)).collect()
        }
        AggregatedMetrics::I64(MetricData::Sum(sum)) if !sum.is_monotonic() => {
            sum.data_points().map(|at| point("up-down counter", at.attributes().collect(), at.value() as f64)).collect()
        }
        AggregatedMetrics::F64(MetricData::Gauge(gauge)) => {
            gauge.data_points().map(|at| point("gauge", at.attributes().collect(), at.value())).collect()
        }
        AggregatedMetrics::F64(MetricData::Histogram(histogram)) => {
            let with_bounds = |at: &HistogramDataPoint<f64>| Point {
                bounds: Some(at.bounds().collect()),
                ..point("histogram", at.attributes().collect(), at.count() as f64)
            };
            histogram.data_points().map(with_bounds).collect()
        }
        other => panic!("{} is of no kind that there should be: {other:?}", metric.name()),
    }
}

/// As Prometheus calls a series of an instrument.
fn translated(point: &Point) -> Vec<String> {
    let mut name = point.name.replace('.', "_");
    let unit = match point.unit.as_str() {
        "By" => "_bytes",
        "s" => "_seconds",
        _ => "",
    };
    name.push_str(unit);
    match point.kind {
        "counter" => vec![name + "_total"],
        "histogram" => ["_bucket", "_count", "_sum"].map(|suffix| name.clone() + suffix).to_vec(),
        _ => vec![name],
    }
}

/// A service that has done a bit of everything: delivered, retried and rejected. The record that is rejected is refused while
/// live ones are taken; one waits.
fn busy(exporter: LogExporterBuilder, receiver: &Receiver) -> Service {
    let service = Service::simple(exporter);
    receiver.answer_next(Answer::status(503));
    service.log("delivered");
    service.deliver();
    receiver.answer_by(|request| {
        let refused = request.messages.iter().any(|message| message == "rejected");
        Answer::status(if refused { 422 } else { 200 })
    });
    service.log("rejected");
    service.wait_for_rejected(1);
    service.deliver();
    service.handle.pause();
    service.log("waits");
    service.sync();
    service
}

/// Exporters and processors of all signals, of which that of logs has done a bit of everything. They report until this is dropped.
fn all_signals(receiver: &Receiver, spool: &tempfile::TempDir, meters: &Meters) -> Vec<Box<dyn Any>> {
    let busy = busy(exporter(receiver, spool).with_meter_provider(&meters.provider), receiver);
    let logs = with_processor(exporter(receiver, spool).with_meter_provider(&meters.provider), lossless);
    logs.log("for the mean size");
    let processor = SpoolProcessor::new(spans(receiver, spool, meters)).expect("a processor");
    let spans = SdkTracerProvider::builder().with_span_processor(processor).build();
    spans.tracer("test").start("for the mean size").end();
    let points = MetricExporter::builder().with_endpoint(receiver.url("/v1/metrics")).with_spool_dir(spool.path());
    let points = points.with_meter_provider(&meters.provider).build().expect("an exporter");
    vec![Box::new(busy), Box::new(logs), Box::new(spans), Box::new(points)]
}

fn spans(receiver: &Receiver, spool: impl AsRef<Path>, meters: &Meters) -> SpanExporter {
    let builder = SpanExporter::builder().with_endpoint(receiver.url("/v1/traces")).with_spool_dir(spool.as_ref());
    builder.with_meter_provider(&meters.provider).build().expect("an exporter")
}

#[test]
fn the_chapter_names_every_instrument_with_its_kind_and_unit() {
    let (receiver, spool, meters) = (Receiver::start(), spool_dir(), Meters::new());
    let _services = all_signals(&receiver, &spool, &meters);
    let there: BTreeSet<_> =
        meters.collect().into_iter().map(|point| (point.name, point.kind.to_owned(), point.unit)).collect();
    let rows = CHAPTER.lines().filter_map(|line| line.strip_prefix("| `")).filter(|row| !row.starts_with("Spool."));
    // The relay's page has names of Prometheus, without a dot.
    let rows = rows.filter(|row| row.split('`').next().is_some_and(|name| name.contains('.')));
    let mut told = BTreeSet::new();
    for row in rows {
        let cells: Vec<_> = row.split(" | ").map(|cell| cell.trim_matches('`')).collect();
        // A row for the metrics of several signals, each with its unit.
        let Some((before, rest)) = cells[0].split_once('{') else {
            told.insert((cells[0].to_owned(), cells[1].to_owned(), cells[2].to_owned()));
            continue;
        };
        let (signals, after) = rest.split_once('}').expect("a list of signals");
        for (signal, unit) in signals.split(',').zip(cells[2].split("`, `")) {
            told.insert((format!("{before}{signal}{after}"), cells[1].to_owned(), unit.to_owned()));
        }
    }
    assert_eq!(there, told);
}

/// The words that a query may have.
pub(super) struct Vocabulary {
    pub(super) series: BTreeSet<String>,
    pub(super) labels: BTreeSet<String>,
}

impl Vocabulary {
    /// `PromQL`'s own, what Prometheus adds to every series, and units of time.
    const LANGUAGE: [&str; 16] = [
        "sum",
        "min",
        "max",
        "count",
        "by",
        "deriv",
        "rate",
        "increase",
        "and",
        "histogram_quantile",
        "instance",
        "le",
        "__name__",
        "s",
        "m",
        "h",
    ];

    /// What exporters and processors of all signals report, as Prometheus has it.
    pub(super) fn of_exporters() -> Self {
        let (receiver, spool, meters) = (Receiver::start(), spool_dir(), Meters::new());
        let _services = all_signals(&receiver, &spool, &meters);
        let points = meters.collect();
        let labels = points.iter().flat_map(|point| point.attributes.keys()).map(|key| key.replace('.', "_")).collect();
        Self { series: points.iter().flat_map(translated).collect(), labels }
    }

    /// The words of a query that are neither of the language nor of what there is.
    pub(super) fn unknown(&self, query: &str) -> Vec<String> {
        let values_left_out: String = query.split('"').step_by(2).collect();
        let words = values_left_out.split(|c: char| !c.is_ascii_alphabetic() && c != '_').map(str::to_owned);
        let is_known = |word: &str| {
            word.is_empty()
                || self.series.contains(word)
                || self.labels.contains(word)
                || Self::LANGUAGE.contains(&word)
        };
        words.filter(|word| !is_known(word)).collect()
    }
}

#[test]
fn the_queries_ask_for_series_and_labels_that_there_are() {
    let vocabulary = Vocabulary::of_exporters();
    let queries: Vec<_> = CHAPTER.split("```promql\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(queries.len() >= 10, "{queries:?}");
    // A pattern names these.
    for item in ["log", "span", "metric_data_point"] {
        let series = format!("otel_sdk_exporter_{item}_exported_total");
        assert!(vocabulary.series.contains(&series), "{:#?}", vocabulary.series);
    }
    for query in queries {
        let (unknown, Vocabulary { series, labels }) = (vocabulary.unknown(query), &vocabulary);
        assert!(unknown.is_empty(), "{unknown:?} in {query} are none of {series:#?}, {labels:#?}");
    }
}

#[test]
#[expect(clippy::cast_precision_loss, reason = "counts of tests are small")]
fn the_values_are_those_of_the_stats() {
    let (receiver, spool, meters) = (Receiver::start(), spool_dir(), Meters::new());
    let builder = exporter(&receiver, &spool).with_meter_provider(&meters.provider).with_max_spool_bytes(9 << 20);
    let service = busy(builder, &receiver);
    let stats = service.handle.stats();
    let live = receiver.delivered().len() as u64 - 1;
    assert_eq!((stats.delivered_records, stats.rejected_records, stats.pending_records), (1 + live, 1, 1), "{stats:?}");
    assert_eq!(stats.accepted_records, 3 + live, "{stats:?}");
    assert_eq!(stats.requests, receiver.requests().len() as u64, "{stats:?}");
    assert!(stats.retries >= 1 && stats.probed_records <= live, "{stats:?}");
    for (name, expected) in [
        ("otel.sdk.exporter.log.exported", stats.delivered_records),
        ("otel.sdk.exporter.log.inflight", stats.pending_records),
        ("http.client.active_requests", stats.in_flight_requests),
        ("opentelemetry_spool.accepted", stats.accepted_records),
        ("opentelemetry_spool.pending", stats.pending_records),
        ("opentelemetry_spool.disk.limit", 9 << 20),
        ("opentelemetry_spool.segment.count", stats.segments),
        ("opentelemetry_spool.retries", stats.retries),
    ] {
        assert_eq!(meters.value(name, &[]), Some(expected as f64), "{name}");
    }
    let rejected = meters.value("otel.sdk.exporter.log.exported", &[("error.type", "rejected")]);
    assert_eq!(rejected, Some(1.0));
    assert!(meters.value("opentelemetry_spool.disk.usage", &[]) > Some(0.0));
    let (before, oldest) = (stats.oldest_age.expect("one waits"), meters.value("opentelemetry_spool.pending.age", &[]));
    assert!(oldest >= Some(before.as_secs_f64()), "{oldest:?} and before that {before:?}");
}

/// As when its volume is taken away.
#[test]
fn the_size_of_a_directory_that_cannot_be_read_is_unknown_and_not_zero() {
    let (receiver, dir, meters) = (Receiver::start_down(), spool_dir(), Meters::new());
    let (spool, away) = (dir.path().join("spool"), dir.path().join("away"));
    let service = Service::simple(exporter(&receiver, &spool).with_meter_provider(&meters.provider));
    service.log("kept");
    let disk_bytes = || (service.handle.stats().disk_bytes, meters.value("opentelemetry_spool.disk.usage", &[]));
    assert!(matches!(disk_bytes(), (Some(1..), Some(1.0..))), "{:?}", disk_bytes());
    std::fs::rename(&spool, &away).expect("a directory that can be renamed");
    assert_eq!(disk_bytes(), (None, None));
    assert_eq!(meters.value("opentelemetry_spool.pending", &[]), Some(1.0), "the rest is still known");
    std::fs::rename(&away, &spool).expect("a directory that can be renamed");
    assert!(matches!(disk_bytes(), (Some(1..), Some(1.0..))), "{:?}", disk_bytes());
    let _ = service.provider.shutdown();
    assert!(matches!(service.handle.stats().disk_bytes, Some(1..)), "{:?}", service.handle.stats());
}

#[test]
fn requests_in_flight_are_counted_until_their_response() {
    let (receiver, spool, meters) = (Receiver::start(), spool_dir(), Meters::new());
    let service = Service::simple(exporter(&receiver, &spool).with_meter_provider(&meters.provider));
    receiver.answer_next(Answer::hang());
    service.log("held");
    receiver.wait_for_requests(1);
    assert_eq!(meters.value("http.client.active_requests", &[]), Some(1.0));
    assert_eq!(service.handle.stats().in_flight_requests, 1);
    receiver.release();
    service.deliver();
    service.wait_for_stats("the end of the request", |stats| stats.in_flight_requests == 0);
    assert_eq!(meters.value("http.client.active_requests", &[]), Some(0.0));
}

#[test]
fn each_request_is_timed_and_a_batch_once_with_all_its_requests() {
    let (receiver, spool, meters) = (Receiver::start(), spool_dir(), Meters::new());
    let service = Service::simple(exporter(&receiver, &spool).with_meter_provider(&meters.provider));
    receiver.answer_next(Answer::status(503));
    receiver.answer_next(Answer::Reset);
    service.log("delivered");
    service.deliver();
    let request = |attributes: &[(&str, &str)]| meters.value("http.client.request.duration", attributes);
    let (post, ok) = (("http.request.method", "POST"), ("http.response.status_code", "200"));
    assert_eq!(request(&[post, ok]), Some(1.0));
    assert_eq!(request(&[("error.type", "503"), post, ("http.response.status_code", "503")]), Some(1.0));
    assert_eq!(request(&[("error.type", "interrupted"), post]), Some(1.0));
    assert_eq!(meters.value("otel.sdk.exporter.operation.duration", &[ok]), Some(1.0));
    let batches = meters.collect().into_iter().filter(|point| point.name == "otel.sdk.exporter.operation.duration");
    let bounds: Vec<_> = batches.map(|point| point.bounds).collect();
    assert_eq!(bounds, [Some(Vec::new())], "one, in the single bucket that the conventions advise");
}

#[test]
fn a_batch_that_is_split_and_one_that_is_rejected_end_with_the_status_of_their_response() {
    let (receiver, spool, meters) = (Receiver::start(), spool_dir(), Meters::new());
    receiver.answer_by(|request| match &request.messages[..] {
        [one] if one == "rejected" => Answer::status(422),
        [_] => Answer::ok(),
        _ => Answer::status(413),
    });
    let service = Service::batch(exporter(&receiver, &spool).with_meter_provider(&meters.provider));
    service.handle.pause();
    service.log_these(&["first", "rejected"]);
    service.sync();
    service.handle.resume();
    service.wait_for_rejected(1);
    service.deliver();
    let ended = |status| {
        let attributes = [("error.type", status), ("http.response.status_code", status)];
        meters.value("otel.sdk.exporter.operation.duration", &attributes)
    };
    assert!(ended("413") >= Some(1.0));
    assert_eq!(ended("422"), Some(1.0));
}

#[test]
#[expect(clippy::cast_precision_loss, reason = "counts of tests are small")]
fn losses_are_reported_by_reason() {
    const MAX_AGE: Duration = Duration::from_millis(50);
    let (receiver, spool, meters) = (Receiver::start(), spool_dir(), Meters::new());
    let builder = exporter(&receiver, &spool)
        .with_meter_provider(&meters.provider)
        .with_max_age(MAX_AGE)
        .with_partition_key(|record, _| match record.body() {
            Some(body) if format!("{body:?}").contains("bad") => panic!("a partition key function that panics"),
            _ => String::new(),
        });
    let service = Service::simple(builder);
    service.handle.pause();
    service.log("bad");
    service.log("too old soon");
    service.wait_for_stats("a record that is too old", |stats| stats.oldest_age > Some(MAX_AGE));
    service.handle.resume();
    service.wait_for_stats("what expires", |stats| stats.expired_records == 1);
    for (reason, expected) in [
        ("expired", 1.0),
        ("encode_failed", 1.0),
        ("evicted", 0.0),
        ("not_written", 0.0),
        ("corrupt", 0.0),
        ("buffer_full", 0.0),
    ] {
        let reason = [("opentelemetry_spool.loss.reason", reason)];
        assert_eq!(meters.value("opentelemetry_spool.lost", &reason), Some(expected), "{reason:?}");
        let bytes = meters.value("opentelemetry_spool.lost.size", &reason);
        // A record that was not encoded has no size.
        let has_size = expected > 0.0 && reason[0].1 != "encode_failed";
        assert_eq!(bytes > Some("too old soon".len() as f64), has_size, "{reason:?}: {bytes:?}");
    }
    assert_eq!(meters.value("otel.sdk.exporter.log.exported", &[("error.type", "expired")]), Some(1.0));
}

#[test]
#[expect(clippy::cast_precision_loss, reason = "counts of tests are small")]
fn what_is_evicted_is_measured_by_the_size_of_its_segment() {
    let (receiver, spool, meters) = (Receiver::start_down(), spool_dir(), Meters::new());
    let builder = exporter(&receiver, &spool)
        .with_meter_provider(&meters.provider)
        .with_segment_bytes(1 << 20)
        .with_max_spool_bytes(8 << 20);
    let service = Service::simple(builder);
    for number in 1..200 {
        service.log_with(&number.to_string(), |record| record.add_attribute("padding", noise(100_000)));
    }
    let evicted = service.handle.stats().evicted_records;
    assert!(evicted > 0);
    let bytes = meters.value("opentelemetry_spool.lost.size", &[("opentelemetry_spool.loss.reason", "evicted")]);
    let expected = 100_000.0 * evicted as f64;
    assert!(bytes > Some(expected) && bytes < Some(1.5 * expected), "{bytes:?}, not about {expected}");
}

#[test]
fn an_exporter_that_is_shut_down_reports_nothing_and_is_not_kept_alive() {
    let (receiver, spool, meters) = (Receiver::start(), spool_dir(), Meters::new());
    let service = busy(exporter(&receiver, &spool).with_meter_provider(&meters.provider), &receiver);
    assert!(!meters.collect().is_empty());
    service.provider.shutdown().expect("a shutdown");
    let left: Vec<_> = meters.collect().into_iter().filter(|point| point.kind != "histogram").collect();
    assert!(left.is_empty(), "{left:#?}");
    // Its directory is free: the next one adopts what was left, and can be distinguished from the first.
    let next = Service::simple(exporter(&receiver, &spool).with_meter_provider(&meters.provider));
    next.deliver();
    let delivered: Vec<_> = receiver.delivered().into_iter().filter(|message| !message.starts_with("live")).collect();
    assert_eq!(delivered, ["delivered", "waits"]);
    assert_eq!(meters.value("otel.sdk.exporter.log.exported", &[]), Some(1.0));
}

#[test]
fn exporters_are_told_apart_and_say_where_they_send_to() {
    let (receiver, first, second, meters) = (Receiver::start(), spool_dir(), spool_dir(), Meters::new());
    let services = [&first, &second]
        .map(|spool| Service::simple(exporter(&receiver, spool).with_meter_provider(&meters.provider)));
    services[0].log("one");
    services[0].deliver();
    let points = meters.collect();
    let accepted: Vec<_> = points.iter().filter(|point| point.name == "opentelemetry_spool.accepted").collect();
    let mut counts: Vec<_> = accepted.iter().map(|point| point.value).collect();
    counts.sort_by(f64::total_cmp);
    assert_eq!(counts, [0.0, 1.0]);
    let names: BTreeSet<_> = accepted.iter().map(|point| &point.attributes["otel.component.name"]).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    for point in &points {
        let (address, port) = (&point.attributes["server.address"], &point.attributes["server.port"]);
        assert_eq!(format!("http://{address}:{port}/"), receiver.url("/"));
        assert_eq!(point.attributes["otel.component.type"], "opentelemetry_spool::LogExporter");
    }
}

// --- by signal ------------------------------------------------------------------------------------------------------

/// The only value of `otel.component.type` among what an exporter reports.
fn component_type(meters: &Meters) -> String {
    let types: BTreeSet<_> =
        meters.collect().into_iter().map(|mut point| point.attributes.remove("otel.component.type")).collect();
    let types: Vec<_> = types.into_iter().flatten().collect();
    let [one] = &types[..] else { panic!("not one: {types:?}") };
    one.clone()
}

#[test]
fn an_exporter_of_otlp_has_the_type_that_the_conventions_name() {
    let receiver = Receiver::start();
    for (protocol, json) in [(Protocol::HttpBinary, ""), (Protocol::HttpJson, "json_")] {
        let (spool, meters) = (spool_dir(), Meters::new());
        let logs = exporter(&receiver, &spool).with_meter_provider(&meters.provider).with_protocol(protocol).build();
        assert_eq!(component_type(&meters), format!("otlp_http_{json}log_exporter"));
        drop(logs);
        let meters = Meters::new();
        let spans = SpanExporter::builder().with_spool_dir(spool.path()).with_meter_provider(&meters.provider);
        let spans = spans.with_protocol(protocol).build();
        assert_eq!(component_type(&meters), format!("otlp_http_{json}span_exporter"));
        drop(spans);
        let meters = Meters::new();
        let points = MetricExporter::builder().with_spool_dir(spool.path()).with_meter_provider(&meters.provider);
        let points = points.with_protocol(protocol).build();
        assert_eq!(component_type(&meters), format!("otlp_http_{json}metric_exporter"));
        drop(points);
    }
}

#[test]
fn spans_are_counted_under_the_names_of_spans() {
    let (receiver, spool, meters) = (Receiver::start_down(), spool_dir(), Meters::new());
    let exporter = spans(&receiver, &spool, &meters);
    let handle = exporter.handle();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter).build();
    for name in ["one", "two"] {
        provider.tracer("test").start(name).end();
    }
    assert_eq!(meters.value("otel.sdk.exporter.span.inflight", &[]), Some(2.0));
    receiver.come_up();
    flush(&handle);
    assert_eq!(meters.value("otel.sdk.exporter.span.inflight", &[]), Some(0.0));
    assert_eq!(meters.value("otel.sdk.exporter.span.exported", &[]), Some(2.0));
    assert_eq!(meters.value("otel.sdk.exporter.log.exported", &[]), None);
}

#[test]
fn metrics_are_counted_in_points() {
    for protocol in [Protocol::HttpBinary, Protocol::HttpJson] {
        let (receiver, spool, meters) = (Receiver::start_down(), spool_dir(), Meters::new());
        let exporter = MetricExporter::builder().with_endpoint(receiver.url("/v1/metrics")).with_protocol(protocol);
        let exporter = exporter.with_spool_dir(spool.path()).with_meter_provider(&meters.provider);
        let exporter = exporter.with_retry_policy(common::impatient()).build().expect("an exporter");
        let handle = exporter.handle();
        let provider = SdkMeterProvider::builder().with_periodic_exporter(exporter).build();
        let meter = provider.meter("test");
        let counter = meter.u64_counter("visits").build();
        // Two records, of 64 points and of 36.
        (0..100).for_each(|shop| counter.add(1, &[KeyValue::new("shop", shop)]));
        meter.f64_gauge("warmth").build().record(21.5, &[]);
        provider.force_flush().expect("a flush");
        assert_eq!(handle.stats().pending_records, 3);
        assert_eq!(meters.value("otel.sdk.exporter.metric_data_point.inflight", &[]), Some(101.0));
        // Its own library's form of `{ partial_success { rejected_data_points: 2 } }`.
        let body = if protocol == Protocol::HttpJson {
            r#"{"partialSuccess":{"rejectedDataPoints":"2"}}"#
        } else {
            "\n\u{2}\u{8}\u{2}"
        };
        receiver.answer_next(Answer::ok().body(body));
        receiver.come_up();
        flush(&handle);
        let ended = |attributes: &[_]| meters.value("otel.sdk.exporter.metric_data_point.exported", attributes);
        assert_eq!(meters.value("otel.sdk.exporter.metric_data_point.inflight", &[]), Some(0.0));
        assert_eq!((ended(&[]), ended(&[("error.type", "rejected")])), (Some(99.0), Some(2.0)), "{protocol:?}");
    }
}

// --- the processor --------------------------------------------------------------------------------------------------

#[test]
fn a_processor_reports_what_is_in_its_buffer_and_what_it_has_passed_on() {
    let (receiver, spool, meters) = (Receiver::start(), spool_dir(), Meters::new());
    let service = with_processor(exporter(&receiver, &spool).with_meter_provider(&meters.provider), |it| {
        it.with_commit_delay(NEVER).with_max_buffer_bytes(1 << 20)
    });
    let value = |name: &str| meters.value(&format!("otel.sdk.processor.log.{name}"), &[]);
    assert_eq!((value("processed"), value("queue.size"), value("queue.capacity")), (Some(0.0), Some(0.0), None));
    service.log_all("m", 1..=3);
    assert_eq!((value("processed"), value("queue.size")), (Some(0.0), Some(3.0)));
    let usage = meters.value("opentelemetry_spool.buffer.usage", &[]).expect("a size");
    let limit = meters.value("opentelemetry_spool.buffer.limit", &[]).expect("a limit");
    assert!(usage > 0.0 && (limit - 1_048_576.0).abs() < 0.5, "{usage} of {limit}");
    assert_eq!(value("queue.capacity"), Some((limit / (usage / 3.0)).floor()), "records of the mean size");
    service.sync();
    assert_eq!((value("processed"), value("queue.size")), (Some(3.0), Some(0.0)));
    let points = meters.collect();
    let of_processor = points.iter().filter(|point| point.name.contains(".processor."));
    for point in of_processor {
        assert_eq!(point.attributes["otel.component.type"], "opentelemetry_spool::SpoolProcessor");
        assert!(!point.attributes.contains_key("server.address"), "{point:?}");
    }
}

#[test]
#[expect(clippy::cast_precision_loss, reason = "counts of tests are small")]
fn a_record_that_a_processor_has_no_room_for_is_queue_full_and_was_not_exported() {
    let (receiver, spool, meters) = (Receiver::start(), spool_dir(), Meters::new());
    let service = with_processor(exporter(&receiver, &spool).with_meter_provider(&meters.provider), |it| {
        it.with_max_wait(Duration::ZERO).with_max_buffer_bytes(1)
    });
    // Each waits until the one before is synced, or rather does not.
    service.log_all("m", 1..=1_000);
    service.sync();
    let lost = service.handle.stats().buffer_full_records as f64;
    assert!(lost > 0.0);
    let processed = |attributes: &[_]| meters.value("otel.sdk.processor.log.processed", attributes);
    assert_eq!(processed(&[("error.type", "queue_full")]), Some(lost));
    assert_eq!(processed(&[]), Some(1_000.0 - lost));
    let reason = [("opentelemetry_spool.loss.reason", "buffer_full")];
    assert_eq!(meters.value("opentelemetry_spool.lost", &reason), Some(lost));
    assert!(meters.value("opentelemetry_spool.lost.size", &reason) > Some(20.0 * lost));
    assert_eq!(meters.value("otel.sdk.exporter.log.exported", &[("error.type", "buffer_full")]), None);
}

#[test]
fn a_record_that_comes_after_the_shutdown_is_already_shutdown() {
    let (receiver, spool, meters) = (Receiver::start(), spool_dir(), Meters::new());
    let service = with_processor(exporter(&receiver, &spool).with_meter_provider(&meters.provider), lossless);
    service.log("one");
    service.provider.shutdown().expect("a shutdown");
    service.log("late");
    service.log("later");
    let processed = |attributes: &[_]| meters.value("otel.sdk.processor.log.processed", attributes);
    assert_eq!(processed(&[("error.type", "already_shutdown")]), Some(2.0));
    assert_eq!((processed(&[]), processed(&[("error.type", "queue_full")])), (Some(1.0), Some(0.0)));
}

/// The SDK ends no span after a shutdown, so that the processor is asked by itself.
#[test]
fn a_processor_of_spans_has_the_names_of_spans() {
    let (receiver, spool, meters) = (Receiver::start(), spool_dir(), Meters::new());
    let ended = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(ended.clone()).build();
    provider.tracer("test").start("a span").end();
    let span = ended.get_finished_spans().expect("a span").remove(0);
    let exporter = spans(&receiver, &spool, &meters);
    let processor = SpoolProcessor::builder(exporter).with_max_wait(Duration::ZERO).with_max_buffer_bytes(1);
    let processor = processor.build().expect("a processor");
    for _ in 0..1_000 {
        processor.on_end(span.clone());
    }
    processor.force_flush().expect("a flush");
    let processed = |attributes: &[_]| meters.value("otel.sdk.processor.span.processed", attributes).unwrap_or(-1.0);
    let (passed_on, lost) = (processed(&[]), processed(&[("error.type", "queue_full")]));
    assert!(passed_on > 0.0 && lost > 0.0 && (passed_on + lost - 1_000.0).abs() < 0.5, "{passed_on}, {lost}");
    assert_eq!(meters.value("otel.sdk.processor.span.queue.size", &[]), Some(0.0));
    assert_eq!(meters.value("otel.sdk.processor.span.queue.capacity", &[]), Some(1.0));
    processor.shutdown().expect("a shutdown");
    processor.on_end(span);
    assert!((processed(&[("error.type", "already_shutdown")]) - 1.0).abs() < 0.5);
}

#[test]
fn without_a_provider_of_its_own_an_exporter_reports_to_the_global_one() {
    let (receiver, spool, meters) = (Receiver::start(), spool_dir(), Meters::new());
    opentelemetry::global::set_meter_provider(meters.provider.clone());
    let service = Service::simple(exporter(&receiver, &spool));
    service.log("one");
    // Exporters of other tests in this process report to it as well.
    let port = receiver.url("").rsplit(':').next().map(str::to_owned);
    let points = meters.collect();
    let own: Vec<_> = points
        .iter()
        .filter(|point| {
            point.name == "opentelemetry_spool.accepted" && point.attributes.get("server.port") == port.as_ref()
        })
        .map(|point| point.value)
        .collect();
    assert_eq!(own, [1.0]);
}
