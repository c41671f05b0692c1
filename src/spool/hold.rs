//! Holding: a segment that cannot be read stays behind, and the rest is delivered meanwhile. It is tried again, and moves to the
//! quarantine when it is damaged for good. It reads segments and moves them.

use std::time::Duration;

use super::fault::says_damaged;
use super::index::{Choice, Held};
use super::jobs::Job;
use super::position::{BatchStart, SegmentId};
use super::queue::Queue;
use super::read_cache::{Phase, is_given_up};
use super::seal::Seal;
use crate::error::{SpoolError, error_chain};
use crate::observe::event::SpoolEvent;
use crate::observe::loss::LossReason;

/// The time until a segment is read again that cannot be read. Each time it is twice as long, up to the longest one: most of the
/// causes (permissions, descriptors, a disk that is away) are for somebody to mend.
const RETRY_AFTER: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(30);

impl Queue {
    /// Holds a segment of which the batch that was chosen cannot be read.
    pub(super) fn hold(&self, key: &str, choice: &Choice, error: &SpoolError) {
        let segment = choice.lane.segment;
        let mut index = self.index.lock();
        let held = index.hold(segment);
        index.put_back(key, BatchStart { segment, record: choice.start });
        drop(index);
        self.note_held(segment, held, error);
    }

    /// Holds a segment of which it cannot be found what is in it.
    pub(super) fn hold_unrecovered(&self, segment: SegmentId, error: &SpoolError) {
        let held = self.index.lock().hold(segment);
        self.note_held(segment, held, error);
    }

    /// Has a segment that is held tried again, and reports the first of them.
    fn note_held(&self, segment: SegmentId, held: Held, error: &SpoolError) {
        if held == Held::First {
            let reason = error_chain(error);
            self.report_event(SpoolEvent::SegmentHeld { segment: segment.number, reason });
        }
        if held != Held::Already {
            self.ask(Job::RetryIn(segment, RETRY_AFTER));
        }
        self.progress.notify_all();
        self.wake();
    }

    /// Tries a segment again that was held for so long: for how much longer it is, if so.
    pub(super) fn retry(&self, segment: SegmentId, held: Duration) -> Option<Duration> {
        let index = self.index.lock();
        let (is_there, is_recovered) = (index.contains(segment), index.is_known(segment));
        let accepted = index.accepted(segment).min(self.dir.accepted(segment));
        drop(index);
        let read = match (is_there, is_recovered) {
            (false, _) => Ok(()),
            (true, true) => self.open_segment(segment).map(drop),
            (true, false) => self.recover(segment, accepted),
        };
        let Err(error) = read else {
            let was_last = self.index.lock().let_go(segment);
            if was_last {
                self.report_event(SpoolEvent::SegmentReleased { segment: segment.number });
            }
            self.wake();
            return None;
        };
        let unreadable_since = self.read_cache.lock().unreadable_since(segment);
        if !says_damaged(&error) {
            return Some((2 * held).min(LONGEST_RETRY));
        }
        let is_gone = is_given_up(unreadable_since) && self.give_up(segment).is_ok();
        (!is_gone).then_some(RETRY_AFTER)
    }

    /// Moves a segment to the quarantine of which nothing can be read. Its records are lost: as many as are known of.
    fn give_up(&self, segment: SegmentId) -> Result<(), SpoolError> {
        let deleting = self.begin_phase(segment, Phase::Deleting);
        let bytes = self.waiting_bytes(segment);
        self.sync_journal()?;
        self.dir.quarantine(segment, self.config.limits.max_bytes / 8)?;
        let mut index = self.index.lock();
        let missing = if index.is_known(segment) { Vec::new() } else { index.missing_from(segment, &Seal::default()) };
        let (lost, unreported) = index.give_up(segment, LossReason::Corrupt);
        drop(index);
        let open = self.read_cache.lock().remove(segment);
        drop(deleting);
        drop(open);
        self.cursors.lock().forget(segment);
        self.report_event(SpoolEvent::SegmentDamaged { segment: segment.number });
        self.hooks.counters.losses.add_bytes(LossReason::Corrupt, bytes);
        for gap in lost {
            self.note_gap(gap);
        }
        for (key, records) in missing {
            self.lose(&key, LossReason::Corrupt, records, None);
        }
        self.report_again(unreported);
        self.progress.notify_all();
        self.wake();
        Ok(())
    }
}
