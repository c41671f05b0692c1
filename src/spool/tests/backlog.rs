//! A mark between a backlog and the new records: both are delivered by turns, each in order.

use super::super::active::ActiveSegment;
use super::*;

/// Batches of two records, which linger for longer than any test lasts if they are not full.
fn by_two(dir: &Path) -> SpoolConfig {
    let linger = Duration::from_secs(1_000 * 60 * 60);
    let batch = BatchLimits { max_records: 2, max_bytes: 1 << 20, linger };
    SpoolConfig { batch, ..config(dir) }
}

/// Sets the mark, and waits for the segment before it to have ended.
fn mark(spool: &Spool, backlog_share: f64) {
    spool.mark(backlog_share);
    all_reported(spool);
}

/// Delivers so many batches.
fn deliver(partition: &Partition, batches: usize) -> Vec<String> {
    let mut arrived = Vec::new();
    for _ in 0..batches {
        let batch = next_of(partition).unwrap();
        arrived.extend(lines_of(&batch));
        batch.ack();
    }
    arrived
}

fn lines_at(ranges: &[Range<usize>]) -> Vec<String> {
    ranges.iter().cloned().flat_map(lines).collect()
}

#[test]
fn what_was_delivered_of_both_halves_is_known_after_a_kill_and_the_rest_comes_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&by_two(dir.path()));
    append(&spool, "a", &lines(0..8));
    mark(&spool, 0.5);
    append(&spool, "a", &lines(8..16));
    let partition = spool.checkout().unwrap();
    assert_eq!(deliver(&partition, 4), lines_at(&[8..10, 0..2, 10..12, 2..4]));
    let in_flight = next_of(&partition).unwrap();
    assert_eq!(lines_of(&in_flight), lines(12..14));
    spool.settle();
    let (before, id) = (segment_dirs(dir.path()).len(), in_flight.id.clone());
    drop((partition, in_flight));
    kill(spool);

    let spool = open(&by_two(dir.path()));
    recovered(&spool);
    assert_eq!(before, 2, "one for each half");
    // All of that is a backlog now.
    mark(&spool, 0.5);
    append(&spool, "a", &lines(16..20));
    let partition = spool.checkout().unwrap();
    assert_eq!(deliver(&partition, 4), lines_at(&[16..18, 4..6, 18..20, 6..8]));
    let again = next_of(&partition).unwrap();
    assert_eq!((lines_of(&again), &again.id), (lines(12..14), &id), "under the id that it had");
    again.ack();
    assert_eq!(deliver_rest(&spool, &partition, Vec::new()), lines(14..16));
}

#[test]
fn a_backlog_does_not_wait_while_new_records_linger() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&by_two(dir.path()));
    append(&spool, "a", &lines(0..4));
    mark(&spool, 0.0);
    append(&spool, "a", &lines(4..5));
    let partition = spool.checkout().unwrap();
    assert_eq!(deliver(&partition, 2), lines(0..4));
    assert!(matches!(partition.next(None, SystemTime::now(), false), Ok(Next::Linger(_))));
    assert!(partition.linger(), "it is worth to wait for another one");
    append(&spool, "a", &lines(5..6));
    assert_eq!(spool.take_filled().len(), 1);
    assert_eq!(deliver(&partition, 1), lines(4..6));
}

#[test]
fn the_segment_behind_a_mark_is_there_before_a_record_needs_it() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&by_two(dir.path()));
    append(&spool, "a", &lines(0..2));
    let before = spool.queue.writer.lock().active.as_ref().map(ActiveSegment::id);
    mark(&spool, 0.5);
    // The job that the one before has asked for.
    all_reported(&spool);
    let behind = spool.queue.writer.lock().active.as_ref().map(ActiveSegment::id);
    assert!(behind.is_some() && behind > before);
}

#[test]
fn a_mark_where_nothing_waits_ends_no_segment() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&by_two(dir.path()));
    mark(&spool, 0.5);
    append(&spool, "a", &lines(0..2));
    let partition = spool.checkout().unwrap();
    assert!(!partition.has_backlog(), "no more than a batch");
    assert_eq!(deliver(&partition, 1), lines(0..2));
    mark(&spool, 0.5);
    append(&spool, "a", &lines(2..4));
    assert_eq!(segment_dirs(dir.path()).len(), 1);
    assert_eq!(deliver(&partition, 1), lines(2..4));
}

#[test]
fn a_backlog_is_more_than_a_batch_by_its_bytes_as_well_and_without_what_is_parked() {
    let dir = tempfile::tempdir().unwrap();
    let batch = BatchLimits { max_records: 100, max_bytes: 64, linger: Duration::ZERO };
    let spool = open(&SpoolConfig { batch, ..config(dir.path()) });
    append(&spool, "a", &lines(0..1));
    let partition = spool.checkout().unwrap();
    assert!(!partition.has_backlog(), "there is no mark, as in a queue that was adopted");
    deliver(&partition, 1);
    mark(&spool, 0.5);
    append(&spool, "a", &lines(1..3));
    assert!(!partition.has_backlog(), "no more than a batch");
    append(&spool, "a", &lines(3..20));
    assert!(partition.has_backlog());
    while let Some(batch) = next_of(&partition) {
        assert!(batch.park());
    }
    assert!(!partition.has_backlog(), "all of it is parked");
}

#[test]
fn new_records_go_on_where_a_segment_of_the_backlog_is_evicted() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&by_two(dir.path()));
    append(&spool, "a", &lines(0..4));
    mark(&spool, 0.5);
    append(&spool, "a", &lines(4..8));
    let partition = spool.checkout().unwrap();
    assert_eq!(deliver(&partition, 1), lines(4..6));
    let backlog = next_of(&partition).unwrap();
    assert_eq!(lines_of(&backlog), lines(0..2));
    let oldest = spool.queue.index.lock().oldest().unwrap();
    spool.queue.index.lock().give_up(oldest, LossReason::Evicted);
    backlog.ack();
    assert_eq!(deliver_rest(&spool, &partition, Vec::new()), lines(6..8));
}
