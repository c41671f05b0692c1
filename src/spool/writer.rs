//! Appending: entries go to the newest segment, the *head*, and are synced before anyone is told.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use super::bytes::{index, len32};
use super::coding::Coding;
use super::entry::{self, Division, EntryHead, MAX_RECORD_BYTES, Part, nanos, stored_key};
use super::housekeeper::Job;
use super::index::Front;
use super::loss::Gap;
use super::segment::{EntryMeta, Segment, entry_budget};
use super::{Inner, Spool, State, lock};
use crate::config::values::Durability;
use crate::encode::blocks::Block;
use crate::encode::framing::Framing;
use crate::error::SpoolError;
use crate::observe::event::SpoolEvent;
use crate::observe::loss::LossReason;

/// More than the heads of an entry and of its frame take, and what the engine adds.
const ENTRY_OVERHEAD: usize = 256;

/// More than a partition without its key takes in a seal.
const SEAL_OVERHEAD: u64 = 32;

/// So many times as much as fits a frame is compressed together.
const COMPRESSED_TOGETHER: usize = 4;

/// The newest segment, while it is written.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) segment: Arc<Segment>,
    /// Written, and of these accepted: an `append` returned.
    frames: u64,
    accepted: u64,
    runway: u64,
    /// The number of each partition, and how many records it has.
    lanes: HashMap<Arc<str>, (u32, u64)>,
    /// How many bytes its seal will take.
    pub(super) seal_bytes: u64,
    spare_asked: bool,
}

/// An entry that was written and is to be made readable.
struct Added {
    key: Arc<str>,
    entry: EntryHead,
    meta: EntryMeta,
}

impl Head {
    /// A partition's key, its number and how many records it has.
    fn lane(&mut self, key: &str) -> (Arc<str>, u32, u64) {
        if let Some((key, (lane, records))) = self.lanes.get_key_value(key) {
            return (key.clone(), *lane, *records);
        }
        let (key, lane) = (Arc::from(key), len32(self.lanes.len()));
        self.lanes.insert(Arc::clone(&key), (lane, 0));
        self.seal_bytes += SEAL_OVERHEAD + key.len() as u64;
        (key, lane, 0)
    }
}

impl Spool {
    /// Adds records, those of each partition in their order. When this returns, they are as safe as
    /// the spool's [`Durability`] says.
    ///
    /// # Errors
    ///
    /// None of the records is then accepted: they may be appended again, or [given up](Self::note_not_written). The next call begins
    /// with a new segment.
    pub(crate) fn append(&self, groups: &[(&str, &Block)], framing: &Framing) -> Result<(), SpoolError> {
        self.inner.append(groups, framing, None)
    }

    /// Gives up records that could not be appended: counts them, and has it told.
    pub(crate) fn note_not_written(&self, groups: &[(&str, &Block)]) {
        for (key, group) in groups {
            self.inner.note_gap(Gap {
                key: Arc::from(stored_key(key)),
                reason: LossReason::NotWritten,
                records: group.ends.len() as u64,
                first: group.first_timestamp,
                last: group.last_timestamp,
            });
        }
    }
}

impl Inner {
    /// `told` is the gap that the only record tells of, if it does.
    pub(super) fn append(
        &self,
        groups: &[(&str, &Block)],
        framing: &Framing,
        told: Option<&Gap>,
    ) -> Result<(), SpoolError> {
        for (_, group) in groups {
            check_sizes(group)?;
        }
        let mut head = lock(&self.head);
        if self.closed.load(Ordering::Acquire) {
            return Err(SpoolError::Closed);
        }
        let bytes = groups.iter().map(|(key, group)| stored_bytes(key, group, framing)).sum();
        self.make_room(bytes, head.as_ref())?;
        if head.as_ref().is_some_and(|head| self.is_full(head)) {
            self.seal_head(&mut head);
        }
        // After a write error a database fails for ever, also when the cause is gone: the entries go to a new one.
        let mut retried = false;
        loop {
            let open = self.begin_head(&mut head)?;
            match self.write(open, groups, framing) {
                Ok(added) => {
                    self.publish(open, &added, told);
                    return Ok(());
                }
                Err(error) => {
                    self.abandon_head(&mut head)?;
                    if std::mem::replace(&mut retried, true) {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// The newest segment; makes one if there is none.
    pub(super) fn begin_head<'a>(&self, head: &'a mut Option<Head>) -> Result<&'a mut Head, SpoolError> {
        if let Some(head) = head {
            return Ok(head);
        }
        let mut spare = lock(&self.spare);
        let segment = match spare.take() {
            Some(segment) => segment,
            None => Arc::new(self.create_segment()?),
        };
        drop(spare);
        let delivered = lock(&self.state).set_head(segment.id.number, segment.clone());
        for number in delivered {
            self.ask(Job::Remove(number));
        }
        let lanes = HashMap::new();
        Ok(head.insert(Head { segment, frames: 0, accepted: 0, runway: 0, lanes, seal_bytes: 0, spare_asked: false }))
    }

    fn write(&self, head: &mut Head, groups: &[(&str, &Block)], framing: &Framing) -> Result<Vec<Added>, SpoolError> {
        let mut added = Vec::with_capacity(groups.len());
        let appended_at = nanos(SystemTime::now());
        let limits = self.config.batch;
        let division = Division { max_records: limits.max_records, max_bytes: limits.max_bytes };
        let mut bytes = Vec::new();
        for (key, group) in groups {
            let (key, lane, mut first_record) = head.lane(stored_key(key));
            for part in split(group, self.entry_limits(&key, framing), framing.separator().len()) {
                let entry = EntryHead {
                    partition: lane,
                    first_record,
                    records: len32(part.ends.len()),
                    first_timestamp: group.first_timestamp.map_or(appended_at, nanos),
                    last_timestamp: group.last_timestamp.map_or(appended_at, nanos),
                    appended_at,
                    division,
                };
                entry::write(&entry, &key, framing, part, self.config.coding, &mut bytes);
                let meta = EntryMeta::new(head.frames, &entry, part.payload.len());
                head.frames += head.segment.write(head.frames, &mut head.runway, &bytes)?;
                first_record += u64::from(entry.records);
                added.push(Added { key: key.clone(), entry, meta });
            }
            head.lanes.insert(key, (lane, first_record));
        }
        match self.config.durability {
            Durability::Sync => head.segment.sync()?,
            Durability::Interval(_) => {
                head.segment.flush()?;
                self.ask(Job::SyncSoon);
            }
            Durability::Process => head.segment.flush()?,
        }
        Ok(added)
    }

    /// Makes what was written readable.
    fn publish(&self, head: &mut Head, added: &[Added], told: Option<&Gap>) {
        head.accepted = head.frames;
        for added in added {
            head.segment.push(&added.key, &added.entry, added.meta);
        }
        let mut state = lock(&self.state);
        for added in added {
            state.appended(&added.key, &added.entry);
            self.end_linger(&mut state, head, added);
        }
        if let Some(gap) = told {
            state.told(gap.clone());
        }
        drop(state);
        if !head.spare_asked && self.needs_spare(head) {
            head.spare_asked = true;
            self.ask(Job::Spare);
        }
        self.wake();
    }

    /// Whether a segment gets no more. One that has not taken its disk ahead makes way early for one that has.
    fn is_full(&self, head: &Head) -> bool {
        let (written, bytes) = (head.segment.written(), self.config.segment_bytes);
        written >= bytes || (!head.segment.is_reserved() && written >= bytes / 16 && self.has_reserved_spare())
    }

    /// Whether it is time to make the next segment.
    fn needs_spare(&self, head: &Head) -> bool {
        let share = if head.segment.is_reserved() || !self.reserves() { 2 } else { 32 };
        head.segment.written() >= self.config.segment_bytes / share
    }

    /// Does not wait while one is made.
    fn has_reserved_spare(&self) -> bool {
        let spare = self.spare.try_lock();
        spare.is_ok_and(|spare| spare.as_ref().is_some_and(|segment| segment.is_reserved()))
    }

    /// Tells of a partition that lingers and now has enough for a batch.
    fn end_linger(&self, state: &mut State, head: &Head, added: &Added) {
        if !state.lingers(&added.key) {
            return;
        }
        let limits = &self.config.batch;
        let fills = |front: Front| {
            let waiting = front.start..front.end;
            front.segment != head.segment.id.number
                || head.segment.available(added.entry.partition, &waiting, limits).fills(limits)
        };
        if state.front(&added.key, None).is_none_or(fills) {
            state.fill(&added.key);
        }
    }

    pub(super) fn seal_head(&self, head: &mut Option<Head>) {
        if let Some(old) = head.take() {
            let mut state = lock(&self.state);
            state.complete_head();
            state.owe_seal(old.segment.id.number, old.seal_bytes);
            drop(state);
            self.ask(Job::Seal { segment: old.segment, frames: old.frames });
        }
    }

    /// Gives up the newest segment after a write error.
    ///
    /// # Errors
    ///
    /// If it cannot be kept what of the segment was accepted: the entries that failed must not be written again then, or a
    /// restart would find them twice.
    pub(super) fn abandon_head(&self, head: &mut Option<Head>) -> Result<(), SpoolError> {
        let Some(old) = head.take() else { return Ok(()) };
        self.events.report(SpoolEvent::SegmentAbandoned { segment: old.segment.id.number });
        let (number, accepted) = (old.segment.id.number, old.accepted);
        lock(&self.state).abandon_head();
        self.ask(Job::Recover { number, accepted });
        self.dir.put_accepted(number, accepted)
    }

    /// How much an entry of a partition holds.
    fn entry_limits(&self, key: &str, framing: &Framing) -> EntryLimits {
        let bytes = entry_budget(key, framing);
        match self.config.coding {
            Coding::Identity => EntryLimits { bytes, records: usize::MAX, payload: usize::MAX },
            // Together they get smaller. What is not much smaller then takes several frames.
            Coding::Lz4 => EntryLimits { bytes: COMPRESSED_TOGETHER * bytes, records: usize::MAX, payload: usize::MAX },
            // A batch consists of whole ones.
            Coding::Deflate => EntryLimits {
                bytes: COMPRESSED_TOGETHER * bytes,
                records: index(self.config.batch.max_records),
                payload: index(self.config.batch.max_bytes)
                    .saturating_sub(framing.open().len() + framing.close().len()),
            },
        }
    }
}

/// The most that goes into one entry; a single record always does.
#[derive(Clone, Copy, Debug)]
struct EntryLimits {
    /// Of the records, and of where they end.
    bytes: usize,
    records: usize,
    /// Of the records alone.
    payload: usize,
}

/// How many bytes records take in the spool, and a little more.
fn stored_bytes(key: &str, group: &Block, framing: &Framing) -> u64 {
    let key = stored_key(key);
    let records = group.payload.len() + 4 * group.ends.len();
    let entries = 1 + records / entry_budget(key, framing);
    // The key stands in each entry, and in the seal.
    let bytes = records + entries * (ENTRY_OVERHEAD + 2 * key.len() + framing.len());
    (bytes + bytes / 32) as u64
}

fn check_sizes(group: &Block) -> Result<(), SpoolError> {
    let mut start = 0;
    for &end in &group.ends {
        if end - start > MAX_RECORD_BYTES {
            return Err(SpoolError::RecordTooLarge { bytes: end - start, max_bytes: MAX_RECORD_BYTES });
        }
        start = end;
    }
    Ok(())
}

/// Cuts a group between records, so that each part keeps to the limits.
fn split(group: &Block, limits: EntryLimits, separator: usize) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut first = 0;
    while first < group.ends.len() {
        let base = if first == 0 { 0 } else { group.ends[first - 1] + separator };
        let fits = |at: usize| {
            let (payload, records) = (group.ends[at] - base, at + 1 - first);
            payload + 4 * records <= limits.bytes && records <= limits.records && payload <= limits.payload
        };
        let mut last = first;
        while last + 1 < group.ends.len() && fits(last + 1) {
            last += 1;
        }
        let payload = &group.payload[base..group.ends[last]];
        parts.push(Part { base, ends: &group.ends[first..=last], payload });
        first = last + 1;
    }
    parts
}
