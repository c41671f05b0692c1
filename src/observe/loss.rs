//! [`LossReason`]: the one vocabulary of losses, and how many records each reason has taken.

use crate::observe::counter::Counter;

/// The reason of a loss.
///
/// The text is the same everywhere: in [`SpoolStats`](crate::SpoolStats) (`evicted_records`), in the gap record
/// (`spool.gap.reason`), in the metric `opentelemetry_spool.lost` (`reason`) and in [`SpoolEvent`](crate::SpoolEvent).
/// A gap record reports every loss but [`EncodeFailed`](Self::EncodeFailed); of spans and metrics, where an exporter of logs
/// shares the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LossReason {
    /// The spool was full and these records were the oldest: [`FullPolicy::EvictOldest`](crate::FullPolicy::EvictOldest).
    Evicted,
    /// The records could not be written to the spool: the disk failed or the spool was full.
    NotWritten,
    /// The buffer of a [`SpoolProcessor`](crate::SpoolProcessor) was full.
    BufferFull,
    /// The encoder or the partition key function failed or panicked. Such records are counted, and
    /// [`SpoolEvent::EncodeFailed`](crate::SpoolEvent::EncodeFailed) reports the first one: they have no gap record.
    EncodeFailed,
    /// The records waited longer than [`with_max_age`](crate::LogExporterBuilder::with_max_age) allows.
    Expired,
    /// The records were in the spool and are damaged.
    Corrupt,
}

impl LossReason {
    pub(crate) const ALL: [Self; 6] =
        [Self::Evicted, Self::NotWritten, Self::BufferFull, Self::EncodeFailed, Self::Expired, Self::Corrupt];

    /// The reason as text: `evicted`, `not_written`, `buffer_full`, `encode_failed`, `expired` or `corrupt`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Evicted => "evicted",
            Self::NotWritten => "not_written",
            Self::BufferFull => "buffer_full",
            Self::EncodeFailed => "encode_failed",
            Self::Expired => "expired",
            Self::Corrupt => "corrupt",
        }
    }
}

/// How many records were lost since the exporter was built, by reason.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    evicted: Counter,
    not_written: Counter,
    buffer_full: Counter,
    encode_failed: Counter,
    expired: Counter,
    corrupt: Counter,
}

impl Losses {
    fn counter(&self, reason: LossReason) -> &Counter {
        match reason {
            LossReason::Evicted => &self.evicted,
            LossReason::NotWritten => &self.not_written,
            LossReason::BufferFull => &self.buffer_full,
            LossReason::EncodeFailed => &self.encode_failed,
            LossReason::Expired => &self.expired,
            LossReason::Corrupt => &self.corrupt,
        }
    }

    pub(crate) fn add(&self, reason: LossReason, records: u64) {
        self.counter(reason).add(records);
    }

    pub(crate) fn get(&self, reason: LossReason) -> u64 {
        self.counter(reason).get()
    }
}
