//! The cost of an `export` of 512 records, encoded and synced, beside a plain file that gets the same bytes, encoded
//! already, and one `fdatasync` a batch; and the cost where encoding is free, compressed in the spool and not. They run
//! by turns, on the same disk.
//!
//! `cargo bench -p benches --bench append [-- BATCHES] [words]`: with `words` each message has 30 words in random order, which LZ4 leaves
//! a third of; without, messages resemble one another.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "figures for people"
)]

mod records;

use std::fs::File;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use opentelemetry::InstrumentationScope;
use opentelemetry::logs::{AnyValue, LogRecord, Logger, Severity};
use opentelemetry_sdk::logs::{LogBatch, LogExporter as _};
use opentelemetry_spool::{BoxError, Encoder, Framing, JsonEncoder, LogExporter, LogView, SpoolCompression};
use records::{Record, logged};

const RECORDS: u64 = 512;

/// The words of messages; more of them compress worse.
const WORDS: [&str; 24] = [
    "order",
    "request",
    "user",
    "handled",
    "in",
    "timeout",
    "connection",
    "took",
    "ms",
    "item",
    "was",
    "paid",
    "and",
    "sent",
    "to",
    "the",
    "warehouse",
    "retry",
    "after",
    "failed",
    "with",
    "status",
    "cache",
    "miss",
];

fn words(random: &mut fastrand::Rng) -> String {
    let words: Vec<_> = (0..30).map(|_| WORDS[random.usize(..WORDS.len())]).collect();
    words.join(" ")
}

fn records(has_words: bool) -> Vec<Record> {
    let mut random = fastrand::Rng::with_seed(1);
    logged(|logger| {
        for number in 0..RECORDS {
            let mut record = logger.create_log_record();
            record.set_timestamp(SystemTime::now());
            record.set_severity_number(Severity::Info);
            let alike = || format!("order {number} was paid and handed over to the warehouse");
            record.set_body(AnyValue::from(if has_words { words(&mut random) } else { alike() }));
            record.add_attribute("customer", format!("c-{:08}", number * 7919));
            record.add_attribute("amount", number as f64 * 1.25);
            logger.emit(record);
        }
    })
}

/// Prints a row; gives batches a second.
fn row(name: &str, mut times: Vec<Duration>, plain: Option<f64>, disk: f64) -> f64 {
    let total: Duration = times.iter().sum();
    let rate = times.len() as f64 / total.as_secs_f64();
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    let (median, p99, p999, ratio) = (at(0.5), at(0.99), at(0.999), 100.0 * rate / plain.unwrap_or(rate));
    println!(
        "| {name} | {:.0} | {median:.2} | {p99:.2} | {p999:.2} | {ratio:.0} % | {disk:.3} |",
        rate * RECORDS as f64
    );
    rate
}

/// Encodes nothing: the same bytes as another encoder, made beforehand.
struct Prepared {
    records: Vec<Vec<u8>>,
    next: AtomicUsize,
}

impl Encoder for Prepared {
    fn framing(&self) -> Framing {
        Framing::json_array()
    }

    fn encode(&self, _record: &dyn LogView, _scope: &InstrumentationScope, out: &mut Vec<u8>) -> Result<(), BoxError> {
        let next = self.next.fetch_add(1, Ordering::Relaxed) % self.records.len();
        out.extend_from_slice(&self.records[next]);
        Ok(())
    }
}

fn main() {
    let batches = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(2_000);
    let records = records(std::env::args().any(|arg| arg == "words"));
    let batch: Vec<_> = records.iter().map(|(record, scope)| (record, scope)).collect();
    let encoder = JsonEncoder::default();
    let made: Vec<_> = batch
        .iter()
        .map(|(record, scope)| {
            let mut bytes = Vec::new();
            encoder.encode(*record, scope, &mut bytes).unwrap();
            bytes
        })
        .collect();
    let bytes = made.join(&b',');
    let prepared = || Prepared { records: made.clone(), next: AtomicUsize::new(0) };

    let scratch = tempfile::tempdir_in(".").unwrap();
    let builder = |name| {
        let builder = LogExporter::builder().with_endpoint("http://127.0.0.1:9/").with_max_spool_bytes(64 << 30);
        builder.with_spool_dir(scratch.path().join(name))
    };
    let exporters = [
        ("`export`", builder("export")),
        ("`export`, encoded already", builder("prepared").with_encoder(prepared())),
        (
            "`export`, encoded already, stored as it is",
            builder("plain").with_encoder(prepared()).with_spool_compression(SpoolCompression::None),
        ),
    ];
    let exporters = exporters.map(|(name, builder)| (name, builder.build().unwrap()));
    for (_, exporter) in &exporters {
        exporter.handle().pause();
    }
    let mut file = File::create(scratch.path().join("file")).unwrap();
    let (mut plain, mut ours) = (Vec::new(), exporters.each_ref().map(|_| Vec::new()));
    for _ in 0..batches {
        let begun = Instant::now();
        file.write_all(&bytes).unwrap();
        file.sync_data().unwrap();
        plain.push(begun.elapsed());
        for ((_, exporter), times) in exporters.iter().zip(&mut ours) {
            let begun = Instant::now();
            futures_executor::block_on(exporter.export(LogBatch::new(&batch))).unwrap();
            times.push(begun.elapsed());
        }
    }

    println!("{batches} batches of {RECORDS} records, {} bytes each\n", bytes.len());
    println!("| | records/s | p50 ms | p99 ms | p99.9 ms | of the plain file | disk / payload |");
    println!("|---|--:|--:|--:|--:|--:|--:|");
    let plain = row("plain file, encoded already", plain, None, 1.0);
    for ((name, exporter), times) in exporters.iter().zip(ours) {
        let disk = exporter.handle().stats().disk_bytes.unwrap_or_default() as f64 / (bytes.len() * batches) as f64;
        row(name, times, Some(plain), disk);
    }
}
