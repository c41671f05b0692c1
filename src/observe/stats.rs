//! [`SpoolStats`] and the counters behind it.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::observe::counter::Counter;
use crate::observe::items::Items;
use crate::observe::loss::{LossReason, Losses};
use crate::process::check_process;

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
    pub(crate) filtered_records: Counter,
    /// Records of a `SpoolProcessor` with a journal that are not in it.
    pub(crate) not_journaled_records: Counter,
    /// Records that left the order, to find out who is to blame for a failure.
    pub(crate) probed_records: Counter,
    pub(crate) losses: Arc<Losses>,
    pub(crate) items: Items,
    requests: Counter,
    pub(crate) retries: Counter,
    failed_requests: Counter,
    pub(crate) in_flight_requests: Counter,
    latest: Mutex<Latest>,
    /// The counts at the end of the last flush.
    flushed: Mutex<Flushed>,
    pub(crate) observer: OnceLock<Box<dyn Observer>>,
}

/// The last attempts of the delivery that went well and that did not.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latest {
    pub(crate) success: Option<SystemTime>,
    pub(crate) error: Option<LastError>,
}

/// An attempt that failed, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LastError {
    pub(crate) at: SystemTime,
    pub(crate) reason: String,
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
        if delivered > 0 {
            self.lock_latest().success = Some(SystemTime::now());
        }
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

    pub(crate) fn set_last_error(&self, reason: String) {
        self.lock_latest().error = Some(LastError { at: SystemTime::now(), reason });
    }

    /// The last success and the last error.
    pub(crate) fn latest(&self) -> Latest {
        self.lock_latest().clone()
    }

    fn lock_latest(&self) -> MutexGuard<'_, Latest> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last_error(&self) -> Option<String> {
        // A process that was forked has the lock as it was at that moment: perhaps held for ever.
        let latest = match check_process() {
            Ok(()) => self.lock_latest(),
            Err(_) => self.latest.try_lock().ok()?,
        };
        latest.error.as_ref().map(|error| error.reason.clone())
    }

    /// What was delivered and rejected since the last flush, which ends now.
    pub(crate) fn flush(&self) -> Flushed {
        let mut last = self.flushed.lock().unwrap_or_else(PoisonError::into_inner);
        let now =
            Flushed { delivered_records: self.delivered_records.get(), rejected_records: self.rejected_records.get() };
        let before = std::mem::replace(&mut *last, now);
        Flushed {
            delivered_records: now.delivered_records.saturating_sub(before.delivered_records),
            rejected_records: now.rejected_records.saturating_sub(before.rejected_records),
        }
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
            filtered_records: self.filtered_records.get(),
            not_journaled_records: self.not_journaled_records.get(),
            requests: self.requests.get(),
            retries: self.retries.get(),
            failed_requests: self.failed_requests.get(),
            in_flight_requests: self.in_flight_requests.get(),
            last_error: self.last_error(),
            ..SpoolStats::default()
        }
    }
}

/// What became of an exporter's records up to the end of a [`flush`](crate::SpoolHandle::flush): since the flush before, or since the
/// exporter was built.
///
/// # Examples
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let handle = opentelemetry_spool::LogExporter::builder().build()?.handle();
/// let flushed = handle.flush(std::time::Duration::from_secs(10))?;
/// if flushed.rejected_records > 0 {
///     eprintln!("{} records were rejected: see `otel-spool rejected list`", flushed.rejected_records);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Flushed {
    /// Records that the endpoint took, including those that an earlier process accepted.
    pub delivered_records: u64,
    /// Records that the endpoint rejected for good: see [`SpoolStats::rejected_records`].
    pub rejected_records: u64,
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
    /// Records that were not stored because a filter of the application dropped them: see
    /// [`with_record_filter`](crate::LogExporterBuilder::with_record_filter). They are neither accepted nor lost.
    pub filtered_records: u64,
    /// Records that a [`SpoolProcessor`](crate::SpoolProcessor) with a journal kept in memory alone until they were committed, because
    /// the journal was suspended: a kill could have lost them.
    pub not_journaled_records: u64,
    /// Records in the spool that wait to be delivered; while [`recovering`](Self::recovering), without those that
    /// the scan has not found yet. After the shutdown those that were left.
    pub pending_records: u64,
    /// Records in the spool that were spooled for another endpoint, by exporters that are gone: they are kept and not sent to this
    /// one's, see [`with_adopt_from`](crate::LogExporterBuilder::with_adopt_from). They are counted apart from the pending ones, at
    /// the start and every ten seconds. After the shutdown those that were counted last.
    pub stranded_records: u64,
    /// The time that the oldest of the pending ones has been in the spool, by the system's clock; `None` if none waits. In a segment
    /// that was not read since the exporter was built, the earliest timestamp of a record stands for it. After the shutdown that
    /// of its end.
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
    /// Segments of the spool: databases on disk. After the shutdown those at its end.
    pub segments: u64,
    /// The size of the spool directory on disk, in bytes, for all exporters that share it; after the shutdown that at its end. `None`
    /// where the directory cannot be read: its volume is gone, for example.
    pub disk_bytes: Option<u64>,
    /// The error of the last attempt that failed.
    pub last_error: Option<String>,
}
