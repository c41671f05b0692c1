//! A record that is logged through a bridge arrives with its trace, its place in the code, its thread and typed
//! attributes.

use common::{Receiver, Request, Service, exporter, spool_dir};
use opentelemetry::logs::{LogRecord as _, Logger as _, LoggerProvider as _, Severity};
use opentelemetry::trace::{TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, SpanId, TraceId};
use opentelemetry_appender_log::OpenTelemetryLogBridge;
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_sdk::logs::{LoggerProviderBuilder, SdkLogger, SdkLoggerProvider};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use opentelemetry_spool::CallerThreadProcessor;
use serde_json::{Value, json};
use tracing_subscriber::prelude::*;

/// Ids of a span, and the line that logged in it.
type Logged = (TraceId, SpanId, u32);

fn tracer() -> SdkTracer {
    SdkTracerProvider::builder().build().tracer("test")
}

/// The ids of the span that is active.
fn active() -> (TraceId, SpanId) {
    let context = Context::current();
    let span = context.span().span_context().clone();
    assert!(span.is_valid(), "no span is active");
    (span.trace_id(), span.span_id())
}

/// The bridge of `log`, to be named by who logs: the process, of which it could be the only logger, is that of all tests.
fn log_bridge(service: &Service) -> OpenTelemetryLogBridge<SdkLoggerProvider, SdkLogger> {
    log::set_max_level(log::LevelFilter::Trace);
    OpenTelemetryLogBridge::new(&service.provider)
}

/// The only record that arrives of what `log` logs on a thread with a name.
fn arrived(log: impl FnOnce(&Service) -> Logged + Send) -> (Value, Logged) {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let provider = SdkLoggerProvider::builder().with_log_processor(CallerThreadProcessor::new());
    let service = Service::build(exporter(&receiver, &spool), provider, LoggerProviderBuilder::with_batch_exporter);
    let logged = std::thread::scope(|scope| {
        let logging = std::thread::Builder::new().name("shop-worker".into()).spawn_scoped(scope, || log(&service));
        logging.expect("a thread").join().expect("what is logged")
    });
    service.deliver();
    let mut records: Vec<_> = receiver.requests().iter().flat_map(Request::records).collect();
    assert_eq!(records.len(), 1, "{records:#?}");
    (records.remove(0), logged)
}

/// Fails unless the record is complete, whichever way it came.
fn is_complete(record: &Value, (trace, span, line): Logged) {
    assert_eq!(record["message"], "order taken");
    assert_eq!(record["level"], json!({"number": 30, "name": "WARNING"}));
    assert_eq!(record["trace"]["trace_id"], trace.to_string());
    assert_eq!(record["trace"]["span_id"], span.to_string());
    assert_eq!(record["trace"]["flags"], 1);
    assert_eq!(record["sourcecode"]["pathname"], file!());
    assert_eq!(record["sourcecode"]["function"], module_path!());
    assert_eq!(record["sourcecode"]["line"], line);
    assert_eq!(record["thread"]["name"], "shop-worker");
    assert!(record["thread"]["id"].as_u64() > Some(0), "{}", record["thread"]);
    let typed = json!({"order": 17, "price": 2.5, "paid": true, "shop": "Zürich"});
    assert_eq!(record["extra"], typed, "nothing else, and nothing as text");
}

#[test]
fn what_tracing_logs_in_a_span_of_its_own_arrives_complete() {
    let (record, logged) = arrived(|service| {
        let subscriber = tracing_subscriber::registry()
            .with(tracing_opentelemetry::layer().with_tracer(tracer()))
            .with(OpenTelemetryTracingBridge::new(&service.provider));
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("checkout").entered();
            let (trace, id) = active();
            tracing::warn!(order = 17, price = 2.5, paid = true, shop = "Zürich", "order taken");
            let line = line!() - 1;
            drop(span);
            (trace, id, line)
        })
    });
    is_complete(&record, logged);
    assert_eq!(record["target"], module_path!());
    assert_eq!(record.get("event"), None, "the name that tracing makes up says nothing");
}

#[test]
fn what_tracing_logs_in_a_span_of_opentelemetry_arrives_complete() {
    let (record, logged) = arrived(|service| {
        let subscriber = tracing_subscriber::registry().with(OpenTelemetryTracingBridge::new(&service.provider));
        tracing::subscriber::with_default(subscriber, || {
            tracer().in_span("checkout", |_| {
                let (trace, id) = active();
                tracing::warn!(order = 17, price = 2.5, paid = true, shop = "Zürich", "order taken");
                (trace, id, line!() - 1)
            })
        })
    });
    is_complete(&record, logged);
}

#[test]
fn what_log_logs_in_a_span_arrives_complete() {
    let (record, logged) = arrived(|service| {
        let bridge = log_bridge(service);
        tracer().in_span("checkout", |_| {
            let (trace, id) = active();
            log::warn!(logger: bridge, order = 17, price = 2.5, paid = true, shop = "Zürich"; "order taken");
            (trace, id, line!() - 1)
        })
    });
    is_complete(&record, logged);
    assert_eq!(record["target"], module_path!());
}

#[test]
fn what_comes_through_the_logs_api_in_a_span_arrives_complete() {
    let (record, logged) = arrived(|service| {
        tracer().in_span("checkout", |_| {
            let (trace, id) = active();
            let logger = service.provider.logger("shop");
            let mut record = logger.create_log_record();
            record.set_severity_number(Severity::Warn);
            record.set_body("order taken".into());
            record.add_attribute("order", 17);
            record.add_attribute("price", 2.5);
            record.add_attribute("paid", true);
            record.add_attribute("shop", "Zürich");
            record.add_attribute("code.file.path", file!());
            record.add_attribute("code.line.number", i64::from(line!()));
            let line = line!() - 1;
            record.add_attribute("code.function.name", module_path!());
            logger.emit(record);
            (trace, id, line)
        })
    });
    is_complete(&record, logged);
    assert_eq!(record["logger"], "shop");
}

#[test]
fn what_is_logged_outside_of_any_span_has_no_trace() {
    let (record, _) = arrived(|service| {
        let bridge = log_bridge(service);
        log::warn!(logger: bridge, "order taken");
        (TraceId::INVALID, SpanId::INVALID, 0)
    });
    assert_eq!(record.get("trace"), None);
}
