//! [`Findings`]: what a purge finds, and what it cannot do.

use crate::error::{SpoolError, error_chain};

/// How many records are chosen, by where they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chosen {
    /// In segments, those that wait to be delivered, and those that are deferred.
    pub(crate) waiting: u64,
    /// In segments, those that are delivered or rejected.
    pub(crate) done: u64,
    /// In journals alone.
    pub(crate) journaled: u64,
    pub(crate) quarantined: u64,
    pub(crate) rejected: u64,
}

impl Chosen {
    pub(crate) fn all(&self) -> u64 {
        self.waiting + self.done + self.journaled + self.quarantined + self.rejected
    }

    pub(super) fn add(&mut self, other: Self) {
        self.waiting += other.waiting;
        self.done += other.done;
        self.journaled += other.journaled;
        self.quarantined += other.quarantined;
        self.rejected += other.rejected;
    }
}

/// The findings of a purge, or of a look at what one would do.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) chosen: Chosen,
    /// What could not be searched, or not be written, and why.
    pub(crate) not_purged: Vec<String>,
    /// What was damaged, and is repaired or deleted.
    pub(crate) damage: Vec<String>,
}

impl Findings {
    pub(super) fn note<T>(&mut self, what: impl FnOnce() -> String, result: Result<T, SpoolError>) -> Option<T> {
        result.map_err(|error| self.not_purged.push(format!("{}: {}", what(), error_chain(&error)))).ok()
    }
}

/// Whether files are changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purging {
    /// It is only counted.
    Count,
    Erase,
}
