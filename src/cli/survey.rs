//! Counts of the queues of a spool, and what their owners tell of them.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::{screen, time};
use crate::config::values::Signal;
use crate::error::{SpoolError, error_chain};
use crate::observe::stats::LastError;
use crate::spool::inspect::{ByLane, Delivered, Directory, Journaled, Lane, Queue, SegmentFiles, Status, UnknownQueue};

/// A counted queue; it stays locked while this lives, if its owner is gone.
pub(super) struct Surveyed {
    pub(super) queue: Queue,
    pub(super) segments: Vec<Counted>,
    /// What its journal alone has; `None` where that is not known.
    journaled: Option<Journaled>,
    pub(super) delivered: Delivered,
    /// What its owner, or the last one, has told.
    pub(super) status: Option<Status>,
    /// Records may wait that are not counted: some of it cannot be read.
    pub(super) is_partial: bool,
    /// What could not be counted, and why.
    problems: Vec<String>,
}

/// A counted segment.
pub(super) struct Counted {
    pub(super) files: SegmentFiles,
    pub(super) lanes: Vec<CountedLane>,
    /// The segment cannot be read, for this reason: its records are not counted.
    unreadable: Option<String>,
}

/// The records of a partition in a segment.
pub(super) struct CountedLane {
    pub(super) lane: Lane,
    /// Those that wait no more: delivered or rejected.
    done: u64,
    /// Those of them that were rejected and are in the store.
    pub(super) rejected: u64,
}

impl CountedLane {
    pub(super) fn delivered(&self) -> u64 {
        self.done - self.rejected
    }

    pub(super) fn waiting(&self) -> u64 {
        self.lane.records - self.done
    }
}

impl Counted {
    fn new(files: SegmentFiles, delivered: &Delivered, rejected: &ByLane) -> Self {
        let (lanes, unreadable) = match files.lanes() {
            Ok(lanes) => (lanes, None),
            Err(error) => (Vec::new(), Some(error_chain(&error))),
        };
        let counted = |lane: Lane| CountedLane {
            done: delivered.of(&files, &lane),
            rejected: delivered.rejected_of(rejected, &files, &lane),
            lane,
        };
        Self { lanes: lanes.into_iter().map(counted).collect(), files, unreadable }
    }

    pub(super) fn is_unreadable(&self) -> bool {
        self.unreadable.is_some()
    }

    /// A sum over its partitions; `None` where nothing of it can be read.
    pub(super) fn sum(&self, of: impl Fn(&CountedLane) -> u64) -> Option<u64> {
        (!self.is_unreadable()).then(|| self.lanes.iter().map(of).sum())
    }

    /// The number of records, whatever became of them.
    pub(super) fn records(&self) -> Option<u64> {
        self.sum(|lane| lane.lane.records)
    }

    /// The number of records that are known to wait.
    pub(super) fn waiting(&self) -> u64 {
        self.lanes.iter().map(CountedLane::waiting).sum()
    }

    /// The earliest time of a record, whether it waits or not.
    pub(super) fn oldest(&self) -> Option<SystemTime> {
        self.lanes.iter().map(|lane| lane.lane.first).min()
    }

    pub(super) fn newest(&self) -> Option<SystemTime> {
        self.lanes.iter().map(|lane| lane.lane.last).max()
    }
}

impl Surveyed {
    /// Counts a queue, and notes what cannot be counted.
    pub(super) fn new(queue: Queue, rejected: &ByLane) -> Result<Self, SpoolError> {
        let counted = Self::count(queue, rejected)?;
        counted.problems.iter().for_each(|problem| screen::note(problem));
        Ok(counted)
    }

    /// Counts a queue, and says nothing. What was rejected counts as delivered, unless it is in `rejected`.
    pub(super) fn count(queue: Queue, rejected: &ByLane) -> Result<Self, SpoolError> {
        let delivered = queue.delivered()?;
        let segments = queue.segments()?.into_iter().map(|files| Counted::new(files, &delivered, rejected));
        let segments: Vec<_> = segments.collect();
        let id = queue.id();
        let unreadable =
            segments.iter().filter_map(|segment| Some((segment.files.number(), segment.unreadable.as_ref()?)));
        let problem = |(number, reason)| format!("queue {id}, segment {number}: its records are not counted: {reason}");
        let mut problems: Vec<_> = unreadable.map(problem).collect();
        let journaled = queue.journaled().unwrap_or_else(|error| {
            let reason = error_chain(&error);
            problems.push(format!("queue {id}: the records of its journal are not counted: {reason}"));
            None
        });
        let is_partial = queue.hides_segments() || !problems.is_empty();
        let status = queue.status();
        Ok(Self { queue, segments, journaled, delivered, status, is_partial, problems })
    }

    /// The number of records that are known to wait.
    pub(super) fn waiting(&self) -> u64 {
        self.segments.iter().map(Counted::waiting).sum::<u64>() + self.in_journal().unwrap_or_default()
    }

    /// The records that its journal alone has, by partition, as far as they are known.
    pub(super) fn journaled(&self) -> &[(String, u64)] {
        self.journaled.as_ref().map_or(&[], |journaled| &journaled.partitions)
    }

    /// The number of records that its journal alone has.
    pub(super) fn in_journal(&self) -> Option<u64> {
        self.journaled.as_ref().map(Journaled::records)
    }

    /// The earliest time of a record in a partition and segment of which something waits.
    pub(super) fn oldest(&self) -> Option<SystemTime> {
        let lanes = self.segments.iter().flat_map(|segment| &segment.lanes).filter(|lane| lane.waiting() > 0);
        lanes.map(|lane| lane.lane.first).min()
    }

    pub(super) fn owner(&self) -> &'static str {
        if self.queue.is_owned() { "alive" } else { "gone" }
    }

    /// Where it was last sent to, without what can be a secret.
    pub(super) fn endpoint(&self) -> Option<String> {
        let noted = self.queue.endpoint().as_deref().map(screen::shown);
        noted.or_else(|| self.status.as_ref()?.endpoint.clone())
    }

    /// The last error of its delivery, if nothing was delivered since and something waits.
    pub(super) fn failing(&self) -> Option<&LastError> {
        let waits = self.waiting() > 0 || self.is_partial;
        self.status.as_ref()?.failing().filter(|_| waits)
    }

    /// What its owner has told, for programs.
    pub(super) fn status_document(&self, now: SystemTime) -> Value {
        let Some(status) = &self.status else { return Value::Null };
        let seconds = |at: SystemTime| now.duration_since(at).unwrap_or_default().as_secs_f64();
        let error = status.last_error.as_ref();
        json!({
            "process": status.process,
            "written_at": time::rfc3339(status.written_at),
            "age_seconds": seconds(status.written_at),
            "endpoint": status.endpoint,
            "pending_records": status.pending_records,
            "oldest": status.oldest.map(time::rfc3339),
            "accepted_records": status.counts.map(|counts| counts.accepted),
            "delivered_records": status.counts.map(|counts| counts.delivered),
            "rejected_records": status.counts.map(|counts| counts.rejected),
            "lost_records": status.counts.map(|counts| counts.lost),
            "failed_requests": status.counts.map(|counts| counts.failed_requests),
            "last_success": status.last_success.map(time::rfc3339),
            "last_error": error.map(|error| &error.reason),
            "last_error_at": error.map(|error| time::rfc3339(error.at)),
        })
    }
}

/// An age for people; `-` where the time is not known.
pub(super) fn age(at: Option<SystemTime>, now: SystemTime) -> String {
    at.map_or_else(screen::unknown, |at| time::age(at, now))
}

/// A longer one, in two units.
pub(super) fn rough_age(at: Option<SystemTime>, now: SystemTime) -> String {
    let age = |at| now.duration_since(at).unwrap_or_default();
    at.map(age).map_or_else(screen::unknown, |age| {
        if age < Duration::from_secs(1) { time::brief(age) } else { time::rough(age) }
    })
}

/// Every queue, or those of one signal, one after the other; each is locked only while it is counted.
pub(super) fn queues(
    directory: &Directory,
    signal: Option<Signal>,
) -> Result<impl Iterator<Item = Result<Surveyed, SpoolError>>, SpoolError> {
    let rejected = directory.rejected().by_lane()?;
    Ok(each(directory, signal)?.map(move |queue| Surveyed::new(queue, &rejected)))
}

/// The signals and origins that living owners deliver.
pub(super) struct Served(BTreeSet<(Signal, Option<String>)>);

impl Served {
    pub(super) fn by(directory: &Directory, signal: Option<Signal>) -> Result<Self, SpoolError> {
        let queues = directory.queues(signal)?.flatten().filter(Queue::is_owned);
        Ok(Self(queues.map(|queue| (queue.signal(), queue.origin_tag())).collect()))
    }

    /// Whether the owner of a queue is gone, and those of its signal that live deliver to other endpoints.
    pub(super) fn strands(&self, queue: &Queue) -> bool {
        let of_signal = self.0.iter().any(|(signal, _)| *signal == queue.signal());
        !queue.is_owned() && of_signal && !self.0.contains(&(queue.signal(), queue.origin_tag()))
    }
}

/// Every queue, or those of one signal, that can be opened; the others are named.
pub(super) fn each(directory: &Directory, signal: Option<Signal>) -> Result<impl Iterator<Item = Queue>, SpoolError> {
    let named = |error: &SpoolError| screen::note(&format!("a queue is left out: {}", error_chain(error)));
    Ok(directory.queues(signal)?.filter_map(move |queue| queue.inspect_err(named).ok()))
}

/// The queues of signals that this version does not know, unless another one was chosen. Each is named.
pub(super) fn unknown(directory: &Directory, signal: Option<Signal>) -> Result<Vec<UnknownQueue>, SpoolError> {
    if signal.is_some() {
        return Ok(Vec::new());
    }
    let queues = directory.unknown_queues()?;
    for queue in &queues {
        let (id, signal) = (queue.id(), &queue.signal);
        screen::note(&format!("queue {id}: this version does not know its signal, {signal}: it is left alone"));
    }
    Ok(queues)
}
