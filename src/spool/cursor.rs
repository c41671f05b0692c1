//! Cursors: how far each lane is delivered, in memory ([`LaneCursor`]) and on disk ([`CursorStore`]). The store writes to
//! its own database only.
//!
//! ```text
//! 'l' segment 8 lane 4   ->  acknowledged 8 | where each batch ends 8
//! ```

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::bytes::Fields;
use super::dir::io_error;
use super::position::LaneId;
use super::store::{LOCK_PATIENCE, Shape, Store, file_path};
use crate::error::{SpoolError, error_chain};

/// Small log segments, since the same few keys are written again and again.
const SHAPE: Shape = Shape { log_segment_bytes: 512 << 10, cache_bytes: 1 << 20 };

/// How long after a failure the database is opened anew.
const REOPEN_AFTER: Duration = Duration::from_secs(1);

/// How long to wait for the lock of a handle that failed, to read what it has written.
const READ_PATIENCE: Duration = Duration::from_millis(100);

const LANE: u8 = b'l';

/// The cursor of a lane: how far it is delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LaneCursor {
    /// Records before this one are delivered.
    pub(super) acked: u64,
    /// Where batches end, the last first: of those that were taken while more records could come, and of those that were
    /// split. Where others of a lane that is complete end follows from the stored entries. One value holds all of it, so
    /// that a batch is either whole or split, whenever the process ends.
    pub(super) ends: Vec<u64>,
}

impl LaneCursor {
    fn to_bytes(&self) -> Vec<u8> {
        std::iter::once(&self.acked).chain(&self.ends).copied().flat_map(u64::to_le_bytes).collect()
    }

    fn read(value: &[u8]) -> Option<Self> {
        let mut fields = Fields(value);
        let acked = fields.u64()?;
        Some(Self { acked, ends: std::iter::from_fn(|| fields.u64()).collect() })
    }

    /// Moves on: everything before `end` is delivered.
    pub(super) fn advance(&mut self, end: u64) {
        self.acked = end;
        while self.ends.pop_if(|other| *other <= end).is_some() {}
    }

    /// Fixes the end of a batch, whatever is appended.
    pub(super) fn freeze(&mut self, end: u64) {
        if let Err(at) = self.ends.binary_search_by(|other| end.cmp(other)) {
            self.ends.insert(at, end);
        }
    }

    /// Splits a batch in two, and returns where the second begins.
    pub(super) fn split(&mut self, batch: &Range<u64>) -> u64 {
        let middle = batch.start + (batch.end - batch.start) / 2;
        self.freeze(batch.end);
        self.freeze(middle);
        middle
    }

    /// Where the batch that begins at `start` ends, if that is fixed.
    pub(super) fn end_of(&self, start: u64) -> Option<u64> {
        self.ends.iter().rev().find(|end| **end > start).copied()
    }
}

/// The cursors of a segment, by lane. Nothing is delivered of a lane that has none.
pub(super) type LaneCursors = HashMap<u32, LaneCursor>;

/// The cursor database, and what could not be written to it.
///
/// The engine's handle fails for ever after a write error. The store then opens another one, and the cursors that came
/// meanwhile wait here: at most one for each lane.
#[derive(Debug)]
pub(super) struct CursorStore {
    dir: PathBuf,
    store: Option<Store>,
    unwritten: Cursors,
    /// Written, but lost with the handle should that fail before they are written out.
    unflushed: Cursors,
    reopen_at: Instant,
    failing: bool,
    /// The error with which writing began to fail, until it is taken to be reported.
    failure: Option<String>,
}

/// The cursors of lanes in several segments.
pub(super) type Cursors = BTreeMap<LaneId, LaneCursor>;

impl CursorStore {
    /// Opens the database, and gives what it held of every segment.
    pub(super) fn open(dir: &Path) -> Result<(Self, BTreeMap<u64, LaneCursors>), SpoolError> {
        let store = open_store(dir, LOCK_PATIENCE)?;
        let mut loaded: BTreeMap<u64, LaneCursors> = BTreeMap::new();
        for (key, value) in store.all()? {
            if let Some(LaneId { segment, lane }) = parse_key(&key) {
                loaded.entry(segment).or_default().extend(LaneCursor::read(&value).map(|cursor| (lane, cursor)));
            }
        }
        let cursors = Self {
            dir: dir.to_owned(),
            store: Some(store),
            unwritten: Cursors::new(),
            unflushed: Cursors::new(),
            reopen_at: Instant::now(),
            failing: false,
            failure: None,
        };
        Ok((cursors, loaded))
    }

    /// Adds cursors that the next write takes to the database.
    pub(super) fn put(&mut self, cursors: impl IntoIterator<Item = (LaneId, LaneCursor)>) {
        self.unwritten.extend(cursors);
    }

    /// The cursor of a lane that a restart would find after a write that failed: it may have reached the file. `None` if
    /// that cannot be known.
    pub(super) fn written_lane(&self, lane: LaneId) -> Option<LaneCursor> {
        let store = Store::open_unsynced(&self.dir, SHAPE, READ_PATIENCE).ok()?;
        let value = store.get(&key(lane)).ok()?;
        Some(value.and_then(|value| LaneCursor::read(&value)).unwrap_or_default())
    }

    /// Forgets a segment that is deleted. It syncs as well, so that the database is never far behind.
    pub(super) fn forget(&mut self, segment: u64) -> Result<(), SpoolError> {
        // An error leaves them in the database; the next opening forgets them.
        self.unwritten.retain(|lane, _| lane.segment != segment);
        self.unflushed.retain(|lane, _| lane.segment != segment);
        self.write(|store| {
            store.remove_all(&key(LaneId { segment, lane: 0 })[..9])?;
            store.sync()
        })
    }

    /// Closes the database, so that it can be deleted where an open file cannot be.
    pub(super) fn close(&mut self) {
        self.store = None;
        self.reopen_at = Instant::now() + REOPEN_AFTER;
    }

    /// Makes every cursor survive a kill of the process.
    pub(super) fn write_out(&mut self) -> Result<(), SpoolError> {
        self.write(Store::write_out)
    }

    /// Makes every cursor survive a power cut.
    pub(super) fn sync(&mut self) -> Result<(), SpoolError> {
        self.write(Store::sync)
    }

    /// The error with which writing began to fail, once.
    pub(super) fn take_failure(&mut self) -> Option<String> {
        self.failure.take()
    }

    #[cfg(test)]
    pub(super) fn fail_writes(&self) {
        if let Some(store) = &self.store {
            store.fail_writes();
        }
    }

    /// Opens the database anew without waiting until it is time.
    #[cfg(test)]
    pub(super) fn reopen_now(&mut self) {
        while self.write_out().is_err() {
            std::thread::sleep(Duration::from_millis(1));
            self.reopen_at = Instant::now();
        }
    }

    /// Writes every cursor, and then makes them safe with `finish`.
    fn write(&mut self, finish: impl FnOnce(&Store) -> Result<(), SpoolError>) -> Result<(), SpoolError> {
        let written = self.try_write(finish);
        match &written {
            Ok(()) => self.failing = false,
            Err(error) => {
                // All that is not known to be there is written again.
                for (lane, cursor) in std::mem::take(&mut self.unflushed) {
                    self.unwritten.entry(lane).or_insert(cursor);
                }
                if self.store.take().is_some() {
                    self.reopen_at = Instant::now() + REOPEN_AFTER;
                }
                if !std::mem::replace(&mut self.failing, true) {
                    self.failure = Some(error_chain(error));
                }
            }
        }
        written
    }

    fn try_write(&mut self, finish: impl FnOnce(&Store) -> Result<(), SpoolError>) -> Result<(), SpoolError> {
        if self.store.is_none() {
            if Instant::now() < self.reopen_at {
                let message = "an earlier write failed".to_owned();
                return Err(SpoolError::Storage { action: "write to", path: self.dir.clone(), message });
            }
            self.reopen_at = Instant::now() + REOPEN_AFTER;
        }
        let store = match self.store.take() {
            Some(store) => store,
            // The handle that failed may never give up its lock.
            None => open_store(&self.dir, Duration::ZERO)?,
        };
        let store = self.store.insert(store);
        for (lane, cursor) in &self.unwritten {
            store.put(&key(*lane), &cursor.to_bytes())?;
        }
        self.unflushed.append(&mut self.unwritten);
        finish(store)?;
        self.unflushed.clear();
        Ok(())
    }
}

fn open_store(dir: &Path, patience: Duration) -> Result<Store, SpoolError> {
    // Where the engine cannot read a block, it writes zeros over what follows: it must not try.
    let path = file_path(dir);
    let read = File::open(&path).and_then(|mut file| io::copy(&mut file, &mut io::sink()));
    match read {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("read", &path, error)),
        _ => Store::open(dir, SHAPE, patience),
    }
}

/// The key of a lane in the database.
fn key(LaneId { segment, lane }: LaneId) -> [u8; 13] {
    let mut key = [LANE; 13];
    // Big-endian: the order of the keys is the order of the numbers.
    key[1..9].copy_from_slice(&segment.to_be_bytes());
    key[9..].copy_from_slice(&lane.to_be_bytes());
    key
}

fn parse_key(key: &[u8]) -> Option<LaneId> {
    let (segment, lane) = key.strip_prefix(&[LANE])?.split_first_chunk()?;
    Some(LaneId { segment: u64::from_be_bytes(*segment), lane: u32::from_be_bytes(*lane.first_chunk()?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivered(acked: u64) -> LaneCursor {
        LaneCursor { acked, ..LaneCursor::default() }
    }

    #[test]
    fn a_batch_is_split_down_to_single_records_and_every_record_comes_once() {
        let mut cursor = LaneCursor { acked: 10, ..LaneCursor::default() };
        let mut singles = Vec::new();
        while cursor.acked < 17 {
            let end = cursor.end_of(cursor.acked).unwrap_or(17);
            if end - cursor.acked > 1 {
                cursor.split(&(cursor.acked..end));
            } else {
                singles.push(cursor.acked);
                cursor.advance(end);
            }
        }
        assert_eq!(singles, [10, 11, 12, 13, 14, 15, 16]);
        assert!(cursor.ends.is_empty());
    }

    #[test]
    fn a_later_batch_is_split_without_touching_an_earlier_one() {
        let mut cursor = delivered(0);
        for end in [30, 10, 20] {
            cursor.freeze(end);
        }
        cursor.split(&(10..20));
        assert_eq!(cursor.ends, [30, 20, 15, 10]);
        assert_eq!(
            [0, 10, 15, 20, 30].map(|start| cursor.end_of(start)),
            [Some(10), Some(15), Some(20), Some(30), None]
        );
        cursor.advance(10);
        assert_eq!(cursor.ends, [30, 20, 15]);
    }

    #[test]
    fn what_is_written_is_there_after_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let lane = LaneCursor { acked: 7, ends: vec![9, 8] };
        {
            let (mut cursor, _) = CursorStore::open(dir.path()).unwrap();
            cursor.put([(LaneId { segment: 1, lane: 0 }, lane.clone())]);
            cursor.put([(LaneId { segment: 1, lane: 1 }, delivered(3))]);
            cursor.put([(LaneId { segment: 2, lane: 7 }, lane.clone())]);
            cursor.forget(2).unwrap();
            cursor.sync().unwrap();
        }
        let (_, loaded) = CursorStore::open(dir.path()).unwrap();
        let lanes = HashMap::from([(0, lane), (1, delivered(3))]);
        assert_eq!(loaded, BTreeMap::from([(1, lanes)]));
    }

    /// The cursor of a lane is written once or twice a batch for as long as the process lives.
    #[test]
    fn the_database_stays_small_however_often_a_lane_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let (mut cursor, _) = CursorStore::open(dir.path()).unwrap();
        for n in 0..200_000 {
            cursor.put([(LaneId { segment: n / 1000, lane: 0 }, delivered(n))]);
            if n % 10 == 9 {
                cursor.write_out().unwrap();
            }
            if n % 1000 == 999 {
                cursor.forget(n / 1000).unwrap();
                cursor.write_out().unwrap();
            }
        }
        let bytes = std::fs::metadata(file_path(dir.path())).unwrap().len();
        assert!(bytes < 8 << 20, "{bytes} bytes");
    }
}
