//! [`SpanExporter`]: spans through the spool.

use std::time::Duration;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::SpanData;

use crate::encode::blocks::Encoded;
use crate::encode::{Filtered, SpanEncoder};
use crate::exporter::handle::SpoolHandle;
use crate::exporter::intake::{Intake, key_by};

pub(crate) type SpanPartitionKey = dyn Fn(&SpanData) -> String + Send + Sync;

pub(crate) type SpanFilter = dyn Fn(&mut SpanData) -> bool + Send + Sync;

/// A span exporter that writes spans to a durable spool on disk, and delivers them from there as OTLP.
///
/// `export` returns once the spans are on disk; a thread of the exporter sends them, and retries them until the endpoint has
/// taken them. It works like [`LogExporter`](crate::LogExporter), with a queue of its own in the spool's directory, which may be the same. A
/// loss is counted and reported by an event, and in the stream of a [`LogExporter`](crate::LogExporter) of the process on the same directory: by a gap record
/// in the partition without a name. Nobody is owed an order of spans, so several requests of one
/// partition are in flight.
///
/// # Examples
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use opentelemetry_sdk::trace::SdkTracerProvider;
/// use opentelemetry_spool::SpanExporter;
///
/// let exporter = SpanExporter::builder()
///     .with_endpoint("http://127.0.0.1:9/v1/traces")
///     .with_spool_dir(dir.path())
///     .build()?;
/// let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).build();
/// # provider.shutdown()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SpanExporter {
    pub(crate) encoder: SpanEncoder,
    pub(crate) partition_key: Option<Box<SpanPartitionKey>>,
    pub(crate) record_filter: Option<Box<SpanFilter>>,
    pub(crate) intake: Intake,
}

impl SpanExporter {
    /// A handle that reads statistics and rejected spans, and flushes, pauses and resumes delivery.
    pub fn handle(&self) -> SpoolHandle {
        self.intake.handle()
    }

    /// Gives `add` a span's partition key and what it is on the wire. A span that has none, or that is filtered out, is counted.
    pub(crate) fn encoded<T>(&self, mut span: SpanData, add: impl FnOnce(&str, Encoded<'_>) -> T) -> Option<T> {
        let ended_at = span.end_time;
        // Of the span as it was ended.
        let key = key_by(self.partition_key.as_deref(), |key| key(&span));
        if let Some(filter) = &self.record_filter {
            self.intake.filtered(|| if filter(&mut span) { Filtered::Keep } else { Filtered::Drop })?;
        }
        let write = |out: &mut Vec<u8>| Ok(self.encoder.write(&span, out));
        self.intake.encoded(Some(ended_at), || key, write, add)
    }
}

impl opentelemetry_sdk::trace::SpanExporter for SpanExporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let appended = self.intake.export(
            || self.encoder.framing(),
            |framing, blocks| {
                for span in batch {
                    self.encoded(span, |key, encoded| blocks.push(key, encoded, framing.separator()));
                }
            },
        );
        appended.map(drop)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.intake.shutdown(timeout)
    }

    /// Does nothing: what was exported is on disk.
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.encoder.set_resource(resource);
    }
}

impl std::fmt::Debug for SpanExporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let stats = self.intake.pipeline.counters().snapshot();
        f.debug_struct("SpanExporter").field("stats", &stats).finish_non_exhaustive()
    }
}
