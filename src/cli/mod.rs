//! The command-line tool `otel-spool`.
//!
//! Each command has a file: its arguments, whose doc comments are the help, the completions and the man page, and its code.
//! `text` and `pretty` say how a record is printed.

mod assign;
mod cat;
mod check;
#[cfg(feature = "config-file")]
mod config_file;
mod drain;
mod generate;
mod ls;
mod outcome;
mod pretty;
mod purge;
mod rejected;
mod relay;
mod report;
mod salvage;
mod screen;
mod spool_arg;
mod stats;
mod survey;
mod text;
mod time;
mod top;
mod typed;
mod verify;

use std::io;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::error::error_chain;
use outcome::Failure;

const EXAMPLES: &str = "\
Examples:
  otel-spool ls /var/lib/checkout/spool
      what waits, since when, and why
  otel-spool top /var/lib/checkout/spool
      the same, live
  otel-spool check --send
      whether the settings of a service hold, before it starts
  otel-spool cat --pretty -n 10 /var/lib/checkout/spool
  otel-spool drain /var/lib/checkout/spool
      delivers what a service has left that does not come back

Exit codes:
  0  done
  1  damage was found, the endpoint rejected records, or the tool refused to act
  2  the command line is wrong
  3  not everything could be delivered; the rest stays in the spool
  4  the spool cannot be opened, or all of it is in use";

/// Inspects, delivers and repairs the spools of opentelemetry-spool
///
/// A spool consists of queues, one for each exporter that uses it. A queue whose owner is gone (the process ended or was
/// killed) can be read, verified, delivered and deleted. A queue whose owner is alive is read without disturbing the owner.
/// Only `relay`, `drain`, `assign`, `purge` and `rejected retry` change a spool.
#[derive(Debug, Parser)]
#[command(name = "otel-spool", version, after_help = EXAMPLES)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Ls(ls::Args),
    Cat(cat::Args),
    Stats(stats::Args),
    Top(top::Args),
    Verify(verify::Args),
    Check(check::Args),
    Drain(drain::Args),
    Assign(assign::Args),
    Relay(Box<relay::Args>),
    Rejected(rejected::Args),
    Salvage(salvage::Args),
    Purge(purge::Args),
    Report(report::Args),
    Completions(generate::Completions),
    Man(generate::Man),
}

/// Runs the tool with the process's arguments.
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Help is no error, and neither is a closed terminal.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let outcome = match args.command {
        Command::Ls(args) => ls::run(&args),
        Command::Cat(args) => cat::run(&args),
        Command::Stats(args) => stats::run(&args),
        Command::Top(args) => top::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Drain(args) => drain::run(&args),
        Command::Assign(args) => assign::run(&args),
        Command::Relay(args) => relay::run(&args),
        Command::Rejected(args) => rejected::run(args),
        Command::Salvage(args) => salvage::run(&args),
        Command::Purge(args) => purge::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Completions(args) => generate::completions(&args, Args::command()),
        Command::Man(_) => generate::man(Args::command()),
    };
    match outcome {
        Ok(end) => ExitCode::from(end.exit_code()),
        // The reader has closed the pipe: it has enough.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            screen::note(&typed::in_text(&error_chain(&failure)));
            ExitCode::from(failure.exit_code())
        }
    }
}
