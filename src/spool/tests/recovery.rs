//! Recovery: kills, damage, and files that cannot be read for a while.

use super::*;
use crate::spool::store::file_path;

/// Whatever happens to the file of a sealed segment: what is delivered is what was written, in order.
#[test]
fn no_damage_delivers_anything_that_was_not_written() {
    let original = tempfile::tempdir().unwrap();
    let base = config(original.path());
    sealed_segment(&base);
    let mut random = fastrand::Rng::with_seed(42);
    for round in 0..60 {
        let dir = tempfile::tempdir().unwrap();
        copy(original.path(), dir.path());
        let file = file_path(&segment_dirs(dir.path())[0]);
        let mut bytes = fs::read(&file).unwrap();
        let used = (offset_of_line_50(&bytes) * 2).min(bytes.len());
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..used);
            let end = (at + random.usize(1..20_000)).min(bytes.len());
            let elsewhere = random.usize(..=bytes.len() - (end - at));
            match random.u8(..5) {
                0 => bytes[at] ^= 1 << random.u8(..8),
                1 => bytes[at..end].fill(0),
                2 => bytes[at..end].fill_with(|| random.u8(..)),
                3 => bytes.copy_within(at..end, elsewhere),
                _ => bytes.truncate(end),
            }
            bytes.resize(bytes.len().max(used), 0);
        }
        fs::write(&file, bytes).unwrap();
        let (spool, reported) = open_reporting(&SpoolConfig { dir: dir.path().to_owned(), ..base.clone() });
        let (mut delivered, _) = drain(&spool);
        all_reported(&spool);
        drain(&spool);
        let mut lines = delivered.remove("a").unwrap_or_default();
        lines.retain(|line| !line.starts_with("gap"));
        let numbers: Vec<usize> =
            lines.iter().map(|line| line.strip_prefix("line ").unwrap().parse().unwrap()).collect();
        assert!(numbers.is_sorted_by(|one, two| one < two), "round {round}: {numbers:?}");
        let missing: u64 = reported.lock().unwrap().iter().map(|gap| gap.records).sum();
        assert_eq!(lines.len() as u64 + missing, 100, "round {round}");
    }
}

#[test]
fn a_flipped_bit_costs_one_entry() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    flip_a_bit_of_line_50(&file_path(&sealed_segment(&config)));
    let spool = open(&config);
    let (delivered, _) = drain(&spool);
    assert_eq!(delivered["a"], [lines(0..50), lines(51..100)].concat());
    all_reported(&spool);
    assert_eq!(fs::read_dir(dir.path().join("quarantine")).unwrap().count(), 1, "it is kept to be looked at");
}

#[test]
fn a_database_that_was_truncated_gives_what_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let file = file_path(&sealed_segment(&config));
    let bytes = fs::read(&file).unwrap();
    let at = offset_of_line_50(&bytes);
    fs::write(&file, &bytes[..at + 4]).unwrap();
    let (delivered, _) = drain(&open(&config));
    assert_eq!(delivered["a"], lines(0..50));
}

#[test]
fn leftovers_of_a_failed_opening_do_not_block_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let segment = sealed_segment(&config);
    fs::write(segment.with_file_name("cursor").join("snap.00000000000000FF.generating"), "half").unwrap();
    let (delivered, _) = drain(&open(&config));
    assert_eq!(delivered["a"], lines(0..100));
}

#[test]
fn a_cursor_that_cannot_be_opened_is_moved_away_and_all_is_delivered_again() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let segment = sealed_segment(&config);
    let cursor = segment.parent().unwrap().join("cursor");
    fs::remove_dir_all(&cursor).unwrap();
    fs::create_dir(&cursor).unwrap();
    fs::write(cursor.join("conf"), "not what the engine wrote").unwrap();
    let (delivered, _) = drain(&open(&config));
    assert_eq!(delivered["a"], lines(0..100));
}

#[test]
fn a_segment_that_cannot_be_read_for_a_while_is_delivered_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let spool = open(&config);
    append(&spool, "a", &lines(0..5));
    kill(spool);
    let file = file_path(&segment_dirs(dir.path())[0]);
    fs::rename(&file, file.with_extension("away")).unwrap();
    fs::create_dir(&file).unwrap();
    let spool = open(&config);
    append(&spool, "a", &lines(5..10));
    assert!(spool.checkout().is_none(), "nothing overtakes it");
    assert!(!spool.wait_delivered(Duration::from_millis(1)));
    fs::remove_dir(&file).unwrap();
    fs::rename(file.with_extension("away"), &file).unwrap();
    let (delivered, _) = drain(&spool);
    assert_eq!(delivered["a"], lines(0..10));
}

#[test]
fn what_is_foreign_or_half_deleted_hinders_nothing_and_a_missing_file_is_missed() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let segment = sealed_segment(&config);
    let half_deleted = segment.with_file_name("0000000009.dead");
    fs::create_dir(&half_deleted).unwrap();
    for foreign in [half_deleted.join("db"), segment.join("notes"), segment.with_file_name("notes.segment")] {
        fs::write(foreign, "x").unwrap();
    }
    let spool = open(&config);
    assert_eq!(drain(&spool).0["a"], lines(0..100));
    assert!(!half_deleted.exists());
    drop(spool);

    let segment = sealed_segment(&config);
    fs::remove_file(file_path(&segment)).unwrap();
    let spool = open(&config);
    assert_eq!(drain(&spool).0.get("a"), None);
    assert_eq!(spool.lost(LossReason::Corrupt), 100);
}

/// Or its batches would have the ids of others.
#[test]
fn the_number_of_a_segment_whose_directory_is_gone_is_not_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    sealed_segment(&config);
    let spool = open(&config);
    append(&spool, "b", &["gone"]);
    next(&spool, &Arc::from("b")).unwrap().ack();
    spool.settle();
    kill(spool);
    let gone = segment_dirs(dir.path()).pop().unwrap();
    fs::remove_dir_all(&gone).unwrap();
    let spool = open(&config);
    append(&spool, "b", &["more"]);
    assert!(!gone.exists());
    let (delivered, _) = drain(&spool);
    assert_eq!((&delivered["a"], &*delivered["b"]), (&lines(0..100), &["more".to_owned()][..]));
}

#[test]
fn what_was_delivered_while_the_cursor_could_not_be_written_is_written_later() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.batch.max_records = 5;
    let spool = open(&config);
    append(&spool, "a", &lines(0..20));
    append(&spool, "b", &["once"]);
    let key: Arc<str> = Arc::from("a");
    let once = next(&spool, &Arc::from("b")).unwrap();
    spool.fail_cursor();
    once.ack();
    let first = next(&spool, &key).unwrap();
    first.ack();
    spool.settle();
    let second = next(&spool, &key).unwrap();
    assert_ne!(first.id, second.id);
    second.ack();
    spool
        .queue
        .with_cursors(|cursors| {
            cursors.reopen_now();
            Ok(())
        })
        .unwrap();
    let third = next(&spool, &key).unwrap();
    let sent = (third.id.clone(), third.body.clone());
    drop((once, first, second, third));
    kill(spool);
    let spool = open(&config);
    recovered(&spool);
    let again = next(&spool, &key).unwrap();
    assert_eq!((again.id.clone(), again.body.clone()), sent);
    assert!(next(&spool, &Arc::from("b")).is_none());
}

#[test]
fn damage_is_reported_in_the_stream() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    flip_a_bit_of_line_50(&file_path(&sealed_segment(&config)));
    let (spool, _) = open_reporting(&config);
    let (before, _) = drain(&spool);
    all_reported(&spool);
    let (after, _) = drain(&spool);
    let all = [before["a"].clone(), after.get("a").cloned().unwrap_or_default()].concat();
    assert_eq!(reported_in(&all), 1);
    assert_eq!(spool.lost(LossReason::Corrupt), 1);
}
