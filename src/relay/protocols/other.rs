//! Anything else: the body is the message, and its content type an attribute, `content_type`.
//!
//! A body that is no text is kept as bytes, which formats write as base64. Without a body the query is the message.

use opentelemetry::logs::AnyValue;

use crate::relay::protocol::{Answer, BadMessage, Message, Protocol, Sink};
use crate::relay::record::Record;

pub(crate) struct Other;

impl Protocol for Other {
    fn name(&self) -> &'static str {
        "other"
    }

    fn claims(&self, _: &Message<'_>) -> bool {
        true
    }

    fn read(&self, message: &Message<'_>, sink: &mut dyn Sink) -> Result<Answer, BadMessage> {
        let query = message.request.and_then(|request| request.query).unwrap_or_default();
        let body = if message.body.is_empty() { query } else { message.body };
        if body.is_empty() {
            return Err(BadMessage::new("the request has neither a body nor a query"));
        }
        let body = if is_text(body) { String::from_utf8_lossy(body).into_owned().into() } else { AnyValue::from(body) };
        let mut record = Record::plain(body, message.arrived);
        if let Some(content_type) = message.request.and_then(|request| request.header("content-type")) {
            record.attributes.push(("content_type".into(), content_type.to_owned().into()));
        }
        sink.log(&record);
        Ok(Answer::default())
    }
}

/// Whether bytes are text: without the control characters that no text has. It need not be UTF-8.
fn is_text(bytes: &[u8]) -> bool {
    let is_control = |byte: &u8| matches!(byte, 0..=8 | 0xe..=0x1a | 0x1c..=0x1f | 0x7f);
    !bytes.iter().any(is_control)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::relay::protocols::testing::{Sent, get, post};

    #[test]
    fn anything_is_a_message_with_its_content_type() {
        let cases: &[(Sent<'_>, &str)] = &[
            (post("application/xml", "<a>\n</a>"), "<a>\n</a>; content_type=application/xml"),
            (post("", "caf\u{e9} au lait"), "café au lait"),
            (post("", b"caf\xe9"), "caf\u{fffd}"),
            (post("image/png", b"\x89PNG\0"), "[137, 80, 78, 71, 0]; content_type=image/png"),
            (post("application/json", "no json"), "no json; content_type=application/json"),
            (
                post("application/x-www-form-urlencoded", "a=1&b=2"),
                "a=1&b=2; content_type=application/x-www-form-urlencoded",
            ),
            (get("a=1&b=2"), "a=1&b=2"),
        ];
        for (sent, expected) in cases {
            assert_eq!(sent.shown(), format!("other\n{expected}"));
        }
    }

    #[test]
    fn a_request_without_a_body_and_a_query_has_no_record() {
        let (_, records, answer) = Sent::default().read();
        assert_eq!((records.len(), answer.map_err(|error| error.status)), (0, Err(400)));
    }

    proptest! {
        #[test]
        fn any_request_is_read_by_some_protocol(
            body: Vec<u8>,
            words in r#"([\[\]{},:"\\ue0-9a.\n =&%+-]|msg=|levelno=|args=|"(msg|message|created|level|time|args|text|record|extra)":|null)*"#,
            query: Option<String>,
            content_type in prop::option::of("(application/(json|x-www-form-urlencoded|x-ndjson)|text/plain|.{0,9})"),
            cut: bool,
        ) {
            for body in [&body[..], words.as_bytes()] {
                let sent = Sent { query: query.as_deref(), content_type: content_type.as_deref(), body, path: "/log", cut };
                let (_, _, answer) = sent.read();
                prop_assert!(answer.is_ok() || body.is_empty());
            }
        }
    }
}
