//! Splitting batches on the way to the record that is rejected.

use super::*;

/// A half can end where an entry does, before the middle.
#[cfg(feature = "gzip-http")]
#[test]
fn a_batch_of_several_pieces_that_is_split_leaves_nothing_out() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&SpoolConfig { coding: Coding::Deflate, ..config(dir.path()) });
    for part in [0..3, 3..6, 6..10] {
        append(&spool, "a", &lines(part));
    }
    let partition = spool.checkout().unwrap();
    next_of(&partition).unwrap().split().unwrap();
    assert_eq!(deliver_rest(&spool, &partition, Vec::new()), lines(0..10));
}

#[test]
fn a_batch_that_is_split_where_an_entry_is_damaged_leaves_nothing_else_out() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open_without_line_50(dir.path());
    let partition = spool.checkout().unwrap();
    let batch = next_of(&partition).unwrap();
    assert_eq!(batch.records, 7);
    // Its middle lies just behind what is missing.
    let half = spool.queue.index.lock().choose("a", Asked::Flow(None)).map(|choice| choice.start);
    assert_eq!(half, Some(0));
    batch.split().unwrap();
    drop(batch);
    let expected = [lines(47..50), lines(51..55)].concat();
    assert_eq!(deliver_rest(&spool, &partition, Vec::new()), expected);
}

#[test]
fn batches_that_are_split_in_any_order_leave_nothing_out() {
    let dir = tempfile::tempdir().unwrap();
    let batch = BatchLimits { max_records: 8, max_bytes: 1 << 20, linger: Duration::ZERO };
    let spool = open(&SpoolConfig { batch, ..config(dir.path()) });
    append(&spool, "a", &lines(0..26));
    let partition = spool.checkout().unwrap();
    partition.allow(2);
    let (one, other) = (next_of(&partition).unwrap(), next_of(&partition).unwrap());
    other.split().unwrap();
    one.split().unwrap();
    let (half, next_half) = (next_of(&partition).unwrap(), next_of(&partition).unwrap());
    assert_ne!(half.id, next_half.id);
    half.split().unwrap();
    let quarter = next_of(&partition).unwrap();
    next_half.ack();
    // A batch that was split meanwhile is not acknowledged by a late response.
    half.ack();
    quarter.ack();
    let arrived = [lines_of(&next_half), lines_of(&quarter)].concat();
    let mut arrived = deliver_rest(&spool, &partition, arrived);
    arrived.sort_by_key(|line| line[5..].parse::<usize>().unwrap());
    assert_eq!(arrived, lines(0..26));
}

#[test]
fn a_batch_that_is_rejected_as_a_whole_is_one_file_with_all_of_its_records() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&config(dir.path()));
    append(&spool, "a", &lines(0..100));
    let partition = spool.checkout().unwrap();
    let batch = next_of(&partition).unwrap();
    batch.reject_inferred(400, "too old", SystemTime::now()).unwrap();
    batch.ack();
    let kept = spool.rejected().records().unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!((&kept[0].batch_id, kept[0].records, kept[0].inferred), (&batch.id, 100, true));
    assert_eq!(kept[0].body, batch.body);
    assert_eq!(spool.depth().pending_records, 0);
}
