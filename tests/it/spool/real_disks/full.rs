//! File systems without a free byte.

use std::path::Path;
use std::process::Command;

use common::{FileSystem, Kind, Mount, Receiver, fill, run, skip, spool_dir, variable};

use super::{Accepted, SEGMENTS, Witness, left_by_a_kill, missing, one_by_one, wait_for_all};
use crate::CHILD;

/// Opening, reading and delivering take no new block, however often a process starts.
#[test]
fn on_a_full_file_system_everything_is_delivered_however_often_it_is_started_and_killed() {
    let starts = variable("SPOOL_TEST_STARTS", 5);
    one_by_one(&Kind::ALL, |kind| {
        let Some(disk) = FileSystem::create(kind) else { return };
        let (receiver, spool) = (Receiver::start_down(), disk.path().join("spool"));
        let mut accepted = Accepted::new();
        let mut process = Witness::open(&receiver, &spool);
        process.log(&mut accepted, "m", 1, SEGMENTS);
        disk.fill();
        let refused = process.try_to_log(&mut accepted, "n", 1, SEGMENTS);
        assert!(refused > 0, "the disk is not full");
        process.kill();
        for start in 1..=starts {
            // Others take what becomes free.
            disk.fill();
            let mut process = Witness::start(&receiver, &spool);
            process.try_open().unwrap_or_else(|error| panic!("{kind:?}, start {start}: {error}"));
            process.kill();
        }
        // Delivers a little in each of three lives.
        for _ in 0..3 {
            disk.fill();
            let seen = receiver.look(|log| log.requests.len());
            receiver.come_up();
            let process = Witness::open(&receiver, &spool);
            receiver.wait_until("another request", |log| {
                (log.requests.len() > seen + 2 || missing(log, &accepted).is_empty()).then_some(())
            });
            process.kill();
        }
        let mut process = Witness::open(&receiver, &spool);
        wait_for_all(&receiver, &accepted);
        process.log_until_accepted(&mut accepted, "later");
        wait_for_all(&receiver, &accepted);
        process.kill();
    });
}

#[test]
fn the_queue_of_a_dead_process_is_adopted_and_delivered_on_a_full_file_system() {
    one_by_one(&Kind::ALL, |kind| {
        let Some(disk) = FileSystem::create(kind) else { return };
        let (receiver, spool) = (Receiver::start_down(), disk.path().join("spool"));
        let mut accepted = Accepted::new();
        let mut living = Witness::open(&receiver, &spool);
        living.log(&mut accepted, "living", 1, 10);
        let mut dying = [Witness::open(&receiver, &spool), Witness::open(&receiver, &spool)];
        for (process, name) in dying.iter_mut().zip(["first", "second"]) {
            process.log(&mut accepted, name, 1, SEGMENTS / 2);
        }
        disk.fill();
        dying.into_iter().for_each(Witness::kill);
        disk.fill();
        receiver.come_up();
        wait_for_all(&receiver, &accepted);
        living.log_until_accepted(&mut accepted, "later");
        wait_for_all(&receiver, &accepted);
        assert_eq!(living.stats()["lost"], 0, "{kind:?}");
        living.kill();
    });
}

/// A quota is met before the file system is full.
#[test]
fn a_quota_that_is_met_rejects_records_and_still_delivers_what_was_accepted() {
    let Some(disk) = FileSystem::create(Kind::Btrfs) else { return };
    let volume = disk.path().join("volume");
    let btrfs = |words: &[&str], path: &Path| run(Command::new("btrfs").args(words).arg(path));
    let limited = btrfs(&["quota", "enable"], disk.path())
        .and_then(|()| btrfs(&["subvolume", "create"], &volume))
        .and_then(|()| btrfs(&["qgroup", "limit", "12M"], &volume));
    if let Err(why) = limited {
        return skip(&why);
    }
    fills_up_and_is_delivered(&volume);
}

#[test]
fn a_tmpfs_that_is_full_rejects_records_and_still_delivers_what_was_accepted() {
    let dir = spool_dir();
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=12m", "tmpfs"]);
    let disk = match Mount::at(dir.path().join("mount"), &mut mount) {
        Ok(disk) => disk,
        Err(why) => return skip(&why),
    };
    fills_up_and_is_delivered(disk.path());
}

/// The spool fills the space that there is, is started and killed a few times, and then delivered.
fn fills_up_and_is_delivered(space: &Path) {
    let (receiver, spool) = (Receiver::start_down(), space.join("spool"));
    let mut accepted = Accepted::new();
    let mut process = Witness::open(&receiver, &spool);
    assert!(process.try_to_log(&mut accepted, "m", 1, 1_000) > 0, "there is more space than was thought");
    process.kill();
    for start in 1..=3 {
        fill(space);
        let mut process = Witness::start(&receiver, &spool);
        process.try_open().unwrap_or_else(|error| panic!("start {start} without space: {error}"));
        process.kill();
    }
    let mut process = Witness::open(&receiver, &spool);
    receiver.come_up();
    wait_for_all(&receiver, &accepted);
    process.log_until_accepted(&mut accepted, "later");
    wait_for_all(&receiver, &accepted);
    process.kill();
}

/// A spool that was full of another process's records takes new ones as soon as those are delivered.
#[test]
fn the_space_of_delivered_records_is_given_back_within_the_limit() {
    let (receiver, dir) = (Receiver::start_down(), spool_dir());
    let mut accepted = left_by_a_kill(&receiver, dir.path());
    let limit = [("SPOOL_CHILD_MAX_SPOOL_BYTES", "8388608")];
    let mut process = Witness::start_with(Command::new(CHILD), &limit, &receiver, dir.path());
    process.try_open().expect("a spool that can be opened");
    assert!(process.try_to_log(&mut accepted, "n", 1, 500) > 0, "the limit is not met");
    receiver.come_up();
    wait_for_all(&receiver, &accepted);
    process.log_until_accepted(&mut accepted, "later");
    process.log(&mut accepted, "still", 1, 100);
    wait_for_all(&receiver, &accepted);
    process.kill();
}
