//! Loki's push API in JSON: streams of lines, as `labels` and `entries` (its first version) or as `stream` and `values`.
//!
//! | in the request | in the record |
//! |---|---|
//! | the line | the body, as it is |
//! | the time | the timestamp |
//! | `level`, `severity`, `detected_level` | severity text, and severity if the name is known |
//! | `logger` | the scope |
//! | `service_name`, `service_instance_id`, `host` | `service.name`, `service.instance.id`, `host.name` of the resource |
//! | `trace_id`, `span_id` in the metadata | the ids |
//! | any other label, any other metadata | an attribute |
//!
//! The answer is 204: `python-logging-loki` takes nothing else. A request in its protobuf, which is compressed by snappy, is refused.

use std::time::SystemTime;

use opentelemetry::logs::AnyValue;
use opentelemetry::{InstrumentationScope, Key};

use super::json::{self, Members, Value};
use super::{level, time};
use crate::relay::protocol::{Answer, BadMessage, Message, Protocol, Sink};
use crate::relay::record::Record;

/// The most bytes of labels that the lines of a request have together: each line has its stream's.
const MAX_LABELS: usize = 128 << 20;

/// The bytes that a copy of a label takes besides its texts.
const LABEL_OVERHEAD: usize = 32;

pub(crate) struct Loki;

impl Protocol for Loki {
    fn name(&self) -> &'static str {
        "loki"
    }

    fn claims(&self, message: &Message<'_>) -> bool {
        is_protobuf(message)
            || json::first(message.body).is_some_and(|members| members.get("streams").is_some_and(Value::is_list))
    }

    fn repeats(&self) -> bool {
        true
    }

    fn read(&self, message: &Message<'_>, sink: &mut dyn Sink) -> Result<Answer, BadMessage> {
        if is_protobuf(message) {
            let reason =
                "Loki's push API is taken in JSON (application/json), and not in protobuf: have the client send JSON";
            return Err(BadMessage { status: 415, ..BadMessage::new(reason) });
        }
        let streams = json::first(message.body).and_then(|members| members.get("streams"));
        let mut left = MAX_LABELS;
        for stream in streams.iter().flat_map(Value::items) {
            let Some(members) = stream.object() else {
                sink.log(&Record::plain(stream.json(), message.arrived));
                continue;
            };
            let labels = members.get("stream").or_else(|| members.get("labels")).map(labels).unwrap_or_default();
            let size: usize = labels.iter().map(|(name, value)| LABEL_OVERHEAD + name.len() + size_of(value)).sum();
            let lists = [members.get("values"), members.get("entries")];
            for entry in lists.iter().flatten().flat_map(Value::items) {
                if sink.is_full() {
                    return Ok(answer());
                }
                left = left.checked_sub(size).ok_or_else(|| {
                    BadMessage::too_large(
                        "the labels are too large for so many lines: each line has all of its stream's",
                    )
                })?;
                let mut record = read_entry(entry, message.arrived);
                for (name, value) in &labels {
                    set(&mut record, name, value.clone());
                }
                sink.log(&record);
            }
        }
        Ok(answer())
    }
}

fn answer() -> Answer {
    Answer { no_content: true, ..Answer::default() }
}

/// The size of a label's value, which is a text with all clients.
fn size_of(value: &AnyValue) -> usize {
    match value {
        AnyValue::String(text) => text.as_str().len(),
        AnyValue::ListAny(items) => items.iter().map(size_of).sum::<usize>() + items.len(),
        AnyValue::Map(members) => {
            members.iter().map(|(name, value)| name.as_str().len() + size_of(value)).sum::<usize>()
        }
        _ => 1,
    }
}

/// Whether a request is one of Loki's clients that send protobuf: nothing but its path tells it from OTLP.
fn is_protobuf(message: &Message<'_>) -> bool {
    message.request.is_some_and(|request| {
        let path = request.path.strip_suffix(b"/").unwrap_or(request.path);
        path.ends_with(b"/loki/api/v1/push")
            && matches!(&*request.media_type(), "application/x-protobuf" | "application/protobuf")
    })
}

/// A line: `["1795890820058928000", "line", {"metadata": ".."}]`, or `{"ts": "2026-11-28T18:33:40Z", "line": "line"}`. Anything else is a line
/// itself.
fn read_entry(entry: Value<'_>, arrived: SystemTime) -> Record {
    let members = entry.object();
    let mut items = entry.items();
    let (time, line, metadata) = match &members {
        Some(members) => (members.get("ts"), members.get("line"), members.get("structuredMetadata")),
        None => (items.next(), items.next(), items.next()),
    };
    let Some(line) = line else { return Record::plain(entry.json(), arrived) };
    let mut record = Record::plain(line.any(), arrived);
    let of_text = |text: &str| time::of_nanos(text).or_else(|| time::of_date(text));
    let read = |time: Value<'_>| time.number().map_or_else(|| of_text(&time.text()?), time::of_nanos);
    record.timestamp = time.and_then(read).or(record.timestamp);
    if let Some(metadata) = metadata.and_then(Value::object) {
        let trace = json::trace_ids(metadata.get("trace_id"), metadata.get("span_id"), None);
        for (name, value) in
            metadata.iter().filter(|(name, _)| trace.is_none() || !matches!(*name, "trace_id" | "span_id"))
        {
            set(&mut record, name, value.any());
        }
        record.trace = trace;
    }
    record
}

/// Sets what a label or metadata stands for.
fn set(record: &mut Record, name: &str, value: AnyValue) {
    let of_resource = match name {
        "service_name" => "service.name",
        "service_instance_id" => "service.instance.id",
        "host" => "host.name",
        _ => "",
    };
    match (name, &value) {
        ("level" | "severity" | "detected_level", AnyValue::String(text)) if record.severity_text.is_none() => {
            record.severity = level::of_name(text.as_str());
            record.severity_text = Some(text.to_string());
        }
        ("logger", AnyValue::String(text)) => {
            record.scope = InstrumentationScope::builder(text.to_string()).build();
        }
        _ if !of_resource.is_empty() => record.origin.resource.push((Key::from_static_str(of_resource), value)),
        _ => record.attributes.push((name.to_owned().into(), value)),
    }
}

/// Labels as an object, or as a text: `{app="shop",level="info"}`. A text that is something else is one label.
fn labels(value: Value<'_>) -> Vec<(String, AnyValue)> {
    let members = value.object();
    let members = members.iter().flat_map(Members::iter);
    let in_object = members.map(|(name, value)| (name.to_owned(), value.any()));
    let Some(text) = value.text() else { return in_object.collect() };
    let in_text = labels_of(&text).unwrap_or_else(|| vec![("labels".to_owned(), text)]);
    in_text.into_iter().map(|(name, value)| (name, value.into())).collect()
}

fn labels_of(text: &str) -> Option<Vec<(String, String)>> {
    let mut rest = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', ',']);
        if rest.is_empty() {
            return Some(labels);
        }
        let (name, behind) = rest.split_once('=')?;
        let behind = behind.trim_start().strip_prefix('"')?;
        let mut value = String::new();
        let mut characters = behind.chars();
        loop {
            match characters.next()? {
                '"' => break,
                '\\' => match characters.next()? {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                other => value.push(other),
            }
        }
        labels.push((name.trim().to_owned(), value));
        rest = characters.as_str();
    }
}

#[cfg(test)]
mod tests {
    use crate::relay::protocols::testing::{Sent, post};

    #[test]
    #[rustfmt::skip]
    #[cfg_attr(windows, ignore = "times have 100 ns there")]
    fn lines_of_both_versions_are_read_with_their_labels() {
        let cases = [
            // python-logging-loki 0.3.1, both of its versions.
            (r#"{"streams": [{"stream": {"severity": "info", "logger": "shop", "app": "x"}, "values": [["1795890820058928123", "hi \u00e9"]]}]}"#,
             "loki\nhi é; time=1795890820.058928123; severity=INFO; level=info; logger=shop; app=x"),
            (r#"{"streams": [{"labels": "{severity=\"warning\",logger=\"shop\",app=\"a\\\"b, c\"}", "entries": [{"ts": "2026-11-28T18:33:40.058928Z", "line": "hi"}]}]}"#,
             "loki\nhi; time=1795890820.058928; severity=WARN; level=warning; logger=shop; app=a\"b, c"),
            // Several streams, metadata, the labels of this crate's encoder.
            (r#"{"streams":[{"stream":{"service_name":"s","host":"h","service_instance_id":"i"},"values":[["1000000000","a",{"level":"INFO","trace_id":"0102030405060708090a0b0c0d0e0f10","span_id":"0102030405060708"}],["2000000000","b",{"trace_id":"short"}]]},{"stream":{},"values":[["3000000000","{\"c\":1}"]]}]}"#,
             "loki\na; time=1; severity=INFO; level=INFO; trace=0102030405060708090a0b0c0d0e0f10/0102030405060708/None; resource.service.name=s; resource.host.name=h; resource.service.instance.id=i\nb; time=2; resource.service.name=s; resource.host.name=h; resource.service.instance.id=i; trace_id=short\n{\"c\":1}; time=3"),
            // What is something else is kept.
            (r#"{"streams":[1,{"labels":"nope","entries":[5,{"ts":"noon","line":"a"}]},{"stream":{},"values":[["x","b"],[],{"c":1}]}]}"#,
             "loki\n1\n5; labels=nope\na; labels=nope\nb\n[]\n{\"c\":1}"),
            (r#"{"streams":[]}"#, "loki\n"),
        ];
        for (body, expected) in cases {
            let sent = post("application/json", body);
            assert_eq!(sent.shown(), expected, "{body}");
            assert!(sent.read().2.is_ok_and(|answer| answer.no_content));
        }
        assert!(post("application/json", r#"{"streams": 5, "message": "m"}"#).shown().starts_with("json"));
    }

    #[test]
    fn protobuf_at_the_path_of_the_push_api_is_refused_with_what_is_taken() {
        for (path, content_type, is_loki) in [
            ("/loki/api/v1/push", "application/x-protobuf", true),
            ("/tenant/loki/api/v1/push/", "application/x-protobuf; charset=utf-8", true),
            ("/v1/logs", "application/x-protobuf", false),
            ("/loki/api/v1/push", "application/octet-stream", false),
        ] {
            let (name, records, answer) =
                Sent { path, content_type: Some(content_type), body: b"\x10\x3c", ..Sent::default() }.read();
            let is_refused = answer.is_err_and(|bad| bad.status == 415 && bad.reason.contains("in JSON"));
            assert_eq!((name == "loki", is_refused), (is_loki, is_loki), "{path} {content_type}");
            assert!(!is_loki || records.is_empty());
        }
    }
}
