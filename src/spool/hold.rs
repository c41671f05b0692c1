//! Holding: a segment that cannot be read stays behind, and the rest is delivered meanwhile. It is tried again, and moves to the
//! quarantine when it is damaged for good. It reads segments and moves them.

use std::time::Duration;

use super::fault::says_damaged;
use super::jobs::Job;
use super::position::SegmentId;
use super::queue::Queue;
use super::read_cache::{Phase, is_given_up};
use crate::error::{SpoolError, error_chain};
use crate::observe::event::SpoolEvent;
use crate::observe::loss::LossReason;

/// The time until a segment is read again that cannot be read. Each time it is twice as long, up to the longest one: most of the
/// causes (permissions, descriptors, a disk that is away) are for somebody to mend.
const RETRY_AFTER: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(30);

impl Queue {
    /// Holds a segment that cannot be read.
    pub(super) fn hold(&self, segment: SegmentId, error: &SpoolError) {
        if self.index.lock().hold(segment) {
            let reason = error_chain(error);
            self.report_event(SpoolEvent::SegmentHeld { segment: segment.number, reason });
            self.ask(Job::RetryIn(segment, RETRY_AFTER));
        }
        self.wake();
    }

    /// Tries a segment again that was held for so long: for how much longer it is, if so.
    pub(super) fn retry(&self, segment: SegmentId, held: Duration) -> Option<Duration> {
        let index = self.index.lock();
        let (is_there, is_recovered) = (index.contains(segment), index.is_known(segment));
        drop(index);
        let read = match (is_there, is_recovered) {
            (false, _) => Ok(()),
            (true, true) => self.open_segment(segment).map(drop),
            (true, false) => self.recover(segment, self.dir.accepted(segment)),
        };
        let Err(error) = read else {
            self.index.lock().let_go(segment);
            if is_there {
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

    /// Moves a segment to the quarantine of which nothing can be read. Its records are lost.
    fn give_up(&self, segment: SegmentId) -> Result<(), SpoolError> {
        let deleting = self.begin_phase(segment, Phase::Deleting);
        self.dir.quarantine(segment, self.config.limits.max_bytes / 8)?;
        let (lost, unreported) = self.index.lock().give_up(segment, LossReason::Corrupt);
        let open = self.read_cache.lock().remove(segment);
        drop(deleting);
        drop(open);
        self.cursors.lock().forget(segment);
        self.report_event(SpoolEvent::SegmentDamaged { segment: segment.number });
        for gap in lost {
            self.note_gap(gap);
        }
        self.report_again(unreported);
        self.progress.notify_all();
        self.wake();
        Ok(())
    }
}
