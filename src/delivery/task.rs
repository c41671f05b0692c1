//! [`Task`]: a partition that is being delivered, and what is done with it next.

use std::time::SystemTime;

use crate::delivery::attempt::Step;
use crate::delivery::blame::Control;
use crate::delivery::failure::{Failed, Failure};
use crate::delivery::source::{Batch, Partition};
use crate::delivery::tries::Tries;
use crate::error::SpoolError;
use crate::spool::{self, BatchStart, Next};

/// The purpose of a task.
#[derive(Clone, Debug)]
pub(crate) enum Purpose {
    /// Its batches are sent in order.
    InOrder,
    /// A record from behind is sent, since its batch failed like this.
    Control { of: Box<(Failure, Box<Failed>)>, control: Control<BatchStart> },
    /// The batches that are parked are tried.
    Aside,
}

/// A partition that is being delivered.
#[derive(Clone, Debug)]
pub(crate) struct Task<P = spool::Partition> {
    pub(crate) partition: P,
    pub(crate) purpose: Purpose,
    /// The start of its batch, once it has one.
    pub(crate) start: Option<BatchStart>,
    pub(crate) tries: Tries,
    /// The partition has lingered long enough.
    pub(crate) lingered: bool,
    /// Its last attempt found no connection.
    pub(crate) unreachable: bool,
}

impl<P: Partition> Task<P> {
    pub(crate) fn new(partition: P) -> Self {
        let (purpose, tries) = (Purpose::InOrder, Tries::default());
        Self { partition, purpose, start: None, tries, lingered: false, unreachable: false }
    }

    /// A task for the batches of a partition that are parked.
    pub(crate) fn aside(partition: P) -> Self {
        Self { purpose: Purpose::Aside, ..Self::new(partition) }
    }

    pub(crate) fn is_in_order(&self) -> bool {
        matches!(self.purpose, Purpose::InOrder)
    }

    /// How the next request is made. A control has an attempt of its own: plain, and at once taken for what its status says.
    pub(crate) fn next_try(&self) -> Tries {
        match self.purpose {
            Purpose::Control { .. } => Tries::of_control(),
            Purpose::InOrder | Purpose::Aside => self.tries.clone(),
        }
    }

    /// Takes its batch, or returns the step that stands for there being none. `force` does not linger.
    pub(crate) fn take(&mut self, now: SystemTime, force: bool) -> Result<Box<P::Batch>, Step> {
        let next = self.partition.next(self.start, now, force || self.lingered);
        let batch = batch_of(next)?;
        if self.start.replace(batch.start()) != Some(batch.start()) {
            self.tries = Tries::default();
        }
        Ok(batch)
    }

    /// Takes the batch that is parked at `at`.
    pub(crate) fn take_aside(&mut self, at: BatchStart, now: SystemTime) -> Result<Box<P::Batch>, Step> {
        batch_of(self.partition.trial(at, now))
    }

    /// Takes a record from behind its batch.
    pub(crate) fn take_control(&self, control: Control<BatchStart>, now: SystemTime) -> Result<Box<P::Batch>, Step> {
        let taken = match control {
            Control::Ahead(records) => self.partition.control(records, now),
            Control::Again(at) => self.partition.control_again(at, now),
        };
        taken.map_err(|error| Step::unreadable(&error))?.ok_or(Step::Empty)
    }
}

fn batch_of<B>(next: Result<Next<B>, SpoolError>) -> Result<Box<B>, Step> {
    match next {
        Ok(Next::Batch(batch)) => Ok(batch),
        Ok(Next::Linger(left)) => Err(Step::Linger(left)),
        Ok(Next::Skipped) => Err(Step::Skipped),
        Ok(Next::Empty) => Err(Step::Empty),
        Err(error) => Err(Step::unreadable(&error)),
    }
}
