//! One error enum per fallible surface.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

/// Any error, boxed: what user-supplied hooks and encoders return.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// Why [`LogExporterBuilder::build`](crate::LogExporterBuilder::build) failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExporterBuildError {
    /// A setting without a default was not given.
    #[error("`{setting}` is not set: {hint}")]
    Missing {
        /// The builder's method.
        setting: &'static str,
        /// What to give.
        hint: &'static str,
    },
    /// A setting has a value that is not allowed.
    #[error("`{setting}` is invalid: {reason}")]
    Invalid {
        /// Where it was given: the builder's method, the environment variable, or the line of the file.
        setting: String,
        /// What was wrong and what is allowed.
        reason: String,
        /// The cause, where there is one.
        source: Option<BoxError>,
    },
    /// The spool could not be opened.
    #[error("the spool could not be opened")]
    Spool(#[from] SpoolError),
    /// The thread that delivers could not be started.
    #[error("the delivery thread could not be started")]
    Thread(#[source] std::io::Error),
}

/// Why the spool could not be opened, written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpoolError {
    /// A file or directory could not be used.
    #[error("could not {action} `{}`", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The storage engine failed.
    #[error("the storage engine could not {action} `{}`: {message}", path.display())]
    Storage {
        /// What was attempted.
        action: &'static str,
        /// On which database.
        path: PathBuf,
        /// What the engine said.
        message: String,
    },
    /// Something panicked that must not.
    #[error("a panic while trying to {action} `{}`", path.display())]
    Panicked {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
    },
    /// The spool was written by a newer version of this crate.
    #[error("`{}` has spool format {found}; this version reads formats up to {supported}", path.display())]
    NewerFormat {
        /// The spool directory.
        path: PathBuf,
        /// The format that was found.
        found: u32,
        /// The newest format that this version reads.
        supported: u32,
    },
    /// The spool was written by a version of this crate from before its first release.
    #[error("`{}` has spool format {found}, of a development version: deliver it with that one", path.display())]
    OlderFormat {
        /// The spool directory.
        path: PathBuf,
        /// The format that was found.
        found: u32,
    },
    /// The directory has a format file that is not a spool's.
    #[error("`{}` is not a spool: its format file reads {found:?}", path.display())]
    NotASpool {
        /// The spool directory.
        path: PathBuf,
        /// The start of what the file holds.
        found: String,
    },
    /// A record is larger than the spool takes.
    #[error("a record of {bytes} bytes is larger than the largest that the spool takes, {max_bytes} bytes")]
    RecordTooLarge {
        /// The encoded record's size.
        bytes: usize,
        /// The largest size.
        max_bytes: usize,
    },
    /// The spool may not grow any more.
    #[error("the spool `{}` is full: {reason}", path.display())]
    Full {
        /// The spool directory.
        path: PathBuf,
        /// Which limit is reached.
        reason: String,
    },
    /// This build of the crate lacks something that an earlier one had.
    #[error("to {action} takes the feature `{feature}` of this crate")]
    MissingFeature {
        /// What was attempted.
        action: &'static str,
        /// What it takes.
        feature: &'static str,
    },
    /// This process was forked from one that had built an exporter already.
    #[error("the process was forked after an exporter was built: fork first, and build one in each process")]
    Forked,
    /// The spool has been shut down.
    #[error("the spool is shut down")]
    Closed,
}

impl SpoolError {
    /// There is no space left on the disk.
    pub(crate) fn is_full(&self) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::Io { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
    }
}

/// Why a header was not taken. Says where the trouble is, never the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// The name is not a header name. It is not repeated: often it is a value that went astray.
    #[error(
        "a header's name has a character at byte {at} that is not allowed, or none: allowed are letters, digits and !#$%&'*+-.^_`|~"
    )]
    Name {
        /// Where it stands in the name.
        at: usize,
    },
    /// The value has a character that a header cannot carry.
    #[error(
        "header `{name}`: the value has the control character {byte:#04x} at byte {at}; \
         allowed are visible characters, space and tab"
    )]
    Value {
        /// The header's name.
        name: String,
        /// The character.
        byte: u8,
        /// Where it stands in the value.
        at: usize,
    },
    /// The header is set by the client itself.
    #[error("header `{name}` frames the request and cannot be set")]
    Framing {
        /// The header's name.
        name: String,
    },
}

/// Why a [`Template`](crate::Template) was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// There is no field of this name.
    #[error("there is no field `{field}`; there are {known}, attributes[NAME] and resource[NAME]")]
    UnknownField {
        /// What stands between the braces.
        field: String,
        /// Those that there are.
        known: String,
    },
    /// A brace has no other one.
    #[error("the brace at byte {at} has no other one; one that is text is written twice")]
    Unbalanced {
        /// Where it stands.
        at: usize,
    },
}

/// Why [`SpoolHandle::flush`](crate::SpoolHandle::flush) returned before everything was delivered.
///
/// Nothing is lost: what is not delivered stays in the spool.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FlushError {
    /// The time was up.
    #[error("{pending} records were not delivered within {timeout:?} and stay in the spool")]
    Timeout {
        /// How long was waited.
        timeout: Duration,
        /// How many records wait in the spool.
        pending: u64,
    },
    /// The exporter is shut down.
    #[error("the exporter is shut down; what was not delivered stays in the spool")]
    ShutDown,
    /// Delivery is paused.
    #[error("delivery is paused")]
    Paused,
}

/// An error and its causes in one line: the HTTP client says what happened only in the innermost one.
pub(crate) fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}
