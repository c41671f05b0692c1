//! Splunk's HTTP Event Collector: a code says whether the settings or the events are wrong, and a number which event.

use serde_json::Value;

use super::json::{self, text};
use crate::transport::http::response::{Reading, Response};
use crate::transport::verdict::{Suspicion, Verdict};

/// `{"text": "...", "code": 0, "invalid-event-number": 0}`.
pub(super) fn read(response: &Response, records: u64, words: &str) -> Reading {
    let body = json::read(&response.body, response.whole).unwrap_or_default();
    let code = body.get("code").and_then(Value::as_u64);
    // The event at which it stopped, from 0; those before it are indexed. If there are none, it refused the whole request, which
    // is no word about a record.
    let number = body.get("invalid-event-number").and_then(Value::as_u64);
    let stopped = number.filter(|number| (1..records).contains(number));
    let verdict = match (response.status, code) {
        // Only a code says more than the status.
        (200..=299, None) if !response.whole => {
            let why = "the response breaks off or is too long, and may say that it is no success";
            return Reading::new(Verdict::Unconfirmed, response, why);
        }
        // Other servers with this protocol may send another body.
        (200..=299, None | Some(0)) => Verdict::Delivered,
        // The token, the index, the channel and indexer acknowledgement are settings.
        (200..=299, _) | (400, Some(1..=4 | 7 | 10 | 11 | 14 | 16)) => Verdict::Hold,
        // The event is no JSON, is missing, or is blank.
        (400, Some(code @ (6 | 12 | 13))) if stopped.is_some() => {
            let rejection = format!("code {code}, {}", text(&body, "text"));
            Verdict::DeliveredUpTo { records: stopped.unwrap_or_default(), rejection: Some(rejection) }
        }
        // The server is busy.
        (503, Some(9)) => {
            let verdict = stopped.map_or(Verdict::Retry, |records| Verdict::DeliveredUpTo { records, rejection: None });
            return Reading::new(verdict, response, words).suspecting(Suspicion::Load);
        }
        _ => Verdict::of(response),
    };
    Reading::new(verdict, response, words)
}

#[cfg(test)]
mod tests {
    use crate::encode::framing::ResponseProtocol;
    use crate::transport::http::protocols::tests::{read, read_start, reading};
    use crate::transport::verdict::{Suspicion, Verdict};

    #[test]
    fn splunks_code_tells_the_settings_from_the_events() {
        let code =
            |status, code| read(ResponseProtocol::SplunkHec, status, format!(r#"{{"text":"why","code":{code}}}"#)).0;
        assert_eq!(code(200, 0), Verdict::Delivered);
        assert_eq!(code(200, 17), Verdict::Hold);
        assert_eq!(code(400, 6), Verdict::Rejected, "invalid data format");
        assert_eq!(code(400, 7), Verdict::Hold, "incorrect index");
        assert_eq!(code(403, 4), Verdict::Hold, "invalid token");
        assert_eq!(code(400, 15), Verdict::Rejected, "indexed fields");
        assert_eq!(code(503, 9), Verdict::Retry, "server is busy");
        assert_eq!(read(ResponseProtocol::SplunkHec, 200, "ok").0, Verdict::Delivered);
        assert_eq!(
            read(ResponseProtocol::SplunkHec, 400, r#"{"text":"Incorrect index","code":7}"#).1,
            "the server responded with 400: code 7, Incorrect index"
        );
    }

    #[test]
    fn the_events_before_the_one_that_splunk_names_are_delivered() {
        let up_to =
            |records, rejection: &str| Verdict::DeliveredUpTo { records, rejection: Some(rejection.to_owned()) };
        for (status, body, expected, suspicion) in [
            (
                400,
                r#"{"text":"Event field cannot be blank","code":13,"invalid-event-number":2}"#,
                up_to(2, "code 13, Event field cannot be blank"),
                Suspicion::Content,
            ),
            (
                400,
                r#"{"text":"Event field cannot be blank","code":13,"invalid-event-number":2,"ackId":3}"#,
                up_to(2, "code 13, Event field cannot be blank"),
                Suspicion::Content,
            ),
            (
                400,
                r#"{"text":"Invalid data format","code":6,"invalid-event-number":1}"#,
                up_to(1, "code 6, Invalid data format"),
                Suspicion::Content,
            ),
            (
                400,
                r#"{"text":"Event field is required","code":12,"invalid-event-number":1}"#,
                up_to(1, "code 12, Event field is required"),
                Suspicion::Content,
            ),
            (
                503,
                r#"{"text":"Server is busy","code":9,"invalid-event-number":2}"#,
                Verdict::DeliveredUpTo { records: 2, rejection: None },
                Suspicion::Load,
            ),
        ] {
            let reading = reading(ResponseProtocol::SplunkHec, status, body, true);
            assert_eq!((reading.verdict, reading.suspicion), (expected, suspicion), "{body}");
        }
    }

    #[test]
    fn a_number_that_names_no_event_behind_others_says_nothing() {
        for number in ["0", "3", "60", "-1", "1.5", "\"1\"", "null", "18446744073709551615"] {
            let numbered = |status, code| {
                let body = format!(r#"{{"text":"why","code":{code},"invalid-event-number":{number}}}"#);
                read(ResponseProtocol::SplunkHec, status, body).0
            };
            assert_eq!(numbered(400, 13), Verdict::Rejected, "{number}");
            assert_eq!(numbered(503, 9), Verdict::Retry, "{number}");
        }
        let numbered = |status, code| {
            let body = format!(r#"{{"text":"why","code":{code},"invalid-event-number":1}}"#);
            read(ResponseProtocol::SplunkHec, status, body).0
        };
        assert_eq!(numbered(400, 7), Verdict::Hold, "counted from 1, and a setting");
        assert_eq!(numbered(400, 15), Verdict::Rejected, "the Collector stores none of the events before it");
        assert_eq!(numbered(500, 8), Verdict::Retry);
    }

    #[test]
    fn a_success_that_breaks_off_before_its_code_is_unconfirmed() {
        let body = r#"{"text":"Success","code":0,"ackId":7}"#;
        for len in 0..body.len() {
            let expected = if len > 26 { Verdict::Delivered } else { Verdict::Unconfirmed };
            assert_eq!(read_start(ResponseProtocol::SplunkHec, 200, &body[..len]), expected, "{}", &body[..len]);
        }
        let bad = r#"{"text":"Data channel is missing","code":10,"#;
        assert_eq!(read_start(ResponseProtocol::SplunkHec, 200, bad), Verdict::Hold);
    }
}
