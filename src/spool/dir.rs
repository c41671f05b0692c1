//! [`QueueDir`]: the layout of a spool directory, and who owns what in it. It makes, renames and deletes files.
//!
//! ```text
//! spool/
//!   format                      "opentelemetry-spool 8"
//!   5b8d3f0e61c2a794.logs.04f2a91bc37de580/
//!                               a queue of a signal for an origin: one exporter's, whoever holds its locks; deleted when it is empty
//!     lock
//!     endpoint                  the URL that it was last sent to, without a password: for who drains it when its owner is gone
//!     status                    what its owner tells others of it
//!     ballast                   nothing: given back on a full disk
//!     6c0f2b9d41e7a583.0.journal, 6c0f2b9d41e7a583.1.journal
//!                               records that were logged and are in no segment yet
//!     0000000012-3f9c1b2a77d0e4c1.segment/
//!                               a database: entries; `cursor`: what is delivered; `seal`: what should be in it; `purged`: what
//!                               was taken out of it; `accepted` in one that was abandoned: how many of them count
//!     0000000011-90e1f3a2c4b5d687.dead/
//!                               delivered, being deleted
//!   quarantine/                 segments that were damaged
//!   rejected/                   records that were rejected, a file each
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::{fmt, io};

use super::bytes::index;
use super::fault::is_damage;
use super::files::{
    create, create_in, ensure_in, io_error, is_in_use, private, read_at_most, remove_dir, remove_empty_dir,
    remove_file, remove_if_there, rename, replace, sync_dir, write, write_synced,
};
use super::lock::{Lock, Rank};
use super::origin::OriginTag;
use super::position::{SegmentId, parse_hex};
use crate::config::values::Signal;
use crate::error::SpoolError;
use crate::process::unique_number;

/// The number of times that an exporter waits at its start for others who read the queues.
const WAITS_FOR_READERS: u32 = 10;

/// The format that this version writes, and the newest that it reads.
pub(crate) const FORMAT: u32 = 8;
const FORMAT_NAME: &str = "opentelemetry-spool";

const SEGMENT_SUFFIX: &str = ".segment";
const LOCK: &str = "lock";
const ENDPOINT: &str = "endpoint";
const STATUS: &str = "status";
const BALLAST: &str = "ballast";
/// More than it takes to note where batches end, also where the file system copies on write.
const BALLAST_BYTES: u32 = 1 << 20;
const JOURNAL_SUFFIX: &str = ".journal";
/// That of a file that a purge writes, before it is renamed into the place of another one.
const NEW_JOURNAL_SUFFIX: &str = ".journal.new";
/// Says in a segment that could not be renamed that it is being deleted.
const DEAD: &str = "dead";
pub(super) const QUARANTINE: &str = "quarantine";

/// The directory of records that were rejected.
pub(super) const REJECTED: &str = "rejected";

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

/// The identity of a spool's directory in a process: the same under whatever path it is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place(#[cfg(unix)] (u64, u64), #[cfg(not(unix))] PathBuf);

impl Place {
    /// That of a directory that is there.
    pub(super) fn of(root: &Path) -> Result<Self, SpoolError> {
        #[cfg(unix)]
        let place = fs::metadata(root).map(|meta| identity(&meta));
        #[cfg(not(unix))]
        let place = fs::canonicalize(root);
        place.map(Self).map_err(|error| io_error("find", root, error))
    }
}

/// The device and the number of a file: no other has both.
#[cfg(unix)]
fn identity(meta: &fs::Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt as _;
    (meta.dev(), meta.ino())
}

/// A queue's directory, owned through its locks for as long as this lives.
///
/// There are two: on the directory itself, which vanishes only with the queue, and on the file `lock` in it, for systems that
/// lock no directory. Whoever has both has the queue; a `lock` file that is not there is nobody's.
#[derive(Debug)]
pub(super) struct QueueDir {
    pub(super) path: PathBuf,
    pub(super) name: QueueName,
    /// `None` where the system locks no directory.
    dir_lock: Option<File>,
    /// `None` for a reader where there is none and none can be made.
    lock: Lock<Option<File>>,
}

impl Drop for QueueDir {
    fn drop(&mut self) {
        self.unlock();
    }
}

/// The way in which a queue is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// By its owner.
    Exclusive,
    /// By those who read it, together. They make no file.
    Shared,
}

impl Access {
    fn try_lock(self, file: &File) -> Result<(), TryLockError> {
        match self {
            Self::Exclusive => file.try_lock(),
            Self::Shared => file.try_lock_shared(),
        }
    }

    /// Opens the file `lock`, if there is one for who has this access.
    fn open(self, path: &Path) -> io::Result<Option<File>> {
        let may_create = self == Self::Exclusive;
        match private(OpenOptions::new().create(may_create).truncate(false).write(true)).open(path) {
            // A descriptor that is open for reading can be locked as well.
            Err(_) if !may_create => match File::open(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                opened => opened.map(Some),
            },
            opened => opened.map(Some),
        }
    }
}

impl QueueDir {
    /// Makes a new queue of a signal, for an origin.
    pub(super) fn create(root: &Path, signal: Signal, origin: Option<OriginTag>) -> Result<Self, SpoolError> {
        loop {
            // Another process can lock the new directory first; then it is that process's.
            let name = QueueName { id: unique_number(), signal, origin };
            create_in(&name.path(root))?;
            if let Some(queue) = Self::try_lock(root, name, Access::Exclusive)? {
                // A lock file that a power cut takes is nobody's.
                sync_dir(root)?;
                return Ok(queue);
            }
        }
    }

    /// Takes one of these queues that nobody owns and that has anything in it, and opens it, if there is one: the first behind
    /// `after`, or else the first of all. Never waits for another owner. One that fails does not keep others from being taken.
    pub(super) fn adopt<T>(
        root: &Path,
        is_wanted: impl Fn(QueueName) -> bool,
        after: Option<u64>,
        open: impl Fn(Self) -> Result<T, SpoolError>,
    ) -> Result<Option<T>, SpoolError> {
        let mut failed = None;
        let mut names = list_queues(root)?;
        names.retain(|name| is_wanted(*name));
        let behind = names.partition_point(|name| after.is_some_and(|after| name.id <= after));
        names.rotate_left(behind);
        for name in names {
            let opened = Self::take(root, name).and_then(|queue| queue.map(&open).transpose());
            match opened {
                Ok(None) => {}
                Ok(opened) => return Ok(opened),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(None), Err)
    }

    /// As [`adopt`](Self::adopt), from the first on, but waits a little for whoever reads one of them: that takes a moment, in which
    /// nobody owns it and nobody can take it.
    pub(super) fn adopt_past_readers<T>(
        root: &Path,
        is_wanted: impl Fn(QueueName) -> bool,
        open: impl Fn(Self) -> Result<T, SpoolError>,
        wait: impl Fn(),
    ) -> Result<Option<T>, SpoolError> {
        for _ in 0..WAITS_FOR_READERS {
            let adopted = Self::adopt(root, &is_wanted, None, &open)?;
            if adopted.is_some() || !list_queues(root)?.into_iter().any(|name| is_wanted(name) && is_read(root, name)) {
                return Ok(adopted);
            }
            wait();
        }
        Self::adopt(root, is_wanted, None, open)
    }

    /// `None` if it is someone else's or empty.
    pub(super) fn take(root: &Path, name: QueueName) -> Result<Option<Self>, SpoolError> {
        let Some(queue) = Self::try_lock(root, name, Access::Exclusive)? else { return Ok(None) };
        if !queue.is_empty()? {
            return Ok(Some(queue));
        }
        // Should that fail, it is left behind.
        let _ = queue.remove();
        Ok(None)
    }

    /// Locks a queue for who only reads, together with others who do; `None` if it is someone else's or was removed meanwhile.
    pub(super) fn try_lock_shared(root: &Path, name: QueueName) -> Result<Option<Self>, SpoolError> {
        Self::try_lock(root, name, Access::Shared)
    }

    /// Makes a shared lock one's own; false if others have it as well.
    #[cfg(feature = "cli")]
    pub(super) fn make_exclusive(&self) -> bool {
        let lock = self.lock.lock();
        if cfg!(windows) {
            // There a lock does not turn into another one, not even into the same.
            let _ = lock.as_ref().map(File::unlock);
        }
        let locks = || self.dir_lock.iter().chain(&*lock);
        let exclusive = locks().all(|lock| lock.try_lock().is_ok());
        if !exclusive {
            // The attempt may have given up the one that was there.
            locks().for_each(|lock| drop(lock.try_lock_shared()));
        }
        exclusive
    }

    /// Gives up the queue.
    fn unlock(&self) {
        // Or a process that was forked would keep it.
        for lock in self.lock.lock().take().iter().chain(&self.dir_lock) {
            let _ = lock.unlock();
        }
    }

    /// Locks a queue's directory; `None` if it is someone else's or was removed meanwhile.
    fn try_lock(root: &Path, name: QueueName, access: Access) -> Result<Option<Self>, SpoolError> {
        let path = name.path(root);
        let dir_lock = match lock_dir(&path, access) {
            Ok(DirLock::Locked(lock)) => Some(lock),
            Ok(DirLock::Unsupported) => None,
            Ok(DirLock::Busy) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("open", &path, error)),
        };
        let lock_path = path.join(LOCK);
        let lock = match access.open(&lock_path) {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !path.exists() => return Ok(None),
            Err(error) => return Err(io_error("open", &lock_path, error)),
        };
        match lock.as_ref().map_or(Ok(()), |lock| access.try_lock(lock)) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(io_error("lock", &lock_path, error)),
        }
        // Its owner may have removed it before giving up the locks.
        let is_there = lock.is_none() || lock_path.exists();
        Ok(is_there.then(|| Self { path, name, dir_lock, lock: Lock::new(Rank::QueueLock, lock) }))
    }

    /// Makes the file `lock` again if somebody has deleted it. The lock on the directory has kept the queue meanwhile.
    pub(super) fn keep_lock(&self) -> Result<(), SpoolError> {
        let path = self.path.join(LOCK);
        if self.dir_lock.is_none() || path.exists() {
            return Ok(());
        }
        self.check_in_place()?;
        let lock = Access::Exclusive.open(&path).map_err(|error| io_error("open", &path, error))?;
        // Nobody else has it: the lock on the directory comes first.
        let _ = lock.as_ref().map(File::try_lock);
        *self.lock.lock() = lock;
        Ok(())
    }

    /// Whether no segment is left, and no record of a journal.
    pub(super) fn is_empty(&self) -> Result<bool, SpoolError> {
        Ok(self.segments()?.is_empty() && !self.has_journal()?)
    }

    /// The files of journals that are there, whoever writes them.
    pub(super) fn journals(&self) -> Result<Vec<PathBuf>, SpoolError> {
        journals_in(&self.path)
    }

    /// Whether a journal has records.
    pub(super) fn has_journal(&self) -> Result<bool, SpoolError> {
        Ok(self.journals()?.iter().any(|path| has_records(path)))
    }

    /// Deletes a queue, with all that is the spool's. Whoever finds it without segments before that is done does the rest; what
    /// somebody else has put there stays.
    pub(super) fn remove(&self) -> Result<(), SpoolError> {
        self.check_in_place()?;
        for segment in self.segments()? {
            self.remove_segment(segment)?;
        }
        if cfg!(windows) {
            // What is open cannot be deleted there.
            self.unlock();
        }
        let journals = self.journals()?.into_iter();
        for path in journals
            .chain([ENDPOINT, "endpoint.new", STATUS, "status.new", BALLAST, LOCK].map(|name| self.path.join(name)))
        {
            remove_if_there(&path)?;
        }
        match remove_empty_dir(&self.path) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => Ok(()),
            removed => removed.map_err(|error| io_error("remove", &self.path, error)),
        }
    }

    /// An error if another directory, or none, has the place of the one that is locked: it was moved or deleted, or something is
    /// mounted above it. What is done there would be done to what is not one's own.
    pub(super) fn check_in_place(&self) -> Result<(), SpoolError> {
        #[cfg(unix)]
        if let Some(locked) = &self.dir_lock {
            let identity = |meta: fs::Metadata| identity(&meta);
            let here = fs::metadata(&self.path).map(identity);
            let is_same = here.as_ref().is_ok_and(|here| locked.metadata().map(identity).is_ok_and(|own| own == *here));
            if !is_same {
                let reason = "another directory, or none, is in its place";
                return Err(io_error("find", &self.path, io::Error::new(io::ErrorKind::NotFound, reason)));
            }
        }
        Ok(())
    }

    pub(super) fn segment(&self, id: SegmentId) -> PathBuf {
        segment_path(&self.path, id)
    }

    fn dead(&self, id: SegmentId) -> PathBuf {
        self.segment(id).with_extension(DEAD)
    }

    /// The segments that are there, ascending, before any is made. What an earlier deletion left over is removed.
    pub(super) fn segments(&self) -> Result<Vec<SegmentId>, SpoolError> {
        let mut segments = Vec::new();
        for found in list(&self.path)? {
            let (name, path) = (found.file_name(), found.path());
            let name = name.to_string_lossy();
            if let Some(remainder) = Remainder::of(&name, &path) {
                // One that cannot be removed hinders nobody.
                let _ = remainder.remove(&path);
            } else {
                segments.extend(parse_segment(&name));
            }
        }
        segments.sort_unstable();
        Ok(segments)
    }

    /// Deletes a segment.
    pub(super) fn remove_segment(&self, id: SegmentId) -> Result<(), SpoolError> {
        self.retire(id)?;
        self.delete_retired(id)
    }

    /// Marks a segment that is to be deleted, so that half of one is never taken for a segment: by its name, or where a
    /// directory cannot be renamed (a lower layer of overlayfs), by a file in it. On a disk that takes neither, the order in
    /// which its files are deleted has to do.
    pub(super) fn retire(&self, id: SegmentId) -> Result<(), SpoolError> {
        let path = self.segment(id);
        match rename(&path, &self.dead(id)) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => {
                let error = io_error("rename", &path, error);
                match write(&path.join(DEAD), &[]) {
                    Ok(_) => sync_dir(&path),
                    Err(_) if error.is_full() => Ok(()),
                    Err(_) => Err(error),
                }
            }
        }
    }

    pub(super) fn delete_retired(&self, id: SegmentId) -> Result<(), SpoolError> {
        sync_dir(&self.path)?;
        let (segment, dead) = (self.segment(id), self.dead(id));
        if segment.exists() {
            return remove_in_place(&segment).map_err(|error| io_error("remove", &segment, error));
        }
        match remove_dir(&dead) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("remove", &dead, error)),
            _ => Ok(()),
        }
    }

    /// Takes some of the disk, to be given back when there is no other space left to note where batches end.
    pub(super) fn take_ballast(&self) {
        let path = self.path.join(BALLAST);
        if path.exists() || self.is_nearly_full() {
            return;
        }
        let zeros = vec![0; index(BALLAST_BYTES.into())];
        if write(&path, &zeros).is_err() {
            let _ = remove_file(&path);
        }
    }

    /// Whether the disk has so little room left that what can be done without is not written.
    fn is_nearly_full(&self) -> bool {
        fs2::available_space(&self.path).is_ok_and(|free| free < 4 * u64::from(BALLAST_BYTES))
    }

    /// Whether there was any ballast to give back.
    pub(super) fn give_ballast(&self) -> bool {
        remove_file(&self.path.join(BALLAST)).is_ok()
    }

    /// Moves a damaged segment to where a person looks at it; the oldest of those make room, so that they have at most
    /// `max_bytes` together.
    pub(super) fn quarantine(&self, id: SegmentId, max_bytes: u64) -> Result<(), SpoolError> {
        let quarantine = self.root().join(QUARANTINE);
        ensure_in(&quarantine)?;
        let (from, to) = (self.segment(id), quarantine.join(format!("{}.{id}", self.name)));
        // A copy of the spool may have brought it here before.
        let _ = remove_dir(&to);
        match rename(&from, &to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error("rename", &from, error)),
            _ => {}
        }
        sync_dir(&quarantine)?;
        sync_dir(&self.path)?;
        // It is there now; that others cannot be deleted does not change that.
        while self.quarantined_bytes() > max_bytes && self.drop_quarantined().unwrap_or(false) {}
        Ok(())
    }

    /// The segments in quarantine of some queues.
    pub(super) fn quarantined(&self, is_wanted: impl Fn(QueueName) -> bool) -> Vec<(PathBuf, SegmentId)> {
        let found = fs::read_dir(self.root().join(QUARANTINE)).into_iter().flatten().flatten();
        let named =
            found.filter_map(|found| Some((found.path(), parse_quarantined(&found.file_name().to_string_lossy())?)));
        named.filter(|(_, (queue, _))| is_wanted(*queue)).map(|(path, (_, id))| (path, id)).collect()
    }

    /// What lies in quarantine but for the segments of other signals: of whatever name, since nobody else deletes it.
    fn in_quarantine(&self) -> impl Iterator<Item = PathBuf> {
        let found = fs::read_dir(self.root().join(QUARANTINE)).into_iter().flatten().flatten();
        let own = found.filter(|found| !self.is_of_another_signal(&found.file_name().to_string_lossy()));
        own.map(|found| found.path())
    }

    /// Whether a queue, or a segment in quarantine, is called as one of another signal, also of one that this version does not know.
    fn is_of_another_signal(&self, name: &str) -> bool {
        if let Some((queue, _)) = parse_quarantined(name) {
            return queue.signal != self.name.signal;
        }
        let mut parts = name.split('.');
        let is_queue = parts.next().and_then(parse_hex).is_some();
        is_queue && parts.next().is_some_and(|signal| signal != self.name.signal.name())
    }

    fn quarantined_bytes(&self) -> u64 {
        let bytes =
            |path: PathBuf| if path.is_dir() { walk(&path) } else { fs::metadata(&path).map(|meta| allocated(&meta)) };
        self.in_quarantine().map(|path| bytes(path).unwrap_or_default()).sum()
    }

    /// Makes a segment in quarantine one of this queue's: its id is like no other, wherever it was.
    pub(super) fn take_back(&self, quarantined: &Path, id: SegmentId) -> io::Result<()> {
        rename(quarantined, &self.segment(id))
    }

    /// Deletes the oldest of what lies in quarantine, but for other signals.
    pub(super) fn drop_quarantined(&self) -> Result<bool, SpoolError> {
        let modified = |path: &PathBuf| fs::metadata(path).and_then(|meta| meta.modified()).ok();
        let Some(path) = self.in_quarantine().min_by_key(modified) else { return Ok(false) };
        let removed = if path.is_dir() { remove_dir(&path) } else { remove_file(&path) };
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
    /// elsewhere, so it must not be found here as well.
    pub(super) fn put_accepted(&self, id: SegmentId, frames: u64) -> Result<(), SpoolError> {
        let path = accepted_file(&self.segment(id));
        write_synced(&path, format!("{frames}\n").as_bytes()).map_err(|error| io_error("write", &path, error))?;
        sync_dir(&self.segment(id))
    }

    /// See [`accepted`].
    pub(super) fn accepted(&self, id: SegmentId) -> u64 {
        accepted(&self.segment(id))
    }

    /// Notes where the queue is sent to. It is of use to a person only: what cannot be written is left.
    pub(super) fn put_endpoint(&self, endpoint: &str) {
        if endpoint_of(&self.path).as_deref() == Some(endpoint) {
            return;
        }
        let path = self.path.join(ENDPOINT);
        let new = path.with_extension("new");
        let written = write(&new, format!("{endpoint}\n").as_bytes());
        if written.and_then(|_| rename(&new, &path)).is_err() {
            let _ = remove_file(&new);
        }
    }

    /// Replaces what the owner tells others of the queue. It is not synced, waits for nobody, and takes none of the last room.
    pub(super) fn put_status(&self, status: &[u8]) {
        let path = self.path.join(STATUS);
        let new = path.with_extension("new");
        if !self.is_nearly_full() && write(&new, status).and_then(|_| replace(&new, &path)).is_err() {
            let _ = fs::remove_file(&new);
        }
    }

    /// Makes it a queue for another origin, and gives it up.
    #[cfg(feature = "cli")]
    pub(super) fn assign(self, origin: OriginTag, endpoint: &str) -> Result<(), SpoolError> {
        self.check_in_place()?;
        // It is of use to a person only: until the rename, the name says whom the records are for.
        self.put_endpoint(endpoint);
        if cfg!(windows) {
            // What is open cannot be renamed there.
            self.unlock();
        }
        let to = QueueName { origin: Some(origin), ..self.name }.path(self.root());
        rename(&self.path, &to).map_err(|error| io_error("rename", &self.path, error))?;
        sync_dir(self.root())
    }

    /// How many bytes the whole spool directory takes on disk. An error where that cannot be known: nothing is not zero.
    pub(super) fn root_bytes(&self) -> Result<u64, SpoolError> {
        walk(self.root()).map_err(|error| io_error("measure", self.root(), error))
    }

    /// The same without the queues of other signals, and what is rejected and in quarantine of them: they have limits of
    /// their own.
    pub(super) fn limited_bytes(&self) -> Result<u64, SpoolError> {
        let own = self.name.signal.name();
        let (quarantine, rejected) = (self.root().join(QUARANTINE), self.root().join(REJECTED));
        // In one walk: what comes meanwhile of another signal is not taken for this one's.
        let is_counted = |dir: &Path, name: &str| {
            if dir == rejected {
                ["", own].contains(&rejected_name(name).1)
            } else {
                (dir != self.root() && dir != quarantine) || !self.is_of_another_signal(name)
            }
        };
        walk_where(self.root(), &is_counted).map_err(|error| io_error("measure", self.root(), error))
    }

    /// How much a segment takes. What cannot be measured counts as nothing.
    pub(super) fn segment_bytes(&self, segment: SegmentId) -> u64 {
        walk(&self.segment(segment)).unwrap_or(0)
    }
}

/// The batch and the signal in the name of a file of rejected records: empty where it names none.
pub(super) fn rejected_name(name: &str) -> (&str, &str) {
    let stem = name.strip_suffix(".json").or(name.strip_suffix(".new")).unwrap_or(name);
    match stem.rsplit_once('.') {
        Some((batch_id, signal)) if signal.starts_with(|first: char| first.is_ascii_lowercase()) => (batch_id, signal),
        _ => (stem, ""),
    }
}

/// Where a queue was last sent to, if that is known.
pub(super) fn endpoint_of(queue: &Path) -> Option<String> {
    let text = String::from_utf8(read_at_most(&queue.join(ENDPOINT), 64 << 10).ok()?).ok()?;
    text.strip_suffix('\n').map(str::to_owned)
}

/// What the owner of a queue has told others of it, at most so many bytes.
#[cfg(feature = "cli")]
pub(super) fn status_in(queue: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    read_at_most(&queue.join(STATUS), max_bytes)
}

/// Deletes what the owner of a queue has told others of it.
#[cfg(feature = "cli")]
pub(super) fn remove_status(queue: &Path) -> Result<(), SpoolError> {
    [STATUS, "status.new"].into_iter().try_for_each(|name| remove_if_there(&queue.join(name)))
}

/// The files of journals in a queue.
pub(super) fn journals_in(queue: &Path) -> Result<Vec<PathBuf>, SpoolError> {
    let is_journal = |found: &fs::DirEntry| found.file_name().to_string_lossy().ends_with(JOURNAL_SUFFIX);
    Ok(list(queue)?.into_iter().filter(is_journal).map(|found| found.path()).collect())
}

/// The names of what deletions and purges have left in a queue that were killed.
#[cfg(feature = "cli")]
pub(super) fn remainders_in(queue: &Path) -> Result<Vec<String>, SpoolError> {
    let name = |found: fs::DirEntry| {
        let name = found.file_name().to_string_lossy().into_owned();
        Remainder::of(&name, &found.path()).map(|_| name)
    };
    Ok(list(queue)?.into_iter().filter_map(name).collect())
}

/// The segments that are in a queue now, while others may be made and deleted.
pub(super) fn segments_in(queue: &Path) -> Result<Vec<(SegmentId, PathBuf)>, SpoolError> {
    let found = list(queue)?.into_iter();
    let named = found.filter_map(|found| Some((parse_segment(&found.file_name().to_string_lossy())?, found.path())));
    Ok(named.filter(|(_, path)| !is_dead(path)).collect())
}

/// Whether a file of a journal has records. One that cannot be read counts.
pub(super) fn has_records(journal: &Path) -> bool {
    match read_at_most(journal, 1) {
        // That of one without begins with zeros.
        Ok(first) => first.first().is_some_and(|first| *first != 0),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

/// One of the two files of a journal.
pub(super) fn journal_path(queue: &Path, id: u64, which: usize) -> PathBuf {
    queue.join(format!("{id:016x}.{which}{JOURNAL_SUFFIX}"))
}

fn accepted_file(segment: &Path) -> PathBuf {
    segment.join("accepted")
}

/// How many frames of a segment may be read: all, unless it was abandoned.
pub(super) fn accepted(segment: &Path) -> u64 {
    let bytes = read_at_most(&accepted_file(segment), 64).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    text.strip_suffix('\n').and_then(|frames| frames.parse().ok()).unwrap_or(u64::MAX)
}

/// Lists a directory, or fails: a file that is not listed would be taken for gone.
pub(super) fn list(dir: &Path) -> Result<Vec<fs::DirEntry>, SpoolError> {
    fs::read_dir(dir).and_then(Iterator::collect).map_err(|error| io_error("list", dir, error))
}

/// How many bytes the files below a directory take on disk. What is deleted meanwhile takes none; what somebody else keeps
/// there to himself, such as `lost+found`, and what is damaged cannot be counted.
pub(super) fn walk(dir: &Path) -> io::Result<u64> {
    walk_where(dir, &|_, _| true)
}

/// The same without those of which it is said so, by the directory and the name in it.
fn walk_where(dir: &Path, is_counted: &dyn Fn(&Path, &str) -> bool) -> io::Result<u64> {
    let mut bytes = 0;
    for found in fs::read_dir(dir)? {
        let found = found?;
        if !is_counted(dir, &found.file_name().to_string_lossy()) {
            continue;
        }
        bytes += match bytes_of(&found, is_counted) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => 0,
            // A directory that is just being deleted is called so by wine; elsewhere it is an error like others.
            Err(error) if cfg!(windows) && error.kind() == io::ErrorKind::InvalidFilename => 0,
            Err(error) if is_damage(&error) || is_in_use(&error) => 0,
            below => below?,
        };
    }
    Ok(bytes)
}

/// How many bytes a file, or the files below a directory, take on disk.
fn bytes_of(found: &fs::DirEntry, is_counted: &dyn Fn(&Path, &str) -> bool) -> io::Result<u64> {
    let meta = found.metadata()?;
    if meta.is_dir() { walk_where(&found.path(), is_counted) } else { Ok(allocated(&meta)) }
}

#[cfg(unix)]
fn allocated(meta: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(meta) * 512
}

#[cfg(not(unix))]
fn allocated(meta: &fs::Metadata) -> u64 {
    meta.len()
}

/// The name of a queue: what its directory is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct QueueName {
    pub(super) id: u64,
    pub(super) signal: Signal,
    /// Whom its records are for. Without it, that is not known.
    pub(super) origin: Option<OriginTag>,
}

impl QueueName {
    /// The name that a directory has. One of a signal that this version does not know is left alone.
    fn parse(name: &str) -> Option<Self> {
        let (id, rest) = name.split_once('.')?;
        let (signal, origin) = match rest.split_once('.') {
            Some((signal, origin)) => (signal, Some(OriginTag::parse(origin)?)),
            None => (rest, None),
        };
        Some(Self { id: parse_hex(id)?, signal: Signal::parse(signal)?, origin })
    }

    pub(super) fn path(self, root: &Path) -> PathBuf {
        root.join(self.to_string())
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}.{}", self.id, self.signal)?;
        self.origin.map_or(Ok(()), |origin| write!(f, ".{origin}"))
    }
}

/// The queues that are there, by their ids.
pub(super) fn list_queues(root: &Path) -> Result<Vec<QueueName>, SpoolError> {
    let found = list(root)?.into_iter().map(|found| found.file_name());
    let mut names: Vec<_> = found.filter_map(|name| QueueName::parse(&name.to_string_lossy())).collect();
    names.sort_unstable();
    Ok(names)
}

/// The id and the signal in the name of a queue whose signal this version does not know.
#[cfg(feature = "cli")]
pub(super) fn parse_unknown_queue(name: &str) -> Option<(u64, &str)> {
    let (id, rest) = name.split_once('.')?;
    let signal = match rest.split_once('.') {
        Some((signal, origin)) => OriginTag::parse(origin).map(|_| signal)?,
        None => rest,
    };
    let is_word = !signal.is_empty() && signal.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    Some((parse_hex(id)?, signal)).filter(|_| is_word && Signal::parse(signal).is_none())
}

/// The queue and the segment that a name in the quarantine spells. One without a signal is of logs.
pub(super) fn parse_quarantined(name: &str) -> Option<(QueueName, SegmentId)> {
    let (queue, segment) = name.rsplit_once('.')?;
    let of_logs = || Some(QueueName { id: parse_hex(queue)?, signal: Signal::Logs, origin: None });
    Some((QueueName::parse(queue).or_else(of_logs)?, SegmentId::parse(segment)?))
}

/// The hash of an endpoint in the name of a queue, or of a segment in quarantine.
#[cfg(feature = "cli")]
pub(crate) fn origin_in(name: &str) -> Option<String> {
    let queue = parse_quarantined(name).map(|(queue, _)| queue).or_else(|| QueueName::parse(name))?;
    queue.origin.map(|origin| origin.to_string())
}

/// The id that the name of a segment's directory spells.
pub(super) fn parse_segment(name: &str) -> Option<SegmentId> {
    SegmentId::parse(name.strip_suffix(SEGMENT_SUFFIX)?)
}

pub(super) fn segment_path(queue: &Path, id: SegmentId) -> PathBuf {
    queue.join(format!("{id}{SEGMENT_SUFFIX}"))
}

/// The outcome of locking a queue's directory.
enum DirLock {
    Locked(File),
    /// The system locks no directory.
    Unsupported,
    /// Somebody else has.
    Busy,
}

fn lock_dir(path: &Path, access: Access) -> io::Result<DirLock> {
    if !cfg!(unix) {
        return path.metadata().map(|_| DirLock::Unsupported);
    }
    let dir = File::open(path)?;
    match access.try_lock(&dir) {
        Ok(()) => Ok(DirLock::Locked(dir)),
        Err(TryLockError::WouldBlock) => Ok(DirLock::Busy),
        // Network file systems lock only what is open for writing.
        Err(TryLockError::Error(error)) if locks_no_directory(&error) => Ok(DirLock::Unsupported),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether nobody owns a queue, and somebody reads it.
fn is_read(root: &Path, name: QueueName) -> bool {
    let is_free = |access| matches!(QueueDir::try_lock(root, name, access), Ok(Some(_)));
    !is_free(Access::Exclusive) && is_free(Access::Shared)
}

/// Whether an error says that the system locks files only.
fn locks_no_directory(error: &io::Error) -> bool {
    const EBADF: i32 = 9;
    matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput)
        || error.raw_os_error() == Some(EBADF)
}

/// What somebody who was killed has left in a queue.
#[derive(Clone, Copy, Debug)]
enum Remainder {
    /// A segment that is being deleted under its name.
    Dead,
    /// One that was being made or deleted under another.
    Segment,
    /// A journal that was written anew.
    Journal,
}

impl Remainder {
    fn of(name: &str, path: &Path) -> Option<Self> {
        if parse_segment(name).is_some() {
            return is_dead(path).then_some(Self::Dead);
        }
        let is_journal = name.ends_with(NEW_JOURNAL_SUFFIX).then_some(Self::Journal);
        if is_left_over(name) { Some(Self::Segment) } else { is_journal }
    }

    fn remove(self, path: &Path) -> io::Result<()> {
        match self {
            Self::Dead => remove_in_place(path),
            Self::Segment => remove_dir(path),
            Self::Journal => remove_file(path),
        }
    }
}

/// Whether a name is that of a segment that was being made or deleted.
fn is_left_over(name: &str) -> bool {
    let stem = name.strip_suffix(".dead").or_else(|| name.strip_suffix(".new"));
    stem.and_then(SegmentId::parse).is_some()
}

/// Whether a segment is being deleted under its name.
pub(super) fn is_dead(segment: &Path) -> bool {
    segment.join(DEAD).exists()
}

/// Deletes a segment under its name, the mark that it is dead at last. Without its seal it is one of which nobody knows what should
/// be in it, and without its database, too, nothing is.
fn remove_in_place(dir: &Path) -> io::Result<()> {
    for first in ["seal", "db"] {
        match remove_file(&dir.join(first)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    for found in fs::read_dir(dir)? {
        let found = found?;
        let path = found.path();
        if found.file_name() == DEAD {
            continue;
        }
        if found.file_type()?.is_dir() { remove_dir(&path)? } else { remove_file(&path)? }
    }
    remove_dir(dir)
}

fn check_format(root: &Path) -> Result<(), SpoolError> {
    if has_format(root)? { Ok(()) } else { write_format(root, &root.join("format")) }
}

/// Whether there is a format file; an error if it is of a format that this version does not read.
pub(super) fn has_format(root: &Path) -> Result<bool, SpoolError> {
    let path = root.join("format");
    let text = match read_at_most(&path, 64) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
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
    // A power cut may take the name until there is a queue; the file is written again then.
    write_synced(&new, format!("{FORMAT_NAME} {FORMAT}\n").as_bytes()).and_then(|()| rename(&new, path)).map_err(
        |error| {
            let _ = remove_file(&new);
            io_error("write", path, error)
        },
    )
}
