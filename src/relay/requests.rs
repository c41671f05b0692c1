//! [`Requests`]: the requests of one listener of HTTP, between the server and the [`Service`].

use std::sync::Arc;

use crate::config::values::Signal;
use crate::observe::loss::LossReason;
use crate::relay::counts::DropReason;
use crate::relay::http::handler::{Answering, Handler, Incoming};
use crate::relay::http::refusal::Refusal;
use crate::relay::http::response::Response;
use crate::relay::intake::sender;
use crate::relay::protocol::{BadMessage, Request};
use crate::relay::service::{Reply, Service};
use crate::relay::settings::RelaySettings;

/// The protocol of a request that was refused before its own was known.
const UNKNOWN: &str = "http";

/// The requests of one listener.
pub(crate) struct Requests {
    service: Arc<Service>,
    listener: usize,
    tags_senders: bool,
    max_otlp_bytes: usize,
}

impl Requests {
    pub(crate) fn new(service: Arc<Service>, listener: usize, settings: &RelaySettings) -> Self {
        let (tags_senders, max_otlp_bytes) = (settings.tags_senders, settings.limits.max_otlp_bytes);
        Self { service, listener, tags_senders, max_otlp_bytes }
    }

    async fn answer(&self, incoming: Incoming, peer: &str) -> Response {
        let request = incoming.request();
        if is_health_check(&request) {
            return Response::new(200);
        }
        let sender = self.tags_senders.then(|| sender(self.service.counts.listener(self.listener), Some(peer), None));
        match self.service.take(self.listener, incoming, sender).await {
            Reply::Stored(answer) => Response {
                content_type: answer.content_type,
                body: answer.body,
                ..Response::new(if answer.no_content { 204 } else { 200 })
            },
            Reply::Bad(bad) => refused(bad),
            Reply::Unavailable { reason, may_repeat } => Response { retry: may_repeat, ..refused(reason) },
        }
    }
}

/// Whether somebody asks whether anybody is there.
fn is_health_check(request: &Request<'_>) -> bool {
    request.method == "HEAD"
        || (request.method == "GET" && request.query.is_none() && matches!(request.path, b"/" | b""))
}

fn refused(bad: BadMessage) -> Response {
    let (content_type, body) =
        bad.answer.unwrap_or_else(|| ("text/plain; charset=utf-8", format!("{}\n", bad.reason).into()));
    Response { content_type: Some(content_type), body: body.into(), ..Response::new(bad.status) }
}

impl Handler for Requests {
    fn handle<'a>(&'a self, incoming: Incoming, peer: &'a str) -> Answering<'a> {
        Box::pin(self.answer(incoming, peer))
    }

    fn max_body(&self, request: &Request<'_>) -> Option<usize> {
        let is_otlp = |target: &[u8]| Signal::ALL.iter().any(|signal| target.ends_with(signal.path().as_bytes()));
        let is_otlp = is_otlp(request.path) || request.query.is_some_and(is_otlp);
        is_otlp.then_some(self.max_otlp_bytes)
    }

    fn refused(&self, refusal: Refusal, _peer: &str) {
        let reason = match refusal {
            Refusal::Malformed | Refusal::Version | Refusal::UnknownCoding => DropReason::BadRequest,
            Refusal::Cut => DropReason::Cut,
            Refusal::Slow => DropReason::Slow,
            Refusal::BodyTooLarge | Refusal::LineTooLong | Refusal::HeadersTooLarge => DropReason::TooLarge,
            Refusal::CrossSite => DropReason::CrossSite,
            Refusal::Unauthorized => DropReason::Unauthorized,
            Refusal::Loop => DropReason::Loop,
        };
        self.service.counts.of(self.listener).drop((UNKNOWN, None), reason, 1);
        if reason == DropReason::TooLarge {
            self.service.outlets.logs.lose(LossReason::TooLarge, 1, 0);
        }
    }
}
