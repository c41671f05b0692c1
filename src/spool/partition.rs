//! What the delivery sees of the spool: partitions, wherever they lie.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;
use std::time::SystemTime;

use opentelemetry::otel_warn;

use super::deliver::{Batch, Next};
use super::dir::QueueDir;
use super::{Inner, Spool, lock};
use crate::error::SpoolError;
use crate::retry::Response;
use crate::transport::error_chain;

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

impl Spool {
    /// A partition that has something to deliver; it is not given out again before [`Spool::release`].
    pub(crate) fn checkout(&self) -> Option<Partition> {
        let of = |queue: &Arc<Inner>| {
            let key = lock(&queue.state).checkout()?;
            Some(Partition { queue: queue.clone(), key })
        };
        of(&self.inner).or_else(|| lock(&self.adopted).as_deref().and_then(|adopted| of(&adopted.inner)))
    }

    #[expect(clippy::unused_self, reason = "the other half of `checkout`")]
    pub(crate) fn release(&self, partition: &Partition) {
        lock(&partition.queue.state).release(&partition.key);
    }

    /// See [`Inner::next`].
    #[expect(clippy::unused_self, reason = "a verb of the spool, like `append`")]
    pub(crate) fn next(&self, partition: &Partition, now: SystemTime, force: bool) -> Result<Next, SpoolError> {
        partition.queue.next(&partition.key, now, force)
    }

    /// See [`Inner::linger`].
    #[expect(clippy::unused_self, reason = "a verb of the spool, like `append`")]
    pub(crate) fn linger(&self, partition: &Partition) -> bool {
        partition.queue.linger(&partition.key)
    }

    /// The partitions that lingered and now have enough for a batch.
    pub(crate) fn take_filled(&self) -> Vec<Partition> {
        let keys = lock(&self.inner.state).take_filled();
        keys.into_iter().map(|key| Partition { queue: self.inner.clone(), key }).collect()
    }

    /// See [`Inner::ack`].
    #[expect(clippy::unused_self, reason = "a verb of the spool, like `append`")]
    pub(crate) fn ack(&self, batch: &Batch) {
        batch.partition.queue.ack(batch);
    }

    /// See [`Inner::cut`].
    #[expect(clippy::unused_self, reason = "a verb of the spool, like `append`")]
    pub(crate) fn cut(&self, batch: &Batch) -> Result<(), SpoolError> {
        batch.partition.queue.cut(batch)
    }

    /// See [`Inner::reject`].
    #[expect(clippy::unused_self, reason = "a verb of the spool, like `append`")]
    pub(crate) fn reject(&self, batch: &Batch, response: &Response, now: SystemTime) -> Result<(), SpoolError> {
        batch.partition.queue.reject(batch, response, now)
    }

    /// Makes every acknowledgement so far survive a kill of the process.
    pub(crate) fn settle(&self) {
        self.inner.settle();
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

    /// Takes over a queue whose owner is gone, one after the other: what is in it is delivered as well.
    pub(crate) fn adopt(&self) {
        let mut adopted = lock(&self.adopted);
        if adopted.as_deref().is_some_and(|adopted| !adopted.is_drained()) {
            return;
        }
        let delivered = adopted.take();
        drop(adopted);
        if let Some(delivered) = delivered {
            *lock(&self.lost_in_adopted) += lock(&delivered.inner.gaps).lost;
            // Closed now, and deleted, since it is delivered.
            drop(delivered);
        }
        let config = self.inner.config.clone();
        let opened = QueueDir::adopt(&config.dir).and_then(|dir| {
            let (announcer, wake) = (self.inner.announcer.clone(), self.inner.wake.clone());
            dir.map(|dir| Self::open_queue(dir, config, announcer, wake)).transpose()
        });
        match opened {
            Ok(None) => {}
            Ok(Some(opened)) => {
                *lock(&self.inner.elder) = Arc::downgrade(&opened.inner);
                *lock(&self.adopted) = Some(Box::new(opened));
                self.inner.wake();
            }
            Err(error) => {
                otel_warn!(name: "Spool.AdoptionFailed", reason = error_chain(&error));
            }
        }
    }
}
