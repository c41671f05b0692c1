//! What is counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// A count that any thread adds to.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) accepted_records: Counter,
    pub(crate) unencodable_records: Counter,
    pub(crate) failed_exports: Counter,
    /// Those that found no room in a processor's buffer.
    pub(crate) dropped_records: Counter,
    pub(crate) delivered_records: Counter,
    pub(crate) rejected_records: Counter,
    pub(crate) requests: Counter,
    pub(crate) failed_requests: Counter,
    last_error: Mutex<Option<String>>,
}

impl Counters {
    pub(crate) fn set_last_error(&self, error: String) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    /// What was counted; what lies in the spool is left at zero.
    pub(crate) fn snapshot(&self) -> SpoolStats {
        SpoolStats {
            accepted_records: self.accepted_records.get(),
            unencodable_records: self.unencodable_records.get(),
            failed_exports: self.failed_exports.get(),
            delivered_records: self.delivered_records.get(),
            rejected_records: self.rejected_records.get(),
            requests: self.requests.get(),
            failed_requests: self.failed_requests.get(),
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
    /// Records that the endpoint refused for good: they are in the rejected store.
    pub rejected_records: u64,
    /// Records in the spool that wait to be delivered; while [`recovering`](Self::recovering), without those that
    /// are still looked for. Zero after shutdown.
    pub pending_records: u64,
    /// What a crash left in the last segment is still being looked through: for some milliseconds after `build`.
    pub recovering: bool,
    /// Records that the encoder refused, or that are larger than 1 GiB; they are lost.
    pub unencodable_records: u64,
    /// Records that gave way because the spool was full, those of a failed `export`, and those for which a
    /// [`SpoolProcessor`](crate::SpoolProcessor) had no room: none of them is in the spool. Zero after shutdown, as the
    /// next two.
    pub dropped_records: u64,
    /// Records that waited longer than [`with_max_age`](crate::LogExporterBuilder::with_max_age) allows.
    pub expired_records: u64,
    /// Records that were accepted and could not be read again.
    pub damaged_records: u64,
    /// Calls of `export` that returned an error: none of their records is in the spool. With a
    /// [`SpoolProcessor`](crate::SpoolProcessor), commits that failed: they are tried again.
    pub failed_exports: u64,
    /// Requests that were begun.
    pub requests: u64,
    /// Requests that did not deliver their batch. It is sent again, whole or in parts, or rejected.
    pub failed_requests: u64,
    /// Segments of the spool: databases on disk. Zero after shutdown.
    pub segments: u64,
    /// What the spool directory takes on disk, in bytes, all exporters that share it together. Zero after shutdown.
    pub disk_bytes: u64,
    /// Why the last attempt that failed did so.
    pub last_error: Option<String>,
}
