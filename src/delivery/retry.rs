//! What an answer means and how long to wait: pure functions.

use std::time::{Duration, SystemTime};

use crate::config::RetryPolicy;

/// What the endpoint answered to a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<String>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The start of the body: at most 64 KiB, and 4 MiB of the answer to a `_bulk`.
    pub fn body(&self) -> &[u8] {
        &self.body
    }
}

/// What an answer means for the batch: who is to blame decides.
///
/// | answer | verdict |
/// |---|---|
/// | 2xx | [`Delivered`](Self::Delivered) |
/// | none (refused, reset, timed out), 408, 429, 5xx | [`Retry`](Self::Retry) |
/// | 413, 414 | [`TooLarge`](Self::TooLarge) |
/// | 400, 415, 422 | [`Refused`](Self::Refused) |
/// | anything else: 3xx, 401, 403, 404, 405, 407, ... | [`Hold`](Self::Hold) |
///
/// What a protocol says beyond that is read according to the framing's [`Answers`](crate::Answers). A 400 with which nginx
/// asks for a client's certificate, or for TLS, holds the batch.
/// [`with_response_classifier`](crate::LogExporterBuilder::with_response_classifier) replaces both.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The endpoint has the batch.
    Delivered,
    /// The endpoint has the batch but for these records, which it refuses for good: they go to the rejected store.
    DeliveredExcept(Vec<Refusal>),
    /// The endpoint has the batch but for so many records, and does not say which. They are lost, and counted in
    /// [`SpoolStats::rejected_records`](crate::SpoolStats::rejected_records).
    DeliveredBut {
        /// How many records were refused.
        refused: u64,
    },
    /// The network or the endpoint's load is to blame: again, after the server's `Retry-After` or the policy's delay.
    Retry,
    /// The endpoint's address or the credentials are to blame: again, slowly, until an operator has mended them.
    Hold,
    /// The batch is too large: its halves come in its place. A single record goes to the rejected store.
    TooLarge,
    /// Something in the batch is refused for good: it is halved until the record is found, which goes to the rejected
    /// store.
    Refused,
}

/// A record of a batch that the endpoint refuses for good, while it took others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which record of the batch it is, from 0, in the order of the body.
    pub record: usize,
    /// What the endpoint says of it; kept in the rejected store.
    pub answer: String,
}

impl Verdict {
    /// The default: the table above.
    pub fn of(response: &Response) -> Self {
        match response.status {
            200..=299 => Self::Delivered,
            408 | 429 | 500..=599 => Self::Retry,
            413 | 414 => Self::TooLarge,
            400 | 415 | 422 => Self::Refused,
            _ => Self::Hold,
        }
    }
}

/// `Retry-After` in seconds or as an HTTP date. A date that has passed means now; nonsense means nothing.
pub(crate) fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

impl RetryPolicy {
    /// The delay after the `attempt`-th attempt failed, counted from 1. `random` is drawn evenly from 0 to 1.
    pub(crate) fn backoff(&self, attempt: u32, random: f64) -> Duration {
        let doubled = 2_u32.saturating_pow(attempt.saturating_sub(1));
        self.initial_delay.saturating_mul(doubled).min(self.max_delay).mul_f64(random)
    }

    /// The delay of what repeating alone will not help.
    pub(crate) fn slow(&self, random: f64) -> Duration {
        self.max_delay.mul_f64(0.5 + random / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    #[test]
    fn every_status_has_its_verdict() {
        for status in 0..1000 {
            let expected = match status {
                200..=299 => Verdict::Delivered,
                408 | 429 | 500..=599 => Verdict::Retry,
                413 | 414 => Verdict::TooLarge,
                400 | 415 | 422 => Verdict::Refused,
                _ => Verdict::Hold,
            };
            let response = Response { status, retry_after: None, body: Vec::new() };
            assert_eq!(Verdict::of(&response), expected, "{status}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        let after = |value| parse_retry_after(value, now).map(|after| after.as_secs());
        assert_eq!(after("120"), Some(120));
        assert_eq!(after(" 0 "), Some(0));
        assert_eq!(after("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
        assert_eq!(after("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0));
        for nonsense in ["", "soon", "-1", "1.5", "99999999999999999999999"] {
            assert_eq!(after(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn the_bound_doubles_up_to_the_largest() {
        let policy = RetryPolicy::default();
        let bounds: Vec<_> = (1..9).map(|attempt| policy.backoff(attempt, 1.0).as_millis()).collect();
        assert_eq!(bounds, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
        assert_eq!(policy.backoff(u32::MAX, 1.0), policy.max_delay);
        assert_eq!(policy.backoff(3, 0.0), Duration::ZERO);
    }

    #[test]
    fn what_repeating_does_not_help_is_repeated_slowly() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.slow(0.0), policy.max_delay / 2);
        assert_eq!(policy.slow(1.0), policy.max_delay);
    }
}
