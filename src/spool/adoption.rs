//! What the delivery sees of the spool: partitions, wherever they lie.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use super::dir::QueueDir;
use super::position::BatchStart;
use super::reader::{Batch, Next};
use super::rejected::Rejection;
use super::{Inner, Spool, SpoolHooks, lock};
use crate::error::SpoolError;
use crate::error::error_chain;
use crate::observe::event::SpoolEvent;

/// A partition of the exporter's own queue or of the one that it has adopted. As text, it is its key.
#[derive(Clone)]
pub(crate) struct Partition {
    pub(super) queue: Arc<Inner>,
    pub(super) key: Arc<str>,
}

impl Deref for Partition {
    type Target = str;

    fn deref(&self) -> &str {
        &self.key
    }
}

impl PartialEq for Partition {
    fn eq(&self, other: &Self) -> bool {
        self.queue.dir.id == other.queue.dir.id && self.key == other.key
    }
}

impl Eq for Partition {}

impl Hash for Partition {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.queue.dir.id, &self.key).hash(state);
    }
}

impl fmt::Debug for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}/{:?}", self.queue.dir.id, &*self.key)
    }
}

impl Partition {
    /// Gives it back after [`Spool::checkout`]. `formed` is whether a batch was taken since.
    pub(crate) fn release(&self, formed: bool) {
        lock(&self.queue.state).release(&self.key, formed);
    }

    /// Lets so many batches be under way at the same time, at least one.
    pub(crate) fn allow(&self, in_flight: usize) {
        lock(&self.queue.state).allow(&self.key, in_flight.saturating_sub(1));
    }

    /// See [`Inner::next`].
    pub(crate) fn next(&self, start: Option<BatchStart>, now: SystemTime, force: bool) -> Result<Next, SpoolError> {
        self.queue.next(&self.key, start, now, force)
    }

    /// See [`Inner::linger`].
    pub(crate) fn linger(&self) -> bool {
        self.queue.linger(&self.key)
    }
}

impl Batch {
    /// See [`Inner::ack`].
    pub(crate) fn ack(&self) {
        self.partition.queue.ack(self);
    }

    /// See [`Inner::split`].
    pub(crate) fn split(&self) -> Result<(), SpoolError> {
        self.partition.queue.split(self)
    }

    /// See [`Inner::reject`].
    pub(crate) fn reject(&self, status: u16, response: &str, now: SystemTime) -> Result<(), SpoolError> {
        self.partition.queue.reject(self, status, response, now)
    }

    /// See [`Inner::reject_some`].
    pub(crate) fn reject_some(
        &self,
        rejections: &[Rejection<'_>],
        status: u16,
        now: SystemTime,
    ) -> Result<bool, SpoolError> {
        self.partition.queue.reject_some(self, rejections, status, now)
    }
}

impl Spool {
    /// A partition that has something to deliver, of one's own queue and the adopted one by turns. It is not given out
    /// again before [`Partition::release`], unless several batches of it may be under way.
    pub(crate) fn checkout(&self) -> Option<Partition> {
        let of = |queue: &Arc<Inner>| {
            let key = lock(&queue.state).checkout()?;
            Some(Partition { queue: queue.clone(), key })
        };
        let own = || of(&self.inner);
        let adopted = || lock(&self.adopted).as_deref().and_then(|adopted| of(&adopted.inner));
        let own_first = self.own_first.fetch_xor(true, Ordering::Relaxed);
        if own_first { own().or_else(adopted) } else { adopted().or_else(own) }
    }

    /// The partitions that lingered and now have enough for a batch.
    pub(crate) fn take_filled(&self) -> Vec<Partition> {
        let keys = lock(&self.inner.state).take_filled();
        keys.into_iter().map(|key| Partition { queue: self.inner.clone(), key }).collect()
    }

    /// Makes every acknowledgement so far survive a kill of the process.
    pub(crate) fn settle(&self) {
        // What cannot be written down now is written later.
        let _ = self.inner.settle();
        if let Some(adopted) = lock(&self.adopted).as_deref() {
            adopted.settle();
        }
    }

    /// Whether what was adopted is delivered.
    pub(crate) fn may_adopt(&self) -> bool {
        lock(&self.adopted).as_deref().is_some_and(Self::is_drained)
    }

    fn is_drained(&self) -> bool {
        lock(&self.inner.state).is_drained()
    }

    /// Whether all that it has is delivered, its own and what it has taken over.
    #[cfg(feature = "cli")]
    pub(crate) fn is_idle(&self) -> bool {
        lock(&self.adopted).is_none() && self.is_drained()
    }

    /// Whether there was nothing to take over when it was last looked for.
    #[cfg(feature = "cli")]
    pub(crate) fn has_nothing_to_adopt(&self) -> bool {
        self.nothing_to_adopt.load(Ordering::Relaxed)
    }

    /// Whether what others have left could not be opened, or not be deleted when it was delivered.
    #[cfg(feature = "cli")]
    pub(crate) fn is_adoption_failing(&self) -> bool {
        self.adoption_failing.load(Ordering::Relaxed)
    }

    /// Takes over a queue whose owner is gone, one after the other: what is in it is delivered as well.
    pub(crate) fn adopt(&self) {
        let mut adopted = lock(&self.adopted);
        if adopted.as_deref().is_some_and(|adopted| !adopted.is_drained()) {
            return;
        }
        let delivered = adopted.take();
        drop(adopted);
        if let Some(delivered) = delivered {
            let gone = delivered.close();
            if !gone {
                // It would be found again at once.
                return;
            }
        }
        let opened = QueueDir::adopt(&self.inner.config.dir, |dir| {
            let Inner { config, gap_encoder, wake, events, losses, .. } = &*self.inner;
            let hooks = SpoolHooks {
                gap_encoder: gap_encoder.clone(),
                wake: wake.clone(),
                events: events.clone(),
                losses: losses.clone(),
            };
            Self::open_queue(dir, config.clone(), hooks)
        });
        match opened {
            Ok(opened) => {
                if let Some(opened) = opened {
                    *lock(&self.inner.elder) = Arc::downgrade(&opened.inner);
                    *lock(&self.adopted) = Some(Box::new(opened));
                    self.inner.wake();
                }
                self.nothing_to_adopt.store(lock(&self.adopted).is_none(), Ordering::Relaxed);
                self.adoption_failing.store(false, Ordering::Relaxed);
            }
            Err(error) => {
                if !self.adoption_failing.swap(true, Ordering::Relaxed) {
                    self.inner.events.report(SpoolEvent::AdoptionFailed { reason: error_chain(&error) });
                }
            }
        }
    }
}
