//! The options.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use indicatif::HumanCount;
use opentelemetry_spool::{BoxError, Compression, Durability, SpoolCompression};
use serde::Serialize;

use crate::signals::Signal;

/// The records per second of an application that does not wait: more than fit into the SDK's queue during an outage, and few
/// enough for each system to keep up with otherwise.
const RATE: u64 = 20_000;

/// Compares exporters end to end, under the same load and through the same outage.
#[derive(Clone, Debug, Parser, Serialize)]
#[command(name = "harness", bin_name = "cargo bench -p benches --bench harness --")]
pub(crate) struct Args {
    /// The systems that are compared [default: all]
    #[arg(long, value_name = "NAME,..", value_delimiter = ',')]
    pub(crate) systems: Vec<String>,

    /// What is emitted: log records, spans, or points of a metric, which are collected 512 at a time
    #[arg(long, value_enum, default_value_t = Signal::Logs)]
    pub(crate) signal: Signal,

    /// How long each system is under load
    #[arg(long, default_value_t = 10.0)]
    pub(crate) seconds: f64,

    /// How often each system is measured; they take turns, and the figures are medians
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,

    /// Records per second, whatever becomes of them [default: first 20,000, then as many as are taken]
    #[arg(long, overrides_with = "rate")]
    pub(crate) rate: Option<u64>,

    /// As many as are taken, and no other load: how many records may be in the SDK's queue before the emitter waits; 0 never
    /// waits, and what the queue has no room for is lost [default: 100,000]
    #[arg(long, value_name = "RECORDS", conflicts_with = "rate")]
    in_queue: Option<u64>,

    /// Threads that emit
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) threads: u64,

    /// Bytes of a record's message, besides its attributes; at least 48
    #[arg(long, value_name = "BYTES", default_value_t = 200)]
    pub(crate) record_bytes: usize,

    /// Partitions that log records are spread over, where a system knows partitions
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) partitions: u64,

    /// The event that an accepted record survives: a power cut (sync), a kill (process), a power cut after 100 ms
    /// (interval)
    #[arg(long, value_enum, default_value_t = Survives::Sync)]
    durability: Survives,

    /// How records are compressed: not at all, in the spool alone, or for the wire as well (takes `--features gzip-http`);
    /// this crate's systems only
    #[arg(long, value_enum, default_value_t = Compressed::Lz4)]
    compression: Compressed,

    /// Requests of one partition at the same time, of this crate's systems [default: 1, for spans 8]
    #[arg(long)]
    pub(crate) max_in_flight: Option<usize>,

    /// Size of the SDK's queue, in records [default: with a rate the SDK's own, 2,048; else 200,000, so that it is not what is
    /// measured]
    #[arg(long, value_name = "RECORDS")]
    queue: Option<usize>,

    /// When the endpoint is down, in seconds from the beginning, or `none` [default: the middle third of the load]
    #[arg(long, value_name = "START..END", value_parser = Outage::parse)]
    outage: Option<Outage>,

    /// How it is down: connections are refused, requests get no response, or 503
    #[arg(long, value_enum, default_value_t = OutageKind::Refuse)]
    pub(crate) outage_kind: OutageKind,

    /// How much disk a system may take, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 512, value_parser = clap::value_parser!(u64).range(8..))]
    max_disk: u64,

    /// How long to wait for delivery after the load, at most, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0)]
    drain: f64,

    /// Where the report goes, and the scratch files while it runs: its file system is the one that is measured
    #[arg(long, value_name = "DIR", default_value = "target/harness")]
    pub(crate) out: PathBuf,

    /// Only JSON: the file, and on standard output instead of the tables
    #[arg(long)]
    pub(crate) json: bool,

    /// Measures nothing, and makes the report again of a `harness.json`
    #[arg(long, value_name = "FILE")]
    pub(crate) again: Option<PathBuf>,

    // --- for the child processes ------------------------------------------------------------------------------------
    #[arg(long, hide = true)]
    #[serde(skip)]
    pub(crate) role: Option<String>,

    #[arg(long, hide = true, default_value_t = 0)]
    #[serde(skip)]
    pub(crate) port: u16,

    #[arg(long, hide = true, default_value = ".")]
    #[serde(skip)]
    pub(crate) dir: PathBuf,

    /// Cargo adds this flag.
    #[arg(long, hide = true)]
    #[serde(skip)]
    bench: bool,
}

/// The values of `--durability`.
#[derive(Clone, Copy, Debug, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Survives {
    Sync,
    Process,
    Interval,
}

/// The values of `--compression`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Compressed {
    None,
    Lz4,
    Gzip,
}

/// How an endpoint is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OutageKind {
    Refuse,
    Hang,
    #[value(name = "503")]
    #[serde(rename = "503")]
    Unavailable,
}

#[derive(Clone, Debug, Serialize)]
enum Outage {
    None,
    Seconds(Range<f64>),
}

impl Outage {
    fn parse(text: &str) -> Result<Self, BoxError> {
        if text == "none" {
            return Ok(Self::None);
        }
        let (start, end) = text.split_once("..").ok_or("expected START..END or `none`")?;
        let seconds: Range<f64> = start.parse()?..end.parse()?;
        if seconds.start >= 0.0 && seconds.start < seconds.end {
            Ok(Self::Seconds(seconds))
        } else {
            Err("it has to end after it has begun".into())
        }
    }
}

impl Args {
    /// Checks what no single option can know to be wrong.
    pub(crate) fn check(&self) -> Result<(), BoxError> {
        if !((1.0..=3600.0).contains(&self.seconds) && (0.0..=3600.0).contains(&self.drain)) {
            return Err("--seconds has to be from 1 to 3600, --drain from 0 to 3600".into());
        }
        if self.partitions > 1 && self.signal != Signal::Logs {
            return Err("--partitions is of logs alone".into());
        }
        if self.rate == Some(0) {
            return Err("--rate has to be 1 or more".into());
        }
        if self.loads().iter().any(|load| load.in_queue().is_some_and(|most| most > load.queue() as u64)) {
            return Err("--in-queue, 100,000 by default, is more than fits into --queue".into());
        }
        Ok(())
    }

    /// When the endpoint is down, in seconds from the beginning of the load.
    pub(crate) fn outage(&self) -> Option<Range<f64>> {
        match &self.outage {
            None => Some(self.seconds / 3.0..self.seconds * 2.0 / 3.0),
            Some(Outage::None) => None,
            Some(Outage::Seconds(seconds)) => Some(seconds.clone()),
        }
    }

    /// The applications as which the systems are put under load, each as options of its own: one that does not wait, as most do
    /// not, and one that finds out how fast each system is. Points of metrics are collected, so their application always waits.
    pub(crate) fn loads(&self) -> Vec<Self> {
        if self.rate.is_some() || self.in_queue.is_some() || self.signal == Signal::Metrics {
            return vec![self.clone()];
        }
        vec![Self { rate: Some(RATE), ..self.clone() }, self.clone()]
    }

    /// How many records the emitter runs ahead of the exporter; `None` if it never waits.
    pub(crate) fn in_queue(&self) -> Option<u64> {
        let most = self.in_queue.unwrap_or(100_000);
        (self.rate.is_none() && most > 0).then_some(most)
    }

    pub(crate) fn queue(&self) -> usize {
        self.queue.unwrap_or(if self.rate.is_some() { 2_048 } else { 200_000 })
    }

    /// Names a load.
    pub(crate) fn title(&self) -> String {
        match (self.rate, self.in_queue()) {
            (Some(rate), _) => format!("{} records/s, whatever becomes of them", HumanCount(rate)),
            (None, Some(_)) => "As many records as each takes".to_owned(),
            (None, None) => "As many records as can be emitted, whatever becomes of them".to_owned(),
        }
    }

    /// Describes a load in a sentence or two.
    pub(crate) fn caption(&self) -> String {
        let waits = self.in_queue().map_or(String::new(), |most| {
            format!(", of which {} may be in the SDK's queue before the application waits", HumanCount(most))
        });
        let outage = self.outage().map_or("no outage".to_owned(), |outage| {
            let how = match self.outage_kind {
                OutageKind::Refuse => "connections are refused",
                OutageKind::Hang => "requests are never answered",
                OutageKind::Unavailable => "requests are answered with 503",
            };
            format!("{how} from {:.1} s to {:.1} s", outage.start, outage.end)
        });
        format!(
            "{} s of {}{waits}. Messages of {} bytes, {} partition(s), {} thread(s), a queue of {} in the SDK, durability {:?}; {outage}.",
            self.seconds,
            self.signal.records(),
            self.record_bytes,
            self.partitions,
            self.threads,
            HumanCount(self.queue() as u64),
            self.durability(),
        )
    }

    pub(crate) fn durability(&self) -> Durability {
        match self.durability {
            Survives::Sync => Durability::Sync,
            Survives::Process => Durability::Process,
            Survives::Interval => Durability::Interval(Duration::from_millis(100)),
        }
    }

    pub(crate) fn spool_compression(&self) -> SpoolCompression {
        if self.compression == Compressed::None { SpoolCompression::None } else { SpoolCompression::Lz4 }
    }

    pub(crate) fn compression(&self) -> Option<Compression> {
        (self.compression == Compressed::Gzip).then_some(Compression::Gzip)
    }

    pub(crate) fn max_disk_bytes(&self) -> u64 {
        self.max_disk << 20
    }

    pub(crate) fn load(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    pub(crate) fn drain(&self) -> Duration {
        Duration::from_secs_f64(self.drain)
    }
}
