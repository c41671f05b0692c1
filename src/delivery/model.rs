//! Spool and delivery together against a simulated receiver that gives any response, over any number of restarts.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::attempt::{Retry, Sender, Step, Task};
use crate::config::values::{BatchLimits, Durability, SpoolLimits, Timeouts};
use crate::encode::blocks::Block;
use crate::encode::framing::Framing;
use crate::observe::stats::Outcome;
use crate::spool::{Coding, Spool, SpoolConfig};
use crate::transport::contract::{Delivery, Peer, SendError, Transport};
use crate::transport::request::Request;
use crate::transport::verdict::{Judgement, Suspicion, Verdict};

const KEYS: [&str; 3] = ["a", "b", "c"];
const FRAMING: Framing = Framing::ndjson();

#[derive(Clone, Debug)]
enum Operation {
    /// Append so many records of so many bytes each to a partition.
    Append(usize, usize, usize),
    /// Deliver a batch of a partition, with this response: one of those that failed, or another one.
    Step(usize, usize, Response),
    /// The cursors cannot be written from now on, for a second.
    CursorFails,
    Settle,
    /// Close or kill, and open with so many records in a batch, stored in this way.
    Restart(bool, u64, Coding),
}

#[derive(Clone, Copy, Debug)]
enum Response {
    Status(u16),
    Unreachable,
    /// The connection broke, before or after the receiver had the batch.
    Broken(bool),
}

fn response() -> impl Strategy<Value = Response> {
    prop_oneof![
        8 => (200..300_u16).prop_map(Response::Status),
        4 => prop_oneof![Just(400_u16), Just(413), Just(415), Just(422)].prop_map(Response::Status),
        3 => prop_oneof![300..600_u16, Just(429), Just(503)].prop_map(Response::Status),
        1 => Just(Response::Unreachable),
        2 => any::<bool>().prop_map(Response::Broken),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    let bytes = prop_oneof![Just(10_usize), Just(4000), Just(20_000)];
    prop_oneof![
        6 => (0..3_usize, 1..40_usize, bytes).prop_map(|(key, count, bytes)| Operation::Append(key, count, bytes)),
        16 => (0..3_usize, 0..4_usize, response())
            .prop_map(|(key, which, response)| Operation::Step(key, which, response)),
        1 => Just(Operation::CursorFails),
        1 => Just(Operation::Settle),
        2 => (any::<bool>(), 1..30_u64, coding()).prop_map(|(kill, max, coding)| Operation::Restart(kill, max, coding)),
    ]
}

fn coding() -> impl Strategy<Value = Coding> {
    let compressed = if cfg!(feature = "gzip-http") { Coding::Deflate } else { Coding::Lz4 };
    prop_oneof![Just(Coding::Identity), Just(Coding::Lz4), Just(compressed)]
}

/// A receiver that remembers ids.
#[derive(Debug, Default)]
struct Receiver {
    /// The response to the next request.
    response: Option<Response>,
    bodies: HashMap<String, Bytes>,
    received: HashSet<String>,
    rejected_alone: HashSet<String>,
    /// The lines that it has, each id once.
    lines: Vec<String>,
    last: Option<(String, Bytes)>,
}

impl Receiver {
    fn receive(&mut self, id: &str, body: &Bytes) {
        if self.received.insert(id.to_owned()) {
            self.lines.extend(std::str::from_utf8(body).unwrap().lines().map(str::to_owned));
        }
    }
}

#[cfg(feature = "gzip-http")]
fn plain(request: &Request) -> Bytes {
    if request.content_encoding.is_none() {
        return request.body.clone();
    }
    let mut plain = Vec::new();
    // The body is one member of gzip, with nothing behind it.
    let mut decoder = flate2::bufread::GzDecoder::new(&request.body[..]);
    std::io::Read::read_to_end(&mut decoder, &mut plain).unwrap();
    assert!(decoder.into_inner().is_empty());
    plain.into()
}

#[cfg(not(feature = "gzip-http"))]
fn plain(request: &Request) -> Bytes {
    request.body.clone()
}

/// The receiver outlives the senders.
#[derive(Clone, Default)]
struct Link(Arc<Mutex<Receiver>>);

/// The judgement that HTTP makes of a status.
fn judgement(status: u16) -> Judgement {
    let verdict = match status {
        200..=299 => Verdict::Delivered,
        400 | 415 | 422 => Verdict::Rejected,
        413 | 414 => Verdict::TooLarge,
        408 | 429 | 500..=599 => Verdict::Retry,
        _ => Verdict::Hold,
    };
    let outcome = Outcome::Responded(status);
    let suspicion = Suspicion::of(&verdict, false);
    Judgement { verdict, suspicion, reason: String::new(), retry_after: None, status, response: Vec::new(), outcome }
}

impl Transport for Link {
    fn deliver(&self, request: Request) -> Delivery<'_> {
        Box::pin(async move {
            let mut receiver = self.0.lock().unwrap();
            let id = request.context.id().to_owned();
            let body = receiver.bodies.entry(id.clone()).or_insert_with(|| request.body.clone());
            assert!(*body == request.body, "{id} came with other bytes");
            receiver.last = Some((id.clone(), request.body.clone()));
            let plain = plain(&request);
            let alone = plain.split(|byte| *byte == b'\n').count() == 2;
            let response = match receiver.response.take().expect("one response for each request") {
                // It sticks to what it said, though the sender may not have heard it.
                Response::Status(_) if receiver.rejected_alone.contains(&id) => Response::Status(422),
                Response::Status(400..500) if receiver.received.contains(&id) => Response::Status(200),
                response => response,
            };
            match response {
                Response::Status(200..300) | Response::Broken(true) if !receiver.rejected_alone.contains(&id) => {
                    receiver.receive(&id, &plain);
                }
                Response::Status(400 | 413..=415 | 422) if alone => drop(receiver.rejected_alone.insert(id)),
                _ => {}
            }
            match response {
                Response::Status(status) => Ok(judgement(status)),
                Response::Unreachable => Err(SendError::Unreachable("no connection".to_owned())),
                Response::Broken(_) => Err(SendError::Interrupted("reset".to_owned())),
            }
        })
    }

    fn peer(&self) -> Peer {
        Peer::default()
    }
}

/// A spool and what delivers from it.
struct Setup {
    spool: Arc<Spool>,
    sender: Sender,
    link: Link,
}

fn open(dir: &Path, max_records: u64, coding: Coding, link: &Link) -> Setup {
    let config = SpoolConfig {
        dir: dir.to_owned(),
        durability: Durability::Process,
        coding,
        segment_bytes: 1 << 20,
        batch: BatchLimits { max_records, max_bytes: 200_000, linger: Duration::ZERO },
        limits: SpoolLimits::default(),
        endpoint: None,
    };
    let spool = Arc::new(Spool::open_silent(&config).unwrap());
    spool.wait_recovered();
    let sender = Sender { transport: Arc::new(link.clone()), counters: Arc::default(), timeouts: Timeouts::default() };
    Setup { spool, sender, link: link.clone() }
}

fn append(spool: &Spool, key: &str, lines: &[String]) {
    let mut block = Block { payload: lines.join("\n").into_bytes(), ..Block::default() };
    let mut end = 0;
    for line in lines {
        block.ends.push(end + line.len());
        end += line.len() + 1;
    }
    spool.append(&[(key, &block)], &FRAMING).unwrap();
}

/// Text that compression hardly makes smaller.
fn noise(seed: usize, len: usize) -> String {
    let mut random = fastrand::Rng::with_seed(seed as u64);
    std::iter::repeat_with(|| format!("{:016x}", random.u64(..))).take(len.div_ceil(16)).collect()
}

fn step(setup: &Setup, task: &mut Task, response: Response) -> Step {
    setup.link.0.lock().unwrap().response = Some(response);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    match task.take(SystemTime::now(), false) {
        Ok(batch) => runtime.block_on(setup.sender.attempt(batch, 1, Instant::now(), SystemTime::now())),
        Err(step) => step,
    }
}

/// The batches of one partition that are in flight.
#[derive(Default)]
struct InFlight {
    /// The tasks that failed, and what they sent.
    held: Vec<(Task, String, Bytes)>,
}

impl InFlight {
    /// Delivers a batch: with the task that failed as this one, or with another one if so many may be in flight.
    fn step(
        &mut self,
        setup: &Setup,
        key: &str,
        (which, most): (usize, usize),
        response: Response,
    ) -> Result<Step, TestCaseError> {
        let partition = setup.spool.partition(key);
        partition.allow(most);
        let is_retry = which < self.held.len() || self.held.len() == most;
        let (mut task, before) = if is_retry {
            let (task, id, body) = self.held.swap_remove(which.min(self.held.len() - 1));
            (task, Some((id, body)))
        } else {
            (Task::new(partition), None)
        };
        let step = step(setup, &mut task, response);
        let mut receiver = setup.link.0.lock().unwrap();
        if let Step::Failed(failure) = &step
            && matches!(response, Response::Unreachable)
        {
            prop_assert_eq!(failure.retry, Retry::Unreachable);
        }
        let Some((id, body)) = receiver.last.take() else {
            // Others may be in flight.
            prop_assert!(matches!(step, Step::Empty) && before.is_none(), "{step:?}");
            receiver.response = None;
            return Ok(step);
        };
        if let Some(before) = before {
            prop_assert!(before == (id.clone(), body.clone()), "{id} came instead of {}", before.0);
        }
        let held = self.held.iter().any(|(_, other, _)| *other == id);
        prop_assert!(!held, "{id} came while it was in flight");
        if matches!(step, Step::Failed(_)) {
            self.held.push((task, id, body));
        }
        Ok(step)
    }
}

/// Seed and number of cases come from the environment, if they stand there. The seed is printed.
fn config() -> ProptestConfig {
    let mut config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 64;
    }
    if let RngSeed::Random = config.rng_seed {
        config.rng_seed = RngSeed::Fixed(fastrand::u64(..));
    }
    println!("PROPTEST_RNG_SEED={}", config.rng_seed);
    config
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn whatever_the_response_is_every_record_arrives_once_or_is_rejected_and_in_order_unless_several_are_in_flight(
        operations in prop::collection::vec(operation(), 1..80),
        first_coding in coding(),
        most in prop_oneof![Just(1_usize), 2..4_usize],
    ) {
        let (dir, link) = (tempfile::tempdir().unwrap(), Link::default());
        let mut setup = open(dir.path(), 17, first_coding, &link);
        let mut appended: [Vec<String>; 3] = Default::default();
        let mut in_flight: [InFlight; 3] = Default::default();
        for operation in operations {
            match operation {
                Operation::Append(at, count, bytes) => {
                    let first = appended[at].len();
                    let line = |n| format!("{} {n} {}", KEYS[at], noise(n, bytes));
                    let lines: Vec<_> = (first..first + count).map(line).collect();
                    append(&setup.spool, KEYS[at], &lines);
                    appended[at].extend(lines);
                }
                Operation::Step(at, which, response) => {
                    in_flight[at].step(&setup, KEYS[at], (which, most), response)?;
                }
                Operation::CursorFails => setup.spool.fail_cursors(Duration::from_secs(1)),
                Operation::Settle => setup.spool.settle(),
                Operation::Restart(kill, max_records, coding) => {
                    if kill {
                        setup.spool.kill();
                    }
                    drop(setup);
                    in_flight = Default::default();
                    setup = open(dir.path(), max_records, coding, &link);
                }
            }
        }
        for (at, key) in KEYS.into_iter().enumerate() {
            while !matches!(in_flight[at].step(&setup, key, (0, most), Response::Status(200))?, Step::Empty) {}
        }
        prop_assert_eq!(setup.spool.depth().pending_records, 0);
        let receiver = link.0.lock().unwrap();
        let kept: HashSet<_> = setup.spool.rejected().records().unwrap().into_iter()
            .map(|record| String::from_utf8(record.body).unwrap().trim_end().to_owned())
            .collect();
        prop_assert_eq!(kept.len(), receiver.rejected_alone.len());
        for (key, appended) in KEYS.into_iter().zip(&appended) {
            let mut arrived: Vec<_> = receiver.lines.iter().filter(|line| line.starts_with(key)).collect();
            let mut expected: Vec<_> = appended.iter().filter(|line| !kept.contains(*line)).collect();
            if most > 1 {
                arrived.sort();
                expected.sort();
            }
            prop_assert!(arrived == expected, "of partition {key}");
        }
    }
}
