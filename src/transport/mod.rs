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
const SCHEMES: [(&str, Open); 2] = [("http", http::open), ("https", http::open)];

/// Opens the transport for the endpoint's scheme.
///
/// # Errors
///
/// If there is none for it, or a setting of that transport is not allowed.
pub(crate) fn open(settings: TransportSettings) -> Result<Arc<dyn Transport>, ExporterBuildError> {
    let endpoint = &settings.endpoint;
    // The URL itself is not repeated in an error: it can hold a password.
    let Some((scheme, _)) = endpoint.value.split_once(':') else {
        return Err(endpoint.invalid("it is not a URL; allowed is http://host/path or https://host/path"));
    };
    match SCHEMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(scheme)) {
        Some((_, open)) => open(settings),
        None => Err(endpoint.invalid(format!("its scheme is {scheme:?}; allowed are http and https, with a host"))),
    }
}
