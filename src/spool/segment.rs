//! [`Segment`]: one database of numbered frames, written once from front to back, then only read. It touches the files of
//! its own directory.

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::body::Body;
use super::bytes::index;
use super::coding::Coding;
use super::cursor_file;
use super::dir;
use super::entry::{Entry, EntryBytes, EntryHead, HEAD_BYTES, StoredLimits, Summary};
use super::files::{io_error, read_exact_at, sync_data};
use super::frame::{self, FULL_PAYLOAD_BYTES, Frame, HEADER_BYTES, Location, Patched, ReadErrors};
use super::load::RecentLoad;
use super::load::{self, FoundEntry};
use super::lock::{Lock, Rank};
use super::nested::{self, Groups};
use super::overwrite::Overwrite;
use super::position::SegmentId;
use super::store::{self, Shape, StartedStore, Store, Writing, file_path};
use crate::config::values::BatchLimits;
use crate::encode::framing::{Framing, Nesting, ResponseProtocol};
use crate::error::SpoolError;

/// A database holds log segments in memory, some also after it is closed, so they are small.
const SHAPE: Shape = Shape { log_segment_bytes: 1 << 20, cache_bytes: 8 << 20 };

/// The most values that a leaf holds: see [`RUNWAY`].
const LEAF_VALUES: usize = 9;

/// More than all that the engine adds to a leaf, with its keys and the headers of a message and of a log segment.
const LEAF_OVERHEAD: usize = 1 << 10;

// A leaf that is larger becomes a blob file, which is never synced; one value more than it ever holds is to spare.
const _: () =
    assert!((LEAF_VALUES + 1) * (HEADER_BYTES + FULL_PAYLOAD_BYTES) + LEAF_OVERHEAD <= SHAPE.log_segment_bytes / 4);

/// Empty placeholder keys are kept at least this far ahead of the frames.
///
/// The engine splits a leaf at 17 keys and then writes its values again. Ahead of the frames, a split moves only
/// placeholders; the leaves come out of it with 9 keys, and 9 later writes to a leaf are one fewer than what makes the
/// engine write it anew.
const RUNWAY: u64 = 32;

/// The location of an entry, and what is needed to choose it without reading it.
#[derive(Clone, Copy, Debug)]
pub(super) struct EntryMeta {
    pub(super) first_frame: u64,
    pub(super) first_record: u64,
    pub(super) records: u32,
    payload_bytes: u64,
    appended_at: u64,
}

/// The entries of one lane.
#[derive(Debug)]
struct LaneEntries {
    key: Arc<str>,
    entries: Vec<EntryMeta>,
    first_timestamp: u64,
    last_timestamp: u64,
}

/// The records of one partition in a segment, in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LaneSummary {
    pub(super) key: Arc<str>,
    pub(super) records: u64,
    /// Nanoseconds since the epoch.
    pub(super) first_timestamp: u64,
    pub(super) last_timestamp: u64,
}

impl LaneEntries {
    /// How many records there are, counted from zero.
    fn end(&self) -> u64 {
        self.entries.last().map_or(0, |entry| entry.first_record + u64::from(entry.records))
    }
}

/// The source that frames are read from.
#[derive(Debug)]
enum Source {
    Database(Store),
    /// The raw file of a database that is closed, and where the whole frames are in it.
    Raw(File, Vec<Location>),
    /// There is no file any more.
    Missing,
}

/// The records between two of a lane, in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Available {
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) oldest: u64,
}

impl Available {
    /// Whether there is enough for a batch.
    pub(super) fn fills(&self, limits: &BatchLimits) -> bool {
        self.records >= limits.max_records || self.bytes >= limits.max_bytes
    }
}

/// The end of a search for the records of a batch.
#[derive(Debug)]
pub(super) enum Collection {
    Batch(Box<Collected>),
    /// Damage left nothing before this record.
    Nothing(u64),
}

/// Records of a lane, joined into a request body.
#[derive(Debug)]
pub(super) struct Collected {
    pub(super) end: u64,
    /// How many there are: fewer than up to `end` only where damage took some.
    pub(super) records: u64,
    /// Whether the records stand in the body in the order of their numbers: where groups were joined, they may not.
    pub(super) in_order: bool,
    pub(super) body: Body,
    /// Where each record lies in the plain body; none where records stand in envelopes.
    pub(super) places: Vec<Range<usize>>,
    pub(super) content_type: String,
    pub(super) response_protocol: ResponseProtocol,
    pub(super) first_timestamp: u64,
    pub(super) last_timestamp: u64,
    pub(super) appended_at: u64,
    pub(super) last_appended_at: u64,
}

/// For so many parts of an entry memory is taken at once, whatever the first one says of them.
const MOST_RESERVED_PARTS: u32 = 16;

/// The most that a thread keeps to decode the pieces of its next batch in.
const MAX_KEPT_DECODED: usize = 2 << 20;

thread_local! {
    /// For the pieces of the next batch.
    static DECODED: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Parts of a batch that wait to be grouped.
#[derive(Debug)]
struct Pieces {
    all: Vec<Piece>,
    /// The plain records of their entries, as far as those are not stored as they are.
    decoded: Overwrite,
}

#[derive(Debug)]
struct Piece {
    entry: Entry,
    records: Range<u64>,
    /// Where the plain records are that were decoded.
    decoded: Option<Range<usize>>,
}

impl Pieces {
    fn new() -> Self {
        Self { all: Vec::new(), decoded: Overwrite::new(DECODED.try_with(Cell::take).unwrap_or_default()) }
    }

    /// Adds records of an entry; false, and nothing, if they are not what was written.
    ///
    /// # Errors
    ///
    /// If this build has not what it takes to read them.
    fn add(&mut self, entry: Entry, records: Range<u64>) -> Result<bool, SpoolError> {
        debug_assert!(entry.coding != Coding::Deflate, "what is compressed for the wire is sent as it is");
        let mut decoded = None;
        if entry.coding != Coding::Identity {
            let start = self.decoded.len();
            if !entry.decode(&mut self.decoded)? {
                return Ok(false);
            }
            decoded = Some(start..self.decoded.len());
        }
        self.all.push(Piece { entry, records, decoded });
        Ok(true)
    }

    /// The runs of all of them.
    fn runs(&self) -> Vec<nested::Run<'_>> {
        let runs = self.all.iter().flat_map(|piece| {
            let decoded = piece.decoded.as_ref().map(|place| &self.decoded.bytes()[place.clone()]);
            piece.entry.runs(&piece.records, decoded.unwrap_or_else(|| piece.entry.stored()))
        });
        runs.collect()
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.decoded).into_memory();
        if memory.capacity() <= MAX_KEPT_DECODED {
            // A thread that ends keeps nothing.
            let _ = DECODED.try_with(|kept| kept.set(memory));
        }
    }
}

/// A segment that is open: written, or read.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) id: SegmentId,
    source: Source,
    /// The entries by lane. They grow while the segment is active.
    lanes: Lock<Vec<LaneEntries>>,
    /// How many bytes of its file were filled with zeros ahead, and how many were written since.
    reserved: u64,
    written: AtomicU64,
}

/// A segment that is started: its database is open, and its making is to be finished.
#[derive(Debug)]
pub(super) struct StartedSegment {
    pub(super) id: SegmentId,
    store: StartedStore,
}

impl StartedSegment {
    /// Makes it an empty segment, ready to be written. This is the only way to one that is: a segment is written by the process
    /// that made it, and by no other.
    pub(super) fn finish(self) -> Result<Segment, SpoolError> {
        let Self { id, store } = self;
        let store = store.finish(|new| cursor_file::create(new, id))?;
        Ok(Segment::new(id, Source::Database(store)))
    }
}

impl Segment {
    /// Starts to make a segment, and syncs nothing.
    pub(super) fn start(dir: &Path, id: SegmentId) -> Result<StartedSegment, SpoolError> {
        Ok(StartedSegment { id, store: Store::start(dir, SHAPE)? })
    }

    fn new(id: SegmentId, source: Source) -> Self {
        Self { id, source, lanes: Lock::new(Rank::Entries, Vec::new()), reserved: 0, written: AtomicU64::new(0) }
    }

    /// Takes the disk that it will have before it is written: see [`Store::reserve`].
    pub(super) fn reserve(&mut self, bytes: u64) {
        if let Source::Database(store) = &self.source
            && store.reserve(bytes)
        {
            self.reserved = bytes;
        }
    }

    pub(super) fn is_reserved(&self) -> bool {
        self.reserved > 0
    }

    /// How many bytes were written.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// How much of the disk that it took ahead is free yet.
    pub(super) fn unwritten(&self) -> u64 {
        self.reserved.saturating_sub(self.written())
    }

    /// Gives back the disk that it took ahead and did not need. It is not to be written any more.
    pub(super) fn trim(&self) {
        if let Source::Database(store) = &self.source
            && self.unwritten() > 0
        {
            store.trim();
        }
    }

    /// Opens a sealed segment that has `frames` frames, and says whether all of them are there.
    ///
    /// The engine is not asked: it takes a block that could not be read for the end of its log, and writes zeros over
    /// what follows.
    pub(super) fn open(dir: &Path, id: SegmentId, frames: u64, errors: ReadErrors) -> Result<(Self, bool), SpoolError> {
        let (segment, found) = Self::find(dir, id, frames, errors)?;
        let count: u64 = found.iter().map(|entry| entry.frames.end - entry.frames.start).sum();
        segment.add_entries(frames, found);
        Ok((segment, count == frames))
    }

    /// Opens a segment without a seal, without changing it, and says how many of its frames count: not those from `accepted` on,
    /// and not those of [loads](super::load) of which nobody was told that they are safe.
    pub(super) fn open_unsealed(
        dir: &Path,
        id: SegmentId,
        accepted: u64,
        errors: ReadErrors,
    ) -> Result<(Self, u64), SpoolError> {
        let (segment, found, frames) = Self::find_unsealed(dir, id, accepted, errors)?;
        segment.add_entries(frames, found);
        Ok((segment, frames))
    }

    /// Opens one that a killed process left, as [`open_unsealed`](Self::open_unsealed) does, and syncs it.
    pub(super) fn recover(
        dir: &Path,
        id: SegmentId,
        accepted: u64,
        errors: ReadErrors,
    ) -> Result<(Self, u64), SpoolError> {
        let (segment, frames) = Self::open_unsealed(dir, id, accepted, errors)?;
        let path = file_path(dir);
        if let Source::Raw(..) = &segment.source
            && let Ok(file) = OpenOptions::new().read(true).write(true).open(&path)
        {
            // Or a power cut could take what a seal says is there. A disk that takes nothing any more loses nothing.
            let _ = sync_data(&file, &path);
            // The disk that was taken ahead of a kill.
            store::trim(&file, &path);
        }
        Ok((segment, frames))
    }

    /// The loads of a segment that are whole. `frames` is what its seal says, if it has one.
    pub(super) fn whole_loads(
        dir: &Path,
        id: SegmentId,
        frames: Option<u64>,
        errors: ReadErrors,
    ) -> Result<Vec<RecentLoad>, SpoolError> {
        let (found, frames) = if let Some(frames) = frames {
            (Self::find(dir, id, frames, errors)?.1, frames)
        } else {
            let (_, found, frames) = Self::find_unsealed(dir, id, dir::accepted(dir), errors)?;
            (found, frames)
        };
        let counts = found.partition_point(|entry| entry.frames.start < frames);
        Ok(load::whole_loads(&found[..counts]))
    }

    /// A segment without its entries, and those that are found among its first `frames` frames.
    fn find(dir: &Path, id: SegmentId, frames: u64, errors: ReadErrors) -> Result<(Self, Vec<FoundEntry>), SpoolError> {
        let (segment, summaries) = Self::scan(dir, id, errors)?;
        let found = segment.find_entries(frames, summaries)?;
        Ok((segment, found))
    }

    /// The same of one without a seal, and how many of its frames count.
    fn find_unsealed(
        dir: &Path,
        id: SegmentId,
        accepted: u64,
        errors: ReadErrors,
    ) -> Result<(Self, Vec<FoundEntry>, u64), SpoolError> {
        let (segment, found) = Self::find(dir, id, accepted, errors)?;
        let frames = segment.locations().last().map_or(0, |frame| frame.number + 1);
        // Where it is known what was accepted, all of that was, also where a purge has left nothing behind it.
        let frames = if accepted == u64::MAX { load::end_of_whole_loads(&found, frames) } else { accepted.min(frames) };
        Ok((segment, found, frames))
    }

    /// A segment that is read from its raw file, without its entries, and what it takes to find those: of every frame that
    /// is a whole entry its summary.
    fn scan(dir: &Path, id: SegmentId, errors: ReadErrors) -> Result<(Self, Vec<Option<Summary>>), SpoolError> {
        let path = file_path(dir);
        if path.metadata().is_ok_and(|meta| !meta.is_file()) {
            return Err(io_error("open", &path, io::Error::new(io::ErrorKind::InvalidInput, "it is no file")));
        }
        let (source, summaries) = match File::open(&path) {
            Ok(mut file) => {
                let read = |frame: Frame<'_>| if frame.parts == 1 { Summary::read(frame.payload) } else { None };
                let found = frame::scan(id, Patched::new(&mut file, errors), read);
                let found = found.map_err(|error| io_error("read", &path, error))?;
                let (locations, summaries) = found.into_iter().unzip();
                (Source::Raw(file, locations), summaries)
            }
            // Not if the whole queue is away: it may come back.
            Err(error) if error.kind() == io::ErrorKind::NotFound && dir.parent().is_some_and(Path::exists) => {
                (Source::Missing, Vec::new())
            }
            Err(error) => return Err(io_error("open", &path, error)),
        };
        Ok((Self::new(id, source), summaries))
    }

    /// The memory that it takes to keep it open, in frames of which it is known where they are. A database takes more than
    /// any number of those.
    pub(super) fn weight(&self) -> usize {
        match &self.source {
            Source::Database(_) => usize::MAX,
            Source::Raw(_, locations) => {
                let of_lane = |lane: &LaneEntries| 3 + lane.key.len() / 64;
                locations.len() + self.lanes.lock().iter().map(of_lane).sum::<usize>()
            }
            Source::Missing => 0,
        }
    }

    /// The frames of a raw file that are whole, by number.
    fn locations(&self) -> &[Location] {
        match &self.source {
            Source::Database(_) | Source::Missing => &[],
            Source::Raw(_, locations) => locations,
        }
    }

    /// The entries among the first `frames` frames, in the order in which they were written.
    fn find_entries(&self, frames: u64, summaries: Vec<Option<Summary>>) -> Result<Vec<FoundEntry>, SpoolError> {
        let (mut found, mut next) = (Vec::with_capacity(summaries.len()), 0);
        for (location, summary) in self.locations().iter().zip(summaries) {
            if location.number >= frames {
                break;
            }
            if location.number < next {
                continue;
            }
            let (parts, summary) = if summary.is_some() {
                (1, summary)
            } else {
                let (parts, bytes) = self.entry_bytes(location.number, frames)?;
                (parts, bytes.and_then(|bytes| Summary::read(&bytes)))
            };
            found.push(FoundEntry { frames: location.number..location.number + parts, summary });
            next = location.number + parts.max(1);
        }
        Ok(found)
    }

    /// Adds those that begin in the first `frames` frames.
    fn add_entries(&self, frames: u64, found: Vec<FoundEntry>) {
        for entry in found.into_iter().take_while(|entry| entry.frames.start < frames) {
            // Every lane has a frame: a larger number is forged.
            if let Some(summary) = entry.summary.filter(|summary| u64::from(summary.head.lane) < frames) {
                let meta = EntryMeta::new(entry.frames.start, &summary.head, summary.payload_bytes);
                self.push(&summary.key, &summary.head, meta);
            }
        }
    }

    /// Adds an entry: from then on it is read.
    pub(super) fn push(&self, key: &str, head: &EntryHead, meta: EntryMeta) {
        let mut lanes = self.lanes.lock();
        let lane = head.lane as usize;
        while lanes.len() <= lane {
            // Only damage leaves a lane without entries; its key is then not needed either.
            let (first_timestamp, last_timestamp) = (u64::MAX, 0);
            lanes.push(LaneEntries { key: Arc::from(""), entries: Vec::new(), first_timestamp, last_timestamp });
        }
        let lane = &mut lanes[lane];
        if lane.entries.is_empty() {
            lane.key = Arc::from(key);
        }
        lane.first_timestamp = lane.first_timestamp.min(head.first_timestamp);
        lane.last_timestamp = lane.last_timestamp.max(head.last_timestamp);
        lane.entries.push(meta);
    }

    /// The records of each lane, in numbers.
    pub(super) fn lanes(&self) -> Vec<LaneSummary> {
        let summary = |lane: &LaneEntries| LaneSummary {
            key: lane.key.clone(),
            records: lane.end(),
            first_timestamp: lane.first_timestamp,
            last_timestamp: lane.last_timestamp,
        };
        self.lanes.lock().iter().map(summary).collect()
    }

    /// When a record of a lane was appended, in nanoseconds since the epoch.
    pub(super) fn appended_at(&self, lane: u32, record: u64) -> Option<u64> {
        self.first_entry(lane, &(record..u64::MAX)).map(|entry| entry.appended_at)
    }

    /// Begins to write: see [`Store::begin`].
    pub(super) fn begin(&self) -> Result<Writing<'_>, SpoolError> {
        match &self.source {
            Source::Database(store) => Ok(store.begin()),
            Source::Raw(..) | Source::Missing => Err(SpoolError::Closed),
        }
    }

    /// Writes the frames of one entry from `first_frame` on; `framed` is the entry behind room for a header, and `runway` is the first
    /// key without a placeholder. Returns how many frames it took.
    pub(super) fn write(
        &self,
        writing: &mut Writing<'_>,
        first_frame: u64,
        runway: &mut u64,
        framed: &mut [u8],
    ) -> Result<u64, SpoolError> {
        frame::write_entry(self.id, first_frame, framed, |number, frame| {
            if number + RUNWAY >= *runway {
                for placeholder in *runway..number + 2 * RUNWAY {
                    writing.put(&placeholder.to_be_bytes(), &[])?;
                }
                *runway = number + 2 * RUNWAY;
            }
            writing.put(&number.to_be_bytes(), frame)?;
            self.written.fetch_add(frame.len() as u64, Ordering::Relaxed);
            Ok(())
        })
    }

    /// Makes the frames survive a power cut.
    pub(super) fn sync(&self) -> Result<(), SpoolError> {
        match &self.source {
            Source::Database(store) => store.sync(),
            Source::Raw(..) | Source::Missing => Ok(()),
        }
    }

    #[cfg(test)]
    pub(super) fn fail_writes(&self) {
        if let Source::Database(store) = &self.source {
            store.fail_writes();
        }
    }

    #[cfg(test)]
    pub(super) fn fail_syncs(&self) {
        if let Source::Database(store) = &self.source {
            store.fail_syncs();
        }
    }

    /// The bytes of a frame with its header, whether or not they are whole.
    fn raw_frame(&self, number: u64) -> Result<Option<EntryBytes>, SpoolError> {
        match &self.source {
            Source::Database(store) => Ok(store.get(&number.to_be_bytes())?.map(|value| {
                let all = 0..value.len();
                EntryBytes::Stored(value, all)
            })),
            Source::Raw(file, locations) => {
                let Ok(at) = locations.binary_search_by_key(&number, |frame| frame.number) else { return Ok(None) };
                let mut bytes = vec![0; locations[at].len];
                read_exact_at(file, &mut bytes, locations[at].offset)
                    .map_err(|error| io_error("read", Path::new("a segment"), error))?;
                Ok(Some(EntryBytes::joined(bytes)))
            }
            Source::Missing => Ok(None),
        }
    }

    /// The entry that begins at frame `number`: how many whole frames were found for it, and its bytes if none of them is
    /// missing.
    fn entry_bytes(&self, number: u64, end: u64) -> Result<(u64, Option<EntryBytes>), SpoolError> {
        let Some(first) = self.raw_frame(number)? else { return Ok((0, None)) };
        let Some(frame) = Frame::read(self.id, &first).filter(|frame| frame.number == number) else {
            return Ok((0, None));
        };
        if frame.part != 0 {
            // The rest of an entry whose beginning is missing.
            return Ok((1, None));
        }
        if frame.parts == 1 {
            let bytes = match first {
                EntryBytes::Stored(value, all) => EntryBytes::Stored(value, HEADER_BYTES..all.end),
                EntryBytes::Joined(bytes, all) => EntryBytes::Joined(bytes, HEADER_BYTES..all.end),
            };
            return Ok((1, Some(bytes)));
        }
        let parts = frame.parts;
        let mut joined = Vec::with_capacity(frame.payload.len() * parts.min(MOST_RESERVED_PARTS) as usize);
        joined.extend_from_slice(frame.payload);
        for part in 1..parts {
            let number = number + u64::from(part);
            let next = if number < end { self.raw_frame(number)? } else { None };
            let next = next.as_deref().and_then(|bytes| Frame::read(self.id, bytes));
            match next.filter(|frame| frame.number == number && frame.part == part && frame.parts == parts) {
                Some(frame) => joined.extend_from_slice(frame.payload),
                None => return Ok((u64::from(part), None)),
            }
        }
        Ok((u64::from(parts), Some(EntryBytes::joined(joined))))
    }

    /// How much waits between two records of a lane, as far as it takes to fill a batch.
    pub(super) fn available(&self, lane: u32, records: &Range<u64>, limits: &BatchLimits) -> Available {
        let mut available =
            Available { records: records.end.saturating_sub(records.start), bytes: 0, oldest: u64::MAX };
        let mut from = records.start;
        while !available.fills(limits)
            && let Some(entry) = self.first_entry(lane, &(from..records.end))
        {
            available.bytes += entry.payload_bytes;
            available.oldest = available.oldest.min(entry.appended_at);
            from = entry.end();
        }
        available
    }

    /// The first entry that has any of `records`.
    fn first_entry(&self, lane: u32, records: &Range<u64>) -> Option<EntryMeta> {
        let lanes = self.lanes.lock();
        let entries = &lanes.get(lane as usize)?.entries;
        let first = entries.partition_point(|entry| entry.end() <= records.start);
        entries.get(first).filter(|entry| entry.first_record < records.end).copied()
    }

    /// Collects a batch from the first of `records` of a lane on: as many as their limits allow, at least one, all of
    /// one framing, and none beyond a boundary. A pure function of its arguments and of what is stored: asked again, also after
    /// a restart, it gives the same bytes.
    pub(super) fn collect(&self, lane: u32, records: &Range<u64>, buffer: Vec<u8>) -> Result<Collection, SpoolError> {
        let mut collected: Option<(Collected, Framing)> = None;
        let mut pieces = Pieces::new();
        // The most that the body has so far.
        let mut taken = 0;
        let mut buffer = Some(buffer);
        let mut left = u64::MAX;
        let mut rest = records.clone();
        let mut boundary = records.end;
        while let Some(meta) = self.first_entry(lane, &rest) {
            rest.start = meta.end();
            let (_, bytes) = self.entry_bytes(meta.first_frame, u64::MAX)?;
            let Some(entry) = bytes.and_then(Entry::read) else { continue };
            if entry.head.boundary > records.start {
                // The entry begins behind it.
                boundary = entry.head.boundary;
                break;
            }
            let from = meta.first_record.max(collected.as_ref().map_or(records.start, |(batch, _)| batch.end));
            // The same in the whole segment: it is of one process.
            let StoredLimits { max_records, max_bytes } = entry.head.limits;
            let (batch, framing) = collected.get_or_insert_with(|| {
                left = max_records;
                taken = (entry.framing.open().len() + entry.framing.close().len()) as u64;
                let framing = entry.framing.clone();
                let buffer = buffer.take().unwrap_or_default();
                (Collected::new(&entry, from, meta.payload_bytes.min(max_bytes), buffer), framing)
            });
            let gzip = entry.coding == Coding::Deflate;
            if *framing != entry.framing || batch.body.is_gzip() != gzip {
                break;
            }
            let empty = batch.records == 0;
            let separator = if empty { &[][..] } else { framing.separator() };
            let room = max_bytes.saturating_sub(taken + separator.len() as u64);
            let mut end = entry.fit(from, records.end, left, room);
            if end == from {
                if !empty {
                    break;
                }
                // A record that is too large for any body goes alone.
                end = from + 1;
            }
            if gzip && !empty && !entry.is_whole(&(from..end)) {
                // The entry would have to be compressed again; the next batch has it whole.
                break;
            }
            let (head, bound) = (entry.head.clone(), entry.bound(&(from..end)));
            if framing.nesting() == Nesting::Flat || gzip {
                let at = batch.body.plain_len() + separator.len();
                if !batch.body.records(separator, &entry, &(from..end))? {
                    continue;
                }
                // HTTP sends a body as it is.
                if cfg!(feature = "relay") && framing.nesting() == Nesting::Flat {
                    batch.places.extend(entry.places(&(from..end)).map(|place| at + place.start..at + place.end));
                }
            } else if !pieces.add(entry, from..end)? {
                continue;
            }
            taken += separator.len() as u64 + bound;
            batch.end = end;
            batch.records += end - from;
            batch.first_timestamp = batch.first_timestamp.min(head.first_timestamp);
            batch.last_timestamp = batch.last_timestamp.max(head.last_timestamp);
            batch.last_appended_at = batch.last_appended_at.max(head.appended_at);
            left = left.saturating_sub(end - from);
            if left == 0 || end < head.first_record + u64::from(head.records) {
                break;
            }
        }
        Ok(match collected.filter(|(batch, _)| batch.records > 0) {
            Some((mut batch, framing)) => {
                if !pieces.all.is_empty() {
                    let runs = pieces.runs();
                    let groups = Groups::new(&framing, &runs);
                    batch.in_order = groups.is_in_order();
                    batch.body.groups(&groups);
                }
                batch.body.text(framing.close());
                Collection::Batch(Box::new(batch))
            }
            None => Collection::Nothing(boundary),
        })
    }
}

/// Inspection.
#[cfg(feature = "cli")]
impl Segment {
    /// Every entry with its lane, in the order in which they were written.
    pub(super) fn entries(&self) -> Vec<(u32, EntryMeta)> {
        let lanes = self.lanes.lock();
        let mut entries: Vec<_> = (0..)
            .zip(&*lanes)
            .flat_map(|(lane, index)| index.entries.iter().map(move |entry| (lane, *entry)))
            .collect();
        entries.sort_by_key(|(_, entry)| entry.first_frame);
        entries
    }

    /// An entry, unless it is damaged.
    pub(super) fn entry(&self, meta: &EntryMeta) -> Result<Option<Entry>, SpoolError> {
        Ok(self.entry_bytes(meta.first_frame, u64::MAX)?.1.and_then(Entry::read))
    }

    /// The frames of an entry with their headers, as they are stored.
    pub(super) fn frames_of(
        &self,
        meta: &EntryMeta,
        parts: u64,
    ) -> impl Iterator<Item = Result<EntryBytes, SpoolError>> {
        let frame = |number| self.raw_frame(number).transpose();
        (meta.first_frame..meta.first_frame + parts).filter_map(frame)
    }

    /// How many bytes these take.
    pub(super) fn stored_bytes(&self, meta: &EntryMeta, parts: u64) -> u64 {
        self.locations_of(meta, parts).iter().map(|frame| frame.len as u64).sum()
    }

    /// The most that a frame of an entry may hold when it is written anew: as much as one that is written for the first time, or what
    /// one of its frames holds.
    #[cfg(feature = "cli")]
    pub(super) fn most_payload(&self, meta: &EntryMeta, parts: u64) -> usize {
        let payloads = self.locations_of(meta, parts).iter().map(|frame| frame.len - HEADER_BYTES);
        payloads.max().unwrap_or_default().max(FULL_PAYLOAD_BYTES)
    }

    fn locations_of(&self, meta: &EntryMeta, parts: u64) -> &[Location] {
        let first = self.locations().partition_point(|frame| frame.number < meta.first_frame);
        let end = self.locations().partition_point(|frame| frame.number < meta.first_frame + parts);
        &self.locations()[first..end]
    }

    /// How many whole frames an entry has.
    pub(super) fn parts_of(&self, meta: &EntryMeta) -> Result<u64, SpoolError> {
        Ok(self.entry_bytes(meta.first_frame, u64::MAX)?.0)
    }

    /// The numbers of the frames that are whole.
    pub(super) fn whole_frames(&self) -> impl Iterator<Item = u64> {
        self.locations().iter().map(|frame| frame.number)
    }

    /// Where the last whole frame ends in the file.
    pub(super) fn frames_end(&self) -> u64 {
        self.locations().iter().map(|frame| frame.offset + frame.len as u64).max().unwrap_or_default()
    }
}

impl Collected {
    fn new(entry: &Entry, from: u64, expected_bytes: u64, buffer: Vec<u8>) -> Self {
        let (head, framing) = (&entry.head, &entry.framing);
        let expected_bytes = index(expected_bytes) + framing.open().len() + framing.close().len();
        let mut body = Body::new(entry.coding, expected_bytes, buffer);
        body.text(framing.open());
        Self {
            end: from,
            records: 0,
            in_order: true,
            body,
            places: Vec::new(),
            content_type: framing.content_type().to_owned(),
            response_protocol: framing.response_protocol(),
            first_timestamp: head.first_timestamp,
            last_timestamp: head.last_timestamp,
            appended_at: head.appended_at,
            last_appended_at: head.appended_at,
        }
    }
}

impl EntryMeta {
    pub(super) fn new(first_frame: u64, head: &EntryHead, payload_bytes: usize) -> Self {
        Self {
            first_frame,
            first_record: head.first_record,
            records: head.records,
            payload_bytes: payload_bytes as u64,
            appended_at: head.appended_at,
        }
    }

    fn end(&self) -> u64 {
        self.first_record + u64::from(self.records)
    }
}

/// What an entry has room for whatever its key takes.
const LEAST_ENTRY_BYTES: usize = 16 << 10;

/// How many bytes of records, and of where they end, an entry has room for if it is to fit one frame.
pub(super) fn entry_budget(key: &str, framing: &Framing) -> usize {
    let head = HEAD_BYTES + key.len() + framing.len();
    // A very long key makes entries of several frames rather than many that hold little but the key.
    FULL_PAYLOAD_BYTES.saturating_sub(head).max(LEAST_ENTRY_BYTES)
}
