//! The buffer of records that are not on disk yet: the threads that log fill it, the commit thread empties it.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use crate::encode::blocks::{Blocks, Encoded};
use crate::encode::framing::Framing;
use crate::observe::loss::LossReason;
#[cfg(feature = "self-metrics")]
use crate::observe::processor_metrics::ObservedQueue;
use crate::observe::stats::ProcessorCounts;
use crate::process::check_process;
use crate::spool::Unreported;

/// The bytes that start a commit before the delay is over.
const WORTH_A_COMMIT: usize = 1 << 20;

/// The time until a failed commit is retried.
const RETRY_AFTER: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
pub(crate) struct BufferLimits {
    pub(crate) max_bytes: usize,
    pub(crate) commit_delay: Duration,
    pub(crate) max_wait: Duration,
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
}

pub(crate) struct Buffer {
    limits: BufferLimits,
    pub(crate) counts: ProcessorCounts,
    state: Mutex<State>,
    /// Wakes the commit thread: there is something to do.
    work: Condvar,
    /// Wakes emitting threads: there may be room.
    room: Condvar,
    /// Wakes flushing threads: a commit ended, well or not.
    outcome: Condvar,
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
    pub(crate) fn new(limits: BufferLimits, framing: Framing) -> Self {
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
        };
        let (counts, state) = (ProcessorCounts::default(), Mutex::new(state));
        Self { limits, counts, state, work: Condvar::new(), room: Condvar::new(), outcome: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // --- the threads that log -----------------------------------------------------------------------------------------

    pub(crate) fn add(&self, key: &str, record: Encoded<'_>) -> Added {
        let mut state = match self.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(error)) => error.into_inner(),
            // In a forked process the lock may be held for ever.
            Err(TryLockError::WouldBlock) if check_process().is_err() => return Added::Ignored,
            Err(TryLockError::WouldBlock) => self.lock(),
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
        blocks.push(key, record, framing.separator());
        state.added_bytes += (state.blocks.bytes() - before) as u64;
        state.added += 1;
        if state.blocks.bytes() >= state.wake_at {
            state.wake_at = usize::MAX;
            drop(state);
            self.work.notify_one();
        }
        Added::Kept
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
        self.lock().framing = framing;
    }

    // --- the thread that commits --------------------------------------------------------------------------------------

    /// Waits for records to commit; `None` when the buffer is stopped and empty. `spare` is filled next.
    pub(crate) fn take(&self, spare: Blocks) -> Option<Commit> {
        let mut state = self.lock();
        loop {
            if state.is_empty() {
                if state.stopping {
                    return None;
                }
                state.wake_at = 1;
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let left = self.time_to_fill(&state);
            if left.is_zero() {
                break;
            }
            state.wake_at = self.worth_a_commit();
            state = self.work.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.wake_at = usize::MAX;
        state.since = None;
        self.counts.processed.add(state.added - state.taken);
        state.taken = state.added;
        state.committing = state.blocks.bytes();
        state.losing = !state.unreported.is_empty();
        let blocks = std::mem::replace(&mut state.blocks, spare);
        Some(Commit { blocks, framing: state.framing.clone(), unreported: std::mem::take(&mut state.unreported) })
    }

    fn worth_a_commit(&self) -> usize {
        (self.limits.max_bytes / 4).min(WORTH_A_COMMIT)
    }

    /// The time for which records may still gather.
    fn time_to_fill(&self, state: &State) -> Duration {
        let now = state.blocks.bytes() >= self.worth_a_commit()
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

    /// Notes that the records that were taken are on disk.
    pub(crate) fn committed(&self) {
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
