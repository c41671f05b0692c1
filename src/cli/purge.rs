use std::time::SystemTime;

use clap::builder::NonEmptyStringValueParser;
use serde_json::json;

use super::drain::check_user;
use super::outcome::{End, Failure, Outcome};
use super::screen::{self, Screen, confirm, count, records};
use super::spool_arg::{OfSignal, Spool};
use super::survey::{self, Surveyed};
use super::{salvage, time};
use crate::spool::inspect::ByLane;
use crate::spool::purge::{self, Chosen, Purging, Selection};

/// Delete records, queues, damaged segments or rejected records for good
///
/// With --partition, --older-than and --containing, the records that fit all of them are taken out of every file of the spool: of the
/// queues, of their journals, of the quarantine and of the rejected store. For that every owner has to be stopped; a living one is an error,
/// and nothing is changed. What stays is delivered as before, in the same order. A file that cannot be read is
/// named and stays, and the exit code is 1; what is damaged in another is named and deleted.
///
/// Otherwise deletes what is named as a whole. A queue whose owner is alive is never deleted, nor is one of a signal that this
/// version does not know.
///
/// Names what it would delete and asks first. With --signal, what is of other signals stays.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "they are switches")]
#[command(after_help = EXAMPLES)]
#[group(id = "what", required = true, multiple = true, args = [
    "partition", "older_than", "containing", "queue", "all", "quarantine", "rejected",
])]
pub(super) struct Args {
    #[command(flatten)]
    spool: Spool,
    #[command(flatten)]
    of: OfSignal,
    /// Take out records of this partition
    #[arg(long, value_name = "KEY", allow_hyphen_values = true, conflicts_with_all = WHOLE)]
    partition: Option<String>,
    /// Take out records from before this time: RFC 3339, a date, or an age like 30d
    ///
    /// By the timestamp of the record. Those that were logged together (within a second or so) are stored with their last timestamp, which counts for all of
    /// them; of a rejected record the time at which it was rejected.
    #[arg(long, value_name = "TIME", value_parser = time::parse_time, conflicts_with_all = WHOLE)]
    older_than: Option<SystemTime>,
    /// Take out records that contain this text, in what is stored of them or in their partition key
    ///
    /// It is compared byte by byte with the record as it is sent alone, its resource and the labels of its stream included, and also as a string of JSON has it. A rejected record
    /// contains also the response.
    #[arg(
        long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new(), allow_hyphen_values = true,
        conflicts_with_all = WHOLE,
    )]
    containing: Option<String>,
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
    /// Say what would be deleted, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// What is deleted as a whole.
const WHOLE: [&str; 4] = ["queue", "all", "quarantine", "rejected"];

const EXAMPLES: &str = "\
Examples:
  otel-spool purge --containing alice@example.com --dry-run /var/lib/checkout/spool
      how many records name her, and where?
  otel-spool purge --partition acme --older-than 30d /var/lib/checkout/spool
  otel-spool purge --queue 07301dc2f9dde5f9 /var/lib/checkout/spool
  otel-spool purge --all --quarantine --rejected --yes /var/lib/checkout/spool
      everything but what a living owner has";

pub(super) fn run(args: &Args) -> Outcome {
    if args.partition.is_some() || args.older_than.is_some() || args.containing.is_some() {
        purge_records(args)
    } else {
        delete(args)
    }
}

/// Takes records out of all files.
fn purge_records(args: &Args) -> Outcome {
    let (directory, mut screen) = args.spool.open()?;
    if !args.dry_run {
        check_user(&args.spool.dir)?;
    }
    let has_unknown = !survey::unknown(&directory, args.of.signal)?.is_empty();
    // Locked to the end: nobody takes over a queue that is being changed.
    let queues = directory.queues(args.of.signal)?.collect::<Result<Vec<_>, _>>()?;
    for queue in &queues {
        let id = queue.id();
        if args.dry_run && queue.is_owned() {
            screen::note(&format!("queue {id}: its owner is alive: what is in its journal is not counted"));
        } else if !args.dry_run && !queue.make_exclusive() {
            let why = if queue.is_owned() { "its owner is alive: stop it first" } else { "another process reads it" };
            return Err(Failure::Refused(format!("queue {id}: {why}; nothing was purged")));
        }
    }
    let (partition, text) = (args.partition.as_deref(), args.containing.as_deref());
    let selection = Selection::new(partition, args.older_than, text);
    let purge = |purging| purge::purge(&directory, &queues, args.of.signal, &selection, purging);
    let mut findings = purge(Purging::Count)?;
    let what = in_words(&findings.chosen);
    if !args.dry_run {
        // Also where nothing was found: the files may have remainders of what was delivered long ago.
        confirm(&format!("delete {what} for good, and write the files of the spool anew"), args.yes)?;
        findings = purge(Purging::Erase)?;
    }
    for what in &findings.damage {
        screen::note(what);
    }
    for what in &findings.not_purged {
        screen::note(&format!("{what}: it stays as it is"));
    }
    if screen.json {
        let Chosen { waiting, done, journaled, quarantined, rejected } = findings.chosen;
        screen.document(&json!({
            "dry_run": args.dry_run,
            "waiting_records": waiting,
            "delivered_records": done,
            "journaled_records": journaled,
            "quarantined_records": quarantined,
            "rejected_records": rejected,
            "damage": findings.damage,
            "not_purged": findings.not_purged,
        }))?;
    } else {
        let did = if args.dry_run { "would delete" } else { "deleted" };
        screen.line(&format!("{did} {}", in_words(&findings.chosen)))?;
    }
    screen.flush()?;
    Ok(if has_unknown || !findings.not_purged.is_empty() { End::Wrong } else { End::Done })
}

fn in_words(chosen: &Chosen) -> String {
    let Chosen { waiting, done, journaled, quarantined, rejected } = *chosen;
    let parts = [
        (waiting, "that wait"),
        (done, "that were delivered or rejected before"),
        (journaled, "in journals"),
        (quarantined, "in quarantine"),
        (rejected, "in the rejected store"),
    ];
    let parts: Vec<_> = parts.iter().filter(|(number, _)| *number > 0).collect();
    match &*parts {
        [] => "no records".to_owned(),
        [(number, which)] => format!("{} {which}", records(*number)),
        _ => {
            let parts: Vec<_> = parts.iter().map(|(number, which)| format!("{} {which}", count(*number))).collect();
            format!("{}: {}", records(chosen.all()), parts.join(", "))
        }
    }
}

/// Deletes what is named as a whole.
fn delete(args: &Args) -> Outcome {
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
            queues.push(Surveyed::new(queue, &ByLane::default())?);
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
    if args.dry_run {
        return say(&what, "would_delete", "would delete", refused, &mut screen);
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
    say(&what, "deleted", "deleted", refused, &mut screen)
}

fn say(what: &[String], key: &str, did: &str, refused: bool, screen: &mut Screen) -> Outcome {
    if screen.json {
        screen.document(&json!({ key: what }))?;
    } else if what.is_empty() {
        screen.line("there is nothing to delete")?;
    } else {
        screen.line(&format!("{did} {}", what.join(", ")))?;
    }
    screen.flush()?;
    Ok(if refused { End::Wrong } else { End::Done })
}
