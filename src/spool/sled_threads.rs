//! [`silence`]: keeps the storage engine's own threads, `sled-io-N`, from logging into the exporter. It touches no file.
//!
//! They are the only threads at work here that this crate does not start. Their log records would come back through a
//! bridge: a loop behind the batch processor, and a deadlock behind the simple one, which holds a lock while it waits
//! for such a thread. The engine lets no one into them, except for one thing: the waker of an asynchronous flush is
//! called there.

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use super::lock::{Lock, Rank};

/// How many threads the engine always has.
const AT_LEAST: usize = 7;

/// How long a flush waits for a thread while there must be one that is free. On a busy machine it may not run sooner.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a flush waits once as many threads are held as there always are: there may be no other to call its waker.
const PATIENCE_FOR_MORE: Duration = Duration::from_millis(20);

/// How long a thread is held if nobody lets it go.
const HELD_AT_MOST: Duration = Duration::from_secs(20);

thread_local! {
    static SILENT: Cell<bool> = const { Cell::new(false) };
}

/// Holds each thread that comes by, so that the next flush goes to another one.
#[derive(Debug)]
struct Trap {
    /// How many are held, and whether they may go.
    held: Lock<(usize, bool)>,
    changed: Condvar,
}

impl Trap {
    fn wait(&self, patience: Duration, until: impl Fn(&(usize, bool)) -> bool) -> bool {
        self.held.lock().wait_while(&self.changed, patience, |held| !until(held))
    }

    fn change(&self, change: impl FnOnce(&mut (usize, bool))) {
        change(&mut self.held.lock());
        self.changed.notify_all();
    }
}

impl Wake for Trap {
    fn wake(self: Arc<Self>) {
        if !SILENT.replace(true) {
            // For as long as the thread lives.
            std::mem::forget(opentelemetry::Context::enter_telemetry_suppressed_scope());
        }
        self.change(|(count, _)| *count += 1);
        self.wait(HELD_AT_MOST, |(_, free)| *free);
    }
}

/// Suppresses telemetry on all of the engine's threads, once in a process. `db` has nothing to write: a flush that has
/// would wait for one of the threads that are held.
pub(super) fn silence(db: &sled::Tree) {
    static BUSY: Lock<()> = Lock::new(Rank::SledThreads, ());
    static DONE: AtomicBool = AtomicBool::new(false);
    if DONE.load(Ordering::Acquire) {
        return;
    }
    let _one_at_a_time = BUSY.lock();
    if DONE.load(Ordering::Acquire) || db.flush().is_err() {
        return;
    }
    let trap = Arc::new(Trap { held: Lock::new(Rank::SledTrap, (0, false)), changed: Condvar::new() });
    let waker = Waker::from(trap.clone());
    let mut held = 0;
    // A few may be done before their waker is known: those hold nobody.
    for _ in 0..100 {
        let flush = pin!(db.flush_async());
        if flush.poll(&mut Context::from_waker(&waker)).is_pending() {
            let expected = held + 1;
            let patience = if held < AT_LEAST { PATIENCE } else { PATIENCE_FOR_MORE };
            if !trap.wait(patience, |(count, _)| *count >= expected) {
                break;
            }
            held = expected;
        }
    }
    trap.change(|(_, free)| *free = true);
    // Otherwise the next database tries again.
    DONE.store(held >= AT_LEAST, Ordering::Release);
}
