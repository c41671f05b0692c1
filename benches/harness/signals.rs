//! The three signals: what an application holds of each, and how it emits one more.

use std::time::{Duration, Instant};

use clap::ValueEnum;
use opentelemetry::logs::{LogRecord, Logger, LoggerProvider, Severity};
use opentelemetry::metrics::{Counter, MeterProvider};
use opentelemetry::trace::{Span, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{SdkLogger, SdkLoggerProvider};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use serde::Serialize;

/// The attribute that says which partition a record belongs to.
pub(crate) const PARTITION: &str = "tenant";

/// The number of points that are collected together.
pub(crate) const COLLECTED: u64 = 512;

/// The values of `--signal`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Signal {
    Logs,
    Spans,
    Metrics,
}

impl Signal {
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Logs => "/v1/logs",
            Self::Spans => "/v1/traces",
            Self::Metrics => "/v1/metrics",
        }
    }

    /// What is counted, for the report.
    pub(crate) fn records(self) -> &'static str {
        match self {
            Self::Logs => "log records",
            Self::Spans => "spans",
            Self::Metrics => "metric points",
        }
    }
}

/// A provider of one of the signals.
pub(crate) enum Provider {
    Logs(SdkLoggerProvider),
    Spans(SdkTracerProvider),
    Metrics(SdkMeterProvider),
}

impl Provider {
    /// What a thread emits with.
    pub(crate) fn emitter(&self) -> Emitter<'_> {
        match self {
            Self::Logs(provider) => Emitter::Logs(provider.logger("harness")),
            Self::Spans(provider) => Emitter::Spans(provider.tracer("harness")),
            Self::Metrics(provider) => {
                let points = provider.meter("harness").u64_counter("orders").build();
                Emitter::Metrics { provider, points, since_collected: 0 }
            }
        }
    }

    pub(crate) fn force_flush(&self) -> OTelSdkResult {
        match self {
            Self::Logs(provider) => provider.force_flush(),
            Self::Spans(provider) => provider.force_flush(),
            Self::Metrics(provider) => provider.force_flush(),
        }
    }

    pub(crate) fn shutdown(&self) -> OTelSdkResult {
        match self {
            Self::Logs(provider) => provider.shutdown(),
            Self::Spans(provider) => provider.shutdown(),
            Self::Metrics(provider) => provider.shutdown(),
        }
    }
}

pub(crate) enum Emitter<'a> {
    Logs(SdkLogger),
    Spans(SdkTracer),
    Metrics {
        provider: &'a SdkMeterProvider,
        points: Counter<u64>,
        /// The points that the next collection finds.
        since_collected: u64,
    },
}

impl Emitter<'_> {
    /// Emits the same for every system: a message, two attributes, and a third where there are partitions. Returns the time of
    /// the call that hands it over: `emit`, `end`, or `add`, with the collection where one is due. A collection returns when the
    /// exporter has, whatever came of it.
    pub(crate) fn emit(&mut self, message: String, partition: Option<u64>) -> Duration {
        match self {
            Self::Logs(logger) => {
                let mut record = logger.create_log_record();
                record.set_severity_number(Severity::Info);
                record.set_body(message.into());
                record.add_attribute("user", "someone");
                record.add_attribute("attempt", 3);
                if let Some(partition) = partition {
                    record.add_attribute(PARTITION, format!("t{partition}"));
                }
                timed(|| logger.emit(record))
            }
            Self::Spans(tracer) => {
                let span = tracer.span_builder("order").with_attributes(attributes(message));
                let mut span = span.start_with_context(tracer, &Context::new());
                timed(|| span.end())
            }
            Self::Metrics { provider, points, since_collected } => {
                let attributes = attributes(message);
                *since_collected += 1;
                timed(|| {
                    points.add(1, &attributes);
                    if *since_collected == COLLECTED {
                        *since_collected = 0;
                        let _ = provider.force_flush();
                    }
                })
            }
        }
    }
}

fn attributes(message: String) -> [KeyValue; 3] {
    [KeyValue::new("message", message), KeyValue::new("user", "someone"), KeyValue::new("attempt", 3)]
}

fn timed(work: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    work();
    begun.elapsed()
}
