//! `Checkpoint`: it is confirmed where everything is on disk and nowhere else, whichever processor stands before the exporter. The
//! SDK's batch processor returns the result of the last export only, and its simple one none, so that a flush succeeded after
//! exports that had failed.

use std::time::Duration;

use common::{Receiver, Service, exporter, noise, spool_dir};
use opentelemetry::InstrumentationScope;
use opentelemetry::logs::{AnyValue, LogRecord as _};
use opentelemetry_sdk::logs::{LoggerProviderBuilder, SdkLoggerProvider};
use opentelemetry_spool::{
    BoxError, CheckpointError, Encoder, Framing, FullPolicy, LogExporterBuilder, LogView, SpoolProcessor,
};

fn log_100_kb(service: &Service) {
    service.log_with("m", |record| record.add_attribute("padding", noise(100_000)));
}

/// Rejects records once it is full.
fn small_spool(exporter: LogExporterBuilder) -> LogExporterBuilder {
    exporter.with_max_spool_bytes(8 << 20).with_full_policy(FullPolicy::RejectNew)
}

/// Logs until the spool is full, and fails.
fn fill(service: &Service) {
    for _ in 0..200 {
        log_100_kb(service);
        let _ = service.provider.force_flush();
        if service.handle.stats().failed_exports > 0 {
            return;
        }
    }
    panic!("20 MB fit into 8 MiB");
}

fn counts(error: &CheckpointError) -> [u64; 4] {
    let records = [error.not_written_records, error.buffer_full_records, error.encode_failed_records];
    [&[error.failed_exports][..], &records].concat().try_into().expect("four counts")
}

fn with_the_spools(
    provider: LoggerProviderBuilder,
    exporter: opentelemetry_spool::LogExporter,
) -> LoggerProviderBuilder {
    provider.with_log_processor(SpoolProcessor::new(exporter).expect("a processor"))
}

#[test]
fn an_export_that_failed_before_the_last_one_is_told_where_the_flush_succeeds() {
    for start in [Service::batch, Service::simple] {
        let (receiver, spool) = (Receiver::start_down(), spool_dir());
        let service = start(small_spool(exporter(&receiver, &spool)));
        let early = service.handle.checkpoint();
        service.log("accepted");
        early.confirm(|| service.provider.force_flush()).expect("a record on disk");

        fill(&service);
        let checkpoint = service.handle.checkpoint();
        log_100_kb(&service);
        let _ = service.provider.force_flush();
        receiver.come_up();
        service.wait_for_stats("room", |stats| stats.pending_records == 0 && stats.segments <= 2);
        service.log("accepted");
        service.provider.force_flush().expect("the last export succeeds");
        let error = checkpoint.confirm(|| service.provider.force_flush()).expect_err("an export failed");
        assert_eq!((counts(&error), error.source.is_none()), ([1, 1, 0, 0], true), "{error}");
        assert!(error.to_string().contains("1 exports failed; records: 1 not_written"), "{error}");

        let later = service.handle.checkpoint();
        service.log("accepted");
        later.confirm(|| service.provider.force_flush()).expect("a record on disk");
    }
}

/// It keeps the records of a failed commit, and writes them later.
#[test]
fn a_commit_that_is_retried_fails_a_checkpoint_only_until_it_succeeds() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let service =
        Service::build(small_spool(exporter(&receiver, &spool)), SdkLoggerProvider::builder(), with_the_spools);
    let checkpoint = service.handle.checkpoint();
    fill(&service);
    let error = checkpoint.confirm(|| service.provider.force_flush()).expect_err("a record is in memory only");
    assert_eq!(counts(&error), [0; 4], "{error}");
    let source = error.source.expect("the error of the flush").to_string();
    assert!(source.contains("is full"), "{source}");

    receiver.come_up();
    service.wait_for_stats("the commit", |stats| stats.pending_records == 0 && stats.segments <= 2);
    service.provider.force_flush().expect("room");
    assert!(service.handle.stats().failed_exports > 0);
    checkpoint.confirm(|| service.provider.force_flush()).expect("every record is on disk");
}

#[test]
fn what_the_buffer_has_no_room_for_fails_a_checkpoint() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let service = Service::build(exporter(&receiver, &spool), SdkLoggerProvider::builder(), |provider, exporter| {
        let processor = SpoolProcessor::builder(exporter).with_max_buffer_bytes(1).with_max_wait(Duration::ZERO);
        let processor = processor.with_commit_delay(common::children::NEVER);
        provider.with_log_processor(processor.build().expect("a processor"))
    });
    let checkpoint = service.handle.checkpoint();
    // Whether a commit has made room in between depends on the disk.
    while service.handle.stats().buffer_full_records == 0 {
        service.log("m");
    }
    let lost = service.handle.stats().buffer_full_records;
    let error = checkpoint.confirm(|| service.provider.force_flush()).expect_err("records found no room");
    assert_eq!(counts(&error), [0, 0, lost, 0], "{error}");
}

/// Knows no record `bad`; its framing panics after a record `worse`.
#[derive(Default)]
struct Fastidious(std::sync::atomic::AtomicBool);

impl Encoder for Fastidious {
    fn framing(&self) -> Framing {
        assert!(!self.0.swap(false, std::sync::atomic::Ordering::Relaxed), "a framing that panics once");
        Framing::json_array()
    }

    fn encode(&self, record: &dyn LogView, _: &InstrumentationScope, out: &mut Vec<u8>) -> Result<(), BoxError> {
        match record.body() {
            Some(AnyValue::String(text)) if text.as_str() == "bad" => return Err("not this one".into()),
            Some(AnyValue::String(text)) if text.as_str() == "worse" => {
                self.0.store(true, std::sync::atomic::Ordering::Relaxed);
            }
            _ => {}
        }
        out.extend_from_slice(b"{}");
        Ok(())
    }
}

#[test]
fn a_record_that_cannot_be_encoded_and_an_export_that_panics_fail_a_checkpoint() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let service = Service::simple(exporter(&receiver, &spool).with_encoder(Fastidious::default()));
    let checkpoint = service.handle.checkpoint();
    service.log_these(&["good", "bad"]);
    let error = checkpoint.confirm(|| service.provider.force_flush()).expect_err("a record was not encoded");
    assert_eq!(counts(&error), [0, 0, 0, 1], "{error}");

    let checkpoint = service.handle.checkpoint();
    service.log_these(&["worse", "good"]);
    let error = checkpoint.confirm(|| service.provider.force_flush()).expect_err("an export panicked");
    assert_eq!(counts(&error), [1, 0, 0, 0], "{error}");
}

#[test]
fn nothing_is_confirmed_after_the_shutdown_nor_where_the_flush_fails() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let service = Service::simple(exporter(&receiver, &spool));
    let checkpoint = service.handle.checkpoint();
    service.log("accepted");
    let error = checkpoint.confirm(|| Err("it takes too long")).expect_err("a flush that failed");
    assert_eq!((counts(&error), error.source.expect("a cause").to_string()), ([0; 4], "it takes too long".to_owned()));
    let _ = service.provider.shutdown();
    service.log("nobody takes it");
    let error = checkpoint.confirm(|| service.provider.force_flush()).expect_err("the exporter is shut down");
    assert_eq!(error.source.expect("a cause").to_string(), "the exporter is shut down");
}
