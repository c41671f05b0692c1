//! What `export` of 512 records costs, encoded and synced, beside a plain file that gets the same bytes, encoded already,
//! and one `fdatasync` a batch. Both by turns, on the same disk.
//!
//! `cargo bench --bench append [-- BATCHES]`

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "figures for people"
)]

mod records;

use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant, SystemTime};

use opentelemetry::logs::{AnyValue, LogRecord, Logger, Severity};
use opentelemetry_sdk::logs::{LogBatch, LogExporter as _};
use opentelemetry_spool::{Encoder, JsonEncoder, LogExporter};
use records::{Record, logged};

const RECORDS: u64 = 512;

fn records() -> Vec<Record> {
    logged(|logger| {
        for number in 0..RECORDS {
            let mut record = logger.create_log_record();
            record.set_timestamp(SystemTime::now());
            record.set_severity_number(Severity::Info);
            record.set_body(AnyValue::from(format!("order {number} was paid and handed over to the warehouse")));
            record.add_attribute("customer", format!("c-{:08}", number * 7919));
            record.add_attribute("amount", number as f64 * 1.25);
            logger.emit(record);
        }
    })
}

/// Batches a second, and percentiles.
fn row(name: &str, mut times: Vec<Duration>) -> f64 {
    let total: Duration = times.iter().sum();
    let rate = times.len() as f64 / total.as_secs_f64();
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    let (median, p99, p999) = (at(0.5), at(0.99), at(0.999));
    println!("| {name} | {:.0} | {median:.2} | {p99:.2} | {p999:.2} |", rate * RECORDS as f64);
    rate
}

fn main() {
    let batches = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(2_000);
    let records = records();
    let batch: Vec<_> = records.iter().map(|(record, scope)| (record, scope)).collect();
    let (encoder, mut bytes) = (JsonEncoder::default(), Vec::new());
    for (record, scope) in &batch {
        encoder.encode(record, scope, &mut bytes).unwrap();
        bytes.push(b',');
    }

    let scratch = tempfile::tempdir_in(".").unwrap();
    let exporter =
        LogExporter::builder().with_endpoint("http://127.0.0.1:9/").with_spool_dir(scratch.path().join("spool"));
    let exporter = exporter.with_max_spool_bytes(64 << 30).build().unwrap();
    exporter.handle().pause();
    let mut file = File::create(scratch.path().join("plain")).unwrap();
    let (mut ours, mut plain) = (Vec::new(), Vec::new());
    for _ in 0..batches {
        let begun = Instant::now();
        file.write_all(&bytes).unwrap();
        file.sync_data().unwrap();
        plain.push(begun.elapsed());
        let begun = Instant::now();
        futures_executor::block_on(exporter.export(LogBatch::new(&batch))).unwrap();
        ours.push(begun.elapsed());
    }
    let disk = exporter.handle().stats().disk_bytes as f64;

    println!("{batches} batches of {RECORDS} records, {} bytes each\n", bytes.len());
    println!("| | records/s | p50 ms | p99 ms | p99.9 ms |");
    println!("|---|---|---|---|---|");
    let plain = row("plain file, encoded already", plain);
    let ours = row("`export`", ours);
    println!(
        "\n`export`: {:.0} % of the plain file; {:.3} bytes on disk for each",
        100.0 * ours / plain,
        disk / (bytes.len() * batches) as f64
    );
}
