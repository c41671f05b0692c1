//! Waiting for a condition.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// Waits for a condition, at most for `at_most`; returns whether it came true.
pub(crate) fn wait_until(at_most: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + at_most;
    while !condition() {
        if Instant::now() > deadline {
            return false;
        }
        sleep(Duration::from_millis(50));
    }
    true
}
