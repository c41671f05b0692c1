//! A spool read by who does not own it: nothing in it is changed, and no owner is disturbed.
//!
//! A queue whose owner is gone is locked for as long as it is looked at, together with others who look. The files of one whose
//! owner is alive are read as they are at the moment: an acknowledgement is in them some milliseconds after it was made.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::coding::Coding;
use super::cursor::{LaneCursor, LaneCursors};
use super::cursor_file::{self, Flaw};
pub(crate) use super::dir::origin_in;
use super::dir::{
    self, QUARANTINE, QueueDir, QueueName, endpoint_of, has_format, journals_in, list, list_queues, parse_quarantined,
    parse_segment, parse_unknown_queue, walk,
};
use super::entry::{Entry, StoredLimits, system_time};
use super::files::{self, io_error};
use super::frame::{self, ReadErrors};
use super::lane::{self, Purpose};
use super::origin::OriginTag;
use super::overwrite::Overwrite;
use super::position::{LaneId, SegmentId, parse_hex};
use super::rejected::RejectedStore;
pub(crate) use super::rejected::{ByLane, Kept};
use super::replay;
use super::seal::Seal;
use super::segment::{Collection, EntryMeta, LaneSummary, Segment};
#[cfg(test)]
pub(crate) use super::status::Counts;
pub(crate) use super::status::Status;
use super::store::file_path;
use crate::config::values::{Origin, Signal};
use crate::encode::framing::ResponseProtocol;
use crate::error::SpoolError;

/// The directory of a spool.
#[derive(Debug)]
pub(crate) struct Directory {
    root: PathBuf,
}

impl Directory {
    /// Fails if it is not a spool's.
    pub(crate) fn open(root: &Path) -> Result<Self, SpoolError> {
        if !has_format(root)? {
            // Without it nobody has written anything.
            list(root)?;
            return Err(SpoolError::NotASpool { path: root.to_owned(), found: String::new() });
        }
        Ok(Self { root: root.to_owned() })
    }

    /// Whether there is a spool in this directory.
    pub(crate) fn is_one(root: &Path) -> bool {
        use SpoolError::{NewerFormat, OlderFormat};
        matches!(has_format(root), Ok(true) | Err(NewerFormat { .. } | OlderFormat { .. }))
    }

    /// The id of the queue whose directory is called so.
    pub(crate) fn queue_in_name(name: &str) -> Option<String> {
        let mut parts = name.split('.');
        let (id, _signal, _origin, None) = (parts.next()?, parts.next()?, parts.next(), parts.next()) else {
            return None;
        };
        parse_hex(id).map(|_| id.to_owned())
    }

    /// Its queues, one after the other, each locked if its owner is gone: those of one signal, or of all that are known.
    pub(crate) fn queues(
        &self,
        signal: Option<Signal>,
    ) -> Result<impl Iterator<Item = Result<Queue, SpoolError>>, SpoolError> {
        let mut names = list_queues(&self.root)?;
        names.retain(|name| signal.is_none_or(|signal| signal == name.signal));
        Ok(names.into_iter().filter_map(|name| Queue::open(&self.root, name).transpose()))
    }

    /// The URLs that its queues of a signal were last sent to. No queue is locked.
    pub(crate) fn endpoints(&self, signal: Signal) -> Result<BTreeSet<String>, SpoolError> {
        let of_signal = list_queues(&self.root)?.into_iter().filter(|name| name.signal == signal);
        Ok(of_signal.filter_map(|name| endpoint_of(&name.path(&self.root))).collect())
    }

    /// Its queues of signals that this version does not know.
    pub(crate) fn unknown_queues(&self) -> Result<Vec<UnknownQueue>, SpoolError> {
        let unknown = |found: fs::DirEntry| {
            let (path, name) = (found.path(), found.file_name());
            let (id, signal) = parse_unknown_queue(name.to_str()?).map(|(id, signal)| (id, signal.to_owned()))?;
            Some(UnknownQueue { path, id, signal })
        };
        let mut queues: Vec<_> = list(&self.root)?.into_iter().filter_map(unknown).collect();
        queues.sort_by_key(|queue| queue.id);
        Ok(queues)
    }

    /// The segments that were damaged and are in quarantine: those of one signal, or of all.
    pub(crate) fn quarantined(&self, signal: Option<Signal>) -> Result<Vec<SegmentFiles>, SpoolError> {
        let dir = self.root.join(QUARANTINE);
        if !dir.exists() {
            return Ok(Vec::new());
        }
        let mut segments: Vec<_> = list(&dir)?
            .into_iter()
            .filter_map(|found| {
                let (queue, segment) = parse_quarantined(&found.file_name().to_string_lossy())?;
                Some(SegmentFiles::new(found.path(), queue, segment))
            })
            .filter(|segment| signal.is_none_or(|signal| signal == segment.signal()))
            .collect();
        segments.sort_by_key(|segment| (segment.queue, segment.id));
        Ok(segments)
    }

    pub(crate) fn rejected(&self) -> RejectedStore {
        self.rejected_of(None)
    }

    /// The rejected records of one signal, or of all.
    pub(crate) fn rejected_of(&self, signal: Option<Signal>) -> RejectedStore {
        RejectedStore::open(&self.root, signal)
    }

    /// How many bytes all of it takes on disk, if that can be known.
    pub(crate) fn disk_bytes(&self) -> Option<u64> {
        walk(&self.root).ok()
    }

    /// Every file and directory in it, by its path there; what cannot be listed is left out.
    pub(crate) fn files(&self) -> Vec<(PathBuf, fs::Metadata)> {
        let (mut files, mut dirs) = (Vec::new(), vec![self.root.clone()]);
        while let Some(dir) = dirs.pop() {
            for found in fs::read_dir(&dir).into_iter().flatten().flatten() {
                let (path, Ok(meta)) = (found.path(), found.metadata()) else { continue };
                files.push((path.strip_prefix(&self.root).unwrap_or(&path).to_owned(), meta.clone()));
                dirs.extend(meta.is_dir().then_some(path));
            }
        }
        files.sort_by(|one, other| one.0.cmp(&other.0));
        files
    }
}

/// A queue of a signal that this version does not know: it is left alone.
#[derive(Debug)]
pub(crate) struct UnknownQueue {
    path: PathBuf,
    id: u64,
    pub(crate) signal: String,
}

impl UnknownQueue {
    pub(crate) fn id(&self) -> String {
        format!("{:016x}", self.id)
    }

    pub(crate) fn disk_bytes(&self) -> Option<u64> {
        walk(&self.path).ok()
    }
}

/// A queue: the part of one exporter, which may be gone.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(super) path: PathBuf,
    name: QueueName,
    /// Held where the owner is gone.
    lock: Option<QueueDir>,
}

impl Queue {
    /// `None` if it is not there any more.
    fn open(root: &Path, name: QueueName) -> Result<Option<Self>, SpoolError> {
        let (path, lock) = (name.path(root), QueueDir::try_lock_shared(root, name)?);
        Ok((lock.is_some() || path.exists()).then_some(Self { path, name, lock }))
    }

    pub(crate) fn id(&self) -> String {
        format!("{:016x}", self.name.id)
    }

    pub(crate) fn signal(&self) -> Signal {
        self.name.signal
    }

    /// Whether someone has it open.
    pub(crate) fn is_owned(&self) -> bool {
        self.lock.is_none()
    }

    /// The URL that it was last sent to.
    pub(crate) fn endpoint(&self) -> Option<String> {
        endpoint_of(&self.path)
    }

    /// When something of it was written last, as far as that can be known.
    pub(crate) fn changed_at(&self) -> Option<SystemTime> {
        let changed = |path: PathBuf| fs::metadata(path).and_then(|meta| meta.modified()).ok();
        let segments = list(&self.path).unwrap_or_default().into_iter().map(|found| found.path());
        let files = segments.flat_map(|segment| [file_path(&segment), cursor_file::cursor_path(&segment), segment]);
        files.filter_map(changed).max()
    }

    /// What its owner, or the last one, has told of it; `None` where that is not known.
    pub(crate) fn status(&self) -> Option<Status> {
        Status::read(&self.path)
    }

    /// Whom its records are for, as its name has it.
    pub(crate) fn origin_tag(&self) -> Option<String> {
        self.name.origin.map(|origin| origin.to_string())
    }

    /// Whether its records are for an origin.
    pub(crate) fn is_for(&self, origin: &Origin) -> bool {
        self.name.origin == Some(OriginTag::of(origin))
    }

    pub(crate) fn disk_bytes(&self) -> Option<u64> {
        walk(&self.path).ok()
    }

    /// Its segments, the oldest first. One that is deleted meanwhile may be missing, and on Windows one that its owner writes.
    pub(crate) fn segments(&self) -> Result<Vec<SegmentFiles>, SpoolError> {
        let mut segments = self.all_segments()?;
        segments.retain(|segment| !segment.is_locked());
        Ok(segments)
    }

    /// Whether it has a segment that cannot be looked into, because its owner writes it: on Windows.
    pub(crate) fn hides_segments(&self) -> bool {
        let all = if cfg!(windows) { self.all_segments().unwrap_or_default() } else { Vec::new() };
        all.iter().any(SegmentFiles::is_locked)
    }

    fn all_segments(&self) -> Result<Vec<SegmentFiles>, SpoolError> {
        let found = match list(&self.path) {
            Err(SpoolError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Vec::new(),
            found => found?,
        };
        let mut segments: Vec<_> = found
            .into_iter()
            .filter_map(|found| {
                let id = parse_segment(&found.file_name().to_string_lossy())?;
                Some(SegmentFiles::new(found.path(), self.name, id))
            })
            .filter(|segment| !dir::is_dead(&segment.path))
            .collect();
        segments.sort_by_key(|segment| segment.id);
        Ok(segments)
    }

    /// What is in journals and in no segment. `None` of a living owner: it may be about to store it.
    pub(crate) fn journaled(&self) -> Result<Option<Journaled>, SpoolError> {
        if self.is_owned() {
            return Ok(None);
        }
        let mut records = BTreeMap::<String, u64>::new();
        let found = replay::missing(&self.path, &journals_in(&self.path)?, None)?;
        if let Some(error) = found.error {
            return Err(error);
        }
        let damaged_bytes = found.damaged_bytes;
        for (_, left) in found.generations {
            for (key, block) in left.blocks.all() {
                *records.entry(key.to_owned()).or_default() += block.records();
            }
        }
        Ok(Some(Journaled { partitions: records.into_iter().collect(), damaged_bytes }))
    }

    /// The records that are delivered, or rejected.
    pub(crate) fn delivered(&self) -> Result<Delivered, SpoolError> {
        let segments = self.segments()?.into_iter();
        Ok(Delivered(segments.map(|files| (files.id, cursor_file::read(&files.path, files.id).lanes)).collect()))
    }

    /// Deletes what earlier deletions and purges have left that were killed, and returns what cannot be deleted. It has to be
    /// [exclusive](Self::make_exclusive).
    pub(super) fn remove_remainders(&self) -> Result<Vec<String>, SpoolError> {
        self.lock.as_ref().map_or(Ok(()), |lock| lock.segments().map(drop))?;
        dir::remainders_in(&self.path)
    }

    /// Gives up the lock: from now on anybody may take it over.
    pub(crate) fn release(&mut self) {
        self.lock = None;
    }

    /// Keeps others from reading it as well; false if somebody does, or owns it.
    pub(crate) fn make_exclusive(&self) -> bool {
        self.lock.as_ref().is_some_and(QueueDir::make_exclusive)
    }

    /// Makes its records those of another origin, with this endpoint. It has to be [exclusive](Self::make_exclusive).
    pub(crate) fn assign(self, origin: &Origin, endpoint: &str) -> Result<(), SpoolError> {
        self.lock.map_or(Ok(()), |lock| lock.assign(OriginTag::of(origin), endpoint))
    }

    /// Deletes it. False if that is not one's own to do.
    pub(crate) fn remove(self) -> Result<bool, SpoolError> {
        match self.lock {
            Some(lock) if lock.make_exclusive() => lock.remove().map(|()| true),
            _ => Ok(false),
        }
    }
}

/// The cursors of each segment's lanes.
#[derive(Debug, Default)]
pub(crate) struct Delivered(HashMap<SegmentId, LaneCursors>);

impl Delivered {
    fn cursor(&self, segment: SegmentId, lane: u32) -> Option<&LaneCursor> {
        self.0.get(&segment)?.get(&lane)
    }

    /// How many records of a lane are delivered, or rejected.
    pub(crate) fn of(&self, segment: &SegmentFiles, lane: &Lane) -> u64 {
        let waiting = self.cursor(segment.id, lane.number).map(|cursor| cursor.pending(lane.records));
        waiting.map_or(0, |waiting| lane.records - waiting)
    }

    /// How many records of a lane, delivered ones in this sense, were rejected and are in the store.
    pub(crate) fn rejected_of(&self, rejected: &ByLane, segment: &SegmentFiles, lane: &Lane) -> u64 {
        rejected.of(segment.id.random, lane.number).min(self.of(segment, lane))
    }

    /// Whether a record of a lane is delivered.
    pub(crate) fn is_delivered(&self, segment: &SegmentFiles, lane: u32, record: u64) -> bool {
        self.cursor(segment.id, lane).is_some_and(|cursor| cursor.is_acked(record))
    }
}

/// A lane: the records of one partition in a segment.
#[derive(Clone, Debug)]
pub(crate) struct Lane {
    pub(crate) number: u32,
    pub(crate) key: Arc<str>,
    pub(crate) records: u64,
    pub(crate) first: SystemTime,
    pub(crate) last: SystemTime,
}

impl Lane {
    /// Those that have any records.
    fn all(lanes: Vec<LaneSummary>) -> Vec<Self> {
        let lane = |(number, summary): (u32, LaneSummary)| Self {
            number,
            key: summary.key,
            records: summary.records,
            first: system_time(summary.first_timestamp),
            last: system_time(summary.last_timestamp),
        };
        (0..).zip(lanes).filter(|(_, summary)| summary.records > 0).map(lane).collect()
    }
}

/// What journals have and no segment has.
#[derive(Debug)]
pub(crate) struct Journaled {
    /// The number of records of each partition.
    pub(crate) partitions: Vec<(String, u64)>,
    /// How much of it cannot be read.
    pub(crate) damaged_bytes: u64,
}

impl Journaled {
    pub(crate) fn records(&self) -> u64 {
        self.partitions.iter().map(|(_, records)| records).sum()
    }
}

/// The files of a segment.
#[derive(Debug)]
pub(crate) struct SegmentFiles {
    pub(super) path: PathBuf,
    queue: QueueName,
    pub(super) id: SegmentId,
    pub(super) seal: Option<Seal>,
}

impl SegmentFiles {
    fn new(path: PathBuf, queue: QueueName, id: SegmentId) -> Self {
        let seal = Seal::read(&path);
        Self { path, queue, id, seal }
    }

    /// The same segment as it is now; `None` if it is not there any more.
    pub(crate) fn reread(&self) -> Option<Self> {
        self.path.exists().then(|| Self::new(self.path.clone(), self.queue, self.id))
    }

    /// Whether the engine has it open on Windows, where its lock keeps all others from reading.
    fn is_locked(&self) -> bool {
        const LOCK_VIOLATION: i32 = 33;
        let read = || File::open(file_path(&self.path))?.read(&mut [0]);
        cfg!(windows) && read().is_err_and(|error| error.raw_os_error() == Some(LOCK_VIOLATION))
    }

    pub(crate) fn number(&self) -> u64 {
        self.id.number
    }

    pub(crate) fn queue(&self) -> String {
        format!("{:016x}", self.queue.id)
    }

    pub(crate) fn signal(&self) -> Signal {
        self.queue.signal
    }

    /// Whether it gets no more entries.
    pub(crate) fn is_sealed(&self) -> bool {
        self.seal.is_some()
    }

    pub(crate) fn disk_bytes(&self) -> Option<u64> {
        walk(&self.path).ok()
    }

    /// Changes whenever something is written to it.
    pub(crate) fn version(&self) -> Option<(SystemTime, u64)> {
        let meta = fs::metadata(file_path(&self.path)).ok()?;
        Some((meta.modified().ok()?, meta.len()))
    }

    /// The lanes: those that the seal names, or those that are found.
    pub(crate) fn lanes(&self) -> Result<Vec<Lane>, SpoolError> {
        match &self.seal {
            Some(seal) => Ok(Lane::all(seal.lanes.clone())),
            None => Ok(self.read()?.lanes()),
        }
    }

    /// The segment, how many frames it has, and how many of them count.
    pub(super) fn open(&self, errors: ReadErrors) -> Result<(Segment, u64, u64), SpoolError> {
        let accepted = self.seal.as_ref().map_or_else(|| dir::accepted(&self.path), |seal| seal.frames);
        let (segment, frames) = match &self.seal {
            Some(_) => (Segment::open(&self.path, self.id, accepted, errors)?.0, accepted),
            None => Segment::open_unsealed(&self.path, self.id, accepted, errors)?,
        };
        Ok((segment, frames, accepted))
    }

    /// The lanes that there should be, as far as that is known.
    pub(super) fn lanes_of(&self, segment: &Segment) -> Vec<LaneSummary> {
        self.seal.as_ref().map_or_else(|| segment.lanes(), |seal| seal.lanes.clone())
    }

    /// Looks through the whole file. A block that the disk does not give costs what is in it.
    pub(crate) fn read(&self) -> Result<Reader, SpoolError> {
        let (segment, frames, accepted) = self.open(ReadErrors::Skip)?;
        let entries = segment.entries();
        let keys = segment.lanes().into_iter().map(|lane| lane.key).collect();
        let purged = Arc::new(cursor_file::read_purged(&self.path, self.id));
        Ok(Reader { segment, entries, keys, purged, frames, accepted })
    }

    /// Compares what is found with what should be there. `whole` if nobody is just writing to it.
    pub(crate) fn verify(&self, whole: bool) -> Result<Findings, SpoolError> {
        let reader = self.read()?;
        let mut findings = Findings { sealed: self.is_sealed(), ..Findings::default() };
        let mut damage = |what: String| findings.damage.push(what);
        if !file_path(&self.path).exists() {
            damage("its database is missing".to_owned());
        }
        // Its owner may just be writing to the file.
        let flaw = cursor_file::read(&self.path, self.id).flaw.filter(|flaw| whole || !matches!(flaw, Flaw::TornEnd));
        if let Some(flaw) = flaw {
            damage(flaw.to_string());
        }
        if self.seal.is_none() && self.path.join("seal").exists() {
            damage("its seal is damaged: what should be in it is not known".to_owned());
        }
        // A frame behind those that count may hold anything.
        let found: Vec<_> = reader.frames().collect();
        let expected = self.seal.as_ref().map_or_else(|| found.last().map_or(0, |last| last + 1), |seal| seal.frames);
        for missing in holes(&found, expected) {
            damage(format!("{} missing or damaged", frames(&missing)));
        }
        let (mut whole_frames, mut records) = (0, vec![0; reader.keys.len()]);
        for (lane, meta) in &reader.entries {
            let entry = reader.segment.entry(meta)?;
            match entry.as_ref().map(Entry::decoded).transpose()?.flatten() {
                Some(_) => {
                    records[*lane as usize] += u64::from(meta.records);
                    findings.entries += 1;
                }
                None => damage(format!("{} of the entry at frame {} cannot be decoded", count(meta), meta.first_frame)),
            }
            whole_frames += reader.segment.parts_of(meta)?;
        }
        if whole_frames < found.len() as u64 {
            damage(format!("{} frames belong to no whole entry", found.len() as u64 - whole_frames));
        }
        findings.frames = found.len() as u64;
        findings.records = records.iter().sum();
        for (lane, should) in self.lanes_of(&reader.segment).iter().enumerate() {
            let found = records.get(lane).copied().unwrap_or_default();
            findings.missing_records += should.records.saturating_sub(found);
        }
        if self.seal.as_ref().is_some_and(|seal| seal.lanes != reader.segment.lanes()) && findings.damage.is_empty() {
            findings.damage.push("what is in it is not what its seal says".to_owned());
        }
        if whole && self.seal.is_none() && self.has_torn_end(&reader)? {
            let what = "behind its last whole frame is one that is not: written when the process ended, or damaged";
            findings.damage.push(what.to_owned());
        }
        if whole && reader.has_torn_load() {
            let what = "its last append is not whole: it was written when the process ended, or is damaged";
            findings.damage.push(what.to_owned());
        }
        Ok(findings)
    }

    /// Whether a frame begins behind the last one that is whole.
    fn has_torn_end(&self, reader: &Reader) -> Result<bool, SpoolError> {
        let (path, next) = (file_path(&self.path), reader.segment.whole_frames().last().map_or(0, |last| last + 1));
        if next >= reader.accepted {
            return Ok(false);
        }
        let read = || -> io::Result<bool> {
            let mut file = File::open(&path)?;
            file.seek(SeekFrom::Start(reader.segment.frames_end()))?;
            let mut rest = Vec::new();
            file.read_to_end(&mut rest)?;
            Ok(frame::begins_after(next, &rest))
        };
        match read() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            result => result.map_err(|error| io_error("read", &path, error)),
        }
    }

    /// Deletes it.
    pub(crate) fn remove(&self) -> Result<(), SpoolError> {
        files::remove_dir(&self.path).map_err(|error| io_error("remove", &self.path, error))
    }
}

fn count(meta: &EntryMeta) -> String {
    format!("{} records", meta.records)
}

fn frames(range: &Range<u64>) -> String {
    match range.end - range.start {
        1 => format!("frame {} is", range.start),
        _ => format!("frames {} to {} are", range.start, range.end - 1),
    }
}

/// The numbers up to `end` that are missing.
fn holes(found: &[u64], end: u64) -> Vec<Range<u64>> {
    let (mut holes, mut next) = (Vec::new(), 0);
    for number in found.iter().copied().chain([end]) {
        if number > next {
            holes.push(next..number);
        }
        next = number + 1;
    }
    holes
}

/// The findings of looking through a segment.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) sealed: bool,
    pub(crate) frames: u64,
    pub(crate) entries: u64,
    /// That can be delivered.
    pub(crate) records: u64,
    /// That should be there, as far as that is known.
    pub(crate) missing_records: u64,
    /// The damage in words.
    pub(crate) damage: Vec<String>,
}

/// A batch as it would be sent.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) content_type: String,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) last_appended_at: SystemTime,
}

/// A segment that was looked through.
#[derive(Debug)]
pub(crate) struct Reader {
    segment: Segment,
    entries: Vec<(u32, EntryMeta)>,
    keys: Vec<Arc<str>>,
    purged: Arc<LaneCursors>,
    /// How many of its frames count.
    frames: u64,
    /// How many are accepted, as far as that is noted: of the others, some may be of a load that is not whole.
    accepted: u64,
}

impl Reader {
    /// The lanes that are found.
    pub(crate) fn lanes(&self) -> Vec<Lane> {
        Lane::all(self.segment.lanes())
    }

    /// The number after the last frame before `end` that follows the one before it without a hole, counted from `start`.
    pub(crate) fn contiguous_from(&self, start: u64) -> u64 {
        let numbers = self.frames().filter(|number| *number >= start);
        (start..).zip(numbers).take_while(|(expected, number)| expected == number).count() as u64 + start
    }

    /// The number after that of the last whole frame.
    pub(crate) fn end(&self) -> u64 {
        self.frames().last().map_or(0, |last| last + 1)
    }

    /// The whole frames that count.
    fn frames(&self) -> impl Iterator<Item = u64> {
        self.segment.whole_frames().take_while(|number| *number < self.frames)
    }

    /// Whether there are frames of a load that is not whole.
    fn has_torn_load(&self) -> bool {
        self.segment.whole_frames().last().is_some_and(|last| (self.frames..self.accepted).contains(&last))
    }

    /// The entries of these frames, in the order in which they were written; `None` for one that is damaged.
    pub(crate) fn entries(
        &self,
        frames: Range<u64>,
    ) -> impl DoubleEndedIterator<Item = Result<Option<Stored>, SpoolError>> {
        let within = self.entries.iter().filter(move |(_, meta)| frames.contains(&meta.first_frame));
        within.map(|(lane, meta)| {
            let Some(entry) = self.segment.entry(meta)? else { return Ok(None) };
            let Some(plain) = entry.decoded()? else { return Ok(None) };
            let key = self.keys.get(*lane as usize).cloned().unwrap_or_default();
            Ok(Some(Stored { lane: *lane, key, entry, plain, purged: self.purged.clone() }))
        })
    }

    /// The batches in which what is not delivered of a lane would be sent.
    pub(crate) fn plan(
        &self,
        lane: &Lane,
        delivered: &Delivered,
        mut plan: impl FnMut(Planned),
    ) -> Result<(), SpoolError> {
        let cursor = delivered.cursor(self.segment.id, lane.number).cloned().unwrap_or_default();
        let id = LaneId { segment: self.segment.id, lane: lane.number };
        let mut index = lane::Lane::new(id, lane.records, cursor, (0, 0));
        let mut buffer = Vec::new();
        while let Some(start) = index.start_of_next().or_else(|| Some(index.parked().next()?.start)) {
            let end = index.fixed_end(start).unwrap_or(lane.records).min(lane.records);
            let batch = match self.segment.collect(lane.number, &(start..end), std::mem::take(&mut buffer))? {
                Collection::Batch(batch) => batch,
                Collection::Nothing(end) => {
                    index.give_out(&(start..end), Purpose::Flow);
                    continue;
                }
            };
            index.give_out(&(start..batch.end), Purpose::Flow);
            buffer = batch.body.finish();
            plan(Planned {
                content_type: batch.content_type,
                records: batch.records,
                bytes: buffer.len() as u64,
                last_appended_at: system_time(batch.last_appended_at),
            });
        }
        Ok(())
    }
}

/// An entry with its records.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) lane: u32,
    pub(crate) key: Arc<str>,
    entry: Entry,
    plain: Vec<u8>,
    purged: Arc<LaneCursors>,
}

impl Stored {
    pub(crate) fn first(&self) -> SystemTime {
        system_time(self.entry.head.first_timestamp)
    }

    pub(crate) fn last(&self) -> SystemTime {
        system_time(self.entry.head.last_timestamp)
    }

    pub(crate) fn appended_at(&self) -> SystemTime {
        system_time(self.entry.head.appended_at)
    }

    pub(crate) fn content_type(&self) -> &str {
        self.entry.framing.content_type()
    }

    /// How responses to a request with these records are read.
    pub(crate) fn response_protocol(&self) -> ResponseProtocol {
        self.entry.framing.response_protocol()
    }

    /// The body of a request with this record alone.
    pub(crate) fn body(&self, record: &[u8]) -> Vec<u8> {
        [self.entry.framing.open(), record, self.entry.framing.close()].concat()
    }

    /// How it is stored: the coding, and the most records and bytes of a batch.
    pub(crate) fn stored_as(&self) -> (Coding, u64, u64) {
        let StoredLimits { max_records, max_bytes } = self.entry.head.limits;
        (self.entry.coding, max_records, max_bytes)
    }

    /// Whether a request body with these records begins so.
    pub(crate) fn opens_with(&self, open: &[u8]) -> bool {
        self.entry.framing.open() == open
    }

    /// The records, each with its number in its lane, and in its envelope if it has one. Those that were purged are left out.
    pub(crate) fn records(&self) -> impl Iterator<Item = (u64, Cow<'_, [u8]>)> {
        let purged = self.purged.get(&self.lane);
        let all = (self.entry.head.first_record..).zip(self.entry.records(&self.plain));
        all.filter(move |(number, _)| !is_purged(&self.entry, purged, *number, &self.plain))
    }
}

/// Whether a record was taken out, by what is noted of its lane: one that never had any bytes was not.
pub(super) fn is_purged(entry: &Entry, purged: Option<&LaneCursor>, number: u64, plain: &[u8]) -> bool {
    purged.is_some_and(|purged| purged.is_acked(number)) && entry.is_blank(number, plain)
}

impl Entry {
    /// All of its records without compression; `None` if they are not what was written.
    pub(super) fn decoded(&self) -> Result<Option<Vec<u8>>, SpoolError> {
        let mut plain = Overwrite::default();
        if !self.decode(&mut plain)? {
            return Ok(None);
        }
        let plain = plain.into_bytes();
        let whole = self.coding != Coding::Deflate || crc32fast::hash(&plain) == self.plain_crc();
        Ok(whole.then_some(plain))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_between_numbers_is_found() {
        assert_eq!(holes(&[], 0), []);
        assert_eq!(holes(&[0, 1, 2], 3), []);
        assert_eq!(holes(&[1, 4], 7), [0..1, 2..4, 5..7]);
        assert_eq!(holes(&[], 2).len(), 1);
    }
}
