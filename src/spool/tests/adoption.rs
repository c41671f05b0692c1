//! Several queues in one directory: adoption, and readers beside owners.

use std::collections::HashSet;

use super::*;
#[cfg(feature = "cli")]
use crate::spool::inspect::Directory;
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
        spool.adopt();
        let (more, more_ids) = drain(&spool);
        ids.extend(more_ids);
        for (key, lines) in more {
            delivered.entry(key).or_default().extend(lines);
        }
        assert!(spool.may_adopt());
    }
    spool.adopt();
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
fn a_cursor_that_cannot_be_opened_for_a_while_stays_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let file = file_path(&sealed_segment(&config).with_file_name("cursor"));
    fs::rename(&file, file.with_extension("away")).unwrap();
    fs::create_dir(&file).unwrap();
    let (spool, other) = (open(&config), open(&config));
    append(&spool, "a", &["new"]);
    append(&other, "a", &["of another"]);
    drop(other);
    for expected in [&["new", "of another"][..], &[]] {
        spool.adopt();
        let (mut delivered, _) = drain(&spool);
        assert_eq!(delivered.remove("a").unwrap_or_default(), expected);
    }
    fs::remove_dir(&file).unwrap();
    fs::rename(file.with_extension("away"), &file).unwrap();
    spool.adopt();
    let (delivered, _) = drain(&spool);
    assert_eq!(delivered["a"], lines(0..100));
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
    spool.adopt();
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
    let look = || directory.queues().unwrap().next().unwrap().unwrap();
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
    spool.adopt();
    recovered(&spool);
    assert_eq!(spool.depth().pending_records, 3);
}
