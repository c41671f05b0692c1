//! How many records an outage costs: 100 a second while connections are refused for 15 seconds, with this exporter and
//! with `opentelemetry-otlp`, side by side.
//!
//! `cargo bench -p benches --bench outage [-- SECONDS]`

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use opentelemetry::logs::{LogRecord, Logger, LoggerProvider, Severity};
use opentelemetry_otlp::{Protocol, WithExportConfig};
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_spool::LogExporter;

const PER_SECOND: u64 = 100;
const MARK: &str = "record-number-";

/// A receiver that keeps the numbers of the records that arrive, whatever the format.
async fn receive(address: SocketAddr, arrived: Arc<Mutex<Vec<u64>>>) {
    let keep = move |body: Bytes| async move {
        let text = String::from_utf8_lossy(&body);
        let numbers = text.split(MARK).skip(1).filter_map(|rest| rest.get(..8)?.parse::<u64>().ok());
        arrived.lock().unwrap().extend(numbers);
        ([("content-type", "application/json")], "{}")
    };
    let app = Router::new().route("/v1/logs", post(keep));
    axum::serve(tokio::net::TcpListener::bind(address).await.unwrap(), app).await.unwrap();
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn main() {
    let seconds = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(15);
    let scratch = tempfile::tempdir_in(".").unwrap();
    let (ours_at, peer_at) = (free_address(), free_address());
    let exporter = LogExporter::builder()
        .with_endpoint(format!("http://{ours_at}/v1/logs"))
        .with_protocol(opentelemetry_spool::Protocol::HttpJson)
        .with_spool_dir(scratch.path())
        .build()
        .unwrap();
    let handle = exporter.handle();
    let ours = SdkLoggerProvider::builder().with_batch_exporter(exporter).build();
    let exporter = opentelemetry_otlp::LogExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpJson)
        .with_endpoint(format!("http://{peer_at}/v1/logs"))
        .build()
        .unwrap();
    let peer = SdkLoggerProvider::builder().with_batch_exporter(exporter).build();

    let records = seconds * PER_SECOND;
    println!("{records} records in {seconds} s while connections are refused ...");
    for number in 0..records {
        for provider in [&ours, &peer] {
            let logger = provider.logger("outage");
            let mut record = logger.create_log_record();
            record.set_severity_number(Severity::Info);
            record.set_body(format!("{MARK}{number:08}").into());
            logger.emit(record);
        }
        std::thread::sleep(Duration::from_millis(1000 / PER_SECOND));
    }
    println!("the endpoints come back ...");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let arrived = [Arc::default(), Arc::default()];
    for (address, arrived) in [ours_at, peer_at].into_iter().zip(&arrived) {
        runtime.spawn(receive(address, Arc::clone(arrived)));
    }
    ours.force_flush().unwrap();
    let _ = peer.force_flush();
    handle.flush(Duration::from_secs(60)).unwrap();
    std::thread::sleep(Duration::from_secs(3));
    ours.shutdown().unwrap();
    let _ = peer.shutdown();
    for (name, arrived) in ["opentelemetry-spool", "opentelemetry-otlp"].iter().zip(&arrived) {
        let mut numbers = std::mem::take(&mut *arrived.lock().unwrap());
        let in_order = numbers.is_sorted();
        let received = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        let (lost, twice) = (records - numbers.len() as u64, received - numbers.len());
        println!("{name:<20} lost {lost:>5} of {records}, twice {twice}, in order: {in_order}");
    }
}
