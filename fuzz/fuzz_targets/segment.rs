//! Whatever becomes of a segment's file, only what was written is delivered, in order, and what is missing is counted.

#![no_main]

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{OnceLock, PoisonError};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use opentelemetry_spool::fuzzing::LineSpool;
use tempfile::TempDir;

#[derive(Arbitrary, Debug)]
struct Input {
    /// As a process leaves it that was killed, with its last segment not sealed.
    killed: bool,
    /// It was written to be sent in small batches.
    small: bool,
    /// The spool is closed and opened again after so many batches.
    reopened_after: Option<u8>,
    changes: Vec<(u8, Change)>,
}

/// The damage to a file; places and lengths wrap around.
#[derive(Arbitrary, Debug)]
enum Change {
    Flip {
        at: u32,
        bit: u8,
    },
    Cut {
        at: u32,
    },
    Zero {
        at: u32,
        len: u16,
    },
    Overwrite {
        at: u32,
        bytes: Vec<u8>,
    },
    /// A part of some segment's file in place of another.
    Copy {
        from: u8,
        at: u32,
        len: u16,
        to: u32,
    },
    /// The same, but what was there is kept behind it.
    Insert {
        from: u8,
        at: u32,
        len: u16,
        to: u32,
    },
    Remove {
        at: u32,
        len: u16,
    },
    Append {
        bytes: Vec<u8>,
    },
    Delete,
}

/// A spool to be copied, and what is in it.
struct Template {
    dir: TempDir,
    lines: HashMap<String, Vec<String>>,
    max_records: u64,
    max_bytes: u64,
}

impl Template {
    fn create(killed: bool, small: bool) -> Self {
        let (dir, kept) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let (max_records, max_bytes) = if small { (3, 400) } else { (512, 1 << 20) };
        let spool = LineSpool::open(dir.path(), max_records, max_bytes);
        let mut lines: HashMap<String, Vec<String>> = HashMap::new();
        for nth in 0..45 {
            let key = ["a", "b", ""][nth % 3];
            // Some entries have several records, some several frames.
            let count = [1, 4, 12][nth / 3 % 3];
            let len = match nth {
                10 => 140_000,
                nth => nth * 37 % 150,
            };
            let new: Vec<_> = (0..count.min(if len > 1000 { 1 } else { count }))
                .map(|record| format!("{key} {nth} {record} {}", "x".repeat(len)))
                .collect();
            spool.append(key, &new.iter().map(|line| line.clone().into_bytes()).collect::<Vec<_>>());
            lines.entry(key.to_owned()).or_default().extend(new);
        }
        if killed {
            copy(dir.path(), kept.path());
            return Self { dir: kept, lines, max_records, max_bytes };
        }
        drop(spool);
        Self { dir, lines, max_records, max_bytes }
    }

    fn get(killed: bool, small: bool) -> &'static Self {
        static TEMPLATES: [[OnceLock<Template>; 2]; 2] = [const { [const { OnceLock::new() }; 2] }; 2];
        TEMPLATES[usize::from(killed)][usize::from(small)].get_or_init(|| Self::create(killed, small))
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for found in fs::read_dir(from).unwrap() {
        let found = found.unwrap();
        let (from, to) = (found.path(), to.join(found.file_name()));
        if from.is_dir() { copy(&from, &to) } else { assert!(fs::copy(from, to).is_ok()) }
    }
}

/// The files of the segments, in their order.
fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for queue in fs::read_dir(dir).unwrap().flatten().filter(|queue| queue.file_name().len() == 16) {
        let all = fs::read_dir(queue.path()).unwrap().flatten().map(|segment| segment.path());
        found.extend(all.filter(|path| path.extension().is_some_and(|extension| extension == "segment")));
    }
    found.sort();
    found.iter().map(|segment| segment.join("db")).filter(|file| file.exists()).collect()
}

fn index(at: u32, len: usize) -> usize {
    at as usize % len.max(1)
}

fn change(files: &[PathBuf], which: u8, change: &Change) {
    let path = &files[usize::from(which) % files.len()];
    let Ok(mut bytes) = fs::read(path) else { return };
    let len = bytes.len();
    let part = |from: u8, at: u32, part: u16| {
        let bytes = fs::read(&files[usize::from(from) % files.len()]).unwrap_or_default();
        let at = index(at, bytes.len());
        bytes[at..(at + usize::from(part)).min(bytes.len())].to_vec()
    };
    match change {
        Change::Flip { at, bit } if len > 0 => bytes[index(*at, len)] ^= 1 << (bit % 8),
        Change::Flip { .. } => {}
        Change::Cut { at } => bytes.truncate(index(*at, len)),
        Change::Zero { at, len: zeros } => {
            let at = index(*at, len);
            bytes[at..(at + usize::from(*zeros)).min(len)].fill(0);
        }
        Change::Overwrite { at, bytes: new } => {
            let at = index(*at, len);
            let end = (at + new.len()).min(len);
            bytes[at..end].copy_from_slice(&new[..end - at]);
        }
        Change::Copy { from, at, len: copied, to } => {
            let new = part(*from, *at, *copied);
            let to = index(*to, len);
            let end = (to + new.len()).min(len);
            bytes[to..end].copy_from_slice(&new[..end - to]);
        }
        Change::Insert { from, at, len: copied, to } => {
            let to = index(*to, len);
            bytes.splice(to..to, part(*from, *at, *copied));
        }
        Change::Remove { at, len: removed } => {
            let at = index(*at, len);
            bytes.drain(at..(at + usize::from(*removed)).min(len));
        }
        Change::Append { bytes: new } => bytes.extend(new),
        Change::Delete => return fs::remove_file(path).unwrap(),
    }
    fs::write(path, bytes).unwrap();
}

fuzz_target!(|input: Input| {
    let template = Template::get(input.killed, input.small);
    let dir = TempDir::new().unwrap();
    copy(template.dir.path(), dir.path());
    let files = segments(dir.path());
    for (which, what) in &input.changes {
        change(&files, *which, what);
    }

    let Template { max_records, max_bytes, .. } = *template;
    let (mut delivered, mut lost) = (Vec::new(), 0);
    let mut told: HashMap<String, u64> = HashMap::new();
    for most in input.reopened_after.map(usize::from).into_iter().chain([usize::MAX]) {
        // The limits of now are for what is appended.
        let spool = LineSpool::open(dir.path(), 1, 1);
        delivered.extend(spool.deliver(most));
        let (pending, damaged) = spool.depth();
        lost += damaged;
        assert!(most < usize::MAX || pending == 0, "{pending} records are not delivered");
        let gaps = spool.gaps.clone();
        drop(spool);
        for (key, records) in gaps.lock().unwrap_or_else(PoisonError::into_inner).drain() {
            *told.entry(key).or_default() += records;
        }
    }

    let mut lines: HashMap<&str, Vec<&str>> = HashMap::new();
    for batch in &delivered {
        let body = std::str::from_utf8(&batch.body).expect("only text was written");
        assert_eq!(body.lines().count() as u64, batch.records, "{}", batch.id);
        assert!(batch.records <= max_records, "{}", batch.id);
        assert!(batch.records == 1 || batch.body.len() as u64 <= max_bytes, "{}", batch.id);
        lines.entry(&batch.key).or_default().extend(body.lines());
    }
    let mut missing = 0;
    for (key, written) in &template.lines {
        let found = lines.remove(&**key).unwrap_or_default();
        let mut rest = written.iter();
        for line in &found {
            assert!(rest.any(|written| written == line), "{key:?}: not written, or not in this order: {line:.40}");
        }
        let of_key = (written.len() - found.len()) as u64;
        missing += of_key;
        if !input.killed {
            assert_eq!(told.remove(key).unwrap_or(0), of_key, "{key:?}: records that a gap tells of");
        }
    }
    assert!(lines.is_empty(), "partitions that there never were");
    // A segment that a killed process left is not sealed: nobody knows what is gone from its end.
    assert!(lost == missing || input.killed && lost < missing, "{missing} records are missing, {lost} counted");
    assert!(!input.changes.is_empty() || missing == 0);
});
