#!/usr/bin/env bash
# OpenTelemetry's SDK for Rust exports everything with OTEL_SDK_DISABLED=true.
#
# Tool:     opentelemetry_sdk 0.33.1 (crates.io), with logs, traces and metrics.
# Expected: the variable is in the specification's general configuration, and the SDKs for Java, Python and others give out
#           providers that do nothing where it is `true`. So nothing is exported, whatever exporter is installed.
# Instead:  the crate does not know the variable: each provider exports as if it were not set, and says nothing.
# Output:   OTEL_SDK_DISABLED=true: 1 log record, 1 span, 1 metric exported
# Matters:  Whoever turns telemetry off by this variable across a fleet still gets it from the services in Rust, with whatever
#           it costs and whatever is in it. An application has to look at the variable itself before it builds its providers.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/src"
cat >"$dir/Cargo.toml" <<'EOF'
[package]
name = "disabled"
version = "0.0.0"
edition = "2024"

[dependencies]
opentelemetry = { version = "=0.33.1", features = ["logs", "trace", "metrics"] }
opentelemetry_sdk = { version = "=0.33.1", features = ["logs", "trace", "metrics", "testing"] }
EOF
cat >"$dir/src/main.rs" <<'EOF'
use opentelemetry::logs::{LogRecord, Logger, LoggerProvider};
use opentelemetry::metrics::MeterProvider;
use opentelemetry::trace::{Tracer, TracerProvider};
use opentelemetry_sdk::logs::{InMemoryLogExporter, SdkLoggerProvider};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, SdkMeterProvider};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};

fn main() {
    let (logs, spans, metrics) =
        (InMemoryLogExporter::default(), InMemorySpanExporter::default(), InMemoryMetricExporter::default());
    let loggers = SdkLoggerProvider::builder().with_simple_exporter(logs.clone()).build();
    let tracers = SdkTracerProvider::builder().with_simple_exporter(spans.clone()).build();
    let meters = SdkMeterProvider::builder().with_periodic_exporter(metrics.clone()).build();

    let logger = loggers.logger("a logger");
    let mut record = logger.create_log_record();
    record.set_body("a record".into());
    logger.emit(record);
    tracers.tracer("a tracer").in_span("a span", |_| ());
    let counter = meters.meter("a meter").u64_counter("a_counter").build();
    counter.add(1, &[]);
    meters.force_flush().expect("a flush");

    println!(
        "OTEL_SDK_DISABLED={}: {} log record, {} span, {} metric exported",
        std::env::var("OTEL_SDK_DISABLED").unwrap_or_default(),
        logs.get_emitted_logs().expect("logs").len(),
        spans.get_finished_spans().expect("spans").len(),
        metrics.get_finished_metrics().expect("metrics").len(),
    );
}
EOF
cd "$dir"
cargo build -q
found=$(OTEL_SDK_DISABLED=true cargo run -q)
echo "$found"
[ "$found" = "OTEL_SDK_DISABLED=true: 1 log record, 1 span, 1 metric exported" ]
