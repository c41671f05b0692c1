//! [`CursorFile`]: the cursors of one segment's lanes, in a file `cursor` beside the segment's database. It touches that file
//! only.
//!
//! ```text
//! file    two copies of the same, of as many bytes each
//! copy    magic 4 | version 2 | 0 2 | segment 8 | generation 8 | bytes of a copy 4 | bytes of the snapshot 4 | crc32 4
//!         | records: those of the snapshot, and those that were added | zeros
//! record  magic 2 | length 4 | lane 4 | acked 8 | sent 8 | ends 4 | ranges 4 | ends 8 each | ranges 8 8 each
//!         | suspects 4 | suspects 8 8 4 each | crc32 4
//! ```
//!
//! - A record is the whole state of a lane: the last one counts, whichever copy has it.
//! - Records are added to both copies. When there is no more room, one copy after the other is written anew with a snapshot of
//!   the next generation, and synced in between: one copy is whole at every moment.
//! - All bytes were written as zeros when the segment was made, so that adding a record takes no new block of the disk, save
//!   where the file system copies on write.
//! - A checksum covers the segment, the generation and the place in the copy: a record of another segment, of an older
//!   generation or in another place is none.

use std::collections::HashMap;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::bytes::{Fields, len32};
use super::cursor::{LaneCursor, LaneCursors, Suspect};
use super::fault::is_damage;
use super::files::{io_error, read_at_most, remove_file, rename, sync_data, sync_dir, write_all_at, write_synced};
use super::position::SegmentId;
use crate::error::SpoolError;

const MAGIC: [u8; 4] = *b"\xf5OSc";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 36;

const RECORD_MAGIC: [u8; 2] = *b"\xf5c";
/// The bytes of a record without ends, ranges and suspects.
const RECORD_BYTES: usize = 2 + 4 + 4 + 8 + 8 + 4 + 4 + 4 + 4;

/// The bytes of a copy at first, and how many times as many one has that became too small.
const FIRST_COPY_BYTES: usize = 8 << 10;
const GROWTH: usize = 4;

/// The most bytes of a copy; a larger one is not read.
const MAX_COPY_BYTES: usize = FIRST_COPY_BYTES * GROWTH.pow(7);

/// The damage of a cursor file.
#[derive(Debug)]
pub(super) enum Flaw {
    Missing,
    Unreadable(io::Error),
    /// Neither of the copies is whole: lanes may be missing.
    BothCopies,
    /// The other copy has all of it.
    OneCopy,
    /// The end of a copy is not there, or not whole: so a process or a machine that stops can leave it.
    TornEnd,
}

impl Flaw {
    /// Whether records may come again, or in other batches.
    pub(super) fn costs(&self) -> bool {
        match self {
            Self::Missing | Self::Unreadable(_) | Self::BothCopies => true,
            Self::OneCopy | Self::TornEnd => false,
        }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("its cursor file is missing"),
            Self::Unreadable(error) => write!(f, "its cursor file cannot be read: {error}"),
            Self::BothCopies => f.write_str("both copies in its cursor file are damaged"),
            Self::OneCopy => f.write_str("one copy in its cursor file is damaged, the other one is whole"),
            Self::TornEnd => f.write_str(
                "the copies in its cursor file do not end alike: written when the process ended, or damaged",
            ),
        }
    }
}

/// The contents of a cursor file.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) lanes: LaneCursors,
    pub(super) flaw: Option<Flaw>,
    newest: Position,
    copy_bytes: usize,
}

#[cfg(test)]
impl Loaded {
    /// Whether neither copy has as much as its header.
    pub(super) fn is_lost(&self) -> bool {
        self.newest == Position::default()
    }
}

/// A place in the history of a cursor file: its generation, and the offset in a copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Position {
    generation: u64,
    offset: usize,
}

/// The copy that is read from its bytes.
#[derive(Debug, Default)]
struct Copy {
    lanes: HashMap<u32, (Position, LaneCursor)>,
    /// Where its last record ends.
    end: Position,
    is_damaged: bool,
    is_torn: bool,
}

impl Copy {
    fn read(id: SegmentId, bytes: &[u8]) -> Self {
        let Some(Header { generation, snapshot_bytes, .. }) = read_header(id, bytes) else {
            return Self { is_damaged: true, ..Self::default() };
        };
        let mut copy = Self { end: Position { generation, offset: HEADER_BYTES }, ..Self::default() };
        let mut at = HEADER_BYTES;
        while let Some(found) = bytes[at..].iter().position(|byte| *byte == RECORD_MAGIC[0]) {
            at += found;
            let position = Position { generation, offset: at };
            let Some((len, lane, cursor)) = read_record(id, position, &bytes[at..]) else {
                at += 1;
                continue;
            };
            copy.is_damaged |= at != copy.end.offset;
            copy.lanes.insert(lane, (position, cursor));
            at += len;
            copy.end.offset = at;
        }
        copy.is_damaged |= copy.end.offset < HEADER_BYTES + snapshot_bytes;
        copy.is_torn = bytes[copy.end.offset..].iter().any(|byte| *byte != 0);
        copy
    }
}

/// The file beside it that says which records were purged. It is written as the cursors are.
const PURGED: &str = "purged";

/// The path of a segment's cursor file.
pub(super) fn cursor_path(segment: &Path) -> PathBuf {
    segment.join("cursor")
}

/// Makes the cursor file of a segment that is being made, synced.
pub(super) fn create(segment: &Path, id: SegmentId) -> Result<(), SpoolError> {
    let path = cursor_path(segment);
    write_new(&path, id, 0, FIRST_COPY_BYTES, &LaneCursors::new()).map_err(|error| io_error("write", &path, error))?;
    Ok(())
}

/// Reads the cursors of a segment. What is damaged of the file is left out, but for the records that were purged.
pub(super) fn read(segment: &Path, id: SegmentId) -> Loaded {
    let mut loaded = match read_bytes(&cursor_path(segment)) {
        Ok(bytes) => load(id, &bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Loaded { flaw: Some(Flaw::Missing), ..Loaded::default() }
        }
        Err(error) => Loaded { flaw: Some(Flaw::Unreadable(error)), ..Loaded::default() },
    };
    if loaded.flaw.as_ref().is_some_and(Flaw::costs) {
        for (lane, purged) in read_purged(segment, id) {
            let all: Vec<_> = std::iter::once(0..purged.acked).chain(purged.acked_ahead).collect();
            loaded.lanes.entry(lane).or_default().ack_all(&all);
        }
    }
    loaded
}

/// The same, unless the file is whole, as far as is known, and cannot be read for now: without it other batches would be sent.
pub(super) fn read_if_readable(segment: &Path, id: SegmentId) -> Result<Loaded, SpoolError> {
    match read(segment, id) {
        Loaded { flaw: Some(Flaw::Unreadable(error)), .. } if !is_damage(&error) => {
            Err(io_error("read", &cursor_path(segment), error))
        }
        loaded => Ok(loaded),
    }
}

/// The records of each lane that were purged: nothing is left of them that could be sent.
pub(super) fn read_purged(segment: &Path, id: SegmentId) -> LaneCursors {
    read_bytes(&segment.join(PURGED)).map(|bytes| load(id, &bytes).lanes).unwrap_or_default()
}

/// Notes which records are purged, for a time when the cursors are lost; synced.
#[cfg(feature = "cli")]
pub(super) fn write_purged(segment: &Path, id: SegmentId, lanes: &LaneCursors) -> Result<(), SpoolError> {
    let path = segment.join(PURGED);
    let new = path.with_extension("new");
    write_new(&new, id, 0, FIRST_COPY_BYTES, lanes)
        .and_then(|_| rename(&new, &path))
        .map_err(|error| io_error("write", &path, error))?;
    sync_dir(segment)
}

fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    read_at_most(path, 2 * MAX_COPY_BYTES as u64)
}

fn load(id: SegmentId, bytes: &[u8]) -> Loaded {
    let copy_bytes = find_copy_bytes(id, bytes).unwrap_or(bytes.len() / 2);
    let (first, second) = bytes.split_at(copy_bytes.min(bytes.len()));
    let second_is_whole = second.len() == copy_bytes;
    let copies = [Copy::read(id, first), Copy::read(id, second)];
    let (a, b) = (copies[0].end, copies[1].end);
    let flaw = match [copies[0].is_damaged, copies[1].is_damaged || !second_is_whole] {
        [true, true] => Some(Flaw::BothCopies),
        // The one that is whole is the one behind: the other one may have had more.
        [true, _] | [_, true] => Some(Flaw::OneCopy),
        _ if a != b || copies.iter().any(|copy| copy.is_torn) => Some(Flaw::TornEnd),
        _ => None,
    };
    let mut newest: HashMap<u32, (Position, LaneCursor)> = HashMap::new();
    for (lane, (position, cursor)) in copies.into_iter().flat_map(|copy| copy.lanes) {
        let (newest_position, newest) = newest.entry(lane).or_default();
        let acked = [newest.acked, cursor.acked];
        if position > *newest_position {
            (*newest_position, *newest) = (position, cursor);
        }
        // It never goes back.
        let acked = acked.into_iter().max().unwrap_or_default();
        newest.ack(&(0..acked));
    }
    let lanes = newest.into_iter().map(|(lane, (_, cursor))| (lane, cursor)).collect();
    Loaded { lanes, flaw, newest: a.max(b), copy_bytes }
}

/// How many bytes a copy has, by either copy's word.
fn find_copy_bytes(id: SegmentId, bytes: &[u8]) -> Option<usize> {
    let candidates = std::iter::successors(Some(FIRST_COPY_BYTES), |bytes| bytes.checked_mul(GROWTH));
    let candidates = candidates.take_while(|candidate| *candidate <= bytes.len().min(MAX_COPY_BYTES));
    let says = |at: usize| read_header(id, bytes.get(at..)?).map(|header| header.copy_bytes);
    let mut candidates =
        candidates.filter(|candidate| says(0) == Some(*candidate) || says(*candidate) == Some(*candidate));
    candidates.next()
}

/// The fields of a copy's header.
struct Header {
    generation: u64,
    copy_bytes: usize,
    snapshot_bytes: usize,
}

fn read_header(id: SegmentId, bytes: &[u8]) -> Option<Header> {
    let mut fields = Fields(bytes);
    if fields.take(4)? != MAGIC || fields.u16()? != VERSION {
        return None;
    }
    let _reserved = fields.u16()?;
    let segment = fields.u64()?;
    let header = Header {
        generation: fields.u64()?,
        copy_bytes: fields.u32()? as usize,
        snapshot_bytes: fields.u32()? as usize,
    };
    let crc = fields.u32()?;
    (segment == id.random && crc32fast::hash(&bytes[..HEADER_BYTES - 4]) == crc).then_some(header)
}

fn checksum(id: SegmentId, position: Position, record: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&id.random.to_le_bytes());
    hasher.update(&position.generation.to_le_bytes());
    hasher.update(&(position.offset as u64).to_le_bytes());
    hasher.update(record);
    hasher.finalize()
}

fn read_record(id: SegmentId, position: Position, bytes: &[u8]) -> Option<(usize, u32, LaneCursor)> {
    let mut fields = Fields(bytes);
    if fields.take(2)? != RECORD_MAGIC {
        return None;
    }
    let len = fields.u32()? as usize;
    let record = bytes.get(..len)?;
    let (body, crc) = record.split_last_chunk::<4>()?;
    if checksum(id, position, body) != u32::from_le_bytes(*crc) {
        return None;
    }
    let mut fields = Fields(body.get(6..)?);
    let (lane, acked, sent) = (fields.u32()?, fields.u64()?, fields.u64()?);
    let (ends, ranges) = (fields.u32()?, fields.u32()?);
    let ends = (0..ends).map(|_| fields.u64()).collect::<Option<_>>()?;
    let acked_ahead = (0..ranges).map(|_| Some(fields.u64()?..fields.u64()?)).collect::<Option<_>>()?;
    let suspect = |fields: &mut Fields<'_>| {
        Some(Suspect { records: fields.u64()?..fields.u64()?, deferred_seconds: fields.u32()? })
    };
    let suspects = (0..fields.u32().unwrap_or_default()).map(|_| suspect(&mut fields)).collect::<Option<_>>()?;
    Some((len, lane, LaneCursor { acked, acked_ahead, ends, sent, suspects }))
}

/// Adds a record to what will stand in a copy from its beginning on.
fn write_record(id: SegmentId, generation: u64, lane: u32, cursor: &LaneCursor, base: usize, out: &mut Vec<u8>) {
    let start = out.len();
    let len = RECORD_BYTES + 8 * cursor.ends.len() + 16 * cursor.acked_ahead.len() + 20 * cursor.suspects.len();
    out.extend_from_slice(&RECORD_MAGIC);
    out.extend_from_slice(&len32(len).to_le_bytes());
    out.extend_from_slice(&lane.to_le_bytes());
    for field in [cursor.acked, cursor.sent] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    out.extend_from_slice(&len32(cursor.ends.len()).to_le_bytes());
    out.extend_from_slice(&len32(cursor.acked_ahead.len()).to_le_bytes());
    let ranges = cursor.acked_ahead.iter().flat_map(|range| [range.start, range.end]);
    for field in cursor.ends.iter().copied().chain(ranges) {
        out.extend_from_slice(&field.to_le_bytes());
    }
    out.extend_from_slice(&len32(cursor.suspects.len()).to_le_bytes());
    for Suspect { records, deferred_seconds } in &cursor.suspects {
        out.extend_from_slice(&records.start.to_le_bytes());
        out.extend_from_slice(&records.end.to_le_bytes());
        out.extend_from_slice(&deferred_seconds.to_le_bytes());
    }
    let crc = checksum(id, Position { generation, offset: base + start }, &out[start..]);
    out.extend_from_slice(&crc.to_le_bytes());
}

/// A copy with nothing but a snapshot; `None` if it does not leave a half free.
fn snapshot(id: SegmentId, generation: u64, copy_bytes: usize, lanes: &LaneCursors) -> Option<(Vec<u8>, usize)> {
    let mut copy = vec![0; HEADER_BYTES];
    for (lane, cursor) in lanes.iter().filter(|(_, cursor)| !cursor.is_unused()) {
        write_record(id, generation, *lane, cursor, 0, &mut copy);
    }
    let end = copy.len();
    if end > copy_bytes / 2 {
        return None;
    }
    let mut header = Vec::with_capacity(HEADER_BYTES);
    header.extend_from_slice(&MAGIC);
    header.extend_from_slice(&VERSION.to_le_bytes());
    header.extend_from_slice(&[0; 2]);
    header.extend_from_slice(&id.random.to_le_bytes());
    header.extend_from_slice(&generation.to_le_bytes());
    header.extend_from_slice(&len32(copy_bytes).to_le_bytes());
    header.extend_from_slice(&len32(end - HEADER_BYTES).to_le_bytes());
    let crc = crc32fast::hash(&header);
    header.extend_from_slice(&crc.to_le_bytes());
    copy[..HEADER_BYTES].copy_from_slice(&header);
    copy.resize(copy_bytes, 0);
    Some((copy, end))
}

/// Writes a file of two equal copies, synced; as large as it takes, but of `copy_bytes` a copy at least. Returns how many bytes
/// a copy has, and where its snapshot ends.
fn write_new(
    path: &Path,
    id: SegmentId,
    generation: u64,
    mut copy_bytes: usize,
    lanes: &LaneCursors,
) -> io::Result<(usize, usize)> {
    let (copy, end) = loop {
        match snapshot(id, generation, copy_bytes, lanes) {
            Some(copy) => break copy,
            None if copy_bytes < MAX_COPY_BYTES => copy_bytes *= GROWTH,
            None => return Err(io::Error::new(io::ErrorKind::FileTooLarge, "there are too many partitions")),
        }
    };
    write_synced(path, &[copy.as_slice(); 2].concat())?;
    Ok((copy_bytes, end))
}

/// A cursor file that is open to be written. After an error it is to be opened anew.
#[derive(Debug)]
pub(super) struct CursorFile {
    id: SegmentId,
    segment: PathBuf,
    /// Closed while another file takes its place: not every system lets that happen to one that is open.
    file: Option<File>,
    copy_bytes: usize,
    /// Where the next record goes.
    end: Position,
    lanes: LaneCursors,
}

impl CursorFile {
    /// Opens the cursor file of a segment. One that is missing or damaged is made anew from what can be read; its damage is
    /// returned.
    pub(super) fn open(segment: &Path, id: SegmentId) -> Result<(Self, Option<Flaw>), SpoolError> {
        let path = cursor_path(segment);
        let Loaded { lanes, flaw, newest, copy_bytes } = read_if_readable(segment, id)?;
        if flaw.is_some() {
            return Ok((Self::replace(segment, id, newest.generation + 1, copy_bytes, lanes)?, flaw));
        }
        let file = Some(open_file(&path).map_err(|error| io_error("open", &path, error))?);
        Ok((Self { id, segment: segment.to_owned(), file, copy_bytes, end: newest, lanes }, None))
    }

    /// Puts another file in the place of the one that is there.
    fn replace(
        segment: &Path,
        id: SegmentId,
        generation: u64,
        copy_bytes: usize,
        lanes: LaneCursors,
    ) -> Result<Self, SpoolError> {
        let path = cursor_path(segment);
        let new = path.with_extension("new");
        let replace = || {
            let (copy_bytes, offset) = write_new(&new, id, generation, copy_bytes.max(FIRST_COPY_BYTES), &lanes)?;
            rename(&new, &path)?;
            Ok((Some(open_file(&path)?), copy_bytes, offset))
        };
        let (file, copy_bytes, offset) = replace().map_err(|error| {
            let _ = remove_file(&new);
            io_error("write", &path, error)
        })?;
        sync_dir(segment)?;
        Ok(Self { id, segment: segment.to_owned(), file, copy_bytes, end: Position { generation, offset }, lanes })
    }

    /// Writes these cursors: they survive a kill of the process when this returns.
    pub(super) fn write(&mut self, cursors: &[(u32, LaneCursor)]) -> Result<(), SpoolError> {
        let mut records = Vec::with_capacity(cursors.len() * RECORD_BYTES);
        for (lane, cursor) in cursors {
            write_record(self.id, self.end.generation, *lane, cursor, self.end.offset, &mut records);
            self.lanes.insert(*lane, cursor.clone());
        }
        if self.end.offset + records.len() > self.copy_bytes {
            return self.begin_generation();
        }
        for copy in [0, self.copy_bytes] {
            let at = copy + self.end.offset;
            let written = self.file().and_then(|file| write_all_at(file, &self.path(), &records, at as u64));
            written.map_err(|error| self.write_error(error))?;
        }
        self.end.offset += records.len();
        Ok(())
    }

    /// Writes one copy after the other anew.
    fn begin_generation(&mut self) -> Result<(), SpoolError> {
        let generation = self.end.generation + 1;
        let Some((copy, offset)) = snapshot(self.id, generation, self.copy_bytes, &self.lanes) else {
            let lanes = std::mem::take(&mut self.lanes);
            self.file = None;
            *self = Self::replace(&self.segment, self.id, generation, self.copy_bytes * GROWTH, lanes)?;
            return Ok(());
        };
        // Of the copy that is not written, all has to be on disk.
        for at in [0, self.copy_bytes] {
            let path = self.path();
            let synced = self.file().and_then(|file| sync_data(file, &path));
            let written = synced.and_then(|()| write_all_at(self.file()?, &path, &copy, at as u64));
            written.map_err(|error| self.write_error(error))?;
        }
        self.end = Position { generation, offset };
        Ok(())
    }

    /// Sees that there is room for the cursors of so many lanes, and says for how many there is.
    pub(super) fn make_room(&mut self, lanes: usize) -> Result<usize, SpoolError> {
        let mut copy_bytes = self.copy_bytes;
        while room_of(copy_bytes) < lanes {
            copy_bytes *= GROWTH;
        }
        if copy_bytes > self.copy_bytes {
            let lanes = std::mem::take(&mut self.lanes);
            self.file = None;
            *self = Self::replace(&self.segment, self.id, self.end.generation + 1, copy_bytes, lanes)?;
        }
        Ok(room_of(self.copy_bytes))
    }

    /// Makes what was written survive a power cut.
    pub(super) fn sync(&self) -> Result<(), SpoolError> {
        self.file()
            .and_then(|file| sync_data(file, &self.path()))
            .map_err(|error| io_error("sync", &self.path(), error))
    }

    fn file(&self) -> io::Result<&File> {
        self.file.as_ref().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn path(&self) -> PathBuf {
        cursor_path(&self.segment)
    }

    fn write_error(&self, error: io::Error) -> SpoolError {
        io_error("write", &self.path(), error)
    }
}

/// The lanes of which a copy of so many bytes can hold a snapshot.
fn room_of(copy_bytes: usize) -> usize {
    (copy_bytes / 2 - HEADER_BYTES) / RECORD_BYTES
}

/// The lanes for which a cursor file has room at first.
pub(super) fn room_at_first() -> usize {
    room_of(FIRST_COPY_BYTES)
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const ID: SegmentId = SegmentId { number: 3, random: 0x1234_5678_9abc_def0 };

    /// A cursor file in a directory of its own, after so many rounds of acknowledgements, and the cursors in it.
    fn written(rounds: u64, lanes: u32) -> (tempfile::TempDir, LaneCursors) {
        let dir = tempfile::tempdir().unwrap();
        create(dir.path(), ID).unwrap();
        let (mut file, _) = CursorFile::open(dir.path(), ID).unwrap();
        file.make_room(lanes as usize).unwrap();
        let mut cursors = LaneCursors::new();
        for round in 1..=rounds {
            let changed: Vec<_> = (0..lanes)
                .filter(|lane| (u64::from(*lane) + round) % 3 == 0)
                .map(|lane| {
                    (
                        lane,
                        LaneCursor {
                            acked: round,
                            acked_ahead: std::iter::once(round + 2..round + 9).collect(),
                            ends: vec![round + 99, round + 50],
                            sent: round + 120,
                            suspects: (0..round % 3)
                                .map(|nth| Suspect {
                                    records: round + 10 + 9 * nth..round + 15 + 9 * nth,
                                    deferred_seconds: lane,
                                })
                                .collect(),
                        },
                    )
                })
                .collect();
            file.write(&changed).unwrap();
            cursors.extend(changed);
        }
        (dir, cursors)
    }

    #[test]
    fn what_is_written_is_read_over_many_generations_and_with_many_lanes() {
        for (rounds, lanes) in [(0, 0), (1, 1), (5, 7), (1000, 3), (40, 500)] {
            let (dir, cursors) = written(rounds, lanes);
            let loaded = read(dir.path(), ID);
            assert_eq!(loaded.lanes, cursors);
            assert!(loaded.flaw.is_none(), "{:?}", loaded.flaw);
            let other = SegmentId { random: 1, ..ID };
            let loaded = read(dir.path(), other);
            assert!(loaded.lanes.is_empty() && loaded.flaw.unwrap().costs(), "of another segment");
        }
    }

    /// As the page on the format draws it.
    #[test]
    fn a_record_has_each_field_in_its_place() {
        let cursor = LaneCursor {
            acked: 3,
            acked_ahead: std::iter::once(9..12).collect(),
            ends: vec![20, 9],
            sent: 16,
            suspects: vec![Suspect { records: 5..9, deferred_seconds: 600 }],
        };
        let mut record = Vec::new();
        write_record(ID, 2, 7, &cursor, 36, &mut record);
        let numbers = |fields: &[u64]| fields.iter().flat_map(|field| field.to_le_bytes()).collect::<Vec<_>>();
        let mut expected = [&b"\xf5c"[..], &94_u32.to_le_bytes(), &7_u32.to_le_bytes(), &numbers(&[3, 16])].concat();
        expected.extend_from_slice(&[2, 0, 0, 0, 1, 0, 0, 0]);
        expected.extend(numbers(&[20, 9, 9, 12]));
        expected.extend_from_slice(&[1, 0, 0, 0]);
        expected.extend(numbers(&[5, 9]));
        expected.extend_from_slice(&600_u32.to_le_bytes());
        let crc = checksum(ID, Position { generation: 2, offset: 36 }, &expected);
        expected.extend_from_slice(&crc.to_le_bytes());
        assert_eq!(record, expected);
        let read = read_record(ID, Position { generation: 2, offset: 36 }, &record);
        assert_eq!(read, Some((record.len(), 7, cursor)));
    }

    #[test]
    fn a_file_keeps_its_size_however_often_a_lane_is_written() {
        let bytes = |rounds| fs::metadata(cursor_path(written(rounds, 3).0.path())).unwrap().len();
        assert_eq!([bytes(0), bytes(1), bytes(3000)], [2 * FIRST_COPY_BYTES as u64; 3]);
    }

    #[test]
    fn any_damage_to_one_copy_costs_nothing_and_is_named() {
        let (dir, cursors) = written(220, 9);
        let path = cursor_path(dir.path());
        let bytes = fs::read(&path).unwrap();
        let copy_bytes = bytes.len() / 2;
        let used = load(ID, &bytes).newest.offset;
        let check = |changed: &[u8], what: &str| {
            let loaded = load(ID, changed);
            assert_eq!(loaded.lanes, cursors, "{what}");
            assert_eq!(loaded.flaw.is_none(), changed == bytes, "{what}: {:?}", loaded.flaw);
            assert!(loaded.flaw.is_none_or(|flaw| !flaw.costs()), "{what}");
        };
        for copy in [0, copy_bytes] {
            for at in 0..copy_bytes {
                let mut changed = bytes.clone();
                changed[copy + at] ^= 1 << (at % 8);
                check(&changed, &format!("a bit at {copy} + {at}"));
            }
            for at in (0..copy_bytes).step_by(512) {
                let mut changed = bytes.clone();
                changed[copy + at..copy + at + 512].fill(0);
                check(&changed, &format!("zeros at {copy} + {at}"));
            }
        }
        for len in (copy_bytes + used..bytes.len()).chain(copy_bytes..copy_bytes + used).step_by(3) {
            let loaded = load(ID, &bytes[..len]);
            assert!(loaded.lanes == cursors && loaded.flaw.is_some(), "{len} bytes");
        }
    }

    #[test]
    fn no_damage_acknowledges_anything_that_was_not() {
        let (dir, cursors) = written(60, 9);
        let bytes = fs::read(cursor_path(dir.path())).unwrap();
        let mut random = fastrand::Rng::new();
        for _ in 0..300 {
            let mut changed = bytes.clone();
            for _ in 0..random.usize(1..40) {
                let at = random.usize(0..bytes.len());
                match random.u8(0..3) {
                    0 => changed[at] ^= 1 << random.u8(0..8),
                    1 => changed[at..(at + 512).min(bytes.len())].fill(random.u8(..)),
                    _ => changed.copy_within(at..(at + 512).min(bytes.len()), random.usize(0..bytes.len() - 512)),
                }
            }
            changed.truncate(random.usize(0..=2 * bytes.len()));
            for (lane, cursor) in load(ID, &changed).lanes {
                let true_one = &cursors[&lane];
                assert!((0..80).all(|record| !cursor.is_acked(record) || true_one.acked + 9 > record));
                assert!(cursor.acked <= true_one.acked);
            }
        }
    }

    #[test]
    fn a_damaged_file_is_made_anew_when_it_is_written_and_keeps_what_can_be_read() {
        let (dir, mut cursors) = written(20, 4);
        let path = cursor_path(dir.path());
        let mut bytes = fs::read(&path).unwrap();
        bytes[100..200].fill(7);
        fs::write(&path, &bytes).unwrap();
        assert!(matches!(read(dir.path(), ID).flaw, Some(Flaw::OneCopy)));
        let newer = LaneCursor { acked: 1000, ..LaneCursor::default() };
        CursorFile::open(dir.path(), ID).unwrap().0.write(&[(2, newer.clone())]).unwrap();
        cursors.insert(2, newer);
        let loaded = read(dir.path(), ID);
        assert_eq!(loaded.lanes, cursors);
        assert!(loaded.flaw.is_none());
        fs::remove_file(&path).unwrap();
        assert!(matches!(read(dir.path(), ID).flaw, Some(Flaw::Missing)));
        CursorFile::open(dir.path(), ID).unwrap();
        assert!(read(dir.path(), ID).flaw.is_none());
    }
}
