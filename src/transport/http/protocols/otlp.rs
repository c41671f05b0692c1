//! OTLP, whose success can be partial.

use serde_json::Value;

use super::json::{self, text};
use super::protobuf::{Field, Fields};
use super::words::{first_line, without_labels};
use crate::transport::http::response::{Reading, Response};
use crate::transport::verdict::Verdict;

/// What a response says about a success.
#[derive(Default)]
struct PartialSuccess {
    /// The number of rejected records, if it says one.
    rejected: Option<i64>,
    message: String,
}

/// A success, unless its body says that it is a partial one. A body that cannot be read is a success as well: the
/// specification requires none. One that breaks off before the number of rejected records leaves that open.
pub(super) fn read(response: &Response) -> Reading {
    let PartialSuccess { rejected, message } = partial_success(response).unwrap_or_default();
    if rejected.is_none() && !response.whole {
        let why = "the response breaks off or is too long, and may have rejected records";
        return Reading::new(Verdict::Unconfirmed, response, why);
    }
    let words = without_labels(&message);
    let words = first_line(&words);
    // A negative number says nothing: no record can be found for it.
    let rejected = u64::try_from(rejected.unwrap_or_default()).unwrap_or_default();
    if rejected == 0 {
        // A message alone is a warning.
        return Reading::new(Verdict::Delivered, response, words);
    }
    Reading::new(Verdict::DeliveredPartially { rejected }, response, words)
}

fn partial_success(response: &Response) -> Option<PartialSuccess> {
    // A protobuf message can begin with a line feed and a bracket too, but has no text behind them.
    let trimmed = response.body.trim_ascii();
    let is_json = trimmed.strip_prefix(b"{").is_some_and(|rest| {
        let next = rest.trim_ascii_start().first();
        next.is_none_or(|next| b"\"}".contains(next))
    });
    if !is_json {
        return protobuf_partial_success(&response.body, response.whole);
    }
    let success = json::read(trimmed, response.whole)?;
    let partial = success.get("partialSuccess")?;
    // A 64-bit integer is a string in OTLP's JSON, but some servers write a number.
    let names = ["rejectedLogRecords", "rejectedSpans", "rejectedDataPoints"];
    let rejected = names.iter().find_map(|name| partial.get(name)).and_then(|number| match number {
        Value::String(text) => text.parse().ok(),
        number => number.as_i64(),
    });
    Some(PartialSuccess { rejected, message: text(partial, "errorMessage") })
}

/// Reads `ExportLogsServiceResponse { 1: partial_success { 1: rejected_log_records, 2: error_message } }`. It does so without
/// the feature `otlp`, since a build without it can deliver records that were spooled with it.
fn protobuf_partial_success(body: &[u8], whole: bool) -> Option<PartialSuccess> {
    let mut success = PartialSuccess::default();
    for field in Fields::of(body, whole) {
        let (1, Field::Bytes(partial)) = field? else { continue };
        for field in Fields::of(partial, whole) {
            match field? {
                (1, Field::Varint(count)) => success.rejected = Some(count.cast_signed()),
                (2, Field::Bytes(text)) => success.message = String::from_utf8_lossy(text).into_owned(),
                _ => {}
            }
        }
    }
    Some(success)
}

#[cfg(test)]
mod tests {
    use crate::encode::framing::ResponseProtocol;
    use crate::transport::http::protocols::tests::{read, read_start};
    use crate::transport::verdict::Verdict;

    /// As protobuf's own library writes `{ partial_success { rejected_log_records, error_message } }`.
    fn protobuf(rejected: i64, message: &str) -> Vec<u8> {
        let varint = |mut number: u64| {
            let mut bytes = Vec::new();
            while number >= 0x80 {
                bytes.push(number.to_le_bytes()[0] | 0x80);
                number >>= 7;
            }
            bytes.push(number.to_le_bytes()[0]);
            bytes
        };
        let mut partial = [&[0x08][..], &varint(rejected.cast_unsigned())].concat();
        if !message.is_empty() {
            partial.extend([&[0x12][..], &varint(message.len() as u64), message.as_bytes()].concat());
        }
        [&[0x0a][..], &varint(partial.len() as u64), &partial].concat()
    }

    #[test]
    fn each_signal_has_a_name_of_its_own_in_json() {
        for name in ["rejectedLogRecords", "rejectedSpans", "rejectedDataPoints"] {
            let body = format!(r#"{{"partialSuccess":{{"{name}":"2"}}}}"#);
            let (verdict, _) = read(ResponseProtocol::Otlp, 200, body);
            assert_eq!(verdict, Verdict::DeliveredPartially { rejected: 2 }, "{name}");
        }
    }

    fn json(rejected: i64, message: &str) -> Vec<u8> {
        format!(r#"{{"partialSuccess":{{"rejectedLogRecords":"{rejected}","errorMessage":"{message}"}}}}"#).into_bytes()
    }

    /// Each body that says this.
    fn bodies(rejected: i64, message: &str) -> Vec<Vec<u8>> {
        let json = json(rejected, message);
        let number =
            String::from_utf8(json.clone()).unwrap().replace(&format!("\"{rejected}\""), &rejected.to_string());
        let around = |before: &str, after: &str| [before.as_bytes(), &json, after.as_bytes()].concat();
        vec![protobuf(rejected, message), json.clone(), number.into(), around("\n", ""), around("\r\n \t", " \n")]
    }

    #[test]
    fn a_success_can_be_partial() {
        assert_eq!(protobuf(2, "no body"), b"\x0a\x0b\x08\x02\x12\x07no body");
        for body in bodies(2, "no body") {
            assert_eq!(
                read(ResponseProtocol::Otlp, 200, &body),
                (Verdict::DeliveredPartially { rejected: 2 }, "the server responded with 200: no body".to_owned()),
                "{}",
                String::from_utf8_lossy(&body)
            );
        }
        for (rejected, number) in [(3, 3), (9, 9), (i64::MAX, u64::MAX / 2)] {
            for body in bodies(rejected, "why") {
                let (verdict, _) = read(ResponseProtocol::Otlp, 200, &body);
                assert_eq!(verdict, Verdict::DeliveredPartially { rejected: number });
            }
        }
    }

    #[test]
    fn a_negative_number_of_rejected_records_says_nothing_in_any_encoding() {
        for body in [-1, i64::MIN].map(|rejected| bodies(rejected, "why")).concat() {
            assert_eq!(
                read(ResponseProtocol::Otlp, 200, body),
                (Verdict::Delivered, "the server responded with 200: why".to_owned())
            );
        }
    }

    #[test]
    fn a_message_of_any_length_is_read_in_protobuf() {
        // Such lengths are a bracket, the start of a tag, a space or a line feed.
        for len in 1..300 {
            let message = "m".repeat(len);
            assert_eq!(
                read(ResponseProtocol::Otlp, 200, protobuf(2, &message)).0,
                Verdict::DeliveredPartially { rejected: 2 },
                "{len}"
            );
        }
    }

    #[test]
    fn a_partial_success_that_breaks_off_counts_once_its_number_was_seen() {
        let message = "m".repeat(200);
        let ends = [json(17, &message), protobuf(300, &message)].map(|body| {
            let seen = |len: &usize| read_start(ResponseProtocol::Otlp, 200, &body[..*len]) != Verdict::Unconfirmed;
            let first = (0..body.len()).find(seen).expect("the number is seen");
            assert!((first..body.len()).all(|len| seen(&len)), "{first}");
            let all = read_start(ResponseProtocol::Otlp, 200, &body[..first]);
            assert!(matches!(all, Verdict::DeliveredPartially { rejected: 17 | 300 }), "{all:?} {first}");
            first
        });
        // Behind the comma; behind the second byte of the number.
        assert_eq!(ends, [45, 6]);
        assert_eq!(read_start(ResponseProtocol::Otlp, 200, json(0, &message)), Verdict::Delivered);
    }

    #[test]
    fn any_other_success_is_one() {
        let warning = br#"{"partialSuccess":{"errorMessage":"deprecated"}}"#;
        let null = br#"{"partialSuccess":null}"#;
        let bodies =
            [&b""[..], b"{}", b" \n", null, b"\x0a\x00", b"OK", b"\xff\xff\xff", b"\x0a\x7fshort", b"{\"", warning];
        for body in bodies {
            assert_eq!(read(ResponseProtocol::Otlp, 200, body).0, Verdict::Delivered, "{body:?}");
        }
        assert_eq!(read(ResponseProtocol::Otlp, 503, "").0, Verdict::Retry);
    }
}
