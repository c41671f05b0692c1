//! The functions that the fuzz targets call.
#![allow(missing_docs, clippy::missing_panics_doc)]

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::coding::Coding;
use super::entry::{self, Entry, EntryBytes, EntryHead, LoadMark, Part, Scratch, StoredLimits, Summary};
use super::frame::{self, Frame};
use super::gap::{Gap, GapEncoder};
use super::open::Spool;
use super::overwrite::Overwrite;
use super::position::SegmentId;
use super::queue::{SpoolConfig, SpoolHooks, Wake};
use super::reader::Next;
use crate::config::values::{AdoptFrom, BatchLimits, Durability, Signal, SpoolLimits};
use crate::encode::blocks::{Block, Encoded, Envelope, Run};
use crate::encode::framing::{Framing, Nesting};
use crate::observe::loss::LossReason;

/// Number, part, parts and payload.
pub type Parts<'a> = (u64, u32, u32, &'a [u8]);

pub fn write_frame(segment: (u64, u64), (number, part, parts, payload): Parts<'_>) -> Vec<u8> {
    Frame { number, part, parts, payload }.to_bytes(id(segment))
}

pub fn read_frame(segment: (u64, u64), bytes: &[u8]) -> Option<Parts<'_>> {
    Frame::read(id(segment), bytes).map(|frame| (frame.number, frame.part, frame.parts, frame.payload))
}

/// The number, the offset and the length of every frame in a file.
pub fn scan(segment: (u64, u64), file: &[u8]) -> Vec<(u64, u64, usize)> {
    let frames = frame::scan(id(segment), file, |_| ()).expect("memory can be read");
    frames.iter().map(|(frame, ())| (frame.number, frame.offset, frame.len)).collect()
}

fn id((number, random): (u64, u64)) -> SegmentId {
    SegmentId { number, random }
}

/// A record with its outer and its inner envelope.
pub type Nested = (Vec<u8>, Vec<u8>, Vec<u8>);

/// The framing of records in envelopes, in JSON or in protobuf.
pub fn nested(json: bool) -> Framing {
    if json {
        Framing::json_array().nested(Nesting::Json)
    } else {
        Framing::new("", "", "", "").nested(Nesting::Protobuf)
    }
}

/// An entry with records that are joined by `framing`'s separator. Envelopes count only with a framing that has them.
pub fn write_entry(first_record: u64, key: &str, framing: &Framing, records: &[Nested], compressed: bool) -> Vec<u8> {
    let (mut block, is_flat) = (Block::default(), framing.nesting() == Nesting::Flat);
    for (outer, inner, bytes) in records {
        let envelope = if is_flat { Envelope::default() } else { Envelope { outer, inner } };
        block.push(Encoded { bytes, envelope, timestamp: None }, framing.separator());
    }
    let records = u32::try_from(records.len()).expect("a few records");
    let limits = StoredLimits { max_records: 4, max_bytes: 5 };
    let (first_timestamp, last_timestamp, appended_at) = (1, 2, 3);
    let head = EntryHead {
        lane: 1,
        first_record,
        records,
        boundary: first_record / 2,
        first_timestamp,
        last_timestamp,
        appended_at,
        limits,
        load: LoadMark::NONE,
    };
    let coding = if compressed { Coding::Lz4 } else { Coding::Identity };
    let mut scratch = Scratch::default();
    let part = |run| Part { envelope: Run::envelope(run), base: 0, ends: &run.ends, payload: &run.payload };
    let parts: Vec<_> = block.runs().iter().map(part).collect();
    entry::write(&head, key, framing, &parts, coding, &mut scratch);
    scratch.entry().to_vec()
}

/// Records in the order in which an entry has them, and without the envelopes that its framing has not.
pub fn stored_order(framing: &Framing, records: Vec<Nested>) -> Vec<Nested> {
    if framing.nesting() == Nesting::Flat {
        return records.into_iter().map(|(_, _, record)| (Vec::new(), Vec::new(), record)).collect();
    }
    let mut first = HashMap::new();
    for (at, (outer, inner, _)) in records.iter().enumerate() {
        first.entry((outer.clone(), None)).or_insert(at);
        first.entry((outer.clone(), Some(inner.clone()))).or_insert(at);
    }
    let mut records = records;
    records
        .sort_by_key(|(outer, inner, _)| (first[&(outer.clone(), None)], first[&(outer.clone(), Some(inner.clone()))]));
    records
}

/// The key, the framing and the records of an entry with their envelopes: all that are within `most` from the first or the last.
pub fn read_entry(bytes: &[u8], most: u64) -> Option<(String, Framing, Vec<Nested>)> {
    let summary = Summary::read(bytes);
    let entry = Entry::read(EntryBytes::joined(bytes.to_vec()));
    assert!(summary.is_some() || entry.is_none());
    let (entry, key) = (entry?, summary?.key);
    let first = entry.head.first_record;
    let end = first + u64::from(entry.head.records);
    let mut plain = Overwrite::default();
    if !entry.decode(&mut plain).ok()? {
        return None;
    }
    let plain = plain.into_bytes();
    let mut records = Vec::new();
    for at in (first..end).filter(|at| at - first < most || end - at <= most) {
        let runs: Vec<_> = entry.runs(&(at..at + 1), &plain).collect();
        let [run] = &runs[..] else { panic!("a record is in one run") };
        records.push((run.envelope.outer.to_vec(), run.envelope.inner.to_vec(), run.records.to_vec()));
        for max_bytes in [0, 10, u64::MAX] {
            let fits = entry.fit(at, end, u64::MAX, max_bytes);
            assert!(fits >= at && fits <= end);
            if fits > at {
                let mut plain = Overwrite::default();
                assert!(entry.plain(&(at..fits), &mut plain).is_ok() && plain.len() as u64 <= max_bytes);
            }
        }
    }
    Some((key.to_string(), entry.framing, records))
}

/// The records that are missing, by partition, as the gaps report them.
pub type Gaps = Arc<Mutex<HashMap<String, u64>>>;

/// A batch that was delivered.
#[derive(Debug)]
pub struct Delivered {
    pub id: String,
    pub key: String,
    pub records: u64,
    pub body: Vec<u8>,
}

/// A spool of lines.
pub struct LineSpool {
    spool: Spool,
    pub gaps: Gaps,
}

impl LineSpool {
    pub fn open(dir: &Path, max_records: u64, max_bytes: u64) -> Self {
        let config = SpoolConfig {
            dir: dir.to_owned(),
            signal: Signal::Logs,
            durability: Durability::Process,
            coding: Coding::Lz4,
            segment_bytes: 10_000,
            batch: BatchLimits { max_records, max_bytes, linger: Duration::ZERO },
            limits: SpoolLimits::default(),
            endpoint: None,
            origin: None,
            adopt_from: AdoptFrom::OWN,
        };
        let gaps = Gaps::default();
        let reported = gaps.clone();
        let gap_encoder = move |gap: &Gap| {
            *reported.lock().unwrap_or_else(PoisonError::into_inner).entry(gap.key.to_string()).or_default() +=
                gap.records;
            None
        };
        let (gap_encoder, wake): (Arc<GapEncoder>, Arc<Wake>) = (Arc::new(gap_encoder), Arc::new(|| ()));
        let spool = Spool::open(
            &config,
            &SpoolHooks { gap_encoder: Some(gap_encoder), wake, events: Arc::default(), counters: Arc::default() },
        )
        .expect("a spool that opens");
        Self { spool, gaps }
    }

    pub fn append(&self, key: &str, lines: &[Vec<u8>]) {
        let framing = Framing::ndjson();
        self.spool
            .append(&[(key, &Block::of(lines, framing.separator()))], &framing)
            .expect("a spool that takes records");
    }

    /// Delivers at most so many batches.
    pub fn deliver(&self, most: usize) -> Vec<Delivered> {
        while !self.spool.is_recovered() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let mut delivered = Vec::new();
        while let Some(partition) = self.spool.checkout() {
            while delivered.len() < most
                && let Next::Batch(batch) =
                    partition.next(None, SystemTime::now(), true).expect("a spool that can be read")
            {
                let (id, records, body) = (batch.id.clone(), batch.records, batch.body.to_vec());
                delivered.push(Delivered { id, key: partition.to_string(), records, body });
                batch.ack();
            }
            partition.release(true);
            if delivered.len() >= most {
                break;
            }
        }
        delivered
    }

    /// How many records wait, and how many are missing by the spool's own count.
    pub fn depth(&self) -> (u64, u64) {
        let depth = self.spool.depth();
        (depth.pending_records, self.spool.queue.hooks.counters.losses.get(LossReason::Corrupt))
    }
}
