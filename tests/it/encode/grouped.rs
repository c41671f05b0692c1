//! OTLP requests are grouped by resource and scope, have all that was logged, and are no larger than those of the OTLP exporter.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Answer, Receiver, Request, Service, export, exporter, flush, spool_dir};
use opentelemetry::logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity};
use opentelemetry::{InstrumentationScope, KeyValue, SpanId, TraceFlags, TraceId};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::logs::tonic::group_logs_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{
    LogBatch, LogExporter as _, LogProcessor, LoggerProviderBuilder, SdkLogRecord, SdkLoggerProvider,
};
use opentelemetry_spool::{
    BoxError, Encoder, Framing, LogExporter, LogExporterBuilder, LogView, OtlpEncoder, Protocol, SpoolCompression,
    SpoolHandle, SpoolProcessor,
};
use prost::Message;

const BOTH: [Protocol; 2] = [Protocol::HttpBinary, Protocol::HttpJson];

type Records = Vec<(SdkLogRecord, InstrumentationScope)>;

/// Keeps what is logged.
#[derive(Debug, Default)]
struct Kept(Arc<Mutex<Records>>);

impl LogProcessor for Kept {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        self.0.lock().unwrap().push((record.clone(), scope.clone()));
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

fn resource() -> Resource {
    let attributes = [("deployment.environment", "production"), ("host.name", "web-17"), ("service.version", "4.2.1")];
    let attributes = attributes.map(|(key, value)| KeyValue::new(key, value));
    Resource::builder()
        .with_service_name("checkout")
        .with_schema_url(attributes, "https://example.com/resource")
        .build()
}

/// A scope: some have a version, attributes and a schema URL, one has no name.
fn scope(number: usize) -> InstrumentationScope {
    let name = if number == 1 { String::new() } else { format!("checkout::orders::module_{number}") };
    let scope = InstrumentationScope::builder(name);
    match number % 3 {
        0 => scope.build(),
        1 => scope.with_version("1.0").with_schema_url("https://example.com/scope").build(),
        _ => scope.with_attributes([KeyValue::new("team", "payments")]).build(),
    }
}

/// Records of so many scopes by turns, each numbered.
fn records(count: usize, scopes: usize) -> Records {
    let kept = Kept::default();
    let records = kept.0.clone();
    let provider = SdkLoggerProvider::builder().with_log_processor(kept).build();
    let loggers: Vec<_> = (0..scopes).map(|number| provider.logger_with_scope(scope(number))).collect();
    for number in 0..count {
        log(&loggers[number % scopes], number);
    }
    records.lock().unwrap().clone()
}

fn log(logger: &opentelemetry_sdk::logs::SdkLogger, number: usize) {
    let mut record = logger.create_log_record();
    record.set_timestamp(std::time::SystemTime::now());
    record.set_severity_number(Severity::Info);
    record.set_severity_text("INFO");
    record.set_body(AnyValue::from(format!("order {number} was placed")));
    record.add_attribute("order.id", i64::try_from(number).unwrap());
    record.add_attribute("customer", format!("customer-{}", number * 7919 % 1_000));
    record.add_attribute("amount", 0.25);
    record.set_trace_context(TraceId::from(number as u128 + 1), SpanId::from(7), Some(TraceFlags::SAMPLED));
    logger.emit(record);
}

/// Puts these exports into a spool, and delivers it as a whole.
fn deliver(builder: LogExporterBuilder, records: &Records, exports: &[usize]) -> SpoolHandle {
    let mut exporter: LogExporter = builder.build().unwrap();
    exporter.set_resource(&resource());
    let handle = exporter.handle();
    handle.pause();
    let mut rest = &records[..];
    for count in exports {
        let (these, behind) = rest.split_at(*count);
        let these: Vec<_> = these.iter().map(|(record, scope)| (record, scope)).collect();
        export(&exporter, &these).unwrap();
        rest = behind;
    }
    assert!(rest.is_empty());
    handle.resume();
    flush(&handle);
    handle
}

fn request_of(content_type: &str, body: &[u8]) -> ExportLogsServiceRequest {
    match content_type {
        "application/x-protobuf" => ExportLogsServiceRequest::decode(body).unwrap(),
        "application/json" => serde_json::from_slice(body).unwrap(),
        other => panic!("{other}"),
    }
}

fn request(request: &Request) -> ExportLogsServiceRequest {
    request_of(request.header("content-type").unwrap(), &request.plain())
}

/// What the OTLP exporter sends.
fn theirs(records: &Records) -> ExportLogsServiceRequest {
    let records: Vec<_> = records.iter().map(|(record, scope)| (record, scope)).collect();
    let resource: ResourceAttributesWithSchema = (&resource()).into();
    ExportLogsServiceRequest { resource_logs: group_logs_by_resource_and_scope(&LogBatch::new(&records), &resource) }
}

/// Every record with its scope and its resource.
fn flat(request: ExportLogsServiceRequest) -> Vec<(ResourceLogs, ScopeLogs, LogRecord)> {
    let mut flat = Vec::new();
    for mut resource in request.resource_logs {
        let scopes = std::mem::take(&mut resource.scope_logs);
        resource.resource.iter_mut().for_each(|resource| resource.attributes.sort_by(|a, b| a.key.cmp(&b.key)));
        for mut scope in scopes {
            let records = std::mem::take(&mut scope.log_records);
            flat.extend(records.into_iter().map(|record| (resource.clone(), scope.clone(), record)));
        }
    }
    flat
}

fn number(record: &LogRecord) -> u128 {
    u128::from_be_bytes(record.trace_id.as_slice().try_into().unwrap())
}

/// The same of a record that may have none.
fn number_or_zero(record: &LogRecord) -> u128 {
    if record.trace_id.is_empty() { 0 } else { number(record) }
}

fn sorted(mut flat: Vec<(ResourceLogs, ScopeLogs, LogRecord)>) -> Vec<(ResourceLogs, ScopeLogs, LogRecord)> {
    flat.sort_by_key(|(.., record)| number(record));
    flat
}

/// An exporter in each way in which records can be stored and sent.
fn ways(receiver: &Receiver, spool: &Path, protocol: Protocol) -> Vec<(&'static str, LogExporterBuilder)> {
    let exporter = |way: &str| exporter(receiver, spool.join(way)).with_protocol(protocol);
    vec![
        ("plain", exporter("plain").with_spool_compression(SpoolCompression::None)),
        ("lz4", exporter("lz4").with_spool_compression(SpoolCompression::Lz4)),
        #[cfg(feature = "gzip-http")]
        ("gzip", exporter("gzip").with_compression(opentelemetry_spool::Compression::Gzip)),
    ]
}

#[test]
fn requests_are_grouped_and_have_every_record_with_its_resource_and_scope() {
    let records = records(700, 9);
    let expected = sorted(flat(theirs(&records)));
    for protocol in BOTH {
        let (receiver, spool) = (Receiver::start(), spool_dir());
        for (way, exporter) in ways(&receiver, spool.path(), protocol) {
            let before = receiver.requests().len();
            deliver(exporter, &records, &[1, 1, 30, 200, 468]);
            let requests: Vec<_> = receiver.requests().split_off(before).iter().map(request).collect();
            for request in &requests {
                // Pieces that were compressed one by one are not taken apart: they are the exports here.
                let resources = request.resource_logs.len();
                assert!(resources == 1 || (way == "gzip" && resources <= 4), "{way}: {resources}");
                for resource in &request.resource_logs {
                    assert!(resource.scope_logs.len() <= 9, "{way}");
                    for scope in &resource.scope_logs {
                        assert!(scope.log_records.is_sorted_by_key(number), "in order within a scope");
                    }
                }
            }
            assert_eq!(sorted(requests.into_iter().flat_map(flat).collect()), expected, "{way}");
        }
    }
}

#[test]
fn a_request_that_is_cut_down_to_single_records_has_each_with_its_resource_and_scope() {
    let records = records(24, 3);
    let expected = sorted(flat(theirs(&records)));
    for protocol in BOTH {
        let (receiver, spool) = (Receiver::start(), spool_dir());
        receiver.answer_by(|it| Answer::status(if flat(request(it)).len() > 1 { 413 } else { 200 }));
        for (way, exporter) in ways(&receiver, spool.path(), protocol) {
            let before = receiver.requests().len();
            deliver(exporter, &records, &[8, 1, 15]);
            let taken = receiver.requests().split_off(before).into_iter().filter(|it| it.answered == Some(200));
            let taken: Vec<_> = taken.map(|it| flat(request(&it)).remove(0)).collect();
            assert_eq!(sorted(taken), expected, "{way}");
        }
    }
}

#[test]
fn a_request_is_no_larger_than_that_of_the_otlp_exporter() {
    for scopes in [1, 20, 200] {
        let records = records(512, scopes);
        let theirs = theirs(&records);
        for protocol in BOTH {
            let (receiver, spool) = (Receiver::start(), spool_dir());
            let size = match protocol {
                Protocol::HttpBinary => theirs.encoded_len(),
                _ => serde_json::to_vec(&theirs).unwrap().len(),
            };
            for (way, exporter) in ways(&receiver, spool.path(), protocol) {
                let before = receiver.requests().len();
                deliver(exporter, &records, &[512]);
                let requests = receiver.requests().split_off(before);
                let plain: usize = requests.iter().map(|request| request.plain().len()).sum();
                let wire: usize = requests.iter().map(|request| request.body.len()).sum();
                let sizes =
                    format!("{scopes} scopes, {protocol:?}, {way}: {plain} and {size} bytes, {wire} on the wire");
                assert!(plain * 100 <= size * 105, "{sizes}");
                println!("{sizes}");
            }
        }
    }
}

#[test]
fn the_spool_processor_has_its_requests_grouped_as_well() {
    for protocol in BOTH {
        let (receiver, spool) = (Receiver::start(), spool_dir());
        let exporter = exporter(&receiver, &spool).with_protocol(protocol);
        let provider = SdkLoggerProvider::builder().with_resource(resource());
        let service = Service::build(exporter, provider, |provider, exporter| {
            provider.with_log_processor(SpoolProcessor::new(exporter).unwrap())
        });
        service.handle.pause();
        let loggers: Vec<_> = (0..20).map(|number| service.provider.logger_with_scope(scope(number))).collect();
        for number in 0..400 {
            log(&loggers[number % 20], number);
        }
        service.sync();
        service.handle.resume();
        service.deliver();
        let requests: Vec<_> = receiver.requests().iter().map(request).collect();
        let [it] = &requests[..] else { panic!("{} requests", requests.len()) };
        assert_eq!((it.resource_logs.len(), it.resource_logs[0].scope_logs.len()), (1, 20));
        let numbers: Vec<_> = sorted(flat(it.clone()))
            .iter()
            .map(|(resource, scope, record)| {
                assert_eq!(resource.resource.as_ref().map(|resource| resource.attributes.len() > 4), Some(true));
                (number(record), scope.scope.as_ref().unwrap().name.clone())
            })
            .collect();
        let expected: Vec<_> =
            (0..400).map(|number| (number as u128 + 1, scope(number % 20).name().to_owned())).collect();
        assert_eq!(numbers, expected);
    }
}

/// An encoder around another that knows nothing of envelopes.
struct Wrapping(OtlpEncoder);

impl Encoder for Wrapping {
    fn framing(&self) -> Framing {
        self.0.framing()
    }

    fn encode(&self, record: &dyn LogView, scope: &InstrumentationScope, out: &mut Vec<u8>) -> Result<(), BoxError> {
        self.0.encode(record, scope, out)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}

impl fmt::Debug for Wrapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wrapping")
    }
}

#[test]
fn an_encoder_around_it_that_forwards_what_there_always_was_has_complete_requests() {
    let records = records(30, 3);
    let expected = sorted(flat(theirs(&records)));
    for protocol in BOTH {
        let (receiver, spool) = (Receiver::start(), spool_dir());
        let encoder = Wrapping(OtlpEncoder::new(protocol));
        deliver(exporter(&receiver, &spool).with_encoder(encoder), &records, &[30]);
        let sent: Vec<_> = receiver.requests().iter().flat_map(|it| flat(request(it))).collect();
        assert_eq!(sorted(sent), expected);
    }
}

#[cfg(feature = "gzip-http")]
#[test]
fn a_compressed_request_is_no_larger_than_one_of_complete_records() {
    use opentelemetry_spool::Compression;

    for scopes in [1, 20, 200] {
        let records = records(512, scopes);
        for exports in [vec![512], vec![16; 32], vec![1; 512]] {
            for protocol in BOTH {
                let (receiver, spool) = (Receiver::start(), spool_dir());
                let mut sent = 0;
                let mut bytes = |name: &str, encoder: &dyn Fn(LogExporterBuilder) -> LogExporterBuilder| {
                    let exporter = exporter(&receiver, spool.path().join(name)).with_compression(Compression::Gzip);
                    deliver(encoder(exporter), &records, &exports);
                    let requests = receiver.requests().split_off(sent);
                    sent += requests.len();
                    requests.iter().map(|request| request.body.len()).sum::<usize>()
                };
                let grouped = bytes("grouped", &|exporter| exporter.with_protocol(protocol));
                let complete =
                    bytes("complete", &|exporter| exporter.with_encoder(Wrapping(OtlpEncoder::new(protocol))));
                let exports = exports.len();
                let sizes = format!("{scopes} scopes, {exports} exports, {protocol:?}: {grouped} and {complete} bytes");
                println!("{sizes}");
                let least = if exports == 1 { complete * 9 / 10 } else { complete };
                assert!(grouped <= least, "{sizes}");
            }
        }
    }
}

#[test]
fn what_is_stored_in_both_forms_is_delivered_in_order() {
    let records = records(30, 2);
    let expected = sorted(flat(theirs(&records)));
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    for (nth, these) in records.chunks(10).enumerate() {
        let builder = exporter(&receiver, &spool);
        let mut exporter = if nth == 1 {
            builder.with_encoder(Wrapping(OtlpEncoder::new(Protocol::HttpJson))).build().unwrap()
        } else {
            builder.with_protocol(Protocol::HttpJson).build().unwrap()
        };
        exporter.set_resource(&resource());
        let these: Vec<_> = these.iter().map(|(record, scope)| (record, scope)).collect();
        export(&exporter, &these).unwrap();
        let _ = exporter.shutdown();
    }
    receiver.come_up();
    flush(&exporter(&receiver, &spool).build().unwrap().handle());
    let bodies: Vec<_> = receiver.requests().iter().map(|it| flat(request(it))).collect();
    assert_eq!(bodies.iter().map(Vec::len).collect::<Vec<_>>(), [10, 10, 10]);
    assert_eq!(sorted(bodies.concat()), expected);
}

#[test]
fn a_loss_is_reported_in_the_stream_with_the_resource_and_a_scope() {
    for protocol in BOTH {
        let (receiver, spool) = (Receiver::start(), spool_dir());
        let exporter = exporter(&receiver, &spool).with_protocol(protocol);
        let provider = SdkLoggerProvider::builder().with_resource(resource());
        let service = Service::build(exporter, provider, |provider, exporter| {
            let processor = SpoolProcessor::builder(exporter).with_max_buffer_bytes(1).with_max_wait(Duration::ZERO);
            provider.with_log_processor(processor.build().unwrap())
        });
        while service.handle.stats().lost_records == 0 {
            service.log("more than the buffer holds");
        }
        let is_gap = |record: &LogRecord| record.event_name == "opentelemetry_spool.gap";
        receiver.wait_until("a gap record", |log| {
            let sent = log.requests.iter().flat_map(|it| flat(request(it)));
            let (resource, scope, _) = sent.into_iter().find(|(.., record)| is_gap(record))?;
            assert_eq!(resource.schema_url, "https://example.com/resource");
            assert_eq!(scope.scope?.name, "opentelemetry-spool");
            Some(())
        });
    }
}

#[test]
fn a_rejected_record_is_kept_with_its_resource_and_scope() {
    for protocol in BOTH {
        let (receiver, spool) = (Receiver::start(), spool_dir());
        let is_bad = |it: &Request| flat(request(it)).iter().any(|(.., record)| number_or_zero(record) == 14);
        receiver.answer_by(move |it| Answer::status(if is_bad(it) { 422 } else { 200 }));
        let exporter = exporter(&receiver, &spool).with_protocol(protocol);
        let provider = SdkLoggerProvider::builder().with_resource(resource());
        let service = Service::build(exporter, provider, LoggerProviderBuilder::with_batch_exporter);
        let logger = service.provider.logger_with_scope(scope(4));
        (0..30).for_each(|number| log(&logger, number));
        service.wait_for_rejected(1);
        let kept = service.handle.rejected().unwrap();
        let [record] = &kept[..] else { panic!("{kept:?}") };
        let alone = flat(request_of(&record.content_type, &record.body));
        let [(of_resource, of_scope, record)] = &alone[..] else { panic!("{alone:?}") };
        assert_eq!(of_resource.schema_url, "https://example.com/resource");
        let found = of_scope.scope.clone().unwrap();
        assert_eq!((&*found.name, &*found.version), (scope(4).name(), "1.0"));
        assert_eq!((&*of_scope.schema_url, number(record)), ("https://example.com/scope", 14));
    }
}
