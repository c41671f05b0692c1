mod client;
mod headers;
#[cfg(feature = "tls")]
mod tls;
