//! Appending: entries go to the active segment, and are safe before the caller hears of it. It touches the active segment's
//! database, and makes segments.

use std::sync::Arc;
use std::time::SystemTime;

use super::active::{ActiveSegment, NextSegment};
use super::bytes::{index, len32};
use super::coding::Coding;
use super::entry::{
    self, EntryHead, LoadId, LoadMark, MAX_RECORD_BYTES, Part, RUN_BYTES, StoredLimits, nanos, stored_key,
};
use super::files::remove_dir;
use super::gap::Gap;
use super::index::{Asked, Choice, Index};
use super::jobs::Job;
use super::load::Load;
use super::lock::Guard;
use super::nested;
use super::position::{LaneId, SegmentId};
use super::queue::{Queue, Writer};
use super::segment::{EntryMeta, Segment, StartedSegment, entry_budget};
use super::sled_threads::are_silent;
use super::store::new_path;
use super::withdraw::Appended;
use crate::config::values::Durability;
use crate::encode::blocks::{Block, Envelope};
use crate::encode::framing::{Framing, Nesting};
use crate::error::{SpoolError, error_chain};
use crate::observe::event::SpoolEvent;
use crate::process::unique_number;

/// More than the heads of an entry and of its frame take, and what the engine adds.
const ENTRY_OVERHEAD: usize = 256;

/// The part of an entry that an envelope leaves to records at least, however long it is.
const ENVELOPE_ROOM: usize = 4;

/// How many times as much as fits a frame is compressed together.
const COMPRESSED_TOGETHER: usize = 11;

/// How the records of an append are stored.
pub(super) struct Append<'a> {
    /// That of the blocks which have none of their own.
    pub(super) framing: &'a Framing,
    /// The limits of the batches that they make up.
    pub(super) limits: StoredLimits,
    pub(super) durability: Durability,
}

/// An entry that was written and is to be made readable.
pub(super) struct Added {
    key: Arc<str>,
    entry: EntryHead,
    meta: EntryMeta,
}

/// Records.
impl Queue {
    /// Adds the records of each block of each load in their order. When this returns, they are as safe as the spool's
    /// [`Durability`] says. `gap` is the one that the only record reports, if it does. `stored` is called when they are that safe and
    /// none of them can be delivered yet. Returns where the records of each block are.
    ///
    /// # Errors
    ///
    /// None of the records is then accepted: they may be appended again. The next call begins with a new segment.
    pub(super) fn append(
        &self,
        loads: &[Load<'_>],
        framing: &Framing,
        gap: Option<&Gap>,
        stored: impl FnOnce(),
    ) -> Result<Vec<Appended>, SpoolError> {
        for (_, block) in blocks(loads) {
            check_sizes(block)?;
        }
        let mut events = Vec::new();
        let result = self.append_silent(loads, framing, gap, stored, &mut events);
        for event in events {
            self.report_event(event);
        }
        result
    }

    /// Does so. The events are to be reported when this has returned, without the lock.
    fn append_silent(
        &self,
        loads: &[Load<'_>],
        framing: &Framing,
        gap: Option<&Gap>,
        stored: impl FnOnce(),
        events: &mut Vec<SpoolEvent>,
    ) -> Result<Vec<Appended>, SpoolError> {
        let mut writer = self.writer.lock();
        if self.is_closed() {
            return Err(SpoolError::Closed);
        }
        let bytes =
            blocks(loads).map(|(key, block)| stored_bytes(key, block, block.framing.as_ref().unwrap_or(framing))).sum();
        self.make_room(&mut writer, bytes, events)?;
        // After a write error a database fails for ever, also when the cause is gone: the entries go to a new one.
        let mut retried = false;
        let append = Append { framing, limits: self.batch_limits(), durability: self.config.durability };
        loop {
            writer = self.begin_active(writer)?;
            let Some(active) = &mut writer.active else { continue };
            match self.write(active, loads, &append, |key| self.index.lock().begin_append(key)) {
                Ok((added, appended)) => {
                    stored();
                    self.make_room_for_cursors(active);
                    self.publish(&mut writer, &added, gap);
                    return Ok(appended);
                }
                Err(error) => {
                    let noted = self.abandon_active(&mut writer, events);
                    if noted.is_err() || std::mem::replace(&mut retried, true) {
                        // What failed first says why.
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Writes entries to a segment. `boundary` gives the [boundary](Index::begin_append) that those of a partition are to carry.
    pub(super) fn write(
        &self,
        active: &mut ActiveSegment,
        loads: &[Load<'_>],
        append: &Append<'_>,
        boundary: impl Fn(&str) -> u64,
    ) -> Result<(Vec<Added>, Vec<Appended>), SpoolError> {
        let count = blocks(loads).count();
        let (mut added, mut appended) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let appended_at = active.begin_append(nanos(SystemTime::now()));
        let limits = append.limits;
        let mut scratch = std::mem::take(&mut active.scratch);
        let segment = active.segment.clone();
        let mut writing = segment.begin()?;
        let has_loads = loads.iter().any(|load| load.id.is_some());
        for (id, (key, block), ends_load) in blocks_of_loads(loads) {
            let framing = block.framing.as_ref().unwrap_or(append.framing);
            let (key, lane, mut first_record) = active.lane(stored_key(key));
            let boundary = boundary(&key);
            let start = first_record;
            let mut entries = entries(block, self.entry_limits(&key, framing, limits), framing).into_iter().peekable();
            while let Some(parts) = entries.next() {
                let is_last = has_loads && (id.is_none() || (ends_load && entries.peek().is_none()));
                let entry = EntryHead {
                    lane,
                    first_record,
                    records: len32(parts.iter().map(|part| part.ends.len()).sum()),
                    boundary,
                    first_timestamp: block.first_timestamp.map_or(appended_at, nanos),
                    last_timestamp: block.last_timestamp.map_or(appended_at, nanos),
                    appended_at,
                    limits,
                    load: LoadMark { id, is_last, begins_append: has_loads && added.is_empty() },
                };
                let plain_len = entry::write(&entry, &key, framing, &parts, self.config.coding, &mut scratch);
                let meta = EntryMeta::new(active.frames, &entry, plain_len);
                active.frames += segment.write(&mut writing, active.frames, &mut active.runway, scratch.framed())?;
                first_record += u64::from(entry.records);
                added.push(Added { key: key.clone(), entry, meta });
            }
            let id = LaneId { segment: segment.id, lane };
            appended.push(Appended { key: key.clone(), lane: id, records: start..first_record });
            active.lanes.insert(key, (lane, first_record));
        }
        scratch.shrink();
        active.scratch = scratch;
        match append.durability {
            Durability::Sync => writing.sync()?,
            Durability::Interval(_) => {
                writing.write_out()?;
                self.ask(Job::SyncSoon);
            }
            Durability::Process => writing.write_out()?,
        }
        Ok((added, appended))
    }

    /// Takes room for the cursors of the lanes that came, so that delivering them takes none.
    fn make_room_for_cursors(&self, active: &mut ActiveSegment) {
        if active.lanes.len() > active.cursor_room {
            // On a disk that is full cursors wait in memory.
            let room = self.cursors.lock().make_room(active.id(), active.lanes.len());
            active.cursor_room = room.unwrap_or(active.cursor_room);
        }
    }

    /// Makes the entries that were written readable.
    fn publish(&self, writer: &mut Writer, added: &[Added], gap: Option<&Gap>) {
        let reserves = self.reserves(&writer.space);
        let Some(active) = &mut writer.active else { return };
        active.accepted = active.frames;
        for added in added {
            active.segment.push(&added.key, &added.entry, added.meta);
        }
        let mut index = self.index.lock();
        for added in added {
            index.append(&added.key, &added.entry);
            self.end_linger(&mut index, active, added);
        }
        if let Some(gap) = gap {
            index.reported(gap.clone());
        }
        drop(index);
        if !active.next_asked && self.needs_next(active, reserves) {
            active.next_asked = true;
            self.ask(Job::MakeNext);
        }
        self.note_news();
        self.wake();
    }

    /// Gives out a partition that lingers and now has enough for a batch.
    fn end_linger(&self, index: &mut Index, active: &ActiveSegment, added: &Added) {
        if !index.lingers(&added.key) {
            return;
        }
        let limits = &self.config.batch;
        let fills = |choice: Choice| {
            choice.lane.segment != active.id()
                || active.segment.available(added.entry.lane, &(choice.start..choice.end), limits).fills(limits)
        };
        if index.choose(&added.key, Asked::Flow(None)).is_none_or(fills) {
            index.fill(&added.key);
        }
    }

    /// The limits of batches, as they are stored with records.
    pub(super) fn batch_limits(&self) -> StoredLimits {
        StoredLimits { max_records: self.config.batch.max_records, max_bytes: self.config.batch.max_bytes }
    }

    /// How much an entry of a partition holds.
    fn entry_limits(&self, key: &str, framing: &Framing, batch: StoredLimits) -> EntryLimits {
        let bytes = entry_budget(key, framing);
        match self.config.coding {
            Coding::Identity => EntryLimits { bytes, records: usize::MAX, payload: usize::MAX },
            // Together they get smaller. What is not much smaller then takes several frames.
            Coding::Lz4 => EntryLimits { bytes: COMPRESSED_TOGETHER * bytes, records: usize::MAX, payload: usize::MAX },
            // A batch consists of whole ones.
            Coding::Deflate => EntryLimits {
                bytes: COMPRESSED_TOGETHER * bytes,
                records: index(batch.max_records),
                payload: index(batch.max_bytes).saturating_sub(framing.open().len() + framing.close().len()),
            },
        }
    }
}

/// The active segment and the next one.
impl Queue {
    /// Sees that there is an active segment that takes more. It becomes the next one, which is made without the lock if it
    /// is not there yet.
    pub(super) fn begin_active<'a>(&'a self, mut writer: Guard<'a, Writer>) -> Result<Guard<'a, Writer>, SpoolError> {
        loop {
            if self.is_closed() {
                return Err(SpoolError::Closed);
            }
            if let Some(active) = &writer.active {
                if !self.is_full(active, &writer.next) {
                    return Ok(writer);
                }
                self.seal_active(&mut writer);
            }
            match std::mem::take(&mut writer.next) {
                NextSegment::Made(segment) => self.activate(&mut writer, segment),
                NextSegment::Making => {
                    writer.next = NextSegment::Making;
                    writer = writer.wait(&self.next_made);
                }
                unmade @ (NextSegment::Absent | NextSegment::Started(_)) => {
                    writer.next = unmade;
                    writer = self.make_next(writer, None)?;
                }
            }
        }
    }

    fn activate(&self, writer: &mut Writer, segment: Arc<Segment>) {
        self.read_cache.lock().add_active(segment.id, segment.clone());
        self.index.lock().set_active(segment.id);
        writer.next_number = segment.id.number.saturating_add(1);
        writer.active = Some(ActiveSegment::new(segment));
    }

    /// Starts the next segment without the lock, unless there is an active or a next one. Whoever finishes it waits for the disk.
    ///
    /// # Errors
    ///
    /// If the directory does not take it, or the engine cannot be started.
    pub(super) fn start_next(&self) -> Result<(), SpoolError> {
        let mut writer = self.writer.lock();
        if writer.active.is_some() || !matches!(writer.next, NextSegment::Absent) {
            return Ok(());
        }
        let (_, id) = writer.begin_making();
        drop(writer);
        let mut making = Making { queue: self, made: NextSegment::Absent };
        making.made = NextSegment::Started(self.start_segment(id)?);
        Ok(())
    }

    /// Makes the next segment without the lock, and has it take so many bytes of the disk ahead.
    pub(super) fn make_next<'a>(
        &'a self,
        mut writer: Guard<'a, Writer>,
        reserve: Option<u64>,
    ) -> Result<Guard<'a, Writer>, SpoolError> {
        let (started, id) = writer.begin_making();
        drop(writer);
        let mut making = Making { queue: self, made: NextSegment::Absent };
        let started = started.map_or_else(|| self.start_segment(id), Ok)?;
        let mut segment = self.finish_segment(started)?;
        if let Some(bytes) = reserve {
            segment.reserve(bytes);
        }
        making.made = NextSegment::Made(Arc::new(segment));
        drop(making);
        Ok(self.writer.lock())
    }

    /// Has the engine's threads silent before anybody can log through what is opened: one that logs while an append waits for it could wait
    /// for that append. It starts a segment and deletes it. On a disk that takes none, it is left to the first append.
    pub(super) fn silence_engine(&self) {
        if are_silent() {
            return;
        }
        let id = SegmentId { number: self.writer.lock().next_number, random: unique_number() };
        if let Ok(started) = self.start_segment(id) {
            drop(started);
            self.discard_segment(id);
        }
    }

    pub(super) fn create_segment(&self, id: SegmentId) -> Result<Segment, SpoolError> {
        self.finish_segment(self.start_segment(id)?)
    }

    fn start_segment(&self, id: SegmentId) -> Result<StartedSegment, SpoolError> {
        self.dir.check_in_place()?;
        Segment::start(&self.dir.segment(id), id).inspect_err(|_| self.discard_segment(id))
    }

    fn finish_segment(&self, started: StartedSegment) -> Result<Segment, SpoolError> {
        let id = started.id;
        self.dir.check_in_place()?;
        started.finish().inspect_err(|_| self.discard_segment(id))
    }

    /// Deletes what there is of a segment that nobody knows of.
    pub(super) fn discard_segment(&self, id: SegmentId) {
        let _ = remove_dir(&new_path(&self.dir.segment(id)));
        let _ = self.dir.remove_segment(id);
    }

    /// Whether a segment gets no more. One that has not taken its disk ahead makes way early for one that has.
    fn is_full(&self, active: &ActiveSegment, next: &NextSegment) -> bool {
        let (written, bytes) = (active.segment.written(), self.config.segment_bytes);
        written >= bytes || (!active.segment.is_reserved() && written >= bytes / 16 && next.is_reserved())
    }

    /// Whether it is time to make the next segment.
    fn needs_next(&self, active: &ActiveSegment, reserves: bool) -> bool {
        let share = if active.segment.is_reserved() || !reserves { 2 } else { 32 };
        active.segment.written() >= self.config.segment_bytes / share
    }

    /// Ends the active segment, and has it sealed.
    pub(super) fn seal_active(&self, writer: &mut Writer) {
        if let Some(old) = writer.active.take() {
            let mut index = self.index.lock();
            let delivered = index.complete_active();
            if !delivered {
                index.owe_seal(old.id(), old.seal_bytes);
            }
            drop(index);
            self.ask(if delivered {
                Job::Remove(old.id())
            } else {
                Job::Seal { segment: old.segment, frames: old.frames }
            });
        }
    }

    /// Ends the active segment, if it is this one, and has another one made: no append is to wait for that.
    pub(super) fn complete_active(&self, segment: SegmentId) {
        let mut writer = self.writer.lock();
        if writer.active.as_ref().is_some_and(|active| active.id() == segment) {
            self.seal_active(&mut writer);
            drop(writer);
            self.ask(Job::BeginActive);
        }
    }

    /// Abandons the active segment after a write error. The event is to be reported without the lock.
    ///
    /// # Errors
    ///
    /// If it cannot be noted which frames of the segment were accepted: the entries that failed must not be written again
    /// then, or a restart would find them twice.
    fn abandon_active(&self, writer: &mut Writer, events: &mut Vec<SpoolEvent>) -> Result<(), SpoolError> {
        let Some(old) = writer.active.take() else { return Ok(()) };
        let (id, accepted) = (old.id(), old.accepted);
        events.push(SpoolEvent::SegmentAbandoned { segment: id.number });
        // Whoever still finds it open sees that it is not active any more.
        self.index.lock().abandon_active(accepted);
        let open = self.read_cache.lock().remove(id);
        drop(open);
        let noted = self.dir.put_accepted(id, accepted);
        // Behind that: a segment of which nothing waits is deleted in a moment.
        self.ask(Job::Recover { id, accepted });
        noted
    }

    /// Syncs the records that were accepted in the meantime. A segment that could not be synced is not trusted any more.
    pub(super) fn sync_active(&self) -> Result<(), SpoolError> {
        let segment = self.writer.lock().active.as_ref().map(|active| active.segment.clone());
        let Some(segment) = segment else { return Ok(()) };
        segment.sync().or_else(|error| {
            let mut events = Vec::new();
            let mut writer = self.writer.lock();
            let is_active = writer.active.as_ref().is_some_and(|active| Arc::ptr_eq(&active.segment, &segment));
            let abandoned = if is_active { self.abandon_active(&mut writer, &mut events) } else { Ok(()) };
            drop(writer);
            for event in events {
                self.report_event(event);
            }
            abandoned?;
            let (segment, reason) = (segment.id.number, error_chain(&error));
            self.report_event(SpoolEvent::SegmentNotSynced { segment, reason });
            Ok(())
        })
    }
}

impl Writer {
    /// Notes that somebody makes the next segment: what is started of it, and its id.
    fn begin_making(&mut self) -> (Option<StartedSegment>, SegmentId) {
        match std::mem::replace(&mut self.next, NextSegment::Making) {
            NextSegment::Started(started) => {
                let id = started.id;
                (Some(started), id)
            }
            _ => (None, SegmentId { number: self.next_number, random: unique_number() }),
        }
    }
}

/// The making of the next segment. However that ends, those who wait for it go on when this is dropped.
struct Making<'a> {
    queue: &'a Queue,
    made: NextSegment,
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        self.queue.writer.lock().next = std::mem::take(&mut self.made);
        self.queue.next_made.notify_all();
    }
}

/// The most that goes into one entry; a single record always does.
#[derive(Clone, Copy, Debug)]
struct EntryLimits {
    /// Bytes of the records, of their envelopes, and of where they end.
    bytes: usize,
    records: usize,
    /// Bytes of the records and their envelopes alone.
    payload: usize,
}

type KeyedBlock<'a> = (&'a str, &'a Block);

/// The blocks of loads with their keys, in the order in which they are written.
fn blocks<'a>(loads: &'a [Load<'a>]) -> impl Iterator<Item = KeyedBlock<'a>> {
    loads.iter().flat_map(|load| load.blocks.iter().copied())
}

/// The same, with the id of the load that each is of, and whether that has no records behind it.
fn blocks_of_loads<'a>(loads: &'a [Load<'a>]) -> impl Iterator<Item = (Option<LoadId>, KeyedBlock<'a>, bool)> {
    loads.iter().flat_map(|load| {
        let last = load.blocks.iter().rposition(|(_, block)| block.records() > 0);
        (0..).zip(&load.blocks).map(move |(at, block)| (load.id, *block, last == Some(at)))
    })
}

/// How many bytes records take in the spool, and a little more.
fn stored_bytes(key: &str, block: &Block, framing: &Framing) -> u64 {
    let (key, mut records, mut envelope) = (stored_key(key), 0, 0);
    for run in block.runs() {
        let of_run = table_bytes(1, framing) + envelope_bytes(run.envelope(), None, framing);
        records += run.payload.len() + 4 * run.ends.len() + of_run;
        envelope = of_run.max(envelope);
    }
    // What an envelope takes of an entry is not left for records; each entry has one of these at least.
    let budget = entry_budget(key, framing);
    let budget = budget.saturating_sub(envelope).max(budget / ENVELOPE_ROOM);
    let count: usize = block.runs().iter().map(|run| run.ends.len()).sum();
    let entries = 1 + (records / budget).min(count);
    // The key stands in each entry, and in the seal; a run that is divided has its envelope in each part.
    let bytes = records + entries * (ENTRY_OVERHEAD + 2 * key.len() + framing.len() + envelope);
    (bytes + bytes / 32) as u64
}

fn check_sizes(block: &Block) -> Result<(), SpoolError> {
    for run in block.runs() {
        let mut start = 0;
        for &end in &run.ends {
            let bytes = end - start + run.envelope().len();
            if bytes > MAX_RECORD_BYTES {
                return Err(SpoolError::RecordTooLarge { bytes, max_bytes: MAX_RECORD_BYTES });
            }
            start = end;
        }
    }
    Ok(())
}

/// The most that an envelope takes in an entry behind records of another one.
fn envelope_bytes(envelope: Envelope<'_>, before: Option<Envelope<'_>>, framing: &Framing) -> usize {
    if framing.nesting() == Nesting::Flat {
        return 0;
    }
    let is_same = before.is_some_and(|before| before.outer == envelope.outer);
    let outer = if is_same { 0 } else { envelope.outer.len() + nested::overhead(framing) };
    outer + envelope.inner.len() + nested::overhead(framing)
}

/// How many bytes the table of so many runs takes.
fn table_bytes(runs: usize, framing: &Framing) -> usize {
    if framing.nesting() == Nesting::Flat { 0 } else { 4 + runs * RUN_BYTES }
}

/// The parts of a block that go into one entry each: they keep to the limits and end between records.
fn entries<'a>(block: &'a Block, limits: EntryLimits, framing: &Framing) -> Vec<Vec<Part<'a>>> {
    let (mut entries, mut entry) = (Vec::new(), Vec::<Part<'_>>::new());
    let (mut payload, mut records, mut bytes) = (0, 0, limits.bytes);
    for run in block.runs() {
        let mut first = 0;
        while first < run.ends.len() {
            let base = if first == 0 { 0 } else { run.ends[first - 1] + framing.separator().len() };
            let envelope = envelope_bytes(run.envelope(), entry.last().map(|part| part.envelope), framing);
            let table = table_bytes(entry.len() + 1, framing);
            if entry.is_empty() {
                // A very long envelope makes entries of several frames rather than many that hold little but that.
                bytes = limits.bytes.max(envelope + limits.bytes / ENVELOPE_ROOM);
            }
            let fits = |at: usize| {
                let (payload, records) = (payload + envelope + run.ends[at] - base, records + at + 1 - first);
                payload + table + 4 * records <= bytes && records <= limits.records && payload <= limits.payload
            };
            let mut end = first;
            while end < run.ends.len() && ((entry.is_empty() && end == first) || fits(end)) {
                end += 1;
            }
            if end > first {
                let (ends, bytes) = (&run.ends[first..end], &run.payload[base..run.ends[end - 1]]);
                entry.push(Part { envelope: run.envelope(), base, ends, payload: bytes });
                payload += envelope + bytes.len();
                records += ends.len();
                first = end;
            }
            if first < run.ends.len() {
                entries.push(std::mem::take(&mut entry));
                (payload, records) = (0, 0);
            }
        }
    }
    entries.extend(Some(entry).filter(|entry| !entry.is_empty()));
    entries
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::blocks::Encoded;
    use crate::spool::entry::{Entry, EntryBytes, Scratch};
    use crate::spool::frame::FULL_PAYLOAD_BYTES;

    /// A block of records in twenty envelopes, by turns.
    fn block() -> Block {
        let mut block = Block::default();
        for number in 0..5_000 {
            let (outer, inner) =
                (format!("outer {}", number % 2).repeat(30), format!("inner {}", number % 20).repeat(9));
            let envelope = Envelope { outer: outer.as_bytes(), inner: inner.as_bytes() };
            let bytes = format!("{number}{}", "x".repeat(number % 80));
            block.push(Encoded { bytes: bytes.as_bytes(), envelope, timestamp: None }, b",");
        }
        block
    }

    #[test]
    fn entries_of_records_in_envelopes_are_filled_and_keep_to_their_limits() {
        let framing = Framing::json_array().nested(Nesting::Json);
        let bytes = entry_budget("key", &framing);
        let all = |limits| {
            let block = block();
            let entries: Vec<_> =
                entries(&block, limits, &framing).iter().map(|parts| written(&framing, parts)).collect();
            assert_eq!(entries.iter().map(|(_, records, _)| records).sum::<u64>(), block.records());
            entries
        };
        let one_frame = all(EntryLimits { bytes, records: usize::MAX, payload: usize::MAX });
        let fill = |(bytes, ..): &(usize, u64, u64)| (FULL_PAYLOAD_BYTES - 1_500..=FULL_PAYLOAD_BYTES).contains(bytes);
        assert!(one_frame.len() > 3 && one_frame.split_last().unwrap().1.iter().all(fill), "{one_frame:?}");
        // What is compressed for the wire fits a batch as a whole.
        let batches = all(EntryLimits { bytes, records: 300, payload: 9_000 });
        assert!(batches.iter().all(|(_, records, bound)| *records <= 300 && *bound <= 9_000), "{batches:?}");
        assert!(
            batches.iter().any(|(_, records, _)| *records == 300) || batches.iter().any(|(.., bound)| *bound > 8_800)
        );
    }

    #[test]
    fn an_envelope_that_fills_a_frame_stands_once_for_many_records() {
        let framing = Framing::json_array().nested(Nesting::Json);
        let outer = "x".repeat(2 * FULL_PAYLOAD_BYTES);
        let envelope = Envelope { outer: outer.as_bytes(), inner: b"scope" };
        let mut block = Block::default();
        for _ in 0..500 {
            block.push(Encoded { bytes: &[b'r'; 100], envelope, timestamp: None }, b",");
        }
        let limits = EntryLimits { bytes: entry_budget("key", &framing), records: usize::MAX, payload: usize::MAX };
        let entries: Vec<_> = entries(&block, limits, &framing).iter().map(|parts| written(&framing, parts)).collect();
        assert_eq!(entries.iter().map(|(_, records, _)| records).sum::<u64>(), 500);
        assert!(entries.len() < 10, "{entries:?}");
        let written: usize = entries.iter().map(|(len, ..)| len).sum();
        assert!(written as u64 <= stored_bytes("key", &block, &framing), "{written}");
    }

    /// An entry's length, its records, and what they take in a body at most.
    fn written(framing: &Framing, parts: &[Part<'_>]) -> (usize, u64, u64) {
        let records = parts.iter().map(|part| part.ends.len()).sum();
        let limits = StoredLimits { max_records: 1, max_bytes: 1 };
        let (lane, first_record, boundary) = (0, 0, 0);
        let (first_timestamp, last_timestamp, appended_at, records) = (0, 0, 0, len32(records));
        let load = LoadMark::NONE;
        let head = EntryHead {
            lane,
            first_record,
            records,
            boundary,
            first_timestamp,
            last_timestamp,
            appended_at,
            limits,
            load,
        };
        let mut scratch = Scratch::default();
        entry::write(&head, "key", framing, parts, Coding::Identity, &mut scratch);
        let bytes = scratch.entry().to_vec();
        let len = bytes.len();
        let entry = Entry::read(EntryBytes::joined(bytes)).unwrap();
        let records = u64::from(records);
        (len, records, entry.bound(&(0..records)))
    }
}
