//! The housekeeper: a thread that works ahead of time and afterwards, so that neither an append nor the delivery waits for
//! that. It makes, seals, recovers and deletes segments.
//!
//! One thread does so for all queues of the process in one directory: it is hired with the first of them and ends with the
//! last. It does a job of each queue by turns, and what waits for its time waits by itself.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant, SystemTime};

use super::active::NextSegment;
use super::cursor_file::{self, Flaw, Loaded};
use super::dir::Place;
use super::entry::system_time;
use super::jobs::Job;
use super::lock::{Lock, Rank, is_out_of_order};
use super::position::SegmentId;
use super::queue::{Ask, Queue, report};
use super::read_cache::Phase;
use super::seal::Seal;
use super::segment::Segment;
use super::status::{Counts, Status};
use super::store::file_path;
use crate::config::values::{Durability, without_query};
use crate::error::{SpoolError, error_chain};
use crate::observe::event::{Events, SpoolEvent};
use crate::observe::loss::LossReason;
use crate::observe::stats::Latest;

/// How long until a job that failed is tried again: a disk that is full or broken does not get well in a moment.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// For so long acknowledgements gather before they are written together: what a kill has sent again.
const SETTLE_AFTER: Duration = Duration::from_millis(10);

/// For so long changes gather before others can know of them: as a rule, what comes is delivered by then.
const STATUS_AFTER: Duration = Duration::from_secs(1);

/// The shortest time between two writes of the status.
const STATUS_EVERY: Duration = Duration::from_secs(5);

/// The housekeepers of this process. One is let go by itself, under this lock, so that none is hired meanwhile.
static HOUSEKEEPERS: Lock<Vec<Hired>> = Lock::new(Rank::Housekeepers, Vec::new());

/// A housekeeper as the others know it.
struct Hired {
    place: Place,
    messages: Sender<Message>,
    /// The number of queues that it looks after.
    queues: usize,
}

/// A message to a housekeeper, with the number of the queue that it is about.
enum Message {
    /// Look after this queue. The sender is dropped when that ends.
    Begin(u64, Arc<Queue>, Sender<()>),
    Job(u64, Job),
}

/// Finds the housekeeper of a directory, or starts one. What this returns is for one queue.
pub(super) fn hire(place: &Place) -> io::Result<Desk> {
    static QUEUES: AtomicU64 = AtomicU64::new(0);
    let number = QUEUES.fetch_add(1, Ordering::Relaxed);
    let mut all = HOUSEKEEPERS.lock();
    if let Some(hired) = all.iter_mut().find(|hired| hired.place == *place) {
        hired.queues += 1;
        return Ok(Desk { number, messages: hired.messages.clone() });
    }
    let (messages, received) = mpsc::channel();
    let housekeeper = Housekeeper { place: place.clone(), messages: received, clients: BTreeMap::new(), last: number };
    crate::process::spawn("housekeeper", move || housekeeper.run())?;
    all.push(Hired { place: place.clone(), messages: messages.clone(), queues: 1 });
    Ok(Desk { number, messages })
}

/// The number of queues that the housekeeper of a directory looks after: none if there is none.
#[cfg(test)]
pub(super) fn queues_of(place: &Place) -> usize {
    HOUSEKEEPERS.lock().iter().find(|hired| hired.place == *place).map_or(0, |hired| hired.queues)
}

/// The way to a housekeeper that one queue has. [`Job::Finish`] ends it.
pub(super) struct Desk {
    number: u64,
    messages: Sender<Message>,
}

impl Desk {
    /// The function by which the queue asks for jobs.
    pub(super) fn ask(&self) -> Box<Ask> {
        let (number, messages) = (self.number, self.messages.clone());
        // A queue is let go after it is closed; nothing is to be done then.
        Box::new(move |job| drop(messages.send(Message::Job(number, job))))
    }

    /// Has the queue looked after. What this returns ends when it is let go.
    pub(super) fn look_after(self, queue: Arc<Queue>) -> Receiver<()> {
        let (let_go, is_let_go) = mpsc::channel();
        let _ = self.messages.send(Message::Begin(self.number, queue, let_go));
        is_let_go
    }
}

/// A queue that is looked after.
struct Client {
    queue: Arc<Queue>,
    /// Jobs to be done now.
    ready: VecDeque<Job>,
    later: Later,
    /// The last field: it is dropped after the queue is given up.
    _let_go: Sender<()>,
}

impl Client {
    /// Notes a job, for now or for its time.
    fn note(&mut self, job: Job) {
        let (now, later) = (Instant::now(), &mut self.later);
        match job {
            Job::SettleSoon => later.settle_at = later.settle_at.or_else(|| now.checked_add(SETTLE_AFTER)),
            Job::SyncSoon => later.sync_at = later.sync_at.or_else(|| now.checked_add(self.queue.sync_interval())),
            Job::StatusSoon => later.note_news(now),
            Job::RetryIn(segment, after) => {
                later.retries.extend(now.checked_add(after).map(|at| (at, segment, after)));
            }
            job => self.ready.push_back(job),
        }
    }

    /// The next job. First what is due: jobs that come one after the other must not keep it waiting.
    fn take(&mut self) -> Option<Job> {
        self.later.take_due(Instant::now()).or_else(|| self.ready.pop_front())
    }

    fn run(&mut self, job: Job) {
        let queue = &*self.queue;
        // A panic of the engine or of an encoder must not end the thread that everything else waits for.
        let result = catch_unwind(AssertUnwindSafe(|| queue.run_job(&job))).unwrap_or_else(|panic| {
            if is_out_of_order(&*panic) {
                resume_unwind(panic);
            }
            Err(SpoolError::Panicked { action: "look after", path: queue.dir.path.clone() })
        });
        self.later.done(result, job, &queue.hooks.events);
    }
}

/// The state of the thread.
struct Housekeeper {
    place: Place,
    messages: Receiver<Message>,
    /// The queues, by their numbers.
    clients: BTreeMap<u64, Client>,
    /// The queue whose job was the last.
    last: u64,
}

impl Housekeeper {
    fn run(mut self) {
        loop {
            while let Ok(message) = self.messages.try_recv() {
                self.note(message);
            }
            match self.next_job() {
                Some((number, Job::Finish)) => {
                    if self.let_go(number) {
                        return;
                    }
                }
                Some((number, job)) => {
                    if let Some(client) = self.clients.get_mut(&number) {
                        client.run(job);
                    }
                }
                None => {
                    let wait = self.clients.values().filter_map(|client| client.later.wait()).min();
                    let message = match wait {
                        Some(wait) => self.messages.recv_timeout(wait),
                        None => self.messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
                    };
                    if let Ok(message) = message {
                        self.note(message);
                    }
                }
            }
        }
    }

    fn note(&mut self, message: Message) {
        match message {
            Message::Begin(number, queue, let_go) => {
                let client = Client { queue, ready: VecDeque::new(), later: Later::default(), _let_go: let_go };
                self.clients.insert(number, client);
            }
            Message::Job(number, job) => {
                if let Some(client) = self.clients.get_mut(&number) {
                    client.note(job);
                }
            }
        }
    }

    /// A job of the next queue that has one, by turns.
    fn next_job(&mut self) -> Option<(u64, Job)> {
        let behind = self.clients.range(self.last + 1..).map(|(number, _)| *number);
        let turn: Vec<u64> = behind.chain(self.clients.range(..=self.last).map(|(number, _)| *number)).collect();
        let (number, job) =
            turn.into_iter().find_map(|number| Some((number, self.clients.get_mut(&number)?.take()?)))?;
        self.last = number;
        Some((number, job))
    }

    /// Lets a queue go; true if it was the last.
    fn let_go(&mut self, number: u64) -> bool {
        let mut all = HOUSEKEEPERS.lock();
        let mut is_last = false;
        all.retain_mut(|hired| {
            hired.queues -= usize::from(hired.place == self.place);
            is_last |= hired.queues == 0;
            hired.queues > 0
        });
        drop(all);
        self.clients.remove(&number);
        is_last
    }
}

impl Drop for Housekeeper {
    /// After a panic nobody is to wait for it: another one is hired.
    fn drop(&mut self) {
        if std::thread::panicking() {
            HOUSEKEEPERS.lock().retain(|hired| hired.place != self.place);
        }
    }
}

/// The jobs that wait for their time.
#[derive(Debug, Default)]
struct Later {
    sync_at: Option<Instant>,
    settle_at: Option<Instant>,
    status_at: Option<Instant>,
    status_not_before: Option<Instant>,
    /// The segments that are held, when each is tried again, and how long that is.
    retries: Vec<(Instant, SegmentId, Duration)>,
    /// The jobs that failed, in the order in which they did.
    failed: VecDeque<(Instant, Job)>,
    failing: bool,
}

impl Later {
    fn wait(&self) -> Option<Duration> {
        let failed_at = self.failed.front().map(|(at, _)| *at);
        let retry_at = self.retries.iter().map(|(at, ..)| *at).min();
        let at = [self.sync_at, self.settle_at, self.status_at, failed_at, retry_at].into_iter().flatten().min()?;
        Some(at.saturating_duration_since(Instant::now()))
    }

    /// Has the status written, unless it is to be already.
    fn note_news(&mut self, now: Instant) {
        let soon = now + STATUS_AFTER;
        let at = self.status_not_before.map_or(soon, |not_before| soon.max(not_before));
        self.status_at.get_or_insert(at);
    }

    fn take_due(&mut self, now: Instant) -> Option<Job> {
        if self.sync_at.take_if(|at| *at <= now).is_some() {
            return Some(Job::Sync);
        }
        if self.settle_at.take_if(|at| *at <= now).is_some() {
            return Some(Job::Settle);
        }
        if self.status_at.take_if(|at| *at <= now).is_some() {
            self.status_not_before = Some(now + STATUS_EVERY);
            return Some(Job::Status);
        }
        if let Some(due) = self.retries.iter().position(|(at, ..)| *at <= now) {
            let (_, segment, held) = self.retries.swap_remove(due);
            return Some(Job::Retry(segment, held));
        }
        let is_due = self.failed.front().is_some_and(|(at, _)| *at <= now);
        is_due.then(|| self.failed.pop_front()).flatten().map(|(_, job)| job)
    }

    /// Warns once when jobs begin to fail, until none does. A job that a closed spool does not do any more is no failure.
    fn done(&mut self, result: Result<(), SpoolError>, job: Job, events: &Events) {
        let error = match result {
            Ok(()) => {
                self.failing &= !self.failed.is_empty();
                return;
            }
            Err(SpoolError::Closed) => return,
            Err(error) => error,
        };
        if !std::mem::replace(&mut self.failing, true) {
            report(events, SpoolEvent::HousekeepingFailed { reason: error_chain(&error) });
        }
        match job {
            // One does for all.
            Job::Settle => self.settle_at = Some(Instant::now() + RETRY_AFTER),
            Job::ReportGaps if self.failed.iter().any(|(_, failed)| matches!(failed, Job::ReportGaps)) => {}
            job => self.failed.push_back((Instant::now() + RETRY_AFTER, job)),
        }
    }
}

impl Queue {
    fn sync_interval(&self) -> Duration {
        match self.config.durability {
            Durability::Interval(interval) => interval,
            Durability::Sync | Durability::Process => Duration::ZERO,
        }
    }

    pub(super) fn run_job(&self, job: &Job) -> Result<(), SpoolError> {
        match *job {
            Job::BeginActive => self.begin_active_ahead(),
            Job::MakeNext => self.make_next_ahead(),
            Job::Seal { ref segment, frames } => {
                self.seal(segment, frames);
                Ok(())
            }
            Job::KeepSeal(segment, ref seal) => self.keep_seal(segment, seal),
            Job::Recover { id, accepted } => {
                // On a disk that is full it is tried again, and what is newer waits.
                if !self.is_replayed(id)? {
                    return Ok(());
                }
                match self.recover(id, accepted) {
                    Err(error) if !matches!(error, SpoolError::Closed) => self.hold_unrecovered(id, &error),
                    _ => {}
                }
                Ok(())
            }
            Job::Prefetch(segment) => {
                // Who needs the segment opens it, and reports the error.
                let _ = self.open_segment(segment);
                Ok(())
            }
            Job::Retry(segment, held) => {
                if let Some(after) = self.retry(segment, held) {
                    self.ask(Job::RetryIn(segment, after));
                }
                Ok(())
            }
            Job::ReadAhead { lane, start, end } => {
                self.read_ahead(lane, start, end);
                Ok(())
            }
            Job::Complete(segment) => {
                self.complete_active(segment);
                Ok(())
            }
            Job::Remove(segment) => self.remove_segment(segment),
            Job::Sync => self.sync_active(),
            Job::Settle => self.settle(),
            Job::ReportGaps => self.report_gaps(),
            Job::Status => {
                self.write_status();
                Ok(())
            }
            Job::ReportAdopted { records, ref unknown, ref was } => {
                self.report_adopted(records, unknown, was);
                Ok(())
            }
            Job::CountStranded => {
                self.count_stranded();
                Ok(())
            }
            #[cfg(test)]
            Job::Reply(ref sender) => {
                let _ = sender.send(());
                Ok(())
            }
            Job::SyncSoon | Job::SettleSoon | Job::StatusSoon | Job::RetryIn(..) | Job::Finish => Ok(()),
        }
    }

    /// Writes down what others can know of the queue. It serves people: what cannot be written is left.
    pub(super) fn write_status(&self) {
        self.has_news.store(false, Ordering::Release);
        if self.dir.check_in_place().is_ok() {
            self.dir.put_status(&self.status().to_file());
        }
    }

    /// What others can know of the queue.
    fn status(&self) -> Status {
        let (cache, counters) = (self.read_cache.lock(), &self.hooks.counters);
        let index = self.index.lock();
        // What was found and is not looked into yet is not known.
        let is_known = index.is_searched();
        let pending_records = is_known.then_some(index.pending_records);
        let oldest = index.oldest_appended(|segment| cache.peek(segment)).filter(|_| is_known);
        drop(index);
        drop(cache);
        let Latest { success, error } = counters.latest();
        Status {
            process: std::process::id(),
            written_at: SystemTime::now(),
            endpoint: self.config.endpoint.as_deref().map(without_query),
            pending_records,
            oldest: oldest.map(system_time),
            counts: self.is_own.then(|| Counts::of(&counters.snapshot())),
            last_success: success,
            last_error: error,
        }
    }

    /// Has an active segment. On a full disk the first append tries again, and says so.
    fn begin_active_ahead(&self) -> Result<(), SpoolError> {
        match self.begin_active(self.writer.lock()).map(drop) {
            Err(error) if error.is_full() => self.report_event(SpoolEvent::DiskFull { reason: error_chain(&error) }),
            result => {
                result?;
                self.dir.take_ballast();
            }
        }
        Ok(())
    }

    fn make_next_ahead(&self) -> Result<(), SpoolError> {
        let writer = self.writer.lock();
        if matches!(writer.next, NextSegment::Absent) && !self.is_closed() {
            let reserve = self.reserves(&writer.space).then_some(self.config.segment_bytes);
            drop(self.make_next(writer, reserve)?);
        } else {
            drop(writer);
        }
        self.dir.take_ballast();
        Ok(())
    }

    fn seal(&self, segment: &Segment, frames: u64) {
        let id = segment.id;
        if let Err(error) = segment.sync() {
            // Records that a power cut takes of it now are missed when it is read. Later syncs say nothing of this one.
            self.report_event(SpoolEvent::SegmentNotSynced { segment: id.number, reason: error_chain(&error) });
        }
        segment.trim();
        let seal = Seal { frames, lanes: segment.lanes() };
        self.index.lock().set_frames(id, frames);
        let closed = self.read_cache.lock().set_sealed(id);
        drop(closed);
        self.keep_seal_or_ask(id, seal);
    }

    /// Keeps a seal now or later. Until then a restart scans the segment.
    fn keep_seal_or_ask(&self, segment: SegmentId, seal: Seal) {
        if self.keep_seal(segment, &seal).is_err() {
            self.ask(Job::KeepSeal(segment, seal));
        }
    }

    fn keep_seal(&self, segment: SegmentId, seal: &Seal) -> Result<(), SpoolError> {
        // It is not deleted meanwhile.
        let sealing = self.begin_phase(segment, Phase::Sealing);
        let is_there = self.index.lock().contains(segment);
        if !is_there {
            return Ok(());
        }
        seal.write(&self.dir.segment(segment))?;
        drop(sealing);
        self.index.lock().owe_seal(segment, 0);
        Ok(())
    }

    /// Says how many records were taken over.
    fn report_adopted(&self, records: u64, unknown: &[SegmentId], was: &str) {
        let index = self.index.lock();
        let records = records + unknown.iter().map(|segment| index.waiting_share(*segment).0).sum::<u64>();
        drop(index);
        if records > 0 {
            let (was, now) = (was.to_owned(), self.config.shown_endpoint());
            self.report_event(SpoolEvent::QueueAdopted { records, was, now });
        }
    }

    /// Makes the segment of the journals that were found, if it is this one: false if there is nothing to be put there.
    fn is_replayed(&self, id: SegmentId) -> Result<bool, SpoolError> {
        let Some((_, files)) = self.replay.as_ref().filter(|(replay, _)| *replay == id) else { return Ok(true) };
        self.dir.check_in_place()?;
        if self.replay(id, files)? {
            return Ok(true);
        }
        let mut index = self.index.lock();
        index.remove(id);
        index.enqueue_all();
        drop(index);
        self.progress.notify_all();
        self.wake();
        Ok(false)
    }

    /// Reads how far a segment is delivered, if that could not be read when the queue was opened.
    fn read_cursors(&self, id: SegmentId) -> Result<(), SpoolError> {
        let is_read = !self.index.lock().lacks_cursors(id);
        if is_read {
            return Ok(());
        }
        let Loaded { lanes, flaw, .. } = cursor_file::read_if_readable(&self.dir.segment(id), id)?;
        self.index.lock().put_cursors(id, lanes);
        if let Some(flaw) = flaw.filter(Flaw::costs) {
            self.report_event(SpoolEvent::CursorDamaged { reason: format!("segment {id}: {flaw}") });
        }
        Ok(())
    }

    /// Looks into a segment that a killed process left.
    pub(super) fn recover(&self, id: SegmentId, accepted: u64) -> Result<(), SpoolError> {
        self.dir.check_in_place()?;
        self.read_cursors(id)?;
        let path = self.dir.segment(id);
        let is_missing = !file_path(&path).exists();
        let seal = self.reading(id, |errors| Seal::recover(&path, id, accepted, errors))?;
        if is_missing {
            self.read_cache.lock().set_damaged(id);
            self.report_event(SpoolEvent::SegmentDamaged { segment: id.number });
        }
        // Before anything of it is delivered: a later scan may find less. On a disk that takes nothing it does without.
        self.keep_seal_or_ask(id, seal.clone());
        let mut index = self.index.lock();
        let missing = index.missing_from(id, &seal);
        let delivered = index.add_sealed(id, seal);
        // It may have been held since it could not be read.
        let was_last = index.let_go(id);
        index.enqueue_all();
        drop(index);
        if was_last {
            self.report_event(SpoolEvent::SegmentReleased { segment: id.number });
        }
        for (key, records) in missing {
            self.lose(&key, LossReason::Corrupt, records, None);
        }
        if delivered {
            self.ask(Job::Remove(id));
        }
        self.progress.notify_all();
        self.wake();
        Ok(())
    }

    /// Deletes a segment that is delivered, or was evicted.
    fn remove_segment(&self, segment: SegmentId) -> Result<(), SpoolError> {
        self.dir.check_in_place()?;
        let deleting = self.begin_phase(segment, Phase::Deleting);
        let damaged = self.read_cache.lock().is_damaged(segment);
        if damaged {
            // Or what is delivered of it would be taken for what waits there.
            let _ = self.settle();
        }
        // Not every file system deletes a file that is open.
        let open = self.read_cache.lock().close(segment);
        drop(open);
        self.cursors.lock().close_file(segment);
        self.sync_journal()?;
        if damaged {
            self.dir.quarantine(segment, self.config.limits.max_bytes / 8)?;
        } else {
            self.dir.remove_segment(segment)?;
        }
        let mut index = self.index.lock();
        index.forget_cursors(segment);
        index.remove(segment);
        drop(index);
        self.cursors.lock().forget(segment);
        let open = self.read_cache.lock().remove(segment);
        drop(deleting);
        drop(open);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_is_told_a_moment_later_and_at_most_every_few_seconds_and_nothing_is_when_nothing_changes() {
        let (mut later, begun) = (Later::default(), Instant::now());
        let (soon, mut told) = (begun + STATUS_AFTER, Vec::new());
        assert!(later.wait().is_none());
        // Something changes every tenth of a second for twelve seconds, and nothing any more after that.
        for tenth in 0..300 {
            let now = begun + Duration::from_millis(100) * tenth;
            if tenth <= 120 {
                later.note_news(now);
            }
            told.extend(later.take_due(now).map(|job| (matches!(job, Job::Status), now)));
        }
        let expected = [soon, soon + STATUS_EVERY, soon + 2 * STATUS_EVERY, soon + 3 * STATUS_EVERY];
        assert_eq!(told, expected.map(|at| (true, at)));
        assert!(later.wait().is_none(), "an idle queue wakes nobody");
        // After a rest the next change is told at once.
        let rested = begun + Duration::from_secs(60);
        later.note_news(rested);
        assert!(later.take_due(rested).is_none());
        assert!(matches!(later.take_due(rested + STATUS_AFTER), Some(Job::Status)));
    }
}
