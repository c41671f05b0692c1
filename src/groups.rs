//! Encoded records by partition, in buffers that are used again.

use std::collections::HashMap;
use std::time::SystemTime;

use crate::spool::Group;

/// Buffers beyond this are given back.
const MAX_KEPT_BYTES: usize = 4 << 20;
const MAX_KEPT_BUFFERS: usize = 64;

/// What a record or a partition takes beside its bytes.
const RECORD_OVERHEAD: usize = size_of::<usize>();
const PARTITION_OVERHEAD: usize = size_of::<Group>() + 2 * size_of::<(String, usize)>();

/// A record as it goes over the wire.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Encoded<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) timestamp: Option<SystemTime>,
}

/// Records by partition, those of each in their order.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    /// Which buffer a key has.
    keys: HashMap<String, usize>,
    buffers: Vec<Group>,
    records: u64,
    bytes: usize,
}

impl Group {
    pub(crate) fn push(&mut self, record: Encoded<'_>, separator: &[u8]) {
        if !self.ends.is_empty() {
            self.payload.extend_from_slice(separator);
        }
        self.payload.extend_from_slice(record.bytes);
        self.ends.push(self.payload.len());
        if let Some(time) = record.timestamp {
            self.first_timestamp = Some(self.first_timestamp.map_or(time, |first| first.min(time)));
            self.last_timestamp = Some(self.last_timestamp.map_or(time, |last| last.max(time)));
        }
    }
}

impl Groups {
    pub(crate) fn push(&mut self, key: &str, record: Encoded<'_>, separator: &[u8]) {
        let at = self.keys.get(key).copied().unwrap_or_else(|| self.add_key(key));
        self.buffers[at].push(record, separator);
        self.records += 1;
        self.bytes += record.bytes.len() + separator.len() + RECORD_OVERHEAD;
    }

    #[cold]
    fn add_key(&mut self, key: &str) -> usize {
        let at = self.keys.len();
        self.keys.insert(key.to_owned(), at);
        self.bytes += key.len() + PARTITION_OVERHEAD;
        if at == self.buffers.len() {
            self.buffers.push(Group::default());
        }
        at
    }

    /// How many records there are.
    pub(crate) fn records(&self) -> u64 {
        self.records
    }

    /// What they take in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Every key with its records, in the order in which the keys were first seen.
    pub(crate) fn all(&self) -> Vec<(&str, &Group)> {
        let mut keys: Vec<_> = self.keys.iter().collect();
        keys.sort_unstable_by_key(|(_, at)| **at);
        keys.into_iter().map(|(key, at)| (key.as_str(), &self.buffers[*at])).collect()
    }

    /// Removes all records, and keeps what memory the next ones will hardly do without.
    pub(crate) fn clear(&mut self) {
        self.keys.clear();
        (self.records, self.bytes) = (0, 0);
        self.buffers.truncate(MAX_KEPT_BUFFERS);
        let mut kept = 0;
        self.buffers.retain_mut(|group| {
            group.payload.clear();
            group.ends.clear();
            (group.first_timestamp, group.last_timestamp) = (None, None);
            let bytes = group.payload.capacity() + group.ends.capacity() * size_of::<usize>();
            let keep = kept + bytes <= MAX_KEPT_BYTES;
            kept += if keep { bytes } else { 0 };
            keep
        });
    }
}
