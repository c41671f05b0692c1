//! [`History`]: the last minutes of a relay's counts, so that a page that was just opened has plots. It is bounded in memory,
//! and begins anew with each start.

use std::collections::VecDeque;
use std::time::Duration;

use crate::config::values::Signal;
use crate::observe::stats::SpoolStats;

/// The most moments that are kept, however often one is recorded.
const MAX_SAMPLES: usize = 600;

/// The counts of the last minutes.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    samples: VecDeque<Sample>,
}

/// The counts at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// The moment, since the start of the relay: the system's clock can jump.
    pub(crate) at: Duration,
    pub(crate) counts: Vec<(Signal, Counts)>,
    /// Messages that listeners have dropped with a loss.
    pub(crate) dropped: u64,
}

/// The counts of one signal at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counts {
    pub(crate) accepted: u64,
    pub(crate) delivered: u64,
    pub(crate) lost: u64,
    pub(crate) pending: u64,
    pub(crate) oldest: Option<Duration>,
}

impl History {
    /// The time that it reaches back.
    pub(crate) const SPAN: Duration = Duration::from_secs(5 * 60);

    /// Adds a moment, and drops those that are too old.
    pub(crate) fn push<'a>(
        &mut self,
        at: Duration,
        stats: impl Iterator<Item = (Signal, &'a SpoolStats)>,
        dropped: u64,
    ) {
        let counts = stats.map(|(signal, stats)| (signal, Counts::of(stats))).collect();
        self.samples.push_back(Sample { at, counts, dropped });
        let is_old = |sample: &Sample| sample.at + Self::SPAN < at;
        while self.samples.len() > MAX_SAMPLES || self.samples.front().is_some_and(is_old) {
            self.samples.pop_front();
        }
    }

    /// The moments, from the oldest to the newest.
    pub(crate) fn samples(&self) -> impl Iterator<Item = &Sample> {
        self.samples.iter()
    }

    /// The amount by which a count has grown over the history, for all signals. A signal that came later is counted from then on.
    pub(crate) fn growth(&self, count: impl Fn(&Counts) -> u64) -> u64 {
        let newest = self.samples.back().into_iter().flat_map(|sample| &sample.counts);
        let growth = newest.map(|(signal, newest)| {
            let mut of_signal = self.samples.iter().flat_map(|sample| &sample.counts).filter(|(of, _)| of == signal);
            let oldest = of_signal.next().map_or(newest, |(_, counts)| counts);
            count(newest).saturating_sub(count(oldest))
        });
        growth.sum()
    }

    /// The messages that listeners have dropped with a loss over the history.
    pub(crate) fn dropped(&self) -> u64 {
        let [oldest, newest] = [self.samples.front(), self.samples.back()].map(|sample| sample.map(|at| at.dropped));
        newest.unwrap_or_default().saturating_sub(oldest.unwrap_or_default())
    }
}

impl Counts {
    fn of(stats: &SpoolStats) -> Self {
        Self {
            accepted: stats.accepted_records,
            delivered: stats.delivered_records,
            lost: stats.lost_records,
            pending: stats.pending_records,
            oldest: stats.oldest_age,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(accepted_records: u64) -> SpoolStats {
        SpoolStats { accepted_records, ..SpoolStats::default() }
    }

    #[test]
    fn it_reaches_back_no_further_than_its_span() {
        let mut history = History::default();
        for second in 0..400_u32 {
            history.push(
                Duration::from_secs(second.into()),
                [(Signal::Logs, &stats(second.into()))].into_iter(),
                second.into(),
            );
        }
        let seconds: Vec<_> = history.samples().map(|sample| sample.at.as_secs()).collect();
        assert_eq!(seconds, (99..400).collect::<Vec<_>>());
        assert_eq!((history.growth(|counts| counts.accepted), history.dropped()), (300, 300));
    }

    #[test]
    fn it_is_bounded_however_often_a_moment_is_recorded() {
        let mut history = History::default();
        for at in 0..10_000 {
            history.push(Duration::from_millis(at), std::iter::empty(), 0);
        }
        assert_eq!(history.samples().count(), MAX_SAMPLES);
    }

    #[test]
    fn growth_is_that_of_all_signals_and_none_without_history() {
        let mut history = History::default();
        assert_eq!((history.growth(|counts| counts.accepted), history.dropped()), (0, 0));
        let (logs, traces) = (stats(5), stats(700));
        history.push(Duration::from_secs(1), [(Signal::Logs, &logs)].into_iter(), 0);
        history.push(Duration::from_secs(2), [(Signal::Logs, &stats(6)), (Signal::Traces, &traces)].into_iter(), 0);
        assert_eq!(history.growth(|counts| counts.accepted), 1, "a signal that came later has not grown by all it has");
        history.push(Duration::from_secs(3), [(Signal::Logs, &logs), (Signal::Traces, &stats(703))].into_iter(), 0);
        assert_eq!(history.growth(|counts| counts.accepted), 3, "a count that fell has not grown");
    }
}
