//! [`LogRecord`]: the attributes of Python's `logging.LogRecord`, however they were sent, as a [`Record`].
//!
//! | attribute of Python | in the record |
//! |---|---|
//! | `created` | the timestamp; the arrival if it is no finite number |
//! | `relativeCreated`, `levelno`, `process`, `processName` | the origin; the last two in its resource as well |
//! | `msg`, else `message` | the body |
//! | `levelno`, `levelname` | severity, severity text |
//! | `name` | the scope |
//! | `pathname`, `funcName`, `lineno`, `thread`, `threadName` | `code.file.path`, `code.function.name`, `code.line.number`, `thread.id`, `thread.name` |
//! | `exc_text`, `stack_info` | `exception.stacktrace`, joined by a newline |
//! | `filename`, `module`, `msecs`, `asctime`, `exc_info` | nothing: the others say it already |
//! | `args` | an attribute if there are any, since the client has then not merged them into `msg` |
//! | `taskName`, and any other | an attribute of the same name |

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::logs::{AnyValue, Severity};
use opentelemetry::{InstrumentationScope, Key};

use crate::encode::{is_null, null};
use crate::relay::record::Record;

/// Python's levels with their names and OpenTelemetry's severities, from the highest down.
const LEVELS: [(i64, &[&str], Severity); 6] = [
    (50, &["CRITICAL", "FATAL"], Severity::Fatal),
    (40, &["ERROR"], Severity::Error),
    (30, &["WARNING", "WARN"], Severity::Warn),
    (20, &["INFO"], Severity::Info),
    (10, &["DEBUG"], Severity::Debug),
    (5, &["TRACE"], Severity::Trace),
];

/// The attributes of a Python log record, to be set one by one.
///
/// Numbers are taken as texts as well, since forms send nothing else. A value that its attribute cannot have, such as the text
/// `soon` as `created`, is kept as an attribute of that name. No value (Python's `None`) is the same as leaving the attribute out, but
/// for those that Python does not know.
#[derive(Debug, Default)]
pub(crate) struct LogRecord {
    fields: [Option<AnyValue>; Field::COUNT],
    extra: Vec<(Key, AnyValue)>,
}

/// An attribute that has a place of its own in a [`Record`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Args,
    Created,
    ExcText,
    FuncName,
    LevelName,
    LevelNumber,
    Line,
    Message,
    Msg,
    Name,
    Pathname,
    Process,
    ProcessName,
    RelativeCreated,
    StackInfo,
    TaskName,
    Thread,
    ThreadName,
}

impl Field {
    const COUNT: usize = Self::ThreadName as usize + 1;

    /// Every field with the name that Python gives it, in their order.
    const NAMES: [&str; Self::COUNT] = [
        "args",
        "created",
        "exc_text",
        "funcName",
        "levelname",
        "levelno",
        "lineno",
        "message",
        "msg",
        "name",
        "pathname",
        "process",
        "processName",
        "relativeCreated",
        "stack_info",
        "taskName",
        "thread",
        "threadName",
    ];
}

/// The place of an attribute.
enum Place {
    Field(Field),
    Nowhere,
    Extra,
}

impl Place {
    #[inline]
    fn of(name: &[u8]) -> Self {
        Self::Field(match name {
            b"args" => Field::Args,
            b"created" => Field::Created,
            b"exc_text" => Field::ExcText,
            b"funcName" => Field::FuncName,
            b"levelname" => Field::LevelName,
            b"levelno" => Field::LevelNumber,
            b"lineno" => Field::Line,
            b"message" => Field::Message,
            b"msg" => Field::Msg,
            b"name" => Field::Name,
            b"pathname" => Field::Pathname,
            b"process" => Field::Process,
            b"processName" => Field::ProcessName,
            b"relativeCreated" => Field::RelativeCreated,
            b"stack_info" => Field::StackInfo,
            b"taskName" => Field::TaskName,
            b"thread" => Field::Thread,
            b"threadName" => Field::ThreadName,
            b"asctime" | b"exc_info" | b"filename" | b"module" | b"msecs" => return Self::Nowhere,
            _ => return Self::Extra,
        })
    }
}

impl LogRecord {
    /// Sets an attribute by the name that Python gives it. The last of several values counts.
    pub(crate) fn set(&mut self, key: &str, value: AnyValue) {
        self.set_with(key, |_| if is_null(&value) { None } else { Some(value) });
    }

    /// The same with a value that is made only if it is needed; `None` is Python's. `value` is told whether the attribute is
    /// one that Python itself sets.
    #[inline]
    pub(crate) fn set_with(&mut self, key: &str, value: impl FnOnce(bool) -> Option<AnyValue>) {
        match Place::of(key.as_bytes()) {
            Place::Field(field) => self.fields[field as usize] = value(true),
            Place::Nowhere => {}
            Place::Extra => {
                let value = value(false).unwrap_or_else(null);
                self.extra.push((key.to_owned().into(), value));
            }
        }
    }

    /// The same if it is an attribute that Python itself sets; false if it is not, and nothing is set.
    #[inline]
    pub(crate) fn set_standard(&mut self, key: &[u8], value: impl FnOnce() -> Option<AnyValue>) -> bool {
        match Place::of(key) {
            Place::Field(field) => self.fields[field as usize] = value(),
            Place::Nowhere => {}
            Place::Extra => return false,
        }
        true
    }

    /// The record of these attributes, which arrived at this time.
    pub(crate) fn into_record(mut self, arrived: SystemTime) -> Record {
        self.lift_extra();
        let mut record = Record { observed: Some(arrived), ..Record::default() };
        record.timestamp = Some(self.take(Field::Created, time).unwrap_or(arrived));
        record.origin.relative_created = self.take(Field::RelativeCreated, number).filter(|millis| millis.is_finite());
        let merged = self.fields[Field::Message as usize].take();
        record.body = self.fields[Field::Msg as usize].take().or(merged);
        record.severity_text = self.take(Field::LevelName, text);
        record.origin.level =
            self.take(Field::LevelNumber, int).or_else(|| record.severity_text.as_deref().and_then(level_of_name));
        record.severity = record.origin.level.and_then(severity);
        if let Some(name) = self.take(Field::Name, text) {
            record.scope = InstrumentationScope::builder(name).build();
        }

        let mut attributes = Vec::with_capacity(self.extra.len() + 8);
        let mut add = |key, value: Option<AnyValue>| {
            if let Some(value) = value {
                attributes.push((Key::from_static_str(key), value));
            }
        };
        add("code.file.path", self.take(Field::Pathname, text).map(AnyValue::from));
        add("code.function.name", self.take(Field::FuncName, text).map(AnyValue::from));
        add("code.line.number", self.take(Field::Line, int).map(AnyValue::from));
        add("thread.id", self.take(Field::Thread, int).map(AnyValue::from));
        add("thread.name", self.take(Field::ThreadName, text).map(AnyValue::from));
        add("exception.stacktrace", self.stack_trace().map(AnyValue::from));

        let origin = &mut record.origin;
        origin.process_id = self.take(Field::Process, int);
        origin.process_name = self.take(Field::ProcessName, text);
        if let Some(id) = origin.process_id {
            origin.resource.push((Key::from_static_str("process.pid"), id.into()));
        }

        // Those that have no place of their own, and those whose value does not fit there.
        for (name, value) in Field::NAMES.into_iter().zip(&mut self.fields) {
            if let Some(value) = value.take() {
                attributes.push((Key::from_static_str(name), value));
            }
        }
        attributes.append(&mut self.extra);
        record.attributes = attributes;
        record
    }

    /// Takes the value of a field, unless it is of another kind: then it stays.
    #[inline]
    fn take<T>(&mut self, field: Field, read: impl FnOnce(AnyValue) -> Result<T, AnyValue>) -> Option<T> {
        let place = &mut self.fields[field as usize];
        match read(place.take()?) {
            Ok(value) => Some(value),
            Err(value) => {
                *place = Some(value);
                None
            }
        }
    }

    /// The traceback and the stack, as Python's formatter prints them; none if that is blank.
    fn stack_trace(&mut self) -> Option<String> {
        let (trace, stack) = (self.take(Field::ExcText, text), self.take(Field::StackInfo, text));
        let joined = match (trace, stack) {
            (Some(trace), Some(stack)) => format!("{trace}\n{stack}"),
            (trace, stack) => trace.or(stack)?,
        };
        let trimmed = joined.trim();
        (!trimmed.is_empty()).then(|| trimmed.to_owned())
    }

    /// Loguru puts all that a record has beyond Python's attributes into a lone one named `extra`: its members are what was meant.
    fn lift_extra(&mut self) {
        if let [(key, value)] = &mut self.extra[..]
            && key.as_str() == "extra"
            && !is_null(value)
            && let AnyValue::Map(members) = value
        {
            let members = std::mem::take(members);
            self.extra.clear();
            self.extra.extend(*members);
            self.extra.sort_by(|(one, _), (other, _)| one.as_str().cmp(other.as_str()));
        }
    }
}

fn text(value: AnyValue) -> Result<String, AnyValue> {
    match value {
        AnyValue::String(text) => Ok(text.into()),
        other => Err(other),
    }
}

fn int(value: AnyValue) -> Result<i64, AnyValue> {
    match &value {
        AnyValue::Int(number) => Some(*number),
        AnyValue::String(text) => text.as_str().trim().parse().ok(),
        #[allow(clippy::cast_possible_truncation, reason = "it is whole, and within the bounds")]
        AnyValue::Double(number) if number.fract() == 0.0 && number.abs() < 9e15 => Some(*number as i64),
        _ => None,
    }
    .ok_or(value)
}

fn number(value: AnyValue) -> Result<f64, AnyValue> {
    match &value {
        #[allow(clippy::cast_precision_loss, reason = "times have fewer digits")]
        AnyValue::Int(number) => Some(*number as f64),
        AnyValue::Double(number) => Some(*number),
        AnyValue::String(text) => text.as_str().trim().parse().ok(),
        _ => None,
    }
    .ok_or(value)
}

/// A time of so many seconds since 1970, to the microsecond: a float holds no more.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "it is whole, and within the bounds"
)]
fn time(value: AnyValue) -> Result<SystemTime, AnyValue> {
    const MICROS_PER_SECOND: f64 = 1e6;
    let seconds = number(value)?;
    let micros = (seconds.abs() * MICROS_PER_SECOND).round();
    // Beyond it there is no time that a format could write: 292,000 years.
    if micros >= i64::MAX as f64 || micros.is_nan() {
        return Err(seconds.into());
    }
    let since = Duration::from_micros(micros as u64);
    let time = if seconds < 0.0 { UNIX_EPOCH.checked_sub(since) } else { UNIX_EPOCH.checked_add(since) };
    time.ok_or(seconds.into())
}

/// The number of one of Python's levels.
fn level_of_name(name: &str) -> Option<i64> {
    let named = |names: &[&str]| names.iter().any(|known| known.eq_ignore_ascii_case(name));
    LEVELS.iter().find(|(_, names, _)| named(names)).map(|(number, ..)| *number)
}

/// The severity of a level: that of the nearest one of Python's below it.
pub(super) fn severity(level: i64) -> Option<Severity> {
    let below = LEVELS.iter().find(|(number, ..)| *number <= level);
    below.map(|(.., severity)| *severity).or((level > 0).then_some(Severity::Trace))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARRIVED: SystemTime = UNIX_EPOCH;

    fn record(attributes: &[(&str, AnyValue)]) -> Record {
        let mut record = LogRecord::default();
        for (key, value) in attributes {
            record.set(key, value.clone());
        }
        record.into_record(ARRIVED + Duration::from_secs(1))
    }

    fn attribute(record: &Record, name: &str) -> Option<AnyValue> {
        record.attributes.iter().rev().find(|(key, _)| key.as_str() == name).map(|(_, value)| value.clone())
    }

    #[test]
    fn every_attribute_of_python_has_its_place_as_a_value_and_as_a_text() {
        let values: [(&str, AnyValue, &str); 19] = [
            ("name", "shop.orders".into(), "shop.orders"),
            ("msg", "taken".into(), "taken"),
            ("message", "never shown".into(), "never shown"),
            ("levelname", "Level 17".into(), "Level 17"),
            ("levelno", 17.into(), "17"),
            ("pathname", "/srv/shop/orders.py".into(), "/srv/shop/orders.py"),
            ("filename", "orders.py".into(), "orders.py"),
            ("module", "orders".into(), "orders"),
            ("exc_text", "Traceback\n  boom\n".into(), "Traceback\n  boom\n"),
            ("stack_info", "Stack\n".into(), "Stack\n"),
            ("lineno", 12.into(), "12"),
            ("funcName", "take".into(), "take"),
            ("created", 1_610_393_068.365_492_f64.into(), "1610393068.365492"),
            ("msecs", 365.0.into(), "365.0"),
            ("relativeCreated", 1505.5.into(), "1505.5"),
            ("thread", 140_000_000_000_001_i64.into(), "140000000000001"),
            ("threadName", "MainThread".into(), "MainThread"),
            ("process", 42.into(), "42"),
            ("processName", "worker".into(), "worker"),
        ];
        let as_values: Vec<_> = values.iter().map(|(key, value, _)| (*key, value.clone())).collect();
        let as_texts: Vec<_> = values.iter().map(|(key, _, text)| (*key, AnyValue::from(*text))).collect();
        for record in [record(&as_values), record(&as_texts)] {
            assert_eq!(record.timestamp, Some(UNIX_EPOCH + Duration::from_micros(1_610_393_068_365_492)));
            assert_eq!(record.observed, Some(UNIX_EPOCH + Duration::from_secs(1)));
            assert_eq!(record.body, Some("taken".into()));
            assert_eq!((record.severity, record.severity_text.as_deref()), (Some(Severity::Debug), Some("Level 17")));
            assert_eq!(record.scope.name(), "shop.orders");
            let pairs = |pairs: Vec<(&'static str, AnyValue)>| -> Vec<(Key, AnyValue)> {
                pairs.into_iter().map(|(key, value)| (key.into(), value)).collect()
            };
            assert_eq!(
                record.attributes,
                pairs(vec![
                    ("code.file.path", "/srv/shop/orders.py".into()),
                    ("code.function.name", "take".into()),
                    ("code.line.number", 12.into()),
                    ("thread.id", 140_000_000_000_001_i64.into()),
                    ("thread.name", "MainThread".into()),
                    ("exception.stacktrace", "Traceback\n  boom\n\nStack".into()),
                ])
            );
            let origin = &record.origin;
            assert_eq!((origin.process_id, origin.process_name.as_deref()), (Some(42), Some("worker")));
            assert_eq!((origin.level, origin.relative_created), (Some(17), Some(1505.5)));
            let resource = vec![("process.pid", 42.into())];
            assert_eq!(origin.resource, pairs(resource));
        }
    }

    #[test]
    fn a_value_that_does_not_fit_stays_an_attribute_and_none_is_left_out() {
        let record = record(&[
            ("created", "soon".into()),
            ("lineno", "x".into()),
            ("name", 7.into()),
            ("thread", 1e300.into()),
            ("args", null()),
            ("exc_info", null()),
            ("taskName", null()),
            ("exc_text", " \n".into()),
            ("user", null()),
        ]);
        assert_eq!(record.timestamp, record.observed);
        let rest: Vec<_> = record.attributes.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
        let expected =
            [("created", "soon".into()), ("lineno", "x".into()), ("name", 7.into()), ("thread", 1e300.into())];
        assert_eq!(rest[..4], expected);
        assert_eq!(rest[4..], [("user", null())]);
    }

    #[test]
    fn arguments_that_were_not_merged_and_a_task_are_kept() {
        let record = record(&[("msg", "%s".into()), ("args", "('a',)".into()), ("taskName", "Task-1".into())]);
        assert_eq!(attribute(&record, "args"), Some("('a',)".into()));
        assert_eq!(attribute(&record, "taskName"), Some("Task-1".into()));
    }

    #[test]
    fn a_message_that_is_merged_already_is_the_body_where_there_is_no_other() {
        assert_eq!(record(&[("message", "merged".into())]).body, Some("merged".into()));
    }

    #[test]
    fn no_time_of_creation_that_a_client_can_send_fails() {
        let arrived = UNIX_EPOCH + Duration::from_secs(1);
        for number in [f64::NAN, f64::INFINITY, -f64::INFINITY, f64::MAX, f64::MIN, 1e13] {
            let created = record(&[("created", number.into())]);
            assert_eq!(created.timestamp, Some(arrived), "{number}");
        }
        let created = |value: AnyValue| record(&[("created", value)]).timestamp;
        assert_eq!(created((-1.5).into()), UNIX_EPOCH.checked_sub(Duration::from_millis(1500)));
        assert_eq!(created(7.into()), Some(UNIX_EPOCH + Duration::from_secs(7)));
        // It is 0.1 and more of a microsecond below in binary.
        assert_eq!(
            created(1_700_000_000.123_457.into()),
            Some(UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_457))
        );
    }

    #[test]
    fn a_level_between_two_of_python_has_the_severity_of_the_lower_one() {
        let expected = [
            (-1, None),
            (0, None),
            (1, Some(1)),
            (5, Some(1)),
            (9, Some(1)),
            (10, Some(5)),
            (17, Some(5)),
            (20, Some(9)),
            (25, Some(9)),
            (30, Some(13)),
            (40, Some(17)),
            (50, Some(21)),
            (i64::MAX, Some(21)),
        ];
        for (level, severity) in expected {
            let record = record(&[("levelno", level.into())]);
            assert_eq!(record.severity.map(|severity| severity as i32), severity, "{level}");
        }
        let named = record(&[("levelname", "warning".into())]);
        assert_eq!((named.severity, named.origin.level), (Some(Severity::Warn), Some(30)));
    }

    #[test]
    fn a_lone_object_named_extra_is_lifted_up() {
        let object = || AnyValue::from_iter([("user", 7), ("shard", 3)]);
        let lifted = record(&[("extra", object())]);
        let expected = vec![(Key::from("shard"), 3.into()), (Key::from("user"), 7.into())];
        assert_eq!(lifted.attributes, expected);
        let beside = record(&[("extra", object()), ("other", 1.into())]);
        assert_eq!(attribute(&beside, "extra"), Some(object()));
        assert_eq!(record(&[("extra", null())]).attributes, [(Key::from("extra"), null())]);
    }
}
