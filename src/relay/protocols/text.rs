//! `text/plain`: a record a line, which is how `buffering-async-logger` sends records whose formatter ends them with a newline. Without
//! newlines the whole body is a record.
//!
//! Empty lines are skipped. The time is that of the arrival.

use super::plain;
use crate::relay::protocol::{Answer, BadMessage, Message, Protocol, Sink};

pub(crate) struct Text;

impl Protocol for Text {
    fn name(&self) -> &'static str {
        "text"
    }

    fn claims(&self, message: &Message<'_>) -> bool {
        message.request.is_some_and(|request| request.media_type() == "text/plain")
    }

    fn read(&self, message: &Message<'_>, sink: &mut dyn Sink) -> Result<Answer, BadMessage> {
        let lines = message.body.split(|byte| *byte == b'\n');
        for line in lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line)) {
            if !line.trim_ascii().is_empty() {
                sink.log(&plain(String::from_utf8_lossy(line).into_owned(), message.arrived));
            }
        }
        Ok(Answer::default())
    }
}
