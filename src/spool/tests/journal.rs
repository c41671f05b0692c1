//! The journal: what a killed process has written there and nowhere else comes once and in order, whatever else is there.

use std::time::UNIX_EPOCH;

use proptest::prelude::*;

use super::*;
use crate::spool::entry::StoredLimits;
use crate::spool::journal::{self, Left};

/// The files of journals in a spool.
fn journals(dir: &Path) -> Vec<PathBuf> {
    let queues = fs::read_dir(dir).unwrap().flatten().map(|found| found.path()).filter(|path| path.is_dir());
    let files = queues.flat_map(|queue| fs::read_dir(queue).unwrap().flatten()).map(|found| found.path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|name| name == "journal")).collect();
    files.sort();
    files
}

/// A record with its key and its envelope.
type Record = (String, (Vec<u8>, Vec<u8>), Vec<u8>, Option<u64>);

/// The bytes of a generation of such records, and where each of them ends.
fn generation(records: &[Record]) -> (Vec<u8>, Vec<usize>) {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::create(dir.path(), StoredLimits { max_records: 7, max_bytes: 77 }, 0).unwrap();
    let (mut bytes, mut blocks) = (Vec::new(), Blocks::default());
    let mut generation = journal.begin(0, 3, 5, &FRAMING, &mut bytes).unwrap();
    let add = |(key, (outer, inner), bytes_of, at): &Record| {
        let timestamp = at.map(|at| UNIX_EPOCH + Duration::from_nanos(at));
        let record = Encoded { bytes: bytes_of, envelope: Envelope { outer, inner }, timestamp };
        generation.add(key, blocks.push(key, record, FRAMING.separator()), record, &mut bytes);
        assert_eq!(generation.end(), bytes.len() as u64);
        bytes.len()
    };
    let ends = records.iter().map(add).collect();
    (bytes, ends)
}

/// The key, the envelope and the bytes of a record that was read.
type Found = (String, Vec<u8>, Vec<u8>);

/// The records in a generation, in the order of their blocks.
fn read(bytes: &[u8]) -> Option<Vec<Found>> {
    let left = journal::read(bytes)?;
    assert_eq!(left.limits(), StoredLimits { max_records: 7, max_bytes: 77 });
    assert_eq!((left.least_segment(), &left.framing), (5, &FRAMING));
    Some(records_of(&left))
}

fn records_of(left: &Left) -> Vec<Found> {
    let mut records = Vec::new();
    for (key, block) in left.blocks.all() {
        for run in block.runs() {
            let envelope = [run.envelope().outer, b"|", run.envelope().inner].concat();
            let mut start = 0;
            for end in &run.ends {
                records.push((key.to_owned(), envelope.clone(), run.payload[start..*end].to_vec()));
                start = end + FRAMING.separator().len();
            }
        }
    }
    records
}

/// Elsewhere a file that is open stays.
#[cfg(unix)]
#[test]
fn a_file_that_somebody_has_deleted_is_made_again_once_what_it_had_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::create(dir.path(), StoredLimits { max_records: 7, max_bytes: 77 }, 100).unwrap();
    let paths = fs::read_dir(dir.path()).unwrap().map(|found| found.unwrap().path());
    let path = paths.max().unwrap();
    fs::remove_file(&path).unwrap();
    journal.reset(0);
    assert!(!path.exists(), "nobody has stored what the other one has");
    journal.reset(1);
    assert_eq!(fs::read(&path).unwrap(), [0; 100], "it takes as much ahead as before");
    let mut bytes = Vec::new();
    let mut generation = journal.begin(1, 3, 5, &FRAMING, &mut bytes).unwrap();
    let record = Encoded { bytes: b"one", envelope: Envelope::default(), timestamp: None };
    let mut blocks = Blocks::default();
    generation.add("a", blocks.push("a", record, FRAMING.separator()), record, &mut bytes);
    journal.write(1, &bytes, 0).unwrap();
    let found = read(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(found, [("a".to_owned(), b"|".to_vec(), b"one".to_vec())]);
}

fn some_records() -> impl Strategy<Value = Vec<Record>> {
    let texts = || prop::collection::vec(any::<u8>(), 0..40);
    let envelope = prop::sample::select(vec![("", ""), ("resource", "scope"), ("resource", "other"), ("", "scope")]);
    let envelope = envelope.prop_map(|(outer, inner)| (outer.as_bytes().to_vec(), inner.as_bytes().to_vec()));
    let key = prop::sample::select(vec!["", "a", "b"]).prop_map(str::to_owned);
    prop::collection::vec((key, envelope, texts(), prop::option::of(1..u64::MAX / 2)), 1..8)
}

/// So that they can be told apart, whatever is in them.
fn numbered(mut records: Vec<Record>) -> Vec<Record> {
    for (number, record) in records.iter_mut().enumerate() {
        record.2.push(u8::try_from(number).unwrap());
    }
    records
}

proptest! {
    #[test]
    fn what_is_cut_off_takes_the_last_records_and_nothing_else(records in some_records(), stale in any::<[u8; 40]>()) {
        let records = numbered(records);
        let (bytes, ends) = generation(&records);
        for len in 0..=bytes.len() {
            let mut cut = bytes[..len].to_vec();
            cut.extend_from_slice(&stale);
            let mut found = read(&cut).unwrap_or_default();
            found.sort_by_key(|(.., record)| record.last().copied());
            // What follows may be by chance what was cut off.
            let same = cut.iter().zip(&bytes).take_while(|(now, before)| now == before).count();
            let whole = records[..ends.partition_point(|end| *end <= same)].iter();
            let expected: Vec<_> = whole.map(|(key, (outer, inner), record, _)| {
                (key.clone(), [outer, &b"|"[..], inner].concat(), record.clone())
            }).collect();
            prop_assert_eq!(found, expected, "of the first {} bytes", len);
        }
    }

    #[test]
    fn damage_takes_its_records_and_makes_none(records in some_records(), at in any::<prop::sample::Index>(), bit in 0..8) {
        let records = numbered(records);
        let (mut bytes, _) = generation(&records);
        let before = read(&bytes).unwrap();
        prop_assert_eq!(before.len(), records.len());
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        for record in read(&bytes).unwrap_or_default() {
            prop_assert!(before.contains(&record));
        }
    }
}

/// A spool that was killed with lines in its journal which are in no segment, behind others that are; the lines.
fn left_by_a_kill(dir: &Path) -> Vec<String> {
    let spool = open(&config(dir));
    let mut journaled = Journaled::before(&spool);
    let all = lines(0..30);
    for stored in [&all[..10], &all[10..20]] {
        let load = journaled.log(&spool, "a", stored);
        journaled.commit(&spool, "a", stored, load);
    }
    journaled.log(&spool, "a", &all[20..]);
    kill(spool);
    all
}

#[test]
fn damage_in_the_middle_is_reported_and_what_a_kill_has_cut_off_is_not() {
    for is_damaged in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        left_by_a_kill(dir.path());
        let found = journals(dir.path()).into_iter().find_map(|file| {
            let bytes = fs::read(&file).unwrap();
            let at = bytes.windows(7).position(|bytes| bytes == b"line 25")?;
            Some((file, bytes, at))
        });
        let (file, mut bytes, at) = found.unwrap();
        if is_damaged {
            bytes[at] ^= 1;
        } else {
            bytes.truncate(at);
        }
        fs::write(&file, bytes).unwrap();
        let (spool, events) = open_heard(&config(dir.path()));
        assert_eq!(drain(&spool).0["a"].len(), if is_damaged { 29 } else { 25 });
        let item = 2 + 1 + 8 + 8 + 4 + 4 + "a".len() + "line 25".len() + 4;
        let damage = |event| if let SpoolEvent::JournalDamaged { bytes } = event { Some(bytes) } else { None };
        let damage: Vec<_> = heard(spool, &events).into_iter().filter_map(damage).collect();
        assert_eq!(damage, if is_damaged { vec![item as u64] } else { vec![] });
    }
}

#[test]
fn damage_that_leaves_no_record_of_a_journal_is_reported_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&config(dir.path()));
    append(&spool, "a", &["one"]);
    let file = spool.queue.dir.path.join("0000000000000001.0.journal");
    kill(spool);
    let record = ("a".to_owned(), (b"resource".to_vec(), b"scope".to_vec()), b"two".to_vec(), None);
    let (mut bytes, _) = generation(&[record]);
    let at = bytes.windows(8).position(|bytes| bytes == b"resource").unwrap();
    bytes[at] ^= 1;
    fs::write(&file, bytes).unwrap();
    let (spool, events) = open_heard(&config(dir.path()));
    assert_eq!(drain(&spool).0["a"], ["one"]);
    let is_damage = |event: &SpoolEvent| matches!(event, SpoolEvent::JournalDamaged { bytes: 1.. });
    assert!(heard(spool, &events).iter().any(is_damage));
}

#[test]
fn what_is_in_the_journal_alone_comes_behind_what_is_stored_and_before_what_is_new() {
    let dir = tempfile::tempdir().unwrap();
    let mut all = left_by_a_kill(dir.path());
    let spool = open(&config(dir.path()));
    append(&spool, "a", &["new"]);
    all.push("new".to_owned());
    assert_eq!(drain(&spool).0["a"], all);
    assert_eq!(journals(dir.path()), Vec::<PathBuf>::new());
}

#[test]
fn what_is_stored_does_not_come_from_a_journal_that_was_not_reset() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&config(dir.path()));
    let mut journaled = Journaled::before(&spool);
    let load = journaled.log(&spool, "a", &lines(0..5));
    spool.append_journaled(&[("a", &block(&lines(0..5)))], &FRAMING, load, || ()).unwrap();
    // Not every system deletes a file that is open.
    drop(journaled);
    kill(spool);
    let spool = open(&config(dir.path()));
    assert_eq!(drain(&spool).0["a"], lines(0..5));
    drop(spool);
    assert_eq!(fs::read_dir(dir.path()).unwrap().flatten().filter(|found| found.path().is_dir()).count(), 0);
}

/// Opens an image of a spool and delivers it all.
fn delivered_from(image: &Path) -> Vec<String> {
    let spool = open(&config(image));
    let found = drain(&spool).0.remove("a").unwrap_or_default();
    drop(spool);
    // Once it is delivered nothing is left that a later start could find.
    assert_eq!(drain(&open(&config(image))).0, HashMap::new());
    found
}

#[test]
fn a_kill_while_the_journal_is_taken_over_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let all = left_by_a_kill(dir.path());
    let before = journals(dir.path()).into_iter().map(|path| (path.clone(), fs::read(path).unwrap()));
    let before: Vec<_> = before.collect();
    // The segment is made, and the journal is still there, or one of its files.
    let spool = open(&config(dir.path()));
    recovered(&spool);
    kill(spool);
    for kept in [&before[..], &before[..1], &before[1..]] {
        let image = tempfile::tempdir().unwrap();
        copy(dir.path(), image.path());
        for (path, bytes) in kept {
            fs::write(image.path().join(path.strip_prefix(dir.path()).unwrap()), bytes).unwrap();
        }
        assert_eq!(delivered_from(image.path()), all);
    }
}

/// Elsewhere a segment is made under its own name, and nothing keeps it from that.
#[cfg(unix)]
#[test]
fn what_is_stored_leaves_the_journal_before_the_rest_of_it_is_made_a_segment() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&config(dir.path()));
    let mut journaled = Journaled::before(&spool);
    let load = journaled.log(&spool, "a", &lines(0..5));
    // Its file is not reset, as by a power cut.
    spool.append_journaled(&[("a", &block(&lines(0..5)))], &FRAMING, load, || ()).unwrap();
    let stored = journals(dir.path()).into_iter().find(|path| fs::read(path).unwrap()[0] != 0).unwrap();
    let at_stored = fs::read(&stored).unwrap();
    drop(journaled);
    kill(spool);
    let spool = open(&config(dir.path()));
    recovered(&spool);
    let left = stored.with_file_name("left.journal");
    fs::write(&stored, at_stored).unwrap();
    fs::write(&left, generation(&[("a".to_owned(), Default::default(), b"left".to_vec(), None)]).0).unwrap();
    // Where its segment cannot be made, others may be deleted.
    let id = crate::spool::position::SegmentId { number: 1 << 40, random: 1 };
    fs::write(crate::spool::store::new_path(&spool.queue.dir.segment(id)), "").unwrap();
    spool.queue.replay(id, &[stored, left.clone()]).unwrap_err();
    assert_eq!(journals(dir.path()), [left]);
}

#[test]
fn a_load_that_is_not_whole_in_its_segment_comes_from_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&config(dir.path()));
    let mut journaled = Journaled::before(&spool);
    let all: Vec<_> = (0..40).map(|n| format!("{n} {}", "x".repeat(20_000))).collect();
    let load = journaled.log(&spool, "a", &all);
    spool.append_journaled(&[("a", &block(&all))], &FRAMING, load, || ()).unwrap();
    kill(spool);
    let db = crate::spool::store::file_path(&segment_dirs(dir.path())[0]);
    let bytes = fs::read(&db).unwrap();
    for part in 0..8 {
        let image = tempfile::tempdir().unwrap();
        copy(dir.path(), image.path());
        fs::write(image.path().join(db.strip_prefix(dir.path()).unwrap()), &bytes[..bytes.len() * part / 8]).unwrap();
        assert_eq!(delivered_from(image.path()), all, "{part}");
    }
}

#[test]
fn a_queue_that_has_nothing_but_a_journal_is_adopted() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (open(&config(dir.path())), open(&config(dir.path())));
    Journaled::before(&first).log(&first, "a", &lines(0..3));
    kill(first);
    for segment in segment_dirs(dir.path()) {
        if !segment.starts_with(&second.queue.dir.path) {
            fs::remove_dir_all(segment).unwrap();
        }
    }
    second.adopt_now();
    assert_eq!(drain(&second).0["a"], lines(0..3));
}

#[test]
fn a_journal_that_cannot_be_read_holds_nothing_up() {
    let dir = tempfile::tempdir().unwrap();
    let all = left_by_a_kill(dir.path());
    let has_records = |path: &PathBuf| fs::read(path).unwrap()[0] != 0;
    let journal = journals(dir.path()).into_iter().find(has_records).unwrap();
    let bytes = fs::read(&journal).unwrap();
    fs::remove_file(&journal).unwrap();
    fs::create_dir(&journal).unwrap();
    let spool = open(&config(dir.path()));
    while !spool.is_recovered() {
        std::thread::sleep(Duration::from_millis(1));
    }
    append(&spool, "a", &["new"]);
    let found = drain_what_can_be(&spool).remove("a").unwrap();
    assert_eq!(found, [&all[..20], &["new".to_owned()]].concat());
    // It is kept, and comes once it can be read.
    drop(spool);
    fs::remove_dir(&journal).unwrap();
    fs::write(&journal, bytes).unwrap();
    assert_eq!(delivered_from(dir.path()), all[20..]);
}
