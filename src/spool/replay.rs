//! Replaying: what a journal has and no segment has goes into a segment of its own, whose place in the order was taken when the queue
//! was opened. It makes that segment and deletes the journals.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::active::ActiveSegment;
use super::dir::segments_in;
use super::entry::LoadId;
use super::files::remove_if_there;
use super::frame::ReadErrors;
use super::journal::{self, Found, Journal, Left};
use super::load::Load;
use super::position::SegmentId;
use super::queue::Queue;
use super::seal::Seal;
use super::segment::Segment;
use super::writer::Append;
use crate::config::values::Durability;
use crate::error::{SpoolError, error_chain};
use crate::observe::event::SpoolEvent;

impl Queue {
    /// Makes a journal for the records that are logged from now on. Each of its files takes so many bytes of the disk ahead.
    pub(super) fn create_journal(&self, ahead: usize) -> Result<Arc<Journal>, SpoolError> {
        self.dir.check_in_place()?;
        let journal = Arc::new(Journal::create(&self.dir.path, self.batch_limits(), ahead)?);
        // Of two, only the latest one is synced; an exporter has one processor.
        *self.journal.lock() = Arc::downgrade(&journal);
        Ok(journal)
    }

    /// Has the journal say, also after a power cut, what of it is in segments that may be deleted now.
    pub(super) fn sync_journal(&self) -> Result<(), SpoolError> {
        let journal = self.journal.lock().upgrade();
        journal.map_or(Ok(()), |journal| journal.sync_resets())
    }

    /// The least number that the segment of the next append can have.
    pub(super) fn least_segment(&self) -> u64 {
        let writer = self.writer.lock();
        writer.active.as_ref().map_or(writer.next_number, |active| active.id().number)
    }

    /// Makes the segment of what earlier processes have left in journals, and deletes their files: false if all of that is stored already. A
    /// file that cannot be read stays, for the next start.
    pub(super) fn replay(&self, id: SegmentId, files: &[PathBuf]) -> Result<bool, SpoolError> {
        let Found { generations: missing, damaged_bytes, unreadable, error } =
            missing(&self.dir.path, files, Some(id))?;
        let is_missing = |path: &PathBuf| missing.iter().any(|(file, _)| file == path);
        let readable = files.iter().filter(|path| !unreadable.contains(path));
        let (missing_files, stored_files): (Vec<_>, Vec<_>) = readable.partition(|path| is_missing(path));
        // Whatever is deleted of a segment is deleted later, in the same directory. Where the new one cannot be made, others are.
        stored_files.into_iter().try_for_each(|path| remove_if_there(path))?;
        // The journals are deleted when it is whole, so all of them are there otherwise.
        let made = stored_loads(&self.dir.path, |segment| segment == id)?;
        if missing.iter().any(|(_, left)| !made.contains(&left.load())) {
            self.dir.remove_segment(id)?;
            self.make_replay(id, missing.iter().map(|(_, left)| left))?;
        }
        missing_files.into_iter().try_for_each(|path| remove_if_there(path))?;
        if let Some(error) = error {
            self.report_event(SpoolEvent::HousekeepingFailed { reason: error_chain(&error) });
        }
        let records = missing.iter().map(|(_, left)| left.blocks.records()).sum();
        if records > 0 {
            self.report_event(SpoolEvent::JournalReplayed { records });
        }
        if damaged_bytes > 0 {
            self.report_event(SpoolEvent::JournalDamaged { bytes: damaged_bytes });
        }
        // It is there as well if it could not be read when it was made.
        Ok(self.dir.segment(id).exists())
    }

    fn make_replay<'a>(&self, id: SegmentId, missing: impl Iterator<Item = &'a Left>) -> Result<(), SpoolError> {
        let mut active = ActiveSegment::new(Arc::new(self.create_segment(id)?));
        for left in missing {
            let loads = [Load { id: Some(left.load()), blocks: left.blocks.all() }];
            let append = Append { framing: &left.framing, limits: left.limits(), durability: Durability::Sync };
            self.write(&mut active, &loads, &append, |_| 0)?;
        }
        Ok(())
    }
}

/// What is in files of journals and in no segment, but for one: what an earlier process has left when it was killed.
pub(super) fn missing(queue: &Path, files: &[PathBuf], but: Option<SegmentId>) -> Result<Found, SpoolError> {
    let mut found = journal::find(files);
    if found.generations.is_empty() {
        return Ok(found);
    }
    let least = found.generations.iter().map(|(_, left)| left.least_segment()).min().unwrap_or_default();
    let stored = stored_loads(queue, |segment| Some(segment) != but && segment.number >= least)?;
    found.generations.retain(|(_, left)| !stored.contains(&left.load()));
    // Also where no record of it can be read.
    found.damaged_bytes = found.generations.iter().map(|(_, left)| left.damaged_bytes).sum();
    found.generations.retain(|(_, left)| left.blocks.records() > 0);
    Ok(found)
}

/// The loads that are whole in some of the segments of a queue.
fn stored_loads(queue: &Path, is_of: impl Fn(SegmentId) -> bool) -> Result<HashSet<LoadId>, SpoolError> {
    let mut loads = HashSet::new();
    for (id, path) in segments_in(queue)?.into_iter().filter(|(id, _)| is_of(*id)) {
        let frames = Seal::read(&path).map(|seal| seal.frames);
        let found = Segment::whole_loads(&path, id, frames, ReadErrors::Skip)?;
        loads.extend(found.into_iter().map(|load| load.id));
    }
    Ok(loads)
}
