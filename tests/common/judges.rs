//! Receivers that judge as real ones do: by a record's age, content, place or number, by a request's size, by their own state.
//!
//! Each remembers what it stored, in order. It recognises a record that comes again by its position, as the documented form of an
//! `Idempotency-Key` lets it, so a batch that was stored and then split is stored once.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::receiver::{Answer, Receiver, Request};

/// The ruling about a request: which of its records are taken, and the answer.
pub struct Ruling {
    takes: Vec<usize>,
    answer: Answer,
}

impl Ruling {
    /// Takes all of them.
    fn all(records: &[Record]) -> Self {
        Self { takes: (0..records.len()).collect(), answer: Answer::ok() }
    }

    /// Takes none of them.
    fn none(answer: Answer) -> Self {
        Self { takes: Vec::new(), answer }
    }
}

/// A record in a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub message: String,
    /// In seconds since 1970.
    pub created: f64,
}

/// What a receiver has taken of requests that it does not judge record by record.
#[derive(Default)]
pub struct Ledger {
    stored: Vec<String>,
    /// Where each message is in that, the latest time that it was stored.
    places: HashMap<String, usize>,
    positions: HashMap<(String, u64), String>,
    /// Every record that was ever in a request that was not taken, or alone in one.
    suspects: HashSet<String>,
    /// Every record that was taken alone.
    singles: HashSet<String>,
    faults: Vec<String>,
}

impl Ledger {
    /// Notes a request, and whether it was taken. A record that is taken again is recognised by its position.
    pub fn note(&mut self, request: &Request, taken: bool) {
        let (lane, first, _) = positions(request.key()).expect("segment, lane, first and last record");
        for (number, message) in (first..).zip(request.messages.iter()) {
            let known = self.positions.get(&(lane.to_owned(), number));
            if let Some(other) = known.filter(|known| *known != message) {
                self.faults.push(format!("{message} came in the place {lane}-{number}, where {other} had been taken"));
            }
            if !taken || request.messages.len() == 1 {
                self.suspects.insert(message.clone());
            }
            if taken && request.messages.len() == 1 {
                self.singles.insert(message.clone());
            }
            if taken && known.is_none() {
                self.positions.insert((lane.to_owned(), number), message.clone());
                self.places.insert(message.clone(), self.stored.len());
                self.stored.push(message.clone());
            }
        }
    }

    /// The place of a message in what was stored.
    pub fn place(&self, message: &str) -> Option<usize> {
        self.places.get(message).copied()
    }

    /// The records that came before one that had been logged earlier, given all of a partition that were stored, as they were logged.
    ///
    /// Free to come in any order are those that were ever in a request that was not taken, those that were taken alone, since they
    /// may be controls, and those that lie before one that was taken alone and earlier: where a control is taken from behind a bad
    /// stretch, all before it is parked.
    pub fn overtaken<'a>(&self, logged: impl DoubleEndedIterator<Item = &'a str>) -> Vec<String> {
        let (mut earliest_single, mut next, mut faults) = (usize::MAX, None::<(usize, &str)>, Vec::new());
        for (at, message) in logged.rev().filter_map(|message| Some((self.place(message)?, message))) {
            if self.singles.contains(message) {
                earliest_single = earliest_single.min(at);
            } else if !self.suspects.contains(message) && at < earliest_single {
                if let Some((behind, other)) = next.filter(|(behind, _)| *behind < at) {
                    faults.push(format!("{other} was delivered as number {behind}, before {message}, number {at}"));
                }
                next = Some((at, message));
            }
        }
        faults
    }

    /// The messages of what was taken, in order, each position once.
    pub fn stored(&self) -> &[String] {
        &self.stored
    }

    /// What came in a place that was another's.
    pub fn faults(&self) -> &[String] {
        &self.faults
    }
}

/// The memory of a judge.
#[derive(Default)]
struct Memory {
    stored: Vec<String>,
    /// Segment, lane and number of every record that is stored.
    positions: HashSet<(String, u64)>,
    again: usize,
    /// Every record that was ever in a request that was not a plain success, or alone in one.
    suspects: HashSet<String>,
    broken: Option<u16>,
}

impl Memory {
    fn store(&mut self, segment: &str, number: u64, message: &str) {
        if self.positions.insert((segment.to_owned(), number)) {
            self.stored.push(message.to_owned());
        } else {
            self.again += 1;
        }
    }
}

/// A receiver that judges.
pub struct Judge {
    receiver: Receiver,
    memory: Arc<Mutex<Memory>>,
}

fn lock<T>(memory: &Mutex<T>) -> MutexGuard<'_, T> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The records of a request: a JSON array, or JSON in lines or one behind the other.
fn records(request: &Request) -> Vec<Record> {
    let plain = request.plain();
    let values: Vec<Value> = serde_json::from_slice(&plain).unwrap_or_else(|_| {
        serde_json::Deserializer::from_slice(&plain).into_iter().collect::<Result<_, _>>().expect("records are JSON")
    });
    let record = |value: &Value| {
        let value = value.get("event").filter(|event| event.is_object()).unwrap_or(value);
        let message = value.get("message")?.as_str().expect("a message is text").to_owned();
        Some(Record { message, created: value["created"].as_f64().unwrap_or_default() })
    };
    values.iter().filter_map(record).collect()
}

/// Segment and lane, and the number of the first record and of the last.
fn positions(key: &str) -> Option<(&str, u64, u64)> {
    let (rest, last) = key.rsplit_once('-')?;
    let (lane, first) = rest.rsplit_once('-')?;
    Some((lane, first.parse().ok()?, last.parse().ok()?))
}

impl Judge {
    /// A receiver that rules so.
    pub fn start(rule: impl Fn(&Request, &[Record]) -> Ruling + Send + Sync + 'static) -> Self {
        let (receiver, memory) = (Receiver::start(), Arc::<Mutex<Memory>>::default());
        let own = Arc::clone(&memory);
        receiver.answer_by(move |request| {
            let records = records(request);
            let (lane, first, last) = positions(request.key()).expect("segment, lane, first and last record");
            assert_eq!(records.len() as u64, last - first + 1, "{}", request.key());
            let mut memory = lock(&own);
            let ruling = match memory.broken {
                Some(status) => Ruling::none(Answer::status(status)),
                None => rule(request, &records),
            };
            for &taken in &ruling.takes {
                memory.store(lane, first + taken as u64, &records[taken].message);
            }
            if ruling.takes.len() < records.len() || records.len() == 1 {
                memory.suspects.extend(records.into_iter().map(|record| record.message));
            }
            ruling.answer
        });
        Self { receiver, memory }
    }

    /// Refuses what is bad, and what is older than the newest record so far by more than a limit, and stores the rest of the
    /// request, as Loki does.
    pub fn by_age(limit: Duration, is_bad: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        let newest = Mutex::new(0.0_f64);
        Self::start(move |_, records| {
            let mut newest = lock(&newest);
            let (mut takes, mut reason) = (Vec::new(), None);
            for (number, record) in records.iter().enumerate() {
                if is_bad(&record.message) {
                    reason = Some("max entry size exceeded");
                } else if *newest - record.created > limit.as_secs_f64() {
                    reason = Some("entry too far behind");
                } else {
                    *newest = newest.max(record.created);
                    takes.push(number);
                }
            }
            let answer = reason.map_or_else(|| Answer::status(204), |reason| Answer::status(400).body(reason));
            Ruling { takes, answer }
        })
    }

    /// Answers so to a whole request in which a record is bad.
    pub fn by_content(is_bad: impl Fn(&str) -> bool + Send + Sync + 'static, answer: Answer) -> Self {
        Self::start(move |_, records| {
            if records.iter().any(|record| is_bad(&record.message)) {
                Ruling::none(answer.clone())
            } else {
                Ruling::all(records)
            }
        })
    }

    /// Stores what is good, and names what is bad, as `_bulk` does.
    pub fn by_name(is_bad: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self::start(move |_, records| {
            let is_bad = |record: &Record| is_bad(&record.message);
            let takes: Vec<_> = (0..records.len()).filter(|&number| !is_bad(&records[number])).collect();
            let error = json!({"type": "document_parsing_exception", "reason": "failed to parse field [amount]"});
            let item = |record| {
                if is_bad(record) {
                    json!({"create": {"status": 400, "error": error}})
                } else {
                    json!({"create": {"status": 201}})
                }
            };
            let items: Vec<_> = records.iter().map(item).collect();
            let body = json!({"errors": takes.len() < records.len(), "items": items});
            Ruling { takes, answer: Answer::ok().body(&body.to_string()) }
        })
    }

    /// Stores what comes before the first bad record and says its number, as Splunk does.
    pub fn by_position(is_bad: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self::start(move |_, records| match records.iter().position(|record| is_bad(&record.message)) {
            None => Ruling { answer: Answer::ok().body(r#"{"text":"Success","code":0}"#), ..Ruling::all(records) },
            Some(bad) => {
                let body = json!({"text": "Event field cannot be blank", "code": 13, "invalid-event-number": bad});
                Ruling { takes: (0..bad).collect(), answer: Answer::status(400).body(&body.to_string()) }
            }
        })
    }

    /// Fails with this status for whatever has more bytes.
    pub fn by_size(bytes: usize, status: u16) -> Self {
        Self::start(move |request, records| {
            if request.body.len() > bytes { Ruling::none(Answer::status(status)) } else { Ruling::all(records) }
        })
    }

    /// Takes one request in a second, and says to the others when to come again.
    pub fn throttle() -> Self {
        let last = Mutex::new(None::<Instant>);
        Self::start(move |_, records| {
            let mut last = lock(&last);
            if last.is_some_and(|last| last.elapsed() < Duration::from_secs(1)) {
                return Ruling::none(Answer::status(429).header("retry-after", "1"));
            }
            *last = Some(Instant::now());
            Ruling::all(records)
        })
    }

    /// From now on answers everything with this status; with `None` as it did before.
    pub fn break_down(&self, status: Option<u16>) {
        lock(&self.memory).broken = status;
    }

    /// The receiver behind it.
    pub fn receiver(&self) -> &Receiver {
        &self.receiver
    }

    /// The messages that are stored, in order, each record once.
    pub fn stored(&self) -> Vec<String> {
        lock(&self.memory).stored.clone()
    }

    /// How many records were stored already when they came.
    pub fn again(&self) -> usize {
        lock(&self.memory).again
    }

    /// How many different batches came. A batch that fails comes again as often as the retries of a test are fast.
    pub fn distinct(&self) -> usize {
        let keys = |request: &Request| request.key().to_owned();
        self.receiver.look(|log| log.requests.iter().map(keys).collect::<HashSet<_>>().len())
    }

    /// Fails unless exactly these records are stored, each once, in whatever order.
    pub fn check_stored(&self, expected: &[String]) {
        let (mut stored, mut wanted) = (self.stored(), expected.to_vec());
        stored.sort();
        wanted.sort();
        assert_eq!(stored, wanted);
    }

    /// The same; those that were never in a request that failed, and never alone in one, in this order.
    pub fn check(&self, expected: &[String]) {
        self.check_stored(expected);
        let memory = lock(&self.memory);
        let is_plain = |message: &&String| !memory.suspects.contains(*message);
        let stored: Vec<_> = memory.stored.iter().filter(is_plain).collect();
        assert_eq!(stored, expected.iter().filter(is_plain).collect::<Vec<_>>(), "the order");
    }
}
