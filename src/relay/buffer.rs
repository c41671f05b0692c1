//! The buffer of a signal: records that are not on disk yet. Listeners fill it, the commit thread empties it.
//!
//! There are two kinds of records in it. *Loose* ones stay until they are committed, whatever their client is answered: such clients
//! never send them again. A *load* is the records of a request that its client repeats: it is stored as a whole or not at
//! all, and can be taken out again as long as it is not being written.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::encode::blocks::{Blocks, Encoded};
use crate::encode::framing::Framing;
use crate::observe::loss::LossReason;
use crate::relay::repeats::{Outcome, Storing};
use crate::spool::{LoadId, Unreported};

/// The bytes that start a commit before the delay is over.
const WORTH_A_COMMIT: usize = 1 << 20;

/// The most of the loads in one commit, in bytes: who waits for the next one waits for this one.
const MAX_COMMITTED: usize = 8 << 20;

/// The time until a failed commit is retried.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How long a failed commit says something about the next one.
const FAILURE_COUNTS: Duration = Duration::from_secs(10);

/// The limits of a buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BufferLimits {
    /// The most of encoded records and their bookkeeping, in bytes.
    pub(crate) max_bytes: usize,
    /// The time that records which nobody waits for may take until they are committed.
    pub(crate) commit_delay: Duration,
}

/// The reason why records were not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// There is no room.
    Full,
    /// Commits fail, for this reason.
    Failing(String),
    /// No commit would follow.
    Stopped,
}

/// A load that waits.
pub(crate) struct Waiting {
    pub(crate) blocks: Blocks,
    pub(crate) request: Storing,
}

/// The records of one commit.
pub(crate) struct Commit {
    pub(crate) loose: Blocks,
    pub(crate) loads: Vec<Waiting>,
    pub(crate) framing: Framing,
    /// The losses since the last commit.
    pub(crate) unreported: Unreported,
    number: u64,
}

/// Tells when loose records are on disk.
#[derive(Clone, Debug)]
pub(crate) struct Ticket {
    number: u64,
    committed: watch::Receiver<u64>,
}

impl Ticket {
    /// Waits until they are. False if they will never be.
    pub(crate) async fn committed(mut self) -> bool {
        self.committed.wait_for(|committed| *committed >= self.number).await.is_ok()
    }
}

pub(crate) struct Buffer {
    limits: BufferLimits,
    state: Mutex<State>,
    /// Wakes the commit thread: there is something to do.
    work: Condvar,
    /// The number of the last commit that succeeded.
    committed: watch::Sender<u64>,
}

struct State {
    framing: Framing,
    loose: Blocks,
    loads: VecDeque<Waiting>,
    /// The size of the loads that wait.
    loads_bytes: usize,
    /// The size of the records that are being committed.
    committing: usize,
    /// The number of the commit that the next loose records are part of.
    number: u64,
    /// The time when the first record that waits came.
    since: Option<Instant>,
    /// Somebody waits for the commit.
    urgent: bool,
    /// Why the last commit failed, if it did.
    failure: Option<Failure>,
    unreported: Unreported,
    stopping: bool,
}

/// A commit that failed.
struct Failure {
    reason: String,
    at: Instant,
    /// Loose records are left of it, with which it is retried.
    is_retried: bool,
}

impl State {
    /// The reason why the commit failed that is retried.
    fn retried_failure(&self) -> Option<&str> {
        self.failure.as_ref().filter(|failure| failure.is_retried).map(|failure| failure.reason.as_str())
    }

    fn held(&self) -> usize {
        self.loose.bytes() + self.loads_bytes + self.committing
    }

    fn waiting(&self) -> usize {
        self.loose.bytes() + self.loads_bytes
    }

    fn is_empty(&self) -> bool {
        self.loose.records() == 0 && self.loads.is_empty() && self.unreported.is_empty()
    }
}

impl Buffer {
    pub(crate) fn new(limits: BufferLimits, framing: Framing) -> Self {
        let state = State {
            framing,
            loose: Blocks::default(),
            loads: VecDeque::new(),
            loads_bytes: 0,
            committing: 0,
            number: 1,
            since: None,
            urgent: false,
            failure: None,
            unreported: Unreported::default(),
            stopping: false,
        };
        Self { limits, state: Mutex::new(state), work: Condvar::new(), committed: watch::Sender::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // --- listeners ----------------------------------------------------------------------------------------------------

    /// Adds a loose record.
    ///
    /// # Errors
    ///
    /// If it was not taken: it is lost, and noted as such if there was no room.
    pub(crate) fn add(&self, key: &str, framing: Option<&Framing>, record: Encoded<'_>) -> Result<(), NotTaken> {
        let mut state = self.lock();
        if state.stopping {
            return Err(NotTaken::Stopped);
        }
        let held = state.held();
        if held > 0 && held.saturating_add(record.len()) > self.limits.max_bytes {
            state.unreported.add_record(key, LossReason::BufferFull, record.timestamp);
            // What fills it may be in a commit already: nothing else would have the loss reported.
            state.since.get_or_insert_with(Instant::now);
            return Err(NotTaken::Full);
        }
        let State { loose, framing: of_most, .. } = &mut *state;
        let before = loose.bytes();
        let _ = match framing {
            Some(framing) => loose.push_framed(key, framing, record),
            None => loose.push(key, record, of_most.separator()),
        };
        let was_enough = before >= WORTH_A_COMMIT;
        let is_enough = loose.bytes() >= WORTH_A_COMMIT;
        let first = state.since.is_none();
        if first {
            state.since = Some(Instant::now());
        }
        drop(state);
        if first || (is_enough && !was_enough) {
            self.work.notify_one();
        }
        Ok(())
    }

    /// Has the loose records that were added so far committed at once.
    pub(crate) fn commit_now(&self) -> Ticket {
        let mut state = self.lock();
        state.urgent = true;
        // Without records there is nothing that a commit would be for: the one before is meant.
        let number = if state.loose.records() == 0 { state.number - 1 } else { state.number };
        drop(state);
        self.work.notify_one();
        Ticket { number, committed: self.committed.subscribe() }
    }

    /// Adds a load, to be committed at once.
    ///
    /// # Errors
    ///
    /// If it was not taken. Its client may send it again.
    pub(crate) fn submit(&self, blocks: Blocks, request: Storing) -> Result<(), NotTaken> {
        let bytes = blocks.bytes();
        let mut state = self.lock();
        if state.stopping {
            return Err(NotTaken::Stopped);
        }
        if let Some(reason) = state.retried_failure() {
            return Err(NotTaken::Failing(reason.to_owned()));
        }
        if state.held().saturating_add(bytes) > self.limits.max_bytes {
            return Err(NotTaken::Full);
        }
        state.loads_bytes += bytes;
        state.loads.push_back(Waiting { blocks, request });
        state.since.get_or_insert_with(Instant::now);
        state.urgent = true;
        drop(state);
        self.work.notify_one();
        Ok(())
    }

    /// Takes a load out again. False if it is being written, or was.
    pub(crate) fn take_out(&self, id: LoadId, reason: &str) -> bool {
        let mut state = self.lock();
        let Some(at) = state.loads.iter().position(|load| load.request.id() == id) else { return false };
        let Some(load) = state.loads.remove(at) else { return false };
        state.loads_bytes -= load.blocks.bytes();
        drop(state);
        load.request.end(Outcome::TakenOut(reason.to_owned()));
        true
    }

    /// Notes records that are lost before they come here.
    pub(crate) fn note_lost(&self, reason: LossReason, records: u64) {
        let mut state = self.lock();
        state.unreported.add_records("", reason, records, None);
        let first = state.since.is_none();
        state.since.get_or_insert_with(Instant::now);
        drop(state);
        if first {
            self.work.notify_one();
        }
    }

    /// The reason why the loose records that are being committed could not be written so far.
    pub(crate) fn retried_failure(&self) -> Option<String> {
        self.lock().retried_failure().map(str::to_owned)
    }

    /// The reason why commits fail, while they do. Of what nobody retries here, it is so as long as clients may send it again.
    pub(crate) fn failure(&self) -> Option<String> {
        let state = self.lock();
        let failing = state.failure.as_ref().filter(|last| last.is_retried || last.at.elapsed() < FAILURE_COUNTS);
        failing.map(|failure| failure.reason.clone())
    }

    /// Has the commit thread commit the rest and end. Nothing is added any more.
    pub(crate) fn stop(&self) {
        self.lock().stopping = true;
        self.work.notify_one();
    }

    // --- the thread that commits --------------------------------------------------------------------------------------

    pub(crate) fn is_stopping(&self) -> bool {
        self.lock().stopping
    }

    /// Waits for something to commit. `None` once the buffer is stopped and empty.
    pub(crate) fn take(&self, spare: Blocks) -> Option<Commit> {
        let mut state = self.lock();
        loop {
            if state.stopping && state.is_empty() {
                return None;
            }
            let left = match state.since {
                _ if state.stopping || state.urgent || state.waiting() >= WORTH_A_COMMIT => Duration::ZERO,
                None => Duration::MAX,
                Some(since) => self.limits.commit_delay.saturating_sub(since.elapsed()),
            };
            if left.is_zero() && state.is_empty() {
                // Whoever was waited for is committed, or was taken out.
                (state.urgent, state.since) = (false, None);
                continue;
            }
            if left.is_zero() {
                break;
            }
            state = if left == Duration::MAX {
                self.work.wait(state).unwrap_or_else(PoisonError::into_inner)
            } else {
                self.work.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
            };
        }
        let loose = std::mem::replace(&mut state.loose, spare);
        let mut loads = Vec::new();
        let mut bytes = loose.bytes();
        while let Some(load) = state.loads.front() {
            let size = load.blocks.bytes();
            if !loads.is_empty() && bytes + size > MAX_COMMITTED {
                break;
            }
            bytes += size;
            state.loads_bytes -= size;
            loads.extend(state.loads.pop_front());
        }
        let rest = !state.loads.is_empty();
        state.committing = bytes;
        (state.urgent, state.since) = (rest, rest.then(Instant::now));
        let number = state.number;
        state.number += 1;
        let (framing, unreported) = (state.framing.clone(), std::mem::take(&mut state.unreported));
        Some(Commit { loose, loads, framing, unreported, number })
    }

    /// A commit has succeeded.
    pub(crate) fn succeeded(&self, commit: &Commit) {
        let mut state = self.lock();
        (state.committing, state.failure) = (0, None);
        drop(state);
        for load in &commit.loads {
            load.request.end(Outcome::Committed);
        }
        self.committed.send_replace(commit.number);
    }

    /// A commit has failed: its loads are taken out of it, since their clients send them again. Waits until it is to be retried,
    /// unless no record is left in it.
    pub(crate) fn failed(&self, commit: &mut Commit, reason: &str) {
        // Whether it works again where nobody retries it is seen with the next load.
        let is_retried = commit.loose.records() > 0;
        let at = Instant::now();
        let mut state = self.lock();
        state.committing = commit.loose.bytes();
        state.failure = Some(Failure { reason: reason.to_owned(), at, is_retried });
        drop(state);
        // Whoever is told of it finds it on the status page.
        for load in commit.loads.drain(..) {
            load.request.end(Outcome::TakenOut(reason.to_owned()));
        }
        let mut state = self.lock();
        let until = at + RETRY_AFTER;
        while is_retried && !state.stopping {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.work.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The records of a commit are given up: the buffer is stopped.
    pub(crate) fn gave_up(&self) {
        self.lock().committing = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::encode::blocks::Envelope;
    use crate::relay::repeats::{Begun, Repeats};

    const KIB: usize = 1 << 10;

    fn buffer() -> Buffer {
        let limits = BufferLimits { max_bytes: 64 * KIB, commit_delay: Duration::ZERO };
        Buffer::new(limits, Framing::new("text/plain", "", "\n", ""))
    }

    fn record(bytes: &[u8]) -> Encoded<'_> {
        Encoded { timestamp: None, bytes, envelope: Envelope::default() }
    }

    fn load(bytes: usize) -> Blocks {
        let mut blocks = Blocks::default();
        blocks.push("", record(&vec![b'x'; bytes]), b"\n");
        blocks
    }

    fn request(id: u8) -> Storing {
        match Arc::new(Repeats::default()).begin(LoadId::of_hash([id; 8])) {
            Begun::New(request) => request,
            begun => panic!("{begun:?}"),
        }
    }

    #[test]
    fn a_load_for_which_there_is_no_room_is_not_taken() {
        let buffer = buffer();
        assert_eq!(buffer.submit(load(40 * KIB), request(1)), Ok(()));
        assert_eq!(buffer.submit(load(40 * KIB), request(2)), Err(NotTaken::Full));
    }

    #[test]
    fn a_load_that_fails_says_nothing_about_loose_records_that_are_committed() {
        let buffer = buffer();
        buffer.submit(load(1), request(1)).unwrap();
        let mut commit = buffer.take(Blocks::default()).unwrap();
        buffer.failed(&mut commit, "a disk");
        assert_eq!((buffer.failure().as_deref(), buffer.retried_failure()), (Some("a disk"), None));
        buffer.add("", None, record(b"x")).unwrap();
        let mut commit = buffer.take(Blocks::default()).unwrap();
        buffer.stop();
        buffer.failed(&mut commit, "a disk");
        assert_eq!(buffer.retried_failure().as_deref(), Some("a disk"));
        buffer.succeeded(&commit);
        assert_eq!((buffer.failure(), buffer.retried_failure()), (None, None));
    }
}
