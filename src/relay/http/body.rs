//! [`BodyReader`]: where a body ends, and what is in it.
//!
//! A body ends in one way only: a request with both `Content-Length` and `Transfer-Encoding`, with lengths that differ, with
//! a transfer coding other than `chunked`, or with a chunk whose size is not plain hexadecimal digits is refused, and the
//! connection closed. A proxy in front could see another end, and what lies between the two would be a request to one of them.

use bytes::{Buf, BytesMut};

use super::coding::{Inflater, STEP_BYTES};
use super::head::{Head, Version};
use super::refusal::Refusal;

/// Extensions of chunks and trailers, which are skipped, all together.
const MAX_EXTRAS_BYTES: usize = 16 << 10;

/// Where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyFraming {
    Length(u64),
    Chunked,
}

impl BodyFraming {
    /// Reads it from the headers. A request without any has no body.
    ///
    /// # Errors
    ///
    /// If the headers do not agree about it.
    pub(crate) fn of(head: &Head) -> Result<Self, Refusal> {
        let mut codings = head.values("transfer-encoding");
        let mut lengths = head.values("content-length");
        if let Some(coding) = codings.next() {
            let is_chunked = coding.eq_ignore_ascii_case("chunked") && codings.next().is_none();
            let is_alone = lengths.next().is_none() && head.version == Version::Http11;
            return if is_chunked && is_alone { Ok(Self::Chunked) } else { Err(Refusal::Malformed) };
        }
        let Some(first) = lengths.next() else { return Ok(Self::Length(0)) };
        let is_number = !first.is_empty() && first.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number || lengths.any(|other| other != first) {
            return Err(Refusal::Malformed);
        }
        first.parse().map(Self::Length).map_err(|_| Refusal::Malformed)
    }
}

/// Reads a body, decodes it, and keeps it within its limit.
#[derive(Debug)]
pub(crate) struct BodyReader {
    state: State,
    mode: Mode,
    limit: u64,
    /// The bytes of the body as it was sent.
    sent: u64,
    extras: usize,
    /// How much of the line that is not complete has been looked at.
    scanned: usize,
    body: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// So much is missing.
    Length(u64),
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailers,
    Complete,
    /// Nobody knows where it ends.
    Broken,
}

#[derive(Debug)]
enum Mode {
    Keep(Inflater),
    Discard,
}

/// The state of a body after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// More of it has to come.
    NeedsInput,
    /// The next step has work to do.
    Working,
    Complete,
}

impl BodyReader {
    /// A reader that discards the body, up to a limit.
    pub(crate) fn discarding(framing: BodyFraming, limit: u64) -> Self {
        let state = match framing {
            BodyFraming::Length(0) => State::Complete,
            BodyFraming::Length(len) => State::Length(len),
            BodyFraming::Chunked => State::ChunkSize,
        };
        Self { state, mode: Mode::Discard, limit, sent: 0, extras: 0, scanned: 0, body: Vec::new() }
    }

    /// Keeps what comes, and decodes it as the head says. The limit is one of what is sent, and of what is decoded.
    ///
    /// # Errors
    ///
    /// If the coding is unknown, or the body longer than the limit by its head.
    pub(crate) fn keep(&mut self, head: &Head, limit: usize) -> Result<(), Refusal> {
        let decoder = Inflater::of(head)?;
        let limit_bytes = u64::try_from(limit).unwrap_or(u64::MAX);
        if let State::Length(len) = self.state {
            if len > limit_bytes {
                return Err(Refusal::BodyTooLarge);
            }
            if decoder.is_identity() {
                self.body.reserve_exact(usize::try_from(len).unwrap_or(limit).min(STEP_BYTES));
            }
        }
        (self.mode, self.limit) = (Mode::Keep(decoder), limit_bytes);
        Ok(())
    }

    /// Discards what has come and what comes, up to a limit.
    pub(crate) fn discard(&mut self, limit: u64) {
        (self.mode, self.limit, self.body) = (Mode::Discard, limit, Vec::new());
    }

    /// Whether the body has ended.
    pub(crate) fn is_complete(&self) -> bool {
        self.state == State::Complete
    }

    /// The memory that it takes.
    pub(crate) fn memory(&self) -> usize {
        self.body.capacity()
    }

    /// The bytes that are read and decoded.
    pub(crate) fn made(&self) -> usize {
        self.body.len()
    }

    /// The body.
    pub(crate) fn into_body(self) -> Vec<u8> {
        self.body
    }

    /// Takes a piece of the body from the beginning of `bytes`.
    ///
    /// # Errors
    ///
    /// If the body is malformed or too long. Unless nobody knows any more where it ends, the rest of it can be discarded.
    pub(crate) fn read(&mut self, bytes: &mut BytesMut) -> Result<Progress, Refusal> {
        let progress = match self.state {
            State::Length(left) => self.data(bytes, left, State::Length, State::Complete),
            State::ChunkData(left) => self.data(bytes, left, State::ChunkData, State::ChunkEnd),
            State::ChunkSize => self.chunk_size(bytes),
            State::ChunkEnd => self.chunk_end(bytes),
            State::Trailers => Ok(self.trailer(bytes)),
            State::Complete => self.finish(),
            State::Broken => Err(Refusal::Malformed),
        };
        if self.state == State::Broken { Err(Refusal::Malformed) } else { progress }
    }

    /// A piece of data, of which so much is left.
    fn data(
        &mut self,
        bytes: &mut BytesMut,
        left: u64,
        rest: fn(u64) -> State,
        then: State,
    ) -> Result<Progress, Refusal> {
        if bytes.is_empty() {
            return Ok(Progress::NeedsInput);
        }
        let within = usize::try_from(left.min(self.limit.saturating_sub(self.sent))).unwrap_or(usize::MAX);
        let piece = bytes.len().min(within).min(STEP_BYTES);
        if piece == 0 {
            if matches!(self.mode, Mode::Discard) {
                self.state = State::Broken;
            }
            return Err(Refusal::BodyTooLarge);
        }
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let used = match &mut self.mode {
            Mode::Discard => piece,
            Mode::Keep(decoder) => {
                if let (State::Length(_), true) = (self.state, decoder.is_identity()) {
                    let whole = self.body.len().saturating_add(usize::try_from(left).unwrap_or(usize::MAX));
                    grow(&mut self.body, piece, whole);
                }
                decoder.decode(&bytes[..piece], &mut self.body, limit)?
            }
        };
        bytes.advance(used);
        let used = used as u64;
        self.sent += used;
        self.state = if used == left { then } else { rest(left - used) };
        Ok(Progress::Working)
    }

    /// What the decoder still has, at the end.
    fn finish(&mut self) -> Result<Progress, Refusal> {
        let Mode::Keep(decoder) = &mut self.mode else { return Ok(Progress::Complete) };
        if decoder.has_more() {
            decoder.decode(&[], &mut self.body, usize::try_from(self.limit).unwrap_or(usize::MAX))?;
            return Ok(Progress::Working);
        }
        if decoder.is_complete() { Ok(Progress::Complete) } else { Err(Refusal::Malformed) }
    }

    fn chunk_size(&mut self, bytes: &mut BytesMut) -> Result<Progress, Refusal> {
        let Some(line) = self.line(bytes) else { return Ok(Progress::NeedsInput) };
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let rest = line[digits..].trim_ascii_start();
        let is_valid = (1..=16).contains(&digits) && (rest.is_empty() || rest[0] == b';');
        let size = std::str::from_utf8(&line[..digits]).ok().and_then(|text| u64::from_str_radix(text, 16).ok());
        let Some(size) = size.filter(|_| is_valid) else {
            self.state = State::Broken;
            return Err(Refusal::Malformed);
        };
        self.extras += line.len() - digits;
        self.state = if size == 0 { State::Trailers } else { State::ChunkData(size) };
        Ok(Progress::Working)
    }

    fn chunk_end(&mut self, bytes: &mut BytesMut) -> Result<Progress, Refusal> {
        match bytes[..] {
            [b'\r', b'\n', ..] => {
                bytes.advance(2);
                self.state = State::ChunkSize;
                Ok(Progress::Working)
            }
            [] | [b'\r'] => Ok(Progress::NeedsInput),
            _ => {
                self.state = State::Broken;
                Err(Refusal::Malformed)
            }
        }
    }

    fn trailer(&mut self, bytes: &mut BytesMut) -> Progress {
        let Some(line) = self.line(bytes) else { return Progress::NeedsInput };
        if line.is_empty() {
            self.state = State::Complete;
        }
        self.extras += line.len();
        Progress::Working
    }

    /// A line of the framing without its end, which is a carriage return and a line feed and nothing else. One that is too
    /// long or malformed breaks the body.
    fn line(&mut self, bytes: &mut BytesMut) -> Option<BytesMut> {
        let room = MAX_EXTRAS_BYTES - self.extras.min(MAX_EXTRAS_BYTES);
        let end =
            bytes.iter().take(room).skip(self.scanned).position(|byte| *byte == b'\n').map(|at| self.scanned + at);
        let Some(end) = end else {
            self.scanned = bytes.len();
            if bytes.len() >= room {
                self.state = State::Broken;
            }
            return None;
        };
        self.scanned = 0;
        let mut line = bytes.split_to(end + 1);
        line.truncate(end);
        if line.last() != Some(&b'\r') || line[..end - 1].contains(&b'\r') {
            self.state = State::Broken;
            return None;
        }
        line.truncate(end - 1);
        Some(line)
    }
}

/// Makes room for more bytes of a body that will have `whole`: in steps, and for no more than those.
fn grow(body: &mut Vec<u8>, more: usize, whole: usize) {
    let needed = body.len() + more;
    if needed > body.capacity() {
        let room = body.capacity().saturating_mul(2).min(whole).max(needed);
        body.reserve_exact(room - body.len());
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::super::head::HeadLimits;
    use super::super::pieces;
    use super::*;

    const MAX_BODY: usize = 100_000;

    /// The bodies in these bytes, which do not depend on how they are cut; and why the last one is none.
    fn bodies(bytes: &[u8]) -> (Vec<Vec<u8>>, Option<Refusal>) {
        let limits = HeadLimits { line: 1000, headers: 1000, whole: 2000 };
        let whole = pieces::requests(&[bytes], limits, MAX_BODY);
        for len in [1, 2, 7, 1000] {
            let pieces: Vec<_> = bytes.chunks(len).collect();
            assert_eq!(pieces::requests(&pieces, limits, MAX_BODY), whole, "{len} bytes at a time");
        }
        (whole.0.into_iter().map(|(_, body)| body).collect(), whole.1.filter(|refusal| *refusal != Refusal::Cut))
    }

    fn post(headers: &str, body: &[u8]) -> Vec<u8> {
        [format!("POST / HTTP/1.1\r\n{headers}\r\n").as_bytes(), body].concat()
    }

    #[test]
    fn a_body_ends_in_one_way_or_the_request_is_refused() {
        let cases: [(&str, &str, Result<&str, Refusal>); 32] = [
            ("", "", Ok("")),
            ("Content-Length: 3\r\n", "abc", Ok("abc")),
            ("content-length: 003\r\n", "abc", Ok("abc")),
            ("Content-Length: 3\r\nContent-length: 3\r\n", "abc", Ok("abc")),
            ("Content-Length: 3\r\nContent-length: 2\r\n", "abc", Err(Refusal::Malformed)),
            ("Content-Length: 3, 3\r\n", "abc", Err(Refusal::Malformed)),
            ("Content-Length: +3\r\n", "abc", Err(Refusal::Malformed)),
            ("Content-Length: -3\r\n", "abc", Err(Refusal::Malformed)),
            ("Content-Length: 0x3\r\n", "abc", Err(Refusal::Malformed)),
            ("Content-Length:\r\n", "abc", Err(Refusal::Malformed)),
            ("Content-Length: 99999999999999999999\r\n", "abc", Err(Refusal::Malformed)),
            ("Content-Length: 100001\r\n", "abc", Err(Refusal::BodyTooLarge)),
            ("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n", Ok("abc")),
            ("Transfer-Encoding: Chunked\r\n", "1\r\na\r\n0002;x=\"y\"\r\nbc\r\n0\r\nT: 1\r\n\r\n", Ok("abc")),
            ("Transfer-Encoding: chunked\r\n", "A \r\n0123456789\r\n0 ;x\r\n\r\n", Ok("0123456789")),
            ("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", "0\r\n\r\n", Err(Refusal::Malformed)),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n", Err(Refusal::Malformed)),
            ("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n", Err(Refusal::Malformed)),
            ("Transfer-Encoding: identity\r\n", "", Err(Refusal::Malformed)),
            ("Transfer-Encoding: chunked\r\n", "3\nabc\r\n0\r\n\r\n", Err(Refusal::Malformed)),
            ("Transfer-Encoding: chunked\r\n", "3\r\nabcd\r\n0\r\n\r\n", Err(Refusal::Malformed)),
            ("Transfer-Encoding: chunked\r\n", "3\r\nabc\n0\r\n\r\n", Err(Refusal::Malformed)),
            ("Transfer-Encoding: chunked\r\n", "0x3\r\nabc\r\n0\r\n\r\n", Err(Refusal::Malformed)),
            ("Transfer-Encoding: chunked\r\n", " 3\r\nabc\r\n0\r\n\r\n", Err(Refusal::Malformed)),
            ("Transfer-Encoding: chunked\r\n", "-3\r\nabc\r\n0\r\n\r\n", Err(Refusal::Malformed)),
            ("Transfer-Encoding: chunked\r\n", "\r\nabc\r\n0\r\n\r\n", Err(Refusal::Malformed)),
            ("Transfer-Encoding: chunked\r\n", "3 x\r\nabc\r\n0\r\n\r\n", Err(Refusal::Malformed)),
            ("Transfer-Encoding: chunked\r\n", "3;\rx\r\nabc\r\n0\r\n\r\n", Err(Refusal::Malformed)),
            ("Transfer-Encoding: chunked\r\n", "10000000000000000\r\n", Err(Refusal::Malformed)),
            ("Transfer-Encoding: chunked\r\n", "ffffffffffffffff\r\nabc", Err(Refusal::Cut)),
            ("Content-Encoding: br\r\n", "", Err(Refusal::UnknownCoding)),
            ("Content-Encoding: gzip, gzip\r\n", "", Err(Refusal::UnknownCoding)),
        ];
        for (headers, body, expected) in cases {
            let expected = match expected {
                Ok(body) => (vec![body.as_bytes().to_vec()], None),
                Err(Refusal::Cut) => (vec![], None),
                Err(refusal) => (vec![], Some(refusal)),
            };
            assert_eq!(bodies(&post(headers, body.as_bytes())), expected, "{headers}{body}");
        }
        let old = b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        assert_eq!(bodies(old).1, Some(Refusal::Malformed), "HTTP/1.0 has no chunks");
    }

    #[test]
    fn extensions_and_trailers_have_a_limit() {
        let chunked = |body: &str| bodies(&post("Transfer-Encoding: chunked\r\n", body.as_bytes()));
        let extended = format!("1;{}\r\na\r\n", "x".repeat(900));
        assert_eq!(chunked(&format!("{}0\r\n\r\n", extended.repeat(18))).0, [b"a".repeat(18)]);
        assert_eq!(chunked(&format!("{}0\r\n\r\n", extended.repeat(19))).1, Some(Refusal::Malformed));
        assert_eq!(chunked(&format!("0\r\n{}\r\n", "t: x\r\n".repeat(5000))).1, Some(Refusal::Malformed));
        assert_eq!(chunked(&"1".repeat(20_000)).1, Some(Refusal::Malformed));
    }

    fn gzip(body: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(body: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    fn raw(body: &[u8], level: Compression) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), level);
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    fn coded(coding: &str, body: &[u8]) -> Vec<u8> {
        post(&format!("Content-Encoding: {coding}\r\nContent-Length: {}\r\n", body.len()), body)
    }

    #[test]
    fn gzip_and_both_forms_of_deflate_are_decoded() {
        let text: Vec<u8> = (0..4_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        for text in [&b""[..], b"a", b"a text", &b"x".repeat(MAX_BODY), &text] {
            let two_members = [gzip(&text[..text.len() / 2]), gzip(&text[text.len() / 2..])].concat();
            let cases = [
                ("gzip", gzip(text)),
                ("X-GZIP", two_members),
                ("deflate", zlib(text)),
                ("deflate", raw(text, Compression::default())),
                ("deflate", raw(text, Compression::none())),
                ("identity", text.to_vec()),
            ];
            for (coding, body) in cases.into_iter().filter(|(_, body)| body.len() <= MAX_BODY) {
                let twice = coded(coding, &body).repeat(2);
                assert!(bodies(&twice) == (vec![text.to_vec(); 2], None), "{coding} {}", text.len());
            }
        }
        for coding in ["gzip", "deflate"] {
            assert_eq!(bodies(&coded(coding, b"")), (vec![vec![]], None), "no body is none, whatever its coding");
        }
    }

    #[test]
    fn a_body_that_does_not_decode_is_malformed() {
        let text = b"a text that is not very long";
        let without_end = |mut bytes: Vec<u8>| {
            bytes.pop();
            bytes
        };
        let mut wrong_sum = gzip(text);
        let at = wrong_sum.len() - 8;
        wrong_sum[at] ^= 1;
        let cases = [
            ("gzip", text.to_vec()),
            ("gzip", zlib(text)),
            ("gzip", without_end(gzip(text))),
            ("gzip", [gzip(text), b"x".to_vec()].concat()),
            ("gzip", wrong_sum),
            ("deflate", b"x".to_vec()),
            ("deflate", gzip(text)),
            ("deflate", without_end(zlib(text))),
            ("deflate", without_end(raw(text, Compression::default()))),
            ("deflate", [zlib(text), b"x".to_vec()].concat()),
        ];
        for (at, (coding, body)) in cases.into_iter().enumerate() {
            assert_eq!(bodies(&coded(coding, &body)), (vec![], Some(Refusal::Malformed)), "{at} {coding}");
        }
    }

    #[test]
    fn the_limit_holds_for_what_is_sent_and_for_what_is_decoded() {
        let most = gzip(&vec![b'x'; MAX_BODY]);
        assert_eq!(bodies(&coded("gzip", &most)).0.len(), 1);
        let bomb = gzip(&vec![0; 50 << 20]);
        assert!(bomb.len() < MAX_BODY);
        assert_eq!(bodies(&coded("gzip", &gzip(&vec![0; MAX_BODY + 1]))).1, Some(Refusal::BodyTooLarge));
        assert_eq!(bodies(&coded("gzip", &bomb)).1, Some(Refusal::BodyTooLarge));
        let chunk = format!("3e8\r\n{}\r\n", "x".repeat(1000));
        let chunked = |chunks, rest| post("Transfer-Encoding: chunked\r\n", (chunk.repeat(chunks) + rest).as_bytes());
        assert_eq!(bodies(&chunked(100, "0\r\n\r\n")).0[0].len(), MAX_BODY);
        assert_eq!(bodies(&chunked(100, "1\r\nx\r\n0\r\n\r\n")).1, Some(Refusal::BodyTooLarge));
        // Empty blocks, which decode to nothing.
        let empty = [0, 0, 0, 0xff, 0xff].repeat(20_001);
        let sent = post("Content-Encoding: deflate\r\nTransfer-Encoding: chunked\r\n", &{
            let mut sent = format!("{:x}\r\n", empty.len()).into_bytes();
            sent.extend(empty);
            sent
        });
        assert_eq!(bodies(&sent).1, Some(Refusal::BodyTooLarge));
    }

    #[test]
    fn the_rest_of_a_refused_body_is_discarded_up_to_its_end_or_a_limit() {
        let mut body = BodyReader::discarding(BodyFraming::Length(10), 100);
        let mut bytes = BytesMut::from(&b"0123456789next"[..]);
        while body.read(&mut bytes).unwrap() != Progress::Complete {}
        assert_eq!(&bytes[..], b"next");
        let mut endless = BodyReader::discarding(BodyFraming::Length(200), 100);
        bytes.resize(150, 0);
        assert_eq!(endless.read(&mut bytes), Ok(Progress::Working));
        assert_eq!(endless.read(&mut bytes), Err(Refusal::Malformed));
        assert_eq!(bytes.len(), 50);
    }
}
