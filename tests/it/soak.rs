//! A long run against an endpoint that is never well for long: what the process holds must not grow, and nothing may be
//! lost on the way.

#![cfg(target_os = "linux")]

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use std::process::Command;

use common::children::soak::{MAX_REJECTED_BYTES, MIB, TENANTS, is_bad, message};
use common::{Answer, Child, Ledger, Receiver, Request, seed, spool_dir, variable};

use crate::CHILD;

/// How much more may be held at the end than after the warm-up.
const SLACK: Usage = Usage { resident: 48 * MIB, threads: 2, files: 8, disk: 16 * MIB, rejected: 0 };

/// The memory, files and disk that a process and its spool take.
#[derive(Clone, Copy, Debug)]
struct Usage {
    resident: u64,
    threads: u64,
    files: u64,
    /// The size of the spool without the rejected store.
    disk: u64,
    /// The size of the rejected store.
    rejected: u64,
}

impl Usage {
    fn of(process: u32, spool: &Path) -> Self {
        let process = Path::new("/proc").join(process.to_string());
        let status = fs::read_to_string(process.join("status")).expect("the child runs");
        let field = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a field of the status");
            line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().expect("a number")
        };
        let rejected = disk_usage(&spool.join("rejected"), fs::Metadata::len);
        Self {
            resident: field("VmRSS") << 10,
            threads: field("Threads"),
            files: fs::read_dir(process.join("fd")).expect("the child runs").count() as u64,
            disk: disk_usage(spool, |file| file.blocks() * 512)
                - disk_usage(&spool.join("rejected"), |file| file.blocks() * 512),
            rejected,
        }
    }

    fn print(&self, when: &str, waiting: &str) {
        println!(
            "{when}: {} MiB resident, {} threads, {} files, {} MiB on disk, {} KiB rejected; {waiting}",
            self.resident / MIB,
            self.threads,
            self.files,
            self.disk / MIB,
            self.rejected >> 10
        );
    }
}

/// The size of the files below a directory. Some of them go while this looks.
fn disk_usage(dir: &Path, size: impl Copy + Fn(&fs::Metadata) -> u64) -> u64 {
    let Ok(found) = fs::read_dir(dir) else { return 0 };
    found
        .flatten()
        .map(|found| match found.metadata() {
            Ok(metadata) if metadata.is_dir() => disk_usage(&found.path(), size),
            Ok(metadata) => size(&metadata),
            Err(_) => 0,
        })
        .sum()
}

/// The requests so far, as the endpoint knows them.
#[derive(Default)]
struct Known {
    /// The body under each key.
    bodies: HashMap<String, u64>,
    ledger: Ledger,
    /// The marked records that were rejected alone.
    refused: HashSet<String>,
    faults: Vec<String>,
}

/// The endpoint, in bad weather or good. It never rejects what it has taken.
fn answer(request: &Request, known: &Mutex<Known>, bad_weather: bool) -> Answer {
    let mut known = known.lock().expect("nobody panics here");
    let mut hasher = DefaultHasher::new();
    request.body.hash(&mut hasher);
    let hash = hasher.finish();
    if *known.bodies.entry(request.key().to_owned()).or_insert(hash) != hash {
        known.faults.push(format!("{} came with different bodies", request.key()));
    }
    let answer = match fastrand::u32(..1000) {
        0..60 if bad_weather => Answer::status([500, 502, 503, 504][fastrand::usize(..4)]),
        60..90 if bad_weather => Answer::status(429).header("retry-after", ["0", "1"][fastrand::usize(..2)]),
        90..120 if bad_weather => Answer::Reset,
        120..125 if bad_weather => Answer::Held(Box::new(Answer::Reset)),
        _ if request.messages.iter().any(|message| is_bad(message)) => {
            if let [message] = &request.messages[..] {
                known.refused.insert(message.clone());
            }
            Answer::status(400).body("marked as bad")
        }
        125..155 if bad_weather => Answer::Lost,
        _ => Answer::ok(),
    };
    known.ledger.note(request, matches!(answer, Answer::Lost | Answer::Reply { status: 200, .. }));
    answer
}

/// Lets the child deliver everything; gives what it and its spool hold then, and how many records it has logged.
fn drain(child: &mut Child, process: u32, spool: &Path, receiver: &Receiver) -> (Usage, Vec<usize>) {
    child.tell("drain");
    receiver.come_up();
    let counts = child.wait_for("drained ").split(' ').map(|count| count.parse().expect("a number")).collect();
    // Work that is done afterwards, such as deleting delivered segments, has no signal.
    thread::sleep(Duration::from_secs(3));
    (Usage::of(process, spool), counts)
}

/// Changes the weather now and then, for some time.
fn weather(child: &mut Child, process: u32, spool: &Path, receiver: &Receiver, length: Duration, peak: &mut u64) {
    let began = Instant::now();
    let mut sampled = began;
    let mut changes = began;
    let mut is_up = true;
    while began.elapsed() < length {
        thread::sleep(Duration::from_millis(500));
        if Instant::now() > changes {
            is_up = !is_up;
            let change = if is_up { Receiver::come_up } else { Receiver::go_down };
            change(receiver);
            let seconds = if is_up { 5..40 } else { 2..12 };
            changes = Instant::now() + Duration::from_secs(fastrand::u64(seconds));
        }
        if sampled.elapsed() > Duration::from_secs(20) {
            sampled = Instant::now();
            receiver.release();
            receiver.forget_bodies();
            child.tell("how much");
            let waiting = child.wait_for("waiting ");
            let usage = Usage::of(process, spool);
            *peak = usage.resident.max(*peak);
            usage.print(&format!("after {} s", began.elapsed().as_secs()), &waiting);
        }
    }
}

#[test]
fn a_long_run_in_bad_weather_holds_no_more_at_its_end_than_at_its_start() {
    seed();
    let seconds = variable("SPOOL_TEST_SOAK_SECONDS", 20);
    let length = Duration::from_secs(seconds);
    let warm_up = (length / 5).min(Duration::from_secs(300));
    let spool = spool_dir();
    let receiver = Receiver::start();
    let known: Arc<Mutex<Known>> = Arc::default();
    let bad_weather = |is_bad: bool| {
        let known = Arc::clone(&known);
        receiver.answer_by(move |request| answer(request, &known, is_bad));
    };
    let endpoint = receiver.url("/ingest");
    let settings: [(&str, &OsStr); 2] =
        [("SPOOL_CHILD_ENDPOINT", endpoint.as_ref()), ("SPOOL_CHILD_DIR", spool.path().as_ref())];
    let mut child = Child::start(Command::new(CHILD), "soak", settings);
    let process = child.wait_for("pid ").parse().expect("a number");

    let mut peak = 0;
    let mut usages = Vec::new();
    let mut logged = Vec::new();
    for (what, length) in [("warmed up and drained", warm_up), ("in the end, drained", length.saturating_sub(warm_up))]
    {
        bad_weather(true);
        child.tell("log");
        weather(&mut child, process, spool.path(), &receiver, length, &mut peak);
        bad_weather(false);
        let (usage, counts) = drain(&mut child, process, spool.path(), &receiver);
        usage.print(what, "nothing waits");
        usages.push(usage);
        logged = counts;
    }
    child.finish();

    let known = known.lock().expect("nobody panicked");
    assert!(known.faults.is_empty(), "{:#?}", known.faults);
    assert!(known.ledger.faults().is_empty(), "{:#?}", known.ledger.faults());
    let delivered = known.ledger.stored();
    let (mut explained, mut refused) = (0, 0);
    for (tenant, &count) in TENANTS.iter().zip(&logged) {
        let all = (1..=count).map(|number| message(tenant, number));
        let (bad, good): (Vec<_>, Vec<_>) = all.partition(|message| is_bad(message));
        let missing: Vec<_> = good.iter().filter(|message| known.ledger.place(message).is_none()).collect();
        assert!(missing.is_empty(), "missing: {missing:?}");
        let overtaken = known.ledger.overtaken(good.iter().map(String::as_str));
        assert!(overtaken.is_empty(), "out of order: {overtaken:#?}");
        let unrefused: Vec<_> = bad.iter().filter(|message| !known.refused.contains(*message)).collect();
        assert!(unrefused.is_empty(), "never came alone: {unrefused:?}");
        explained += good.len();
        refused += bad.len();
    }
    assert_eq!(delivered.len(), explained, "records that were delivered twice or never logged");
    assert_eq!(known.refused.len(), refused, "records that were refused and never logged");
    println!(
        "{} records delivered, {} again, {refused} refused, {} requests, {} connections, at most {} MiB resident",
        delivered.len(),
        receiver.look(|log| log.repeated),
        receiver.look(|log| log.requests.len()),
        receiver.look(|log| log.connections),
        peak / MIB,
    );

    let (start, end) = (usages[0], usages[1]);
    let within = |what: &str, start: u64, end: u64, slack: u64| {
        assert!(end <= start + slack, "{what} grew from {start} to {end}, by more than {slack}");
    };
    within("resident memory", start.resident, end.resident, SLACK.resident);
    within("threads", start.threads, end.threads, SLACK.threads);
    within("open files", start.files, end.files, SLACK.files);
    within("disk usage", start.disk, end.disk, SLACK.disk);
    within("what is rejected", MAX_REJECTED_BYTES, end.rejected, SLACK.rejected);
    assert!(delivered.len() > 500, "hardly anything was logged");
}
