//! An oracle over many crashes: a service is killed at the worst moments, against an endpoint that breaks in every way;
//! in the end everything that it knew to be accepted is where it belongs, once. It is in order but for what was alone in a
//! request, or in one that failed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use std::process::Command;

use common::children::TENANTS;
use common::children::crash::{configured, is_bad, message};
use common::{Answer, Child, Ledger, Receiver, Request, Service, exporter, seed, spool_dir, variable};
use opentelemetry::logs::LogRecord as _;
use opentelemetry_spool::RejectedRecord;
use tempfile::TempDir;

use crate::CHILD;

/// In what the child is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    Starting,
    Rotating,
    Acknowledging,
    ShuttingDown,
    UnderLoad,
}

const MOMENTS: [Moment; 5] =
    [Moment::Starting, Moment::Rotating, Moment::Acknowledging, Moment::ShuttingDown, Moment::UnderLoad];

/// The endpoint. It remembers what it took, as one that makes use of the keys does: what is taken is never rejected.
#[derive(Default)]
struct Taken {
    keys: HashSet<String>,
    ledger: Ledger,
}

impl Taken {
    fn note(&mut self, request: &Request, answer: &Answer) {
        let taken = matches!(answer, Answer::Lost | Answer::Reply { status: 200, .. });
        if taken {
            self.keys.insert(request.key().to_owned());
        }
        self.ledger.note(request, taken);
    }
}

fn answer(request: &Request, taken: &Mutex<Taken>) -> Answer {
    let mut taken = taken.lock().expect("nobody panics here");
    let known = taken.keys.contains(request.key());
    let bad = request.messages.iter().any(|message| is_bad(message));
    let answer = match fastrand::u32(..100) {
        0..8 => Answer::status([500, 502, 503, 504][fastrand::usize(..4)]),
        8..14 => Answer::status(429).header("retry-after", "0"),
        14..18 => Answer::Reset,
        18..20 => Answer::hang(),
        20..24 if !known && request.messages.len() > 1 => Answer::status(413),
        _ if bad => Answer::status([400, 415, 422][fastrand::usize(..3)]).body("marked as bad"),
        24..30 => Answer::Lost,
        30..40 if request.messages[0].starts_with('b') => Answer::status(503),
        _ => Answer::ok(),
    };
    taken.note(request, &answer);
    answer
}

/// A number of `accepted ` lines and their like: the last one counts.
fn last_number(said: &[String]) -> usize {
    said.iter().rev().find_map(|line| line.strip_prefix("accepted ")?.parse().ok()).unwrap_or(0)
}

fn number(rest: &str) -> usize {
    rest.parse().expect("a number")
}

/// Starts a service, kills it; gives how many records of each tenant it knew to be accepted.
fn crash(receiver: &Receiver, spool: &Path, run: usize, moment: Moment) -> usize {
    let endpoint = receiver.url("/ingest");
    let padding = if moment == Moment::Rotating { "20000" } else { "1000" };
    // That one does not pass a shutdown on.
    let one_by_one = moment != Moment::ShuttingDown && fastrand::u32(..3) == 0;
    let (run, one_by_one) = (run.to_string(), one_by_one.to_string());
    let settings: [(&str, &OsStr); 5] = [
        ("SPOOL_CHILD_ENDPOINT", endpoint.as_ref()),
        ("SPOOL_CHILD_DIR", spool.as_ref()),
        ("SPOOL_CHILD_RUN", run.as_ref()),
        ("SPOOL_CHILD_PADDING", padding.as_ref()),
        ("SPOOL_CHILD_ONE_BY_ONE", one_by_one.as_ref()),
    ];
    if moment == Moment::Acknowledging || fastrand::u32(..4) > 0 {
        receiver.come_up();
    } else {
        receiver.go_down();
    }
    let seen = receiver.look(|log| log.requests.len());
    let mut child = Child::start(Command::new(CHILD), "crash", settings);
    let mut accepted = 0;
    // Not to wait for anything: to be somewhere else each time.
    let somewhat = |micros| thread::sleep(Duration::from_micros(fastrand::u64(..micros)));
    match moment {
        Moment::Starting => {
            child.wait_for("starting");
            somewhat(30_000);
        }
        Moment::Rotating => {
            // Every line stands for more than half a segment.
            for _ in 0..fastrand::u32(1..=3) {
                accepted = number(&child.wait_for("accepted "));
            }
            somewhat(30_000);
        }
        Moment::Acknowledging => {
            let requests = seen + fastrand::usize(1..=15);
            receiver.wait_until("a request", |log| (log.requests.len() >= requests).then_some(()));
            somewhat(2_000);
        }
        Moment::ShuttingDown => {
            accepted = number(&child.wait_for("accepted "));
            child.tell("shut down");
            accepted = accepted.max(number(&child.wait_for("shutting down ")));
            somewhat(40_000);
        }
        Moment::UnderLoad => {
            child.wait_for("ready");
            somewhat(300_000);
            match fastrand::u32(..3) {
                0 => receiver.go_down(),
                1 => receiver.come_up(),
                _ => {}
            }
            somewhat(100_000);
        }
    }
    accepted.max(last_number(&child.kill()))
}

/// The directory of the spool, kept for a look at it if the test fails.
struct Evidence(Option<TempDir>);

impl Evidence {
    fn path(&self) -> &Path {
        self.0.as_ref().expect("it is there until the end").path()
    }
}

impl Drop for Evidence {
    fn drop(&mut self) {
        if let Some(spool) = self.0.take()
            && thread::panicking()
        {
            eprintln!("the spool is kept: {}", spool.keep().display());
        }
    }
}

/// Collects in words what is wrong.
#[derive(Default)]
struct Oracle {
    accusations: Vec<String>,
}

impl Oracle {
    fn accuse(&mut self, what: String) {
        self.accusations.push(what);
    }

    /// Every record has one place, and none is delivered in two of them. What comes again after it was taken is recognised by
    /// its place; once nobody is killed and no response is lost, nothing does.
    fn check_places(&mut self, ledger: &Ledger, in_good_weather: &[Request]) {
        self.accusations.extend_from_slice(ledger.faults());
        let mut seen = HashSet::new();
        for message in ledger.stored().iter().filter(|message| !seen.insert(message.as_str())) {
            self.accuse(format!("{message} was delivered in two places"));
        }
        let mut seen = HashSet::new();
        let taken = in_good_weather.iter().filter(|request| request.answered == Some(200));
        for message in
            taken.flat_map(|request| request.messages.iter()).filter(|message| !seen.insert(message.as_str()))
        {
            self.accuse(format!("{message} came again after the response to it was read"));
        }
    }

    /// Checks that a rejected record is bad, was rejected as it is kept, and is there once; gives the messages.
    fn check_rejected(&mut self, rejected: &[RejectedRecord], requests: &[Request]) -> Vec<String> {
        let mut messages = Vec::new();
        let by_key: HashMap<_, _> = requests.iter().map(|request| (request.key(), request)).collect();
        for record in rejected {
            let body: Vec<serde_json::Value> = serde_json::from_slice(&record.body).unwrap_or_default();
            let [body] = &body[..] else {
                self.accuse(format!("{} was set aside, which is not one record: {record:?}", record.batch_id));
                continue;
            };
            let message = body["message"].as_str().unwrap_or_default().to_owned();
            if !is_bad(&message) {
                self.accuse(format!("{message} was set aside as {}, though nobody refused it alone", record.batch_id));
            }
            if !message.starts_with(&*record.partition_key) {
                self.accuse(format!("{message} is kept as one of {:?}", record.partition_key));
            }
            match by_key.get(&*record.batch_id) {
                None => self.accuse(format!("{message} was set aside as {}, which never came", record.batch_id)),
                Some(request) if request.body != record.body => {
                    self.accuse(format!("{message} was set aside as {} otherwise than it came", record.batch_id));
                }
                Some(_) => {}
            }
            if messages.contains(&message) {
                self.accuse(format!("{message} was set aside twice, also as {}", record.batch_id));
            }
            messages.push(message);
        }
        messages
    }

    /// Nothing that was accepted is missing, and the order was kept, run after run, number after number.
    fn check_tenant(&mut self, tenant: &str, accepted: &[usize], ledger: &Ledger, rejected: &[String]) {
        let delivered = ledger.stored().iter().filter(|message| message.starts_with(tenant)).count();
        let aside: HashSet<_> = rejected.iter().map(String::as_str).collect();
        let mut logged = Vec::new();
        for (run, &accepted) in accepted.iter().enumerate() {
            for number in 1.. {
                let message = message(tenant, run, number);
                if is_bad(&message) {
                    if number <= accepted && !aside.contains(&*message) {
                        self.accuse(format!("{message} was accepted and is not in the rejected store"));
                    }
                    continue;
                }
                if ledger.place(&message).is_none() {
                    if number <= accepted {
                        self.accuse(format!("{message} was accepted ({accepted} were) and is lost"));
                        continue;
                    }
                    break;
                }
                logged.push(message);
            }
        }
        for fault in ledger.overtaken(logged.iter().map(String::as_str)) {
            self.accuse(fault);
        }
        if logged.len() < delivered {
            let unknown = delivered - logged.len();
            self.accuse(format!("{unknown} records of {tenant} were delivered that were never logged, or after a gap"));
        }
    }

    fn conclude(self) {
        let mut text = String::new();
        for accusation in self.accusations.iter().take(40) {
            let _ = write!(text, "\n  {accusation}");
        }
        assert!(self.accusations.is_empty(), "{} accusations:{text}", self.accusations.len());
    }
}

#[test]
fn whatever_it_is_killed_in_everything_accepted_arrives_once_and_in_order() {
    seed();
    let kills = usize::try_from(variable("SPOOL_TEST_KILLS", 40)).expect("a number of kills");
    let spool = Evidence(Some(spool_dir()));
    let receiver = Receiver::start();
    let taken = Arc::new(Mutex::new(Taken::default()));
    let known = Arc::clone(&taken);
    receiver.answer_by(move |request| answer(request, &known));

    // Every moment as often as the others, in an order of its own.
    let mut moments: Vec<_> = (0..kills).map(|run| MOMENTS[run % MOMENTS.len()]).collect();
    fastrand::shuffle(&mut moments);
    let accepted: Vec<_> =
        moments.iter().enumerate().map(|(run, moment)| crash(&receiver, spool.path(), run, *moment)).collect();

    // What a killed process has sent is not to be taken afterwards, when nothing comes again.
    receiver.go_down();
    receiver.come_up();
    let known = Arc::clone(&taken);
    receiver.answer_by(move |request| {
        let bad = request.messages.iter().any(|message| is_bad(message));
        let answer = if bad { Answer::status(422).body("marked as bad") } else { Answer::ok() };
        known.lock().expect("nobody panics here").note(request, &answer);
        answer
    });
    let in_bad_weather = receiver.look(|log| log.requests.len());
    let exporter = exporter(&receiver, spool.path()).with_timeout(common::children::NEVER);
    let service = Service::batch(configured(exporter));
    service.settle(|live| {
        for tenant in TENANTS {
            service.log_with(&format!("live-{tenant}-{live}"), |record| record.add_attribute("tenant", tenant));
        }
    });
    let stats = service.handle.stats();
    assert_eq!((stats.pending_records, stats.corrupt_records, stats.lost_records), (0, 0, 0), "{stats:?}");

    let requests = receiver.requests();
    let taken = taken.lock().expect("nobody panicked");
    let rejected = service.handle.rejected().expect("the rejected store");
    let mut oracle = Oracle::default();
    oracle.check_places(&taken.ledger, &requests[in_bad_weather..]);
    let rejected = oracle.check_rejected(&rejected, &requests);
    for tenant in TENANTS {
        oracle.check_tenant(tenant, &accepted, &taken.ledger, &rejected);
    }
    oracle.conclude();

    let mut segments = HashSet::new();
    let mut answers: BTreeMap<_, usize> = BTreeMap::new();
    for request in &requests {
        segments.extend(request.key().split('-').next());
        *answers.entry(request.answered).or_default() += 1;
    }
    let total: usize = accepted.iter().map(|accepted| accepted * TENANTS.len()).sum();
    let idle = accepted.iter().filter(|accepted| **accepted == 0).count();
    println!(
        "{kills} kills ({idle} before anything was accepted), {total} records known as accepted, {} delivered, {} set \
         aside, {} repeated, {} requests from {} segments, answers {answers:?}",
        taken.ledger.stored().len(),
        rejected.len(),
        receiver.look(|log| log.repeated),
        requests.len(),
        segments.len(),
    );
}
