//! [`Response`]: the endpoint's response, and its `Retry-After`.

use std::time::{Duration, SystemTime};

use crate::transport::verdict::{Suspicion, Verdict};

/// The endpoint's response to a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<String>,
    /// The server's clock, as it says it.
    pub(crate) date: Option<String>,
    pub(crate) body: Vec<u8>,
    /// Whether the body is all of it: it neither broke off nor was longer than what is read of it.
    pub(crate) whole: bool,
}

impl Response {
    /// A response that was read as a whole and has no `Retry-After`: for the tests of a
    /// [classifier](crate::LogExporterBuilder::with_response_classifier).
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::{Response, Verdict};
    ///
    /// let classify = |response: &Response| match response.status() {
    ///     404 => Verdict::Retry, // the table is made in a minute
    ///     _ => Verdict::of(response),
    /// };
    /// assert_eq!(classify(&Response::new(404, "no such table")), Verdict::Retry);
    /// assert_eq!(classify(&Response::new(204, "")), Verdict::Delivered);
    /// ```
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, retry_after: None, date: None, body: body.into(), whole: true }
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The body, as far as it was read: at most
    /// [`with_max_response_bytes`](crate::LogExporterBuilder::with_max_response_bytes) of it.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Whether the endpoint says that it is asked too much, and when to come again.
    fn asks_to_wait(&self) -> bool {
        matches!(self.status, 429 | 503) && self.retry_after(SystemTime::now()).is_some()
    }

    /// The delay that the endpoint asks for, if it does so in a form that can be read.
    pub(crate) fn retry_after(&self, now: SystemTime) -> Option<Duration> {
        self.retry_after.as_deref().and_then(|value| parse_retry_after(value, now))
    }
}

/// The user's function that judges a response.
pub(crate) type Classifier = dyn Fn(&Response) -> Verdict + Send + Sync;

/// `Retry-After` in seconds or as an HTTP date. A date that has passed means now; anything else is ignored.
fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

impl Verdict {
    /// The verdict by the status alone: the table above.
    pub fn of(response: &Response) -> Self {
        match response.status {
            200..=299 => Self::Delivered,
            408 | 429 | 500..=599 => Self::Retry,
            413 | 414 => Self::TooLarge,
            400 | 415 | 422 => Self::Rejected,
            _ => Self::Hold,
        }
    }
}

/// A response that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) verdict: Verdict,
    /// The likely cause, if it is not a plain success.
    pub(crate) suspicion: Suspicion,
    /// The reason why it is not a plain success: the same for the same cause, but for the digits in it.
    pub(crate) cause: String,
}

impl Reading {
    /// The likely cause is what the verdict suggests.
    pub(crate) fn new(verdict: Verdict, response: &Response, words: &str) -> Self {
        let mut cause = format!("the server responded with {}", response.status);
        if !words.is_empty() {
            cause.push_str(": ");
            cause.push_str(words);
        }
        let suspicion = match verdict {
            Verdict::DeliveredExcept(_) | Verdict::DeliveredUpTo { rejection: Some(_), .. } => Suspicion::Content,
            _ => Suspicion::of(&verdict, response.asks_to_wait()),
        };
        Self { verdict, suspicion, cause }
    }

    /// The same with another likely cause.
    pub(crate) fn suspecting(mut self, suspicion: Suspicion) -> Self {
        self.suspicion = suspicion;
        self
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

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
    fn an_endpoint_that_says_when_to_come_again_is_under_load() {
        let suspicion = |status, retry_after: Option<&str>| {
            let response = Response { retry_after: retry_after.map(str::to_owned), ..Response::new(status, "") };
            Reading::new(Verdict::of(&response), &response, "").suspicion
        };
        assert_eq!([429, 503].map(|status| suspicion(status, Some("3"))), [Suspicion::Load; 2]);
        assert_eq!([429, 503].map(|status| suspicion(status, Some("soon"))), [Suspicion::Unknown; 2]);
        assert_eq!([suspicion(503, None), suspicion(500, Some("3"))], [Suspicion::Unknown; 2]);
        assert_eq!(suspicion(400, Some("3")), Suspicion::Content);
    }

    /// As the documentation of `Verdict` and the chapter on delivery have it, each status by itself.
    #[test]
    fn every_status_has_its_verdict() {
        let expected = [
            (Verdict::Delivered, &[200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 250, 299][..]),
            (Verdict::Retry, &[408, 429, 500, 501, 502, 503, 504, 505, 507, 508, 511, 520, 529, 599]),
            (Verdict::TooLarge, &[413, 414]),
            (Verdict::Rejected, &[400, 415, 422]),
            (Verdict::Hold, &[0, 100, 101, 102, 103, 199, 300, 301, 302, 303, 304, 305, 307, 308, 399]),
            (Verdict::Hold, &[401, 402, 403, 404, 405, 406, 407, 409, 410, 411, 412, 416, 417, 418, 421]),
            (Verdict::Hold, &[423, 424, 425, 426, 428, 431, 444, 451, 494, 495, 496, 497, 499, 600, 999]),
        ];
        for (expected, statuses) in expected {
            for &status in statuses {
                assert_eq!(Verdict::of(&Response::new(status, "")), expected, "{status}");
            }
        }
    }
}
