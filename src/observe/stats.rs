//! [`SpoolStats`] and the counters behind it.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::observe::counter::Counter;
use crate::observe::items::Items;
use crate::observe::loss::{LossReason, Losses};

/// The outcome of a request, or of a batch with its last request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The endpoint took it, with this status; 0 where there is none.
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

    /// A batch has ended, this long after its first attempt.
    fn batch(&self, took: Duration, outcome: Outcome);
}

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) accepted_records: Counter,
    pub(crate) failed_exports: Counter,
    /// Commits of a `SpoolProcessor` that failed, and are retried.
    pub(crate) failed_commits: Counter,
    pub(crate) delivered_records: Counter,
    pub(crate) rejected_records: Counter,
    pub(crate) unconfirmed_records: Counter,
    /// Records that were not sent because newer ones stand for them.
    pub(crate) thinned_records: Counter,
    /// Records that left the order, to find out who is to blame for a failure.
    pub(crate) probed_records: Counter,
    pub(crate) losses: Arc<Losses>,
    pub(crate) items: Items,
    requests: Counter,
    pub(crate) retries: Counter,
    failed_requests: Counter,
    pub(crate) in_flight_requests: Counter,
    last_error: Mutex<Option<String>>,
    pub(crate) observer: OnceLock<Box<dyn Observer>>,
}

/// Counts of a processor's records.
#[derive(Debug, Default)]
pub(crate) struct ProcessorCounts {
    /// Records that were passed on to the exporter.
    pub(crate) processed: Counter,
    /// Records that found no room.
    pub(crate) queue_full: Counter,
    /// Records that came after the shutdown.
    pub(crate) already_shutdown: Counter,
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
    /// Counts a request that begins: the `attempt`-th of its batch, from 1.
    pub(crate) fn begin_request(&self, attempt: u32) -> InFlightRequest<'_> {
        self.requests.add(1);
        self.retries.add(u64::from(attempt > 1));
        self.in_flight_requests.add(1);
        InFlightRequest { counters: self, begun: Instant::now() }
    }

    /// Reports the end of a batch that was first tried at `since`: it is delivered, split or rejected.
    pub(crate) fn end_batch(&self, since: Instant, outcome: Outcome) {
        if let Some(observer) = self.observer.get() {
            observer.batch(since.elapsed(), outcome);
        }
    }

    /// Counts records that were delivered and rejected.
    pub(crate) fn end_records(&self, delivered: u64, rejected: u64) {
        self.delivered_records.add(delivered);
        self.rejected_records.add(rejected);
    }

    /// The items of the delivered records.
    #[cfg(feature = "self-metrics")]
    pub(crate) fn delivered_items(&self) -> u64 {
        self.items.delivered.get()
    }

    /// The items of the rejected records.
    #[cfg(feature = "self-metrics")]
    pub(crate) fn rejected_items(&self) -> u64 {
        self.items.rejected.get()
    }

    /// Counts the items in the records that were delivered and rejected: those of their `body`, if it has all of them, else by
    /// the mean. `rejected` is a number of items where `body` is known.
    pub(crate) fn end_items(&self, records: u64, body: Option<u64>, rejected: u64) {
        let (items, rejected) = match body {
            Some(items) => (items, rejected.min(items)),
            None => (self.losses.per_record.of(records), self.losses.per_record.of(rejected.min(records))),
        };
        self.items.delivered.add(items.saturating_sub(rejected));
        self.items.rejected.add(rejected);
    }

    pub(crate) fn set_last_error(&self, error: String) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    /// The counters; the fields that describe the spool are left at zero.
    pub(crate) fn snapshot(&self) -> SpoolStats {
        let lost = LossReason::ALL.map(|reason| self.losses.get(reason));
        let [evicted, not_written, buffer_full, encode_failed, expired, corrupt, bad_frame, cut, too_large] = lost;
        SpoolStats {
            accepted_records: self.accepted_records.get(),
            lost_records: lost.iter().sum(),
            evicted_records: evicted,
            not_written_records: not_written,
            buffer_full_records: buffer_full,
            encode_failed_records: encode_failed,
            expired_records: expired,
            corrupt_records: corrupt,
            bad_frame_records: bad_frame,
            cut_records: cut,
            too_large_records: too_large,
            failed_exports: self.failed_exports.get() + self.failed_commits.get(),
            delivered_records: self.delivered_records.get(),
            rejected_records: self.rejected_records.get(),
            unconfirmed_records: self.unconfirmed_records.get(),
            probed_records: self.probed_records.get(),
            thinned_records: self.thinned_records.get(),
            requests: self.requests.get(),
            retries: self.retries.get(),
            failed_requests: self.failed_requests.get(),
            in_flight_requests: self.in_flight_requests.get(),
            last_error: self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            ..SpoolStats::default()
        }
    }
}

/// Counts of an exporter since it was built, and the contents of its spool now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpoolStats {
    /// Records that `export` or a [`SpoolProcessor`](crate::SpoolProcessor) wrote to the spool.
    pub accepted_records: u64,
    /// Records that the endpoint took, including those that an earlier process accepted.
    pub delivered_records: u64,
    /// Records that the endpoint rejected for good: they are in the rejected store. An OTLP partial success does not name
    /// the records that it rejects, so those are only counted.
    pub rejected_records: u64,
    /// Records among the delivered ones of which it is not known whether the endpoint rejected some: the response was a success
    /// that broke off or was too long, three times. Also all that were sent by UDP, which confirms nothing.
    pub unconfirmed_records: u64,
    /// Records that were sent alone and before earlier ones, to find out whether a failure is the batch's or the endpoint's.
    pub probed_records: u64,
    /// Accepted records that were not sent because newer points of the same streams stand for them: see `with_thinning` of
    /// [`MetricExporterBuilder`](crate::MetricExporterBuilder). They are neither delivered nor lost.
    pub thinned_records: u64,
    /// Records in the spool that wait to be delivered; while [`recovering`](Self::recovering), without those that
    /// the scan has not found yet. Zero after shutdown.
    pub pending_records: u64,
    /// The time that the oldest of them has been in the spool, by the system's clock; `None` if none waits. In a segment
    /// that was not read since the exporter was built, the earliest timestamp of a record stands for it.
    pub oldest_age: Option<Duration>,
    /// The segment that a crash left open is still being scanned: for some milliseconds after `build`.
    pub recovering: bool,
    /// Records that are lost: the sum of the next nine fields. Gap records report them in the stream, but for
    /// [`encode_failed_records`](Self::encode_failed_records), of which an event reports the first.
    pub lost_records: u64,
    /// Records that were evicted for newer ones because the spool was full.
    pub evicted_records: u64,
    /// Records of a failed `export`, and records that a [`SpoolProcessor`](crate::SpoolProcessor) could not write to the
    /// spool before its shutdown.
    pub not_written_records: u64,
    /// Records for which the buffer of a [`SpoolProcessor`](crate::SpoolProcessor) had no room.
    pub buffer_full_records: u64,
    /// Records for which the encoder or the partition key function failed, or that are larger than 1 GiB encoded.
    pub encode_failed_records: u64,
    /// Records that waited longer than [`with_max_age`](crate::LogExporterBuilder::with_max_age) allows.
    pub expired_records: u64,
    /// Records that were accepted and are damaged.
    pub corrupt_records: u64,
    /// Frames and datagrams of a relay's clients that are none of their protocol.
    pub bad_frame_records: u64,
    /// Frames of a relay's clients that broke off in their middle.
    pub cut_records: u64,
    /// Records and requests of a relay's clients that were above a limit.
    pub too_large_records: u64,
    /// Calls of `export` that returned an error: none of their records is in the spool. The SDK's processors pass that error
    /// on to nobody, or only the last one: see [`Checkpoint`](crate::Checkpoint). With a
    /// [`SpoolProcessor`](crate::SpoolProcessor), commits that failed: they are retried.
    pub failed_exports: u64,
    /// Requests that were sent.
    pub requests: u64,
    /// Requests that were not the first attempt of their batch.
    pub retries: u64,
    /// Requests that are in flight.
    pub in_flight_requests: u64,
    /// Requests that did not deliver their batch: it is retried, split or rejected.
    pub failed_requests: u64,
    /// Segments of the spool: databases on disk. Zero after shutdown.
    pub segments: u64,
    /// The size of the spool directory on disk, in bytes, for all exporters that share it. `None` after shutdown, and where
    /// the directory cannot be read: its volume is gone, for example.
    pub disk_bytes: Option<u64>,
    /// The error of the last attempt that failed.
    pub last_error: Option<String>,
}
