//! The fate of a burst: how many of 100,000 records in a tight loop survive, and what `emit` costs, with the SDK's
//! batch processor and with `SpoolProcessor`.
//!
//! `cargo bench -p benches --bench burst`
//!
//! An `emit` that drops its record is cheap, so the times of a tight loop say little without the losses beside them.

use std::fmt;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use opentelemetry::logs::{LogRecord, Logger, LoggerProvider, Severity};
use opentelemetry_otlp::{Protocol, WithExportConfig};
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_spool::{JsonEncoder, LogExporter, SpoolHandle, SpoolProcessor};

const ROUNDS: usize = 5;
const RECORDS: usize = 100_000;
const BURSTS: usize = 40;
const BURST: usize = 500;
const MARK: &str = "the quick brown fox jumps over the lazy dog";
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy)]
enum Way {
    BatchToOtlp,
    BatchToSpool,
    Spool,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::BatchToOtlp => "BatchLogProcessor, opentelemetry-otlp",
            Self::BatchToSpool => "BatchLogProcessor, LogExporter",
            Self::Spool => "SpoolProcessor, LogExporter",
        })
    }
}

/// The measurements of a round; times in nanoseconds.
struct Figures {
    arrived: usize,
    tight: [u128; 2],
    relaxed: [u128; 2],
}

/// An endpoint that counts records, whatever the format.
fn endpoint(runtime: &tokio::runtime::Runtime, arrived: Arc<AtomicUsize>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}/logs", listener.local_addr().unwrap());
    let count = move |body: Bytes| async move {
        let records = String::from_utf8_lossy(&body).matches(MARK).count();
        arrived.fetch_add(records, Ordering::Relaxed);
        ([("content-type", "application/json")], "{}")
    };
    let app = Router::new().route("/logs", post(count)).layer(axum::extract::DefaultBodyLimit::disable());
    runtime.spawn(async move { axum::serve(tokio::net::TcpListener::from_std(listener).unwrap(), app).await });
    url
}

fn provider(way: Way, url: &str, scratch: &std::path::Path) -> (SdkLoggerProvider, Option<SpoolHandle>) {
    let builder = SdkLoggerProvider::builder();
    if let Way::BatchToOtlp = way {
        let exporter = opentelemetry_otlp::LogExporter::builder().with_http().with_protocol(Protocol::HttpJson);
        return (builder.with_batch_exporter(exporter.with_endpoint(url).build().unwrap()).build(), None);
    }
    // A path of OTLP would mean OTLP.
    let exporter = LogExporter::builder().with_endpoint(url).with_encoder(JsonEncoder::default());
    let exporter = exporter.with_spool_dir(scratch).build().unwrap();
    let handle = exporter.handle();
    let builder = match way {
        Way::Spool => builder.with_log_processor(SpoolProcessor::new(exporter).unwrap()),
        _ => builder.with_batch_exporter(exporter),
    };
    (builder.build(), Some(handle))
}

/// The median and the 99th percentile of one `emit`.
fn emit(provider: &SdkLoggerProvider, bursts: usize, burst: usize) -> [u128; 2] {
    let logger = provider.logger("burst");
    let mut nanos = Vec::with_capacity(bursts * burst);
    for _ in 0..bursts {
        for _ in 0..burst {
            let mut record = logger.create_log_record();
            record.set_severity_number(Severity::Info);
            record.set_body(MARK.into());
            record.add_attribute("user", "someone");
            let begun = Instant::now();
            logger.emit(record);
            nanos.push(begun.elapsed().as_nanos());
        }
        if bursts > 1 {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    nanos.sort_unstable();
    [nanos[nanos.len() / 2], nanos[nanos.len() * 99 / 100]]
}

fn measure(way: Way, runtime: &tokio::runtime::Runtime) -> Figures {
    let (scratch, arrived) = (tempfile::tempdir_in(".").unwrap(), Arc::new(AtomicUsize::new(0)));
    let url = endpoint(runtime, arrived.clone());
    let (provider, handle) = provider(way, &url, scratch.path());
    let tight = emit(&provider, 1, RECORDS);
    provider.force_flush().unwrap();
    if let Some(handle) = handle {
        handle.flush(PATIENCE).unwrap();
    }
    let arrived = arrived.load(Ordering::Relaxed);
    let relaxed = emit(&provider, BURSTS, BURST);
    provider.shutdown().unwrap();
    Figures { arrived, tight, relaxed }
}

fn median<T: Ord + Copy>(figures: &[Figures], of: impl Fn(&Figures) -> T) -> T {
    let mut values: Vec<T> = figures.iter().map(of).collect();
    values.sort_unstable();
    values[values.len() / 2]
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut ways = [Way::BatchToOtlp, Way::BatchToSpool, Way::Spool].map(|way| (way, Vec::new()));
    for _ in 0..ROUNDS {
        for (way, figures) in &mut ways {
            figures.push(measure(*way, &runtime));
        }
    }
    println!(
        "{RECORDS} records in a tight loop, then bursts of {BURST} with pauses; medians of {ROUNDS} rounds side by side"
    );
    println!("{:<38} {:>8} {:>19} {:>19}", "", "", "tight: emit, ns", "bursts: emit, ns");
    println!("{:<38} {:>8} {:>9} {:>9} {:>9} {:>9}", "", "arrived", "p50", "p99", "p50", "p99");
    for (way, figures) in &ways {
        let arrived = median(figures, |figures| figures.arrived);
        let [tight, relaxed] = [|f: &Figures| f.tight, |f: &Figures| f.relaxed]
            .map(|of| [0, 1].map(|at| median(figures, |figures| of(figures)[at])));
        println!("{way:<38} {arrived:>8} {:>9} {:>9} {:>9} {:>9}", tight[0], tight[1], relaxed[0], relaxed[1]);
    }
}
