//! Purging: records are taken out of all files of a stopped spool. It writes segments, journals and rejected records anew, and
//! changes nothing of a living owner.
//!
//! Each file is written anew beside the old one, whose place it takes by a rename: a kill at any moment leaves the old one or the new
//! one, and the next purge goes on. What cannot be read cannot be searched, and is named: a file stays,
//! and what is damaged in one that is written anew does not. How a segment is written
//! anew is in `purge/segment.rs`.

mod findings;
mod segment;
mod selection;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::dir::{self, journals_in};
use super::files::{io_error, read_at_most, remove_if_there, rename, sync_dir, write_synced};
use super::inspect::{Directory, Queue};
use super::journal;
use super::replay;
use crate::config::values::Signal;
use crate::error::SpoolError;
pub(crate) use findings::{Chosen, Findings, Purging};
pub(crate) use selection::Selection;

/// Purges queues, and what beside them is of a signal. To be erased they have to be [exclusive](Queue::make_exclusive).
pub(crate) fn purge(
    directory: &Directory,
    queues: &[Queue],
    signal: Option<Signal>,
    selection: &Selection,
    purging: Purging,
) -> Result<Findings, SpoolError> {
    let mut findings = Findings::default();
    for queue in queues {
        let of_queue = purge_queue(queue, selection, purging, &mut findings)?;
        findings.chosen.add(of_queue);
    }
    for files in directory.quarantined(signal)? {
        let what = format!("queue {}, segment {} in quarantine", files.queue(), files.number());
        findings.chosen.quarantined += segment::purge(&files, &what, selection, purging, &mut findings).all();
    }
    purge_rejected(directory, signal, selection, purging, &mut findings)?;
    if purging == Purging::Erase {
        let purged: HashSet<_> = queues.iter().map(Queue::id).collect();
        for queue in directory.queues(signal)? {
            let Some(queue) = findings.note(|| "a queue".to_owned(), queue) else { continue };
            if !purged.contains(&queue.id()) {
                let why = "it was not there when the purge began: an owner has started";
                findings.not_purged.push(format!("queue {}: {why}", queue.id()));
            }
        }
    }
    Ok(findings)
}

fn purge_queue(
    queue: &Queue,
    selection: &Selection,
    purging: Purging,
    findings: &mut Findings,
) -> Result<Chosen, SpoolError> {
    let mut chosen = Chosen::default();
    // That of a living owner changes while it is read.
    if !queue.is_owned() {
        chosen.journaled = purge_journals(queue, selection, purging, findings)?;
    }
    for files in queue.segments()? {
        let what = format!("queue {}, segment {}", queue.id(), files.number());
        chosen.add(segment::purge(&files, &what, selection, purging, findings));
    }
    if purging == Purging::Erase {
        // The endpoint's words may repeat a record, and the numbers are not right any more.
        dir::remove_status(&queue.path)?;
        let left = queue.remove_remainders()?.into_iter();
        findings.not_purged.extend(left.map(|name| format!("queue {}: {name} cannot be deleted", queue.id())));
        sync_dir(&queue.path)?;
    }
    Ok(chosen)
}

fn purge_journals(
    queue: &Queue,
    selection: &Selection,
    purging: Purging,
    findings: &mut Findings,
) -> Result<u64, SpoolError> {
    let paths = journals_in(&queue.path)?;
    let missing: HashSet<PathBuf> =
        replay::missing(&queue.path, &paths, None)?.generations.into_iter().map(|(path, _)| path).collect();
    let mut chosen = 0;
    for path in &paths {
        let what = || format!("queue {}, a journal", queue.id());
        let (of_file, damaged) = findings.note(what, purge_journal(path, selection, purging)).unwrap_or_default();
        if damaged > 0 {
            let damage = "bytes between its records cannot be read, and a purge leaves nothing of that";
            findings.damage.push(format!("{}: {damaged} {damage}", what()));
        }
        // Those that a segment has as well are counted there.
        chosen += if missing.contains(path) { of_file } else { 0 };
    }
    Ok(chosen)
}

/// Writes a journal anew, or deletes it if no record is left. What earlier generations have left in it goes in any case. Returns how many
/// records are chosen, and how many bytes are damaged.
fn purge_journal(path: &Path, selection: &Selection, purging: Purging) -> Result<(u64, u64), SpoolError> {
    let failed = |error| io_error("read", path, error);
    let bytes = read_at_most(path, u64::MAX).map_err(failed)?;
    let written_at = fs::metadata(path).and_then(|meta| meta.modified()).map_err(failed)?;
    let mut chosen = 0;
    let left = journal::without(&bytes, |key, at, parts| {
        let is_taken = selection.takes(key, at.unwrap_or(written_at), parts);
        chosen += u64::from(is_taken);
        is_taken
    });
    let damaged = journal::read(&bytes).map_or(0, |left| left.damaged_bytes);
    if purging == Purging::Count {
        return Ok((chosen, damaged));
    }
    match left {
        Some(left) if left == bytes => {}
        Some(left) => {
            let new = path.with_extension("journal.new");
            // A record that has no time is as old as its file.
            let date = || fs::OpenOptions::new().write(true).open(&new)?.set_modified(written_at);
            write_synced(&new, &left)
                .and_then(|()| date())
                .and_then(|()| rename(&new, path))
                .map_err(|error| io_error("write", path, error))?;
        }
        None => remove_if_there(path)?,
    }
    sync_dir(path.parent().unwrap_or(path))?;
    Ok((chosen, damaged))
}

fn purge_rejected(
    directory: &Directory,
    signal: Option<Signal>,
    selection: &Selection,
    purging: Purging,
    findings: &mut Findings,
) -> Result<(), SpoolError> {
    let store = directory.rejected_of(signal);
    let kept = store.read()?;
    for record in &kept.records {
        let parts = [&*record.body, record.response.as_bytes()];
        if selection.takes(&record.partition_key, record.rejected_at, parts) {
            findings.chosen.rejected += record.records;
            if purging == Purging::Erase {
                store.remove(record)?;
            }
        }
    }
    if purging == Purging::Erase {
        store.remove_unfinished()?;
    }
    findings.not_purged.extend(kept.damaged.iter().map(ToString::to_string));
    Ok(())
}
