//! How long to wait before a retry: pure arithmetic.

use std::time::Duration;

use crate::config::values::RetryPolicy;

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
}
