//! [`Failure`]: why an attempt at a batch failed, and what that says. Plain data.

use std::time::Duration;

use crate::transport::verdict::{Rejection, Suspicion};

/// A batch, and what is to be said of it.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    /// The id of the batch; empty where there was none.
    pub(crate) batch: String,
    pub(crate) reason: String,
}

/// The reason why a batch was not delivered.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// The id of the batch; empty where there was none.
    pub(crate) batch: String,
    pub(crate) reason: String,
    pub(crate) retry: Retry,
    /// The failure, where it says something about the batch or the endpoint.
    pub(crate) failed: Option<Box<Failed>>,
}

/// The time of the next attempt at the same batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// After the policy's delay.
    Backoff,
    /// The same, but at once the first time: a connection that is kept may close just when it is used.
    Interrupted,
    /// The same; and the batch was taken, as far as is known.
    Unconfirmed,
    /// The same; and there is no connection, for no partition.
    Unreachable,
    /// The same; and nothing was learned about the endpoint.
    NotSent,
    /// After the delay that the receiver asked for.
    After(Duration),
    /// Slowly: until an operator acts, retrying alone does not help.
    Hold,
}

/// A failed attempt at a batch.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Failed {
    pub(crate) records: u64,
    pub(crate) bytes: usize,
    pub(crate) suspicion: Suspicion,
    /// The reason, the same for the same cause, but for the digits in it.
    pub(crate) cause: String,
    /// The same in all the words that there are.
    pub(crate) reason: String,
    pub(crate) status: u16,
    /// The start of the response, kept for the rejected store.
    pub(crate) response: Vec<u8>,
    /// The response rejects each record by name.
    pub(crate) named: Option<Vec<Rejection>>,
}

impl Failed {
    /// The same for failures of the same cause: numbers differ from record to record.
    pub(crate) fn signature(&self) -> String {
        self.cause.chars().filter(|char| !char.is_ascii_digit()).collect()
    }

    /// Whether the endpoint refuses the batch itself, in so many words: it has nothing of it.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self.suspicion, Suspicion::Content | Suspicion::Size)
    }

    /// Whether a compressed batch that met this at an attempt may have met it for being compressed.
    pub(crate) fn may_be_compression(&self, attempt: u32) -> bool {
        match self.suspicion {
            Suspicion::Content | Suspicion::Endpoint => true,
            Suspicion::Unknown => attempt > 1,
            _ => false,
        }
    }

    /// Whether some record of several is refused, and it is not known which.
    pub(crate) fn is_refusal_of_some(&self) -> bool {
        self.records > 1 && self.is_refusal() && self.named.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_one_cause_are_the_same_whatever_else_the_server_says() {
        let failed = |cause: &str, reason: &str| Failed {
            records: 1,
            bytes: 1,
            suspicion: Suspicion::Content,
            cause: cause.to_owned(),
            reason: reason.to_owned(),
            status: 400,
            response: Vec::new(),
            named: None,
        };
        let signature = |cause, reason| failed(cause, reason).signature();
        assert_eq!(
            signature("400: field 7", "400: field 7; it says: hunter"),
            signature("400: field 12", "400: field 12")
        );
        assert_ne!(signature("400: a field", "the same"), signature("400: a date", "the same"));
    }
}
