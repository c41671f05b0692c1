//! What is done ahead of time or afterwards, so that neither an append nor the delivery waits for it.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use opentelemetry::otel_warn;

use super::dir::io_error;
use super::segment::{Seal, Segment};
use super::{Inner, lock};
use crate::config::Durability;
use crate::error::SpoolError;

#[derive(Debug)]
pub(super) enum Job {
    /// Make the next segment.
    Spare,
    /// Seal a segment that gets no more entries.
    Seal { segment: Arc<Segment>, frames: u64 },
    /// Find out what is in a segment that has no seal, and seal it. Of its frames, `accepted` are known to be safe.
    Recover { number: u64, accepted: u64 },
    /// Open a segment for reading.
    Prefetch(u64),
    /// Delete a segment that is delivered.
    Remove(u64),
    /// Sync the newest segment when the interval is over.
    SyncSoon,
    /// Do what was asked for before, and end.
    Finish,
}

#[derive(Debug)]
pub(super) struct Housekeeper {
    jobs: Sender<Job>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Housekeeper {
    pub(super) fn start(inner: Arc<Inner>) -> Result<Self, SpoolError> {
        let (jobs, receiver) = mpsc::channel();
        let path = inner.dir.path.clone();
        let thread = crate::background::spawn("housekeeper", move || run(&inner, &receiver))
            .map_err(|error| io_error("start a thread for", &path, error))?;
        Ok(Self { jobs, thread: Mutex::new(Some(thread)) })
    }

    pub(super) fn ask(&self, job: Job) {
        // It ends only after the spool is closed; nothing is to be done then.
        let _ = self.jobs.send(job);
    }

    /// Waits until all that was asked for is done.
    pub(super) fn finish(&self) {
        self.ask(Job::Finish);
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

fn run(inner: &Inner, jobs: &Receiver<Job>) {
    let mut sync_at: Option<Instant> = None;
    loop {
        let job = match sync_at {
            None => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(at) => jobs.recv_timeout(at.saturating_duration_since(Instant::now())),
        };
        let result = match job {
            Ok(Job::Finish) | Err(RecvTimeoutError::Disconnected) => return,
            Ok(Job::SyncSoon) => {
                sync_at = sync_at.or_else(|| Instant::now().checked_add(inner.sync_interval()));
                Ok(())
            }
            Err(RecvTimeoutError::Timeout) => {
                sync_at = None;
                inner.sync_head()
            }
            Ok(job) => inner.run_job(job),
        };
        if let Err(error) = result {
            otel_warn!(name: "Spool.HousekeepingFailed", reason = error.to_string());
        }
    }
}

impl Inner {
    fn sync_interval(&self) -> Duration {
        match self.config.durability {
            Durability::Interval(interval) => interval,
            Durability::Sync | Durability::Process => Duration::ZERO,
        }
    }

    fn sync_head(&self) -> Result<(), SpoolError> {
        let head = lock(&self.head).as_ref().map(|head| head.segment.clone());
        head.map_or(Ok(()), |segment| segment.sync())
    }

    fn run_job(&self, job: Job) -> Result<(), SpoolError> {
        let closed = self.closed.load(Ordering::Acquire);
        match job {
            Job::Spare if !closed => {
                // Locked while it is made: who needs it meanwhile waits instead of making another.
                let mut spare = lock(&self.spare);
                if spare.is_none() {
                    *spare = Some(Arc::new(self.create_segment()?));
                }
                Ok(())
            }
            Job::Seal { segment, frames } => {
                segment.sync()?;
                let number = segment.id.number;
                let seal = Seal::of(&self.dir.segment(number), frames, segment.lanes())?;
                self.put_seal(number, seal, |state, seal| {
                    if let Some(segment) = state.segments.get_mut(&number) {
                        segment.seal = Some(seal);
                    }
                    false
                })?;
                // With a backlog, nobody will read it for a while.
                let unused = lock(&self.state).close_least_used(1);
                drop((segment, unused));
                Ok(())
            }
            Job::Recover { number, accepted } => {
                let seal = Seal::recover(&self.dir.segment(number), self.segment_id(number), accepted)?;
                let kept = self.put_seal(number, seal, |state, seal| {
                    state.add_sealed(number, seal, |lane| self.cursor.lane(number, lane))
                });
                self.progress.notify_all();
                self.wake();
                kept
            }
            Job::Prefetch(number) if !closed => self.reader(number).map(drop),
            Job::Remove(number) => {
                self.remove_segment(number);
                Ok(())
            }
            Job::Spare | Job::Prefetch(_) | Job::SyncSoon | Job::Finish => Ok(()),
        }
    }

    /// Keeps a seal and tells the state of it, which says whether the segment is delivered altogether.
    fn put_seal(
        &self,
        number: u64,
        seal: Seal,
        tell: impl FnOnce(&mut super::State, Arc<Seal>) -> bool,
    ) -> Result<(), SpoolError> {
        // A seal that could not be kept still says what there is to deliver; the next start makes another.
        let kept = self.cursor.put_seal(number, &seal);
        let delivered = tell(&mut lock(&self.state), Arc::new(seal));
        if delivered {
            self.remove_segment(number);
        }
        kept
    }
}
