//! [`LogExporterBuilder`]: the settings that only log records have.

use std::sync::{Arc, RwLock};

use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_sdk::logs::SdkLogRecord;

use crate::config::format::LogFormat;
use crate::config::values::Method;
use crate::encode::{Encoder, Filtered, LogView};
use crate::error::ExporterBuildError;
use crate::exporter::builder::{ExporterBuilder, Reorderable, given};
use crate::exporter::gap_record::gap_encoder;
use crate::exporter::intake::Intake;
use crate::exporter::log_exporter::{LogExporter, PartitionKey, RecordFilter};
use crate::exporter::marked::log_record;
use crate::observe::probe::{ProbeMode, ProbeReport};

/// Configures a [`LogExporter`].
pub type LogExporterBuilder = ExporterBuilder<LogSettings>;

/// The settings that only an exporter of log records has: see [`LogExporterBuilder`].
#[derive(Default)]
pub struct LogSettings {
    pub(crate) format: LogFormat,
    pub(crate) partition_key: Option<Box<PartitionKey>>,
    record_filter: Option<Box<RecordFilter>>,
}

impl Reorderable for LogSettings {}

impl LogExporter {
    /// A builder with the defaults of every setting.
    pub fn builder() -> LogExporterBuilder {
        LogExporterBuilder::default()
    }
}

impl ExporterBuilder<LogSettings> {
    /// Sets the wire format. Default: OTLP with [`with_http`](Self::with_http) or an endpoint of OTLP, else
    /// [`JsonEncoder::default`](crate::JsonEncoder).
    ///
    /// Records that are in the spool keep the format with which they were logged. The later call of this and
    /// [`with_protocol`](Self::with_protocol) wins.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::{JsonEncoder, LogExporter};
    ///
    /// let builder = LogExporter::builder().with_encoder(JsonEncoder::default().with_message_type("checkout"));
    /// ```
    pub fn with_encoder(mut self, encoder: impl Encoder) -> Self {
        self.signal.format.encoder = Some(Box::new(encoder));
        self.code.settings.protocol = None;
        self
    }

    /// Sets the HTTP method. Default: [`Method::Post`].
    ///
    /// [`Method::Get`] sends each record as the query of the URL, and needs a [`FormEncoder`](crate::FormEncoder).
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::{FormEncoder, LogExporter, Method};
    ///
    /// let form = FormEncoder::new().with_field("msg", "{message}")?;
    /// let builder = LogExporter::builder().with_encoder(form).with_method(Method::Get);
    /// # Ok::<(), opentelemetry_spool::TemplateError>(())
    /// ```
    pub fn with_method(mut self, method: Method) -> Self {
        self.code.settings.method = given(method, "with_method");
        self
    }

    /// Sets the function that assigns each record to a partition, by its key. Default: one partition, with the empty key.
    ///
    /// Records of one partition may share a request, and keep their order; partitions are delivered independently of each
    /// other. The key is stored with the records, and the header hook sees it. A key has at most 64 KiB; the rest is cut
    /// off. The function is called once per record, in `export`, or with a [`SpoolProcessor`](crate::SpoolProcessor) on the
    /// thread that logs. The empty key can also belong to a gap record, if losses occur in very many partitions at once.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry::logs::AnyValue;
    /// use opentelemetry_spool::LogExporter;
    ///
    /// let builder = LogExporter::builder().with_partition_key(|record, _scope| {
    ///     match record.attributes_iter().find(|(key, _)| key.as_str() == "tenant") {
    ///         Some((_, AnyValue::String(tenant))) => tenant.to_string(),
    ///         _ => "nobody".to_owned(),
    ///     }
    /// });
    /// ```
    pub fn with_partition_key<F>(mut self, key: F) -> Self
    where
        F: Fn(&SdkLogRecord, &InstrumentationScope) -> String + Send + Sync + 'static,
    {
        self.signal.partition_key = Some(Box::new(key));
        self
    }

    /// Sets the function that sees each record before it is encoded, and says what may be stored of it. Default: none, all of it is.
    ///
    /// What it leaves out reaches neither the disk (spool, journal, rejected store) nor the endpoint. A record that it drops is no loss, and is counted as
    /// [`filtered_records`](crate::SpoolStats::filtered_records). If it panics, the record is lost and counted as `encode_failed`. It is called
    /// once per record: in `export`, or with a [`SpoolProcessor`](crate::SpoolProcessor) on the thread that logs, so it must not
    /// block or log.
    ///
    /// It cannot leave out what records share: the resource and the scope. [`with_partition_key`](Self::with_partition_key) sees the record as it
    /// was logged, and the key that it returns is stored. An encoder that takes the SDK's records alone
    /// ([`FromSdk`](crate::FromSdk)) cannot encode a record that is redacted: `encode_failed`.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry::logs::AnyValue;
    /// use opentelemetry_spool::{Filtered, LogExporter, Redaction};
    ///
    /// let builder = LogExporter::builder().with_record_filter(|record, _scope| {
    ///     if record.target() == Some("app::health") {
    ///         return Filtered::Drop;
    ///     }
    ///     let redaction = Redaction::new().without("password").with_attribute("user.email", "redacted");
    ///     match record.body() {
    ///         Some(AnyValue::String(text)) if text.as_str().contains("token=") => {
    ///             Filtered::Redact(redaction.with_body("redacted: it had a token"))
    ///         }
    ///         _ => Filtered::Redact(redaction),
    ///     }
    /// });
    /// ```
    pub fn with_record_filter<F>(mut self, filter: F) -> Self
    where
        F: Fn(&dyn LogView, &InstrumentationScope) -> Filtered + Send + Sync + 'static,
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
    pub fn build(mut self) -> Result<LogExporter, ExporterBuildError> {
        let _suppressed = Context::enter_telemetry_suppressed_scope();
        let LogSettings { partition_key, record_filter, .. } = &mut self.signal;
        let (partition_key, record_filter) = (partition_key.take(), record_filter.take());
        let (encoder, pipeline) = self.start(
            |settings| settings.format,
            |encoder| {
                let encoder = Arc::new(RwLock::new(encoder));
                let gap_encoder = gap_encoder(encoder.clone());
                (encoder, Some(gap_encoder))
            },
        )?;
        Ok(LogExporter { encoder, partition_key, record_filter, intake: Intake::new(pipeline) })
    }

    /// Tries the settings without building the exporter: whether they are allowed, whether a spool can be in the directory, whether
    /// the endpoint's host has an address and takes connections, with TLS; and with [`ProbeMode::Send`] whether it takes a log record
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
    /// use opentelemetry_spool::{LogExporter, ProbeMode};
    ///
    /// let report = LogExporter::builder().probe(ProbeMode::Send); // configured by the environment
    /// println!("{report}");
    /// std::process::exit(if report.is_ok() { 0 } else { 1 });
    /// ```
    pub fn probe(mut self, mode: ProbeMode) -> ProbeReport {
        let partition_key = self.signal.partition_key.take();
        self.try_settings(mode, |settings| settings.format, |encoder| log_record(encoder, partition_key.as_deref()))
    }
}
