//! The types of settings, with their defaults.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};
use std::{fmt, fs, io};

use opentelemetry::logs::Severity;

use crate::error::{BoxError, ExporterBuildError};

/// A value, and the method, variable or line that it comes from: that is what errors name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sourced<T> {
    pub(crate) value: T,
    pub(crate) source: String,
}

/// The source of a value that nobody has given.
pub(crate) const DEFAULT_SOURCE: &str = "the default";

impl<T> Sourced<T> {
    pub(crate) fn new(value: T, source: impl Into<String>) -> Self {
        Self { value, source: source.into() }
    }

    /// The value is not allowed.
    pub(crate) fn invalid(&self, reason: impl Into<String>) -> ExporterBuildError {
        invalid(&self.source, reason, None::<BoxError>)
    }

    /// The value is allowed and probably not meant so.
    pub(crate) fn warning(&self, reason: impl Into<String>) -> Warning {
        Warning::new(&*self.source, reason)
    }

    pub(crate) fn invalid_because(&self, reason: impl Into<String>, cause: impl Into<BoxError>) -> ExporterBuildError {
        invalid(&self.source, reason, Some(cause))
    }
}

/// A setting that is allowed and probably not meant so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Warning {
    /// The method, variable or line that it comes from.
    pub(crate) setting: String,
    /// What is noticed, what follows from it, and what to do.
    pub(crate) reason: String,
}

impl Warning {
    pub(crate) fn new(setting: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { setting: setting.into(), reason: reason.into() }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.setting, self.reason)
    }
}

/// A number and a unit.
pub(crate) fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit.trim()))?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// Bytes, with a binary unit or without.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    let units = [("", 1), ("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];
    with_unit(text, &units)
}

/// Bytes in few columns, with a binary unit.
pub(crate) fn short_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    // In tenths, of which no more are shown where there are many.
    let (mut tenths, mut unit) = (u128::from(bytes) * 10, 0);
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths = tenths.div_ceil(1024);
        unit += 1;
    }
    let name = UNITS[unit];
    if unit == 0 || tenths >= 100 {
        format!("{} {name}", tenths / 10)
    } else {
        format!("{}.{} {name}", tenths / 10, tenths % 10)
    }
}

pub(crate) fn invalid(
    setting: &str,
    reason: impl Into<String>,
    source: Option<impl Into<BoxError>>,
) -> ExporterBuildError {
    ExporterBuildError::Invalid { setting: setting.to_owned(), reason: reason.into(), source: source.map(Into::into) }
}

/// The signal that a queue carries. Only an exporter of the same signal delivers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Signal {
    Logs,
    Traces,
    Metrics,
}

impl Signal {
    /// All signals.
    pub(crate) const ALL: [Self; 3] = [Self::Logs, Self::Traces, Self::Metrics];

    /// The name, also on disk.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Logs => "logs",
            Self::Traces => "traces",
            Self::Metrics => "metrics",
        }
    }

    /// The path of OTLP's requests.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Logs => "v1/logs",
            Self::Traces => "v1/traces",
            Self::Metrics => "v1/metrics",
        }
    }

    /// The signal with whose path another path ends, and what stands before that.
    pub(crate) fn at_end_of(path: &str) -> Option<(Self, &str)> {
        let before = |signal: Self| path.strip_suffix(signal.path())?.strip_suffix('/');
        Self::ALL.into_iter().find_map(|signal| Some((signal, before(signal)?)))
    }

    /// The variable of its endpoint, which is used as it is.
    pub(crate) fn endpoint_variable(self) -> String {
        format!("OTEL_EXPORTER_OTLP_{}_ENDPOINT", self.name().to_uppercase())
    }

    /// The signal of a name, if this version knows it.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|signal| signal.name() == name)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The origin of an endpoint, as its transport names it: scheme, host and port of a URL, or the path of a file or socket. Records
/// that are spooled for one origin go to no other. It holds no credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin(String);

impl Origin {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The origins whose queues an exporter adopts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AdoptFrom {
    /// Its own, and these.
    These(Vec<Origin>),
    /// All: whoever says so has named the endpoint for what is there.
    #[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "only the tool adopts all"))]
    Any,
}

#[cfg(any(test, fuzzing, feature = "cli"))]
impl AdoptFrom {
    /// Its own alone.
    pub(crate) const OWN: Self = Self::These(Vec::new());
}

/// A URL whose query is left out: it can hold a secret.
pub(crate) fn without_query(url: &str) -> String {
    match url.split_once(['?', '#']) {
        Some((url, _)) => format!("{url}?..."),
        None => url.to_owned(),
    }
}

/// URLs, as they were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Urls(pub(crate) Vec<String>);

/// The temporality of metrics, by OTLP's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TemporalityPreference {
    Cumulative,
    Delta,
    LowMemory,
}

/// The durability of an accepted record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// `export` returns after `fdatasync`: an accepted record survives a power cut. This is the default.
    #[default]
    Sync,
    /// Records survive a kill of the process at once, and a power cut after at most this time.
    Interval(Duration),
    /// Records survive a kill of the process; a power cut can lose those that the operating system has not written yet.
    Process,
}

/// The compression of request bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// `Content-Encoding: gzip`. Needs the crate's feature `gzip-http`.
    Gzip,
}

/// The encoding of OTLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// Protobuf: `http/protobuf`, `application/x-protobuf`.
    HttpBinary,
    /// JSON: `http/json`, `application/json`.
    HttpJson,
}

/// The HTTP method of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Method {
    /// POST: the records are the body. This is the default.
    #[default]
    Post,
    /// GET: a record's fields are the query of the URL. Needs a [`FormEncoder`](crate::FormEncoder); records of another
    /// format that are still in the spool are posted.
    Get,
}

/// The names and values of headers, unchecked.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Headers(pub(crate) Vec<(String, String)>);

/// Keys or certificates in PEM, and the files that they come from.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Pem {
    pub(crate) contents: Vec<u8>,
    /// None where they were given in code.
    files: Vec<PathBuf>,
}

impl Pem {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub(crate) fn of_file(file: impl Into<PathBuf>) -> io::Result<Self> {
        let file = file.into();
        Ok(Self { contents: fs::read(&file)?, files: vec![file] })
    }

    /// This, and the other behind it.
    pub(crate) fn and(&self, other: &Self) -> Self {
        let contents = [&self.contents[..], b"\n", &other.contents].concat();
        Self { contents, files: [&self.files[..], &other.files].concat() }
    }

    /// What the files hold now; the same where one of them cannot be read.
    pub(crate) fn read_again(&self) -> Self {
        let read = self.files.iter().map(Self::of_file).collect::<io::Result<Vec<_>>>();
        read.ok().and_then(|read| read.into_iter().reduce(|all, next| all.and(&next))).unwrap_or_else(|| self.clone())
    }
}

impl From<Vec<u8>> for Pem {
    fn from(contents: Vec<u8>) -> Self {
        Self { contents, files: Vec::new() }
    }
}

/// The compression of records in the spool. It has no effect on records that are compressed for the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpoolCompression {
    /// No compression.
    None,
    /// LZ4: a tenth of the disk space for typical logs, at some 0.15 µs a record. This is the default.
    #[default]
    Lz4,
}

/// The policy of a full spool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum FullPolicy {
    /// Evict the oldest segment with its undelivered records; they are counted as `evicted`. This is the default.
    #[default]
    EvictOldest,
    /// Reject new records: `export` returns an error until there is room, and they are counted as `not_written`.
    RejectNew,
}

/// The delays of retries. Retries have no limit in number; [`with_max_age`](crate::LogExporterBuilder::with_max_age) sets
/// one in time.
///
/// The delay before the n-th retry is drawn evenly from zero to `initial_delay * 2^(n-1)`, at most `max_delay` ("full
/// jitter"). A `Retry-After` of the server, up to `max_retry_after`, is never cut short. The delay shrinks with each success: it is
/// also the time between two batches of a partition, until it is over.
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
    /// The upper bound of the first delay. Default: 500 ms.
    pub initial_delay: Duration,
    /// The largest upper bound of a delay; a refusal among successes lengthens it to up to twice that. Default: 30 s.
    pub max_delay: Duration,
    /// The longest `Retry-After` that is obeyed; a longer one is shortened to it. Default: 5 min.
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

/// The pace of delivery.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) retry: RetryPolicy,
    /// The most requests of one partition in flight; at least 1.
    pub(crate) max_in_flight: u16,
    /// No record is sent before an earlier one of its partition, whatever it costs.
    pub(crate) strict_order: bool,
    /// The share of a partition's requests that its backlog has after an outage, from 0 to below 1; the newer records
    /// have the others.
    /// `None` if all come in order.
    pub(crate) backlog_share: Option<f64>,
    /// How long a record is kept and tried again that the endpoint fails for while it takes others.
    pub(crate) defer_for: Duration,
    pub(crate) timeouts: Timeouts,
}

/// The default of [`Pace::defer_for`].
pub(crate) const DEFAULT_DEFER_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// The longest time of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timeouts {
    pub(crate) first: Duration,
    /// The time that it grows to for a batch that it was not enough for.
    pub(crate) max: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { first: Duration::from_secs(10), max: Duration::from_secs(60) }
    }
}

/// The settings of a processor `spool` in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProcessorSettings {
    pub(crate) max_buffer_bytes: Option<u64>,
    pub(crate) commit_delay: Option<Duration>,
    pub(crate) max_wait: Option<Duration>,
    pub(crate) journal: Option<bool>,
    pub(crate) commit_on_panic: Option<bool>,
    /// Of log records alone.
    pub(crate) commit_at: Option<Severity>,
}

/// The limits of the spool in space and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SpoolLimits {
    /// The size of the whole directory on disk, all processes together.
    pub(crate) max_bytes: u64,
    /// The bytes that stay free on the file system.
    pub(crate) min_free_bytes: u64,
    pub(crate) when_full: FullPolicy,
    pub(crate) max_age: Option<Duration>,
    /// Records that were appended before this time expire.
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

/// The limits of one batch, and the time that it may wait to fill up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchLimits {
    /// At least 1.
    pub(crate) max_records: u64,
    /// The size of the request body before compression; a single larger record is a batch of its own.
    pub(crate) max_bytes: u64,
    pub(crate) linger: Duration,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { max_records: 512, max_bytes: 1 << 20, linger: Duration::ZERO }
    }
}
