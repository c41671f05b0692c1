//! [`Entry`]: the records of one partition in one append, self-describing. It is bytes in memory.
//!
//! ```text
//! lane 4 | first record 8 | records 4 | boundary 8 | first, last timestamp 8 8 | appended at 8 | batches: records 8, bytes 8
//! | load 8, is its last 1 | kind 1 | response protocol 1 | coding 1 | of the records without it: length 4, crc32 4
//! | lengths: key 4, content type 2, open 2, separator 2, close 2 | these five | where each record ends 4 each | records
//! ```

use std::ops::{Deref, Range};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::bytes::{Fields, index, len32};
use super::coding::Coding;
use super::store::Value;
use crate::encode::framing::{Framing, ResponseProtocol};
use crate::error::SpoolError;

/// The largest record that the spool takes, so that every length fits the format with room to spare.
pub(crate) const MAX_RECORD_BYTES: usize = 1 << 30;

/// The longest partition key; the rest is left out.
const MAX_KEY_BYTES: usize = 64 << 10;

/// How many bytes an entry has before its texts.
pub(super) const HEAD_BYTES: usize = (4 + 8 + 4) + 8 + 3 * 8 + (8 + 8) + (8 + 1) + (1 + 1 + 1) + (4 + 4) + (4 + 4 * 2);

/// The only kind of entry: records that are joined by a separator.
const FLAT: u8 = 0;

/// The numbers at the beginning of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EntryHead {
    pub(super) lane: u32,
    /// The number of the first record in its lane.
    pub(super) first_record: u64,
    pub(super) records: u32,
    /// Where the latest batch of the lane ended that ended only because there were no more records: no batch that begins
    /// before it goes beyond it.
    pub(super) boundary: u64,
    /// Nanoseconds since the epoch, like the other times.
    pub(super) first_timestamp: u64,
    pub(super) last_timestamp: u64,
    pub(super) appended_at: u64,
    pub(super) limits: StoredLimits,
}

/// The limits of the batches that records make up. They are stored with the records, so that a restart, also with other
/// settings, makes the same batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StoredLimits {
    pub(super) max_records: u64,
    pub(super) max_bytes: u64,
}

pub(super) fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

pub(super) fn system_time(nanos: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(nanos)
}

/// The key as it is stored: at most [`MAX_KEY_BYTES`], truncated at a character.
pub(super) fn stored_key(key: &str) -> &str {
    let mut end = key.len().min(MAX_KEY_BYTES);
    while !key.is_char_boundary(end) {
        end -= 1;
    }
    &key[..end]
}

/// A run of a block's records.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    /// Where the payload begins in the block's.
    pub(super) base: usize,
    /// Where each record ends in the block's.
    pub(super) ends: &'a [usize],
    pub(super) payload: &'a [u8],
}

/// Writes an entry.
pub(super) fn write(
    head: &EntryHead,
    key: &str,
    framing: &Framing,
    records: Part<'_>,
    coding: Coding,
    out: &mut Vec<u8>,
) {
    out.clear();
    out.extend_from_slice(&head.lane.to_le_bytes());
    out.extend_from_slice(&head.first_record.to_le_bytes());
    out.extend_from_slice(&head.records.to_le_bytes());
    let StoredLimits { max_records, max_bytes } = head.limits;
    // No entry is of a load yet.
    let load = 0;
    for field in
        [head.boundary, head.first_timestamp, head.last_timestamp, head.appended_at, max_records, max_bytes, load]
    {
        out.extend_from_slice(&field.to_le_bytes());
    }
    out.extend_from_slice(&[0, FLAT]);
    out.push(framing.response_protocol().byte());
    let coding_at = out.len();
    out.push(coding.byte());
    out.extend_from_slice(&len32(records.payload.len()).to_le_bytes());
    // Only where it is asked for: a request that is compressed says it of the whole.
    let crc = if coding == Coding::Deflate { crc32fast::hash(records.payload) } else { 0 };
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&len32(key.len()).to_le_bytes());
    let parts = [framing.content_type().as_bytes(), framing.open(), framing.separator(), framing.close()];
    for part in parts {
        // The builder takes no encoder whose framing is longer.
        out.extend_from_slice(&u16::try_from(part.len()).unwrap_or(u16::MAX).to_le_bytes());
    }
    debug_assert_eq!(out.len(), HEAD_BYTES, "as entries are cut by it");
    out.extend_from_slice(key.as_bytes());
    for part in parts {
        out.extend_from_slice(&part[..part.len().min(usize::from(u16::MAX))]);
    }
    for end in records.ends {
        out.extend_from_slice(&len32(end - records.base).to_le_bytes());
    }
    out[coding_at] = coding.encode(records.payload, out).byte();
}

/// The bytes of an entry: as the store gave them, or put together from several frames.
#[derive(Debug)]
pub(super) enum EntryBytes {
    Stored(Value, Range<usize>),
    Joined(Vec<u8>, Range<usize>),
}

impl EntryBytes {
    pub(super) fn joined(bytes: Vec<u8>) -> Self {
        let all = 0..bytes.len();
        Self::Joined(bytes, all)
    }
}

impl Deref for EntryBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Stored(value, range) => &value[range.clone()],
            Self::Joined(bytes, range) => &bytes[range.clone()],
        }
    }
}

/// An entry that was read.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) head: EntryHead,
    pub(super) framing: Framing,
    pub(super) coding: Coding,
    bytes: EntryBytes,
    plain_len: usize,
    plain_crc: u32,
    ends_at: usize,
    payload_at: usize,
}

/// The part of an entry that is needed to find its records without having read them.
#[derive(Clone, Debug)]
pub(super) struct Summary {
    pub(super) head: EntryHead,
    pub(super) key: Arc<str>,
    /// Without compression.
    pub(super) payload_bytes: usize,
}

/// The parts of an entry, and where they are.
struct Layout<'a> {
    head: EntryHead,
    coding: Coding,
    plain_len: usize,
    plain_crc: u32,
    key: &'a str,
    content_type: &'a str,
    /// Open, separator, close.
    framing: [&'a [u8]; 3],
    response_protocol: ResponseProtocol,
    ends_at: usize,
    payload_at: usize,
}

impl<'a> Layout<'a> {
    /// `None` if the bytes are no entry.
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let head = EntryHead {
            lane: fields.u32()?,
            first_record: fields.u64()?,
            records: fields.u32()?,
            boundary: fields.u64()?,
            first_timestamp: fields.u64()?,
            last_timestamp: fields.u64()?,
            appended_at: fields.u64()?,
            limits: StoredLimits { max_records: fields.u64()?, max_bytes: fields.u64()? },
        };
        let (_load, _is_last_of_load, kind) = (fields.u64()?, fields.u8()?, fields.u8()?);
        if kind != FLAT {
            return None;
        }
        // By the status, if a later version knows more.
        let response_protocol = ResponseProtocol::from_byte(fields.u8()?).unwrap_or_default();
        let coding = Coding::from_byte(fields.u8()?)?;
        let (plain_len, plain_crc) = (fields.u32()? as usize, fields.u32()?);
        let key_len = fields.u32()? as usize;
        let lens = [fields.u16()?, fields.u16()?, fields.u16()?, fields.u16()?].map(usize::from);
        let (key, content_type) = (fields.text(key_len)?, fields.text(lens[0])?);
        let framing = [fields.take(lens[1])?, fields.take(lens[2])?, fields.take(lens[3])?];
        let ends_at = bytes.len() - fields.0.len();
        let ends = fields.take((head.records as usize).checked_mul(4)?)?;
        let payload_at = bytes.len() - fields.0.len();
        head.first_record.checked_add(u64::from(head.records))?;
        if head.boundary > head.first_record {
            return None;
        }
        if !coding.could_hold(fields.0.len(), plain_len) {
            return None;
        }
        are_ends(ends, framing[1].len(), plain_len).then_some(Self {
            head,
            coding,
            plain_len,
            plain_crc,
            key,
            content_type,
            framing,
            response_protocol,
            ends_at,
            payload_at,
        })
    }
}

impl Summary {
    /// `None` if the bytes are no entry.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let Layout { head, key, plain_len, .. } = Layout::read(bytes)?;
        Some(Self { head, key: Arc::from(key), payload_bytes: plain_len })
    }
}

impl Entry {
    /// `None` if the bytes are no entry.
    pub(super) fn read(bytes: EntryBytes) -> Option<Self> {
        let Layout {
            head,
            content_type,
            framing,
            response_protocol,
            coding,
            plain_len,
            plain_crc,
            ends_at,
            payload_at,
            ..
        } = Layout::read(&bytes)?;
        let framing = Framing::from_stored(content_type.to_owned(), framing.map(<[u8]>::to_vec), response_protocol);
        Some(Self { head, framing, coding, bytes, plain_len, plain_crc, ends_at, payload_at })
    }

    fn end(&self, record: usize) -> usize {
        let at = self.ends_at + record * 4;
        Fields(&self.bytes[at..]).u32().map_or(0, |end| end as usize)
    }

    /// Where records lie among all of the entry's, `records` counted from the start of the lane.
    fn span(&self, records: &Range<u64>) -> Range<usize> {
        let first = index(records.start - self.head.first_record);
        let last = index(records.end - self.head.first_record) - 1;
        let start = if first == 0 { 0 } else { self.end(first - 1) + self.framing.separator().len() };
        start..self.end(last)
    }

    /// Where each record lies among all of them.
    #[cfg(feature = "cli")]
    pub(super) fn spans(&self) -> impl Iterator<Item = Range<usize>> {
        let first = self.head.first_record;
        (first..first + u64::from(self.head.records)).map(|record| self.span(&(record..record + 1)))
    }

    /// Whether `records` are all of them.
    pub(super) fn is_whole(&self, records: &Range<u64>) -> bool {
        let EntryHead { first_record, records: count, .. } = self.head;
        *records == (first_record..first_record + u64::from(count))
    }

    /// The records as they are stored.
    pub(super) fn stored(&self) -> &[u8] {
        &self.bytes[self.payload_at..]
    }

    /// How long the records are without compression.
    pub(super) fn plain_len(&self) -> usize {
        self.plain_len
    }

    /// The checksum of the records without compression, of those that were compressed for the wire.
    pub(super) fn plain_crc(&self) -> u32 {
        self.plain_crc
    }

    /// Appends `records` without compression, joined; false, and nothing, if they are not what was written.
    ///
    /// # Errors
    ///
    /// If this build has not what it takes to read them.
    pub(super) fn plain(&self, records: &Range<u64>, out: &mut Vec<u8>) -> Result<bool, SpoolError> {
        let span = self.span(records);
        if self.coding == Coding::Identity {
            out.extend_from_slice(&self.stored()[span]);
            return Ok(true);
        }
        let start = out.len();
        let decoded = self.coding.decode(self.stored(), self.plain_len, out)?;
        if decoded {
            out.truncate(start + span.end);
            out.drain(start..start + span.start);
        }
        Ok(decoded)
    }

    /// The end of the longest run of records from `from`, at most to `until`, that takes no more than `max_records`
    /// and `max_bytes`. `from` itself if not even the first fits.
    pub(super) fn fit(&self, from: u64, until: u64, max_records: u64, max_bytes: u64) -> u64 {
        let until =
            until.min(self.head.first_record + u64::from(self.head.records)).min(from.saturating_add(max_records));
        if until <= from {
            return from;
        }
        let fits = |end: u64| self.span(&(from..end)).len() as u64 <= max_bytes;
        if fits(until) {
            return until;
        }
        // Lengths grow with `end`: the first that does not fit is found by bisection.
        let (mut fitting, mut too_many) = (from, until);
        while too_many - fitting > 1 {
            let middle = fitting + (too_many - fitting) / 2;
            if fits(middle) { fitting = middle } else { too_many = middle }
        }
        fitting
    }
}

/// Whether records that end there, with a separator between each two, make up a payload of `len` bytes.
fn are_ends(ends: &[u8], separator: usize, len: usize) -> bool {
    let mut ends = Fields(ends);
    let (mut start, mut last) = (0, None);
    while let Some(end) = ends.u32().map(|end| end as usize) {
        if end < start {
            return false;
        }
        (start, last) = (end + separator, Some(end));
    }
    last == Some(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        let head = EntryHead {
            lane: 2,
            first_record: 100,
            records: 3,
            boundary: 98,
            first_timestamp: 1,
            last_timestamp: 2,
            appended_at: 3,
            limits: StoredLimits { max_records: 4, max_bytes: 5 },
        };
        let mut out = Vec::new();
        let records = Part { base: 10, ends: &[13, 18, 23], payload: b"\"a\",\"bb\",null" };
        write(&head, "acme", &Framing::json_array(), records, Coding::Identity, &mut out);
        Entry::read(EntryBytes::joined(out)).unwrap()
    }

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        let entry = entry();
        assert_eq!((entry.head.lane, entry.head.first_record, entry.head.records), (2, 100, 3));
        assert_eq!(entry.head.boundary, 98);
        assert_eq!((entry.head.first_timestamp, entry.head.last_timestamp, entry.head.appended_at), (1, 2, 3));
        assert_eq!(entry.head.limits, StoredLimits { max_records: 4, max_bytes: 5 });
        assert_eq!(entry.framing, Framing::json_array());
        let mut plain = Vec::new();
        assert!(entry.plain(&(100..101), &mut plain).unwrap() && entry.plain(&(101..103), &mut plain).unwrap());
        assert_eq!(plain, b"\"a\"\"bb\",null");
        assert!(entry.is_whole(&(100..103)) && !entry.is_whole(&(100..102)) && !entry.is_whole(&(101..103)));
        let summary = Summary::read(&entry.bytes).unwrap();
        assert_eq!((&*summary.key, summary.payload_bytes, summary.head), ("acme", 13, entry.head));
    }

    #[test]
    fn the_longest_run_that_fits_is_taken() {
        let entry = entry();
        assert_eq!(entry.fit(100, 103, 512, 1000), 103);
        assert_eq!(entry.fit(100, 103, 2, 1000), 102);
        assert_eq!(entry.fit(100, 103, 512, 8), 102);
        assert_eq!(entry.fit(100, 103, 512, 7), 101);
        assert_eq!(entry.fit(100, 103, 512, 2), 100);
        assert_eq!(entry.fit(101, 102, 512, 1000), 102);
    }

    #[test]
    fn truncated_or_longer_bytes_are_no_entry() {
        let EntryBytes::Joined(bytes, _) = entry().bytes else { unreachable!() };
        for len in 0..bytes.len() {
            assert!(Entry::read(EntryBytes::joined(bytes[..len].to_vec())).is_none(), "{len} bytes");
        }
        assert!(Entry::read(EntryBytes::joined([&bytes[..], b"x"].concat())).is_none());
    }

    /// Found by fuzzing.
    #[test]
    fn records_that_do_not_follow_one_another_are_no_entry() {
        let EntryBytes::Joined(bytes, _) = entry().bytes else { unreachable!() };
        let ends_at = bytes.len() - 13 - 3 * 4;
        // The first may end where the second's separator begins, and no later.
        for (end, is_entry) in [(0_u32, true), (3, true), (7, true), (8, false), (6_684_672, false)] {
            let mut changed = bytes.clone();
            changed[ends_at..ends_at + 4].copy_from_slice(&end.to_le_bytes());
            assert_eq!(Entry::read(EntryBytes::joined(changed)).is_some(), is_entry, "an end at {end}");
        }
        let mut changed = bytes;
        changed[4..12].fill(0xff);
        assert!(Entry::read(EntryBytes::joined(changed)).is_none(), "records that cannot be counted");
    }

    #[test]
    fn a_long_key_is_truncated_at_a_character() {
        let key = "ä".repeat(MAX_KEY_BYTES);
        assert_eq!(stored_key(&key).len(), MAX_KEY_BYTES);
        assert_eq!(stored_key("short"), "short");
    }
}
