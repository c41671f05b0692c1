//! The start and the end of a short process: how long it takes until the application may log, until its first record is on disk, and what
//! a shutdown waits for while the endpoint hangs.
//!
//! `cargo bench -p benches --bench start -- DIR...` measures in each of these directories (by default `/dev/shm` and the present
//! one): the first exporter of a process of its own, and then further ones in the same process, each with a new spool. With
//! `--beside PROGRAM`, the same benchmark of another commit, both are measured by turns. `--end` measures the shutdown.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use clap::Parser;
use opentelemetry::logs::{LogRecord, Logger, LoggerProvider, Severity};
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_spool::{LogExporter, SpoolProcessor};

#[derive(Parser)]
struct Args {
    /// Where the spools lie.
    dirs: Vec<PathBuf>,
    /// This benchmark as another commit has it.
    #[arg(long)]
    beside: Option<PathBuf>,
    /// Processes, for each program and directory.
    #[arg(long, default_value_t = 40)]
    processes: usize,
    /// Exporters that each process makes, one after the other.
    #[arg(long, default_value_t = 6)]
    exporters: usize,
    /// Measures the shutdown instead.
    #[arg(long)]
    end: bool,
    /// Measures in this process alone.
    #[arg(long, hide = true)]
    measure: bool,
    #[arg(long, hide = true)]
    bench: bool,
}

/// The seconds until the application may log, and until its first record is on disk.
type Start = [f64; 2];

fn measure(dir: &Path) -> Start {
    let scratch = tempfile::tempdir_in(dir).unwrap();
    let begun = Instant::now();
    let builder =
        LogExporter::builder().with_endpoint("http://127.0.0.1:9/").with_spool_dir(scratch.path().join("spool"));
    let exporter = builder.build().unwrap();
    let provider = SdkLoggerProvider::builder().with_batch_exporter(exporter).build();
    let logger = provider.logger("start");
    let ready = begun.elapsed().as_secs_f64();
    let mut record = logger.create_log_record();
    record.set_severity_number(Severity::Info);
    record.set_body("the quick brown fox jumps over the lazy dog".into());
    logger.emit(record);
    provider.force_flush().unwrap();
    let stored = begun.elapsed().as_secs_f64();
    let _ = provider.shutdown();
    [ready, stored]
}

/// How a shutdown ends that is given so much time, while an endpoint takes connections and never responds.
fn measure_end(dir: &Path, bursts: bool, timeout: Duration) -> String {
    let scratch = tempfile::tempdir_in(dir).unwrap();
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}/", hanging.local_addr().unwrap());
    let exporter = LogExporter::builder().with_endpoint(endpoint).with_spool_dir(scratch.path()).build().unwrap();
    let provider = SdkLoggerProvider::builder();
    let provider = if bursts {
        provider.with_log_processor(SpoolProcessor::builder(exporter).build().unwrap())
    } else {
        provider.with_batch_exporter(exporter)
    };
    let provider = provider.build();
    let logger = provider.logger("end");
    logger.emit(logger.create_log_record());
    provider.force_flush().unwrap();
    let begun = Instant::now();
    let ended = provider.shutdown_with_timeout(timeout);
    format!("{:.2} s, {ended:?}", begun.elapsed().as_secs_f64())
}

/// What [`measure`] finds for each exporter of another process.
fn measure_apart(program: &Path, dir: &Path, args: &Args) -> Vec<Start> {
    let mut command = Command::new(program);
    command.arg(dir).arg("--measure").args(["--exporters", &args.exporters.to_string()]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let start = |line: &str| {
        let figures: Vec<_> = line.split_whitespace().map(|figure| figure.parse().unwrap()).collect();
        figures.try_into().unwrap()
    };
    text.lines().map(start).collect()
}

/// The median, and the tenth and the ninetieth of a hundred, in milliseconds.
fn spread(mut seconds: Vec<f64>) -> String {
    seconds.sort_unstable_by(f64::total_cmp);
    let at = |percent: usize| seconds[(seconds.len() - 1) * percent / 100] * 1e3;
    format!("{:>7.2} ({:>6.2} to {:>6.2})", at(50), at(10), at(90))
}

fn main() {
    let mut args = Args::parse();
    if args.dirs.is_empty() {
        args.dirs = vec!["/dev/shm".into(), ".".into()];
    }
    if args.measure {
        for _ in 0..args.exporters {
            let [ready, stored] = measure(&args.dirs[0]);
            println!("{ready} {stored}");
        }
        return;
    }
    if args.end {
        for (processor, bursts) in [("BatchLogProcessor", false), ("SpoolProcessor", true)] {
            for seconds in [5, 1] {
                let ended = measure_end(&args.dirs[0], bursts, Duration::from_secs(seconds));
                println!("{processor:<18} given {seconds} s: {ended}");
            }
        }
        return;
    }
    let programs: Vec<_> = args.beside.iter().cloned().chain([std::env::current_exe().unwrap()]).collect();
    println!(
        "milliseconds: medians of {} processes by turns, with the tenth and the ninetieth of a hundred",
        args.processes
    );
    println!("{:<38} {:^28} {:^28}", "", "ready for emit", "first record on disk");
    for dir in &args.dirs {
        let mut found = vec![[Vec::new(), Vec::new()]; programs.len()];
        for _ in 0..args.processes {
            for (program, [first, further]) in programs.iter().zip(&mut found) {
                let mut starts = measure_apart(program, dir, &args).into_iter();
                first.extend(starts.next());
                further.extend(starts);
            }
        }
        for (program, [first, further]) in programs.iter().zip(&found) {
            let name = if args.beside.as_ref() == Some(program) { "beside" } else { "this one" };
            for (which, starts) in [("first", first), ("further", further)].into_iter().filter(|(_, of)| !of.is_empty())
            {
                let of = |figure: usize| spread(starts.iter().map(|start| start[figure]).collect());
                println!("{:<18} {name:<9} {which:<9} {:>28} {:>28}", dir.display(), of(0), of(1));
            }
        }
    }
}
