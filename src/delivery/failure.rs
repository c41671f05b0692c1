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
    /// The reason in words.
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
        self.reason.chars().filter(|char| !char.is_ascii_digit()).collect()
    }

    /// Whether the endpoint refuses the batch itself, in so many words: it has nothing of it.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self.suspicion, Suspicion::Content | Suspicion::Size)
    }

    /// Whether some record of several is refused, and it is not known which.
    pub(crate) fn is_refusal_of_some(&self) -> bool {
        self.records > 1 && self.is_refusal() && self.named.is_none()
    }
}
