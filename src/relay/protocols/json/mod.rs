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

pub(super) use members::Members;

use std::time::SystemTime;

use self::members::Value;
use self::pieces::{Piece, Pieces};
use super::http_handler::merge;
use super::log_record::LogRecord;
use super::plain;
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
        let body = message.body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(message.body).trim_ascii_start();
        let Some(begin @ (b'{' | b'[' | b'"')) = body.first() else { return false };
        let is_said = message.request.is_some_and(|request| request.media_type().contains("json"));
        is_said || *begin != b'"' && first(message.body).is_some()
    }

    fn read(&self, message: &Message<'_>, sink: &mut dyn Sink) -> Result<Answer, BadMessage> {
        for piece in Pieces::new(message.body) {
            let record = match piece {
                Piece::Json(json) => record(Value(json), message.arrived),
                Piece::Other(text) => Some(plain(String::from_utf8_lossy(text).into_owned(), message.arrived)),
            };
            if let Some(record) = record {
                sink.log(&record);
            }
        }
        Ok(Answer::default())
    }
}

/// The members of the first record, if it is an object.
pub(super) fn first(body: &[u8]) -> Option<Members<'_>> {
    match Pieces::new(body).next()? {
        Piece::Json(json) => Value(json).object(),
        Piece::Other(_) => None,
    }
}

/// The record of a value; none if it is null.
fn record(value: Value<'_>, arrived: SystemTime) -> Option<Record> {
    let Some(members) = value.object() else {
        return (!value.is_null()).then(|| plain(value.any(), arrived));
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
