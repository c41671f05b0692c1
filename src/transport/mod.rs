//! How a request leaves the machine.

mod http;

use std::future::Future;

use crate::error::BoxError;

pub(crate) use self::http::{HttpSettings, HttpTransport, error_chain};

/// One request, ready to be sent.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) headers: ::http::HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// What of an answer matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<String>,
}

/// Sends requests. No answer at all is an error; an answer, whatever it says, is not.
pub(crate) trait Transport: Send + Sync + 'static {
    fn send(&self, request: Request) -> impl Future<Output = Result<Response, BoxError>> + Send;
}
