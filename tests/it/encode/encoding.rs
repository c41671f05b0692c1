//! The default encoder: the JSON that it makes of a record.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::logs::{AnyValue, LogRecord, Logger, LoggerProvider, Severity};
use opentelemetry::{Array, InstrumentationScope, Key, KeyValue, SpanId, TraceFlags, TraceId, Value as ResourceValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogProcessor, SdkLogRecord, SdkLoggerProvider};
use opentelemetry_spool::{Encoder, Framing, JsonEncoder, LevelScale, SourceCodeKey};
use proptest::prelude::*;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Value, json};

/// Encodes what is emitted, as the exporter would, and keeps the text.
#[derive(Debug)]
struct Capture {
    encoder: JsonEncoder,
    texts: Arc<Mutex<Vec<String>>>,
}

impl LogProcessor for Capture {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        let mut out = Vec::new();
        self.encoder.encode(record, scope, &mut out).unwrap();
        self.texts.lock().unwrap().push(String::from_utf8(out).unwrap());
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.encoder.set_resource(resource);
    }
}

/// Counts what encoding allocates.
#[derive(Debug, Default)]
struct Count {
    encoder: JsonEncoder,
    allocations: Arc<Mutex<Option<u64>>>,
}

impl LogProcessor for Count {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        let mut out = Vec::new();
        self.encoder.encode(record, scope, &mut out).unwrap();
        out.clear();
        let measured = allocation_counter::measure(|| self.encoder.encode(record, scope, &mut out).unwrap());
        *self.allocations.lock().unwrap() = Some(measured.count_total);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }
}

/// The records that `emit` logs through a provider of `resource`, encoded.
fn texts_of(encoder: JsonEncoder, resource: Resource, emit: impl FnOnce(&SdkLoggerProvider)) -> Vec<String> {
    let texts = Arc::default();
    let capture = Capture { encoder, texts: Arc::clone(&texts) };
    let provider = SdkLoggerProvider::builder().with_resource(resource).with_log_processor(capture).build();
    emit(&provider);
    let texts = std::mem::take(&mut *texts.lock().unwrap());
    for text in &texts {
        keys(text);
    }
    texts
}

/// A record as `fill` leaves it, encoded.
fn text_of(encoder: JsonEncoder, fill: impl FnOnce(&mut SdkLogRecord)) -> String {
    let mut texts = texts_of(encoder, Resource::builder_empty().build(), |provider| {
        let logger = provider.logger("");
        let mut record = logger.create_log_record();
        fill(&mut record);
        logger.emit(record);
    });
    assert_eq!(texts.len(), 1);
    texts.remove(0)
}

fn json_of(encoder: JsonEncoder, fill: impl FnOnce(&mut SdkLogRecord)) -> Value {
    serde_json::from_str(&text_of(encoder, fill)).unwrap()
}

fn default_json(fill: impl FnOnce(&mut SdkLogRecord)) -> Value {
    json_of(JsonEncoder::default(), fill)
}

/// The JSON of a value that is an attribute.
fn attribute(value: impl Into<AnyValue>) -> Value {
    default_json(|record| record.add_attribute("it", value))["extra"]["it"].take()
}

fn with_resource(encoder: JsonEncoder, attributes: impl IntoIterator<Item = KeyValue>) -> Value {
    let resource = Resource::builder_empty().with_attributes(attributes).build();
    let texts = texts_of(encoder, resource, |provider| {
        let logger = provider.logger("");
        logger.emit(logger.create_log_record());
    });
    serde_json::from_str(&texts[0]).unwrap()
}

/// The keys of a JSON object in their order; panics if any object in it has a key twice.
fn keys(text: &str) -> Vec<String> {
    serde_json::from_str::<Keys>(text).unwrap().0
}

struct Keys(Vec<String>);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeysVisitor;

        impl<'de> Visitor<'de> for KeysVisitor {
            type Value = Keys;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                let mut keys = Vec::new();
                while let Some((key, _)) = map.next_entry::<String, Keys>()? {
                    assert!(!keys.contains(&key), "{key:?} occurs twice");
                    keys.push(key);
                }
                Ok(Keys(keys))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Keys, A::Error> {
                while items.next_element::<Keys>()?.is_some() {}
                Ok(Keys(Vec::new()))
            }

            fn visit_str<E>(self, _: &str) -> Result<Keys, E> {
                Ok(Keys(Vec::new()))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Keys, E> {
                Ok(Keys(Vec::new()))
            }

            fn visit_i64<E>(self, _: i64) -> Result<Keys, E> {
                Ok(Keys(Vec::new()))
            }

            fn visit_u64<E>(self, _: u64) -> Result<Keys, E> {
                Ok(Keys(Vec::new()))
            }

            fn visit_f64<E>(self, _: f64) -> Result<Keys, E> {
                Ok(Keys(Vec::new()))
            }

            fn visit_unit<E>(self) -> Result<Keys, E> {
                Ok(Keys(Vec::new()))
            }
        }

        deserializer.deserialize_any(KeysVisitor)
    }
}

/// The text of a number, as it stands after its key.
fn number<'a>(text: &'a str, key: &str) -> &'a str {
    let start = text.find(&format!("\"{key}\":")).unwrap() + key.len() + 3;
    let number = &text[start..];
    &number[..number.find([',', '}']).unwrap()]
}

/// A decimal number times `10^digits`, exactly.
fn scaled(number: &str, digits: usize) -> i128 {
    let (whole, fraction) = number.split_once('.').unwrap();
    assert!((1..=digits).contains(&fraction.len()), "{number}");
    format!("{whole}{fraction:0<digits$}").parse().unwrap()
}

fn created(time: SystemTime) -> String {
    let text = text_of(JsonEncoder::default(), |record| record.set_timestamp(time));
    number(&text, "created").to_owned()
}

fn micros(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

// The schema

#[test]
fn a_full_record_is_this_text() {
    let encoder = JsonEncoder::default()
        .with_extra_fields([("datacenter", "fra1")])
        .with_tags(["checkout", "live"])
        .with_resource(true);
    let resource = Resource::builder_empty()
        .with_attributes([
            KeyValue::new("service.name", "shop"),
            KeyValue::new("process.pid", 1234),
            KeyValue::new("process.executable.name", "checkout"),
        ])
        .build();
    let texts = texts_of(encoder, resource, |provider| {
        let logger = provider.logger("app::orders");
        let mut record = logger.create_log_record();
        record.set_timestamp(UNIX_EPOCH + micros(1_610_393_068_365_492));
        record.set_observed_timestamp(UNIX_EPOCH + micros(1_610_393_069_000_000));
        record.set_severity_number(Severity::Info);
        record.set_severity_text("INFO");
        record.set_body("Some useful information...".into());
        record.set_event_name("order.placed");
        record.set_target("app::target");
        record.set_trace_context(
            TraceId::from_hex("4bf92f3577b34da6a3ce929d0e0e4736").unwrap(),
            SpanId::from_hex("00f067aa0ba902b7").unwrap(),
            Some(TraceFlags::SAMPLED),
        );
        record.add_attribute("code.file.path", "/srv/app/main.rs");
        record.add_attribute("code.function.name", "app::main");
        record.add_attribute("code.line.number", 123);
        record.add_attribute("thread.id", 7);
        record.add_attribute("thread.name", "main");
        record.add_attribute("exception.stacktrace", "it\n  broke");
        record.add_attribute("order", 42);
        record.add_attribute("total", 9.5);
        logger.emit(record);
    });

    let relative = number(&texts[0], "relative_created");
    let expected = [
        r#"{"type":"async-http-logging","created":1610393068.365492,"relative_created":"#,
        relative,
        r#","message":"Some useful information...","level":{"number":20,"name":"INFO"},"#,
        r#""sourcecode":{"pathname":"/srv/app/main.rs","function":"app::main","line":123},"#,
        r#""process":{"id":1234,"name":"checkout"},"thread":{"id":7,"name":"main"},"#,
        r#""stack_trace":"it\n  broke","tags":["checkout","live"],"#,
        r#""extra":{"datacenter":"fra1","order":42,"total":9.5},"#,
        r#""logger":"app::orders","target":"app::target","event":"order.placed","#,
        r#""trace":{"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"00f067aa0ba902b7","flags":1},"#,
        r#""resource":{"process.executable.name":"checkout","process.pid":1234,"service.name":"shop"}}"#,
    ];
    assert_eq!(texts[0], expected.concat());
}

#[test]
fn encoding_allocates_nothing() {
    let count = Count::default();
    let allocations = Arc::clone(&count.allocations);
    let provider = SdkLoggerProvider::builder().with_log_processor(count).build();
    let logger = provider.logger("checkout");
    let mut record = logger.create_log_record();
    record.set_timestamp(UNIX_EPOCH + micros(1_610_393_068_365_492));
    record.set_severity_number(Severity::Info);
    record.set_body(AnyValue::from("a \"quoted\" message\n"));
    record.set_trace_context(TraceId::from(7), SpanId::from(8), Some(TraceFlags::SAMPLED));
    record.add_attribute("exception.type", "ValueError");
    record.add_attribute("exception.message", "no such order");
    record.add_attribute("code.line.number", 12);
    record.add_attribute("order", 17);
    record.add_attribute("amount", 17.25);
    record.add_attribute("raw", AnyValue::Bytes(Box::new(vec![0, 255, 3])));
    record.add_attribute("list", vec![1, 2, 3].into_iter().collect::<AnyValue>());
    logger.emit(record);
    assert_eq!(*allocations.lock().unwrap(), Some(0));
}

#[test]
fn an_empty_record_has_the_fixed_keys_and_nulls() {
    let provider = SdkLoggerProvider::builder().build();
    let record = provider.logger("").create_log_record();
    let mut out = b"before".to_vec();
    JsonEncoder::default().encode(&record, &InstrumentationScope::default(), &mut out).unwrap();

    let text = std::str::from_utf8(&out).unwrap().strip_prefix("before").unwrap();
    let executable = std::env::current_exe().unwrap();
    let expected = json!({
        "type": "async-http-logging", "created": null, "relative_created": null, "message": "",
        "level": {"number": 0, "name": "NOTSET"},
        "sourcecode": {"pathname": null, "function": null, "line": null},
        "process": {"id": std::process::id(), "name": executable.file_name().unwrap().to_str().unwrap()},
        "thread": {"id": null, "name": null},
    });
    assert_eq!(serde_json::from_str::<Value>(text).unwrap(), expected);
    let order = ["type", "created", "relative_created", "message", "level", "sourcecode", "process", "thread"];
    assert_eq!(keys(text), order);
}

#[test]
fn the_default_framing_is_a_json_array() {
    assert_eq!(JsonEncoder::default().framing(), Framing::json_array());
}

#[test]
fn the_preset_sends_what_http_logging_2_0_0_sends() {
    let fill = |record: &mut SdkLogRecord| {
        record.set_body("Some useful information...".into());
        record.add_attribute("code.line.number", 26);
        record.add_attribute("foo", "bar");
    };
    let text = text_of(JsonEncoder::http_logging_2(), fill);
    let json: Value = serde_json::from_str(&text).unwrap();

    assert_eq!(json["type"], "async-http-log");
    assert_eq!(json["stack_trace"], "");
    assert_eq!(json["source_code"], json!({"pathname": null, "function": null, "line": 26}));
    assert_eq!(json["extra"], json!({"foo": "bar"}));
    let order = [
        "type",
        "created",
        "relative_created",
        "message",
        "level",
        "stack_trace",
        "source_code",
        "process",
        "thread",
        "extra",
    ];
    assert_eq!(keys(&text), order);
}

#[test]
fn the_preset_has_a_stack_trace_in_the_same_place() {
    let text = text_of(JsonEncoder::http_logging_2(), |record| record.add_attribute("exception.type", "Oops"));
    assert!(text.contains(r#"},"stack_trace":"Oops","source_code":{"#), "{text}");
}

#[test]
fn the_type_and_the_spelling_can_be_chosen() {
    let encoder =
        JsonEncoder::default().with_message_type("my \"type\"").with_source_code_key(SourceCodeKey::Underscored);
    let json = json_of(encoder, |_| ());
    assert_eq!(json["type"], "my \"type\"");
    assert!(json["source_code"].is_object());
    assert!(json.get("sourcecode").is_none());
}

// Time

#[test]
fn created_keeps_microseconds_exactly() {
    assert_eq!(created(UNIX_EPOCH + micros(1_610_393_068_365_492)), "1610393068.365492");
    assert_eq!(created(UNIX_EPOCH + micros(1_610_393_068_000_001)), "1610393068.000001");
    assert_eq!(created(UNIX_EPOCH + micros(1_610_393_068_365_400)), "1610393068.3654");
    assert_eq!(created(UNIX_EPOCH + micros(1_610_393_068_000_000)), "1610393068.0");
    assert_eq!(created(UNIX_EPOCH + micros(1_000_000)), "1.0");
    assert_eq!(created(UNIX_EPOCH + micros(10)), "0.00001");
    assert_eq!(created(UNIX_EPOCH), "0.0");
    // Beyond what a 64-bit float can tell apart.
    assert_eq!(created(UNIX_EPOCH + micros(99_999_999_999_999_999)), "99999999999.999999");
}

#[test]
fn created_before_1970_is_negative() {
    assert_eq!(created(UNIX_EPOCH - micros(1)), "-0.000001");
    assert_eq!(created(UNIX_EPOCH - micros(1_500_000)), "-1.5");
    assert_eq!(created(UNIX_EPOCH - micros(20_000_000)), "-20.0");
}

// The clock of Windows ticks in steps of 100 ns.
#[cfg(unix)]
#[test]
fn nanoseconds_are_rounded_down() {
    assert_eq!(created(UNIX_EPOCH + Duration::from_nanos(1_999)), "0.000001");
    assert_eq!(created(UNIX_EPOCH + Duration::from_nanos(999)), "0.0");
    assert_eq!(created(UNIX_EPOCH - Duration::from_nanos(1)), "-0.000001");
}

#[test]
fn the_observed_time_stands_in_for_the_time() {
    let time = UNIX_EPOCH + micros(5_250_000);
    let text = text_of(JsonEncoder::default(), |record| record.set_observed_timestamp(time));
    assert_eq!(number(&text, "created"), "5.25");
}

#[test]
fn relative_created_counts_milliseconds_from_the_encoders_start() {
    let before = SystemTime::now();
    let encoder = JsonEncoder::default();
    let after = SystemTime::now();
    let relative = |time: SystemTime| {
        let text = text_of(encoder.clone(), |record| record.set_timestamp(time));
        scaled(number(&text, "relative_created"), 3)
    };
    let range = |time: SystemTime| {
        let from = |origin| i128::try_from(time.duration_since(origin).unwrap().as_micros()).unwrap();
        from(after)..=from(before)
    };

    let later = after + micros(1_505_512);
    assert!(range(later).contains(&relative(later)));
    assert_eq!(relative(later + micros(1)) - relative(later), 1);
    assert_eq!(relative(later - micros(3_600_000_000)) - relative(later), -3_600_000_000);
    assert!(relative(before - micros(1_000)) < 0);
}

// Message and level

#[test]
fn a_string_body_is_the_message() {
    let json = default_json(|record| record.set_body("{\"not\": \"parsed\"}".into()));
    assert_eq!(json["message"], "{\"not\": \"parsed\"}");
}

#[test]
fn any_other_body_becomes_the_text_of_its_json() {
    let message = |body: AnyValue| default_json(|record| record.set_body(body))["message"].take();
    let list = AnyValue::from_iter([AnyValue::from("a \"quoted\" \u{2028} \u{1f980}\n"), 1.into(), 2.5.into()]);

    assert_eq!(message(42.into()), "42");
    assert_eq!(message(true.into()), "true");
    assert_eq!(message(f64::NAN.into()), r#""NaN""#);
    assert_eq!(message(b"foob"[..].into()), r#""Zm9vYg==""#);
    assert_eq!(message(list), "[\"a \\\"quoted\\\" \u{2028} \u{1f980}\\n\",1,2.5]");
    assert_eq!(message(AnyValue::from_iter([("k", false)])), r#"{"k":false}"#);
    assert_eq!(message(AnyValue::from_iter([0_i64; 0])), "[]");
}

#[test]
fn severities_are_levels_of_pythons_scale() {
    use Severity::*;
    let levels = [
        (5, "TRACE", [Trace, Trace2, Trace3, Trace4]),
        (10, "DEBUG", [Debug, Debug2, Debug3, Debug4]),
        (20, "INFO", [Info, Info2, Info3, Info4]),
        (30, "WARNING", [Warn, Warn2, Warn3, Warn4]),
        (40, "ERROR", [Error, Error2, Error3, Error4]),
        (50, "CRITICAL", [Fatal, Fatal2, Fatal3, Fatal4]),
    ];
    for (number, name, severities) in levels {
        for severity in severities {
            let json = default_json(|record| record.set_severity_number(severity));
            assert_eq!(json["level"], json!({"number": number, "name": name}), "{severity:?}");
        }
    }
}

#[test]
fn a_record_without_a_severity_number_is_not_set() {
    let json = default_json(|record| record.set_severity_text("NOTICE"));
    assert_eq!(json["level"], json!({"number": 0, "name": "NOTSET"}));
}

#[test]
fn levels_can_be_opentelemetrys_own() {
    let level = |fill: fn(&mut SdkLogRecord)| {
        json_of(JsonEncoder::default().with_level_scale(LevelScale::OpenTelemetry), fill)["level"].take()
    };
    assert_eq!(level(|record| record.set_severity_number(Severity::Warn2)), json!({"number": 14, "name": "WARN2"}));
    let both = level(|record| {
        record.set_severity_number(Severity::Fatal4);
        record.set_severity_text("emerg");
    });
    assert_eq!(both, json!({"number": 24, "name": "emerg"}));
    assert_eq!(level(|record| record.set_severity_text("notice")), json!({"number": 0, "name": "notice"}));
    assert_eq!(level(|_| ()), json!({"number": 0, "name": null}));
}

// Attributes with a key of their own

#[test]
fn the_old_attribute_names_fill_sourcecode_too() {
    let json = default_json(|record| {
        record.add_attribute("code.filepath", "/srv/old.rs");
        record.add_attribute("code.function", "run");
        record.add_attribute("code.lineno", 9);
    });
    assert_eq!(json["sourcecode"], json!({"pathname": "/srv/old.rs", "function": "run", "line": 9}));
    assert_eq!(json.get("extra"), None);
}

#[test]
fn the_new_names_win_and_a_differing_old_one_stays_in_extra() {
    let json = default_json(|record| {
        record.add_attribute("code.filepath", "/srv/old.rs");
        record.add_attribute("code.file.path", "/srv/new.rs");
        record.add_attribute("code.function", "run");
        record.add_attribute("code.function.name", "app::run");
        record.add_attribute("code.lineno", 9);
        record.add_attribute("code.line.number", 9);
    });
    assert_eq!(json["sourcecode"], json!({"pathname": "/srv/new.rs", "function": "app::run", "line": 9}));
    assert_eq!(json["extra"], json!({"code.filepath": "/srv/old.rs", "code.function": "run"}));
}

#[test]
fn the_namespace_stands_in_for_the_function_only_if_there_is_none() {
    let json = default_json(|record| record.add_attribute("code.namespace", "app::orders"));
    assert_eq!(json["sourcecode"]["function"], "app::orders");
    assert_eq!(json.get("extra"), None);

    let json = default_json(|record| {
        record.add_attribute("code.namespace", "app::orders");
        record.add_attribute("code.function", "place");
    });
    assert_eq!(json["sourcecode"]["function"], "place");
    assert_eq!(json["extra"], json!({"code.namespace": "app::orders"}));
}

#[test]
fn the_file_name_is_used_up_by_a_path_only() {
    let json = default_json(|record| {
        record.add_attribute("code.filename", "main.rs");
        record.add_attribute("code.file.path", "/srv/main.rs");
    });
    assert_eq!(json.get("extra"), None);

    let json = default_json(|record| record.add_attribute("code.filename", "main.rs"));
    assert_eq!(json["sourcecode"]["pathname"], Value::Null);
    assert_eq!(json["extra"], json!({"code.filename": "main.rs"}));
}

#[test]
fn an_attribute_of_an_unusable_type_stays_in_extra() {
    let json = default_json(|record| {
        record.add_attribute("code.file.path", 1);
        record.add_attribute("code.function.name", AnyValue::from_iter(["main"]));
        record.add_attribute("code.line.number", "abc");
        record.add_attribute("thread.id", "seven");
        record.add_attribute("thread.name", false);
        record.add_attribute("exception.stacktrace", 1.5);
    });
    assert_eq!(json["sourcecode"], json!({"pathname": null, "function": null, "line": null}));
    assert_eq!(json["thread"], json!({"id": null, "name": null}));
    assert_eq!(json.get("stack_trace"), None);
    let extra = json!({
        "code.file.path": 1, "code.function.name": ["main"], "code.line.number": "abc",
        "thread.id": "seven", "thread.name": false, "exception.stacktrace": 1.5,
    });
    assert_eq!(json["extra"], extra);
}

#[test]
fn an_old_name_stands_in_for_a_new_one_of_an_unusable_type() {
    let json = default_json(|record| {
        record.add_attribute("code.line.number", "abc");
        record.add_attribute("code.lineno", 5);
    });
    assert_eq!(json["sourcecode"]["line"], 5);
    assert_eq!(json["extra"], json!({"code.line.number": "abc"}));
}

#[test]
fn a_stack_trace_comes_from_the_attribute_and_leaves_the_exception_in_extra() {
    let json = default_json(|record| {
        record.add_attribute("exception.stacktrace", "at main.rs:1");
        record.add_attribute("exception.type", "IoError");
        record.add_attribute("exception.message", "disk full");
    });
    assert_eq!(json["stack_trace"], "at main.rs:1");
    assert_eq!(json["extra"], json!({"exception.type": "IoError", "exception.message": "disk full"}));
}

#[test]
fn an_exception_without_a_stack_trace_takes_one_line() {
    let stack_trace = |attributes: &[(&'static str, &'static str)]| {
        let mut json = default_json(|record| record.add_attributes(attributes.iter().copied()));
        assert_eq!(json.get("extra"), None);
        json["stack_trace"].take()
    };
    let kind = ("exception.type", "IoError");
    let message = ("exception.message", "disk \"full\"");
    assert_eq!(stack_trace(&[kind, message]), "IoError: disk \"full\"");
    assert_eq!(stack_trace(&[kind]), "IoError");
    assert_eq!(stack_trace(&[message]), "disk \"full\"");
    assert_eq!(stack_trace(&[]), Value::Null);
}

#[test]
fn the_tracing_bridge_fills_sourcecode() {
    use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
    use tracing_subscriber::layer::SubscriberExt;

    let mut line = 0;
    let texts = texts_of(JsonEncoder::default(), Resource::builder_empty().build(), |provider| {
        let subscriber = tracing_subscriber::registry().with(OpenTelemetryTracingBridge::new(provider));
        tracing::subscriber::with_default(subscriber, || {
            line = line!() + 1;
            tracing::warn!(name: "order.late", target: "shop", order = 42_u64, "late by {} days", 3);
        });
    });
    let json: Value = serde_json::from_str(&texts[0]).unwrap();
    assert_eq!(json["message"], "late by 3 days");
    assert_eq!(json["level"], json!({"number": 30, "name": "WARNING"}));
    assert_eq!(json["sourcecode"], json!({"pathname": file!(), "function": module_path!(), "line": line}));
    assert_eq!(json["extra"], json!({"order": 42}));
    assert_eq!((&json["target"], &json["event"]), (&json!("shop"), &json!("order.late")));
}

#[test]
fn an_event_that_was_given_no_name_has_none() {
    use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
    use tracing_subscriber::layer::SubscriberExt;

    let texts = texts_of(JsonEncoder::default(), Resource::builder_empty().build(), |provider| {
        let subscriber = tracing_subscriber::registry().with(OpenTelemetryTracingBridge::new(provider));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("named by tracing: event <file>:<line>");
            tracing::info!(name: "event of note", "named");
        });
    });
    let json: Vec<Value> = texts.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    assert_eq!((json[0].get("event"), &json[1]["event"]), (None, &json!("event of note")));
}

#[test]
fn an_error_logged_through_tracing_is_the_stack_trace() {
    use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
    use tracing_subscriber::layer::SubscriberExt;

    let texts = texts_of(JsonEncoder::default(), Resource::builder_empty().build(), |provider| {
        let subscriber = tracing_subscriber::registry().with(OpenTelemetryTracingBridge::new(provider));
        tracing::subscriber::with_default(subscriber, || {
            let error = std::io::Error::other("disk full");
            tracing::error!(error = &error as &dyn std::error::Error, "could not save");
        });
    });
    let json: Value = serde_json::from_str(&texts[0]).unwrap();
    assert_eq!(json["stack_trace"], "disk full");
    assert_eq!(json.get("extra"), None);
}

// Scope, target, event and trace

#[test]
fn an_unknown_trace_is_left_out_and_an_unknown_part_of_it_is_null() {
    let json = default_json(|record| record.set_trace_context(TraceId::INVALID, SpanId::INVALID, None));
    assert_eq!(json.get("trace"), None);

    let json = default_json(|record| record.set_trace_context(TraceId::from(10), SpanId::INVALID, None));
    let trace = json!({"trace_id": "0000000000000000000000000000000a", "span_id": null, "flags": null});
    assert_eq!(json["trace"], trace);
}

#[test]
fn a_record_within_a_span_has_its_trace() {
    use opentelemetry::Context;
    use opentelemetry::trace::{SpanContext, TraceContextExt, TraceState};

    let span = SpanContext::new(
        TraceId::from(0xabc),
        SpanId::from(0xdef),
        TraceFlags::default(),
        false,
        TraceState::default(),
    );
    let _active = Context::new().with_remote_span_context(span).attach();
    let json = default_json(|_| ());
    let trace = json!({"trace_id": "00000000000000000000000000000abc", "span_id": "0000000000000def", "flags": 0});
    assert_eq!(json["trace"], trace);
}

#[test]
fn an_empty_target_is_left_out() {
    assert_eq!(default_json(|record| record.set_target("")).get("target"), None);
}

// Process and resource

#[test]
fn the_process_is_what_the_resource_says() {
    let process =
        |attributes: &[KeyValue]| with_resource(JsonEncoder::default(), attributes.iter().cloned())["process"].take();
    let pid = KeyValue::new("process.pid", 77);
    let executable = KeyValue::new("process.executable.name", "checkoutd");
    let service = KeyValue::new("service.name", "checkout");
    let unknown = KeyValue::new("service.name", "unknown_service:checkoutd");

    let real = std::process::id();
    let own = std::env::current_exe().unwrap();
    let own = own.file_name().unwrap().to_str().unwrap();
    assert_eq!(process(&[pid, executable, service.clone()]), json!({"id": 77, "name": "checkoutd"}));
    assert_eq!(process(&[service]), json!({"id": real, "name": "checkout"}));
    assert_eq!(process(&[unknown]), json!({"id": real, "name": own}));
    assert_eq!(process(&[KeyValue::new("process.pid", "77")]), json!({"id": real, "name": own}));
}

#[test]
fn the_resource_is_written_only_if_asked_for() {
    let strings = ResourceValue::Array(Array::String(vec!["a".into(), "b".into()]));
    let attributes = [
        KeyValue::new("service.name", "checkout"),
        KeyValue::new("bool", true),
        KeyValue::new("float", f64::INFINITY),
        KeyValue::new("strings", strings),
        KeyValue::new("ints", ResourceValue::Array(Array::I64(vec![i64::MIN, i64::MAX]))),
    ];
    let json = with_resource(JsonEncoder::default(), attributes.clone());
    assert_eq!(json.get("resource"), None);

    let json = with_resource(JsonEncoder::default().with_resource(true), attributes);
    let resource = json!({
        "service.name": "checkout", "bool": true, "float": "Infinity", "strings": ["a", "b"],
        "ints": [i64::MIN, i64::MAX],
    });
    assert_eq!(json["resource"], resource);

    let json = with_resource(JsonEncoder::default().with_resource(true), []);
    assert_eq!(json.get("resource"), None);
}

// Extra, tags, duplicates and collisions

#[test]
fn fixed_fields_are_added_to_extra() {
    let encoder = JsonEncoder::default()
        .with_extra_fields([("stage", "test"), ("datacenter", "fra1")])
        .with_extra_fields([("shard", 7)])
        .with_extra_fields([("stage", "live")]);
    let json = json_of(encoder.clone(), |_| ());
    assert_eq!(json["extra"], json!({"datacenter": "fra1", "shard": 7, "stage": "live"}));

    let json = json_of(encoder, |record| record.add_attribute("shard", 8));
    assert_eq!(json["extra"], json!({"datacenter": "fra1", "shard": 8, "stage": "live"}));
}

#[test]
fn a_fixed_field_may_have_a_name_that_the_schema_uses() {
    let encoder = JsonEncoder::default().with_extra_fields([("thread.name", "fixed")]);
    let json = json_of(encoder, |record| record.add_attribute("thread.name", "main"));
    assert_eq!(json["thread"]["name"], "main");
    assert_eq!(json["extra"], json!({"thread.name": "fixed"}));
}

#[test]
fn tags_are_a_list_beside_extra() {
    let json = json_of(JsonEncoder::default().with_tags(["a", "b"]), |_| ());
    assert_eq!(json["tags"], json!(["a", "b"]));
    assert_eq!(json_of(JsonEncoder::default().with_tags([""; 0]), |_| ()).get("tags"), None);
}

#[test]
fn the_extra_key_can_be_chosen() {
    let encoder = JsonEncoder::default().with_extra_key("more \"fields\"");
    let json = json_of(encoder, |record| record.add_attribute("a", 1));
    assert_eq!(json["more \"fields\""], json!({"a": 1}));
    assert_eq!(json.get("extra"), None);
}

#[test]
fn an_extra_key_of_the_schema_gets_an_underscore() {
    let encoder = JsonEncoder::default().with_resource(true).with_tags(["a"]);
    let resource = || Resource::builder_empty().with_attribute(KeyValue::new("service.name", "checkout")).build();
    let emit = |provider: &SdkLoggerProvider| {
        let logger = provider.logger("logger");
        let mut record = logger.create_log_record();
        record.set_target("target");
        record.set_event_name("event");
        record.set_trace_context(TraceId::from(1), SpanId::from(1), None);
        record.add_attribute("exception.stacktrace", "trace");
        record.add_attribute("a", 1);
        logger.emit(record);
    };
    let all = keys(&texts_of(encoder.clone(), resource(), emit)[0]);
    assert_eq!(all.len(), 16);
    for key in all.iter().filter(|key| *key != "extra") {
        let text = texts_of(encoder.clone().with_extra_key(key), resource(), emit).remove(0);
        let json: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json[format!("{key}_")], json!({"a": 1}), "{key}");
        assert!(json.get(key).is_some(), "{key}");
    }

    let encoder = encoder.with_extra_key("source_code").with_source_code_key(SourceCodeKey::Underscored);
    assert!(keys(&texts_of(encoder, resource(), emit)[0]).contains(&"source_code_".to_owned()));
}

#[test]
fn attributes_named_like_keys_of_the_schema_are_in_extra() {
    let json = default_json(|record| {
        record.set_body("body".into());
        record.add_attributes([("message", "a"), ("type", "b"), ("extra", "c"), ("", "d")]);
    });
    assert_eq!((&json["message"], &json["type"]), (&json!("body"), &json!("async-http-logging")));
    assert_eq!(json["extra"], json!({"message": "a", "type": "b", "extra": "c", "": "d"}));
}

#[test]
fn the_last_of_duplicate_attributes_wins() {
    let json = default_json(|record| {
        record.add_attributes([("a", 1), ("b", 1), ("a", 2), ("c", 1), ("a", 3), ("b", 2)]);
    });
    assert_eq!(json["extra"], json!({"a": 3, "b": 2, "c": 1}));
}

#[test]
fn the_last_of_many_duplicate_attributes_wins() {
    for count in [31, 32, 33, 34, 20_000] {
        let json = default_json(|record| {
            record.add_attributes((0..count).map(|at| (format!("key {}", at % 10), at)));
        });
        let expected: Value = (count - 10..count).map(|at| (format!("key {}", at % 10), json!(at))).collect();
        assert_eq!(json["extra"], expected);
    }
}

#[test]
fn the_last_of_duplicate_attributes_is_also_the_one_that_is_used() {
    let json = default_json(|record| {
        record.add_attribute("code.line.number", 1);
        record.add_attribute("code.line.number", 2);
        record.add_attribute("thread.id", 7);
        record.add_attribute("thread.id", "seven");
    });
    assert_eq!(json["sourcecode"]["line"], 2);
    assert_eq!(json["thread"]["id"], Value::Null);
    assert_eq!(json["extra"], json!({"thread.id": "seven"}));
}

// Values

#[test]
fn a_float_that_json_cannot_hold_becomes_a_string() {
    assert_eq!(attribute(f64::NAN), "NaN");
    assert_eq!(attribute(f64::INFINITY), "Infinity");
    assert_eq!(attribute(f64::NEG_INFINITY), "-Infinity");
    assert_eq!(attribute(AnyValue::from_iter([f64::NAN])), json!(["NaN"]));
}

#[test]
fn numbers_are_written_exactly() {
    let text = |value: AnyValue| {
        let text = text_of(JsonEncoder::default(), |record| record.add_attribute("it", value));
        number(&text, "it").to_owned()
    };
    assert_eq!(text(i64::MAX.into()), "9223372036854775807");
    assert_eq!(text(i64::MIN.into()), "-9223372036854775808");
    assert_eq!(text(9_007_199_254_740_993_i64.into()), "9007199254740993");
    assert_eq!(text(0.1.into()), "0.1");
    assert_eq!(text(1.0.into()), "1.0");
    assert_eq!(text((-0.0).into()), "-0.0");
    assert_eq!(text(f64::MAX.into()).parse(), Ok(f64::MAX));
    assert_eq!(text(5e-324.into()).parse(), Ok(5e-324));
}

#[test]
fn bytes_become_padded_base64_of_the_standard_alphabet() {
    assert_eq!(attribute(&[0xfb, 0xff, 0xfe, 0x3e][..]), "+//+Pg==");
    assert_eq!(attribute(&[0xfb, 0xff][..]), "+/8=");
    assert_eq!(attribute(&b""[..]), "");
}

#[test]
fn lists_and_maps_keep_their_shape() {
    let map = AnyValue::from_iter([
        ("list", AnyValue::from_iter([AnyValue::from(1), "two".into(), 3.5.into(), false.into()])),
        ("bytes", b"foobar"[..].into()),
        ("empty \"map\"", AnyValue::from_iter([("", 0); 0])),
    ]);
    let expected = json!({"list": [1, "two", 3.5, false], "bytes": "Zm9vYmFy", "empty \"map\"": {}});
    assert_eq!(attribute(map), expected);
}

#[test]
fn hostile_strings_survive_wherever_they_stand() {
    let hostile: String = ('\0'..='\u{a0}')
        .chain("\"\\/\u{2028}\u{2029}\u{feff}\u{fffd}\u{ffff}\u{10ffff}\u{1f980}e\u{301}".chars())
        .collect();
    let encoder = JsonEncoder::default()
        .with_message_type(&hostile)
        .with_tags([&hostile])
        .with_extra_key(&hostile)
        .with_extra_fields([("fixed", hostile.clone())])
        .with_resource(true);
    let attributes = [KeyValue::new("process.executable.name", hostile.clone())];
    let resource = Resource::builder_empty().with_attributes(attributes).build();
    let texts = texts_of(encoder, resource, |provider| {
        let logger = provider.logger(hostile.clone());
        let mut record = logger.create_log_record();
        record.set_body(hostile.clone().into());
        record.set_target(hostile.clone());
        record.add_attribute("code.file.path", hostile.clone());
        record.add_attribute("exception.type", hostile.clone());
        record.add_attribute("exception.message", hostile.clone());
        record.add_attribute(hostile.clone(), AnyValue::from_iter([(hostile.clone(), hostile.clone())]));
        logger.emit(record);
    });
    assert!(texts[0].bytes().all(|byte| byte >= 0x20));

    let json: Value = serde_json::from_str(&texts[0]).unwrap();
    for place in [
        &json["type"],
        &json["tags"][0],
        &json["message"],
        &json["target"],
        &json["logger"],
        &json["sourcecode"]["pathname"],
        &json["process"]["name"],
        &json["resource"]["process.executable.name"],
        &json[&hostile]["fixed"],
        &json[&hostile][&hostile][&hostile],
    ] {
        assert_eq!(place, &hostile);
    }
    assert_eq!(json["stack_trace"], format!("{hostile}: {hostile}"));
}

#[test]
fn a_body_of_ten_megabytes_survives() {
    let body = "a \"line\"\n\u{1f980}".repeat(10_000_000 / 13);
    let json = default_json(|record| record.set_body(body.clone().into()));
    assert!(json["message"] == body);

    let json = default_json(|record| record.set_body(AnyValue::from_iter([body.clone()])));
    let inner: Value = serde_json::from_str(json["message"].as_str().unwrap()).unwrap();
    assert!(inner == json!([body]));
}

// Depth

fn nested_lists(levels: usize) -> AnyValue {
    (0..levels).fold(AnyValue::from("core"), |inner, _| AnyValue::ListAny(Box::new(vec![inner])))
}

fn nested_maps(levels: usize) -> AnyValue {
    (0..levels).fold(AnyValue::from("core"), |inner, _| {
        AnyValue::Map(Box::new(HashMap::from([(Key::from_static_str("k"), inner)])))
    })
}

#[test]
fn what_is_nested_deeper_than_sixty_levels_becomes_its_text() {
    let lists = |levels, core: &str| format!(r#""it":{}"{core}"{}"#, "[".repeat(levels), "]".repeat(levels));
    let maps = |levels, core: &str| format!(r#""it":{}"{core}"{}"#, r#"{"k":"#.repeat(levels), "}".repeat(levels));
    let text = |value| text_of(JsonEncoder::default(), |record| record.add_attribute("it", value));

    assert!(text(nested_lists(60)).contains(&lists(60, "core")));
    assert!(text(nested_lists(62)).contains(&lists(60, r#"[[\"core\"]]"#)));
    assert!(text(nested_maps(60)).contains(&maps(60, "core")));
    assert!(text(nested_maps(61)).contains(&maps(60, r#"{\"k\":\"core\"}"#)));
}

#[test]
fn no_record_of_a_batch_is_deeper_than_sixty_four_levels_of_json() {
    let text = text_of(JsonEncoder::default(), |record| record.add_attribute("it", nested_maps(100)));
    let (mut depth, mut deepest, mut in_text, mut escaped) = (0, 0, false, false);
    for byte in format!("[{text}]").bytes() {
        match byte {
            _ if std::mem::take(&mut escaped) => {}
            b'\\' => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => depth += 1,
            b']' | b'}' if !in_text => depth -= 1,
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    assert_eq!((depth, deepest), (0, 63));
}

#[test]
fn the_depth_can_be_chosen_up_to_256() {
    let encoder = |depth| JsonEncoder::default().with_max_depth(depth);
    let json = json_of(encoder(0), |record| {
        record.set_body(nested_lists(1));
        record.add_attribute("map", nested_maps(1));
        record.add_attribute("text", "text");
    });
    assert_eq!(json["message"], r#"["core"]"#, "a text is of any depth");
    assert_eq!(json["extra"], json!({"map": r#"{"k":"core"}"#, "text": "text"}));

    let json = json_of(encoder(1), |record| record.add_attribute("map", nested_maps(2)));
    assert_eq!(json["extra"]["map"], json!({"k": r#"{"k":"core"}"#}));

    let mut record = SdkLoggerProvider::builder().build().logger("").create_log_record();
    record.add_attribute("it", nested_lists(257));
    let mut text = Vec::new();
    encoder(usize::MAX).encode(&record, &InstrumentationScope::default(), &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains(&format!(r#"{}"[\"core\"]"{}"#, "[".repeat(256), "]".repeat(256))), "{text}");
}

#[test]
fn values_nested_ten_thousand_deep_need_little_stack() {
    // Dropping such a value is the SDK's, and takes more stack than a thread has.
    let deep = std::thread::Builder::new().stack_size(256 << 20).spawn(|| {
        let provider = SdkLoggerProvider::builder().build();
        let mut record = provider.logger("").create_log_record();
        record.set_body(nested_maps(10_000));
        record.add_attribute("lists", nested_lists(10_000));
        record.add_attribute("maps", nested_maps(10_000));
        record.add_attribute("code.line.number", nested_lists(10_000));
        let mut out = Vec::new();
        std::thread::scope(|scope| {
            let encode = || {
                let encoder = JsonEncoder::default().with_max_depth(usize::MAX);
                encoder.encode(&record, &InstrumentationScope::default(), &mut out).unwrap();
            };
            std::thread::Builder::new().stack_size(1 << 20).spawn_scoped(scope, encode).unwrap();
        });
        out
    });
    let text = String::from_utf8(deep.unwrap().join().unwrap()).unwrap();
    assert_eq!(text.matches("core").count(), 4);
    assert_eq!(text.matches('[').count(), 20_000, "all of it");
}

// Properties

/// The value that must come back when the JSON is parsed.
fn expected(value: &AnyValue) -> Value {
    use base64::prelude::{BASE64_STANDARD, Engine};

    match value {
        AnyValue::Int(value) => json!(value),
        AnyValue::Double(value) if value.is_nan() => json!("NaN"),
        AnyValue::Double(value) if value.is_infinite() => json!(if *value > 0.0 { "Infinity" } else { "-Infinity" }),
        AnyValue::Double(value) => json!(value),
        AnyValue::String(value) => json!(value.as_str()),
        AnyValue::Boolean(value) => json!(value),
        AnyValue::Bytes(value) => json!(BASE64_STANDARD.encode(&**value)),
        AnyValue::ListAny(items) => items.iter().map(expected).collect(),
        AnyValue::Map(entries) => entries.iter().map(|(key, value)| (key.to_string(), expected(value))).collect(),
        other => panic!("{other:?} is unknown"),
    }
}

fn any_text() -> impl Strategy<Value = String> {
    proptest::collection::vec(prop_oneof![any::<char>(), proptest::char::range('\0', '\u{7f}')], 0..12)
        .prop_map(String::from_iter)
}

fn any_value() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(AnyValue::Int),
        // serde_json, as built here, may read the last bit of a float wrongly; floats have a property of their own.
        (any::<i32>(), 0..8).prop_map(|(value, shift)| AnyValue::Double(f64::from(value) / f64::from(1 << shift))),
        prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(f64::NEG_INFINITY)].prop_map(AnyValue::Double),
        any_text().prop_map(AnyValue::from),
        any::<bool>().prop_map(AnyValue::Boolean),
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| AnyValue::Bytes(Box::new(bytes))),
    ];
    leaf.prop_recursive(6, 64, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(AnyValue::from_iter),
            proptest::collection::vec((any_text(), inner), 0..6).prop_map(AnyValue::from_iter),
        ]
    })
}

/// In microseconds since 1970: for Windows, time begins in 1601.
const EARLIEST_TIME: i64 = if cfg!(windows) { -11_644_473_600_000_000 } else { -LATEST_TIME };
const LATEST_TIME: i64 = 100_000_000_000_000_000;

proptest! {
    #![proptest_config(common::proptest_config())]

    #[test]
    fn any_value_survives_as_an_attribute(value in any_value(), key in any_text()) {
        let json = default_json(|record| record.add_attribute(key.clone(), value.clone()));
        prop_assert_eq!(&json["extra"][key], &expected(&value));
    }

    #[test]
    fn any_body_survives_as_text(body in any_value()) {
        let json = default_json(|record| record.set_body(body.clone()));
        let message = json["message"].as_str().unwrap();
        if let AnyValue::String(text) = &body {
            prop_assert_eq!(message, text.as_str());
        } else {
            prop_assert_eq!(serde_json::from_str::<Value>(message).unwrap(), expected(&body));
        }
    }

    #[test]
    fn any_float_is_read_back_to_the_bit(float in proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL) {
        let text = text_of(JsonEncoder::default(), |record| record.add_attribute("it", float));
        prop_assert_eq!(number(&text, "it").parse::<f64>().unwrap().to_bits(), float.to_bits());
    }

    #[test]
    fn any_time_keeps_its_microseconds(time in EARLIEST_TIME..LATEST_TIME) {
        let distance = micros(time.unsigned_abs());
        let created = created(if time < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance });
        prop_assert_eq!(scaled(&created, 6), i128::from(time));
        prop_assert!(serde_json::from_str::<f64>(&created).is_ok());
    }

    #[test]
    fn the_last_of_any_duplicates_wins(keys in proptest::collection::vec(0..20_u8, 1..60)) {
        let json = default_json(|record| {
            record.add_attributes(keys.iter().enumerate().map(|(at, key)| (format!("{key}"), at.to_string())));
        });
        let last: HashMap<_, _> = keys.iter().enumerate().map(|(at, key)| (key.to_string(), at.to_string())).collect();
        prop_assert_eq!(&json["extra"], &json!(last));
    }
}
