//! The time of a record.

use crate::encode::view::LogView;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// When a record was made, else when it was observed.
#[inline]
pub(crate) fn time_of(record: &dyn LogView) -> Option<SystemTime> {
    record.timestamp().or(record.observed_timestamp())
}

/// The same since 1970, for formats that cannot do without: else it is now.
pub(in crate::encode) fn since_epoch(record: &dyn LogView) -> Duration {
    time_of(record).unwrap_or_else(SystemTime::now).duration_since(UNIX_EPOCH).unwrap_or_default()
}
