//! The buffer of records that are not on disk yet: the threads that log fill it, the commit thread empties it.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use crate::encode::blocks::{Blocks, Encoded, RunAt};
use crate::encode::framing::Framing;
use crate::exporter::spool_processor::journaling::{Journaled, Journaling, SLOW, Turn};
use crate::observe::event::{Events, SpoolEvent};
use crate::observe::loss::LossReason;
#[cfg(feature = "self-metrics")]
use crate::observe::processor_metrics::ObservedQueue;
use crate::observe::stats::{Counters, ProcessorCounts};
use crate::process::check_process;
use crate::spool::{Journal, Unreported};

/// The most bytes that wait until the delay is over.
const WORTH_A_COMMIT: usize = 1 << 20;

/// Why a journal is suspended while somebody waits for another one's write.
const HANGS: &str = "a write hangs";

/// The time until a failed commit is retried.
const RETRY_AFTER: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
pub(crate) struct BufferLimits {
    pub(crate) max_bytes: usize,
    pub(crate) commit_delay: Duration,
    pub(crate) max_wait: Duration,
}

impl BufferLimits {
    /// The bytes that start a commit before the delay is over.
    pub(crate) fn worth_a_commit(&self) -> usize {
        (self.max_bytes / 4).min(WORTH_A_COMMIT)
    }
}

/// The outcome of adding a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Added {
    Kept,
    /// There was no room, so the record is lost: `first` if it is the first loss since there was room.
    Lost {
        first: bool,
    },
    /// The buffer is stopped: no commit would follow.
    Ignored,
}

/// The reason why a flush failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unflushed {
    Stopped,
    Timeout,
    Failed(String),
}

/// The records of one commit.
#[derive(Debug)]
pub(crate) struct Commit {
    pub(crate) blocks: Blocks,
    pub(crate) framing: Framing,
    /// The losses since the last commit.
    pub(crate) unreported: Unreported,
    /// Their journal, if any of them is in it.
    pub(crate) journaled: Option<Journaled>,
}

/// The journal of a buffer.
pub(crate) struct JournalOf {
    pub(crate) journal: Arc<Journal>,
    pub(crate) events: Arc<Events>,
    pub(crate) counters: Arc<Counters>,
}

pub(crate) struct Buffer {
    limits: BufferLimits,
    journal: Option<JournalOf>,
    pub(crate) counts: ProcessorCounts,
    state: Mutex<State>,
    /// Wakes the commit thread: there is something to do.
    work: Condvar,
    /// Wakes emitting threads: there may be room.
    room: Condvar,
    /// Wakes flushing threads: a commit ended, well or not.
    outcome: Condvar,
    /// Wakes emitting threads: a write to the journal ended.
    turn: Condvar,
}

struct State {
    blocks: Blocks,
    framing: Framing,
    /// The time when the first record of `blocks` came.
    since: Option<Instant>,
    /// The size of the records that are being committed.
    committing: usize,
    /// Counts of records so far: added; of these taken for a commit; of these done with.
    added: u64,
    /// The size of all that were added.
    added_bytes: u64,
    taken: u64,
    done: u64,
    /// The bytes in `blocks` at which the commit thread is woken.
    wake_at: usize,
    /// The number of emitting threads that wait for room.
    waiting: usize,
    /// An emitting thread waited in vain, and no commit has succeeded since.
    stalled: bool,
    /// The number of failed commits; the reason, if the last one failed.
    failures: u64,
    failure: Option<String>,
    /// A flush waits until everything up to this count is committed.
    flush_to: u64,
    /// Counted up whenever a failed commit is to be retried at once.
    flushes: u64,
    /// The losses that are not reported yet.
    unreported: Unreported,
    /// Whether losses are noted here or in the commit that was taken last: another one is not the first, and wakes
    /// nobody.
    losing: bool,
    stopping: bool,
    journaling: Option<Journaling>,
    /// The number of threads that wait for another one's write to the journal.
    waiting_to_write: usize,
}

impl State {
    fn has_room(&self, bytes: usize, max_bytes: usize) -> bool {
        let held = self.blocks.bytes() + self.committing;
        held == 0 || held.saturating_add(bytes) <= max_bytes
    }

    /// Whether waiting for room makes sense.
    fn moves(&self) -> bool {
        !self.stalled && !self.stopping && self.failure.is_none()
    }

    fn is_empty(&self) -> bool {
        self.blocks.records() == 0 && self.unreported.is_empty()
    }
}

impl Buffer {
    /// The journal's generation is stored in segments from `least_segment` on.
    pub(crate) fn new(limits: BufferLimits, framing: Framing, journal: Option<JournalOf>, least_segment: u64) -> Self {
        let journaling = journal.as_ref().map(|of| Journaling::new(&of.journal, least_segment, &framing));
        let state = State {
            blocks: Blocks::default(),
            framing,
            since: None,
            committing: 0,
            added: 0,
            added_bytes: 0,
            taken: 0,
            done: 0,
            wake_at: usize::MAX,
            waiting: 0,
            stalled: false,
            failures: 0,
            failure: None,
            flush_to: 0,
            flushes: 0,
            unreported: Unreported::default(),
            losing: false,
            stopping: false,
            journaling,
            waiting_to_write: 0,
        };
        Self {
            limits,
            journal,
            counts: ProcessorCounts::default(),
            state: Mutex::new(state),
            work: Condvar::new(),
            room: Condvar::new(),
            outcome: Condvar::new(),
            turn: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` if somebody has the lock.
    fn try_lock(&self) -> Option<MutexGuard<'_, State>> {
        match self.state.try_lock() {
            Ok(state) => Some(state),
            Err(TryLockError::Poisoned(error)) => Some(error.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    // --- the threads that log -----------------------------------------------------------------------------------------

    pub(crate) fn add(&self, key: &str, record: Encoded<'_>) -> Added {
        // In a forked process it would write to the file of another one.
        if self.journal.is_some() && check_process().is_err() {
            return Added::Ignored;
        }
        let mut state = match self.try_lock() {
            Some(state) => state,
            // In a forked process the lock may be held for ever.
            None if check_process().is_err() => return Added::Ignored,
            None => self.lock(),
        };
        if state.stopping {
            return Added::Ignored;
        }
        let bytes = record.len();
        if !state.has_room(bytes, self.limits.max_bytes) {
            state = self.wait_for_room(state, bytes);
            // A stop does not wait for threads that wait.
            if state.stopping || !state.has_room(bytes, self.limits.max_bytes) {
                state.unreported.add_record(key, LossReason::BufferFull, record.timestamp);
                let first = !std::mem::replace(&mut state.losing, true);
                drop(state);
                if first {
                    self.work.notify_one();
                }
                return Added::Lost { first };
            }
        }
        if state.since.is_none() {
            state.since = Some(Instant::now());
        }
        let State { blocks, framing, .. } = &mut *state;
        let before = blocks.bytes();
        let run = blocks.push(key, record, framing.separator());
        state.added_bytes += (state.blocks.bytes() - before) as u64;
        state.added += 1;
        let wakes = state.blocks.bytes() >= state.wake_at;
        if wakes {
            state.wake_at = usize::MAX;
        }
        if let Some(of) = &self.journal {
            // Before the write, which may hang.
            if wakes {
                self.work.notify_one();
            }
            self.write_to_journal(of, state, key, run, record);
        } else {
            drop(state);
            if wakes {
                self.work.notify_one();
            }
        }
        Added::Kept
    }

    /// Returns when a record is in the journal, or is known not to come there.
    fn write_to_journal<'a>(
        &'a self,
        of: &JournalOf,
        mut state: MutexGuard<'a, State>,
        key: &str,
        run: RunAt,
        record: Encoded<'_>,
    ) {
        let Some(journaling) = &mut state.journaling else { return };
        let ticket = journaling.add(key, run, record);
        let (mut suspended, mut deadline) = (None, None);
        let is_written = loop {
            let Some((journaling, ticket)) = state.journaling.as_mut().zip(ticket) else { break false };
            if let Some(is_written) = journaling.is_written(ticket) {
                break is_written;
            }
            if let Some(turn) = journaling.begin_turn() {
                (state, suspended) = self.take_turn(of, state, turn);
                continue;
            }
            let left = left_until(*deadline.get_or_insert_with(|| Instant::now().checked_add(self.patience())));
            if left.is_zero() {
                suspended = journaling.suspend(HANGS.to_owned());
                self.turn.notify_all();
                break false;
            }
            state = self.wait_for_write(state, left);
        };
        drop(state);
        if !is_written {
            of.counters.not_journaled_records.add(1);
        }
        if let Some(reason) = suspended {
            of.events.report(SpoolEvent::JournalSuspended { reason });
        }
    }

    /// How long one waits for another one's write to the journal.
    fn patience(&self) -> Duration {
        self.limits.max_wait.max(SLOW)
    }

    /// Writes to the journal without the lock. Returns the cause if nothing is written there from now on.
    fn take_turn<'a>(
        &'a self,
        of: &JournalOf,
        state: MutexGuard<'a, State>,
        turn: Turn,
    ) -> (MutexGuard<'a, State>, Option<String>) {
        drop(state);
        let result = turn.write(&of.journal);
        let mut state = self.lock();
        let ended = state.journaling.as_mut().map(|journaling| journaling.end_turn(turn, result));
        if let Some(file) = ended.as_ref().and_then(|ended| ended.reset) {
            // Nothing begins in that file until then, and its segment stays.
            drop(state);
            of.journal.reset(file);
            state = self.lock();
        }
        if state.waiting_to_write > 0 {
            self.turn.notify_all();
        }
        (state, ended.and_then(|ended| ended.suspended))
    }

    fn wait_for_room<'a>(&'a self, mut state: MutexGuard<'a, State>, bytes: usize) -> MutexGuard<'a, State> {
        // In a forked process no thread makes room.
        if self.limits.max_wait.is_zero() || check_process().is_err() {
            return state;
        }
        let deadline = Instant::now().checked_add(self.limits.max_wait);
        state.waiting += 1;
        self.work.notify_one();
        while state.moves() && !state.has_room(bytes, self.limits.max_bytes) {
            let left = left_until(deadline);
            if left.is_zero() {
                state.stalled = true;
                break;
            }
            state = self.room.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.waiting -= 1;
        state
    }

    /// Waits until everything that was added before is committed.
    pub(crate) fn flush(&self, timeout: Duration) -> Result<(), Unflushed> {
        let deadline = Instant::now().checked_add(timeout);
        let mut state = self.lock();
        if state.stopping {
            return Err(Unflushed::Stopped);
        }
        let (target, failures) = (state.added, state.failures);
        state.flush_to = target;
        state.flushes += 1;
        self.work.notify_one();
        loop {
            if let Some(reason) = state.failure.as_ref().filter(|_| state.failures != failures) {
                return Err(Unflushed::Failed(reason.clone()));
            }
            if state.done >= target {
                return Ok(());
            }
            let left = left_until(deadline);
            if left.is_zero() {
                return Err(Unflushed::Timeout);
            }
            state = self.outcome.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Has the commit thread commit the rest and end. Nothing is added any more.
    pub(crate) fn stop(&self) {
        self.lock().stopping = true;
        self.work.notify_one();
        self.room.notify_all();
    }

    /// Sets the framing of all records. Called before the first one.
    pub(crate) fn set_framing(&self, framing: Framing) {
        let mut state = self.lock();
        if let Some((of, journaling)) = self.journal.as_ref().zip(state.journaling.as_mut()) {
            journaling.set_framing(&of.journal, &framing);
        }
        state.framing = framing;
    }

    /// Has what was added so far committed soon, without waiting for it.
    pub(crate) fn commit_soon(&self) {
        let mut state = self.lock();
        state.flush_to = state.added;
        drop(state);
        self.work.notify_one();
    }

    /// The same for a thread that may wait for no lock. Returns a count of records; `None` if somebody has the lock.
    pub(crate) fn try_commit_soon(&self) -> Option<u64> {
        let mut state = self.try_lock()?;
        let added = state.added;
        state.flush_to = added;
        drop(state);
        self.work.notify_one();
        Some(added)
    }

    /// Whether so many records are committed; `None` if somebody has the lock.
    pub(crate) fn try_has_committed(&self, records: u64) -> Option<bool> {
        self.try_lock().map(|state| state.done >= records)
    }

    // --- the thread that commits --------------------------------------------------------------------------------------

    /// Waits for records to commit; `None` when the buffer is stopped and empty. `spare` is filled next; what comes then is stored in
    /// segments from `least_segment` on.
    pub(crate) fn take(&self, spare: Blocks, least_segment: u64) -> Option<Commit> {
        // Records mostly come again soon: whoever logs the first of them need not wake this thread then.
        let rests_until = Instant::now().checked_add(self.limits.commit_delay);
        let mut state = self.lock();
        loop {
            if state.is_empty() {
                if state.stopping {
                    return None;
                }
                let left = left_until(rests_until);
                state.wake_at = if left.is_zero() { 1 } else { self.limits.worth_a_commit() };
                let wait = if left.is_zero() { Duration::MAX } else { left };
                state = self.work.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            let left = self.time_to_fill(&state);
            if left.is_zero() {
                break;
            }
            state.wake_at = self.limits.worth_a_commit();
            state = self.work.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state = self.wait_for_turn(state);
        state.wake_at = usize::MAX;
        state.since = None;
        self.counts.processed.add(state.added - state.taken);
        state.taken = state.added;
        state.committing = state.blocks.bytes();
        state.losing = !state.unreported.is_empty();
        let (blocks, framing) = (std::mem::replace(&mut state.blocks, spare), state.framing.clone());
        let unreported = std::mem::take(&mut state.unreported);
        // Losses alone are in no journal.
        let journaled = if blocks.records() > 0 { self.rotate(state, least_segment) } else { None };
        Some(Commit { blocks, framing, unreported, journaled })
    }

    /// Waits until nobody writes to the journal, if there is one; not for a write that hangs.
    fn wait_for_turn<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let deadline = Instant::now().checked_add(self.patience());
        while let Some(journaling) = state.journaling.as_mut().filter(|journaling| journaling.is_writing()) {
            journaling.set_rotating(true);
            let left = left_until(deadline);
            if left.is_zero() {
                break;
            }
            state = self.wait_for_write(state, left);
        }
        state
    }

    /// Waits until a write to the journal ends, or the time is up.
    fn wait_for_write<'a>(&'a self, mut state: MutexGuard<'a, State>, timeout: Duration) -> MutexGuard<'a, State> {
        state.waiting_to_write += 1;
        state = self.turn.wait_timeout(state, timeout).unwrap_or_else(PoisonError::into_inner).0;
        state.waiting_to_write -= 1;
        state
    }

    /// Begins the journal of the next records. Returns that of the ones which were taken.
    fn rotate<'a>(&'a self, mut state: MutexGuard<'a, State>, least_segment: u64) -> Option<Journaled> {
        let of = self.journal.as_ref()?;
        let State { journaling, framing, .. } = &mut *state;
        let journaling = journaling.as_mut()?;
        journaling.set_rotating(false);
        let mut suspended = None;
        if journaling.is_writing() {
            suspended = journaling.suspend(HANGS.to_owned());
        }
        let (journaled, rest, has_resumed) = journaling.rotate(&of.journal, least_segment, framing);
        if let Some(turn) = rest {
            (state, suspended) = self.take_turn(of, state, turn);
        }
        if state.waiting_to_write > 0 {
            self.turn.notify_all();
        }
        drop(state);
        if has_resumed {
            of.events.report(SpoolEvent::JournalResumed);
        }
        if let Some(reason) = suspended {
            of.events.report(SpoolEvent::JournalSuspended { reason });
        }
        journaled
    }

    /// The time for which records may still gather.
    fn time_to_fill(&self, state: &State) -> Duration {
        let now = state.blocks.bytes() >= self.limits.worth_a_commit()
            || state.waiting > 0
            || state.flush_to > state.taken
            || state.stopping
            || !state.unreported.is_empty();
        let waited = state.since.map_or(Duration::ZERO, |since| since.elapsed());
        if now { Duration::ZERO } else { self.limits.commit_delay.saturating_sub(waited) }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.lock().stopping
    }

    /// Says in the journal that the records of a file are in the spool: now, or when the write that hangs there has ended.
    pub(crate) fn reset_journal(&self, file: usize) {
        let Some(of) = &self.journal else { return };
        let mut state = self.lock();
        let may_reset = state.journaling.as_mut().is_none_or(|journaling| journaling.may_reset(file));
        if may_reset {
            drop(state);
            of.journal.reset(file);
        } else {
            of.journal.defer_reset(file);
        }
    }

    /// The records that a file of the journal has, by partition.
    pub(crate) fn journaled_records(&self, file: usize) -> HashMap<String, u64> {
        self.journal.as_ref().map(|of| of.journal.records(file)).unwrap_or_default()
    }

    /// Writes nothing to the journal any more.
    pub(crate) fn end_journaling(&self) {
        self.lock().journaling.as_mut().map(Journaling::end);
    }

    /// Gives the journal up, and keeps the files whose records could not be committed.
    pub(crate) fn close_journal(&self, kept: [bool; 2]) {
        if let Some(of) = &self.journal {
            of.journal.close(kept);
        }
    }

    /// Notes that the records that were taken are on disk, if there were any.
    pub(crate) fn committed(&self, any: bool) {
        let mut state = self.lock();
        state.failure = None;
        if let Some(journaling) = state.journaling.as_mut().filter(|_| any) {
            journaling.note_committed();
        }
        self.be_done(state);
    }

    /// Notes that the records that were taken stay in the journal, for the next process.
    pub(crate) fn kept(&self) {
        let mut state = self.lock();
        state.failure = None;
        self.be_done(state);
    }

    /// Notes that the records that were taken are lost.
    pub(crate) fn lost(&self, reason: String) {
        let mut state = self.lock();
        state.failures += 1;
        state.failure = Some(reason);
        self.be_done(state);
    }

    fn be_done(&self, mut state: MutexGuard<'_, State>) {
        state.done = state.taken;
        state.committing = 0;
        state.stalled = false;
        drop(state);
        self.room.notify_all();
        self.outcome.notify_all();
    }

    /// Notes that the records that were taken could not be committed. Returns when it is time to retry.
    pub(crate) fn failed(&self, reason: String) {
        let retry_at = Instant::now() + RETRY_AFTER;
        let mut state = self.lock();
        state.failures += 1;
        state.failure = Some(reason);
        self.room.notify_all();
        self.outcome.notify_all();
        let flushes = state.flushes;
        while !state.stopping && state.flushes == flushes {
            let left = left_until(Some(retry_at));
            if left.is_zero() {
                return;
            }
            state = self.work.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The reason why the last commit failed, if it did.
    pub(crate) fn failure(&self) -> Option<String> {
        self.lock().failure.clone()
    }
}

#[cfg(feature = "self-metrics")]
impl ObservedQueue for Buffer {
    fn counts(&self) -> &ProcessorCounts {
        &self.counts
    }

    fn records(&self) -> u64 {
        let state = self.lock();
        state.added - state.done
    }

    fn bytes(&self) -> u64 {
        let state = self.lock();
        (state.blocks.bytes() + state.committing) as u64
    }

    fn max_bytes(&self) -> u64 {
        self.limits.max_bytes as u64
    }

    fn max_records(&self) -> Option<u64> {
        let state = self.lock();
        let (added, bytes) = (u128::from(state.added), u128::from(state.added_bytes));
        let records = (self.limits.max_bytes as u128 * added).checked_div(bytes)?;
        // A record larger than the buffer is taken while it is empty.
        Some(u64::try_from(records).unwrap_or(u64::MAX).max(1))
    }
}

/// The time until a deadline. A deadline that no clock can hold is `None`, and never comes.
fn left_until(deadline: Option<Instant>) -> Duration {
    deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()))
}
