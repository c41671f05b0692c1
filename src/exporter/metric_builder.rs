//! [`MetricExporterBuilder`]: the settings that only metrics have.

use std::time::Duration;

use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::Metric;

use crate::config::format::MetricFormat;
use crate::config::values::TemporalityPreference;
use crate::error::ExporterBuildError;
use crate::exporter::builder::{ExporterBuilder, given};
use crate::exporter::intake::Intake;
use crate::exporter::marked::metric;
use crate::exporter::metric_exporter::{MetricExporter, MetricPartitionKey};
use crate::exporter::thinning::Thinning;
use crate::observe::probe::{ProbeMode, ProbeReport};

/// Configures a [`MetricExporter`].
///
/// The endpoint is `http://localhost:4318/v1/metrics` unless it is given; the variables are those of OTLP,
/// `OTEL_EXPORTER_OTLP_METRICS_...` and `OTEL_EXPORTER_OTLP_...`, and `OTEL_EXPORTER_SPOOL_...`.
/// [`with_strict_order`](ExporterBuilder::with_strict_order) is on by default. The aggregation of histograms is the meter provider's: a
/// view chooses it, not an exporter.
pub type MetricExporterBuilder = ExporterBuilder<MetricSettings>;

/// The settings that only an exporter of metrics has: see [`MetricExporterBuilder`].
#[derive(Default)]
pub struct MetricSettings {
    partition_key: Option<Box<MetricPartitionKey>>,
}

impl MetricExporter {
    /// A builder with the defaults of every setting.
    pub fn builder() -> MetricExporterBuilder {
        MetricExporterBuilder::default()
    }
}

impl ExporterBuilder<MetricSettings> {
    /// Sets the temporality of sums and histograms. Default: what
    /// `OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE` says, else [`Temporality::Cumulative`].
    ///
    /// With [`Temporality::Delta`] a receiver that does not remember the ids of requests counts a point twice that comes again,
    /// as after a kill or a time-out.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_sdk::metrics::Temporality;
    /// use opentelemetry_spool::MetricExporter;
    ///
    /// let builder = MetricExporter::builder().with_temporality(Temporality::Cumulative);
    /// ```
    pub fn with_temporality(mut self, temporality: Temporality) -> Self {
        let preference = match temporality {
            Temporality::Delta => TemporalityPreference::Delta,
            Temporality::LowMemory => TemporalityPreference::LowMemory,
            _ => TemporalityPreference::Cumulative,
        };
        self.code.settings.temporality_preference = given(preference, "with_temporality");
        self
    }

    /// Thins what waits while the endpoint is away: a collection that was not sent yet is left out once a newer one of the same
    /// interval is on disk, if that has all of its streams. By default, all are sent.
    ///
    /// A cumulative point says all that earlier ones of its stream said, and receivers refuse points that are too old. Lost are
    /// the course of the sums within an interval, the values of gauges between, and exemplars.
    /// [`SpoolStats::thinned_records`](crate::SpoolStats::thinned_records) counts what is left out; it is no loss.
    ///
    /// A collection is sent in any case if it was sent once or an earlier process left it. Where streams come and go, more than
    /// one of an interval is sent. Each that is left is a request of its own, so that an interval of few collections saves
    /// points rather than time.
    ///
    /// It takes [`Temporality::Cumulative`].
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use opentelemetry_spool::MetricExporter;
    ///
    /// let builder = MetricExporter::builder().with_thinning(Duration::from_secs(300));
    /// ```
    pub fn with_thinning(mut self, interval: Duration) -> Self {
        self.code.settings.thinning = given(interval, "with_thinning");
        self
    }

    /// Sets the function that assigns each metric to a partition, by its key. Default: one partition, with the empty key.
    ///
    /// Metrics of one partition may share a request, and keep their order. The key is stored with the metrics, and the header
    /// hook sees it. A key has at most 64 KiB; the rest is cut off. The function is called in `export`, once for every 64 points.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::MetricExporter;
    ///
    /// let builder = MetricExporter::builder().with_partition_key(|_metric, scope| scope.name().to_owned());
    /// ```
    pub fn with_partition_key<F>(mut self, key: F) -> Self
    where
        F: Fn(&Metric, &InstrumentationScope) -> String + Send + Sync + 'static,
    {
        self.signal.partition_key = Some(Box::new(key));
        self
    }

    /// Opens the spool, starts delivery and returns the exporter.
    ///
    /// # Errors
    ///
    /// [`ExporterBuildError::Missing`] and [`ExporterBuildError::Invalid`] name the setting, the problem and the values
    /// that are allowed; [`ExporterBuildError::Spool`] and [`ExporterBuildError::Thread`] name the cause.
    pub fn build(mut self) -> Result<MetricExporter, ExporterBuildError> {
        let _suppressed = Context::enter_telemetry_suppressed_scope();
        let partition_key = self.signal.partition_key.take();
        // A gap record is a log record: an exporter of logs reports the losses of this one.
        let (chosen, pipeline) = self.start(|_| MetricFormat, |chosen| (chosen, None))?;
        let temporality = match chosen.temporality {
            TemporalityPreference::Cumulative => Temporality::Cumulative,
            TemporalityPreference::Delta => Temporality::Delta,
            TemporalityPreference::LowMemory => Temporality::LowMemory,
        };
        let (encoder, thinning) = (chosen.encoder, chosen.thinning.map(Thinning::new));
        Ok(MetricExporter { encoder, temporality, partition_key, thinning, intake: Intake::new(pipeline) })
    }

    /// Tries the settings without building the exporter: whether they are allowed, whether a spool can be in the directory, whether
    /// the endpoint's host has an address and takes connections, with TLS; and with [`ProbeMode::Send`] whether it takes a metric
    /// that is marked as a probe, and what would become of records if it does not.
    ///
    /// It opens no spool, spools nothing and changes nothing on disk, so it works beside an exporter that is running. An endpoint gets
    /// something with [`ProbeMode::Send`] alone: one request, and a second one without gzip if it refuses the first, with the headers, the proxy and the certificates of every other, also from
    /// the header hook. The clock is compared with the date of the response.
    ///
    /// This method blocks the calling thread, for a few times [`with_timeout`](Self::with_timeout) at most; in async code use
    /// `tokio::task::spawn_blocking`. `otel-spool check` does the same with settings from the environment or a file.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use opentelemetry_spool::{MetricExporter, ProbeMode};
    ///
    /// let report = MetricExporter::builder().probe(ProbeMode::Send); // configured by the environment
    /// println!("{report}");
    /// std::process::exit(if report.is_ok() { 0 } else { 1 });
    /// ```
    pub fn probe(mut self, mode: ProbeMode) -> ProbeReport {
        let partition_key = self.signal.partition_key.take();
        self.try_settings(mode, |_| MetricFormat, |chosen| metric(chosen.encoder, partition_key))
    }
}
