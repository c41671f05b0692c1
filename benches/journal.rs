//! The cost of a journal to `emit`: `SpoolProcessor` without one, with one, and with one on tmpfs (which survives a kill, and no start of
//! the machine), beside a bare write(2) of as many bytes; for one thread, and for eight whose records one of them writes.
//!
//! `cargo bench -p benches --bench journal`

use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use opentelemetry::logs::{LogRecord, Logger, LoggerProvider, Severity};
use opentelemetry_sdk::logs::{SdkLogger, SdkLoggerProvider};
use opentelemetry_spool::{LogExporter, SpoolProcessor};

const ROUNDS: usize = 5;
const BURSTS: usize = 40;
const BURST: usize = 500;
const THREADS: [usize; 2] = [1, 8];
const BODY: &str = "the quick brown fox jumps over the lazy dog";
/// About as many bytes as a record takes in the journal.
const WRITTEN: usize = 420;
/// Each file of a journal begins anew when there is about as much.
const FILE_BYTES: u64 = 1 << 20;

#[derive(Clone, Copy, PartialEq)]
enum Way {
    Without,
    Journal,
    Tmpfs,
    Write,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Without => "SpoolProcessor",
            Self::Journal => "with a journal",
            Self::Tmpfs => "with a journal on tmpfs",
            Self::Write => "write(2) alone",
        })
    }
}

fn log(logger: &SdkLogger) {
    let mut record = logger.create_log_record();
    record.set_severity_number(Severity::Info);
    record.set_body(BODY.into());
    record.add_attribute("user", "someone");
    logger.emit(record);
}

/// How long each of many calls takes, in nanoseconds: of each of some threads in bursts.
fn times(threads: usize, call: impl Fn(usize) + Sync) -> Vec<u128> {
    let of_thread = |thread: usize| {
        let mut nanos = Vec::with_capacity(BURSTS * BURST);
        for burst in 0..BURSTS {
            for number in 0..BURST {
                let begun = Instant::now();
                call((thread * BURSTS + burst) * BURST + number);
                nanos.push(begun.elapsed().as_nanos());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        nanos
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || of_thread(thread))).collect();
        running.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

fn measure(way: Way, threads: usize) -> [u128; 3] {
    let place = if way == Way::Tmpfs { Path::new("/dev/shm") } else { Path::new(".") };
    let scratch = tempfile::tempdir_in(place).unwrap();
    let mut nanos = if way == Way::Write {
        let file = File::create(scratch.path().join("file")).unwrap();
        file.write_all_at(&vec![0; 1 << 20], 0).unwrap();
        let bytes = [b'x'; WRITTEN];
        times(threads, |number| file.write_all_at(&bytes, (number * WRITTEN) as u64 % FILE_BYTES).unwrap())
    } else {
        let exporter = LogExporter::builder().with_endpoint("http://127.0.0.1:9/").with_spool_dir(scratch.path());
        let processor = SpoolProcessor::builder(exporter.build().unwrap()).with_journal(way != Way::Without);
        let provider = SdkLoggerProvider::builder().with_log_processor(processor.build().unwrap()).build();
        let logger = provider.logger("journal");
        let nanos = times(threads, |_| log(&logger));
        provider.shutdown().unwrap();
        nanos
    };
    nanos.sort_unstable();
    [500, 990, 999].map(|per_mille| nanos[nanos.len() * per_mille / 1000])
}

fn main() {
    println!(
        "bursts of {BURST} records a thread; medians of {ROUNDS} rounds by turns, and the least and the most, in ns"
    );
    println!("{:<26} {:>7} {:>24} {:>24} {:>28}", "", "threads", "p50", "p99", "p99.9");
    for threads in THREADS {
        let mut ways = [Way::Without, Way::Journal, Way::Tmpfs, Way::Write].map(|way| (way, Vec::new()));
        for _ in 0..ROUNDS {
            for (way, figures) in &mut ways {
                figures.push(measure(*way, threads));
            }
        }
        for (way, figures) in &ways {
            let cells = [0, 1, 2].map(|of| {
                let mut values: Vec<_> = figures.iter().map(|figures| figures[of]).collect();
                values.sort_unstable();
                format!("{} ({} to {})", values[values.len() / 2], values[0], values[values.len() - 1])
            });
            println!("{way:<26} {threads:>7} {:>24} {:>24} {:>28}", cells[0], cells[1], cells[2]);
        }
    }
}
