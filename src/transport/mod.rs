//! How a request leaves the machine.

mod http;

use std::future::Future;

use bytes::Bytes;

use crate::batch::Answers;
use crate::error::BoxError;
use crate::retry::Response;

pub(crate) use self::http::{HttpSettings, HttpTransport, error_chain, public_url};

/// One request, ready to be sent.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) headers: ::http::HeaderMap,
    pub(crate) body: Bytes,
    /// The body is a form, which a GET has as its query.
    pub(crate) is_form: bool,
    /// How the answer will be read.
    pub(crate) answers: Answers,
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
