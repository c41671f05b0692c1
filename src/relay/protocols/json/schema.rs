//! The schema of this crate's `JsonEncoder`, which is that of the Python package `http-logging`, in both of its spellings.
//!
//! | member | in the record |
//! |---|---|
//! | `created`, `relative_created` | the timestamp, the origin |
//! | `message` | the body |
//! | `level` | severity and severity text; the number on Python's scale in the origin. Numbers of OpenTelemetry's scale are told by their names |
//! | `sourcecode`, `source_code` | `code.file.path`, `code.function.name`, `code.line.number` |
//! | `process` | the origin, and `process.pid` in its resource |
//! | `thread` | `thread.id`, `thread.name` |
//! | `stack_trace` | `exception.stacktrace`, unless it is blank |
//! | `extra` | an attribute for each of its members; those of a lone one called `extra` in it, as loguru has it |
//! | `logger`, `event`, `trace`, `resource` | scope, event name, ids, the resource of the origin |
//! | `type` | nothing if it is one of those that the encoders write by default |
//! | `tags`, `target`, and any other; what has another type than it should | an attribute of that name |

use std::time::SystemTime;

use opentelemetry::logs::{AnyValue, Severity};
use opentelemetry::{InstrumentationScope, Key, SpanId, TraceFlags, TraceId};

use super::members::{Members, Value};
use crate::encode::TraceIds;
use crate::encode::json::RESERVED_KEYS;
use crate::relay::protocols::log_record::severity;
use crate::relay::protocols::{level, time};
use crate::relay::record::Record;

pub(super) fn read(members: &Members<'_>, arrived: SystemTime) -> Record {
    let mut record = Record::plain("", arrived);
    record.body = None;
    for (name, value) in members.iter() {
        if set(&mut record, name, value).is_none() && !(is_known(name) && value.is_null()) {
            record.attributes.push((name.to_owned().into(), value.any()));
        }
    }
    set_process(&mut record);
    record
}

/// Whether a member of the schema, which may be null, has this name.
fn is_known(name: &str) -> bool {
    name == "extra" || RESERVED_KEYS.contains(&name)
}

/// Sets what a member of the schema stands for; `None` if it is no such member or has another type.
fn set(record: &mut Record, name: &str, value: Value<'_>) -> Option<()> {
    match name {
        "type" => return matches!(value.text()?.as_str(), "async-http-logging" | "async-http-log").then_some(()),
        "created" => record.timestamp = Some(time::of_seconds(value.number()?)?),
        "relative_created" => record.origin.relative_created = Some(value.float()?),
        "message" => record.body = (!value.is_null()).then(|| value.any()),
        "level" => set_level(record, value)?,
        "sourcecode" | "source_code" => {
            let code = value.object()?;
            add(record, "code.file.path", code.get("pathname"), Value::text);
            add(record, "code.function.name", code.get("function"), Value::text);
            add(record, "code.line.number", code.get("line"), Value::int);
        }
        "process" => {
            let process = value.object()?;
            record.origin.process_id = process.get("id").and_then(Value::int);
            record.origin.process_name = process.get("name").and_then(Value::text);
        }
        "thread" => {
            let thread = value.object()?;
            add(record, "thread.id", thread.get("id"), Value::int);
            add(record, "thread.name", thread.get("name"), Value::text);
        }
        "stack_trace" => {
            let trace = value.text()?;
            if !trace.trim().is_empty() {
                record.attributes.push(("exception.stacktrace".into(), trace.into()));
            }
        }
        "tags" if value.0 == b"[]" => {}
        "extra" => record.attributes.extend(extra(value)?),
        "logger" => record.scope = InstrumentationScope::builder(value.text()?).build(),
        "event" => record.event_name = Some(value.text()?),
        "trace" => record.trace = Some(ids(&value.object()?)?),
        "resource" => {
            let members = value.object()?;
            record.origin.resource.extend(members.iter().map(|(key, value)| (key.to_owned().into(), value.any())));
        }
        _ => return None,
    }
    Some(())
}

/// Adds an attribute where the value is of the right type.
fn add<'a, T: Into<AnyValue>>(
    record: &mut Record,
    name: &'static str,
    value: Option<Value<'a>>,
    read: impl Fn(Value<'a>) -> Option<T>,
) {
    if let Some(value) = value.and_then(read) {
        record.attributes.push((name.into(), value.into()));
    }
}

/// The attributes in `extra`. A lone `extra` in it stands for itself.
pub(super) fn extra(value: Value<'_>) -> Option<Vec<(Key, AnyValue)>> {
    let members = value.object()?;
    let inner = members.single().filter(|(name, _)| *name == "extra").and_then(|(_, value)| value.object());
    let members = inner.as_ref().unwrap_or(&members);
    Some(members.iter().map(|(key, value)| (key.to_owned().into(), value.any())).collect())
}

/// A level as `{"number": 20, "name": "INFO"}`, or its name or number alone.
fn set_level(record: &mut Record, value: Value<'_>) -> Option<()> {
    let (number, name) = match value.object() {
        Some(level) => (level.get("number").and_then(Value::int), level.get("name").and_then(Value::text)),
        None => (value.int(), value.text()),
    };
    match (number, &name) {
        (None, None) => return value.object().map(|_| ()),
        (None, Some(name)) => record.severity = level::of_name(name),
        (Some(number), _) => {
            let of_opentelemetry = of_opentelemetry(number, name.as_deref());
            record.severity = of_opentelemetry.or_else(|| severity(number));
            record.origin.level = Some(number).filter(|_| of_opentelemetry.is_none());
        }
    }
    // It is the name for no level.
    record.severity_text = name.filter(|name| number != Some(0) || name != "NOTSET");
    Some(())
}

/// The severity of a number of OpenTelemetry's scale. Its name is that of the number, or one that the number has not in Python.
fn of_opentelemetry(number: i64, name: Option<&str>) -> Option<Severity> {
    let (of_number, of_name) = (level::of_number(number)?, level::of_name(name?));
    // 5, 10 and 20 are levels of both scales.
    let is_python = |name: &str| matches!((number, name), (5, "TRACE") | (10, "DEBUG") | (20, "INFO" | "SUCCESS"));
    let same_range = of_name.is_some_and(|of_name| (of_name as i32 - 1) / 4 == (of_number as i32 - 1) / 4);
    (name == Some(of_number.name()) || same_range && !name.is_some_and(is_python)).then_some(of_number)
}

fn ids(trace: &Members<'_>) -> Option<TraceIds> {
    let flags = trace.get("flags").and_then(Value::int).and_then(|flags| u8::try_from(flags).ok());
    trace_ids(trace.get("trace_id"), trace.get("span_id"), flags)
}

/// Ids in hexadecimal. There are none without that of a trace.
pub(in crate::relay::protocols) fn trace_ids(
    trace: Option<Value<'_>>,
    span: Option<Value<'_>>,
    flags: Option<u8>,
) -> Option<TraceIds> {
    let hex = |value: Option<Value<'_>>, len| {
        let text = value?.text()?;
        (text.len() == len && text.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(text)
    };
    let trace_id = TraceId::from_hex(&hex(trace, 32)?).ok().filter(|id| *id != TraceId::INVALID)?;
    let span_id = hex(span, 16).and_then(|id| SpanId::from_hex(&id).ok()).unwrap_or(SpanId::INVALID);
    Some(TraceIds { trace_id, span_id, flags: flags.map(TraceFlags::new) })
}

/// Puts the process into the resource, where receivers of OTLP look for it.
pub(super) fn set_process(record: &mut Record) {
    let origin = &mut record.origin;
    let id = origin.process_id.map(|id| ("process.pid", AnyValue::from(id)));
    if let Some((key, value)) = id.filter(|(key, _)| !origin.resource.iter().any(|(known, _)| known.as_str() == *key)) {
        origin.resource.push((key.into(), value));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::encode::{Encoder, JsonEncoder, LevelScale, SourceCodeKey};
    use crate::relay::protocols::testing::{post, shown};

    fn encode(encoder: &JsonEncoder, record: &Record) -> Vec<u8> {
        let mut json = Vec::new();
        encoder.encode(record, &record.scope, &mut json).expect("every record can be encoded");
        json
    }

    fn any_record() -> impl Strategy<Value = Record> {
        let value = prop_oneof![
            any::<i64>().prop_map(AnyValue::from),
            any::<bool>().prop_map(AnyValue::from),
            any::<String>().prop_map(AnyValue::from),
            prop::num::f64::NORMAL.prop_map(AnyValue::from),
            Just(AnyValue::from_iter([AnyValue::from(1), "a".into(), AnyValue::from_iter([("k", true)])])),
        ];
        let known =
            prop::sample::select(vec!["code.file.path", "code.function.name", "thread.name", "exception.stacktrace"]);
        let attributes = (
            prop::collection::vec((known, "[a-z]+".prop_map(AnyValue::from)), 0..5),
            prop::collection::vec(("[a-z.]{1,8}", value), 0..5),
            prop::option::of(any::<i64>()),
        );
        let ids = prop::option::of((1_u128.., 0_u64.., prop::option::of(any::<u8>())));
        let level = prop::option::of(1_i64..=24);
        let texts = (any::<String>(), "[a-z.]{0,9}", prop::option::of("[a-z]{1,9}"));
        (0_u64..4_000_000_000_000_000, texts, attributes, ids, level).prop_map(
            |(micros, (body, logger, event), (known, others, line), ids, level)| {
                let mut record = Record::plain(body, SystemTime::UNIX_EPOCH + Duration::from_micros(micros));
                record.severity = level.and_then(level::of_number);
                record.scope = InstrumentationScope::builder(logger).build();
                record.event_name = event;
                record.trace = ids.map(|(trace, span, flags)| TraceIds {
                    trace_id: TraceId::from(trace),
                    span_id: SpanId::from(span),
                    flags: flags.map(TraceFlags::new),
                });
                record.attributes = known.into_iter().map(|(key, value)| (key.into(), value)).collect();
                record.attributes.extend(others.into_iter().map(|(key, value)| (key.into(), value)));
                record.attributes.extend(line.map(|line| ("code.line.number".into(), line.into())));
                record
            },
        )
    }

    proptest! {
        #[test]
        fn what_the_encoder_writes_is_read_back_and_written_alike(record in any_record()) {
            let underscored = JsonEncoder::default().with_source_code_key(SourceCodeKey::Underscored).with_resource(true);
            let scale = JsonEncoder::default().with_level_scale(LevelScale::OpenTelemetry);
            for encoder in [JsonEncoder::default(), underscored, scale, JsonEncoder::http_logging_2()] {
                let json = encode(&encoder, &record);
                let (_, records, _) = post("application/json", &json).read();
                prop_assert_eq!(records.len(), 1);
                let again = encode(&encoder, &records[0]);
                prop_assert_eq!(String::from_utf8_lossy(&again), String::from_utf8_lossy(&json), "{}", shown(&records[0]));
            }
        }
    }
}
