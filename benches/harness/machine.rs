//! The machine that the measurement ran on.

use std::path::Path;
use std::time::SystemTime;

use opentelemetry_spool::BoxError;

use crate::report::run::Machine;

/// The crates that make the difference.
const CRATES: [&str; 7] = [
    "opentelemetry-spool",
    "opentelemetry_sdk",
    "opentelemetry-otlp",
    "opentelemetry-proto",
    "reqwest",
    "sled",
    "tokio",
];

/// Looks at the machine, and at the file system of a directory.
pub(crate) fn look(scratch: &Path) -> Result<Machine, BoxError> {
    let field = |file: &str, name: &str| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name)).and_then(|line| line.split_once(':'));
        line.map_or("unknown".to_owned(), |(_, value)| value.trim().to_owned())
    };
    let memory_kb: f64 = field("/proc/meminfo", "MemTotal").split(' ').next().unwrap_or("0").parse().unwrap_or(0.0);
    let load = std::fs::read_to_string("/proc/loadavg")?;
    Ok(Machine {
        begun: httpdate::fmt_http_date(SystemTime::now()),
        cores: std::thread::available_parallelism()?.get(),
        processor: field("/proc/cpuinfo", "model name"),
        memory_gb: (memory_kb / 1e5).round() / 10.0,
        kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
        file_system: file_system(&scratch.canonicalize()?)?,
        load_average: load.split(' ').take(3).collect::<Vec<_>>().join(" "),
        crates: CRATES.into_iter().map(|name| (name.to_owned(), version(name))).collect(),
    })
}

/// The type of the file system that is mounted deepest above a directory.
fn file_system(dir: &Path) -> Result<String, BoxError> {
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    let of_line = |line: &str| {
        let mut fields = line.split(' ').skip(1);
        let (point, kind) = (fields.next()?.to_owned(), fields.next()?.to_owned());
        dir.starts_with(&point).then_some((point.len(), kind))
    };
    // A later mount at the same place hides the earlier one.
    let deepest = mounts.lines().filter_map(of_line).max_by_key(|(length, _)| *length);
    Ok(deepest.map_or("unknown".to_owned(), |(_, kind)| kind))
}

/// The version that this program was built with.
fn version(name: &str) -> String {
    let lock = include_str!("../../Cargo.lock");
    let package = lock.split("[[package]]").find(|package| package.contains(&format!("\nname = \"{name}\"\n")));
    let line = package.and_then(|package| package.lines().find_map(|line| line.strip_prefix("version = ")));
    line.map_or("unknown".to_owned(), |version| version.trim_matches('"').to_owned())
}
