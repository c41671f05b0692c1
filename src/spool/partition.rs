//! [`Partition`] and [`Batch`]: the two things that the delivery holds of a queue. They touch memory only.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::{Deref, Range};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::body;
use super::entry::system_time;
use super::position::{BatchStart, LaneId};
use super::queue::Queue;
use crate::encode::framing::ResponseProtocol;

/// A partition of the exporter's own queue or of the one that it has adopted. As text, it is its key.
#[derive(Clone)]
pub(crate) struct Partition {
    pub(super) queue: Arc<Queue>,
    pub(super) key: Arc<str>,
}

impl Deref for Partition {
    type Target = str;

    fn deref(&self) -> &str {
        &self.key
    }
}

impl PartialEq for Partition {
    fn eq(&self, other: &Self) -> bool {
        self.queue.dir.name.id == other.queue.dir.name.id && self.key == other.key
    }
}

impl Eq for Partition {}

impl Hash for Partition {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.queue.dir.name.id, &self.key).hash(state);
    }
}

impl fmt::Debug for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}/{:?}", self.queue.dir.name.id, &*self.key)
    }
}

/// Records of one partition, ready to be sent. Until it is acknowledged, the same batch comes again.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) id: String,
    pub(crate) partition: Partition,
    pub(crate) records: u64,
    pub(crate) body: Bytes,
    /// Where each record lies in the body before it was compressed; none where records stand in envelopes.
    pub(crate) places: Arc<[Range<usize>]>,
    pub(crate) content_type: String,
    pub(crate) content_encoding: Option<&'static str>,
    pub(crate) response_protocol: ResponseProtocol,
    /// It is parked, and given out by itself: a [trial](Partition::trial).
    pub(crate) parked: bool,
    /// For how many seconds it was deferred, as far as that was noted.
    pub(crate) deferred: u64,
    /// Whether the body has the records in the order of their numbers.
    pub(super) in_order: bool,
    pub(super) lane: LaneId,
    pub(super) span: Range<u64>,
    pub(super) first_timestamp: u64,
    pub(super) last_timestamp: u64,
    pub(super) appended_at: u64,
}

impl Batch {
    /// The body before it was compressed; as it is, if this build cannot read it.
    pub(crate) fn plain_body(&self) -> Vec<u8> {
        let plain = self.content_encoding.and_then(|_| body::gunzip(&self.body));
        plain.unwrap_or_else(|| self.body.to_vec())
    }

    pub(crate) fn start(&self) -> BatchStart {
        BatchStart { segment: self.lane.segment, record: self.span.start }
    }

    /// Whether a place in the body is that of a record's number.
    pub(super) fn knows_positions(&self) -> bool {
        self.in_order && self.records == self.span.end - self.span.start
    }

    /// The earliest timestamp among the entries that the batch touches.
    pub(crate) fn first_timestamp(&self) -> SystemTime {
        system_time(self.first_timestamp)
    }

    /// The latest timestamp among the entries that the batch touches.
    pub(crate) fn last_timestamp(&self) -> SystemTime {
        system_time(self.last_timestamp)
    }

    /// How long the oldest record of the batch has been in the spool.
    pub(crate) fn age(&self, now: SystemTime) -> Duration {
        now.duration_since(system_time(self.appended_at)).unwrap_or_default()
    }
}

impl Drop for Batch {
    /// Gives the memory of the body back, to be used for the next one, if nobody else has it any more.
    fn drop(&mut self) {
        if let Ok(body) = std::mem::take(&mut self.body).try_into_mut() {
            let body = body.into();
            self.partition.queue.read_cache.lock().keep_body(body);
        }
    }
}
