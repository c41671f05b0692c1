mod client;
mod early;
mod early_answers;
#[cfg(all(feature = "relay", unix))]
mod files;
mod headers;
mod raw;
mod responses;
#[cfg(feature = "relay")]
mod sockets;
#[cfg(feature = "tls")]
mod tls;
