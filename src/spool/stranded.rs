//! Stranded queues: left by exporters that are gone, for an origin that this one does not deliver to. They are counted and reported, and
//! give way like one's own when the spool is full. Whoever has their origin adopts them, so none is locked for longer than it
//! takes to see that it is nobody's, or to evict a segment of it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use super::cursor_file;
use super::dir::{self, QueueDir, QueueName, endpoint_of, journals_in, list_queues, segments_in};
use super::entry::system_time;
use super::frame::ReadErrors;
use super::gap::Gap;
use super::jobs::Job;
use super::loss::share;
use super::position::SegmentId;
use super::queue::{Counted, Queue, shown};
use super::replay;
use super::seal::Seal;
use super::segment::{LaneSummary, Segment};
use super::store::file_path;
use crate::error::SpoolError;
use crate::observe::event::SpoolEvent;
use crate::observe::loss::LossReason;

/// At most so many endpoints are named in an event.
const MAX_NAMED: usize = 4;

/// A segment of a stranded queue.
pub(super) struct StrandedSegment {
    queue: QueueName,
    id: SegmentId,
    /// When it was last written.
    written_at: SystemTime,
}

impl Queue {
    /// Counts the records that wait in stranded queues, and reports once that there are some. A queue that was counted and is as it was
    /// is not read again. Where the directory cannot be listed, which an adoption reports, the last count stands.
    pub(super) fn count_stranded(&self) {
        let Ok(names) = self.stranded_queues() else { return };
        let mut before = std::mem::take(&mut *self.stranded.lock());
        let mut counted = Vec::new();
        for name in names {
            let path = name.path(&self.config.dir);
            let files = files_of(&path);
            if files.is_empty() {
                // Nothing is in it: it is deleted by that.
                drop(QueueDir::take(&self.config.dir, name));
                continue;
            }
            let known = before.iter().position(|known| known.name == name && known.files == files);
            // What is taken over or deleted meanwhile is counted, or is not, the next time.
            counted.extend(match known {
                Some(known) => Some(before.swap_remove(known)),
                None => waiting_in(&path).ok().map(|records| Counted { name, files, records }),
            });
        }
        let records = counted.iter().map(|queue| queue.records).sum();
        if records > 0 && !self.stranded_reported.swap(true, Ordering::Relaxed) {
            let (was, now) = (self.endpoints_of(&counted), self.config.shown_endpoint());
            self.report_event(SpoolEvent::QueueStranded { records, was, now });
        }
        *self.stranded.lock() = counted;
        self.stranded_records.store(records, Ordering::Relaxed);
    }

    /// The endpoints that some queues were spooled for, in words.
    fn endpoints_of(&self, queues: &[Counted]) -> String {
        let waiting = queues.iter().filter(|queue| queue.records > 0);
        let endpoints = waiting.filter_map(|queue| endpoint_of(&queue.name.path(&self.config.dir)));
        let endpoints: BTreeSet<_> = endpoints.map(|endpoint| shown(&endpoint)).collect();
        let more = endpoints.len().saturating_sub(MAX_NAMED);
        let named = endpoints.into_iter().take(MAX_NAMED);
        named.chain((more > 0).then(|| format!("{more} more"))).collect::<Vec<_>>().join(", ")
    }

    /// The queues of the signal that are for others, and whose owners are gone.
    fn stranded_queues(&self) -> Result<Vec<QueueName>, SpoolError> {
        let mut names = list_queues(&self.config.dir)?;
        names.retain(|name| name.signal == self.config.signal && !self.config.adopts(*name));
        // The lock is given up at once: whoever delivers them may come at any time.
        names.retain(|name| matches!(QueueDir::try_lock_shared(&self.config.dir, *name), Ok(Some(_))));
        Ok(names)
    }

    /// The segments of stranded queues, those that were written first in front.
    pub(super) fn stranded_segments(&self) -> Vec<StrandedSegment> {
        let of_queue = |queue: QueueName| {
            let segments = segments_in(&queue.path(&self.config.dir)).unwrap_or_default();
            segments.into_iter().map(move |(id, path)| StrandedSegment { queue, id, written_at: written_at(&path) })
        };
        let queues = self.stranded_queues().unwrap_or_default();
        let mut segments: Vec<_> = queues.into_iter().flat_map(of_queue).collect();
        segments.sort_by_key(|segment| (segment.written_at, segment.queue, segment.id));
        segments
    }

    /// How much these take on disk.
    pub(super) fn stranded_bytes(&self, segments: &[StrandedSegment]) -> u64 {
        let path = |of: &StrandedSegment| dir::segment_path(&of.queue.path(&self.config.dir), of.id);
        segments.iter().map(|segment| dir::walk(&path(segment)).unwrap_or_default()).sum()
    }

    /// Evicts the oldest of these segments that can be evicted, if it was written before the oldest one of these queues: false if there
    /// is none.
    pub(super) fn evict_stranded<'a>(
        &'a self,
        segments: &[StrandedSegment],
        queues: impl Iterator<Item = &'a Self>,
        events: &mut Vec<SpoolEvent>,
    ) -> bool {
        let of_queue = |queue: &Self| queue.index.lock().oldest().map(|own| written_at(&queue.dir.segment(own)));
        let own = queues.filter_map(of_queue).min();
        let mut older = segments.iter().take_while(|segment| own.is_none_or(|own| own >= segment.written_at));
        // One that cannot be deleted holds up nothing.
        older.any(|segment| self.evict_stranded_one(segment, events).unwrap_or(false))
    }

    /// Evicts a segment: false if somebody has just taken it over.
    fn evict_stranded_one(&self, oldest: &StrandedSegment, events: &mut Vec<SpoolEvent>) -> Result<bool, SpoolError> {
        let Some(queue) = QueueDir::take(&self.config.dir, oldest.queue)? else { return Ok(false) };
        let path = queue.segment(oldest.id);
        let bytes = dir::walk(&path).unwrap_or_default();
        // What cannot be counted stays.
        let lanes = waiting_lanes(&path, oldest.id)?;
        queue.retire(oldest.id)?;
        let waiting: u64 = lanes.iter().map(|(_, waiting)| waiting).sum();
        let all: u64 = lanes.iter().map(|(lane, _)| lane.records).sum();
        self.hooks.counters.losses.add_bytes(LossReason::Evicted, share(bytes, waiting, all));
        if waiting > 0 {
            let of_waiting = || lanes.iter().filter(|(_, waiting)| *waiting > 0).map(|(lane, _)| lane);
            // The partitions of another endpoint are unknown to this one's header hook, and none of its business.
            events.extend(self.count_gap(Gap {
                key: Arc::from(""),
                reason: LossReason::Evicted,
                records: waiting,
                first: of_waiting().map(|lane| system_time(lane.first_timestamp)).min(),
                last: of_waiting().map(|lane| system_time(lane.last_timestamp)).max(),
                signal: None,
            }));
        }
        // Should that fail, whoever opens the queue next deletes the rest.
        let _ = queue.delete_retired(oldest.id);
        if queue.is_empty().unwrap_or(false) {
            let _ = queue.remove();
        }
        self.ask(Job::CountStranded);
        Ok(true)
    }
}

/// When a segment was last written; what cannot be asked for is the oldest.
fn written_at(segment: &Path) -> SystemTime {
    let modified = fs::metadata(file_path(segment)).and_then(|meta| meta.modified());
    modified.unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The files that say how many records wait in a queue.
fn files_of(queue: &Path) -> Vec<(PathBuf, u64, Option<SystemTime>)> {
    let segments = segments_in(queue).unwrap_or_default().into_iter();
    let of_segments = segments.flat_map(|(_, path)| [file_path(&path), cursor_file::cursor_path(&path)]);
    let state = |path: PathBuf| {
        let meta = fs::metadata(&path).ok()?;
        Some((path, meta.len(), meta.modified().ok()))
    };
    let mut files: Vec<_> = of_segments.chain(journals_in(queue).unwrap_or_default()).filter_map(state).collect();
    files.sort_unstable();
    files
}

/// How many records wait in a queue.
fn waiting_in(queue: &Path) -> Result<u64, SpoolError> {
    let mut records = 0;
    for (id, path) in segments_in(queue)? {
        // What cannot be read waits, however much it is.
        let lanes = waiting_lanes(&path, id).unwrap_or_default();
        records += lanes.iter().map(|(_, waiting)| waiting).sum::<u64>();
    }
    let journaled = replay::missing(queue, &journals_in(queue)?, None)?;
    Ok(records + journaled.generations.iter().map(|(_, left)| left.blocks.records()).sum::<u64>())
}

/// The lanes of a segment, each with how many of its records wait.
fn waiting_lanes(path: &Path, id: SegmentId) -> Result<Vec<(LaneSummary, u64)>, SpoolError> {
    let lanes = match Seal::read(path) {
        Some(seal) => seal.lanes,
        None => Segment::open_unsealed(path, id, dir::accepted(path), ReadErrors::Skip)?.0.lanes(),
    };
    let cursors = cursor_file::read(path, id).lanes;
    let waiting = |(number, lane): (u32, LaneSummary)| {
        let waiting = cursors.get(&number).map_or(lane.records, |cursor| cursor.pending(lane.records));
        (lane, waiting)
    };
    Ok((0..).zip(lanes).map(waiting).collect())
}
