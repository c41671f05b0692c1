//! The format on disk is pinned: a spool that is committed is delivered, and every record, id and order is compared byte for byte
//! with what is committed beside it. Writer and reader that were changed alike would agree with each other, but not with that.
//!
//! `fixtures/format-8` holds a spool of two segments, each file compressed. The first is of a process that ended in an orderly way: it
//! is sealed, one lane is partly delivered, one record is rejected, and entries are compressed with LZ4. The second is of one that
//! took the queue over and was killed: it is not sealed, entries are of loads and compressed for the wire, and the last records are in
//! the journal alone. `SPOOL_TEST_WRITE_FIXTURE=1` makes all of it anew, which takes a new number of the format.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::children::fixture::{RECORDS, REJECTED, TENANTS, configured, messages};
use common::{Answer, Child, Receiver, Service, exporter, settings, spool_dir};
use flate2::Compression as Level;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use opentelemetry_spool::Compression;

use crate::CHILD;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/format-8")
}

/// The file that has the fixture's delivery in text, as it is to be.
fn expected() -> PathBuf {
    fixture().with_extension("txt")
}

/// Every file below a directory, by its path from there.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for found in fs::read_dir(dir).expect("a directory") {
        let found = found.expect("an entry of a directory");
        let name = PathBuf::from(found.file_name());
        if found.file_type().expect("a type").is_dir() {
            files.extend(self::files(&found.path()).into_iter().map(|below| name.join(below)));
        } else {
            files.push(name);
        }
    }
    files
}

/// Writes each file of a spool, compressed, to the fixture.
fn pack(spool: &Path) {
    let _ = fs::remove_dir_all(fixture());
    for path in files(spool) {
        let packed = fixture().join(format!("{}.gz", path.display()));
        fs::create_dir_all(packed.parent().expect("a directory above")).expect("a directory");
        let mut packed = GzEncoder::new(File::create(packed).expect("a file"), Level::best());
        io::copy(&mut File::open(spool.join(path)).expect("a file"), &mut packed).expect("a file that can be read");
        packed.finish().expect("a file that can be written");
    }
}

fn unpack(spool: &Path) {
    for path in files(&fixture()) {
        let mut bytes = Vec::new();
        let packed = fs::read(fixture().join(&path)).expect("a file");
        GzDecoder::new(&packed[..]).read_to_end(&mut bytes).expect("a compressed file");
        let path = spool.join(path.with_extension(""));
        fs::create_dir_all(path.parent().expect("a directory above")).expect("a directory");
        fs::write(path, bytes).expect("a file");
    }
}

/// Leaves a spool as the fixture has it.
fn write(spool: &Path) {
    let receiver = Receiver::start();
    receiver.answer_by(|request| match &request.messages[0] {
        _ if request.messages.iter().any(|message| message == REJECTED) => Answer::status(422).body("not this one"),
        message if message.contains("acme") && message.as_str() < "first acme-000009" => Answer::ok(),
        _ => Answer::status(503),
    });
    let url = receiver.url("/ingest");
    let start = |run: &'static str| {
        let run = [("SPOOL_CHILD_RUN", run.as_ref())];
        let mut child = Child::start(Command::new(CHILD), "fixture", settings(&url, spool).into_iter().chain(run));
        child.wait_for("ready");
        child.tell("log");
        child.wait_for("done");
        child
    };
    let mut first = start("first");
    receiver.wait_until("a partition that is partly delivered", |log| {
        let refused = log.requests.iter().any(|request| *request.messages == [REJECTED] && request.answered.is_some());
        let fails = log.requests.iter().filter(|request| request.answered == Some(503));
        (refused && fails.count() > 20).then_some(())
    });
    first.tell("pause");
    first.wait_for("done");
    first.finish();
    receiver.go_down();
    start("second").kill();
}

/// The endpoint that a queue was sent to: another server is adopted from by name alone.
fn endpoint_of(spool: &Path) -> String {
    let queue = common::queues(spool).remove(0);
    fs::read_to_string(queue.join("endpoint")).expect("a file").trim().to_owned()
}

/// Delivers a spool; says what came of it.
fn deliver(spool: &Path) -> String {
    let receiver = Receiver::start();
    let moved = exporter(&receiver, spool).with_adopt_from([endpoint_of(spool)]);
    let exporter = configured(moved).with_compression(Compression::Gzip);
    let service = Service::batch(exporter);
    // It is adopted beside the exporter's own queue, so a flush may come before.
    receiver.wait_until("the last record of each partition", |log| {
        let last = |tenant| messages(tenant).pop().is_some_and(|last| log.delivered.contains(&last));
        TENANTS.into_iter().all(last).then_some(())
    });
    service.flush();

    let delivered = receiver.delivered();
    for tenant in TENANTS {
        let of_it = |message: &&String| message.contains(&format!(" {tenant}-"));
        let delivered: Vec<_> = delivered.iter().filter(of_it).collect();
        let messages = messages(tenant);
        // Some of the first partition were delivered before.
        assert!(delivered.len() > 12 && messages.iter().collect::<Vec<_>>().ends_with(&delivered), "{delivered:#?}");
    }
    let mut requests = receiver.requests();
    // Partitions have no order among them.
    requests.sort_by_key(|request| request.header("x-tenant").map(str::to_owned));
    let mut text = String::new();
    for request in requests {
        let is_journaled = |message: &String| message.ends_with(&format!("-{:06}", RECORDS + 1));
        for header in ["idempotency-key", "content-type", "x-tenant", "x-first", "x-last"] {
            let value = match request.header(header).unwrap_or_default() {
                // Whoever takes a journal over draws the number of the segment that it goes to.
                id if header == "idempotency-key" && request.messages.iter().any(is_journaled) => {
                    id.split_once('.').map_or(id, |(_, place)| place)
                }
                value => value,
            };
            let _ = writeln!(text, "{header}: {value}");
        }
        let _ = writeln!(text, "{}\n", String::from_utf8_lossy(&request.plain()));
    }
    for record in service.handle.rejected().expect("the rejected store") {
        let body = String::from_utf8_lossy(&record.body);
        let _ = writeln!(
            text,
            "rejected {} of {:?} at {:?}, {} {:?}, {} {:?}\n{body}",
            record.batch_id,
            record.partition_key,
            record.rejected_at,
            record.status,
            record.response,
            record.content_type,
            record.response_protocol,
        );
    }
    text
}

#[test]
fn a_spool_of_this_format_is_delivered_to_the_byte() {
    if std::env::var_os("SPOOL_TEST_WRITE_FIXTURE").is_some() {
        let spool = spool_dir();
        write(spool.path());
        pack(spool.path());
        fs::write(expected(), deliver(spool.path())).expect("a file");
    }
    let spool = spool_dir();
    unpack(spool.path());
    let (expected, delivered) = (fs::read_to_string(expected()).expect("a file"), deliver(spool.path()));
    // The clock of Windows ticks in steps of 100 ns.
    let is_exact =
        |line: &str| cfg!(unix) || !["x-first:", "x-last:", "rejected "].iter().any(|time| line.starts_with(time));
    for (line, (expected, delivered)) in (1..).zip(expected.lines().zip(delivered.lines())) {
        assert!(
            delivered == expected || !is_exact(expected),
            "line {line} of what is expected: {delivered:?} and not {expected:?}"
        );
    }
    assert_eq!(delivered.lines().count(), expected.lines().count());
}
