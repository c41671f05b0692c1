//! OTLP in JSON: protobuf's mapping with OTLP's exceptions. Names are in camel case, 64-bit integers are texts, ids hexadecimal, bytes Base64,
//! and what is absent is left out.
//!
//! It is written here since the one of `opentelemetry-proto` writes null for what is absent and for numbers that JSON has not, for which
//! some receivers refuse the whole request.

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};

use crate::encode::common::any_value::Double;
use crate::encode::common::object::Object;
use crate::error::BoxError;

/// The members of a `ResourceLogs`, but for `scopeLogs`.
pub(super) fn write_resource(logs: &ResourceLogs, json: &mut Object<'_>) -> Result<(), BoxError> {
    if let Some(resource) = &logs.resource {
        json.object("resource", |json| {
            write_attributes(&resource.attributes, json)?;
            write_number("droppedAttributesCount", resource.dropped_attributes_count, json)
        })?;
    }
    write_text("schemaUrl", &logs.schema_url, json)
}

/// The members of a `ScopeLogs`.
pub(super) fn write_scope_logs(logs: &ScopeLogs, json: &mut Object<'_>) -> Result<(), BoxError> {
    write_scope_members(logs, json)?;
    json.list("logRecords", &logs.log_records, write_record)
}

/// The same, but for `logRecords`.
pub(super) fn write_scope_members(logs: &ScopeLogs, json: &mut Object<'_>) -> Result<(), BoxError> {
    if let Some(scope) = &logs.scope {
        json.object("scope", |json| write_scope(scope, json))?;
    }
    write_text("schemaUrl", &logs.schema_url, json)
}

fn write_scope(scope: &InstrumentationScope, json: &mut Object<'_>) -> Result<(), BoxError> {
    write_text("name", &scope.name, json)?;
    write_text("version", &scope.version, json)?;
    write_attributes(&scope.attributes, json)?;
    write_number("droppedAttributesCount", scope.dropped_attributes_count, json)
}

pub(super) fn write_record(record: &LogRecord, json: &mut Object<'_>) -> Result<(), BoxError> {
    for (key, nanos) in
        [("timeUnixNano", record.time_unix_nano), ("observedTimeUnixNano", record.observed_time_unix_nano)]
    {
        if nanos != 0 {
            json.text(key, Some(&nanos.to_string()))?;
        }
    }
    write_number("severityNumber", record.severity_number, json)?;
    write_text("severityText", &record.severity_text, json)?;
    if let Some(body) = &record.body {
        json.object("body", |json| write_value(body, json))?;
    }
    write_attributes(&record.attributes, json)?;
    write_number("droppedAttributesCount", record.dropped_attributes_count, json)?;
    write_number("flags", record.flags, json)?;
    if let Ok(id) = <[u8; 16]>::try_from(&*record.trace_id) {
        json.hex("traceId", id);
    }
    if let Ok(id) = <[u8; 8]>::try_from(&*record.span_id) {
        json.hex("spanId", id);
    }
    write_text("eventName", &record.event_name, json)
}

fn write_attributes(attributes: &[KeyValue], json: &mut Object<'_>) -> Result<(), BoxError> {
    if attributes.is_empty() { Ok(()) } else { json.list("attributes", attributes, write_key_value) }
}

fn write_key_value(attribute: &KeyValue, json: &mut Object<'_>) -> Result<(), BoxError> {
    json.text("key", Some(&attribute.key))?;
    match &attribute.value {
        Some(value) => json.object("value", |json| write_value(value, json)),
        None => Ok(()),
    }
}

/// The one member that a value has.
fn write_value(value: &AnyValue, json: &mut Object<'_>) -> Result<(), BoxError> {
    match &value.value {
        Some(Value::StringValue(text)) => json.text("stringValue", Some(text)),
        Some(Value::BoolValue(value)) => json.member("boolValue", value),
        Some(Value::IntValue(value)) => json.text("intValue", Some(&value.to_string())),
        Some(Value::DoubleValue(value)) => json.member("doubleValue", Double(*value)),
        Some(Value::BytesValue(bytes)) => {
            json.text("bytesValue", Some(&Base64Display::new(bytes, &STANDARD).to_string()))
        }
        Some(Value::ArrayValue(list)) => {
            json.object("arrayValue", |json| json.list("values", &list.values, write_value))
        }
        Some(Value::KvlistValue(map)) => {
            json.object("kvlistValue", |json| json.list("values", &map.values, write_key_value))
        }
        // Of the profiles signal alone; no log record has one.
        Some(Value::StringValueStrindex(_)) | None => Ok(()),
    }
}

fn write_text(key: &'static str, text: &str, json: &mut Object<'_>) -> Result<(), BoxError> {
    if text.is_empty() { Ok(()) } else { json.text(key, Some(text)) }
}

fn write_number<N>(key: &'static str, number: N, json: &mut Object<'_>) -> Result<(), BoxError>
where
    N: serde_core::Serialize + Default + PartialEq,
{
    if number == N::default() { Ok(()) } else { json.member(key, number) }
}
