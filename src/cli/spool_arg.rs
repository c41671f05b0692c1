//! [`Spool`]: the arguments that every command on a spool has.

use std::path::PathBuf;

use clap::ValueHint;

use super::outcome::Failure;
use super::screen::Screen;
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

impl Spool {
    pub(super) fn open(&self) -> Result<(Directory, Screen), Failure> {
        Ok((Directory::open(&self.dir)?, Screen::new(self.json)))
    }
}
