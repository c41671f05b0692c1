//! The thread that delivers: its runtime, how it is woken and how it ends.
//!
//! All spools of a process in one directory have one thread together, on which each delivery is a task. The task owns the
//! spool and a share of the thread: the last one that ends also ends the thread, and the next one starts another.

use std::convert::Infallible;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use opentelemetry::Context;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::error::ExporterBuildError;
use crate::process;
use crate::spool::{Place, Spool};

/// The wishes of other threads.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Orders {
    pub(crate) paused: bool,
    /// How many calls of `flush` wait.
    pub(crate) flushing: usize,
    /// Counted up whenever postponed and lingering tasks are to be tried at once.
    pub(crate) hurry: u64,
    /// Stop as soon as each partition was tried, at the latest at `stop_at`.
    pub(crate) stopping: bool,
    pub(crate) stop_at: Option<Instant>,
}

/// The way in which other threads steer a delivery.
#[derive(Debug, Default)]
pub(crate) struct Control {
    orders: Mutex<Orders>,
    changed: Notify,
}

impl Control {
    fn lock(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn order(&self, change: impl FnOnce(&mut Orders)) {
        change(&mut self.lock());
        self.changed.notify_one();
    }

    pub(crate) fn orders(&self) -> Orders {
        *self.lock()
    }

    /// Waits for the next change.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Wakes the delivery: there may be something to deliver.
    pub(crate) fn wake(&self) {
        self.changed.notify_one();
    }

    pub(crate) fn set_paused(&self, paused: bool) {
        self.order(|orders| orders.paused = paused);
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.lock().paused
    }

    /// Delivers everything at once until the guard is dropped.
    pub(crate) fn hurry(&self) -> Hurry<'_> {
        self.order(|orders| {
            orders.flushing += 1;
            orders.hurry += 1;
        });
        Hurry(self)
    }

    /// Stops at the end of `timeout` at the latest.
    pub(crate) fn stop(&self, timeout: Duration) {
        let at = Instant::now().checked_add(timeout);
        self.order(|orders| {
            orders.hurry += 1;
            orders.stopping = true;
            // The earliest of several calls decides.
            orders.stop_at = [orders.stop_at, at].into_iter().flatten().min();
        });
    }
}

/// See [`Control::hurry`].
pub(crate) struct Hurry<'a>(&'a Control);

impl Drop for Hurry<'_> {
    fn drop(&mut self) {
        self.0.order(|orders| orders.flushing -= 1);
    }
}

/// The other threads' end of a delivery.
#[derive(Debug)]
pub(crate) struct Worker {
    /// The delivery owns the spool, so that a shutdown gives up its directory whoever still knows of it.
    pub(crate) spool: Weak<Spool>,
    /// Closed when the delivery has ended and released the spool.
    ended: Mutex<Receiver<()>>,
}

impl Worker {
    /// Has a delivery run on the thread of the spool's directory, and closes the spool when that ends, after `at_end` has seen it.
    /// `kept` is dropped at the end, not on that thread: it may have what the application gave, which may wait for the thread when it is dropped.
    pub(crate) fn start(
        spool: Arc<Spool>,
        kept: impl Send + 'static,
        run: impl Future<Output = ()> + Send + 'static,
        at_end: impl FnOnce(&Spool) + Send + 'static,
    ) -> Result<Self, ExporterBuildError> {
        let thread = Thread::of(spool.place()).map_err(ExporterBuildError::Thread)?;
        let (end, ended) = sync_channel(0);
        let worker = Self { spool: Arc::downgrade(&spool), ended: Mutex::new(ended) };
        let runtime = thread.runtime.clone();
        runtime.spawn(async move {
            // In a task of its own: a panic in it is to end with a spool that is closed in order.
            let _ = tokio::spawn(run).await;
            close(spool, at_end, (thread, kept, end));
        });
        Ok(worker)
    }

    /// Waits until the delivery has ended; false if the time was up first.
    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.recv_timeout(timeout) != Err(RecvTimeoutError::Timeout)
    }
}

/// Closes a spool and then drops `kept`, on a thread of its own: that waits for the disk, and the other deliveries do not.
fn close(spool: Arc<Spool>, at_end: impl FnOnce(&Spool) + Send + 'static, kept: impl Send + 'static) {
    // Where no thread can be had, that drops both here, which closes the spool as well.
    let _ = process::spawn("close", move || {
        at_end(&spool);
        spool.close();
        drop(spool);
        drop(kept);
    });
}

/// A thread that delivers: for all spools of the process in one directory. It ends when nobody has this any more.
#[derive(Debug)]
struct Thread {
    runtime: Handle,
    _end: oneshot::Sender<Infallible>,
}

/// The threads of this process that deliver, by the directory.
static THREADS: Mutex<Vec<(Place, Weak<Thread>)>> = Mutex::new(Vec::new());

impl Thread {
    /// The thread of a directory. It is started if there is none.
    fn of(place: &Place) -> io::Result<Arc<Self>> {
        let mut all = THREADS.lock().unwrap_or_else(PoisonError::into_inner);
        // One that has nobody left is ending: it takes nothing more.
        all.retain(|(_, thread)| thread.strong_count() > 0);
        let known = all.iter().find(|(of, _)| of == place).and_then(|(_, thread)| thread.upgrade());
        if let Some(thread) = known {
            return Ok(thread);
        }
        let thread = Arc::new(Self::start()?);
        all.push((place.clone(), Arc::downgrade(&thread)));
        Ok(thread)
    }

    fn start() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            // The threads that resolve names log as well.
            .on_thread_start(|| std::mem::forget(Context::enter_telemetry_suppressed_scope()))
            .thread_name("otel-spool-resolve")
            .build()?;
        let handle = runtime.handle().clone();
        let runtime = Owned(Some(runtime));
        let (end, ended) = oneshot::channel::<Infallible>();
        // What is spawned before it runs waits for it.
        process::spawn("deliver", move || runtime.run_until(ended))?;
        Ok(Self { runtime: handle, _end: end })
    }
}

/// A runtime that ends without waiting, wherever it is dropped: a name that is being resolved cannot be waited for.
struct Owned(Option<Runtime>);

impl Owned {
    fn run_until(&self, ended: oneshot::Receiver<Infallible>) {
        if let Some(runtime) = &self.0 {
            let _ = runtime.block_on(ended);
        }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;
    use crate::config::values::{AdoptFrom, BatchLimits, Durability, Signal, SpoolLimits};
    use crate::spool::{Coding, SpoolConfig};

    fn open(dir: &std::path::Path) -> Arc<Spool> {
        let config = SpoolConfig {
            dir: dir.to_owned(),
            signal: Signal::Logs,
            durability: Durability::Process,
            coding: Coding::Identity,
            segment_bytes: 1 << 20,
            batch: BatchLimits::default(),
            limits: SpoolLimits::default(),
            endpoint: None,
            origin: None,
            adopt_from: AdoptFrom::OWN,
        };
        Arc::new(Spool::open_silent(&config).unwrap())
    }

    /// Whether a directory has a thread.
    fn has_thread(place: &Place) -> bool {
        THREADS.lock().unwrap().iter().any(|(of, thread)| of == place && thread.strong_count() > 0)
    }

    /// A delivery that runs until its sender is dropped, and then panics or not.
    fn start(spool: Arc<Spool>, panics: bool) -> (Worker, oneshot::Sender<()>) {
        let (end, ends) = oneshot::channel();
        let run = async move {
            let _ = ends.await;
            assert!(!panics, "a panic that is asked for");
        };
        (Worker::start(spool, (), run, |_| ()).unwrap(), end)
    }

    #[test]
    fn deliveries_in_one_directory_have_one_thread_which_the_last_of_them_ends() {
        let (dir, other_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (spool, elsewhere) = (open(dir.path()), open(other_dir.path()));
        let place = spool.place().clone();
        let own = Thread::of(&place).unwrap();
        let (one, end_one) = start(spool, false);
        let (two, end_two) = start(open(dir.path()), false);
        assert!(Arc::ptr_eq(&own, &Thread::of(&place).unwrap()));
        assert!(!Arc::ptr_eq(&own, &Thread::of(elsewhere.place()).unwrap()));
        drop(own);
        drop(end_one);
        assert!(one.wait(Duration::MAX));
        assert!(one.spool.upgrade().is_none() && two.spool.upgrade().is_some());
        assert!(has_thread(&place));
        drop(end_two);
        assert!(two.wait(Duration::MAX));
        assert!(!has_thread(&place));
    }

    #[test]
    fn a_delivery_that_panics_ends_alone_and_its_spool_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let (panics, end_panics) = start(open(dir.path()), true);
        let (other, end_other) = start(open(dir.path()), false);
        drop(end_panics);
        assert!(panics.wait(Duration::MAX));
        assert!(panics.spool.upgrade().is_none());
        assert!(!other.wait(Duration::ZERO));
        drop(end_other);
        assert!(other.wait(Duration::MAX));
    }

    #[test]
    fn threads_are_started_and_ended_by_many_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let spool = open(dir.path());
        let place = spool.place();
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let shared = Thread::of(place).unwrap();
                        let (sender, done) = mpsc::channel();
                        let runtime = shared.runtime.clone();
                        runtime.spawn(async move {
                            tokio::task::yield_now().await;
                            let _ = sender.send(());
                            drop(shared);
                        });
                        done.recv().unwrap();
                    }
                });
            }
        });
    }
}
