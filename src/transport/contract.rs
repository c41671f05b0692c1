//! [`Transport`]: the contract between delivery and whatever carries a batch off the machine.

use std::future::Future;
use std::pin::Pin;

use crate::observe::stats::Outcome;
use crate::transport::request::Request;
use crate::transport::verdict::Judgement;

/// The reason why a request has no response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SendError {
    /// It was not sent: nothing was learned about the endpoint.
    NotSent(String),
    /// There was no connection, which is so for every request.
    Unreachable(String),
    /// The connection broke before there was a response: the endpoint may have the batch.
    Interrupted(String),
    /// The request's time was up: the endpoint may have the batch.
    TimedOut(String),
}

impl SendError {
    /// What it says of the request in flight.
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Self::Unreachable(_) => Outcome::Unreachable,
            _ => Outcome::Interrupted,
        }
    }
}

/// A request in flight.
pub(crate) type Delivery<'a> = Pin<Box<dyn Future<Output = Result<Judgement, SendError>> + Send + 'a>>;

/// Delivers requests and judges the responses.
///
/// A request without a response is an error; a response, whatever it says, is not. An implementation calls
/// [`Request::begin`] right before it sends and ends what that returns with the outcome. Settings that it has no use for, such
/// as the header hook outside of HTTP, are an error when it is opened. It runs on the runtime on which it was opened, blocks no
/// thread, waits no longer than [`Request::timeout`] and logs no body and no header value. Dropping the future breaks the request off.
pub(crate) trait Transport: Send + Sync + 'static {
    fn deliver(&self, request: Request) -> Delivery<'_>;

    /// Whether bodies may be compressed. Where they may not, a batch that is stored so is decompressed for each attempt.
    fn takes_gzip(&self) -> bool {
        true
    }

    /// The peer as metrics name it.
    #[cfg_attr(not(feature = "self-metrics"), expect(dead_code, reason = "only metrics name it"))]
    fn peer(&self) -> Peer;
}

/// The peer of a transport.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) address: String,
    pub(crate) port: Option<u16>,
    /// `POST` or `GET`; empty where requests have no method.
    pub(crate) method: &'static str,
}
