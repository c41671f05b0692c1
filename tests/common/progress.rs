//! Waiting as long as something moves.

use std::thread;
use std::time::{Duration, Instant};

/// A figure that has not moved for so long is stuck, however busy the machine is.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A figure that goes round in circles moves as well, and a test that hangs shows nothing: none waits longer than this
/// for one thing.
pub const AT_MOST: Duration = Duration::from_secs(20 * 60);

/// Watches a figure: a wait ends when it stands still, not after a time that is enough on most machines.
pub struct Progress<T> {
    seen: Option<T>,
    moved: Instant,
    began: Instant,
}

impl<T: PartialEq> Progress<T> {
    pub fn new() -> Self {
        let now = Instant::now();
        Self { seen: None, moved: now, began: now }
    }

    /// Notes where the figure stands now. Gives how long to wait for its next move; nothing if it is stuck.
    pub fn at(&mut self, figure: T) -> Option<Duration> {
        if self.seen.as_ref() != Some(&figure) {
            (self.seen, self.moved) = (Some(figure), Instant::now());
        }
        let left = PATIENCE.checked_sub(self.moved.elapsed())?;
        (self.began.elapsed() < AT_MOST).then_some(left)
    }
}

impl<T: PartialEq> Default for Progress<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Waits until `condition` has a value. Nothing tells when, so this asks again.
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let mut progress = Progress::new();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(progress.at(()).is_some(), "waited {PATIENCE:?} in vain for {what}");
        thread::sleep(Duration::from_millis(2));
    }
}
