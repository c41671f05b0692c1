//! Reports of the service to the story: one line each on its standard output, written before anything else happens.
//!
//! A line in the pipe stays there when the writer is killed, so the story can count the accepted records.

use std::fmt;
use std::io::Write;
use std::time::Duration;

use opentelemetry::logs::{AnyValue, Severity};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogBatch, LogExporter, SdkLogRecord};
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

use crate::tally::Signal;

/// A line that the service prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// The exporter is built: the service can log.
    Opened { millis: u64 },
    /// A `tracing` macro returned, and the span around it ended.
    Emitted { tenant: String, seq: u64 },
    /// `export` returned `Ok` for these records or spans, first and last included.
    Accepted { signal: Signal, tenant: String, first: u64, last: u64 },
    /// The records and spans that wait to be delivered, by the exporters' count.
    Pending { records: u64 },
}

impl Report {
    /// Writes the line with a single call, so that a kill leaves it whole or leaves it out.
    pub(crate) fn send(&self) {
        // Without a reader the service is about to be stopped anyway.
        let _ = std::io::stdout().lock().write_all(format!("{self}\n").as_bytes());
    }

    /// Reads a line; `None` if it is not one of ours.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        Some(match words[..] {
            ["opened", millis] => Self::Opened { millis: millis.parse().ok()? },
            ["emitted", tenant, seq] => Self::Emitted { tenant: tenant.into(), seq: seq.parse().ok()? },
            ["accepted", signal, tenant, first, last] => Self::Accepted {
                signal: if signal == Signal::Logs.name() { Signal::Logs } else { Signal::Spans },
                tenant: tenant.into(),
                first: first.parse().ok()?,
                last: last.parse().ok()?,
            },
            ["pending", records] => Self::Pending { records: records.parse().ok()? },
            _ => return None,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened { millis } => write!(f, "opened {millis}"),
            Self::Emitted { tenant, seq } => write!(f, "emitted {tenant} {seq}"),
            Self::Accepted { signal, tenant, first, last } => {
                write!(f, "accepted {} {tenant} {first} {last}", signal.name())
            }
            Self::Pending { records } => write!(f, "pending {records}"),
        }
    }
}

/// Passes every batch to an exporter and reports what was accepted.
#[derive(Debug)]
pub(crate) struct Witness<E>(E);

impl<E> Witness<E> {
    pub(crate) fn new(exporter: E) -> Self {
        Self(exporter)
    }
}

impl<E: LogExporter> LogExporter for Witness<E> {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        let ranges = ranges(batch.iter().filter_map(|(record, _)| number_of_record(record)));
        self.0.export(batch).await?;
        report(Signal::Logs, ranges);
        Ok(())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn event_enabled(&self, level: Severity, target: &str, name: Option<&str>) -> bool {
        self.0.event_enabled(level, target, name)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}

impl<E: SpanExporter> SpanExporter for Witness<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let ranges = ranges(batch.iter().filter_map(number_of_span));
        self.0.export(batch).await?;
        report(Signal::Spans, ranges);
        Ok(())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}

fn report(signal: Signal, ranges: Vec<(String, u64, u64)>) {
    for (tenant, first, last) in ranges {
        Report::Accepted { signal, tenant, first, last }.send();
    }
}

/// The runs of consecutive numbers, tenant by tenant.
fn ranges(numbers: impl Iterator<Item = (String, u64)>) -> Vec<(String, u64, u64)> {
    let mut ranges: Vec<(String, u64, u64)> = Vec::new();
    for (tenant, seq) in numbers {
        match ranges.iter_mut().rfind(|(of, _, _)| *of == tenant) {
            Some((_, _, last)) if *last + 1 == seq => *last = seq,
            _ => ranges.push((tenant, seq, seq)),
        }
    }
    ranges
}

fn number_of_record(record: &SdkLogRecord) -> Option<(String, u64)> {
    let (mut tenant, mut seq) = (None, None);
    for (key, value) in record.attributes_iter() {
        match (key.as_str(), value) {
            ("tenant", AnyValue::String(text)) => tenant = Some(text.to_string()),
            ("seq", AnyValue::Int(number)) => seq = u64::try_from(*number).ok(),
            _ => {}
        }
    }
    Some((tenant?, seq?))
}

fn number_of_span(span: &SpanData) -> Option<(String, u64)> {
    let attribute = |key| {
        let of_key = span.attributes.iter().find(|attribute| attribute.key.as_str() == key);
        of_key.map(|attribute| attribute.value.to_string())
    };
    Some((attribute("tenant")?, attribute("seq")?.parse().ok()?))
}
