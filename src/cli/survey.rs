//! Counts of the queues of a spool.

use std::time::SystemTime;

use super::screen;
use crate::error::{SpoolError, error_chain};
use crate::spool::inspect::{Delivered, Directory, Lane, Queue, SegmentFiles};

/// A counted queue; it stays locked while this lives, if its owner is gone.
pub(super) struct Surveyed {
    pub(super) queue: Queue,
    pub(super) segments: Vec<Counted>,
    pub(super) delivered: Delivered,
}

/// A counted segment.
pub(super) struct Counted {
    pub(super) files: SegmentFiles,
    pub(super) lanes: Vec<Lane>,
    /// The number of delivered records.
    pub(super) delivered: u64,
    /// The segment cannot be read: its records are not counted.
    pub(super) is_unreadable: bool,
}

impl Counted {
    fn new(files: SegmentFiles, delivered: &Delivered) -> Self {
        let (lanes, is_unreadable) = match files.lanes() {
            Ok(lanes) => (lanes, false),
            Err(error) => {
                let (queue, number, reason) = (files.queue(), files.number(), error_chain(&error));
                screen::note(&format!("queue {queue}, segment {number}: its records are not counted: {reason}"));
                (Vec::new(), true)
            }
        };
        Self { delivered: lanes.iter().map(|lane| delivered.of(&files, lane)).sum(), lanes, files, is_unreadable }
    }

    /// The number of records, delivered or not.
    pub(super) fn records(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.records).sum()
    }

    /// The number of records that wait.
    pub(super) fn waiting(&self) -> u64 {
        self.records() - self.delivered
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
        let delivered = queue.delivered()?;
        let segments = queue.segments()?.into_iter().map(|files| Counted::new(files, &delivered));
        Ok(Self { segments: segments.collect(), queue, delivered })
    }

    pub(super) fn waiting(&self) -> u64 {
        self.segments.iter().map(Counted::waiting).sum()
    }

    pub(super) fn owner(&self) -> &'static str {
        if self.queue.is_owned() { "alive" } else { "gone" }
    }
}

/// Every queue, one after the other; each is locked only while it is counted.
pub(super) fn queues(directory: &Directory) -> Result<impl Iterator<Item = Result<Surveyed, SpoolError>>, SpoolError> {
    Ok(each(directory)?.map(Surveyed::new))
}

/// Every queue that can be opened; the others are named.
pub(super) fn each(directory: &Directory) -> Result<impl Iterator<Item = Queue>, SpoolError> {
    let named = |error: &SpoolError| screen::note(&format!("a queue is left out: {}", error_chain(error)));
    Ok(directory.queues()?.filter_map(move |queue| queue.inspect_err(named).ok()))
}
