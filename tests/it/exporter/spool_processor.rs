//! `SpoolProcessor`: bursts arrive whole, what was flushed is on disk, and what finds no room is counted and reported.

#![cfg(target_os = "linux")]

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use std::process::Command;

use common::children::NEVER;
use common::children::processor::{FEW, MANY, lossless, service};
use common::{
    Child, Disk, PATIENCE, Receiver, Service, by_tenant, exporter, in_time, name, names, noise, settings, spool_dir,
};
use opentelemetry::InstrumentationScope;
use opentelemetry::logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::logs::{LogProcessor as _, SdkLogRecord, SdkLogger, SdkLoggerProvider};
#[cfg(feature = "config-file")]
use opentelemetry_spool::LogExporter;
use opentelemetry_spool::{
    BoxError, Encoder, Framing, FullPolicy, JsonEncoder, LogExporterBuilder, LogView, SpoolProcessor,
};

use crate::CHILD;

fn message_of(record: &dyn LogView) -> String {
    match record.body() {
        Some(AnyValue::String(message)) => message.to_string(),
        other => panic!("a message of text, not {other:?}"),
    }
}

/// How many records a gap record tells of.
#[expect(clippy::ptr_arg, reason = "for `filter_map`")]
fn reported_in(message: &String) -> Option<u64> {
    message.strip_prefix("lost ")?.split_once(' ')?.0.parse().ok()
}

/// Waits until gap records have reported so many records. Gives the messages of the others, and how many were reported.
fn wait_for_reported(receiver: &Receiver, records: u64) -> (Vec<String>, u64) {
    receiver.wait_until("losses to be reported", |log| {
        (log.delivered.iter().filter_map(reported_in).sum::<u64>() >= records).then_some(())
    });
    let (gaps, messages): (Vec<_>, Vec<_>) =
        receiver.delivered().into_iter().partition(|message| reported_in(message).is_some());
    (messages, gaps.iter().filter_map(reported_in).sum())
}

// --- bursts --------------------------------------------------------------------------------------------------------

#[test]
fn a_hundred_thousand_records_in_a_tight_loop_arrive_once_and_in_order() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let service = service(exporter(&receiver, &spool), lossless);
    service.log_all("m", 1..=100_000);
    service.deliver();

    assert!(receiver.delivered() == names("m", 1..=100_000), "{} records", receiver.delivered().len());
    assert_eq!(receiver.look(|log| log.repeated), 0);
    let stats = service.handle.stats();
    assert_eq!((stats.accepted_records, stats.lost_records), (100_000, 0));
}

#[test]
fn the_records_of_each_of_several_threads_keep_their_order() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    // Small, so that they also wait for one another.
    let service = service(exporter(&receiver, &spool), |it| lossless(it).with_max_buffer_bytes(64 << 10));
    let threads = ["a", "b", "c", "d"];
    thread::scope(|scope| {
        for thread in threads {
            let service = &service;
            scope.spawn(move || service.log_all(thread, 1..=3_000));
        }
    });
    service.deliver();

    let delivered = receiver.delivered();
    assert_eq!(delivered.len(), 12_000);
    for thread in threads {
        let of_it = delivered.iter().filter(|message| message.starts_with(thread));
        assert!(of_it.eq(&names(thread, 1..=3_000)), "{thread}");
    }
}

#[test]
fn partitions_are_kept_apart_and_each_in_order() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let service = service(exporter(&receiver, &spool).with_partition_key(by_tenant), lossless);
    for number in 1..=500 {
        service.log_of("red", number..=number);
        service.log_of("blue", number..=number);
    }
    service.deliver();

    for request in receiver.requests() {
        let tenants: HashSet<_> = request.messages.iter().filter_map(|message| message.split('-').next()).collect();
        assert_eq!(tenants.len(), 1, "{tenants:?} in one request");
    }
    for tenant in ["red", "blue"] {
        let delivered = receiver.delivered();
        assert!(delivered.iter().filter(|message| message.starts_with(tenant)).eq(&names(tenant, 1..=500)), "{tenant}");
    }
}

#[test]
fn nobody_needs_to_flush_and_a_thread_that_sleeps_is_woken_by_each_record() {
    for delay in [Duration::ZERO, Duration::from_millis(1)] {
        let (receiver, spool) = (Receiver::start(), spool_dir());
        let service = service(exporter(&receiver, &spool), |it| it.with_commit_delay(delay));
        for number in 1..=20 {
            service.log(&name("m", number));
            receiver.wait_for_records(number);
        }
        assert_eq!(receiver.delivered(), names("m", 1..=20));
    }
}

#[test]
fn a_good_part_of_the_buffer_is_committed_before_the_delay_is_over() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let service =
        service(exporter(&receiver, &spool), |it| it.with_commit_delay(NEVER).with_max_buffer_bytes(64 << 10));
    service.log_all("m", 1..=100);
    receiver.wait_for_records(40);
    service.deliver();
    assert_eq!(receiver.delivered(), names("m", 1..=100));
}

#[test]
fn the_resource_reaches_the_encoder() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let provider =
        SdkLoggerProvider::builder().with_resource(Resource::builder_empty().with_service_name("checkout").build());
    let service = Service::build(exporter(&receiver, &spool), provider, |provider, exporter| {
        provider.with_log_processor(SpoolProcessor::new(exporter).expect("a processor"))
    });
    service.log("hello");
    service.deliver();
    assert_eq!(receiver.requests()[0].records()[0]["process"]["name"], "checkout");
}

// --- no room -------------------------------------------------------------------------------------------------------

#[test]
fn a_record_that_is_larger_than_the_buffer_waits_for_it_to_be_empty() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let service =
        service(exporter(&receiver, &spool), |it| lossless(it).with_commit_delay(NEVER).with_max_buffer_bytes(2_000));
    for number in 1..=30 {
        service.log_with(&name("m", number), |record| {
            record.add_attribute("padding", "x".repeat(if number % 3 == 0 { 100_000 } else { 10 }));
        });
    }
    service.deliver();
    assert_eq!(receiver.delivered(), names("m", 1..=30));
}

#[test]
fn without_a_wait_what_finds_no_room_is_lost_counted_and_reported() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let service = service(exporter(&receiver, &spool).with_partition_key(by_tenant), |it| {
        it.with_max_wait(Duration::ZERO).with_max_buffer_bytes(1)
    });
    // Each waits until the one before is synced, or rather does not.
    for number in 1..=1_000 {
        service.log_of(["red", "blue"][number % 2], number..=number);
    }
    service.sync();
    let stats = service.handle.stats();
    assert!(stats.lost_records > 0, "{stats:?}");
    assert_eq!(stats.buffer_full_records, stats.lost_records);
    assert_eq!(stats.accepted_records + stats.lost_records, 1_000);
    let (delivered, reported) = wait_for_reported(&receiver, stats.lost_records);
    assert_eq!((delivered.len() as u64, reported), (stats.accepted_records, stats.lost_records));
}

/// A spool that takes no more: its limit is reached, and nobody delivers. Gives how many records of 100 KB it has; one
/// more waits in the buffer.
fn fill(service: &Service) -> usize {
    for number in 1.. {
        log_100_kb(service, &name("fill", number));
        if let Err(error) = service.provider.force_flush() {
            assert!(error.to_string().contains("full"), "{error}");
            return number - 1;
        }
    }
    unreachable!()
}

fn log_100_kb(service: &Service, message: &str) {
    service.log_with(message, |record| record.add_attribute("padding", noise(100_000)));
}

fn small_spool(receiver: &Receiver, spool: impl AsRef<Path>) -> LogExporterBuilder {
    exporter(receiver, spool).with_max_spool_bytes(8 << 20).with_full_policy(FullPolicy::RejectNew)
}

#[test]
fn what_the_buffer_holds_while_the_spool_is_full_arrives_and_the_rest_is_counted_and_reported() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    // However long it might wait: while the spool rejects records, nobody does.
    let service = service(small_spool(&receiver, &spool), |it| it.with_max_buffer_bytes(1 << 20).with_max_wait(NEVER));
    let filled = fill(&service);
    for number in 1..=30 {
        log_100_kb(&service, &name("more", number));
    }
    let stats = service.handle.stats();
    assert_eq!(stats.accepted_records, filled as u64);
    let kept = 30 - usize::try_from(stats.lost_records).expect("a count");
    assert!((5..=10).contains(&kept), "{kept} records of 100 KB in 1 MiB, beside one that was there");
    assert!(stats.failed_exports > 0);

    receiver.come_up();
    service.wait_for_stats("the buffer to be committed", |stats| stats.accepted_records == (filled + 1 + kept) as u64);
    service.sync();
    let expected = [names("fill", 1..=filled + 1), names("more", 1..=kept)].concat();
    let (delivered, reported) = wait_for_reported(&receiver, 30 - kept as u64);
    assert_eq!(delivered, expected);
    assert_eq!(reported, 30 - kept as u64);
    assert_eq!(service.handle.stats().lost_records, reported);
}

#[test]
fn what_a_full_spool_does_not_take_at_shutdown_is_an_error_that_says_why() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let service = service(small_spool(&receiver, &spool), |it| it);
    let filled = fill(&service);
    let error = service.provider.shutdown().expect_err("a record is lost").to_string();
    assert!(error.contains("full"), "{error}");

    receiver.come_up();
    let service = Service::batch(small_spool(&receiver, &spool));
    service.deliver();
    let (delivered, _) = wait_for_reported(&receiver, 0);
    assert_eq!(delivered, names("fill", 1..=filled));
}

#[test]
fn what_is_logged_while_the_disk_is_full_arrives_once_there_is_space() {
    let Some(disk) = Disk::create(64) else { return };
    // It is down: what was delivered would be removed, and leave space.
    let receiver = Receiver::start_down();
    let exporter = exporter(&receiver, disk.path().join("spool")).with_segment_bytes(1 << 20);
    let service = service(exporter, |it| it);
    log_100_kb(&service, &name("m", 1));
    service.sync();
    disk.fill();
    for number in 2..=40 {
        log_100_kb(&service, &name("m", number));
    }
    let error = service.provider.force_flush().expect_err("a disk without space").to_string();
    assert!(error.contains("spool"), "{error}");
    disk.free();
    receiver.come_up();
    service.wait_for_stats("the buffer to be committed", |stats| stats.accepted_records == 40);
    service.deliver();
    assert_eq!(receiver.delivered(), names("m", 1..=40));
}

// --- what is safe --------------------------------------------------------------------------------------------------

#[test]
fn what_was_flushed_is_on_disk_and_what_was_not_is_not() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let service = service(exporter(&receiver, &spool), |it| it.with_commit_delay(NEVER));
    service.log_all("m", 1..=100);
    assert_eq!(service.handle.stats().pending_records, 0);
    service.sync();
    assert_eq!(service.handle.stats().pending_records, 100);
    service.sync();
    receiver.come_up();
    service.deliver();
    assert_eq!(receiver.delivered(), names("m", 1..=100));
}

/// The delivered records of a child that was killed after these commands, or during another one.
fn killed_after(commands: &[&str], during: Option<&str>) -> Vec<String> {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let mut child = Child::start(Command::new(CHILD), "processor", settings(&receiver.url("/"), spool.path()));
    for command in commands {
        child.tell(command);
        child.wait_for("done");
    }
    if let Some(command) = during {
        child.tell(command);
    }
    child.kill();
    receiver.come_up();
    Service::batch(exporter(&receiver, &spool)).deliver();
    receiver.delivered()
}

#[test]
fn a_kill_takes_what_was_not_flushed_and_nothing_else() {
    assert_eq!(killed_after(&["log kept", "flush"], None), names("kept", 1..=FEW));
    assert_eq!(killed_after(&["log kept", "flush", "log more"], None), names("kept", 1..=FEW));
}

#[test]
fn a_kill_in_a_burst_leaves_no_hole() {
    let delivered = killed_after(&["log kept", "flush", "burst first"], Some("burst second"));
    let expected = [names("kept", 1..=FEW), names("first", 1..=MANY), names("second", 1..=MANY)].concat();
    assert!(delivered.len() > FEW, "{} records", delivered.len());
    assert!(delivered == expected[..delivered.len()]);
}

/// A processor to call oneself, and a record for it.
fn processor(receiver: &Receiver, spool: &tempfile::TempDir) -> (SpoolProcessor, SdkLogRecord, InstrumentationScope) {
    let exporter = exporter(receiver, spool).build().expect("an exporter");
    let processor = SpoolProcessor::builder(exporter).with_commit_delay(NEVER).build().expect("a processor");
    let mut record = SdkLoggerProvider::builder().build().logger("test").create_log_record();
    record.set_body("hello".into());
    (processor, record, InstrumentationScope::builder("test").build())
}

/// The records that another exporter finds in the spool.
fn left_in(spool: &tempfile::TempDir, receiver: &Receiver) -> Vec<String> {
    receiver.come_up();
    Service::batch(exporter(receiver, spool)).deliver();
    receiver.delivered()
}

#[test]
fn a_shutdown_commits_the_rest_and_comes_once() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let (processor, mut record, scope) = processor(&receiver, &spool);
    processor.emit(&mut record, &scope);
    processor.shutdown_with_timeout(PATIENCE).expect("a shutdown");
    processor.emit(&mut record, &scope);
    let is_shut_down = |result: OTelSdkResult| matches!(result, Err(OTelSdkError::AlreadyShutdown));
    assert!(is_shut_down(processor.shutdown_with_timeout(PATIENCE)));
    assert!(is_shut_down(processor.force_flush()));
    drop(processor);
    assert_eq!(left_in(&spool, &receiver), ["hello"]);
}

#[test]
fn dropping_commits_the_rest() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let (processor, mut record, scope) = processor(&receiver, &spool);
    processor.emit(&mut record, &scope);
    drop(processor);
    assert_eq!(left_in(&spool, &receiver), ["hello"]);
}

#[test]
fn the_copy_of_a_processor_that_was_forked_neither_waits_nor_keeps_anything() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let mut child = Child::start(Command::new(CHILD), "fork-processor", settings(&receiver.url("/"), spool.path()));
    assert_eq!(child.wait_for("ended"), "0", "how the forked process ended");
    child.finish();
    assert_eq!(receiver.delivered(), ["of the parent"]);
}

// --- what users bring ----------------------------------------------------------------------------------------------

/// Panics over a record that says so.
struct Fragile(JsonEncoder);

impl Encoder for Fragile {
    fn framing(&self) -> Framing {
        self.0.framing()
    }

    fn encode(&self, record: &dyn LogView, scope: &InstrumentationScope, out: &mut Vec<u8>) -> Result<(), BoxError> {
        out.extend_from_slice(b"half of a record");
        assert!(message_of(record) != "panic of the encoder", "as asked");
        out.clear();
        self.0.encode(record, scope, out)
    }
}

#[test]
fn an_encoder_and_a_key_function_that_panic_cost_their_record_only() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let exporter = exporter(&receiver, &spool).with_encoder(Fragile(JsonEncoder::default())).with_partition_key(
        |record, _scope| {
            assert!(message_of(record) != "panic of the key", "as asked");
            String::new()
        },
    );
    let service = service(exporter, |it| it);
    service.log_these(&["one", "panic of the encoder", "two", "panic of the key", "three"]);
    service.deliver();
    assert_eq!(receiver.delivered(), ["one", "two", "three"]);
    assert_eq!(service.handle.stats().encode_failed_records, 2);
}

#[test]
fn a_key_function_that_logs_neither_hangs_nor_feeds_itself() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let logger: Arc<OnceLock<SdkLogger>> = Arc::default();
    let of_key = Arc::clone(&logger);
    let exporter = exporter(&receiver, &spool).with_partition_key(move |_record, _scope| {
        let logger = of_key.get().expect("a logger");
        let mut record = logger.create_log_record();
        record.set_body("of the key function".into());
        logger.emit(record);
        String::new()
    });
    let service = service(exporter, lossless);
    logger.set(service.logger.clone()).expect("the first one");
    in_time("logging", move || {
        service.log_all("m", 1..=100);
        service.deliver();
        service.provider.shutdown().expect("a shutdown");
    });
    assert_eq!(receiver.delivered(), names("m", 1..=100));
}

// --- settings of a file ---------------------------------------------------------------------------------------------

/// A node `spool` with an exporter that nothing limits in time.
#[cfg(feature = "config-file")]
fn file(receiver: &Receiver, spool: &tempfile::TempDir) -> opentelemetry_spool::ExporterConfig {
    let (endpoint, dir) = (receiver.url("/ingest"), spool.path().display().to_string());
    let yaml = format!(
        "logger_provider:\n  processors:\n    - spool:\n        commit_delay: 10000d\n        exporter:\n          spool:\n            \
         endpoint: {endpoint}\n            spool_dir: {dir}\n            timeout: 0\n"
    );
    opentelemetry_spool::ExporterConfig::from_yaml(&yaml).expect("a configuration")
}

#[cfg(feature = "config-file")]
#[test]
fn a_file_configures_the_processor_and_the_exporter_in_it() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let config = file(&receiver, &spool);
    let exporter = LogExporter::builder().with_config(config.clone());
    let service = service(exporter, |it| it.with_config(config));
    service.log("waits");
    assert_eq!(service.handle.stats().accepted_records, 0, "its delay is never over");
    service.deliver();
    assert_eq!(receiver.delivered(), ["waits"]);
}

#[cfg(feature = "config-file")]
#[test]
fn code_counts_before_a_file_whichever_comes_first() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    for code_first in [true, false] {
        let config = file(&receiver, &spool);
        let exporter = LogExporter::builder().with_config(config.clone());
        let service = service(exporter, |it| {
            if code_first {
                it.with_commit_delay(Duration::ZERO).with_config(config)
            } else {
                it.with_config(config).with_commit_delay(Duration::ZERO)
            }
        });
        service.log("does not wait");
        service.wait_for_stats("a commit", |stats| stats.accepted_records == 1);
    }
}
