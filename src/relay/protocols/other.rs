//! Anything else: the body is the message, and its content type an attribute, `content_type`.
//!
//! A body that is no text is kept as bytes, which formats write as base64. Without a body the query is the message.

use opentelemetry::logs::AnyValue;

use super::plain;
use crate::relay::protocol::{Answer, BadMessage, Message, Protocol, Sink};

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
        let mut record = plain(body, message.arrived);
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
