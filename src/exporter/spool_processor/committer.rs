//! The commit thread: writes the buffer of a [`SpoolProcessor`](crate::SpoolProcessor) to the spool.

use std::collections::HashMap;
use std::fmt;
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
use crate::spool::Spool;

/// Commits until the buffer is stopped and empty.
pub(crate) fn run(buffer: &Buffer, spool: &Weak<Spool>, counters: &Counters, events: &Events) {
    let (kept, given_up) = ([false; 2], GivenUp::default());
    let mut committer = Committer { buffer, spool, counters, events, is_closed: false, kept, given_up };
    let mut spare = Blocks::default();
    // Earlier segments are none of those that the next records go to.
    let least_segment = || spool.upgrade().map_or(0, |spool| spool.least_segment());
    while let Some(taken) = buffer.take(spare, least_segment()) {
        committer.commit(&taken);
        if let Some(spool) = spool.upgrade().filter(|_| !taken.unreported.is_empty()) {
            spool.report(taken.unreported);
        }
        spare = taken.blocks;
        spare.clear();
    }
    buffer.close_journal(committer.kept);
    committer.report_lost();
    if committer.given_up.lost > 0 {
        buffer.lost(committer.given_up.to_string());
    }
}

struct Committer<'a> {
    buffer: &'a Buffer,
    spool: &'a Weak<Spool>,
    counters: &'a Counters,
    events: &'a Events,
    /// Somebody else may have the queue, and with it the journal.
    is_closed: bool,
    /// The files of the journal whose records are for the next process.
    kept: [bool; 2],
    given_up: GivenUp,
}

/// The records that could not be committed.
#[derive(Debug, Default)]
struct GivenUp {
    lost: u64,
    /// Those that are lost and reported.
    reported: u64,
    /// They are in the journal.
    left: u64,
    /// Why the first of them could not be.
    cause: Option<String>,
}

impl fmt::Display for GivenUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lost, left, cause, .. } = self;
        write!(f, "records lost: {lost}, left in the journal for the next process: {left}")?;
        cause.iter().try_for_each(|cause| write!(f, ", because: {cause}"))
    }
}

impl Committer<'_> {
    /// Retries until it succeeds or the processor is stopped. Memory is bounded by the buffer.
    fn commit(&mut self, taken: &Commit) {
        let Commit { blocks, framing, journaled, .. } = taken;
        let all = blocks.all();
        if self.is_closed {
            return self.leave(&all, None);
        }
        if journaled.is_some() && self.kept != [false; 2] {
            // What is kept already comes before it.
            return self.leave(&all, *journaled);
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
                self.buffer.end_journaling();
                (self.is_closed, self.kept) = (true, [true; 2]);
                self.given_up.cause.get_or_insert(reason);
                return self.leave(&all, None);
            }
            if last {
                self.given_up.cause.get_or_insert(reason);
                return self.leave(&all, *journaled);
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
    fn leave(&mut self, all: &[(&str, &Block)], journaled: Option<Journaled>) {
        let mut there = HashMap::new();
        if let Some(Journaled { file, .. }) = journaled {
            self.kept[file] = true;
            there = self.buffer.journaled_records(file);
        }
        let mut lost = 0;
        for (key, block) in all {
            let left = block.records().min(there.get(*key).copied().unwrap_or_default());
            self.given_up.left += left;
            lost += block.records() - left;
            self.lose(key, block, block.records() - left);
        }
        if lost == 0 {
            return self.buffer.kept();
        }
        self.given_up.lost += lost;
        if self.given_up.reported == 0 {
            self.report_lost();
        }
        self.buffer.lost(self.given_up.to_string());
    }

    /// Reports what is lost and not reported: the first time, and the rest at the end.
    fn report_lost(&mut self) {
        let GivenUp { lost, reported, cause, .. } = &mut self.given_up;
        let records = *lost - std::mem::replace(reported, *lost);
        if records > 0 {
            self.events.report(SpoolEvent::not_written(records, cause.clone().unwrap_or_default()));
        }
    }

    /// Counts records of a block as lost.
    fn lose(&self, key: &str, block: &Block, records: u64) {
        if records == 0 {
            return;
        }
        if let Some(spool) = self.spool.upgrade() {
            spool.note_some_not_written(key, block, records);
        } else {
            // Nobody is left to report it in the stream.
            let bytes = block.encoded_bytes() * records / block.records();
            self.counters.losses.add_bytes(LossReason::NotWritten, bytes);
            self.counters.losses.add(LossReason::NotWritten, records);
        }
    }
}
