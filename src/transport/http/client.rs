//! HTTP. The only file that names reqwest, apart from the setting that takes a client.

use std::time::Duration;

#[cfg(feature = "tls")]
use reqwest::{Certificate, Identity};
use reqwest::{Client, ClientBuilder, Proxy, RequestBuilder, Url, redirect, retry};

use crate::config::table::Sourced;
use crate::config::values::Method;
use crate::encode::framing::ResponseProtocol;
use crate::error::ExporterBuildError;
use crate::error::error_chain;
use crate::transport::http::response::Response;
use crate::transport::{Request, SendError, Transport};

/// The longest URL that the client takes.
const MAX_URL_BYTES: usize = 65_534;

/// The settings of the client.
#[derive(Clone)]
pub(crate) struct HttpSettings {
    pub(crate) endpoint: Sourced<String>,
    pub(crate) method: Method,
    pub(crate) timeout: Sourced<Duration>,
    pub(crate) connect_timeout: Sourced<Duration>,
    pub(crate) keep_alive: Duration,
    pub(crate) root_certificates: Vec<Sourced<Vec<u8>>>,
    pub(crate) client_identity: Option<Sourced<Vec<u8>>>,
    pub(crate) accept_invalid_certificates: bool,
    pub(crate) proxy: Option<Sourced<String>>,
    pub(crate) client: Option<Client>,
}

impl HttpSettings {
    /// The defaults.
    pub(crate) fn new(endpoint: Sourced<String>) -> Self {
        let default = |duration| Sourced::new(duration, "the default");
        Self {
            endpoint,
            method: Method::default(),
            timeout: default(Duration::from_secs(10)),
            connect_timeout: default(Duration::from_secs(5)),
            keep_alive: Duration::from_secs(90),
            root_certificates: Vec::new(),
            client_identity: None,
            accept_invalid_certificates: false,
            proxy: None,
            client: None,
        }
    }
}

#[derive(Debug)]
pub(crate) struct HttpTransport {
    client: Client,
    endpoint: Url,
    method: Method,
    timeout: Duration,
}

impl HttpTransport {
    pub(crate) fn build(settings: &HttpSettings) -> Result<Self, ExporterBuildError> {
        let endpoint = parse_endpoint(&settings.endpoint)?;
        for timeout in [&settings.timeout, &settings.connect_timeout] {
            if timeout.value.is_zero() {
                return Err(timeout.invalid("a timeout of zero lets no request through"));
            }
        }
        let (method, timeout) = (settings.method, settings.timeout.value);
        let client = match settings.client.clone() {
            Some(client) => client,
            None => build_client(settings, &endpoint)?,
        };
        Ok(Self { client, endpoint, method, timeout })
    }

    /// Where a request goes, and what it carries. With GET a form is the query, after one that the URL has already. The
    /// length of a URL that no client sends is an error.
    fn request(&self, request: Request) -> Result<RequestBuilder, usize> {
        let Request { mut headers, body, is_form, .. } = request;
        let mut url = self.endpoint.clone();
        let form = std::str::from_utf8(&body).ok().filter(|_| self.method == Method::Get && is_form);
        let Some(form) = form else { return Ok(self.client.post(url).headers(headers).body(body)) };
        let query = [url.query().unwrap_or_default(), form];
        let query = query.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("&");
        url.set_query(Some(&query));
        if url.as_str().len() > MAX_URL_BYTES {
            return Err(url.as_str().len());
        }
        headers.remove(::http::header::CONTENT_TYPE);
        Ok(self.client.get(url).headers(headers))
    }

    /// The endpoint's host, without what marks an IPv6 address in a URL, and its port.
    #[cfg(feature = "metrics")]
    pub(crate) fn server(&self) -> (String, Option<u16>) {
        let host = self.endpoint.host_str().unwrap_or_default();
        (host.trim_matches(['[', ']']).to_owned(), self.endpoint.port_or_known_default())
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn method(&self) -> &'static str {
        match self.method {
            Method::Get => "GET",
            Method::Post => "POST",
        }
    }
}

fn parse_endpoint(endpoint: &Sourced<String>) -> Result<Url, ExporterBuildError> {
    // The URL itself is not repeated: it can hold a password.
    let url = Url::parse(&endpoint.value).map_err(|error| {
        endpoint.invalid_because("it is not a URL; allowed is http://host/path or https://host/path", error)
    })?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        let reason = format!("its scheme is {:?}; allowed are http and https, with a host", url.scheme());
        return Err(endpoint.invalid(reason));
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

fn build_client(settings: &HttpSettings, endpoint: &Url) -> Result<Client, ExporterBuildError> {
    let mut builder = Client::builder()
        .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(settings.connect_timeout.value)
        .pool_idle_timeout(settings.keep_alive)
        // A redirected POST would become a GET without its records.
        .redirect(redirect::Policy::none())
        // What is repeated, when and under which id, is the drain's to decide.
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
    builder = with_tls(builder, settings, endpoint)?;
    builder.build().map_err(|error| {
        let given: Vec<_> =
            settings.root_certificates.iter().chain(&settings.client_identity).map(|pem| pem.by.as_str()).collect();
        let setting = if given.is_empty() { "the HTTP client".to_owned() } else { given.join(", ") };
        Sourced::new((), setting).invalid_because(error_chain(&error), error.without_url())
    })
}

/// Adds what concerns TLS.
#[cfg(feature = "tls")]
fn with_tls(
    mut builder: ClientBuilder,
    settings: &HttpSettings,
    endpoint: &Url,
) -> Result<ClientBuilder, ExporterBuildError> {
    builder = builder.tls_danger_accept_invalid_certs(settings.accept_invalid_certificates);
    for pem in &settings.root_certificates {
        let reason = "it is not a certificate in PEM; allowed are one or more CERTIFICATE blocks";
        let certificates =
            Certificate::from_pem_bundle(&pem.value).map_err(|error| pem.invalid_because(reason, error))?;
        if certificates.is_empty() {
            return Err(pem.invalid(reason));
        }
        builder = builder.tls_certs_merge(certificates);
    }
    if let Some(pem) = &settings.client_identity {
        let reason = "it is not an identity in PEM; allowed are a PRIVATE KEY and its CERTIFICATE blocks together";
        let identity = Identity::from_pem(&pem.value).map_err(|error| pem.invalid_because(reason, error))?;
        builder = builder.identity(identity);
    }
    let proxied = settings.proxy.is_some()
        || ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"].iter().any(|name| std::env::var_os(name).is_some());
    if endpoint.scheme() == "http" && !proxied {
        // No certificate is looked at: a container without any shall not fail for that.
        builder = builder.tls_certs_only([]);
    }
    Ok(builder)
}

/// Refuses what only TLS makes possible. A switch that accepts invalid certificates asks for nothing without them.
#[cfg(not(feature = "tls"))]
fn with_tls(
    builder: ClientBuilder,
    settings: &HttpSettings,
    endpoint: &Url,
) -> Result<ClientBuilder, ExporterBuildError> {
    let missing = |what| format!("{what} takes the feature `tls` of opentelemetry-spool, which this build is without");
    if endpoint.scheme() == "https" {
        return Err(settings.endpoint.invalid(missing("https")));
    }
    if let Some(pem) = settings.root_certificates.iter().chain(&settings.client_identity).next() {
        return Err(pem.invalid(missing("a certificate")));
    }
    match &settings.proxy {
        Some(proxy) if Url::parse(&proxy.value).is_ok_and(|url| url.scheme() == "https") => {
            Err(proxy.invalid(missing("a proxy with https")))
        }
        _ => Ok(builder),
    }
}

impl Transport for HttpTransport {
    async fn send(&self, request: Request) -> Result<Response, SendError> {
        let response_protocol = request.response_protocol;
        let sent = match self.request(request) {
            Ok(request) => request.timeout(self.timeout).send().await,
            Err(bytes) => {
                let body = format!("a URL of {bytes} bytes cannot be sent").into_bytes();
                return Ok(Response { status: 414, retry_after: None, body });
            }
        };
        let mut answer = sent.map_err(|error| {
            let kind = if error.is_connect() { SendError::Unreachable } else { SendError::Broken };
            kind(error.without_url().into())
        })?;
        let retry_after = answer.headers().get(::http::header::RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let status = answer.status().as_u16();
        // Of a success that only its body tells, half of it tells nothing.
        let needed = response_protocol != ResponseProtocol::Status && answer.status().is_success();
        let mut body = Vec::new();
        while body.len() < response_protocol.max_bytes() {
            match answer.chunk().await {
                Ok(Some(chunk)) => {
                    let room = response_protocol.max_bytes() - body.len();
                    body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                }
                Err(error) if needed => return Err(SendError::Broken(error.without_url().into())),
                Ok(None) | Err(_) => break,
            }
        }
        Ok(Response { status, retry_after, body })
    }
}
