//! [`Spool`]: the arguments that every command on a spool has, and [`OfSignal`], by which many choose queues.

use std::path::PathBuf;

use clap::ValueHint;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::outcome::Failure;
use super::screen::Screen;
use crate::config::values::Signal;
use crate::spool::inspect::Directory;

/// The spool and the form of the output.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Spool {
    /// The directory of the spool
    #[arg(value_name = "SPOOL", value_hint = ValueHint::DirPath)]
    pub(super) dir: PathBuf,
    /// Print JSON, also on a terminal
    #[arg(long)]
    pub(super) json: bool,
}

/// The choice of a signal.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct OfSignal {
    /// Only what is of this signal
    #[arg(long, value_name = "SIGNAL", value_parser = signal_parser())]
    pub(super) signal: Option<Signal>,
}

fn signal_parser() -> impl TypedValueParser<Value = Signal> {
    let unknown = "it is no signal that this version knows";
    PossibleValuesParser::new(Signal::ALL.map(Signal::name)).try_map(move |name| Signal::parse(&name).ok_or(unknown))
}

impl Spool {
    pub(super) fn open(&self) -> Result<(Directory, Screen), Failure> {
        Ok((Directory::open(&self.dir)?, Screen::new(self.json)))
    }
}
