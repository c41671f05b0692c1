//! Appending: what is on disk when an append returns, and who may read it.

use super::*;
use crate::encode::blocks::Envelope;
use crate::spool::entry::{self, EntryHead, LoadMark, Part, Scratch, StoredLimits};
use crate::spool::frame::{FULL_PAYLOAD_BYTES, HEADER_BYTES, ReadErrors};
use crate::spool::position::SegmentId;
use crate::spool::read_cache::Phase;
use crate::spool::segment::Segment;
use crate::spool::segment::entry_budget;
use crate::spool::store::file_path;

/// However records are stored, they arrive as they are.
#[test]
fn what_is_compressed_in_the_spool_is_sent_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let config = SpoolConfig { coding: Coding::Lz4, ..config(dir.path()) };
    let spool = open(&config);
    let long: Vec<_> = (0..30).map(|n| format!("{n} {}", "long ".repeat(20_000))).collect();
    append(&spool, "a", &long);
    append(&spool, "a", &lines(0..2000));
    let (delivered, _) = drain(&spool);
    assert_eq!(delivered["a"], [long, lines(0..2000)].concat());
    kill(spool);
    let bytes = fs::metadata(segment_dirs(dir.path())[0].join("db")).unwrap().len();
    assert!(bytes < 1 << 20, "{bytes} bytes for 3 MB");
}

#[test]
fn a_record_larger_than_a_frame_passes() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let spool = open(&config);
    let long: String = ('a'..='z').cycle().take(10_000_000).collect();
    append(&spool, "a", &["before", &long, "after"]);
    kill(spool);
    let spool = open(&config);
    let (delivered, _) = drain(&spool);
    assert!(delivered["a"] == ["before", &long, "after"]);
}

#[test]
fn another_format_is_an_error_in_words() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("format"), "opentelemetry-spool 9\n").unwrap();
    let error = Spool::open_silent(&config(dir.path())).map(drop).unwrap_err();
    assert!(error.to_string().contains("has spool format 9; this version reads formats up to 8: "), "{error}");
    fs::write(dir.path().join("format"), "opentelemetry-spool 7\n").unwrap();
    assert!(matches!(Spool::open_silent(&config(dir.path())), Err(SpoolError::OlderFormat { found: 7, .. })));
    fs::write(dir.path().join("format"), "something else\n").unwrap();
    assert!(matches!(Spool::open_silent(&config(dir.path())), Err(SpoolError::NotASpool { .. })));
}

#[cfg(unix)]
#[test]
fn the_directories_are_the_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("new/spool");
    let spool = open(&config(&root));
    append(&spool, "a", &["one"]);
    drop(spool);
    let _spool = open(&config(&root));
    let (mut seen, mut left) = (0, vec![root]);
    while let Some(path) = left.pop() {
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        if path.is_dir() {
            assert!(mode == 0o700 || path.ends_with("blobs"), "{mode:o} {}", path.display());
            left.extend(fs::read_dir(path).unwrap().flatten().map(|found| found.path()));
        } else if !path.to_string_lossy().contains("snap.") {
            assert_eq!(mode, 0o600, "{}", path.display());
            seen += 1;
        }
    }
    assert!(seen >= 6, "{seen}");
}

#[cfg(unix)]
#[test]
fn a_symbolic_link_in_place_of_the_spool_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let link = dir.path().join("spool");
    std::os::unix::fs::symlink(elsewhere.path(), &link).unwrap();
    let error = Spool::open_silent(&config(&link)).map(drop).unwrap_err();
    assert!(crate::error::error_chain(&error).contains("it is a symbolic link"), "{error}");
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

/// Leaves that split or are consolidated write their values again; values above a quarter of the engine's log segment
/// become blob files. Neither happens.
#[test]
fn what_is_written_is_written_once_and_inline() {
    for record_bytes in [300, 180_000, 900_000, 3_000_000] {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        config.segment_bytes = 64 << 20;
        let spool = open(&config);
        let mut payload = 0;
        while payload < 40_000_000 {
            let count = (200_000 / record_bytes).max(1);
            append(&spool, "a", &vec![vec![b'x'; record_bytes]; count]);
            payload += count * record_bytes;
        }
        let segment = &segment_dirs(dir.path())[0];
        assert_eq!(fs::read_dir(segment.join("blobs")).unwrap().count(), 0);
        // The file only grows, so its length is what was written.
        let written = fs::metadata(file_path(segment)).unwrap().len();
        assert!(written * 100 < payload as u64 * 105, "{written} bytes for {payload} in records of {record_bytes}");
    }
}

/// No leaf is, as far as is known: it has one write fewer than that takes.
#[test]
fn a_leaf_of_full_frames_that_is_written_anew_stays_inline() {
    let dir = tempfile::tempdir().unwrap();
    let (path, id) = (dir.path().join("1.segment"), SegmentId { number: 1, random: 1 });
    let segment = Segment::start(&path, id).unwrap().finish().unwrap();
    let (mut runway, mut written) = (0, 0);
    let mut writing = segment.begin().unwrap();
    for (number, byte) in (0..40).map(|number| (number, b'x')).chain((0..20).map(|number| (number, b'y'))) {
        let mut framed = vec![byte; HEADER_BYTES + FULL_PAYLOAD_BYTES];
        written += framed.len() as u64;
        segment.write(&mut writing, number, &mut runway, &mut framed).unwrap();
    }
    writing.sync().unwrap();
    assert_eq!(fs::read_dir(path.join("blobs")).unwrap().count(), 0);
    let len = fs::metadata(file_path(&path)).unwrap().len();
    assert!(len > written + 10 * FULL_PAYLOAD_BYTES as u64, "{len} bytes for {written}: no leaf was written anew");
}

/// The whole directory is away for a while: unmounted, say.
#[test]
fn nothing_is_made_in_place_of_a_directory_that_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir.path().join("spool"));
    let spool = open(&config);
    append(&spool, "a", &lines(0..5));
    fs::rename(&config.dir, dir.path().join("away")).unwrap();
    spool.queue.writer.lock().active.as_mut().unwrap().segment.fail_writes();
    assert!(spool.append(&[("a", &block(&lines(5..10)))], &FRAMING).is_err());
    assert!(!config.dir.exists());
    fs::rename(dir.path().join("away"), &config.dir).unwrap();
    append(&spool, "a", &lines(10..15));
    let (mut delivered, _) = drain(&spool);
    // What could not be read for a while is overtaken.
    delivered.get_mut("a").unwrap().sort_by_key(|line| line[5..].parse::<usize>().unwrap());
    assert_eq!(delivered["a"], [lines(0..5), lines(10..15)].concat());
}

#[test]
fn after_a_write_error_the_records_go_to_a_new_segment() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&config(dir.path()));
    append(&spool, "a", &lines(0..5));
    // Every write to this database fails from now on.
    spool.queue.writer.lock().active.as_mut().unwrap().segment.fail_writes();
    append(&spool, "a", &lines(5..10));
    let (delivered, ids) = drain(&spool);
    assert_eq!(delivered["a"], lines(0..10));
    assert_eq!(ids.len(), 2);
}

/// Records that a failed append had written already are written again elsewhere; a restart must not find them twice.
#[test]
fn what_was_written_but_not_accepted_is_not_delivered_twice_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let config = SpoolConfig { durability: Durability::Sync, ..config(dir.path()) };
    let spool = open(&config);
    append(&spool, "a", &lines(0..5));
    spool.queue.writer.lock().active.as_mut().unwrap().segment.fail_syncs();
    // Keeps the housekeeper from sealing what is found.
    let other = SegmentId { number: 77, random: 77 };
    let opening = spool.queue.begin_phase(other, Phase::Opening);
    spool.queue.ask(Job::Prefetch(other));
    append(&spool, "a", &lines(5..10));
    copy(dir.path(), &dir.path().with_extension("killed"));
    drop(opening);
    let killed = SpoolConfig { dir: dir.path().with_extension("killed"), ..config };
    kill(spool);
    let (delivered, _) = drain(&open(&killed));
    assert_eq!(delivered["a"], lines(0..10));
    fs::remove_dir_all(killed.dir).unwrap();
}

/// The response comes when the housekeeper has looked into the segment already.
#[test]
fn what_is_in_flight_when_an_append_fails_is_sent_once() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&SpoolConfig { durability: Durability::Sync, ..config(dir.path()) });
    append(&spool, "a", &lines(0..5));
    let partition = spool.checkout().unwrap();
    let batch = next_of(&partition).unwrap();
    spool.queue.writer.lock().active.as_mut().unwrap().segment.fail_syncs();
    append(&spool, "a", &lines(5..10));
    recovered(&spool);
    batch.ack();
    partition.release(true);
    let (delivered, _) = drain(&spool);
    assert_eq!((lines_of(&batch), &delivered["a"]), (lines(0..5), &lines(5..10)));
}

#[test]
fn an_append_that_fails_says_why_and_not_what_failed_because_of_that() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&SpoolConfig { durability: Durability::Sync, ..config(dir.path()) });
    append(&spool, "a", &lines(0..5));
    spool.queue.writer.lock().active.as_mut().unwrap().segment.fail_syncs();
    fs::create_dir(segment_dirs(dir.path())[0].join("accepted")).unwrap();
    let error = spool.append(&[("a", &block(&lines(5..10)))], &FRAMING).unwrap_err();
    assert!(matches!(&error, SpoolError::Io { action: "sync", .. }), "{error:?}");
}

#[test]
fn disk_that_was_taken_ahead_is_given_back_and_nothing_of_what_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let (path, id) = (dir.path().join("1.segment"), SegmentId { number: 1, random: 1 });
    let mut segment = Segment::start(&path, id).unwrap().finish().unwrap();
    segment.reserve(4 << 20);
    if cfg!(windows) {
        // None can be: see `Store::reserve`.
        return assert!(!segment.is_reserved());
    }
    let len = || fs::metadata(path.join("db")).unwrap().len();
    assert_eq!((len(), segment.unwritten()), (4 << 20, 4 << 20));
    // The written bytes may end with zeros as well.
    let mut runway = 0;
    for number in 0..10 {
        segment.write(&mut segment.begin().unwrap(), number, &mut runway, &mut vec![0; 20_000]).unwrap();
    }
    segment.sync().unwrap();
    segment.trim();
    assert!((200_000..1 << 19).contains(&len()), "{}", len());
    drop(segment);
    let (_, frames) = Segment::recover(&path, id, u64::MAX, ReadErrors::Fail).unwrap();
    assert_eq!(frames, 10);
}

#[test]
fn an_entry_that_is_filled_to_its_budget_takes_one_whole_frame() {
    let limits = StoredLimits { max_records: 1, max_bytes: 1 };
    let head = EntryHead {
        boundary: 0,
        lane: 0,
        first_record: 0,
        records: 1,
        first_timestamp: 0,
        last_timestamp: 0,
        appended_at: 0,
        limits,
        load: LoadMark::NONE,
    };
    let payload = vec![b'x'; entry_budget("key", &FRAMING) - 4];
    let part = Part { envelope: Envelope::default(), base: 0, ends: &[payload.len()], payload: &payload };
    let mut scratch = Scratch::default();
    entry::write(&head, "key", &FRAMING, &[part], Coding::Identity, &mut scratch);
    assert_eq!(scratch.entry().len(), FULL_PAYLOAD_BYTES);
}
