//! The cursor database: what of each lane is delivered.
//!
//! ```text
//! 'l' segment 8 partition 4   ->  acknowledged 8 | where each batch ends 8
//! ```

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::bytes::Fields;
use super::dir::io_error;
use super::lock;
use super::store::{LOCK_PATIENCE, Shape, Store, file_path};
use crate::error::SpoolError;

/// Small log segments, since the same few keys are written again and again.
const SHAPE: Shape = Shape { log_segment_bytes: 512 << 10, cache_bytes: 1 << 20 };

/// How long after a failure the database is opened anew.
const REOPEN_AFTER: Duration = Duration::from_secs(1);

/// How long to wait for the lock of a handle that failed, to read what it has written.
const READ_PATIENCE: Duration = Duration::from_millis(100);

const LANE: u8 = b'l';

/// How far a lane is delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LaneCursor {
    /// Records before this one are delivered.
    pub(super) acked: u64,
    /// Where batches end, the last first: those that were taken while more records could come, and those that were cut.
    /// Where others of a lane that is complete end follows from what is stored. One value holds all of it: a batch is
    /// either whole or cut, whenever the process ends.
    pub(super) ends: Vec<u64>,
}

impl LaneCursor {
    /// Everything before `end` is delivered.
    pub(super) fn advance(&mut self, end: u64) {
        self.acked = end;
        while self.ends.pop_if(|other| *other <= end).is_some() {}
    }

    /// A batch ends here, whatever comes.
    pub(super) fn freeze(&mut self, end: u64) {
        if let Err(at) = self.ends.binary_search_by(|other| end.cmp(other)) {
            self.ends.insert(at, end);
        }
    }

    /// Cuts a batch in two; says where.
    pub(super) fn cut(&mut self, batch: &Range<u64>) -> u64 {
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

/// How far the lanes of a segment are delivered, by their numbers. Of one that is not there nothing is delivered.
pub(super) type LaneCursors = HashMap<u32, LaneCursor>;

/// The database, and what could not be written to it.
///
/// After a write error the engine's handle fails for ever. It is then opened anew, and what was written meanwhile waits
/// here: at most a cursor for each lane.
#[derive(Debug)]
pub(super) struct Cursor {
    dir: PathBuf,
    /// What is to be written. Apart from the database, so that nobody waits for a disk to put something here.
    changes: Mutex<BTreeMap<Key, Vec<u8>>>,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    store: Option<Store>,
    unwritten: BTreeMap<Key, Vec<u8>>,
    /// Written, but lost with the handle should that fail before it is flushed.
    unflushed: BTreeMap<Key, Vec<u8>>,
    reopen_at: Instant,
}

type Key = [u8; 13];

impl Cursor {
    /// Opens the database, and gives what it held of every segment.
    pub(super) fn open(dir: &Path) -> Result<(Self, BTreeMap<u64, LaneCursors>), SpoolError> {
        let store = open_store(dir, LOCK_PATIENCE)?;
        let mut loaded: BTreeMap<u64, LaneCursors> = BTreeMap::new();
        for (key, value) in store.all()? {
            if let Some((segment, lane)) = parse_key(&key) {
                loaded.entry(segment).or_default().extend(read_lane(&value).map(|cursor| (lane, cursor)));
            }
        }
        let kept = Kept {
            store: Some(store),
            unwritten: BTreeMap::new(),
            unflushed: BTreeMap::new(),
            reopen_at: Instant::now(),
        };
        Ok((Self { dir: dir.to_owned(), changes: Mutex::default(), kept: Mutex::new(kept) }, loaded))
    }

    /// It is in the database after the next [`Cursor::flush`] or [`Cursor::sync`] that succeeds.
    pub(super) fn put_lane(&self, segment: u64, partition: u32, lane: &LaneCursor) {
        let fields = std::iter::once(&lane.acked).chain(&lane.ends);
        let value: Vec<u8> = fields.copied().flat_map(u64::to_le_bytes).collect();
        lock(&self.changes).insert(key(segment, partition), value);
    }

    /// What a restart would find of a lane, after a flush that failed: it may have reached the file. `None` if that cannot
    /// be told.
    pub(super) fn written_lane(&self, segment: u64, partition: u32) -> Option<LaneCursor> {
        // Nobody else opens it meanwhile.
        let _kept = lock(&self.kept);
        let store = Store::open_unsynced(&self.dir, SHAPE, READ_PATIENCE).ok()?;
        let value = store.get(&key(segment, partition)).ok()?;
        Some(value.and_then(|value| read_lane(&value)).unwrap_or_default())
    }

    /// Forgets a segment that is deleted. Syncs as well: so the database is never far behind.
    pub(super) fn forget(&self, segment: u64) -> Result<(), SpoolError> {
        let key = key(segment, 0);
        let prefix = &key[..9];
        // What is left in the database after an error is forgotten when it is opened.
        let forget = |kept: &mut Kept| {
            kept.unwritten.retain(|key, _| !key.starts_with(prefix));
            kept.unflushed.retain(|key, _| !key.starts_with(prefix));
        };
        let remove = |store: &Store| {
            store.remove_all(prefix)?;
            store.sync()
        };
        self.with_store(forget, remove)
    }

    /// What was put survives a kill of the process.
    pub(super) fn flush(&self) -> Result<(), SpoolError> {
        self.with_store(|_| (), Store::flush)
    }

    /// What was put survives a power cut.
    pub(super) fn sync(&self) -> Result<(), SpoolError> {
        self.with_store(|_| (), Store::sync)
    }

    #[cfg(test)]
    pub(super) fn fail_writes(&self) {
        if let Some(store) = &lock(&self.kept).store {
            store.fail_writes();
        }
    }

    /// Does not wait until it is time.
    #[cfg(test)]
    pub(super) fn reopen_now(&self) {
        let mut kept = lock(&self.kept);
        kept.unwritten.append(&mut lock(&self.changes));
        while kept.write(&self.dir, Store::flush).is_err() {
            std::thread::sleep(Duration::from_millis(1));
            kept.reopen_at = Instant::now();
        }
    }

    /// Changes what is kept, writes it, and then has it flushed in some way.
    fn with_store(
        &self,
        change: impl FnOnce(&mut Kept),
        flush: impl FnOnce(&Store) -> Result<(), SpoolError>,
    ) -> Result<(), SpoolError> {
        let mut kept = lock(&self.kept);
        kept.unwritten.append(&mut lock(&self.changes));
        change(&mut kept);
        let written = kept.write(&self.dir, flush);
        if written.is_err() {
            // All that is not known to be there is written again.
            let unflushed = std::mem::take(&mut kept.unflushed);
            for (key, value) in unflushed {
                kept.unwritten.entry(key).or_insert(value);
            }
            if kept.store.take().is_some() {
                kept.reopen_at = Instant::now() + REOPEN_AFTER;
            }
        }
        written
    }
}

impl Kept {
    fn write(&mut self, dir: &Path, flush: impl FnOnce(&Store) -> Result<(), SpoolError>) -> Result<(), SpoolError> {
        if self.store.is_none() {
            if Instant::now() < self.reopen_at {
                let message = "an earlier write failed".to_owned();
                return Err(SpoolError::Storage { action: "write to", path: dir.to_owned(), message });
            }
            self.reopen_at = Instant::now() + REOPEN_AFTER;
        }
        let store = match self.store.take() {
            Some(store) => store,
            // The handle that failed may never give up its lock.
            None => open_store(dir, Duration::ZERO)?,
        };
        let store = self.store.insert(store);
        for (key, value) in &self.unwritten {
            store.put(key, value)?;
        }
        self.unflushed.append(&mut self.unwritten);
        flush(store)?;
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

fn key(segment: u64, lane: u32) -> Key {
    let mut key = [LANE; 13];
    // Big-endian: the order of the keys is the order of the numbers.
    key[1..9].copy_from_slice(&segment.to_be_bytes());
    key[9..].copy_from_slice(&lane.to_be_bytes());
    key
}

/// The segment and the lane.
fn parse_key(key: &[u8]) -> Option<(u64, u32)> {
    let (segment, lane) = key.strip_prefix(&[LANE])?.split_first_chunk()?;
    Some((u64::from_be_bytes(*segment), u32::from_be_bytes(*lane.first_chunk()?)))
}

fn read_lane(value: &[u8]) -> Option<LaneCursor> {
    let mut fields = Fields(value);
    let acked = fields.u64()?;
    Some(LaneCursor { acked, ends: std::iter::from_fn(|| fields.u64()).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivered(acked: u64) -> LaneCursor {
        LaneCursor { acked, ..LaneCursor::default() }
    }

    #[test]
    fn a_batch_is_cut_down_to_single_records_and_every_record_comes_once() {
        let mut cursor = LaneCursor { acked: 10, ..LaneCursor::default() };
        let mut singles = Vec::new();
        while cursor.acked < 17 {
            let end = cursor.end_of(cursor.acked).unwrap_or(17);
            if end - cursor.acked > 1 {
                cursor.cut(&(cursor.acked..end));
            } else {
                singles.push(cursor.acked);
                cursor.advance(end);
            }
        }
        assert_eq!(singles, [10, 11, 12, 13, 14, 15, 16]);
        assert!(cursor.ends.is_empty());
    }

    #[test]
    fn a_later_batch_is_cut_without_touching_an_earlier_one() {
        let mut cursor = delivered(0);
        for end in [30, 10, 20] {
            cursor.freeze(end);
        }
        cursor.cut(&(10..20));
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
            let (cursor, _) = Cursor::open(dir.path()).unwrap();
            cursor.put_lane(1, 0, &lane);
            cursor.put_lane(1, 1, &delivered(3));
            cursor.put_lane(2, 7, &lane);
            cursor.forget(2).unwrap();
            cursor.sync().unwrap();
        }
        let (_, loaded) = Cursor::open(dir.path()).unwrap();
        let lanes = HashMap::from([(0, lane), (1, delivered(3))]);
        assert_eq!(loaded, BTreeMap::from([(1, lanes)]));
    }

    /// The cursor of a lane is written once or twice a batch for as long as the process lives.
    #[test]
    fn the_database_stays_small_however_often_a_lane_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let (cursor, _) = Cursor::open(dir.path()).unwrap();
        for n in 0..200_000 {
            cursor.put_lane(n / 1000, 0, &delivered(n));
            if n % 10 == 9 {
                cursor.flush().unwrap();
            }
            if n % 1000 == 999 {
                cursor.forget(n / 1000).unwrap();
                cursor.flush().unwrap();
            }
        }
        let bytes = std::fs::metadata(super::super::store::file_path(dir.path())).unwrap().len();
        assert!(bytes < 8 << 20, "{bytes} bytes");
    }
}
