//! OTLP in protobuf and in JSON.

mod json;
mod nested;

use opentelemetry::logs::AnyValue;
use opentelemetry::{InstrumentationScope, Key, SpanId, TraceId};
use opentelemetry_proto::tonic::common::v1::{self as proto, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource as ProtoResource;
use opentelemetry_sdk::Resource;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};

use super::common::any_value::{JsonText, from_resource};
use super::common::depth;
use super::common::object::Object;
use super::common::origin::Origin;
use super::common::time::{EXACT, Span, in_64_bits};
use super::encoder::{Encoder, NestedEncoder};
use super::view::LogView;
use crate::config::values::Protocol;
use crate::encode::framing::{Framing, ResponseProtocol};
use crate::error::BoxError;

/// The numbers of fields: `ExportLogsServiceRequest.resource_logs`, `ResourceLogs.scope_logs`.
const RESOURCE_LOGS: u32 = 1;
const SCOPE_LOGS: u32 = 2;

/// Encodes records as OTLP: the encoder of [`with_protocol`](crate::LogExporterBuilder::with_protocol).
///
/// Requests are grouped by resource and scope. What `encode` appends is complete by itself, with a resource and a scope of its own: an
/// encoder that forwards to it has such requests. A partial success is counted and not retried: see
/// [`ResponseProtocol::Otlp`]. JSON has protobuf's mapping: `"NaN"`, and nothing for what is absent. Lists and maps nested deeper
/// than 30, in JSON than 13, become a string with the text of their JSON, since receivers read no more.
///
/// # Examples
///
/// ```
/// use opentelemetry_spool::{LogExporter, OtlpEncoder, Protocol};
///
/// // The same as `with_protocol(Protocol::HttpBinary)`.
/// let builder = LogExporter::builder().with_encoder(OtlpEncoder::new(Protocol::HttpBinary));
/// ```
#[derive(Clone, Debug)]
pub struct OtlpEncoder {
    protocol: Protocol,
    /// A `ResourceLogs` without its scopes: the start of every record.
    resource: Vec<u8>,
}

impl OtlpEncoder {
    /// An encoder of protobuf or JSON.
    pub fn new(protocol: Protocol) -> Self {
        let mut encoder = Self { protocol, resource: Vec::new() };
        encoder.set_resource(&Resource::builder_empty().build());
        encoder
    }

    fn write_json(&self, logs: &ScopeLogs, out: &mut Vec<u8>) -> Result<(), BoxError> {
        Object::write(out, |json| {
            json.out.extend_from_slice(&self.resource);
            json.is_empty = self.resource.is_empty();
            json.list("scopeLogs", std::slice::from_ref(logs), json::write_scope_logs)
        })
    }

    fn write_protobuf(&self, logs: &ScopeLogs, out: &mut Vec<u8>) -> Result<(), BoxError> {
        let (mut head, len) = (Vec::with_capacity(16), logs.encoded_len());
        encode_key(SCOPE_LOGS, WireType::LengthDelimited, &mut head);
        encode_varint(len as u64, &mut head);
        encode_key(RESOURCE_LOGS, WireType::LengthDelimited, out);
        encode_varint((self.resource.len() + head.len() + len) as u64, out);
        out.extend_from_slice(&self.resource);
        out.extend_from_slice(&head);
        Ok(logs.encode(out)?)
    }

    fn max_depth(&self) -> usize {
        match self.protocol {
            Protocol::HttpBinary => depth::PROTOBUF,
            Protocol::HttpJson => depth::OTLP_JSON,
        }
    }

    fn attribute(&self, key: &Key, value: &AnyValue) -> proto::KeyValue {
        key_value(key, value, self.max_depth())
    }

    fn record(&self, record: &dyn LogView) -> LogRecord {
        let mut attributes = Vec::new();
        record.visit_attributes(&mut |key, value| attributes.push(self.attribute(key, value)));
        let times = [record.timestamp(), record.observed_timestamp()];
        let [time, observed] = times.map(|time| time.map(|time| Span::NANOS_BUT_ZERO.nearest(time)));
        if let Some((_, Some(exact))) = time.as_ref().or(observed.as_ref()) {
            attributes.push(self.attribute(&Key::from_static_str(EXACT), exact));
        }
        let trace = record.trace().filter(|trace| trace.trace_id != TraceId::INVALID);
        let span = trace.filter(|trace| trace.span_id != SpanId::INVALID);
        LogRecord {
            time_unix_nano: time.map_or(0, |(nanos, _)| in_64_bits(nanos)),
            observed_time_unix_nano: observed.map_or(0, |(nanos, _)| in_64_bits(nanos)),
            severity_number: record.severity_number().map_or(0, |severity| severity as i32),
            severity_text: record.severity_text().unwrap_or_default().to_owned(),
            body: record.body().map(|body| any_value(body, self.max_depth())),
            attributes,
            dropped_attributes_count: 0,
            flags: trace.and_then(|trace| trace.flags).map_or(0, |flags| flags.to_u8().into()),
            trace_id: trace.map(|trace| trace.trace_id.to_bytes().to_vec()).unwrap_or_default(),
            span_id: span.map(|trace| trace.span_id.to_bytes().to_vec()).unwrap_or_default(),
            event_name: record.event_name().unwrap_or_default().to_owned(),
        }
    }
}

impl Encoder for OtlpEncoder {
    fn framing(&self) -> Framing {
        match self.protocol {
            // Messages that follow one another are one message with all their repeated fields.
            Protocol::HttpBinary => Framing::new("application/x-protobuf", "", "", ""),
            Protocol::HttpJson => Framing::new("application/json", "{\"resourceLogs\":[", ",", "]}"),
        }
        .with_response_protocol(ResponseProtocol::Otlp)
    }

    fn encode(&self, record: &dyn LogView, scope: &InstrumentationScope, out: &mut Vec<u8>) -> Result<(), BoxError> {
        let logs = ScopeLogs {
            scope: Some(proto::InstrumentationScope {
                // As in `opentelemetry-otlp`: the target is the name of the scope.
                name: record.target().unwrap_or_else(|| scope.name()).to_owned(),
                version: scope.version().unwrap_or_default().to_owned(),
                attributes: scope.attributes().map(|kv| self.attribute(&kv.key, &from_resource(&kv.value))).collect(),
                dropped_attributes_count: 0,
            }),
            log_records: vec![self.record(record)],
            schema_url: scope.schema_url().unwrap_or_default().to_owned(),
        };
        match self.protocol {
            Protocol::HttpBinary => self.write_protobuf(&logs, out),
            Protocol::HttpJson => self.write_json(&logs, out),
        }
    }

    fn nested(&self) -> Option<&dyn NestedEncoder> {
        Some(self)
    }

    fn set_resource(&mut self, resource: &Resource) {
        let attributes = Origin::of(resource).resource;
        let attributes = attributes.iter().map(|(key, value)| self.attribute(key, value)).collect();
        let logs = ResourceLogs {
            resource: Some(ProtoResource { attributes, ..Default::default() }),
            scope_logs: Vec::new(),
            schema_url: resource.schema_url().unwrap_or_default().to_owned(),
        };
        self.resource = match self.protocol {
            Protocol::HttpBinary => logs.encode_to_vec(),
            Protocol::HttpJson => {
                let mut members = Vec::new();
                let _ = Object::write(&mut members, |json| json::write_resource(&logs, json));
                members.get(1..members.len().saturating_sub(1)).unwrap_or_default().to_vec()
            }
        };
    }
}

/// A value with at most `depth` lists and maps inside one another; what is nested deeper is a text.
fn any_value(value: &AnyValue, depth: usize) -> proto::AnyValue {
    let value = match value {
        AnyValue::Double(value) => Value::DoubleValue(*value),
        AnyValue::Int(value) => Value::IntValue(*value),
        AnyValue::String(value) => Value::StringValue(value.as_str().to_owned()),
        AnyValue::Boolean(value) => Value::BoolValue(*value),
        AnyValue::Bytes(value) => Value::BytesValue(value.to_vec()),
        AnyValue::ListAny(_) | AnyValue::Map(_) if depth == 0 => Value::StringValue(JsonText(value).to_string()),
        AnyValue::ListAny(items) => {
            let values = items.iter().map(|item| any_value(item, depth - 1)).collect();
            Value::ArrayValue(proto::ArrayValue { values })
        }
        AnyValue::Map(entries) => {
            let values = entries.iter().map(|(key, value)| key_value(key, value, depth - 1)).collect();
            Value::KvlistValue(proto::KeyValueList { values })
        }
        other => Value::StringValue(format!("{other:?}")),
    };
    proto::AnyValue { value: Some(value) }
}

fn key_value(key: &Key, value: &AnyValue, depth: usize) -> proto::KeyValue {
    proto::KeyValue { key: key.as_str().to_owned(), value: Some(any_value(value, depth)), ..Default::default() }
}
