//! The cost of `emit` to the application while its endpoint is healthy, slow, hangs or is down, and while the disk
//! takes 20 ms for each sync: it should make no difference.
//!
//! `cargo bench -p benches --bench emit` measures each in a process of its own, by turns. The slow disk takes `strace`; without it
//! that row is left out.

use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::post;
use opentelemetry::logs::{LogRecord, Logger, LoggerProvider, Severity};
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_spool::LogExporter;

const ROUNDS: usize = 7;
const BURSTS: usize = 40;
const BURST: usize = 500;

/// An endpoint that accepts connections and responds after a while, or never.
fn endpoint(runtime: &tokio::runtime::Runtime, after: Option<Duration>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let answer = move || async move {
        match after {
            Some(after) => tokio::time::sleep(after).await,
            None => std::future::pending().await,
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

/// The same in another process, on a disk that syncs slowly if so asked. `None` if that cannot be had.
fn measure_apart(endpoint: &str, slow_disk: bool) -> Option<[u128; 3]> {
    let program = std::env::current_exe().unwrap();
    let mut command = if slow_disk {
        let mut strace = Command::new("strace");
        strace.args(["-f", "--seccomp-bpf", "-o", "/dev/null", "-e", "trace=fdatasync"]);
        strace.args(["-e", "inject=fdatasync:delay_enter=20000"]).arg(program);
        strace
    } else {
        Command::new(program)
    };
    let output = command.args(["measure", endpoint]).output().ok()?;
    let text = String::from_utf8(output.stdout).unwrap();
    let figures: Vec<_> = text.split_whitespace().map(|figure| figure.parse().unwrap()).collect();
    figures.try_into().ok()
}

fn main() {
    let args: Vec<_> = std::env::args().skip(1).collect();
    if let [command, endpoint] = &args[..]
        && command == "measure"
    {
        let [p50, p99, shutdown] = measure(endpoint);
        return println!("{p50} {p99} {shutdown}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let healthy = endpoint(&runtime, Some(Duration::ZERO));
    let cases = [
        ("healthy", healthy.clone(), false),
        ("slow", endpoint(&runtime, Some(Duration::from_millis(200))), false),
        ("hanging", endpoint(&runtime, None), false),
        ("down", "http://127.0.0.1:9/".to_owned(), false),
        ("slow disk", healthy, true),
    ];
    let mut figures = vec![Vec::new(); cases.len()];
    for _ in 0..ROUNDS {
        for ((_, endpoint, slow_disk), figures) in cases.iter().zip(&mut figures) {
            figures.extend(measure_apart(endpoint, *slow_disk));
        }
    }
    println!("emit, medians of {ROUNDS} rounds side by side");
    println!("{:<10} {:>10} {:>10} {:>14}", "", "p50", "p99", "shutdown");
    for ((name, ..), figures) in cases.iter().zip(&mut figures) {
        if figures.is_empty() {
            continue;
        }
        let median = |of: usize, figures: &mut Vec<[u128; 3]>| {
            figures.sort_unstable_by_key(|figures| figures[of]);
            figures[figures.len() / 2][of]
        };
        let [p50, p99, shutdown] = [0, 1, 2].map(|of| median(of, figures));
        println!("{name:<10} {p50:>7} ns {p99:>7} ns {shutdown:>11} ms");
    }
}
