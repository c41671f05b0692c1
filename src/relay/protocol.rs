//! [`Protocol`]: bytes of one message in, records out, and the answer. Each protocol is a file in `protocols/`.
//!
//! A protocol knows no socket, no disk and no clock: a listener cuts what comes into messages, a [`Sink`] takes the records.

use std::borrow::Cow;
use std::time::SystemTime;

use crate::config::values::Signal;
use crate::encode::blocks::EnvelopeId;
use crate::relay::record::Record;

/// A message, as its listener has it: the payload of a frame, a datagram, or the body of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    pub(crate) body: &'a [u8],
    /// The time of its arrival.
    pub(crate) arrived: SystemTime,
    /// The request around the body, where there is one.
    pub(crate) request: Option<&'a Request<'a>>,
    /// The name of the file that a client of logserv asks for.
    pub(crate) file: Option<&'a str>,
}

/// A request of HTTP, but for its body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    /// In upper case: `GET`, `POST`, ...
    pub(crate) method: &'a str,
    /// The path of the target as it was sent, without the query.
    pub(crate) path: &'a [u8],
    /// The query as it was sent, without the question mark; not decoded. Everything behind the first question mark.
    pub(crate) query: Option<&'a [u8]>,
    /// The headers in their order, spelt as they were sent.
    pub(crate) headers: &'a [(String, String)],
    /// The client had cut the body: see the article's handler.
    pub(crate) cut: bool,
}

impl Request<'_> {
    /// The value of the first header of this name, which is given in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The media type of the body in lower case, without parameters; empty if there is none.
    pub(crate) fn media_type(&self) -> String {
        let value = self.header("content-type").unwrap_or_default();
        value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }
}

/// Takes the records of a message. What it is given belongs together: all of it is stored, or nothing.
pub(crate) trait Sink {
    /// A log record. Returns nothing: one that cannot be encoded is counted.
    fn log(&mut self, record: &Record);

    /// A record of any signal in OTLP's protobuf, as it came.
    fn otlp(&mut self, record: OtlpRecord<'_>);

    /// Whether it takes nothing more of the message: who reads it may stop.
    fn is_full(&self) -> bool {
        false
    }

    /// The records so far that will not be stored, for good.
    fn rejected(&self) -> u64 {
        0
    }
}

/// A record of OTLP in protobuf: a log record, a span or a metric.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OtlpRecord<'a> {
    pub(crate) signal: Signal,
    /// The numbers of its resource and its scope: those of another number may be the same, those of the same number are.
    pub(crate) id: EnvelopeId,
    /// The fields of the message of its resource, but for its scopes.
    pub(crate) resource: &'a [u8],
    /// The fields of the message of its scope, but for its records.
    pub(crate) scope: &'a [u8],
    /// The message of the record, without tag and length.
    pub(crate) record: &'a [u8],
    pub(crate) timestamp: Option<SystemTime>,
}

/// A wire protocol.
pub(crate) trait Protocol: Send + Sync {
    /// The name in counts and in `extra.relay`.
    fn name(&self) -> &'static str;

    /// Whether a message is of this protocol. Protocols are asked in the order of [`crate::relay::protocols::HTTP`].
    fn claims(&self, message: &Message<'_>) -> bool;

    /// The signal that a message is of, if it is told.
    fn signal(&self, _message: &Message<'_>) -> Option<Signal> {
        Some(Signal::Logs)
    }

    /// Whether a client sends the same body again after a 503, and bodies hold times: a repeated one is then recognised.
    fn repeats(&self) -> bool {
        false
    }

    /// Gives the records of a message to `sink`.
    ///
    /// # Errors
    ///
    /// If it has none, and could not have any: nothing is stored.
    fn read(&self, message: &Message<'_>, sink: &mut dyn Sink) -> Result<Answer, BadMessage>;

    /// The body of a response with a status such as 413 or 503 to a message that was claimed, and its content type. Default: `None`, the
    /// protocol has none of its own.
    fn refusal(&self, _message: &Message<'_>, _status: u16, _reason: &str) -> Option<(&'static str, Vec<u8>)> {
        None
    }
}

/// What a client is answered once its records are committed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// 204 in place of 200, for clients that take nothing else.
    pub(crate) no_content: bool,
    /// It says how many records were not taken.
    pub(crate) names_rejected: bool,
    pub(crate) content_type: Option<&'static str>,
    pub(crate) body: Cow<'static, [u8]>,
}

/// A message that is none of its protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct BadMessage {
    /// The status of HTTP, such as 400.
    pub(crate) status: u16,
    /// In words for who wrote the client.
    pub(crate) reason: String,
    /// The body of the answer where the protocol has its own, and its content type.
    pub(crate) answer: Option<(&'static str, Vec<u8>)>,
}

impl BadMessage {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self { status: 400, reason: reason.into(), answer: None }
    }

    /// The same of one that takes more than it may.
    pub(crate) fn too_large(reason: impl Into<String>) -> Self {
        Self { status: 413, ..Self::new(reason) }
    }
}
