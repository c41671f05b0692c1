//! [`Store`]: one sled database. It touches the files of its own directory; beside `sled_threads`, it is the only file that
//! names sled.
//!
//! sled 0.34.7 is a good log and a treacherous database. Its traps, and what is done about them:
//!
//! - `flush()` hands data to the operating system (`sync_file_range`), it does not sync. [`Store::sync`] also calls
//!   `fdatasync` on the database's file, opened a second time.
//! - That wait is in vain where `fdatasync` follows. A database that is called temporary is not waited for, nor synced when
//!   it is dropped; but then its directory is deleted. So a database is made under another name: by the time it is dropped there
//!   is nothing of that name.
//! - Where it opens a database it cannot read, it writes zeros over what follows, and it needs new blocks of the disk to open
//!   one at all. So a database is never opened again: what is in its file is read without it.
//! - On Windows its lock keeps all others from reading the file, not only from locking it: what is written is read through the
//!   database, and by another process only when it is closed.
//! - Its background flusher is off: it would sync at moments of its own and keep the process awake.
//! - A broken disk can make it panic. Every call is guarded.
//! - Its threads are not there after a fork, and nothing starts them again: all that waits for them hangs.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::bytes::index;
use super::files::{create_in, io_error, make_private, rename, set_len, sync_data, sync_dir};
use super::sled_threads::{self, Permit};
use crate::error::SpoolError;

/// What is written ahead of the records, at a time.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// More than the engine writes of its own with a value.
const VALUE_OVERHEAD: usize = 64;

/// The measures of a database.
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
    log_segment_bytes: usize,
    #[cfg(test)]
    failing_syncs: AtomicBool,
}

/// The writing to a database, from a first [`put`](Self::put) until all of it is [written out](Self::write_out).
#[derive(Debug)]
pub(super) struct Writing<'a> {
    store: &'a Store,
    /// There is one while something is put and not written out.
    permit: Option<Permit>,
    /// How many bytes that is, at most.
    pending: usize,
}

impl Writing<'_> {
    /// Waits until it may be written. Before more than one log segment could be full, it is written out.
    pub(super) fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), SpoolError> {
        self.permit.get_or_insert_with(Permit::to_write);
        self.store.write("write to", |db| db.insert(key, value))?;
        self.pending += key.len() + value.len() + VALUE_OVERHEAD;
        if self.pending > self.store.log_segment_bytes / 2 { self.flush() } else { Ok(()) }
    }

    /// Gives what was put to the operating system: it then survives a kill of the process.
    pub(super) fn write_out(mut self) -> Result<(), SpoolError> {
        self.flush()
    }

    /// Makes what was put survive a power cut.
    pub(super) fn sync(mut self) -> Result<(), SpoolError> {
        self.flush()?;
        self.store.sync_data()
    }

    /// Does not keep the permit.
    fn flush(&mut self) -> Result<(), SpoolError> {
        let _permit = self.permit.take().unwrap_or_else(Permit::to_write);
        self.pending = 0;
        self.store.write("write out", sled::Tree::flush)?;
        #[cfg(test)]
        super::tests::crash_model::note_contents(&file_path(&self.store.dir));
        Ok(())
    }
}

/// A database whose engine runs and that is not safe yet: nothing may be written to it, and it has another name than it will have.
#[derive(Debug)]
pub(super) struct StartedStore {
    store: Store,
    /// Where it will be.
    dir: PathBuf,
}

impl StartedStore {
    /// Finishes it, beside what `prepare` puts into its directory. All of that survives a power cut when this returns.
    pub(super) fn finish(self, prepare: impl FnOnce(&Path) -> Result<(), SpoolError>) -> Result<Store, SpoolError> {
        let Self { mut store, dir } = self;
        prepare(&store.dir)?;
        store.make_safe()?;
        if store.dir != dir {
            rename(&store.dir, &dir).map_err(|error| io_error("rename", &store.dir, error))?;
            dir.clone_into(&mut store.dir);
        }
        if let Some(queue) = dir.parent() {
            sync_dir(queue)?;
        }
        Ok(store)
    }
}

/// Where what will be `dir` is made.
pub(super) fn new_path(dir: &Path) -> PathBuf {
    dir.with_extension("new")
}

pub(super) fn file_path(dir: &Path) -> PathBuf {
    dir.join("db")
}

impl Store {
    /// Makes its files private, and survive a power cut.
    fn make_safe(&self) -> Result<(), SpoolError> {
        make_private(&file_path(&self.dir))?;
        // Nobody reads it again.
        make_private(&self.dir.join("conf"))?;
        self.sync()?;
        sync_dir(&self.dir)
    }

    /// Starts to make a database: this has the engine's threads run, and syncs nothing.
    pub(super) fn start(dir: &Path, shape: Shape) -> Result<StartedStore, SpoolError> {
        // There no directory can be renamed while a file in it is open.
        let is_renamed = !cfg!(windows);
        let new = if is_renamed { new_path(dir) } else { dir.to_owned() };
        create_in(&new)?;
        let store = Self::open(&new, shape, is_renamed)?;
        Ok(StartedStore { store, dir: dir.to_owned() })
    }

    fn open(dir: &Path, shape: Shape, is_renamed: bool) -> Result<Self, SpoolError> {
        let config = sled::Config::new()
            .path(dir)
            .segment_size(shape.log_segment_bytes)
            .cache_capacity(shape.cache_bytes)
            .flush_every_ms(None)
            .temporary(is_renamed);
        let db = guarded("open", dir, || config.open())?;
        let path = file_path(dir);
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) => {
                drop_guarded(db);
                return Err(io_error("open", &path, error));
            }
        };
        #[cfg(test)]
        super::tests::crash_model::note_database(dir);
        let store = Self {
            db: Some(db),
            failed: AtomicBool::new(false),
            file,
            dir: dir.to_owned(),
            log_segment_bytes: shape.log_segment_bytes,
            #[cfg(test)]
            failing_syncs: AtomicBool::new(false),
        };
        store.write("start the threads of", sled_threads::silence)?;
        Ok(store)
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
            let mut left = bytes.saturating_sub(len);
            while left > 0 {
                let zeros = &ZEROS[..ZEROS.len().min(index(left))];
                file.write_all(zeros)?;
                left -= zeros.len() as u64;
            }
            #[cfg(test)]
            super::tests::crash_model::note_contents(&file_path(&self.dir));
            // Only later syncs are faster for it.
            file.sync_all()
        };
        let reserved = fill();
        if reserved.is_err() {
            let _ = set_len(&self.file, &file_path(&self.dir), len);
        }
        reserved.is_ok()
    }

    /// Gives back the zeros at the end that were not overwritten, but for a few. The engine is not to write any more.
    pub(super) fn trim(&self) {
        trim(&self.file, &file_path(&self.dir));
    }

    /// Begins to write.
    pub(super) fn begin(&self) -> Writing<'_> {
        Writing { store: self, permit: None, pending: 0 }
    }

    /// Makes what was written survive a power cut.
    pub(super) fn sync(&self) -> Result<(), SpoolError> {
        self.begin().sync()
    }

    fn sync_data(&self) -> Result<(), SpoolError> {
        #[cfg(test)]
        if self.failing_syncs.load(Ordering::Acquire) {
            return Err(io_error("sync", &self.dir, std::io::ErrorKind::Other.into()));
        }
        let path = file_path(&self.dir);
        let synced = sync_data(&self.file, &path).map_err(|error| io_error("sync", &path, error));
        if synced.is_err() {
            // The kernel may have dropped the pages, and the next sync would not say so.
            self.failed.store(true, Ordering::Release);
        }
        synced
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Value>, SpoolError> {
        let _permit = Permit::to_read();
        Ok(guarded("read", &self.dir, || self.db()?.get(key))?.map(Value))
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
pub(super) fn trim(mut file: &File, path: &Path) {
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
        let _ = set_len(file, path, end + LEAVE);
    }
}

/// A handle syncs when it is dropped, and panics if it cannot.
fn drop_guarded<T>(db: T) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(db)));
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
