//! [`LogExporterBuilder`]: the settings that only log records have.

use std::sync::{Arc, RwLock};

use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_sdk::logs::SdkLogRecord;

use crate::config::format::LogFormat;
use crate::config::values::Method;
use crate::encode::Encoder;
use crate::error::ExporterBuildError;
use crate::exporter::builder::{ExporterBuilder, given};
use crate::exporter::gap_record::gap_encoder;
use crate::exporter::intake::Intake;
use crate::exporter::log_exporter::{LogExporter, PartitionKey};

/// Configures a [`LogExporter`].
pub type LogExporterBuilder = ExporterBuilder<LogSettings>;

/// The settings that only an exporter of log records has: see [`LogExporterBuilder`].
#[derive(Default)]
pub struct LogSettings {
    pub(crate) format: LogFormat,
    pub(crate) partition_key: Option<Box<PartitionKey>>,
}

impl LogExporter {
    /// A builder with the defaults of every setting.
    pub fn builder() -> LogExporterBuilder {
        LogExporterBuilder::default()
    }
}

impl ExporterBuilder<LogSettings> {
    /// Sets the wire format. Default: [`JsonEncoder::default`](crate::JsonEncoder).
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

    /// Opens the spool, starts delivery and returns the exporter.
    ///
    /// # Errors
    ///
    /// [`ExporterBuildError::Missing`] and [`ExporterBuildError::Invalid`] name the setting, the problem and the values
    /// that are allowed; [`ExporterBuildError::Spool`] and [`ExporterBuildError::Thread`] name the cause.
    pub fn build(mut self) -> Result<LogExporter, ExporterBuildError> {
        let _suppressed = Context::enter_telemetry_suppressed_scope();
        let partition_key = self.signal.partition_key.take();
        let (encoder, pipeline) = self.start(
            |settings| settings.format,
            |encoder| {
                let encoder = Arc::new(RwLock::new(encoder));
                let gap_encoder = gap_encoder(encoder.clone());
                (encoder, Some(gap_encoder))
            },
        )?;
        Ok(LogExporter { encoder, partition_key, intake: Intake::new(pipeline) })
    }
}
