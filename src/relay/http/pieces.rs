//! The requests in bytes that come in pieces, as a connection reads them; for tests and fuzzing.

use bytes::BytesMut;

use super::body::{BodyFraming, BodyReader, Progress};
use super::head::{Head, HeadLimits, HeadReader};
use super::refusal::Refusal;

/// A request and its body.
pub(crate) type Whole = (Head, Vec<u8>);

/// Reads the requests in these pieces. Returns them, and why the last one was refused.
pub(crate) fn requests(pieces: &[&[u8]], limits: HeadLimits, max_body: usize) -> (Vec<Whole>, Option<Refusal>) {
    let (mut pieces, mut buffer, mut found) = (pieces.iter(), BytesMut::new(), Vec::new());
    let largest = limits.whole.max(limits.line + limits.headers).max(32 << 10);
    let mut fill = |buffer: &mut BytesMut| {
        assert!(buffer.len() <= largest, "{} bytes are buffered", buffer.len());
        pieces.next().map(|piece| buffer.extend_from_slice(piece)).ok_or(Refusal::Cut)
    };
    let mut next = || {
        let mut reader = HeadReader::default();
        let head = loop {
            match reader.read(&mut buffer, limits)? {
                Some(head) => break head,
                None => fill(&mut buffer)?,
            }
        };
        let mut body = BodyReader::discarding(BodyFraming::of(&head)?, 1 << 20);
        body.keep(&head, max_body)?;
        loop {
            let progress = body.read(&mut buffer)?;
            assert!(body.memory() <= 2 * max_body + (128 << 10), "{} bytes of memory", body.memory());
            match progress {
                Progress::Working => {}
                Progress::NeedsInput => fill(&mut buffer)?,
                Progress::Complete => return Ok((head, body.into_body())),
            }
        }
    };
    loop {
        match next() {
            Ok(whole) => found.push(whole),
            Err(refusal) => return (found, Some(refusal)),
        }
    }
}
