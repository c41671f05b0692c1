use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant, SystemTime};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use serde_json::{Value, json};

use super::outcome::{End, Failure, Outcome};
use super::screen::{self, Screen, Table, Tone, confirm, count, partition, records, short_bytes, shown};
use super::spool_arg::{OfSignal, Spool};
use super::survey::{self, Counted, Surveyed};
use super::time;
use crate::config::values::{
    AdoptFrom, BatchLimits, DEFAULT_DEFER_FOR, Durability, FullPolicy, Method, Pace, RetryPolicy, Signal, Sourced,
    SpoolLimits, Timeouts,
};
use crate::delivery::{Pipeline, PipelineConfig};
use crate::encode::JsonEncoder;
use crate::encode::framing::Framing;
use crate::encode::points::items_of;
use crate::error::{SpoolError, error_chain};
use crate::exporter::gap_record;
use crate::exporter::handle::SpoolHandle;
use crate::observe::stats::SpoolStats;
use crate::spool::inspect::{ByLane, Directory};
use crate::spool::{Coding, GapEncoder, SpoolConfig};
use crate::transport::http::headers::HeaderMap;
use crate::transport::http::settings::HttpSettings;
use crate::transport::settings::TransportSettings;

/// The time between two checks whether everything is delivered.
const LOOK: Duration = Duration::from_millis(50);

/// The time between two lines of progress where there is no terminal.
const SAY: Duration = Duration::from_secs(5);

/// The time that requests in flight have when the command ends early.
const GRACE: Duration = Duration::from_secs(3);

/// The time that a slow disk has to close the spool.
const CLOSING: Duration = Duration::from_secs(60);

/// Deliver the queues of exporters that are gone
///
/// Adopts one queue after another whose owner is gone and sends its records as the exporter would have: in order, with the
/// same ids, retried until the endpoint takes them. Each signal goes to the endpoint that its queues name, all signals at the
/// same time. Queues whose owner is alive are left to the owner. Delivered records are deleted. The command can be interrupted at any time: the rest stays in the spool.
///
/// Run it as the user of the service: files of another user would lock the service out of its spool.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    spool: Spool,
    #[command(flatten)]
    of: OfSignal,
    #[command(flatten)]
    to: To,
    /// The most requests of one partition in flight; more than one gives up the order [default: 1; of spans 8]
    #[arg(long, value_name = "REQUESTS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    max_in_flight: Option<u16>,
    /// Expire records that were logged before this time: RFC 3339, a date, or an age like 2h
    ///
    /// The time of a record is that at which it entered the spool; a request expires when its newest record is older.
    /// Expired records are deleted and not sent. Asks first.
    #[arg(long, value_name = "TIME", value_parser = time::parse_time)]
    since: Option<SystemTime>,
    /// Stop after this time, like 90s or 2h, with exit code 3 if records are left
    #[arg(long = "for", value_name = "DURATION", value_parser = time::parse_duration)]
    patience: Option<Duration>,
    /// Print what would be sent, and send nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

const EXAMPLES: &str = "\
Examples:
  otel-spool drain --dry-run /var/lib/checkout/spool
      what would be sent where
  otel-spool drain --for 10m --header-env Authorization=TOKEN /var/lib/checkout/spool
  otel-spool drain --since 2026-11-27 --to https://logs.example.com/ingest /var/lib/checkout/spool
      to another endpoint, without what was logged before that day";

/// The endpoint of requests, and their headers.
#[derive(Debug, clap::Args)]
pub(super) struct To {
    /// Send to this URL instead of the endpoint that is noted in each queue
    ///
    /// The noted endpoint is the one that the queue was last sent to, without user and password. With this URL, records go there
    /// whichever endpoint they were spooled for.
    #[arg(long = "to", value_name = "URL", value_hint = clap::ValueHint::Url)]
    url: Option<String>,
    /// Add a header to every request. Can be repeated
    #[arg(long, value_name = "NAME:VALUE")]
    header: Vec<String>,
    /// Add a header whose value is in an environment variable, so that no list of processes shows it. Can be repeated
    #[arg(long, value_name = "NAME=VARIABLE")]
    header_env: Vec<String>,
    /// The HTTP method: get sends forms as the query of the URL
    #[arg(long, value_name = "METHOD", value_parser = ["post", "get"], default_value = "post")]
    method: String,
    /// The longest time of a request
    #[arg(long, value_name = "DURATION", value_parser = time::parse_duration, default_value = "10s")]
    timeout: Duration,
    /// Trust the certificate authorities in this PEM file as well
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    ca_cert: Option<PathBuf>,
    /// The client's certificate in PEM, for an endpoint that requires one (mTLS)
    #[arg(long, value_name = "FILE", requires = "key", value_hint = clap::ValueHint::FilePath)]
    cert: Option<PathBuf>,
    /// The private key of --cert, in PEM
    #[arg(long, value_name = "FILE", requires = "cert", value_hint = clap::ValueHint::FilePath)]
    key: Option<PathBuf>,
}

/// Whether all that a response says is shown, as with an exporter.
const RESPONSE_TEXT: &str = "OTEL_EXPORTER_SPOOL_RESPONSE_TEXT";

impl To {
    /// The settings of the transport to this endpoint.
    pub(super) fn transport(&self, endpoint: &str) -> Result<TransportSettings, Failure> {
        let mut headers = HeaderMap::new();
        for (name, value) in self::headers(&self.header, &self.header_env)? {
            headers.insert(name, value)?;
        }
        let http = HttpSettings {
            headers,
            method: if self.method == "get" { Method::Get } else { Method::Post },
            client_identity: self.client_identity()?.map(|pem| Sourced::new(pem.into(), "--key, --cert")),
            root_certificates: self
                .root_certificate()?
                .map(|pem| Sourced::new(pem.into(), "--ca-cert"))
                .into_iter()
                .collect(),
            response_text: std::env::var(RESPONSE_TEXT).is_ok_and(|value| value.trim().eq_ignore_ascii_case("true")),
            ..HttpSettings::default()
        };
        Ok(TransportSettings {
            timeout: Sourced::new(self.timeout, "--timeout"),
            http,
            ..TransportSettings::new(Sourced::new(endpoint.to_owned(), self.source()))
        })
    }

    /// Where the endpoint comes from.
    fn source(&self) -> &'static str {
        if self.url.is_some() { "--to" } else { "the endpoint that the queue names" }
    }

    fn root_certificate(&self) -> Result<Option<Vec<u8>>, SpoolError> {
        self.ca_cert.as_deref().map(read).transpose()
    }

    /// The client's private key and its certificate.
    fn client_identity(&self) -> Result<Option<Vec<u8>>, SpoolError> {
        let (Some(key), Some(certificate)) = (&self.key, &self.cert) else { return Ok(None) };
        Ok(Some([&read(key)?[..], b"\n", &read(certificate)?].concat()))
    }

    /// Whether anything is given that may be meant for one server alone.
    fn is_for_one_server(&self) -> bool {
        let given = !self.header.is_empty() || !self.header_env.is_empty() || self.cert.is_some();
        given || self.ca_cert.is_some() || self.method != "post"
    }

    /// The URL of `--to`, or the one endpoint that all of these were sent to.
    pub(super) fn endpoint(&self, stored: &BTreeSet<Option<String>>) -> Result<String, Failure> {
        if let Some(url) = &self.url {
            return Ok(url.clone());
        }
        let mut known = stored.iter();
        match (known.next(), known.next()) {
            (Some(Some(endpoint)), None) => Ok(endpoint.clone()),
            (None | Some(None), None) => {
                Err(Failure::Usage("the queue does not name its endpoint: give --to URL".into()))
            }
            _ => {
                let name = |endpoint: &Option<String>| endpoint.as_deref().map_or("unknown".to_owned(), shown);
                let names: Vec<_> = stored.iter().map(name).collect();
                Err(Failure::Usage(format!(
                    "the queues were sent to different endpoints ({}): give --to URL, to which all of them go then",
                    names.join(", ")
                )))
            }
        }
    }
}

/// The names and values of headers that are given as `NAME:VALUE` and as `NAME=VARIABLE`. An error never shows a value.
pub(super) fn headers(given: &[String], from_env: &[String]) -> Result<Vec<(String, String)>, Failure> {
    let given = given.iter().map(|text| {
        let (name, value) = text.split_once(':')?;
        Some((name.trim().to_owned(), value.trim().to_owned()))
    });
    let given = given.map(|header| header.ok_or_else(|| "a --header is NAME:VALUE".to_owned()));
    let from_env = from_env.iter().map(|text| {
        let (name, variable) = text.split_once('=').ok_or("a --header-env is NAME=VARIABLE")?;
        let value = std::env::var(variable)
            .map_err(|_| format!("the environment variable {variable} is not set, or is not text"))?;
        Ok((name.trim().to_owned(), value.trim().to_owned()))
    });
    given.chain(from_env).collect::<Result<_, _>>().map_err(Failure::Usage)
}

fn read(path: &Path) -> Result<Vec<u8>, SpoolError> {
    std::fs::read(path).map_err(|source| SpoolError::Io { action: "read", path: path.to_owned(), source })
}

/// Scheme, host and port of a URL.
fn server_of(url: &str) -> String {
    url.parse::<http::Uri>().map_or_else(
        |_| url.to_owned(),
        |url| format!("{}://{}", url.scheme_str().unwrap_or_default(), url.authority().map_or("", |of| of.as_str())),
    )
}

/// The requests of one partition.
struct Row {
    queue: String,
    signal: Signal,
    partition: String,
    content_type: BTreeSet<String>,
    requests: u64,
    records: u64,
    bytes: u64,
    expired: u64,
}

impl Row {
    fn new(queue: &str, signal: Signal, partition: &str) -> Self {
        Self {
            queue: queue.to_owned(),
            signal,
            partition: partition.to_owned(),
            content_type: BTreeSet::new(),
            requests: 0,
            records: 0,
            bytes: 0,
            expired: 0,
        }
    }
}

/// Where the records of a signal go.
struct Target {
    endpoint: String,
    /// Losses are reported in the stream.
    reports_losses: bool,
}

/// Whether the records of a segment are in the default encoder's format.
fn is_default(segment: &Counted) -> bool {
    let reader = segment.files.read();
    let entry = reader.as_ref().ok().and_then(|reader| reader.entries(0..reader.end()).flatten().flatten().next());
    entry.is_some_and(|entry| {
        let framing = Framing::json_array();
        let first = entry.records().next().and_then(|(_, record)| serde_json::from_slice::<Value>(&record).ok());
        entry.content_type() == framing.content_type()
            && entry.opens_with(framing.open())
            && first
                .is_some_and(|first| ["type", "created", "message", "level"].iter().all(|key| first.get(key).is_some()))
    })
}

/// The records of one signal that wait in the queues whose owner is gone.
#[derive(Default)]
struct Waiting {
    records: u64,
    endpoints: BTreeSet<Option<String>>,
    /// Some records are not in the default encoder's format.
    foreign: bool,
}

/// The records that wait in the queues whose owner is gone, and the records of the others.
#[derive(Default)]
struct Survey {
    /// The signals of which something waits.
    signals: BTreeMap<Signal, Waiting>,
    rows: Vec<Row>,
    alive: Vec<(String, u64)>,
}

impl Survey {
    /// `exactly` reads every segment.
    fn of(
        directory: &Directory,
        signal: Option<Signal>,
        since: Option<SystemTime>,
        exactly: bool,
    ) -> Result<Self, SpoolError> {
        let mut survey = Self::default();
        for queue in survey::each(directory, signal)? {
            if queue.is_owned() {
                let queue = Surveyed::new(queue, &ByLane::default())?;
                survey.alive.push((queue.queue.id(), queue.waiting()));
                continue;
            }
            let queue = Surveyed::new(queue, &ByLane::default())?;
            if queue.waiting() == 0 {
                continue;
            }
            let of_signal = survey.signals.entry(queue.queue.signal()).or_default();
            of_signal.records += queue.waiting();
            of_signal.endpoints.insert(queue.queue.endpoint());
            of_signal.foreign |= !queue.segments.iter().filter(|segment| segment.waiting() > 0).take(1).all(is_default);
            if exactly {
                survey.plan(&queue, since)?;
            }
        }
        Ok(survey)
    }

    fn plan(&mut self, queue: &Surveyed, since: Option<SystemTime>) -> Result<(), SpoolError> {
        let (id, signal, delivered) = (queue.queue.id(), queue.queue.signal(), &queue.delivered);
        let begin = self.rows.len();
        for segment in &queue.segments {
            if segment.waiting() == 0 {
                continue;
            }
            let reader = match segment.files.read() {
                Ok(reader) => reader,
                Err(error) => {
                    let (number, reason) = (segment.files.number(), error_chain(&error));
                    screen::note(&format!("queue {id}, segment {number}: it cannot be read: {reason}"));
                    continue;
                }
            };
            for lane in segment.lanes.iter().map(|counted| &counted.lane) {
                let at = self.rows[begin..].iter().position(|row| *row.partition == *lane.key);
                let at = begin
                    + at.unwrap_or_else(|| {
                        self.rows.push(Row::new(&id, signal, &lane.key));
                        self.rows.len() - 1 - begin
                    });
                let row = &mut self.rows[at];
                reader.plan(lane, delivered, |batch| {
                    if since.is_some_and(|since| batch.last_appended_at < since) {
                        row.expired += batch.records;
                    } else {
                        row.requests += 1;
                        row.records += batch.records;
                        row.bytes += batch.bytes;
                    }
                    row.content_type.insert(batch.content_type);
                })?;
            }
        }
        self.rows.retain(|row| row.records + row.expired > 0);
        Ok(())
    }

    /// How many records wait of the signals that are to be delivered.
    fn waiting(&self, targets: &BTreeMap<Signal, Target>) -> u64 {
        let of_targets = self.signals.iter().filter(|(signal, _)| targets.contains_key(signal));
        of_targets.map(|(_, waiting)| waiting.records).sum()
    }

    /// Where the records of each signal go.
    fn targets(&self, to: &To) -> Result<BTreeMap<Signal, Target>, Failure> {
        if to.url.is_some() && self.signals.len() > 1 {
            let signals: Vec<_> = self.signals.keys().map(|signal| signal.name()).collect();
            return Err(Failure::Usage(format!(
                "records of several signals wait ({}), and --to URL takes those of one: choose it with --signal",
                signals.join(", ")
            )));
        }
        let target = |(signal, waiting): (&Signal, &Waiting)| {
            let endpoint = to.endpoint(&waiting.endpoints)?;
            // A loss is reported by a log record.
            Ok((*signal, Target { endpoint, reports_losses: *signal == Signal::Logs && !waiting.foreign }))
        };
        let targets: BTreeMap<_, _> = self.signals.iter().map(target).collect::<Result<_, Failure>>()?;
        let servers: BTreeSet<_> = targets.values().map(|target| server_of(&target.endpoint)).collect();
        if servers.len() > 1 && to.is_for_one_server() {
            return Err(Failure::Usage(
                "the signals go to several servers, and headers, certificates and a method are for one: choose a signal \
                 with --signal"
                    .to_owned(),
            ));
        }
        Ok(targets)
    }

    fn expired(&self) -> u64 {
        self.rows.iter().map(|row| row.expired).sum()
    }

    fn show(&self, targets: &BTreeMap<Signal, Target>, screen: &mut Screen) -> io::Result<()> {
        if screen.json {
            let rows = self.rows.iter().map(|row| {
                json!({
                    "queue": row.queue,
                    "signal": row.signal.name(),
                    "partition": row.partition,
                    "content_type": row.content_type,
                    "requests": row.requests,
                    "records": row.records,
                    "bytes": row.bytes,
                    "expired_records": row.expired,
                })
            });
            let endpoints =
                targets.iter().map(|(signal, target)| (signal.name().to_owned(), shown(&target.endpoint).into()));
            let endpoints: serde_json::Map<_, _> = endpoints.collect();
            return screen.document(&json!({ "endpoints": endpoints, "partitions": rows.collect::<Vec<_>>() }));
        }
        let columns = &["QUEUE", "SIGNAL", "~PARTITION", ">REQUESTS", ">RECORDS", ">BYTES", ">EXPIRED"];
        let shown_columns = if self.expired() > 0 { columns.len() } else { columns.len() - 1 };
        let mut table = Table::new(&columns[..shown_columns]);
        for row in &self.rows {
            let [requests, records, expired] = [row.requests, row.records, row.expired].map(count);
            let of = [row.queue.clone(), row.signal.to_string(), partition(&row.partition)];
            let bytes = short_bytes(Some(row.bytes));
            table.row(of.into_iter().chain([requests, records, bytes, expired]).take(shown_columns));
        }
        screen.table(&table)?;
        for (signal, Target { endpoint, .. }) in targets {
            let rows = || self.rows.iter().filter(|row| row.signal == *signal);
            let requests = screen::counted(rows().map(|row| row.requests).sum(), "request", "requests");
            let (records, endpoint) = (records(rows().map(|row| row.records).sum()), shown(endpoint));
            let types: BTreeSet<_> = rows().flat_map(|row| &row.content_type).map(String::as_str).collect();
            let types = Vec::from_iter(types).join(", ");
            let text = format!("{requests} with {records} of {signal} ({types}) would be sent to {endpoint}");
            screen.paragraph(&text, Tone::Plain)?;
        }
        Ok(())
    }
}

pub(super) fn run(args: &Args) -> Outcome {
    let (directory, mut screen) = args.spool.open()?;
    survey::unknown(&directory, args.of.signal)?;
    let survey = Survey::of(&directory, args.of.signal, args.since, args.dry_run || args.since.is_some())?;
    for (id, number) in &survey.alive {
        let in_it = records(*number);
        screen::note(&format!("queue {id}: its owner is alive and delivers it itself: it is skipped ({in_it} in it)"));
    }
    if survey.signals.is_empty() {
        if !survey.alive.is_empty() {
            return Err(Failure::InUse(
                "there is nothing to deliver: every queue with records has a living owner".to_owned(),
            ));
        }
        if screen.json {
            return report(&mut screen, &SpoolStats::default(), 0);
        }
        screen.line("there is nothing to deliver")?;
        screen.flush()?;
        return Ok(End::Done);
    }
    let targets = survey.targets(&args.to)?;
    if args.dry_run {
        survey.show(&targets, &mut screen)?;
        screen.flush()?;
        return Ok(End::Done);
    }
    check_user(&args.spool.dir)?;
    if survey.expired() > 0 {
        confirm(&format!("expire {} for good", records(survey.expired())), args.yes)?;
    }
    let mut left = survey.waiting(&targets);
    let mut progress = Progress::new(left, args.patience);
    let interrupted = watch_signals();
    let ended = loop {
        let ended = drain_once(args, &targets, &mut progress, &interrupted)?;
        let waiting = Survey::of(&directory, args.of.signal, None, false)?.waiting(&targets);
        let before = std::mem::replace(&mut left, waiting);
        // Gap records may have come too late for this round, or another owner may be gone by now.
        if ended != Ended::Delivered || left == 0 || left == before {
            break ended;
        }
    };
    let stats = progress.finish();
    let why = match ended {
        Ended::Delivered => "not everything could be delivered",
        Ended::TimeUp => "the time is up",
        Ended::Interrupted => "interrupted",
        Ended::Failing => "a queue could not be opened",
    };
    if left > 0 {
        let reason = stats.last_error.as_ref().map(|reason| format!("; the last error: {reason}")).unwrap_or_default();
        screen::note(&format!("{why}: {} in the spool{reason}", stays(left)));
    }
    report(&mut screen, &stats, left)
}

/// Delivers the queues whose owners are gone when this begins, or a little later: those of each signal by a pipeline of their
/// own.
fn drain_once(
    args: &Args,
    targets: &BTreeMap<Signal, Target>,
    progress: &mut Progress,
    interrupted: &AtomicBool,
) -> Result<Ended, Failure> {
    let mut pipelines = Vec::new();
    let started = targets.iter().try_for_each(|(signal, target)| {
        pipelines.push(start(args, *signal, target)?);
        Ok::<_, Failure>(())
    });
    let ended = started.map(|()| deliver(&pipelines, progress, interrupted));
    if !matches!(ended, Ok(Ended::Delivered)) {
        // Requests in flight may finish; no other begins.
        for pipeline in &pipelines {
            SpoolHandle::new(pipeline).pause();
        }
    }
    for pipeline in &pipelines {
        if !pipeline.stop(GRACE) {
            pipeline.abort(CLOSING);
        }
        progress.add(&SpoolHandle::new(pipeline).stats());
    }
    ended
}

fn start(args: &Args, signal: Signal, target: &Target) -> Result<Pipeline, Failure> {
    Ok(Pipeline::start(PipelineConfig {
        spool: SpoolConfig {
            dir: args.spool.dir.clone(),
            signal,
            durability: Durability::Sync,
            coding: Coding::Lz4,
            segment_bytes: 1 << 20,
            batch: BatchLimits::default(),
            // The spool is a service's: nothing in it is evicted, and nothing but gap records is added.
            limits: SpoolLimits {
                max_bytes: u64::MAX,
                max_rejected_bytes: u64::MAX,
                when_full: FullPolicy::RejectNew,
                not_before: args.since,
                ..SpoolLimits::default()
            },
            endpoint: None,
            origin: crate::transport::origin(&target.endpoint),
            // Who names an endpoint names it for all that is there.
            adopt_from: if args.to.url.is_some() { AdoptFrom::Any } else { AdoptFrom::OWN },
        },
        transport: args.to.transport(&target.endpoint)?,
        pace: Pace {
            retry: retry_policy(),
            // Nobody is owed an order of spans.
            max_in_flight: args.max_in_flight.unwrap_or(if signal == Signal::Traces { 8 } else { 1 }),
            // A receiver refuses a point that is older than its stream's newest.
            strict_order: signal == Signal::Metrics,
            backlog_share: None,
            defer_for: DEFAULT_DEFER_FOR,
            timeouts: Timeouts { first: args.to.timeout, max: Timeouts::default().max.max(args.to.timeout) },
        },
        count_items: items_of(signal),
        gap_encoder: gap_encoder(target.reports_losses),
        on_event: None,
        #[cfg(feature = "self-metrics")]
        self_metrics: None,
    })?)
}

fn stays(number: u64) -> String {
    format!("{} {}", records(number), if number == 1 { "stays" } else { "stay" })
}

fn report(screen: &mut Screen, stats: &SpoolStats, left: u64) -> Outcome {
    let SpoolStats { delivered_records, rejected_records, expired_records, corrupt_records, requests, .. } = *stats;
    if screen.json {
        screen.document(&json!({
            "delivered_records": delivered_records,
            "rejected_records": rejected_records,
            "expired_records": expired_records,
            "corrupt_records": corrupt_records,
            "left_records": left,
            "requests": requests,
            "failed_requests": stats.failed_requests,
            "last_error": stats.last_error.as_ref().map_or(Value::Null, |error| json!(error)),
        }))?;
    } else {
        let mut line =
            format!("{} delivered in {}", records(delivered_records), screen::counted(requests, "request", "requests"));
        for (number, what) in [
            (rejected_records, "rejected for good (run `otel-spool rejected list`)"),
            (expired_records, "expired"),
            (corrupt_records, "corrupt"),
            (left, "left"),
        ] {
            if number > 0 {
                line = format!("{line}, {} {what}", count(number));
            }
        }
        screen.line(&line)?;
    }
    screen.flush()?;
    Ok(match (left, rejected_records + corrupt_records) {
        (1.., _) => End::Left,
        (_, 1..) => End::Wrong,
        _ => End::Done,
    })
}

/// Shorter delays than a service has: a person waits for the command.
fn retry_policy() -> RetryPolicy {
    RetryPolicy { max_delay: Duration::from_secs(10), ..RetryPolicy::default() }
}

/// Refuses to run as another user than the spool's: files of another user would lock the service out of its spool.
pub(super) fn check_user(dir: &Path) -> Result<(), Failure> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        // Only Linux has this file; elsewhere the user is not checked.
        let me = std::fs::metadata("/proc/self").map(|meta| meta.uid());
        let owner = std::fs::metadata(dir).map(|meta| meta.uid());
        if let (Ok(me), Ok(owner)) = (me, owner)
            && me != owner
        {
            let dir = dir.display();
            return Err(Failure::Refused(format!("{dir} belongs to user {owner}: run this as that user, not as {me}")));
        }
    }
    #[cfg(not(unix))]
    let _ = dir;
    Ok(())
}

/// Reports losses in the stream where that is of logs in the default encoder's format, also those of other signals that are
/// drained beside it; elsewhere only the output reports them.
fn gap_encoder(reports_losses: bool) -> Option<Arc<GapEncoder>> {
    reports_losses.then(|| gap_record::gap_encoder(Arc::new(RwLock::new(Box::new(JsonEncoder::default())))))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Delivered,
    TimeUp,
    Interrupted,
    Failing,
}

fn deliver(pipelines: &[Pipeline], progress: &mut Progress, interrupted: &AtomicBool) -> Ended {
    // How a pipeline has ended, if it has.
    let end_of = |pipeline: &Pipeline| match pipeline.spool().upgrade() {
        Some(spool) if spool.is_idle() && spool.has_nothing_to_adopt() => Some(Ended::Delivered),
        Some(spool) if spool.is_idle() && spool.is_adoption_failing() => Some(Ended::Failing),
        Some(_) => None,
        None => Some(Ended::Failing),
    };
    loop {
        progress.show(pipelines);
        if let Some(ends) = pipelines.iter().map(end_of).collect::<Option<Vec<_>>>() {
            let is_failing = ends.contains(&Ended::Failing);
            break if is_failing { Ended::Failing } else { Ended::Delivered };
        }
        if progress.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            break Ended::TimeUp;
        }
        if interrupted.load(Ordering::Relaxed) {
            break Ended::Interrupted;
        }
        std::thread::sleep(LOOK);
    }
}

/// Whether there was a signal to end. A second one ends the process at once, as a kill would.
fn watch_signals() -> Arc<AtomicBool> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    let watch = move || -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut signals = Signals::new()?;
            signals.next().await?;
            flag.store(true, Ordering::Relaxed);
            screen::note("interrupted: requests in flight may finish; a second interrupt stops at once");
            signals.next().await?;
            screen::note("interrupted again: undelivered records stay in the spool");
            std::process::exit(3)
        })
    };
    // Where signals cannot be watched, the first one ends it at once.
    let _ = std::thread::Builder::new().name("signals".to_owned()).spawn(watch);
    interrupted
}

/// Whether there was a signal to end, for who ends at the first one and says nothing.
pub(super) fn watch_for_end() -> Arc<AtomicBool> {
    let ended = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&ended);
    let watch = || -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // From here on a signal ends nothing by itself.
        let mut signals = runtime.block_on(async { Signals::new() })?;
        let wait = move || flag.store(runtime.block_on(signals.next()).is_ok(), Ordering::Relaxed);
        std::thread::Builder::new().name("signals".to_owned()).spawn(wait).map(drop)
    };
    // Where signals cannot be watched, they end it at once.
    let _ = watch();
    ended
}

/// Ctrl-C and SIGTERM.
#[cfg(unix)]
struct Signals(tokio::signal::unix::Signal, tokio::signal::unix::Signal);

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self(signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?))
    }

    async fn next(&mut self) -> io::Result<()> {
        tokio::select! {
            _ = self.0.recv() => Ok(()),
            _ = self.1.recv() => Ok(()),
        }
    }
}

/// Ctrl-C.
#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> io::Result<()> {
        tokio::signal::ctrl_c().await
    }
}

fn rate(state: &ProgressState, out: &mut dyn std::fmt::Write) {
    #[expect(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "a whole number is enough")]
    let rate = state.per_sec() as u64;
    // Writing to a string does not fail.
    let _ = write!(out, "{}/s", count(rate));
}

/// The progress: a bar on a terminal, else a line now and then.
struct Progress {
    bar: Option<ProgressBar>,
    waiting: u64,
    deadline: Option<Instant>,
    begun: Instant,
    said: Instant,
    /// The counts of the exporters that are shut down.
    done: SpoolStats,
}

impl Progress {
    fn new(waiting: u64, patience: Option<Duration>) -> Self {
        const BAR: &str = "{wide_bar} {human_pos} of {human_len} records, {rate}, {eta} left {msg}";
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template(BAR).unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(waiting).with_style(style.with_key("rate", rate))
        });
        let now = Instant::now();
        let deadline = patience.and_then(|patience| now.checked_add(patience));
        Self { bar, waiting, deadline, begun: now, said: now, done: SpoolStats::default() }
    }

    fn add(&mut self, stats: &SpoolStats) {
        let done = &mut self.done;
        done.delivered_records += stats.delivered_records;
        done.rejected_records += stats.rejected_records;
        done.expired_records += stats.expired_records;
        done.corrupt_records += stats.corrupt_records;
        done.requests += stats.requests;
        done.failed_requests += stats.failed_requests;
        done.last_error = stats.last_error.clone().or(done.last_error.take());
    }

    fn show(&mut self, pipelines: &[Pipeline]) {
        let of = |stats: &SpoolStats| {
            stats.delivered_records + stats.rejected_records + stats.expired_records + stats.corrupt_records
        };
        let stats: Vec<_> = pipelines.iter().map(|pipeline| SpoolHandle::new(pipeline).stats()).collect();
        let done = of(&self.done) + stats.iter().map(of).sum::<u64>();
        let reason = stats.into_iter().find_map(|stats| stats.last_error).unwrap_or_default();
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            bar.set_message(reason);
            return;
        }
        if self.said.elapsed() < SAY {
            return;
        }
        self.said = Instant::now();
        let millis = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        let rate = done.saturating_mul(1000) / millis;
        let left = match self.waiting.saturating_sub(done).checked_div(rate) {
            Some(left) => format!("{} left", time::rough(Duration::from_secs(left))),
            None => "no progress yet".to_owned(),
        };
        let reason = if reason.is_empty() { String::new() } else { format!("; {reason}") };
        let (done, all) = (count(done), records(self.waiting));
        screen::note(&format!("{done} of {all}, {} records/s, {left}{reason}", count(rate)));
    }

    fn finish(self) -> SpoolStats {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.done
    }
}
