//! A service over `SpoolProcessor` that logs and flushes on command.

use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_spool::{LogExporterBuilder, SpoolProcessor, SpoolProcessorBuilder};

use super::{NEVER, exporter};
use crate::child::{commands, say, setting_or, tell_what_moves};
use crate::service::Service;

/// Less than is worth a commit before its time, and enough for many.
pub const FEW: usize = 500;
pub const MANY: usize = 50_000;

/// A service over a `SpoolProcessor`.
pub fn service(
    exporter: LogExporterBuilder,
    configure: impl FnOnce(SpoolProcessorBuilder) -> SpoolProcessorBuilder,
) -> Service {
    Service::build(exporter, SdkLoggerProvider::builder(), |provider, exporter| {
        provider.with_log_processor(configure(SpoolProcessor::builder(exporter)).build().expect("a processor"))
    })
}

/// Waits as long as it takes: how fast this machine's disk is makes no difference.
pub fn lossless(processor: SpoolProcessorBuilder) -> SpoolProcessorBuilder {
    processor.with_max_wait(NEVER)
}

pub(crate) fn main() {
    let journal = setting_or("JOURNAL", "") == "on";
    let service = service(exporter(), |it| lossless(it).with_commit_delay(NEVER).with_journal(journal));
    tell_what_moves(&service.handle);
    for command in commands() {
        match command.split_once(' ') {
            Some(("log", prefix)) => service.log_all(prefix, 1..=FEW),
            Some(("burst", prefix)) => service.log_all(prefix, 1..=MANY),
            _ => service.sync(),
        }
        say("done");
    }
}
