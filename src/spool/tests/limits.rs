//! Limits: evictions, ages, and gap records.

use super::*;
use crate::config::values::FullPolicy;
use crate::spool::reader::rejected_record;
use crate::spool::rejected::RejectedRecord;
use crate::spool::store::file_path;

#[test]
fn what_expires_behind_a_batch_that_is_in_flight_is_given_up_once() {
    let dir = tempfile::tempdir().unwrap();
    let hour = Duration::from_secs(3600);
    let limits = SpoolLimits { max_age: Some(hour), ..SpoolLimits::default() };
    let batch = BatchLimits { max_records: 2, max_bytes: 1 << 20, linger: Duration::ZERO };
    let spool = open(&SpoolConfig { batch, limits, ..config(dir.path()) });
    append(&spool, "a", &lines(0..3));
    let partition = spool.checkout().unwrap();
    partition.allow(2);
    let first = next_of(&partition).unwrap();
    let later = SystemTime::now() + 2 * hour;
    assert!(matches!(partition.next(None, later, true), Ok(Next::Skipped)));
    assert_eq!(spool.lost(LossReason::Expired), 1);
    first.ack();
    assert_eq!(deliver_rest(&spool, &partition, Vec::new()), Vec::<String>::new());
}

#[test]
fn quarantine_keeps_to_its_share() {
    let dir = tempfile::tempdir().unwrap();
    let config = limited(dir.path());
    for round in 0..4 {
        let spool = open(&config);
        append(&spool, "a", &["x".repeat(900_000)]);
        drop(spool);
        let file = file_path(&segment_dirs(dir.path())[0]);
        let mut bytes = fs::read(&file).unwrap();
        bytes[500_000] ^= 1;
        fs::write(&file, bytes).unwrap();
        let (spool, reported) = open_reporting(&config);
        drain(&spool);
        all_reported(&spool);
        assert_eq!(reported.lock().unwrap().len(), 1, "round {round}");
        drain(&spool);
        assert!(fs::read_dir(dir.path().join("quarantine")).unwrap().count() <= 1);
    }
}

#[test]
fn the_oldest_segments_give_way_and_the_stream_reports_how_many_records() {
    let dir = tempfile::tempdir().unwrap();
    let config = limited(dir.path());
    let (spool, reported) = open_reporting(&config);
    let count = 300;
    for n in 0..count {
        append(&spool, "a", &[format!("{n:04}{}", "x".repeat(100_000))]);
        let used = spool.disk_bytes().unwrap();
        assert!(used <= config.limits.max_bytes + config.segment_bytes, "{used} bytes after {n}");
    }
    all_reported(&spool);
    let evicted = usize::try_from(spool.lost(LossReason::Evicted)).unwrap();
    let (delivered, _) = drain(&spool);
    let (gaps, records): (Vec<_>, Vec<_>) = delivered["a"].iter().cloned().partition(|line| line.starts_with("gap"));
    assert!(evicted > 200, "{evicted}");
    assert_eq!(reported_in(&gaps), evicted);
    let numbers: Vec<usize> = records.iter().map(|line| line[..4].parse().unwrap()).collect();
    assert_eq!(numbers, (evicted..count).collect::<Vec<_>>());
    assert!(!reported.lock().unwrap().is_empty());
    for gap in reported.lock().unwrap().iter() {
        assert_eq!((&*gap.key, gap.reason), ("a", LossReason::Evicted));
        assert!(gap.first.unwrap() <= gap.last.unwrap());
    }
}

#[test]
fn with_reject_new_what_was_accepted_stays_and_there_is_room_again_after_a_delivery() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = limited(dir.path());
    config.limits.when_full = FullPolicy::RejectNew;
    let (spool, _) = open_reporting(&config);
    let try_append = |n: usize| {
        let block = block(&[format!("{n:04}{}", "x".repeat(100_000))]);
        let records = [("a", &block)];
        spool.append(&records, &FRAMING).inspect_err(|_| {
            spool.note_not_written(&records);
        })
    };
    let mut accepted = Vec::new();
    for n in 0..120 {
        match try_append(n) {
            Ok(_) => accepted.push(n),
            Err(error) => assert!(matches!(error, SpoolError::Full { .. }), "{error}"),
        }
    }
    assert!((60..100).contains(&accepted.len()), "{}", accepted.len());
    assert_eq!(spool.lost(LossReason::NotWritten), 120 - accepted.len() as u64);
    let (delivered, _) = drain(&spool);
    let records = delivered["a"].iter().filter(|line| !line.starts_with("gap"));
    assert!(records.map(|line| line[..4].parse::<usize>().unwrap()).eq(accepted));
    // The delivered segments are then deleted.
    all_reported(&spool);
    try_append(200).unwrap();
}

#[test]
fn nothing_is_evicted_for_what_would_not_fit_into_an_empty_spool_either() {
    let dir = tempfile::tempdir().unwrap();
    let config = limited(dir.path());
    let spool = open(&config);
    let record = "x".repeat(1 << 20);
    for _ in 0..5 {
        append(&spool, "a", &[&record]);
    }
    let append_records = |records: usize| {
        let block = block(&vec![record.clone(); records]);
        spool.append(&[("a", &block)], &FRAMING).map(drop)
    };
    // More than the limit, and more than the active segment leaves of it.
    for records in [9, 8, 7] {
        let error = append_records(records).unwrap_err();
        assert!(matches!(error, SpoolError::Full { .. }), "{records}: {error}");
        assert_eq!(spool.lost(LossReason::Evicted), 0, "{records} records");
    }
    append_records(4).unwrap();
    assert!(spool.lost(LossReason::Evicted) > 0);
}

/// A deletion that begins after the measurement, of a segment that is not the oldest.
#[test]
fn nothing_is_evicted_for_the_room_that_a_deletion_has_just_made() {
    let dir = tempfile::tempdir().unwrap();
    let config = limited(dir.path());
    let spool = open(&config);
    let record = "x".repeat(1 << 20);
    append(&spool, "oldest", &[&record]);
    append(&spool, "delivered", &[&record, &record]);
    let delivered = next(&spool, &Arc::from("delivered")).unwrap();
    let queue = spool.queue.clone();
    spool.queue.before_giving_way.set(move || {
        let second = next_of(&delivered.partition);
        assert!(second.is_none_or(|second| second.id == delivered.id));
        delivered.ack();
        let rest = next_of(&delivered.partition).unwrap();
        rest.ack();
        assert_eq!(rest.start().segment, delivered.start().segment);
        assert!(queue.run_job(&Job::Remove(delivered.start().segment)).is_ok());
    });
    for _ in 0..8 {
        append(&spool, "newer", &[&record]);
        if !spool.queue.before_giving_way.is_set() {
            break;
        }
    }
    assert!(!spool.queue.before_giving_way.is_set());
    assert_eq!(spool.lost(LossReason::Evicted), 0);
    assert!(next(&spool, &Arc::from("oldest")).is_some());
}

/// As when its volume is taken away: an unknown size is neither zero nor a reason to evict anything. Elsewhere a directory that is in
/// use keeps its name.
#[cfg(unix)]
#[test]
fn while_the_directory_cannot_be_measured_its_last_known_size_counts_and_nothing_is_evicted() {
    let dir = tempfile::tempdir().unwrap();
    let (root, away) = (dir.path().join("spool"), dir.path().join("away"));
    let config = limited(&root);
    let spool = open(&config);
    append(&spool, "a", &["x".repeat(400_000)]);
    let used_and_written = || {
        let writer = spool.queue.writer.lock();
        (writer.space.used, writer.space.written)
    };
    fs::rename(&root, &away).unwrap();
    let known = used_and_written();
    assert!(known.1 >= config.segment_bytes / 8, "time to measure: {known:?}");
    append(&spool, "a", &["short"]);
    assert_eq!((used_and_written().0, used_and_written().1 > known.1), (known.0, true));

    spool.queue.writer.lock().space.written = config.limits.max_bytes;
    let error = spool.append(&[("a", &block(&["short"]))], &FRAMING).unwrap_err();
    assert!(error.to_string().starts_with("could not measure"), "{error}");
    fs::rename(&away, &root).unwrap();
    append(&spool, "a", &["short"]);
    assert_eq!(spool.lost(LossReason::Evicted), 0);
}

/// Their keys are in every entry.
#[test]
fn long_keys_count_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let config = limited(dir.path());
    let spool = open(&config);
    for n in 0..500 {
        append(&spool, &format!("{n}{}", "x".repeat(60_000)), &["short"]);
        let used = spool.queue.dir.root_bytes().unwrap();
        assert!(used <= config.limits.max_bytes + config.segment_bytes, "{used} bytes after {n}");
    }
    assert!(spool.lost(LossReason::Evicted) > 0);
}

#[test]
fn whatever_lies_in_the_quarantine_gives_way() {
    let dir = tempfile::tempdir().unwrap();
    let config = limited(dir.path());
    let spool = open(&config);
    let quarantine = dir.path().join("quarantine");
    fs::create_dir_all(quarantine.join("of a person")).unwrap();
    for file in ["notes.txt", "of a person/more.txt"] {
        fs::write(quarantine.join(file), "x").unwrap();
    }
    for n in 0..40 {
        append(&spool, "a", &[format!("{n:04}{}", "x".repeat(500_000))]);
    }
    assert_eq!(fs::read_dir(&quarantine).unwrap().count(), 0);
}

#[test]
fn what_is_to_be_left_free_is_left_free() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.limits.min_free_bytes = u64::MAX / 2;
    let spool = open(&config);
    let error = spool.append(&[("a", &block(&["x"]))], &FRAMING).unwrap_err();
    assert!(error.to_string().contains("bytes free, and `with_min_free_bytes` leaves 9223372036854775807"), "{error}");
}

#[test]
fn what_is_too_old_is_given_up_a_batch_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.limits.max_age = Some(Duration::from_secs(3600));
    config.batch.max_records = 4;
    let (spool, reported) = open_reporting(&config);
    append(&spool, "a", &lines(0..10));
    let key = spool.checkout().unwrap().key.clone();
    let later = SystemTime::now() + Duration::from_secs(3601);
    assert!(
        matches!(spool.queue.next(&key, Asked::Flow(None), later - Duration::from_secs(60), false), Ok(Next::Batch(batch)) if batch.records == 4)
    );
    // Its gap record is as old by this clock: it is reported again, and counted once.
    for _ in 0..5 {
        assert!(matches!(spool.queue.next(&key, Asked::Flow(None), later, false), Ok(Next::Skipped)));
        all_reported(&spool);
    }
    assert_eq!(spool.lost(LossReason::Expired), 10);
    spool.partition(&key).release(true);
    let (delivered, _) = drain(&spool);
    assert_eq!(reported_in(&delivered["a"]), 10);
    assert!(!reported.lock().unwrap().is_empty());
}

#[test]
fn what_is_too_old_and_damaged_is_counted_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    flip_a_bit_of_line_50(&file_path(&sealed_segment(&config)));
    config.limits.max_age = Some(Duration::from_nanos(1));
    let (spool, _) = open_reporting(&config);
    let later = SystemTime::now() + Duration::from_secs(60);
    while let Some(partition) = spool.checkout() {
        assert!(matches!(partition.next(None, later, true), Ok(Next::Skipped)));
        partition.release(true);
        if spool.lost(LossReason::Expired) > 0 {
            break;
        }
    }
    assert_eq!((spool.lost(LossReason::Expired), spool.lost(LossReason::Corrupt)), (99, 1));
}

#[test]
fn rejected_records_count_within_the_limit_of_the_spool_and_take_half_of_it_at_most() {
    let dir = tempfile::tempdir().unwrap();
    let config = limited(dir.path());
    let spool = open(&config);
    append(&spool, "bad", &["no"]);
    let partition = spool.checkout().unwrap();
    let batch = next_of(&partition).unwrap();
    let reason = "x".repeat(4 << 10);
    let rejected =
        RejectedRecord { body: vec![b'x'; 900_000], ..rejected_record(&batch, 400, &reason, SystemTime::now()) };
    let put =
        |number: usize| spool.rejected().put(&[RejectedRecord { batch_id: format!("{number}"), ..rejected.clone() }]);
    for number in 0..4 {
        put(number).unwrap();
    }
    assert!(matches!(put(4), Err(SpoolError::RejectedStoreFull { max_bytes, .. }) if max_bytes == 4 << 20));
    for n in 0..100 {
        append(&spool, "a", &[format!("{n:04}{}", "x".repeat(100_000))]);
        let used = spool.disk_bytes().unwrap();
        assert!(used <= config.limits.max_bytes + config.segment_bytes, "{used} bytes after {n}");
    }
    assert!(spool.lost(LossReason::Evicted) > 40, "what was rejected took their room");
    assert_eq!(spool.rejected().records().unwrap().len(), 4);
}

#[test]
fn what_is_rejected_of_another_signal_takes_no_room_of_this_one() {
    let dir = tempfile::tempdir().unwrap();
    let config = limited(dir.path());
    let (logs, spans) = (open(&config), open(&SpoolConfig { signal: Signal::Traces, ..config }));
    append(&spans, "bad", &["no"]);
    let batch = next_of(&spans.checkout().unwrap()).unwrap();
    // What each makes ahead is there.
    all_reported(&logs);
    all_reported(&spans);
    let limited = |spool: &Spool| spool.queue.dir.limited_bytes().unwrap();
    let before = (limited(&logs), limited(&spans));
    let rejected = rejected_record(&batch, 400, "why", SystemTime::now());
    spans.rejected().put(&[RejectedRecord { body: vec![b'x'; 900_000], ..rejected }]).unwrap();
    assert_eq!(limited(&logs), before.0);
    assert!(limited(&spans) >= before.1 + 900_000, "{} after {}", limited(&spans), before.1);
}
