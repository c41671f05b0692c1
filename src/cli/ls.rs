use std::time::SystemTime;

use serde_json::{Value, json};

use super::outcome::{End, Outcome};
use super::screen::{Table, count, known_bytes};
use super::spool_arg::{OfSignal, Spool};
use super::survey::{self, Counted, Surveyed};
use super::time;
use crate::spool::inspect::UnknownQueue;

/// List the queues and segments of a spool
///
/// Prints a line per segment: its queue's signal, whether the owner of its queue is alive, whether it is sealed (it gets no more records), the
/// number of partitions, of records that wait and of records that are delivered, its size on disk, and the time of its
/// oldest record. A queue of a signal that this version does not know has one line.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    spool: Spool,
    #[command(flatten)]
    of: OfSignal,
}

pub(super) fn run(args: &Args) -> Outcome {
    let (directory, mut screen) = args.spool.open()?;
    let now = SystemTime::now();
    let unknown = survey::unknown(&directory, args.of.signal)?;
    if screen.json {
        let queues = survey::queues(&directory, args.of.signal)?.map(|queue| Ok(document(&queue?, now)));
        let queues = queues.chain(unknown.iter().map(|queue| Ok(document_of_unknown(queue))));
        let queues = queues.collect::<Result<Vec<_>, crate::error::SpoolError>>()?;
        screen.document(&json!({ "queues": queues }))?;
    } else {
        let mut table = Table::new(&[
            "QUEUE",
            "SIGNAL",
            "OWNER",
            ">SEGMENT",
            "STATE",
            ">PARTITIONS",
            ">WAITING",
            ">DELIVERED",
            ">DISK",
            "OLDEST",
            ">AGE",
        ]);
        for queue in survey::queues(&directory, args.of.signal)? {
            let queue = queue?;
            for segment in &queue.segments {
                table.row(row(&queue, segment, now));
            }
        }
        for queue in &unknown {
            table.row(row_of_unknown(queue));
        }
        screen.table(&table)?;
    }
    screen.flush()?;
    Ok(End::Done)
}

fn state(segment: &Counted) -> &'static str {
    match (segment.files.is_sealed(), segment.records()) {
        _ if segment.is_unreadable => "unreadable",
        (true, _) => "sealed",
        (false, 0) => "empty",
        (false, _) => "open",
    }
}

fn row(queue: &Surveyed, segment: &Counted, now: SystemTime) -> [String; 11] {
    let oldest = segment.oldest();
    [
        queue.queue.id(),
        queue.queue.signal().to_string(),
        queue.owner().to_owned(),
        segment.files.number().to_string(),
        state(segment).to_owned(),
        count(segment.lanes.len() as u64),
        count(segment.waiting()),
        count(segment.delivered),
        known_bytes(segment.files.disk_bytes()),
        oldest.map_or_else(|| "-".to_owned(), time::seconds),
        oldest.map_or_else(|| "-".to_owned(), |oldest| time::rough(now.duration_since(oldest).unwrap_or_default())),
    ]
}

fn row_of_unknown(queue: &UnknownQueue) -> [String; 11] {
    let cells = [&queue.id(), &queue.signal, "-", "-", "unknown signal", "-", "-", "-", "", "-", "-"];
    let mut row = cells.map(str::to_owned);
    row[8] = known_bytes(queue.disk_bytes());
    row
}

fn document_of_unknown(queue: &UnknownQueue) -> Value {
    json!({
        "queue": queue.id(),
        "signal": queue.signal,
        "owner": null,
        "endpoint": null,
        "disk_bytes": queue.disk_bytes(),
        "segments": [],
    })
}

fn document(queue: &Surveyed, now: SystemTime) -> Value {
    let age = |at: SystemTime| now.duration_since(at).unwrap_or_default().as_secs_f64();
    let segments = queue.segments.iter().map(|segment| {
        let partitions = segment.lanes.iter().map(|lane| {
            json!({
                "partition": &*lane.key,
                "records": lane.records,
                "delivered": queue.delivered.of(&segment.files, lane),
                "first_timestamp": time::rfc3339(lane.first),
                "last_timestamp": time::rfc3339(lane.last),
            })
        });
        json!({
            "segment": segment.files.number(),
            "state": state(segment),
            "records": segment.records(),
            "delivered": segment.delivered,
            "disk_bytes": segment.files.disk_bytes(),
            "oldest": segment.oldest().map(time::rfc3339),
            "newest": segment.newest().map(time::rfc3339),
            "age_seconds": segment.oldest().map(age),
            "partitions": partitions.collect::<Vec<_>>(),
        })
    });
    json!({
        "queue": queue.queue.id(),
        "signal": queue.queue.signal().name(),
        "owner": queue.owner(),
        "endpoint": queue.queue.endpoint().as_deref().map(super::drain::shown),
        "disk_bytes": queue.queue.disk_bytes(),
        "segments": segments.collect::<Vec<_>>(),
    })
}
