//! Delivering: which batch is next, and how it ends. It reads segments, writes cursors, and puts records into the rejected
//! store.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::cursor::LaneCursor;
use super::cursor_store::CursorStore;
use super::entry::system_time;
use super::fault::says_damaged;
use super::frame::ReadErrors;
use super::index::{Acked, Admission, Admitted, Asked, Changed, Choice, Ending};
use super::jobs::Job;
use super::lane::Purpose;
use super::partition::{Batch, Partition};
use super::position::{BatchStart, LaneId, SegmentId};
use super::queue::Queue;
use super::read_cache::{Phase, Reading, is_given_up};
use super::rejected::{self, RejectedRecord, Rejection};
use super::segment::{Collected, Collection, Segment};
use crate::config::values::{BatchLimits, Durability};
use crate::error::SpoolError;
use crate::observe::event::SpoolEvent;
use crate::observe::loss::LossReason;

/// The next batch of a partition, or why there is none.
#[derive(Debug)]
pub(crate) enum Next<B = Batch> {
    Batch(Box<B>),
    /// There are records, but they linger for so much longer.
    Linger(Duration),
    /// Records were skipped: they expired or are corrupt. There may be others.
    Skipped,
    Empty,
}

impl Partition {
    /// Gives it back after [`Spool::checkout`](super::Spool::checkout). `formed` is whether a batch was put in flight since.
    pub(crate) fn release(&self, formed: bool) {
        self.queue.index.lock().release(&self.key, formed);
    }

    /// Lets so many batches be in flight at the same time, at least one.
    pub(crate) fn allow(&self, in_flight: usize) {
        self.queue.index.lock().allow(&self.key, in_flight.saturating_sub(1));
    }

    /// See [`Queue::next`].
    pub(crate) fn next(&self, start: Option<BatchStart>, now: SystemTime, force: bool) -> Result<Next, SpoolError> {
        self.queue.next(&self.key, Asked::Flow(start), now, force)
    }

    /// Gives out the first batch of the parked records that begin at `at`, also if it is given out already; the rest stays
    /// parked. [`Next::Empty`] if nothing is parked there any more. It is no delivery step of the partition: none is to be
    /// [released](Self::release).
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub(crate) fn trial(&self, at: BatchStart, now: SystemTime) -> Result<Next, SpoolError> {
        self.queue.next(&self.key, Asked::Trial(at), now, true)
    }

    /// What is parked and may be read, in order, trials included: where it begins, how many records it has, and for how many
    /// seconds it was deferred.
    pub(crate) fn parked(&self) -> Vec<(BatchStart, u64, u64)> {
        self.queue.index.lock().parked(&self.key)
    }

    /// Gives out one record that was never sent, before its turn: the one that lies `ahead` records behind the first of those.
    /// Some behind a record that is damaged or expired are left out with it. `None` if there is no such record. Like a trial, it is no delivery
    /// step. Until it ends by ack, [park](Batch::park) or [`put_back`](Batch::put_back), it does not come in its turn.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or where it begins and ends cannot be kept.
    pub(crate) fn control(&self, ahead: u64, now: SystemTime) -> Result<Option<Box<Batch>>, SpoolError> {
        let (mut ahead, mut step) = (ahead, 1);
        loop {
            match self.queue.next(&self.key, Asked::Control(ahead), now, true)? {
                Next::Batch(batch) => return Ok(Some(batch)),
                Next::Skipped => {
                    // So that few are read where many are damaged or too old.
                    ahead = ahead.saturating_add(step);
                    step *= 2;
                }
                Next::Linger(_) | Next::Empty => return Ok(None),
            }
        }
    }

    /// Gives out the control that begins at `at` again: one that was put back, and was not given out in its turn since.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub(crate) fn control_again(&self, at: BatchStart, now: SystemTime) -> Result<Option<Box<Batch>>, SpoolError> {
        match self.queue.next(&self.key, Asked::ControlAgain(at), now, true)? {
            Next::Batch(batch) => Ok(Some(batch)),
            Next::Skipped | Next::Linger(_) | Next::Empty => Ok(None),
        }
    }

    /// How many records could be a [control](Self::control): those before a place, and those behind it.
    pub(crate) fn unsent(&self, at: BatchStart) -> (u64, u64) {
        self.queue.index.lock().unsent(&self.key, at)
    }

    /// Parks all that is not acknowledged before `at` and neither in flight nor a control, on the same side of the
    /// [mark](Self::mark) as a batch, in one span where records of a lane
    /// follow one another. Returns how many records that are. There may be more spans then than [`Batch::park`] makes.
    pub(crate) fn park_before(&self, batch: BatchStart, at: BatchStart) -> u64 {
        let (records, changed) = self.queue.index.lock().park_before(&self.key, batch, at);
        self.queue.finish_change(changed);
        records
    }

    /// Whether more than a batch waits behind the [mark](Self::mark) and is not parked. Where there is no mark, all is a
    /// backlog and no new records are to be told from it.
    pub(crate) fn has_backlog(&self) -> bool {
        let limits = &self.queue.config.batch;
        let cache = self.queue.read_cache.lock();
        let index = self.queue.index.lock();
        let mut lanes = index.flowing_behind_mark(&self.key);
        let Some((lane, records, flowing)) = lanes.next() else { return false };
        // A batch has records of one segment.
        if flowing > limits.max_records || lanes.next().is_some() {
            return true;
        }
        let more_than_one = BatchLimits { max_records: u64::MAX, max_bytes: limits.max_bytes + 1, ..*limits };
        let open = cache.peek(lane.segment);
        open.is_some_and(|segment| segment.available(lane.lane, &records, &more_than_one).fills(&more_than_one))
    }

    /// Whether a batch that begins at `at` lies behind the mark, and something flows before that.
    pub(crate) fn is_beside_backlog(&self, at: BatchStart) -> bool {
        self.queue.index.lock().is_beside_backlog(&self.key, at)
    }

    /// Sets its mark: all that waits of it is the backlog, and the records of later segments do not wait for that. While
    /// both wait, the backlog has this share of the requests. The active segment ends in a moment. Other partitions keep
    /// their order.
    pub(crate) fn mark(&self, backlog_share: f64) {
        let active = self.queue.index.lock().set_mark_of(&self.key, backlog_share);
        self.queue.end_for_mark(active);
    }

    /// Gives it the last mark that was set in its queue: no segment ends for that.
    pub(crate) fn join_mark(&self) {
        self.queue.index.lock().join_mark(&self.key);
    }

    /// Has the backlog of the partition rest, or go on: all of it, where there is no mark.
    pub(crate) fn rest(&self, rests: bool) {
        self.queue.index.lock().rest(&self.key, rests);
    }

    /// See [`Queue::linger`].
    pub(crate) fn linger(&self) -> bool {
        self.queue.linger(&self.key)
    }
}

impl Batch {
    /// Acknowledges the batch: it is delivered. That survives a kill some milliseconds later, or after
    /// [`Spool::settle`](super::Spool::settle).
    pub(crate) fn ack(&self) {
        let (queue, key) = (&self.partition.queue, &self.partition.key);
        let acked = queue.index.lock().ack(key, self.lane, &self.span, self.span.end);
        // A segment that was evicted meanwhile has nothing to acknowledge.
        if let Some(acked) = acked {
            queue.finish_ack(self.lane, acked);
            queue.lose(key, LossReason::Corrupt, self.span.end - self.span.start - self.records, None);
        }
    }

    /// Acknowledges the first `records` records. The rest comes again under an id of its own, or is parked again if the batch
    /// was. False, and nothing, if it is not known which records those are, because damage took others or the body has them in
    /// another order.
    ///
    /// # Errors
    ///
    /// If that cannot be kept. Nothing is acknowledged then.
    pub(crate) fn ack_up_to(&self, records: u64) -> Result<bool, SpoolError> {
        if records == self.records {
            self.ack();
            return Ok(true);
        }
        self.partition.queue.ack_up_to(self, records)
    }

    #[cfg(test)]
    /// Splits the batch in the middle: see [`Queue::cut`].
    pub(crate) fn split(&self) -> Result<(), SpoolError> {
        self.cut(&[(self.span.end - self.span.start) / 2])
    }

    /// See [`Queue::cut`]. The points are numbers of records in the batch, from 0, those that damage took included; those that
    /// are not inside it count for nothing.
    pub(crate) fn cut(&self, points: &[u64]) -> Result<(), SpoolError> {
        let inside = |point: &u64| *point > 0 && *point < self.span.end - self.span.start;
        let mut points: Vec<_> = points.iter().filter(|point| inside(point)).map(|at| self.span.start + at).collect();
        points.sort_unstable();
        points.dedup();
        self.partition.queue.cut(self, &points)
    }

    /// Parks the batch: it is kept under its id, and its partition goes on behind it. It comes again only by
    /// [`Partition::trial`]. False, and it is in flight as before, if too many of its partition are parked.
    pub(crate) fn park(&self) -> bool {
        let queue = &self.partition.queue;
        let parked = queue.index.lock().park(&self.partition.key, self.lane, &self.span);
        parked.map(|changed| queue.finish_change(changed)).is_some()
    }

    /// Puts the batch back: it comes again in its turn under the same id, or is parked again if it was.
    pub(crate) fn put_back(&self) {
        let queue = &self.partition.queue;
        let back = queue.index.lock().give_back(&self.partition.key, self.lane, &self.span);
        if let Some(changed) = back {
            queue.finish_change(changed);
        }
    }

    /// Notes for how many seconds the batch was deferred in all, if it is parked.
    pub(crate) fn note_deferred(&self, seconds: u64) {
        let queue = &self.partition.queue;
        let noted = queue.index.lock().note_deferred(&self.partition.key, self.lane, self.span.start, seconds);
        if let Some(changed) = noted {
            queue.finish_change(changed);
        }
    }

    /// Puts a batch of one record into the rejected store. Until it is acknowledged, it still comes again.
    ///
    /// # Errors
    ///
    /// If the store is full, or cannot be written.
    pub(crate) fn reject(&self, status: u16, response: &str, now: SystemTime) -> Result<(), SpoolError> {
        self.partition.queue.rejected.put(&[rejected_record(self, status, response, now)])
    }

    /// Puts the whole batch into the rejected store, in one file: not each of its records was rejected alone. Until it is
    /// acknowledged, it still comes again.
    ///
    /// # Errors
    ///
    /// If the store is full, or cannot be written.
    pub(crate) fn reject_inferred(&self, status: u16, response: &str, now: SystemTime) -> Result<(), SpoolError> {
        let inferred = RejectedRecord { inferred: true, ..rejected_record(self, status, response, now) };
        self.partition.queue.rejected.put(&[inferred])
    }

    /// See [`Queue::reject_some`].
    pub(crate) fn reject_some(
        &self,
        rejections: &[Rejection<'_>],
        status: u16,
        now: SystemTime,
    ) -> Result<bool, SpoolError> {
        self.partition.queue.reject_some(self, rejections, status, now)
    }
}

/// The next batch.
impl Queue {
    /// See [`Spool::mark`](super::Spool::mark).
    pub(super) fn set_mark(&self, backlog_share: f64) {
        let active = self.index.lock().set_mark(backlog_share);
        self.end_for_mark(active);
    }

    fn end_for_mark(&self, active: Option<SegmentId>) {
        if let Some(active) = active {
            // By the housekeeper, since that waits for an append.
            self.ask(Job::Complete(active));
        }
    }

    /// Whether it makes sense to wait for more records of a partition. If so,
    /// [`Spool::take_filled`](super::Spool::take_filled) names it when there are enough for a batch.
    fn linger(&self, key: &str) -> bool {
        let cache = self.read_cache.lock();
        // Appends look whether a partition lingers under this lock, so that none comes in between.
        let mut index = self.index.lock();
        let choice = index.choose(key, Asked::Flow(None)).filter(|choice| !choice.complete);
        let Some(choice) = choice else { return false };
        let limits = &self.config.batch;
        let lingers = cache.peek(choice.lane.segment).is_some_and(|segment| {
            !segment.available(choice.lane.lane, &(choice.start..choice.end), limits).fills(limits)
        });
        if lingers {
            index.linger(key);
        }
        lingers
    }

    /// A batch of a partition. In its flow that is the one at `asked` again, if it is in flight, else the next one; unless
    /// several may be in flight, it is the same one until it is acknowledged. `force` sends what lingers.
    ///
    /// The batch is chosen with the index, read without it, and put in flight if the choice still holds; else another one is
    /// chosen.
    pub(super) fn next(
        self: &Arc<Self>,
        key: &Arc<str>,
        asked: Asked,
        now: SystemTime,
        force: bool,
    ) -> Result<Next, SpoolError> {
        let flows = asked.purpose() == Purpose::Flow;
        loop {
            let mut index = self.index.lock();
            if let Asked::Flow(Some(asked)) = asked {
                // Since it was sent its segment may be held, or abandoned, also while this reads: nobody would have it in flight any more.
                index.put_back(key, asked);
            }
            let choice = index.choose(key, asked);
            drop(index);
            let Some(choice) = choice else { return Ok(Next::Empty) };
            let segment = match self.open_segment(choice.lane.segment) {
                // Evicted or abandoned meanwhile.
                Err(SpoolError::Closed) if self.choose(key, asked).as_ref() != Some(&choice) => continue,
                Err(error) if choice.complete && error.is_io() => {
                    self.hold(key, &choice, &error);
                    if !flows {
                        return Err(error);
                    }
                    continue;
                }
                segment => segment?,
            };
            if choice.may_grow()
                && !force
                && let Some(left) = self.lingers_for(&segment, &choice, now)
            {
                if flows && self.index.lock().give_to_backlog(key) {
                    continue;
                }
                return Ok(Next::Linger(left));
            }
            let collected = match self.read(&segment, &choice) {
                Ok(Collection::Batch(collected)) => collected,
                // One that is to be tried before its turn is lost in its turn.
                Ok(Collection::Nothing(_)) if asked.purpose() == Purpose::Control => return Ok(Next::Skipped),
                // Damage took all of them. They are gone, so the lane goes on behind them.
                Ok(Collection::Nothing(end)) => match self.skip(key, asked, &choice, end, 0) {
                    Some(_) => return Ok(Next::Skipped),
                    None => continue,
                },
                Err(error) if choice.complete && error.is_io() => {
                    self.hold(key, &choice, &error);
                    if !flows {
                        return Err(error);
                    }
                    continue;
                }
                Err(error) => return Err(error),
            };
            if self.is_expired(&collected, now) {
                if asked.purpose() == Purpose::Control {
                    return Ok(Next::Skipped);
                }
                let Some(expired) = self.skip(key, asked, &choice, collected.end, collected.records) else { continue };
                let between = (collected.first_timestamp, collected.last_timestamp);
                self.hooks.counters.losses.add_bytes(LossReason::Expired, collected.body.plain_len() as u64);
                self.lose(key, LossReason::Expired, expired, Some(between));
                // A call skips one batch, so that the thread is not held by all that is too old.
                return Ok(Next::Skipped);
            }
            let admitted = match self.admit(key, asked, &choice, collected.end) {
                Err(error) if !flows => return Err(error),
                Err(_) => {
                    // It could be another batch after a restart. The batches of what is complete are the same then.
                    self.complete_active(choice.lane.segment);
                    continue;
                }
                Ok(admitted) => admitted,
            };
            let Some(admitted) = admitted else { continue };
            if flows {
                self.look_ahead(&choice, collected.end, admitted);
            }
            if admitted.ask_to_settle {
                self.ask(Job::SettleSoon);
            }
            let partition = Partition { queue: self.clone(), key: key.clone() };
            let mut batch = batch_of(partition, choice.lane, choice.start, *collected);
            batch.parked = asked.purpose() == Purpose::Trial;
            batch.deferred = admitted.deferred;
            return Ok(Next::Batch(Box::new(batch)));
        }
    }

    fn choose(&self, key: &str, asked: Asked) -> Option<Choice> {
        self.index.lock().choose(key, asked)
    }

    /// For how much longer a batch waits for more records, if it does.
    fn lingers_for(&self, segment: &Segment, choice: &Choice, now: SystemTime) -> Option<Duration> {
        let limits = self.config.batch;
        let available = segment.available(choice.lane.lane, &choice.waiting(), &limits);
        let age = now.duration_since(system_time(available.oldest)).unwrap_or_default();
        let left = limits.linger.saturating_sub(age);
        (!available.fills(&limits) && !left.is_zero()).then_some(left)
    }

    fn is_expired(&self, collected: &Collected, now: SystemTime) -> bool {
        let limits = &self.config.limits;
        let last_appended_at = system_time(collected.last_appended_at);
        let age = now.duration_since(last_appended_at).unwrap_or_default();
        limits.max_age.is_some_and(|max_age| age > max_age)
            || limits.not_before.is_some_and(|not_before| last_appended_at < not_before)
    }

    /// Puts a batch in flight, unless the choice does not hold any more. Where its end does not follow from what is stored, it is
    /// on disk before.
    fn admit(&self, key: &Arc<str>, asked: Asked, choice: &Choice, end: u64) -> Result<Option<Admitted>, SpoolError> {
        match self.index.lock().admit(key, asked, choice, end, Ending::Stored) {
            Admission::Admitted(admitted) => return Ok(Some(admitted)),
            Admission::Outdated => return Ok(None),
            Admission::UnknownEnd => {}
        }
        self.with_cursors(|cursors| {
            let index = self.index.lock();
            let before = if index.holds(key, asked, choice, end) { index.cursor(key, choice.lane) } else { None };
            drop(index);
            let Some(before) = before else { return Ok(None) };
            let mut cursor = before.clone();
            asked.purpose().fix_ends(&mut cursor, &(choice.start..end));
            self.persist(cursors, &[(choice.lane, cursor, before)])?;
            let mut index = self.index.lock();
            match index.admit(key, asked, choice, end, Ending::Written) {
                Admission::Admitted(admitted) => Ok(Some(admitted)),
                Admission::Outdated | Admission::UnknownEnd => {
                    index.keep_ends(key, choice.lane, asked.purpose(), &(choice.start..end));
                    Ok(None)
                }
            }
        })
    }

    /// Has the disk read in time that will be asked for next.
    fn look_ahead(&self, choice: &Choice, end: u64, admitted: Admitted) {
        if admitted.has_ready {
            self.wake();
        }
        if admitted.is_only && choice.complete && end < choice.end {
            // While the request is in flight.
            self.ask(Job::ReadAhead { lane: choice.lane, start: end, end: choice.end });
        }
        if let Some(next) = admitted.next_segment
            && self.read_cache.lock().peek(next).is_none()
        {
            self.ask(Job::Prefetch(next));
        }
    }
}

/// A batch of the records that were collected from `start` on.
fn batch_of(partition: Partition, lane: LaneId, start: u64, collected: Collected) -> Batch {
    let span = start..collected.end;
    Batch {
        id: format!("{:016x}.{}-{}-{}", lane.segment.random, lane.lane, span.start, span.end - 1),
        partition,
        records: collected.records,
        in_order: collected.in_order,
        content_encoding: collected.body.is_gzip().then_some("gzip"),
        body: collected.body.finish().into(),
        places: collected.places.into(),
        content_type: collected.content_type,
        response_protocol: collected.response_protocol,
        parked: false,
        deferred: 0,
        lane,
        span,
        first_timestamp: collected.first_timestamp,
        last_timestamp: collected.last_timestamp,
        appended_at: collected.appended_at,
    }
}

/// Reading.
impl Queue {
    /// A segment, opened for reading if it is not open.
    pub(super) fn open_segment(&self, id: SegmentId) -> Result<Arc<Segment>, SpoolError> {
        let mut cache = self.read_cache.lock();
        loop {
            if let Some(segment) = cache.get(id) {
                return Ok(segment);
            }
            if cache.phase(id).is_none() {
                break;
            }
            cache = cache.wait(&self.phase_ended);
        }
        let frames = self.index.lock().frames(id).ok_or(SpoolError::Closed)?;
        let opening = self.enter_phase(cache, id, Phase::Opening);
        self.dir.check_in_place()?;
        let path = self.dir.segment(id);
        let (segment, whole) = self.reading(id, |errors| Segment::open(&path, id, frames, errors))?;
        let segment = Arc::new(segment);
        let closed = self.read_cache.lock().add_opened(id, segment.clone(), whole);
        drop(opening);
        drop(closed);
        if !whole {
            self.report_event(SpoolEvent::SegmentDamaged { segment: id.number });
        }
        Ok(segment)
    }

    /// Reads a segment. Errors of the disk are errors, until they have lasted for so long that it will hardly get well.
    pub(super) fn reading<T>(
        &self,
        id: SegmentId,
        read: impl FnOnce(ReadErrors) -> Result<T, SpoolError>,
    ) -> Result<T, SpoolError> {
        let unreadable_since = self.read_cache.lock().unreadable_since(id);
        let result = read(if is_given_up(unreadable_since) { ReadErrors::Skip } else { ReadErrors::Fail });
        self.note_read(id, unreadable_since, &result);
        result
    }

    fn note_read<T>(&self, id: SegmentId, unreadable_since: Option<Instant>, result: &Result<T, SpoolError>) {
        let was_readable = unreadable_since.is_none() || is_given_up(unreadable_since);
        let closed = match result {
            Ok(_) if was_readable => None,
            Ok(_) => {
                self.read_cache.lock().note_readable(id);
                None
            }
            Err(error) => self.read_cache.lock().note_unreadable(id, says_damaged(error)),
        };
        drop(closed);
    }

    /// Reads the batch that was chosen, if it was not read ahead.
    fn read(&self, segment: &Segment, choice: &Choice) -> Result<Collection, SpoolError> {
        let (LaneId { segment: id, lane }, waiting) = (choice.lane, choice.waiting());
        let mut cache = self.read_cache.lock();
        let buffer = loop {
            match cache.start_reading(choice.lane, waiting.start, waiting.end) {
                Reading::Done(collected) => return Ok(Collection::Batch(collected)),
                Reading::Wait => cache = cache.wait(&self.phase_ended),
                Reading::Read(buffer) => break buffer,
            }
        };
        let unreadable_since = cache.unreadable_since(id);
        drop(cache);
        let result = segment.collect(lane, &waiting, buffer);
        self.note_read(id, unreadable_since, &result);
        result
    }

    /// Makes the body that will be asked for next, up to the record `end`.
    pub(super) fn read_ahead(&self, lane: LaneId, start: u64, end: u64) {
        let begun = self.read_cache.lock().start_reading_ahead(lane, start);
        let Some((segment, buffer)) = begun else { return };
        let mut ahead = ReadingAhead { queue: self, collected: None };
        // An error is reported by who needs the batch.
        if let Ok(Collection::Batch(collected)) = segment.collect(lane.lane, &(start..end), buffer) {
            ahead.collected = Some(collected);
        }
    }
}

/// The reading of a batch ahead. However that ends, who waits for the batch goes on when this is dropped.
struct ReadingAhead<'a> {
    queue: &'a Queue,
    collected: Option<Box<Collected>>,
}

impl Drop for ReadingAhead<'_> {
    fn drop(&mut self) {
        self.queue.read_cache.lock().finish_reading_ahead(self.collected.take());
        self.queue.phase_ended.notify_all();
    }
}

/// How a batch ends.
impl Queue {
    /// Writes where the batches of lanes end, as safe as the records are: what is sent under an id must be the same ever after.
    /// `changes` has a lane, its cursor, and the one before. On a disk that takes it and does not sync it, it survives a kill
    /// only. After an error it is as it was before.
    pub(super) fn persist(
        &self,
        cursors: &mut CursorStore,
        changes: &[(LaneId, LaneCursor, LaneCursor)],
    ) -> Result<(), SpoolError> {
        cursors.put(changes.iter().map(|(lane, cursor, _)| (*lane, cursor.clone())));
        let mut written = cursors.write_out();
        // Where the file system copies on write, that takes new blocks.
        if written.as_ref().is_err_and(SpoolError::is_full) && self.dir.give_ballast() {
            written = cursors.write_out();
        }
        if written.is_err() && changes.iter().all(|(lane, cursor, _)| cursors.written_lane(*lane) == *cursor) {
            written = Ok(());
        }
        if written.is_err() {
            // Or it would be written with what is written next.
            cursors.put(changes.iter().map(|(lane, _, before)| (*lane, before.clone())));
        } else if self.config.durability == Durability::Sync {
            let segments: BTreeSet<_> = changes.iter().map(|(lane, ..)| lane.segment).collect();
            for segment in segments {
                // Without that it survives a kill all the same, so there is no way back.
                let _ = cursors.sync(segment);
            }
        }
        written
    }

    /// Cuts a batch where these records begin: its parts come in its place, under ids of their own, or are parked if it was.
    ///
    /// # Errors
    ///
    /// If that cannot be kept: the batch is not cut then, or after a restart the whole could follow its part.
    fn cut(&self, batch: &Batch, points: &[u64]) -> Result<(), SpoolError> {
        let (key, lane, span) = (&batch.partition.key, batch.lane, &batch.span);
        self.with_cursors(|cursors| {
            let before = self.index.lock().cursor_of_given_out(key, lane, span);
            let Some(before) = before else { return Ok(()) };
            let mut cursor = before.clone();
            cursor.cut(span, points);
            self.persist(cursors, &[(lane, cursor, before)])?;
            self.index.lock().cut(key, lane, span, points);
            Ok(())
        })
    }

    /// See [`Batch::ack_up_to`].
    fn ack_up_to(&self, batch: &Batch, records: u64) -> Result<bool, SpoolError> {
        let (key, lane, span) = (&batch.partition.key, batch.lane, &batch.span);
        let end = span.start.saturating_add(records);
        if !batch.knows_positions() || end > span.end {
            return Ok(false);
        }
        let acked = self.with_cursors(|cursors| {
            let before = self.index.lock().cursor_of_given_out(key, lane, span);
            let Some(before) = before else { return Ok(None) };
            let mut cursor = before.clone();
            cursor.fix_end(span.end);
            cursor.ack(&(span.start..end));
            self.persist(cursors, &[(lane, cursor, before)])?;
            Ok(self.index.lock().ack(key, lane, span, end))
        })?;
        if let Some(acked) = acked {
            self.finish_ack(lane, acked);
        }
        Ok(true)
    }

    /// Goes on behind records that will not be delivered, of which `whole` can be read. Returns how many of those did not
    /// just report gaps, which are reported again; `None` if the choice does not hold any more.
    fn skip(&self, key: &Arc<str>, asked: Asked, choice: &Choice, end: u64, whole: u64) -> Option<u64> {
        let span = choice.start..end;
        let mut index = self.index.lock();
        // Put in flight first, as what is delivered: others of the lane may be.
        let admitted = match index.admit(key, asked, choice, end, Ending::Stored) {
            Admission::Admitted(admitted) => admitted,
            Admission::Outdated => return None,
            Admission::UnknownEnd => {
                drop(index);
                // Where others begin behind it must be the same after a restart.
                self.complete_active(choice.lane.segment);
                return None;
            }
        };
        let mut delivered = index.ack(key, choice.lane, &span, end)?;
        delivered.ask_to_settle |= admitted.ask_to_settle;
        let unreported = index.take_reported(choice.lane.segment, key, &span);
        drop(index);
        self.finish_ack(choice.lane, delivered);
        let reports = unreported.len() as u64;
        self.report_again(unreported);
        self.lose(key, LossReason::Corrupt, (end - choice.start).saturating_sub(whole.max(reports)), None);
        Some(whole.saturating_sub(reports))
    }

    /// Has a cursor written that an acknowledgement changed, and its segment deleted if that is delivered.
    pub(super) fn finish_ack(&self, lane: LaneId, acked: Acked) {
        if acked.ask_to_settle {
            self.ask(Job::SettleSoon);
        }
        if acked.segment_delivered {
            self.ask(Job::Remove(lane.segment));
        }
        self.note_news();
        self.progress.notify_all();
    }

    /// Has a cursor written that changed, and the partition given out that may go on.
    fn finish_change(&self, changed: Changed) {
        if changed.ask_to_settle {
            self.ask(Job::SettleSoon);
        }
        self.wake();
    }

    /// Puts some of a batch's records into the rejected store, each as if it had been sent alone. False, and nothing, if it
    /// is not known which they are, because damage took others or the body has them in another order.
    fn reject_some(
        &self,
        batch: &Batch,
        rejections: &[Rejection<'_>],
        status: u16,
        now: SystemTime,
    ) -> Result<bool, SpoolError> {
        if !batch.knows_positions() {
            return Ok(false);
        }
        let segment = self.open_segment(batch.lane.segment)?;
        let mut records = Vec::with_capacity(rejections.len());
        for Rejection { record: at, response } in rejections {
            let number = batch.span.start.saturating_add(*at as u64);
            if !batch.span.contains(&number) {
                return Ok(false);
            }
            let collected = segment.collect(batch.lane.lane, &(number..number + 1), Vec::new())?;
            let Collection::Batch(collected) = collected else { return Ok(false) };
            let alone = batch_of(batch.partition.clone(), batch.lane, number, *collected);
            records.push(rejected_record(&alone, status, response, now));
        }
        self.rejected.put(&records).map(|()| true)
    }
}

/// A batch as it is kept in the rejected store.
pub(super) fn rejected_record(batch: &Batch, status: u16, response: &str, now: SystemTime) -> RejectedRecord {
    RejectedRecord {
        signal: batch.partition.queue.config.signal.name().to_owned(),
        batch_id: batch.id.clone(),
        partition_key: batch.partition.to_string(),
        status,
        response: rejected::start_of(response),
        rejected_at: now,
        content_type: batch.content_type.clone(),
        response_protocol: batch.response_protocol,
        records: batch.records,
        inferred: false,
        body: batch.plain_body(),
    }
}
