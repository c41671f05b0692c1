//! [`RejectedStore`]: records that the receiver rejects for good, one file each, for a person to read. It touches that
//! directory only.
//!
//! It lies beside the queues and is shared by all of them. A file is named after its batch, so that a record that is
//! rejected again after a crash is there once.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_core::ser::SerializeStruct;
use serde_core::{Serialize, Serializer};
use serde_json::Value;

use super::dir::{create_in, io_error, private_file, rename, sync_dir};
use crate::encode::framing::ResponseProtocol;
use crate::error::SpoolError;

/// How much of the response is kept.
const MAX_RESPONSE_BYTES: usize = 4 << 10;

/// A record that the receiver rejected for good.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RejectedRecord {
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
    /// The request's body before it was compressed: the record, alone in its framing.
    pub body: Vec<u8>,
}

impl RejectedRecord {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(bytes).ok()?;
        let text = |key: &str| value.get(key)?.as_str().map(str::to_owned);
        let body = match text("body") {
            Some(body) => body.into_bytes(),
            None => BASE64_STANDARD.decode(text("body_base64")?).ok()?,
        };
        Some(Self {
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
            body,
        })
    }
}

impl Serialize for RejectedRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("RejectedRecord", 8)?;
        fields.serialize_field("rejected_at", &since_epoch(self.rejected_at).as_secs_f64())?;
        fields.serialize_field("status", &self.status)?;
        fields.serialize_field("response", &self.response)?;
        fields.serialize_field("batch_id", &self.batch_id)?;
        fields.serialize_field("partition_key", &self.partition_key)?;
        fields.serialize_field("content_type", &self.content_type)?;
        fields.serialize_field("response_protocol", self.response_protocol.name())?;
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

/// The directory of the store.
#[derive(Debug)]
pub(crate) struct RejectedStore {
    dir: PathBuf,
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
        remove_file(&self.path)
    }
}

/// A file that was found in the store.
struct Found {
    modified: SystemTime,
    bytes: u64,
    path: PathBuf,
}

impl RejectedStore {
    pub(super) fn new(root: &Path, max_bytes: u64) -> Self {
        Self { dir: root.join("rejected"), max_bytes, bytes: AtomicU64::new(u64::MAX) }
    }

    /// Keeps records, synced when this returns. The oldest make room for them: how many.
    pub(super) fn put(&self, records: &[RejectedRecord]) -> Result<u64, SpoolError> {
        create_in(&self.dir)?;
        let mut evicted = 0;
        for record in records {
            evicted += self.write(record)?;
        }
        sync_dir(&self.dir)?;
        Ok(evicted)
    }

    fn write(&self, record: &RejectedRecord) -> Result<u64, SpoolError> {
        let bytes = serde_json::to_vec(record).map_err(|error| io_error("write", &self.dir, error.into()))?;
        let evicted = self.make_room(bytes.len() as u64)?;
        let path = self.dir.join(format!("{}.json", record.batch_id));
        let new = path.with_extension("new");
        let written = private_file(&new).and_then(|mut file: File| {
            file.write_all(&bytes)?;
            file.sync_all()
        });
        written.and_then(|()| rename(&new, &path)).map_err(|error| io_error("write", &path, error))?;
        Ok(evicted)
    }

    /// How many records that took.
    fn make_room(&self, needed: u64) -> Result<u64, SpoolError> {
        let known = self.bytes.load(Ordering::Relaxed).saturating_add(needed);
        if known <= self.max_bytes {
            self.bytes.store(known, Ordering::Relaxed);
            return Ok(0);
        }
        let mut evicted = 0;
        let mut found = self.list()?;
        let mut bytes = needed + found.iter().map(|found| found.bytes).sum::<u64>();
        // Somewhat more than is needed, so that this is not done for every record.
        let target = if bytes <= self.max_bytes { bytes } else { self.max_bytes - self.max_bytes / 8 };
        found.sort_by_key(|found| found.modified);
        for oldest in found {
            if bytes <= target {
                break;
            }
            remove_file(&oldest.path)?;
            bytes -= oldest.bytes;
            evicted += 1;
        }
        self.bytes.store(bytes, Ordering::Relaxed);
        Ok(evicted)
    }

    /// The store of a spool, to be looked into.
    #[cfg(feature = "cli")]
    pub(super) fn open(root: &Path) -> Self {
        Self::new(root, u64::MAX)
    }

    /// How many bytes the files have.
    #[cfg(feature = "cli")]
    pub(crate) fn bytes(&self) -> Result<u64, SpoolError> {
        Ok(self.list()?.iter().map(|found| found.bytes).sum())
    }

    /// Deletes a record, if nobody else has.
    #[cfg(feature = "cli")]
    pub(crate) fn remove(&self, batch_id: &str) -> Result<(), SpoolError> {
        remove_file(&self.dir.join(format!("{batch_id}.json")))
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

    /// Every record that is kept, the oldest first. One that cannot be read is left out.
    pub(crate) fn records(&self) -> Result<Vec<RejectedRecord>, SpoolError> {
        let found = self.list()?;
        let read = |found: &Found| fs::read(&found.path).ok().and_then(|bytes| RejectedRecord::parse(&bytes));
        let mut records: Vec<_> = found.iter().filter_map(read).collect();
        records.sort_by_key(|record| record.rejected_at);
        Ok(records)
    }

    fn list(&self) -> Result<Vec<Found>, SpoolError> {
        let list = match fs::read_dir(&self.dir) {
            Ok(list) => list,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(io_error("list", &self.dir, error)),
        };
        let files = list.flatten().filter_map(|found| {
            let meta = found.metadata().ok().filter(fs::Metadata::is_file)?;
            Some(Found { modified: meta.modified().ok()?, bytes: meta.len(), path: found.path() })
        });
        Ok(files.collect())
    }
}

/// Deletes a file, which may be gone already: other processes make room too.
fn remove_file(path: &Path) -> Result<(), SpoolError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("remove", path, error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: u64, body: &[u8]) -> RejectedRecord {
        RejectedRecord {
            batch_id: format!("00000000000000aa.1-0-{number}-{number}"),
            partition_key: "acme".to_owned(),
            status: 422,
            response: "no \"such\" field\r\n".to_owned(),
            rejected_at: UNIX_EPOCH + Duration::from_secs(1_000_000 + number),
            content_type: "application/json".to_owned(),
            response_protocol: ResponseProtocol::Otlp,
            body: body.to_vec(),
        }
    }

    #[test]
    fn what_is_kept_is_read_text_or_not_the_oldest_first() {
        let root = tempfile::tempdir().unwrap();
        let store = RejectedStore::new(root.path(), 1 << 20);
        assert_eq!(store.records().unwrap(), []);
        let records = [record(1, b"[{\"a\":\"\xc3\xa4\"}]"), record(2, b"\x00\xff"), record(3, b"[1]")];
        for record in records.iter().rev().chain(&records) {
            store.put(std::slice::from_ref(record)).unwrap();
        }
        assert_eq!(store.records().unwrap(), records);
    }

    #[test]
    fn the_oldest_make_room() {
        let root = tempfile::tempdir().unwrap();
        let store = RejectedStore::new(root.path(), 10_000);
        let mut evicted = 0;
        for number in 0..20 {
            evicted += store.put(&[record(number, &[b'x'; 2000])]).unwrap();
            // The file system's clock ticks in steps.
            let path = store.dir.join(format!("{}.json", record(number, b"").batch_id));
            File::options()
                .write(true)
                .open(path)
                .unwrap()
                .set_modified(UNIX_EPOCH + Duration::from_secs(number))
                .unwrap();
            assert!(store.list().unwrap().iter().map(|found| found.bytes).sum::<u64>() <= 10_000);
        }
        let kept: Vec<_> = store.records().unwrap().into_iter().map(|record| record.batch_id).collect();
        assert!(kept.len() >= 3);
        assert_eq!(evicted, 20 - kept.len() as u64);
        assert!((0..20).map(|number| record(number, b"").batch_id).collect::<Vec<_>>().ends_with(&kept));
    }
}
