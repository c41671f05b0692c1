//! [`Requests`]: the requests of one listener of HTTP, between the server and the [`Service`].

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::config::values::Signal;
use crate::observe::event::SpoolEvent;
use crate::observe::loss::LossReason;
use crate::relay::counts::DropReason;
use crate::relay::http::handler::{Answering, Handler, Incoming, Refused};
use crate::relay::http::refusal::Refusal;
use crate::relay::http::response::Response;
use crate::relay::intake::sender;
use crate::relay::protocol::{BadMessage, Request};
use crate::relay::service::{Reply, Service};
use crate::relay::settings::RelaySettings;

/// The protocol of a request that was refused before its own was known.
const UNKNOWN: &str = "http";

/// The least time between two reports of requests that are refused.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// The requests of one listener.
pub(crate) struct Requests {
    service: Arc<Service>,
    listener: usize,
    tags_senders: bool,
    max_otlp_bytes: usize,
    refusals: Refusals,
}

/// Refused requests that nobody was told of, and when somebody was.
#[derive(Debug, Default)]
struct Refusals(Mutex<(u64, Option<Instant>)>);

impl Refusals {
    /// Counts one. The number to be told, once in a while.
    fn note(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 += 1;
        if state.1.is_some_and(|told| now.saturating_duration_since(told) < TOLD_EVERY) {
            return None;
        }
        state.1 = Some(now);
        Some(std::mem::take(&mut state.0))
    }
}

impl Requests {
    pub(crate) fn new(service: Arc<Service>, listener: usize, settings: &RelaySettings) -> Self {
        let (tags_senders, max_otlp_bytes) = (settings.tags_senders, settings.limits.max_otlp_bytes);
        Self { service, listener, tags_senders, max_otlp_bytes, refusals: Refusals::default() }
    }

    async fn answer(&self, incoming: Incoming, peer: &str) -> Response {
        let request = incoming.request();
        if is_health_check(&request) {
            return Response::new(200);
        }
        let sender = self.tags_senders.then(|| sender(self.service.counts.listener(self.listener), Some(peer), None));
        let signal = signal_of(&request);
        let Some(reply) = contained(self.service.take(self.listener, incoming, sender)).await else {
            self.service.counts.of(self.listener).drop((UNKNOWN, signal), DropReason::BadRequest, 1);
            return refused(BadMessage { status: 500, ..BadMessage::new("the relay failed over this request") });
        };
        match reply {
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

/// The end of a future; nothing if it panics, which costs its request alone, as with a frame.
async fn contained<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(polled) => polled.map(Some),
        Err(_) => Poll::Ready(None),
    })
    .await
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
        signal_of(request).map(|_| self.max_otlp_bytes)
    }

    fn refused(&self, refused: &Refused<'_>) {
        let reason = match refused.refusal {
            Refusal::Malformed | Refusal::Version | Refusal::UnknownCoding => DropReason::BadRequest,
            Refusal::Cut => DropReason::Cut,
            Refusal::Slow => DropReason::Slow,
            Refusal::BodyTooLarge | Refusal::LineTooLong | Refusal::HeadersTooLarge => DropReason::TooLarge,
            Refusal::CrossSite => DropReason::CrossSite,
            Refusal::Unauthorized => DropReason::Unauthorized,
            Refusal::Loop => DropReason::Loop,
        };
        let signal = refused.request.as_ref().and_then(signal_of);
        self.service.counts.of(self.listener).drop((UNKNOWN, signal), reason, 1);
        if matches!(refused.refusal, Refusal::Unauthorized | Refusal::CrossSite | Refusal::Loop)
            && let Some(requests) = self.refusals.note(Instant::now())
        {
            let listener = self.service.counts.listener(self.listener);
            let reason = format!("{listener}: {}", refused.refusal.text().trim_end());
            let event = SpoolEvent::RequestsRefused { reason, requests };
            self.service.outlets.logs.pipeline.events().report(event);
        }
        // A stranger has nothing that could be lost, and writes nothing into the stream.
        if reason == DropReason::TooLarge
            && !refused.is_stranger
            && let Some(outlet) = self.service.outlets.get(signal.unwrap_or(Signal::Logs))
        {
            outlet.lose(LossReason::TooLarge, 1, 0);
        }
    }
}

/// The signal of OTLP that a request is for, by its target.
fn signal_of(request: &Request<'_>) -> Option<Signal> {
    let ends_so = |signal: &Signal| {
        let path = signal.path().as_bytes();
        request.path.ends_with(path) || request.query.is_some_and(|query| query.ends_with(path))
    };
    Signal::ALL.into_iter().find(ends_so)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::counts::Counts;
    use crate::relay::http::budget::Budget;
    use crate::relay::http::head::{Head, Version};
    use crate::relay::listener::Listener;
    use crate::relay::testing::{PANIC, outlets};

    fn text(body: String) -> Incoming {
        let headers = vec![("Content-Type".to_owned(), "text/plain".to_owned())];
        let head = Head { method: "POST", version: Version::Http11, path: "/".into(), query: None, headers };
        Incoming { head, body: body.into(), cut: false, permit: Budget::new(1).permit() }
    }

    #[tokio::test]
    async fn a_panic_over_a_request_costs_that_request_alone() {
        let dir = tempfile::tempdir().unwrap();
        let counts = Arc::new(Counts::new([Listener::Http("127.0.0.1:0".parse().unwrap())]));
        let service = Arc::new(Service::new(Arc::new(outlets(dir.path())), counts.clone()));
        let requests = Requests::new(service, 0, &RelaySettings::default());
        let large = format!("{}\n{PANIC}", "x".repeat(100_000));
        // A large one is read by another thread.
        for (body, status) in [(PANIC, 500), ("a record", 200), (&large, 500), ("another one", 200)] {
            let response = requests.handle(text(body.to_owned()), "peer").await;
            assert_eq!((response.status, response.retry), (status, false), "{body:.20}");
        }
        let stats = &counts.snapshot().listeners[0];
        assert_eq!((stats.records, stats.dropped(DropReason::BadRequest)), (2, 2));
    }

    #[test]
    fn refusals_are_told_once_a_minute_with_their_number() {
        let (refusals, begun) = (Refusals::default(), Instant::now());
        let told: Vec<_> =
            [0, 1, 59, 60, 61, 200].iter().map(|at| refusals.note(begun + Duration::from_secs(*at))).collect();
        assert_eq!(told, [Some(1), None, None, Some(3), None, Some(2)]);
    }
}
