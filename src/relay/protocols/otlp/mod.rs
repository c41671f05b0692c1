//! OTLP over HTTP, in protobuf and in JSON, of all three signals.
//!
//! | file | |
//! |---|---|
//! | `split` | a request in protobuf taken apart |
//! | `from_json`, `number` | a request in JSON as one in protobuf |
//! | `answer` | the responses |
//! | `pieces` | a record as an endpoint of OTLP gets it |
//! | `log` | a log record for other formats |
//! | `attributes` | attributes of a resource that are left out |
//!
//! A record is stored as it came, whatever it says. So JSON is made protobuf first, and one way leads on.

mod answer;
pub(crate) mod attributes;
mod from_json;
pub(crate) mod log;
mod number;
pub(crate) mod pieces;
mod split;

use crate::config::values::{Protocol as Encoding, Signal};
use crate::relay::protocol::{Answer, BadMessage, Message, Protocol, Request, Sink};
pub(crate) use attributes::drop_attributes;
use from_json::Content;
pub(crate) use log::{Extent, origin, record, scope};
pub(crate) use pieces::Pieces;

/// OTLP over HTTP.
///
/// It claims every request in protobuf, since one to a path that says no signal should be told so: a protocol that has protobuf at a path
/// of its own is asked before it.
#[derive(Debug)]
pub(crate) struct Otlp;

impl Protocol for Otlp {
    fn name(&self) -> &'static str {
        "otlp"
    }

    fn claims(&self, message: &Message<'_>) -> bool {
        let Some(request) = message.request.filter(|request| request.method == "POST") else { return false };
        match encoding(request, message.body) {
            Some(Encoding::HttpBinary) => true,
            Some(Encoding::HttpJson) => match Content::of(message.body) {
                Content::Of(_) => true,
                Content::Empty | Content::Broken => signal_of(request).is_some(),
                Content::Other => false,
            },
            None => false,
        }
    }

    fn signal(&self, message: &Message<'_>) -> Option<Signal> {
        let of_path = message.request.and_then(signal_of);
        match message.request.and_then(|request| encoding(request, message.body)) {
            Some(Encoding::HttpJson) => signal_of_json(message.body, of_path),
            _ => of_path,
        }
    }

    fn repeats(&self) -> bool {
        true
    }

    fn read(&self, message: &Message<'_>, sink: &mut dyn Sink) -> Result<Answer, BadMessage> {
        let at = message.request.and_then(signal_of);
        match message.request.and_then(|request| encoding(request, message.body)) {
            Some(Encoding::HttpJson) => read_json(message.body, at, sink),
            _ => read_protobuf(message.body, at, sink),
        }
    }

    fn refusal(&self, message: &Message<'_>, status: u16, reason: &str) -> Option<(&'static str, Vec<u8>)> {
        let encoding = encoding(message.request?, message.body).unwrap_or(Encoding::HttpBinary);
        Some(answer::error(encoding, status, reason))
    }
}

fn read_protobuf(body: &[u8], signal: Option<Signal>, sink: &mut dyn Sink) -> Result<Answer, BadMessage> {
    let encoding = Encoding::HttpBinary;
    let Some(signal) = signal else {
        let reason = "the path of a request of OTLP in protobuf ends in /v1/logs, /v1/traces or /v1/metrics";
        return Err(answer::bad_request(encoding, reason));
    };
    split::split(signal, body, sink)
        .map_err(|error| answer::bad_request(encoding, format!("the body is no OTLP of {}: {error}", signal.name())))?;
    Ok(answer::success(encoding, signal, sink.rejected()))
}

/// The signal of a body in JSON, which is of more weight than its path.
fn signal_of_json(body: &[u8], of_path: Option<Signal>) -> Option<Signal> {
    match Content::of(body) {
        Content::Of(signal) => Some(signal),
        _ => of_path,
    }
}

/// Reads JSON.
fn read_json(body: &[u8], signal: Option<Signal>, sink: &mut dyn Sink) -> Result<Answer, BadMessage> {
    let bad_request = |reason: String| answer::bad_request(Encoding::HttpJson, reason);
    let signal = signal_of_json(body, signal)
        .ok_or_else(|| bad_request("the body has no resourceLogs, resourceSpans or resourceMetrics".into()))?;
    let request =
        from_json::request(signal, body).map_err(|error| bad_request(format!("the body is no JSON: {error}")))?;
    split::split(signal, &request.protobuf, sink).map_err(|error| bad_request(error.into()))?;
    Ok(answer::success(Encoding::HttpJson, signal, request.rejected + sink.rejected()))
}

/// The signal that a request's target ends with. Also its query: some put the path behind that.
fn signal_of(request: &Request<'_>) -> Option<Signal> {
    let ends = |target: &[u8], signal: Signal| {
        let path = target.strip_suffix(b"/").unwrap_or(target);
        path.strip_suffix(signal.path().as_bytes()).is_some_and(|before| before.ends_with(b"/"))
    };
    let is_of =
        |signal: &Signal| ends(request.path, *signal) || request.query.is_some_and(|query| ends(query, *signal));
    Signal::ALL.into_iter().find(is_of)
}

/// The encoding of a body: as its content type says, else as it looks, of what no type is given for.
fn encoding(request: &Request<'_>, body: &[u8]) -> Option<Encoding> {
    match &*request.media_type() {
        "application/x-protobuf" | "application/protobuf" => Some(Encoding::HttpBinary),
        "application/json" | "text/json" => Some(Encoding::HttpJson),
        // The first byte of protobuf is a line feed, and can be followed by a bracket as well.
        _ if looks_like_json(body) => Some(Encoding::HttpJson),
        "" | "application/octet-stream" => signal_of(request).map(|_| Encoding::HttpBinary),
        _ => None,
    }
}

fn looks_like_json(body: &[u8]) -> bool {
    let inside = body.trim_ascii_start().strip_prefix(b"{");
    inside.and_then(|inside| inside.trim_ascii_start().first()).is_some_and(|first| b"\"}".contains(first))
}

#[cfg(test)]
mod tests;
