#!/usr/bin/env bash
# When the Rust SDK warns that it drops records, a record that the console's filter holds back is printed, where layers have their own.
#
# Tool:     opentelemetry_sdk 0.33.1 and opentelemetry-appender-tracing 0.33.1 with tracing-subscriber 0.3.23 (crates.io): a bridge
#           to a batch processor whose queue is full, and a layer that prints, each with a filter of its own.
# Expected: The console prints the warning of the SDK, and not the application's INFO, which its filter excludes, in either order.
# Instead:  The SDK warns on the thread that logs, in the middle of the event that the bridge hands it. tracing-subscriber keeps what
#           the filters said of an event in one place for each thread, and the inner event overwrites it: the outer one goes through
#           the console's filter, where the console stands behind the bridge.
# Output:   bridge, then console: WARN BatchLogProcessor.LogDroppingStarted
#           bridge, then console: INFO order taken
#           console, then bridge: WARN BatchLogProcessor.LogDroppingStarted
# Matters:  What an exporter or a processor reports on the thread that logs shows what was to be held back; with other filters the report
#           itself is lost. It has to be logged on another thread. (tokio-rs/tracing issue 2704)
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

mkdir -p "$dir/probe/src"
cat >"$dir/probe/Cargo.toml" <<'EOF'
[package]
name = "probe"
version = "0.0.0"
edition = "2021"

[dependencies]
opentelemetry = "=0.33.1"
opentelemetry_sdk = "=0.33.1"
opentelemetry-appender-tracing = "=0.33.1"
tracing = "=0.1.44"
tracing-subscriber = { version = "=0.3.23", default-features = false, features = ["registry", "std"] }

[workspace]
EOF
cat >"$dir/probe/src/main.rs" <<'EOF'
use std::time::Duration;

use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{BatchConfigBuilder, BatchLogProcessor, LogBatch, LogExporter, SdkLoggerProvider};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// Takes its time, so that the queue is full.
#[derive(Debug)]
struct Slow;

impl LogExporter for Slow {
    async fn export(&self, _: LogBatch<'_>) -> OTelSdkResult {
        std::thread::sleep(Duration::from_secs(3));
        Ok(())
    }
}

/// Prints what it is given.
struct Console(&'static str);

impl<S: tracing::Subscriber> Layer<S> for Console {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        println!("{}: {} {}", self.0, event.metadata().level(), event.metadata().name());
    }
}

fn main() {
    let bridge_first = std::env::args().nth(1).as_deref() == Some("bridge");
    let config = BatchConfigBuilder::default().with_max_queue_size(1).with_max_export_batch_size(1).build();
    let processor = BatchLogProcessor::builder(Slow).with_batch_config(config).build();
    let provider = SdkLoggerProvider::builder().with_log_processor(processor).build();
    let bridge = OpenTelemetryTracingBridge::new(&provider);
    let own = Targets::new().with_default(LevelFilter::INFO).with_target("opentelemetry_sdk", LevelFilter::OFF);
    let warnings = LevelFilter::WARN;
    if bridge_first {
        tracing_subscriber::registry().with(bridge.with_filter(own)).with(Console("bridge, then console").with_filter(warnings)).init();
    } else {
        tracing_subscriber::registry().with(Console("console, then bridge").with_filter(warnings)).with(bridge.with_filter(own)).init();
    }
    for _ in 0..10 {
        tracing::info!(name: "order taken", "1 book");
    }
    std::process::exit(0);
}
EOF
cargo build -q --manifest-path "$dir/probe/Cargo.toml" --target-dir "$dir/target"
out=$(for first in bridge console; do "$dir/target/debug/probe" "$first"; done)
printf '%s\n' "$out"
[ "$out" = "bridge, then console: WARN BatchLogProcessor.LogDroppingStarted
bridge, then console: INFO order taken
console, then bridge: WARN BatchLogProcessor.LogDroppingStarted" ]
