//! The cursor database: what of each lane is delivered, and the seals of the segments.
//!
//! ```text
//! 'l' segment 8 partition 4   ->  acknowledged 8 | frozen until 8 | max records 8 | max bytes 8
//! 's' segment 8 chunk 4       ->  a piece of: crc32 4 | file bytes 8 | file crc 4 | frames 8 | lanes 4
//!                                              | for each lane: records 8, key length 4, key
//! ```

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::bytes::{Fields, len32};
use super::segment::Seal;
use super::store::{Shape, Store};
use crate::error::SpoolError;

/// Small log segments, since the same few keys are written again and again; a leaf of full chunks stays below the
/// quarter of one that the engine keeps inline.
const SHAPE: Shape = Shape { log_segment_bytes: 512 << 10, cache_bytes: 1 << 20 };
const CHUNK_BYTES: usize = 4 << 10;

/// How a lane's next records are divided into batches: fixed before the first of them is sent, so that a restart, also
/// with other settings, makes the same batches again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frozen {
    /// Records before this one are divided by the limits below, from the acknowledged one on.
    pub(super) until: u64,
    pub(super) max_records: u64,
    pub(super) max_bytes: u64,
}

/// How far a lane is delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LaneCursor {
    /// Records before this one are delivered.
    pub(super) acked: u64,
    pub(super) frozen: Option<Frozen>,
}

/// What the cursor database held when it was opened.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) seals: BTreeMap<u64, Seal>,
    /// For each segment, one more than the largest number of a lane that is kept.
    pub(super) lanes: BTreeMap<u64, u32>,
}

#[derive(Debug)]
pub(super) struct Cursor {
    store: Store,
}

impl Cursor {
    pub(super) fn open(dir: &Path) -> Result<(Self, Loaded), SpoolError> {
        let cursor = Self { store: Store::open(dir, SHAPE)? };
        let mut loaded = Loaded::default();
        let mut chunks: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        for (key, value) in cursor.store.all()? {
            match parse_key(&key) {
                Some((b'l', segment, lane)) => {
                    let lanes = loaded.lanes.entry(segment).or_default();
                    *lanes = (*lanes).max(lane + 1);
                }
                Some((b's', segment, _)) => chunks.entry(segment).or_default().extend_from_slice(&value),
                _ => {}
            }
        }
        for (segment, bytes) in chunks {
            // A seal that is not whole is no seal: the segment is scanned and sealed again.
            if let Some(seal) = read_seal(&bytes) {
                loaded.seals.insert(segment, seal);
            }
        }
        Ok((cursor, loaded))
    }

    /// Zero and nothing frozen for a lane of which nothing is known.
    pub(super) fn lane(&self, segment: u64, partition: u32) -> LaneCursor {
        let stored = self.store.get(&key(b'l', segment, partition)).ok().flatten();
        stored.and_then(|value| read_lane(&value)).unwrap_or_default()
    }

    pub(super) fn put_lane(&self, segment: u64, partition: u32, lane: &LaneCursor) -> Result<(), SpoolError> {
        let frozen = lane.frozen.unwrap_or(Frozen { until: lane.acked, max_records: 0, max_bytes: 0 });
        let mut value = [0; 32];
        let fields = [lane.acked, frozen.until, frozen.max_records, frozen.max_bytes];
        for (bytes, field) in value.chunks_exact_mut(8).zip(fields) {
            bytes.copy_from_slice(&field.to_le_bytes());
        }
        self.store.put(&key(b'l', segment, partition), &value)
    }

    pub(super) fn put_seal(&self, segment: u64, seal: &Seal) -> Result<(), SpoolError> {
        for (number, chunk) in (0..).zip(write_seal(seal).chunks(CHUNK_BYTES)) {
            self.store.put(&key(b's', segment, number), chunk)?;
        }
        self.store.sync()
    }

    /// Forgets a segment that is deleted.
    pub(super) fn forget(&self, segment: u64, seal: Option<&Seal>, lanes: u32) -> Result<(), SpoolError> {
        let chunks = seal.map_or(0, |seal| write_seal(seal).len().div_ceil(CHUNK_BYTES));
        for number in 0..u32::try_from(chunks).unwrap_or(u32::MAX) {
            self.store.remove(&key(b's', segment, number))?;
        }
        for partition in 0..lanes {
            self.store.remove(&key(b'l', segment, partition))?;
        }
        Ok(())
    }

    pub(super) fn flush(&self) -> Result<(), SpoolError> {
        self.store.flush()
    }

    pub(super) fn sync(&self) -> Result<(), SpoolError> {
        self.store.sync()
    }
}

fn key(kind: u8, segment: u64, number: u32) -> [u8; 13] {
    let mut key = [kind; 13];
    // Big-endian: the order of the keys is the order of the numbers.
    key[1..9].copy_from_slice(&segment.to_be_bytes());
    key[9..].copy_from_slice(&number.to_be_bytes());
    key
}

fn parse_key(key: &[u8]) -> Option<(u8, u64, u32)> {
    let (&kind, rest) = key.split_first()?;
    let (segment, number) = rest.split_at_checked(8)?;
    Some((kind, u64::from_be_bytes(segment.try_into().ok()?), u32::from_be_bytes(number.try_into().ok()?)))
}

fn read_lane(value: &[u8]) -> Option<LaneCursor> {
    let mut fields = Fields(value);
    let acked = fields.u64()?;
    let frozen = Frozen { until: fields.u64()?, max_records: fields.u64()?, max_bytes: fields.u64()? };
    Some(LaneCursor { acked, frozen: (frozen.until > acked).then_some(frozen) })
}

fn write_seal(seal: &Seal) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    bytes.extend_from_slice(&seal.file_bytes.to_le_bytes());
    bytes.extend_from_slice(&seal.file_crc.to_le_bytes());
    bytes.extend_from_slice(&seal.frames.to_le_bytes());
    bytes.extend_from_slice(&len32(seal.lanes.len()).to_le_bytes());
    for (key, records) in &seal.lanes {
        bytes.extend_from_slice(&records.to_le_bytes());
        bytes.extend_from_slice(&len32(key.len()).to_le_bytes());
        bytes.extend_from_slice(key.as_bytes());
    }
    let crc = crc32fast::hash(&bytes[4..]);
    bytes[..4].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn read_seal(bytes: &[u8]) -> Option<Seal> {
    let mut fields = Fields(bytes);
    if fields.u32()? != crc32fast::hash(fields.0) {
        return None;
    }
    let (file_bytes, file_crc, frames) = (fields.u64()?, fields.u32()?, fields.u64()?);
    let mut lanes = Vec::new();
    for _ in 0..fields.u32()? {
        let records = fields.u64()?;
        let len = fields.u32()? as usize;
        lanes.push((Arc::from(fields.text(len)?), records));
    }
    Some(Seal { file_bytes, file_crc, frames, lanes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_there_after_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let frozen = Frozen { until: 9, max_records: 5, max_bytes: 1 << 40 };
        let lane = LaneCursor { acked: 7, frozen: Some(frozen) };
        let lanes = (0..1000).map(|n| (Arc::from(format!("tenant-{n}")), n)).collect();
        let seal = Seal { file_bytes: 1, file_crc: 2, frames: 3, lanes };
        {
            let (cursor, _) = Cursor::open(dir.path()).unwrap();
            cursor.put_lane(1, 0, &lane).unwrap();
            cursor.put_lane(1, 1, &LaneCursor { acked: 3, frozen: None }).unwrap();
            cursor.put_seal(1, &seal).unwrap();
            cursor.put_seal(2, &seal).unwrap();
            cursor.forget(2, Some(&seal), 1000).unwrap();
            cursor.sync().unwrap();
        }
        let (cursor, loaded) = Cursor::open(dir.path()).unwrap();
        assert_eq!(loaded.seals, BTreeMap::from([(1, seal)]));
        assert_eq!(loaded.lanes, BTreeMap::from([(1, 2)]));
        assert_eq!(cursor.lane(1, 0), lane);
        assert_eq!(cursor.lane(1, 1), LaneCursor { acked: 3, frozen: None });
        assert_eq!(cursor.lane(2, 0), LaneCursor::default());
    }

    #[test]
    fn a_seal_that_is_not_whole_is_none() {
        let seal = Seal { file_bytes: 1, file_crc: 2, frames: 3, lanes: vec![(Arc::from("a"), 1)] };
        let bytes = write_seal(&seal);
        assert_eq!(read_seal(&bytes), Some(seal));
        for len in 0..bytes.len() {
            assert_eq!(read_seal(&bytes[..len]), None);
        }
    }

    /// The cursor of a lane is written once or twice a batch for as long as the process lives.
    #[test]
    fn the_database_stays_small_however_often_a_lane_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let (cursor, _) = Cursor::open(dir.path()).unwrap();
        for n in 0..200_000 {
            cursor.put_lane(n / 1000, 0, &LaneCursor { acked: n, frozen: None }).unwrap();
            if n % 1000 == 999 {
                cursor.forget(n / 1000, None, 1).unwrap();
                cursor.flush().unwrap();
            }
        }
        let bytes = std::fs::metadata(super::super::store::file_path(dir.path())).unwrap().len();
        assert!(bytes < 8 << 20, "{bytes} bytes");
    }
}
