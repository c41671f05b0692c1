//! Counts of the queues of a spool.

use std::time::SystemTime;

use super::screen;
use crate::error::SpoolError;
use crate::error::error_chain;
use crate::spool::inspect::{Delivered, Directory, Known, Lane, Queue, SegmentFiles};

/// A counted queue; it stays locked while this lives, if its owner is gone.
pub(super) struct Surveyed {
    pub(super) queue: Queue,
    pub(super) segments: Vec<Counted>,
    /// The delivered records, where known.
    pub(super) delivered: Option<Delivered>,
}

/// A counted segment.
pub(super) struct Counted {
    pub(super) files: SegmentFiles,
    pub(super) lanes: Vec<Lane>,
    /// The number of delivered records, where known.
    pub(super) delivered: Option<u64>,
}

impl Counted {
    fn new(files: SegmentFiles, delivered: Option<&Delivered>) -> Result<Self, SpoolError> {
        let lanes = files.lanes()?;
        let of = |delivered: &Delivered| {
            let of_lane = |lane: &Lane| delivered.of(files.number(), lane.number).min(lane.records);
            lanes.iter().map(of_lane).sum()
        };
        Ok(Self { delivered: delivered.map(of), lanes, files })
    }

    /// The number of records, delivered or not.
    pub(super) fn records(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.records).sum()
    }

    /// The number of records that wait, as far as known.
    pub(super) fn waiting(&self) -> u64 {
        self.records() - self.delivered.unwrap_or_default()
    }

    pub(super) fn oldest(&self) -> Option<SystemTime> {
        self.lanes.iter().map(|lane| lane.first).min()
    }

    pub(super) fn newest(&self) -> Option<SystemTime> {
        self.lanes.iter().map(|lane| lane.last).max()
    }
}

impl Surveyed {
    pub(super) fn new(queue: Queue) -> Result<Self, SpoolError> {
        let delivered = delivered(&queue)?;
        let segments = queue.segments()?.into_iter().map(|files| Counted::new(files, delivered.as_ref()));
        Ok(Self { segments: segments.collect::<Result<_, _>>()?, queue, delivered })
    }

    pub(super) fn waiting(&self) -> u64 {
        self.segments.iter().map(Counted::waiting).sum()
    }

    pub(super) fn owner(&self) -> &'static str {
        if self.queue.is_owned() { "alive" } else { "gone" }
    }
}

/// The delivered records of a queue; prints the reason if they are not known.
pub(super) fn delivered(queue: &Queue) -> Result<Option<Delivered>, SpoolError> {
    Ok(match queue.delivered()? {
        Known::Is(delivered) => Some(delivered),
        Known::Owned => {
            let id = queue.id();
            let unread = if cfg!(windows) { ", and not those of the segment that it writes" } else { "" };
            screen::note(&format!(
                "queue {id}: its owner is alive, and only the owner knows which records are delivered: counts include those{unread}"
            ));
            None
        }
        Known::Unreadable(error) => {
            let (id, reason) = (queue.id(), error_chain(&error));
            screen::note(&format!(
                "queue {id}: the cursor database cannot be read: counts include delivered records, and all of them would be sent: {reason}"
            ));
            None
        }
    })
}

/// Every queue, one after the other; each is locked only while it is counted.
pub(super) fn queues(directory: &Directory) -> Result<impl Iterator<Item = Result<Surveyed, SpoolError>>, SpoolError> {
    Ok(directory.queues()?.map(|queue| queue.and_then(Surveyed::new)))
}
