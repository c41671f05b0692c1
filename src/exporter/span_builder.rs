//! [`SpanExporterBuilder`]: the settings that only spans have.

use opentelemetry::Context;
use opentelemetry_sdk::trace::SpanData;

use crate::config::format::SpanFormat;
use crate::error::ExporterBuildError;
use crate::exporter::builder::ExporterBuilder;
use crate::exporter::intake::Intake;
use crate::exporter::span_exporter::{SpanExporter, SpanPartitionKey};

/// Configures a [`SpanExporter`].
///
/// The endpoint is `http://localhost:4318/v1/traces` unless it is given; the variables are those of OTLP,
/// `OTEL_EXPORTER_OTLP_TRACES_...` and `OTEL_EXPORTER_OTLP_...`, and `OTEL_EXPORTER_SPOOL_...`. With
/// [`with_max_in_flight`](ExporterBuilder::with_max_in_flight) the default is 8.
pub type SpanExporterBuilder = ExporterBuilder<SpanSettings>;

/// The settings that only an exporter of spans has: see [`SpanExporterBuilder`].
#[derive(Default)]
pub struct SpanSettings {
    partition_key: Option<Box<SpanPartitionKey>>,
}

impl SpanExporter {
    /// A builder with the defaults of every setting.
    pub fn builder() -> SpanExporterBuilder {
        SpanExporterBuilder::default()
    }
}

impl ExporterBuilder<SpanSettings> {
    /// Sets the function that assigns each span to a partition, by its key. Default: one partition, with the empty key.
    ///
    /// Spans of one partition may share a request. The key is stored with the spans, and the header hook sees it. A key has at
    /// most 64 KiB; the rest is cut off. The function is called once per span, in `export`.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::SpanExporter;
    ///
    /// let builder = SpanExporter::builder().with_partition_key(|span| {
    ///     let tenant = span.attributes.iter().find(|attribute| attribute.key.as_str() == "tenant");
    ///     tenant.map_or_else(|| "nobody".to_owned(), |tenant| tenant.value.to_string())
    /// });
    /// ```
    pub fn with_partition_key<F>(mut self, key: F) -> Self
    where
        F: Fn(&SpanData) -> String + Send + Sync + 'static,
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
    pub fn build(mut self) -> Result<SpanExporter, ExporterBuildError> {
        let _suppressed = Context::enter_telemetry_suppressed_scope();
        let partition_key = self.signal.partition_key.take();
        // A gap record is a log record: an exporter of logs reports the losses of this one.
        let (encoder, pipeline) = self.start(|_| SpanFormat, |encoder| (encoder, None))?;
        Ok(SpanExporter { encoder, partition_key, intake: Intake::new(pipeline) })
    }
}
