//! Blocks: encoded records by partition and envelope, in buffers that are reused.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::time::SystemTime;

use crate::encode::framing::Framing;

/// The most memory of the buffers that is kept for reuse.
const MAX_KEPT_BYTES: usize = 4 << 20;
const MAX_KEPT_BLOCKS: usize = 64;
const MAX_KEPT_RUNS: usize = 4_096;

/// So many runs are compared in less time than an envelope is hashed.
const FEW_RUNS: usize = 8;

/// The bookkeeping of a record, a run or a partition, in bytes.
const RECORD_OVERHEAD: usize = size_of::<usize>();
const RUN_OVERHEAD: usize = size_of::<Run>() + 2 * size_of::<(u64, usize)>();
const PARTITION_OVERHEAD: usize = size_of::<Block>() + 2 * size_of::<(String, usize)>();

/// What a framing of its own takes besides its texts, in a map and in its block.
const FRAMING_OVERHEAD: usize = 4 * size_of::<(Framing, usize)>();

/// The texts that stand around records, and that records share: see [`NestedEncoder`](crate::encode::NestedEncoder). Both are
/// empty where records have none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Envelope<'a> {
    pub(crate) outer: &'a [u8],
    pub(crate) inner: &'a [u8],
}

impl Envelope<'_> {
    pub(crate) fn len(&self) -> usize {
        self.outer.len() + self.inner.len()
    }
}

/// Where the two texts of a record's envelope end in what was encoded; the record follows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct EnvelopeEnds {
    pub(crate) outer: usize,
    pub(crate) inner: usize,
}

/// An encoded record, its envelope and its time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Encoded<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) envelope: Envelope<'a>,
    pub(crate) timestamp: Option<SystemTime>,
}

impl Encoded<'_> {
    /// The size of the record and its envelope.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() + self.envelope.len()
    }
}

/// The numbers of an envelope's two texts within one message. Texts of the same number are the same, so that they need not be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct EnvelopeId {
    pub(crate) outer: usize,
    pub(crate) inner: usize,
}

/// Where a record went: the numbers of its block and of the run in it, which stay the same until the blocks are cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunAt {
    pub(crate) block: usize,
    pub(crate) run: usize,
}

/// Whether two texts are the same that are usually both empty.
///
/// An empty slice may lie anywhere, and the `memcmp` of glibc for AVX-512 reads there, masked: for two of them it takes 80 ns
/// (glibc 2.36), a third of what it takes to encode a record.
fn is_equal(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && (one.is_empty() || one == other)
}

/// The records of a block that share an envelope.
#[derive(Clone, Debug, Default)]
pub(crate) struct Run {
    /// The numbers of the envelope, where it has some.
    id: Option<EnvelopeId>,
    outer: Vec<u8>,
    inner: Vec<u8>,
    /// The records joined by the framing's separator.
    pub(crate) payload: Vec<u8>,
    /// The end of each record in `payload`.
    pub(crate) ends: Vec<usize>,
    outer_hash: u64,
    /// The run before this one whose envelope has the same hash.
    earlier: Option<usize>,
}

impl Run {
    pub(crate) fn envelope(&self) -> Envelope<'_> {
        Envelope { outer: &self.outer, inner: &self.inner }
    }

    /// Whether this is its envelope.
    fn is_of(&self, envelope: Envelope<'_>, id: Option<EnvelopeId>) -> bool {
        let is_same = self.id.zip(id).is_some_and(|(own, other)| own.inner == other.inner);
        self.has_outer(envelope, id) && (is_same || is_equal(&self.inner, envelope.inner))
    }

    fn has_outer(&self, envelope: Envelope<'_>, id: Option<EnvelopeId>) -> bool {
        self.id.zip(id).is_some_and(|(own, other)| own.outer == other.outer) || is_equal(&self.outer, envelope.outer)
    }

    fn begin(&mut self, envelope: Envelope<'_>, outer_hash: u64, earlier: Option<usize>) {
        self.outer.extend_from_slice(envelope.outer);
        self.inner.extend_from_slice(envelope.inner);
        (self.outer_hash, self.earlier) = (outer_hash, earlier);
    }

    fn push(&mut self, record: &[u8], separator: &[u8]) {
        if !self.ends.is_empty() {
            self.payload.extend_from_slice(separator);
        }
        self.payload.extend_from_slice(record);
        self.ends.push(self.payload.len());
    }

    fn clear(&mut self) {
        for buffer in [&mut self.outer, &mut self.inner, &mut self.payload] {
            buffer.clear();
        }
        self.id = None;
        self.ends.clear();
    }

    /// The memory that it takes, with or without records.
    fn capacity(&self) -> usize {
        let buffers = [&self.outer, &self.inner, &self.payload].map(Vec::capacity);
        size_of::<Self>() + buffers.iter().sum::<usize>() + self.ends.capacity() * size_of::<usize>()
    }
}

/// The encoded records of one partition in one export: a run for each envelope, in the order in which they first appeared.
#[derive(Clone, Debug, Default)]
pub(crate) struct Block {
    /// Those that are used, and spare ones.
    runs: Vec<Run>,
    used: usize,
    /// The latest run whose envelope has a hash.
    found: HashMap<u64, usize>,
    hasher: RandomState,
    /// The run of the latest record.
    latest: usize,
    /// The framing of its records, where it is not that of the others which are appended with it.
    pub(crate) framing: Option<Framing>,
    pub(crate) first_timestamp: Option<SystemTime>,
    pub(crate) last_timestamp: Option<SystemTime>,
}

impl Block {
    /// Returns how many bytes of memory it takes now that were not needed before.
    pub(crate) fn push(&mut self, record: Encoded<'_>, separator: &[u8]) -> usize {
        self.push_of(record, None, separator)
    }

    /// The same for a record whose envelope may have numbers, which belong to the same message as those before.
    fn push_of(&mut self, record: Encoded<'_>, id: Option<EnvelopeId>, separator: &[u8]) -> usize {
        let begun = self.used;
        let at = self.run_of(record.envelope, id);
        self.latest = at;
        // What was compared once is known from now on.
        self.runs[at].id = id;
        self.runs[at].push(record.bytes, separator);
        if let Some(time) = record.timestamp {
            self.first_timestamp = Some(self.first_timestamp.map_or(time, |first| first.min(time)));
            self.last_timestamp = Some(self.last_timestamp.map_or(time, |last| last.max(time)));
        }
        let run = if self.used > begun { RUN_OVERHEAD + record.envelope.len() } else { 0 };
        run + record.bytes.len() + separator.len() + RECORD_OVERHEAD
    }

    /// The run of an envelope; a new one if there is none. Envelopes are compared as a whole: two resources must not be mixed up.
    fn run_of(&mut self, envelope: Envelope<'_>, id: Option<EnvelopeId>) -> usize {
        let is_of = |at: usize| self.runs[at].is_of(envelope, id);
        if self.latest < self.used && is_of(self.latest) {
            return self.latest;
        }
        if self.used <= FEW_RUNS
            && let Some(at) = (0..self.used).find(|at| is_of(*at))
        {
            return at;
        }
        // Scopes change with every record, resources hardly ever.
        let outer_hash = match self.runs().get(self.latest) {
            Some(latest) if latest.has_outer(envelope, id) => latest.outer_hash,
            _ => self.hasher.hash_one(envelope.outer),
        };
        let hash = self.hasher.hash_one((outer_hash, envelope.inner));
        let earlier = self.found.get(&hash).copied();
        let mut same_hash = earlier;
        while let Some(at) = same_hash {
            if is_of(at) {
                return at;
            }
            same_hash = self.runs[at].earlier;
        }
        let at = self.used;
        if at == self.runs.len() {
            self.runs.push(Run::default());
        }
        self.runs[at].begin(envelope, outer_hash, earlier);
        self.found.insert(hash, at);
        self.used += 1;
        at
    }

    pub(crate) fn runs(&self) -> &[Run] {
        &self.runs[..self.used]
    }

    /// The number of records.
    pub(crate) fn records(&self) -> u64 {
        self.runs().iter().map(|run| run.ends.len() as u64).sum()
    }

    /// The size of the records, with one envelope for those that share it.
    pub(crate) fn encoded_bytes(&self) -> u64 {
        self.runs().iter().map(|run| (run.payload.len() + run.envelope().len()) as u64).sum()
    }

    /// Removes all records, and keeps memory for the next ones, `kept` bytes with what others keep.
    fn clear(&mut self, kept: &mut usize) {
        self.framing = None;
        self.found.clear();
        self.found.shrink_to(MAX_KEPT_RUNS);
        self.runs.truncate(MAX_KEPT_RUNS);
        (self.used, self.latest) = (0, 0);
        (self.first_timestamp, self.last_timestamp) = (None, None);
        self.runs.retain_mut(|run| {
            run.clear();
            let bytes = run.capacity();
            let keep = *kept + bytes <= MAX_KEPT_BYTES;
            *kept += if keep { bytes } else { 0 };
            keep
        });
        self.runs.shrink_to(MAX_KEPT_RUNS);
    }
}

/// The blocks of one export, by partition; the records of each run are in their order.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    /// The block of the empty key: where nobody gives records keys there is no other.
    unnamed: Option<usize>,
    /// The block of each other key.
    keys: HashMap<String, usize>,
    /// The block of each key and framing of its own.
    framed: HashMap<String, HashMap<Framing, usize>>,
    /// Those that are used, and spare ones.
    buffers: Vec<Block>,
    used: usize,
    /// The numbers of the envelope of the next records.
    id: Option<EnvelopeId>,
    records: u64,
    bytes: usize,
}

impl Blocks {
    /// Says that the records from now on have the envelope of these numbers, if any. All numbers belong to the same message.
    #[cfg_attr(
        not(feature = "relay"),
        allow(dead_code, reason = "records of this process have no message around them")
    )]
    pub(crate) fn set_envelope(&mut self, id: Option<EnvelopeId>) {
        self.id = id;
    }

    /// Adds a record of a partition, and says where it went.
    pub(crate) fn push(&mut self, key: &str, record: Encoded<'_>, separator: &[u8]) -> RunAt {
        let found = if key.is_empty() { self.unnamed } else { self.keys.get(key).copied() };
        let at = found.unwrap_or_else(|| self.add_key(key));
        self.push_to(at, record, separator)
    }

    /// The same for a record that has another framing than the others.
    #[cfg_attr(
        not(feature = "relay"),
        allow(dead_code, reason = "records of this process have the framing of their encoder")
    )]
    pub(crate) fn push_framed(&mut self, key: &str, framing: &Framing, record: Encoded<'_>) -> RunAt {
        let found = self.framed.get(key).and_then(|framings| framings.get(framing)).copied();
        let at = found.unwrap_or_else(|| self.add_framing(key, framing));
        self.push_to(at, record, framing.separator())
    }

    fn push_to(&mut self, block: usize, record: Encoded<'_>, separator: &[u8]) -> RunAt {
        self.bytes += self.buffers[block].push_of(record, self.id, separator);
        self.records += 1;
        RunAt { block, run: self.buffers[block].latest }
    }

    #[cold]
    fn add_key(&mut self, key: &str) -> usize {
        let at = self.add_block(key);
        if key.is_empty() {
            self.unnamed = Some(at);
        } else {
            self.keys.insert(key.to_owned(), at);
        }
        at
    }

    #[cold]
    fn add_framing(&mut self, key: &str, framing: &Framing) -> usize {
        let at = self.add_block(key);
        let texts = [framing.open(), framing.separator(), framing.close(), framing.content_type().as_bytes()];
        self.bytes += FRAMING_OVERHEAD + 2 * texts.iter().map(|text| text.len()).sum::<usize>();
        self.buffers[at].framing = Some(framing.clone());
        self.framed.entry(key.to_owned()).or_default().insert(framing.clone(), at);
        at
    }

    fn add_block(&mut self, key: &str) -> usize {
        let at = self.used;
        self.used += 1;
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
        let unnamed = self.unnamed.map(|at| ("", at));
        let keys = self.keys.iter().map(|(key, at)| (key.as_str(), *at));
        let framed =
            self.framed.iter().flat_map(|(key, framings)| framings.values().map(move |at| (key.as_str(), *at)));
        let mut keys: Vec<_> = unnamed.into_iter().chain(keys).chain(framed).collect();
        keys.sort_unstable_by_key(|(_, at)| *at);
        keys.into_iter().map(|(key, at)| (key, &self.buffers[at])).collect()
    }

    /// Removes all records, and keeps the memory that the next ones will probably need.
    pub(crate) fn clear(&mut self) {
        self.unnamed = None;
        self.keys.clear();
        self.framed.clear();
        (self.used, self.id, self.records, self.bytes) = (0, None, 0, 0);
        self.buffers.truncate(MAX_KEPT_BLOCKS);
        let mut kept = 0;
        for block in &mut self.buffers {
            block.clear(&mut kept);
        }
    }
}

#[cfg(any(test, fuzzing))]
impl Block {
    /// A block of records without envelopes.
    pub(crate) fn of(records: &[impl AsRef<[u8]>], separator: &[u8]) -> Self {
        let mut block = Self::default();
        for record in records {
            let (bytes, envelope) = (record.as_ref(), Envelope::default());
            block.push(Encoded { bytes, envelope, timestamp: None }, separator);
        }
        block
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn push(blocks: &mut Blocks, key: &str, bytes: &[u8], at: u64) {
        push_in(blocks, key, Envelope::default(), bytes, at);
    }

    fn push_in(blocks: &mut Blocks, key: &str, envelope: Envelope<'_>, bytes: &[u8], at: u64) {
        let timestamp = Some(UNIX_EPOCH + Duration::from_secs(at));
        blocks.push(key, Encoded { bytes, envelope, timestamp }, b",");
    }

    #[test]
    fn records_are_joined_by_key_and_nothing_is_left_of_them_after_a_clear() {
        let mut blocks = Blocks::default();
        for round in 0..2 {
            push(&mut blocks, "b", b"1", 5);
            push(&mut blocks, "", b"2", 7);
            push(&mut blocks, "b", b"33", 3);
            let all = blocks.all();
            let found: Vec<_> =
                all.iter().map(|(key, block)| (*key, &*block.runs()[0].payload, &*block.runs()[0].ends)).collect();
            assert!(all.iter().all(|(_, block)| block.runs().len() == 1));
            assert_eq!(found, [("b", &b"1,33"[..], &[1, 4][..]), ("", b"2", &[1])], "round {round}");
            let times = [all[0].1.first_timestamp, all[0].1.last_timestamp];
            assert_eq!(times, [3, 5].map(|at| Some(UNIX_EPOCH + Duration::from_secs(at))));
            assert_eq!(blocks.records(), 3);
            blocks.clear();
            assert_eq!((blocks.records(), blocks.bytes(), blocks.all().len()), (0, 0, 0));
        }
    }

    #[test]
    fn records_of_one_envelope_make_up_a_run_and_equal_halves_are_not_mixed_up() {
        let mut blocks = Blocks::default();
        let envelope = |outer, inner| Envelope { outer, inner };
        let (first, second) = (envelope(b"resource".as_slice(), b"scope".as_slice()), envelope(b"other", b"scope"));
        // Joined they have the same bytes as the first.
        let third = envelope(b"resources", b"cope");
        for _ in 0..2 {
            for (at, envelope) in
                [first, second, first, third, second, first, third, Envelope::default()].iter().enumerate()
            {
                push_in(&mut blocks, "a", *envelope, at.to_string().as_bytes(), 0);
            }
            push_in(&mut blocks, "b", second, b"8", 0);
            let all = blocks.all();
            let runs: Vec<_> = all[0].1.runs().iter().map(|run| (run.envelope(), &*run.payload)).collect();
            let expected = [(first, &b"0,2,5"[..]), (second, b"1,4"), (third, b"3,6"), (Envelope::default(), b"7")];
            assert_eq!(runs, expected);
            assert_eq!((all[0].1.records(), all[1].1.runs()[0].envelope()), (8, second));
            assert!(blocks.bytes() > 4 * RUN_OVERHEAD);
            blocks.clear();
        }
    }

    #[test]
    fn each_of_many_envelopes_has_one_run() {
        let mut blocks = Blocks::default();
        let names: Vec<_> =
            (0..3 * FEW_RUNS).map(|number| (format!("r{}", number % 5), format!("s{number}"))).collect();
        for round in [b"1", b"2"] {
            for (outer, inner) in &names {
                push_in(&mut blocks, "a", Envelope { outer: outer.as_bytes(), inner: inner.as_bytes() }, round, 0);
            }
        }
        let all = blocks.all();
        assert_eq!(all[0].1.runs().len(), names.len());
        assert!(all[0].1.runs().iter().all(|run| *run.payload == *b"1,2"));
    }

    #[test]
    fn a_key_has_a_block_for_each_framing() {
        let mut blocks = Blocks::default();
        let lines = |open| Framing::new("text/plain", open, "\n", "");
        for round in 0..2 {
            for (key, open, bytes) in [("", "x", b"1"), ("b", "x", b"2"), ("", "y", b"3"), ("", "x", b"4")] {
                let record = Encoded { bytes, envelope: Envelope::default(), timestamp: None };
                blocks.push_framed(key, &lines(open), record);
            }
            push(&mut blocks, "", b"5", 0);
            let all = blocks.all();
            let found: Vec<_> = all.iter().map(|(key, block)| (*key, &*block.runs()[0].payload)).collect();
            assert_eq!(found, [("", &b"1\n4"[..]), ("b", b"2"), ("", b"3"), ("", b"5")], "round {round}");
            let framings = [Some(lines("x")), Some(lines("x")), Some(lines("y")), None];
            assert!(all.iter().map(|(_, block)| &block.framing).eq(&framings));
            blocks.clear();
        }
    }

    #[test]
    fn a_framing_of_its_own_takes_memory() {
        let bytes = |open: &str| {
            let mut blocks = Blocks::default();
            let record = Encoded { bytes: b"1", envelope: Envelope::default(), timestamp: None };
            blocks.push_framed("a", &Framing::new("", "", "", "").with_open(open.to_owned().into()), record);
            blocks.bytes()
        };
        assert_eq!(bytes(&"x".repeat(10_000)) - bytes(""), 20_000, "in the block, and as its key");
    }

    #[test]
    fn envelopes_of_the_same_numbers_are_not_compared_and_numbers_end_with_the_records() {
        let mut blocks = Blocks::default();
        let id = |outer, inner| Some(EnvelopeId { outer, inner });
        let push_of = |blocks: &mut Blocks, id, outer: &[u8], inner: &[u8]| {
            blocks.set_envelope(id);
            push_in(blocks, "a", Envelope { outer, inner }, b"1", 0);
            blocks.all()[0].1.runs().len()
        };
        assert_eq!(push_of(&mut blocks, id(0, 0), b"resource", b"scope"), 1);
        assert_eq!(push_of(&mut blocks, id(0, 0), b"not", b"looked at"), 1);
        assert_eq!(push_of(&mut blocks, id(0, 1), b"resource", b"other"), 2);
        assert_eq!(push_of(&mut blocks, id(1, 2), b"resource", b"other"), 2, "the same with other numbers");
        assert_eq!(push_of(&mut blocks, id(1, 3), b"resource", b"scope"), 2);
        assert_eq!(push_of(&mut blocks, None, b"resource", b"scope"), 2);
        assert_eq!(push_of(&mut blocks, None, b"not", b"looked at"), 3, "without numbers it is");
        blocks.clear();
        assert_eq!(push_of(&mut blocks, id(0, 0), b"a", b"b"), 1);
        assert_eq!(blocks.all()[0].1.runs()[0].envelope(), Envelope { outer: b"a", inner: b"b" });
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
        let runs = blocks.buffers.iter().flat_map(|block| &block.runs);
        let kept: usize = runs.map(Run::capacity).sum();
        assert!((1..=MAX_KEPT_BYTES).contains(&kept), "{kept}");
    }
}
