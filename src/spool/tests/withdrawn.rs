//! What is withdrawn before it was sent.

use proptest::prelude::*;

use super::*;
use crate::spool::Appended;

fn append_one(spool: &Spool, records: &[String]) -> Appended {
    spool.append(&[("a", &block(records))], &FRAMING).unwrap().remove(0)
}

/// Withdraws a block, as if the one that was appended last stood for it.
fn withdraw(spool: &Spool, block: &Appended) -> u64 {
    spool.withdraw(std::slice::from_ref(block), block).unwrap()
}

/// Delivers all that waits: the lines, and the ids.
fn deliver(spool: &Spool) -> (Vec<String>, Vec<String>) {
    let (mut lines, ids) = drain(spool);
    (lines.remove("a").unwrap_or_default(), ids)
}

#[test]
fn what_is_withdrawn_is_not_sent_and_what_is_around_it_comes_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&config(dir.path()));
    let blocks: Vec<_> = (0..6).map(|n| append_one(&spool, &lines(10 * n..10 * n + 10))).collect();
    for withdrawn in [3, 1, 2] {
        assert_eq!(withdraw(&spool, &blocks[withdrawn]), 10);
    }
    assert_eq!(withdraw(&spool, &blocks[2]), 0, "it is withdrawn already");
    assert_eq!(spool.depth().pending_records, 30);
    let (arrived, ids) = deliver(&spool);
    assert_eq!(arrived, [lines(0..10), lines(40..60)].concat());
    let spans: Vec<_> = ids.iter().map(|id| id.split_once('-').unwrap().1).collect();
    assert_eq!(spans, ["0-9", "40-59"], "an id names the records that are sent under it");
    assert_eq!(spool.depth().pending_records, 0);
}

#[test]
fn what_was_given_out_is_not_withdrawn() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&config(dir.path()));
    let first = append_one(&spool, &lines(0..10));
    let partition = spool.checkout().unwrap();
    let batch = next_of(&partition).unwrap();
    let second = append_one(&spool, &lines(10..20));
    assert_eq!((withdraw(&spool, &first), withdraw(&spool, &second)), (0, 10));
    batch.ack();
    assert_eq!(withdraw(&spool, &first), 0, "it is delivered");
    partition.release(true);
    assert_eq!(spool.depth().pending_records, 0);
    let third = append_one(&spool, &lines(20..30));
    assert_eq!(deliver(&spool).0, lines(20..30));
    assert_eq!(withdraw(&spool, &third), 0);
}

#[test]
fn a_segment_of_which_all_is_delivered_or_withdrawn_is_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&config(dir.path()));
    let long = |n: usize| vec![format!("{n}{}", "x".repeat(300_000))];
    let blocks: Vec<_> = (0..12).map(|n| append_one(&spool, &long(n))).collect();
    assert!(segment_dirs(dir.path()).len() > 2);
    for block in &blocks[..11] {
        assert_eq!(withdraw(&spool, block), 1);
    }
    end_housekeeper(&spool);
    assert!(segment_dirs(dir.path()).len() <= 2, "the active one, and one made ahead");
}

#[test]
fn a_kill_brings_nothing_back_that_was_withdrawn_and_batches_end_where_they_did() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let spool = open(&config);
    let blocks: Vec<_> = (0..5).map(|n| append_one(&spool, &lines(10 * n..10 * n + 10))).collect();
    assert_eq!(withdraw(&spool, &blocks[2]), 10);
    let partition = spool.checkout().unwrap();
    let sent = next_of(&partition).unwrap();
    assert_eq!(lines_of(&sent), lines(0..20));
    let (id, body) = (sent.id.clone(), sent.body.clone());
    drop((sent, partition));
    kill(spool);

    let spool = open(&config);
    recovered(&spool);
    let partition = spool.checkout().unwrap();
    let again = next_of(&partition).unwrap();
    assert_eq!((again.id.clone(), again.body.clone()), (id, body));
    again.ack();
    partition.release(true);
    assert_eq!(deliver(&spool).0, lines(30..50));
}

#[test]
fn gaps_that_would_be_too_many_are_not_made() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&config(dir.path()));
    let blocks: Vec<_> = (0..600).map(|n| append_one(&spool, &lines(n..n + 1))).collect();
    let withdrawn: Vec<_> = (1..600).step_by(2).filter(|n| withdraw(&spool, &blocks[*n]) == 1).collect();
    assert_eq!(withdrawn.len(), 128);
    let kept = (0..600).filter(|n| !withdrawn.contains(n)).flat_map(|n| lines(n..n + 1));
    assert_eq!(deliver(&spool).0, kept.collect::<Vec<_>>());
}

#[test]
fn a_segment_whose_lane_has_as_many_gaps_as_it_may_is_followed_by_another() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&config(dir.path()));
    append(&spool, "a", &["in flight"]);
    let partition = spool.checkout().unwrap();
    let batch = next_of(&partition).unwrap();
    let mut kept = Vec::new();
    for interval in 0..400 {
        let old = append_one(&spool, &lines(2 * interval..2 * interval + 1));
        let newer = append_one(&spool, &lines(2 * interval + 1..2 * interval + 2));
        if spool.withdraw(&[old], &newer).unwrap() == 0 {
            kept.extend(lines(2 * interval..2 * interval + 1));
        }
        kept.extend(lines(2 * interval + 1..2 * interval + 2));
    }
    assert!(kept.len() < 400 + 5, "{} are kept of 800", kept.len());
    batch.ack();
    partition.release(true);
    assert_eq!(deliver(&spool).0, kept);
}

#[test]
fn blocks_of_several_partitions_are_withdrawn_together() {
    let dir = tempfile::tempdir().unwrap();
    let config = SpoolConfig { durability: Durability::Interval(Duration::from_secs(3600)), ..config(dir.path()) };
    let spool = open(&config);
    let both = |n: usize| {
        let (a, b) = (block(&lines(n..n + 1)), block(&lines(n..n + 2)));
        spool.append(&[("a", &a), ("b", &b)], &FRAMING).unwrap()
    };
    let (old, newer) = (both(0), both(10));
    assert_eq!(spool.withdraw(&old, &newer[0]).unwrap(), 3);
    let (arrived, _) = drain(&spool);
    assert_eq!((&arrived["a"], &arrived["b"]), (&lines(10..11), &lines(10..12)));
}

#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    /// Withdraws the one that was appended so many before the last.
    Withdraw(usize),
    Deliver,
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_usize..6).prop_map(Step::Append),
        4 => (0_usize..8).prop_map(Step::Withdraw),
        2 => Just(Step::Deliver),
        1 => Just(Step::Kill),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.min(64)))]

    /// Each record is delivered once and in order, or was withdrawn, whatever else happens.
    #[test]
    fn each_record_is_delivered_or_was_withdrawn(steps in prop::collection::vec(step(), 1..40), max_records in 1_u64..9) {
        let dir = tempfile::tempdir().unwrap();
        let batch = BatchLimits { max_records, max_bytes: 1 << 20, linger: Duration::ZERO };
        let config = SpoolConfig { batch, ..config(dir.path()) };
        let mut spool = open(&config);
        let (mut blocks, mut expected, mut arrived) = (Vec::new(), Vec::new(), Vec::new());
        let mut appended = 0;
        for step in steps {
            match step {
                Step::Append(count) => {
                    let lines = lines(appended..appended + count);
                    blocks.push((append_one(&spool, &lines), lines.clone()));
                    expected.extend(lines);
                    appended += count;
                }
                Step::Withdraw(back) => {
                    let Some((block, lines)) = blocks.iter().rev().nth(back) else { continue };
                    let withdrawn = withdraw(&spool, block);
                    prop_assert!(withdrawn == 0 || withdrawn == lines.len() as u64);
                    if withdrawn > 0 {
                        expected.retain(|line| !lines.contains(line));
                    }
                }
                Step::Deliver => {
                    let Some(partition) = spool.checkout() else { continue };
                    let batch = next_of(&partition);
                    if let Some(batch) = &batch {
                        arrived.extend(lines_of(batch));
                        batch.ack();
                    }
                    partition.release(batch.is_some());
                    spool.settle();
                }
                Step::Kill => {
                    kill(spool);
                    spool = open(&config);
                    recovered(&spool);
                    // What another process appended is nothing that this one withdraws.
                    blocks.clear();
                }
            }
        }
        arrived.extend(deliver(&spool).0);
        prop_assert_eq!(arrived, expected);
    }
}
