//! [`Outcome`]: how a command ends, and the exit code that says so.

use std::io;

use crate::error::{ExporterBuildError, HeaderError, SpoolError};

/// The end of a command that did its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Done,
    /// Damage was found, or records were rejected, or the tool refused a part.
    Wrong,
    /// A setting that was to be tried is missing or not allowed.
    Misconfigured,
    /// Not everything could be delivered.
    Left,
    /// No spool can be kept where one was to be.
    Unusable,
}

impl End {
    pub(super) fn exit_code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Wrong => 1,
            Self::Misconfigured => 2,
            Self::Left => 3,
            Self::Unusable => 4,
        }
    }
}

/// The reason why a command did not do its work.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("the output could not be written")]
    Output(#[from] io::Error),
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    NoSpool(String),
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
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Output(_) | Self::Refused(_) => 1,
            Self::Usage(_)
            | Self::Header(_)
            | Self::Build(ExporterBuildError::Missing { .. } | ExporterBuildError::Invalid { .. }) => 2,
            Self::NoSpool(_) | Self::InUse(_) | Self::Spool(_) | Self::Build(_) => 4,
        }
    }
}

pub(super) type Outcome = Result<End, Failure>;
