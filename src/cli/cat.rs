use std::borrow::Cow;
use std::collections::HashMap;
use std::io;
use std::ops::ControlFlow;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use super::outcome::{End, Failure, Outcome};
use super::screen::{self, Screen};
use super::spool_arg::{OfSignal, Spool};
use super::text::Text;
use super::{survey, time};
use crate::encode::framing::ResponseProtocol;
use crate::error::{SpoolError, error_chain};
use crate::spool::inspect::{Directory, Queue, Reader, SegmentFiles, Stored};

/// The time between two looks for new records.
const POLL: Duration = Duration::from_millis(500);

/// The number of looks after which a missing frame of a living owner is taken for lost.
const PATIENCE: u32 = 4;

/// Print the records of a spool, as they are sent
///
/// Prints the records that wait, one per line, queue after queue, in the order in which they were logged. A delivery by an
/// owner that is alive is in its files some milliseconds later. A record of OTLP, stored as protobuf or as JSON, is printed as
/// a request in OTLP's JSON, with its resource and scope, which can be sent to /v1/logs, /v1/traces or /v1/metrics. Another
/// record that is not text is printed with --json only, in Base64.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    spool: Spool,
    #[command(flatten)]
    of: OfSignal,
    #[command(flatten)]
    filter: Filter,
    /// Print only this queue
    #[arg(long, value_name = "QUEUE")]
    queue: Option<String>,
    /// Print also the records that are delivered and not deleted yet
    #[arg(long)]
    all: bool,
    /// Follow new records, looking twice a second. Records that are delivered and deleted in between are missed
    #[arg(short, long)]
    follow: bool,
}

const EXAMPLES: &str = "\
Examples:
  otel-spool cat --pretty --follow /var/lib/checkout/spool
  otel-spool cat --partition acme --since 2h --grep 'payment failed' /var/lib/checkout/spool
  otel-spool cat --json --all --since 2026-11-27 --until 2026-11-28 /var/lib/checkout/spool
      a day in UTC, also what is delivered and not deleted yet";

/// The choice of records, and their form.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Filter {
    /// Print only this partition
    #[arg(long, value_name = "KEY")]
    partition: Option<String>,
    /// Print only records from this time on: RFC 3339, a date, or an age like 2h
    ///
    /// Records that were logged together (within a second or so) are stored with their first and last timestamps: they are
    /// printed if any of them can match.
    #[arg(long, value_name = "TIME", value_parser = time::parse_time)]
    since: Option<SystemTime>,
    /// Print only records up to this time
    #[arg(long, value_name = "TIME", value_parser = time::parse_time)]
    until: Option<SystemTime>,
    /// Print only records that contain this text
    #[arg(long, value_name = "TEXT")]
    grep: Option<String>,
    /// Print at most this number of records
    #[arg(short = 'n', long = "max", value_name = "RECORDS")]
    max: Option<u64>,
    /// Print a line for people: times, names, values and attributes, for OTLP and the default format; other records are
    /// printed as they are
    #[arg(long, conflicts_with = "json")]
    pretty: bool,
}

impl Filter {
    fn takes_entry(&self, entry: &Stored) -> bool {
        self.partition.as_deref().is_none_or(|key| key == &*entry.key)
            && self.since.is_none_or(|since| entry.last() >= since)
            && self.until.is_none_or(|until| entry.first() <= until)
    }

    fn takes_record(&self, record: &Text<'_>) -> bool {
        self.grep.as_deref().is_none_or(|text| record.contains(text))
    }
}

/// Prints records up to the maximum.
pub(super) struct Printer<'a> {
    filter: &'a Filter,
    screen: &'a mut Screen,
    left: u64,
    pub(super) printed: u64,
}

impl<'a> Printer<'a> {
    pub(super) fn new(filter: &'a Filter, screen: &'a mut Screen) -> Self {
        Self { left: filter.max.unwrap_or(u64::MAX), filter, screen, printed: 0 }
    }

    /// Prints an entry. Records that are delivered, where that is known, are printed only if `all`.
    pub(super) fn print(
        &mut self,
        files: &SegmentFiles,
        entry: &Stored,
        delivered: impl Fn(u64) -> Option<bool>,
        all: bool,
    ) -> io::Result<ControlFlow<()>> {
        if self.left == 0 {
            return Ok(ControlFlow::Break(()));
        }
        if !self.filter.takes_entry(entry) {
            return Ok(ControlFlow::Continue(()));
        }
        for (number, record) in entry.records() {
            let is_delivered = delivered(number);
            if is_delivered == Some(true) && !all {
                continue;
            }
            let protocol = entry.response_protocol();
            // A record of OTLP is a part of a request, which nobody takes alone.
            let record = if protocol == ResponseProtocol::Otlp { entry.body(&record).into() } else { record };
            let text = Text::read(Some(files.signal()), entry.content_type(), protocol, &record);
            if !self.filter.takes_record(&text) {
                continue;
            }
            if self.screen.json {
                self.screen.raw(&document(files, entry, number, &text, is_delivered))?;
            } else if self.filter.pretty {
                text.pretty().iter().try_for_each(|line| self.screen.line(line))?;
            } else {
                self.screen.line(&text.as_it_is())?;
            }
            self.printed += 1;
            self.left -= 1;
            if self.left == 0 {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// A record as one line of JSON; a record that is JSON itself is embedded as it is.
fn document(files: &SegmentFiles, entry: &Stored, number: u64, record: &Text<'_>, delivered: Option<bool>) -> Vec<u8> {
    let head = json!({
        "queue": files.queue(),
        "signal": files.signal().name(),
        "segment": files.number(),
        "partition": &*entry.key,
        "lane": entry.lane,
        "number": number,
        "delivered": delivered,
        "appended_at": time::rfc3339(entry.appended_at()),
        "first_timestamp": time::rfc3339(entry.first()),
        "last_timestamp": time::rfc3339(entry.last()),
        "content_type": entry.content_type(),
    });
    let mut line = head.to_string().into_bytes();
    line.pop();
    let (key, value) = match record {
        // The record's own text keeps the order of its keys; only line breaks are replaced.
        Text::Json(json) if json.contains(['\n', '\r']) => ("record", Cow::Owned(on_one_line(json))),
        Text::Json(json) => ("record", Cow::Borrowed(&**json)),
        Text::Other(text) => ("text", json!(text).to_string().into()),
        Text::Bytes(bytes, _) => ("base64", json!(BASE64_STANDARD.encode(bytes)).to_string().into()),
    };
    line.extend_from_slice(format!(",\"{key}\":{value}}}").as_bytes());
    line
}

/// JSON without line breaks, which strings never contain.
fn on_one_line(json: &str) -> String {
    json.replace(['\n', '\r'], " ")
}

/// The progress through a segment.
#[derive(Default)]
struct Progress {
    next: u64,
    version: Option<(SystemTime, u64)>,
    /// The number of looks in a row in which a frame was missing.
    missed: u32,
}

pub(super) fn run(args: &Args) -> Outcome {
    let (directory, mut screen) = args.spool.open()?;
    survey::unknown(&directory, args.of.signal)?;
    let mut seen = HashMap::new();
    let mut damaged = 0_u64;
    let mut printer = Printer::new(&args.filter, &mut screen);
    let mut flow = print_all(args, &directory, &mut printer, &mut seen, &mut damaged)?;
    while args.follow && flow.is_continue() {
        printer.screen.flush()?;
        std::thread::sleep(POLL);
        flow = print_new(args, &directory, &mut printer, &mut seen)?;
    }
    screen.flush()?;
    if damaged > 0 {
        screen::note(&format!("{damaged} entries are damaged: run `otel-spool verify`"));
        return Ok(End::Wrong);
    }
    Ok(End::Done)
}

type Seen = HashMap<(String, u64), Progress>;

/// Says what of a queue is not printed.
fn note_journal(queue: &Queue) {
    let id = queue.id();
    match queue.journaled() {
        Ok(Some(journaled)) if journaled.records() > 0 => {
            let records = screen::records(journaled.records());
            screen::note(&format!(
                "queue {id}: not printed: {records} in its journal alone, which the next owner, or `otel-spool drain`, stores"
            ));
        }
        Ok(_) => {}
        Err(error) => screen::note(&format!("queue {id}: its journal cannot be read: {}", error_chain(&error))),
    }
}

fn print_all(
    args: &Args,
    directory: &Directory,
    printer: &mut Printer<'_>,
    seen: &mut Seen,
    damaged: &mut u64,
) -> Result<ControlFlow<()>, Failure> {
    let mut known = args.queue.is_none();
    for mut queue in survey::each(directory, args.of.signal)? {
        if args.queue.as_ref().is_some_and(|only| *only != queue.id()) {
            continue;
        }
        known = true;
        let (owned, delivered, segments) = (queue.is_owned(), queue.delivered()?, queue.segments()?);
        note_journal(&queue);
        // The reader of the output may be slow. A process that adopts the queue meanwhile writes to none of these segments,
        // and a segment that it deletes stays readable while it is open.
        queue.release();
        for files in segments {
            let version = files.version();
            let reader = match read(&files) {
                Ok(Some(reader)) => reader,
                Ok(None) => continue,
                Err(error) => {
                    unreadable(&files, &error);
                    *damaged += 1;
                    continue;
                }
            };
            // Frames that an owner is still writing are printed later.
            let end = if owned { reader.contiguous_from(0) } else { reader.end() };
            for entry in reader.entries(0..end) {
                let entry = match entry {
                    Ok(Some(entry)) => entry,
                    Ok(None) => {
                        *damaged += 1;
                        continue;
                    }
                    Err(error) => {
                        unreadable(&files, &error);
                        *damaged += 1;
                        break;
                    }
                };
                let is_delivered = |number| Some(delivered.is_delivered(&files, entry.lane, number));
                if printer.print(&files, &entry, is_delivered, args.all)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            seen.insert((queue.id(), files.number()), Progress { next: end, version, missed: 0 });
        }
    }
    if known { Ok(ControlFlow::Continue(())) } else { Err(Failure::Usage("the spool has no such queue".to_owned())) }
}

/// Prints the records that came since the last look, of all queues.
fn print_new(
    args: &Args,
    directory: &Directory,
    printer: &mut Printer<'_>,
    seen: &mut Seen,
) -> Result<ControlFlow<()>, Failure> {
    for mut queue in survey::each(directory, args.of.signal)? {
        // A queue is not held while it is followed.
        queue.release();
        if args.queue.as_ref().is_some_and(|only| *only != queue.id()) {
            continue;
        }
        for files in queue.segments()? {
            let progress = seen.entry((queue.id(), files.number())).or_default();
            let version = files.version();
            if version == progress.version && progress.missed == 0 {
                continue;
            }
            let Some(reader) = read(&files)? else { continue };
            let end = progress.advance(&reader);
            for entry in reader.entries(progress.next..end) {
                if let Some(entry) = entry?
                    && printer.print(&files, &entry, |_| None, true)?.is_break()
                {
                    return Ok(ControlFlow::Break(()));
                }
            }
            (progress.next, progress.version) = (end, version);
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// Notes that a segment cannot be read.
fn unreadable(files: &SegmentFiles, error: &SpoolError) {
    let (queue, number, reason) = (files.queue(), files.number(), error_chain(error));
    screen::note(&format!("queue {queue}, segment {number}: it cannot be read: {reason}"));
}

/// Scans a segment; `None` if it was deleted since, because it is delivered.
fn read(files: &SegmentFiles) -> Result<Option<Reader>, SpoolError> {
    match files.read() {
        Err(SpoolError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        reader => reader.map(Some),
    }
}

impl Progress {
    /// The end of the frames that can be printed: the first missing one, unless it has been missing for a while.
    fn advance(&mut self, reader: &Reader) -> u64 {
        let (contiguous, end) = (reader.contiguous_from(self.next), reader.end().max(self.next));
        if contiguous >= end {
            self.missed = 0;
            return contiguous;
        }
        self.missed += 1;
        if self.missed < PATIENCE {
            return contiguous;
        }
        self.missed = 0;
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_of_several_lines_is_set_on_one() {
        assert_eq!(on_one_line("{\n  \"a\": \"b\\n\"\r\n}"), "{   \"a\": \"b\\n\"  }");
    }
}
