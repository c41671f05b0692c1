//! Withdrawing: records that nobody was sent yet are not to be sent any more, because newer ones stand for them. It writes
//! cursors.

use std::ops::Range;
use std::sync::Arc;

use super::position::LaneId;
use super::queue::Queue;
use crate::config::values::Durability;
use crate::error::SpoolError;

/// The records of one block, as they were appended.
#[derive(Clone, Debug)]
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

    /// Whether these records come after others of the same partition.
    pub(crate) fn is_after(&self, other: &Self) -> bool {
        (self.lane.segment, self.records.start) > (other.lane.segment, other.records.start)
    }
}

impl Queue {
    /// Takes records out that were never given out, and returns how many those are: all of the block's, or none where some were
    /// given out or too many gaps would come of it. What was accepted since is synced before, so that no cut of the power takes both.
    ///
    /// # Errors
    ///
    /// If that cannot be kept. Nothing is withdrawn then.
    pub(super) fn withdraw(&self, block: &Appended) -> Result<u64, SpoolError> {
        let Appended { key, lane, records } = block;
        if self.index.lock().cursor_of_unsent(key, *lane, records).is_none() {
            return Ok(0);
        }
        if matches!(self.config.durability, Durability::Interval(_)) {
            self.sync_active()?;
        }
        let acked = self.with_cursors(|cursors| {
            let before = self.index.lock().cursor_of_unsent(key, *lane, records);
            let Some(before) = before else { return Ok(None) };
            let mut cursor = before.clone();
            // What lies before them ends here, also after a restart.
            cursor.fix_both_ends(records);
            cursor.ack(records);
            self.persist(cursors, *lane, &cursor, before)?;
            let mut index = self.index.lock();
            let acked = index.withdraw(key, *lane, records);
            if acked.is_none() {
                // They were given out meanwhile.
                index.rewrite(key, *lane);
            }
            Ok(acked)
        })?;
        let Some(acked) = acked else { return Ok(0) };
        self.finish_ack(*lane, acked);
        Ok(records.end - records.start)
    }
}
