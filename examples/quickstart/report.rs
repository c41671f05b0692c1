//! Reports of the service to the story: one line each on its standard output, written before anything else happens.
//!
//! A line in the pipe stays there when the writer is killed, so the story can count the accepted records.

use std::fmt;
use std::io::Write;
use std::time::Duration;

use opentelemetry::logs::{AnyValue, Severity};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogBatch, SdkLogRecord};
use opentelemetry_spool::LogExporter;

/// A line that the service prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// The exporter is built: the service can log.
    Opened { millis: u64 },
    /// A `tracing` macro returned.
    Emitted { tenant: String, seq: u64 },
    /// `export` returned `Ok` for these records, first and last included.
    Accepted { tenant: String, first: u64, last: u64 },
    /// The records that wait to be delivered, by the exporter's count.
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
            ["accepted", tenant, first, last] => {
                Self::Accepted { tenant: tenant.into(), first: first.parse().ok()?, last: last.parse().ok()? }
            }
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
            Self::Accepted { tenant, first, last } => write!(f, "accepted {tenant} {first} {last}"),
            Self::Pending { records } => write!(f, "pending {records}"),
        }
    }
}

/// Passes every batch to the exporter and reports the accepted records.
#[derive(Debug)]
pub(crate) struct Witness(LogExporter);

impl Witness {
    pub(crate) fn new(exporter: LogExporter) -> Self {
        Self(exporter)
    }
}

impl opentelemetry_sdk::logs::LogExporter for Witness {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        let ranges = ranges(batch.iter().map(|(record, _)| record));
        self.0.export(batch).await?;
        for (tenant, first, last) in ranges {
            Report::Accepted { tenant, first, last }.send();
        }
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

/// The runs of consecutive numbers, tenant by tenant.
fn ranges<'a>(records: impl Iterator<Item = &'a SdkLogRecord>) -> Vec<(String, u64, u64)> {
    let mut ranges: Vec<(String, u64, u64)> = Vec::new();
    for (tenant, seq) in records.filter_map(tenant_and_seq) {
        match ranges.iter_mut().rfind(|(of, _, _)| *of == tenant) {
            Some((_, _, last)) if *last + 1 == seq => *last = seq,
            _ => ranges.push((tenant, seq, seq)),
        }
    }
    ranges
}

fn tenant_and_seq(record: &SdkLogRecord) -> Option<(String, u64)> {
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
