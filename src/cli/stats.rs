use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::ls;
use super::outcome::{End, Outcome};
use super::screen::{Screen, Table, bytes, count, count_or_more, counted, known_bytes, partition, unknown};
use super::spool_arg::{OfSignal, Spool};
use super::survey::{self, Served, Surveyed, age, rough_age};
use super::time;
use crate::config::values::Signal;
use crate::error::SpoolError;
use crate::spool::inspect::{Directory, SegmentFiles};

/// Count the records of a spool, in total and by signal and partition
///
/// Counts also the damaged segments in quarantine, and the records that the endpoint rejected for good. What the owner of a queue has told
/// stands in a table of its own: its process, the records that wait, the age of the oldest, how long ago the endpoint took something
/// (SENT), how long ago an attempt failed (FAILED), and how long ago it told so (NOTED).
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    spool: Spool,
    #[command(flatten)]
    of: OfSignal,
}

const EXAMPLES: &str = "\
Examples:
  otel-spool stats /var/lib/checkout/spool
  otel-spool stats --json /var/lib/checkout/spool | jq .waiting_records
      for a check of a monitoring system";

#[derive(Default)]
struct Of {
    waiting: u64,
    delivered: u64,
    rejected: u64,
    /// Records of those that wait whose owner is alive.
    owned: u64,
    /// The earliest and the latest time of a record where something waits.
    oldest: Option<SystemTime>,
    newest: Option<SystemTime>,
}

impl Of {
    fn add(&mut self, other: &Self) {
        self.waiting += other.waiting;
        self.delivered += other.delivered;
        self.rejected += other.rejected;
        self.owned += other.owned;
        self.oldest = self.oldest.into_iter().chain(other.oldest).min();
        self.newest = self.newest.into_iter().chain(other.newest).max();
    }
}

/// All that is counted.
struct Counts {
    alive: u64,
    gone: u64,
    unknown: u64,
    segments: u64,
    disk_bytes: Option<u64>,
    is_partial: bool,
    partitions: BTreeMap<(Signal, Arc<str>), Of>,
    all: Of,
    /// Records of those that wait which no living owner delivers, while others live.
    stranded: u64,
    queues: Vec<Told>,
    quarantined: u64,
    quarantine_bytes: Option<u64>,
    rejected: u64,
    rejected_damaged: u64,
    rejected_bytes: u64,
}

/// What the owner of a queue has told.
struct Told {
    row: Option<[String; 8]>,
    failure: Option<String>,
    document: Value,
}

impl Told {
    fn new(queue: &Surveyed, now: SystemTime) -> Self {
        let (id, signal) = (queue.queue.id(), queue.queue.signal());
        let row = queue.status.as_ref().map(|status| {
            [
                id.clone(),
                signal.to_string(),
                status.process.to_string(),
                status.pending_records.map_or_else(unknown, count),
                rough_age(status.oldest, now),
                age(status.last_success, now),
                age(status.last_error.as_ref().map(|error| error.at), now),
                age(Some(status.written_at), now),
            ]
        });
        let document = json!({
            "queue": id,
            "signal": signal.name(),
            "owner": queue.owner(),
            "status": queue.status_document(now),
        });
        Self { row, failure: ls::failure(queue, now), document }
    }
}

impl Counts {
    fn of(directory: &Directory, signal: Option<Signal>, now: SystemTime) -> Result<Self, SpoolError> {
        let quarantined = directory.quarantined(signal)?;
        let kept = directory.rejected().read()?;
        let mut counts = Self {
            alive: 0,
            gone: 0,
            unknown: survey::unknown(directory, signal)?.len() as u64,
            segments: 0,
            disk_bytes: directory.disk_bytes(),
            is_partial: false,
            partitions: BTreeMap::new(),
            all: Of::default(),
            stranded: 0,
            queues: Vec::new(),
            quarantined: quarantined.len() as u64,
            quarantine_bytes: quarantined.iter().map(SegmentFiles::disk_bytes).sum(),
            rejected: kept.record_count(),
            rejected_damaged: kept.damaged.len() as u64,
            rejected_bytes: directory.rejected().bytes()?,
        };
        let served = Served::by(directory, signal)?;
        for queue in survey::queues(directory, signal)? {
            let queue = queue?;
            counts.stranded += if served.strands(&queue.queue) { queue.waiting() } else { 0 };
            counts.add(&queue, now);
        }
        for of in counts.partitions.values() {
            counts.all.add(of);
        }
        Ok(counts)
    }

    fn add(&mut self, queue: &Surveyed, now: SystemTime) {
        let (signal, is_owned) = (queue.queue.signal(), queue.queue.is_owned());
        *if is_owned { &mut self.alive } else { &mut self.gone } += 1;
        self.segments += queue.segments.len() as u64;
        self.is_partial |= queue.is_partial;
        for lane in queue.segments.iter().flat_map(|segment| &segment.lanes) {
            let waiting = lane.waiting();
            let of_waiting = |time| Some(time).filter(|_| waiting > 0);
            self.partitions.entry((signal, lane.lane.key.clone())).or_default().add(&Of {
                waiting,
                delivered: lane.delivered(),
                rejected: lane.rejected,
                owned: if is_owned { waiting } else { 0 },
                oldest: of_waiting(lane.lane.first),
                newest: of_waiting(lane.lane.last),
            });
        }
        for (key, records) in queue.journaled() {
            self.partitions.entry((signal, Arc::from(key.as_str()))).or_default().waiting += records;
        }
        self.queues.push(Told::new(queue, now));
    }

    fn document(&self) -> Value {
        let partitions = self.partitions.iter().map(|((signal, key), of)| {
            json!({
                "signal": signal.name(),
                "partition": &**key,
                "waiting_records": of.waiting,
                "delivered_records": of.delivered,
                "rejected_records": of.rejected,
                "owned_records": of.owned,
                "oldest": of.oldest.map(time::rfc3339),
                "newest": of.newest.map(time::rfc3339),
            })
        });
        json!({
            "queues_alive": self.alive,
            "queues_gone": self.gone,
            "queues_unknown": self.unknown,
            "segments": self.segments,
            "disk_bytes": self.disk_bytes,
            "waiting_records": self.all.waiting,
            "is_partial": self.is_partial,
            "delivered_records": self.all.delivered,
            "owned_records": self.all.owned,
            "stranded_records": self.stranded,
            "oldest": self.all.oldest.map(time::rfc3339),
            "newest": self.all.newest.map(time::rfc3339),
            "quarantined_segments": self.quarantined,
            "quarantined_bytes": self.quarantine_bytes,
            "rejected_records": self.rejected,
            "rejected_damaged": self.rejected_damaged,
            "rejected_bytes": self.rejected_bytes,
            "queues": self.queues.iter().map(|told| &told.document).collect::<Vec<_>>(),
            "partitions": partitions.collect::<Vec<_>>(),
        })
    }

    fn show(&self, screen: &mut Screen, now: SystemTime) -> io::Result<()> {
        let time = |time: Option<SystemTime>| time.map_or_else(unknown, time::seconds);
        let of_unknown =
            if self.unknown > 0 { format!(", {} of an unknown signal", self.unknown) } else { String::new() };
        let Of { waiting, delivered, owned, oldest, newest, .. } = self.all;
        let waiting = count_or_more(waiting, self.is_partial);
        for (name, value) in [
            ("queues", format!("{} with a living owner, {} without{of_unknown}", self.alive, self.gone)),
            ("segments", count(self.segments)),
            ("disk", known_bytes(self.disk_bytes)),
            ("waiting", format!("{waiting} records, {} of them with a living owner", count(owned))),
            (
                "stranded",
                format!("{} records of those that wait, for an endpoint without a living owner", count(self.stranded)),
            ),
            ("delivered", format!("{} records, not deleted yet", count(delivered))),
            ("oldest", time(oldest)),
            ("newest", time(newest)),
            (
                "quarantine",
                format!("{}, {}", counted(self.quarantined, "segment", "segments"), known_bytes(self.quarantine_bytes)),
            ),
            (
                "rejected",
                format!(
                    "{} records, {} damaged, {}",
                    count(self.rejected),
                    self.rejected_damaged,
                    bytes(self.rejected_bytes)
                ),
            ),
        ] {
            screen.line(&format!("{name:<10}  {value}"))?;
        }
        let mut table = Table::new(&["QUEUE", "SIGNAL", ">PROCESS", ">PENDING", "OLDEST", "SENT", "FAILED", "NOTED"]);
        self.queues.iter().filter_map(|told| told.row.clone()).for_each(|row| table.row(row));
        if self.queues.iter().any(|told| told.row.is_some()) {
            screen.line("")?;
            screen.table(&table)?;
        }
        let mut table =
            Table::new(&["SIGNAL", "~PARTITION", ">WAITING", ">OWNED", ">DELIVERED", ">REJECTED", "OLDEST", "NEWEST"]);
        for ((signal, key), of) in &self.partitions {
            let counts = [of.waiting, of.owned, of.delivered, of.rejected].map(count);
            let names = [signal.to_string(), partition(key)];
            table.row(names.into_iter().chain(counts).chain([age(of.oldest, now), age(of.newest, now)]));
        }
        if !self.partitions.is_empty() {
            screen.line("")?;
            screen.table(&table)?;
        }
        let failures: Vec<_> = self.queues.iter().filter_map(|told| told.failure.clone()).collect();
        ls::show_failures(&failures, screen)
    }
}

pub(super) fn run(args: &Args) -> Outcome {
    let (directory, mut screen) = args.spool.open()?;
    let now = SystemTime::now();
    let counts = Counts::of(&directory, args.of.signal, now)?;
    if screen.json {
        screen.document(&counts.document())?;
    } else {
        counts.show(&mut screen, now)?;
    }
    screen.flush()?;
    Ok(End::Done)
}
