//! Positions of records in a spool. They are plain numbers.

/// The id of a segment: no two have the same, on whatever machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentId {
    pub(super) queue: u64,
    pub(super) number: u64,
}

/// A lane: one partition in one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LaneId {
    pub(super) segment: u64,
    pub(super) lane: u32,
}

/// A batch start: the segment, and the record's number in its lane. It names the batch until that is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct BatchStart {
    pub(crate) segment: u64,
    pub(crate) record: u64,
}
