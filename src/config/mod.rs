//! Settings: as values, as a table, and from where they come.

pub(crate) mod directory;
pub(crate) mod environment;
#[cfg(feature = "config-file")]
pub(crate) mod file;
pub(crate) mod format;
mod mount;
mod nearest;
pub(crate) mod parse;
pub(crate) mod resolve;
pub(crate) mod table;
pub(crate) mod values;
mod warnings;
