//! [`Seal`]: what there should be in a segment that gets no more entries. It is a file of its own beside the database.
//!
//! ```text
//! crc32 4 | frames 8 | lanes 4 | for each lane: records 8, timestamps 8 8, key length 4, key
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::bytes::{Fields, len32};
use super::files::{io_error, read_at_most, rename, sync_dir, write_synced};
use super::frame::ReadErrors;
use super::position::SegmentId;
use super::segment::{LaneSummary, Segment};
use crate::error::SpoolError;

/// The most bytes of a seal that is read.
const MAX_BYTES: u64 = 1 << 30;

/// The frames and lanes of a segment that gets no more entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seal {
    /// Frames are numbered from 0 to this, exclusive.
    pub(super) frames: u64,
    /// The records of each lane, in numbers.
    pub(super) lanes: Vec<LaneSummary>,
}

fn file_path(segment: &Path) -> PathBuf {
    segment.join("seal")
}

impl Seal {
    /// Seals a segment that a killed process left, from what a scan of the raw file finds. Of the frames from
    /// `accepted` on, no `export` has returned that they are safe.
    pub(super) fn recover(dir: &Path, id: SegmentId, accepted: u64, errors: ReadErrors) -> Result<Self, SpoolError> {
        let (segment, frames) = Segment::recover(dir, id, accepted, errors)?;
        Ok(Self { frames, lanes: segment.lanes() })
    }

    /// Writes it into the segment's directory, synced when this returns.
    pub(super) fn write(&self, segment: &Path) -> Result<(), SpoolError> {
        let path = file_path(segment);
        let new = path.with_extension("new");
        write_synced(&new, &self.to_bytes())
            .and_then(|()| rename(&new, &path))
            .map_err(|error| io_error("write", &path, error))?;
        sync_dir(segment)
    }

    /// A seal that cannot be read, or is not whole, is none: the segment is scanned and sealed again.
    pub(super) fn read(segment: &Path) -> Option<Self> {
        Self::from_bytes(&read_at_most(&file_path(segment), MAX_BYTES).ok()?)
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; 4];
        bytes.extend_from_slice(&self.frames.to_le_bytes());
        bytes.extend_from_slice(&len32(self.lanes.len()).to_le_bytes());
        for lane in &self.lanes {
            for field in [lane.records, lane.first_timestamp, lane.last_timestamp] {
                bytes.extend_from_slice(&field.to_le_bytes());
            }
            bytes.extend_from_slice(&len32(lane.key.len()).to_le_bytes());
            bytes.extend_from_slice(lane.key.as_bytes());
        }
        let crc = crc32fast::hash(&bytes[4..]);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        if fields.u32()? != crc32fast::hash(fields.0) {
            return None;
        }
        let frames = fields.u64()?;
        let mut lanes = Vec::new();
        for _ in 0..fields.u32()? {
            let (records, first_timestamp, last_timestamp) = (fields.u64()?, fields.u64()?, fields.u64()?);
            let len = fields.u32()? as usize;
            lanes.push(LaneSummary { key: Arc::from(fields.text(len)?), records, first_timestamp, last_timestamp });
        }
        Some(Self { frames, lanes })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_seal_is_read_as_it_was_written_and_one_that_is_not_whole_is_none() {
        let lane =
            |records| LaneSummary { key: Arc::from("ä"), records, first_timestamp: 1, last_timestamp: u64::MAX };
        let seal = Seal { frames: 3, lanes: (0..5).map(lane).collect() };
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Seal::read(dir.path()), None);
        seal.write(dir.path()).unwrap();
        assert_eq!(Seal::read(dir.path()), Some(seal));
        let bytes = fs::read(file_path(dir.path())).unwrap();
        for len in 0..bytes.len() {
            assert_eq!(Seal::from_bytes(&bytes[..len]), None);
            let mut flipped = bytes.clone();
            flipped[len] ^= 1;
            assert_eq!(Seal::from_bytes(&flipped), None);
        }
    }
}
