//! What the relays before this one stored of late, in a file of the spool's directory: `remembered-logs`, or of another signal. Each line
//! is the id of a request and its time.
//!
//! A request's id stands in the spool beside its records, which are deleted once they are delivered. A relay that is killed before its
//! client comes again would take what it knew of the one before with it.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::config::values::Signal;
use crate::spool::{LoadId, RecentLoad};

fn path(root: &Path, signal: Signal) -> PathBuf {
    root.join(format!("remembered-{}", signal.name()))
}

/// What was written, of which only what was stored since then counts. Without a file that can be read there is nothing.
pub(crate) fn read(root: &Path, signal: Signal, since: SystemTime) -> Vec<RecentLoad> {
    let text = fs::read_to_string(path(root, signal)).unwrap_or_default();
    let load = |line: &str| {
        let (id, millis) = line.split_once(' ')?;
        let id = LoadId::of_hash(u64::from_str_radix(id, 16).ok()?.to_le_bytes());
        let appended_at = UNIX_EPOCH.checked_add(Duration::from_millis(millis.parse().ok()?))?;
        (appended_at >= since).then_some(RecentLoad { id, appended_at })
    };
    text.lines().filter_map(load).collect()
}

/// Writes this in place of what was there.
///
/// # Errors
///
/// If the file cannot be written.
pub(crate) fn write(root: &Path, signal: Signal, loads: &[RecentLoad]) -> io::Result<()> {
    let path = path(root, signal);
    if loads.is_empty() {
        return match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
    }
    let mut text = String::new();
    for load in loads {
        let age = load.appended_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let _ = writeln!(text, "{:016x} {}", u64::from_le_bytes(load.id.to_bytes()), age.as_millis());
    }
    let new = path.with_extension(std::process::id().to_string());
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, &path)?;
    // Windows cannot sync a directory.
    if cfg!(unix) { File::open(root)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_as_long_as_it_is_recent() {
        let dir = tempfile::tempdir().unwrap();
        let load = |id: u8, seconds| RecentLoad {
            id: LoadId::of_hash([id; 8]),
            appended_at: UNIX_EPOCH + Duration::from_secs(seconds),
        };
        let since = UNIX_EPOCH + Duration::from_secs(100);
        assert_eq!(read(dir.path(), Signal::Logs, since), []);
        write(dir.path(), Signal::Logs, &[load(1, 99), load(2, 100), load(255, 101)]).unwrap();
        assert_eq!(read(dir.path(), Signal::Logs, since), [load(2, 100), load(255, 101)]);
        assert_eq!(read(dir.path(), Signal::Traces, since), []);
        fs::write(path(dir.path(), Signal::Logs), "\nnonsense\n0000000000000001\n\u{fffd} 1\n1 200000\n").unwrap();
        assert_eq!(read(dir.path(), Signal::Logs, since).len(), 1, "of what is damaged the rest counts");
        write(dir.path(), Signal::Logs, &[]).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        write(dir.path(), Signal::Logs, &[]).unwrap();
    }
}
