//! [`Repeats`]: which requests were stored of late, so that one that is sent again is not stored again.
//!
//! A client that was not answered sends the same body once more. Its load's id is made from all that makes the request what it is; it
//! stands on disk with the records, and is remembered here for a minute.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::relay::buffer::Outcome;
use crate::spool::LoadId;

/// How long a request is remembered.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(60);

/// The most requests that are remembered; earlier ones are forgotten.
const MAX_REMEMBERED: usize = 1 << 16;

/// The id of a request: of all of these parts.
pub(crate) fn id_of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> LoadId {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    let mut first = [0; 8];
    first.copy_from_slice(&digest.finalize()[..8]);
    LoadId::of_hash(first)
}

/// A request that begins.
#[derive(Debug)]
pub(crate) enum Begun {
    /// Its records were stored before.
    Stored,
    /// Another one with the same id is being stored.
    Storing(watch::Receiver<Outcome>),
    /// It is new: whoever stores it tells the outcome.
    New(watch::Sender<Outcome>),
}

#[derive(Debug, Default)]
pub(crate) struct Repeats {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    requests: HashMap<LoadId, Request>,
    /// In the order in which they are forgotten.
    order: VecDeque<(Instant, LoadId)>,
}

#[derive(Debug)]
enum Request {
    Stored(Instant),
    Storing(watch::Receiver<Outcome>),
}

impl Repeats {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a request as stored at this time.
    pub(crate) fn stored(&self, id: LoadId, at: Instant) {
        let mut known = self.lock();
        known.requests.insert(id, Request::Stored(at));
        known.order.push_back((at, id));
        known.forget();
    }

    pub(crate) fn begin(&self, id: LoadId) -> Begun {
        let mut known = self.lock();
        known.forget();
        match known.requests.get(&id) {
            Some(Request::Stored(_)) => return Begun::Stored,
            Some(Request::Storing(outcome)) => {
                let now = outcome.borrow().clone();
                match now {
                    Outcome::Committed => return Begun::Stored,
                    // Who stores it is there as long as the channel is open.
                    Outcome::Waiting if outcome.has_changed().is_ok() => return Begun::Storing(outcome.clone()),
                    Outcome::Waiting | Outcome::TakenOut(_) => {}
                }
            }
            None => {}
        }
        let (sender, receiver) = watch::channel(Outcome::Waiting);
        known.requests.insert(id, Request::Storing(receiver));
        known.order.push_back((Instant::now(), id));
        Begun::New(sender)
    }

    /// Forgets a request that was not stored.
    pub(crate) fn not_stored(&self, id: LoadId) {
        let mut known = self.lock();
        if matches!(known.requests.get(&id), Some(Request::Storing(_))) {
            known.requests.remove(&id);
        }
    }
}

impl Known {
    fn forget(&mut self) {
        while let Some((at, id)) = self.order.front().copied() {
            if self.order.len() <= MAX_REMEMBERED && at.elapsed() < REMEMBERED {
                break;
            }
            self.order.pop_front();
            match self.requests.get(&id) {
                // It was stored later, or once more: that stands further behind.
                Some(Request::Stored(stored)) if *stored != at => {}
                // A disk that hangs: whoever sends it again waits as well.
                Some(Request::Storing(outcome))
                    if *outcome.borrow() == Outcome::Waiting && outcome.has_changed().is_ok() =>
                {
                    self.order.push_back((Instant::now(), id));
                }
                Some(_) => drop(self.requests.remove(&id)),
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> LoadId {
        id_of([text.as_bytes()])
    }

    #[test]
    fn the_parts_of_a_request_are_not_run_together() {
        assert_ne!(id_of([&b"ab"[..], b"c"]), id_of([&b"a"[..], b"bc"]));
        assert_eq!(id_of([&b"ab"[..], b"c"]), id_of([&b"ab"[..], b"c"]));
    }

    #[test]
    fn a_request_is_new_until_one_like_it_is_being_stored_or_is() {
        let repeats = Repeats::default();
        let Begun::New(first) = repeats.begin(id("a")) else { panic!("it is new") };
        assert!(matches!(repeats.begin(id("b")), Begun::New(_)));
        let Begun::Storing(mut waiting) = repeats.begin(id("a")) else { panic!("it is being stored") };
        first.send_replace(Outcome::Committed);
        assert_eq!(*waiting.borrow_and_update(), Outcome::Committed);
        assert!(matches!(repeats.begin(id("a")), Begun::Stored));
        repeats.stored(id("a"), Instant::now());
        drop(first);
        assert!(matches!(repeats.begin(id("a")), Begun::Stored));
    }

    #[test]
    fn what_was_taken_out_or_given_up_can_be_stored() {
        let repeats = Repeats::default();
        let Begun::New(first) = repeats.begin(id("a")) else { panic!("it is new") };
        first.send_replace(Outcome::TakenOut("a full disk".into()));
        let Begun::New(second) = repeats.begin(id("a")) else { panic!("it was taken out") };
        drop(second);
        assert!(matches!(repeats.begin(id("a")), Begun::New(_)));
        repeats.not_stored(id("a"));
        assert!(repeats.lock().requests.is_empty());
    }

    #[test]
    fn requests_are_forgotten_by_age_and_by_number() {
        let repeats = Repeats::default();
        let Some(long_ago) = Instant::now().checked_sub(REMEMBERED) else { return };
        repeats.stored(id("old"), long_ago);
        assert!(matches!(repeats.begin(id("old")), Begun::New(_)));
        for number in 0..=MAX_REMEMBERED {
            repeats.stored(id(&number.to_string()), Instant::now());
        }
        assert!(matches!(repeats.begin(id("0")), Begun::New(_)));
        // That one is remembered in place of the next.
        assert!(matches!(repeats.begin(id("2")), Begun::Stored));
    }
}
