//! One delivery step: take the next batch, ask the hook, send, act on the answer. No thread, no clock, no sleep.

use std::sync::Arc;
use std::time::SystemTime;

use crate::batch::HeaderMap;
use crate::error::BoxError;
use crate::hook::HeaderHook;
use crate::retry::{Verdict, classify};
use crate::spool::{Next, Spool};
use crate::stats::Counters;
use crate::transport::{Request, Transport, error_chain};

/// A partition that is being delivered.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) key: Arc<str>,
    /// Of its next batch, from 1.
    pub(crate) attempt: u32,
    /// It has lingered long enough.
    pub(crate) lingered: bool,
}

impl Task {
    pub(crate) fn new(key: Arc<str>) -> Self {
        Self { key, attempt: 1, lingered: false }
    }
}

/// How a step ended.
#[derive(Debug)]
pub(crate) enum Step {
    Delivered,
    /// There was nothing to deliver.
    Empty,
    /// There is something that lingers for so much longer.
    Wait(std::time::Duration),
    Failed(Failure),
}

/// Why a batch was not delivered. It comes again, the same.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) batch: String,
    pub(crate) reason: String,
    pub(crate) verdict: Verdict,
}

pub(crate) struct Drain<T> {
    pub(crate) spool: Arc<Spool>,
    pub(crate) transport: T,
    /// Sent with every request.
    pub(crate) headers: HeaderMap,
    pub(crate) hook: HeaderHook,
    pub(crate) counters: Arc<Counters>,
}

const AGAIN: Verdict = Verdict::Retry { after: None };

impl<T: Transport> Drain<T> {
    /// Tries to deliver the next batch of a partition. `force` does not wait for what lingers.
    pub(crate) async fn step(&self, task: &Task, now: SystemTime, force: bool) -> Step {
        let batch = match self.spool.next(&task.key, now, force || task.lingered) {
            Ok(Next::Batch(batch)) => batch,
            Ok(Next::Wait(left)) => return Step::Wait(left),
            Ok(Next::Empty) => return Step::Empty,
            Err(error) => {
                let reason = format!("the spool could not be read: {}", error_chain(&error));
                return Step::Failed(Failure { batch: String::new(), reason, verdict: AGAIN });
            }
        };
        let failed = |reason, verdict| Step::Failed(Failure { batch: batch.id.clone(), reason, verdict });
        let context = batch.context(task.attempt, now);
        let headers = match self.headers_for(&batch.content_type, &batch.id) {
            Ok(headers) => self.hook.call(&context, headers).await,
            Err(error) => Err(error),
        };
        let headers = match headers {
            Ok(headers) => headers.into_http(),
            Err(error) => return failed(format!("the header hook failed: {}", error_chain(&*error)), AGAIN),
        };
        self.counters.requests.add(1);
        let mut batch = batch;
        let body = std::mem::take(&mut batch.body);
        let (reason, verdict) = match self.transport.send(Request { headers, body }).await {
            Ok(response) => {
                let verdict = classify(response.status, response.retry_after.as_deref(), now);
                (format!("the server answered {}", response.status), verdict)
            }
            Err(error) => (format!("the request failed: {}", error_chain(&*error)), AGAIN),
        };
        if verdict != Verdict::Delivered {
            self.counters.failed_requests.add(1);
            return Step::Failed(Failure { batch: batch.id, reason, verdict });
        }
        self.counters.delivered_records.add(batch.records);
        self.spool.ack(&batch);
        Step::Delivered
    }

    fn headers_for(&self, content_type: &str, id: &str) -> Result<HeaderMap, BoxError> {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", content_type)?;
        headers.insert("idempotency-key", id)?;
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
    use crate::batch::Framing;
    use crate::config::{BatchLimits, Durability};
    use crate::spool::{Group, SpoolConfig};
    use crate::transport::Response;

    /// Answers by a script and keeps what it was sent.
    #[derive(Default)]
    struct Script {
        answers: Mutex<VecDeque<Result<Response, BoxError>>>,
        sent: Mutex<Vec<Request>>,
    }

    impl Transport for Script {
        async fn send(&self, request: Request) -> Result<Response, BoxError> {
            self.sent.lock().unwrap().push(request);
            self.answers.lock().unwrap().pop_front().expect("one answer for each request")
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "a script has errors as well")]
    fn status(status: u16) -> Result<Response, BoxError> {
        Ok(Response { status, retry_after: None })
    }

    fn drain(dir: &Path, answers: impl IntoIterator<Item = Result<Response, BoxError>>) -> Drain<Script> {
        let limits = BatchLimits { max_records: 2, max_bytes: 1 << 20, linger: Duration::ZERO };
        let config =
            SpoolConfig { dir: dir.to_owned(), durability: Durability::Process, segment_bytes: 1 << 20, limits };
        let spool = Spool::open(config).unwrap();
        let group = Group { payload: b"1,2,3".to_vec(), ends: vec![1, 3, 5], ..Group::default() };
        spool.append(&[("tenant", &group)], &Framing::json_array()).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("x-static", "always").unwrap();
        Drain {
            spool: Arc::new(spool),
            transport: Script { answers: Mutex::new(answers.into_iter().collect()), ..Script::default() },
            headers,
            hook: HeaderHook::None,
            counters: Arc::default(),
        }
    }

    fn step(drain: &Drain<Script>, attempt: u32) -> Step {
        let task = Task { attempt, ..Task::new(Arc::from("tenant")) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(drain.step(&task, SystemTime::now(), false))
    }

    /// Bodies and ids of what was sent.
    fn sent(drain: &Drain<Script>) -> Vec<(String, String)> {
        let sent = drain.transport.sent.lock().unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        sent.iter().map(|request| (text(&request.body), text(request.headers["idempotency-key"].as_bytes()))).collect()
    }

    fn verdict(step: Step) -> Verdict {
        match step {
            Step::Failed(failure) => failure.verdict,
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
        let failures =
            [status(503), status(429), Err("reset".into()), status(400), status(401), status(301), status(413)];
        let count = failures.len();
        let drain = drain(dir.path(), failures.into_iter().chain([status(200)]));
        for attempt in 1..=count {
            verdict(step(&drain, u32::try_from(attempt).unwrap()));
        }
        assert!(matches!(step(&drain, 8), Step::Delivered));
        let sent = sent(&drain);
        assert!(sent.iter().all(|request| *request == sent[0]), "{sent:?}");
        let stats = drain.counters.snapshot();
        assert_eq!((stats.requests, stats.failed_requests, stats.delivered_records), (8, 7, 2));
    }

    #[test]
    fn the_servers_answer_says_how_it_is_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let after = Ok(Response { status: 429, retry_after: Some("7".to_owned()) });
        let drain = drain(dir.path(), [after, Err("refused".into()), status(403)]);
        assert_eq!(verdict(step(&drain, 1)), Verdict::Retry { after: Some(Duration::from_secs(7)) });
        assert_eq!(verdict(step(&drain, 2)), AGAIN);
        assert_eq!(verdict(step(&drain, 3)), Verdict::Hold);
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
