//! [`Journal`]: the records of a processor that are not in a segment yet, in two files which survive every end of the process.
//! It writes and reads these files.
//!
//! The records of one commit are a *generation*: one file has it from its beginning on, while the other has the one before. When a
//! generation is stored as a [load](super::load), before any of it can be delivered, its file is [reset](Journal::reset). So what
//! is found in a file after a kill is in the segments as a whole, or not at all.
//!
//! ```text
//! file    = magic 4 | journal 8 | opened at 8 | sequence 8 | load 8 | least segment 8 | batches: records 8, bytes 8
//!           | kind 1 | response protocol 1 | lengths: content type 2, open 2, separator 2, close 2 | these four | crc32 4
//!           | items
//! item    = magic 2 | kind 1 | envelope 8 | timestamp 8 | lengths: first 4, second 4 | these two | crc32 4
//! record   = an item of kind 0: key, record; `envelope` says where the item of its envelope is: 0 if it has none
//! envelope = an item of kind 1: outer, inner
//! crc32   of an item is over the load 8, the item's place in the file 8 and the item
//! ```
//!
//! Nothing is synced: after a power cut a file may hold any part of what was written. What is not whole is passed over, and what an
//! earlier generation has left behind has another load in its checksum.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::SystemTime;

use super::bytes::{Fields, len32};
use super::dir::journal_path;
use super::entry::{LoadId, StoredLimits, nanos, stored_key, system_time};
use super::files::{io_error, read_at_most, remove_file, set_len, sync_data, write, write_all_at};
use crate::encode::blocks::{Blocks, Encoded, Envelope, RunAt};
use crate::encode::framing::{Framing, Nesting, ResponseProtocol};
use crate::error::SpoolError;
use crate::process::unique_number;

const MAGIC: [u8; 4] = *b"OSJ1";
const ITEM_MAGIC: [u8; 2] = [0xA7, 0x5C];
const RECORD: u8 = 0;
const ENVELOPE: u8 = 1;

/// How many bytes an item takes besides its two texts.
const ITEM_OVERHEAD: usize = 2 + 1 + 8 + 8 + 4 + 4 + 4;

/// Who is to reset a file: nobody; whoever comes; who writes to it now.
const NOBODY: u8 = 0;
const ANYBODY: u8 = 1;
const ITS_WRITER: u8 = 2;

/// More than a head takes.
const MAX_HEAD_BYTES: u64 = 5 << 16;

/// A journal that is written.
#[derive(Debug)]
pub(crate) struct Journal {
    /// `None` once it is closed.
    files: RwLock<Option<[File; 2]>>,
    paths: [PathBuf; 2],
    /// How many bytes of the disk each takes ahead.
    ahead: usize,
    id: u64,
    opened_at: u64,
    limits: StoredLimits,
    /// Whether each is to be reset, and by whom.
    owed: [AtomicU8; 2],
    /// A file was reset, which a power cut could still undo.
    is_unsynced: AtomicBool,
}

impl Journal {
    /// Makes the files of a new journal in the directory of a queue whose batches have these limits. Each takes so many bytes of the
    /// disk ahead.
    pub(super) fn create(queue: &Path, limits: StoredLimits, ahead: usize) -> Result<Self, SpoolError> {
        let id = unique_number();
        let paths = [0, 1].map(|which| journal_path(queue, id, which));
        let made = make_file(&paths[0], ahead).and_then(|first| Ok([first, make_file(&paths[1], ahead)?]));
        let files = made.inspect_err(|_| paths.iter().for_each(|path| drop(remove_file(path))))?;
        let (opened_at, owed) = (nanos(SystemTime::now()), <[AtomicU8; 2]>::default());
        let (files, is_unsynced) = (RwLock::new(Some(files)), AtomicBool::new(false));
        Ok(Self { files, paths, ahead, id, opened_at, limits, owed, is_unsynced })
    }

    /// Begins a generation in one of the files: appends to `out` what that begins with. The records will be stored in segments from this
    /// number on. `None` if what the file had before could not be reset.
    pub(crate) fn begin(
        &self,
        which: usize,
        sequence: u64,
        least_segment: u64,
        framing: &Framing,
        out: &mut Vec<u8>,
    ) -> Option<Generation> {
        if self.owed[which].load(Ordering::Acquire) != NOBODY {
            return None;
        }
        let load = LoadId::of_hash(unique_number().to_le_bytes());
        let (journal, opened_at, limits) = (self.id, self.opened_at, self.limits);
        let begin = out.len();
        Head { journal, opened_at, sequence, load, least_segment, limits }.write(framing, out);
        Some(Generation { load, least_segment, end: (out.len() - begin) as u64, envelopes: Vec::new() })
    }

    /// Writes bytes of a generation to one of the files.
    pub(crate) fn write(&self, which: usize, bytes: &[u8], at: u64) -> io::Result<()> {
        self.with_file(which, |file, path| write_all_at(file, path, bytes, at))
    }

    /// Calls it with one of the files, unless the journal is closed.
    fn with_file(&self, which: usize, call: impl FnOnce(&File, &Path) -> io::Result<()>) -> io::Result<()> {
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        files.as_ref().map_or(Ok(()), |files| call(&files[which], &self.paths[which]))
    }

    /// Says that the generation in a file is stored. If that fails, it is tried again before a segment is deleted. A file that somebody
    /// has deleted is made again.
    pub(crate) fn reset(&self, which: usize) {
        self.keep(which);
        let owed = if self.settle(which).is_ok() { NOBODY } else { ANYBODY };
        self.owed[which].store(owed, Ordering::Release);
    }

    /// Says that whoever writes to a file now resets it then. Meanwhile no generation begins there, and no segment is deleted.
    pub(crate) fn defer_reset(&self, which: usize) {
        self.owed[which].store(ITS_WRITER, Ordering::Release);
    }

    fn keep(&self, which: usize) {
        if self.paths[which].exists() {
            return;
        }
        let Ok(made) = make_file(&self.paths[which], self.ahead) else { return };
        // Whoever logs never waits for this. If somebody writes just now, the next one is made in its place.
        if let Ok(mut files) = self.files.try_write()
            && let Some(files) = &mut *files
        {
            files[which] = made;
        } else {
            let _ = remove_file(&self.paths[which]);
        }
    }

    fn settle(&self, which: usize) -> io::Result<()> {
        // Where overwriting takes new space, there may be none.
        self.write(which, &[0; MAGIC.len()], 0)
            .or_else(|_| self.with_file(which, |file, path| set_len(file, path, 0)))?;
        self.is_unsynced.store(true, Ordering::Release);
        Ok(())
    }

    /// The records that a file has, by partition.
    pub(crate) fn records(&self, which: usize) -> HashMap<String, u64> {
        let left = read_at_most(&self.paths[which], u64::MAX).ok().and_then(|bytes| read(&bytes));
        let blocks = left.iter().flat_map(|left| left.blocks.all());
        blocks.map(|(key, block)| (key.to_owned(), block.records())).collect()
    }

    /// Makes resets survive a power cut. A segment is not deleted before: its records would be found in the journal alone.
    pub(super) fn sync_resets(&self) -> Result<(), SpoolError> {
        for (which, path) in self.paths.iter().enumerate() {
            match self.owed[which].load(Ordering::Acquire) {
                ANYBODY => {
                    self.settle(which).map_err(|error| io_error("write", path, error))?;
                    self.owed[which].store(NOBODY, Ordering::Release);
                }
                ITS_WRITER => return Err(io_error("write", path, io::Error::other("an earlier write hangs"))),
                _ => {}
            }
        }
        if self.is_unsynced.swap(false, Ordering::AcqRel) {
            for (which, path) in self.paths.iter().enumerate() {
                if let Err(error) = self.with_file(which, |file, path| sync_data(file, path)) {
                    self.is_unsynced.store(true, Ordering::Release);
                    return Err(io_error("sync", path, error));
                }
            }
        }
        Ok(())
    }

    /// Deletes the files but for those whose generation the next owner of the queue takes.
    pub(crate) fn close(&self, kept: [bool; 2]) {
        // Not every system deletes a file that is open.
        drop(self.files.write().unwrap_or_else(PoisonError::into_inner).take());
        for (which, path) in self.paths.iter().enumerate() {
            if !kept[which] {
                // An empty one is deleted with its queue.
                let _ = remove_file(path);
            }
        }
    }
}

fn make_file(path: &Path, ahead: usize) -> Result<File, SpoolError> {
    let file = write(path, &[]).map_err(|error| io_error("write", path, error))?;
    // Nothing is allocated later, while somebody who logs waits. On a disk that is full the journal waits for a commit.
    let _ = write_all_at(&file, path, &vec![0; ahead], 0);
    Ok(file)
}

/// A generation that is being written.
#[derive(Debug)]
pub(crate) struct Generation {
    pub(crate) load: LoadId,
    least_segment: u64,
    /// Where the next item goes.
    end: u64,
    /// Where the envelope of each run of each block is: 0 if it was not written yet.
    envelopes: Vec<Vec<u64>>,
}

impl Generation {
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    pub(crate) fn least_segment(&self) -> u64 {
        self.least_segment
    }

    /// Appends the items of a record to `out`, whose last bytes are the last ones of the generation. `run` is the one that the record
    /// has in the blocks of this generation.
    pub(crate) fn add(&mut self, key: &str, run: RunAt, record: Encoded<'_>, out: &mut Vec<u8>) {
        let envelope = self.envelope(run, record.envelope, out);
        let timestamp = record.timestamp.map_or(0, nanos);
        self.write(
            &Item { kind: RECORD, envelope, timestamp, first: stored_key(key).as_bytes(), second: record.bytes },
            out,
        );
    }

    /// The place of a record's envelope, which is written first if it was not yet; 0 if it has none.
    fn envelope(&mut self, run: RunAt, envelope: Envelope<'_>, out: &mut Vec<u8>) -> u64 {
        if envelope.len() == 0 {
            return 0;
        }
        if self.envelopes.len() <= run.block {
            self.envelopes.resize_with(run.block + 1, Vec::new);
        }
        let places = &mut self.envelopes[run.block];
        if places.len() <= run.run {
            places.resize(run.run + 1, 0);
        }
        if places[run.run] == 0 {
            places[run.run] = self.end;
            let Envelope { outer, inner } = envelope;
            self.write(&Item { kind: ENVELOPE, envelope: 0, timestamp: 0, first: outer, second: inner }, out);
        }
        self.envelopes[run.block][run.run]
    }

    fn write(&mut self, item: &Item<'_>, out: &mut Vec<u8>) {
        let begin = out.len();
        item.write(self.load, self.end, out);
        self.end += (out.len() - begin) as u64;
    }
}

/// A record or an envelope, as it stands in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Item<'a> {
    kind: u8,
    envelope: u64,
    timestamp: u64,
    first: &'a [u8],
    second: &'a [u8],
}

impl<'a> Item<'a> {
    fn len(&self) -> usize {
        ITEM_OVERHEAD + self.first.len() + self.second.len()
    }

    fn write(&self, load: LoadId, at: u64, out: &mut Vec<u8>) {
        let begin = out.len();
        out.reserve(self.len());
        out.extend_from_slice(&ITEM_MAGIC);
        out.push(self.kind);
        out.extend_from_slice(&self.envelope.to_le_bytes());
        out.extend_from_slice(&self.timestamp.to_le_bytes());
        for text in [self.first, self.second] {
            out.extend_from_slice(&len32(text.len()).to_le_bytes());
        }
        out.extend_from_slice(self.first);
        out.extend_from_slice(self.second);
        let crc = checksum(load, at, &out[begin..]);
        out.extend_from_slice(&crc.to_le_bytes());
    }

    /// The item at a place of a file, and where it ends.
    fn read(load: LoadId, bytes: &'a [u8], at: usize) -> Option<(Self, usize)> {
        let mut fields = Fields(bytes.get(at..)?);
        if fields.take(ITEM_MAGIC.len())? != ITEM_MAGIC {
            return None;
        }
        let (kind, envelope, timestamp) = (fields.u8()?, fields.u64()?, fields.u64()?);
        let lens = [fields.u32()? as usize, fields.u32()? as usize];
        let (first, second) = (fields.take(lens[0])?, fields.take(lens[1])?);
        let end = bytes.len() - fields.0.len();
        let is_whole = fields.u32()? == checksum(load, at as u64, &bytes[at..end]);
        is_whole.then_some((Self { kind, envelope, timestamp, first, second }, end + 4))
    }
}

fn checksum(load: LoadId, at: u64, item: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&load.to_bytes());
    hasher.update(&at.to_le_bytes());
    hasher.update(item);
    hasher.finalize()
}

/// What a file begins with, but for the framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    journal: u64,
    opened_at: u64,
    sequence: u64,
    load: LoadId,
    least_segment: u64,
    limits: StoredLimits,
}

impl Head {
    fn write(&self, framing: &Framing, out: &mut Vec<u8>) {
        let begin = out.len();
        out.extend_from_slice(&MAGIC);
        let load = u64::from_le_bytes(self.load.to_bytes());
        let StoredLimits { max_records, max_bytes } = self.limits;
        for field in [self.journal, self.opened_at, self.sequence, load, self.least_segment, max_records, max_bytes] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        out.extend_from_slice(&[framing.nesting().byte(), framing.response_protocol().byte()]);
        let texts = [framing.content_type().as_bytes(), framing.open(), framing.separator(), framing.close()];
        for text in texts {
            // The builder takes no encoder whose framing is longer.
            out.extend_from_slice(&u16::try_from(text.len()).unwrap_or(u16::MAX).to_le_bytes());
        }
        for text in texts {
            out.extend_from_slice(&text[..text.len().min(usize::from(u16::MAX))]);
        }
        let crc = crc32fast::hash(&out[begin..]);
        out.extend_from_slice(&crc.to_le_bytes());
    }

    /// The head of a file, the framing and where it ends; `None` if it has no generation.
    fn read(bytes: &[u8]) -> Option<(Self, Framing, usize)> {
        let mut fields = Fields(bytes);
        if fields.take(MAGIC.len())? != MAGIC {
            return None;
        }
        let head = Self {
            journal: fields.u64()?,
            opened_at: fields.u64()?,
            sequence: fields.u64()?,
            load: LoadId::of_hash(fields.u64()?.to_le_bytes()),
            least_segment: fields.u64()?,
            limits: StoredLimits { max_records: fields.u64()?, max_bytes: fields.u64()? },
        };
        let nesting = Nesting::from_byte(fields.u8()?)?;
        let response_protocol = ResponseProtocol::from_byte(fields.u8()?).unwrap_or_default();
        let lens = [fields.u16()?, fields.u16()?, fields.u16()?, fields.u16()?].map(usize::from);
        let content_type = fields.text(lens[0])?.to_owned();
        let texts = [fields.take(lens[1])?.to_vec(), fields.take(lens[2])?.to_vec(), fields.take(lens[3])?.to_vec()];
        let end = bytes.len() - fields.0.len();
        let is_whole = fields.u32()? == crc32fast::hash(&bytes[..end]);
        let framing = Framing::from_stored(content_type, texts, response_protocol, nesting);
        is_whole.then_some((head, framing, end + 4))
    }
}

/// A generation that an earlier process has left.
#[derive(Debug)]
pub(super) struct Left {
    head: Head,
    pub(super) framing: Framing,
    pub(super) blocks: Blocks,
    /// How many bytes lie between what can be read: records that were written and are damaged. What a kill has cut off is behind it.
    pub(super) damaged_bytes: u64,
}

impl Left {
    pub(super) fn load(&self) -> LoadId {
        self.head.load
    }

    /// The number of the first segment that can have it.
    pub(super) fn least_segment(&self) -> u64 {
        self.head.least_segment
    }

    /// The limits of the batches that its records make up.
    pub(super) fn limits(&self) -> StoredLimits {
        self.head.limits
    }
}

/// What files of journals have.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// With the file of each, in the order in which they were written.
    pub(super) generations: Vec<(PathBuf, Left)>,
    /// How much of what is in no segment lies between what can be read.
    pub(super) damaged_bytes: u64,
    /// The files that cannot be read, and the error of the first of them.
    pub(super) unreadable: Vec<PathBuf>,
    pub(super) error: Option<SpoolError>,
}

/// Reads files of journals. One without a generation is left out.
pub(super) fn find(files: &[PathBuf]) -> Found {
    let mut found = Found::default();
    for path in files {
        match read_at_most(path, u64::MAX) {
            Ok(bytes) => found.generations.extend(read(&bytes).map(|left| (path.clone(), left))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                found.unreadable.push(path.clone());
                found.error = found.error.or_else(|| Some(io_error("read", path, error)));
            }
        }
    }
    // Clocks go back, the numbers of segments do not.
    let order =
        |(_, Left { head, .. }): &(PathBuf, Left)| (head.least_segment, head.opened_at, head.journal, head.sequence);
    found.generations.sort_unstable_by_key(order);
    found
}

/// The generation in a file, if it has one.
pub(super) fn read(bytes: &[u8]) -> Option<Left> {
    let (head, framing, end) = Head::read(bytes)?;
    let (blocks, damaged_bytes) = read_items(bytes, end, head.load, framing.separator());
    Some(Left { head, framing, blocks, damaged_bytes })
}

/// The items of a generation, each with its place. What is damaged is passed over.
fn items(bytes: &[u8], begin: usize, load: LoadId) -> impl Iterator<Item = (u64, Item<'_>)> {
    let mut at = begin;
    std::iter::from_fn(move || {
        while at < bytes.len() {
            let place = at as u64;
            if let Some((item, end)) = Item::read(load, bytes, at) {
                at = end;
                return Some((place, item));
            }
            let next = bytes[at + 1..].windows(ITEM_MAGIC.len()).position(|bytes| bytes == ITEM_MAGIC);
            at = next.map_or(bytes.len(), |next| at + 1 + next);
        }
        None
    })
}

/// The records of a generation, and how many bytes between them are none.
fn read_items(bytes: &[u8], begin: usize, load: LoadId, separator: &[u8]) -> (Blocks, u64) {
    let (mut blocks, mut envelopes) = (Blocks::default(), HashMap::new());
    let (mut damaged_bytes, mut end) = (0, begin as u64);
    for (at, item) in items(bytes, begin, load) {
        damaged_bytes += at - end;
        end = at + item.len() as u64;
        let Item { kind, envelope, timestamp, first, second } = item;
        let envelope = if envelope == 0 { Some(Envelope::default()) } else { envelopes.get(&envelope).copied() };
        match (kind, envelope, std::str::from_utf8(first)) {
            (ENVELOPE, ..) => drop(envelopes.insert(at, Envelope { outer: first, inner: second })),
            (RECORD, Some(envelope), Ok(key)) => {
                let timestamp = (timestamp > 0).then(|| system_time(timestamp));
                blocks.push(key, Encoded { bytes: second, envelope, timestamp }, separator);
            }
            _ => {}
        }
    }
    (blocks, damaged_bytes)
}

/// A file of a journal without some of its records, and without what earlier generations have left in it: `None` if no record stays.
/// Each record is shown with its key, its time and its bytes, behind those of its envelope and between what a body begins and ends with.
#[cfg(feature = "cli")]
pub(super) fn without(
    file: &[u8],
    mut is_taken: impl FnMut(&str, Option<SystemTime>, [&[u8]; 5]) -> bool,
) -> Option<Vec<u8>> {
    let (head, framing, begin) = Head::read(file)?;
    let mut out = file[..begin].to_vec();
    // The envelopes by their places, and their places in the new file, once they are there.
    let (mut envelopes, mut has_records) = (HashMap::<u64, (Item<'_>, u64)>::new(), false);
    for (at, item) in items(file, begin, head.load) {
        match item.kind {
            ENVELOPE => drop(envelopes.insert(at, (item, 0))),
            RECORD => {
                let mut envelope = if item.envelope == 0 { None } else { envelopes.get_mut(&item.envelope) };
                let (Ok(key), true) = (std::str::from_utf8(item.first), item.envelope == 0 || envelope.is_some())
                else {
                    continue;
                };
                let [outer, inner] = envelope.as_ref().map_or([&[][..]; 2], |(it, _)| [it.first, it.second]);
                let timestamp = (item.timestamp > 0).then(|| system_time(item.timestamp));
                if is_taken(key, timestamp, [framing.open(), outer, inner, item.second, framing.close()]) {
                    continue;
                }
                if let Some((envelope, place @ 0)) = &mut envelope {
                    *place = out.len() as u64;
                    envelope.write(head.load, *place, &mut out);
                }
                let (envelope, place) = (envelope.map_or(0, |(_, place)| *place), out.len() as u64);
                Item { envelope, ..item }.write(head.load, place, &mut out);
                has_records = true;
            }
            _ => {}
        }
    }
    has_records.then_some(out)
}

/// A number above the least one that a segment with a generation of such files can have. One that cannot be read counts for nothing.
pub(super) fn next_segment(files: &[PathBuf]) -> u64 {
    let heads = files.iter().filter_map(|path| Head::read(&read_at_most(path, MAX_HEAD_BYTES).ok()?));
    heads.map(|(head, ..)| head.least_segment.saturating_add(1)).max().unwrap_or_default()
}
