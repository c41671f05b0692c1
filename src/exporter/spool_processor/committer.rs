//! The commit thread: writes the buffer of a [`SpoolProcessor`](crate::SpoolProcessor) to the spool.

use std::sync::Weak;

use crate::encode::blocks::{Block, Blocks};
use crate::error::SpoolError;
use crate::error::error_chain;
use crate::exporter::intake::contained;
use crate::exporter::spool_processor::buffer::{Buffer, Commit};
use crate::exporter::spool_processor::journaling::Journaled;
use crate::observe::event::{Events, SpoolEvent};
use crate::observe::loss::LossReason;
use crate::observe::stats::Counters;
use crate::spool::{Spool, Unreported};

/// Commits until the buffer is stopped and empty.
pub(crate) fn run(buffer: &Buffer, spool: &Weak<Spool>, counters: &Counters, events: &Events) {
    let (mut spare, mut committer) =
        (Blocks::default(), Committer { buffer, spool, counters, events, kept: [false; 2] });
    // Earlier segments are none of those that the next records go to.
    let least_segment = || spool.upgrade().map_or(0, |spool| spool.least_segment());
    while let Some(mut taken) = buffer.take(spare, least_segment()) {
        committer.commit(&mut taken);
        if let Some(spool) = spool.upgrade().filter(|_| !taken.unreported.is_empty()) {
            spool.report(taken.unreported);
        }
        spare = taken.blocks;
        spare.clear();
    }
    buffer.close_journal(committer.kept);
}

struct Committer<'a> {
    buffer: &'a Buffer,
    spool: &'a Weak<Spool>,
    counters: &'a Counters,
    events: &'a Events,
    /// The files of the journal whose records are for the next process.
    kept: [bool; 2],
}

impl Committer<'_> {
    /// Retries until it succeeds or the processor is stopped. Memory is bounded by the buffer.
    fn commit(&mut self, taken: &mut Commit) {
        let Commit { blocks, framing, journaled, unreported } = taken;
        let all = blocks.all();
        if journaled.is_some() && self.kept != [false; 2] {
            // What is kept already comes before it.
            return self.leave(&all, *journaled, unreported, "the records before are not in the spool".to_owned());
        }
        let append = || match (self.spool.upgrade(), *journaled) {
            // There are only losses to report.
            (Some(_), _) if all.is_empty() => Ok(()),
            (Some(spool), Some(Journaled { load, file })) => {
                spool.append_journaled(&all, framing, load, || self.buffer.reset_journal(file))
            }
            (Some(spool), None) => spool.append(&all, framing).map(drop),
            (None, _) => Err(SpoolError::Closed),
        };
        let mut failing = false;
        loop {
            let last = self.buffer.is_stopping();
            let Err(error) = contained(append) else { break };
            let reason = error_chain(&error);
            self.counters.failed_commits.add(1);
            if !std::mem::replace(&mut failing, true) {
                self.events.report(SpoolEvent::CommitFailed { reason: reason.clone() });
            }
            if matches!(error, SpoolError::Closed) {
                // Somebody else may have the queue, and with it the journal.
                self.buffer.end_journaling();
                self.kept = [true; 2];
                self.lose(&all, blocks.records());
                return self.buffer.lost(reason);
            }
            if last {
                return self.leave(&all, *journaled, unreported, reason);
            }
            self.buffer.failed(reason);
        }
        self.counters.accepted_records.add(blocks.records());
        if failing {
            self.events.report(SpoolEvent::CommitRecovered);
        }
        self.buffer.committed(!all.is_empty());
    }

    /// Leaves records to the next process, as far as they are in the journal. The others are lost.
    fn leave(
        &mut self,
        all: &[(&str, &Block)],
        journaled: Option<Journaled>,
        unreported: &mut Unreported,
        reason: String,
    ) {
        let Some(Journaled { file, .. }) = journaled else {
            self.lose(all, all.iter().map(|(_, block)| block.records()).sum());
            return self.buffer.lost(reason);
        };
        self.kept[file] = true;
        let there = self.buffer.journaled_records(file);
        let mut is_whole = true;
        for (key, block) in all {
            let missing = block.records().saturating_sub(there.get(*key).copied().unwrap_or_default());
            if missing > 0 {
                is_whole = false;
                let bytes = block.encoded_bytes() * missing / block.records();
                self.counters.losses.add_bytes(LossReason::NotWritten, bytes);
                self.counters.losses.add(LossReason::NotWritten, missing);
                unreported.add_records(key, LossReason::NotWritten, missing, block.last_timestamp);
            }
        }
        if is_whole { self.buffer.kept() } else { self.buffer.lost(reason) }
    }

    /// Counts records as lost.
    fn lose(&self, all: &[(&str, &Block)], records: u64) {
        if let Some(spool) = self.spool.upgrade() {
            return spool.note_not_written(all);
        }
        // Nobody is left to report it in the stream.
        let bytes = all.iter().map(|(_, block)| block.encoded_bytes()).sum();
        self.counters.losses.add_bytes(LossReason::NotWritten, bytes);
        self.counters.losses.add(LossReason::NotWritten, records);
    }
}
