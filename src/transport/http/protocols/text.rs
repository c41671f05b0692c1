//! Text in a JSON response.

use serde_json::Value;

/// The text under a key; empty where there is none.
pub(super) fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}
