//! What was lost, until it is told in the stream.

use std::sync::Arc;
use std::time::SystemTime;

use super::entry::stored_key;
use super::housekeeper::Job;
use super::{Inner, Spool, lock};
use crate::encode::blocks::Block;
use crate::encode::framing::Framing;
use crate::error::SpoolError;
use crate::observe::event::SpoolEvent;
use crate::observe::loss::LossReason;

/// So many gaps wait to be told at most; further ones are told together, in the partition without a name.
const MAX_WAITING: usize = 1024;

/// Records of one partition that are missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) key: Arc<str>,
    pub(crate) reason: LossReason,
    pub(crate) records: u64,
    /// The timestamps of the records, where they are known.
    pub(crate) first: Option<SystemTime>,
    pub(crate) last: Option<SystemTime>,
}

/// Encodes a record that tells of a gap.
pub(crate) type GapEncoder = dyn Fn(&Gap) -> Option<(Block, Framing)> + Send + Sync;

/// Gaps that wait to be told.
#[derive(Debug, Default)]
pub(crate) struct Unreported(Vec<Gap>);

#[derive(Debug, Default)]
pub(super) struct Gaps {
    waiting: Unreported,
}

impl Unreported {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a record that is lost before it comes to the spool.
    pub(crate) fn add_record(&mut self, key: &str, reason: LossReason, time: Option<SystemTime>) {
        let key = Arc::from(stored_key(key));
        self.add(Gap { key, reason, records: 1, first: time, last: time });
    }

    fn add(&mut self, gap: Gap) {
        let same = |other: &&mut Gap| other.reason == gap.reason && other.key == gap.key;
        if let Some(other) = self.0.iter_mut().find(same) {
            other.records += gap.records;
            other.first = [other.first, gap.first].into_iter().flatten().min();
            other.last = [other.last, gap.last].into_iter().flatten().max();
        } else if self.0.len() < MAX_WAITING || gap.key.is_empty() {
            self.0.push(gap);
        } else {
            self.add(Gap { key: Arc::from(""), ..gap });
        }
    }
}

impl Spool {
    /// Has what was counted already told.
    pub(crate) fn report(&self, unreported: Unreported) {
        self.inner.report_again(unreported.0);
    }
}

impl Inner {
    /// Counts what was lost, and has it told.
    pub(super) fn note_gap(&self, gap: Gap) {
        let mut gaps = lock(&self.gaps);
        self.losses.add(gap.reason, gap.records);
        if gaps.waiting.is_empty() {
            self.events.report(SpoolEvent::RecordsLost { reason: gap.reason, records: gap.records });
        }
        self.report(&mut gaps, gap);
    }

    /// Has something told that is counted already: again, if the records which told it are lost themselves.
    pub(super) fn report_again(&self, unreported: Vec<Gap>) {
        let mut gaps = lock(&self.gaps);
        for gap in unreported {
            self.report(&mut gaps, gap);
        }
    }

    fn report(&self, gaps: &mut Gaps, gap: Gap) {
        if gaps.waiting.is_empty() {
            self.ask(Job::ReportGaps);
        }
        gaps.waiting.add(gap);
    }

    /// Tells of what was lost, in the partitions that it is missing from.
    pub(super) fn report_gaps(&self) -> Result<(), SpoolError> {
        let _announcing = lock(&self.reporting);
        let mut waiting = std::mem::take(&mut lock(&self.gaps).waiting).0.into_iter();
        while let Some(gap) = waiting.next() {
            let Some((group, framing)) = (self.gap_encoder)(&gap) else { continue };
            if let Err(error) = self.append(&[(&gap.key, &group)], &framing, Some(&gap)) {
                let mut gaps = lock(&self.gaps);
                std::iter::once(gap).chain(waiting).for_each(|gap| gaps.waiting.add(gap));
                return Err(error);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn gap(key: &str, reason: LossReason, at: u64) -> Gap {
        let time = Some(UNIX_EPOCH + Duration::from_secs(at));
        Gap { key: Arc::from(key), reason, records: 2, first: time, last: time }
    }

    #[test]
    fn gaps_of_one_kind_are_told_together() {
        let mut gaps = Unreported::default();
        for at in [5, 3, 9] {
            gaps.add(gap("a", LossReason::Evicted, at));
        }
        gaps.add(gap("a", LossReason::Expired, 1));
        gaps.add(gap("b", LossReason::Evicted, 1));
        assert_eq!(gaps.0.len(), 3);
        let seconds = |time: Option<SystemTime>| time.unwrap().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let first = &gaps.0[0];
        assert_eq!((first.records, seconds(first.first), seconds(first.last)), (6, 3, 9));
    }

    #[test]
    fn any_number_of_partitions_takes_bounded_memory_and_loses_no_count() {
        let mut gaps = Unreported::default();
        for n in 0..5000 {
            gaps.add(gap(&n.to_string(), LossReason::Evicted, n));
        }
        assert_eq!(gaps.0.len(), MAX_WAITING + 1);
        assert_eq!(gaps.0.iter().map(|gap| gap.records).sum::<u64>(), 10_000);
    }
}
