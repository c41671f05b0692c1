//! [`AdaptiveConcurrency`]: how many requests of a partition may be in flight. Pure arithmetic.

use std::time::Duration;

use tokio::time::Instant;

/// A response may take so much longer than twice the fastest one without a sign of overload.
const TOLERANCE: Duration = Duration::from_millis(25);

/// A limit on requests in flight that grows while more of them cost no time and shrinks once the endpoint is overloaded.
///
/// It grows by one for each response until the first sign of overload, then by one a round. It shrinks by one a round while
/// responses take twice as long as the fastest one, and by half when the endpoint says that it is overloaded.
#[derive(Debug)]
pub(crate) struct AdaptiveConcurrency {
    max: f64,
    now: f64,
    steady: bool,
    /// The fastest response of late.
    fastest: Option<Duration>,
    halved_at: Option<Instant>,
}

impl AdaptiveConcurrency {
    /// At most `max`, at least one.
    pub(crate) fn new(max: u16) -> Self {
        Self { max: f64::from(max), now: 1.0, steady: false, fastest: None, halved_at: None }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from one to `max`, rounded down")]
    pub(crate) fn get(&self) -> usize {
        self.now as usize
    }

    /// Notes a response after so long.
    pub(crate) fn responded(&mut self, took: Duration) {
        // The fastest response fades, since networks change.
        let fastest = self.fastest.map_or(took, |fastest| took.min(fastest.mul_f64(1.01)));
        self.fastest = Some(fastest);
        if took > 2 * fastest + TOLERANCE {
            self.steady = true;
            self.now -= 1.0 / self.now;
        } else {
            self.now += if self.steady { 1.0 / self.now } else { 1.0 };
        }
        self.now = self.now.clamp(1.0, self.max);
    }

    /// Notes that a request that was begun at `begun` had no response in time, or that the endpoint asks for fewer.
    pub(crate) fn overloaded(&mut self, begun: Instant, now: Instant) {
        // Requests that were in flight by then say the same once more.
        if self.halved_at.is_none_or(|at| at <= begun) {
            self.halved_at = Some(now);
            self.steady = true;
            self.now = (self.now / 2.0).max(1.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: Duration = Duration::from_millis(20);
    const SLOW: Duration = Duration::from_millis(200);

    fn grown() -> AdaptiveConcurrency {
        let mut limit = AdaptiveConcurrency::new(8);
        (0..20).for_each(|_| limit.responded(FAST));
        limit
    }

    #[test]
    fn it_grows_to_the_most_while_responses_stay_fast() {
        let mut limit = AdaptiveConcurrency::new(8);
        assert_eq!(limit.get(), 1);
        limit.responded(FAST);
        assert_eq!(limit.get(), 2);
        assert_eq!(grown().get(), 8);
        (0..20).for_each(|_| limit.responded(Duration::ZERO));
        assert_eq!(limit.get(), 8);
    }

    #[test]
    fn one_is_the_least_and_the_most_where_order_is_kept() {
        let mut limit = AdaptiveConcurrency::new(1);
        limit.responded(FAST);
        assert_eq!(limit.get(), 1);
        limit.overloaded(Instant::now(), Instant::now());
        assert_eq!(limit.get(), 1);
    }

    #[test]
    fn slow_responses_shrink_it_and_fast_ones_let_it_grow_again_more_slowly() {
        let mut limit = grown();
        (0..60).for_each(|_| limit.responded(SLOW));
        let shrunk = limit.get();
        assert!(shrunk < 8, "{shrunk}");
        limit.responded(FAST);
        assert!(limit.get() <= shrunk + 1);
        (0..60).for_each(|_| limit.responded(FAST));
        assert_eq!(limit.get(), 8);
    }

    #[test]
    fn a_network_that_became_slower_for_good_is_taken_for_what_it_is() {
        let mut limit = grown();
        (0..1000).for_each(|_| limit.responded(SLOW));
        assert_eq!(limit.get(), 8);
    }

    #[test]
    fn overload_halves_it_once_for_all_that_were_in_flight() {
        let (mut limit, begun) = (grown(), Instant::now());
        let now = begun + FAST;
        (0..8).for_each(|_| limit.overloaded(begun, now));
        assert_eq!(limit.get(), 4);
        limit.overloaded(now, now + FAST);
        assert_eq!(limit.get(), 2);
        (0..9).for_each(|n| limit.overloaded(now + n * SLOW, now + n * SLOW + FAST));
        assert_eq!(limit.get(), 1);
    }
}
