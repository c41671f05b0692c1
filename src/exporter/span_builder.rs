//! [`SpanExporterBuilder`]: the settings that only spans have.

use opentelemetry::Context;
use opentelemetry_sdk::trace::SpanData;

use crate::config::format::SpanFormat;
use crate::error::ExporterBuildError;
use crate::exporter::builder::{ExporterBuilder, Reorderable};
use crate::exporter::intake::Intake;
use crate::exporter::marked::span;
use crate::exporter::span_exporter::{SpanExporter, SpanFilter, SpanPartitionKey};
use crate::observe::probe::{ProbeMode, ProbeReport};

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
    record_filter: Option<Box<SpanFilter>>,
}

impl Reorderable for SpanSettings {}

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

    /// Sets the function that sees each span before it is encoded, changes what may not be stored of it, and returns whether it is
    /// stored at all. Default: none, all of it is.
    ///
    /// What it takes out reaches neither the disk nor the endpoint. A span that it drops, by false, is no loss, and is counted as
    /// [`filtered_records`](crate::SpoolStats::filtered_records). If it panics, the span is lost and counted as `encode_failed`. It is called once per span: in
    /// `export`, or with a [`SpoolProcessor`](crate::SpoolProcessor) on the thread that ends the span, so it must not block.
    ///
    /// It does not see the resource. [`with_partition_key`](Self::with_partition_key) sees the span as it was ended, and the key that it returns is
    /// stored.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::SpanExporter;
    ///
    /// let builder = SpanExporter::builder().with_record_filter(|span| {
    ///     span.attributes.retain(|attribute| attribute.key.as_str() != "user.email");
    ///     for event in &mut span.events.events {
    ///         event.attributes.retain(|attribute| attribute.key.as_str() != "exception.message");
    ///     }
    ///     span.name != "GET /health"
    /// });
    /// ```
    pub fn with_record_filter<F>(mut self, filter: F) -> Self
    where
        F: Fn(&mut SpanData) -> bool + Send + Sync + 'static,
    {
        self.signal.record_filter = Some(Box::new(filter));
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
        let SpanSettings { partition_key, record_filter } = std::mem::take(&mut self.signal);
        // A gap record is a log record: an exporter of logs reports the losses of this one.
        let (encoder, pipeline) = self.start(|_| SpanFormat, |encoder| (encoder, None))?;
        Ok(SpanExporter { encoder, partition_key, record_filter, intake: Intake::new(pipeline) })
    }

    /// Tries the settings without building the exporter: whether they are allowed, whether a spool can be in the directory, whether
    /// the endpoint's host has an address and takes connections, with TLS; and with [`ProbeMode::Send`] whether it takes a span
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
    /// use opentelemetry_spool::{SpanExporter, ProbeMode};
    ///
    /// let report = SpanExporter::builder().probe(ProbeMode::Send); // configured by the environment
    /// println!("{report}");
    /// std::process::exit(if report.is_ok() { 0 } else { 1 });
    /// ```
    pub fn probe(mut self, mode: ProbeMode) -> ProbeReport {
        let partition_key = self.signal.partition_key.take();
        self.try_settings(mode, |_| SpanFormat, |encoder| span(encoder, partition_key.as_deref()))
    }
}
