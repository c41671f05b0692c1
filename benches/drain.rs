//! How fast a backlog is delivered over loopback, beside a bare loop that posts the same bodies from memory, one request
//! at a time both; and what compression changes: in the spool, with a warm and with a cold page cache, and for the wire,
//! made once when records are logged and joined when they are sent, or made anew for each request.
//!
//! `cargo bench -p benches --bench drain [-- BATCHES]`; the cold cache takes root on Linux. The receiver is a
//! process of its own. All take turns, the figures are medians.

#![allow(clippy::cast_precision_loss, reason = "figures for people")]

mod records;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::routing::post;
use flate2::Compression as Level;
use flate2::write::GzEncoder;
use opentelemetry::logs::{AnyValue, LogRecord, Logger, Severity};
use opentelemetry_sdk::logs::{LogBatch, LogExporter as _};
use opentelemetry_spool::{Encoder, JsonEncoder, LogExporter, LogExporterBuilder, SpoolCompression};
use records::{Record, logged};

const ROUNDS: usize = 11;
const RECORDS: u64 = 512;

fn main() {
    let args: Vec<_> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.first().map(String::as_str) {
        Some("receive") => receive(),
        batches => measure(batches.map_or(400, |batches| batches.parse().expect("how many batches"))),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn receive() {
    let app = Router::new().route("/", post(|_body: Bytes| async {})).layer(DefaultBodyLimit::disable());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("http://{}/", listener.local_addr().unwrap());
    axum::serve(listener, app).await.unwrap();
}

fn receiver() -> (Child, String) {
    let mut child =
        Command::new(std::env::current_exe().unwrap()).arg("receive").stdout(Stdio::piped()).spawn().unwrap();
    let mut url = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
    (child, url.trim_end().to_owned())
}

/// Batches of different records.
fn batches(count: u64) -> Vec<Vec<Record>> {
    let batch = |batch: u64| {
        logged(|logger| {
            for number in batch * RECORDS..(batch + 1) * RECORDS {
                let mut record = logger.create_log_record();
                record.set_timestamp(SystemTime::now());
                record.set_severity_number(Severity::Info);
                record.set_body(AnyValue::from(format!("order {number} was paid and handed over to the warehouse")));
                record.add_attribute("customer", format!("c-{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
                record.add_attribute("amount", number as f64 * 1.25);
                logger.emit(record);
            }
        })
    };
    (0..count).map(batch).collect()
}

fn bodies(batches: &[Vec<Record>]) -> Vec<Bytes> {
    let encoder = JsonEncoder::default();
    let body = |batch: &Vec<Record>| {
        let mut body = b"[".to_vec();
        for (record, scope) in batch {
            encoder.encode(record, scope, &mut body).unwrap();
            body.push(b',');
        }
        body.pop();
        body.push(b']');
        body.into()
    };
    batches.iter().map(body).collect()
}

/// Posts what is in memory, one after the other.
fn bare_loop(url: &str, bodies: &[Bytes], gzip: bool) -> Duration {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = reqwest::Client::new();
        let begun = Instant::now();
        for body in bodies {
            let mut request = client.post(url).header("content-type", "application/json");
            if gzip {
                // As opentelemetry-otlp does it.
                let mut encoder = GzEncoder::new(Vec::new(), Level::default());
                encoder.write_all(body).unwrap();
                request = request.header("content-encoding", "gzip").body(encoder.finish().unwrap());
            } else {
                request = request.body(body.clone());
            }
            let answer = request.send().await.unwrap();
            assert!(answer.status().is_success());
            answer.bytes().await.unwrap();
        }
        begun.elapsed()
    })
}

/// Logs the batches, and delivers them with another exporter: how long that takes, and what the spool took on disk.
fn spool(
    url: &str,
    batches: &[Vec<Record>],
    cold: bool,
    set: impl Fn(LogExporterBuilder) -> LogExporterBuilder,
) -> (Duration, u64) {
    let scratch = tempfile::tempdir_in(".").unwrap();
    let build = || {
        let builder = LogExporter::builder().with_endpoint(url).with_spool_dir(scratch.path());
        set(builder.with_max_spool_bytes(64 << 30)).build().unwrap()
    };
    let exporter = build();
    exporter.handle().pause();
    for batch in batches {
        let batch: Vec<_> = batch.iter().map(|(record, scope)| (record, scope)).collect();
        futures_executor::block_on(exporter.export(LogBatch::new(&batch))).unwrap();
    }
    drop(exporter);
    let disk = bytes_below(scratch.path());
    if cold {
        drop_caches();
    }
    // Delivery begins when it is built.
    let exporter = build();
    let begun = Instant::now();
    exporter.handle().flush(Duration::from_secs(600)).unwrap();
    (begun.elapsed(), disk)
}

fn bytes_below(dir: &Path) -> u64 {
    let bytes = |found: std::fs::DirEntry| match found.metadata().unwrap() {
        meta if meta.is_dir() => bytes_below(&found.path()),
        meta => meta.len(),
    };
    std::fs::read_dir(dir).unwrap().flatten().map(bytes).sum()
}

fn drop_caches() {
    let _ = Command::new("sync").status();
    let _ = std::fs::write("/proc/sys/vm/drop_caches", "1");
}

fn measure(count: u64) {
    let batches = batches(count);
    let bodies = bodies(&batches);
    let payload: usize = bodies.iter().map(Bytes::len).sum();
    let (mut child, url) = receiver();
    let none = |builder: LogExporterBuilder| builder.with_spool_compression(SpoolCompression::None);
    let same = |builder| builder;
    let gzip = |builder: LogExporterBuilder| builder.with_compression(opentelemetry_spool::Compression::Gzip);
    let mut rows: BTreeMap<&str, Vec<(Duration, u64)>> = BTreeMap::new();
    for _ in 0..ROUNDS {
        let mut row = |name, figures| rows.entry(name).or_default().push(figures);
        row("1 bare loop", (bare_loop(&url, &bodies, false), 0));
        row("2 spool", spool(&url, &batches, false, same));
        row("3 spool, stored as it is", spool(&url, &batches, false, none));
        row("4 spool, cold", spool(&url, &batches, true, same));
        row("5 spool, stored as it is, cold", spool(&url, &batches, true, none));
        row("6 bare loop, gzip made for each request", (bare_loop(&url, &bodies, true), 0));
        row("7 spool, gzip made once", spool(&url, &batches, false, gzip));
    }
    child.kill().unwrap();
    child.wait().unwrap();

    println!(
        "{count} requests of {RECORDS} records, {:.1} MB in all; medians of {ROUNDS} rounds\n",
        payload as f64 / 1e6
    );
    println!("| | records/s | of the bare loop | disk / payload |");
    println!("|---|--:|--:|--:|");
    let bare: Vec<_> = rows.values().next().unwrap().iter().map(|(took, _)| took.as_secs_f64()).collect();
    for (name, figures) in rows {
        let took = |(took, _): &(Duration, u64)| took.as_secs_f64();
        let rate = (count * RECORDS) as f64 / median(figures.iter().map(took));
        // Round by round: what else the machine does changes from one to the next.
        let ratio = median(figures.iter().zip(&bare).map(|(figures, bare)| bare / took(figures)));
        let disk = figures[0].1 as f64 / payload as f64;
        println!("| {} | {rate:.0} | {:.0} % | {disk:.3} |", &name[2..], 100.0 * ratio);
    }
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<_> = figures.collect();
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}
