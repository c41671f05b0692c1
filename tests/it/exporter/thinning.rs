//! A backlog of cumulative points, of which the newest of an interval are sent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::{Receiver, flush, spool_dir, wait_for};
use opentelemetry::KeyValue;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_sdk::metrics::{SdkMeterProvider, Temporality};
use opentelemetry_spool::{MetricExporter, MetricExporterBuilder, SpoolHandle, SpoolStats};
use prost::Message;

/// The present lies in the middle of it.
const AGES: Duration = Duration::from_secs(3_600_000_000);

/// A service whose exporter thins what waits.
struct Thinned {
    receiver: Receiver,
    provider: SdkMeterProvider,
    handle: SpoolHandle,
    _spool: tempfile::TempDir,
}

impl Thinned {
    /// Its endpoint is down, and it has sent something in vain.
    fn start(with: impl FnOnce(MetricExporterBuilder) -> MetricExporterBuilder) -> Self {
        let (receiver, spool) = (Receiver::start_down(), spool_dir());
        let builder = MetricExporter::builder().with_endpoint(receiver.url("/v1/metrics")).with_spool_dir(spool.path());
        let exporter = with(builder).build().expect("an exporter");
        let handle = exporter.handle();
        let provider = SdkMeterProvider::builder().with_periodic_exporter(exporter).build();
        Self { receiver, provider, handle, _spool: spool }
    }

    /// Collects, and waits for the first of what waits to be in flight, so that it will not be left out.
    fn collect_first(&self) {
        self.collect();
        wait_for("an attempt", || (self.handle.stats().failed_requests > 0).then_some(()));
    }

    fn collect(&self) {
        self.provider.force_flush().expect("a flush");
    }

    /// Has the endpoint come up; the values of each stream in the order in which they came.
    fn deliver(&self) -> (BTreeMap<String, Vec<i64>>, SpoolStats) {
        self.receiver.come_up();
        flush(&self.handle);
        let mut values = BTreeMap::<_, Vec<_>>::new();
        for request in self.receiver.requests().iter().filter(|request| request.answered == Some(200)) {
            for (stream, value) in points(&request.plain()) {
                values.entry(stream).or_default().push(value);
            }
        }
        (values, self.handle.stats())
    }
}

/// The points of a body: the metric's name with its attributes, and the value.
fn points(body: &[u8]) -> Vec<(String, i64)> {
    let resources = ExportMetricsServiceRequest::decode(body).expect("protobuf").resource_metrics;
    let scopes = resources.into_iter().flat_map(|resource| resource.scope_metrics);
    let of_metric = |metric: opentelemetry_proto::tonic::metrics::v1::Metric| {
        let points = match metric.data.expect("a kind") {
            Data::Sum(sum) => sum.data_points,
            Data::Gauge(gauge) => gauge.data_points,
            other => panic!("{other:?}"),
        };
        let name = metric.name;
        points.into_iter().map(move |point| {
            let Some(Value::AsInt(value)) = point.value else { panic!("{point:?}") };
            let attributes = point.attributes.iter().map(|attribute| format!(" {}", attribute.key));
            (format!("{name}{}", attributes.collect::<String>()), value)
        })
    };
    scopes.flat_map(|scope| scope.metrics).flat_map(of_metric).collect()
}

fn stream<'a>(values: &'a BTreeMap<String, Vec<i64>>, name: &str) -> &'a [i64] {
    &values[name]
}

#[test]
fn the_newest_points_of_an_interval_stand_for_the_others_of_a_backlog() {
    let service = Thinned::start(|builder| builder.with_thinning(AGES));
    let meter = service.provider.meter("orders");
    let (orders, depth) = (meter.u64_counter("orders").build(), meter.i64_gauge("depth").build());
    for round in 0..20 {
        orders.add(1, &[]);
        depth.record(-round, &[]);
        if round == 10 {
            // A stream that comes does not keep the earlier ones.
            orders.add(1, &[KeyValue::new("new", true)]);
        }
        if round == 0 {
            service.collect_first();
        } else {
            service.collect();
        }
    }
    let waiting = service.handle.stats();
    assert_eq!((waiting.accepted_records, waiting.pending_records, waiting.thinned_records), (40, 4, 36));
    let (values, stats) = service.deliver();
    assert_eq!(stream(&values, "orders"), [1, 20]);
    assert_eq!(stream(&values, "orders new"), [1]);
    assert_eq!(stream(&values, "depth"), [0, -19]);
    assert_eq!((stats.delivered_records, stats.lost_records, stats.pending_records), (4, 0, 0));
}

#[test]
fn points_of_streams_that_end_are_kept() {
    let service = Thinned::start(|builder| builder.with_thinning(AGES));
    let meter = service.provider.meter("orders");
    let round = Arc::new(AtomicU64::new(0));
    let of_callback = round.clone();
    let _observed = meter
        .u64_observable_counter("observed")
        .with_callback(move |observer| {
            let round = of_callback.load(Ordering::Relaxed);
            if round < 5 {
                observer.observe(round, &[]);
            }
        })
        .build();
    let orders = meter.u64_counter("orders").build();
    for _ in 0..10 {
        orders.add(1, &[]);
        if round.load(Ordering::Relaxed) == 0 {
            service.collect_first();
        } else {
            service.collect();
        }
        round.fetch_add(1, Ordering::Relaxed);
    }
    let (values, stats) = service.deliver();
    assert_eq!(stream(&values, "observed"), [0, 4], "the last of it");
    assert_eq!(stream(&values, "orders"), [1, 5, 10]);
    assert_eq!(stats.thinned_records, 3 * 2 + 4);
}

#[test]
fn without_an_interval_all_points_are_sent() {
    let service = Thinned::start(|builder| builder);
    let orders = service.provider.meter("orders").u64_counter("orders").build();
    for _ in 0..5 {
        orders.add(1, &[]);
        service.collect();
    }
    let (values, stats) = service.deliver();
    assert_eq!((stream(&values, "orders"), stats.thinned_records), (&[1, 2, 3, 4, 5][..], 0));
}

#[test]
fn attributes_in_another_order_are_the_same_stream() {
    let service = Thinned::start(|builder| builder.with_thinning(AGES));
    let orders = service.provider.meter("orders").u64_counter("orders").build();
    let [one, other] = ["one", "other"].map(|key| KeyValue::new(key, 1_i64));
    for round in 0..6 {
        let attributes = if round % 2 == 0 { [one.clone(), other.clone()] } else { [other.clone(), one.clone()] };
        orders.add(1, &attributes);
        // A stream more each time, so that the SDK's map of them grows.
        orders.add(1, &[KeyValue::new("round", round)]);
        if round == 0 {
            service.collect_first();
        } else {
            service.collect();
        }
    }
    let (values, stats) = service.deliver();
    let sums: Vec<_> =
        ["orders one other", "orders other one"].iter().filter_map(|name| values.get(*name)).flatten().collect();
    assert_eq!(sums, [&1, &6]);
    assert_eq!(stats.thinned_records, 4);
}

#[test]
fn each_partition_is_thinned_by_itself() {
    let of_scope = |builder: MetricExporterBuilder| builder.with_partition_key(|_, scope| scope.name().to_owned());
    let service = Thinned::start(|builder| of_scope(builder.with_thinning(AGES)));
    let counters = ["acme", "bolt"].map(|name| service.provider.meter(name).u64_counter(name).build());
    for _ in 0..6 {
        for counter in &counters {
            counter.add(1, &[]);
        }
        service.collect();
    }
    let (values, stats) = service.deliver();
    for name in ["acme", "bolt"] {
        let values = stream(&values, name);
        assert!(values.is_sorted() && values.last() == Some(&6), "{name}: {values:?}");
    }
    assert_eq!(stats.thinned_records + stats.delivered_records, 12);
    assert!(stats.thinned_records >= 6, "{stats:?}");
}

#[test]
fn thinning_takes_cumulative_points() {
    let build = |builder: MetricExporterBuilder| {
        let spool = spool_dir();
        let built = builder.with_endpoint("http://127.0.0.1:9/").with_spool_dir(spool.path()).build();
        built.expect_err("it is not allowed").to_string()
    };
    for temporality in [Temporality::Delta, Temporality::LowMemory] {
        assert_eq!(
            build(MetricExporter::builder().with_thinning(AGES).with_temporality(temporality)),
            "`with_thinning` is invalid: a point of delta temporality stands for no other; it takes cumulative temporality"
        );
    }
    assert_eq!(
        build(MetricExporter::builder().with_thinning(Duration::ZERO)),
        "`with_thinning` is invalid: zero; allowed are longer ones, such as 5m"
    );
}
