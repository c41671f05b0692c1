//! OTLP of records that are not ordinary. `swap` shows that ordinary ones are as the OTLP exporter sends them.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Answer, Receiver, Service, exporter, spool_dir};
use opentelemetry::logs::{AnyValue, LogRecord, Logger, LoggerProvider};
use opentelemetry::{InstrumentationScope, Key, SpanId, TraceId};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord as Record;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogProcessor, SdkLogRecord, SdkLoggerProvider};
use opentelemetry_spool::{Encoder, OtlpEncoder, Protocol};
use prost::Message;

/// Keeps what the encoder makes of a record.
struct Capture {
    encoder: OtlpEncoder,
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl fmt::Debug for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Capture")
    }
}

impl LogProcessor for Capture {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        let mut bytes = Vec::new();
        self.encoder.encode(record, scope, &mut bytes).unwrap();
        *self.bytes.lock().unwrap() = bytes;
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// A request that carries one record.
fn request(protocol: Protocol, fill: impl FnOnce(&mut SdkLogRecord)) -> Vec<u8> {
    let (encoder, bytes) = (OtlpEncoder::new(protocol), Arc::new(Mutex::default()));
    let framing = encoder.framing();
    let provider =
        SdkLoggerProvider::builder().with_log_processor(Capture { encoder, bytes: Arc::clone(&bytes) }).build();
    let logger = provider.logger("app");
    let mut record = logger.create_log_record();
    fill(&mut record);
    logger.emit(record);
    let bytes = bytes.lock().unwrap();
    [framing.open(), &bytes, framing.close()].concat()
}

/// The one record in a request that carries it alone.
fn sent(protocol: Protocol, fill: impl FnOnce(&mut SdkLogRecord)) -> Record {
    let body = request(protocol, fill);
    let mut request = match protocol {
        Protocol::HttpBinary => ExportLogsServiceRequest::decode(&*body).unwrap(),
        _ => serde_json::from_slice(&body).unwrap(),
    };
    request.resource_logs.remove(0).scope_logs.remove(0).log_records.remove(0)
}

fn body(protocol: Protocol, value: AnyValue) -> Value {
    sent(protocol, |record| record.set_body(value)).body.unwrap().value.unwrap()
}

const BOTH: [Protocol; 2] = [Protocol::HttpBinary, Protocol::HttpJson];

#[test]
fn what_a_record_has_not_is_left_out() {
    for protocol in BOTH {
        let record = sent(protocol, |record| record.set_trace_context(TraceId::INVALID, SpanId::from(1), None));
        assert!(record.observed_time_unix_nano > 0, "the SDK sets it");
        let empty = Record { observed_time_unix_nano: record.observed_time_unix_nano, ..Record::default() };
        assert_eq!(record, empty, "{protocol:?}");
    }
}

fn json_record(fill: impl FnOnce(&mut SdkLogRecord)) -> serde_json::Value {
    let mut request: serde_json::Value = serde_json::from_slice(&request(Protocol::HttpJson, fill)).unwrap();
    request["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0].take()
}

#[test]
fn json_has_no_member_for_what_is_absent() {
    let record = json_record(|_| ());
    assert_eq!(record.as_object().unwrap().keys().collect::<Vec<_>>(), ["observedTimeUnixNano"]);
    for text in [request(Protocol::HttpJson, |_| ()), request(Protocol::HttpJson, everything)] {
        let text = String::from_utf8(text).unwrap();
        assert!(!text.contains("null"), "{text}");
    }
}

/// A value of every kind, those that JSON has not included.
fn everything(record: &mut SdkLogRecord) {
    record.set_timestamp(std::time::UNIX_EPOCH + Duration::from_nanos(1_610_393_068_365_492_100));
    record.set_severity_number(opentelemetry::logs::Severity::Warn2);
    record.set_severity_text("WARN2");
    record.set_event_name("order.placed");
    record.set_trace_context(TraceId::from(0xa0b1), SpanId::from(0xc2), Some(opentelemetry::TraceFlags::SAMPLED));
    record.set_body(AnyValue::from_iter([("a \"key\"", AnyValue::from("Z\u{fc}rich\n"))]));
    record.add_attribute("int", i64::MIN);
    record.add_attribute("double", 0.1);
    record.add_attribute("bool", true);
    record.add_attribute("bytes", &[0xfb_u8, 0xff, 0xfe][..]);
    record.add_attribute("list", AnyValue::from_iter([AnyValue::from(1), f64::NAN.into(), f64::INFINITY.into()]));
    record.add_attribute("empty list", AnyValue::from_iter([0_i64; 0]));
    record.add_attribute("empty text", "");
    record.add_attribute("", f64::NEG_INFINITY);
}

#[test]
fn a_record_in_json_is_this_text() {
    let mut record = json_record(everything);
    record.as_object_mut().unwrap().remove("observedTimeUnixNano").unwrap();
    let expected = serde_json::json!({
        "timeUnixNano": "1610393068365492100",
        "severityNumber": 14,
        "severityText": "WARN2",
        "body": {"kvlistValue": {"values": [{"key": "a \"key\"", "value": {"stringValue": "Z\u{fc}rich\n"}}]}},
        "attributes": [
            {"key": "int", "value": {"intValue": "-9223372036854775808"}},
            {"key": "double", "value": {"doubleValue": 0.1}},
            {"key": "bool", "value": {"boolValue": true}},
            {"key": "bytes", "value": {"bytesValue": "+//+"}},
            {"key": "list", "value": {"arrayValue": {"values": [
                {"intValue": "1"}, {"doubleValue": "NaN"}, {"doubleValue": "Infinity"},
            ]}}},
            {"key": "empty list", "value": {"arrayValue": {"values": []}}},
            {"key": "empty text", "value": {"stringValue": ""}},
            {"key": "", "value": {"doubleValue": "-Infinity"}},
        ],
        "flags": 1,
        "traceId": "0000000000000000000000000000a0b1",
        "spanId": "00000000000000c2",
        "eventName": "order.placed",
    });
    assert_eq!(record, expected);
}

#[test]
fn a_record_is_encoded_without_an_allocation() {
    let mut record = SdkLoggerProvider::builder().build().logger("app").create_log_record();
    everything(&mut record);
    for protocol in BOTH {
        let (encoder, scope, mut out) = (OtlpEncoder::new(protocol), InstrumentationScope::default(), Vec::new());
        encoder.encode(&record, &scope, &mut out).unwrap();
        out.clear();
        let measured = allocation_counter::measure(|| encoder.encode(&record, &scope, &mut out).unwrap());
        assert_eq!(measured.count_total, 0, "{protocol:?}");
    }
}

#[test]
fn numbers_that_json_has_not_have_their_names_there_and_are_themselves_in_protobuf() {
    for (number, name) in [(f64::NAN, "NaN"), (f64::INFINITY, "Infinity"), (f64::NEG_INFINITY, "-Infinity")] {
        let record = json_record(|record| record.set_body(number.into()));
        assert_eq!(record["body"], serde_json::json!({"doubleValue": name}));
        let Value::DoubleValue(binary) = body(Protocol::HttpBinary, number.into()) else { panic!() };
        assert_eq!(binary.to_bits(), number.to_bits());
    }
    for protocol in BOTH {
        assert_eq!(body(protocol, AnyValue::Int(i64::MIN)), Value::IntValue(i64::MIN), "more than a double holds");
    }
}

#[test]
fn what_is_nested_deeply_becomes_its_text_and_can_be_read() {
    for (protocol, as_map) in BOTH.into_iter().flat_map(|protocol| [(protocol, false), (protocol, true)]) {
        let mut value = AnyValue::from("end");
        let max_depth = if protocol == Protocol::HttpJson { 13 } else { 30 };
        for _ in 0..2_000 {
            value = if as_map {
                AnyValue::Map(Box::new(HashMap::from([(Key::new("k"), value)])))
            } else {
                AnyValue::ListAny(Box::new(vec![value]))
            };
        }
        // Decoding it was the test: prost gives up after 100 messages.
        let (mut depth, mut value) = (0, body(protocol, value));
        loop {
            let inner = match value {
                Value::ArrayValue(mut list) => list.values.remove(0),
                Value::KvlistValue(mut map) => map.values.remove(0).value.unwrap(),
                other => {
                    let (open, close) = if as_map { (r#"{"k":"#, "}") } else { ("[", "]") };
                    let rest = format!("{}\"end\"{}", open.repeat(2_000 - max_depth), close.repeat(2_000 - max_depth));
                    break assert_eq!(other, Value::StringValue(rest), "nothing is lost");
                }
            };
            (depth, value) = (depth + 1, inner.value.unwrap());
        }
        assert_eq!(depth, max_depth);
    }
}

#[test]
fn a_batch_of_any_size_is_one_request() {
    for protocol in BOTH {
        let (receiver, spool) = (Receiver::start(), spool_dir());
        receiver.answer_next(Answer::status(413));
        let service = Service::batch(exporter(&receiver, &spool).with_protocol(protocol));
        service.handle.pause();
        service.log_all("m", 1..=300);
        service.sync();
        service.handle.resume();
        service.deliver();
        let count = |request: &common::Request| {
            let request = match protocol {
                Protocol::HttpBinary => ExportLogsServiceRequest::decode(&*request.body).unwrap(),
                _ => serde_json::from_slice(&request.body).unwrap(),
            };
            request.resource_logs.iter().flat_map(|logs| &logs.scope_logs).map(|logs| logs.log_records.len()).sum()
        };
        let counts: Vec<usize> = receiver.requests().iter().map(count).collect();
        assert_eq!(counts, [300, 150, 150], "whole, and after a 413 in halves");
    }
}
