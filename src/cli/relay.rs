//! `otel-spool relay`: other processes of the host through a spool.

#![allow(clippy::doc_markdown, reason = "the comments are the help, which has no markup")]

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::drain::headers;
use percent_encoding::{CONTROLS, utf8_percent_encode};

#[cfg(feature = "config-file")]
use super::config_file;
use super::outcome::{End, Failure, Outcome};
use super::screen::{self, Screen, count, counted};
use super::{survey, typed};
use crate::config::parse::FromText;
use crate::config::values::{FullPolicy, Protocol};
use crate::encode::formats::FORMATS;
use crate::error::{ExporterBuildError, FlushError, SpoolError, error_chain};
use crate::observe::event::SpoolEvent;
use crate::relay::{DropReason, Listener, PartitionBy, Plan, Relay, RelayBuilder, RelayStats};
use crate::spool::inspect::Directory;
use crate::transport::http::headers::HeaderMap;

/// How long what is in memory may take to be committed, and what is on disk to be sent, when the relay ends.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// How often the same kind of event is printed at most.
const EVENT_EVERY: Duration = Duration::from_secs(60);

/// Take what other processes of this host send, and deliver it through a spool
///
/// Listens for Python's SocketHandler, DatagramHandler and HTTPHandler, for logserv, http-logging, text, JSON and OTLP, writes
/// what comes to the spool, answers once it is on disk, and delivers it as an exporter does: in order, retried until the endpoint takes it.
/// Every setting of an exporter can be made by its variable, such as OTEL_EXPORTER_SPOOL_MAX_BYTES, or in a file.
///
/// Ends after SIGTERM or SIGINT: what has come is committed, the rest stays in the spool.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The directory of the spool; it is created if it is missing
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    dir: Option<PathBuf>,
    /// Send to this URL: http:, https:, file:, tcp:, unix: or udp:. The base of a collector gets OTLP
    #[arg(long, value_name = "URL", value_hint = clap::ValueHint::Url)]
    to: Option<String>,
    #[command(flatten)]
    listen: Listen,
    #[command(flatten)]
    access: Access,
    #[command(flatten)]
    records: Records,
    #[command(flatten)]
    limits: Limits,
    /// Take settings from this file in OpenTelemetry's YAML, in place of the environment
    #[cfg(feature = "config-file")]
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    config: Option<PathBuf>,
    /// Do all the checks of a start, say what would be listened on and where it would be sent, and end
    #[arg(long)]
    check: bool,
}

const EXAMPLES: &str = "\
Examples:
  otel-spool relay /var/lib/otel-spool --to http://collector:4318 --otlp
      a durable agent: set OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318
  otel-spool relay /var/lib/otel-spool --to https://logs.example.com/ingest --tcp --http
      for Python's SocketHandler at port 9020, and HTTPHandler at port 9022
  otel-spool relay /var/lib/otel-spool --unix /run/otel-spool/log.sock \\
      --to 'file:///var/log/apps/?max_bytes=10MiB&backups=5' --partition-by logserv-file
      in place of logserv: a rotating file for each name that a client asks for";

/// The sockets.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Listen on")]
struct Listen {
    /// Frames of Python's SocketHandler and logserv over TCP [default address: 127.0.0.1:9020]
    #[arg(long, value_name = "ADDR", num_args = 0..=1, default_missing_value = "127.0.0.1:9020", value_parser = address)]
    tcp: Vec<SocketAddr>,
    /// Frames of Python's DatagramHandler over UDP [default address: 127.0.0.1:9021]
    #[arg(long, value_name = "ADDR", num_args = 0..=1, default_missing_value = "127.0.0.1:9021", value_parser = address)]
    udp: Vec<SocketAddr>,
    /// The same as --tcp over a Unix socket
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    unix: Vec<PathBuf>,
    /// The same as --udp over a Unix socket
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    unix_datagram: Vec<PathBuf>,
    /// Every protocol over HTTP: HTTPHandler, http-logging, text, JSON, OTLP [default address: 127.0.0.1:9022]
    #[arg(long, value_name = "ADDR", num_args = 0..=1, default_missing_value = "127.0.0.1:9022", value_parser = address)]
    http: Vec<SocketAddr>,
    /// The same as --http at OTLP's port [default address: 127.0.0.1:4318]
    #[arg(long, value_name = "ADDR", num_args = 0..=1, default_missing_value = "127.0.0.1:4318", value_parser = address)]
    otlp: Vec<SocketAddr>,
    /// A status page, /metrics and /healthz [default address: 127.0.0.1:9023]
    #[arg(long, value_name = "ADDR", num_args = 0..=1, default_missing_value = "127.0.0.1:9023", value_parser = address)]
    status: Option<SocketAddr>,
    /// Show partition keys on the status page
    #[arg(long)]
    show_keys: bool,
}

/// Reads an address, or a port of the loopback address.
fn address(text: &str) -> Result<SocketAddr, &'static str> {
    let port = text.strip_prefix("localhost:").unwrap_or(text).parse();
    let local = port.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    text.parse().or(local).map_err(|_| {
        "allowed are addresses such as 127.0.0.1:4318, [::1]:4318 and 0.0.0.0:4318, and localhost:4318 or 4318 for the first of \
         them; a directory stands before the options, or behind one with `=`, as in --otlp=127.0.0.1:4318 DIR"
    })
}

/// Who may send.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Access")]
struct Access {
    /// Allow addresses that other hosts can reach: there is no encryption
    #[arg(long)]
    listen_anywhere: bool,
    /// Take requests to this host name, beside the address and localhost. Can be repeated
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
    /// Take only requests with the bearer token in this environment variable. Can be repeated
    #[arg(long, value_name = "VARIABLE")]
    token_env: Vec<String>,
    /// Take only requests with USER:PASSWORD in this environment variable, by basic authentication. Can be repeated
    #[arg(long, value_name = "VARIABLE")]
    user_env: Vec<String>,
}

/// What is sent.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Records")]
struct Records {
    /// The wire format: otlp, otlp-json, or one of OTEL_EXPORTER_SPOOL_FORMAT [default: by the endpoint]
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// The partition key: logger, process, logserv-file, header:NAME, attribute:NAME or resource:NAME
    #[arg(long, value_name = "KEY", default_value = "nothing")]
    partition_by: PartitionBy,
    /// Add a header to every request to the endpoint. Can be repeated
    #[arg(long, value_name = "NAME:VALUE")]
    header: Vec<String>,
    /// Add a header with the partition key of the batch, percent-encoded where it has other than visible characters
    #[arg(long, value_name = "NAME")]
    partition_header: Option<String>,
    /// Add a header whose value is in an environment variable. Can be repeated
    #[arg(long, value_name = "NAME=VARIABLE")]
    header_env: Vec<String>,
    /// Leave out this attribute of resources that come as OTLP. Can be repeated
    #[arg(long, value_name = "NAME")]
    drop_attribute: Vec<String>,
    /// Add an attribute `relay` with the listener, the peer and its ids to each record
    #[arg(long)]
    senders: bool,
}

/// The limits.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
struct Limits {
    /// The largest size of the spool, like 4GiB
    #[arg(long, value_name = "BYTES", value_parser = u64::from_text)]
    max_spool_bytes: Option<u64>,
    /// Refuse new records when the spool is full, in place of evicting the oldest
    #[arg(long)]
    reject_new: bool,
    /// The largest frame or datagram [default: 4MiB]
    #[arg(long, value_name = "BYTES", value_parser = u64::from_text)]
    max_record_bytes: Option<u64>,
    /// The largest request of a client [default: 16MiB; of OTLP 64MiB]
    #[arg(long, value_name = "BYTES", value_parser = u64::from_text)]
    max_incoming_bytes: Option<u64>,
    /// The most memory for what is not on disk yet [default: 64MiB]
    #[arg(long, value_name = "BYTES", value_parser = u64::from_text)]
    max_buffer_bytes: Option<u64>,
    /// The most connections at a time [default: 1024]
    #[arg(long, value_name = "NUMBER")]
    max_connections: Option<usize>,
}

pub(super) fn run(args: &Args) -> Outcome {
    if args.listen.is_empty() && std::env::var_os("LISTEN_FDS").is_none() {
        let reason =
            "nothing is listened on: give one or more of --otlp, --http, --tcp, --udp, --unix and --unix-datagram";
        return Err(Failure::Usage(reason.to_owned()));
    }
    let builder = args.builder()?;
    // Before it says that it listens: whoever reads that may end it at once.
    let signals = Signals::new()?;
    let plan = builder.plan().map_err(|error| args.as_typed(error))?;
    plan.warnings().iter().for_each(|warning| screen::note(&format!("warning: {}", args.typed_reason(warning))));
    if args.check {
        plan.check_transports().map_err(|error| args.as_typed(error))?;
        return show(&plan);
    }
    let relay = plan.start().map_err(|error| args.as_typed(error))?;
    announce(&relay)?;
    signals.wait();
    notify_stopping();
    let spool_dir = relay.spool_dir();
    let shut_down = relay.shutdown(SHUTDOWN);
    let waiting = match (&shut_down, spool_dir) {
        // It is not closed, so that it cannot be read.
        (Err(FlushError::Timeout { pending, .. }), _) => *pending,
        (_, dir) => dir.and_then(|dir| waiting(&dir).ok()).unwrap_or_default(),
    };
    screen::note(&format!("ended: {}", summary(&relay.stats(), relay.lost_records(), waiting)));
    if let Err(error) = shut_down {
        screen::note(&error_chain(&error));
        return Ok(End::Left);
    }
    Ok(End::Done)
}

impl Args {
    fn builder(&self) -> Result<RelayBuilder, Failure> {
        let mut builder = Relay::builder().with_on_event(Printer::default().into_callback());
        if let Some(dir) = &self.dir {
            builder = builder.with_spool_dir(dir);
        }
        if let Some(url) = &self.to {
            builder = builder.with_endpoint(url);
        }
        #[cfg(feature = "config-file")]
        if let Some(path) = &self.config {
            builder = builder.with_config(config_file::read(path)?);
        }
        let builder = self.access.apply(self.listen.apply(builder))?;
        Ok(self.limits.apply(self.records.apply(builder)?))
    }

    /// The file of the settings, in place of the environment.
    #[cfg(feature = "config-file")]
    fn file(&self) -> Option<std::path::Display<'_>> {
        self.config.as_deref().map(Path::display)
    }

    #[cfg(not(feature = "config-file"))]
    #[expect(clippy::unused_self, reason = "without that feature there is no option for a file")]
    fn file(&self) -> Option<std::path::Display<'_>> {
        None
    }

    /// An error of the builder that names what is typed, and the file.
    fn as_typed(&self, error: ExporterBuildError) -> Failure {
        match error {
            ExporterBuildError::Missing { setting: "with_spool_dir", .. } => Failure::Usage(match self.file() {
                Some(file) => format!("no directory is given for the spool: give DIR, or `spool_dir` in {file}"),
                None => "no directory is given for the spool: give DIR, or set OTEL_EXPORTER_SPOOL_DIR".to_owned(),
            }),
            ExporterBuildError::Missing { setting: "with_endpoint", .. } => Failure::Usage(match self.file() {
                Some(file) => format!(
                    "no endpoint is given: give --to URL, or `endpoint` in {file}; with --config the variables for it are not read"
                ),
                None => "no endpoint is given: give --to URL, or set OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(),
            }),
            ExporterBuildError::Invalid { setting, reason, source } => Failure::Build(ExporterBuildError::Invalid {
                setting: self.typed_setting(setting, &reason),
                reason: self.typed_reason(&reason),
                source,
            }),
            error => error.into(),
        }
    }

    fn typed_setting(&self, setting: String, reason: &str) -> String {
        if setting == "with_listener" {
            return self.listen.option_in(reason);
        }
        #[cfg(feature = "config-file")]
        if let Some(of_file) = self.file().and_then(|file| config_file::setting(&setting, &file)) {
            return of_file;
        }
        typed::option(&setting).map_or(setting, str::to_owned)
    }

    /// The reason with options in place of methods.
    fn typed_reason(&self, reason: &str) -> String {
        let reason = typed::in_text(reason);
        let names_formats = reason.starts_with("a template goes with") && self.records.format.is_none();
        if names_formats { reason + ": give one of them, such as --format text" } else { reason }
    }
}

impl Listen {
    fn is_empty(&self) -> bool {
        let paths = self.unix.is_empty() && self.unix_datagram.is_empty();
        paths && self.tcp.is_empty() && self.udp.is_empty() && self.http.is_empty() && self.otlp.is_empty()
    }

    fn listeners(&self) -> impl Iterator<Item = Listener> {
        let tcp = self.tcp.iter().copied().map(Listener::Tcp);
        let udp = self.udp.iter().copied().map(Listener::Udp);
        let unix = self.unix.iter().cloned().map(Listener::Unix);
        let unix_datagram = self.unix_datagram.iter().cloned().map(Listener::UnixDatagram);
        let http = self.http.iter().copied().map(Listener::Http);
        let otlp = self.otlp.iter().copied().map(Listener::Otlp);
        tcp.chain(udp).chain(unix).chain(unix_datagram).chain(http).chain(otlp)
    }

    /// The option of the listener that a reason names first.
    fn option_in(&self, reason: &str) -> String {
        let named =
            self.listeners().filter_map(|listener| Some((reason.find(&listener.to_string())?, listener.name())));
        named.min().map_or_else(|| "--otlp".to_owned(), |(_, name)| format!("--{name}"))
    }

    fn apply(&self, mut builder: RelayBuilder) -> RelayBuilder {
        for listener in self.listeners() {
            builder = builder.with_listener(listener);
        }
        builder = builder.with_inherited_listeners(std::env::var_os("LISTEN_FDS").is_some());
        match self.status {
            Some(address) => builder.with_status(address).with_status_keys(self.show_keys),
            None => builder,
        }
    }
}

impl Access {
    fn apply(&self, builder: RelayBuilder) -> Result<RelayBuilder, Failure> {
        let mut builder = builder.with_listen_anywhere(self.listen_anywhere);
        for host in &self.host {
            builder = builder.with_host(host);
        }
        for variable in &self.token_env {
            builder = builder.with_token(secret("--token-env", variable)?);
        }
        for variable in &self.user_env {
            let given = secret("--user-env", variable)?;
            let wrong = || Failure::Usage(format!("--user-env: the value of {variable} is not USER:PASSWORD"));
            let (name, password) = given.split_once(':').ok_or_else(wrong)?;
            builder = builder.with_user(name, password);
        }
        Ok(builder)
    }
}

/// The value of an environment variable, which is not shown.
fn secret(option: &str, variable: &str) -> Result<String, Failure> {
    let value = std::env::var(variable).ok().filter(|value| !value.is_empty());
    value.ok_or_else(|| {
        Failure::Usage(format!("{option}: the variable {variable} is not set, is empty, or is not text"))
    })
}

impl Records {
    fn apply(&self, builder: RelayBuilder) -> Result<RelayBuilder, Failure> {
        let mut builder = builder
            .with_partition_by(self.partition_by.clone())
            .with_senders(self.senders)
            .with_dropped_attributes(self.drop_attribute.clone());
        builder = match self.format.as_deref() {
            None => builder,
            Some("otlp") => builder.with_protocol(Protocol::HttpBinary),
            Some("otlp-json") => builder.with_protocol(Protocol::HttpJson),
            Some(name) => {
                let format = FORMATS.iter().find(|format| format.name == name);
                let known: Vec<_> = FORMATS.iter().map(|format| format.name).collect();
                let wrong =
                    || Failure::Usage(format!("--format {name}: allowed are otlp, otlp-json, {}", known.join(", ")));
                builder.with_format(format.ok_or_else(wrong)?)
            }
        };
        if let Some(name) = self.partition_header.clone() {
            HeaderMap::new().insert(name.as_str(), "")?;
            builder = builder.with_header_hook(move |batch, headers| {
                let key = utf8_percent_encode(batch.partition_key(), CONTROLS).to_string();
                Ok(headers.insert(name.as_str(), key)?)
            });
        }
        Ok(builder.with_headers(headers(&self.header, &self.header_env)?))
    }
}

impl Limits {
    fn apply(&self, mut builder: RelayBuilder) -> RelayBuilder {
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        if let Some(max) = self.max_spool_bytes {
            builder = builder.with_max_spool_bytes(max);
        }
        if self.reject_new {
            builder = builder.with_full_policy(FullPolicy::RejectNew);
        }
        if let Some(max) = self.max_record_bytes {
            builder = builder.with_max_record_bytes(size(max));
        }
        if let Some(max) = self.max_incoming_bytes {
            builder = builder.with_max_incoming_bytes(size(max)).with_max_otlp_bytes(size(max));
        }
        if let Some(max) = self.max_buffer_bytes {
            builder = builder.with_max_buffer_bytes(size(max));
        }
        if let Some(max) = self.max_connections {
            builder = builder.with_max_connections(max);
        }
        builder
    }
}

/// Says what would be done.
fn show(plan: &Plan) -> Outcome {
    let mut screen = Screen::new(false);
    for line in plan.lines() {
        screen.line(&line)?;
    }
    screen.flush()?;
    Ok(End::Done)
}

/// Says what is listened on, to a person and to a service manager.
fn announce(relay: &Relay) -> Result<(), Failure> {
    let mut screen = Screen::new(false);
    for listener in relay.listeners() {
        screen.line(&format!("listening on {listener}"))?;
    }
    if let Some(address) = relay.status_address() {
        screen.line(&format!("status at http://{address}/"))?;
    }
    screen.flush()?;
    #[cfg(unix)]
    {
        // Without a service manager nobody is told.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    }
    Ok(())
}

fn notify_stopping() {
    #[cfg(unix)]
    {
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    }
}

/// Waits for SIGTERM and SIGINT, from when it is made.
struct Signals {
    runtime: tokio::runtime::Runtime,
    #[cfg(unix)]
    kinds: [tokio::signal::unix::Signal; 2],
    #[cfg(windows)]
    interrupt: tokio::signal::windows::CtrlC,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let entered = runtime.enter();
        #[cfg(unix)]
        let kinds = {
            use tokio::signal::unix::{SignalKind, signal};

            [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?]
        };
        #[cfg(windows)]
        let interrupt = tokio::signal::windows::ctrl_c()?;
        drop(entered);
        Ok(Self {
            runtime,
            #[cfg(unix)]
            kinds,
            #[cfg(windows)]
            interrupt,
        })
    }

    /// Waits for the first one.
    fn wait(self) {
        #[cfg(unix)]
        {
            let [mut terminate, mut interrupt] = self.kinds;
            self.runtime.block_on(async {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            });
        }
        #[cfg(windows)]
        {
            let mut interrupt = self.interrupt;
            self.runtime.block_on(interrupt.recv());
        }
    }
}

/// The records that wait in a spool which is closed.
fn waiting(dir: &Path) -> Result<u64, SpoolError> {
    survey::queues(&Directory::open(dir)?, None)?.map(|queue| Ok(queue?.waiting())).sum()
}

fn summary(stats: &RelayStats, lost: u64, waiting: u64) -> String {
    let connections: u64 = stats.listeners.iter().map(|of| of.connections).sum();
    format!(
        "{} of {}, {}; {} lost, {} in the spool",
        screen::records(stats.records()),
        counted(connections, "connection", "connections"),
        counted(stats.dropped(DropReason::Duplicate), "repeated request", "repeated requests"),
        count(lost),
        counted(waiting, "waits", "wait"),
    )
}

/// Prints events, each kind once in a while.
#[derive(Default)]
struct Printer {
    /// The kinds that were printed, each with the time.
    printed: Mutex<Vec<(String, Instant)>>,
}

impl Printer {
    fn into_callback(self) -> impl Fn(&SpoolEvent) + Send + Sync + 'static {
        move |event| {
            // What is suspicious is told before, by what is typed for it.
            if !matches!(event, SpoolEvent::SettingSuspicious { .. }) && self.is_due(event) {
                screen::note(&event.to_string());
            }
        }
    }

    fn is_due(&self, event: &SpoolEvent) -> bool {
        let kind = match event {
            SpoolEvent::RecordsLost { reason, .. } => format!("{} {}", event.name(), reason.as_str()),
            event => event.name().to_owned(),
        };
        let mut printed = self.printed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        printed.retain(|(_, at)| at.elapsed() < EVENT_EVERY);
        if printed.iter().any(|(known, _)| *known == kind) {
            return false;
        }
        printed.push((kind, Instant::now()));
        true
    }
}
