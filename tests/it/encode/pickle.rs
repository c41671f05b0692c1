//! Frames of Python's `SocketHandler`, as Python itself reads them.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, UNIX_EPOCH};

use common::{Receiver, Service, exporter_to, skip, spool_dir};
use opentelemetry::logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity};
use opentelemetry::{Key, KeyValue, SpanId, TraceFlags, TraceId};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::{LoggerProviderBuilder, SdkLoggerProvider};
use opentelemetry_spool::PickleEncoder;
use serde_json::{Value, json};

/// Reads frames as the receiver in Python's logging cookbook does, and prints what a record holds and how it is formatted.
const RECEIVE: &str = r#"
import base64, json, logging, pickle, struct, sys

def plain(value):
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    if isinstance(value, float) and (value != value or value in (float("inf"), -float("inf"))):
        return {"float": repr(value)}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value

stream, records = sys.stdin.buffer.read(), []
while stream:
    (length,) = struct.unpack(">L", stream[:4])
    record = logging.makeLogRecord(pickle.loads(stream[4 : 4 + length]))
    formatted = logging.Formatter("%(asctime)s %(levelname)s %(name)s %(lineno)d %(message)s").format(record)
    fields = plain(vars(record))
    fields["formatted"] = formatted.split(" ", 2)[2]
    records.append(fields)
    stream = stream[4 + length :]
json.dump(records, sys.stdout)
"#;

/// The records that Python reads from frames; `None` if there is no Python, which is then said.
fn received(frames: &[u8]) -> Option<Vec<Value>> {
    let mut python = Command::new("python3");
    let python = python.args(["-c", RECEIVE]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(mut python) = python else {
        skip("there is no python3");
        return None;
    };
    python.stdin.take().expect("a pipe").write_all(frames).expect("Python reads");
    let output = python.wait_with_output().expect("Python ends");
    assert!(output.status.success(), "Python read every frame");
    Some(serde_json::from_slice(&output.stdout).expect("JSON"))
}

#[test]
fn python_reads_a_record_as_its_own() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let resource = Resource::builder_empty()
        .with_attributes([KeyValue::new("service.name", "checkout"), KeyValue::new("process.pid", 42)])
        .build();
    let builder = exporter_to(&receiver.url("/frames"), &spool).with_encoder(PickleEncoder::default());
    let provider = SdkLoggerProvider::builder().with_resource(resource);
    let service = Service::build(builder, provider, LoggerProviderBuilder::with_simple_exporter);
    service.handle.pause();
    let logger = service.provider.logger("shop.orders");
    let mut record = logger.create_log_record();
    record.set_timestamp(UNIX_EPOCH + Duration::from_micros(1_610_393_068_365_492));
    record.set_severity_number(Severity::Warn);
    record.set_body("order 100 % taken\nby Zoë 🦀".into());
    record.set_trace_context(TraceId::from(7), SpanId::from(9), Some(TraceFlags::SAMPLED));
    let deep = (0..100).fold(AnyValue::from("end"), |inner, _| AnyValue::ListAny(Box::new(vec![inner])));
    let map = AnyValue::from_iter([(Key::from("a"), AnyValue::from(1)), (Key::from("b"), AnyValue::from("two"))]);
    let attributes: [(&'static str, AnyValue); 19] = [
        ("code.file.path", "/srv/shop/orders.rs".into()),
        ("code.function.name", "shop::take".into()),
        ("code.line.number", 12.into()),
        ("thread.id", 3.into()),
        ("thread.name", "worker-1".into()),
        ("exception.stacktrace", "Full\n  at take".into()),
        ("tenant", "acme".into()),
        ("msg", "an attribute".into()),
        ("byte", 255.into()),
        ("short", 40_000.into()),
        ("negative", (-7).into()),
        ("large", i64::MAX.into()),
        ("small", i64::MIN.into()),
        ("ratio", 0.1.into()),
        ("nan", f64::NAN.into()),
        ("yes", true.into()),
        ("bytes", AnyValue::Bytes(Box::new(vec![0, 128, 255]))),
        ("list", AnyValue::ListAny(Box::new(vec![1.into(), map]))),
        ("deep", deep),
    ];
    for (key, value) in attributes {
        record.add_attribute(key, value);
    }
    logger.emit(record);
    service.log("the next one");
    service.handle.resume();
    service.deliver();

    let requests = receiver.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].header("content-type"), Some("application/x-python-pickle-frames"));
    let Some(records) = received(&requests[0].plain()) else { return };
    assert_eq!(records.len(), 2);
    let expected = json!({
        "name": "shop.orders", "msg": "order 100 % taken\nby Zoë 🦀", "args": null, "levelname": "WARNING", "levelno": 30,
        "pathname": "/srv/shop/orders.rs", "filename": "orders.rs", "module": "orders", "exc_info": null,
        "exc_text": "Full\n  at take", "stack_info": null, "lineno": 12, "funcName": "shop::take",
        "thread": 3, "threadName": "worker-1", "processName": "checkout", "process": 42, "taskName": null,
        "tenant": "acme", "msg_": "an attribute", "byte": 255, "short": 40_000, "negative": -7, "large": i64::MAX,
        "small": i64::MIN, "ratio": 0.1, "nan": {"float": "nan"}, "yes": true, "bytes": {"bytes": "AID/"},
        "list": [1, {"a": 1, "b": "two"}],
        "otelTraceID": "00000000000000000000000000000007", "otelSpanID": "0000000000000009",
        "formatted": "WARNING shop.orders 12 order 100 % taken\nby Zoë 🦀\nFull\n  at take",
    });
    for (key, value) in expected.as_object().expect("fields") {
        assert_eq!(records[0][key], *value, "{key}");
    }
    for (time, expected) in [("created", 1_610_393_068.365_492), ("msecs", 365.492)] {
        assert!(records[0][time].as_f64().is_some_and(|found| (found - expected).abs() < 1e-6), "{time}");
    }
    assert!(records[0]["relativeCreated"].as_f64() < Some(0.0), "logged before the encoder was made");
    let mut deep = &records[0]["deep"];
    for _ in 0..60 {
        deep = &deep[0];
    }
    let rest = format!("{}\"end\"{}", "[".repeat(40), "]".repeat(40));
    assert_eq!(deep.as_str(), Some(&*rest), "what is nested deeper is its JSON");
    assert_eq!((&records[1]["msg"], &records[1]["exc_text"]), (&json!("the next one"), &Value::Null));
}
