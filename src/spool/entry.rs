//! [`Entry`]: the records of one partition in one append, self-describing. It is bytes in memory.
//!
//! ```text
//! lane 4 | first record 8 | records 4 | boundary 8 | first, last timestamp 8 8 | appended at 8 | batches: records 8, bytes 8
//! | load 8, its marks 1 | kind 1 | response protocol 1 | coding 1 | of the records without it: length 4, crc32 4
//! | lengths: key 4, content type 2, open 2, separator 2, close 2 | these five | runs | where each record ends 4 each | records
//! ```
//!
//! Records that stand in envelopes are stored with them, as they stand in a body, and *runs* say where: how many there are 4, and
//! of each the records 4, and place and length of the outer and of the inner envelope 4 4 4 4. Other entries have no such table.

#[cfg(feature = "cli")]
use std::borrow::Cow;
use std::num::NonZeroU64;
use std::ops::{Deref, Range};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::bytes::{Fields, index, len32, start_of};
use super::coding::Coding;
use super::frame::HEADER_BYTES;
use super::nested::{self, Groups};
use super::overwrite::Overwrite;
use super::store::Value;
use crate::encode::blocks::Envelope;
use crate::encode::framing::{Framing, Nesting, ResponseProtocol};
use crate::error::SpoolError;

/// The largest record that the spool takes, so that every length fits the format with room to spare.
pub(crate) const MAX_RECORD_BYTES: usize = 1 << 30;

/// The most that each buffer keeps between two appends.
const MAX_KEPT_BYTES: usize = 512 << 10;

/// The longest partition key; the rest is left out.
const MAX_KEY_BYTES: usize = 64 << 10;

/// How many bytes an entry has before its texts.
pub(super) const HEAD_BYTES: usize = (4 + 8 + 4) + 8 + 3 * 8 + (8 + 8) + (8 + 1) + (1 + 1 + 1) + (4 + 4) + (4 + 4 * 2);

/// How many bytes the table of runs takes for each.
pub(super) const RUN_BYTES: usize = 5 * 4;

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
    pub(super) load: LoadMark,
}

/// The number of a [`Load`](super::load::Load), by which it is known when it comes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LoadId(NonZeroU64);

impl LoadId {
    /// The number that begins a hash.
    pub(crate) fn of_hash(hash: [u8; 8]) -> Self {
        Self(NonZeroU64::new(u64::from_le_bytes(hash)).unwrap_or(NonZeroU64::MIN))
    }

    /// A hash of which it is made.
    pub(crate) fn to_bytes(self) -> [u8; 8] {
        self.0.get().to_le_bytes()
    }
}

/// The load that an entry is of, if any, and its place there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LoadMark {
    pub(super) id: Option<LoadId>,
    /// Whether the load ends with it. So it is said of an entry without a load that was appended together with some.
    pub(super) is_last: bool,
    /// Whether it is the first entry of an append that has loads.
    pub(super) begins_append: bool,
}

impl LoadMark {
    /// That of an entry which is of no load.
    pub(super) const NONE: Self = Self { id: None, is_last: false, begins_append: false };

    const IS_LAST: u8 = 1;
    const BEGINS_APPEND: u8 = 2;

    fn number(self) -> u64 {
        self.id.map_or(0, |LoadId(id)| id.get())
    }

    fn marks(self) -> u8 {
        u8::from(self.is_last) * Self::IS_LAST + u8::from(self.begins_append) * Self::BEGINS_APPEND
    }

    fn read(number: u64, marks: u8) -> Self {
        Self {
            id: NonZeroU64::new(number).map(LoadId),
            is_last: marks & Self::IS_LAST != 0,
            begins_append: marks & Self::BEGINS_APPEND != 0,
        }
    }
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
    start_of(key, MAX_KEY_BYTES)
}

/// Records of a block's run that follow one another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    pub(super) envelope: Envelope<'a>,
    /// Where the payload begins in the run's.
    pub(super) base: usize,
    /// Where each record ends in the run's.
    pub(super) ends: &'a [usize],
    pub(super) payload: &'a [u8],
}

/// The records of an entry in the making, with their envelopes, if they have any.
struct Records<'a> {
    plain: &'a [u8],
    /// The table of runs.
    table: Vec<u8>,
    /// The number of each part, in the order in which they are written, and where its records begin.
    parts: Vec<(usize, usize)>,
}

impl<'a> Records<'a> {
    fn new(framing: &Framing, parts: &[Part<'a>], plain: &'a mut Vec<u8>) -> Self {
        if framing.nesting() == Nesting::Flat {
            debug_assert_eq!(parts.len(), 1, "without envelopes all are one run");
            let plain = parts.first().map_or(&[][..], |part| part.payload);
            return Self { plain, table: Vec::new(), parts: vec![(0, 0)] };
        }
        let mut table = len32(parts.len()).to_le_bytes().to_vec();
        let mut order = Vec::with_capacity(parts.len());
        let runs: Vec<_> =
            parts.iter().map(|part| nested::Run { envelope: part.envelope, records: part.payload }).collect();
        plain.clear();
        Groups::new(framing, &runs).write(plain, |part, placed| {
            let nested::Placed { outer, inner } = placed;
            for field in [parts[part].ends.len(), outer.start, outer.len(), inner.start, inner.len()] {
                table.extend_from_slice(&len32(field).to_le_bytes());
            }
            order.push((part, inner.end));
        });
        Self { plain, table, parts: order }
    }
}

/// The buffers in which entries are made, one after the other.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// The entry, behind room for the header of a frame.
    framed: Vec<u8>,
    plain: Vec<u8>,
}

impl Scratch {
    /// The latest entry.
    #[cfg(any(test, fuzzing))]
    pub(super) fn entry(&self) -> &[u8] {
        &self.framed[HEADER_BYTES..]
    }

    /// The same behind room for the header of a frame.
    pub(super) fn framed(&mut self) -> &mut [u8] {
        &mut self.framed
    }

    /// Gives back what only an unusual entry needs.
    pub(super) fn shrink(&mut self) {
        for buffer in [&mut self.framed, &mut self.plain] {
            buffer.clear();
            buffer.shrink_to(MAX_KEPT_BYTES);
        }
    }
}

/// Writes an entry of some parts of a block, and says how long its records are without compression.
pub(super) fn write(
    head: &EntryHead,
    key: &str,
    framing: &Framing,
    parts: &[Part<'_>],
    coding: Coding,
    scratch: &mut Scratch,
) -> usize {
    let Scratch { framed: out, plain } = scratch;
    let records = Records::new(framing, parts, plain);
    out.clear();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    out.extend_from_slice(&head.lane.to_le_bytes());
    out.extend_from_slice(&head.first_record.to_le_bytes());
    out.extend_from_slice(&head.records.to_le_bytes());
    let StoredLimits { max_records, max_bytes } = head.limits;
    let load = head.load.number();
    for field in
        [head.boundary, head.first_timestamp, head.last_timestamp, head.appended_at, max_records, max_bytes, load]
    {
        out.extend_from_slice(&field.to_le_bytes());
    }
    out.extend_from_slice(&[head.load.marks(), framing.nesting().byte()]);
    out.push(framing.response_protocol().byte());
    let coding_at = out.len();
    out.push(coding.byte());
    out.extend_from_slice(&len32(records.plain.len()).to_le_bytes());
    // Only where it is asked for: a request that is compressed says it of the whole.
    let crc = if coding == Coding::Deflate { crc32fast::hash(records.plain) } else { 0 };
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&len32(key.len()).to_le_bytes());
    let texts = [framing.content_type().as_bytes(), framing.open(), framing.separator(), framing.close()];
    for text in texts {
        // The builder takes no encoder whose framing is longer.
        out.extend_from_slice(&u16::try_from(text.len()).unwrap_or(u16::MAX).to_le_bytes());
    }
    debug_assert_eq!(out.len(), HEADER_BYTES + HEAD_BYTES, "as entries are cut by it");
    out.extend_from_slice(key.as_bytes());
    for text in texts {
        out.extend_from_slice(&text[..text.len().min(usize::from(u16::MAX))]);
    }
    out.extend_from_slice(&records.table);
    for (part, start) in records.parts {
        for end in parts[part].ends {
            out.extend_from_slice(&len32(start + end - parts[part].base).to_le_bytes());
        }
    }
    out[coding_at] = coding.encode(records.plain, out).byte();
    records.plain.len()
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
    /// At least one; without envelopes it is the only one.
    runs: Vec<Run>,
    ends_at: usize,
    payload_at: usize,
}

/// A run of an entry's records: where their envelope is in the plain ones. The first record begins where the inner one ends.
#[derive(Clone, Debug)]
struct Run {
    /// The number of its first record in the entry.
    first: usize,
    records: usize,
    outer: Range<usize>,
    inner: Range<usize>,
}

/// The table of an entry's runs, read without memory of its own.
#[derive(Clone)]
struct Runs<'a> {
    /// `None` if records have no envelopes.
    table: Option<Fields<'a>>,
    records: usize,
    first: usize,
}

impl Iterator for Runs<'_> {
    type Item = Run;

    fn next(&mut self) -> Option<Run> {
        let first = self.first;
        let Some(table) = &mut self.table else {
            self.first = self.records;
            return (first < self.records).then_some(Run { first, records: self.records, outer: 0..0, inner: 0..0 });
        };
        let records = table.u32()? as usize;
        let mut range = || {
            let (at, len) = (table.u32()? as usize, table.u32()? as usize);
            Some(at..at.saturating_add(len))
        };
        let (outer, inner) = (range()?, range()?);
        self.first = first.saturating_add(records);
        Some(Run { first, records, outer, inner })
    }
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
    nesting: Nesting,
    runs: Runs<'a>,
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
            load: LoadMark::read(fields.u64()?, fields.u8()?),
        };
        let nesting = Nesting::from_byte(fields.u8()?)?;
        // By the status, if a later version knows more.
        let response_protocol = ResponseProtocol::from_byte(fields.u8()?).unwrap_or_default();
        let coding = Coding::from_byte(fields.u8()?)?;
        let (plain_len, plain_crc) = (fields.u32()? as usize, fields.u32()?);
        let key_len = fields.u32()? as usize;
        let lens = [fields.u16()?, fields.u16()?, fields.u16()?, fields.u16()?].map(usize::from);
        let (key, content_type) = (fields.text(key_len)?, fields.text(lens[0])?);
        let framing = [fields.take(lens[1])?, fields.take(lens[2])?, fields.take(lens[3])?];
        let records = head.records as usize;
        let table = match nesting {
            Nesting::Flat => None,
            Nesting::Protobuf | Nesting::Json => {
                let runs = fields.u32()? as usize;
                Some(Fields(fields.take(runs.checked_mul(RUN_BYTES)?)?))
            }
        };
        let runs = Runs { table, records, first: 0 };
        let ends_at = bytes.len() - fields.0.len();
        let ends = fields.take(records.checked_mul(4)?)?;
        let payload_at = bytes.len() - fields.0.len();
        head.first_record.checked_add(u64::from(head.records))?;
        if head.boundary > head.first_record {
            return None;
        }
        if !coding.could_hold(fields.0.len(), plain_len) {
            return None;
        }
        are_records(runs.clone(), ends, framing[1].len(), plain_len).then_some(Self {
            head,
            coding,
            plain_len,
            plain_crc,
            key,
            content_type,
            framing,
            response_protocol,
            nesting,
            runs,
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
            nesting,
            coding,
            plain_len,
            plain_crc,
            runs,
            ends_at,
            payload_at,
            ..
        } = Layout::read(&bytes)?;
        let (content_type, texts) = (content_type.to_owned(), framing.map(<[u8]>::to_vec));
        let framing = Framing::from_stored(content_type, texts, response_protocol, nesting);
        let runs = runs.collect();
        Some(Self { head, framing, coding, bytes, plain_len, plain_crc, runs, ends_at, payload_at })
    }

    fn end(&self, record: usize) -> usize {
        let at = self.ends_at + record * 4;
        Fields(&self.bytes[at..]).u32().map_or(0, |end| end as usize)
    }

    /// The runs that have any of `records`, which are counted from the start of the lane: each with the place of those records
    /// among all of the entry's.
    fn spans(&self, records: &Range<u64>) -> impl Iterator<Item = (&Run, Range<usize>)> {
        let [first, end] = [records.start, records.end].map(|record| index(record - self.head.first_record));
        let runs = &self.runs[self.runs.partition_point(|run| run.first + run.records <= first)..];
        runs.iter().take_while(move |run| run.first < end).map(move |run| {
            let (from, last) = (first.max(run.first), end.min(run.first + run.records) - 1);
            let start =
                if from == run.first { run.inner.end } else { self.end(from - 1) + self.framing.separator().len() };
            (run, start..self.end(last))
        })
    }

    /// Where each of `records` lies, from the start of the first; of an entry without envelopes.
    pub(super) fn places(&self, records: &Range<u64>) -> impl Iterator<Item = Range<usize>> {
        let [first, end] = [records.start, records.end].map(|record| index(record - self.head.first_record));
        let start = move |record: usize| match record.checked_sub(1) {
            None => 0,
            Some(before) => self.end(before) + self.framing.separator().len(),
        };
        let base = start(first);
        (first..end).map(move |record| start(record) - base..self.end(record) - base)
    }

    /// The same in the plain records of the entry.
    pub(super) fn runs<'a>(&self, records: &Range<u64>, plain: &'a [u8]) -> impl Iterator<Item = nested::Run<'a>> {
        self.spans(records).map(|(run, span)| {
            let envelope = Envelope { outer: &plain[run.outer.clone()], inner: &plain[run.inner.clone()] };
            nested::Run { envelope, records: &plain[span] }
        })
    }

    /// The most that records take in a body, as far as that follows from the entry's numbers: with their envelopes, the outer one
    /// once where runs that follow one another share it.
    pub(super) fn bound(&self, records: &Range<u64>) -> u64 {
        let (overhead, mut outer) = (nested::overhead(&self.framing), None);
        let bytes = self.spans(records).map(|(run, span)| {
            let is_same = outer.replace(run.outer.start) == Some(run.outer.start);
            let outer = if is_same { 0 } else { run.outer.len() + overhead };
            outer + run.inner.len() + overhead + span.len()
        });
        bytes.sum::<usize>() as u64
    }

    /// Each record of the entry, of which these are the plain ones, as it stands in a body alone.
    #[cfg(feature = "cli")]
    pub(super) fn records<'a>(&self, plain: &'a [u8]) -> impl Iterator<Item = Cow<'a, [u8]>> {
        let first = self.head.first_record;
        (first..first + u64::from(self.head.records)).map(|record| {
            let runs: Vec<_> = self.runs(&(record..record + 1), plain).collect();
            match self.framing.nesting() {
                Nesting::Flat => Cow::Borrowed(runs[0].records),
                Nesting::Protobuf | Nesting::Json => {
                    let mut alone = Vec::new();
                    Groups::new(&self.framing, &runs).write(&mut alone, |_, _| ());
                    Cow::Owned(alone)
                }
            }
        })
    }

    /// Whether a record has no bytes: it may have been taken out.
    #[cfg(feature = "cli")]
    pub(super) fn is_blank(&self, number: u64, plain: &[u8]) -> bool {
        self.runs(&(number..number + 1), plain).all(|run| run.records.is_empty())
    }

    /// Writes the entry without some of its records: in place of each there is one of no bytes, so that all keep their numbers. A run of
    /// which nothing is left gives its numbers to one beside it, so that its envelope is left out as well. So is what a body begins and ends
    /// with, if nothing is left at all: it may be a part of the records. `plain` are the plain records.
    #[cfg(feature = "cli")]
    pub(super) fn write_without(&self, is_taken: impl Fn(u64) -> bool, key: &str, plain: &[u8], scratch: &mut Scratch) {
        let mut kept: Vec<(Envelope<'_>, Vec<&[u8]>)> = Vec::new();
        let mut emptied = Vec::new();
        for run in &self.runs {
            let numbers = self.head.first_record + run.first as u64..;
            let records = numbers.take(run.records).map(|number| {
                let record = self.runs(&(number..number + 1), plain).next().map_or(&[][..], |run| run.records);
                if is_taken(number) { &[][..] } else { record }
            });
            let records: Vec<_> = records.collect();
            if records.iter().any(|record| !record.is_empty()) {
                let envelope = Envelope { outer: &plain[run.outer.clone()], inner: &plain[run.inner.clone()] };
                kept.push((envelope, std::mem::take(&mut emptied).into_iter().chain(records).collect()));
            } else if let Some((_, last)) = kept.last_mut() {
                last.extend(records);
            } else {
                emptied.extend(records);
            }
        }
        let is_empty = kept.is_empty();
        if is_empty {
            kept.push((Envelope::default(), emptied));
        }
        let framing = if is_empty { &self.framing.without_ends() } else { &self.framing };
        let separator = self.framing.separator();
        let ends = |records: &[&[u8]]| {
            let mut end = 0;
            let ends = records.iter().enumerate().map(|(nth, record)| {
                end += record.len() + if nth > 0 { separator.len() } else { 0 };
                end
            });
            ends.collect::<Vec<_>>()
        };
        let runs: Vec<_> =
            kept.into_iter().map(|(envelope, records)| (envelope, ends(&records), records.join(separator))).collect();
        let part = |(envelope, ends, payload)| Part { envelope, base: 0, ends, payload };
        let parts: Vec<_> =
            runs.iter().map(|(envelope, ends, payload)| part((*envelope, &**ends, &**payload))).collect();
        write(&self.head, key, framing, &parts, self.coding, scratch);
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

    /// Appends all of the plain records; false, and nothing, if they are not what was written.
    ///
    /// # Errors
    ///
    /// If this build has not what it takes to read them.
    pub(super) fn decode(&self, out: &mut Overwrite) -> Result<bool, SpoolError> {
        self.coding.decode(self.stored(), self.plain_len, out)
    }

    /// Appends `records` without compression, as they stand in a body; false, and nothing, if they are not what was written.
    ///
    /// # Errors
    ///
    /// If this build has not what it takes to read them.
    pub(super) fn plain(&self, records: &Range<u64>, out: &mut Overwrite) -> Result<bool, SpoolError> {
        let start = out.len();
        if self.is_whole(records) {
            return self.decode(out);
        }
        let (mut decoded, is_nested) = (Overwrite::default(), self.framing.nesting() != Nesting::Flat);
        let plain = match self.coding {
            Coding::Identity => self.stored(),
            _ if is_nested => {
                if !self.decode(&mut decoded)? {
                    return Ok(false);
                }
                decoded.bytes()
            }
            _ => {
                let decoded = self.decode(out)?;
                if let Some((_, span)) = self.spans(records).next().filter(|_| decoded) {
                    out.truncate(start + span.end);
                    out.remove(start..start + span.start);
                }
                return Ok(decoded);
            }
        };
        let runs: Vec<_> = self.runs(records, plain).collect();
        out.append(|out| nested::write_runs(&self.framing, &runs, out));
        Ok(true)
    }

    /// The end of the longest run of records from `from`, at most to `until`, that takes no more than `max_records`
    /// and `max_bytes`. `from` itself if not even the first fits.
    pub(super) fn fit(&self, from: u64, until: u64, max_records: u64, max_bytes: u64) -> u64 {
        let until =
            until.min(self.head.first_record + u64::from(self.head.records)).min(from.saturating_add(max_records));
        if until <= from {
            return from;
        }
        let fits = |end: u64| self.bound(&(from..end)) <= max_bytes;
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

/// Whether these are runs of records that end there: they follow one another, with a separator between each two of a run, in
/// a payload of `len` bytes that ends with the last one, or with what closes its envelope.
fn are_records(runs: Runs<'_>, ends: &[u8], separator: usize, len: usize) -> bool {
    let (records, has_table) = (runs.records, runs.table.is_some());
    let (mut ends, mut last, mut outer, mut left) = (Fields(ends), 0, 0..0, records);
    for run in runs {
        let is_outer = run.outer == outer || run.outer.start >= last;
        if !is_outer || run.outer.end > run.inner.start || run.inner.start < last || run.records == 0 {
            return false;
        }
        let mut start = run.inner.end;
        for _ in 0..run.records {
            let Some(end) = ends.u32().map(|end| end as usize).filter(|end| *end >= start) else { return false };
            (start, last) = (end.saturating_add(separator), end);
        }
        outer = run.outer;
        left = left.saturating_sub(run.records);
    }
    let is_closed = if has_table { last <= len } else { last == len };
    is_closed && left == 0 && ends.0.is_empty() && records > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: EntryHead = EntryHead {
        lane: 2,
        first_record: 100,
        records: 3,
        boundary: 98,
        first_timestamp: 1,
        last_timestamp: 2,
        appended_at: 3,
        limits: StoredLimits { max_records: 4, max_bytes: 5 },
        load: LoadMark::NONE,
    };

    fn entry() -> Entry {
        let envelope = Envelope::default();
        let records = Part { envelope, base: 10, ends: &[13, 18, 23], payload: b"\"a\",\"bb\",null" };
        read(written(&Framing::json_array(), &[records])).unwrap()
    }

    fn written(framing: &Framing, parts: &[Part<'_>]) -> Vec<u8> {
        let mut scratch = Scratch::default();
        let records = parts.iter().map(|part| part.ends.len()).sum();
        let head = EntryHead { records: len32(records), ..HEAD };
        write(&head, "acme", framing, parts, Coding::Identity, &mut scratch);
        scratch.entry().to_vec()
    }

    fn read(bytes: Vec<u8>) -> Option<Entry> {
        Entry::read(EntryBytes::joined(bytes))
    }

    /// An entry of four records in three envelopes, of which the first and the last share the outer one.
    fn nested(nesting: Nesting) -> Vec<u8> {
        let part = |outer, inner, ends, payload| Part { envelope: Envelope { outer, inner }, base: 0, ends, payload };
        let framing = match nesting {
            Nesting::Json => Framing::new("application/json", "(", ",", ")").nested(nesting),
            _ => Framing::new("application/x-protobuf", "", "", "").nested(nesting),
        };
        let parts: &[Part<'_>] = match nesting {
            Nesting::Json => &[
                part(b"{R[", b"{a[", &[1, 3], b"1,2"),
                part(b"{S[", b"{a[", &[1], b"3"),
                part(b"{R[", b"{b[", &[2], b"44"),
            ],
            _ => &[part(b"R", b"a", &[1, 2], b"12"), part(b"S", b"a", &[1], b"3"), part(b"R", b"b", &[2], b"44")],
        };
        written(&framing, parts)
    }

    #[test]
    fn records_in_envelopes_are_stored_so() {
        // What is on disk is read for ever.
        let u32s = |values: &[u32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>();
        let rows: &[u32] = &[3, 2, 2, 1, 5, 1, 1, 2, 1, 10, 1, 1, 15, 1, 18, 1, 7, 8, 13, 20];
        let body = b"\n\x0bR\x12\x03a12\x12\x03b44\n\x05S\x12\x02a3";
        let protobuf = nested(Nesting::Protobuf);
        assert_eq!(protobuf[73], 1, "the kind");
        assert_eq!(protobuf[HEAD_BYTES..], [b"acmeapplication/x-protobuf", &u32s(rows)[..], body].concat());
        let rows: &[u32] = &[3, 2, 0, 3, 3, 3, 1, 0, 3, 12, 3, 1, 22, 3, 25, 3, 7, 9, 17, 29];
        let body = b"{R[{a[1,2]},{b[44]}]},{S[{a[3]}]}";
        let json = nested(Nesting::Json);
        assert_eq!(json[73], 2, "the kind");
        assert_eq!(json[HEAD_BYTES..], [b"acmeapplication/json(,)", &u32s(rows)[..], body].concat());
    }

    #[cfg(feature = "cli")]
    #[test]
    fn what_a_body_begins_and_ends_with_goes_with_the_last_record_of_an_entry() {
        let framing = Framing::new("application/json", "{alice", ",", "alice}");
        let records = Part { envelope: Envelope::default(), base: 0, ends: &[1, 3], payload: b"1,2" };
        let entry = read(written(&framing, &[records])).unwrap();
        let plain = entry.decoded().unwrap().unwrap();
        let without = |taken: &[u64]| {
            let mut scratch = Scratch::default();
            entry.write_without(|number| taken.contains(&number), "", &plain, &mut scratch);
            let entry = read(scratch.entry().to_vec()).unwrap();
            (entry.framing.open().to_vec(), entry.framing.close().to_vec(), entry.head.records)
        };
        assert_eq!(without(&[100]), (b"{alice".to_vec(), b"alice}".to_vec(), 2));
        assert_eq!(without(&[100, 101]), (Vec::new(), Vec::new(), 2));
    }

    #[test]
    fn a_part_of_records_in_envelopes_has_those_of_its_own() {
        let entry = read(nested(Nesting::Json)).unwrap();
        let plain = |records: Range<u64>| {
            let mut out = Overwrite::default();
            out.extend_from_slice(b"-");
            assert!(entry.plain(&records, &mut out).unwrap());
            assert!(out.len() as u64 - 1 <= entry.bound(&records), "{records:?}");
            String::from_utf8(out.into_bytes()).unwrap()
        };
        assert_eq!(plain(100..104), "-{R[{a[1,2]},{b[44]}]},{S[{a[3]}]}");
        assert_eq!(plain(101..103), "-{R[{a[2]},{b[44]}]}");
        assert_eq!(plain(103..104), "-{S[{a[3]}]}");
        // Of outer 6, inner 6 and record 1 each, but for the record of two.
        let bounds: Vec<_> = (101..=104).map(|end| entry.bound(&(100..end))).collect();
        assert_eq!(bounds, [13, 15, 23, 36]);
        for (max, end) in [(12, 100), (13, 101), (22, 102), (23, 103), (35, 103), (36, 104)] {
            assert_eq!(entry.fit(100, 104, 512, max), end, "{max} bytes");
        }
    }

    #[test]
    fn runs_that_do_not_follow_one_another_are_no_entry() {
        let (whole, table) = (nested(Nesting::Json), HEAD_BYTES + "acmeapplication/json(,)".len());
        assert!(read(whole.clone()).is_some());
        for len in 0..whole.len() {
            assert!(read(whole[..len].to_vec()).is_none(), "{len} bytes");
        }
        // Row, field and value: no records, or more than there are; an envelope that overlaps records, or lies outside.
        for (row, field, value) in
            [(0, 0, 0), (0, 0, 3), (2, 0, 2), (1, 1, 1), (1, 3, 8), (1, 2, 13), (2, 4, 99), (0, 3, u32::MAX), (2, 1, 1)]
        {
            let (mut changed, at) = (whole.clone(), table + 4 + row * RUN_BYTES + field * 4);
            changed[at..at + 4].copy_from_slice(&value.to_le_bytes());
            assert!(read(changed).is_none(), "{value} in field {field} of row {row}");
        }
        for kind in 3..=255 {
            let mut changed = whole.clone();
            changed[73] = kind;
            assert!(read(changed).is_none(), "an unknown kind");
        }
    }

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        let entry = entry();
        assert_eq!((entry.head.lane, entry.head.first_record, entry.head.records), (2, 100, 3));
        assert_eq!(entry.head.boundary, 98);
        assert_eq!((entry.head.first_timestamp, entry.head.last_timestamp, entry.head.appended_at), (1, 2, 3));
        assert_eq!(entry.head.limits, StoredLimits { max_records: 4, max_bytes: 5 });
        assert_eq!(entry.framing, Framing::json_array());
        let mut plain = Overwrite::default();
        assert!(entry.plain(&(100..101), &mut plain).unwrap() && entry.plain(&(101..103), &mut plain).unwrap());
        assert_eq!(plain.bytes(), b"\"a\"\"bb\",null");
        assert!(entry.is_whole(&(100..103)) && !entry.is_whole(&(100..102)) && !entry.is_whole(&(101..103)));
        let summary = Summary::read(&entry.bytes).unwrap();
        assert_eq!((&*summary.key, summary.payload_bytes, summary.head), ("acme", 13, entry.head));
    }

    #[test]
    fn an_entry_says_of_which_load_it_is_and_one_of_none_says_nothing() {
        let id = Some(LoadId::of_hash([8, 7, 6, 5, 4, 3, 2, 1]));
        let mark = |id, is_last, begins_append| LoadMark { id, is_last, begins_append };
        for (load, bytes) in [
            (LoadMark::NONE, [0, 0, 0, 0, 0, 0, 0, 0, 0]),
            (mark(id, false, false), [8, 7, 6, 5, 4, 3, 2, 1, 0]),
            (mark(id, true, false), [8, 7, 6, 5, 4, 3, 2, 1, 1]),
            (mark(id, false, true), [8, 7, 6, 5, 4, 3, 2, 1, 2]),
            (mark(None, true, true), [0, 0, 0, 0, 0, 0, 0, 0, 3]),
        ] {
            let mut scratch = Scratch::default();
            let part = Part { envelope: Envelope::default(), base: 0, ends: &[4], payload: b"null" };
            let head = EntryHead { records: 1, load, ..HEAD };
            write(&head, "acme", &Framing::ndjson(), &[part], Coding::Identity, &mut scratch);
            assert_eq!(scratch.entry()[64..73], bytes, "{load:?}");
            assert_eq!(read(scratch.entry().to_vec()).unwrap().head, head);
        }
        assert_eq!(LoadId::of_hash([0; 8]), LoadId::of_hash([1, 0, 0, 0, 0, 0, 0, 0]), "0 says that there is none");
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
