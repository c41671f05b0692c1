//! Recovery: kills, damage, and files that cannot be read for a while.

use super::*;
use crate::spool::cursor_file::cursor_path;
use crate::spool::dir::parse_segment;
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
fn a_segment_whose_cursor_file_cannot_be_read_for_now_is_held_and_keeps_its_batches() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&config(dir.path()));
    append(&spool, "a", &lines(0..5));
    let batch = next_of(&spool.checkout().unwrap()).unwrap();
    // Where it ends is in the cursor file alone.
    batch.cut(&[2]).unwrap();
    spool.settle();
    let cursor = segment_dirs(dir.path())[0].join("cursor");
    let away = cursor.with_extension("away");
    drop(batch);
    kill(spool);
    // As little to be read as where there are no descriptors left.
    fs::rename(&cursor, &away).unwrap();
    fs::create_dir(&cursor).unwrap();
    let (spool, events) = open_heard(&config(dir.path()));
    let held = |event: SpoolEvent| matches!(event, SpoolEvent::SegmentHeld { reason, .. } if reason.contains("cursor"));
    let mut events = std::iter::from_fn(|| events.recv_timeout(Duration::from_secs(120)).ok());
    assert!(events.any(held));
    assert!(spool.checkout().is_none());
    fs::remove_dir(&cursor).unwrap();
    fs::rename(&away, &cursor).unwrap();
    let (left, ids) = drain(&spool);
    assert_eq!((&left["a"], ids.len()), (&lines(0..5), 2));
}

#[test]
fn without_its_cursor_files_a_queue_is_delivered_again_under_the_same_ids() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.batch.max_records = 7;
    let spool = open(&config);
    let (mut ids, mut appended) = (HashMap::new(), 0);
    let mut random = fastrand::Rng::new();
    let partition = spool.partition("a");
    partition.allow(4);
    append(&spool, "stuck", &["one"]);
    // Batches that are full, and batches that end because there are no more records yet.
    for _ in 0..200 {
        let records = random.usize(0..12);
        append(&spool, "a", &lines(appended..appended + records + 1));
        appended += records + 1;
        while random.u8(0..3) > 0
            && let Some(batch) = next_of(&partition)
        {
            ids.insert(batch.id.clone(), batch.body.clone());
            batch.ack();
        }
    }
    drop(partition);
    kill(spool);
    for segment in segment_dirs(dir.path()) {
        fs::remove_file(cursor_path(&segment)).unwrap();
    }
    let spool = open(&config);
    recovered(&spool);
    let partition = spool.partition("a");
    let mut again = HashMap::new();
    while let Some(batch) = next_of(&partition) {
        again.insert(batch.id.clone(), batch.body.clone());
        batch.ack();
    }
    assert!(ids.len() > 100);
    for (id, body) in &ids {
        assert_eq!(again.get(id), Some(body), "{id}");
    }
}

#[test]
fn a_segment_that_cannot_be_read_for_a_while_is_delivered_afterwards_and_the_rest_meanwhile() {
    for sealed in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let spool = open(&config);
        append(&spool, "a", &lines(0..5));
        if sealed {
            drop(spool);
        } else {
            kill(spool);
        }
        let segment = segment_dirs(dir.path()).remove(0);
        let file = file_path(&segment);
        fs::rename(&file, file.with_extension("away")).unwrap();
        fs::create_dir(&file).unwrap();
        let spool = open(&config);
        append(&spool, "a", &lines(5..10));
        all_reported(&spool);
        assert_eq!(drain_what_can_be(&spool)["a"], lines(5..10));
        assert!(!spool.wait_delivered(Duration::from_millis(1)));
        fs::remove_dir(&file).unwrap();
        fs::rename(file.with_extension("away"), &file).unwrap();
        let name = segment.file_name().unwrap().to_string_lossy().into_owned();
        spool.queue.ask(Job::Retry(parse_segment(&name).unwrap(), Duration::ZERO));
        all_reported(&spool);
        assert_eq!(drain(&spool).0["a"], lines(0..5));
        assert_eq!(spool.lost(LossReason::Corrupt), 0);
    }
}

#[test]
fn what_is_foreign_or_half_deleted_hinders_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let segment = sealed_segment(&config);
    let half_deleted = segment.with_file_name("0000000009-0000000000000009.dead");
    fs::create_dir(&half_deleted).unwrap();
    for foreign in [half_deleted.join("db"), segment.join("notes"), segment.with_file_name("notes.segment")] {
        fs::write(foreign, "x").unwrap();
    }
    let spool = open(&config);
    assert_eq!(drain(&spool).0["a"], lines(0..100));
    assert!(!half_deleted.exists());
}

#[test]
fn a_missing_database_of_a_sealed_segment_is_missed() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let segment = sealed_segment(&config);
    fs::remove_file(file_path(&segment)).unwrap();
    let spool = open(&config);
    assert_eq!(drain(&spool).0.get("a"), None);
    assert_eq!(spool.lost(LossReason::Corrupt), 100);
}

#[test]
fn a_segment_in_quarantine_that_can_be_read_again_and_has_records_that_wait_is_delivered_after_all() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let segment = sealed_segment(&config);
    let quarantine = dir.path().join("quarantine");
    let name = format!("0123456789abcdef.{}", segment.file_stem().unwrap().to_str().unwrap());
    fs::create_dir(&quarantine).unwrap();
    fs::rename(&segment, quarantine.join(&name)).unwrap();
    let spool = open(&config);
    assert_eq!(drain(&spool).0["a"], lines(0..100));
    drop(spool);
    // One that is delivered stays there.
    let segment = sealed_segment(&config);
    flip_a_bit_of_line_50(&file_path(&segment));
    for _ in 0..2 {
        assert_eq!(drain(&open(&config)).0.get("a").map_or(0, Vec::len) % 99, 0);
    }
    assert_eq!(fs::read_dir(&quarantine).unwrap().count(), 1);
}

/// Where a directory cannot be renamed, it is emptied in place.
#[test]
fn a_segment_that_was_being_deleted_in_place_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let segment = sealed_segment(&config);
    fs::write(segment.join("dead"), "").unwrap();
    fs::remove_file(file_path(&segment)).unwrap();
    let spool = open(&config);
    assert_eq!(drain(&spool).0.get("a"), None);
    assert_eq!(spool.lost(LossReason::Corrupt), 0);
    assert!(!segment.exists());
}

/// Jobs that come one after the other must not keep those waiting whose time has come.
#[test]
fn acknowledgements_are_written_while_the_housekeeper_has_much_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&config(dir.path()));
    append(&spool, "a", &lines(0..5));
    let batch = next(&spool, &Arc::from("a")).unwrap();
    let (sender, done) = mpsc::channel();
    let ask = || (0..20_000).for_each(|_| spool.queue.ask(Job::Reply(sender.clone())));
    ask();
    batch.ack();
    let mut rounds = 0..50;
    while spool.queue.cursors.lock().written_lane(batch.lane).acked < 5 {
        rounds.next().expect("acknowledgements that are written before all jobs are done");
        // There is always another job behind those that are done.
        ask();
        (0..20_000).for_each(|_| done.recv().unwrap());
    }
}

#[test]
fn a_missing_database_that_only_a_cursor_knows_of_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.batch.max_records = 4;
    let (spool, _) = open_reporting(&config);
    append(&spool, "a", &lines(0..20));
    let partition = spool.partition("a");
    partition.allow(4);
    let batches: Vec<_> = std::iter::from_fn(|| next_of(&partition)).take(3).collect();
    batches[2].ack();
    spool.settle();
    drop((batches, partition));
    kill(spool);
    let segment = segment_dirs(dir.path()).remove(0);
    fs::remove_file(file_path(&segment)).unwrap();
    let (spool, gaps) = open_reporting(&config);
    recovered(&spool);
    all_reported(&spool);
    assert_eq!(spool.lost(LossReason::Corrupt), 8);
    assert_eq!(gaps.lock().unwrap().iter().map(|gap| gap.records).sum::<u64>(), 8);
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
    spool.fail_cursors(Duration::from_secs(3600));
    once.ack();
    let first = next(&spool, &key).unwrap();
    first.ack();
    spool.settle();
    let second = next(&spool, &key).unwrap();
    assert_ne!(first.id, second.id);
    second.ack();
    spool.fail_cursors(Duration::ZERO);
    spool.settle();
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
