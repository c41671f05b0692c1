//! Delivering: which batch is next, and what was acknowledged.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::body;
use super::cursor::{Cursor, LaneCursor};
use super::entry::system_time;
use super::housekeeper::Job;
use super::index::Front;
use super::loss::Gap;
use super::position::BatchStart;
use super::rejected::{RejectedRecord, Rejection};
use super::segment::{Collected, Segment};
use super::{Inner, Partition, lock};
use crate::config::values::Durability;
use crate::encode::framing::ResponseProtocol;
use crate::error::SpoolError;
use crate::error::error_chain;
use crate::observe::event::SpoolEvent;
use crate::observe::loss::LossReason;

/// The memory of so many bodies is kept for the next ones: of the one that is under way and the one that is made ahead.
const MAX_SPARE_BODIES: usize = 2;
const MAX_SPARE_BYTES: usize = 2 << 20;

/// Where a batch begins: segment, lane and record.
pub(super) type Place = (u64, u32, u64);

/// Records of one partition, ready to be sent. Until it is acknowledged, the same batch comes again.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) id: String,
    pub(super) partition: Partition,
    pub(crate) records: u64,
    pub(crate) body: Bytes,
    pub(crate) content_type: String,
    pub(crate) content_encoding: Option<&'static str>,
    pub(crate) response_protocol: ResponseProtocol,
    pub(super) segment: u64,
    lane: u32,
    span: Range<u64>,
    first_timestamp: u64,
    last_timestamp: u64,
    appended_at: u64,
}

impl Batch {
    /// The body before it was compressed; as it is, if this build cannot read it.
    pub(super) fn plain_body(&self) -> Vec<u8> {
        let plain = self.content_encoding.and_then(|_| body::gunzip(&self.body));
        plain.unwrap_or_else(|| self.body.to_vec())
    }

    pub(crate) fn start(&self) -> BatchStart {
        BatchStart { segment: self.segment, record: self.span.start }
    }

    pub(crate) fn partition_key(&self) -> &str {
        &self.partition
    }

    /// The earliest and the latest timestamp among the entries that it touches.
    pub(crate) fn timestamps(&self) -> (SystemTime, SystemTime) {
        (system_time(self.first_timestamp), system_time(self.last_timestamp))
    }

    /// When the oldest of its records came into the spool.
    pub(crate) fn appended_at(&self) -> SystemTime {
        system_time(self.appended_at)
    }
}

impl Drop for Batch {
    /// Gives the memory of the body back, to be used for the next one, if nobody else has it any more.
    fn drop(&mut self) {
        let Ok(mut body) = std::mem::take(&mut self.body).try_into_mut() else { return };
        body.clear();
        let mut spare = lock(&self.partition.queue.spare_bodies);
        if body.capacity() <= MAX_SPARE_BYTES && spare.len() < MAX_SPARE_BODIES {
            spare.push(body.into());
        }
    }
}

/// What [`Inner::next`] has for a partition.
#[derive(Debug)]
pub(crate) enum Next {
    Batch(Box<Batch>),
    /// There are records, but they linger for so much longer.
    Linger(Duration),
    /// Records were skipped: they expired or are corrupt. There may be others.
    Skipped,
    Empty,
}

impl Inner {
    /// Whether it makes sense to wait for more records of a partition. If so,
    /// [`Spool::take_filled`](super::Spool::take_filled) will name it when there are enough for a batch.
    pub(super) fn linger(&self, key: &str) -> bool {
        // With the lock of appending, so that nothing comes in between.
        let head = lock(&self.head);
        let mut state = lock(&self.state);
        let front = state.front(key, None).filter(|front| !front.complete);
        let lingers = match (&*head, front) {
            (Some(head), Some(front)) => {
                let limits = &self.config.batch;
                !head.segment.available(front.lane, &(front.start..front.end), limits).fills(limits)
            }
            // The next one is yet to be made.
            (None, Some(_)) => true,
            _ => false,
        };
        if lingers {
            state.linger(key);
        }
        lingers
    }

    /// A batch of a partition: the one at `start` again, if it is not acknowledged, else the next one. Unless several may be
    /// under way, that is the same one until it is acknowledged. `force` sends what lingers.
    pub(super) fn next(
        self: &Arc<Self>,
        key: &Arc<str>,
        start: Option<BatchStart>,
        now: SystemTime,
        force: bool,
    ) -> Result<Next, SpoolError> {
        loop {
            let Some(front) = lock(&self.state).front(key, start) else { return Ok(Next::Empty) };
            let segment = match self.reader(front.segment) {
                // Dropped or given up meanwhile.
                Err(SpoolError::Closed) if lock(&self.state).front(key, start).as_ref() != Some(&front) => continue,
                segment => segment?,
            };
            let waiting = front.start..front.fixed_end.unwrap_or(front.end).min(front.end);
            let may_grow = front.fixed_end.is_none() && !front.complete;
            if may_grow && !force {
                let limits = self.config.batch;
                let available = segment.available(front.lane, &waiting, &limits);
                let age = now.duration_since(system_time(available.oldest)).unwrap_or_default();
                let left = limits.linger.saturating_sub(age);
                if !available.fills(&limits) && !left.is_zero() {
                    return Ok(Next::Linger(left));
                }
            }
            let place = (front.segment, front.lane, front.start);
            // What was made for something else is of no use any more.
            let ahead = lock(&self.ahead).take();
            let ahead = ahead.filter(|(of, collected)| *of == place && collected.end <= waiting.end);
            let collected = if let Some((_, collected)) = ahead {
                Some(collected)
            } else {
                self.reading(front.segment, |_| self.collect(&segment, front.lane, &waiting))?
            };
            let Some(collected) = collected else {
                // Damage took all of them. They are gone, so the lane goes on behind them.
                self.pass(key, &front, &waiting, 0);
                return Ok(Next::Skipped);
            };
            let span = front.start..collected.end;
            let limits = &self.config.limits;
            let last_appended_at = system_time(collected.last_appended_at);
            let age = now.duration_since(last_appended_at).unwrap_or_default();
            if limits.max_age.is_some_and(|max_age| age > max_age)
                || limits.not_before.is_some_and(|not_before| last_appended_at < not_before)
            {
                let between = (collected.first_timestamp, collected.last_timestamp);
                let expired = self.pass(key, &front, &span, collected.records);
                self.lose(key, LossReason::Expired, expired, Some(between));
                // One at a time, or the thread would be held by all that is too old.
                return Ok(Next::Skipped);
            }
            if may_grow && self.freeze(key, &front, collected.end).is_err() {
                // It could be another batch after a restart. What is complete is divided the same way again.
                self.complete_head(front.segment);
                continue;
            }
            let mut state = lock(&self.state);
            if !state.take(key, front.segment, &span) {
                continue;
            }
            let (more, only) = (state.has_ready(), state.is_only(key));
            drop(state);
            if more {
                self.wake();
            }
            if only && front.complete && span.end < front.end {
                // While the request is under way.
                self.ask(Job::ReadAhead((front.segment, front.lane, span.end), front.end));
            }
            self.prefetch(&front);
            let partition = Partition { queue: self.clone(), key: key.clone() };
            return Ok(Next::Batch(Box::new(self.batch(partition, place, collected))));
        }
    }

    fn batch(&self, partition: Partition, (segment, lane, start): Place, collected: Collected) -> Batch {
        let span = start..collected.end;
        Batch {
            id: self.batch_id(segment, lane, &span),
            partition,
            records: collected.records,
            content_encoding: collected.body.is_gzip().then_some("gzip"),
            body: collected.body.finish().into(),
            content_type: collected.content_type,
            response_protocol: collected.response_protocol,
            segment,
            lane,
            span,
            first_timestamp: collected.first_timestamp,
            last_timestamp: collected.last_timestamp,
            appended_at: collected.appended_at,
        }
    }

    /// Makes the body that will be asked for next, up to the record `end`.
    pub(super) fn read_ahead(&self, place: Place, end: u64) {
        let (segment, lane, start) = place;
        // Who needs it waits for it.
        let mut ahead = lock(&self.ahead);
        let Some(segment) = self.already_open(segment) else { return };
        // What is wrong is reported by who needs it.
        let collected = self.collect(&segment, lane, &(start..end));
        *ahead = collected.ok().flatten().map(|collected| (place, collected));
    }

    /// See [`Segment::collect`]; in the memory of a body that was delivered.
    fn collect(&self, segment: &Segment, lane: u32, records: &Range<u64>) -> Result<Option<Collected>, SpoolError> {
        let buffer = lock(&self.spare_bodies).pop().unwrap_or_default();
        segment.collect(lane, records, buffer)
    }

    /// Fixes where the next batch ends, before it is sent.
    fn freeze(&self, key: &str, front: &Front, end: u64) -> Result<(), SpoolError> {
        let mut cursor = front.cursor.clone();
        cursor.freeze(end);
        self.keep_lane(key, front, cursor)
    }

    /// Keeps where a lane's batches end, as safe as the records are: what is sent under an id must be the same ever after.
    /// On a disk that takes it and does not sync it, it survives a kill only. After an error it is as it was.
    fn keep_lane(&self, key: &str, front: &Front, cursor: LaneCursor) -> Result<(), SpoolError> {
        let mut kept = self.keep(|kept| {
            kept.put_lane(front.segment, front.lane, &cursor);
            kept.flush()
        });
        if kept.is_err() && self.cursor.written_lane(front.segment, front.lane).as_ref() == Some(&cursor) {
            kept = Ok(());
        }
        if kept.is_ok() {
            if self.config.durability == Durability::Sync {
                // Without that it survives a kill all the same, so there is no way back.
                let _ = self.keep(Cursor::sync);
            }
            lock(&self.state).set_cursor(key, front.segment, front.lane, cursor);
        } else {
            // Or it would be written with what is written next.
            self.cursor.put_lane(front.segment, front.lane, &front.cursor);
        }
        kept
    }

    /// Divides a batch that was refused: its halves come in its place, under ids of their own.
    ///
    /// # Errors
    ///
    /// If that cannot be kept: it is not done then, or after a restart the whole could follow its half.
    pub(super) fn split(&self, batch: &Batch) -> Result<(), SpoolError> {
        let key = &batch.partition.key;
        let front = lock(&self.state).front(key, Some(batch.start()));
        let is_batch = |front: &Front| BatchStart { segment: front.segment, record: front.start } == batch.start();
        let Some(front) = front.filter(is_batch) else { return Ok(()) };
        let mut cursor = front.cursor.clone();
        let middle = cursor.cut(&batch.span);
        self.keep_lane(key, &front, cursor)?;
        lock(&self.state).split(key, batch.start(), middle);
        Ok(())
    }

    /// Ends the newest segment, if it is this one.
    fn complete_head(&self, segment: u64) {
        let mut head = lock(&self.head);
        if head.as_ref().is_some_and(|head| head.segment.id.number == segment) {
            self.seal_head(&mut head);
        }
    }

    /// Puts a batch of one record into the rejected store. Until it is acknowledged, it still comes again.
    pub(super) fn reject(&self, batch: &Batch, status: u16, answer: &str, now: SystemTime) -> Result<(), SpoolError> {
        self.put_rejected(&[RejectedRecord::new(batch, status, answer, now)])
    }

    fn put_rejected(&self, records: &[RejectedRecord]) -> Result<(), SpoolError> {
        let evicted = self.rejected.put(records)?;
        if evicted > 0 {
            self.events.report(SpoolEvent::RejectedEvicted { records: evicted });
        }
        Ok(())
    }

    /// Does so with some of a batch's records, each as if it had been sent alone. False, and nothing, if it is not known
    /// which they are, because damage took others.
    pub(super) fn reject_some(
        &self,
        batch: &Batch,
        rejections: &[Rejection<'_>],
        status: u16,
        now: SystemTime,
    ) -> Result<bool, SpoolError> {
        if batch.records != batch.span.end - batch.span.start {
            return Ok(false);
        }
        let segment = self.reader(batch.segment)?;
        let mut records = Vec::with_capacity(rejections.len());
        for Rejection { record, response } in rejections {
            let number = batch.span.start.saturating_add(*record as u64);
            if !batch.span.contains(&number) {
                return Ok(false);
            }
            let collected = segment.collect(batch.lane, &(number..number + 1), Vec::new())?;
            let Some(collected) = collected else { return Ok(false) };
            let alone = self.batch(batch.partition.clone(), (batch.segment, batch.lane, number), collected);
            records.push(RejectedRecord::new(&alone, status, response, now));
        }
        self.put_rejected(&records).map(|()| true)
    }

    /// Marks a batch as delivered. That survives a kill some milliseconds later, or after [`Inner::settle`].
    pub(super) fn ack(&self, batch: &Batch) {
        let key = &batch.partition.key;
        if self.advance(key, batch.segment, batch.lane, &batch.span) {
            self.lose(key, LossReason::Corrupt, batch.span.end - batch.span.start - batch.records, None);
        }
    }

    /// Goes on behind records that will not be delivered, of which `whole` can be read. Returns how many of those did not
    /// just tell of gaps, which is told again.
    fn pass(&self, key: &Arc<str>, front: &Front, span: &Range<u64>, whole: u64) -> u64 {
        let _advancing = lock(&self.advancing);
        let mut state = lock(&self.state);
        // Sourced out first, as what is delivered: others of the lane may be under way.
        state.take(key, front.segment, span);
        let Some(acked) = state.ack(key, front.segment, front.lane, span) else { return 0 };
        let unreported = state.take_told(front.segment, key, span);
        drop(state);
        self.write_down(front.segment, front.lane, acked);
        let told = unreported.len() as u64;
        self.report_again(unreported);
        self.lose(key, LossReason::Corrupt, (span.end - span.start).saturating_sub(whole.max(told)), None);
        whole.saturating_sub(told)
    }

    /// Notes that records will not be delivered; `between` are their timestamps.
    fn lose(&self, key: &Arc<str>, reason: LossReason, records: u64, between: Option<(u64, u64)>) {
        if records == 0 {
            return;
        }
        let (first, last) = between.map(|(first, last)| (system_time(first), system_time(last))).unzip();
        self.note_gap(Gap { key: key.clone(), reason, records, first, last });
    }

    /// False if it is not there any more.
    fn advance(&self, key: &str, segment: u64, lane: u32, span: &Range<u64>) -> bool {
        // Whoever sees that it is delivered, and settles that, finds it written down.
        let _advancing = lock(&self.advancing);
        // Of one that was dropped meanwhile there is nothing to write down.
        let acked = lock(&self.state).ack(key, segment, lane, span);
        acked.map(|acked| self.write_down(segment, lane, acked)).is_some()
    }

    /// Writes down how far a lane is delivered, and has its segment deleted if that is `done`.
    fn write_down(&self, segment: u64, lane: u32, (cursor, done): (LaneCursor, bool)) {
        self.cursor.put_lane(segment, lane, &cursor);
        if !self.settling.swap(true, Ordering::AcqRel) {
            self.ask(Job::SettleSoon);
        }
        if done {
            self.ask(Job::Remove(segment));
        }
        self.progress.notify_all();
    }

    /// Makes every acknowledgement so far survive a kill of the process.
    pub(super) fn settle(&self) -> Result<(), SpoolError> {
        self.settling.store(false, Ordering::Release);
        drop(lock(&self.advancing));
        self.keep(Cursor::flush)
    }

    /// Has the segment after this one opened in time.
    fn prefetch(&self, front: &Front) {
        if front.complete && front.cursor.acked >= front.end / 2 {
            let state = lock(&self.state);
            let next = state.segments.range(front.segment + 1..).next();
            let closed = next.filter(|(_, next)| next.open.is_none() && next.frames.is_some());
            let number = closed.map(|(number, _)| *number);
            drop(state);
            if let Some(number) = number {
                self.ask(Job::Prefetch(number));
            }
        }
    }

    /// Writes to the cursor database, and warns when that begins to fail. What could not be written is written later.
    pub(super) fn keep(&self, write: impl FnOnce(&Cursor) -> Result<(), SpoolError>) -> Result<(), SpoolError> {
        let kept = write(&self.cursor);
        match &kept {
            Ok(()) => self.cursor_failing.store(false, Ordering::Release),
            Err(error) => {
                if !self.cursor_failing.swap(true, Ordering::AcqRel) {
                    self.events.report(SpoolEvent::CursorNotWritten { reason: error_chain(error) });
                }
            }
        }
        kept
    }

    fn batch_id(&self, segment: u64, lane: u32, span: &Range<u64>) -> String {
        format!("{:016x}.{segment}-{lane}-{}-{}", self.dir.id, span.start, span.end - 1)
    }
}
