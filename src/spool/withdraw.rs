//! Withdrawing: records that nobody was sent yet are not to be sent any more, because newer ones stand for them. It writes
//! cursors.

use std::ops::Range;
use std::sync::Arc;

use super::cursor::LaneCursor;
use super::index::Acked;
use super::lane::GapRoom;
use super::position::LaneId;
#[cfg(test)]
use super::position::SegmentId;
use super::queue::Queue;
use crate::config::values::Durability;
use crate::error::SpoolError;

/// The records of one block, as they were appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Appended {
    pub(super) key: Arc<str>,
    pub(super) lane: LaneId,
    pub(super) records: Range<u64>,
}

impl Appended {
    /// The partition key, as it is stored.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// Some records of a segment with this number.
    #[cfg(test)]
    pub(crate) fn of(key: &str, segment: u64, records: Range<u64>) -> Self {
        let segment = SegmentId { number: segment, random: 0 };
        Self { key: Arc::from(key), lane: LaneId { segment, lane: 0 }, records }
    }

    /// Whether these records come after others of the same partition.
    pub(crate) fn is_after(&self, other: &Self) -> bool {
        (self.lane.segment, self.records.start) > (other.lane.segment, other.records.start)
    }
}

impl Queue {
    /// Takes records out that were never given out, and returns how many those are: all of a block's, or none where some were
    /// given out. `newer` was appended since, and stands for them: it is on disk before, so that no cut of the power takes both.
    ///
    /// # Errors
    ///
    /// If that cannot be kept. Nothing is withdrawn then.
    pub(super) fn withdraw(&self, blocks: &[Appended], newer: &Appended) -> Result<u64, SpoolError> {
        let mut unsent = Vec::new();
        for block in blocks {
            let room = self.index.lock().gap_room(&block.key, block.lane, &block.records);
            match room {
                None => {}
                Some(GapRoom::Enough) => unsent.push(block),
                Some(GapRoom::Full) => self.complete_active(block.lane.segment),
            }
        }
        if unsent.is_empty() || !self.is_on_disk(newer)? {
            return Ok(0);
        }
        let withdrawn = self.with_cursors(|cursors| {
            let mut changes = Vec::new();
            for block in &unsent {
                let index = self.index.lock();
                let room = index.gap_room(&block.key, block.lane, &block.records);
                let before = index.cursor(&block.key, block.lane).filter(|_| room == Some(GapRoom::Enough));
                drop(index);
                changes.extend(before.map(|before| (*block, without(&before, &block.records), before)));
            }
            let written = changes.iter().map(|(block, cursor, before)| (block.lane, cursor.clone(), before.clone()));
            self.persist(cursors, &written.collect::<Vec<_>>())?;
            let (mut withdrawn, mut outdated) = (Vec::new(), Vec::new());
            for (block, cursor, _) in changes {
                let mut index = self.index.lock();
                match index.withdraw(&block.key, block.lane, &block.records) {
                    Some(acked) => withdrawn.push((block, acked)),
                    // They were given out meanwhile: what is on disk must not divide that batch.
                    None => outdated.extend(index.cursor(&block.key, block.lane).map(|now| (block.lane, now, cursor))),
                }
            }
            // An error leaves what will be written later.
            let _ = self.persist(cursors, &outdated);
            Ok::<Vec<(&Appended, Acked)>, SpoolError>(withdrawn)
        })?;
        let mut records = 0;
        for (block, acked) in withdrawn {
            self.finish_ack(block.lane, acked);
            records += block.records.end - block.records.start;
        }
        Ok(records)
    }

    /// Whether records are as safe as earlier ones are by now, which may be synced since.
    fn is_on_disk(&self, newer: &Appended) -> Result<bool, SpoolError> {
        match self.config.durability {
            Durability::Sync | Durability::Process => Ok(true),
            Durability::Interval(_) => {
                let writer = self.writer.lock();
                let active = writer.active.as_ref().filter(|active| active.id() == newer.lane.segment);
                let segment = active.map(|active| active.segment.clone());
                drop(writer);
                segment.map_or(Ok(false), |segment| segment.sync().map(|()| true))
            }
        }
    }
}

/// A cursor of which these records are taken out. What lies before them ends there, also after a restart.
fn without(cursor: &LaneCursor, records: &Range<u64>) -> LaneCursor {
    let mut cursor = cursor.clone();
    cursor.fix_both_ends(records);
    cursor.ack(records);
    cursor
}
