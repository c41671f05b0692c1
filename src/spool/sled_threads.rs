//! The storage engine's own threads, `sled-io-N`: [`silence`] keeps them from logging into the exporter, and a [`Permit`]
//! keeps them as few as they are. It touches no file.
//!
//! They are the only threads at work here that this crate does not start. Their log records would come back through a
//! bridge: a loop behind the batch processor, and a deadlock behind the simple one, which holds a lock while it waits
//! for such a thread. The engine lets no one into them, except for one thing: the waker of an asynchronous flush is
//! called there.
//!
//! Seven of them are started together and never end. [`silence`] has each of the seven come by before the first database
//! is written, however long that takes, so that no time decides whether they are silent. They come together: one after the other, the
//! thread that opens the first database would wait fourteen times for the scheduler. The engine starts another one
//! when more than seven jobs wait, which would not be silent. Therefore there are never more, whatever the load:
//!
//! | who | permits | jobs that wait, each |
//! |---|---|---|
//! | [`Permit::to_write`], held from a first `insert` to the end of the `flush` | 3 | 2: one where a log segment is full, which is at most one between two flushes, and one of the flush |
//! | [`Permit::to_read`], held for a `get` | 1 | 1: a read first flushes what it reads |
//! | [`silence`], which has this permit and of which all others wait for the end | | 7: each of the threads is called with a flush |
//!
//! A new database enqueues nothing while it is opened (one that is there, a job for each log segment of its file), and one
//! that is dropped has been flushed. Nobody holds a permit while he syncs.
//!
//! A process has one engine. Where the host uses sled of this version itself and has more than seven jobs wait, there are
//! threads that are not silent, and this crate's jobs may run on them.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use sled::transaction::{ConflictableTransactionError, TransactionError, abort};

use super::lock::{Lock, Rank};

/// The threads that the engine starts at once and that never end: `sled-io-0` and those after it.
const PERMANENT: usize = 7;

/// How long none of them may come by until those that are held are let go. They may hold up what others of them wait for,
/// if the host uses the engine as well.
const STALLED: Duration = Duration::from_secs(2);

/// How long one is held if nobody lets it go.
const HELD_AT_MOST: Duration = Duration::from_secs(10);

/// How often in a row that may be before another thread is silent: a thread that could not be started never comes.
const STALLS: usize = 60;

thread_local! {
    static SILENT: Cell<bool> = const { Cell::new(false) };
}

/// A share of the jobs that may wait for the engine's threads, until it is dropped.
#[derive(Debug)]
pub(super) struct Permit(&'static Permits);

/// Permits that are to be had.
#[derive(Debug)]
struct Permits {
    free: Lock<usize>,
    returned: Condvar,
}

impl Permits {
    const fn new(count: usize) -> Self {
        Self { free: Lock::new(Rank::SledPermits, count), returned: Condvar::new() }
    }

    fn take(&'static self) -> Permit {
        let mut free = self.free.lock();
        while *free == 0 {
            free = free.wait(&self.returned);
        }
        *free -= 1;
        Permit(self)
    }
}

static WRITERS: Permits = Permits::new(3);
static READERS: Permits = Permits::new(1);

impl Permit {
    /// Waits until another one may write. Between two flushes it writes at most half a log segment and one value.
    pub(super) fn to_write() -> Self {
        WRITERS.take()
    }

    /// Waits until another one may read.
    pub(super) fn to_read() -> Self {
        READERS.take()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        *self.0.free.lock() += 1;
        self.0.returned.notify_one();
    }
}

/// Holds each thread that comes by, so that each flush goes to another one.
#[derive(Debug)]
struct Trap {
    state: Lock<Trapped>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Trapped {
    /// How often one came.
    came: usize,
    /// Which of the permanent ones were.
    permanent: [bool; PERMANENT],
    /// Whether they may go.
    open: bool,
}

impl Trap {
    fn change(&self, change: impl FnOnce(&mut Trapped)) {
        change(&mut self.state.lock());
        self.changed.notify_all();
    }

    /// Whether another thread came by.
    fn wait_for_more_than(&self, came: usize) -> bool {
        self.state.lock().wait_while(&self.changed, STALLED, |trapped| trapped.came <= came)
    }

    fn open(&self) {
        self.change(|trapped| trapped.open = true);
    }
}

impl Wake for Trap {
    fn wake(self: Arc<Self>) {
        if !SILENT.replace(true) {
            // For as long as the thread lives.
            std::mem::forget(opentelemetry::Context::enter_telemetry_suppressed_scope());
        }
        let thread = std::thread::current();
        let number = thread.name().and_then(|name| name.strip_prefix("sled-io-")?.parse::<usize>().ok());
        self.change(|trapped| {
            trapped.came += 1;
            if let Some(permanent) = number.and_then(|number| trapped.permanent.get_mut(number)) {
                *permanent = true;
            }
        });
        self.state.lock().wait_while(&self.changed, HELD_AT_MOST, |trapped| !trapped.open);
    }
}

/// Lets the threads of a trap go, however it ends.
struct Release<'a>(&'a Trap);

impl Drop for Release<'_> {
    fn drop(&mut self) {
        self.0.open();
    }
}

/// Set when all permanent threads are silent.
static ALL_SILENT: AtomicBool = AtomicBool::new(false);

/// Whether telemetry is suppressed on all of the engine's permanent threads.
pub(super) fn are_silent() -> bool {
    ALL_SILENT.load(Ordering::Acquire)
}

/// Suppresses telemetry on all of the engine's permanent threads, once in a process. `db` is new, and nobody else has it yet.
///
/// # Errors
///
/// If there are not as many threads as there should be. The next database tries again.
pub(super) fn silence(db: &sled::Tree) -> sled::Result<()> {
    if are_silent() {
        return Ok(());
    }
    let _alone = Permit::to_read();
    if are_silent() {
        return Ok(());
    }
    let (mut silent, mut stalls) = ([false; PERMANENT], 0);
    while silent != [true; PERMANENT] {
        if stalls >= STALLS {
            let message = format!("of the engine's {PERMANENT} threads, some do not run: {silent:?}");
            return Err(sled::Error::Io(io::Error::other(message)));
        }
        let before = silent;
        // The first one has another thread write what is new of the database. If all of them waited for that, there would be none.
        let count = if silent == [false; PERMANENT] { 1 } else { PERMANENT };
        stalls += trap(db, count, &mut silent)?;
        stalls = if silent == before { stalls } else { 0 };
    }
    ALL_SILENT.store(true, Ordering::Release);
    Ok(())
}

/// Asks for so many flushes at once, and has each thread that is done with one call `waker`.
///
/// A thread that gets the CPU at once is done before the waker is known, and on a machine with one CPU nearly every one is. But
/// no flush goes on during a transaction. From the first one on, each call of the engine takes a shared lock; that costs
/// nothing that could be measured.
fn flush(db: &sled::Tree, waker: &Waker, count: usize) -> sled::Result<()> {
    let flushes: Vec<_> = (0..count).map(|_| db.flush_async()).collect();
    let flushes = RefCell::new(flushes.into_iter().map(Box::pin).collect::<Vec<_>>());
    let poll = |_: &_| {
        for flush in &mut *flushes.borrow_mut() {
            if let Poll::Ready(Err(error)) = flush.as_mut().poll(&mut Context::from_waker(waker)) {
                return Err(ConflictableTransactionError::Storage(error));
            }
        }
        abort(())
    };
    // It writes nothing.
    match db.transaction::<_, (), ()>(poll) {
        Err(TransactionError::Storage(error)) => Err(error),
        _ => Ok(()),
    }
}

/// Asks for so many flushes and holds each thread that comes, until that many have come or no other does for a while. The flushes are
/// done when this returns, so that never more than these wait; if there is no thread for one, that is given up. Returns how often none came
/// for a while.
fn trap(db: &sled::Tree, count: usize, silent: &mut [bool; PERMANENT]) -> sled::Result<usize> {
    let trap = Arc::new(Trap { state: Lock::new(Rank::SledTrap, Trapped::default()), changed: Condvar::new() });
    let _release = Release(&trap);
    flush(db, &Waker::from(trap.clone()), count)?;
    let mut stalls = 0;
    loop {
        let (came, permanent) = {
            let trapped = trap.state.lock();
            (trapped.came, trapped.permanent)
        };
        for (silent, permanent) in silent.iter_mut().zip(permanent) {
            *silent |= permanent;
        }
        if came == count || stalls == STALLS {
            return Ok(stalls);
        }
        if !trap.wait_for_more_than(came) {
            stalls += 1;
            trap.open();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;
    use std::sync::atomic::AtomicUsize;

    use opentelemetry::Context as Telemetry;

    use super::*;

    /// Notes of each thread whether it is silent, and holds it until the others have come by as well.
    #[derive(Default)]
    struct Witness {
        silent: Mutex<BTreeMap<String, bool>>,
        came: Condvar,
    }

    impl Wake for Witness {
        fn wake(self: Arc<Self>) {
            let name = std::thread::current().name().unwrap_or_default().to_owned();
            let mut silent = self.silent.lock().unwrap();
            silent.insert(name, Telemetry::is_current_telemetry_suppressed());
            self.came.notify_all();
            drop(self.came.wait_while(silent, |silent| silent.len() < PERMANENT).unwrap());
        }
    }

    #[test]
    fn every_thread_of_the_engine_is_silent_once_a_database_is_open() {
        let dir = tempfile::tempdir().unwrap();
        let config = || sled::Config::new().flush_every_ms(None);
        let first = config().path(dir.path().join("first")).open().unwrap();
        silence(&first).unwrap();
        let db = config().path(dir.path().join("second")).open().unwrap();
        db.flush().unwrap();
        let witness = Arc::new(Witness::default());
        for count in 1..=PERMANENT {
            flush(&db, &Waker::from(witness.clone()), 1).unwrap();
            let silent = witness.silent.lock().unwrap();
            drop(witness.came.wait_while(silent, |silent| silent.len() < count).unwrap());
        }
        let silent = witness.silent.lock().unwrap();
        let expected = (0..PERMANENT).map(|number| (format!("sled-io-{number}"), true));
        assert_eq!(*silent, expected.collect());
    }

    #[test]
    fn no_more_hold_a_permit_at_once_than_there_are() {
        static PERMITS: Permits = Permits::new(3);
        let (held, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let _permit = PERMITS.take();
                        most.fetch_max(held.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::yield_now();
                        held.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!((most.into_inner(), *PERMITS.free.lock()), (3, 3));
    }
}
