//! Attributes and their values.

use opentelemetry::logs::AnyValue;
use opentelemetry::{Array, Key, StringValue, Value};

use super::fields::{Field, Fields, List};
use crate::encode::common::any_value::{JsonText, is_null};
use crate::encode::view::{AttributeValue, AttributesView};

/// `KeyValue`. Some receivers refuse one without a key, also where the key is empty.
const KEY: Field = Field::new(1, "key").explicit();
const VALUE: Field = Field::new(2, "value");

/// `AnyValue`, of which one is set.
const STRING: Field = Field::new(1, "stringValue").explicit();
const BOOL: Field = Field::new(2, "boolValue").explicit();
const INT: Field = Field::new(3, "intValue").explicit();
const DOUBLE: Field = Field::new(4, "doubleValue").explicit();
const ARRAY: Field = Field::new(5, "arrayValue");
const MAP: Field = Field::new(6, "kvlistValue");
const BYTES: Field = Field::new(7, "bytesValue").explicit();

/// `ArrayValue` and `KeyValueList`. Some receivers refuse a list without this member.
const VALUES: Field = Field::new(1, "values").explicit();

/// The attributes of whatever has some.
pub(super) fn write_attributes(field: Field, attributes: &(impl AttributesView + ?Sized), out: &mut impl Fields) {
    out.list(field, |list| attributes.visit_attributes(&mut |key, value| push_attribute(key, value, list)));
}

/// One of several attributes.
#[inline]
pub(super) fn push_attribute<F: Fields>(key: &Key, value: AttributeValue<'_>, list: &mut List<'_, F>) {
    list.push(|out| write_key_value(key, value, F::MAX_DEPTH, out));
}

#[inline]
fn write_key_value(key: &Key, value: AttributeValue<'_>, depth: usize, out: &mut impl Fields) {
    out.text(KEY, key.as_str());
    out.message(VALUE, |out| match value {
        AttributeValue::Plain(value) => write_plain(value, out),
        AttributeValue::Any(value) => write_any(value, depth, out),
    });
}

/// The one field that a value has; none for the value that stands for none. At most `depth` lists and maps are inside one another; what is nested deeper is a text.
pub(super) fn write_any(value: &AnyValue, depth: usize, out: &mut impl Fields) {
    match value {
        AnyValue::String(text) => out.text(STRING, text.as_str()),
        AnyValue::Boolean(value) => out.bool(BOOL, *value),
        AnyValue::Int(value) => out.int64(INT, *value),
        AnyValue::Double(value) => out.double(DOUBLE, *value),
        AnyValue::Bytes(bytes) => out.bytes(BYTES, bytes),
        AnyValue::Map(_) if is_null(value) => {}
        AnyValue::ListAny(_) | AnyValue::Map(_) if depth == 0 => out.text(STRING, &JsonText(value).to_string()),
        AnyValue::ListAny(items) => out.message(ARRAY, |out| {
            out.list(VALUES, |list| items.iter().for_each(|item| list.push(|out| write_any(item, depth - 1, out))));
        }),
        AnyValue::Map(entries) => out.message(MAP, |out| {
            let entry = |(key, value)| (key, AttributeValue::Any(value));
            out.list(VALUES, |list| {
                for (key, value) in entries.iter().map(entry) {
                    list.push(|out| write_key_value(key, value, depth - 1, out));
                }
            });
        }),
        // A kind that a later version of the API adds is better shown roughly than lost.
        other => out.text(STRING, &format!("{other:?}")),
    }
}

fn write_plain(value: &Value, out: &mut impl Fields) {
    match value {
        Value::String(text) => out.text(STRING, text.as_str()),
        Value::Bool(value) => out.bool(BOOL, *value),
        Value::I64(value) => out.int64(INT, *value),
        Value::F64(value) => out.double(DOUBLE, *value),
        Value::Array(Array::String(items)) => {
            write_array(items, |out, item: &StringValue| out.text(STRING, item.as_str()), out);
        }
        Value::Array(Array::Bool(items)) => write_array(items, |out, item| out.bool(BOOL, *item), out),
        Value::Array(Array::I64(items)) => write_array(items, |out, item| out.int64(INT, *item), out),
        Value::Array(Array::F64(items)) => write_array(items, |out, item| out.double(DOUBLE, *item), out),
        other => out.text(STRING, &other.to_string()),
    }
}

fn write_array<F: Fields, T>(items: &[T], write: impl Fn(&mut F, &T), out: &mut F) {
    out.message(ARRAY, |out| {
        out.list(VALUES, |list| items.iter().for_each(|item| list.push(|out| write(out, item))));
    });
}
