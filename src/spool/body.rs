//! [`Body`]: a request body that is put together from stored entries, in memory. Their bytes are joined, decoded at most;
//! only a part of what was compressed together is compressed again.
//!
//! With `Content-Encoding: gzip` it is one member (RFC 1952): a header, the pieces of a deflate stream, each ended at a
//! byte, and a trailer with the checksum that follows from those of the pieces. The framing between them goes into
//! deflate's stored blocks.

use std::ops::Range;

use super::bytes::Fields;
use super::coding::{Coding, deflate};
use super::entry::Entry;
use super::nested::{self, Groups, Run};
use super::overwrite::Overwrite;
use crate::encode::blocks::Block;
use crate::encode::framing::{Framing, Nesting};
use crate::error::SpoolError;

/// Deflate, no name, no time, no system.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// The last block of a deflate stream, with nothing in it.
const LAST_BLOCK: [u8; 5] = [1, 0, 0, 0xff, 0xff];

/// The most that one stored block holds.
const MAX_STORED: usize = u16::MAX as usize;

/// A request body in the making.
#[derive(Debug)]
pub(super) struct Body {
    bytes: Overwrite,
    /// How many bytes it has without compression.
    plain_len: usize,
    /// The checksum so far, of one that is compressed.
    gzip: Option<crc32fast::Hasher>,
}

impl Body {
    /// An empty one, of about so many bytes, for entries that are stored in this way. The memory of `buffer` is used.
    pub(super) fn new(coding: Coding, expected_bytes: usize, buffer: Vec<u8>) -> Self {
        let gzip = (coding == Coding::Deflate).then(crc32fast::Hasher::new);
        let mut bytes = Overwrite::new(buffer);
        bytes.reserve(if gzip.is_some() { expected_bytes / 8 } else { expected_bytes });
        if gzip.is_some() {
            bytes.extend_from_slice(&GZIP_HEADER);
        }
        Self { bytes, plain_len: 0, gzip }
    }

    /// The bytes that it has without compression.
    pub(super) fn plain_len(&self) -> usize {
        self.plain_len
    }

    pub(super) fn is_gzip(&self) -> bool {
        self.gzip.is_some()
    }

    /// Adds a part of the framing.
    pub(super) fn text(&mut self, text: &[u8]) {
        self.plain_len += text.len();
        let Some(crc) = &mut self.gzip else { return self.bytes.extend_from_slice(text) };
        crc.update(text);
        for block in text.chunks(MAX_STORED) {
            let len = u16::try_from(block.len()).unwrap_or(u16::MAX);
            self.bytes.extend_from_slice(&[0]);
            self.bytes.extend_from_slice(&len.to_le_bytes());
            self.bytes.extend_from_slice(&(!len).to_le_bytes());
            self.bytes.extend_from_slice(block);
        }
    }

    /// Adds records of an entry, and the separator before them; false, and nothing, if they are not what was written.
    ///
    /// # Errors
    ///
    /// If they are a part of those that were compressed together, and this build cannot take them apart.
    pub(super) fn records(
        &mut self,
        separator: &[u8],
        entry: &Entry,
        records: &Range<u64>,
    ) -> Result<bool, SpoolError> {
        if self.gzip.is_none() {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(separator);
            let whole = entry.plain(records, &mut self.bytes)?;
            self.bytes.truncate(if whole { self.bytes.len() } else { start });
            self.plain_len += self.bytes.len() - start;
            return Ok(whole);
        }
        let mut plain = Overwrite::default();
        // A part of them only where a batch was split.
        let whole = entry.is_whole(records);
        if !whole && !entry.plain(records, &mut plain)? {
            return Ok(false);
        }
        self.text(separator);
        let Some(crc) = &mut self.gzip else { return Ok(false) };
        if whole {
            self.plain_len += entry.plain_len();
            self.bytes.extend_from_slice(entry.stored());
            crc.combine(&crc32fast::Hasher::new_with_initial_len(entry.plain_crc(), entry.plain_len() as u64));
        } else {
            self.plain(plain.bytes());
        }
        Ok(true)
    }

    /// Adds records as they are, compressed if the body is.
    fn plain(&mut self, plain: &[u8]) {
        let start = self.bytes.len();
        match &mut self.gzip {
            Some(crc) if self.bytes.append(|out| deflate(plain, out)) => {
                self.plain_len += plain.len();
                crc.update(plain);
            }
            _ => {
                self.bytes.truncate(start);
                self.text(plain);
            }
        }
    }

    /// Adds records in groups. Not to one that is compressed: its pieces are stored with the envelopes in them.
    pub(super) fn groups(&mut self, groups: &Groups<'_>) {
        debug_assert!(self.gzip.is_none(), "its checksum is that of its pieces");
        self.bytes.append(|out| groups.write(out, |_, _| ()));
        self.plain_len += groups.len();
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        if let Some(crc) = self.gzip {
            self.bytes.extend_from_slice(&LAST_BLOCK);
            self.bytes.extend_from_slice(&crc.finalize().to_le_bytes());
            // Modulo 2^32, as the format has it.
            self.bytes.extend_from_slice(&(self.plain_len as u64).to_le_bytes()[..4]);
        }
        self.bytes.into_bytes()
    }
}

/// The body of a request with all records of a block, which lies in no spool: as it would be if it did.
pub(crate) struct Loose {
    pub(crate) bytes: Vec<u8>,
    /// The coding of the body, `gzip`, where it is compressed.
    pub(crate) content_encoding: Option<&'static str>,
    /// Where the records lie, one behind the other, where they do not stand in envelopes.
    pub(crate) records: Option<Range<usize>>,
}

impl Loose {
    pub(crate) fn of(block: &Block, framing: &Framing, coding: Coding) -> Self {
        let runs: Vec<_> =
            block.runs().iter().map(|run| Run { envelope: run.envelope(), records: &run.payload }).collect();
        let mut records = Vec::new();
        nested::write_runs(framing, &runs, &mut records);
        let mut body = Body::new(coding, records.len(), Vec::new());
        body.text(framing.open());
        let start = body.plain_len();
        body.plain(&records);
        let of_records = start..body.plain_len();
        body.text(framing.close());
        Self {
            content_encoding: body.is_gzip().then_some("gzip"),
            bytes: body.finish(),
            records: (framing.nesting() == Nesting::Flat).then_some(of_records),
        }
    }
}

/// Decompresses a body; `None` if it is not compressed, or this build cannot read it.
pub(super) fn gunzip(body: &[u8]) -> Option<Vec<u8>> {
    let (stream, trailer) = body.strip_prefix(&GZIP_HEADER)?.split_last_chunk::<8>()?;
    let (len, mut plain) = (Fields(&trailer[4..]).u32()? as usize, Overwrite::default());
    Coding::Deflate.decode(stream, len, &mut plain).is_ok_and(|whole| whole).then(|| plain.into_bytes())
}
