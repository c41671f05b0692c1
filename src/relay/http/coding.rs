//! [`Inflater`]: the content codings of a body. It stops at a limit, and never makes much at a time.

use flate2::{Decompress, FlushDecompress, Status};

use super::head::Head;
use super::refusal::Refusal;

/// A step makes no more bytes than that, so that the caller can wait for memory between two steps.
pub(super) const STEP_BYTES: usize = 64 << 10;

/// gzip's largest window.
const WINDOW_BITS: u8 = 15;

/// Undoes the content coding of a body.
#[derive(Debug)]
pub(super) enum Inflater {
    Identity,
    /// gzip: members, one behind the other.
    Gzip(Inflate),
    /// Deflate is zlib by its definition, and raw by the habit of some; the first two bytes tell. This is the first of them.
    Deflate(Option<u8>),
    /// Deflate of either form.
    Inflate(Inflate),
}

/// A stream that is being decompressed.
#[derive(Debug)]
pub(super) struct Inflate {
    stream: Decompress,
    ended: bool,
    /// The last step has filled its room: there may be more without further input.
    full: bool,
}

impl Inflater {
    /// The decoder of a request.
    ///
    /// # Errors
    ///
    /// If its coding is unknown, or there are several.
    pub(super) fn of(head: &Head) -> Result<Self, Refusal> {
        let mut codings = head.elements("content-encoding").filter(|coding| !coding.eq_ignore_ascii_case("identity"));
        let Some(coding) = codings.next() else { return Ok(Self::Identity) };
        let is = |names: &[&str]| names.iter().any(|name| coding.eq_ignore_ascii_case(name));
        match codings.next() {
            None if is(&["gzip", "x-gzip"]) => Ok(Self::Gzip(Inflate::new(Decompress::new_gzip(WINDOW_BITS)))),
            None if is(&["deflate"]) => Ok(Self::Deflate(None)),
            _ => Err(Refusal::UnknownCoding),
        }
    }

    pub(super) fn is_identity(&self) -> bool {
        matches!(self, Self::Identity)
    }

    /// Decodes the beginning of `input` to the end of `out`. Returns how much of the input is used up.
    ///
    /// # Errors
    ///
    /// If `out` would be longer than `limit`, or the input does not decode.
    pub(super) fn decode(&mut self, input: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<usize, Refusal> {
        match self {
            Self::Identity => {
                let len = input.len().min(STEP_BYTES).min(limit - out.len());
                if len == 0 && !input.is_empty() {
                    return Err(Refusal::BodyTooLarge);
                }
                out.extend_from_slice(&input[..len]);
                Ok(len)
            }
            Self::Gzip(inflate) => {
                if inflate.ended && !input.is_empty() {
                    *inflate = Inflate::new(Decompress::new_gzip(WINDOW_BITS));
                }
                inflate.step(input, out, limit)
            }
            Self::Deflate(None) => {
                *self = Self::Deflate(input.first().copied());
                Ok(input.len().min(1))
            }
            Self::Deflate(Some(first)) => {
                let (first, Some(second)) = (*first, input.first()) else { return Ok(0) };
                // A raw stream does not begin so: it would be a stored block with padding that is not zero.
                let has_header = first & 0x0f == 8 && u16::from_be_bytes([first, *second]) % 31 == 0;
                let mut inflate = Inflate::new(Decompress::new(has_header));
                inflate.step(&[first], out, limit)?;
                *self = Self::Inflate(inflate);
                Ok(0)
            }
            Self::Inflate(inflate) => inflate.step(input, out, limit),
        }
    }

    /// Whether a step without input may make more.
    pub(super) fn has_more(&self) -> bool {
        matches!(self, Self::Gzip(inflate) | Self::Inflate(inflate) if inflate.full)
    }

    /// Whether the input may end here.
    pub(super) fn is_complete(&self) -> bool {
        match self {
            Self::Identity | Self::Deflate(None) => true,
            Self::Deflate(Some(_)) => false,
            Self::Gzip(inflate) | Self::Inflate(inflate) => inflate.ended || inflate.stream.total_in() == 0,
        }
    }
}

impl Inflate {
    fn new(stream: Decompress) -> Self {
        Self { stream, ended: false, full: false }
    }

    fn step(&mut self, input: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<usize, Refusal> {
        if self.ended {
            return if input.is_empty() { Ok(0) } else { Err(Refusal::Malformed) };
        }
        // Little input makes little, mostly; the room is filled with zeros first.
        let likely = if input.is_empty() { STEP_BYTES } else { input.len().saturating_mul(8).clamp(512, STEP_BYTES) };
        let (start, room) = (out.len(), likely.min(limit - out.len() + 1));
        let (taken, made) = (self.stream.total_in(), self.stream.total_out());
        out.resize(start + room, 0);
        let status = self.stream.decompress(input, &mut out[start..], FlushDecompress::None);
        let taken = usize::try_from(self.stream.total_in() - taken).unwrap_or(input.len());
        let made = usize::try_from(self.stream.total_out() - made).unwrap_or(room);
        out.truncate(start + made);
        // It is said first, so that it does not depend on how much a step sees.
        if out.len() > limit {
            return Err(Refusal::BodyTooLarge);
        }
        self.ended = matches!(status.map_err(|_| Refusal::Malformed)?, Status::StreamEnd);
        self.full = !self.ended && made == room;
        if taken == 0 && made == 0 && !self.ended && !input.is_empty() { Err(Refusal::Malformed) } else { Ok(taken) }
    }
}
