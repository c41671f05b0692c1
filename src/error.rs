//! The errors: one enum per fallible surface, and [`BoxError`] for the user's code.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

/// Any error, boxed: the error of user-supplied hooks and encoders.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// The error of [`LogExporterBuilder::build`](crate::LogExporterBuilder::build). Its text is one line that says it all; the only cause
/// apart from it is that of [`Invalid`](Self::Invalid).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExporterBuildError {
    /// A setting without a default is not set.
    #[error("`{setting}` is not set: {hint}")]
    Missing {
        /// The builder's method.
        setting: &'static str,
        /// The value to give, with an example.
        hint: &'static str,
    },
    /// A setting has an invalid value.
    #[error("`{setting}` is invalid: {reason}")]
    Invalid {
        /// The source of the value: the builder's method, the environment variable, or the line of the file.
        setting: String,
        /// The problem, and the values that are allowed.
        reason: String,
        /// The cause, if there is one.
        source: Option<BoxError>,
    },
    /// A relay could not listen on a socket.
    #[error("could not listen on {listener}: {error}")]
    Listen {
        /// The listener: what is spoken there, and its address or path.
        listener: String,
        /// The cause.
        error: std::io::Error,
    },
    /// The spool could not be opened.
    #[error("the spool could not be opened: {}", error_chain(.0))]
    Spool(SpoolError),
    /// A thread of the exporter could not be started.
    #[error("the delivery thread could not be started: {0}")]
    Thread(std::io::Error),
}

impl From<SpoolError> for ExporterBuildError {
    fn from(error: SpoolError) -> Self {
        Self::Spool(error)
    }
}

/// The error of opening, writing or reading the spool.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpoolError {
    /// An operation on a file or directory failed.
    #[error("could not {action} `{}`", path.display())]
    Io {
        /// The operation, as a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The storage engine failed.
    #[error("the storage engine could not {action} `{}`: {message}", path.display())]
    Storage {
        /// The operation, as a verb.
        action: &'static str,
        /// The directory of the database.
        path: PathBuf,
        /// The engine's message.
        message: String,
    },
    /// The storage engine or an encoder panicked.
    #[error("a panic while trying to {action} `{}`", path.display())]
    Panicked {
        /// The operation, as a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
    },
    /// The spool was written by a newer version of this crate.
    #[error("`{}` has spool format {found}; this version reads formats up to {supported}: start the one that wrote it, or give another directory", path.display())]
    NewerFormat {
        /// The spool directory.
        path: PathBuf,
        /// The format that was found.
        found: u32,
        /// The newest format that this version reads.
        supported: u32,
    },
    /// The spool was written by a version of this crate before its first release.
    #[error("`{}` has spool format {found}, of a development version: deliver it with that one", path.display())]
    OlderFormat {
        /// The spool directory.
        path: PathBuf,
        /// The format that was found.
        found: u32,
    },
    /// The directory is not a spool: its format file has other contents.
    #[error("`{}` is not a spool: its file `format` is missing, or reads {found:?}; is it the directory of `with_spool_dir`?", path.display())]
    NotASpool {
        /// The spool directory.
        path: PathBuf,
        /// The start of the file.
        found: String,
    },
    /// An exporter of the same signal in this process has the directory, and sends to another scheme, host or port.
    #[error(
        "`{}` is the spool of an exporter of {signal} of this process that sends to {other}, and this one sends to {origin}: \
         give each a directory of its own",
        path.display()
    )]
    OtherOrigin {
        /// The spool directory.
        path: PathBuf,
        /// The signal of both.
        signal: &'static str,
        /// The scheme, host and port of this exporter's endpoint.
        origin: String,
        /// Those of the other exporter's.
        other: String,
    },
    /// An encoded record exceeds 1 GiB.
    #[error("a record of {bytes} bytes is larger than the largest that the spool takes, {max_bytes} bytes")]
    RecordTooLarge {
        /// The size of the encoded record.
        bytes: usize,
        /// The largest size that is allowed.
        max_bytes: usize,
    },
    /// The spool has reached its limit and evicts nothing: see [`FullPolicy`](crate::FullPolicy).
    #[error("the spool `{}` is full: {reason}", path.display())]
    Full {
        /// The spool directory.
        path: PathBuf,
        /// The limit that is reached.
        reason: String,
    },
    /// The store of rejected records is full: nothing gives way, and what was rejected waits until there is room.
    #[error(
        "the rejected store `{}` is full: it may have {max_bytes} bytes; export and delete records, or raise its limit",
        path.display()
    )]
    RejectedStoreFull {
        /// The directory of the store.
        path: PathBuf,
        /// The most bytes that it may have.
        max_bytes: u64,
    },
    /// This build of the crate lacks a feature that the stored records need.
    #[error("to {action}, this crate needs its feature `{feature}`")]
    MissingFeature {
        /// The operation, as a verb.
        action: &'static str,
        /// The missing feature.
        feature: &'static str,
    },
    /// The process was forked from one that had built an exporter.
    #[error("the process was forked after an exporter was built: fork first, and build one in each process")]
    Forked,
    /// The spool has been shut down.
    #[error("the spool is shut down")]
    Closed,
}

impl SpoolError {
    /// Whether the disk has no space left.
    pub(crate) fn is_io(&self) -> bool {
        matches!(self, Self::Io { .. })
    }

    pub(crate) fn is_full(&self) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::Io { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
    }
}

/// The error of an invalid header. It says where the problem is and never shows the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// The name is not a header name. It is not shown, since it may be a misplaced value.
    #[error(
        "a header's name has a character at byte {at} that is not allowed, or none: allowed are letters, digits and !#$%&'*+-.^_`|~"
    )]
    Name {
        /// The position in the name.
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
        /// The byte.
        byte: u8,
        /// The position in the value.
        at: usize,
    },
    /// The header frames the request: the HTTP client sets it.
    #[error("header `{name}` frames the request and cannot be set; leave it out")]
    Framing {
        /// The header's name.
        name: String,
    },
}

/// The error of an invalid [`Template`](crate::Template).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// The template names a field that does not exist.
    #[error("there is no field `{field}`; there are {known}, attributes[NAME] and resource[NAME]")]
    UnknownField {
        /// The text between the braces.
        field: String,
        /// The fields that exist.
        known: String,
    },
    /// A brace is not closed, or closes nothing.
    #[error("the brace at byte {at} has no other one; one that is text is written twice")]
    Unbalanced {
        /// The position in the template.
        at: usize,
    },
    /// A label of a stream would not be the same for all of its records.
    #[error(
        "the label `{label}` differs from record to record; a label takes text, resource[NAME] and processName, and \
         `with_metadata` takes any field"
    )]
    DiffersByRecord {
        /// The name of the label.
        label: String,
    },
}

/// The reason why [`SpoolHandle::flush`](crate::SpoolHandle::flush) returned before everything was delivered.
///
/// No record is lost, but for [`NotWritten`](Self::NotWritten): undelivered records stay in the spool.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FlushError {
    /// The time was up.
    #[error("{pending} records were not delivered within {timeout:?} and stay in the spool")]
    Timeout {
        /// The time that was waited.
        timeout: Duration,
        /// The number of records that wait in the spool.
        pending: u64,
    },
    /// The exporter is shut down.
    #[error("the exporter is shut down; undelivered records stay in the spool")]
    ShutDown,
    /// Delivery is paused.
    #[error("delivery is paused")]
    Paused,
    /// The process was forked from one that had built an exporter: nothing is delivered here.
    #[error("the process was forked after an exporter was built: fork first, and build one in each process")]
    Forked,
    /// A relay was shut down while it could not write what it had in memory.
    #[error("records that were in memory could not be written, and are lost: {records}")]
    NotWritten {
        /// The number of records that are lost by it.
        records: u64,
    },
}

/// The error of [`Checkpoint::confirm`](crate::Checkpoint::confirm): not everything that was logged since the checkpoint is on
/// disk, or that cannot be known.
///
/// The counts are of all threads since the checkpoint. With all of them zero, the cause is the reason: the flush failed, or the
/// exporter is shut down.
#[derive(Debug, thiserror::Error)]
#[error(
    "not everything since the checkpoint is on disk: {failed_exports} exports failed; records: {not_written_records} not_written, \
     {buffer_full_records} buffer_full, {encode_failed_records} encode_failed"
)]
#[non_exhaustive]
pub struct CheckpointError {
    /// Calls of `export` that returned an error. A [`SpoolProcessor`](crate::SpoolProcessor), which retries, has none.
    pub failed_exports: u64,
    /// Records that were to be written to the spool and were not.
    pub not_written_records: u64,
    /// Records for which the buffer of a [`SpoolProcessor`](crate::SpoolProcessor) had no room.
    pub buffer_full_records: u64,
    /// Records for which the encoder or the partition key function failed.
    pub encode_failed_records: u64,
    /// The error of the flush, or that the exporter is shut down.
    pub source: Option<BoxError>,
}

impl CheckpointError {
    /// Whether nothing went wrong.
    pub(crate) fn is_none(&self) -> bool {
        let records = [self.not_written_records, self.buffer_full_records, self.encode_failed_records];
        self.failed_exports == 0 && records == [0; 3] && self.source.is_none()
    }
}

/// An error and its causes in one line: the HTTP client names the problem only in the innermost one.
pub(crate) fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}
