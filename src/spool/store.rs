//! [`Store`]: one sled database. It touches the files of its own directory; beside `sled_threads`, it is the only file that
//! names sled.
//!
//! sled 0.34.7 is a good log and a treacherous database. Its traps, and what is done about them:
//!
//! - `flush()` hands data to the operating system (`sync_file_range`), it does not sync. [`Store::sync`] also calls
//!   `fdatasync` on the database's file, opened a second time.
//! - That wait is in vain where `fdatasync` follows. A database that is called temporary is not waited for, nor synced when
//!   it is dropped; but then its directory is deleted. So a database that is never opened again ([`Store::create_once`]) is made
//!   under another name: by the time it is dropped there is nothing of that name.
//! - Its background flusher is off: it would sync at moments of its own and keep the process awake.
//! - A damaged file can make it panic, in `open` or later. Every call is guarded.
//! - An opening that failed on a full disk leaves `snap.*.generating` behind, which blocks the next one.
//! - Its threads are not there after a fork, and nothing starts them again: all that waits for them hangs.
//! - On Windows its lock keeps all others from reading the file, not only from locking it: what is written is read through
//!   the database, and by another process only when it is closed.
//! - Its lock can outlive the handle by some milliseconds. Who may open a database at all is decided by the lock of the
//!   queue's directory, so here it is only waited for.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::bytes::index;
use super::dir::{create_in, io_error, make_private, rename, sync_dir, sync_file};
use super::sled_threads;
use crate::error::SpoolError;

/// Longer than the lock of a handle that was dropped in order outlives it.
pub(super) const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// The measures of a database. `log_segment_bytes` is part of the format: it cannot change for an existing one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) log_segment_bytes: usize,
    pub(super) cache_bytes: u64,
}

/// A value that was read; cheap to keep.
#[derive(Clone, Debug)]
pub(super) struct Value(sled::IVec);

impl Deref for Value {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// A sled database that is open.
#[derive(Debug)]
pub(super) struct Store {
    /// Taken only in `drop`.
    db: Option<sled::Db>,
    failed: AtomicBool,
    /// The database's own file: what `fdatasync` is called on.
    file: File,
    dir: PathBuf,
    #[cfg(test)]
    failing_syncs: AtomicBool,
}

/// Where what will be `dir` is made.
pub(super) fn new_path(dir: &Path) -> PathBuf {
    dir.with_extension("new")
}

pub(super) fn file_path(dir: &Path) -> PathBuf {
    dir.join("db")
}

impl Store {
    /// Opens the database in `dir`, and makes it if there is none. Once this returns, its files and directories
    /// themselves survive a power cut. Waits up to `patience` for an earlier handle to be gone.
    pub(super) fn open(dir: &Path, shape: Shape, patience: Duration) -> Result<Self, SpoolError> {
        create_in(dir)?;
        let store = Self::open_unsynced(dir, shape, patience)?;
        store.make_safe()?;
        dir.parent().map_or(Ok(()), sync_dir)?;
        Ok(store)
    }

    /// Makes its files private, and survive a power cut.
    fn make_safe(&self) -> Result<(), SpoolError> {
        let conf = self.dir.join("conf");
        make_private(&file_path(&self.dir))?;
        make_private(&conf)?;
        sync_file(&conf)?;
        self.sync()?;
        sync_dir(&self.dir)
    }

    /// Makes a database that is written once and never opened again. Its files survive a power cut when this returns.
    pub(super) fn create_once(dir: &Path, shape: Shape) -> Result<Self, SpoolError> {
        if cfg!(windows) {
            // No directory can be renamed while a file in it is open.
            return Self::open(dir, shape, LOCK_PATIENCE);
        }
        let new = new_path(dir);
        create_in(&new)?;
        let mut store = Self::open_with(&new, shape, LOCK_PATIENCE, true)?;
        store.make_safe()?;
        rename(&new, dir).map_err(|error| io_error("rename", &new, error))?;
        dir.clone_into(&mut store.dir);
        dir.parent().map_or(Ok(()), sync_dir)?;
        Ok(store)
    }

    /// Opens a database that is there, to look into it.
    pub(super) fn open_unsynced(dir: &Path, shape: Shape, patience: Duration) -> Result<Self, SpoolError> {
        Self::open_with(dir, shape, patience, false)
    }

    fn open_with(dir: &Path, shape: Shape, patience: Duration, once: bool) -> Result<Self, SpoolError> {
        remove_unfinished_snapshots(dir)?;
        let config = sled::Config::new()
            .path(dir)
            .segment_size(shape.log_segment_bytes)
            .cache_capacity(shape.cache_bytes)
            .flush_every_ms(None)
            .temporary(once);
        let begun = Instant::now();
        let db = loop {
            match guarded("open", dir, || config.open()) {
                Err(SpoolError::Io { source, .. })
                    if source.to_string().contains("could not acquire lock") && begun.elapsed() < patience =>
                {
                    std::thread::sleep(Duration::from_millis(2));
                }
                result => break result?,
            }
        };
        let path = file_path(dir);
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) => {
                drop_guarded(db);
                return Err(io_error("open", &path, error));
            }
        };
        sled_threads::silence(&db);
        Ok(Self {
            db: Some(db),
            failed: AtomicBool::new(false),
            file,
            dir: dir.to_owned(),
            #[cfg(test)]
            failing_syncs: AtomicBool::new(false),
        })
    }

    /// Fills the file with zeros up to so many bytes: what is written there later changes no length, and syncing it takes
    /// half the time. Not while the engine writes. If there is no room, the file is as it was. Says whether it is done.
    pub(super) fn reserve(&self, bytes: u64) -> bool {
        if cfg!(windows) {
            // The engine's lock keeps every other handle from reading and writing.
            return false;
        }
        let Ok(len) = self.file.metadata().map(|meta| meta.len()) else { return false };
        let fill = || {
            let mut file = &self.file;
            file.seek(SeekFrom::Start(len))?;
            io::copy(&mut io::repeat(0).take(bytes.saturating_sub(len)), &mut file)?;
            file.sync_all()
        };
        let reserved = fill();
        if reserved.is_err() {
            let _ = self.file.set_len(len);
        }
        reserved.is_ok()
    }

    /// Gives back the zeros at the end that were not overwritten, but for a few. The engine is not to write any more.
    pub(super) fn trim(&self) {
        trim(&self.file);
    }

    pub(super) fn put(&self, key: &[u8], value: &[u8]) -> Result<(), SpoolError> {
        self.write("write to", |db| db.insert(key, value)).map(drop)
    }

    /// Removes every key that begins with `prefix`.
    pub(super) fn remove_all(&self, prefix: &[u8]) -> Result<(), SpoolError> {
        self.write("write to", |db| db.scan_prefix(prefix).keys().try_for_each(|key| db.remove(key?).map(drop)))
    }

    /// Gives what was written to the operating system: it then survives a kill of the process.
    pub(super) fn write_out(&self) -> Result<(), SpoolError> {
        self.write("write out", sled::Tree::flush).map(drop)
    }

    /// Makes what was written survive a power cut.
    pub(super) fn sync(&self) -> Result<(), SpoolError> {
        self.write_out()?;
        #[cfg(test)]
        if self.failing_syncs.load(Ordering::Acquire) {
            return Err(io_error("sync", &self.dir, std::io::ErrorKind::Other.into()));
        }
        let synced = self.file.sync_data().map_err(|error| io_error("sync", &file_path(&self.dir), error));
        if synced.is_err() {
            // The kernel may have dropped the pages, and the next sync would not say so.
            self.failed.store(true, Ordering::Release);
        }
        synced
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Value>, SpoolError> {
        Ok(guarded("read", &self.dir, || self.db()?.get(key))?.map(Value))
    }

    /// Everything, in the order of the keys.
    pub(super) fn all(&self) -> Result<Vec<(Vec<u8>, Value)>, SpoolError> {
        guarded("read", &self.dir, || {
            self.db()?.iter().map(|pair| pair.map(|(key, value)| (key.to_vec(), Value(value)))).collect()
        })
    }

    fn db(&self) -> sled::Result<&sled::Tree> {
        self.db.as_deref().ok_or_else(|| sled::Error::Unsupported("the database is closed".to_owned()))
    }

    /// A write that failed, or half of one, is never followed by another: the engine would not recover from it.
    fn write<T>(
        &self,
        action: &'static str,
        call: impl FnOnce(&sled::Tree) -> sled::Result<T>,
    ) -> Result<T, SpoolError> {
        if self.failed.load(Ordering::Acquire) {
            let message = "an earlier write failed".to_owned();
            return Err(SpoolError::Storage { action, path: self.dir.clone(), message });
        }
        let result = guarded(action, &self.dir, || call(self.db()?));
        if result.is_err() {
            self.failed.store(true, Ordering::Release);
        }
        result
    }

    /// From now on every write fails, as after an I/O error.
    #[cfg(test)]
    pub(super) fn fail_writes(&self) {
        self.failed.store(true, Ordering::Release);
    }

    #[cfg(test)]
    pub(super) fn fail_syncs(&self) {
        self.failing_syncs.store(true, Ordering::Release);
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let db = self.db.take();
        if !*self.failed.get_mut() {
            return drop_guarded(db);
        }
        // Dropping the handle of a database that failed can hang. Should there be no thread to do it on, it is leaked.
        let db = ManuallyDrop::new(db);
        let _ = crate::process::spawn("drop", move || drop_guarded(ManuallyDrop::into_inner(db)));
    }
}

/// Removes the zeros at the end of a file, but for more than the longest value. On a disk that fails it stays as it is.
pub(super) fn trim(mut file: &File) {
    const LEAVE: u64 = 128 << 10;
    let mut block = vec![0; 64 << 10];
    let Ok(len) = file.metadata().map(|meta| meta.len()) else { return };
    let mut end = len;
    while end > 0 {
        let start = end.saturating_sub(block.len() as u64);
        let block = &mut block[..index(end - start)];
        if file.seek(SeekFrom::Start(start)).and_then(|_| file.read_exact(block)).is_err() {
            return;
        }
        if block.iter().any(|byte| *byte != 0) {
            break;
        }
        end = start;
    }
    if end + LEAVE < len {
        let _ = file.set_len(end + LEAVE);
    }
}

/// A handle syncs when it is dropped, and panics if it cannot.
fn drop_guarded<T>(db: T) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(db)));
}

fn remove_unfinished_snapshots(dir: &Path) -> Result<(), SpoolError> {
    for found in fs::read_dir(dir).map_err(|error| io_error("list", dir, error))?.flatten() {
        if found.file_name().to_string_lossy().ends_with(".generating") {
            fs::remove_file(found.path()).map_err(|error| io_error("remove", &found.path(), error))?;
        }
    }
    Ok(())
}

fn guarded<T>(action: &'static str, dir: &Path, call: impl FnOnce() -> sled::Result<T>) -> Result<T, SpoolError> {
    let message = match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(sled::Error::Io(error))) => return Err(io_error(action, dir, error)),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it panicked".to_owned(),
    };
    Err(SpoolError::Storage { action, path: dir.to_owned(), message })
}
