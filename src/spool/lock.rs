//! [`Lock`]: a mutex with a [`Rank`]. It keeps the order in which a spool's locks are taken, and touches nothing else.
//!
//! A debug build panics where a thread takes a lock whose level is not above that of every lock it holds; a release
//! build checks nothing and stores nothing per thread.

use std::any::Any;
#[cfg(debug_assertions)]
use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Stands in the message of a panic between what was tried and the lock that is held.
const OUT_OF_ORDER: &str = " is not to be had under ";

/// The locks of a spool. A variant's level is its place in the order; two of one level are never held together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rank {
    /// The queues of each directory, and the losses that they report for each other.
    Neighbors,
    /// The active segment, the next one, and space. It is never held while a segment is made.
    Writer,
    /// The open segments, the batch that is read ahead, and spare bodies. It is never held during I/O.
    ReadCache,
    /// The cursor files, and what is not in them yet. It is held during their own I/O.
    CursorStore,
    /// The records that wait, the batches in flight, gaps, and unwritten cursors. It is never held during I/O.
    Index,
    /// Where the entries of one segment are. It is never held during I/O.
    Entries,
    /// The permits to write and to read: never held while it is written or read.
    SledPermits,
    /// The storage engine's threads that are held while they are silenced, once in a process.
    SledTrap,
    /// The adopted queue, and what tells that the housekeeper has let one go. No other lock is taken under it.
    Attached,
    /// The descriptor that holds a queue's lock file.
    QueueLock,
    /// The journal of the processor before the queue.
    Journal,
    /// The housekeepers of the process.
    Housekeepers,
    /// The stranded queues that are counted. It is held to put them there and to take them away.
    Stranded,
}

impl Rank {
    /// The place in the order.
    #[cfg(debug_assertions)]
    fn level(self) -> u8 {
        match self {
            Self::Neighbors => 0,
            Self::Writer => 1,
            Self::ReadCache | Self::CursorStore => 2,
            Self::Index => 3,
            Self::Entries => 4,
            Self::SledPermits => 5,
            Self::SledTrap => 6,
            Self::Attached => 7,
            Self::QueueLock => 8,
            Self::Journal => 9,
            Self::Housekeepers => 10,
            Self::Stranded => 11,
        }
    }
}

/// A mutex that knows its rank. A panic of an earlier holder does not poison it.
#[derive(Debug)]
pub(super) struct Lock<T> {
    #[cfg(debug_assertions)]
    rank: Rank,
    mutex: Mutex<T>,
}

/// Access to the value that a lock protects. The lock is given up when this is dropped.
#[derive(Debug)]
pub(super) struct Guard<'a, T> {
    inner: MutexGuard<'a, T>,
    #[cfg(debug_assertions)]
    _held: Held,
}

impl<T> Lock<T> {
    #[cfg_attr(not(debug_assertions), expect(unused_variables, reason = "a release build checks no order"))]
    pub(super) const fn new(rank: Rank, value: T) -> Self {
        Self {
            #[cfg(debug_assertions)]
            rank,
            mutex: Mutex::new(value),
        }
    }

    /// Waits for the lock.
    ///
    /// # Panics
    ///
    /// In a debug build, if the thread holds one of the same or a higher level.
    pub(super) fn lock(&self) -> Guard<'_, T> {
        Guard {
            #[cfg(debug_assertions)]
            _held: Held::new(self.rank),
            inner: self.mutex.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }
}

impl<T> Guard<'_, T> {
    /// Gives up the lock until `condvar` is notified.
    pub(super) fn wait(self, condvar: &Condvar) -> Self {
        Self { inner: condvar.wait(self.inner).unwrap_or_else(PoisonError::into_inner), ..self }
    }

    /// Does so for at most `timeout`.
    pub(super) fn wait_timeout(self, condvar: &Condvar, timeout: Duration) -> Self {
        let result = condvar.wait_timeout(self.inner, timeout);
        Self { inner: result.unwrap_or_else(PoisonError::into_inner).0, ..self }
    }

    /// Does so while `condition` holds; false if it still does when the time is up.
    pub(super) fn wait_while(
        self,
        condvar: &Condvar,
        timeout: Duration,
        condition: impl FnMut(&mut T) -> bool,
    ) -> bool {
        let result = condvar.wait_timeout_while(self.inner, timeout, condition);
        !result.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

/// Checks that the thread holds no lock: it is about to run code that is not the spool's.
///
/// # Panics
///
/// In a debug build, if it does.
pub(super) fn check_none_held() {
    #[cfg(debug_assertions)]
    if let Some(held) = HELD.try_with(|held| held.borrow().last().copied()).ok().flatten() {
        panic!("an event{OUT_OF_ORDER}{held:?}");
    }
}

/// Whether a thread panicked because it took a lock out of order, or ran what it must not run under one. Nobody may go on after that as after another panic.
pub(super) fn is_out_of_order(panic: &(dyn Any + Send)) -> bool {
    cfg!(debug_assertions) && panic.downcast_ref::<String>().is_some_and(|message| message.contains(OUT_OF_ORDER))
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

#[cfg(debug_assertions)]
thread_local! {
    /// The locks that this thread holds, in the order in which it took them.
    static HELD: RefCell<Vec<Rank>> = const { RefCell::new(Vec::new()) };
}

/// An entry in the list of locks that a thread holds.
#[cfg(debug_assertions)]
#[derive(Debug)]
struct Held(Rank);

#[cfg(debug_assertions)]
impl Held {
    fn new(rank: Rank) -> Self {
        let is_wrong = |held: &&Rank| held.level() >= rank.level();
        // A thread that ends has no list any more, and takes one lock at a time.
        let wrong = HELD.try_with(|held| held.borrow().iter().find(is_wrong).copied()).ok().flatten();
        if let Some(wrong) = wrong {
            panic!("{rank:?}{OUT_OF_ORDER}{wrong:?}");
        }
        let _ = HELD.try_with(|held| held.borrow_mut().push(rank));
        Self(rank)
    }
}

#[cfg(debug_assertions)]
impl Drop for Held {
    fn drop(&mut self) {
        let _ = HELD.try_with(|held| {
            let mut held = held.borrow_mut();
            if let Some(at) = held.iter().rposition(|held| *held == self.0) {
                held.remove(at);
            }
        });
    }
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    /// Whether `inner` may be locked under `outer`.
    fn nests(outer: Rank, inner: Rank) -> bool {
        let (outer, inner) = (Lock::new(outer, ()), Lock::new(inner, ()));
        let _outer = outer.lock();
        let locked = catch_unwind(AssertUnwindSafe(|| drop(inner.lock())));
        locked.inspect_err(|panic| assert!(is_out_of_order(&**panic))).is_ok()
    }

    #[test]
    fn locks_that_are_not_taken_in_ascending_order_panic() {
        use Rank::{
            Attached, CursorStore, Entries, Housekeepers, Index, Neighbors, QueueLock, ReadCache, SledPermits,
            SledTrap, Writer,
        };
        let levels = [
            &[Neighbors][..],
            &[Writer],
            &[ReadCache, CursorStore],
            &[Index],
            &[Entries],
            &[SledPermits],
            &[SledTrap],
            &[Attached],
            &[QueueLock],
            &[Housekeepers],
        ];
        for (outer_at, outer) in levels.iter().enumerate() {
            for (inner_at, inner) in levels.iter().enumerate() {
                for (outer, inner) in outer.iter().flat_map(|outer| inner.iter().map(move |inner| (*outer, *inner))) {
                    assert_eq!(nests(outer, inner), inner_at > outer_at, "{inner:?} under {outer:?}");
                }
            }
        }
    }

    #[test]
    fn an_event_that_is_reported_under_any_lock_panics() {
        check_none_held();
        for rank in [Rank::Writer, Rank::CursorStore, Rank::Index, Rank::Attached] {
            let lock = Lock::new(rank, ());
            let held = lock.lock();
            let panic = catch_unwind(check_none_held).unwrap_err();
            assert!(is_out_of_order(&*panic), "{rank:?}");
            drop(held);
            check_none_held();
        }
    }

    #[test]
    fn a_lock_that_was_given_up_in_any_order_is_not_held_any_more() {
        let (writer, index) = (Lock::new(Rank::Writer, ()), Lock::new(Rank::Index, ()));
        let (outer, inner) = (writer.lock(), index.lock());
        drop(outer);
        drop(inner);
        drop(writer.lock());
        drop(index.lock());
        drop(writer.lock());
    }
}
