//! The durable queue: a directory of small databases, *segments*, written one after the other. `FORMAT.md` beside
//! this file draws every byte of it.
//!
//! | file | level |
//! |---|---|
//! | `dir` | which files there are, and who owns them |
//! | `store`, `pool` | one database; the engine's threads |
//! | `frame`, `entry` | what is in it |
//! | `coding`, `body` | records made smaller; a request body put together from them |
//! | `segment`, `seal` | a database as a run of entries; what should be in it |
//! | `cursor` | what of the segments is delivered |
//! | `state` | what waits, in memory |
//! | `housekeeper` | what is done ahead or afterwards, on a thread of its own |
//! | `append`, `deliver` | the verbs: append; next, ack, cut, reject |
//! | `partition` | the same for queues that were adopted |
//! | `space`, `gap` | what gives way when there is too much; how that is told |
//! | `rejected` | what the receiver refused for good |
//! | `inspect` | all of this read by who does not own it |
//! | this one | opening and closing |
//!
//! Lock order: `reporting`, `head`, `space`, `opening`, `spare`, `advancing`, `ahead`, `state`, and last those of a segment, the cursor
//! (`kept`, then `changes`) and the gaps; nothing is locked with `next_number`, `elder` or `spare_bodies`. None but
//! `opening`, and in an append `head` and `spare`, is held while a segment is opened or made, nor `state` during I/O.

mod adoption;
mod body;
mod bytes;
mod coding;
mod cursor;
mod dir;
mod entry;
mod frame;
#[cfg(fuzzing)]
pub mod fuzzing;
mod housekeeper;
mod index;
#[cfg(feature = "cli")]
pub(crate) mod inspect;
mod loss;
mod position;
mod reader;
mod rejected;
mod seal;
mod segment;
mod sled_threads;
mod space;
mod store;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use crate::config::values::{BatchLimits, Durability, SpoolLimits};
use crate::error::SpoolError;
use crate::error::error_chain;
use crate::observe::event::{Events, SpoolEvent};
use crate::observe::loss::Losses;
use crate::process::check_process;
use cursor::{Cursor, LaneCursors};
use dir::QueueDir;
use entry::system_time;
use frame::ReadErrors;
use housekeeper::Job;
use index::State;
use loss::Gaps;
use reader::Place;
use seal::Seal;
use segment::{Collected, Segment};
use space::Space;
use writer::Head;

pub(crate) use adoption::Partition;
pub(crate) use coding::Coding;
pub(crate) use entry::MAX_RECORD_BYTES;
pub(crate) use loss::{Gap, GapEncoder, Unreported};
pub(crate) use position::BatchStart;
pub(crate) use reader::{Batch, Next};
pub use rejected::RejectedRecord;
pub(crate) use rejected::{RejectedStore, Rejection};

/// For so long a segment is read again and again before what the disk does not give is given up.
const READ_PATIENCE: Duration = Duration::from_secs(10);

/// What the spool is told.
#[derive(Clone, Debug)]
pub(crate) struct SpoolConfig {
    pub(crate) dir: PathBuf,
    pub(crate) durability: Durability,
    /// Of what is appended.
    pub(crate) coding: Coding,
    /// A segment that has this many bytes gets no more.
    pub(crate) segment_bytes: u64,
    pub(crate) batch: BatchLimits,
    pub(crate) limits: SpoolLimits,
    /// Where it is sent to, to be noted beside the records; without a password.
    pub(crate) endpoint: Option<String>,
}

/// The id of a segment: no two have the same, on whatever machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentId {
    queue: u64,
    number: u64,
}

/// How much is in the spool.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Depth {
    pub(crate) pending_records: u64,
    pub(crate) segments: u64,
}

struct Inner {
    config: SpoolConfig,
    dir: QueueDir,
    cursor: Cursor,
    rejected: Arc<RejectedStore>,
    gap_encoder: Arc<GapEncoder>,
    losses: Arc<Losses>,
    gaps: Mutex<Gaps>,
    /// Held while gaps are told, so that closing waits for those that are on their way.
    reporting: Mutex<()>,
    space: Mutex<Space>,
    head: Mutex<Option<Head>>,
    state: Mutex<State>,
    /// With `state`: something was delivered, recovered, or the spool was closed.
    progress: Condvar,
    next_number: Mutex<u64>,
    /// The next segment, made ahead of its time.
    spare: Mutex<Option<Arc<Segment>>>,
    /// Held while a segment is opened for reading, so that it is opened once, and while one is sealed or deleted.
    opening: Mutex<()>,
    /// Held from when something is marked as delivered to when the cursors have it.
    advancing: Mutex<()>,
    /// What will be asked for next.
    ahead: Mutex<Option<(Place, Collected)>>,
    /// The memory of bodies that were delivered.
    spare_bodies: Mutex<Vec<Vec<u8>>>,
    /// The housekeeper is asked to settle.
    settling: AtomicBool,
    cursor_failing: AtomicBool,
    closed: AtomicBool,
    wake: Arc<Wake>,
    events: Arc<Events>,
    /// The queue that is adopted: what is in it is older, and gives way first.
    elder: Mutex<Weak<Inner>>,
    jobs: Sender<Job>,
}

/// What a spool calls and counts in.
#[derive(Clone)]
pub(crate) struct SpoolHooks {
    pub(crate) gap_encoder: Arc<GapEncoder>,
    pub(crate) wake: Arc<Wake>,
    pub(crate) events: Arc<Events>,
    pub(crate) losses: Arc<Losses>,
}

/// Called when records were added or became readable. It must not block.
pub(crate) type Wake = dyn Fn() + Send + Sync;

/// A durable queue of encoded records, for one exporter.
pub(crate) struct Spool {
    inner: Arc<Inner>,
    housekeeper: Mutex<Option<JoinHandle<()>>>,
    /// The queue of an exporter that is gone. It is like one's own, but nothing is appended to it, save what tells of
    /// losses in it.
    adopted: Mutex<Option<Box<Spool>>>,
    adoption_failing: AtomicBool,
    /// When it was last looked for, there was nothing to adopt.
    nothing_to_adopt: AtomicBool,
    own_first: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Spool {
    /// Takes over a queue that nobody owns, with what is in it, or makes a new one. How long that takes does not depend
    /// on how much is in it.
    pub(crate) fn open(config: &SpoolConfig, hooks: &SpoolHooks) -> Result<Self, SpoolError> {
        let events = &hooks.events;
        check_process()?;
        dir::prepare(&config.dir)?;
        let open = |dir| Self::open_queue(dir, config.clone(), hooks.clone());
        // What is left is to come first: an error may have been for once.
        let adopt = || QueueDir::adopt(&config.dir, open);
        let spool = match adopt().or_else(|_| adopt()) {
            Ok(Some(spool)) => spool,
            Ok(None) => open(QueueDir::create(&config.dir)?)?,
            Err(error) => {
                // It is tried again later. What is new does not wait for it.
                events.report(SpoolEvent::AdoptionFailed { reason: error_chain(&error) });
                QueueDir::create(&config.dir).and_then(open).map_err(|_| error)?
            }
        };
        if let Some(endpoint) = &config.endpoint {
            spool.inner.dir.put_endpoint(endpoint);
        }
        // Fails here rather than at the first record; but a full disk must not keep what is there from being delivered.
        match spool.inner.begin_head(&mut lock(&spool.inner.head)) {
            Err(error) if error.is_full() => {
                events.report(SpoolEvent::DiskFull { reason: error_chain(&error) });
            }
            result => {
                result?;
                spool.inner.dir.take_ballast();
            }
        }
        Ok(spool)
    }

    fn open_queue(dir: QueueDir, config: SpoolConfig, hooks: SpoolHooks) -> Result<Self, SpoolError> {
        let SpoolHooks { gap_encoder, wake, events, losses } = hooks;
        let (cursor, mut loaded) = open_cursor(&dir, &events)?;
        let numbers = dir.segments()?;
        let mut state = State::default();
        let mut jobs = Vec::new();
        // Never one that was given out before.
        let next_number = 1 + numbers.last().copied().max(loaded.keys().last().copied()).unwrap_or_default();
        for number in numbers {
            state.add_unrecovered(number, loaded.remove(&number).unwrap_or_default());
            match Seal::read(&dir.segment(number)) {
                None => jobs.push(Job::Recover { number, accepted: dir.accepted(number) }),
                Some(seal) => jobs.extend(state.add_sealed(number, seal).then_some(Job::Remove(number))),
            }
        }
        state.enqueue_all();
        for number in loaded.into_keys() {
            // On a disk that takes nothing it is done another time.
            let _ = cursor.forget(number);
        }
        let (sender, receiver) = mpsc::channel();
        let inner = Arc::new(Inner {
            next_number: Mutex::new(next_number),
            rejected: Arc::new(RejectedStore::new(&config.dir, config.limits.max_rejected_bytes)),
            gap_encoder,
            losses,
            gaps: Mutex::default(),
            reporting: Mutex::default(),
            space: Mutex::default(),
            config,
            dir,
            cursor,
            head: Mutex::new(None),
            state: Mutex::new(state),
            progress: Condvar::new(),
            spare: Mutex::new(None),
            opening: Mutex::new(()),
            advancing: Mutex::new(()),
            ahead: Mutex::default(),
            spare_bodies: Mutex::default(),
            settling: AtomicBool::new(false),
            cursor_failing: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            wake,
            events,
            elder: Mutex::default(),
            jobs: sender,
        });
        for job in jobs {
            inner.ask(job);
        }
        let housekeeper = Mutex::new(Some(housekeeper::start(inner.clone(), receiver)?));
        Ok(Self {
            inner,
            housekeeper,
            adopted: Mutex::default(),
            adoption_failing: AtomicBool::new(false),
            nothing_to_adopt: AtomicBool::new(false),
            own_first: AtomicBool::new(true),
        })
    }

    pub(crate) fn depth(&self) -> Depth {
        let mut depth = Depth::default();
        for queue in self.queues() {
            let state = lock(&queue.state);
            depth.pending_records += state.pending_records;
            depth.segments += state.segments.len() as u64;
        }
        depth
    }

    /// What the directory takes on disk.
    pub(crate) fn disk_bytes(&self) -> u64 {
        self.inner.dir.root_bytes()
    }

    /// What it may take.
    #[cfg(feature = "metrics")]
    pub(crate) fn max_bytes(&self) -> u64 {
        self.inner.config.limits.max_bytes
    }

    /// How long the oldest record that waits has been in the spool.
    pub(crate) fn oldest_age(&self, now: SystemTime) -> Option<Duration> {
        let oldest = self.queues().iter().filter_map(|queue| lock(&queue.state).oldest_appended()).min()?;
        Some(now.duration_since(system_time(oldest)).unwrap_or_default())
    }

    /// What the receiver refused for good.
    pub(crate) fn rejected(&self) -> Arc<RejectedStore> {
        self.inner.rejected.clone()
    }

    /// Waits until everything that is in the spool now is delivered. False if the time was up or the spool was closed.
    pub(crate) fn wait_delivered(&self, timeout: Duration) -> bool {
        let deadline = Instant::now().checked_add(timeout);
        let delivered = self.queues().iter().all(|queue| queue.wait_delivered(deadline));
        self.settle();
        delivered
    }

    /// One's own, and the one that is adopted.
    fn queues(&self) -> Vec<Arc<Inner>> {
        let adopted = lock(&self.adopted).as_deref().map(|adopted| adopted.inner.clone());
        std::iter::once(self.inner.clone()).chain(adopted).collect()
    }

    /// Whether it is known what all segments hold. Before that, some of it may not be given out yet.
    pub(crate) fn is_recovered(&self) -> bool {
        self.queues().iter().all(|queue| lock(&queue.state).is_recovered())
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.inner.closed.load(Ordering::Acquire)
    }

    /// Seals and closes everything and gives up the queue, so that it can be opened again; one that is delivered
    /// altogether is deleted: false if that fails. Later calls do nothing.
    pub(crate) fn close(&self) -> bool {
        let adopted = lock(&self.adopted).take();
        drop(adopted);
        // What was lost is told while that is possible.
        let told = self.inner.report_gaps();
        let mut head = lock(&self.inner.head);
        if self.inner.closed.swap(true, Ordering::AcqRel) {
            return true;
        }
        if let Err(error) = told {
            self.inner.events.report(SpoolEvent::GapNotReported { reason: error_chain(&error) });
        }
        self.inner.seal_head(&mut head);
        drop(head);
        self.inner.ask(Job::Finish);
        if let Some(housekeeper) = lock(&self.housekeeper).take() {
            let _ = housekeeper.join();
        }
        let mut state = lock(&self.inner.state);
        let open: Vec<_> = state.segments.values_mut().map(|segment| segment.open.take()).collect();
        let drained = state.is_drained();
        drop(state);
        drop(open);
        let spare = lock(&self.inner.spare).take();
        if let Some(spare) = spare {
            let number = spare.id.number;
            drop(spare);
            let _ = self.inner.dir.remove_segment(number);
        }
        let closed = if drained { self.inner.dir.remove() } else { self.inner.cursor.sync() };
        if let Err(error) = &closed {
            self.inner.events.report(SpoolEvent::CloseFailed { reason: error_chain(error) });
        }
        self.inner.progress.notify_all();
        closed.is_ok()
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.close();
    }
}

impl Inner {
    fn wait_delivered(&self, deadline: Option<Instant>) -> bool {
        let mut watermark = None;
        let mut state = lock(&self.state);
        loop {
            if watermark.is_none() && state.is_recovered() {
                watermark = Some(state.watermark());
            }
            if watermark.as_ref().is_some_and(|watermark| state.has_delivered(watermark)) {
                return true;
            }
            let left = deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_zero() || self.closed.load(Ordering::Acquire) {
                return false;
            }
            // Waking up now and then costs nothing and makes a missed signal harmless.
            let result = self.progress.wait_timeout(state, left.min(Duration::from_secs(1)));
            state = result.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn wake(&self) {
        (self.wake)();
    }

    fn segment_id(&self, number: u64) -> SegmentId {
        SegmentId { queue: self.dir.id, number }
    }

    /// Makes the next segment.
    fn create_segment(&self) -> Result<Segment, SpoolError> {
        let mut next = lock(&self.next_number);
        let number = *next;
        *next += 1;
        drop(next);
        let segment = Segment::create(&self.dir.segment(number), self.segment_id(number));
        if segment.is_err() {
            // Nobody knows of what there is of it.
            let _ = fs::remove_dir_all(store::new_path(&self.dir.segment(number)));
            let _ = self.dir.remove_segment(number);
        }
        segment
    }

    /// A segment, opened for reading if it is not open.
    fn reader(&self, number: u64) -> Result<Arc<Segment>, SpoolError> {
        if let Some(segment) = self.already_open(number) {
            return Ok(segment);
        }
        let _opening = lock(&self.opening);
        if let Some(segment) = self.already_open(number) {
            return Ok(segment);
        }
        let frames = lock(&self.state).segments.get(&number).and_then(|segment| segment.frames);
        let frames = frames.ok_or(SpoolError::Closed)?;
        let (path, id) = (self.dir.segment(number), self.segment_id(number));
        let (segment, whole) = self.reading(number, |errors| Segment::open(&path, id, frames, errors))?;
        if !whole {
            self.events.report(SpoolEvent::SegmentDamaged { segment: number });
        }
        let segment = Arc::new(segment);
        let mut state = lock(&self.state);
        state.clock += 1;
        let now = state.clock;
        if let Some(entry) = state.segments.get_mut(&number) {
            entry.open = Some(segment.clone());
            entry.damaged |= !whole;
            entry.last_used = now;
        }
        let idle = state.close_least_used(2);
        drop(state);
        drop(idle);
        Ok(segment)
    }

    /// Reads a segment. Errors of the disk are errors, until they have lasted for so long that it will hardly get well.
    fn reading<T>(&self, number: u64, read: impl FnOnce(ReadErrors) -> Result<T, SpoolError>) -> Result<T, SpoolError> {
        let since = lock(&self.state).segments.get(&number).and_then(|segment| segment.unreadable_since);
        let given_up = since.is_some_and(|since| since.elapsed() >= READ_PATIENCE);
        let result = read(if given_up { ReadErrors::Skip } else { ReadErrors::Fail });
        if let Some(segment) = lock(&self.state).segments.get_mut(&number) {
            if result.is_err() {
                segment.unreadable_since.get_or_insert_with(Instant::now);
                // To be looked through again: not all that was there may be.
                segment.open.take_if(|_| segment.frames.is_some());
            } else if !given_up {
                segment.unreadable_since = None;
            }
        }
        result
    }

    fn already_open(&self, number: u64) -> Option<Arc<Segment>> {
        let mut state = lock(&self.state);
        state.clock += 1;
        let now = state.clock;
        let entry = state.segments.get_mut(&number)?;
        entry.last_used = now;
        entry.open.clone()
    }

    /// Asks the housekeeper for something.
    fn ask(&self, job: Job) {
        // It ends only after the spool is closed; nothing is to be done then.
        let _ = self.jobs.send(job);
    }

    /// Deletes a segment that is delivered.
    fn remove_segment(&self, number: u64) -> Result<(), SpoolError> {
        // Nobody opens it meanwhile, and nobody drops another one for want of space.
        let opening = lock(&self.opening);
        let state = lock(&self.state);
        if state.is_newest(number) {
            // Or its number would be given out again after a restart, and with it the ids of its batches.
            return Ok(());
        }
        let damaged = state.segments.get(&number).is_some_and(|segment| segment.damaged);
        drop(state);
        // In this order, also after a power cut: what comes back must not come back without its cursors.
        if damaged {
            self.dir.quarantine(number, self.config.limits.max_bytes / 8)?;
        } else {
            self.dir.remove_segment(number)?;
        }
        let removed = lock(&self.state).segments.remove(&number);
        drop(opening);
        drop(removed);
        let _ = self.keep(|cursor| cursor.forget(number));
        Ok(())
    }
}

/// Opens the cursor database; one that is damaged is set aside. What it said of delivery is then not known: all that is in
/// the spool is delivered, some of it again and in other batches. Better twice than never.
fn open_cursor(dir: &QueueDir, events: &Events) -> Result<(Cursor, BTreeMap<u64, LaneCursors>), SpoolError> {
    match Cursor::open(&dir.cursor()) {
        Err(error) if error.is_full() && dir.give_ballast() => Cursor::open(&dir.cursor()),
        // Not for an I/O error, which may be gone the next time.
        Err(SpoolError::Storage { message, .. }) => {
            events.report(SpoolEvent::CursorDamaged { reason: message });
            dir.set_cursor_aside()?;
            Cursor::open(&dir.cursor())
        }
        result => result,
    }
}
