//! [`Text`]: a record, or the body of a request, as it is printed.

use std::borrow::Cow;

use serde_core::de::IgnoredAny;

use super::pretty;
use crate::config::values::Signal;
use crate::encode::framing::ResponseProtocol;
use crate::encode::transcode::{self, Unreadable};

/// A record or a body as it is printed: OTLP's protobuf as OTLP's JSON, and every text as it is.
pub(super) enum Text<'a> {
    /// JSON, of OTLP a whole request, which can be sent again.
    Json(Cow<'a, str>),
    Other(&'a str),
    /// Bytes that are no text: how many, and why they cannot be read if they should be OTLP.
    Bytes(&'a [u8], Option<Unreadable>),
}

impl<'a> Text<'a> {
    /// Reads bytes of this type and protocol of responses, from a queue of this signal if that is known.
    pub(super) fn read(
        signal: Option<Signal>,
        content_type: &str,
        protocol: ResponseProtocol,
        bytes: &'a [u8],
    ) -> Self {
        if let Some(signal) = signal
            && protocol == ResponseProtocol::Otlp
            && essence(content_type) == "application/x-protobuf"
        {
            return match transcode::request(signal, bytes) {
                Ok(json) => Self::Json(json.into()),
                Err(unreadable) => Self::Bytes(bytes, Some(unreadable)),
            };
        }
        match std::str::from_utf8(bytes) {
            Ok(text) if is_json(content_type) && serde_json::from_str::<IgnoredAny>(text).is_ok() => {
                Self::Json(text.into())
            }
            Ok(text) => Self::Other(text),
            Err(_) => Self::Bytes(bytes, None),
        }
    }

    /// Whether it contains this.
    pub(super) fn contains(&self, text: &str) -> bool {
        match self {
            Self::Json(json) => json.contains(text),
            Self::Other(other) => other.contains(text),
            Self::Bytes(bytes, _) => String::from_utf8_lossy(bytes).contains(text),
        }
    }

    /// It all, or a note that it is none.
    pub(super) fn as_it_is(&self) -> Cow<'_, str> {
        match self {
            Self::Json(json) => Cow::Borrowed(json),
            Self::Other(text) => Cow::Borrowed(text),
            Self::Bytes(bytes, None) => format!("<{} bytes that are not text: use --json>", bytes.len()).into(),
            Self::Bytes(bytes, Some(why)) => {
                format!("<{} bytes that are not OTLP ({why}): use --json>", bytes.len()).into()
            }
        }
    }

    /// A line for people for each record in it; as it is, where nothing is known of its form.
    pub(super) fn pretty(&self) -> Vec<String> {
        let lines = if let Self::Json(json) = self { pretty::lines(json) } else { None };
        lines.unwrap_or_else(|| vec![self.as_it_is().into_owned()])
    }
}

fn essence(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

fn is_json(content_type: &str) -> bool {
    let essence = essence(content_type);
    essence == "application/json" || essence == "application/x-ndjson" || essence.ends_with("+json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_known_by_its_content_type() {
        for json in
            ["application/json", "application/json; charset=utf-8", "application/x-ndjson", "application/a+json"]
        {
            assert!(is_json(json), "{json}");
        }
        assert!(!is_json("application/x-protobuf") && !is_json("text/plain") && !is_json(""));
    }

    #[test]
    fn protobuf_is_read_as_otlp_only_where_it_is() {
        let bytes = b"\x0a\x02\x1a\x00";
        let read =
            |signal, content_type, protocol| Text::read(signal, content_type, protocol, bytes).as_it_is().into_owned();
        let otlp = "{\"resourceLogs\":[{\"schemaUrl\":\"\"}]}";
        let (logs, protobuf) = (Some(Signal::Logs), "application/x-protobuf");
        assert_eq!(read(logs, protobuf, ResponseProtocol::Otlp), otlp);
        let text = "\n\u{2}\u{1a}\0";
        assert_eq!(read(logs, protobuf, ResponseProtocol::Status), text);
        assert_eq!(read(logs, "text/plain", ResponseProtocol::Otlp), text);
        assert_eq!(read(None, protobuf, ResponseProtocol::Otlp), text, "of a signal that is not known");
        let damaged = Text::read(logs, protobuf, ResponseProtocol::Otlp, b"\x0a\x03\x1a");
        let expected = "<3 bytes that are not OTLP (request: it ends before its length): use --json>";
        assert_eq!(damaged.as_it_is(), expected);
        assert_eq!(damaged.pretty(), [expected]);
    }
}
