//! Spans and metrics: sent as the OTLP exporter sends them, kept through an outage and a kill, and never on the path of another
//! signal.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, mpsc};
use std::time::{Duration, UNIX_EPOCH};

use common::children::signals::{self, LOGS, POINTS, SPANS};
use common::{Child, PATIENCE, Receiver, Request, Service, flush, settings, spool_dir, wait_for};
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry::trace::{
    Event, Link, Span as _, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState, Tracer as _,
    TracerProvider as _,
};
use opentelemetry::{Array, Context, InstrumentationScope, KeyValue, Value};
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue as ProtoKeyValue, any_value::Value as AnyValue};
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogram, Gauge, Histogram, Metric, ResourceMetrics, ScopeMetrics, Sum, metric::Data,
};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics as SdkMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{Aggregation, Instrument, PeriodicReader, SdkMeterProvider, Stream, Temporality};
use opentelemetry_sdk::trace::SdkTracerProvider;
use opentelemetry_spool::{
    Compression, FullPolicy, LossReason, MetricExporter, Protocol, SpanExporter, SpoolCompression, SpoolEvent,
    SpoolHandle, SpoolProcessor,
};
use prost::Message;
use serde::de::DeserializeOwned;

use crate::CHILD;

const BOTH: [Protocol; 2] = [Protocol::HttpBinary, Protocol::HttpJson];

// --- what was sent --------------------------------------------------------------------------------------------------

fn decode<M: Message + Default + DeserializeOwned>(request: &Request) -> M {
    let body = request.plain();
    match request.header("content-type") {
        Some("application/x-protobuf") => M::decode(&*body).expect("protobuf"),
        Some("application/json") => serde_json::from_slice(&body).expect("JSON"),
        other => panic!("{other:?}"),
    }
}

/// A resource's attributes come from a map.
pub(crate) fn sort(attributes: &mut [ProtoKeyValue]) {
    attributes.sort_by(|a, b| a.key.cmp(&b.key));
}

pub(crate) fn sorted(mut of: Vec<impl Debug>) -> Vec<String> {
    let mut texts: Vec<_> = of.drain(..).map(|each| format!("{each:?}")).collect();
    texts.sort();
    texts
}

/// Every span with all that stands around it.
pub(crate) fn single_spans(requests: &[Request]) -> Vec<ResourceSpans> {
    let mut spans = Vec::new();
    for request in requests {
        for mut resource in decode::<ExportTraceServiceRequest>(request).resource_spans {
            resource.resource.iter_mut().for_each(|resource| sort(&mut resource.attributes));
            for scope in std::mem::take(&mut resource.scope_spans) {
                for span in &scope.spans {
                    let scope = ScopeSpans { spans: vec![span.clone()], ..scope.clone() };
                    spans.push(ResourceSpans { scope_spans: vec![scope], ..resource.clone() });
                }
            }
        }
    }
    spans
}

/// The same, in an order that does not depend on how they were grouped.
fn spans(requests: &[Request]) -> Vec<String> {
    sorted(single_spans(requests))
}

/// A metric for each of its points; none for one without.
pub(crate) fn single_points(metric: &Metric) -> Vec<Metric> {
    let with = |data| Metric { data: Some(data), ..metric.clone() };
    let Some(data) = metric.data.clone() else { return Vec::new() };
    match data {
        Data::Gauge(gauge) => {
            gauge.data_points.into_iter().map(|point| with(Data::Gauge(Gauge { data_points: vec![point] }))).collect()
        }
        Data::Sum(sum) => {
            let of = |point| with(Data::Sum(Sum { data_points: vec![point], ..sum.clone() }));
            sum.data_points.clone().into_iter().map(of).collect()
        }
        Data::Histogram(histogram) => {
            let of = |point| with(Data::Histogram(Histogram { data_points: vec![point], ..histogram.clone() }));
            histogram.data_points.clone().into_iter().map(of).collect()
        }
        Data::ExponentialHistogram(histogram) => {
            let of = |point| {
                let data_points = vec![point];
                with(Data::ExponentialHistogram(ExponentialHistogram { data_points, ..histogram.clone() }))
            };
            histogram.data_points.clone().into_iter().map(of).collect()
        }
        Data::Summary(_) => panic!("nobody makes a summary"),
    }
}

/// Every point with all that stands around it.
pub(crate) fn all_single_points(requests: &[Request]) -> Vec<ResourceMetrics> {
    let mut points = Vec::new();
    for request in requests {
        for mut resource in decode::<ExportMetricsServiceRequest>(request).resource_metrics {
            resource.resource.iter_mut().for_each(|resource| sort(&mut resource.attributes));
            for scope in std::mem::take(&mut resource.scope_metrics) {
                for metric in scope.metrics.iter().flat_map(single_points) {
                    let scope = ScopeMetrics { metrics: vec![metric], ..scope.clone() };
                    points.push(ResourceMetrics { scope_metrics: vec![scope], ..resource.clone() });
                }
            }
        }
    }
    points
}

fn points(requests: &[Request]) -> Vec<String> {
    sorted(all_single_points(requests))
}

/// The requests that were taken on a path.
pub(crate) fn on(receiver: &Receiver, path: &str) -> Vec<Request> {
    let requests = receiver.requests();
    requests.into_iter().filter(|request| request.target == path && request.answered == Some(200)).collect()
}

// --- as the OTLP exporter sends them --------------------------------------------------------------------------------

pub(crate) fn resource() -> Resource {
    let attributes = [KeyValue::new("service.name", "checkout"), KeyValue::new("host.name", "web-17")];
    Resource::builder_empty().with_schema_url(attributes, "https://example.com/resource").build()
}

fn scope(name: &'static str) -> InstrumentationScope {
    InstrumentationScope::builder(name)
        .with_version("1.2")
        .with_schema_url("https://example.com/scope")
        .with_attributes([KeyValue::new("team", "payments")])
        .build()
}

fn values() -> Vec<KeyValue> {
    let list: Vec<Value> =
        vec![true.into(), 1_i64.into(), 1.5.into(), "text".into(), Value::Array(Array::I64(vec![1, -2]))];
    let list = list.into_iter().zip(["bool", "int", "double", "string", "list"]);
    list.map(|(value, key)| KeyValue::new(key, value)).collect()
}

/// Spans of all kinds, with events, links, a state and whatever else a span has.
pub(crate) fn end_spans(provider: &SdkTracerProvider) {
    let remote = |state: &[(&'static str, &'static str)]| {
        let state = TraceState::from_key_value(state.iter().copied()).expect("a state");
        SpanContext::new(TraceId::from(7), SpanId::from(9), TraceFlags::SAMPLED, true, state)
    };
    let kinds = [SpanKind::Client, SpanKind::Server, SpanKind::Producer, SpanKind::Consumer, SpanKind::Internal];
    for (tracer, kind) in [scope("orders"), scope("carts")].into_iter().cycle().zip(kinds) {
        let tracer = provider.tracer_with_scope(tracer);
        let parent = opentelemetry::trace::TraceContextExt::with_remote_span_context(
            &Context::new(),
            remote(&[("vendor", "1"), ("other", "2")]),
        );
        let links = vec![Link::new(remote(&[("of", "link")]), values(), 3), Link::new(remote(&[]), Vec::new(), 0)];
        let mut span = tracer
            .span_builder("an order")
            .with_kind(kind.clone())
            .with_attributes(values())
            .with_links(links)
            .with_events(vec![Event::new("first", UNIX_EPOCH + Duration::from_secs(5), values(), 2)])
            .start_with_context(&tracer, &parent);
        span.add_event("second", Vec::new());
        span.set_status(if kind == SpanKind::Client { Status::error("it broke") } else { Status::Ok });
        span.end();
        tracer.span_builder("a root").start_with_context(&tracer, &Context::new()).end();
    }
}

#[test]
fn spans_are_sent_as_the_otlp_exporter_sends_them() {
    for (protocol, gzip) in BOTH.into_iter().flat_map(|protocol| [(protocol, false), (protocol, true)]) {
        let (ours, theirs, spool) = (Receiver::start(), Receiver::start(), spool_dir());
        let other = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_protocol(opentelemetry_otlp::Protocol::HttpBinary)
            .with_endpoint(theirs.url("/v1/traces"))
            .build()
            .expect("their exporter");
        let exporter = SpanExporter::builder().with_protocol(protocol).with_endpoint(ours.url("/v1/traces"));
        let exporter = if gzip { exporter.with_compression(Compression::Gzip) } else { exporter };
        let exporter = exporter.with_spool_dir(spool.path()).build().expect("an exporter");
        let handle = exporter.handle();
        let provider = SdkTracerProvider::builder()
            .with_resource(resource())
            .with_simple_exporter(exporter)
            .with_simple_exporter(other)
            .build();
        end_spans(&provider);
        flush(&handle);
        let (sent, expected) = (spans(&on(&ours, "/v1/traces")), spans(&on(&theirs, "/v1/traces")));
        assert_eq!(sent.len(), 10);
        assert_eq!(sent, expected, "{protocol:?}, gzip {gzip}");
        provider.shutdown().expect("a shutdown");
    }
}

/// Hands both exporters the same metrics.
#[derive(Debug)]
pub(crate) struct Both {
    pub(crate) ours: MetricExporter,
    pub(crate) theirs: opentelemetry_otlp::MetricExporter,
}

impl PushMetricExporter for Both {
    async fn export(&self, metrics: &SdkMetrics) -> OTelSdkResult {
        self.theirs.export(metrics).await?;
        self.ours.export(metrics).await
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.ours.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.ours.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.ours.temporality()
    }
}

/// The view that makes an exponential histogram.
fn exponential(instrument: &Instrument) -> Option<Stream> {
    let aggregation = Aggregation::Base2ExponentialHistogram { max_size: 20, max_scale: 20, record_min_max: true };
    let view = Stream::builder().with_aggregation(aggregation).build();
    (instrument.name() == "exponential").then(|| view.expect("a view"))
}

/// Points of every kind and number; one metric has more of them than one record takes.
pub(crate) fn measure(provider: &SdkMeterProvider) {
    let meter = provider.meter_with_scope(scope("orders"));
    let counter = meter.u64_counter("orders").with_unit("{order}").with_description("Orders.").build();
    for customer in 0..150 {
        counter.add(customer, &[KeyValue::new("customer", i64::try_from(customer).expect("a small number"))]);
    }
    meter.f64_counter("revenue").build().add(12.5, &values());
    meter.i64_up_down_counter("open").build().add(-3, &[]);
    meter.i64_gauge("depth").build().record(-7, &values());
    meter.f64_gauge("load").build().record(0.25, &[]);
    meter.u64_gauge("size").build().record(9, &[]);
    let (latency, sizes) = (meter.f64_histogram("latency").build(), meter.u64_histogram("exponential").build());
    for value in 0..100_u32 {
        latency.record(f64::from(value) * 1.5, &[KeyValue::new("route", "/orders")]);
        sizes.record(u64::from(value) * 1000, &[]);
    }
    provider.meter_with_scope(scope("carts")).u64_counter("carts").build().add(1, &[]);
}

/// A provider that has measured something of every kind, for both exporters.
pub(crate) fn measured_by(exporters: Both) -> SdkMeterProvider {
    let provider = SdkMeterProvider::builder()
        .with_resource(resource())
        .with_view(exponential)
        .with_periodic_exporter(exporters)
        .build();
    measure(&provider);
    provider
}

#[test]
fn metrics_are_sent_as_the_otlp_exporter_sends_them() {
    for (protocol, temporality) in
        BOTH.into_iter().flat_map(|protocol| [Temporality::Cumulative, Temporality::Delta].map(|of| (protocol, of)))
    {
        let (receiver, other, spool) = (Receiver::start(), Receiver::start(), spool_dir());
        let theirs = opentelemetry_otlp::MetricExporter::builder()
            .with_http()
            .with_temporality(temporality)
            .with_protocol(opentelemetry_otlp::Protocol::HttpBinary)
            .with_endpoint(other.url("/v1/metrics"))
            .build()
            .expect("their exporter");
        let ours = MetricExporter::builder()
            .with_protocol(protocol)
            .with_temporality(temporality)
            .with_compression(Compression::Gzip)
            .with_endpoint(receiver.url("/v1/metrics"))
            .with_spool_dir(spool.path())
            .build()
            .expect("an exporter");
        let handle = ours.handle();
        let provider = measured_by(Both { ours, theirs });
        provider.force_flush().expect("a flush");
        flush(&handle);
        let (sent, expected) = (points(&on(&receiver, "/v1/metrics")), points(&on(&other, "/v1/metrics")));
        assert_eq!(sent.len(), 150 + 8, "{protocol:?}, {temporality:?}");
        assert_eq!(sent, expected, "{protocol:?}, {temporality:?}");
        provider.shutdown().expect("a shutdown");
    }
}

// --- kept -----------------------------------------------------------------------------------------------------------

#[test]
fn a_hundred_thousand_spans_that_end_in_a_tight_loop_arrive() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let exporter =
        SpanExporter::builder().with_endpoint(receiver.url("/v1/traces")).with_spool_dir(spool.path()).build();
    let exporter = exporter.expect("an exporter");
    let handle = exporter.handle();
    // It never gives up waiting for room: the disk may be slow.
    let processor = SpoolProcessor::builder(exporter).with_max_wait(Duration::MAX).build().expect("a processor");
    let provider = SdkTracerProvider::builder().with_span_processor(processor).build();
    let tracer = provider.tracer("burst");
    for _ in 0..100_000 {
        tracer.span_builder("a span").start_with_context(&tracer, &Context::new()).end();
    }
    // A flush waits for five seconds, which need not be enough.
    wait_for("all of them on disk", || provider.force_flush().is_ok().then_some(()));
    flush(&handle);
    assert_eq!(handle.stats().lost_records, 0);
    let mut ids = std::collections::HashSet::new();
    for request in on(&receiver, "/v1/traces") {
        for span in spans_of(&request) {
            ids.insert(span);
        }
    }
    assert_eq!(ids.len(), 100_000);
}

/// The ids of a request's spans.
fn spans_of(request: &Request) -> Vec<Vec<u8>> {
    let resources = decode::<ExportTraceServiceRequest>(request).resource_spans;
    let spans = resources.into_iter().flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans);
    spans.map(|span| [span.trace_id, span.span_id].concat()).collect()
}

/// What came on each path: log records, spans, points.
fn counts(receiver: &Receiver) -> (usize, usize, usize) {
    let log_records = |request: &Request| {
        let resources = decode::<ExportLogsServiceRequest>(request).resource_logs;
        resources.iter().flat_map(|resource| &resource.scope_logs).map(|scope| scope.log_records.len()).sum::<usize>()
    };
    let logs = on(receiver, "/v1/logs").iter().map(log_records).sum();
    let spans = on(receiver, "/v1/traces").iter().map(|request| spans_of(request).len()).sum();
    (logs, spans, points(&on(receiver, "/v1/metrics")).len())
}

/// A spool with all three signals whose process was killed while the endpoint was down.
fn left_by_a_kill(receiver: &Receiver, spool: &Path) {
    let endpoint = receiver.url("");
    let mut child = Child::start(Command::new(CHILD), "signals", settings(&endpoint, spool));
    child.wait_for("stored");
    child.kill();
}

/// Delivers all that is in a spool with an exporter of each signal.
fn deliver_all(receiver: &Receiver, spool: &Path) {
    let endpoint = receiver.url("");
    let logs = signals::logs(&endpoint, spool).build().expect("an exporter of logs");
    let spans = signals::spans(&endpoint, spool).build().expect("an exporter of spans");
    let metrics = signals::metrics(&endpoint, spool).build().expect("an exporter of metrics");
    for handle in [logs.handle(), spans.handle(), metrics.handle()] {
        flush(&handle);
    }
}

#[test]
fn what_all_three_signals_left_when_they_were_killed_is_delivered_by_the_next_start_each_on_its_path() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    left_by_a_kill(&receiver, spool.path());
    receiver.come_up();
    deliver_all(&receiver, spool.path());
    assert_eq!(counts(&receiver), (LOGS, SPANS, POINTS));
}

#[test]
fn no_signal_is_held_by_otel_sdk_disabled_which_the_sdk_does_not_read() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let endpoint = receiver.url("");
    let mut service = Command::new(CHILD);
    service.env("OTEL_SDK_DISABLED", "true");
    let mut child = Child::start(service, "signals", settings(&endpoint, spool.path()));
    child.wait_for("stored");
    wait_for("all three signals", || (counts(&receiver) == (LOGS, SPANS, POINTS)).then_some(()));
}

#[test]
fn an_exporter_of_logs_alone_delivers_no_span_and_no_metric_that_others_left() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    left_by_a_kill(&receiver, spool.path());
    receiver.come_up();
    let alone = signals::logs(&receiver.url(""), spool.path()).build().expect("an exporter");
    flush(&alone.handle());
    assert_eq!(counts(&receiver), (LOGS, 0, 0));
    assert!(receiver.requests().iter().all(|request| request.target == "/v1/logs"));
    drop(alone);
    deliver_all(&receiver, spool.path());
    assert_eq!(counts(&receiver), (LOGS, SPANS, POINTS));
}

#[test]
fn a_full_queue_of_spans_takes_no_room_of_logs() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let endpoint = receiver.url("");
    let least = 8 << 20;
    let spans = signals::spans(&endpoint, spool.path())
        .with_max_spool_bytes(least)
        .with_full_policy(FullPolicy::RejectNew)
        .with_spool_compression(SpoolCompression::None);
    let spans = spans.build().expect("an exporter of spans");
    let of_spans = spans.handle();
    let traces = SdkTracerProvider::builder().with_simple_exporter(spans).build();
    let much = traces.tracer("much");
    wait_for("a spool that is full", || {
        let padding = KeyValue::new("padding", "x".repeat(100_000));
        much.span_builder("a span").with_attributes([padding]).start_with_context(&much, &Context::new()).end();
        (of_spans.stats().not_written_records > 0).then_some(())
    });
    let logs = Service::batch(signals::logs(&endpoint, spool.path()).with_max_spool_bytes(least));
    logs.store_all("m", 1..=LOGS);
    let stats = logs.handle.stats();
    // Beside its records waits the gap record of the spans.
    assert_eq!((stats.lost_records, stats.accepted_records), (0, LOGS as u64), "{stats:?}");
    assert!(stats.pending_records > LOGS as u64, "{stats:?}");
    let kept = of_spans.stats();
    assert_eq!(kept.pending_records, kept.accepted_records, "{kept:?}");
}

#[test]
fn a_hook_of_spans_that_blocks_delays_no_log_record() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let endpoint = receiver.url("");
    let (called, is_called) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let exporter = signals::spans(&endpoint, spool.path()).with_header_hook(move |_, _| {
        let _ = called.send(());
        let _ = released.lock().expect("no panic").recv();
        Ok(())
    });
    let exporter = exporter.build().expect("an exporter of spans");
    let of_spans = exporter.handle();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter).build();
    let tracer = provider.tracer("service");
    tracer.span_builder("a span").start_with_context(&tracer, &Context::new()).end();
    is_called.recv_timeout(PATIENCE).expect("the hook is called");
    let logs = Service::batch(signals::logs(&endpoint, spool.path()));
    logs.store_all("m", 1..=LOGS);
    logs.deliver();
    assert_eq!(counts(&receiver), (LOGS, 0, 0));
    drop(release);
    flush(&of_spans);
    assert_eq!(counts(&receiver), (LOGS, 1, 0));
}

// --- losses ---------------------------------------------------------------------------------------------------------

/// The records that gap records report as lost, by signal and reason.
fn reported(receiver: &Receiver) -> BTreeMap<(String, String), u64> {
    let mut reported = BTreeMap::new();
    for request in on(receiver, "/v1/logs") {
        let resources = decode::<ExportLogsServiceRequest>(&request).resource_logs;
        let records = resources.into_iter().flat_map(|of| of.scope_logs).flat_map(|of| of.log_records);
        for record in records.filter(|record| record.event_name == "opentelemetry_spool.gap") {
            let attribute = |name: &str| {
                let found = record.attributes.iter().find(|of| of.key == format!("spool.gap.{name}"));
                found.and_then(|of| of.value.clone()?.value).expect("an attribute")
            };
            let (AnyValue::StringValue(signal), AnyValue::StringValue(reason), AnyValue::IntValue(records)) =
                (attribute("signal"), attribute("reason"), attribute("records"))
            else {
                panic!("{record:?}");
            };
            *reported.entry((signal, reason)).or_default() += u64::try_from(records).expect("a number of records");
        }
    }
    reported
}

/// Has spans evicted, for good: their endpoint is down.
fn evict_spans(spool: &Path) -> (SdkTracerProvider, SpoolHandle) {
    let exporter = signals::spans("http://127.0.0.1:9", spool)
        .with_max_spool_bytes(8 << 20)
        .with_spool_compression(SpoolCompression::None)
        .build()
        .expect("an exporter of spans");
    let handle = exporter.handle();
    let traces = SdkTracerProvider::builder().with_simple_exporter(exporter).build();
    evict_more(&traces, &handle);
    (traces, handle)
}

fn evict_more(traces: &SdkTracerProvider, handle: &SpoolHandle) {
    let (much, before) = (traces.tracer("much"), handle.stats().evicted_records);
    wait_for("an eviction", || {
        let padding = KeyValue::new("padding", "x".repeat(100_000));
        much.span_builder("a span").with_attributes([padding]).start_with_context(&much, &Context::new()).end();
        (handle.stats().evicted_records > before).then_some(())
    });
}

/// Has metrics evicted, likewise.
fn evict_metrics(spool: &Path) -> (SdkMeterProvider, SpoolHandle) {
    let exporter = signals::metrics("http://127.0.0.1:9", spool)
        .with_max_spool_bytes(8 << 20)
        .with_spool_compression(SpoolCompression::None)
        .build()
        .expect("an exporter of metrics");
    let handle = exporter.handle();
    let reader = PeriodicReader::builder(exporter).with_interval(Duration::from_secs(1_000 * 60 * 60)).build();
    let meters = SdkMeterProvider::builder().with_reader(reader).build();
    let counter = meters.meter("much").u64_counter("orders").build();
    wait_for("an eviction", || {
        counter.add(1, &[KeyValue::new("padding", "x".repeat(100_000))]);
        meters.force_flush().expect("points reach the disk");
        (handle.stats().evicted_records > 0).then_some(())
    });
    (meters, handle)
}

#[test]
fn evicted_spans_and_metrics_are_reported_by_records_in_the_stream_of_logs() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let logs = Service::batch(signals::logs(&receiver.url(""), spool.path()));
    let (_traces, of_spans) = evict_spans(spool.path());
    let (_meters, of_metrics) = evict_metrics(spool.path());
    let of = |signal: &str| (signal.to_owned(), "evicted".to_owned());
    let expected = || {
        let evicted = [&of_spans, &of_metrics].map(|handle| handle.stats().evicted_records);
        BTreeMap::from([(of("traces"), evicted[0]), (of("metrics"), evicted[1])])
    };
    wait_for("the losses to be reported", || (reported(&receiver) == expected()).then_some(()));
    assert_eq!(logs.handle.stats().lost_records, 0);
}

#[test]
fn without_an_exporter_of_logs_a_loss_of_spans_is_counted_and_told_by_an_event() {
    let (spool, (events, told)) = (spool_dir(), mpsc::channel());
    let exporter = signals::spans("http://127.0.0.1:9", spool.path())
        .with_max_spool_bytes(8 << 20)
        .with_spool_compression(SpoolCompression::None)
        .with_on_event(move |event| drop(events.send(event.clone())));
    let exporter = exporter.build().expect("an exporter of spans");
    let handle = exporter.handle();
    let traces = SdkTracerProvider::builder().with_simple_exporter(exporter).build();
    evict_more(&traces, &handle);
    traces.shutdown().expect("a shutdown");
    drop(traces);
    let told: Vec<_> = told.iter().collect();
    let lost = |event: &SpoolEvent| match event {
        SpoolEvent::RecordsLost { reason: LossReason::Evicted, records, .. } => Some(*records),
        _ => None,
    };
    assert!(told.iter().filter_map(lost).sum::<u64>() > 0, "{told:?}");
    assert!(!told.iter().any(|event| matches!(event, SpoolEvent::GapNotReported { .. })), "{told:?}");
    assert_eq!(handle.stats().evicted_records, handle.stats().lost_records);
}

#[test]
fn a_loss_after_the_exporter_of_logs_has_shut_down_is_reported_by_the_next_one() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let (traces, of_spans) = evict_spans(spool.path());
    let logs = || Service::batch(signals::logs(&receiver.url(""), spool.path()));
    let all_reported = || {
        let evicted = of_spans.stats().evicted_records;
        let key = ("traces".to_owned(), "evicted".to_owned());
        wait_for("the losses to be reported", || (reported(&receiver).get(&key) == Some(&evicted)).then_some(()));
    };
    // The spans were lost before there was one.
    let first = logs();
    all_reported();
    drop(first);
    evict_more(&traces, &of_spans);
    let _second = logs();
    all_reported();
}
