//! The calls to the file system that change something, each once. They touch what they are told to.
//!
//! The tests of power cuts note these calls (`tests/crash_model.rs`): whatever changes a file of a spool goes through here, or is
//! noted there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
#[cfg(test)]
use std::panic::Location;
use std::path::Path;
use std::time::{Duration, Instant};

#[cfg(test)]
use super::tests::crash_model::{Operation, note};
use crate::error::SpoolError;

/// How long Windows is asked again for what it refuses while somebody has a file open.
const IN_USE_PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn io_error(action: &'static str, path: &Path, source: io::Error) -> SpoolError {
    SpoolError::Io { action, path: path.to_owned(), source }
}

/// Makes a directory and those above it, for the owner alone. Each that is new survives a power cut: so is it, and the
/// directory that names it, synced.
pub(super) fn create(dir: &Path) -> Result<(), SpoolError> {
    let missing: Vec<_> = dir.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists()).collect();
    for new in missing.iter().rev() {
        create_in(new)?;
        sync_dir(above(new))?;
    }
    if missing.is_empty() { Ok(()) } else { sync_dir(dir) }
}

/// The directory that a path is in.
fn above(path: &Path) -> &Path {
    path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes a directory in one that is there. If that has vanished, another one in its place would be nobody's.
pub(super) fn create_in(dir: &Path) -> Result<(), SpoolError> {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "only Unix has modes"))]
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(io_error("create", dir, error)),
        created => {
            #[cfg(test)]
            if created.is_ok() {
                note(dir, || Operation::CreateDir);
            }
            let _ = created;
            Ok(())
        }
    }
}

/// Makes a directory in one that is there, so that it survives a power cut, if it is not there yet.
pub(super) fn ensure_in(dir: &Path) -> Result<(), SpoolError> {
    if dir.exists() {
        return Ok(());
    }
    create_in(dir)?;
    sync_dir(above(dir))
}

/// Has a file created for the owner alone.
pub(crate) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
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

/// Writes a file, for the owner alone; what is there is replaced.
pub(super) fn write(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let mut file = private(OpenOptions::new().write(true).create(true).truncate(true)).open(path)?;
    #[cfg(test)]
    note(path, || Operation::CreateFile);
    file.write_all(bytes)?;
    #[cfg(test)]
    note(path, || Operation::Write { offset: 0, bytes: bytes.to_vec() });
    Ok(file)
}

/// Does so, and syncs it.
#[track_caller]
pub(crate) fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    #[cfg(test)]
    let site = Location::caller();
    let file = write(path, bytes)?;
    file.sync_all()?;
    #[cfg(test)]
    note(path, || Operation::SyncFile(site));
    Ok(())
}

/// Makes what was written to a file survive a power cut.
#[track_caller]
pub(super) fn sync_data(file: &File, path: &Path) -> io::Result<()> {
    #[cfg(test)]
    let site = Location::caller();
    file.sync_data()?;
    #[cfg(test)]
    note(path, || Operation::SyncFile(site));
    #[cfg(not(test))]
    let _ = path;
    Ok(())
}

/// Makes what was created, renamed or removed in `dir` survive a power cut. Only Unix lets a directory be synced;
/// elsewhere the file system's own journal has to do.
#[track_caller]
pub(crate) fn sync_dir(dir: &Path) -> Result<(), SpoolError> {
    #[cfg(test)]
    let site = Location::caller();
    if cfg!(unix) {
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| io_error("sync", dir, error))?;
        #[cfg(test)]
        note(dir, || Operation::SyncDir(site));
    }
    Ok(())
}

/// Renames a file or a directory; a file takes the place of the one that is there.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    patiently(|| fs::rename(from, to))?;
    #[cfg(test)]
    note(from, || Operation::Rename { to: to.to_owned() });
    Ok(())
}

/// Renames a file over another one, and does not try again where somebody has that open.
pub(super) fn replace(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    #[cfg(test)]
    note(from, || Operation::Rename { to: to.to_owned() });
    Ok(())
}

/// Deletes a file, which may be gone already.
pub(super) fn remove_if_there(path: &Path) -> Result<(), SpoolError> {
    match remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("remove", path, error)),
        _ => Ok(()),
    }
}

pub(super) fn remove_file(path: &Path) -> io::Result<()> {
    patiently(|| fs::remove_file(path))?;
    #[cfg(test)]
    note(path, || Operation::Remove);
    Ok(())
}

/// Deletes a directory in which there is nothing.
pub(super) fn remove_empty_dir(path: &Path) -> io::Result<()> {
    patiently(|| fs::remove_dir(path))?;
    #[cfg(test)]
    note(path, || Operation::Remove);
    Ok(())
}

/// Deletes a directory with what is in it.
pub(super) fn remove_dir(path: &Path) -> io::Result<()> {
    patiently(|| fs::remove_dir_all(path))?;
    #[cfg(test)]
    note(path, || Operation::Remove);
    Ok(())
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
pub(super) fn is_in_use(error: &io::Error) -> bool {
    const ACCESS_DENIED: i32 = 5;
    const SHARING_VIOLATION: i32 = 32;
    const LOCK_VIOLATION: i32 = 33;
    const DIR_NOT_EMPTY: i32 = 145;
    cfg!(windows)
        && matches!(error.raw_os_error(), Some(ACCESS_DENIED | SHARING_VIOLATION | LOCK_VIOLATION | DIR_NOT_EMPTY))
}

/// Writes bytes at a place in a file.
pub(super) fn write_all_at(file: &File, path: &Path, bytes: &[u8], offset: u64) -> io::Result<()> {
    #[cfg(unix)]
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)?;
    #[cfg(windows)]
    {
        let mut written = 0;
        while written < bytes.len() {
            match std::os::windows::fs::FileExt::seek_write(file, &bytes[written..], offset + written as u64)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                len => written += len,
            }
        }
    }
    #[cfg(test)]
    note(path, || Operation::Write { offset, bytes: bytes.to_vec() });
    #[cfg(not(test))]
    let _ = path;
    Ok(())
}

/// Makes a file so long.
pub(super) fn set_len(file: &File, path: &Path, len: u64) -> io::Result<()> {
    file.set_len(len)?;
    #[cfg(test)]
    note(path, || Operation::SetLen(len));
    #[cfg(not(test))]
    let _ = path;
    Ok(())
}

/// Reads a file from its beginning, up to so many bytes, and nothing that is no file: a pipe would never end.
pub(super) fn read_at_most(path: &Path, bytes: u64) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
    }
    let mut read = Vec::new();
    File::open(path)?.take(bytes).read_to_end(&mut read)?;
    Ok(read)
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
