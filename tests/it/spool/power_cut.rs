//! Accepted records survive a power cut, on a file system whose unsynced writes are really lost.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use common::{Answer, Child, Disk, Receiver, Request, Service, exporter, names, run, seed, variable};

use crate::CHILD;
use crate::spool::load::{accepted, answer_in_every_way, deliver_and_check};

/// The size of the disk, so large that it is never full.
const DISK_MIB: u64 = 512;

/// A child process, and its id.
pub(super) struct Powered {
    pub(super) process: Child,
    pub(super) pid: String,
}

/// Starts one of the child processes.
pub(super) fn start(name: &str, receiver: &Receiver, spool: &Path, durability: &str, more: &[(&str, &str)]) -> Powered {
    let endpoint = receiver.url("/ingest");
    let settings: [(&str, &OsStr); 3] = [
        ("SPOOL_CHILD_ENDPOINT", endpoint.as_ref()),
        ("SPOOL_CHILD_DIR", spool.as_ref()),
        ("SPOOL_CHILD_DURABILITY", durability.as_ref()),
    ];
    let more = more.iter().map(|(name, value)| (*name, value.as_ref()));
    let mut process = Child::start(Command::new(CHILD), name, settings.into_iter().chain(more));
    let pid = process.wait_for("pid");
    Powered { process, pid }
}

/// Starts a process that logs, and comes back anywhere: while it starts, while it opens the spool, while it logs, and while it only
/// delivers. The receiver may be down.
pub(super) fn load_for_a_while(run: u64, receiver: &Receiver, spool: &Path) -> Powered {
    match fastrand::u32(..4) {
        0 => receiver.go_down(),
        _ => receiver.come_up(),
    }
    let records = if fastrand::bool() { usize::MAX } else { fastrand::usize(1..2_000) };
    let (run, records) = (run.to_string(), records.to_string());
    let more = [("SPOOL_CHILD_RUN", run.as_str()), ("SPOOL_CHILD_RECORDS", records.as_str())];
    let mut child = start("load", receiver, spool, "sync", &more);
    if fastrand::u32(..5) > 0 {
        child.process.wait_for("ready");
    }
    if fastrand::bool() {
        receiver.come_up();
    }
    thread::sleep(Duration::from_micros(fastrand::u64(..500_000)));
    child
}

/// Cuts the power of a process and its disk: nothing is done, sent or said any more. Gives what it had said and nobody had
/// waited for.
fn cut_power(disk: &Disk, child: Powered) -> Vec<String> {
    run(Command::new("sh").args(["-c", "kill -STOP $0", &child.pid])).expect("a process that can be stopped");
    disk.cut_power();
    let said = child.process.kill();
    disk.restart();
    said
}

#[test]
fn power_cuts_at_random_moments_under_load_never_lose_an_accepted_record() {
    seed();
    let cuts = variable("SPOOL_TEST_CUTS", 20);
    let Some(disk) = Disk::create(DISK_MIB) else { return };
    // Two directories deep, so that there are more names to be lost.
    let spool = disk.path().join("var").join("spool");
    let receiver = Receiver::start();
    answer_in_every_way(&receiver);
    let mut runs = Vec::new();
    for run in 0..cuts {
        let child = load_for_a_while(run, &receiver, &spool);
        let said = cut_power(&disk, child);
        runs.push(accepted(&said));
    }

    deliver_and_check(&receiver, &spool, &runs, &format!("{cuts} power cuts"));
}

/// The segment of a batch, and its first record there: a key is `<segment>.<lane>-<first>-<last>`.
fn place(request: &Request) -> (String, u64) {
    let (segment, numbers) = request.key().split_once('.').expect("a key");
    let first = numbers.split('-').nth(1).and_then(|first| first.parse().ok());
    (segment.to_owned(), first.expect("a number"))
}

/// The names of directories are lost as well as what files hold.
#[test]
fn a_segment_that_a_power_cut_brings_back_is_not_delivered_under_other_keys() {
    let Some(disk) = Disk::create(DISK_MIB) else { return };
    let (spool, receiver) = (disk.path().join("spool"), Receiver::start());
    let mut child = start("power", &receiver, &spool, "sync", &[]);
    // Long keys make long seals.
    child.process.tell("log-of-long-tenants 20 20");
    child.process.wait_for("accepted");
    child.process.tell("flush");
    child.process.wait_for("flushed");
    // These come one by one and are delivered in batches as they come; a segment has about a hundred of them.
    child.process.tell("log m 1 80");
    child.process.wait_for("accepted");
    child.process.tell("flush");
    child.process.wait_for("flushed");
    let (before, _) = place(&receiver.requests().pop().expect("a request"));
    receiver.answer_always(Answer::hang());
    child.process.tell("log m 81 350");
    child.process.wait_for("accepted");
    // Goes on until that segment is delivered and deleted, and then a little further, so that this is written down. Much
    // further, and the next segment would be prepared, which syncs the file system.
    let hangs = move |request: &Request| {
        let (segment, first) = place(request);
        segment != before && first >= 20
    };
    let hangs_too = hangs.clone();
    receiver.answer_by(move |request| if hangs_too(request) { Answer::hang() } else { Answer::ok() });
    receiver.release();
    receiver.wait_until("a batch that hangs", |log| log.requests.last().filter(|request| hangs(request)).map(drop));
    cut_power(&disk, child);

    receiver.answer_always(Answer::ok());
    let mut child = start("power", &receiver, &spool, "sync", &[]);
    child.process.tell("flush");
    child.process.wait_for("flushed");
    child.process.finish();
    let delivered: Vec<_> = receiver.delivered().into_iter().filter(|message| message.starts_with("m-")).collect();
    assert!(delivered == names("m", 1..=350), "350 records were logged, and {} delivered", delivered.len());
}

/// How many of thirty accepted records are not delivered after a power cut.
fn lost_by_a_power_cut(durability: &str) -> Option<usize> {
    let disk = Disk::create(DISK_MIB)?;
    let (spool, receiver) = (disk.path().join("spool"), Receiver::start_down());
    let mut child = start("power", &receiver, &spool, durability, &[]);
    child.process.tell("log m 1 30");
    child.process.wait_for("accepted 30");
    cut_power(&disk, child);

    receiver.come_up();
    let mut child = start("power", &receiver, &spool, "sync", &[]);
    child.process.tell("log n 1 10");
    child.process.tell("flush");
    child.process.wait_for("flushed");
    child.process.finish();
    // Another record may tell of those that are lost.
    let delivered: Vec<_> =
        receiver.delivered().into_iter().filter(|message| message.starts_with(['m', 'n'])).collect();
    assert!(delivered.is_sorted(), "out of order: {delivered:?}");
    assert!(delivered.ends_with(&names("n", 1..=10)), "new records are delivered, whatever became of the old ones");
    Some(40 - delivered.len())
}

/// The proof that a power cut takes anything at all here.
#[test]
fn a_power_cut_takes_what_was_accepted_without_a_sync_and_nothing_else() {
    let lost = ["sync", "process", "never"].map(lost_by_a_power_cut);
    let [Some(sync), Some(process), Some(interval)] = lost else { return };
    println!(
        "of 30 accepted records a power cut took {sync} synced, {process} unsynced, {interval} before the interval was over"
    );
    assert_eq!(sync, 0);
    assert!(process > 0, "nothing was lost that was not synced: these power cuts are none");
    assert!(interval > 0, "nothing was lost that was not synced: these power cuts are none");
}

#[test]
fn with_an_interval_a_power_cut_takes_nothing_that_was_accepted_before_the_last_sync() {
    let Some(disk) = Disk::create(DISK_MIB) else { return };
    let (spool, receiver) = (disk.path().join("spool"), Receiver::start_down());
    let mut child = start("power", &receiver, &spool, "100", &[]);
    child.process.wait_for("ready");
    for number in 1..=5 {
        let Some(before) = disk.commits() else { return };
        child.process.tell(&format!("log m {number} {number}"));
        child.process.wait_for(&format!("accepted {number}"));
        disk.wait_for_commit_after(before);
    }
    cut_power(&disk, child);

    receiver.come_up();
    let service = Service::batch(exporter(&receiver, &spool));
    service.deliver();
    assert_eq!(receiver.delivered(), names("m", 1..=5));
}
