//! Items: what OpenTelemetry's conventions count. A log record and a span are one item; a record of metrics has one for each of
//! its points.

use std::sync::atomic::AtomicBool;

use crate::observe::counter::Counter;

/// Counts the items in a body of this content type; `None` if it cannot be read.
pub(crate) type CountItems = fn(content_type: &str, body: &[u8]) -> Option<u64>;

/// The items of an exporter whose records have several.
#[derive(Debug, Default)]
pub(crate) struct Items {
    /// Set if somebody asks for them.
    pub(crate) are_counted: AtomicBool,
    pub(crate) delivered: Counter,
    pub(crate) rejected: Counter,
}

/// How many items a record has in the mean, of those that were exported so far.
#[derive(Debug, Default)]
pub(crate) struct ItemsPerRecord {
    records: Counter,
    items: Counter,
}

impl ItemsPerRecord {
    /// Notes a record that is exported.
    #[cfg(any(feature = "metrics", test))]
    pub(crate) fn note(&self, items: u64) {
        self.records.add(1);
        self.items.add(items);
    }

    /// The items of so many records, rounded; one each if none was exported yet.
    pub(crate) fn of(&self, records: u64) -> u64 {
        let (seen, items) = (u128::from(self.records.get()), u128::from(self.items.get()));
        if seen == 0 {
            return records;
        }
        u64::try_from((u128::from(records) * items + seen / 2) / seen).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_have_the_mean_of_those_that_were_exported() {
        let per_record = ItemsPerRecord::default();
        assert_eq!(per_record.of(3), 3);
        for items in [64, 1, 4] {
            per_record.note(items);
        }
        assert_eq!([0, 1, 2, 3].map(|records| per_record.of(records)), [0, 23, 46, 69]);
        assert_eq!(per_record.of(u64::MAX), u64::MAX);
    }
}
