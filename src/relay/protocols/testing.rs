//! What the tests of protocols share: a request in, the records as short texts out.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::logs::AnyValue;

use super::HTTP;
use crate::encode::null;
use crate::relay::protocol::{Answer, BadMessage, Message, OtlpRecord, Request, Sink};
use crate::relay::record::Record;

/// The time at which every message of the tests arrives.
pub(super) const ARRIVED: u64 = 1_800_000_000;

/// A sink that keeps log records.
#[derive(Default)]
pub(super) struct Records(pub(super) Vec<Record>);

impl Sink for Records {
    fn log(&mut self, record: &Record) {
        self.0.push(record.clone());
    }

    fn otlp(&mut self, record: OtlpRecord<'_>) {
        panic!("no record of OTLP was expected: {record:?}");
    }
}

/// A request, but for its arrival.
#[derive(Clone, Copy, Default)]
pub(super) struct Sent<'a> {
    pub(super) query: Option<&'a str>,
    pub(super) content_type: Option<&'a str>,
    pub(super) body: &'a [u8],
    pub(super) path: &'a str,
    pub(super) cut: bool,
}

impl Sent<'_> {
    /// Which protocol takes it, what it makes of it, and the answer.
    pub(super) fn read(self) -> (&'static str, Vec<Record>, Result<Answer, BadMessage>) {
        let headers: Vec<_> =
            self.content_type.map(|value| ("Content-type".to_owned(), value.to_owned())).into_iter().collect();
        let request = Request {
            method: if self.body.is_empty() { "GET" } else { "POST" },
            path: self.path.as_bytes(),
            query: self.query.map(str::as_bytes),
            headers: &headers,
            cut: self.cut,
        };
        let arrived = UNIX_EPOCH + Duration::from_secs(ARRIVED);
        let message = Message { body: self.body, arrived, request: Some(&request), file: None };
        let protocol = HTTP.iter().find(|protocol| protocol.claims(&message)).expect("the last one reads everything");
        let mut records = Records::default();
        let answer = protocol.read(&message, &mut records);
        (protocol.name(), records.0, answer)
    }

    /// The protocol, and a line for each record.
    pub(super) fn shown(self) -> String {
        let (name, records, _) = self.read();
        let records: Vec<_> = records.iter().map(shown).collect();
        format!("{name}\n{}", records.join("\n"))
    }
}

/// A query.
pub(super) fn get(query: &str) -> Sent<'_> {
    Sent { query: Some(query), ..Sent::default() }
}

/// A body of a content type.
pub(super) fn post<'a>(content_type: &'a str, body: &'a (impl AsRef<[u8]> + ?Sized)) -> Sent<'a> {
    let content_type = Some(content_type).filter(|content_type| !content_type.is_empty());
    Sent { content_type, body: body.as_ref(), ..Sent::default() }
}

/// All that a record has, in a line: `body; NAME=VALUE; ..`. A time that is the arrival is left out.
pub(super) fn shown(record: &Record) -> String {
    let mut parts = vec![record.body.as_ref().map_or_else(|| "(none)".to_owned(), value)];
    let mut add = |name: &str, value: Option<String>| parts.extend(value.map(|value| format!("{name}={value}")));
    add("time", record.timestamp.map(seconds).filter(|time| *time != format!("{ARRIVED}")));
    add("severity", record.severity.map(|severity| severity.name().to_owned()));
    add("level", record.severity_text.clone());
    add("number", record.origin.level.map(|level| level.to_string()));
    add("relative", record.origin.relative_created.map(|millis| millis.to_string()));
    add("logger", Some(record.scope.name().to_owned()).filter(|name| !name.is_empty()));
    add("event", record.event_name.clone());
    add(
        "trace",
        record.trace.map(|ids| {
            format!("{}/{}/{:?}", ids.trace_id, ids.span_id, ids.flags.map(opentelemetry::TraceFlags::to_u8))
        }),
    );
    add("pid", record.origin.process_id.map(|id| id.to_string()));
    add("process", record.origin.process_name.clone());
    record.origin.resource.iter().for_each(|(key, item)| add(&format!("resource.{key}"), Some(value(item))));
    record.attributes.iter().for_each(|(key, item)| add(key.as_str(), Some(value(item))));
    parts.join("; ")
}

fn seconds(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let decimals = format!("{}.{:09}", since.as_secs(), since.subsec_nanos());
    decimals.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A value: texts as they are, lists and maps with their members sorted.
pub(super) fn value(item: &AnyValue) -> String {
    match item {
        AnyValue::String(text) => text.to_string(),
        AnyValue::Int(number) => number.to_string(),
        AnyValue::Double(number) => format!("{number:?}"),
        AnyValue::Boolean(value) => value.to_string(),
        AnyValue::Bytes(bytes) => format!("{bytes:?}"),
        item if *item == null() => "null".to_owned(),
        AnyValue::ListAny(items) => format!("[{}]", items.iter().map(value).collect::<Vec<_>>().join(", ")),
        AnyValue::Map(members) => {
            let mut members: Vec<_> = members.iter().map(|(key, item)| format!("{key}: {}", value(item))).collect();
            members.sort();
            format!("{{{}}}", members.join(", "))
        }
        other => format!("{other:?}"),
    }
}
