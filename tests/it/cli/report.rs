//! The report for a bug report: what is confidential is not in it, wherever it stands in the spool.

use common::{files_with, wait_for};

use super::*;

/// It stands wherever something confidential can.
const MARK: &str = "zzsecretzz";

/// A spool with the mark in records, keys, headers, the endpoint, responses, names and the path, and a receiver that refuses all.
fn marked(spool: &Path) -> Receiver {
    let receiver = Receiver::start();
    let query = format!("/{MARK}?token={MARK}");
    let exporter = || {
        let exporter = small(exporter_to(&receiver.url(&query), spool));
        exporter.with_header_hook(|_, headers| Ok(headers.insert("authorization", MARK)?))
    };
    let log = |service: &Service, messages: std::ops::RangeInclusive<usize>| {
        for number in messages {
            service.log_with(&name(MARK, number), |record| {
                record.add_attribute("tenant", MARK);
                record.add_attribute(MARK, MARK);
            });
        }
    };
    // A segment in quarantine.
    left(exporter(), |service| log(service, 1..=3_000));
    damage(&databases(spool)[0], 10);
    assert_eq!(run(spool, ["drain", "--to", &receiver.url("/ingest")]).0, 1);
    // A rejected record, between two that are taken.
    let is_refused = |request: &common::Request| request.messages.iter().any(|message| message.starts_with("refused"));
    receiver.answer_by(move |request| if is_refused(request) { Answer::status(422).body(MARK) } else { Answer::ok() });
    let service = Service::simple(exporter());
    service.log_with(&format!("refused {MARK}"), |record| record.add_attribute("tenant", MARK));
    service.settle(|live| service.log_with(&name("live", live), |record| record.add_attribute("tenant", MARK)));
    drop(service);
    // The words of a server, told by the owner.
    receiver.answer_always(Answer::status(503).body(MARK));
    let service = Service::careless(exporter());
    log(&service, 1..=10);
    wait_for("a status with the endpoint's words", || {
        let has_words = |path: &PathBuf| {
            fs::read(path).is_ok_and(|status| {
                document(&String::from_utf8_lossy(&status))["last_error"]["reason"].to_string().contains(MARK)
            })
        };
        files_with(spool, MARK.as_bytes()).iter().any(|path| path.ends_with("status") && has_words(path)).then_some(())
    });
    drop(service);
    // Names that are not the spool's.
    fs::write(spool.join(format!("{MARK}.json")), MARK).expect("a file");
    fs::write(spool.join("rejected").join(format!("{MARK}.logs.json")), MARK).expect("a file");
    fs::create_dir(spool.join(format!("00000000000000aa.{MARK}"))).expect("a directory");
    receiver
}

#[test]
fn nothing_confidential_of_a_spool_is_in_its_report() {
    let dir = spool_dir();
    let spool = dir.path().join(MARK);
    fs::create_dir(&spool).expect("a directory");
    let _receiver = marked(&spool);
    let with_mark = files_with(&spool, MARK.as_bytes());
    let is_there = |name: &str| with_mark.iter().any(|path| path.to_string_lossy().replace('\\', "/").contains(name));
    for name in ["/db", "/seal", "/status", "/endpoint", "/quarantine/", "/rejected/"] {
        assert!(is_there(name), "{name}: {with_mark:?}");
    }

    let before = tree(&spool);
    let mut tool = tool(["report", spool.to_str().expect("a path of text")]);
    tool.env("OTEL_EXPORTER_OTLP_HEADERS", MARK).env(format!("OTEL_{MARK}-"), MARK);
    let (code, report, error) = outcome(&tool.output().expect("the tool runs"));
    assert_eq!(code, 0, "{error}");
    assert!(!report.contains(MARK), "{report}");
    assert!(!report.contains("127.0.0.1") && !report.contains("token"), "{report}");
    assert!(before == tree(&spool), "something was changed");
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let is_host = |word: &str| !host.trim().is_empty() && word == host.trim();
    assert!(!report.split(|char: char| !char.is_alphanumeric() && char != '-').any(is_host), "{report}");

    // It is of use all the same.
    let queue = queues(&spool).iter().map(|queue| id(queue)).next().expect("a queue");
    for expected in [
        "spool format 8",
        "file system",
        &queue,
        "sent by http; 1 partitions; 10 records",
        "batches of at most 100 records",
        "an attempt failed",
        "OTEL_EXPORTER_OTLP_HEADERS",
        "logs       422",
        "1 segments in quarantine",
        "1 files of rejected records are damaged",
        if cfg!(unix) { "-0600" } else { "" },
        ".segment/db",
        "(a name that is not the spool's)",
    ] {
        assert!(report.contains(expected), "{expected:?} in {report}");
    }

    let file = dir.path().join("report.txt");
    let to_file = file.to_str().expect("a path of text");
    assert_eq!(run(&spool, ["report", "-o", to_file]).0, 0);
    let written = fs::read_to_string(&file).expect("a report");
    assert!(written.contains("# Files") && !written.contains(MARK), "{written}");
    assert_eq!(run(&spool, ["report", "-o", to_file]).0, 4, "nothing is overwritten");
}

#[test]
fn a_living_owner_is_reported_and_not_disturbed() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let mut child = start_child(&receiver.url("/ingest"), spool.path());
    log_of(&mut child, "acme", 1, 100);
    let (code, report, _) = run(spool.path(), ["report"]);
    assert_eq!(code, 0);
    assert!(report.contains("alive") && report.contains("100"), "{report}");
    receiver.come_up();
    child.tell("flush");
    child.wait_for("flushed");
    assert_eq!(receiver.delivered(), names("acme", 1..=100));
}

#[test]
fn a_report_by_a_relative_path_is_the_same_and_has_no_hash_of_an_endpoint() {
    let spool = spool_dir();
    left(small(exporter_to(NOWHERE, &spool)), |service| service.log("one"));
    let name = queues(spool.path())[0].file_name().expect("a name").to_string_lossy().into_owned();
    let hash = name.rsplit('.').next().expect("an origin").to_owned();
    let output = tool(["report", "."]).current_dir(spool.path()).output().expect("the tool runs");
    let (code, report, error) = outcome(&output);
    assert_eq!(code, 0, "{error}");
    assert!(report.contains(".segment/db") && !report.contains("SPOOLsegment"), "{report}");
    assert!(report.contains(".logs.origin-1") && !report.contains(&hash), "{report}");
}

#[test]
fn what_of_a_spool_cannot_be_read_is_said_in_its_report_and_the_rest_stands_there() {
    let spool = spool_dir();
    left(small(exporter_to(NOWHERE, &spool)), |service| service.log("one"));
    for name in ["rejected", "quarantine"] {
        fs::write(spool.path().join(name), "not a directory").expect("a file");
    }
    let (code, report, error) = run(spool.path(), ["report"]);
    assert_eq!(code, 0, "{error}");
    assert!(report.matches("this cannot be said").count() >= 2, "{report}");
    assert!(report.contains("1 partitions; 1 record") && report.contains(".segment/db"), "{report}");
}
