//! HTTP: a request per batch, with the headers that a hook chooses, and the response as its protocol has it.
//!
//! reqwest is named in `client.rs`, `tls.rs` and `settings.rs` only, and in the builder's setter that takes a client.

mod client;
pub(crate) mod headers;
pub(crate) mod hook;
mod protocols;
pub(crate) mod response;
pub(crate) mod settings;
mod tls;

pub(crate) use client::{open, public_url};
