//! [`Cutter`]: a stream of bytes, cut into frames; [`datagram`]: a datagram, which is one.
//!
//! ```text
//! frame = length: u32, big-endian, then that many bytes of a pickle
//! ```
//!
//! Nobody answers a frame, so a client never learns what became of it, and every record that it has is lost if its connection is
//! closed. What can be skipped is skipped: a frame that is too large costs itself alone. Only a length that no client sends ends a
//! connection, since the bytes behind it are no frames.

use std::ops::Range;

/// The bytes of a length.
const LENGTH: usize = 4;
/// The longest frame that can be skipped. A greater length is that of something else: of HTTP or TLS, read as a number.
const LONGEST: usize = 64 << 20;
/// The longest line of a dialogue, with its end.
const LINE: usize = 10_240;
/// What a buffer keeps when nothing waits in it: one long frame should not cost its connection that memory for ever.
const KEPT: usize = 64 << 10;

/// Cuts a stream into frames. It does no I/O: whoever has the socket pushes what comes, and takes what is complete.
#[derive(Debug)]
pub(crate) struct Cutter {
    /// The longest frame that is given out.
    max_bytes: usize,
    buffer: Vec<u8>,
    /// Where in the buffer the next piece begins.
    start: usize,
    /// The bytes that are still to come of a frame that is skipped.
    skip: usize,
}

/// A piece of a stream.
#[cfg(test)]
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// A pickle, without its length.
    Frame(&'a [u8]),
    /// A length of zero: logserv's sign that a line follows.
    Escape,
    /// A frame of so many bytes that is skipped.
    TooLarge(usize),
}

/// A piece of a stream, by its place in the buffer.
#[derive(Debug)]
pub(super) enum Cut {
    Frame(Range<usize>),
    Escape,
    TooLarge(usize),
}

/// Bytes that are no frames: the connection is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotFrames {
    #[error("a frame of {0} bytes: this is another protocol")]
    Length(usize),
    #[error("a line of more than 10,240 bytes")]
    Line,
    #[error("neither frames nor a greeting: this is another protocol")]
    Start,
}

impl Cutter {
    /// A cutter of frames that are at most so long.
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { max_bytes, buffer: Vec::new(), start: 0, skip: 0 }
    }

    /// Adds what came.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        // What is taken is removed here, while no piece is borrowed.
        self.buffer.drain(..self.start);
        self.start = 0;
        if self.buffer.is_empty() && self.buffer.capacity() > KEPT {
            self.buffer = Vec::new();
        }
        let bytes = &bytes[skipped..];
        let needed = self.buffer.len() + bytes.len();
        if needed > self.buffer.capacity() {
            // In steps, and for no more than the frame that is being read.
            let whole = self.length().filter(|len| *len <= self.max_bytes).map_or(0, |len| LENGTH + len);
            let room = needed.saturating_mul(2).min(whole).max(needed);
            self.buffer.reserve_exact(room - self.buffer.len());
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Gives memory back that nothing needs which has come. Returns what is kept.
    pub(crate) fn settle(&mut self) -> usize {
        let rest = self.buffer.len() - self.start;
        if rest <= KEPT && self.buffer.capacity() > KEPT {
            self.buffer.drain(..self.start);
            self.start = 0;
            self.buffer.shrink_to(KEPT);
        }
        self.buffer.capacity()
    }

    /// Skips the frame that is half read, and says how long it is.
    pub(crate) fn skip(&mut self) -> Option<usize> {
        let len = self.length()?;
        let here = (self.rest().len() - LENGTH).min(len);
        (self.start, self.skip, self.buffer) = (0, len - here, Vec::new());
        Some(len)
    }

    /// The length of the frame that comes next.
    fn length(&self) -> Option<usize> {
        self.rest().first_chunk::<LENGTH>().map(|length| u32::from_be_bytes(*length) as usize)
    }

    /// The next piece with its bytes.
    #[cfg(test)]
    pub(crate) fn next(&mut self) -> Result<Option<Piece<'_>>, NotFrames> {
        Ok(self.advance()?.map(|cut| match cut {
            Cut::Frame(body) => Piece::Frame(self.bytes(body)),
            Cut::Escape => Piece::Escape,
            Cut::TooLarge(len) => Piece::TooLarge(len),
        }))
    }

    /// The next piece that is complete. Its bytes stay where they are until the next push.
    ///
    /// # Errors
    ///
    /// If the stream has no frames. It has no piece from then on.
    pub(super) fn advance(&mut self) -> Result<Option<Cut>, NotFrames> {
        let Some(len) = self.length() else {
            return Ok(None);
        };
        if len > LONGEST {
            return Err(NotFrames::Length(len));
        }
        let body = self.start + LENGTH..self.start + LENGTH + len;
        if len > self.max_bytes {
            let here = len.min(self.buffer.len() - body.start);
            (self.start, self.skip) = (body.start + here, len - here);
            return Ok(Some(Cut::TooLarge(len)));
        }
        if body.end > self.buffer.len() {
            return Ok(None);
        }
        self.start = body.end;
        Ok(Some(if len == 0 { Cut::Escape } else { Cut::Frame(body) }))
    }

    /// The bytes of a frame.
    pub(super) fn bytes(&self, body: Range<usize>) -> &[u8] {
        &self.buffer[body]
    }

    /// The next line that is complete, without its end.
    ///
    /// # Errors
    ///
    /// If it is too long.
    pub(crate) fn line(&mut self) -> Result<Option<&[u8]>, NotFrames> {
        let rest = self.rest();
        let within = &rest[..rest.len().min(LINE)];
        match within.iter().position(|byte| *byte == b'\n') {
            Some(end) => {
                let line: Range<usize> = self.start..self.start + end;
                self.start = line.end + 1;
                let line = &self.buffer[line];
                Ok(Some(line.strip_suffix(b"\r").unwrap_or(line)))
            }
            None if within.len() == LINE => Err(NotFrames::Line),
            None => Ok(None),
        }
    }

    /// The next byte.
    pub(crate) fn first(&self) -> Option<u8> {
        self.rest().first().copied()
    }

    /// Whether the stream would be cut within a frame or a line if it ended here. This is normal: Python closes a connection that stood
    /// for a second, in the middle of a frame.
    pub(crate) fn is_within(&self) -> bool {
        self.skip > 0 || !self.rest().is_empty()
    }

    fn rest(&self) -> &[u8] {
        &self.buffer[self.start..]
    }
}

/// Whether a stream that begins with this byte is one of frames: 0, but for frames that are skipped.
pub(crate) fn begins_frame(first: u8) -> bool {
    usize::from(first) <= LONGEST >> 24
}

/// The pickle in a datagram, which is exactly one frame.
pub(crate) fn datagram(bytes: &[u8]) -> Option<&[u8]> {
    let (length, body) = bytes.split_first_chunk::<LENGTH>()?;
    (u32::from_be_bytes(*length) as usize == body.len() && !body.is_empty()).then_some(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(body: &[u8]) -> Vec<u8> {
        [&u32::try_from(body.len()).unwrap().to_be_bytes(), body].concat()
    }

    /// Every piece of a stream that comes in parts of this length, in words.
    fn pieces(stream: &[u8], part: usize) -> (Vec<String>, bool) {
        let (mut cutter, mut pieces) = (Cutter::new(10), Vec::new());
        for part in stream.chunks(part) {
            cutter.push(part);
            loop {
                match cutter.next() {
                    Ok(Some(piece)) => pieces.push(format!("{piece:?}")),
                    Ok(None) => break,
                    Err(error) => {
                        pieces.push(error.to_string());
                        return (pieces, cutter.is_within());
                    }
                }
            }
        }
        (pieces, cutter.is_within())
    }

    #[test]
    fn a_stream_has_the_same_frames_however_it_comes() {
        let stream =
            [frame(b"one"), frame(b""), frame(&[7; 10]), frame(&[8; 11]), frame(&[9; 30]), frame(b"last")].concat();
        let expected = [
            "Frame([111, 110, 101])",
            "Escape",
            "Frame([7, 7, 7, 7, 7, 7, 7, 7, 7, 7])",
            "TooLarge(11)",
            "TooLarge(30)",
            "Frame([108, 97, 115, 116])",
        ];
        for part in 1..=stream.len() {
            assert_eq!(pieces(&stream, part), (expected.map(str::to_owned).to_vec(), false), "in parts of {part}");
        }
    }

    #[test]
    fn half_a_frame_at_the_end_is_cut() {
        let stream = [frame(b"one"), frame(&[8; 11])].concat();
        for end in 1..stream.len() {
            let (found, is_within) = pieces(&stream[..end], 3);
            assert_eq!(is_within, end != 7, "{end}");
            assert_eq!(found.iter().filter(|piece| piece.starts_with("Frame")).count(), usize::from(end >= 7));
        }
    }

    #[test]
    fn another_protocol_is_no_frame() {
        for other in [&b"GET / HTTP/1.1\r\n"[..], b"\x16\x03\x01\x02\x00", b"\x04\x00\x00\x01"] {
            let (found, _) = pieces(other, 5);
            assert!(found.len() == 1 && found[0].ends_with("this is another protocol"), "{found:?}");
        }
        let longest = u32::try_from(LONGEST).unwrap().to_be_bytes();
        assert_eq!(pieces(&longest, 4), (vec![format!("TooLarge({LONGEST})")], true));
        assert!(begins_frame(longest[0]) && !begins_frame(b'G') && !begins_frame(0x16));
    }

    #[test]
    fn a_long_frame_does_not_keep_its_memory() {
        let mut cutter = Cutter::new(1 << 20);
        cutter.push(&frame(&vec![1; 1 << 20]));
        assert!(matches!(cutter.next(), Ok(Some(Piece::Frame(_)))));
        cutter.push(&frame(b"short"));
        assert!(cutter.buffer.capacity() <= KEPT);
        assert_eq!(cutter.next(), Ok(Some(Piece::Frame(b"short"))));
    }

    #[test]
    fn a_line_ends_with_a_newline_and_is_not_too_long() {
        let mut cutter = Cutter::new(10);
        cutter.push(b"HELLO 1.0\r\nLO");
        assert_eq!(cutter.line(), Ok(Some(&b"HELLO 1.0"[..])));
        assert_eq!(cutter.line(), Ok(None));
        cutter.push(b"G\n");
        assert_eq!(cutter.line(), Ok(Some(&b"LOG"[..])));
        cutter.push(&[b'x'; LINE]);
        assert_eq!(cutter.line(), Err(NotFrames::Line));
    }

    #[test]
    fn a_frame_that_is_half_read_takes_no_more_than_itself_and_can_be_skipped() {
        let long = frame(&vec![b'x'; 1 << 20]);
        let stream = [&long[..], &frame(b"next")].concat();
        let mut cutter = Cutter::new(4 << 20);
        for part in long[..long.len() - 1].chunks(10_000) {
            cutter.push(part);
            assert_eq!(cutter.next(), Ok(None));
            assert!(cutter.settle() <= long.len().max(KEPT));
        }
        assert_eq!(cutter.skip(), Some(1 << 20));
        assert_eq!(cutter.settle(), 0);
        assert!(cutter.is_within());
        cutter.push(&stream[long.len() - 1..]);
        assert_eq!(cutter.next(), Ok(Some(Piece::Frame(b"next"))));
        assert_eq!(cutter.next(), Ok(None));
        cutter.push(&long);
        assert!(matches!(cutter.next(), Ok(Some(Piece::Frame(_)))));
        assert!(cutter.settle() <= KEPT, "nothing waits");
        assert!(!cutter.is_within());
    }

    #[test]
    fn a_datagram_is_one_frame_and_nothing_else() {
        assert_eq!(datagram(&frame(b"one")), Some(&b"one"[..]));
        for bad in [&b""[..], b"\0\0\0", &frame(b""), &[frame(b"one"), frame(b"two")].concat(), b"\0\0\0\x04one"] {
            assert_eq!(datagram(bad), None, "{bad:?}");
        }
    }
}
