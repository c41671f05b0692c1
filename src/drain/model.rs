//! Spool and drain together against a simulated receiver that gives any answer, over any number of restarts.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use proptest::prelude::*;

use super::{Again, Drain, Step, Task};
use crate::batch::{Framing, HeaderMap};
use crate::config::{BatchLimits, Durability, SpoolLimits};
use crate::hook::HeaderHook;
use crate::retry::{Response, Verdict};
use crate::spool::{Coding, Group, Spool, SpoolConfig};
use crate::transport::{Request, SendError, Transport};

const KEYS: [&str; 3] = ["a", "b", "c"];
const FRAMING: Framing = Framing::ndjson();

#[derive(Clone, Debug)]
enum Operation {
    /// Append so many records of so many bytes each to a partition.
    Append(usize, usize, usize),
    /// Deliver the next batch of a partition, with this answer.
    Step(usize, Answer),
    /// What is delivered cannot be written down from now on, for a second.
    CursorFails,
    Settle,
    /// Close or kill, and open with so many records in a batch, stored in this way.
    Restart(bool, u64, Coding),
}

#[derive(Clone, Copy, Debug)]
enum Answer {
    Status(u16),
    Unreachable,
    /// The connection broke, before or after the receiver had the batch.
    Broken(bool),
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        8 => (200..300_u16).prop_map(Answer::Status),
        4 => prop_oneof![Just(400_u16), Just(413), Just(415), Just(422)].prop_map(Answer::Status),
        3 => prop_oneof![300..600_u16, Just(429), Just(503)].prop_map(Answer::Status),
        1 => Just(Answer::Unreachable),
        2 => any::<bool>().prop_map(Answer::Broken),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    let bytes = prop_oneof![Just(10_usize), Just(4000), Just(60_000)];
    prop_oneof![
        6 => (0..3_usize, 1..40_usize, bytes).prop_map(|(key, count, bytes)| Operation::Append(key, count, bytes)),
        16 => (0..3_usize, answer()).prop_map(|(key, answer)| Operation::Step(key, answer)),
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
    /// What it says next.
    answer: Option<Answer>,
    bodies: HashMap<String, Bytes>,
    received: HashSet<String>,
    refused_alone: HashSet<String>,
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
    if !request.headers.contains_key("content-encoding") {
        return request.body.clone();
    }
    let mut plain = Vec::new();
    // One member, and nothing behind it.
    let mut decoder = flate2::bufread::GzDecoder::new(&request.body[..]);
    std::io::Read::read_to_end(&mut decoder, &mut plain).unwrap();
    assert!(decoder.into_inner().is_empty());
    plain.into()
}

#[cfg(not(feature = "gzip-http"))]
fn plain(request: &Request) -> Bytes {
    request.body.clone()
}

/// The receiver outlives the drains.
#[derive(Clone, Default)]
struct Link(Arc<Mutex<Receiver>>);

impl Transport for Link {
    async fn send(&self, request: Request) -> Result<Response, SendError> {
        let mut receiver = self.0.lock().unwrap();
        let id = request.headers["idempotency-key"].to_str().unwrap().to_owned();
        let body = receiver.bodies.entry(id.clone()).or_insert_with(|| request.body.clone());
        assert!(*body == request.body, "{id} came with other bytes");
        receiver.last = Some((id.clone(), request.body.clone()));
        let plain = plain(&request);
        let alone = plain.split(|byte| *byte == b'\n').count() == 2;
        let answer = match receiver.answer.take().expect("one answer for each request") {
            // It sticks to what it said, though the sender may not have heard it.
            Answer::Status(_) if receiver.refused_alone.contains(&id) => Answer::Status(422),
            Answer::Status(400..500) if receiver.received.contains(&id) => Answer::Status(200),
            answer => answer,
        };
        match answer {
            Answer::Status(200..300) | Answer::Broken(true) if !receiver.refused_alone.contains(&id) => {
                receiver.receive(&id, &plain);
            }
            Answer::Status(400 | 413 | 415 | 422) if alone => drop(receiver.refused_alone.insert(id)),
            _ => {}
        }
        match answer {
            Answer::Status(status) => Ok(Response { status, retry_after: None, body: Vec::new() }),
            Answer::Unreachable => Err(SendError::Unreachable("refused".into())),
            Answer::Broken(_) => Err(SendError::Broken("reset".into())),
        }
    }
}

fn open(dir: &Path, max_records: u64, coding: Coding, link: &Link) -> Drain<Link> {
    let config = SpoolConfig {
        dir: dir.to_owned(),
        durability: Durability::Process,
        coding,
        segment_bytes: 1 << 20,
        batch: BatchLimits { max_records, max_bytes: 200_000, linger: Duration::ZERO },
        limits: SpoolLimits::default(),
    };
    let spool = Arc::new(Spool::open_silent(&config).unwrap());
    spool.wait_recovered();
    Drain {
        spool,
        transport: link.clone(),
        headers: HeaderMap::new(),
        hook: HeaderHook::None,
        classifier: Box::new(Verdict::of),
        counters: Arc::default(),
    }
}

fn append(spool: &Spool, key: &str, lines: &[String]) {
    let mut group = Group { payload: lines.join("\n").into_bytes(), ..Group::default() };
    let mut end = 0;
    for line in lines {
        group.ends.push(end + line.len());
        end += line.len() + 1;
    }
    spool.append(&[(key, &group)], &FRAMING).unwrap();
}

/// What does not get much smaller.
fn noise(seed: usize, len: usize) -> String {
    let mut random = fastrand::Rng::with_seed(seed as u64);
    std::iter::repeat_with(|| format!("{:016x}", random.u64(..))).take(len / 16).collect()
}

fn step(drain: &Drain<Link>, key: &str, answer: Answer) -> Step {
    drain.transport.0.lock().unwrap().answer = Some(answer);
    let task = Task::new(drain.spool.partition(key));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(drain.step(&task, SystemTime::now(), false))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_answered_every_record_arrives_once_in_order_or_is_set_aside(
        operations in prop::collection::vec(operation(), 1..80),
        first_coding in coding(),
    ) {
        let (dir, link) = (tempfile::tempdir().unwrap(), Link::default());
        let mut drain = open(dir.path(), 17, first_coding, &link);
        let mut appended: [Vec<String>; 3] = Default::default();
        // What was sent last of a partition and neither delivered nor divided: it comes again.
        let mut held: [Option<(String, Bytes)>; 3] = Default::default();
        let mut check_step = |at: usize, step: &Step| {
            let mut receiver = link.0.lock().unwrap();
            let Some(sent) = receiver.last.take() else {
                prop_assert!(matches!(step, Step::Empty), "{step:?}");
                return Ok(());
            };
            let known = receiver.received.contains(&sent.0) || receiver.refused_alone.contains(&sent.0);
            match (&held[at], &step) {
                (Some(before), _) => prop_assert!(*before == sent || known, "{} came instead of {}", sent.0, before.0),
                (None, Step::Empty | Step::Wait(_)) => prop_assert!(false, "{step:?} after a request"),
                (None, _) => {}
            }
            match step {
                Step::Failed(_) => held[at] = Some(sent),
                _ => drop(held[at].take_if(|before| before.0 == sent.0)),
            }
            Ok(())
        };
        for operation in operations {
            match operation {
                Operation::Append(at, count, bytes) => {
                    let first = appended[at].len();
                    let line = |n| format!("{} {n} {}", KEYS[at], noise(n, bytes));
                    let lines: Vec<_> = (first..first + count).map(line).collect();
                    append(&drain.spool, KEYS[at], &lines);
                    appended[at].extend(lines);
                }
                Operation::Step(at, answer) => {
                    let step = step(&drain, KEYS[at], answer);
                    if matches!(answer, Answer::Unreachable) && !matches!(step, Step::Empty) {
                        let Step::Failed(failure) = &step else { panic!("{step:?}") };
                        prop_assert_eq!(failure.again, Again::Unreachable);
                    }
                    check_step(at, &step)?;
                }
                Operation::CursorFails => drain.spool.fail_cursor(),
                Operation::Settle => drain.spool.settle(),
                Operation::Restart(kill, max_records, coding) => {
                    if kill {
                        drain.spool.kill();
                    }
                    drop(drain);
                    drain = open(dir.path(), max_records, coding, &link);
                }
            }
        }
        for (at, key) in KEYS.into_iter().enumerate() {
            loop {
                let step = step(&drain, key, Answer::Status(200));
                if matches!(step, Step::Empty) {
                    break;
                }
                check_step(at, &step)?;
            }
        }
        prop_assert_eq!(drain.spool.depth().pending_records, 0);
        let receiver = link.0.lock().unwrap();
        let set_aside: HashSet<_> = drain.spool.rejected().records().unwrap().into_iter()
            .map(|record| String::from_utf8(record.body).unwrap().trim_end().to_owned())
            .collect();
        prop_assert_eq!(set_aside.len(), receiver.refused_alone.len());
        for (key, appended) in KEYS.into_iter().zip(&appended) {
            let arrived = receiver.lines.iter().filter(|line| line.starts_with(key));
            let expected = appended.iter().filter(|line| !set_aside.contains(*line));
            prop_assert!(arrived.eq(expected), "of partition {key}");
        }
    }
}
