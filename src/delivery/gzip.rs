//! [`GzipHealth`]: whether the endpoint reads bodies that are compressed. Pure bookkeeping.

use std::time::Duration;

use tokio::time::Instant;

/// After so many different batches that were refused compressed and taken plain, nothing is sent compressed any more.
const ENOUGH: usize = 3;

/// The time until compression is tried again.
const OFF_FOR: Duration = Duration::from_secs(3600);

/// Whether the endpoint reads gzip. Servers that do not say 400 or 500, and hardly ever 415.
#[derive(Debug, Default)]
pub(crate) struct GzipHealth {
    /// The ids of batches that were refused compressed and taken plain, since one was taken compressed.
    refused: Vec<String>,
    off_until: Option<Instant>,
}

impl GzipHealth {
    /// Whether bodies are sent plain at this time.
    pub(crate) fn is_off(&self, now: Instant) -> bool {
        self.off_until.is_some_and(|until| now < until)
    }

    /// Notes that a batch was taken compressed.
    pub(crate) fn taken(&mut self) {
        *self = Self::default();
    }

    /// Notes that a batch was refused compressed and taken plain; true if compression is turned off by that.
    pub(crate) fn taken_plain(&mut self, batch: &str, now: Instant) -> bool {
        if self.refused.len() < ENOUGH && !self.refused.iter().any(|refused| refused == batch) {
            self.refused.push(batch.to_owned());
        }
        let turned_off = self.refused.len() >= ENOUGH && !self.is_off(now);
        if turned_off {
            self.off_until = Some(now + OFF_FOR);
        }
        turned_off
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_off_for_an_hour_after_three_batches_that_were_taken_without_it_and_none_with_it() {
        let (mut gzip, now) = (GzipHealth::default(), Instant::now());
        assert!(!gzip.taken_plain("a", now) && !gzip.taken_plain("b", now) && !gzip.taken_plain("a", now));
        gzip.taken();
        assert!(!gzip.taken_plain("a", now) && !gzip.taken_plain("b", now) && !gzip.is_off(now));
        assert!(gzip.taken_plain("c", now) && gzip.is_off(now));
        assert!(!gzip.taken_plain("d", now), "it is off already");
        let later = now + OFF_FOR;
        assert!(!gzip.is_off(later), "it is tried again");
        assert!(gzip.taken_plain("e", later) && gzip.is_off(later), "and one batch is enough then");
        gzip.taken();
        assert!(!gzip.is_off(later));
    }
}
