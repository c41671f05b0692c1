//! [`TransportSettings`]: the settings with which a transport is opened.

use std::time::Duration;

use crate::config::values::Sourced;
use crate::transport::http::settings::HttpSettings;

/// The settings of a transport: those of every kind, and those of HTTP.
pub(crate) struct TransportSettings {
    /// The URL that requests go to.
    pub(crate) endpoint: Sourced<String>,
    /// The longest time of a request. Default: 10 s.
    pub(crate) timeout: Sourced<Duration>,
    /// The longest time of connecting. Default: 5 s.
    pub(crate) connect_timeout: Sourced<Duration>,
    pub(crate) http: HttpSettings,
}

impl TransportSettings {
    /// The defaults.
    pub(crate) fn new(endpoint: Sourced<String>) -> Self {
        let default = |seconds| Sourced::new(Duration::from_secs(seconds), "the default");
        Self { endpoint, timeout: default(10), connect_timeout: default(5), http: HttpSettings::default() }
    }
}
