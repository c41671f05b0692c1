//! HTTP: a request per batch, with the headers that a hook chooses, and the response as its protocol has it.
//!
//! reqwest is named here only, and in the builder's setter that takes a client.

mod advice;
mod body;
mod break_off;
mod client;
mod clients;
mod endpoint;
pub(crate) mod headers;
pub(crate) mod hook;
mod probe;
mod protocols;
mod reading;
mod redact;
pub(crate) mod response;
pub(crate) mod settings;
mod tls;
mod way;

pub(crate) use client::open;
pub(crate) use endpoint::{GRPC_PORT, Spoken, origin, public_url, with_path_below};
