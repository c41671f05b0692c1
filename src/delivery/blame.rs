//! [`Blame`]: whose fault it is that batches of a partition fail, found by experiment. Pure bookkeeping: it sends nothing, and
//! time is told to it.
//!
//! A failure says little: a server can answer 500 to one record or to all. Before a batch blocks its partition for long, a
//! record from behind it is sent, a *control*. If that is taken, the batch is tried once more, and then *parked*: what lies
//! behind it flows on, and the batch is tried, cut and tried again beside that, until the records are found that fail alone. If
//! the control fails alike, the fault is the endpoint's, and everything waits.
//!
//! ```text
//! in place   batch fails --> retried --> control --> taken: tried once more --> cut in place, or parked
//!                                              \--> fails alike: held; another control later, from further behind
//! aside      parked --> fails again, and another request is taken behind that: evidence --> cut, rejected or deferred
//! ```
//!
//! - Rejected is only what was refused alone (or was named by a response), between two requests that were taken.
//! - A record that the endpoint fails for, without refusing it, is deferred: tried again every ten minutes for a long time.
//! - What the endpoint refuses in so many words is cut in place, which keeps the order; anything else aside, since it is slow.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::delivery::failure::Failed;
use crate::delivery::retry::after;
use crate::delivery::tries::Tries;
use crate::transport::verdict::Suspicion;

/// For at least so long a batch fails before others may overtake it, where the cause can be anything.
const PATIENCE: Duration = Duration::from_secs(5);

/// After so many failures a batch is cut though there is no control, and after twice as many though controls fail as well.
const FAILURES_WITHOUT_CONTROL: u32 = 8;

/// So often a batch is cut without a control: down to an eighth of it.
const MAX_BLIND_CUTS: u32 = 7;

/// So many controls of one batch are remembered. Once there are as many, only every eighth time a new record is one.
const MAX_CONTROLS: usize = 16;
const ROUNDS_PER_NEW_CONTROL: u32 = 8;

/// After so many single refusals in a row for the same reason, whole batches are judged by their first, middle and last record.
/// Nothing is cut in place any more then.
const MAX_REFUSALS: u32 = 32;

/// Once there are so many pieces of parked batches, only the first of several records is cut.
const MAX_PIECES: usize = 128;

/// A batch with fewer records is not judged by samples.
const MIN_SAMPLED: u64 = 8;

/// The evidence that it takes to cut a parked batch, and to reject a record: the negative logarithm of the chance that an
/// endpoint which fails at random looks like that. Where nothing else fails, one failure between two successes is enough to
/// cut, and it takes a second one to reject: the first may have met a moment in which everything was refused.
const EVIDENCE_TO_CUT: f64 = 1.3;
const EVIDENCE_TO_REJECT: f64 = 8.2;

/// What is parked is tried again so long after it failed at most.
const DEFERRED_DELAY: Duration = Duration::from_secs(600);

/// A record is deferred no longer where others wait for its room.
const CROWDED_DEFER_FOR: Duration = Duration::from_secs(3600);

/// A deferred record is rejected only if it failed so often while others were taken.
const MIN_DEFERRED_FAILURES: u32 = 5;

/// How often a batch fails before there is a control.
fn failures_before_control(suspicion: Suspicion) -> u32 {
    match suspicion {
        Suspicion::Content | Suspicion::Size => 1,
        Suspicion::Unreadable => 2,
        Suspicion::Endpoint | Suspicion::Time | Suspicion::Unknown => 3,
        Suspicion::Load => 8,
    }
}

/// Where a control lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Control<K> {
    /// So many records behind the first one that was never given out.
    Ahead(u64),
    /// Where it lay before.
    Again(K),
}

/// How many records could be a control: before the farthest one that failed, and behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unsent {
    pub(crate) before: u64,
    pub(crate) behind: u64,
}

/// What is done next about a batch that failed in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Move<K> {
    /// It is tried again after the retry policy's delay.
    Retry,
    /// It is tried again at once, since a control was taken.
    Confirm,
    /// It is tried again slowly: retrying alone hardly helps.
    Hold,
    /// It is cut in two, and the parts come in its place.
    Cut,
    /// A control is sent.
    Control(Control<K>),
    /// It is parked, with everything before this record.
    Park(Option<K>),
}

/// What is done with a batch that is parked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// It is sent once more.
    Try,
    /// It is cut behind these numbers of records.
    Cut(Vec<u64>),
    /// Its only record is rejected.
    Reject(Failed),
    /// These records of it are rejected by name: all of them.
    RejectNamed(Failed),
    /// All of it is rejected, since its first, middle and last record were.
    RejectInferred(Failed),
}

/// The next step aside.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Aside<K> {
    Do(K, Action),
    /// Nothing before this time.
    Wait(Instant),
    /// Nothing is parked.
    Nothing,
}

/// The place of a control that was taken.
#[derive(Clone, Copy, Debug)]
enum Place<K> {
    /// Nothing before it failed but the batch.
    Near,
    /// It lies behind other controls that failed alike.
    BehindOthers(K),
}

/// A batch that failed in its place.
#[derive(Clone, Debug)]
struct Doubt<K> {
    since: Instant,
    /// The number of the request that failed first.
    first: u64,
    /// How often it failed since a control was sent.
    failures: u32,
    /// How often it failed.
    total: u32,
    /// A control was taken since it failed.
    taken: Option<Place<K>>,
    /// The controls that failed alike, the nearest first.
    controls: Vec<K>,
    /// How often a control was asked for.
    rounds: u32,
}

/// A parked batch that was tried.
#[derive(Clone, Debug)]
struct Suspect<K> {
    /// The last failure.
    failed: Option<Failed>,
    /// The number of the last request, until one that began later is taken.
    failed_at: Option<u64>,
    /// A request had been taken before it failed.
    preceded: bool,
    failures: u32,
    /// How often it failed between two that were taken.
    sandwiches: u32,
    evidence: f64,
    next_at: Instant,
    /// How long it has been deferred, and since when that is not counted yet.
    deferred: Duration,
    counted_at: Instant,
    /// It is not tried before that time: so the endpoint asked.
    not_before: Option<Instant>,
    /// How its next attempt is made.
    tries: Tries,
    /// The samples on which it depends whether it is rejected; empty once all of them were.
    samples: Option<Vec<K>>,
}

impl<K> Suspect<K> {
    fn new(now: Instant, deferred: Duration) -> Self {
        Self {
            failed: None,
            failed_at: None,
            preceded: false,
            failures: 0,
            sandwiches: 0,
            evidence: 0.0,
            next_at: now,
            deferred,
            counted_at: now,
            not_before: None,
            tries: Tries::default(),
            samples: None,
        }
    }

    /// Whether it is a record that is known to fail alone.
    fn is_deferred(&self) -> bool {
        self.failed.as_ref().is_some_and(|failed| failed.records == 1 && !failed.is_refusal())
            && self.evidence >= EVIDENCE_TO_REJECT
    }
}

/// How often requests fail that are nobody's fault.
#[derive(Clone, Copy, Debug)]
struct Noise(f64);

impl Noise {
    const LEAST: f64 = 1.0 / 64.0;

    fn add(&mut self, failed: bool) {
        self.0 = (self.0 * 7.0 / 8.0 + if failed { 1.0 / 8.0 } else { 0.0 }).max(Self::LEAST);
    }

    /// The evidence of a failure between two successes.
    fn evidence(self) -> f64 {
        if self.0 > 0.8 { 0.0 } else { -self.0.ln() }
    }
}

/// A parked batch as the spool knows it: where it begins, how many records it has, how long it has been deferred.
pub(crate) type Parked<K> = (K, u64, Duration);

/// The experiments of a partition.
#[derive(Clone, Debug)]
pub(crate) struct Blame<K> {
    strict_order: bool,
    /// The number of the latest request that began.
    clock: u64,
    /// The number of the latest request that was taken.
    taken: Option<u64>,
    /// The latest request of what is not parked was taken.
    well: bool,
    doubts: BTreeMap<K, Doubt<K>>,
    suspects: BTreeMap<K, Suspect<K>>,
    /// How many records were rejected in a row, and why.
    refusals: (String, u32),
    blind_cuts: u32,
    /// The batches for which there was no room to be parked: they wait until something parked is taken or rejected.
    crowded: BTreeSet<K>,
    /// How many batches are parked, and the first of them that has several records.
    pieces: usize,
    first_piece: Option<K>,
    noise: Noise,
    /// The parts of batches that were cut in place and were not tried yet: since when the whole failed, and the number of the request
    /// that did first.
    parts: BTreeMap<K, (Instant, u64)>,
    /// The batch that was cut last: its bytes, and those of its parts that were not taken yet.
    last_cut: Option<(usize, Vec<K>)>,
    /// A batch of so many bytes failed, and all of its parts were taken.
    too_large: Option<usize>,
}

impl<K: Copy + Ord> Blame<K> {
    /// `clock` is the number of the latest request of the process.
    pub(crate) fn new(strict_order: bool, clock: u64) -> Self {
        Self {
            strict_order,
            clock,
            taken: None,
            well: false,
            doubts: BTreeMap::new(),
            suspects: BTreeMap::new(),
            refusals: (String::new(), 0),
            blind_cuts: 0,
            crowded: BTreeSet::new(),
            pieces: 0,
            first_piece: None,
            noise: Noise(Noise::LEAST),
            parts: BTreeMap::new(),
            last_cut: None,
            too_large: None,
        }
    }

    /// Notes that there was no room to park a batch.
    pub(crate) fn note_crowded(&mut self, key: K) {
        self.crowded.insert(key);
    }

    /// Has all that is parked tried now.
    pub(crate) fn hurry(&mut self, now: Instant) {
        self.suspects.values_mut().for_each(|suspect| suspect.next_at = suspect.next_at.min(now));
    }

    /// Whether a parked batch may be cut: while there are few pieces, else the first only.
    fn has_room_for_parts(&self, key: K) -> bool {
        self.pieces < MAX_PIECES || self.first_piece.is_none_or(|first| key <= first)
    }

    /// Whether a batch that is refused is cut further: not while many single records were refused and wait for the evidence to be
    /// rejected. After that, it is judged by samples.
    fn may_bisect(&self) -> bool {
        let is_refused_alone = |suspect: &&Suspect<K>| {
            suspect.failed.as_ref().is_some_and(|failed| failed.records == 1 && failed.is_refusal())
        };
        let waiting = self.suspects.values().filter(is_refused_alone).count();
        waiting < MAX_REFUSALS as usize || self.refusals.1 >= MAX_REFUSALS
    }

    /// How many records are known to fail alone, and are tried again for long.
    pub(crate) fn deferred(&self) -> usize {
        self.suspects.values().filter(|suspect| suspect.is_deferred()).count()
    }

    /// Notes the number of a request that begins.
    pub(crate) fn begin(&mut self, request: u64) {
        self.clock = request;
    }

    /// Notes that the endpoint took something of the partition with the request of this number.
    fn note_taken(&mut self, begun: u64, now: Instant) {
        self.taken = self.taken.max(Some(begun));
        self.well = true;
        self.blind_cuts = 0;
        self.noise.add(false);
        let evidence = self.noise.evidence();
        for suspect in self.suspects.values_mut() {
            if suspect.failed_at.take_if(|failed_at| *failed_at < begun).is_none() {
                continue;
            }
            if suspect.preceded {
                suspect.sandwiches += 1;
                suspect.evidence += evidence;
                if suspect.is_deferred() {
                    suspect.deferred += (now - suspect.counted_at).min(2 * DEFERRED_DELAY);
                }
                suspect.counted_at = now;
            }
            // It can be acted upon, or tried again with more success.
            if !suspect.is_deferred() {
                suspect.next_at = now;
            }
        }
    }
}

/// Batches in their place.
impl<K: Copy + Ord> Blame<K> {
    /// Notes that something failed that is not parked: it can be the endpoint's fault, so that what failed aside meanwhile is no
    /// evidence.
    fn note_failed(&mut self) {
        self.well = false;
        self.suspects.values_mut().for_each(|suspect| suspect.preceded = false);
    }

    /// Ends the doubt about a batch, which does not fail in its place any more.
    fn end_doubt(&mut self, key: K) -> Option<Doubt<K>> {
        self.crowded.remove(&key);
        self.doubts.remove(&key)
    }

    /// Notes that a batch was taken.
    pub(crate) fn taken(&mut self, key: K, bytes: usize, begun: u64, now: Instant) {
        if let Some(doubt) = self.end_doubt(key) {
            (0..doubt.total.min(8)).for_each(|_| self.noise.add(true));
        }
        if self.too_large.is_some_and(|too_large| bytes >= too_large) {
            self.too_large = None;
        }
        self.parts = self.parts.split_off(&key);
        self.parts.remove(&key);
        self.note_part_taken(key);
        self.note_taken(begun, now);
    }

    /// Notes that a batch of so many bytes was cut in its place, and where its parts begin.
    pub(crate) fn cut(&mut self, key: K, bytes: usize, parts: &[K]) {
        if let Some(doubt) = self.end_doubt(key) {
            self.parts.extend(parts.iter().map(|part| (*part, (doubt.since, doubt.first))));
        }
        self.last_cut = Some((bytes, parts.to_vec()));
    }

    /// Notes that a batch does not exist any more as it was: it was evicted or skipped.
    pub(crate) fn forget(&mut self, key: K) {
        self.end_doubt(key);
    }

    /// A batch whose parts are all taken was too large.
    fn note_part_taken(&mut self, key: K) {
        if let Some((bytes, parts)) = &mut self.last_cut {
            parts.retain(|part| *part != key);
            if parts.is_empty() {
                self.too_large = Some(self.too_large.map_or(*bytes, |before| before.min(*bytes)));
                self.last_cut = None;
            }
        }
    }

    /// The farthest control of a batch that failed; without one, the batch.
    pub(crate) fn farthest_control(&self, key: K) -> K {
        self.doubts.get(&key).and_then(|doubt| doubt.controls.last().copied()).unwrap_or(key)
    }

    /// Notes that a batch failed.
    pub(crate) fn failed(&mut self, key: K, failed: &Failed, begun: u64, unsent: Unsent, now: Instant) -> Move<K> {
        let several = failed.records > 1;
        let says_size = several && failed.suspicion == Suspicion::Size;
        // One that waits for room, or of which the endpoint says that it is too large, is known to be to blame.
        if !self.crowded.contains(&key) && !says_size {
            self.note_failed();
        }
        self.last_cut.take_if(|(_, parts)| parts.contains(&key));
        let (since, first) = self.parts.remove(&key).unwrap_or((now, begun));
        let doubt = self.doubts.entry(key).or_insert_with(|| Doubt {
            since,
            first,
            failures: 0,
            total: 0,
            taken: None,
            controls: Vec::new(),
            rounds: 0,
        });
        doubt.failures = doubt.failures.saturating_add(1);
        doubt.total = doubt.total.saturating_add(1);
        if says_size {
            return Move::Cut;
        }
        let slowly = if matches!(failed.suspicion, Suspicion::Content | Suspicion::Size | Suspicion::Endpoint) {
            Move::Hold
        } else {
            Move::Retry
        };
        if self.strict_order {
            let cut = several && failed.suspicion == Suspicion::Content && self.blind_cuts < MAX_BLIND_CUTS;
            self.blind_cuts += u32::from(cut);
            return if cut { Move::Cut } else { slowly };
        }
        if several && self.too_large.is_some_and(|too_large| failed.bytes >= too_large) {
            return Move::Cut;
        }
        let enough = doubt.failures >= failures_before_control(failed.suspicion);
        let soon = matches!(failed.suspicion, Suspicion::Unknown | Suspicion::Time) && now - doubt.since < PATIENCE;
        let other_taken = self.taken.is_some_and(|taken| taken > doubt.first);
        if let Some(control) = doubt.taken.take() {
            return self.found(failed, control);
        }
        if !enough || soon {
            return slowly;
        }
        // Where there is no room, the evidence is needed that empties some.
        if other_taken && !self.crowded.contains(&key) {
            return self.found(failed, Place::Near);
        }
        // Smaller parts may fare better; the endpoint may have stored the whole, so that it comes late.
        let may_be_cut = several && self.blind_cuts < MAX_BLIND_CUTS;
        if may_be_cut && doubt.total >= 2 * FAILURES_WITHOUT_CONTROL {
            self.blind_cuts += 1;
            return Move::Cut;
        }
        if let Some(control) = doubt.control(failed, unsent) {
            return Move::Control(control);
        }
        if other_taken {
            return self.found(failed, Place::Near);
        }
        if may_be_cut && (failed.suspicion == Suspicion::Content || doubt.total >= FAILURES_WITHOUT_CONTROL) {
            self.blind_cuts += 1;
            return Move::Cut;
        }
        slowly
    }

    /// The fault is the batch's: another record was taken while it failed.
    fn found(&self, failed: &Failed, control: Place<K>) -> Move<K> {
        let in_place = failed.suspicion == Suspicion::Content
            && failed.named.is_none()
            && failed.records > 1
            && self.refusals.1.max(u32::try_from(self.suspects.len()).unwrap_or(u32::MAX)) < MAX_REFUSALS;
        match control {
            Place::Near if in_place => Move::Cut,
            Place::Near => Move::Park(None),
            Place::BehindOthers(control) => Move::Park(Some(control)),
        }
    }

    /// Notes that the control of a batch was taken.
    pub(crate) fn control_taken(&mut self, key: K, control: K, begun: u64, now: Instant) -> Move<K> {
        self.note_taken(begun, now);
        if let Some(doubt) = self.doubts.get_mut(&key) {
            doubt.controls.retain(|failed| *failed != control);
            let behind_others = doubt.controls.iter().any(|failed| *failed < control);
            doubt.taken = Some(if behind_others { Place::BehindOthers(control) } else { Place::Near });
        }
        Move::Confirm
    }

    /// Notes that the control of a batch failed.
    pub(crate) fn control_failed(&mut self, key: K, control: K) {
        self.note_failed();
        if let Some(doubt) = self.doubts.get_mut(&key)
            && let Err(at) = doubt.controls.binary_search(&control)
        {
            doubt.controls.insert(at, control);
            if doubt.controls.len() > MAX_CONTROLS {
                doubt.controls.remove(MAX_CONTROLS / 2);
            }
        }
    }

    /// What is done next about a batch whose control failed.
    pub(crate) fn after_control(
        &mut self,
        key: K,
        of_batch: &Failed,
        of_control: Suspicion,
        unsent: Unsent,
    ) -> Move<K> {
        let Some(doubt) = self.doubts.get_mut(&key) else { return Move::Retry };
        doubt.failures = 0;
        if of_batch.suspicion != Suspicion::Content {
            return Move::Retry;
        }
        // A refusal costs no time: where the bad stretch ends is found out at once.
        let further = of_control == Suspicion::Content && doubt.controls.len() < MAX_CONTROLS;
        match doubt.ahead(of_batch, unsent).filter(|_| further) {
            Some(control) => Move::Control(control),
            None => Move::Hold,
        }
    }
}

impl<K: Copy + Ord> Doubt<K> {
    /// The next control, if there is any: a new one and one of before by turns.
    fn control(&mut self, failed: &Failed, unsent: Unsent) -> Option<Control<K>> {
        let round = self.rounds;
        self.rounds = round.wrapping_add(1);
        let new_every = if self.controls.len() < MAX_CONTROLS { 2 } else { ROUNDS_PER_NEW_CONTROL };
        let new = self.ahead(failed, unsent);
        let again = self.controls.get(round as usize / 2 % self.controls.len().max(1)).copied().map(Control::Again);
        if round.is_multiple_of(new_every) { new.or(again) } else { again.or(new) }
    }

    /// A new control: the nearest record at first, then 2, 4, 8, ... batches further, and never the newest while there is
    /// another: a receiver that refuses what is older than the newest would refuse all the rest.
    fn ahead(&self, failed: &Failed, unsent: Unsent) -> Option<Control<K>> {
        if self.controls.is_empty() {
            return (unsent.behind > 0).then_some(Control::Ahead(unsent.before));
        }
        let last = unsent.behind.checked_sub(2)?;
        let further = failed.records.saturating_mul(1 << self.controls.len());
        Some(Control::Ahead(unsent.before + if further > last { last / 2 } else { further }))
    }
}

/// Batches aside.
impl<K: Copy + Ord> Blame<K> {
    /// Notes that a batch was parked that was tried like this.
    pub(crate) fn parked(&mut self, key: K, tries: Tries, now: Instant) {
        self.end_doubt(key);
        self.suspects.insert(key, Suspect { tries, ..Suspect::new(now, Duration::ZERO) });
    }

    /// The next step aside, among the batches that the spool has parked, in order.
    pub(crate) fn next_aside(&mut self, parked: &[Parked<K>], defer_for: Duration, now: Instant) -> Aside<K> {
        self.pieces = parked.len();
        self.first_piece = parked.iter().find(|(_, records, _)| *records > 1).map(|(key, ..)| *key);
        let defer_for = if self.crowded.is_empty() { defer_for } else { defer_for.min(CROWDED_DEFER_FOR) };
        let is_parked = |key: &K| parked.binary_search_by(|(parked, ..)| parked.cmp(key)).is_ok();
        for suspect in self.suspects.values_mut() {
            // A sample that was evicted says nothing.
            suspect.samples.take_if(|samples| !samples.iter().all(is_parked));
        }
        self.suspects.retain(|key, _| is_parked(key));
        let mut next: Option<(Instant, K)> = None;
        let may_bisect = self.may_bisect();
        for (key, _, deferred) in parked {
            let suspect = self.suspects.entry(*key).or_insert_with(|| Suspect::new(now, *deferred));
            // Others decide about it.
            if suspect.samples.as_ref().is_some_and(|samples| !samples.is_empty()) {
                continue;
            }
            if !may_bisect && suspect.failed.as_ref().is_some_and(Failed::is_refusal_of_some) {
                continue;
            }
            // The first of those that are due: the parts of one batch before another batch.
            let at = suspect.next_at.max(suspect.not_before.unwrap_or(now)).max(now);
            if next.is_none_or(|(earliest, _)| at < earliest) {
                next = Some((at, *key));
            }
        }
        match next {
            None => Aside::Nothing,
            Some((at, _)) if at > now => Aside::Wait(at),
            Some((_, key)) => Aside::Do(key, self.action(key, defer_for)),
        }
    }

    /// What the evidence allows to be done with a parked batch.
    fn action(&self, key: K, defer_for: Duration) -> Action {
        let Some(suspect) = self.suspects.get(&key) else { return Action::Try };
        let Some(failed) = &suspect.failed else { return Action::Try };
        if suspect.samples.is_some() {
            return Action::RejectInferred(failed.clone());
        }
        // It may have failed once more since: an attempt is often in flight when another request is taken.
        let sure = suspect.evidence >= EVIDENCE_TO_REJECT;
        if failed.named.is_some() {
            return if sure { Action::RejectNamed(failed.clone()) } else { Action::Try };
        }
        if failed.records > 1 {
            // To cut does no harm where the endpoint has nothing of it.
            let weak = (suspect.preceded && failed.is_refusal()) || suspect.failures >= FAILURES_WITHOUT_CONTROL;
            if (suspect.evidence < EVIDENCE_TO_CUT && !weak) || !self.has_room_for_parts(key) {
                return Action::Try;
            }
            let (middle, last) = (failed.records / 2, failed.records - 1);
            let sampled = failed.is_refusal()
                && failed.records >= MIN_SAMPLED
                && self.refusals.1 >= MAX_REFUSALS
                && self.refusals.0 == failed.signature();
            return Action::Cut(if sampled { vec![1, middle, middle + 1, last] } else { vec![middle] });
        }
        let waited = suspect.deferred >= defer_for && suspect.sandwiches >= MIN_DEFERRED_FAILURES;
        // What has no words is given up for others first.
        let waited = waited || (!self.crowded.is_empty() && failed.suspicion == Suspicion::Unreadable);
        match failed.suspicion {
            Suspicion::Content | Suspicion::Size if sure => Action::Reject(failed.clone()),
            Suspicion::Load => Action::Try,
            _ if sure && waited => Action::Reject(failed.clone()),
            _ => Action::Try,
        }
    }

    /// Notes that a parked batch was taken.
    pub(crate) fn aside_taken(&mut self, key: K, begun: u64, now: Instant) {
        self.suspects.remove(&key);
        self.refusals.1 = 0;
        self.crowded.clear();
        self.note_part_taken(key);
        // What depends on it as a sample is judged by itself.
        for suspect in self.suspects.values_mut() {
            suspect.samples.take_if(|samples| samples.contains(&key));
        }
        self.note_taken(begun, now);
    }

    /// Notes that a parked batch failed. `delay` of the number of failures says when it is tried again if nothing is taken
    /// before.
    pub(crate) fn aside_failed(&mut self, key: K, failed: Failed, now: Instant, delay: impl FnOnce(u32) -> Duration) {
        self.last_cut.take_if(|(_, parts)| parts.contains(&key));
        let (clock, preceded) = (self.clock, self.well);
        let has_room_for_parts = self.has_room_for_parts(key);
        let suspect = self.suspects.entry(key).or_insert_with(|| Suspect::new(now, Duration::ZERO));
        if suspect.failed.as_ref().is_some_and(|before| before.is_refusal() != failed.is_refusal()) {
            // What it failed with before is another matter.
            (suspect.evidence, suspect.sandwiches) = (0.0, 0);
        }
        suspect.failures = suspect.failures.saturating_add(1);
        (suspect.failed_at, suspect.preceded) = (Some(clock), preceded);
        let can_be_cut = failed.is_refusal_of_some() && preceded && has_room_for_parts;
        suspect.failed = Some(failed);
        let delay = if can_be_cut { Duration::ZERO } else { delay(suspect.failures).min(DEFERRED_DELAY) };
        suspect.next_at = after(now, delay);
    }

    /// Notes that nothing was learned about a parked batch.
    pub(crate) fn aside_unknown(&mut self, key: K, now: Instant, delay: Duration) {
        if let Some(suspect) = self.suspects.get_mut(&key) {
            suspect.next_at = after(now, delay);
        }
    }

    /// Notes that a parked batch was cut, and where its parts begin. Returns its last failure.
    pub(crate) fn aside_cut(&mut self, key: K, bytes: usize, parts: &[K], now: Instant) -> Option<Failed> {
        let cut = self.suspects.remove(&key)?;
        self.last_cut = Some((bytes, parts.to_vec()));
        for part in parts {
            self.suspects.insert(*part, Suspect::new(now, cut.deferred));
        }
        if let [first, before, middle, behind, last] = parts {
            for part in [before, behind] {
                let (samples, failed) = (Some(vec![*first, *middle, *last]), cut.failed.clone());
                self.suspects.insert(*part, Suspect { failed, samples, ..Suspect::new(now, cut.deferred) });
            }
        }
        cut.failed
    }

    /// Notes that a parked batch of one record is rejected.
    pub(crate) fn aside_rejected(&mut self, key: K, failed: &Failed) {
        self.suspects.remove(&key);
        self.crowded.clear();
        let signature = failed.signature();
        for suspect in self.suspects.values_mut() {
            let Some(samples) = suspect.samples.as_mut().filter(|samples| samples.contains(&key)) else { continue };
            let alike = suspect.failed.as_ref().is_some_and(|whole| whole.signature() == signature);
            if alike && failed.is_refusal() {
                samples.retain(|sample| *sample != key);
            } else {
                suspect.samples = None;
            }
        }
        if self.refusals.0 == signature {
            self.refusals.1 = self.refusals.1.saturating_add(1);
        } else {
            self.refusals = (signature, 1);
        }
    }

    /// How the next attempt at a parked batch is made.
    pub(crate) fn aside_tries(&mut self, key: K) -> Option<&mut Tries> {
        self.suspects.get_mut(&key).map(|suspect| &mut suspect.tries)
    }

    /// Has a parked batch left alone until a time, whatever is taken.
    pub(crate) fn aside_not_before(&mut self, key: K, at: Instant) {
        if let Some(suspect) = self.suspects.get_mut(&key) {
            suspect.not_before = Some(at);
        }
    }

    /// Notes that the records of a parked batch cannot be rejected by name.
    pub(crate) fn aside_unnamed(&mut self, key: K) {
        if let Some(failed) = self.suspects.get_mut(&key).and_then(|suspect| suspect.failed.as_mut()) {
            failed.named = None;
        }
    }

    /// How long a parked batch has been deferred.
    pub(crate) fn deferred_for(&self, key: K) -> Duration {
        self.suspects.get(&key).map_or(Duration::ZERO, |suspect| suspect.deferred)
    }

    /// Whether there is nothing to remember.
    pub(crate) fn is_idle(&self) -> bool {
        self.doubts.is_empty() && self.suspects.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);
    const SECOND: Duration = Duration::from_secs(1);

    fn failed(suspicion: Suspicion, records: u64) -> Failed {
        Failed {
            records,
            bytes: 1000 * usize::try_from(records).unwrap(),
            suspicion,
            cause: format!("the server responded with 400: field 7 ({suspicion:?})"),
            reason: String::new(),
            status: 400,
            response: b"why".to_vec(),
            named: None,
        }
    }

    /// A partition whose batches begin at the records of these numbers.
    struct Setup {
        blame: Blame<u64>,
        requests: u64,
        now: Instant,
        unsent: Unsent,
    }

    impl Setup {
        fn new() -> Self {
            Self {
                blame: Blame::new(false, 0),
                requests: 0,
                now: Instant::now(),
                unsent: Unsent { before: 0, behind: 10_000 },
            }
        }

        fn begin(&mut self) -> u64 {
            self.requests += 1;
            self.blame.begin(self.requests);
            self.requests
        }

        fn fail(&mut self, key: u64, suspicion: Suspicion, records: u64) -> Move<u64> {
            self.now += 2 * SECOND;
            let begun = self.begin();
            self.blame.failed(key, &failed(suspicion, records), begun, self.unsent, self.now)
        }

        fn take(&mut self, key: u64) {
            let begun = self.begin();
            self.blame.taken(key, 1000, begun, self.now);
        }

        fn take_control(&mut self, of: u64, control: u64) -> Move<u64> {
            let begun = self.begin();
            self.blame.control_taken(of, control, begun, self.now)
        }

        fn fail_control(&mut self, of: u64, control: u64, suspicion: Suspicion, records: u64) -> Move<u64> {
            self.blame.control_failed(of, control);
            self.blame.after_control(of, &failed(suspicion, records), suspicion, self.unsent)
        }

        fn aside(&mut self, parked: &[(u64, u64)]) -> Aside<u64> {
            let parked: Vec<_> = parked.iter().map(|(key, records)| (*key, *records, Duration::ZERO)).collect();
            self.blame.next_aside(&parked, DAY, self.now)
        }

        fn fail_aside(&mut self, key: u64, suspicion: Suspicion, records: u64) {
            self.begin();
            self.blame.aside_failed(key, failed(suspicion, records), self.now, |failures| match failures {
                ..4 => SECOND,
                _ => 30 * failures * SECOND,
            });
        }
    }

    #[test]
    fn a_batch_that_is_refused_is_cut_in_place_once_a_control_was_taken_and_it_was_refused_again() {
        let mut setup = Setup::new();
        assert_eq!(setup.fail(0, Suspicion::Content, 512), Move::Control(Control::Ahead(0)));
        assert_eq!(setup.take_control(0, 512), Move::Confirm);
        assert_eq!(setup.fail(0, Suspicion::Content, 512), Move::Cut);
        setup.blame.cut(0, 512_000, &[0, 256]);
        // Its parts take no controls of their own.
        setup.take(0);
        assert_eq!(setup.fail(256, Suspicion::Content, 256), Move::Cut);
        setup.blame.cut(256, 256_000, &[256, 384]);
        assert_eq!(setup.fail(256, Suspicion::Content, 1), Move::Park(None), "down to a single record");
    }

    #[test]
    fn a_single_record_is_rejected_only_between_two_requests_that_were_taken() {
        let mut setup = Setup::new();
        setup.blame.parked(7, Tries::default(), setup.now);
        assert_eq!(setup.aside(&[(7, 1)]), Aside::Do(7, Action::Try));
        setup.fail_aside(7, Suspicion::Content, 1);
        setup.now += SECOND;
        setup.take(8);
        assert_eq!(setup.aside(&[(7, 1)]), Aside::Do(7, Action::Try), "nothing was taken before");
        for _ in 0..2 {
            setup.fail_aside(7, Suspicion::Content, 1);
            setup.now += SECOND;
            assert_eq!(setup.aside(&[(7, 1)]), Aside::Do(7, Action::Try), "nothing was taken since");
            setup.take(9);
        }
        let Aside::Do(7, Action::Reject(rejected)) = setup.aside(&[(7, 1)]) else { panic!() };
        assert_eq!(rejected.response, b"why");
        setup.blame.aside_rejected(7, &rejected);
        assert_eq!(setup.aside(&[]), Aside::Nothing);
        assert!(setup.blame.is_idle());
    }

    #[test]
    fn a_record_of_which_an_attempt_is_in_flight_whenever_another_is_taken_is_rejected_all_the_same() {
        let mut setup = Setup::new();
        setup.take(1);
        setup.blame.parked(7, Tries::default(), setup.now);
        setup.fail_aside(7, Suspicion::Content, 1);
        for _ in 0..2 {
            setup.now += SECOND;
            assert_eq!(setup.aside(&[(7, 1)]), Aside::Do(7, Action::Try));
            let live = setup.begin();
            setup.begin();
            setup.blame.taken(8, 1000, live, setup.now);
            setup.fail_aside(7, Suspicion::Content, 1);
        }
        setup.now += SECOND;
        assert!(matches!(setup.aside(&[(7, 1)]), Aside::Do(7, Action::Reject(_))));
    }

    #[test]
    fn a_request_that_was_in_flight_already_is_no_evidence() {
        let mut setup = Setup::new();
        setup.take(1);
        setup.blame.parked(7, Tries::default(), setup.now);
        let before = setup.begin();
        setup.fail_aside(7, Suspicion::Content, 1);
        setup.blame.taken(8, 1000, before, setup.now);
        setup.now += SECOND;
        assert_eq!(setup.aside(&[(7, 1)]), Aside::Do(7, Action::Try));
    }

    #[test]
    fn what_is_refused_while_others_are_refused_as_well_is_no_evidence() {
        let mut setup = Setup::new();
        setup.take(1);
        setup.blame.parked(7, Tries::default(), setup.now);
        for _ in 0..5 {
            setup.fail_aside(7, Suspicion::Content, 1);
            setup.fail(8, Suspicion::Content, 1);
            setup.fail_aside(7, Suspicion::Content, 1);
            setup.take(8);
            setup.now += SECOND;
            assert_eq!(setup.aside(&[(7, 1)]), Aside::Do(7, Action::Try));
        }
    }

    #[test]
    fn batches_that_are_too_large_keep_no_refused_record_from_being_rejected() {
        let mut setup = Setup::new();
        setup.take(1);
        setup.blame.parked(7, Tries::default(), setup.now);
        for _ in 0..2 {
            assert_eq!(setup.aside(&[(7, 1)]), Aside::Do(7, Action::Try));
            setup.fail_aside(7, Suspicion::Content, 1);
            assert_eq!(setup.fail(8, Suspicion::Size, 2), Move::Cut);
            setup.blame.cut(8, 2_000, &[8, 9]);
            // Never are two requests behind one another taken that both begin behind the attempt.
            setup.take(8);
        }
        assert!(matches!(setup.aside(&[(7, 1)]), Aside::Do(7, Action::Reject(_))));
    }

    #[test]
    fn where_everything_is_refused_controls_lie_further_and_further_behind_and_then_everything_is_held() {
        let mut setup = Setup::new();
        let mut controls = Vec::new();
        let mut next = setup.fail(0, Suspicion::Content, 100);
        let mut at = 100;
        while let Move::Control(Control::Ahead(ahead)) = next {
            let further = ahead - setup.unsent.before;
            assert!(further + 1 < setup.unsent.behind, "{ahead} is the newest of {:?}", setup.unsent);
            at += further + 1;
            setup.unsent.before += further;
            setup.unsent.behind -= further + 1;
            controls.push(further);
            next = setup.fail_control(0, at - 1, Suspicion::Content, 100);
        }
        assert_eq!(next, Move::Hold);
        assert_eq!(controls[..4], [0, 200, 400, 800]);
        assert!(controls.len() <= MAX_CONTROLS);
        // The next time one of those is tried again.
        setup.unsent.behind = 0;
        assert!(matches!(setup.fail(0, Suspicion::Content, 100), Move::Control(Control::Again(_))));
    }

    #[test]
    fn what_lies_before_a_control_that_is_taken_behind_others_is_parked_with_the_batch() {
        let mut setup = Setup::new();
        assert_eq!(setup.fail(0, Suspicion::Content, 100), Move::Control(Control::Ahead(0)));
        assert_eq!(setup.fail_control(0, 100, Suspicion::Content, 100), Move::Control(Control::Ahead(200)));
        assert_eq!(setup.take_control(0, 301), Move::Confirm);
        assert_eq!(setup.fail(0, Suspicion::Content, 100), Move::Park(Some(301)));
    }

    #[test]
    fn what_fails_without_a_word_is_tried_three_times_over_five_seconds_before_others_overtake_it() {
        let mut setup = Setup::new();
        for _ in 0..3 {
            assert_eq!(setup.fail(0, Suspicion::Unknown, 100), Move::Retry);
        }
        assert_eq!(setup.fail(0, Suspicion::Unknown, 100), Move::Control(Control::Ahead(0)));
        assert_eq!(setup.fail_control(0, 100, Suspicion::Unknown, 100), Move::Retry, "it is the endpoint");
        for _ in 0..2 {
            assert_eq!(setup.fail(0, Suspicion::Unknown, 100), Move::Retry);
        }
        assert!(matches!(setup.fail(0, Suspicion::Unknown, 100), Move::Control(_)));
        setup.take_control(0, 100);
        assert_eq!(setup.fail(0, Suspicion::Unknown, 100), Move::Park(None));
    }

    #[test]
    fn a_record_that_the_endpoint_fails_for_is_tried_every_ten_minutes_for_a_day_and_then_rejected() {
        let mut setup = Setup::new();
        setup.take(1);
        setup.blame.parked(7, Tries::default(), setup.now);
        let mut tries = 0;
        let begun = setup.now;
        loop {
            match setup.aside(&[(7, 1)]) {
                Aside::Do(7, Action::Try) => {
                    tries += 1;
                    setup.fail_aside(7, Suspicion::Unknown, 1);
                    setup.take(8);
                }
                Aside::Wait(at) => setup.now = at,
                Aside::Do(7, Action::Reject(_)) => break,
                other => panic!("{other:?}"),
            }
        }
        let took = setup.now - begun;
        assert!((DAY..DAY + 3 * DEFERRED_DELAY).contains(&took), "{took:?}");
        assert!((145..170).contains(&tries), "{tries} times");
    }

    #[test]
    fn a_day_in_which_nothing_is_taken_rejects_nothing() {
        let mut setup = Setup::new();
        setup.take(1);
        setup.blame.parked(7, Tries::default(), setup.now);
        for _ in 0..1000 {
            match setup.aside(&[(7, 1)]) {
                Aside::Do(7, Action::Try) => setup.fail_aside(7, Suspicion::Unknown, 1),
                Aside::Wait(at) => setup.now = at + DEFERRED_DELAY,
                other => panic!("{other:?}"),
            }
        }
        setup.take(8);
        assert!(!matches!(setup.aside(&[(7, 1)]), Aside::Do(7, Action::Reject(_))));
    }

    #[test]
    fn after_many_refusals_for_the_same_reason_a_batch_is_judged_by_its_first_middle_and_last_record() {
        let mut setup = Setup::new();
        setup.take(1);
        for _ in 0..MAX_REFUSALS {
            setup.blame.aside_rejected(2, &failed(Suspicion::Content, 1));
        }
        setup.blame.parked(100, Tries::default(), setup.now);
        assert_eq!(setup.aside(&[(100, 64)]), Aside::Do(100, Action::Try));
        setup.fail_aside(100, Suspicion::Content, 64);
        assert_eq!(setup.aside(&[(100, 64)]), Aside::Do(100, Action::Cut(vec![1, 32, 33, 63])));
        let parts = [100, 101, 132, 133, 163];
        setup.blame.aside_cut(100, 64_000, &parts, setup.now);
        let mut parked = vec![(100, 1), (101, 31), (132, 1), (133, 30), (163, 1)];
        for _ in 0..2 {
            for sample in [100, 132, 163] {
                assert_eq!(setup.aside(&parked), Aside::Do(sample, Action::Try));
                setup.fail_aside(sample, Suspicion::Content, 1);
            }
            setup.take(900);
        }
        for sample in [100, 132, 163] {
            let Aside::Do(key, Action::Reject(rejected)) = setup.aside(&parked) else { panic!() };
            assert_eq!(key, sample);
            setup.blame.aside_rejected(key, &rejected);
            parked.retain(|(parked, _)| *parked != key);
        }
        assert!(matches!(setup.aside(&parked), Aside::Do(101, Action::RejectInferred(_))));
    }

    #[test]
    fn a_sample_that_is_taken_ends_the_inference() {
        let mut setup = Setup::new();
        setup.take(1);
        for _ in 0..MAX_REFUSALS {
            setup.blame.aside_rejected(2, &failed(Suspicion::Content, 1));
        }
        setup.blame.parked(100, Tries::default(), setup.now);
        setup.fail_aside(100, Suspicion::Content, 64);
        setup.blame.aside_cut(100, 64_000, &[100, 101, 132, 133, 163], setup.now);
        setup.blame.aside_taken(132, 50, setup.now);
        let left = [(100, 1), (101, 31), (133, 30), (163, 1)];
        for (key, _) in left {
            assert_eq!(setup.aside(&left), Aside::Do(key, Action::Try));
            setup.fail_aside(key, Suspicion::Unknown, 9);
        }
    }

    #[test]
    fn once_halves_are_taken_where_the_whole_failed_what_is_as_large_is_cut_at_its_first_failure() {
        let mut setup = Setup::new();
        for _ in 0..4 {
            setup.fail(0, Suspicion::Unknown, 100);
        }
        setup.take_control(0, 100);
        assert_eq!(setup.fail(0, Suspicion::Unknown, 100), Move::Park(None));
        setup.blame.parked(0, Tries::default(), setup.now);
        setup.take(150);
        setup.fail_aside(0, Suspicion::Unknown, 100);
        setup.take(200);
        assert_eq!(setup.aside(&[(0, 100)]), Aside::Do(0, Action::Cut(vec![50])));
        setup.blame.aside_cut(0, 100_000, &[0, 50], setup.now);
        for part in [0, 50] {
            let begun = setup.begin();
            setup.blame.aside_taken(part, begun, setup.now);
        }
        assert_eq!(setup.fail(300, Suspicion::Unknown, 100), Move::Cut);
        assert_eq!(setup.fail(400, Suspicion::Unknown, 60), Move::Retry, "a smaller one");
    }

    #[test]
    fn without_anything_behind_it_a_refused_batch_is_cut_thrice_and_a_single_record_stays() {
        let mut setup = Setup::new();
        setup.unsent.behind = 0;
        assert_eq!(setup.fail(0, Suspicion::Content, 1), Move::Hold);
        assert_eq!(setup.fail(0, Suspicion::Content, 1), Move::Hold);
        let cuts = (1..100).take_while(|key| setup.fail(*key, Suspicion::Content, 512) == Move::Cut).count();
        assert_eq!(cuts, 7);
    }

    #[test]
    fn with_a_strict_order_there_is_no_control() {
        let mut setup = Setup { blame: Blame::new(true, 0), ..Setup::new() };
        for _ in 0..20 {
            assert_eq!(setup.fail(0, Suspicion::Unknown, 100), Move::Retry);
        }
        assert_eq!(setup.fail(0, Suspicion::Size, 100), Move::Cut);
        assert_eq!(setup.fail(0, Suspicion::Content, 1), Move::Hold);
    }

    #[test]
    fn an_endpoint_that_fails_at_random_takes_more_evidence() {
        let evidence = |failures: u32| {
            let mut setup = Setup::new();
            for key in 0..failures {
                setup.fail(u64::from(key), Suspicion::Unknown, 10);
                setup.take(u64::from(key));
            }
            setup.blame.noise.evidence()
        };
        assert!(evidence(0) > EVIDENCE_TO_REJECT / 2.0);
        assert!(evidence(20) < EVIDENCE_TO_CUT, "{}", evidence(20));
    }
}
