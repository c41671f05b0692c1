//! What the schedule does about failures: it carries out what [`Blame`] decides, and sends what finds out more.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry::otel_debug;
use tokio::time::Instant;

use super::{BatchOf, Begun, Schedule};
use crate::delivery::attempt::Step;
use crate::delivery::blame::{Action, Aside, Blame, Move, Unsent};
use crate::delivery::failure::{Failed, Failure, Report, Retry};
use crate::delivery::retry::{Backoff, after};
use crate::delivery::source::{Batch, Fate, Partition, Source};
use crate::delivery::task::{Purpose, Task};
use crate::delivery::tries::{Compressed, Tries};
use crate::error::error_chain;
use crate::observe::event::SpoolEvent;
use crate::spool::BatchStart;
use crate::transport::verdict::Suspicion;

/// The time until an experiment is tried again that had no room.
const NO_ROOM_DELAY: Duration = Duration::from_secs(1);

/// What failed in its place.
impl<S: Source> Schedule<S> {
    /// Notes that the endpoint took a batch in its place.
    pub(super) fn note_taken(&mut self, task: &Task<S::Partition>, batch: &BatchOf<S>, begun: Begun) {
        let now = Instant::now();
        self.experiments.taken_at = Some(now);
        self.note_compression(batch, &task.tries, now);
        if self.experiments.blames.is_empty() {
            return;
        }
        if let Some(blame) = self.experiments.blames.get_mut(&task.partition) {
            blame.taken(batch.start(), batch.bytes(), begun.request, now);
            self.experiments.tidy(&task.partition);
            self.hasten_aside(&task.partition);
        }
    }

    fn note_compression(&mut self, batch: &BatchOf<S>, tries: &Tries, now: Instant) {
        match &tries.compressed {
            _ if !batch.is_compressed() => {}
            Compressed::Trying(before) if self.experiments.gzip.taken_plain(batch.id(), now) => {
                self.events.report(SpoolEvent::CompressionRefused { reason: before.0.reason.clone() });
            }
            _ if !tries.plain => self.experiments.gzip.taken(),
            _ => {}
        }
    }

    /// Does what comes next for a batch that failed in its place.
    pub(super) fn fail_in_order(
        &mut self,
        mut task: Task<S::Partition>,
        mut failure: Failure,
        batch: Option<Arc<BatchOf<S>>>,
        begun: Begun,
        hurried: bool,
    ) {
        let now = Instant::now();
        task.unreachable = failure.retry == Retry::Unreachable;
        let Some(failed) = failure.failed.take() else {
            // Nothing was learned about the batch; or it was taken, as far as is known.
            task.tries.unconfirmed += u32::from(failure.retry == Retry::Unconfirmed);
            let held = failure.retry == Retry::Hold;
            self.report_failure(&task, &failure, held);
            let delay = if hurried { Duration::ZERO } else { self.delay(&task, failure.retry, begun.random) };
            return self.retry(task, delay);
        };
        let Some(batch) = batch else { return };
        // A connection that was kept may close just when it is used.
        if failure.retry == Retry::Interrupted && !std::mem::replace(&mut task.tries.repeated, true) {
            otel_debug!(name: "Spool.AttemptRepeated", batch = failure.batch.clone(), reason = failure.reason.clone());
            return self.retry(task, Duration::ZERO);
        }
        let Some((failure, failed)) = Self::try_plain(&mut task, &batch, failure, failed) else {
            return self.retry(task, Duration::ZERO);
        };
        if failed.suspicion == Suspicion::Time && self.lengthen(&mut task.tries) {
            self.report_failure(&task, &failure, false);
            let delay = if hurried { Duration::ZERO } else { self.delay(&task, failure.retry, begun.random) };
            return self.retry(task, delay);
        }
        let blame = self.experiments.blame(&task.partition);
        let unsent = unsent(&task.partition, blame, batch.start());
        let next = blame.failed(batch.start(), &failed, begun.request, unsent, now);
        self.follow_move(task, (failure, failed), next, Some(batch), (begun, hurried));
    }

    /// Tries a batch plain that failed compressed: `None`. Once that was tried, the failure that counts.
    fn try_plain(
        task: &mut Task<S::Partition>,
        batch: &BatchOf<S>,
        failure: Failure,
        failed: Box<Failed>,
    ) -> Option<(Failure, Box<Failed>)> {
        match std::mem::replace(&mut task.tries.compressed, Compressed::Tried) {
            Compressed::Tried => Some((failure, failed)),
            Compressed::Trying(before) => {
                task.tries.plain = false;
                if matches!(failed.suspicion, Suspicion::Load | Suspicion::Time | Suspicion::Unknown)
                    && before.1.suspicion != failed.suspicion
                {
                    // Something else came in between.
                    task.tries.compressed = Compressed::Untried;
                }
                // That it is too large plain says nothing.
                Some(if failed.suspicion == Suspicion::Size { *before } else { (failure, failed) })
            }
            Compressed::Untried => {
                let may_be_it = failed.may_be_compression(task.tries.attempt);
                if !batch.is_compressed() || task.tries.plain || !may_be_it {
                    task.tries.compressed = Compressed::Untried;
                    return Some((failure, failed));
                }
                task.tries.plain = true;
                task.tries.compressed = Compressed::Trying(Box::new((failure, failed)));
                None
            }
        }
    }

    /// Gives a batch more time; false if it has all that it may have.
    fn lengthen(&self, tries: &mut Tries) -> bool {
        let timeouts = self.sender.timeouts;
        let before = tries.timeout.unwrap_or(timeouts.first);
        let longer = before.saturating_mul(2).min(timeouts.max);
        tries.timeout = Some(longer);
        longer > before
    }

    /// Does what was decided about a batch in its place. The batch is needed to cut or park it.
    fn follow_move(
        &mut self,
        mut task: Task<S::Partition>,
        (failure, failed): (Failure, Box<Failed>),
        next: Move<BatchStart>,
        batch: Option<Arc<BatchOf<S>>>,
        (begun, hurried): (Begun, bool),
    ) {
        let now = Instant::now();
        match (next, batch) {
            (Move::Confirm, _) => self.retry(task, Duration::ZERO),
            (Move::Cut, Some(batch)) => match batch.cut(&[failed.records / 2]) {
                Ok(()) => {
                    let parts = [batch.start(), batch.start().plus(failed.records / 2)];
                    self.experiments.blame(&task.partition).cut(batch.start(), failed.bytes, &parts);
                    self.sender.end_batch(&task.tries, &failed);
                    self.forgive(&task.partition);
                    self.due.push_back(Task::new(task.partition));
                }
                Err(error) => {
                    let reason = format!("{}; the batch could not be split: {}", failure.reason, error_chain(&error));
                    self.hold(task, &Failure { reason, ..failure }, hurried);
                }
            },
            (Move::Control(control), _) if self.experiments.have_room(now) => {
                task.purpose = Purpose::Control { of: Box::new((failure, failed)), control };
                self.experiments.running += 1;
                self.due.push_back(task);
            }
            (Move::Park(behind), Some(batch)) => {
                let partition = task.partition.clone();
                if !batch.park() {
                    self.experiments.blame(&partition).note_crowded(batch.start());
                    self.try_aside(&partition);
                    return self.hold(task, &failure, hurried);
                }
                otel_debug!(name: "Spool.BatchParked", batch = failure.batch, reason = failure.reason);
                self.experiments.blame(&partition).parked(batch.start(), task.tries.clone(), now);
                if let Some(behind) = behind {
                    partition.park_before(batch.start(), behind);
                }
                drop(batch);
                self.forgive(&partition);
                self.flow_on(task, begun.random, hurried);
                self.try_aside(&partition);
            }
            (Move::Hold | Move::Park(_) | Move::Cut, _) => self.hold(task, &failure, hurried),
            (Move::Retry | Move::Control(_), _) => {
                self.report_failure(&task, &failure, false);
                let delay = if hurried { Duration::ZERO } else { self.delay(&task, failure.retry, begun.random) };
                self.retry(task, delay);
            }
        }
    }

    /// Forgets the delay of a partition: what failed was the batch's fault.
    fn forgive(&mut self, partition: &S::Partition) {
        self.partitions.change_backoff(partition, |backoff| *backoff = Backoff::default());
    }

    /// Tries a batch again slowly.
    fn hold(&mut self, task: Task<S::Partition>, failure: &Failure, hurried: bool) {
        self.report_failure(&task, failure, true);
        let delay = if hurried { Duration::ZERO } else { self.retry.slow(fastrand::f64()) };
        self.retry(task, delay);
    }
}

/// Controls.
impl<S: Source> Schedule<S> {
    pub(super) fn finish_control(
        &mut self,
        mut task: Task<S::Partition>,
        step: Step,
        control: Option<Arc<BatchOf<S>>>,
        begun: Begun,
        stopping: bool,
    ) {
        self.experiments.running = self.experiments.running.saturating_sub(1);
        let Purpose::Control { of, .. } = std::mem::replace(&mut task.purpose, Purpose::InOrder) else { return };
        let (Some(start), (failure, failed)) = (task.start, *of) else { return };
        let now = Instant::now();
        otel_debug!(
            name: "Spool.ControlSent",
            batch = failure.batch.clone(),
            control = control.as_ref().map(|control| control.id().to_owned()).unwrap_or_default(),
            step = format!("{step:?}"),
        );
        let next = match (step, &control) {
            (Step::Delivered | Step::DeliveredPartially(_) | Step::Unconfirmed(_), Some(control)) => {
                self.sender.counters.probed_records.add(control.records());
                self.experiments.taken_at = Some(now);
                self.experiments.blame(&task.partition).control_taken(start, control.start(), begun.request, now)
            }
            (Step::Failed(of_control), Some(control)) => {
                control.put_back();
                self.sender.counters.set_last_error(of_control.reason);
                match of_control.failed {
                    Some(of_control) => {
                        let blame = self.experiments.blame(&task.partition);
                        blame.control_failed(start, control.start());
                        let unsent = unsent(&task.partition, blame, start);
                        blame.after_control(start, &failed, of_control.suspicion, unsent)
                    }
                    None => Move::Retry,
                }
            }
            _ => Move::Retry,
        };
        drop(control);
        if stopping {
            return;
        }
        self.follow_move(task, (failure, failed), next, None, (begun, false));
    }

    /// Ends an experiment since the delivery stops.
    pub(super) fn give_up_experiment(&mut self, task: &Task<S::Partition>) {
        if let Purpose::Control { .. } = task.purpose {
            self.experiments.running = self.experiments.running.saturating_sub(1);
        } else {
            self.experiments.aside.remove(&task.partition);
        }
    }
}

/// What is parked.
impl<S: Source> Schedule<S> {
    /// Sees to it that what is parked of a partition is tried, now or when it is time.
    pub(super) fn start_aside(&mut self, partition: &S::Partition) {
        if !self.experiments.aside.contains_key(partition) {
            self.experiments.aside.insert(partition.clone(), None);
            self.due.push_back(Task::aside(partition.clone()));
        }
    }

    /// Has what is parked of a partition looked at now.
    fn try_aside(&mut self, partition: &S::Partition) {
        self.start_aside(partition);
        self.hasten_aside(partition);
    }

    /// Has the next step aside looked for now.
    fn hasten_aside(&mut self, partition: &S::Partition) {
        if let Some(ticket) = self.experiments.aside.get_mut(partition).and_then(Option::take) {
            self.due.extend(self.postponed.remove(&ticket));
        }
    }

    pub(super) fn postpone_aside(&mut self, task: Task<S::Partition>, delay: Duration) {
        let partition = task.partition.clone();
        let ticket = self.postpone(task, delay);
        self.experiments.aside.insert(partition, Some(ticket));
    }

    /// The parked batch that is sent next. If there is none now, the task is seen to.
    pub(super) fn take_aside(
        &mut self,
        task: &mut Task<S::Partition>,
        now: Instant,
    ) -> Result<Box<BatchOf<S>>, Option<Step>> {
        let partition = task.partition.clone();
        self.experiments.aside.insert(partition.clone(), None);
        let parked: Vec<_> = partition.parked().into_iter().map(parked).collect();
        let defer_for = self.experiments.defer_for;
        match self.experiments.blame(&partition).next_aside(&parked, defer_for, now) {
            Aside::Nothing => {
                self.experiments.aside.remove(&partition);
                self.experiments.tidy(&partition);
                Err(None)
            }
            Aside::Wait(at) => {
                self.postpone_aside(task.clone(), at.saturating_duration_since(now));
                Err(None)
            }
            Aside::Do(..) if !self.experiments.have_room(now) => {
                self.postpone_aside(task.clone(), NO_ROOM_DELAY);
                Err(None)
            }
            Aside::Do(at, action) => {
                task.start = Some(at);
                let tries = self.experiments.blame(&partition).aside_tries(at);
                task.tries = tries.map_or_else(Tries::default, |tries| tries.clone());
                let batch = task.take_aside(at, SystemTime::now()).map_err(Some)?;
                if action == Action::Try {
                    self.experiments.running += 1;
                    // A single record gains nothing by it, and is not to be refused for it.
                    task.tries.plain = batch.records() == 1;
                    Ok(batch)
                } else {
                    self.act_aside(task, &batch, action, now);
                    self.due.push_back(task.clone());
                    Err(None)
                }
            }
        }
    }

    /// Cuts or rejects a batch that is parked.
    fn act_aside(&mut self, task: &Task<S::Partition>, batch: &BatchOf<S>, action: Action, now: Instant) {
        let (key, wall, sender) = (batch.start(), SystemTime::now(), self.sender.clone());
        let result = match &action {
            Action::Try => Ok(true),
            Action::Cut(points) => batch.cut(points).map(|()| true),
            Action::Reject(failed) => sender.reject(batch, failed, wall).map(|()| true),
            Action::RejectNamed(failed) => sender.reject_named(batch, failed, wall),
            Action::RejectInferred(failed) => sender.reject_inferred(batch, failed, wall).map(|()| true),
        };
        let delay = self.retry.slow(fastrand::f64());
        let blame = self.experiments.blame(&task.partition);
        match (result, action) {
            (Ok(true), Action::Cut(points)) => {
                let parts: Vec<_> = std::iter::once(0).chain(points).map(|point| key.plus(point)).collect();
                if let Some(failed) = blame.aside_cut(key, batch.bytes(), &parts, now) {
                    sender.end_batch(&task.tries, &failed);
                }
            }
            (Ok(true), Action::Reject(failed) | Action::RejectNamed(failed) | Action::RejectInferred(failed)) => {
                blame.aside_rejected(key, &failed);
                sender.end_batch(&task.tries, &failed);
                self.experiments.reported_not_kept = false;
                let report = Report { batch: batch.id().to_owned(), reason: failed.reason };
                self.report_rejection(&report);
            }
            (Ok(_), _) => {
                // Damage took others of the batch: which they are is found out by cutting it.
                batch.park();
                blame.aside_unnamed(key);
            }
            (Err(error), _) => {
                batch.park();
                blame.aside_unknown(key, now, delay);
                let reason = format!("what was decided of the batch could not be kept: {}", error_chain(&error));
                self.sender.counters.set_last_error(reason.clone());
                self.report_not_kept(batch.id().to_owned(), reason);
            }
        }
    }

    pub(super) fn finish_aside(
        &mut self,
        task: Task<S::Partition>,
        step: Step,
        batch: Option<Arc<BatchOf<S>>>,
        begun: Begun,
    ) {
        let now = Instant::now();
        let Some(key) = task.start else { return };
        if batch.is_some() {
            self.experiments.running = self.experiments.running.saturating_sub(1);
        }
        let partition = task.partition.clone();
        let retry = self.retry;
        match (step, batch) {
            (Step::Delivered | Step::DeliveredPartially(_) | Step::Unconfirmed(_), Some(_)) => {
                self.experiments.taken_at = Some(now);
                self.experiments.blame(&partition).aside_taken(key, begun.request, now);
            }
            (Step::Failed(failure), Some(batch)) => {
                self.sender.counters.set_last_error(failure.reason.clone());
                let (slowly, asked_for) = (retry.slow(begun.random), self.delay(&task, failure.retry, begun.random));
                let mut tries = task.tries.clone();
                tries.attempt = tries.attempt.saturating_add(1);
                tries.unconfirmed += u32::from(failure.retry == Retry::Unconfirmed);
                let timed_out = failure.failed.as_ref().is_some_and(|failed| failed.suspicion == Suspicion::Time);
                let has_more_time = timed_out && self.lengthen(&mut tries);
                let blame = self.experiments.blame(&partition);
                if let Some(of_suspect) = blame.aside_tries(key) {
                    *of_suspect = tries;
                }
                if let Retry::After(_) = failure.retry {
                    blame.aside_not_before(key, after(now, asked_for));
                }
                match failure.failed.filter(|_| !has_more_time) {
                    Some(failed) => {
                        // Each time it is as if nothing had happened: before another one is taken, it hardly makes sense.
                        blame.aside_failed(key, *failed, now, |failures| {
                            retry.slow(fastrand::f64()).saturating_mul(failures)
                        });
                        batch.note_deferred(blame.deferred_for(key).as_secs());
                        if blame.deferred() > 0 {
                            self.report_deferral(failure.batch, failure.reason);
                        }
                    }
                    None => blame.aside_unknown(key, now, slowly),
                }
                batch.park();
            }
            // Evicted or expired meanwhile; or it cannot be read now.
            (_, _) => self.experiments.blame(&partition).aside_unknown(key, now, retry.slow(fastrand::f64())),
        }
        self.due.push_back(task);
    }

    /// Reports that rejected records cannot be kept, once until some can.
    fn report_not_kept(&mut self, batch: String, reason: String) {
        if !std::mem::replace(&mut self.experiments.reported_not_kept, true) {
            self.events.report(SpoolEvent::BatchHeld { batch, reason });
        }
    }

    /// Reports the first record that is deferred.
    fn report_deferral(&mut self, batch: String, reason: String) {
        if !std::mem::replace(&mut self.experiments.reported_deferral, true) {
            self.events.report(SpoolEvent::RecordDeferred { batch, reason });
        }
    }
}

/// How many records could be the next control of a batch.
fn unsent<P: Partition>(partition: &P, blame: &Blame<BatchStart>, batch: BatchStart) -> Unsent {
    let (before, behind) = partition.unsent(blame.farthest_control(batch));
    Unsent { before, behind }
}

/// A parked batch, as the spool says it.
fn parked((start, records, seconds): (BatchStart, u64, u64)) -> (BatchStart, u64, Duration) {
    (start, records, Duration::from_secs(seconds))
}
