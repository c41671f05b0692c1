//! The commit thread of a signal: writes what its [`Buffer`] holds to the spool, all that waits with one sync.

use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::encode::blocks::Blocks;
use crate::error::{SpoolError, error_chain};
use crate::exporter::intake::contained;
use crate::observe::event::{Events, SpoolEvent};
use crate::observe::loss::LossReason;
use crate::observe::stats::Counters;
use crate::relay::buffer::{Buffer, Commit};
use crate::relay::remembered::Remembered;
use crate::relay::repeats::Repeats;
use crate::spool::{Load, Spool};

/// What the commit thread works with.
pub(crate) struct Committer {
    pub(crate) spool: Weak<Spool>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) events: Arc<Events>,
    pub(crate) repeats: Arc<Repeats>,
    pub(crate) remembered: Option<Remembered>,
}

impl Committer {
    /// Commits until the buffer is stopped and empty.
    pub(crate) fn run(&mut self, buffer: &Buffer) {
        let mut spare = Blocks::default();
        while let Some(mut commit) = buffer.take(spare) {
            self.write(&mut commit, buffer);
            if let Some(spool) = self.spool.upgrade().filter(|_| !commit.unreported.is_empty()) {
                let reported = contained(|| {
                    spool.report(commit.unreported);
                    Ok(())
                });
                if let Err(error) = reported {
                    self.events.report(SpoolEvent::CommitFailed { reason: error_chain(&error) });
                }
            }
            spare = commit.loose;
            spare.clear();
        }
        if let Some(remembered) = &self.remembered {
            remembered.sync();
        }
    }

    /// Retries loose records until they are written or the buffer is stopped. Memory is bounded by the buffer.
    fn write(&mut self, commit: &mut Commit, buffer: &Buffer) {
        let Self { spool, counters, events, .. } = self;
        let mut failing = false;
        loop {
            let last = buffer.is_stopping();
            let Err(error) = contained(|| append(commit, spool)) else { break };
            let reason = error_chain(&error);
            counters.failed_commits.add(1);
            if !std::mem::replace(&mut failing, true) {
                events.report(SpoolEvent::CommitFailed { reason: reason.clone() });
            }
            if last || matches!(error, SpoolError::Closed) {
                if give_up(commit, spool, counters) {
                    events.report(SpoolEvent::not_written(commit.loose.records(), reason.clone()));
                }
                buffer.failed(commit, &reason);
                return buffer.gave_up();
            }
            buffer.failed(commit, &reason);
            if commit.loose.records() == 0 {
                return;
            }
        }
        counters.accepted_records.add(records(commit));
        if failing {
            events.report(SpoolEvent::CommitRecovered);
        }
        self.remember(commit);
        buffer.succeeded(commit);
    }

    /// Notes the requests of a commit that has succeeded, before any of their clients is answered.
    fn remember(&mut self, commit: &Commit) {
        let ids: Vec<_> = commit.loads.iter().map(|load| load.request.id()).collect();
        if ids.is_empty() {
            return;
        }
        if let Some(remembered) = &mut self.remembered {
            remembered.add(&ids);
        }
        self.repeats.stored(ids, Duration::ZERO);
    }
}

fn records(commit: &Commit) -> u64 {
    commit.loose.records() + commit.loads.iter().map(|load| load.blocks.records()).sum::<u64>()
}

fn append(commit: &Commit, spool: &Weak<Spool>) -> Result<(), SpoolError> {
    if records(commit) == 0 {
        return Ok(());
    }
    let spool = spool.upgrade().ok_or(SpoolError::Closed)?;
    let loads = commit.loads.iter().map(|load| Load { id: Some(load.request.id()), blocks: load.blocks.all() });
    let loose = Load { id: None, blocks: commit.loose.all() };
    let loose = Some(loose).filter(|loose| !loose.blocks.is_empty());
    let all: Vec<_> = loose.into_iter().chain(loads).collect();
    spool.append_loads(&all, &commit.framing).map(drop)
}

/// Counts loose records that nobody will write. True if they are the first since losses were reported.
fn give_up(commit: &Commit, spool: &Weak<Spool>, counters: &Counters) -> bool {
    let blocks = commit.loose.all();
    if let Some(spool) = spool.upgrade() {
        return spool.note_not_written(&blocks);
    }
    // Nobody is left to report it in the stream.
    let bytes = blocks.iter().map(|(_, block)| block.encoded_bytes()).sum();
    counters.losses.add_bytes(LossReason::NotWritten, bytes);
    counters.losses.add(LossReason::NotWritten, commit.loose.records());
    !blocks.is_empty()
}
