//! The files of a spool, as they are on disk.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What is in a directory, in the order of the names; nothing where there is no directory.
pub fn list(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> = match fs::read_dir(dir) {
        Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => panic!("{}: {error}", dir.display()),
    };
    found.sort();
    found
}

/// The directories of all queues.
pub fn queues(spool: &Path) -> Vec<PathBuf> {
    let is_queue = |path: &PathBuf| {
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        name.len() >= 16 && name.chars().take(16).all(|digit| digit.is_ascii_hexdigit()) && path.is_dir()
    };
    list(spool).into_iter().filter(is_queue).collect()
}

/// The directories of all segments, in the order of their numbers.
pub fn segments(spool: &Path) -> Vec<PathBuf> {
    let all = queues(spool).into_iter().flat_map(|queue| list(&queue));
    all.filter(|path| path.extension() == Some(OsStr::new("segment"))).collect()
}

/// The parts of a queue's name: its id, its signal and whom it is for.
pub fn parts_of(queue: &Path) -> Vec<String> {
    let name = queue.file_name().and_then(OsStr::to_str).expect("a name");
    name.split('.').map(str::to_owned).collect()
}

/// The directory of a queue if it were of another signal.
pub fn with_signal(queue: &Path, signal: &str) -> PathBuf {
    let mut parts = parts_of(queue);
    signal.clone_into(&mut parts[1]);
    queue.with_file_name(parts.join("."))
}

/// The files below a directory that have some bytes in them.
pub fn files_with(dir: &Path, bytes: &[u8]) -> Vec<PathBuf> {
    let of = |path: PathBuf| {
        if path.is_dir() {
            return files_with(&path, bytes);
        }
        match fs::read(&path) {
            Ok(found) if found.windows(bytes.len()).any(|window| window == bytes) => vec![path],
            // What its owner replaces is gone.
            Err(error) if error.kind() != io::ErrorKind::NotFound => panic!("{}: {error}", path.display()),
            _ => Vec::new(),
        }
    };
    list(dir).into_iter().flat_map(of).collect()
}
