//! How a request leaves the machine.

pub(crate) mod http;
pub(crate) mod request;
pub(crate) mod verdict;

use std::future::Future;

use bytes::Bytes;

use crate::encode::framing::ResponseProtocol;
use crate::error::BoxError;
use crate::transport::http::response::Response;

/// One request, ready to be sent.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) headers: ::http::HeaderMap,
    pub(crate) body: Bytes,
    /// The body is a form, which a GET has as its query.
    pub(crate) is_form: bool,
    /// How the answer will be read.
    pub(crate) response_protocol: ResponseProtocol,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum SendError {
    /// There was no connection, which is so for every request.
    Unreachable(BoxError),
    /// It was broken off, or took too long.
    Broken(BoxError),
}

/// Sends requests. No answer at all is an error; an answer, whatever it says, is not.
pub(crate) trait Transport: Send + Sync + 'static {
    fn send(&self, request: Request) -> impl Future<Output = Result<Response, SendError>> + Send;
}
