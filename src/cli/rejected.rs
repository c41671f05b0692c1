use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::Subcommand;
use serde_json::json;

use super::drain::To;
use super::outcome::{End, Failure, Outcome};
use super::screen::{self, Screen, Table, partition, records, shown};
use super::spool_arg::{OfSignal, Spool};
use super::text::Text;
use super::{survey, time};
use crate::config::values::Signal;
use crate::encode::framing::ResponseProtocol;
use crate::spool::RejectedRecord;
use crate::spool::inspect::{Directory, Kept};
use crate::transport;
use crate::transport::contract::SendError;
use crate::transport::request::{BatchContext, Request};
use crate::transport::verdict::{Judgement, Verdict};

/// List, show, retry and export the records that the endpoint rejected for good
///
/// A record whose file was altered or cannot be read is named on standard error, and neither shown, exported nor sent; the
/// exit code is then 1.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the rejected records, each with the status and the first line of the endpoint's response
    List(Spool),
    /// Show one record: the endpoint's response, and the body of the request; OTLP is shown in JSON
    Show {
        #[command(flatten)]
        spool: Spool,
        /// The id that `list` shows, or its beginning
        #[arg(value_name = "ID")]
        id: String,
        /// Print a line for people for each record of the body, as `cat --pretty` does
        #[arg(long, conflicts_with = "json")]
        pretty: bool,
    },
    /// Retry rejected records, and delete those that are delivered
    ///
    /// Each record is sent alone, or with the batch that was rejected as a whole, under the same `Idempotency-Key`. Exits with 1 if a record is rejected again. Stops and
    /// exits with 3 if the endpoint cannot be reached, or if its response is about the endpoint and not about the record
    /// (overload, credentials, address).
    Retry {
        #[command(flatten)]
        spool: Spool,
        /// The ids that `list` shows, or their beginnings
        #[arg(value_name = "ID", required_unless_present = "all")]
        ids: Vec<String>,
        /// Send all records
        #[arg(long, conflicts_with = "ids")]
        all: bool,
        #[command(flatten)]
        of: OfSignal,
        #[command(flatten)]
        to: Box<To>,
    },
    /// Print all rejected records as JSON, one per line
    ///
    /// They keep the format with which they were logged. If a collector refused them because it takes OTLP, start a relay that sends to
    /// it, `otel-spool relay RELAY_SPOOL --http --to http://collector:4318`, and have it convert them: `otel-spool rejected retry SPOOL
    /// --all --to http://127.0.0.1:9022/`, and `otel-spool drain SPOOL --to http://127.0.0.1:9022/` for those that wait.
    Export {
        /// The directory of the spool
        #[arg(value_name = "SPOOL", value_hint = clap::ValueHint::DirPath)]
        dir: std::path::PathBuf,
    },
}

const EXAMPLES: &str = "\
Examples:
  otel-spool rejected list /var/lib/checkout/spool
  otel-spool rejected show --pretty /var/lib/checkout/spool 0d7f22c0
  otel-spool rejected retry --all /var/lib/checkout/spool
      once the endpoint takes them";

pub(super) fn run(args: Args) -> Outcome {
    match args.command {
        Command::List(spool) => list(&spool),
        Command::Show { spool, id, pretty } => show(&spool, &id, pretty),
        Command::Retry { spool, ids, of, to, .. } => retry(&spool, &ids, of, &to),
        Command::Export { dir } => export(&Spool { dir, json: true }),
    }
}

fn list(spool: &Spool) -> Outcome {
    let (directory, mut screen) = spool.open()?;
    let mut table = Table::new(&["ID", "SIGNAL", "AGE", ">STATUS", ">RECORDS", ">BYTES", "~PARTITION"]);
    let now = SystemTime::now();
    let kept = directory.rejected().read()?;
    for record in &kept.records {
        if screen.json {
            screen.document(&json!({
                "batch_id": record.batch_id,
                "signal": record.signal,
                "rejected_at": time::rfc3339(record.rejected_at),
                "status": record.status,
                "partition": record.partition_key,
                "content_type": record.content_type,
                "records": record.records,
                "inferred": record.inferred,
                "bytes": record.body.len(),
                "response": record.response,
            }))?;
            continue;
        }
        table.row([
            record.batch_id.clone(),
            record.signal.clone(),
            time::age(record.rejected_at, now),
            record.status.to_string(),
            screen::count(record.records),
            screen::short_bytes(Some(record.body.len() as u64)),
            partition(&record.partition_key),
        ]);
        table.note(first_line(&record.response));
    }
    if !screen.json {
        screen.table(&table)?;
    }
    screen.flush()?;
    Ok(end(&kept))
}

/// Names what is damaged: a command that leaves it out is not done with everything.
fn end(kept: &Kept) -> End {
    for file in &kept.damaged {
        screen::note(&format!("{file}: it is left out"));
    }
    if kept.damaged.is_empty() { End::Done } else { End::Wrong }
}

/// The first line of a response.
pub(super) fn first_line(response: &str) -> &str {
    response.trim().lines().next().unwrap_or_default()
}

fn show(spool: &Spool, id: &str, pretty: bool) -> Outcome {
    let (directory, mut screen) = spool.open()?;
    let kept = select(&directory, &[id.to_owned()])?;
    let Some(record) = kept.records.first() else { return Ok(end(&kept)) };
    if screen.json {
        export_one(record, &mut screen)?;
    } else if pretty {
        page(record).iter().try_for_each(|line| screen.line(line))?;
    } else {
        head(record).iter().try_for_each(|line| screen.line(line))?;
        screen.line(&body(record).as_it_is())?;
    }
    screen.flush()?;
    Ok(End::Done)
}

/// What is known of a record but for its body, and an empty line.
fn head(record: &RejectedRecord) -> Vec<String> {
    let known = [
        ("id", record.batch_id.clone()),
        ("signal", record.signal.clone()),
        ("partition", partition(&record.partition_key)),
        ("rejected", time::rfc3339(record.rejected_at)),
        ("status", record.status.to_string()),
        ("response", record.response.trim().to_owned()),
        ("type", record.content_type.clone()),
        ("records", said_records(record)),
    ];
    let lines = known.into_iter().map(|(name, value)| format!("{name:<9}  {value}"));
    lines.chain([String::new()]).collect()
}

fn body(record: &RejectedRecord) -> Text<'_> {
    Text::read(Signal::parse(&record.signal), &record.content_type, record.response_protocol, &record.body)
}

/// A record for people.
pub(super) fn page(record: &RejectedRecord) -> Vec<String> {
    [head(record), body(record).pretty()].concat()
}

/// How many records it is, and how it is known that they were rejected.
fn said_records(record: &RejectedRecord) -> String {
    let inferred = if record.inferred { ", rejected as a whole: some of them were rejected alone" } else { "" };
    format!("{}{inferred}", record.records)
}

fn export(spool: &Spool) -> Outcome {
    let (directory, mut screen) = spool.open()?;
    let kept = directory.rejected().read()?;
    for record in &kept.records {
        export_one(record, &mut screen)?;
    }
    screen.flush()?;
    if kept.records.iter().any(may_be_of_the_wrong_format) {
        screen::note(
            "if they were refused because the endpoint takes OTLP, a relay converts them: otel-spool relay RELAY_SPOOL --http --to \
             http://collector:4318, and then otel-spool rejected retry SPOOL --all --to http://127.0.0.1:9022/",
        );
    }
    Ok(end(&kept))
}

/// Whether a record is no OTLP, and was refused as what cannot be read is.
fn may_be_of_the_wrong_format(record: &RejectedRecord) -> bool {
    record.response_protocol != ResponseProtocol::Otlp && matches!(record.status, 400 | 415)
}

fn export_one(record: &RejectedRecord, screen: &mut Screen) -> std::io::Result<()> {
    screen.raw(&serde_json::to_vec(record)?)
}

/// Those with these ids or beginnings of ids; all if there are no ids.
fn select(directory: &Directory, ids: &[String]) -> Result<Kept, Failure> {
    let kept = directory.rejected().read()?;
    if ids.is_empty() {
        return Ok(kept);
    }
    let all = || {
        let records = kept.records.iter().map(|record| &record.batch_id);
        records.chain(kept.damaged.iter().map(|file| &file.batch_id))
    };
    let mut selected = Vec::new();
    for id in ids {
        let mut found = all().filter(|of| of.starts_with(&**id));
        let exact = all().find(|of| *of == id);
        selected.push(match (exact, found.next(), found.next()) {
            (Some(found), ..) | (None, Some(found), None) => found.clone(),
            (None, None, _) => return Err(Failure::Usage(format!("there is no rejected record {id}"))),
            _ => return Err(Failure::Usage(format!("several rejected records begin with {id}"))),
        });
    }
    let Kept { mut records, mut damaged } = kept;
    records.retain(|record| selected.contains(&record.batch_id));
    damaged.retain(|file| selected.contains(&file.batch_id));
    Ok(Kept { records, damaged })
}

fn retry(spool: &Spool, ids: &[String], of: OfSignal, to: &To) -> Outcome {
    let (directory, mut screen) = spool.open()?;
    let mut kept = select(&directory, ids)?;
    if let Some(signal) = of.signal {
        kept.records.retain(|record| record.signal == signal.name());
    }
    let selected = &kept.records;
    let signals: BTreeSet<_> = selected.iter().map(|record| &*record.signal).collect();
    if signals.len() > 1 {
        let signals = Vec::from_iter(signals).join(", ");
        return Err(Failure::Usage(format!(
            "records of several signals were rejected ({signals}): choose one with --signal"
        )));
    }
    let mut stored = BTreeSet::new();
    // Nothing is known of where records of a signal go that this version does not know.
    if let Some(signal) = signals.first().and_then(|signal| Signal::parse(signal)) {
        for queue in survey::each(&directory, Some(signal))? {
            stored.extend(queue.endpoint().map(Some));
        }
    }
    if selected.is_empty() {
        screen.line("there is nothing to send")?;
        screen.flush()?;
        return Ok(end(&kept));
    }
    let endpoint = to.endpoint(&stored)?;
    let settings = to.transport(&endpoint)?;
    let timeout = settings.timeout.value;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let store = directory.rejected();
    let (mut taken, mut rejected) = (0, 0);
    let stopped: Result<Option<String>, Failure> = runtime.block_on(async {
        let transport = transport::open(settings)?;
        for record in selected {
            let judgement = match transport.deliver(request(record, timeout)).await {
                Ok(judgement) => judgement,
                Err(error) => return Ok(Some(unreachable(&endpoint, error))),
            };
            let is_about_the_record = match &judgement.verdict {
                Verdict::Delivered | Verdict::Unconfirmed => {
                    store.remove(record)?;
                    taken += record.records;
                    true
                }
                Verdict::Rejected
                | Verdict::TooLarge
                | Verdict::DeliveredPartially { .. }
                | Verdict::DeliveredUpTo { rejection: Some(_), .. }
                | Verdict::DeliveredExcept(_) => {
                    rejected += record.records;
                    true
                }
                Verdict::Retry | Verdict::Hold | Verdict::Unreadable | Verdict::DeliveredUpTo { .. } => false,
            };
            say(&mut screen, record, &judgement)?;
            if !is_about_the_record {
                let (endpoint, status) = (shown(&endpoint), judgement.status);
                return Ok(Some(format!("{endpoint} takes no records now: it responded with {status}")));
            }
        }
        Ok(None)
    });
    let left = kept.record_count() - taken - rejected;
    if !screen.json {
        screen.line(&format!("{} delivered, {rejected} rejected again, {left} left", records(taken)))?;
    }
    screen.flush()?;
    let ended = end(&kept);
    Ok(match stopped? {
        Some(reason) => {
            screen::note(&reason);
            End::Left
        }
        None if rejected > 0 => End::Wrong,
        None => ended,
    })
}

/// The request that carries what a file has, as it was and under the same id.
fn request(record: &RejectedRecord, timeout: Duration) -> Request {
    Request {
        context: BatchContext {
            id: record.batch_id.clone(),
            partition_key: record.partition_key.clone(),
            records: usize::try_from(record.records).unwrap_or(usize::MAX),
            bytes: record.body.len(),
            first_timestamp: record.rejected_at,
            last_timestamp: record.rejected_at,
            attempt: 1,
            age: record.rejected_at.elapsed().unwrap_or_default(),
        },
        content_type: record.content_type.clone(),
        content_encoding: None,
        response_protocol: record.response_protocol,
        body: record.body.clone().into(),
        places: Arc::default(),
        timeout,
        counters: Arc::default(),
    }
}

fn unreachable(endpoint: &str, error: SendError) -> String {
    let (SendError::NotSent(reason)
    | SendError::Unreachable(reason)
    | SendError::Interrupted(reason)
    | SendError::TimedOut(reason)) = error;
    format!("{}: {reason}", shown(endpoint))
}

fn say(screen: &mut Screen, record: &RejectedRecord, judgement: &Judgement) -> std::io::Result<()> {
    let (status, text) = (judgement.status, String::from_utf8_lossy(&judgement.response));
    if screen.json {
        return screen.document(&json!({
            "batch_id": record.batch_id,
            "status": status,
            "response": text,
            "delivered": judgement.verdict == Verdict::Delivered,
        }));
    }
    screen.line(format!("{}  {status}  {}", record.batch_id, screen::cut(first_line(&text), 60)).trim_end())
}
