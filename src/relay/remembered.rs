//! What relays stored of late, in files of the spool's directory: `remembered-logs`, or of another signal, and what was that before it. Each
//! line is the id of a request and its time.
//!
//! A request's id stands in the spool beside its records, which are deleted once they are delivered. A relay that ends, or is killed, before
//! its client comes again would take what it knew with it. So the commit thread adds each id before the client is answered. That is not synced
//! until the relay ends: a power cut leaves what is in the spool.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::config::values::Signal;
use crate::relay::repeats::REMEMBERED;
use crate::spool::{LoadId, RecentLoad, files};

fn path(root: &Path, signal: Signal) -> PathBuf {
    root.join(format!("remembered-{}", signal.name()))
}

fn path_before(root: &Path, signal: Signal) -> PathBuf {
    path(root, signal).with_extension("before")
}

/// What was written, of which only what was stored since then counts. Without a file that can be read there is nothing.
pub(crate) fn read(root: &Path, signal: Signal, since: SystemTime) -> Vec<RecentLoad> {
    let text = |path: PathBuf| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
    let texts = [text(path_before(root, signal)), text(path(root, signal))];
    let load = |line: &str| {
        let (id, millis) = line.split_once(' ')?;
        let id = LoadId::of_hash(u64::from_str_radix(id, 16).ok()?.to_le_bytes());
        let appended_at = UNIX_EPOCH.checked_add(Duration::from_millis(millis.parse().ok()?))?;
        (appended_at >= since).then_some(RecentLoad { id, appended_at })
    };
    texts.iter().flat_map(|text| text.lines()).filter_map(load).collect()
}

fn lines(loads: impl IntoIterator<Item = RecentLoad>) -> String {
    let mut text = String::new();
    for load in loads {
        let age = load.appended_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let _ = writeln!(text, "{:016x} {}", u64::from_le_bytes(load.id.to_bytes()), age.as_millis());
    }
    text
}

/// Removes a file, if there is one.
fn remove(path: &Path) -> io::Result<()> {
    fs::remove_file(path).or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// Writes this in place of what was there.
///
/// # Errors
///
/// If a file cannot be written.
pub(crate) fn write(root: &Path, signal: Signal, loads: &[RecentLoad]) -> io::Result<()> {
    let (path, before) = (path(root, signal), path_before(root, signal));
    if loads.is_empty() {
        return remove(&path).and(remove(&before));
    }
    let new = path.with_extension(std::process::id().to_string());
    files::write_synced(&new, lines(loads.iter().copied()).as_bytes())?;
    files::rename(&new, &path)?;
    remove(&before)?;
    files::sync_dir(root).map_err(io::Error::other)
}

/// The files of a signal while its relay runs: two of a minute each, so that adding costs the same however many requests there are.
/// Where they cannot be written, the next relay knows what is not delivered by then.
#[derive(Debug)]
pub(crate) struct Remembered {
    root: PathBuf,
    signal: Signal,
    /// The file that is added to, and since when. There is none before the first request.
    file: Option<(File, Instant)>,
}

impl Remembered {
    pub(crate) fn new(root: &Path, signal: Signal) -> Self {
        Self { root: root.to_owned(), signal, file: None }
    }

    /// Adds requests that were stored just now. A kill does not take that back.
    pub(crate) fn add(&mut self, ids: &[LoadId]) {
        let _ = self.try_add(ids);
    }

    fn try_add(&mut self, ids: &[LoadId]) -> io::Result<()> {
        if let Some((file, _)) = self.file.take_if(|(_, since)| since.elapsed() >= REMEMBERED) {
            // Once a minute. Windows renames nothing that is open.
            file.sync_all()?;
            drop(file);
            files::rename(&path(&self.root, self.signal), &path_before(&self.root, self.signal))?;
        }
        let (file, _) = match &mut self.file {
            Some(file) => file,
            none => {
                let path = path(&self.root, self.signal);
                none.insert((files::private(OpenOptions::new().append(true).create(true)).open(path)?, Instant::now()))
            }
        };
        let appended_at = SystemTime::now();
        file.write_all(lines(ids.iter().map(|&id| RecentLoad { id, appended_at })).as_bytes())
    }

    /// Syncs what was added.
    pub(crate) fn sync(&self) {
        let Some((file, _)) = &self.file else { return };
        let _ = file.sync_all().and_then(|()| files::sync_dir(&self.root).map_err(io::Error::other));
    }
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

    #[test]
    fn what_is_added_is_read_for_a_minute_at_least_and_then_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let id = |id: u8| LoadId::of_hash([id; 8]);
        let known = || read(dir.path(), Signal::Logs, UNIX_EPOCH).iter().map(|load| load.id).collect::<Vec<_>>();
        write(dir.path(), Signal::Logs, &[RecentLoad { id: id(1), appended_at: SystemTime::now() }]).unwrap();
        let mut remembered = Remembered::new(dir.path(), Signal::Logs);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        remembered.add(&[id(2), id(3)]);
        assert_eq!(known(), [id(1), id(2), id(3)]);
        let mut a_minute_later = |ids: &[LoadId]| {
            remembered.file.as_mut().unwrap().1 = Instant::now().checked_sub(REMEMBERED).unwrap();
            remembered.add(ids);
            remembered.sync();
        };
        a_minute_later(&[id(4)]);
        assert_eq!(known(), [id(1), id(2), id(3), id(4)]);
        a_minute_later(&[id(5)]);
        assert_eq!(known(), [id(4), id(5)]);
        #[cfg(unix)]
        for found in fs::read_dir(dir.path()).unwrap() {
            let mode = std::os::unix::fs::PermissionsExt::mode(&found.unwrap().metadata().unwrap().permissions());
            assert_eq!(mode & 0o777, 0o600);
        }
        drop(remembered);
        write(dir.path(), Signal::Logs, &[]).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
