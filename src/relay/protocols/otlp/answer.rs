//! The responses of OTLP: in the encoding of the request.

use serde_json::json;

use crate::config::values::{Protocol as Encoding, Signal};
use crate::encode::transcode::wire::{Wire, put_field, put_message};
use crate::relay::protocol::{Answer, BadMessage};

/// `google.rpc.Code`.
const INVALID_ARGUMENT: u32 = 3;
const RESOURCE_EXHAUSTED: u32 = 8;
const UNAVAILABLE: u32 = 14;

const fn content_type(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::HttpBinary => "application/x-protobuf",
        Encoding::HttpJson => "application/json",
    }
}

/// The response to a request whose records are committed, but for those of them that could not be read as records. It speaks of those
/// only if there are any.
pub(super) fn success(encoding: Encoding, signal: Signal, rejected: u64) -> Answer {
    let message = "they are no objects, or larger than a record may be";
    let body = match (encoding, rejected) {
        (Encoding::HttpBinary, 0) => Vec::new(),
        (Encoding::HttpJson, 0) => b"{}".to_vec(),
        // `ExportLogsServiceResponse` and the like: `{ 1: partial_success { 1: rejected, 2: error_message } }`.
        (Encoding::HttpBinary, rejected) => {
            let mut body = Vec::new();
            put_message(1, &mut body, |out| {
                put_field(1, Wire::Varint(rejected), out);
                put_field(2, Wire::Bytes(message.as_bytes()), out);
            });
            body
        }
        (Encoding::HttpJson, rejected) => {
            let name = match signal {
                Signal::Logs => "rejectedLogRecords",
                Signal::Traces => "rejectedSpans",
                Signal::Metrics => "rejectedDataPoints",
            };
            let partial = json!({ "partialSuccess": { name: rejected.to_string(), "errorMessage": message } });
            partial.to_string().into_bytes()
        }
    };
    Answer { names_rejected: true, content_type: Some(content_type(encoding)), body: body.into(), ..Answer::default() }
}

/// The body of a response with another status than 200, and its content type: a `google.rpc.Status`.
pub(super) fn error(encoding: Encoding, status: u16, message: &str) -> (&'static str, Vec<u8>) {
    let code = match status {
        413 => RESOURCE_EXHAUSTED,
        500.. => UNAVAILABLE,
        _ => INVALID_ARGUMENT,
    };
    let body = match encoding {
        Encoding::HttpBinary => {
            let mut body = Vec::new();
            put_field(1, Wire::Varint(code.into()), &mut body);
            put_field(2, Wire::Bytes(message.as_bytes()), &mut body);
            body
        }
        Encoding::HttpJson => json!({ "code": code, "message": message }).to_string().into_bytes(),
    };
    (content_type(encoding), body)
}

/// A request that cannot be read.
pub(super) fn bad_request(encoding: Encoding, reason: impl Into<String>) -> BadMessage {
    let bad = BadMessage::new(reason);
    let answer = Some(error(encoding, bad.status, &bad.reason));
    BadMessage { answer, ..bad }
}
