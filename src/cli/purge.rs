use super::outcome::{End, Failure, Outcome};
use super::salvage;
use super::screen::{self, confirm, records};
use super::spool_arg::Spool;
use super::survey::{self, Surveyed};

/// Delete queues, damaged segments or rejected records for good
///
/// Names what it would delete and asks first. A queue whose owner is alive is never deleted.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "they are switches")]
#[group(id = "what", required = true, multiple = true, args = ["queue", "all", "quarantine", "rejected"])]
pub(super) struct Args {
    #[command(flatten)]
    spool: Spool,
    /// Delete this queue with its undelivered records. Can be repeated
    #[arg(long, value_name = "QUEUE")]
    queue: Vec<String>,
    /// Delete every queue whose owner is gone, with its undelivered records
    #[arg(long, conflicts_with = "queue")]
    all: bool,
    /// Delete the damaged segments in quarantine
    #[arg(long)]
    quarantine: bool,
    /// Delete the records that the endpoint rejected for good
    #[arg(long)]
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
    for id in &args.queue {
        if !directory.queues()?.any(|queue| queue.is_ok_and(|queue| queue.id() == *id)) {
            return Err(Failure::Usage(format!("there is no queue {id}")));
        }
    }
    for queue in survey::each(&directory)? {
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
        .map(|queue| format!("queue {} with {} that wait to be delivered", queue.queue.id(), records(queue.waiting())))
        .collect();
    let (mut quarantined, mut rejected) = (Vec::new(), Vec::new());
    if args.quarantine {
        let (segments, bytes) = salvage::bytes(&directory)?;
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
