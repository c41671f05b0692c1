//! [`RequestLimits`]: sizes and times of a connection.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

/// The time for which a relay that is stopped still reads from a connection: the system may tell of what has come a moment later.
const LAST_READ: Duration = Duration::from_millis(50);

/// Waits until the relay is stopped and has read for the last time.
pub(crate) async fn last_read(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|is_stopped| *is_stopped).await;
    sleep(LAST_READ).await;
}

/// Sizes in bytes, and times, of a connection.
#[derive(Clone, Debug)]
pub(crate) struct RequestLimits {
    /// A request line. Records are sent in it. Default 8 MiB.
    pub(crate) line: usize,
    /// The headers of a request. Default 64 KiB. There are at most [`MAX_HEADERS`](super::head::MAX_HEADERS).
    pub(crate) headers: usize,
    /// Request line and headers, where the guard wants credentials and the connection has shown none. Default 64 KiB.
    pub(crate) stranger: usize,
    /// A body, as it was sent and decoded; a handler can give a path its own. Default 16 MiB.
    pub(crate) body: usize,
    /// A body that is refused and read all the same, so that the client sees the answer. Default 1 GiB.
    pub(crate) discard: u64,
    /// The time that a request may take to arrive, and a response to be written; a second more for each 64 KiB of it. The
    /// time that it waits for memory does not count. Default 10 s.
    pub(crate) slow: Duration,
    /// The time that a connection may be without a request. Default 60 s.
    pub(crate) idle: Duration,
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self {
            line: 8 << 20,
            headers: 64 << 10,
            stranger: 64 << 10,
            body: 16 << 20,
            discard: 1 << 30,
            slow: Duration::from_secs(10),
            idle: Duration::from_secs(60),
        }
    }
}
