//! [`Framing`]: how records are joined into a request body, and how the response to it is read.

use std::borrow::Cow;

/// The content type of a form. Such a body can also be the query of a GET.
pub(crate) const FORM: &str = "application/x-www-form-urlencoded";

/// The content type of OTLP in protobuf.
pub(crate) const PROTOBUF: &str = "application/x-protobuf";

/// The rule that joins encoded records to a request body, and the protocol of the response.
///
/// A body is `open`, the records joined by `separator`, `close`. The framing is stored with the records, so a program
/// without the encoder can drain the spool. Each of the four texts has at most 65,535 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Framing {
    content_type: Cow<'static, str>,
    open: Cow<'static, [u8]>,
    separator: Cow<'static, [u8]>,
    close: Cow<'static, [u8]>,
    response_protocol: ResponseProtocol,
    single: bool,
    nesting: Nesting,
}

/// How records stand between a body's open and close.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Nesting {
    /// One after the other.
    #[default]
    Flat,
    /// Inside a message of their scope, which is inside one of their resource.
    Protobuf,
    /// The same in JSON.
    Json,
}

impl Nesting {
    /// The byte in an entry, which never changes: see `FORMAT.md`.
    pub(crate) fn byte(self) -> u8 {
        match self {
            Self::Flat => 0,
            Self::Protobuf => 1,
            Self::Json => 2,
        }
    }

    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        [Self::Flat, Self::Protobuf, Self::Json].into_iter().find(|nesting| nesting.byte() == byte)
    }
}

/// The protocol of an endpoint's responses: what they say beyond the status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ResponseProtocol {
    /// The status alone decides: see [`Verdict`](crate::Verdict). This is the default.
    #[default]
    Status,
    /// OTLP: a success can be partial. It then says how many records are rejected and why, but not which.
    Otlp,
    /// The `_bulk` API of Elasticsearch and OpenSearch: every record has a status. A record whose document exists was
    /// delivered before; a rejected record goes to the rejected store alone; others are retried.
    Bulk,
    /// Splunk's HTTP Event Collector: a code in a 400 says whether the records or the settings are wrong.
    SplunkHec,
    /// ClickHouse over HTTP: the code of the exception says whether the rows, the table or the load is the cause.
    ClickHouse,
}

impl ResponseProtocol {
    /// Each protocol with its byte in an entry and its name in the rejected store. Neither ever changes: see `FORMAT.md`.
    const ALL: [(Self, u8, &str); 5] = [
        (Self::Status, 0, "status"),
        (Self::Otlp, 1, "otlp"),
        (Self::Bulk, 2, "bulk"),
        (Self::SplunkHec, 3, "splunk_hec"),
        (Self::ClickHouse, 4, "clickhouse"),
    ];

    fn row(self) -> &'static (Self, u8, &'static str) {
        Self::ALL.iter().find(|(protocol, ..)| *protocol == self).unwrap_or(&Self::ALL[0])
    }

    /// The protocol's byte in an entry.
    pub(crate) fn byte(self) -> u8 {
        self.row().1
    }

    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.iter().find(|(_, other, _)| *other == byte).map(|(protocol, ..)| *protocol)
    }

    /// The protocol's name in the rejected store.
    pub(crate) fn name(self) -> &'static str {
        self.row().2
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(.., other)| *other == name).map(|(protocol, ..)| *protocol)
    }
}

impl Framing {
    /// A framing of these texts, each of which may be empty; responses are judged by their status.
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
            response_protocol: ResponseProtocol::Status,
            single: false,
            nesting: Nesting::Flat,
        }
    }

    /// A framing of one record per request: the body is the encoded record.
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

    /// Sets the protocol of the endpoint's responses. Default: [`ResponseProtocol::Status`].
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::{ResponseProtocol, Framing};
    ///
    /// let rows = Framing::ndjson().with_response_protocol(ResponseProtocol::ClickHouse);
    /// ```
    pub const fn with_response_protocol(mut self, protocol: ResponseProtocol) -> Self {
        self.response_protocol = protocol;
        self
    }

    /// The same for records that stand in envelopes: see [`NestedEncoder`](crate::encode::NestedEncoder).
    #[cfg(any(feature = "otlp", test, fuzzing))]
    pub(crate) fn nested(mut self, nesting: Nesting) -> Self {
        self.nesting = nesting;
        self
    }

    /// The same with a start that is made while the program runs, of at most 65,535 bytes.
    pub(crate) fn with_open(mut self, open: Vec<u8>) -> Self {
        self.open = Cow::Owned(open);
        self
    }

    /// A JSON array per request: `[` `,` `]`, `application/json`. It is the default encoder's framing.
    pub const fn json_array() -> Self {
        Self::new("application/json", "[", ",", "]")
    }

    /// A JSON object per line, each line ended: `application/x-ndjson`.
    pub const fn ndjson() -> Self {
        Self::new("application/x-ndjson", "", "\n", "\n")
    }

    /// The length of all four texts, in bytes.
    pub(crate) fn len(&self) -> usize {
        self.content_type.len() + self.open.len() + self.separator.len() + self.close.len()
    }

    pub(crate) fn from_stored(
        content_type: String,
        parts: [Vec<u8>; 3],
        response_protocol: ResponseProtocol,
        nesting: Nesting,
    ) -> Self {
        let [open, separator, close] = parts.map(Cow::Owned);
        // The limit of records per batch is stored beside it, so `single` is not.
        let (content_type, single) = (Cow::Owned(content_type), false);
        Self { content_type, open, separator, close, response_protocol, single, nesting }
    }

    /// The same without what a body begins and ends with.
    #[cfg(feature = "cli")]
    pub(crate) fn without_ends(&self) -> Self {
        Self { open: Cow::default(), close: Cow::default(), ..self.clone() }
    }

    /// The value of the `Content-Type` header.
    pub fn content_type(&self) -> &str {
        &self.content_type
    }

    /// The start of a body.
    pub fn open(&self) -> &[u8] {
        &self.open
    }

    /// The text between two records.
    pub fn separator(&self) -> &[u8] {
        &self.separator
    }

    /// The end of a body.
    pub fn close(&self) -> &[u8] {
        &self.close
    }

    /// The protocol of the endpoint's responses.
    pub fn response_protocol(&self) -> ResponseProtocol {
        self.response_protocol
    }

    pub(crate) fn nesting(&self) -> Nesting {
        self.nesting
    }

    /// Whether each record has a request of its own.
    pub fn is_single(&self) -> bool {
        self.single
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_protocol_has_a_byte_and_a_name_of_its_own() {
        let stored = [
            (ResponseProtocol::Status, 0, "status"),
            (ResponseProtocol::Otlp, 1, "otlp"),
            (ResponseProtocol::Bulk, 2, "bulk"),
            (ResponseProtocol::SplunkHec, 3, "splunk_hec"),
            (ResponseProtocol::ClickHouse, 4, "clickhouse"),
        ];
        // What is on disk is read for ever.
        for (protocol, byte, name) in stored {
            assert_eq!((protocol.byte(), protocol.name()), (byte, name));
        }
        for byte in 0..=255 {
            assert!(ResponseProtocol::from_byte(byte).is_none_or(|protocol| protocol.byte() == byte));
        }
        for protocol in [
            ResponseProtocol::Status,
            ResponseProtocol::Otlp,
            ResponseProtocol::Bulk,
            ResponseProtocol::SplunkHec,
            ResponseProtocol::ClickHouse,
        ] {
            assert_eq!(ResponseProtocol::from_byte(protocol.byte()), Some(protocol));
            assert_eq!(ResponseProtocol::from_name(protocol.name()), Some(protocol));
        }
        assert_eq!(ResponseProtocol::from_byte(5), None);
    }

    #[test]
    fn every_nesting_has_a_byte_of_its_own_and_makes_another_framing() {
        for (nesting, byte) in [(Nesting::Flat, 0), (Nesting::Protobuf, 1), (Nesting::Json, 2)] {
            assert_eq!((nesting.byte(), Nesting::from_byte(byte)), (byte, Some(nesting)));
            assert_eq!(Framing::json_array().nested(nesting) == Framing::json_array(), byte == 0);
        }
        assert_eq!(Nesting::from_byte(3), None);
    }
}
