//! A record of another process in every format.

use std::time::{Duration, UNIX_EPOCH};

use opentelemetry::logs::{AnyValue, Severity};
use opentelemetry::{InstrumentationScope, Key, KeyValue};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1 as proto;
use opentelemetry_proto::tonic::logs::v1::{ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource as ProtoResource;
use opentelemetry_sdk::Resource;
use prost::Message;
use serde_json::{Value, json};

use super::*;
use crate::config::values::Protocol;
use crate::encode::formats::FORMATS;
use crate::encode::{
    BulkEncoder, ClickHouseEncoder, Encoder, FormEncoder, JsonEncoder, LevelScale, LokiEncoder, OtlpEncoder,
    SplunkEncoder, TextEncoder, null,
};
use crate::error::BoxError;
use crate::exporter::log_exporter::{encode, framing, framing_of};

/// The id that the relay's own resource says, which no record has.
const OWN_ID: i64 = 987_654_321;
const EVERY_FIELD: &str = "{asctime}|{created}|{relativeCreated}|{levelname}|{levelno}|{severity_text}|{severity_number}|{name}|{target}|\
                           {pathname}|{funcName}|{lineno}|{process}|{processName}|{thread}|{threadName}|{attributes}|\
                           {resource[service.name]}|{resource[host.name]}|{resource[region]}|{resource[process.pid]}";

/// What a handler of Python sends, on a level between two that have names.
fn record() -> Record {
    let origin = RecordOrigin {
        resource: pairs([("service.name", "shop".into()), ("host.name", "web-7".into())]),
        process_id: Some(4242),
        process_name: Some("MainProcess".to_owned()),
        level: Some(17),
        relative_created: Some(1505.25),
        ..RecordOrigin::default()
    };
    Record {
        timestamp: Some(UNIX_EPOCH + Duration::from_micros(1_610_393_068_365_492)),
        severity: Some(Severity::Debug),
        severity_text: Some("Level 17".to_owned()),
        body: Some("order taken".into()),
        scope: InstrumentationScope::builder("shop.orders").build(),
        attributes: pairs([
            ("code.file.path", "/srv/shop/orders.py".into()),
            ("code.function.name", "take".into()),
            ("code.line.number", 12.into()),
            ("thread.id", 140_001.into()),
            ("thread.name", "Thread-1".into()),
            ("tenant", "acme".into()),
        ]),
        origin,
        ..Record::default()
    }
}

fn pairs<const N: usize>(attributes: [(&'static str, AnyValue); N]) -> Vec<(Key, AnyValue)> {
    attributes.into_iter().map(|(key, value)| (Key::from_static_str(key), value)).collect()
}

/// The relay's own resource, of which the region alone says something about the record.
fn relay() -> Resource {
    let attributes = [
        KeyValue::new("service.name", "own-service"),
        KeyValue::new("host.name", "own-host"),
        KeyValue::new("process.pid", OWN_ID),
        KeyValue::new("process.executable.name", "own-executable"),
        KeyValue::new("telemetry.sdk.language", "own-language"),
        KeyValue::new("region", "fra1"),
    ];
    Resource::builder_empty().with_schema_url(attributes, "https://own-schema").build()
}

/// A request with the record alone.
fn request(encoder: &dyn Encoder, record: &Record) -> Vec<u8> {
    let framing = framing_of(encoder, record).unwrap_or_else(|| framing(encoder));
    let mut out = Vec::new();
    let record = encode(encoder, record, &record.scope, &mut out).unwrap();
    let envelope = record.envelope;
    let is_json = !envelope.outer.is_empty() && framing.content_type().contains("json");
    if envelope.outer.is_empty() || is_json {
        let (inner, ends) = if is_json { (envelope.inner, &b"]}]}"[..]) } else { (&b""[..], &b""[..]) };
        return [framing.open(), envelope.outer, inner, record.bytes, ends, framing.close()].concat();
    }
    // Of protobuf, fields that follow one another are one message.
    let mut logs = ResourceLogs::decode(envelope.outer).unwrap();
    logs.scope_logs = vec![ScopeLogs::decode(&*[envelope.inner, record.bytes].concat()).unwrap()];
    ExportLogsServiceRequest { resource_logs: vec![logs] }.encode_to_vec()
}

/// The same from an encoder that has the relay's resource.
fn sent(mut encoder: impl Encoder, record: &Record) -> String {
    encoder.set_resource(&relay());
    String::from_utf8(request(&encoder, record)).unwrap()
}

fn sent_json(encoder: impl Encoder, record: &Record) -> Value {
    let text = sent(encoder, record);
    // Of `_bulk`, the document.
    serde_json::from_str(text.trim().lines().last().unwrap()).unwrap()
}

fn otlp(protocol: Protocol, record: &Record) -> [ExportLogsServiceRequest; 2] {
    let mut encoder = OtlpEncoder::new(protocol);
    encoder.set_resource(&relay());
    let read = |bytes: &[u8]| match protocol {
        Protocol::HttpBinary => ExportLogsServiceRequest::decode(bytes).unwrap(),
        Protocol::HttpJson => serde_json::from_slice(bytes).unwrap(),
    };
    [read(&request(&encoder, record)), read(&request(&Forwarding(encoder), record))]
}

/// An encoder around another one, whose records have no envelope.
struct Forwarding<E>(E);

impl<E: Encoder> Encoder for Forwarding<E> {
    fn framing(&self) -> crate::Framing {
        self.0.framing()
    }

    fn encode(&self, record: &dyn LogView, scope: &InstrumentationScope, out: &mut Vec<u8>) -> Result<(), BoxError> {
        self.0.encode(record, scope, out)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}

fn json_record() -> Value {
    json!({
        "type": "async-http-logging", "created": 1_610_393_068.365_492, "relative_created": 1505.25,
        "message": "order taken", "level": {"number": 17, "name": "Level 17"},
        "sourcecode": {"pathname": "/srv/shop/orders.py", "function": "take", "line": 12},
        "process": {"id": 4242, "name": "MainProcess"}, "thread": {"id": 140_001, "name": "Thread-1"},
        "extra": {"tenant": "acme"}, "logger": "shop.orders",
    })
}

fn resource() -> Value {
    json!({"service.name": "shop", "host.name": "web-7", "region": "fra1"})
}

#[test]
fn json_has_the_process_level_and_time_that_were_sent_in_both_spellings_and_on_both_scales() {
    let (record, plain) = (record(), json_record());
    assert_eq!(sent_json(JsonEncoder::default(), &record), json!([plain]));
    let mut renamed = plain.clone();
    let source_code = renamed.as_object_mut().unwrap().remove("sourcecode").unwrap();
    renamed["source_code"] = source_code;
    renamed["stack_trace"] = "".into();
    renamed["type"] = "async-http-log".into();
    assert_eq!(sent_json(JsonEncoder::http_logging_2(), &record), json!([renamed]));
    let mut with_resource = plain.clone();
    with_resource["resource"] = resource();
    with_resource["level"] = json!({"number": 5, "name": "Level 17"});
    let encoder = JsonEncoder::default().with_resource(true).with_level_scale(LevelScale::OpenTelemetry);
    assert_eq!(sent_json(encoder, &record), json!([with_resource]));
    let mut document = plain;
    document["@timestamp"] = 1_610_393_068_365_u64.into();
    assert_eq!(sent_json(BulkEncoder::default(), &record), document);
}

#[test]
fn loki_has_a_stream_of_the_process() {
    let of = |encoder: LokiEncoder, record: &Record| {
        let mut body = sent_json(encoder, record);
        let line = body["streams"][0]["values"][0][1].take();
        assert_eq!(serde_json::from_str::<Value>(line.as_str().unwrap()).unwrap(), json_record());
        body["streams"].take()
    };
    let encoder = || {
        let encoder = LokiEncoder::default().with_label("region", "{resource[region]}").unwrap();
        encoder.with_label("process", "{processName}").unwrap().with_metadata("pid", "{process}").unwrap()
    };
    let expected = json!([{
        "stream": {"service_name": "shop", "host": "web-7", "region": "fra1", "process": "MainProcess"},
        "values": [["1610393068365492000", null, {"level": "Level 17", "pid": "4242"}]],
    }]);
    assert_eq!(of(encoder(), &record()), expected);
    let labels = |resource, resource_is_complete| {
        let mut record = record();
        (record.origin.resource, record.origin.resource_is_complete) = (resource, resource_is_complete);
        of(LokiEncoder::default(), &record)[0]["stream"].take()
    };
    assert_eq!(labels(vec![], false), json!({"service_name": "own-service", "host": "own-host"}));
    assert_eq!(labels(vec![], true), json!({"service_name": "unknown_service"}), "one label at least");
    assert_eq!(labels(pairs([("service.name", null())]), true), json!({"service_name": "unknown_service"}));
    let instance = pairs([("service.instance.id", "3".into()), ("process.executable.name", "python3".into())]);
    assert_eq!(labels(instance, true), json!({"service_name": "python3", "service_instance_id": "3"}));
    assert_eq!(framing_of(&JsonEncoder::default(), &record()), None, "a format without labels has one framing");
}

#[test]
fn splunk_has_the_host_and_service_that_were_sent() {
    let event = sent_json(SplunkEncoder::default(), &record());
    let expected = json!({"time": 1_610_393_068.365_492, "host": "web-7", "source": "shop", "event": json_record()});
    assert_eq!(event, expected);
}

#[test]
fn clickhouse_has_the_resource_that_was_sent_and_the_process_in_it() {
    let row = sent_json(ClickHouseEncoder::default(), &record());
    let mut attributes = resource();
    attributes["process.pid"] = "4242".into();
    attributes["process.name"] = "MainProcess".into();
    assert_eq!(row["ResourceAttributes"], attributes);
    assert_eq!((&row["ServiceName"], &row["ResourceSchemaUrl"]), (&json!("shop"), &json!("")));
    assert_eq!((&row["SeverityText"], &row["SeverityNumber"]), (&json!("Level 17"), &json!(5)));
    assert_eq!(row["ScopeName"], "shop.orders");
    assert_eq!(
        (&row["LogAttributes"]["thread.id"], &row["LogAttributes"]["tenant"]),
        (&json!("140001"), &json!("acme"))
    );
}

#[test]
fn texts_and_forms_have_the_fields_that_were_sent() {
    let expected = "2021-01-11 19:24:28,365|1610393068.365492|1505.25|Level 17|17|Level 17|5|shop.orders||\
                    /srv/shop/orders.py|take|12|4242|MainProcess|140001|Thread-1|{\"tenant\":\"acme\"}|shop|web-7|fra1|";
    assert_eq!(sent(TextEncoder::new(EVERY_FIELD).unwrap(), &record()), expected);
    let form = sent(FormEncoder::http_handler(), &record());
    let fields: Vec<_> = form_urlencoded::parse(form.as_bytes()).into_owned().collect();
    for (name, value) in [
        ("name", "shop.orders"),
        ("levelname", "Level 17"),
        ("levelno", "17"),
        ("relativeCreated", "1505.25"),
        ("thread", "140001"),
        ("threadName", "Thread-1"),
        ("process", "4242"),
        ("processName", "MainProcess"),
        ("tenant", "acme"),
    ] {
        let found: Vec<_> = fields.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str()).collect();
        assert_eq!(found, [value], "{name}");
    }
}

fn any(value: proto::any_value::Value) -> proto::AnyValue {
    proto::AnyValue { value: Some(value) }
}

fn text(text: &str) -> proto::AnyValue {
    any(proto::any_value::Value::StringValue(text.to_owned()))
}

fn key_values<const N: usize>(pairs: [(&str, proto::AnyValue); N]) -> Vec<proto::KeyValue> {
    let pair = |(key, value): (&str, _)| {
        let (key, value) = (key.to_owned(), Some(value));
        proto::KeyValue { key, value, ..proto::KeyValue::default() }
    };
    pairs.into_iter().map(pair).collect()
}

#[test]
fn otlp_has_the_resource_that_was_sent_and_the_process_in_it() {
    for protocol in [Protocol::HttpBinary, Protocol::HttpJson] {
        for request in otlp(protocol, &record()) {
            let [logs] = &*request.resource_logs else { panic!("{request:?}") };
            let attributes = key_values([
                ("service.name", text("shop")),
                ("host.name", text("web-7")),
                ("region", text("fra1")),
                ("process.pid", any(proto::any_value::Value::IntValue(4242))),
                ("process.name", text("MainProcess")),
            ]);
            assert_eq!(logs.resource, Some(ProtoResource { attributes, ..ProtoResource::default() }));
            assert_eq!(logs.schema_url, "");
            assert_eq!(logs.scope_logs[0].scope.as_ref().unwrap().name, "shop.orders");
            let log = &logs.scope_logs[0].log_records[0];
            assert_eq!((log.severity_number, &*log.severity_text), (5, "Level 17"));
        }
    }
}

#[test]
fn nothing_of_the_relays_resource_is_merged_under_a_complete_one() {
    let mut record = record();
    record.origin.resource_is_complete = true;
    let own = json!({"service.name": "shop", "host.name": "web-7"});
    assert_eq!(sent_json(JsonEncoder::default().with_resource(true), &record)[0]["resource"], own);
    assert_eq!(sent_json(ClickHouseEncoder::default(), &record)["ResourceAttributes"], own);
    let attributes = key_values([("service.name", text("shop")), ("host.name", text("web-7"))]);
    for protocol in [Protocol::HttpBinary, Protocol::HttpJson] {
        for request in otlp(protocol, &record) {
            assert_eq!(request.resource_logs[0].resource.as_ref().unwrap().attributes, attributes);
        }
    }
    record.origin.resource.clear();
    assert_eq!(sent_json(SplunkEncoder::default(), &record)["host"], Value::Null);
    record.origin.resource_is_complete = false;
    assert_eq!(sent_json(SplunkEncoder::default(), &record)["host"], "own-host");
    let mut unnamed = JsonEncoder::default().with_resource(true);
    unnamed.set_resource(&Resource::builder_empty().with_service_name("unknown_service:relay").build());
    let json: Value = serde_json::from_slice(&request(&unnamed, &record)).unwrap();
    assert_eq!(json[0].get("resource"), None, "a service that nobody has named");
}

#[test]
fn what_was_not_sent_is_what_the_records_own_resource_says_or_unknown() {
    let mut record = record();
    record.origin = RecordOrigin::default();
    record.severity_text = None;
    let json = &sent_json(JsonEncoder::default(), &record)[0];
    assert_eq!(json["process"], json!({"id": null, "name": null}));
    assert_eq!((&json["relative_created"], &json["level"]), (&Value::Null, &json!({"number": 10, "name": "DEBUG"})));
    let template = "{process}|{processName}|{relativeCreated}|{levelname}|{levelno}";
    assert_eq!(sent(TextEncoder::new(template).unwrap(), &record), "|||DEBUG|10");

    record.origin.resource = pairs([("process.pid", 7.into()), ("process.executable.name", "python3".into())]);
    assert_eq!(sent_json(JsonEncoder::default(), &record)[0]["process"], json!({"id": 7, "name": "python3"}));
    for (level, name) in [(17, "Level 17"), (30, "WARNING"), (0, "NOTSET"), (-1, "Level -1")] {
        record.origin.level = Some(level);
        assert_eq!(sent_json(JsonEncoder::default(), &record)[0]["level"], json!({"number": level, "name": name}));
    }
    record.origin.relative_created = Some(f64::NAN);
    assert_eq!(sent_json(JsonEncoder::default(), &record)[0]["relative_created"], Value::Null);
    assert_eq!(sent(TextEncoder::new("{relativeCreated}").unwrap(), &record), "");
    record.origin.relative_created = Some(13.0);
    assert_eq!(sent(TextEncoder::new("{relativeCreated}").unwrap(), &record), "13.0");
}

/// Every encoder: those that have a name, and some with settings that show more.
fn encoders() -> Vec<(String, Box<dyn Encoder>)> {
    let mut encoders: Vec<_> = FORMATS.iter().map(|format| (format.name.to_owned(), format.encoder(None))).collect();
    let templated = FORMATS.iter().filter(|format| format.takes_template());
    encoders.extend(
        templated.map(|format| {
            (format!("{} of a template", format.name), format.encoder(Some(EVERY_FIELD.parse().unwrap())))
        }),
    );
    let whole = || JsonEncoder::default().with_resource(true);
    let loki = LokiEncoder::new(whole()).with_label("process", "{processName} {resource[process.pid]}").unwrap();
    let others: [Box<dyn Encoder>; 7] = [
        Box::new(whole().with_level_scale(LevelScale::OpenTelemetry)),
        Box::new(loki),
        Box::new(BulkEncoder::new(whole())),
        Box::new(SplunkEncoder::new(TextEncoder::new("").unwrap())),
        Box::new(OtlpEncoder::new(Protocol::HttpBinary)),
        Box::new(OtlpEncoder::new(Protocol::HttpJson)),
        Box::new(Forwarding(OtlpEncoder::new(Protocol::HttpJson))),
    ];
    encoders.extend(others.into_iter().enumerate().map(|(at, encoder)| (format!("number {at}"), encoder)));
    encoders
}

#[test]
fn no_encoder_writes_this_process_for_a_record_of_another_one() {
    let executable = std::env::current_exe().unwrap();
    let executable = executable.file_name().unwrap().to_string_lossy().into_owned();
    let mut own_ids = vec![OWN_ID.to_string()];
    // A record has small numbers of its own, and a process may have one of them.
    if !matches!(std::process::id(), 0..10_000 | 140_001 | 365_492) {
        own_ids.push(std::process::id().to_string());
    }
    let record = record();
    for resource in [Some(relay()), None] {
        for (name, mut encoder) in encoders() {
            if let Some(resource) = &resource {
                encoder.set_resource(resource);
            }
            let bytes = request(&*encoder, &record);
            let text = match ExportLogsServiceRequest::decode(&*bytes) {
                Ok(request) if !request.resource_logs.is_empty() => format!("{request:?}"),
                _ => String::from_utf8_lossy(&bytes).into_owned(),
            };
            // The ids of documents are random.
            let text = if text.starts_with("{\"create\"") { text.split_once('\n').unwrap().1.to_owned() } else { text };
            assert!(!text.contains("own-") && !text.contains(&executable), "{name}: {text}");
            let mut numbers = text.split(|c: char| !c.is_ascii_digit());
            assert!(!numbers.any(|number| own_ids.iter().any(|own| own == number)), "{name}: {text}");
        }
    }
}

#[test]
fn the_value_that_stands_for_none_is_null_wherever_there_is_one() {
    let mut record = record();
    let nested = || AnyValue::from_iter([("in", AnyValue::ListAny(Box::new(vec![null(), 1.into()])))]);
    record.body = Some(null());
    record.attributes = pairs([("none", null()), ("nested", nested())]);
    record.origin.resource = pairs([("region", null())]);

    let extra = json!({"none": null, "nested": {"in": [null, 1]}});
    let json = &sent_json(JsonEncoder::default().with_resource(true), &record)[0];
    assert_eq!((&json["extra"], &json["message"], &json["resource"]["region"]), (&extra, &json!(""), &Value::Null));
    let flat = &sent_json(JsonEncoder::default().with_max_depth(0), &record)[0]["extra"];
    assert_eq!(*flat, json!({"none": null, "nested": "{\"in\":[null,1]}"}));
    let row = sent_json(ClickHouseEncoder::default(), &record);
    assert_eq!(row["LogAttributes"], json!({"none": "", "nested": "{\"in\":[null,1]}"}), "columns of text");
    assert_eq!((&row["Body"], &row["ResourceAttributes"]["region"]), (&json!(""), &json!("")));

    let template = "{message}|{attributes[none]}|{attributes[nested]}|{attributes}|{resource[region]}";
    let written = sent(TextEncoder::new(template).unwrap(), &record);
    let [_, _, nested_text, attributes, _] = written.split('|').collect::<Vec<_>>()[..] else { panic!("{written}") };
    assert_eq!(nested_text, "{\"in\":[null,1]}");
    assert_eq!(serde_json::from_str::<Value>(attributes).unwrap(), extra);
    assert_eq!(written, format!("||{nested_text}|{attributes}|"));
    let form = FormEncoder::new().with_field("msg", "{message}").unwrap().with_attributes(true);
    assert_eq!(sent(form, &record), "msg=&none=&nested=%7B%22in%22%3A%5Bnull%2C1%5D%7D");
    let loki = LokiEncoder::default().with_label("region", "{resource[region]}").unwrap();
    let loki = sent_json(loki.with_metadata("none", "{attributes[none]}").unwrap(), &record);
    assert_eq!(loki["streams"][0]["stream"].get("region"), None, "what is empty is left out");
    assert_eq!(loki["streams"][0]["values"][0][2], json!({"level": "Level 17"}));

    let empty = proto::AnyValue { value: None };
    let list = proto::any_value::Value::ArrayValue(proto::ArrayValue {
        values: vec![empty.clone(), any(proto::any_value::Value::IntValue(1))],
    });
    let map = proto::any_value::Value::KvlistValue(proto::KeyValueList { values: key_values([("in", any(list))]) });
    for request in otlp(Protocol::HttpBinary, &record) {
        let logs = &request.resource_logs[0];
        let log = &logs.scope_logs[0].log_records[0];
        assert_eq!(log.body, Some(empty.clone()));
        assert_eq!(log.attributes, key_values([("none", empty.clone()), ("nested", any(map.clone()))]));
        assert_eq!(logs.resource.as_ref().unwrap().attributes[0], key_values([("region", empty.clone())])[0]);
    }
    let json = sent_json(OtlpEncoder::new(Protocol::HttpJson), &record);
    let log = &json["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0];
    let nested = json!({"kvlistValue": {"values": [{"key": "in", "value": {"arrayValue": {"values": [{}, {"intValue": "1"}]}}}]}});
    assert_eq!(log["body"], json!({}));
    assert_eq!(log["attributes"], json!([{"key": "none", "value": {}}, {"key": "nested", "value": nested}]));
}

#[test]
fn a_map_that_only_resembles_the_value_that_stands_for_none_is_a_map() {
    let map = |key: &'static str| AnyValue::from_iter([(key, true)]);
    let mut two = null();
    if let AnyValue::Map(entries) = &mut two {
        entries.insert("other".into(), 1.into());
    }
    for (value, is_null) in [(null(), true), (map("null"), false), (map(""), false), (two, false), ("".into(), false)] {
        let mut record = record();
        record.attributes = pairs([("value", value)]);
        assert_eq!(sent_json(JsonEncoder::default(), &record)[0]["extra"]["value"].is_null(), is_null);
        let template = TextEncoder::new("{attributes[value]}").unwrap();
        assert_eq!(sent(template, &record).contains('{'), !is_null && record.attributes[0].1 != "".into());
    }
}
