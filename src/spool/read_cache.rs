//! [`ReadCache`]: the segments that are open for reading, the batch that is read ahead, and memory for bodies. It touches
//! memory only: who opens, seals or deletes a segment notes that as a phase of it, and does so without the lock.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::position::{LaneId, SegmentId};
use super::segment::{Collected, Segment};

/// At most so many segments, with so many frames in all, stay open for reading besides those that are needed: some
/// 20 MB.
const MAX_OPEN_SEGMENTS: usize = 64;
const MAX_OPEN_FRAMES: usize = 1 << 18;

/// The memory of so many bodies is kept for the next ones: of the one that is in flight and the one that is read ahead.
const MAX_SPARE_BODIES: usize = 2;
const MAX_SPARE_BYTES: usize = 2 << 20;

/// For so long a segment is read again and again before what the disk does not give is given up.
const READ_PATIENCE: Duration = Duration::from_secs(10);

/// The work on a segment's files that excludes any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its file is read through, so that records can be read from it.
    Opening,
    /// Its seal is written.
    Sealing,
    /// Its files are deleted.
    Deleting,
}

/// A segment, as far as reading is concerned.
#[derive(Debug, Default)]
struct CachedSegment {
    open: Option<Arc<Segment>>,
    phase: Option<Phase>,
    /// It gets no more entries: it may be closed, and opened again.
    sealed: bool,
    /// Not all is there that should be.
    damaged: bool,
    /// Since when it cannot be read.
    unreadable_since: Option<Instant>,
    last_used: u64,
}

impl CachedSegment {
    /// Whether there is nothing to be remembered.
    fn is_idle(&self) -> bool {
        self.open.is_none() && self.phase.is_none() && !self.damaged && self.unreadable_since.is_none()
    }
}

/// The batch that will be asked for next.
#[derive(Debug, Default)]
enum ReadAhead {
    #[default]
    Nothing,
    /// It is being read.
    Reading(LaneId, u64),
    Read(LaneId, u64, Box<Collected>),
}

/// How a batch is to be read.
#[derive(Debug)]
pub(super) enum Reading {
    /// It was read ahead.
    Done(Box<Collected>),
    /// It is being read ahead: to be asked again when that is done.
    Wait,
    /// It is to be read, with this memory for its body.
    Read(Vec<u8>),
}

/// The open segments, the batch that is read ahead, and spare bodies.
#[derive(Debug, Default)]
pub(super) struct ReadCache {
    segments: BTreeMap<SegmentId, CachedSegment>,
    /// Counts uses.
    clock: u64,
    read_ahead: ReadAhead,
    /// The memory of bodies that were delivered.
    spare_bodies: Vec<Vec<u8>>,
    /// How many deletions have begun.
    deletions: u64,
}

/// Open segments.
impl ReadCache {
    /// Adds the segment that is written from now on.
    pub(super) fn add_active(&mut self, id: SegmentId, segment: Arc<Segment>) {
        self.segments.insert(id, CachedSegment { open: Some(segment), ..CachedSegment::default() });
    }

    /// Adds a segment that was opened, of which `whole` says whether all is there. Returns those that are closed for it, to
    /// be dropped without the lock.
    pub(super) fn add_opened(&mut self, id: SegmentId, opened: Arc<Segment>, whole: bool) -> Vec<Arc<Segment>> {
        self.clock += 1;
        let segment = self.segments.entry(id).or_default();
        segment.open = Some(opened);
        segment.sealed = true;
        segment.damaged |= !whole;
        segment.last_used = self.clock;
        self.close_least_used(2)
    }

    /// Notes that a segment is sealed. Returns those that are closed, to be dropped without the lock.
    pub(super) fn set_sealed(&mut self, id: SegmentId) -> Vec<Arc<Segment>> {
        if let Some(segment) = self.segments.get_mut(&id) {
            segment.sealed = true;
        }
        // With a backlog, nobody will read it for a while.
        self.close_least_used(1)
    }

    /// An open segment, which is used now.
    pub(super) fn get(&mut self, id: SegmentId) -> Option<Arc<Segment>> {
        self.clock += 1;
        let segment = self.segments.get_mut(&id)?;
        segment.last_used = self.clock;
        segment.open.clone()
    }

    /// An open segment.
    pub(super) fn peek(&self, id: SegmentId) -> Option<&Segment> {
        self.segments.get(&id)?.open.as_deref()
    }

    pub(super) fn is_damaged(&self, id: SegmentId) -> bool {
        self.segments.get(&id).is_some_and(|segment| segment.damaged)
    }

    /// Notes that not all of a segment is there.
    pub(super) fn set_damaged(&mut self, id: SegmentId) {
        self.segments.entry(id).or_default().damaged = true;
    }

    /// Closes a segment. It is returned, to be dropped without the lock.
    pub(super) fn close(&mut self, id: SegmentId) -> Option<Arc<Segment>> {
        self.segments.get_mut(&id)?.open.take()
    }

    /// Forgets a segment. It is returned, to be dropped without the lock.
    pub(super) fn remove(&mut self, id: SegmentId) -> Option<Arc<Segment>> {
        self.segments.remove(&id)?.open
    }

    /// Forgets all segments.
    pub(super) fn remove_all(&mut self) -> Vec<Arc<Segment>> {
        std::mem::take(&mut self.segments).into_values().filter_map(|segment| segment.open).collect()
    }

    /// Closes the segments that were not read for the longest time, besides the active one: `least` stay open, and more
    /// while they take little memory.
    fn close_least_used(&mut self, least: usize) -> Vec<Arc<Segment>> {
        let mut open: Vec<_> = self.segments.values_mut().filter(|segment| segment.sealed).collect();
        open.retain(|segment| segment.open.is_some());
        open.sort_unstable_by_key(|segment| Reverse(segment.last_used));
        let (mut closed, mut weight) = (Vec::new(), 0_usize);
        for (at, segment) in open.into_iter().enumerate() {
            weight = weight.saturating_add(segment.open.as_ref().map_or(0, |open| open.weight()));
            if at >= least && (at >= MAX_OPEN_SEGMENTS || weight > MAX_OPEN_FRAMES) {
                closed.extend(segment.open.take());
            }
        }
        closed
    }
}

/// Phases.
impl ReadCache {
    pub(super) fn phase(&self, id: SegmentId) -> Option<Phase> {
        self.segments.get(&id)?.phase
    }

    pub(super) fn begin_phase(&mut self, id: SegmentId, phase: Phase) {
        self.deletions += u64::from(phase == Phase::Deleting);
        self.segments.entry(id).or_default().phase = Some(phase);
    }

    pub(super) fn end_phase(&mut self, id: SegmentId) {
        if let Some(segment) = self.segments.get_mut(&id) {
            segment.phase = None;
            if segment.is_idle() {
                self.segments.remove(&id);
            }
        }
    }

    /// How many deletions of segments have begun. If none was under way when there were as many, no room was made since.
    pub(super) fn deletions(&self) -> u64 {
        self.deletions
    }

    /// Whether any segment is being deleted.
    pub(super) fn is_deleting(&self) -> bool {
        self.segments.values().any(|segment| segment.phase == Some(Phase::Deleting))
    }

    /// Since when a segment cannot be read.
    pub(super) fn unreadable_since(&self, id: SegmentId) -> Option<Instant> {
        self.segments.get(&id)?.unreadable_since
    }

    /// Notes that a segment could be read.
    pub(super) fn note_readable(&mut self, id: SegmentId) {
        if let Some(segment) = self.segments.get_mut(&id) {
            segment.unreadable_since = None;
        }
    }

    /// Notes that a segment could not be read. It is closed, since not all that was there may be: it is returned, to be dropped
    /// without the lock. Only errors that say that it is `damaged` count for how long it cannot be read.
    pub(super) fn note_unreadable(&mut self, id: SegmentId, damaged: bool) -> Option<Arc<Segment>> {
        let segment = self.segments.entry(id).or_default();
        segment.unreadable_since = damaged.then(|| segment.unreadable_since.unwrap_or_else(Instant::now));
        if segment.sealed { segment.open.take() } else { None }
    }
}

/// Whether a segment could not be read for so long that it hardly ever will.
pub(super) fn is_given_up(unreadable_since: Option<Instant>) -> bool {
    unreadable_since.is_some_and(|since| since.elapsed() >= READ_PATIENCE)
}

/// Batches that are read.
impl ReadCache {
    /// How to read the batch that begins there and ends at `end` at the latest.
    pub(super) fn start_reading(&mut self, lane: LaneId, start: u64, end: u64) -> Reading {
        match std::mem::take(&mut self.read_ahead) {
            ReadAhead::Reading(lane_ahead, start_ahead) => {
                self.read_ahead = ReadAhead::Reading(lane_ahead, start_ahead);
                if (lane_ahead, start_ahead) == (lane, start) {
                    return Reading::Wait;
                }
            }
            ReadAhead::Read(lane_ahead, start_ahead, collected)
                if (lane_ahead, start_ahead) == (lane, start) && collected.end <= end =>
            {
                return Reading::Done(collected);
            }
            // It is of no use any more.
            ReadAhead::Read(..) | ReadAhead::Nothing => {}
        }
        Reading::Read(self.spare_bodies.pop().unwrap_or_default())
    }

    /// Begins to read a batch ahead of an open segment, with this memory for its body.
    pub(super) fn start_reading_ahead(&mut self, lane: LaneId, start: u64) -> Option<(Arc<Segment>, Vec<u8>)> {
        let segment = self.get(lane.segment)?;
        self.read_ahead = ReadAhead::Reading(lane, start);
        Some((segment, self.spare_bodies.pop().unwrap_or_default()))
    }

    /// Keeps the batch that was read ahead. Without one, who needs it reads it.
    pub(super) fn finish_reading_ahead(&mut self, collected: Option<Box<Collected>>) {
        if let ReadAhead::Reading(lane, start) = self.read_ahead {
            self.read_ahead = collected.map_or(ReadAhead::Nothing, |collected| ReadAhead::Read(lane, start, collected));
        }
    }

    /// Keeps the memory of a body, if it is of use.
    pub(super) fn keep_body(&mut self, body: Vec<u8>) {
        if body.capacity() <= MAX_SPARE_BYTES && self.spare_bodies.len() < MAX_SPARE_BODIES {
            self.spare_bodies.push(body);
        }
    }
}
