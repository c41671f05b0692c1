//! [`Verdict`]: what a response means for the batch, and [`Judgement`], which a transport returns.

use std::time::Duration;

use crate::observe::stats::Outcome;

/// A response, judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Judgement {
    pub(crate) verdict: Verdict,
    /// Why it is not simply a success, in words for an operator.
    pub(crate) reason: String,
    /// The delay that the receiver asks for.
    pub(crate) retry_after: Option<Duration>,
    /// The response's number, which is kept with a rejected record and means nothing outside of the transport.
    pub(crate) status: u16,
    /// The start of what the receiver said, which is kept with a rejected record.
    pub(crate) response: Vec<u8>,
    /// The same as the metrics have it.
    pub(crate) outcome: Outcome,
}

/// What an answer means for the batch: who is to blame decides.
///
/// | answer | verdict |
/// |---|---|
/// | 2xx | [`Delivered`](Self::Delivered) |
/// | none (refused, reset, timed out), 408, 429, 5xx | [`Retry`](Self::Retry) |
/// | 413, 414 | [`TooLarge`](Self::TooLarge) |
/// | 400, 415, 422 | [`Rejected`](Self::Rejected) |
/// | anything else: 3xx, 401, 403, 404, 405, 407, ... | [`Hold`](Self::Hold) |
///
/// What a protocol says beyond that is read according to the framing's [`ResponseProtocol`](crate::ResponseProtocol). A 400 with which nginx
/// asks for a client's certificate, or for TLS, holds the batch.
/// [`with_response_classifier`](crate::LogExporterBuilder::with_response_classifier) replaces both.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The endpoint has the batch.
    Delivered,
    /// The endpoint has the batch but for these records, which it refuses for good: they go to the rejected store.
    DeliveredExcept(Vec<Rejection>),
    /// The endpoint has the batch but for so many records, and does not say which. They are lost, and counted in
    /// [`SpoolStats::rejected_records`](crate::SpoolStats::rejected_records).
    DeliveredPartially {
        /// How many records were rejected.
        rejected: u64,
    },
    /// The network or the endpoint's load is to blame: again, after the server's `Retry-After` or the policy's delay.
    Retry,
    /// The endpoint's address or the credentials are to blame: again, slowly, until an operator has mended them.
    Hold,
    /// The batch is too large: its halves come in its place. A single record goes to the rejected store.
    TooLarge,
    /// Something in the batch is refused for good: it is halved until the record is found, which goes to the rejected
    /// store.
    Rejected,
}

/// A record of a batch that the endpoint refuses for good, while it took others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Which record of the batch it is, from 0, in the order of the body.
    pub record: usize,
    /// What the endpoint says of it; kept in the rejected store.
    pub response: String,
}
