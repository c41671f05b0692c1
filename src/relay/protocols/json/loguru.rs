//! loguru's serialised records: `{"text": "what the sink prints", "record": {..}}`.
//!
//! The members of `record` are those of a Python log record under other names. Those of its `extra` are attributes. `text` is left out but
//! for the traceback at its end.

use std::time::SystemTime;

use super::members::Members;
use super::schema::extra;
use crate::relay::protocols::log_record::LogRecord;
use crate::relay::record::Record;

/// `None` if it is no record of loguru.
pub(super) fn read(members: &Members<'_>, arrived: SystemTime) -> Option<Record> {
    let text = members.get("text")?.text()?;
    let inner = members.get("record")?.object()?;
    inner.get("message")?;
    let mut record = LogRecord::default();
    let mut attributes = Vec::new();
    for (name, value) in inner.iter() {
        let places: &[(&str, &str)] = match name {
            "message" => &[("", "msg")],
            "name" => &[("", "name")],
            "function" => &[("", "funcName")],
            "line" => &[("", "lineno")],
            "file" => &[("path", "pathname")],
            "level" => &[("name", "levelname"), ("no", "levelno")],
            "process" => &[("id", "process"), ("name", "processName")],
            "thread" => &[("id", "thread"), ("name", "threadName")],
            "time" => &[("timestamp", "created")],
            "module" => continue,
            "elapsed" => {
                if let Some(seconds) = value.object().and_then(|elapsed| elapsed.get("seconds")?.float()) {
                    record.set("relativeCreated", (seconds * 1000.0).into());
                }
                continue;
            }
            "exception" => {
                if let Some(exception) = value.object() {
                    let named = [("type", "exception.type"), ("value", "exception.message")];
                    let texts = named.iter().filter_map(|(from, to)| Some((*to, exception.get(from)?.text()?)));
                    attributes.extend(texts.map(|(name, text)| (name.into(), text.into())));
                }
                continue;
            }
            "extra" => {
                attributes.extend(extra(value).unwrap_or_default());
                continue;
            }
            _ => {
                attributes.push((name.to_owned().into(), value.any()));
                continue;
            }
        };
        for (from, to) in places {
            let found =
                if from.is_empty() { Some(value) } else { value.object().and_then(|members| members.get(from)) };
            if let Some(value) = found {
                record.set(to, value.any());
            }
        }
    }
    let is_exception = inner.get("exception").is_some_and(|exception| !exception.is_null());
    if let Some(at) = text.find("Traceback (most recent call last)").filter(|_| is_exception) {
        record.set("exc_text", text[at..].trim_end().to_owned().into());
    }
    let outer = members.iter().filter(|(name, _)| !matches!(*name, "text" | "record"));
    attributes.extend(outer.map(|(name, value)| (name.to_owned().into(), value.any())));
    let mut record = record.into_record(arrived);
    record.attributes.extend(attributes);
    Some(record)
}
