//! The records of the fixture of the disk format. Two processes write it: the first delivers some, has a record
//! rejected and ends in an orderly way, the second compresses for the wire, has the last ones in its journal alone, and is killed.

use std::ops::RangeInclusive;
use std::time::{Duration, UNIX_EPOCH};

use opentelemetry::logs::LogRecord as _;
use opentelemetry_spool::{Compression, LogExporterBuilder};

use super::{NEVER, exporter, processor};
use crate::child::{commands, say, setting};
use crate::service::{Service, by_tenant, name};

/// The partitions; the last one's key is empty.
pub const TENANTS: [&str; 3] = ["acme", "Zürich", ""];
/// Each process logs so many records of each partition.
pub const RECORDS: usize = 12;
/// So many more of each partition are in the journal of the second.
pub const JOURNALED: usize = 2;
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
    let of = |run, records| (1..=records).map(move |number| message(run, tenant, number));
    of("first", RECORDS).chain(of("second", RECORDS + JOURNALED)).collect()
}

fn message(run: &str, tenant: &str, number: usize) -> String {
    format!("{run} {}", name(tenant, number))
}

pub(crate) fn main() {
    let run = setting("RUN");
    let exporter = configured(exporter());
    let service = match run.as_str() {
        "first" => Service::batch(exporter),
        _ => processor::service(exporter.with_compression(Compression::Gzip), |it| {
            processor::lossless(it).with_commit_delay(NEVER).with_journal(true)
        }),
    };
    say("ready");
    for command in commands() {
        match command.as_str() {
            "log" => {
                log(&service, &run, 1..=RECORDS);
                if run == "second" {
                    log(&service, &run, RECORDS + 1..=RECORDS + JOURNALED);
                }
            }
            "pause" => service.handle.pause(),
            _ => panic!("what is {command:?}?"),
        }
        say("done");
    }
    let _ = service.provider.shutdown();
}

fn log(service: &Service, run: &str, numbers: RangeInclusive<usize>) {
    for number in numbers {
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
