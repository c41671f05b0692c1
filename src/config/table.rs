//! Every setting that is a plain value: what was given, by whom, and what counts if several did.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::parse::parse;
use crate::config::values::{
    Compression, Durability, FullPolicy, Headers, Method, Pem, Protocol, Sourced, SpoolCompression,
    TemporalityPreference, Urls, Warning,
};
use crate::encode::Template;
use crate::encode::formats::Format;
use crate::error::ExporterBuildError;

/// Where a setting stands in the environment.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Variable {
    /// `OTEL_EXPORTER_OTLP_LOGS_`, or that of another signal, and this, else `OTEL_EXPORTER_OTLP_` and this.
    Otlp(&'static str),
    /// `OTEL_EXPORTER_OTLP_METRICS_` and this, of metrics alone.
    OtlpMetrics(&'static str),
    /// `OTEL_EXPORTER_SPOOL_` and this.
    Spool(&'static str),
    /// `OTEL_EXPORTER_SPOOL_` and this, of metrics alone.
    SpoolMetrics(&'static str),
}

macro_rules! settings {
    ($($field:ident: $type:ty, $variable:ident($name:literal);)*) => {
        /// The settings that one side gives: the code, the environment or a file.
        #[derive(Clone, Default)]
        pub(crate) struct Settings {
            /// OTLP is meant, unless something else is said.
            pub(crate) with_http: bool,
            /// What is noticed of them.
            pub(crate) warnings: Vec<Warning>,
            $(pub(crate) $field: Option<Sourced<$type>>,)*
        }

        impl Settings {
            /// Takes from `other` each setting that is not given here.
            pub(crate) fn or(self, other: Self) -> Self {
                Self {
                    with_http: self.with_http || other.with_http,
                    warnings: [self.warnings, other.warnings].concat(),
                    $($field: self.$field.or(other.$field),)*
                }
            }

            /// Takes what `text` has for each setting, by its name and its variable.
            ///
            /// # Errors
            ///
            /// Those of `text`, and if a text is not what the setting takes.
            pub(crate) fn read(
                mut text: impl FnMut(&'static str, Variable) -> Result<Option<Sourced<String>>, ExporterBuildError>,
            ) -> Result<Self, ExporterBuildError> {
                Ok(Self {
                    with_http: false,
                    warnings: Vec::new(),
                    $($field: match text(stringify!($field), Variable::$variable($name))? {
                        Some(text) => Some(parse(&text)?),
                        None => None,
                    },)*
                })
            }
        }

        /// Each setting by its name, with its variable.
        pub(crate) const VARIABLES: &[(&str, Variable)] = &[$((stringify!($field), Variable::$variable($name))),*];

        /// The names of all settings.
        #[cfg(feature = "config-file")]
        pub(crate) const NAMES: &[&str] = &[$(stringify!($field)),*];
    };
}

settings! {
    endpoint: String, Otlp("ENDPOINT");
    headers: Headers, Otlp("HEADERS");
    protocol: Option<Protocol>, Otlp("PROTOCOL");
    compression: Option<Compression>, Otlp("COMPRESSION");
    temporality_preference: TemporalityPreference, OtlpMetrics("TEMPORALITY_PREFERENCE");
    thinning: Duration, SpoolMetrics("METRICS_THINNING");
    timeout: Duration, Otlp("TIMEOUT");
    certificate: Pem, Otlp("CERTIFICATE");
    client_key: Pem, Otlp("CLIENT_KEY");
    client_certificate: Pem, Otlp("CLIENT_CERTIFICATE");
    spool_dir: PathBuf, Spool("DIR");
    required_mount: PathBuf, Spool("REQUIRED_MOUNT");
    adopt_from: Urls, Spool("ADOPT_FROM");
    format: &'static Format, Spool("FORMAT");
    template: Template, Spool("TEMPLATE");
    method: Method, Spool("METHOD");
    max_batch_records: usize, Spool("MAX_BATCH_RECORDS");
    max_batch_bytes: u64, Spool("MAX_BATCH_BYTES");
    linger: Duration, Spool("LINGER");
    max_in_flight: usize, Spool("MAX_IN_FLIGHT");
    strict_order: bool, Spool("STRICT_ORDER");
    backlog_share: f64, Spool("BACKLOG_SHARE");
    defer_for: Duration, Spool("DEFER_FOR");
    max_timeout: Duration, Spool("MAX_TIMEOUT");
    retry_initial_delay: Duration, Spool("RETRY_INITIAL_DELAY");
    retry_max_delay: Duration, Spool("RETRY_MAX_DELAY");
    retry_max_retry_after: Duration, Spool("RETRY_MAX_RETRY_AFTER");
    durability: Durability, Spool("DURABILITY");
    spool_compression: SpoolCompression, Spool("COMPRESSION");
    segment_bytes: u64, Spool("SEGMENT_BYTES");
    max_spool_bytes: u64, Spool("MAX_BYTES");
    min_free_bytes: u64, Spool("MIN_FREE_BYTES");
    full_policy: FullPolicy, Spool("FULL_POLICY");
    max_age: Duration, Spool("MAX_AGE");
    max_rejected_bytes: u64, Spool("MAX_REJECTED_BYTES");
    connect_timeout: Duration, Spool("CONNECT_TIMEOUT");
    keep_alive: Duration, Spool("KEEP_ALIVE");
    max_request_bytes: u64, Spool("MAX_REQUEST_BYTES");
    max_response_bytes: u64, Spool("MAX_RESPONSE_BYTES");
    response_text: bool, Spool("RESPONSE_TEXT");
    proxy: String, Spool("PROXY");
    danger_accept_invalid_certificates: bool, Spool("DANGER_ACCEPT_INVALID_CERTIFICATES");
}
