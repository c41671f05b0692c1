//! Blocks: encoded records by partition, in buffers that are reused.

use std::collections::HashMap;
use std::time::SystemTime;

/// The most memory of a buffer that is kept for reuse.
const MAX_KEPT_BYTES: usize = 4 << 20;
const MAX_KEPT_BUFFERS: usize = 64;

/// The bookkeeping of a record or a partition, in bytes.
const RECORD_OVERHEAD: usize = size_of::<usize>();
const PARTITION_OVERHEAD: usize = size_of::<Block>() + 2 * size_of::<(String, usize)>();

/// The encoded records of one partition in one export.
#[derive(Clone, Debug, Default)]
pub(crate) struct Block {
    /// The records joined by the framing's separator.
    pub(crate) payload: Vec<u8>,
    /// The end of each record in `payload`.
    pub(crate) ends: Vec<usize>,
    pub(crate) first_timestamp: Option<SystemTime>,
    pub(crate) last_timestamp: Option<SystemTime>,
}

/// An encoded record and its time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Encoded<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) timestamp: Option<SystemTime>,
}

/// The blocks of one export, by partition; the records of each are in their order.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    /// The buffer of each key.
    keys: HashMap<String, usize>,
    buffers: Vec<Block>,
    records: u64,
    bytes: usize,
}

impl Block {
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

impl Blocks {
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
            self.buffers.push(Block::default());
        }
        at
    }

    /// The number of records.
    pub(crate) fn records(&self) -> u64 {
        self.records
    }

    /// The memory of the records, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Every key with its block, in the order in which the keys first appeared.
    pub(crate) fn all(&self) -> Vec<(&str, &Block)> {
        let mut keys: Vec<_> = self.keys.iter().collect();
        keys.sort_unstable_by_key(|(_, at)| **at);
        keys.into_iter().map(|(key, at)| (key.as_str(), &self.buffers[*at])).collect()
    }

    /// Removes all records, and keeps the memory that the next ones will probably need.
    pub(crate) fn clear(&mut self) {
        self.keys.clear();
        (self.records, self.bytes) = (0, 0);
        self.buffers.truncate(MAX_KEPT_BUFFERS);
        let mut kept = 0;
        self.buffers.retain_mut(|block| {
            block.payload.clear();
            block.ends.clear();
            (block.first_timestamp, block.last_timestamp) = (None, None);
            let bytes = block.payload.capacity() + block.ends.capacity() * size_of::<usize>();
            let keep = kept + bytes <= MAX_KEPT_BYTES;
            kept += if keep { bytes } else { 0 };
            keep
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn push(blocks: &mut Blocks, key: &str, bytes: &[u8], at: u64) {
        let timestamp = Some(UNIX_EPOCH + Duration::from_secs(at));
        blocks.push(key, Encoded { bytes, timestamp }, b",");
    }

    #[test]
    fn records_are_joined_by_key_and_nothing_is_left_of_them_after_a_clear() {
        let mut blocks = Blocks::default();
        for round in 0..2 {
            push(&mut blocks, "b", b"1", 5);
            push(&mut blocks, "a", b"2", 7);
            push(&mut blocks, "b", b"33", 3);
            let all = blocks.all();
            let found: Vec<_> = all.iter().map(|(key, block)| (*key, &*block.payload, &*block.ends)).collect();
            assert_eq!(found, [("b", &b"1,33"[..], &[1, 4][..]), ("a", b"2", &[1])], "round {round}");
            let times = [all[0].1.first_timestamp, all[0].1.last_timestamp];
            assert_eq!(times, [3, 5].map(|at| Some(UNIX_EPOCH + Duration::from_secs(at))));
            assert_eq!(blocks.records(), 3);
            blocks.clear();
            assert_eq!((blocks.records(), blocks.bytes(), blocks.all().len()), (0, 0, 0));
        }
    }

    #[test]
    fn what_was_large_once_is_not_kept() {
        let mut blocks = Blocks::default();
        for key in 0..1_000 {
            push(&mut blocks, &key.to_string(), &vec![b'x'; 100_000], 0);
        }
        push(&mut blocks, "large", &vec![b'x'; 2 * MAX_KEPT_BYTES], 0);
        assert!(blocks.bytes() > 100_000 * 1_000);
        blocks.clear();
        let kept: usize = blocks.buffers.iter().map(|block| block.payload.capacity()).sum();
        assert!((1..=MAX_KEPT_BYTES).contains(&kept), "{kept}");
    }
}
