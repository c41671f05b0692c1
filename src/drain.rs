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
        let batch = match self.spool.next(&task.key, now, force) {
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
        if let Err(error) = self.spool.ack(&batch) {
            opentelemetry::otel_warn!(
                name: "Spool.AckNotKept",
                batch = batch.id.clone(),
                reason = error.to_string(),
                message = "A batch was delivered, but that could not be written down. After a restart it is sent again, under the same id."
            );
        }
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
