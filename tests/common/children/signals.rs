//! A service that stores log records, spans and metrics in one directory, and waits to be killed.

use std::path::{Path, PathBuf};

use opentelemetry::metrics::MeterProvider as _;
use opentelemetry::trace::{Span as _, Tracer as _, TracerProvider as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::SdkTracerProvider;
use opentelemetry_spool::{
    LogExporterBuilder, MetricExporter, MetricExporterBuilder, Protocol, SpanExporter, SpanExporterBuilder,
};

use super::NEVER;
use crate::child::{say, setting};
use crate::service::{Service, exporter_to, impatient};

/// How much of each the service stores.
pub const LOGS: usize = 700;
pub const SPANS: usize = 600;
pub const POINTS: usize = 200;

/// Exporters to the paths of an endpoint.
pub fn logs(endpoint: &str, spool: &Path) -> LogExporterBuilder {
    exporter_to(&format!("{endpoint}/v1/logs"), spool).with_protocol(Protocol::HttpBinary)
}

pub fn spans(endpoint: &str, spool: &Path) -> SpanExporterBuilder {
    SpanExporter::builder()
        .with_endpoint(format!("{endpoint}/v1/traces"))
        .with_retry_policy(impatient())
        .with_spool_dir(spool)
}

pub fn metrics(endpoint: &str, spool: &Path) -> MetricExporterBuilder {
    MetricExporter::builder()
        .with_endpoint(format!("{endpoint}/v1/metrics"))
        .with_retry_policy(impatient())
        .with_spool_dir(spool)
}

pub(crate) fn main() {
    let (endpoint, spool) = (setting("ENDPOINT"), PathBuf::from(setting("DIR")));
    let logs = Service::batch(logs(&endpoint, &spool));
    let spans = spans(&endpoint, &spool).build().expect("an exporter of spans");
    let traces = SdkTracerProvider::builder().with_simple_exporter(spans).build();
    let metrics = metrics(&endpoint, &spool).build().expect("an exporter of metrics");
    // Collected once, by the flush.
    let reader = PeriodicReader::builder(metrics).with_interval(NEVER).build();
    let meters = SdkMeterProvider::builder().with_reader(reader).build();
    logs.store_all("m", 1..=LOGS);
    let service = traces.tracer("service");
    for _ in 0..SPANS {
        service.span_builder("a span").start_with_context(&service, &Context::new()).end();
    }
    let counter = meters.meter("service").u64_counter("orders").build();
    for customer in 0..POINTS {
        counter.add(1, &[KeyValue::new("customer", i64::try_from(customer).expect("a small number"))]);
    }
    meters.force_flush().expect("points reach the disk");
    say("stored");
    loop {
        std::thread::park();
    }
}
