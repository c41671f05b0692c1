//! The cost of encoding a typical record, beside `serde_json` on a struct of the same shape and the encodings of
//! `opentelemetry-otlp`.
//!
//! `cargo bench -p benches --bench encoding`
//!
//! Instructions do not depend on how busy the machine is. Valgrind counts those of one pass over the records, where NAME is that of a case:
//!
//! `valgrind --tool=callgrind --toggle-collect='encoding::once*' target/release/deps/encoding-* --test NAME`

#![allow(clippy::cast_possible_wrap, clippy::cast_precision_loss, clippy::struct_field_names)]

mod records;

use std::hint::black_box;
use std::time::{Duration, UNIX_EPOCH};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use opentelemetry::logs::{AnyValue, LogRecord, Logger, Severity};
use opentelemetry::{SpanId, TraceFlags, TraceId};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::logs::tonic::group_logs_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::{LogBatch, SdkLogRecord};
use opentelemetry_spool::{Encoder, JsonEncoder, OtlpEncoder, Protocol};
use prost::Message;
use records::{Record, logged};
use serde::Serialize;

const RECORDS: usize = 512;

/// A message, five attributes and a trace context each.
fn records() -> Vec<Record> {
    logged(|logger| {
        for number in 0..RECORDS {
            let mut record = logger.create_log_record();
            record.set_timestamp(UNIX_EPOCH + Duration::from_micros(1_763_000_000_123_456 + number as u64 * 1_001));
            record.set_severity_number(Severity::Info);
            record.set_severity_text("INFO");
            record.set_target("checkout::orders");
            record.set_body(AnyValue::from(format!("order {number} was paid and handed over to the warehouse")));
            record.add_attribute("order.id", 8_000_000 + number as i64);
            record.add_attribute("customer", format!("c-{:08}", number * 7919));
            record.add_attribute("amount", number as f64 * 1.25 + 0.99);
            record.add_attribute("retried", number % 3 == 0);
            record.add_attribute("warehouse", "Zürich-West");
            let trace_id = TraceId::from_bytes((number as u128 * 0x9e37_79b9_7f4a_7c15_f39c_0001 + 1).to_be_bytes());
            let span_id = SpanId::from_bytes((number as u64 * 0x9e37_79b9_7f4a_7c15 + 1).to_be_bytes());
            record.set_trace_context(trace_id, span_id, Some(TraceFlags::SAMPLED));
            logger.emit(record);
        }
    })
}

/// The record of a service that has no need of OpenTelemetry.
#[derive(Serialize)]
struct Plain {
    r#type: &'static str,
    created: f64,
    relative_created: f64,
    message: String,
    level: Level,
    sourcecode: SourceCode,
    process: Process,
    thread: Thread,
    extra: Extra,
    logger: &'static str,
    target: &'static str,
    trace: Trace,
}

#[derive(Serialize)]
struct Level {
    number: u8,
    name: &'static str,
}

#[derive(Serialize)]
struct SourceCode {
    pathname: Option<&'static str>,
    function: Option<&'static str>,
    line: Option<u32>,
}

#[derive(Serialize)]
struct Process {
    id: u32,
    name: String,
}

#[derive(Serialize)]
struct Thread {
    id: Option<u64>,
    name: Option<&'static str>,
}

#[derive(Serialize)]
struct Extra {
    #[serde(rename = "order.id")]
    order_id: i64,
    customer: String,
    amount: f64,
    retried: bool,
    warehouse: &'static str,
}

#[derive(Serialize)]
struct Trace {
    trace_id: String,
    span_id: String,
    flags: u8,
}

fn plain_of(record: &SdkLogRecord) -> Plain {
    let attribute = |name: &str| record.attributes_iter().find(|(key, _)| key.as_str() == name).unwrap().1.clone();
    let text = |value: &AnyValue| match value {
        AnyValue::String(text) => text.to_string(),
        other => panic!("{other:?}"),
    };
    let trace = record.trace_context().unwrap();
    let created = record.timestamp().unwrap().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    Plain {
        r#type: "async-http-logging",
        created,
        relative_created: 1505.512,
        message: text(record.body().unwrap()),
        level: Level { number: 20, name: "INFO" },
        sourcecode: SourceCode { pathname: None, function: None, line: None },
        process: Process { id: std::process::id(), name: "encoding".to_owned() },
        thread: Thread { id: None, name: None },
        extra: Extra {
            order_id: match attribute("order.id") {
                AnyValue::Int(value) => value,
                other => panic!("{other:?}"),
            },
            customer: text(&attribute("customer")),
            amount: match attribute("amount") {
                AnyValue::Double(value) => value,
                other => panic!("{other:?}"),
            },
            retried: matches!(attribute("retried"), AnyValue::Boolean(true)),
            warehouse: "Zürich-West",
        },
        logger: "checkout",
        target: "checkout::orders",
        trace: Trace { trace_id: trace.trace_id.to_string(), span_id: trace.span_id.to_string(), flags: 1 },
    }
}

fn encoding(criterion: &mut Criterion) {
    let records = records();
    let plain: Vec<_> = records.iter().map(|(record, _)| plain_of(record)).collect();
    let resource: ResourceAttributesWithSchema = (&Resource::builder().with_service_name("checkout").build()).into();
    let references: Vec<_> = records.iter().map(|(record, scope)| (record, scope)).collect();
    let request = || {
        let resource_logs = group_logs_by_resource_and_scope(&LogBatch::new(&references), &resource);
        ExportLogsServiceRequest { resource_logs }
    };
    let ours = JsonEncoder::default();

    let mut group = criterion.benchmark_group("512 records");
    group.throughput(Throughput::Elements(RECORDS as u64));
    let mut out = Vec::with_capacity(1 << 20);
    group.bench_function("JsonEncoder", |bencher| {
        bencher.iter(|| once(|| encode(&ours, &records, &mut out)));
    });
    group.bench_function("serde_json, derived", |bencher| {
        bencher.iter(|| once(|| serialize(&plain, &mut out)));
    });
    group.bench_function("opentelemetry-otlp http-json", |bencher| {
        bencher.iter(|| once(|| black_box(serde_json::to_string_pretty(&request()).unwrap())));
    });
    group.bench_function("opentelemetry-otlp http-protobuf", |bencher| {
        bencher.iter(|| once(|| black_box(request().encode_to_vec())));
    });
    for protocol in [Protocol::HttpJson, Protocol::HttpBinary] {
        let ours = OtlpEncoder::new(protocol);
        group.bench_function(format!("OtlpEncoder {protocol:?}"), |bencher| {
            bencher.iter(|| once(|| encode(&ours, &records, &mut out)));
        });
    }
    group.finish();
}

/// One pass over the records: a function of its own, so that Valgrind can count it alone.
#[inline(never)]
fn once<T>(pass: impl FnOnce() -> T) -> T {
    pass()
}

fn encode(encoder: &impl Encoder, records: &[Record], out: &mut Vec<u8>) {
    out.clear();
    for (record, scope) in records {
        encoder.encode(record, scope, out).unwrap();
    }
    black_box(&out);
}

fn serialize(records: &[Plain], out: &mut Vec<u8>) {
    out.clear();
    for record in records {
        serde_json::to_writer(&mut *out, record).unwrap();
    }
    black_box(&out);
}

criterion_group!(benches, encoding);
criterion_main!(benches);
