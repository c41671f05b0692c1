//! The functions that the fuzz targets call.
#![allow(missing_docs, clippy::missing_panics_doc)]

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::coding::Coding;
use super::entry::{self, Entry, EntryBytes, EntryHead, Part, StoredLimits, Summary};
use super::frame::{self, Frame};
use super::gap::{Gap, GapEncoder};
use super::open::Spool;
use super::position::SegmentId;
use super::queue::{SpoolConfig, SpoolHooks, Wake};
use super::reader::Next;
use crate::config::values::{BatchLimits, Durability, Signal, SpoolLimits};
use crate::encode::blocks::Block;
use crate::encode::framing::Framing;
use crate::observe::loss::LossReason;

/// Number, part, parts and payload.
pub type Parts<'a> = (u64, u32, u32, &'a [u8]);

pub fn write_frame(segment: (u64, u64), (number, part, parts, payload): Parts<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    Frame { number, part, parts, payload }.write(id(segment), &mut out);
    out
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

/// An entry with records that are joined by `framing`'s separator.
pub fn write_entry(first_record: u64, key: &str, framing: &Framing, records: &[Vec<u8>], compressed: bool) -> Vec<u8> {
    let block = block(records, framing.separator());
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
    };
    let coding = if compressed { Coding::Lz4 } else { Coding::Identity };
    let mut out = Vec::new();
    let records = Part { base: 0, ends: &block.ends, payload: &block.payload };
    entry::write(&head, key, framing, records, coding, &mut out);
    out
}

/// The key, the framing and the records of an entry: all that are within `most` from the first or the last.
pub fn read_entry(bytes: &[u8], most: u64) -> Option<(String, Framing, Vec<Vec<u8>>)> {
    let summary = Summary::read(bytes);
    let entry = Entry::read(EntryBytes::joined(bytes.to_vec()));
    assert!(summary.is_some() || entry.is_none());
    let (entry, key) = (entry?, summary?.key);
    let first = entry.head.first_record;
    let end = first + u64::from(entry.head.records);
    let mut records = Vec::new();
    for at in (first..end).filter(|at| at - first < most || end - at <= most) {
        let mut record = Vec::new();
        if !entry.plain(&(at..at + 1), &mut record).ok()? {
            return None;
        }
        records.push(record);
        for max_bytes in [0, 10, u64::MAX] {
            let fits = entry.fit(at, end, u64::MAX, max_bytes);
            assert!(fits >= at && fits <= end);
            if fits > at {
                let mut plain = Vec::new();
                assert!(entry.plain(&(at..fits), &mut plain).is_ok() && plain.len() as u64 <= max_bytes);
            }
        }
    }
    Some((key.to_string(), entry.framing, records))
}

fn block(records: &[Vec<u8>], separator: &[u8]) -> Block {
    let mut block = Block::default();
    for record in records {
        if !block.ends.is_empty() {
            block.payload.extend_from_slice(separator);
        }
        block.payload.extend_from_slice(record);
        block.ends.push(block.payload.len());
    }
    block
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
        };
        let gaps = Gaps::default();
        let reported = gaps.clone();
        let gap_encoder = move |gap: &Gap| {
            *reported.lock().unwrap_or_else(PoisonError::into_inner).entry(gap.key.to_string()).or_default() +=
                gap.records;
            None
        };
        let (gap_encoder, wake): (Arc<GapEncoder>, Arc<Wake>) = (Arc::new(gap_encoder), Arc::new(|| ()));
        let spool =
            Spool::open(&config, &SpoolHooks { gap_encoder, wake, events: Arc::default(), losses: Arc::default() })
                .expect("a spool that opens");
        Self { spool, gaps }
    }

    pub fn append(&self, key: &str, lines: &[Vec<u8>]) {
        let framing = Framing::ndjson();
        self.spool.append(&[(key, &block(lines, framing.separator()))], &framing).expect("a spool that takes records");
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
        (depth.pending_records, self.spool.queue.hooks.losses.get(LossReason::Corrupt))
    }
}
