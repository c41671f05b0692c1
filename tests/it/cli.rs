//! The command-line tool `otel-spool`: what it tells of a spool, what it leaves as it is, and what it does to it.

#[cfg(all(target_os = "linux", feature = "config-file", feature = "tls"))]
mod check;
mod journal;
mod json;
mod purge;
mod report;
mod status;
#[cfg(target_os = "linux")]
mod terminal;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::SystemTime;

#[cfg(feature = "tls")]
use common::Authority;
use common::{
    Answer, Child, Receiver, Service, by_tenant, emulated, exporter, exporter_to, files_with, name, names, parts_of,
    settings, spool_dir, with_signal,
};
use opentelemetry::InstrumentationScope;
use opentelemetry::logs::LogRecord as _;
use opentelemetry_spool::{
    BoxError, Compression, Encoder, Framing, JsonEncoder, Listener, LogExporterBuilder, LogView, Relay,
    SpoolCompression,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::CHILD;

const NOWHERE: &str = "http://127.0.0.1:9/ingest";
const MIB: u64 = 1 << 20;

/// Small segments and batches, so that there are several.
fn small(exporter: LogExporterBuilder) -> LogExporterBuilder {
    exporter.with_partition_key(by_tenant).with_segment_bytes(MIB).with_max_batch_records(100)
}

fn start_child(endpoint: &str, spool: &Path) -> Child {
    let mut child = Child::start(Command::new(CHILD), "service", settings(endpoint, spool));
    child.wait_for("ready");
    child
}

fn log_of(child: &mut Child, tenant: &str, first: usize, last: usize) {
    child.tell(&format!("log-of {tenant} {first} {last}"));
    child.wait_for(&format!("accepted {tenant} {last}"));
}

/// A spool in which 500 records are in a segment, and 500 more in the journal alone; the file of that.
fn left_in_a_journal(endpoint: &str, spool: &Path) -> PathBuf {
    let settings = settings(endpoint, spool).into_iter().chain([("SPOOL_CHILD_JOURNAL", "on".as_ref())]);
    let mut child = Child::start(Command::new(CHILD), "processor", settings);
    for command in ["log a", "flush", "log b"] {
        child.tell(command);
        child.wait_for("done");
    }
    child.kill();
    files_with(spool, b"b-000250").pop().expect("a journal with the record")
}

/// A spool that a killed process left, of whose records the first 70 are delivered; the receiver is down then.
fn left_delivered_in_part(receiver: &Receiver, spool: &Path, records: usize) {
    let mut child = start_child(&receiver.url("/ingest"), spool);
    log_of(&mut child, "acme", 1, 70);
    child.tell("flush");
    child.wait_for("flushed");
    receiver.go_down();
    log_of(&mut child, "acme", 71, records);
    child.kill();
}

/// A spool that a killed process left: 300 records of two tenants each.
fn left_by_a_kill(endpoint: &str, spool: &Path) {
    let mut child = start_child(endpoint, spool);
    for (first, last) in [(1, 200), (201, 300)] {
        log_of(&mut child, "acme", first, last);
        log_of(&mut child, "globex", first, last);
    }
    child.kill();
}

/// A spool that an exporter left that was dropped, with what `log` logged. It has sent nothing of it.
fn left(exporter: LogExporterBuilder, log: impl FnOnce(&Service)) {
    let service = Service::careless(exporter);
    service.handle.pause();
    log(&service);
}

/// A spool with so many rejected records, `acme-000001`, `acme-000002`, ..., which the receiver answered like this while it took
/// live ones. There is nothing else in the spool, and the receiver gives this answer to everything from then on.
fn left_rejected(receiver: &Receiver, answer: &Answer, spool: &TempDir, count: usize) {
    let refusal = answer.clone();
    receiver.answer_by(move |request| {
        let refused = request.messages.iter().any(|message| message.starts_with("acme"));
        if refused { refusal.clone() } else { Answer::ok() }
    });
    let service = Service::simple(exporter_to(&receiver.url("/ingest"), spool));
    for number in 1..=count {
        service.log(&name("acme", number));
        service.wait_for_rejected(number as u64);
    }
    service.deliver();
    let _ = service.provider.shutdown();
    receiver.answer_always(answer.clone());
}

/// The messages that were delivered of a tenant.
fn delivered_of(receiver: &Receiver, tenant: &str) -> Vec<String> {
    receiver.delivered().into_iter().filter(|message| message.starts_with(tenant)).collect()
}

fn tool<'a>(args: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = emulated(Command::new(env!("CARGO_BIN_EXE_spool-test-tool")));
    command.args(args).stdin(Stdio::null());
    command
}

/// Runs the tool: its exit code, standard output and standard error.
fn run<'a>(spool: &'a Path, args: impl IntoIterator<Item = &'a str>) -> (i32, String, String) {
    let words: Vec<_> = args.into_iter().collect();
    // The directory comes behind the command, which may be of two words.
    let at = if words[0] == "rejected" { 2 } else { 1 };
    let spool = spool.to_str().expect("a path of text");
    outcome(&tool([&words[..at], &[spool], &words[at..]].concat()).output().expect("the tool runs"))
}

fn outcome(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("the tool prints text");
    (output.status.code().expect("the tool ends by itself"), text(&output.stdout), text(&output.stderr))
}

/// The output of a run of the tool that went well.
fn print<'a>(spool: &'a Path, args: impl IntoIterator<Item = &'a str>) -> String {
    let (code, out, error) = run(spool, args);
    assert_eq!((code, &*error), (0, ""), "{out}");
    out
}

fn document(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

fn documents(text: &str) -> Vec<Value> {
    text.lines().map(document).collect()
}

/// The messages of records that were printed.
fn messages(text: &str) -> Vec<String> {
    let message = |record: Value| record["message"].as_str().expect("a message").to_owned();
    documents(text).into_iter().map(message).collect()
}

/// Every file and directory: what is in it, and when it was changed.
fn tree(dir: &Path) -> BTreeMap<PathBuf, (SystemTime, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let entry = entry.expect("an entry");
        let modified = entry.metadata().and_then(|meta| meta.modified()).expect("a time");
        let path = entry.path();
        if path.is_dir() {
            found.extend(tree(&path));
            found.insert(path, (modified, Vec::new()));
        } else {
            let bytes = fs::read(&path).expect("a file");
            found.insert(path, (modified, bytes));
        }
    }
    found
}

/// The database files of the segments.
fn databases(spool: &Path) -> Vec<PathBuf> {
    let is_segments =
        |path: &PathBuf| path.ends_with("db") && path.parent().is_some_and(|dir| dir.extension().is_some());
    tree(spool).into_keys().filter(is_segments).collect()
}

/// The directories of the queues.
fn queues(spool: &Path) -> Vec<PathBuf> {
    let of_queue = |path: &PathBuf| path.ends_with("lock");
    tree(spool).into_keys().filter(of_queue).map(|lock| lock.parent().expect("a directory").to_owned()).collect()
}

fn id(queue: &Path) -> String {
    parts_of(queue).remove(0)
}

/// Flips a bit of the nth frame in a file.
fn damage(file: &Path, frame: usize) {
    let mut bytes = fs::read(file).expect("a file");
    let frames: Vec<_> = (0..bytes.len() - 4).filter(|at| bytes[*at..].starts_with(b"\xf5OSf")).collect();
    let in_payload = frames[frame] + 200;
    bytes[in_payload] ^= 1;
    fs::write(file, bytes).expect("a file that can be written");
}

fn frames(file: &Path) -> usize {
    let bytes = fs::read(file).expect("a file");
    (0..bytes.len() - 4).filter(|at| bytes[*at..].starts_with(b"\xf5OSf")).count()
}

// --- ls, stats ----------------------------------------------------------------------------------------------------

#[test]
fn what_a_killed_process_left_is_listed() {
    let spool = spool_dir();
    left_by_a_kill(NOWHERE, spool.path());
    let listed = document(&print(spool.path(), ["ls", "--json"]));
    let queues = listed["queues"].as_array().expect("queues");
    assert_eq!(queues.len(), 1);
    assert_eq!((&queues[0]["owner"], &queues[0]["endpoint"]), (&"gone".into(), &NOWHERE.into()));
    let segments = queues[0]["segments"].as_array().expect("segments");
    let sum = |key: &str| segments.iter().map(|segment| segment[key].as_u64().expect("a number")).sum::<u64>();
    assert_eq!((sum("records"), sum("delivered")), (600, 0));
    assert!(sum("disk_bytes") > 0);
    let first = &segments[0]["partitions"][0];
    assert_eq!((&first["partition"], &first["records"]), (&"acme".into(), &300.into()));

    let table = print(spool.path(), ["ls"]);
    assert!(table.starts_with("QUEUE") && table.contains("gone") && table.contains("600"), "{table}");
}

#[test]
fn what_is_delivered_is_counted_apart() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    left_delivered_in_part(&receiver, spool.path(), 100);

    let stats = document(&print(spool.path(), ["stats", "--json"]));
    assert_eq!((&stats["waiting_records"], &stats["delivered_records"]), (&30.into(), &70.into()));
    assert_eq!((&stats["queues_gone"], &stats["queues_alive"]), (&1.into(), &0.into()));
    assert_eq!(messages(&print(spool.path(), ["cat"])), names("acme", 71..=100));
    assert_eq!(messages(&print(spool.path(), ["cat", "--all"])), names("acme", 1..=100));
}

#[test]
fn an_owner_that_is_alive_is_named_and_not_disturbed() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let mut child = start_child(&receiver.url("/ingest"), spool.path());
    log_of(&mut child, "acme", 1, 100);

    for command in ["ls", "cat", "stats", "verify"] {
        let (code, out, error) = run(spool.path(), [command]);
        assert_eq!(code, 0, "{command}: {error}");
        assert_eq!(error.contains("its owner is alive"), command == "verify", "{command}: {error}");
        assert!(out.contains("100") || command == "cat", "{command}: {out}");
        assert_eq!(out.contains("alive"), command == "ls", "{command}: {out}");
        if command == "cat" {
            assert_eq!(messages(&out), names("acme", 1..=100));
        }
    }
    log_of(&mut child, "acme", 101, 200);
    receiver.come_up();
    child.tell("flush");
    child.wait_for("flushed");
    assert_eq!(receiver.delivered(), names("acme", 1..=200));
}

#[test]
fn reading_leaves_every_byte_of_a_spool_as_it_is() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let mut child = start_child(&receiver.url("/ingest"), spool.path());
    log_of(&mut child, "acme", 1, 150);
    child.tell("flush");
    child.wait_for("flushed");
    receiver.go_down();
    log_of(&mut child, "globex", 1, 300);
    child.kill();

    let before = tree(spool.path());
    for command in ["ls", "cat", "stats", "verify"] {
        print(spool.path(), [command]);
        print(spool.path(), [command, "--json"]);
    }
    print(spool.path(), ["drain", "--dry-run"]);
    assert!(before == tree(spool.path()), "something was changed");
}

// --- cat ----------------------------------------------------------------------------------------------------------

#[test]
fn records_are_printed_as_they_are_sent_however_they_are_stored() {
    type Configure = fn(LogExporterBuilder) -> LogExporterBuilder;
    let codings: [Configure; 3] = [
        |exporter| exporter.with_spool_compression(SpoolCompression::None),
        |exporter| exporter.with_spool_compression(SpoolCompression::Lz4),
        |exporter| exporter.with_compression(Compression::Gzip),
    ];
    for (nth, configure) in codings.into_iter().enumerate() {
        let (receiver, spool) = (Receiver::start_down(), spool_dir());
        let exporter = configure(small(exporter_to(&receiver.url("/ingest"), &spool)));
        left(exporter, |service| service.log_of("acme", 1..=50));
        let printed = print(spool.path(), ["cat"]);
        assert_eq!(messages(&printed), names("acme", 1..=50), "coding {nth}");
        print(spool.path(), ["verify"]);

        receiver.come_up();
        print(spool.path(), ["drain"]);
        let bodies: Vec<_> = receiver.requests().iter().map(|request| request.plain().to_vec()).collect();
        let sent: Vec<_> = bodies.iter().flat_map(|body| serde_json::from_slice::<Vec<Value>>(body).unwrap()).collect();
        assert_eq!(sent, documents(&printed), "coding {nth}");
    }
}

#[test]
fn records_are_chosen_by_partition_text_number_and_time() {
    let spool = spool_dir();
    let (mut before, mut after) = (SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH);
    left(small(exporter_to(NOWHERE, &spool)), |service| {
        before = SystemTime::now();
        service.log_of("acme", 1..=9);
        after = SystemTime::now();
        service.log_of("globex", 1..=9);
    });
    let time = |time: SystemTime| jiff::Timestamp::try_from(time).expect("a time").to_string();
    let (before, after) = (time(before), time(after));
    let chosen = |args: &[&str]| messages(&print(spool.path(), [&["cat"], args].concat()));
    let both = [names("acme", 1..=9), names("globex", 1..=9)].concat();
    assert_eq!(chosen(&["--partition", "globex"]), names("globex", 1..=9));
    assert_eq!(chosen(&["--grep", "acme-000004"]), names("acme", 4..=4));
    assert_eq!(chosen(&["-n", "3"]), names("acme", 1..=3));
    assert_eq!(chosen(&["--since", &after]), names("globex", 1..=9));
    assert_eq!(chosen(&["--until", &after]), names("acme", 1..=9));
    assert_eq!(chosen(&["--until", &before]), [""; 0]);
    assert_eq!(chosen(&["--since", "1h"]), both);
    let queue = id(&queues(spool.path())[0]);
    assert_eq!(chosen(&["--queue", &queue]), both);
    assert_eq!(run(spool.path(), ["cat", "--queue", "0000000000000000"]).0, 2);
}

/// Bytes that are no text.
struct Binary;

impl Encoder for Binary {
    fn framing(&self) -> Framing {
        Framing::new("application/x-protobuf", "", "", "")
    }

    fn encode(&self, _: &dyn LogView, _: &InstrumentationScope, out: &mut Vec<u8>) -> Result<(), BoxError> {
        out.extend_from_slice(b"\x00\xff\x1b[2J");
        Ok(())
    }
}

#[test]
fn a_record_is_shown_with_all_that_is_known_of_it() {
    let spool = spool_dir();
    left(small(exporter_to(NOWHERE, &spool)), |service| service.log_of("acme", 1..=2));
    left(exporter_to(NOWHERE, &spool).with_encoder(Binary), |service| service.log("binary"));
    let mut records = documents(&print(spool.path(), ["cat", "--json"]));
    records.sort_by_key(|record| record["partition"] == "");
    assert_eq!(records.len(), 3);
    assert_eq!((&records[1]["partition"], &records[1]["number"]), (&"acme".into(), &1.into()));
    assert_eq!((&records[1]["delivered"], &records[1]["content_type"]), (&false.into(), &"application/json".into()));
    assert_eq!(records[1]["record"]["message"], name("acme", 2));
    assert!(records[1]["appended_at"].as_str().is_some_and(|time| time.parse::<jiff::Timestamp>().is_ok()));
    assert_eq!((&records[2]["base64"], &records[2]["record"]), (&"AP8bWzJK".into(), &Value::Null));
    for form in [&[][..], &["--pretty"]] {
        let plain = print(spool.path(), [&["cat", "--partition", ""], form].concat());
        assert_eq!(plain, "<6 bytes that are not text: use --json>\n");
    }
    let lines = print(spool.path(), ["cat", "--pretty", "--partition", "acme"]);
    let end = format!("Z INFO  test: {} shop=Z\u{fc}rich tenant=acme", name("acme", 2));
    assert!(lines.lines().nth(1).is_some_and(|line| line.ends_with(&end)), "{lines}");
    assert_eq!(run(spool.path(), ["cat", "--pretty", "--json"]).0, 2);
}

#[cfg(feature = "otlp")]
#[test]
fn a_record_of_otlp_is_shown_as_a_request_of_its_own_however_it_is_stored() {
    type Configure = fn(LogExporterBuilder) -> LogExporterBuilder;
    let codings: [Configure; 2] = [|exporter| exporter, |exporter| exporter.with_compression(Compression::Gzip)];
    for (protocol, coding) in BOTH.into_iter().flat_map(|protocol| codings.map(|coding| (protocol, coding))) {
        let spool = spool_dir();
        let exporter = coding(exporter_to(NOWHERE, &spool).with_protocol(protocol));
        left(exporter, |service| service.log_all("m", 1..=3));
        let printed = documents(&print(spool.path(), ["cat"]));
        assert_eq!(printed.len(), 3);
        for (record, number) in printed.iter().zip(1..) {
            let resources = record["resourceLogs"].as_array().expect("resources");
            assert!(resources.len() == 1 && resources[0]["resource"].is_object(), "{record}");
            let scopes = resources[0]["scopeLogs"].as_array().expect("scopes");
            assert_eq!((scopes.len(), &scopes[0]["scope"]["name"]), (1, &"test".into()));
            let records = scopes[0]["logRecords"].as_array().expect("records");
            assert_eq!((records.len(), &records[0]["body"]["stringValue"]), (1, &name("m", number).into()));
        }
        let of_it = documents(&print(spool.path(), ["cat", "--json", "--grep", "m-000002"]));
        assert_eq!((of_it.len(), &of_it[0]["number"], &of_it[0]["record"]), (1, &1.into(), &printed[1]));
        let planned = document(&print(spool.path(), ["drain", "--dry-run", "--json"]));
        let planned = &planned["partitions"][0];
        assert_eq!((&planned["requests"], &planned["records"]), (&1.into(), &3.into()));
        let lines = print(spool.path(), ["cat", "--pretty"]);
        for (line, number) in lines.lines().zip(1..) {
            let end = format!("Z INFO  test: {} shop=Z\u{fc}rich", name("m", number));
            assert!(line.ends_with(&end), "{line}");
        }
        assert_eq!(lines.lines().count(), 3);
    }
}

#[cfg(feature = "otlp")]
const BOTH: [opentelemetry_spool::Protocol; 2] =
    [opentelemetry_spool::Protocol::HttpBinary, opentelemetry_spool::Protocol::HttpJson];

/// Two spools with the same logs, spans and metrics, one for each format of OTLP.
#[cfg(all(feature = "trace", feature = "metrics"))]
mod otlp {
    use std::time::Duration;

    use common::{exporter_to, spool_dir};
    use opentelemetry::logs::{LogRecord as _, Logger as _, LoggerProvider as _, Severity};
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_sdk::error::OTelSdkResult;
    use opentelemetry_sdk::logs::SdkLoggerProvider;
    use opentelemetry_sdk::metrics::data::ResourceMetrics;
    use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
    use opentelemetry_sdk::metrics::{Aggregation, Instrument, SdkMeterProvider, Stream, Temporality};
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use opentelemetry_spool::{Compression, MetricExporter, SpanExporter};
    use serde::de::DeserializeOwned;
    use tempfile::TempDir;

    use super::{BOTH, NOWHERE, print};
    use crate::exporter::signals::{end_spans, measure, resource};

    const ATTRIBUTES: [&str; 5] = ["bool=true", "int=1", "double=1.5", "string=text", "list=[1,-2]"];

    /// Hands both exporters the same metrics.
    #[derive(Debug)]
    struct Each([MetricExporter; 2]);

    impl PushMetricExporter for Each {
        async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
            self.0[0].export(metrics).await?;
            self.0[1].export(metrics).await
        }

        fn force_flush(&self) -> OTelSdkResult {
            Ok(())
        }

        fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
            self.0.iter().try_for_each(|exporter| exporter.shutdown_with_timeout(timeout))
        }

        fn temporality(&self) -> Temporality {
            Temporality::Cumulative
        }
    }

    fn logs(spools: &[TempDir; 2]) {
        let mut provider = SdkLoggerProvider::builder().with_resource(resource());
        for (spool, protocol) in spools.iter().zip(BOTH) {
            let exporter = exporter_to(NOWHERE, spool).with_protocol(protocol).build().expect("an exporter");
            exporter.handle().pause();
            provider = provider.with_simple_exporter(exporter);
        }
        let provider = provider.build();
        let logger = provider.logger("orders");
        for order in 0..3_i64 {
            let mut record = logger.create_log_record();
            record.set_severity_number(Severity::Warn);
            record.set_body("an order\nis late".into());
            record.add_attribute("order", order);
            logger.emit(record);
        }
        let _ = provider.shutdown();
    }

    fn spans(spools: &[TempDir; 2]) {
        let mut provider = SdkTracerProvider::builder().with_resource(resource());
        for (spool, protocol) in spools.iter().zip(BOTH) {
            let exporter = SpanExporter::builder().with_endpoint(NOWHERE).with_protocol(protocol);
            let exporter = exporter.with_compression(Compression::Gzip).with_spool_dir(spool.path());
            let exporter = exporter.build().expect("an exporter");
            exporter.handle().pause();
            provider = provider.with_simple_exporter(exporter);
        }
        let provider = provider.build();
        end_spans(&provider);
        let _ = provider.shutdown();
    }

    fn metrics(spools: &[TempDir; 2]) {
        let exporters = [0, 1].map(|nth| {
            let exporter = MetricExporter::builder().with_endpoint(NOWHERE).with_protocol(BOTH[nth]);
            let exporter = exporter.with_spool_dir(spools[nth].path()).build().expect("an exporter");
            exporter.handle().pause();
            exporter
        });
        let exponential = |instrument: &Instrument| {
            let aggregation =
                Aggregation::Base2ExponentialHistogram { max_size: 20, max_scale: 20, record_min_max: true };
            let view = Stream::builder().with_aggregation(aggregation).build();
            (instrument.name() == "exponential").then(|| view.expect("a view"))
        };
        let provider = SdkMeterProvider::builder().with_resource(resource()).with_view(exponential);
        let provider = provider.with_periodic_exporter(Each(exporters)).build();
        measure(&provider);
        let _ = provider.shutdown();
    }

    /// What is printed of a signal, which is the same of both spools.
    fn printed(spools: &[TempDir; 2], signal: &str, form: &[&str]) -> Vec<String> {
        let [protobuf, json] =
            [0, 1].map(|nth| print(spools[nth].path(), [&["cat", "--signal", signal], form].concat()));
        assert_eq!(protobuf, json);
        protobuf.lines().map(str::to_owned).collect()
    }

    fn assert_are_requests<M: DeserializeOwned>(lines: &[String]) {
        for line in lines {
            assert!(serde_json::from_str::<M>(line).is_ok(), "{line}");
        }
    }

    #[test]
    fn records_of_every_signal_are_printed_alike_from_both_formats() {
        let spools = [spool_dir(), spool_dir()];
        logs(&spools);
        spans(&spools);
        metrics(&spools);
        let [logs, spans, metrics] = ["logs", "traces", "metrics"].map(|signal| printed(&spools, signal, &[]));
        assert_are_requests::<ExportLogsServiceRequest>(&logs);
        assert_are_requests::<ExportTraceServiceRequest>(&spans);
        assert_are_requests::<ExportMetricsServiceRequest>(&metrics);
        // One metric has 150 points, of which a record has at most 64.
        assert_eq!((logs.len(), spans.len(), metrics.len()), (3, 10, 11));

        let pretty = ["logs", "traces", "metrics"].map(|signal| printed(&spools, signal, &["--pretty"]));
        assert_eq!(pretty.each_ref().map(Vec::len), [3, 10, 11], "{pretty:?}");
        let [logs, spans, metrics] = pretty;
        assert!(logs[1].ends_with("Z WARN  orders: an order\\nis late order=1"), "{logs:?}");
        let client = spans.iter().find(|line| line.contains(" client ")).expect("a span");
        let parts = ["status=\"error: it broke\"", " events=2 links=", " trace=", " span=", " parent="];
        for part in parts.iter().chain(&ATTRIBUTES) {
            assert!(client.contains(part), "{client}");
        }
        // The SDK does not keep the order of a point's attributes.
        for begin in [" revenue sum cumulative: 12.5 ", " depth gauge: -7 "] {
            let line = metrics.iter().find(|line| line.contains(begin)).expect("a metric");
            assert!(ATTRIBUTES.iter().all(|attribute| line.contains(attribute)), "{line}");
        }
        let ends = [
            " latency histogram cumulative: count=100 sum=7425.0 min=0.0 max=148.5 route=/orders",
            " exponential exponential histogram cumulative: count=100 sum=4950000.0 min=0.0 max=99000.0",
        ];
        for end in ends {
            assert!(metrics.iter().any(|line| line.ends_with(end)), "{end}: {metrics:?}");
        }
        let orders = metrics.iter().find(|line| line.contains(" orders [{order}] sum cumulative: ")).expect("a metric");
        assert_eq!(orders.matches("customer=").count(), 64, "{orders}");
    }
}

#[test]
fn what_is_logged_from_now_on_is_followed_from_segment_to_segment() {
    let spool = spool_dir();
    let mut child = start_child(NOWHERE, spool.path());
    log_of(&mut child, "acme", 1, 10);
    let mut following = tool(["cat", spool.path().to_str().expect("text"), "-f"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the tool runs");
    let mut lines = BufReader::new(following.stdout.take().expect("a pipe")).lines();
    let mut read = |count: usize| -> Vec<String> {
        let lines: Vec<_> = lines.by_ref().take(count).map(|line| line.expect("a line")).collect();
        messages(&lines.join("\n"))
    };
    assert_eq!(read(10), names("acme", 1..=10));
    log_of(&mut child, "acme", 11, 1500);
    log_of(&mut child, "acme", 1501, 3000);
    assert_eq!(read(2990), names("acme", 11..=3000));
    following.kill().expect("it still follows");
    following.wait().expect("it ends");
}

#[test]
fn whoever_reads_may_have_enough() {
    let spool = spool_dir();
    left(small(exporter_to(NOWHERE, &spool)), |service| {
        let long = "x".repeat(1000);
        (0..2000).for_each(|_| service.log(&long));
    });
    let mut process = tool(["cat", spool.path().to_str().expect("text")])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the tool runs");
    let mut some = [0; 100];
    process.stdout.take().expect("a pipe").read_exact(&mut some).expect("a record");
    let (code, _, error) = outcome(&process.wait_with_output().expect("it ends"));
    assert_eq!((code, &*error), (0, ""));
}

// Windows deletes nothing that somebody reads.
#[cfg(unix)]
#[test]
fn whoever_reads_slowly_keeps_nobody_from_the_queue() {
    let spool = spool_dir();
    left(exporter_to(NOWHERE, &spool), |service| service.log_all(&"x".repeat(1000), 1..=800));
    let mut process = tool(["cat", spool.path().to_str().expect("text")])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the tool runs");
    let mut printed = vec![0; 100];
    let mut out = process.stdout.take().expect("a pipe");
    out.read_exact(&mut printed).expect("a record");
    print(spool.path(), ["purge", "--all", "--yes"]);
    assert_eq!(queues(spool.path()).len(), 0);

    out.read_to_end(&mut printed).expect("the rest");
    let (code, _, error) = outcome(&process.wait_with_output().expect("it ends"));
    assert_eq!((code, &*error), (0, ""));
    assert_eq!(messages(&String::from_utf8(printed).expect("text")), names(&"x".repeat(1000), 1..=800));
}

// --- verify, salvage ----------------------------------------------------------------------------------------------

#[test]
fn a_flipped_bit_in_any_entry_is_found_and_the_rest_is_whole() {
    let spool = spool_dir();
    left_by_a_kill(NOWHERE, spool.path());
    print(spool.path(), ["verify"]);
    let databases = databases(spool.path());
    let whole = fs::read(&databases[0]).expect("a file");
    let frames = frames(&databases[0]);
    assert!(frames >= 4, "{frames}");
    for frame in 0..frames {
        damage(&databases[0], frame);
        let (code, out, error) = run(spool.path(), ["verify", "--json"]);
        let report = document(&out);
        assert_eq!(code, 1, "frame {frame}: {out}{error}");
        let damage = report["damage"].as_array().expect("what is wrong");
        assert!(damage.iter().all(|what| what.as_str().is_some_and(|what| what.contains("segment 1: "))), "{out}");
        let records = report["records"].as_u64().expect("a number");
        assert!((1..600).contains(&records), "frame {frame}: {out}");
        // The tool cannot know that records are missing which the owner would have written last.
        let missing = report["missing_records"].as_u64().expect("a number");
        assert!(missing == 600 - records || frame >= frames - 2, "frame {frame}: {out}");
        assert_eq!(run(spool.path(), ["verify"]).0, 1);
        fs::write(&databases[0], &whole).expect("a file that can be written");
    }
    print(spool.path(), ["verify"]);
}

#[test]
fn a_sealed_segment_that_is_cut_short_or_gone_is_found() {
    let spool = spool_dir();
    left(small(exporter_to(NOWHERE, &spool)), |service| service.log_of("acme", 1..=100));
    // The exporter was dropped in order: what it had is sealed.
    let database = databases(spool.path()).remove(0);
    let len = fs::metadata(&database).expect("a file").len();
    fs::File::options().write(true).open(&database).and_then(|file| file.set_len(len / 2)).expect("a shorter file");
    let (code, out, _) = run(spool.path(), ["verify", "--json"]);
    assert_eq!((code, document(&out)["missing_records"].as_u64() > Some(0)), (1, true), "{out}");

    fs::remove_file(&database).expect("a file");
    let (code, out, _) = run(spool.path(), ["verify", "--json"]);
    assert_eq!((code, &document(&out)["missing_records"]), (1, &100.into()), "{out}");
}

#[test]
fn what_is_whole_in_a_damaged_segment_is_salvaged() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    left(small(exporter_to(&receiver.url("/ingest"), &spool)), |service| service.log_of("acme", 1..=100));
    damage(&databases(spool.path())[0], 40);
    receiver.come_up();
    let (code, out, _) = run(spool.path(), ["drain", "--json"]);
    let drained = document(&out);
    assert_eq!((code, &drained["corrupt_records"]), (1, &1.into()), "{out}");
    assert_eq!(receiver.delivered().iter().filter(|message| message.starts_with("acme")).count(), 99);

    let (code, out, error) = run(spool.path(), ["salvage"]);
    let mut expected = names("acme", 1..=100);
    expected.remove(40);
    assert_eq!((code, messages(&out)), (1, expected), "{error}");
    assert!(
        error.contains("frame 40 is missing or damaged") && error.contains("delivered, expired or rejected before"),
        "{error}"
    );

    let file = spool.path().join("salvaged");
    let file = file.to_str().expect("text");
    let (code, printed, _) = run(spool.path(), ["salvage", "--to-file", file]);
    assert_eq!((code, &*printed), (1, ""));
    assert_eq!(fs::read_to_string(file).expect("a file"), out);

    print(spool.path(), ["purge", "--quarantine", "--yes"]);
    assert_eq!(run(spool.path(), ["salvage"]).0, 0);
}

#[test]
fn a_cursor_file_that_is_damaged_is_found_and_hides_no_records() {
    let spool = spool_dir();
    left(small(exporter_to(NOWHERE, &spool)), |service| service.log_of("acme", 1..=10));
    let cursor = databases(spool.path())[0].with_file_name("cursor");
    let whole = fs::read(&cursor).expect("a file");
    for (damaged, words) in [(0..1, "one copy in its cursor file is damaged"), (0..whole.len(), "both copies")] {
        let mut bytes = whole.clone();
        bytes[damaged].fill(1);
        fs::write(&cursor, bytes).expect("a file");
        let (code, out, error) = run(spool.path(), ["verify"]);
        assert!(code == 1 && out.contains(words), "{out}{error}");
        let (code, out, error) = run(spool.path(), ["cat"]);
        assert_eq!((code, messages(&out)), (0, names("acme", 1..=10)), "{error}");
    }
}

// --- drain --------------------------------------------------------------------------------------------------------

#[test]
fn what_killed_processes_left_is_delivered_to_where_they_sent_it_and_nothing_is_left() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    // Both at the same time, or the second would take over what the first has left.
    let mut first = start_child(&receiver.url("/ingest"), spool.path());
    let mut second = start_child(&receiver.url("/ingest"), spool.path());
    log_of(&mut first, "acme", 1, 500);
    log_of(&mut second, "globex", 1, 500);
    first.kill();
    second.kill();
    receiver.come_up();

    let planned = print(spool.path(), ["drain", "--dry-run", "--json"]);
    let planned = document(&planned);
    let sum = |key: &str| -> u64 {
        planned["partitions"].as_array().expect("rows").iter().map(|row| row[key].as_u64().expect("a number")).sum()
    };
    assert_eq!((sum("records"), receiver.requests().len()), (1000, 0));

    let drained = document(&print(spool.path(), ["drain", "--json"]));
    assert_eq!((&drained["delivered_records"], &drained["left_records"]), (&1000.into(), &0.into()));
    for tenant in ["acme", "globex"] {
        let delivered: Vec<_> =
            receiver.delivered().into_iter().filter(|message| message.starts_with(tenant)).collect();
        assert_eq!(delivered, names(tenant, 1..=500));
    }
    let requests = receiver.requests();
    assert_eq!(sum("requests"), requests.len() as u64);
    assert_eq!(sum("bytes"), requests.iter().map(|request| request.body.len() as u64).sum::<u64>());
    assert_eq!(queues(spool.path()).len(), 0);
}

#[test]
fn headers_come_from_the_command_line_and_the_environment_and_are_never_shown() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    left(small(exporter_to("http://user:pa55@127.0.0.1:9/x?key=pa55", &spool)), |service| service.log("one"));
    let endpoint = fs::read_to_string(queues(spool.path())[0].join("endpoint")).expect("a file");
    assert_eq!(endpoint, "http://127.0.0.1:9/x?key=pa55\n");

    let dry = print(spool.path(), ["drain", "--dry-run"]);
    assert!(dry.contains("http://127.0.0.1:9/x?...") && !dry.contains("pa55"), "{dry}");
    let url = receiver.url("/other?key=pa55");
    let spool = spool.path().to_str().expect("text");
    let args = ["drain", spool, "--to", &url, "--header", "x-tenant: acme", "--header-env", "authorization=TOKEN"];
    let (code, out, error) = outcome(&tool(args).env("TOKEN", "Bearer pa55").output().expect("the tool runs"));
    assert_eq!((code, &*error), (0, ""));
    assert!(!out.contains("pa55"), "{out}");
    let request = &receiver.requests()[0];
    assert_eq!(request.target, "/other?key=pa55");
    assert_eq!(
        (&request.headers["x-tenant"], &request.headers["authorization"]),
        (&"acme".parse().expect("a value"), &"Bearer pa55".parse().expect("a value"))
    );
}

#[test]
fn a_header_that_is_none_is_an_error_that_does_not_show_it() {
    let spool = spool_dir();
    left(small(exporter_to(NOWHERE, &spool)), |service| service.log("one"));
    for header in ["pa55", "na me: pa55", "name: pa55\r\nx: y", "Authorization=Basic pa55==: x"] {
        let (code, out, error) = run(spool.path(), ["drain", "--header", header]);
        assert_eq!(code, 2, "{error}");
        assert!(!error.contains("pa55") && out.is_empty(), "{error}");
    }
    assert_eq!(run(spool.path(), ["drain", "--header-env", "name=SPOOL_TEST_UNSET"]).0, 2);
}

#[test]
fn where_it_was_sent_is_noted_for_the_owner_alone_and_anew_when_it_changes() {
    let spool = spool_dir();
    for path in ["/one", "/two"] {
        left(small(exporter_to(&format!("http://127.0.0.1:9{path}"), &spool)), |service| service.log("one"));
        let queues = queues(spool.path());
        assert_eq!(queues.len(), 1);
        let file = queues[0].join("endpoint");
        assert_eq!(fs::read_to_string(&file).expect("a file"), format!("http://127.0.0.1:9{path}\n"));
        #[cfg(unix)]
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&file).expect("a file").permissions()) & 0o777,
            0o600
        );
    }
}

#[test]
fn queues_of_different_endpoints_are_not_mixed_unless_that_is_asked_for() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let one = Service::careless(small(exporter_to("http://127.0.0.1:9/one", &spool)));
    let two = Service::careless(small(exporter_to("http://127.0.0.1:9/two", &spool)));
    one.log("1");
    two.log("2");
    drop((one, two));
    let (code, _, error) = run(spool.path(), ["drain"]);
    assert_eq!(code, 2);
    assert!(
        error.contains("127.0.0.1:9/one") && error.contains("127.0.0.1:9/two") && error.contains("--to"),
        "{error}"
    );

    print(spool.path(), ["drain", "--to", &receiver.url("/ingest")]);
    assert_eq!(receiver.delivered().len(), 2);
}

/// A queue of a signal that an exporter left, with records like `traces-000001` for the endpoint. One of logs comes last, or the
/// next exporter takes it over.
fn left_of(signal: &str, endpoint: &str, spool: &TempDir) {
    let exporter = exporter_to(endpoint, spool).with_encoder(JsonEncoder::default());
    left(exporter, |service| service.log_all(signal, 1..=10));
    // Only logs are produced so far.
    let queue = queues(spool.path()).into_iter().find(|queue| parts_of(queue)[1] == "logs");
    let queue = queue.expect("a queue");
    fs::rename(&queue, with_signal(&queue, signal)).expect("a queue that can be renamed");
}

#[test]
fn each_signal_is_drained_to_where_its_queues_were_sent() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let url = |signal: &str| receiver.url(&format!("/v1/{signal}"));
    let signals = ["traces", "metrics", "logs"];
    for signal in signals {
        left_of(signal, &url(signal), &spool);
    }
    let planned = document(&print(spool.path(), ["drain", "--dry-run", "--json"]));
    for signal in signals {
        assert_eq!(planned["endpoints"][signal], url(signal));
        let rows = planned["partitions"].as_array().expect("rows").iter();
        assert_eq!(rows.filter(|row| row["signal"] == signal && row["records"] == 10).count(), 1);
        let said = format!("1 request with 10 records of {signal} (application/json) would be sent to {}", url(signal));
        let dry = print(spool.path(), ["drain", "--dry-run"]);
        assert!(dry.split_whitespace().collect::<Vec<_>>().join(" ").contains(&said), "{dry}");
    }
    let drained = document(&print(spool.path(), ["drain", "--json"]));
    assert_eq!((&drained["delivered_records"], &drained["left_records"]), (&30.into(), &0.into()));
    assert!(queues(spool.path()).is_empty());
    let requests = receiver.requests();
    assert_eq!(requests.len(), 3);
    for request in requests {
        let signal = request.target.strip_prefix("/v1/").expect("a signal");
        assert_eq!(request.messages[..], names(signal, 1..=10), "{signal}");
    }
}

#[test]
fn one_endpoint_for_several_signals_is_an_error_until_one_is_chosen() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    left_of("traces", NOWHERE, &spool);
    left_of("logs", NOWHERE, &spool);
    let to = receiver.url("/v1/traces");
    for arguments in [&["drain", "--to", &to][..], &["drain", "--dry-run", "--to", &to]] {
        let (code, _, error) = run(spool.path(), arguments.iter().copied());
        assert_eq!(code, 2, "{error}");
        assert!(error.contains("logs, traces") && error.contains("--signal"), "{error}");
    }
    assert_eq!(receiver.requests().len(), 0);
    print(spool.path(), ["drain", "--to", &to, "--signal", "traces"]);
    assert_eq!(receiver.delivered(), names("traces", 1..=10));
    assert_eq!(messages(&print(spool.path(), ["cat"])), names("logs", 1..=10));
    let (code, _, error) = run(spool.path(), ["drain", "--signal", "profiles"]);
    assert_eq!(code, 2);
    assert!(error.contains("logs, traces, metrics"), "{error}");
}

#[test]
fn an_endpoint_that_is_down_holds_up_no_other_signal() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    left_of("traces", &receiver.url("/v1/traces"), &spool);
    left_of("logs", NOWHERE, &spool);
    let spool = spool.path().to_str().expect("text");
    let drain = tool(["drain", spool, "--json"]).stdout(Stdio::piped()).spawn().expect("the tool runs");
    let mut drain = KilledAtEnd(drain);
    assert_eq!(receiver.wait_for_records(10), names("traces", 1..=10));
    assert!(drain.0.try_wait().expect("a process").is_none(), "it goes on with the other");
}

/// A process that does not outlive its test.
struct KilledAtEnd(std::process::Child);

impl Drop for KilledAtEnd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_signal_of_each_queue_is_shown_and_chooses_what_is_read_and_deleted() {
    let spool = spool_dir();
    for signal in ["traces", "metrics", "logs"] {
        left_of(signal, NOWHERE, &spool);
    }
    let listed = document(&print(spool.path(), ["ls", "--json"]));
    let signals = |of: &Value| -> Vec<String> {
        let rows = of.as_array().expect("rows").iter().map(|row| row["signal"].as_str().expect("a signal").to_owned());
        let mut signals: Vec<_> = rows.collect();
        signals.sort_unstable();
        signals
    };
    assert_eq!(signals(&listed["queues"]), ["logs", "metrics", "traces"]);
    assert_eq!(
        signals(&document(&print(spool.path(), ["stats", "--json"]))["partitions"]),
        ["logs", "metrics", "traces"]
    );
    for command in ["ls", "stats", "verify"] {
        let table = print(spool.path(), [command, "--signal", "traces"]);
        assert!(table.contains("SIGNAL") && table.contains("traces") && !table.contains("metrics"), "{table}");
    }
    let verified = document(&print(spool.path(), ["verify", "--json", "--signal", "metrics"]));
    assert_eq!((signals(&verified["segments"]), &verified["records"]), (vec!["metrics".to_owned()], &10.into()));
    assert_eq!(messages(&print(spool.path(), ["cat", "--signal", "traces"])), names("traces", 1..=10));
    let shown = documents(&print(spool.path(), ["cat", "--json", "--signal", "metrics", "-n", "1"]));
    assert_eq!(shown[0]["signal"], "metrics");

    let deleted = print(spool.path(), ["purge", "--all", "--signal", "traces", "--yes"]);
    assert!(deleted.contains("of traces with 10 records"), "{deleted}");
    let listed = document(&print(spool.path(), ["ls", "--json"]));
    assert_eq!(signals(&listed["queues"]), ["logs", "metrics"]);
}

#[test]
fn a_queue_of_a_signal_that_is_not_known_is_listed_and_otherwise_left_alone() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    left_of("profiles", &receiver.url("/v1/profiles"), &spool);
    left_of("logs", &receiver.url("/v1/logs"), &spool);
    let unknown = queues(spool.path()).into_iter().find(|queue| parts_of(queue)[1] == "profiles");
    let unknown = unknown.expect("a queue");
    let before = tree(&unknown);
    for arguments in [
        &["ls"][..],
        &["stats"],
        &["verify"],
        &["cat"],
        &["drain", "--dry-run"],
        &["drain"],
        &["purge", "--all", "--yes"],
    ] {
        let (code, out, error) = run(spool.path(), arguments.iter().copied());
        assert_eq!(code, 0, "{arguments:?}: {error}");
        assert!(error.contains(&id(&unknown)) && error.contains("does not know its signal, profiles"), "{error}");
        assert_eq!(out.contains("profiles"), arguments == ["ls"], "{out}");
    }
    let listed = document(&run(spool.path(), ["ls", "--json"]).1);
    assert_eq!((&listed["queues"][0]["signal"], &listed["queues"][0]["owner"]), (&"profiles".into(), &Value::Null));
    assert!(listed["queues"][0]["disk_bytes"].as_u64() > Some(0));
    let stats = document(&run(spool.path(), ["stats", "--json"]).1);
    assert_eq!((&stats["queues_unknown"], &stats["queues_gone"]), (&1.into(), &0.into()));
    assert!(stats["disk_bytes"].as_u64() >= listed["queues"][0]["disk_bytes"].as_u64());
    assert_eq!(run(spool.path(), ["purge", "--queue", &id(&unknown), "--yes"]).0, 1, "it is not deleted");
    assert!(before == tree(&unknown), "something was changed");
    assert_eq!(receiver.delivered(), names("logs", 1..=10));
}

#[test]
fn what_an_owner_that_is_alive_has_is_left_to_it() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let mut dead = start_child(&receiver.url("/ingest"), spool.path());
    let alive = Service::careless(exporter_to("http://127.0.0.1:9/elsewhere", &spool));
    // It would take over what is left by others, and deliver it nowhere.
    alive.handle.pause();
    alive.log("mine");
    let (code, _, error) = run(spool.path(), ["drain"]);
    assert_eq!(code, 4);
    assert!(error.contains("its owner is alive") && error.contains("1 record in it"), "{error}");

    log_of(&mut dead, "acme", 1, 10);
    dead.kill();
    receiver.come_up();
    let (code, out, error) = run(spool.path(), ["drain", "--to", &receiver.url("/ingest"), "--json"]);
    assert_eq!(code, 0, "{error}");
    assert_eq!(document(&out)["delivered_records"], 10);
    assert_eq!(receiver.delivered(), names("acme", 1..=10));
    assert_eq!(alive.handle.stats().pending_records, 1);
}

#[test]
fn when_the_time_is_up_what_is_left_is_reported_and_stays() {
    let spool = spool_dir();
    left_by_a_kill(NOWHERE, spool.path());
    let (code, out, error) = run(spool.path(), ["drain", "--for", "1s", "--json", "--to", "http://127.0.0.1:9/other"]);
    assert_eq!((code, &document(&out)["left_records"]), (3, &600.into()), "{error}");
    assert!(error.contains("the time is up: 600 records stay in the spool"), "{error}");
    assert_eq!(fs::read_to_string(queues(spool.path())[0].join("endpoint")).expect("a file"), format!("{NOWHERE}\n"));
    assert_eq!(messages(&print(spool.path(), ["cat", "--partition", "acme"])), names("acme", 1..=300));
}

#[test]
fn the_last_error_names_the_endpoint_and_the_proxy_that_the_environment_names() {
    let spool = spool_dir();
    left(exporter_to(NOWHERE, &spool), |service| service.log("one"));
    let drain = |variables: &[(&str, &str)]| {
        let spool = spool.path().to_str().expect("text");
        let mut drain = tool(["drain", spool, "--for", "1s", "--to", "http://me:pa55word@logs.invalid/in?key=s3cret"]);
        for variable in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"] {
            drain.env_remove(variable);
        }
        let (code, _, error) = outcome(&drain.envs(variables.iter().copied()).output().expect("the tool runs"));
        assert_eq!(code, 3, "{error}");
        let (_, last) = error.split_once("the last error: ").expect("an error");
        assert!(!error.contains("pr0xy") && !error.contains("pa55word") && !error.contains("s3cret"), "{error}");
        last.to_owned()
    };
    let shown = "http://logs.invalid/in?...";
    let proxy = Receiver::start();
    proxy.answer_by(|request| {
        let authorization = request.header("proxy-authorization").unwrap_or_default();
        Answer::status(407).body(&format!("not you, {authorization}"))
    });
    let with_password = proxy.url("").replace("://", "://me:pr0xy@");
    for (variables, start) in [
        (&[][..], format!("{shown}: no connection to logs.invalid:80: ")),
        (
            &[("http_proxy", &*with_password)],
            format!("{shown} through proxy {}: the server responded with 407: not you, ***", proxy.url("")),
        ),
        (
            &[("HTTP_PROXY", "http://me:pr0xy@127.0.0.1:9")],
            format!("{shown} through proxy http://127.0.0.1:9: no connection to 127.0.0.1:9: tcp connect error: "),
        ),
        (
            &[("ALL_PROXY", "http://127.0.0.1:9"), ("NO_PROXY", "logs.invalid")],
            format!("{shown}: no connection to logs.invalid:80: "),
        ),
    ] {
        let error = drain(variables);
        assert!(error.starts_with(&start), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_it_and_nothing_is_lost() {
    for signal in ["INT", "TERM"] {
        let (receiver, spool) = (Receiver::start_down(), spool_dir());
        left_by_a_kill(&receiver.url("/ingest"), spool.path());
        receiver.answer_next(Answer::ok());
        receiver.answer_always(Answer::hang());
        receiver.come_up();
        let process = tool(["drain", spool.path().to_str().expect("text"), "--json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the tool runs");
        receiver.wait_for_requests(3);
        common::run(Command::new("kill").args([format!("-{signal}"), process.id().to_string()])).expect("a signal");
        let (code, out, error) = outcome(&process.wait_with_output().expect("it ends"));
        assert_eq!((code, &document(&out)["left_records"]), (3, &500.into()), "{error}");
        assert!(error.contains("interrupted: 500 records stay"), "{error}");

        receiver.answer_always(Answer::ok());
        print(spool.path(), ["drain"]);
        for tenant in ["acme", "globex"] {
            let delivered: Vec<_> =
                receiver.delivered().into_iter().filter(|message| message.starts_with(tenant)).collect();
            assert_eq!(delivered, names(tenant, 1..=300));
        }
    }
}

#[cfg(unix)]
#[test]
fn a_second_interrupt_ends_it_at_once_and_nothing_is_lost() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    left_by_a_kill(&receiver.url("/ingest"), spool.path());
    receiver.answer_always(Answer::hang());
    receiver.come_up();
    let mut process = tool(["drain", spool.path().to_str().expect("text"), "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the tool runs");
    receiver.wait_for_requests(2);
    let id = process.id().to_string();
    let interrupt = || common::run(Command::new("kill").args(["-INT", &id])).expect("a signal");
    interrupt();
    let mut error = BufReader::new(process.stderr.take().expect("a pipe"));
    let mut line = String::new();
    while !line.contains("a second interrupt stops at once") {
        line.clear();
        assert_ne!(error.read_line(&mut line).expect("a line"), 0, "it ended without a word");
    }
    interrupt();
    let mut rest = String::new();
    error.read_to_string(&mut rest).expect("text");
    let (code, out, _) = outcome(&process.wait_with_output().expect("it ends"));
    assert_eq!((code, &*out), (3, ""), "{rest}");
    assert!(rest.contains("interrupted again"), "{rest}");

    receiver.release();
    receiver.answer_always(Answer::ok());
    assert_eq!(document(&print(spool.path(), ["drain", "--json"]))["delivered_records"], 600);
    assert_eq!(queues(spool.path()).len(), 0);
}

#[cfg(feature = "tls")]
#[test]
fn an_endpoint_that_asks_for_a_client_certificate_gets_one() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let receiver = Receiver::start_tls(authority.server(Some(&clients)));
    let (spool, files) = (spool_dir(), spool_dir());
    let file = |name: &str, pem: &str| {
        let path = files.path().join(name).to_str().expect("text").to_owned();
        fs::write(&path, pem).expect("a file");
        path
    };
    let identity = clients.client_identity();
    let (key, certificate) = identity.split_at(identity.find("-----BEGIN CERTIFICATE").expect("a certificate"));
    // No line ends the key's last one.
    let (ca, cert, key) =
        (file("ca.pem", &authority.pem()), file("cert.pem", certificate), file("key.pem", key.trim_end()));
    left(small(exporter_to(&receiver.url("/ingest"), &spool)), |service| service.log("one"));

    for half in [["--cert", &cert], ["--key", &key]] {
        assert_eq!(run(spool.path(), [&["drain"], &half[..]].concat()).0, 2);
    }
    let (code, _, error) = run(spool.path(), ["drain", "--for", "1s", "--ca-cert", &ca]);
    assert_eq!((code, receiver.requests().len()), (3, 0), "{error}");
    let tls = ["--ca-cert", &ca, "--cert", &cert, "--key", &key];
    print(spool.path(), [&["drain"], &tls[..]].concat());
    assert_eq!(receiver.delivered(), ["one"]);

    left_rejected(&Receiver::start(), &Answer::status(422), &spool, 1);
    let retry = ["rejected", "retry", "--all", "--to", &receiver.url("/ingest")];
    assert_eq!(run(spool.path(), [&retry[..], &["--ca-cert", &ca]].concat()).0, 3, "without a certificate");
    print(spool.path(), [&retry[..], &tls[..]].concat());
    assert_eq!(receiver.delivered(), ["one", "acme-000001"]);
}

#[test]
fn what_is_too_old_expires_only_after_a_yes_and_is_reported_in_the_stream() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let mut between = SystemTime::now();
    left(small(exporter_to(&receiver.url("/ingest"), &spool)), |service| {
        service.log_of("acme", 1..=100);
        between = SystemTime::now();
        service.log_of("acme", 101..=150);
    });
    receiver.come_up();
    let between = jiff::Timestamp::try_from(between).expect("a time").to_string();
    let before = tree(spool.path());
    let (code, _, error) = run(spool.path(), ["drain", "--since", &between]);
    assert_eq!(code, 1);
    assert!(error.contains("expire 100 records for good") && error.contains("--yes"), "{error}");
    assert!(before == tree(spool.path()), "something was changed");

    let (code, out, error) = run(spool.path(), ["drain", "--since", &between, "--yes", "--json"]);
    assert_eq!((code, &*error), (0, ""));
    let drained = document(&out);
    assert_eq!((&drained["expired_records"], &drained["delivered_records"]), (&100.into(), &51.into()));
    let delivered = receiver.delivered();
    assert_eq!(delivered[..50], names("acme", 101..=150));
    assert_eq!(delivered[50], "lost 100 records (expired): they waited for too long");
}

#[test]
fn what_is_in_another_format_gets_no_records_of_ours() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    left(exporter_to(NOWHERE, &spool).with_encoder(Binary), |service| (0..5).for_each(|_| service.log("x")));
    let url = receiver.url("/ingest");
    let (code, out, _) = run(spool.path(), ["drain", "--to", &url, "--since", "0s", "--yes", "--json"]);
    assert_eq!((code, &document(&out)["expired_records"]), (0, &5.into()), "{out}");
    assert_eq!(receiver.requests().len(), 0);
}

// --- rejected -----------------------------------------------------------------------------------------------------

#[test]
fn what_a_collector_refuses_because_it_is_no_otlp_is_converted_by_a_relay_as_export_says() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    left_rejected(&receiver, &Answer::status(400).body("no protobuf"), &spool, 2);
    let (code, _, error) = run(spool.path(), ["rejected", "export"]);
    assert!(code == 0 && error.contains("a relay converts them: otel-spool relay "), "{error}");

    let (collector, of_relay) = (Receiver::start(), spool_dir());
    let relay = Relay::builder()
        .with_spool_dir(of_relay.path())
        .with_endpoint(collector.url("/v1/logs"))
        .with_listener(Listener::Http(std::net::SocketAddr::from(([127, 0, 0, 1], 0))))
        .build()
        .expect("a relay");
    let to = format!("http://{}/", relay.addresses()[0]);
    print(spool.path(), ["rejected", "retry", "--all", "--to", &to]);
    for (request, message) in collector.wait_for_requests(2).iter().zip(names("acme", 1..=2)) {
        assert_eq!(request.header("content-type"), Some("application/x-protobuf"));
        let body = request.plain();
        assert!(body.windows(message.len()).any(|part| part == message.as_bytes()), "{message}");
    }
    assert_eq!(documents(&print(spool.path(), ["rejected", "list", "--json"])).len(), 0);

    // What was refused for another reason needs no other format.
    let (receiver, spool) = (Receiver::start(), spool_dir());
    left_rejected(&receiver, &Answer::status(413), &spool, 1);
    assert_eq!(run(spool.path(), ["rejected", "export"]).2, "");
}

#[test]
fn what_was_rejected_is_listed_shown_exported_and_retried() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    left_rejected(&receiver, &Answer::status(422).body("no such field"), &spool, 2);

    let listed = documents(&print(spool.path(), ["rejected", "list", "--json"]));
    assert_eq!(listed.len(), 2);
    assert_eq!((&listed[0]["status"], &listed[0]["response"]), (&422.into(), &"no such field".into()));
    let ids: Vec<_> = listed.iter().map(|record| record["batch_id"].as_str().expect("an id")).collect();
    assert!(print(spool.path(), ["rejected", "list"]).contains("no such field"));
    let shown = print(spool.path(), ["rejected", "show", ids[1]]);
    assert!(shown.contains("no such field") && shown.contains(&name("acme", 2)), "{shown}");
    let exported = documents(&print(spool.path(), ["rejected", "export"]));
    assert_eq!(exported.len(), 2);
    assert!(exported[0]["body"].as_str().is_some_and(|body| body.contains(&name("acme", 1))));

    let asked = receiver.requests().len();
    // No queue is left that says where it was sent to.
    assert_eq!(run(spool.path(), ["rejected", "retry", "--all"]).0, 2);
    let url = receiver.url("/ingest");
    let (code, out, _) = run(spool.path(), ["rejected", "retry", ids[0], "--to", &url]);
    assert_eq!(code, 1);
    assert!(out.contains("422") && out.contains("no such field"), "{out}");
    receiver.answer_always(Answer::ok());
    print(spool.path(), ["rejected", "retry", ids[0], "--to", &url]);
    assert_eq!(documents(&print(spool.path(), ["rejected", "list", "--json"])).len(), 1);
    print(spool.path(), ["rejected", "retry", "--all", "--to", &url]);
    assert_eq!(print(spool.path(), ["rejected", "list", "--json"]), "");
    assert_eq!(delivered_of(&receiver, "acme"), names("acme", 1..=2));
    let again = &receiver.requests()[asked];
    assert_eq!(
        (&again.headers["content-type"], &again.headers["idempotency-key"]),
        (&"application/json".parse().expect("a value"), &ids[0].parse().expect("a value"))
    );
}

#[cfg(feature = "otlp")]
#[test]
fn the_body_of_a_rejected_record_of_otlp_is_shown_in_json_and_as_a_line() {
    for protocol in BOTH {
        let (receiver, spool) = (Receiver::start(), spool_dir());
        receiver.answer_by(|request| {
            let refused = String::from_utf8_lossy(&request.plain()).contains("acme");
            if refused { Answer::status(422) } else { Answer::ok() }
        });
        let service = Service::simple(exporter_to(&receiver.url("/v1/logs"), &spool).with_protocol(protocol));
        service.log("acme");
        service.wait_for_rejected(1);
        let _ = service.provider.shutdown();
        let listed = documents(&print(spool.path(), ["rejected", "list", "--json"]));
        let id = listed[0]["batch_id"].as_str().expect("an id");
        let last = |form: &[&str]| {
            let shown = print(spool.path(), [&["rejected", "show", id], form].concat());
            shown.lines().next_back().expect("a body").to_owned()
        };
        let scope = &document(&last(&[]))["resourceLogs"][0]["scopeLogs"][0];
        assert_eq!(scope["logRecords"][0]["body"]["stringValue"], "acme", "{protocol:?}");
        let line = last(&["--pretty"]);
        assert!(line.ends_with("Z INFO  test: acme shop=Z\u{fc}rich"), "{line}");
    }
}

/// Records that the endpoint refuses lie before others that it takes.
#[test]
fn what_is_refused_while_others_are_taken_is_rejected_and_the_exit_code_shows_it() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    receiver.answer_by(|request| {
        let refused = request.messages.iter().any(|message| message.starts_with("bad"));
        if refused { Answer::status(422).body("no such field") } else { Answer::ok() }
    });
    let service = Service::batch(exporter_to(&receiver.url("/ingest"), &spool));
    service.handle.pause();
    service.store_all("bad", 1..=2);
    // So many that some are taken after the bad ones were refused alone.
    service.store_all("good", 1..=20_000);
    let _ = service.provider.shutdown();
    drop(service);

    let (code, out, _) = run(spool.path(), ["drain"]);
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("2 rejected for good"), "{out}");
    assert_eq!(receiver.delivered().len(), 20_000);
    assert_eq!(documents(&print(spool.path(), ["rejected", "list", "--json"])).len(), 2);
}

/// Altered ones had been sent as if the service had logged them.
#[test]
fn a_rejected_record_that_was_altered_is_named_and_never_sent_nor_printed() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    left_rejected(&receiver, &Answer::status(422), &spool, 4);
    let listed = documents(&print(spool.path(), ["rejected", "list", "--json"]));
    let ids: Vec<_> = listed.iter().map(|record| record["batch_id"].as_str().expect("an id").to_owned()).collect();
    let file = |id: &str| spool.path().join("rejected").join(format!("{id}.logs.json"));
    let text = fs::read_to_string(file(&ids[0])).expect("a file of text");
    fs::write(file(&ids[0]), text.replace(&name("acme", 1), &name("evil", 1))).expect("a file that can be written");
    fs::remove_file(file(&ids[1])).and_then(|()| fs::create_dir(file(&ids[1]))).expect("what cannot be read");

    let named = |(code, out, error): (i32, String, String), damaged: &[usize]| {
        assert_eq!(code, 1, "{out}{error}");
        for (at, id) in ids.iter().enumerate() {
            assert_eq!(error.contains(&format!("rejected record {id}: it")), damaged.contains(&at), "{error}");
        }
        assert!(!out.contains(&name("evil", 1)), "{out}");
        out
    };
    let ids_of = |out: &str| -> Vec<_> { documents(out).iter().map(|record| record["batch_id"].clone()).collect() };
    assert_eq!(ids_of(&named(run(spool.path(), ["rejected", "list", "--json"]), &[0, 1])), ids[2..]);
    named(run(spool.path(), ["rejected", "list"]), &[0, 1]);
    assert_eq!(ids_of(&named(run(spool.path(), ["rejected", "export"]), &[0, 1])), ids[2..]);
    assert_eq!(named(run(spool.path(), ["rejected", "show", &ids[0]]), &[0]), "");
    print(spool.path(), ["rejected", "show", &ids[2]]);
    let (code, out, _) = run(spool.path(), ["verify"]);
    assert_eq!((code, ids.iter().filter(|id| out.contains(*id)).count()), (1, 2), "{out}");
    assert_eq!(document(&print(spool.path(), ["stats", "--json"]))["rejected_damaged"], 2);

    receiver.answer_always(Answer::ok());
    let url = receiver.url("/ingest");
    let out = named(run(spool.path(), ["rejected", "retry", &ids[0], &ids[2], "--to", &url]), &[0]);
    assert!(out.contains("1 record delivered, 0 rejected again, 0 left"), "{out}");
    named(run(spool.path(), ["rejected", "retry", "--all", "--to", &url]), &[0, 1]);
    assert_eq!(delivered_of(&receiver, "acme"), names("acme", 3..=4));
    assert!(file(&ids[0]).exists() && file(&ids[1]).exists(), "they are left for a person");
}

#[test]
fn what_was_rejected_stays_while_the_endpoint_is_down() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    left_rejected(&receiver, &Answer::status(400), &spool, 1);
    let (code, out, error) = run(spool.path(), ["rejected", "retry", "--all", "--to", NOWHERE]);
    assert_eq!(code, 3, "{out}{error}");
    assert_eq!(documents(&print(spool.path(), ["rejected", "list", "--json"])).len(), 1);
    print(spool.path(), ["purge", "--rejected", "--yes"]);
    assert_eq!(print(spool.path(), ["rejected", "list", "--json"]), "");
}

#[test]
fn a_response_that_is_about_the_endpoint_ends_the_retry_and_rejects_no_record() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    left_rejected(&receiver, &Answer::status(400), &spool, 2);
    let url = receiver.url("/ingest?key=pa55");
    for status in [429, 503, 401, 404] {
        let asked = receiver.requests().len();
        receiver.answer_always(Answer::status(status).body("not now"));
        let (code, out, error) = run(spool.path(), ["rejected", "retry", "--all", "--to", &url]);
        assert_eq!((code, receiver.requests().len()), (3, asked + 1), "{out}{error}");
        assert!(out.contains("not now") && out.contains("0 rejected again, 2 left"), "{out}");
        assert!(error.contains(&format!("responded with {status}")) && !error.contains("pa55"), "{error}");
    }
    assert_eq!(documents(&print(spool.path(), ["rejected", "list", "--json"])).len(), 2);
}

#[test]
fn a_rejected_record_that_the_service_deletes_meanwhile_is_none_to_fail_for() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    left_rejected(&receiver, &Answer::status(400), &spool, 3);
    let rejected = spool.path().join("rejected");
    let delete = rejected.clone();
    receiver.answer_by(move |_| {
        for file in fs::read_dir(&delete).expect("a directory") {
            fs::remove_file(file.expect("a file").path()).expect("a file that can be deleted");
        }
        Answer::ok()
    });
    let out = print(spool.path(), ["rejected", "retry", "--all", "--to", &receiver.url("/ingest")]);
    assert!(out.contains("3 records delivered, 0 rejected again, 0 left"), "{out}");

    let left = fs::File::create(rejected.join("left.new")).expect("a file");
    left.set_modified(SystemTime::UNIX_EPOCH).expect("a time");
    drop(left);
    fs::write(rejected.join("unreadable.json"), "{").expect("a file");
    fs::write(rejected.join("being-written.new"), "{").expect("a file");
    print(spool.path(), ["purge", "--rejected", "--yes"]);
    let stays: Vec<_> = tree(&rejected).into_keys().collect();
    assert_eq!(stays, [rejected.join("being-written.new")]);
}

// --- assign -------------------------------------------------------------------------------------------------------

#[test]
fn what_is_stranded_beside_a_living_owner_is_shown_and_goes_to_it_when_it_is_assigned() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    left(exporter_to(NOWHERE, &spool), |service| service.log_all("old", 1..=10));
    let stranded = |spool: &Path| document(&print(spool, ["stats", "--json"]))["stranded_records"].clone();
    assert_eq!(stranded(spool.path()), 0, "nobody knows yet where the next exporter sends");
    let service = Service::simple(small(exporter(&receiver, &spool)));
    assert_eq!(stranded(spool.path()), 10);
    let owners = |table: String| table.matches("stranded").count();
    assert_eq!((owners(print(spool.path(), ["ls"])), owners(print(spool.path(), ["stats"]))), (1, 1));
    let listed = document(&print(spool.path(), ["ls", "--json"]));
    let of = |queue: &Value| (queue["owner"].clone(), queue["stranded"].clone(), queue["endpoint"].clone());
    let queues: Vec<_> = listed["queues"].as_array().expect("queues").iter().map(of).collect();
    assert!(queues.contains(&("gone".into(), true.into(), NOWHERE.into())), "{queues:?}");
    assert!(queues.contains(&("alive".into(), false.into(), receiver.url("/ingest").into())), "{queues:?}");

    let to = receiver.url("/ingest").replace("http://", "http://me:pa55@");
    let (code, _, error) = run(spool.path(), ["assign", "--to", &to]);
    assert_eq!(code, 1);
    assert!(error.contains("1 queue with 10 records that were spooled for http://127.0.0.1:9/ingest"), "{error}");
    assert!(error.contains("--yes") && !error.contains("pa55"), "{error}");
    let done = document(&print(spool.path(), ["assign", "--to", &to, "--yes", "--json"]));
    assert_eq!((&done["endpoint"], &done["assigned"][0]["was"]), (&receiver.url("/ingest").into(), &NOWHERE.into()));
    assert_eq!(done["assigned"][0]["waiting_records"], 10);
    assert_eq!(receiver.wait_for_records(10), names("old", 1..=10));
    let again = print(spool.path(), ["assign", "--to", &to, "--yes"]);
    assert_eq!(again, "there is nothing to assign\n");
    drop(service);
}

#[test]
fn only_queues_of_one_signal_and_without_an_owner_are_assigned() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    for signal in ["traces", "logs"] {
        left_of(signal, NOWHERE, &spool);
    }
    let to = receiver.url("/v1/traces");
    let (code, _, error) = run(spool.path(), ["assign", "--to", &to, "--yes"]);
    assert!(code == 2 && error.contains("logs, traces") && error.contains("--signal"), "{error}");
    let assigned = print(spool.path(), ["assign", "--to", &to, "--signal", "traces", "--yes"]);
    assert_eq!(assigned, format!("assigned 1 queue with 10 records to {to}\n"));
    print(spool.path(), ["drain", "--signal", "traces"]);
    assert_eq!(receiver.delivered(), names("traces", 1..=10));

    let alive = Service::careless(small(exporter_to("http://127.0.0.1:9/alive", &spool)));
    alive.handle.pause();
    alive.log("mine");
    let logs: Vec<_> = queues(spool.path()).iter().map(|queue| id(queue)).collect();
    for queue in &logs {
        let (code, _, error) = run(spool.path(), ["assign", "--to", &to, "--yes", "--queue", queue]);
        assert!(code == 1 && error.contains("its owner is alive: it is not assigned"), "{error}");
    }
    assert_eq!(run(spool.path(), ["assign", "--to", &to, "--yes", "--queue", "0123456789abcdef"]).0, 2);
    let (code, _, error) = run(spool.path(), ["assign", "--to", "pa55@host", "--yes"]);
    assert!(code == 2 && error.contains("--to is no URL") && !error.contains("pa55"), "{error}");
}

#[test]
fn without_an_endpoint_only_what_is_for_the_noted_one_is_drained_and_with_one_all_of_it() {
    let (noted, receiver, spool) = (Receiver::start(), Receiver::start(), spool_dir());
    left(small(exporter(&noted, &spool)), |service| service.log("one"));
    print(spool.path(), ["drain"]);
    assert_eq!(noted.delivered(), ["one"]);
    left(small(exporter(&noted, &spool)), |service| service.log("two"));
    // What is noted decides nothing.
    let queue = queues(spool.path()).remove(0);
    fs::write(queue.join("endpoint"), format!("{}\n", receiver.url("/ingest"))).expect("a file");
    let (code, _, error) = run(spool.path(), ["drain"]);
    assert_eq!((code, receiver.delivered().len()), (3, 0), "{error}");
    print(spool.path(), ["drain", "--to", &receiver.url("/ingest")]);
    assert_eq!(receiver.delivered(), ["two"]);
}

// --- purge --------------------------------------------------------------------------------------------------------

#[test]
fn nothing_is_deleted_without_a_yes_nor_where_the_owner_is_alive() {
    let spool = spool_dir();
    let one = Service::careless(small(exporter_to(NOWHERE, &spool)));
    let two = Service::careless(small(exporter_to(NOWHERE, &spool)));
    let alive = Service::careless(small(exporter_to(NOWHERE, &spool)));
    for service in [&one, &two, &alive] {
        service.handle.pause();
        service.log("one");
    }
    let all = queues(spool.path());
    drop((one, two));
    let dead: Vec<_> = document(&run(spool.path(), ["ls", "--json"]).1)["queues"]
        .as_array()
        .expect("queues")
        .iter()
        .filter(|queue| queue["owner"] == "gone")
        .map(|queue| queue["queue"].as_str().expect("an id").to_owned())
        .collect();
    assert_eq!((all.len(), dead.len()), (3, 2));

    let (code, _, error) = run(spool.path(), ["purge", "--all"]);
    assert_eq!(code, 1);
    assert!(error.contains("1 record that wait") && error.contains("--yes"), "{error}");
    assert_eq!(queues(spool.path()), all);

    print(spool.path(), ["purge", "--queue", &dead[0], "--yes"]);
    assert_eq!(queues(spool.path()).len(), 2);
    let (code, _, error) = run(spool.path(), ["purge", "--all", "--yes"]);
    assert_eq!(code, 0, "the third is alive, and is none of those that were meant");
    assert!(error.contains("its owner is alive: it is not deleted"), "{error}");
    let living = id(&queues(spool.path())[0]);
    let (code, _, error) = run(spool.path(), ["purge", "--queue", &living, "--yes"]);
    assert_eq!(code, 1, "{error}");
    assert_eq!(queues(spool.path()).len(), 1);
    alive.log("two");
    assert_eq!(alive.handle.stats().pending_records, 2);
    assert_eq!(run(spool.path(), ["purge", "--queue", &dead[0], "--yes"]).0, 2, "it is gone");
    assert_eq!(run(spool.path(), ["purge"]).0, 2, "nothing was named");
}

// --- the rest -----------------------------------------------------------------------------------------------------

#[test]
fn exit_codes_show_what_went_wrong_and_the_help_lists_them() {
    let run = |args: &[&str]| outcome(&tool(args.iter().copied()).output().expect("the tool runs"));
    let (code, help, _) = run(&["--help"]);
    assert!(code == 0 && help.contains("Exit codes:") && help.contains("3  not everything"), "{help}");
    assert_eq!(run(&["frobnicate"]).0, 2);
    assert_eq!(run(&["cat", "/nowhere", "--since", "yesterday"]).0, 2);
    let (code, _, error) = run(&["ls", "/nowhere/at/all"]);
    assert_eq!((code, error.lines().count()), (4, 1), "{error}");
    let empty = spool_dir();
    let (code, _, error) = run(&["ls", empty.path().to_str().expect("text")]);
    assert!(code == 4 && error.contains("is not a spool"), "{error}");
    assert!(!error.contains("with_"), "{error}");
    assert_eq!(fs::read_dir(empty.path()).expect("a directory").count(), 0, "nothing was written");
}

/// What is typed is named, and no method of the library.
#[test]
fn a_directory_that_is_no_spool_is_told_from_one_beside_above_or_below_it() {
    let spool = spool_dir();
    left(small(exporter_to(NOWHERE, &spool)), |service| service.log_of("acme", 1..=3));
    let root = fs::canonicalize(spool.path()).expect("a directory");
    let queue = queues(&root).remove(0);
    let segment = databases(&root)[0].parent().expect("a directory").to_owned();
    let outside = spool_dir();
    fs::rename(&root, outside.path().join("spool")).expect("a directory that can be moved");
    let moved = |path: &Path| outside.path().join("spool").join(path.strip_prefix(&root).expect("a path below it"));
    let spool = fs::canonicalize(outside.path().join("spool")).expect("a directory");
    let of_spool = format!("the spool `{}`: give that directory", spool.display());
    for (given, says) in [
        (moved(&queue), format!("is a queue of {of_spool}; `cat` and `purge` take `--queue {}`", id(&queue))),
        (moved(&segment), format!("is a part of {of_spool}")),
        (outside.path().to_owned(), format!("is not a spool; `{}` is one", spool.display())),
        (spool.join("format"), "is a file: give the directory of a spool".to_owned()),
        (spool.join("nothing"), "there is no directory".to_owned()),
    ] {
        let (code, out, error) = run(&given, ["ls"]);
        assert!(code == 4 && out.is_empty() && error.contains(&says), "{error} is not {says}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn an_error_names_what_was_typed_and_no_method_of_the_library() {
    let spool = spool_dir();
    left(small(exporter_to(NOWHERE, &spool)), |service| service.log_of("acme", 1..=3));
    for (args, names) in [
        (&["drain", "--to", "ftp://host/"][..], "`--to` is invalid"),
        (&["drain", "--to", "tcp://127.0.0.1:9", "--header", "a:b"], "`--header` is invalid"),
        (&["drain", "--to", "tcp://127.0.0.1:9", "--method", "get"], "`--method` is invalid"),
        (&["drain", "--to", "http://127.0.0.1:9", "--timeout", "0s"], "`--timeout` is invalid"),
    ] {
        let (code, _, error) = run(spool.path(), args.iter().copied());
        assert!(code == 2 && error.contains(names) && !error.contains("with_"), "{args:?}: {error}");
    }
}

#[test]
fn a_command_that_is_misspelled_is_answered_with_the_one_that_was_meant() {
    let run = |args: &[&str]| outcome(&tool(args.iter().copied()).output().expect("the tool runs"));
    for (typed, meant) in [("stat", "stats"), ("drian", "drain"), ("verfiy", "verify")] {
        let (code, _, error) = run(&[typed, "/nowhere"]);
        assert!(code == 2 && error.contains(&format!("'{meant}'")), "{error}");
    }
    let (code, _, error) = run(&["drain", "--dryrun", "/nowhere"]);
    assert!(code == 2 && error.contains("'--dry-run'"), "{error}");
}

#[test]
fn every_command_has_examples_in_its_help_and_in_the_man_page() {
    let run = |args: &[&str]| outcome(&tool(args.iter().copied()).output().expect("the tool runs"));
    let (_, man, _) = run(&["man"]);
    // roff escapes what could be a control.
    let man = man.replace("\\-", "-").replace("\\&", "").replace("\\*(Aq", "'");
    for command in ["ls", "cat", "stats", "top", "verify", "drain", "relay", "rejected", "salvage", "purge", "report"] {
        let (code, help, _) = run(&[command, "--help"]);
        let examples = help.split_once("Examples:").unwrap_or_else(|| panic!("{command}: {help}")).1;
        assert_eq!(code, 0);
        let examples: Vec<_> = examples.lines().filter(|line| line.trim_start().starts_with("otel-spool ")).collect();
        assert!(!examples.is_empty(), "{command}: {help}");
        for example in examples {
            assert!(man.contains(example.trim()), "{command}: {example} is not in the man page");
        }
    }
}

#[test]
fn completions_and_the_man_page_know_every_command() {
    let print = |args: &[&str]| outcome(&tool(args.iter().copied()).output().expect("the tool runs")).1;
    let man = print(&["man"]);
    for command in ["ls", "cat", "stats", "verify", "drain", "rejected retry", "salvage", "purge", "report"] {
        let title = format!(".SH \"OTEL-SPOOL {}\"", command.to_uppercase());
        assert!(man.contains(&title), "{title}");
    }
    assert!(man.contains("Exit codes"));
    for shell in ["bash", "zsh", "fish"] {
        let script = print(&["completions", shell]);
        assert!(script.contains("drain") && script.contains("dry-run"), "{shell}");
    }
}
