//! [`Spool`]: the arguments that every command on a spool has, and [`OfSignal`], by which many choose queues.

use std::path::PathBuf;
use std::{fs, io};

use clap::ValueHint;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::outcome::Failure;
use super::screen::Screen;
use crate::config::directory;
use crate::config::values::Signal;
use crate::error::SpoolError;
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

pub(super) fn signal_parser() -> impl TypedValueParser<Value = Signal> {
    let unknown = "it is no signal that this version knows";
    PossibleValuesParser::new(Signal::ALL.map(Signal::name)).try_map(move |name| Signal::parse(&name).ok_or(unknown))
}

impl Spool {
    pub(super) fn open(&self) -> Result<(Directory, Screen), Failure> {
        let directory = Directory::open(&self.dir).map_err(|error| self.hint(error))?;
        Ok((directory, Screen::new(self.json)))
    }

    /// How many bytes are free on its disk.
    pub(super) fn free_bytes(&self) -> Option<u64> {
        directory::free_bytes(&self.dir)
    }

    /// Says of a directory in which there is no spool where there is one.
    fn hint(&self, error: SpoolError) -> Failure {
        let given = self.dir.display();
        match fs::metadata(&self.dir) {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => return Failure::NoSpool(format!("`{given}` is a file: give the directory of a spool")),
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => {
                return Failure::NoSpool(format!("there is no directory `{given}`: give that of a spool"));
            }
            Err(_) => return error.into(),
        }
        let reason = match &error {
            SpoolError::NotASpool { found, .. } if found.is_empty() => "it has no file `format`".to_owned(),
            SpoolError::NotASpool { found, .. } => format!("its file `format` reads {found:?}"),
            _ => return error.into(),
        };
        let path = fs::canonicalize(&self.dir).unwrap_or_else(|_| self.dir.clone());
        if let Some(spool) = path.ancestors().skip(1).find(|above| Directory::is_one(above)) {
            let (spool, name) = (spool.display(), path.file_name().unwrap_or_default().to_string_lossy());
            return Failure::NoSpool(match Directory::queue_in_name(&name) {
                Some(queue) => format!(
                    "`{given}` is a queue of the spool `{spool}`: give that directory; `cat` and `purge` take `--queue {queue}`"
                ),
                None => format!("`{given}` is a part of the spool `{spool}`: give that directory"),
            });
        }
        let below = fs::read_dir(&path).into_iter().flatten().flatten().map(|found| found.path());
        let mut spools: Vec<_> = below.filter(|path| Directory::is_one(path)).collect();
        spools.sort();
        Failure::NoSpool(match spools.first() {
            Some(spool) => format!("`{given}` is not a spool; `{}` is one", spool.display()),
            None => format!(
                "`{given}` is not a spool: {reason}; give the directory that the service has for its spool, such as the one in \
                 OTEL_EXPORTER_SPOOL_DIR"
            ),
        })
    }
}
