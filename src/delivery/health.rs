//! Health of partitions and of the endpoint: pure bookkeeping from which events and delays are derived.

use std::collections::HashMap;
use std::hash::Hash;

use tokio::time::Instant;

use crate::config::values::RetryPolicy;
use crate::delivery::retry::{Backoff, Curve, after};

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
    /// Its backlog rests.
    resting: bool,
    backoff: Backoff,
}

impl Health {
    fn is_well(&self) -> bool {
        !self.failing && !self.held && self.lingering.is_none() && !self.resting && self.backoff.is_new()
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

    pub(crate) fn is_failing(&self, partition: &P) -> bool {
        self.health.get(partition).is_some_and(|health| health.failing)
    }

    /// The delay between attempts at the partition.
    pub(crate) fn backoff_of(&self, partition: &P) -> Backoff {
        self.health.get(partition).map(|health| health.backoff).unwrap_or_default()
    }

    /// Changes that delay.
    pub(crate) fn change_backoff(&mut self, partition: &P, change: impl FnOnce(&mut Backoff)) {
        self.change(partition, |health| change(&mut health.backoff));
    }

    /// Forgets the delays of partitions that have had nothing to deliver for a long time.
    pub(crate) fn forget_backoffs(&mut self, policy: &RetryPolicy, now: Instant) {
        self.health.retain(|_, health| {
            if health.backoff.is_stale(policy, now) {
                health.backoff = Backoff::default();
            }
            !health.is_well()
        });
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

    /// Notes whether the partition's backlog rests. Returns whether it did before.
    pub(crate) fn set_resting(&mut self, partition: &P, resting: bool) -> bool {
        self.change(partition, |health| std::mem::replace(&mut health.resting, resting))
    }

    /// Notes that the partition lingers under a ticket, or no longer does. Returns the ticket of before.
    pub(crate) fn set_lingering(&mut self, partition: &P, ticket: Option<Ticket>) -> Option<Ticket> {
        self.change(partition, |health| std::mem::replace(&mut health.lingering, ticket))
    }
}

/// Whether the endpoint can be reached, and takes requests.
#[derive(Debug)]
pub(crate) struct Reach<P> {
    /// How many requests in a row found no connection.
    unreachable: u32,
    /// Whether one found none since something was delivered last.
    lost: bool,
    /// The partition that was throttled last, if nothing was delivered since.
    throttled: Option<P>,
    /// While one request probes for all: the delay between two of them.
    backoff: Backoff,
    /// While one request probes for all: the time of the next one.
    probe_at: Option<Instant>,
    /// While one request probes for all: whether that is for the endpoint's load, and not for no connection alone.
    is_for_load: bool,
}

impl<P> Default for Reach<P> {
    fn default() -> Self {
        let backoff = Backoff::default();
        Self { unreachable: 0, lost: false, throttled: None, backoff, probe_at: None, is_for_load: false }
    }
}

impl<P: Clone + Eq> Reach<P> {
    pub(crate) fn probe_at(&self) -> Option<Instant> {
        self.probe_at
    }

    /// Probes at `now` at the latest.
    pub(crate) fn hurry(&mut self, now: Instant) {
        self.probe_at = self.probe_at.map(|at| at.min(now));
    }

    /// Whether there is a connection again, now that something was delivered: a request had found none. It says so
    /// once.
    pub(crate) fn take_returned(&mut self) -> bool {
        std::mem::take(&mut self.lost)
    }

    /// Notes that so many requests begin at once, each of which would have been a probe. The next probe comes when they
    /// would have been over, each after the mean delay between two, or at `latest`: a fleet that comes back asks for no
    /// more than it would have then.
    pub(crate) fn borrow(&mut self, requests: usize, curve: &Curve, latest: Instant) {
        let each = self.backoff.delay(curve, 0.5);
        let delay = each.saturating_mul(u32::try_from(requests).unwrap_or(u32::MAX));
        self.probe_at = self.probe_at.map(|at| at.max(after(at, delay).min(latest)));
    }

    /// Notes a response to such a request: it changes nothing about the next probe.
    pub(crate) fn responded_beside(&mut self, delivered: bool) {
        self.unreachable = 0;
        if delivered {
            self.throttled = None;
        }
    }

    /// Ends that one request probes for all, if that was for no connection alone.
    pub(crate) fn end_probing_for_connection(&mut self) {
        if !self.is_for_load {
            (self.backoff, self.probe_at) = (Backoff::default(), None);
        }
    }

    /// Notes a response. While one request probed for all, `ease` changes the delay and says when the next one begins: not
    /// all come at once.
    pub(crate) fn responded(&mut self, delivered: bool, ease: impl FnOnce(&mut Backoff) -> Instant) {
        self.responded_beside(delivered);
        if self.probe_at.is_some() {
            let next = ease(&mut self.backoff);
            self.probe_at = Some(next).filter(|_| !self.backoff.is_over());
            self.is_for_load &= self.probe_at.is_some();
        }
    }

    /// Notes that the endpoint throttles a partition. Another one right before, and nothing delivered since, is the
    /// endpoint's load and not the quota of a tenant: from then on one request probes for all, when `raise` says.
    pub(crate) fn throttled(&mut self, partition: &P, now: Instant, raise: impl FnOnce(&mut Backoff) -> Instant) {
        self.unreachable = 0;
        let before = self.throttled.replace(partition.clone());
        if before.is_some_and(|before| before != *partition) && self.probe_at.is_none_or(|at| at <= now) {
            self.probe_at = Some(raise(&mut self.backoff));
            self.is_for_load = true;
        }
    }

    /// Notes that there was no connection. If the endpoint counts as down, one request probes for all, when `raise` says.
    pub(crate) fn unreachable(&mut self, now: Instant, raise: impl FnOnce(&mut Backoff) -> Instant) {
        self.lost = true;
        // A request that was in flight already says nothing new.
        if self.probe_at.is_some_and(|at| at > now) {
            return;
        }
        self.unreachable = self.unreachable.saturating_add(1);
        if self.unreachable >= MAX_UNREACHABLE || self.probe_at.is_some() {
            self.probe_at = Some(raise(&mut self.backoff));
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
    fn the_delay_of_a_partition_that_is_empty_is_kept_for_a_while_and_takes_no_memory_then() {
        let mut partitions = Partitions::default();
        let ((policy, curve), now) = (policy(), Instant::now());
        partitions.change_backoff(&"a", |backoff| backoff.failed(&policy, &curve, true, now));
        partitions.delivered(&"a");
        partitions.forget_backoffs(&policy, now + Duration::from_secs(60));
        assert!(!partitions.backoff_of(&"a").is_over());
        partitions.forget_backoffs(&policy, now + Duration::from_secs(3600));
        assert!(partitions.health.is_empty());
    }

    fn policy() -> (RetryPolicy, Curve) {
        (RetryPolicy::default(), Curve::default())
    }

    /// Lengthens the delay and sets the next probe.
    fn raise(at: Instant) -> impl FnOnce(&mut Backoff) -> Instant {
        move |backoff| {
            let (policy, curve) = policy();
            backoff.failed(&policy, &curve, false, Instant::now());
            at
        }
    }

    /// Shortens the delay and sets the next probe.
    fn ease(at: Instant) -> impl FnOnce(&mut Backoff) -> Instant {
        move |backoff| {
            let (policy, curve) = policy();
            backoff.succeeded(&policy, &curve);
            at
        }
    }

    #[test]
    fn an_endpoint_is_down_after_sixteen_requests_without_a_connection() {
        let (mut reach, now) = (Reach::<&str>::default(), Instant::now());
        let later = now + Duration::from_secs(1);
        for _ in 1..16 {
            reach.unreachable(now, |_| unreachable!());
            assert_eq!(reach.probe_at(), None);
        }
        reach.unreachable(now, raise(later));
        assert_eq!(reach.probe_at(), Some(later));
        reach.unreachable(now, |_| unreachable!("a request that was in flight"));
        reach.unreachable(later, raise(later));
        reach.hurry(now);
        assert_eq!(reach.probe_at(), Some(now));
        assert!(reach.take_returned() && !reach.take_returned(), "once");
        let (each, latest) = (reach.backoff.delay(&Curve::default(), 0.5), now + Duration::from_secs(60));
        reach.borrow(3, &Curve::default(), latest);
        assert_eq!(reach.probe_at(), Some(now + 3 * each), "what began beside the probe");
        reach.borrow(usize::MAX, &Curve::default(), latest);
        reach.responded_beside(true);
        assert_eq!(reach.probe_at(), Some(latest), "but not for ever");
        let mut probes = 0;
        while reach.probe_at().is_some() {
            reach.responded(true, ease(now));
            probes += 1;
        }
        assert!(probes > 1, "not all come at the first response");
    }

    #[test]
    fn a_connection_ends_the_probing_for_one_and_not_that_for_the_load() {
        let now = Instant::now();
        let lost = || {
            let mut reach = Reach::default();
            (0..16).for_each(|_| reach.unreachable(now, raise(now)));
            reach
        };
        let mut reach = lost();
        reach.end_probing_for_connection();
        assert_eq!(reach.probe_at(), None);
        let mut reach = lost();
        reach.throttled(&"a", now, raise(now));
        reach.throttled(&"b", now, raise(now));
        reach.end_probing_for_connection();
        assert_eq!(reach.probe_at(), Some(now));
        while reach.probe_at().is_some() {
            reach.responded(true, ease(now));
        }
        (0..16).for_each(|_| reach.unreachable(now, raise(now)));
        reach.end_probing_for_connection();
        assert_eq!(reach.probe_at(), None, "the load of before is over");
    }

    #[test]
    fn two_partitions_that_are_throttled_in_a_row_are_the_load_and_one_is_a_tenant() {
        let (mut reach, now) = (Reach::default(), Instant::now());
        let later = now + Duration::from_secs(1);
        for _ in 0..40 {
            reach.throttled(&"a", now, |_| unreachable!("the same one"));
            reach.throttled(&"a", now, |_| unreachable!("the same one"));
            reach.responded(true, ease(now));
            reach.throttled(&"b", now, |_| unreachable!("something was delivered since"));
            reach.responded(true, ease(now));
        }
        reach.throttled(&"a", now, |_| unreachable!("the first one"));
        reach.throttled(&"b", now, raise(later));
        assert_eq!(reach.probe_at(), Some(later));
        reach.throttled(&"c", now, |_| unreachable!("a request that was in flight"));
        reach.throttled(&"d", later, raise(later + Duration::from_secs(1)));
        assert_eq!(reach.probe_at(), Some(later + Duration::from_secs(1)));
    }
}
