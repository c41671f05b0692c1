//! Plain data about batches: what a header hook sees, how a request body is framed and how its answer is read.

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, SystemTime};

use crate::error::HeaderError;

/// The content type of a form. Such a body can also be the query of a GET.
pub(crate) const FORM: &str = "application/x-www-form-urlencoded";

/// How encoded records are put together into one request body, and how what the endpoint says to it is read.
///
/// A body is `open`, the records joined by `separator`, `close`. The framing is stored with the records, so a
/// spool can be drained by a program that does not have the encoder that filled it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Framing {
    content_type: Cow<'static, str>,
    open: Cow<'static, [u8]>,
    separator: Cow<'static, [u8]>,
    close: Cow<'static, [u8]>,
    answers: Answers,
    single: bool,
}

/// What an endpoint's answer says, beyond its status: what *its* protocol calls success.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Answers {
    /// The status says it all: see [`Verdict`](crate::Verdict). This is the default.
    #[default]
    Status,
    /// OTLP: a success can be partial, and then says how many records were refused, and why, but not which.
    Otlp,
    /// Elasticsearch's and OpenSearch's `_bulk`: every record has a status of its own. One whose document exists already
    /// was delivered before; one that is refused goes to the rejected store alone; others come again.
    Bulk,
    /// Splunk's HTTP Event Collector: a code says what of a 400 is the records' fault and what that of the settings.
    SplunkHec,
    /// ClickHouse over HTTP: the code of the exception says whether the rows, the table or the load is to blame.
    ClickHouse,
}

impl Framing {
    /// A framing of one's own; each part may be empty.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::Framing;
    ///
    /// let lines = Framing::new("text/plain; charset=utf-8", "", "\n", "");
    /// assert_eq!(lines.content_type(), "text/plain; charset=utf-8");
    /// ```
    pub const fn new(
        content_type: &'static str,
        open: &'static str,
        separator: &'static str,
        close: &'static str,
    ) -> Self {
        Self {
            content_type: Cow::Borrowed(content_type),
            open: Cow::Borrowed(open.as_bytes()),
            separator: Cow::Borrowed(separator.as_bytes()),
            close: Cow::Borrowed(close.as_bytes()),
            answers: Answers::Status,
            single: false,
        }
    }

    /// A body that is one record, as it was encoded: each record has a request of its own.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::Framing;
    ///
    /// let form = Framing::single("application/x-www-form-urlencoded");
    /// assert!(form.is_single());
    /// ```
    pub const fn single(content_type: &'static str) -> Self {
        let mut framing = Self::new(content_type, "", "", "");
        framing.single = true;
        framing
    }

    /// How the endpoint's answers are read. Default: [`Answers::Status`].
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::{Answers, Framing};
    ///
    /// let rows = Framing::ndjson().with_answers(Answers::ClickHouse);
    /// ```
    pub const fn with_answers(mut self, answers: Answers) -> Self {
        self.answers = answers;
        self
    }

    /// One JSON array per request: `[` `,` `]`, `application/json`. The default encoder's framing.
    pub const fn json_array() -> Self {
        Self::new("application/json", "[", ",", "]")
    }

    /// One JSON object per line, each line ended: `application/x-ndjson`.
    pub const fn ndjson() -> Self {
        Self::new("application/x-ndjson", "", "\n", "\n")
    }

    /// How many bytes its parts have.
    pub(crate) fn len(&self) -> usize {
        self.content_type.len() + self.open.len() + self.separator.len() + self.close.len()
    }

    pub(crate) fn from_stored(content_type: String, parts: [Vec<u8>; 3], answers: Answers) -> Self {
        let [open, separator, close] = parts.map(Cow::Owned);
        // Into how many records it is divided is stored beside it.
        Self { content_type: Cow::Owned(content_type), open, separator, close, answers, single: false }
    }

    /// The value of the `Content-Type` header.
    pub fn content_type(&self) -> &str {
        &self.content_type
    }

    /// What a body begins with.
    pub fn open(&self) -> &[u8] {
        &self.open
    }

    /// What stands between two records.
    pub fn separator(&self) -> &[u8] {
        &self.separator
    }

    /// What a body ends with.
    pub fn close(&self) -> &[u8] {
        &self.close
    }

    /// How the endpoint's answers are read.
    pub fn answers(&self) -> Answers {
        self.answers
    }

    /// Whether each record has a request of its own.
    pub fn is_single(&self) -> bool {
        self.single
    }
}

/// What a header hook is told of the batch that it is asked for.
#[derive(Clone, Debug)]
pub struct BatchContext {
    pub(crate) id: String,
    pub(crate) partition_key: String,
    pub(crate) records: usize,
    pub(crate) bytes: usize,
    pub(crate) first_timestamp: SystemTime,
    pub(crate) last_timestamp: SystemTime,
    pub(crate) attempt: u32,
    pub(crate) age: Duration,
}

impl BatchContext {
    /// The id of the batch, the same on every attempt and after a restart; sent as `Idempotency-Key`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What the partition key function returned for every record of the batch; empty without one.
    pub fn partition_key(&self) -> &str {
        &self.partition_key
    }

    /// How many records the batch has, at least one.
    pub fn records(&self) -> usize {
        self.records
    }

    /// The length of the request body in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The earliest timestamp among the entries that the batch touches.
    pub fn first_timestamp(&self) -> SystemTime {
        self.first_timestamp
    }

    /// The latest timestamp among the entries that the batch touches.
    pub fn last_timestamp(&self) -> SystemTime {
        self.last_timestamp
    }

    /// Which attempt this is, from 1, counted since the batch was first read by this process.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// How long the oldest record of the batch has been in the spool.
    pub fn age(&self) -> Duration {
        self.age
    }
}

/// The headers of one request.
///
/// Names are case-insensitive. Every value is checked as it goes in, and what is wrong with it is said in words.
/// `Debug` shows names only, never a value.
#[derive(Clone, Default)]
pub struct HeaderMap(http::HeaderMap);

impl HeaderMap {
    /// An empty map.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a header, in place of any value that it had.
    ///
    /// # Errors
    ///
    /// If `name` is not a header name, if `value` has characters other than visible ASCII, space, tab and bytes
    /// above 127, or if the header is one that frames the request (`content-length`, `transfer-encoding`).
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::HeaderMap;
    ///
    /// let mut headers = HeaderMap::new();
    /// headers.insert("x-tenant", "acme")?;
    /// assert_eq!(headers.get("X-Tenant"), Some("acme"));
    ///
    /// let error = headers.insert("x-tenant", "acme\r\nx-admin: 1").unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "header `x-tenant`: the value has the control character 0x0d at byte 4; \
    ///      allowed are visible characters, space and tab"
    /// );
    /// # Ok::<(), opentelemetry_spool::HeaderError>(())
    /// ```
    pub fn insert(&mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Result<(), HeaderError> {
        let (name, value) = (name.as_ref(), value.as_ref());
        let parsed = http::HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
            let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            HeaderError::Name { at: name.bytes().position(|byte| !is_token(byte)).unwrap_or(0) }
        })?;
        if parsed == http::header::CONTENT_LENGTH || parsed == http::header::TRANSFER_ENCODING {
            return Err(HeaderError::Framing { name: name.to_owned() });
        }
        let value = http::HeaderValue::from_bytes(value.as_bytes()).map_err(|_| {
            let at = value.bytes().position(|byte| (byte < 0x20 && byte != b'\t') || byte == 0x7f).unwrap_or(0);
            HeaderError::Value { name: name.to_owned(), byte: value.as_bytes().get(at).copied().unwrap_or(0), at }
        })?;
        self.0.insert(parsed, value);
        Ok(())
    }

    /// The value of a header, if it is there and is visible ASCII.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(|value| value.to_str().ok())
    }

    /// Removes a header; says whether it was there.
    pub fn remove(&mut self, name: &str) -> bool {
        self.0.remove(name).is_some()
    }

    /// The number of headers.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no header.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sets every header of `others`.
    pub(crate) fn extend(&mut self, others: &Self) {
        for (name, value) in &others.0 {
            self.0.insert(name.clone(), value.clone());
        }
    }

    pub(crate) fn into_http(self) -> http::HeaderMap {
        self.0
    }
}

impl fmt::Debug for HeaderMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
