//! [`Verdict`]: the state of a relay in one line, for whoever opens the page with a problem.

use std::time::Duration;

use crate::relay::status::history::History;
use crate::relay::status::snapshot::{Delivery, SignalStatus, Snapshot};

/// The age of the oldest record from which delivery counts as behind.
const BEHIND: Duration = Duration::from_secs(10);

/// The state of a relay in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) level: Level,
    pub(crate) text: String,
    /// The endpoint's words, or what follows from the state.
    pub(crate) detail: String,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Nothing is to be done.
    Good,
    /// Nothing is lost, and it may pass by itself.
    Warning,
    /// Someone has to act, or records are lost.
    Bad,
}

impl Level {
    /// The level as text.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Warning => "warning",
            Self::Bad => "bad",
        }
    }
}

impl Verdict {
    fn new(level: Level, text: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { level, text: text.into(), detail: detail.into() }
    }

    /// The worst that is true of the relay.
    pub(crate) fn of(snapshot: &Snapshot) -> Self {
        if let Some(refusal) = &snapshot.refusal {
            return Self::new(Level::Bad, "accepts no records", refusal.words());
        }
        for status in &snapshot.signals {
            if let Delivery::Held(words) = &status.delivery {
                return Self::new(Level::Bad, format!("endpoint refuses{}", name(snapshot, "", status)), words);
            }
        }
        let recently = format!("within the last {}", words(History::SPAN.min(snapshot.uptime)));
        let lost = snapshot.history.growth(|counts| counts.lost);
        if lost > 0 {
            let were = if lost == 1 { "record was" } else { "records were" };
            return Self::new(Level::Bad, "records are lost", format!("{lost} {were} lost {recently}."));
        }
        for status in &snapshot.signals {
            if let Delivery::Failing(words) = &status.delivery {
                let text = format!("delivery{} fails, and is retried", name(snapshot, " of", status));
                return Self::new(Level::Warning, text, words);
            }
        }
        let dropped = snapshot.history.dropped();
        if dropped > 0 {
            let were = if dropped == 1 { "message was" } else { "messages were" };
            return Self::new(
                Level::Warning,
                "messages are dropped",
                format!("{dropped} {were} not taken {recently}."),
            );
        }
        let oldest = snapshot.signals.iter().filter_map(|status| status.stats.oldest_age).max();
        if let Some(age) = oldest.filter(|age| *age >= BEHIND) {
            return Self::new(Level::Warning, format!("behind by {}", words(age)), "Records wait to be delivered.");
        }
        if snapshot.signals.iter().any(|status| status.stats.recovering) {
            return Self::new(Level::Good, "recovering", "The spool is being scanned after a crash.");
        }
        let waits = snapshot.signals.iter().any(|status| status.stats.pending_records > 0);
        if !waits && snapshot.history.growth(|counts| counts.accepted) == 0 {
            return Self::new(Level::Good, "idle", format!("No record came {recently}."));
        }
        Self::new(Level::Good, "delivering", "Records are delivered as they come.")
    }
}

/// The name of a signal behind `word`, where there are several.
fn name(snapshot: &Snapshot, word: &str, status: &SignalStatus) -> String {
    if snapshot.signals.len() > 1 { format!("{word} {}", status.signal) } else { String::new() }
}

/// A duration in its two largest units.
fn words(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    let (large, unit, small, small_unit) = match seconds {
        0..60 => return format!("{seconds} s"),
        60..3_600 => (minutes, "min", seconds % 60, "s"),
        3_600..86_400 => (hours, "h", minutes % 60, "min"),
        _ => (days, "d", hours % 24, "h"),
    };
    if small == 0 { format!("{large} {unit}") } else { format!("{large} {unit} {small} {small_unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::counts::DropReason;
    use crate::relay::status::snapshot::Refusal;
    use crate::relay::status::snapshot::tests::busy;

    type Change<'a> = Box<dyn FnOnce(&mut Snapshot) + 'a>;

    /// A relay of logs alone that delivers.
    fn working() -> Snapshot {
        let mut snapshot = busy();
        snapshot.signals.truncate(1);
        snapshot.signals[0].delivery = Delivery::Working;
        snapshot.signals[0].stats.oldest_age = Some(Duration::from_secs(1));
        snapshot
    }

    /// Another moment, in which a count has grown.
    fn later(mut snapshot: Snapshot, change: impl FnOnce(&mut Snapshot)) -> Snapshot {
        snapshot.uptime += Duration::from_secs(1);
        change(&mut snapshot);
        snapshot.record();
        snapshot
    }

    #[test]
    fn it_is_the_worst_that_is_true() {
        use Level::{Bad, Good, Warning};
        let mut two = working();
        two.signals.push(busy().signals.remove(1));
        two.signals[1].stats.oldest_age = None;
        let failing = Delivery::Failing("connection refused".to_owned());
        let held = Delivery::Held("401: no token".to_owned());
        let cases: Vec<(Snapshot, Change<'_>, Level, &str, &str)> = vec![
            (working(), Box::new(|_| ()), Good, "delivering", "as they come"),
            (working(), Box::new(|s| s.signals[0].stats.pending_records = 0), Good, "idle", "last 1 min 1 s"),
            (Snapshot::default(), Box::new(|_| ()), Good, "idle", "last 1 s"),
            (working(), Box::new(|s| s.signals[0].stats.recovering = true), Good, "recovering", "scanned"),
            (
                working(),
                Box::new(|s| s.signals[0].stats.oldest_age = Some(Duration::from_secs(3_700))),
                Warning,
                "behind by 1 h 1 min",
                "wait",
            ),
            (
                working(),
                Box::new(|s| s.signals[0].delivery = failing.clone()),
                Warning,
                "delivery fails, and is retried",
                "connection refused",
            ),
            (
                two.clone(),
                Box::new(|s| s.signals[1].delivery = failing.clone()),
                Warning,
                "delivery of traces fails, and is retried",
                "connection refused",
            ),
            (
                working(),
                Box::new(|s| s.listeners[0].intakes[0].dropped[DropReason::Cut as usize] += 2),
                Warning,
                "messages are dropped",
                "2 messages were not taken",
            ),
            (
                working(),
                Box::new(|s| s.listeners[0].intakes[0].dropped[DropReason::Duplicate as usize] += 2),
                Good,
                "delivering",
                "as they come",
            ),
            (
                working(),
                Box::new(|s| s.signals[0].stats.lost_records += 1),
                Bad,
                "records are lost",
                "1 record was lost",
            ),
            (working(), Box::new(|s| s.signals[0].delivery = held.clone()), Bad, "endpoint refuses", "401: no token"),
            (two, Box::new(|s| s.signals[1].delivery = held.clone()), Bad, "endpoint refuses traces", "401: no token"),
            (
                busy(),
                Box::new(|s| s.refusal = Some(Refusal::SpoolFull)),
                Bad,
                "accepts no records",
                "the spool is full",
            ),
        ];
        for (snapshot, change, level, text, detail) in cases {
            let verdict = Verdict::of(&later(snapshot, change));
            assert_eq!((verdict.level, verdict.text.as_str()), (level, text));
            assert!(verdict.detail.contains(detail), "{verdict:?}");
        }
    }

    #[test]
    fn a_duration_has_its_two_largest_units() {
        for (seconds, expected) in
            [(0, "0 s"), (59, "59 s"), (60, "1 min"), (61, "1 min 1 s"), (3_660, "1 h 1 min"), (90_000, "1 d 1 h")]
        {
            assert_eq!(words(Duration::from_secs(seconds)), expected);
        }
    }
}
