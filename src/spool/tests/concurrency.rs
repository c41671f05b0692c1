//! Everything at the same time: appends, deliveries out of order, splits, evictions, and the housekeeper.

use std::collections::HashSet;

use super::*;

const KEYS: [&str; 3] = ["a", "b", "c"];

/// Delivers what there is, with several batches of a partition in flight; the records that arrived. Now and then it holds
/// batches in flight for a while.
fn deliver_out_of_order(spool: &Spool, random: &mut fastrand::Rng, hold: impl Fn()) -> Vec<String> {
    let mut arrived = Vec::new();
    while let Some(partition) = spool.checkout() {
        partition.allow(3);
        let mut in_flight: Vec<Box<Batch>> = Vec::new();
        // The first of them is asked for again by where it begins.
        while in_flight.len() < 3 {
            match partition.next(None, SystemTime::now(), true).unwrap() {
                Next::Batch(batch) if in_flight.iter().all(|other| other.id != batch.id) => {
                    in_flight.push(batch);
                }
                Next::Skipped => {}
                Next::Batch(_) | Next::Linger(_) | Next::Empty => break,
            }
        }
        // Without a batch the partition is given back as it was: everything may have been evicted meanwhile.
        let formed = !in_flight.is_empty();
        random.shuffle(&mut in_flight);
        if random.u8(..8) == 0 {
            hold();
        }
        for batch in in_flight {
            if batch.records > 1 && random.u8(..4) == 0 {
                batch.split().unwrap();
            } else {
                let lines = std::str::from_utf8(&batch.body).unwrap().lines();
                arrived.extend(lines.map(|line| line.split(' ').next().unwrap().to_owned()));
                batch.ack();
            }
        }
        partition.release(formed);
        if random.u8(..8) == 0 {
            spool.settle();
        }
    }
    arrived
}

/// Locks that are given up between choosing, reading and admitting a batch must not let anything come in between.
#[test]
fn appends_deliveries_and_evictions_at_the_same_time_lose_nothing_that_is_not_counted() {
    const APPENDS: usize = 150;
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.limits.max_bytes = 5 << 20;
    config.batch.max_records = 7;
    let spool = open(&config);
    let seed =
        std::env::var("SPOOL_TEST_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().expect("a number"));
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut arrived = Vec::new();
    std::thread::scope(|scope| {
        let append_all = |key: &'static str| {
            for n in 0..APPENDS {
                append(&spool, key, &[0, 1, 2].map(|at| format!("{key}{} {}", 3 * n + at, "x".repeat(20_000))));
            }
        };
        let appending: Vec<_> = KEYS.map(|key| scope.spawn(move || append_all(key))).into();
        let is_over = || appending.iter().all(std::thread::ScopedJoinHandle::is_finished);
        let until_an_eviction = || {
            let before = spool.lost(LossReason::Evicted);
            while !is_over() && spool.lost(LossReason::Evicted) == before {
                std::thread::yield_now();
            }
        };
        while !is_over() {
            arrived.extend(deliver_out_of_order(&spool, &mut random, until_an_eviction));
        }
    });
    arrived.extend(deliver_out_of_order(&spool, &mut random, || ()));
    assert_eq!(spool.depth().pending_records, 0, "whatever waits is given out");
    let unique: HashSet<_> = arrived.iter().collect();
    assert_eq!(unique.len(), arrived.len(), "nothing arrives twice");
    let missing = KEYS.len() * 3 * APPENDS - arrived.len();
    // Records that were evicted while they were in flight have arrived, and are counted all the same.
    let evicted = spool.lost(LossReason::Evicted);
    println!("{missing} missing, {evicted} evicted");
    assert!(missing as u64 <= evicted && evicted > 0);
    assert_eq!(spool.lost(LossReason::Corrupt), 0);
    assert!(spool.close());
}
