//! What an answer means and how long to wait: pure functions.
//!
//! | answer | verdict |
//! |---|---|
//! | 2xx | delivered |
//! | no answer, 408, 429, 5xx | retry with backoff, or when `Retry-After` says |
//! | anything else | hold: the same batch again, slowly, until someone mends the endpoint, the credentials or the batch |

use std::time::{Duration, SystemTime};

use crate::config::RetryPolicy;

/// What to do after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Delivered,
    /// Again, after the server's delay or the policy's.
    Retry {
        after: Option<Duration>,
    },
    /// Again, slowly: repeating alone will not help.
    Hold,
}

pub(crate) fn classify(status: u16, retry_after: Option<&str>, now: SystemTime) -> Verdict {
    match status {
        200..=299 => Verdict::Delivered,
        408 | 429 | 500..=599 => Verdict::Retry { after: retry_after.and_then(|value| parse_retry_after(value, now)) },
        _ => Verdict::Hold,
    }
}

/// `Retry-After` in seconds or as an HTTP date. A date that has passed means now; nonsense means nothing.
fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

impl RetryPolicy {
    /// The delay after the `attempt`-th attempt failed, counted from 1. `random` is drawn evenly from 0 to 1.
    pub(crate) fn delay(&self, verdict: Verdict, attempt: u32, random: f64) -> Duration {
        match verdict {
            Verdict::Delivered => Duration::ZERO,
            Verdict::Retry { after: Some(after) } => after.min(self.max_retry_after),
            Verdict::Retry { after: None } => {
                let doubled = 2_u32.saturating_pow(attempt.saturating_sub(1));
                self.initial_delay.saturating_mul(doubled).min(self.max_delay).mul_f64(random)
            }
            Verdict::Hold => self.max_delay.mul_f64(0.5 + random / 2.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    const AGAIN: Verdict = Verdict::Retry { after: None };

    #[test]
    fn every_status_has_its_verdict() {
        for status in 0..1000 {
            let expected = match status {
                200..=299 => Verdict::Delivered,
                408 | 429 | 500..=599 => AGAIN,
                _ => Verdict::Hold,
            };
            assert_eq!(classify(status, None, UNIX_EPOCH), expected, "{status}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        let after = |value| classify(503, Some(value), now);
        let seconds = |seconds| Verdict::Retry { after: Some(Duration::from_secs(seconds)) };
        assert_eq!(after("120"), seconds(120));
        assert_eq!(after(" 0 "), seconds(0));
        assert_eq!(after("Sun, 06 Nov 1994 08:50:37 GMT"), seconds(60));
        assert_eq!(after("Sun, 06 Nov 1994 08:00:00 GMT"), seconds(0));
        for nonsense in ["", "soon", "-1", "1.5", "99999999999999999999999"] {
            assert_eq!(after(nonsense), AGAIN, "{nonsense}");
        }
    }

    #[test]
    fn the_bound_doubles_up_to_the_largest() {
        let policy = RetryPolicy::default();
        let bounds: Vec<_> = (1..9).map(|attempt| policy.delay(AGAIN, attempt, 1.0).as_millis()).collect();
        assert_eq!(bounds, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
        assert_eq!(policy.delay(AGAIN, u32::MAX, 1.0), policy.max_delay);
        assert_eq!(policy.delay(AGAIN, 3, 0.0), Duration::ZERO);
    }

    #[test]
    fn the_servers_delay_is_obeyed_up_to_its_bound() {
        let policy = RetryPolicy::default();
        let after = |seconds| Verdict::Retry { after: Some(Duration::from_secs(seconds)) };
        assert_eq!(policy.delay(after(7), 1, 0.0), Duration::from_secs(7));
        assert_eq!(policy.delay(after(86_400), 1, 0.0), policy.max_retry_after);
    }

    #[test]
    fn a_held_batch_is_repeated_slowly() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.delay(Verdict::Hold, 1, 0.0), policy.max_delay / 2);
        assert_eq!(policy.delay(Verdict::Hold, 1, 1.0), policy.max_delay);
    }
}
