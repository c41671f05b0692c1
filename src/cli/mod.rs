//! The command-line tool `otel-spool`.
//!
//! Each command has a file: its arguments, whose doc comments are the help, the completions and the man page, and its code.

mod cat;
mod drain;
mod generate;
mod ls;
mod purge;
mod rejected;
mod salvage;
mod screen;
mod stats;
mod survey;
mod time;
mod verify;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueHint};

use crate::error::error_chain;
use crate::error::{ExporterBuildError, HeaderError, SpoolError};
use crate::spool::inspect::Directory;
use screen::Screen;

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
/// killed) can be read, verified, delivered and deleted. A queue whose owner is alive is read without disturbing the owner;
/// only the owner knows which of its records are delivered, so counts include those. Only `drain`, `purge` and `rejected
/// retry` change a spool.
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
    Rejected(rejected::Args),
    Salvage(salvage::Args),
    Purge(purge::Args),
    Completions(generate::Completions),
    Man(generate::Man),
}

/// The spool and the form of the output.
#[derive(Clone, Debug, clap::Args)]
struct Spool {
    /// The directory of the spool
    #[arg(value_name = "SPOOL", value_hint = ValueHint::DirPath)]
    dir: PathBuf,
    /// Print JSON, also on a terminal
    #[arg(long)]
    json: bool,
}

impl Spool {
    fn open(&self) -> Result<(Directory, Screen), Failure> {
        Ok((Directory::open(&self.dir)?, Screen::new(self.json)))
    }
}

/// The end of a command that did its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Done,
    /// Damage was found, or records were rejected, or the tool refused a part.
    Wrong,
    /// Not everything could be delivered.
    Left,
}

/// The reason why a command did not do its work.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the output could not be written")]
    Output(#[from] io::Error),
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    InUse(String),
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error(transparent)]
    Build(#[from] ExporterBuildError),
    #[error(transparent)]
    Header(#[from] HeaderError),
}

impl Failure {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Output(_) | Self::Refused(_) => 1,
            Self::Usage(_)
            | Self::Header(_)
            | Self::Build(ExporterBuildError::Missing { .. } | ExporterBuildError::Invalid { .. }) => 2,
            Self::InUse(_) | Self::Spool(_) | Self::Build(_) => 4,
        }
    }
}

type Outcome = Result<End, Failure>;

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
        Command::Rejected(args) => rejected::run(args),
        Command::Salvage(args) => salvage::run(&args),
        Command::Purge(args) => purge::run(&args),
        Command::Completions(args) => generate::completions(&args),
        Command::Man(_) => generate::man(),
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
