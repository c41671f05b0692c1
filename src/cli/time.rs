//! Times and durations, as they are typed and shown.

use std::time::{Duration, SystemTime};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, SpanRelativeTo, Timestamp};

/// A time in RFC 3339, a date, or an age.
pub(super) fn parse_time(text: &str) -> Result<SystemTime, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time.into());
    }
    if let Some(midnight) = midnight(text) {
        return Ok(midnight);
    }
    let ago = parse_duration(text).map_err(|_| {
        "allowed are a time in RFC 3339 like 2026-05-01T12:00:00Z, a date like 2026-05-01, at which it is 00:00 UTC, or an age \
         like 2h or 1d 30m"
    })?;
    SystemTime::now().checked_sub(ago).ok_or_else(|| "this time is before the clock's first".to_owned())
}

/// The begin of a day, in UTC as all times that are printed. A date with a time of day has to say its offset.
fn midnight(text: &str) -> Option<SystemTime> {
    let date = text.parse::<Date>().ok().filter(|date| date.to_string() == text)?;
    Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp().into())
}

pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let parse = || {
        let span: Span = text.parse().ok()?;
        Duration::try_from(span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?).ok()
    };
    parse().ok_or_else(|| "allowed are durations like 90s, 30m, 2h or 1d 12h".to_owned())
}

/// RFC 3339, in milliseconds.
pub(super) fn rfc3339(time: SystemTime) -> String {
    Timestamp::try_from(time).map_or_else(|_| "?".to_owned(), |time| format!("{time:.3}"))
}

/// Nanoseconds since 1970 as RFC 3339, in microseconds.
pub(super) fn of_nanos(nanos: u64) -> String {
    Timestamp::from_nanosecond(nanos.into()).map_or_else(|_| "?".to_owned(), |time| format!("{time:.6}"))
}

/// RFC 3339, in seconds.
pub(super) fn seconds(time: SystemTime) -> String {
    Timestamp::try_from(time).map_or_else(|_| "?".to_owned(), |time| format!("{time:.0}"))
}

const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];

/// A duration in its largest unit, in whole ones.
pub(super) fn brief(duration: Duration) -> String {
    let secs = duration.as_secs();
    let unit = UNITS.iter().find(|(_, unit)| secs >= *unit);
    unit.map_or_else(|| "0s".to_owned(), |(name, unit)| format!("{}{name}", secs / unit))
}

/// How long ago a time was, in the largest unit. A clock that was set back makes it now.
pub(super) fn age(at: SystemTime, now: SystemTime) -> String {
    brief(now.duration_since(at).unwrap_or_default())
}

/// A duration in its two largest units.
pub(super) fn rough(duration: Duration) -> String {
    let secs = duration.as_secs();
    let Some(largest) = UNITS.iter().position(|(_, unit)| secs >= *unit) else {
        return format!("{} ms", duration.as_millis());
    };
    let (name, unit) = UNITS[largest];
    match UNITS.get(largest + 1) {
        Some((next_name, next)) if secs % unit >= *next => {
            format!("{}{name} {}{next_name}", secs / unit, secs % unit / next)
        }
        _ => format!("{}{name}", secs / unit),
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn times_are_read_in_rfc_3339_with_any_offset_as_a_date_or_as_an_age() {
        let expected = UNIX_EPOCH + Duration::from_secs(1_610_393_068);
        assert_eq!(parse_time("2021-01-11T19:24:28Z"), Ok(expected));
        assert_eq!(parse_time("2021-01-11T20:24:28+01:00"), Ok(expected));
        assert_eq!(parse_time("2021-01-11"), Ok(UNIX_EPOCH + Duration::from_secs(1_610_323_200)));
        let ago = SystemTime::now().duration_since(parse_time("2h").unwrap()).unwrap();
        assert!(ago >= Duration::from_secs(7200) - Duration::from_secs(1), "{ago:?}");
        for wrong in ["", "yesterday", "2021-01-11T19:24", "2021-01-11 19:24:28", "2021-02-30", "20210111", "-2h", "12"]
        {
            assert!(parse_time(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(parse_duration("1d 12h"), Ok(Duration::from_secs(36 * 3600)));
    }

    #[test]
    fn durations_are_shown_in_two_units() {
        let shown = [0, 59, 60, 3661, 86_400, 90_000_000].map(|secs| rough(Duration::from_secs(secs)));
        assert_eq!(shown, ["0 ms", "59s", "1m", "1h 1m", "1d", "1041d 16h"]);
    }

    #[test]
    fn an_age_has_one_unit() {
        let shown = [0, 59, 119, 7199, 90_000_000].map(|secs| brief(Duration::from_secs(secs)));
        assert_eq!(shown, ["0s", "59s", "1m", "1h", "1041d"]);
        assert_eq!(age(UNIX_EPOCH + Duration::from_secs(1), UNIX_EPOCH), "0s");
    }

    #[test]
    fn times_are_shown_in_rfc_3339() {
        let time = UNIX_EPOCH + Duration::from_millis(1_610_393_068_365);
        assert_eq!((rfc3339(time), seconds(time)), ("2021-01-11T19:24:28.365Z".into(), "2021-01-11T19:24:28Z".into()));
    }
}
