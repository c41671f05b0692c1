//! [`Lane`]: the records of one partition in one segment, and the batches of them that were given out. It touches memory only.

use std::collections::BTreeMap;
use std::ops::Range;

use super::cursor::LaneCursor;
use super::position::LaneId;

/// The most ranges of a lane that are acknowledged before an earlier record. Then the others wait for that one, since the
/// cursor names each of them.
const MAX_ACKED_AHEAD: usize = 256;

/// A batch of a lane: where it ends, and its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LaneBatch {
    end: u64,
    state: BatchState,
}

/// The state of a batch that is not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BatchState {
    InFlight,
    /// It waits to be given out again: it is a part of one that was split, was left over by one that became shorter, or was not
    /// acknowledged when the process ended, but one behind it was.
    Waiting,
}

/// How the end of a batch that could grow is to be found again after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It follows from the entries, and from the boundary in the next one.
    Stored,
    /// It is to be written first: an entry that does not know of it is being written, or came meanwhile.
    Unknown,
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
        cursor.cut(end);
        let holes = cursor.holes().map(|hole| (hole.start, LaneBatch { end: hole.end, state: BatchState::Waiting }));
        let batches = holes.collect();
        let (first_timestamp, last_timestamp) = timestamps;
        Self { id, end, cursor, batches, boundary: 0, appending: false, first_timestamp, last_timestamp }
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

    fn with(&self, state: BatchState) -> impl Iterator<Item = u64> {
        self.batches.iter().filter(move |(_, batch)| batch.state == state).map(|(start, _)| *start)
    }

    /// How many records are not acknowledged.
    pub(super) fn pending(&self) -> u64 {
        self.cursor.pending(self.end)
    }

    /// The first record that never was given out.
    fn next_start(&self) -> u64 {
        let given_out = self.batches.last_key_value().map_or(0, |(_, batch)| batch.end);
        given_out.max(self.cursor.end_of_acked())
    }

    fn may_start_another(&self) -> bool {
        self.cursor.acked_ahead.len() < MAX_ACKED_AHEAD
    }

    /// Whether there is a batch that is not given out.
    pub(super) fn has_more(&self) -> bool {
        self.with(BatchState::Waiting).next().is_some() || (self.next_start() < self.end && self.may_start_another())
    }

    pub(super) fn is_in_flight(&self, start: u64) -> bool {
        self.batches.get(&start).is_some_and(|batch| batch.state == BatchState::InFlight)
    }

    /// How many batches are in flight, and where the first of them begins.
    pub(super) fn in_flight(&self) -> (usize, Option<u64>) {
        (self.with(BatchState::InFlight).count(), self.with(BatchState::InFlight).next())
    }

    /// Where the batch begins that is to be given out next.
    pub(super) fn start_of_next(&self) -> Option<u64> {
        let waiting = self.with(BatchState::Waiting).next();
        waiting.or_else(|| self.may_start_another().then(|| self.next_start())).filter(|start| *start < self.end)
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

    /// Puts a batch in flight. The rest of a longer one that begins at the same record comes again by itself.
    pub(super) fn give_out(&mut self, batch: &Range<u64>) {
        let before = self.batches.insert(batch.start, LaneBatch { end: batch.end, state: BatchState::InFlight });
        if let Some(LaneBatch { end, .. }) = before.filter(|before| before.end > batch.end) {
            self.batches.insert(batch.end, LaneBatch { end, state: BatchState::Waiting });
        }
        if batch.end == self.end {
            self.boundary = self.end;
        }
    }

    /// Puts a batch that is in flight back: it is to be given out again.
    pub(super) fn put_back(&mut self, start: u64) {
        if let Some(batch) = self.batches.get_mut(&start) {
            batch.state = BatchState::Waiting;
        }
    }

    fn has_in_flight(&self, batch: &Range<u64>) -> bool {
        self.batches.get(&batch.start) == Some(&LaneBatch { end: batch.end, state: BatchState::InFlight })
    }

    /// Notes that a batch is delivered; false if it is not in flight.
    pub(super) fn ack(&mut self, delivered: &Range<u64>) -> bool {
        let in_flight = self.has_in_flight(delivered);
        if in_flight {
            self.batches.remove(&delivered.start);
            self.cursor.ack(delivered);
        }
        in_flight
    }

    /// Splits a batch that is in flight; its parts come in its place.
    pub(super) fn split(&mut self, batch: &Range<u64>) {
        if self.has_in_flight(batch) {
            let middle = self.cursor.split(batch);
            self.batches.insert(batch.start, LaneBatch { end: middle, state: BatchState::Waiting });
            self.batches.insert(middle, LaneBatch { end: batch.end, state: BatchState::Waiting });
        }
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
        let cursor = LaneCursor { acked: 10, acked_ahead: vec![15..20, 22..30], ends: vec![] };
        let mut lane = lane(40, cursor);
        let mut given_out = Vec::new();
        while let Some(start) = lane.start_of_next() {
            let end = lane.fixed_end(start).unwrap_or(lane.end).min(start + 3);
            lane.give_out(&(start..end));
            given_out.push(start..end);
        }
        assert_eq!(given_out, [10..13, 13..15, 20..22, 30..33, 33..36, 36..39, 39..40]);
        assert!(given_out.iter().all(|batch| lane.ack(batch)));
        assert_eq!((lane.pending(), lane.cursor.acked), (0, 40));
    }

    #[test]
    fn a_cursor_that_is_ahead_of_the_records_is_cut() {
        let cursor = LaneCursor { acked: 10, acked_ahead: std::iter::once(15..20).collect(), ends: vec![30] };
        let lane = lane(8, cursor);
        assert_eq!((lane.pending(), lane.start_of_next(), lane.cursor.ends.len()), (0, None, 0));
    }

    #[test]
    fn an_end_is_stored_unless_an_entry_came_that_does_not_know_of_it() {
        let mut lane = lane(10, LaneCursor::default());
        assert_eq!(lane.end_of_growing(10, 10), End::Stored);
        lane.give_out(&(0..10));
        assert_eq!(lane.begin_append(), 10);
        assert_eq!(lane.end_of_growing(10, 10), End::Unknown, "the entry is being written");
        assert_eq!(lane.end_of_growing(8, 10), End::Stored, "it ended by its limits");
        lane.grow(5, (0, 0));
        assert_eq!(lane.end_of_growing(10, 10), End::Unknown, "the entry is there");
        assert_eq!(lane.end_of_growing(15, 15), End::Stored);
    }
}
