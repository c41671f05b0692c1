//! What waits to be delivered, in memory: no file, no clock.
//!
//! A *lane* is one partition in one segment. A partition's lanes are delivered one after the other, in the order of the
//! segments; partitions do not wait for one another.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use super::cursor::{LaneCursor, LaneCursors};
use super::entry::{EntryHead, system_time};
use super::loss::Gap;
use super::position::BatchStart;
use super::seal::Seal;
use super::segment::{LaneSummary, Segment};
use crate::observe::loss::LossReason;

/// With so many batches of a lane acknowledged before an earlier one, others wait for that one: the cursor says where each
/// of them ends.
const MAX_ACKED_EARLY: usize = 256;

/// At most so many segments, with so many frames in all, stay open for reading besides those that are needed: some
/// 20 MB.
const MAX_OPEN_SEGMENTS: usize = 64;
const MAX_OPEN_FRAMES: usize = 1 << 18;

#[derive(Debug)]
struct Lane {
    segment: u64,
    /// The partition's number in the segment.
    number: u32,
    /// How many records the lane has; grows while the segment is the newest.
    end: u64,
    cursor: LaneCursor,
    /// The batches that were given out and are not acknowledged, by where they begin.
    taken: BTreeMap<u64, u64>,
    /// The parts of those that were divided.
    returned: BTreeMap<u64, u64>,
    /// Those that were acknowledged before an earlier one.
    acked_early: BTreeMap<u64, u64>,
    first_timestamp: u64,
    last_timestamp: u64,
}

impl Lane {
    fn new(segment: u64, number: u32, end: u64, cursor: LaneCursor, between: (u64, u64)) -> Self {
        let (first_timestamp, last_timestamp) = between;
        let (taken, returned, acked_early) = Default::default();
        Self { segment, number, end, cursor, taken, returned, acked_early, first_timestamp, last_timestamp }
    }

    fn pending(&self) -> u64 {
        let acked_early: u64 = self.acked_early.iter().map(|(start, end)| end - start).sum();
        self.end.saturating_sub(self.cursor.acked + acked_early)
    }

    /// Where the next batch begins that never was given out.
    fn frontier(&self) -> u64 {
        let last = |batches: &BTreeMap<u64, u64>| batches.last_key_value().map_or(0, |(_, end)| *end);
        [&self.taken, &self.returned, &self.acked_early].into_iter().map(last).fold(self.cursor.acked, u64::max)
    }

    /// Whether there is something that was not given out.
    fn has_more(&self) -> bool {
        !self.returned.is_empty() || (self.frontier() < self.end && self.acked_early.len() < MAX_ACKED_EARLY)
    }

    /// Notes that a batch is delivered; false if it is none of those that are not.
    fn ack(&mut self, delivered: &Range<u64>) -> bool {
        if self.taken.get(&delivered.start) != Some(&delivered.end) {
            return false;
        }
        self.taken.remove(&delivered.start);
        self.acked_early.insert(delivered.start, delivered.end);
        while let Some(end) = self.acked_early.remove(&self.cursor.acked) {
            self.cursor.advance(end);
        }
        true
    }

    /// Notes that a batch is given out. What was to be given out with it comes again by itself.
    fn take(&mut self, batch: &Range<u64>) {
        let before = [self.returned.remove(&batch.start), self.taken.insert(batch.start, batch.end)];
        if let Some(end) = before.into_iter().flatten().max().filter(|end| *end > batch.end) {
            self.returned.insert(batch.end, end);
        }
    }
}

#[derive(Debug, Default)]
struct Partition {
    lanes: VecDeque<Lane>,
    /// How many delivery steps have it, those that wait in the queue of what is ready included.
    tasks: usize,
    /// One of them has no batch yet.
    forming: bool,
    /// How many batches may be under way besides the first.
    more_in_flight: usize,
    /// It waits for more records. To be told when there are enough for a batch.
    lingers: bool,
}

impl Partition {
    /// The first lane that has something to deliver. Only the one before it can be there without.
    fn first_waiting(&self) -> Option<&Lane> {
        self.lanes.iter().take(2).find(|lane| lane.pending() > 0)
    }
}

#[derive(Debug, Default)]
pub(super) struct SegmentState {
    pub(super) open: Option<Arc<Segment>>,
    pub(super) last_used: u64,
    /// Once it is sealed: how many frames it should have.
    pub(super) frames: Option<u64>,
    /// How many bytes its seal will take that is not written yet.
    seal_owed: u64,
    /// Not all is there that should be.
    pub(super) damaged: bool,
    /// Since when it cannot be read.
    pub(super) unreadable_since: Option<Instant>,
    /// The gaps that were told in it by this process, and which record of their partition does so.
    told: Vec<(u64, Gap)>,
    /// How many lanes are not delivered yet.
    undelivered: u32,
    /// Before it is known what is in it: how far its lanes are delivered.
    cursors: LaneCursors,
}

/// The next batch of a partition, and its lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Front {
    pub(super) segment: u64,
    pub(super) lane: u32,
    /// Where the batch begins, and where it ends, if that is fixed.
    pub(super) start: u64,
    pub(super) fixed_end: Option<u64>,
    /// How many records there are in the lane.
    pub(super) end: u64,
    pub(super) cursor: LaneCursor,
    /// Nothing will be added to the lane any more.
    pub(super) complete: bool,
}

/// Everything that was accepted up to a moment.
#[derive(Debug)]
pub(super) struct Watermark {
    segment: u64,
    /// The last lane of each partition, and its end.
    lanes: Vec<(Arc<str>, u64, u64)>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) segments: BTreeMap<u64, SegmentState>,
    partitions: HashMap<Arc<str>, Partition>,
    ready: VecDeque<Arc<str>>,
    /// The partitions that lingered and now have enough for a batch.
    filled: Vec<Arc<str>>,
    head: Option<u64>,
    /// Segments of which it is not known yet what is in them. Nothing of a later segment may overtake them.
    unrecovered: BTreeSet<u64>,
    pub(super) pending_records: u64,
    pub(super) clock: u64,
}

impl State {
    /// A segment of which it is not known yet what is in it, and how far it is delivered: see [`State::add_sealed`].
    pub(super) fn add_unrecovered(&mut self, segment: u64, cursors: LaneCursors) {
        self.segments.entry(segment).or_default().cursors = cursors;
        self.unrecovered.insert(segment);
    }

    pub(super) fn is_recovered(&self) -> bool {
        self.unrecovered.is_empty()
    }

    /// A segment whose seal is known. True if all of it is delivered already.
    /// The partitions are not given out before [`State::enqueue_all`].
    pub(super) fn add_sealed(&mut self, number: u64, seal: Seal) -> bool {
        self.unrecovered.remove(&number);
        let mut cursors = std::mem::take(&mut self.segments.entry(number).or_default().cursors);
        let mut undelivered = 0;
        for (lane, summary) in (0..).zip(seal.lanes) {
            let LaneSummary { key, records, first_timestamp, last_timestamp } = summary;
            let cursor = cursors.remove(&lane).unwrap_or_default();
            let lane = Lane::new(number, lane, records, cursor, (first_timestamp, last_timestamp));
            let pending = lane.pending();
            if pending == 0 {
                continue;
            }
            undelivered += 1;
            self.pending_records += pending;
            let lanes = &mut self.partitions.entry(key).or_default().lanes;
            let at = lanes.partition_point(|other| other.segment < number);
            lanes.insert(at, lane);
        }
        let segment = self.segments.entry(number).or_default();
        segment.undelivered = undelivered;
        segment.frames = Some(seal.frames);
        undelivered == 0
    }

    /// Gives out every partition that waits.
    pub(super) fn enqueue_all(&mut self) {
        // One segment after the other, or each of them would be opened again for each partition.
        let place = |partition: &Partition| partition.lanes.front().map(|lane| (lane.segment, lane.number));
        let mut keys: Vec<_> = self.partitions.iter().map(|(key, partition)| (place(partition), key.clone())).collect();
        keys.sort_unstable();
        for (_, key) in keys {
            self.enqueue(&key);
        }
    }

    /// The oldest segment, unless it is the only one or not known yet.
    pub(super) fn oldest(&self) -> Option<u64> {
        let (&oldest, _) = self.segments.first_key_value()?;
        (!self.is_newest(oldest) && !self.unrecovered.contains(&oldest)).then_some(oldest)
    }

    /// Takes out the oldest segment, to be dropped without the lock. What is missing then, and the gaps that were told there
    /// and are not delivered.
    pub(super) fn drop_segment(&mut self, oldest: u64) -> (Option<SegmentState>, Vec<Gap>, Vec<Gap>) {
        let mut lanes = Vec::new();
        self.partitions.retain(|key, partition| {
            if partition.lanes.front().is_some_and(|lane| lane.segment == oldest) {
                lanes.extend(partition.lanes.pop_front().map(|lane| (key.clone(), lane)));
            }
            !partition.lanes.is_empty() || partition.tasks > 0
        });
        let (mut dropped, mut unreported) = (Vec::new(), Vec::new());
        for (key, lane) in lanes {
            self.pending_records -= lane.pending();
            let gaps = self.take_told(oldest, &key, &(lane.cursor.acked..lane.end));
            let records = lane.pending().saturating_sub(gaps.len() as u64);
            unreported.extend(gaps);
            if records > 0 {
                let (first, last) = (system_time(lane.first_timestamp), system_time(lane.last_timestamp));
                dropped.push(Gap { key, reason: LossReason::Evicted, records, first: Some(first), last: Some(last) });
            }
        }
        (self.segments.remove(&oldest), dropped, unreported)
    }

    /// The last record of the gap's partition tells of it.
    pub(super) fn told(&mut self, gap: Gap) {
        let lane = self.partitions.get(&gap.key).and_then(|partition| partition.lanes.back());
        if let Some((segment, record)) = lane.map(|lane| (lane.segment, lane.end - 1))
            && let Some(segment) = self.segments.get_mut(&segment)
        {
            segment.told.push((record, gap));
        }
    }

    /// The gaps that are told by records of a partition which will not be delivered.
    pub(super) fn take_told(&mut self, segment: u64, key: &str, records: &Range<u64>) -> Vec<Gap> {
        let Some(segment) = self.segments.get_mut(&segment) else { return Vec::new() };
        let told = segment.told.extract_if(.., |(record, gap)| *gap.key == *key && records.contains(record));
        told.map(|(_, gap)| gap).collect()
    }

    /// Makes an empty segment the newest. The one before gets no more records. Returns the numbers of the segments that
    /// are delivered.
    pub(super) fn set_head(&mut self, head: u64, segment: Arc<Segment>) -> Vec<u64> {
        self.complete_head();
        self.head = Some(head);
        self.segments.insert(head, SegmentState { open: Some(segment), ..SegmentState::default() });
        let known = self.segments.range(..head).filter(|(number, _)| !self.unrecovered.contains(number));
        known.filter(|(_, segment)| segment.undelivered == 0).map(|(number, _)| *number).collect()
    }

    /// The newest segment gets no more records. Its lanes that are delivered are kept no longer for those.
    pub(super) fn complete_head(&mut self) {
        let Some(old) = self.head.take() else { return };
        let segments = &mut self.segments;
        self.partitions.retain(|_, partition| {
            if partition.lanes.front().is_some_and(|lane| lane.segment == old && lane.pending() == 0) {
                partition.lanes.pop_front();
                if let Some(segment) = segments.get_mut(&old) {
                    segment.undelivered -= 1;
                }
            }
            !partition.lanes.is_empty() || partition.tasks > 0
        });
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

    /// Whether all that ever came is delivered.
    pub(super) fn is_drained(&self) -> bool {
        self.is_recovered() && self.pending_records == 0
    }

    pub(super) fn is_newest(&self, segment: u64) -> bool {
        self.segments.last_key_value().is_some_and(|(newest, _)| *newest == segment)
    }

    /// Takes the newest segment out, because its database failed: what was accepted of it is found by a scan.
    pub(super) fn abandon_head(&mut self) {
        let Some(head) = self.head.take() else { return };
        let mut cursors = LaneCursors::new();
        for partition in self.partitions.values_mut() {
            if partition.lanes.back().is_some_and(|lane| lane.segment == head)
                && let Some(lane) = partition.lanes.pop_back()
            {
                self.pending_records -= lane.pending();
                cursors.insert(lane.number, lane.cursor);
            }
        }
        let told = self.segments.remove(&head).map(|segment| segment.told).unwrap_or_default();
        self.segments.insert(head, SegmentState { told, ..SegmentState::default() });
        self.add_unrecovered(head, cursors);
    }

    /// Records were added to a lane of the newest segment.
    pub(super) fn appended(&mut self, key: &Arc<str>, entry: &EntryHead) {
        let Some(head) = self.head else { return };
        let (records, first_timestamp, last_timestamp) =
            (u64::from(entry.records), entry.first_timestamp, entry.last_timestamp);
        let partition = self.partitions.entry(key.clone()).or_default();
        match partition.lanes.back_mut() {
            Some(lane) if lane.segment == head => {
                lane.end += records;
                lane.first_timestamp = lane.first_timestamp.min(first_timestamp);
                lane.last_timestamp = lane.last_timestamp.max(last_timestamp);
            }
            _ => {
                let cursor = LaneCursor::default();
                let (number, end) = (entry.partition, records);
                let lane = Lane::new(head, number, end, cursor, (first_timestamp, last_timestamp));
                partition.lanes.push_back(lane);
                if let Some(segment) = self.segments.get_mut(&head) {
                    segment.undelivered += 1;
                }
            }
        }
        self.pending_records += records;
        self.enqueue(key);
    }

    fn enqueue(&mut self, key: &Arc<str>) {
        let barrier = self.unrecovered.first().copied().unwrap_or(u64::MAX);
        let Some(partition) = self.partitions.get_mut(key) else { return };
        let waits = partition.first_waiting().is_some_and(|lane| lane.has_more() && lane.segment < barrier);
        if waits && !partition.forming && partition.tasks <= partition.more_in_flight {
            partition.tasks += 1;
            partition.forming = true;
            self.ready.push_back(key.clone());
        }
    }

    /// A partition that has something to deliver. It is given out again when a batch of it is taken, if another one may
    /// be under way, and after [`State::release`].
    pub(super) fn checkout(&mut self) -> Option<Arc<str>> {
        self.ready.pop_front()
    }

    /// `formed` is whether a batch was taken since.
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

    /// Sets how many batches of a partition may be under way besides the first.
    pub(super) fn allow(&mut self, key: &str, more_in_flight: usize) {
        if let Some(partition) = self.partitions.get_mut(key) {
            partition.more_in_flight = more_in_flight;
        }
    }

    /// Notes that a batch is given out; false if its lane is not there any more. Others may then come before it is
    /// acknowledged.
    pub(super) fn take(&mut self, key: &Arc<str>, segment: u64, batch: &Range<u64>) -> bool {
        let Some(partition) = self.partitions.get_mut(key) else { return false };
        let Some(lane) = partition.lanes.front_mut().filter(|lane| lane.segment == segment) else { return false };
        lane.take(batch);
        partition.forming = false;
        self.enqueue(key);
        true
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

    /// A partition that lingers has enough for a batch.
    pub(super) fn fill(&mut self, key: &Arc<str>) {
        if let Some(partition) = self.partitions.get_mut(key) {
            partition.lingers = false;
            self.filled.push(key.clone());
        }
    }

    pub(super) fn take_filled(&mut self) -> Vec<Arc<str>> {
        std::mem::take(&mut self.filled)
    }

    /// A batch that was given out is divided at `middle`: its halves come in its place.
    pub(super) fn split(&mut self, key: &str, BatchStart { segment, record: start }: BatchStart, middle: u64) {
        let lane = self.partitions.get_mut(key).and_then(|partition| partition.lanes.front_mut());
        let Some(lane) = lane.filter(|lane| lane.segment == segment) else { return };
        if let Some(end) = lane.taken.remove(&start) {
            lane.returned.extend([(start, middle), (middle, end)]);
        }
    }

    /// Whether there is no other partition.
    pub(super) fn is_only(&self, key: &str) -> bool {
        self.partitions.len() == 1 && self.partitions.contains_key(key)
    }

    /// Whether a partition waits to be checked out.
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The batch at `start`, if it is still there, else the next one that may be given out: the first of those that were
    /// given out, if there may be no more of them and it is nobody's.
    pub(super) fn front(&self, key: &str, start: Option<BatchStart>) -> Option<Front> {
        let barrier = self.unrecovered.first().copied().unwrap_or(u64::MAX);
        let partition = self.partitions.get(key)?;
        let lane = partition.lanes.front().filter(|lane| lane.pending() > 0 && lane.segment < barrier)?;
        let again = start.filter(|start| start.segment == lane.segment && lane.taken.contains_key(&start.record));
        let again = match again {
            None if lane.taken.len() <= partition.more_in_flight => None,
            // Each of them is someone else's.
            None if lane.taken.len() < partition.tasks => return None,
            None => lane.taken.first_key_value().map(|(start, _)| *start),
            Some(start) => Some(start.record),
        };
        let returned = || lane.returned.first_key_value().map(|(start, _)| *start);
        let start = match again.or_else(returned) {
            Some(start) => start,
            None if lane.acked_early.len() >= MAX_ACKED_EARLY => return None,
            None => lane.frontier(),
        };
        let known = [lane.taken.get(&start).copied(), lane.returned.get(&start).copied(), lane.cursor.end_of(start)];
        (start < lane.end).then(|| Front {
            segment: lane.segment,
            lane: lane.number,
            start,
            fixed_end: known.into_iter().flatten().min(),
            end: lane.end,
            cursor: lane.cursor.clone(),
            complete: self.head != Some(lane.segment),
        })
    }

    /// Replaces the cursor of a partition's first lane.
    pub(super) fn set_cursor(&mut self, key: &str, segment: u64, lane: u32, cursor: LaneCursor) {
        if let Some(given_up) = self.segments.get_mut(&segment).and_then(|segment| segment.cursors.get_mut(&lane)) {
            *given_up = cursor;
            return;
        }
        let lane = self.partitions.get_mut(key).and_then(|partition| partition.lanes.front_mut());
        if let Some(lane) = lane.filter(|lane| lane.segment == segment) {
            lane.cursor = cursor;
        }
    }

    /// The records of `delivered` in a partition's first lane are delivered. Returns the lane's new cursor, and whether
    /// its segment is now delivered altogether.
    pub(super) fn ack(
        &mut self,
        key: &str,
        segment: u64,
        lane: u32,
        delivered: &Range<u64>,
    ) -> Option<(LaneCursor, bool)> {
        let head = self.head;
        if let Some(cursor) = self.segments.get_mut(&segment).and_then(|segment| segment.cursors.get_mut(&lane)) {
            if cursor.acked != delivered.start {
                return None;
            }
            cursor.advance(delivered.end);
            return Some((cursor.clone(), false));
        }
        let partition = self.partitions.get_mut(key)?;
        let lane = partition.lanes.front_mut()?;
        let pending = lane.pending();
        if lane.segment != segment || !lane.ack(delivered) {
            return None;
        }
        // A segment that was given up may have been found with less.
        self.pending_records -= pending - lane.pending();
        let cursor = lane.cursor.clone();
        if lane.pending() > 0 || head == Some(segment) {
            return Some((cursor, false));
        }
        partition.lanes.pop_front();
        let state = self.segments.get_mut(&segment)?;
        state.undelivered -= 1;
        Some((cursor, state.undelivered == 0))
    }

    /// Closes the segments that were not read for the longest time, besides the newest: `least` stay open, and more while
    /// they take little memory. What is closed is returned, to be dropped without the lock.
    pub(super) fn close_least_used(&mut self, least: usize) -> Vec<Arc<Segment>> {
        let mut open: Vec<_> = self.segments.values_mut().filter(|segment| segment.frames.is_some()).collect();
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

    /// When the oldest record that waits was appended, in nanoseconds since the epoch. Where that is not in memory, because
    /// its segment was not opened yet, it is the timestamp of the earliest one there.
    pub(super) fn oldest_appended(&self) -> Option<u64> {
        let waiting = || self.partitions.values().filter_map(Partition::first_waiting);
        let oldest = waiting().map(|lane| lane.segment).min()?;
        let open = self.segments.get(&oldest).and_then(|segment| segment.open.as_deref());
        let appended_at = |lane: &Lane| {
            let known = open.and_then(|open| open.appended_at(lane.number, lane.cursor.acked));
            known.unwrap_or(lane.first_timestamp)
        };
        waiting().filter(|lane| lane.segment == oldest).map(appended_at).min()
    }

    pub(super) fn watermark(&self) -> Watermark {
        let last = |(key, partition): (&Arc<str>, &Partition)| {
            partition.lanes.back().map(|lane| (key.clone(), lane.segment, lane.end))
        };
        let segment = self.segments.last_key_value().map_or(0, |(number, _)| *number);
        Watermark { segment, lanes: self.partitions.iter().filter_map(last).collect() }
    }

    pub(super) fn has_delivered(&self, watermark: &Watermark) -> bool {
        // A segment that was given up meanwhile still has what was accepted.
        if self.unrecovered.first().is_some_and(|first| *first <= watermark.segment) {
            return false;
        }
        watermark.lanes.iter().all(|(key, segment, end)| {
            let front = self.partitions.get(key).and_then(|partition| partition.lanes.front());
            front.is_none_or(|lane| lane.segment > *segment || (lane.segment == *segment && lane.cursor.acked >= *end))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(state: &mut State, segment: u64, lanes: &[(&str, u64)], acked: u64) -> bool {
        let summary = |(key, records): &(&str, u64)| LaneSummary {
            key: Arc::from(*key),
            records: *records,
            first_timestamp: segment,
            last_timestamp: segment,
        };
        let cursors = (0..8).map(|lane| (lane, LaneCursor { acked, ..LaneCursor::default() })).collect();
        let lanes = lanes.iter().map(summary).collect();
        if !state.unrecovered.contains(&segment) {
            state.add_unrecovered(segment, cursors);
        }
        let delivered = state.add_sealed(segment, Seal { frames: 0, lanes });
        state.enqueue_all();
        delivered
    }

    /// Takes a batch and acknowledges it.
    fn deliver(state: &mut State, key: &str, segment: u64, lane: u32, batch: Range<u64>) -> Option<(LaneCursor, bool)> {
        state.take(&Arc::from(key), segment, &batch);
        state.ack(key, segment, lane, &batch)
    }

    #[test]
    fn a_partition_is_given_out_once_until_it_is_released() {
        let mut state = State::default();
        add(&mut state, 1, &[("a", 2)], 0);
        let key = state.checkout().unwrap();
        assert_eq!(state.checkout(), None);
        deliver(&mut state, "a", 1, 0, 0..1);
        state.release(&key, false);
        assert_eq!(state.checkout().as_deref(), Some("a"));
        assert_eq!(deliver(&mut state, "a", 1, 0, 1..2).map(|(_, done)| done), Some(true));
        state.release(&key, false);
        assert_eq!(state.checkout(), None);
        assert_eq!(state.pending_records, 0);
    }

    #[test]
    fn lanes_are_delivered_in_the_order_of_their_segments() {
        let mut state = State::default();
        add(&mut state, 3, &[("a", 1)], 0);
        add(&mut state, 2, &[("b", 1), ("a", 4)], 0);
        assert_eq!(state.front("a", None).map(|front| (front.segment, front.lane, front.end)), Some((2, 1, 4)));
        deliver(&mut state, "a", 2, 0, 0..4);
        assert_eq!(state.front("a", None).map(|front| front.segment), Some(3));
    }

    /// Or each segment would be opened again for each partition.
    #[test]
    fn partitions_are_given_out_in_the_order_of_their_segments() {
        let mut state = State::default();
        let keys: Vec<_> = (0..100).map(|n| n.to_string()).collect();
        for (segment, keys) in [(2, &keys[50..]), (1, &keys[..50])] {
            let lanes: Vec<_> = keys.iter().map(|key| (&**key, 1)).collect();
            add(&mut state, segment, &lanes, 0);
            state.ready.clear();
            state.partitions.values_mut().for_each(|partition| (partition.tasks, partition.forming) = (0, false));
        }
        state.enqueue_all();
        let given_out = std::iter::from_fn(|| state.checkout());
        assert!(given_out.map(|key| key.to_string()).eq(keys));
    }

    #[test]
    fn nothing_overtakes_a_segment_that_is_not_recovered() {
        let mut state = State::default();
        add(&mut state, 1, &[("a", 1)], 0);
        state.add_unrecovered(2, LaneCursors::new());
        add(&mut state, 3, &[("b", 1)], 0);
        assert_eq!(state.front("b", None), None);
        add(&mut state, 2, &[("b", 7)], 0);
        assert_eq!(state.front("b", None).map(|front| front.segment), Some(2));
        let ready: BTreeSet<_> = std::iter::from_fn(|| state.checkout()).collect();
        assert_eq!(ready, BTreeSet::from([Arc::from("a"), Arc::from("b")]));
    }

    #[test]
    fn what_is_delivered_already_is_not_pending() {
        let mut state = State::default();
        assert!(add(&mut state, 1, &[("a", 5)], 5));
        assert!(!add(&mut state, 2, &[("a", 6)], 5));
        assert_eq!(state.pending_records, 1);
    }

    #[test]
    fn the_oldest_segment_is_dropped_with_what_waits_there() {
        let mut state = State::default();
        add(&mut state, 1, &[("a", 5), ("b", 1)], 0);
        add(&mut state, 2, &[("a", 7)], 0);
        deliver(&mut state, "a", 1, 0, 0..2);
        deliver(&mut state, "b", 1, 1, 0..1);
        let told = Gap { key: Arc::from("a"), reason: LossReason::Expired, records: 9, first: None, last: None };
        state.segments.get_mut(&1).unwrap().told = vec![(1, told.clone()), (4, told.clone())];
        let time = Some(system_time(1));
        let missing = Gap { key: Arc::from("a"), reason: LossReason::Evicted, records: 2, first: time, last: time };
        assert_eq!(state.oldest(), Some(1));
        let (_, lost, unreported) = state.drop_segment(1);
        assert_eq!((lost, unreported), (vec![missing], vec![told]), "the other one was delivered");
        assert_eq!(state.pending_records, 7);
        assert_eq!(state.front("a", None).map(|front| front.segment), Some(2));
        // An answer to what was under way changes nothing.
        assert_eq!(deliver(&mut state, "a", 1, 0, 2..5), None);
        assert_eq!(state.oldest(), None, "the newest stays");
    }

    #[test]
    fn a_watermark_is_not_reached_by_giving_up_a_segment() {
        let mut state = State::default();
        add(&mut state, 1, &[("a", 2)], 0);
        let watermark = state.watermark();
        state.head = Some(1);
        state.abandon_head();
        assert!(!state.has_delivered(&watermark));
        add(&mut state, 1, &[("a", 2)], 0);
        assert!(!state.has_delivered(&watermark));
        deliver(&mut state, "a", 1, 0, 0..2);
        assert!(state.has_delivered(&watermark));
    }

    #[test]
    fn a_segment_that_was_given_up_goes_on_where_it_was() {
        let mut state = State::default();
        add(&mut state, 1, &[("a", 5)], 0);
        state.head = Some(1);
        deliver(&mut state, "a", 1, 0, 0..2);
        state.abandon_head();
        assert_eq!(state.pending_records, 0);
        // The answer to what was under way.
        assert_eq!(deliver(&mut state, "a", 1, 0, 2..3).map(|(cursor, _)| cursor.acked), Some(3));
        add(&mut state, 1, &[("a", 5)], 0);
        assert_eq!(state.front("a", None).map(|front| front.cursor.acked), Some(3));
        assert_eq!(state.pending_records, 2);
    }

    #[test]
    fn batches_are_acknowledged_in_any_order() {
        let mut state = State::default();
        add(&mut state, 1, &[("a", 12)], 0);
        state.allow("a", 2);
        let key = state.checkout().unwrap();
        let at = |record| BatchStart { segment: 1, record };
        let start = |state: &State, slot| state.front("a", slot).map(|front| front.start);
        for batch in [0..3, 3..6, 6..9] {
            assert_eq!(start(&state, None), Some(batch.start));
            assert!(state.take(&key, 1, &batch));
            state.checkout();
        }
        assert_eq!(state.checkout(), None, "three are under way");
        let acked = |state: &mut State, batch| state.ack("a", 1, 0, &batch).map(|(cursor, _)| cursor.acked);
        assert_eq!(acked(&mut state, 3..6), Some(0));
        assert_eq!(acked(&mut state, 3..6), None, "once");
        assert_eq!((start(&state, Some(at(0))), state.pending_records), (Some(0), 9));
        // The halves of what was refused come before what was never given out.
        state.split("a", at(6), 7);
        assert_eq!((start(&state, Some(at(6))), start(&state, None)), (Some(6), Some(6)));
        assert!(state.take(&key, 1, &(6..7)));
        assert_eq!(start(&state, None), Some(7));
        assert!(state.take(&key, 1, &(7..9)));
        assert_eq!(acked(&mut state, 0..3), Some(6));
        assert_eq!(acked(&mut state, 7..9), Some(6));
        assert_eq!(acked(&mut state, 6..7), Some(9));
        assert_eq!((start(&state, None), state.pending_records), (Some(9), 3));
    }

    #[test]
    fn a_watermark_is_reached_when_what_came_before_it_is_delivered() {
        let mut state = State::default();
        add(&mut state, 1, &[("a", 2), ("b", 1)], 0);
        let watermark = state.watermark();
        add(&mut state, 2, &[("a", 9)], 0);
        deliver(&mut state, "a", 1, 0, 0..2);
        assert!(!state.has_delivered(&watermark));
        deliver(&mut state, "b", 1, 1, 0..1);
        assert!(state.has_delivered(&watermark));
    }
}
