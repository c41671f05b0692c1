//! [`CursorStore`]: the cursor files of a queue's segments, and what could not be written to them. It touches these files only.
//!
//! No delivery depends on a write: on a disk that takes nothing, cursors wait in memory, at most one for each lane, and come to
//! the file with a later write. After a kill, what was not written is delivered again under the same ids.

use std::path::PathBuf;

use super::cursor::{Cursors, LaneCursor};
use super::cursor_file::{self, CursorFile, Flaw};
use super::dir::segment_path;
use super::position::{LaneId, SegmentId};
use crate::error::{SpoolError, error_chain};

/// The most files that stay open. Deliveries are in one segment or two at a time.
const MAX_OPEN_FILES: usize = 4;

/// The cursor files of a queue, and what is not written to them yet.
#[derive(Debug)]
pub(super) struct CursorStore {
    queue: PathBuf,
    /// The files that are open, the one that was used last behind the others.
    open: Vec<(SegmentId, CursorFile)>,
    unwritten: Cursors,
    failing: bool,
    /// The error with which writing began to fail, until it is taken to be reported.
    failure: Option<String>,
    /// The damage of a file that was made anew, likewise.
    damage: Option<String>,
    #[cfg(test)]
    failing_until: Option<std::time::Instant>,
}

impl CursorStore {
    pub(super) fn new(queue: PathBuf) -> Self {
        Self {
            queue,
            open: Vec::new(),
            unwritten: Cursors::new(),
            failing: false,
            failure: None,
            damage: None,
            #[cfg(test)]
            failing_until: None,
        }
    }

    /// Adds cursors that the next write takes to their files.
    pub(super) fn put(&mut self, cursors: impl IntoIterator<Item = (LaneId, LaneCursor)>) {
        self.unwritten.extend(cursors);
    }

    /// The cursor of a lane that a restart would find, also after a write that failed.
    pub(super) fn written_lane(&self, lane: LaneId) -> LaneCursor {
        let mut loaded = cursor_file::read(&segment_path(&self.queue, lane.segment), lane.segment);
        loaded.lanes.remove(&lane.lane).unwrap_or_default()
    }

    /// Forgets a segment that is deleted.
    pub(super) fn forget(&mut self, segment: SegmentId) {
        self.unwritten.retain(|lane, _| lane.segment != segment);
        self.close_file(segment);
    }

    /// Closes the file of a segment.
    pub(super) fn close_file(&mut self, segment: SegmentId) {
        self.open.retain(|(open, _)| *open != segment);
    }

    /// Closes every file.
    pub(super) fn close(&mut self) {
        self.open.clear();
    }

    /// Sees that a segment's file has room for the cursors of so many lanes, and says for how many it has.
    pub(super) fn make_room(&mut self, segment: SegmentId, lanes: usize) -> Result<usize, SpoolError> {
        self.with_file(segment, |file| file.make_room(lanes))
    }

    /// Makes every cursor survive a kill of the process. What cannot be written is written later.
    pub(super) fn write_out(&mut self) -> Result<(), SpoolError> {
        let mut written = Ok(());
        let unwritten = std::mem::take(&mut self.unwritten);
        let mut cursors = unwritten.into_iter().peekable();
        while let Some((LaneId { segment, .. }, _)) = cursors.peek() {
            let segment = *segment;
            let mut of_segment = Vec::new();
            while let Some((lane, cursor)) = cursors.next_if(|(lane, _)| lane.segment == segment) {
                of_segment.push((lane.lane, cursor));
            }
            if let Err(error) = self.with_file(segment, |file| file.write(&of_segment))
                && !self.is_gone(segment)
            {
                self.unwritten.extend(of_segment.into_iter().map(|(lane, cursor)| (LaneId { segment, lane }, cursor)));
                written = Err(error);
            }
        }
        self.note(&written);
        written
    }

    /// Whether a segment was deleted, and its cursors with it.
    fn is_gone(&self, segment: SegmentId) -> bool {
        !segment_path(&self.queue, segment).exists() && self.queue.exists()
    }

    /// Makes the cursors of a segment that are written survive a power cut.
    pub(super) fn sync(&mut self, segment: SegmentId) -> Result<(), SpoolError> {
        self.with_file(segment, |file| file.sync())
    }

    /// The error with which writing began to fail, once.
    pub(super) fn take_failure(&mut self) -> Option<String> {
        self.failure.take()
    }

    /// The damage that was found when a file was opened to be written, once.
    pub(super) fn take_damage(&mut self) -> Option<String> {
        self.damage.take()
    }

    fn note(&mut self, written: &Result<(), SpoolError>) {
        let was_failing = std::mem::replace(&mut self.failing, written.is_err());
        if let Err(error) = written
            && !was_failing
        {
            self.failure = Some(error_chain(error));
        }
    }

    /// Does something with a segment's file. After an error it is opened anew the next time.
    fn with_file<T>(
        &mut self,
        segment: SegmentId,
        work: impl FnOnce(&mut CursorFile) -> Result<T, SpoolError>,
    ) -> Result<T, SpoolError> {
        #[cfg(test)]
        if self.failing_until.is_some_and(|until| std::time::Instant::now() < until) {
            return Err(super::files::io_error("write", &self.queue, std::io::ErrorKind::StorageFull.into()));
        }
        let open = self.open.iter().position(|(open, _)| *open == segment).map(|at| self.open.remove(at).1);
        let mut file = match open {
            Some(file) => file,
            None => self.open(segment)?,
        };
        let result = work(&mut file)?;
        if self.open.len() == MAX_OPEN_FILES {
            self.open.remove(0);
        }
        self.open.push((segment, file));
        Ok(result)
    }

    fn open(&mut self, segment: SegmentId) -> Result<CursorFile, SpoolError> {
        let (file, flaw) = CursorFile::open(&segment_path(&self.queue, segment), segment)?;
        if let Some(flaw) = flaw.filter(Flaw::costs) {
            self.damage = Some(format!("segment {segment}: {flaw}"));
        }
        Ok(file)
    }

    /// From now on nothing can be written, for so long.
    #[cfg(test)]
    pub(super) fn fail_writes(&mut self, time: std::time::Duration) {
        self.failing_until = std::time::Instant::now().checked_add(time);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn acked(acked: u64) -> LaneCursor {
        LaneCursor { acked, ..LaneCursor::default() }
    }

    fn segment(queue: &std::path::Path, number: u64) -> SegmentId {
        let id = SegmentId { number, random: number + 100 };
        fs::create_dir(segment_path(queue, id)).unwrap();
        cursor_file::create(&segment_path(queue, id), id).unwrap();
        id
    }

    #[test]
    fn what_cannot_be_written_is_written_later_and_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (segment(dir.path(), 1), segment(dir.path(), 2));
        let lanes = [LaneId { segment: a, lane: 0 }, LaneId { segment: b, lane: 3 }];
        let mut cursors = CursorStore::new(dir.path().to_owned());
        cursors.put(lanes.map(|lane| (lane, acked(1))));
        cursors.fail_writes(std::time::Duration::from_secs(3600));
        assert!(cursors.write_out().is_err() && cursors.write_out().is_err());
        assert!(cursors.take_failure().is_some());
        assert!(cursors.take_failure().is_none());
        assert_eq!(cursors.written_lane(lanes[1]), LaneCursor::default());
        cursors.put([(lanes[0], acked(2))]);
        cursors.fail_writes(std::time::Duration::ZERO);
        cursors.write_out().unwrap();
        assert_eq!(lanes.map(|lane| cursors.written_lane(lane).acked), [2, 1]);
    }

    #[test]
    fn any_number_of_segments_takes_a_few_open_files() {
        let dir = tempfile::tempdir().unwrap();
        let segments: Vec<_> = (0..50).map(|number| segment(dir.path(), number)).collect();
        let mut cursors = CursorStore::new(dir.path().to_owned());
        for round in 1..4 {
            cursors.put(segments.iter().map(|segment| (LaneId { segment: *segment, lane: 0 }, acked(round))));
            cursors.write_out().unwrap();
            assert_eq!(cursors.open.len(), MAX_OPEN_FILES);
        }
        let lane = |segment: &SegmentId| LaneId { segment: *segment, lane: 0 };
        assert!(segments.iter().all(|segment| cursors.written_lane(lane(segment)).acked == 3));
    }
}
