use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::json;

use super::outcome::{End, Outcome};
use super::screen::{Table, bytes, count, known_bytes, partition};
use super::spool_arg::{OfSignal, Spool};
use super::{survey, time};
use crate::config::values::Signal;

/// Count the records of a spool, in total and by signal and partition
///
/// Counts also the damaged segments in quarantine, and the records that the endpoint rejected for good.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    spool: Spool,
    #[command(flatten)]
    of: OfSignal,
}

#[derive(Default)]
struct Of {
    waiting: u64,
    delivered: u64,
    /// Records of those that wait whose owner is alive.
    owned: u64,
    oldest: Option<SystemTime>,
    newest: Option<SystemTime>,
}

impl Of {
    fn add(&mut self, other: &Self) {
        self.waiting += other.waiting;
        self.delivered += other.delivered;
        self.owned += other.owned;
        self.oldest = self.oldest.into_iter().chain(other.oldest).min();
        self.newest = self.newest.into_iter().chain(other.newest).max();
    }
}

pub(super) fn run(args: &Args) -> Outcome {
    let (directory, mut screen) = args.spool.open()?;
    let (mut alive, mut gone, mut segments) = (0_u64, 0_u64, 0_u64);
    let mut partitions: BTreeMap<(Signal, Arc<str>), Of> = BTreeMap::new();
    let unknown = survey::unknown(&directory, args.of.signal)?.len();
    for queue in survey::queues(&directory, args.of.signal)? {
        let queue = queue?;
        let signal = queue.queue.signal();
        let owned = queue.queue.is_owned();
        *if owned { &mut alive } else { &mut gone } += 1;
        segments += queue.segments.len() as u64;
        for segment in &queue.segments {
            for lane in &segment.lanes {
                let delivered = queue.delivered.of(&segment.files, lane);
                let waiting = lane.records - delivered;
                let owned = if owned { waiting } else { 0 };
                let of = Of { waiting, delivered, owned, oldest: Some(lane.first), newest: Some(lane.last) };
                partitions.entry((signal, lane.key.clone())).or_default().add(&of);
            }
        }
    }
    let mut all = Of::default();
    for of in partitions.values() {
        all.add(of);
    }
    let quarantined = directory.quarantined(args.of.signal)?;
    let quarantine_bytes: Option<u64> = quarantined.iter().map(crate::spool::inspect::SegmentFiles::disk_bytes).sum();
    let rejected_bytes = directory.rejected().bytes()?;
    let kept = directory.rejected().read()?;
    let (rejected, rejected_damaged) = (kept.record_count(), kept.damaged.len());
    if screen.json {
        let partitions = partitions.iter().map(|((signal, key), of)| {
            json!({
                "signal": signal.name(),
                "partition": &**key,
                "waiting_records": of.waiting,
                "delivered_records": of.delivered,
                "owned_records": of.owned,
                "oldest": of.oldest.map(time::rfc3339),
                "newest": of.newest.map(time::rfc3339),
            })
        });
        screen.document(&json!({
            "queues_alive": alive,
            "queues_gone": gone,
            "queues_unknown": unknown,
            "segments": segments,
            "disk_bytes": directory.disk_bytes(),
            "waiting_records": all.waiting,
            "delivered_records": all.delivered,
            "owned_records": all.owned,
            "oldest": all.oldest.map(time::rfc3339),
            "newest": all.newest.map(time::rfc3339),
            "quarantined_segments": quarantined.len(),
            "quarantined_bytes": quarantine_bytes,
            "rejected_records": rejected,
            "rejected_damaged": rejected_damaged,
            "rejected_bytes": rejected_bytes,
            "partitions": partitions.collect::<Vec<_>>(),
        }))?;
    } else {
        let time = |time: Option<SystemTime>| time.map_or_else(|| "-".to_owned(), time::seconds);
        let of_unknown = if unknown > 0 { format!(", {unknown} of a signal that is not known") } else { String::new() };
        for (name, value) in [
            ("queues", format!("{alive} with a living owner, {gone} whose owner is gone{of_unknown}")),
            ("segments", count(segments)),
            ("disk", known_bytes(directory.disk_bytes())),
            ("waiting", format!("{} records", count(all.waiting))),
            ("delivered", format!("{} records, not deleted yet", count(all.delivered))),
            ("owned", format!("{} records of those that wait have a living owner", count(all.owned))),
            ("oldest", time(all.oldest)),
            ("newest", time(all.newest)),
            ("quarantine", format!("{} segments, {}", quarantined.len(), known_bytes(quarantine_bytes))),
            ("rejected", format!("{} records, {rejected_damaged} damaged, {}", count(rejected), bytes(rejected_bytes))),
        ] {
            screen.line(&format!("{name:<10}  {value}"))?;
        }
        let mut table = Table::new(&["SIGNAL", "PARTITION", ">WAITING", ">DELIVERED", ">OWNED", "OLDEST", "NEWEST"]);
        for ((signal, key), of) in &partitions {
            let counts = [of.waiting, of.delivered, of.owned].map(count);
            let names = [signal.to_string(), partition(key)];
            table.row(names.into_iter().chain(counts).chain([time(of.oldest), time(of.newest)]));
        }
        if !partitions.is_empty() {
            screen.line("")?;
            screen.table(&table)?;
        }
    }
    screen.flush()?;
    Ok(End::Done)
}
