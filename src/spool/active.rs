//! The active segment, the next one, and space: the parts of what the writer's lock protects. They touch memory only.

use std::collections::HashMap;
use std::sync::Arc;

use super::bytes::len32;
use super::cursor_file;
use super::entry::Scratch;
use super::position::SegmentId;
use super::segment::{Segment, StartedSegment};

/// More than a partition without its key takes in a seal.
const SEAL_OVERHEAD: u64 = 32;

/// The segment that is written.
#[derive(Debug)]
pub(super) struct ActiveSegment {
    pub(super) segment: Arc<Segment>,
    /// The frames that are written, and those of them that are accepted: an `append` returned.
    pub(super) frames: u64,
    pub(super) accepted: u64,
    /// When the latest append began, in nanoseconds since the epoch.
    appended_at: u64,
    /// The first key without a placeholder.
    pub(super) runway: u64,
    /// The lane of each partition, and how many records it has.
    pub(super) lanes: HashMap<Arc<str>, (u32, u64)>,
    /// The lanes for which its cursor file has room.
    pub(super) cursor_room: usize,
    /// How many bytes its seal will take.
    pub(super) seal_bytes: u64,
    /// Somebody was asked to make the next segment.
    pub(super) next_asked: bool,
    /// What entries are made in.
    pub(super) scratch: Scratch,
}

impl ActiveSegment {
    pub(super) fn new(segment: Arc<Segment>) -> Self {
        let lanes = HashMap::new();
        let cursor_room = cursor_file::room_at_first();
        Self {
            segment,
            frames: 0,
            accepted: 0,
            appended_at: 0,
            runway: 0,
            lanes,
            cursor_room,
            seal_bytes: 0,
            next_asked: false,
            scratch: Scratch::default(),
        }
    }

    pub(super) fn id(&self) -> SegmentId {
        self.segment.id
    }

    /// Begins an append. Returns the time that its entries carry: it tells them from those of the append before.
    pub(super) fn begin_append(&mut self, now: u64) -> u64 {
        self.appended_at = if now == self.appended_at { now.saturating_add(1) } else { now };
        self.appended_at
    }

    /// A partition's key, its lane and how many records it has.
    pub(super) fn lane(&mut self, key: &str) -> (Arc<str>, u32, u64) {
        if let Some((key, (lane, records))) = self.lanes.get_key_value(key) {
            return (key.clone(), *lane, *records);
        }
        let (key, lane) = (Arc::from(key), len32(self.lanes.len()));
        self.lanes.insert(Arc::clone(&key), (lane, 0));
        self.seal_bytes += SEAL_OVERHEAD + key.len() as u64;
        (key, lane, 0)
    }
}

/// The segment that is made ahead of its time.
#[derive(Debug, Default)]
pub(super) enum NextSegment {
    #[default]
    Absent,
    /// Whoever needs it first finishes it.
    Started(StartedSegment),
    /// Somebody makes it, without the lock. Who needs it waits instead of making another.
    Making,
    Made(Arc<Segment>),
}

impl NextSegment {
    /// Whether it has taken its disk ahead.
    pub(super) fn is_reserved(&self) -> bool {
        matches!(self, Self::Made(segment) if segment.is_reserved())
    }
}

/// How much the spool directory takes: what was measured last, and what was written since.
#[derive(Debug, Default)]
pub(super) struct Space {
    pub(super) is_measured: bool,
    pub(super) used: u64,
    pub(super) free: u64,
    pub(super) written: u64,
}
