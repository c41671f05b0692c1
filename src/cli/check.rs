//! `otel-spool check`: the settings of a service, tried before it starts.

#![allow(clippy::doc_markdown, reason = "the comments are the help, which has no markup")]

use std::path::PathBuf;

use serde_json::{Value, json};

#[cfg(feature = "config-file")]
use super::config_file;
use super::drain::headers;
use super::outcome::{End, Failure, Outcome};
use super::screen::{Screen, Tone, shown};
use super::spool_arg::signal_parser;
use super::typed;
#[cfg(feature = "config-file")]
use crate::config::file::ExporterConfig;
use crate::config::values::Signal;
use crate::exporter::{ExporterBuilder, LogExporter, MetricExporter, SpanExporter};
use crate::observe::probe::{ProbeMode, ProbeReport, ProbeResult, ProbeStage, ProbeStep};
use crate::spool::inspect::Directory;
use crate::transport::http::Spoken;

/// Try the settings of a service: its directory, the way to its endpoint, and with --send the endpoint's answer
///
/// Takes the settings from the environment of the service, such as OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_EXPORTER_SPOOL_DIR, or
/// from a file, and looks at one thing after the other: the settings, the directory and the space on its disk, the host's name,
/// proxy, connection and TLS. The first failure is explained, with what to do. Nothing is written to the spool, and no lock
/// of it is taken: a living owner is not disturbed.
///
/// With --send one record is sent that is marked as a probe. It shows what the endpoint answers, what would become of records
/// that are answered like that, and whether this machine's clock is right. What is set in the code of a service is tried by
/// `probe` of its builder.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The directory of the spool, in place of OTEL_EXPORTER_SPOOL_DIR or that in the file; it need not be there yet
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    dir: Option<PathBuf>,
    /// Look at the settings, the directory and its disk alone, and at nobody else: the endpoint may be away
    #[arg(long, conflicts_with = "send")]
    local: bool,
    /// Send one marked record to the endpoint
    #[arg(long)]
    send: bool,
    /// The endpoint, in place of OTEL_EXPORTER_OTLP_ENDPOINT or that in the file. It is used as it is
    #[arg(long, value_name = "URL", value_hint = clap::ValueHint::Url)]
    to: Option<String>,
    /// Add a header to the request. Can be repeated
    #[arg(long, value_name = "NAME:VALUE")]
    header: Vec<String>,
    /// Add a header whose value is in an environment variable, so that no list of processes shows it. Can be repeated
    #[arg(long, value_name = "NAME=VARIABLE")]
    header_env: Vec<String>,
    /// Try the exporter of this signal. Can be repeated [default: those in the file, or logs]
    #[arg(long, value_name = "SIGNAL", value_parser = signal_parser())]
    signal: Vec<Signal>,
    /// Take settings from this file in OpenTelemetry's YAML, in place of the environment
    #[cfg(feature = "config-file")]
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    config: Option<PathBuf>,
    /// Print JSON, also on a terminal
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  otel-spool check
      by the variables of the service, all that is known without sending
  otel-spool check --send --signal logs --signal traces
  otel-spool check --send --to http://collector:4318/v1/logs /var/lib/checkout/spool
  systemd-run --wait --pipe -p User=checkout -p EnvironmentFile=/etc/checkout.env \\
      otel-spool check --send
      as the user and with the variables of a service

Exit codes, by the first failure of a signal; of several signals, the first of 2, 4, 1, 3:
  0  nothing is wrong; there may be warnings
  1  the endpoint refuses the record itself (400, 413, 414, 415, 422, or a
     partial success), or the clock is wrong
  2  a setting is missing or not allowed
  3  the endpoint is not reached, or takes nothing: records would wait
  4  no spool can be kept in the directory";

pub(super) fn run(args: &Args) -> Outcome {
    let mode = match (args.local, args.send) {
        (true, _) => ProbeMode::Local,
        (false, true) => ProbeMode::Send,
        (false, false) => ProbeMode::Connect,
    };
    let settings = args.settings()?;
    let reports: Vec<_> =
        args.signals(&settings).into_iter().map(|signal| (signal, settings.probe(signal, mode))).collect();
    let mut screen = Screen::new(args.json);
    if args.json {
        let checks: Vec<_> = reports.iter().map(|(signal, report)| document(*signal, report)).collect();
        screen.document(&json!({ "checks": checks }))?;
    } else {
        for (nth, (_, report)) in reports.iter().enumerate() {
            if nth > 0 {
                screen.line("")?;
            }
            show(report, &mut screen)?;
        }
    }
    screen.flush()?;
    Ok(worst(reports.iter().map(|(_, report)| end(report))))
}

/// What is given on the command line, for an exporter of any signal.
struct Settings {
    dir: Option<PathBuf>,
    endpoint: Option<String>,
    headers: Vec<(String, String)>,
    #[cfg(feature = "config-file")]
    file: Option<(String, ExporterConfig)>,
}

impl Args {
    fn settings(&self) -> Result<Settings, Failure> {
        Ok(Settings {
            dir: self.dir.clone(),
            endpoint: self.to.clone(),
            headers: headers(&self.header, &self.header_env)?,
            #[cfg(feature = "config-file")]
            file: self.file()?,
        })
    }

    /// The file that is named, and what it says.
    #[cfg(feature = "config-file")]
    fn file(&self) -> Result<Option<(String, ExporterConfig)>, Failure> {
        let Some(path) = &self.config else { return Ok(None) };
        Ok(Some((path.display().to_string(), config_file::read(path)?)))
    }

    fn signals(&self, settings: &Settings) -> Vec<Signal> {
        let mut signals = self.signal.clone();
        signals.sort_unstable();
        signals.dedup();
        if signals.is_empty() { settings.signals() } else { signals }
    }
}

impl Settings {
    #[cfg(feature = "config-file")]
    fn signals(&self) -> Vec<Signal> {
        self.file.as_ref().map_or_else(|| vec![Signal::Logs], |(_, config)| config.signals())
    }

    #[cfg(not(feature = "config-file"))]
    #[expect(clippy::unused_self, reason = "without that feature there is no file")]
    fn signals(&self) -> Vec<Signal> {
        vec![Signal::Logs]
    }

    fn probe(&self, signal: Signal, mode: ProbeMode) -> ProbeReport {
        let mut report = match signal {
            Signal::Logs => self.apply(LogExporter::builder()).probe(mode),
            Signal::Traces => self.apply(SpanExporter::builder()).probe(mode),
            Signal::Metrics => self.apply(MetricExporter::builder()).probe(mode),
        };
        for step in &mut report.steps {
            self.as_typed(step);
        }
        if let Some(step) = report.steps.first_mut().filter(|step| step.text.starts_with(NO_ENDPOINT)) {
            step.remedy = self.noted_endpoints(signal);
        }
        if self.leaves_protocol_unread(signal) {
            report.steps.insert(1, ProbeStep::warned(ProbeStage::Settings, UNREAD_PROTOCOL));
        }
        report
    }

    /// The option, and the URLs that what is in the directory was sent to.
    fn noted_endpoints(&self, signal: Signal) -> Option<String> {
        let noted = Directory::open(self.dir.as_ref()?).ok()?.endpoints(signal).ok()?;
        let noted: Vec<_> = noted.iter().map(|url| shown(url)).collect();
        (!noted.is_empty()).then(|| format!("give --to URL: what is there was sent to {}", noted.join(" or ")))
    }

    /// Whether the protocol of all OTLP exporters is set, and would count with an endpoint from a variable: one that is typed is as
    /// one in code, which takes OTLP by its path alone.
    fn leaves_protocol_unread(&self, signal: Signal) -> bool {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        #[cfg(feature = "config-file")]
        if self.file.is_some() {
            return false;
        }
        signal == Signal::Logs
            && self.endpoint.as_deref().and_then(Spoken::of).is_some_and(|spoken| spoken.signal().is_none())
            && is_set("OTEL_EXPORTER_OTLP_PROTOCOL")
            && !is_set("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL")
            && !is_set("OTEL_EXPORTER_SPOOL_FORMAT")
    }

    fn apply<S>(&self, mut builder: ExporterBuilder<S>) -> ExporterBuilder<S> {
        if let Some(dir) = &self.dir {
            builder = builder.with_spool_dir(dir);
        }
        if let Some(url) = &self.endpoint {
            builder = builder.with_endpoint(url);
        }
        #[cfg(feature = "config-file")]
        if let Some((_, config)) = &self.file {
            builder = builder.with_config(config.clone());
        }
        builder.with_headers(self.headers.iter().cloned())
    }

    /// Names what is typed in place of methods, and the file.
    #[cfg_attr(
        not(feature = "config-file"),
        expect(clippy::unused_self, reason = "without that feature there is no file")
    )]
    fn as_typed(&self, step: &mut ProbeStep) {
        // Of a response, the words are the server's.
        if step.stage != ProbeStage::Response {
            step.text = typed::in_text_of(&step.text, &TYPED);
        }
        step.remedy = step.remedy.as_deref().map(|remedy| typed::in_text_of(remedy, &TYPED));
        if step.stage == ProbeStage::Response && step.result == ProbeResult::Skipped {
            step.remedy = Some("give --send to send one that is marked as a probe".to_owned());
        }
        #[cfg(feature = "config-file")]
        if let Some((name, _)) = &self.file {
            if step.stage == ProbeStage::Settings {
                step.text = config_file::in_text(&step.text, name);
            }
            step.remedy = step.remedy.as_deref().map(|remedy| config_file::in_text(remedy, name));
        }
    }
}

/// How the error of an endpoint begins that is not given.
const NO_ENDPOINT: &str = "`--to` is not set";

const UNREAD_PROTOCOL: &str = "`OTEL_EXPORTER_OTLP_PROTOCOL`: beside `--to`, as beside an endpoint in code, it counts only where the \
                               path is one of OTLP; end the URL in /v1/logs, or set OTEL_EXPORTER_OTLP_LOGS_PROTOCOL";

/// The settings of a builder that are made on this command line.
const TYPED: [&str; 3] = ["with_endpoint", "with_headers", "with_spool_dir"];

/// The end that counts: what is to be mended on this machine, then what the endpoint refuses, then what may pass by itself.
fn worst(ends: impl Iterator<Item = End>) -> End {
    const RANKS: [End; 4] = [End::Misconfigured, End::Unusable, End::Wrong, End::Left];
    let rank = |end: &End| RANKS.iter().position(|ranked| ranked == end).unwrap_or(RANKS.len());
    ends.min_by_key(rank).unwrap_or(End::Done)
}

fn end(report: &ProbeReport) -> End {
    match report.failure().map(|step| step.stage) {
        None => End::Done,
        Some(ProbeStage::Settings) => End::Misconfigured,
        Some(ProbeStage::Directory | ProbeStage::Space) => End::Unusable,
        Some(ProbeStage::Response) if report.is_refused() => End::Wrong,
        Some(ProbeStage::Clock) => End::Wrong,
        Some(_) => End::Left,
    }
}

fn show(report: &ProbeReport, screen: &mut Screen) -> Result<(), Failure> {
    for step in report.steps() {
        let (result, tone) = match step.result {
            ProbeResult::Passed => (step.result.as_str(), Tone::Good),
            ProbeResult::Warned => (step.result.as_str(), Tone::Warning),
            ProbeResult::Failed => ("FAILED", Tone::Bad),
            ProbeResult::Skipped => (step.result.as_str(), Tone::Plain),
        };
        screen.entry(&[(result, 9), (step.stage.as_str(), 12)], tone, &step.text)?;
        if let Some(remedy) = &step.remedy {
            screen.entry(&[("", 9), ("", 12)], Tone::Plain, &format!("-> {remedy}"))?;
        }
    }
    Ok(())
}

fn document(signal: Signal, report: &ProbeReport) -> Value {
    let steps = report.steps().iter().map(|step| {
        json!({
            "step": step.stage.as_str(),
            "result": step.result.as_str(),
            "text": step.text,
            "remedy": step.remedy,
        })
    });
    json!({ "signal": signal.name(), "ok": report.is_ok(), "steps": steps.collect::<Vec<_>>() })
}
