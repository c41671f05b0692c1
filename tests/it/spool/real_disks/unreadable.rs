//! Segments that cannot be opened: the rest is delivered. Damage that lasts costs the segment; what an operator can mend is
//! waited for.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Receiver, run, skip, spool_dir};

use super::{
    Accepted, TOOL, Witness, at_once, left_by_a_kill, list, missing, reported, sealed_segments, segments, text, tool,
    wait_for_all, wait_for_all_but, without_privileges,
};
use crate::CHILD;
use crate::spool::disk_faults::Fault;

/// What is wrong with a segment, by the name of the error and its number.
type Error = (&'static str, u32);

/// Errors that an operator can mend.
const MENDABLE: [Error; 6] =
    [("EPERM", 1), ("ENOMEM", 12), ("ENODEV", 19), ("ENFILE", 23), ("EMFILE", 24), ("ESTALE", 116)];
/// Errors that mean damage if they last.
const DAMAGE: [Error; 3] = [("EIO", 5), ("EBADMSG", 74), ("EUCLEAN", 117)];

/// Which segment it is: one that was sealed, or the newest, which nobody could seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    Sealed,
    Newest,
}

/// A spool of which one segment can be opened by nobody: its process, whose endpoint is up, what was accepted, and that
/// segment. `None` where that cannot be; this is then said.
fn with_an_error(
    (error, _): Error,
    which: Which,
    spool: &Path,
    receiver: &Receiver,
) -> Option<(Witness, Fault, Accepted, PathBuf)> {
    let accepted = left_by_a_kill(receiver, spool);
    let sealed = sealed_segments(spool);
    let segment = match which {
        Which::Sealed => sealed[1].clone(),
        Which::Newest => segments(spool).into_iter().find(|segment| !sealed.contains(segment)).expect("a newest one"),
    };
    let mut process = Witness::start(receiver, spool);
    let fault = Fault::inject(("open,openat", error, "1+"), &[segment.join("db")], process.pid)?;
    process.try_open().expect("a spool that can be opened without one segment");
    receiver.come_up();
    Some((process, fault, accepted, segment))
}

#[test]
fn a_segment_that_cannot_be_opened_for_a_mendable_error_is_held_and_delivered_once_that_is_mended() {
    let cases = MENDABLE.map(|error| (error, Which::Sealed)).into_iter().chain([(MENDABLE[5], Which::Newest)]);
    at_once(&cases.collect::<Vec<_>>(), |(error, which)| {
        let (receiver, spool) = (Receiver::start_down(), spool_dir());
        let Some((mut process, fault, accepted, segment)) = with_an_error(error, which, spool.path(), &receiver) else {
            return;
        };
        // A segment holds about fifty.
        let waiting = wait_for_all_but(&receiver, &accepted, 60);
        assert!(!waiting.is_empty(), "{error:?}: the segment was opened");
        process.wait_for_event(&format!("os error {}", error.1));
        // Longer than it takes for damage to be believed: the next attempts are 30 s apart.
        assert!(segment.join("db").exists(), "{error:?}: the segment is gone");
        let stats = process.stats();
        assert_eq!((stats["lost"], stats["corrupt"]), (0, 0), "{error:?}: {stats:?}");
        drop(fault);
        wait_for_all(&receiver, &accepted);
        let stats = process.stats();
        assert_eq!((stats["lost"], stats["corrupt"]), (0, 0), "{error:?}: {stats:?}");
        process.kill();
    });
}

#[test]
fn a_segment_that_stays_unreadable_is_put_into_quarantine_whole_and_counted_and_the_rest_is_delivered() {
    at_once(&DAMAGE, |error| {
        let (receiver, spool) = (Receiver::start_down(), spool_dir());
        let Some((mut process, fault, accepted, segment)) =
            with_an_error(error, Which::Sealed, spool.path(), &receiver)
        else {
            return;
        };
        let whole = fs::read(segment.join("db")).expect("a file");
        wait_for_all_but(&receiver, &accepted, 60);
        process.wait_for_stats("the segment to be counted as corrupt", |stats| {
            stats["corrupt"] > 0 && stats["pending"] == 0
        });
        let lost = receiver.look(|log| missing(log, &accepted));
        assert_eq!(process.stats()["corrupt"], lost.len(), "{error:?}");
        process.wait_for_event("Segment");
        receiver.wait_until("a gap record", |log| {
            log.delivered.iter().any(|message| message.contains("corrupt")).then_some(())
        });
        assert_eq!(reported(&receiver, "corrupt"), lost.len(), "{error:?}");
        drop(fault);
        let kept = list(&spool.path().join("quarantine"));
        assert_eq!(kept.len(), 1, "{error:?}: {kept:?}");
        assert!(fs::read(kept[0].join("db")).is_ok_and(|kept| kept == whole), "{error:?}: it is not kept whole");
        process.kill();
    });
}

/// An error that was there for a moment costs nothing.
#[test]
fn a_segment_that_is_unreadable_for_a_moment_is_delivered() {
    at_once(&DAMAGE, |error| {
        let (receiver, spool) = (Receiver::start_down(), spool_dir());
        let accepted = left_by_a_kill(&receiver, spool.path());
        let segment = sealed_segments(spool.path()).into_iter().nth(1).expect("several segments");
        let mut process = Witness::start(&receiver, spool.path());
        let Some(fault) = Fault::inject(("open,openat", error.0, "1..2"), &[segment.join("db")], process.pid) else {
            return;
        };
        process.try_open().expect("a spool that can be opened without one segment");
        receiver.come_up();
        wait_for_all(&receiver, &accepted);
        let stats = process.stats();
        assert_eq!((stats["lost"], stats["corrupt"]), (0, 0), "{error:?}: {stats:?}");
        drop(fault);
        process.kill();
    });
}

/// A spool of which one segment's file and another segment's directory may be read by nobody.
fn forbidden(spool: &Path) -> [PathBuf; 2] {
    let sealed = sealed_segments(spool);
    let forbidden = [sealed[0].join("db"), sealed[1].clone()];
    for path in &forbidden {
        set_mode(path, 0o000);
    }
    forbidden
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("a file of one's own");
}

/// Permits everything again when it is dropped, or what is in the directories could not be removed.
struct Forbidden([PathBuf; 2]);

impl Drop for Forbidden {
    fn drop(&mut self) {
        for path in &self.0 {
            if path.exists() {
                set_mode(path, 0o700);
            }
        }
    }
}

#[test]
fn a_segment_without_permission_is_held_and_delivered_once_it_is_permitted() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let accepted = left_by_a_kill(&receiver, spool.path());
    let forbidden = Forbidden(forbidden(spool.path()));
    let mut process = Witness::start_with(without_privileges(CHILD), &[], &receiver, spool.path());
    process.try_open().expect("a spool that can be opened without two segments");
    receiver.come_up();
    let waiting = wait_for_all_but(&receiver, &accepted, 120);
    assert!(!waiting.is_empty(), "nothing is forbidden to it");
    process.wait_for_event("Permission denied");
    let stats = process.stats();
    assert_eq!((stats["lost"], stats["corrupt"]), (0, 0), "{stats:?}");
    drop(forbidden);
    wait_for_all(&receiver, &accepted);
    let stats = process.stats();
    assert_eq!((stats["lost"], stats["corrupt"]), (0, 0), "{stats:?}");
    process.kill();
}

#[test]
fn a_process_with_few_files_delivers_a_backlog_of_many_segments() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let mut accepted = Accepted::new();
    let mut process = Witness::open(&receiver, spool.path());
    process.log(&mut accepted, "m", 1, 1_500);
    process.kill();
    let mut limited = Command::new("sh");
    limited.args(["-c", r#"ulimit -n 64; exec "$0" "$@""#, CHILD]);
    let mut process = Witness::start_with(limited, &[], &receiver, spool.path());
    process.try_open().expect("a spool that can be opened with few files");
    receiver.come_up();
    wait_for_all(&receiver, &accepted);
    process.log(&mut accepted, "n", 1, 10);
    wait_for_all(&receiver, &accepted);
    process.kill();
}

/// From now on the process has no more open files than this.
fn limit_files(pid: u32, files: u64) -> Result<(), String> {
    run(Command::new("prlimit").args(["--pid", &pid.to_string(), &format!("--nofile={files}:")]))
}

/// A process that has no file left to open holds what it cannot read, and goes on once it has.
#[test]
fn a_process_that_had_no_file_left_delivers_everything_once_it_has() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let mut accepted = left_by_a_kill(&receiver, spool.path());
    let mut process = Witness::open(&receiver, spool.path());
    if let Err(why) = limit_files(process.pid, 8) {
        return skip(&why);
    }
    receiver.come_up();
    process.try_to_log(&mut accepted, "n", 1, 120);
    limit_files(process.pid, 1024).expect("a limit");
    wait_for_all(&receiver, &accepted);
    let stats = process.stats();
    assert_eq!((stats["lost"], stats["corrupt"]), (0, 0), "{stats:?}");
    process.kill();
}

#[test]
fn the_tool_names_a_segment_that_it_may_not_read_and_goes_on() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let accepted = left_by_a_kill(&receiver, spool.path());
    let paths = forbidden(spool.path());
    let _forbidden = Forbidden(paths.clone());
    for command in [&["stats"][..], &["drain", "--dry-run"]] {
        let output = tool(without_privileges(TOOL), spool.path(), command);
        assert_ne!(output.status.code(), Some(4), "{command:?}: {}", text(&output.stderr));
    }
    for command in [&["ls", "-l"][..], &["verify"], &["cat"]] {
        let output = tool(without_privileges(TOOL), spool.path(), command);
        let (out, error) = (text(&output.stdout), text(&output.stderr));
        let said = format!("{command:?}: {}\n{out:.3000}\n{error:.3000}", output.status);
        for path in &paths {
            let segment =
                path.iter().rev().find_map(|part| part.to_str()?.strip_suffix(".segment")).expect("a segment");
            let number = segment.split('-').next().unwrap_or_default().trim_start_matches('0');
            let names = |text: &str| {
                let mut words = text.split(|letter: char| !letter.is_ascii_alphanumeric());
                text.contains(segment) || words.any(|word| word == number)
            };
            assert!(names(&out) || names(&error), "does not name segment {number}: {said}");
        }
        assert!(error.contains("ermission denied") || out.contains("ermission denied"), "does not say why: {said}");
        if command == ["cat"] {
            let printed = accepted.iter().filter(|message| out.contains(&***message)).count();
            assert!(printed + 120 > accepted.len(), "only {printed} records: {error:.3000}");
        }
    }
    assert_eq!(receiver.look(|log| missing(log, &accepted).len()), accepted.len());
}
