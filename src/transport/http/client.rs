//! The HTTP client: it sends a request with the headers that the hook chooses, and has the response read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use reqwest::{Body, RequestBuilder, Url};
use tokio::time::Instant;

use crate::config::values::Method;
use crate::encode::framing::{FORM, ResponseProtocol};
use crate::error::{BoxError, ExporterBuildError, HeaderError, error_chain};
use crate::observe::probe::{ProbeStage, ProbeStep};
use crate::observe::stats::Outcome;
use crate::transport::contract::{Delivery, Peer, Probed, Probing, SendError, Transport};
use crate::transport::http::advice::{self, Advice};
use crate::transport::http::body::{self, RequestBody, Sending};
use crate::transport::http::clients::Clients;
use crate::transport::http::endpoint;
use crate::transport::http::headers::HeaderMap;
use crate::transport::http::hook::OpenHook;
use crate::transport::http::probe;
use crate::transport::http::protocols;
use crate::transport::http::reading;
use crate::transport::http::redact::{MAX_ERROR_BYTES, Secrets};
use crate::transport::http::response::{Classifier, Reading, Response};
use crate::transport::http::way::{Way, cause};
use crate::transport::request::Request;
use crate::transport::settings::TransportSettings;
use crate::transport::verdict::{Judgement, Rejection, Suspicion, Verdict};

/// The longest URL that the client takes.
const MAX_URL_BYTES: usize = 65_534;

/// The time that the rest of a response is read that nothing depends on: a connection is used again only behind it.
const REST_AT_MOST: Duration = Duration::from_millis(500);

/// The time that a server has to refuse the head of a request, after a connection broke while a body was being sent.
const HOLD: Duration = Duration::from_secs(1);

/// The most of a reason that is shown, without the text of the response.
const MAX_CAUSE_BYTES: usize = 200;

/// The most of the text of a response that is shown, where that is wanted.
const MAX_TEXT_BYTES: usize = 1_000;

/// The most of a response that is kept with a rejected record.
const MAX_KEPT_BYTES: usize = 4 << 10;

struct HttpTransport {
    clients: Clients,
    endpoint: Url,
    way: Way,
    advice: Advice,
    method: Method,
    headers: HeaderMap,
    hook: OpenHook,
    classifier: Option<Arc<Classifier>>,
    max_request_bytes: usize,
    max_response_bytes: usize,
    /// Reasons show all that a response says.
    response_text: bool,
    /// Those of the URLs, which every request has.
    secrets: Secrets,
    /// A connection broke while a long body was being sent, or soon after, and no long one was sent to its end since.
    broke_off: AtomicBool,
}

/// The end of a request that did not fail.
enum Exchanged {
    /// The judgement of its response, and the time that this says.
    Responded(Judgement, Option<String>),
    /// It is too large to be sent, and judged as if the server had said so.
    Unsent(Judgement),
}

/// Opens a client for the endpoint.
///
/// # Errors
///
/// If a setting is not allowed.
pub(crate) fn open(mut settings: TransportSettings) -> Result<Arc<dyn Transport>, ExporterBuildError> {
    let endpoint = endpoint::parse(&settings.endpoint)?;
    settings.check_timeouts()?;
    let way = Way::new(&endpoint, &settings)?;
    let advice = Advice::new(&settings);
    let http = &mut settings.http;
    if let Some(via) = http.via.take().filter(|_| http.headers.get("via").is_none()) {
        // It is a header's value: nobody's words are in it.
        let _ = http.headers.insert("via", via);
    }
    Ok(Arc::new(HttpTransport {
        method: http.method,
        headers: std::mem::take(&mut http.headers),
        hook: std::mem::take(&mut http.hook).open(settings.timeout.value).map_err(ExporterBuildError::Thread)?,
        classifier: http.classifier.take(),
        max_request_bytes: http.max_request_bytes,
        max_response_bytes: http.max_response_bytes,
        response_text: http.response_text,
        secrets: way.secrets(),
        way,
        advice,
        broke_off: AtomicBool::new(false),
        clients: Clients::open(settings, endpoint.clone())?,
        endpoint,
    }))
}

impl HttpTransport {
    /// The headers of a request: its own, the static ones, and what the hook makes of both.
    async fn headers_for(&self, request: &Request) -> Result<HeaderMap, SendError> {
        let failed = |what, error: BoxError| {
            let why = format!("{what}: {}", error_chain(&*error));
            SendError::NotSent(self.secrets.and_of(&self.headers).redact(&why, MAX_ERROR_BYTES))
        };
        let headers = self
            .own_headers(request)
            .map_err(|error| failed("a header of the request cannot be sent", error.into()))?;
        self.hook.call(&request.context, headers).await.map_err(|error| failed("the header hook failed", error))
    }

    fn own_headers(&self, request: &Request) -> Result<HeaderMap, HeaderError> {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", &request.content_type)?;
        if let Some(encoding) = request.content_encoding {
            headers.insert("content-encoding", encoding)?;
        }
        headers.insert("idempotency-key", request.context.id())?;
        headers.extend(&self.headers);
        Ok(headers)
    }

    /// The request as the client takes it, and the end of its body. With GET a form is the query, behind one that the URL has
    /// already. The length of a URL that no client sends is an error.
    fn http_request(&self, request: &Request, headers: HeaderMap) -> Result<(RequestBuilder, Sending), usize> {
        let client = self.clients.get();
        let (mut url, mut headers) = (endpoint::for_batch(&self.endpoint, request.context.id()), headers.into_http());
        let is_form = request.content_type == FORM && request.content_encoding.is_none();
        let is_query = self.method == Method::Get && is_form;
        let form = is_query.then(|| std::str::from_utf8(&request.body).ok()).flatten();
        let Some(form) = form else {
            let is_held = self.broke_off.load(Ordering::Relaxed) && !body::is_short(request.body.len());
            let hold = is_held.then(|| HOLD.min(request.timeout / 4));
            let (body, sending) = RequestBody::new(request.body.clone(), hold);
            return Ok((client.post(url).headers(headers).body(Body::wrap(body)), sending));
        };
        let query = [url.query().unwrap_or_default(), form];
        let query = query.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("&");
        url.set_query(Some(&query));
        if url.as_str().len() > MAX_URL_BYTES {
            return Err(url.as_str().len());
        }
        headers.remove(::http::header::CONTENT_TYPE);
        let (_, sending) = RequestBody::new(bytes::Bytes::new(), None);
        Ok((client.get(url).headers(headers), sending))
    }

    async fn send(
        &self,
        request: &Request,
        http_request: RequestBuilder,
        sending: &Sending,
    ) -> Result<Response, SendError> {
        let deadline = Instant::now().checked_add(request.timeout);
        let mut received = match http_request.timeout(request.timeout).send().await {
            Ok(received) => received,
            Err(error) => return Err(self.not_responded(&error, request, sending)),
        };
        let status = received.status();
        let is_early = !sending.is_complete();
        if is_early && !status.is_success() {
            sending.pause();
        }
        let said = |name| received.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (retry_after, date) = (said(::http::header::RETRY_AFTER), said(::http::header::DATE));
        // The status says it all; the rest is read for the sake of the connection.
        let is_known =
            status.is_success() && request.response_protocol == ResponseProtocol::Status && self.classifier.is_none();
        let limit = is_known.then_some(REST_AT_MOST);
        let (body, whole) = reading::read(&mut received, self.max_response_bytes, limit).await;
        if is_early && status.is_success() && !ended(sending, deadline).await {
            return Err(self.broken_off(
                "while it was sent the batch",
                "it had responded with a success already",
                request,
            ));
        }
        let is_complete = sending.is_complete();
        if is_complete && !body::is_short(request.body.len()) {
            self.broke_off.store(false, Ordering::Relaxed);
        }
        // A connection on which the rest was to come is closed. Behind a success that came early or a 413, which many servers
        // send and then close, none is used again either.
        sending.abort();
        if (is_early && is_complete) || status == ::http::StatusCode::PAYLOAD_TOO_LARGE {
            self.clients.renew();
        }
        Ok(Response { status: status.as_u16(), retry_after, date, body, whole })
    }

    /// The error of a request without a response.
    fn not_responded(&self, error: &reqwest::Error, request: &Request, sending: &Sending) -> SendError {
        self.clients.look_again();
        match (error.is_connect(), error.is_timeout()) {
            (true, _) => SendError::Unreachable(self.way.no_connection(error)),
            (false, true) => SendError::TimedOut(self.way.no_response(request.timeout)),
            (false, false) if sending.is_complete() => {
                self.broken_off("before it responded to the batch", &cause(error), request)
            }
            (false, false) => self.broken_off("while it was sent the batch", &cause(error), request),
        }
    }

    /// The error of a connection that broke while a body was being sent, or soon after. A long one may be too large.
    fn broken_off(&self, when: &str, why: &str, request: &Request) -> SendError {
        let bytes = request.body.len();
        let is_long = !body::is_short(bytes);
        self.broke_off.fetch_or(is_long, Ordering::Relaxed);
        SendError::Interrupted(if is_long && !self.way.may_speak_grpc(why) {
            format!(
                "the server closed the connection {when} of {bytes} bytes; if it takes no requests of that size, lower \
                 with_max_batch_bytes: {why}"
            )
        } else {
            self.way.broken(why)
        })
    }

    /// Sends a request, with headers that can be seen before; gives the response, or what stands for one.
    async fn exchange(&self, request: &Request, see: impl FnOnce(&HeaderMap)) -> Result<Exchanged, SendError> {
        let (bytes, max) = (request.body.len(), self.max_request_bytes);
        if bytes > max {
            let why = format!("the batch of {bytes} bytes was not sent: with_max_request_bytes allows {max}");
            return Ok(Exchanged::Unsent(too_large(413, why)));
        }
        let headers = self.headers_for(request).await?;
        see(&headers);
        let secrets = self.secrets.and_of(&headers);
        let (http_request, sending) = match self.http_request(request, headers) {
            Ok(http_request) => http_request,
            Err(bytes) => {
                return Ok(Exchanged::Unsent(too_large(414, format!("a URL of {bytes} bytes cannot be sent"))));
            }
        };
        let in_flight = request.begin();
        match self.send(request, http_request, &sending).await {
            Ok(response) => {
                let judgement = self.judge(&response, request, &secrets);
                in_flight.end(judgement.outcome);
                Ok(Exchanged::Responded(judgement, response.date))
            }
            Err(error) => {
                in_flight.end(error.outcome());
                Err(error.map(|why| secrets.redact(&why, MAX_ERROR_BYTES)))
            }
        }
    }

    fn judge(&self, response: &Response, request: &Request, secrets: &Secrets) -> Judgement {
        let protocol = request.response_protocol;
        let Reading { verdict, suspicion, cause } = match &self.classifier {
            Some(classifier) => protocols::read_as(classifier(response), protocol, response),
            None => protocols::read(protocol, response, request.context.records as u64),
        };
        let status = response.status;
        let outcome = match verdict {
            Verdict::Delivered => Outcome::Delivered(status),
            _ => Outcome::Responded(status),
        };
        let retry_after = response.retry_after(SystemTime::now());
        let kept = &response.body[..response.body.len().min(4 * MAX_KEPT_BYTES)];
        let cause = secrets.redact(&cause, MAX_CAUSE_BYTES);
        let reason = match verdict {
            Verdict::Delivered => cause.clone(),
            _ => self.explained(&cause, response, request, secrets),
        };
        Judgement {
            suspicion,
            verdict: redacted(verdict, secrets),
            cause,
            reason,
            retry_after,
            status,
            response: secrets.redact(&String::from_utf8_lossy(kept), MAX_KEPT_BYTES).into_bytes(),
            outcome,
        }
    }

    /// The cause with what else there is to say of it: the text of the response, and what is probably wrong.
    fn explained(&self, cause: &str, response: &Response, request: &Request, secrets: &Secrets) -> String {
        let mut reason = cause.to_owned();
        let text = text(&response.body[..response.body.len().min(4 * MAX_TEXT_BYTES)]);
        let text = secrets.redact(&text, MAX_TEXT_BYTES);
        let has_words = cause.contains(": ");
        let is_silent = text.is_empty() || !(has_words || self.response_text);
        if self.response_text && !cause.ends_with(&*text) {
            reason.push_str(if has_words { "; it says: " } else { ": " });
            reason.push_str(&text);
        } else if !has_words && !text.is_empty() {
            reason.push_str(", and a text that can repeat what was logged: `response_text` shows it");
        }
        let hint = match response.status {
            // What is refused may be in the spool from before a format was changed.
            400 | 415 | 422 if is_silent => Some(format!("what was sent is {}", request.content_type)),
            404 => self.way.wrong_path(request.response_protocol, &request.content_type),
            _ => None,
        };
        if let Some(hint) = hint {
            reason.push_str("; ");
            reason.push_str(&hint);
        }
        reason
    }
}

/// The judgement of a request that is too large to be sent, as if the server had said so.
fn too_large(status: u16, reason: String) -> Judgement {
    let cause = reason.clone();
    Judgement {
        verdict: Verdict::TooLarge,
        suspicion: Suspicion::Size,
        retry_after: None,
        status,
        response: reason.clone().into_bytes(),
        cause,
        reason,
        outcome: Outcome::Responded(status),
    }
}

/// The text of a response in one line.
fn text(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    // A message of protobuf begins with bytes that are none.
    let text = text.trim_start_matches(|char: char| char.is_control() || char.is_whitespace());
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Waits until a body was sent to its end; false if that is not so at the deadline.
async fn ended(sending: &Sending, deadline: Option<Instant>) -> bool {
    match deadline {
        Some(deadline) => tokio::time::timeout_at(deadline, sending.ended()).await.unwrap_or(false),
        None => sending.ended().await,
    }
}

/// The verdict with what is kept of the response about single records made fit for that.
fn redacted(verdict: Verdict, secrets: &Secrets) -> Verdict {
    let kept = |response: &str| secrets.redact(response, MAX_KEPT_BYTES);
    match verdict {
        Verdict::DeliveredExcept(rejections) => {
            let redact = |of: Rejection| Rejection { response: kept(&of.response), ..of };
            Verdict::DeliveredExcept(rejections.into_iter().map(redact).collect())
        }
        Verdict::DeliveredUpTo { records, rejection } => {
            Verdict::DeliveredUpTo { records, rejection: rejection.as_deref().map(kept) }
        }
        verdict => verdict,
    }
}

impl Transport for HttpTransport {
    fn deliver(&self, request: Request) -> Delivery<'_> {
        Box::pin(async move {
            match self.exchange(&request, |_| ()).await? {
                Exchanged::Responded(judgement, _) | Exchanged::Unsent(judgement) => Ok(judgement),
            }
        })
    }

    fn probe(&self, request: Option<Request>) -> Probing<'_> {
        Box::pin(async move {
            let mut probed = Probed::default();
            let reached = probe::way(&self.clients, &self.way, &self.advice, &self.secrets, &mut probed).await;
            let Some(request) = request.filter(|_| reached) else { return probed };
            let (sent, mut names) = (SystemTime::now(), Vec::new());
            // A synchronous hook cannot be stopped: behind twice the time of a request it is that which does not end.
            let exchange = self.exchange(&request, |headers| names = advice::names(headers, &self.way));
            let exchanged = tokio::time::timeout(request.timeout.saturating_mul(2), exchange).await;
            let exchanged = exchanged.unwrap_or_else(|_| {
                Err(SendError::NotSent(format!("the header hook did not return within {:?}", request.timeout)))
            });
            match exchanged {
                Ok(Exchanged::Responded(judgement, date)) => {
                    let remedy = advice::of_response(&judgement, &request.content_type, &names, &self.way);
                    probed.respond(Ok(judgement), remedy);
                    probed.steps.push(probe::clock(date.as_deref(), sent, SystemTime::now()));
                }
                Ok(Exchanged::Unsent(judgement)) => {
                    let step = ProbeStep::failed(ProbeStage::Settings, judgement.reason);
                    probed.steps.push(step.with_remedy("let requests be larger"));
                }
                Err(error) => {
                    let remedy = self.advice.of_failure(&error, &self.way);
                    probed.respond(Err(error), Some(remedy));
                }
            }
            probed
        })
    }

    fn peer(&self) -> Peer {
        // Without the brackets that mark an IPv6 address in a URL.
        let host = self.endpoint.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let method = match self.method {
            Method::Get => "GET",
            Method::Post => "POST",
        };
        Peer { address: host, port: self.endpoint.port_or_known_default(), method }
    }

    fn way(&self) -> Option<String> {
        Some(self.way.shown())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::atomic::AtomicU32;
    use std::sync::mpsc::{Receiver, channel};

    use super::*;
    use crate::config::values::Sourced;
    use crate::observe::stats::Counters;
    use crate::transport::http::hook::HeaderHook;
    use crate::transport::http::settings::HttpSettings;
    use crate::transport::request::BatchContext;
    use crate::transport::verdict::Suspicion;

    /// A server that responds to each request with the next of these statuses. Sends what it was sent: head and body.
    fn serve(statuses: &'static [u16]) -> (String, Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/ingest", listener.local_addr().unwrap());
        let (sender, received) = channel();
        std::thread::spawn(move || {
            for status in statuses {
                let (mut stream, _) = listener.accept().unwrap();
                let (mut text, mut buffer) = (String::new(), [0; 4096]);
                while !text.ends_with("[1,2]") {
                    let read = stream.read(&mut buffer).unwrap();
                    text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
                }
                sender.send(text).unwrap();
                let head = format!("HTTP/1.1 {status} X\r\nretry-after: 7\r\ncontent-length: 3\r\n");
                stream.write_all(format!("{head}connection: close\r\n\r\nwhy").as_bytes()).unwrap();
            }
        });
        (url, received)
    }

    fn request(counters: &Arc<Counters>, attempt: u32) -> Request {
        Request {
            context: BatchContext { records: 2, bytes: 5, attempt, ..BatchContext::new("the-id", "tenant") },
            content_type: "application/json".to_owned(),
            content_encoding: None,
            response_protocol: ResponseProtocol::Status,
            body: "[1,2]".into(),
            places: Arc::default(),
            timeout: Duration::from_secs(10),
            counters: counters.clone(),
        }
    }

    fn settings(url: &str, http: HttpSettings) -> TransportSettings {
        TransportSettings { http, ..TransportSettings::new(Sourced::new(url.to_owned(), "a test")) }
    }

    fn deliver(settings: TransportSettings, attempts: u32) -> (Vec<Result<Judgement, SendError>>, Arc<Counters>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let counters = Arc::default();
        let responses = runtime.block_on(async {
            let transport = open(settings).unwrap();
            let mut responses = Vec::new();
            for attempt in 1..=attempts {
                responses.push(transport.deliver(request(&counters, attempt)).await);
            }
            responses
        });
        (responses, counters)
    }

    fn verdict(response: &Result<Judgement, SendError>) -> &Verdict {
        &response.as_ref().unwrap().verdict
    }

    #[test]
    fn a_request_carries_its_own_headers_and_the_static_ones() {
        let (url, received) = serve(&[200]);
        let mut headers = HeaderMap::new();
        headers.insert("x-static", "always").unwrap();
        let (responses, counters) = deliver(settings(&url, HttpSettings { headers, ..HttpSettings::default() }), 1);
        assert_eq!(*verdict(&responses[0]), Verdict::Delivered);
        let request = received.recv().unwrap();
        assert!(request.starts_with("POST /ingest HTTP/1.1\r\n"), "{request}");
        for header in ["content-type: application/json", "idempotency-key: the-id", "x-static: always"] {
            assert!(request.contains(&format!("\r\n{header}\r\n")), "{header} in {request}");
        }
        assert_eq!((counters.snapshot().requests, counters.snapshot().failed_requests), (1, 0));
    }

    #[test]
    fn a_response_is_judged_with_its_reason_its_delay_and_what_is_kept_of_it() {
        let (url, _received) = serve(&[429]);
        let (responses, counters) = deliver(settings(&url, HttpSettings::default()), 1);
        let expected = Judgement {
            verdict: Verdict::Retry,
            suspicion: Suspicion::Load,
            cause: "the server responded with 429: why".to_owned(),
            reason: "the server responded with 429: why".to_owned(),
            retry_after: Some(Duration::from_secs(7)),
            status: 429,
            response: b"why".to_vec(),
            outcome: Outcome::Responded(429),
        };
        assert_eq!(responses, [Ok(expected)]);
        assert_eq!((counters.snapshot().requests, counters.snapshot().failed_requests), (1, 1));
    }

    #[test]
    fn a_classifier_of_ones_own_decides() {
        let (url, _received) = serve(&[200, 403]);
        let classifier: Arc<Classifier> = Arc::new(|response| match (response.status(), response.body()) {
            (403, b"why") => Verdict::Delivered,
            _ => Verdict::Retry,
        });
        let http = HttpSettings { classifier: Some(classifier), ..HttpSettings::default() };
        let (responses, _) = deliver(settings(&url, http), 2);
        assert_eq!([verdict(&responses[0]), verdict(&responses[1])], [&Verdict::Retry, &Verdict::Delivered]);
    }

    #[test]
    fn the_hook_is_called_before_every_attempt() {
        let (url, received) = serve(&[503, 200]);
        let mut headers = HeaderMap::new();
        headers.insert("x-static", "always").unwrap();
        let hook = HeaderHook::Sync(Arc::new(|batch, headers| {
            headers.insert("x-attempt", format!("{} {}", batch.partition_key(), batch.attempt()))?;
            headers.remove("x-static");
            Ok(())
        }));
        deliver(settings(&url, HttpSettings { headers, hook, ..HttpSettings::default() }), 2);
        for attempt in 1..=2 {
            let request = received.recv().unwrap();
            assert!(request.contains(&format!("\r\nx-attempt: tenant {attempt}\r\n")), "{request}");
            assert!(!request.contains("x-static"), "{request}");
        }
    }

    #[test]
    fn a_hook_that_fails_sends_nothing_and_counts_no_request() {
        let (url, received) = serve(&[200]);
        let calls = AtomicU32::new(0);
        let hook = HeaderHook::Sync(Arc::new(move |_, headers| {
            if calls.fetch_add(1, Ordering::Relaxed) == 0 {
                headers.insert("x-token", "line\nbreak")?;
            }
            Ok(())
        }));
        let (responses, counters) = deliver(settings(&url, HttpSettings { hook, ..HttpSettings::default() }), 2);
        let Err(SendError::NotSent(reason)) = &responses[0] else { panic!("{responses:?}") };
        assert!(reason.contains("header `x-token`: the value has the control character"), "{reason}");
        assert_eq!(*verdict(&responses[1]), Verdict::Delivered);
        assert_eq!((received.iter().count(), counters.snapshot().requests), (1, 1));
    }

    #[test]
    fn the_error_of_a_hook_shows_no_value_of_a_header() {
        let (url, _received) = serve(&[]);
        let mut headers = HeaderMap::new();
        headers.insert("x-api-key", "k3y-of-checkout").unwrap();
        let hook = HeaderHook::Sync(Arc::new(|_, _| Err("no token for k3y-of-checkout".into())));
        let (responses, _) = deliver(settings(&url, HttpSettings { headers, hook, ..HttpSettings::default() }), 1);
        let Err(SendError::NotSent(reason)) = &responses[0] else { panic!("{responses:?}") };
        assert_eq!(reason, "the header hook failed: no token for ***");
    }

    #[test]
    fn an_endpoint_without_a_listener_is_unreachable() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        drop(listener);
        let (responses, counters) = deliver(settings(&url, HttpSettings::default()), 1);
        let Err(SendError::Unreachable(reason)) = &responses[0] else { panic!("{responses:?}") };
        let address = url.strip_prefix("http://").unwrap().trim_end_matches('/');
        assert!(reason.starts_with(&format!("no connection to {address}: tcp connect error: ")), "{reason}");
        assert_eq!((counters.snapshot().requests, counters.snapshot().failed_requests), (1, 1));
    }

    #[test]
    fn a_connection_that_breaks_is_an_interruption() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        std::thread::spawn(move || drop(listener.accept().unwrap()));
        let (responses, _) = deliver(settings(&url, HttpSettings::default()), 1);
        let Err(SendError::Interrupted(reason)) = &responses[0] else { panic!("{responses:?}") };
        let address = url.strip_prefix("http://").unwrap().trim_end_matches('/');
        // A batch of five bytes is too large for nobody.
        assert!(reason.starts_with(&format!("the connection to {address} broke: ")), "{reason}");
        assert!(!reason.contains("with_max_batch_bytes"), "{reason}");
    }

    /// A server that sends this as the response to each request, and then waits for the client to close or closes itself.
    fn say(response: &'static str, closes: bool) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
                while !text.ends_with(b"[1,2]") {
                    let read = stream.read(&mut buffer).unwrap();
                    text.extend_from_slice(&buffer[..read]);
                }
                stream.write_all(response.as_bytes()).unwrap();
                if !closes {
                    let _ = stream.read(&mut buffer);
                }
            }
        });
        url
    }

    /// What is read of a response within a limit of 8 bytes, and whether that is all of it.
    fn read(response: &'static str, closes: bool) -> (String, bool) {
        let (sender, seen) = channel();
        let classifier: Arc<Classifier> = Arc::new(move |response| {
            sender.send((String::from_utf8_lossy(&response.body).into_owned(), response.whole)).unwrap();
            Verdict::Delivered
        });
        let url = say(response, closes);
        let http = HttpSettings { classifier: Some(classifier), max_response_bytes: 8, ..HttpSettings::default() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let transport = open(settings(&url, http)).unwrap();
            let mut seconds = if closes { 600 } else { 1 };
            // A response that has no end takes the whole time, which has to be enough for its beginning.
            let deliver = |seconds| {
                let timeout = Duration::from_secs(seconds);
                transport.deliver(Request { timeout, ..request(&Arc::default(), 1) })
            };
            while deliver(seconds).await.is_err() {
                seconds *= 2;
            }
        });
        seen.recv().unwrap()
    }

    #[test]
    fn a_success_that_breaks_off_or_is_too_long_is_read_as_far_as_it_goes() {
        let whole = |text: &str| (text.to_owned(), true);
        let part = |text: &str| (text.to_owned(), false);
        assert_eq!(read("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n12345678", true), whole("12345678"));
        assert_eq!(read("HTTP/1.1 200 OK\r\n\r\n1234", true), whole("1234"), "up to the end of the connection");
        assert_eq!(read("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n123456789", true), part("12345678"));
        assert_eq!(read("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n1234", true), part("1234"), "broken off");
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\n1234\r\n";
        assert_eq!(read(chunked, true), part("1234"));
        assert_eq!(read(chunked, false), part("1234"), "without an end");
    }

    #[test]
    fn a_request_that_is_too_large_is_not_sent_whatever_the_classifier_says() {
        let (url, received) = serve(&[200]);
        let classifier: Arc<Classifier> = Arc::new(|_| Verdict::Delivered);
        let http = HttpSettings { classifier: Some(classifier), max_request_bytes: 4, ..HttpSettings::default() };
        let (responses, counters) = deliver(settings(&url, http), 1);
        let judgement = responses[0].as_ref().unwrap();
        assert_eq!((&judgement.verdict, judgement.suspicion), (&Verdict::TooLarge, Suspicion::Size));
        assert_eq!(judgement.reason, "the batch of 5 bytes was not sent: with_max_request_bytes allows 4");
        assert_eq!((received.try_iter().count(), counters.snapshot().requests), (0, 0));
    }

    #[test]
    fn the_reason_is_without_secrets_and_short() {
        let url = say(
            "HTTP/1.1 404 No\r\ncontent-length: 94\r\n\r\nCode: 60. DB::Exception: no table for Bearer t0ken-of-ours, \x1b[2Jt0ken-of-ours, padding padding",
            true,
        );
        let mut headers = HeaderMap::new();
        headers.insert("authorization", "Bearer t0ken-of-ours").unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let judgement = runtime.block_on(async {
            let transport = open(settings(&url, HttpSettings { headers, ..HttpSettings::default() })).unwrap();
            let response_protocol = ResponseProtocol::ClickHouse;
            transport.deliver(Request { response_protocol, ..request(&Arc::default(), 1) }).await.unwrap()
        });
        let words = "Code: 60. DB::Exception: no table for ***, \\u{1b}[2J***";
        assert!(judgement.reason.starts_with(&format!("the server responded with 404: {words}")), "{judgement:?}");
        assert!(String::from_utf8(judgement.response).unwrap().starts_with(words));
    }

    /// The cause and the reason of a response with this status and body, which is read as OTLP at this path.
    fn reason(status: u16, body: &str, path: &str, response_text: bool) -> (String, String) {
        let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", body.len());
        let url = say(Box::leak((head + body).into_boxed_str()), true).replace("://", "://me:t0ken@") + path;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let judgement = runtime.block_on(async {
            let transport = open(settings(&url, HttpSettings { response_text, ..HttpSettings::default() })).unwrap();
            let response_protocol = ResponseProtocol::Otlp;
            transport.deliver(Request { response_protocol, ..request(&Arc::default(), 1) }).await.unwrap()
        });
        (judgement.cause, judgement.reason)
    }

    #[test]
    fn the_text_of_a_response_is_shown_where_that_is_asked_for_and_is_no_part_of_the_cause() {
        const SENT: &str = "; what was sent is application/json";
        const SILENT: &str = ": it does not say why; what was sent is application/json";
        let rest =
            ", and a text that can repeat what was logged: `response_text` shows it; what was sent is application/json";
        for (status, body, path, silent, talkative) in [
            (400, "no field\n hunter2, t0ken", "v1/logs", rest, ": no field hunter2, ***"),
            (400, r#"{"code":3,"message":"a\nb"}"#, "v1/logs", ": a", r#": a; it says: {"code":3,"message":"a\nb"}"#),
            (403, "no", "v1/logs", ": no", ": no"),
            (403, "no\nwhy", "v1/logs", ": no", ": no; it says: no why"),
            (400, "", "v1/logs", SILENT, SILENT),
            (415, " \r\n", "v1/logs", SENT, SENT),
            (422, "", "v1/logs", SENT, SENT),
            (403, "", "v1/logs", "", ""),
        ] {
            let [(cause, reason), (same, all)] =
                [false, true].map(|shown| super::tests::reason(status, body, path, shown));
            let start = format!("the server responded with {status}");
            assert_eq!((reason, all), (format!("{start}{silent}"), format!("{start}{talkative}")), "{body}");
            assert_eq!(cause, same, "{body}");
            assert!(!cause.contains("hunter2"), "{cause}");
        }
        let long = reason(400, &"x".repeat(5_000), "v1/logs", true).1;
        assert!((MAX_TEXT_BYTES..MAX_TEXT_BYTES + 100).contains(&long.len()), "{}", long.len());
    }

    #[test]
    fn a_404_at_a_path_that_no_otlp_has_says_so() {
        let start = "the server responded with 404: 404 page not found";
        let end = |path: &str| reason(404, "404 page not found", path, false).1.strip_prefix(start).unwrap().to_owned();
        assert_eq!(end("v1/logs"), "");
        assert_eq!(
            end("v1/logs/v1/logs"),
            "; its path is /v1/logs and /v1/logs: a test is used as it is, so leave one of them out"
        );
        assert_eq!(
            end("in"),
            "; OTLP is mostly taken at /v1/logs, /v1/traces or /v1/metrics, and a test is used as it is"
        );
        assert_eq!(
            reason(403, "404 page not found", "in", false).1,
            "the server responded with 403: 404 page not found"
        );
    }

    #[test]
    fn a_host_is_looked_up_for_each_connection() {
        use reqwest::dns::{Addrs, Name, Resolve, Resolving};

        /// Gives the next address of a list at each call.
        struct Script(std::sync::Mutex<Vec<std::net::SocketAddr>>);

        impl Resolve for Script {
            fn resolve(&self, _: Name) -> Resolving {
                let address = self.0.lock().unwrap().remove(0);
                Box::pin(async move { Ok(Box::new(std::iter::once(address)) as Addrs) })
            }
        }

        let [(first, _first), (second, received)] = [serve(&[503]), serve(&[200])];
        let address = |url: &str| Url::parse(url).unwrap().socket_addrs(|| None).unwrap()[0];
        let script = Script(std::sync::Mutex::new(vec![address(&first), address(&second)]));
        // No scripted resolver can be put below the client that is made here, which has no other settings about names.
        let client = reqwest::Client::builder().dns_resolver(Arc::new(script)).no_proxy().build().unwrap();
        let http = HttpSettings { client: Some(client), ..HttpSettings::default() };
        let (responses, _) = deliver(settings("http://logs.example/ingest", http), 2);
        assert_eq!([verdict(&responses[0]), verdict(&responses[1])], [&Verdict::Retry, &Verdict::Delivered]);
        assert_eq!(received.iter().count(), 1, "the second connection goes where the name points then");
    }
}
