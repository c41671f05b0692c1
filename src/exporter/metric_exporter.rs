//! [`MetricExporter`]: metrics through the spool.

use std::ops::Range;
use std::time::{Duration, SystemTime};

use opentelemetry::InstrumentationScope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::{Metric, ResourceMetrics};
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;

use crate::encode::MetricEncoder;
use crate::encode::blocks::Encoded;
use crate::exporter::handle::SpoolHandle;
use crate::exporter::intake::{Intake, key_by};
use crate::exporter::thinning::Thinning;

pub(crate) type MetricPartitionKey = dyn Fn(&Metric, &InstrumentationScope) -> String + Send + Sync;

/// A metric exporter that writes metrics to a durable spool on disk, and delivers them from there as OTLP.
///
/// `export` returns once the points are on disk; a thread of the exporter sends them, and retries them until the endpoint has
/// taken them. It works like [`LogExporter`](crate::LogExporter), with a queue of its own in the spool's directory, which may be the same. A
/// record of it is a metric with at most 64 points; a loss is counted and reported by an event, and in the stream of a
/// [`LogExporter`](crate::LogExporter) of the process on the same directory: by a gap record in the partition without a name. The order of a
/// partition is kept strictly, so that a receiver sees each stream in order.
///
/// Cumulative temporality is the default, and what is advised: delivery is at least once, and a receiver that does not
/// remember the ids of requests counts a point of delta temporality twice that comes again.
///
/// # Examples
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use opentelemetry_sdk::metrics::SdkMeterProvider;
/// use opentelemetry_spool::MetricExporter;
///
/// let exporter = MetricExporter::builder()
///     .with_endpoint("http://127.0.0.1:9/v1/metrics")
///     .with_spool_dir(dir.path())
///     .build()?;
/// let provider = SdkMeterProvider::builder().with_periodic_exporter(exporter).build();
/// # provider.shutdown()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct MetricExporter {
    pub(crate) encoder: MetricEncoder,
    pub(crate) temporality: Temporality,
    pub(crate) partition_key: Option<Box<MetricPartitionKey>>,
    pub(crate) thinning: Option<Thinning>,
    pub(crate) intake: Intake,
}

impl MetricExporter {
    /// A handle that reads statistics and rejected metrics, and flushes, pauses and resumes delivery.
    pub fn handle(&self) -> SpoolHandle {
        self.intake.handle()
    }

    /// Gives `add` a metric's partition key and what these points of it are on the wire.
    fn encoded<T>(
        &self,
        resource: &Resource,
        scope: &InstrumentationScope,
        metric: &Metric,
        points: Range<usize>,
        add: impl FnOnce(&str, Encoded<'_>) -> T,
    ) -> Option<T> {
        let key = || key_by(self.partition_key.as_deref(), |key| key(metric, scope));
        let write = |out: &mut Vec<u8>| Ok(self.encoder.write(resource, scope, metric, points, out));
        self.intake.encoded(None, key, write, add)
    }
}

impl PushMetricExporter for MetricExporter {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let resource = metrics.resource();
        let mut thinned = self.thinning.as_ref().map(|thinning| (thinning, thinning.begin(resource)));
        let appended = self.intake.export(
            || self.encoder.framing(),
            |framing, blocks| {
                for (scope, metric, points) in records(metrics) {
                    self.intake.pipeline.counters().losses.per_record.note(points.len() as u64);
                    self.encoded(resource, scope, metric, points.clone(), |key, encoded| {
                        blocks.push(key, encoded, framing.separator());
                        if let Some((thinning, streams)) = &mut thinned {
                            thinning.note(streams, key, scope, metric, points);
                        }
                    });
                }
            },
        )?;
        if let (Some((thinning, streams)), Some(newer)) = (thinned, appended.first()) {
            self.intake.withdraw(&thinning.superseded(streams, &appended, SystemTime::now()), newer);
        }
        Ok(())
    }

    /// Does nothing: what was exported is on disk.
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.intake.shutdown(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.temporality
    }
}

/// The metrics, each in the parts that are a record.
fn records(metrics: &ResourceMetrics) -> impl Iterator<Item = (&InstrumentationScope, &Metric, Range<usize>)> {
    let of_scopes = metrics.scope_metrics();
    let all = of_scopes.flat_map(|of_scope| of_scope.metrics().map(|metric| (of_scope.scope(), metric)));
    all.flat_map(|(scope, metric)| MetricEncoder::parts(metric).map(move |points| (scope, metric, points)))
}

impl std::fmt::Debug for MetricExporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let stats = self.intake.pipeline.counters().snapshot();
        f.debug_struct("MetricExporter").field("stats", &stats).finish_non_exhaustive()
    }
}
