//! Health of partitions and of the endpoint: pure bookkeeping from which events and delays are derived.

use std::collections::HashMap;
use std::hash::Hash;

use tokio::time::Instant;

/// After so many requests in a row, of whichever partitions, that found no connection, the endpoint counts as down: until
/// it responds, one request at a time probes it.
const MAX_UNREACHABLE: u32 = 16;

/// The key of a postponed task: its time, and a number that makes it unique.
pub(crate) type Ticket = (Instant, u64);

/// The health of one partition.
#[derive(Debug, Default)]
struct Health {
    failing: bool,
    /// It is failing, and an operator has to act.
    held: bool,
    /// The ticket under which it lingers.
    lingering: Option<Ticket>,
}

impl Health {
    fn is_well(&self) -> bool {
        !self.failing && !self.held && self.lingering.is_none()
    }
}

/// A change that is worth an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The first partition is failing.
    Failing,
    /// The first partition is held.
    Held,
    /// A partition that was failing before failed once more, or another one began to.
    Worse,
}

/// The health of every partition that is not simply well.
#[derive(Debug)]
pub(crate) struct Partitions<P> {
    health: HashMap<P, Health>,
    failing: usize,
    held: usize,
}

impl<P> Default for Partitions<P> {
    fn default() -> Self {
        Self { health: HashMap::new(), failing: 0, held: 0 }
    }
}

impl<P: Clone + Eq + Hash> Partitions<P> {
    fn change<T>(&mut self, partition: &P, change: impl FnOnce(&mut Health) -> T) -> T {
        let mut health = self.health.remove(partition).unwrap_or_default();
        let before = (health.failing, health.held);
        let result = change(&mut health);
        self.failing = self.failing + usize::from(health.failing) - usize::from(before.0);
        self.held = self.held + usize::from(health.held) - usize::from(before.1);
        if !health.is_well() {
            self.health.insert(partition.clone(), health);
        }
        result
    }

    /// Notes that something of the partition was delivered, or that there is nothing. True if it was the last one that was
    /// failing.
    pub(crate) fn delivered(&mut self, partition: &P) -> bool {
        let was_failing = self.failing > 0;
        self.change(partition, |health| (health.failing, health.held) = (false, false));
        was_failing && self.failing == 0
    }

    /// Notes that the partition failed; `held` is whether an operator has to act.
    pub(crate) fn failed(&mut self, partition: &P, held: bool) -> Change {
        let before = (self.failing, self.held);
        self.change(partition, |health| (health.failing, health.held) = (true, held));
        match before {
            (_, 0) if self.held == 1 => Change::Held,
            (0, _) => Change::Failing,
            _ => Change::Worse,
        }
    }

    /// Notes that the partition lingers under a ticket, or no longer does. Returns the ticket of before.
    pub(crate) fn set_lingering(&mut self, partition: &P, ticket: Option<Ticket>) -> Option<Ticket> {
        self.change(partition, |health| std::mem::replace(&mut health.lingering, ticket))
    }
}

/// Whether the endpoint can be reached.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    /// How many requests in a row found no connection.
    unreachable: u32,
    /// While the endpoint is down: when it is probed.
    probe_at: Option<Instant>,
}

impl Reach {
    pub(crate) fn probe_at(&self) -> Option<Instant> {
        self.probe_at
    }

    /// Probes at `now` at the latest.
    pub(crate) fn hurry(&mut self, now: Instant) {
        self.probe_at = self.probe_at.map(|at| at.min(now));
    }

    /// Notes a response.
    pub(crate) fn responded(&mut self) {
        *self = Self::default();
    }

    /// Notes that there was no connection. If the endpoint counts as down, `delay` of the number of failed probes says how
    /// long until the next one.
    pub(crate) fn unreachable(&mut self, now: Instant, delay: impl FnOnce(u32) -> Instant) {
        // A request that was in flight already says nothing new.
        if self.probe_at.is_some_and(|at| at > now) {
            return;
        }
        self.unreachable = self.unreachable.saturating_add(1);
        if let Some(probes @ 1..) = self.unreachable.checked_sub(MAX_UNREACHABLE - 1) {
            self.probe_at = Some(delay(probes));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_the_first_failure_and_the_last_recovery_are_worth_an_event() {
        let mut partitions = Partitions::default();
        assert_eq!(partitions.failed(&"a", false), Change::Failing);
        assert_eq!(partitions.failed(&"b", false), Change::Worse);
        assert_eq!(partitions.failed(&"b", true), Change::Held);
        assert_eq!(partitions.failed(&"a", true), Change::Worse);
        assert!(!partitions.delivered(&"a"));
        assert!(partitions.delivered(&"b"));
        assert!(!partitions.delivered(&"b"), "it was well already");
        assert!(partitions.health.is_empty(), "a partition that is well takes no memory");
    }

    #[test]
    fn a_partition_that_is_held_and_then_only_fails_is_held_again_with_an_event() {
        let mut partitions = Partitions::default();
        assert_eq!(partitions.failed(&"a", true), Change::Held);
        assert_eq!(partitions.failed(&"a", false), Change::Worse);
        assert_eq!(partitions.failed(&"a", true), Change::Held);
    }

    #[test]
    fn lingering_is_forgotten_once_and_keeps_no_memory() {
        let (mut partitions, ticket) = (Partitions::default(), (Instant::now(), 1));
        assert_eq!(partitions.set_lingering(&"a", Some(ticket)), None);
        assert_eq!(partitions.set_lingering(&"a", None), Some(ticket));
        assert_eq!(partitions.set_lingering(&"a", None), None);
        assert!(partitions.health.is_empty());
    }

    #[test]
    fn an_endpoint_is_down_after_sixteen_requests_without_a_connection() {
        let (mut reach, now) = (Reach::default(), Instant::now());
        let later = now + Duration::from_secs(1);
        for _ in 1..16 {
            reach.unreachable(now, |_| unreachable!());
            assert_eq!(reach.probe_at(), None);
        }
        reach.unreachable(now, |probes| {
            assert_eq!(probes, 1);
            later
        });
        assert_eq!(reach.probe_at(), Some(later));
        reach.unreachable(now, |_| unreachable!("a request that was in flight"));
        reach.unreachable(later, |probes| {
            assert_eq!(probes, 2);
            later
        });
        reach.hurry(now);
        assert_eq!(reach.probe_at(), Some(now));
        reach.responded();
        assert_eq!(reach.probe_at(), None);
    }
}
