//! TLS of the client, which needs the feature `tls`.

#[cfg(feature = "tls")]
use reqwest::{Certificate, Identity};
use reqwest::{ClientBuilder, Url};

use crate::config::values::Sourced;
use crate::error::ExporterBuildError;
use crate::transport::http::settings::HttpSettings;

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
    url: &Url,
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
    if url.scheme() == "http" && !proxied {
        // No certificate is checked, so a container without any must not fail.
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
