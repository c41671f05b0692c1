//! The tally of one signal: its entries that were accepted and delivered.

use std::collections::{BTreeMap, HashSet};

/// The signals of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    Logs,
    Spans,
}

impl Signal {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Logs => "logs",
            Self::Spans => "spans",
        }
    }
}

/// The run of the service, and the order's number in it.
pub(crate) type Number = (u64, u64);

/// Everything that was observed of a signal.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) accepted: BTreeMap<String, Vec<Number>>,
    /// Delivered entries in the order of arrival, without recognised duplicates.
    pub(crate) arrived: BTreeMap<String, Vec<Number>>,
    /// Batches that were taken, without duplicates.
    pub(crate) batches: u64,
    pub(crate) repeated_batches: u64,
    pub(crate) repeated_entries: u64,
}

impl Tally {
    pub(crate) fn accepted(&self) -> u64 {
        count(&self.accepted)
    }

    pub(crate) fn delivered(&self) -> u64 {
        count(&self.arrived)
    }

    /// Compares what was accepted with what arrived.
    pub(crate) fn losses(&self, emitted: u64) -> Losses {
        let (mut lost, mut unannounced, mut out_of_order) = (0, 0, 0);
        for tenant in self.accepted.keys().chain(self.arrived.keys()).collect::<HashSet<_>>() {
            let accepted: HashSet<_> = self.accepted.get(tenant).into_iter().flatten().collect();
            let in_order: Vec<_> = self.arrived.get(tenant).into_iter().flatten().collect();
            let arrived: HashSet<_> = in_order.iter().copied().collect();
            lost += accepted.difference(&arrived).count() as u64;
            unannounced += arrived.difference(&accepted).count() as u64;
            out_of_order += in_order.windows(2).filter(|pair| pair[1] <= pair[0]).count() as u64;
        }
        let in_memory = emitted.saturating_sub(self.accepted()).saturating_sub(unannounced);
        Losses { lost, unannounced, in_memory, out_of_order }
    }
}

/// The figures that decide.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Losses {
    /// Entries that were accepted and never arrived.
    pub(crate) lost: u64,
    /// Entries that arrived although `export` was killed before it could return `Ok`: written, but not promised.
    pub(crate) unannounced: u64,
    /// Entries that were emitted and still in the SDK's queue at the kill.
    pub(crate) in_memory: u64,
    /// Entries that arrived after a later one of their tenant, or a second time under another key.
    pub(crate) out_of_order: u64,
}

fn count(numbers: &BTreeMap<String, Vec<Number>>) -> u64 {
    numbers.values().map(|numbers| numbers.len() as u64).sum()
}
