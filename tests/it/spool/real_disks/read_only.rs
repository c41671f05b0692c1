//! File systems that are read-only, from the start or for a while.

use std::path::Path;
use std::process::Command;

use common::{FileSystem, Kind, Receiver, run, skip};
use serde_json::Value;

use super::{Accepted, SEGMENTS, TOOL, Witness, missing, one_by_one, text, tool, wait_for_all};

/// What the commands print that only read: all that does not change with the time.
fn look(spool: &Path, temporary: &Path) -> Vec<(String, i32, String, String)> {
    let commands = [
        &["ls"][..],
        &["ls", "--json"],
        &["cat"],
        &["stats"],
        &["stats", "--json"],
        &["verify"],
        &["verify", "--json"],
        &["drain", "--dry-run"],
        &["drain", "--dry-run", "--json"],
    ];
    let output = commands.into_iter().map(|command| {
        let mut program = Command::new(TOOL);
        program.env("TMPDIR", temporary);
        let output = tool(program, spool, command);
        let code = output.status.code().expect("the tool ends by itself");
        let is_table = ["ls", "stats"].contains(&command[0]) && command.len() == 1;
        let mut printed = text(&output.stdout);
        if command.contains(&"--json")
            && let Ok(mut document) = serde_json::from_str(&printed)
        {
            forget_ages(&mut document);
            printed = document.to_string();
        } else if is_table {
            printed.clear();
        }
        (command.join(" "), code, printed, text(&output.stderr))
    });
    output.collect()
}

/// Takes the time since something out of a document.
fn forget_ages(document: &mut Value) {
    match document {
        Value::Object(object) => {
            object.retain(|name, _| !name.contains("age_"));
            object.values_mut().for_each(forget_ages);
        }
        Value::Array(array) => array.iter_mut().for_each(forget_ages),
        _ => {}
    }
}

#[test]
fn the_tool_reads_a_spool_on_a_read_only_file_system_with_and_without_a_place_for_temporary_files() {
    one_by_one(&Kind::ALL, |kind| {
        let Some(disk) = FileSystem::create(kind) else { return };
        let (receiver, spool) = (Receiver::start(), disk.path().join("spool"));
        let mut accepted = Accepted::new();
        let mut process = Witness::open(&receiver, &spool);
        process.log(&mut accepted, "m", 1, 20);
        wait_for_all(&receiver, &accepted);
        receiver.go_down();
        process.log(&mut accepted, "n", 1, SEGMENTS);
        process.kill();

        let writable = common::spool_dir();
        let expected = look(&spool, writable.path());
        for (command, code, out, error) in &expected {
            assert_eq!((*code, &**error), (0, ""), "{kind:?}, {command}: {out:.2000}");
        }
        assert_eq!(look(&spool, writable.path()), expected, "{kind:?}, before anything is read-only");
        disk.remount("ro");
        assert_eq!(look(&spool, writable.path()), expected, "{kind:?}");
        assert_eq!(look(&spool, disk.path()), expected, "{kind:?}, without a place for temporary files");
        disk.remount("rw");

        receiver.come_up();
        let process = Witness::open(&receiver, &spool);
        wait_for_all(&receiver, &accepted);
        process.kill();
    });
}

/// Only btrfs can be made read-only below a process that writes: a subvolume of it.
#[test]
fn a_file_system_that_is_read_only_for_a_while_costs_nothing_that_was_accepted() {
    let Some(disk) = FileSystem::create(Kind::Btrfs) else { return };
    let volume = disk.path().join("volume");
    if let Err(why) = run(Command::new("btrfs").args(["-q", "subvolume", "create"]).arg(&volume)) {
        return skip(&why);
    }
    let set = |read_only: &str| {
        run(Command::new("btrfs").args(["property", "set"]).arg(&volume).args(["ro", read_only]))
            .expect("a subvolume that can be made read-only");
    };
    let (receiver, spool) = (Receiver::start_down(), volume.join("spool"));
    let mut accepted = Accepted::new();
    let mut process = Witness::open(&receiver, &spool);
    process.log(&mut accepted, "m", 1, SEGMENTS);
    set("true");
    let refused = process.try_to_log(&mut accepted, "n", 1, 2 * SEGMENTS);
    assert!(refused > 0, "it is not read-only");
    receiver.come_up();
    receiver.wait_until("what was accepted", |log| missing(log, &accepted).is_empty().then_some(()));
    set("false");
    process.log_until_accepted(&mut accepted, "later");
    process.log(&mut accepted, "o", 1, SEGMENTS);
    wait_for_all(&receiver, &accepted);
    assert_eq!(process.stats()["lost"], 0);
    process.kill();

    let mut process = Witness::open(&receiver, &spool);
    process.log(&mut accepted, "p", 1, 10);
    wait_for_all(&receiver, &accepted);
    process.kill();
}
