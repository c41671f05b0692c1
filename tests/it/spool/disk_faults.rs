//! The disk fails, is full, read-only or gone: `export` says so, nothing that it accepted is lost, and it works again
//! once the cause is gone.

#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::thread;
use std::time::Duration;

use common::{Answer, Child, Disk, Receiver, Service, exporter, name, run, seed, skip, spool_dir, variable, wait_for};
use tempfile::NamedTempFile;

use crate::CHILD;

/// More records of `outcomes` than fit one segment.
const MORE_THAN_A_SEGMENT: usize = 60;

// --- the process ----------------------------------------------------------------------------------------------------

/// The result of `export` for every record, over the lives of several processes.
#[derive(Debug, Default)]
struct Journal {
    /// The outcomes of the records 1, 2, 3, ...: nothing if accepted, otherwise the error.
    outcomes: Vec<Option<String>>,
    longest: Duration,
    /// How many records there were when a process began whose records may overtake those before.
    breaks: Vec<usize>,
}

impl Journal {
    /// From now on another process logs, which may not have been able to take over what was left: order is promised within
    /// one process.
    fn break_order(&mut self) {
        self.breaks.push(self.outcomes.len());
    }

    /// The records so far may arrive in any order: a segment that cannot be read is overtaken by those behind it.
    fn give_up_order(&mut self) {
        self.breaks.extend(self.breaks.last().copied().unwrap_or_default()..self.outcomes.len());
    }

    /// Records that were delivered before an earlier one of the same process.
    fn disordered(&self, delivered: &[usize]) -> Option<(usize, usize)> {
        let process = |number: usize| self.breaks.iter().filter(|end| number > **end).count();
        (0..=self.breaks.len()).find_map(|of| {
            let delivered: Vec<_> = delivered.iter().copied().filter(|number| process(*number) == of).collect();
            delivered.windows(2).find(|pair| pair[0] > pair[1]).map(|pair| (pair[0], pair[1]))
        })
    }

    fn accepted(&self) -> BTreeSet<usize> {
        (1..).zip(&self.outcomes).filter_map(|(number, error)| error.is_none().then_some(number)).collect()
    }

    fn refused(&self) -> Vec<(usize, &str)> {
        (1..).zip(&self.outcomes).filter_map(|(number, error)| Some((number, error.as_deref()?))).collect()
    }
}

impl fmt::Display for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (accepted, refused) = (self.accepted(), self.refused());
        write!(f, "{} accepted, {} refused, longest export {:?}", accepted.len(), refused.len(), self.longest)?;
        match (refused.first(), refused.last()) {
            (Some(first), Some(last)) => write!(f, ", first refused {first:?}, last {last:?}"),
            _ => Ok(()),
        }
    }
}

/// A process that logs.
struct Process<'a> {
    child: Child,
    pid: u32,
    spool: &'a Path,
    _stderr: Stderr,
}

/// A host's standard error, into which this crate prints nothing, whatever fails.
struct Stderr(NamedTempFile);

impl Stderr {
    fn new() -> Self {
        Self(NamedTempFile::new().expect("a file"))
    }

    fn pipe(&self) -> Stdio {
        Stdio::from(self.0.reopen().expect("a file"))
    }
}

impl Drop for Stderr {
    fn drop(&mut self) {
        if !thread::panicking() {
            let printed = fs::read_to_string(&self.0).expect("text");
            assert_eq!(printed, "", "the host's stderr");
        }
    }
}

/// The program of the processes: that of the tests, or another build of it, which does not unwind.
fn program() -> Command {
    Command::new(other_program().as_deref().unwrap_or(CHILD.as_ref()))
}

fn other_program() -> Option<OsString> {
    env::var_os("SPOOL_TEST_CHILD")
}

impl<'a> Process<'a> {
    fn start(receiver: &Receiver, spool: &'a Path) -> Self {
        Self::start_with(&[], receiver, spool)
    }

    fn start_with(more: &[(&str, &str)], receiver: &Receiver, spool: &'a Path) -> Self {
        let endpoint = receiver.url("/ingest");
        let settings: [(&str, &OsStr); 3] = [
            ("SPOOL_CHILD_ENDPOINT", endpoint.as_ref()),
            ("SPOOL_CHILD_DIR", spool.as_ref()),
            ("RUST_BACKTRACE", "0".as_ref()),
        ];
        let more = more.iter().map(|(name, value)| (*name, value.as_ref()));
        let (mut program, stderr) = (program(), Stderr::new());
        program.stderr(stderr.pipe());
        let mut child = Child::start(program, "outcomes", settings.into_iter().chain(more));
        let pid = child.wait_for("pid").parse().expect("a number");
        Self { child, pid, spool, _stderr: stderr }
    }

    /// Started, with its spool open.
    fn open(receiver: &Receiver, spool: &'a Path) -> Self {
        let mut process = Self::start(receiver, spool);
        process.try_open().expect("a spool that can be opened");
        process
    }

    fn try_open(&mut self) -> Result<(), String> {
        self.child.tell("open");
        let said = self.child.wait_for("");
        match said.strip_prefix("failed ") {
            None => {
                assert_eq!(said, "opened");
                Ok(())
            }
            Some(error) => {
                self.check(error);
                Err(error.to_owned())
            }
        }
    }

    /// Logs so many more records; gives how many were accepted.
    fn log(&mut self, journal: &mut Journal, count: usize) -> usize {
        let (first, mut accepted) = (journal.outcomes.len() + 1, 0);
        self.child.tell(&format!("log {first} {}", first + count - 1));
        for number in first..first + count {
            let said = self.child.wait_for("");
            if said == format!("accepted {number}") {
                journal.outcomes.push(None);
                accepted += 1;
                continue;
            }
            let error = said.strip_prefix(&format!("refused {number} ")).expect("the outcome of a record");
            self.check(error);
            journal.outcomes.push(Some(error.to_owned()));
        }
        let longest = self.child.wait_for("logged").parse().expect("a number");
        journal.longest = journal.longest.max(Duration::from_micros(longest));
        accepted
    }

    /// Logs records of which none may be rejected: nothing stands in the way.
    fn log_well(&mut self, journal: &mut Journal, count: usize) {
        let accepted = self.log(journal, count);
        assert_eq!(accepted, count, "nothing is wrong with that, and yet: {journal}");
    }

    /// Logs until a record is accepted. Nothing tells when there is space again, so this asks again.
    fn log_until_accepted(&mut self, journal: &mut Journal) {
        wait_for("a record to be accepted", || (self.log(journal, 1) > 0).then_some(()));
    }

    /// Delivers what can be delivered while something is wrong.
    fn try_to_flush(&mut self) {
        self.child.tell("try-to-flush");
        self.child.wait_for("tried");
    }

    fn flush(&mut self) {
        self.child.tell("flush");
        self.child.wait_for("flushed");
    }

    fn kill(self) {
        self.child.kill();
    }

    /// An error says where.
    fn check(&self, error: &str) {
        let spool = self.spool.to_str().expect("a path of ASCII characters");
        assert!(error.contains(spool), "{error:?} does not say where");
    }
}

/// Every accepted record has arrived, once and in order. No rejected one has, unless the process was killed before it
/// could write that down: then at most once, and in its place.
fn assert_delivered(receiver: &Receiver, journal: &Journal, killed: bool) {
    // Gap records may report those that were rejected.
    let number = |message: &String| message.strip_prefix("m-")?.parse().ok();
    let delivered: Vec<usize> = receiver.delivered().iter().filter_map(number).collect();
    let (once, accepted): (BTreeSet<_>, BTreeSet<_>) = (delivered.iter().copied().collect(), journal.accepted());
    let lost: Vec<_> = accepted.difference(&once).collect();
    let refused: Vec<_> = once.difference(&accepted).filter(|_| !killed).collect();
    let twice: Vec<_> = once.iter().filter(|one| delivered.iter().filter(|other| other == one).count() > 1).collect();
    let disordered = journal.disordered(&delivered);
    assert!(
        lost.is_empty() && refused.is_empty() && twice.is_empty() && disordered.is_none(),
        "lost: {lost:?}; refused, but delivered: {refused:?}; delivered under two keys: {twice:?}; out of order: \
         {disordered:?}; {journal}"
    );
}

/// A receiver that takes, rejects and loses responses at random.
fn fickle_receiver() -> Receiver {
    let receiver = Receiver::start();
    receiver.answer_by(|_| match fastrand::u32(..10) {
        0..2 => Answer::status(503),
        2..4 => Answer::Lost,
        _ => Answer::ok(),
    });
    receiver
}

/// The files of this name in the segments of a spool.
fn segment_files(spool: &Path, name: &str) -> Vec<PathBuf> {
    let list = |dir: &Path| fs::read_dir(dir).expect("a directory").map(|found| found.expect("a file").path());
    let queues = list(spool).filter(|path| path.is_dir());
    let segments = queues.flat_map(|queue| list(&queue)).filter(|path| path.to_string_lossy().ends_with(".segment"));
    segments.map(|segment| segment.join(name)).filter(|file| file.exists()).collect()
}

// --- system calls that fail ---------------------------------------------------------------------------------------

/// System calls of a process that fail, until this is dropped.
pub(super) struct Fault(process::Child);

/// Which calls, with which error, and when: the `3`rd of each thread, or all from it on, `3+`.
pub(super) type Which<'a> = (&'a str, &'a str, &'a str);

impl Fault {
    /// Only calls on `files`, if there are any. `None` where there is no strace or it may not do that; this is then said.
    pub(super) fn inject((calls, error, when): Which<'_>, files: &[PathBuf], pid: u32) -> Option<Self> {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-o", "/dev/null", "-e", &format!("inject={calls}:error={error}:when={when}")]);
        for file in files {
            strace.arg("-P").arg(file);
        }
        strace.args(["-p", &pid.to_string()]);
        let strace = strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut strace = strace.inspect_err(|error| skip(&format!("strace: {error}"))).ok()?;
        let mut said = BufReader::new(strace.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
        let fault = Self(strace);
        let attached = said.by_ref().find(|line| line.starts_with("strace: "));
        if !attached.as_ref().is_some_and(|line| line.contains("attached")) {
            skip(&format!("strace cannot attach to a process: {attached:?}"));
            return None;
        }
        // It has more to say about each thread, and must not wait for a reader.
        thread::spawn(move || said.for_each(drop));
        Some(fault)
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        // Not with SIGKILL: it has to put right the calls that it is changing.
        let _ = run(Command::new("sh").args(["-c", "kill $0", &self.0.id().to_string()]));
        let _ = self.0.wait();
    }
}

/// A case of a sweep: which calls fail, and whether the process is killed before they do no more.
type Case = fn(Which<'_>, bool) -> Option<Journal>;

/// Tries every case, or the one that `SPOOL_TEST_FAULT` names; those that failed are named at the end.
fn sweep(case: Case, calls: &[(&'static str, &'static str)]) {
    seed();
    let whens = match variable("SPOOL_TEST_FAULTS", 0) {
        0 => vec!["1".to_owned(), "3+".to_owned()],
        count => (1..=count).flat_map(|at| [format!("{at}"), format!("{at}+")]).collect(),
    };
    let only = std::env::var("SPOOL_TEST_FAULT").ok();
    let mut failures = Vec::new();
    for &(calls, error) in calls {
        for (when, killed) in whens.iter().flat_map(|when| [(when.clone(), false), (when.clone(), true)]) {
            let what = format!("{calls}:{error}:when={when}{}", if killed { ", then a kill" } else { "" });
            if only.as_ref().is_some_and(|only| *only != what) {
                continue;
            }
            // The name of the thread shows which case a message is about.
            let name = format!("{}, {what}", thread::current().name().unwrap_or("a test"));
            let named = thread::Builder::new().name(name);
            let seed = fastrand::u64(..);
            let case = move || {
                fastrand::seed(seed);
                case((calls, error, &when), killed)
            };
            match named.spawn(case).expect("a thread").join() {
                Ok(Some(journal)) => println!("{what}: {journal}"),
                Ok(None) => return,
                Err(_) => failures.push(what),
            }
        }
    }
    assert!(failures.is_empty(), "these cases failed, for reasons given above: {failures:#?}");
}

/// Whether a segment may be unreadable for a while because of these calls.
fn makes_unreadable((calls, ..): Which<'_>) -> bool {
    ["openat", "read", "pread64"].contains(&calls)
}

/// Calls fail while records are logged and delivered.
fn while_it_logs(which: Which<'_>, killed: bool) -> Option<Journal> {
    while_it_logs_with(&[], which, killed)
}

fn while_it_logs_with_an_interval(which: Which<'_>, killed: bool) -> Option<Journal> {
    while_it_logs_with(&[("SPOOL_CHILD_DURABILITY", "5")], which, killed)
}

fn while_it_logs_with(more: &[(&str, &str)], which: Which<'_>, killed: bool) -> Option<Journal> {
    let (receiver, spool, mut journal) = (fickle_receiver(), spool_dir(), Journal::default());
    let mut process = Process::start_with(more, &receiver, spool.path());
    process.try_open().expect("a spool that can be opened");
    process.log_well(&mut journal, 10);
    let fault = Fault::inject(which, &[], process.pid)?;
    process.log(&mut journal, MORE_THAN_A_SEGMENT);
    if makes_unreadable(which) {
        journal.give_up_order();
    }
    if killed {
        process.kill();
        process = Process::open(&receiver, spool.path());
    }
    drop(fault);
    process.log_well(&mut journal, 10);
    process.flush();
    assert_delivered(&receiver, &journal, killed);
    process.kill();

    let mut process = Process::open(&receiver, spool.path());
    process.log_well(&mut journal, 1);
    process.flush();
    assert_delivered(&receiver, &journal, killed);
    Some(journal)
}

/// Calls fail while a spool is opened, and read, that a killed process has left.
fn while_it_opens(which: Which<'_>, killed: bool) -> Option<Journal> {
    let (receiver, spool, mut journal) = (Receiver::start(), spool_dir(), Journal::default());
    let mut process = Process::open(&receiver, spool.path());
    process.log_well(&mut journal, 10);
    process.flush();
    receiver.go_down();
    process.log_well(&mut journal, MORE_THAN_A_SEGMENT);
    process.kill();

    if makes_unreadable(which) {
        journal.give_up_order();
    }

    let mut process = Process::start(&receiver, spool.path());
    // Otherwise what a process reads from its parent could not be read either.
    let files = if which.0.contains("read") { segment_files(spool.path(), "db") } else { Vec::new() };
    let fault = Fault::inject(which, &files, process.pid)?;
    let mut opened = process.try_open();
    receiver.come_up();
    if opened.is_ok() {
        process.try_to_flush();
    }
    if killed {
        process.kill();
        process = Process::start(&receiver, spool.path());
        opened = Err("killed".to_owned());
    }
    drop(fault);
    if opened.is_err() {
        process.try_open().expect("a spool that can be opened again");
    }
    journal.break_order();
    process.log_well(&mut journal, 10);
    process.flush();
    // A queue that could not be opened is retried now and then.
    receiver.wait_until("what was left", |log| {
        let delivered: BTreeSet<_> = log.delivered.iter().collect();
        journal.accepted().into_iter().all(|number| delivered.contains(&name("m", number))).then_some(())
    });
    assert_delivered(&receiver, &journal, false);
    Some(journal)
}

#[test]
fn syncs_that_fail_while_it_logs_cost_nothing_that_was_accepted() {
    sweep(while_it_logs, &[("fdatasync", "EIO"), ("fsync", "EIO")]);
}

#[test]
fn syncs_that_fail_behind_its_back_cost_nothing_that_was_accepted() {
    sweep(while_it_logs_with_an_interval, &[("fdatasync", "EIO")]);
}

#[test]
fn writes_that_fail_while_it_logs_cost_nothing_that_was_accepted() {
    sweep(while_it_logs, &[("pwrite64", "EIO"), ("pwrite64", "ENOSPC"), ("sync_file_range", "EIO")]);
}

#[test]
fn files_that_cannot_be_opened_made_or_removed_while_it_logs_cost_nothing_that_was_accepted() {
    let removals = "rename,rmdir,unlink,unlinkat";
    sweep(while_it_logs, &[("openat", "EMFILE"), ("mkdir", "ENOSPC"), (removals, "EROFS"), ("pread64", "EIO")]);
}

#[test]
fn a_spool_on_which_syncs_and_writes_failed_while_it_was_opened_can_be_opened_again() {
    sweep(while_it_opens, &[("fdatasync", "EIO"), ("fsync", "EIO"), ("pwrite64", "ENOSPC")]);
}

#[test]
fn a_spool_of_which_files_could_not_be_opened_made_or_read_while_it_was_opened_can_be_opened_again() {
    // Not `pread64`, with which the engine reads as well: an error there makes it forget what is delivered. A block that
    // nobody can read is noticed before.
    sweep(while_it_opens, &[("openat", "EMFILE"), ("mkdir", "ENOSPC"), ("read", "EIO"), ("getdents64", "EIO")]);
}

#[test]
fn nothing_is_accepted_while_no_sync_succeeds() {
    let (receiver, spool, mut journal) = (Receiver::start(), spool_dir(), Journal::default());
    let mut process = Process::open(&receiver, spool.path());
    process.log_well(&mut journal, 10);
    let Some(fault) = Fault::inject(("fdatasync", "EIO", "1+"), &[], process.pid) else { return };
    assert_eq!(process.log(&mut journal, 10), 0);
    drop(fault);
    process.log_well(&mut journal, 10);
    process.flush();
    assert_delivered(&receiver, &journal, false);
    println!("{journal}");
}

/// The cursors have files of their own.
fn while_the_cursor_cannot_be_written(which: Which<'_>, killed: bool) -> Option<Journal> {
    let (receiver, spool, mut journal) = (fickle_receiver(), spool_dir(), Journal::default());
    let mut process = Process::open(&receiver, spool.path());
    process.log_well(&mut journal, 10);
    let fault = Fault::inject(which, &segment_files(spool.path(), "cursor"), process.pid)?;
    process.log_well(&mut journal, MORE_THAN_A_SEGMENT);
    process.flush();
    assert_delivered(&receiver, &journal, false);
    if killed {
        process.kill();
        // With the same settings: how a segment is split into batches follows from them where it could not be written
        // down.
        process = Process::open(&receiver, spool.path());
    }
    drop(fault);
    process.log_well(&mut journal, 10);
    process.flush();
    assert_delivered(&receiver, &journal, false);
    process.kill();

    let mut process = Process::open(&receiver, spool.path());
    process.log_well(&mut journal, 10);
    process.flush();
    assert_delivered(&receiver, &journal, false);
    Some(journal)
}

#[test]
fn a_cursor_that_cannot_be_written_hinders_neither_logging_nor_delivery_and_makes_no_second_keys() {
    let calls = [("fdatasync", "EIO"), ("pwrite64", "ENOSPC"), ("sync_file_range", "EIO")];
    sweep(while_the_cursor_cannot_be_written, &calls);
}

// --- no space -----------------------------------------------------------------------------------------------------

#[test]
fn a_full_disk_rejects_records_and_accepts_them_once_there_is_space() {
    let Some(disk) = Disk::create(64) else { return };
    let (receiver, spool, mut journal) = (Receiver::start_down(), disk.path().join("spool"), Journal::default());
    let mut process = Process::open(&receiver, &spool);
    process.log_well(&mut journal, 20);
    disk.fill();
    process.log(&mut journal, MORE_THAN_A_SEGMENT);
    assert!(journal.refused().last().is_some_and(|(last, _)| *last == journal.outcomes.len()), "{journal}");
    disk.free();
    process.log_well(&mut journal, 20);
    receiver.come_up();
    process.flush();
    assert_delivered(&receiver, &journal, false);
    process.kill();

    let mut process = Process::open(&receiver, &spool);
    process.log_well(&mut journal, 20);
    process.flush();
    assert_delivered(&receiver, &journal, false);
    println!("{journal}");
    process.kill();
}

/// An outage that lasts until the spool itself has filled the disk.
#[test]
fn a_spool_that_has_filled_its_disk_is_delivered_and_gives_the_space_back() {
    let Some(disk) = Disk::create(24) else { return };
    let (receiver, spool, mut journal) = (Receiver::start_down(), disk.path().join("spool"), Journal::default());
    let mut process = Process::open(&receiver, &spool);
    while process.log(&mut journal, 20) > 0 {
        assert!(journal.outcomes.len() < 2_000, "more was accepted than the disk has room for");
    }
    receiver.come_up();
    process.flush();
    assert_delivered(&receiver, &journal, false);
    process.log_until_accepted(&mut journal);
    process.log_well(&mut journal, MORE_THAN_A_SEGMENT);
    process.flush();
    assert_delivered(&receiver, &journal, false);
    println!("{journal}");
    process.kill();
}

/// Kills a process on a full disk; gives what it had accepted and rejected.
fn killed_on_a_full_disk(disk: &Disk, receiver: &Receiver, spool: &Path) -> Journal {
    let mut journal = Journal::default();
    let mut process = Process::open(receiver, spool);
    process.log_well(&mut journal, MORE_THAN_A_SEGMENT);
    disk.fill();
    process.log(&mut journal, MORE_THAN_A_SEGMENT);
    process.kill();
    journal
}

#[test]
fn what_a_process_killed_on_a_full_disk_had_accepted_is_delivered_once_there_is_space() {
    let Some(disk) = Disk::create(64) else { return };
    let (receiver, spool) = (Receiver::start_down(), disk.path().join("spool"));
    let mut journal = killed_on_a_full_disk(&disk, &receiver, &spool);
    let mut process = Process::start(&receiver, &spool);
    let opened = process.try_open();
    disk.free();
    if opened.is_err() {
        process.try_open().expect("a spool that can be opened when there is space");
    }
    process.log_well(&mut journal, 20);
    receiver.come_up();
    process.flush();
    assert_delivered(&receiver, &journal, true);
    println!("{journal}; opened while the disk was full: {opened:?}");
    process.kill();
}

/// Or the space that the spool takes would never come back.
#[test]
fn what_a_process_killed_on_a_full_disk_had_accepted_is_delivered_also_while_it_stays_full() {
    let Some(disk) = Disk::create(64) else { return };
    let (receiver, spool) = (Receiver::start_down(), disk.path().join("spool"));
    let mut journal = killed_on_a_full_disk(&disk, &receiver, &spool);
    receiver.come_up();
    let mut process = Process::open(&receiver, &spool);
    process.flush();
    assert_delivered(&receiver, &journal, true);
    process.log_until_accepted(&mut journal);
    process.flush();
    assert_delivered(&receiver, &journal, true);
    println!("{journal}");
    process.kill();
}

// --- read-only, not allowed, gone ---------------------------------------------------------------------------------

#[test]
fn a_file_system_that_turns_read_only_rejects_records_and_still_delivers_what_was_accepted() {
    let Some(disk) = Disk::create(64) else { return };
    let (receiver, spool, mut journal) = (Receiver::start_down(), disk.path().join("spool"), Journal::default());
    let mut process = Process::open(&receiver, &spool);
    process.log_well(&mut journal, MORE_THAN_A_SEGMENT);
    if disk.break_for_good().is_none() {
        return;
    }
    assert_eq!(process.log(&mut journal, 20), 0);
    receiver.come_up();
    process.flush();
    assert_delivered(&receiver, &journal, false);
    process.kill();

    disk.restart();
    let mut process = Process::open(&receiver, &spool);
    process.log_well(&mut journal, 20);
    process.flush();
    assert_delivered(&receiver, &journal, true);
    println!("{journal}");
    process.kill();
}

#[test]
fn a_spool_on_a_read_only_file_system_can_be_opened_once_it_is_writable() {
    let Some(disk) = Disk::create(64) else { return };
    let (receiver, spool, mut journal) = (Receiver::start_down(), disk.path().join("spool"), Journal::default());
    let mut process = Process::open(&receiver, &spool);
    process.log_well(&mut journal, MORE_THAN_A_SEGMENT);
    process.kill();

    disk.remount("ro");
    let mut process = Process::start(&receiver, &spool);
    let error = process.try_open().expect_err("nothing can be written");
    assert!(error.contains("Read-only file system"), "{error}");
    disk.remount("rw");
    process.try_open().expect("a spool that can be opened");
    process.log_well(&mut journal, 20);
    receiver.come_up();
    process.flush();
    assert_delivered(&receiver, &journal, false);
    process.kill();
}

/// A directory in which nothing can be made or removed, until this is dropped.
struct Locked<'a>(&'a Path);

impl<'a> Locked<'a> {
    /// `None` where nothing is forbidden to whoever runs the test; this is then said.
    fn new(dir: &'a Path) -> Option<Self> {
        let (locked, probe) = (Self(dir), dir.join("probe"));
        locked.set_mode(0o500);
        // Root is not stopped by a mode, but by this, where the file system has it.
        let _ = run(Command::new("chattr").arg("+i").arg(dir));
        if fs::write(&probe, "").is_ok() {
            let _ = fs::remove_file(&probe);
            skip("no directory can be locked against this user");
            return None;
        }
        Some(locked)
    }

    fn set_mode(&self, mode: u32) {
        fs::set_permissions(self.0, Permissions::from_mode(mode)).expect("a directory of one's own");
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        let _ = run(Command::new("chattr").arg("-i").arg(self.0));
        self.set_mode(0o700);
    }
}

#[test]
fn a_spool_directory_without_permission_is_named_and_used_once_it_is_permitted() {
    let (receiver, dir, mut journal) = (Receiver::start(), spool_dir(), Journal::default());
    let spool = dir.path().join("spool");
    let mut process = Process::start(&receiver, &spool);
    let Some(locked) = Locked::new(dir.path()) else { return };
    process.try_open().expect_err("it cannot be made");
    drop(locked);
    process.try_open().expect("a spool that can be opened");
    process.log_well(&mut journal, 10);
    process.flush();
    process.kill();

    // Now it is there, but the next process is not allowed to make anything in it.
    let queue = segment_files(&spool, "db").remove(0);
    let queue = queue.parent().and_then(Path::parent).expect("a directory");
    let mut process = Process::start(&receiver, &spool);
    let Some(locked) = Locked::new(queue) else { return };
    process.try_open().expect("what is there can be delivered");
    process.log(&mut journal, 10);
    assert!(journal.refused().last().is_some_and(|(last, _)| *last == journal.outcomes.len()), "{journal}");
    drop(locked);
    process.log_well(&mut journal, 10);

    // And is taken away from a process that uses it, which then has no place for another segment.
    let Some(locked) = Locked::new(queue) else { return };
    process.log(&mut journal, 2 * MORE_THAN_A_SEGMENT);
    assert!(journal.refused().last().is_some_and(|(last, _)| *last == journal.outcomes.len()), "{journal}");
    drop(locked);
    process.log_well(&mut journal, MORE_THAN_A_SEGMENT);
    process.flush();
    assert_delivered(&receiver, &journal, false);
    println!("{journal}");
}

/// As a volume that is unmounted and mounted again, say.
#[test]
fn a_spool_directory_that_was_gone_for_a_while_has_everything_that_was_accepted() {
    let (receiver, dir, mut journal) = (Receiver::start_down(), spool_dir(), Journal::default());
    let (spool, away) = (dir.path().join("spool"), dir.path().join("away"));
    let mut process = Process::open(&receiver, &spool);
    process.log_well(&mut journal, 2 * MORE_THAN_A_SEGMENT);
    fs::rename(&spool, &away).expect("a directory that can be renamed");
    process.log(&mut journal, 2 * MORE_THAN_A_SEGMENT);
    assert!(!spool.exists(), "another one was made in its place, whose records nobody finds when the old one is back");
    fs::rename(&away, &spool).expect("a directory that can be renamed");
    process.log_well(&mut journal, MORE_THAN_A_SEGMENT);
    process.kill();

    receiver.come_up();
    let mut process = Process::open(&receiver, &spool);
    process.flush();
    assert_delivered(&receiver, &journal, true);
    println!("{journal}");
}

// --- the volume -----------------------------------------------------------------------------------------------------

/// A directory whose entry was never synced is gone after a power cut, with everything that was accepted into it.
#[test]
fn every_directory_that_is_made_is_synced_and_the_one_that_names_it_as_well() {
    if let Err(why) = run(Command::new("strace").args(["-f", "-o", "/dev/null", "true"])) {
        return skip(&why);
    }
    let (receiver, dir) = (Receiver::start(), spool_dir());
    let dir = dir.path().canonicalize().expect("a directory");
    let (calls, above) = (dir.join("calls"), dir.join("var"));
    fs::create_dir(&above).expect("a directory");
    let spool = above.join("lib/service/spool");
    let mut program = Command::new("strace");
    program.args(["-f", "-y", "-e", "trace=mkdir,mkdirat,fsync", "-o"]).arg(&calls).arg(CHILD);
    let endpoint = receiver.url("/ingest");
    let settings: [(&str, &OsStr); 2] =
        [("SPOOL_CHILD_ENDPOINT", endpoint.as_ref()), ("SPOOL_CHILD_DIR", spool.as_ref())];
    let mut child = Child::start(program, "outcomes", settings);
    child.wait_for("pid");
    child.tell("open");
    child.wait_for("opened");
    child.finish();

    let calls = fs::read_to_string(calls).expect("a list of calls");
    let after = |begin: usize, what: &str| {
        let lines = calls.lines().enumerate().skip(begin);
        lines.filter(|(_, line)| line.contains(what)).map(|(at, _)| at).next()
    };
    let new: Vec<_> = spool.ancestors().take_while(|dir| *dir != above).collect();
    assert_eq!(new.len(), 3);
    for new in new {
        let made = after(0, &format!("\"{}\", 0700", new.display()));
        let made = made.unwrap_or_else(|| panic!("{} was not made: {calls}", new.display()));
        for dir in [new, new.parent().expect("a directory above")] {
            let synced = after(made, &format!("<{}>)", dir.display()));
            assert!(synced.is_some(), "{} was not synced after {} was made: {calls}", dir.display(), new.display());
        }
    }
}

/// A directory that is mounted a second time elsewhere on the same disk, until this is dropped.
struct Bound(PathBuf);

impl Bound {
    /// `None` where nothing can be mounted; this is then said.
    fn new(dir: &Path, at: PathBuf) -> Option<Self> {
        fs::create_dir(&at).expect("a directory");
        run(Command::new("mount").arg("--bind").args([dir, &at])).inspect_err(|why| skip(why)).ok()?;
        Some(Self(at))
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let _ = run(Command::new("umount").arg("-l").arg(&self.0));
    }
}

#[test]
fn a_spool_whose_volume_is_away_or_another_one_is_an_error_and_makes_nothing() {
    let Some(disk) = Disk::create(64) else { return };
    let (receiver, elsewhere, mut journal) = (Receiver::start(), spool_dir(), Journal::default());
    let (volume, spool) = (disk.path(), disk.path().join("service/spool"));
    let required = [("OTEL_EXPORTER_SPOOL_REQUIRED_MOUNT", volume.to_str().expect("a path of text"))];
    let mut process = Process::start_with(&required, &receiver, &spool);
    process.try_open().expect("a volume that is there");
    process.log_well(&mut journal, 10);
    process.flush();
    process.kill();

    let away = elsewhere.path().join("spool");
    let mut process = Process::start_with(&required, &receiver, &away);
    let error = process.try_open().expect_err("it is not on the volume");
    assert!(
        error.contains("`OTEL_EXPORTER_SPOOL_REQUIRED_MOUNT`") && error.contains("lies on what is mounted"),
        "{error}"
    );
    assert!(!away.exists());

    disk.unmount();
    let mut process = Process::start_with(&required, &receiver, &spool);
    let error = process.try_open().expect_err("nothing is mounted");
    let expected = format!("`{}` is no mount point", volume.display());
    assert!(error.contains("`OTEL_EXPORTER_SPOOL_REQUIRED_MOUNT`") && error.contains(&expected), "{error}");
    assert_eq!(fs::read_dir(volume).expect("a directory").count(), 0, "nothing is spooled under the mount point");
    assert_delivered(&receiver, &journal, false);
}

/// Its device is that of the directory above.
#[test]
fn a_volume_that_is_a_bind_mount_of_the_same_disk_is_one() {
    let (receiver, dir) = (Receiver::start(), spool_dir());
    let data = dir.path().join("data");
    fs::create_dir(&data).expect("a directory");
    let Some(bound) = Bound::new(&data, dir.path().join("a volume")) else { return };
    let open = |required: &Path, spool: &Path| {
        exporter(&receiver, spool).with_required_mount(required).build().map(drop).map_err(|error| error.to_string())
    };
    open(&bound.0, &bound.0.join("spool")).expect("a spool on it");
    open(Path::new("/"), &bound.0.join("spool")).expect_err("it is not on the root");
    let error = open(&data, &data.join("spool")).expect_err("a directory of no volume");
    assert!(error.starts_with("`with_required_mount` is invalid: "), "{error}");
    let error = open(&dir.path().join("nowhere"), &data).expect_err("there is no such directory");
    assert!(error.contains("cannot be looked up"), "{error}");
}

#[test]
fn a_volume_that_is_taken_away_from_a_living_spool_has_a_size_that_is_not_known() {
    let Some(disk) = Disk::create(64) else { return };
    let receiver = Receiver::start_down();
    let service = Service::simple(exporter(&receiver, disk.path().join("spool")));
    service.log("before");
    assert!(service.handle.stats().disk_bytes > Some(0));
    disk.unmount_lazily();
    assert_eq!(service.handle.stats().disk_bytes, None);
    receiver.come_up();
    service.flush();
    assert_eq!(receiver.delivered(), ["before"], "the open files are still there");
}
