//! [`RejectedStore`]: records that the receiver rejects for good, for a person to read. A file holds a record, or a batch that
//! was rejected as a whole. It touches that directory only.
//!
//! It lies beside the queues and is shared by all of them; each signal has a limit of its own. A file is named after its
//! batch, so that a record that is rejected again after a crash is there once. It begins with a checksum of the rest: a record that was altered is named,
//! and never sent.

#[cfg(feature = "cli")]
use std::collections::HashMap;
use std::fs;
use std::io;
#[cfg(feature = "cli")]
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_core::ser::SerializeStruct;
use serde_core::{Serialize, Serializer};
use serde_json::Value;

use super::dir::{REJECTED, list, rejected_name};
#[cfg(feature = "cli")]
use super::files::remove_if_there;
use super::files::{ensure_in, io_error, rename, sync_dir, write_synced};
#[cfg(feature = "cli")]
use super::position::parse_hex;
use crate::config::values::Signal;
use crate::encode::framing::ResponseProtocol;
use crate::error::SpoolError;

/// The beginning of a file: the checksum, as 8 hexadecimal digits, stands between these. It is that of all bytes behind.
const CRC_OPEN: &[u8] = br#"{"crc32":""#;
const CRC_CLOSE: &[u8] = br#"","#;
const CRC_DIGITS: usize = 8;

/// How much of the response is kept.
const MAX_RESPONSE_BYTES: usize = 4 << 10;

/// A record that the receiver rejected for good, or a batch of them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RejectedRecord {
    /// The signal: `logs`, `traces` or `metrics`.
    pub signal: String,
    /// The `Idempotency-Key` of the request that was rejected, or that it would have had if the record had been sent alone.
    pub batch_id: String,
    /// The record's partition key.
    pub partition_key: String,
    /// The status of the response.
    pub status: u16,
    /// The start of the response, at most 4 KiB.
    pub response: String,
    /// When it was rejected.
    pub rejected_at: SystemTime,
    /// The `Content-Type` of the request.
    pub content_type: String,
    /// How a response to it is read.
    pub response_protocol: ResponseProtocol,
    /// How many records it is: 1, or those of a batch that was rejected as a whole.
    pub records: u64,
    /// Not each record of it was rejected alone: some of them were, and the others came with them.
    pub inferred: bool,
    /// The request's body before it was compressed: the record, alone in its framing, or all of them.
    pub body: Vec<u8>,
}

impl RejectedRecord {
    /// Reads a file of the store, or says why it is damaged.
    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let (crc, rest) = split_crc(bytes).ok_or("it does not begin with a checksum")?;
        let found = crc32fast::hash(rest);
        if crc != found {
            return Err(format!("its checksum is {crc:08x}, that of its contents {found:08x}"));
        }
        Self::from_json(bytes).ok_or_else(|| "it is no rejected record".to_owned())
    }

    fn from_json(bytes: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(bytes).ok()?;
        let text = |key: &str| value.get(key)?.as_str().map(str::to_owned);
        let body = match text("body") {
            Some(body) => body.into_bytes(),
            None => BASE64_STANDARD.decode(text("body_base64")?).ok()?,
        };
        Some(Self {
            signal: text("signal").unwrap_or_else(|| Signal::Logs.name().to_owned()),
            batch_id: text("batch_id")?,
            partition_key: text("partition_key")?,
            status: value.get("status")?.as_u64()?.try_into().ok()?,
            response: text("response")?,
            rejected_at: UNIX_EPOCH
                .checked_add(Duration::try_from_secs_f64(value.get("rejected_at")?.as_f64()?).ok()?)?,
            content_type: text("content_type")?,
            // By the status, if a later version knows more.
            response_protocol: text("response_protocol")
                .and_then(|name| ResponseProtocol::from_name(&name))
                .unwrap_or_default(),
            records: value.get("records").map_or(Some(1), Value::as_u64).filter(|records| *records > 0)?,
            inferred: value.get("inferred").map_or(Some(false), Value::as_bool)?,
            body,
        })
    }

    /// The file that holds it.
    fn to_file(&self) -> serde_json::Result<Vec<u8>> {
        let json = serde_json::to_vec(self)?;
        let rest = json.get(1..).unwrap_or_default();
        let crc = format!("{:0CRC_DIGITS$x}", crc32fast::hash(rest));
        Ok([CRC_OPEN, crc.as_bytes(), CRC_CLOSE, rest].concat())
    }
}

/// The checksum that a file begins with, and all bytes behind it.
fn split_crc(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, rest) = bytes.strip_prefix(CRC_OPEN)?.split_at_checked(CRC_DIGITS)?;
    if !digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let crc = u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    Some((crc, rest.strip_prefix(CRC_CLOSE)?))
}

impl Serialize for RejectedRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("RejectedRecord", 11)?;
        fields.serialize_field("signal", &self.signal)?;
        fields.serialize_field("rejected_at", &since_epoch(self.rejected_at).as_secs_f64())?;
        fields.serialize_field("status", &self.status)?;
        fields.serialize_field("response", &self.response)?;
        fields.serialize_field("batch_id", &self.batch_id)?;
        fields.serialize_field("partition_key", &self.partition_key)?;
        fields.serialize_field("content_type", &self.content_type)?;
        fields.serialize_field("response_protocol", self.response_protocol.name())?;
        fields.serialize_field("records", &self.records)?;
        fields.serialize_field("inferred", &self.inferred)?;
        match std::str::from_utf8(&self.body) {
            Ok(text) => fields.serialize_field("body", text)?,
            Err(_) => fields.serialize_field("body_base64", &BASE64_STANDARD.encode(&self.body))?,
        }
        fields.end()
    }
}

/// The part of a response that is kept.
pub(super) fn start_of(response: &str) -> String {
    String::from_utf8_lossy(&response.as_bytes()[..response.len().min(MAX_RESPONSE_BYTES)]).into_owned()
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A record of a batch that is rejected, and what the endpoint says of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rejection<'a> {
    /// Its number in the batch, from 0.
    pub(crate) record: usize,
    pub(crate) response: &'a str,
}

/// All that the store holds.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// The oldest first.
    pub(crate) records: Vec<RejectedRecord>,
    /// Files that hold no record that can be trusted, by name.
    pub(crate) damaged: Vec<DamagedFile>,
}

/// A file of the store that was altered or cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DamagedFile {
    /// The id that its name is made of.
    pub(crate) batch_id: String,
    pub(crate) reason: String,
}

#[cfg(feature = "cli")]
impl std::fmt::Display for DamagedFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "rejected record {}: {}", self.batch_id, self.reason)
    }
}

impl Kept {
    /// How many records there are: a file may hold a whole batch.
    #[cfg(feature = "cli")]
    pub(crate) fn record_count(&self) -> u64 {
        self.records.iter().fold(0, |count, record| count.saturating_add(record.records))
    }

    fn damage(&mut self, batch_id: &str, reason: String) {
        self.damaged.push(DamagedFile { batch_id: batch_id.to_owned(), reason });
    }
}

/// The store of a signal, or of all of them.
#[derive(Debug)]
pub(crate) struct RejectedStore {
    dir: PathBuf,
    signal: Option<Signal>,
    max_bytes: u64,
    /// How many bytes are there, as far as this process knows; looked up where that leaves no room.
    bytes: AtomicU64,
}

/// A file of the store.
#[cfg(feature = "cli")]
pub(crate) struct RejectedFile {
    path: PathBuf,
    pub(crate) bytes: u64,
}

#[cfg(feature = "cli")]
impl RejectedFile {
    /// Deletes it, if nobody else has.
    pub(crate) fn remove(&self) -> Result<(), SpoolError> {
        remove_if_there(&self.path)
    }
}

/// Records of each lane of a spool, by the segment's random number and the lane's.
#[cfg(feature = "cli")]
#[derive(Debug, Default)]
pub(crate) struct ByLane(HashMap<(u64, u32), Vec<Range<u64>>>);

#[cfg(feature = "cli")]
impl ByLane {
    /// Adds the records of a batch; what is called otherwise names none.
    fn add(&mut self, batch_id: &str) -> Option<()> {
        let (random, place) = batch_id.split_once('.')?;
        let mut numbers = place.split('-').map(str::parse::<u64>);
        let mut number = || numbers.next()?.ok();
        let (lane, first, last) = (number()?.try_into().ok()?, number()?, number()?);
        let ranges = self.0.entry((parse_hex(random)?, lane)).or_default();
        ranges.push(first..last.checked_add(1)?);
        Some(())
    }

    /// The number of all of them.
    pub(crate) fn all(&self) -> u64 {
        self.0.keys().map(|(random, lane)| self.of(*random, *lane)).sum()
    }

    /// The number of those of a lane. One that is in several batches counts once.
    pub(super) fn of(&self, random: u64, lane: u32) -> u64 {
        let mut ranges = self.0.get(&(random, lane)).cloned().unwrap_or_default();
        ranges.sort_unstable_by_key(|range| range.start);
        let (mut records, mut end) = (0_u64, 0);
        for range in ranges {
            records += range.end.saturating_sub(range.start.max(end));
            end = end.max(range.end);
        }
        records
    }
}

/// A file that was found in the store.
struct Found {
    #[cfg(feature = "cli")]
    modified: SystemTime,
    bytes: u64,
    path: PathBuf,
}

impl RejectedStore {
    pub(super) fn new(root: &Path, signal: Signal, max_bytes: u64) -> Self {
        Self { dir: root.join(REJECTED), signal: Some(signal), max_bytes, bytes: AtomicU64::new(u64::MAX) }
    }

    /// Keeps records, synced when this returns. Those that are there already take the place of themselves.
    ///
    /// # Errors
    ///
    /// If there is no room for all of them: none is kept then, and nothing gives way. A store without any takes them, however
    /// large they are.
    pub(super) fn put(&self, records: &[RejectedRecord]) -> Result<(), SpoolError> {
        ensure_in(&self.dir)?;
        let files = records.iter().map(|record| Ok((self.path(record), record.to_file()?)));
        let files: serde_json::Result<Vec<_>> = files.collect();
        let files = files.map_err(|error| io_error("write", &self.dir, error.into()))?;
        self.make_room(&files)?;
        for (path, bytes) in &files {
            let new = path.with_extension("new");
            let written = write_synced(&new, bytes).and_then(|()| rename(&new, path));
            written.map_err(|error| io_error("write", path, error))?;
        }
        sync_dir(&self.dir)
    }

    fn path(&self, record: &RejectedRecord) -> PathBuf {
        self.dir.join(format!("{}.{}.json", record.batch_id, record.signal))
    }

    /// Whether a file is of this store's signal.
    fn has(&self, name: &str) -> bool {
        self.signal.is_none_or(|signal| rejected_name(name).1 == signal.name())
    }

    /// Counts new files, or fails if there is no room for them.
    fn make_room(&self, new: &[(PathBuf, Vec<u8>)]) -> Result<(), SpoolError> {
        let needed: u64 = new.iter().map(|(_, file)| file.len() as u64).sum();
        let mut bytes = self.bytes.load(Ordering::Relaxed).saturating_add(needed);
        if bytes > self.max_bytes {
            // People and other processes delete files.
            let found = self.list()?.into_iter().filter(|found| new.iter().all(|(path, _)| *path != found.path));
            let kept: u64 = found.map(|found| found.bytes).sum();
            bytes = kept.saturating_add(needed);
            if kept > 0 && bytes > self.max_bytes {
                return Err(SpoolError::RejectedStoreFull { path: self.dir.clone(), max_bytes: self.max_bytes });
            }
        }
        self.bytes.store(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// The store of a signal of a spool, or of all, to be looked into.
    #[cfg(feature = "cli")]
    pub(super) fn open(root: &Path, signal: Option<Signal>) -> Self {
        Self { dir: root.join(REJECTED), signal, max_bytes: u64::MAX, bytes: AtomicU64::new(u64::MAX) }
    }

    /// How many bytes the files have.
    #[cfg(feature = "cli")]
    pub(crate) fn bytes(&self) -> Result<u64, SpoolError> {
        Ok(self.list()?.iter().map(|found| found.bytes).sum())
    }

    /// Deletes a record, if nobody else has.
    #[cfg(feature = "cli")]
    pub(crate) fn remove(&self, record: &RejectedRecord) -> Result<(), SpoolError> {
        remove_if_there(&self.path(record))
    }

    /// Deletes files that nobody finishes, since no owner is alive: their records are still in the spool. What was deleted so far stays so
    /// after a power cut.
    #[cfg(feature = "cli")]
    pub(super) fn remove_unfinished(&self) -> Result<(), SpoolError> {
        let found = self.list()?.into_iter().map(|found| found.path);
        let mut unfinished = found.filter(|path| path.extension().is_some_and(|extension| extension == "new"));
        unfinished.try_for_each(|path| remove_if_there(&path))?;
        if self.dir.exists() { sync_dir(&self.dir) } else { Ok(()) }
    }

    /// The records of which a file is there, by the names of the files.
    #[cfg(feature = "cli")]
    pub(crate) fn by_lane(&self) -> Result<ByLane, SpoolError> {
        let mut by_lane = ByLane::default();
        for found in self.list()? {
            let name = found.path.file_name().unwrap_or_default().to_string_lossy();
            if name.ends_with(".json") {
                by_lane.add(rejected_name(&name).0);
            }
        }
        Ok(by_lane)
    }

    /// Changes whenever a file comes or goes; `None` if there is no store.
    #[cfg(feature = "cli")]
    pub(crate) fn changed_at(&self) -> Option<SystemTime> {
        fs::metadata(&self.dir).and_then(|meta| meta.modified()).ok()
    }

    /// The record that was rejected last, or the reason why it cannot be read. `None` if there is none.
    #[cfg(feature = "cli")]
    pub(crate) fn newest(&self) -> Result<Option<Result<RejectedRecord, DamagedFile>>, SpoolError> {
        let files = self.list()?.into_iter().filter(|found| found.path.extension().is_some_and(|end| end == "json"));
        let Some(newest) = files.max_by_key(|found| found.modified) else { return Ok(None) };
        let name = newest.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let read = fs::read(&newest.path).map_err(|error| format!("it cannot be read: {error}"));
        let record = read.and_then(|bytes| RejectedRecord::parse(&bytes));
        let damaged = |reason| DamagedFile { batch_id: rejected_name(&name).0.to_owned(), reason };
        Ok(Some(record.map_err(damaged)))
    }

    /// Every file, also what is no record: but for one that somebody may be just writing.
    #[cfg(feature = "cli")]
    pub(crate) fn files(&self) -> Result<Vec<RejectedFile>, SpoolError> {
        const WRITTEN_IN: Duration = Duration::from_secs(60);
        let is_left = |found: &Found| {
            found.path.extension().is_none_or(|extension| extension != "new")
                || found.modified.elapsed().is_ok_and(|age| age > WRITTEN_IN)
        };
        let found = self.list()?.into_iter().filter(is_left);
        Ok(found.map(|found| RejectedFile { path: found.path, bytes: found.bytes }).collect())
    }

    /// Every record that is kept, the oldest first. One that is damaged is left out.
    pub(crate) fn records(&self) -> Result<Vec<RejectedRecord>, SpoolError> {
        Ok(self.read()?.records)
    }

    /// Every record that is kept, and every file that should hold one and is damaged.
    pub(crate) fn read(&self) -> Result<Kept, SpoolError> {
        let mut kept = Kept::default();
        let found = match list(&self.dir) {
            Err(SpoolError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Vec::new(),
            found => found?,
        };
        for found in found {
            let name = found.file_name().to_string_lossy().into_owned();
            // One that is just being written has another name, and so has what is not of this store.
            if found.path().extension().is_none_or(|extension| extension != "json") || !self.has(&name) {
                continue;
            }
            let (batch_id, signal) = rejected_name(&name);
            match fs::read(found.path()).map(|bytes| RejectedRecord::parse(&bytes)) {
                Ok(Ok(record)) if (&*record.batch_id, &*record.signal) == (batch_id, signal) => {
                    kept.records.push(record);
                }
                Ok(Ok(RejectedRecord { batch_id: id, signal, .. })) => {
                    kept.damage(batch_id, format!("its name is not that of its id and its signal, {id}.{signal}"));
                }
                Ok(Err(reason)) => kept.damage(batch_id, reason),
                // Somebody was faster and deleted it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => kept.damage(batch_id, format!("it cannot be read: {error}")),
            }
        }
        kept.records.sort_by_key(|record| record.rejected_at);
        kept.damaged.sort_by(|one, other| one.batch_id.cmp(&other.batch_id));
        Ok(kept)
    }

    fn list(&self) -> Result<Vec<Found>, SpoolError> {
        let list = match fs::read_dir(&self.dir) {
            Ok(list) => list,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(io_error("list", &self.dir, error)),
        };
        let own = list.flatten().filter(|found| self.has(&found.file_name().to_string_lossy()));
        let files = own.filter_map(|found| {
            let meta = found.metadata().ok().filter(fs::Metadata::is_file)?;
            Some(Found {
                #[cfg(feature = "cli")]
                modified: meta.modified().ok()?,
                bytes: meta.len(),
                path: found.path(),
            })
        });
        Ok(files.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: u64, body: &[u8]) -> RejectedRecord {
        RejectedRecord {
            signal: "logs".to_owned(),
            batch_id: format!("00000000000000aa.1-0-{number}-{number}"),
            partition_key: "acme".to_owned(),
            status: 422,
            response: "no \"such\" field\r\n".to_owned(),
            rejected_at: UNIX_EPOCH + Duration::from_secs(1_000_000 + number),
            content_type: "application/json".to_owned(),
            response_protocol: ResponseProtocol::Otlp,
            records: 1,
            inferred: false,
            body: body.to_vec(),
        }
    }

    #[test]
    fn what_is_kept_is_read_text_or_not_the_oldest_first() {
        let root = tempfile::tempdir().unwrap();
        let store = RejectedStore::new(root.path(), Signal::Logs, 1 << 20);
        assert_eq!(store.records().unwrap(), []);
        let records = [record(1, b"[{\"a\":\"\xc3\xa4\"}]"), record(2, b"\x00\xff"), record(3, b"[1]")];
        for record in records.iter().rev().chain(&records) {
            store.put(std::slice::from_ref(record)).unwrap();
        }
        assert_eq!(store.records().unwrap(), records);
    }

    #[cfg(feature = "cli")]
    #[test]
    fn the_names_of_files_tell_how_many_records_of_a_lane_are_kept_each_counted_once() {
        let root = tempfile::tempdir().unwrap();
        let store = RejectedStore::new(root.path(), Signal::Logs, 1 << 20);
        let named = |id: &str| RejectedRecord { batch_id: id.to_owned(), ..record(1, b"[1]") };
        let ids =
            ["00000000000000aa.1-5-5", "00000000000000aa.1-3-6", "00000000000000aa.1-9-9", "00000000000000aa.2-0-1"];
        for id in ids.into_iter().chain(["elsewhere", "00000000000000aa.1-5", "00000000000000aa.1-7-x"]) {
            store.put(&[named(id)]).unwrap();
        }
        let by_lane = store.by_lane().unwrap();
        assert_eq!(
            [(0xaa, 1), (0xaa, 2), (0xaa, 3), (0xbb, 1)].map(|(random, lane)| by_lane.of(random, lane)),
            [5, 2, 0, 0]
        );
        assert_eq!(by_lane.all(), 7);
    }

    /// A bit, the end, a byte more: nothing of it is taken for what the endpoint rejected.
    #[test]
    fn a_file_that_was_altered_anywhere_is_no_record_and_is_named() {
        let root = tempfile::tempdir().unwrap();
        let store = RejectedStore::new(root.path(), Signal::Logs, 1 << 20);
        let (altered, intact) = (record(1, b"[{\"a\":1}]"), record(2, b"[2]"));
        store.put(&[altered.clone(), intact.clone()]).unwrap();
        let path = store.path(&altered);
        let bytes = fs::read(&path).unwrap();
        let flipped = (0..bytes.len()).map(|at| {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            flipped
        });
        let others = [bytes[..bytes.len() - 1].to_vec(), [&bytes[..], b"\n"].concat(), Vec::new()];
        for altered_bytes in flipped.chain(others) {
            fs::write(&path, &altered_bytes).unwrap();
            let kept = store.read().unwrap();
            let what = String::from_utf8_lossy(&altered_bytes);
            assert_eq!(kept.records, std::slice::from_ref(&intact), "{what}");
            assert_eq!(kept.damaged.len(), 1, "{what}");
            assert_eq!(kept.damaged[0].batch_id, altered.batch_id, "{what}");
        }
        fs::write(&path, &bytes).unwrap();
        fs::copy(&path, store.dir.join("copy.logs.json")).unwrap();
        fs::create_dir(store.dir.join("unreadable.logs.json")).unwrap();
        fs::write(store.dir.join("being-written.new"), "{").unwrap();
        let kept = store.read().unwrap();
        assert_eq!(kept.records, [altered, intact]);
        let damaged: Vec<_> = kept.damaged.iter().map(|file| (&*file.batch_id, &*file.reason)).collect();
        assert!(
            matches!(damaged[..], [("copy", copied), ("unreadable", reason)]
            if copied.contains("its name is not that of its id") && reason.contains("cannot be read")),
            "{damaged:?}"
        );
    }

    /// As the page on the format says: the checksum is that of all bytes from the 21st on.
    #[test]
    fn the_checksum_is_that_of_everything_behind_it() {
        let file = record(1, b"[1]").to_file().unwrap();
        let value: Value = serde_json::from_slice(&file).unwrap();
        assert_eq!(value["crc32"], format!("{:08x}", crc32fast::hash(&file[20..])));
        assert_eq!(value["body"], "[1]");
    }

    #[test]
    fn a_full_store_takes_nothing_until_files_are_deleted_and_loses_nothing() {
        let root = tempfile::tempdir().unwrap();
        let store = RejectedStore::new(root.path(), Signal::Logs, 10_000);
        let put = |numbers: std::ops::Range<u64>| {
            store.put(&numbers.map(|number| record(number, &[b'x'; 2000])).collect::<Vec<_>>())
        };
        put(0..4).unwrap();
        let full = put(4..6).unwrap_err();
        assert!(matches!(full, SpoolError::RejectedStoreFull { max_bytes: 10_000, .. }), "{full:?}");
        put(0..4).unwrap();
        assert_eq!(store.records().unwrap().len(), 4, "those of before, and none of those that do not fit");
        for number in 0..2 {
            fs::remove_file(store.path(&record(number, b""))).unwrap();
        }
        put(4..6).unwrap();
        assert_eq!(store.records().unwrap().len(), 4);
        let bytes: u64 = store.list().unwrap().iter().map(|found| found.bytes).sum();
        assert!(bytes <= 10_000, "{bytes}");
    }

    #[test]
    fn each_signal_has_a_limit_of_its_own_and_its_own_records() {
        let root = tempfile::tempdir().unwrap();
        let of = |signal: Signal| RejectedRecord { signal: signal.name().to_owned(), ..record(1, &[b'x'; 2000]) };
        let stores = [Signal::Logs, Signal::Traces].map(|signal| RejectedStore::new(root.path(), signal, 3_000));
        for (store, signal) in stores.iter().zip([Signal::Logs, Signal::Traces]) {
            store.put(&[of(signal)]).unwrap();
            assert!(store.put(&[RejectedRecord { batch_id: "another".to_owned(), ..of(signal) }]).is_err());
        }
        for (store, signal) in stores.iter().zip([Signal::Logs, Signal::Traces]) {
            assert_eq!(store.records().unwrap(), [of(signal)]);
        }
    }

    #[test]
    fn an_empty_store_takes_a_record_of_any_size() {
        let root = tempfile::tempdir().unwrap();
        let store = RejectedStore::new(root.path(), Signal::Logs, 10);
        store.put(&[record(1, b"[1]")]).unwrap();
        assert!(store.put(&[record(2, b"[2]")]).is_err());
        assert_eq!(store.records().unwrap(), [record(1, b"[1]")]);
    }

    #[test]
    fn a_batch_in_one_file_says_how_many_records_it_has_and_an_older_file_has_one() {
        let root = tempfile::tempdir().unwrap();
        let store = RejectedStore::new(root.path(), Signal::Logs, 1 << 20);
        let batch = RejectedRecord { records: 512, inferred: true, ..record(1, b"[1]") };
        store.put(std::slice::from_ref(&batch)).unwrap();
        assert_eq!(store.records().unwrap(), std::slice::from_ref(&batch));
        let json = String::from_utf8(serde_json::to_vec(&batch).unwrap()).unwrap();
        let older = json.replace(r#""records":512,"inferred":true,"#, "");
        assert_ne!(older, json);
        let older = RejectedRecord::from_json(older.as_bytes()).unwrap();
        assert_eq!((older.records, older.inferred), (1, false));
        let none = json.replace(r#""records":512"#, r#""records":0"#);
        assert_eq!(RejectedRecord::from_json(none.as_bytes()), None);
    }
}
