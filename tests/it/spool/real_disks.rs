//! The spool on file systems as they are: full, read-only, copied, stacked, damaged, without power. Nothing that was accepted is
//! lost without a word, nothing has a second id, and it goes on once the cause is gone.

mod copies;
mod damages;
mod full;
mod missing;
mod power_cuts;
mod read_only;
mod stacked;
mod unreadable;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;

use common::children::witness::padding;
use common::{Child, Log, Receiver, list, queues, run, segments, wait_for, without_privileges};
use serde_json::Value;

use crate::CHILD;

/// More records than fit three segments.
const SEGMENTS: usize = 180;

// --- the process ----------------------------------------------------------------------------------------------------

/// The messages of the records that were accepted, over the lives of several processes.
type Accepted = BTreeSet<String>;

/// A process that logs and delivers, and what it reported.
struct Witness {
    /// Taken when it is ended.
    child: Option<Child>,
    pid: u32,
    events: Vec<String>,
    panics: Vec<String>,
}

impl Witness {
    fn start(receiver: &Receiver, spool: &Path) -> Self {
        Self::start_with(Command::new(CHILD), &[], receiver, spool)
    }

    /// `program` runs the child.
    fn start_with(program: Command, more: &[(&str, &str)], receiver: &Receiver, spool: &Path) -> Self {
        let endpoint = receiver.url("/ingest");
        let settings: [(&str, &OsStr); 3] = [
            ("SPOOL_CHILD_ENDPOINT", endpoint.as_ref()),
            ("SPOOL_CHILD_DIR", spool.as_ref()),
            // The storage engine panics when it cannot write. That is caught, but printed.
            ("RUST_BACKTRACE", "0".as_ref()),
        ];
        let more = more.iter().map(|(name, value)| (*name, value.as_ref()));
        let mut child = Child::start(program, "witness", settings.into_iter().chain(more));
        let pid = child.wait_for("pid").parse().expect("a number");
        Self { child: Some(child), pid, events: Vec::new(), panics: Vec::new() }
    }

    /// Started, with its spool open.
    fn open(receiver: &Receiver, spool: &Path) -> Self {
        let mut process = Self::start(receiver, spool);
        process.try_open().expect("a spool that can be opened");
        process
    }

    /// The next line that is no event and no panic.
    fn hear(&mut self) -> String {
        loop {
            let line = self.child().wait_for("");
            if let Some(event) = line.strip_prefix("event ") {
                self.events.push(event.to_owned());
            } else if let Some(panic) = line.strip_prefix("panic ") {
                self.panics.push(panic.to_owned());
            } else {
                return line;
            }
        }
    }

    fn try_open(&mut self) -> Result<(), String> {
        self.child().tell("open");
        let said = self.hear();
        match said.strip_prefix("failed ") {
            None => {
                assert_eq!(said, "opened");
                Ok(())
            }
            Some(error) => Err(error.to_owned()),
        }
    }

    /// Logs records with these numbers; gives how many were not accepted.
    fn try_to_log(&mut self, accepted: &mut Accepted, prefix: &str, first: usize, last: usize) -> usize {
        self.begin_to_log(prefix, first, last);
        self.finish_to_log(accepted)
    }

    fn begin_to_log(&mut self, prefix: &str, first: usize, last: usize) {
        self.child().tell(&format!("log {prefix} {first} {last}"));
    }

    fn finish_to_log(&mut self, accepted: &mut Accepted) -> usize {
        let mut refused = 0;
        loop {
            let said = self.hear();
            if said == "logged" {
                return refused;
            }
            match said.strip_prefix("accepted ") {
                Some(message) => assert!(accepted.insert(message.to_owned()), "{message} is logged twice"),
                None => refused += 1,
            }
        }
    }

    /// Logs records of which each is to be accepted.
    fn log(&mut self, accepted: &mut Accepted, prefix: &str, first: usize, last: usize) {
        let refused = self.try_to_log(accepted, prefix, first, last);
        assert_eq!(refused, 0, "of {prefix} {first} to {last}; events: {:#?}", self.events);
    }

    /// Logs until a record is accepted. Nothing tells when there is space again, so this asks again.
    fn log_until_accepted(&mut self, accepted: &mut Accepted, prefix: &str) {
        let mut number = 0;
        wait_for("a record to be accepted", || {
            number += 1;
            (self.try_to_log(accepted, prefix, number, number) == 0).then_some(())
        });
    }

    /// The figures by their names; the events up to now are known then as well.
    fn stats(&mut self) -> BTreeMap<String, usize> {
        self.child().tell("stats");
        let said = self.hear();
        let words: Vec<_> = said.split(' ').skip(1).collect();
        words.chunks(2).map(|pair| (pair[0].to_owned(), pair[1].parse().expect("a number"))).collect()
    }

    /// Waits until the figures are as `condition` wants them.
    fn wait_for_stats(&mut self, what: &str, condition: impl Fn(&BTreeMap<String, usize>) -> bool) {
        wait_for(what, || Some(self.stats()).filter(&condition).map(drop));
    }

    /// Waits for an event whose text has this in it.
    fn wait_for_event(&mut self, text: &str) {
        wait_for(&format!("an event about {text:?}"), || {
            self.stats();
            self.events.iter().any(|event| event.contains(text)).then_some(())
        });
    }

    /// Stops the exporter; what is not delivered stays.
    fn close(mut self) {
        self.child().tell("close");
        assert_eq!(self.hear(), "closed");
        self.child.take().expect("a process that runs").finish();
    }

    fn kill(mut self) {
        self.child.take().expect("a process that runs").kill();
    }

    fn child(&mut self) -> &mut Child {
        self.child.as_mut().expect("a process that runs")
    }
}

impl Drop for Witness {
    /// A test that failed shows what the process had reported.
    fn drop(&mut self) {
        if thread::panicking() {
            let unheard = self.child.as_ref().map(Child::unheard).unwrap_or_default();
            println!("events: {:#?}, panics: {:#?}, unheard: {unheard:#?}", self.events, self.panics);
        }
    }
}

/// A spool that a killed process left, with `SEGMENTS` records that wait.
fn left_by_a_kill(receiver: &Receiver, spool: &Path) -> Accepted {
    let mut accepted = Accepted::new();
    let mut process = Witness::open(receiver, spool);
    process.log(&mut accepted, "m", 1, SEGMENTS);
    process.kill();
    accepted
}

// --- what arrived ---------------------------------------------------------------------------------------------------

fn missing(log: &Log, accepted: &Accepted) -> Accepted {
    let delivered: BTreeSet<_> = log.delivered.iter().collect();
    accepted.iter().filter(|message| !delivered.contains(message)).cloned().collect()
}

/// Waits until every accepted record is delivered.
fn wait_for_all(receiver: &Receiver, accepted: &Accepted) {
    receiver.wait_until("every accepted record", |log| missing(log, accepted).is_empty().then_some(()));
    assert_once(receiver, accepted);
}

/// Waits until all but so many accepted records are delivered, and gives those.
fn wait_for_all_but(receiver: &Receiver, accepted: &Accepted, count: usize) -> Accepted {
    receiver.wait_until(&format!("all accepted records but {count}"), |log| {
        let missing = missing(log, accepted);
        (missing.len() <= count).then_some(missing)
    })
}

/// No record was delivered under two ids, and each is as it was logged.
fn assert_once(receiver: &Receiver, accepted: &Accepted) {
    let twice = twice(receiver, accepted);
    assert!(twice.is_empty(), "delivered under two ids: {twice:?}");
    assert_unchanged(receiver);
}

/// The accepted records that were delivered under two ids.
fn twice(receiver: &Receiver, accepted: &Accepted) -> Accepted {
    let mut once = Accepted::new();
    let mut again = |message: &String| accepted.contains(message) && !once.insert(message.clone());
    receiver.delivered().into_iter().filter(|message| again(message)).collect()
}

/// Every record that arrived holds what it was logged with.
fn assert_unchanged(receiver: &Receiver) {
    for request in receiver.requests() {
        for record in request.records() {
            let message = record["message"].as_str().expect("a message");
            let held = record.pointer("/extra/padding").and_then(Value::as_str);
            assert!(is_gap(message) || held == Some(&*padding(message)), "{message} is not what was logged");
        }
    }
}

fn is_gap(message: &str) -> bool {
    message.starts_with("lost ")
}

/// How many records gap records have reported as lost for this reason.
fn reported(receiver: &Receiver, reason: &str) -> usize {
    let gaps = receiver.delivered().into_iter().filter(|message| is_gap(message) && message.contains(reason));
    gaps.map(|gap| gap.split(' ').nth(1).and_then(|number| number.replace(',', "").parse().ok()).unwrap_or(0)).sum()
}

// --- the files ------------------------------------------------------------------------------------------------------

fn sealed_segments(spool: &Path) -> Vec<PathBuf> {
    segments(spool).into_iter().filter(|segment| segment.join("seal").exists()).collect()
}

fn copy(from: &Path, to: &Path) {
    run(Command::new("cp").args(["-a", "--"]).args([from, to])).expect("a copy");
}

// --- the tool, cases at a time --------------------------------------------------------------------------

const TOOL: &str = env!("CARGO_BIN_EXE_spool-test-tool");

/// Runs `otel-spool WORD SPOOL WORDS...`.
fn tool(mut program: Command, spool: &Path, words: &[&str]) -> Output {
    program.arg(words[0]).arg(spool).args(&words[1..]);
    program.stdin(Stdio::null()).output().expect("the tool runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs all cases at once, since each waits most of the time.
fn at_once<T: Copy + Debug + Send + Sync>(cases: &[T], case: impl Fn(T) + Sync) {
    try_cases(cases, cases.len(), case);
}

/// Runs one case after the other.
fn one_by_one<T: Copy + Debug + Send + Sync>(cases: &[T], case: impl Fn(T) + Sync) {
    try_cases(cases, 1, case);
}

/// Runs so many cases at a time; those that failed are named at the end.
fn try_cases<T: Copy + Debug + Send + Sync>(cases: &[T], at_a_time: usize, case: impl Fn(T) + Sync) {
    // The name of the thread shows which case a message is about.
    let (test, case) = (thread::current().name().unwrap_or("a test").to_owned(), &case);
    let named = |of: &T| thread::Builder::new().name(format!("{test}, {of:?}"));
    let run = |some: &[T]| -> Vec<T> {
        thread::scope(|scope| {
            let spawn = |of: &T| {
                let of = *of;
                (of, named(&of).spawn_scoped(scope, move || case(of)).expect("a thread"))
            };
            let running: Vec<_> = some.iter().map(spawn).collect();
            running.into_iter().filter_map(|(of, thread)| thread.join().err().map(|_| of)).collect()
        })
    };
    let failed: Vec<T> = cases.chunks(at_a_time).flat_map(run).collect();
    assert!(failed.is_empty(), "these cases failed, for reasons given above: {failed:?}");
}
