//! The process that logs, for those peers of `run.py` that are a part of it: `peers-client sync|process|otlp ENDPOINT DIRECTORY`.
//!
//! `log FIRST COUNT` on its input emits so many records and is answered by `accepted` when they are as safe as they get. Its first line is
//! `ready`.

use std::error::Error;

use opentelemetry::logs::{LogRecord, Logger, LoggerProvider, Severity};
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_spool::{Durability, LogExporter, Protocol, SpoolHandle, SpoolProcessor};

fn main() -> Result<(), Box<dyn Error>> {
    let [mode, endpoint, dir] = <[String; 3]>::try_from(std::env::args().skip(1).collect::<Vec<_>>())
        .map_err(|_| "usage: peers-client sync|process|otlp ENDPOINT DIRECTORY")?;
    let (provider, handle) = match &*mode {
        "sync" => spool(&endpoint, &dir, Durability::Sync)?,
        "process" => spool(&endpoint, &dir, Durability::Process)?,
        _ => (otlp(&endpoint)?, None),
    };
    let logger = provider.logger("orders");
    println!("ready");
    for line in std::io::stdin().lines() {
        let line = line?;
        let mut numbers = line.split(' ').skip(1).map(str::parse::<u64>);
        let (Some(Ok(first)), Some(Ok(count))) = (numbers.next(), numbers.next()) else { return Err(line.into()) };
        let checkpoint = handle.as_ref().map(SpoolHandle::checkpoint);
        for number in first..first + count {
            let mut record = logger.create_log_record();
            record.set_severity_number(Severity::Info);
            record.set_body(format!("uid-{number:08} {}", "order taken, to be shipped on Thursday; ".repeat(5)).into());
            logger.emit(record);
        }
        if let Some(checkpoint) = checkpoint {
            checkpoint.confirm(|| provider.force_flush())?;
        }
        println!("accepted");
    }
    Ok(())
}

fn spool(
    endpoint: &str,
    dir: &str,
    durability: Durability,
) -> Result<(SdkLoggerProvider, Option<SpoolHandle>), Box<dyn Error>> {
    let exporter = LogExporter::builder()
        .with_endpoint(endpoint)
        .with_protocol(Protocol::HttpBinary)
        .with_spool_dir(dir)
        .with_durability(durability)
        .build()?;
    let handle = exporter.handle();
    let provider = SdkLoggerProvider::builder().with_log_processor(SpoolProcessor::new(exporter)?).build();
    Ok((provider, Some(handle)))
}

fn otlp(endpoint: &str) -> Result<SdkLoggerProvider, Box<dyn Error>> {
    let exporter = opentelemetry_otlp::LogExporter::builder()
        .with_http()
        .with_protocol(opentelemetry_otlp::Protocol::HttpBinary)
        .with_endpoint(endpoint)
        .build()?;
    Ok(SdkLoggerProvider::builder().with_batch_exporter(exporter).build())
}
