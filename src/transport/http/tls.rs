//! TLS of the client, which needs the feature `tls`.

#[cfg(feature = "tls")]
use reqwest::{Certificate, Identity};
use reqwest::{ClientBuilder, Url};

use crate::config::values::Sourced;
use crate::error::ExporterBuildError;
use crate::transport::http::settings::HttpSettings;

/// Whether the certificates of the system's authorities are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    Needed,
    /// By a proxy that the environment names, which may not be asked for this endpoint.
    Possible,
    /// There is no TLS: an image without any certificate will do.
    Unused,
}

/// Whether they are used on the way to the endpoint, through the proxy that is set or those of the environment.
pub(super) fn trust(url: &Url, proxy: Option<&Url>) -> Trust {
    let is_https = |name: &&str| {
        let value = std::env::var(name).unwrap_or_default();
        value.trim().get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:"))
    };
    if url.scheme() == "https" || proxy.is_some_and(|proxy| proxy.scheme() == "https") {
        Trust::Needed
    } else if proxy.is_none() && ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"].iter().any(is_https) {
        Trust::Possible
    } else {
        Trust::Unused
    }
}

/// Adds certificates, the client's identity and the trust in invalid ones.
///
/// # Errors
///
/// If a PEM is not what its setting takes.
#[cfg(feature = "tls")]
pub(super) fn configure(
    mut builder: ClientBuilder,
    settings: &HttpSettings,
    _endpoint: &Sourced<String>,
    _url: &Url,
    system_certificates: bool,
) -> Result<ClientBuilder, ExporterBuildError> {
    builder = builder.tls_danger_accept_invalid_certs(settings.accept_invalid_certificates);
    for pem in &settings.root_certificates {
        let reason = "it is not a certificate in PEM; allowed are one or more CERTIFICATE blocks";
        let certificates =
            Certificate::from_pem_bundle(&pem.value.contents).map_err(|error| pem.invalid_because(reason, error))?;
        if certificates.is_empty() {
            return Err(pem.invalid(reason));
        }
        builder = builder.tls_certs_merge(certificates);
    }
    if let Some(pem) = &settings.client_identity {
        let reason = "it is not an identity in PEM; allowed are a PRIVATE KEY and its CERTIFICATE blocks together";
        let identity = Identity::from_pem(&pem.value.contents).map_err(|error| pem.invalid_because(reason, error))?;
        builder = builder.identity(identity);
    }
    if !system_certificates {
        builder = builder.tls_certs_only([]);
    }
    Ok(builder)
}

/// Adds nothing: this build has no TLS. Accepting invalid certificates asks for nothing without them.
///
/// # Errors
///
/// If a setting is possible with TLS alone.
#[cfg(not(feature = "tls"))]
pub(super) fn configure(
    builder: ClientBuilder,
    settings: &HttpSettings,
    endpoint: &Sourced<String>,
    url: &Url,
    _system_certificates: bool,
) -> Result<ClientBuilder, ExporterBuildError> {
    let missing = |what| format!("{what} takes the feature `tls` of opentelemetry-spool, which this build is without");
    if url.scheme() == "https" {
        return Err(endpoint.invalid(missing("https")));
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
