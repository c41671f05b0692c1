//! What is done ahead of time or afterwards, so that neither an append nor the delivery waits for it.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::dir::io_error;
use super::reader::Place;
use super::seal::Seal;
use super::segment::Segment;
use super::{Inner, lock};
use crate::config::values::Durability;
use crate::error::SpoolError;
use crate::error::error_chain;
use crate::observe::event::{Events, SpoolEvent};

#[derive(Debug)]
pub(super) enum Job {
    /// Make the next segment.
    Spare,
    /// Seal a segment that gets no more entries.
    Seal {
        segment: Arc<Segment>,
        frames: u64,
    },
    /// Write a seal that could not be written before.
    KeepSeal(u64, Seal),
    /// Find out what is in a segment that has no seal, and seal it. Of its frames, `accepted` are known to be safe.
    Recover {
        number: u64,
        accepted: u64,
    },
    /// Open a segment for reading.
    Prefetch(u64),
    /// Make the body of the batch that begins there, of records up to that one.
    ReadAhead(Place, u64),
    /// Delete a segment that is delivered.
    Remove(u64),
    /// Sync the newest segment when the interval is over, and now.
    SyncSoon,
    Sync,
    /// Make acknowledgements survive a kill in a moment, and now.
    SettleSoon,
    Settle,
    /// Tell of what was lost.
    ReportGaps,
    /// Say that everything before was done.
    #[cfg(test)]
    Tell(std::sync::mpsc::Sender<()>),
    /// Do what was asked for before, and end.
    Finish,
}

/// How long until something that failed is tried again: a disk that is full or broken does not get well in a moment.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// For so long acknowledgements gather before they are written down together: what a kill has sent again.
const SETTLE_AFTER: Duration = Duration::from_millis(10);

/// Starts the thread. It ends with [`Job::Finish`].
pub(super) fn start(inner: Arc<Inner>, jobs: Receiver<Job>) -> Result<JoinHandle<()>, SpoolError> {
    let path = inner.dir.path.clone();
    crate::process::spawn("housekeeper", move || run(&inner, &jobs))
        .map_err(|error| io_error("start a thread for", &path, error))
}

fn run(inner: &Inner, jobs: &Receiver<Job>) {
    let mut later = Later::default();
    loop {
        let next = match later.wait() {
            None => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(left) => jobs.recv_timeout(left),
        };
        let job = match next {
            Ok(Job::Finish) | Err(RecvTimeoutError::Disconnected) => return,
            Ok(Job::SettleSoon) => {
                later.settle_at = later.settle_at.or_else(|| Instant::now().checked_add(SETTLE_AFTER));
                continue;
            }
            Ok(Job::SyncSoon) => {
                later.sync_at = later.sync_at.or_else(|| Instant::now().checked_add(inner.sync_interval()));
                continue;
            }
            Ok(job) => job,
            Err(RecvTimeoutError::Timeout) => match later.take_due() {
                Some(job) => job,
                None => continue,
            },
        };
        // A panic of the engine or of an encoder must not end what everything else waits for.
        let result = catch_unwind(AssertUnwindSafe(|| inner.run_job(&job)));
        let panicked = |_| Err(SpoolError::Panicked { action: "look after", path: inner.dir.path.clone() });
        later.done(result.unwrap_or_else(panicked), job, &inner.events);
    }
}

/// What waits for its time.
#[derive(Debug, Default)]
struct Later {
    sync_at: Option<Instant>,
    settle_at: Option<Instant>,
    /// What failed, in the order in which it did.
    failed: VecDeque<(Instant, Job)>,
    failing: bool,
}

impl Later {
    fn wait(&self) -> Option<Duration> {
        let again_at = self.failed.front().map(|(at, _)| *at);
        let at = [self.sync_at, self.settle_at, again_at].into_iter().flatten().min()?;
        Some(at.saturating_duration_since(Instant::now()))
    }

    fn take_due(&mut self) -> Option<Job> {
        let now = Instant::now();
        if self.sync_at.take_if(|at| *at <= now).is_some() {
            return Some(Job::Sync);
        }
        if self.settle_at.take_if(|at| *at <= now).is_some() {
            return Some(Job::Settle);
        }
        let is_due = self.failed.front().is_some_and(|(at, _)| *at <= now);
        is_due.then(|| self.failed.pop_front()).flatten().map(|(_, job)| job)
    }

    /// Warns once when jobs begin to fail. What a closed spool does not do any more is no failure.
    fn done(&mut self, result: Result<(), SpoolError>, job: Job, events: &Events) {
        let error = match result {
            Ok(()) => {
                self.failing = false;
                return;
            }
            Err(SpoolError::Closed) => return,
            Err(error) => error,
        };
        if !std::mem::replace(&mut self.failing, true) {
            events.report(SpoolEvent::HousekeepingFailed { reason: error_chain(&error) });
        }
        self.failed.push_back((Instant::now() + AGAIN_AFTER, job));
    }
}

impl Inner {
    fn sync_interval(&self) -> Duration {
        match self.config.durability {
            Durability::Interval(interval) => interval,
            Durability::Sync | Durability::Process => Duration::ZERO,
        }
    }

    fn run_job(&self, job: &Job) -> Result<(), SpoolError> {
        match *job {
            Job::Spare => self.make_spare(),
            Job::Seal { ref segment, frames } => {
                self.seal(segment, frames);
                Ok(())
            }
            Job::KeepSeal(number, ref seal) => self.keep_seal(number, seal),
            Job::Recover { number, accepted } => self.recover(number, accepted),
            Job::Prefetch(number) => {
                // Who needs it opens it, and reports what is wrong.
                let _ = self.reader(number);
                Ok(())
            }
            Job::ReadAhead(place, end) => {
                self.read_ahead(place, end);
                Ok(())
            }
            Job::Remove(number) => self.remove_segment(number),
            Job::Sync => self.sync_head(),
            Job::Settle => self.settle(),
            Job::ReportGaps => self.report_gaps(),
            #[cfg(test)]
            Job::Tell(ref sender) => {
                let _ = sender.send(());
                Ok(())
            }
            Job::SyncSoon | Job::SettleSoon | Job::Finish => Ok(()),
        }
    }

    fn make_spare(&self) -> Result<(), SpoolError> {
        let reserves = self.reserves();
        // Locked while it is made: who needs it meanwhile waits instead of making another.
        let mut spare = lock(&self.spare);
        if spare.is_none() && !self.closed.load(Ordering::Acquire) {
            let mut segment = self.create_segment()?;
            if reserves {
                segment.reserve(self.config.segment_bytes);
            }
            *spare = Some(Arc::new(segment));
        }
        drop(spare);
        self.dir.take_ballast();
        Ok(())
    }

    fn seal(&self, segment: &Segment, frames: u64) {
        let number = segment.id.number;
        if let Err(error) = segment.sync() {
            // What a power cut takes of it now is missed when it is read. Later syncs say nothing of this one.
            self.events.report(SpoolEvent::SegmentNotSynced { segment: number, reason: error_chain(&error) });
        }
        segment.trim();
        let seal = Seal { frames, lanes: segment.lanes() };
        let mut state = lock(&self.state);
        if let Some(segment) = state.segments.get_mut(&number) {
            segment.frames = Some(frames);
        }
        // With a backlog, nobody will read it for a while.
        let unused = state.close_least_used(1);
        drop(state);
        drop(unused);
        self.keep_seal_or_ask(number, seal);
    }

    /// What cannot be kept now is kept later. Until then a restart scans the segment.
    fn keep_seal_or_ask(&self, number: u64, seal: Seal) {
        if self.keep_seal(number, &seal).is_err() {
            self.ask(Job::KeepSeal(number, seal));
        }
    }

    fn keep_seal(&self, number: u64, seal: &Seal) -> Result<(), SpoolError> {
        // Not deleted meanwhile.
        let _opening = lock(&self.opening);
        if !lock(&self.state).segments.contains_key(&number) {
            return Ok(());
        }
        seal.write(&self.dir.segment(number))?;
        lock(&self.state).owe_seal(number, 0);
        Ok(())
    }

    fn recover(&self, number: u64, accepted: u64) -> Result<(), SpoolError> {
        let (path, id) = (self.dir.segment(number), self.segment_id(number));
        let seal = self.reading(number, |errors| Seal::recover(&path, id, accepted, errors))?;
        // Before anything of it is delivered: a later scan may find less. On a disk that takes nothing it does without.
        self.keep_seal_or_ask(number, seal.clone());
        let mut state = lock(&self.state);
        let delivered = state.add_sealed(number, seal);
        state.enqueue_all();
        drop(state);
        if delivered {
            self.ask(Job::Remove(number));
        }
        self.progress.notify_all();
        self.wake();
        Ok(())
    }

    /// Syncs what was accepted in the meantime. A segment that could not be synced is not trusted any more.
    fn sync_head(&self) -> Result<(), SpoolError> {
        let segment = lock(&self.head).as_ref().map(|head| head.segment.clone());
        let Some(segment) = segment else { return Ok(()) };
        segment.sync().or_else(|error| {
            let mut head = lock(&self.head);
            if head.as_ref().is_some_and(|head| Arc::ptr_eq(&head.segment, &segment)) {
                self.abandon_head(&mut head)?;
            }
            let (segment, reason) = (segment.id.number, error_chain(&error));
            self.events.report(SpoolEvent::SegmentNotSynced { segment, reason });
            Ok(())
        })
    }
}
