//! [`Experiments`]: the experiments of all partitions, within the limits of a process. Pure bookkeeping: [`Blame`] decides for a
//! partition, and the schedule does as it says.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

use crate::delivery::blame::Blame;
use crate::delivery::gzip::GzipHealth;
use crate::delivery::health::Ticket;
use crate::spool::BatchStart;

/// The most experiments that are in flight; while nothing was taken for a while, one probes for all.
const MAX_EXPERIMENTS: usize = 4;
const TAKEN_LATELY: Duration = Duration::from_secs(10);

/// The experiments of all partitions.
pub(super) struct Experiments<P> {
    /// How many requests began.
    clock: u64,
    strict_order: bool,
    pub(super) defer_for: Duration,
    /// Of each partition in which something fails, or did.
    pub(super) blames: HashMap<P, Blame<BatchStart>>,
    /// The partitions that have a task for what is parked, and its ticket while it is postponed.
    pub(super) aside: HashMap<P, Option<Ticket>>,
    /// How many experiments are in flight.
    pub(super) running: usize,
    /// When anything was taken.
    pub(super) taken_at: Option<Instant>,
    pub(super) gzip: GzipHealth,
    pub(super) reported_deferral: bool,
    pub(super) reported_not_kept: bool,
}

impl<P: Clone + Eq + Hash> Experiments<P> {
    pub(super) fn new(strict_order: bool, defer_for: Duration) -> Self {
        Self {
            clock: 0,
            strict_order,
            defer_for,
            blames: HashMap::new(),
            aside: HashMap::new(),
            running: 0,
            taken_at: None,
            gzip: GzipHealth::default(),
            reported_deferral: false,
            reported_not_kept: false,
        }
    }

    /// The number of a request of a partition that begins.
    pub(super) fn begin(&mut self, partition: &P) -> u64 {
        self.clock += 1;
        if let Some(blame) = self.blames.get_mut(partition) {
            blame.begin(self.clock);
        }
        self.clock
    }

    pub(super) fn blame(&mut self, partition: &P) -> &mut Blame<BatchStart> {
        let (strict_order, clock) = (self.strict_order, self.clock);
        self.blames.entry(partition.clone()).or_insert_with(|| Blame::new(strict_order, clock))
    }

    /// Has all that is parked tried now.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.blames.values_mut().for_each(|blame| blame.hurry(now));
    }

    /// Notes that a batch does not exist any more as it was.
    pub(super) fn forget(&mut self, partition: &P, batch: Option<BatchStart>) {
        if let (Some(start), Some(blame)) = (batch, self.blames.get_mut(partition)) {
            blame.forget(start);
            self.tidy(partition);
        }
    }

    /// Forgets a partition in which nothing fails any more.
    pub(super) fn tidy(&mut self, partition: &P) {
        if self.blames.get(partition).is_some_and(Blame::is_idle) {
            self.blames.remove(partition);
        }
    }

    pub(super) fn have_room(&self, now: Instant) -> bool {
        let lately = self.taken_at.is_some_and(|at| now < at + TAKEN_LATELY);
        self.running < if lately { MAX_EXPERIMENTS } else { 1 }
    }
}
