//! How much the spool takes, and what gives way when that is too much.

use super::housekeeper::Job;
use super::writer::Head;
use super::{Inner, lock};
use crate::config::values::{Durability, FullPolicy};
use crate::error::SpoolError;

/// What was last measured of the directory, and what was written since.
#[derive(Debug, Default)]
pub(super) struct Space {
    is_measured: bool,
    used: u64,
    free: u64,
    written: u64,
}

impl Inner {
    /// Makes room for so many bytes, or says why there is none.
    pub(super) fn make_room(&self, bytes: u64, head: Option<&Head>) -> Result<(), SpoolError> {
        let mut space = lock(&self.space);
        // Other processes write as well, and deliveries give space back: measured anew every few appends.
        if !space.is_measured || space.written >= self.config.segment_bytes / 8 {
            self.measure(&mut space, head);
        }
        while let Some(reason) = self.lacks_room(&space, bytes) {
            let elder = lock(&self.elder).upgrade();
            // What is delivered, and may do, is not just being deleted.
            let _opening = (elder.as_deref().map(|elder| lock(&elder.opening)), lock(&self.opening));
            self.measure(&mut space, head);
            if self.lacks_room(&space, bytes).is_none() {
                break;
            }
            if self.dir.drop_quarantined()? {
                continue;
            }
            let dropped = match self.config.limits.when_full {
                FullPolicy::EvictOldest => {
                    elder.as_deref().map_or(Ok(false), Self::evict_oldest)? || self.evict_oldest()?
                }
                FullPolicy::RejectNew => false,
            };
            if !dropped {
                return Err(SpoolError::Full { path: self.config.dir.clone(), reason });
            }
        }
        space.written += bytes;
        Ok(())
    }

    /// Drops the oldest segment; false if there is none but the newest. With `opening` locked: nobody opens it meanwhile.
    fn evict_oldest(&self) -> Result<bool, SpoolError> {
        let Some(number) = lock(&self.state).oldest() else { return Ok(false) };
        self.dir.retire(number)?;
        let (dropped, lost, unreported) = lock(&self.state).drop_segment(number);
        drop(dropped);
        for gap in lost {
            self.note_gap(gap);
        }
        self.report_again(unreported);
        let deleted = self.dir.delete_retired(number);
        if deleted.is_err() {
            // To be tried again.
            self.ask(Job::Remove(number));
        }
        let _ = self.keep(|cursor| cursor.forget(number));
        self.progress.notify_all();
        deleted.map(|()| true)
    }

    fn measure(&self, space: &mut Space, head: Option<&Head>) {
        // What is taken for the newest segment already, and what is yet to be written of those that are full.
        let unwritten = head.map_or(0, |head| head.segment.unwritten());
        let owed = head.map_or(0, |head| head.seal_bytes) + lock(&self.state).seals_owed();
        *space = Space {
            is_measured: true,
            used: (self.dir.root_bytes() + owed).saturating_sub(unwritten),
            free: fs2::available_space(&self.config.dir).unwrap_or(u64::MAX).saturating_add(unwritten),
            written: 0,
        };
    }

    /// Whether segments take their disk before they are written: only where they are synced, and where there is enough.
    pub(super) fn reserves(&self) -> bool {
        let (limits, least) = (&self.config.limits, 4 * self.config.segment_bytes);
        let space = lock(&self.space);
        self.config.durability == Durability::Sync
            && limits.max_bytes.saturating_sub(space.used + space.written) >= least
            && space.free.saturating_sub(limits.min_free_bytes) >= least
    }

    fn lacks_room(&self, space: &Space, bytes: u64) -> Option<String> {
        let limits = &self.config.limits;
        let written = space.written.saturating_add(bytes);
        if space.used.saturating_add(written) > limits.max_bytes {
            Some(format!("it has {} bytes and may have {}", space.used, limits.max_bytes))
        } else if limits.min_free_bytes > 0 && space.free < limits.min_free_bytes.saturating_add(written) {
            Some(format!("{} bytes are free and {} are to be left", space.free, limits.min_free_bytes))
        } else {
            None
        }
    }
}
