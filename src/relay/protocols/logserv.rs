//! [`Connection`]: a stream of frames, perhaps behind the dialogue of logserv 1.0.
//!
//! ```text
//! client                                    relay
//! HELLO 1.0\n                               HELLO 1.0\n
//! IDENTIFY {"filename": "t.log", ..}\n      OK\n
//! LOG\n                                     OK\n
//! frames
//! 00 00 00 00 FORMAT {..}\n                 OK\n
//! 00 00 00 00 QUIT\n                        OK\n
//! ```
//!
//! Python's own `SocketHandler` sends frames from the first byte on, and so does a client of logserv whose greeting was answered too
//! late. So frames are taken at any time, and every line is answered: a client that is told of an error drops its record. What a
//! client identifies itself with is data. No file of that name is opened here, and no format is evaluated.

use serde_json::Value;

use super::framing::{Cut, Cutter, NotFrames, begins_frame};

const HELLO: &[u8] = b"HELLO 1.0\n";
const OK: &[u8] = b"OK\n";

/// A connection. It does no I/O: whoever has the socket pushes what comes, and does what the events say.
#[derive(Debug)]
pub(crate) struct Connection {
    cutter: Cutter,
    state: State,
    identity: Option<Identity>,
    /// Whether it is still to be said that the client identified itself.
    is_identified: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing came yet.
    Start,
    /// A line is expected, or frames.
    Dialogue,
    Frames,
    /// A line is expected, then frames.
    Escaped,
}

/// Who a client of logserv says it is. A value that is missing, or of another kind, is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The level of its handler.
    pub(crate) level: Option<i64>,
    /// The file in which it wants its records, as it was sent: nothing is checked.
    pub(crate) filename: Option<String>,
    /// The bytes at which the file is rotated, and how many old ones are kept.
    pub(crate) max_bytes: Option<u64>,
    pub(crate) backup_count: Option<u64>,
    pub(crate) encoding: Option<String>,
}

/// What a connection gave.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event<'a> {
    /// A pickle, and who the client is, if it said so.
    Frame(&'a [u8], Option<&'a Identity>),
    /// Bytes to be sent, in a write of their own.
    Answer(&'static [u8]),
    /// The client said who it is. Its answer came before.
    Identified(&'a Identity),
    /// A frame of so many bytes is skipped.
    TooLarge(usize),
}

impl Connection {
    /// A connection whose frames are at most so long.
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { cutter: Cutter::new(max_bytes), state: State::Start, identity: None, is_identified: false }
    }

    /// Adds what came.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.cutter.push(bytes);
    }

    /// Gives memory back that nothing needs which has come. Returns what is kept.
    pub(crate) fn settle(&mut self) -> usize {
        self.cutter.settle()
    }

    /// Skips the frame that is half read, and says how long it is.
    pub(crate) fn skip(&mut self) -> Option<usize> {
        if self.state == State::Frames { self.cutter.skip() } else { None }
    }

    /// Who the client is, if it said so.
    #[cfg(test)]
    pub(crate) fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// Whether the connection would be cut within a frame or a line if it ended here.
    pub(crate) fn is_within(&self) -> bool {
        self.cutter.is_within()
    }

    /// The next event; none until more comes.
    ///
    /// # Errors
    ///
    /// If this is another protocol: the connection is of no use any more.
    pub(crate) fn next(&mut self) -> Result<Option<Event<'_>>, NotFrames> {
        if std::mem::take(&mut self.is_identified) {
            return Ok(self.identity.as_ref().map(Event::Identified));
        }
        loop {
            if let State::Start | State::Dialogue = self.state {
                self.state = match (self.cutter.first(), self.state) {
                    (None, state) => state,
                    (Some(first), _) if begins_frame(first) => State::Frames,
                    (Some(b'H'), _) | (_, State::Dialogue) => State::Dialogue,
                    _ => return Err(NotFrames::Start),
                };
            }
            if self.state != State::Frames {
                return Ok(self.line()?.map(Event::Answer));
            }
            match self.cutter.advance()? {
                None => return Ok(None),
                Some(Cut::Frame(body)) => {
                    return Ok(Some(Event::Frame(self.cutter.bytes(body), self.identity.as_ref())));
                }
                Some(Cut::TooLarge(len)) => return Ok(Some(Event::TooLarge(len))),
                Some(Cut::Escape) => self.state = State::Escaped,
            }
        }
    }

    /// Reads a line. Returns the answer to it, which is never that of an error.
    fn line(&mut self) -> Result<Option<&'static [u8]>, NotFrames> {
        let Some(line) = self.cutter.line()? else {
            return Ok(None);
        };
        let (word, rest) = line.split_at(line.iter().position(|byte| *byte == b' ').unwrap_or(line.len()));
        let (mut answer, mut is_last) = (OK, self.state == State::Escaped);
        match word {
            b"HELLO" => answer = HELLO,
            b"IDENTIFY" => {
                if let Some(identity) = Identity::read(rest) {
                    (self.identity, self.is_identified) = (Some(identity), true);
                }
            }
            b"LOG" => is_last = true,
            _ => {}
        }
        if is_last {
            self.state = State::Frames;
        }
        Ok(Some(answer))
    }
}

impl Identity {
    /// Reads a JSON object; `None` if it is none.
    fn read(json: &[u8]) -> Option<Self> {
        let Ok(Value::Object(members)) = serde_json::from_slice(json) else {
            return None;
        };
        let text = |name| members.get(name).and_then(Value::as_str).map(str::to_owned);
        Some(Self {
            level: members.get("--level").and_then(Value::as_i64),
            filename: text("filename"),
            max_bytes: members.get("maxBytes").and_then(Value::as_u64),
            backup_count: members.get("backupCount").and_then(Value::as_u64),
            encoding: text("encoding"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTIFY: &str = concat!(
        r#"IDENTIFY {"--level": 30, "filename": "t.log", "maxBytes": 2000, "backupCount": 2, "encoding": "utf-8"}"#,
        "\n"
    );

    /// Every event of a stream that comes in parts of this length, in words.
    fn events(stream: &[u8], part: usize) -> Vec<String> {
        let (mut connection, mut events) = (Connection::new(100), Vec::new());
        for part in stream.chunks(part) {
            connection.push(part);
            loop {
                let event = match connection.next() {
                    Ok(None) => break,
                    Ok(Some(Event::Answer(answer))) => format!("answer {:?}", String::from_utf8_lossy(answer)),
                    Ok(Some(Event::Frame(body, who))) => {
                        let file = who.and_then(|who| who.filename.as_deref());
                        format!("frame {} {file:?}", String::from_utf8_lossy(body))
                    }
                    Ok(Some(Event::Identified(who))) => format!("identified {:?}", who.filename),
                    Ok(Some(Event::TooLarge(len))) => format!("too large {len}"),
                    Err(error) => return [events, vec![error.to_string()]].concat(),
                };
                events.push(event);
            }
        }
        events
    }

    fn same_in_any_parts(stream: &[u8], expected: &[&str]) {
        for part in 1..=stream.len() {
            assert_eq!(events(stream, part), expected, "in parts of {part}");
        }
    }

    #[test]
    fn a_client_of_logserv_is_answered_line_by_line_and_sends_frames() {
        let stream = [b"HELLO 1.0\n", IDENTIFY.as_bytes(), b"LOG\n", b"\0\0\0\x01a", b"\0\0\0\x02bc"].concat();
        let expected = [
            r#"answer "HELLO 1.0\n""#,
            r#"answer "OK\n""#,
            r#"identified Some("t.log")"#,
            r#"answer "OK\n""#,
            r#"frame a Some("t.log")"#,
            r#"frame bc Some("t.log")"#,
        ];
        same_in_any_parts(&stream, &expected);
    }

    #[test]
    fn a_plain_client_sends_frames_from_the_first_byte_on() {
        same_in_any_parts(b"\0\0\0\x01a\0\0\0\x01b", &["frame a None", "frame b None"]);
    }

    #[test]
    fn a_client_that_did_not_wait_for_an_answer_may_send_frames_in_any_state() {
        let identified = [IDENTIFY.as_bytes(), b"\0\0\0\x01a"].concat();
        let cases: [(&[u8], &[&str]); 2] = [
            (b"HELLO 1.0\n\0\0\0\x01a", &[r#"answer "HELLO 1.0\n""#, "frame a None"]),
            (
                &[b"HELLO 1.0\n", &identified[..]].concat(),
                &[
                    r#"answer "HELLO 1.0\n""#,
                    r#"answer "OK\n""#,
                    r#"identified Some("t.log")"#,
                    r#"frame a Some("t.log")"#,
                ],
            ),
        ];
        for (stream, expected) in cases {
            same_in_any_parts(stream, expected);
        }
    }

    #[test]
    fn an_escape_among_frames_is_a_line_that_is_answered() {
        let stream = b"\0\0\0\x01a\0\0\0\0FORMAT {\"fmt\": \"%(message)s\"}\n\0\0\0\x01b\0\0\0\0QUIT\n\0\0\0\x01c";
        let expected = ["frame a None", r#"answer "OK\n""#, "frame b None", r#"answer "OK\n""#, "frame c None"];
        same_in_any_parts(stream, &expected);
    }

    #[test]
    fn no_line_of_a_dialogue_is_answered_with_an_error() {
        let stream = b"HELLO\nIDENTIFY [1]\nIDENTIFY {\"filename\": 7}\nNONSENSE\n\nLOG\n\0\0\0\x01a";
        let expected = [
            r#"answer "HELLO 1.0\n""#,
            r#"answer "OK\n""#,
            r#"answer "OK\n""#,
            "identified None",
            r#"answer "OK\n""#,
            r#"answer "OK\n""#,
            r#"answer "OK\n""#,
            "frame a None",
        ];
        same_in_any_parts(stream, &expected);
    }

    #[test]
    fn another_protocol_ends_the_connection_and_a_frame_that_is_too_large_does_not() {
        assert_eq!(events(b"GET / HTTP/1.1\r\n", 4), [NotFrames::Start.to_string()]);
        let large = [&[0, 0, 0, 101][..], &[7; 101], b"\0\0\0\x01a"].concat();
        same_in_any_parts(&large, &["too large 101", "frame a None"]);
        let line = [&b"H"[..], &[b'x'; 11_000]].concat();
        assert_eq!(events(&line, 1000), [NotFrames::Line.to_string()]);
    }

    #[test]
    fn everything_that_a_client_says_of_itself_is_read() {
        let mut connection = Connection::new(100);
        connection.push(b"HELLO 1.0\n");
        connection.push(IDENTIFY.as_bytes());
        while connection.next().unwrap().is_some() {}
        let expected = Identity {
            level: Some(30),
            filename: Some("t.log".to_owned()),
            max_bytes: Some(2000),
            backup_count: Some(2),
            encoding: Some("utf-8".to_owned()),
        };
        assert_eq!((connection.identity(), connection.is_within()), (Some(&expected), false));
    }
}
