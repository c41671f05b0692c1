#!/usr/bin/env bash
# OpenTelemetry's SDK for Rust has exemplars in its data model, and never makes one.
#
# Tool:     opentelemetry_sdk 0.33.1 (crates.io), feature metrics.
# Expected: `data::Exemplar` is public and each kind of point has `exemplars()`. The specification's default filter is
#           `trace_based`: what is recorded in a sampled span is sampled as an exemplar, with the ids of the span; the variable
#           OTEL_METRICS_EXEMPLAR_FILTER=always_on asks for more.
# Instead:  no point of a counter, a histogram or a gauge has an exemplar, whatever the variable says.
# Output:   always_on, in a sampled span: counter 0, histogram 0, gauge 0 exemplars
# Matters:  A dashboard that goes from a latency bucket to a trace has nothing to go by, and no exporter can change that. Who
#           tests that exemplars survive an exporter's way has to make them without the SDK.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/src"
cat >"$dir/Cargo.toml" <<'EOF'
[package]
name = "exemplars"
version = "0.0.0"
edition = "2024"

[dependencies]
opentelemetry = { version = "=0.33.1", features = ["trace", "metrics"] }
opentelemetry_sdk = { version = "=0.33.1", features = ["trace", "metrics", "testing"] }
EOF
cat >"$dir/src/main.rs" <<'EOF'
use opentelemetry::metrics::MeterProvider;
use opentelemetry::trace::{TraceContextExt, Tracer, TracerProvider};
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, SdkMeterProvider};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};

/// How many exemplars the points of one kind have.
fn exemplars<T>(data: &MetricData<T>) -> (&'static str, usize) {
    match data {
        MetricData::Sum(sum) => ("counter", sum.data_points().map(|point| point.exemplars().count()).sum()),
        MetricData::Histogram(of) => ("histogram", of.data_points().map(|point| point.exemplars().count()).sum()),
        MetricData::Gauge(gauge) => ("gauge", gauge.data_points().map(|point| point.exemplars().count()).sum()),
        MetricData::ExponentialHistogram(_) => unreachable!("none was asked for"),
    }
}

fn main() {
    let metrics = InMemoryMetricExporter::default();
    let tracers = SdkTracerProvider::builder().with_simple_exporter(InMemorySpanExporter::default()).build();
    let meters = SdkMeterProvider::builder().with_periodic_exporter(metrics.clone()).build();
    let meter = meters.meter("a meter");
    let (counter, histogram) = (meter.u64_counter("counter").build(), meter.u64_histogram("histogram").build());
    let gauge = meter.u64_gauge("gauge").build();
    tracers.tracer("a tracer").in_span("a span", |context| {
        assert!(context.span().span_context().is_sampled());
        for value in 0..100 {
            counter.add(value, &[]);
            histogram.record(value, &[]);
            gauge.record(value, &[]);
        }
    });
    meters.force_flush().expect("a flush");
    let mut found = Vec::new();
    for resource in metrics.get_finished_metrics().expect("metrics") {
        for metric in resource.scope_metrics().flat_map(|scope| scope.metrics()) {
            let (kind, count) = match metric.data() {
                AggregatedMetrics::U64(data) => exemplars(data),
                AggregatedMetrics::I64(data) => exemplars(data),
                AggregatedMetrics::F64(data) => exemplars(data),
            };
            found.push((["counter", "histogram", "gauge"].iter().position(|name| *name == kind), kind, count));
        }
    }
    found.sort();
    let counts: Vec<_> = found.iter().map(|(_, kind, count)| format!("{kind} {count}")).collect();
    let filter = std::env::var("OTEL_METRICS_EXEMPLAR_FILTER").unwrap_or_default();
    println!("{filter}, in a sampled span: {} exemplars", counts.join(", "));
}
EOF
cd "$dir"
cargo build -q
found=$(OTEL_METRICS_EXEMPLAR_FILTER=always_on cargo run -q)
echo "$found"
[ "$found" = "always_on, in a sampled span: counter 0, histogram 0, gauge 0 exemplars" ]
