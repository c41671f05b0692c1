//! Queues for several origins in one directory: what was spooled for one endpoint goes to no other, until somebody says so.

use super::*;
use crate::config::values::{FullPolicy, Origin};
#[cfg(feature = "cli")]
use crate::spool::inspect::Directory;
use crate::spool::store::file_path;

fn of(origin: &str, dir: &Path) -> SpoolConfig {
    SpoolConfig {
        origin: Some(Origin::new(origin)),
        endpoint: Some(format!("{origin}/v1/logs?key=s3cret")),
        ..config(dir)
    }
}

/// The same, which adopts also what was left for others.
fn adopting(origin: &str, from: &[&str], dir: &Path) -> SpoolConfig {
    let adopt_from = AdoptFrom::These(from.iter().map(|origin| Origin::new(*origin)).collect());
    SpoolConfig { adopt_from, ..of(origin, dir) }
}

/// A queue whose owner was killed.
fn left(config: &SpoolConfig, records: &[impl AsRef<[u8]>]) {
    let spool = open(config);
    append(&spool, "a", records);
    kill(spool);
}

/// What a spool says of the records of others.
fn stranded(spool: &Spool) -> u64 {
    spool.queue.ask(Job::CountStranded);
    all_reported(spool);
    spool.stranded_records()
}

/// Two vendors on one directory, and a crash between: the second one got what was meant for the first.
#[test]
fn what_was_spooled_for_one_origin_is_delivered_to_that_one_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (of("https://one", dir.path()), of("https://two", dir.path()));
    left(&one, &lines(0..7));
    for _ in 0..2 {
        let spool = open(&two);
        append(&spool, "a", &["for two"]);
        spool.adopt_now();
        assert_eq!(drain(&spool).0["a"], ["for two"]);
        spool.adopt_now();
        assert!(drain(&spool).0.is_empty(), "what is for another origin is not its own");
        assert_eq!((stranded(&spool), spool.depth().pending_records), (7, 0));
    }
    let spool = open(&one);
    assert_eq!(drain(&spool).0["a"], lines(0..7));
    assert_eq!(stranded(&spool), 0);
    drop(spool);
    assert_eq!(stranded(&open(&two)), 0);
}

#[test]
fn a_queue_that_nobody_knows_whom_it_is_for_is_for_none_of_these() {
    let dir = tempfile::tempdir().unwrap();
    left(&config(dir.path()), &lines(0..3));
    let spool = open(&of("https://one", dir.path()));
    spool.adopt_now();
    assert!(drain(&spool).0.is_empty());
    assert_eq!(stranded(&spool), 3);
    drop(spool);
    let any = SpoolConfig { adopt_from: AdoptFrom::Any, ..of("https://one", dir.path()) };
    assert_eq!(drain(&open(&any)).0["a"], lines(0..3));
}

#[test]
fn a_queue_of_an_origin_that_is_named_is_adopted_and_new_records_lie_apart_from_it() {
    let dir = tempfile::tempdir().unwrap();
    left(&of("https://old", dir.path()), &lines(0..5));
    let new = adopting("https://new", &["https://older", "https://old"], dir.path());
    let spool = open(&new);
    append(&spool, "a", &["new"]);
    spool.adopt_now();
    recovered(&spool);
    assert_eq!((stranded(&spool), spool.depth().pending_records), (0, 6));
    kill(spool);
    // The old endpoint gets nothing that was logged for the new one, whoever delivers first.
    let spool = open(&of("https://old", dir.path()));
    assert_eq!(stranded(&spool), 1);
    assert_eq!(drain(&spool).0["a"], lines(0..5));
    spool.adopt_now();
    assert!(drain(&spool).0.is_empty());
    drop(spool);
    assert_eq!(drain(&open(&of("https://new", dir.path()))).0["a"], ["new"]);
}

#[test]
fn each_adoption_and_what_is_stranded_are_reported_once_without_a_query() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (of("https://old", dir.path()), of("https://new", dir.path()));
    left(&old, &lines(0..3));
    left(&SpoolConfig { signal: Signal::Traces, ..old.clone() }, &["a span"]);
    let (was, now) = ("https://old/v1/logs".to_owned(), "https://new/v1/logs".to_owned());

    for _ in 0..2 {
        let (spool, events) = open_heard(&new);
        assert_eq!((stranded(&spool), stranded(&spool)), (3, 3));
        let expected = SpoolEvent::QueueStranded { records: 3, was: was.clone(), now: now.clone() };
        assert_eq!(heard(spool, &events), [expected], "once at each start");
    }
    let (spool, events) = open_heard(&adopting("https://new", &["https://old"], dir.path()));
    spool.adopt_now();
    all_reported(&spool);
    recovered(&spool);
    let adopted = spool.adopted().unwrap();
    let (sender, done) = mpsc::channel();
    adopted.ask(Job::Reply(sender));
    done.recv().unwrap();
    drop(adopted);
    let expected = SpoolEvent::QueueAdopted { records: 3, was: was.clone(), now };
    assert_eq!(heard(spool, &events), [expected]);

    // Of a sealed queue as well, and where new records go to the same queue.
    let (spool, events) = open_heard(&old);
    append(&spool, "a", &["more"]);
    let expected = SpoolEvent::QueueAdopted { records: 3, was: was.clone(), now: was };
    assert_eq!(heard(spool, &events), [expected]);
}

#[test]
fn exporters_of_one_process_share_a_directory_if_those_of_a_signal_have_one_origin() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (of("https://one", dir.path()), of("https://two", dir.path()));
    let (first, second) = (open(&one), open(&one));
    let refused = Spool::open_silent(&two).err().expect("an error").to_string();
    let path = dir.path().display();
    assert_eq!(
        refused,
        format!(
            "`{path}` is the spool of an exporter of logs of this process that sends to https://one, and this one sends to \
             https://two: give each a directory of its own"
        )
    );
    let spans = open(&SpoolConfig { signal: Signal::Traces, ..two.clone() });
    drop(first);
    assert!(Spool::open_silent(&two).is_err(), "the second one is still there");
    drop(second);
    drop((open(&two), spans));
}

/// Megabytes of records, of which a segment has about eight.
fn fill(spool: &Spool, records: Range<usize>) {
    for n in records {
        append(spool, "a", &[format!("{n:04}{}", "x".repeat(120_000))]);
    }
}

fn numbers(spool: &Spool) -> Vec<usize> {
    let delivered = drain(spool).0.remove("a").unwrap_or_default();
    delivered.iter().filter_map(|line| line.get(..4)?.parse().ok()).collect()
}

/// Sets when the segments of a directory were last written.
fn set_written_at(dir: &Path, at: SystemTime) {
    for segment in segment_dirs(dir) {
        fs::File::options().write(true).open(file_path(&segment)).unwrap().set_modified(at).unwrap();
    }
}

/// Spools with a limit in one directory, for two endpoints.
fn limited_two(dir: &Path) -> (SpoolConfig, SpoolConfig) {
    let limits = limited(dir).limits;
    let of = |origin| SpoolConfig { limits, ..of(origin, dir) };
    (of("https://one"), of("https://two"))
}

#[test]
fn what_is_stranded_counts_for_the_limit_and_gives_way_when_it_is_the_oldest() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = limited_two(dir.path());
    let spool = open(&one);
    fill(&spool, 0..40);
    kill(spool);
    set_written_at(dir.path(), SystemTime::now() - Duration::from_secs(3600));

    let (spool, reported) = open_reporting(&two);
    assert_eq!(stranded(&spool), 40);
    fill(&spool, 100..140);
    all_reported(&spool);
    let used = spool.disk_bytes().unwrap();
    assert!(used <= two.limits.max_bytes + two.segment_bytes, "{used}");
    let left = stranded(&spool);
    let evicted = spool.lost(LossReason::Evicted);
    assert!(evicted > 0 && left + evicted == 40, "{left} are left and {evicted} evicted");
    let mut gaps = reported
        .lock()
        .unwrap()
        .iter()
        .map(|gap| (gap.key.clone(), gap.records, gap.first.is_some()))
        .collect::<Vec<_>>();
    assert_eq!(gaps.iter().map(|(_, records, _)| records).sum::<u64>(), evicted);
    gaps.retain(|(key, _, has_time)| !key.is_empty() || !has_time);
    assert_eq!(gaps, [], "no partition of another endpoint is named");
    assert_eq!(numbers(&spool), (100..140).collect::<Vec<_>>(), "its own are newer");
    drop(spool);

    let rest = numbers(&open(&one));
    let first = 40 - usize::try_from(left).unwrap();
    assert_eq!(rest, (first..40).collect::<Vec<_>>(), "the oldest ones are gone");
}

#[test]
fn what_is_stranded_stays_while_ones_own_is_older_and_where_nothing_is_to_give_way() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = limited_two(dir.path());
    let spool = open(&two);
    fill(&spool, 0..30);
    drop(spool);
    set_written_at(dir.path(), SystemTime::now() - Duration::from_secs(3600));
    let spool = open(&one);
    fill(&spool, 100..120);
    drop(spool);

    let spool = open(&two);
    fill(&spool, 30..45);
    assert_eq!(stranded(&spool), 20);
    assert!(spool.lost(LossReason::Evicted) > 0);
    kill(spool);

    let rejecting = SpoolLimits { when_full: FullPolicy::RejectNew, ..two.limits };
    let spool = open(&SpoolConfig { limits: rejecting, ..of("https://three", dir.path()) });
    let before = stranded(&spool);
    let record = block(&["x".repeat(900_000)]);
    let full = (0..20).find_map(|_| spool.append(&[("a", &record)], &FRAMING).err()).expect("it is full");
    assert!(matches!(full, SpoolError::Full { .. }), "{full}");
    assert_eq!((stranded(&spool), spool.lost(LossReason::Evicted)), (before, 0));
}

/// A process can be killed after each of the calls that make a queue. Nothing is in it then, and it is nobody's.
#[test]
fn a_queue_whose_making_was_cut_off_is_deleted_by_whoever_finds_it() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (of("https://one", dir.path()), of("https://two", dir.path()));
    let spool = open(&one);
    let name = spool.queue.dir.name;
    append(&spool, "a", &["one"]);
    drain(&spool);
    drop(spool);
    let queue = name.path(dir.path());
    assert!(!queue.exists());
    for files in
        [&[][..], &["lock"], &["lock", "endpoint.new"], &["lock", "endpoint"], &["lock", "endpoint", "ballast"]]
    {
        for config in [&one, &two] {
            fs::create_dir(&queue).unwrap();
            for file in files {
                fs::write(queue.join(file), "").unwrap();
            }
            let spool = open(config);
            assert_eq!(stranded(&spool), 0);
            assert!(!queue.exists(), "{files:?}");
        }
    }
}

#[test]
fn a_segment_comes_back_from_the_quarantine_to_its_origin_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (of("https://one", dir.path()), of("https://two", dir.path()));
    left(&one, &["of one"]);
    let spool = open(&one);
    recovered(&spool);
    let segment = segment_dirs(dir.path()).remove(0);
    let id = super::super::dir::parse_segment(segment.file_name().unwrap().to_str().unwrap()).unwrap();
    spool.queue.dir.quarantine(id, u64::MAX).unwrap();
    kill(spool);
    assert!(drain(&open(&two)).0.is_empty());
    assert_eq!(drain(&open(&one)).0["a"], ["of one"]);
}

/// Whoever counts must not have it locked while it does: the next start would make a queue of its own beside it.
#[test]
fn what_is_counted_by_one_is_taken_over_by_another() {
    let dir = tempfile::tempdir().unwrap();
    left(&of("https://one", dir.path()), &lines(0..3));
    let spool = open(&of("https://two", dir.path()));
    assert_eq!(stranded(&spool), 3);
    // It is of another process, which claims nothing here.
    let one = SpoolConfig { signal: Signal::Logs, ..of("https://one", dir.path()) };
    let claim = spool.attached.lock().claim.take();
    drop(claim);
    let owner = open(&one);
    assert_eq!(stranded(&spool), 0, "its owner lives");
    append(&owner, "a", &["more"]);
    assert_eq!(drain(&owner).0["a"].len(), 4);
}

#[cfg(feature = "cli")]
#[test]
fn a_queue_that_is_assigned_is_for_the_other_origin_from_then_on() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (of("https://one", dir.path()), of("https://two", dir.path()));
    left(&one, &lines(0..3));
    let directory = Directory::open(dir.path()).unwrap();
    let queue = directory.queues(None).unwrap().next().unwrap().unwrap();
    let to = Origin::new("https://two");
    assert!(!queue.is_for(&to) && queue.make_exclusive());
    queue.assign(&to, "https://two/v1/logs").unwrap();
    let queue = directory.queues(None).unwrap().next().unwrap().unwrap();
    assert!(queue.is_for(&to));
    assert_eq!(queue.endpoint().as_deref(), Some("https://two/v1/logs"));
    drop(queue);
    let spool = open(&one);
    assert_eq!(stranded(&spool), 3);
    drop(spool);
    assert_eq!(drain(&open(&two)).0["a"], lines(0..3));
}
