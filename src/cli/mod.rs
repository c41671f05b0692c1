//! The command-line tool `otel-spool`.
//!
//! Each command has a file: its arguments, whose doc comments are the help, the completions and the man page, and its code.
//! `text` and `pretty` say how a record is printed.

mod cat;
mod drain;
mod generate;
mod ls;
mod outcome;
mod pretty;
mod purge;
mod rejected;
mod relay;
mod salvage;
mod screen;
mod spool_arg;
mod stats;
mod survey;
mod text;
mod time;
mod verify;

use std::io;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::error::error_chain;
use outcome::{End, Failure};

const EXIT_CODES: &str = "\
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
/// Only `relay`, `drain`, `purge` and `rejected retry` change a spool.
#[derive(Debug, Parser)]
#[command(name = "otel-spool", version, after_help = EXIT_CODES)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Ls(ls::Args),
    Cat(cat::Args),
    Stats(stats::Args),
    Verify(verify::Args),
    Drain(drain::Args),
    Relay(Box<relay::Args>),
    Rejected(rejected::Args),
    Salvage(salvage::Args),
    Purge(purge::Args),
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
        Command::Verify(args) => verify::run(&args),
        Command::Drain(args) => drain::run(&args),
        Command::Relay(args) => relay::run(&args),
        Command::Rejected(args) => rejected::run(args),
        Command::Salvage(args) => salvage::run(&args),
        Command::Purge(args) => purge::run(&args),
        Command::Completions(args) => generate::completions(&args, Args::command()),
        Command::Man(_) => generate::man(Args::command()),
    };
    match outcome {
        Ok(End::Done) => ExitCode::SUCCESS,
        Ok(End::Wrong) => ExitCode::from(1),
        Ok(End::Left) => ExitCode::from(3),
        // The reader has closed the pipe: it has enough.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            screen::note(&error_chain(&failure));
            ExitCode::from(failure.exit_code())
        }
    }
}
