//! Losses: they are counted at once, and reported in the stream by the housekeeper. It appends gap records.

use std::sync::Arc;

use super::dir;
use super::entry::system_time;
use super::gap::{Gap, Unreported};
use super::jobs::Job;
use super::load::Load;
use super::neighbors;
use super::position::SegmentId;
use super::queue::Queue;
use crate::error::SpoolError;
use crate::observe::event::SpoolEvent;
use crate::observe::loss::LossReason;

/// The share of some bytes that so many of all records have, about.
pub(super) fn share(bytes: u64, records: u64, all: u64) -> u64 {
    let share = u128::from(bytes) * u128::from(records) / u128::from(all.max(1));
    u64::try_from(share).unwrap_or(u64::MAX)
}

impl Queue {
    /// Counts a loss, and has it reported.
    pub(super) fn note_gap(&self, gap: Gap) {
        if let Some(event) = self.count_gap(gap) {
            self.report_event(event);
        }
    }

    /// Does so for who holds a lock. The event is to be reported without one: the first since losses were last reported in
    /// the stream.
    pub(super) fn count_gap(&self, gap: Gap) -> Option<SpoolEvent> {
        let (reason, records) = (gap.reason, gap.records);
        self.hooks.counters.losses.add(reason, records);
        let mut index = self.index.lock();
        let only = index.add_gap(gap);
        let reported = std::mem::replace(&mut index.loss_reported, true);
        drop(index);
        if only {
            self.ask(Job::ReportGaps);
        }
        (!reported).then_some(SpoolEvent::RecordsLost { reason, records, cause: String::new() })
    }

    /// The size of the records of a segment that wait, about: their share of its bytes on disk. To be called while it is there.
    pub(super) fn waiting_bytes(&self, segment: SegmentId) -> u64 {
        let bytes = dir::walk(&self.dir.segment(segment)).unwrap_or_default();
        let (waiting, all) = self.index.lock().waiting_share(segment);
        share(bytes, waiting, all)
    }

    /// Counts records that will not be delivered, and has them reported; `between` are their timestamps.
    pub(super) fn lose(&self, key: &Arc<str>, reason: LossReason, records: u64, between: Option<(u64, u64)>) {
        if records == 0 {
            return;
        }
        let (first, last) = between.map(|(first, last)| (system_time(first), system_time(last))).unzip();
        self.note_gap(Gap { key: key.clone(), reason, records, first, last, signal: None });
    }

    /// Has gaps reported that are counted already: again, if the records which reported them are lost themselves.
    pub(super) fn report_again(&self, unreported: impl IntoIterator<Item = Gap>) {
        let mut index = self.index.lock();
        let mut first = false;
        for gap in unreported {
            first |= index.add_gap(gap);
        }
        drop(index);
        if first {
            self.ask(Job::ReportGaps);
        }
    }

    /// Reports the losses, in the partitions that they are missing from, or has a neighbor do so.
    pub(super) fn report_gaps(&self) -> Result<(), SpoolError> {
        let mut reporting = Reporting::begin(self);
        for gap in reporting.gaps.by_ref() {
            let Some(encode) = &self.hooks.gap_encoder else {
                neighbors::hand_over(self, gap);
                continue;
            };
            let Some((block, framing)) = encode(&gap) else { continue };
            let load = Load { id: None, blocks: vec![(&gap.key, &block)] };
            if let Err(error) = self.append(&[load], &framing, Some(&gap), || ()) {
                reporting.failed = Some(gap);
                return Err(error);
            }
        }
        Ok(())
    }
}

/// Gaps that are being reported, by one thread at a time: closing waits for those that are on their way. The ones that are
/// left wait again when this is dropped.
struct Reporting<'a> {
    queue: &'a Queue,
    /// One of them was reported as an event.
    reported: bool,
    failed: Option<Gap>,
    gaps: <Unreported as IntoIterator>::IntoIter,
}

impl<'a> Reporting<'a> {
    fn begin(queue: &'a Queue) -> Self {
        let mut index = queue.index.lock();
        while index.reporting {
            index = index.wait(&queue.progress);
        }
        index.reporting = true;
        let gaps = std::mem::take(&mut index.unreported).into_iter();
        let reported = std::mem::take(&mut index.loss_reported);
        Self { queue, reported, failed: None, gaps }
    }
}

impl Drop for Reporting<'_> {
    fn drop(&mut self) {
        let mut index = self.queue.index.lock();
        index.reporting = false;
        for gap in self.failed.take().into_iter().chain(self.gaps.by_ref()) {
            index.add_gap(gap);
            // They are retried until it succeeds: the event is reported once.
            index.loss_reported |= self.reported;
        }
        drop(index);
        self.queue.progress.notify_all();
    }
}
