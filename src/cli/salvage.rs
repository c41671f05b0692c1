use std::fs::OpenOptions;
use std::path::PathBuf;

use serde_json::json;

use super::cat::{Filter, Printer};
use super::outcome::{End, Outcome};
use super::screen::{self, Screen, Table, count};
use super::spool_arg::{OfSignal, Spool};
use crate::config::values::Signal;
use crate::spool::inspect::{Directory, SegmentFiles};

/// Print the intact records of damaged segments
///
/// A segment in which damage was found is moved to quarantine when nothing in it waits any more, so every record printed
/// here was delivered, expired or rejected before. The damage is listed on standard error. Exits with 1 if records are
/// missing.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    spool: Spool,
    #[command(flatten)]
    of: OfSignal,
    #[command(flatten)]
    filter: Filter,
    /// Write the records to this new file instead of standard output
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    to_file: Option<PathBuf>,
    /// List the segments and their damage, and print no records
    #[arg(long)]
    list: bool,
}

const EXAMPLES: &str = "\
Examples:
  otel-spool salvage --list /var/lib/checkout/spool
  otel-spool salvage --to-file records.ndjson /var/lib/checkout/spool";

pub(super) fn run(args: &Args) -> Outcome {
    let (directory, mut screen) = args.spool.open()?;
    let segments = directory.quarantined(args.of.signal)?;
    let mut wrong = false;
    let mut table = Table::new(&["QUEUE", "SIGNAL", ">SEGMENT", ">RECORDS", ">MISSING"]);
    let mut list = Vec::new();
    for files in &segments {
        let found = files.verify(true)?;
        wrong |= !found.damage.is_empty();
        for what in &found.damage {
            screen::note(&format!("queue {}, segment {}: {what}", files.queue(), files.number()));
        }
        let (signal, number) = (files.signal(), files.number());
        let counts = [found.records, found.missing_records].map(count);
        table.row([files.queue(), signal.to_string(), number.to_string()].into_iter().chain(counts));
        list.push(json!({
            "queue": files.queue(),
            "signal": signal.name(),
            "segment": number,
            "records": found.records,
            "missing_records": found.missing_records,
            "damage": found.damage,
        }));
    }
    if args.list && screen.json {
        screen.document(&json!({ "segments": list }))?;
    } else if args.list {
        screen.table(&table)?;
    } else {
        if let Some(path) = &args.to_file {
            let file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(path)
                .map_err(|source| crate::error::SpoolError::Io { action: "create", path: path.clone(), source })?;
            screen = Screen::of_file(file, screen.json);
        }
        let mut printer = Printer::new(&args.filter, &mut screen);
        print(&segments, &mut printer)?;
        let number = printer.printed;
        screen::note(&format!(
            "{} of {}: each was delivered, expired or rejected before its segment was moved to quarantine",
            screen::records(number),
            screen::counted(segments.len() as u64, "damaged segment", "damaged segments")
        ));
    }
    screen.flush()?;
    Ok(if wrong { End::Wrong } else { End::Done })
}

fn print(segments: &[SegmentFiles], printer: &mut Printer<'_>) -> Result<(), super::outcome::Failure> {
    for files in segments {
        let reader = files.read()?;
        for entry in reader.entries(0..reader.end()) {
            // A damaged entry is in the list.
            if let Some(entry) = entry?
                && printer.print(files, &entry, |_| None, true)?.is_break()
            {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The segments in quarantine, of one signal or all, and their size, if it can be known, for `purge`.
pub(super) fn bytes(
    directory: &Directory,
    signal: Option<Signal>,
) -> Result<(Vec<SegmentFiles>, Option<u64>), crate::error::SpoolError> {
    let segments = directory.quarantined(signal)?;
    let bytes = segments.iter().map(SegmentFiles::disk_bytes).sum();
    Ok((segments, bytes))
}
