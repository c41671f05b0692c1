//! HTTP.

pub(crate) mod client;
pub(crate) mod headers;
pub(crate) mod hook;
pub(crate) mod protocols;
pub(crate) mod response;

pub(crate) use client::{HttpSettings, HttpTransport, public_url};
