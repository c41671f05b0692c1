//! What `emit` costs the application while its endpoint is healthy, hangs or is down: it should make no difference.
//!
//! `cargo bench --bench emit`

use std::net::TcpListener;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::post;
use opentelemetry::logs::{LogRecord, Logger, LoggerProvider, Severity};
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_spool::LogExporter;

const ROUNDS: usize = 7;
const BURSTS: usize = 40;
const BURST: usize = 500;

/// An endpoint that accepts connections and answers at once, or never.
fn endpoint(runtime: &tokio::runtime::Runtime, answers: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let answer = move || async move {
        if !answers {
            std::future::pending::<()>().await;
        }
    };
    let app = Router::new().route("/", post(answer));
    runtime.spawn(async move { axum::serve(tokio::net::TcpListener::from_std(listener).unwrap(), app).await });
    format!("http://{address}/")
}

/// The median and the 99th percentile of one `emit`, in nanoseconds, and how long the shutdown took.
fn measure(endpoint: &str) -> [u128; 3] {
    let scratch = tempfile::tempdir_in(".").unwrap();
    let exporter = LogExporter::builder().with_endpoint(endpoint).with_spool_dir(scratch.path()).build().unwrap();
    let provider = SdkLoggerProvider::builder().with_batch_exporter(exporter).build();
    let logger = provider.logger("emit");
    let mut nanos = Vec::with_capacity(BURSTS * BURST);
    for _ in 0..BURSTS {
        for _ in 0..BURST {
            let mut record = logger.create_log_record();
            record.set_severity_number(Severity::Info);
            record.set_body("the quick brown fox jumps over the lazy dog".into());
            record.add_attribute("user", "someone");
            let begun = Instant::now();
            logger.emit(record);
            nanos.push(begun.elapsed().as_nanos());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    nanos.sort_unstable();
    let begun = Instant::now();
    provider.shutdown().unwrap();
    [nanos[nanos.len() / 2], nanos[nanos.len() * 99 / 100], begun.elapsed().as_millis()]
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let endpoints = [
        ("healthy", endpoint(&runtime, true)),
        ("hanging", endpoint(&runtime, false)),
        ("down", "http://127.0.0.1:9/".to_owned()),
    ];
    let mut figures = vec![Vec::new(); endpoints.len()];
    for _ in 0..ROUNDS {
        for ((_, endpoint), figures) in endpoints.iter().zip(&mut figures) {
            figures.push(measure(endpoint));
        }
    }
    println!("emit, medians of {ROUNDS} rounds side by side");
    println!("{:<10} {:>10} {:>10} {:>14}", "endpoint", "p50", "p99", "shutdown");
    for ((name, _), figures) in endpoints.iter().zip(&mut figures) {
        let median = |of: usize, figures: &mut Vec<[u128; 3]>| {
            figures.sort_unstable_by_key(|figures| figures[of]);
            figures[ROUNDS / 2][of]
        };
        let [p50, p99, shutdown] = [0, 1, 2].map(|of| median(of, figures));
        println!("{name:<10} {p50:>7} ns {p99:>7} ns {shutdown:>11} ms");
    }
}
