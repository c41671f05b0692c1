use std::collections::BTreeSet;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant, SystemTime};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use serde_json::{Value, json};

use super::screen::{self, Screen, Table, bytes, confirm, count, partition, records};
use super::survey::{Counted, Surveyed};
use super::{End, Failure, Outcome, Spool, time};
use crate::config::values::{BatchLimits, Durability, FullPolicy, Method, Pace, RetryPolicy, Sourced, SpoolLimits};
use crate::delivery::{Pipeline, PipelineConfig};
use crate::encode::JsonEncoder;
use crate::encode::framing::Framing;
use crate::error::SpoolError;
use crate::exporter::gap_record;
use crate::exporter::handle::SpoolHandle;
use crate::observe::stats::SpoolStats;
use crate::spool::inspect::Directory;
use crate::spool::{Coding, GapEncoder, SpoolConfig};
use crate::transport::http::headers::HeaderMap;
use crate::transport::http::public_url;
use crate::transport::http::settings::HttpSettings;
use crate::transport::settings::TransportSettings;

/// How often it is looked whether all is delivered.
const LOOK: Duration = Duration::from_millis(50);

/// How often it is said how far it is where there is no terminal.
const SAY: Duration = Duration::from_secs(5);

/// How long requests that are under way may take when it ends early.
const GRACE: Duration = Duration::from_secs(3);

/// How long a slow disk may take to close what was opened.
const CLOSING: Duration = Duration::from_secs(60);

/// Deliver what exporters that are gone have left
///
/// Takes over queue after queue whose owner is gone and sends what waits in it, as the exporter would have: in order, with
/// the same ids, again and again until the endpoint takes it. Queues whose owner is alive are left to it. What is delivered
/// is deleted. It can be broken off at any time: what is left stays in the spool.
///
/// Run it as the user of the service: files of another one would keep the service from its spool.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    spool: Spool,
    #[command(flatten)]
    to: To,
    /// How many requests of one partition may be under way; more than one does not keep the order
    #[arg(long, value_name = "REQUESTS", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    max_in_flight: u16,
    /// Give up what was logged before this time: RFC 3339, or how long ago, like 2h
    ///
    /// It goes by when a record came into the spool, and a request is given up when the newest of its records is older.
    /// Asks first.
    #[arg(long, value_name = "TIME", value_parser = time::parse_time)]
    since: Option<SystemTime>,
    /// Stop after so long, like 90s or 2h, with exit code 3 if something is left
    #[arg(long = "for", value_name = "DURATION", value_parser = time::parse_duration)]
    patience: Option<Duration>,
    /// Say what would be sent, and send nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Where requests go, and with what.
#[derive(Debug, clap::Args)]
pub(super) struct To {
    /// Where to send it to, in place of the endpoint that the queues were sent to last
    ///
    /// That is noted in each queue, but without the user and password that it may have.
    #[arg(long = "to", value_name = "URL", value_hint = clap::ValueHint::Url)]
    url: Option<String>,
    /// A header of every request. Can be repeated
    #[arg(long, value_name = "NAME:VALUE")]
    header: Vec<String>,
    /// A header whose value is in an environment variable, so that it is in no list of processes. Can be repeated
    #[arg(long, value_name = "NAME=VARIABLE")]
    header_env: Vec<String>,
    /// With which method requests are made: get sends forms as the query of the URL
    #[arg(long, value_name = "METHOD", value_parser = ["post", "get"], default_value = "post")]
    method: String,
    /// How long a request may take
    #[arg(long, value_name = "DURATION", value_parser = time::parse_duration, default_value = "10s")]
    timeout: Duration,
    /// Trust the certificate authorities in this file too, in PEM
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    ca_cert: Option<PathBuf>,
    /// The client's certificate for an endpoint that asks for one, in PEM
    #[arg(long, value_name = "FILE", requires = "key", value_hint = clap::ValueHint::FilePath)]
    cert: Option<PathBuf>,
    /// The private key of --cert, in PEM
    #[arg(long, value_name = "FILE", requires = "cert", value_hint = clap::ValueHint::FilePath)]
    key: Option<PathBuf>,
}

impl To {
    /// Names and values. What is wrong is told without the value.
    fn headers(&self) -> Result<Vec<(String, String)>, Failure> {
        let given = self.header.iter().map(|text| {
            let (name, value) = text.split_once(':')?;
            Some((name.trim().to_owned(), value.trim().to_owned()))
        });
        let given = given.map(|header| header.ok_or_else(|| "a --header is NAME:VALUE".to_owned()));
        let from_env = self.header_env.iter().map(|text| {
            let (name, variable) = text.split_once('=').ok_or("a --header-env is NAME=VARIABLE")?;
            let value = std::env::var(variable).map_err(|_| format!("the environment has no text in {variable}"))?;
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        });
        given.chain(from_env).collect::<Result<_, _>>().map_err(Failure::Usage)
    }

    /// The settings of the transport to this endpoint.
    pub(super) fn transport(&self, endpoint: &str) -> Result<TransportSettings, Failure> {
        let mut headers = HeaderMap::new();
        for (name, value) in self.headers()? {
            headers.insert(name, value)?;
        }
        let http = HttpSettings {
            headers,
            method: if self.method == "get" { Method::Get } else { Method::Post },
            client_identity: self.client_identity()?.map(|pem| Sourced::new(pem, "--key, --cert")),
            root_certificates: self.root_certificate()?.map(|pem| Sourced::new(pem, "--ca-cert")).into_iter().collect(),
            ..HttpSettings::default()
        };
        Ok(TransportSettings {
            timeout: Sourced::new(self.timeout, "--timeout"),
            http,
            ..TransportSettings::new(Sourced::new(endpoint.to_owned(), "--to"))
        })
    }

    fn root_certificate(&self) -> Result<Option<Vec<u8>>, SpoolError> {
        self.ca_cert.as_deref().map(read).transpose()
    }

    /// The client's private key and its certificate.
    fn client_identity(&self) -> Result<Option<Vec<u8>>, SpoolError> {
        let (Some(key), Some(certificate)) = (&self.key, &self.cert) else { return Ok(None) };
        Ok(Some([&read(key)?[..], b"\n", &read(certificate)?].concat()))
    }

    /// The URL that was given, or the one that all of these were sent to.
    pub(super) fn endpoint(&self, stored: &BTreeSet<Option<String>>) -> Result<String, Failure> {
        if let Some(url) = &self.url {
            return Ok(url.clone());
        }
        let mut known = stored.iter();
        match (known.next(), known.next()) {
            (Some(Some(endpoint)), None) => Ok(endpoint.clone()),
            (None | Some(None), None) => {
                Err(Failure::Usage("it is not known where this was sent to: give --to URL".into()))
            }
            _ => {
                let name = |endpoint: &Option<String>| endpoint.as_deref().map_or("unknown".to_owned(), shown);
                let names: Vec<_> = stored.iter().map(name).collect();
                Err(Failure::Usage(format!(
                    "the queues were sent to different endpoints ({}): give --to URL",
                    names.join(", ")
                )))
            }
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, SpoolError> {
    std::fs::read(path).map_err(|source| SpoolError::Io { action: "read", path: path.to_owned(), source })
}

/// A URL without what may be secret in it.
pub(super) fn shown(url: &str) -> String {
    let url = public_url(url).unwrap_or_else(|| "an invalid URL".to_owned());
    match url.split_once(['?', '#']) {
        Some((url, _)) => format!("{url}?..."),
        None => url,
    }
}

/// What would be sent of one partition.
#[derive(Default)]
struct Row {
    queue: String,
    partition: String,
    content_type: BTreeSet<String>,
    requests: u64,
    records: u64,
    bytes: u64,
    given_up: u64,
}

/// Whether what is in a segment is as the default encoder writes it.
fn is_default(segment: &Counted) -> bool {
    let reader = segment.files.read();
    let entry = reader.as_ref().ok().and_then(|reader| reader.entries(0..reader.end()).flatten().flatten().next());
    entry.is_some_and(|entry| {
        let framing = Framing::json_array();
        let first = entry.records().next().and_then(|(_, record)| serde_json::from_slice::<Value>(record).ok());
        entry.content_type() == framing.content_type()
            && entry.opens_with(framing.open())
            && first
                .is_some_and(|first| ["type", "created", "message", "level"].iter().all(|key| first.get(key).is_some()))
    })
}

/// What waits in the queues whose owner is gone, and what is in the others.
#[derive(Default)]
struct Survey {
    waiting: u64,
    endpoints: BTreeSet<Option<String>>,
    rows: Vec<Row>,
    /// Some of it is not in the format of the default encoder.
    foreign: bool,
    alive: Vec<(String, u64)>,
}

impl Survey {
    /// `exactly` takes reading all of it.
    fn of(directory: &Directory, since: Option<SystemTime>, exactly: bool) -> Result<Self, SpoolError> {
        let mut survey = Self::default();
        for queue in directory.queues()? {
            let queue = queue?;
            if queue.is_owned() {
                let mut records = 0;
                for segment in queue.segments()? {
                    records += segment.lanes()?.iter().map(|lane| lane.records).sum::<u64>();
                }
                survey.alive.push((queue.id(), records));
                continue;
            }
            let queue = Surveyed::new(queue)?;
            if queue.waiting() == 0 {
                continue;
            }
            survey.waiting += queue.waiting();
            survey.endpoints.insert(queue.queue.endpoint());
            survey.foreign |= !queue.segments.iter().filter(|segment| segment.waiting() > 0).take(1).all(is_default);
            if exactly {
                survey.plan(&queue, since)?;
            }
        }
        Ok(survey)
    }

    fn plan(&mut self, queue: &Surveyed, since: Option<SystemTime>) -> Result<(), SpoolError> {
        let none = crate::spool::inspect::Delivered::default();
        let (id, delivered) = (queue.queue.id(), queue.delivered.as_ref().unwrap_or(&none));
        let begin = self.rows.len();
        for segment in &queue.segments {
            if segment.waiting() == 0 {
                continue;
            }
            let reader = segment.files.read()?;
            for lane in &segment.lanes {
                let at = self.rows[begin..].iter().position(|row| *row.partition == *lane.key);
                let at = begin
                    + at.unwrap_or_else(|| {
                        self.rows.push(Row { queue: id.clone(), partition: lane.key.to_string(), ..Row::default() });
                        self.rows.len() - 1 - begin
                    });
                let row = &mut self.rows[at];
                reader.plan(lane, delivered, |batch| {
                    if since.is_some_and(|since| batch.last_appended_at < since) {
                        row.given_up += batch.records;
                    } else {
                        row.requests += 1;
                        row.records += batch.records;
                        row.bytes += batch.bytes;
                    }
                    row.content_type.insert(batch.content_type);
                })?;
            }
        }
        self.rows.retain(|row| row.records + row.given_up > 0);
        Ok(())
    }

    fn given_up(&self) -> u64 {
        self.rows.iter().map(|row| row.given_up).sum()
    }

    fn show(&self, endpoint: &str, screen: &mut Screen) -> io::Result<()> {
        if screen.json {
            let rows = self.rows.iter().map(|row| {
                json!({
                    "queue": row.queue,
                    "partition": row.partition,
                    "content_type": row.content_type,
                    "requests": row.requests,
                    "records": row.records,
                    "bytes": row.bytes,
                    "given_up_records": row.given_up,
                })
            });
            return screen.document(&json!({ "endpoint": shown(endpoint), "partitions": rows.collect::<Vec<_>>() }));
        }
        let columns = &["QUEUE", "PARTITION", "CONTENT TYPE", ">REQUESTS", ">RECORDS", ">BYTES", ">GIVEN UP"];
        let shown_columns = if self.given_up() > 0 { columns.len() } else { columns.len() - 1 };
        let mut table = Table::new(&columns[..shown_columns]);
        for row in &self.rows {
            let types: Vec<_> = row.content_type.iter().cloned().collect();
            let [requests, records, given_up] = [row.requests, row.records, row.given_up].map(count);
            let of = [row.queue.clone(), partition(&row.partition), types.join(" ")];
            table.row(of.into_iter().chain([requests, records, bytes(row.bytes), given_up]).take(shown_columns));
        }
        screen.table(&table)?;
        let sum = |of: fn(&Row) -> u64| self.rows.iter().map(of).sum::<u64>();
        screen.line(&format!(
            "{} with {} would be sent to {}",
            screen::counted(sum(|row| row.requests), "request", "requests"),
            records(sum(|row| row.records)),
            shown(endpoint)
        ))
    }
}

pub(super) fn run(args: &Args) -> Outcome {
    let (directory, mut screen) = args.spool.open()?;
    let survey = Survey::of(&directory, args.since, args.dry_run || args.since.is_some())?;
    for (id, number) in &survey.alive {
        let in_it = records(*number);
        screen::note(&format!(
            "queue {id}: its owner is alive and delivers it itself: it is left ({in_it} in it, delivered or not)"
        ));
    }
    if survey.waiting == 0 {
        if !survey.alive.is_empty() {
            return Err(Failure::InUse("there is nothing to deliver but what owners that are alive have".to_owned()));
        }
        if screen.json {
            return report(&mut screen, &SpoolStats::default(), 0);
        }
        screen.line("there is nothing to deliver")?;
        screen.flush()?;
        return Ok(End::Done);
    }
    let endpoint = args.to.endpoint(&survey.endpoints)?;
    if args.dry_run {
        survey.show(&endpoint, &mut screen)?;
        screen.flush()?;
        return Ok(End::Done);
    }
    check_user(&args.spool.dir)?;
    if survey.given_up() > 0 {
        confirm(&format!("give up {} for good", records(survey.given_up())), args.yes)?;
    }
    let mut progress = Progress::new(survey.waiting, args.patience);
    let mut left = survey.waiting;
    let interrupted = watch_signals();
    let ended = loop {
        let ended = drain_once(args, &endpoint, survey.foreign, &mut progress, &interrupted)?;
        let before = std::mem::replace(&mut left, Survey::of(&directory, None, false)?.waiting);
        // What was lost is told by records that may have come too late; or another owner is gone by now.
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
        let reason =
            stats.last_error.as_ref().map(|reason| format!("; the last failure: {reason}")).unwrap_or_default();
        screen::note(&format!("{why}: {} in the spool{reason}", stays(left)));
    }
    report(&mut screen, &stats, left)
}

/// Delivers what is left by owners that are gone when this begins, or a little later.
fn drain_once(
    args: &Args,
    endpoint: &str,
    foreign: bool,
    progress: &mut Progress,
    interrupted: &AtomicBool,
) -> Result<Ended, Failure> {
    let pipeline = Pipeline::start(PipelineConfig {
        spool: SpoolConfig {
            dir: args.spool.dir.clone(),
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
        },
        transport: args.to.transport(endpoint)?,
        pace: Pace { retry: retry_policy(), max_in_flight: args.max_in_flight },
        gap_encoder: gap_encoder(foreign),
        on_event: None,
        #[cfg(feature = "metrics")]
        meter: None,
    })?;
    let handle = SpoolHandle::new(&pipeline);
    let ended = deliver(&pipeline, &handle, progress, interrupted);
    if ended != Ended::Delivered {
        // Requests in flight may yet come to their end; nothing else is begun.
        handle.pause();
    }
    if !pipeline.stop(GRACE) {
        pipeline.abort(CLOSING);
    }
    progress.add(&handle.stats());
    Ok(ended)
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
            "given_up_records": expired_records,
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
            (rejected_records, "refused for good (see `otel-spool rejected list`)"),
            (expired_records, "given up"),
            (corrupt_records, "damaged"),
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

/// Somebody waits for this.
fn retry_policy() -> RetryPolicy {
    RetryPolicy { max_delay: Duration::from_secs(10), ..RetryPolicy::default() }
}

/// Files of another user would keep the service from its own spool.
fn check_user(dir: &Path) -> Result<(), Failure> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        // Only Linux tells it so; elsewhere it is not checked.
        let me = std::fs::metadata("/proc/self").map(|meta| meta.uid());
        let owner = std::fs::metadata(dir).map(|meta| meta.uid());
        if let (Ok(me), Ok(owner)) = (me, owner)
            && me != owner
        {
            let dir = dir.display();
            return Err(Failure::Refused(format!("{dir} is user {owner}'s: run this as that user, not as {me}")));
        }
    }
    #[cfg(not(unix))]
    let _ = dir;
    Ok(())
}

/// Reports losses in the stream where that is in the default encoder's format; elsewhere only the output reports them.
fn gap_encoder(foreign: bool) -> Arc<GapEncoder> {
    if foreign {
        return Arc::new(|_| None);
    }
    gap_record::gap_encoder(Arc::new(RwLock::new(Box::new(JsonEncoder::default()))))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Delivered,
    TimeUp,
    Interrupted,
    Failing,
}

fn deliver(pipeline: &Pipeline, handle: &SpoolHandle, progress: &mut Progress, interrupted: &AtomicBool) -> Ended {
    loop {
        progress.show(&handle.stats());
        match pipeline.spool().upgrade() {
            Some(spool) if spool.is_idle() && spool.has_nothing_to_adopt() => break Ended::Delivered,
            Some(spool) if spool.is_idle() && spool.is_adoption_failing() => break Ended::Failing,
            Some(_) => {}
            None => break Ended::Failing,
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

/// Whether there was a signal to end. Whoever gives a second one does not want to wait: then all is left as a kill leaves it.
fn watch_signals() -> Arc<AtomicBool> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&interrupted);
    let watch = move || -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut signals = Signals::new()?;
            signals.next().await?;
            told.store(true, Ordering::Relaxed);
            screen::note("interrupted: what is under way may end; a second time ends it at once");
            signals.next().await?;
            screen::note("interrupted again: what is not delivered stays in the spool");
            std::process::exit(3)
        })
    };
    // Where signals cannot be watched, the first one ends it at once.
    let _ = std::thread::Builder::new().name("signals".to_owned()).spawn(watch);
    interrupted
}

/// Ctrl-C, or who is in charge of processes.
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

/// How far it is: a bar on a terminal, else a line now and then.
struct Progress {
    bar: Option<ProgressBar>,
    waiting: u64,
    deadline: Option<Instant>,
    begun: Instant,
    said: Instant,
    /// What was done by exporters that are shut down.
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

    fn show(&mut self, stats: &SpoolStats) {
        let of = |stats: &SpoolStats| {
            stats.delivered_records + stats.rejected_records + stats.expired_records + stats.corrupt_records
        };
        let done = of(&self.done) + of(stats);
        let reason = stats.last_error.as_deref().unwrap_or_default();
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            bar.set_message(reason.to_owned());
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
