mod client;
mod early_answers;
mod headers;
#[cfg(feature = "tls")]
mod tls;
