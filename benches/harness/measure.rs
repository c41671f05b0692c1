//! A round of one system, seen from outside.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;

use opentelemetry_spool::BoxError;
use serde::Serialize;

use crate::args::Args;
use crate::child::{Child, Order, RECEIVER};
use crate::load::Loaded;
use crate::progress::Progress;
use crate::receiver::Arrivals;
use crate::sample::{self, Sample};
use crate::systems::System;

/// The process was asked to end.
pub(crate) static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From the order to begin to the beginning, in microseconds.
const HEAD_START: u64 = 200_000;

/// All that is known of a round of a system.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measurement {
    pub(crate) system: &'static str,
    pub(crate) round: u32,
    pub(crate) load_seconds: f64,
    /// When the endpoint was down.
    #[serde(skip)]
    outage: Option<Range<f64>>,
    pub(crate) loaded: Loaded,
    pub(crate) arrivals: Arrivals,
    /// From the beginning to the last arrival.
    pub(crate) end_to_end_seconds: f64,
    pub(crate) disk_left_bytes: u64,
    pub(crate) samples: Vec<Sample>,
}

pub(crate) fn measure(
    args: &Args,
    system: &'static System,
    round: u32,
    progress: &Progress,
) -> Result<Measurement, BoxError> {
    let scratch = tempfile::Builder::new().prefix("scratch-").tempdir_in(&args.out)?;
    let dir = scratch.path();
    let mut receiver: Child<Arrivals> = Child::start(RECEIVER, [""; 0])?;
    let port = receiver.ready()?.to_string();
    let mut load: Child<Loaded> =
        Child::start(system.name, ["--port".as_ref(), port.as_ref(), "--dir".as_ref(), dir.as_os_str()])?;
    load.ready()?;
    let begin = sample::now() + HEAD_START;
    receiver.order(&Order::Begin(begin))?;
    load.order(&Order::Begin(begin))?;
    progress.begin(system.name, round);

    let (mut emitted, mut arrived, mut samples) = (Vec::new(), Vec::new(), Vec::new());
    let (idle_cpu, pid) = (sample::cpu_micros(load.pid()), load.pid());
    let loaded = loop {
        sleep(sample::until_tick(begin, samples.len()));
        if INTERRUPTED.load(Ordering::Relaxed) {
            return Err("interrupted".into());
        }
        samples.push(Sample {
            seconds: (sample::now().saturating_sub(begin)) as f64 / 1e6,
            disk_bytes: sample::disk_bytes(dir),
            memory_bytes: sample::memory_bytes(pid),
            cpu_micros: sample::cpu_micros(pid) - idle_cpu,
            ..Sample::default()
        });
        let done = load.hear(&mut emitted)?;
        receiver.hear(&mut arrived)?;
        let counted = if system.delivers() { &arrived } else { &emitted };
        progress.show(&Sample {
            emitted: emitted.last().copied().unwrap_or(0),
            arrived: counted.last().copied().unwrap_or(0),
            ..samples[samples.len() - 1].clone()
        });
        if let Some(done) = done {
            break done;
        }
    };
    let mut arrivals = receiver.last_words(&mut arrived)?;
    load.end()?;
    if !system.delivers() {
        arrivals = Arrivals { arrived: loaded.emitted, ..arrivals };
        arrived.clone_from(&emitted);
    }
    for (tick, sample) in samples.iter_mut().enumerate() {
        sample.emitted = emitted.get(tick).copied().unwrap_or(loaded.emitted);
        sample.arrived = arrived.get(tick).copied().unwrap_or(arrivals.arrived);
    }
    let end_to_end_seconds = match arrivals.last_micros {
        0 => args.seconds,
        last => last.saturating_sub(begin) as f64 / 1e6,
    };
    let (system, disk_left_bytes) = (system.name, sample::disk_bytes(dir));
    progress.end();
    Ok(Measurement {
        system,
        round,
        load_seconds: args.seconds,
        outage: args.outage(),
        loaded,
        arrivals,
        end_to_end_seconds,
        disk_left_bytes,
        samples,
    })
}

impl Measurement {
    /// Emitted, not arrived, and not waiting on disk either.
    pub(crate) fn lost(&self) -> u64 {
        self.loaded.emitted.saturating_sub(self.arrivals.arrived + self.loaded.waiting)
    }

    /// The number of records that had arrived when the load ended.
    pub(crate) fn arrived_under_load(&self) -> u64 {
        self.at(self.load_seconds).arrived
    }

    /// How much of the load the application got rid of while the endpoint was down, per second.
    pub(crate) fn emitted_while_down(&self) -> Option<f64> {
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

    pub(crate) fn peak_disk_bytes(&self) -> u64 {
        self.samples.iter().map(|sample| sample.disk_bytes).max().unwrap_or(0)
    }
}
