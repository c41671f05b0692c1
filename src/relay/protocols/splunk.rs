//! Splunk's HTTP Event Collector: events as JSON objects that follow one another, `{..}{..}`.
//!
//! | in the request | in the record |
//! |---|---|
//! | `event` | an object: what the same object is as [JSON](super::json); anything else: the body |
//! | `time` | the timestamp, where the event has none of its own |
//! | `host`, `source`, `sourcetype`, `index` | `host.name`, `com.splunk.source`, `com.splunk.sourcetype`, `com.splunk.index` of the resource, as in OpenTelemetry's collector |
//! | `fields` | an attribute for each |

use opentelemetry::Key;

use super::json::{self, Members, Value};
use super::time;
use crate::relay::protocol::{Answer, BadMessage, Message, Protocol, Sink};
use crate::relay::record::Record;

/// Events with a time, or events without one: only those with a time are known for the same when they come twice.
pub(crate) struct Splunk {
    pub(crate) with_time: bool,
}

impl Protocol for Splunk {
    fn name(&self) -> &'static str {
        "splunk-hec"
    }

    /// An object with an event, and a token of Splunk or a member that only its events have.
    fn claims(&self, message: &Message<'_>) -> bool {
        let token = message.request.and_then(|request| request.header("authorization"));
        let has_token = token.is_some_and(|token| token.starts_with("Splunk "));
        json::first(message.body).is_some_and(|members| {
            let is_event = has_token || members.get("sourcetype").is_some() || members.get("index").is_some();
            is_event && members.get("event").is_some() && members.get("time").is_some() == self.with_time
        })
    }

    fn repeats(&self) -> bool {
        self.with_time
    }

    fn read(&self, message: &Message<'_>, sink: &mut dyn Sink) -> Result<Answer, BadMessage> {
        json::log_pieces(message, sink, |value| {
            let event = value.object().and_then(|members| event(&members, message));
            event.or_else(|| json::record(value, message.arrived))
        });
        let body = br#"{"text":"Success","code":0}"#;
        Ok(Answer { content_type: Some("application/json"), body: body.as_slice().into(), ..Answer::default() })
    }
}

/// The record of an event; `None` if the object has none.
fn event(members: &Members<'_>, message: &Message<'_>) -> Option<Record> {
    let given = |name| members.get(name).filter(|value| !value.is_null());
    let seconds = |value: Value<'_>| value.number().map_or_else(|| time::of_seconds(&value.text()?), time::of_seconds);
    let at = given("time").and_then(seconds).unwrap_or(message.arrived);
    let mut record = json::record(given("event")?, at)?;
    record.observed = Some(message.arrived);
    let of_resource = [
        ("host", "host.name"),
        ("source", "com.splunk.source"),
        ("sourcetype", "com.splunk.sourcetype"),
        ("index", "com.splunk.index"),
    ];
    for (name, key) in of_resource {
        if let Some(value) = given(name) {
            record.origin.resource.push((Key::from_static_str(key), value.any()));
        }
    }
    let fields = given("fields").and_then(Value::object);
    let fields = fields.iter().flat_map(Members::iter);
    record.attributes.extend(fields.map(|(name, value)| (name.to_owned().into(), value.any())));
    Some(record)
}

#[cfg(test)]
mod tests {
    use crate::relay::protocols::testing::post;

    #[test]
    #[rustfmt::skip]
    fn events_that_follow_one_another_are_read() {
        let cases = [
            // splunk-handler 3.0.0.
            (r#"{"event": "hi \u00e9", "host": "vm", "index": "main", "source": "/a.py", "sourcetype": "text", "time": 1795890820.058928}{"event": "second", "host": "vm", "index": "main", "time": 1795890821}"#,
             "splunk-hec\nhi é; time=1795890820.058928; resource.host.name=vm; resource.com.splunk.source=/a.py; resource.com.splunk.sourcetype=text; resource.com.splunk.index=main\nsecond; time=1795890821; resource.host.name=vm; resource.com.splunk.index=main"),
            // Objects, fields, and what is no event.
            (r#"{"event":{"message":"m","level":"info","a":1},"time":"5.5","sourcetype":"s","fields":{"f":"x"}}{"event":{"message":"m","created":7},"time":5} oh {"message":"m"}"#,
             "splunk-hec\nm; time=5.5; severity=INFO; level=info; resource.com.splunk.sourcetype=s; a=1; f=x\nm; time=7\noh {\"message\":\"m\"}"),
            (r#"{"event":5,"index":"i","host":null}"#, "splunk-hec\n5; resource.com.splunk.index=i"),
        ];
        for (body, expected) in cases {
            assert_eq!(post("", body).shown(), expected, "{body}");
        }
        let answer = post("", cases[0].0).read().2.expect("an answer");
        assert_eq!((answer.content_type, &*answer.body), (Some("application/json"), &br#"{"text":"Success","code":0}"#[..]));
        assert!(post("", r#"{"event":"of structlog","host":"h"}"#).shown().starts_with("json"));
    }

    #[test]
    fn only_events_with_a_time_are_known_when_they_come_twice() {
        use crate::relay::protocol::Protocol;
        use crate::relay::protocols::splunk::Splunk;
        assert!(Splunk { with_time: true }.repeats() && !Splunk { with_time: false }.repeats());
    }
}
