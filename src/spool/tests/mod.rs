//! Tests of the spool as a whole, by topic: its promises, and the engine's traps that it must not fall into.

mod adoption;
mod append;
mod backlog;
mod concurrency;
pub(super) mod crash_model;
mod delivery;
mod grouped;
mod housekeepers;
mod journal;
mod limits;
mod loads;
mod losses;
mod neighbors;
mod origins;
mod others_losses;
#[cfg(feature = "cli")]
mod purge;
mod recovery;
mod rejected;
mod signals;
#[cfg(feature = "cli")]
mod status;
mod suspects;
mod withdrawn;

use std::collections::HashMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, SystemTime};

use super::coding::Coding;
use super::entry::LoadId;
use super::gap::{Gap, GapEncoder};
use super::index::Asked;
use super::jobs::Job;
use super::journal::Journal;
use super::load::Load;
use super::open::Spool;
use super::partition::{Batch, Partition};
use super::queue::{SpoolConfig, SpoolHooks, Wake};
use super::reader::Next;
use crate::config::values::{AdoptFrom, BatchLimits, Durability, Signal, SpoolLimits};
use crate::encode::blocks::{Block, Blocks, Encoded, Envelope};
use crate::encode::framing::Framing;
use crate::error::SpoolError;
use crate::observe::event::{Events, SpoolEvent};
use crate::observe::loss::LossReason;

const FRAMING: Framing = Framing::ndjson();

fn config(dir: &Path) -> SpoolConfig {
    let batch = BatchLimits { max_records: 512, max_bytes: 1 << 20, linger: Duration::ZERO };
    SpoolConfig {
        dir: dir.to_owned(),
        signal: Signal::Logs,
        durability: Durability::Process,
        coding: Coding::Identity,
        segment_bytes: 1 << 20,
        batch,
        limits: SpoolLimits::default(),
        endpoint: None,
        origin: None,
        adopt_from: AdoptFrom::OWN,
    }
}

fn no_wake() -> Arc<Wake> {
    Arc::new(|| ())
}

/// Opens a spool that reports a gap in a line like `gap: 3 Evicted`, and lists all the gaps that it reported.
fn open_reporting(config: &SpoolConfig) -> (Spool, Arc<Mutex<Vec<Gap>>>) {
    let reported: Arc<Mutex<Vec<Gap>>> = Arc::default();
    let report = reported.clone();
    let gap_encoder = move |gap: &Gap| {
        report.lock().unwrap().push(gap.clone());
        Some((block(&[format!("gap: {} {:?}", gap.records, gap.reason)]), FRAMING))
    };
    let gap_encoder: Arc<GapEncoder> = Arc::new(gap_encoder);
    (Spool::open(config, &hooks(gap_encoder)).unwrap(), reported)
}

fn hooks(gap_encoder: Arc<GapEncoder>) -> SpoolHooks {
    SpoolHooks { gap_encoder: Some(gap_encoder), wake: no_wake(), events: Arc::default(), counters: Arc::default() }
}

/// Opens a spool whose stream takes no gap records.
fn open_without_gaps(config: &SpoolConfig) -> Spool {
    Spool::open(config, &SpoolHooks { gap_encoder: None, ..hooks(Arc::new(|_| None)) }).unwrap()
}

/// Opens a spool, and hands out its events.
fn open_heard(config: &SpoolConfig) -> (Spool, mpsc::Receiver<SpoolEvent>) {
    let (sender, heard) = mpsc::channel();
    let events = Events::start("logs", Box::new(move |event: &SpoolEvent| drop(sender.send(event.clone())))).unwrap();
    let hooks = SpoolHooks { events: Arc::new(events), gap_encoder: None, ..hooks(Arc::new(|_| None)) };
    (Spool::open(config, &hooks).unwrap(), heard)
}

/// Closes a spool; the events that it has reported.
fn heard(spool: Spool, events: &mpsc::Receiver<SpoolEvent>) -> Vec<SpoolEvent> {
    all_reported(&spool);
    drop(spool);
    events.iter().collect()
}

fn open(config: &SpoolConfig) -> Spool {
    Spool::open_silent(config).unwrap()
}

fn block(records: &[impl AsRef<[u8]>]) -> Block {
    Block::of(records, FRAMING.separator())
}

fn append(spool: &Spool, key: &str, records: &[impl AsRef<[u8]>]) {
    spool.append(&[(key, &block(records))], &FRAMING).unwrap();
}

/// Records of a partition.
type Records = (&'static str, Vec<String>);

/// Appends loads: the id of each, if it has one, and its records by partition.
fn append_loads(spool: &Spool, loads: &[(Option<LoadId>, Vec<Records>)]) {
    let of_load =
        |records: &[Records]| -> Vec<_> { records.iter().map(|(key, records)| (*key, block(records))).collect() };
    let blocks: Vec<_> = loads.iter().map(|(_, records)| of_load(records)).collect();
    let loads = loads
        .iter()
        .zip(&blocks)
        .map(|((id, _), blocks)| Load { id: *id, blocks: blocks.iter().map(|(key, block)| (*key, block)).collect() });
    spool.append_loads(&loads.collect::<Vec<_>>(), &FRAMING).unwrap();
}

/// A processor with a journal before a spool: each commit is a generation of its own, the files take turns.
struct Journaled {
    journal: Arc<Journal>,
    sequence: u64,
}

impl Journaled {
    fn before(spool: &Spool) -> Self {
        Self { journal: spool.create_journal(10_000).unwrap(), sequence: 0 }
    }

    /// Writes records of one partition to the journal.
    fn log(&mut self, spool: &Spool, key: &str, lines: &[impl AsRef<[u8]>]) -> LoadId {
        let mut bytes = Vec::new();
        self.sequence += 1;
        let (which, least) = (self.which(), spool.least_segment());
        let mut generation = self.journal.begin(which, self.sequence, least, &FRAMING, &mut bytes).unwrap();
        let mut blocks = Blocks::default();
        for line in lines {
            let record = Encoded { bytes: line.as_ref(), envelope: Envelope::default(), timestamp: None };
            generation.add(key, blocks.push(key, record, FRAMING.separator()), record, &mut bytes);
        }
        self.journal.write(which, &bytes, 0).unwrap();
        generation.load
    }

    /// Appends what was written last.
    fn commit(&self, spool: &Spool, key: &str, lines: &[impl AsRef<[u8]>], load: LoadId) {
        let stored = || self.journal.reset(self.which());
        spool.append_journaled(&[(key, &block(lines))], &FRAMING, load, stored).unwrap();
    }

    fn which(&self) -> usize {
        usize::try_from(self.sequence % 2).unwrap()
    }
}

fn next(spool: &Spool, key: &Arc<str>) -> Option<Box<Batch>> {
    next_of(&spool.partition(key))
}

fn next_of(partition: &Partition) -> Option<Box<Batch>> {
    match partition.next(None, SystemTime::now(), false).unwrap() {
        Next::Batch(batch) => Some(batch),
        Next::Linger(_) | Next::Skipped | Next::Empty => None,
    }
}

/// A step that a test puts between two of the spool's own, once.
#[derive(Default)]
pub(super) struct Hook(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl Hook {
    fn set(&self, step: impl FnOnce() + Send + 'static) {
        *self.0.lock().unwrap() = Some(Box::new(step));
    }

    fn is_set(&self) -> bool {
        self.0.lock().unwrap().is_some()
    }

    pub(super) fn run(&self) {
        let step = self.0.lock().unwrap().take();
        if let Some(step) = step {
            step();
        }
    }
}

impl Spool {
    /// Opens a spool that reports no gap in the stream.
    pub(crate) fn open_silent(config: &SpoolConfig) -> Result<Self, SpoolError> {
        let gap_encoder: Arc<GapEncoder> = Arc::new(|_| None);
        Self::open(config, &hooks(gap_encoder))
    }

    fn lost(&self, reason: LossReason) -> u64 {
        self.queue.hooks.counters.losses.get(reason)
    }

    pub(crate) fn partition(&self, key: &str) -> Partition {
        Partition { queue: self.queue.clone(), key: Arc::from(key) }
    }

    /// Waits for the housekeeper to have looked into what a killed process left.
    pub(crate) fn wait_recovered(&self) {
        for queue in self.queues() {
            let mut index = queue.index.lock();
            while !index.is_recovered() {
                index = index.wait(&queue.progress);
            }
        }
    }

    /// For so long what is delivered cannot be written.
    pub(crate) fn fail_cursors(&self, time: Duration) {
        self.queue.cursors.lock().fail_writes(time);
    }

    /// Whether a queue that was adopted is being closed.
    fn is_closing(&self) -> bool {
        self.attached.lock().closing.as_ref().is_some_and(|closing| !closing.thread.is_finished())
    }

    /// Adopts the next queue, after the one before is closed.
    pub(crate) fn adopt_now(&self) {
        self.adopt();
        let closes = self.attached.lock().closing.is_some();
        while self.is_closing() {
            std::thread::sleep(Duration::from_millis(1));
        }
        if closes && self.adopted().is_none() {
            self.adopt();
        }
    }

    /// Ends a spool as a kill does: nothing is sealed or closed in order.
    pub(crate) fn kill(&self) {
        self.queue.closed.store(true, Ordering::Release);
        // Only so that the queue's lock goes, as it does with a process.
        self.queue.ask(Job::Finish);
        let let_go = self.attached.lock().let_go.take();
        let_go.unwrap().recv().unwrap_err();
    }
}

/// Has the next append begin a segment.
#[cfg(unix)]
fn end_active(spool: &Spool) {
    let active = spool.queue.writer.lock().active.as_ref().unwrap().id();
    spool.queue.complete_active(active);
    let next = std::mem::take(&mut spool.queue.writer.lock().next);
    drop(next);
}

/// Has the housekeeper do its jobs and end: what it is asked for afterwards is not done.
fn end_housekeeper(spool: &Spool) {
    spool.queue.ask(Job::Finish);
    let let_go = spool.attached.lock().let_go.take();
    let_go.unwrap().recv().unwrap_err();
}

fn recovered(spool: &Spool) {
    spool.wait_recovered();
}

/// Delivers everything; the lines of each key in the order of delivery, and the ids.
fn drain(spool: &Spool) -> (HashMap<String, Vec<String>>, Vec<String>) {
    recovered(spool);
    let (mut lines, mut ids): (HashMap<String, Vec<String>>, _) = (HashMap::new(), Vec::new());
    while let Some(partition) = spool.checkout() {
        while let Some(batch) = next_of(&partition) {
            let body = std::str::from_utf8(&batch.body).unwrap();
            assert_eq!(body.lines().count() as u64, batch.records);
            lines.entry(partition.to_string()).or_default().extend(body.lines().map(str::to_owned));
            ids.push(batch.id.clone());
            batch.ack();
        }
        partition.release(true);
    }
    spool.settle();
    (lines, ids)
}

/// Delivers what can be read; the lines of each key.
fn drain_what_can_be(spool: &Spool) -> HashMap<String, Vec<String>> {
    let mut lines: HashMap<String, Vec<String>> = HashMap::new();
    while let Some(partition) = spool.checkout() {
        while let Some(batch) = next_of(&partition) {
            lines.entry(partition.to_string()).or_default().extend(lines_of(&batch));
            batch.ack();
        }
        partition.release(true);
    }
    lines
}

#[expect(clippy::needless_pass_by_value, reason = "nothing is done with it after a kill")]
fn kill(spool: Spool) {
    spool.kill();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for found in fs::read_dir(from).into_iter().flatten().flatten() {
        let (from, to) = (found.path(), to.join(found.file_name()));
        // The housekeeper may have deleted a file meanwhile.
        if from.is_dir() { copy(&from, &to) } else { drop(fs::copy(from, to)) }
    }
}

fn lines(range: Range<usize>) -> Vec<String> {
    range.map(|n| format!("line {n}")).collect()
}

fn segment_dirs(dir: &Path) -> Vec<PathBuf> {
    let is_queue = |found: &fs::DirEntry| found.file_name().to_string_lossy().contains(".logs");
    let queues = fs::read_dir(dir).unwrap().flatten().filter(is_queue).map(|found| found.path());
    let mut dirs: Vec<_> =
        queues.flat_map(|queue| fs::read_dir(queue).unwrap().flatten()).map(|found| found.path()).collect();
    dirs.retain(|path| path.extension().is_some_and(|extension| extension == "segment"));
    dirs.sort();
    dirs
}

fn lines_of(batch: &Batch) -> Vec<String> {
    std::str::from_utf8(&batch.plain_body()).unwrap().lines().map(str::to_owned).collect()
}

/// Delivers what is left of a partition, after what has arrived.
fn deliver_rest(spool: &Spool, partition: &Partition, mut arrived: Vec<String>) -> Vec<String> {
    loop {
        match partition.next(None, SystemTime::now(), false).unwrap() {
            Next::Batch(batch) => {
                arrived.extend(lines_of(&batch));
                batch.ack();
            }
            Next::Skipped => {}
            Next::Linger(_) | Next::Empty => break,
        }
    }
    assert_eq!(spool.depth().pending_records, 0, "{arrived:?}");
    arrived
}

fn sealed_segment(config: &SpoolConfig) -> PathBuf {
    let spool = open(config);
    for n in 0..100 {
        append(&spool, "a", &lines(n..n + 1));
    }
    drop(spool);
    segment_dirs(&config.dir).remove(0)
}

/// The last offset: the byte behind `line 5` can be a `0` by chance.
fn offset_of_line_50(bytes: &[u8]) -> usize {
    bytes.windows(7).rposition(|window| window == b"line 50").unwrap()
}

fn flip_a_bit_of_line_50(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    let at = offset_of_line_50(&bytes);
    bytes[at] ^= 1;
    fs::write(file, bytes).unwrap();
}

/// A spool of the lines 47 to 54, of which damage took line 50.
fn open_without_line_50(dir: &Path) -> Spool {
    let spool = open(&config(dir));
    for part in [47..50, 50..51, 51..55] {
        append(&spool, "a", &lines(part));
    }
    drop(spool);
    flip_a_bit_of_line_50(&segment_dirs(dir)[0].join("db"));
    let spool = open(&config(dir));
    recovered(&spool);
    spool
}

/// How many records the gap lines of a stream report.
fn reported_in(lines: &[String]) -> usize {
    let gaps = lines.iter().filter_map(|line| line.strip_prefix("gap: ")?.split(' ').next()?.parse::<usize>().ok());
    gaps.sum()
}

/// Waits for the housekeeper to have reported everything.
fn all_reported(spool: &Spool) {
    let (sender, done) = mpsc::channel();
    spool.queue.ask(Job::Reply(sender));
    done.recv().unwrap();
}

fn limited(dir: &Path) -> SpoolConfig {
    let mut config = config(dir);
    config.limits.max_bytes = 8 << 20;
    config
}
