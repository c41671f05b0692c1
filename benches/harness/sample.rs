//! The clock that all processes share, `/proc`, and what a directory takes on disk.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How often each process notes what it sees.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// Microseconds since the epoch.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

/// How long it is until so many ticks after `begin`.
pub(crate) fn until_tick(begin: u64, tick: usize) -> Duration {
    until(begin + tick as u64 * TICK.as_micros() as u64)
}

/// How long it is until a time in microseconds since the epoch; zero if that has passed.
pub(crate) fn until(micros: u64) -> Duration {
    Duration::from_micros(micros.saturating_sub(now()))
}

/// The CPU time of a process so far, in microseconds.
pub(crate) fn cpu_micros(pid: u32) -> u64 {
    // The kernel counts in hundredths of a second, wherever there is `/proc`.
    const MICROS_PER_COUNT: u64 = 10_000;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name of the program, in parentheses, may hold anything.
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let counts = fields.split(' ').skip(11).take(2).filter_map(|count| count.parse::<u64>().ok());
    counts.sum::<u64>() * MICROS_PER_COUNT
}

/// The memory of a process, in bytes.
pub(crate) fn memory_bytes(pid: u32) -> u64 {
    status_bytes(pid, "VmRSS:")
}

/// The most that a process ever had in memory, in bytes.
pub(crate) fn peak_memory_bytes(pid: u32) -> u64 {
    status_bytes(pid, "VmHWM:")
}

fn status_bytes(pid: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// The size of a directory on disk, in bytes. Files may come and go meanwhile.
pub(crate) fn disk_bytes(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    let of_entry = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => disk_bytes(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    };
    entries.map(of_entry).sum()
}
