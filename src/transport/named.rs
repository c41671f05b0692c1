//! [`Named`]: a transport whose failures name the endpoint, whatever kind it is of.

use std::sync::Arc;

use crate::transport::contract::{Delivery, Peer, Probing, Transport};
use crate::transport::request::Request;
use crate::transport::verdict::{Judgement, Verdict};

pub(super) struct Named {
    transport: Arc<dyn Transport>,
    /// The way to the endpoint as it may be shown.
    way: String,
}

impl Named {
    /// The transport to the endpoint of this URL.
    pub(super) fn new(transport: Arc<dyn Transport>, url: &str) -> Self {
        let without_query = || url.trim().split('?').next().unwrap_or_default().to_owned();
        Self { way: transport.way().unwrap_or_else(without_query), transport }
    }
}

impl Transport for Named {
    fn deliver(&self, request: Request) -> Delivery<'_> {
        Box::pin(async move {
            let named = |reason: String| format!("{}: {reason}", self.way);
            match self.transport.deliver(request).await {
                Ok(judgement) if judgement.verdict == Verdict::Delivered => Ok(judgement),
                Ok(judgement) => Ok(Judgement { reason: named(judgement.reason), ..judgement }),
                Err(error) => Err(error.map(named)),
            }
        })
    }

    /// As it is: a report names the endpoint once.
    fn probe(&self, request: Option<Request>) -> Probing<'_> {
        self.transport.probe(request)
    }

    fn takes_gzip(&self) -> bool {
        self.transport.takes_gzip()
    }

    fn peer(&self) -> Peer {
        self.transport.peer()
    }

    fn way(&self) -> Option<String> {
        Some(self.way.clone())
    }
}
