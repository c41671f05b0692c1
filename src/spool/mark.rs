//! [`Mark`]: where the backlog ends and the new records begin, and [`Turns`]: whose request is next. Pure arithmetic.

use super::position::SegmentId;

/// The place behind which records do not wait for those before it. It lies between two segments, so that each half of
/// what waits is delivered like all of it otherwise: in the order of its lanes, each with its own cursor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Mark {
    /// The first segment of the new records.
    pub(super) from: SegmentId,
    /// The share of a partition's requests that its backlog has while new records wait as well.
    pub(super) backlog_share: f64,
}

/// The requests of a partition, shared by its backlog and its new records.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turns {
    /// The part of a request that the backlog has coming.
    owed: f64,
}

impl Turns {
    /// Whether the next request is the backlog's, where both wait.
    pub(super) fn is_backlogs(self, mark: &Mark) -> bool {
        self.owed + mark.backlog_share >= 1.0
    }

    /// Notes that a request begins, of the backlog or not, while both wait.
    pub(super) fn note(&mut self, mark: &Mark, is_backlogs: bool) {
        let taken = if is_backlogs { 1.0 } else { 0.0 };
        self.owed = (self.owed + mark.backlog_share - taken).clamp(0.0, 1.0);
    }

    /// Gives the next request to the backlog.
    pub(super) fn give_to_backlog(&mut self) {
        self.owed = 1.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_shared_as_it_was_asked_for_and_a_new_record_is_first() {
        for (backlog_share, expected) in [(0.0, "nnnnnnnn"), (0.25, "nnnbnnnb"), (0.5, "nbnbnbnb"), (0.75, "nbbbnbbb")]
        {
            let mark = Mark { from: SegmentId { number: 2, random: 0 }, backlog_share };
            let mut turns = Turns::default();
            let turn = |_| {
                let is_backlogs = turns.is_backlogs(&mark);
                turns.note(&mark, is_backlogs);
                if is_backlogs { 'b' } else { 'n' }
            };
            assert_eq!((0..8).map(turn).collect::<String>(), expected, "{backlog_share}");
        }
    }
}
