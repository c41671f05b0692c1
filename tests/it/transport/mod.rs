mod client;
mod early;
mod early_answers;
mod headers;
mod raw;
mod responses;
#[cfg(feature = "tls")]
mod tls;
