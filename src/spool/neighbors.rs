//! The queues of this process in one directory. A loss is reported in the stream of the queue that has it; where that takes no gap
//! record, as a stream of spans does not, a neighbor reports it whose stream does. It does so in the partition without a name:
//! those of the other stream are unknown to its header hook, and could be many.
//!
//! Exporters of one signal in one directory have one origin: a [`Claim`] says so for as long as a spool is open.

use std::sync::{Arc, Weak};

use super::dir::Place;
use super::gap::{Gap, Unreported};
use super::lock::{Lock, Rank};
use super::queue::{Queue, SpoolConfig};
use crate::config::values::{Origin, Signal};
use crate::error::SpoolError;

/// The origins of the spools of this process.
static CLAIMS: Lock<Vec<(Place, Signal, Origin)>> = Lock::new(Rank::Neighbors, Vec::new());

/// The directories of this process in which queues are open. A queue that is found here takes a loss under this lock, and leaves
/// under it before it reports for the last time: no loss is handed to one that is closed.
static DIRECTORIES: Lock<Vec<Directory>> = Lock::new(Rank::Neighbors, Vec::new());

struct Directory {
    place: Place,
    /// In the order in which they were opened. None is kept alive.
    queues: Vec<Weak<Queue>>,
    /// The losses that none of them can report: the next one that can does.
    waiting: Unreported,
}

/// Makes a queue known to its neighbors. If it takes gap records, it reports what waits.
pub(super) fn join(queue: &Arc<Queue>) {
    let mut all = DIRECTORIES.lock();
    let at = all.iter().position(|directory| directory.place == queue.place).unwrap_or_else(|| {
        all.push(Directory { place: queue.place.clone(), queues: Vec::new(), waiting: Unreported::default() });
        all.len() - 1
    });
    let directory = &mut all[at];
    directory.queues.push(Arc::downgrade(queue));
    if queue.hooks.gap_encoder.is_some() {
        queue.report_again(std::mem::take(&mut directory.waiting));
    }
}

/// Ends that. The losses that wait are forgotten with the last of the queues: they are counted.
pub(super) fn leave(queue: &Queue) {
    DIRECTORIES.lock().retain_mut(|directory| {
        directory.queues.retain(|other| other.strong_count() > 0 && !std::ptr::eq(other.as_ptr(), queue));
        !directory.queues.is_empty()
    });
}

/// Has a neighbor report a loss, now or when there is one that can.
pub(super) fn hand_over(queue: &Queue, mut gap: Gap) {
    gap.key = Arc::from("");
    gap.signal.get_or_insert(queue.config.signal);
    let mut all = DIRECTORIES.lock();
    let Some(directory) = all.iter_mut().find(|directory| directory.place == queue.place) else { return };
    let mut open = directory.queues.iter().filter_map(Weak::upgrade);
    match open.find(|neighbor| neighbor.hooks.gap_encoder.is_some()) {
        Some(neighbor) => neighbor.report_again([gap]),
        None => directory.waiting.add(gap),
    }
}

/// The right to append records of one signal for one origin to a directory. Others for the same origin have it as well.
pub(super) struct Claim((Place, Signal, Origin));

impl Claim {
    /// # Errors
    ///
    /// If a spool of this process has the directory and the signal for another origin: a crash would leave records of one for
    /// the other.
    pub(super) fn new(place: &Place, config: &SpoolConfig) -> Result<Option<Self>, SpoolError> {
        let Some(origin) = &config.origin else { return Ok(None) };
        let claim = (place.clone(), config.signal, origin.clone());
        let mut all = CLAIMS.lock();
        let conflict = all.iter().find(|(at, signal, of)| (at, signal) == (place, &config.signal) && of != origin);
        if let Some((.., other)) = conflict {
            let (origin, other) = (origin.as_str().to_owned(), other.as_str().to_owned());
            return Err(SpoolError::OtherOrigin {
                path: config.dir.clone(),
                signal: config.signal.name(),
                origin,
                other,
            });
        }
        all.push(claim.clone());
        Ok(Some(Self(claim)))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut all = CLAIMS.lock();
        if let Some(at) = all.iter().position(|claim| *claim == self.0) {
            all.swap_remove(at);
        }
    }
}
