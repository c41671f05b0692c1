//! What is parked, tried beside the flow, and found again after a restart.

use std::collections::HashSet;

use super::*;
use crate::spool::BatchStart;
use crate::spool::position::SegmentId;

/// A spool of batches of 4 records.
fn by_four(dir: &Path) -> SpoolConfig {
    let batch = BatchLimits { max_records: 4, max_bytes: 1 << 20, linger: Duration::ZERO };
    SpoolConfig { batch, ..config(dir) }
}

fn trial(partition: &Partition, at: BatchStart) -> Option<Box<Batch>> {
    match partition.trial(at, SystemTime::now()).unwrap() {
        Next::Batch(batch) => Some(batch).inspect(|batch| assert!(batch.parked)),
        Next::Linger(_) | Next::Skipped | Next::Empty => None,
    }
}

fn control(partition: &Partition, ahead: u64) -> Option<Box<Batch>> {
    partition.control(ahead, SystemTime::now()).unwrap()
}

/// Delivers all that flows.
fn deliver_flow(partition: &Partition) -> Vec<String> {
    let mut arrived = Vec::new();
    while let Some(batch) = next_of(partition) {
        arrived.extend(lines_of(&batch));
        batch.ack();
    }
    arrived
}

/// The records that are parked, by their starts and counts.
fn parked(partition: &Partition) -> Vec<(u64, u64)> {
    partition.parked().into_iter().map(|(start, records, _)| (start.record, records)).collect()
}

/// How many records could be a control.
fn unsent(partition: &Partition) -> u64 {
    let first = BatchStart { segment: SegmentId { number: 0, random: 0 }, record: 0 };
    let (before, behind) = partition.unsent(first);
    before + behind
}

#[test]
fn what_is_behind_a_parked_batch_is_delivered_in_order_and_its_segments_are_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&config(dir.path()));
    let lines: Vec<_> = (0..40).map(|n| format!("{n:04}{}", "x".repeat(250_000))).collect();
    for line in &lines {
        append(&spool, "a", std::slice::from_ref(line));
    }
    let partition = spool.checkout().unwrap();
    let first = next_of(&partition).unwrap();
    let count = lines_of(&first).len();
    assert!(first.park());
    partition.release(true);
    let again = spool.checkout().unwrap();
    assert_eq!(deliver_flow(&again), lines[count..]);
    again.release(true);
    assert_eq!(spool.checkout(), None, "nothing else flows");
    assert_eq!((spool.depth().pending_records, unsent(&partition)), (count as u64, 0));
    assert_eq!(spool.oldest_age(SystemTime::now()), None);
    assert!(!spool.wait_delivered(Duration::ZERO), "what is parked is not delivered");
    spool.close();
    assert_eq!(segment_dirs(dir.path()).len(), 1, "that of what is parked");
    let sent = (first.id.clone(), first.body.clone());
    drop((partition, again, first));
    drop(spool);

    let spool = open(&config(dir.path()));
    assert_eq!(spool.checkout(), None, "nor after a restart");
    let partition = spool.with_parked().remove(0);
    let batch = trial(&partition, partition.parked()[0].0).unwrap();
    assert_eq!((batch.id.clone(), batch.body.clone()), sent);
    batch.ack();
    assert!(spool.wait_delivered(Duration::ZERO));
}

#[test]
fn parked_neighbours_keep_their_ids_also_after_a_kill_and_block_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let config = by_four(dir.path());
    let spool = open(&config);
    append(&spool, "a", &lines(0..16));
    let partition = spool.checkout().unwrap();
    let batches: Vec<_> = (0..2).map(|_| next_of(&partition).inspect(|batch| assert!(batch.park())).unwrap()).collect();
    let ids: Vec<_> = batches.iter().map(|batch| batch.id.clone()).collect();
    let tried = trial(&partition, batches[1].start()).unwrap();
    tried.note_deferred(600);
    assert!(tried.park());
    next_of(&partition).unwrap().ack();
    spool.settle();
    drop((partition, batches, tried));
    kill(spool);

    let spool = open(&config);
    recovered(&spool);
    let partition = spool.checkout().unwrap();
    let deferred: Vec<_> = partition.parked().into_iter().map(|(_, _, seconds)| seconds).collect();
    assert_eq!((parked(&partition), deferred), (vec![(0, 4), (4, 4)], vec![0, 600]));
    assert_eq!(deliver_flow(&partition), lines(12..16));
    let again: Vec<_> = partition.parked().into_iter().map(|(at, ..)| trial(&partition, at).unwrap()).collect();
    assert_eq!(again.iter().map(|batch| batch.id.clone()).collect::<Vec<_>>(), ids);
    assert_eq!((again[0].deferred, again[1].deferred), (0, 600));
    for batch in again {
        batch.ack();
    }
    assert_eq!((parked(&partition), spool.depth().pending_records), (vec![], 0));
}

#[test]
fn the_parts_of_a_trial_are_parked_again_and_come_under_the_same_ids_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let config = by_four(dir.path());
    let spool = open(&config);
    append(&spool, "a", &lines(0..8));
    let partition = spool.checkout().unwrap();
    let suspect = next_of(&partition).unwrap();
    assert!(suspect.park());
    trial(&partition, suspect.start()).unwrap().cut(&[1, 3, 3, 0, 4, 99]).unwrap();
    assert_eq!(parked(&partition), [(0, 1), (1, 2), (3, 1)]);
    assert!(!suspect.park(), "it is not what it was");
    let part = trial(&partition, partition.parked()[1].0).unwrap();
    assert_eq!(lines_of(&part), lines(1..3));
    assert!(part.ack_up_to(1).unwrap());
    assert_eq!(parked(&partition), [(0, 1), (2, 1), (3, 1)]);
    let ids = |partition: &Partition| -> Vec<_> {
        partition.parked().into_iter().map(|(at, ..)| trial(partition, at).unwrap().id.clone()).collect()
    };
    let sent = ids(&partition);
    drop((partition, suspect, part));
    kill(spool);

    let spool = open(&config);
    recovered(&spool);
    let partition = spool.partition("a");
    let mut again = Vec::new();
    while let Some((at, ..)) = partition.parked().first().copied() {
        let batch = trial(&partition, at).unwrap();
        again.push(batch.id.clone());
        batch.ack();
    }
    assert_eq!(again, sent);
    assert_eq!(deliver_rest(&spool, &partition, Vec::new()), lines(4..8));
}

#[test]
fn the_rest_of_a_batch_that_is_taken_up_to_a_record_comes_next_under_an_id_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let config = by_four(dir.path());
    let spool = open(&config);
    append(&spool, "a", &lines(0..12));
    let partition = spool.checkout().unwrap();
    partition.allow(2);
    let (batch, behind) = (next_of(&partition).unwrap(), next_of(&partition).unwrap());
    assert!(batch.ack_up_to(2).unwrap());
    assert_eq!(spool.depth().pending_records, 10);
    assert!(batch.ack_up_to(1).unwrap(), "once");
    let rest = next_of(&partition).unwrap();
    assert_eq!(lines_of(&rest), lines(2..4));
    let id = rest.id.clone();
    spool.settle();
    drop((partition, batch, behind, rest));
    kill(spool);
    let spool = open(&config);
    recovered(&spool);
    assert_eq!(next_of(&spool.partition("a")).unwrap().id, id);
    assert_eq!(deliver_rest(&spool, &spool.partition("a"), Vec::new()), lines(2..12));
}

#[test]
fn a_control_is_one_record_from_behind_and_what_is_before_it_comes_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let config = by_four(dir.path());
    let spool = open(&config);
    append(&spool, "a", &lines(0..20));
    let partition = spool.checkout().unwrap();
    let suspect = next_of(&partition).unwrap();
    assert_eq!(unsent(&partition), 16);
    let near = control(&partition, 0).unwrap();
    assert_eq!((lines_of(&near), near.records, near.parked), (lines(4..5), 1, false));
    let far = control(&partition, 5).unwrap();
    assert_eq!((lines_of(&far), unsent(&partition)), (lines(10..11), 14));
    let nearer = control(&partition, 3).unwrap();
    assert_eq!(lines_of(&nearer), lines(8..9), "also from before one that was further");
    assert!(control(&partition, 13).is_none());
    assert_eq!(next_of(&partition).unwrap().id, suspect.id, "a control is no batch of the flow");
    near.ack();
    far.ack();
    nearer.put_back();
    let again = partition.control_again(nearer.start(), SystemTime::now()).unwrap().unwrap();
    assert_eq!(again.id, nearer.id);
    again.put_back();
    assert!(partition.control_again(near.start(), SystemTime::now()).unwrap().is_none(), "it is acknowledged");
    suspect.ack();
    let mut batches = Vec::new();
    while let Some(batch) = next_of(&partition) {
        batches.push(lines_of(&batch));
        batch.ack();
    }
    let expected = [5..8, 8..9, 9..10, 11..15, 15..19, 19..20].map(lines);
    assert_eq!(batches, expected);
    assert_eq!(spool.depth().pending_records, 0);
}

#[test]
fn a_control_is_never_taken_from_a_batch_that_was_sent_and_keeps_its_id_also_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let config = by_four(dir.path());
    let spool = open(&config);
    append(&spool, "a", &lines(0..30));
    let partition = spool.checkout().unwrap();
    partition.allow(3);
    let mut sent: HashMap<String, Vec<String>> = HashMap::new();
    for _ in 0..3 {
        let batch = next_of(&partition).unwrap();
        sent.insert(batch.id.clone(), lines_of(&batch));
    }
    let first = control(&partition, 2).unwrap();
    assert_eq!(lines_of(&first), lines(14..15));
    sent.insert(first.id.clone(), lines_of(&first));
    spool.settle();
    drop((partition, first));
    kill(spool);

    let spool = open(&config);
    recovered(&spool);
    let partition = spool.checkout().unwrap();
    let second = control(&partition, 0).unwrap();
    assert_eq!(lines_of(&second), lines(15..16), "behind all that was sent");
    sent.insert(second.id.clone(), lines_of(&second));
    second.put_back();
    let mut ids = HashSet::new();
    let mut arrived = Vec::new();
    while let Some(batch) = next_of(&partition) {
        arrived.extend(lines_of(&batch));
        let of_other = sent.iter().find(|(id, lines)| **id != batch.id && lines.contains(&lines_of(&batch)[0]));
        assert_eq!(of_other, None, "{}", batch.id);
        ids.insert(batch.id.clone());
        batch.ack();
    }
    assert_eq!(arrived, lines(0..30));
    assert!(sent.keys().all(|id| ids.contains(id)), "{sent:?} {ids:?}");
}

#[test]
fn controls_come_from_later_segments_where_there_is_nothing_nearer() {
    let dir = tempfile::tempdir().unwrap();
    let config = by_four(dir.path());
    for part in [0..6, 6..10] {
        let spool = open(&config);
        append(&spool, "a", &lines(part));
    }
    let spool = open(&config);
    recovered(&spool);
    let partition = spool.checkout().unwrap();
    let suspect = next_of(&partition).unwrap();
    assert_eq!(unsent(&partition), 6);
    let later = control(&partition, 3).unwrap();
    assert_eq!(lines_of(&later), lines(7..8));
    assert_ne!(later.lane.segment, suspect.lane.segment);
    later.ack();
    assert_eq!(partition.park_before(suspect.start(), later.start()), 3, "not the one in flight");
    assert_eq!(parked(&partition), [(4, 2), (0, 1)]);
    assert!(suspect.park());
    assert_eq!(deliver_flow(&partition), lines(8..10));
    let of_stretch = trial(&partition, partition.parked()[1].0).unwrap();
    assert_eq!(lines_of(&of_stretch), lines(4..6));
}

#[test]
fn a_bad_stretch_is_parked_as_one_span_and_walked_in_natural_batches_also_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let config = by_four(dir.path());
    let spool = open(&config);
    append(&spool, "a", &lines(0..30));
    let partition = spool.checkout().unwrap();
    let suspect = next_of(&partition).unwrap();
    assert!(suspect.park());
    let failed = control(&partition, 5).unwrap();
    failed.put_back();
    let taken = control(&partition, 12).unwrap();
    taken.ack();
    assert_eq!(lines_of(&taken), lines(17..18));
    assert_eq!(partition.park_before(suspect.start(), taken.start()), 13);
    assert_eq!(parked(&partition), [(0, 4), (4, 13)]);
    assert_eq!(deliver_flow(&partition), lines(18..30));
    let start = partition.parked()[1].0;
    let first = trial(&partition, start).unwrap();
    assert_eq!((lines_of(&first), parked(&partition)), (lines(4..8), vec![(0, 4), (4, 4), (8, 9)]));
    let ids = [suspect.id.clone(), first.id.clone(), failed.id.clone()];
    spool.settle();
    drop((partition, suspect, failed, taken, first));
    kill(spool);

    let spool = open(&config);
    recovered(&spool);
    assert_eq!(spool.checkout(), None);
    let partition = spool.partition("a");
    let mut walked = Vec::new();
    while let Some((at, ..)) = partition.parked().first().copied() {
        let batch = trial(&partition, at).unwrap();
        walked.push((batch.id.clone(), lines_of(&batch)));
        batch.ack();
    }
    let expected = [0..4, 4..8, 8..9, 9..10, 10..14, 14..17].map(lines);
    assert!(walked.iter().map(|(_, lines)| lines).eq(&expected), "{walked:?}");
    assert_eq!([0, 1, 3].map(|at: usize| walked[at].0.clone()), ids);
}

#[test]
fn at_most_64_batches_of_a_partition_are_parked() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&by_four(dir.path()));
    append(&spool, "a", &lines(0..4 * 66));
    let partition = spool.checkout().unwrap();
    for _ in 0..64 {
        assert!(next_of(&partition).unwrap().park());
    }
    let held = next_of(&partition).unwrap();
    assert!(!held.park());
    assert_eq!(next_of(&partition).unwrap().id, held.id, "it is in flight as before");
    let tried = trial(&partition, partition.parked()[7].0).unwrap();
    assert!(tried.park(), "one that was parked is parked again");
    assert!(!held.park());
    trial(&partition, tried.start()).unwrap().ack();
    assert!(held.park());
}

#[test]
fn parked_records_that_are_evicted_are_lost_and_tried_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let config = limited(dir.path());
    let (spool, _) = open_reporting(&config);
    let record = |n: usize| [format!("{n:04}{}", "x".repeat(100_000))];
    append(&spool, "a", &record(0));
    let partition = spool.checkout().unwrap();
    let suspect = next_of(&partition).unwrap();
    assert!(suspect.park());
    let tried = trial(&partition, suspect.start()).unwrap();
    for n in 1.. {
        append(&spool, "b", &record(n));
        if spool.lost(LossReason::Evicted) > 0 {
            break;
        }
    }
    all_reported(&spool);
    assert_eq!(parked(&partition), []);
    tried.ack();
    assert!(!tried.park());
    assert!(matches!(partition.trial(suspect.start(), SystemTime::now()), Ok(Next::Empty)));
    partition.release(true);
    let (delivered, _) = drain(&spool);
    assert_eq!(delivered["a"], ["gap: 1 Evicted"]);
}

#[test]
fn parked_records_that_expire_are_lost_when_they_are_tried() {
    let dir = tempfile::tempdir().unwrap();
    let hour = Duration::from_secs(3600);
    let mut config = by_four(dir.path());
    config.limits.max_age = Some(hour);
    let spool = open(&config);
    append(&spool, "a", &lines(0..8));
    let partition = spool.checkout().unwrap();
    let suspect = next_of(&partition).unwrap();
    assert!(suspect.park());
    let later = SystemTime::now() + 2 * hour;
    assert!(partition.control(0, later).unwrap().is_none(), "nor is a control older than that");
    assert!(matches!(partition.trial(suspect.start(), later), Ok(Next::Skipped)));
    assert!(matches!(partition.trial(suspect.start(), later), Ok(Next::Empty)));
    assert_eq!((spool.lost(LossReason::Expired), spool.depth().pending_records), (4, 4));
}

#[test]
fn a_control_is_not_sent_where_its_ends_cannot_be_kept() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&by_four(dir.path()));
    append(&spool, "a", &lines(0..8));
    let partition = spool.checkout().unwrap();
    let suspect = next_of(&partition).unwrap();
    spool.fail_cursors(Duration::from_secs(3600));
    assert!(partition.control(1, SystemTime::now()).is_err());
    assert!(suspect.ack_up_to(1).is_err() && suspect.cut(&[1]).is_err());
    suspect.ack();
    assert_eq!(deliver_flow(&partition), lines(4..8));
    assert_eq!(spool.depth().pending_records, 0);
}

#[test]
fn what_was_sent_and_parked_is_known_after_a_kill_though_nothing_was_acknowledged() {
    for expected in [vec![], vec![(4, 4)]] {
        let dir = tempfile::tempdir().unwrap();
        let config = by_four(dir.path());
        let spool = open(&config);
        append(&spool, "a", &lines(0..20));
        let partition = spool.checkout().unwrap();
        partition.allow(3);
        let sent: Vec<_> = (0..3).map(|_| next_of(&partition).unwrap()).collect();
        spool.settle();
        if !expected.is_empty() {
            assert!(sent[1].park());
            spool.settle();
        }
        drop((partition, sent));
        kill(spool);

        let spool = open(&config);
        recovered(&spool);
        let partition = spool.checkout().unwrap();
        assert_eq!((parked(&partition), unsent(&partition)), (expected, 8));
        assert_eq!(lines_of(&control(&partition, 0).unwrap()), lines(12..13));
    }
}

#[test]
fn a_batch_of_which_damage_took_records_is_not_taken_up_to_one() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open_without_line_50(dir.path());
    let partition = spool.checkout().unwrap();
    let batch = next_of(&partition).unwrap();
    assert!(!batch.ack_up_to(4).unwrap(), "it is not known which those are");
    assert_eq!(spool.depth().pending_records, 8);
    assert!(batch.ack_up_to(7).unwrap());
    assert_eq!((spool.depth().pending_records, spool.lost(LossReason::Corrupt)), (0, 1));
}
