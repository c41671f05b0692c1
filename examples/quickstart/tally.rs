//! The tally of one signal: its entries that were delivered.

use std::collections::{BTreeMap, HashSet};

/// The signals of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    Logs,
    Spans,
}

/// The run of the service, and the order's number in it.
pub(crate) type Number = (u64, u64);

/// The number of each tenant's last order in each run. Each order has a record, and a span around it.
pub(crate) type Orders = BTreeMap<(String, u64), u64>;

/// Everything that was observed of a signal.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Delivered entries in the order of arrival, without recognised duplicates.
    pub(crate) arrived: BTreeMap<String, Vec<Number>>,
    /// Batches that were taken, without duplicates.
    pub(crate) batches: u64,
    pub(crate) repeated_batches: u64,
    pub(crate) repeated_entries: u64,
}

impl Tally {
    pub(crate) fn delivered(&self) -> u64 {
        self.arrived.values().map(|numbers| numbers.len() as u64).sum()
    }

    /// Compares what was emitted with what arrived.
    pub(crate) fn losses(&self, emitted: &Orders) -> Losses {
        let numbers = |tenant, run, last| (1..=last).map(move |seq| (tenant, (run, seq)));
        let emitted: HashSet<(&String, Number)> =
            emitted.iter().flat_map(|((tenant, run), last)| numbers(tenant, *run, *last)).collect();
        let arrived: HashSet<(&String, Number)> =
            self.arrived.iter().flat_map(|(tenant, numbers)| numbers.iter().map(move |it| (tenant, *it))).collect();
        let pairs = self.arrived.values().flat_map(|in_order| in_order.windows(2));
        Losses {
            lost: emitted.difference(&arrived).count() as u64,
            not_promised: arrived.difference(&emitted).count() as u64,
            twice: self.delivered() - arrived.len() as u64,
            out_of_order: pairs.filter(|pair| pair[1] <= pair[0]).count() as u64,
        }
    }
}

/// The figures that decide.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Losses {
    /// Entries that were emitted and never arrived.
    pub(crate) lost: u64,
    /// Entries that arrived although the kill came before their report: at most one of each thread.
    pub(crate) not_promised: u64,
    /// Entries that arrived a second time, under another key.
    pub(crate) twice: u64,
    /// Entries that arrived after a later one of their tenant.
    pub(crate) out_of_order: u64,
}
