//! [`Look`]: what is in the place of a spool before one is opened there. It reads and changes nothing, whoever owns what.

use std::path::Path;

use super::dir::{has_format, walk};
use crate::error::SpoolError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    /// There is a spool, of a format that this version reads.
    pub(crate) is_spool: bool,
    /// The bytes that all of it takes on disk, as far as that can be measured.
    pub(crate) bytes: u64,
}

impl Look {
    /// # Errors
    ///
    /// If there is something else, or a spool that this version does not read.
    pub(crate) fn at(root: &Path) -> Result<Self, SpoolError> {
        let is_spool = has_format(root)?;
        Ok(Self { is_spool, bytes: if is_spool { walk(root).unwrap_or(0) } else { 0 } })
    }
}
