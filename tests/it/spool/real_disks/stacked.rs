//! File systems on top of others, and clocks that are set.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{FileSystem, Kind, Mount, Receiver, skip, spool_dir, wait_for};

use super::{Accepted, SEGMENTS, Witness, list, segments, wait_for_all};
use crate::CHILD;

/// In an overlay the directories of the lower layer cannot be renamed.
#[test]
fn a_spool_in_the_lower_layer_of_an_overlay_is_delivered_and_its_space_is_given_back() {
    let Some(disk) = FileSystem::create(Kind::Ext4) else { return };
    let layer = |name: &str| -> PathBuf {
        let layer = disk.path().join(name);
        fs::create_dir(&layer).expect("a directory");
        layer
    };
    let (lower, upper, work) = (layer("lower"), layer("upper"), layer("work"));
    let receiver = Receiver::start_down();
    let limit = [("SPOOL_CHILD_MAX_SPOOL_BYTES", "8388608")];
    let open = |spool: &Path| {
        let mut process = Witness::start_with(Command::new(CHILD), &limit, &receiver, spool);
        process.try_open().expect("a spool that can be opened");
        process
    };
    let mut accepted = Accepted::new();
    let mut process = open(&lower.join("spool"));
    assert!(process.try_to_log(&mut accepted, "m", 1, 500) > 0, "the limit is not met");
    process.kill();
    let options = format!(
        "lowerdir={},upperdir={},workdir={},redirect_dir=off",
        lower.display(),
        upper.display(),
        work.display()
    );
    let mut mount = Command::new("mount");
    mount.args(["-t", "overlay", "-o", &options, "overlay"]);
    let overlay = match Mount::at(disk.path().join("stacked"), &mut mount) {
        Ok(overlay) => overlay,
        Err(why) => return skip(&why),
    };
    let spool = overlay.path().join("spool");
    let mut process = open(&spool);
    receiver.come_up();
    wait_for_all(&receiver, &accepted);
    wait_for("the segments to be deleted", || (segments(&spool).len() <= 2).then_some(()));
    receiver.go_down();
    process.log_until_accepted(&mut accepted, "later");
    process.log(&mut accepted, "n", 1, 100);
    receiver.come_up();
    wait_for_all(&receiver, &accepted);
    assert_eq!(process.stats()["lost"], 0);
    process.kill();

    let mut process = open(&spool);
    process.log(&mut accepted, "o", 1, 10);
    wait_for_all(&receiver, &accepted);
    process.kill();
}

/// What is left of segments and queues that were deleted.
fn leftovers(spool: &Path) -> Vec<PathBuf> {
    let queues = super::queues(spool).into_iter().flat_map(|queue| list(&queue));
    let is_left = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(".fuse_hidden") || path.extension() == Some(OsStr::new("dead"))
    };
    let inside = segments(spool).into_iter().flat_map(|segment| list(&segment));
    queues.chain(inside).chain(list(spool)).filter(is_left).collect()
}

/// A file that is deleted while it is open gets another name there, and its directory cannot be removed before it is closed.
#[test]
fn on_bindfs_segments_are_deleted_without_leftovers() {
    let dir = spool_dir();
    let below = dir.path().join("below");
    fs::create_dir(&below).expect("a directory");
    let mount = match Mount::at(dir.path().join("stacked"), Command::new("bindfs").arg(&below)) {
        Ok(mount) => mount,
        Err(why) => return skip(&why),
    };
    let (receiver, spool) = (Receiver::start_down(), mount.path().join("spool"));
    let mut accepted = Accepted::new();
    let mut process = Witness::open(&receiver, &spool);
    process.log(&mut accepted, "m", 1, 2 * SEGMENTS);
    receiver.come_up();
    wait_for_all(&receiver, &accepted);
    process.log(&mut accepted, "n", 1, 2 * SEGMENTS);
    wait_for_all(&receiver, &accepted);
    wait_for("the segments to be deleted", || {
        (segments(&spool).len() <= 2 && leftovers(&spool).is_empty()).then_some(())
    });
    process.stats();
    let failed = process.events.iter().filter(|event| event.starts_with("HousekeepingFailed")).count();
    assert!(failed <= 1, "{:#?}", process.events);
    process.kill();

    let mut process = Witness::open(&receiver, &spool);
    process.log(&mut accepted, "o", 1, 10);
    wait_for_all(&receiver, &accepted);
    process.kill();
}

/// Debian's library that sets the clock of one process.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

#[test]
fn a_clock_that_is_set_costs_nothing() {
    if !Path::new(FAKETIME).exists() {
        return skip(&format!("{FAKETIME} is not installed"));
    }
    let (receiver, dir) = (Receiver::start_down(), spool_dir());
    let (spool, clock) = (dir.path().join("spool"), dir.path().join("clock"));
    let set = |offset: &str| fs::write(&clock, format!("{offset}\n")).expect("a file");
    let settings = [
        ("LD_PRELOAD", FAKETIME),
        ("FAKETIME_TIMESTAMP_FILE", clock.to_str().expect("a path of ASCII characters")),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    set("+0");
    let mut accepted = Accepted::new();
    let mut process = Witness::start_with(Command::new(CHILD), &settings, &receiver, &spool);
    process.try_open().expect("a spool that can be opened");
    for (step, offset) in ["+10y", "-20y", "+0", "-1d"].into_iter().enumerate() {
        set(offset);
        process.log(&mut accepted, &format!("down{step}"), 1, 70);
        receiver.come_up();
        process.log(&mut accepted, &format!("up{step}"), 1, 70);
        set(if step % 2 == 0 { "-30d" } else { "+30d" });
        wait_for_all(&receiver, &accepted);
        receiver.go_down();
    }
    process.log(&mut accepted, "last", 1, SEGMENTS);
    assert_eq!((process.stats()["lost"], process.panics.len()), (0, 0), "{:#?}", process.panics);
    process.kill();
    // 1980, where nothing had been logged yet.
    set("-45y");
    let mut process = Witness::start_with(Command::new(CHILD), &settings, &receiver, &spool);
    process.try_open().expect("a spool that can be opened");
    receiver.come_up();
    process.log(&mut accepted, "past", 1, 10);
    wait_for_all(&receiver, &accepted);
    assert_eq!((process.stats()["lost"], process.panics.len()), (0, 0), "{:#?}", process.panics);
    process.kill();
}
