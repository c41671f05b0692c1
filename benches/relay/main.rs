//! What the relay takes in: `cargo bench -p benches --bench relay -- frames|otlp|requests|memory [--seconds 5] [--rounds 3]`.
//!
//! Both sides of each comparison run by turns, on the same machine at the same time of the day; the figures are medians of the rounds with
//! the least and the greatest. Whoever is compared is started anew for each round.
//!
//! | mode | the relay | compared with |
//! |---|---|---|
//! | `frames` | pickled frames over 8 connections, committed and synced | the receiver of Python's logging cookbook (`cookbook.py`), which syncs nothing |
//! | `otlp` | OTLP in protobuf, 512 records a request, synced before the answer, 8 connections | rotel with its blackhole exporter, which keeps nothing |
//! | `requests` | a form a record, one client, one after the other | a server that answers at once, and two fdatasync |
//! | `memory` | frames over 64 connections | its peak |
#![allow(missing_docs, clippy::pedantic)]

mod load;
mod peers;

use std::time::{Duration, Instant};

use clap::Parser;

use load::{Frames, Window};
use peers::{Cookbook, Receiver, Relay, Rotel};

#[derive(Debug, Parser)]
struct Args {
    /// frames, otlp, requests, memory; `serve` is the relay's own process
    mode: String,
    /// Arguments of `serve`
    rest: Vec<String>,
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let args = Args::parse();
    let length = Duration::from_secs_f64(args.seconds);
    match &*args.mode {
        "serve" => peers::serve(&args.rest),
        "frames" => frames(length, args.rounds),
        "otlp" => otlp(length, args.rounds),
        "requests" => requests(length, args.rounds),
        "memory" => memory(length, args.rounds),
        other => panic!("there is no mode {other}"),
    }
}

/// The median, with the least and the greatest.
fn median(name: &str, unit: &str, mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let median = values[values.len() / 2];
    println!("{name:<40} {median:>12.0} {unit} ({:.0} to {:.0})", values[0], values[values.len() - 1]);
    median
}

/// How often a receiver says what it has taken. The relay looks at each of its files then: asked every millisecond, it had an eighth of a core
/// to do with that.
const ASKED_EVERY: Duration = Duration::from_millis(5);

/// The rate at which a receiver takes frames in and puts them where it puts them, with no more on their way than it can hold: the relay
/// drops what is above that, and who is compared makes its clients wait.
fn rate(receiver: &mut dyn Receiver, length: Duration, connections: usize) -> f64 {
    let begun = Instant::now();
    let to = receiver.frames();
    let window = Window::default();
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| Frames::captured().send(to, connections, length, &window));
        while !sending.is_finished() {
            window.note_taken(receiver.taken());
            std::thread::sleep(ASKED_EVERY);
        }
        let sent = sending.join().unwrap();
        while receiver.taken() < sent {
            std::thread::sleep(ASKED_EVERY);
        }
        sent as f64 / begun.elapsed().as_secs_f64()
    })
}

fn frames(length: Duration, rounds: usize) {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        theirs.push(rate(&mut Cookbook::start(), length, 8));
        ours.push(rate(&mut Relay::start(), length, 8));
    }
    let theirs = median("cookbook", "records/s", theirs);
    let ours = median("relay, synced", "records/s", ours);
    println!("{:<40} {:>12.1} times", "relay / cookbook", ours / theirs);
}

fn otlp(length: Duration, rounds: usize) {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let Some(rotel) = Rotel::start() else { panic!("there is no rotel: tests/receivers/install.sh installs it") };
        theirs.push(load::send_otlp(rotel.address(), 8, length));
        drop(rotel);
        ours.push(load::send_otlp(Relay::start().http(), 8, length));
    }
    let theirs = median("rotel, kept nowhere", "records/s", theirs);
    let ours = median("relay, synced", "records/s", ours);
    println!("{:<40} {:>12.2}", "relay / rotel", ours / theirs);
}

fn requests(length: Duration, rounds: usize) {
    let (mut ours, mut theirs, mut syncs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let address = peers::answer_at_once();
        theirs.push(load::time_per_form(address, length));
        syncs.push(load::time_per_sync(length));
        ours.push(load::time_per_form(Relay::start().http(), length));
    }
    let micros = |values: Vec<Duration>| values.into_iter().map(|value| value.as_secs_f64() * 1e6).collect();
    let theirs = median("answered at once, kept nowhere", "us", micros(theirs));
    let sync = median("fdatasync of 4 KiB", "us", micros(syncs));
    let ours = median("relay, synced", "us", micros(ours));
    println!("{:<40} {:>12.2} (goal: at most 2)", "(relay - at once) / fdatasync", (ours - theirs) / sync);
}

fn memory(length: Duration, rounds: usize) {
    let (mut rates, mut peaks) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let mut relay = Relay::start();
        rates.push(rate(&mut relay, length, 64));
        peaks.push(relay.peak_bytes() as f64 / 1e6);
    }
    median("64 connections", "records/s", rates);
    median("peak", "MB", peaks);
}
