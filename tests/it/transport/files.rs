//! Files as endpoints: whole records, rotated as Python rotates them, also over kills.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{Child, Service, by_tenant, exporter_to, in_words, names, settings, skip, spool_dir};
use opentelemetry_spool::SpoolCompression;

use super::texts;
use crate::CHILD;

/// Python's own handler, given its numbers, a path, and each record in hexadecimal on a line.
const ROTATING: &str = r#"
import logging, logging.handlers, sys
handler = logging.handlers.RotatingFileHandler(
    sys.argv[3], maxBytes=int(sys.argv[1]), backupCount=int(sys.argv[2]), encoding="utf-8")
for line in sys.stdin:
    text = bytes.fromhex(line.strip()).decode("utf-8")
    handler.handle(logging.LogRecord("a", 20, "a", 1, text, None, None))
"#;

fn url(path: &Path, rest: &str) -> String {
    format!("file://{}{rest}", path.display())
}

/// The names and contents of a directory.
fn contents(dir: &Path) -> Vec<(String, String)> {
    let read = |path: PathBuf| {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        (name, fs::read_to_string(path).expect("a file of text"))
    };
    let mut files: Vec<_> = fs::read_dir(dir).expect("a directory").flatten().map(|entry| read(entry.path())).collect();
    files.sort();
    files
}

fn log_like_python(dir: &Path, max_bytes: u64, backups: u32, records: &[String]) -> Option<()> {
    let mut python = Command::new("python3")
        .args(["-c", ROTATING, &max_bytes.to_string(), &backups.to_string()])
        .arg(dir.join("app.log"))
        .stdin(Stdio::piped())
        .spawn()
        .ok()?;
    let hex = records.iter().fold(String::new(), |mut lines, record| {
        record.bytes().for_each(|byte| write!(lines, "{byte:02x}").expect("memory"));
        lines + "\n"
    });
    python.stdin.take().expect("a pipe").write_all(hex.as_bytes()).expect("Python reads");
    assert!(python.wait().expect("Python ends").success());
    Some(())
}

#[test]
fn a_file_is_rotated_at_the_same_records_as_by_python() {
    // The records are shorter than a file: there, versions of Python differ.
    let record = |number: usize| match number % 4 {
        0 => format!("record {number}"),
        1 => format!("record {number}\nTraceback:\n  File \"a.py\"\n{}", "x".repeat(number % 70)),
        2 => format!("Größe {number}: {}", "ü€😀".repeat(number % 9)),
        _ => "y".repeat(number % 50),
    };
    let records: Vec<_> = (0..600).map(record).filter(|record| !record.is_empty()).collect();
    for (max_bytes, backups) in [(300, 3), (2_000, 100), (0, 5), (500, 0)] {
        let (python, ours, spool) = (spool_dir(), spool_dir(), spool_dir());
        if log_like_python(python.path(), max_bytes, backups, &records).is_none() {
            skip("python3");
            return;
        }
        let endpoint = url(ours.path(), &format!("/app.log?max_bytes={max_bytes}&backups={backups}"));
        let service = Service::batch(texts(&endpoint, spool.path()).with_max_batch_records(37));
        for record in &records {
            service.log(record);
        }
        service.deliver();
        assert_eq!(contents(ours.path()), contents(python.path()), "{max_bytes} {backups}");
    }
}

#[test]
fn a_list_in_json_is_a_line_for_each_record() {
    let (logs, spool) = (spool_dir(), spool_dir());
    let service = Service::simple(exporter_to(&url(logs.path(), "/app.log"), &spool));
    service.handle.pause();
    service.log_all("m", 1..=3);
    service.handle.resume();
    service.deliver();

    let text = fs::read_to_string(logs.path().join("app.log")).expect("a file");
    assert_eq!(messages(&text), names("m", 1..=3));
}

/// The messages of lines in JSON.
fn messages(text: &str) -> Vec<String> {
    let message = |line: &str| {
        let record: serde_json::Value = serde_json::from_str(line).expect("a whole record");
        record["message"].as_str().expect("a message").to_owned()
    };
    text.lines().map(message).collect()
}

#[test]
fn every_line_is_whole_after_kills_in_the_middle_of_appends() {
    let (logs, spool) = (spool_dir(), spool_dir());
    let endpoint = url(logs.path(), "/app.log?max_bytes=10KiB&backups=1000");
    let rounds: Vec<_> = (1..=4).map(|round| format!("r{round}")).collect();
    for round in &rounds {
        let mut child = Child::start(Command::new(CHILD), "service", settings(&endpoint, spool.path()));
        child.tell(&format!("log {round} 1 2000"));
        child.wait_for("accepted");
        child.kill();
    }
    Service::batch(exporter_to(&endpoint, &spool)).deliver();

    let files = contents(logs.path());
    assert!(files.len() > 4, "they are rotated meanwhile: {}", files.len());
    let (mut delivered, mut broken) = (BTreeSet::new(), 0);
    for line in files.iter().flat_map(|(_, text)| {
        assert!(text.ends_with('\n'));
        text.lines()
    }) {
        match serde_json::from_str::<serde_json::Value>(line) {
            Ok(record) => {
                delivered.insert(record["message"].as_str().expect("a message").to_owned());
            }
            // The kernel may have stopped in the middle of one append for each kill.
            Err(_) => broken += 1,
        }
    }
    assert!(broken <= rounds.len(), "{broken} lines are broken");
    let expected: BTreeSet<_> = rounds.iter().flat_map(|round| names(round, 1..=2_000)).collect();
    assert_eq!(delivered, expected);
}

#[test]
fn each_partition_has_a_file_of_its_name_in_a_directory() {
    let (logs, spool) = (spool_dir(), spool_dir());
    let exporter = texts(&url(logs.path(), "/"), spool.path()).with_partition_key(by_tenant);
    let service = Service::batch(exporter);
    for tenant in ["a.log", "b.log", "../c.log"] {
        service.log_of(tenant, 1..=2);
    }
    service.log("of nobody");
    service.deliver();

    let files = contents(logs.path());
    assert_eq!(files.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), ["a.log", "b.log", "default.log"]);
    assert_eq!(files[0].1, "a.log-000001\na.log-000002\n");
    let mut shared: Vec<_> = files[2].1.lines().collect();
    shared.sort_unstable();
    assert_eq!(shared, ["../c.log-000001", "../c.log-000002", "of nobody"]);
}

#[cfg(feature = "gzip-http")]
#[test]
fn records_that_were_stored_with_gzip_are_plain_in_a_file() {
    use opentelemetry_spool::Compression;

    let (receiver, logs, spool) = (common::Receiver::start_down(), spool_dir(), spool_dir());
    let endpoint = receiver.url("/ingest");
    let service = Service::careless(texts(&endpoint, spool.path()).with_compression(Compression::Gzip));
    service.log_all("m", 1..=20);
    drop(service);
    let service = Service::careless(texts(&url(logs.path(), "/app.log"), spool.path()).with_adopt_from([&endpoint]));
    service.log_all("m", 21..=30);
    let written = || fs::read_to_string(logs.path().join("app.log")).unwrap_or_default();
    common::wait_for("all records in the file", || (written().lines().count() == 30).then_some(()));

    let text = written();
    let mut lines: Vec<_> = text.lines().collect();
    // What was left for another endpoint lies in a queue of its own.
    lines.sort_unstable();
    assert_eq!(lines, names("m", 1..=30));
}

#[test]
fn a_record_lies_where_the_spool_says_it_does_however_it_is_stored() {
    for compression in [SpoolCompression::Lz4, SpoolCompression::None] {
        let (logs, spool) = (spool_dir(), spool_dir());
        // A file that is full after each record shows where records end.
        let endpoint = url(logs.path(), "/app.log?max_bytes=1&backups=100");
        let exporter = texts(&endpoint, spool.path()).with_spool_compression(compression).with_max_batch_records(7);
        let service = Service::batch(exporter);
        service.handle.pause();
        service.log_all("m", 1..=10);
        service.sync();
        service.log_all("m", 11..=20);
        service.sync();
        service.handle.resume();
        service.flush();
        let mut texts: Vec<_> = contents(logs.path()).into_iter().map(|(_, text)| text).collect();
        texts.sort();
        let expected: Vec<_> = names("m", 1..=20).into_iter().map(|name| name + "\n").collect();
        assert_eq!(texts, expected);
    }
}

#[test]
fn what_a_file_has_no_use_for_is_an_error_of_build() {
    let (logs, spool) = (spool_dir(), spool_dir());
    let exporter = || texts(&url(logs.path(), "/app.log"), spool.path());
    for (exporter, expected) in [
        (exporter().with_header_hook(|_, _| Ok(())), "`with_header_hook` is invalid: a file has no use for it"),
        (exporter().with_headers([("a", "b")]), "`with_headers` is invalid: a file has no use for it"),
        (exporter().with_endpoint("file:///a?rotate=1"), "no parameter \"rotate\"; allowed are max_bytes and backups"),
        (exporter().with_encoder(opentelemetry_spool::LokiEncoder::default()), "text, ndjson, json"),
    ] {
        let error = in_words(&exporter.build().expect_err("an error"));
        assert!(error.contains(expected), "{error}");
    }
}
