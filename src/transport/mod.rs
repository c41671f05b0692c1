//! How a batch leaves the machine, and the judgement of what came back.
//!
//! A transport delivers a request *and judges* the response: delivery acts on its verdict and knows no status. It is chosen
//! by the scheme of the endpoint's URL: a new kind is one file and one line in [`SCHEMES`]. It knows nothing of the spool, and
//! no schedule.

pub(crate) mod contract;
#[cfg(all(feature = "relay", unix))]
mod file;
pub(crate) mod http;
mod named;
pub(crate) mod request;
pub(crate) mod settings;
#[cfg(feature = "relay")]
mod socket;
#[cfg(feature = "relay")]
pub(crate) mod url;
pub(crate) mod verdict;

use std::sync::Arc;

use crate::config::values::Origin;
use crate::error::ExporterBuildError;
use crate::transport::contract::Transport;
use crate::transport::named::Named;
use crate::transport::settings::TransportSettings;

type Open = fn(TransportSettings) -> Result<Arc<dyn Transport>, ExporterBuildError>;

/// Finds the origin of a URL; `None` if it is not one of the transport.
type OriginOf = fn(&str) -> Option<Origin>;

/// The transport of each scheme, and how it names the origin of an endpoint.
const SCHEMES: &[(&str, Open, OriginOf)] = &[
    ("http", http::open, http::origin),
    ("https", http::open, http::origin),
    #[cfg(all(feature = "relay", unix))]
    ("file", file::open, url::path_origin),
    #[cfg(feature = "relay")]
    ("tcp", socket::open_tcp, url::host_origin),
    #[cfg(feature = "relay")]
    ("udp", socket::open_udp, url::host_origin),
    #[cfg(all(feature = "relay", unix))]
    ("unix", socket::open_unix, url::path_origin),
];

/// The schemes that a build without the feature `relay` lacks.
#[cfg(not(feature = "relay"))]
const OF_RELAY: &[&str] = &["file", "tcp", "udp", "unix"];

/// Opens the transport for the endpoint's scheme. Its failures name the endpoint.
///
/// # Errors
///
/// If there is none for it, or a setting of that transport is not allowed.
pub(crate) fn open(settings: TransportSettings) -> Result<Arc<dyn Transport>, ExporterBuildError> {
    let endpoint = &settings.endpoint;
    // The URL itself is not repeated in an error: it can hold a password, also where its scheme was forgotten.
    let Some(scheme) = scheme(&endpoint.value) else {
        return Err(endpoint.invalid(format!("it is not a URL; allowed are {}", allowed_urls())));
    };
    #[cfg(not(feature = "relay"))]
    if OF_RELAY.iter().any(|known| known.eq_ignore_ascii_case(scheme)) {
        return Err(endpoint.invalid(format!("{scheme}: takes the feature `relay` of opentelemetry-spool")));
    }
    match row(scheme) {
        Some((_, open, _)) => {
            let url = endpoint.value.clone();
            Ok(Arc::new(Named::new(open(settings)?, &url)))
        }
        None => Err(endpoint.invalid(format!("its scheme is {scheme:?}; allowed are {}", allowed_schemes()))),
    }
}

fn row(scheme: &str) -> Option<&'static (&'static str, Open, OriginOf)> {
    SCHEMES.iter().find(|(known, ..)| known.eq_ignore_ascii_case(scheme))
}

/// The origin of an endpoint: whom its records are for. `None` if it is a URL of no transport, which opening one reports.
pub(crate) fn origin(url: &str) -> Option<Origin> {
    let (_, _, origin) = row(scheme(url)?)?;
    origin(url)
}

/// The scheme of a URL with an authority, or of the path of a socket: `unix:/path`.
fn scheme(url: &str) -> Option<&str> {
    let url = url.trim();
    let is_path = url.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("unix:/"));
    let (scheme, _) = url.split_once(if is_path { ":" } else { "://" })?;
    let is_scheme = |scheme: &str| scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    Some(scheme).filter(|scheme| !scheme.is_empty() && is_scheme(scheme))
}

/// The schemes that there are.
fn allowed_schemes() -> String {
    joined(SCHEMES.iter().map(|(scheme, ..)| (*scheme).to_owned()).collect())
}

/// The same as URLs.
pub(crate) fn allowed_urls() -> String {
    let url = |scheme: &str| match scheme {
        "file" | "unix" => format!("{scheme}:///path"),
        "tcp" | "udp" => format!("{scheme}://host:port"),
        _ => format!("{scheme}://host/path"),
    };
    joined(SCHEMES.iter().map(|(scheme, ..)| url(scheme)).collect())
}

fn joined(mut items: Vec<String>) -> String {
    let last = items.pop().unwrap_or_default();
    format!("{} and {last}", items.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::values::Sourced;

    fn error(endpoint: &str) -> String {
        let settings = TransportSettings::new(Sourced::new(endpoint.to_owned(), "with_endpoint"));
        open(settings).err().expect("an error").to_string()
    }

    #[cfg(all(feature = "relay", unix))]
    const SCHEMES_HERE: (&str, &str) = (
        "http, https, file, tcp, udp and unix",
        "http://host/path, https://host/path, file:///path, tcp://host:port, udp://host:port and unix:///path",
    );
    #[cfg(all(feature = "relay", not(unix)))]
    const SCHEMES_HERE: (&str, &str) =
        ("http, https, tcp and udp", "http://host/path, https://host/path, tcp://host:port and udp://host:port");
    #[cfg(not(feature = "relay"))]
    const SCHEMES_HERE: (&str, &str) = ("http and https", "http://host/path and https://host/path");

    #[test]
    fn an_endpoint_of_another_kind_is_named_by_its_scheme_alone() {
        let (schemes, urls) = SCHEMES_HERE;
        let expected = format!("`with_endpoint` is invalid: its scheme is \"ftp\"; allowed are {schemes}");
        assert_eq!(error("ftp://host"), expected);
        let no_url = format!("`with_endpoint` is invalid: it is not a URL; allowed are {urls}");
        for endpoint in
            ["", "host:4318", "s3cret@collector:4318/v1/logs", "host/in?at=12://s3cret", "s3 cret://host", "unix:path"]
        {
            assert_eq!(error(endpoint), no_url, "{endpoint}");
        }
    }

    #[test]
    fn endpoints_of_one_server_have_one_origin_and_it_shows_no_secret() {
        let origin = |url: &str| origin(url).map(|origin| origin.as_str().to_owned());
        for (url, expected) in [
            ("http://collector/v1/logs", Some("http://collector:80")),
            (" HTTP://me:s3cret@Collector:80/v1/traces?key=s3cret", Some("http://collector:80")),
            ("https://collector", Some("https://collector:443")),
            ("https://collector:4318/x", Some("https://collector:4318")),
            ("http://[::1]:4318/", Some("http://[::1]:4318")),
            ("http://", None),
            ("collector:4318", None),
            ("ftp://collector", None),
            ("", None),
        ] {
            assert_eq!(origin(url).as_deref(), expected, "{url}");
        }
        #[cfg(all(feature = "relay", unix))]
        for (url, expected) in [
            ("tcp://Graylog:12201", Some("tcp://graylog:12201")),
            ("udp://[::1]:514/", Some("udp://[::1]:514")),
            ("tcp://graylog", None),
            ("unix:/run/a%20b.sock", Some("unix:///run/a%20b.sock")),
            ("unix:///run/a%20b.sock", Some("unix:///run/a%20b.sock")),
            ("FILE:///var/log/app.log?max_bytes=1MiB", Some("file:///var/log/app.log")),
            ("file://host/app.log", None),
        ] {
            assert_eq!(origin(url).as_deref(), expected, "{url}");
        }
    }

    #[cfg(not(feature = "relay"))]
    #[test]
    fn a_scheme_that_takes_a_feature_says_so() {
        for endpoint in
            ["file:///app.log", "tcp://host:1", "udp://host:1", "unix:/run/log.sock", "unix:///run/log.sock"]
        {
            assert!(error(endpoint).ends_with(": takes the feature `relay` of opentelemetry-spool"), "{endpoint}");
        }
    }
}
