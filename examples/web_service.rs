//! An axum service that logs its requests through the spool, and ends without losing a record.
//!
//! ```text
//! cargo run --example web_service          # then, elsewhere: curl localhost:3000/hello/world
//! ```
//!
//! Ctrl-C ends it: it finishes the running requests first, and then delivers the logs that they wrote.

mod print_receiver;

use std::time::Instant;

use axum::extract::{Path, Request};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::{Router, routing::get};
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_spool::{BoxError, CallerThreadProcessor, LogExporter, SpoolProcessor};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let spool_dir = tempfile::tempdir()?; // a real service would take a directory that outlives it
    let exporter =
        LogExporter::builder().with_endpoint(print_receiver::start()?).with_spool_dir(spool_dir.path()).build()?;
    let provider = SdkLoggerProvider::builder()
        .with_log_processor(CallerThreadProcessor::new())
        .with_log_processor(SpoolProcessor::new(exporter)?)
        .build();
    let own_records = Targets::new().with_target(env!("CARGO_CRATE_NAME"), LevelFilter::INFO);
    tracing_subscriber::registry().with(OpenTelemetryTracingBridge::new(&provider).with_filter(own_records)).init();

    let router = Router::new()
        .route("/hello/{name}", get(|Path(name): Path<String>| async move { format!("Hello, {name}!\n") }))
        .layer(from_fn(log_request));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("http://{}/hello/world, Ctrl-C ends", listener.local_addr()?);
    axum::serve(listener, router).with_graceful_shutdown(told_to_end()).await?;

    // It blocks until the logs are delivered or the SDK's 5 s are over, so it must not run on a thread that runs tasks.
    tokio::task::spawn_blocking(move || provider.shutdown()).await??;
    Ok(())
}

async fn log_request(request: Request, next: Next) -> Response {
    let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
    let began = Instant::now();
    let response = next.run(request).await;
    let millis = began.elapsed().as_secs_f64() * 1e3;
    tracing::info!(method, path, status = response.status().as_u16(), millis, "request answered");
    response
}

/// Waits for Ctrl-C, or on Unix for SIGTERM, which systemd and Kubernetes send. Without a handler the signal kills the
/// process, which the spool survives as well.
async fn told_to_end() {
    #[cfg(unix)]
    let terminated = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => signal.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminated = std::future::pending::<Option<()>>();
    tokio::select! {
        Ok(()) = tokio::signal::ctrl_c() => {}
        _ = terminated => {}
    }
}
