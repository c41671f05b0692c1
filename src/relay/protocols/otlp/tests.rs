use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use opentelemetry::TraceFlags;
use opentelemetry::logs::{AnyValue, Severity};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::logs::v1::ResourceLogs;
use proptest::prelude::*;
use prost::Message as _;
use serde_core::Serialize;
use serde_core::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;
use crate::encode::blocks::EnvelopeId;
use crate::encode::framing::Nesting;
use crate::encode::transcode::draw::Draw;
use crate::encode::transcode::messages::request_of;
use crate::encode::transcode::request as to_json;
use crate::encode::transcode::wire::{Fields, Wire, put_field, put_message};
use crate::encode::{null, otlp_framing};
use crate::relay::protocol::OtlpRecord;
use crate::relay::record::Record;

// --- What is read -------------------------------------------------------------------------------------------------

/// A record, as a sink is given it.
#[derive(Clone, Debug, PartialEq)]
struct Kept {
    signal: Signal,
    id: EnvelopeId,
    resource: Vec<u8>,
    scope: Vec<u8>,
    record: Vec<u8>,
    timestamp: Option<SystemTime>,
}

impl Kept {
    fn borrowed(&self) -> OtlpRecord<'_> {
        OtlpRecord {
            signal: self.signal,
            id: self.id,
            resource: &self.resource,
            scope: &self.scope,
            record: &self.record,
            timestamp: self.timestamp,
        }
    }
}

/// A log record with all that it shares.
fn with_shared(record: &OtlpRecord<'_>, arrived: SystemTime) -> Record {
    Record { scope: log::scope(record.scope), origin: log::origin(record.resource), ..log::record(record, arrived).0 }
}

impl Sink for Vec<Kept> {
    fn log(&mut self, record: &Record) {
        panic!("a record that is not OTLP: {record:?}");
    }

    fn otlp(&mut self, record: OtlpRecord<'_>) {
        self.push(Kept {
            signal: record.signal,
            id: record.id,
            resource: record.resource.to_vec(),
            scope: record.scope.to_vec(),
            record: record.record.to_vec(),
            timestamp: record.timestamp,
        });
    }
}

/// A request, in short.
struct Sent<'a> {
    method: &'a str,
    target: &'a str,
    content_type: &'a str,
    body: &'a [u8],
}

impl Sent<'_> {
    fn with<R>(&self, act: impl FnOnce(&Message<'_>) -> R) -> R {
        let headers = [("Content-Type".to_owned(), self.content_type.to_owned())];
        let (path, query) =
            self.target.split_once('?').map_or((self.target, None), |(path, query)| (path, Some(query)));
        let request = Request {
            method: self.method,
            path: path.as_bytes(),
            query: query.map(str::as_bytes),
            headers: if self.content_type.is_empty() { &[] } else { &headers },
            cut: false,
        };
        act(&Message { body: self.body, arrived: UNIX_EPOCH, request: Some(&request), file: None })
    }

    fn is_claimed(&self) -> bool {
        self.with(|message| Otlp.claims(message))
    }

    fn read(&self) -> (Result<Answer, BadMessage>, Vec<Kept>) {
        let mut kept = Vec::new();
        let answer = self.with(|message| Otlp.read(message, &mut kept));
        (answer, kept)
    }
}

fn protobuf<'a>(target: &'a str, body: &'a [u8]) -> Sent<'a> {
    Sent { method: "POST", target, content_type: "application/x-protobuf", body }
}

fn in_json<'a>(target: &'a str, body: &'a str) -> Sent<'a> {
    Sent { method: "POST", target, content_type: "application/json; charset=utf-8", body: body.as_bytes() }
}

/// The JSON of the only log record that a request holds, which is JSON of this record.
fn record_of(json: &str) -> String {
    let body = format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{json}]}}]}}]}}"#);
    let (answer, kept) = in_json("/v1/logs", &body).read();
    assert!(answer.is_ok(), "{body}: {answer:?}");
    let [kept] = &*kept else { panic!("{body}: {kept:?}") };
    let mut pieces = pieces::Pieces::new(Encoding::HttpJson);
    let encoded = pieces.encoded(&kept.borrowed()).unwrap();
    String::from_utf8(encoded.bytes.to_vec()).unwrap()
}

// --- All that there is --------------------------------------------------------------------------------------------

/// A request in protobuf of these records, each in envelopes of its own.
fn put_together(encoding: Encoding, records: &[Kept]) -> Vec<u8> {
    let (mut body, mut pieces) = (Vec::new(), pieces::Pieces::new(encoding));
    for (nth, record) in records.iter().enumerate() {
        let framing = otlp_framing(record.signal, encoding);
        let encoded = pieces.encoded(&record.borrowed()).unwrap();
        let (outer, inner) = (encoded.envelope.outer, encoded.envelope.inner);
        assert_eq!(encoded.timestamp, record.timestamp);
        match framing.nesting() {
            Nesting::Protobuf => put_message(1, &mut body, |out| {
                out.extend_from_slice(outer);
                put_field(2, Wire::Bytes(&[inner, encoded.bytes].concat()), out);
            }),
            Nesting::Json => {
                body.extend_from_slice(if nth == 0 { framing.open() } else { framing.separator() });
                body.extend_from_slice(&[outer, inner, encoded.bytes, b"]}]}"].concat());
            }
            Nesting::Flat => panic!("records of OTLP stand in envelopes"),
        }
    }
    if encoding == Encoding::HttpJson && !records.is_empty() {
        body.extend_from_slice(otlp_framing(records[0].signal, encoding).close());
    }
    body
}

/// Every record of a request with its envelopes, as a request of one.
trait Flat: prost::Message + Clone + std::fmt::Debug + Default + PartialEq + Serialize + DeserializeOwned {
    const SIGNAL: Signal;

    fn flat(self) -> Vec<Self>;
}

macro_rules! flat {
    ($request:ident, $signal:expr, $resources:ident, $scopes:ident, $records:ident) => {
        impl Flat for $request {
            const SIGNAL: Signal = $signal;

            fn flat(self) -> Vec<Self> {
                let mut flat = Vec::new();
                for mut resource in self.$resources {
                    for mut scope in std::mem::take(&mut resource.$scopes) {
                        for record in std::mem::take(&mut scope.$records) {
                            let (mut resource, mut scope) = (resource.clone(), scope.clone());
                            scope.$records.push(record);
                            resource.$scopes.push(scope);
                            flat.push(Self { $resources: vec![resource] });
                        }
                    }
                }
                flat
            }
        }
    };
}

flat!(ExportLogsServiceRequest, Signal::Logs, resource_logs, scope_logs, log_records);
flat!(ExportTraceServiceRequest, Signal::Traces, resource_spans, scope_spans, spans);
flat!(ExportMetricsServiceRequest, Signal::Metrics, resource_metrics, scope_metrics, metrics);

fn assert_keeps_all<R: Flat>(seed: u64) -> Result<(), TestCaseError> {
    let mut request = Vec::new();
    Draw(fastrand::Rng::with_seed(seed)).message(request_of(R::SIGNAL), 9, &mut request);
    let expected = R::decode(&*request).unwrap();
    let path = format!("/{}", R::SIGNAL.path());

    let (answer, kept) = protobuf(&path, &request).read();
    prop_assert_eq!(answer, Ok(answer::success(Encoding::HttpBinary, R::SIGNAL, 0)));
    let flat = expected.clone().flat();
    let as_protobuf = put_together(Encoding::HttpBinary, &kept);
    prop_assert_eq!(R::decode(&*as_protobuf).unwrap().flat(), flat.clone());
    if !kept.is_empty() {
        let as_json = put_together(Encoding::HttpJson, &kept);
        let read: R = serde_json::from_slice(&as_json).unwrap();
        prop_assert_eq!(read.flat(), flat.clone(), "{}", String::from_utf8_lossy(&as_json));
    }
    // JSON of this crate, and of the generated types, which write null for what is absent.
    for json in [to_json(R::SIGNAL, &request).unwrap(), serde_json::to_string(&expected).unwrap()] {
        let (answer, kept) = in_json(&path, &json).read();
        prop_assert_eq!(answer, Ok(answer::success(Encoding::HttpJson, R::SIGNAL, 0)));
        let read = R::decode(&*put_together(Encoding::HttpBinary, &kept)).unwrap();
        prop_assert_eq!(read.flat(), flat.clone(), "{}", json);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_record_of_a_request_passes_with_its_envelopes_in_order_in_both_encodings(seed: u64) {
        assert_keeps_all::<ExportLogsServiceRequest>(seed)?;
        assert_keeps_all::<ExportTraceServiceRequest>(seed)?;
        assert_keeps_all::<ExportMetricsServiceRequest>(seed)?;
    }

    #[test]
    fn any_bytes_are_records_or_an_error_in_proportion_to_them(
        bytes in prop::collection::vec(any::<u8>(), 0..100),
        text in r#"([\[\]{},:"\\ue0-9a. -]|null|"[a-zA-Z_]*"|"values?":|"(array|kvlist|int)Value":|"(resource|scope)Logs":|"logRecords":)*"#,
        seed: u64,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        for signal in Signal::ALL {
            let mut drawn = vec![0x0a];
            Draw(fastrand::Rng::with_seed(seed)).message(request_of(signal), 9, &mut drawn);
            let mut json = to_json(signal, &drawn[1..]).unwrap().into_bytes();
            for (at, byte) in &changes {
                *at.get_mut(&mut drawn) = *byte;
                *at.get_mut(&mut json) = *byte;
            }
            let path = format!("/{}", signal.path());
            for body in [&*bytes, text.as_bytes(), &drawn, &json] {
                for content_type in ["application/x-protobuf", "application/json", ""] {
                    let sent = Sent { method: "POST", target: &path, content_type, body };
                    sent.is_claimed();
                    let (_, kept) = sent.read();
                    let size: usize = kept.iter().map(|kept| kept.record.len()).sum();
                    prop_assert!(size <= 4 * body.len(), "{size}");
                    for kept in &kept {
                        with_shared(&kept.borrowed(), UNIX_EPOCH);
                        for encoding in [Encoding::HttpBinary, Encoding::HttpJson] {
                            let mut pieces = pieces::Pieces::new(encoding);
                            let encoded = pieces.encoded(&kept.borrowed()).map(|encoded| {
                                [encoded.envelope.outer, encoded.envelope.inner, encoded.bytes, b"]}]}"].concat()
                            });
                            if let (Encoding::HttpJson, Ok(json)) = (encoding, encoded) {
                                prop_assert!(serde_json::from_slice::<Value>(&json).is_ok(), "{json:?}");
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn any_resource_without_some_attributes_is_the_same_but_for_those(seed: u64, damage: Option<u8>) {
        let mut resource = Vec::new();
        Draw(fastrand::Rng::with_seed(seed)).message(crate::encode::transcode::messages::lists(Signal::Logs)[0].1, 4, &mut resource);
        resource.extend(damage);
        let kept = attributes::drop_attributes(&resource, &["a"]);
        let other = attributes::drop_attributes(&resource, &["never sent"]);
        prop_assert!(matches!(other, Cow::Borrowed(_)));
        if let Ok(mut expected) = ResourceLogs::decode(&*resource) {
            if let Some(resource) = &mut expected.resource {
                resource.attributes.retain(|attribute| attribute.key != "a");
            }
            prop_assert_eq!(ResourceLogs::decode(&*kept).unwrap(), expected);
        } else {
            prop_assert_eq!(&*kept, &*resource);
        }
    }
}

#[test]
fn a_record_that_is_damaged_inside_passes_as_it_came_beside_the_others() {
    // A body that is longer than its record; a text that is no UTF-8; a time that breaks off.
    let damaged: [&[u8]; 4] = [b"\x2a\x7f\x0a", b"\x1a\x01\xff", b"\x09\x00", b"\x0b"];
    for record in damaged {
        let mut request = Vec::new();
        put_message(1, &mut request, |out| {
            put_message(2, out, |out| {
                put_field(2, Wire::Bytes(b"\x10\x09"), out);
                put_field(2, Wire::Bytes(record), out);
                put_field(2, Wire::Bytes(b"\x10\x0a"), out);
            });
        });
        let (answer, kept) = protobuf("/v1/logs", &request).read();
        assert_eq!(answer, Ok(answer::success(Encoding::HttpBinary, Signal::Logs, 0)));
        let records: Vec<_> = kept.iter().map(|kept| &*kept.record).collect();
        assert_eq!(records, [b"\x10\x09", record, b"\x10\x0a"]);
        let as_json: Value = serde_json::from_slice(&put_together(Encoding::HttpJson, &kept)).unwrap();
        let found = &as_json["resourceLogs"][1]["scopeLogs"][0]["logRecords"][0];
        let body = with_shared(&kept[1].borrowed(), UNIX_EPOCH).body;
        if record == b"\x1a\x01\xff" {
            assert_eq!(*found, json!({ "severityText": "\u{fffd}" }), "what can be read of it is");
        } else {
            assert!(found["body"]["bytesValue"].is_string(), "{found}");
            assert_eq!(body, Some(AnyValue::Bytes(Box::new(record.to_vec()))));
        }
    }
}

#[test]
fn lengths_are_checked_as_far_as_the_records() {
    let cases: [&[u8]; 8] = [
        b"\x0a",
        b"\x0a\x02\x12",
        // A scope, and a record, that is longer than what it is in.
        b"\x0a\x02\x12\x01",
        b"\x0a\x04\x12\x02\x12\x01",
        // Lists of what is no message.
        b"\x08\x01",
        b"\x0a\x02\x10\x01",
        b"\x0a\x04\x12\x02\x10\x01",
        b"OTLP",
    ];
    for body in cases {
        let (answer, kept) = protobuf("/v1/logs", body).read();
        let bad = answer.expect_err("an error");
        assert_eq!((bad.status, kept.len()), (400, 0), "{body:x?}: {bad}");
        let (content_type, status) = bad.answer.expect("a status");
        assert_eq!(content_type, "application/x-protobuf");
        let fields: Vec<_> = Fields(&status).map(Result::unwrap).collect();
        assert_eq!(fields, [(1, Wire::Varint(3)), (2, Wire::Bytes(bad.reason.as_bytes()))]);
    }
}

#[test]
fn an_envelope_has_what_stands_on_both_sides_of_its_list_and_what_nobody_knows() {
    let mut request = Vec::new();
    put_message(1, &mut request, |out| {
        out.extend_from_slice(b"\x0a\x00");
        put_message(2, out, |out| {
            put_field(2, Wire::Bytes(b"\x10\x01"), out);
            out.extend_from_slice(b"\x1a\x01s\xf8\x07\x05");
            put_field(2, Wire::Bytes(b"\x10\x02"), out);
        });
        out.extend_from_slice(b"\x1a\x01r");
        put_message(2, out, |out| put_field(2, Wire::Bytes(b""), out));
    });
    let (_, kept) = protobuf("/v1/logs", &request).read();
    let found: Vec<_> = kept.iter().map(|kept| (&*kept.resource, &*kept.scope, &*kept.record)).collect();
    let (resource, scope): (&[u8], &[u8]) = (b"\x0a\x00\x1a\x01r", b"\x1a\x01s\xf8\x07\x05");
    assert_eq!(found, [(resource, scope, &b"\x10\x01"[..]), (resource, scope, b"\x10\x02"), (resource, b"", b"")]);
}

#[test]
#[cfg_attr(windows, ignore = "times have 100 ns there")]
fn the_time_of_a_record_is_its_own() {
    let time = |json: &str, list: [&str; 3]| {
        let body = format!(r#"{{"{}":[{{"{}":[{{"{}":[{json}]}}]}}]}}"#, list[0], list[1], list[2]);
        let (_, kept) = in_json("/", &body).read();
        kept[0].timestamp.map(|time| time.duration_since(UNIX_EPOCH).unwrap().as_nanos())
    };
    let logs = ["resourceLogs", "scopeLogs", "logRecords"];
    let spans = ["resourceSpans", "scopeSpans", "spans"];
    let metrics = ["resourceMetrics", "scopeMetrics", "metrics"];
    for (json, list, expected) in [
        (r#"{"timeUnixNano":"5","observedTimeUnixNano":"7"}"#, logs, Some(5)),
        (r#"{"observedTimeUnixNano":"7","timeUnixNano":"5"}"#, logs, Some(5)),
        (r#"{"timeUnixNano":"0","observedTimeUnixNano":"7"}"#, logs, Some(7)),
        ("{}", logs, None),
        (r#"{"startTimeUnixNano":"3","endTimeUnixNano":"9"}"#, spans, Some(9)),
        (r#"{"startTimeUnixNano":"3"}"#, spans, None),
        (r#"{"gauge":{"dataPoints":[{"timeUnixNano":"4"},{"asInt":"1","timeUnixNano":"6"}]}}"#, metrics, Some(6)),
        (r#"{"exponentialHistogram":{"dataPoints":[{"startTimeUnixNano":"4","timeUnixNano":"8"}]}}"#, metrics, Some(8)),
        (r#"{"summary":{"dataPoints":[]},"name":"m"}"#, metrics, None),
    ] {
        assert_eq!(time(json, list), expected, "{json}");
    }
}

// --- Requests -----------------------------------------------------------------------------------------------------

#[test]
fn a_request_is_told_by_its_path_its_content_type_and_what_it_says() {
    let logs = r#"{"resourceLogs":[]}"#;
    let form = "application/x-www-form-urlencoded";
    let cases: &[(&str, &str, &str, &str, bool)] = &[
        ("POST", "/v1/logs", "application/x-protobuf", "", true),
        ("POST", "/v1/traces", "application/x-protobuf", "", true),
        ("POST", "/otlp/v1/metrics", "application/x-protobuf; x=y", "", true),
        ("POST", "/", "application/x-protobuf", "", true),
        ("POST", "/v1/logs", "Application/JSON;charset=utf-8", logs, true),
        ("POST", "//v1/logs", "application/json", "{}", true),
        ("POST", "/v1/logs/", "application/json", "{}", true),
        ("POST", "/v1/logs", "application/json", "", true),
        ("POST", "/v1/logs", "application/json", r#"{"resourceL"#, true),
        ("POST", "/?a=b/v1/logs", "application/json", "{}", true),
        ("POST", "/", "application/json", logs, true),
        ("POST", "/any/path", "application/json", r#" {"x":[1], "resource_spans": "#, true),
        ("POST", "/", "application/json", r#"{"resourceMetrics":null}"#, true),
        ("POST", "/", "application/json", "{}", false),
        ("POST", "/v1/logs", "", logs, true),
        ("POST", "/v1/logs", "", "\n\x02\x12\x00", true),
        ("POST", "/v1/logs", "", "\n{\x12\x00", true),
        ("POST", "/", "", "\n\x02\x12\x00", false),
        ("POST", "/", "text/plain", logs, true),
        // Not OTLP, also at its path.
        ("POST", "/v1/logs", "application/json", r#"{"message":"m","created":1}"#, false),
        ("POST", "/v1/logs", "application/json", r#"[{"message":"m"}]"#, false),
        ("POST", "/v1/logs", "text/plain", "hello", false),
        ("POST", "/v1/logs", form, "msg=hello", false),
        ("GET", "/v1/logs", "", "", false),
    ];
    for &(method, target, content_type, body, expected) in cases {
        let sent = Sent { method, target, content_type, body: body.as_bytes() };
        assert_eq!(sent.is_claimed(), expected, "{method} {target} {content_type} {body}");
    }
    assert!(Otlp.repeats());
}

#[test]
fn the_signal_is_the_one_that_a_body_says_else_the_one_of_the_path() {
    for (target, body, expected) in [
        ("/v1/logs", r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{}]}]}]}"#, Signal::Logs),
        ("/", r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{}]}]}]}"#, Signal::Traces),
        ("/v1/logs", r#"{"resource_metrics":[{"scope_metrics":[{"metrics":[{}]}]}]}"#, Signal::Metrics),
    ] {
        let (answer, kept) = in_json(target, body).read();
        assert_eq!(answer, Ok(answer::success(Encoding::HttpJson, expected, 0)), "{body}");
        assert_eq!(kept.iter().map(|kept| kept.signal).collect::<Vec<_>>(), [expected], "{body}");
    }
}

#[test]
fn a_request_without_records_is_answered_in_its_encoding() {
    let answer = |content_type, body: &'static [u8]| Answer {
        no_content: false,
        names_rejected: true,
        content_type: Some(content_type),
        body: body.into(),
    };
    for body in ["{}", "", " ", r#"{"resourceLogs":null}"#, r#"{"resourceLogs":[{"scopeLogs":[]}]}"#] {
        assert_eq!(in_json("/v1/logs", body).read(), (Ok(answer("application/json", b"{}")), vec![]), "{body}");
    }
    assert_eq!(protobuf("/v1/logs", b"").read(), (Ok(answer("application/x-protobuf", b"")), vec![]));
}

#[test]
fn protobuf_to_a_path_that_says_no_signal_is_told_so() {
    let (answer, kept) = protobuf("/", b"").read();
    let bad = answer.expect_err("an error");
    assert!(bad.reason.contains("/v1/logs") && kept.is_empty(), "{bad}");
    assert_eq!(bad.status, 400);
}

#[test]
fn what_is_no_json_is_an_error_that_says_where() {
    for body in [r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{}"#, r#"{"resourceLogs":[]}{}"#, "[]", "{]"] {
        let (answer, kept) = in_json("/v1/logs", body).read();
        let bad = answer.expect_err("an error");
        assert!(bad.reason.contains("at byte") && kept.is_empty(), "{body}: {bad}");
        let (content_type, status) = bad.answer.expect("a status");
        assert_eq!(content_type, "application/json");
        let status: Value = serde_json::from_slice(&status).unwrap();
        assert_eq!(status, json!({ "code": 3, "message": bad.reason }), "{body}");
    }
}

#[test]
fn a_refusal_is_a_status_in_the_encoding_of_the_request() {
    let sent = in_json("/v1/logs", "{}");
    let refusal = |sent: &Sent<'_>, status| sent.with(|message| Otlp.refusal(message, status, "no room"));
    let expected = |code: u32| json!({ "code": code, "message": "no room" }).to_string().into_bytes();
    assert_eq!(refusal(&sent, 413), Some(("application/json", expected(8))));
    assert_eq!(refusal(&sent, 503), Some(("application/json", expected(14))));
    assert_eq!(refusal(&sent, 400), Some(("application/json", expected(3))));
    let expected = b"\x08\x0e\x12\x07no room".to_vec();
    assert_eq!(refusal(&protobuf("/v1/logs", b""), 503), Some(("application/x-protobuf", expected)));
}

#[test]
fn a_span_that_is_no_object_is_rejected_and_counted() {
    let body = r#"{"resourceSpans":[{"scopeSpans":[{"spans":["x",{"name":"a"},5,null]},7]}]}"#;
    let (answer, kept) = in_json("/v1/traces", body).read();
    let answer: Value = serde_json::from_slice(&answer.unwrap().body).unwrap();
    let expected = json!({ "partialSuccess": { "rejectedSpans": "3", "errorMessage": "they are no objects, or larger than a record may be" } });
    assert_eq!((answer, kept.len()), (expected, 1));
    let success = answer::success(Encoding::HttpBinary, Signal::Traces, 300);
    assert_eq!(*success.body, *b"\x0a\x38\x08\xac\x02\x12\x33they are no objects, or larger than a record may be");
}

// --- JSON ---------------------------------------------------------------------------------------------------------

#[test]
fn values_are_read_however_clients_write_them() {
    let cases: &[(&str, &str)] = &[
        // Integers.
        (r#"{"intValue":5}"#, r#"{"intValue":"5"}"#),
        (r#"{"intValue":"-5"}"#, r#"{"intValue":"-5"}"#),
        (r#"{"int_value":9223372036854775807}"#, r#"{"intValue":"9223372036854775807"}"#),
        (r#"{"intValue":1e3}"#, r#"{"intValue":"1000"}"#),
        (r#"{"intValue":1e+21}"#, r#"{"doubleValue":1e+21}"#),
        (r#"{"intValue":12345678901234567000}"#, r#"{"doubleValue":1.2345678901234567e+19}"#),
        (r#"{"intValue":"18446744073709551615"}"#, r#"{"stringValue":"18446744073709551615"}"#),
        (r#"{"intValue":1.5}"#, r#"{"doubleValue":1.5}"#),
        (r#"{"intValue":"many"}"#, r#"{"stringValue":"many"}"#),
        (r#"{"intValue":null}"#, "{}"),
        // Floats.
        (r#"{"doubleValue":0.5}"#, r#"{"doubleValue":0.5}"#),
        (r#"{"doubleValue":3}"#, r#"{"doubleValue":3.0}"#),
        (r#"{"doubleValue":"0.25"}"#, r#"{"doubleValue":0.25}"#),
        (r#"{"doubleValue":null}"#, "{}"),
        (r#"{"doubleValue":"NaN"}"#, r#"{"doubleValue":"NaN"}"#),
        (r#"{"doubleValue":"Infinity"}"#, r#"{"doubleValue":"Infinity"}"#),
        (r#"{"doubleValue":-Infinity}"#, r#"{"doubleValue":"-Infinity"}"#),
        // Texts.
        (
            r#"{"stringValue":"Z\u00fcrich \ud800 \ud83d\ude00"}"#,
            "{\"stringValue\":\"Z\u{fc}rich \u{fffd} \u{1f600}\"}",
        ),
        (r#"{"stringValue":5}"#, r#"{"stringValue":"5"}"#),
        (r#"{"stringValue":""}"#, r#"{"stringValue":""}"#),
        // Booleans.
        (r#"{"boolValue":false}"#, r#"{"boolValue":false}"#),
        (r#"{"boolValue":"true"}"#, r#"{"boolValue":true}"#),
        (r#"{"boolValue":0}"#, r#"{"boolValue":false}"#),
        (r#"{"boolValue":"yes"}"#, r#"{"stringValue":"yes"}"#),
        // Bytes.
        (r#"{"bytesValue":"+/8="}"#, r#"{"bytesValue":"+/8="}"#),
        (r#"{"bytesValue":"-_8"}"#, r#"{"bytesValue":"+/8="}"#),
        (r#"{"bytesValue":[251,255]}"#, r#"{"bytesValue":"+/8="}"#),
        (r#"{"bytesValue":{"0":251,"1":255}}"#, r#"{"bytesValue":"+/8="}"#),
        (r#"{"bytesValue":"no base64!"}"#, r#"{"stringValue":"no base64!"}"#),
        (r#"{"bytesValue":[256]}"#, r#"{"stringValue":"[256]"}"#),
        // Lists and maps.
        (r#"{"arrayValue":{}}"#, r#"{"arrayValue":{"values":[]}}"#),
        (r#"{"arrayValue":{"values":null}}"#, r#"{"arrayValue":{"values":[]}}"#),
        (
            r#"{"arrayValue":{"values":[{},null,{"intValue":1}]}}"#,
            r#"{"arrayValue":{"values":[{},{},{"intValue":"1"}]}}"#,
        ),
        (
            r#"{"kvlistValue":{"values":[{"key":"a"},{"key":"b","value":{"stringValue":"c"}}]}}"#,
            r#"{"kvlistValue":{"values":[{"key":"a"},{"key":"b","value":{"stringValue":"c"}}]}}"#,
        ),
        (r#"{"arrayValue":[1]}"#, r#"{"stringValue":"[1]"}"#),
        (r#"{"arrayValue":null}"#, "{}"),
        // What is no `AnyValue`.
        ("{}", "{}"),
        (r#""text""#, r#"{"stringValue":"text"}"#),
        ("7", r#"{"intValue":"7"}"#),
        ("7.5", r#"{"doubleValue":7.5}"#),
        ("true", r#"{"boolValue":true}"#),
        ("[1,[]]", r#"{"arrayValue":{"values":[{"intValue":"1"},{"arrayValue":{"values":[]}}]}}"#),
        (r#"{"a": [1]}"#, r#"{"stringValue":"{\"a\": [1]}"}"#),
        (r#"{"stringValue":"a","later":1}"#, r#"{"stringValue":"a"}"#),
    ];
    for (value, expected) in cases {
        let record = record_of(&format!(r#"{{"body":{value}}}"#));
        assert_eq!(record, format!(r#"{{"body":{expected}}}"#), "{value}");
        let record = record_of(&format!(r#"{{"attributes":[{{"key":"k","value":{value}}}]}}"#));
        assert_eq!(record, format!(r#"{{"attributes":[{{"key":"k","value":{expected}}}]}}"#), "{value}");
    }
}

#[test]
fn fields_are_read_however_clients_write_them() {
    let trace = "00112233445566778899aabbccddeeff";
    let trace_json = format!(r#"{{"traceId":"{trace}"}}"#);
    let upper = format!(r#"{{"trace_id":"{}"}}"#, trace.to_uppercase());
    let cases: &[(&str, &str)] = &[
        ("{}", "{}"),
        (r#"{"body":null,"attributes":null,"traceId":null,"timeUnixNano":null}"#, "{}"),
        (r#"{"later":{"deep":[1,{"x":null}]},"severityText":"a"}"#, r#"{"severityText":"a"}"#),
        // Times.
        (r#"{"timeUnixNano":"1700000000123456789"}"#, r#"{"timeUnixNano":"1700000000123456789"}"#),
        (r#"{"time_unix_nano":1700000000123456789}"#, r#"{"timeUnixNano":"1700000000123456789"}"#),
        (r#"{"timeUnixNano":1.700000000123456789e18}"#, r#"{"timeUnixNano":"1700000000123456789"}"#),
        (r#"{"observedTimeUnixNano":1700000000000000000.0}"#, r#"{"observedTimeUnixNano":"1700000000000000000"}"#),
        (r#"{"timeUnixNano":-1}"#, r#"{"timeUnixNano":"0"}"#),
        (r#"{"timeUnixNano":99999999999999999999}"#, r#"{"timeUnixNano":"18446744073709551615"}"#),
        (r#"{"timeUnixNano":{}}"#, "{}"),
        // Enumerations.
        (r#"{"severityNumber":9}"#, r#"{"severityNumber":9}"#),
        (r#"{"severityNumber":"9"}"#, r#"{"severityNumber":9}"#),
        (r#"{"severityNumber":"SEVERITY_NUMBER_FATAL4"}"#, r#"{"severityNumber":24}"#),
        (r#"{"severity_number":"warn"}"#, r#"{"severityNumber":13}"#),
        (r#"{"severityNumber":"loud"}"#, "{}"),
        // Ids.
        (&trace_json, &trace_json),
        (&upper, &trace_json),
        (r#"{"traceId":"ABEiM0RVZneImaq7zN3u/w=="}"#, &trace_json),
        (r#"{"traceId":"ABEiM0RVZneImaq7zN3u_w"}"#, &trace_json),
        (r#"{"spanId":"0011223344556677"}"#, r#"{"spanId":"0011223344556677"}"#),
        (r#"{"spanId":"ABEiM0RVZnc="}"#, r#"{"spanId":"0011223344556677"}"#),
        (r#"{"traceId":"","spanId":"0011"}"#, "{}"),
        (r#"{"traceId":5,"spanId":[]}"#, "{}"),
        // Others.
        (r#"{"flags":"1","droppedAttributesCount":4294967296}"#, r#"{"flags":1,"droppedAttributesCount":4294967295}"#),
        (
            r#"{"attributes":{"a":1,"b":{"stringValue":"c"}}}"#,
            r#"{"attributes":[{"key":"a","value":{"intValue":"1"}},{"key":"b","value":{"stringValue":"c"}}]}"#,
        ),
        // What is no record.
        (r#""half\ud800""#, "{\"body\":{\"stringValue\":\"half\u{fffd}\"}}"),
        ("5", r#"{"body":{"stringValue":"5"}}"#),
        (r#"[{"a" : 1}]"#, r#"{"body":{"stringValue":"[{\"a\" : 1}]"}}"#),
    ];
    for (json, expected) in cases {
        assert_eq!(record_of(json), *expected, "{json}");
    }
}

#[test]
fn points_keep_their_numbers() {
    let cases: &[(&str, &str)] = &[
        (r#"{"asInt":"5"}"#, r#"{"asInt":"5"}"#),
        (r#"{"asInt":5}"#, r#"{"asInt":"5"}"#),
        (r#"{"asInt":1e+21}"#, r#"{"asDouble":1e+21}"#),
        (r#"{"asInt":2.5}"#, r#"{"asDouble":2.5}"#),
        (r#"{"asDouble":null,"timeUnixNano":"5"}"#, r#"{"timeUnixNano":"5"}"#),
        (r#"{"asDouble":"-Infinity"}"#, r#"{"asDouble":"-Infinity"}"#),
    ];
    let metric = |metric: &str| {
        let body = format!(r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{metric}]}}]}}]}}"#);
        let (_, kept) = in_json("/v1/metrics", &body).read();
        let mut pieces = pieces::Pieces::new(Encoding::HttpJson);
        String::from_utf8(pieces.encoded(&kept[0].borrowed()).unwrap().bytes.to_vec()).unwrap()
    };
    for (point, expected) in cases {
        let sum = |point: &str, temporality: &str| {
            format!(r#"{{"sum":{{"dataPoints":[{point}],"aggregationTemporality":{temporality},"isMonotonic":true}}}}"#)
        };
        let found = metric(&sum(point, r#""AGGREGATION_TEMPORALITY_CUMULATIVE""#));
        assert_eq!(found, sum(expected, "2"), "{point}");
    }
    let histogram = |counts: &str, bounds: &str| {
        format!(r#"{{"histogram":{{"dataPoints":[{{"bucketCounts":{counts},"explicitBounds":{bounds}}}]}}}}"#)
    };
    assert_eq!(metric(&histogram(r#"[1,"2",null]"#, "[0.5,null]")), histogram(r#"["1","2","0"]"#, r#"[0.5,"NaN"]"#));
    let exponential =
        r#"{"exponentialHistogram":{"dataPoints":[{"scale":-3,"positive":{"offset":"-7","bucketCounts":[1,"300"]}}]}}"#;
    assert_eq!(metric(exponential), exponential.replace("\"-7\"", "-7").replace("[1,\"300\"]", "[\"1\",\"300\"]"));
}

fn levels(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(levels).max().unwrap_or_default(),
        Value::Object(members) => 1 + members.values().map(levels).max().unwrap_or_default(),
        _ => 0,
    }
}

/// As deep as readers of protobuf go, and no deeper: what is nested further is a text, whole.
#[test]
fn a_value_of_any_depth_is_read_by_receivers_in_both_encodings() {
    for (open, close) in [
        (r#"{"arrayValue":{"values":["#, "]}}"),
        (r#"{"kvlistValue":{"values":[{"key":"k","value":"#, "}]}}"),
        ("[", "]"),
    ] {
        for depth in [1, 29, 30, 31, 47, 48, 49, 200, 20_000] {
            let value = format!("{}{{\"stringValue\":\"x\"}}{}", open.repeat(depth), close.repeat(depth));
            let body = format!(
                r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"attributes":[{{"key":"a","value":{value}}}]}}]}}]}}]}}"#
            );
            let (answer, kept) = in_json("/v1/logs", &body).read();
            assert!(answer.is_ok(), "{depth}");
            let whole = put_together(Encoding::HttpBinary, &kept);
            let read = ExportLogsServiceRequest::decode(&*whole).unwrap();
            assert!(format!("{read:?}").contains('x'), "{depth}");
            with_shared(&kept[0].borrowed(), UNIX_EPOCH);
            // Many receivers of JSON read 64 levels.
            let json = String::from_utf8(put_together(Encoding::HttpJson, &kept)).unwrap();
            let read: Value = serde_json::from_str(&json).unwrap();
            let levels = levels(&read);
            assert!(levels <= 64 && (depth < 13 || levels > 45) && json.contains('x'), "{depth}: {levels}");
        }
    }
}

// --- Bodies that SDKs send ----------------------------------------------------------------------------------------

/// As Node's SDK sends it.
const NODE: &str = r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"checkout"}},
    {"key":"process.pid","value":{"intValue":4242}},{"key":"process.executable.name","value":{"stringValue":"node"}},
    {"key":"process.command_args","value":{"arrayValue":{"values":[{"stringValue":"/usr/bin/node"},{"stringValue":"--token=x"}]}}},
    {"key":"process.owner","value":{"stringValue":"app"}}],"droppedAttributesCount":0},"scopeLogs":[{"scope":{"name":"orders",
    "version":"1.2.3"},"logRecords":[{"timeUnixNano":"1700000000123456789","observedTimeUnixNano":"1700000000124000000",
    "severityNumber":17,"severityText":"ERROR","body":{"stringValue":"payment failed"},"eventName":"order.failed","attributes":[
    {"key":"order","value":{"intValue":7}},{"key":"huge","value":{"intValue":1e+21}},{"key":"ratio","value":{"doubleValue":null}},
    {"key":"none","value":{}},{"key":"user","value":{"kvlistValue":{"values":[{"key":"id","value":{"doubleValue":0.5}}]}}}],
    "droppedAttributesCount":0,"flags":1,"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331"}]}]}]}"#;

#[test]
fn a_record_of_another_sdk_is_a_record_for_every_format() {
    let (answer, kept) = in_json("/v1/logs", NODE).read();
    assert!(answer.is_ok());
    let arrived = UNIX_EPOCH + Duration::from_secs(9);
    let record = with_shared(&kept[0].borrowed(), arrived);
    let at = |nanos| Some(UNIX_EPOCH + Duration::from_nanos(nanos));
    assert_eq!((record.timestamp, record.observed), (at(1_700_000_000_123_456_789), at(1_700_000_000_124_000_000)));
    assert_eq!((record.severity, record.severity_text.as_deref()), (Some(Severity::Error), Some("ERROR")));
    assert_eq!(record.body, Some("payment failed".into()));
    assert_eq!(record.event_name.as_deref(), Some("order.failed"));
    let trace = record.trace.unwrap();
    let ids = (trace.trace_id.to_string(), trace.span_id.to_string(), trace.flags.map(TraceFlags::to_u8));
    assert_eq!(ids, ("0af7651916cd43dd8448eb211c80319c".into(), "b7ad6b7169203331".into(), Some(1)));
    assert_eq!((record.scope.name(), record.scope.version()), ("orders", Some("1.2.3")));
    let attributes: Vec<_> = record.attributes.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
    assert_eq!(
        attributes,
        [
            ("order", 7.into()),
            ("huge", 1e21.into()),
            ("ratio", null()),
            ("none", null()),
            ("user", AnyValue::from_iter([("id", AnyValue::from(0.5))])),
        ]
    );
    let origin = &record.origin;
    assert_eq!((origin.process_id, origin.process_name.as_deref()), (Some(4242), Some("node")));
    let keys: Vec<_> = origin.resource.iter().map(|(key, _)| key.as_str()).collect();
    let expected = ["service.name", "process.pid", "process.executable.name", "process.command_args", "process.owner"];
    assert_eq!(keys, expected);

    let dropped = attributes::drop_attributes(&kept[0].resource, &["process.command_args", "process.owner"]);
    let record = with_shared(&OtlpRecord { resource: &dropped, ..kept[0].borrowed() }, arrived);
    let keys: Vec<_> = record.origin.resource.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, expected[..3]);
}

#[test]
fn a_record_that_says_no_time_has_the_one_of_its_arrival_and_the_last_value_of_a_key_counts() {
    let body = r#"{"resourceLogs":[{"resource":{"attributes":{"a":1,"b":2,"a":3}},"schemaUrl":"r","scopeLogs":[{"schemaUrl":"s",
        "scope":{"name":"n","attributes":[{"key":"k","value":true},{"key":"l","value":[1]}]},"logRecords":["x"]}]}]}"#;
    let (_, kept) = in_json("/v1/logs", body).read();
    let arrived = UNIX_EPOCH + Duration::from_secs(9);
    let record = with_shared(&kept[0].borrowed(), arrived);
    assert_eq!((record.timestamp, record.observed, record.trace), (None, Some(arrived), None));
    assert_eq!(record.body, Some("x".into()));
    assert_eq!(record.origin.resource, [("a".into(), 3.into()), ("b".into(), 2.into())]);
    assert_eq!(record.scope.schema_url(), Some("s"));
    assert_eq!(record.scope.attributes().cloned().collect::<Vec<_>>(), [opentelemetry::KeyValue::new("k", true)]);
}

#[test]
fn a_record_of_more_values_than_memory_takes_is_cut() {
    let mut list = Vec::new();
    (0..200_000).for_each(|_| put_field(1, Wire::Bytes(b""), &mut list));
    let (mut value, mut message) = (Vec::new(), Vec::new());
    put_field(5, Wire::Bytes(&list), &mut value);
    put_field(5, Wire::Bytes(&value), &mut message);
    let read = |record: Vec<u8>| {
        let kept = Kept {
            signal: Signal::Logs,
            id: EnvelopeId::default(),
            resource: vec![],
            scope: vec![],
            record,
            timestamp: None,
        };
        with_shared(&kept.borrowed(), UNIX_EPOCH)
    };
    let record = read(message);
    let Some(AnyValue::ListAny(items)) = record.body else { panic!("{:?}", record.body) };
    assert_eq!((items.len(), items.last()), (100_001, Some(&"[too large]".into())));
    let mut message = Vec::new();
    (0..200_000).for_each(|_| put_field(6, Wire::Bytes(b""), &mut message));
    let attributes = read(message).attributes;
    assert_eq!((attributes.len(), attributes.last()), (100_001, Some(&("[too large]".into(), null()))));
}

/// A record of Node's SDK 0.223, as it sends it.
const NODE_ODD: &str = r#"{"timeUnixNano":"1795891395119000000","observedTimeUnixNano":"1795891395119000000","severityNumber":17,
    "severityText":"ERROR","body":{"stringValue":"payment failed \ud800"},"eventName":"order.failed","attributes":[
    {"key":"order","value":{"intValue":7}},{"key":"huge","value":{"intValue":1e+21}},{"key":"big","value":{"intValue":12345678901234567000}},
    {"key":"ratio","value":{"doubleValue":null}},{"key":"none","value":{}},{"key":"raw","value":{"bytesValue":"+/8="}},
    {"key":"user","value":{"kvlistValue":{"values":[{"key":"id","value":{"doubleValue":0.5}},{"key":"deep","value":{"arrayValue":{"values":[
    {"intValue":1},{"arrayValue":{"values":[]}},{"kvlistValue":{"values":[]}}]}}}]}}}],"droppedAttributesCount":0}"#;

#[test]
fn the_odd_values_of_node_are_kept() {
    let attribute = |key: &str, value: Value| json!({ "key": key, "value": value });
    let deep = json!([{ "intValue": "1" }, { "arrayValue": { "values": [] } }, { "kvlistValue": { "values": [] } }]);
    let user = [
        attribute("id", json!({ "doubleValue": 0.5 })),
        attribute("deep", json!({ "arrayValue": { "values": deep } })),
    ];
    let expected = json!({
        "timeUnixNano": "1795891395119000000",
        "observedTimeUnixNano": "1795891395119000000",
        "severityNumber": 17,
        "severityText": "ERROR",
        "body": { "stringValue": "payment failed \u{fffd}" },
        "eventName": "order.failed",
        "attributes": [
            attribute("order", json!({ "intValue": "7" })),
            attribute("huge", json!({ "doubleValue": 1e21 })),
            attribute("big", json!({ "doubleValue": 12_345_678_901_234_567_000_f64 })),
            attribute("ratio", json!({})),
            attribute("none", json!({})),
            attribute("raw", json!({ "bytesValue": "+/8=" })),
            attribute("user", json!({ "kvlistValue": { "values": user } })),
        ],
        "droppedAttributesCount": 0,
    });
    assert_eq!(serde_json::from_str::<Value>(&record_of(NODE_ODD)).unwrap(), expected);
}

/// A request of Python's SDK 1.45.2, as it sends it: a record of `logging` with `extra`, within a span.
const PYTHON: &str = "CtACCjAKGgoMc2VydmljZS5uYW1lEgoKCGNoZWNrb3V0ChIKC3Byb2Nlc3MucGlkEgMYkiESmwIKCAoGb3JkZXJzEo4CCQArdN68SewYEBEaBU\
    VSUk9SKhAKDnBheW1lbnQgZmFpbGVkMgsKBW9yZGVyEgIYBzISCgVyYXRpbxIJIQAAAAAAAPB/MggKBG5vbmUSADIjCgR1c2VyEhsyGQoXCgJp\
    ZBIRKg8KAhgBCgMKAWEKAAoCMgAyCwoDcmF3EgQ6Avv/MgoKA3N1chIDCgFhMhsKDmNvZGUuZmlsZS5wYXRoEgkKBzxzdGRpbj4yIAoSY29kZS\
    5mdW5jdGlvbi5uYW1lEgoKCDxtb2R1bGU+MhYKEGNvZGUubGluZS5udW1iZXISAhgTRQMAAABKEDLq3HaRvYjMTaKnuPI6fwhSCIbfAoeU7isD\
    Wayedt68SewY";

#[test]
fn a_record_of_pythons_sdk_passes_as_it_came_and_is_read() {
    let body = BASE64_STANDARD.decode(PYTHON).unwrap();
    let (answer, kept) = protobuf("/v1/logs", &body).read();
    assert!(answer.is_ok());
    assert_eq!(put_together(Encoding::HttpBinary, &kept), body);
    let record = with_shared(&kept[0].borrowed(), UNIX_EPOCH);
    assert_eq!((record.body, record.severity), (Some("payment failed".into()), Some(Severity::Error)));
    assert_eq!((record.scope.name(), record.origin.process_id), ("orders", Some(4242)));
    assert!(record.trace.is_some() && record.timestamp.is_some() && record.timestamp == kept[0].timestamp);
    let id = AnyValue::from_iter([AnyValue::from(1), "a".into(), null(), AnyValue::Map(Box::default())]);
    let expected: [(&str, AnyValue); 5] = [
        ("order", 7.into()),
        ("ratio", f64::INFINITY.into()),
        ("none", null()),
        ("user", AnyValue::from_iter([("id", id)])),
        ("raw", AnyValue::Bytes(Box::new(vec![0xfb, 0xff]))),
    ];
    let found = record.attributes.iter().map(|(key, value)| (key.as_str(), value.clone()));
    assert_eq!(found.take(5).collect::<Vec<_>>(), expected);
}
