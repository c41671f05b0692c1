//! [`Budget`]: the memory that everything on its way through the relay shares.
//!
//! Who reads from a client that waits, waits too; who cannot make its client wait does without. Memory that is taken is given
//! back when its [`Permit`] is dropped, which travels with the bytes.
//!
//! A quarter is a reserve for frames and small requests: bodies that are large cannot take it, however slowly they come.
//!
//! Several bodies that are half read could wait for one another for ever. So one of them at a time may take more than there
//! is, and ends; the memory is bounded by the budget and one body.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A request that holds no more than that is a small one.
const SMALL_BYTES: usize = 64 << 10;

/// The budget of many [`Permit`]s. A clone is the same budget.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    free: Arc<Semaphore>,
    /// What only frames and small requests may take, when nothing else is free.
    reserve: Arc<Semaphore>,
    /// Held by who takes more than there is.
    overdraft: Arc<Semaphore>,
    /// Without the reserve.
    total: usize,
}

impl Budget {
    /// A budget of so many bytes, at most 4 GiB.
    pub(crate) fn new(bytes: usize) -> Self {
        let bytes = bytes.min(u32::MAX as usize);
        Self::with_reserve(bytes - bytes / 4, bytes / 4)
    }

    fn with_reserve(total: usize, reserve: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(total)),
            reserve: Arc::new(Semaphore::new(reserve)),
            overdraft: Arc::new(Semaphore::new(1)),
            total,
        }
    }

    /// The bytes that are free.
    #[cfg(test)]
    pub(crate) fn available(&self) -> usize {
        self.free.available_permits() + self.reserve.available_permits()
    }

    /// A permit for nothing, which can grow.
    pub(crate) fn permit(&self) -> Permit {
        Permit { budget: self.clone(), held: None, reserved: None, overdraft: None }
    }

    /// A permit for so many bytes if they are free, or in the reserve.
    pub(crate) fn try_take(&self, bytes: usize) -> Option<Permit> {
        let mut permit = self.permit();
        permit.try_grow(bytes, true).then_some(permit)
    }
}

/// Bytes of a [`Budget`], given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    budget: Budget,
    held: Option<OwnedSemaphorePermit>,
    reserved: Option<OwnedSemaphorePermit>,
    overdraft: Option<OwnedSemaphorePermit>,
}

impl Permit {
    /// The bytes that it holds.
    pub(crate) fn bytes(&self) -> usize {
        [&self.held, &self.reserved].into_iter().flatten().map(OwnedSemaphorePermit::num_permits).sum()
    }

    /// Waits until it holds so many bytes, or may use them without. What holds nothing waits for its turn; what holds some
    /// already is on its way, and ends by the overdraft at the latest.
    pub(crate) async fn cover(&mut self, bytes: usize) {
        let more = bytes.saturating_sub(self.bytes());
        let is_small = bytes <= SMALL_BYTES;
        if self.overdraft.is_some() || self.try_grow(more, is_small) {
            return;
        }
        let is_on_its_way = self.bytes() > 0;
        let Budget { free, reserve, overdraft, total } = self.budget.clone();
        tokio::select! {
            biased;
            Ok(more) = free.acquire_many_owned(count(more.min(total))) => merge(&mut self.held, more),
            Ok(more) = reserve.acquire_many_owned(count(more)), if is_small => merge(&mut self.reserved, more),
            Ok(overdraft) = overdraft.acquire_owned(), if is_on_its_way => self.overdraft = Some(overdraft),
        }
    }

    /// Holds so many bytes, if they are free without the reserve.
    pub(crate) fn try_cover(&mut self, bytes: usize) -> bool {
        self.try_grow(bytes.saturating_sub(self.bytes()), false)
    }

    /// Gives back what is more than so many bytes.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        let mut surplus = self.bytes().saturating_sub(bytes);
        for held in [&mut self.reserved, &mut self.held].into_iter().flatten() {
            let part = surplus.min(held.num_permits());
            surplus -= part;
            drop(held.split(part));
        }
    }

    fn try_grow(&mut self, more: usize, from_reserve: bool) -> bool {
        let take = |from: &Arc<Semaphore>, bytes: usize| from.clone().try_acquire_many_owned(count(bytes)).ok();
        let Budget { free, reserve, .. } = &self.budget;
        let of_free = if from_reserve { more.min(free.available_permits()) } else { more };
        let (Some(held), Some(reserved)) = (take(free, of_free), take(reserve, more - of_free)) else { return false };
        merge(&mut self.held, held);
        merge(&mut self.reserved, reserved);
        true
    }
}

fn merge(held: &mut Option<OwnedSemaphorePermit>, more: OwnedSemaphorePermit) {
    match held {
        Some(held) => held.merge(more),
        held => *held = Some(more),
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
        let budget = Budget::with_reserve(100, 0);
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
        let budget = Budget::with_reserve(100, 0);
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
        let budget = Budget::with_reserve(100, 0);
        let mut permit = budget.permit();
        assert!(!waits(permit.cover(1000)).await);
        assert_eq!((permit.bytes(), budget.available()), (100, 0));
        assert!(!waits(permit.cover(2000)).await);
        assert!(budget.try_take(1).is_none() && budget.try_take(101).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn large_bodies_leave_a_quarter_to_frames_and_small_requests() {
        let budget = Budget::new(4 << 20);
        let (mut large, mut small, mut frames) = (budget.permit(), budget.permit(), budget.permit());
        assert!(!waits(large.cover(60 << 20)).await);
        assert_eq!(budget.available(), 1 << 20);
        assert!(waits(budget.permit().cover(1 << 17)).await, "another large one waits");
        assert!(!waits(small.cover(1000)).await);
        assert!(!frames.try_cover(1), "what is half read has none of it");
        let frame = budget.try_take(1 << 19).unwrap();
        assert_eq!(budget.available(), (1 << 19) - 1000);
        small.shrink(400);
        assert_eq!((small.bytes(), budget.available()), (400, (1 << 19) - 400));
        drop((large, small, frame));
        assert!(frames.try_cover(3 << 20) && frames.bytes() == 3 << 20);
        drop(frames);
        assert_eq!(budget.available(), 4 << 20);
    }
}
