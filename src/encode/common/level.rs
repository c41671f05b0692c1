//! Severities on the scale of Python's `logging`.

use std::borrow::Cow;

use opentelemetry::logs::Severity;

use crate::encode::view::RecordOrigin;

pub(in crate::encode) struct Level {
    pub(in crate::encode) number: u8,
    pub(in crate::encode) name: &'static str,
    /// Both, as an object.
    pub(in crate::encode) json: &'static str,
}

const LEVELS: [(Severity, Level); 6] = [
    (Severity::Trace4, Level { number: 5, name: "TRACE", json: r#"{"number":5,"name":"TRACE"}"# }),
    (Severity::Debug4, Level { number: 10, name: "DEBUG", json: r#"{"number":10,"name":"DEBUG"}"# }),
    (Severity::Info4, Level { number: 20, name: "INFO", json: r#"{"number":20,"name":"INFO"}"# }),
    (Severity::Warn4, Level { number: 30, name: "WARNING", json: r#"{"number":30,"name":"WARNING"}"# }),
    (Severity::Error4, Level { number: 40, name: "ERROR", json: r#"{"number":40,"name":"ERROR"}"# }),
    (Severity::Fatal4, Level { number: 50, name: "CRITICAL", json: r#"{"number":50,"name":"CRITICAL"}"# }),
];

const NOT_SET: Level = Level { number: 0, name: "NOTSET", json: r#"{"number":0,"name":"NOTSET"}"# };

/// A severity on Python's scale.
#[inline]
pub(in crate::encode) fn python_level(severity: Option<Severity>) -> &'static Level {
    let level = severity.and_then(|severity| LEVELS.iter().find(|(last, _)| severity <= *last));
    level.map_or(&NOT_SET, |(_, level)| level)
}

/// The level of a record of another process, as it was sent, with the severity text as its name; `None` if it was sent without a number on this scale.
#[cold]
pub(in crate::encode) fn sent_level<'a>(text: Option<&'a str>, other: &RecordOrigin) -> Option<(i64, Cow<'a, str>)> {
    let number = other.level?;
    let levels = LEVELS.iter().map(|(_, level)| level).chain([&NOT_SET]);
    let named = || match levels.clone().find(|level| i64::from(level.number) == number) {
        Some(level) => Cow::Borrowed(level.name),
        // As Python calls it.
        None => Cow::Owned(format!("Level {number}")),
    };
    Some((number, text.map_or_else(named, Cow::Borrowed)))
}
