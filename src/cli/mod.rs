//! The command-line tool `otel-spool`.
//!
//! One file per command: its arguments, whose comments are the help, the completions and the man page, and what it does.

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
  1  damage was found, or something was refused: by this tool, or records by the endpoint
  2  the command line is wrong
  3  not everything could be delivered; what is left stays in the spool
  4  the spool cannot be opened, or all of it is in use";

/// Looks into spools of opentelemetry-spool, and delivers what is in them.
///
/// A spool consists of queues, one for each exporter that uses it. A queue whose owner is gone (the process ended or was
/// killed) can be read, verified, delivered and deleted. One whose owner is alive is read without disturbing it; it is
/// not known then what of it is delivered, so its counts include that. Nothing but `drain`, `purge` and `rejected retry`
/// changes anything in a spool.
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

/// Which spool, and how it is shown.
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

/// How a command ended that did what it could.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Done,
    /// Damage was found, or something was refused.
    Wrong,
    /// Not everything could be delivered.
    Left,
}

/// Why a command did not do what it was asked for.
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
            // Help is no error; a closed terminal is nobody's.
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
        // Whoever read it has enough.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            screen::note(&error_chain(&failure));
            ExitCode::from(failure.exit_code())
        }
    }
}
