//! [`TransportSettings`]: the settings with which a transport is opened.

use std::time::Duration;

#[cfg(feature = "relay")]
use crate::config::values::Method;
use crate::config::values::{DEFAULT_SOURCE, Sourced};
use crate::encode::framing::Framing;
use crate::error::ExporterBuildError;
#[cfg(feature = "relay")]
use crate::transport::http::hook::HeaderHook;
use crate::transport::http::settings::HttpSettings;

/// The settings of a transport: those of every kind, and those of HTTP.
#[derive(Clone)]
pub(crate) struct TransportSettings {
    /// The URL that requests go to.
    pub(crate) endpoint: Sourced<String>,
    /// The longest time of a request. Default: 10 s.
    pub(crate) timeout: Sourced<Duration>,
    /// The longest time of connecting. Default: 5 s.
    pub(crate) connect_timeout: Sourced<Duration>,
    /// The framing of the exporter's records, if there is an exporter. The spool may hold others as well.
    pub(crate) framing: Option<Framing>,
    /// New records are stored with gzip.
    #[cfg_attr(not(feature = "relay"), expect(dead_code, reason = "HTTP takes gzip"))]
    pub(crate) gzip: Option<Sourced<()>>,
    pub(crate) http: HttpSettings,
}

impl TransportSettings {
    /// The defaults.
    pub(crate) fn new(endpoint: Sourced<String>) -> Self {
        let default = |seconds| Sourced::new(Duration::from_secs(seconds), DEFAULT_SOURCE);
        Self {
            endpoint,
            timeout: default(10),
            connect_timeout: default(5),
            framing: None,
            gzip: None,
            http: HttpSettings::default(),
        }
    }

    /// # Errors
    ///
    /// If there is a timeout of zero.
    pub(crate) fn check_timeouts(&self) -> Result<(), ExporterBuildError> {
        let zero = [&self.timeout, &self.connect_timeout].into_iter().find(|timeout| timeout.value.is_zero());
        let reason = "a timeout of zero lets no request through; allowed are longer ones, such as 10s";
        zero.map_or(Ok(()), |timeout| Err(timeout.invalid(reason)))
    }

    /// The check of a transport that is not HTTP, and that an error calls so.
    ///
    /// # Errors
    ///
    /// If there is a setting that HTTP alone has a use for, or a timeout of zero.
    #[cfg(feature = "relay")]
    pub(crate) fn check_without_http(&self, transport: &str) -> Result<(), ExporterBuildError> {
        self.check_timeouts()?;
        let http = &self.http;
        let certificates = http.root_certificates.iter().chain(&http.client_identity);
        let code = [
            (!http.headers.is_empty(), "with_headers"),
            (!matches!(http.hook, HeaderHook::None), "with_header_hook"),
            (http.classifier.is_some(), "with_response_classifier"),
            (http.method == Method::Get, "with_method"),
            (http.client.is_some(), "with_http_client"),
            (http.accept_invalid_certificates, "with_danger_accept_invalid_certificates"),
        ];
        let code = code.into_iter().filter(|(given, _)| *given).map(|(_, setting)| setting);
        let given = code
            .chain(self.gzip.iter().map(|gzip| &*gzip.source))
            .chain(certificates.map(|pem| &*pem.source))
            .chain(http.proxy.iter().map(|proxy| &*proxy.source));
        match given.into_iter().next() {
            Some(setting) => {
                Err(Sourced::new((), setting).invalid(format!("{transport} has no use for it; leave it out")))
            }
            None => Ok(()),
        }
    }
}
