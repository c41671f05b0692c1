//! Several exporters at once. several THREADS BATCHES RECORDS DURABILITY
#![allow(missing_docs, clippy::pedantic)]
mod records;
use opentelemetry::logs::{AnyValue, LogRecord, Logger, Severity};
use opentelemetry_sdk::logs::{LogBatch, LogExporter as _};
use opentelemetry_spool::{Durability, LogExporter};
use records::logged;
use std::time::{Duration, Instant, SystemTime};
fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let (threads, batches, count): (usize, usize, usize) =
        (args[0].parse().unwrap(), args[1].parse().unwrap(), args[2].parse().unwrap());
    let durability = if args[3] == "sync" { Durability::Sync } else { Durability::Process };
    let scratch = tempfile::tempdir_in(".").unwrap();
    let begun = Instant::now();
    let times: Vec<Vec<Duration>> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads)
            .map(|thread| {
                let dir = scratch.path().join(format!("{thread}"));
                let durability = durability.clone();
                scope.spawn(move || {
                    let records = logged(|logger| {
                        for number in 0..count {
                            let mut record = logger.create_log_record();
                            record.set_timestamp(SystemTime::now());
                            record.set_severity_number(Severity::Info);
                            record.set_body(AnyValue::from(format!(
                                "order {number} was paid and handed over to the warehouse"
                            )));
                            record.add_attribute("customer", format!("c-{:08}", number * 7919));
                            record.add_attribute("amount", number as f64 * 1.25);
                            logger.emit(record);
                        }
                    });
                    let batch: Vec<_> = records.iter().map(|(r, s)| (r, s)).collect();
                    let exporter = LogExporter::builder()
                        .with_endpoint("http://127.0.0.1:9/")
                        .with_max_spool_bytes(64 << 30)
                        .with_durability(durability)
                        .with_spool_dir(dir)
                        .build()
                        .unwrap();
                    exporter.handle().pause();
                    (0..batches)
                        .map(|_| {
                            let b = Instant::now();
                            futures_executor::block_on(exporter.export(LogBatch::new(&batch))).unwrap();
                            b.elapsed()
                        })
                        .collect()
                })
            })
            .collect();
        all.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let total = begun.elapsed();
    let mut times: Vec<_> = times.concat();
    times.sort();
    let at = |s: f64| times[((times.len() - 1) as f64 * s) as usize].as_secs_f64() * 1e3;
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let hwm = status.lines().find(|l| l.starts_with("VmHWM")).unwrap().split_whitespace().nth(1).unwrap().to_owned();
    let io = std::fs::read_dir("/proc/self/task")
        .unwrap()
        .flatten()
        .filter(|t| std::fs::read_to_string(t.path().join("comm")).is_ok_and(|c| c.starts_with("sled-io")))
        .count();
    println!(
        "{threads} x {batches} x {count} {}: {:.0} records/s, p50 {:.2} p99 {:.2} max {:.1} ms, VmHWM {} MiB, sled threads {io}",
        args[3],
        (threads * batches * count) as f64 / total.as_secs_f64(),
        at(0.5),
        at(0.99),
        at(1.0),
        hwm.parse::<u64>().unwrap() / 1024
    );
}
