//! [`Outlet`]: the way of one signal's records out of the relay. It encodes them, and has the buffer in front of their spool.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry::InstrumentationScope;

use crate::config::values::{Protocol, Signal, SpoolLimits};
use crate::delivery::Pipeline;
use crate::encode::blocks::{Blocks, Encoded, EnvelopeId};
use crate::encode::common::time::time_of;
use crate::encode::framing::Framing;
use crate::encode::{LogView, RecordOrigin, RedactedLog};
use crate::error::{BoxError, ExporterBuildError, error_chain};
use crate::exporter::SpoolHandle;
use crate::exporter::intake::{Kept, checked, filtered};
use crate::exporter::log_exporter::{RecordFilter, SharedEncoder, framing_of, write};
use crate::observe::event::SpoolEvent;
use crate::observe::loss::LossReason;
use crate::process;
use crate::relay::buffer::{Buffer, BufferLimits, NotTaken, Ticket};
use crate::relay::committer::Committer;
use crate::relay::partition::{Keys, PartitionBy};
use crate::relay::protocol::{Message, OtlpRecord};
use crate::relay::protocols::otlp::{self, Extent, Pieces};
use crate::relay::record::Record;
use crate::relay::remembered::Remembered;
use crate::relay::repeats::{Repeats, Storing};
use crate::relay::status::snapshot::Delivery;
use crate::relay::watched::Watched;
use crate::spool::LoadId;

/// How often a loss that goes on is reported as an event.
const LOSS_EVENT_EVERY: Duration = Duration::from_secs(60);

/// The form in which a signal is stored.
pub(crate) enum Form {
    /// Log records, as an encoder writes them. An encoder of OTLP has its protocol beside it: what came as OTLP passes it by.
    Logs(SharedEncoder, Option<Protocol>),
    /// Spans or metrics, which are OTLP.
    Otlp(Protocol),
}

/// Takes a record's partition key, its framing where that is its own, and what it is on the wire.
pub(crate) type Add<'a> = dyn FnMut(&str, Option<&Framing>, Encoded<'_>) + 'a;

/// What encoding keeps from one record of a message to the next.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    bytes: Vec<u8>,
    /// The form in which OTLP passes, once there was some.
    pieces: Option<Pieces>,
    shared: Shared,
    /// The size of what was encoded in vain.
    pub(crate) wasted: usize,
}

/// All that records of OTLP of one scope share, read once.
#[derive(Debug, Default)]
struct Shared {
    /// The numbers that it is of: see [`OtlpRecord::id`].
    of: Option<EnvelopeId>,
    /// The resource without attributes that are left out, if there are some.
    resource: Option<Vec<u8>>,
    origin: RecordOrigin,
    scope: InstrumentationScope,
    /// The partition key, where it is in the resource or the scope.
    key: Option<String>,
}

/// The way of one signal's records out of the relay.
pub(crate) struct Outlet {
    pub(crate) signal: Signal,
    form: Form,
    framing: Framing,
    partition_by: PartitionBy,
    keys: Keys,
    /// Attributes of resources that are left out.
    dropped_attributes: Vec<String>,
    /// Of log records.
    record_filter: Option<Arc<RecordFilter>>,
    max_record_bytes: usize,
    /// The most that the records of a message may take which are stored as a whole.
    pub(crate) max_load_bytes: usize,
    buffer: Arc<Buffer>,
    pub(crate) pipeline: Pipeline,
    /// How delivery is, by its last events.
    delivery: Arc<Watched>,
    /// Ends with the commit thread.
    committed: Mutex<Receiver<()>>,
    begun: Instant,
    /// When the loss for each reason was last reported as an event, in milliseconds from `begun`, and one more.
    reported: [AtomicU64; LossReason::ALL.len()],
}

/// The settings of an outlet.
pub(crate) struct OutletConfig {
    pub(crate) signal: Signal,
    pub(crate) form: Form,
    pub(crate) framing: Framing,
    pub(crate) partition_by: PartitionBy,
    pub(crate) dropped_attributes: Vec<String>,
    pub(crate) record_filter: Option<Arc<RecordFilter>>,
    pub(crate) max_record_bytes: usize,
    pub(crate) limits: BufferLimits,
}

impl Outlet {
    /// Starts the commit thread in front of a pipeline.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub(crate) fn start(
        config: OutletConfig,
        pipeline: Pipeline,
        delivery: Arc<Watched>,
        repeats: Arc<Repeats>,
    ) -> Result<Self, ExporterBuildError> {
        let buffer = Arc::new(Buffer::new(config.limits, config.framing.clone()));
        let (for_thread, spool) = (buffer.clone(), pipeline.spool().clone());
        let (counters, events) = (pipeline.counters().clone(), pipeline.events().clone());
        let remembered = spool.upgrade().map(|spool| Remembered::new(&spool.config().dir, config.signal));
        let mut thread = Committer { spool, counters, events, repeats, remembered };
        let (end, committed) = sync_channel::<()>(0);
        process::spawn("commit", move || {
            thread.run(&for_thread);
            drop(end);
        })
        .map_err(ExporterBuildError::Thread)?;
        Ok(Self {
            signal: config.signal,
            form: config.form,
            framing: config.framing,
            partition_by: config.partition_by,
            keys: Keys::default(),
            dropped_attributes: config.dropped_attributes,
            record_filter: config.record_filter.filter(|_| config.signal == Signal::Logs),
            max_record_bytes: config.max_record_bytes,
            max_load_bytes: config.limits.max_bytes,
            buffer,
            pipeline,
            delivery,
            committed: Mutex::new(committed),
            begun: Instant::now(),
            reported: Default::default(),
        })
    }

    pub(crate) fn handle(&self) -> SpoolHandle {
        SpoolHandle::new(&self.pipeline)
    }

    /// The header that is a part of what makes a request the same.
    pub(crate) fn partition_header(&self) -> Option<&str> {
        self.partition_by.header()
    }

    /// Whether OTLP is stored.
    pub(crate) fn is_otlp(&self) -> bool {
        self.protocol().is_some()
    }

    /// The encoding of OTLP in which records are stored, if they are.
    fn protocol(&self) -> Option<Protocol> {
        match &self.form {
            Form::Logs(_, protocol) => *protocol,
            Form::Otlp(protocol) => Some(*protocol),
        }
    }

    /// How delivery is, and how long ago it began to fail last.
    pub(crate) fn delivery(&self) -> (Delivery, Option<Duration>) {
        self.delivery.state()
    }

    /// The limits of the spool, as long as it is open.
    pub(crate) fn spool_limits(&self) -> Option<SpoolLimits> {
        self.pipeline.spool().upgrade().map(|spool| spool.config().limits)
    }

    /// Where records go, without a password.
    pub(crate) fn endpoint(&self) -> String {
        let endpoint = self.pipeline.spool().upgrade().and_then(|spool| spool.config().endpoint.clone());
        let endpoint = endpoint.unwrap_or_default();
        // Also a query can hold a secret.
        endpoint.split(['?', '#']).next().unwrap_or_default().to_owned()
    }

    /// The number of partitions that wait, and the largest of them.
    pub(crate) fn partitions(&self, most: usize) -> (u64, Vec<(Arc<str>, u64)>) {
        self.pipeline.spool().upgrade().map(|spool| spool.partitions(most)).unwrap_or_default()
    }

    /// Whether commits fail, and why.
    pub(crate) fn failure(&self) -> Option<String> {
        self.buffer.failure()
    }

    /// The reason why the loose records that are being committed could not be written so far.
    pub(crate) fn retried_failure(&self) -> Option<String> {
        self.buffer.retried_failure()
    }

    /// Adds a record to blocks of its own.
    pub(crate) fn push(&self, blocks: &mut Blocks, key: &str, framing: Option<&Framing>, record: Encoded<'_>) {
        let _ = match framing {
            Some(framing) => blocks.push_framed(key, framing, record),
            None => blocks.push(key, record, self.framing.separator()),
        };
    }

    /// Adds a loose record to the buffer. One that is not taken is lost, and is counted.
    ///
    /// # Errors
    ///
    /// If it was not taken.
    pub(crate) fn add(&self, key: &str, framing: Option<&Framing>, record: Encoded<'_>) -> Result<(), NotTaken> {
        let bytes = record.len();
        let added = self.buffer.add(key, framing, record);
        match &added {
            Ok(()) => {}
            Err(NotTaken::Full) => {
                let losses = &self.pipeline.counters().losses;
                losses.add_bytes(LossReason::BufferFull, bytes as u64);
                losses.add(LossReason::BufferFull, 1);
                self.report_loss(LossReason::BufferFull);
            }
            Err(NotTaken::Stopped | NotTaken::Failing(_)) => {
                self.pipeline.counters().losses.add(LossReason::NotWritten, 1);
            }
        }
        added
    }

    /// Has the loose records so far committed at once.
    pub(crate) fn commit_now(&self) -> Ticket {
        self.buffer.commit_now()
    }

    /// Adds a load, to be committed at once.
    ///
    /// # Errors
    ///
    /// If it was not taken. Its client may send it again.
    pub(crate) fn submit(&self, blocks: Blocks, request: Storing) -> Result<(), NotTaken> {
        self.buffer.submit(blocks, request)
    }

    pub(crate) fn take_out(&self, id: LoadId, reason: &str) -> bool {
        self.buffer.take_out(id, reason)
    }

    /// Counts records that are lost before they are encoded, and has them reported.
    pub(crate) fn lose(&self, reason: LossReason, records: u64, bytes: usize) {
        let losses = &self.pipeline.counters().losses;
        losses.add_bytes(reason, bytes as u64);
        losses.add(reason, records);
        self.buffer.note_lost(reason, records);
        self.report_loss(reason);
    }

    /// Reports a loss as an event, once in a while.
    fn report_loss(&self, reason: LossReason) {
        let Some(reported) = self.reported.get(reason as usize) else { return };
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let last = reported.load(Ordering::Relaxed);
        let every = u64::try_from(LOSS_EVENT_EVERY.as_millis()).unwrap_or(u64::MAX);
        if last != 0 && now < last.saturating_add(every) {
            return;
        }
        if reported.compare_exchange(last, now + 1, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let records = self.pipeline.counters().losses.get(reason);
            self.pipeline.events().report(SpoolEvent::RecordsLost { reason, records, cause: String::new() });
        }
    }

    /// Commits what is in the buffer, and ends the commit thread. False if that takes longer than `patience`.
    pub(crate) fn stop(&self, patience: Duration) -> bool {
        self.buffer.stop();
        let committed = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
        committed.recv_timeout(patience) != Err(RecvTimeoutError::Timeout)
    }

    /// Gives `add` the partition key of a record and what it is on the wire. False if it is lost: that is counted.
    pub(crate) fn encode_log(
        &self,
        message: &Message<'_>,
        record: &Record,
        scratch: &mut Scratch,
        add: &mut Add<'_>,
    ) -> bool {
        match self.filtered(record) {
            Ok(kept) => {
                let key = self.key(message, record, &record.scope);
                self.encode_kept(&key, record, &kept, scratch, add)
            }
            Err(is_dropped) => is_dropped,
        }
    }

    /// What the filter leaves of a record. An error if nothing of it is to be stored: true if that is what the filter decided.
    fn filtered(&self, record: &Record) -> Result<Kept, bool> {
        let Some(filter) = &self.record_filter else { return Ok(Kept::Whole) };
        match filtered(self.pipeline.counters(), || filter(record, &record.scope)) {
            Ok(kept) => kept.ok_or(true),
            Err(error) => Err(self.note_encode_failed(&error)),
        }
    }

    /// Encodes what a filter has left of a record.
    fn encode_kept(&self, key: &str, record: &Record, kept: &Kept, scratch: &mut Scratch, add: &mut Add<'_>) -> bool {
        match kept {
            Kept::Without(redaction) => {
                self.encode_keyed(key, &RedactedLog { record, redaction }, &record.scope, scratch, add)
            }
            Kept::Whole => self.encode_keyed(key, record, &record.scope, scratch, add),
        }
    }

    fn encode_keyed(
        &self,
        key: &str,
        record: &dyn LogView,
        scope: &InstrumentationScope,
        scratch: &mut Scratch,
        add: &mut Add<'_>,
    ) -> bool {
        let Form::Logs(encoder, _) = &self.form else { return false };
        let encoder = encoder.read().unwrap_or_else(PoisonError::into_inner);
        let encode = |out: &mut Vec<u8>| write(&**encoder, record, scope, out);
        let framing = framing_of(&**encoder, record);
        let Scratch { bytes, wasted, .. } = scratch;
        match checked(time_of(record), encode, bytes) {
            Ok(on_wire) => {
                let bytes = on_wire.len();
                let given = self.give(key, framing.as_ref(), on_wire, add);
                *wasted += if given { 0 } else { bytes };
                given
            }
            Err(error) => self.note_encode_failed(&error),
        }
    }

    /// The same of a record that came as OTLP: where OTLP is stored, it passes.
    pub(crate) fn encode_otlp(
        &self,
        message: &Message<'_>,
        record: &OtlpRecord<'_>,
        scratch: &mut Scratch,
        add: &mut Add<'_>,
    ) -> bool {
        // It would not become smaller, unless a filter leaves something out.
        if self.record_filter.is_none() && record.record.len() > self.max_record_bytes {
            self.lose(LossReason::TooLarge, 1, record.record.len());
            return false;
        }
        let mut shared = std::mem::take(&mut scratch.shared);
        self.share(message, record, &mut shared);
        let resource = shared.resource.take();
        let passed = OtlpRecord { resource: resource.as_deref().unwrap_or(record.resource), ..*record };
        let given = self.encode_shared(message, &passed, &mut shared, scratch, add);
        shared.resource = resource;
        scratch.shared = shared;
        given
    }

    /// Reads what a record shares with others, unless it was read for the one before.
    fn share(&self, message: &Message<'_>, record: &OtlpRecord<'_>, shared: &mut Shared) {
        let before = shared.of.replace(record.id);
        if before == shared.of {
            return;
        }
        let has_resource = before.is_some_and(|before| before.outer == record.id.outer);
        if !has_resource {
            shared.resource = match otlp::drop_attributes(record.resource, &self.dropped_attributes) {
                Cow::Owned(resource) => Some(resource),
                Cow::Borrowed(_) => None,
            };
        }
        let reads_records = self.partition_by.is_in_record() || self.record_filter.is_some();
        if self.is_otlp() && (self.signal != Signal::Logs || !reads_records) {
            shared.key = Some(self.keys.bounded(self.partition_by.of_message(message)));
            return;
        }
        if !has_resource {
            shared.origin = otlp::origin(shared.resource.as_deref().unwrap_or(record.resource));
        }
        shared.scope = otlp::scope(record.scope);
        shared.key = None;
        if !self.partition_by.is_of_each_record() {
            let of_all = Record { origin: std::mem::take(&mut shared.origin), ..Record::default() };
            shared.key = Some(self.key(message, &of_all, &shared.scope));
            shared.origin = of_all.origin;
        }
    }

    fn encode_shared(
        &self,
        message: &Message<'_>,
        record: &OtlpRecord<'_>,
        shared: &mut Shared,
        scratch: &mut Scratch,
        add: &mut Add<'_>,
    ) -> bool {
        let protocol = self.protocol();
        let mut own_key = None;
        if protocol.is_none() || shared.key.is_none() || self.record_filter.is_some() {
            let (mut read, extent) = otlp::record(record, message.arrived);
            // Copies of them would take as long as all records together have them.
            (read.origin, read.scope) = (std::mem::take(&mut shared.origin), std::mem::take(&mut shared.scope));
            let has_filter = self.record_filter.is_some();
            let kept = if has_filter && extent == Extent::Bytes {
                Err(self.note_encode_failed(&"a record filter cannot see what is in a damaged record".into()))
            } else {
                self.filtered(&read)
            };
            if kept.is_ok() && shared.key.is_none() {
                own_key = Some(self.key(message, &read, &read.scope));
            }
            let given = match kept {
                Err(is_dropped) => Some(is_dropped),
                // What came as OTLP passes, but for what a filter has not seen.
                Ok(Kept::Whole) if protocol.is_some() && (extent == Extent::Whole || !has_filter) => None,
                Ok(kept) => {
                    let key = own_key.as_deref().or(shared.key.as_deref()).unwrap_or_default();
                    Some(self.encode_kept(key, &read, &kept, scratch, add))
                }
            };
            (shared.origin, shared.scope) = (read.origin, read.scope);
            if let Some(given) = given {
                return given;
            }
        }
        let Some(protocol) = protocol else { return false };
        let key = own_key.as_deref().or(shared.key.as_deref()).unwrap_or_default();
        match scratch.pieces.get_or_insert_with(|| Pieces::new(protocol)).encoded(record) {
            Ok(on_wire) => self.give(key, None, on_wire, add),
            Err(error) => self.note_encode_failed(&error.into()),
        }
    }

    fn give(&self, key: &str, framing: Option<&Framing>, on_wire: Encoded<'_>, add: &mut Add<'_>) -> bool {
        let takes = on_wire.len() <= self.max_record_bytes;
        if takes {
            add(key, framing, on_wire);
        } else {
            self.lose(LossReason::TooLarge, 1, on_wire.len());
        }
        takes
    }

    fn key(&self, message: &Message<'_>, record: &dyn LogView, scope: &InstrumentationScope) -> String {
        self.keys.bounded(
            self.partition_by.of_record(record, scope).unwrap_or_else(|| self.partition_by.of_message(message)),
        )
    }

    fn note_encode_failed(&self, error: &BoxError) -> bool {
        let losses = &self.pipeline.counters().losses;
        losses.add(LossReason::EncodeFailed, 1);
        if losses.get(LossReason::EncodeFailed) == 1 {
            self.pipeline.events().report(SpoolEvent::EncodeFailed { reason: error_chain(&**error) });
        }
        false
    }
}

impl Drop for Outlet {
    /// Ends the commit thread, also of a relay that could not be built.
    fn drop(&mut self) {
        // In a process that was forked there is none, and locks may be held for ever.
        if process::check_process().is_ok() {
            self.buffer.stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::blocks::Envelope;
    use crate::relay::testing::outlets;

    #[test]
    fn an_outlet_that_is_dropped_ends_its_commit_thread_which_loses_nothing_uncounted() {
        let dir = tempfile::tempdir().unwrap();
        let mut outlet = outlets(dir.path()).logs;
        let record = Encoded { timestamp: None, bytes: b"a record", envelope: Envelope::default() };
        outlet.add("", None, record).unwrap();
        let counters = outlet.pipeline.counters().clone();
        let (_, nothing) = sync_channel(0);
        let committed = std::mem::replace(outlet.committed.get_mut().unwrap(), nothing);
        drop(outlet);
        // It would wait for the commit's hour, and then for the next record.
        assert_eq!(committed.recv_timeout(Duration::from_secs(120)), Err(RecvTimeoutError::Disconnected));
        let not_written = counters.losses.get(LossReason::NotWritten);
        assert_eq!(counters.accepted_records.get() + not_written, 1, "the spool may be closed before it");
    }
}
