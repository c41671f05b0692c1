//! [`Gap`]: records that are missing, and the gaps that are yet to be reported. It touches memory only.

use std::sync::Arc;
use std::time::SystemTime;

use super::entry::stored_key;
use crate::config::values::Signal;
use crate::encode::blocks::Block;
use crate::encode::framing::Framing;
use crate::observe::loss::LossReason;

/// At most so many gaps wait to be reported; further ones are reported together, in the partition without a name.
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
    /// The signal of the queue that they are missing from, if it is a neighbor that reports them.
    pub(crate) signal: Option<Signal>,
}

/// Encodes the gap record that reports a gap.
pub(crate) type GapEncoder = dyn Fn(&Gap) -> Option<(Block, Framing)> + Send + Sync;

/// Gaps that wait to be reported.
#[derive(Debug, Default)]
pub(crate) struct Unreported(Vec<Gap>);

impl Unreported {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many records are missing in all.
    pub(super) fn records(&self) -> u64 {
        self.0.iter().map(|gap| gap.records).sum()
    }

    /// Adds a record that is lost before it comes to the spool.
    pub(crate) fn add_record(&mut self, key: &str, reason: LossReason, time: Option<SystemTime>) {
        self.add_records(key, reason, 1, time);
    }

    /// Adds records that are lost before they come to the spool.
    pub(crate) fn add_records(&mut self, key: &str, reason: LossReason, records: u64, time: Option<SystemTime>) {
        let key = Arc::from(stored_key(key));
        self.add(Gap { key, reason, records, first: time, last: time, signal: None });
    }

    /// Adds a gap, to one of the same partition, reason and signal if there is one.
    pub(super) fn add(&mut self, gap: Gap) {
        let kind = |of: &Gap| (of.reason, of.signal);
        let same = |other: &&mut Gap| kind(other) == kind(&gap) && other.key == gap.key;
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

impl IntoIterator for Unreported {
    type Item = Gap;
    type IntoIter = std::vec::IntoIter<Gap>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn gap(key: &str, reason: LossReason, at: u64) -> Gap {
        let time = Some(UNIX_EPOCH + Duration::from_secs(at));
        Gap { key: Arc::from(key), reason, records: 2, first: time, last: time, signal: None }
    }

    #[test]
    fn gaps_of_one_kind_are_reported_together() {
        let mut gaps = Unreported::default();
        for at in [5, 3, 9] {
            gaps.add(gap("a", LossReason::Evicted, at));
        }
        gaps.add(gap("a", LossReason::Expired, 1));
        gaps.add(gap("b", LossReason::Evicted, 1));
        gaps.add(Gap { signal: Some(Signal::Traces), ..gap("a", LossReason::Evicted, 1) });
        assert_eq!(gaps.0.len(), 4);
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
