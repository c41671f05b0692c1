//! One delivery step: take a batch, ask the hook, send, act on the answer. No thread, no clock, no sleep.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::encode::framing::FORM;
use crate::error::BoxError;
use crate::error::error_chain;
use crate::observe::stats::{Counters, Outcome};
use crate::spool::{Batch, BatchStart, Next, Partition, Rejection, Spool};
use crate::transport::http::headers::HeaderMap;
use crate::transport::http::hook::HeaderHook;
use crate::transport::http::response::{Classifier, Judgement};
use crate::transport::http::response::{Response, parse_retry_after};
use crate::transport::request::BatchContext;
use crate::transport::verdict::Verdict;
use crate::transport::{Request, SendError, Transport};

/// A partition that is being delivered.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) partition: Partition,
    /// Its batch, once it has one.
    pub(crate) start: Option<BatchStart>,
    /// Of that batch, from 1.
    pub(crate) attempt: u32,
    /// When it was first tried.
    pub(crate) since: Option<Instant>,
    /// It has lingered long enough.
    pub(crate) lingered: bool,
}

impl Task {
    pub(crate) fn new(partition: Partition) -> Self {
        Self { partition, start: None, attempt: 1, since: None, lingered: false }
    }

    /// Takes its batch, or says why there is none. `force` does not wait for what lingers.
    pub(crate) fn take(&mut self, now: SystemTime, force: bool) -> Result<Box<Batch>, Step> {
        match self.partition.next(self.start, now, force || self.lingered) {
            Ok(Next::Batch(batch)) => {
                if self.start.replace(batch.start()) != Some(batch.start()) {
                    self.since = None;
                }
                Ok(batch)
            }
            Ok(Next::Linger(left)) => Err(Step::Wait(left)),
            Ok(Next::Skipped) => Err(Step::Passed),
            Ok(Next::Empty) => Err(Step::Empty),
            Err(error) => {
                let reason = format!("the spool could not be read: {}", error_chain(&error));
                Err(Step::Failed(Failure { batch: String::new(), reason, again: Again::Unasked }))
            }
        }
    }
}

/// How a step ended.
#[derive(Debug)]
pub(crate) enum Step {
    Delivered,
    /// The same, but for some of its records.
    DeliveredInPart(Failure),
    /// The batch was refused and divided. Its halves come next.
    Divided(Failure),
    /// All that the batch had was refused and set aside.
    Refused(Failure),
    /// Records were given up. What is left comes next.
    Passed,
    /// There was nothing to deliver.
    Empty,
    /// There is something that lingers for so much longer.
    Wait(Duration),
    Failed(Failure),
}

/// Why a batch was not delivered.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) batch: String,
    pub(crate) reason: String,
    pub(crate) again: Again,
}

/// When the same batch is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// With the policy's delays.
    Backoff,
    /// The same; but there is no connection, also for others.
    Unreachable,
    /// The same; but nothing was asked.
    Unasked,
    /// After what the server said.
    After(Duration),
    /// Slowly: repeating alone will not help.
    Slowly,
}

pub(crate) struct Drain<T> {
    pub(crate) spool: Arc<Spool>,
    pub(crate) transport: T,
    /// Sent with every request.
    pub(crate) headers: HeaderMap,
    pub(crate) hook: HeaderHook,
    /// In place of what the answer says by itself.
    pub(crate) classifier: Option<Box<Classifier>>,
    pub(crate) counters: Arc<Counters>,
}

/// The context in which a header hook sees a batch.
fn context_of(batch: &Batch, attempt: u32, now: SystemTime) -> BatchContext {
    BatchContext {
        id: batch.id.clone(),
        partition_key: batch.partition.to_string(),
        records: usize::try_from(batch.records).unwrap_or(usize::MAX),
        bytes: batch.body.len(),
        first_timestamp: batch.first_timestamp(),
        last_timestamp: batch.last_timestamp(),
        attempt,
        age: batch.age(now),
    }
}

impl<T: Transport> Drain<T> {
    /// Tries to deliver a batch, which was first tried at `since`.
    pub(crate) async fn send(&self, batch: Box<Batch>, attempt: u32, since: Instant, now: SystemTime) -> Step {
        let failure = |reason, again| Failure { batch: batch.id.clone(), reason, again };
        let context = context_of(&batch, attempt, now);
        let headers = match self.headers_for(&batch) {
            Ok(headers) => self.hook.call(&context, headers).await,
            Err(error) => Err(error),
        };
        let headers = match headers {
            Ok(headers) => headers.into_http(),
            Err(error) => {
                let reason = format!("the header hook failed: {}", error_chain(&*error));
                return Step::Failed(failure(reason, Again::Unasked));
            }
        };
        let under_way = self.counters.begin_request(attempt);
        let is_form = batch.content_type == FORM && batch.content_encoding.is_none();
        let request =
            Request { headers, body: batch.body.clone(), is_form, response_protocol: batch.response_protocol };
        let response = match self.transport.send(request).await {
            Ok(response) => response,
            Err(error) => {
                let (error, again, outcome) = match error {
                    SendError::Unreachable(error) => (error, Again::Unreachable, Outcome::Unreachable),
                    SendError::Broken(error) => (error, Again::Backoff, Outcome::Broken),
                };
                under_way.end(outcome);
                return Step::Failed(failure(format!("the request failed: {}", error_chain(&*error)), again));
            }
        };
        let Judgement { verdict, reason } = match &self.classifier {
            Some(classifier) => Judgement::new(classifier(&response), &response, ""),
            None => batch.response_protocol.judge(&response, batch.records),
        };
        let outcome = match verdict {
            Verdict::Delivered => Outcome::Delivered(response.status),
            _ => Outcome::Answered(response.status),
        };
        under_way.end(outcome);
        let done = || self.counters.end_batch(since, outcome);
        match verdict {
            Verdict::Delivered => {
                self.deliver(&batch, 0, done);
                Step::Delivered
            }
            Verdict::DeliveredPartially { rejected } => {
                self.deliver(&batch, rejected, done);
                Step::DeliveredInPart(failure(reason, Again::Slowly))
            }
            Verdict::DeliveredExcept(refusals) => {
                let rejections: Vec<_> =
                    refusals.iter().map(|of| Rejection { record: of.record, response: &of.response }).collect();
                match batch.reject_some(&rejections, response.status, now) {
                    Ok(true) => {
                        let refused = refusals.len() as u64;
                        self.deliver(&batch, refused, done);
                        let all = refused >= batch.records;
                        let failure = failure(reason, Again::Slowly);
                        if all { Step::Refused(failure) } else { Step::DeliveredInPart(failure) }
                    }
                    Ok(false) => self.refuse(&batch, &response, reason, now, done),
                    Err(error) => {
                        let reason =
                            format!("{reason}; what is refused could not be set aside: {}", error_chain(&error));
                        Step::Failed(failure(reason, Again::Slowly))
                    }
                }
            }
            Verdict::Retry => {
                let after = response.retry_after.as_deref().and_then(|value| parse_retry_after(value, now));
                Step::Failed(failure(reason, after.map_or(Again::Backoff, Again::After)))
            }
            Verdict::Hold => Step::Failed(failure(reason, Again::Slowly)),
            Verdict::TooLarge | Verdict::Rejected => self.refuse(&batch, &response, reason, now, done),
        }
    }

    /// The endpoint has the batch, but for so many records. `done` is called before anybody sees that it is acknowledged.
    fn deliver(&self, batch: &Batch, refused: u64, done: impl FnOnce()) {
        let refused = refused.min(batch.records);
        self.counters.delivered_records.add(batch.records - refused);
        self.counters.rejected_records.add(refused);
        done();
        batch.ack();
    }

    /// Divides a batch, or puts its only record into the rejected store.
    fn refuse(&self, batch: &Batch, response: &Response, reason: String, now: SystemTime, done: impl FnOnce()) -> Step {
        let (what, refused) = if batch.records > 1 {
            ("the batch could not be divided", batch.split())
        } else {
            (
                "the record could not be set aside",
                batch.reject(response.status, &String::from_utf8_lossy(&response.body), now),
            )
        };
        if let Err(error) = refused {
            let reason = format!("{reason}; {what}: {}", error_chain(&error));
            return Step::Failed(Failure { batch: batch.id.clone(), reason, again: Again::Slowly });
        }
        let failure = Failure { batch: batch.id.clone(), reason, again: Again::Slowly };
        if batch.records > 1 {
            done();
            return Step::Divided(failure);
        }
        self.deliver(batch, 1, done);
        Step::Refused(failure)
    }

    fn headers_for(&self, batch: &Batch) -> Result<HeaderMap, BoxError> {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", &batch.content_type)?;
        if let Some(encoding) = batch.content_encoding {
            headers.insert("content-encoding", encoding)?;
        }
        headers.insert("idempotency-key", &batch.id)?;
        headers.extend(&self.headers);
        Ok(headers)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::path::Path;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::config::values::{BatchLimits, Durability, SpoolLimits};
    use crate::encode::blocks::Block;
    use crate::encode::framing::{Framing, ResponseProtocol};
    use crate::spool::{Coding, SpoolConfig};

    /// Responds by a script and keeps what it was sent.
    #[derive(Default)]
    struct Script {
        responses: Mutex<VecDeque<Result<Response, SendError>>>,
        sent: Mutex<Vec<Request>>,
    }

    impl Transport for Script {
        async fn send(&self, request: Request) -> Result<Response, SendError> {
            self.sent.lock().unwrap().push(request);
            self.responses.lock().unwrap().pop_front().expect("one answer for each request")
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "a script has errors as well")]
    fn status(status: u16) -> Result<Response, SendError> {
        Ok(Response { status, retry_after: None, body: b"why".to_vec() })
    }

    fn reset() -> Result<Response, SendError> {
        Err(SendError::Broken("reset".into()))
    }

    fn drain(dir: &Path, responses: impl IntoIterator<Item = Result<Response, SendError>>) -> Drain<Script> {
        drain_of(dir, &Framing::json_array(), Coding::Lz4, responses)
    }

    fn drain_of(
        dir: &Path,
        framing: &Framing,
        coding: Coding,
        responses: impl IntoIterator<Item = Result<Response, SendError>>,
    ) -> Drain<Script> {
        let batch = BatchLimits { max_records: 2, max_bytes: 1 << 20, linger: Duration::ZERO };
        let config = SpoolConfig {
            dir: dir.to_owned(),
            durability: Durability::Process,
            coding,
            segment_bytes: 1 << 20,
            batch,
            limits: SpoolLimits::default(),
            endpoint: None,
        };
        let spool = Spool::open_silent(&config).unwrap();
        let group = Block { payload: b"1,2,3".to_vec(), ends: vec![1, 3, 5], ..Block::default() };
        spool.append(&[("tenant", &group)], framing).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("x-static", "always").unwrap();
        Drain {
            spool: Arc::new(spool),
            transport: Script { responses: Mutex::new(responses.into_iter().collect()), ..Script::default() },
            headers,
            hook: HeaderHook::None,
            classifier: None,
            counters: Arc::default(),
        }
    }

    fn step(drain: &Drain<Script>, attempt: u32) -> Step {
        let mut task = Task::new(drain.spool.partition("tenant"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        match task.take(SystemTime::now(), false) {
            Ok(batch) => runtime.block_on(drain.send(batch, attempt, Instant::now(), SystemTime::now())),
            Err(step) => step,
        }
    }

    /// Bodies and ids of what was sent.
    fn sent(drain: &Drain<Script>) -> Vec<(String, String)> {
        let sent = drain.transport.sent.lock().unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        sent.iter().map(|request| (text(&request.body), text(request.headers["idempotency-key"].as_bytes()))).collect()
    }

    fn again(step: Step) -> Again {
        match step {
            Step::Failed(failure) => failure.again,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_delivered_batch_is_followed_by_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let drain = drain(dir.path(), [status(200), status(204)]);
        assert!(matches!(step(&drain, 1), Step::Delivered));
        assert!(matches!(step(&drain, 1), Step::Delivered));
        assert!(matches!(step(&drain, 1), Step::Empty));
        let sent = sent(&drain);
        assert_eq!([&*sent[0].0, &*sent[1].0], ["[1,2]", "[3]"]);
        assert_ne!(sent[0].1, sent[1].1);
        assert_eq!(drain.counters.snapshot().delivered_records, 3);
        let headers = &drain.transport.sent.lock().unwrap()[0].headers;
        assert_eq!([&headers["content-type"], &headers["x-static"]], ["application/json", "always"]);
    }

    #[test]
    fn whatever_is_not_a_success_sends_the_same_batch_again() {
        let dir = tempfile::tempdir().unwrap();
        let failures = [status(503), status(429), reset(), status(401), status(301), status(404)];
        let count = failures.len();
        let drain = drain(dir.path(), failures.into_iter().chain([status(200)]));
        for attempt in 1..=count {
            again(step(&drain, u32::try_from(attempt).unwrap()));
        }
        assert!(matches!(step(&drain, 7), Step::Delivered));
        let sent = sent(&drain);
        assert!(sent.iter().all(|request| *request == sent[0]), "{sent:?}");
        let stats = drain.counters.snapshot();
        assert_eq!((stats.requests, stats.failed_requests, stats.delivered_records), (7, 6, 2));
        assert_eq!((stats.retries, stats.in_flight_requests), (6, 0));
    }

    #[test]
    fn the_servers_answer_says_how_it_is_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let after = Ok(Response { status: 429, retry_after: Some("7".to_owned()), body: Vec::new() });
        let unreachable = Err(SendError::Unreachable("refused".into()));
        let drain = drain(dir.path(), [after, reset(), status(403), unreachable]);
        assert_eq!(again(step(&drain, 1)), Again::After(Duration::from_secs(7)));
        assert_eq!(again(step(&drain, 2)), Again::Backoff);
        assert_eq!(again(step(&drain, 3)), Again::Slowly);
        assert_eq!(again(step(&drain, 4)), Again::Unreachable);
    }

    #[test]
    fn a_batch_that_is_refused_is_divided_and_its_bad_record_rejected() {
        for code in [400, 413, 415, 422] {
            let dir = tempfile::tempdir().unwrap();
            let drain = drain(dir.path(), [status(code), status(code), status(200), status(200)]);
            assert!(matches!(step(&drain, 1), Step::Divided(_)), "divided");
            assert!(matches!(step(&drain, 1), Step::Refused(_)), "rejected");
            assert!(matches!(step(&drain, 1), Step::Delivered));
            assert!(matches!(step(&drain, 1), Step::Delivered));
            assert!(matches!(step(&drain, 1), Step::Empty));
            let sent = sent(&drain);
            assert_eq!(sent.iter().map(|(body, _)| &**body).collect::<Vec<_>>(), ["[1,2]", "[1]", "[2]", "[3]"]);
            let ids: std::collections::HashSet<_> = sent.iter().map(|(_, id)| id).collect();
            assert_eq!(ids.len(), 4, "each has an id of its own");
            let rejected = drain.spool.rejected().records().unwrap();
            assert_eq!(rejected.len(), 1);
            assert_eq!((&*rejected[0].body, rejected[0].status, &*rejected[0].response), (&b"[1]"[..], code, "why"));
            assert_eq!((&rejected[0].batch_id, &*rejected[0].partition_key), (&sent[1].1, "tenant"));
            let stats = drain.counters.snapshot();
            assert_eq!((stats.delivered_records, stats.rejected_records), (2, 1));
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "a script has errors as well")]
    fn answered(body: &str) -> Result<Response, SendError> {
        Ok(Response { status: 200, retry_after: None, body: body.into() })
    }

    #[test]
    fn a_bulk_sets_aside_only_the_records_that_are_refused() {
        for coding in [Coding::Identity, Coding::Lz4, Coding::Deflate] {
            let dir = tempfile::tempdir().unwrap();
            let refused = r#"{"errors":true,"items":[{"create":{"status":201}},{"create":{"status":400,"error":{"type":"t","reason":"r"}}}]}"#;
            let drain = drain_of(
                dir.path(),
                &Framing::json_array().with_response_protocol(ResponseProtocol::Bulk),
                coding,
                [answered(refused), answered(r#"{"errors":false,"items":[{"create":{"status":201}}]}"#)],
            );
            assert!(matches!(step(&drain, 1), Step::DeliveredInPart(_)));
            assert!(matches!(step(&drain, 1), Step::Delivered));
            assert!(matches!(step(&drain, 1), Step::Empty));
            let rejected = drain.spool.rejected().records().unwrap();
            assert_eq!(rejected.len(), 1);
            assert_eq!(
                (&*rejected[0].body, rejected[0].status, &*rejected[0].response),
                (&b"[2]"[..], 200, "400 t: r")
            );
            assert!(rejected[0].batch_id.ends_with("-0-1-1"), "as if it had been sent alone: {}", rejected[0].batch_id);
            let stats = drain.counters.snapshot();
            assert_eq!((stats.delivered_records, stats.rejected_records), (2, 1));
        }
    }

    #[test]
    fn a_partial_success_is_counted_and_not_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let partial = r#"{"partialSuccess":{"rejectedLogRecords":"1","errorMessage":"no body"}}"#;
        let framing = Framing::json_array().with_response_protocol(ResponseProtocol::Otlp);
        let drain = drain_of(dir.path(), &framing, Coding::Lz4, [answered(partial), answered("{}")]);
        let Step::DeliveredInPart(failure) = step(&drain, 1) else { panic!() };
        assert_eq!(failure.reason, "the server answered 200: no body");
        assert!(matches!(step(&drain, 1), Step::Delivered));
        assert_eq!(sent(&drain).iter().map(|(body, _)| &**body).collect::<Vec<_>>(), ["[1,2]", "[3]"]);
        let stats = drain.counters.snapshot();
        assert_eq!((stats.delivered_records, stats.rejected_records), (2, 1));
    }

    #[test]
    fn a_partial_success_that_refuses_all_is_a_refusal_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let none = r#"{"partialSuccess":{"rejectedLogRecords":"2","errorMessage":"no"}}"#;
        let framing = Framing::json_array().with_response_protocol(ResponseProtocol::Otlp);
        let drain = drain_of(dir.path(), &framing, Coding::Lz4, [answered(none), answered("{}")]);
        assert!(matches!(step(&drain, 1), Step::Refused(_)));
        assert!(matches!(step(&drain, 1), Step::Delivered));
        assert_eq!(drain.spool.rejected().records().unwrap().len(), 2);
    }

    #[test]
    fn how_a_batch_was_divided_survives_a_kill() {
        let dir = tempfile::tempdir().unwrap();
        let before = drain(dir.path(), [status(400), status(503)]);
        step(&before, 1);
        step(&before, 1);
        let sent_before = sent(&before);
        before.spool.kill();
        drop(before);
        let after = drain(dir.path(), [status(200), status(200), status(200)]);
        after.spool.wait_recovered();
        for _ in 0..3 {
            assert!(matches!(step(&after, 1), Step::Delivered));
        }
        let sent_after = sent(&after);
        assert_eq!(sent_after[0], sent_before[1]);
        assert_eq!(sent_after[1].0, "[2]");
    }

    #[test]
    fn a_classifier_of_ones_own_decides() {
        let dir = tempfile::tempdir().unwrap();
        let mut drain = drain(dir.path(), [status(200), status(403)]);
        drain.classifier = Some(Box::new(|response| match (response.status(), response.body()) {
            (403, b"why") => Verdict::Delivered,
            _ => Verdict::Retry,
        }));
        assert_eq!(again(step(&drain, 1)), Again::Backoff);
        assert!(matches!(step(&drain, 2), Step::Delivered));
    }

    #[test]
    fn the_hook_is_asked_before_every_attempt() {
        let dir = tempfile::tempdir().unwrap();
        let mut drain = drain(dir.path(), [status(503), status(200)]);
        drain.hook = HeaderHook::Sync(Box::new(|batch, headers| {
            headers.insert("x-attempt", format!("{} {}", batch.partition_key(), batch.attempt()))?;
            headers.remove("x-static");
            Ok(())
        }));
        step(&drain, 1);
        step(&drain, 2);
        let sent = drain.transport.sent.lock().unwrap();
        assert_eq!([&sent[0].headers["x-attempt"], &sent[1].headers["x-attempt"]], ["tenant 1", "tenant 2"]);
        assert!(!sent[0].headers.contains_key("x-static"));
    }

    #[test]
    fn a_hook_that_fails_holds_the_batch_and_nothing_is_sent() {
        let dir = tempfile::tempdir().unwrap();
        let mut drain = drain(dir.path(), [status(200)]);
        let failing = Arc::new(AtomicBool::new(true));
        let fails = failing.clone();
        drain.hook = HeaderHook::Sync(Box::new(move |_, headers| {
            if fails.load(Ordering::Relaxed) {
                headers.insert("x-token", "line\nbreak")?;
            }
            Ok(())
        }));
        let Step::Failed(failure) = step(&drain, 1) else { panic!() };
        assert!(failure.reason.contains("header `x-token`: the value has the control character"), "{}", failure.reason);
        assert_eq!(drain.counters.snapshot().requests, 0);
        failing.store(false, Ordering::Relaxed);
        assert!(matches!(step(&drain, 2), Step::Delivered));
        assert_eq!(sent(&drain)[0].0, "[1,2]");
    }
}
