//! [`Budget`]: the memory that everything on its way through the relay shares.
//!
//! Who reads from a client that waits, waits too; who cannot make its client wait does without. Memory that is taken is given
//! back when its [`Permit`] is dropped, which travels with the bytes.
//!
//! Several bodies that are half read could wait for one another for ever. So one of them at a time may take more than there
//! is, and ends; the memory is bounded by the budget and one body.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The budget of many [`Permit`]s. A clone is the same budget.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    free: Arc<Semaphore>,
    /// Held by who takes more than there is.
    overdraft: Arc<Semaphore>,
    total: usize,
}

impl Budget {
    /// A budget of so many bytes, at most 4 GiB.
    pub(crate) fn new(bytes: usize) -> Self {
        let total = bytes.min(u32::MAX as usize);
        Self { free: Arc::new(Semaphore::new(total)), overdraft: Arc::new(Semaphore::new(1)), total }
    }

    /// The bytes that are free.
    #[cfg(test)]
    pub(crate) fn available(&self) -> usize {
        self.free.available_permits()
    }

    /// A permit for nothing, which can grow.
    pub(crate) fn permit(&self) -> Permit {
        Permit { budget: self.clone(), held: None, overdraft: None }
    }

    /// A permit for so many bytes if they are free.
    pub(crate) fn try_take(&self, bytes: usize) -> Option<Permit> {
        let mut permit = self.permit();
        permit.try_grow(bytes).then_some(permit)
    }
}

/// Bytes of a [`Budget`], given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    budget: Budget,
    held: Option<OwnedSemaphorePermit>,
    overdraft: Option<OwnedSemaphorePermit>,
}

impl Permit {
    /// The bytes that it holds.
    pub(crate) fn bytes(&self) -> usize {
        self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }

    /// Waits until it holds so many bytes, or may use them without. What holds nothing waits for its turn; what holds some
    /// already is on its way, and ends by the overdraft at the latest.
    pub(crate) async fn cover(&mut self, bytes: usize) {
        let more = bytes.saturating_sub(self.bytes());
        if self.overdraft.is_some() || self.try_grow(more) {
            return;
        }
        let taken = Arc::clone(&self.budget.free).acquire_many_owned(count(more.min(self.budget.total)));
        let Some(held) = &mut self.held else {
            self.held = taken.await.ok();
            return;
        };
        tokio::select! {
            biased;
            Ok(more) = taken => held.merge(more),
            Ok(overdraft) = Arc::clone(&self.budget.overdraft).acquire_owned() => self.overdraft = Some(overdraft),
        }
    }

    /// Gives back what is more than so many bytes.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        let surplus = self.bytes().saturating_sub(bytes);
        drop(self.held.as_mut().and_then(|held| held.split(surplus)));
    }

    fn try_grow(&mut self, more: usize) -> bool {
        if more == 0 {
            return true;
        }
        if more > self.budget.total {
            return false;
        }
        let Ok(more) = Arc::clone(&self.budget.free).try_acquire_many_owned(count(more)) else { return false };
        match &mut self.held {
            Some(held) => held.merge(more),
            held => *held = Some(more),
        }
        true
    }
}

/// A number of bytes as the semaphore counts; a budget has no more.
fn count(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Whether it does not end by itself.
    async fn waits(future: impl Future<Output = ()>) -> bool {
        tokio::time::timeout(Duration::from_secs(3600), future).await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_used_up_is_waited_for_or_done_without() {
        let budget = Budget::new(100);
        let (taken, mut waiting) = (budget.try_take(70).unwrap(), budget.permit());
        assert!(budget.try_take(31).is_none());
        {
            let mut cover = Box::pin(waiting.cover(60));
            assert!(waits(cover.as_mut()).await);
            drop(taken);
            assert!(!waits(cover).await);
        }
        assert_eq!((waiting.bytes(), budget.available()), (60, 40));
        waiting.shrink(10);
        assert_eq!((waiting.bytes(), budget.available()), (10, 90));
        drop(waiting);
        assert_eq!(budget.available(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn of_several_that_are_half_read_each_ends_and_one_at_a_time_takes_more_than_there_is() {
        let budget = Budget::new(100);
        let (mut first, mut second) = (budget.try_take(50).unwrap(), budget.try_take(50).unwrap());
        assert!(!waits(first.cover(90)).await);
        {
            let mut cover = Box::pin(second.cover(80));
            assert!(waits(cover.as_mut()).await, "the other one has the overdraft");
            assert!(!waits(first.cover(500)).await);
            drop(first);
            assert!(!waits(cover).await);
        }
        assert_eq!(second.bytes(), 80);
        drop(second);
        assert_eq!(budget.available(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_larger_than_the_budget_takes_all_of_it() {
        let budget = Budget::new(100);
        let mut permit = budget.permit();
        assert!(!waits(permit.cover(1000)).await);
        assert_eq!((permit.bytes(), budget.available()), (100, 0));
        assert!(!waits(permit.cover(2000)).await);
        assert!(budget.try_take(1).is_none() && budget.try_take(101).is_none());
    }
}
