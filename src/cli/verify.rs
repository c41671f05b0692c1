use std::time::Duration;

use serde_json::json;

use super::outcome::{End, Outcome};
use super::screen::{self, Table, count};
use super::spool_arg::{OfSignal, Spool};
use super::survey;
use crate::config::values::Signal;
use crate::error::{SpoolError, error_chain};
use crate::spool::inspect::{Directory, Queue, SegmentFiles};

/// The time for which a frame that an owner is writing may look damaged.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// Check that everything in a spool can be read
///
/// Reads every byte of every segment. Checks the checksums of all frames, that their numbers have no holes, that every entry
/// can be decoded, that the segment holds what its seal says, and that its cursor file, which notes what is delivered, is
/// whole. Checks also the records that the endpoint rejected, and those that are in a journal and in no segment. Exits with 1 if something is damaged. Intact records of a damaged
/// segment are delivered all the same.
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
  otel-spool verify /var/lib/checkout/spool
  otel-spool verify --json /backup/spool | jq .damage
      of a copy";

/// The findings, by segment.
#[derive(Default)]
pub(super) struct Report {
    segments: Vec<serde_json::Value>,
    pub(super) table: Option<Table>,
    pub(super) damage: Vec<String>,
    /// The damage of rejected records, whose words may be those of the record.
    pub(super) rejected: Vec<String>,
    records: u64,
    /// The records that journals have and no segment has.
    journaled: u64,
    missing: u64,
    checked: u64,
}

impl Report {
    /// Checks all that is of a signal, or all.
    pub(super) fn of(directory: &Directory, signal: Option<Signal>) -> Result<Self, SpoolError> {
        let mut report = Self::default();
        for queue in directory.queues(signal)? {
            let queue = match queue {
                Ok(queue) => queue,
                Err(error) => {
                    report.damage.push(format!("a queue cannot be opened: {}", error_chain(&error)));
                    continue;
                }
            };
            if queue.is_owned() {
                let id = queue.id();
                screen::note(&format!(
                    "queue {id}: its owner is alive and may be writing: records that it writes now are not checked"
                ));
            }
            for segment in queue.segments()? {
                if let Err(error) = report.check(&segment, queue.is_owned()) {
                    let (queue, number, reason) = (segment.queue(), segment.number(), error_chain(&error));
                    report.damage.push(format!("queue {queue}, segment {number}: it cannot be read: {reason}"));
                }
            }
            report.check_journal(&queue);
        }
        report.rejected = directory.rejected().read()?.damaged.iter().map(ToString::to_string).collect();
        Ok(report)
    }

    /// Looks through what the journals of a queue have and its segments have not.
    fn check_journal(&mut self, queue: &Queue) {
        let id = queue.id();
        match queue.journaled() {
            Ok(Some(journaled)) => {
                self.journaled += journaled.records();
                let bytes = journaled.damaged_bytes;
                if bytes > 0 {
                    let damage = format!("queue {id}: {bytes} bytes between the records of its journal cannot be read");
                    self.damage.push(damage);
                }
            }
            // It is being written.
            Ok(None) => {}
            Err(error) => self.damage.push(format!("queue {id}: its journal cannot be read: {}", error_chain(&error))),
        }
    }

    fn check(&mut self, files: &SegmentFiles, owned: bool) -> Result<(), SpoolError> {
        let mut found = files.verify(!owned)?;
        if owned && !found.damage.is_empty() {
            // It may just have been written or deleted.
            std::thread::sleep(AGAIN_AFTER);
            let Some(files) = files.reread() else { return Ok(()) };
            found = files.verify(false)?;
        }
        let (queue, number) = (files.queue(), files.number());
        let table = self.table.get_or_insert_with(|| {
            Table::new(&["QUEUE", "SIGNAL", ">SEGMENT", "STATE", ">ENTRIES", ">RECORDS", ">MISSING", "RESULT"])
        });
        let result = if found.damage.is_empty() { "intact" } else { "damaged" };
        table.row([
            queue.clone(),
            files.signal().to_string(),
            number.to_string(),
            if found.sealed { "sealed" } else { "open" }.to_owned(),
            count(found.entries),
            count(found.records),
            count(found.missing_records),
            result.to_owned(),
        ]);
        self.segments.push(json!({
            "queue": queue,
            "signal": files.signal().name(),
            "segment": number,
            "sealed": found.sealed,
            "frames": found.frames,
            "entries": found.entries,
            "records": found.records,
            "missing_records": found.missing_records,
            "damage": found.damage,
        }));
        self.damage.extend(found.damage.iter().map(|what| format!("queue {queue}, segment {number}: {what}")));
        self.checked += 1;
        self.records += found.records;
        self.missing += found.missing_records;
        Ok(())
    }
}

pub(super) fn run(args: &Args) -> Outcome {
    let (directory, mut screen) = args.spool.open()?;
    survey::unknown(&directory, args.of.signal)?;
    let mut report = Report::of(&directory, args.of.signal)?;
    report.damage.append(&mut report.rejected);
    let quarantined = directory.quarantined(args.of.signal)?.len();
    if screen.json {
        screen.document(&json!({
            "segments": report.segments,
            "records": report.records,
            "journaled_records": report.journaled,
            "missing_records": report.missing,
            "damage": report.damage,
            "quarantined_segments": quarantined,
        }))?;
    } else {
        if let Some(table) = &report.table {
            screen.table(table)?;
        }
        for damage in &report.damage {
            screen.line(damage)?;
        }
        let (segments, records) =
            (screen::counted(report.checked, "segment", "segments"), screen::records(report.records));
        screen.line(&match (report.damage.len(), report.missing) {
            (0, _) => format!("{segments}, {records}: everything is intact"),
            (_, missing) => format!("{segments}, {records} intact, {missing} known to be missing"),
        })?;
        if report.journaled > 0 {
            let records = screen::records(report.journaled);
            screen.line(&format!(
                "{records} in journals: the next owner of the queue, or `otel-spool drain`, stores them"
            ))?;
        }
        if quarantined > 0 {
            screen.line(&format!("{quarantined} damaged before, in quarantine: run `otel-spool salvage`"))?;
        }
    }
    screen.flush()?;
    Ok(if report.damage.is_empty() { End::Done } else { End::Wrong })
}
