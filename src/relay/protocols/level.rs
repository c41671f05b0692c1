//! Levels as they are called outside of Python.

use opentelemetry::logs::Severity;

/// The severity of a level's name: those of winston with each of its scales, of syslog, and of most loggers. The case does not matter.
pub(super) fn of_name(name: &str) -> Option<Severity> {
    Some(match name.to_ascii_lowercase().as_str() {
        "trace" | "silly" | "finest" | "finer" | "input" | "prompt" => Severity::Trace,
        "debug" | "fine" => Severity::Debug,
        "verbose" => Severity::Debug2,
        "http" => Severity::Debug3,
        "info" | "information" | "informational" | "data" | "help" => Severity::Info,
        "notice" | "success" => Severity::Info2,
        "warn" | "warning" => Severity::Warn,
        "error" | "err" | "severe" => Severity::Error,
        "fatal" | "critical" | "crit" | "dpanic" => Severity::Fatal,
        "alert" | "panic" => Severity::Fatal2,
        "emerg" | "emergency" => Severity::Fatal3,
        _ => return None,
    })
}

/// The severity of a level's number with pino and bunyan: 10 is `trace`, 60 `fatal`; between them the lower.
pub(super) fn of_pino(number: i64) -> Option<Severity> {
    Some(match number {
        10..20 => Severity::Trace,
        20..30 => Severity::Debug,
        30..40 => Severity::Info,
        40..50 => Severity::Warn,
        50..60 => Severity::Error,
        60..=100 => Severity::Fatal,
        _ => return None,
    })
}

/// The severity of a number on OpenTelemetry's scale.
pub(super) fn of_number(number: i64) -> Option<Severity> {
    use Severity::{
        Debug, Debug2, Debug3, Debug4, Error, Error2, Error3, Error4, Fatal, Fatal2, Fatal3, Fatal4, Info, Info2,
        Info3, Info4, Trace, Trace2, Trace3, Trace4, Warn, Warn2, Warn3, Warn4,
    };
    const ALL: [Severity; 24] = [
        Trace, Trace2, Trace3, Trace4, Debug, Debug2, Debug3, Debug4, Info, Info2, Info3, Info4, Warn, Warn2, Warn3,
        Warn4, Error, Error2, Error3, Error4, Fatal, Fatal2, Fatal3, Fatal4,
    ];
    ALL.get(usize::try_from(number).ok()?.checked_sub(1)?).copied()
}
