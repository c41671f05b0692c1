//! The HTTP client: it sends a request with the headers that the hook chooses, and has the response read.

use std::sync::Arc;
use std::time::SystemTime;

use reqwest::{Client, Proxy, RequestBuilder, Url, redirect, retry};

use crate::config::values::{Method, Sourced};
use crate::encode::framing::{FORM, ResponseProtocol};
use crate::error::{BoxError, ExporterBuildError, HeaderError, error_chain};
use crate::observe::stats::Outcome;
use crate::transport::contract::{Delivery, Peer, SendError, Transport};
use crate::transport::http::headers::HeaderMap;
use crate::transport::http::hook::HeaderHook;
use crate::transport::http::protocols;
use crate::transport::http::response::{Classifier, Reading, Response, shorten};
use crate::transport::http::settings::HttpSettings;
use crate::transport::http::tls;
use crate::transport::request::Request;
use crate::transport::settings::TransportSettings;
use crate::transport::verdict::{Judgement, Verdict};

/// The longest URL that the client takes.
const MAX_URL_BYTES: usize = 65_534;

struct HttpTransport {
    client: Client,
    endpoint: Url,
    method: Method,
    headers: HeaderMap,
    hook: HeaderHook,
    classifier: Option<Box<Classifier>>,
}

/// Opens a client for the endpoint.
///
/// # Errors
///
/// If a setting is not allowed.
pub(crate) fn open(settings: TransportSettings) -> Result<Arc<dyn Transport>, ExporterBuildError> {
    let endpoint = parse_endpoint(&settings.endpoint)?;
    for timeout in [&settings.timeout, &settings.connect_timeout] {
        if timeout.value.is_zero() {
            return Err(timeout.invalid("a timeout of zero lets no request through"));
        }
    }
    let timeout = settings.timeout.value;
    let client = match settings.http.client.clone() {
        Some(client) => client,
        None => build_client(&settings, &endpoint)?,
    };
    let HttpSettings { method, headers, hook, classifier, .. } = settings.http;
    let hook = hook.within(timeout);
    Ok(Arc::new(HttpTransport { client, endpoint, method, headers, hook, classifier }))
}

impl HttpTransport {
    /// The headers of a request: its own, the static ones, and what the hook makes of both.
    async fn headers_for(&self, request: &Request) -> Result<HeaderMap, SendError> {
        let failed = |what, error: BoxError| SendError::NotSent(format!("{what}: {}", error_chain(&*error)));
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

    /// The request as the client takes it. With GET a form is the query, behind one that the URL has already. The length
    /// of a URL that no client sends is an error.
    fn http_request(&self, request: &Request, headers: HeaderMap) -> Result<RequestBuilder, usize> {
        let (mut url, mut headers) = (self.endpoint.clone(), headers.into_http());
        let is_form = request.content_type == FORM && request.content_encoding.is_none();
        let form = std::str::from_utf8(&request.body).ok().filter(|_| self.method == Method::Get && is_form);
        let Some(form) = form else { return Ok(self.client.post(url).headers(headers).body(request.body.clone())) };
        let query = [url.query().unwrap_or_default(), form];
        let query = query.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("&");
        url.set_query(Some(&query));
        if url.as_str().len() > MAX_URL_BYTES {
            return Err(url.as_str().len());
        }
        headers.remove(::http::header::CONTENT_TYPE);
        Ok(self.client.get(url).headers(headers))
    }

    async fn send(&self, request: &Request, headers: HeaderMap) -> Result<Response, reqwest::Error> {
        let protocol = request.response_protocol;
        let mut received = match self.http_request(request, headers) {
            Ok(http_request) => http_request.timeout(request.timeout).send().await?,
            Err(bytes) => {
                let body = format!("a URL of {bytes} bytes cannot be sent").into_bytes();
                return Ok(Response { status: 414, retry_after: None, body, whole: true });
            }
        };
        let retry_after = received.headers().get(::http::header::RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let status = received.status().as_u16();
        // Half the body of a success that only its body shows is no success.
        let needed = protocol != ResponseProtocol::Status && received.status().is_success();
        let max_bytes = protocols::max_bytes(protocol);
        let mut body = Vec::new();
        while body.len() < max_bytes {
            match received.chunk().await {
                Ok(Some(chunk)) => {
                    let room = max_bytes - body.len();
                    body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                }
                Err(error) if needed => return Err(error),
                Ok(None) | Err(_) => break,
            }
        }
        Ok(Response { status, retry_after, body, whole: true })
    }

    fn judge(&self, response: Response, request: &Request) -> Judgement {
        let protocol = request.response_protocol;
        let Reading { verdict, suspicion, reason } = match &self.classifier {
            Some(classifier) => protocols::read_as(classifier(&response), protocol, &response),
            None => protocols::read(protocol, &response, request.context.records as u64),
        };
        let status = response.status;
        let outcome = match verdict {
            Verdict::Delivered => Outcome::Delivered(status),
            _ => Outcome::Responded(status),
        };
        let retry_after = response.retry_after(SystemTime::now());
        Judgement { verdict, suspicion, reason: shorten(reason), retry_after, status, response: response.body, outcome }
    }
}

impl Transport for HttpTransport {
    fn deliver(&self, request: Request) -> Delivery<'_> {
        Box::pin(async move {
            let headers = self.headers_for(&request).await?;
            let in_flight = request.begin();
            match self.send(&request, headers).await {
                Ok(response) => {
                    let judgement = self.judge(response, &request);
                    in_flight.end(judgement.outcome);
                    Ok(judgement)
                }
                Err(error) => {
                    let (unreachable, timed_out) = (error.is_connect(), error.is_timeout());
                    let reason = format!("the request failed: {}", error_chain(&error.without_url()));
                    in_flight.end(if unreachable { Outcome::Unreachable } else { Outcome::Interrupted });
                    Err(match (unreachable, timed_out) {
                        (true, _) => SendError::Unreachable(reason),
                        (false, true) => SendError::TimedOut(reason),
                        (false, false) => SendError::Interrupted(reason),
                    })
                }
            }
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
}

fn parse_endpoint(endpoint: &Sourced<String>) -> Result<Url, ExporterBuildError> {
    // The URL itself is not repeated: it can hold a password.
    let url = Url::parse(&endpoint.value).map_err(|error| {
        endpoint.invalid_because("it is not a URL; allowed is http://host/path or https://host/path", error)
    })?;
    if !url.has_host() {
        return Err(endpoint.invalid("it has no host; allowed is http://host/path or https://host/path"));
    }
    Ok(url)
}

/// The URL without its user and password; `None` if it is none.
pub(crate) fn public_url(url: &str) -> Option<String> {
    let mut url = Url::parse(url).ok()?;
    // Fails only for a URL that has no host, which has no password either.
    let _ = url.set_password(None).and_then(|()| url.set_username(""));
    Some(url.into())
}

fn build_client(settings: &TransportSettings, url: &Url) -> Result<Client, ExporterBuildError> {
    let TransportSettings { endpoint, connect_timeout, http: settings, .. } = settings;
    let mut builder = Client::builder()
        .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(connect_timeout.value)
        .pool_idle_timeout(settings.keep_alive)
        // A redirected POST would become a GET without its records.
        .redirect(redirect::Policy::none())
        // Delivery decides about retries.
        .retry(retry::never());
    if settings.keep_alive.is_zero() {
        builder = builder.pool_max_idle_per_host(0);
    }
    if let Some(proxy) = &settings.proxy {
        let reason = "it is not a proxy's URL; allowed is http://host:port or https://host:port";
        // The client takes other schemes, and then goes past the proxy.
        if !Url::parse(&proxy.value).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) {
            return Err(proxy.invalid(reason));
        }
        let all = Proxy::all(&proxy.value).map_err(|error| proxy.invalid_because(reason, error.without_url()))?;
        builder = builder.proxy(all);
    }
    builder = tls::configure(builder, settings, endpoint, url)?;
    builder.build().map_err(|error| {
        let given: Vec<_> =
            settings.root_certificates.iter().chain(&settings.client_identity).map(|pem| pem.source.as_str()).collect();
        let setting = if given.is_empty() { "the HTTP client".to_owned() } else { given.join(", ") };
        Sourced::new((), setting).invalid_because(error_chain(&error), error.without_url())
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Duration;

    use super::*;
    use crate::observe::stats::Counters;
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
        let now = SystemTime::now();
        Request {
            context: BatchContext {
                id: "the-id".to_owned(),
                partition_key: "tenant".to_owned(),
                records: 2,
                bytes: 5,
                first_timestamp: now,
                last_timestamp: now,
                attempt,
                age: Duration::ZERO,
            },
            content_type: "application/json".to_owned(),
            content_encoding: None,
            response_protocol: ResponseProtocol::Status,
            body: "[1,2]".into(),
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
        let classifier: Box<Classifier> = Box::new(|response| match (response.status(), response.body()) {
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
        let hook = HeaderHook::Sync(Box::new(|batch, headers| {
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
        let hook = HeaderHook::Sync(Box::new(move |_, headers| {
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
    fn an_endpoint_without_a_listener_is_unreachable() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        drop(listener);
        let (responses, counters) = deliver(settings(&url, HttpSettings::default()), 1);
        let Err(SendError::Unreachable(reason)) = &responses[0] else { panic!("{responses:?}") };
        assert!(reason.starts_with("the request failed: "), "{reason}");
        assert_eq!((counters.snapshot().requests, counters.snapshot().failed_requests), (1, 1));
    }

    #[test]
    fn a_connection_that_breaks_is_an_interruption() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        std::thread::spawn(move || drop(listener.accept().unwrap()));
        let (responses, _) = deliver(settings(&url, HttpSettings::default()), 1);
        assert!(matches!(responses[0], Err(SendError::Interrupted(_))), "{responses:?}");
    }
}
