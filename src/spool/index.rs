//! [`Index`]: what waits to be delivered. It touches memory only: no file, no clock, no other lock but those of a segment's
//! entries.
//!
//! A *lane* is one partition in one segment. A partition's lanes are delivered one after the other, in the order of the
//! segments; partitions do not wait for one another. A batch comes out of the index in three steps: [`Index::choose`] says
//! which one is next, the caller reads it without the index, and [`Index::admit`] puts it in flight if the choice still
//! holds.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use super::cursor::{Cursors, LaneCursor, LaneCursors};
use super::entry::{EntryHead, system_time};
use super::gap::{Gap, Unreported};
use super::position::{BatchStart, LaneId};
use super::seal::Seal;
use super::segment::{LaneSummary, Segment};
use crate::observe::loss::LossReason;

/// At most so many batches of a lane are acknowledged before an earlier one; then the others wait for that one, since the
/// cursor says where each of them ends.
const MAX_ACKED_OUT_OF_ORDER: usize = 256;

/// A batch of a lane that was given out: where it ends, and its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LaneBatch {
    end: u64,
    state: BatchState,
}

/// The state of a batch that was given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BatchState {
    /// It is not acknowledged.
    InFlight,
    /// It is a part of one that was split, or was left over by one that became shorter, and waits to be given out.
    Split,
    /// It was acknowledged before an earlier one.
    Acked,
}

/// A lane: one partition in one segment.
#[derive(Debug)]
struct Lane {
    id: LaneId,
    /// How many records the lane has. The number grows while the segment is active.
    end: u64,
    cursor: LaneCursor,
    /// The batches that were given out, by their first record. They do not overlap.
    batches: BTreeMap<u64, LaneBatch>,
    first_timestamp: u64,
    last_timestamp: u64,
}

impl Lane {
    fn new(id: LaneId, end: u64, cursor: LaneCursor, (first_timestamp, last_timestamp): (u64, u64)) -> Self {
        Self { id, end, cursor, batches: BTreeMap::new(), first_timestamp, last_timestamp }
    }

    fn with(&self, state: BatchState) -> impl Iterator<Item = (u64, u64)> {
        let batches = self.batches.iter().filter(move |(_, batch)| batch.state == state);
        batches.map(|(start, batch)| (*start, batch.end))
    }

    fn pending(&self) -> u64 {
        let acked: u64 = self.with(BatchState::Acked).map(|(start, end)| end - start).sum();
        self.end.saturating_sub(self.cursor.acked + acked)
    }

    /// The first record that never was given out.
    fn next_start(&self) -> u64 {
        self.batches.last_key_value().map_or(0, |(_, batch)| batch.end).max(self.cursor.acked)
    }

    fn may_start_another(&self) -> bool {
        self.with(BatchState::Acked).count() < MAX_ACKED_OUT_OF_ORDER
    }

    /// Whether there is a batch that is not given out.
    fn has_more(&self) -> bool {
        self.with(BatchState::Split).next().is_some() || (self.next_start() < self.end && self.may_start_another())
    }

    fn is_in_flight(&self, start: u64) -> bool {
        self.batches.get(&start).is_some_and(|batch| batch.state == BatchState::InFlight)
    }

    /// Puts a batch in flight. The rest of a longer one that begins at the same record comes again by itself.
    fn give_out(&mut self, batch: &Range<u64>) {
        let before = self.batches.insert(batch.start, LaneBatch { end: batch.end, state: BatchState::InFlight });
        if let Some(LaneBatch { end, .. }) = before.filter(|before| before.end > batch.end) {
            self.batches.insert(batch.end, LaneBatch { end, state: BatchState::Split });
        }
    }

    /// Notes that a batch is delivered; false if it is not in flight.
    fn ack(&mut self, delivered: &Range<u64>) -> bool {
        let in_flight = LaneBatch { end: delivered.end, state: BatchState::InFlight };
        match self.batches.get_mut(&delivered.start) {
            Some(batch) if *batch == in_flight => batch.state = BatchState::Acked,
            _ => return false,
        }
        while let Some(first) = self.batches.first_entry()
            && *first.key() == self.cursor.acked
            && first.get().state == BatchState::Acked
        {
            self.cursor.advance(first.remove().end);
        }
        true
    }

    /// Splits a batch that is in flight; its parts come in its place.
    fn split(&mut self, batch: &Range<u64>) {
        if self.batches.get(&batch.start) == Some(&LaneBatch { end: batch.end, state: BatchState::InFlight }) {
            let middle = self.cursor.split(batch);
            self.batches.insert(batch.start, LaneBatch { end: middle, state: BatchState::Split });
            self.batches.insert(middle, LaneBatch { end: batch.end, state: BatchState::Split });
        }
    }
}

/// The lanes of one partition, and its delivery steps.
#[derive(Debug, Default)]
struct Partition {
    lanes: VecDeque<Lane>,
    /// How many delivery steps have it, those that wait in the queue of what is ready included.
    tasks: usize,
    /// A delivery step has no batch yet.
    forming: bool,
    /// How many batches may be in flight besides the first.
    more_in_flight: usize,
    /// It waits for more records, until there are enough for a batch.
    lingers: bool,
}

impl Partition {
    /// The first lane that has something to deliver. Only the one before it can be there without.
    fn first_waiting(&self) -> Option<&Lane> {
        self.lanes.iter().take(2).find(|lane| lane.pending() > 0)
    }

    /// Where the next batch of a lane begins: see [`Index::choose`].
    fn start_of_next(&self, lane: &Lane, asked: Option<BatchStart>) -> Option<u64> {
        let asked = asked.filter(|asked| asked.segment == lane.id.segment && lane.is_in_flight(asked.record));
        if let Some(asked) = asked {
            return Some(asked.record);
        }
        let in_flight = lane.with(BatchState::InFlight).count();
        if in_flight > self.more_in_flight {
            // With more delivery steps than that, each of them is someone else's.
            let first = lane.with(BatchState::InFlight).next().filter(|_| in_flight >= self.tasks);
            return first.map(|(start, _)| start);
        }
        let split = lane.with(BatchState::Split).next().map(|(start, _)| start);
        split.or_else(|| lane.may_start_another().then(|| lane.next_start()))
    }

    /// The lane that is delivered now, if it is this one.
    fn current(&mut self, id: LaneId) -> Option<&mut Lane> {
        self.lanes.front_mut().filter(|lane| lane.id == id)
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

/// A batch that was put in flight: what else there is to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Admitted {
    /// Another partition waits to be checked out.
    pub(super) has_ready: bool,
    /// There is no other partition.
    pub(super) is_only: bool,
    /// The segment after this one, if it is sealed and this lane is half delivered.
    pub(super) next_segment: Option<u64>,
}

/// An acknowledgement that changed something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Acked {
    /// Nobody is asked yet to [settle](Index::start_settling).
    pub(super) ask_to_settle: bool,
    /// Everything in the lane's segment is delivered.
    pub(super) segment_delivered: bool,
}

/// Everything that was accepted up to a moment.
#[derive(Debug)]
pub(super) struct Watermark {
    segment: u64,
    /// The last lane of each partition, and its end.
    lanes: Vec<(Arc<str>, u64, u64)>,
}

/// The records that wait, the batches in flight, the gaps that are not reported, and the cursors that are not written.
#[derive(Debug, Default)]
pub(super) struct Index {
    segments: BTreeMap<u64, SegmentState>,
    partitions: HashMap<Arc<str>, Partition>,
    ready: VecDeque<Arc<str>>,
    /// The partitions that lingered and now have enough for a batch.
    filled: Vec<Arc<str>>,
    active: Option<u64>,
    /// Segments of which it is not known yet what is in them. Nothing of a later segment may overtake them.
    unrecovered: BTreeSet<u64>,
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
    pub(super) fn add_unrecovered(&mut self, segment: u64, cursors: LaneCursors) {
        self.segments.entry(segment).or_default().cursors = cursors;
        self.unrecovered.insert(segment);
    }

    pub(super) fn is_recovered(&self) -> bool {
        self.unrecovered.is_empty()
    }

    /// Adds a segment whose seal is known; true if all of it is delivered already.
    /// The partitions are not given out before [`Index::enqueue_all`].
    pub(super) fn add_sealed(&mut self, number: u64, seal: Seal) -> bool {
        self.unrecovered.remove(&number);
        let mut cursors = std::mem::take(&mut self.segments.entry(number).or_default().cursors);
        let mut undelivered = 0;
        for (lane, summary) in (0..).zip(seal.lanes) {
            let LaneSummary { key, records, first_timestamp, last_timestamp } = summary;
            let cursor = cursors.remove(&lane).unwrap_or_default();
            let lane = LaneId { segment: number, lane };
            let lane = Lane::new(lane, records, cursor, (first_timestamp, last_timestamp));
            let pending = lane.pending();
            if pending == 0 {
                continue;
            }
            undelivered += 1;
            self.pending_records += pending;
            let lanes = &mut self.partitions.entry(key).or_default().lanes;
            let at = lanes.partition_point(|other| other.id.segment < number);
            lanes.insert(at, lane);
        }
        let segment = self.segments.entry(number).or_default();
        segment.undelivered = undelivered;
        segment.frames = Some(seal.frames);
        undelivered == 0
    }

    pub(super) fn contains(&self, segment: u64) -> bool {
        self.segments.contains_key(&segment)
    }

    pub(super) fn segment_count(&self) -> u64 {
        self.segments.len() as u64
    }

    /// How many frames a segment should have, if it is sealed.
    pub(super) fn frames(&self, segment: u64) -> Option<u64> {
        self.segments.get(&segment)?.frames
    }

    /// Notes that a segment has so many frames and gets no more.
    pub(super) fn set_frames(&mut self, segment: u64, frames: u64) {
        if let Some(segment) = self.segments.get_mut(&segment) {
            segment.frames = Some(frames);
        }
    }

    /// The oldest segment, unless it is the only one or not known yet.
    pub(super) fn oldest(&self) -> Option<u64> {
        let (&oldest, _) = self.segments.first_key_value()?;
        (!self.is_newest(oldest) && !self.unrecovered.contains(&oldest)).then_some(oldest)
    }

    pub(super) fn is_newest(&self, segment: u64) -> bool {
        self.segments.last_key_value().is_some_and(|(newest, _)| *newest == segment)
    }

    /// Removes a segment that is delivered.
    pub(super) fn remove(&mut self, segment: u64) {
        self.segments.remove(&segment);
    }

    /// Removes the oldest segment, though it is not delivered. Returns the losses, and the gaps that were reported there
    /// and are not delivered.
    pub(super) fn evict(&mut self, oldest: u64) -> (Vec<Gap>, Vec<Gap>) {
        let mut lanes = Vec::new();
        self.partitions.retain(|key, partition| {
            if partition.lanes.front().is_some_and(|lane| lane.id.segment == oldest) {
                lanes.extend(partition.lanes.pop_front().map(|lane| (key.clone(), lane)));
            }
            !partition.lanes.is_empty() || partition.tasks > 0
        });
        let (mut evicted, mut unreported) = (Vec::new(), Vec::new());
        for (key, lane) in lanes {
            self.pending_records -= lane.pending();
            let gaps = self.take_reported(oldest, &key, &(lane.cursor.acked..lane.end));
            let records = lane.pending().saturating_sub(gaps.len() as u64);
            unreported.extend(gaps);
            if records > 0 {
                let (first, last) = (system_time(lane.first_timestamp), system_time(lane.last_timestamp));
                evicted.push(Gap { key, reason: LossReason::Evicted, records, first: Some(first), last: Some(last) });
            }
        }
        self.segments.remove(&oldest);
        (evicted, unreported)
    }

    /// Makes an empty segment the active one; the one before gets no more records. Returns the segments that are delivered.
    pub(super) fn set_active(&mut self, active: u64) -> Vec<u64> {
        self.complete_active();
        self.active = Some(active);
        self.segments.insert(active, SegmentState::default());
        let known = self.segments.range(..active).filter(|(number, _)| !self.unrecovered.contains(number));
        known.filter(|(_, segment)| segment.undelivered == 0).map(|(number, _)| *number).collect()
    }

    /// Ends the active segment: it gets no more records. Its lanes that are delivered are kept no longer for those.
    pub(super) fn complete_active(&mut self) {
        let Some(old) = self.active.take() else { return };
        let segments = &mut self.segments;
        self.partitions.retain(|_, partition| {
            if partition.lanes.front().is_some_and(|lane| lane.id.segment == old && lane.pending() == 0) {
                partition.lanes.pop_front();
                if let Some(segment) = segments.get_mut(&old) {
                    segment.undelivered -= 1;
                }
            }
            !partition.lanes.is_empty() || partition.tasks > 0
        });
    }

    /// Takes the active segment out, because its database failed: a scan finds what was accepted of it.
    pub(super) fn abandon_active(&mut self) {
        let Some(active) = self.active.take() else { return };
        let mut cursors = LaneCursors::new();
        for partition in self.partitions.values_mut() {
            if partition.lanes.back().is_some_and(|lane| lane.id.segment == active)
                && let Some(lane) = partition.lanes.pop_back()
            {
                self.pending_records -= lane.pending();
                cursors.insert(lane.id.lane, lane.cursor);
            }
        }
        let reported = self.segments.remove(&active).map(|segment| segment.reported).unwrap_or_default();
        self.segments.insert(active, SegmentState { reported, ..SegmentState::default() });
        self.add_unrecovered(active, cursors);
    }

    /// Notes how many bytes a segment's seal will take; zero once it is written.
    pub(super) fn owe_seal(&mut self, segment: u64, bytes: u64) {
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
    /// Adds records to a lane of the active segment.
    pub(super) fn append(&mut self, key: &Arc<str>, entry: &EntryHead) {
        let Some(active) = self.active else { return };
        let (records, first_timestamp, last_timestamp) =
            (u64::from(entry.records), entry.first_timestamp, entry.last_timestamp);
        let partition = self.partitions.entry(key.clone()).or_default();
        match partition.lanes.back_mut() {
            Some(lane) if lane.id.segment == active => {
                lane.end += records;
                lane.first_timestamp = lane.first_timestamp.min(first_timestamp);
                lane.last_timestamp = lane.last_timestamp.max(last_timestamp);
            }
            _ => {
                let id = LaneId { segment: active, lane: entry.lane };
                let lane = Lane::new(id, records, LaneCursor::default(), (first_timestamp, last_timestamp));
                partition.lanes.push_back(lane);
                if let Some(segment) = self.segments.get_mut(&active) {
                    segment.undelivered += 1;
                }
            }
        }
        self.pending_records += records;
        self.enqueue(key);
    }

    /// Notes that the last record of the gap's partition reports it.
    pub(super) fn reported(&mut self, gap: Gap) {
        let lane = self.partitions.get(&gap.key).and_then(|partition| partition.lanes.back());
        if let Some((segment, record)) = lane.map(|lane| (lane.id.segment, lane.end - 1))
            && let Some(segment) = self.segments.get_mut(&segment)
        {
            segment.reported.push((record, gap));
        }
    }

    /// The gaps that are reported by records of a partition which will not be delivered.
    pub(super) fn take_reported(&mut self, segment: u64, key: &str, records: &Range<u64>) -> Vec<Gap> {
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
        let lane = |partition: &Partition| partition.lanes.front().map(|lane| lane.id);
        let mut keys: Vec<_> = self.partitions.iter().map(|(key, partition)| (lane(partition), key.clone())).collect();
        keys.sort_unstable();
        for (_, key) in keys {
            self.enqueue(&key);
        }
    }

    fn enqueue(&mut self, key: &Arc<str>) {
        let barrier = self.barrier();
        let Some(partition) = self.partitions.get_mut(key) else { return };
        let waits = partition.first_waiting().is_some_and(|lane| lane.has_more() && lane.id.segment < barrier);
        if waits && !partition.forming && partition.tasks <= partition.more_in_flight {
            partition.tasks += 1;
            partition.forming = true;
            self.ready.push_back(key.clone());
        }
    }

    /// The first segment of which nothing may be given out yet.
    fn barrier(&self) -> u64 {
        self.unrecovered.first().copied().unwrap_or(u64::MAX)
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

/// Batches.
impl Index {
    /// The batch at `asked`, if it is still in flight, else the next one that may be given out: the first of those that
    /// are in flight, if there may be no more of them and it is nobody's. It changes nothing.
    pub(super) fn choose(&self, key: &str, asked: Option<BatchStart>) -> Option<Choice> {
        let partition = self.partitions.get(key)?;
        let lane = partition.lanes.front()?;
        if lane.pending() == 0 || lane.id.segment >= self.barrier() {
            return None;
        }
        let start = partition.start_of_next(lane, asked)?;
        let known = [lane.batches.get(&start).map(|batch| batch.end), lane.cursor.end_of(start)];
        (start < lane.end).then(|| Choice {
            lane: lane.id,
            start,
            fixed_end: known.into_iter().flatten().min(),
            end: lane.end,
            complete: self.active != Some(lane.id.segment),
        })
    }

    /// Whether the batch that was chosen may end at `end`: nothing has changed since that concerns it.
    pub(super) fn holds(&self, key: &str, asked: Option<BatchStart>, choice: &Choice, end: u64) -> bool {
        self.choose(key, asked).is_some_and(|now| {
            (now.lane, now.start, now.fixed_end) == (choice.lane, choice.start, choice.fixed_end) && end <= now.end
        })
    }

    /// Puts the batch that was chosen in flight, up to `end`, unless the choice does not hold any more. Others may then come
    /// before it is acknowledged. If it could have grown, its end is fixed from now on.
    pub(super) fn admit(
        &mut self,
        key: &Arc<str>,
        asked: Option<BatchStart>,
        choice: &Choice,
        end: u64,
    ) -> Option<Admitted> {
        if !self.holds(key, asked, choice, end) {
            return None;
        }
        let partition = self.partitions.get_mut(key)?;
        let lane = partition.current(choice.lane)?;
        if choice.may_grow() {
            lane.cursor.freeze(end);
            // Or it would be written without that.
            if let Some(cursor) = self.unwritten.get_mut(&choice.lane) {
                cursor.freeze(end);
            }
        }
        lane.give_out(&(choice.start..end));
        let half_delivered = choice.complete && lane.cursor.acked >= lane.end / 2;
        partition.forming = false;
        self.enqueue(key);
        let next = self.segments.range(choice.lane.segment + 1..).next().filter(|_| half_delivered);
        Some(Admitted {
            has_ready: !self.ready.is_empty(),
            is_only: self.partitions.len() == 1,
            next_segment: next.filter(|(_, next)| next.frames.is_some()).map(|(number, _)| *number),
        })
    }

    /// The cursor of a lane: of a segment that was abandoned, or of the lane that a partition delivers now.
    fn cursor_mut(&mut self, key: &str, lane: LaneId) -> Option<&mut LaneCursor> {
        let abandoned = self.segments.get_mut(&lane.segment).and_then(|segment| segment.cursors.get_mut(&lane.lane));
        if abandoned.is_some() {
            return abandoned;
        }
        self.partitions.get_mut(key)?.current(lane).map(|lane| &mut lane.cursor)
    }

    /// The cursor of a lane as it is now.
    pub(super) fn cursor(&mut self, key: &str, lane: LaneId) -> Option<LaneCursor> {
        self.cursor_mut(key, lane).cloned()
    }

    /// Has a cursor written again: the database has another one.
    pub(super) fn rewrite(&mut self, key: &str, lane: LaneId) {
        if let Some(cursor) = self.cursor(key, lane) {
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

    /// The cursor that a lane has once this batch is split; `None` if the batch is not in flight.
    pub(super) fn cursor_of_split(&mut self, key: &str, lane: LaneId, batch: &Range<u64>) -> Option<LaneCursor> {
        let lane = self.partitions.get_mut(key)?.current(lane).filter(|lane| lane.is_in_flight(batch.start))?;
        let mut cursor = lane.cursor.clone();
        cursor.split(batch);
        Some(cursor)
    }

    /// Splits a batch that is in flight. Its parts come in its place, under ids of their own.
    pub(super) fn split(&mut self, key: &str, lane: LaneId, batch: &Range<u64>) {
        if let Some(cursor) = self.unwritten.get_mut(&lane) {
            cursor.split(batch);
        }
        if let Some(lane) = self.partitions.get_mut(key).and_then(|partition| partition.current(lane)) {
            lane.split(batch);
        } else if let Some(cursor) = self.cursor_mut(key, lane) {
            cursor.split(batch);
        }
    }

    /// Acknowledges the batch `delivered`, of the lane that its partition delivers now; `None` if it is not in flight.
    pub(super) fn ack(&mut self, key: &str, lane: LaneId, delivered: &Range<u64>) -> Option<Acked> {
        let abandoned = self.segments.get_mut(&lane.segment).and_then(|segment| segment.cursors.get_mut(&lane.lane));
        if let Some(cursor) = abandoned {
            if cursor.acked != delivered.start {
                return None;
            }
            cursor.advance(delivered.end);
            self.unwritten.insert(lane, cursor.clone());
            let ask_to_settle = !std::mem::replace(&mut self.settle_asked, true);
            return Some(Acked { ask_to_settle, segment_delivered: false });
        }
        let partition = self.partitions.get_mut(key)?;
        let current = partition.current(lane)?;
        let pending = current.pending();
        if !current.ack(delivered) {
            return None;
        }
        // A segment that was abandoned may have been found with less.
        self.pending_records -= pending - current.pending();
        self.unwritten.insert(lane, current.cursor.clone());
        let ask_to_settle = !std::mem::replace(&mut self.settle_asked, true);
        let mut acked = Acked { ask_to_settle, segment_delivered: false };
        if current.pending() == 0 && self.active != Some(lane.segment) {
            partition.lanes.pop_front();
            if let Some(segment) = self.segments.get_mut(&lane.segment) {
                segment.undelivered -= 1;
                acked.segment_delivered = segment.undelivered == 0;
            }
        }
        Some(acked)
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
    pub(super) fn oldest_appended<'a>(&self, open: impl FnOnce(u64) -> Option<&'a Segment>) -> Option<u64> {
        let waiting = || self.partitions.values().filter_map(Partition::first_waiting);
        let oldest = waiting().map(|lane| lane.id.segment).min()?;
        let open = open(oldest);
        let appended_at = |lane: &Lane| {
            let known = open.and_then(|open| open.appended_at(lane.id.lane, lane.cursor.acked));
            known.unwrap_or(lane.first_timestamp)
        };
        waiting().filter(|lane| lane.id.segment == oldest).map(appended_at).min()
    }

    pub(super) fn watermark(&self) -> Watermark {
        let last = |(key, partition): (&Arc<str>, &Partition)| {
            partition.lanes.back().map(|lane| (key.clone(), lane.id.segment, lane.end))
        };
        let segment = self.segments.last_key_value().map_or(0, |(number, _)| *number);
        Watermark { segment, lanes: self.partitions.iter().filter_map(last).collect() }
    }

    pub(super) fn has_delivered(&self, watermark: &Watermark) -> bool {
        // A segment that was abandoned meanwhile still has what was accepted.
        if self.unrecovered.first().is_some_and(|first| *first <= watermark.segment) {
            return false;
        }
        watermark.lanes.iter().all(|(key, segment, end)| {
            let lane = self.partitions.get(key).and_then(|partition| partition.lanes.front());
            let is_beyond =
                |lane: &Lane| lane.id.segment > *segment || (lane.id.segment == *segment && lane.cursor.acked >= *end);
            lane.is_none_or(is_beyond)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(index: &mut Index, segment: u64, lanes: &[(&str, u64)], acked: u64) -> bool {
        let summary = |(key, records): &(&str, u64)| LaneSummary {
            key: Arc::from(*key),
            records: *records,
            first_timestamp: segment,
            last_timestamp: segment,
        };
        let cursors = (0..8).map(|lane| (lane, LaneCursor { acked, ..LaneCursor::default() })).collect();
        let lanes = lanes.iter().map(summary).collect();
        if !index.unrecovered.contains(&segment) {
            index.add_unrecovered(segment, cursors);
        }
        let delivered = index.add_sealed(segment, Seal { frames: 0, lanes });
        index.enqueue_all();
        delivered
    }

    /// Puts the next batch of a partition in flight, if it may be this one.
    fn give_out(index: &mut Index, key: &str, batch: &Range<u64>) -> Option<Admitted> {
        let choice = index.choose(key, None).filter(|choice| choice.start == batch.start)?;
        index.admit(&Arc::from(key), None, &choice, batch.end)
    }

    /// Puts a batch in flight and acknowledges it; whether its segment is delivered then.
    fn deliver(index: &mut Index, key: &str, (segment, lane): (u64, u32), batch: Range<u64>) -> Option<bool> {
        give_out(index, key, &batch);
        index.ack(key, LaneId { segment, lane }, &batch).map(|acked| acked.segment_delivered)
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
        let chosen = index.choose("a", None).map(|choice| (choice.lane, choice.end));
        assert_eq!(chosen, Some((LaneId { segment: 2, lane: 1 }, 4)));
        deliver(&mut index, "a", (2, 1), 0..4);
        assert_eq!(index.choose("a", None).map(|choice| choice.lane.segment), Some(3));
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
        index.add_unrecovered(2, LaneCursors::new());
        add(&mut index, 3, &[("b", 1)], 0);
        assert_eq!(index.choose("b", None), None);
        add(&mut index, 2, &[("b", 7)], 0);
        assert_eq!(index.choose("b", None).map(|choice| choice.lane.segment), Some(2));
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
        let reported = Gap { key: Arc::from("a"), reason: LossReason::Expired, records: 9, first: None, last: None };
        index.segments.get_mut(&1).unwrap().reported = vec![(1, reported.clone()), (4, reported.clone())];
        let time = Some(system_time(1));
        let missing = Gap { key: Arc::from("a"), reason: LossReason::Evicted, records: 2, first: time, last: time };
        assert_eq!(index.oldest(), Some(1));
        assert_eq!(index.evict(1), (vec![missing], vec![reported]), "the other one was delivered");
        assert_eq!(index.pending_records, 7);
        assert_eq!(index.choose("a", None).map(|choice| choice.lane.segment), Some(2));
        // A response to what was in flight changes nothing.
        assert_eq!(deliver(&mut index, "a", (1, 0), 2..5), None);
        assert_eq!(index.oldest(), None, "the newest stays");
    }

    #[test]
    fn a_watermark_is_not_reached_by_abandoning_a_segment() {
        let mut index = Index::default();
        add(&mut index, 1, &[("a", 2)], 0);
        let watermark = index.watermark();
        index.active = Some(1);
        index.abandon_active();
        assert!(!index.has_delivered(&watermark));
        add(&mut index, 1, &[("a", 2)], 0);
        assert!(!index.has_delivered(&watermark));
        deliver(&mut index, "a", (1, 0), 0..2);
        assert!(index.has_delivered(&watermark));
    }

    #[test]
    fn a_segment_that_was_abandoned_goes_on_where_it_was() {
        let mut index = Index::default();
        add(&mut index, 1, &[("a", 5)], 0);
        index.active = Some(1);
        deliver(&mut index, "a", (1, 0), 0..2);
        index.abandon_active();
        assert_eq!(index.pending_records, 0);
        // The response to what was in flight.
        assert_eq!(deliver(&mut index, "a", (1, 0), 2..3), Some(false));
        let lane = LaneId { segment: 1, lane: 0 };
        assert_eq!(index.take_unwritten().get(&lane).map(|cursor| cursor.acked), Some(3));
        add(&mut index, 1, &[("a", 5)], 0);
        assert_eq!(index.choose("a", None).map(|choice| choice.start), Some(3));
        assert_eq!(index.pending_records, 2);
    }

    #[test]
    fn batches_are_acknowledged_in_any_order() {
        let mut index = Index::default();
        add(&mut index, 1, &[("a", 12)], 0);
        index.allow("a", 2);
        index.checkout().unwrap();
        let (lane, at) = (LaneId { segment: 1, lane: 0 }, |record| BatchStart { segment: 1, record });
        let start = |index: &Index, asked| index.choose("a", asked).map(|choice| choice.start);
        for batch in [0..3, 3..6, 6..9] {
            assert_eq!(start(&index, None), Some(batch.start));
            assert!(give_out(&mut index, "a", &batch).is_some());
            index.checkout();
        }
        assert_eq!(index.checkout(), None, "three are in flight");
        let acked = |index: &mut Index, batch| index.ack("a", lane, &batch).map(|_| index.unwritten[&lane].acked);
        assert_eq!(acked(&mut index, 3..6), Some(0));
        assert_eq!(acked(&mut index, 3..6), None, "once");
        assert_eq!((start(&index, Some(at(0))), index.pending_records), (Some(0), 9));
        // The halves of what was split come before what was never given out.
        index.split("a", lane, &(6..9));
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
        let (key, lane) = (Arc::from("a"), LaneId { segment: 1, lane: 0 });
        index.allow("a", 2);
        let choice = index.choose("a", None).unwrap();
        assert!(!index.holds("a", None, &choice, 13), "there are no more than 12");
        assert!(index.admit(&key, None, &choice, 4).is_some());
        assert!(index.admit(&key, None, &choice, 4).is_none(), "it is in flight");
        let choice = index.choose("a", None).unwrap();
        index.evict(1);
        assert!(index.admit(&key, None, &choice, 12).is_none(), "its lane is gone");
        assert_eq!(index.ack("a", lane, &(4..12)), None);
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
}
