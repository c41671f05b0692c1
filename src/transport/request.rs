//! [`Request`]: one batch, ready to be sent, and [`BatchContext`], which a header hook sees of it.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::encode::framing::ResponseProtocol;
use crate::observe::stats::{Counters, InFlightRequest};

/// A batch that is ready to be sent.
pub(crate) struct Request {
    pub(crate) context: BatchContext,
    pub(crate) content_type: String,
    /// The coding of the body, `gzip`, where it is compressed.
    pub(crate) content_encoding: Option<&'static str>,
    /// The protocol of the response.
    pub(crate) response_protocol: ResponseProtocol,
    pub(crate) body: Bytes,
    /// Where each record lies in the body before it was compressed; none where that is not known.
    #[cfg_attr(not(feature = "relay"), expect(dead_code, reason = "HTTP sends a body as it is"))]
    pub(crate) places: Arc<[Range<usize>]>,
    /// The longest time that the request may take.
    pub(crate) timeout: Duration,
    pub(crate) counters: Arc<Counters>,
}

impl Request {
    /// Counts the request as in flight, until the guard is ended or dropped. A transport calls it right before it sends: the
    /// time of a header hook is not the endpoint's.
    pub(crate) fn begin(&self) -> InFlightRequest<'_> {
        self.counters.begin_request(self.context.attempt)
    }
}

/// A batch as a header hook sees it.
#[derive(Clone, Debug)]
pub struct BatchContext {
    pub(crate) id: String,
    pub(crate) partition_key: String,
    pub(crate) records: usize,
    pub(crate) bytes: usize,
    pub(crate) first_timestamp: SystemTime,
    pub(crate) last_timestamp: SystemTime,
    pub(crate) attempt: u32,
    pub(crate) age: Duration,
}

impl BatchContext {
    /// The first attempt of a batch of one record, of now: for the tests of a header hook.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::BatchContext;
    ///
    /// let tenant = |batch: &BatchContext| format!("tenant-{}", batch.partition_key());
    /// assert_eq!(tenant(&BatchContext::new("0-1", "acme")), "tenant-acme");
    /// ```
    pub fn new(id: impl Into<String>, partition_key: impl Into<String>) -> Self {
        let now = SystemTime::now();
        Self {
            id: id.into(),
            partition_key: partition_key.into(),
            records: 1,
            bytes: 0,
            first_timestamp: now,
            last_timestamp: now,
            attempt: 1,
            age: Duration::ZERO,
        }
    }

    /// The same batch at another attempt, counted from 1.
    pub fn with_attempt(self, attempt: u32) -> Self {
        Self { attempt, ..self }
    }

    /// The id of the batch, the same on every attempt and after a restart; sent as `Idempotency-Key`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The partition key of every record of the batch; empty without a partition key function.
    pub fn partition_key(&self) -> &str {
        &self.partition_key
    }

    /// The number of records, at least one.
    pub fn records(&self) -> usize {
        self.records
    }

    /// The length of the request body in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The earliest timestamp among the entries that the batch touches.
    pub fn first_timestamp(&self) -> SystemTime {
        self.first_timestamp
    }

    /// The latest timestamp among the entries that the batch touches.
    pub fn last_timestamp(&self) -> SystemTime {
        self.last_timestamp
    }

    /// The number of this attempt, from 1, counted since this process first read the batch.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The time that the oldest record of the batch has been in the spool, by the system's clock.
    pub fn age(&self) -> Duration {
        self.age
    }
}

#[cfg(all(test, feature = "relay"))]
pub(crate) mod tests {
    use super::*;

    /// A request with these records, and what stands before, between and behind them.
    pub(crate) fn request(content_type: &str, framing: [&str; 3], records: &[&str]) -> Request {
        let [open, separator, close] = framing;
        let (mut body, mut places) = (open.to_owned(), Vec::new());
        for record in records {
            body.push_str(if places.is_empty() { "" } else { separator });
            places.push(body.len()..body.len() + record.len());
            body.push_str(record);
        }
        body.push_str(close);
        Request {
            context: BatchContext { records: records.len(), bytes: body.len(), ..BatchContext::new("the-id", "") },
            content_type: content_type.to_owned(),
            content_encoding: None,
            response_protocol: ResponseProtocol::Status,
            body: body.into(),
            places: places.into(),
            timeout: Duration::from_secs(60),
            counters: Arc::default(),
        }
    }
}
