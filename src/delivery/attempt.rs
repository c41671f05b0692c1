//! An attempt at a batch: sends it, and does as the response says of single records. It has no thread, no clock and no
//! sleep, so that a test chooses what happens and when.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use crate::config::values::Timeouts;
use crate::delivery::failure::{Failed, Failure, Report, Retry};
use crate::delivery::source::{Batch, Fate};
use crate::delivery::tries::{Tries, UNCONFIRMED_ATTEMPTS};
use crate::error::{SpoolError, error_chain};
use crate::observe::items::CountItems;
use crate::observe::stats::{Counters, Outcome};
use crate::spool::Rejection;
use crate::transport::contract::{SendError, Transport};
use crate::transport::verdict::{Judgement, Rejection as RecordRejection, Suspicion, Verdict};

/// The end of a step.
#[derive(Debug)]
pub(crate) enum Step {
    /// The endpoint has the batch, or the beginning of it.
    Delivered,
    /// The same, but for some of its records, which it rejected.
    DeliveredPartially(Report),
    /// The endpoint has the batch, but whether it rejected some of it is not known.
    Unconfirmed(Report),
    /// The spool skipped records that expired or are corrupt. What is left comes next.
    Skipped,
    /// There was nothing to deliver.
    Empty,
    /// There are records that linger for so much longer.
    Linger(Duration),
    Failed(Failure),
}

impl Step {
    /// The step of a spool that cannot be read.
    pub(crate) fn unreadable(error: &SpoolError) -> Self {
        let reason = format!("the spool could not be read: {}", error_chain(error));
        Self::Failed(Failure { batch: String::new(), reason, retry: Retry::NotSent, failed: None })
    }
}

/// Sends batches and acts on the verdicts.
pub(crate) struct Sender {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) timeouts: Timeouts,
    /// Counts what responses count, where that is not the records.
    pub(crate) count_items: Option<CountItems>,
    /// No record may be tried before an earlier one.
    pub(crate) strict_order: bool,
}

impl Sender {
    /// Makes an attempt at a batch.
    pub(crate) async fn attempt<B: Batch>(&self, batch: &B, tries: &Tries, now: SystemTime) -> Step {
        let timeout = tries.timeout.unwrap_or(self.timeouts.first);
        let plain = tries.plain || !self.transport.takes_gzip();
        let request = batch.request(tries.attempt, now, timeout, plain, self.counters.clone());
        let bytes = request.body.len();
        self.conclude(batch, bytes, self.transport.deliver(request).await, tries, now)
    }

    /// Does as the outcome of a request of so many bytes says.
    pub(crate) fn conclude<B: Fate>(
        &self,
        batch: &B,
        bytes: usize,
        outcome: Result<Judgement, SendError>,
        tries: &Tries,
        now: SystemTime,
    ) -> Step {
        let failed = |reason: String, retry, suspicion: Option<Suspicion>| {
            let failed = suspicion.map(|suspicion| {
                Box::new(Failed {
                    records: batch.records(),
                    bytes,
                    suspicion,
                    cause: reason.clone(),
                    reason: reason.clone(),
                    status: 0,
                    response: Vec::new(),
                    named: None,
                })
            });
            Step::Failed(Failure { batch: batch.id().to_owned(), reason, retry, failed })
        };
        match outcome {
            Ok(judgement) => self.act(batch, bytes, judgement, tries, now),
            Err(SendError::NotSent(reason)) => failed(reason, Retry::NotSent, None),
            Err(SendError::Unreachable(reason)) => failed(reason, Retry::Unreachable, None),
            Err(SendError::Interrupted(reason)) => failed(reason, Retry::Interrupted, Some(Suspicion::Unknown)),
            Err(SendError::TimedOut(reason)) => failed(reason, Retry::Backoff, Some(Suspicion::Time)),
        }
    }

    fn act<B: Fate>(&self, batch: &B, bytes: usize, judgement: Judgement, tries: &Tries, now: SystemTime) -> Step {
        let Judgement { verdict, suspicion, cause, reason, retry_after, status, response, outcome } = judgement;
        let since = tries.since.unwrap_or_else(Instant::now);
        let receipt = Receipt { sender: self, batch, status, outcome, since, now };
        let failed = |named| Failed {
            records: batch.records(),
            bytes,
            suspicion,
            cause: cause.clone(),
            reason: reason.clone(),
            status,
            response,
            named,
        };
        let step = |retry, failed: Option<Failed>| {
            let (batch, failed) = (batch.id().to_owned(), failed.map(Box::new));
            Step::Failed(Failure { batch, reason: reason.clone(), retry, failed })
        };
        match verdict {
            Verdict::Delivered => {
                receipt.ack(0);
                Step::Delivered
            }
            Verdict::DeliveredPartially { rejected } if rejected >= self.all_items(batch) => {
                if self.strict_order {
                    // Nothing can be found out by others, and OTLP wants no such batch to be repeated.
                    return receipt.reject_all(&cause, reason);
                }
                // All of them, so it is known which they are.
                let all = 0..usize::try_from(batch.records()).unwrap_or_default();
                let named = all.map(|record| RecordRejection { record, response: cause.clone() }).collect();
                step(Retry::Backoff, Some(Failed { suspicion: Suspicion::Content, ..failed(Some(named)) }))
            }
            Verdict::DeliveredPartially { rejected } => {
                receipt.ack(rejected);
                Step::DeliveredPartially(receipt.report(reason))
            }
            Verdict::DeliveredExcept(rejections) if rejections.len() as u64 >= batch.records() => {
                // That can be the endpoint's fault.
                step(Retry::Backoff, Some(Failed { suspicion: Suspicion::Content, ..failed(Some(rejections)) }))
            }
            Verdict::DeliveredExcept(rejections) => match receipt.reject_some(&rejections) {
                Ok(true) => {
                    receipt.ack(rejections.len() as u64);
                    Step::DeliveredPartially(receipt.report(reason))
                }
                // Damage took others of the batch: which they are is found out by cutting it.
                Ok(false) => step(Retry::Backoff, Some(Failed { suspicion: Suspicion::Content, ..failed(None) })),
                Err(error) => receipt.not_kept(&reason, &error),
            },
            Verdict::DeliveredUpTo { records, rejection } if records > 0 || rejection.is_some() => {
                let rejects = rejection.is_some();
                match receipt.take_beginning(records, rejection) {
                    Ok(true) if rejects => Step::DeliveredPartially(receipt.report(reason)),
                    Ok(true) => Step::Delivered,
                    Ok(false) => step(Retry::Backoff, Some(Failed { suspicion: Suspicion::Content, ..failed(None) })),
                    Err(error) => receipt.not_kept(&reason, &error),
                }
            }
            Verdict::Unconfirmed if tries.unconfirmed + 1 >= UNCONFIRMED_ATTEMPTS => {
                self.counters.unconfirmed_records.add(batch.records());
                receipt.ack(0);
                Step::Unconfirmed(receipt.report(reason))
            }
            Verdict::Unconfirmed => step(Retry::Unconfirmed, None),
            Verdict::Retry => step(retry_after.map_or(Retry::Backoff, Retry::After), Some(failed(None))),
            Verdict::Unreadable | Verdict::DeliveredUpTo { .. } => step(Retry::Backoff, Some(failed(None))),
            Verdict::Hold | Verdict::TooLarge | Verdict::Rejected => step(Retry::Hold, Some(failed(None))),
        }
    }

    /// Puts the only record of a batch into the rejected store, as the endpoint has refused it.
    pub(crate) fn reject<B: Fate>(&self, batch: &B, failed: &Failed, now: SystemTime) -> Result<(), SpoolError> {
        batch.reject(failed.status, &words(failed), now)?;
        self.finish_rejection(batch);
        Ok(())
    }

    /// Puts a batch into the rejected store as a whole.
    pub(crate) fn reject_inferred<B: Fate>(
        &self,
        batch: &B,
        failed: &Failed,
        now: SystemTime,
    ) -> Result<(), SpoolError> {
        batch.reject_inferred(failed.status, &words(failed), now)?;
        self.finish_rejection(batch);
        Ok(())
    }

    /// Puts each record of a batch into the rejected store, with what the endpoint says of it; false if not all of them are
    /// there.
    pub(crate) fn reject_named<B: Fate>(
        &self,
        batch: &B,
        failed: &Failed,
        now: SystemTime,
    ) -> Result<bool, SpoolError> {
        let rejected = batch.reject_some(&named(failed.named.as_deref().unwrap_or_default()), failed.status, now)?;
        if rejected {
            self.finish_rejection(batch);
        }
        Ok(rejected)
    }

    /// Counts the end of a batch that was cut or rejected.
    pub(crate) fn end_batch(&self, tries: &Tries, failed: &Failed) {
        let outcome = match failed.status {
            0 => Outcome::Interrupted,
            status => Outcome::Responded(status),
        };
        self.counters.end_batch(tries.since.unwrap_or_else(Instant::now), outcome);
    }

    fn finish_rejection<B: Fate>(&self, batch: &B) {
        self.counters.end_records(0, batch.records());
        self.counters.end_items(batch.records(), self.counted_items(batch), u64::MAX);
        batch.ack();
    }

    /// How many items are in a batch, where a record can have several.
    fn items<B: Fate>(&self, batch: &B) -> Option<u64> {
        self.count_items.and_then(|count| batch.items(count))
    }

    /// The same, if somebody asks for the sum.
    fn counted_items<B: Fate>(&self, batch: &B) -> Option<u64> {
        let are_counted = self.counters.items.are_counted.load(Ordering::Relaxed);
        if are_counted { self.items(batch) } else { None }
    }

    /// How many of them a response counts that rejects all.
    fn all_items<B: Fate>(&self, batch: &B) -> u64 {
        match self.count_items {
            None => batch.records(),
            Some(count) => batch.items(count).unwrap_or(u64::MAX),
        }
    }

    /// About how many of a batch's records so many of its items are.
    fn records_of<B: Fate>(&self, batch: &B, items: u64) -> u64 {
        if items == 0 || self.count_items.is_none() {
            return items;
        }
        let share = u128::from(items) * u128::from(batch.records());
        u64::try_from(share.div_ceil(u128::from(self.all_items(batch).max(1)))).unwrap_or(u64::MAX)
    }
}

/// The response to a record as it is kept; where there was none, the cause.
fn words(failed: &Failed) -> String {
    if failed.status == 0 { failed.cause.clone() } else { String::from_utf8_lossy(&failed.response).into_owned() }
}

fn named(rejections: &[RecordRejection]) -> Vec<Rejection<'_>> {
    rejections.iter().map(|of| Rejection { record: of.record, response: &of.response }).collect()
}

/// A batch and the response to it.
struct Receipt<'a, B> {
    sender: &'a Sender,
    batch: &'a B,
    status: u16,
    outcome: Outcome,
    since: Instant,
    now: SystemTime,
}

impl<B: Fate> Receipt<'_, B> {
    fn report(&self, reason: String) -> Report {
        Report { batch: self.batch.id().to_owned(), reason }
    }

    /// Counts the batch's records as delivered, but for so many that were rejected, and acknowledges it.
    fn ack(&self, rejected: u64) {
        self.count(self.batch.records(), rejected);
        self.batch.ack();
    }

    /// The same for its first records.
    fn ack_up_to(&self, records: u64, rejected: u64) -> Result<bool, SpoolError> {
        let acked = self.batch.ack_up_to(records)?;
        if acked {
            self.count(records, rejected);
        }
        Ok(acked)
    }

    /// Acknowledges the first records, and keeps the one behind them, if it is rejected, in the rejected store. False, and nothing, if
    /// damage took others of the batch.
    fn take_beginning(&self, records: u64, rejection: Option<String>) -> Result<bool, SpoolError> {
        let first = records.min(self.batch.records());
        let record = usize::try_from(first).unwrap_or(usize::MAX);
        let rejection = rejection.filter(|_| first < self.batch.records());
        let rejections: Vec<_> = rejection.map(|response| RecordRejection { record, response }).into_iter().collect();
        let rejected = rejections.len() as u64;
        match self.reject_some(&rejections) {
            Ok(true) => self.ack_up_to(first + rejected, rejected),
            Ok(false) => Ok(false),
            Err(error) => {
                // Those before it are there, and are not to come again.
                if first > 0 {
                    self.ack_up_to(first, 0)?;
                }
                Err(error)
            }
        }
    }

    /// Before anybody sees that it is acknowledged.
    fn count(&self, records: u64, rejected: u64) {
        let counters = &self.sender.counters;
        let items = if records == self.batch.records() { self.sender.counted_items(self.batch) } else { None };
        counters.end_items(records, items, rejected);
        let rejected = self.sender.records_of(self.batch, rejected).min(records);
        counters.end_records(records - rejected, rejected);
        counters.end_batch(self.since, self.outcome);
    }

    /// Keeps the records that the response names in the rejected store. False if damage took others of the batch: their numbers
    /// are not known then.
    fn reject_some(&self, rejections: &[RecordRejection]) -> Result<bool, SpoolError> {
        if rejections.is_empty() {
            return Ok(true);
        }
        self.batch.reject_some(&named(rejections), self.status, self.now)
    }

    /// Puts the batch into the rejected store as a whole, and acknowledges it.
    fn reject_all(&self, response: &str, reason: String) -> Step {
        if let Err(error) = self.batch.reject_inferred(self.status, response, self.now) {
            return self.not_kept(&reason, &error);
        }
        self.sender.finish_rejection(self.batch);
        self.sender.counters.end_batch(self.since, self.outcome);
        Step::DeliveredPartially(self.report(reason))
    }

    fn not_kept(&self, reason: &str, error: &SpoolError) -> Step {
        let reason = format!("{reason}; the rejected records could not be kept: {}", error_chain(error));
        Step::Failed(Failure { batch: self.batch.id().to_owned(), reason, retry: Retry::Hold, failed: None })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::path::Path;
    use std::sync::Mutex;

    use super::*;
    use crate::config::values::{AdoptFrom, BatchLimits, Durability, Signal, SpoolLimits, Timeouts};
    use crate::delivery::task::Task;
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
                        request.begin().end(Outcome::Interrupted);
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
        let (suspicion, cause, reason) =
            (Suspicion::of(&verdict, false), "the cause".to_owned(), "the reason".to_owned());
        Ok(Judgement { verdict, suspicion, cause, reason, retry_after: None, status: 422, response, outcome })
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
            signal: Signal::Logs,
            durability: Durability::Process,
            coding,
            segment_bytes: 1 << 20,
            batch: BatchLimits { max_records: 2, ..BatchLimits::default() },
            limits: SpoolLimits::default(),
            endpoint: None,
            origin: None,
            adopt_from: AdoptFrom::OWN,
        };
        let spool = Spool::open_silent(&config).unwrap();
        let block = Block::of(&["1", "2", "3"], b",");
        spool.append(&[("tenant", &block)], &Framing::json_array()).unwrap();
        let script = Arc::new(Script { responses: Mutex::new(responses.into_iter().collect()), ..Script::default() });
        let (counters, timeouts) = (Arc::default(), Timeouts::default());
        let transport = script.clone();
        let sender = Sender { transport, counters, timeouts, count_items: None, strict_order: false };
        Setup { spool, script, sender }
    }

    impl Setup {
        fn step(&self, attempt: u32) -> Step {
            let mut task = Task::new(self.spool.partition("tenant"));
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            match task.take(SystemTime::now(), false) {
                Ok(batch) => {
                    let tries = Tries { attempt, ..Tries::default() };
                    runtime.block_on(self.sender.attempt(&*batch, &tries, SystemTime::now()))
                }
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
        assert_eq!(retry(setup.step(2)), Retry::Interrupted);
        assert_eq!(retry(setup.step(3)), Retry::Hold);
        assert_eq!(retry(setup.step(4)), Retry::Unreachable);
        assert_eq!(retry(setup.step(5)), Retry::NotSent);
        assert_eq!(setup.sender.counters.snapshot().requests, 4, "what was not sent is no request");
    }

    #[test]
    fn a_batch_that_is_refused_is_left_to_who_decides_with_what_was_said_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let setup = setup(dir.path(), [judged(Verdict::Rejected), judged(Verdict::TooLarge), interrupted()]);
        let failed = || {
            let Step::Failed(failure) = setup.step(1) else { panic!() };
            failure.failed.unwrap()
        };
        let expected = Failed {
            records: 2,
            bytes: 5,
            suspicion: Suspicion::Content,
            cause: "the cause".to_owned(),
            reason: "the reason".to_owned(),
            status: 422,
            response: b"why".to_vec(),
            named: None,
        };
        assert_eq!(*failed(), expected);
        assert_eq!(failed().suspicion, Suspicion::Size);
        assert_eq!(failed().suspicion, Suspicion::Unknown);
        assert_eq!(setup.bodies(), ["[1,2]"; 3]);
        assert_eq!(setup.spool.rejected().records().unwrap(), []);
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
    fn a_response_that_names_every_record_can_be_the_endpoints_fault() {
        let dir = tempfile::tempdir().unwrap();
        let named: Vec<_> = (0..2).map(|record| RecordRejection { record, response: "no".to_owned() }).collect();
        let setup = setup(dir.path(), [judged(Verdict::DeliveredExcept(named.clone())), delivered()]);
        let Step::Failed(failure) = setup.step(1) else { panic!() };
        assert_eq!(failure.failed.unwrap().named, Some(named));
        assert_eq!(setup.spool.rejected().records().unwrap(), []);
        assert!(matches!(setup.step(1), Step::Delivered));
    }

    #[test]
    fn what_comes_behind_the_last_record_that_was_taken_comes_again() {
        for rejection in [None, Some("bad event".to_owned())] {
            let dir = tempfile::tempdir().unwrap();
            let rejected = rejection.is_some();
            let setup =
                setup(dir.path(), [judged(Verdict::DeliveredUpTo { records: 1, rejection }), delivered(), delivered()]);
            let step = setup.step(1);
            assert_eq!(matches!(step, Step::DeliveredPartially(_)), rejected, "{step:?}");
            assert!(matches!(setup.step(1), Step::Delivered));
            let stats = setup.sender.counters.snapshot();
            if rejected {
                assert_eq!(setup.bodies(), ["[1,2]", "[3]"]);
                assert_eq!(setup.spool.rejected().records().unwrap()[0].body, b"[2]");
                assert_eq!((stats.delivered_records, stats.rejected_records), (2, 1));
            } else {
                assert_eq!(setup.bodies(), ["[1,2]", "[2]"]);
                assert_eq!((stats.delivered_records, stats.rejected_records), (2, 0));
            }
        }
    }

    #[test]
    fn a_success_that_cannot_be_confirmed_three_times_counts_as_one_and_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let setup = setup(dir.path(), (0..3).map(|_| judged(Verdict::Unconfirmed)));
        let partition = setup.spool.partition("tenant");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let step = |unconfirmed| {
            let batch = Task::new(partition.clone()).take(SystemTime::now(), false).unwrap();
            let tries = Tries { unconfirmed, ..Tries::default() };
            runtime.block_on(setup.sender.attempt(&*batch, &tries, SystemTime::now()))
        };
        assert_eq!([retry(step(0)), retry(step(1))], [Retry::Unconfirmed; 2]);
        assert!(matches!(step(2), Step::Unconfirmed(_)));
        assert_eq!(setup.bodies(), ["[1,2]"; 3]);
        let stats = setup.sender.counters.snapshot();
        assert_eq!((stats.delivered_records, stats.unconfirmed_records), (2, 2));
    }

    #[test]
    fn a_number_of_rejected_items_is_that_of_all_records_only_if_it_is_that_of_all_items() {
        for (count_items, all) in [(None, true), (Some(five as CountItems), false)] {
            let dir = tempfile::tempdir().unwrap();
            let mut setup = setup(dir.path(), [judged(Verdict::DeliveredPartially { rejected: 2 })]);
            setup.sender.count_items = count_items;
            match setup.step(1) {
                Step::Failed(failure) if all => {
                    let named = failure.failed.unwrap().named.unwrap();
                    let records: Vec<_> = named.iter().map(|rejection| rejection.record).collect();
                    assert_eq!((records, &*named[0].response), (vec![0, 1], "the cause"));
                }
                Step::DeliveredPartially(_) if !all => {}
                step => panic!("{step:?}"),
            }
        }
    }

    #[test]
    fn in_a_strict_order_a_batch_of_which_all_is_rejected_goes_to_the_rejected_store() {
        let dir = tempfile::tempdir().unwrap();
        let mut setup = setup(dir.path(), [judged(Verdict::DeliveredPartially { rejected: 2 }), delivered()]);
        setup.sender.strict_order = true;
        assert!(matches!(setup.step(1), Step::DeliveredPartially(_)));
        assert!(matches!(setup.step(1), Step::Delivered));
        let kept = setup.spool.rejected().records().unwrap();
        assert_eq!(
            (kept.len(), kept[0].records, &*kept[0].body, &*kept[0].response),
            (1, 2, &b"[1,2]"[..], "the cause")
        );
        let stats = setup.sender.counters.snapshot();
        assert_eq!((stats.delivered_records, stats.rejected_records), (1, 2));
    }

    #[expect(clippy::unnecessary_wraps, reason = "as others")]
    fn five(_content_type: &str, _body: &[u8]) -> Option<u64> {
        Some(5)
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
}
