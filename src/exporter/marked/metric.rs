//! The marked metric.

use std::time::Duration;

use opentelemetry::metrics::MeterProvider;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider, Temporality};

use super::caught::Caught;
use super::record::{MARK, Marked, NAME, TEXT};
use crate::encode::MetricEncoder;
use crate::error::BoxError;
use crate::exporter::intake::key_by;
use crate::exporter::metric_exporter::MetricPartitionKey;

/// Makes the record as the SDK hands out its metrics, which nobody can keep.
struct Marker {
    encoder: MetricEncoder,
    key: Option<Box<MetricPartitionKey>>,
    caught: Caught<Result<Marked, BoxError>>,
}

impl Marker {
    fn mark(&self, metrics: &ResourceMetrics) -> Result<Marked, BoxError> {
        let of_scope = metrics.scope_metrics().next().ok_or("the SDK gave no metric")?;
        let (scope, metric) = (of_scope.scope(), of_scope.metrics().next().ok_or("the SDK gave no metric")?);
        let key = key_by(self.key.as_deref(), |key| key(metric, scope))?;
        let points = MetricEncoder::parts(metric).next().ok_or("the SDK gave no point")?;
        Marked::new(key, self.encoder.framing(), |out| {
            Ok(self.encoder.write(metrics.resource(), scope, metric, points, out))
        })
    }
}

impl PushMetricExporter for Marker {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        self.caught.set(self.mark(metrics));
        Ok(())
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn temporality(&self) -> Temporality {
        Temporality::Cumulative
    }
}

/// A metric with one point.
pub(crate) fn metric(encoder: MetricEncoder, key: Option<Box<MetricPartitionKey>>) -> Result<Marked, BoxError> {
    let (marker, caught) = Caught::new();
    let reader = PeriodicReader::builder(Marker { encoder, key, caught: marker }).build();
    let provider = SdkMeterProvider::builder().with_reader(reader).build();
    provider.meter(NAME).u64_gauge(MARK).with_description(TEXT).build().record(1, &[]);
    provider.shutdown()?;
    caught.take()?
}
