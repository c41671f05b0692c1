//! How many requests of a partition may be under way at the same time: more while that costs no time, fewer once the
//! endpoint has too much. Pure arithmetic.

use std::time::{Duration, Instant};

/// What an answer may take longer than the fastest one did without a sign of too much.
const TOLERANCE: Duration = Duration::from_millis(25);

/// Grows by one for each answer until the first sign that it is too much, and then by one a round; shrinks by one a round
/// while answers take twice as long as they can, and by half when the endpoint says that it has too much.
#[derive(Debug)]
pub(crate) struct AdaptiveConcurrency {
    max: f64,
    now: f64,
    steady: bool,
    /// The fastest answer of late.
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

    /// A request was answered after so long.
    pub(crate) fn answered(&mut self, took: Duration) {
        // What was fastest once is forgotten, since networks change.
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

    /// A request that was begun at `begun` was not answered in time, or the endpoint asks for fewer.
    pub(crate) fn overloaded(&mut self, begun: Instant, now: Instant) {
        // Those that were under way already say it again.
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
        (0..20).for_each(|_| limit.answered(FAST));
        limit
    }

    #[test]
    fn it_grows_to_the_most_while_answers_stay_fast() {
        let mut limit = AdaptiveConcurrency::new(8);
        assert_eq!(limit.get(), 1);
        limit.answered(FAST);
        assert_eq!(limit.get(), 2);
        assert_eq!(grown().get(), 8);
        (0..20).for_each(|_| limit.answered(Duration::ZERO));
        assert_eq!(limit.get(), 8);
    }

    #[test]
    fn one_is_the_least_and_the_most_where_order_is_kept() {
        let mut limit = AdaptiveConcurrency::new(1);
        limit.answered(FAST);
        assert_eq!(limit.get(), 1);
        limit.overloaded(Instant::now(), Instant::now());
        assert_eq!(limit.get(), 1);
    }

    #[test]
    fn slow_answers_shrink_it_and_fast_ones_let_it_grow_again_more_slowly() {
        let mut limit = grown();
        (0..60).for_each(|_| limit.answered(SLOW));
        let shrunk = limit.get();
        assert!(shrunk < 8, "{shrunk}");
        limit.answered(FAST);
        assert!(limit.get() <= shrunk + 1);
        (0..60).for_each(|_| limit.answered(FAST));
        assert_eq!(limit.get(), 8);
    }

    #[test]
    fn a_network_that_became_slower_for_good_is_taken_for_what_it_is() {
        let mut limit = grown();
        (0..1000).for_each(|_| limit.answered(SLOW));
        assert_eq!(limit.get(), 8);
    }

    #[test]
    fn too_much_halves_it_once_for_all_that_were_under_way() {
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
