//! A service of the fleet: logs until its input ends, and says what is safe; then delivers the rest.
//!
//! `fleet_service HOST RUN ENDPOINT SPOOL`. A record is known by its attribute `log.record.uid`, here `HOST-RUN-NUMBER`, which goes through
//! every collector to the database. `accepted N` on the output says that the records 1 to N of this run are on disk and synced.

use std::error::Error;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use opentelemetry::logs::{LogRecord, Logger, LoggerProvider, Severity};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_spool::{ClickHouseEncoder, LogExporter, RetryPolicy, SpoolProcessor};

/// Two hundred records a second.
const BURST: u64 = 20;
const PAUSE: Duration = Duration::from_millis(100);

fn main() -> Result<(), Box<dyn Error>> {
    let [host, run, endpoint, spool] = <[String; 4]>::try_from(std::env::args().skip(1).collect::<Vec<_>>())
        .map_err(|_| "usage: fleet_service HOST RUN ENDPOINT SPOOL")?;
    let mut retries = RetryPolicy::default();
    retries.max_delay = Duration::from_secs(1); // 30 s would make a long story
    let builder = LogExporter::builder().with_endpoint(&*endpoint).with_spool_dir(spool).with_retry_policy(retries);
    // A collector's endpoint means OTLP; the database's takes rows.
    let otlp = endpoint.ends_with("/v1/logs");
    let builder = if otlp { builder } else { builder.with_encoder(ClickHouseEncoder::default()) };
    let exporter = builder.build()?;
    let handle = exporter.handle();
    let provider = SdkLoggerProvider::builder()
        .with_resource(Resource::builder().with_service_name("checkout").build())
        .with_log_processor(SpoolProcessor::new(exporter)?)
        .build();
    let logger = provider.logger("orders");

    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        stop.store(true, Ordering::Relaxed);
    });

    let mut number = 0;
    while !stopped.load(Ordering::Relaxed) {
        let checkpoint = handle.checkpoint();
        for _ in 0..BURST {
            number += 1;
            let mut record = logger.create_log_record();
            record.set_severity_number(Severity::Info);
            record.set_body(format!("order {number} of host {host} taken, 3 items, to be shipped on Thursday").into());
            record.add_attribute("log.record.uid", format!("{host}-{run}-{number}"));
            logger.emit(record);
        }
        // A commit that failed is tried again.
        while let Err(why) = checkpoint.confirm(|| provider.force_flush()) {
            eprintln!("host {host}: {why}");
        }
        println!("accepted {number}");
        thread::sleep(PAUSE);
    }
    // Whoever wants to end it before kills it: what is on disk waits for the next run.
    while let Err(why) = handle.flush(Duration::from_secs(10)) {
        eprintln!("host {host}: {why}");
    }
    provider.shutdown()?;
    // Everything was answered with a success.
    let stats = handle.stats();
    if stats.lost_records + stats.rejected_records > 0 {
        return Err(format!("{stats:?}").into());
    }
    Ok(())
}
