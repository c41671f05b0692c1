//! A backlog of a million records: what it costs to write, to open after a kill, to hold and to deliver, and whether the
//! last tenth of it goes as fast as the first.
//!
//! `cargo bench -p benches --bench backlog [-- RECORDS]` starts itself twice as a child process: one that logs to an endpoint that is
//! down and is killed, one that delivers what that left to the same one. Linux only: the figures are from `/proc`.

#![allow(clippy::cast_precision_loss, reason = "figures for people")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::routing::post;
use opentelemetry::logs::{LogRecord, Logger, LoggerProvider, Severity};
use opentelemetry_sdk::logs::{BatchConfigBuilder, BatchLogProcessor, SdkLoggerProvider};
use opentelemetry_spool::LogExporter;
use tokio::net::TcpSocket;

const PADDING: &str = "the quick brown fox jumps over the lazy dog and is not seen again before the next morning";

fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let first = args.next();
    match first.as_deref() {
        Some("fill") => {
            let [dir, port, records] = std::array::from_fn(|_| args.next().unwrap());
            fill(Path::new(&dir), &port, records.parse().unwrap());
        }
        Some("deliver") => deliver(Path::new(&args.next().unwrap()), &args.next().unwrap()),
        records => measure(records.map_or(1_000_000, |records| records.parse().expect("how many records"))),
    }
}

fn exporter(dir: &Path, port: &str) -> LogExporter {
    let endpoint = format!("http://127.0.0.1:{port}/");
    let builder = LogExporter::builder().with_endpoint(endpoint).with_spool_dir(dir);
    builder.with_max_spool_bytes(64 << 30).build().unwrap()
}

/// A field of a file of this process under `/proc`.
fn proc_field(file: &str, field: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/self/{file}")).unwrap();
    let line = text.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn fill(dir: &Path, port: &str, records: u64) {
    let exporter = exporter(dir, port);
    let handle = exporter.handle();
    let config = BatchConfigBuilder::default().with_max_queue_size(8192).build();
    let processor = BatchLogProcessor::builder(exporter).with_batch_config(config).build();
    let provider = SdkLoggerProvider::builder().with_log_processor(processor).build();
    let logger = provider.logger("backlog");
    let begun = Instant::now();
    let mut tenths = [Duration::ZERO; 2];
    for number in 0..records {
        let mut record = logger.create_log_record();
        record.set_severity_number(Severity::Info);
        record.set_body(format!("{number:010} {PADDING}").into());
        record.add_attribute("user", "someone");
        record.add_attribute("attempt", 3);
        logger.emit(record);
        if number % 4096 == 4095 {
            provider.force_flush().unwrap();
            for (tenth, time) in [1, 9].into_iter().zip(&mut tenths) {
                if (number + 1) * 10 <= tenth * records {
                    *time = begun.elapsed();
                }
            }
        }
    }
    provider.force_flush().unwrap();
    let stats = handle.stats();
    println!(
        "{} {} {} {} {} {} {}",
        stats.accepted_records,
        begun.elapsed().as_millis(),
        tenths[0].as_millis(),
        begun.elapsed().saturating_sub(tenths[1]).as_millis(),
        proc_field("io", "write_bytes:"),
        stats.disk_bytes.unwrap_or_default(),
        proc_field("status", "VmHWM:"),
    );
    loop {
        std::thread::park();
    }
}

fn deliver(dir: &Path, port: &str) {
    let begun = Instant::now();
    let exporter = exporter(dir, port);
    let opened = begun.elapsed();
    let handle = exporter.handle();
    let begun = Instant::now();
    handle.flush(Duration::from_secs(600)).unwrap();
    let delivered = begun.elapsed();
    std::thread::sleep(Duration::from_millis(300));
    let stats = handle.stats();
    println!(
        "{} {} {} {} {}",
        opened.as_micros(),
        delivered.as_millis(),
        proc_field("status", "VmHWM:"),
        stats.segments,
        stats.disk_bytes.unwrap_or_default(),
    );
}

/// Counts what arrives and whether it is in order.
#[derive(Default)]
struct Arrived {
    records: AtomicU64,
    bytes: AtomicU64,
    out_of_order: AtomicU64,
}

impl Arrived {
    /// How long the first and the last tenth take.
    fn watch(&self, records: u64) -> [Duration; 2] {
        let wait_for = |count: u64| {
            while self.records.load(Ordering::Relaxed) < count {
                std::thread::sleep(Duration::from_millis(1));
            }
            Instant::now()
        };
        let [begun, first, last, ended] = [1, records / 10, records * 9 / 10, records].map(wait_for);
        [first - begun, ended - last]
    }
}

async fn receive(State(arrived): State<Arc<Arrived>>, body: Bytes) {
    let key = b"\"message\":\"";
    for at in memchr::memmem::find_iter(&body, key).map(|at| at + key.len()) {
        let number: u64 = std::str::from_utf8(&body[at..at + 10]).unwrap().parse().unwrap();
        if number != arrived.records.fetch_add(1, Ordering::Relaxed) {
            arrived.out_of_order.fetch_add(1, Ordering::Relaxed);
        }
    }
    arrived.bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
}

fn child(args: &[&str]) -> (Child, Vec<u64>) {
    let mut child = Command::new(std::env::current_exe().unwrap()).args(args).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (child, line.split_whitespace().map(|field| field.parse().unwrap()).collect())
}

fn measure(records: u64) {
    let scratch = tempfile::tempdir_in(".").unwrap();
    let dir = scratch.path().join("spool");
    let dir = dir.to_str().unwrap();
    // A backlog is delivered where it was meant to go. Until somebody listens, connections are refused.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let port = socket.local_addr().unwrap().port().to_string();
    println!("logging {records} records to an endpoint that is down ...");
    let (mut logging, figures) = child(&["fill", dir, &port, &records.to_string()]);
    logging.kill().unwrap();
    logging.wait().unwrap();
    let [accepted, fill_ms, fill_first_ms, fill_last_ms, written, disk, fill_peak_kb] = figures[..] else {
        panic!("the child failed")
    };
    println!("killed; delivering what it left ...");

    let arrived = Arc::new(Arrived::default());
    let app = Router::new().route("/", post(receive)).layer(DefaultBodyLimit::disable()).with_state(arrived.clone());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.spawn(async move { axum::serve(socket.listen(1024).unwrap(), app).await });
    let watched = std::thread::spawn({
        let arrived = arrived.clone();
        move || arrived.watch(records)
    });
    let (mut delivering, figures) = child(&["deliver", dir, &port]);
    delivering.wait().unwrap();
    let [open_us, deliver_ms, deliver_peak_kb, segments, left] = figures[..] else { panic!("the child failed") };

    let payload = arrived.bytes.load(Ordering::Relaxed) as f64;
    let rate = |millis: u64| records as f64 * 1000.0 / millis as f64;
    let [deliver_first, deliver_last] = watched.join().unwrap();
    println!("accepted                 {accepted:>12}  ({:.0} records/s)", rate(fill_ms));
    println!(
        "arrived                  {:>12}  ({:.0} records/s)",
        arrived.records.load(Ordering::Relaxed),
        rate(deliver_ms)
    );
    println!(
        "last tenth, logging       {:>11.0} % as fast as the first",
        100.0 * fill_first_ms as f64 / fill_last_ms as f64
    );
    println!(
        "last tenth, delivering    {:>11.0} % as fast as the first",
        100.0 * deliver_first.as_secs_f64() / deliver_last.as_secs_f64()
    );
    println!("out of order             {:>12}", arrived.out_of_order.load(Ordering::Relaxed));
    println!("payload                  {:>12.1} MB", payload / 1e6);
    println!("written / payload        {:>12.3}", written as f64 / payload);
    println!("disk / payload           {:>12.3}", disk as f64 / payload);
    println!("opened after the kill in {:>12.1} ms", open_us as f64 / 1e3);
    println!("peak memory, logging     {:>12.1} MB", fill_peak_kb as f64 / 1024.0);
    println!("peak memory, delivering  {:>12.1} MB", deliver_peak_kb as f64 / 1024.0);
    println!("segments left            {segments:>12}  ({:.1} MB)", left as f64 / 1e6);
}
