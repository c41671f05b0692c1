//! [`Run`]: everything that a run of the harness has measured. `harness.json` holds it, and the page is made of nothing else.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A run of the harness: what was compared, on which machine, under which loads.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) machine: Machine,
    /// The options.
    pub(crate) settings: Value,
    pub(crate) systems: Vec<System>,
    pub(crate) loads: Vec<Load>,
}

/// The machine that the measurement ran on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) begun: String,
    pub(crate) cores: usize,
    pub(crate) processor: String,
    pub(crate) memory_gb: f64,
    pub(crate) kernel: String,
    /// The file system of the scratch directory.
    pub(crate) file_system: String,
    /// Before, over the last one, five and fifteen minutes: whether the machine had other things to do.
    pub(crate) load_average: String,
    pub(crate) crates: BTreeMap<String, String>,
}

/// A system that was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct System {
    /// Its name as an option.
    pub(crate) name: String,
    /// Its name in the README.
    pub(crate) title: String,
    pub(crate) guarantee: String,
    /// It is of this crate.
    pub(crate) ours: bool,
    /// It sends what it takes to the endpoint.
    pub(crate) delivers: bool,
}

/// An application, as which each system was put under load, and what became of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Load {
    pub(crate) title: String,
    /// Says in a sentence or two what was done.
    pub(crate) caption: String,
    /// It emits at a rate, whatever becomes of the records; otherwise as many as each system takes.
    pub(crate) is_paced: bool,
    pub(crate) rounds: Vec<Measurement>,
}

/// All that is known of a round of a system.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Measurement {
    pub(crate) system: String,
    pub(crate) round: u32,
    pub(crate) load_seconds: f64,
    /// When the endpoint was down, in seconds from the beginning.
    pub(crate) outage: Option<Range<f64>>,
    pub(crate) loaded: Loaded,
    pub(crate) arrivals: Arrivals,
    /// From the beginning to the last arrival.
    pub(crate) end_to_end_seconds: f64,
    pub(crate) disk_left_bytes: u64,
    pub(crate) samples: Vec<Sample>,
}

/// The report of the process under test when all is done.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Loaded {
    pub(crate) emitted: u64,
    /// The records that the SDK's queue had no room for.
    pub(crate) dropped_by_queue: u64,
    /// The records that were exported with an error.
    pub(crate) failed: u64,
    /// The records that still wait to be delivered, after all patience.
    pub(crate) waiting: u64,
    /// The time of an `emit`, in nanoseconds; nothing for a system that emits nothing.
    pub(crate) emit: Option<Latency>,
    /// How long the emitter waited for the SDK's queue, in microseconds, on average over its threads.
    pub(crate) stalled_micros: u64,
    /// The longest it waited at once.
    pub(crate) longest_stall_micros: u64,
    /// CPU time from the beginning of the load to the end of delivery, in microseconds.
    pub(crate) cpu_micros: u64,
    pub(crate) peak_memory_bytes: u64,
}

/// The arrivals when all is done.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Arrivals {
    /// Each number once.
    pub(crate) arrived: u64,
    pub(crate) duplicated: u64,
    /// Those that came after a later one of the same thread and partition.
    pub(crate) out_of_order: u64,
    /// The number of requests that were taken; their bodies are counted as they came.
    pub(crate) requests: u64,
    pub(crate) body_bytes: u64,
    /// When the last new one arrived, in microseconds since the epoch.
    pub(crate) last_micros: u64,
    /// From `emit` to here, in microseconds; `None` if nothing came.
    pub(crate) latency: Option<Latency>,
}

/// Percentiles, in whatever unit they were recorded.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
    pub(crate) max: u64,
}

/// The figures at a tick.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// Since the load began.
    pub(crate) seconds: f64,
    pub(crate) emitted: u64,
    /// Without what came again.
    pub(crate) arrived: u64,
    pub(crate) disk_bytes: u64,
    pub(crate) memory_bytes: u64,
    pub(crate) cpu_micros: u64,
}

impl Run {
    /// What the others are compared with: the exporter that is replaced, in the encoding that is its default.
    pub(super) fn base(&self) -> Option<&System> {
        let others = || self.systems.iter().filter(|system| !system.ours && system.delivers);
        others().find(|system| system.name == "otlp-protobuf").or_else(|| others().next())
    }
}

impl Load {
    /// The rounds of a system.
    pub(super) fn of<'a>(&'a self, system: &'a System) -> impl Iterator<Item = &'a Measurement> {
        self.rounds.iter().filter(|round| round.system == system.name)
    }
}

impl Measurement {
    /// Emitted, not arrived, and not waiting on disk either.
    pub(super) fn lost(&self) -> u64 {
        self.loaded.emitted.saturating_sub(self.arrivals.arrived + self.loaded.waiting)
    }

    /// The number of records that had arrived when the load ended.
    pub(super) fn arrived_under_load(&self) -> u64 {
        self.at(self.load_seconds).arrived
    }

    /// How much of the load the application got rid of while the endpoint was down, per second.
    pub(super) fn emitted_while_down(&self) -> Option<f64> {
        let outage = self.outage.as_ref()?;
        let (from, to) = (self.at(outage.start), self.at(outage.end.min(self.load_seconds)));
        let seconds = to.seconds - from.seconds;
        (seconds > 0.0).then(|| to.emitted.saturating_sub(from.emitted) as f64 / seconds)
    }

    /// The sample nearest to a moment.
    fn at(&self, seconds: f64) -> Sample {
        let distance = |sample: &&Sample| (sample.seconds - seconds).abs();
        let nearest = self.samples.iter().min_by(|one, other| distance(one).total_cmp(&distance(other)));
        nearest.cloned().unwrap_or_default()
    }

    pub(super) fn peak_disk_bytes(&self) -> u64 {
        self.samples.iter().map(|sample| sample.disk_bytes).max().unwrap_or(0)
    }
}
