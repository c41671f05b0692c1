use super::outcome::{End, Failure, Outcome};
use super::salvage;
use super::screen::{self, confirm, records};
use super::spool_arg::{OfSignal, Spool};
use super::survey::{self, Surveyed};

/// Delete queues, damaged segments or rejected records for good
///
/// Names what it would delete and asks first. A queue whose owner is alive is never deleted, nor is one of a signal that this
/// version does not know. With --signal, queues and damaged segments of other signals stay.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "they are switches")]
#[group(id = "what", required = true, multiple = true, args = ["queue", "all", "quarantine", "rejected"])]
pub(super) struct Args {
    #[command(flatten)]
    spool: Spool,
    #[command(flatten)]
    of: OfSignal,
    /// Delete this queue with its undelivered records. Can be repeated
    #[arg(long, value_name = "QUEUE")]
    queue: Vec<String>,
    /// Delete every queue whose owner is gone, with its undelivered records
    #[arg(long, conflicts_with = "queue")]
    all: bool,
    /// Delete the damaged segments in quarantine
    #[arg(long)]
    quarantine: bool,
    /// Delete the records that the endpoint rejected for good, of whatever signal
    #[arg(long, conflicts_with = "signal")]
    rejected: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

pub(super) fn run(args: &Args) -> Outcome {
    let (directory, mut screen) = args.spool.open()?;
    // Locked until they are deleted: nobody adopts a queue between the question and its end.
    let mut queues = Vec::new();
    let mut refused = false;
    let unknown = survey::unknown(&directory, args.of.signal)?;
    for id in &args.queue {
        if unknown.iter().any(|queue| queue.id() == *id) {
            refused = true;
        } else if !directory.queues(args.of.signal)?.any(|queue| queue.is_ok_and(|queue| queue.id() == *id)) {
            return Err(Failure::Usage(format!("there is no queue {id}")));
        }
    }
    for queue in survey::each(&directory, args.of.signal)? {
        if !args.all && !args.queue.contains(&queue.id()) {
            continue;
        }
        if queue.make_exclusive() {
            queues.push(Surveyed::new(queue)?);
        } else {
            let why = if queue.is_owned() { "its owner is alive" } else { "another process reads it" };
            screen::note(&format!("queue {}: {why}: it is not deleted", queue.id()));
            // `--all` means every queue whose owner is gone, and this is none.
            refused |= !(args.all && queue.is_owned());
        }
    }
    let mut what: Vec<String> = queues
        .iter()
        .map(|queue| {
            let (id, signal, waiting) = (queue.queue.id(), queue.queue.signal(), records(queue.waiting()));
            format!("queue {id} of {signal} with {waiting} that wait to be delivered")
        })
        .collect();
    let (mut quarantined, mut rejected) = (Vec::new(), Vec::new());
    if args.quarantine {
        let (segments, bytes) = salvage::bytes(&directory, args.of.signal)?;
        let segments_text = screen::counted(segments.len() as u64, "damaged segment", "damaged segments");
        what.extend((!segments.is_empty()).then(|| format!("{segments_text} ({})", screen::known_bytes(bytes))));
        quarantined = segments;
    }
    if args.rejected {
        // By files: some may be no record that can be read.
        rejected = directory.rejected().files()?;
        let files = screen::counted(rejected.len() as u64, "record", "records");
        let bytes = screen::bytes(rejected.iter().map(|file| file.bytes).sum());
        what.extend((!rejected.is_empty()).then(|| format!("{files} that the endpoint rejected ({bytes})")));
    }
    if !what.is_empty() {
        confirm(&format!("delete {} for good", what.join(", ")), args.yes)?;
    }
    for queue in queues {
        queue.queue.remove()?;
    }
    for segment in &quarantined {
        segment.remove()?;
    }
    for file in &rejected {
        file.remove()?;
    }
    if screen.json {
        screen.document(&serde_json::json!({ "deleted": what }))?;
    } else if what.is_empty() {
        screen.line("there is nothing to delete")?;
    } else {
        screen.line(&format!("deleted {}", what.join(", ")))?;
    }
    screen.flush()?;
    Ok(if refused { End::Wrong } else { End::Done })
}
