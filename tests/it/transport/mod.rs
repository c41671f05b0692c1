mod client;
mod early;
mod headers;
mod raw;
mod responses;
#[cfg(feature = "tls")]
mod tls;
