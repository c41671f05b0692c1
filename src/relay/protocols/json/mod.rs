//! JSON: an object, a list of objects, or objects that follow one another, with newlines between them or without.
//!
//! | an object with | is | read in |
//! |---|---|---|
//! | `text` and `record` with a `message` | a record of loguru, serialised | `loguru.rs` |
//! | `msg` or `message`, and `levelname` or `levelno`; `msg` and `created` | a Python log record | here |
//! | `message` and `created` | the schema of this crate's `JsonEncoder` and of `http-logging` | `schema.rs` |
//! | anything else | what pino, winston, bunyan and others write | `common.rs` |
//!
//! An element of a list that is no object is the body of a record. A piece of the text that is no JSON is the message of a record, as it is,
//! and what comes before and after it is read.

mod common;
mod loguru;
mod members;
mod pieces;
mod schema;

pub(super) use members::{Members, Value};
pub(super) use schema::trace_ids;

use std::time::SystemTime;

use pieces::{Piece, Pieces};

use super::http_handler::merge;
use super::log_record::LogRecord;
use crate::encode::null;
use crate::relay::protocol::{Answer, BadMessage, Message, Protocol, Sink};
use crate::relay::record::Record;

pub(crate) struct Json;

impl Protocol for Json {
    fn name(&self) -> &'static str {
        "json"
    }

    /// What is said to be JSON and begins so; without that, what begins with an object that is JSON.
    fn claims(&self, message: &Message<'_>) -> bool {
        let is_said = message.request.is_some_and(|request| request.media_type().contains("json"));
        is_said && begins(message.body).is_some() || first(message.body).is_some()
    }

    fn read(&self, message: &Message<'_>, sink: &mut dyn Sink) -> Result<Answer, BadMessage> {
        log_pieces(message, sink, |value| record(value, message.arrived));
        Ok(Answer::default())
    }
}

/// Gives a sink the records of a body: what `of` makes of each piece of JSON, and the text of any other.
pub(super) fn log_pieces(message: &Message<'_>, sink: &mut dyn Sink, of: impl Fn(Value<'_>) -> Option<Record>) {
    for piece in Pieces::new(message.body) {
        let record = match piece {
            Piece::Json(json) => of(Value::new(json)),
            Piece::Other(text) => Some(Record::plain(String::from_utf8_lossy(text).into_owned(), message.arrived)),
        };
        if let Some(record) = record {
            sink.log(&record);
        }
        if sink.is_full() {
            break;
        }
    }
}

/// The character with which a body begins that may be JSON.
fn begins(body: &[u8]) -> Option<u8> {
    let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body).trim_ascii_start();
    body.first().copied().filter(|begin| matches!(begin, b'{' | b'[' | b'"'))
}

/// The members of the first record, if it is an object.
pub(super) fn first(body: &[u8]) -> Option<Members<'_>> {
    // Most bodies are seen at once to be something else.
    begins(body).filter(|begin| *begin != b'"')?;
    Value::new(Pieces::new(body).rest()?).object()
}

/// The record of a value; none if it is null.
pub(super) fn record(value: Value<'_>, arrived: SystemTime) -> Option<Record> {
    let Some(members) = value.object() else {
        return (!value.is_null()).then(|| Record::plain(value.any(), arrived));
    };
    let has = |names: &[&str]| names.iter().any(|name| members.get(name).is_some_and(|value| !value.is_null()));
    if let Some(record) = loguru::read(&members, arrived) {
        return Some(record);
    }
    Some(if has(&["msg", "message"]) && has(&["levelname", "levelno"]) || has(&["msg"]) && has(&["created"]) {
        log_record(&members, arrived)
    } else if members.get("message").is_some() && has(&["created"]) {
        schema::read(&members, arrived)
    } else {
        common::read(value, &members, arrived)
    })
}

/// A Python log record, all of whose attributes are members.
fn log_record(members: &Members<'_>, arrived: SystemTime) -> Record {
    let mut record = LogRecord::default();
    for (name, value) in members.iter() {
        let is_empty = matches!((name, value.0), ("args", b"[]" | b"{}"));
        record.set(name, if is_empty { null() } else { value.any() });
    }
    let given = |name| members.get(name).filter(|value| !value.is_null());
    let merged = || merge(&given("msg")?.text()?, &arguments(given("args")?)?);
    if let Some(message) = given("message").map(Value::any).or_else(|| merged().map(Into::into)) {
        record.set("msg", message);
        record.set("args", null());
    }
    record.into_record(arrived)
}

/// The `repr` of arguments: a text, which is one already, or a list, which was a tuple, or an object.
fn arguments(value: Value<'_>) -> Option<String> {
    value.text().or_else(|| value.repr())
}

#[cfg(test)]
mod tests {
    use crate::relay::protocols::testing::{Sent, post};

    const JSON: &str = "application/json";

    fn assert_read(cases: &[(&str, &str)]) {
        for (body, expected) in cases {
            assert_eq!(post(JSON, *body).shown(), *expected, "{body}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn records_of_the_schema_are_read_in_both_spellings() {
        assert_read(&[
            // As http-logging 2.0.0 sends it.
            (r#"[{"type": "async-http-log", "created": 1610393068.365492, "relative_created": 1505.512, "message": "hi \u00e9", "level": {"number": 20, "name": "INFO"}, "stack_trace": "", "source_code": {"pathname": "/a.py", "function": "f", "line": 3}, "process": {"id": 12, "name": "MainProcess"}, "thread": {"id": 140255996730240, "name": "MainThread"}, "extra": {"user": 7, "none": null, "nested": {"a": [1, NaN]}}},{"type": "mine", "created": 1, "message": "second", "level": {"number": 40, "name": "ERROR"}, "stack_trace": "Traceback\n x"}]"#,
             "json\nhi é; time=1610393068.365492; severity=INFO; level=INFO; number=20; relative=1505.512; pid=12; process=MainProcess; resource.process.pid=12; code.file.path=/a.py; code.function.name=f; code.line.number=3; thread.id=140255996730240; thread.name=MainThread; user=7; none=null; nested={a: [1, NaN]}\nsecond; time=1; severity=ERROR; level=ERROR; number=40; type=mine; exception.stacktrace=Traceback\n x"),
            // What else the encoder of this crate writes.
            (r#"{"created":2.5,"message":"m","level":{"number":5,"name":"TRACE"},"sourcecode":{"pathname":"a.rs","function":null,"line":null},"process":{"id":1,"name":null},"thread":{"id":null,"name":"main"},"tags":["a"],"logger":"app","target":"app::x","event":"started","trace":{"trace_id":"0102030405060708090a0b0c0d0e0f10","span_id":"0102030405060708","flags":1},"resource":{"service.name":"shop","process.pid":1}}"#,
             "json\nm; time=2.5; severity=TRACE; level=TRACE; number=5; logger=app; event=started; trace=0102030405060708090a0b0c0d0e0f10/0102030405060708/Some(1); pid=1; resource.service.name=shop; resource.process.pid=1; code.file.path=a.rs; thread.name=main; tags=[a]; target=app::x"),
            // OpenTelemetry's scale, Python's, and none.
            (r#"{"created":1,"message":"","level":{"number":9,"name":"INFO"}}"#, "json\n; time=1; severity=INFO; level=INFO"),
            (r#"{"created":1,"message":"","level":{"number":17,"name":"ERROR"}}"#, "json\n; time=1; severity=ERROR; level=ERROR"),
            (r#"{"created":1,"message":"","level":{"number":17,"name":"Level 17"}}"#, "json\n; time=1; severity=DEBUG; level=Level 17; number=17"),
            (r#"{"created":1,"message":"","level":{"number":10,"name":"INFO2"}}"#, "json\n; time=1; severity=INFO2; level=INFO2"),
            (r#"{"created":1,"message":"","level":{"number":0,"name":"NOTSET"}}"#, "json\n; time=1; number=0"),
            (r#"{"created":1,"message":"","level":"warning"}"#, "json\n; time=1; severity=WARN; level=warning"),
            // Other types, other members, a lone extra, no message.
            (r#"{"created":"soon","message":{"a":1},"level":[],"process":7,"new":true,"extra":{"extra":{"a":1}},"stack_trace":null}"#,
             "json\n{a: 1}; created=soon; level=[]; process=7; new=true; a=1"),
            (r#"{"created":1,"message":null,"extra":[1],"extra":2}"#, "json\n(none); time=1; extra=[1]; extra=2"),
            // What JSON has not, but clients have.
            (r#"{"created":1.5,"message":"\ud800x","extra":{"int":1180591620717411303424,"inf":-Infinity,"k\udc00":"\ud83d\ude00"}}"#,
             "json\n\u{fffd}x; time=1.5; int=1180591620717411303424; inf=-inf; k\u{fffd}=😀"),
        ]);
    }

    #[test]
    #[rustfmt::skip]
    fn records_of_loguru_are_unfolded() {
        assert_read(&[
            (r#"{"text": "2026-11-28 18:33:40.058 | INFO     | __main__:f:6 - hi é\n", "record": {"elapsed": {"repr": "0:00:00.037873", "seconds": 0.0375}, "exception": null, "extra": {"user": 7, "name": "n"}, "file": {"name": "l.py", "path": "/srv/l.py"}, "function": "f", "level": {"icon": "ℹ️", "name": "SUCCESS", "no": 25}, "line": 6, "message": "hi é", "module": "l", "name": "__main__", "process": {"id": 25816, "name": "MainProcess"}, "thread": {"id": 140255996730240, "name": "MainThread"}, "time": {"repr": "2026-11-28 18:33:40.058928+00:00", "timestamp": 1795890820.058928}}}"#,
             "json\nhi é; time=1795890820.058928; severity=INFO; level=SUCCESS; number=25; relative=37.5; logger=__main__; pid=25816; process=MainProcess; resource.process.pid=25816; code.file.path=/srv/l.py; code.function.name=f; code.line.number=6; thread.id=140255996730240; thread.name=MainThread; user=7; name=n"),
            (r#"{"text": "- failed\nTraceback (most recent call last):\n\n  File\n\nThe above:\n\nTraceback (most recent call last):\nZeroDivisionError: division by zero\n", "record": {"exception": {"type": "ZeroDivisionError", "value": "division by zero", "traceback": true}, "extra": {"extra": {"a": 1}}, "message": "failed", "new": 1}, "host": "h"}"#,
             "json\nfailed; exception.stacktrace=Traceback (most recent call last):\n\n  File\n\nThe above:\n\nTraceback (most recent call last):\nZeroDivisionError: division by zero; exception.type=ZeroDivisionError; exception.message=division by zero; a=1; new=1; host=h"),
            (r#"{"text": "Traceback (most recent call last) is a message", "record": {"exception": null, "message": "m", "name": null}}"#, "json\nm"),
        ]);
    }

    #[test]
    #[rustfmt::skip]
    fn a_log_record_of_python_as_json_is_one() {
        assert_read(&[
            (r#"{"name": "shop", "msg": "%s of %d %r", "args": ["caf\u00e9's", 7, [true, null, {"a": 1.5}]], "levelname": "INFO", "levelno": 20, "created": 1.5, "exc_text": null, "user": null, "taskName": null, "exc_info": null}"#,
             "json\ncafé's of 7 [True, None, {'a': 1.5}]; time=1.5; severity=INFO; level=INFO; number=20; logger=shop; user=null"),
            (r#"{"msg": "%(a)s %(b)s", "args": {"a": "x", "b": NaN}, "levelno": 20}"#, "json\nx nan; severity=INFO; number=20"),
            (r#"{"msg": "%s", "args": "(u'x',)", "levelno": 20}"#, "json\nx; severity=INFO; number=20"),
            (r#"{"msg": "%s %s", "args": [1], "levelno": 20}"#, "json\n%s %s; severity=INFO; number=20; args=[1]"),
            (r#"{"msg": "100%", "args": [], "created": 1}"#, "json\n100%; time=1"),
            (r#"{"msg": "%s", "args": ["a"], "message": "b", "levelno": 20}"#, "json\nb; severity=INFO; number=20"),
            (r#"{"msg": {"a": 1}, "levelno": 20}"#, "json\n{a: 1}; severity=INFO; number=20"),
            // python-json-logger.
            (r#"{"message": "m", "levelname": "INFO", "name": "shop", "created": 1.5, "user": 7}"#, "json\nm; time=1.5; severity=INFO; level=INFO; number=20; logger=shop; user=7"),
        ]);
    }

    #[test]
    #[rustfmt::skip]
    fn objects_of_other_loggers_are_read_by_their_habits() {
        assert_read(&[
            // pino 9.
            ("{\"level\":30,\"time\":1795890838896,\"pid\":26179,\"hostname\":\"vm\",\"name\":\"shop\",\"user\":7,\"msg\":\"hi é\"}\n{\"level\":50,\"time\":1795890838906,\"pid\":26179,\"hostname\":\"vm\",\"err\":{\"type\":\"Error\",\"message\":\"boom\",\"stack\":\"Error: boom\\n    at x\",\"code\":5},\"msg\":\"boom\"}\n{\"level\":40,\"time\":1795890838907,\"pid\":26179,\"hostname\":\"vm\",\"a\":1}\n",
             "pino\nhi é; time=1795890838.896; severity=INFO; logger=shop; pid=26179; resource.host.name=vm; resource.process.pid=26179; user=7\nboom; time=1795890838.906; severity=ERROR; pid=26179; resource.host.name=vm; resource.process.pid=26179; exception.type=Error; exception.message=boom; exception.stacktrace=Error: boom\n    at x; err.code=5\n{\"level\":40,\"time\":1795890838907,\"pid\":26179,\"hostname\":\"vm\",\"a\":1}; time=1795890838.907; severity=WARN"),
            (r#"{"level":"fatal","time":"2026-11-28T18:33:58.907Z","pid":26179,"hostname":"vm","msg":"x 3"}"#,
             "json\nx 3; time=1795890838.907; severity=FATAL; level=fatal; pid=26179; resource.host.name=vm; resource.process.pid=26179"),
            // winston 3.
            (r#"{"a":1,"level":"info","message":"hi","service":"s","timestamp":"2026-11-28T18:33:59.207Z"}"#, "json\nhi; time=1795890839.207; severity=INFO; level=info; a=1; service=s"),
            (r#"[{"level":"silly","message":"boom","stack":"Error: boom\n    at x"},{"level":"http","message":{"x":1}}]"#,
             "json\nboom; severity=TRACE; level=silly; exception.stacktrace=Error: boom\n    at x\n{x: 1}; severity=DEBUG3; level=http"),
            // structlog, zap, and others.
            (r#"{"event":"e","level":"warning","timestamp":"2026-11-28 18:33:59","logger":"l","exception":"a\nb","name":"n","pid":1}"#,
             "json\ne; time=1795890839; severity=WARN; level=warning; logger=l; exception.stacktrace=a\nb; name=n; pid=1"),
            (r#"{"level":"info","ts":1610393068.36,"msg":"m","trace_id":"0102030405060708090a0b0c0d0e0f10","span_id":"0102030405060708","trace_flags":"01"}"#,
             "json\nm; time=1610393068.36; severity=INFO; level=info; trace=0102030405060708090a0b0c0d0e0f10/0102030405060708/Some(1)"),
            (r#"{"message":"m","level":"loud","time":"noon","timestamp":null,"stack":"one line","err":{"a":1}}"#,
             "json\nm; level=loud; time=noon; timestamp=null; stack=one line; err={a: 1}"),
            // Without a message.
            (r#"{"a": 1, "b": {"c": null}}"#, r#"json
{"a": 1, "b": {"c": null}}"#),
            (r#"{"event": {"id": 3}, "severity": "ERROR", "time": 5}"#, "json\n{\"event\": {\"id\": 3}, \"severity\": \"ERROR\", \"time\": 5}; time=5; severity=ERROR; level=ERROR"),
        ]);
    }

    #[test]
    fn what_is_no_record_among_records_is_kept() {
        assert_read(&[
            (
                r#"[{"message":"a"}, {"message": oh}, "text", 5, null, [1], {"message":"b"}]"#,
                "json\na\n{\"message\": oh}\ntext\n5\n[1]\nb",
            ),
            ("{\"message\":\"a\"}\n{\"message\":\n{\"message\":\"b\"}\n", "json\na\n{\"message\":\nb"),
            ("{\"message\":\"a\"}{\"message\":\"b\"}", "json\na\nb"),
            ("[{\"message\":\"a\"},{\"mess", "json\na\n{\"mess"),
            ("[]", "json\n"),
            ("{}", "json\n{}"),
        ]);
        let deep = format!(r#"{{"message":"m","deep":{}1{}}}"#, "[".repeat(5000), "]".repeat(5000));
        let (_, records, _) = post(JSON, &deep).read();
        assert_eq!(records.len(), 1);
        let wide = format!("{{{}\"message\":\"m\"}}", "\"a\":1,".repeat(20_000));
        assert_eq!(post(JSON, &wide).read().1.len(), 1);
    }

    #[test]
    fn json_is_told_by_its_content_where_nothing_says_so() {
        let body = r#" [{"message":"a"}]"#;
        for content_type in ["", "text/plain", "application/x-www-form-urlencoded", "application/octet-stream"] {
            assert_eq!(post(content_type, body).shown(), "json\na", "{content_type}");
        }
        assert!(post("text/plain", "[2026] started").shown().starts_with("text"));
        assert!(post("text/plain", "{a} started").shown().starts_with("text"));
        assert!(post("", "\"a\"").shown().starts_with("other"));
        let lines = Sent { path: "/anything", ..post("application/x-ndjson", "\u{feff}{\"message\":\"a\"}\n") };
        assert_eq!(lines.shown(), "json\na");
    }

    #[test]
    fn only_bodies_with_times_are_known_when_they_come_twice() {
        use crate::relay::protocol::Protocol;
        use crate::relay::protocols::{HTTP, pino::Pino};
        assert!(Pino.repeats());
        let of_files = ["json", "http-handler", "article", "text", "other"];
        assert!(HTTP.iter().filter(|protocol| of_files.contains(&protocol.name())).all(|protocol| !protocol.repeats()));
        assert!(post(JSON, r#"{"level":30,"msg":"no time"}"#).shown().starts_with("json"));
    }
}
