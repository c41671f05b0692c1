//! What is counted.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::observe::counter::Counter;
use crate::observe::loss::{LossReason, Losses};

/// How a request ended, or a batch with its last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// With this status.
    Delivered(u16),
    /// The response had this status, and was no success.
    Responded(u16),
    /// There was no connection.
    Unreachable,
    /// The connection broke, or the time was up.
    Interrupted,
}

/// Observes durations, which a count does not show.
pub(crate) trait Observer: Send + Sync {
    /// Notes that a request has ended.
    fn request(&self, took: Duration, outcome: Outcome);

    /// Notes that a batch is done with, so long after its first attempt.
    fn batch(&self, took: Duration, outcome: Outcome);
}

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) accepted_records: Counter,
    pub(crate) failed_exports: Counter,
    pub(crate) delivered_records: Counter,
    pub(crate) rejected_records: Counter,
    pub(crate) losses: Arc<Losses>,
    requests: Counter,
    pub(crate) retries: Counter,
    failed_requests: Counter,
    pub(crate) in_flight_requests: Counter,
    last_error: Mutex<Option<String>>,
    pub(crate) observer: OnceLock<Box<dyn Observer>>,
}

/// A request that is in flight until this is dropped.
pub(crate) struct InFlightRequest<'a> {
    counters: &'a Counters,
    begun: Instant,
}

impl InFlightRequest<'_> {
    /// Ends the request and counts its outcome.
    pub(crate) fn end(self, outcome: Outcome) {
        if !matches!(outcome, Outcome::Delivered(_)) {
            self.counters.failed_requests.add(1);
        }
        if let Some(observer) = self.counters.observer.get() {
            observer.request(self.begun.elapsed(), outcome);
        }
    }
}

impl Drop for InFlightRequest<'_> {
    fn drop(&mut self) {
        self.counters.in_flight_requests.subtract(1);
    }
}

impl Counters {
    /// Counts a request that is begun: the `attempt`-th for its batch, from 1.
    pub(crate) fn begin_request(&self, attempt: u32) -> InFlightRequest<'_> {
        self.requests.add(1);
        self.retries.add(u64::from(attempt > 1));
        self.in_flight_requests.add(1);
        InFlightRequest { counters: self, begun: Instant::now() }
    }

    /// Notes that a batch, first tried at `since`, is delivered or will not come again as it is.
    pub(crate) fn end_batch(&self, since: Instant, outcome: Outcome) {
        if let Some(observer) = self.observer.get() {
            observer.batch(since.elapsed(), outcome);
        }
    }

    pub(crate) fn set_last_error(&self, error: String) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    /// What was counted; what lies in the spool is left at zero.
    pub(crate) fn snapshot(&self) -> SpoolStats {
        SpoolStats {
            accepted_records: self.accepted_records.get(),
            lost_records: self.losses.total(),
            evicted_records: self.losses.get(LossReason::Evicted),
            not_written_records: self.losses.get(LossReason::NotWritten),
            buffer_full_records: self.losses.get(LossReason::BufferFull),
            encode_failed_records: self.losses.get(LossReason::EncodeFailed),
            expired_records: self.losses.get(LossReason::Expired),
            corrupt_records: self.losses.get(LossReason::Corrupt),
            failed_exports: self.failed_exports.get(),
            delivered_records: self.delivered_records.get(),
            rejected_records: self.rejected_records.get(),
            requests: self.requests.get(),
            retries: self.retries.get(),
            failed_requests: self.failed_requests.get(),
            in_flight_requests: self.in_flight_requests.get(),
            last_error: self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            ..SpoolStats::default()
        }
    }
}

/// What an exporter has done since it was built, and what its spool holds now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpoolStats {
    /// Records that `export` or a [`SpoolProcessor`](crate::SpoolProcessor) put into the spool.
    pub accepted_records: u64,
    /// Records that the endpoint took, also those that an earlier process accepted.
    pub delivered_records: u64,
    /// Records that the endpoint refused for good: they are in the rejected store. Of those that an OTLP partial success
    /// refused without saying which they were, there is only this count.
    pub rejected_records: u64,
    /// Records in the spool that wait to be delivered; while [`recovering`](Self::recovering), without those that
    /// are still looked for. Zero after shutdown.
    pub pending_records: u64,
    /// How long the oldest of them has been in the spool; `None` if there is none. It goes by the system's clock. Of a
    /// segment that was not read since the exporter was built, it is the age of the earliest record by its own timestamp.
    pub oldest_age: Option<Duration>,
    /// What a crash left in the last segment is still being looked through: for some milliseconds after `build`.
    pub recovering: bool,
    /// Records that are lost: the sum of the next six. A gap record reports each loss in the stream.
    pub lost_records: u64,
    /// Records that gave way to newer ones because the spool was full.
    pub evicted_records: u64,
    /// Records of a failed `export`, and those that a [`SpoolProcessor`](crate::SpoolProcessor) could not write to the spool
    /// before it was shut down.
    pub not_written_records: u64,
    /// Records for which a [`SpoolProcessor`](crate::SpoolProcessor) had no room in its buffer.
    pub buffer_full_records: u64,
    /// Records for which the encoder or the partition key function failed, or that are larger than 1 GiB encoded.
    pub encode_failed_records: u64,
    /// Records that waited longer than [`with_max_age`](crate::LogExporterBuilder::with_max_age) allows.
    pub expired_records: u64,
    /// Records that were accepted and could not be read again.
    pub corrupt_records: u64,
    /// Calls of `export` that returned an error: none of their records is in the spool. With a
    /// [`SpoolProcessor`](crate::SpoolProcessor), commits that failed: they are tried again.
    pub failed_exports: u64,
    /// Requests that were begun.
    pub requests: u64,
    /// Of these, requests that were not the first attempt at their batch.
    pub retries: u64,
    /// Requests that are under way.
    pub in_flight_requests: u64,
    /// Requests that did not deliver their batch. It is sent again, whole or in parts, or rejected.
    pub failed_requests: u64,
    /// Segments of the spool: databases on disk. Zero after shutdown.
    pub segments: u64,
    /// What the spool directory takes on disk, in bytes, all exporters that share it together. Zero after shutdown.
    pub disk_bytes: u64,
    /// Why the last attempt that failed did so.
    pub last_error: Option<String>,
}
