//! Rows for ClickHouse, in `JSONEachRow`.

use opentelemetry::logs::{AnyValue, Severity};
use opentelemetry::{InstrumentationScope, Key, SpanId, TraceId};
use opentelemetry_sdk::Resource;
use serde_core::{Serialize, Serializer};

use super::common::any_value::{JsonText, JsonValue, from_resource, is_null};
use super::common::attributes::Attributes;
use super::common::object::Object;
use super::common::origin::Origin;
use super::common::time::{EXACT, Span, time_or_now};
use super::encoder::Encoder;
use super::view::LogView;
use crate::encode::framing::{Framing, ResponseProtocol};
use crate::error::BoxError;

/// Encodes records as ClickHouse rows in `JSONEachRow`, for the table that the OpenTelemetry Collector's exporter creates.
///
/// The endpoint's query names the table. ClickHouse ignores columns that the table does not have; before version 22.6 it
/// rejects such rows unless the query has `input_format_skip_unknown_fields=1`. Responses are read as
/// [`ResponseProtocol::ClickHouse`].
///
/// ```sql
/// CREATE TABLE otel_logs (
///     Timestamp DateTime64(9), TraceId String, SpanId String, TraceFlags UInt8,
///     SeverityText LowCardinality(String), SeverityNumber UInt8, ServiceName LowCardinality(String), Body String,
///     ResourceSchemaUrl String, ResourceAttributes Map(LowCardinality(String), String),
///     ScopeSchemaUrl String, ScopeName String, ScopeVersion String, ScopeAttributes Map(LowCardinality(String), String),
///     LogAttributes Map(LowCardinality(String), String), EventName String
/// ) ENGINE = MergeTree PARTITION BY toDate(Timestamp) ORDER BY (ServiceName, Timestamp)
/// ```
///
/// A record of another process ([`LogView::origin`]) has that one's resource. Unless it is complete, it gets the attributes `process.pid` and
/// `process.name`, and what it leaves open from the resource of this process. A null is an empty text.
///
/// A batch that is sent again is stored once only if the table deduplicates inserts: replicated tables do, others with
/// `SETTINGS non_replicated_deduplication_window = 1000` at the end of the statement above. `insert_deduplication_token={batch_id}`
/// in the endpoint's query has ClickHouse tell batches apart by their ids. Without it equal rows in different batches count as a
/// repetition, and the later ones are not stored.
///
/// For a table of your own, use [`JsonEncoder::with_framing`](crate::JsonEncoder::with_framing) with [`Framing::ndjson`] and
/// this response protocol.
///
/// # Examples
///
/// ```
/// use opentelemetry_spool::{ClickHouseEncoder, LogExporter};
///
/// let builder = LogExporter::builder()
///     .with_endpoint(
///         "http://127.0.0.1:8123/?query=INSERT%20INTO%20otel_logs%20FORMAT%20JSONEachRow\
///          &insert_deduplication_token={batch_id}",
///     )
///     .with_headers([("x-clickhouse-user", "logs"), ("x-clickhouse-key", "s3cret")])
///     .with_encoder(ClickHouseEncoder::default());
/// ```
#[derive(Clone, Debug, Default)]
pub struct ClickHouseEncoder {
    origin: Origin,
    schema_url: String,
}

impl Encoder for ClickHouseEncoder {
    fn framing(&self) -> Framing {
        Framing::ndjson().with_response_protocol(ResponseProtocol::ClickHouse)
    }

    fn encode(&self, record: &dyn LogView, scope: &InstrumentationScope, out: &mut Vec<u8>) -> Result<(), BoxError> {
        let source = self.origin.of_record(record);
        Object::write(out, |row| {
            let (nanos, exact) = Span::NANOS.nearest(time_or_now(record));
            // Ten digits: fewer than nine are no seconds for `date_time_input_format = 'best_effort'`, the default of 26.9.
            row.member("Timestamp", format!("{:010}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000))?;
            if let Some(trace) = record.trace().filter(|trace| trace.trace_id != TraceId::INVALID) {
                row.hex("TraceId", trace.trace_id.to_bytes());
                if trace.span_id != SpanId::INVALID {
                    row.hex("SpanId", trace.span_id.to_bytes());
                }
                row.member("TraceFlags", trace.flags.map_or(0, opentelemetry::TraceFlags::to_u8))?;
            }
            let severity = record.severity_number();
            row.text(
                "SeverityText",
                record.severity_text().or(severity.as_ref().map(Severity::name)).unwrap_or_default(),
            );
            row.member("SeverityNumber", severity.map_or(0, |severity| severity as u8))?;
            if let Some(service) = source.get("service.name") {
                row.member("ServiceName", Text(service))?;
            }
            if let Some(body) = record.body() {
                row.member("Body", Text(body))?;
            }
            row.text("ResourceSchemaUrl", if source.other().is_some() { "" } else { &self.schema_url });
            let process: Vec<_> = source.process_attributes().collect();
            let process = process.iter().map(|(key, value)| (key, value));
            write_map(row, "ResourceAttributes", source.resource().chain(process))?;
            row.text("ScopeSchemaUrl", scope.schema_url().unwrap_or_default());
            row.text("ScopeName", scope.name());
            row.text("ScopeVersion", scope.version().unwrap_or_default());
            let of_scope: Vec<_> = scope.attributes().map(|kv| (&kv.key, from_resource(&kv.value))).collect();
            write_map(row, "ScopeAttributes", of_scope.iter().map(|(key, value)| (*key, value)))?;
            let name = Key::from_static_str(EXACT);
            let beside = exact.iter().map(|exact| (&name, exact));
            let attributes = Attributes::of(record);
            write_map(row, "LogAttributes", attributes.last_of_each().chain(beside))?;
            row.text("EventName", record.event_name().unwrap_or_default());
            Ok(())
        })
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.origin = Origin::of(resource);
        resource.schema_url().unwrap_or_default().clone_into(&mut self.schema_url);
    }
}

/// A value in a text column, which holds no null.
struct Text<'a>(&'a AnyValue);

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let json = JsonValue { value: self.0, depth: 0 };
        match self.0 {
            // JSON has strings for them, whose quotes are no part of the text.
            AnyValue::Bytes(_) => json.serialize(serializer),
            AnyValue::Double(value) if !value.is_finite() => json.serialize(serializer),
            value if is_null(value) => serializer.serialize_str(""),
            _ => JsonText(self.0).serialize(serializer),
        }
    }
}

/// An object of strings.
fn write_map<'a>(
    row: &mut Object<'_>,
    key: &'static str,
    mut attributes: impl Iterator<Item = (&'a Key, &'a AnyValue)>,
) -> Result<(), BoxError> {
    row.object(key, |map| {
        attributes.try_for_each(|(key, value)| {
            map.any_key(key.as_str());
            map.value(Text(value))
        })
    })
}
