//! The response protocols, one file for each.

mod bulk;
mod clickhouse;
mod json;
mod otlp;
mod protobuf;
mod server;
mod splunk;
mod words;

use crate::encode::framing::ResponseProtocol;
use crate::transport::http::response::{Reading, Response};
use crate::transport::verdict::Verdict;

/// Reads the response to a batch of `records` records.
pub(crate) fn read(protocol: ResponseProtocol, response: &Response, records: u64) -> Reading {
    let succeeded = (200..300).contains(&response.status);
    if succeeded && protocol != ResponseProtocol::Status && server::is_page(&response.body) {
        let why = "a page, and no response of the protocol; is it the endpoint that responds?";
        return Reading::new(Verdict::Hold, response, why);
    }
    if let Some(words) = server::own_response(response) {
        return Reading::new(Verdict::Hold, response, &words);
    }
    let words = words::of(protocol, response);
    match protocol {
        ResponseProtocol::Otlp if succeeded => otlp::read(response),
        ResponseProtocol::Bulk => bulk::read(response, records, &words),
        ResponseProtocol::SplunkHec => splunk::read(response, records, &words),
        ResponseProtocol::ClickHouse => clickhouse::read(response, &words),
        ResponseProtocol::Status | ResponseProtocol::Otlp => Reading::new(Verdict::of(response), response, &words),
    }
}

/// The same with a verdict that was given.
pub(crate) fn read_as(verdict: Verdict, protocol: ResponseProtocol, response: &Response) -> Reading {
    Reading::new(verdict, response, &words::of(protocol, response))
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::{Reading, Response, ResponseProtocol, Verdict};
    use crate::transport::verdict::Suspicion;

    pub(super) const PROTOCOLS: [ResponseProtocol; 5] = [
        ResponseProtocol::Status,
        ResponseProtocol::Otlp,
        ResponseProtocol::Bulk,
        ResponseProtocol::SplunkHec,
        ResponseProtocol::ClickHouse,
    ];

    pub(super) fn reading(protocol: ResponseProtocol, status: u16, body: impl AsRef<[u8]>, whole: bool) -> Reading {
        super::read(protocol, &Response { whole, ..Response::new(status, body.as_ref()) }, 3)
    }

    pub(super) fn read(protocol: ResponseProtocol, status: u16, body: impl AsRef<[u8]>) -> (Verdict, String) {
        let Reading { verdict, cause, .. } = reading(protocol, status, body, true);
        (verdict, cause)
    }

    /// The verdict on the start of a response.
    pub(super) fn read_start(protocol: ResponseProtocol, status: u16, body: impl AsRef<[u8]>) -> Verdict {
        reading(protocol, status, body, false).verdict
    }

    #[test]
    fn a_400_that_a_server_gives_by_itself_is_not_the_batchs() {
        for protocol in PROTOCOLS {
            for body in [
                "<html><head><title>400 Bad Request</title>",
                "<!doctype html>",
                "",
                "400 Bad Request",
                "Bad Request\r\n",
            ] {
                let Reading { verdict, suspicion, .. } = reading(protocol, 400, body, true);
                assert_eq!((verdict, suspicion), (Verdict::Hold, Suspicion::Endpoint), "{protocol:?} {body}");
            }
            for status in [415, 422] {
                assert_eq!(read(protocol, status, "<html>").0, Verdict::Hold, "{protocol:?}");
                assert_eq!(read(protocol, status, "").0, Verdict::Rejected, "{protocol:?}");
            }
            assert_eq!(read(protocol, 413, "<html><title>413 Request Entity Too Large</title>").0, Verdict::TooLarge);
            assert_eq!(read(protocol, 414, "").0, Verdict::TooLarge);
        }
        let why = "the server responded with 400: Client sent an HTTP request to an HTTPS server.";
        assert_eq!(
            read(ResponseProtocol::Otlp, 400, "Client sent an HTTP request to an HTTPS server.\n"),
            (Verdict::Hold, why.to_owned())
        );
    }

    #[test]
    fn a_400_in_the_endpoints_own_words_is_about_the_records() {
        for protocol in PROTOCOLS {
            for body in [r#"{"detail":"level: not a number"}"#, "marked as bad", "\u{8}\u{3}\u{12}\u{8}no batch"] {
                let Reading { verdict, suspicion, .. } = reading(protocol, 400, body, true);
                assert_eq!((verdict, suspicion), (Verdict::Rejected, Suspicion::Content), "{protocol:?} {body}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_in_every_protocol(pieces in vec(piece(), 0..12), status in status(), whole: bool) {
            let body = pieces.concat();
            for protocol in PROTOCOLS {
                let Reading { verdict, .. } = reading(protocol, status, &body, whole);
                match verdict {
                    Verdict::DeliveredExcept(rejections) => {
                        prop_assert!((1..=3).contains(&rejections.len()));
                        prop_assert!(rejections.iter().all(|rejection| rejection.record < 3));
                    }
                    Verdict::DeliveredPartially { rejected } => prop_assert!(rejected > 0),
                    Verdict::DeliveredUpTo { records, .. } => prop_assert!((1..3).contains(&records)),
                    Verdict::Unconfirmed | Verdict::Unreadable => prop_assert!((200..300).contains(&status)),
                    Verdict::Delivered | Verdict::Retry | Verdict::Hold | Verdict::TooLarge | Verdict::Rejected => {}
                }
            }
        }
    }

    fn status() -> impl Strategy<Value = u16> {
        prop_oneof![Just(200), Just(400), Just(503), 100_u16..600]
    }

    /// Bytes, and what responses are made of.
    fn piece() -> impl Strategy<Value = Vec<u8>> {
        let known = select(vec![
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"",
            "\\",
            "'",
            "(",
            ")",
            "=",
            "\n",
            "\u{8}\u{1}",
            "\u{12}\u{7f}",
            "\n\u{4}\u{8}\u{2}",
            r#"{"partialSuccess":{"rejectedLogRecords":"2","#,
            r#""invalid-event-number":2"#,
            r#"{"code":13,"#,
            r#"{"code":9,"#,
            r#"{"errors":true,"items":[{"create":{"status":400}},"#,
            r#"{"create":{"status":201}}]}"#,
            r#"{"error":{"type":"t"}}"#,
            "Code: 27. DB::Exception: (at row 2) (CANNOT_PARSE)",
            "entry for stream '{a=\"",
            "label value too long: '",
            "<html><title>",
            "</title>",
            "<?xml",
            "400 Bad Request",
            "\u{e9}",
        ]);
        prop_oneof![known.prop_map(|text| text.as_bytes().to_vec()), vec(any::<u8>(), 0..4)]
    }

    #[test]
    fn a_verdict_that_is_given_keeps_the_words() {
        let body = br#"{"text":"Invalid token","code":4}"#.to_vec();
        let response = Response::new(403, body);
        let reading = super::read_as(Verdict::Retry, ResponseProtocol::SplunkHec, &response);
        assert_eq!((reading.verdict, reading.suspicion), (Verdict::Retry, Suspicion::Unknown));
        assert_eq!(reading.cause, "the server responded with 403: code 4, Invalid token");
    }

    #[test]
    fn a_page_is_no_response_of_any_protocol() {
        for protocol in PROTOCOLS {
            let expected = if protocol == ResponseProtocol::Status { Verdict::Delivered } else { Verdict::Hold };
            assert_eq!(read(protocol, 200, "\n<!doctype html><html>sign in").0, expected, "{protocol:?}");
        }
    }

    #[test]
    fn a_success_that_only_its_status_shows_may_break_off() {
        assert_eq!(read_start(ResponseProtocol::Status, 200, "data: 1\n"), Verdict::Delivered);
    }
}
