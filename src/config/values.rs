//! Settings as plain values, with their defaults.

use std::time::{Duration, SystemTime};

use crate::error::{BoxError, ExporterBuildError};

/// A value, and the method, variable or line that it comes from: that is what errors name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sourced<T> {
    pub(crate) value: T,
    pub(crate) source: String,
}

impl<T> Sourced<T> {
    pub(crate) fn new(value: T, source: impl Into<String>) -> Self {
        Self { value, source: source.into() }
    }

    /// The value is not allowed.
    pub(crate) fn invalid(&self, reason: impl Into<String>) -> ExporterBuildError {
        invalid(&self.source, reason, None::<BoxError>)
    }

    pub(crate) fn invalid_because(&self, reason: impl Into<String>, cause: impl Into<BoxError>) -> ExporterBuildError {
        invalid(&self.source, reason, Some(cause))
    }
}

pub(crate) fn invalid(
    setting: &str,
    reason: impl Into<String>,
    source: Option<impl Into<BoxError>>,
) -> ExporterBuildError {
    ExporterBuildError::Invalid { setting: setting.to_owned(), reason: reason.into(), source: source.map(Into::into) }
}

/// When an accepted record is safe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// `export` returns after `fdatasync`: accepted records survive a power cut. This is the default.
    #[default]
    Sync,
    /// Records survive a kill of the process at once, a power cut after at most this long.
    Interval(Duration),
    /// Records survive a kill of the process; a power cut can take what the operating system had not written yet.
    Process,
}

/// How request bodies are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// `Content-Encoding: gzip`. Takes the crate's feature `gzip-http`.
    Gzip,
}

/// In which encoding OTLP is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// Protobuf: `http/protobuf`, `application/x-protobuf`.
    HttpBinary,
    /// JSON: `http/json`, `application/json`.
    HttpJson,
}

/// With which method requests are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Method {
    /// The records are the body. This is the default.
    #[default]
    Post,
    /// A record's fields are the query of the URL. Takes a [`FormEncoder`](crate::FormEncoder); what is in the spool
    /// already and is no form is posted.
    Get,
}

/// Names and values, as they were given.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Headers(pub(crate) Vec<(String, String)>);

/// What a file in PEM holds: keys or certificates.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Pem(pub(crate) Vec<u8>);

/// How records are compressed in the spool, where they are not compressed for the wire already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpoolCompression {
    /// They lie there as they are sent.
    None,
    /// LZ4: a tenth of the disk for typical logs, at some 0.15 µs a record. This is the default.
    #[default]
    Lz4,
}

/// What gives way when the spool is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum FullPolicy {
    /// The oldest segment of the spool is dropped, with what of it is not delivered. This is the default.
    #[default]
    EvictOldest,
    /// New records are not accepted: `export` returns an error until there is room again.
    RejectNew,
}

/// How a failed request is repeated. Repeating never ends.
///
/// The delay before the n-th repetition is drawn evenly from zero to `initial_delay * 2^(n-1)`, at most `max_delay`
/// ("full jitter"). A `Retry-After` from the server takes its place, up to `max_retry_after`.
///
/// # Examples
///
/// ```
/// use opentelemetry_spool::RetryPolicy;
/// use std::time::Duration;
///
/// let mut policy = RetryPolicy::default();
/// policy.max_delay = Duration::from_secs(5);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// The bound of the first delay. Default: 500 ms.
    pub initial_delay: Duration,
    /// The largest bound of a delay. Default: 30 s.
    pub max_delay: Duration,
    /// The longest `Retry-After` that is obeyed; a longer one is cut to this. Default: 5 min.
    pub max_retry_after: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            initial_delay: Duration::from_millis(500),
            max_delay: Duration::from_secs(30),
            max_retry_after: Duration::from_secs(300),
        }
    }
}

/// How fast what waits is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) retry: RetryPolicy,
    /// Requests of one partition at the same time; at least 1.
    pub(crate) max_in_flight: u16,
}

/// How much the spool may take, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SpoolLimits {
    /// On disk, of the whole directory, all processes together.
    pub(crate) max_bytes: u64,
    /// What is left free on the file system.
    pub(crate) min_free_bytes: u64,
    pub(crate) when_full: FullPolicy,
    pub(crate) max_age: Option<Duration>,
    /// What was spooled before is given up.
    pub(crate) not_before: Option<SystemTime>,
    pub(crate) max_rejected_bytes: u64,
}

impl Default for SpoolLimits {
    fn default() -> Self {
        Self {
            max_bytes: 1 << 30,
            min_free_bytes: 0,
            when_full: FullPolicy::default(),
            max_age: None,
            not_before: None,
            max_rejected_bytes: 16 << 20,
        }
    }
}

/// What one request may carry and how long it may wait to be filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchLimits {
    /// At least 1.
    pub(crate) max_records: u64,
    /// Of the request body, before it is compressed; a single larger record goes alone.
    pub(crate) max_bytes: u64,
    pub(crate) linger: Duration,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { max_records: 512, max_bytes: 1 << 20, linger: Duration::ZERO }
    }
}
