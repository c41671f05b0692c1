//! [`Verdict`]: the meaning of a response for the batch; [`Judgement`]: a transport's whole result.

use std::time::Duration;

use crate::observe::stats::Outcome;

/// A judged response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Judgement {
    pub(crate) verdict: Verdict,
    /// The likely cause, if it is not a plain success.
    pub(crate) suspicion: Suspicion,
    /// The reason why it is not a plain success: the same for the same cause, but for the digits in it.
    pub(crate) cause: String,
    /// The same in all the words that there are for an operator.
    pub(crate) reason: String,
    /// The delay that the receiver asks for.
    pub(crate) retry_after: Option<Duration>,
    /// The number of the response. It is kept with a rejected record and has no meaning outside of the transport.
    pub(crate) status: u16,
    /// The start of the response. It is kept with a rejected record.
    pub(crate) response: Vec<u8>,
    /// The outcome for the metrics.
    pub(crate) outcome: Outcome,
}

#[cfg(feature = "relay")]
impl Judgement {
    /// The judgement of a transport whose receiver does not respond.
    pub(crate) fn without_response(verdict: Verdict, reason: String) -> Self {
        let outcome = match verdict {
            Verdict::Delivered | Verdict::DeliveredUpTo { .. } => Outcome::Delivered(0),
            _ => Outcome::Unreachable,
        };
        let suspicion = Suspicion::of(&verdict, false);
        let cause = reason.clone();
        Self { verdict, suspicion, cause, reason, retry_after: None, status: 0, response: Vec::new(), outcome }
    }
}

/// The likely cause of a failure: which experiment tells more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Suspicion {
    /// The batch is too large.
    Size,
    /// A record of the batch is refused.
    Content,
    /// The endpoint's address, the credentials, or something before the endpoint: a record is hardly to blame.
    Endpoint,
    /// The endpoint is asked too much, and says when to come again.
    Load,
    /// The time was up.
    Time,
    /// The response says success and cannot be understood: the batch may have been stored.
    Unreadable,
    /// Anything: the endpoint failed, or the connection broke. The batch may have been stored.
    Unknown,
}

impl Suspicion {
    /// The likely cause behind a verdict; `asks_to_wait` is whether the response says when to come again.
    pub(crate) fn of(verdict: &Verdict, asks_to_wait: bool) -> Self {
        match verdict {
            Verdict::TooLarge => Self::Size,
            Verdict::Rejected => Self::Content,
            Verdict::Hold => Self::Endpoint,
            Verdict::Unreadable | Verdict::Unconfirmed => Self::Unreadable,
            Verdict::Retry if asks_to_wait => Self::Load,
            Verdict::Retry
            | Verdict::Delivered
            | Verdict::DeliveredExcept(_)
            | Verdict::DeliveredPartially { .. }
            | Verdict::DeliveredUpTo { .. } => Self::Unknown,
        }
    }
}

/// The meaning of a response for its batch, by the cause of a failure.
///
/// | response | verdict |
/// |---|---|
/// | 2xx | [`Delivered`](Self::Delivered) |
/// | none (refused, reset, timed out), 408, 429, 5xx | [`Retry`](Self::Retry) |
/// | 413, 414 | [`TooLarge`](Self::TooLarge) |
/// | 400, 415, 422 | [`Rejected`](Self::Rejected) |
/// | anything else: 3xx, 401, 403, 404, 405, 407, ... | [`Hold`](Self::Hold) |
///
/// The framing's [`ResponseProtocol`](crate::ResponseProtocol) refines the status. A 400 that a server gives by itself holds the
/// batch: a page, no body, or a line that is known of servers. So does a page with 415 or 422.
/// [`with_response_classifier`](crate::LogExporterBuilder::with_response_classifier) replaces both.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The endpoint has the batch.
    Delivered,
    /// The endpoint has the batch except these records, which it rejects for good: they go to the rejected store.
    DeliveredExcept(Vec<Rejection>),
    /// The endpoint has the batch except a number of records that it does not name. They cannot be kept, and are counted in
    /// [`SpoolStats::rejected_records`](crate::SpoolStats::rejected_records). If it is all of them, they are known, and are
    /// rejected like those that are named.
    DeliveredPartially {
        /// The number of rejected records; of metrics, that of data points.
        rejected: u64,
    },
    /// The endpoint has the first records of the batch, and none behind them: the rest comes again.
    DeliveredUpTo {
        /// The number of records that it has.
        records: u64,
        /// The endpoint's response about the record behind them, if it rejects that one for good: it goes to the rejected store.
        rejection: Option<String>,
    },
    /// The status is a success, but the rest of the response, which would say what was rejected, broke off or is too long. The
    /// batch is sent twice more under the same id, then it counts as delivered, and in
    /// [`SpoolStats::unconfirmed_records`](crate::SpoolStats::unconfirmed_records).
    Unconfirmed,
    /// The status is a success, but the response is none of its protocol: the endpoint may have the batch or not. The batch is
    /// retried a few times under the same id, then split; a record that is responded to like this alone is deferred.
    Unreadable,
    /// The network or the endpoint's load is the cause: the batch is retried after the server's `Retry-After` or the
    /// [`RetryPolicy`](crate::RetryPolicy)'s delay.
    Retry,
    /// The endpoint's address or the credentials are the cause: the batch is retried every 15 to 30 s, until an operator has
    /// fixed them.
    Hold,
    /// The batch is too large: it is split. A single record goes to the rejected store.
    TooLarge,
    /// A record of the batch is rejected for good: the batch is split until the record is found, which goes to the rejected
    /// store.
    Rejected,
}

/// A record that the endpoint rejects for good, while it took others of the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The record's position in the body, from 0.
    pub record: usize,
    /// The endpoint's response about the record; it is kept in the rejected store.
    pub response: String,
}
