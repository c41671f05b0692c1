//! The `_bulk` API of Elasticsearch and OpenSearch: each record has a status of its own.

use serde_json::Value;

use super::json::{self, text};
use crate::transport::http::response::{Reading, Response};
use crate::transport::verdict::{Rejection, Suspicion, Verdict};

/// Each item of a success has a status. If one is to be retried, the whole batch is retried: the other documents exist then, and
/// their items say so.
pub(super) fn read(response: &Response, records: u64, words: &str) -> Reading {
    match response.status {
        200..=299 => read_success(response, records),
        400 if json::read(&response.body, true).as_ref().is_some_and(is_about_the_index) => {
            Reading::new(Verdict::Hold, response, words)
        }
        _ => Reading::new(Verdict::of(response), response, words),
    }
}

fn read_success(response: &Response, records: u64) -> Reading {
    let silent = |why: &str| {
        let detail = format!(
            "{why} about the {records} records of the batch; a server may drop one that is over its limit like this"
        );
        Reading::new(Verdict::Unreadable, response, &detail)
    };
    let body = json::read(&response.body, response.whole);
    let says = |key| body.as_ref().and_then(|body| body.get(key));
    if says("errors") == Some(&Value::Bool(false)) {
        return Reading::new(Verdict::Delivered, response, "");
    }
    if !response.whole {
        return silent("it breaks off or is too long, and does not say everything");
    }
    let items = says("items").and_then(Value::as_array).filter(|items| items.len() as u64 == records);
    let Some(items) = items else {
        return silent("no response of a _bulk: it says nothing");
    };
    let (mut rejections, mut retried, mut held, mut kind) = (Vec::new(), None, None, None);
    for (record, item) in items.iter().enumerate() {
        let item = item.as_object().and_then(|item| item.values().next());
        let Some((item, status)) = item.and_then(|item| Some((item, item.get("status")?.as_u64()?))) else {
            return silent("an item without a status: it does not say everything");
        };
        let reason = || format!("{status} {}", bulk_error(item));
        match status {
            // The document exists already.
            200..=299 | 409 => {}
            408 | 429 | 500..=599 => retried = retried.or_else(|| Some((reason(), status))),
            400 if is_about_the_index(item) => held = held.or_else(|| Some(reason())),
            400 | 413 | 415 | 422 => {
                // The rest of the text can show logged values.
                kind.get_or_insert_with(|| item.get("error").map(|error| text(error, "type")).unwrap_or_default());
                rejections.push(Rejection { record, response: reason() });
            }
            _ => held = held.or_else(|| Some(reason())),
        }
    }
    match (retried, held) {
        (Some((reason, 429)), _) => Reading::new(Verdict::Retry, response, &reason).suspecting(Suspicion::Load),
        (Some((reason, _)), _) => Reading::new(Verdict::Retry, response, &reason),
        (None, Some(reason)) => Reading::new(Verdict::Hold, response, &reason),
        (None, None) if rejections.is_empty() => Reading::new(Verdict::Delivered, response, ""),
        (None, None) => Reading::new(Verdict::DeliveredExcept(rejections), response, &kind.unwrap_or_default()),
    }
}

/// Whether an operator can fix a 400: the cluster has as many shards as it may, an index is closed or has no write index.
fn is_about_the_index(item: &Value) -> bool {
    let Some(error) = item.get("error") else { return false };
    let (kind, reason) = (text(error, "type"), text(error, "reason"));
    matches!(
        &*kind,
        "validation_exception" | "index_closed_exception" | "cluster_block_exception" | "invalid_index_name_exception"
    ) || reason.contains("no write index")
}

fn bulk_error(item: &Value) -> String {
    match item.get("error") {
        Some(Value::String(error)) => error.clone(),
        Some(error) => {
            let cause = error.get("caused_by").map(|cause| text(cause, "reason")).unwrap_or_default();
            let words = [text(error, "type"), text(error, "reason"), cause];
            words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(": ")
        }
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use crate::encode::framing::ResponseProtocol;
    use crate::transport::http::protocols::tests::{read, read_start, reading};
    use crate::transport::verdict::{Rejection, Suspicion, Verdict};

    fn items(statuses: [u16; 3]) -> String {
        let item = |status: u16| match status {
            201 => r#"{"create":{"_index":"logs","_id":"a","status":201,"result":"created"}}"#.to_owned(),
            status => format!(
                r#"{{"create":{{"_id":"a","status":{status},"error":{{"type":"t{status}","reason":"why","caused_by":{{"reason":"deep"}}}}}}}}"#
            ),
        };
        format!(r#"{{"took":3,"errors":true,"items":[{}]}}"#, statuses.map(item).join(","))
    }

    #[test]
    fn every_item_of_a_bulk_counts() {
        let bulk = |statuses| read(ResponseProtocol::Bulk, 200, items(statuses));
        assert_eq!(bulk([201, 409, 201]).0, Verdict::Delivered, "what exists already was delivered before");
        assert_eq!(
            bulk([201, 429, 400]),
            (Verdict::Retry, "the server responded with 200: 429 t429: why: deep".to_owned())
        );
        assert_eq!(bulk([201, 404, 400]).0, Verdict::Hold);
        let rejected = |record| Rejection { record, response: "400 t400: why: deep".to_owned() };
        let all = (0..3).map(rejected).collect();
        assert_eq!(bulk([400, 400, 400]).0, Verdict::DeliveredExcept(all), "each is named");
        let (_, reason) = bulk([201, 201, 400]);
        assert_eq!(reason, "the server responded with 200: t400", "what else it says can show what was logged");
        assert_eq!(bulk([201, 409, 400]).0, Verdict::DeliveredExcept(vec![rejected(2)]));
        assert_eq!(read(ResponseProtocol::Bulk, 200, r#"{"took":1,"errors":false,"items":[]}"#).0, Verdict::Delivered);
    }

    #[test]
    fn a_400_of_a_bulk_that_an_operator_can_fix_holds_the_batch() {
        for (kind, reason) in [
            ("validation_exception", "this cluster currently has [1000]/[1000] maximum normal shards open"),
            ("index_closed_exception", "closed"),
            ("illegal_argument_exception", "no write index is defined for alias [logs]"),
        ] {
            let item = format!(r#"{{"create":{{"status":400,"error":{{"type":"{kind}","reason":"{reason}"}}}}}}"#);
            let body = format!(r#"{{"errors":true,"items":[{item},{item},{item}]}}"#);
            assert_eq!(read(ResponseProtocol::Bulk, 200, body).0, Verdict::Hold, "{kind}");
        }
    }

    #[test]
    fn a_bulk_that_breaks_off_counts_if_it_says_before_that_nothing_failed() {
        let bulk = |body: &str| read_start(ResponseProtocol::Bulk, 200, body);
        assert_eq!(bulk(r#"{"took":3,"errors":false,"items":[{"create":{"_ind"#), Verdict::Delivered);
        assert_eq!(bulk(r#"{"took":3,"errors":tr"#), Verdict::Unreadable);
        let failed = items([201, 400, 201]);
        for len in 0..failed.len() {
            assert_eq!(bulk(&failed[..len]), Verdict::Unreadable, "{}", &failed[..len]);
        }
    }

    #[test]
    fn a_success_without_a_word_about_the_documents_is_none() {
        let nothing = [
            // VictoriaLogs, for a line over its limit.
            "",
            "{}",
            "ok",
            r#"{"errors":true,"items":[]}"#,
            r#"{"errors":true,"items":[{"create":{}},{"create":{}},{"create":{}}]}"#,
            r#"{"message":"no such path"}"#,
        ];
        for body in nothing {
            let (verdict, reason) = read(ResponseProtocol::Bulk, 200, body);
            assert_eq!(verdict, Verdict::Unreadable, "{body}");
            assert!(reason.contains("about the 3 records"), "{reason}");
        }
        assert_eq!(read(ResponseProtocol::Bulk, 200, "<html>sign in</html>").0, Verdict::Hold);
    }

    #[test]
    fn a_bulk_that_fails_as_a_whole_is_judged_by_its_status_and_its_type() {
        let error = |status: u16, kind: &str| {
            let body =
                format!(r#"{{"error":{{"root_cause":[],"type":"{kind}","reason":"hunter2"}},"status":{status}}}"#);
            read(ResponseProtocol::Bulk, status, body)
        };
        let (verdict, reason) = error(400, "illegal_argument_exception");
        assert_eq!(verdict, Verdict::Rejected);
        assert_eq!(reason, "the server responded with 400: illegal_argument_exception");
        assert_eq!(error(400, "index_closed_exception").0, Verdict::Hold);
        assert_eq!(error(404, "index_not_found_exception").0, Verdict::Hold);
        assert_eq!(error(429, "es_rejected_execution_exception").0, Verdict::Retry);
        assert_eq!(error(503, "cluster_block_exception").0, Verdict::Retry);
        // Quickwit.
        assert_eq!(read(ResponseProtocol::Bulk, 400, r#"{"message":"failed to parse action"}"#).0, Verdict::Rejected);
    }

    #[test]
    fn an_item_that_is_refused_for_load_asks_to_wait() {
        let suspicion = |statuses| reading(ResponseProtocol::Bulk, 200, items(statuses), true).suspicion;
        assert_eq!(suspicion([201, 429, 201]), Suspicion::Load);
        assert_eq!(suspicion([201, 503, 201]), Suspicion::Unknown);
        assert_eq!(suspicion([201, 400, 201]), Suspicion::Content);
    }
}
