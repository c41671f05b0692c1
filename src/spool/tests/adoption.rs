//! Several queues in one directory: adoption, and readers beside owners.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;

use super::*;
use crate::spool::dir::QueueDir;
#[cfg(feature = "cli")]
use crate::spool::inspect::Directory;
use crate::spool::position::SegmentId;
use crate::spool::read_cache::Phase;
use crate::spool::seal::Seal;
use crate::spool::store::file_path;

#[test]
fn a_second_spool_on_one_directory_has_a_queue_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let (one, two) = (open(&config), open(&config));
    append(&one, "a", &["one"]);
    append(&two, "a", &["two"]);
    let (first, ids_of_first) = drain(&one);
    let (second, ids_of_second) = drain(&two);
    assert_eq!((&first["a"][..], &second["a"][..]), (&["one".to_owned()][..], &["two".to_owned()][..]));
    assert_ne!(ids_of_first, ids_of_second);
}

#[test]
fn a_queue_that_is_only_read_is_waited_for_and_one_with_an_owner_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let spool = open(&config);
    append(&spool, "a", &["one"]);
    let name = spool.queue.dir.name;
    let waits = Cell::new(0);
    let adopted = |wait: &dyn Fn()| {
        let path = |queue: QueueDir| Ok(queue.path.clone());
        QueueDir::adopt_past_readers(
            dir.path(),
            |_| true,
            path,
            || {
                waits.set(waits.get() + 1);
                wait();
            },
        )
    };
    assert!(adopted(&|| ()).unwrap().is_none());
    assert_eq!(waits.get(), 0, "its owner may have it for good");
    kill(spool);
    let reader = RefCell::new(QueueDir::try_lock_shared(dir.path(), name).unwrap());
    assert!(adopted(&|| ()).unwrap().is_none(), "a reader that does not end");
    assert!(waits.take() > 1);
    assert!(adopted(&|| drop(reader.take())).unwrap().is_some());
    assert_eq!(waits.get(), 1);
}

#[test]
fn queues_whose_owners_are_gone_are_adopted_one_after_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let dead: Vec<_> = (0..3).map(|_| open(&config)).collect();
    let living = open(&config);
    append(&living, "a", &["of a neighbour"]);
    let spool = open(&config);
    for (n, dead) in dead.into_iter().enumerate() {
        append(&dead, "a", &lines(n * 5..n * 5 + 5));
        append(&dead, "b", &["b"]);
        if n > 0 { kill(dead) } else { drop(dead) }
    }
    append(&spool, "a", &["its own"]);
    let (mut delivered, mut ids) = drain(&spool);
    for _ in 0..3 {
        spool.adopt_now();
        let (more, more_ids) = drain(&spool);
        ids.extend(more_ids);
        for (key, lines) in more {
            delivered.entry(key).or_default().extend(lines);
        }
        assert!(spool.may_adopt());
    }
    spool.adopt_now();
    assert!(!spool.may_adopt(), "there is no other");
    assert_eq!(delivered["a"].len(), 16);
    assert_eq!(delivered["b"].len(), 3);
    for n in 0..3 {
        let at = delivered["a"].iter().position(|line| *line == lines(n * 5..n * 5 + 5)[0]).unwrap();
        assert_eq!(delivered["a"][at..at + 5], lines(n * 5..n * 5 + 5));
    }
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
    assert_eq!(drain(&living).0["a"], ["of a neighbour"]);
}

/// Nor does it keep a new exporter from working, or the other queues from being adopted.
#[test]
fn a_queue_that_cannot_be_read_for_a_while_stays_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let file = file_path(&sealed_segment(&config));
    fs::rename(&file, file.with_extension("away")).unwrap();
    fs::create_dir(&file).unwrap();
    let (spool, other) = (open(&config), open(&config));
    append(&spool, "a", &["new"]);
    append(&other, "a", &["of another"]);
    drop(other);
    let mut delivered = Vec::new();
    for _ in 0..3 {
        spool.adopt_now();
        all_reported(&spool);
        delivered.extend(drain_what_can_be(&spool).remove("a").unwrap_or_default());
    }
    assert_eq!(delivered, ["new", "of another"]);
    fs::remove_dir(&file).unwrap();
    fs::rename(file.with_extension("away"), &file).unwrap();
    drop(spool);
    let spool = open(&config);
    assert_eq!(drain(&spool).0["a"], lines(0..100));
}

/// Where no directory is locked, whoever deletes the file of a living owner gives its queue away.
#[cfg(unix)]
#[test]
fn a_queue_whose_lock_file_is_gone_is_nobodys_and_one_with_an_owner_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let spool = open(&config);
    append(&spool, "a", &["one"]);
    let lock = segment_dirs(dir.path())[0].with_file_name("lock");
    fs::remove_file(&lock).unwrap();
    let other = open(&config);
    assert_ne!(other.queue.dir.name, spool.queue.dir.name, "its owner lives");
    drop(other);
    spool.adopt_now();
    assert!(lock.exists(), "the owner makes it again");
    fs::remove_file(&lock).unwrap();
    kill(spool);
    assert_eq!(drain(&open(&config)).0["a"], ["one"]);
}

/// A copy in the place of a directory that a living exporter has is somebody else's.
#[cfg(unix)]
#[test]
fn nothing_is_written_to_a_directory_that_took_the_place_of_ones_own() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir.path().join("spool"));
    let away = dir.path().join("away");
    let spool = open(&config);
    append(&spool, "a", &lines(0..5));
    fs::rename(&config.dir, &away).unwrap();
    copy(&away, &config.dir);
    let other = open(&config);
    assert_eq!(drain(&other).0["a"], lines(0..5));
    let segments = segment_dirs(&config.dir);
    end_active(&spool);
    assert!(spool.append(&[("a", &block(&["new"]))], &FRAMING).is_err(), "it would be in another's queue");
    let after = segment_dirs(&config.dir);
    assert!(after.iter().all(|segment| segments.contains(segment)), "{after:?} after {segments:?}");
    drop(other);
    fs::remove_dir_all(&config.dir).unwrap();
    fs::rename(&away, &config.dir).unwrap();
    append(&spool, "a", &lines(5..10));
    let mut delivered = drain(&spool).0.remove("a").unwrap();
    delivered.sort_by_key(|line| line[5..].parse::<usize>().unwrap());
    assert_eq!(delivered, lines(0..10));
}

#[test]
fn names_that_are_not_the_spools_stay_and_hold_up_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let segment = sealed_segment(&config);
    let name = segment.file_name().unwrap().to_str().unwrap().trim_start_matches('0').to_owned();
    let queue = segment.parent().unwrap().to_owned();
    let foreign = [name, "notes.txt".to_owned(), "backup.new".to_owned(), "0000000001-x.dead".to_owned()];
    for name in &foreign {
        copy(&segment, &queue.join(name));
    }
    let spool = open(&config);
    assert_eq!(drain(&spool).0["a"], lines(0..100));
    all_reported(&spool);
    assert_eq!(spool.depth().pending_records, 0);
    drop(spool);
    assert!(!segment.exists());
    for name in &foreign {
        assert!(file_path(&queue.join(name)).exists(), "{name}");
    }
}

/// A restored backup, a snapshot of what lives, and an image with a backlog.
#[test]
fn an_id_names_one_content_on_every_copy_of_a_spool() {
    let (dir, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut config = config(dir.path());
    config.batch.max_records = 3;
    let mut bodies: HashMap<String, Vec<u8>> = HashMap::new();
    let mut take = |spool: &Spool, most: usize| {
        recovered(spool);
        let mut ids = HashSet::new();
        while ids.len() < most
            && let Some(partition) = spool.checkout()
        {
            while ids.len() < most
                && let Some(batch) = next_of(&partition)
            {
                let body = bodies.entry(batch.id.clone()).or_insert_with(|| batch.body.to_vec());
                assert_eq!(*body, batch.body, "{} has two contents", batch.id);
                ids.insert(batch.id.clone());
                batch.ack();
            }
            partition.release(true);
        }
        spool.settle();
        ids
    };
    let mut spool = open(&config);
    let mut random = fastrand::Rng::new();
    for round in 0..12 {
        for n in 0..random.usize(1..9) {
            append(&spool, "a", &lines(round * 1000 + n * 10..round * 1000 + n * 10 + random.usize(1..6)));
        }
        if random.bool() {
            take(&spool, random.usize(1..4));
        }
        // A copy of what lives.
        let path = copies.path().join(round.to_string());
        copy(dir.path(), &path);
        if random.bool() {
            spool = if random.bool() { kill_and_open(spool, &config) } else { close_and_open(spool, &config) };
        }
    }
    // All of them run on, twice.
    for round in 0..12 {
        let config = SpoolConfig { dir: copies.path().join(round.to_string()), ..config.clone() };
        let twin = SpoolConfig { dir: copies.path().join(format!("{round}-twin")), ..config.clone() };
        copy(&config.dir, &twin.dir);
        for config in [&config, &twin] {
            let spool = open(config);
            recovered(&spool);
            append(&spool, "a", &[format!("new in {}", config.dir.display())]);
            take(&spool, usize::MAX);
            kill(spool);
        }
    }
    append(&spool, "a", &["new here"]);
    take(&spool, usize::MAX);
}

fn kill_and_open(spool: Spool, config: &SpoolConfig) -> Spool {
    kill(spool);
    open(config)
}

fn close_and_open(spool: Spool, config: &SpoolConfig) -> Spool {
    drop(spool);
    open(config)
}

#[test]
fn what_was_adopted_gives_way_before_what_is_new() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = limited(dir.path());
    config.limits.max_bytes = 16 << 20;
    let (elder, spool) = (open(&config), open_reporting(&config).0);
    let record = |n: usize| block(&[format!("{n:04}{}", "x".repeat(100_000))]);
    for n in 0..100 {
        elder.append(&[("a", &record(n))], &FRAMING).unwrap();
    }
    kill(elder);
    spool.adopt_now();
    recovered(&spool);
    for n in 100..150 {
        spool.append(&[("a", &record(n))], &FRAMING).unwrap();
    }
    all_reported(&spool);
    let (delivered, _) = drain(&spool);
    let mut numbers: Vec<usize> = delivered["a"].iter().filter_map(|line| line.get(..4)?.parse().ok()).collect();
    numbers.sort_unstable();
    assert!(numbers.ends_with(&(100..150).collect::<Vec<_>>()), "{numbers:?}");
    assert!(numbers.len() < 140, "{numbers:?}");
}

#[cfg(feature = "cli")]
#[test]
fn readers_share_what_an_owner_that_is_gone_has_left_and_one_that_starts_meanwhile_takes_it_over_later() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let spool = open(&config);
    append(&spool, "a", &["1", "2"]);
    let directory = Directory::open(dir.path()).unwrap();
    let look = || directory.queues(None).unwrap().next().unwrap().unwrap();
    assert!(look().is_owned());
    spool.kill();
    drop(spool);

    let (one, other) = (look(), look());
    assert!(!one.is_owned() && !other.is_owned());
    assert!(!one.make_exclusive(), "another one reads it");
    let spool = open(&config);
    append(&spool, "a", &["3"]);
    assert_eq!(spool.depth().pending_records, 1);
    assert!(!one.remove().unwrap(), "another one reads it");
    drop(other);
    spool.adopt_now();
    recovered(&spool);
    assert_eq!(spool.depth().pending_records, 3);
}

#[test]
fn a_queue_that_is_long_in_closing_delays_nobody_who_delivers() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let (dead, other_dead, spool) = (open(&config), open(&config), open(&config));
    append(&dead, "a", &["left"]);
    append(&other_dead, "a", &["left as well"]);
    kill(dead);
    kill(other_dead);
    spool.adopt_now();
    assert_eq!(drain(&spool).0["a"].len(), 1);
    // Its last job waits for this.
    let (adopted, segment) = (spool.adopted().unwrap(), SegmentId { number: 1_000, random: 1 });
    let sealing = adopted.begin_phase(segment, Phase::Sealing);
    adopted.ask(Job::KeepSeal(segment, Seal { frames: 0, lanes: Vec::new() }));
    let spool = Arc::new(spool);
    let (sender, returned) = mpsc::channel();
    let adopts = spool.clone();
    std::thread::spawn(move || {
        adopts.adopt();
        adopts.adopt();
        sender.send(()).unwrap();
    });
    returned.recv_timeout(Duration::from_secs(120)).expect("it is closed on another thread");
    assert!(spool.is_closing() && !spool.may_adopt());
    append(&spool, "a", &["its own"]);
    assert_eq!(drain(&spool).0["a"], ["its own"]);
    drop(sealing);
    drop(adopted);
    while spool.is_closing() {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(spool.may_adopt());
    spool.adopt();
    assert_eq!(drain(&spool).0["a"].len(), 1);
}
