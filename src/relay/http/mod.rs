//! The relay's HTTP/1 server: a stream of bytes in, requests to a [`Handler`](handler::Handler), answers out.
//!
//! ```text
//!  bytes -> head -> guard -> body: chunks, gzip -> surplus -> handler -> response -> bytes
//!           └── any of these refuses: the rest of the body is discarded, the answer closes the connection
//! ```
//!
//! It is a server of its own, because the clients of the relay send what other servers refuse: request lines of several
//! megabytes, targets without a slash, a `Content-length` that is too small. It knows neither logs nor the spool.
//!
//! | file | subject |
//! |---|---|
//! | `connection` | the order of things: one request after the other, times, the end |
//! | `head` | the request line and the headers |
//! | `body`, `coding` | where a body ends; gzip and deflate |
//! | `surplus` | form bodies that are longer or shorter than their `Content-length` says |
//! | `guard` | who may send: no browser, no stranger, not the relay itself |
//! | `budget` | the memory that all bodies share |
//! | `handler`, `response`, `refusal`, `limits` | what the server and its user exchange |
//!
//! Head and body are read by code without sockets and time, in `HeadReader` and `BodyReader`: what they read depends on the
//! bytes alone, however they are cut into pieces.

mod body;
pub(crate) mod budget;
mod coding;
pub(crate) mod connection;
pub(crate) mod guard;
pub(crate) mod handler;
pub(crate) mod head;
pub(crate) mod limits;
#[cfg(any(test, fuzzing))]
pub(crate) mod pieces;
pub(crate) mod refusal;
pub(crate) mod response;
mod surplus;
