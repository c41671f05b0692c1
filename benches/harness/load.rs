//! The process under test: one system and what emits into it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_spool::BoxError;

use crate::args::Args;
use crate::child::{Order, Orders, Told, tell};
use crate::counted::Taken;
use crate::latency::{histogram, percentiles};
use crate::mark::Messages;
use crate::report::run::Loaded;
use crate::sample;
use crate::systems::{Pipeline, PlainFile, Start, System};

/// How long the emitter sleeps when it is ahead of its rate or of the exporter.
const NAP: Duration = Duration::from_micros(500);

/// The counts of the emitters while they run.
#[derive(Debug, Default)]
struct Counts {
    emitted: AtomicU64,
    stalled_micros: AtomicU64,
    longest_stall_micros: AtomicU64,
}

pub(crate) fn main(args: &Args, system: &System) -> Result<(), BoxError> {
    match system.start {
        Start::Provider(start) => {
            let pipeline = start(args)?;
            under_load(|counts, begin| emit_and_settle(args, &pipeline, counts, begin));
            // The shutdown is not measured, but it is waited for: it may tidy up.
            let _ = pipeline.provider.shutdown();
        }
        Start::File(create) => {
            let file = create(args)?;
            under_load(|counts, begin| append(args, file, counts, begin));
        }
    }
    Ok(())
}

/// Waits for the beginning, tells at each tick how much was emitted, at last what it all cost, and returns when the
/// parent has read the rest from outside.
fn under_load(work: impl FnOnce(&Counts, u64) -> Loaded + Send) {
    let pid = std::process::id();
    let mut orders = Orders::new();
    tell(&Told::<Loaded>::Ready(0));
    let Order::Begin(begin) = orders.next() else { return };
    let counts = Counts::default();
    let cpu = sample::cpu_micros(pid);
    let done = std::thread::scope(|scope| {
        let working = scope.spawn(|| work(&counts, begin));
        for tick in 0.. {
            sleep(sample::until_tick(begin, tick));
            tell(&Told::<Loaded>::Tick(tick, counts.emitted.load(Ordering::Relaxed)));
            if working.is_finished() {
                break;
            }
        }
        working.join().expect("no panic under load")
    });
    let cpu_micros = sample::cpu_micros(pid) - cpu;
    tell(&Told::Done(Loaded { cpu_micros, peak_memory_bytes: sample::peak_memory_bytes(pid), ..done }));
    orders.next();
}

/// Emits from all threads, then waits until all is delivered that will be.
fn emit_and_settle(args: &Args, pipeline: &Pipeline, counts: &Counts, begin: u64) -> Loaded {
    let mut emit = histogram();
    std::thread::scope(|scope| {
        let start = |thread| scope.spawn(move || emit_records(args, pipeline, counts, begin, thread));
        let threads: Vec<_> = (0..args.threads).map(start).collect();
        for thread in threads {
            emit.add(thread.join().expect("no panic in emit")).expect("histograms of one kind");
        }
    });

    let deadline = Instant::now() + args.drain();
    // The SDK gives up a flush after 5 s and goes on with it.
    while let Err(OTelSdkError::Timeout(_)) = pipeline.provider.force_flush() {
        if Instant::now() > deadline {
            break;
        }
    }
    while (pipeline.waiting)() > 0 && Instant::now() < deadline {
        sleep(Duration::from_millis(10));
    }

    let emitted = counts.emitted.load(Ordering::Relaxed);
    let taken = pipeline.taken.as_deref();
    Loaded {
        emitted,
        dropped_by_queue: taken.map_or(0, |taken| emitted - taken.records()),
        failed: taken.map_or(0, Taken::failed),
        waiting: (pipeline.waiting)(),
        emit: Some(percentiles(&emit)),
        stalled_micros: counts.stalled_micros.load(Ordering::Relaxed) / args.threads,
        longest_stall_micros: counts.longest_stall_micros.load(Ordering::Relaxed),
        ..Loaded::default()
    }
}

/// Emits a thread's share of the load: every `threads`-th number, the partitions in turn.
fn emit_records(args: &Args, pipeline: &Pipeline, counts: &Counts, begin: u64, thread: u64) -> Histogram<u64> {
    let mut nanos = histogram();
    let messages = Messages::of_bytes(args.record_bytes);
    let mut emitter = pipeline.provider.emitter();
    let queue = pipeline.taken.as_deref().zip(args.in_queue());
    let interval = args.rate.map(|rate| Duration::from_secs_f64(args.threads as f64 / rate as f64));
    sleep(sample::until(begin));
    let started = Instant::now();
    for turn in 0u32.. {
        if let Some(interval) = interval {
            let due = interval.mul_f64(f64::from(turn));
            while started.elapsed() < due.min(args.load()) {
                sleep(NAP);
            }
        }
        if let Some((taken, most)) = queue {
            let waiting = Instant::now();
            let is_full = || counts.emitted.load(Ordering::Relaxed).saturating_sub(taken.records()) >= most;
            while is_full() && started.elapsed() < args.load() {
                sleep(NAP);
            }
            let waited = waiting.elapsed().as_micros() as u64;
            counts.stalled_micros.fetch_add(waited, Ordering::Relaxed);
            counts.longest_stall_micros.fetch_max(waited, Ordering::Relaxed);
        }
        if started.elapsed() >= args.load() {
            break;
        }
        let number = u64::from(turn) * args.threads + thread;
        let message = messages.message(number, sample::now());
        let partition = (args.partitions > 1).then_some(u64::from(turn) % args.partitions);
        // Before it is there for the exporter to be counted.
        counts.emitted.fetch_add(1, Ordering::Relaxed);
        nanos.saturating_record(emitter.emit(message, partition).as_nanos() as u64);
    }
    nanos
}

/// The yardstick: batch after batch.
fn append(args: &Args, mut file: PlainFile, counts: &Counts, begin: u64) -> Loaded {
    sleep(sample::until(begin));
    let started = Instant::now();
    while started.elapsed() < args.load() {
        let emitted = counts.emitted.load(Ordering::Relaxed);
        let due = args.rate.map(|rate| started.elapsed().as_secs_f64() * rate as f64);
        if due.is_some_and(|due| ((emitted + PlainFile::BATCH) as f64) > due) {
            sleep(NAP);
            continue;
        }
        file.append().expect("a disk that takes it");
        counts.emitted.fetch_add(PlainFile::BATCH, Ordering::Relaxed);
    }
    Loaded { emitted: counts.emitted.load(Ordering::Relaxed), ..Loaded::default() }
}
