//! Taking records out of a stopped spool: what else is in its directory, and what is said of it.

use super::*;
use crate::spool::dir::parse_segment;
use crate::spool::entry::{self, EntryHead, LoadMark, Part, Scratch, StoredLimits};
use crate::spool::frame::{self, FULL_PAYLOAD_BYTES, HEADER_BYTES, ReadErrors};
use crate::spool::inspect::{Directory, Queue};
use crate::spool::position::SegmentId;
use crate::spool::purge::{Findings, Purging, Selection, purge};
use crate::spool::segment::Segment;
use crate::spool::store::file_path;

/// The queues of a spool, locked.
fn queues(directory: &Directory) -> Vec<Queue> {
    let queues: Vec<_> = directory.queues(None).unwrap().map(Result::unwrap).collect();
    assert!(queues.iter().all(Queue::make_exclusive));
    queues
}

fn erase(directory: &Directory, queues: &[Queue], text: &str) -> Findings {
    let selection = Selection::new(None, None, Some(text));
    purge(directory, queues, None, &selection, Purging::Erase).unwrap()
}

#[test]
fn an_owner_that_starts_during_a_purge_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&config(dir.path()));
    append(&spool, "a", &lines(0..5));
    kill(spool);
    let directory = Directory::open(dir.path()).unwrap();
    let queues = queues(&directory);
    assert_eq!(erase(&directory, &queues, "nothing").not_purged, [""; 0]);
    let spool = open(&config(dir.path()));
    append(&spool, "a", &lines(5..10));
    let [named] = &erase(&directory, &queues, "nothing").not_purged[..] else { panic!("one queue is named") };
    assert!(named.contains("an owner has started"), "{named}");
    drop(queues);
    kill(spool);
}

/// The labels of a stream stand before its records, for all of them.
#[test]
fn what_a_body_begins_with_is_searched_and_goes_with_its_records() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&config(dir.path()));
    let labels = Framing::new("text/plain", "{alice}", "\n", "");
    spool.append(&[("a", &block(&lines(0..5)))], &labels).unwrap();
    append(&spool, "a", &lines(5..10));
    kill(spool);
    let directory = Directory::open(dir.path()).unwrap();
    assert_eq!(erase(&directory, &queues(&directory), "alice").chosen.waiting, 5);
    let database = fs::read(segment_dirs(dir.path())[0].join("db")).unwrap();
    assert!(!database.windows(5).any(|window| window == b"alice"));
    assert_eq!(drain(&open(&config(dir.path()))).0["a"], lines(5..10));
}

#[test]
fn a_purge_says_that_a_cursor_file_was_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&config(dir.path()));
    append(&spool, "a", &lines(0..5));
    let segment = spool.queue.writer.lock().active.as_ref().unwrap().segment.id;
    let path = spool.queue.dir.segment(segment);
    kill(spool);
    fs::remove_file(path.join("cursor")).unwrap();
    let directory = Directory::open(dir.path()).unwrap();
    let [damage] = &erase(&directory, &queues(&directory), "nothing").damage[..] else { panic!("it is said") };
    assert!(damage.ends_with("its cursor file is missing"), "{damage}");
}

/// A record without a time is as old as its file.
#[test]
fn a_journal_that_is_purged_keeps_its_age() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&config(dir.path()));
    Journaled::before(&spool).log(&spool, "a", &["stays", "goes"]);
    kill(spool);
    let directory = Directory::open(dir.path()).unwrap();
    let queues = queues(&directory);
    let journals = || crate::spool::dir::journals_in(&queues[0].path).unwrap();
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    for path in journals() {
        fs::OpenOptions::new().write(true).open(path).unwrap().set_modified(old).unwrap();
    }
    assert_eq!(erase(&directory, &queues, "goes").chosen.journaled, 1);
    let [left] = &journals()[..] else { panic!("one has a record") };
    assert_eq!(fs::metadata(left).unwrap().modified().unwrap(), old);
}

/// LZ4 finds a text again within 64 KiB. Where what is taken out was the copy between two others, the second is written out.
#[test]
fn entries_that_would_be_larger_stay_and_are_said_and_the_others_go() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&SpoolConfig { coding: Coding::Lz4, segment_bytes: 4 << 20, ..config(dir.path()) });
    let mut random = fastrand::Rng::with_seed(1);
    let text: String = std::iter::repeat_with(|| random.alphanumeric()).take(20_000).collect();
    let gap = "a".repeat(30_000);
    let larger = [text.clone(), gap.clone(), format!("{text}goes"), gap, text];
    for _ in 0..3 {
        append(&spool, "a", &larger);
        append(&spool, "a", &["stays", "goes"]);
    }
    kill(spool);
    let directory = Directory::open(dir.path()).unwrap();
    let queues = queues(&directory);
    let found = erase(&directory, &queues, "goes");
    assert_eq!((found.chosen.waiting, found.not_purged.len()), (3, 3), "{:?}", found.not_purged);
    for said in &found.not_purged {
        assert!(said.ends_with("chosen records that stay: 1, without which their entry would be larger"), "{said}");
    }
    drop(queues);
    let left = drain(&open(&config(dir.path()))).0.remove("a").unwrap();
    assert_eq!(left.len(), 18);
    assert_eq!(left[..6], [&larger[..], &["stays".to_owned()]].concat());
}

#[test]
fn frames_of_64_kib_as_earlier_builds_wrote_them_are_read_and_keep_their_size() {
    let mut random = fastrand::Rng::with_seed(1);
    let mut long = |name: &str| {
        let noise: String = std::iter::repeat_with(|| random.alphanumeric()).take(150_000).collect();
        format!("{name} {noise}")
    };
    let records = [long("stays"), "goes".to_owned(), long("goes"), long("also stays")];
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&SpoolConfig { coding: Coding::Lz4, ..config(dir.path()) });
    append(&spool, "a", &records);
    kill(spool);
    let segment = &segment_dirs(dir.path())[0];
    let id = parse_segment(&segment.file_name().unwrap().to_string_lossy()).unwrap();
    let read = |frame: frame::Frame<'_>| (frame.part, frame.payload.to_vec());
    let mut entries = Vec::<Vec<u8>>::new();
    for (_, (part, mut payload)) in frame::scan(id, fs::File::open(file_path(segment)).unwrap(), read).unwrap() {
        match entries.last_mut().filter(|_| part > 0) {
            Some(entry) => entry.append(&mut payload),
            None => entries.push(payload),
        }
    }
    let (mut file, mut numbers) = (Vec::new(), 0..);
    for entry in entries {
        let chunks = entry.chunks(64 << 10);
        for (part, (payload, parts)) in (0..).zip(chunks.clone().zip(std::iter::repeat(chunks.len()))) {
            let (number, parts) = (numbers.next().unwrap(), u32::try_from(parts).unwrap());
            file.extend(frame::Frame { number, part, parts, payload }.to_bytes(id));
        }
    }
    fs::write(file_path(segment), file).unwrap();

    let copy_of_it = tempfile::tempdir().unwrap();
    copy(dir.path(), copy_of_it.path());
    assert_eq!(drain(&open(&config(copy_of_it.path()))).0["a"], records);
    let directory = Directory::open(dir.path()).unwrap();
    let queues = queues(&directory);
    let found = erase(&directory, &queues, "goes");
    assert_eq!((found.chosen.waiting, found.not_purged.len()), (2, 0));
    drop(queues);
    // What stays of the first entry is in as many frames as it was before.
    let frames = frame::scan(id, fs::File::open(file_path(segment)).unwrap(), |frame| frame.parts).unwrap();
    assert!(frames[0].1 == 3 && frames[0].0.len > HEADER_BYTES + FULL_PAYLOAD_BYTES, "{:?}", frames[0]);
    assert_eq!(drain(&open(&config(dir.path()))).0["a"], [&*records[0], &*records[3]]);
}

/// A purge leaves nothing behind the accepted frames. The last of them can be of a load whose end is damaged.
#[test]
fn what_was_accepted_counts_also_where_nothing_stands_behind_it() {
    let (dir, id) = (tempfile::tempdir().unwrap(), SegmentId { number: 1, random: 1 });
    let head = EntryHead {
        lane: 0,
        first_record: 0,
        records: 1,
        boundary: 0,
        first_timestamp: 0,
        last_timestamp: 0,
        appended_at: 0,
        limits: StoredLimits { max_records: 1, max_bytes: 1 },
        load: LoadMark { id: Some(LoadId::of_hash([1; 8])), is_last: false, begins_append: true },
    };
    let part = Part { envelope: Envelope::default(), base: 0, ends: &[1], payload: b"1" };
    let (mut scratch, mut database) = (Scratch::default(), Vec::new());
    entry::write(&head, "key", &FRAMING, &[part], Coding::Identity, &mut scratch);
    let written = frame::write_entry(id, 0, scratch.framed(), |_, frame| {
        database.extend_from_slice(frame);
        Ok::<_, SpoolError>(())
    });
    assert_eq!(written.unwrap(), 1);
    fs::write(dir.path().join("db"), database).unwrap();
    let frames = |accepted| Segment::open_unsealed(dir.path(), id, accepted, ReadErrors::Fail).unwrap().1;
    assert_eq!((frames(1), frames(u64::MAX)), (1, 0));
}
