//! Several systems side by side, end to end: from `emit`, a span's end or a metric's collection over HTTP to a receiver that
//! counts, under the same load and through the same outage. It prints how much arrives, how fast, at which cost, and how much is lost.
//!
//! ```text
//! cargo bench -p benches --bench harness
//! cargo bench -p benches --bench harness -- --seconds 30 --rate 50000 --outage 5..20 --outage-kind 503
//! cargo bench -p benches --bench harness -- --signal spans --rounds 3
//! cargo bench -p benches --bench harness -- --help
//! ```
//!
//! Prints tables and leaves `harness.html` and `harness.json` in `target/harness`; nothing else stays. Linux only: the
//! figures are from `/proc`. `--again target/harness/harness.json` makes the page again of the figures.
//!
//! This program starts itself twice for every system, so that memory and CPU time are the system's own (with the load
//! generator, which is the same for all): once as the receiver, once as the system under test. The three share a clock
//! and the ticks at which each notes what it sees, every 100 ms from the moment when the load begins.
//!
//! | file | what is there |
//! |---|---|
//! | `args.rs` | the options |
//! | `systems.rs` | **what is compared**: a line and a function for each system |
//! | `signals.rs` | how a log record, a span and a point of a metric are emitted |
//! | `counted.rs` | an exporter that counts what comes out of the SDK's queue |
//! | `load.rs` | the process under test: emits, waits for delivery, says what it cost |
//! | `receiver.rs` | the endpoint: goes down by script, counts what arrives, whatever the format |
//! | `mark.rs` | what a message carries so that it can be recognised |
//! | `child.rs` | starting, ordering about and hearing of the two child processes |
//! | `measure.rs` | one round of one system, seen from outside |
//! | `sample.rs` | the clock, `/proc` and the disk |
//! | `latency.rs` | percentiles |
//! | `machine.rs` | what it was measured on |
//! | `progress.rs` | bars in a terminal, a line a second elsewhere |
//! | `report/` | the figures (`figures.rs`: **what is reported**), the verdict, tables, charts and page, all of a `run.rs` |

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "figures for people"
)]

mod args;
mod child;
mod counted;
mod latency;
mod load;
mod machine;
mod mark;
mod measure;
mod progress;
mod receiver;
#[path = "../records/mod.rs"]
mod records;
mod report;
mod sample;
mod signals;
mod systems;

use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use clap::builder::PossibleValuesParser;
use clap::{CommandFactory, FromArgMatches};
use opentelemetry_spool::BoxError;

use crate::args::Args;
use crate::measure::INTERRUPTED;
use crate::progress::Progress;
use crate::report::run::{Load, Run, System};

/// Set by the first Ctrl-C; everything returns then, and takes its files and processes with it.
fn main() -> ExitCode {
    // The names of the systems are the systems' own.
    let systems = PossibleValuesParser::new(systems::names());
    let command = Args::command().mut_arg("systems", |arg| arg.value_parser(systems));
    let args = Args::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit());
    let outcome = match args.role.as_deref() {
        None => compare(&args),
        Some(child::RECEIVER) => receiver::main(&args),
        Some(system) => load::main(&args, systems::named(system)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) if INTERRUPTED.load(Ordering::Relaxed) => ExitCode::from(130),
        Err(error) => {
            eprintln!("harness: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Every system in every round, by turns, under each load; then the report.
fn compare(args: &Args) -> Result<(), BoxError> {
    args.check()?;
    std::fs::create_dir_all(&args.out)?;
    let run = match &args.again {
        Some(file) => serde_json::from_slice(&std::fs::read(file)?)?,
        None => measure_all(args)?,
    };
    publish(&run, args)
}

fn measure_all(args: &Args) -> Result<Run, BoxError> {
    note_interruptions()?;
    let machine = machine::look(&args.out)?;
    let (systems, loads) = (systems::chosen(args), args.loads());
    let progress = Progress::new(args, systems.len() * loads.len());
    let mut run = Run {
        machine,
        settings: serde_json::to_value(args)?,
        systems: systems.iter().map(|system| described(system, args)).collect(),
        loads: Vec::new(),
    };
    for args in loads {
        let mut rounds = Vec::new();
        for round in 1..=args.rounds {
            for system in &systems {
                rounds.push(measure::measure(&args, system, round, &progress)?);
            }
        }
        run.loads.push(Load { title: args.title(), caption: args.caption(), is_paced: args.rate.is_some(), rounds });
    }
    progress.finish();
    Ok(run)
}

fn described(system: &systems::System, args: &Args) -> System {
    System {
        name: system.name.to_owned(),
        title: (system.title)(args.signal).to_owned(),
        guarantee: system.guarantee.to_owned(),
        ours: system.ours,
        delivers: system.delivers(),
    }
}

/// Writes the files and prints the tables.
fn publish(run: &Run, args: &Args) -> Result<(), BoxError> {
    let (json, page) = (args.out.join("harness.json"), args.out.join("harness.html"));
    let text = serde_json::to_string(run)?;
    std::fs::write(&json, &text)?;
    let printed = if args.json {
        text
    } else {
        std::fs::write(&page, report::page(run))?;
        format!("{}\n{}\n{}\n", report::markdown(run), page.display(), json.display())
    };
    Ok(std::io::stdout().write_all(printed.as_bytes())?)
}

/// Lets Ctrl-C and a request to end be noticed instead of killing this process: a kill would leave the scratch files.
fn note_interruptions() -> Result<(), BoxError> {
    use tokio::signal::unix::{SignalKind, signal};

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate) = {
        let _entered = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        INTERRUPTED.store(true, Ordering::Relaxed);
    });
    Ok(())
}
