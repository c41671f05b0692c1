//! [`Clients`]: the client that sends requests, which is made again when its connections or its certificates are of no use
//! any more.
//!
//! A client keeps its connections and reads its certificates once. So a new one takes its place where no connection may be
//! used again, and where a file of certificates has other contents than before. Host names are looked up for each connection:
//! no address outlives it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reqwest::{Client, ClientBuilder, Proxy, Url, redirect, retry};

use crate::config::values::{Pem, Sourced};
use crate::error::{ExporterBuildError, error_chain};
use crate::transport::http::break_off::BreakOff;
use crate::transport::http::endpoint::lacks_authority;
use crate::transport::http::tls;
use crate::transport::settings::TransportSettings;

/// OpenTelemetry's specification of exporters asks for the exporter, its language and its version, in this form:
/// <https://opentelemetry.io/docs/specs/otel/protocol/exporter/#user-agent>.
const USER_AGENT: &str = concat!("OTel-Spool-Exporter-Rust/", env!("CARGO_PKG_VERSION"));

/// The time after which the files of certificates are looked at again, if no request fails before.
const LOOK_EVERY: Duration = Duration::from_secs(60);

pub(super) struct Clients {
    url: Url,
    current: Mutex<Current>,
}

struct Current {
    client: Client,
    /// The settings that the client is made from; none for a client of the user's own, which is used as it is.
    settings: Option<TransportSettings>,
    looked: Instant,
}

impl Clients {
    /// Makes the first client, or takes the user's own.
    ///
    /// # Errors
    ///
    /// If a setting is not allowed.
    pub(super) fn open(mut settings: TransportSettings, url: Url) -> Result<Self, ExporterBuildError> {
        let (client, settings) = match settings.http.client.take() {
            Some(client) => (client, None),
            None => (build(&settings, &url)?, Some(settings)),
        };
        Ok(Self { url, current: Mutex::new(Current { client, settings, looked: Instant::now() }) })
    }

    /// The client for the next request.
    pub(super) fn get(&self) -> Client {
        let mut current = self.current();
        if current.looked.elapsed() >= LOOK_EVERY {
            self.look(&mut current);
        }
        current.client.clone()
    }

    /// A client that connects as the others do and breaks each connection off before anything is sent on it; `None` beside a client of
    /// the user's own, which cannot be had so.
    pub(super) fn breaking_off(&self) -> Option<Result<Client, ExporterBuildError>> {
        let current = self.current();
        let settings = current.settings.as_ref()?;
        Some(build_as(settings, &self.url, |builder| builder.connector_layer(BreakOff)))
    }

    /// Whether a server's certificate counts, as far as that is known.
    pub(super) fn checks_certificates(&self) -> bool {
        self.current().settings.as_ref().is_none_or(|settings| !settings.http.accept_invalid_certificates)
    }

    /// Looks whether the certificates have changed: a request found no connection, or one that broke.
    pub(super) fn look_again(&self) {
        self.look(&mut self.current());
    }

    /// Has no connection used again that is open now.
    pub(super) fn renew(&self) {
        let mut current = self.current();
        let Some(client) = current.settings.as_ref().and_then(|settings| build(settings, &self.url).ok()) else {
            return;
        };
        current.client = client;
    }

    /// Makes a client with the certificates that the files hold now, if they are others. What makes no client, such as half a
    /// file, is looked at again later.
    fn look(&self, current: &mut Current) {
        current.looked = Instant::now();
        let Some(settings) = &mut current.settings else { return };
        let read = |pem: &Sourced<Pem>| Sourced { value: pem.value.read_again(), source: pem.source.clone() };
        let roots: Vec<_> = settings.http.root_certificates.iter().map(read).collect();
        let identity = settings.http.client_identity.as_ref().map(read);
        if (&roots, &identity) == (&settings.http.root_certificates, &settings.http.client_identity) {
            return;
        }
        let old_roots = std::mem::replace(&mut settings.http.root_certificates, roots);
        let old_identity = std::mem::replace(&mut settings.http.client_identity, identity);
        match build(settings, &self.url) {
            Ok(client) => current.client = client,
            Err(_) => {
                (settings.http.root_certificates, settings.http.client_identity) = (old_roots, old_identity);
            }
        }
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The URL of the proxy that is set.
///
/// # Errors
///
/// If it is none.
pub(super) fn proxy_url(settings: &TransportSettings) -> Result<Option<Url>, ExporterBuildError> {
    let Some(proxy) = &settings.http.proxy else { return Ok(None) };
    // The client takes other schemes, and then goes past the proxy.
    match Url::parse(&proxy.value) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() && !lacks_authority(&proxy.value) => {
            Ok(Some(url))
        }
        _ => Err(proxy.invalid(NO_PROXY_URL)),
    }
}

const NO_PROXY_URL: &str = "it is not a proxy's URL; allowed is http://host:port or https://host:port";

fn build(settings: &TransportSettings, url: &Url) -> Result<Client, ExporterBuildError> {
    build_as(settings, url, |builder| builder)
}

/// The same with what else is done to the client.
fn build_as(
    settings: &TransportSettings,
    url: &Url,
    adapt: impl Fn(ClientBuilder) -> ClientBuilder,
) -> Result<Client, ExporterBuildError> {
    let proxy = proxy_url(settings)?;
    let with = |system_certificates| build_with(settings, url, system_certificates, &adapt);
    match tls::trust(url, proxy.as_ref()) {
        tls::Trust::Needed => with(true),
        tls::Trust::Possible => with(true).or_else(|_| with(false)),
        tls::Trust::Unused => with(false),
    }
}

fn build_with(
    settings: &TransportSettings,
    url: &Url,
    system_certificates: bool,
    adapt: impl Fn(ClientBuilder) -> ClientBuilder,
) -> Result<Client, ExporterBuildError> {
    let TransportSettings { endpoint, connect_timeout, http: settings, .. } = settings;
    let mut builder = Client::builder()
        .user_agent(USER_AGENT)
        // HTTP/2 could be on by a feature that another crate asks for, and has failures of its own.
        .http1_only()
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
        let all = Proxy::all(&proxy.value).map_err(|error| proxy.invalid_because(NO_PROXY_URL, error.without_url()))?;
        builder = builder.proxy(all);
    }
    builder = tls::configure(builder, settings, endpoint, url, system_certificates)?;
    adapt(builder).build().map_err(|error| {
        let given: Vec<_> =
            settings.root_certificates.iter().chain(&settings.client_identity).map(|pem| pem.source.as_str()).collect();
        let setting = if given.is_empty() { "the HTTP client".to_owned() } else { given.join(", ") };
        Sourced::new((), setting).invalid_because(error_chain(&error), error.without_url())
    })
}
