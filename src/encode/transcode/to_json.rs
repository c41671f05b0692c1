//! OTLP's protobuf as OTLP's JSON.
//!
//! Fields that the table does not have are skipped, as protobuf asks of every reader. Nothing is built in between but the list of a
//! message's fields, and bytes that are no OTLP are an [`Unreadable`], never a panic.

use std::borrow::Cow;
use std::io::Write;

use base64::display::Base64Display;
use base64::prelude::BASE64_STANDARD;
use serde_core::Serialize;

use super::messages::Kind::{
    Base64, Bool, Double, Enum, Fixed32, Fixed64, Hex, Int64, Of, Sfixed64, Sint32, Text, Uint32, Uint64,
};
use super::messages::{ANY_VALUE, Field, Kind, MAX_DEPTH, Message, request_of};
use super::wire::{Fields, Wire, WireError, low, take_fixed64, take_varint};
use crate::config::values::Signal;
use crate::encode::common::string::write_text;
use crate::encode::common::{any_value, depth};

/// The reason why bytes are no OTLP.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {what}")]
pub(crate) struct Unreadable {
    /// The field, by its name in JSON.
    field: &'static str,
    what: &'static str,
}

/// The request of a signal, which is protobuf, as one line of JSON. Its fields have the order in which they came.
pub(crate) fn request(signal: Signal, protobuf: &[u8]) -> Result<String, Unreadable> {
    let mut json = Vec::with_capacity(2 * protobuf.len());
    Json { out: &mut json, is_strict: true, levels: usize::MAX }.message(
        request_of(signal),
        "request",
        &[protobuf],
        MAX_DEPTH,
    )?;
    String::from_utf8(json).map_err(|_| Unreadable { field: "request", what: "it is no UTF-8" })
}

/// Appends a message, the value of a field of this name, as an object for a receiver. Text that is no UTF-8 has U+FFFD in place of what is
/// none, and lists and maps nested more deeply than receivers read are texts, as encoders have it. At most `depth` messages are inside one
/// another, itself included.
pub(crate) fn write_object(
    message: &Message,
    name: &'static str,
    protobuf: &[u8],
    depth: usize,
    out: &mut Vec<u8>,
) -> Result<(), Unreadable> {
    Json { out, is_strict: false, levels: depth::OTLP_JSON }.message(message, name, &[protobuf], depth)
}

/// The values of a packed field.
fn unpacked(kind: Kind, mut bytes: &[u8]) -> Result<Vec<Wire<'_>>, WireError> {
    let mut values = Vec::new();
    while !bytes.is_empty() {
        values.push(match kind {
            Fixed64 | Double => Wire::Fixed64(take_fixed64(&mut bytes)?),
            _ => Wire::Varint(take_varint(&mut bytes)?),
        });
    }
    Ok(values)
}

/// JSON that is being written.
struct Json<'a> {
    out: &'a mut Vec<u8>,
    /// Whether text that is no UTF-8 is an error.
    is_strict: bool,
    /// How many lists and maps may still be inside one another. Those that are nested more deeply are texts, their JSON.
    levels: usize,
}

impl Json<'_> {
    /// Appends a message, the value of the field `name`, which is given in parts: protobuf merges them. At most `depth` messages are inside
    /// one another, itself included.
    fn message(
        &mut self,
        message: &Message,
        name: &'static str,
        parts: &[&[u8]],
        depth: usize,
    ) -> Result<(), Unreadable> {
        let unreadable = |what| Unreadable { field: name, what };
        let depth = depth.checked_sub(1).ok_or(unreadable("it is nested too deeply"))?;
        // The fields in the order in which they came, each with all of its values.
        let mut found: Vec<(&Field, Vec<Wire<'_>>)> = Vec::new();
        for field in parts.iter().flat_map(|part| Fields(part)) {
            let (number, value) = field.map_err(unreadable)?;
            let Some(field) = message.fields.iter().find(|field| field.number == number) else { continue };
            match found.iter_mut().find(|(other, _)| other.number == number) {
                Some((_, values)) => values.push(value),
                None => found.push((field, vec![value])),
            }
        }
        for field in message.fields.iter().filter(|field| field.is_always) {
            if !found.iter().any(|(other, _)| other.number == field.number) {
                found.push((field, Vec::new()));
            }
        }
        self.out.push(b'{');
        for (nth, (field, values)) in found.iter().enumerate() {
            if nth > 0 {
                self.out.push(b',');
            }
            let is_level = matches!(field.kind, Of(_)) && message.is(&ANY_VALUE);
            if is_level && self.levels == 0 {
                self.text_of_values(field, values, depth)?;
                continue;
            }
            self.levels -= usize::from(is_level);
            self.name(field.name);
            self.values(field, values, depth)?;
            self.levels += usize::from(is_level);
        }
        self.out.push(b'}');
        Ok(())
    }

    fn name(&mut self, name: &str) {
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    /// Appends a text in place of a list or map, its JSON.
    fn text_of_values(&mut self, field: &Field, values: &[Wire<'_>], depth: usize) -> Result<(), Unreadable> {
        let mut json = Vec::new();
        Json { out: &mut json, levels: usize::MAX, is_strict: self.is_strict }.values(field, values, depth)?;
        self.name("stringValue");
        write_text(self.out, &String::from_utf8_lossy(&json));
        Ok(())
    }

    /// Appends the values of a field: a list, or the one that counts, which is empty where there is none.
    fn values(&mut self, field: &Field, values: &[Wire<'_>], depth: usize) -> Result<(), Unreadable> {
        if !field.is_repeated {
            return match (field.kind, values) {
                (Of(message), [_, _, ..]) => {
                    let parts: Vec<_> = values.iter().map_while(|value| value.bytes()).collect();
                    if parts.len() < values.len() {
                        return Err(field.of_another_type());
                    }
                    self.message(message, field.name, &parts, depth)
                }
                (_, [.., last]) => self.value(field, *last, depth),
                (_, []) => self.value(field, Wire::Bytes(&[]), depth),
            };
        }
        self.out.push(b'[');
        let mut is_first = true;
        for value in values {
            let packed = match (field.kind, value) {
                (Text | Hex | Base64 | Of(_), _) => None,
                (kind, Wire::Bytes(bytes)) => Some(unpacked(kind, bytes)),
                _ => None,
            };
            let packed = packed.transpose().map_err(|what| Unreadable { field: field.name, what })?;
            for value in packed.as_deref().unwrap_or(std::slice::from_ref(value)) {
                if !std::mem::take(&mut is_first) {
                    self.out.push(b',');
                }
                self.value(field, *value, depth)?;
            }
        }
        self.out.push(b']');
        Ok(())
    }

    /// Appends one value.
    fn value(&mut self, field: &Field, value: Wire<'_>, depth: usize) -> Result<(), Unreadable> {
        match (field.kind, value) {
            (Of(message), Wire::Bytes(bytes)) => return self.message(message, field.name, &[bytes], depth),
            (Text, Wire::Bytes(bytes)) => {
                let text = match std::str::from_utf8(bytes) {
                    Ok(text) => Cow::Borrowed(text),
                    Err(_) if self.is_strict => return Err(Unreadable { field: field.name, what: "it is no UTF-8" }),
                    Err(_) => String::from_utf8_lossy(bytes),
                };
                write_text(self.out, &text);
            }
            (Hex, Wire::Bytes(bytes)) => self.hex(bytes),
            (Base64, Wire::Bytes(bytes)) => self.quoted(&Base64Display::new(bytes, &BASE64_STANDARD)),
            (Bool, Wire::Varint(value)) => self.plain(value != 0),
            (Uint32, Wire::Varint(value)) => self.plain(low(value)),
            (Enum(_), Wire::Varint(value)) => self.plain(low(value).cast_signed()),
            (Sint32, Wire::Varint(value)) => {
                let value = low(value);
                self.plain((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
            // JSON's numbers are doubles to many readers, which hold 53 bits.
            (Int64, Wire::Varint(value)) | (Sfixed64, Wire::Fixed64(value)) => self.quoted(&value.cast_signed()),
            (Uint64, Wire::Varint(value)) | (Fixed64, Wire::Fixed64(value)) => self.quoted(&value),
            (Fixed32, Wire::Fixed32(value)) => self.plain(value),
            (Double, Wire::Fixed64(bits)) => self.plain(any_value::Double(f64::from_bits(bits))),
            _ => return Err(field.of_another_type()),
        }
        Ok(())
    }

    /// A value that JSON has. Nothing can fail: the bytes are in memory.
    fn plain(&mut self, value: impl Serialize) {
        let _ = serde_json::to_writer(&mut *self.out, &value);
    }

    fn quoted(&mut self, value: &dyn std::fmt::Display) {
        let _ = write!(self.out, "\"{value}\"");
    }

    fn hex(&mut self, bytes: &[u8]) {
        let digit = |digit: u8| b"0123456789abcdef"[usize::from(digit)];
        self.out.push(b'"');
        self.out.extend(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]));
        self.out.push(b'"');
    }
}

impl Field {
    fn of_another_type(&self) -> Unreadable {
        Unreadable { field: self.name, what: "it is of another type" }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use proptest::prelude::*;
    use serde_core::de::DeserializeOwned;
    use serde_json::Value;

    use super::*;
    use crate::encode::transcode::draw::Draw;
    use crate::encode::transcode::wire::{TOO_SHORT, put_field};

    fn delimited(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
        put_field(number, Wire::Bytes(bytes), out);
    }

    fn assert_read_as<M: prost::Message + Default + PartialEq + Debug + DeserializeOwned>(signal: Signal, seed: u64) {
        let mut protobuf = Vec::new();
        Draw(fastrand::Rng::with_seed(seed)).message(request_of(signal), 9, &mut protobuf);
        let expected = M::decode(&*protobuf).unwrap();
        let json = request(signal, &protobuf).unwrap();
        let read: M = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {json}"));
        assert_eq!(read, expected, "{json}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_message_is_what_the_generated_types_read_of_it(seed: u64) {
            assert_read_as::<ExportLogsServiceRequest>(Signal::Logs, seed);
            assert_read_as::<ExportTraceServiceRequest>(Signal::Traces, seed);
            assert_read_as::<ExportMetricsServiceRequest>(Signal::Metrics, seed);
        }

        #[test]
        fn any_bytes_are_json_or_a_reason(
            bytes in prop::collection::vec(any::<u8>(), 0..100),
            seed: u64,
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
            cut in any::<prop::sample::Index>(),
        ) {
            for signal in Signal::ALL {
                let mut damaged = vec![0x0a];
                Draw(fastrand::Rng::with_seed(seed)).message(request_of(signal), 9, &mut damaged);
                for (at, byte) in &changes {
                    *at.get_mut(&mut damaged) = *byte;
                }
                for bytes in [&*bytes, &damaged, &damaged[..cut.index(damaged.len())]] {
                    if let Ok(json) = request(signal, bytes) {
                        prop_assert!(serde_json::from_str::<Value>(&json).is_ok(), "{}", json);
                    }
                }
            }
        }
    }

    /// A request of logs with one record, whose fields are these.
    fn log(record: &[u8]) -> Vec<u8> {
        let [mut scope, mut resource, mut logs] = [const { Vec::new() }; 3];
        delimited(2, record, &mut scope);
        delimited(2, &scope, &mut resource);
        delimited(1, &resource, &mut logs);
        logs
    }

    fn log_as_json(record: &str) -> String {
        format!("{{\"resourceLogs\":[{{\"scopeLogs\":[{{\"logRecords\":[{record}]}}]}}]}}")
    }

    #[test]
    fn each_type_has_the_json_that_otlp_gives_it() {
        let record = [
            b"\x09\x15\x81\xe9\x7d\xf4\x10\x22\x11\x10\x09\x1a\x04\"\xc3\xbc\n\x4d\x01\x00\x00\x00".as_slice(),
            b"\x4a\x04\x00\xab\xcd\xef\x2a\x09\x21\x00\x00\x00\x00\x00\x00\xf8\x7f\x32\x09\x0a\x01k\x12\x04\x3a\x02\xfb\xff",
            b"\x32\x06\x12\x02\x2a\x00\x0a\x00\x32\x10\x12\x0e\x32\x0c\x0a\x0a\x12\x08\x18\xff\xff\xff\xff\xff\xff\x7f",
            b"\x45\xff\xff\xff\xff",
        ]
        .concat();
        let expected = "{\"timeUnixNano\":\"1234567890123456789\",\"severityNumber\":9,\"severityText\":\"\\\"\u{fc}\\n\",\
            \"traceId\":\"00abcdef\",\"body\":{\"doubleValue\":\"NaN\"},\"attributes\":[\
            {\"key\":\"k\",\"value\":{\"bytesValue\":\"+/8=\"}},{\"value\":{\"arrayValue\":{\"values\":[]}},\"key\":\"\"},\
            {\"value\":{\"kvlistValue\":{\"values\":[{\"value\":{\"intValue\":\"562949953421311\"},\"key\":\"\"}]}},\"key\":\"\"}],\"flags\":4294967295}";
        assert_eq!(request(Signal::Logs, &log(&record)), Ok(log_as_json(expected)));
    }

    #[test]
    fn of_several_values_the_last_one_counts_and_of_several_messages_all_fields() {
        let read = |record: &[u8]| request(Signal::Logs, &log(record));
        assert_eq!(read(b"\x10\x01\x10\x02"), Ok(log_as_json("{\"severityNumber\":2}")));
        let body = "{\"body\":{\"stringValue\":\"a\",\"intValue\":\"1\"}}";
        assert_eq!(read(b"\x2a\x03\x0a\x01a\x2a\x02\x18\x01"), Ok(log_as_json(body)));
    }

    #[test]
    fn parts_of_a_message_are_not_joined_so_that_none_may_end_in_the_next_one() {
        let joined = b"\x2a\x02\x0a\x01\x2a\x01a";
        let unreadable = Unreadable { field: "body", what: TOO_SHORT };
        assert_eq!(request(Signal::Logs, &log(joined)), Err(unreadable));
    }

    #[test]
    fn what_cannot_be_read_is_named_with_the_reason() {
        for (record, field, what) in [
            (&b"\x2a\x05\x0a"[..], "logRecords", TOO_SHORT),
            (b"\x2a\x02\x0a\x05", "body", TOO_SHORT),
            (b"\x09\x00", "logRecords", TOO_SHORT),
            (b"\x80", "logRecords", TOO_SHORT),
            (b"\x1a\x01\xff", "severityText", "it is no UTF-8"),
            (b"\x18\x01", "severityText", "it is of another type"),
            (b"\x2a\x00\x28\x01", "body", "it is of another type"),
            (b"\x03\x01", "logRecords", "a field of it has no number that there is"),
            (b"\x0b\x01", "logRecords", "a field of it is of a type that OTLP has not"),
            (b"\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", "logRecords", "a number in it has more than 64 bits"),
        ] {
            assert_eq!(request(Signal::Logs, &log(record)), Err(Unreadable { field, what }), "{record:x?}");
        }
        let (mut value, mut nested) = (Vec::new(), String::new());
        for depth in 0..200 {
            let mut record = Vec::new();
            delimited(5, &value, &mut record);
            let read = request(Signal::Logs, &log(&record));
            // Four messages are around a body, and each list is two.
            let expected = Unreadable { field: "values", what: "it is nested too deeply" };
            assert_eq!(read.as_ref().err(), (depth > 47).then_some(&expected), "{depth}");
            nested = read.unwrap_or(nested);
            let (mut list, mut outer) = (Vec::new(), Vec::new());
            delimited(1, &value, &mut list);
            delimited(5, &list, &mut outer);
            value = outer;
        }
        assert_eq!(nested.matches("arrayValue").count(), 47);
    }

    /// Both encodings of a record have the same JSON, to the byte.
    mod compared {
        use std::time::{Duration, UNIX_EPOCH};

        use opentelemetry::logs::{AnyValue, LogRecord as _, Logger, LoggerProvider, Severity};
        use opentelemetry::{InstrumentationScope, Key, KeyValue, SpanId, TraceFlags, TraceId};
        use opentelemetry_sdk::Resource;
        use opentelemetry_sdk::logs::SdkLoggerProvider;

        use super::*;
        use crate::config::values::Protocol;
        use crate::encode::{Encoder, OtlpEncoder};

        fn value() -> impl Strategy<Value = AnyValue> {
            let leaf = prop_oneof![
                ".{0,20}".prop_map(AnyValue::from),
                any::<i64>().prop_map(AnyValue::from),
                prop::num::f64::ANY.prop_map(AnyValue::from),
                any::<bool>().prop_map(AnyValue::from),
                prop::collection::vec(any::<u8>(), 0..200).prop_map(|bytes| AnyValue::Bytes(Box::new(bytes))),
            ];
            leaf.prop_recursive(6, 24, 4, |inner| {
                prop_oneof![
                    prop::collection::vec(inner.clone(), 0..4).prop_map(|items| AnyValue::ListAny(Box::new(items))),
                    prop::collection::hash_map(".{0,5}".prop_map(Key::from), inner, 0..4)
                        .prop_map(|entries| AnyValue::Map(Box::new(entries))),
                ]
            })
        }

        proptest! {
            #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

            #[test]
            fn a_record_is_the_same_from_protobuf_as_it_is_in_json(
                body in prop::option::of(value()),
                attributes in prop::collection::vec((".{0,5}", value()), 0..5),
                nanos in prop::option::of(1..i64::MAX.cast_unsigned()),
                ids: Option<(u128, u64, bool)>,
                severity_text in prop::option::of(Just("a \"level\"")),
            ) {
                let mut record = SdkLoggerProvider::builder().build().logger("").create_log_record();
                record.set_target("app::orders");
                record.set_severity_number(Severity::Fatal4);
                if let Some(body) = body {
                    record.set_body(body);
                }
                for (key, value) in attributes {
                    record.add_attribute(key, value);
                }
                if let Some(nanos) = nanos {
                    record.set_timestamp(UNIX_EPOCH + Duration::from_nanos(nanos));
                    record.set_observed_timestamp(UNIX_EPOCH + Duration::from_nanos(nanos / 2));
                    record.set_event_name("order.placed");
                }
                if let Some(text) = severity_text {
                    record.set_severity_text(text);
                }
                if let Some((trace, span, sampled)) = ids {
                    let flags = TraceFlags::default().with_sampled(sampled);
                    record.set_trace_context(TraceId::from(trace), SpanId::from(span), Some(flags));
                }
                let scope = InstrumentationScope::builder("library")
                    .with_version("1.2")
                    .with_schema_url("https://example.com/scope")
                    .with_attributes([KeyValue::new("level", 3)])
                    .build();
                let attributes = [KeyValue::new("service.name", "checkout")];
                let resource = Resource::builder_empty().with_schema_url(attributes, "https://example.com/r").build();
                let [protobuf, json] = [Protocol::HttpBinary, Protocol::HttpJson].map(|protocol| {
                    let mut encoder = OtlpEncoder::new(protocol);
                    encoder.set_resource(&resource);
                    let framing = Encoder::framing(&encoder);
                    let mut body = framing.open().to_vec();
                    encoder.encode(&record, &scope, &mut body).unwrap();
                    body.extend_from_slice(framing.close());
                    body
                });
                prop_assert_eq!(request(Signal::Logs, &protobuf).unwrap(), String::from_utf8(json).unwrap());
            }
        }
    }
}
