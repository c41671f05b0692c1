//! The words in a response that tell an operator why a batch failed, without what was logged.

use serde_json::Value;

use super::json::{self, text};
use super::protobuf::{Field, Fields};
use super::{clickhouse, server};
use crate::encode::framing::ResponseProtocol;
use crate::transport::http::response::Response;

/// The starts of Loki's reasons, each followed by a stream's labels, times or numbers alone.
const LOKI: [&str; 8] = [
    "entry for stream '{",
    "entry with timestamp ",
    "error at least one label pair is required per stream",
    "Ingestion rate limit exceeded ",
    "Max entry size ",
    "Maximum active stream limit exceeded",
    "Per stream rate limit exceeded ",
    "stream '{",
];

/// The words of an error that the protocol defines, under any status; else the first line of what is there, but under the
/// statuses whose text can show what was logged: 2xx, 400, 413, 415 and 422.
pub(super) fn of(protocol: ResponseProtocol, response: &Response) -> String {
    let body = &response.body;
    if matches!((response.status, protocol), (200..=299, ResponseProtocol::Status | ResponseProtocol::Bulk)) {
        // Many of them are long, and none is an error.
        return String::new();
    }
    let recognised = match protocol {
        ResponseProtocol::Otlp => google_status(body),
        ResponseProtocol::Bulk => error_type(body),
        ResponseProtocol::SplunkHec => code_and_text(body),
        ResponseProtocol::ClickHouse => {
            clickhouse::Exception::find(body).map(|exception| exception.words(response.status))
        }
        ResponseProtocol::Status => None,
    };
    let body = || String::from_utf8_lossy(body);
    recognised.or_else(|| loki(&body())).or_else(|| server::own_response(response)).unwrap_or_else(|| {
        match response.status {
            200..=299 | 400 | 413 | 415 | 422 => String::new(),
            _ => free_text(&body()),
        }
    })
}

/// `google.rpc.Status`, as OTLP's receivers send it in protobuf or JSON.
fn google_status(body: &[u8]) -> Option<String> {
    let (code, message) = match json::read(body, true) {
        Some(Value::Object(status)) => {
            // Another object is an application's, whose message can show what was logged.
            if !status.keys().all(|key| matches!(&**key, "code" | "message" | "details")) {
                return None;
            }
            let status = Value::Object(status);
            (status.get("code").and_then(Value::as_u64), text(&status, "message"))
        }
        _ => protobuf_status(body)?,
    };
    match (code, message) {
        (Some(code), message) if message.is_empty() => Some(format!("code {code}")),
        (None, message) if message.is_empty() => None,
        (_, message) => loki(&message).or_else(|| Some(first_line(&without_labels(&message)).to_owned())),
    }
}

/// Reads `Status { 1: code, 2: message, 3: details }`.
fn protobuf_status(body: &[u8]) -> Option<(Option<u64>, String)> {
    let (mut code, mut message) = (None, String::new());
    for field in Fields::of(body, true) {
        match field? {
            (1, Field::Varint(number)) => code = Some(number),
            (2, Field::Bytes(text)) => std::str::from_utf8(text).ok()?.clone_into(&mut message),
            (3, Field::Bytes(_)) => {}
            _ => return None,
        }
    }
    Some((code, message))
}

/// Elasticsearch's and OpenSearch's `{"error":{"type":"...","reason":"..."},"status":400}`: the reason can show what was logged.
fn error_type(body: &[u8]) -> Option<String> {
    let kind = text(json::read(body, true)?.get("error")?, "type");
    (!kind.is_empty()).then_some(kind)
}

/// Splunk's `{"text":"...","code":0}`.
fn code_and_text(body: &[u8]) -> Option<String> {
    let body = json::read(body, true)?;
    let code = body.get("code")?.as_u64()?;
    Some(format!("code {code}, {}", text(&body, "text")))
}

/// Loki's reason without the labels of the stream.
fn loki(body: &str) -> Option<String> {
    let line = first_line(body);
    if !LOKI.iter().any(|start| line.starts_with(start)) {
        return None;
    }
    let line = without_labels(line);
    // A label's name or value follows.
    let end = ["too long: '", "duplicate label name: '"].iter().find_map(|before| {
        let at = line.find(before)? + before.len();
        Some(at - 3)
    });
    Some(line[..end.unwrap_or(line.len())].trim_end_matches([',', ' ']).to_owned())
}

/// Text with `{}` for every set of labels in it: `{name="value", ...}`.
pub(super) fn without_labels(text: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find('{') {
        let inside = &rest[at + 1..];
        let name = inside.find(|char: char| !char.is_ascii_alphanumeric() && !"_.:".contains(char));
        if !name.is_some_and(|end| end > 0 && inside[end..].starts_with('=')) {
            out.push_str(&rest[..=at]);
            rest = inside;
            continue;
        }
        out.push_str(&rest[..at]);
        out.push_str("{}");
        rest = &inside[end_of_labels(inside)..];
    }
    out + rest
}

/// The end of a set of labels, behind its bracket.
fn end_of_labels(inside: &str) -> usize {
    let (mut in_value, mut escaped) = (false, false);
    for (at, byte) in inside.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_value = !in_value,
            b'}' if !in_value => return at + 1,
            _ => {}
        }
    }
    inside.len()
}

/// The title of a page, or else the first line.
fn free_text(body: &str) -> String {
    let title = server::is_page(body.as_bytes()).then(|| server::title(body)).flatten();
    title.unwrap_or_else(|| first_line(body)).to_owned()
}

pub(super) fn first_line(text: &str) -> &str {
    text.trim().lines().next().unwrap_or_default().trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(protocol: ResponseProtocol, status: u16, body: impl AsRef<[u8]>) -> String {
        of(protocol, &Response::new(status, body.as_ref()))
    }

    #[test]
    fn the_words_of_a_recognised_error_are_decoded_under_any_status() {
        use ResponseProtocol::{Bulk, ClickHouse, Otlp, SplunkHec, Status};
        let es = r#"{"error":{"root_cause":[{"type":"illegal_argument_exception","reason":"x"}],"type":"illegal_argument_exception","reason":"secret"},"status":400}"#;
        for (protocol, status, body, expected) in [
            // The Collector's receiver, in protobuf and in JSON.
            (Otlp, 400, "\u{8}\u{3}\u{12}\u{8}no batch", "no batch"),
            (Otlp, 503, "\u{8}\u{e}\u{12}\u{8}no batch", "no batch"),
            (Otlp, 500, "\u{12}\u{8}no batch", "no batch"),
            (Otlp, 500, "\u{8}\u{d}", "code 13"),
            (Otlp, 400, r#"{"code":3,"message":"illegal wireType 6"}"#, "illegal wireType 6"),
            (Otlp, 500, r#"{"code":13}"#, "code 13"),
            // Loki's receiver of OTLP.
            (
                Otlp,
                400,
                "\u{8}\u{3}\u{12}\u{30}entry for stream '{a=\"b\"}' has timestamp too old",
                "entry for stream '{}' has timestamp too old",
            ),
            (
                Otlp,
                400,
                r#"{"message":"stream '{a=\"b\"}' has label name too long: 'hunter2'"}"#,
                "stream '{}' has label name too long",
            ),
            (Bulk, 400, es, "illegal_argument_exception"),
            (
                Bulk,
                429,
                r#"{"error":{"type":"es_rejected_execution_exception","reason":"x"},"status":429}"#,
                "es_rejected_execution_exception",
            ),
            (SplunkHec, 403, r#"{"text":"Invalid token","code":4}"#, "code 4, Invalid token"),
            (
                SplunkHec,
                400,
                r#"{"text":"Event field cannot be blank","code":13,"invalid-event-number":2}"#,
                "code 13, Event field cannot be blank",
            ),
            (
                ClickHouse,
                400,
                "Code: 27. DB::Exception: Cannot parse input: expected '\"' before: 'hunter2': (at row 2)\n: While executing JSONEachRowRowInputFormat. (CANNOT_PARSE_INPUT_ASSERTION_FAILED) (version 25.8.1.5101 (official build))\n",
                "Code: 27 (CANNOT_PARSE_INPUT_ASSERTION_FAILED)",
            ),
            (
                ClickHouse,
                500,
                "Code: 27, e.displayText() = DB::Exception: Cannot parse 'hunter2': (at row 2)\n, e.what() = DB::Exception",
                "Code: 27",
            ),
            (
                ClickHouse,
                400,
                "Code: 9999. DB::Exception: Odd value (A_B): hunter2. (ODD_VALUE) (version 26.9)",
                "Code: 9999 (ODD_VALUE)",
            ),
            (
                ClickHouse,
                500,
                "Code: 242. DB::Exception: Table is in readonly mode. (TABLE_IS_READ_ONLY)",
                "Code: 242. DB::Exception: Table is in readonly mode. (TABLE_IS_READ_ONLY)",
            ),
            (
                ClickHouse,
                404,
                "Code: 60. DB::Exception: Table default.logs does not exist. (UNKNOWN_TABLE)\n",
                "Code: 60. DB::Exception: Table default.logs does not exist. (UNKNOWN_TABLE)",
            ),
            (
                Status,
                400,
                "entry for stream '{foo=\"bar2\"}' has timestamp too old: 2019-10-11T14:30:38Z, oldest acceptable timestamp is: 2024-01-18T08:00:00Z\n",
                "entry for stream '{}' has timestamp too old: 2019-10-11T14:30:38Z, oldest acceptable timestamp is: 2024-01-18T08:00:00Z",
            ),
            (
                Status,
                400,
                "entry with timestamp 2023-09-25 07:52:43.865344266 +0000 UTC ignored, reason: 'entry too far behind, oldest acceptable timestamp is: 2023-09-25T08:24:02Z',\nuser 'fake', total ignored: 1 out of 1 for stream: {job=\"a\"}",
                "entry with timestamp 2023-09-25 07:52:43.865344266 +0000 UTC ignored, reason: 'entry too far behind, oldest acceptable timestamp is: 2023-09-25T08:24:02Z'",
            ),
            (
                Status,
                429,
                "Ingestion rate limit exceeded for user fake (limit: 4194304 bytes/sec) while attempting to ingest '2577' lines totaling '1041935' bytes, reduce log volume or contact your Loki administrator to see if the limit can be increased",
                "Ingestion rate limit exceeded for user fake (limit: 4194304 bytes/sec) while attempting to ingest '2577' lines totaling '1041935' bytes, reduce log volume or contact your Loki administrator to see if the limit can be increased",
            ),
            (
                Status,
                400,
                r#"stream '{a="hunter2"}' has label value too long: 'hunter2'"#,
                "stream '{}' has label value too long",
            ),
            (
                Status,
                400,
                "error at least one label pair is required per stream",
                "error at least one label pair is required per stream",
            ),
        ] {
            assert_eq!(words(protocol, status, body), expected, "{body}");
        }
    }

    #[test]
    fn free_text_shows_where_it_can_hardly_be_what_was_logged() {
        use ResponseProtocol::{Bulk, ClickHouse, Otlp, SplunkHec, Status};
        for protocol in [Bulk, ClickHouse, Otlp, SplunkHec, Status] {
            for status in [200, 204, 299, 400, 413, 415, 422] {
                for body in [
                    "cannot read hunter2",
                    r#"{"statusCode":400,"message":"hunter2"}"#,
                    "loghttp.PushRequest.Streams: error found in ...|hunter2",
                ] {
                    assert_eq!(words(protocol, status, body), "", "{protocol:?} {status}");
                }
            }
            assert_eq!(words(protocol, 401, "\nno such token\nask for one"), "no such token");
            assert_eq!(words(protocol, 404, "404 page not found\n"), "404 page not found");
            assert_eq!(
                words(protocol, 502, "<html>\r\n<head><title>502 Bad Gateway</title></head>"),
                "502 Bad Gateway"
            );
            assert_eq!(words(protocol, 503, "upstream connect error"), "upstream connect error");
            assert_eq!(words(protocol, 503, b"\xff\xfe"), "\u{fffd}\u{fffd}");
            assert_eq!(words(protocol, 503, ""), "");
        }
        assert_eq!(words(Otlp, 400, "\u{8}\u{3}\u{12}\u{7}hunter2\u{20}\u{1}"), "", "a field that it has not");
        assert_eq!(words(Status, 400, r#"{"code":3,"message":"hunter2"}"#), "", "it is OTLP's own alone");
    }

    #[test]
    fn labels_are_left_out_and_other_brackets_stay() {
        for (text, expected) in [
            (r#"a {b="c", d="e}\"", f="g"} h {i="j"}"#, "a {} h {}"),
            (r#"{"b":"c"} {} {b} {=} {"#, r#"{"b":"c"} {} {b} {=} {"#),
            (r#"cut {service.name="x"#, "cut {}"),
        ] {
            assert_eq!(without_labels(text), expected);
        }
    }
}
