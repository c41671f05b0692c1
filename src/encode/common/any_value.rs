//! Attribute values and bodies as JSON.

use std::fmt;
use std::io;

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use opentelemetry::logs::AnyValue;
use opentelemetry::{Array, Value};
use serde_core::{Serialize, Serializer};

/// The default depth to which lists and maps of one value are nested.
pub(in crate::encode) const MAX_DEPTH: usize = 64;

/// The text in place of a list or map that is nested too deeply.
pub(in crate::encode) const TOO_DEEP: &str = "[nested too deeply]";

/// A value as JSON, with at most `depth` lists and maps inside one another.
///
/// Serialising recurses once per level, so `depth` bounds the stack as well.
#[derive(Clone, Copy)]
pub(in crate::encode) struct JsonValue<'a> {
    pub(in crate::encode) value: &'a AnyValue,
    pub(in crate::encode) depth: usize,
}

impl<'a> JsonValue<'a> {
    fn inner(self, value: &'a AnyValue) -> Self {
        Self { value, depth: self.depth - 1 }
    }
}

impl Serialize for JsonValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.value {
            AnyValue::Int(value) => serializer.serialize_i64(*value),
            AnyValue::Double(value) => serialize_double(*value, serializer),
            AnyValue::String(value) => serializer.serialize_str(value.as_str()),
            AnyValue::Boolean(value) => serializer.serialize_bool(*value),
            AnyValue::Bytes(value) => serializer.collect_str(&Base64Display::new(value, &STANDARD)),
            AnyValue::ListAny(_) | AnyValue::Map(_) if self.depth == 0 => serializer.serialize_str(TOO_DEEP),
            AnyValue::ListAny(items) => serializer.collect_seq(items.iter().map(|item| self.inner(item))),
            AnyValue::Map(entries) => {
                serializer.collect_map(entries.iter().map(|(key, value)| (key.as_str(), self.inner(value))))
            }
            // A kind that a later version of the API adds is better shown roughly than lost.
            other => serializer.collect_str(&format_args!("{other:?}")),
        }
    }
}

/// JSON has no number for these; `serde_json` would make them null.
fn serialize_double<S: Serializer>(value: f64, serializer: S) -> Result<S::Ok, S::Error> {
    if value.is_finite() { serializer.serialize_f64(value) } else { serializer.serialize_str(non_finite(value)) }
}

/// The text in place of a number that JSON does not have.
pub(in crate::encode) fn non_finite(value: f64) -> &'static str {
    if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}

/// A value as a JSON string: a string as it is, anything else as the text of its JSON.
pub(in crate::encode) struct JsonText<'a>(pub(in crate::encode) JsonValue<'a>);

impl Serialize for JsonText<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.value {
            AnyValue::String(text) => serializer.serialize_str(text.as_str()),
            _ => serializer.collect_str(self),
        }
    }
}

impl fmt::Display for JsonText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        serde_json::to_writer(Utf8Writer(f), &self.0).map_err(|_| fmt::Error)
    }
}

/// Lets `serde_json`, which writes bytes, write into a formatter, so that JSON within JSON is escaped as it comes.
struct Utf8Writer<'a, 'f>(&'a mut fmt::Formatter<'f>);

impl io::Write for Utf8Writer<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Nothing is ever replaced: each piece that serde_json writes is UTF-8 by itself. But `collect_str` panics
        // if a `Display` fails of its own accord, so there is no error for it here.
        let text = String::from_utf8_lossy(bytes);
        self.0.write_str(&text).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A resource's attribute as a record's value.
pub(in crate::encode) fn from_resource(value: &Value) -> AnyValue {
    match value {
        Value::Bool(value) => (*value).into(),
        Value::I64(value) => (*value).into(),
        Value::F64(value) => (*value).into(),
        Value::String(value) => value.clone().into(),
        Value::Array(Array::Bool(items)) => items.iter().copied().collect(),
        Value::Array(Array::I64(items)) => items.iter().copied().collect(),
        Value::Array(Array::F64(items)) => items.iter().copied().collect(),
        Value::Array(Array::String(items)) => items.iter().cloned().collect(),
        other => other.to_string().into(),
    }
}
