//! Splunk's HTTP Event Collector: a code says whether the settings or the events are wrong.

use serde_json::Value;

use super::text::text;
use crate::transport::http::response::{Reading, Response};
use crate::transport::verdict::Verdict;

/// `{"text": "...", "code": 0}`.
pub(super) fn read(response: &Response) -> Reading {
    let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    let code = body.get("code").and_then(Value::as_u64);
    let verdict = match (response.status, code) {
        // Other servers with this protocol may send another body.
        (200..=299, None | Some(0)) => Verdict::Delivered,
        // The token, the index, the channel and indexer acknowledgement are settings.
        (200..=299, _) | (400, Some(1..=4 | 7 | 10 | 11 | 14 | 16)) => Verdict::Hold,
        _ => Verdict::of(response),
    };
    let detail = code.map(|code| format!("code {code}, {}", text(&body, "text"))).unwrap_or_default();
    Reading::new(verdict, response, &detail)
}

#[cfg(test)]
mod tests {
    use crate::encode::framing::ResponseProtocol;
    use crate::transport::http::protocols::tests::read;
    use crate::transport::verdict::Verdict;

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
}
