//! Files and directories of a spool that somebody deletes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Receiver, spool_dir, wait_for};

use super::{
    Accepted, SEGMENTS, TOOL, Witness, at_once, left_by_a_kill, missing, queues, reported, sealed_segments, segments,
    tool, wait_for_all, wait_for_all_but,
};

fn lock(spool: &Path) -> PathBuf {
    queues(spool).pop().expect("a queue").join("lock")
}

// --- the lock -------------------------------------------------------------------------------------------------------

#[test]
fn a_queue_without_its_lock_file_is_adopted_and_delivered_by_the_next_start() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let accepted = left_by_a_kill(&receiver, spool.path());
    fs::remove_file(lock(spool.path())).expect("a file");
    receiver.come_up();
    let process = Witness::open(&receiver, spool.path());
    wait_for_all(&receiver, &accepted);
    process.kill();
}

#[test]
fn a_queue_without_its_lock_file_is_delivered_by_drain() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let accepted = left_by_a_kill(&receiver, spool.path());
    fs::remove_file(lock(spool.path())).expect("a file");
    receiver.come_up();
    let output = tool(Command::new(TOOL), spool.path(), &["drain", "--yes"]);
    assert!(output.status.success(), "{output:?}");
    receiver.look(|log| assert_eq!(missing(log, &accepted), Accepted::new()));
    wait_for_all(&receiver, &accepted);
}

#[test]
fn a_queue_whose_owner_lives_is_adopted_by_nobody_although_its_lock_file_is_gone() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let mut accepted = Accepted::new();
    let mut owner = Witness::open(&receiver, spool.path());
    owner.log(&mut accepted, "owner", 1, SEGMENTS);
    let lock = lock(spool.path());
    fs::remove_file(&lock).expect("a file");
    let mut other = Witness::open(&receiver, spool.path());
    // Finds nothing to do.
    tool(Command::new(TOOL), spool.path(), &["drain", "--yes", "--for", "1s"]);
    other.log(&mut accepted, "other", 1, SEGMENTS);
    owner.log(&mut accepted, "owner", SEGMENTS + 1, 2 * SEGMENTS);
    receiver.come_up();
    wait_for_all(&receiver, &accepted);
    owner.log(&mut accepted, "owner", 2 * SEGMENTS + 1, 3 * SEGMENTS);
    other.log(&mut accepted, "other", SEGMENTS + 1, 2 * SEGMENTS);
    wait_for_all(&receiver, &accepted);
    wait_for("the owner to make its lock file again", || lock.exists().then_some(()));
    for process in [&mut owner, &mut other] {
        let stats = process.stats();
        assert_eq!((stats["lost"], stats["pending"]), (0, 0), "{stats:?}, {:#?}", process.events);
    }
    owner.kill();
    other.kill();
}

// --- segments -------------------------------------------------------------------------------------------------------

/// What somebody deletes of a segment.
#[derive(Clone, Copy, Debug)]
enum Deleted {
    Directory,
    Database,
}

impl Deleted {
    fn delete(self, segment: &Path) {
        match self {
            Self::Directory => fs::remove_dir_all(segment).expect("a directory"),
            Self::Database => fs::remove_file(segment.join("db")).expect("a file"),
        }
    }
}

/// All but the segment's records arrive, and its records are counted and reported.
fn assert_counted(receiver: &Receiver, process: &mut Witness, accepted: &Accepted, what: Deleted) {
    wait_for_all_but(receiver, accepted, 60);
    process.wait_for_stats("an end", |stats| stats["pending"] == 0);
    let lost = receiver.look(|log| missing(log, accepted));
    assert_eq!(process.stats()["corrupt"], lost.len(), "{what:?}");
    if lost.is_empty() {
        // It was still open.
        return;
    }
    receiver.wait_until("a gap record", |log| {
        log.delivered.iter().any(|message| message.contains("corrupt")).then_some(())
    });
    assert_eq!(reported(receiver, "corrupt"), lost.len(), "{what:?}");
}

#[test]
fn a_segment_that_is_deleted_under_a_running_process_is_counted_and_reported_and_the_rest_is_delivered() {
    let whats = [Deleted::Directory, Deleted::Database];
    let cases: Vec<_> = whats.into_iter().flat_map(|what| [(what, "sealed"), (what, "active")]).collect();
    at_once(&cases, |(what, which)| {
        let (receiver, spool) = (Receiver::start_down(), spool_dir());
        let mut accepted = Accepted::new();
        let mut process = Witness::open(&receiver, spool.path());
        process.log(&mut accepted, "m", 1, SEGMENTS);
        let sealed = || Some(sealed_segments(spool.path())).filter(|sealed| sealed.len() >= 3);
        let sealed = wait_for("sealed segments", sealed);
        let is_open = |segment: &PathBuf| !segment.join("seal").exists();
        let active = segments(spool.path()).into_iter().rfind(is_open).expect("the active segment");
        what.delete(if which == "sealed" { &sealed[1] } else { &active });
        receiver.come_up();
        assert_counted(&receiver, &mut process, &accepted, what);
        process.log(&mut accepted, "n", 1, SEGMENTS);
        wait_for_all_but(&receiver, &accepted, 60);
        process.wait_for_stats("an end", |stats| stats["pending"] == 0);
        let lost = receiver.look(|log| missing(log, &accepted));
        assert_eq!(process.stats()["corrupt"], lost.len());
        process.kill();
    });
}

#[test]
fn a_database_that_is_deleted_while_no_process_runs_is_counted_and_reported_and_the_rest_is_delivered() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let accepted = left_by_a_kill(&receiver, spool.path());
    let what = Deleted::Database;
    what.delete(&sealed_segments(spool.path())[1]);
    receiver.come_up();
    let mut process = Witness::open(&receiver, spool.path());
    assert_counted(&receiver, &mut process, &accepted, what);
    process.kill();
}

/// Nobody knows then what was in it.
#[test]
fn a_segment_that_is_deleted_while_no_process_runs_does_not_stop_the_rest() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let accepted = left_by_a_kill(&receiver, spool.path());
    Deleted::Directory.delete(&sealed_segments(spool.path())[1]);
    receiver.come_up();
    let mut process = Witness::open(&receiver, spool.path());
    wait_for_all_but(&receiver, &accepted, 60);
    process.wait_for_stats("an end", |stats| stats["pending"] == 0);
    process.kill();
}
