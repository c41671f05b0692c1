//! Attribute values and bodies as JSON.

use std::collections::hash_map;
use std::{fmt, io, mem, slice};

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use opentelemetry::logs::AnyValue;
use opentelemetry::{Array, Key, Value};
use serde_core::{Serialize, Serializer};

use super::number::write_integer;
use super::string::write_text;

/// The only key of the map that stands for no value. The API's values know none, and records of other processes have it.
#[cfg(feature = "relay")]
const NULL: &str = "\0null";

/// The value that stands for none: `None` in Python, `null` in JSON, a value without a field in OTLP.
#[cfg(feature = "relay")]
pub(crate) fn null() -> AnyValue {
    AnyValue::from_iter([(Key::from_static_str(NULL), true)])
}

/// Whether a value stands for none. For all but maps of one entry that is seen without looking into them.
#[cfg(feature = "relay")]
#[inline]
pub(crate) fn is_null(value: &AnyValue) -> bool {
    matches!(value, AnyValue::Map(entries) if entries.len() == 1 && entries.keys().all(|key| key.as_str() == NULL))
}

/// Without the relay no value stands for none.
#[cfg(not(feature = "relay"))]
#[inline]
pub(crate) const fn is_null(_value: &AnyValue) -> bool {
    false
}

/// A value as JSON, with at most `depth` lists and maps inside one another; what is nested deeper is a text.
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
            AnyValue::Double(value) => Double(*value).serialize(serializer),
            AnyValue::String(value) => serializer.serialize_str(value.as_str()),
            AnyValue::Boolean(value) => serializer.serialize_bool(*value),
            AnyValue::Bytes(value) => serializer.collect_str(&Base64Display::new(value, &STANDARD)),
            AnyValue::Map(_) if is_null(self.value) => serializer.serialize_unit(),
            AnyValue::ListAny(_) | AnyValue::Map(_) if self.depth == 0 => serializer.collect_str(&JsonText(self.value)),
            AnyValue::ListAny(items) => serializer.collect_seq(items.iter().map(|item| self.inner(item))),
            AnyValue::Map(entries) => {
                serializer.collect_map(entries.iter().map(|(key, value)| (key.as_str(), self.inner(value))))
            }
            // A kind that a later version of the API adds is better shown roughly than lost.
            other => serializer.collect_str(&format_args!("{other:?}")),
        }
    }
}

/// Writes a value as JSON, with at most `depth` lists and maps inside one another: most values without the detour by a serializer.
#[inline]
pub(in crate::encode) fn write_value(out: &mut Vec<u8>, value: &AnyValue, depth: usize) -> serde_json::Result<()> {
    match value {
        AnyValue::String(text) => write_text(out, text.as_str()),
        AnyValue::Int(number) => write_integer(out, *number),
        AnyValue::Double(number) => serde_json::to_writer(out, &Double(*number))?,
        AnyValue::Boolean(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        value => serde_json::to_writer(out, &JsonValue { value, depth })?,
    }
    Ok(())
}

/// A number. JSON has none for three of them, which `serde_json` would make null: they are texts, as in protobuf's mapping.
pub(in crate::encode) struct Double(pub(in crate::encode) f64);

impl Serialize for Double {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            value if value.is_finite() => serializer.serialize_f64(value),
            value if value.is_nan() => serializer.serialize_str("NaN"),
            value if value > 0.0 => serializer.serialize_str("Infinity"),
            _ => serializer.serialize_str("-Infinity"),
        }
    }
}

/// A value as a JSON string: a string as it is, anything else as the text of its JSON, however deeply it is nested. The value that
/// stands for none is null, and `null` as a text.
pub(in crate::encode) struct JsonText<'a>(pub(in crate::encode) &'a AnyValue);

impl Serialize for JsonText<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            AnyValue::String(text) => serializer.serialize_str(text.as_str()),
            value if is_null(value) => serializer.serialize_unit(),
            _ => serializer.collect_str(self),
        }
    }
}

impl fmt::Display for JsonText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_json(self.0, &mut Utf8Writer(f)).map_err(|_| fmt::Error)
    }
}

/// A value as the text of its JSON.
#[cfg(feature = "relay")]
pub(crate) fn json_text(value: &AnyValue) -> String {
    JsonText(value).to_string()
}

/// What is left of a list or map whose beginning is written.
enum Rest<'a> {
    List(slice::Iter<'a, AnyValue>),
    Map(hash_map::Iter<'a, Key, AnyValue>),
}

/// Writes a value as JSON. It does not recurse, so a value of any depth takes no more stack than a flat one.
pub(in crate::encode) fn write_json(value: &AnyValue, out: &mut impl io::Write) -> io::Result<()> {
    let mut open = Vec::new();
    begin(value, &mut open, out)?;
    while let Some((rest, is_first)) = open.last_mut() {
        let (key, value) = match rest {
            Rest::List(items) => (None, items.next()),
            Rest::Map(entries) => entries.next().map_or((None, None), |(key, value)| (Some(key), Some(value))),
        };
        let Some(value) = value else {
            out.write_all(if matches!(rest, Rest::List(_)) { b"]" } else { b"}" })?;
            open.pop();
            continue;
        };
        if !mem::take(is_first) {
            out.write_all(b",")?;
        }
        if let Some(key) = key {
            serde_json::to_writer(&mut *out, key.as_str())?;
            out.write_all(b":")?;
        }
        begin(value, &mut open, out)?;
    }
    Ok(())
}

/// Writes a value, of a list or map only its beginning.
fn begin<'a>(value: &'a AnyValue, open: &mut Vec<(Rest<'a>, bool)>, out: &mut impl io::Write) -> io::Result<()> {
    match value {
        AnyValue::ListAny(items) => {
            open.push((Rest::List(items.iter()), true));
            out.write_all(b"[")
        }
        AnyValue::Map(entries) if !is_null(value) => {
            open.push((Rest::Map(entries.iter()), true));
            out.write_all(b"{")
        }
        value => Ok(serde_json::to_writer(out, &JsonValue { value, depth: 0 })?),
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
