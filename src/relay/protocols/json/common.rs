//! JSON objects of loggers that share no schema but habits: pino, bunyan, winston, structlog, zap and others.
//!
//! | member | in the record |
//! |---|---|
//! | the first of `message`, `msg`, `event`, `log`, `text` | the body; all but the first two only if they are texts |
//! | the first of `time`, `timestamp`, `@timestamp`, `ts` that is a time | the timestamp: a date, or a number of seconds, milliseconds, microseconds or nanoseconds |
//! | the first of `level`, `severity`, `levelname`, `log.level`, `lvl` that is a level | a text: severity text, and severity if the name is known; a number from 10 to 100: the severity that pino gives it |
//! | `logger` | the scope |
//! | `name`, `pid`, `hostname` of pino and bunyan, told by a level that is a number, or by the last two | scope, process, `host.name` of the resource |
//! | `err` with `type`, `message`, `stack` | `exception.type`, `exception.message`, `exception.stacktrace` |
//! | `stack`, `stack_trace`, `exception`, `exc_info` of several lines | `exception.stacktrace` |
//! | `trace_id`, `span_id`, `trace_flags` | the ids |
//! | any other | an attribute |
//!
//! An object without a message is the body itself, as the text that was sent, so that nothing is shown twice; its time and level are read all the same.

use std::time::SystemTime;

use opentelemetry::InstrumentationScope;

use super::members::{Members, Value};
use super::schema::{set_process, trace_ids};
use crate::relay::protocols::{level, time};
use crate::relay::record::Record;

pub(super) fn read(whole: Value<'_>, members: &Members<'_>, arrived: SystemTime) -> Record {
    let given = |name: &str| members.get(name).filter(|value| !value.is_null());
    // The names of the members that have a place of their own.
    let mut used = Vec::new();
    let mut record = Record::plain("", arrived);

    let times = ["time", "timestamp", "@timestamp", "ts"];
    let time_of = |value: Value<'_>| value.number().map_or_else(|| time::of_date(&value.text()?), time::of_number);
    if let Some((name, time)) = times.iter().find_map(|name| Some((*name, time_of(given(name)?)?))) {
        record.timestamp = Some(time);
        used.push(name);
    }
    let levels = ["level", "severity", "levelname", "log.level", "lvl"];
    let number = levels.iter().find_map(|name| Some((*name, level::of_pino(given(name)?.int()?)?)));
    let text = || levels.iter().find_map(|name| Some((*name, given(name)?.words()?)));
    if let Some((name, severity)) = number {
        record.severity = Some(severity);
        used.push(name);
    } else if let Some((name, text)) = text() {
        record.severity = level::of_name(&text);
        record.severity_text = Some(text);
        used.push(name);
    }

    let texts = ["event", "log", "text"].iter().filter(|name| given(name).is_some_and(|value| value.text().is_some()));
    let Some((name, body)) = ["message", "msg"].iter().chain(texts).find_map(|name| Some((*name, given(name)?))) else {
        record.body = Some(whole.json().into());
        return record;
    };
    record.body = Some(body.any());
    used.push(name);

    let is_pino = number.is_some() || given("pid").is_some() && given("hostname").is_some();
    let mut take = |name: &'static str| {
        let text = given(name)?.words()?;
        used.push(name);
        Some(text)
    };
    if let Some(name) = take("logger").or_else(|| if is_pino { take("name") } else { None }) {
        record.scope = InstrumentationScope::builder(name).build();
    }
    if is_pino {
        let host = take("hostname").map(|name| ("host.name".into(), name.into()));
        record.origin.resource.extend(host);
        if let Some(id) = given("pid").and_then(Value::int) {
            record.origin.process_id = Some(id);
            used.push("pid");
        }
    }
    let flags = given("trace_flags").and_then(Value::text).and_then(|flags| u8::from_str_radix(&flags, 16).ok());
    if let Some(ids) = trace_ids(given("trace_id"), given("span_id"), flags) {
        record.trace = Some(ids);
        used.extend(["trace_id", "span_id", "trace_flags"]);
    }

    for (name, value) in members.iter().filter(|(name, _)| !used.contains(name)) {
        let is_stack = matches!(name, "stack" | "stack_trace" | "exception" | "exc_info");
        let lines = if is_stack { value.text().filter(|text| text.trim_end().contains('\n')) } else { None };
        let error = if name == "err" { value.object() } else { None };
        let attributes = &mut record.attributes;
        match (lines, error) {
            (_, Some(error)) if error.get("stack").is_some() => {
                for (name, value) in error.iter().filter(|(_, value)| !value.is_null()) {
                    let key = match name {
                        "type" => "exception.type".to_owned(),
                        "message" => "exception.message".to_owned(),
                        "stack" => "exception.stacktrace".to_owned(),
                        other => format!("err.{other}"),
                    };
                    attributes.push((key.into(), value.any()));
                }
            }
            (Some(lines), _) => {
                attributes.push(("exception.stacktrace".into(), lines.into()));
            }
            _ => attributes.push((name.to_owned().into(), value.any())),
        }
    }
    set_process(&mut record);
    record
}
