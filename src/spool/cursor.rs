//! [`LaneCursor`]: how far a lane is delivered. It touches memory only.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use super::position::LaneId;

/// The cursor of a lane: how far it is delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LaneCursor {
    /// Records before this one are delivered.
    pub(super) acked: u64,
    /// The records behind it that were acknowledged out of order, ascending. No two of the ranges touch.
    pub(super) acked_ahead: Vec<Range<u64>>,
    /// Where batches end that do not follow from the entries, the last first: of those that were split, and of those that
    /// were given out just when more came.
    pub(super) ends: Vec<u64>,
    /// No record from this one on was given out, as far as was noted.
    pub(super) sent: u64,
    /// The records that are parked, ascending. They do not overlap, and none of them is acknowledged.
    pub(super) suspects: Vec<Suspect>,
}

/// Records that are parked: they are kept and tried by themselves, and the lane goes on behind them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Suspect {
    pub(super) records: Range<u64>,
    /// For how long they were deferred.
    pub(super) deferred_seconds: u32,
}

impl LaneCursor {
    /// How many records before `end` are not acknowledged.
    pub(super) fn pending(&self, end: u64) -> u64 {
        let ahead: u64 = self.acked_ahead.iter().map(|range| range.end.min(end).saturating_sub(range.start)).sum();
        end.saturating_sub(self.acked).saturating_sub(ahead)
    }

    /// Whether a record is acknowledged.
    #[cfg(any(feature = "cli", test))]
    pub(super) fn is_acked(&self, record: u64) -> bool {
        let behind = self.acked_ahead.partition_point(|range| range.end <= record);
        record < self.acked || self.acked_ahead.get(behind).is_some_and(|range| range.contains(&record))
    }

    /// Whether nothing of the lane was given out, acknowledged or divided.
    pub(super) fn is_unused(&self) -> bool {
        *self == Self::default()
    }

    /// Notes that these records are delivered. Those that are noted already change nothing.
    pub(super) fn ack(&mut self, records: &Range<u64>) {
        if records.start <= self.acked {
            self.acked = self.acked.max(records.end);
        } else {
            let (mut start, mut end) = (records.start, records.end);
            self.acked_ahead.retain(|range| {
                let touches = range.start <= end && start <= range.end;
                if touches {
                    (start, end) = (start.min(range.start), end.max(range.end));
                }
                !touches
            });
            let at = self.acked_ahead.partition_point(|range| range.end < start);
            self.acked_ahead.insert(at, start..end);
        }
        while let Some(first) = self.acked_ahead.first()
            && first.start <= self.acked
        {
            self.acked = self.acked.max(first.end);
            self.acked_ahead.remove(0);
        }
        self.forget_ends();
        self.forget_suspects(records);
    }

    /// The same of many ranges, ascending, in time that grows with their number.
    pub(super) fn ack_all(&mut self, ranges: &[Range<u64>]) {
        let mut all: Vec<_> = std::mem::take(&mut self.acked_ahead);
        all.extend_from_slice(ranges);
        all.sort_by_key(|range| range.start);
        for range in all {
            match self.acked_ahead.last_mut() {
                _ if range.start <= self.acked => self.acked = self.acked.max(range.end),
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => self.acked_ahead.push(range),
            }
        }
        self.forget_ends();
        for range in ranges {
            self.forget_suspects(range);
        }
    }

    /// Forgets ends of batches that are acknowledged: an end is of use to the batch before it.
    fn forget_ends(&mut self) {
        let (acked, ahead) = (self.acked, &self.acked_ahead);
        let is_acked = |end: u64| {
            let before = ahead.partition_point(|range| range.start < end).checked_sub(1);
            end <= acked || before.is_some_and(|at| end <= ahead[at].end)
        };
        self.ends.retain(|end| !is_acked(*end));
    }

    fn forget_suspects(&mut self, records: &Range<u64>) {
        if !self.suspects.is_empty() {
            let suspects = std::mem::take(&mut self.suspects).into_iter();
            self.suspects = suspects.flat_map(|suspect| suspect.without(records)).collect();
        }
    }

    /// The records that are not acknowledged though they, or others behind them, were given out: those that are parked, with
    /// how long they were deferred, and those that wait for nothing but being sent again.
    pub(super) fn holes(&self) -> Vec<(Range<u64>, Option<u32>)> {
        let mut holes = Vec::new();
        let mut hole = |start: u64, end: u64, deferred| {
            if start < end {
                holes.push((start..end, deferred));
            }
        };
        let acked = self.acked_ahead.iter().map(|range| (range.clone(), None));
        let parked = self.suspects.iter().map(|suspect| (suspect.records.clone(), Some(suspect.deferred_seconds)));
        let mut known: Vec<_> = acked.chain(parked).collect();
        known.sort_unstable_by_key(|(range, _)| range.start);
        let mut start = self.acked;
        for (range, deferred) in known {
            hole(start, range.start, None);
            if deferred.is_some() {
                hole(start.max(range.start), range.end, deferred);
            }
            start = start.max(range.end);
        }
        hole(start, self.sent, None);
        holes
    }

    /// The first record behind all that are acknowledged.
    pub(super) fn end_of_acked(&self) -> u64 {
        self.acked_ahead.last().map_or(self.acked, |last| last.end)
    }

    /// Fixes the end of a batch, whatever is appended.
    pub(super) fn fix_end(&mut self, end: u64) {
        if end > self.acked
            && let Err(at) = self.ends.binary_search_by(|other| end.cmp(other))
        {
            self.ends.insert(at, end);
        }
    }

    /// Cuts a batch where these of its records begin, and fixes its own end.
    pub(super) fn cut(&mut self, batch: &Range<u64>, points: &[u64]) {
        self.fix_end(batch.end);
        for point in points {
            self.fix_end(*point);
        }
    }

    /// Fixes both ends of a batch that is given out before what is in front of it.
    pub(super) fn fix_both_ends(&mut self, batch: &Range<u64>) {
        self.fix_end(batch.end);
        self.fix_end(batch.start);
        self.sent = self.sent.max(batch.end);
    }

    /// Where the batch that begins at `start` ends, if that is fixed.
    pub(super) fn end_of(&self, start: u64) -> Option<u64> {
        self.ends.iter().rev().find(|end| **end > start).copied()
    }

    /// Forgets what lies behind the end of the lane: after a power cut a cursor can be ahead of the records.
    pub(super) fn truncate(&mut self, end: u64) {
        self.acked = self.acked.min(end);
        self.acked_ahead.retain_mut(|range| {
            range.end = range.end.min(end);
            range.start < range.end
        });
        self.ends.retain(|other| *other <= end);
        self.sent = self.sent.min(end);
        self.suspects.retain_mut(|suspect| {
            suspect.records.end = suspect.records.end.min(end);
            suspect.records.start < suspect.records.end
        });
    }
}

impl Suspect {
    /// What is left of it without some records.
    fn without(self, records: &Range<u64>) -> impl Iterator<Item = Self> {
        let Self { records: Range { start, end }, deferred_seconds } = self;
        let parts = [start..end.min(records.start), start.max(records.end)..end];
        let parts = parts.into_iter().filter(|part| part.start < part.end);
        parts.map(move |records| Self { records, deferred_seconds })
    }
}

/// The cursors of a segment, by lane. Nothing is delivered of a lane that has none.
pub(super) type LaneCursors = HashMap<u32, LaneCursor>;

/// The cursors of lanes in several segments.
pub(super) type Cursors = BTreeMap<LaneId, LaneCursor>;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_batch_is_split_down_to_single_records_and_every_record_comes_once() {
        let mut cursor = LaneCursor { acked: 10, ..LaneCursor::default() };
        let mut singles = Vec::new();
        while cursor.acked < 17 {
            let batch = cursor.acked..cursor.end_of(cursor.acked).unwrap_or(17);
            if batch.end - batch.start > 1 {
                cursor.cut(&batch, &[batch.start + (batch.end - batch.start) / 2]);
            } else {
                singles.push(cursor.acked);
                cursor.ack(&batch);
            }
        }
        assert_eq!(singles, [10, 11, 12, 13, 14, 15, 16]);
        assert!(cursor.ends.is_empty());
    }

    #[test]
    fn a_later_batch_is_split_without_touching_an_earlier_one() {
        let mut cursor = LaneCursor::default();
        for end in [30, 10, 20] {
            cursor.fix_end(end);
        }
        cursor.cut(&(10..20), &[15]);
        assert_eq!(cursor.ends, [30, 20, 15, 10]);
        assert_eq!(
            [0, 10, 15, 20, 30].map(|start| cursor.end_of(start)),
            [Some(10), Some(15), Some(20), Some(30), None]
        );
        cursor.ack(&(0..10));
        assert_eq!(cursor.ends, [30, 20, 15]);
        cursor.ack(&(15..20));
        assert_eq!(cursor.ends, [30, 15], "what ends the batch before a range is kept");
    }

    proptest! {
        #[test]
        fn acknowledged_records_are_the_same_in_any_order(
            batches in prop::collection::vec((0_u64..60, 1_u64..8), 0..20),
            end in 0_u64..70,
        ) {
            let mut cursor = LaneCursor { ends: (1..80).rev().collect(), ..LaneCursor::default() };
            cursor.suspects.push(Suspect { records: 5..30, deferred_seconds: 0 });
            let (mut at_once, mut ranges) = (cursor.clone(), Vec::new());
            let mut acked = [false; 80];
            for (start, len) in batches {
                cursor.ack(&(start..start + len));
                ranges.push(start..start + len);
                (start..start + len).for_each(|record| acked[usize::try_from(record).unwrap()] = true);
            }
            ranges.sort_by_key(|range| range.start);
            at_once.ack_all(&ranges);
            prop_assert_eq!(&at_once, &cursor);
            (cursor.ends, cursor.suspects) = <_>::default();
            for record in 0..80 {
                prop_assert_eq!(cursor.is_acked(record), acked[usize::try_from(record).unwrap()]);
            }
            let all: Vec<_> = std::iter::once(0..cursor.acked).chain(cursor.acked_ahead.iter().cloned()).collect();
            prop_assert!(all.windows(2).all(|two| two[0].end < two[1].start), "ranges that touch: {:?}", all);
            prop_assert_eq!(cursor.holes().len(), cursor.acked_ahead.len());
            let before = (0..end).filter(|record| !cursor.is_acked(*record)).count();
            prop_assert_eq!(cursor.pending(end), u64::try_from(before).unwrap());
            cursor.truncate(end);
            prop_assert!(cursor.end_of_acked() <= end);
            prop_assert_eq!(cursor.pending(end), u64::try_from(before).unwrap());
        }

        /// What is acknowledged is parked no more, the rest of it stays so, and each record that was sent is one or the other, or
        /// is to be sent again.
        #[test]
        fn suspects_are_what_was_parked_and_is_not_acknowledged(
            parked in prop::collection::vec((0_u64..9, 1_u64..9, 0_u32..9), 0..8),
            batches in prop::collection::vec((0_u64..80, 1_u64..9), 0..20),
            sent in 0_u64..80,
            end in 0_u64..80,
        ) {
            let mut cursor = LaneCursor { sent, ..LaneCursor::default() };
            let mut expected = [None; 90];
            let mut start = 0;
            for (gap, len, deferred_seconds) in parked {
                start += gap;
                cursor.suspects.push(Suspect { records: start..start + len, deferred_seconds });
                (start..start + len).filter(|record| *record < 90).for_each(|record| {
                    expected[usize::try_from(record).unwrap()] = Some(deferred_seconds);
                });
                start += len;
            }
            for (start, len) in batches {
                cursor.ack(&(start..start + len));
            }
            cursor.truncate(end);
            let suspects: Vec<_> = cursor.suspects.iter().map(|suspect| suspect.records.clone()).collect();
            prop_assert!(suspects.windows(2).all(|two| two[0].end <= two[1].start), "they overlap: {:?}", suspects);
            let holes = cursor.holes();
            let known = cursor.end_of_acked().max(suspects.last().map_or(0, |last| last.end)).max(sent.min(end));
            for record in 0..90 {
                let hole = holes.iter().filter(|(records, _)| records.contains(&record)).collect::<Vec<_>>();
                let open = record < known && !cursor.is_acked(record);
                prop_assert_eq!(hole.len(), usize::from(open), "record {} in {:?}", record, holes);
                if open {
                    prop_assert_eq!(hole[0].1, expected[usize::try_from(record).unwrap()], "record {}", record);
                }
            }
        }
    }
}
