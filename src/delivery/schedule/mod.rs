//! The schedule: which partition is tried when, and what a step's end changes about that.

mod failures;

use std::collections::btree_map::OccupiedEntry;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry::otel_debug;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

use crate::config::values::{Pace, RetryPolicy};
use crate::delivery::attempt::{Sender, Step};
use crate::delivery::concurrency::AdaptiveConcurrency;
use crate::delivery::experiments::Experiments;
use crate::delivery::failure::{Failure, Report, Retry};
use crate::delivery::health::{Change, Partitions, Reach, Ticket};
use crate::delivery::retry::{Backoff, Curve, after};
use crate::delivery::source::{Partition, Source};
use crate::delivery::task::{Purpose, Task};
use crate::delivery::worker::{Control, Orders};
use crate::observe::event::{Events, SpoolEvent};

/// The most requests in flight at the same time, of all partitions together, unless a single one may have more.
const MAX_IN_FLIGHT: usize = 16;

/// The interval at which queues are looked for whose owner is gone.
const ADOPT_EVERY: Duration = Duration::from_secs(10);

fn panicked(what: &str) -> Step {
    let (batch, reason) = (String::new(), format!("{what} panicked"));
    Step::Failed(Failure { batch, reason, retry: Retry::NotSent, failed: None })
}

/// Whether the batch of a task is new while its partition has a backlog as well.
fn is_beside_backlog<P: Partition>(task: &Task<P>) -> bool {
    task.start.is_some_and(|start| task.partition.is_beside_backlog(start))
}

/// The shortest time between two marks that part new records from a backlog: a segment ends at each.
const MARK_EVERY: Duration = Duration::from_secs(10);

/// The time until what is parked is tried while one request probes the endpoint for all.
const PROBING_DELAY: Duration = Duration::from_secs(5);

/// A task whose request is in flight.
struct InFlight<P: Partition> {
    task: Task<P>,
    batch: Arc<P::Batch>,
    begun: Begun,
}

/// The beginning of a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    at: Instant,
    /// How often there had been a hurry.
    hurry: u64,
    /// The number of its request, where its partition counts them.
    pub(super) request: u64,
    /// It began beside the probe, since there is a connection again.
    beside: bool,
    /// One draw for the partition and for the endpoint: the longer delay decides, and it is as random as each.
    pub(super) random: f64,
}

/// The batches of a source.
pub(super) type BatchOf<S> = <<S as Source>::Partition as Partition>::Batch;

/// The state of the delivery.
pub(crate) struct Schedule<S: Source> {
    pub(super) spool: Arc<S>,
    pub(super) sender: Arc<Sender>,
    control: Arc<Control>,
    pub(super) events: Arc<Events>,
    pub(super) retry: RetryPolicy,
    pub(in crate::delivery) curve: Curve,
    /// The number of requests that each partition may have in flight.
    concurrency: AdaptiveConcurrency,
    /// The most requests in flight, of all partitions together.
    max_in_flight: usize,
    running: JoinSet<Step>,
    in_flight: HashMap<Id, InFlight<S::Partition>>,
    /// Tasks that found no connection, to be tried at once since there is one again: also while one request probes for
    /// all.
    returned: VecDeque<Task<S::Partition>>,
    /// Tasks to be tried at once.
    pub(super) due: VecDeque<Task<S::Partition>>,
    /// Tasks to be tried later, by their time.
    pub(super) postponed: BTreeMap<Ticket, Task<S::Partition>>,
    /// The partitions whose backlogs rest, by the time at which that ends.
    resting: BTreeMap<Ticket, S::Partition>,
    /// Makes tickets of the same time differ.
    tickets: u64,
    new_first: bool,
    adopt_at: Instant,
    /// The share of the requests that a backlog has, if new records are not to wait for it.
    backlog_share: Option<f64>,
    /// The time before which no mark is set between the two.
    mark_at: Instant,
    /// The partitions for which one is to be set then.
    mark_due: HashSet<S::Partition>,
    pub(super) partitions: Partitions<S::Partition>,
    pub(super) experiments: Experiments<S::Partition>,
    reach: Reach<S::Partition>,
    hurry: u64,
    reported_rejection: bool,
    reported_unconfirmed: bool,
}

impl<S: Source> Schedule<S> {
    pub(crate) fn new(spool: Arc<S>, sender: Sender, control: Arc<Control>, events: Arc<Events>, pace: Pace) -> Self {
        if let Some(share) = pace.backlog_share {
            // What is there since before the process began is a backlog.
            spool.mark(share);
        }
        Self {
            spool,
            sender: Arc::new(sender),
            control,
            events,
            retry: pace.retry,
            curve: Curve::default(),
            concurrency: AdaptiveConcurrency::new(pace.max_in_flight),
            max_in_flight: MAX_IN_FLIGHT.max(pace.max_in_flight.into()),
            running: JoinSet::new(),
            in_flight: HashMap::new(),
            returned: VecDeque::new(),
            due: VecDeque::new(),
            postponed: BTreeMap::new(),
            resting: BTreeMap::new(),
            tickets: 0,
            new_first: false,
            adopt_at: Instant::now(),
            backlog_share: pace.backlog_share,
            mark_at: Instant::now(),
            mark_due: HashSet::new(),
            partitions: Partitions::default(),
            experiments: Experiments::new(pace.strict_order, pace.defer_for),
            reach: Reach::default(),
            hurry: 0,
            reported_rejection: false,
            reported_unconfirmed: false,
        }
    }

    /// Delivers until the order to stop. A request that is in flight then is broken off: its batch stays in the spool
    /// under its id.
    pub(crate) async fn run(mut self) {
        loop {
            let orders = self.control.orders();
            let now = Instant::now();
            if orders.stop_at.is_some_and(|at| at <= now) {
                break;
            }
            self.follow(orders, now);
            if !orders.paused && self.begin_steps(now, orders) {
                // Requests in flight do not wait for all steps that come to nothing.
                self.control.wake();
                tokio::task::yield_now().await;
            }
            let nothing_left = orders.paused || self.spool.is_recovered();
            let nothing_due = self.returned.is_empty() && self.due.is_empty();
            if orders.stopping && self.running.is_empty() && nothing_due && nothing_left {
                break;
            }
            let wake_at = self.wake_at(now, orders);
            tokio::select! {
                biased;
                Some(ended) = self.running.join_next_with_id() => self.end_step(ended, orders.stopping),
                () = self.control.changed() => {}
                () = sleep_until(wake_at.unwrap_or(now)), if wake_at.is_some() => {}
            }
        }
        self.running.shutdown().await;
    }

    /// Does what orders, time and the spool ask for before the next steps.
    fn follow(&mut self, orders: Orders, now: Instant) {
        if std::mem::replace(&mut self.hurry, orders.hurry) != orders.hurry {
            self.due.extend(std::mem::take(&mut self.postponed).into_values());
            for partition in std::mem::take(&mut self.resting).into_values() {
                self.end_rest(&partition);
            }
            self.reach.hurry(now);
            self.experiments.hurry(now);
        }
        self.mark(now);
        while let Some(rested) = self.resting.first_entry().filter(|entry| entry.key().0 <= now) {
            let partition = rested.remove();
            self.end_rest(&partition);
        }
        if !orders.stopping && (self.adopt_at <= now || self.spool.may_adopt()) {
            self.spool.adopt();
            self.adopt_at = now + ADOPT_EVERY;
            // Some are parked since before the process began.
            for partition in self.spool.with_parked() {
                self.start_aside(&partition);
            }
            self.partitions.forget_backoffs(&self.retry, now);
        }
        for partition in self.spool.take_filled() {
            let ticket = self.partitions.set_lingering(&partition, None);
            self.due.extend(ticket.and_then(|ticket| self.postponed.remove(&ticket)));
        }
    }

    /// The time at which there is something to do if nothing happens before.
    fn wake_at(&self, now: Instant, orders: Orders) -> Option<Instant> {
        let idle = !orders.paused && self.running.len() < self.max_in_flight();
        let (postponed, resting) = (self.postponed.keys().next(), self.resting.keys().next());
        let first = postponed.into_iter().chain(resting).map(|(at, _)| *at).min();
        let next = self.reach.probe_at().filter(|at| *at > now).or(first);
        let adopt_at = (!orders.stopping).then_some(self.adopt_at);
        let mark_at = (!self.mark_due.is_empty()).then_some(self.mark_at);
        [next.filter(|_| idle), orders.stop_at, adopt_at, mark_at].into_iter().flatten().min()
    }

    fn max_in_flight(&self) -> usize {
        if self.reach.probe_at().is_some() { 1 } else { self.max_in_flight }
    }

    /// Begins what may be begun. True if a step came to nothing: there may be more to begin then.
    fn begin_steps(&mut self, now: Instant, orders: Orders) -> bool {
        let force = orders.flushing > 0 || orders.stopping;
        while self.running.len() < self.max_in_flight && !self.control.is_paused() {
            let beside = !self.returned.is_empty();
            let Some(mut task) = self.next_task(now) else { return false };
            task.unreachable = false;
            if !task.is_in_order() && orders.stopping {
                self.give_up_experiment(&task);
                continue;
            }
            // While one request probes for all, it is one that is to be taken.
            if matches!(task.purpose, Purpose::Aside) && self.reach.probe_at().is_some() {
                self.postpone_aside(task, PROBING_DELAY);
                continue;
            }
            task.partition.allow(self.concurrency.get());
            let begun = Begun {
                at: now,
                hurry: self.hurry,
                request: self.experiments.begin(&task.partition),
                beside,
                random: fastrand::f64(),
            };
            let take = || self.take(&mut task, now, force);
            let taken = catch_unwind(AssertUnwindSafe(take));
            match taken.unwrap_or_else(|_| Err(Some(panicked("reading the spool")))) {
                Ok(batch) => {
                    let batch = Arc::<BatchOf<S>>::from(batch);
                    let (sender, tries, of_task) = (self.sender.clone(), task.next_try(), batch.clone());
                    let attempt = async move { sender.attempt(&*of_task, &tries, SystemTime::now()).await };
                    let handle = self.running.spawn(attempt);
                    self.in_flight.insert(handle.id(), InFlight { task, batch, begun });
                }
                Err(step) => {
                    if let Some(step) = step {
                        self.finish(task, step, None, begun, orders.stopping);
                    }
                    // There can be many such tasks: a call ends one of them, so that the loop comes to other work.
                    return true;
                }
            }
        }
        false
    }

    /// The batch that is sent next for a task; else the step that stands for there being none, unless the task was seen to.
    fn take(
        &mut self,
        task: &mut Task<S::Partition>,
        now: Instant,
        force: bool,
    ) -> Result<Box<BatchOf<S>>, Option<Step>> {
        let (wall, before) = (SystemTime::now(), task.start);
        let batch = match &task.purpose {
            Purpose::InOrder => {
                let batch = task.take(wall, force).map_err(Some)?;
                if task.start != before {
                    // What it failed with is gone: evicted, for example.
                    self.experiments.forget(&task.partition, before);
                }
                batch
            }
            Purpose::Control { control, .. } => task.take_control(*control, wall).map_err(Some)?,
            Purpose::Aside => self.take_aside(task, now)?,
        };
        task.tries.since.get_or_insert(now.into_std());
        task.tries.plain |= self.experiments.gzip.is_off(now);
        Ok(batch)
    }

    /// The next task: those for which there is a connection again, then due ones, then new and postponed ones by turns,
    /// so that endpoints that hang do not take every place every time.
    fn next_task(&mut self, now: Instant) -> Option<Task<S::Partition>> {
        if let Some(task) = self.returned.pop_front() {
            return Some(task);
        }
        if self.reach.probe_at().is_some_and(|at| at > now || !self.running.is_empty()) {
            return None;
        }
        if let Some(task) = self.due.pop_front() {
            return Some(task);
        }
        let new = || self.spool.checkout().map(Task::new);
        let postponed = |postponed: &mut BTreeMap<_, _>| {
            let first = postponed.first_entry();
            let due = first.filter(|entry: &OccupiedEntry<'_, Ticket, _>| entry.key().0 <= now);
            due.map(OccupiedEntry::remove)
        };
        self.new_first = !self.new_first;
        if self.new_first {
            new().or_else(|| postponed(&mut self.postponed))
        } else {
            postponed(&mut self.postponed).or_else(new)
        }
    }

    fn end_step(&mut self, ended: Result<(Id, Step), JoinError>, stopping: bool) {
        let (id, step) = ended.unwrap_or_else(|error| (error.id(), panicked("a hook")));
        let Some(InFlight { task, batch, begun }) = self.in_flight.remove(&id) else { return };
        if task.is_in_order() {
            self.note_load(&step, &task, begun.at);
            self.note_pace(&task, &step, begun.at);
        }
        self.finish(task, step, Some(batch), begun, stopping);
    }

    fn note_load(&mut self, step: &Step, task: &Task<S::Partition>, begun: Instant) {
        match step {
            Step::Delivered | Step::DeliveredPartially(_) | Step::Unconfirmed(_) => {
                self.concurrency.responded(begun.elapsed());
            }
            // As a rule, a connection closed that was kept.
            Step::Failed(Failure { retry: Retry::Interrupted, .. }) if !task.tries.repeated => {}
            Step::Failed(Failure { retry: Retry::Backoff | Retry::Interrupted | Retry::After(_), .. }) => {
                self.concurrency.overloaded(begun, Instant::now());
            }
            _ => {}
        }
    }

    /// Ends a step: of the batch, if it came to that.
    fn finish(
        &mut self,
        task: Task<S::Partition>,
        step: Step,
        batch: Option<Arc<BatchOf<S>>>,
        begun: Begun,
        stopping: bool,
    ) {
        if matches!(step, Step::Failed(_)) {
            self.spool.note_news();
        }
        // Whoever flushes meanwhile wants one more attempt at once.
        let hurried = begun.hurry != self.control.orders().hurry;
        if task.lingered {
            self.partitions.set_lingering(&task.partition, None);
        }
        let says_little = |step: &Step| matches!(step, Step::Failed(failure) if failure.retry != Retry::Unreachable);
        if !(matches!(task.purpose, Purpose::Aside) && says_little(&step)) {
            self.note_reach(&task.partition, &step, begun, hurried);
        }
        match &step {
            Step::DeliveredPartially(report) => self.report_rejection(report),
            Step::Unconfirmed(report) => self.report_unconfirmed(report),
            _ => {}
        }
        match &task.purpose {
            Purpose::InOrder => self.finish_in_order(task, step, batch, begun, (hurried, stopping)),
            Purpose::Control { .. } => self.finish_control(task, step, batch, begun, stopping),
            Purpose::Aside => self.finish_aside(task, step, batch, begun),
        }
    }

    fn finish_in_order(
        &mut self,
        task: Task<S::Partition>,
        step: Step,
        batch: Option<Arc<BatchOf<S>>>,
        begun: Begun,
        (hurried, stopping): (bool, bool),
    ) {
        match step {
            Step::Delivered | Step::DeliveredPartially(_) | Step::Unconfirmed(_) | Step::Empty => {
                match &batch {
                    Some(batch) => {
                        self.note_taken(&task, batch, begun);
                        if self.backlog_share.is_some() && self.partitions.is_failing(&task.partition) {
                            self.part(&task.partition);
                        }
                    }
                    None => self.experiments.forget(&task.partition, task.start),
                }
                self.flow_on(task, begun.random, hurried);
            }
            Step::Linger(left) if !hurried && task.partition.linger() => {
                let partition = task.partition.clone();
                // Timed by a clock that nobody sets.
                let ticket = self.postpone(Task { lingered: true, ..task }, left);
                self.partitions.set_lingering(&partition, Some(ticket));
            }
            Step::Linger(_) | Step::Skipped => {
                self.experiments.forget(&task.partition, task.start);
                self.due.push_back(Task { lingered: false, ..task });
            }
            Step::Failed(failure) => {
                self.sender.counters.set_last_error(failure.reason.clone());
                // Each partition has one attempt before the end; the rest stays for the next start.
                if stopping {
                    self.report_failure(&task, &failure, failure.retry == Retry::Hold);
                } else {
                    self.fail_in_order(task, failure, batch, begun, hurried);
                }
            }
        }
    }

    /// Makes the next attempt at a batch, after its delay.
    pub(super) fn retry(&mut self, mut task: Task<S::Partition>, delay: Duration) {
        task.tries.attempt = task.tries.attempt.saturating_add(1);
        if delay.is_zero() {
            self.due.push_back(task);
        } else {
            self.postpone(task, delay);
        }
    }

    /// Goes on with what follows a batch that is delivered or parked: at once, or after a while if the partition has failed of
    /// late.
    pub(super) fn flow_on(&mut self, task: Task<S::Partition>, random: f64, hurried: bool) {
        if self.partitions.delivered(&task.partition) {
            self.events.report(SpoolEvent::DeliveryResumed);
        }
        let urgent = hurried || self.is_urgent();
        let formed = task.start.is_some();
        let backoff = self.partitions.backoff_of(&task.partition);
        if urgent || !formed || backoff.is_over() {
            return task.partition.release(formed);
        }
        let delay = backoff.delay(&self.curve, random);
        if self.backlog_share.is_some() && !backoff.is_refused() {
            if !is_beside_backlog(&task) {
                self.rest(&task.partition, delay);
            }
            task.partition.release(formed);
        } else {
            self.postpone(Task::new(task.partition), delay);
        }
    }

    /// Has the backlog of a partition rest. Its new records go on as before the outage: the endpoint was made for them.
    fn rest(&mut self, partition: &S::Partition, delay: Duration) {
        if !self.partitions.set_resting(partition, true) {
            partition.rest(true);
            self.tickets += 1;
            self.resting.insert((after(Instant::now(), delay), self.tickets), partition.clone());
        }
    }

    fn end_rest(&mut self, partition: &S::Partition) {
        self.partitions.set_resting(partition, false);
        partition.rest(false);
        // It need not wait for new records that linger.
        let lingering =
            self.partitions.set_lingering(partition, None).and_then(|ticket| self.postponed.remove(&ticket));
        self.due.extend(lingering.map(|task| Task { lingered: false, ..task }));
    }

    /// Parts the new records of a partition that goes on after failures from what waits, if that is more than a batch: at
    /// the last mark, since most partitions go on shortly after another one, and at one of its own.
    fn part(&mut self, partition: &S::Partition) {
        if partition.has_backlog() {
            partition.join_mark();
            self.mark_due.insert(partition.clone());
            self.mark(Instant::now());
        }
    }

    /// Has new records share the requests with what waits, if a partition that goes on after failures has more of that than
    /// a batch; as soon as the mark before is old enough.
    fn mark(&mut self, now: Instant) {
        if self.mark_due.is_empty() || self.mark_at > now {
            return;
        }
        let Some(share) = self.backlog_share else { return };
        for partition in std::mem::take(&mut self.mark_due).into_iter().filter(Partition::has_backlog) {
            self.mark_at = after(now, MARK_EVERY);
            partition.mark(share);
        }
    }

    pub(super) fn delay(&mut self, task: &Task<S::Partition>, retry: Retry, random: f64) -> Duration {
        let backoff = self.partitions.backoff_of(&task.partition);
        match retry {
            Retry::Backoff | Retry::Interrupted | Retry::Unconfirmed | Retry::Unreachable => {
                backoff.delay(&self.curve, random)
            }
            Retry::NotSent => self.retry.backoff(task.tries.attempt, random),
            Retry::After(delay) => backoff.delay_after(&self.curve, delay.min(self.retry.max_retry_after), random),
            Retry::Hold => self.retry.slow(random),
        }
    }

    /// Whether a batch that is delivered says nothing about the pace of its partition: the backlog alone has one, and it is
    /// none of that. The first one after a failure always does.
    fn keeps_no_pace(&self, task: &Task<S::Partition>) -> bool {
        let (partition, is_shared) = (&task.partition, self.backlog_share.is_some());
        let is_paced = self.partitions.is_failing(partition) || self.partitions.backoff_of(partition).is_refused();
        is_shared && !is_paced && is_beside_backlog(task)
    }

    /// Notes what a step says about the pace at which its partition may go on.
    fn note_pace(&mut self, task: &Task<S::Partition>, step: &Step, begun: Instant) {
        let (policy, curve, partition) = (self.retry, self.curve, &task.partition);
        let mut fail = |refused| {
            self.partitions.change_backoff(partition, |backoff| backoff.failed(&policy, &curve, refused, begun));
        };
        match step {
            // As a rule, a connection closed that was kept.
            Step::Failed(Failure { retry: Retry::Interrupted, .. }) if !task.tries.repeated => {}
            Step::Failed(Failure {
                retry: Retry::Backoff | Retry::Interrupted | Retry::Unconfirmed | Retry::After(_),
                ..
            }) => fail(true),
            Step::Failed(Failure { retry: Retry::Unreachable, .. }) => fail(false),
            Step::Delivered | Step::DeliveredPartially(_) | Step::Unconfirmed(_) if !self.keeps_no_pace(task) => {
                self.partitions.change_backoff(partition, |backoff| backoff.succeeded(&policy, &curve));
            }
            _ => {}
        }
    }

    fn note_reach(&mut self, partition: &S::Partition, step: &Step, begun: Begun, hurried: bool) {
        let (policy, curve, now) = (self.retry, self.curve.of_endpoint(), Instant::now());
        // Beside the probe, a response says nothing that would let the next one come earlier.
        let earliest = self.reach.probe_at().filter(|_| begun.beside).unwrap_or(now);
        let draw = |backoff: &Backoff| {
            let delay = if hurried { Duration::ZERO } else { backoff.delay(&curve, begun.random) };
            after(now, delay).max(earliest)
        };
        let raise = |refused| {
            move |backoff: &mut Backoff| {
                backoff.failed(&policy, &curve, refused, now);
                draw(backoff)
            }
        };
        let is_urgent = self.is_urgent();
        let ease = |backoff: &mut Backoff| {
            backoff.succeeded(&policy, &curve);
            if is_urgent { now } else { draw(backoff) }
        };
        match step {
            Step::Failed(Failure { retry: Retry::Unreachable, .. }) => self.reach.unreachable(now, raise(false)),
            Step::Failed(Failure { retry: Retry::After(_), .. }) => self.reach.throttled(partition, now, raise(true)),
            Step::Failed(Failure { retry: Retry::Backoff | Retry::Interrupted, .. }) => {
                self.reach.responded(false, |backoff| draw(backoff));
            }
            Step::Failed(Failure { retry: Retry::NotSent, .. }) | Step::Skipped | Step::Empty | Step::Linger(_) => {}
            Step::Failed(_) if begun.beside => self.reach.responded_beside(false),
            Step::Delivered | Step::DeliveredPartially(_) | Step::Unconfirmed(_) if begun.beside => {
                self.reach.responded_beside(true);
            }
            Step::Failed(_) => self.reach.responded(false, ease),
            Step::Delivered | Step::DeliveredPartially(_) | Step::Unconfirmed(_) => self.reach.responded(true, ease),
        }
        match step {
            Step::Delivered | Step::DeliveredPartially(_) | Step::Unconfirmed(_) if self.reach.take_returned() => {
                self.try_unreachable();
            }
            Step::Failed(Failure {
                retry: Retry::Unreachable | Retry::Backoff | Retry::Interrupted | Retry::After(_),
                ..
            }) => self.put_off_returned(hurried),
            _ => {}
        }
    }

    /// Whether somebody waits for all to be delivered, so that what is delivered is followed by the rest at once.
    fn is_urgent(&self) -> bool {
        let orders = self.control.orders();
        orders.flushing > 0 || orders.stopping
    }

    /// Has each partition tried now that found no connection. The pace makes up for it afterwards, unless somebody waits:
    /// a fleet that comes back asks for no more than it would without that.
    fn try_unreachable(&mut self) {
        let found_none = self.postponed.iter().filter(|(_, task)| task.unreachable).map(|(ticket, _)| *ticket);
        let tickets: Vec<_> = found_none.collect();
        self.returned.extend(tickets.into_iter().filter_map(|ticket| self.postponed.remove(&ticket)));
        let (returned, due): (VecDeque<_>, _) = self.due.drain(..).partition(|task| task.unreachable);
        self.returned.extend(returned);
        self.due = due;
        let (now, longest) = (Instant::now(), self.retry.max_delay.saturating_mul(2));
        if self.backlog_share.is_some() {
            // New records keep no pace, and the backlog of each partition keeps its own.
            self.reach.end_probing_for_connection();
        }
        if !self.is_urgent() {
            self.reach.borrow(self.returned.len(), &self.curve.of_endpoint(), after(now, longest));
        }
    }

    /// Has those wait for their own delays that are not tried again yet: it is not as well as it seemed.
    fn put_off_returned(&mut self, hurried: bool) {
        let returned = std::mem::take(&mut self.returned);
        if hurried || self.is_urgent() {
            // Whoever waits for them wants an attempt at each.
            return self.due.extend(returned);
        }
        for task in returned {
            let delay = self.delay(&task, Retry::Unreachable, fastrand::f64());
            self.postpone(task, delay);
        }
    }

    pub(super) fn postpone(&mut self, task: Task<S::Partition>, delay: Duration) -> Ticket {
        self.tickets += 1;
        let ticket = (after(Instant::now(), delay), self.tickets);
        self.postponed.insert(ticket, task);
        ticket
    }

    /// Reports the first records that go to the rejected store.
    pub(super) fn report_rejection(&mut self, Report { batch, reason }: &Report) {
        self.sender.counters.set_last_error(reason.clone());
        if !std::mem::replace(&mut self.reported_rejection, true) {
            self.events.report(SpoolEvent::RecordsRejected { batch: batch.clone(), reason: reason.clone() });
        }
    }

    /// Reports the first batch that counts as delivered though that could not be confirmed.
    fn report_unconfirmed(&mut self, Report { batch, reason }: &Report) {
        self.sender.counters.set_last_error(reason.clone());
        if !std::mem::replace(&mut self.reported_unconfirmed, true) {
            self.events.report(SpoolEvent::DeliveryUnconfirmed { batch: batch.clone(), reason: reason.clone() });
        }
    }

    /// Reports when the first partition begins to fail, and when the first one is held.
    pub(super) fn report_failure(&mut self, task: &Task<S::Partition>, failure: &Failure, held: bool) {
        let (batch, reason) = (failure.batch.clone(), failure.reason.clone());
        match self.partitions.failed(&task.partition, held) {
            Change::Held => self.events.report(SpoolEvent::BatchHeld { batch, reason }),
            Change::Failing => self.events.report(SpoolEvent::DeliveryFailing { batch, reason }),
            Change::Worse => {
                otel_debug!(name: "Spool.AttemptFailed", batch = batch, reason = reason);
            }
        }
    }
}
