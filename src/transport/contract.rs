//! [`Transport`]: the contract between delivery and whatever carries a batch off the machine.

use std::future::Future;
use std::pin::Pin;

use crate::observe::probe::{ProbeStage, ProbeStep};
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
    /// The same in other words.
    pub(crate) fn map(self, words: impl FnOnce(String) -> String) -> Self {
        match self {
            Self::NotSent(why) => Self::NotSent(words(why)),
            Self::Unreachable(why) => Self::Unreachable(words(why)),
            Self::Interrupted(why) => Self::Interrupted(words(why)),
            Self::TimedOut(why) => Self::TimedOut(words(why)),
        }
    }

    /// What it says of the request in flight.
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Self::Unreachable(_) => Outcome::Unreachable,
            _ => Outcome::Interrupted,
        }
    }

    /// Its words.
    pub(crate) fn why(&self) -> &str {
        match self {
            Self::NotSent(why) | Self::Unreachable(why) | Self::Interrupted(why) | Self::TimedOut(why) => why,
        }
    }
}

/// A request in flight.
pub(crate) type Delivery<'a> = Pin<Box<dyn Future<Output = Result<Judgement, SendError>> + Send + 'a>>;

/// A look at the way to the endpoint.
pub(crate) type Probing<'a> = Pin<Box<dyn Future<Output = Probed> + Send + 'a>>;

/// The way to the endpoint, as a probe has found it.
#[derive(Debug, Default)]
pub(crate) struct Probed {
    pub(crate) steps: Vec<ProbeStep>,
    /// The outcome of the request, or of what kept it from being sent.
    pub(crate) outcome: Option<Result<Judgement, SendError>>,
}

impl Probed {
    /// Adds the outcome of the request, with what to do if it is no success: delivery knows whether it is one.
    pub(crate) fn respond(&mut self, outcome: Result<Judgement, SendError>, remedy: Option<String>) {
        let words = outcome.as_ref().map_or_else(SendError::why, |judgement| &judgement.reason);
        let words = if words.is_empty() {
            "it was handed over: such an endpoint does not say what it has taken"
        } else {
            words
        };
        self.steps.push(ProbeStep { remedy, ..ProbeStep::failed(ProbeStage::Response, words) });
        self.outcome = Some(outcome);
    }

    /// The step with the outcome of the request.
    pub(crate) fn response(&mut self) -> Option<&mut ProbeStep> {
        self.steps.iter_mut().find(|step| step.stage == ProbeStage::Response)
    }

    /// Adds that there is no connection, and what to do about it.
    pub(crate) fn end_at(&mut self, stage: ProbeStage, error: SendError, remedy: Option<String>) {
        let step = ProbeStep::failed(stage, error.why());
        self.steps.push(ProbeStep { remedy, ..step });
        self.outcome = Some(Err(error));
    }
}

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
    #[cfg_attr(not(feature = "self-metrics"), allow(dead_code, reason = "only metrics name it"))]
    fn peer(&self) -> Peer;

    /// Looks at the way to the endpoint step by step, and at its end sends the request, if there is one.
    fn probe(&self, request: Option<Request>) -> Probing<'_> {
        Box::pin(async move {
            let mut probed = Probed::default();
            match request {
                Some(request) => probed.respond(self.deliver(request).await, None),
                None => probed.steps.push(ProbeStep::skipped(ProbeStage::Connection, "only sending tells")),
            }
            probed
        })
    }

    /// The way to the endpoint as an operator is shown it, where that is not the URL without its query: the URL can hold credentials,
    /// and there can be a proxy.
    fn way(&self) -> Option<String> {
        None
    }
}

/// The peer of a transport.
#[cfg_attr(not(feature = "self-metrics"), allow(dead_code, reason = "only metrics name it"))]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) address: String,
    pub(crate) port: Option<u16>,
    /// `POST` or `GET`; empty where requests have no method.
    pub(crate) method: &'static str,
}
