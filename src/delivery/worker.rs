//! The thread that delivers: its runtime, how it is woken and how it ends.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use opentelemetry::Context;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::error::ExporterBuildError;
use crate::process;
use crate::spool::Spool;

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

/// The way in which other threads steer the one that delivers.
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

    /// Wakes the thread: there may be something to deliver.
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

/// A delivery that is ready to run, and the spool that it delivers from.
pub(crate) struct Job<F> {
    pub(crate) spool: Arc<Spool>,
    pub(crate) run: F,
}

/// The other threads' end of the thread.
#[derive(Debug)]
pub(crate) struct Worker {
    /// The thread owns the spool, so that a shutdown gives up its directory whoever still knows of it.
    pub(crate) spool: Weak<Spool>,
    /// Closed when the thread has ended and released the spool.
    ended: Mutex<Receiver<()>>,
}

impl Worker {
    /// Starts the thread. It builds the job itself: an HTTP client belongs to the runtime that it is used on, and neither
    /// may be dropped inside another one.
    pub(crate) fn start<F: Future<Output = ()>>(
        build: impl FnOnce() -> Result<Job<F>, ExporterBuildError> + Send + 'static,
    ) -> Result<Self, ExporterBuildError> {
        let (outcome, started) = sync_channel(1);
        let (end, ended) = sync_channel(0);
        process::spawn("deliver", move || deliver(build, &outcome, end)).map_err(ExporterBuildError::Thread)?;
        match started.recv() {
            Ok(result) => result.map(|spool| Self { spool, ended: Mutex::new(ended) }),
            Err(_) => Err(ExporterBuildError::Thread(std::io::Error::other("it ended while it was starting"))),
        }
    }

    /// Waits until the thread has ended; false if the time was up first.
    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.recv_timeout(timeout) != Err(RecvTimeoutError::Timeout)
    }
}

fn deliver<F: Future<Output = ()>>(
    build: impl FnOnce() -> Result<Job<F>, ExporterBuildError>,
    outcome: &SyncSender<Result<Weak<Spool>, ExporterBuildError>>,
    end: SyncSender<()>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // The threads that resolve names log as well.
        .on_thread_start(|| std::mem::forget(Context::enter_telemetry_suppressed_scope()))
        .thread_name("otel-spool-resolve")
        .build()
        .map_err(ExporterBuildError::Thread);
    let (runtime, job) = match runtime.and_then(|runtime| {
        let entered = runtime.enter();
        let job = build()?;
        drop(entered);
        Ok((runtime, job))
    }) {
        Ok(ready) => ready,
        Err(error) => {
            let _ = outcome.send(Err(error));
            return;
        }
    };
    let Job { spool, run } = job;
    let _ = outcome.send(Ok(Arc::downgrade(&spool)));
    runtime.block_on(run);
    // A name that is being resolved cannot be waited for.
    runtime.shutdown_background();
    spool.close();
    drop(spool);
    drop(end);
}
