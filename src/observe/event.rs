//! [`SpoolEvent`]: what changes in how an exporter fares, told to the diagnostics and to the user's callback.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{SyncSender, sync_channel};

use opentelemetry::{otel_info, otel_warn};

use crate::observe::loss::LossReason;

/// So many events wait for the callback; further ones are only logged.
const MAX_WAITING: usize = 256;

/// A change in how an exporter fares: what [`with_on_event`](crate::LogExporterBuilder::with_on_event) is given.
///
/// Each is logged as well, under its [`name`](Self::name), where the feature `internal-logs` is on. An event tells of a
/// change, not of each time that something happens: [`SpoolStats`](crate::SpoolStats) counts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpoolEvent {
    /// Records cannot be delivered: the endpoint cannot be reached or has too much, or the header hook fails.
    DeliveryFailing {
        /// The id of the batch; empty where there was none.
        batch: String,
        /// What went wrong.
        reason: String,
    },
    /// The endpoint or the credentials are to be mended by someone: until then the batch is held.
    BatchHeld {
        /// The id of the batch.
        batch: String,
        /// What the endpoint answered.
        reason: String,
    },
    /// All that failed or was held is delivered again.
    DeliveryResumed,
    /// The endpoint refuses records for good, for the first time: they are set aside in the rejected store.
    RecordsRejected {
        /// The id of the batch.
        batch: String,
        /// What the endpoint answered.
        reason: String,
    },
    /// The rejected store is full: its oldest records are deleted to make room.
    RejectedEvicted {
        /// How many at once.
        records: u64,
    },
    /// The endpoint refuses all that comes of a partition.
    EverythingRejected {
        /// What the endpoint answered.
        reason: String,
    },
    /// Records are lost, the first since a record in the stream told of a loss.
    RecordsLost {
        /// Why.
        reason: LossReason,
        /// How many at first.
        records: u64,
    },
    /// A record could not be encoded and is lost, for the first time.
    EncodeFailed {
        /// What the encoder said.
        reason: String,
    },
    /// A [`SpoolProcessor`](crate::SpoolProcessor) begins to drop records for want of room in its buffer.
    BufferFull,
    /// A [`SpoolProcessor`](crate::SpoolProcessor) cannot write to the spool.
    CommitFailed {
        /// What went wrong.
        reason: String,
    },
    /// A [`SpoolProcessor`](crate::SpoolProcessor) can write to the spool again.
    CommitRecovered,
    /// There is no space for a new segment when the spool is opened.
    DiskFull {
        /// What went wrong.
        reason: String,
    },
    /// A write failed, and the segment that was written is set aside.
    SegmentAbandoned {
        /// The segment's number.
        segment: u64,
    },
    /// A segment could not be synced: a power cut can take what was accepted last.
    SegmentNotSynced {
        /// The segment's number.
        segment: u64,
        /// What went wrong.
        reason: String,
    },
    /// A segment is damaged. What is whole in it is delivered.
    SegmentDamaged {
        /// The segment's number.
        segment: u64,
    },
    /// What was delivered already is not known any more, and some of it is sent again.
    CursorDamaged {
        /// What the storage engine said.
        reason: String,
    },
    /// What is delivered cannot be written down.
    CursorNotWritten {
        /// What went wrong.
        reason: String,
    },
    /// What an exporter that is gone has left cannot be taken over.
    AdoptionFailed {
        /// What went wrong.
        reason: String,
    },
    /// Segments cannot be prepared, sealed or deleted.
    HousekeepingFailed {
        /// What went wrong.
        reason: String,
    },
    /// A loss could not be told in the stream before the shutdown.
    GapNotReported {
        /// What went wrong.
        reason: String,
    },
    /// The spool could not be closed as it should.
    CloseFailed {
        /// What went wrong.
        reason: String,
    },
}

impl SpoolEvent {
    /// What it is logged as: its own name behind `Spool.`, such as `Spool.BatchHeld`.
    pub fn name(&self) -> &'static str {
        macro_rules! name_of {
            ($($variant:ident)*) => {
                match self {
                    $(Self::$variant { .. } => concat!("Spool.", stringify!($variant)),)*
                }
            };
        }
        name_of! {
            DeliveryFailing BatchHeld DeliveryResumed RecordsRejected RejectedEvicted EverythingRejected RecordsLost EncodeFailed
            BufferFull CommitFailed CommitRecovered DiskFull SegmentAbandoned SegmentNotSynced SegmentDamaged
            CursorDamaged CursorNotWritten AdoptionFailed HousekeepingFailed GapNotReported CloseFailed
        }
    }

    #[expect(clippy::too_many_lines, reason = "the name of a diagnostic is fixed where it is written: one for each")]
    fn log(&self) {
        /// As one expression, which the macro itself is not.
        macro_rules! warn {
            ($($field:tt)*) => {{
                otel_warn!($($field)*);
            }};
        }
        match self {
            Self::DeliveryFailing { batch, reason } => warn!(
                name: "Spool.DeliveryFailing",
                batch = batch.as_str(),
                reason = reason.as_str(),
                message = "Records cannot be delivered at the moment. They are kept in the spool and tried again."
            ),
            Self::BatchHeld { batch, reason } => warn!(
                name: "Spool.BatchHeld",
                batch = batch.as_str(),
                reason = reason.as_str(),
                message = "The endpoint refuses a batch. It is held and tried again slowly; nothing is lost."
            ),
            Self::DeliveryResumed => {
                otel_info!(name: "Spool.DeliveryResumed");
            }
            Self::RecordsRejected { batch, reason } => warn!(
                name: "Spool.RecordsRejected",
                batch = batch.as_str(),
                reason = reason.as_str(),
                message = "The endpoint refuses records for good. They are set aside in the rejected store. Further ones are counted only."
            ),
            Self::RejectedEvicted { records } => warn!(
                name: "Spool.RejectedEvicted",
                records = *records,
                message = "The rejected store is full. Its oldest records are deleted to make room."
            ),
            Self::EverythingRejected { reason } => warn!(
                name: "Spool.EverythingRejected",
                reason = reason.as_str(),
                message = "The endpoint refuses everything. It is asked slowly until it takes something again."
            ),
            Self::RecordsLost { reason, records } => warn!(
                name: "Spool.RecordsLost",
                reason = reason.as_str(),
                records = *records,
                message = "Records are lost. A record in the stream will tell how many, and SpoolStats counts them."
            ),
            Self::EncodeFailed { reason } => warn!(
                name: "Spool.EncodeFailed",
                reason = reason.as_str(),
                message = "A record could not be encoded and is lost. Further ones are counted only."
            ),
            Self::BufferFull => warn!(
                name: "Spool.BufferFull",
                message = "Records are dropped: they come faster than the spool takes them. SpoolStats counts them, and a record in the stream will tell how many."
            ),
            Self::CommitFailed { reason } => warn!(
                name: "Spool.CommitFailed",
                reason = reason.as_str(),
                message = "Records could not be written to the spool. They are kept in memory and tried again, until the shutdown."
            ),
            Self::CommitRecovered => {
                otel_info!(name: "Spool.CommitRecovered");
            }
            Self::DiskFull { reason } => warn!(
                name: "Spool.DiskFull",
                reason = reason.as_str(),
                message = "The disk has no space for new records. What is in the spool is delivered."
            ),
            Self::SegmentAbandoned { segment } => warn!(
                name: "Spool.SegmentAbandoned",
                segment = *segment,
                message = "A write to the spool failed. Its segment is set aside and a new one begun; nothing that was accepted is lost."
            ),
            Self::SegmentNotSynced { segment, reason } => warn!(
                name: "Spool.SegmentNotSynced",
                segment = *segment,
                reason = reason.as_str(),
                message = "A segment of the spool could not be synced. A power cut can take what was accepted last."
            ),
            Self::SegmentDamaged { segment } => warn!(
                name: "Spool.SegmentDamaged",
                segment = *segment,
                message = "A segment of the spool is damaged. What is whole in it is delivered."
            ),
            Self::CursorDamaged { reason } => warn!(
                name: "Spool.CursorDamaged",
                reason = reason.as_str(),
                message = "What was delivered is not known any more. All that is in the spool is delivered, some of it again."
            ),
            Self::CursorNotWritten { reason } => warn!(
                name: "Spool.CursorNotWritten",
                reason = reason.as_str(),
                message = "What is delivered cannot be written down. After a restart some of it is sent again, under the same id."
            ),
            Self::AdoptionFailed { reason } => warn!(
                name: "Spool.AdoptionFailed",
                reason = reason.as_str(),
                message = "What an exporter that is gone has left cannot be delivered. It is tried again every ten seconds."
            ),
            Self::HousekeepingFailed { reason } => warn!(
                name: "Spool.HousekeepingFailed",
                reason = reason.as_str(),
                message = "Segments of the spool cannot be prepared, sealed or deleted. It is tried again every second."
            ),
            Self::GapNotReported { reason } => warn!(
                name: "Spool.GapNotReported",
                reason = reason.as_str(),
                message = "A loss could not be told in the stream before the shutdown."
            ),
            Self::CloseFailed { reason } => warn!(
                name: "Spool.CloseFailed",
                reason = reason.as_str(),
                message = "The spool could not be closed as it should. The next start finds out what is in it."
            ),
        }
    }
}

/// The user's function.
pub(crate) type OnEvent = dyn Fn(&SpoolEvent) + Send + Sync;

/// Where events are told, from whichever thread, with whatever lock held.
#[derive(Debug, Default)]
pub(crate) struct Events(Option<Callback>);

#[derive(Debug)]
struct Callback {
    waiting: SyncSender<SpoolEvent>,
    /// In a process that was forked nobody takes them out.
    process: u32,
}

impl Events {
    /// Starts the thread that calls the function. It ends after the last event, once nobody can tell of another.
    pub(crate) fn start(on_event: Box<OnEvent>) -> io::Result<Self> {
        let (waiting, events) = sync_channel(MAX_WAITING);
        crate::process::spawn("events", move || {
            for event in events {
                // Its own affair, and no reason to keep the next one from it.
                let _ = catch_unwind(AssertUnwindSafe(|| on_event(&event)));
            }
        })?;
        Ok(Self(Some(Callback { waiting, process: std::process::id() })))
    }

    /// Never waits.
    pub(crate) fn report(&self, event: SpoolEvent) {
        event.log();
        if let Some(callback) = &self.0
            && callback.process == std::process::id()
        {
            let _ = callback.waiting.try_send(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::channel;

    use super::*;

    fn some() -> Vec<SpoolEvent> {
        let reason = "it is full".to_owned();
        vec![SpoolEvent::CommitFailed { reason }, SpoolEvent::BufferFull, SpoolEvent::CommitRecovered]
    }

    #[test]
    fn the_callback_is_given_all_in_order_also_after_a_panic() {
        let (told, given) = channel();
        let on_event = move |event: &SpoolEvent| {
            told.send(event.clone()).unwrap();
            assert_ne!(*event, SpoolEvent::BufferFull, "a callback that panics");
        };
        let events = Events::start(Box::new(on_event)).unwrap();
        for event in some() {
            events.report(event);
        }
        drop(events);
        assert_eq!(given.iter().collect::<Vec<_>>(), some());
    }

    #[test]
    fn a_callback_that_hangs_holds_nobody_up_and_takes_bounded_memory() {
        let ((go, wait), (told, given)) = (channel::<()>(), channel());
        let wait = Mutex::new(wait);
        let on_event = move |_: &SpoolEvent| {
            let _ = wait.lock().unwrap().recv();
            told.send(()).unwrap();
        };
        let events = Events::start(Box::new(on_event)).unwrap();
        for _ in 0..10 * MAX_WAITING {
            events.report(SpoolEvent::BufferFull);
        }
        drop((events, go));
        let given = given.iter().count();
        assert!((MAX_WAITING..=MAX_WAITING + 1).contains(&given), "{given}");
    }
}
