//! The service: logs with `tracing` macros on several threads, each record in a span, through the OpenTelemetry SDK and the spool.
//!
//! An application can copy [`main`]. It runs in a process of its own, which the story kills.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use opentelemetry::logs::AnyValue;
use opentelemetry::trace::{TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, InstrumentationScope, KeyValue};
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_sdk::logs::{SdkLogRecord, SdkLoggerProvider};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, SpanData};
use opentelemetry_spool::{
    BatchContext, BoxError, CallerThreadProcessor, ExporterBuilder, HeaderMap, LogExporter, Protocol, RetryPolicy,
    SpanExporter, SpoolEvent, SpoolHandle, SpoolProcessor,
};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

use crate::report::Report;

/// The tenants of the service: each has a thread, a partition of the spool and an `X-Tenant` header.
pub(crate) const TENANTS: [&str; 4] = ["acme", "globex", "initech", "umbrella"];
/// The rate of all threads together, of records and of spans; sleeping is not exact, so the real rate is a little lower.
pub(crate) const RECORDS_PER_SECOND: u32 = 500;

/// Logs until standard input is closed, then ends with everything delivered.
pub(crate) fn main(run: &str, url: &str, spool_dir: &str) -> Result<(), BoxError> {
    let opening = Instant::now();
    let logs = log_exporter(url, spool_dir)?;
    let spans = span_exporter(url, spool_dir)?;
    let handles = [logs.handle(), spans.handle()];

    // With a journal a record is in the spool when the macro returns, and a span when it ends: a kill takes neither.
    let loggers = SdkLoggerProvider::builder()
        .with_log_processor(CallerThreadProcessor::new()) // before the processor that encodes the record
        .with_log_processor(SpoolProcessor::builder(logs).with_journal(true).build()?)
        .build();
    let tracers = SdkTracerProvider::builder()
        .with_span_processor(SpoolProcessor::builder(spans).with_journal(true).build()?)
        .build();
    Report::Opened { millis: u64::try_from(opening.elapsed().as_millis())? }.send();

    // Only the service's own events: those of the HTTP client are not for the endpoint.
    let own_records = Targets::new().with_target(env!("CARGO_CRATE_NAME"), LevelFilter::INFO);
    tracing_subscriber::registry().with(OpenTelemetryTracingBridge::new(&loggers).with_filter(own_records)).init();

    work(run.parse()?, &tracers.tracer("orders"), &handles)?;

    loggers.force_flush()?; // committed: synced to disk
    tracers.force_flush()?;
    for handle in handles {
        handle.flush(Duration::from_secs(10))?; // from the spool to the endpoint: delivered
    }
    loggers.shutdown()?;
    tracers.shutdown()?;
    Ok(())
}

/// The exporter of log records, with its partitions.
fn log_exporter(url: &str, spool_dir: &str) -> Result<LogExporter, BoxError> {
    let builder = LogExporter::builder().with_endpoint(format!("{url}/ingest?source=quickstart"));
    Ok(configured(builder, spool_dir).with_partition_key(tenant_of).build()?)
}

/// The same for spans, in the same directory.
fn span_exporter(url: &str, spool_dir: &str) -> Result<SpanExporter, BoxError> {
    let builder = SpanExporter::builder().with_endpoint(format!("{url}/v1/traces")).with_protocol(Protocol::HttpJson);
    Ok(configured(builder, spool_dir).with_partition_key(tenant_of_span).build()?)
}

/// The settings that both have.
fn configured<S>(builder: ExporterBuilder<S>, spool_dir: &str) -> ExporterBuilder<S> {
    let mut patience = RetryPolicy::default();
    patience.max_delay = Duration::from_secs(1); // 30 s would make a long story
    builder
        .with_spool_dir(spool_dir)
        .with_header_hook(tenant_headers)
        .with_on_event(note_event)
        .with_retry_policy(patience)
        .with_timeout(Duration::from_secs(2))
        .with_max_batch_records(100) // small, so that there is something to see
}

/// The partition key: records of one tenant may share a request.
fn tenant_of(record: &SdkLogRecord, _scope: &InstrumentationScope) -> String {
    let tenant = record.attributes_iter().find(|(key, _)| key.as_str() == "tenant");
    match tenant {
        Some((_, AnyValue::String(tenant))) => tenant.to_string(),
        _ => String::new(),
    }
}

/// The same of spans.
fn tenant_of_span(span: &SpanData) -> String {
    let tenant = span.attributes.iter().find(|attribute| attribute.key.as_str() == "tenant");
    tenant.map_or_else(String::new, |tenant| tenant.value.to_string())
}

/// The header hook, called for every attempt: names the tenant and makes a token, which is never on disk.
fn tenant_headers(batch: &BatchContext, headers: &mut HeaderMap) -> Result<(), BoxError> {
    let tenant = batch.partition_key();
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    headers.insert("x-tenant", tenant)?;
    headers.insert("authorization", format!("Bearer {tenant}.{now}"))?;
    Ok(())
}

/// Changes of an exporter's state. A service would log all of them, with a layer that does not lead to the exporter.
fn note_event(event: &SpoolEvent) {
    match event {
        SpoolEvent::JournalReplayed { records } => Report::Replayed { records: *records }.send(),
        SpoolEvent::JournalSuspended { .. } => eprintln!("{event}"), // the disk stalls: a kill would lose records
        _ => {}
    }
}

/// Runs one thread per tenant until standard input is closed: by the story, or by its death.
fn work(run: u64, tracer: &SdkTracer, handles: &[SpoolHandle; 2]) -> Result<(), BoxError> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut threads = Vec::new();
    for tenant in TENANTS {
        let (stop, tracer) = (Arc::clone(&stop), tracer.clone());
        let worker = move || serve(tenant, run, &tracer, &stop);
        threads.push(thread::Builder::new().name(format!("{tenant}-worker")).spawn(worker)?);
    }
    let (watcher_stop, handles) = (Arc::clone(&stop), handles.clone());
    threads.push(thread::Builder::new().name("watcher".into()).spawn(move || {
        while !watcher_stop.load(Ordering::Relaxed) {
            let pending = handles.iter().map(|handle| handle.stats().pending_records);
            Report::Pending { records: pending.sum() }.send();
            thread::sleep(Duration::from_millis(100));
        }
    })?);

    let told_to_stop = std::io::stdin().read_to_end(&mut Vec::new());
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().map_err(|_| "a thread of the service panicked")?;
    }
    told_to_stop?;
    Ok(())
}

/// The work of a tenant's thread: a record for each order, and a span around it. `seq` numbers them, so that a missing one is noticed.
fn serve(tenant: &'static str, run: u64, tracer: &SdkTracer, stop: &AtomicBool) {
    let pause = Duration::from_secs(1) * u32::try_from(TENANTS.len()).unwrap_or(1) / RECORDS_PER_SECOND;
    for seq in 1_u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let numbers = [("run", run), ("seq", seq)].map(|(key, number)| KeyValue::new(key, number.cast_signed()));
        let span =
            tracer.span_builder("order").with_attributes(numbers.into_iter().chain([KeyValue::new("tenant", tenant)]));
        let order = Context::current_with_span(tracer.build(span)).attach();
        match seq % 50 {
            0 => tracing::error!(tenant, run, seq, retries = 3, "payment failed: the bank does not answer"),
            17 | 34 => tracing::warn!(tenant, run, seq, items_left = 2, "stock is low"),
            _ => tracing::info!(tenant, run, seq, amount = 19.99, "order {seq} of {tenant} taken"),
        }
        drop(order); // the span ends
        Report::Emitted { tenant: tenant.into(), seq }.send();
        thread::sleep(pause);
    }
}
