//! Times as clients write them: numbers of some unit since 1970, and dates.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Beyond it, in seconds, there is no time that a format could write: the year 292,000.
const LAST: u64 = 9_223_372_036_854;

/// A time of so many seconds since 1970, as exactly as its digits say.
pub(super) fn of_seconds(text: &str) -> Option<SystemTime> {
    of_decimal(text, 0)
}

/// The same in seconds, milliseconds, microseconds or nanoseconds, whichever is a time between 1973 and 5138.
pub(super) fn of_number(text: &str) -> Option<SystemTime> {
    let value: f64 = text.parse().ok()?;
    let unit = [1e11, 1e14, 1e17].iter().filter(|limit| value.abs() >= **limit).count();
    of_decimal(text, 3 * unit)
}

/// The same in nanoseconds.
pub(super) fn of_nanos(text: &str) -> Option<SystemTime> {
    of_decimal(text, 9)
}

/// A time of so many seconds divided by a power of ten.
fn of_decimal(text: &str, power: usize) -> Option<SystemTime> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_decimal = !whole.is_empty()
        && whole.len() <= 30
        && [whole, fraction].iter().all(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
    let since = if is_decimal {
        let whole = format!("{whole:0>width$}", width = power + 1);
        let (seconds, more) = whole.split_at(whole.len() - power);
        let nanos: String = more.chars().chain(fraction.chars()).chain(std::iter::repeat('0')).take(9).collect();
        Duration::new(seconds.parse().ok()?, nanos.parse().ok()?)
    } else {
        let scale = i32::try_from(power).ok().map(|power| 10_f64.powi(power))?;
        Duration::try_from_secs_f64(digits.parse::<f64>().ok()? / scale).ok()?
    };
    at(negative, since)
}

fn at(negative: bool, since: Duration) -> Option<SystemTime> {
    let since = Some(since).filter(|since| since.as_secs() <= LAST)?;
    if negative { UNIX_EPOCH.checked_sub(since) } else { UNIX_EPOCH.checked_add(since) }
}

/// A date and time of RFC 3339: `2026-11-27T12:34:56.789+01:00`. There may be a space in place of the T, and a comma in place of the point.
/// Without an offset it is UTC.
pub(super) fn of_date(text: &str) -> Option<SystemTime> {
    let digits = |range: std::ops::Range<usize>| -> Option<i64> {
        let part = text.get(range)?;
        part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok())?
    };
    let separators: Vec<u8> = [4, 7, 10, 13, 16].iter().filter_map(|at| text.as_bytes().get(*at).copied()).collect();
    if !matches!(separators[..], [b'-', b'-', b'T' | b't' | b' ', b':', b':']) {
        return None;
    }
    let (year, month, day) = (digits(0..4)?, digits(5..7)?, digits(8..10)?);
    let (hour, minute, second) = (digits(11..13)?, digits(14..16)?, digits(17..19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut rest = text.get(19..)?;
    let mut nanos = 0;
    if let Some(fraction) = rest.strip_prefix(['.', ',']) {
        let len = fraction.bytes().take_while(u8::is_ascii_digit).count();
        nanos = format!("{:0<9}", &fraction[..len.min(9)]).parse().ok()?;
        rest = &fraction[len..];
    }
    let offset = match rest.trim_start() {
        "" | "Z" | "z" => 0,
        zone => {
            let sign = if zone.starts_with('-') { -1 } else { 1 };
            let zone = zone.strip_prefix(['+', '-'])?.replace(':', "");
            let is_zone = zone.len() == 4 && zone.bytes().all(|byte| byte.is_ascii_digit());
            let zone: i64 = zone.parse().ok().filter(|_| is_zone)?;
            sign * (zone / 100 * 3600 + zone % 100 * 60)
        }
    };
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    let whole = at(seconds < 0, Duration::from_secs(seconds.unsigned_abs()))?;
    whole.checked_add(Duration::from_nanos(nanos))
}

/// The days from 1970 to a date. Years begin with March here, so that the day that not every year has is the last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days_of_years = year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    days_of_years + (month * 153 + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(time: Option<SystemTime>) -> String {
        match time.map(|time| time.duration_since(UNIX_EPOCH)) {
            Some(Ok(since)) => format!("{}.{:09}", since.as_secs(), since.subsec_nanos()),
            Some(Err(error)) => format!("-{}.{:09}", error.duration().as_secs(), error.duration().subsec_nanos()),
            None => "none".to_owned(),
        }
    }

    #[test]
    #[cfg_attr(windows, ignore = "times have 100 ns there")]
    fn numbers_are_times_in_the_unit_that_makes_sense() {
        let cases = [
            ("0", "0.000000000"),
            ("1610393068", "1610393068.000000000"),
            ("1610393068.3654919", "1610393068.365491900"),
            ("99999999999", "99999999999.000000000"),
            ("1610393068365", "1610393068.365000000"),
            ("1610393068365.5", "1610393068.365500000"),
            ("1610393068365492", "1610393068.365492000"),
            ("1610393068365492123", "1610393068.365492123"),
            ("-1.5", "-1.500000000"),
            ("1.5e9", "1500000000.000000000"),
            ("1e300", "none"),
            ("NaN", "none"),
            ("Infinity", "none"),
            ("", "none"),
        ];
        for (text, expected) in cases {
            assert_eq!(shown(of_number(text)), expected, "{text}");
        }
        assert_eq!(shown(of_seconds("253402300799.999999")), "253402300799.999999000");
        assert_eq!(shown(of_seconds("99999999999999")), "none");
        assert_eq!(shown(of_seconds(&"9".repeat(400))), "none");
    }

    #[test]
    #[cfg_attr(windows, ignore = "times have 100 ns there")]
    fn dates_are_times() {
        let cases = [
            ("1970-01-01T00:00:00Z", "0.000000000"),
            ("2026-11-27T12:34:56.789Z", "1795782896.789000000"),
            ("2026-11-27 13:34:56,789+01:00", "1795782896.789000000"),
            ("2026-11-27t11:34:56.7890000009-0100", "1795782896.789000000"),
            ("2000-02-29T00:00:00", "951782400.000000000"),
            ("1969-12-31T23:59:59.25Z", "-0.750000000"),
            ("0001-01-01T00:00:00Z", "-62135596800.000000000"),
            ("2026-13-01T00:00:00Z", "none"),
            ("2026-11-27T24:00:00Z", "none"),
            ("2026-11-27T12:34:56X", "none"),
            ("2026-11-27T12:34:56+1", "none"),
            ("2026-11-27", "none"),
            ("2026-11-27T12:34:5é", "none"),
            ("yesterday", "none"),
        ];
        for (text, expected) in cases {
            assert_eq!(shown(of_date(text)), expected, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_time_or_none(number in r"-?[0-9]{0,40}(\.[0-9]{0,40})?(e[0-9]{1,3})?", date in r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}([.,][0-9]*)?.{0,7}", other: String) {
            for text in [number, date, other] {
                let _ = (of_number(&text), of_seconds(&text), of_date(&text));
            }
        }
    }
}
