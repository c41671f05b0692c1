//! [`HttpSettings`]: the settings of HTTP alone.

use std::sync::Arc;
use std::time::Duration;

use crate::config::values::{Method, Pem, Sourced};
use crate::transport::http::headers::HeaderMap;
use crate::transport::http::hook::HeaderHook;
use crate::transport::http::response::Classifier;

#[derive(Clone)]
pub(crate) struct HttpSettings {
    pub(crate) method: Method,
    /// The headers of every request.
    pub(crate) headers: HeaderMap,
    pub(crate) hook: HeaderHook,
    /// The user's function that judges responses in place of their protocol.
    pub(crate) classifier: Option<Arc<Classifier>>,
    /// The time that an idle connection is kept; zero closes it after each request. Default: 90 s.
    pub(crate) keep_alive: Duration,
    /// The largest body of a request. Default: 64 MiB.
    pub(crate) max_request_bytes: usize,
    /// The most of a response that is read. Default: 4 MiB.
    pub(crate) max_response_bytes: usize,
    /// Whether reasons show all that a response says: it can repeat what was logged. Default: false.
    pub(crate) response_text: bool,
    pub(crate) root_certificates: Vec<Sourced<Pem>>,
    pub(crate) client_identity: Option<Sourced<Pem>>,
    pub(crate) accept_invalid_certificates: bool,
    pub(crate) proxy: Option<Sourced<String>>,
    /// The value of `Via`, where requests are forwarded.
    pub(crate) via: Option<String>,
    /// The user's client, in place of our own.
    pub(crate) client: Option<reqwest::Client>,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            method: Method::default(),
            headers: HeaderMap::new(),
            hook: HeaderHook::None,
            classifier: None,
            keep_alive: Duration::from_secs(90),
            max_request_bytes: 64 << 20,
            max_response_bytes: 4 << 20,
            response_text: false,
            root_certificates: Vec::new(),
            client_identity: None,
            accept_invalid_certificates: false,
            proxy: None,
            via: None,
            client: None,
        }
    }
}
