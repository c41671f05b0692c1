//! Space: how much the spool may take, and which segments are evicted when that is too much. It deletes files of this queue, of
//! the adopted one and of stranded ones.

use super::active::Space;
use super::files::io_error;
use super::jobs::Job;
use super::queue::{Queue, Writer};
use super::read_cache::Phase;
use crate::config::values::{Durability, FullPolicy};
use crate::error::SpoolError;
use crate::observe::event::SpoolEvent;
use crate::observe::loss::LossReason;

/// How an eviction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Eviction {
    Done,
    /// Nothing was changed: segments were deleted since it was decided. There may be room without it.
    Outdated,
    /// There is no segment but the newest, or none that may give way.
    Nothing,
}

impl Queue {
    /// Makes room for so many bytes, or says why there is none. The events are to be reported without the lock.
    pub(super) fn make_room(
        &self,
        writer: &mut Writer,
        bytes: u64,
        events: &mut Vec<SpoolEvent>,
    ) -> Result<(), SpoolError> {
        if bytes > self.config.limits.max_bytes {
            let reason = format!(
                "{bytes} bytes are more than the {} that `with_max_spool_bytes` allows it; raise that",
                self.config.limits.max_bytes
            );
            return Err(SpoolError::Full { path: self.config.dir.clone(), reason });
        }
        // Other processes write as well, and deliveries give space back: measured anew every few appends, the more so the less is left.
        if !writer.space.is_measured || writer.space.written >= self.trusted_bytes(&writer.space) {
            // Where it cannot be measured, what is known counts, and what was written since.
            self.measure(writer).or_else(|error| if writer.space.is_measured { Ok(()) } else { Err(error) })?;
        }
        while let Some(reason) = self.lacks_room(&writer.space, bytes) {
            let elder = writer.elder.upgrade();
            let queues = elder.as_deref().into_iter().chain([self]);
            // A delivered segment may be just being deleted.
            let quiet: Vec<_> = queues.map(|queue| (queue, queue.wait_for_deletions())).collect();
            // Nothing is evicted for a size that is not known.
            self.measure(writer)?;
            if self.lacks_room(&writer.space, bytes).is_none() {
                break;
            }
            // One that cannot be deleted holds up nothing.
            if self.dir.drop_quarantined().unwrap_or(false) {
                continue;
            }
            #[cfg(test)]
            self.before_giving_way.run();
            let stranded = self.stranded_segments();
            let evictable =
                quiet.iter().map(|(queue, _)| queue.evictable_bytes()).sum::<u64>() + self.stranded_bytes(&stranded);
            let emptied = Space {
                used: writer.space.used.saturating_sub(evictable),
                free: writer.space.free.saturating_add(evictable),
                ..writer.space
            };
            // Nothing is evicted for what would not fit then either.
            if self.lacks_room(&emptied, bytes).is_some() {
                return Err(SpoolError::Full { path: self.config.dir.clone(), reason });
            }
            let gives_way = self.config.limits.when_full != FullPolicy::RejectNew;
            let queues = quiet.iter().map(|(queue, _)| *queue);
            if gives_way && self.evict_stranded(&stranded, queues, events) {
                continue;
            }
            match self.give_way(&quiet, events)? {
                Eviction::Done | Eviction::Outdated => {}
                Eviction::Nothing => return Err(SpoolError::Full { path: self.config.dir.clone(), reason }),
            }
        }
        writer.space.written += bytes;
        Ok(())
    }

    /// How much may be written until it is measured again: a share of what is left, so that several processes do not take all of it.
    fn trusted_bytes(&self, space: &Space) -> u64 {
        let (limits, segment) = (&self.config.limits, self.config.segment_bytes);
        let allowed = limits.max_bytes.saturating_sub(space.used);
        let left = allowed.min(space.free.saturating_sub(limits.min_free_bytes));
        (left / 64).clamp(segment / 8, 2 * segment)
    }

    /// Waits until no segment is being deleted. Returns how many deletions there were up to then.
    fn wait_for_deletions(&self) -> u64 {
        let mut cache = self.read_cache.lock();
        while cache.is_deleting() {
            cache = cache.wait(&self.phase_ended);
        }
        cache.deletions()
    }

    /// How much its segments take that can be evicted, as far as that can be measured.
    fn evictable_bytes(&self) -> u64 {
        let (segments, owed) = {
            let index = self.index.lock();
            (index.evictable().collect::<Vec<_>>(), index.seals_owed())
        };
        segments.into_iter().map(|segment| self.dir.segment_bytes(segment)).sum::<u64>() + owed
    }

    /// Evicts the oldest segment of the first of these queues that has one, if segments give way at all, and if in none of
    /// them a deletion has begun since it had so many.
    fn give_way(&self, quiet: &[(&Self, u64)], events: &mut Vec<SpoolEvent>) -> Result<Eviction, SpoolError> {
        for (queue, deletions) in quiet {
            // A deletion since the measurement may have freed enough.
            if quiet.iter().any(|(queue, deletions)| queue.read_cache.lock().deletions() != *deletions) {
                return Ok(Eviction::Outdated);
            }
            if self.config.limits.when_full == FullPolicy::RejectNew {
                break;
            }
            match queue.evict_oldest(*deletions, events)? {
                Eviction::Nothing => {}
                eviction => return Ok(eviction),
            }
        }
        Ok(Eviction::Nothing)
    }

    /// Deletes the oldest segment, delivered or not, unless another deletion has begun since there were `deletions`: what is
    /// chosen and that none has begun holds until the deletion begins, under one lock.
    fn evict_oldest(&self, deletions: u64, events: &mut Vec<SpoolEvent>) -> Result<Eviction, SpoolError> {
        let mut cache = self.read_cache.lock();
        let segment = loop {
            if cache.deletions() != deletions {
                return Ok(Eviction::Outdated);
            }
            let oldest = self.index.lock().oldest();
            let Some(segment) = oldest else { return Ok(Eviction::Nothing) };
            if cache.phase(segment).is_none() {
                break segment;
            }
            cache = cache.wait(&self.phase_ended);
        };
        // Not every system renames a directory while a file in it is open.
        let open = cache.close(segment);
        let deleting = self.enter_phase(cache, segment, Phase::Deleting);
        drop(open);
        self.dir.check_in_place()?;
        // New records matter more than that evicted ones may come back.
        let _ = self.sync_journal();
        let bytes = self.waiting_bytes(segment);
        self.dir.retire(segment)?;
        let (evicted, unreported) = self.index.lock().give_up(segment, LossReason::Evicted);
        self.hooks.counters.losses.add_bytes(LossReason::Evicted, bytes);
        self.cursors.lock().forget(segment);
        events.extend(evicted.into_iter().filter_map(|gap| self.count_gap(gap)));
        self.report_again(unreported);
        let deleted = self.dir.delete_retired(segment);
        self.read_cache.lock().remove(segment);
        drop(deleting);
        if deleted.is_err() {
            // To be tried again.
            self.ask(Job::Remove(segment));
        }
        self.progress.notify_all();
        deleted.map(|()| Eviction::Done)
    }

    /// Measures how much is used and free; what cannot be measured stays as it was.
    fn measure(&self, writer: &mut Writer) -> Result<(), SpoolError> {
        let active = writer.active.as_ref();
        // The disk that the active segment has taken ahead is not used yet; the seals of full ones are yet to be written.
        let unwritten = active.map_or(0, |active| active.segment.unwritten());
        let owed = active.map_or(0, |active| active.seal_bytes) + self.index.lock().seals_owed();
        let dir = &self.config.dir;
        let free = match fs2::available_space(dir) {
            // Nobody asked for any.
            Err(_) if self.config.limits.min_free_bytes == 0 => u64::MAX,
            free => free.map_err(|error| io_error("measure", dir, error))?,
        };
        writer.space = Space {
            is_measured: true,
            used: (self.dir.limited_bytes()? + owed).saturating_sub(unwritten),
            free: free.saturating_add(unwritten),
            written: 0,
        };
        Ok(())
    }

    /// Whether segments take their disk before they are written: only where that pays, where they are synced, and where there is enough.
    pub(super) fn reserves(&self, space: &Space) -> bool {
        let (limits, least) = (&self.config.limits, 4 * self.config.segment_bytes);
        self.zeros_pay
            && self.config.durability == Durability::Sync
            && limits.max_bytes.saturating_sub(space.used + space.written) >= least
            && space.free.saturating_sub(limits.min_free_bytes) >= least
    }

    fn lacks_room(&self, space: &Space, bytes: u64) -> Option<String> {
        let limits = &self.config.limits;
        let written = space.written.saturating_add(bytes);
        if space.used.saturating_add(written) > limits.max_bytes {
            Some(format!(
                "it has {} bytes, and `with_max_spool_bytes` allows it {}; raise that, or see why nothing is delivered",
                space.used, limits.max_bytes
            ))
        } else if limits.min_free_bytes > 0 && space.free < limits.min_free_bytes.saturating_add(written) {
            Some(format!(
                "the disk has {} bytes free, and `with_min_free_bytes` leaves {}; free some, or lower that",
                space.free, limits.min_free_bytes
            ))
        } else {
            None
        }
    }
}
