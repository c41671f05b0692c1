//! The durable queue: a directory of small databases, *segments*, written one after the other.
//!
//! | file | level |
//! |---|---|
//! | `dir` | which files there are, and who owns them |
//! | `store` | one database |
//! | `frame`, `entry` | what is in it |
//! | `segment` | a database as a run of entries, with its index and its seal |
//! | `cursor` | what of the segments is delivered |
//! | `state` | what waits, in memory |
//! | `housekeeper` | what is done ahead or afterwards, on a thread of its own |
//! | this one | append, next, ack |
//!
//! Lock order: `head`, then `state`. Neither is held while a segment is opened, nor `state` during I/O.

mod bytes;
mod cursor;
mod dir;
mod entry;
mod frame;
mod housekeeper;
mod segment;
mod state;
mod store;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use opentelemetry::otel_warn;

use crate::batch::{BatchContext, Framing};
use crate::config::{BatchLimits, Durability};
use crate::error::SpoolError;
use cursor::{Cursor, Frozen, LaneCursor};
use dir::QueueDir;
use entry::{EntryHead, nanos, stored_key, system_time};
use housekeeper::{Housekeeper, Job};
use segment::{EntryMeta, Segment, entry_budget};
use state::State;

pub(crate) use entry::{Group, MAX_RECORD_BYTES};

/// Closed segments that are kept open for reading, besides the newest.
const MAX_OPEN_SEGMENTS: usize = 2;

/// What the spool is told.
#[derive(Clone, Debug)]
pub(crate) struct SpoolConfig {
    pub(crate) dir: PathBuf,
    pub(crate) durability: Durability,
    /// A segment that has this many bytes gets no more.
    pub(crate) segment_bytes: u64,
    pub(crate) limits: BatchLimits,
}

/// The id of a segment: no two have the same, on whatever machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentId {
    queue: u64,
    number: u64,
}

/// Records of one partition, ready to be sent. Until it is acknowledged, the same batch comes again.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) id: String,
    pub(crate) key: Arc<str>,
    pub(crate) records: u64,
    pub(crate) body: Vec<u8>,
    pub(crate) content_type: String,
    segment: u64,
    lane: u32,
    span: Range<u64>,
    first_timestamp: u64,
    last_timestamp: u64,
    appended_at: u64,
}

impl Batch {
    pub(crate) fn context(&self, attempt: u32, now: SystemTime) -> BatchContext {
        BatchContext {
            id: self.id.clone(),
            partition_key: self.key.to_string(),
            records: bytes::index(self.records),
            bytes: self.body.len(),
            first_timestamp: system_time(self.first_timestamp),
            last_timestamp: system_time(self.last_timestamp),
            attempt,
            age: now.duration_since(system_time(self.appended_at)).unwrap_or_default(),
        }
    }
}

/// What [`Spool::next`] has for a partition.
#[derive(Debug)]
pub(crate) enum Next {
    Batch(Box<Batch>),
    /// There are records, but they linger for so much longer.
    Wait(Duration),
    Empty,
}

/// How much is in the spool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Depth {
    pub(crate) pending_records: u64,
    pub(crate) segments: u64,
    pub(crate) disk_bytes: u64,
}

/// The newest segment, while it is written.
#[derive(Debug)]
struct Head {
    segment: Arc<Segment>,
    /// Written, and of these accepted: an `append` returned.
    frames: u64,
    accepted: u64,
    runway: u64,
    bytes: u64,
    /// The number of each partition, and how many records it has.
    lanes: HashMap<Arc<str>, (u32, u64)>,
    spare_asked: bool,
}

/// An entry that was written and is to be made readable.
struct Added {
    key: Arc<str>,
    lane: u32,
    records: u32,
    meta: EntryMeta,
}

struct Inner {
    config: SpoolConfig,
    dir: QueueDir,
    cursor: Cursor,
    head: Mutex<Option<Head>>,
    state: Mutex<State>,
    /// With `state`: something was delivered, recovered, or the spool was closed.
    progress: Condvar,
    next_number: Mutex<u64>,
    /// The next segment, made ahead of its time.
    spare: Mutex<Option<Arc<Segment>>>,
    /// Held while a segment is opened for reading, so that it is opened once.
    opening: Mutex<()>,
    cursor_dirty: AtomicBool,
    closed: AtomicBool,
    wake: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

/// A durable queue of encoded records, for one exporter.
pub(crate) struct Spool {
    inner: Arc<Inner>,
    housekeeper: Housekeeper,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Spool {
    /// Takes over a queue that nobody owns, with what is in it, or makes a new one. How long that takes does not depend
    /// on how much is in it.
    pub(crate) fn open(config: SpoolConfig) -> Result<Self, SpoolError> {
        let dir = QueueDir::claim(&config.dir)?;
        let (cursor, loaded) = open_cursor(&dir)?;
        let numbers = dir.segments()?;
        let mut state = State::default();
        let mut jobs = Vec::new();
        for &number in &numbers {
            match loaded.seals.get(&number) {
                Some(seal) => {
                    if state.add_sealed(number, Arc::new(seal.clone()), |lane| cursor.lane(number, lane)) {
                        jobs.push(Job::Remove(number));
                    }
                }
                None => {
                    state.add_unrecovered(number);
                    jobs.push(Job::Recover { number, accepted: u64::MAX });
                }
            }
        }
        for (&number, &lanes) in loaded.lanes.iter().filter(|(number, _)| numbers.binary_search(number).is_err()) {
            cursor.forget(number, loaded.seals.get(&number), lanes)?;
        }
        let inner = Arc::new(Inner {
            next_number: Mutex::new(numbers.last().map_or(1, |last| last + 1)),
            config,
            dir,
            cursor,
            head: Mutex::new(None),
            state: Mutex::new(state),
            progress: Condvar::new(),
            spare: Mutex::new(None),
            opening: Mutex::new(()),
            cursor_dirty: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            wake: OnceLock::new(),
        });
        let housekeeper = Housekeeper::start(inner.clone())?;
        for job in jobs {
            housekeeper.ask(job);
        }
        let spool = Self { inner, housekeeper };
        // Fails here rather than at the first record.
        let mut head = lock(&spool.inner.head);
        spool.begin_head(&mut head)?;
        drop(head);
        Ok(spool)
    }

    /// Sets what is called, once, when records were added or became readable. It must not block.
    pub(crate) fn on_ready(&self, wake: impl Fn() + Send + Sync + 'static) {
        let _ = self.inner.wake.set(Box::new(wake));
    }

    // --- append -------------------------------------------------------------------------------------------------

    /// Adds records, those of each partition in their order. When this returns, they are as safe as
    /// [`SpoolConfig::durability`] says.
    ///
    /// # Errors
    ///
    /// None of the records is then accepted; the next call begins with a new segment.
    pub(crate) fn append(&self, groups: &[(&str, &Group)], framing: &Framing) -> Result<(), SpoolError> {
        for (_, group) in groups {
            check_sizes(group)?;
        }
        let mut head = lock(&self.inner.head);
        if self.inner.closed.load(Ordering::Acquire) {
            return Err(SpoolError::Closed);
        }
        if head.as_ref().is_some_and(|head| head.bytes >= self.inner.config.segment_bytes) {
            self.seal_head(&mut head);
        }
        // After a write error a database fails for ever, also when the cause is gone: the entries go to a new one.
        let mut retried = false;
        loop {
            let result = self.begin_head(&mut head).and_then(|head| {
                let added = self.write(head, groups, framing)?;
                self.publish(head, &added);
                Ok(())
            });
            match result {
                Ok(()) => return Ok(()),
                Err(error) => {
                    self.abandon_head(&mut head);
                    if std::mem::replace(&mut retried, true) {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// The newest segment; makes one if there is none.
    fn begin_head<'a>(&self, head: &'a mut Option<Head>) -> Result<&'a mut Head, SpoolError> {
        if let Some(head) = head {
            return Ok(head);
        }
        let mut spare = lock(&self.inner.spare);
        let segment = match spare.take() {
            Some(segment) => segment,
            None => Arc::new(self.inner.create_segment()?),
        };
        drop(spare);
        let done = lock(&self.inner.state).set_head(Some((segment.id.number, segment.clone())));
        if let Some(done) = done {
            self.housekeeper.ask(Job::Remove(done));
        }
        let lanes = HashMap::new();
        Ok(head.insert(Head { segment, frames: 0, accepted: 0, runway: 0, bytes: 0, lanes, spare_asked: false }))
    }

    fn write(&self, head: &mut Head, groups: &[(&str, &Group)], framing: &Framing) -> Result<Vec<Added>, SpoolError> {
        let mut added = Vec::with_capacity(groups.len());
        let appended_at = nanos(SystemTime::now());
        let mut bytes = Vec::new();
        for (key, group) in groups {
            let (key, lane, mut first_record) = head.lane(stored_key(key));
            for part in split(group, entry_budget(&key, framing), framing.separator().len()) {
                let entry = EntryHead {
                    partition: lane,
                    first_record,
                    records: bytes::len32(part.ends.len()),
                    first_timestamp: group.first_timestamp.map_or(appended_at, nanos),
                    last_timestamp: group.last_timestamp.map_or(appended_at, nanos),
                    appended_at,
                };
                entry::write(&entry, &key, framing, part.ends, part.base, part.payload, &mut bytes);
                let meta = EntryMeta::new(head.frames, &entry, part.payload.len());
                head.frames += head.segment.write(head.frames, &mut head.runway, &bytes)?;
                head.bytes += bytes.len() as u64;
                first_record += u64::from(entry.records);
                added.push(Added { key: key.clone(), lane, records: entry.records, meta });
            }
            head.lanes.insert(key, (lane, first_record));
        }
        match self.inner.config.durability {
            Durability::Sync => head.segment.sync()?,
            Durability::Interval(_) => {
                head.segment.flush()?;
                self.housekeeper.ask(Job::SyncSoon);
            }
            Durability::Process => head.segment.flush()?,
        }
        Ok(added)
    }

    /// Makes what was written readable.
    fn publish(&self, head: &mut Head, added: &[Added]) {
        head.accepted = head.frames;
        for added in added {
            head.segment.push(&added.key, added.lane, added.meta);
        }
        let mut state = lock(&self.inner.state);
        for added in added {
            state.appended(&added.key, added.lane, u64::from(added.records));
        }
        drop(state);
        if head.bytes >= self.inner.config.segment_bytes / 2 && !std::mem::replace(&mut head.spare_asked, true) {
            self.housekeeper.ask(Job::Spare);
        }
        self.inner.wake();
    }

    fn seal_head(&self, head: &mut Option<Head>) {
        if let Some(old) = head.take() {
            self.housekeeper.ask(Job::Seal { segment: old.segment, frames: old.frames });
        }
    }

    fn abandon_head(&self, head: &mut Option<Head>) {
        let Some(old) = head.take() else { return };
        otel_warn!(
            name: "Spool.SegmentAbandoned",
            segment = old.segment.id.number,
            message = "A write to the spool failed. Its segment is set aside and a new one begun; nothing that was accepted is lost."
        );
        let (number, accepted) = (old.segment.id.number, old.accepted);
        lock(&self.inner.state).abandon_head();
        self.housekeeper.ask(Job::Recover { number, accepted });
    }

    // --- next, ack ----------------------------------------------------------------------------------------------

    /// A partition that has something to deliver; it is not given out again before [`Spool::release`].
    pub(crate) fn checkout(&self) -> Option<Arc<str>> {
        lock(&self.inner.state).checkout()
    }

    pub(crate) fn release(&self, key: &Arc<str>) {
        lock(&self.inner.state).release(key);
    }

    /// The next batch of a partition: the same one until it is acknowledged. `force` sends what lingers.
    pub(crate) fn next(&self, key: &Arc<str>, now: SystemTime, force: bool) -> Result<Next, SpoolError> {
        loop {
            let Some(front) = lock(&self.inner.state).front(key) else { return Ok(Next::Empty) };
            let segment = self.inner.reader(front.segment)?;
            let limits = self.inner.config.limits;
            let (max_records, max_bytes) = (limits.max_records, limits.max_bytes);
            let frozen = match front.cursor.frozen {
                Some(frozen) => frozen,
                None => Frozen { until: front.end, max_records, max_bytes },
            };
            let waiting = front.cursor.acked..frozen.until.min(front.end);
            let is_new = front.cursor.frozen.is_none();
            if is_new && !front.complete && !force {
                let available = segment.available(front.lane, &waiting);
                let full = available.records >= max_records || available.bytes >= max_bytes;
                let age = now.duration_since(system_time(available.oldest)).unwrap_or_default();
                if !full && age < limits.linger {
                    return Ok(Next::Wait(limits.linger - age));
                }
            }
            let collected = segment.collect(front.lane, &waiting, frozen.max_records, frozen.max_bytes)?;
            let Some(collected) = collected else {
                // Damage took all of them. They are gone, so the lane goes on behind them.
                warn_of_damage(front.segment, waiting.end - waiting.start);
                self.advance(key, front.segment, front.lane, &waiting)?;
                continue;
            };
            if is_new {
                // While more can come, only this batch is fixed; after that, all that there is.
                let until = if front.complete { front.end } else { collected.end };
                let frozen = Frozen { until, ..frozen };
                if let Some(cursor) = lock(&self.inner.state).freeze(key, &front, frozen) {
                    self.inner.cursor.put_lane(front.segment, front.lane, &cursor)?;
                    self.inner.cursor_dirty.store(false, Ordering::Release);
                    match self.inner.config.durability {
                        Durability::Sync => self.inner.cursor.sync()?,
                        Durability::Interval(_) | Durability::Process => self.inner.cursor.flush()?,
                    }
                }
            } else {
                self.settle()?;
            }
            let span = front.cursor.acked..collected.end;
            if collected.records < span.end - span.start {
                warn_of_damage(front.segment, span.end - span.start - collected.records);
            }
            self.prefetch(&front);
            return Ok(Next::Batch(Box::new(Batch {
                id: self.inner.batch_id(front.segment, front.lane, &span),
                key: key.clone(),
                records: collected.records,
                body: collected.body,
                content_type: collected.content_type,
                segment: front.segment,
                lane: front.lane,
                span,
                first_timestamp: collected.first_timestamp,
                last_timestamp: collected.last_timestamp,
                appended_at: collected.appended_at,
            })));
        }
    }

    /// Marks a batch as delivered. That survives a kill once the next batch is taken or [`Spool::settle`] is called.
    ///
    /// # Errors
    ///
    /// The batch is not given out again by this process, but perhaps by the next, under the same id.
    pub(crate) fn ack(&self, batch: &Batch) -> Result<(), SpoolError> {
        self.advance(&batch.key, batch.segment, batch.lane, &batch.span)
    }

    fn advance(&self, key: &str, segment: u64, lane: u32, span: &Range<u64>) -> Result<(), SpoolError> {
        let acked = lock(&self.inner.state).ack(key, segment, span);
        // A segment that was abandoned meanwhile has no lanes at the moment; what it is recovered from says it all.
        let (cursor, done) = acked.unwrap_or((LaneCursor { acked: span.end, frozen: None }, false));
        self.inner.progress.notify_all();
        if done {
            self.housekeeper.ask(Job::Remove(segment));
        }
        self.inner.cursor_dirty.store(true, Ordering::Release);
        self.inner.cursor.put_lane(segment, lane, &cursor)
    }

    /// Makes every acknowledgement so far survive a kill of the process.
    pub(crate) fn settle(&self) -> Result<(), SpoolError> {
        if self.inner.cursor_dirty.swap(false, Ordering::AcqRel) {
            self.inner.cursor.flush()?;
        }
        Ok(())
    }

    /// Has the segment after this one opened in time.
    fn prefetch(&self, front: &state::Front) {
        if front.complete && front.cursor.acked >= front.end / 2 {
            let state = lock(&self.inner.state);
            let next = state.segments.range(front.segment + 1..).next();
            let closed = next.filter(|(_, next)| next.open.is_none() && next.seal.is_some());
            let number = closed.map(|(number, _)| *number);
            drop(state);
            if let Some(number) = number {
                self.housekeeper.ask(Job::Prefetch(number));
            }
        }
    }

    // --- the rest -----------------------------------------------------------------------------------------------

    pub(crate) fn depth(&self) -> Depth {
        let state = lock(&self.inner.state);
        let (pending_records, segments) = (state.pending_records, state.segments.len() as u64);
        drop(state);
        Depth { pending_records, segments, disk_bytes: self.inner.dir.disk_bytes() }
    }

    /// Waits until everything that is in the spool now is delivered. False if the time was up or the spool was closed.
    pub(crate) fn wait_delivered(&self, timeout: Duration) -> bool {
        let deadline = Instant::now().checked_add(timeout);
        let mut watermark = None;
        let mut state = lock(&self.inner.state);
        loop {
            if watermark.is_none() && state.is_recovered() {
                watermark = Some(state.watermark());
            }
            if watermark.as_ref().is_some_and(|watermark| state.has_delivered(watermark)) {
                return true;
            }
            let left = deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_zero() || self.inner.closed.load(Ordering::Acquire) {
                return false;
            }
            // Waking up now and then costs nothing and makes a missed signal harmless.
            let result = self.inner.progress.wait_timeout(state, left.min(Duration::from_secs(1)));
            state = result.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether it is known what all segments hold. Before that, some of it may not be given out yet.
    pub(crate) fn is_recovered(&self) -> bool {
        lock(&self.inner.state).is_recovered()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.inner.closed.load(Ordering::Acquire)
    }

    /// Seals and closes everything and gives up the queue, so that it can be opened again. Later calls do nothing.
    pub(crate) fn close(&self) {
        let mut head = lock(&self.inner.head);
        if self.inner.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        self.seal_head(&mut head);
        drop(head);
        self.housekeeper.finish();
        let done = lock(&self.inner.state).set_head(None);
        if let Some(done) = done {
            self.inner.remove_segment(done);
        }
        for segment in lock(&self.inner.state).segments.values_mut() {
            segment.open = None;
        }
        let spare = lock(&self.inner.spare).take();
        if let Some(spare) = spare {
            let number = spare.id.number;
            drop(spare);
            let _ = self.inner.dir.remove_segment(number);
        }
        if let Err(error) = self.inner.cursor.sync() {
            otel_warn!(name: "Spool.CloseFailed", reason = error.to_string());
        }
        self.inner.progress.notify_all();
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.close();
    }
}

impl Head {
    /// A partition's key, its number and how many records it has.
    fn lane(&mut self, key: &str) -> (Arc<str>, u32, u64) {
        if let Some((key, (lane, records))) = self.lanes.get_key_value(key) {
            return (key.clone(), *lane, *records);
        }
        let (key, lane) = (Arc::from(key), bytes::len32(self.lanes.len()));
        self.lanes.insert(Arc::clone(&key), (lane, 0));
        (key, lane, 0)
    }
}

impl Inner {
    fn wake(&self) {
        if let Some(wake) = self.wake.get() {
            wake();
        }
    }

    fn segment_id(&self, number: u64) -> SegmentId {
        SegmentId { queue: self.dir.id, number }
    }

    fn batch_id(&self, segment: u64, lane: u32, span: &Range<u64>) -> String {
        format!("{:016x}.{segment}-{lane}-{}-{}", self.dir.id, span.start, span.end - 1)
    }

    /// Makes the next segment.
    fn create_segment(&self) -> Result<Segment, SpoolError> {
        let mut next = lock(&self.next_number);
        let number = *next;
        *next += 1;
        drop(next);
        Segment::create(&self.dir.segment(number), self.segment_id(number))
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
        let seal = lock(&self.state).segments.get(&number).and_then(|segment| segment.seal.clone());
        let seal = seal.ok_or(SpoolError::Closed)?;
        let path = self.dir.segment(number);
        let intact = seal.holds(&path);
        if !intact {
            otel_warn!(
                name: "Spool.SegmentDamaged",
                segment = number,
                message = "A segment of the spool is not what it was when it was sealed. What is whole in it is delivered."
            );
        }
        let segment = Arc::new(Segment::open(&path, self.segment_id(number), seal.frames, intact)?);
        let mut state = lock(&self.state);
        state.clock += 1;
        let now = state.clock;
        if let Some(entry) = state.segments.get_mut(&number) {
            entry.open = Some(segment.clone());
            entry.last_used = now;
        }
        let idle = state.close_least_used(MAX_OPEN_SEGMENTS);
        drop(state);
        drop(idle);
        Ok(segment)
    }

    fn already_open(&self, number: u64) -> Option<Arc<Segment>> {
        let mut state = lock(&self.state);
        state.clock += 1;
        let now = state.clock;
        let entry = state.segments.get_mut(&number)?;
        entry.last_used = now;
        entry.open.clone()
    }

    /// Deletes a segment that is delivered.
    fn remove_segment(&self, number: u64) {
        let removed = lock(&self.state).segments.remove(&number);
        let Some(state::SegmentState { open, seal, lanes, .. }) = removed else { return };
        drop(open);
        let result = self
            .dir
            .remove_segment(number)
            .and_then(|()| self.cursor.forget(number, seal.as_deref(), lanes));
        if let Err(error) = result {
            // The next start removes it.
            otel_warn!(name: "Spool.SegmentNotRemoved", segment = number, reason = error.to_string());
        }
    }
}

/// Opens the cursor database; one that cannot be opened is set aside. What it said is then delivered again, under the
/// same ids: better twice than never.
fn open_cursor(dir: &QueueDir) -> Result<(Cursor, cursor::Loaded), SpoolError> {
    match Cursor::open(&dir.cursor()) {
        Err(SpoolError::Storage { message, .. }) => {
            otel_warn!(
                name: "Spool.CursorDamaged",
                reason = message.clone(),
                message = "What was delivered is not known any more. All that is in the spool is delivered, some of it again."
            );
            dir.set_cursor_aside()?;
            Cursor::open(&dir.cursor())
        }
        result => result,
    }
}

fn warn_of_damage(segment: u64, records: u64) {
    otel_warn!(
        name: "Spool.RecordsDamaged",
        segment = segment,
        records = records,
        message = "Records in the spool are damaged and cannot be read; they are left out."
    );
}

fn check_sizes(group: &Group) -> Result<(), SpoolError> {
    let mut start = 0;
    for &end in &group.ends {
        if end - start > MAX_RECORD_BYTES {
            return Err(SpoolError::RecordTooLarge { bytes: end - start, max_bytes: MAX_RECORD_BYTES });
        }
        start = end;
    }
    Ok(())
}

/// A run of a group's records.
struct Part<'a> {
    /// Where the payload begins in the group's.
    base: usize,
    ends: &'a [usize],
    payload: &'a [u8],
}

/// Cuts a group between records, so that each part takes at most `budget` bytes, unless it is a single record.
fn split<'a>(group: &'a Group, budget: usize, separator: usize) -> Vec<Part<'a>> {
    let mut parts = Vec::new();
    let mut first = 0;
    while first < group.ends.len() {
        let base = if first == 0 { 0 } else { group.ends[first - 1] + separator };
        let fits = |at: usize| group.ends[at] - base + 4 * (at + 1 - first) <= budget;
        let mut last = first;
        while last + 1 < group.ends.len() && fits(last + 1) {
            last += 1;
        }
        let payload = &group.payload[base..group.ends[last]];
        parts.push(Part { base, ends: &group.ends[first..=last], payload });
        first = last + 1;
    }
    parts
}
