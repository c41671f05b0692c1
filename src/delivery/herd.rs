//! An outage ends for a whole fleet at once: a simulation in virtual time.
//!
//! The schedules are the real ones, with their retries; batches are numbers of records, and the endpoint is a token bucket that
//! crashes when it is asked too much. Time is tokio's paused clock, and one seed decides all that is drawn, so that each run
//! is the same again.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "numbers of records, spools and seconds are small"
)]

use std::collections::VecDeque;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::time::{Instant, sleep, sleep_until};

use super::attempt::Sender;
use super::retry::Curve;
use super::schedule::Schedule;
use super::source::{Batch, Fate, Partition, Source};
use super::worker::Control;
use crate::config::values::{DEFAULT_DEFER_FOR, Pace, RetryPolicy, Timeouts};
use crate::encode::framing::ResponseProtocol;
use crate::error::SpoolError;
use crate::observe::event::Events;
use crate::observe::stats::{Counters, Outcome};
use crate::spool::{BatchStart, Next, Rejection};
use crate::transport::contract::{Delivery, Peer, SendError, Transport};
use crate::transport::request::{BatchContext, Request};
use crate::transport::verdict::{Judgement, Suspicion, Verdict};

/// How long the endpoint is down before the fleet comes back: long enough for every delay to be the longest.
const OUTAGE: Duration = Duration::from_secs(300);

/// How long it is down after a crash.
const CRASH: Duration = Duration::from_secs(60);

/// The share of the new records that each partition has that has no backlog.
const APART: f64 = 0.25;

/// The records of a full batch.
const FULL: u64 = 64;

/// The time over which the endpoint takes it if it is asked for more than its capacity.
const WINDOW: usize = 10;

/// The response of an endpoint that is asked for more than its capacity.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Overload {
    /// 503, or 429: delivery sees the same.
    Refuse,
    /// The same with `Retry-After`.
    RefuseUntil(Duration),
    /// It takes everything, and longer for it.
    SlowDown,
}

/// A fleet and its endpoint.
#[derive(Clone, Debug)]
struct Scenario {
    spools: u32,
    /// The capacity, in requests per second and spool.
    capacity: f64,
    /// The share of the capacity that full batches of new records take.
    load: f64,
    overload: Overload,
    curve: Curve,
    retry: RetryPolicy,
    /// The partitions of each spool: the first has the backlog and its share of the new records, the others have the rest.
    partitions: u32,
    outage: Duration,
    crashes_at: Option<f64>,
    until: Duration,
    backlog_share: Option<f64>,
    seed: u64,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            spools: 1000,
            capacity: 4.0 / 30.0,
            load: 2.0 / 3.0,
            overload: Overload::Refuse,
            curve: Curve::default(),
            retry: RetryPolicy::default(),
            partitions: 1,
            outage: OUTAGE,
            crashes_at: Some(1.2),
            until: Duration::from_secs(4 * 3600),
            backlog_share: None,
            seed: 1,
        }
    }
}

/// A request of each second.
#[derive(Clone, Copy, Debug, Default)]
struct Second {
    begun: u32,
    delivered: u32,
}

/// The endpoint, and what is seen of the fleet.
struct World {
    begun: Instant,
    ended: Instant,
    capacity: f64,
    overload: Overload,
    down_until: Instant,
    crashes: u32,
    /// It crashes where it has more requests than this share of its capacity in a window.
    crashes_at: Option<f64>,
    tokens: f64,
    filled_at: Instant,
    free_at: Instant,
    seconds: Vec<Second>,
    /// When each spool had caught up, in seconds since the outage ended.
    completions: Vec<f64>,
    /// How long new records waited, in seconds.
    waits: Vec<f64>,
}

impl World {
    fn new(scenario: &Scenario, capacity: f64, begun: Instant) -> Self {
        let ended = begun + scenario.outage;
        Self {
            begun,
            ended,
            capacity,
            overload: scenario.overload,
            down_until: ended,
            crashes: 0,
            crashes_at: scenario.crashes_at,
            tokens: 1.0,
            filled_at: begun,
            free_at: begun,
            seconds: Vec::new(),
            completions: Vec::new(),
            waits: Vec::new(),
        }
    }

    fn second(&mut self, at: Instant) -> &mut Second {
        let index = usize::try_from((at - self.begun).as_secs()).unwrap();
        if self.seconds.len() <= index {
            self.seconds.resize(index + 1, Second::default());
        }
        &mut self.seconds[index]
    }

    /// Notes a request; whether it was one too many.
    fn is_crashed_by(&mut self, now: Instant) -> bool {
        self.second(now).begun += 1;
        let last = self.seconds.len();
        let begun: u32 = self.seconds[last.saturating_sub(WINDOW)..].iter().map(|second| second.begun).sum();
        let crashed = self.crashes_at.is_some_and(|share| f64::from(begun) > share * self.capacity * WINDOW as f64);
        if crashed {
            self.crashes += 1;
            self.down_until = now + CRASH;
            self.tokens = 0.0;
        }
        crashed
    }

    /// When the response to a request comes, and whether it is a success.
    fn respond(&mut self, now: Instant) -> (Instant, bool) {
        if self.overload == Overload::SlowDown {
            self.free_at = self.free_at.max(now) + Duration::from_secs_f64(1.0 / self.capacity);
            return (self.free_at + Duration::from_millis(50), true);
        }
        let elapsed = now - std::mem::replace(&mut self.filled_at, now);
        self.tokens = (self.tokens + elapsed.as_secs_f64() * self.capacity).min(self.capacity);
        if self.tokens < 1.0 {
            return (now + Duration::from_millis(5), false);
        }
        self.tokens -= 1.0;
        (now + Duration::from_millis(50), true)
    }
}

#[derive(Clone)]
struct Link(Arc<Mutex<World>>);

impl Link {
    fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }
}

impl Transport for Link {
    fn deliver(&self, request: Request) -> Delivery<'_> {
        Box::pin(async move {
            let now = Instant::now();
            let unreachable = Err(SendError::Unreachable(String::new()));
            let (at, is_taken, crashes) = {
                let mut world = self.lock();
                if world.down_until > now || world.is_crashed_by(now) {
                    return unreachable;
                }
                let (at, is_taken) = world.respond(now);
                (at, is_taken, world.crashes)
            };
            if at > now + request.timeout {
                sleep(request.timeout).await;
                return Err(SendError::TimedOut(String::new()));
            }
            sleep_until(at).await;
            let mut world = self.lock();
            if world.crashes > crashes {
                return Err(SendError::Interrupted(String::new()));
            }
            let (verdict, status, retry_after) = match world.overload {
                _ if is_taken => {
                    world.second(at).delivered += 1;
                    (Verdict::Delivered, 200, None)
                }
                Overload::RefuseUntil(delay) => (Verdict::Retry, 503, Some(delay)),
                _ => (Verdict::Retry, 503, None),
            };
            let outcome = if is_taken { Outcome::Delivered(status) } else { Outcome::Responded(status) };
            let suspicion = Suspicion::of(&verdict, retry_after.is_some());
            let (cause, reason, response) = (String::new(), String::new(), Vec::new());
            Ok(Judgement { verdict, suspicion, cause, reason, retry_after, status, response, outcome })
        })
    }

    fn peer(&self) -> Peer {
        Peer::default()
    }
}

/// A partition's records: a backlog, then those that keep coming.
#[derive(Debug)]
struct Records {
    backlog: u64,
    /// New records per second.
    rate: f64,
    /// The share of the first new record that was there at the start.
    phase: f64,
    delivered: u64,
    in_flight: Option<u64>,
    caught_up: bool,
}

impl Records {
    fn total(&self, since: Duration) -> u64 {
        self.backlog + (self.rate * since.as_secs_f64() + self.phase) as u64
    }

    /// When the record with this number came or comes, in seconds since the start.
    fn came_at(&self, record: u64) -> f64 {
        ((record + 1).saturating_sub(self.backlog) as f64 - self.phase) / self.rate
    }
}

struct Memory {
    number: u32,
    begun: Instant,
    control: Arc<Control>,
    link: Link,
    partitions: Vec<Mutex<Records>>,
    ready: Mutex<VecDeque<usize>>,
}

impl Memory {
    fn enqueue(&self, partition: usize) {
        self.ready.lock().unwrap().push_back(partition);
        self.control.wake();
    }
}

#[derive(Clone)]
struct Feed(Arc<Memory>);

#[derive(Clone)]
struct Slot {
    memory: Arc<Memory>,
    number: usize,
}

impl PartialEq for Slot {
    fn eq(&self, other: &Self) -> bool {
        (self.memory.number, self.number) == (other.memory.number, other.number)
    }
}

impl Eq for Slot {}

impl Hash for Slot {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.memory.number, self.number).hash(state);
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.memory.number, self.number)
    }
}

#[derive(Debug)]
struct Numbers {
    slot: Slot,
    first: u64,
    records: u64,
}

impl Source for Feed {
    type Partition = Slot;

    fn with_parked(&self) -> Vec<Slot> {
        Vec::new()
    }

    fn checkout(&self) -> Option<Slot> {
        let number = self.0.ready.lock().unwrap().pop_front()?;
        Some(Slot { memory: self.0.clone(), number })
    }

    fn mark(&self, _: f64) {}

    fn take_filled(&self) -> Vec<Slot> {
        Vec::new()
    }

    fn adopt(&self) {}

    fn may_adopt(&self) -> bool {
        false
    }

    fn is_recovered(&self) -> bool {
        true
    }
}

impl Partition for Slot {
    type Batch = Numbers;

    fn allow(&self, _: usize) {}

    fn linger(&self) -> bool {
        true
    }

    fn has_backlog(&self) -> bool {
        false
    }

    fn is_beside_backlog(&self, _: BatchStart) -> bool {
        false
    }

    fn mark(&self, _: f64) {}

    fn join_mark(&self) {}

    fn rest(&self, _: bool) {}

    fn next(&self, start: Option<BatchStart>, _: SystemTime, force: bool) -> Result<Next<Numbers>, SpoolError> {
        let mut records = self.memory.partitions[self.number].lock().unwrap();
        let first = records.delivered;
        let count = match records.in_flight {
            Some(count) if start == Some(BatchStart::outside(first)) => count,
            _ => FULL.min(records.total(self.memory.begun.elapsed()) - first),
        };
        if count == 0 {
            return Ok(Next::Empty);
        }
        if !force && count < FULL && first + count > records.backlog {
            let full_at = Duration::from_secs_f64(records.came_at(first + FULL - 1));
            return Ok(Next::Linger(full_at.saturating_sub(self.memory.begun.elapsed()) + Duration::from_millis(1)));
        }
        records.in_flight = Some(count);
        Ok(Next::Batch(Box::new(Numbers { slot: self.clone(), first, records: count })))
    }

    fn release(&self, _: bool) {
        let records = self.memory.partitions[self.number].lock().unwrap();
        if records.total(self.memory.begun.elapsed()) > records.delivered {
            return self.memory.enqueue(self.number);
        }
        let at = self.memory.begun + Duration::from_secs_f64(records.came_at(records.delivered));
        let (memory, number) = (self.memory.clone(), self.number);
        tokio::spawn(async move {
            sleep_until(at + Duration::from_millis(1)).await;
            memory.enqueue(number);
        });
    }

    // The order is strict, so that nothing is sent beside the flow.

    fn trial(&self, _: BatchStart, _: SystemTime) -> Result<Next<Numbers>, SpoolError> {
        Ok(Next::Empty)
    }

    fn control(&self, _: u64, _: SystemTime) -> Result<Option<Box<Numbers>>, SpoolError> {
        Ok(None)
    }

    fn control_again(&self, _: BatchStart, _: SystemTime) -> Result<Option<Box<Numbers>>, SpoolError> {
        Ok(None)
    }

    fn unsent(&self, _: BatchStart) -> (u64, u64) {
        (0, 0)
    }

    fn parked(&self) -> Vec<(BatchStart, u64, u64)> {
        Vec::new()
    }

    fn park_before(&self, _: BatchStart, _: BatchStart) -> u64 {
        0
    }
}

impl Batch for Numbers {
    fn start(&self) -> BatchStart {
        BatchStart::outside(self.first)
    }

    fn is_compressed(&self) -> bool {
        false
    }

    fn bytes(&self) -> usize {
        0
    }

    fn request(&self, attempt: u32, now: SystemTime, timeout: Duration, _: bool, counters: Arc<Counters>) -> Request {
        let context = BatchContext {
            id: String::new(),
            partition_key: String::new(),
            records: 1,
            bytes: 0,
            first_timestamp: now,
            last_timestamp: now,
            attempt,
            age: Duration::ZERO,
        };
        Request {
            context,
            content_type: String::new(),
            content_encoding: None,
            response_protocol: ResponseProtocol::Status,
            body: Bytes::new(),
            places: Arc::default(),
            timeout,
            counters,
        }
    }

    fn cut(&self, _: &[u64]) -> Result<(), SpoolError> {
        Ok(())
    }

    fn park(&self) -> bool {
        false
    }

    fn put_back(&self) {}

    fn note_deferred(&self, _: u64) {}
}

impl Fate for Numbers {
    fn id(&self) -> &'static str {
        ""
    }

    fn records(&self) -> u64 {
        self.records
    }

    fn ack(&self) {
        let memory = &self.slot.memory;
        let mut records = memory.partitions[self.slot.number].lock().unwrap();
        let mut world = memory.link.lock();
        let (before, now) = (records.delivered, memory.begun.elapsed());
        let since_end = world.ended.elapsed().as_secs_f64();
        records.delivered += self.records;
        records.in_flight = None;
        if records.backlog > 0 && !records.caught_up && records.total(now) < records.delivered + FULL {
            records.caught_up = true;
            world.completions.push(since_end);
        }
        if records.backlog == 0 && since_end > 120.0 {
            world.waits.push(now.as_secs_f64() - records.came_at(before));
        }
    }

    fn ack_up_to(&self, _: u64) -> Result<bool, SpoolError> {
        Ok(false)
    }

    fn reject_inferred(&self, _: u16, _: &str, _: SystemTime) -> Result<(), SpoolError> {
        Ok(())
    }

    fn reject(&self, _: u16, _: &str, _: SystemTime) -> Result<(), SpoolError> {
        unreachable!("nothing is rejected")
    }

    fn reject_some(&self, _: &[Rejection<'_>], _: u16, _: SystemTime) -> Result<bool, SpoolError> {
        unreachable!("nothing is rejected")
    }
}

/// What came of a scenario.
#[derive(Debug)]
struct Report {
    crashes: u32,
    /// The share of the capacity that was goodput, in each minute since the outage ended.
    goodput: Vec<f64>,
    /// The most requests in ten seconds, as a share of the capacity.
    peak: f64,
    completed: usize,
    /// When a tenth of the spools had caught up.
    first: f64,
    /// The median and the 99th percentile of when a spool had caught up, in seconds since the outage ended.
    completion: (f64, f64),
    /// The median, the 99th percentile and the longest time that new records waited.
    wait: (f64, f64, f64),
}

fn percentile(sorted: &[f64], share: f64) -> f64 {
    let index = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(index).copied().unwrap_or(f64::INFINITY)
}

impl Report {
    fn of(world: &mut World, spools: u32) -> Self {
        let seconds = world.seconds.get((world.ended - world.begun).as_secs() as usize..).unwrap_or_default();
        let minutes = seconds.chunks_exact(60);
        let goodput = minutes.map(|minute| minute.iter().map(|second| f64::from(second.delivered)).sum::<f64>());
        let goodput = goodput.map(|delivered| delivered / 60.0 / world.capacity).collect();
        let windows = seconds.windows(WINDOW).map(|window| window.iter().map(|second| second.begun).sum::<u32>());
        let peak = f64::from(windows.max().unwrap_or_default()) / WINDOW as f64 / world.capacity;
        world.completions.sort_by(f64::total_cmp);
        world.waits.sort_by(f64::total_cmp);
        let completed = world.completions.len();
        let mut completions = world.completions.clone();
        completions.resize(backlogs(spools), f64::INFINITY);
        let of = |share| percentile(&completions, share);
        let wait = |share| percentile(&world.waits, share);
        Self {
            crashes: world.crashes,
            goodput,
            peak,
            completed,
            first: of(0.1),
            completion: (of(0.5), of(0.99)),
            wait: (wait(0.5), wait(0.99), wait(1.0)),
        }
    }

    /// The least goodput of a minute, from the second one on and until a tenth of the spools has caught up.
    fn least_goodput(&self) -> f64 {
        let end = if self.first.is_finite() { (self.first / 60.0) as usize } else { self.goodput.len() };
        self.goodput[1..end.max(2)].iter().copied().fold(f64::INFINITY, f64::min)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mean = self.goodput.iter().sum::<f64>() / self.goodput.len() as f64;
        write!(f, "crashes {:3}, peak {:5.2}, goodput of minutes", self.crashes, self.peak)?;
        for minute in self.goodput.iter().take(6) {
            write!(f, " {minute:.2}")?;
        }
        let (median, last) = self.completion;
        write!(f, ", least {:.2}, mean {mean:.2}, completion {median:.0} {last:.0} s", self.least_goodput())?;
        let (median, last, longest) = self.wait;
        write!(f, ", wait {median:.1} {last:.1} {longest:.1} s, completed {}", self.completed)
    }
}

/// The number of spools that have a backlog; every tenth has new records alone.
fn backlogs(spools: u32) -> usize {
    (spools - spools.div_ceil(10)) as usize
}

/// Starts the delivery of a spool. What this returns gives it orders.
fn start(
    scenario: &Scenario,
    curve: Curve,
    number: u32,
    begun: Instant,
    link: &Link,
    counters: &Arc<Counters>,
    partitions: Vec<Mutex<Records>>,
) -> Arc<Control> {
    let control = Arc::new(Control::default());
    let ready = Mutex::new((0..partitions.len()).collect());
    let memory = Memory { number, begun, control: control.clone(), link: link.clone(), partitions, ready };
    let timeouts = Timeouts::default();
    let (transport, counted) = (Arc::new(link.clone()), counters.clone());
    let sender = Sender { transport, counters: counted, timeouts, count_items: None, strict_order: true };
    let pace = Pace {
        retry: scenario.retry,
        max_in_flight: 1,
        strict_order: true,
        backlog_share: scenario.backlog_share,
        defer_for: DEFAULT_DEFER_FOR,
        timeouts,
    };
    let feed = Arc::new(Feed(Arc::new(memory)));
    let mut schedule = Schedule::new(feed, sender, control.clone(), Arc::new(Events::default()), pace);
    schedule.curve = curve;
    tokio::spawn(schedule.run());
    control
}

fn simulate(scenario: &Scenario) -> Report {
    fastrand::seed(scenario.seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let begun = Instant::now();
        let spools = scenario.spools;
        let capacity = scenario.capacity * f64::from(spools);
        let world = World::new(scenario, capacity, begun);
        let link = Link(Arc::new(Mutex::new(world)));
        let rate = scenario.capacity * scenario.load * FULL as f64;
        let backlog = (rate * 3600.0) as u64;
        let records = |backlog, rate| {
            Mutex::new(Records {
                backlog,
                rate,
                phase: fastrand::f64(),
                delivered: 0,
                in_flight: None,
                caught_up: false,
            })
        };
        let counters = Arc::new(Counters::default());
        for number in 0..spools {
            let others = (1..scenario.partitions).map(|_| records(0, rate * APART));
            let rest = rate * (1.0 - APART * f64::from(scenario.partitions - 1));
            let backlog = if number % 10 == 0 { 0 } else { backlog };
            let partitions: Vec<_> = std::iter::once(records(backlog, rest)).chain(others).collect();
            start(scenario, scenario.curve, number, begun, &link, &counters, partitions);
        }
        let end = begun + scenario.outage + scenario.until;
        while Instant::now() < end && link.lock().completions.len() < backlogs(spools) {
            sleep(Duration::from_secs(10)).await;
        }
        Report::of(&mut link.lock(), spools)
    })
}

fn variable<T: std::str::FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Random delays that are forgotten at the first success, as a comparison; a `Retry-After` is obeyed to the moment.
fn forgetful(jitter: f64) -> Curve {
    Curve { jitter, spread: 0.0, growth: 2, early: 0.0, ramp: 1e9, near: 1.0 }
}

/// The fleet of the tests. With `SPOOL_TEST_HERD` it has so many spools, and is observed until all of them have caught up
/// rather than for a quarter of an hour.
fn fleet(overload: Overload) -> Scenario {
    let spools = std::env::var("SPOOL_TEST_HERD").ok().map(|spools| spools.parse().expect("a number of spools"));
    let until = Duration::from_secs(if spools.is_some() { 4 * 3600 } else { 900 });
    Scenario { spools: spools.unwrap_or(1000), overload, until, ..Scenario::default() }
}

const OVERLOADS: [Overload; 4] = [
    Overload::Refuse,
    Overload::RefuseUntil(Duration::from_secs(5)),
    Overload::RefuseUntil(Duration::from_secs(30)),
    Overload::SlowDown,
];

#[test]
fn a_fleet_that_comes_back_uses_the_endpoint_within_a_minute_and_never_brings_it_down() {
    for overload in OVERLOADS {
        let report = simulate(&fleet(overload));
        println!("{overload:?}: {report}");
        assert_eq!(report.crashes, 0, "{overload:?}: {report}");
        assert!(report.least_goodput() >= 0.9, "{overload:?}: {report}");
        let is_observed = std::env::var_os("SPOOL_TEST_HERD").is_some();
        assert!(!is_observed || report.completion.1 <= 2.0 * report.completion.0, "{overload:?}: {report}");
        assert!(report.wait.1 <= 1800.0, "{overload:?}: new records wait: {report}");
    }
}

#[test]
fn delays_that_are_forgotten_at_the_first_success_bring_the_endpoint_down_again_and_again() {
    for jitter in [1.0, 0.5] {
        let until = Duration::from_secs(600);
        let report = simulate(&Scenario { curve: forgetful(jitter), until, ..fleet(Overload::Refuse) });
        println!("{report}");
        assert!(report.crashes > 3, "{report}");
    }
}

#[test]
fn a_run_is_the_same_again() {
    let run = || format!("{:?}", simulate(&Scenario { spools: 50, load: 0.05, ..Scenario::default() }));
    assert_eq!(run(), run());
}

#[test]
fn a_quota_for_all_partitions_is_probed_by_one_request_at_a_time() {
    for seed in 1..6 {
        let (before, now) = (quota(forgetful(1.0), seed), quota(Curve::default(), seed));
        println!("forgetful {before:?}, now {now:?}");
        assert!(now.0 < before.0 / 2, "{before:?} {now:?}");
    }
}

#[test]
fn every_partition_that_found_no_connection_is_tried_as_soon_as_another_one_finds_it() {
    // Too short for the endpoint to count as down; and so long that one request probes for all. More than may be in
    // flight.
    for (outage, partitions) in [(2, 2), (300, 2), (300, 40)] {
        for seed in 1..6 {
            let (first, last) = arrivals(Duration::from_secs(outage), single_records(partitions), seed, None);
            assert!(
                last - first < 1.0,
                "{outage} s, {partitions} partitions: the first after {first} s, the last {last} s"
            );
        }
    }
}

#[test]
fn who_flushes_or_stops_as_a_connection_comes_back_waits_for_no_pace() {
    for order in [Order::Flush, Order::Stop] {
        for seed in 1..6 {
            // The first of each found no connection; the others are sent behind it.
            let (_, last) = arrivals(OUTAGE, backlogs_of(40, 3 * FULL), seed, Some(order));
            // 120 requests of 50 ms, one after the other.
            assert!(last < 10.0, "{order:?}: the last after {last} s");
        }
    }
}

#[test]
fn a_refusal_beside_the_probe_does_not_bring_the_next_one_forward() {
    for seed in 1..6 {
        let scenario = Scenario { crashes_at: None, seed, ..Scenario::default() };
        // One a second: those that found no connection are refused behind the first.
        let begun = requests_after(&scenario, 1.0, backlogs_of(40, FULL), 56);
        assert!(begun[0] > 10, "as many as may be in flight: {begun:?}");
        assert_eq!(begun[2..55].iter().sum::<u32>(), 0, "they wait for a minute: {begun:?}");
    }
}

#[test]
fn where_a_refusal_follows_a_connection_the_partitions_that_are_not_tried_yet_keep_their_delays() {
    // Long enough for the delay of each partition to be long.
    let outage = Duration::from_secs(2 * 3600);
    // With a share nothing else keeps them: no request probes for all any more.
    let scenario = Scenario { crashes_at: None, outage, backlog_share: Some(0.5), ..Scenario::default() };
    for seed in 1..6 {
        let begun = requests_after(&Scenario { seed, ..scenario.clone() }, 1.0, backlogs_of(30, FULL), 2);
        assert!((17..26).contains(&begun[0]), "as many as may be in flight, of 30: {begun:?}");
    }
}

#[test]
#[ignore = "prints one scenario, which variables describe"]
fn explore() {
    let d = Curve::default();
    let curve = match variable("HERD_POLICY", 0) {
        0 => Curve { early: variable("HERD_EARLY", d.early), ramp: variable("HERD_RAMP", d.ramp), ..d },
        1 => forgetful(1.0),
        _ => forgetful(0.5),
    };
    let scenario = Scenario {
        spools: variable("HERD_N", 1000),
        capacity: 1.0 / variable("HERD_PER", 7.5),
        load: variable("HERD_LOAD", 2.0 / 3.0),
        curve,
        retry: RetryPolicy { max_delay: Duration::from_secs_f64(variable("HERD_MAX", 30.0)), ..RetryPolicy::default() },
        partitions: variable("HERD_PARTITIONS", 1),
        until: Duration::from_secs(variable("HERD_UNTIL", 4 * 3600)),
        seed: variable("HERD_SEED", 1),
        overload: match variable("HERD_RA", -1.0) {
            -1.0 => Overload::Refuse,
            -2.0 => Overload::SlowDown,
            delay => Overload::RefuseUntil(Duration::from_secs_f64(delay)),
        },
        ..Scenario::default()
    };
    let report = simulate(&scenario);
    println!("{report}");
    println!("{:.3?}", report.goodput);
}

/// An order that is given when an outage ends.
#[derive(Clone, Copy, Debug)]
enum Order {
    Flush,
    Stop,
}

/// Partitions, and an endpoint that takes everything after an outage: when the first and the last of them have caught up,
/// in seconds since that ended.
fn arrivals(outage: Duration, records: Vec<Mutex<Records>>, seed: u64, order: Option<Order>) -> (f64, f64) {
    fastrand::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let (begun, partitions) = (Instant::now(), records.len());
        let scenario = Scenario { outage, crashes_at: None, ..Scenario::default() };
        let link = Link(Arc::new(Mutex::new(World::new(&scenario, 1000.0, begun))));
        let control = start(&scenario, Curve::default(), 0, begun, &link, &Arc::default(), records);
        sleep_until(begun + outage).await;
        let flush = matches!(order, Some(Order::Flush)).then(|| control.hurry());
        if let Some(Order::Stop) = order {
            control.stop(OUTAGE);
        }
        let end = Instant::now() + OUTAGE;
        while link.lock().completions.len() < partitions {
            sleep(Duration::from_millis(100)).await;
            assert!(Instant::now() < end, "{order:?}: {} of {partitions}", link.lock().completions.len());
        }
        drop(flush);
        let world = link.lock();
        (world.completions[0], world.completions[partitions - 1])
    })
}

/// The requests of each second since the first success after the outage, which one spool makes of an endpoint with this
/// capacity.
fn requests_after(scenario: &Scenario, capacity: f64, records: Vec<Mutex<Records>>, seconds: usize) -> Vec<u32> {
    fastrand::seed(scenario.seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let begun = Instant::now();
        let link = Link(Arc::new(Mutex::new(World::new(scenario, capacity, begun))));
        start(scenario, scenario.curve, 0, begun, &link, &Arc::default(), records);
        let delivered = |second: &Second| second.delivered > 0;
        while !link.lock().seconds.iter().any(delivered) {
            sleep(Duration::from_millis(100)).await;
        }
        sleep(Duration::from_secs(seconds as u64)).await;
        let mut world = link.lock();
        world.second(Instant::now());
        let first = world.seconds.iter().position(delivered).unwrap();
        world.seconds[first..].iter().map(|second| second.begun).collect()
    })
}

/// Partitions of a record each.
fn single_records(partitions: usize) -> Vec<Mutex<Records>> {
    backlogs_of(partitions, 1)
}

/// Partitions of so many records each.
fn backlogs_of(partitions: usize, backlog: u64) -> Vec<Mutex<Records>> {
    let records = || Records { backlog, rate: 1e-9, phase: 0.0, delivered: 0, in_flight: None, caught_up: false };
    (0..partitions).map(|_| Mutex::new(records())).collect()
}

/// Sixteen partitions of a record each against one request per second, else `Retry-After: 3`: the requests and the seconds that
/// it takes.
fn quota(curve: Curve, seed: u64) -> (u32, u64) {
    fastrand::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let begun = Instant::now();
        let overload = Overload::RefuseUntil(Duration::from_secs(3));
        let scenario =
            Scenario { outage: Duration::ZERO, overload, capacity: 1.0, crashes_at: None, ..Scenario::default() };
        let link = Link(Arc::new(Mutex::new(World::new(&scenario, 1.0, begun))));
        let counters = Arc::new(Counters::default());
        start(&scenario, curve, 0, begun, &link, &counters, single_records(16));
        while link.lock().completions.len() < 16 {
            sleep(Duration::from_millis(100)).await;
        }
        let requests: u32 = link.lock().seconds.iter().map(|second| second.begun).sum();
        (requests, begun.elapsed().as_secs())
    })
}
