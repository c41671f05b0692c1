//! Sockets: `tcp://host:port`, `unix:///path` and `udp://host:port`, which Python's own receivers read in the format `pickle`.
//!
//! **Delivered means written to the socket.** Nothing comes back from such a receiver: what it has not read, or read and not kept,
//! is lost when it fails. A [`stream`] is believed when the kernel's send queue is empty, so when the other kernel has the bytes (or,
//! of a Unix socket, its process), or after a second without an error. A [`datagram`] is believed at once, and its records are
//! counted as not confirmed.

mod datagram;
mod send_queue;
mod stream;

pub(crate) use datagram::open_udp;
pub(crate) use stream::open_tcp;
#[cfg(unix)]
pub(crate) use stream::open_unix;
