//! Metrics: their names, units and values, and that the chapter says of them what is so.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::{Answer, Receiver, Service, exporter, spool_dir};
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, Metric, MetricData, ResourceMetrics, ScopeMetrics};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, SdkMeterProvider};
use opentelemetry_spool::LogExporterBuilder;

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
            histogram.data_points().map(|at| point("histogram", at.attributes().collect(), at.count() as f64)).collect()
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

#[test]
fn the_chapter_names_every_instrument_with_its_kind_and_unit() {
    let (receiver, spool, meters) = (Receiver::start(), spool_dir(), Meters::new());
    let _service = busy(exporter(&receiver, &spool).with_meter_provider(&meters.provider), &receiver);
    let there: BTreeSet<_> =
        meters.collect().into_iter().map(|point| (point.name, point.kind.to_owned(), point.unit)).collect();
    let rows = CHAPTER.lines().filter_map(|line| line.strip_prefix("| `")).filter(|row| !row.starts_with("Spool."));
    let told: BTreeSet<_> = rows
        .map(|row| {
            let cells: Vec<_> = row.split(" | ").map(|cell| cell.trim_matches('`').to_owned()).collect();
            (cells[0].clone(), cells[1].clone(), cells[2].clone())
        })
        .collect();
    assert_eq!(there, told);
}

#[test]
fn the_queries_ask_for_series_and_labels_that_there_are() {
    let (receiver, spool, meters) = (Receiver::start(), spool_dir(), Meters::new());
    let _service = busy(exporter(&receiver, &spool).with_meter_provider(&meters.provider), &receiver);
    let points = meters.collect();
    let series: BTreeSet<_> = points.iter().flat_map(translated).collect();
    let labels: BTreeSet<_> =
        points.iter().flat_map(|point| point.attributes.keys()).map(|key| key.replace('.', "_")).collect();
    let language = [
        "sum",
        "by",
        "max",
        "deriv",
        "rate",
        "increase",
        "and",
        "histogram_quantile", // PromQL's own
        "instance",
        "le", // what Prometheus adds
        "m",
        "h", // units of time
    ];
    let queries: Vec<_> = CHAPTER.split("```promql\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(queries.len() >= 10, "{queries:?}");
    for query in queries {
        let values_left_out: String = query.split('"').step_by(2).collect();
        let words =
            values_left_out.split(|c: char| !c.is_ascii_alphabetic() && c != '_').filter(|word| !word.is_empty());
        for word in words {
            let known = series.contains(word) || labels.contains(word) || language.contains(&word);
            assert!(known, "{word} in {query} is none of {series:#?}, {labels:#?}");
        }
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
    assert_eq!(service.handle.stats().disk_bytes, None);
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
    assert_eq!(batches.count(), 1);
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
        assert_eq!(meters.value("opentelemetry_spool.lost", &[("reason", reason)]), Some(expected), "{reason}");
    }
    assert_eq!(meters.value("otel.sdk.exporter.log.exported", &[("error.type", "expired")]), Some(1.0));
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

#[cfg(feature = "trace")]
#[test]
fn an_exporter_of_spans_has_the_names_of_spans() {
    let (receiver, spool, meters) = (Receiver::start(), spool_dir(), Meters::new());
    let exporter = opentelemetry_spool::SpanExporter::builder()
        .with_endpoint(receiver.url("/v1/traces"))
        .with_spool_dir(spool.path())
        .with_meter_provider(&meters.provider)
        .build()
        .expect("an exporter");
    let points = meters.collect();
    assert!(points.iter().all(|point| point.attributes["otel.component.type"] == "opentelemetry_spool::SpanExporter"));
    let names: BTreeSet<_> = points.iter().map(|point| &*point.name).filter(|name| name.contains("sdk")).collect();
    assert_eq!(names, BTreeSet::from(["otel.sdk.exporter.span.exported", "otel.sdk.exporter.span.inflight"]));
    drop(exporter);
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
