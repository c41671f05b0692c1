//! [`LossReason`]: the one vocabulary of losses, and how many records each reason has taken.

use std::fmt;

use crate::observe::counter::Counter;
use crate::observe::items::ItemsPerRecord;

/// The reason of a loss.
///
/// The text is the same everywhere: in [`SpoolStats`](crate::SpoolStats) (`evicted_records`), in the gap record
/// (`spool.gap.reason`), in the metric `opentelemetry_spool.lost` (`opentelemetry_spool.loss.reason`) and in [`SpoolEvent`](crate::SpoolEvent).
/// A gap record reports every loss but [`EncodeFailed`](Self::EncodeFailed); of spans and metrics, where an exporter of logs
/// shares the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LossReason {
    /// The spool was full and these records were the oldest: [`FullPolicy::EvictOldest`](crate::FullPolicy::EvictOldest).
    Evicted,
    /// The records could not be written to the spool: the disk failed or the spool was full.
    NotWritten,
    /// The buffer of a [`SpoolProcessor`](crate::SpoolProcessor) or of a relay was full.
    BufferFull,
    /// The encoder or the partition key function failed or panicked. Such records are counted, and
    /// [`SpoolEvent::EncodeFailed`](crate::SpoolEvent::EncodeFailed) reports the first one: they have no gap record.
    EncodeFailed,
    /// The records waited longer than [`with_max_age`](crate::LogExporterBuilder::with_max_age) allows.
    Expired,
    /// The records were in the spool and are damaged.
    Corrupt,
    /// A client of the relay sent a frame or a datagram that is none of its protocol.
    BadFrame,
    /// A client of the relay broke off in the middle of a frame, as Python's handlers do after a second.
    Cut,
    /// A client of the relay sent a record or a request above a limit.
    TooLarge,
}

impl LossReason {
    pub(crate) const ALL: [Self; 9] = [
        Self::Evicted,
        Self::NotWritten,
        Self::BufferFull,
        Self::EncodeFailed,
        Self::Expired,
        Self::Corrupt,
        Self::BadFrame,
        Self::Cut,
        Self::TooLarge,
    ];

    /// Whether such records had come to an exporter.
    #[cfg(feature = "self-metrics")]
    pub(crate) fn is_of_exported(self) -> bool {
        !matches!(self, Self::BufferFull | Self::BadFrame | Self::Cut | Self::TooLarge)
    }

    /// The reason as text: `evicted`, `not_written`, `buffer_full`, `encode_failed`, `expired` or `corrupt`; of a relay's clients
    /// `bad_frame`, `cut` or `too_large`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Evicted => "evicted",
            Self::NotWritten => "not_written",
            Self::BufferFull => "buffer_full",
            Self::EncodeFailed => "encode_failed",
            Self::Expired => "expired",
            Self::Corrupt => "corrupt",
            Self::BadFrame => "bad_frame",
            Self::Cut => "cut",
            Self::TooLarge => "too_large",
        }
    }
}

impl fmt::Display for LossReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Counts of the losses for one reason.
#[derive(Debug, Default)]
struct Lost {
    records: Counter,
    items: Counter,
    bytes: Counter,
}

/// Counts of the losses since the exporter was built, by reason.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    /// How many items a lost record has.
    pub(crate) per_record: ItemsPerRecord,
    evicted: Lost,
    not_written: Lost,
    buffer_full: Lost,
    encode_failed: Lost,
    expired: Lost,
    corrupt: Lost,
    bad_frame: Lost,
    cut: Lost,
    too_large: Lost,
}

impl Losses {
    fn lost(&self, reason: LossReason) -> &Lost {
        match reason {
            LossReason::Evicted => &self.evicted,
            LossReason::NotWritten => &self.not_written,
            LossReason::BufferFull => &self.buffer_full,
            LossReason::EncodeFailed => &self.encode_failed,
            LossReason::Expired => &self.expired,
            LossReason::Corrupt => &self.corrupt,
            LossReason::BadFrame => &self.bad_frame,
            LossReason::Cut => &self.cut,
            LossReason::TooLarge => &self.too_large,
        }
    }

    pub(crate) fn add(&self, reason: LossReason, records: u64) {
        let lost = self.lost(reason);
        lost.records.add(records);
        lost.items.add(self.per_record.of(records));
    }

    /// Adds the size of lost records, where it is known.
    pub(crate) fn add_bytes(&self, reason: LossReason, bytes: u64) {
        self.lost(reason).bytes.add(bytes);
    }

    pub(crate) fn get(&self, reason: LossReason) -> u64 {
        self.lost(reason).records.get()
    }

    /// How many items the lost records had, by the mean of what was exported until then.
    #[cfg(feature = "self-metrics")]
    pub(crate) fn items(&self, reason: LossReason) -> u64 {
        self.lost(reason).items.get()
    }

    #[cfg(feature = "self-metrics")]
    pub(crate) fn bytes(&self, reason: LossReason) -> u64 {
        self.lost(reason).bytes.get()
    }
}
