//! The commit thread: writes the buffer of a [`SpoolProcessor`](crate::SpoolProcessor) to the spool.

use std::sync::Weak;

use crate::encode::blocks::Blocks;
use crate::error::SpoolError;
use crate::error::error_chain;
use crate::exporter::intake::contained;
use crate::exporter::spool_processor::buffer::{Buffer, Commit};
use crate::observe::event::{Events, SpoolEvent};
use crate::observe::loss::LossReason;
use crate::observe::stats::Counters;
use crate::spool::Spool;

/// Commits until the buffer is stopped and empty.
pub(crate) fn run(buffer: &Buffer, spool: &Weak<Spool>, counters: &Counters, events: &Events) {
    let mut spare = Blocks::default();
    while let Some(taken) = buffer.take(spare) {
        commit(&taken, buffer, spool, counters, events);
        if let Some(spool) = spool.upgrade().filter(|_| !taken.unreported.is_empty()) {
            spool.report(taken.unreported);
        }
        spare = taken.blocks;
        spare.clear();
    }
}

/// Retries until it succeeds or the processor is stopped. Memory is bounded by the buffer.
fn commit(taken: &Commit, buffer: &Buffer, spool: &Weak<Spool>, counters: &Counters, events: &Events) {
    let blocks = taken.blocks.all();
    let append = || match spool.upgrade() {
        // There are only losses to report.
        Some(_) if blocks.is_empty() => Ok(()),
        Some(spool) => spool.append(&blocks, &taken.framing).map(drop),
        None => Err(SpoolError::Closed),
    };
    let mut failing = false;
    loop {
        let last = buffer.is_stopping();
        let Err(error) = contained(append) else { break };
        let reason = error_chain(&error);
        counters.failed_commits.add(1);
        if !std::mem::replace(&mut failing, true) {
            events.report(SpoolEvent::CommitFailed { reason: reason.clone() });
        }
        if last || matches!(error, SpoolError::Closed) {
            if let Some(spool) = spool.upgrade() {
                spool.note_not_written(&blocks);
            } else {
                // Nobody is left to report it in the stream.
                let bytes = blocks.iter().map(|(_, block)| block.encoded_bytes()).sum();
                counters.losses.add_bytes(LossReason::NotWritten, bytes);
                counters.losses.add(LossReason::NotWritten, taken.blocks.records());
            }
            return buffer.lost(reason);
        }
        buffer.failed(reason);
    }
    counters.accepted_records.add(taken.blocks.records());
    if failing {
        events.report(SpoolEvent::CommitRecovered);
    }
    buffer.committed();
}
