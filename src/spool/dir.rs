//! [`QueueDir`]: the layout of a spool directory, and who owns what in it. It makes, renames and deletes files.
//!
//! ```text
//! spool/
//!   format                      "opentelemetry-spool 4"
//!   3f9c1b2a77d0e4c1/           a queue: one exporter's, whoever holds its lock; deleted when it is empty
//!     lock
//!     endpoint                  the URL that it was last sent to, without a password: for who drains it when its owner is gone
//!     ballast                   nothing: given back on a full disk
//!     cursor/                   a database: what is delivered
//!     0000000012.segment/       a database: entries; `seal`: what should be in it; `accepted` in one that was abandoned:
//!                               how many of them count
//!     0000000011.dead/          delivered, being deleted
//!   quarantine/                 segments that were damaged
//!   rejected/                   records that were rejected, a file each
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::bytes::index;
use crate::error::SpoolError;
use crate::process::unique_number;

/// The format that this version writes, and the newest that it reads.
const FORMAT: u32 = 4;
const FORMAT_NAME: &str = "opentelemetry-spool";

const ENDPOINT: &str = "endpoint";
const BALLAST: &str = "ballast";
/// More than the engine writes to open a database.
const BALLAST_BYTES: u32 = 1 << 20;
pub(super) const QUARANTINE: &str = "quarantine";

/// How long Windows is asked again for what it refuses while somebody has a file open.
const IN_USE_PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn io_error(action: &'static str, path: &Path, source: io::Error) -> SpoolError {
    SpoolError::Io { action, path: path.to_owned(), source }
}

/// Makes a directory and those above it, for the owner alone.
pub(super) fn create(dir: &Path) -> Result<(), SpoolError> {
    private_dir(true).create(dir).map_err(|error| io_error("create", dir, error))
}

/// Makes a directory in one that is there. If that has vanished, another one in its place would be nobody's.
pub(super) fn create_in(dir: &Path) -> Result<(), SpoolError> {
    match private_dir(false).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(io_error("create", dir, error)),
        _ => Ok(()),
    }
}

/// Has a directory created for the owner alone; on Windows for whom the one above it is for.
fn private_dir(recursive: bool) -> fs::DirBuilder {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(recursive);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}

/// Makes a file, or empties the one that is there, for the owner alone.
pub(super) fn private_file(path: &Path) -> io::Result<File> {
    private(OpenOptions::new().write(true).create(true).truncate(true)).open(path)
}

/// Has a file created for the owner alone.
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

/// Takes the permissions of all others from a file that something else made.
pub(super) fn make_private(path: &Path) -> Result<(), SpoolError> {
    #[cfg(unix)]
    {
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(path, permissions).map_err(|error| io_error("protect", path, error))?;
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

/// Makes what was created, renamed or removed in `dir` survive a power cut. Only Unix lets a directory be synced;
/// elsewhere the file system's own journal has to do.
pub(super) fn sync_dir(dir: &Path) -> Result<(), SpoolError> {
    if cfg!(unix) {
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| io_error("sync", dir, error))?;
    }
    Ok(())
}

/// Makes a file that something else wrote survive a power cut. Windows syncs through a handle for writing only.
pub(super) fn sync_file(path: &Path) -> Result<(), SpoolError> {
    let file = OpenOptions::new().write(true).open(path);
    file.and_then(|file| file.sync_all()).map_err(|error| io_error("sync", path, error))
}

/// Renames a file or a directory; a file takes the place of the one that is there.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    patiently(|| fs::rename(from, to))
}

/// Deletes a directory with what is in it.
pub(super) fn remove_dir(path: &Path) -> io::Result<()> {
    patiently(|| fs::remove_dir_all(path))
}

/// Tries again on Windows for a while. It neither renames nor deletes a directory while a file in it is open, and others keep
/// one open for a moment: the engine's threads after a database was closed, virus scanners, backups, `otel-spool`.
fn patiently(change: impl Fn() -> io::Result<()>) -> io::Result<()> {
    let begun = Instant::now();
    loop {
        match change() {
            Err(error) if is_in_use(&error) && begun.elapsed() < IN_USE_PATIENCE => {
                std::thread::sleep(Duration::from_millis(2));
            }
            result => return result,
        }
    }
}

/// Whether Windows refuses something because of an open file.
fn is_in_use(error: &io::Error) -> bool {
    const ACCESS_DENIED: i32 = 5;
    const SHARING_VIOLATION: i32 = 32;
    const LOCK_VIOLATION: i32 = 33;
    const DIR_NOT_EMPTY: i32 = 145;
    cfg!(windows)
        && matches!(error.raw_os_error(), Some(ACCESS_DENIED | SHARING_VIOLATION | LOCK_VIOLATION | DIR_NOT_EMPTY))
}

/// Reads bytes at a place in a file, whoever else reads it.
pub(super) fn read_exact_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset);
    #[cfg(windows)]
    {
        let mut read = 0;
        while read < bytes.len() {
            match std::os::windows::fs::FileExt::seek_read(file, &mut bytes[read..], offset + read as u64)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                len => read += len,
            }
        }
        Ok(())
    }
}

/// Makes the directory of a spool, or sees that it is one.
pub(super) fn prepare(root: &Path) -> Result<(), SpoolError> {
    // Someone who may write to the directory above could have it point anywhere.
    if fs::symlink_metadata(root).is_ok_and(|meta| meta.is_symlink()) {
        let reason = io::Error::new(io::ErrorKind::InvalidInput, "it is a symbolic link");
        return Err(io_error("use", root, reason));
    }
    create(root)?;
    check_format(root)
}

/// A queue's directory, owned through its lock file for as long as this lives.
#[derive(Debug)]
pub(super) struct QueueDir {
    pub(super) path: PathBuf,
    pub(super) id: u64,
    /// `None` once the queue is deleted where an open file cannot be.
    lock: Mutex<Option<File>>,
}

impl Drop for QueueDir {
    fn drop(&mut self) {
        self.unlock();
    }
}

impl QueueDir {
    /// Makes a new queue.
    pub(super) fn create(root: &Path) -> Result<Self, SpoolError> {
        loop {
            // Another process can lock the new directory first; then it is that process's.
            let id = unique_number();
            let path = root.join(format!("{id:016x}"));
            create(&path)?;
            if let Some(queue) = Self::try_lock(root, id, true)? {
                sync_dir(&path)?;
                sync_dir(root)?;
                return Ok(queue);
            }
        }
    }

    /// Takes a queue that nobody owns and that has anything in it, and opens it, if there is one. Never waits for another
    /// owner. One that fails does not keep others from being taken.
    pub(super) fn adopt<T>(root: &Path, open: impl Fn(Self) -> Result<T, SpoolError>) -> Result<Option<T>, SpoolError> {
        let mut failed = None;
        for id in list_queues(root)? {
            let opened = Self::take(root, id).and_then(|queue| queue.map(&open).transpose());
            match opened {
                Ok(None) => {}
                Ok(opened) => return Ok(opened),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(None), Err)
    }

    /// `None` if it is someone else's or empty.
    fn take(root: &Path, id: u64) -> Result<Option<Self>, SpoolError> {
        let Some(queue) = Self::try_lock(root, id, false)? else { return Ok(None) };
        if !queue.is_empty()? {
            return Ok(Some(queue));
        }
        // Should that fail, it is left behind: its id has been used.
        let _ = queue.remove();
        Ok(None)
    }

    /// Locks a queue's directory; `None` if it is someone else's or was removed meanwhile.
    fn try_lock(root: &Path, id: u64, create: bool) -> Result<Option<Self>, SpoolError> {
        Self::try_lock_by(root, id, create, File::try_lock)
    }

    /// The same for who only reads, together with others who do.
    #[cfg(feature = "cli")]
    pub(super) fn try_lock_shared(root: &Path, id: u64) -> Result<Option<Self>, SpoolError> {
        Self::try_lock_by(root, id, false, File::try_lock_shared)
    }

    /// Makes a shared lock one's own; false if others have it as well.
    #[cfg(feature = "cli")]
    pub(super) fn make_exclusive(&self) -> bool {
        let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(lock) = lock.as_ref() else { return false };
        if cfg!(windows) {
            // There a lock does not turn into another one, not even into the same.
            let _ = lock.unlock();
        }
        let exclusive = lock.try_lock().is_ok();
        if cfg!(windows) && !exclusive {
            let _ = lock.try_lock_shared();
        }
        exclusive
    }

    /// Gives up the queue.
    fn unlock(&self) {
        if let Some(lock) = self.lock.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Or a process that was forked would keep it.
            let _ = lock.unlock();
        }
    }

    fn try_lock_by(
        root: &Path,
        id: u64,
        create: bool,
        try_lock: fn(&File) -> Result<(), TryLockError>,
    ) -> Result<Option<Self>, SpoolError> {
        let path = root.join(format!("{id:016x}"));
        let lock_path = path.join("lock");
        let lock = match private(OpenOptions::new().create(create).truncate(false).write(true)).open(&lock_path) {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("open", &lock_path, error)),
        };
        match try_lock(&lock) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(io_error("lock", &lock_path, error)),
        }
        // Its owner may have removed it before giving up the lock.
        Ok(lock_path.exists().then(|| Self { path, id, lock: Mutex::new(Some(lock)) }))
    }

    /// Whether no segment is left.
    fn is_empty(&self) -> Result<bool, SpoolError> {
        Ok(self.segments()?.is_empty())
    }

    /// Deletes a queue, with what is in it. Its id is never used again: batches had ids made from it.
    pub(super) fn remove(&self) -> Result<(), SpoolError> {
        if cfg!(windows) {
            return self.remove_in_place();
        }
        let dead = self.path.with_extension("dead");
        rename(&self.path, &dead).map_err(|error| io_error("rename", &self.path, error))?;
        remove_dir(&dead).map_err(|error| io_error("remove", &dead, error))
    }

    /// Does so where the lock's file, being open, can be neither renamed nor deleted.
    fn remove_in_place(&self) -> Result<(), SpoolError> {
        for number in self.segments()? {
            self.remove_segment(number)?;
        }
        // Who takes the queue from now on finds it empty, and deletes it as well.
        self.unlock();
        match remove_dir(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("remove", &self.path, error)),
            _ => Ok(()),
        }
    }

    pub(super) fn cursor(&self) -> PathBuf {
        self.path.join("cursor")
    }

    pub(super) fn segment(&self, number: u64) -> PathBuf {
        self.path.join(format!("{number:010}.segment"))
    }

    fn dead(&self, number: u64) -> PathBuf {
        self.path.join(format!("{number:010}.dead"))
    }

    /// The numbers of the segments that are there, ascending. What an earlier deletion left over is removed.
    pub(super) fn segments(&self) -> Result<Vec<u64>, SpoolError> {
        let mut numbers = Vec::new();
        for found in list(&self.path)? {
            let name = found.file_name();
            let name = name.to_string_lossy();
            if let Some(number) = name.strip_suffix(".segment").and_then(|number| number.parse().ok()) {
                numbers.push(number);
            } else if name.ends_with(".dead") || name.ends_with(".new") {
                // A remainder that cannot be removed hinders nobody.
                let _ = fs::remove_dir_all(found.path());
            }
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Deletes a segment.
    pub(super) fn remove_segment(&self, number: u64) -> Result<(), SpoolError> {
        self.retire(number)?;
        self.delete_retired(number)
    }

    /// Renames a segment that is to be deleted, so that half of one is never taken for a segment.
    pub(super) fn retire(&self, number: u64) -> Result<(), SpoolError> {
        let path = self.segment(number);
        match rename(&path, &self.dead(number)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("rename", &path, error)),
            _ => Ok(()),
        }
    }

    pub(super) fn delete_retired(&self, number: u64) -> Result<(), SpoolError> {
        sync_dir(&self.path)?;
        let dead = self.dead(number);
        match remove_dir(&dead) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("remove", &dead, error)),
            _ => Ok(()),
        }
    }

    /// Takes some of the disk, to be given back when there is no other space left: the engine opens no database then.
    pub(super) fn take_ballast(&self) {
        let path = self.path.join(BALLAST);
        if path.exists() || fs2::available_space(&self.path).is_ok_and(|free| free < 4 * u64::from(BALLAST_BYTES)) {
            return;
        }
        let zeros = vec![0; index(BALLAST_BYTES.into())];
        if private_file(&path).and_then(|mut file| file.write_all(&zeros)).is_err() {
            let _ = fs::remove_file(&path);
        }
    }

    /// Whether there was any ballast to give back.
    pub(super) fn give_ballast(&self) -> bool {
        fs::remove_file(self.path.join(BALLAST)).is_ok()
    }

    /// Moves a damaged segment to where a person looks at it; the oldest of those make room, so that they have at most
    /// `max_bytes` together.
    pub(super) fn quarantine(&self, number: u64, max_bytes: u64) -> Result<(), SpoolError> {
        let quarantine = self.root().join(QUARANTINE);
        create_in(&quarantine)?;
        let (from, to) = (self.segment(number), quarantine.join(format!("{:016x}.{number:010}", self.id)));
        match rename(&from, &to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error("rename", &from, error)),
            _ => {}
        }
        sync_dir(&quarantine)?;
        sync_dir(&self.path)?;
        while walk(&quarantine) > max_bytes {
            if !self.drop_quarantined()? {
                break;
            }
        }
        Ok(())
    }

    /// Deletes the oldest segment in quarantine, if there is one.
    pub(super) fn drop_quarantined(&self) -> Result<bool, SpoolError> {
        let found = fs::read_dir(self.root().join(QUARANTINE)).into_iter().flatten().flatten();
        let oldest = found.min_by_key(|found| found.metadata().and_then(|meta| meta.modified()).ok());
        let Some(path) = oldest.map(|oldest| oldest.path()) else { return Ok(false) };
        let removed = if path.is_dir() { remove_dir(&path) } else { fs::remove_file(&path) };
        match removed {
            // Another process was faster.
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("remove", &path, error)),
            _ => Ok(true),
        }
    }

    fn root(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }

    /// Notes, synced, how many frames of a segment that was abandoned were accepted. What was not is written again
    /// elsewhere, so it must not be found here as well, also when the cursor database is lost.
    pub(super) fn put_accepted(&self, number: u64, frames: u64) -> Result<(), SpoolError> {
        let path = accepted_file(&self.segment(number));
        private_file(&path)
            .and_then(|mut file| {
                writeln!(file, "{frames}")?;
                file.sync_all()
            })
            .map_err(|error| io_error("write", &path, error))?;
        sync_dir(&self.segment(number))
    }

    /// See [`accepted`].
    pub(super) fn accepted(&self, number: u64) -> u64 {
        accepted(&self.segment(number))
    }

    /// Notes where the queue is sent to. It is of use to a person only: what cannot be written is left.
    pub(super) fn put_endpoint(&self, endpoint: &str) {
        if endpoint_of(&self.path).as_deref() == Some(endpoint) {
            return;
        }
        let path = self.path.join(ENDPOINT);
        let new = path.with_extension("new");
        let written = private_file(&new).and_then(|mut file| writeln!(file, "{endpoint}"));
        if written.and_then(|()| rename(&new, &path)).is_err() {
            let _ = fs::remove_file(&new);
        }
    }

    /// Puts a cursor database that cannot be opened out of the way.
    pub(super) fn move_cursor_away(&self) -> Result<(), SpoolError> {
        let away = self.path.join(format!("cursor.damaged-{:08x}", fastrand::u32(..)));
        rename(&self.cursor(), &away).map_err(|error| io_error("rename", &self.cursor(), error))
    }

    /// How many bytes the whole spool directory takes on disk.
    pub(super) fn root_bytes(&self) -> u64 {
        walk(self.root())
    }
}

/// Where a queue was last sent to, if that is known.
pub(super) fn endpoint_of(queue: &Path) -> Option<String> {
    fs::read_to_string(queue.join(ENDPOINT)).ok()?.strip_suffix('\n').map(str::to_owned)
}

fn accepted_file(segment: &Path) -> PathBuf {
    segment.join("accepted")
}

/// How many frames of a segment may be read: all, unless it was abandoned.
pub(super) fn accepted(segment: &Path) -> u64 {
    let text = fs::read_to_string(accepted_file(segment)).unwrap_or_default();
    text.strip_suffix('\n').and_then(|frames| frames.parse().ok()).unwrap_or(u64::MAX)
}

/// Lists a directory, or fails: a file that is not listed would be taken for gone.
pub(super) fn list(dir: &Path) -> Result<Vec<fs::DirEntry>, SpoolError> {
    fs::read_dir(dir).and_then(Iterator::collect).map_err(|error| io_error("list", dir, error))
}

/// How many bytes the files below a directory take on disk.
pub(super) fn walk(dir: &Path) -> u64 {
    let Ok(list) = fs::read_dir(dir) else { return 0 };
    list.flatten()
        .map(|found| match found.metadata() {
            Ok(meta) if meta.is_dir() => walk(&found.path()),
            Ok(meta) => allocated(&meta),
            Err(_) => 0,
        })
        .sum()
}

#[cfg(unix)]
fn allocated(meta: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(meta) * 512
}

#[cfg(not(unix))]
fn allocated(meta: &fs::Metadata) -> u64 {
    meta.len()
}

/// The ids of the queues that are there, ascending. What an earlier deletion left over is removed.
fn list_queues(root: &Path) -> Result<Vec<u64>, SpoolError> {
    let mut ids = Vec::new();
    for found in list(root)? {
        let name = found.file_name();
        let name = name.to_string_lossy();
        if let Some(id) = parse_queue(&name) {
            ids.push(id);
        } else if name.strip_suffix(".dead").and_then(parse_queue).is_some() {
            // Another process may be at it as well.
            let _ = fs::remove_dir_all(found.path());
        }
    }
    ids.sort_unstable();
    Ok(ids)
}

pub(super) fn parse_queue(name: &str) -> Option<u64> {
    (name.len() == 16).then(|| u64::from_str_radix(name, 16).ok()).flatten()
}

fn check_format(root: &Path) -> Result<(), SpoolError> {
    if has_format(root)? { Ok(()) } else { write_format(root, &root.join("format")) }
}

/// Whether there is a format file; an error if it is of a format that this version does not read.
pub(super) fn has_format(root: &Path) -> Result<bool, SpoolError> {
    let path = root.join("format");
    let text = match fs::read(&path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes[..bytes.len().min(64)]).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(io_error("read", &path, error)),
    };
    let found = text.strip_prefix(FORMAT_NAME).and_then(|version| version.trim().parse::<u32>().ok());
    match found {
        None => Err(SpoolError::NotASpool { path: root.to_owned(), found: text }),
        Some(found) if found > FORMAT => {
            Err(SpoolError::NewerFormat { path: root.to_owned(), found, supported: FORMAT })
        }
        Some(found) if found < FORMAT => Err(SpoolError::OlderFormat { path: root.to_owned(), found }),
        Some(_) => Ok(true),
    }
}

/// Renamed into place, so that another process sees the whole file or none.
fn write_format(root: &Path, path: &Path) -> Result<(), SpoolError> {
    let new = root.join(format!("format.{:08x}", fastrand::u32(..)));
    private_file(&new)
        .and_then(|mut file| {
            writeln!(file, "{FORMAT_NAME} {FORMAT}")?;
            file.sync_all()
        })
        .and_then(|()| rename(&new, path))
        .map_err(|error| io_error("write", path, error))?;
    sync_dir(root)
}
