//! How a batch leaves the machine, and the judgement of what came back.
//!
//! A transport delivers a request *and judges* the response: delivery acts on its verdict and knows no status. It is chosen
//! by the scheme of the endpoint's URL: a new kind is one file and one line in [`SCHEMES`]. It knows no disk and no
//! schedule.

pub(crate) mod contract;
pub(crate) mod http;
pub(crate) mod request;
pub(crate) mod settings;
pub(crate) mod verdict;

use std::sync::Arc;

use crate::error::ExporterBuildError;
use crate::transport::contract::Transport;
use crate::transport::settings::TransportSettings;

type Open = fn(TransportSettings) -> Result<Arc<dyn Transport>, ExporterBuildError>;

/// The transport of each scheme.
const SCHEMES: &[(&str, Open)] = &[("http", http::open), ("https", http::open)];

/// Opens the transport for the endpoint's scheme.
///
/// # Errors
///
/// If there is none for it, or a setting of that transport is not allowed.
pub(crate) fn open(settings: TransportSettings) -> Result<Arc<dyn Transport>, ExporterBuildError> {
    let endpoint = &settings.endpoint;
    // The URL itself is not repeated in an error: it can hold a password, also where its scheme was forgotten.
    let Some(scheme) = scheme(&endpoint.value) else {
        return Err(endpoint.invalid(format!("it is not a URL; allowed are {}", allowed("://host/path"))));
    };
    match SCHEMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(scheme)) {
        Some((_, open)) => open(settings),
        None => Err(endpoint.invalid(format!("its scheme is {scheme:?}; allowed are {}", allowed("")))),
    }
}

/// The scheme of a URL with an authority.
fn scheme(url: &str) -> Option<&str> {
    let (scheme, _) = url.trim().split_once("://")?;
    let is_scheme = |scheme: &str| scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    Some(scheme).filter(|scheme| !scheme.is_empty() && is_scheme(scheme))
}

/// The schemes that there are, each with this behind it.
fn allowed(behind: &str) -> String {
    SCHEMES.iter().map(|(scheme, _)| format!("{scheme}{behind}")).collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::values::Sourced;

    fn error(endpoint: &str) -> String {
        let settings = TransportSettings::new(Sourced::new(endpoint.to_owned(), "with_endpoint"));
        open(settings).err().expect("an error").to_string()
    }

    #[test]
    fn an_endpoint_of_another_kind_is_named_by_its_scheme_alone() {
        assert_eq!(
            error("ftp://host"),
            "`with_endpoint` is invalid: its scheme is \"ftp\"; allowed are http and https"
        );
        let no_url = "`with_endpoint` is invalid: it is not a URL; allowed are http://host/path and https://host/path";
        for endpoint in ["", "host:4318", "s3cret@collector:4318/v1/logs", "host/in?at=12://s3cret", "s3 cret://host"] {
            assert_eq!(error(endpoint), no_url, "{endpoint}");
        }
    }
}
