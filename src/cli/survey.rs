//! Counts of the queues of a spool.

use std::time::SystemTime;

use super::screen;
use crate::config::values::Signal;
use crate::error::{SpoolError, error_chain};
use crate::spool::inspect::{Delivered, Directory, Lane, Queue, SegmentFiles, UnknownQueue};

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

/// Every queue, or those of one signal, one after the other; each is locked only while it is counted.
pub(super) fn queues(
    directory: &Directory,
    signal: Option<Signal>,
) -> Result<impl Iterator<Item = Result<Surveyed, SpoolError>>, SpoolError> {
    Ok(each(directory, signal)?.map(Surveyed::new))
}

/// Every queue, or those of one signal, that can be opened; the others are named.
pub(super) fn each(directory: &Directory, signal: Option<Signal>) -> Result<impl Iterator<Item = Queue>, SpoolError> {
    let named = |error: &SpoolError| screen::note(&format!("a queue is left out: {}", error_chain(error)));
    Ok(directory.queues(signal)?.filter_map(move |queue| queue.inspect_err(named).ok()))
}

/// The queues of signals that this version does not know, unless another one was chosen. Each is named.
pub(super) fn unknown(directory: &Directory, signal: Option<Signal>) -> Result<Vec<UnknownQueue>, SpoolError> {
    if signal.is_some() {
        return Ok(Vec::new());
    }
    let queues = directory.unknown_queues()?;
    for queue in &queues {
        let (id, signal) = (queue.id(), &queue.signal);
        screen::note(&format!("queue {id}: this version does not know its signal, {signal}: it is left alone"));
    }
    Ok(queues)
}
