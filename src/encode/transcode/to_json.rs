//! OTLP's protobuf as OTLP's JSON: a walk over the wire format that a table of OTLP's messages leads.
//!
//! The table is apart from the one by which records are encoded: this tool reads what an exporter of any version has
//! spooled, also in a build that has no encoder of OTLP, and tests compare both. Fields that the table does not have
//! are skipped, as protobuf asks of every reader. Nothing is built in between but the list of a message's fields, and
//! bytes that are no OTLP are an [`Unreadable`], never a panic.

mod messages;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use crate::config::values::Signal;
use Kind::{Base64, Bool, Double, Fixed32, Fixed64, Hex, Int32, Int64, Of, Sfixed64, Sint32, Text, Uint32, Uint64};
use messages::{Field, Kind, LOGS, METRICS, Message, TRACES};

/// The number of messages inside one another that are read, as in other readers of protobuf.
const MAX_DEPTH: usize = 100;

/// The reason why bytes are no OTLP.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {what}")]
pub(super) struct Unreadable {
    /// The field, by its name in JSON.
    field: &'static str,
    what: &'static str,
}

/// The request of a signal, which is protobuf, as one line of JSON. Its fields have the order in which they came.
pub(super) fn request(signal: Signal, protobuf: &[u8]) -> Result<String, Unreadable> {
    let message = match signal {
        Signal::Logs => &LOGS,
        Signal::Traces => &TRACES,
        Signal::Metrics => &METRICS,
    };
    let mut json = String::with_capacity(2 * protobuf.len());
    write_message(message, "request", protobuf, MAX_DEPTH, &mut json)?;
    Ok(json)
}

// --- The wire format ----------------------------------------------------------------------------------------------

/// A value as the wire has it.
#[derive(Clone, Copy, Debug)]
enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

/// Takes the number of a field and its value from the start of `bytes`.
fn take_field<'a>(bytes: &mut &'a [u8]) -> Result<(u64, Wire<'a>), &'static str> {
    let key = take_varint(bytes)?;
    let number = key >> 3;
    if number == 0 || key > u64::from(u32::MAX) {
        return Err("a field of it has no number that there is");
    }
    let value = match key & 7 {
        0 => Wire::Varint(take_varint(bytes)?),
        1 => Wire::Fixed64(take_fixed64(bytes)?),
        2 => {
            let len = usize::try_from(take_varint(bytes)?).map_err(|_| TOO_SHORT)?;
            let (value, rest) = bytes.split_at_checked(len).ok_or(TOO_SHORT)?;
            *bytes = rest;
            Wire::Bytes(value)
        }
        5 => {
            let (value, rest) = bytes.split_first_chunk().ok_or(TOO_SHORT)?;
            *bytes = rest;
            Wire::Fixed32(u32::from_le_bytes(*value))
        }
        _ => return Err("a field of it is of a type that OTLP has not"),
    };
    Ok((number, value))
}

const TOO_SHORT: &str = "it ends before its length";

fn take_varint(bytes: &mut &[u8]) -> Result<u64, &'static str> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or(TOO_SHORT)?;
        *bytes = rest;
        let low = u64::from(byte & 0x7f);
        if shift == 63 && low > 1 {
            break;
        }
        value |= low << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("a number in it has more than 64 bits")
}

fn take_fixed64(bytes: &mut &[u8]) -> Result<u64, &'static str> {
    let (value, rest) = bytes.split_first_chunk().ok_or(TOO_SHORT)?;
    *bytes = rest;
    Ok(u64::from_le_bytes(*value))
}

/// The values of a packed field.
fn unpacked(kind: Kind, mut bytes: &[u8]) -> Result<Vec<Wire<'_>>, &'static str> {
    let mut values = Vec::new();
    while !bytes.is_empty() {
        values.push(match kind {
            Fixed64 | Double => Wire::Fixed64(take_fixed64(&mut bytes)?),
            _ => Wire::Varint(take_varint(&mut bytes)?),
        });
    }
    Ok(values)
}

/// The low half: what protobuf reads of a number that is too large for its field.
fn low(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

// --- From one to the other ----------------------------------------------------------------------------------------

/// Appends a message, the value of the field `name`. At most `depth` messages are inside one another, itself included.
fn write_message(
    message: &Message,
    name: &'static str,
    mut bytes: &[u8],
    depth: usize,
    json: &mut String,
) -> Result<(), Unreadable> {
    let unreadable = |what| Unreadable { field: name, what };
    let depth = depth.checked_sub(1).ok_or(unreadable("it is nested too deeply"))?;
    // The fields in the order in which they came, each with all of its values.
    let mut found: Vec<(&Field, Vec<Wire<'_>>)> = Vec::new();
    while !bytes.is_empty() {
        let (number, value) = take_field(&mut bytes).map_err(unreadable)?;
        let Some(field) = message.fields.iter().find(|field| u64::from(field.number) == number) else { continue };
        match found.iter_mut().find(|(other, _)| other.number == field.number) {
            Some((_, values)) => values.push(value),
            None => found.push((field, vec![value])),
        }
    }
    for field in message.fields.iter().filter(|field| field.is_always) {
        if !found.iter().any(|(other, _)| other.number == field.number) {
            found.push((field, Vec::new()));
        }
    }
    json.push('{');
    for (nth, (field, values)) in found.iter().enumerate() {
        if nth > 0 {
            json.push(',');
        }
        json.push('"');
        json.push_str(field.name);
        json.push_str("\":");
        write_values(field, values, depth, json)?;
    }
    json.push('}');
    Ok(())
}

/// Appends the values of a field: a list, or the one that counts, which is empty where there is none.
fn write_values(field: &Field, values: &[Wire<'_>], depth: usize, json: &mut String) -> Result<(), Unreadable> {
    if !field.is_repeated {
        return match (field.kind, values) {
            // Protobuf merges the parts of a message, which is the same as if they were one.
            (Of(message), [_, _, ..]) => {
                let parts: Vec<_> = values.iter().map_while(|value| value.bytes()).collect();
                if parts.len() < values.len() {
                    return Err(field.of_another_type());
                }
                write_message(message, field.name, &parts.concat(), depth, json)
            }
            (_, [.., last]) => write_value(field, *last, depth, json),
            (_, []) => write_value(field, Wire::Bytes(&[]), depth, json),
        };
    }
    json.push('[');
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
                json.push(',');
            }
            write_value(field, *value, depth, json)?;
        }
    }
    json.push(']');
    Ok(())
}

/// Appends one value.
fn write_value(field: &Field, value: Wire<'_>, depth: usize, json: &mut String) -> Result<(), Unreadable> {
    let value = match (field.kind, value) {
        (Of(message), Wire::Bytes(bytes)) => return write_message(message, field.name, bytes, depth, json),
        (Text, Wire::Bytes(bytes)) => match std::str::from_utf8(bytes) {
            Ok(text) => text.into(),
            Err(_) => return Err(Unreadable { field: field.name, what: "it is no UTF-8" }),
        },
        (Hex, Wire::Bytes(bytes)) => hex(bytes).into(),
        (Base64, Wire::Bytes(bytes)) => BASE64_STANDARD.encode(bytes).into(),
        (Bool, Wire::Varint(value)) => (value != 0).into(),
        (Uint32, Wire::Varint(value)) => low(value).into(),
        (Int32, Wire::Varint(value)) => low(value).cast_signed().into(),
        (Sint32, Wire::Varint(value)) => {
            let value = low(value);
            ((value >> 1).cast_signed() ^ -(value & 1).cast_signed()).into()
        }
        // JSON's numbers are doubles to many readers, which hold 53 bits.
        (Int64, Wire::Varint(value)) | (Sfixed64, Wire::Fixed64(value)) => value.cast_signed().to_string().into(),
        (Uint64, Wire::Varint(value)) | (Fixed64, Wire::Fixed64(value)) => value.to_string().into(),
        (Fixed32, Wire::Fixed32(value)) => value.into(),
        (Double, Wire::Fixed64(bits)) => double(f64::from_bits(bits)),
        _ => return Err(field.of_another_type()),
    };
    json.push_str(&value.to_string());
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

/// A number, or the name of one of the three that JSON has not.
fn double(value: f64) -> Value {
    match value {
        value if value.is_finite() => value.into(),
        value if value.is_nan() => "NaN".into(),
        value if value > 0.0 => "Infinity".into(),
        _ => "-Infinity".into(),
    }
}

impl Field {
    fn of_another_type(&self) -> Unreadable {
        Unreadable { field: self.name, what: "it is of another type" }
    }
}

impl<'a> Wire<'a> {
    fn bytes(self) -> Option<&'a [u8]> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
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

    use super::*;

    const SIGNALS: [(Signal, &Message); 3] =
        [(Signal::Logs, &LOGS), (Signal::Traces, &TRACES), (Signal::Metrics, &METRICS)];

    fn varint(mut value: u64, out: &mut Vec<u8>) {
        while value >= 0x80 {
            out.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        out.push(value.to_le_bytes()[0]);
    }

    fn key(number: u32, wire_type: u64, out: &mut Vec<u8>) {
        varint(u64::from(number) << 3 | wire_type, out);
    }

    fn delimited(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
        key(number, 2, out);
        varint(bytes.len() as u64, out);
        out.extend_from_slice(bytes);
    }

    /// Writes messages that the table says there are, from numbers that are drawn.
    struct Draw(fastrand::Rng);

    impl Draw {
        /// A message with some of its fields, in any order, of a `oneof` one at most.
        fn message(&mut self, message: &Message, depth: usize, out: &mut Vec<u8>) {
            let one_of = ["Value", "asInt", "asDouble", "gauge", "summary"];
            let is_of_one = |field: &&Field| {
                let is_data = message.fields.iter().any(|field| field.name == "gauge") && matches!(field.kind, Of(_));
                one_of.iter().any(|end| field.name.ends_with(end)) || (is_data && !field.is_repeated)
            };
            let (one, mut fields): (Vec<&Field>, Vec<&Field>) = message.fields.iter().partition(is_of_one);
            // The generated types do not read these without all of their fields.
            let takes_all = message.fields.iter().any(|field| ["key", "idKeys"].contains(&field.name));
            fields.retain(|_| takes_all || self.0.u8(..4) > 0);
            fields.extend(self.0.choice(one));
            self.0.shuffle(&mut fields);
            for field in fields {
                let times = if field.is_repeated { self.0.usize(usize::from(takes_all)..3) } else { 1 };
                let is_packed = !matches!(field.kind, Text | Hex | Base64 | Of(_)) && self.0.bool();
                if is_packed && field.is_repeated {
                    let mut packed = Vec::new();
                    for _ in 0..times {
                        self.number(field.kind, &mut packed);
                    }
                    delimited(field.number, &packed, out);
                } else {
                    (0..times).for_each(|_| self.field(field, depth, out));
                }
                if self.0.u8(..8) == 0 {
                    self.unknown(out);
                }
            }
        }

        fn field(&mut self, field: &Field, depth: usize, out: &mut Vec<u8>) {
            let mut value = Vec::new();
            match field.kind {
                Text => value.extend_from_slice(self.0.choice(["", "a", "Z\u{fc}rich\n\"\\\u{1}"]).unwrap().as_bytes()),
                Hex if field.name == "traceId" => value.extend((0..16).map(|_| self.0.u8(..))),
                Hex => value.extend((0..8).map(|_| self.0.u8(..))),
                Base64 => value.extend((0..self.0.usize(..5)).map(|_| self.0.u8(..))),
                Of(message) if depth > 0 => self.message(message, depth - 1, &mut value),
                Of(_) => {}
                kind => {
                    let wire_type = self.number(kind, &mut value);
                    key(field.number, wire_type, out);
                    return out.extend_from_slice(&value);
                }
            }
            delimited(field.number, &value, out);
        }

        /// A number; returns the type of it on the wire.
        fn number(&mut self, kind: Kind, out: &mut Vec<u8>) -> u64 {
            let any = self.0.u64(..) >> self.0.u8(..64);
            match kind {
                // Such as serde_json reads exactly.
                Double => out.extend_from_slice(&(f64::from(low(any)) / 8.0 - 99.0).to_le_bytes()),
                Fixed64 | Sfixed64 => out.extend_from_slice(&any.to_le_bytes()),
                Fixed32 => {
                    out.extend_from_slice(&low(any).to_le_bytes());
                    return 5;
                }
                kind => {
                    match kind {
                        Bool => varint(any & 1, out),
                        Int32 => varint(any & 7, out),
                        Uint32 | Sint32 => varint(low(any).into(), out),
                        _ => varint(any, out),
                    }
                    return 0;
                }
            }
            1
        }

        /// A field that no message has.
        fn unknown(&mut self, out: &mut Vec<u8>) {
            let wire_type = self.0.choice([0, 1, 2, 5]).unwrap();
            key(1000, wire_type, out);
            out.extend_from_slice(match wire_type {
                0 => b"\xff\x01",
                1 => b"\xff\xff\xff\xff\xff\xff\xff\xff",
                2 => b"\x02\xff\xff",
                _ => b"\xff\xff\xff\xff",
            });
        }
    }

    fn assert_read_as<M: prost::Message + Default + PartialEq + Debug + DeserializeOwned>(
        signal: Signal,
        message: &Message,
        seed: u64,
    ) {
        let mut protobuf = Vec::new();
        Draw(fastrand::Rng::with_seed(seed)).message(message, 9, &mut protobuf);
        let expected = M::decode(&*protobuf).unwrap();
        let json = request(signal, &protobuf).unwrap();
        let read: M = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {json}"));
        assert_eq!(read, expected, "{json}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_message_is_what_the_generated_types_read_of_it(seed: u64) {
            assert_read_as::<ExportLogsServiceRequest>(Signal::Logs, &LOGS, seed);
            assert_read_as::<ExportTraceServiceRequest>(Signal::Traces, &TRACES, seed);
            assert_read_as::<ExportMetricsServiceRequest>(Signal::Metrics, &METRICS, seed);
        }

        #[test]
        fn any_bytes_are_json_or_a_reason(
            bytes in prop::collection::vec(any::<u8>(), 0..100),
            seed: u64,
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
            cut in any::<prop::sample::Index>(),
        ) {
            for (signal, message) in SIGNALS {
                let mut damaged = vec![0x0a];
                Draw(fastrand::Rng::with_seed(seed)).message(message, 9, &mut damaged);
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
        assert_eq!(double(f64::INFINITY), "Infinity");
        assert_eq!(double(f64::NEG_INFINITY), "-Infinity");
        assert_eq!(double(-0.0).to_string(), "-0.0");
    }

    #[test]
    fn of_several_values_the_last_one_counts_and_of_several_messages_all_fields() {
        let read = |record: &[u8]| request(Signal::Logs, &log(record));
        assert_eq!(read(b"\x10\x01\x10\x02"), Ok(log_as_json("{\"severityNumber\":2}")));
        let body = "{\"body\":{\"stringValue\":\"a\",\"intValue\":\"1\"}}";
        assert_eq!(read(b"\x2a\x03\x0a\x01a\x2a\x02\x18\x01"), Ok(log_as_json(body)));
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
    #[cfg(feature = "otlp")]
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
