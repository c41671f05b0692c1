//! Which loads a process before this one has stored: a client that it did not answer sends them again. It reads the files of
//! queues, whoever owns them, and syncs them.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::dir::{self, has_format, list, list_queues, parse_segment};
use super::files::{is_in_use, sync_data};
use super::frame::ReadErrors;
use super::load::RecentLoad;
use super::position::SegmentId;
use super::seal::Seal;
use super::segment::Segment;
use super::store::file_path;
use crate::config::values::Signal;
use crate::error::SpoolError;

/// A file may say that it was modified earlier than it was: some file systems count in steps of two seconds.
const MTIME_SLACK: Duration = Duration::from_secs(2);

/// The loads that were appended to the queues of a signal since then and are whole. They survive a power cut when this returns.
///
/// It is to be asked before the spool is opened: from then on segments are deleted in which everything is delivered. A load that
/// was delivered and deleted before is not found.
///
/// # Errors
///
/// If the directory is of another format, or something in it cannot be read.
pub(crate) fn recent_loads(root: &Path, signal: Signal, since: SystemTime) -> Result<Vec<RecentLoad>, SpoolError> {
    let is_spool = if_there(has_format(root))?.unwrap_or(false);
    let queues = if is_spool { if_there(list_queues(root))?.unwrap_or_default() } else { Vec::new() };
    let mut loads = Vec::new();
    for queue in queues.into_iter().filter(|queue| queue.signal == signal) {
        for found in if_there(list(&queue.path(root)))?.into_iter().flatten() {
            let path = found.path();
            if let Some(id) = parse_segment(&found.file_name().to_string_lossy())
                && was_modified_since(&path, since)
                && !dir::is_dead(&path)
            {
                loads.extend(if_there(of_segment(&path, id))?.into_iter().flatten());
            }
        }
    }
    loads.retain(|load| load.appended_at >= since);
    Ok(loads)
}

/// The loads of a segment that are whole, and synced.
fn of_segment(path: &Path, id: SegmentId) -> Result<Vec<RecentLoad>, SpoolError> {
    let seal = Seal::read(path);
    let loads = Segment::whole_loads(path, id, seal.as_ref().map(|seal| seal.frames), ReadErrors::Skip)?;
    // Nobody has synced yet what a killed process wrote. What cannot be synced is stored again when it comes again.
    let is_synced = loads.is_empty() || seal.is_some() || sync(&file_path(path)).is_ok();
    Ok(if is_synced { loads } else { Vec::new() })
}

fn sync(path: &Path) -> io::Result<()> {
    // Windows syncs only what is open for writing.
    sync_data(&OpenOptions::new().read(true).write(cfg!(windows)).open(path)?, path)
}

/// Whether a segment may have been written to since then.
fn was_modified_since(segment: &Path, since: SystemTime) -> bool {
    let modified = fs::metadata(file_path(segment)).and_then(|meta| meta.modified());
    modified.is_ok_and(|modified| modified.checked_add(MTIME_SLACK).is_none_or(|modified| modified >= since))
}

/// `None` for what is gone meanwhile, and on Windows for what its owner keeps others from reading.
fn if_there<T>(found: Result<T, SpoolError>) -> Result<Option<T>, SpoolError> {
    match found {
        Err(SpoolError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound || is_in_use(&source) => {
            Ok(None)
        }
        found => found.map(Some),
    }
}
