use std::io;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::outcome::{End, Outcome};
use super::screen::{self, Screen, Table, Tone, count, count_or_more, short_bytes, shown, unknown};
use super::spool_arg::{OfSignal, Spool};
use super::survey::{self, Counted, Served, Surveyed, age, rough_age};
use super::time;
use crate::spool::inspect::UnknownQueue;

/// List the queues of a spool
///
/// Prints a line per queue: its signal, whether its owner is alive, gone, or gone while the living ones send to another endpoint
/// (stranded), the number of records that wait, the age of the oldest of them,
/// its size on disk, and what its owner has told: how long ago the endpoint took something (SENT), and how long ago it told so
/// (NOTED). A `+` behind a number says that more may wait, in what cannot be read; a `-` that something is not known. A queue whose
/// last attempt failed is explained below, in the words of the error; so is a disk without space, on which owners can tell nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    spool: Spool,
    #[command(flatten)]
    of: OfSignal,
    /// List the segments of each queue as well
    ///
    /// For each: whether it is sealed (it gets no more records), the number of partitions, of records that wait and of records that are
    /// delivered, its size on disk, and the age of its oldest record, whether that waits or not. A line in the state `journal` has the
    /// records that a killed process has logged and not stored yet: the next process that opens the queue stores them.
    #[arg(short, long)]
    long: bool,
}

const EXAMPLES: &str = "\
Examples:
  otel-spool ls /var/lib/checkout/spool
      is it behind, since when, and why?
  otel-spool ls -l --signal traces /var/lib/checkout/spool
  otel-spool ls --json /var/lib/checkout/spool | jq '.queues[].status.last_error'";

pub(super) fn run(args: &Args) -> Outcome {
    let (directory, mut screen) = args.spool.open()?;
    let now = SystemTime::now();
    let unknown = survey::unknown(&directory, args.of.signal)?;
    let served = Served::by(&directory, args.of.signal)?;
    if screen.json {
        let queues = survey::queues(&directory, args.of.signal)?.map(|queue| Ok(document(&queue?, &served, now)));
        let queues = queues.chain(unknown.iter().map(|queue| Ok(document_of_unknown(queue))));
        let queues = queues.collect::<Result<Vec<_>, crate::error::SpoolError>>()?;
        screen.document(&json!({ "queues": queues }))?;
    } else {
        let mut table = Table::new(&COLUMNS);
        let (mut segments, mut failing) = (Vec::new(), Vec::new());
        for queue in survey::queues(&directory, args.of.signal)? {
            let queue = queue?;
            table.row(row(&queue, &served, now));
            failing.extend(failure(&queue, now));
            if args.long {
                segments.push((queue.queue.id(), table_of_segments(&queue, now)));
            }
        }
        for queue in &unknown {
            table.row(row_of_unknown(queue));
        }
        screen.table(&table)?;
        show_failures(&failing, &mut screen)?;
        if table.is_empty() {
            screen::note("there are no queues, so nothing waits");
        }
        if let Some(free) = args.spool.free_bytes().filter(|free| *free < LITTLE_SPACE) {
            let free = short_bytes(Some(free));
            screen::note(&format!(
                "its disk has {free} free: what is logged may be in memory alone, and what owners have told may be old"
            ));
        }
        for (id, table) in segments {
            screen.line("")?;
            screen.line(&format!("segments of {id}:"))?;
            screen.table(&table)?;
        }
    }
    screen.flush()?;
    Ok(End::Done)
}

/// Less than a new segment and a status file take.
const LITTLE_SPACE: u64 = 1 << 20;

/// Those of the table of queues.
pub(super) const COLUMNS: [&str; 8] = ["QUEUE", "~SIGNAL", "OWNER", ">WAITING", "OLDEST", ">DISK", "SENT", "NOTED"];

/// Who has a queue.
fn owner(queue: &Surveyed, served: &Served) -> &'static str {
    if served.strands(&queue.queue) { "stranded" } else { queue.owner() }
}

pub(super) fn row(queue: &Surveyed, served: &Served, now: SystemTime) -> [String; 8] {
    let status = queue.status.as_ref();
    [
        queue.queue.id(),
        queue.queue.signal().to_string(),
        owner(queue, served).to_owned(),
        count_or_more(queue.waiting(), queue.is_partial),
        rough_age(queue.oldest(), now),
        short_bytes(queue.queue.disk_bytes()),
        age(status.and_then(|status| status.last_success), now),
        age(status.map(|status| status.written_at), now),
    ]
}

fn row_of_unknown(queue: &UnknownQueue) -> [String; 8] {
    let cells = [&*queue.id(), &queue.signal, "-", "-", "-", &*short_bytes(queue.disk_bytes()), "-", "-"];
    cells.map(str::to_owned)
}

/// The reason why a queue is not delivered, if that is known.
pub(super) fn failure(queue: &Surveyed, now: SystemTime) -> Option<String> {
    let error = queue.failing()?;
    let (id, reason, age) = (queue.queue.id(), &error.reason, time::age(error.at, now));
    let endpoint = queue.endpoint().map(|endpoint| format!(" to {endpoint}")).unwrap_or_default();
    Some(format!("{id}{endpoint} failed {age} ago: {reason}"))
}

pub(super) fn show_failures(failing: &[String], screen: &mut Screen) -> io::Result<()> {
    for text in failing {
        screen.line("")?;
        screen.paragraph(text, Tone::Bad)?;
    }
    Ok(())
}

fn state(segment: &Counted) -> &'static str {
    match (segment.files.is_sealed(), segment.records()) {
        _ if segment.is_unreadable() => "unreadable",
        (true, _) => "sealed",
        (false, Some(0)) => "empty",
        (false, _) => "open",
    }
}

pub(super) fn table_of_segments(queue: &Surveyed, now: SystemTime) -> Table {
    let mut table =
        Table::new(&[">SEGMENT", "STATE", ">PARTITIONS", ">WAITING", ">DELIVERED", ">REJECTED", ">DISK", "OLDEST"]);
    for segment in &queue.segments {
        let known = |records: Option<u64>| records.map_or_else(unknown, count);
        table.row([
            segment.files.number().to_string(),
            state(segment).to_owned(),
            known(segment.sum(|_| 1)),
            known(segment.sum(survey::CountedLane::waiting)),
            known(segment.sum(survey::CountedLane::delivered)),
            known(segment.sum(|lane| lane.rejected)),
            short_bytes(segment.files.disk_bytes()),
            rough_age(segment.oldest(), now),
        ]);
    }
    if let Some(records) = queue.in_journal().filter(|records| *records > 0) {
        let partitions = count(queue.journaled().len() as u64);
        table.row(["-", "journal", &partitions, &count(records), "-", "-", "-", "-"].map(str::to_owned));
    }
    table
}

fn document_of_unknown(queue: &UnknownQueue) -> Value {
    json!({
        "queue": queue.id(),
        "signal": queue.signal,
        "owner": null,
        "stranded": false,
        "endpoint": null,
        "disk_bytes": queue.disk_bytes(),
        "waiting_records": null,
        "journaled_records": null,
        "is_partial": true,
        "status": null,
        "segments": [],
    })
}

fn document(queue: &Surveyed, served: &Served, now: SystemTime) -> Value {
    let age = |at: SystemTime| now.duration_since(at).unwrap_or_default().as_secs_f64();
    let segments = queue.segments.iter().map(|segment| {
        let partitions = segment.lanes.iter().map(|lane| {
            json!({
                "partition": &*lane.lane.key,
                "records": lane.lane.records,
                "delivered": lane.delivered(),
                "rejected": lane.rejected,
                "first_timestamp": time::rfc3339(lane.lane.first),
                "last_timestamp": time::rfc3339(lane.lane.last),
            })
        });
        json!({
            "segment": segment.files.number(),
            "state": state(segment),
            "records": segment.records(),
            "delivered": segment.sum(survey::CountedLane::delivered),
            "rejected": segment.sum(|lane| lane.rejected),
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
        "stranded": served.strands(&queue.queue),
        "endpoint": queue.queue.endpoint().as_deref().map(shown),
        "disk_bytes": queue.queue.disk_bytes(),
        "waiting_records": queue.waiting(),
        "journaled_records": queue.in_journal(),
        "is_partial": queue.is_partial,
        "status": queue.status_document(now),
        "segments": segments.collect::<Vec<_>>(),
    })
}
