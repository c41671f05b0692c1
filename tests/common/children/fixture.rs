//! The records of the fixture of the disk format. Two processes write it: the first delivers some, has a record
//! rejected and ends in an orderly way, the second compresses for the wire and is killed.

use std::time::{Duration, UNIX_EPOCH};

use opentelemetry::logs::LogRecord as _;
use opentelemetry_spool::{Compression, LogExporterBuilder};

use super::exporter;
use crate::child::{commands, say, setting};
use crate::service::{Service, by_tenant, name};

/// The partitions; the last one's key is empty.
pub const TENANTS: [&str; 3] = ["acme", "Zürich", ""];
/// Each process logs so many records of each partition.
pub const RECORDS: usize = 12;
/// The record that the endpoint rejects.
pub const REJECTED: &str = "first acme-000005";

/// Settings that split records in the same way before and after.
pub fn configured(exporter: LogExporterBuilder) -> LogExporterBuilder {
    exporter
        .with_partition_key(by_tenant)
        .with_segment_bytes(1 << 20)
        .with_max_batch_records(5)
        .with_max_batch_bytes(100_000)
        // The header carries to the endpoint the fields that stand in the spool and not in a body.
        .with_header_hook(|batch, headers| {
            let nanos = |time: std::time::SystemTime| time.duration_since(UNIX_EPOCH).map(|since| since.as_nanos());
            headers.insert("x-tenant", batch.partition_key().escape_unicode().to_string())?;
            headers.insert("x-first", nanos(batch.first_timestamp())?.to_string())?;
            headers.insert("x-last", nanos(batch.last_timestamp())?.to_string())?;
            Ok(())
        })
}

/// The messages of a tenant, in order.
pub fn messages(tenant: &str) -> Vec<String> {
    let of = |run| (1..=RECORDS).map(move |number| message(run, tenant, number));
    of("first").chain(of("second")).collect()
}

fn message(run: &str, tenant: &str, number: usize) -> String {
    format!("{run} {}", name(tenant, number))
}

pub(crate) fn main() {
    let run = setting("RUN");
    let exporter = configured(exporter());
    let service = match run.as_str() {
        "first" => Service::batch(exporter),
        _ => Service::batch(exporter.with_compression(Compression::Gzip)),
    };
    say("ready");
    for command in commands() {
        match command.as_str() {
            "log" => log(&service, &run),
            "pause" => service.handle.pause(),
            _ => panic!("what is {command:?}?"),
        }
        say("done");
    }
    let _ = service.provider.shutdown();
}

fn log(service: &Service, run: &str) {
    for number in 1..=RECORDS {
        for tenant in TENANTS {
            service.log_with(&message(run, tenant, number), |record| {
                let at = Duration::from_nanos(1_610_393_068_365_492_001) + Duration::from_secs(number as u64);
                record.set_timestamp(UNIX_EPOCH + at);
                if !tenant.is_empty() {
                    record.add_attribute("tenant", tenant);
                }
                record.add_attribute("padding", "padding ".repeat(number));
            });
        }
        // Several records in one entry.
        if number % 4 == 0 {
            service.sync();
        }
    }
}
