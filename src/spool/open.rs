//! [`Spool`]: opening, closing and measuring. It makes the spool's directory and takes over queues that nobody owns.

use std::fs::File;
use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use super::active::NextSegment;
use super::cursor::LaneCursors;
use super::cursor_file::{self, Flaw, Loaded};
use super::dir::{self, Place, QueueDir};
use super::entry::{LoadId, stored_key, system_time};
use super::files::{io_error, remove_file};
use super::gap::{Gap, Unreported};
use super::housekeeper;
use super::index::Index;
use super::jobs::Job;
use super::journal::{self, Journal};
use super::load::Load;
use super::lock::{Lock, Rank};
use super::loss::share;
use super::neighbors::{self, Claim};
use super::position::SegmentId;
use super::queue::{Found, Queue, SpoolConfig, SpoolHooks, report, shown};
use super::rejected::RejectedStore;
use super::seal::Seal;
use super::store;
use super::withdraw::Appended;
use crate::encode::blocks::Block;
use crate::encode::framing::Framing;
use crate::error::{SpoolError, error_chain};
use crate::observe::event::SpoolEvent;
use crate::observe::loss::LossReason;
use crate::process::{check_process, unique_number};

/// The number of times that losses are reported before a spool is closed, if others come meanwhile: it must end.
const MAX_LAST_REPORTS: usize = 16;

/// The time that an exporter waits at its start for someone who reads a queue, and then looks again.
const READER_WAIT: Duration = Duration::from_millis(5);

/// How much is in the spool.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Depth {
    pub(crate) pending_records: u64,
    pub(crate) segments: u64,
}

/// A durable queue of encoded records, for one exporter.
pub(crate) struct Spool {
    pub(super) queue: Arc<Queue>,
    pub(super) attached: Lock<Attached>,
    pub(super) adoption_failing: AtomicBool,
    /// When it was last looked for, there was nothing to adopt.
    pub(super) nothing_to_adopt: AtomicBool,
    pub(super) own_first: AtomicBool,
    /// The queue that was adopted last.
    pub(super) adopted_last: AtomicU64,
}

/// The parts of a spool that come and go.
pub(super) struct Attached {
    /// Says by its end that the housekeeper has let the queue go.
    pub(super) let_go: Option<Receiver<()>>,
    /// The queue of an exporter that is gone. It is like one's own, but nothing is appended to it, save gap records of losses
    /// in it.
    pub(super) adopted: Option<Box<Spool>>,
    pub(super) adopted_at: Instant,
    /// The queue that was adopted before, while it is closed.
    pub(super) closing: Option<Closing>,
    /// That no other spool of the process has the directory for another origin; an adopted queue needs none.
    pub(super) claim: Option<Claim>,
}

/// An adopted queue that is being closed, by a thread.
pub(super) struct Closing {
    /// Set at the end: whether the queue is closed and, if it was delivered altogether, deleted.
    pub(super) gone: Arc<OnceLock<bool>>,
    pub(super) thread: JoinHandle<()>,
}

impl Spool {
    /// Takes over a queue of the signal and the origin that nobody owns, with what is in it, or makes a new one. How long that takes
    /// does not depend on how much is in it.
    pub(crate) fn open(config: &SpoolConfig, hooks: &SpoolHooks) -> Result<Self, SpoolError> {
        let events = &hooks.events;
        check_process()?;
        dir::prepare(&config.dir)?;
        let claim = Claim::new(&Place::of(&config.dir)?, config)?;
        let open = |dir| {
            take_back(&dir, config);
            Self::open_queue(dir, true, config.clone(), hooks.clone())
        };
        // Records that others left are to come first: an error may have been for once. What comes is appended to the same queue, so
        // that is one for the same origin.
        let wait = || thread::sleep(READER_WAIT);
        let adopt = || QueueDir::adopt_past_readers(&config.dir, |name| config.continues(name), open, wait);
        let create = || QueueDir::create(&config.dir, config.signal, config.origin_tag());
        let spool = match adopt().or_else(|_| adopt()) {
            Ok(Some(spool)) => spool,
            Ok(None) => open(create()?)?,
            Err(error) => {
                // The adoption is retried later. New records do not wait for it.
                report(events, SpoolEvent::AdoptionFailed { reason: error_chain(&error) });
                create().and_then(open).map_err(|_| error)?
            }
        };
        spool.attached.lock().claim = claim;
        let queue = &spool.queue;
        if let Some(endpoint) = &config.endpoint {
            queue.dir.put_endpoint(endpoint);
        }
        if queue.index.lock().segment_count() > 0 {
            // What is there is delivered whatever the disk takes: nothing is left on it before the first record.
            queue.silence_engine();
        } else {
            // The engine's threads are silent before anybody can log through what is opened. All that waits for the disk is the
            // housekeeper's, and what fails there is an event: the first append tries it again.
            match queue.start_next() {
                Err(error) if error.is_full() => {
                    report(events, SpoolEvent::DiskFull { reason: error_chain(&error) });
                }
                result => {
                    result?;
                    queue.ask(Job::BeginActive);
                }
            }
        }
        // The first record does not wait for that.
        queue.ask(Job::CountStranded);
        Ok(spool)
    }

    /// Opens a queue that is locked: the exporter's own, or one that it adopts.
    pub(super) fn open_queue(
        dir: QueueDir,
        is_own: bool,
        config: SpoolConfig,
        hooks: SpoolHooks,
    ) -> Result<Self, SpoolError> {
        let segments = dir.segments()?;
        let place = Place::of(&config.dir)?;
        let mut index = Index::default();
        let (mut jobs, mut damaged) = (Vec::new(), Vec::new());
        let mut next_number = segments.last().map_or(0, |last| last.number).saturating_add(1);
        for id in segments {
            let path = dir.segment(id);
            let cursors = cursor_file::read_if_readable(&path, id).ok();
            let is_read = cursors.is_some();
            if let Some(Loaded { lanes, flaw, .. }) = cursors {
                damaged.extend(flaw.filter(Flaw::costs).map(|flaw| format!("segment {id}: {flaw}")));
                index.add_unrecovered(id, lanes);
            } else {
                index.add_unread(id);
            }
            match Seal::read(&path).filter(|_| is_read) {
                None => jobs.push(Job::Recover { id, accepted: dir.accepted(id) }),
                Some(seal) => jobs.extend(index.add_sealed(id, seal).then_some(Job::Remove(id))),
            }
        }
        let (journals, empty): (Vec<_>, Vec<_>) = dir.journals()?.into_iter().partition(|path| dir::has_records(path));
        // Before any segment: a power cut may undo what says that one of them is empty. What cannot be deleted is deleted with the queue.
        for path in &empty {
            let _ = remove_file(path);
        }
        let replay = (!journals.is_empty()).then(|| {
            // Or the next start would not look for its records there.
            let number = next_number.max(journal::next_segment(&journals));
            let id = SegmentId { number, random: unique_number() };
            next_number = number.saturating_add(1);
            index.add_unrecovered(id, LaneCursors::default());
            // Also before any segment is deleted: what is stored is looked for there.
            jobs.insert(0, Job::Recover { id, accepted: u64::MAX });
            (id, journals)
        });
        index.enqueue_all();
        let unknown: Vec<_> =
            jobs.iter().filter_map(|job| if let Job::Recover { id, .. } = job { Some(*id) } else { None }).collect();
        if index.pending_records > 0 || !unknown.is_empty() {
            let was = dir::endpoint_of(&dir.path).as_deref().map(shown).unwrap_or_default();
            jobs.push(Job::ReportAdopted { records: index.pending_records, unknown, was });
        }
        if let Some(first) = damaged.first() {
            let reason = format!("{first} ({} in all)", damaged.len());
            report(&hooks.events, SpoolEvent::CursorDamaged { reason });
        }
        let desk = housekeeper::hire(&place).map_err(|error| io_error("start a thread for", &dir.path, error))?;
        let queue =
            Arc::new(Queue::new(Found { is_own, dir, place, index, next_number, replay }, config, hooks, desk.ask()));
        let let_go = Some(desk.look_after(queue.clone()));
        neighbors::join(&queue);
        for job in jobs {
            queue.ask(job);
        }
        if queue.index.lock().segment_count() > 0 {
            // It has another owner now.
            queue.note_news();
        }
        Ok(Self {
            queue,
            attached: Lock::new(
                Rank::Attached,
                Attached { let_go, adopted: None, adopted_at: Instant::now(), closing: None, claim: None },
            ),
            adoption_failing: AtomicBool::new(false),
            nothing_to_adopt: AtomicBool::new(false),
            own_first: AtomicBool::new(true),
            adopted_last: AtomicU64::new(u64::MAX),
        })
    }

    /// Adds records, those of each partition in their order. When this returns, they are as safe as
    /// the spool's [`Durability`](crate::Durability) says. Returns where the records of each block are.
    ///
    /// # Errors
    ///
    /// None of the records is then accepted: they may be appended again, or [counted as lost](Self::note_not_written). The
    /// next call begins with a new segment.
    pub(crate) fn append(&self, blocks: &[(&str, &Block)], framing: &Framing) -> Result<Vec<Appended>, SpoolError> {
        self.append_loads(&[Load { id: None, blocks: blocks.to_vec() }], framing)
    }

    /// Adds the records of some loads, in their order and synced together. When this returns, they are as safe as with
    /// [`append`](Self::append). Returns where the records of each block are, load by load. A load without records leaves nothing.
    ///
    /// # Errors
    ///
    /// None of the records is then accepted: the loads may be appended again.
    pub(crate) fn append_loads(&self, loads: &[Load<'_>], framing: &Framing) -> Result<Vec<Appended>, SpoolError> {
        self.queue.append(loads, framing, None, || ())
    }

    /// Adds the records of a generation of a journal, as [`append`](Self::append) does. `stored` is called when they are safe, and
    /// before any of them can be delivered.
    pub(crate) fn append_journaled(
        &self,
        blocks: &[(&str, &Block)],
        framing: &Framing,
        load: LoadId,
        stored: impl FnOnce(),
    ) -> Result<(), SpoolError> {
        let load = Load { id: Some(load), blocks: blocks.to_vec() };
        self.queue.append(&[load], framing, None, stored).map(drop)
    }

    /// See [`Queue::create_journal`].
    pub(crate) fn create_journal(&self, ahead: usize) -> Result<Arc<Journal>, SpoolError> {
        self.queue.create_journal(ahead)
    }

    /// See [`Queue::least_segment`].
    pub(crate) fn least_segment(&self) -> u64 {
        self.queue.least_segment()
    }

    /// See [`Queue::withdraw`].
    #[cfg_attr(not(feature = "metrics"), allow(dead_code, reason = "only metrics are withdrawn"))]
    pub(crate) fn withdraw(&self, blocks: &[Appended], newer: &Appended) -> Result<u64, SpoolError> {
        self.queue.withdraw(blocks, newer)
    }

    /// Counts records that could not be appended as lost, and has them reported in the stream. True if they are the first since losses were
    /// reported there: whoever knows the cause reports an event.
    pub(crate) fn note_not_written(&self, blocks: &[(&str, &Block)]) -> bool {
        let mut is_first = false;
        for (key, block) in blocks {
            is_first |= self.note_some_not_written(key, block, block.records());
        }
        is_first
    }

    /// The same for so many of a block's records.
    pub(crate) fn note_some_not_written(&self, key: &str, block: &Block, records: u64) -> bool {
        let bytes = share(block.encoded_bytes(), records, block.records());
        self.queue.hooks.counters.losses.add_bytes(LossReason::NotWritten, bytes);
        let gap = Gap {
            key: Arc::from(stored_key(key)),
            reason: LossReason::NotWritten,
            records,
            // Those that are left come first.
            first: if records == block.records() { block.first_timestamp } else { block.last_timestamp },
            last: block.last_timestamp,
            signal: None,
        };
        self.queue.count_gap(gap).is_some()
    }

    /// Has losses reported that are counted already.
    pub(crate) fn report(&self, unreported: Unreported) {
        self.queue.report_again(unreported);
    }

    pub(crate) fn depth(&self) -> Depth {
        let mut depth = Depth::default();
        for queue in self.queues() {
            let index = queue.index.lock();
            depth.pending_records += index.pending_records;
            depth.segments += index.segment_count();
        }
        depth
    }

    /// The settings that it was opened with.
    #[cfg(feature = "relay")]
    pub(crate) fn config(&self) -> &SpoolConfig {
        &self.queue.config
    }

    /// The number of partitions that have records which wait, and the first so many of those with the most, by their keys.
    #[cfg(feature = "relay")]
    pub(crate) fn partitions(&self, most: usize) -> (u64, Vec<(Arc<str>, u64)>) {
        let mut waiting = std::collections::HashMap::<Arc<str>, u64>::new();
        for queue in self.queues() {
            for (key, pending) in queue.index.lock().waiting() {
                *waiting.entry(key.clone()).or_default() += pending;
            }
        }
        let partitions = waiting.len() as u64;
        let mut waiting: Vec<_> = waiting.into_iter().collect();
        waiting.sort_unstable_by(|(key, pending), (other, others)| others.cmp(pending).then_with(|| key.cmp(other)));
        waiting.truncate(most);
        (partitions, waiting)
    }

    /// The records that wait for another origin, as far as they are counted.
    pub(crate) fn stranded_records(&self) -> u64 {
        self.queue.stranded_records.load(Ordering::Relaxed)
    }

    /// The directory that it lies in.
    pub(crate) fn place(&self) -> &Place {
        &self.queue.place
    }

    /// How many bytes the directory takes on disk, if that can be known.
    pub(crate) fn disk_bytes(&self) -> Option<u64> {
        self.queue.dir.root_bytes().ok()
    }

    /// How many of those count for its limit: all but what other signals have there.
    #[cfg(feature = "self-metrics")]
    pub(crate) fn limited_bytes(&self) -> Option<u64> {
        self.queue.dir.limited_bytes().ok()
    }

    /// How many bytes it may take.
    #[cfg(feature = "self-metrics")]
    pub(crate) fn max_bytes(&self) -> u64 {
        self.queue.config.limits.max_bytes
    }

    /// How long the oldest record that waits has been in the spool.
    pub(crate) fn oldest_age(&self, now: SystemTime) -> Option<Duration> {
        let oldest_of = |queue: &Arc<Queue>| {
            let cache = queue.read_cache.lock();
            queue.index.lock().oldest_appended(|segment| cache.peek(segment))
        };
        let oldest = self.queues().iter().filter_map(oldest_of).min()?;
        Some(now.duration_since(system_time(oldest)).unwrap_or_default())
    }

    /// The store of rejected records.
    pub(crate) fn rejected(&self) -> Arc<RejectedStore> {
        self.queue.rejected.clone()
    }

    /// Waits until everything that is in the spool now is delivered. False if the time is up or the spool is closed.
    pub(crate) fn wait_delivered(&self, timeout: Duration) -> bool {
        let deadline = Instant::now().checked_add(timeout);
        let delivered = self.queues().iter().all(|queue| queue.wait_delivered(deadline));
        self.settle();
        delivered
    }

    /// Has others know soon that the delivery has failed.
    pub(crate) fn note_news(&self) {
        self.queues().iter().for_each(|queue| queue.note_news());
    }

    /// Makes every acknowledgement so far survive a kill of the process.
    pub(crate) fn settle(&self) {
        for queue in self.queues() {
            // An error is no matter: the cursors are written later.
            let _ = queue.settle();
        }
    }

    /// The queue that is adopted.
    pub(super) fn adopted(&self) -> Option<Arc<Queue>> {
        self.attached.lock().adopted.as_deref().map(|adopted| adopted.queue.clone())
    }

    /// The spool's own queue, and the one that is adopted.
    pub(super) fn queues(&self) -> Vec<Arc<Queue>> {
        std::iter::once(self.queue.clone()).chain(self.adopted()).collect()
    }

    /// Whether it is known what all segments hold that can be read. Before that, some of it may not be given out yet.
    pub(crate) fn is_recovered(&self) -> bool {
        self.queues().iter().all(|queue| queue.index.lock().is_searched())
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    /// Seals and closes everything and gives up the queue, so that it can be opened again; one that is delivered
    /// altogether is deleted: false if that fails. Later calls do nothing.
    pub(crate) fn close(&self) -> bool {
        let queue = &self.queue;
        let mut attached = self.attached.lock();
        let (adopted, closing) = (attached.adopted.take(), attached.closing.take());
        drop(attached);
        drop(adopted);
        let _ = closing.map(|closing| closing.thread.join());
        // No neighbor has this report any more.
        neighbors::leave(queue);
        // Losses are reported while that is possible, also those of appends that come in between: when it is closed, none
        // waits, and no append can add one any more.
        let (mut reported, mut reports) = (Ok(()), 0);
        let mut writer = loop {
            let mut writer = queue.writer.lock();
            while matches!(writer.next, NextSegment::Making) {
                writer = writer.wait(&queue.next_made);
            }
            let may_report = reports < MAX_LAST_REPORTS && reported.is_ok() && !queue.is_closed();
            if !may_report || !queue.index.lock().has_unreported() {
                break writer;
            }
            drop(writer);
            reported = queue.report_gaps();
            reports += 1;
        };
        if queue.closed.swap(true, Ordering::AcqRel) {
            return true;
        }
        queue.seal_active(&mut writer);
        drop(writer);
        // Whoever waits for this to end may not wait for the rest. What is not written is written again at last.
        let _ = queue.settle();
        queue.ask(Job::Finish);
        let let_go = self.attached.lock().let_go.take();
        // Nothing is sent: it ends.
        let _ = let_go.map(|let_go| let_go.recv());
        let records = queue.index.lock().unreported.records();
        if records > 0 {
            let error = reported.err().unwrap_or(SpoolError::Closed);
            queue.report_event(SpoolEvent::GapNotReported { records, reason: error_chain(&error) });
        }
        let index = queue.index.lock();
        // A segment that could not be deleted, or not be moved to the quarantine, keeps its queue.
        let drained = index.is_drained() && index.segment_count() == 0;
        drop(index);
        // Nor is a queue deleted whose journal has what could not be stored.
        let drained = drained && !queue.dir.has_journal().unwrap_or(true);
        let open = queue.read_cache.lock().remove_all();
        drop(open);
        let next = std::mem::take(&mut queue.writer.lock().next);
        let unused = match &next {
            NextSegment::Started(started) => Some(started.id),
            NextSegment::Made(segment) => Some(segment.id),
            NextSegment::Absent | NextSegment::Making => None,
        };
        drop(next);
        if let Some(id) = unused {
            queue.discard_segment(id);
        }
        if !drained && queue.has_news.load(Ordering::Acquire) {
            queue.write_status();
        }
        let closed = if drained { Ok(()) } else { queue.settle() };
        queue.cursors.lock().close();
        let closed = closed.and_then(|()| if drained { queue.dir.remove() } else { Ok(()) });
        if let Err(error) = &closed {
            queue.report_event(SpoolEvent::CloseFailed { reason: error_chain(error) });
        }
        let claim = self.attached.lock().claim.take();
        drop(claim);
        queue.progress.notify_all();
        closed.is_ok()
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.close();
    }
}

/// Takes segments back from the quarantine that could not be read, can be now, and have records that wait: they are delivered
/// after all. This is tried once at each start.
fn take_back(dir: &QueueDir, config: &SpoolConfig) {
    for (path, id) in dir.quarantined(|queue| config.adopts(queue)) {
        let cursors = cursor_file::read(&path, id).lanes;
        let waits = |seal: &Seal| {
            (0..).zip(&seal.lanes).any(|(lane, summary)| {
                cursors.get(&lane).map_or(summary.records, |cursor| cursor.pending(summary.records)) > 0
            })
        };
        let is_readable = File::open(store::file_path(&path)).and_then(|mut file| file.read(&mut [0])).is_ok();
        if is_readable && Seal::read(&path).as_ref().is_none_or(waits) {
            // It stays where it is otherwise.
            let _ = dir.take_back(&path, id);
        }
    }
}
