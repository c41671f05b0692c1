//! Positions of records in a spool.

/// Where a batch begins: the segment, and the record's number in its lane. It names the batch until that is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct BatchStart {
    pub(crate) segment: u64,
    pub(crate) record: u64,
}
