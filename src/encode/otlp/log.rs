//! A log record.

use std::time::SystemTime;

use opentelemetry::{Key, SpanId, TraceId};

use super::fields::{Field, Fields};
use super::value::{push_attribute, write_any};
use crate::encode::common::time::{EXACT, Span, in_64_bits};
use crate::encode::view::{AttributeValue, LogView};

/// `LogRecord`.
const TIME: Field = Field::new(1, "timeUnixNano");
const SEVERITY_NUMBER: Field = Field::new(2, "severityNumber");
const SEVERITY_TEXT: Field = Field::new(3, "severityText");
const BODY: Field = Field::new(5, "body");
const ATTRIBUTES: Field = Field::new(6, "attributes");
const FLAGS: Field = Field::new(8, "flags");
const TRACE_ID: Field = Field::new(9, "traceId");
const SPAN_ID: Field = Field::new(10, "spanId");
const OBSERVED_TIME: Field = Field::new(11, "observedTimeUnixNano");
const EVENT_NAME: Field = Field::new(12, "eventName");

/// The fields of a record. A time that OTLP cannot hold is the nearest that it can, and the exact one is an attribute.
#[inline]
pub(super) fn write_log(record: &dyn LogView, out: &mut impl Fields) {
    // Most records are the SDK's: code for them alone need not ask what a view is.
    match record.as_sdk_record() {
        Some(record) => write_fields(record, out),
        None => write_fields(record, out),
    }
}

fn write_fields<F: Fields>(record: &(impl LogView + ?Sized), out: &mut F) {
    let nearest = |time: Option<SystemTime>| {
        let (nanos, exact) = time.map(|time| Span::NANOS_BUT_ZERO.nearest(time)).unzip();
        (nanos.map(in_64_bits), exact.flatten())
    };
    let (time, exact) = nearest(record.timestamp());
    let (observed, exactly_observed) = nearest(record.observed_timestamp());
    out.fixed64(TIME, time.unwrap_or_default());
    out.fixed64(OBSERVED_TIME, observed.unwrap_or_default());
    out.uint32(SEVERITY_NUMBER, record.severity_number().map_or(0, |severity| severity as u32));
    out.text(SEVERITY_TEXT, record.severity_text().unwrap_or_default());
    if let Some(body) = record.body() {
        out.message(BODY, |out| write_any(body, F::MAX_DEPTH, out));
    }
    out.list(ATTRIBUTES, |list| {
        record.visit_attributes(&mut |key, value| push_attribute(key, AttributeValue::Any(value), list));
        let exact = if time.is_some() { &exact } else { &exactly_observed };
        if let Some(exact) = exact {
            push_attribute(&Key::from_static_str(EXACT), AttributeValue::Any(exact), list);
        }
    });
    if let Some(trace) = record.trace().filter(|trace| trace.trace_id != TraceId::INVALID) {
        out.fixed32(FLAGS, trace.flags.map_or(0, |flags| flags.to_u8().into()));
        out.id(TRACE_ID, trace.trace_id.to_bytes());
        if trace.span_id != SpanId::INVALID {
            out.id(SPAN_ID, trace.span_id.to_bytes());
        }
    }
    out.text(EVENT_NAME, record.event_name().unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use opentelemetry::TraceFlags;
    use opentelemetry::logs::{AnyValue, LogRecord as _, Logger, LoggerProvider, Severity};
    use opentelemetry_proto::tonic::logs::v1::LogRecord;
    use opentelemetry_sdk::logs::{SdkLogRecord, SdkLoggerProvider};
    use proptest::prelude::*;
    use prost::Message;

    use super::*;
    use crate::config::values::Protocol;
    use crate::encode::otlp::pieces;

    /// The record that the bytes of each format are.
    fn written(record: &SdkLogRecord) -> [LogRecord; 2] {
        let [binary, json] = [Protocol::HttpBinary, Protocol::HttpJson].map(|protocol| {
            let mut out = Vec::new();
            pieces::write_log(protocol, record, &mut out);
            out
        });
        let json = [b"{", &*json, b"}"].concat();
        [LogRecord::decode(&*binary).unwrap(), serde_json::from_slice(&json).unwrap()]
    }

    fn record() -> SdkLogRecord {
        let mut record = SdkLoggerProvider::builder().build().logger("").create_log_record();
        record.set_observed_timestamp(UNIX_EPOCH + Duration::from_nanos(100));
        record
    }

    /// Texts around the lengths at which a length takes another byte.
    fn text() -> impl Strategy<Value = String> {
        let near = |len: usize| {
            (len.saturating_sub(20)..len + 3).prop_map(|len| "\u{fc}\"".repeat(len).chars().take(len).collect())
        };
        prop_oneof![8 => ".{0,20}", 4 => near(126), 1 => near(16_382)]
    }

    /// A value of any kind; a map has one entry, since those of several have no order.
    fn value() -> impl Strategy<Value = AnyValue> {
        let leaf = prop_oneof![
            text().prop_map(AnyValue::from),
            any::<i64>().prop_map(AnyValue::from),
            // Such as serde_json reads exactly.
            any::<i32>().prop_map(|value| AnyValue::from(f64::from(value) / 8.0)),
            any::<bool>().prop_map(AnyValue::from),
            prop::collection::vec(any::<u8>(), 0..200).prop_map(|bytes| AnyValue::Bytes(Box::new(bytes))),
            Just(AnyValue::Int(0)),
            Just(AnyValue::Double(0.0)),
        ];
        leaf.prop_recursive(6, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(|items| AnyValue::ListAny(Box::new(items))),
                (text(), inner).prop_map(|entry| AnyValue::from_iter([entry])),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_record_of_any_values_is_what_the_generated_types_make_of_it(
            body in prop::option::of(value()),
            attributes in prop::collection::vec((text(), value()), 0..12),
            time in prop::option::of(100..i64::MAX.cast_unsigned()),
            severity_text in prop::option::of(Just("a \"level\"")),
            event_name in prop::option::of(Just("order.placed")),
            ids in prop::option::of((1_u128.., 1_u64.., prop::option::of(any::<bool>()))),
        ) {
            let mut record = record();
            if let Some(body) = body {
                record.set_body(body);
            }
            for (key, value) in attributes {
                record.add_attribute(key, value);
            }
            if let Some(nanos) = time {
                record.set_timestamp(UNIX_EPOCH + Duration::from_nanos(nanos));
                record.set_severity_number(if nanos % 2 == 0 { Severity::Trace } else { Severity::Fatal4 });
            }
            if let Some(text) = severity_text {
                record.set_severity_text(text);
            }
            if let Some(name) = event_name {
                record.set_event_name(name);
            }
            if let Some((trace, span, flags)) = ids {
                let flags = flags.map(|sampled| TraceFlags::default().with_sampled(sampled));
                record.set_trace_context(TraceId::from(trace), SpanId::from(span), flags);
            }
            let expected = LogRecord::from(&record);
            for written in written(&record) {
                prop_assert_eq!(&written, &expected);
            }
        }
    }

    #[test]
    fn a_number_that_json_has_not_is_itself_in_protobuf_and_a_name_in_json() {
        for (number, name) in [(f64::NAN, "NaN"), (f64::INFINITY, "Infinity"), (f64::NEG_INFINITY, "-Infinity")] {
            let mut record = record();
            record.set_body(number.into());
            let mut binary = Vec::new();
            pieces::write_log(Protocol::HttpBinary, &record, &mut binary);
            let expected = LogRecord::from(&record).encode_to_vec();
            let sorted = |mut bytes: Vec<u8>| {
                bytes.sort_unstable();
                bytes
            };
            assert_eq!(sorted(binary), sorted(expected), "the same fields in another order");
            let mut json = Vec::new();
            pieces::write_log(Protocol::HttpJson, &record, &mut json);
            let json = String::from_utf8(json).unwrap();
            assert!(json.contains(&format!("\"body\":{{\"doubleValue\":\"{name}\"}}")), "{json}");
        }
    }
}
