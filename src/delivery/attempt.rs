//! An attempt at a batch: takes it from the spool, sends it and does as the verdict says. It has no thread, no clock
//! and no sleep, so that a test chooses what happens and when.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::config::values::Timeouts;
use crate::delivery::source::{Batch, Partition};
use crate::error::error_chain;
use crate::observe::stats::{Counters, Outcome};
use crate::spool::{self, BatchStart, Next, Rejection};
use crate::transport::contract::{SendError, Transport};
use crate::transport::verdict::{Judgement, Rejection as RecordRejection, Verdict};

/// A partition that is being delivered.
#[derive(Clone, Debug)]
pub(crate) struct Task<P = spool::Partition> {
    pub(crate) partition: P,
    /// The start of its batch, once it has one.
    pub(crate) start: Option<BatchStart>,
    /// The number of the next attempt at that batch, from 1.
    pub(crate) attempt: u32,
    /// The time of the first attempt.
    pub(crate) since: Option<Instant>,
    /// The partition has lingered long enough.
    pub(crate) lingered: bool,
}

impl<P: Partition> Task<P> {
    pub(crate) fn new(partition: P) -> Self {
        Self { partition, start: None, attempt: 1, since: None, lingered: false }
    }

    /// Takes its batch, or returns the step that stands for there being none. `force` does not linger.
    pub(crate) fn take(&mut self, now: SystemTime, force: bool) -> Result<Box<P::Batch>, Step> {
        match self.partition.next(self.start, now, force || self.lingered) {
            Ok(Next::Batch(batch)) => {
                if self.start.replace(batch.start()) != Some(batch.start()) {
                    self.since = None;
                }
                Ok(batch)
            }
            Ok(Next::Linger(left)) => Err(Step::Linger(left)),
            Ok(Next::Skipped) => Err(Step::Skipped),
            Ok(Next::Empty) => Err(Step::Empty),
            Err(error) => {
                let reason = format!("the spool could not be read: {}", error_chain(&error));
                Err(Step::Failed(Failure { batch: String::new(), reason, retry: Retry::NotSent }))
            }
        }
    }
}

/// The end of a step.
#[derive(Debug)]
pub(crate) enum Step {
    Delivered,
    /// The endpoint has the batch but for some of its records, which it rejected.
    DeliveredPartially(Failure),
    /// The batch was rejected and split. Its parts come next.
    Split(Failure),
    /// Every record of the batch was rejected and is in the rejected store.
    Rejected(Failure),
    /// The spool skipped records that expired or are corrupt. What is left comes next.
    Skipped,
    /// There was nothing to deliver.
    Empty,
    /// There are records that linger for so much longer.
    Linger(Duration),
    Failed(Failure),
}

/// The reason why a batch was not delivered.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The id of the batch; empty where there was none.
    pub(crate) batch: String,
    pub(crate) reason: String,
    pub(crate) retry: Retry,
}

/// The time of the next attempt at the same batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// After the policy's delay.
    Backoff,
    /// The same; and there is no connection, for no partition.
    Unreachable,
    /// The same; and nothing was learned about the endpoint.
    NotSent,
    /// After the delay that the receiver asked for.
    After(Duration),
    /// Slowly: until an operator acts, retrying alone does not help.
    Hold,
}

/// Sends batches and acts on the verdicts.
pub(crate) struct Sender {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) timeouts: Timeouts,
}

impl Sender {
    /// Makes the `attempt`-th attempt at a batch, of which the first was at `since`.
    pub(crate) async fn attempt<B: Batch>(&self, batch: Box<B>, attempt: u32, since: Instant, now: SystemTime) -> Step {
        let failed = |reason, retry| Step::Failed(Failure { batch: batch.id().to_owned(), reason, retry });
        let request = batch.request(attempt, now, self.timeouts.first, self.counters.clone());
        match self.transport.deliver(request).await {
            Ok(judgement) => self.act(&*batch, judgement, since, now),
            Err(SendError::NotSent(reason)) => failed(reason, Retry::NotSent),
            Err(SendError::Unreachable(reason)) => failed(reason, Retry::Unreachable),
            Err(SendError::Interrupted(reason) | SendError::TimedOut(reason)) => failed(reason, Retry::Backoff),
        }
    }

    fn act<B: Batch>(&self, batch: &B, judgement: Judgement, since: Instant, now: SystemTime) -> Step {
        let Judgement { verdict, suspicion: _, reason, retry_after, status, response, outcome } = judgement;
        let receipt = Receipt { sender: self, batch, status, response: &response, outcome, since, now };
        let failed = |reason, retry| Step::Failed(Failure { batch: batch.id().to_owned(), reason, retry });
        match verdict {
            Verdict::Delivered => {
                receipt.ack(0);
                Step::Delivered
            }
            Verdict::DeliveredPartially { rejected } => {
                receipt.ack(rejected);
                Step::DeliveredPartially(receipt.failure(reason))
            }
            Verdict::DeliveredUpTo { .. } | Verdict::Unconfirmed | Verdict::Unreadable => {
                failed(reason, Retry::Backoff)
            }
            Verdict::DeliveredExcept(rejections) => receipt.reject_some(&rejections, reason),
            Verdict::Retry => failed(reason, retry_after.map_or(Retry::Backoff, Retry::After)),
            Verdict::Hold => failed(reason, Retry::Hold),
            Verdict::TooLarge | Verdict::Rejected => receipt.split_or_reject(reason),
        }
    }
}

/// A batch and the response to it.
struct Receipt<'a, B> {
    sender: &'a Sender,
    batch: &'a B,
    status: u16,
    response: &'a [u8],
    outcome: Outcome,
    since: Instant,
    now: SystemTime,
}

impl<B: Batch> Receipt<'_, B> {
    fn failure(&self, reason: String) -> Failure {
        Failure { batch: self.batch.id().to_owned(), reason, retry: Retry::Hold }
    }

    /// Counts the batch's records as delivered, but for so many that were rejected, and acknowledges it.
    fn ack(&self, rejected: u64) {
        let (counters, rejected) = (&self.sender.counters, rejected.min(self.batch.records()));
        counters.delivered_records.add(self.batch.records() - rejected);
        counters.rejected_records.add(rejected);
        // Before anybody sees that it is acknowledged.
        counters.end_batch(self.since, self.outcome);
        self.batch.ack();
    }

    /// Keeps the records that the response names in the rejected store. If damage took others of the batch, their numbers are
    /// not known, and the batch is split.
    fn reject_some(&self, rejections: &[RecordRejection], reason: String) -> Step {
        let named: Vec<_> =
            rejections.iter().map(|of| Rejection { record: of.record, response: &of.response }).collect();
        match self.batch.reject_some(&named, self.status, self.now) {
            Ok(true) => {
                self.ack(named.len() as u64);
                let failure = self.failure(reason);
                if named.len() as u64 >= self.batch.records() {
                    Step::Rejected(failure)
                } else {
                    Step::DeliveredPartially(failure)
                }
            }
            Ok(false) => self.split_or_reject(reason),
            Err(error) => {
                let error = error_chain(&error);
                Step::Failed(self.failure(format!("{reason}; the rejected records could not be kept: {error}")))
            }
        }
    }

    /// Splits the batch, or puts its only record into the rejected store.
    fn split_or_reject(&self, reason: String) -> Step {
        let alone = self.batch.records() <= 1;
        let (action, result) = if alone {
            let response = String::from_utf8_lossy(self.response);
            ("the rejected record could not be kept", self.batch.reject(self.status, &response, self.now))
        } else {
            ("the batch could not be split", self.batch.split())
        };
        if let Err(error) = result {
            return Step::Failed(self.failure(format!("{reason}; {action}: {}", error_chain(&error))));
        }
        if alone {
            self.ack(1);
            return Step::Rejected(self.failure(reason));
        }
        self.sender.counters.end_batch(self.since, self.outcome);
        Step::Split(self.failure(reason))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashSet, VecDeque};
    use std::path::Path;
    use std::sync::Mutex;

    use super::*;
    use crate::config::values::{BatchLimits, Durability, SpoolLimits, Timeouts};
    use crate::encode::blocks::Block;
    use crate::encode::framing::Framing;
    use crate::spool::{Coding, Spool, SpoolConfig};
    use crate::transport::contract::{Delivery, Peer};
    use crate::transport::request::{BatchContext, Request};
    use crate::transport::verdict::Suspicion;

    type Response = Result<Judgement, SendError>;

    /// Responds by a script and keeps what it was sent: the body and the context.
    #[derive(Default)]
    struct Script {
        responses: Mutex<VecDeque<Response>>,
        sent: Mutex<Vec<(String, BatchContext)>>,
    }

    impl Transport for Script {
        fn deliver(&self, request: Request) -> Delivery<'_> {
            let body = String::from_utf8_lossy(&request.body).into_owned();
            self.sent.lock().unwrap().push((body, request.context.clone()));
            let response = self.responses.lock().unwrap().pop_front().expect("one response for each request");
            Box::pin(async move {
                match &response {
                    Ok(judgement) => request.begin().end(judgement.outcome),
                    Err(SendError::NotSent(_)) => {}
                    Err(SendError::Unreachable(_)) => request.begin().end(Outcome::Unreachable),
                    Err(SendError::Interrupted(_) | SendError::TimedOut(_)) => {
                        request.begin().end(Outcome::Interrupted)
                    }
                }
                response
            })
        }

        fn peer(&self) -> Peer {
            Peer::default()
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "a script has errors as well")]
    fn judged(verdict: Verdict) -> Response {
        let outcome = if verdict == Verdict::Delivered { Outcome::Delivered(200) } else { Outcome::Responded(422) };
        let response = b"why".to_vec();
        let (suspicion, reason) = (Suspicion::of(&verdict, false), "the reason".to_owned());
        Ok(Judgement { verdict, suspicion, reason, retry_after: None, status: 422, response, outcome })
    }

    fn delivered() -> Response {
        judged(Verdict::Delivered)
    }

    fn interrupted() -> Response {
        Err(SendError::Interrupted("reset".to_owned()))
    }

    /// A sender with its script, in front of a spool of `[1,2]` and `[3]`.
    struct Setup {
        spool: Spool,
        script: Arc<Script>,
        sender: Sender,
    }

    fn setup(dir: &Path, responses: impl IntoIterator<Item = Response>) -> Setup {
        setup_with(dir, Coding::Lz4, responses)
    }

    fn setup_with(dir: &Path, coding: Coding, responses: impl IntoIterator<Item = Response>) -> Setup {
        let config = SpoolConfig {
            dir: dir.to_owned(),
            durability: Durability::Process,
            coding,
            segment_bytes: 1 << 20,
            batch: BatchLimits { max_records: 2, ..BatchLimits::default() },
            limits: SpoolLimits::default(),
            endpoint: None,
        };
        let spool = Spool::open_silent(&config).unwrap();
        let block = Block { payload: b"1,2,3".to_vec(), ends: vec![1, 3, 5], ..Block::default() };
        spool.append(&[("tenant", &block)], &Framing::json_array()).unwrap();
        let script = Arc::new(Script { responses: Mutex::new(responses.into_iter().collect()), ..Script::default() });
        let sender = Sender { transport: script.clone(), counters: Arc::default(), timeouts: Timeouts::default() };
        Setup { spool, script, sender }
    }

    impl Setup {
        fn step(&self, attempt: u32) -> Step {
            let mut task = Task::new(self.spool.partition("tenant"));
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            match task.take(SystemTime::now(), false) {
                Ok(batch) => runtime.block_on(self.sender.attempt(batch, attempt, Instant::now(), SystemTime::now())),
                Err(step) => step,
            }
        }

        /// Bodies and ids of what was sent.
        fn sent(&self) -> Vec<(String, String)> {
            let sent = self.script.sent.lock().unwrap();
            sent.iter().map(|(body, context)| (body.clone(), context.id.clone())).collect()
        }

        fn bodies(&self) -> Vec<String> {
            self.sent().into_iter().map(|(body, _)| body).collect()
        }
    }

    fn retry(step: Step) -> Retry {
        match step {
            Step::Failed(failure) => failure.retry,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_delivered_batch_is_followed_by_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let setup = setup(dir.path(), [delivered(), delivered()]);
        assert!(matches!(setup.step(1), Step::Delivered));
        assert!(matches!(setup.step(1), Step::Delivered));
        assert!(matches!(setup.step(1), Step::Empty));
        let sent = setup.sent();
        assert_eq!([&*sent[0].0, &*sent[1].0], ["[1,2]", "[3]"]);
        assert_ne!(sent[0].1, sent[1].1);
        assert_eq!(setup.sender.counters.snapshot().delivered_records, 3);
        let context = setup.script.sent.lock().unwrap()[0].1.clone();
        assert_eq!((context.partition_key(), context.records(), context.bytes()), ("tenant", 2, 5));
    }

    #[test]
    fn whatever_is_not_a_success_sends_the_same_batch_again() {
        let dir = tempfile::tempdir().unwrap();
        let failures = [judged(Verdict::Retry), interrupted(), judged(Verdict::Hold), judged(Verdict::Retry)];
        let count = u32::try_from(failures.len()).unwrap();
        let setup = setup(dir.path(), failures.into_iter().chain([delivered()]));
        for attempt in 1..=count {
            retry(setup.step(attempt));
        }
        assert!(matches!(setup.step(count + 1), Step::Delivered));
        let sent = setup.sent();
        assert!(sent.iter().all(|request| *request == sent[0]), "{sent:?}");
        let attempts: Vec<_> = setup.script.sent.lock().unwrap().iter().map(|(_, of)| of.attempt()).collect();
        assert_eq!(attempts, [1, 2, 3, 4, 5]);
        let stats = setup.sender.counters.snapshot();
        assert_eq!((stats.requests, stats.failed_requests, stats.delivered_records), (5, 4, 2));
        assert_eq!((stats.retries, stats.in_flight_requests), (4, 0));
    }

    #[test]
    fn the_response_or_its_absence_says_how_the_batch_is_retried() {
        let dir = tempfile::tempdir().unwrap();
        let after = judged(Verdict::Retry)
            .map(|judgement| Judgement { retry_after: Some(Duration::from_secs(7)), ..judgement });
        let unreachable = Err(SendError::Unreachable("refused".to_owned()));
        let not_sent = Err(SendError::NotSent("a hook".to_owned()));
        let setup = setup(dir.path(), [after, interrupted(), judged(Verdict::Hold), unreachable, not_sent]);
        assert_eq!(retry(setup.step(1)), Retry::After(Duration::from_secs(7)));
        assert_eq!(retry(setup.step(2)), Retry::Backoff);
        assert_eq!(retry(setup.step(3)), Retry::Hold);
        assert_eq!(retry(setup.step(4)), Retry::Unreachable);
        assert_eq!(retry(setup.step(5)), Retry::NotSent);
        assert_eq!(setup.sender.counters.snapshot().requests, 4, "what was not sent is no request");
    }

    #[test]
    fn a_batch_that_is_rejected_is_split_and_its_bad_record_kept() {
        for verdict in [Verdict::Rejected, Verdict::TooLarge] {
            let dir = tempfile::tempdir().unwrap();
            let rejected = || judged(verdict.clone());
            let setup = setup(dir.path(), [rejected(), rejected(), delivered(), delivered()]);
            assert!(matches!(setup.step(1), Step::Split(_)));
            assert!(matches!(setup.step(1), Step::Rejected(_)));
            assert!(matches!(setup.step(1), Step::Delivered));
            assert!(matches!(setup.step(1), Step::Delivered));
            assert!(matches!(setup.step(1), Step::Empty));
            assert_eq!(setup.bodies(), ["[1,2]", "[1]", "[2]", "[3]"]);
            let sent = setup.sent();
            assert_eq!(sent.iter().map(|(_, id)| id).collect::<HashSet<_>>().len(), 4, "each has an id of its own");
            let kept = setup.spool.rejected().records().unwrap();
            assert_eq!(kept.len(), 1);
            assert_eq!((&*kept[0].body, kept[0].status, &*kept[0].response), (&b"[1]"[..], 422, "why"));
            assert_eq!((&kept[0].batch_id, &*kept[0].partition_key), (&sent[1].1, "tenant"));
            let stats = setup.sender.counters.snapshot();
            assert_eq!((stats.delivered_records, stats.rejected_records), (2, 1));
        }
    }

    #[test]
    fn records_that_a_response_names_are_rejected_alone() {
        for coding in [Coding::Identity, Coding::Lz4, Coding::Deflate] {
            let dir = tempfile::tempdir().unwrap();
            let named = vec![RecordRejection { record: 1, response: "400 t: r".to_owned() }];
            let setup = setup_with(dir.path(), coding, [judged(Verdict::DeliveredExcept(named)), delivered()]);
            if coding == Coding::Deflate && cfg!(not(feature = "gzip-http")) {
                continue;
            }
            assert!(matches!(setup.step(1), Step::DeliveredPartially(_)));
            assert!(matches!(setup.step(1), Step::Delivered));
            assert!(matches!(setup.step(1), Step::Empty));
            let kept = setup.spool.rejected().records().unwrap();
            assert_eq!(kept.len(), 1);
            assert_eq!((&*kept[0].body, kept[0].status, &*kept[0].response), (&b"[2]"[..], 422, "400 t: r"));
            assert!(kept[0].batch_id.ends_with(".0-1-1"), "as if it had been sent alone: {}", kept[0].batch_id);
            let stats = setup.sender.counters.snapshot();
            assert_eq!((stats.delivered_records, stats.rejected_records), (2, 1));
        }
    }

    #[test]
    fn a_response_that_names_every_record_rejects_the_batch() {
        let dir = tempfile::tempdir().unwrap();
        let named = (0..2).map(|record| RecordRejection { record, response: "no".to_owned() }).collect();
        let setup = setup(dir.path(), [judged(Verdict::DeliveredExcept(named)), delivered()]);
        assert!(matches!(setup.step(1), Step::Rejected(_)));
        assert!(matches!(setup.step(1), Step::Delivered));
        assert_eq!(setup.spool.rejected().records().unwrap().len(), 2);
    }

    #[test]
    fn a_partial_success_is_counted_and_not_retried() {
        let dir = tempfile::tempdir().unwrap();
        let setup = setup(dir.path(), [judged(Verdict::DeliveredPartially { rejected: 1 }), delivered()]);
        let Step::DeliveredPartially(failure) = setup.step(1) else { panic!() };
        assert_eq!(failure.reason, "the reason");
        assert!(matches!(setup.step(1), Step::Delivered));
        assert_eq!(setup.bodies(), ["[1,2]", "[3]"]);
        let stats = setup.sender.counters.snapshot();
        assert_eq!((stats.delivered_records, stats.rejected_records), (2, 1));
    }

    #[test]
    fn how_a_batch_was_split_survives_a_kill() {
        let dir = tempfile::tempdir().unwrap();
        let before = setup(dir.path(), [judged(Verdict::Rejected), judged(Verdict::Retry)]);
        before.step(1);
        before.step(1);
        let sent_before = before.sent();
        before.spool.kill();
        drop(before);
        let after = setup(dir.path(), [delivered(), delivered(), delivered()]);
        after.spool.wait_recovered();
        for _ in 0..3 {
            assert!(matches!(after.step(1), Step::Delivered));
        }
        let sent_after = after.sent();
        assert_eq!(sent_after[0], sent_before[1]);
        assert_eq!(sent_after[1].0, "[2]");
    }
}
