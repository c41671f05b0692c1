//! [`Job`]: a piece of work for the housekeeper. It touches nothing.

use std::sync::Arc;
use std::time::Duration;

use super::position::{LaneId, SegmentId};
use super::seal::Seal;
use super::segment::Segment;

/// A piece of work that neither an append nor the delivery waits for.
#[derive(Debug)]
pub(super) enum Job {
    /// Have an active segment before the first append needs it.
    BeginActive,
    /// Make the next segment.
    MakeNext,
    /// Seal a segment that gets no more entries.
    Seal {
        segment: Arc<Segment>,
        frames: u64,
    },
    /// Write a seal that could not be written before.
    KeepSeal(SegmentId, Seal),
    /// Scan a segment that has no seal, and seal it. `accepted` of its frames are known to be safe.
    Recover {
        id: SegmentId,
        accepted: u64,
    },
    /// Open a segment for reading.
    Prefetch(SegmentId),
    /// Make the body of the batch that starts there, of records up to `end`.
    ReadAhead {
        lane: LaneId,
        start: u64,
        end: u64,
    },
    /// Read a segment again that could not be read: after this time, and when it is over.
    RetryIn(SegmentId, Duration),
    Retry(SegmentId, Duration),
    /// Delete a segment that is delivered.
    Remove(SegmentId),
    /// Sync the active segment when the interval is over, and now.
    SyncSoon,
    Sync,
    /// Make acknowledgements survive a kill in a moment, and now.
    SettleSoon,
    Settle,
    /// Write down what others can know of the queue, in a moment, and now.
    StatusSoon,
    Status,
    /// End the active segment, if it is this one.
    Complete(SegmentId),
    /// Report the losses.
    ReportGaps,
    /// Report that the queue was taken over, when it is known how much is in it: so many records, and those of some segments. `was` is
    /// the endpoint that it was last sent to.
    ReportAdopted {
        records: u64,
        unknown: Vec<SegmentId>,
        was: String,
    },
    /// Count the records of queues that are for another origin.
    CountStranded,
    /// Reply that every job before is done.
    #[cfg(test)]
    Reply(std::sync::mpsc::Sender<()>),
    /// Do the jobs before, and let the queue go.
    Finish,
}
