//! A round of one system, seen from outside.

use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;

use opentelemetry_spool::BoxError;

use crate::args::Args;
use crate::child::{Child, Order, RECEIVER};
use crate::progress::Progress;
use crate::report::run::{Arrivals, Loaded, Measurement, Sample};
use crate::sample;
use crate::systems::System;

/// The process was asked to end.
pub(crate) static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From the order to begin to the beginning, in microseconds.
const HEAD_START: u64 = 200_000;

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
    let mut options: Vec<OsString> = vec!["--port".into(), port.into(), "--dir".into(), dir.into()];
    options.extend(args.rate.map(|rate| format!("--rate={rate}").into()));
    let mut load: Child<Loaded> = Child::start(system.name, options)?;
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
    let disk_left_bytes = sample::disk_bytes(dir);
    progress.end();
    Ok(Measurement {
        system: system.name.to_owned(),
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
