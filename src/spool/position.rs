//! Positions of records in a spool. They are plain numbers.

use std::fmt;

/// The id of a segment. `random` is drawn when the segment is made, and no two segments have the same, on whatever machine:
/// checksums and the ids of batches are made from it, so that they name one content also where a spool was copied. `number`
/// orders the segments of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SegmentId {
    pub(super) number: u64,
    pub(super) random: u64,
}

impl SegmentId {
    /// The id that a name spells.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let (number, random) = name.split_once('-')?;
        let id = Self { number: number.parse().ok()?, random: parse_hex(random)? };
        // Spelt otherwise, it would be looked for under another name.
        (id.to_string() == name).then_some(id)
    }
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:010}-{:016x}", self.number, self.random)
    }
}

/// A number in 16 hexadecimal digits.
pub(super) fn parse_hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok().filter(|number| format!("{number:016x}") == text)
}

/// A lane: one partition in one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LaneId {
    pub(super) segment: SegmentId,
    pub(super) lane: u32,
}

/// A batch start: the segment, and the record's number in its lane. It names the batch until that is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct BatchStart {
    pub(crate) segment: SegmentId,
    pub(crate) record: u64,
}

impl BatchStart {
    /// So many records behind it in the lane.
    pub(crate) fn plus(self, records: u64) -> Self {
        Self { record: self.record + records, ..self }
    }

    /// The start of a batch that lies in no spool.
    #[cfg(test)]
    pub(crate) fn outside(record: u64) -> Self {
        Self { segment: SegmentId { number: 0, random: 0 }, record }
    }
}
