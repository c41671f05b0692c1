//! Adoption: a spool delivers its own queue and, by turns, one whose owner is gone. It takes over and deletes queues.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::dir::QueueDir;
use super::jobs::Job;
use super::open::{Closing, Spool};
use super::partition::Partition;
use super::queue::Queue;
use crate::error::error_chain;
use crate::observe::event::SpoolEvent;
use crate::process;

/// The time for which a queue is kept of which all that is left cannot be read, if there is another one to adopt.
const HELD_FOR: Duration = if cfg!(test) { Duration::ZERO } else { Duration::from_secs(60) };

impl Spool {
    /// A partition that has something to deliver, of one's own queue and the adopted one by turns. It is not given out
    /// again before [`Partition::release`], unless several batches of it may be in flight.
    pub(crate) fn checkout(&self) -> Option<Partition> {
        let of = |queue: &Arc<Queue>| {
            let key = queue.index.lock().checkout()?;
            Some(Partition { queue: queue.clone(), key })
        };
        let own = || of(&self.queue);
        let adopted = || self.adopted().as_ref().and_then(of);
        let own_first = self.own_first.fetch_xor(true, Ordering::Relaxed);
        if own_first { own().or_else(adopted) } else { adopted().or_else(own) }
    }

    /// Has the records that come share the requests with all that waits: see [`Partition::mark`]. An adopted queue gets
    /// no records: all of it is a backlog, beside one's own.
    pub(crate) fn mark(&self, backlog_share: f64) {
        self.queue.set_mark(backlog_share);
    }

    /// The partitions that lingered and now have enough for a batch.
    pub(crate) fn take_filled(&self) -> Vec<Partition> {
        let keys = self.queue.index.lock().take_filled();
        keys.into_iter().map(|key| Partition { queue: self.queue.clone(), key }).collect()
    }

    /// The partitions of which something is parked, of one's own queue and the adopted one.
    pub(crate) fn with_parked(&self) -> Vec<Partition> {
        let of = |queue: Arc<Queue>| {
            let keys = queue.index.lock().with_parked();
            keys.into_iter().map(move |key| Partition { queue: queue.clone(), key })
        };
        self.queues().into_iter().flat_map(of).collect()
    }

    /// Whether what was adopted is delivered, or is closed since.
    pub(crate) fn may_adopt(&self) -> bool {
        let closed = self.attached.lock().closing.as_ref().map(|closing| closing.gone.get().is_some());
        closed.unwrap_or_else(|| self.adopted().is_some_and(|adopted| adopted.index.lock().is_drained()))
    }

    /// Whether all that it has is delivered, its own and what it has taken over.
    #[cfg(feature = "cli")]
    pub(crate) fn is_idle(&self) -> bool {
        self.adopted().is_none() && self.queue.index.lock().is_drained()
    }

    /// Whether there was nothing to take over when it was last looked for.
    #[cfg(feature = "cli")]
    pub(crate) fn has_nothing_to_adopt(&self) -> bool {
        self.nothing_to_adopt.load(Ordering::Relaxed)
    }

    /// Whether a queue that others have left could not be opened, or not be deleted when it was delivered.
    #[cfg(feature = "cli")]
    pub(crate) fn is_adoption_failing(&self) -> bool {
        self.adoption_failing.load(Ordering::Relaxed)
    }

    /// Takes over a queue of the same signal and of an origin that may be adopted whose owner is gone, one after the other: what is in
    /// it is delivered as well.
    pub(crate) fn adopt(&self) {
        self.queue.ask(Job::CountStranded);
        // Whoever deletes the file that says whose a queue is does not end that.
        for queue in self.queues() {
            let _ = queue.dir.keep_lock();
        }
        if !self.has_closed() {
            return;
        }
        if let Some(adopted) = self.adopted() {
            let index = adopted.index.lock();
            let (is_drained, is_held) = (index.is_drained(), index.has_only_held());
            drop(index);
            if is_drained {
                let delivered = self.attached.lock().adopted.take();
                self.close_apart(delivered);
                return;
            } else if !is_held || self.attached.lock().adopted_at.elapsed() < HELD_FOR {
                return;
            }
        }
        let (config, hooks) = (&self.queue.config, &self.queue.hooks);
        let after = Some(self.adopted_last.load(Ordering::Relaxed));
        match QueueDir::adopt(
            &config.dir,
            |name| config.adopts(name),
            after,
            |dir| Self::open_queue(dir, false, config.clone(), hooks.clone()),
        ) {
            Ok(opened) => {
                self.nothing_to_adopt.store(opened.is_none(), Ordering::Relaxed);
                if let Some(opened) = opened {
                    self.adopted_last.store(opened.queue.dir.name.id, Ordering::Relaxed);
                    self.queue.writer.lock().elder = Arc::downgrade(&opened.queue);
                    let mut attached = self.attached.lock();
                    attached.adopted_at = Instant::now();
                    let before = attached.adopted.replace(Box::new(opened));
                    drop(attached);
                    self.close_apart(before);
                    self.queue.wake();
                }
                self.adoption_failing.store(false, Ordering::Relaxed);
            }
            Err(error) => {
                if !self.adoption_failing.swap(true, Ordering::Relaxed) {
                    self.queue.report_event(SpoolEvent::AdoptionFailed { reason: error_chain(&error) });
                }
            }
        }
    }

    /// Closes what was adopted on a thread of its own, which waits for the housekeeper and the disk: the thread that delivers is that
    /// of other spools as well. It wakes the delivery at the end.
    fn close_apart(&self, adopted: Option<Box<Self>>) {
        let Some(adopted) = adopted else { return };
        let (gone, wake) = (Arc::new(OnceLock::new()), self.queue.hooks.wake.clone());
        let is_gone = gone.clone();
        let thread = process::spawn("close", move || {
            let closed = adopted.close();
            drop(adopted);
            let _ = is_gone.set(closed);
            wake();
        });
        // Where no thread can be had, that closed it here.
        self.attached.lock().closing = thread.ok().map(|thread| Closing { gone, thread });
    }

    /// Whether nothing that was adopted is being closed, nor was one closed just now that could not be deleted: it would be found again
    /// at once.
    fn has_closed(&self) -> bool {
        let mut attached = self.attached.lock();
        let closing = attached.closing.take_if(|closing| closing.gone.get().is_some() || closing.thread.is_finished());
        let is_closing = attached.closing.is_some();
        drop(attached);
        let gone = closing.is_none_or(|closing| closing.gone.get().is_some_and(|gone| *gone));
        !is_closing && gone
    }
}
