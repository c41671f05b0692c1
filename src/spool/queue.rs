//! [`Queue`]: the state of one queue that is open, in four locks; [`Rank`] says what each protects and in which order they
//! are taken. It writes cursors. The verbs are in files of their own: `writer`, `space`, `reader`, `loss`, `hold`,
//! `housekeeper`.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Weak};
use std::time::{Duration, Instant, SystemTime};

use super::active::{ActiveSegment, NextSegment, Space};
use super::coding::Coding;
use super::cursor_store::CursorStore;
use super::dir::{Place, QueueDir, QueueName};
use super::gap::GapEncoder;
use super::index::Index;
use super::jobs::Job;
use super::journal::Journal;
use super::lock::{self, Guard, Lock, Rank};
use super::mount::Mount;
use super::origin::OriginTag;
use super::position::SegmentId;
use super::read_cache::{Phase, ReadCache};
use super::rejected::RejectedStore;
use crate::config::values::{AdoptFrom, BatchLimits, Durability, Origin, Signal, SpoolLimits};
use crate::error::SpoolError;
use crate::observe::event::{Events, SpoolEvent};
use crate::observe::stats::Counters;

/// The settings of a spool.
#[derive(Clone, Debug)]
pub(crate) struct SpoolConfig {
    pub(crate) dir: PathBuf,
    /// The signal of its queue, and of those that it adopts.
    pub(crate) signal: Signal,
    pub(crate) durability: Durability,
    /// How records are stored that are appended.
    pub(crate) coding: Coding,
    /// A segment that has this many bytes gets no more.
    pub(crate) segment_bytes: u64,
    pub(crate) batch: BatchLimits,
    pub(crate) limits: SpoolLimits,
    /// The URL that it is sent to, without a password. It is noted beside the records.
    pub(crate) endpoint: Option<String>,
    /// Whom its records are for. Queues of other origins are not adopted.
    pub(crate) origin: Option<Origin>,
    /// The origins besides that whose queues are adopted all the same.
    pub(crate) adopt_from: AdoptFrom,
}

impl SpoolConfig {
    pub(super) fn origin_tag(&self) -> Option<OriginTag> {
        self.origin.as_ref().map(OriginTag::of)
    }

    /// Whether a queue is one that may be adopted, if nobody owns it.
    pub(super) fn adopts(&self, queue: QueueName) -> bool {
        queue.signal == self.signal
            && match &self.adopt_from {
                AdoptFrom::Any => true,
                AdoptFrom::These(others) => {
                    let is_from = |other| queue.origin == Some(OriginTag::of(other));
                    queue.origin == self.origin_tag() || others.iter().any(is_from)
                }
            }
    }

    /// Whether records that are appended may lie in the same queue as what is in this one.
    pub(super) fn continues(&self, queue: QueueName) -> bool {
        let is_own = queue.origin == self.origin_tag();
        queue.signal == self.signal && (is_own || self.adopt_from == AdoptFrom::Any)
    }

    /// The endpoint, as far as it may be shown.
    pub(super) fn shown_endpoint(&self) -> String {
        self.endpoint.as_deref().map_or_else(String::new, shown)
    }
}

/// A URL without its query, which may hold a secret.
pub(super) fn shown(endpoint: &str) -> String {
    endpoint.split(['?', '#']).next().unwrap_or_default().to_owned()
}

/// The functions that a spool calls and the counters that it counts in.
#[derive(Clone)]
pub(crate) struct SpoolHooks {
    /// None where the stream takes no gap records.
    pub(crate) gap_encoder: Option<Arc<GapEncoder>>,
    pub(crate) wake: Arc<Wake>,
    pub(crate) events: Arc<Events>,
    /// Losses are counted here. The rest is the delivery's, and the spool only passes it on.
    pub(crate) counters: Arc<Counters>,
}

/// Called when records were added or became readable. It must not block.
pub(crate) type Wake = dyn Fn() + Send + Sync;

/// Hands a job to the housekeeper.
pub(super) type Ask = dyn Fn(Job) + Send + Sync;

/// The state that the writer's lock protects.
#[derive(Default)]
pub(super) struct Writer {
    pub(super) active: Option<ActiveSegment>,
    pub(super) next: NextSegment,
    /// The number of the next segment, whether it is made yet or not.
    pub(super) next_number: u64,
    pub(super) space: Space,
    /// The adopted queue: its segments are older and are evicted first.
    pub(super) elder: Weak<Queue>,
}

/// A queue that is open: one exporter's part of the spool.
pub(super) struct Queue {
    pub(super) config: SpoolConfig,
    pub(super) hooks: SpoolHooks,
    pub(super) dir: QueueDir,
    /// The directory that it shares with its neighbors.
    pub(super) place: Place,
    pub(super) rejected: Arc<RejectedStore>,
    pub(super) writer: Lock<Writer>,
    /// With `writer`: the next segment is made, or was not.
    pub(super) next_made: Condvar,
    pub(super) read_cache: Lock<ReadCache>,
    /// With `read_cache`: a segment's phase ended, or a batch was read ahead.
    pub(super) phase_ended: Condvar,
    pub(super) cursors: Lock<CursorStore>,
    pub(super) index: Lock<Index>,
    /// With `index`: records were delivered, a segment was recovered, gaps were reported, or the spool was closed.
    pub(super) progress: Condvar,
    pub(super) closed: AtomicBool,
    /// The journal of the processor before it, if that has one.
    pub(super) journal: Lock<Weak<Journal>>,
    /// Something has changed since what others can know of it was written down.
    pub(super) has_news: AtomicBool,
    /// It is the exporter's own, whose counts are its own as well.
    pub(super) is_own: bool,
    /// The segment that is made of what earlier processes have left in journals, and the files of these, if there are any.
    pub(super) replay: Option<(SegmentId, Vec<PathBuf>)>,
    /// The queues that are for another origin, as far as they are counted, and how many records wait in them.
    pub(super) stranded: Lock<Vec<Counted>>,
    pub(super) stranded_records: AtomicU64,
    pub(super) stranded_reported: AtomicBool,
    /// Whether it pays to write zeros ahead, on the file system that the directory lies on.
    pub(super) zeros_pay: bool,
    ask: Box<Ask>,
    /// When there is too little room, before anything is evicted.
    #[cfg(test)]
    pub(super) before_giving_way: super::tests::Hook,
}

/// A queue that is for another origin, whose owner is gone: its contents when they were counted.
#[derive(Debug)]
pub(super) struct Counted {
    pub(super) name: QueueName,
    /// The files that say how many records wait, each with its length and its time.
    pub(super) files: Vec<(PathBuf, u64, Option<SystemTime>)>,
    pub(super) records: u64,
}

/// The parts of a queue that its directory gives.
pub(super) struct Found {
    pub(super) is_own: bool,
    pub(super) dir: QueueDir,
    pub(super) place: Place,
    pub(super) index: Index,
    pub(super) next_number: u64,
    pub(super) replay: Option<(SegmentId, Vec<PathBuf>)>,
}

impl Queue {
    pub(super) fn new(found: Found, config: SpoolConfig, hooks: SpoolHooks, ask: Box<Ask>) -> Self {
        // It counts within the spool's limit, and must not leave new records without room.
        let max_rejected_bytes = config.limits.max_rejected_bytes.min(config.limits.max_bytes / 2);
        let writer = Writer { next_number: found.next_number, ..Writer::default() };
        Self {
            rejected: Arc::new(RejectedStore::new(&config.dir, config.signal, max_rejected_bytes)),
            config,
            hooks,
            cursors: Lock::new(Rank::CursorStore, CursorStore::new(found.dir.path.clone())),
            zeros_pay: Mount::of(&found.dir.path).is_none_or(|mount| mount.overwrites_in_place()),
            dir: found.dir,
            place: found.place,
            writer: Lock::new(Rank::Writer, writer),
            next_made: Condvar::new(),
            read_cache: Lock::new(Rank::ReadCache, ReadCache::default()),
            phase_ended: Condvar::new(),
            index: Lock::new(Rank::Index, found.index),
            progress: Condvar::new(),
            closed: AtomicBool::new(false),
            has_news: AtomicBool::new(false),
            is_own: found.is_own,
            journal: Lock::new(Rank::Journal, Weak::new()),
            replay: found.replay,
            stranded: Lock::new(Rank::Stranded, Vec::new()),
            stranded_records: AtomicU64::new(0),
            stranded_reported: AtomicBool::new(false),
            ask,
            #[cfg(test)]
            before_giving_way: super::tests::Hook::default(),
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(super) fn wake(&self) {
        (self.hooks.wake)();
    }

    /// See [`report`].
    pub(super) fn report_event(&self, event: SpoolEvent) {
        report(&self.hooks.events, event);
    }

    /// Asks the housekeeper for a job.
    pub(super) fn ask(&self, job: Job) {
        (self.ask)(job);
    }

    /// Has what others can know of it written down in a moment: something has changed.
    pub(super) fn note_news(&self) {
        if !self.has_news.load(Ordering::Relaxed) && !self.has_news.swap(true, Ordering::AcqRel) {
            self.ask(Job::StatusSoon);
        }
    }

    /// Works on the cursor files, with every cursor that is not written yet, and reports when writing begins to fail. What could
    /// not be written is written later.
    pub(super) fn with_cursors<T>(
        &self,
        work: impl FnOnce(&mut CursorStore) -> Result<T, SpoolError>,
    ) -> Result<T, SpoolError> {
        let mut cursors = self.cursors.lock();
        let unwritten = self.index.lock().take_unwritten();
        cursors.put(unwritten);
        let result = work(&mut cursors);
        let (failure, damage) = (cursors.take_failure(), cursors.take_damage());
        drop(cursors);
        if let Some(reason) = damage {
            self.report_event(SpoolEvent::CursorDamaged { reason });
        }
        if let Some(reason) = failure {
            self.report_event(SpoolEvent::CursorNotWritten { reason });
        }
        result
    }

    /// Makes every acknowledgement so far survive a kill of the process.
    pub(super) fn settle(&self) -> Result<(), SpoolError> {
        self.index.lock().start_settling();
        self.with_cursors(CursorStore::write_out)
    }

    /// Waits until everything that is in the queue now is delivered. False if the time is up or the spool is closed.
    pub(super) fn wait_delivered(&self, deadline: Option<Instant>) -> bool {
        let mut watermark = None;
        let mut index = self.index.lock();
        loop {
            if watermark.is_none() && index.is_recovered() {
                watermark = Some(index.watermark());
            }
            if watermark.as_ref().is_some_and(|watermark| index.has_delivered(watermark)) {
                return true;
            }
            let left = deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_zero() || self.is_closed() {
                return false;
            }
            // Waking up now and then costs nothing and makes a missed signal harmless.
            index = index.wait_timeout(&self.progress, left.min(Duration::from_secs(1)));
        }
    }

    /// Begins a phase of a segment, after the one that it is in.
    pub(super) fn begin_phase(&self, segment: SegmentId, phase: Phase) -> InPhase<'_> {
        let mut cache = self.read_cache.lock();
        while cache.phase(segment).is_some() {
            cache = cache.wait(&self.phase_ended);
        }
        self.enter_phase(cache, segment, phase)
    }

    /// Begins a phase of a segment that is in none.
    pub(super) fn enter_phase(&self, mut cache: Guard<'_, ReadCache>, segment: SegmentId, phase: Phase) -> InPhase<'_> {
        cache.begin_phase(segment, phase);
        InPhase { queue: self, segment }
    }
}

/// A phase of a segment. It ends when this is dropped, which is not done with `read_cache` locked.
pub(super) struct InPhase<'a> {
    queue: &'a Queue,
    segment: SegmentId,
}

impl Drop for InPhase<'_> {
    fn drop(&mut self) {
        self.queue.read_cache.lock().end_phase(self.segment);
        self.queue.phase_ended.notify_all();
    }
}

/// Reports an event, with no lock of a spool held: a subscriber of the host may ask for the spool's numbers meanwhile.
pub(super) fn report(events: &Events, event: SpoolEvent) {
    lock::check_none_held();
    events.report(event);
}
