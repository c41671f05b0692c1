//! What the owner of a queue tells others of it.

use super::super::dir::status_in;
use super::super::status::{Counts, Status};
use super::*;

/// What a queue tells now.
fn told(spool: &Spool) -> Status {
    spool.queue.run_job(&Job::Status).unwrap();
    Status::read(&spool.queue.dir.path).unwrap()
}

/// What was told last.
fn read(spool: &Spool) -> Option<Status> {
    Status::read(&spool.queue.dir.path)
}

#[test]
fn a_queue_tells_what_waits_and_since_when_and_what_its_exporter_has_done() {
    let dir = tempfile::tempdir().unwrap();
    let endpoint = Some("http://host/in?key=secret".to_owned());
    let spool = open(&SpoolConfig { endpoint, ..config(dir.path()) });
    let before = SystemTime::now();
    append(&spool, "acme", &lines(0..3));
    let status = told(&spool);
    assert_eq!((status.process, status.pending_records), (std::process::id(), Some(3)));
    assert!(status.oldest.is_some_and(|oldest| oldest + Duration::from_millis(1) >= before));
    assert!(status.written_at + Duration::from_millis(1) >= before);
    assert_eq!(status.endpoint.as_deref(), Some("http://host/in?..."));
    assert_eq!((status.last_success, status.last_error), (None, None));
    let counters = &spool.queue.hooks.counters;
    counters.accepted_records.add(4);
    counters.end_records(3, 1);
    counters.set_last_error("refused".to_owned());
    drain(&spool);
    let status = told(&spool);
    let counts = Counts { accepted: 4, delivered: 3, rejected: 1, lost: 0, failed_requests: 0 };
    assert_eq!((status.pending_records, status.oldest, status.counts), (Some(0), None, Some(counts)));
    assert!(status.last_success.is_some_and(|at| at >= before - Duration::from_millis(1)));
    assert_eq!(status.last_error.unwrap().reason, "refused");
    let file = status_in(&spool.queue.dir.path, 1 << 16).unwrap();
    let text = String::from_utf8(file).unwrap();
    assert!(!text.contains("acme") && !text.contains("secret") && text.ends_with("}\n"), "{text}");
}

#[test]
fn what_changes_is_news_until_it_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&config(dir.path()));
    let has_news = || spool.queue.has_news.load(Ordering::Relaxed);
    assert!(!has_news() && read(&spool).is_none(), "nothing is told of an empty queue");
    append(&spool, "a", &["first"]);
    assert!(has_news());
    told(&spool);
    assert!(!has_news());
    drain(&spool);
    assert!(has_news());
    told(&spool);
    spool.note_news();
    assert!(has_news());
}

/// A job that logs and ends lives less than a second.
#[test]
fn a_queue_that_is_left_tells_its_last_state_and_one_that_is_delivered_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&config(dir.path()));
    let path = spool.queue.dir.path.clone();
    append(&spool, "a", &lines(0..3));
    drop(spool);
    assert_eq!(Status::read(&path).unwrap().pending_records, Some(3));
    let spool = open(&config(dir.path()));
    assert_eq!(spool.queue.dir.path, path);
    assert!(spool.queue.has_news.load(Ordering::Relaxed), "it has another owner");
    fs::write(path.join("status.new"), "left by a kill").unwrap();
    drain(&spool);
    drop(spool);
    assert!(!path.exists());
}

#[test]
fn an_adopted_queue_tells_what_waits_in_it_and_not_what_its_adopter_has_done() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let (dead, spool) = (open(&config), open(&config));
    append(&dead, "a", &lines(0..2));
    kill(dead);
    spool.adopt_now();
    let adopted = spool.adopted().unwrap();
    spool.wait_recovered();
    adopted.run_job(&Job::Status).unwrap();
    let status = Status::read(&adopted.dir.path).unwrap();
    assert_eq!((status.pending_records, status.counts), (Some(2), None));
    assert!(told(&spool).counts.is_some());
}

/// It is for people: whatever stands in its way, nothing else waits or fails.
#[test]
fn a_status_that_cannot_be_written_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&config(dir.path()));
    append(&spool, "a", &["first"]);
    for in_the_way in ["status", "status.new"] {
        let path = spool.queue.dir.path.join(in_the_way);
        let _ = fs::remove_file(&path);
        fs::create_dir(&path).unwrap();
        spool.queue.run_job(&Job::Status).unwrap();
        assert!(read(&spool).is_none());
        fs::remove_dir(&path).unwrap();
    }
    assert!(!spool.queue.dir.path.join("status.new").exists());
    assert_eq!(told(&spool).pending_records, Some(1));
}
