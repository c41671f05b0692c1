//! Power cuts on a disk with a volatile cache, on every kind of file system: any of the blocks that were not flushed are lost.

use std::process::Command;

use common::{FileSystem, Kind, Receiver, run, seed, variable};

use super::one_by_one;
use crate::spool::load::{accepted, answer_in_every_way, deliver_and_check};
use crate::spool::power_cut::{load_for_a_while, start};

/// So large that it is never full.
const DISK_MIB: u64 = 512;

#[test]
fn power_cuts_of_a_disk_with_a_cache_never_lose_an_accepted_record_on_any_file_system() {
    seed();
    let cuts = variable("SPOOL_TEST_CUTS", 5);
    let seeds = Kind::ALL.map(|kind| (kind, fastrand::u64(..)));
    one_by_one(&seeds, |(kind, seed)| {
        fastrand::seed(seed);
        let Some(disk) = FileSystem::create_volatile(kind, DISK_MIB) else { return };
        let spool = disk.path().join("var").join("spool");
        let receiver = Receiver::start();
        answer_in_every_way(&receiver);
        let mut runs = Vec::new();
        for run in 0..cuts {
            let child = load_for_a_while(run, &receiver, &spool);
            stop(&child.pid);
            disk.cut_power();
            let said = child.process.kill();
            disk.restart();
            runs.push(accepted(&said));
        }
        deliver_and_check(&receiver, &spool, &runs, &format!("{kind:?}: {cuts} power cuts"));
    });
}

/// Nothing is sent or said any more.
fn stop(pid: &str) {
    run(Command::new("sh").args(["-c", "kill -STOP $0", pid])).expect("a process that can be stopped");
}

/// The proof that such a cut takes anything at all.
#[test]
fn a_power_cut_of_a_disk_with_a_cache_takes_what_was_accepted_without_a_sync_and_nothing_else() {
    seed();
    let seeds = Kind::ALL.map(|kind| (kind, fastrand::u64(..)));
    one_by_one(&seeds, |(kind, seed)| {
        fastrand::seed(seed);
        let lost = ["sync", "never"].map(|durability| lost_by_a_power_cut(kind, durability));
        let [Some(synced), Some(unsynced)] = lost else { return };
        println!("{kind:?}: of 30 accepted records a power cut took {synced} synced and {unsynced} others");
        assert_eq!(synced, 0, "{kind:?}");
        assert!(unsynced > 0, "{kind:?}: nothing was lost that was not synced: these power cuts are none");
    });
}

/// How many of thirty accepted records are not delivered after a power cut.
fn lost_by_a_power_cut(kind: Kind, durability: &str) -> Option<usize> {
    let disk = FileSystem::create_volatile(kind, DISK_MIB)?;
    let (spool, receiver) = (disk.path().join("spool"), Receiver::start_down());
    let mut child = start("power", &receiver, &spool, durability, &[]);
    child.process.tell("log m 1 30");
    child.process.wait_for("accepted 30");
    stop(&child.pid);
    disk.cut_power();
    child.process.kill();
    disk.restart();

    receiver.come_up();
    let mut child = start("power", &receiver, &spool, "sync", &[]);
    child.process.tell("flush");
    child.process.wait_for("flushed");
    child.process.finish();
    Some(30 - receiver.delivered().iter().filter(|message| message.starts_with('m')).count())
}
