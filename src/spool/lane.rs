//! [`Lane`]: the records of one partition in one segment, and the batches of them that were given out. It touches memory only.
//!
//! Batches *flow*: they are given out in order, and the lane goes on when they are acknowledged. Beside the flow, a batch that was
//! in flight may be *parked*: it stays, and the lane goes on behind it. It is given out again only when it is asked for, as a
//! *trial*. A *control* is a single record from behind that is given out before its turn.

use std::collections::BTreeMap;
use std::ops::Range;

use super::cursor::{LaneCursor, Suspect};
use super::position::LaneId;

/// The most ranges of a lane that are acknowledged before an earlier record. Then the others wait for that one, since the
/// cursor names each of them.
const MAX_ACKED_AHEAD: usize = 256;

/// The most of them that may come of records that are withdrawn.
const MAX_WITHDRAWN: usize = MAX_ACKED_AHEAD / 2;

/// A batch of a lane: where it ends, and its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LaneBatch {
    end: u64,
    state: BatchState,
    /// For how long it was deferred, if it is parked.
    deferred_seconds: u32,
}

/// The state of a batch that is not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BatchState {
    InFlight,
    /// It waits to be given out again: it is a part of one that was cut, was left over by one that became shorter, or was not
    /// acknowledged when the process ended, but one behind it was.
    Waiting,
    /// It waits, and nothing of it was given out yet: it lies before a control.
    Unsent,
    Parked,
    /// It was parked, and is given out by itself.
    Trial,
    /// A single record that was given out before its turn.
    Control,
}

impl BatchState {
    fn is_given_out(self) -> bool {
        self.purpose().is_some()
    }

    /// Why the batch is given out, if it is.
    fn purpose(self) -> Option<Purpose> {
        match self {
            Self::InFlight => Some(Purpose::Flow),
            Self::Trial => Some(Purpose::Trial),
            Self::Control => Some(Purpose::Control),
            Self::Waiting | Self::Unsent | Self::Parked => None,
        }
    }

    fn waits(self) -> bool {
        matches!(self, Self::Waiting | Self::Unsent)
    }

    fn is_parked(self) -> bool {
        matches!(self, Self::Parked | Self::Trial)
    }

    /// The state of what is left of a batch, once that is not given out any more.
    fn of_rest(self) -> Self {
        match self {
            Self::InFlight | Self::Control | Self::Waiting => Self::Waiting,
            Self::Trial | Self::Parked => Self::Parked,
            Self::Unsent => Self::Unsent,
        }
    }
}

/// The reason why a batch is given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It is its turn.
    Flow,
    /// It is parked, and is to be tried.
    Trial,
    /// It is a record from behind, to be tried before its turn.
    Control,
}

impl Purpose {
    /// Fixes in a cursor the ends of a batch that do not follow from what is stored.
    pub(super) fn fix_ends(self, cursor: &mut LaneCursor, batch: &Range<u64>) {
        match self {
            Self::Flow | Self::Trial => cursor.fix_end(batch.end),
            Self::Control => cursor.fix_both_ends(batch),
        }
    }
}

/// How the end of a batch that could grow is to be found again after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It follows from the entries, and from the boundary in the next one.
    Stored,
    /// It is to be written first: an entry that does not know of it is being written, or came meanwhile.
    Unknown,
}

/// The room for gaps in the lane of records that are to be withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GapRoom {
    Enough,
    /// Each gap stands in the lane's cursor. The next segment has room for others.
    Full,
}

/// Records that are parked, in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ParkedRecords {
    pub(super) start: u64,
    pub(super) records: u64,
    pub(super) deferred_seconds: u64,
}

/// A lane: one partition in one segment.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) id: LaneId,
    /// How many records the lane has. The number grows while the segment is active.
    pub(super) end: u64,
    pub(super) cursor: LaneCursor,
    /// The batches that are not acknowledged, by their first record. They do not overlap.
    batches: BTreeMap<u64, LaneBatch>,
    /// The latest end of a batch that ended only because there were no more records. The next entry carries it.
    boundary: u64,
    /// An entry is being written: what it carries as the boundary is decided.
    appending: bool,
    pub(super) first_timestamp: u64,
    pub(super) last_timestamp: u64,
}

impl Lane {
    pub(super) fn new(id: LaneId, end: u64, mut cursor: LaneCursor, timestamps: (u64, u64)) -> Self {
        cursor.truncate(end);
        if cursor.end_of_acked() < cursor.sent && cursor.sent < end {
            // A batch ended there, and the next one begins: also when `sent` goes on.
            cursor.fix_end(cursor.sent);
        }
        let batch = |(records, deferred): (Range<u64>, Option<u32>)| {
            let state = if deferred.is_some() { BatchState::Parked } else { BatchState::Waiting };
            (records.start, LaneBatch { end: records.end, state, deferred_seconds: deferred.unwrap_or_default() })
        };
        let batches = cursor.holes().into_iter().map(batch).collect();
        let (first_timestamp, last_timestamp) = timestamps;
        Self { id, end, cursor, batches, boundary: 0, appending: false, first_timestamp, last_timestamp }
    }

    /// The lane as it is found in its segment, which was abandoned. The batches that are given out still are, if they are there.
    pub(super) fn found(self, end: u64, timestamps: (u64, u64)) -> Self {
        let given_out = self.batches.into_iter().filter(|(_, batch)| batch.end <= end);
        let mut found = Self::new(self.id, end, self.cursor, timestamps);
        for (start, batch) in given_out {
            if let Some(purpose) = batch.state.purpose() {
                found.give_out(&(start..batch.end), purpose);
            }
        }
        found
    }

    /// Whether a batch that is given out, or comes again as it is, would be divided if this one were given out.
    pub(super) fn is_divided_by(&self, purpose: Purpose, batch: &Range<u64>) -> bool {
        let is_divided_at =
            |end: u64| self.batches.range(..end).next_back().is_some_and(|(_, before)| before.end > end);
        is_divided_at(batch.end) || (purpose == Purpose::Control && is_divided_at(batch.start))
    }

    /// Adds records to the lane.
    pub(super) fn grow(&mut self, records: u64, (first_timestamp, last_timestamp): (u64, u64)) {
        self.end += records;
        self.appending = false;
        self.first_timestamp = self.first_timestamp.min(first_timestamp);
        self.last_timestamp = self.last_timestamp.max(last_timestamp);
    }

    /// Begins to write an entry, which is to carry the boundary that is returned.
    pub(super) fn begin_append(&mut self) -> u64 {
        self.appending = true;
        self.boundary
    }

    /// The batches in some states, by their first record.
    fn with(&self, is: impl Fn(BatchState) -> bool) -> impl Iterator<Item = (u64, LaneBatch)> {
        self.batches.iter().filter(move |(_, batch)| is(batch.state)).map(|(start, batch)| (*start, *batch))
    }

    fn first_waiting(&self) -> Option<u64> {
        self.with(BatchState::waits).next().map(|(start, _)| start)
    }

    /// How many records are not acknowledged.
    pub(super) fn pending(&self) -> u64 {
        self.cursor.pending(self.end)
    }

    /// The first record behind all that were given out.
    fn next_start(&self) -> u64 {
        let given_out = self.batches.last_key_value().map_or(0, |(_, batch)| batch.end);
        given_out.max(self.cursor.end_of_acked())
    }

    fn may_start_another(&self) -> bool {
        self.cursor.acked_ahead.len() < MAX_ACKED_AHEAD
    }

    /// The first record that flows: in flight, or to be given out in its turn.
    pub(super) fn first_flowing(&self) -> Option<u64> {
        let batch = self.with(|state| state == BatchState::InFlight || state.waits()).next().map(|(start, _)| start);
        batch.or_else(|| Some(self.next_start())).filter(|start| *start < self.end)
    }

    /// How many records are neither acknowledged nor parked.
    pub(super) fn flowing(&self) -> u64 {
        self.pending() - self.parked().map(|parked| parked.records).sum::<u64>()
    }

    /// Whether there is a batch that is not given out.
    pub(super) fn has_more(&self) -> bool {
        self.start_of_next().is_some()
    }

    pub(super) fn is_in_flight(&self, start: u64) -> bool {
        self.batches.get(&start).is_some_and(|batch| batch.state == BatchState::InFlight)
    }

    /// How many batches are in flight, and where the first of them begins.
    pub(super) fn in_flight(&self) -> (usize, Option<u64>) {
        let in_flight = || self.with(|state| state == BatchState::InFlight);
        (in_flight().count(), in_flight().next().map(|(start, _)| start))
    }

    /// Whether a batch was given out beside the flow.
    pub(super) fn is_tried(&self) -> bool {
        self.with(|state| matches!(state, BatchState::Trial | BatchState::Control)).next().is_some()
    }

    /// Where the batch begins that is to be given out next.
    pub(super) fn start_of_next(&self) -> Option<u64> {
        let start = self.first_waiting().or_else(|| self.may_start_another().then(|| self.next_start()));
        start.filter(|start| *start < self.end)
    }

    /// Where the batch that begins at `start` ends at the latest, if that is fixed.
    pub(super) fn fixed_end(&self, start: u64) -> Option<u64> {
        let known = [self.batches.get(&start).map(|batch| batch.end), self.cursor.end_of(start)];
        known.into_iter().flatten().min()
    }

    /// How a batch ends that is given out while records may be added to the lane, which had `lane_end` when it was read.
    pub(super) fn end_of_growing(&self, end: u64, lane_end: u64) -> End {
        let ended_early = end < lane_end;
        if ended_early || (self.end == lane_end && !self.appending) { End::Stored } else { End::Unknown }
    }

    /// Gives a batch out. The rest of a longer one comes again by itself.
    pub(super) fn give_out(&mut self, batch: &Range<u64>, purpose: Purpose) {
        let state = match purpose {
            Purpose::Flow => BatchState::InFlight,
            Purpose::Trial => BatchState::Trial,
            Purpose::Control => BatchState::Control,
        };
        let next_start = self.next_start();
        let around = self.batches.range(..=batch.start).next_back().filter(|(_, around)| around.end > batch.start);
        let around = around.map(|(start, around)| (*start, *around));
        let mut deferred_seconds = 0;
        if let Some((start, around)) = around {
            deferred_seconds = around.deferred_seconds;
            let rest = LaneBatch { state: around.state.of_rest(), ..around };
            if start < batch.start {
                self.batches.insert(start, LaneBatch { end: batch.start, ..rest });
            }
            if batch.end < around.end {
                self.batches.insert(batch.end, rest);
            }
        } else if next_start < batch.start {
            let before = LaneBatch { end: batch.start, state: BatchState::Unsent, deferred_seconds };
            self.batches.insert(next_start, before);
        }
        self.batches.insert(batch.start, LaneBatch { end: batch.end, state, deferred_seconds });
        self.cursor.sent = self.cursor.sent.max(batch.end);
        if batch.end == self.end {
            self.boundary = self.end;
        }
        if purpose == Purpose::Trial {
            self.note_parked();
        }
    }

    /// Notes in the cursor which batches are parked.
    fn note_parked(&mut self) {
        let suspect = |(start, batch): (u64, LaneBatch)| Suspect {
            records: start..batch.end,
            deferred_seconds: batch.deferred_seconds,
        };
        self.cursor.suspects = self.with(BatchState::is_parked).map(suspect).collect();
    }

    /// Puts a batch that was given out back: it is to be given out again, or is parked again.
    pub(super) fn put_back(&mut self, start: u64) {
        if let Some(batch) = self.batches.get_mut(&start).filter(|batch| batch.state.is_given_out()) {
            batch.state = batch.state.of_rest();
        }
    }

    /// The batch with just these records, if it is given out.
    pub(super) fn is_given_out(&self, batch: &Range<u64>) -> bool {
        self.batches.get(&batch.start).is_some_and(|found| found.end == batch.end && found.state.is_given_out())
    }

    /// Acknowledges the records before `end` of a batch that is given out; the rest comes again. False if it is not given out.
    pub(super) fn ack(&mut self, batch: &Range<u64>, end: u64) -> bool {
        if !self.is_given_out(batch) {
            return false;
        }
        if let Some(acked) = self.batches.remove(&batch.start)
            && end < batch.end
        {
            self.batches.insert(end, LaneBatch { state: acked.state.of_rest(), ..acked });
            self.cursor.fix_end(batch.end);
        }
        self.cursor.ack(&(batch.start..end));
        true
    }

    /// Cuts a batch that is given out where these records begin; its parts come in its place.
    pub(super) fn cut(&mut self, batch: &Range<u64>, points: &[u64]) {
        if !self.is_given_out(batch) {
            return;
        }
        self.cursor.cut(batch, points);
        let Some(whole) = self.batches.remove(&batch.start) else { return };
        let starts = std::iter::once(batch.start).chain(points.iter().copied());
        let ends = points.iter().copied().chain([batch.end]);
        for (start, end) in starts.zip(ends) {
            self.batches.insert(start, LaneBatch { end, state: whole.state.of_rest(), ..whole });
        }
        self.note_parked();
    }

    /// The records that were never given out, in order.
    fn never_given_out(&self) -> impl Iterator<Item = Range<u64>> {
        let before_controls = self.with(|state| state == BatchState::Unsent).map(|(start, batch)| start..batch.end);
        let behind = self.next_start()..self.end;
        before_controls.chain([behind]).filter(|range| !range.is_empty() && self.may_start_another())
    }

    /// The room for a gap where these records are withdrawn; `None` if some of them were given out.
    pub(super) fn gap_room(&self, records: &Range<u64>) -> Option<GapRoom> {
        let holds = |unsent: Range<u64>| unsent.start <= records.start && records.end <= unsent.end;
        if records.is_empty() || !self.never_given_out().any(holds) {
            return None;
        }
        let touches = |gap: &Range<u64>| gap.start <= records.end && records.start <= gap.end;
        let makes_another = records.start > self.cursor.acked && !self.cursor.acked_ahead.iter().any(touches);
        let is_full = makes_another && self.cursor.acked_ahead.len() >= MAX_WITHDRAWN;
        Some(if is_full { GapRoom::Full } else { GapRoom::Enough })
    }

    /// How many records may be a control: those that were never given out.
    pub(super) fn unsent(&self) -> u64 {
        self.never_given_out().map(|range| range.end - range.start).sum()
    }

    /// How many of those lie before a record.
    pub(super) fn unsent_before(&self, record: u64) -> u64 {
        self.never_given_out().map(|range| range.end.min(record).saturating_sub(range.start)).sum()
    }

    /// The record that lies `ahead` records behind the first one that may be a control.
    pub(super) fn control(&self, mut ahead: u64) -> Option<u64> {
        self.never_given_out().find_map(|range| {
            let found = range.start.checked_add(ahead).filter(|record| *record < range.end);
            ahead = ahead.saturating_sub(range.end - range.start);
            found
        })
    }

    /// Whether the record there is a control that was given out, or was and was put back.
    pub(super) fn is_control(&self, record: u64) -> bool {
        let is_control = |batch: &LaneBatch| matches!(batch.state, BatchState::Control | BatchState::Waiting);
        self.batches.get(&record).is_some_and(|batch| is_control(batch) && batch.end == record + 1)
    }
}

/// Parking.
impl Lane {
    /// Whether a parked batch begins there, on trial or not.
    pub(super) fn is_parked(&self, start: u64) -> bool {
        self.batches.get(&start).is_some_and(|batch| batch.state.is_parked())
    }

    /// The batches that are parked, in order, those on trial included.
    pub(super) fn parked(&self) -> impl Iterator<Item = ParkedRecords> {
        self.with(BatchState::is_parked).map(|(start, batch)| ParkedRecords {
            start,
            records: batch.end - start,
            deferred_seconds: u64::from(batch.deferred_seconds),
        })
    }

    /// Parks a batch that is given out.
    pub(super) fn park(&mut self, start: u64) {
        if let Some(batch) = self.batches.get_mut(&start).filter(|batch| batch.state.is_given_out()) {
            batch.state = BatchState::Parked;
            self.cursor.fix_end(batch.end);
            self.note_parked();
        }
    }

    /// Parks all records before `limit` that flow and are not in flight, in one batch where they follow one another. Returns
    /// how many they are.
    pub(super) fn park_before(&mut self, limit: u64) -> u64 {
        let behind = self.next_start()..self.end.min(limit);
        let waiting = self.with(BatchState::waits).map(|(start, batch)| start..batch.end);
        let mut stretches: Vec<Range<u64>> = Vec::new();
        for range in waiting.filter(|range| range.end <= limit).chain([behind]).filter(|range| !range.is_empty()) {
            match stretches.last_mut().filter(|last| last.end == range.start) {
                Some(last) => last.end = range.end,
                None => stretches.push(range),
            }
        }
        self.batches.retain(|start, batch| !(batch.state.waits() && batch.end <= limit && *start < limit));
        for Range { start, end } in &stretches {
            let parked = LaneBatch { end: *end, state: BatchState::Parked, deferred_seconds: 0 };
            self.batches.insert(*start, parked);
            self.cursor.fix_end(*end);
        }
        self.note_parked();
        stretches.iter().map(|range| range.end - range.start).sum()
    }

    /// Notes for how long a parked batch was deferred.
    pub(super) fn note_deferred(&mut self, start: u64, seconds: u64) {
        if let Some(batch) = self.batches.get_mut(&start).filter(|batch| batch.state.is_parked()) {
            batch.deferred_seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
            self.note_parked();
        }
    }

    /// For how long the batch there was deferred, and whether it is parked.
    pub(super) fn deferred(&self, start: u64) -> Option<u64> {
        let batch = self.batches.get(&start).filter(|batch| batch.state.is_parked())?;
        Some(u64::from(batch.deferred_seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::super::position::SegmentId;
    use super::*;

    fn lane(end: u64, cursor: LaneCursor) -> Lane {
        Lane::new(LaneId { segment: SegmentId { number: 1, random: 7 }, lane: 0 }, end, cursor, (0, 0))
    }

    #[test]
    fn what_was_not_acknowledged_before_others_is_given_out_first_after_a_restart() {
        let cursor = LaneCursor { acked: 10, acked_ahead: vec![15..20, 22..30], ends: vec![], ..LaneCursor::default() };
        let mut lane = lane(40, cursor);
        let mut given_out = Vec::new();
        while let Some(start) = lane.start_of_next() {
            let end = lane.fixed_end(start).unwrap_or(lane.end).min(start + 3);
            lane.give_out(&(start..end), Purpose::Flow);
            given_out.push(start..end);
        }
        assert_eq!(given_out, [10..13, 13..15, 20..22, 30..33, 33..36, 36..39, 39..40]);
        assert!(given_out.iter().all(|batch| lane.ack(batch, batch.end)));
        assert_eq!((lane.pending(), lane.cursor.acked), (0, 40));
    }

    #[test]
    fn a_cursor_that_is_ahead_of_the_records_is_cut() {
        let cursor = LaneCursor {
            acked: 10,
            acked_ahead: std::iter::once(15..20).collect(),
            ends: vec![30],
            ..LaneCursor::default()
        };
        let lane = lane(8, cursor);
        assert_eq!((lane.pending(), lane.start_of_next(), lane.cursor.ends.len()), (0, None, 0));
    }

    #[test]
    fn an_end_is_stored_unless_an_entry_came_that_does_not_know_of_it() {
        let mut lane = lane(10, LaneCursor::default());
        assert_eq!(lane.end_of_growing(10, 10), End::Stored);
        lane.give_out(&(0..10), Purpose::Flow);
        assert_eq!(lane.begin_append(), 10);
        assert_eq!(lane.end_of_growing(10, 10), End::Unknown, "the entry is being written");
        assert_eq!(lane.end_of_growing(8, 10), End::Stored, "it ended by its limits");
        lane.grow(5, (0, 0));
        assert_eq!(lane.end_of_growing(10, 10), End::Unknown, "the entry is there");
        assert_eq!(lane.end_of_growing(15, 15), End::Stored);
    }
}
