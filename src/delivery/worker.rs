//! The thread that delivers: its runtime, its timers, how it is woken and how it ends.

use std::collections::btree_map::OccupiedEntry;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use opentelemetry::{Context, otel_debug};
use tokio::sync::Notify;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

use crate::config::values::{Pace, RetryPolicy};
use crate::delivery::attempt::{Again, Drain, Failure, Step, Task};
use crate::delivery::concurrency::AdaptiveConcurrency;
use crate::error::ExporterBuildError;
use crate::observe::event::{Events, SpoolEvent};
use crate::spool::{Partition, Spool};
use crate::transport::Transport;

/// So many requests are under way at the same time, of all partitions together, unless a single one may have more.
const MAX_IN_FLIGHT: usize = 16;

/// After so many refusals in a row, without a success in between, the server seems to refuse everything: from then on a
/// partition asks slowly. To find one record among 512 takes at most ten.
const MAX_REFUSALS: u32 = 32;

/// After so many requests in a row, of whichever partitions, that found no connection, the endpoint is taken to be down:
/// until it answers, there is one request at a time.
const MAX_UNREACHABLE: u32 = 16;

/// How often it is looked for queues in the spool directory whose owner is gone.
const ADOPT_EVERY: Duration = Duration::from_secs(10);

/// What the worker is told from other threads.
#[derive(Clone, Copy, Debug, Default)]
struct Orders {
    paused: bool,
    /// How many calls of `flush` wait.
    flushing: usize,
    /// Counted up whenever what waits for a retry or lingers is to be tried at once.
    hurry: u64,
    /// Stop as soon as each partition was tried, at the latest at this moment.
    stopping: bool,
    stop_at: Option<Instant>,
}

#[derive(Debug, Default)]
pub(crate) struct Control {
    orders: Mutex<Orders>,
    changed: Notify,
}

impl Control {
    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn order(&self, change: impl FnOnce(&mut Orders)) {
        change(&mut self.orders());
        self.changed.notify_one();
    }

    /// There may be something to deliver.
    pub(crate) fn wake(&self) {
        self.changed.notify_one();
    }

    pub(crate) fn set_paused(&self, paused: bool) {
        self.order(|orders| orders.paused = paused);
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.orders().paused
    }

    /// Delivers everything at once until the guard is dropped.
    pub(crate) fn hurry(&self) -> Hurry<'_> {
        self.order(|orders| {
            orders.flushing += 1;
            orders.hurry += 1;
        });
        Hurry(self)
    }

    /// Stops at the end of `patience` at the latest.
    pub(crate) fn stop(&self, patience: Duration) {
        let at = Instant::now().checked_add(patience);
        self.order(|orders| {
            orders.hurry += 1;
            orders.stopping = true;
            // Whoever is in more of a hurry decides.
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

/// The exporter's end of the worker.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) control: Arc<Control>,
    /// The spool is the thread's own, so that a shutdown gives up its directory whoever still knows of it.
    pub(crate) spool: Weak<Spool>,
    /// Closed when the thread has ended and given up the spool.
    ended: Mutex<Receiver<()>>,
}

impl Worker {
    /// Starts the thread. It builds the drain itself: an HTTP client belongs to the runtime that it is used on, and
    /// neither may be dropped inside another one.
    pub(crate) fn start<T: Transport>(
        control: Arc<Control>,
        events: Arc<Events>,
        pace: Pace,
        build: impl FnOnce() -> Result<Drain<T>, ExporterBuildError> + Send + 'static,
    ) -> Result<Self, ExporterBuildError> {
        let (outcome, started) = sync_channel(1);
        let (end, ended) = sync_channel(0);
        let for_thread = control.clone();
        crate::process::spawn("deliver", move || deliver(&for_thread, &events, pace, build, &outcome, end))
            .map_err(ExporterBuildError::Thread)?;
        match started.recv() {
            Ok(result) => result.map(|spool| Self { control, spool, ended: Mutex::new(ended) }),
            Err(_) => Err(ExporterBuildError::Thread(std::io::Error::other("it ended while it was starting"))),
        }
    }

    /// Waits until the thread has ended; false if the time was up first.
    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.recv_timeout(timeout) != Err(RecvTimeoutError::Timeout)
    }
}

fn deliver<T: Transport>(
    control: &Control,
    events: &Events,
    pace: Pace,
    build: impl FnOnce() -> Result<Drain<T>, ExporterBuildError>,
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
    let (runtime, drain) = match runtime.and_then(|runtime| {
        let entered = runtime.enter();
        let drain = build()?;
        drop(entered);
        Ok((runtime, drain))
    }) {
        Ok(ready) => ready,
        Err(error) => {
            let _ = outcome.send(Err(error));
            return;
        }
    };
    let drain = Arc::new(drain);
    let spool = drain.spool.clone();
    let _ = outcome.send(Ok(Arc::downgrade(&spool)));
    runtime.block_on(Schedule::new(drain, control, events, pace).run());
    // A name that is being resolved cannot be waited for.
    runtime.shutdown_background();
    spool.close();
    drop(spool);
    drop(end);
}

fn panicked(what: &str) -> Step {
    let (batch, reason) = (String::new(), format!("{what} panicked"));
    Step::Failed(Failure { batch, reason, again: Again::Unasked })
}

/// A delay that no clock can hold is as good as none at all.
fn later(delay: Duration) -> Instant {
    Instant::now().checked_add(delay).unwrap_or_else(Instant::now)
}

/// A task whose batch is on its way.
struct Begun {
    task: Task,
    at: Instant,
    /// How often there had been a hurry.
    hurry: u64,
}

/// Which partition is tried when.
struct Schedule<'a, T> {
    drain: Arc<Drain<T>>,
    control: &'a Control,
    events: &'a Events,
    retry: RetryPolicy,
    /// Of each partition.
    limit: AdaptiveConcurrency,
    /// Of all partitions together.
    most_in_flight: usize,
    running: JoinSet<Step>,
    begun: HashMap<Id, Begun>,
    due: VecDeque<Task>,
    later: BTreeMap<(Instant, u64), Task>,
    /// Makes the keys of `later` differ.
    ticket: u64,
    new_first: bool,
    /// When to look for queues whose owner is gone.
    adopt_at: Instant,
    /// How many requests in a row found no connection.
    unreachable: u32,
    /// While the endpoint is down: when it is asked again.
    probe_at: Option<Instant>,
    /// Where in `later` those are that wait for more records.
    lingering: HashMap<Partition, (Instant, u64)>,
    hurry: u64,
    failing: HashSet<Partition>,
    /// Of those, which need someone to mend something.
    held: HashSet<Partition>,
    /// How often each partition was refused since something of it was delivered.
    refusals: HashMap<Partition, u32>,
    warned_of_refusal: bool,
}

impl<'a, T: Transport> Schedule<'a, T> {
    fn new(drain: Arc<Drain<T>>, control: &'a Control, events: &'a Events, pace: Pace) -> Self {
        Self {
            drain,
            control,
            events,
            retry: pace.retry,
            limit: AdaptiveConcurrency::new(pace.max_in_flight),
            most_in_flight: MAX_IN_FLIGHT.max(pace.max_in_flight.into()),
            running: JoinSet::new(),
            begun: HashMap::new(),
            due: VecDeque::new(),
            later: BTreeMap::new(),
            ticket: 0,
            new_first: false,
            adopt_at: Instant::now(),
            unreachable: 0,
            probe_at: None,
            lingering: HashMap::new(),
            hurry: 0,
            failing: HashSet::new(),
            held: HashSet::new(),
            refusals: HashMap::new(),
            warned_of_refusal: false,
        }
    }

    async fn run(mut self) {
        loop {
            let orders = *self.control.orders();
            let now = Instant::now();
            if orders.stop_at.is_some_and(|at| at <= now) {
                break;
            }
            if std::mem::replace(&mut self.hurry, orders.hurry) != orders.hurry {
                self.due.extend(std::mem::take(&mut self.later).into_values());
                self.probe_at = self.probe_at.map(|at| at.min(now));
            }
            if !orders.stopping && (self.adopt_at <= now || self.drain.spool.may_adopt()) {
                self.drain.spool.adopt();
                self.adopt_at = now + ADOPT_EVERY;
            }
            for partition in self.drain.spool.take_filled() {
                self.due.extend(self.lingering.remove(&partition).and_then(|at| self.later.remove(&at)));
            }
            if !orders.paused && self.begin_steps(now, orders) {
                // What is under way does not wait for all that comes to nothing.
                self.control.wake();
                tokio::task::yield_now().await;
            }
            let nothing_left = orders.paused || self.drain.spool.is_recovered();
            if orders.stopping && self.running.is_empty() && self.due.is_empty() && nothing_left {
                break;
            }
            let idle = !orders.paused && self.running.len() < self.max_in_flight();
            let next = match self.probe_at.filter(|at| *at > now) {
                Some(probe_at) => Some(probe_at),
                None => self.later.keys().next().map(|(at, _)| *at),
            };
            let next = next.filter(|_| idle);
            let wake_at =
                [next, orders.stop_at, (!orders.stopping).then_some(self.adopt_at)].into_iter().flatten().min();
            tokio::select! {
                Some(ended) = self.running.join_next_with_id() => self.end_step(ended, orders.stopping),
                () = self.control.changed.notified() => {}
                () = sleep_until(wake_at.unwrap_or(now)), if wake_at.is_some() => {}
            }
        }
        // What is under way is broken off: its batch stays in the spool under its id.
        self.running.shutdown().await;
    }

    fn max_in_flight(&self) -> usize {
        if self.probe_at.is_some() { 1 } else { self.most_in_flight }
    }

    /// Begins what may be begun. True if a step came to nothing: there may be more to begin then.
    fn begin_steps(&mut self, now: Instant, orders: Orders) -> bool {
        let force = orders.flushing > 0 || orders.stopping;
        if self.probe_at.is_some_and(|at| at > now) {
            return false;
        }
        while self.running.len() < self.max_in_flight() && !self.control.is_paused() {
            let Some(mut task) = self.next_task(now) else { return false };
            task.partition.allow(self.limit.get());
            let take = || task.take(SystemTime::now(), force);
            let taken = catch_unwind(AssertUnwindSafe(take)).unwrap_or_else(|_| Err(panicked("reading the spool")));
            match taken {
                Ok(batch) => {
                    let (drain, attempt) = (self.drain.clone(), task.attempt);
                    let since = *task.since.get_or_insert(now.into_std());
                    let send = async move { drain.send(batch, attempt, since, SystemTime::now()).await };
                    let handle = self.running.spawn(send);
                    self.begun.insert(handle.id(), Begun { task, at: now, hurry: self.hurry });
                }
                Err(step) => {
                    self.finish(task, step, self.hurry, orders.stopping);
                    // One at a time: it can be many.
                    return true;
                }
            }
        }
        false
    }

    /// What is due by turns with what is new: endpoints that hang must not take every place, again and again.
    fn next_task(&mut self, now: Instant) -> Option<Task> {
        if let Some(task) = self.due.pop_front() {
            return Some(task);
        }
        let new = || self.drain.spool.checkout().map(Task::new);
        let again = |later: &mut BTreeMap<_, _>| {
            let first = later.first_entry().filter(|entry: &OccupiedEntry<'_, (Instant, u64), _>| entry.key().0 <= now);
            first.map(OccupiedEntry::remove)
        };
        self.new_first = !self.new_first;
        if self.new_first { new().or_else(|| again(&mut self.later)) } else { again(&mut self.later).or_else(new) }
    }

    fn end_step(&mut self, ended: Result<(Id, Step), JoinError>, stopping: bool) {
        let (id, step) = ended.unwrap_or_else(|error| (error.id(), panicked("a hook")));
        let Some(Begun { task, at, hurry }) = self.begun.remove(&id) else { return };
        match &step {
            Step::Delivered | Step::DeliveredInPart(_) | Step::Divided(_) | Step::Refused(_) => {
                self.limit.answered(at.elapsed());
            }
            Step::Failed(Failure { again: Again::Backoff | Again::After(_), .. }) => {
                self.limit.overloaded(at.into_std(), std::time::Instant::now());
            }
            _ => {}
        }
        self.finish(task, step, hurry, stopping);
    }

    fn finish(&mut self, task: Task, step: Step, hurry: u64, stopping: bool) {
        // Whoever flushes meanwhile wants one more attempt, and not when its time comes.
        let hurried = hurry != self.control.orders().hurry;
        if task.lingered {
            self.lingering.remove(&task.partition);
        }
        self.note_reach(&step, hurried);
        if let Step::DeliveredInPart(failure) | Step::Refused(failure) = &step {
            self.report_refusal(failure);
        }
        match step {
            Step::Delivered | Step::DeliveredInPart(_) | Step::Empty => {
                self.refusals.remove(&task.partition);
                self.recover(&task.partition);
                task.partition.release(task.start.is_some());
            }
            Step::Wait(left) if !hurried && task.partition.linger() => {
                let partition = task.partition.clone();
                // Timed by a clock that nobody sets.
                let at = self.postpone(Task { lingered: true, ..task }, left);
                self.lingering.insert(partition, at);
            }
            Step::Wait(_) | Step::Passed => self.due.push_back(Task { lingered: false, ..task }),
            Step::Divided(failure) | Step::Refused(failure) => {
                let refusals = self.count_refusal(&task.partition, &failure);
                let task = Task::new(task.partition);
                if refusals < MAX_REFUSALS {
                    self.due.push_back(task);
                } else if !stopping {
                    self.postpone(task, self.retry.slow(fastrand::f64()));
                }
            }
            Step::Failed(failure) => {
                self.report(&task, &failure);
                // On the way out each partition has one attempt; the rest stays for the next start.
                if !stopping {
                    let delay = match failure.again {
                        Again::Backoff | Again::Unreachable | Again::Unasked => {
                            self.retry.backoff(task.attempt, fastrand::f64())
                        }
                        // A server that says "now", always, or whose clock is slow, shall not be asked without end.
                        Again::After(after) => {
                            let own = self.retry.backoff(task.attempt, fastrand::f64()).min(Duration::from_secs(1));
                            after.min(self.retry.max_retry_after).max(own)
                        }
                        Again::Slowly => self.retry.slow(fastrand::f64()),
                    };
                    let delay = if hurried { Duration::ZERO } else { delay };
                    self.postpone(Task { attempt: task.attempt.saturating_add(1), ..task }, delay);
                }
            }
        }
    }

    /// Notes whether the endpoint can be reached.
    fn note_reach(&mut self, step: &Step, hurried: bool) {
        match step {
            // Of a request that was under way already.
            Step::Failed(Failure { again: Again::Unreachable, .. })
                if self.probe_at.is_some_and(|at| at > Instant::now()) => {}
            Step::Failed(Failure { again: Again::Unreachable, .. }) => {
                self.unreachable = self.unreachable.saturating_add(1);
                if let Some(probes @ 1..) = self.unreachable.checked_sub(MAX_UNREACHABLE - 1) {
                    let delay = if hurried { Duration::ZERO } else { self.retry.backoff(probes, fastrand::f64()) };
                    self.probe_at = Some(later(delay));
                }
            }
            Step::Failed(Failure { again: Again::Unasked, .. }) | Step::Passed | Step::Empty | Step::Wait(_) => {}
            Step::Delivered | Step::DeliveredInPart(_) | Step::Divided(_) | Step::Refused(_) | Step::Failed(_) => {
                (self.unreachable, self.probe_at) = (0, None);
            }
        }
    }

    fn postpone(&mut self, task: Task, delay: Duration) -> (Instant, u64) {
        let at = later(delay);
        self.ticket += 1;
        self.later.insert((at, self.ticket), task);
        (at, self.ticket)
    }

    /// Tells of the first records that are set aside.
    fn report_refusal(&mut self, Failure { batch, reason, .. }: &Failure) {
        self.drain.counters.set_last_error(reason.clone());
        if !std::mem::replace(&mut self.warned_of_refusal, true) {
            self.events.report(SpoolEvent::RecordsRejected { batch: batch.clone(), reason: reason.clone() });
        }
    }

    /// Tells when a partition seems to be refused altogether.
    fn count_refusal(&mut self, partition: &Partition, failure: &Failure) -> u32 {
        self.drain.counters.set_last_error(failure.reason.clone());
        let refusals = self.refusals.entry(partition.clone()).or_default();
        *refusals = refusals.saturating_add(1);
        if *refusals == MAX_REFUSALS {
            self.events.report(SpoolEvent::EverythingRejected { reason: failure.reason.clone() });
        }
        *refusals
    }

    /// Nothing is wrong with a partition any more.
    fn recover(&mut self, partition: &Partition) {
        self.held.remove(partition);
        if self.failing.remove(partition) && self.failing.is_empty() {
            self.events.report(SpoolEvent::DeliveryResumed);
        }
    }

    /// Warns when the first partition begins to fail, and when the first one is held.
    fn report(&mut self, task: &Task, failure: &Failure) {
        let (batch, reason) = (failure.batch.clone(), failure.reason.clone());
        self.drain.counters.set_last_error(reason.clone());
        let first_failing = self.failing.is_empty();
        self.failing.insert(task.partition.clone());
        let first_held = if failure.again == Again::Slowly {
            self.held.insert(task.partition.clone()) && self.held.len() == 1
        } else {
            self.held.remove(&task.partition);
            false
        };
        if first_held {
            self.events.report(SpoolEvent::BatchHeld { batch, reason });
        } else if first_failing {
            self.events.report(SpoolEvent::DeliveryFailing { batch, reason });
        } else {
            otel_debug!(name: "Spool.AttemptFailed", batch = batch, reason = reason);
        }
    }
}
