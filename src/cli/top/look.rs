//! [`Watched`]: a spool that is looked at again and again, cheaply. What its owners tell is taken where it is fresh; the files are
//! counted where it is not, and where the owner is gone, only when they have changed.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use crate::cli::screen::shown;
use crate::cli::survey::Surveyed;
use crate::error::SpoolError;
use crate::observe::stats::LastError;
use crate::spool::inspect::{ByLane, Directory, Queue, Status};

/// An owner tells what has changed within this time, if it can.
const FRESH: Duration = Duration::from_secs(12);

/// What is known of a queue.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    pub(super) queue: String,
    pub(super) signal: String,
    pub(super) is_owned: bool,
    pub(super) waiting: Option<u64>,
    /// More may wait.
    pub(super) is_partial: bool,
    /// Since when the oldest record waits.
    pub(super) oldest: Option<SystemTime>,
    /// Records a second.
    pub(super) rate_in: Option<f64>,
    pub(super) rate_out: Option<f64>,
    pub(super) endpoint: Option<String>,
    /// What its owner, or the last one, has told.
    pub(super) status: Option<Status>,
}

impl Row {
    /// The last error, if nothing was delivered since and something waits.
    pub(super) fn failing(&self) -> Option<&LastError> {
        let waits = self.waiting != Some(0);
        self.status.as_ref()?.failing().filter(|_| waits)
    }

    /// Records that the owner has had rejected since it began.
    pub(super) fn rejected(&self) -> Option<u64> {
        Some(self.status.as_ref()?.counts?.rejected)
    }
}

/// All of it at a moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Look {
    pub(super) rows: Vec<Row>,
    pub(super) disk_bytes: Option<u64>,
    /// Records in the rejected store.
    pub(super) rejected: Option<u64>,
}

/// What is remembered of a queue between two looks.
#[derive(Default)]
struct Memory {
    /// The two that were told last.
    told: Option<Status>,
    before: Option<Status>,
    /// What was counted when the files were as they were at this time.
    counted: Option<(Option<SystemTime>, Counted)>,
}

/// What the files say.
#[derive(Clone, Copy)]
struct Counted {
    waiting: u64,
    is_partial: bool,
    oldest: Option<SystemTime>,
}

/// A spool that is watched.
pub(super) struct Watched {
    directory: Directory,
    queues: BTreeMap<String, Memory>,
    rejected: Option<(Option<SystemTime>, u64)>,
}

impl Watched {
    pub(super) fn new(directory: Directory) -> Self {
        Self { directory, queues: BTreeMap::new(), rejected: None }
    }

    pub(super) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Looks at it.
    pub(super) fn look(&mut self, now: SystemTime) -> Result<Look, SpoolError> {
        let mut queues = BTreeMap::new();
        let mut rows = Vec::new();
        for queue in self.directory.queues(None)? {
            // One that cannot be opened may be just coming or going.
            let Ok(queue) = queue else { continue };
            let mut memory = self.queues.remove(&queue.id()).unwrap_or_default();
            let mut row = Row {
                queue: queue.id(),
                signal: queue.signal().to_string(),
                is_owned: queue.is_owned(),
                endpoint: queue.endpoint().as_deref().map(shown),
                ..Row::default()
            };
            let (status, changed_at) = (queue.status(), queue.changed_at());
            memory.note(status.as_ref());
            let is_fresh = status.as_ref().is_some_and(|status| is_fresh(status, changed_at));
            let told = status.as_ref().filter(|_| row.is_owned && is_fresh).and_then(|status| status.pending_records);
            row.oldest = status.as_ref().and_then(|status| status.oldest);
            row.endpoint = row.endpoint.or_else(|| status.as_ref()?.endpoint.clone());
            row.status = status;
            if row.is_owned && is_fresh {
                (row.rate_in, row.rate_out) = memory.rates(now);
            }
            match told {
                Some(pending) => row.waiting = Some(pending),
                None => row.count(memory.count(queue, changed_at).ok()),
            }
            queues.insert(row.queue.clone(), memory);
            rows.push(row);
        }
        self.queues = queues;
        Ok(Look { rows, disk_bytes: self.directory.disk_bytes(), rejected: self.count_rejected() })
    }

    fn count_rejected(&mut self) -> Option<u64> {
        let store = self.directory.rejected();
        let changed_at = store.changed_at();
        if let Some((at, rejected)) = self.rejected
            && at == changed_at
        {
            return Some(rejected);
        }
        let rejected = store.by_lane().ok()?.all();
        self.rejected = Some((changed_at, rejected));
        Some(rejected)
    }
}

/// Whether what was told is as new as the files, but for what an owner tells soon.
fn is_fresh(status: &Status, changed_at: Option<SystemTime>) -> bool {
    changed_at.is_none_or(|at| at.duration_since(status.written_at).unwrap_or_default() < FRESH)
}

impl Row {
    fn count(&mut self, counted: Option<Counted>) {
        self.waiting = counted.map(|counted| counted.waiting);
        self.is_partial = counted.is_some_and(|counted| counted.is_partial);
        self.oldest = counted.and_then(|counted| counted.oldest);
    }
}

impl Memory {
    /// Keeps what was told, if it is new.
    fn note(&mut self, status: Option<&Status>) {
        let is_new = |status: &&Status| self.told.as_ref().is_none_or(|told| told.written_at != status.written_at);
        if let Some(status) = status.filter(is_new) {
            let before = self.told.replace(status.clone());
            // Another process counts from zero.
            self.before = before.filter(|before| before.process == status.process);
        }
    }

    /// How many records a second came and went: between what was told twice, and none where nothing was told for a while.
    fn rates(&self, now: SystemTime) -> (Option<f64>, Option<f64>) {
        let Some(told) = &self.told else { return (None, None) };
        let Some(counts) = told.counts else { return (None, None) };
        if now.duration_since(told.written_at).unwrap_or_default() >= FRESH {
            return (Some(0.0), Some(0.0));
        }
        let Some(before) = &self.before else { return (None, None) };
        let Some(earlier) = before.counts else { return (None, None) };
        let seconds = told.written_at.duration_since(before.written_at).unwrap_or_default().as_secs_f64();
        let rate = |now: u64, before: u64| {
            #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
            let records = now.checked_sub(before)? as f64;
            Some(records / seconds).filter(|rate| rate.is_finite())
        };
        (rate(counts.accepted, earlier.accepted), rate(counts.delivered, earlier.delivered))
    }

    /// Counts the files, unless they are as they were.
    fn count(&mut self, queue: Queue, changed_at: Option<SystemTime>) -> Result<Counted, SpoolError> {
        if let Some((at, counted)) = self.counted
            && at == changed_at
        {
            return Ok(counted);
        }
        let surveyed = Surveyed::count(queue, &ByLane::default())?;
        let counted =
            Counted { waiting: surveyed.waiting(), is_partial: surveyed.is_partial, oldest: surveyed.oldest() };
        self.counted = Some((changed_at, counted));
        Ok(counted)
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::spool::inspect::Counts;

    fn status(process: u32, at: u64, accepted: u64, delivered: u64) -> Status {
        Status {
            process,
            written_at: UNIX_EPOCH + Duration::from_secs(at),
            endpoint: None,
            pending_records: Some(accepted - delivered),
            oldest: None,
            counts: Some(Counts { accepted, delivered, rejected: 0, lost: 0, failed_requests: 0 }),
            last_success: None,
            last_error: None,
        }
    }

    #[test]
    fn a_rate_is_known_from_what_one_process_told_twice_and_is_zero_when_it_tells_no_more() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let mut memory = Memory::default();
        assert_eq!(memory.rates(at(100)), (None, None));
        memory.note(Some(&status(1, 100, 50, 20)));
        memory.note(Some(&status(1, 100, 50, 20)));
        assert_eq!(memory.rates(at(101)), (None, None));
        memory.note(Some(&status(1, 105, 150, 30)));
        assert_eq!(memory.rates(at(106)), (Some(20.0), Some(2.0)));
        assert_eq!(memory.rates(at(117)), (Some(0.0), Some(0.0)));
        memory.note(Some(&status(2, 110, 1, 0)));
        assert_eq!(memory.rates(at(111)), (None, None));
    }

    #[test]
    fn what_was_told_before_the_files_changed_is_not_taken() {
        let told = status(1, 100, 0, 0);
        assert!(is_fresh(&told, None) && is_fresh(&told, Some(UNIX_EPOCH + Duration::from_secs(111))));
        assert!(!is_fresh(&told, Some(UNIX_EPOCH + Duration::from_secs(112))));
    }
}
