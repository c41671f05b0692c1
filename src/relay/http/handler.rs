//! [`Handler`]: who takes the requests of a connection; and [`Incoming`], a request.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;

use super::budget::Permit;
use super::head::Head;
use super::refusal::Refusal;
use super::response::Response;
use crate::relay::protocol::Request;

/// A request with its body.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) head: Head,
    /// Without chunks and content coding.
    pub(crate) body: Bytes,
    /// The client had cut the body.
    pub(crate) cut: bool,
    /// The memory of the body, and of a long request line. Keep it as long as these.
    #[cfg_attr(not(test), expect(dead_code, reason = "it is held, not read"))]
    pub(crate) permit: Permit,
}

impl Incoming {
    /// The request as protocols see it.
    pub(crate) fn request(&self) -> Request<'_> {
        self.head.request(self.cut)
    }
}

/// A request that the server refused itself.
#[derive(Debug)]
pub(crate) struct Refused<'a> {
    pub(crate) refusal: Refusal,
    /// Its connection has not shown the credentials that it needs.
    pub(crate) is_stranger: bool,
    /// Its head, if that was read.
    pub(crate) request: Option<Request<'a>>,
}

/// The response that a handler will give.
pub(crate) type Answering<'a> = Pin<Box<dyn Future<Output = Response> + Send + 'a>>;

/// Takes the requests of connections.
pub(crate) trait Handler: Send + Sync {
    /// Answers a request. A connection has one request at a time.
    fn handle<'a>(&'a self, incoming: Incoming, peer: &'a str) -> Answering<'a>;

    /// The limit of a body in bytes, as it is sent and decoded, where it is not that of the connection.
    fn max_body(&self, request: &Request<'_>) -> Option<usize> {
        let _ = request;
        None
    }

    /// Counts a request that the server has refused itself.
    fn refused(&self, refused: &Refused<'_>);
}
