//! The pieces of a request: the fields of the messages around a record, and the record itself.
//!
//! In protobuf they are fields, in JSON members without braces. Whoever puts a request together adds the lists, with [`write_head`] and
//! [`write_element`]: `scopeLogs` behind a resource, `logRecords` behind a scope, and so for spans and metrics. In protobuf the resources of a
//! request have the number 1, scopes and records 2, whatever the signal is.

#[cfg(feature = "metrics")]
use std::ops::Range;

use opentelemetry::InstrumentationScope;
use opentelemetry_sdk::Resource;

use super::fields::{Field, Fields};
use super::json::Json;
#[cfg(feature = "metrics")]
use super::metric;
use super::protobuf::Protobuf;
#[cfg(feature = "trace")]
use super::span;
use super::{envelope, log};
use crate::config::values::Protocol;
use crate::encode::common::origin::Source;
use crate::encode::view::LogView;
#[cfg(feature = "metrics")]
use crate::encode::view::MetricView;
#[cfg(feature = "trace")]
use crate::encode::view::SpanView;

/// A scope in a resource's message and a record in a scope's message.
const INNER: Field = Field::new(2, "").long();

/// Appends the fields of the message of a resource, but its scopes.
pub(super) fn write_outer(protocol: Protocol, resource: &Resource, out: &mut Vec<u8>) {
    match protocol {
        Protocol::HttpBinary => envelope::write_outer(resource, &mut Protobuf(out)),
        Protocol::HttpJson => envelope::write_outer(resource, &mut Json::members(out)),
    }
}

/// The same for the process of a record.
pub(super) fn write_outer_of(protocol: Protocol, source: Source<'_>, out: &mut Vec<u8>) {
    match protocol {
        Protocol::HttpBinary => envelope::write_outer_of(source, &mut Protobuf(out)),
        Protocol::HttpJson => envelope::write_outer_of(source, &mut Json::members(out)),
    }
}

/// Appends the fields of the message of a scope, but its records. A log record's scope is called as [`scope_name`] says.
pub(super) fn write_inner(protocol: Protocol, name: &str, scope: &InstrumentationScope, out: &mut Vec<u8>) {
    match protocol {
        Protocol::HttpBinary => envelope::write_inner(name, scope, &mut Protobuf(out)),
        Protocol::HttpJson => envelope::write_inner(name, scope, &mut Json::members(out)),
    }
}

/// The name of a log record's scope: its target, as in `opentelemetry-otlp`.
#[inline]
pub(super) fn scope_name<'a>(record: &'a dyn LogView, scope: &'a InstrumentationScope) -> &'a str {
    record.target().unwrap_or_else(|| scope.name())
}

/// Appends the fields of a `LogRecord`.
pub(super) fn write_log(protocol: Protocol, record: &dyn LogView, out: &mut Vec<u8>) {
    match protocol {
        Protocol::HttpBinary => log::write_log(record, &mut Protobuf(out)),
        Protocol::HttpJson => log::write_log(record, &mut Json::members(out)),
    }
}

/// Appends the fields of a `Span`.
#[cfg(feature = "trace")]
pub(super) fn write_span(protocol: Protocol, span: &dyn SpanView, out: &mut Vec<u8>) {
    match protocol {
        Protocol::HttpBinary => span::write_span(span, &mut Protobuf(out)),
        Protocol::HttpJson => span::write_span(span, &mut Json::members(out)),
    }
}

/// The parts of a metric that are a record each, of at most 64 points. A metric without points has none.
#[cfg(feature = "metrics")]
pub(super) fn metric_parts(metric: &dyn MetricView) -> impl Iterator<Item = Range<usize>> + use<> {
    metric::parts(metric)
}

/// Appends the fields of a `Metric` with this part of its points.
#[cfg(feature = "metrics")]
pub(super) fn write_metric(protocol: Protocol, metric: &dyn MetricView, part: Range<usize>, out: &mut Vec<u8>) {
    match protocol {
        Protocol::HttpBinary => metric::write_metric(metric, part, &mut Protobuf(out)),
        Protocol::HttpJson => metric::write_metric(metric, part, &mut Json::members(out)),
    }
}

/// Appends a message up to the list of its scopes or records: in protobuf its fields, in JSON an open object that ends with the name of
/// the list and a bracket.
pub(super) fn write_head(protocol: Protocol, list: &str, out: &mut Vec<u8>, fields: impl FnOnce(&mut Vec<u8>)) {
    match protocol {
        Protocol::HttpBinary => fields(out),
        Protocol::HttpJson => {
            out.push(b'{');
            let start = out.len();
            fields(out);
            if out.len() > start {
                out.push(b',');
            }
            out.extend_from_slice(b"\"");
            out.extend_from_slice(list.as_bytes());
            out.extend_from_slice(b"\":[");
        }
    }
}

/// Appends a record or a scope as it stands in the message around it: in protobuf with its number and length, in JSON with braces.
pub(super) fn write_element(protocol: Protocol, out: &mut Vec<u8>, fields: impl FnOnce(&mut Vec<u8>)) {
    match protocol {
        Protocol::HttpBinary => Protobuf(out).element(INNER, |out| fields(out.0)),
        Protocol::HttpJson => {
            out.push(b'{');
            fields(out);
            out.push(b'}');
        }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::KeyValue;
    use opentelemetry::logs::{LogRecord as _, Logger, LoggerProvider};
    use opentelemetry_proto::tonic::logs::v1::ResourceLogs;
    use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
    use opentelemetry_proto::transform::logs::tonic::group_logs_by_resource_and_scope;
    use opentelemetry_sdk::logs::{LogBatch, SdkLogRecord, SdkLoggerProvider};
    use prost::Message;

    use super::*;

    fn scope(name: &'static str) -> InstrumentationScope {
        InstrumentationScope::builder(name)
            .with_version("1.2")
            .with_schema_url("https://example.com/scope")
            .with_attributes([KeyValue::new("library", true), KeyValue::new("level", 3)])
            .build()
    }

    fn resource() -> Resource {
        let attributes = [
            KeyValue::new("service.name", "checkout"),
            KeyValue::new("a", opentelemetry::Value::Array(vec![1_i64, 2].into())),
        ];
        Resource::builder_empty().with_schema_url(attributes, "https://example.com/resource").build()
    }

    /// A record with a target and one without.
    fn records() -> [SdkLogRecord; 2] {
        let logger = SdkLoggerProvider::builder().build().logger("");
        [Some("app::orders"), None].map(|target| {
            let mut record = logger.create_log_record();
            record.set_observed_timestamp(std::time::SystemTime::now());
            if let Some(target) = target {
                record.set_target(target);
            }
            record.set_body("text".into());
            record
        })
    }

    /// A `ResourceLogs` of pieces.
    fn put_together(protocol: Protocol, record: &SdkLogRecord, resource: &Resource) -> Vec<u8> {
        let (mut logs, mut inner, scope) = (Vec::new(), Vec::new(), scope("library"));
        write_head(protocol, "logRecords", &mut inner, |out| {
            write_inner(protocol, scope_name(record, &scope), &scope, out);
        });
        write_element(protocol, &mut inner, |out| write_log(protocol, record, out));
        write_head(protocol, "scopeLogs", &mut logs, |out| write_outer(protocol, resource, out));
        match protocol {
            Protocol::HttpBinary => write_element(protocol, &mut logs, |out| out.extend_from_slice(&inner)),
            Protocol::HttpJson => logs.extend_from_slice(&[&*inner, b"]}]}"].concat()),
        }
        logs
    }

    #[test]
    fn pieces_put_together_are_what_the_otlp_exporter_sends() {
        let (resource, scope) = (resource(), scope("library"));
        for record in &records() {
            let batch = [(record, &scope)];
            let attributes = ResourceAttributesWithSchema::from(&resource);
            let mut expected = group_logs_by_resource_and_scope(&LogBatch::new(&batch), &attributes).remove(0);
            // The resource is a hash map.
            expected.resource.as_mut().unwrap().attributes.sort_by(|one, other| one.key.cmp(&other.key));
            let binary = put_together(Protocol::HttpBinary, record, &resource);
            assert_eq!(ResourceLogs::decode(&*binary).unwrap(), expected);
            let json = put_together(Protocol::HttpJson, record, &resource);
            assert_eq!(serde_json::from_slice::<ResourceLogs>(&json).unwrap(), expected);
        }
    }

    #[test]
    fn a_resource_without_attributes_is_a_message_without_fields() {
        let written = [Protocol::HttpBinary, Protocol::HttpJson].map(|protocol| {
            let mut out = Vec::new();
            write_outer(protocol, &Resource::builder_empty().build(), &mut out);
            out
        });
        assert_eq!(written, [vec![0x0a, 0], b"\"resource\":{}".to_vec()]);
    }

    #[test]
    fn a_head_without_fields_has_no_comma() {
        let written = [Protocol::HttpBinary, Protocol::HttpJson].map(|protocol| {
            let mut out = Vec::new();
            write_head(protocol, "spans", &mut out, |_| ());
            out
        });
        assert_eq!(written, [vec![], b"{\"spans\":[".to_vec()]);
    }

    #[test]
    fn equal_resources_are_equal_bytes() {
        let attributes = || (0..50).map(|number| KeyValue::new(format!("key {number}"), number));
        let written = [attributes().collect::<Vec<_>>(), attributes().rev().collect()].map(|attributes| {
            let mut out = Vec::new();
            let resource = Resource::builder_empty().with_attributes(attributes).build();
            write_outer(Protocol::HttpBinary, &resource, &mut out);
            out
        });
        assert_eq!(written[0], written[1]);
    }
}
