//! `text/plain`: a record a line, which is how `buffering-async-logger` sends records whose formatter ends them with a newline. Without
//! newlines the whole body is a record.
//!
//! Empty lines are skipped. The time is that of the arrival.

use crate::relay::protocol::{Answer, BadMessage, Message, Protocol, Sink};
use crate::relay::record::Record;

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
                sink.log(&Record::plain(String::from_utf8_lossy(line).into_owned(), message.arrived));
            }
            if sink.is_full() {
                break;
            }
        }
        Ok(Answer::default())
    }
}

#[cfg(test)]
mod tests {
    use crate::relay::protocols::testing::post;

    #[test]
    fn a_text_has_a_record_a_line() {
        let cases: &[(&[u8], &str)] = &[
            (b"one", "\none"),
            (b"one\r\ntwo\n\n \nthree\n", "\none\ntwo\nthree"),
            (b"2026-11-27 12:00:00 INFO a=b&c=d", "\n2026-11-27 12:00:00 INFO a=b&c=d"),
            (b"[2026] INFO\n{no json}", "\n[2026] INFO\n{no json}"),
            (b"\xff\xe9", "\n\u{fffd}\u{fffd}"),
            (b"\n", "\n"),
        ];
        for (body, expected) in cases {
            assert_eq!(post("Text/Plain; charset=utf-8", body).shown(), format!("text{expected}"));
        }
    }
}
