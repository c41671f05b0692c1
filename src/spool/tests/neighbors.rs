//! Losses that are reported in the stream of another queue.

use std::sync::atomic::AtomicBool;
use std::thread;

use super::*;

fn of(signal: Signal, dir: &Path) -> SpoolConfig {
    SpoolConfig { signal, ..config(dir) }
}

/// Has a spool lose records, and the loss reported or handed over.
fn lose(spool: &Spool, key: &str, records: usize) {
    spool.note_not_written(&[(key, &block(&lines(0..records)))]);
    all_reported(spool);
}

#[test]
fn a_loss_of_spans_is_reported_in_the_stream_of_logs_in_no_partition_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (spans, metrics) =
        (open_without_gaps(&of(Signal::Traces, dir.path())), open_without_gaps(&of(Signal::Metrics, dir.path())));
    let (logs, reported) = open_reporting(&config(dir.path()));
    lose(&spans, "a", 3);
    lose(&metrics, "a", 2);
    lose(&logs, "a", 1);
    all_reported(&logs);
    let reported = reported.lock().unwrap();
    let of: Vec<_> = reported.iter().map(|gap| (&*gap.key, gap.signal, gap.records)).collect();
    assert_eq!(of, [("", Some(Signal::Traces), 3), ("", Some(Signal::Metrics), 2), ("a", None, 1)]);
    assert_eq!((spans.lost(LossReason::NotWritten), logs.lost(LossReason::NotWritten)), (3, 1));
    let (arrived, _) = drain(&logs);
    assert_eq!((reported_in(&arrived[""]), reported_in(&arrived["a"])), (5, 1));
    assert!(drain(&spans).0.is_empty());
}

#[test]
fn a_queue_in_another_directory_reports_nothing() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let spans = open_without_gaps(&of(Signal::Traces, dir.path()));
    let (logs, reported) = open_reporting(&config(other.path()));
    lose(&spans, "a", 3);
    all_reported(&logs);
    assert!(reported.lock().unwrap().is_empty());
}

#[test]
fn a_loss_that_no_queue_can_report_is_reported_by_the_next_one_that_opens() {
    let dir = tempfile::tempdir().unwrap();
    let spans = open_without_gaps(&of(Signal::Traces, dir.path()));
    lose(&spans, "a", 3);
    let (logs, reported) = open_reporting(&config(dir.path()));
    all_reported(&logs);
    assert_eq!(reported.lock().unwrap().iter().map(|gap| gap.records).sum::<u64>(), 3);
    drop(logs);
    lose(&spans, "a", 2);
    lose(&spans, "b", 1);
    let (logs, reported) = open_reporting(&config(dir.path()));
    all_reported(&logs);
    let counts: Vec<_> = reported.lock().unwrap().iter().map(|gap| gap.records).collect();
    assert_eq!(counts, [3], "of both partitions together");
    // Nobody is left to whom it could matter.
    drop((logs, spans));
    let (logs, reported) = open_reporting(&config(dir.path()));
    all_reported(&logs);
    assert!(reported.lock().unwrap().is_empty());
}

#[test]
fn what_is_lost_at_the_last_is_reported_by_a_queue_that_stays_open() {
    let dir = tempfile::tempdir().unwrap();
    let (logs, reported) = open_reporting(&config(dir.path()));
    let spans = open_without_gaps(&of(Signal::Traces, dir.path()));
    end_housekeeper(&spans);
    spans.note_not_written(&[("a", &block(&lines(0..3)))]);
    assert!(spans.close());
    all_reported(&logs);
    assert_eq!(reported.lock().unwrap().iter().map(|gap| gap.records).sum::<u64>(), 3);
}

#[test]
fn a_loss_in_an_adopted_queue_is_reported_there_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let spans_in = of(Signal::Traces, dir.path());
    let (dead, spans) = (open_without_gaps(&spans_in), open_without_gaps(&spans_in));
    append(&dead, "a", &lines(0..4));
    kill(dead);
    let (logs, reported) = open_reporting(&config(dir.path()));
    spans.adopt_now();
    recovered(&spans);
    let adopted = spans.adopted().unwrap();
    let segment = adopted.index.lock().oldest().unwrap();
    let (lost, _) = adopted.index.lock().give_up(segment, LossReason::Expired);
    for gap in lost {
        adopted.note_gap(gap);
    }
    let (sender, done) = mpsc::channel();
    adopted.ask(Job::Reply(sender));
    done.recv().unwrap();
    all_reported(&logs);
    let reported = reported.lock().unwrap();
    assert_eq!((reported.len(), reported[0].signal, reported[0].records), (1, Some(Signal::Traces), 4));
}

#[test]
fn no_loss_goes_missing_while_those_that_report_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let spans = open_without_gaps(&of(Signal::Traces, dir.path()));
    let ended = AtomicBool::new(false);
    let mut delivered = 0;
    thread::scope(|scope| {
        let losing = scope.spawn(|| {
            let mut lost = 0;
            while !ended.load(Ordering::Relaxed) {
                lose(&spans, "a", 1);
                lost += 1;
            }
            lost
        });
        for _ in 0..30 {
            let (logs, _) = open_reporting(&config(dir.path()));
            all_reported(&logs);
            drop(logs);
        }
        ended.store(true, Ordering::Relaxed);
        let lost: usize = losing.join().unwrap();
        let (logs, _) = open_reporting(&config(dir.path()));
        recovered(&logs);
        all_reported(&logs);
        let all = drain(&logs).0;
        delivered += reported_in(&all[""]);
        assert!(lost > 0);
        assert_eq!(delivered, lost);
    });
}
