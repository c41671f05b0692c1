//! [`Coding`]: the form in which an entry's records are stored, in memory: as they are, smaller, or ready for a request that
//! is compressed.

use super::overwrite::Overwrite;
use crate::error::SpoolError;

/// The form in which the records of an entry are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Coding {
    /// As they are.
    #[default]
    Identity,
    /// An LZ4 block: smaller on disk, the same on the wire.
    Lz4,
    /// A piece of a raw deflate stream that ends at a byte and refers to nothing before it: what goes as it is into the
    /// body of a request with `Content-Encoding: gzip`.
    Deflate,
}

impl Coding {
    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Identity),
            1 => Some(Self::Lz4),
            2 => Some(Self::Deflate),
            _ => None,
        }
    }

    pub(super) fn byte(self) -> u8 {
        match self {
            Self::Identity => 0,
            Self::Lz4 => 1,
            Self::Deflate => 2,
        }
    }

    /// Appends `plain` to `out`, and says how: as it is where it would not get smaller.
    pub(super) fn encode(self, plain: &[u8], out: &mut Vec<u8>) -> Self {
        let start = out.len();
        let coded = match self {
            Self::Identity => false,
            Self::Lz4 => compress_lz4(plain, out) && out.len() - start < plain.len(),
            // Also where it is larger: it is sent like the rest.
            Self::Deflate => deflate(plain, out),
        };
        if coded {
            return self;
        }
        out.truncate(start);
        out.extend_from_slice(plain);
        Self::Identity
    }

    /// Whether so many bytes could have been stored in so many: a forged length shall take no more memory than a true one.
    pub(super) fn could_hold(self, stored_len: usize, plain_len: usize) -> bool {
        match self {
            Self::Identity => stored_len == plain_len,
            Self::Lz4 => plain_len / 256 <= stored_len,
            Self::Deflate => plain_len / 1040 <= stored_len,
        }
    }

    /// Appends the `plain_len` bytes that were encoded; false, and nothing, if there were other ones.
    ///
    /// # Errors
    ///
    /// If this build of the crate has not what it takes.
    pub(super) fn decode(self, stored: &[u8], plain_len: usize, out: &mut Overwrite) -> Result<bool, SpoolError> {
        if !self.could_hold(stored.len(), plain_len) {
            return Ok(false);
        }
        let start = out.len();
        let decoded = match self {
            Self::Identity => {
                out.extend_from_slice(stored);
                true
            }
            Self::Lz4 => {
                let plain = out.claim(plain_len);
                lz4_flex::block::decompress_into(stored, plain).is_ok_and(|len| len == plain.len())
            }
            Self::Deflate => out.append(|out| inflate(stored, plain_len, out))?,
        };
        if !decoded {
            out.truncate(start);
        }
        Ok(decoded)
    }
}

fn compress_lz4(plain: &[u8], out: &mut Vec<u8>) -> bool {
    let start = out.len();
    out.resize(start + lz4_flex::block::get_maximum_output_size(plain.len()), 0);
    let Ok(len) = lz4_flex::block::compress_into(plain, &mut out[start..]) else { return false };
    out.truncate(start + len);
    true
}

#[cfg(feature = "gzip-http")]
pub(super) fn deflate(plain: &[u8], out: &mut Vec<u8>) -> bool {
    use std::cell::RefCell;

    use flate2::{Compress, Compression, FlushCompress};

    thread_local! {
        /// Used again: it takes more to make one than to compress a batch.
        static DEFLATE: RefCell<Compress> = RefCell::new(Compress::new(Compression::new(3), false));
    }
    // More than it takes at most: one call writes all of it, the same bytes for the same records.
    out.reserve(plain.len() + plain.len() / 1000 + 64);
    // A thread that ends has none any more.
    let deflated = DEFLATE.try_with(|compress| {
        let mut compress = compress.borrow_mut();
        compress.reset();
        let written = compress.compress_vec(plain, out, FlushCompress::Sync);
        written.is_ok() && compress.total_in() == plain.len() as u64 && out.len() < out.capacity()
    });
    deflated.unwrap_or(false)
}

#[cfg(feature = "gzip-http")]
#[expect(clippy::unnecessary_wraps, reason = "without the feature there is an error")]
fn inflate(stored: &[u8], plain_len: usize, out: &mut Vec<u8>) -> Result<bool, SpoolError> {
    use flate2::{Decompress, FlushDecompress};

    let start = out.len();
    // The buffer has one byte more, so that a longer one is noticed.
    out.reserve(plain_len + 1);
    let inflated = Decompress::new(false).decompress_vec(stored, out, FlushDecompress::Sync);
    Ok(inflated.is_ok() && out.len() - start == plain_len)
}

#[cfg(not(feature = "gzip-http"))]
pub(super) fn deflate(_plain: &[u8], _out: &mut Vec<u8>) -> bool {
    false
}

#[cfg(not(feature = "gzip-http"))]
fn inflate(_stored: &[u8], _plain_len: usize, _out: &mut Vec<u8>) -> Result<bool, SpoolError> {
    Err(SpoolError::MissingFeature { action: "take apart records that were compressed for gzip", feature: "gzip-http" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codings() -> impl Iterator<Item = Coding> {
        [Coding::Identity, Coding::Lz4, Coding::Deflate]
            .into_iter()
            .filter(|coding| cfg!(feature = "gzip-http") || *coding != Coding::Deflate)
    }

    fn decode(coding: Coding, stored: &[u8], plain_len: usize) -> Option<Vec<u8>> {
        let mut out = Overwrite::default();
        out.extend_from_slice(b"before");
        let decoded = coding.decode(stored, plain_len, &mut out).unwrap();
        let plain = out.bytes().strip_prefix(b"before").unwrap().to_vec();
        assert!(decoded || plain.is_empty());
        decoded.then_some(plain)
    }

    #[test]
    fn what_was_encoded_is_decoded() {
        let text = "the quick brown fox ".repeat(10_000);
        let mut random = fastrand::Rng::with_seed(1);
        let noise: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(100_000).collect();
        for plain in [&b""[..], b"x", text.as_bytes(), &noise] {
            for coding in codings() {
                let mut out = b"before".to_vec();
                let coded = coding.encode(plain, &mut out);
                let stored = &out[b"before".len()..];
                assert!(out.starts_with(b"before"));
                assert_eq!(decode(coded, stored, plain.len()).unwrap(), plain, "{coding:?}");
                assert!(stored.len() <= plain.len() + plain.len() / 1000 + 64, "{coding:?}: {}", stored.len());
                assert_eq!(decode(coded, stored, plain.len() + 1), None, "{coding:?}");
                if plain.len() > 1 {
                    assert_eq!(decode(coded, stored, plain.len() - 1), None, "{coding:?}");
                }
                assert_eq!(Coding::from_byte(coded.byte()), Some(coded));
            }
        }
    }

    #[test]
    fn repetition_makes_it_smaller_and_noise_leaves_it_as_it_is() {
        let text = "the quick brown fox ".repeat(10_000);
        for coding in codings().skip(1) {
            let mut out = Vec::new();
            assert_eq!(coding.encode(text.as_bytes(), &mut out), coding);
            assert!(out.len() < text.len() / 10, "{coding:?}: {}", out.len());
        }
        assert_eq!(Coding::Lz4.encode(b"no two alike", &mut Vec::new()), Coding::Identity);
    }

    #[test]
    fn a_length_that_cannot_be_takes_no_memory() {
        for coding in codings() {
            assert_eq!(decode(coding, b"short", usize::MAX / 2), None);
        }
    }
}
