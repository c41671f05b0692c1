//! Losses that comparable spools had, each of which would be silent here as well.

use super::*;

/// A queue numbered its segments on from those it found: after a restart a new one had the number, and the position, of one
/// that was delivered.
#[test]
fn what_is_written_after_a_restart_is_not_taken_for_what_was_delivered_before() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    for round in 0..5 {
        let spool = open(&config);
        recovered(&spool);
        append(&spool, "a", &lines(round * 10..round * 10 + 10));
        assert_eq!(drain(&spool).0["a"], lines(round * 10..round * 10 + 10));
        kill(spool);
        // As after a power cut that took the newest segment.
        for segment in segment_dirs(dir.path()).into_iter().filter(|_| round % 2 == 0) {
            fs::remove_dir_all(segment).unwrap();
        }
    }
}

/// What was dropped for want of room, or because it was too old, was delivered after a crash.
#[test]
fn what_was_given_up_does_not_come_back_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let config = limited(dir.path());
    let (spool, _) = open_reporting(&config);
    let record = |n: usize| block(&[format!("{n:04}{}", "x".repeat(100_000))]);
    for n in 0..100 {
        spool.append(&[("a", &record(n))], &FRAMING).unwrap();
    }
    all_reported(&spool);
    let evicted = usize::try_from(spool.lost(LossReason::Evicted)).unwrap();
    assert!(evicted > 10);
    kill(spool);
    let spool = open(&config);
    let delivered = drain(&spool).0.remove("a").unwrap();
    let first = delivered.iter().filter_map(|line| line.get(..4)?.parse::<usize>().ok()).min();
    assert!(first.is_some_and(|first| first >= evicted), "{first:?} of {evicted}");

    let mut config = config.clone();
    config.limits.not_before = Some(SystemTime::now() + Duration::from_secs(3600));
    append(&spool, "b", &["too old"]);
    drop(spool);
    let spool = open(&config);
    recovered(&spool);
    assert!(matches!(spool.partition("b").next(None, SystemTime::now(), true).unwrap(), Next::Skipped));
    spool.settle();
    kill(spool);
    config.limits.not_before = None;
    assert_eq!(drain(&open(&config)).0.get("b"), None);
}

/// A shutdown deleted the queue although its endpoint had been down.
#[test]
fn a_queue_that_is_closed_before_it_is_delivered_is_there_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    for round in 0..3 {
        let spool = open(&config);
        append(&spool, "a", &lines(round..round + 1));
        let in_flight = next(&spool, &Arc::from("a")).unwrap();
        assert!(spool.close());
        drop(in_flight);
        assert!(!segment_dirs(dir.path()).is_empty());
    }
    assert_eq!(drain(&open(&config)).0["a"], lines(0..3));
}

/// A record that was larger than a buffer ended the process at every start.
#[test]
fn a_record_that_is_larger_than_any_limit_is_delivered_after_kills_and_holds_up_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.batch.max_bytes = 1000;
    let large = "x".repeat(5 << 20);
    let spool = open(&config);
    append(&spool, "a", &["before", &large, "behind"]);
    kill(spool);
    for _ in 0..3 {
        let spool = open(&config);
        recovered(&spool);
        assert!(next(&spool, &Arc::from("a")).is_some());
        kill(spool);
    }
    let spool = open(&config);
    append(&spool, "a", &["later"]);
    assert_eq!(drain(&spool).0["a"], ["before", &large, "behind", "later"]);
}
