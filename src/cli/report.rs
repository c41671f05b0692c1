use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::outcome::{End, Outcome};
use super::screen::{Table, bytes, count, known_bytes, records, unknown};
use super::spool_arg::Spool;
use super::survey::{self, Served, Surveyed, age};
use super::verify::Report;
use super::{ls, time};
use crate::config::values::Signal;
use crate::error::{SpoolError, error_chain};
use crate::spool::inspect::{Directory, SegmentFiles, origin_in};
use crate::spool::{Coding, FORMAT, Mount};

/// Write down what a bug report needs of a spool, and nothing that is confidential
///
/// One text, to be read before it is sent: versions, platform and disk, the queues and their segments, what their owners told in numbers,
/// what `verify` finds, and the names of files with sizes and modes. It has no record, no partition key, no header, no
/// endpoint, no word of a server, no name of a host or a user, and of paths none but those within the spool. Nothing is changed, and a living owner is not
/// disturbed. Exits with 0 also where damage is found.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The directory of the spool
    #[arg(value_name = "SPOOL", value_hint = clap::ValueHint::DirPath)]
    dir: PathBuf,
    /// Write to this new file instead of standard output
    #[arg(short = 'o', long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    to_file: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  otel-spool report /var/lib/checkout/spool | less
  otel-spool report -o report.txt /var/lib/checkout/spool";

pub(super) fn run(args: &Args) -> Outcome {
    // By its whole path, which is then left out wherever it stands.
    let dir = fs::canonicalize(&args.dir).unwrap_or_else(|_| args.dir.clone());
    let (_, mut stdout) = Spool { dir: args.dir.clone(), json: false }.open()?;
    let directory = Directory::open(&dir)?;
    let files = directory.files();
    let mut bundle = Bundle::new(&dir, &files);
    bundle.line(
        "A report of a spool, for a bug report. It has no records, partition keys, headers, endpoints and names of hosts: read it \
         before you send it.",
    );
    bundle.versions();
    bundle.disk(&args.dir, &directory);
    bundle.section("Queues", |bundle| bundle.queues(&directory));
    bundle.section("Rejected records", |bundle| bundle.rejected(&directory));
    bundle.section("The quarantine", |bundle| bundle.quarantine(&directory));
    bundle.section("What verify finds", |bundle| bundle.verified(&directory));
    bundle.files(&files);
    match &args.to_file {
        None => bundle.text.lines().try_for_each(|line| stdout.line(line))?,
        Some(path) => {
            let failed = |action, source| SpoolError::Io { action, path: path.clone(), source };
            let file = OpenOptions::new().write(true).create_new(true).open(path);
            let mut file = file.map_err(|error| failed("create", error))?;
            if let Err(error) = file.write_all(bundle.text.as_bytes()) {
                // A half of it would be in the way of the next one.
                let _ = fs::remove_file(path);
                return Err(failed("write", error).into());
            }
        }
    }
    stdout.flush()?;
    Ok(End::Done)
}

/// The report as it is written.
struct Bundle {
    text: String,
    /// What is not to be seen, and what stands for it: the path of the spool, which may name its user or its service, and the hashes of
    /// endpoints, which anybody can make of an endpoint.
    masked: Vec<(String, String)>,
    now: SystemTime,
}

impl Bundle {
    fn new(dir: &Path, files: &[(PathBuf, Metadata)]) -> Self {
        let path = dir.parent().map(|_| (dir.display().to_string(), "SPOOL".to_owned()));
        let origins = files.iter().filter_map(|(path, _)| origin_in(path.file_name()?.to_str()?));
        let origins: BTreeSet<_> = origins.collect();
        let origins = (1..).zip(origins).map(|(number, origin)| (origin, format!("origin-{number}")));
        let masked = path.filter(|_| dir.is_absolute()).into_iter().chain(origins).collect();
        Self { text: String::new(), masked, now: SystemTime::now() }
    }

    /// A line of text, or several, without what is not to be seen.
    fn line(&mut self, text: &str) {
        let shown = self.masked.iter().fold(text.to_owned(), |text, (masked, shown)| text.replace(masked, shown));
        self.text.push_str(&shown);
        self.text.push('\n');
    }

    fn table(&mut self, table: &Table) {
        self.line(table.plain().trim_end_matches('\n'));
    }

    /// A part with a title. Where it cannot be written whole, it says why, and the next one is written: it is of the broken spools that
    /// reports are made.
    fn section(&mut self, title: &str, write: impl FnOnce(&mut Self) -> Result<(), SpoolError>) {
        self.line(&format!("\n# {title}"));
        if let Err(error) = write(self) {
            self.line(&format!("this cannot be said: {}", error_chain(&error)));
        }
    }

    fn versions(&mut self) {
        self.line("\n# Versions");
        self.line(&format!("otel-spool     {}, spool format {FORMAT}", env!("CARGO_PKG_VERSION")));
        let features: Vec<_> = [
            ("config-file", cfg!(feature = "config-file")),
            ("internal-logs", cfg!(feature = "internal-logs")),
            ("metrics", cfg!(feature = "metrics")),
            ("self-metrics", cfg!(feature = "self-metrics")),
            ("tls", cfg!(feature = "tls")),
            ("trace", cfg!(feature = "trace")),
        ]
        .into_iter()
        .filter_map(|(name, is_on)| is_on.then_some(name))
        .collect();
        self.line(&format!("built with     {}", features.join(", ")));
        let build = if cfg!(debug_assertions) { "debug" } else { "release" };
        self.line(&format!("platform       {} {}, {build}", std::env::consts::OS, std::env::consts::ARCH));
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_else(|_| unknown());
        self.line(&format!("kernel         {}", kernel.trim()));
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        self.line(&format!("processors     {cores}"));
        self.line(&format!("written        {}", time::seconds(self.now)));
        // The values may be secrets, and are those of this process, not of the service.
        let names = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
        let mut names: Vec<_> = names.filter(|name| name.starts_with("OTEL_") && is_name(name)).collect();
        names.sort();
        self.line(&format!("variables set  {}", if names.is_empty() { unknown() } else { names.join(", ") }));
    }

    fn disk(&mut self, dir: &Path, directory: &Directory) {
        self.line("\n# Disk");
        let mount = Mount::of(dir);
        let kind = mount.as_ref().map_or_else(unknown, |mount| mount.kind.clone());
        let read_only = if mount.is_some_and(|mount| mount.is_read_only()) { ", read-only" } else { "" };
        self.line(&format!("file system    {kind}{read_only}"));
        let shown = |space: io::Result<u64>| known_bytes(space.ok());
        let (free, total) = (shown(fs2::available_space(dir)), shown(fs2::total_space(dir)));
        self.line(&format!("space          {free} free of {total}"));
        self.line(&format!("the spool      {}", known_bytes(directory.disk_bytes())));
        let mode = dir.metadata().map_or_else(|_| unknown(), |meta| mode(&meta));
        self.line(&format!("its mode       {mode}"));
        let is_link = dir.symlink_metadata().is_ok_and(|meta| meta.is_symlink());
        self.line(&format!("symbolic link  {}", if is_link { "yes" } else { "no" }));
    }

    fn queues(&mut self, directory: &Directory) -> Result<(), SpoolError> {
        let served = Served::by(directory, None)?;
        let (mut table, mut details) = (Table::new(&ls::COLUMNS), Vec::new());
        // Without it, what was rejected counts as delivered.
        let rejected = directory.rejected().by_lane().unwrap_or_default();
        for queue in survey::each(directory, None)? {
            let queue = match Surveyed::new(queue, &rejected) {
                Ok(queue) => queue,
                Err(error) => {
                    self.line(&format!("a queue cannot be looked into: {}", error_chain(&error)));
                    continue;
                }
            };
            table.row(ls::row(&queue, &served, self.now));
            details.push((queue.queue.id(), self.told_of(&queue), ls::table_of_segments(&queue, self.now)));
        }
        self.table(&table);
        for (id, told, segments) in details {
            self.line(&format!("\nqueue {id}"));
            for line in told {
                self.line(&line);
            }
            self.table(&segments);
        }
        let unknown = directory.unknown_queues()?.len();
        if unknown > 0 {
            self.line(&format!("{unknown} queues of signals that this version does not know"));
        }
        Ok(())
    }

    fn ago(&self, at: Option<SystemTime>) -> String {
        at.map_or_else(|| "at no time that is known".to_owned(), |at| format!("{} ago", time::age(at, self.now)))
    }

    /// The state of a queue, in lines without any words of others.
    fn told_of(&self, queue: &Surveyed) -> Vec<String> {
        // The scheme alone: a host, a path and a query are whatever they are.
        let endpoint = queue.endpoint().and_then(|url| Some(url.split_once(':')?.0.to_owned()));
        let lanes = queue.segments.iter().flat_map(|segment| &segment.lanes);
        let partitions: BTreeSet<_> = lanes.map(|lane| &lane.lane.key).collect();
        let mut told = vec![format!(
            "sent by {}; {} partitions; {}{}",
            endpoint.filter(|scheme| is_name(scheme)).unwrap_or_else(unknown),
            count(partitions.len() as u64),
            records(queue.waiting()),
            if queue.is_partial { ", and more that cannot be read" } else { "" },
        )];
        let newest = queue.segments.iter().rev().find_map(|segment| stored_as(&segment.files));
        told.extend(newest.map(|(coding, max_records, max_bytes)| {
            format!("batches of at most {} records and {}, stored as {coding:?}", count(max_records), bytes(max_bytes))
        }));
        if let Some(status) = &queue.status {
            let failed = status.last_error.as_ref().map(|error| error.at);
            let shown = |records: Option<u64>| records.map_or_else(unknown, count);
            told.push(format!(
                "told {} by process {}: {} pending; the endpoint took something {}; an attempt failed {}",
                self.ago(Some(status.written_at)),
                status.process,
                shown(status.pending_records),
                self.ago(status.last_success),
                self.ago(failed),
            ));
            told.extend(status.counts.map(|counts| {
                format!(
                    "accepted {}, delivered {}, rejected {}, lost {}, failed requests {}",
                    count(counts.accepted),
                    count(counts.delivered),
                    count(counts.rejected),
                    count(counts.lost),
                    count(counts.failed_requests),
                )
            }));
        }
        told
    }

    fn rejected(&mut self, directory: &Directory) -> Result<(), SpoolError> {
        let mut table = Table::new(&["SIGNAL", ">STATUS", ">FILES", ">RECORDS", "LAST"]);
        let mut rejected = BTreeMap::<_, (u64, u64, Option<SystemTime>)>::new();
        for record in directory.rejected().read()?.records {
            // A file that is whole says its signal itself.
            let signal = Signal::parse(&record.signal).map_or("-", |signal| signal.name());
            let (files, all, last) = rejected.entry((signal, record.status)).or_default();
            *files += 1;
            *all += record.records;
            *last = (*last).max(Some(record.rejected_at));
        }
        for ((signal, status), (files, all, last)) in rejected {
            table.row([signal.to_owned(), status.to_string(), count(files), count(all), age(last, self.now)]);
        }
        self.table(&table);
        Ok(())
    }

    fn quarantine(&mut self, directory: &Directory) -> Result<(), SpoolError> {
        let quarantined = directory.quarantined(None)?;
        let size: Option<u64> = quarantined.iter().map(SegmentFiles::disk_bytes).sum();
        self.line(&format!("{} segments in quarantine, {}", quarantined.len(), known_bytes(size)));
        for files in quarantined {
            let found = files.verify(true).map(|found| found.damage);
            let damage = found.unwrap_or_else(|error| vec![error_chain(&error)]);
            for what in damage {
                self.line(&format!("queue {}, segment {}: {what}", files.queue(), files.number()));
            }
        }
        Ok(())
    }

    fn verified(&mut self, directory: &Directory) -> Result<(), SpoolError> {
        let report = Report::of(directory, None)?;
        if let Some(table) = &report.table {
            self.table(table);
        }
        for damage in &report.damage {
            self.line(damage);
        }
        self.line(&format!("{} files of rejected records are damaged", report.rejected.len()));
        Ok(())
    }

    fn files(&mut self, files: &[(PathBuf, Metadata)]) {
        self.line("\n# Files");
        let mut table = Table::new(&["MODE", ">BYTES", "CHANGED", "NAME"]);
        for (path, meta) in files {
            let names: Option<Vec<_>> =
                path.iter().map(|name| name.to_str().filter(|name| is_of_spool(name))).collect();
            // Whatever somebody else has put there may be called anything.
            let unknown_name = || "(a name that is not the spool's)".to_owned();
            let name = names.map_or_else(unknown_name, |names| names.join("/"));
            let changed = meta.modified().map_or_else(|_| unknown(), time::seconds);
            table.row([mode(meta), meta.len().to_string(), changed, name]);
        }
        self.table(&table);
    }
}

/// How the newest entry of a segment is stored.
fn stored_as(files: &SegmentFiles) -> Option<(Coding, u64, u64)> {
    let reader = files.read().ok()?;
    let entry = reader.entries(0..reader.end()).next_back()?.ok()??;
    Some(entry.stored_as())
}

/// What can do what with a file.
fn mode(meta: &Metadata) -> String {
    let kind = match meta.file_type() {
        kind if kind.is_dir() => 'd',
        kind if kind.is_symlink() => 'l',
        _ => '-',
    };
    #[cfg(unix)]
    return format!("{kind}{:04o}", std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o7777);
    #[cfg(not(unix))]
    format!("{kind}{}", if meta.permissions().readonly() { "r-" } else { "rw" })
}

fn is_name(name: &str) -> bool {
    name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_')
}

/// The words in the names of a spool's files; between them stand numbers.
const WORDS: &[&str] = &[
    "accepted",
    "ballast",
    "before",
    "blobs",
    "conf",
    "cursor",
    "db",
    "dead",
    "endpoint",
    "format",
    "journal",
    "json",
    "lock",
    "logs",
    "metrics",
    "new",
    "purged",
    "quarantine",
    "rejected",
    "remembered",
    "seal",
    "segment",
    "snap",
    "status",
    "traces",
];

/// Whether a name is made as those of the spool are.
fn is_of_spool(name: &str) -> bool {
    let is_number = |part: &str| part.len() <= 20 && part.chars().all(|char| matches!(char, '0'..='9' | 'a'..='f'));
    let mut parts = name.split(['.', '-']);
    parts.clone().any(|part| WORDS.contains(&part)) && parts.all(|part| WORDS.contains(&part) || is_number(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_not_the_spools_is_not_shown() {
        for known in [
            "format",
            "5b8d3f0e61c2a794.logs.04f2a91bc37de580",
            "0000000011-90e1f3a2c4b5d687.segment",
            "5b8d3f0e61c2a794.logs.04f2a91bc37de580.0000000007-0d7f22c0be91a35e",
            "0d7f22c0be91a35e.0-512-512.logs.json",
            "6c0f2b9d41e7a583.1.journal",
            "remembered-logs.before",
            "status.new",
        ] {
            assert!(is_of_spool(known), "{known}");
        }
        for other in
            ["alice.json", "lost+found", "deadbeef", "0d7f22c0be91a35e0d7f22c0be91a35e.logs", "logs of alice", ""]
        {
            assert!(!is_of_spool(other), "{other}");
        }
    }
}
