//! The `_bulk` API of Elasticsearch and OpenSearch: each record has a status of its own.

use serde_json::Value;

use super::text::text;
use crate::transport::http::response::{Reading, Response};
use crate::transport::verdict::{Rejection, Verdict};

/// The most of a response that is read: it has an item for every record.
pub(super) const MAX_BYTES: usize = 4 << 20;

/// Each item has a status. If one is to be retried, the whole batch is retried: the other documents exist then, and their
/// items say so.
pub(super) fn read(response: &Response, records: u64) -> Reading {
    let strange = |detail: &str| Reading::new(Verdict::Hold, response, detail);
    if response.body.len() >= MAX_BYTES && records > 1 {
        // The response is cut off; a split batch has shorter ones, and a second delivery does no harm here.
        return Reading::new(Verdict::TooLarge, response, "a response that is too long");
    }
    let Ok(body) = serde_json::from_slice::<Value>(&response.body) else {
        return strange("no response of a _bulk; is the endpoint's path the right one?");
    };
    if body.get("errors") == Some(&Value::Bool(false)) {
        return Reading::new(Verdict::Delivered, response, "");
    }
    let items = body.get("items").and_then(Value::as_array);
    let Some(items) = items.filter(|items| items.len() as u64 == records) else {
        return strange("a _bulk's response without an item for each record");
    };
    let (mut rejections, mut retried, mut held, mut kind) = (Vec::new(), None, None, None);
    for (record, item) in items.iter().enumerate() {
        let Some(item) = item.as_object().and_then(|item| item.values().next()) else {
            return strange("a _bulk's response with an item that says nothing");
        };
        let status = item.get("status").and_then(Value::as_u64).unwrap_or_default();
        let reason = || format!("{status} {}", bulk_error(item));
        match status {
            // The document exists already.
            200..=299 | 409 => {}
            408 | 429 | 500..=599 => retried = retried.or_else(|| Some(reason())),
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
        (Some(reason), _) => Reading::new(Verdict::Retry, response, &reason),
        (None, Some(reason)) => Reading::new(Verdict::Hold, response, &reason),
        (None, None) if rejections.is_empty() => Reading::new(Verdict::Delivered, response, ""),
        (None, None) => {
            // Another cause is more likely than that all records are bad: splitting finds out, and slows down.
            let all = rejections.len() as u64 == records && records > 1;
            let verdict = if all { Verdict::Rejected } else { Verdict::DeliveredExcept(rejections) };
            Reading::new(verdict, response, &kind.unwrap_or_default())
        }
    }
}

/// A 400 that an operator can fix: the cluster has as many shards as it may, an index is closed or has no write index.
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
    use super::MAX_BYTES;
    use crate::encode::framing::ResponseProtocol;
    use crate::transport::http::protocols::tests::read;
    use crate::transport::verdict::{Rejection, Verdict};

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
        assert_eq!(bulk([400, 400, 400]).0, Verdict::Rejected, "splitting finds out whether it is the records");
        let (_, reason) = bulk([201, 201, 400]);
        assert_eq!(reason, "the server responded with 200: t400", "what else it says can show what was logged");
        let rejection = Rejection { record: 2, response: "400 t400: why: deep".to_owned() };
        assert_eq!(bulk([201, 409, 400]).0, Verdict::DeliveredExcept(vec![rejection]));
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
    fn a_bulks_response_that_is_too_long_asks_for_half_of_it() {
        let long = format!(r#"{{"errors":true,"items":["{}"#, "x".repeat(MAX_BYTES));
        assert_eq!(read(ResponseProtocol::Bulk, 200, &long[..MAX_BYTES]).0, Verdict::TooLarge);
    }

    #[test]
    fn what_is_not_a_bulks_response_is_no_success() {
        for body in ["<html>sign in</html>", "", "{}", r#"{"errors":true,"items":[]}"#] {
            assert_eq!(read(ResponseProtocol::Bulk, 200, body).0, Verdict::Hold, "{body}");
        }
        assert_eq!(read(ResponseProtocol::Bulk, 429, "").0, Verdict::Retry);
    }
}
