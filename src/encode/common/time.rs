//! The time of a record, and which times each format holds.
//!
//! A device without a clock logs in 1970, a broken one in any year that there is. A format that cannot hold a time gets the
//! nearest that it can, and the exact one stands beside it where the format has room: as [`EXACT`], the seconds since 1970.
//!
//! | format | from | to | beside it |
//! |---|---|---|---|
//! | JSON (`created`), `{created}` in a template | ever | ever | it is exact, to the microsecond |
//! | `{timestamp}`, `{asctime}` in a template | year 1 | year 9999 | `{created}` |
//! | OTLP | 1970, and a nanosecond: 0 says that there is no time | 2262 | an attribute |
//! | ClickHouse | 1970: no text of an earlier time is read by all versions | 2262 | an entry of `LogAttributes` |
//! | Loki | 1970 | 2262 | structured metadata |
//! | Splunk | 1970 | year 9999 | a member of `fields` |
//! | `_bulk` (`@timestamp`) | 1970 | year 9999 | the document's `created` |

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::logs::AnyValue;

use crate::encode::view::LogView;

/// The name of the exact time beside one that a format cannot hold.
pub(in crate::encode) const EXACT: &str = "spool.timestamp";

const NANOS_PER_SECOND: i128 = 1_000_000_000;
const END_OF_9999: i128 = 253_402_300_800 * NANOS_PER_SECOND;

/// When a record was made, else when it was observed.
#[inline]
pub(crate) fn time_of(record: &(impl LogView + ?Sized)) -> Option<SystemTime> {
    record.timestamp().or_else(|| record.observed_timestamp())
}

/// The same for formats that cannot do without: else it is now.
pub(in crate::encode) fn time_or_now(record: &dyn LogView) -> SystemTime {
    time_of(record).unwrap_or_else(SystemTime::now)
}

/// The times that a format holds, in nanoseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(in crate::encode) struct Span {
    first: i128,
    last: i128,
}

impl Span {
    /// Signed 64 bits of nanoseconds, from 1970 on.
    pub(in crate::encode) const NANOS: Self = Self { first: 0, last: i64::MAX as i128 };
    /// The same where 0 says that there is no time.
    #[cfg(feature = "otlp")]
    pub(in crate::encode) const NANOS_BUT_ZERO: Self = Self { first: 1, ..Self::NANOS };
    /// From 1970 on, in years of four digits.
    pub(in crate::encode) const YEARS: Self = Self { first: 0, last: END_OF_9999 - 1 };
    /// What has a date: the years 1 to 9999.
    const DATES: Self = Self { first: -62_135_596_800 * NANOS_PER_SECOND, last: END_OF_9999 - 1 };

    /// The nearest time that there is, in nanoseconds since 1970, and the exact one if it is another.
    pub(in crate::encode) fn nearest(self, time: SystemTime) -> (i128, Option<AnyValue>) {
        let exact = nanos_since_epoch(time);
        if (self.first..=self.last).contains(&exact) {
            return (exact, None);
        }
        let beside = AnyValue::from(seconds(exact, NANOS_PER_SECOND, 9));
        (exact.clamp(self.first, self.last), Some(beside))
    }
}

/// Nanoseconds in 64 bits, as a span of them has.
#[cfg(feature = "otlp")]
pub(in crate::encode) fn in_64_bits(nanos: i128) -> u64 {
    u64::try_from(nanos).unwrap_or_default()
}

/// The nearest time that OTLP holds, for what can do without the exact one.
#[cfg(any(feature = "metrics", feature = "trace"))]
pub(in crate::encode) fn nanos(time: SystemTime) -> u64 {
    in_64_bits(Span::NANOS.nearest(time).0)
}

/// Nanoseconds since 1970; negative before it.
#[inline]
pub(in crate::encode) fn nanos_since_epoch(time: SystemTime) -> i128 {
    let nanos = |duration: Duration| i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX);
    time.duration_since(UNIX_EPOCH).map_or_else(|before| -nanos(before.duration()), nanos)
}

/// Microseconds from one time to another, rounded down; negative if `time` is the earlier one.
pub(in crate::encode) fn micros_since(origin: SystemTime, time: SystemTime) -> i128 {
    micros(nanos_since_epoch(time) - nanos_since_epoch(origin))
}

/// Nanoseconds as microseconds, rounded down.
#[inline]
pub(in crate::encode) fn micros(nanos: i128) -> i128 {
    // 128 bits are slow, and not needed for three centuries.
    i64::try_from(nanos).map_or_else(|_| nanos.div_euclid(1000), |nanos| nanos.div_euclid(1000).into())
}

/// `value / scale`, with so many decimals.
pub(in crate::encode) fn seconds(value: i128, scale: i128, decimals: usize) -> String {
    let sign = if value < 0 { "-" } else { "" };
    let (value, scale) = (value.unsigned_abs(), scale.unsigned_abs());
    format!("{sign}{}.{:0decimals$}", value / scale, value % scale)
}

/// A date, and the time of that day, in UTC: the nearest that there is in the years 1 to 9999.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::encode) struct Date {
    pub(in crate::encode) year: i64,
    pub(in crate::encode) month: usize,
    pub(in crate::encode) day: i64,
    pub(in crate::encode) hour: i64,
    pub(in crate::encode) minute: i64,
    pub(in crate::encode) second: i64,
    pub(in crate::encode) micros: i64,
}

impl Date {
    pub(in crate::encode) fn of(time: SystemTime) -> Self {
        const DAYS_TO_1970: i64 = 719_162;
        const DAYS_OF_400_YEARS: i64 = 146_097;
        const MICROS_OF_A_DAY: i64 = 86_400_000_000;
        let nanos = nanos_since_epoch(time).clamp(Span::DATES.first, Span::DATES.last);
        let micros = i64::try_from(nanos.div_euclid(1000)).unwrap_or_default();
        let (days, micros) = (micros.div_euclid(MICROS_OF_A_DAY), micros.rem_euclid(MICROS_OF_A_DAY));
        let (cycle, days) = ((days + DAYS_TO_1970) / DAYS_OF_400_YEARS, (days + DAYS_TO_1970) % DAYS_OF_400_YEARS);
        // How many days there are in so many years from the cycle's first on.
        let days_of = |years: i64| years * 365 + years / 4 - years / 100 + years / 400;
        let early = days / 366;
        let years = if days_of(early + 1) <= days { early + 1 } else { early };
        let is_leap = days_of(years + 1) - days_of(years) == 366;
        let (mut month, mut day) = (0, days - days_of(years));
        for days in [31, 28 + i64::from(is_leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
            if day < days {
                break;
            }
            (month, day) = (month + 1, day - days);
        }
        let seconds = micros / 1_000_000;
        Self {
            year: cycle * 400 + years + 1,
            month: month + 1,
            day: day + 1,
            hour: seconds / 3600,
            minute: seconds / 60 % 60,
            second: seconds % 60,
            micros: micros % 1_000_000,
        }
    }
}
