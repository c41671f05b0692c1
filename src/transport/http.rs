//! HTTP. The only file that names reqwest, apart from the setting that takes a client.

use std::fmt::Write;
use std::time::Duration;

use reqwest::{Certificate, Client, Identity, Proxy, Url, redirect, retry};

use super::{Request, SendError, Transport};
use crate::error::{BoxError, ExporterBuildError};
use crate::retry::Response;

/// How much of an answer is read: to be classified, and so that its connection can be used again.
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// The settings of the client, as they were given.
#[derive(Clone)]
pub(crate) struct HttpSettings {
    pub(crate) endpoint: Option<String>,
    pub(crate) timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) keep_alive: Duration,
    pub(crate) root_certificates: Vec<Vec<u8>>,
    pub(crate) client_identity: Option<Vec<u8>>,
    pub(crate) accept_invalid_certificates: bool,
    pub(crate) proxy: Option<String>,
    pub(crate) client: Option<Client>,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            endpoint: None,
            timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
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
    timeout: Duration,
}

fn invalid(
    setting: &'static str,
    reason: impl Into<String>,
    source: Option<impl Into<BoxError>>,
) -> ExporterBuildError {
    ExporterBuildError::Invalid { setting, reason: reason.into(), source: source.map(Into::into) }
}

impl HttpTransport {
    pub(crate) fn build(settings: &HttpSettings) -> Result<Self, ExporterBuildError> {
        let endpoint = parse_endpoint(settings.endpoint.as_deref())?;
        for (setting, value) in [("with_timeout", settings.timeout), ("with_connect_timeout", settings.connect_timeout)]
        {
            if value.is_zero() {
                return Err(invalid(setting, "a timeout of zero lets no request through", None::<BoxError>));
            }
        }
        let timeout = settings.timeout;
        let client = match settings.client.clone() {
            Some(client) => client,
            None => build_client(settings, &endpoint)?,
        };
        Ok(Self { client, endpoint, timeout })
    }
}

fn parse_endpoint(endpoint: Option<&str>) -> Result<Url, ExporterBuildError> {
    const SETTING: &str = "with_endpoint";
    let Some(endpoint) = endpoint else {
        let hint = "give the URL that records are posted to, such as https://logs.example.com/ingest";
        return Err(ExporterBuildError::Missing { setting: SETTING, hint });
    };
    // The URL itself is not repeated: it can hold a password.
    let url = Url::parse(endpoint).map_err(|error| {
        invalid(SETTING, "it is not a URL; allowed is http://host/path or https://host/path", Some(error))
    })?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        let reason = format!("its scheme is {:?}; allowed are http and https, with a host", url.scheme());
        return Err(invalid(SETTING, reason, None::<BoxError>));
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
        .connect_timeout(settings.connect_timeout)
        .pool_idle_timeout(settings.keep_alive)
        // A redirected POST would become a GET without its records.
        .redirect(redirect::Policy::none())
        // What is repeated, when and under which id, is the drain's to decide.
        .retry(retry::never())
        .tls_danger_accept_invalid_certs(settings.accept_invalid_certificates);
    if settings.keep_alive.is_zero() {
        builder = builder.pool_max_idle_per_host(0);
    }
    for pem in &settings.root_certificates {
        const SETTING: &str = "with_root_certificate_pem";
        let reason = "it is not a certificate in PEM; allowed are one or more CERTIFICATE blocks";
        let certificates = Certificate::from_pem_bundle(pem).map_err(|error| invalid(SETTING, reason, Some(error)))?;
        if certificates.is_empty() {
            return Err(invalid(SETTING, reason, None::<BoxError>));
        }
        builder = builder.tls_certs_merge(certificates);
    }
    if let Some(pem) = &settings.client_identity {
        let reason = "it is not an identity in PEM; allowed are a PRIVATE KEY and its CERTIFICATE blocks together";
        let identity =
            Identity::from_pem(pem).map_err(|error| invalid("with_client_identity_pem", reason, Some(error)))?;
        builder = builder.identity(identity);
    }
    if let Some(proxy) = &settings.proxy {
        let reason = "it is not a proxy's URL; allowed is http://host:port or https://host:port";
        // The client takes other schemes, and then goes past the proxy.
        if !Url::parse(proxy).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) {
            return Err(invalid("with_proxy", reason, None::<BoxError>));
        }
        let proxy = Proxy::all(proxy).map_err(|error| invalid("with_proxy", reason, Some(error.without_url())))?;
        builder = builder.proxy(proxy);
    }
    let proxied = settings.proxy.is_some()
        || ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"].iter().any(|name| std::env::var_os(name).is_some());
    if endpoint.scheme() == "http" && !proxied {
        // No certificate is looked at: a container without any shall not fail for that.
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(|error| {
        let setting = if settings.client_identity.is_some() || !settings.root_certificates.is_empty() {
            "with_root_certificate_pem, with_client_identity_pem"
        } else {
            "the HTTP client"
        };
        invalid(setting, error_chain(&error), Some(error.without_url()))
    })
}

/// An error and its causes in one line: the HTTP client says what happened only in the innermost one.
pub(crate) fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}

impl Transport for HttpTransport {
    async fn send(&self, request: Request) -> Result<Response, SendError> {
        let sent = self
            .client
            .post(self.endpoint.clone())
            .timeout(self.timeout)
            .headers(request.headers)
            .body(request.body)
            .send()
            .await;
        let mut answer = sent.map_err(|error| {
            let kind = if error.is_connect() { SendError::Unreachable } else { SendError::Broken };
            kind(error.without_url().into())
        })?;
        let retry_after = answer.headers().get(::http::header::RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let status = answer.status().as_u16();
        let mut body = Vec::new();
        while body.len() < MAX_ANSWER_BYTES
            && let Ok(Some(chunk)) = answer.chunk().await
        {
            let room = MAX_ANSWER_BYTES - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        }
        Ok(Response { status, retry_after, body })
    }
}
