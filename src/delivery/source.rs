//! The source of the batches, as delivery needs it: the spool, or a test's stand-in that touches no disk.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::error::SpoolError;
use crate::observe::items::CountItems;
use crate::observe::stats::Counters;
use crate::spool::{self, BatchStart, Next, Rejection, Spool};
use crate::transport::request::{BatchContext, Request};

/// A source of partitions. [`Spool`] describes each call.
pub(crate) trait Source: Send + Sync + 'static {
    type Partition: Partition;

    /// The partitions of which something is parked.
    fn with_parked(&self) -> Vec<Self::Partition>;

    fn checkout(&self) -> Option<Self::Partition>;

    fn mark(&self, backlog_share: f64);

    fn take_filled(&self) -> Vec<Self::Partition>;

    fn adopt(&self);

    fn may_adopt(&self) -> bool;

    fn is_recovered(&self) -> bool;

    /// A step has failed, which people may want to know.
    fn note_news(&self) {}
}

/// A partition of a source, which gives out its batches. [`spool::Partition`] describes each call.
pub(crate) trait Partition: Clone + Debug + Eq + Hash + Send + 'static {
    type Batch: Batch;

    fn allow(&self, in_flight: usize);

    fn linger(&self) -> bool;

    fn has_backlog(&self) -> bool;

    fn is_beside_backlog(&self, at: BatchStart) -> bool;

    fn mark(&self, backlog_share: f64);

    fn join_mark(&self);

    fn rest(&self, rests: bool);

    fn next(&self, start: Option<BatchStart>, now: SystemTime, force: bool) -> Result<Next<Self::Batch>, SpoolError>;

    fn release(&self, formed: bool);

    fn trial(&self, at: BatchStart, now: SystemTime) -> Result<Next<Self::Batch>, SpoolError>;

    fn control(&self, ahead: u64, now: SystemTime) -> Result<Option<Box<Self::Batch>>, SpoolError>;

    fn control_again(&self, at: BatchStart, now: SystemTime) -> Result<Option<Box<Self::Batch>>, SpoolError>;

    fn unsent(&self, at: BatchStart) -> (u64, u64);

    fn parked(&self) -> Vec<(BatchStart, u64, u64)>;

    fn park_before(&self, batch: BatchStart, at: BatchStart) -> u64;
}

/// Records of a partition, ready to be sent. [`spool::Batch`] describes each call.
pub(crate) trait Batch: Fate + Send + Sync + 'static {
    fn start(&self) -> BatchStart;

    /// Whether the body is compressed.
    fn is_compressed(&self) -> bool;

    /// The bytes of the body.
    fn bytes(&self) -> usize;

    /// The request of the `attempt`-th attempt, not compressed if it is to be `plain`.
    fn request(
        &self,
        attempt: u32,
        now: SystemTime,
        timeout: Duration,
        plain: bool,
        counters: Arc<Counters>,
    ) -> Request;

    fn cut(&self, points: &[u64]) -> Result<(), SpoolError>;

    fn park(&self) -> bool;

    fn put_back(&self);

    fn note_deferred(&self, seconds: u64);
}

/// Records that were sent, and the ways in which they end.
pub(crate) trait Fate: Debug {
    fn id(&self) -> &str;

    fn records(&self) -> u64;

    /// How many items its body has, by `count`; `None` if that cannot be told.
    fn items(&self, _count: CountItems) -> Option<u64> {
        None
    }

    fn ack(&self);

    fn ack_up_to(&self, records: u64) -> Result<bool, SpoolError>;

    fn reject_inferred(&self, status: u16, response: &str, now: SystemTime) -> Result<(), SpoolError>;

    fn reject(&self, status: u16, response: &str, now: SystemTime) -> Result<(), SpoolError>;

    fn reject_some(&self, rejections: &[Rejection<'_>], status: u16, now: SystemTime) -> Result<bool, SpoolError>;
}

impl Source for Spool {
    type Partition = spool::Partition;

    fn with_parked(&self) -> Vec<spool::Partition> {
        Self::with_parked(self)
    }

    fn checkout(&self) -> Option<spool::Partition> {
        Self::checkout(self)
    }

    fn mark(&self, backlog_share: f64) {
        Self::mark(self, backlog_share);
    }

    fn take_filled(&self) -> Vec<spool::Partition> {
        Self::take_filled(self)
    }

    fn adopt(&self) {
        Self::adopt(self);
    }

    fn may_adopt(&self) -> bool {
        Self::may_adopt(self)
    }

    fn is_recovered(&self) -> bool {
        Self::is_recovered(self)
    }

    fn note_news(&self) {
        Self::note_news(self);
    }
}

impl Partition for spool::Partition {
    type Batch = spool::Batch;

    fn allow(&self, in_flight: usize) {
        Self::allow(self, in_flight);
    }

    fn linger(&self) -> bool {
        Self::linger(self)
    }

    fn has_backlog(&self) -> bool {
        Self::has_backlog(self)
    }

    fn is_beside_backlog(&self, at: BatchStart) -> bool {
        Self::is_beside_backlog(self, at)
    }

    fn mark(&self, backlog_share: f64) {
        Self::mark(self, backlog_share);
    }

    fn join_mark(&self) {
        Self::join_mark(self);
    }

    fn rest(&self, rests: bool) {
        Self::rest(self, rests);
    }

    fn next(&self, start: Option<BatchStart>, now: SystemTime, force: bool) -> Result<Next, SpoolError> {
        Self::next(self, start, now, force)
    }

    fn release(&self, formed: bool) {
        Self::release(self, formed);
    }

    fn trial(&self, at: BatchStart, now: SystemTime) -> Result<Next, SpoolError> {
        Self::trial(self, at, now)
    }

    fn control(&self, ahead: u64, now: SystemTime) -> Result<Option<Box<spool::Batch>>, SpoolError> {
        Self::control(self, ahead, now)
    }

    fn control_again(&self, at: BatchStart, now: SystemTime) -> Result<Option<Box<spool::Batch>>, SpoolError> {
        Self::control_again(self, at, now)
    }

    fn unsent(&self, at: BatchStart) -> (u64, u64) {
        Self::unsent(self, at)
    }

    fn parked(&self) -> Vec<(BatchStart, u64, u64)> {
        Self::parked(self)
    }

    fn park_before(&self, batch: BatchStart, at: BatchStart) -> u64 {
        Self::park_before(self, batch, at)
    }
}

impl Batch for spool::Batch {
    fn start(&self) -> BatchStart {
        Self::start(self)
    }

    fn is_compressed(&self) -> bool {
        self.content_encoding.is_some()
    }

    fn bytes(&self) -> usize {
        self.body.len()
    }

    fn request(
        &self,
        attempt: u32,
        now: SystemTime,
        timeout: Duration,
        plain: bool,
        counters: Arc<Counters>,
    ) -> Request {
        let plain = plain && self.is_compressed();
        let body = if plain { self.plain_body().into() } else { self.body.clone() };
        let context = BatchContext {
            id: self.id.clone(),
            partition_key: self.partition.to_string(),
            records: usize::try_from(self.records).unwrap_or(usize::MAX),
            bytes: body.len(),
            first_timestamp: self.first_timestamp(),
            last_timestamp: self.last_timestamp(),
            attempt,
            age: self.age(now),
        };
        Request {
            context,
            content_type: self.content_type.clone(),
            content_encoding: self.content_encoding.filter(|_| !plain),
            response_protocol: self.response_protocol,
            body,
            places: self.places.clone(),
            timeout,
            counters,
        }
    }

    fn cut(&self, points: &[u64]) -> Result<(), SpoolError> {
        Self::cut(self, points)
    }

    fn park(&self) -> bool {
        Self::park(self)
    }

    fn put_back(&self) {
        Self::put_back(self);
    }

    fn note_deferred(&self, seconds: u64) {
        Self::note_deferred(self, seconds);
    }
}

impl Fate for spool::Batch {
    fn id(&self) -> &str {
        &self.id
    }

    fn records(&self) -> u64 {
        self.records
    }

    fn items(&self, count: CountItems) -> Option<u64> {
        match self.content_encoding {
            None => count(&self.content_type, &self.body),
            Some(_) => count(&self.content_type, &self.plain_body()),
        }
    }

    fn ack(&self) {
        Self::ack(self);
    }

    fn ack_up_to(&self, records: u64) -> Result<bool, SpoolError> {
        Self::ack_up_to(self, records)
    }

    fn reject_inferred(&self, status: u16, response: &str, now: SystemTime) -> Result<(), SpoolError> {
        Self::reject_inferred(self, status, response, now)
    }

    fn reject(&self, status: u16, response: &str, now: SystemTime) -> Result<(), SpoolError> {
        Self::reject(self, status, response, now)
    }

    fn reject_some(&self, rejections: &[Rejection<'_>], status: u16, now: SystemTime) -> Result<bool, SpoolError> {
        Self::reject_some(self, rejections, status, now)
    }
}
