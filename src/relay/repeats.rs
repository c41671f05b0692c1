//! [`Repeats`]: which requests were stored of late, so that one that is sent again is not stored again.
//!
//! A client that was not answered sends the same body once more. Its load's id is made from all that makes the request what it is; it
//! stands on disk with the records, and is remembered here for a minute.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::spool::LoadId;

/// How long a request is remembered.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(60);

/// The most requests that are remembered; earlier ones are forgotten. These are 17,000 in a second. One takes 40 bytes or so: 16 in the order and
/// 9 in the set, both of which grow by doubling.
const MAX_REMEMBERED: usize = 1 << 20;

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

/// What has become of a load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Waiting,
    /// It is on disk.
    Committed,
    /// It is not stored, and was taken out: its client may send it again.
    TakenOut(String),
}

/// A request that begins.
#[derive(Debug)]
pub(crate) enum Begun {
    /// Its records were stored before.
    Stored,
    /// Another one with the same id is being stored.
    Storing(watch::Receiver<Outcome>),
    /// It is new.
    New(Storing),
}

/// A request that is being stored: others with its id wait for its outcome. Without one it may be stored by another when this is dropped.
#[derive(Debug)]
pub(crate) struct Storing {
    id: LoadId,
    outcome: watch::Sender<Outcome>,
    repeats: Arc<Repeats>,
}

impl Storing {
    pub(crate) fn id(&self) -> LoadId {
        self.id
    }

    pub(crate) fn outcome(&self) -> watch::Receiver<Outcome> {
        self.outcome.subscribe()
    }

    /// Tells the outcome. One that was committed is to be noted as stored before.
    pub(crate) fn end(&self, outcome: Outcome) {
        self.outcome.send_replace(outcome);
    }
}

impl Drop for Storing {
    fn drop(&mut self) {
        let mut known = self.repeats.lock();
        // Another one may have begun since this one was taken out.
        if known.storing.get(&self.id).is_some_and(|outcome| outcome.same_channel(&self.outcome.subscribe())) {
            known.storing.remove(&self.id);
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Repeats {
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    /// Those that are being stored: as many as clients wait.
    storing: HashMap<LoadId, watch::Receiver<Outcome>>,
    stored: HashSet<LoadId>,
    /// Those that are stored, each once, in the order in which they are forgotten, and until when, in seconds from `begun`.
    order: VecDeque<(u32, LoadId)>,
    begun: Instant,
}

impl Default for Known {
    fn default() -> Self {
        let (storing, stored, order) = Default::default();
        Self { storing, stored, order, begun: Instant::now() }
    }
}

impl Repeats {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes requests as stored, so long ago.
    pub(crate) fn stored(&self, ids: impl IntoIterator<Item = LoadId>, age: Duration) {
        let mut known = self.lock();
        for id in ids {
            known.note(id, age);
        }
        known.forget();
    }

    pub(crate) fn begin(self: &Arc<Self>, id: LoadId) -> Begun {
        let mut known = self.lock();
        known.forget();
        if known.stored.contains(&id) {
            return Begun::Stored;
        }
        if let Some(outcome) = known.storing.get(&id).filter(|outcome| *outcome.borrow() == Outcome::Waiting) {
            return Begun::Storing(outcome.clone());
        }
        let (outcome, receiver) = watch::channel(Outcome::Waiting);
        known.storing.insert(id, receiver);
        Begun::New(Storing { id, outcome, repeats: self.clone() })
    }
}

impl Known {
    /// Notes a request as stored, so long ago.
    fn note(&mut self, id: LoadId, age: Duration) {
        if self.stored.insert(id) {
            let until = (self.begun.elapsed() + REMEMBERED).saturating_sub(age);
            self.order.push_back((seconds(until), id));
        }
    }

    fn forget(&mut self) {
        let now = seconds(self.begun.elapsed());
        while let Some((until, id)) = self.order.front().copied() {
            if self.order.len() <= MAX_REMEMBERED && now <= until {
                break;
            }
            self.order.pop_front();
            self.stored.remove(&id);
        }
    }
}

fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
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

    fn new(repeats: &Arc<Repeats>, text: &str) -> Storing {
        match repeats.begin(id(text)) {
            Begun::New(storing) => storing,
            begun => panic!("{begun:?}"),
        }
    }

    #[test]
    fn a_request_is_new_until_one_like_it_is_being_stored_or_is() {
        let repeats = Arc::new(Repeats::default());
        let first = new(&repeats, "a");
        let _other = new(&repeats, "b");
        let Begun::Storing(mut waiting) = repeats.begin(id("a")) else { panic!("it is being stored") };
        repeats.stored([first.id()], Duration::ZERO);
        first.end(Outcome::Committed);
        assert_eq!(*waiting.borrow_and_update(), Outcome::Committed);
        assert!(matches!(repeats.begin(id("a")), Begun::Stored));
        drop(first);
        assert!(matches!(repeats.begin(id("a")), Begun::Stored));
    }

    #[test]
    fn a_request_that_was_taken_out_or_given_up_can_be_stored() {
        let repeats = Arc::new(Repeats::default());
        let first = new(&repeats, "a");
        first.end(Outcome::TakenOut("a full disk".into()));
        drop(new(&repeats, "a"));
        drop(new(&repeats, "a"));
        drop(first);
        assert!(repeats.lock().storing.is_empty());
    }

    #[test]
    fn the_end_of_one_that_was_taken_out_leaves_the_next_one_alone() {
        let repeats = Arc::new(Repeats::default());
        let first = new(&repeats, "a");
        first.end(Outcome::TakenOut("a full disk".into()));
        let _second = new(&repeats, "a");
        drop(first);
        assert!(matches!(repeats.begin(id("a")), Begun::Storing(_)));
    }

    #[test]
    fn requests_are_forgotten_by_age() {
        let repeats = Arc::new(Repeats::default());
        repeats.lock().begun = Instant::now().checked_sub(10 * REMEMBERED).unwrap();
        repeats.stored([id("old")], REMEMBERED + Duration::from_secs(2));
        repeats.stored([id("younger"), id("younger")], REMEMBERED / 2);
        assert!(matches!(repeats.begin(id("old")), Begun::New(_)));
        assert!(matches!(repeats.begin(id("younger")), Begun::Stored));
        assert_eq!(repeats.lock().order.len(), 1);
    }

    #[test]
    fn requests_are_forgotten_by_number_however_many_are_being_stored() {
        let repeats = Arc::new(Repeats::default());
        let _storing: Vec<_> = (0..1000).map(|number| new(&repeats, &number.to_string())).collect();
        let number = |number: usize| LoadId::of_hash((number + 1).to_le_bytes());
        repeats.stored((0..=MAX_REMEMBERED).map(number), Duration::ZERO);
        assert!(matches!(repeats.begin(number(0)), Begun::New(_)));
        assert!(matches!(repeats.begin(number(1)), Begun::Stored));
        assert!(matches!(repeats.begin(id("0")), Begun::Storing(_)));
    }
}
