//! A segment out of which records are taken.
//!
//! Its database is written anew beside the old one. What is taken out is then noted as purged and acknowledged, synced, so that from then
//! on nobody sends it, and the new database takes the place of the old one by a rename:
//!
//! - An entry keeps its frames and its numbers. In place of a record that is taken out stands one of no bytes, so the ids, the ends and the
//!   cursors of all others stay as they are, and so do seal, `accepted` and loads. A lane of which nothing is left loses its key.
//! - Nothing but the frames that count is written: no page of the engine, no remainder of an append, no damaged entry. So every
//!   database is written anew, unless it is one that was.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::findings::{Chosen, Findings, Purging};
use super::selection::Selection;
use crate::error::SpoolError;
use crate::spool::cursor::LaneCursors;
use crate::spool::cursor_file::{self, CursorFile, Loaded};
use crate::spool::entry::{Entry, EntryBytes, Scratch, system_time};
use crate::spool::files::{io_error, remove_if_there, rename, sync_data, sync_dir, write, write_all_at};
use crate::spool::frame::{self, HEADER_BYTES, ReadErrors};
use crate::spool::inspect::{SegmentFiles, is_purged};
use crate::spool::seal::Seal;
use crate::spool::segment::{EntryMeta, Segment};
use crate::spool::store::file_path;

/// Purges a segment, which is called so, and says what is chosen of it.
pub(super) fn purge(
    files: &SegmentFiles,
    what: &str,
    selection: &Selection,
    purging: Purging,
    findings: &mut Findings,
) -> Chosen {
    let purged = Purged::look(files, selection).and_then(|(mut purged, segment)| {
        if purging == Purging::Erase {
            purged.erase(segment)?;
        }
        Ok(purged)
    });
    let Some(Purged { counted, damage, too_large, .. }) = findings.note(|| what.to_owned(), purged) else {
        return Chosen::default();
    };
    findings.damage.extend(damage.into_iter().map(|damage| format!("{what}: {damage}")));
    findings.not_purged.extend(too_large.into_iter().map(|too_large| format!("{what}: {too_large}")));
    counted
}

/// A segment that is looked through.
struct Purged<'a> {
    files: &'a SegmentFiles,
    entries: Vec<Found>,
    keys: Vec<Arc<str>>,
    cursors: LaneCursors,
    /// The lanes of which anything is left.
    kept: HashSet<u32>,
    /// The records that are chosen of each lane, ascending.
    chosen: HashMap<u32, Vec<u64>>,
    counted: Chosen,
    /// What was damaged in it.
    damage: Vec<String>,
    /// Why some of what was chosen stays.
    too_large: Vec<String>,
}

/// An entry that can be read.
struct Found {
    lane: u32,
    meta: EntryMeta,
    parts: u64,
}

impl Found {
    fn contains(&self, number: u64) -> bool {
        let (first, records) = (self.meta.first_record, u64::from(self.meta.records));
        (first..first + records).contains(&number)
    }
}

impl<'a> Purged<'a> {
    /// What there is to do, and the segment with its own database.
    fn look(files: &'a SegmentFiles, selection: &Selection) -> Result<(Self, Segment), SpoolError> {
        let SegmentFiles { path, id, .. } = files;
        let (segment, ..) = files.open(ReadErrors::Fail)?;
        let Loaded { lanes: cursors, flaw, .. } = cursor_file::read(path, *id);
        let before = cursor_file::read_purged(path, *id);
        let keys = segment.lanes().into_iter().map(|lane| lane.key).collect();
        let mut purged = Self {
            files,
            entries: Vec::new(),
            keys,
            cursors,
            kept: HashSet::new(),
            chosen: HashMap::new(),
            counted: Chosen::default(),
            damage: flaw.into_iter().map(|flaw| flaw.to_string()).collect(),
            too_large: Vec::new(),
        };
        let mut found = HashMap::<u32, u64>::new();
        for (lane, meta) in segment.entries() {
            let Some(entry) = segment.entry(&meta)? else { continue };
            // Nobody can read it, nor what it has: it is left out.
            let Some(plain) = entry.decoded()? else { continue };
            *found.entry(lane).or_default() += u64::from(meta.records);
            let (key, last) = (&*purged.keys[lane as usize].clone(), system_time(entry.head.last_timestamp));
            for (number, record) in (meta.first_record..).zip(entry.records(&plain)) {
                if is_purged(&entry, before.get(&lane), number, &plain) {
                    continue;
                }
                // What a body begins and ends with can be a part of the records: the labels of a stream, for one.
                if selection.takes(key, last, [entry.framing.open(), &*record, entry.framing.close()]) {
                    *purged.count_of(lane, number) += 1;
                    purged.chosen.entry(lane).or_default().push(number);
                } else {
                    purged.kept.insert(lane);
                }
            }
            let parts = segment.parts_of(&meta)?;
            purged.entries.push(Found { lane, meta, parts });
        }
        let missing = (0..).zip(purged.ends(&segment)).map(|(lane, end)| {
            let is_gone = before.get(&lane).is_some_and(|purged| purged.acked >= end);
            if is_gone { 0 } else { end.saturating_sub(found.get(&lane).copied().unwrap_or_default()) }
        });
        let missing: u64 = missing.sum();
        if missing > 0 {
            purged.damage.push(format!("{missing} of its records cannot be read, and a purge leaves nothing of that"));
        }
        Ok((purged, segment))
    }

    /// How many records each lane has, those included that cannot be read.
    fn ends(&self, segment: &Segment) -> Vec<u64> {
        self.files.lanes_of(segment).into_iter().map(|lane| lane.records).collect()
    }

    /// The count that a chosen record is in.
    fn count_of(&mut self, lane: u32, number: u64) -> &mut u64 {
        let is_done = self.cursors.get(&lane).is_some_and(|cursor| cursor.is_acked(number));
        if is_done { &mut self.counted.done } else { &mut self.counted.waiting }
    }

    fn erase(&mut self, segment: Segment) -> Result<(), SpoolError> {
        let dir = &self.files.path;
        for new in ["db.new", "cursor.new", "purged.new", "seal.new"] {
            remove_if_there(&dir.join(new))?;
        }
        let new = file_path(dir).with_extension("new");
        // The error says what matters.
        self.replace_database(segment, &new).inspect_err(|_| drop(remove_if_there(&new)))?;
        self.write_seal()?;
        sync_dir(dir)
    }

    /// Puts a database without what is chosen in the place of the one that is there, if that has anything else.
    fn replace_database(&mut self, segment: Segment, new: &Path) -> Result<(), SpoolError> {
        if !self.needs_database(&segment) {
            return self.acknowledge(&segment);
        }
        // What stays can be larger for the key of its lane, so it is seen anew.
        loop {
            let too_large = self.write_database(&segment, new)?;
            if too_large.is_empty() {
                break;
            }
            for at in too_large {
                self.leave(at);
            }
        }
        self.acknowledge(&segment)?;
        // Not every system renames over a file that is open.
        drop(segment);
        let path = file_path(&self.files.path);
        rename(new, &path)
            .map_err(|error| io_error("erase what is not sent any more from", &path, error))
            .and_then(|()| sync_dir(&self.files.path))
    }

    /// Whether anything is taken out, or the file has more than the frames that count.
    fn needs_database(&self, segment: &Segment) -> bool {
        let frames: u64 = self.entries.iter().map(|found| segment.stored_bytes(&found.meta, found.parts)).sum();
        let has_more = fs::metadata(file_path(&self.files.path)).is_ok_and(|meta| meta.len() != frames);
        let has_key = |lane: u32| !self.kept.contains(&lane) && !self.keys[lane as usize].is_empty();
        has_more || !self.chosen.is_empty() || self.entries.iter().any(|found| has_key(found.lane))
    }

    /// Leaves an entry as it is.
    fn leave(&mut self, at: usize) {
        let Self { entries, chosen, kept, .. } = self;
        let found = &entries[at];
        kept.insert(found.lane);
        let (lane, of_lane) = (found.lane, chosen.entry(found.lane).or_default());
        let left: Vec<_> = of_lane.extract_if(.., |number| found.contains(*number)).collect();
        if of_lane.is_empty() {
            chosen.remove(&lane);
        }
        let records = left.len();
        if records > 0 {
            self.too_large
                .push(format!("chosen records that stay: {records}, without which their entry would be larger"));
        }
        for number in left {
            *self.count_of(lane, number) -= 1;
        }
    }

    /// Notes that what is chosen is purged and delivered, so that nobody sends it any more, also after a power cut. So is all of a lane of
    /// which nothing is left: what cannot be read of it is gone.
    fn acknowledge(&self, segment: &Segment) -> Result<(), SpoolError> {
        let SegmentFiles { path, id, .. } = self.files;
        let mut gone = HashMap::new();
        for (lane, numbers) in &self.chosen {
            let runs = numbers.chunk_by(|one, next| one + 1 == *next);
            gone.insert(*lane, runs.map(|run| run[0]..run[0] + run.len() as u64).collect::<Vec<_>>());
        }
        for (lane, end) in (0..).zip(self.ends(segment)) {
            if end > 0 && !self.kept.contains(&lane) {
                gone.insert(lane, std::iter::once(0..end).collect());
            }
        }
        let mut purged = cursor_file::read_purged(path, *id);
        let before = purged.clone();
        let mut cursors = self.cursors.clone();
        for (lane, ranges) in &gone {
            purged.entry(*lane).or_default().ack_all(ranges);
            cursors.entry(*lane).or_default().ack_all(ranges);
        }
        if self.chosen.is_empty() && purged == before && cursors == self.cursors {
            return Ok(());
        }
        cursor_file::write_purged(path, *id, &purged)?;
        let (mut file, _) = CursorFile::open(path, *id)?;
        file.make_room(self.keys.len())?;
        for lane in gone.keys() {
            file.write(&[(*lane, cursors.remove(lane).unwrap_or_default())])?;
        }
        file.sync()
    }

    /// Writes the frames that count to a new database. Returns the places of the entries that do not fit their frames any more, which it
    /// lacks: it is finished without any alone.
    fn write_database(&self, segment: &Segment, path: &Path) -> Result<Vec<usize>, SpoolError> {
        let failed = |error| io_error("write", path, error);
        let (file, mut end, mut scratch) = (write(path, &[]).map_err(failed)?, 0, Scratch::default());
        let mut put = |bytes: &[u8]| {
            write_all_at(&file, path, bytes, end).map_err(failed)?;
            end += bytes.len() as u64;
            Ok(())
        };
        let mut too_large = Vec::new();
        for (at, found) in self.entries.iter().enumerate() {
            let is_changed = !self.kept.contains(&found.lane) || self.chosen_of(found).next().is_some();
            if !is_changed {
                segment.frames_of(&found.meta, found.parts).try_for_each(|frame| put(&frame?))?;
            } else if !self.write_entry(segment, found, &mut scratch, &mut put)? {
                too_large.push(at);
            }
        }
        if too_large.is_empty() {
            sync_data(&file, path).map_err(failed)?;
        }
        Ok(too_large)
    }

    /// The chosen records of an entry.
    fn chosen_of(&self, found: &Found) -> impl Iterator<Item = u64> + Clone {
        let of_lane = self.chosen.get(&found.lane).map_or(&[][..], Vec::as_slice);
        let first = of_lane.partition_point(|number| *number < found.meta.first_record);
        of_lane[first..].iter().copied().take_while(|number| found.contains(*number))
    }

    /// Writes an entry without what is chosen, in as many frames as it had. False if it does not fit them: compressed anew, it can be larger.
    fn write_entry(
        &self,
        segment: &Segment,
        found: &Found,
        scratch: &mut Scratch,
        mut put: impl FnMut(&[u8]) -> Result<(), SpoolError>,
    ) -> Result<bool, SpoolError> {
        let changed = |what: &str| io_error("rewrite", &self.files.path, io::Error::other(what.to_owned()));
        let unread = || changed("an entry could be read before, and cannot be any more");
        let entry = segment.entry(&found.meta)?.ok_or_else(unread)?;
        let plain = entry.decoded()?.ok_or_else(unread)?;
        let chosen: HashSet<u64> = self.chosen_of(found).collect();
        let key = if self.kept.contains(&found.lane) { &*self.keys[found.lane as usize] } else { "" };
        entry.write_without(|number| chosen.contains(&number), key, &plain, scratch);
        if !keeps(&entry, &plain, &chosen, scratch)? {
            return Err(changed("an entry would not be what it has to be: nothing of the segment is taken out"));
        }
        let parts = u32::try_from(found.parts).unwrap_or(u32::MAX);
        let most = segment.most_payload(&found.meta, found.parts);
        let fits =
            frame::write_entry_in(parts, most, self.files.id, found.meta.first_frame, scratch.framed(), |_, frame| {
                put(frame)
            })?;
        scratch.shrink();
        Ok(fits)
    }

    /// Takes the keys of lanes of which nothing is left out of the seal, also of those of which nothing was found.
    fn write_seal(&self) -> Result<(), SpoolError> {
        let Some(seal) = &self.files.seal else { return Ok(()) };
        let mut new = Seal::clone(seal);
        for (lane, summary) in (0..).zip(&mut new.lanes) {
            if !self.kept.contains(&lane) {
                summary.key = Arc::from("");
            }
        }
        if new == *seal { Ok(()) } else { new.write(&self.files.path) }
    }
}

/// Whether an entry that was written has all records but those that were taken out, as they were.
fn keeps(entry: &Entry, plain: &[u8], taken: &HashSet<u64>, scratch: &mut Scratch) -> Result<bool, SpoolError> {
    let bytes = scratch.framed()[HEADER_BYTES..].to_vec();
    let Some(new) = Entry::read(EntryBytes::joined(bytes)).filter(|new| new.head == entry.head) else {
        return Ok(false);
    };
    let Some(new_plain) = new.decoded()? else { return Ok(false) };
    let numbers = entry.head.first_record..;
    let mut pairs = numbers.zip(entry.records(plain).zip(new.records(&new_plain)));
    Ok(pairs.all(|(number, (was, is))| {
        if taken.contains(&number) || entry.is_blank(number, plain) {
            new.is_blank(number, &new_plain)
        } else {
            was == is
        }
    }))
}
