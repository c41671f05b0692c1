//! Delivering: which batches come, in which order, under which ids.

use std::collections::HashSet;

use super::*;
use crate::encode::blocks::{Encoded, Envelope};
use crate::spool::position::{LaneId, SegmentId};
use crate::spool::read_cache::Reading;

/// A block of one record with a timestamp.
fn timed(record: &str, timestamp: SystemTime) -> Block {
    let mut block = Block::default();
    let (bytes, envelope) = (record.as_bytes(), Envelope::default());
    block.push(Encoded { bytes, envelope, timestamp: Some(timestamp) }, FRAMING.separator());
    block
}

#[test]
fn what_is_appended_is_delivered_in_order_by_key() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&config(dir.path()));
    for n in 0..10 {
        append(&spool, "a", &lines(n * 3..n * 3 + 3));
        append(&spool, "b", &lines(n..n + 1));
    }
    let (delivered, _) = drain(&spool);
    assert_eq!(delivered["a"], lines(0..30));
    assert_eq!(delivered["b"], lines(0..10));
    assert_eq!(spool.depth().pending_records, 0);
}

#[cfg(feature = "relay")]
#[test]
fn the_partitions_with_the_most_records_are_named_first() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&config(dir.path()));
    for (key, records) in [("b", 3), ("few", 1), ("a", 3), ("most", 5)] {
        append(&spool, key, &lines(0..records));
    }
    let named: Vec<(Arc<str>, u64)> = vec![("most".into(), 5), ("a".into(), 3), ("b".into(), 3)];
    assert_eq!(spool.partitions(3), (4, named));
    assert_eq!(spool.partitions(0), (4, Vec::new()));
}

#[test]
fn a_batch_is_the_same_until_it_is_acknowledged_also_after_a_kill_and_with_other_limits() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.batch.max_records = 7;
    let key: Arc<str> = Arc::from("a");
    let spool = open(&config);
    append(&spool, "a", &lines(0..20));
    let first = next(&spool, &key).unwrap();
    append(&spool, "a", &lines(20..30));
    let again = next(&spool, &key).unwrap();
    assert_eq!((&first.id, &first.body, first.records), (&again.id, &again.body, 7));
    first.ack();
    spool.settle();
    let second = next(&spool, &key).unwrap();
    assert_ne!(second.id, first.id);
    let sent = (second.id.clone(), second.body.clone());
    drop((first, again, second));
    kill(spool);

    config.batch.max_records = 512;
    let spool = open(&config);
    recovered(&spool);
    let again = next(&spool, &key).unwrap();
    assert_eq!(sent, (again.id.clone(), again.body.clone()));
    again.ack();
    let (delivered, _) = drain(&spool);
    assert_eq!(delivered["a"], lines(14..30));
}

#[test]
fn a_body_keeps_to_the_limits() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.batch.max_bytes = 100;
    let spool = open(&config);
    let long = "x".repeat(200);
    append(&spool, "a", &["a".repeat(49), "b".repeat(49), "c".repeat(50), long.clone(), "d".to_owned()]);
    append(&spool, "a", &["e"]);
    let key = spool.checkout().unwrap().key.clone();
    let mut bodies = Vec::new();
    while let Some(batch) = next(&spool, &key) {
        bodies.push(batch.body.len());
        batch.ack();
    }
    // 49 + 1 + 49 + 1, 50 + 1, 200 + 1 alone, and the rest of two entries together.
    assert_eq!(bodies, [100, 51, 201, 4]);
}

#[cfg(feature = "gzip-http")]
#[test]
fn what_is_compressed_for_the_wire_is_one_gzip_member_of_whole_pieces() {
    use std::io::Read;

    let dir = tempfile::tempdir().unwrap();
    let config = SpoolConfig { coding: Coding::Deflate, ..config(dir.path()) };
    let spool = open(&config);
    for n in 0..10 {
        append(&spool, "a", &lines(n * 300..n * 300 + 300));
    }
    append(&spool, "a", &lines(3000..5000));
    let (mut arrived, mut counts) = (Vec::new(), Vec::new());
    let key = spool.checkout().unwrap().key.clone();
    while let Some(batch) = next(&spool, &key) {
        assert_eq!(batch.content_encoding, Some("gzip"));
        let mut plain = String::new();
        flate2::read::MultiGzDecoder::new(&batch.body[..]).read_to_string(&mut plain).unwrap();
        assert_eq!(batch.plain_body(), plain.as_bytes());
        let len = batch.body.len();
        assert!(len * 4 < plain.len(), "{len} bytes for {}", plain.len());
        arrived.extend(plain.lines().map(str::to_owned));
        counts.push(batch.records);
        if counts.len() == 2 {
            // Its halves are made of a part each.
            batch.split().unwrap();
            arrived.truncate(300);
            counts.pop();
            counts.push(0);
            continue;
        }
        batch.ack();
    }
    assert_eq!(arrived, lines(0..5000));
    // Never a part of a piece, unless that was split.
    assert_eq!(counts, [&[300, 0, 150, 150][..], &[300; 8], &[512, 512, 512, 464]].concat());
}

#[test]
fn a_batch_that_is_never_taken_does_not_let_the_cursor_grow() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&config(dir.path()));
    append(&spool, "a", &["stuck"]);
    let partition = spool.checkout().unwrap();
    partition.allow(2);
    let stuck = next_of(&partition).unwrap();
    let mut delivered = 0;
    for _ in 0..400 {
        append(&spool, "a", &["passes"]);
        delivered += next_of(&partition).filter(|batch| batch.id != stuck.id).map_or(0, |batch| {
            batch.ack();
            1
        });
    }
    assert_eq!(delivered, 400);
    let cursor = spool.queue.index.lock().cursor("a", stuck.lane).unwrap();
    assert_eq!((cursor.acked, cursor.acked_ahead, cursor.ends), (0, std::iter::once(1..401).collect(), vec![]));
    stuck.ack();
    assert_eq!(deliver_rest(&spool, &partition, Vec::new()).len(), 0);
}

#[test]
fn what_lingers_waits_until_it_is_full_old_or_forced() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.batch.linger = Duration::from_secs(60);
    config.batch.max_records = 3;
    let spool = open(&config);
    let key: Arc<str> = Arc::from("a");
    append(&spool, "a", &lines(0..2));
    let now = SystemTime::now();
    assert!(
        matches!(spool.queue.next(&key, Asked::Flow(None), now, false), Ok(Next::Linger(left)) if left <= Duration::from_secs(60))
    );
    assert!(matches!(
        spool.queue.next(&key, Asked::Flow(None), now + Duration::from_secs(61), false),
        Ok(Next::Batch(_))
    ));
    let spool_dir = tempfile::tempdir().unwrap();
    config.dir = spool_dir.path().to_owned();
    let spool = open(&config);
    append(&spool, "a", &lines(0..2));
    assert!(
        matches!(spool.queue.next(&key, Asked::Flow(None), now, true), Ok(Next::Batch(batch)) if batch.records == 2)
    );
    append(&spool, "b", &lines(0..4));
    assert!(
        matches!(spool.queue.next(&Arc::from("b"), Asked::Flow(None), now, false), Ok(Next::Batch(batch)) if batch.records == 3)
    );
}

#[test]
fn framings_are_not_mixed_in_a_body_and_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let spool = open(&config);
    append(&spool, "a", &["1", "2"]);
    spool.append(&[("a", &block(&["[3]"]))], &Framing::json_array()).unwrap();
    drop(spool);
    let spool = open(&config);
    let key = spool.checkout().unwrap().key.clone();
    let first = next(&spool, &key).unwrap();
    assert_eq!((&first.body[..], &*first.content_type), (&b"1\n2\n"[..], "application/x-ndjson"));
    first.ack();
    let second = next(&spool, &key).unwrap();
    assert_eq!((&second.body[..], &*second.content_type), (&b"[[3]]"[..], "application/json"));
}

#[test]
fn disk_is_given_back_while_the_spool_drains() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let spool = open(&config);
    for n in 0..40 {
        append(&spool, "a", &[format!("{n:04}"), "x".repeat(250_000)]);
    }
    assert!(segment_dirs(dir.path()).len() >= 8);
    let (delivered, _) = drain(&spool);
    assert_eq!(delivered["a"].len(), 80);
    // The newest and the one prepared; the others are deleted in the background.
    let mut patience = 10_000;
    while segment_dirs(dir.path()).len() > 2 {
        std::thread::sleep(Duration::from_millis(1));
        patience -= 1;
        assert!(patience > 0);
    }
    spool.close();
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().flatten().map(|found| found.file_name()).collect();
    assert_eq!(left, ["format"], "what is delivered altogether leaves no queue");
}

/// A receiver remembers ids: one that comes again with other records would cost those.
#[test]
fn no_id_is_used_for_two_batches() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let mut used = HashSet::new();
    for round in 0..6 {
        let spool = open(&config);
        recovered(&spool);
        append(&spool, "a", &[format!("round {round}")]);
        let (_, ids) = drain(&spool);
        for id in ids {
            assert!(used.insert(id.clone()), "{id} came a second time in round {round}");
        }
        match round % 3 {
            0 => drop(spool),
            1 => kill(spool),
            _ => {
                append(&spool, "a", &["left for the next round"]);
                kill(spool);
            }
        }
    }
}

/// A stuck partition keeps an old segment while the newest is delivered altogether and deleted.
#[test]
fn a_segment_number_that_is_used_again_names_no_batch_a_second_time() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let mut used = HashSet::new();
    let spool = open(&config);
    append(&spool, "stuck", &["one"]);
    drop(spool);
    for round in 0..4 {
        let spool = open(&config);
        assert_eq!(spool.checkout().as_deref(), Some("stuck"));
        append(&spool, "a", &[format!("round {round}")]);
        let (_, ids) = drain(&spool);
        assert!(ids.into_iter().all(|id| used.insert(id)), "round {round}");
        spool.partition("stuck").release(true);
    }
}

#[test]
fn a_partition_that_is_stuck_does_not_hold_the_others_nor_their_disk() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let spool = open(&config);
    append(&spool, "stuck", &["one"]);
    for n in 0..40 {
        append(&spool, "a", &[format!("{n:04}"), "x".repeat(250_000)]);
    }
    append(&spool, "stuck", &["two"]);
    assert_eq!(spool.checkout().as_deref(), Some("stuck"));
    let (delivered, _) = drain(&spool);
    assert_eq!(delivered["a"].len(), 80);
    spool.partition("stuck").release(true);
    drop(spool);
    assert_eq!(segment_dirs(dir.path()).len(), 2);
    let (delivered, _) = drain(&open(&config));
    assert_eq!(delivered["stuck"], ["one", "two"]);
}

#[test]
fn the_oldest_age_is_that_of_the_first_record_that_waits_and_comes_from_its_timestamp_before_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let now = SystemTime::now() + Duration::from_secs(3600);
    let spool = open(&config(dir.path()));
    assert_eq!(spool.oldest_age(now), None);
    let timestamp = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    for key in ["a", "b"] {
        let block = timed("x", timestamp);
        spool.append(&[(key, &block)], &FRAMING).unwrap();
    }
    let batches = ["a", "b"].map(|key| next(&spool, &Arc::from(key)).unwrap());
    let ages = batches.each_ref().map(|batch| batch.age(now));
    assert!(ages[0] > ages[1], "{ages:?}");
    for (batch, age) in batches.iter().zip(ages) {
        assert_eq!(spool.oldest_age(now), Some(age));
        batch.ack();
    }
    assert_eq!(spool.oldest_age(now), None);
    let block = timed("y", timestamp);
    spool.append(&[("a", &block)], &FRAMING).unwrap();
    drop(batches);
    spool.close();
    drop(spool);

    let spool = open(&config(dir.path()));
    assert_eq!(spool.oldest_age(now), Some(now.duration_since(timestamp).unwrap()));
    let batch = next(&spool, &Arc::from("a")).unwrap();
    assert_eq!(spool.oldest_age(now), Some(batch.age(now)));
}

/// Or the next body would be filled with zeros before anything is decoded into it.
#[test]
fn the_memory_of_a_body_comes_back_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&SpoolConfig { coding: Coding::Lz4, ..config(dir.path()) });
    append(&spool, "a", &lines(0..5));
    let batch = next(&spool, &"a".into()).unwrap();
    let bytes = batch.body.len();
    drop(batch);
    let other = LaneId { segment: SegmentId { number: 9, random: 9 }, lane: 0 };
    let reading = spool.queue.read_cache.lock().start_reading(other, 0, 1);
    assert!(matches!(&reading, Reading::Read(memory) if memory.len() == bytes), "{bytes} bytes");
}
