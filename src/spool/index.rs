//! [`Index`]: what waits to be delivered. It touches memory only: no file, no clock, no other lock but those of a segment's
//! entries.
//!
//! A *lane* is one partition in one segment. A partition's lanes are delivered one after the other, in the order of the
//! segments; partitions do not wait for one another. A segment that cannot be read is *held*: its lanes stay behind, and those
//! of later segments go on. A batch comes out of the index in three steps: [`Index::choose`] says which one is next, the caller
//! reads it without the index, and [`Index::admit`] puts it in flight if the choice still holds.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;

use super::cursor::{Cursors, LaneCursor, LaneCursors};
use super::entry::{EntryHead, system_time};
use super::gap::{Gap, Unreported};
use super::lane::{End, GapRoom, Lane, Purpose};
use super::mark::{Mark, Turns};
use super::position::{BatchStart, LaneId, SegmentId};
use super::seal::Seal;
use super::segment::{LaneSummary, Segment};
use crate::observe::loss::LossReason;

/// The most batches of a partition that are parked at the same time.
const MAX_PARKED: usize = 64;

/// The lanes of one partition, and its delivery steps.
#[derive(Debug, Default)]
struct Partition {
    lanes: BTreeMap<SegmentId, Lane>,
    /// The segments of which batches may be in flight: there are none in others.
    given_out: BTreeSet<SegmentId>,
    /// How many delivery steps have it, those that wait in the queue of what is ready included.
    tasks: usize,
    /// A delivery step has no batch yet.
    forming: bool,
    /// How many batches may be in flight besides the first.
    more_in_flight: usize,
    /// It waits for more records, until there are enough for a batch.
    lingers: bool,
    turns: Turns,
    /// Its own mark, where it has failed since the spool was opened.
    mark: Option<Mark>,
    /// Nothing more of its backlog is given out for now.
    backlog_rests: bool,
}

impl Partition {
    fn lane(&self, id: LaneId) -> Option<&Lane> {
        self.lanes.get(&id.segment).filter(|lane| lane.id == id)
    }

    fn lane_mut(&mut self, id: LaneId) -> Option<&mut Lane> {
        self.lanes.get_mut(&id.segment).filter(|lane| lane.id == id)
    }

    /// Adds a lane. Batches of it may be in flight.
    fn add(&mut self, lane: Lane) {
        let segment = lane.id.segment;
        if lane.in_flight().0 > 0 {
            self.given_out.insert(segment);
        }
        self.lanes.insert(segment, lane);
    }

    /// Notes that a batch of a segment is in flight, and forgets segments of which none is any more.
    fn note_given_out(&mut self, segment: SegmentId) {
        let is_in_flight = |segment: &SegmentId| self.lanes.get(segment).is_some_and(|lane| lane.in_flight().0 > 0);
        self.given_out.retain(is_in_flight);
        self.given_out.insert(segment);
    }

    /// The first record that flows, and its lane.
    fn first_flowing(&self) -> Option<(&Lane, u64)> {
        self.lanes.values().find_map(|lane| Some((lane, lane.first_flowing()?)))
    }

    /// The records behind it do not wait for those before it, but share the requests with them.
    fn mark(&self, readable: &Readable) -> Option<Mark> {
        self.mark.or(readable.mark)
    }

    /// The lane that is delivered now: the first that may be read and has a batch in flight or one that may be given out. Where
    /// what is parked has left too many gaps, nothing is given out until they close.
    fn current(&self, readable: &Readable) -> Option<&Lane> {
        let Some(mark) = &self.mark(readable) else { return self.first_of(readable, ..) };
        let (backlog, new) = (self.first_of(readable, ..mark.from), self.first_of(readable, mark.from..));
        let (Some(of_backlog), Some(of_new)) = (backlog, new) else { return backlog.or(new) };
        let is_backlogs = match (of_backlog.has_more() && !self.backlog_rests, of_new.has_more()) {
            (true, true) => self.turns.is_backlogs(mark),
            (_, new_has_more) => !new_has_more,
        };
        if is_backlogs { backlog } else { new }
    }

    /// The first lane in some segments that may be read and has a batch in flight or one that may be given out.
    fn first_of(&self, readable: &Readable, segments: impl RangeBounds<SegmentId>) -> Option<&Lane> {
        let flows = |lane: &Lane| lane.in_flight().0 > 0 || lane.has_more();
        let may_be = |lane: &&Lane| flows(lane) && !readable.held.contains(&lane.id.segment);
        let mut lanes = self.lanes.range(segments).map(|(_, lane)| lane);
        lanes.find(may_be).filter(|lane| readable.is_before_barrier(lane.id.segment))
    }

    /// The same lane, if there is a batch of it that may be given out.
    fn lane_of_next(&self, readable: &Readable) -> Option<&Lane> {
        let rests =
            |lane: &Lane| self.backlog_rests && self.mark(readable).is_none_or(|mark| lane.id.segment < mark.from);
        self.current(readable).filter(|lane| lane.has_more() && !rests(lane))
    }

    /// The mark, if something may be given out on both sides of it.
    fn shared_at(&self, readable: &Readable) -> Option<Mark> {
        let mark = self.mark(readable).filter(|_| !self.backlog_rests)?;
        let has_more = |lane: Option<&Lane>| lane.is_some_and(Lane::has_more);
        let both = has_more(self.first_of(readable, ..mark.from)) && has_more(self.first_of(readable, mark.from..));
        Some(mark).filter(|_| both)
    }

    /// The lanes of which something may be given out, in order.
    fn readable<'a>(&'a self, readable: &Readable) -> impl Iterator<Item = &'a Lane> {
        let lanes = self.lanes.values().filter(|lane| !readable.held.contains(&lane.id.segment));
        lanes.take_while(|lane| readable.is_before_barrier(lane.id.segment))
    }

    /// The lane of the record that lies `ahead` records behind the first one that was never given out, and its number.
    fn control(&self, readable: &Readable, mut ahead: u64) -> Option<(&Lane, u64)> {
        self.readable(readable).find_map(|lane| {
            let found = lane.control(ahead);
            ahead = ahead.saturating_sub(lane.unsent());
            Some((lane, found?))
        })
    }

    /// The batch that is asked for: its lane, and where it begins.
    fn find(&self, readable: &Readable, asked: Asked) -> Option<(&Lane, u64)> {
        let at = |at: BatchStart| Some((self.lanes.get(&at.segment)?, at.record));
        match asked {
            Asked::Flow(start) => self.start_of_next(readable, start),
            // Where it cannot be read, that is said.
            Asked::Trial(start) => at(start).filter(|(lane, record)| lane.is_parked(*record)),
            Asked::Control(ahead) => self.control(readable, ahead),
            Asked::ControlAgain(start) => at(start).filter(|(lane, record)| lane.is_control(*record)),
        }
    }

    /// The lane of the next batch, and where it begins: see [`Index::choose`].
    fn start_of_next(&self, readable: &Readable, asked: Option<BatchStart>) -> Option<(&Lane, u64)> {
        let asked = asked.filter(|asked| !readable.held.contains(&asked.segment));
        let asked = asked.and_then(|asked| Some((self.lanes.get(&asked.segment)?, asked.record)));
        if let Some((lane, start)) = asked.filter(|(lane, start)| lane.is_in_flight(*start)) {
            return Some((lane, start));
        }
        let lane = self.current(readable)?;
        // With a mark, lanes behind this one may have some as well.
        let last = if self.mark(readable).is_some() { Bound::Unbounded } else { Bound::Included(lane.id.segment) };
        let segments = || self.given_out.range((Bound::Unbounded, last));
        let lanes = || segments().filter_map(|segment| self.lanes.get(segment));
        let counted = || lanes().filter(|lane| !readable.held.contains(&lane.id.segment));
        let in_flight: usize = counted().map(|lane| lane.in_flight().0).sum();
        if in_flight > self.more_in_flight {
            // With more delivery steps than that, each of them is someone else's.
            let mut first = counted().filter_map(|lane| Some((lane, lane.in_flight().1?)));
            first.next().filter(|_| in_flight >= self.tasks)
        } else {
            self.lane_of_next(readable).and_then(|lane| Some((lane, lane.start_of_next()?)))
        }
    }
}

/// The segments of which something may be given out.
#[derive(Debug, Default)]
struct Readable {
    /// Segments of which it is not known yet what is in them. Nothing of a later segment may overtake them.
    unrecovered: BTreeSet<SegmentId>,
    /// Segments that cannot be read at the moment.
    held: BTreeSet<SegmentId>,
    /// The mark of partitions that have none of their own: behind what was there when the spool was opened.
    mark: Option<Mark>,
    /// The last one that was set.
    last_mark: Option<Mark>,
}

impl Readable {
    /// Whether nothing that is not known yet comes before a segment.
    fn is_before_barrier(&self, segment: SegmentId) -> bool {
        self.unrecovered
            .iter()
            .find(|unrecovered| !self.held.contains(unrecovered))
            .is_none_or(|first| segment < *first)
    }
}

/// The batch that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// The one that begins there, if it is in flight, else the next one.
    Flow(Option<BatchStart>),
    /// The first of the parked records that begin there.
    Trial(BatchStart),
    /// The record that lies so many records behind the first one that was never given out.
    Control(u64),
    /// The control there.
    ControlAgain(BatchStart),
}

impl Asked {
    pub(super) fn purpose(self) -> Purpose {
        match self {
            Self::Flow(_) => Purpose::Flow,
            Self::Trial(_) => Purpose::Trial,
            Self::Control(_) | Self::ControlAgain(_) => Purpose::Control,
        }
    }
}

/// A segment, as far as delivery is concerned.
#[derive(Debug, Default)]
struct SegmentState {
    /// How many frames it should have, once it is sealed.
    frames: Option<u64>,
    /// How many bytes its seal will take that is not written yet.
    seal_owed: u64,
    /// The gaps that this process reported in it, and which record of their partition does so.
    reported: Vec<(u64, Gap)>,
    /// How many lanes are not delivered yet.
    undelivered: u32,
    /// How far its lanes are delivered, before it is known what is in it.
    cursors: LaneCursors,
    /// That is not read yet.
    lacks_cursors: bool,
    /// Its lanes by partition, if it was abandoned, before it is known what is in it: batches of them may be in flight.
    abandoned: HashMap<Arc<str>, Lane>,
    /// How many of its frames count, if it was abandoned.
    accepted: Option<u64>,
}

/// The next batch of a partition. It holds until the batch is given out or the lane changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) lane: LaneId,
    /// Where the batch begins, and where it ends, if that is fixed.
    pub(super) start: u64,
    pub(super) fixed_end: Option<u64>,
    /// How many records there are in the lane.
    pub(super) end: u64,
    /// Whether nothing will be added to the lane any more.
    pub(super) complete: bool,
}

impl Choice {
    /// The records that the batch may have.
    pub(super) fn waiting(&self) -> Range<u64> {
        self.start..self.fixed_end.unwrap_or(self.end).min(self.end)
    }

    /// Whether records that come could still be added to the batch.
    pub(super) fn may_grow(&self) -> bool {
        self.fixed_end.is_none() && !self.complete
    }
}

/// How the end of a batch that is put in flight is to be found again after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// From what is stored.
    Stored,
    /// From the cursor that is written.
    Written,
}

/// Whether a segment was held before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    Already,
    /// No segment was.
    First,
    Another,
}

/// Whether a batch was put in flight.
#[derive(Clone, Copy, Debug)]
pub(super) enum Admission {
    Admitted(Admitted),
    /// The choice does not hold any more.
    Outdated,
    /// The end of the batch could not be found again after a restart. It is to be written first.
    UnknownEnd,
}

/// A batch that was put in flight: what else there is to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Admitted {
    /// Another partition waits to be checked out.
    pub(super) has_ready: bool,
    /// There is no other partition.
    pub(super) is_only: bool,
    /// The segment after this one, if it is sealed and this lane is half delivered.
    pub(super) next_segment: Option<SegmentId>,
    /// Nobody is asked yet to [settle](Index::start_settling), and that would be good.
    pub(super) ask_to_settle: bool,
    /// For how long the batch was deferred in all, in seconds, if it is a trial.
    pub(super) deferred: u64,
}

/// An acknowledgement that changed something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Acked {
    /// Nobody is asked yet to [settle](Index::start_settling).
    pub(super) ask_to_settle: bool,
    /// Everything in the lane's segment is delivered.
    pub(super) segment_delivered: bool,
}

/// A batch that changed its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Changed {
    /// Nobody is asked yet to [settle](Index::start_settling).
    pub(super) ask_to_settle: bool,
}

/// Everything that was accepted up to a moment.
#[derive(Debug)]
pub(super) struct Watermark {
    segment: Option<SegmentId>,
    /// The last lane of each partition, and its end.
    lanes: Vec<(Arc<str>, SegmentId, u64)>,
}

/// The records that wait, the batches in flight, the gaps that are not reported, and the cursors that are not written.
#[derive(Debug, Default)]
pub(super) struct Index {
    segments: BTreeMap<SegmentId, SegmentState>,
    partitions: HashMap<Arc<str>, Partition>,
    ready: VecDeque<Arc<str>>,
    /// The partitions that lingered and now have enough for a batch.
    filled: Vec<Arc<str>>,
    active: Option<SegmentId>,
    readable: Readable,
    pub(super) pending_records: u64,
    /// The cursors that changed since they were last [taken](Index::take_unwritten).
    unwritten: Cursors,
    /// Somebody was asked to write them, and has not begun.
    settle_asked: bool,
    pub(super) unreported: Unreported,
    /// A loss was reported as an event since gaps were last taken from here to be reported.
    pub(super) loss_reported: bool,
    /// Somebody reports gaps that were taken from here.
    pub(super) reporting: bool,
}

/// Segments.
impl Index {
    /// Adds a segment of which it is not known yet what is in it, and how far it is delivered: see [`Index::add_sealed`].
    pub(super) fn add_unrecovered(&mut self, segment: SegmentId, cursors: LaneCursors) {
        self.segments.entry(segment).or_default().cursors = cursors;
        self.readable.unrecovered.insert(segment);
    }

    /// Adds a segment of which it is not known how far it is delivered either.
    pub(super) fn add_unread(&mut self, segment: SegmentId) {
        self.add_unrecovered(segment, LaneCursors::new());
        self.segments.entry(segment).or_default().lacks_cursors = true;
    }

    pub(super) fn lacks_cursors(&self, segment: SegmentId) -> bool {
        self.segments.get(&segment).is_some_and(|segment| segment.lacks_cursors)
    }

    pub(super) fn put_cursors(&mut self, segment: SegmentId, cursors: LaneCursors) {
        if let Some(segment) = self.segments.get_mut(&segment) {
            (segment.cursors, segment.lacks_cursors) = (cursors, false);
        }
    }

    pub(super) fn is_recovered(&self) -> bool {
        self.readable.unrecovered.is_empty()
    }

    /// Adds a segment whose seal is known; true if all of it is delivered already.
    /// The partitions are not given out before [`Index::enqueue_all`].
    pub(super) fn add_sealed(&mut self, segment: SegmentId, seal: Seal) -> bool {
        self.readable.unrecovered.remove(&segment);
        let state = self.segments.entry(segment).or_default();
        let (mut cursors, mut abandoned) = (std::mem::take(&mut state.cursors), std::mem::take(&mut state.abandoned));
        let mut undelivered = 0;
        for (lane, summary) in (0..).zip(seal.lanes) {
            let LaneSummary { key, records, first_timestamp, last_timestamp } = summary;
            let timestamps = (first_timestamp, last_timestamp);
            // A lane of which nothing is found has no key.
            let is_it = abandoned.get(&key).is_some_and(|of| of.id.lane == lane);
            let lane = if is_it && let Some(of) = abandoned.remove(&key) {
                of.found(records, timestamps)
            } else {
                let cursor = cursors.remove(&lane).unwrap_or_default();
                Lane::new(LaneId { segment, lane }, records, cursor, timestamps)
            };
            let pending = lane.pending();
            if pending > 0 {
                undelivered += 1;
                self.pending_records += pending;
                self.partitions.entry(key).or_default().add(lane);
            }
        }
        let segment = self.segments.entry(segment).or_default();
        segment.undelivered = undelivered;
        segment.frames = Some(seal.frames);
        undelivered == 0
    }

    /// The records that the cursors of a segment know of, that are not delivered, and that were not found in it.
    pub(super) fn missing_from(&self, segment: SegmentId, found: &Seal) -> Vec<(Arc<str>, u64)> {
        let Some(of) = self.segments.get(&segment) else { return Vec::new() };
        let of_file = of.cursors.iter().map(|(lane, cursor)| {
            let known = cursor.ends.first().copied().unwrap_or_default().max(cursor.end_of_acked());
            (*lane, None, cursor, known)
        });
        // Of these it is known how many were accepted.
        let abandoned = of.abandoned.iter().map(|(key, lane)| (lane.id.lane, Some(key), &lane.cursor, lane.end));
        let missing = of_file.chain(abandoned).map(|(lane, key, cursor, known)| {
            let found = found.lanes.get(lane as usize);
            let (found_key, records) = found.map_or((Arc::from(""), 0), |found| (found.key.clone(), found.records));
            let missing = cursor.pending(known).saturating_sub(cursor.pending(records.min(known)));
            (key.cloned().unwrap_or(found_key), missing)
        });
        missing.filter(|(_, records)| *records > 0).collect()
    }

    /// Whether it is known what is in each segment that can be read.
    pub(super) fn is_searched(&self) -> bool {
        self.readable.unrecovered.is_subset(&self.readable.held)
    }

    pub(super) fn contains(&self, segment: SegmentId) -> bool {
        self.segments.contains_key(&segment)
    }

    pub(super) fn segment_count(&self) -> u64 {
        self.segments.len() as u64
    }

    /// How many frames a segment should have, if it is sealed.
    pub(super) fn frames(&self, segment: SegmentId) -> Option<u64> {
        self.segments.get(&segment)?.frames
    }

    /// Notes that a segment has so many frames and gets no more.
    pub(super) fn set_frames(&mut self, segment: SegmentId, frames: u64) {
        if let Some(segment) = self.segments.get_mut(&segment) {
            segment.frames = Some(frames);
        }
    }

    /// Notes that a segment cannot be read.
    pub(super) fn hold(&mut self, segment: SegmentId) -> Held {
        let first = self.readable.held.is_empty();
        let new = self.readable.held.insert(segment);
        // What it kept waiting may go on.
        self.enqueue_all();
        match (new, first) {
            (false, _) => Held::Already,
            (true, true) => Held::First,
            (true, false) => Held::Another,
        }
    }

    /// Puts a batch back that is in flight, but of a segment that cannot be read, so that nobody sends it now.
    pub(super) fn put_back(&mut self, key: &str, start: BatchStart) {
        let lane = self.partitions.get_mut(key).and_then(|partition| partition.lanes.get_mut(&start.segment));
        let held = lane.filter(|_| self.readable.held.contains(&start.segment));
        let abandoned = self.segments.get_mut(&start.segment).and_then(|segment| segment.abandoned.get_mut(key));
        if let Some(lane) = held.or(abandoned) {
            lane.put_back(start.record);
        }
    }

    /// Notes that a segment can be read again, or is gone; true if it was the last that could not.
    pub(super) fn let_go(&mut self, segment: SegmentId) -> bool {
        let was_held = self.readable.held.remove(&segment);
        if was_held {
            self.enqueue_all();
        }
        was_held && self.readable.held.is_empty()
    }

    /// Whether it is known what is in a segment.
    pub(super) fn is_known(&self, segment: SegmentId) -> bool {
        !self.readable.unrecovered.contains(&segment)
    }

    /// Whether all that waits is parked or in segments that cannot be read.
    pub(super) fn has_only_held(&self) -> bool {
        let is_held = |partition: &Partition| {
            partition.first_of(&self.readable, ..).is_none() && !partition.lanes.values().any(Lane::is_tried)
        };
        self.pending_records + self.readable.held.len() as u64 > 0
            && self.is_searched()
            && self.partitions.values().all(is_held)
    }

    /// The oldest segment, unless it is the active one or not known yet. It need not be known what is in one that cannot be read.
    pub(super) fn oldest(&self) -> Option<SegmentId> {
        self.evictable().next()
    }

    /// The segments that are the oldest one after the other, when those before are evicted.
    pub(super) fn evictable(&self) -> impl Iterator<Item = SegmentId> {
        let Readable { unrecovered, held, .. } = &self.readable;
        let known = self.segments.keys().copied();
        known
            .filter(|segment| !unrecovered.contains(segment) || !held.contains(segment))
            .take_while(|segment| self.active != Some(*segment) && !unrecovered.contains(segment))
    }

    /// Forgets the cursors of a segment that is delivered.
    pub(super) fn forget_cursors(&mut self, segment: SegmentId) {
        self.unwritten.retain(|lane, _| lane.segment != segment);
    }

    /// Removes a segment that is delivered.
    pub(super) fn remove(&mut self, segment: SegmentId) {
        self.segments.remove(&segment);
        self.readable.unrecovered.remove(&segment);
        let _ = self.let_go(segment);
    }

    /// The share of a segment's records that wait, as numerator and denominator. Lanes that are delivered may be left out.
    pub(super) fn waiting_share(&self, segment: SegmentId) -> (u64, u64) {
        let lanes = self.partitions.values().filter_map(|partition| partition.lanes.get(&segment));
        lanes.fold((0, 0), |(waiting, all), lane| (waiting + lane.pending(), all + lane.end))
    }

    /// Removes a segment, though it is not delivered. Returns the losses, and the gaps that were reported there and are not
    /// delivered.
    pub(super) fn give_up(&mut self, segment: SegmentId, reason: LossReason) -> (Vec<Gap>, Vec<Gap>) {
        let mut lanes = Vec::new();
        self.partitions.retain(|key, partition| {
            lanes.extend(partition.lanes.remove(&segment).map(|lane| (key.clone(), lane)));
            !partition.lanes.is_empty() || partition.tasks > 0
        });
        let (mut losses, mut unreported) = (Vec::new(), Vec::new());
        for (key, lane) in lanes {
            self.pending_records -= lane.pending();
            let gaps = self.take_reported(segment, &key, &(lane.cursor.acked..lane.end));
            let records = lane.pending().saturating_sub(gaps.len() as u64);
            unreported.extend(gaps);
            if records > 0 {
                let (first, last) = (system_time(lane.first_timestamp), system_time(lane.last_timestamp));
                losses.push(Gap { key, reason, records, first: Some(first), last: Some(last), signal: None });
            }
        }
        self.forget_cursors(segment);
        self.remove(segment);
        (losses, unreported)
    }

    /// Makes an empty segment the active one. The one before is complete.
    pub(super) fn set_active(&mut self, active: SegmentId) {
        self.active = Some(active);
        self.segments.insert(active, SegmentState::default());
    }

    /// Ends the active segment: it gets no more records. Its lanes that are delivered are kept no longer for those; true if
    /// all of it is delivered.
    pub(super) fn complete_active(&mut self) -> bool {
        let Some(old) = self.active.take() else { return false };
        let Some(segment) = self.segments.get_mut(&old) else { return false };
        self.partitions.retain(|_, partition| {
            if partition.lanes.get(&old).is_some_and(|lane| lane.pending() == 0) {
                partition.lanes.remove(&old);
                segment.undelivered -= 1;
            }
            !partition.lanes.is_empty() || partition.tasks > 0
        });
        segment.undelivered == 0
    }

    /// How many frames of a segment count: all, unless it was abandoned.
    pub(super) fn accepted(&self, segment: SegmentId) -> u64 {
        self.segments.get(&segment).and_then(|segment| segment.accepted).unwrap_or(u64::MAX)
    }

    /// Takes the active segment out, because its database failed: a scan finds what was accepted of it. What is in flight of it can
    /// be acknowledged meanwhile and afterwards.
    pub(super) fn abandon_active(&mut self, accepted: u64) {
        let Some(active) = self.active.take() else { return };
        let mut abandoned = HashMap::new();
        for (key, partition) in &mut self.partitions {
            if let Some(lane) = partition.lanes.remove(&active) {
                self.pending_records -= lane.pending();
                abandoned.insert(key.clone(), lane);
            }
        }
        let reported = self.segments.remove(&active).map(|segment| segment.reported).unwrap_or_default();
        let accepted = Some(accepted);
        self.segments.insert(active, SegmentState { reported, abandoned, accepted, ..SegmentState::default() });
        self.readable.unrecovered.insert(active);
    }

    /// Notes how many bytes a segment's seal will take; zero once it is written.
    pub(super) fn owe_seal(&mut self, segment: SegmentId, bytes: u64) {
        if let Some(segment) = self.segments.get_mut(&segment) {
            segment.seal_owed = bytes;
        }
    }

    /// How many bytes the seals take that are not written yet.
    pub(super) fn seals_owed(&self) -> u64 {
        self.segments.values().map(|segment| segment.seal_owed).sum()
    }
}

/// Records that come.
impl Index {
    /// Begins to write entries of a partition to the active segment. Returns the [boundary](Lane::begin_append) that they are to
    /// carry.
    pub(super) fn begin_append(&mut self, key: &str) -> u64 {
        let lane = self.active.and_then(|active| self.partitions.get_mut(key)?.lanes.get_mut(&active));
        lane.map_or(0, Lane::begin_append)
    }

    /// Adds records to a lane of the active segment.
    pub(super) fn append(&mut self, key: &Arc<str>, entry: &EntryHead) {
        let Some(active) = self.active else { return };
        let (records, timestamps) = (u64::from(entry.records), (entry.first_timestamp, entry.last_timestamp));
        let partition = self.partitions.entry(key.clone()).or_default();
        if let Some(lane) = partition.lanes.get_mut(&active) {
            lane.grow(records, timestamps);
        } else {
            let id = LaneId { segment: active, lane: entry.lane };
            partition.lanes.insert(active, Lane::new(id, records, LaneCursor::default(), timestamps));
            if let Some(segment) = self.segments.get_mut(&active) {
                segment.undelivered += 1;
            }
        }
        self.pending_records += records;
        self.enqueue(key);
    }

    /// Notes that the last record of the gap's partition reports it.
    pub(super) fn reported(&mut self, gap: Gap) {
        let lane = self.partitions.get(&gap.key).and_then(|partition| partition.lanes.last_key_value());
        if let Some((segment, record)) = lane.map(|(segment, lane)| (*segment, lane.end - 1))
            && let Some(segment) = self.segments.get_mut(&segment)
        {
            segment.reported.push((record, gap));
        }
    }

    /// The partitions that have records which wait, and how many.
    #[cfg(feature = "relay")]
    pub(super) fn waiting(&self) -> impl Iterator<Item = (&Arc<str>, u64)> {
        let pending = |partition: &Partition| partition.lanes.values().map(Lane::pending).sum();
        self.partitions
            .iter()
            .map(move |(key, partition)| (key, pending(partition)))
            .filter(|(_, pending)| *pending > 0)
    }

    /// The gaps that are reported by records of a partition which will not be delivered.
    pub(super) fn take_reported(&mut self, segment: SegmentId, key: &str, records: &Range<u64>) -> Vec<Gap> {
        let Some(segment) = self.segments.get_mut(&segment) else { return Vec::new() };
        let reported = segment.reported.extract_if(.., |(record, gap)| *gap.key == *key && records.contains(record));
        reported.map(|(_, gap)| gap).collect()
    }

    /// Notes a loss that is to be reported; true if it is the only one.
    pub(super) fn add_gap(&mut self, gap: Gap) -> bool {
        let only = self.unreported.is_empty();
        self.unreported.add(gap);
        only
    }

    /// Whether there are gaps that no record reports yet.
    pub(super) fn has_unreported(&self) -> bool {
        self.reporting || !self.unreported.is_empty()
    }

    /// Notes that a partition lingers.
    pub(super) fn linger(&mut self, key: &str) {
        if let Some(partition) = self.partitions.get_mut(key) {
            partition.lingers = true;
        }
    }

    pub(super) fn lingers(&self, key: &str) -> bool {
        self.partitions.get(key).is_some_and(|partition| partition.lingers)
    }

    /// Notes that a partition that lingers has enough for a batch.
    pub(super) fn fill(&mut self, key: &Arc<str>) {
        if let Some(partition) = self.partitions.get_mut(key) {
            partition.lingers = false;
            self.filled.push(key.clone());
        }
    }

    pub(super) fn take_filled(&mut self) -> Vec<Arc<str>> {
        std::mem::take(&mut self.filled)
    }
}

/// Partitions by turns.
impl Index {
    /// Gives out every partition that waits.
    pub(super) fn enqueue_all(&mut self) {
        // The order of segments keeps each from being opened again for each partition.
        let lane = |partition: &Partition| partition.current(&self.readable).map(|lane| lane.id);
        let waiting = self.partitions.iter().filter_map(|(key, partition)| Some((lane(partition)?, key.clone())));
        let mut keys: Vec<_> = waiting.collect();
        keys.sort_unstable();
        for (_, key) in keys {
            self.enqueue(&key);
        }
    }

    fn enqueue(&mut self, key: &Arc<str>) {
        let Some(partition) = self.partitions.get_mut(key) else { return };
        let waits = partition.lane_of_next(&self.readable).is_some();
        if waits && !partition.forming && partition.tasks <= partition.more_in_flight {
            partition.tasks += 1;
            partition.forming = true;
            self.ready.push_back(key.clone());
        }
    }

    /// A partition that has something to deliver. It is given out again when a batch of it is in flight, if another one
    /// may be, and after [`Index::release`].
    pub(super) fn checkout(&mut self) -> Option<Arc<str>> {
        self.ready.pop_front()
    }

    /// Takes a partition back. `formed` is whether a batch was put in flight since.
    pub(super) fn release(&mut self, key: &Arc<str>, formed: bool) {
        let Some(partition) = self.partitions.get_mut(key) else { return };
        partition.tasks = partition.tasks.saturating_sub(1);
        partition.forming &= formed;
        if partition.lanes.is_empty() && partition.tasks == 0 {
            self.partitions.remove(key);
        } else {
            self.enqueue(key);
        }
    }

    /// Sets how many batches of a partition may be in flight besides the first.
    pub(super) fn allow(&mut self, key: &str, more_in_flight: usize) {
        if let Some(partition) = self.partitions.get_mut(key) {
            partition.more_in_flight = more_in_flight;
        }
    }
}

/// The backlog and the new records.
impl Index {
    /// Sets the mark of all partitions behind all segments so far: what comes in later ones shares the requests with all
    /// that waits. Returns the active segment, if it is to end for that. Where nothing waits, the mark lies before it.
    pub(super) fn set_mark(&mut self, backlog_share: f64) -> Option<SegmentId> {
        let drained = self.active.filter(|_| self.is_drained());
        let from = drained.unwrap_or_else(|| self.next_segment());
        self.readable.mark = Some(Mark { from, backlog_share });
        self.readable.last_mark = self.readable.mark;
        self.enqueue_all();
        self.active.filter(|_| drained.is_none())
    }

    /// Sets that of one partition: the others keep theirs, or a healthy one would lose its order. Returns the active
    /// segment, which is to end for that.
    pub(super) fn set_mark_of(&mut self, key: &Arc<str>, backlog_share: f64) -> Option<SegmentId> {
        self.readable.last_mark = Some(Mark { from: self.next_segment(), backlog_share });
        self.join_mark(key);
        self.active
    }

    /// Gives a partition the last mark that was set, for another one as well.
    pub(super) fn join_mark(&mut self, key: &Arc<str>) {
        if let Some(partition) = self.partitions.get_mut(key) {
            partition.mark = self.readable.last_mark;
            self.enqueue(key);
        }
    }

    /// Behind all segments so far.
    fn next_segment(&self) -> SegmentId {
        let last = self.segments.last_key_value().map_or(0, |(last, _)| last.number);
        SegmentId { number: last.saturating_add(1), random: 0 }
    }

    /// The lanes of a partition behind the mark of which something flows, and how many records: none where there is no mark.
    /// Those stretches begin with the first that flows; parked ones in them do not count.
    pub(super) fn flowing_behind_mark(&self, key: &str) -> impl Iterator<Item = (LaneId, Range<u64>, u64)> {
        let partition = self.partitions.get(key);
        let marked = partition.and_then(|partition| Some((partition, partition.mark(&self.readable)?)));
        let lanes = marked.into_iter().flat_map(|(partition, mark)| partition.lanes.range(mark.from..));
        lanes.filter_map(|(_, lane)| Some((lane.id, lane.first_flowing()?..lane.end, lane.flowing())))
    }

    /// Whether a place lies behind the mark, and something of its partition flows before that.
    pub(super) fn is_beside_backlog(&self, key: &str, at: BatchStart) -> bool {
        let Some(partition) = self.partitions.get(key) else { return false };
        let mark = partition.mark(&self.readable).filter(|mark| mark.from <= at.segment);
        mark.is_some_and(|mark| partition.first_of(&self.readable, ..mark.from).is_some())
    }

    /// Has the backlog of a partition rest, or go on.
    pub(super) fn rest(&mut self, key: &Arc<str>, rests: bool) {
        if let Some(partition) = self.partitions.get_mut(key) {
            partition.backlog_rests = rests;
            self.enqueue(key);
        }
    }

    /// Gives the next request of a partition to its backlog, as its new records linger. False if there is none.
    pub(super) fn give_to_backlog(&mut self, key: &str) -> bool {
        let Some(partition) = self.partitions.get_mut(key) else { return false };
        let is_shared = partition.shared_at(&self.readable).is_some();
        if is_shared {
            partition.turns.give_to_backlog();
        }
        is_shared
    }
}

/// Batches.
impl Index {
    /// The batch at `asked`, if it is still in flight, else the next one that may be given out: the first of those that
    /// are in flight, if there may be no more of them and it is nobody's. It changes nothing.
    pub(super) fn choose(&self, key: &str, asked: Asked) -> Option<Choice> {
        let (lane, start) = self.partitions.get(key)?.find(&self.readable, asked)?;
        let alone = asked.purpose() == Purpose::Control;
        Some(Choice {
            lane: lane.id,
            start,
            fixed_end: if alone { Some(start + 1) } else { lane.fixed_end(start) },
            end: lane.end,
            complete: self.active != Some(lane.id.segment),
        })
    }

    /// Whether the batch that was chosen may end at `end`: nothing has changed since that concerns it.
    pub(super) fn holds(&self, key: &str, asked: Asked, choice: &Choice, end: u64) -> bool {
        self.choose(key, asked).is_some_and(|now| {
            (now.lane, now.start, now.fixed_end) == (choice.lane, choice.start, choice.fixed_end) && end <= now.end
        })
    }

    /// Puts the batch that was chosen in flight, up to `end`, unless the choice does not hold any more. Others may then come
    /// before it is acknowledged.
    pub(super) fn admit(
        &mut self,
        key: &Arc<str>,
        asked: Asked,
        choice: &Choice,
        end: u64,
        ending: Ending,
    ) -> Admission {
        if !self.holds(key, asked, choice, end) {
            return Admission::Outdated;
        }
        let Some(partition) = self.partitions.get_mut(key) else { return Admission::Outdated };
        let shared_at = partition.shared_at(&self.readable);
        let Some(lane) = partition.lane_mut(choice.lane) else { return Admission::Outdated };
        let (batch, purpose) = (choice.start..end, asked.purpose());
        match ending {
            Ending::Stored if matches!(asked, Asked::Control(_)) => return Admission::UnknownEnd,
            Ending::Stored if choice.may_grow() && lane.end_of_growing(end, choice.end) == End::Unknown => {
                return Admission::UnknownEnd;
            }
            Ending::Stored => {}
            Ending::Written => purpose.fix_ends(&mut lane.cursor, &batch),
        }
        let before = lane.cursor.sent;
        lane.give_out(&batch, purpose);
        let changed = ending == Ending::Written || purpose == Purpose::Trial || lane.cursor.sent > before;
        if changed {
            // Also where it waits already: it would be written without that.
            self.unwritten.insert(lane.id, lane.cursor.clone());
        }
        let deferred = lane.deferred(choice.start).unwrap_or_default();
        let half_delivered = choice.complete && lane.pending() <= lane.end / 2;
        // A batch that is alone in flight comes first after a restart, so that no control is taken from it.
        let ask_to_settle = lane.cursor.sent > before && lane.in_flight().0 > 1 && self.ask_to_settle();
        let partition = self.partitions.get_mut(key);
        if let Some(partition) = partition.filter(|_| purpose == Purpose::Flow) {
            partition.forming = false;
            partition.note_given_out(choice.lane.segment);
            if let Some(mark) = shared_at {
                partition.turns.note(&mark, choice.lane.segment < mark.from);
            }
            self.enqueue(key);
        }
        let behind = |(segment, _): &(&SegmentId, &SegmentState)| **segment > choice.lane.segment;
        let next = self.segments.range(choice.lane.segment..).find(behind).filter(|_| half_delivered);
        Admission::Admitted(Admitted {
            has_ready: !self.ready.is_empty(),
            is_only: self.partitions.len() == 1,
            next_segment: next.filter(|(_, next)| next.frames.is_some()).map(|(segment, _)| *segment),
            ask_to_settle,
            deferred,
        })
    }

    /// Whether somebody is to be asked to settle: nobody is yet.
    fn ask_to_settle(&mut self) -> bool {
        !std::mem::replace(&mut self.settle_asked, true)
    }

    /// A lane that is not delivered, also of a segment that was abandoned.
    fn lane(&self, key: &str, lane: LaneId) -> Option<&Lane> {
        let abandoned = || self.segments.get(&lane.segment)?.abandoned.get(key).filter(|of| of.id == lane);
        self.partitions.get(key).and_then(|partition| partition.lane(lane)).or_else(abandoned)
    }

    /// The same, to be changed.
    fn lane_mut(&mut self, key: &str, lane: LaneId) -> Option<&mut Lane> {
        let abandoned = self.segments.get_mut(&lane.segment).and_then(|segment| segment.abandoned.get_mut(key));
        let current = self.partitions.get_mut(key).and_then(|partition| partition.lane_mut(lane));
        current.or(abandoned.filter(|of| of.id == lane))
    }

    /// The cursor of a lane as it is now.
    pub(super) fn cursor(&self, key: &str, lane: LaneId) -> Option<LaneCursor> {
        self.lane(key, lane).map(|lane| lane.cursor.clone())
    }

    /// Has a batch that was not put in flight after all end where its file says already: when it is, it ends there, as it would after
    /// a restart. Where one that is given out, or was, would be divided by that, the file is written again without.
    pub(super) fn keep_ends(&mut self, key: &str, lane: LaneId, purpose: Purpose, batch: &Range<u64>) {
        if let Some(of) = self.lane_mut(key, lane) {
            if !of.is_divided_by(purpose, batch) {
                purpose.fix_ends(&mut of.cursor, batch);
            }
            let cursor = of.cursor.clone();
            self.unwritten.insert(lane, cursor);
        }
    }

    /// Notes that the cursors are about to be written: the next acknowledgement asks for that again.
    pub(super) fn start_settling(&mut self) {
        self.settle_asked = false;
    }

    /// The cursors that changed since this was called last.
    pub(super) fn take_unwritten(&mut self) -> Cursors {
        std::mem::take(&mut self.unwritten)
    }

    /// The cursor of a lane in which this batch is given out.
    pub(super) fn cursor_of_given_out(&self, key: &str, lane: LaneId, batch: &Range<u64>) -> Option<LaneCursor> {
        let lane = self.lane(key, lane).filter(|lane| lane.is_given_out(batch))?;
        Some(lane.cursor.clone())
    }

    /// Cuts a batch that is given out where these records begin. Its parts come in its place, under ids of their own.
    pub(super) fn cut(&mut self, key: &str, lane: LaneId, batch: &Range<u64>, points: &[u64]) {
        if let Some(of) = self.lane_mut(key, lane) {
            of.cut(batch, points);
            let cursor = of.cursor.clone();
            self.unwritten.insert(lane, cursor);
        }
    }

    /// Acknowledges the records before `end` of a batch; the rest of it comes again. `None` if it is not given out.
    pub(super) fn ack(&mut self, key: &str, lane: LaneId, batch: &Range<u64>, end: u64) -> Option<Acked> {
        let of = self.lane_mut(key, lane)?;
        let (before, is_beside_flow) = (of.pending(), !of.is_in_flight(batch.start));
        if !of.ack(batch, end) {
            return None;
        }
        let (left, cursor) = (of.pending(), of.cursor.clone());
        self.unwritten.insert(lane, cursor);
        let mut segment_delivered = false;
        // Of a segment that was abandoned, that is known later.
        if self.is_known(lane.segment) {
            self.pending_records -= before - left;
            segment_delivered = left == 0 && self.active != Some(lane.segment) && self.end_lane(key, lane.segment);
        }
        if is_beside_flow {
            // No delivery step is released afterwards.
            self.forget_if_empty(key);
        }
        Some(Acked { ask_to_settle: self.ask_to_settle(), segment_delivered })
    }

    /// Removes a lane that is delivered; true if all of its segment is.
    fn end_lane(&mut self, key: &str, segment: SegmentId) -> bool {
        self.partitions.get_mut(key).map(|partition| partition.lanes.remove(&segment));
        self.segments.get_mut(&segment).is_some_and(|segment| {
            segment.undelivered -= 1;
            segment.undelivered == 0
        })
    }

    /// See [`Lane::gap_room`].
    pub(super) fn gap_room(&self, key: &str, lane: LaneId, records: &Range<u64>) -> Option<GapRoom> {
        self.partitions.get(key)?.lane(lane)?.gap_room(records)
    }

    /// Withdraws records: gives them out to nobody, and acknowledges them. `None` if they were given out.
    pub(super) fn withdraw(&mut self, key: &str, lane: LaneId, records: &Range<u64>) -> Option<Acked> {
        let of = self.partitions.get_mut(key)?.lane_mut(lane);
        let of = of.filter(|lane| lane.gap_room(records) == Some(GapRoom::Enough))?;
        Purpose::Control.fix_ends(&mut of.cursor, records);
        of.give_out(records, Purpose::Control);
        self.ack(key, lane, records, records.end)
    }

    /// Has a partition given out if it waits and may be, and forgets it if nothing is left of it.
    fn forget_if_empty(&mut self, key: &str) {
        let Some((key, partition)) = self.partitions.get_key_value(key) else { return };
        let key = key.clone();
        if partition.lanes.is_empty() && partition.tasks == 0 {
            self.partitions.remove(&key);
        } else {
            self.enqueue(&key);
        }
    }
}

/// Beside the flow.
impl Index {
    /// Changes a lane in which this batch is given out: its partition may go on, and its cursor is to be written. `None` if
    /// the batch is not given out, or the change is refused.
    fn change(
        &mut self,
        key: &str,
        lane: LaneId,
        batch: &Range<u64>,
        change: impl FnOnce(&mut Lane),
    ) -> Option<Changed> {
        let of = self.lane_mut(key, lane).filter(|lane| lane.is_given_out(batch))?;
        change(of);
        let cursor = of.cursor.clone();
        self.unwritten.insert(lane, cursor);
        self.forget_if_empty(key);
        Some(Changed { ask_to_settle: self.ask_to_settle() })
    }

    /// Parks a batch that is given out; `None` if it is not, or if too many of its partition are parked.
    pub(super) fn park(&mut self, key: &str, lane: LaneId, batch: &Range<u64>) -> Option<Changed> {
        let lanes = self.partitions.get(key)?.lanes.values();
        let is_parked = self.lane(key, lane)?.is_parked(batch.start);
        if !is_parked && lanes.flat_map(Lane::parked).count() >= MAX_PARKED {
            return None;
        }
        self.change(key, lane, batch, |lane| lane.park(batch.start))
    }

    /// Puts a batch back that is given out: it comes again in its turn, or is parked again.
    pub(super) fn give_back(&mut self, key: &str, lane: LaneId, batch: &Range<u64>) -> Option<Changed> {
        self.change(key, lane, batch, |lane| lane.put_back(batch.start))
    }

    /// Notes for how long a batch was deferred in all, if it is parked.
    pub(super) fn note_deferred(&mut self, key: &str, lane: LaneId, start: u64, seconds: u64) -> Option<Changed> {
        let of = self.lane_mut(key, lane).filter(|lane| lane.is_parked(start))?;
        of.note_deferred(start, seconds);
        let cursor = of.cursor.clone();
        self.unwritten.insert(lane, cursor);
        Some(Changed { ask_to_settle: self.ask_to_settle() })
    }

    /// Parks what flows of a partition before a place and is not in flight, where it may be read and lies on the same side of
    /// the mark as a batch: it does not flow before what lies on the other. Returns how many records that are.
    pub(super) fn park_before(&mut self, key: &str, batch: BatchStart, before: BatchStart) -> (u64, Changed) {
        let mut parked = 0;
        if let Some(partition) = self.partitions.get_mut(key) {
            let mark = partition.mark(&self.readable);
            let is_new = |segment: SegmentId| mark.is_some_and(|mark| mark.from <= segment);
            let lanes = partition.lanes.range_mut(..=before.segment);
            let lanes = lanes.filter(|(segment, _)| is_new(**segment) == is_new(batch.segment));
            for (segment, lane) in lanes.filter(|(segment, _)| !self.readable.held.contains(segment)) {
                let limit = if *segment == before.segment { before.record } else { lane.end };
                let of_lane = lane.park_before(limit);
                if of_lane > 0 {
                    self.unwritten.insert(lane.id, lane.cursor.clone());
                }
                parked += of_lane;
            }
            self.forget_if_empty(key);
        }
        (parked, Changed { ask_to_settle: parked > 0 && self.ask_to_settle() })
    }

    /// What is parked of a partition and may be read, in order: where it begins, how many records it has, and for how many
    /// seconds it was deferred.
    pub(super) fn parked(&self, key: &str) -> Vec<(BatchStart, u64, u64)> {
        let Some(partition) = self.partitions.get(key) else { return Vec::new() };
        let lanes = partition.lanes.values().filter(|lane| !self.readable.held.contains(&lane.id.segment));
        let parked = lanes.flat_map(|lane| {
            let segment = lane.id.segment;
            lane.parked().map(move |of| (BatchStart { segment, record: of.start }, of.records, of.deferred_seconds))
        });
        parked.collect()
    }

    /// The partitions of which something is parked.
    pub(super) fn with_parked(&self) -> Vec<Arc<str>> {
        let has_parked = |partition: &Partition| partition.lanes.values().any(|lane| lane.parked().next().is_some());
        self.partitions.iter().filter(|(_, partition)| has_parked(partition)).map(|(key, _)| key.clone()).collect()
    }

    /// How many records of a partition may be a control: those before a place, and those behind it.
    pub(super) fn unsent(&self, key: &str, at: BatchStart) -> (u64, u64) {
        let Some(partition) = self.partitions.get(key) else { return (0, 0) };
        partition.readable(&self.readable).fold((0, 0), |(before, behind), lane| {
            let before_it = match lane.id.segment.cmp(&at.segment) {
                std::cmp::Ordering::Less => lane.unsent(),
                std::cmp::Ordering::Equal => lane.unsent_before(at.record),
                std::cmp::Ordering::Greater => 0,
            };
            (before + before_it, behind + lane.unsent() - before_it)
        })
    }
}

/// Measures.
impl Index {
    /// Whether all that ever came is delivered.
    pub(super) fn is_drained(&self) -> bool {
        self.is_recovered() && self.pending_records == 0
    }

    /// When the oldest record that waits was appended, in nanoseconds since the epoch. Where its segment is not `open` yet,
    /// it is the timestamp of the earliest one there.
    pub(super) fn oldest_appended<'a>(&self, open: impl FnOnce(SegmentId) -> Option<&'a Segment>) -> Option<u64> {
        let waiting = || self.partitions.values().filter_map(Partition::first_flowing);
        let oldest = waiting().map(|(lane, _)| lane.id.segment).min()?;
        let open = open(oldest);
        let appended_at = |(lane, first): (&Lane, u64)| {
            let known = open.and_then(|open| open.appended_at(lane.id.lane, first));
            known.unwrap_or(lane.first_timestamp)
        };
        waiting().filter(|(lane, _)| lane.id.segment == oldest).map(appended_at).min()
    }

    pub(super) fn watermark(&self) -> Watermark {
        let last = |(key, partition): (&Arc<str>, &Partition)| {
            partition.lanes.last_key_value().map(|(segment, lane)| (key.clone(), *segment, lane.end))
        };
        let segment = self.segments.last_key_value().map(|(segment, _)| *segment);
        Watermark { segment, lanes: self.partitions.iter().filter_map(last).collect() }
    }

    pub(super) fn has_delivered(&self, watermark: &Watermark) -> bool {
        // A segment that was abandoned meanwhile still has what was accepted.
        if self.readable.unrecovered.first().is_some_and(|first| Some(*first) <= watermark.segment) {
            return false;
        }
        watermark.lanes.iter().all(|(key, segment, end)| {
            let Some(partition) = self.partitions.get(key) else { return true };
            let mut before = partition.lanes.range(..=*segment);
            before.all(|(of, lane)| of == segment && lane.cursor.acked >= *end)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOW: Asked = Asked::Flow(None);

    fn id(number: u64) -> SegmentId {
        SegmentId { number, random: 1000 - number }
    }

    fn lane(segment: u64, lane: u32) -> LaneId {
        LaneId { segment: id(segment), lane }
    }

    fn add(index: &mut Index, number: u64, lanes: &[(&str, u64)], acked: u64) -> bool {
        let segment = id(number);
        let summary = |(key, records): &(&str, u64)| LaneSummary {
            key: Arc::from(*key),
            records: *records,
            first_timestamp: number,
            last_timestamp: number,
        };
        let cursors = (0..8).map(|lane| (lane, LaneCursor { acked, ..LaneCursor::default() })).collect();
        let lanes = lanes.iter().map(summary).collect();
        if index.is_known(segment) {
            index.add_unrecovered(segment, cursors);
        }
        let delivered = index.add_sealed(segment, Seal { frames: 0, lanes });
        index.enqueue_all();
        delivered
    }

    /// An index with an active segment, number 1, of these lanes.
    fn with_active(lanes: &[(&str, u64)]) -> Index {
        let mut index = Index::default();
        add(&mut index, 1, lanes, 0);
        index.active = Some(id(1));
        index
    }

    /// Puts the next batch of a partition in flight, if it may be this one.
    fn give_out(index: &mut Index, key: &str, batch: &Range<u64>) -> Option<Admitted> {
        let choice = index.choose(key, FLOW).filter(|choice| choice.start == batch.start)?;
        match index.admit(&Arc::from(key), FLOW, &choice, batch.end, Ending::Stored) {
            Admission::Admitted(admitted) => Some(admitted),
            _ => None,
        }
    }

    /// Puts a batch in flight and acknowledges it; whether its segment is delivered then.
    fn deliver(index: &mut Index, key: &str, (segment, number): (u64, u32), batch: Range<u64>) -> Option<bool> {
        give_out(index, key, &batch);
        index.ack(key, lane(segment, number), &batch, batch.end).map(|acked| acked.segment_delivered)
    }

    #[test]
    fn a_partition_is_given_out_once_until_it_is_released() {
        let mut index = Index::default();
        add(&mut index, 1, &[("a", 2)], 0);
        let key = index.checkout().unwrap();
        assert_eq!(index.checkout(), None);
        deliver(&mut index, "a", (1, 0), 0..1);
        index.release(&key, false);
        assert_eq!(index.checkout().as_deref(), Some("a"));
        assert_eq!(deliver(&mut index, "a", (1, 0), 1..2), Some(true));
        index.release(&key, false);
        assert_eq!(index.checkout(), None);
        assert_eq!(index.pending_records, 0);
    }

    #[test]
    fn lanes_are_delivered_in_the_order_of_their_segments() {
        let mut index = Index::default();
        add(&mut index, 3, &[("a", 1)], 0);
        add(&mut index, 2, &[("b", 1), ("a", 4)], 0);
        let chosen = index.choose("a", FLOW).map(|choice| (choice.lane, choice.end));
        assert_eq!(chosen, Some((lane(2, 1), 4)));
        deliver(&mut index, "a", (2, 1), 0..4);
        assert_eq!(index.choose("a", FLOW).map(|choice| choice.lane.segment.number), Some(3));
    }

    /// Puts the next batch of a partition in flight, of so many records at most, and acknowledges it: its segment and
    /// its first record.
    fn deliver_next(index: &mut Index, key: &str, records: u64) -> Option<(u64, u64)> {
        let choice = index.choose(key, FLOW)?;
        let batch = choice.start..choice.end.min(choice.start + records);
        let admission = index.admit(&Arc::from(key), FLOW, &choice, batch.end, Ending::Stored);
        assert!(matches!(admission, Admission::Admitted(_)));
        index.ack(key, choice.lane, &batch, batch.end);
        Some((choice.lane.segment.number, batch.start))
    }

    #[test]
    fn behind_a_mark_new_records_share_the_requests_with_the_backlog_and_each_half_keeps_its_order() {
        let mut index = Index::default();
        add(&mut index, 1, &[("a", 2), ("b", 1)], 0);
        add(&mut index, 2, &[("a", 3)], 0);
        index.set_mark(0.25);
        add(&mut index, 3, &[("a", 6)], 0);
        add(&mut index, 4, &[("a", 1)], 0);
        let given_out: Vec<_> = std::iter::from_fn(|| deliver_next(&mut index, "a", 1)).collect();
        let (three_of_four, rest) =
            ([(3, 0), (3, 1), (3, 2), (1, 0), (3, 3), (3, 4), (3, 5), (1, 1)], [(4, 0), (2, 0)]);
        assert_eq!(given_out, [&three_of_four[..], &rest, &[(2, 1), (2, 2)]].concat());
        assert_eq!(deliver_next(&mut index, "b", 1), Some((1, 0)), "one that has no new records");
        assert_eq!(index.pending_records, 0);
    }

    #[test]
    fn a_request_in_flight_of_one_half_counts_for_the_other_and_a_batch_that_failed_comes_again() {
        let mut index = Index::default();
        add(&mut index, 1, &[("a", 4)], 0);
        index.set_mark(0.5);
        add(&mut index, 2, &[("a", 4)], 0);
        let key = index.checkout().unwrap();
        assert_eq!(index.partitions["a"].given_out, BTreeSet::new());
        let new = index.choose("a", FLOW).unwrap();
        assert_eq!(new.lane.segment, id(2));
        assert!(matches!(index.admit(&key, FLOW, &new, 2, Ending::Stored), Admission::Admitted(_)));
        assert_eq!(index.checkout(), None, "one request at a time");
        let again = Asked::Flow(Some(BatchStart { segment: id(2), record: 0 }));
        assert_eq!(
            index.choose("a", again).map(|choice| (choice.lane.segment, choice.fixed_end)),
            Some((id(2), Some(2)))
        );
        index.allow("a", 1);
        assert_eq!(index.choose("a", FLOW).map(|choice| choice.lane.segment), Some(id(1)), "the other half");
        index.ack("a", lane(2, 0), &(0..2), 2);
        assert_eq!(index.choose("a", FLOW).map(|choice| choice.lane.segment), Some(id(1)), "it is its turn");
        deliver(&mut index, "a", (1, 0), 0..4);
        assert_eq!(index.partitions["a"].given_out, BTreeSet::from([id(1)]), "those that are looked at");
    }

    #[test]
    fn the_mark_goes_on_and_what_was_new_becomes_backlog() {
        let mut index = Index::default();
        add(&mut index, 1, &[("a", 2)], 0);
        let waiting = |index: &Index| index.flowing_behind_mark("a").map(|(_, _, records)| records).sum::<u64>();
        assert_eq!(waiting(&index), 0, "there is no mark");
        index.set_mark(0.0);
        add(&mut index, 2, &[("a", 3)], 0);
        assert_eq!(waiting(&index), 3);
        assert_eq!(deliver_next(&mut index, "a", 1), Some((2, 0)));
        index.set_mark(0.0);
        add(&mut index, 3, &[("a", 1)], 0);
        assert_eq!(waiting(&index), 1);
        let given_out: Vec<_> = std::iter::from_fn(|| deliver_next(&mut index, "a", 2)).collect();
        assert_eq!(given_out, [(3, 0), (1, 0), (2, 1)]);
    }

    #[test]
    fn the_mark_of_a_partition_leaves_the_others_in_their_order() {
        let mut index = Index::default();
        add(&mut index, 1, &[("a", 2), ("b", 2)], 0);
        assert_eq!(index.set_mark_of(&Arc::from("a"), 0.0), None);
        add(&mut index, 2, &[("a", 1), ("b", 1)], 0);
        let mut given_out = |key| -> Vec<_> { std::iter::from_fn(|| deliver_next(&mut index, key, 2)).collect() };
        assert_eq!(given_out("a"), [(2, 0), (1, 0)]);
        assert_eq!(given_out("b"), [(1, 0), (2, 0)]);
        add(&mut index, 3, &[("a", 1), ("b", 1)], 0);
        index.set_mark_of(&Arc::from("a"), 0.0);
        index.join_mark(&Arc::from("b"));
        add(&mut index, 4, &[("b", 1)], 0);
        assert_eq!(deliver_next(&mut index, "b", 2), Some((4, 0)), "it has the same");
    }

    #[test]
    fn a_bad_stretch_of_new_records_parks_nothing_of_the_backlog() {
        let mut index = Index::default();
        add(&mut index, 1, &[("a", 9)], 0);
        index.set_mark(0.0);
        add(&mut index, 2, &[("a", 9)], 0);
        let at = |number, record| BatchStart { segment: id(number), record };
        let (parked, _) = index.park_before("a", at(2, 0), at(2, 4));
        assert_eq!(parked, 4);
        assert_eq!(index.parked("a"), [(at(2, 0), 4, 0)]);
        let (parked, _) = index.park_before("a", at(1, 0), at(2, 6));
        assert_eq!(parked, 9, "nor the other way round");
        assert_eq!(index.parked("a"), [(at(1, 0), 9, 0), (at(2, 0), 4, 0)]);
    }

    #[test]
    fn the_backlog_has_the_turn_of_new_records_that_linger() {
        let mut index = Index::default();
        add(&mut index, 1, &[("a", 2)], 0);
        index.set_mark(0.0);
        assert!(!index.give_to_backlog("a"), "there are no new records");
        add(&mut index, 2, &[("a", 2)], 0);
        let beside = [1, 2].map(|number| index.is_beside_backlog("a", BatchStart { segment: id(number), record: 0 }));
        assert_eq!(beside, [false, true]);
        assert!(index.give_to_backlog("a"));
        let given_out: Vec<_> = std::iter::from_fn(|| deliver_next(&mut index, "a", 1)).collect();
        assert_eq!(given_out, [(1, 0), (2, 0), (2, 1), (1, 1)]);
        assert!(!index.is_beside_backlog("a", BatchStart { segment: id(2), record: 1 }), "there is none any more");
    }

    #[test]
    fn a_mark_ends_the_active_segment_unless_all_is_delivered() {
        let mut index = with_active(&[("a", 2)]);
        assert_eq!(index.set_mark(0.0), Some(id(1)));
        assert_eq!(index.flowing_behind_mark("a").next(), None);
        deliver(&mut index, "a", (1, 0), 0..2);
        assert_eq!(index.set_mark(0.0), None);
        assert_eq!(index.readable.mark.map(|mark| mark.from), Some(id(1)), "its records are new");
    }

    #[test]
    fn while_a_backlog_rests_new_records_go_on() {
        let mut index = Index::default();
        add(&mut index, 1, &[("a", 2)], 0);
        index.set_mark(0.5);
        let key = index.checkout().unwrap();
        index.rest(&key, true);
        index.release(&key, false);
        assert_eq!((index.checkout(), index.choose("a", FLOW)), (None, None));
        add(&mut index, 2, &[("a", 2)], 0);
        assert_eq!(index.checkout(), Some(key.clone()));
        assert!(!index.give_to_backlog("a"), "not even if those linger");
        let given_out: Vec<_> = std::iter::from_fn(|| deliver_next(&mut index, "a", 1)).collect();
        assert_eq!(given_out, [(2, 0), (2, 1)]);
        index.release(&key, true);
        assert_eq!(index.checkout(), None);
        index.rest(&key, false);
        assert_eq!(index.checkout(), Some(key));
        assert_eq!(deliver_next(&mut index, "a", 2), Some((1, 0)));
    }

    /// Otherwise each segment would be opened again for each partition.
    #[test]
    fn partitions_are_given_out_in_the_order_of_their_segments() {
        let mut index = Index::default();
        let keys: Vec<_> = (0..100).map(|n| n.to_string()).collect();
        for (segment, keys) in [(2, &keys[50..]), (1, &keys[..50])] {
            let lanes: Vec<_> = keys.iter().map(|key| (&**key, 1)).collect();
            add(&mut index, segment, &lanes, 0);
            index.ready.clear();
            index.partitions.values_mut().for_each(|partition| (partition.tasks, partition.forming) = (0, false));
        }
        index.enqueue_all();
        let given_out = std::iter::from_fn(|| index.checkout());
        assert!(given_out.map(|key| key.to_string()).eq(keys));
    }

    #[test]
    fn nothing_overtakes_a_segment_that_is_not_recovered() {
        let mut index = Index::default();
        add(&mut index, 1, &[("a", 1)], 0);
        index.add_unrecovered(id(2), LaneCursors::new());
        add(&mut index, 3, &[("b", 1)], 0);
        assert_eq!(index.choose("b", FLOW), None);
        assert_eq!(index.hold(id(2)), Held::First);
        assert!(index.choose("b", FLOW).is_some(), "but one that cannot be read");
        index.let_go(id(2));
        assert_eq!(index.choose("b", FLOW), None);
        add(&mut index, 2, &[("b", 7)], 0);
        assert_eq!(index.choose("b", FLOW).map(|choice| choice.lane.segment.number), Some(2));
        let ready: BTreeSet<_> = std::iter::from_fn(|| index.checkout()).collect();
        assert_eq!(ready, BTreeSet::from([Arc::from("a"), Arc::from("b")]));
    }

    #[test]
    fn what_is_delivered_already_is_not_pending() {
        let mut index = Index::default();
        assert!(add(&mut index, 1, &[("a", 5)], 5));
        assert!(!add(&mut index, 2, &[("a", 6)], 5));
        assert_eq!(index.pending_records, 1);
    }

    #[test]
    fn the_oldest_segment_is_evicted_with_what_waits_there() {
        let mut index = Index::default();
        add(&mut index, 1, &[("a", 5), ("b", 1)], 0);
        add(&mut index, 2, &[("a", 7)], 0);
        deliver(&mut index, "a", (1, 0), 0..2);
        deliver(&mut index, "b", (1, 1), 0..1);
        let reported =
            Gap { key: Arc::from("a"), reason: LossReason::Expired, records: 9, first: None, last: None, signal: None };
        index.segments.get_mut(&id(1)).unwrap().reported = vec![(1, reported.clone()), (4, reported.clone())];
        let time = Some(system_time(1));
        let missing =
            Gap { key: Arc::from("a"), reason: LossReason::Evicted, records: 2, first: time, last: time, signal: None };
        assert_eq!(index.oldest(), Some(id(1)));
        assert_eq!(
            index.give_up(id(1), LossReason::Evicted),
            (vec![missing], vec![reported]),
            "the other one was delivered"
        );
        assert_eq!(index.pending_records, 7);
        assert_eq!(index.choose("a", FLOW).map(|choice| choice.lane.segment.number), Some(2));
        // A response to what was in flight changes nothing.
        assert_eq!(deliver(&mut index, "a", (1, 0), 2..5), None);
        index.active = Some(id(2));
        assert_eq!(index.oldest(), None, "the active one stays");
    }

    #[test]
    fn a_watermark_is_not_reached_by_abandoning_a_segment() {
        let mut index = Index::default();
        add(&mut index, 1, &[("a", 2)], 0);
        let watermark = index.watermark();
        index.active = Some(id(1));
        index.abandon_active(9);
        assert!(!index.has_delivered(&watermark));
        add(&mut index, 1, &[("a", 2)], 0);
        assert!(!index.has_delivered(&watermark));
        deliver(&mut index, "a", (1, 0), 0..2);
        assert!(index.has_delivered(&watermark));
    }

    #[test]
    fn a_segment_that_was_abandoned_goes_on_where_it_was() {
        let mut index = with_active(&[("a", 5)]);
        deliver(&mut index, "a", (1, 0), 0..2);
        give_out(&mut index, "a", &(2..3));
        index.abandon_active(9);
        assert_eq!(index.pending_records, 0);
        // The response to what was in flight.
        assert_eq!(deliver(&mut index, "a", (1, 0), 2..3), Some(false));
        assert_eq!(index.take_unwritten().get(&lane(1, 0)).map(|cursor| cursor.acked), Some(3));
        add(&mut index, 1, &[("a", 5)], 0);
        assert_eq!(index.choose("a", FLOW).map(|choice| choice.start), Some(3));
        assert_eq!(index.pending_records, 2);
    }

    /// It is found again in a moment, and the response comes after that.
    #[test]
    fn what_was_in_flight_when_its_segment_was_abandoned_is_acknowledged_when_that_is_found_again() {
        let mut index = with_active(&[("a", 6)]);
        index.allow("a", 2);
        let key = index.checkout().unwrap();
        give_out(&mut index, "a", &(0..2)).unwrap();
        assert_eq!(index.checkout(), Some(key.clone()));
        give_out(&mut index, "a", &(2..4)).unwrap();
        index.abandon_active(9);
        add(&mut index, 1, &[("a", 6)], 0);
        assert_eq!(index.pending_records, 6);
        assert_eq!(index.choose("a", FLOW).map(|choice| choice.start), Some(4), "both are in flight");
        for (batch, is_last) in [(2..4, false), (0..2, false), (4..6, true)] {
            assert_eq!(deliver(&mut index, "a", (1, 0), batch), Some(is_last));
        }
        assert_eq!(index.pending_records, 0);
    }

    #[test]
    fn what_was_in_flight_when_its_segment_was_abandoned_comes_again_if_it_failed_meanwhile() {
        let asks = |index: &mut Index| index.put_back("a", BatchStart { segment: id(1), record: 0 });
        let gives_back = |index: &mut Index| assert!(index.give_back("a", lane(1, 0), &(0..2)).is_some());
        for fail in [asks as fn(&mut Index), gives_back] {
            let mut index = with_active(&[("a", 6)]);
            index.allow("a", 2);
            let key = index.checkout().unwrap();
            give_out(&mut index, "a", &(0..2)).unwrap();
            assert_eq!(index.checkout(), Some(key.clone()));
            index.abandon_active(9);
            fail(&mut index);
            index.release(&key, false);
            add(&mut index, 1, &[("a", 6)], 0);
            let choice = index.choose("a", FLOW).unwrap();
            assert_eq!(choice.waiting(), 0..2);
        }
    }

    /// A parked batch that is tried, one that is cut, and the first records of one.
    #[test]
    fn a_segment_that_was_abandoned_keeps_how_its_batches_end() {
        for is_back in [false, true] {
            let mut index = with_active(&[("a", 9)]);
            index.allow("a", 3);
            for batch in [0..3, 3..6, 6..9] {
                give_out(&mut index, "a", &batch).unwrap();
            }
            index.park("a", lane(1, 0), &(0..3)).unwrap();
            let trial = Asked::Trial(BatchStart { segment: id(1), record: 0 });
            let choice = index.choose("a", trial).unwrap();
            assert!(matches!(index.admit(&Arc::from("a"), trial, &choice, 3, Ending::Stored), Admission::Admitted(_)));
            index.abandon_active(9);
            if is_back {
                add(&mut index, 1, &[("a", 9)], 0);
            }
            assert!(index.cursor_of_given_out("a", lane(1, 0), &(6..9)).is_some());
            index.cut("a", lane(1, 0), &(3..6), &[5]);
            assert!(index.ack("a", lane(1, 0), &(6..9), 7).is_some());
            assert!(index.ack("a", lane(1, 0), &(0..3), 3).is_some(), "the trial, {is_back}");
            if !is_back {
                add(&mut index, 1, &[("a", 9)], 0);
            }
            assert_eq!(index.pending_records, 5);
            let given_out = std::iter::from_fn(|| {
                let batch = index.choose("a", FLOW)?.waiting();
                deliver(&mut index, "a", (1, 0), batch.clone()).map(|_| batch)
            });
            assert_eq!(given_out.collect::<Vec<_>>(), [3..5, 5..6, 7..9], "{is_back}");
        }
    }

    /// Its end is written when an append of the same segment fails.
    #[test]
    fn a_batch_whose_end_is_written_ends_there_also_if_its_segment_is_abandoned_meanwhile() {
        for is_back in [false, true] {
            let mut index = with_active(&[("a", 5)]);
            let choice = index.choose("a", FLOW).unwrap();
            index.abandon_active(9);
            if is_back {
                add(&mut index, 1, &[("a", 5)], 0);
            } else {
                let admission = index.admit(&Arc::from("a"), FLOW, &choice, 4, Ending::Written);
                assert!(matches!(admission, Admission::Outdated));
            }
            index.keep_ends("a", lane(1, 0), Purpose::Flow, &(0..4));
            assert_eq!(index.take_unwritten()[&lane(1, 0)].ends, [4]);
            if !is_back {
                add(&mut index, 1, &[("a", 5)], 0);
            }
            assert_eq!(index.choose("a", FLOW).and_then(|choice| choice.fixed_end), Some(4), "{is_back}");
        }
    }

    /// A flow step gives out what the ends of a control would divide, while those are written.
    #[test]
    fn a_batch_that_is_given_out_is_divided_by_no_end_of_another_one_that_was_not() {
        let mut index = Index::default();
        add(&mut index, 1, &[("a", 12)], 0);
        give_out(&mut index, "a", &(0..10)).unwrap();
        index.keep_ends("a", lane(1, 0), Purpose::Control, &(5..6));
        index.keep_ends("a", lane(1, 0), Purpose::Flow, &(0..4));
        assert_eq!(index.take_unwritten()[&lane(1, 0)].ends, [0; 0]);
        index.give_back("a", lane(1, 0), &(0..10)).unwrap();
        assert_eq!(index.choose("a", FLOW).and_then(|choice| choice.fixed_end), Some(10));
        // Behind it nothing is given out.
        index.keep_ends("a", lane(1, 0), Purpose::Control, &(11..12));
        assert_eq!(index.take_unwritten()[&lane(1, 0)].ends, [12, 11]);
    }

    /// What the disk has not kept of a segment is lost, and so is what was in flight of it.
    #[test]
    fn what_is_not_found_of_a_segment_that_was_abandoned_is_known_and_the_other_lanes_stay() {
        let mut index = with_active(&[("acme", 3), ("", 6)]);
        deliver(&mut index, "", (1, 1), 0..2);
        give_out(&mut index, "", &(2..5));
        index.abandon_active(9);
        let summary =
            |key: &str, records| LaneSummary { key: Arc::from(key), records, first_timestamp: 0, last_timestamp: 0 };
        let found = Seal { frames: 0, lanes: vec![summary("", 0), summary("", 4)] };
        let mut missing = index.missing_from(id(1), &found);
        missing.sort();
        assert_eq!(missing, [(Arc::from(""), 2), (Arc::from("acme"), 3)]);
        index.add_sealed(id(1), found);
        index.enqueue_all();
        assert_eq!(index.pending_records, 2);
        let choice = index.choose("", FLOW).unwrap();
        assert_eq!((choice.lane, choice.waiting()), (lane(1, 1), 2..4), "what is left of the batch in flight");
        assert!(index.choose("acme", FLOW).is_none());
    }

    #[test]
    fn batches_are_acknowledged_in_any_order() {
        let mut index = Index::default();
        add(&mut index, 1, &[("a", 12)], 0);
        index.allow("a", 2);
        index.checkout().unwrap();
        let (lane, at) = (lane(1, 0), |record| BatchStart { segment: id(1), record });
        let start = |index: &Index, asked| index.choose("a", Asked::Flow(asked)).map(|choice| choice.start);
        for batch in [0..3, 3..6, 6..9] {
            assert_eq!(start(&index, None), Some(batch.start));
            assert!(give_out(&mut index, "a", &batch).is_some());
            index.checkout();
        }
        assert_eq!(index.checkout(), None, "three are in flight");
        let acked = |index: &mut Index, batch: Range<u64>| {
            index.ack("a", lane, &batch, batch.end).map(|_| index.unwritten[&lane].acked)
        };
        assert_eq!(acked(&mut index, 3..6), Some(0));
        assert_eq!(acked(&mut index, 3..6), None, "once");
        assert_eq!((start(&index, Some(at(0))), index.pending_records), (Some(0), 9));
        // The halves of what was split come before what was never given out.
        index.cut("a", lane, &(6..9), &[7]);
        assert_eq!((start(&index, Some(at(6))), start(&index, None)), (Some(6), Some(6)));
        assert!(give_out(&mut index, "a", &(6..7)).is_some());
        assert_eq!(start(&index, None), Some(7));
        assert!(give_out(&mut index, "a", &(7..9)).is_some());
        assert_eq!(acked(&mut index, 0..3), Some(6));
        assert_eq!(acked(&mut index, 7..9), Some(6));
        assert_eq!(acked(&mut index, 6..7), Some(9));
        assert_eq!((start(&index, None), index.pending_records), (Some(9), 3));
    }

    #[test]
    fn a_choice_that_does_not_hold_any_more_changes_nothing() {
        let mut index = Index::default();
        add(&mut index, 1, &[("a", 12)], 0);
        add(&mut index, 2, &[("a", 1)], 0);
        let (key, lane) = (Arc::from("a"), lane(1, 0));
        index.allow("a", 2);
        let choice = index.choose("a", FLOW).unwrap();
        assert!(!index.holds("a", FLOW, &choice, 13), "there are no more than 12");
        let mut admit = |choice: &Choice, end| {
            matches!(index.admit(&key, FLOW, choice, end, Ending::Stored), Admission::Admitted(_))
        };
        assert!(admit(&choice, 4));
        assert!(!admit(&choice, 4), "it is in flight");
        let choice = index.choose("a", FLOW).unwrap();
        index.give_up(id(1), LossReason::Evicted);
        let outdated = index.admit(&key, FLOW, &choice, 12, Ending::Stored);
        assert!(matches!(outdated, Admission::Outdated), "its lane is gone");
        assert_eq!(index.ack("a", lane, &(4..12), 12), None);
        assert_eq!(index.pending_records, 1);
    }

    #[test]
    fn a_watermark_is_reached_when_what_came_before_it_is_delivered() {
        let mut index = Index::default();
        add(&mut index, 1, &[("a", 2), ("b", 1)], 0);
        let watermark = index.watermark();
        add(&mut index, 2, &[("a", 9)], 0);
        deliver(&mut index, "a", (1, 0), 0..2);
        assert!(!index.has_delivered(&watermark));
        deliver(&mut index, "b", (1, 1), 0..1);
        assert!(index.has_delivered(&watermark));
    }

    #[test]
    fn a_segment_that_cannot_be_read_stays_behind_and_the_rest_goes_on() {
        let mut index = Index::default();
        add(&mut index, 1, &[("a", 2), ("b", 1)], 0);
        add(&mut index, 2, &[("a", 9)], 0);
        assert_eq!([index.hold(id(1)), index.hold(id(1))], [Held::First, Held::Already]);
        assert_eq!(deliver(&mut index, "a", (2, 0), 0..9), Some(true));
        assert_eq!((index.choose("a", FLOW), index.choose("b", FLOW)), (None, None));
        assert!(index.has_only_held() && !index.is_drained());
        index.let_go(id(1));
        assert_eq!(deliver(&mut index, "a", (1, 0), 0..2), Some(false));
        assert_eq!(deliver(&mut index, "b", (1, 1), 0..1), Some(true));
        assert!(index.is_drained());
    }

    #[test]
    fn a_batch_that_is_in_flight_when_its_segment_cannot_be_read_comes_again_and_holds_up_nothing() {
        for has_later in [false, true] {
            let mut index = Index::default();
            add(&mut index, 1, &[("a", 2)], 0);
            if has_later {
                add(&mut index, 2, &[("a", 9)], 0);
            }
            let key = index.checkout().unwrap();
            give_out(&mut index, "a", &(0..2)).unwrap();
            index.hold(id(1));
            index.put_back("a", BatchStart { segment: id(1), record: 0 });
            assert_eq!(index.choose("a", FLOW).is_some(), has_later);
            index.release(&key, false);
            assert_eq!(index.checkout().is_some(), has_later);
            if has_later {
                assert_eq!(deliver(&mut index, "a", (2, 0), 0..9), Some(true));
                index.release(&key, true);
            }
            assert!(index.let_go(id(1)));
            assert_eq!(index.checkout(), Some(key));
            assert_eq!(deliver(&mut index, "a", (1, 0), 0..2), Some(true));
        }
    }

    #[test]
    fn a_segment_that_cannot_be_read_and_is_not_known_does_not_keep_others_from_being_evicted() {
        let mut index = Index::default();
        index.add_unrecovered(id(1), LaneCursors::new());
        add(&mut index, 2, &[("a", 9)], 0);
        assert_eq!(index.oldest(), None);
        index.hold(id(1));
        assert_eq!(index.oldest(), Some(id(2)));
        assert!(index.is_searched() && !index.is_recovered());
    }

    #[test]
    fn records_that_only_a_cursor_knows_of_are_missing() {
        let mut index = Index::default();
        let cursor = LaneCursor {
            acked: 3,
            acked_ahead: std::iter::once(5..7).collect(),
            ends: vec![9],
            ..LaneCursor::default()
        };
        index.add_unrecovered(id(1), LaneCursors::from([(0, cursor)]));
        let found = |records| {
            let lane = LaneSummary { key: Arc::from("a"), records, first_timestamp: 0, last_timestamp: 0 };
            Seal { frames: 1, lanes: vec![lane] }
        };
        assert_eq!(index.missing_from(id(1), &Seal { frames: 0, lanes: vec![] }), [(Arc::from(""), 4)]);
        assert_eq!(index.missing_from(id(1), &found(4)), [(Arc::from("a"), 3)]);
        assert_eq!(index.missing_from(id(1), &found(9)), []);
    }
}
