//! [`SpoolEvent`]: changes of an exporter's state, reported to the diagnostics and to the user's callback.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use opentelemetry::{otel_info, otel_warn};

use crate::observe::loss::LossReason;
use crate::process::Logging;

/// The most events that wait for the callback; further ones are logged only.
const MAX_WAITING: usize = 256;

/// A change of an exporter's state, passed to [`with_on_event`](crate::LogExporterBuilder::with_on_event).
///
/// With the feature `internal-logs` each event is also logged under its [`name`](Self::name), with the target `opentelemetry-spool`
/// and the level `WARN`: the end of a trouble is seen wherever its beginning was. [`JournalReplayed`](Self::JournalReplayed) and
/// [`QueueAdopted`](Self::QueueAdopted), which are no trouble, are `INFO`. What there is to report on a thread that logs just now is logged on
/// another one, since layers of `tracing-subscriber` would filter it as a part of what that thread logs: a subscriber that is set for one thread
/// alone does not see it. An event reports a change, not each occurrence: [`SpoolStats`](crate::SpoolStats) counts those.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpoolEvent {
    /// Delivery fails: the endpoint cannot be reached or is overloaded, or the header hook fails. It is retried.
    DeliveryFailing {
        /// The id of the batch; empty if there was none.
        batch: String,
        /// The error, with its causes.
        reason: String,
    },
    /// A batch is held until an operator fixes the endpoint's address or the credentials. It is retried slowly.
    BatchHeld {
        /// The id of the batch.
        batch: String,
        /// The endpoint's response, in words.
        reason: String,
    },
    /// Delivery works again for every partition that failed or was held.
    DeliveryResumed,
    /// The endpoint rejects records for good, for the first time: they are in the rejected store.
    RecordsRejected {
        /// The id of the batch.
        batch: String,
        /// The endpoint's response, in words.
        reason: String,
    },
    /// A record fails alone while others are taken, for the first time, and is deferred: it is kept and tried again every ten
    /// minutes.
    RecordDeferred {
        /// The id of the batch.
        batch: String,
        /// The endpoint's response, in words.
        reason: String,
    },
    /// The endpoint does not read compressed bodies: it refused three batches that it took without compression. For an hour
    /// they are sent without.
    CompressionRefused {
        /// The endpoint's response to a compressed batch, in words.
        reason: String,
    },
    /// A batch counts as delivered, for the first time, though the response that would say which records were rejected broke off
    /// or was too long three times.
    DeliveryUnconfirmed {
        /// The id of the batch.
        batch: String,
        /// The endpoint's response, in words.
        reason: String,
    },
    /// Records are lost, for the first time since the loss before was reported, by a gap record in the stream of logs.
    RecordsLost {
        /// The reason of the loss.
        reason: LossReason,
        /// The number of records that are lost at first; a gap record reports all of them, and where a shutdown loses more, another event the rest.
        records: u64,
        /// Why they could not be written: the error, with its causes. Empty for other reasons.
        cause: String,
    },
    /// A record could not be encoded and is lost, for the first time. Further ones are counted only, without a gap
    /// record.
    EncodeFailed {
        /// The encoder's error.
        reason: String,
    },
    /// A relay refuses requests: their credentials are missing or wrong, for example. It is reported once a minute at most.
    RequestsRefused {
        /// Why the latest one was refused.
        reason: String,
        /// The number of them since the last report.
        requests: u64,
    },
    /// A [`SpoolProcessor`](crate::SpoolProcessor) begins to lose records because its buffer is full.
    BufferFull,
    /// A [`SpoolProcessor`](crate::SpoolProcessor) cannot write to the spool.
    CommitFailed {
        /// The error, with its causes.
        reason: String,
    },
    /// A [`SpoolProcessor`](crate::SpoolProcessor) can write to the spool again.
    CommitRecovered,
    /// The journal of a [`SpoolProcessor`](crate::SpoolProcessor) is suspended, because a write took long or failed: until a commit
    /// succeeds, a kill loses the records in memory.
    JournalSuspended {
        /// The cause, in words.
        reason: String,
    },
    /// The journal of a [`SpoolProcessor`](crate::SpoolProcessor) is written again.
    JournalResumed,
    /// Records of a process that was killed were found in its journal. They are in the spool now.
    JournalReplayed {
        /// The number of records.
        records: u64,
    },
    /// Records in the journal of a process that ended are damaged; how many is not known. The others are in the spool now. A power cut
    /// can leave a journal so.
    JournalDamaged {
        /// The size of what cannot be read.
        bytes: u64,
    },
    /// There is no space for a new segment when the spool is opened.
    DiskFull {
        /// The error, with its causes.
        reason: String,
    },
    /// A write failed: its segment is closed and a new one begins. No accepted record is lost.
    SegmentAbandoned {
        /// The number of the segment.
        segment: u64,
    },
    /// A segment could not be synced: a power cut can lose the records that were accepted last.
    SegmentNotSynced {
        /// The number of the segment.
        segment: u64,
        /// The error, with its causes.
        reason: String,
    },
    /// A segment is damaged. Its intact records are delivered.
    SegmentDamaged {
        /// The number of the segment.
        segment: u64,
    },
    /// A segment cannot be read, and maybe others with it. The rest of the spool is delivered meanwhile, also what is newer.
    SegmentHeld {
        /// The number of the first of them.
        segment: u64,
        /// The error, with its causes.
        reason: String,
    },
    /// Every segment that was held can be read again, or was moved to the quarantine.
    SegmentReleased {
        /// The number of the last of them.
        segment: u64,
    },
    /// Cursor files are damaged: which records of their segments are delivered is not known, and they are sent again.
    CursorDamaged {
        /// The first of these segments, its damage, and the number of them.
        reason: String,
    },
    /// The cursors cannot be written: after a restart some batches are sent again, under the same ids.
    CursorNotWritten {
        /// The error, with its causes.
        reason: String,
    },
    /// The queue of an exporter that is gone cannot be adopted.
    AdoptionFailed {
        /// The error, with its causes.
        reason: String,
    },
    /// A queue that an exporter which is gone has left is adopted: its records are delivered from now on.
    QueueAdopted {
        /// The number of records that wait in it.
        records: u64,
        /// The endpoint that they were spooled for, without its query; empty if it is not known.
        was: String,
        /// The endpoint that they are sent to.
        now: String,
    },
    /// Records wait that were spooled for another endpoint, and nobody delivers them: they are kept, and not sent to this one. It is
    /// reported once by each exporter that finds some.
    QueueStranded {
        /// The number of records, in all such queues of the signal.
        records: u64,
        /// The endpoints that they were spooled for, without their queries; empty if none is known.
        was: String,
        /// The endpoint of this exporter.
        now: String,
    },
    /// A relay cannot read what the one before it stored of late: a request that comes again may be stored again.
    RepeatsUnknown {
        /// The error, with its causes.
        reason: String,
    },
    /// Segments cannot be prepared, sealed or deleted.
    HousekeepingFailed {
        /// The error, with its causes.
        reason: String,
    },
    /// Gap records could not be written before the shutdown: the losses are not reported in the stream.
    GapNotReported {
        /// The number of records that are lost.
        records: u64,
        /// The error, with its causes.
        reason: String,
    },
    /// The spool could not be closed cleanly.
    CloseFailed {
        /// The error, with its causes.
        reason: String,
    },
    /// A setting is allowed and probably not meant so: a variable whose name does not exist, for example. Each exporter reports it when
    /// it is built; it is logged once in a process.
    SettingSuspicious {
        /// The method, variable or line that it comes from.
        setting: String,
        /// What is noticed, what follows from it, and what to do.
        reason: String,
    },
}

impl SpoolEvent {
    /// The name that the event is logged under: `Spool.` and the variant's name, such as `Spool.BatchHeld`.
    pub fn name(&self) -> &'static str {
        macro_rules! name_of {
            ($($variant:ident)*) => {
                match self {
                    $(Self::$variant { .. } => concat!("Spool.", stringify!($variant)),)*
                }
            };
        }
        name_of! {
            DeliveryFailing BatchHeld DeliveryResumed RecordsRejected RecordDeferred CompressionRefused DeliveryUnconfirmed RecordsLost EncodeFailed
            RequestsRefused BufferFull CommitFailed CommitRecovered JournalSuspended JournalResumed JournalReplayed JournalDamaged DiskFull SegmentAbandoned SegmentNotSynced SegmentDamaged
            SegmentHeld SegmentReleased
            CursorDamaged CursorNotWritten AdoptionFailed QueueAdopted QueueStranded RepeatsUnknown HousekeepingFailed GapNotReported CloseFailed
            SettingSuspicious
        }
    }

    /// Records could not be written to the spool.
    pub(crate) fn not_written(records: u64, cause: String) -> Self {
        Self::RecordsLost { reason: LossReason::NotWritten, records, cause }
    }

    /// The cause, in words.
    fn reason(&self) -> Option<&str> {
        match self {
            Self::DeliveryFailing { reason, .. }
            | Self::BatchHeld { reason, .. }
            | Self::RecordsRejected { reason, .. }
            | Self::RecordDeferred { reason, .. }
            | Self::CompressionRefused { reason }
            | Self::DeliveryUnconfirmed { reason, .. }
            | Self::EncodeFailed { reason }
            | Self::RequestsRefused { reason, .. }
            | Self::CommitFailed { reason }
            | Self::JournalSuspended { reason }
            | Self::DiskFull { reason }
            | Self::SegmentNotSynced { reason, .. }
            | Self::SegmentHeld { reason, .. }
            | Self::CursorDamaged { reason }
            | Self::CursorNotWritten { reason }
            | Self::AdoptionFailed { reason }
            | Self::RepeatsUnknown { reason }
            | Self::HousekeepingFailed { reason }
            | Self::GapNotReported { reason, .. }
            | Self::CloseFailed { reason }
            | Self::SettingSuspicious { reason, .. } => Some(reason),
            Self::RecordsLost { reason, .. } => Some(reason.as_str()),
            Self::DeliveryResumed
            | Self::BufferFull
            | Self::CommitRecovered
            | Self::JournalResumed
            | Self::JournalReplayed { .. }
            | Self::JournalDamaged { .. }
            | Self::QueueAdopted { .. }
            | Self::QueueStranded { .. }
            | Self::SegmentAbandoned { .. }
            | Self::SegmentDamaged { .. }
            | Self::SegmentReleased { .. } => None,
        }
    }

    #[expect(clippy::too_many_lines, reason = "the name of a diagnostic is fixed where it is written: one for each")]
    fn log(&self, signal: &'static str) {
        /// As one expression, which the macro itself is not.
        macro_rules! warn {
            (name: $name:literal, $($field:tt)*) => {{
                otel_warn!(name: $name, signal = signal, $($field)*);
            }};
        }
        match self {
            Self::DeliveryFailing { batch, reason } => warn!(
                name: "Spool.DeliveryFailing",
                batch = batch.as_str(),
                reason = reason.as_str(),
                message = "Delivery fails at the moment. The records stay in the spool and are retried."
            ),
            Self::BatchHeld { batch, reason } => warn!(
                name: "Spool.BatchHeld",
                batch = batch.as_str(),
                reason = reason.as_str(),
                message = "The endpoint does not take a batch, and an operator has to act. The batch is held and retried slowly; nothing is lost."
            ),
            Self::DeliveryResumed => warn!(
                name: "Spool.DeliveryResumed",
                message = "All is well again: every partition that failed or was held delivers."
            ),
            Self::RecordsRejected { batch, reason } => warn!(
                name: "Spool.RecordsRejected",
                batch = batch.as_str(),
                reason = reason.as_str(),
                message = "The endpoint rejects records for good. They are in the rejected store. Further ones are counted only."
            ),
            Self::RecordDeferred { batch, reason } => warn!(
                name: "Spool.RecordDeferred",
                batch = batch.as_str(),
                reason = reason.as_str(),
                message = "The endpoint fails for a record while it takes others. The record is kept and tried again every ten minutes."
            ),
            Self::CompressionRefused { reason } => warn!(
                name: "Spool.CompressionRefused",
                reason = reason.as_str(),
                message = "The endpoint refused three batches that it took without compression. For an hour none is compressed."
            ),
            Self::DeliveryUnconfirmed { batch, reason } => warn!(
                name: "Spool.DeliveryUnconfirmed",
                batch = batch.as_str(),
                reason = reason.as_str(),
                message = "The endpoint took a batch, but the rest of its response could not be read three times. Records that it rejected are not known."
            ),
            Self::RecordsLost { reason, records, cause } => warn!(
                name: "Spool.RecordsLost",
                reason = reason.as_str(),
                records = *records,
                cause = cause.as_str(),
                message = "Records are lost. SpoolStats counts them, and a gap record in the stream of logs reports how many."
            ),
            Self::EncodeFailed { reason } => warn!(
                name: "Spool.EncodeFailed",
                reason = reason.as_str(),
                message = "A record could not be encoded and is lost. Further ones are counted only."
            ),
            Self::RequestsRefused { reason, requests } => warn!(
                name: "Spool.RequestsRefused",
                reason = reason.as_str(),
                requests = *requests,
                message = "The relay refuses requests. Their records are not stored, and RelayStats counts them."
            ),
            Self::BufferFull => warn!(
                name: "Spool.BufferFull",
                message = "Records are lost: they come faster than the disk takes them, and the buffer is full. A gap record in the stream reports how many, and SpoolStats counts them."
            ),
            Self::CommitFailed { reason } => warn!(
                name: "Spool.CommitFailed",
                reason = reason.as_str(),
                message = "Records could not be written to the spool. They stay in memory and are retried, until the shutdown."
            ),
            Self::CommitRecovered => warn!(
                name: "Spool.CommitRecovered",
                message = "All is well again: the records are written to the spool."
            ),
            Self::JournalSuspended { reason } => warn!(
                name: "Spool.JournalSuspended",
                reason = reason.as_str(),
                message = "The journal is not written, because the disk is slow or takes nothing. Until a commit succeeds, a kill loses the records in memory."
            ),
            Self::JournalResumed => warn!(
                name: "Spool.JournalResumed",
                message = "All is well again: the journal is written."
            ),
            Self::JournalReplayed { records } => {
                otel_info!(
                    name: "Spool.JournalReplayed",
                    signal = signal,
                    records = *records,
                    message = "What a process that was killed had in its journal alone is in the spool, and is delivered."
                );
            }
            Self::JournalDamaged { bytes } => warn!(
                name: "Spool.JournalDamaged",
                bytes = *bytes,
                message = "Records in the journal of a process that ended are damaged and lost. The others are delivered."
            ),
            Self::DiskFull { reason } => warn!(
                name: "Spool.DiskFull",
                reason = reason.as_str(),
                message = "The disk has no space for new records. The records in the spool are delivered."
            ),
            Self::SegmentAbandoned { segment } => warn!(
                name: "Spool.SegmentAbandoned",
                segment = *segment,
                message = "A write to the spool failed. Its segment is closed and a new one begins; no accepted record is lost."
            ),
            Self::SegmentNotSynced { segment, reason } => warn!(
                name: "Spool.SegmentNotSynced",
                segment = *segment,
                reason = reason.as_str(),
                message = "A segment of the spool could not be synced. A power cut can lose the records that were accepted last."
            ),
            Self::SegmentDamaged { segment } => warn!(
                name: "Spool.SegmentDamaged",
                segment = *segment,
                message = "A segment of the spool is damaged. Its intact records are delivered, and the segment is kept in quarantine."
            ),
            Self::SegmentHeld { segment, reason } => warn!(
                name: "Spool.SegmentHeld",
                segment = *segment,
                reason = reason.as_str(),
                message = "A segment of the spool cannot be read. It is held and tried again; the rest is delivered meanwhile."
            ),
            Self::SegmentReleased { segment } => warn!(
                name: "Spool.SegmentReleased",
                segment = *segment,
                message = "All is well again: every segment that was held can be read, or was moved to the quarantine."
            ),
            Self::CursorDamaged { reason } => warn!(
                name: "Spool.CursorDamaged",
                reason = reason.as_str(),
                message = "Cursor files are damaged, so it is unknown which records of their segments are delivered. They are delivered again."
            ),
            Self::CursorNotWritten { reason } => warn!(
                name: "Spool.CursorNotWritten",
                reason = reason.as_str(),
                message = "The cursors cannot be written. After a restart some batches are sent again, under the same ids."
            ),
            Self::AdoptionFailed { reason } => warn!(
                name: "Spool.AdoptionFailed",
                reason = reason.as_str(),
                message = "The queue of an exporter that is gone cannot be adopted. It is retried every ten seconds."
            ),
            Self::QueueAdopted { records, was, now } => {
                otel_info!(
                    name: "Spool.QueueAdopted",
                    signal = signal,
                    records = *records,
                    was = was.as_str(),
                    now = now.as_str(),
                    message = "A queue that another process left, or an earlier run of this one, is taken over, and its records are delivered."
                );
            }
            Self::QueueStranded { records, was, now } => warn!(
                name: "Spool.QueueStranded",
                records = *records,
                was = was.as_str(),
                now = now.as_str(),
                message = "Records that were spooled for another endpoint wait in the spool. They are kept and not sent to this one; with_adopt_from or otel-spool assign releases them."
            ),
            Self::RepeatsUnknown { reason } => warn!(
                name: "Spool.RepeatsUnknown",
                reason = reason.as_str(),
                message = "What was stored of late cannot be read. A request that comes again may be stored again."
            ),
            Self::HousekeepingFailed { reason } => warn!(
                name: "Spool.HousekeepingFailed",
                reason = reason.as_str(),
                message = "Segments of the spool cannot be prepared, sealed or deleted. It is retried every second."
            ),
            Self::GapNotReported { records, reason } => warn!(
                name: "Spool.GapNotReported",
                records = *records,
                reason = reason.as_str(),
                message = "Gap records could not be written before the shutdown, so the stream does not report that these records are lost."
            ),
            Self::CloseFailed { reason } => warn!(
                name: "Spool.CloseFailed",
                reason = reason.as_str(),
                message = "The spool could not be closed cleanly. The next start scans it."
            ),
            Self::SettingSuspicious { setting, reason } if is_new(setting, reason) => warn!(
                name: "Spool.SettingSuspicious",
                setting = setting.as_str(),
                reason = reason.as_str(),
                message = "A setting is probably not meant so. It counts as it is."
            ),
            Self::SettingSuspicious { .. } => {}
        }
    }
}

/// Whether nothing was logged yet of a setting for this reason: the exporters of a process share settings.
fn is_new(setting: &str, reason: &str) -> bool {
    const REMEMBERED: usize = 256;
    static LOGGED: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

    // In a process that was forked it may be held for ever.
    let Ok(mut logged) = LOGGED.try_lock() else { return true };
    let is_new = !logged.iter().any(|(of, why)| of == setting && why == reason);
    if is_new && logged.len() < REMEMBERED {
        logged.push((setting.to_owned(), reason.to_owned()));
    }
    is_new
}

/// The name and, if there is one, the cause: `Spool.BatchHeld: https://logs.example.com/ingest: the server responded with 403`.
impl fmt::Display for SpoolEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match (self, self.reason()) {
            (Self::RecordsLost { records, cause, .. }, Some(reason)) => {
                write!(f, ": {records} ({reason})")?;
                if cause.is_empty() { Ok(()) } else { write!(f, ": {cause}") }
            }
            (Self::GapNotReported { records, .. }, Some(reason)) => write!(f, ": {records}: {reason}"),
            (Self::SettingSuspicious { setting, .. }, Some(reason)) => write!(f, ": `{setting}`: {reason}"),
            (Self::JournalReplayed { records }, _) => write!(f, ": {records}"),
            (Self::JournalDamaged { bytes }, _) => write!(f, ": {bytes} bytes"),
            (Self::QueueAdopted { records, was, now } | Self::QueueStranded { records, was, now }, _) => {
                let was = if was.is_empty() { "an unknown endpoint" } else { was };
                write!(f, ": {records} (spooled for {was}, now {now})")
            }
            (_, Some(reason)) => write!(f, ": {reason}"),
            (_, None) => Ok(()),
        }
    }
}

/// The user's function.
pub(crate) type OnEvent = dyn Fn(&SpoolEvent) + Send + Sync;

/// Reports the events of an exporter, from any thread. It never waits for the user's function, but the host's subscriber runs on the thread that
/// reports, unless that [logs](Logging) just now: no lock may be held that it could want.
#[derive(Debug)]
pub(crate) struct Events {
    /// The name of the exporter's signal: several exporters of a process report.
    signal: &'static str,
    has_function: bool,
    /// The process that has the thread: a forked one has none, and hands it nothing.
    process: u32,
    /// Where there is no function of the user's, it is started when it is first needed.
    thread: OnceLock<Thread>,
}

/// The thread that calls the user's function, and logs what a thread has to report that logs itself.
#[derive(Debug)]
struct Thread(SyncSender<Message>);

enum Message {
    Reported(Reported),
    /// Everything before it is done.
    Settled(SyncSender<()>),
}

struct Reported {
    event: SpoolEvent,
    is_logged: bool,
}

impl Thread {
    /// It ends after the last event, once no other can be reported.
    fn start(signal: &'static str, on_event: Option<Box<OnEvent>>) -> io::Result<Self> {
        let (waiting, events) = sync_channel(MAX_WAITING);
        crate::process::spawn("events", move || {
            for message in events {
                let Reported { event, is_logged } = match message {
                    Message::Reported(reported) => reported,
                    Message::Settled(done) => {
                        let _ = done.try_send(());
                        continue;
                    }
                };
                // A panic of the host's subscriber or of the user's function must not keep the next event from it.
                if !is_logged {
                    let _ = catch_unwind(AssertUnwindSafe(|| event.log(signal)));
                }
                if let Some(on_event) = &on_event {
                    let _ = catch_unwind(AssertUnwindSafe(|| on_event(&event)));
                }
            }
        })?;
        Ok(Self(waiting))
    }
}

impl Events {
    /// Without a function of the user's.
    pub(crate) fn new(signal: &'static str) -> Self {
        Self { signal, has_function: false, process: std::process::id(), thread: OnceLock::new() }
    }

    /// With a function of the user's, and the thread that calls it.
    pub(crate) fn start(signal: &'static str, on_event: Box<OnEvent>) -> io::Result<Self> {
        let thread = Thread::start(signal, Some(on_event))?.into();
        Ok(Self { has_function: true, thread, ..Self::new(signal) })
    }

    /// Logs the event here, or on a thread of its own where this one [logs](Logging), and hands it to the user's function. What neither
    /// keeps up with is dropped.
    pub(crate) fn report(&self, event: SpoolEvent) {
        let logs = Logging::is_here();
        let is_of_use = (logs || self.has_function) && self.process == std::process::id();
        let thread = if is_of_use { self.thread() } else { None };
        let is_logged = !logs || thread.is_none();
        if is_logged {
            event.log(self.signal);
        }
        if let Some(thread) = thread {
            let _ = thread.0.try_send(Message::Reported(Reported { event, is_logged }));
        }
    }

    /// Waits until what was reported so far is logged and was handed over, so long at most: the process may end then.
    pub(crate) fn settle(&self, patience: Duration) {
        let thread = self.thread.get().filter(|_| self.process == std::process::id());
        let (done, settled) = sync_channel(1);
        if thread.is_some_and(|thread| thread.0.try_send(Message::Settled(done)).is_ok()) {
            let _ = settled.recv_timeout(patience);
        }
    }

    fn thread(&self) -> Option<&Thread> {
        if self.thread.get().is_none()
            && let Ok(thread) = Thread::start(self.signal, None)
        {
            // Of two that are started at a time one ends at once.
            let _ = self.thread.set(thread);
        }
        self.thread.get()
    }
}

#[cfg(any(fuzzing, test))]
impl Default for Events {
    fn default() -> Self {
        Self::new("logs")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    fn some() -> Vec<SpoolEvent> {
        let reason = "it is full".to_owned();
        vec![SpoolEvent::CommitFailed { reason }, SpoolEvent::BufferFull, SpoolEvent::CommitRecovered]
    }

    /// Keeps the level and the target of what is logged.
    #[cfg(feature = "internal-logs")]
    #[derive(Clone, Default)]
    struct Logged(std::sync::Arc<Mutex<Vec<(tracing::Level, String)>>>);

    #[cfg(feature = "internal-logs")]
    impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Logged {
        fn on_event(&self, event: &tracing::Event<'_>, _context: tracing_subscriber::layer::Context<'_, S>) {
            let metadata = event.metadata();
            self.0.lock().unwrap().push((*metadata.level(), metadata.target().to_owned()));
        }
    }

    #[cfg(feature = "internal-logs")]
    #[test]
    fn the_end_of_a_trouble_is_logged_where_its_beginning_was() {
        use tracing_subscriber::layer::SubscriberExt;

        let (batch, reason) = (String::new(), String::new);
        let logged = Logged::default();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(logged.clone()), || {
            for event in [
                SpoolEvent::DeliveryFailing { batch, reason: reason() },
                SpoolEvent::DeliveryResumed,
                SpoolEvent::CommitFailed { reason: reason() },
                SpoolEvent::CommitRecovered,
                SpoolEvent::JournalSuspended { reason: reason() },
                SpoolEvent::JournalResumed,
                SpoolEvent::SegmentHeld { segment: 1, reason: reason() },
                SpoolEvent::SegmentReleased { segment: 1 },
            ] {
                Events::default().report(event);
            }
        });
        let logged = std::mem::take(&mut *logged.0.lock().unwrap());
        assert_eq!(logged, vec![(tracing::Level::WARN, "opentelemetry-spool".to_owned()); 8]);
    }

    #[test]
    fn the_callback_gets_every_event_in_order_also_after_a_panic() {
        let (sender, given) = channel();
        let on_event = move |event: &SpoolEvent| {
            sender.send(event.clone()).unwrap();
            assert_ne!(*event, SpoolEvent::BufferFull, "a callback that panics");
        };
        let events = Events::start("logs", Box::new(on_event)).unwrap();
        for event in some() {
            events.report(event);
        }
        drop(events);
        assert_eq!(given.iter().collect::<Vec<_>>(), some());
    }

    #[test]
    fn what_was_reported_is_handed_over_when_it_is_settled() {
        let (sender, given) = channel();
        let on_event = move |event: &SpoolEvent| drop(sender.send(event.clone()));
        let events = Events::start("logs", Box::new(on_event)).unwrap();
        events.report(SpoolEvent::BufferFull);
        events.settle(Duration::MAX);
        assert_eq!(given.try_recv(), Ok(SpoolEvent::BufferFull));
        // Where nothing was reported on a thread that logs, there is nobody to wait for.
        Events::new("logs").settle(Duration::MAX);
    }

    #[test]
    fn a_callback_that_hangs_holds_nobody_up_and_takes_bounded_memory() {
        let ((go, wait), (sender, given)) = (channel::<()>(), channel());
        let wait = Mutex::new(wait);
        let on_event = move |_: &SpoolEvent| {
            let _ = wait.lock().unwrap().recv();
            sender.send(()).unwrap();
        };
        let events = Events::start("logs", Box::new(on_event)).unwrap();
        for _ in 0..10 * MAX_WAITING {
            events.report(SpoolEvent::BufferFull);
        }
        drop((events, go));
        let given = given.iter().count();
        assert!((MAX_WAITING..=MAX_WAITING + 1).contains(&given), "{given}");
    }
}
