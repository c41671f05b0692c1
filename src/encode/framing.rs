//! [`Framing`]: how records are joined into a request body, and how the response to it is read.

use std::borrow::Cow;

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
    response_protocol: ResponseProtocol,
    single: bool,
}

/// What an endpoint's answer says, beyond its status: what *its* protocol calls success.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ResponseProtocol {
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

impl ResponseProtocol {
    /// Each protocol, the byte that stands for it in an entry, and its name in the rejected store. Neither ever changes.
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

    /// The byte that stands for it in an entry.
    pub(crate) fn byte(self) -> u8 {
        self.row().1
    }

    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.iter().find(|(_, other, _)| *other == byte).map(|(protocol, ..)| *protocol)
    }

    /// Its name in the rejected store.
    pub(crate) fn name(self) -> &'static str {
        self.row().2
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(.., other)| *other == name).map(|(protocol, ..)| *protocol)
    }
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
            response_protocol: ResponseProtocol::Status,
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

    /// How the endpoint's answers are read. Default: [`ResponseProtocol::Status`].
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

    pub(crate) fn from_stored(content_type: String, parts: [Vec<u8>; 3], response_protocol: ResponseProtocol) -> Self {
        let [open, separator, close] = parts.map(Cow::Owned);
        // Into how many records it is divided is stored beside it.
        Self { content_type: Cow::Owned(content_type), open, separator, close, response_protocol, single: false }
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

    /// How the endpoint's responses are read.
    pub fn response_protocol(&self) -> ResponseProtocol {
        self.response_protocol
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
}
