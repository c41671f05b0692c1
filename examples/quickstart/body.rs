//! The bodies of requests: JSON records of this crate on one path, spans as OTLP on the other.

use opentelemetry_spool::BoxError;
use serde_json::Value;

use crate::tally::{Number, Signal};

/// The tenant and the number of every entry.
pub(crate) fn entries(signal: Signal, body: &[u8]) -> Result<Vec<(String, Number)>, BoxError> {
    let body: Value = serde_json::from_slice(body)?;
    let entries = match signal {
        Signal::Logs => list(&body),
        Signal::Spans => {
            let scopes = list(&body["resourceSpans"]).flat_map(|resource| list(&resource["scopeSpans"]));
            return scopes.flat_map(|scope| list(&scope["spans"])).map(|span| entry(span, of_span)).collect();
        }
    };
    entries.map(|record| entry(record, of_record)).collect()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn entry(value: &Value, attribute: fn(&Value, &str) -> Option<String>) -> Result<(String, Number), BoxError> {
    let number = |key| attribute(value, key)?.parse().ok();
    match (attribute(value, "tenant"), number("run"), number("seq")) {
        (Some(tenant), Some(run), Some(seq)) => Ok((tenant, (run, seq))),
        _ => Err(format!("an entry without tenant, run or seq: {value}").into()),
    }
}

fn of_record(record: &Value, key: &str) -> Option<String> {
    text(&record["extra"][key])
}

fn of_span(span: &Value, key: &str) -> Option<String> {
    let attribute = list(&span["attributes"]).find(|attribute| attribute["key"] == key)?;
    attribute["value"].as_object()?.values().next().and_then(text)
}

/// OTLP writes an integer as a text.
fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned).or_else(|| Some(value.as_u64()?.to_string()))
}
