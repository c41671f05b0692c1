//! How long to wait before a retry, and after it: pure arithmetic.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::values::RetryPolicy;

/// The time after a delay. One that no clock can hold is as good as none at all.
pub(crate) fn after(now: Instant, delay: Duration) -> Instant {
    now.checked_add(delay).unwrap_or(now)
}

impl RetryPolicy {
    /// The delay after the `attempt`-th attempt failed, counted from 1. `random` is drawn evenly from 0 to 1.
    pub(crate) fn backoff(&self, attempt: u32, random: f64) -> Duration {
        let doubled = 2_u32.saturating_pow(attempt.saturating_sub(1));
        self.initial_delay.saturating_mul(doubled).min(self.max_delay).mul_f64(random)
    }

    /// The delay of a batch that is held: between half of `max_delay` and all of it.
    pub(crate) fn slow(&self, random: f64) -> Duration {
        self.max_delay.mul_f64(0.5 + random / 2.0)
    }
}

/// The longest time of the backoff of which a share is added to a `Retry-After`: four times the default `max_delay`.
const MAX_SPREAD_OVER: Duration = Duration::from_secs(120);

/// The constants of a [`Backoff`]; the simulation of a herd compares others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Curve {
    /// The share of a delay that is drawn at random.
    pub(crate) jitter: f64,
    /// The share of a `Retry-After`, or of four times the delay, that is drawn at random and added to the `Retry-After`.
    pub(crate) spread: f64,
    /// A delay grows by this factor if it is refused after a success.
    pub(crate) growth: u32,
    /// A success shortens a delay of `max_delay` by half of this share of itself, and one of half of that by nothing.
    pub(crate) early: f64,
    /// A success shortens a delay by this share of `max_delay`, whatever that is of itself.
    pub(crate) ramp: f64,
    /// A success shortens a delay by this share of itself where it is about the one that was refused.
    pub(crate) near: f64,
}

impl Default for Curve {
    fn default() -> Self {
        Self { jitter: 1.0, spread: 0.25, growth: 6, early: 0.6, ramp: 0.0125, near: 0.05 }
    }
}

impl Curve {
    /// The same for all partitions together, where only two refusals in a row count: a tenant's quota is not to slow others down.
    pub(crate) fn of_endpoint(self) -> Self {
        Self { growth: 2, near: self.near.max(0.3), ..self }
    }
}

/// The delay between two attempts, whether the first of them failed or not.
///
/// It doubles with each failure and shrinks slowly with each success. A failure to connect does not make it longer than requests
/// have failed: several in flight fail several times as often, and a short outage is not to be followed by the pace of a long
/// one. If it were forgotten at the first success, an endpoint that comes back would have all requests of a whole fleet within a
/// second. Nobody knows the capacity, so that every sender feels
/// its way: it shortens the delay quickly while that is about the longest, for the capacity is at least what all senders
/// ask for with half of it, then carefully, and quickly again when the delay is so short that its own requests soon tell. Once it
/// was refused, it stays near the delay at which it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Backoff {
    /// The longest that the delay may be.
    bound: Duration,
    /// The bound at which the endpoint refused a request after a success.
    refused: Duration,
    /// The time of the first failure since the last success.
    failing_since: Option<Instant>,
    grown_at: Option<Instant>,
    /// When a request ended last.
    used_at: Option<Instant>,
}

impl Backoff {
    /// Whether there is no delay.
    pub(crate) fn is_over(&self) -> bool {
        self.bound.is_zero()
    }

    /// Whether the endpoint refused a request after a success: it has no capacity for more.
    pub(crate) fn is_refused(&self) -> bool {
        !self.refused.is_zero()
    }

    /// Whether nothing is known: no failure has ever lengthened it.
    pub(crate) fn is_new(&self) -> bool {
        self.grown_at.is_none()
    }

    /// Whether there was no request for so long that it says nothing any more.
    pub(crate) fn is_stale(&self, policy: &RetryPolicy, now: Instant) -> bool {
        self.used_at.is_none_or(|at| now.saturating_duration_since(at) > policy.max_delay.saturating_mul(20))
    }

    /// A delay. `random` is drawn evenly from 0 to 1.
    pub(crate) fn delay(&self, curve: &Curve, random: f64) -> Duration {
        self.bound.mul_f64(1.0 - curve.jitter * (1.0 - random))
    }

    /// A delay that is never shorter than the receiver asks for.
    pub(crate) fn delay_after(&self, curve: &Curve, asked: Duration, random: f64) -> Duration {
        let spread_over = asked.max(self.bound.saturating_mul(4).min(MAX_SPREAD_OVER));
        asked.saturating_add(spread_over.mul_f64(curve.spread * random))
    }

    /// Notes that a request that was begun at `begun` failed. `refused` is whether the endpoint could be reached.
    pub(crate) fn failed(&mut self, policy: &RetryPolicy, curve: &Curve, refused: bool, begun: Instant) {
        self.used_at = Some(Instant::now());
        // Requests that were in flight by then say the same once more.
        if self.grown_at.is_some_and(|at| at > begun) {
            return;
        }
        let now = Instant::now();
        self.grown_at = Some(now);
        let is_first = self.failing_since.is_none();
        let failing_for = now.saturating_duration_since(*self.failing_since.get_or_insert(now));
        if is_first && refused {
            // Who was lucky for a while goes back to where it was refused before.
            let before = self.refused;
            self.refused = self.bound.max(before / 2);
            self.bound = self.bound.saturating_mul(curve.growth).max(before).min(policy.max_delay.saturating_mul(2));
        } else {
            let longest = if refused { policy.max_delay } else { policy.max_delay.min(failing_for) };
            self.bound = self.bound.saturating_mul(2).min(longest.max(self.bound));
        }
        self.bound = self.bound.max(policy.initial_delay);
        if !refused || (!is_first && self.bound >= policy.max_delay) {
            // It is an outage, which says nothing about the capacity.
            self.refused = Duration::ZERO;
        }
    }

    /// Notes a success.
    pub(crate) fn succeeded(&mut self, policy: &RetryPolicy, curve: &Curve) {
        self.failing_since = None;
        if self.is_new() {
            return;
        }
        self.used_at = Some(Instant::now());
        if self.is_over() {
            return;
        }
        let of_max = self.bound.as_secs_f64() / policy.max_delay.as_secs_f64();
        let is_near = self.bound < self.refused.saturating_mul(4) && self.refused < self.bound.saturating_mul(2);
        let share = if is_near {
            curve.near
        } else {
            (curve.early * (of_max.min(1.0) - 0.5)).max(curve.ramp / (curve.ramp + of_max))
        };
        self.bound = self.bound.mul_f64(1.0 - share);
        if self.bound < policy.initial_delay / 16 {
            self.bound = Duration::ZERO;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_up_to_the_largest() {
        let policy = RetryPolicy::default();
        let bounds: Vec<_> = (1..9).map(|attempt| policy.backoff(attempt, 1.0).as_millis()).collect();
        assert_eq!(bounds, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
        let halves: Vec<_> = (1..9).map(|attempt| policy.backoff(attempt, 0.5).as_millis()).collect();
        assert_eq!(halves, [250, 500, 1000, 2000, 4000, 8000, 15_000, 15_000]);
        assert_eq!(policy.backoff(u32::MAX, 1.0).as_millis(), 30_000);
        assert_eq!(policy.backoff(3, 0.0).as_millis(), 0);
    }

    #[test]
    fn what_is_held_is_retried_slowly() {
        let policy = RetryPolicy::default();
        let delays = [0.0, 0.5, 1.0].map(|random| policy.slow(random).as_millis());
        assert_eq!(delays, [15_000, 22_500, 30_000], "never at once");
    }

    fn begun() -> Instant {
        Instant::now() + Duration::from_secs(1)
    }

    #[tokio::test(start_paused = true)]
    async fn a_delay_doubles_with_each_failure_and_outlives_the_first_success() {
        let (policy, curve) = (RetryPolicy::default(), Curve::default());
        let (mut backoff, mut delays) = (Backoff::default(), Vec::new());
        for _ in 0..9 {
            backoff.failed(&policy, &curve, false, Instant::now());
            let delay = backoff.delay(&curve, 1.0);
            delays.push(delay.as_millis());
            tokio::time::advance(delay).await;
        }
        assert_eq!(delays, [500, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
        backoff.succeeded(&policy, &curve);
        assert!(backoff.delay(&curve, 1.0) > Duration::from_secs(15));
        (0..200).for_each(|_| backoff.succeeded(&policy, &curve));
        assert!(backoff.is_over());
    }

    #[tokio::test(start_paused = true)]
    async fn however_often_no_connection_is_found_a_delay_grows_no_longer_than_that_has_been_so() {
        let (policy, curve) = (RetryPolicy::default(), Curve::default());
        let mut backoff = Backoff::default();
        let outage = Duration::from_secs(2);
        for _ in 0..20 {
            backoff.failed(&policy, &curve, false, Instant::now());
            tokio::time::advance(outage / 20).await;
        }
        assert!(backoff.delay(&curve, 1.0) <= outage, "{backoff:?}");
        // A pace that was learnt before is kept.
        let mut slow = Backoff { bound: policy.max_delay, ..Backoff::default() };
        slow.failed(&policy, &curve, false, Instant::now());
        assert_eq!(slow.delay(&curve, 1.0), policy.max_delay);
    }

    #[test]
    fn a_failure_among_successes_is_soon_forgotten() {
        let (policy, curve) = (RetryPolicy::default(), Curve::default());
        let mut backoff = Backoff::default();
        backoff.failed(&policy, &curve, true, begun());
        assert_eq!(backoff.delay(&curve, 1.0), policy.initial_delay);
        (0..5).for_each(|_| backoff.succeeded(&policy, &curve));
        assert!(backoff.is_over());
    }

    #[test]
    fn requests_that_were_in_flight_lengthen_a_delay_once() {
        let (policy, curve) = (RetryPolicy::default(), Curve::default());
        let (mut backoff, begun) = (Backoff::default(), Instant::now());
        (0..8).for_each(|_| backoff.failed(&policy, &curve, true, begun));
        assert_eq!(backoff.delay(&curve, 1.0), policy.initial_delay);
    }

    #[test]
    fn a_retry_after_is_never_shortened_and_not_the_same_for_all() {
        let (policy, curve) = (RetryPolicy::default(), Curve::default());
        let (mut backoff, asked) = (Backoff::default(), Duration::from_secs(30));
        for _ in 0..9 {
            assert_eq!(backoff.delay_after(&curve, asked, 0.0), asked);
            assert!(backoff.delay_after(&curve, asked, 1.0) >= asked.mul_f64(1.25));
            backoff.failed(&policy, &curve, true, begun());
        }
        let now = backoff.delay_after(&curve, Duration::ZERO, 1.0);
        assert!(now > Duration::from_secs(20), "a server that always says \"now\": {now:?}");
    }

    #[test]
    fn whatever_happens_a_delay_is_at_most_twice_the_longest_and_ends_after_enough_successes() {
        let (policy, curve) = (RetryPolicy::default(), Curve::default());
        let (mut backoff, mut random) = (Backoff::default(), fastrand::Rng::with_seed(7));
        for _ in 0..10_000 {
            if random.u8(..4) == 0 {
                backoff.failed(&policy, &curve, random.bool(), begun());
            } else {
                backoff.succeeded(&policy, &curve);
            }
            assert!(backoff.delay(&curve, 1.0) <= policy.max_delay * 2);
        }
        (0..300).for_each(|_| backoff.succeeded(&policy, &curve));
        assert!(backoff.is_over());
    }
}
