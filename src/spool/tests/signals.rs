//! Queues of several signals in one directory: each is delivered by exporters of its own signal alone.

use super::*;

fn of(signal: Signal, dir: &Path) -> SpoolConfig {
    SpoolConfig { signal, ..config(dir) }
}

/// A queue whose owner is gone.
fn left(signal: Signal, dir: &Path) -> PathBuf {
    let spool = open(&of(signal, dir));
    append(&spool, "a", &[format!("of {signal}")]);
    kill(spool);
    let queues = fs::read_dir(dir).unwrap().flatten().map(|found| found.path());
    queues.into_iter().find(|path| path.extension().is_some_and(|name| name == signal.name())).unwrap()
}

#[test]
fn a_queue_is_adopted_by_a_spool_of_its_signal_alone() {
    let dir = tempfile::tempdir().unwrap();
    for signal in Signal::ALL {
        left(signal, dir.path());
    }
    for signal in [Signal::Metrics, Signal::Logs, Signal::Traces] {
        let spool = open(&of(signal, dir.path()));
        assert_eq!(drain(&spool).0["a"], [format!("of {signal}")]);
        left(signal, dir.path());
        spool.adopt_now();
        assert_eq!(drain(&spool).0["a"], [format!("of {signal}")]);
        spool.adopt_now();
        assert_eq!(spool.depth().pending_records, 0);
        assert!(drain(&spool).0.is_empty(), "what is of another signal is not its own");
    }
}

#[test]
fn a_queue_of_a_signal_that_is_not_known_is_left_alone_and_counts() {
    let dir = tempfile::tempdir().unwrap();
    let known = left(Signal::Traces, dir.path());
    let (unknown, empty) = (known.with_extension("profiles"), dir.path().join("0123456789abcdef.profiles"));
    fs::rename(&known, &unknown).unwrap();
    fs::create_dir(&empty).unwrap();
    for signal in Signal::ALL {
        let spool = open(&of(signal, dir.path()));
        let before = spool.disk_bytes().unwrap();
        fs::write(unknown.join("more"), vec![1; 1 << 20]).unwrap();
        assert!(spool.disk_bytes().unwrap() >= before + (1 << 20), "it counts");
        fs::remove_file(unknown.join("more")).unwrap();
        append(&spool, "a", &["its own"]);
        spool.adopt_now();
        assert_eq!(drain(&spool).0["a"], ["its own"]);
    }
    assert!(unknown.exists() && empty.exists());
    fs::rename(&unknown, &known).unwrap();
    assert_eq!(drain(&open(&of(Signal::Traces, dir.path()))).0["a"], ["of traces"]);
}

#[test]
fn a_segment_comes_back_from_the_quarantine_to_its_signal_alone() {
    let dir = tempfile::tempdir().unwrap();
    let queue = left(Signal::Traces, dir.path());
    let segment = fs::read_dir(&queue).unwrap().flatten().map(|found| found.path());
    let segment = segment.into_iter().find(|path| path.extension().is_some_and(|name| name == "segment")).unwrap();
    let spool = open(&of(Signal::Traces, dir.path()));
    recovered(&spool);
    let id = super::super::dir::parse_segment(segment.file_name().unwrap().to_str().unwrap()).unwrap();
    spool.queue.dir.quarantine(id, u64::MAX).unwrap();
    kill(spool);
    let kept: Vec<_> = fs::read_dir(dir.path().join("quarantine")).unwrap().flatten().collect();
    assert_eq!(kept.len(), 1);
    let name = format!("{}.{}", queue.file_name().unwrap().display(), segment.file_stem().unwrap().display());
    assert_eq!(kept[0].file_name().to_str().unwrap(), name);
    for signal in [Signal::Logs, Signal::Metrics] {
        assert!(drain(&open(&of(signal, dir.path()))).0.is_empty());
    }
    assert_eq!(drain(&open(&of(Signal::Traces, dir.path()))).0["a"], ["of traces"]);
}

/// As they were called before there were queues of other signals.
#[test]
fn a_segment_in_quarantine_without_a_signal_is_of_logs() {
    let dir = tempfile::tempdir().unwrap();
    let queue = left(Signal::Logs, dir.path());
    let segment = segment_dirs(dir.path()).remove(0);
    let quarantine = dir.path().join("quarantine");
    fs::create_dir(&quarantine).unwrap();
    let name = format!("{}.{}", queue.file_stem().unwrap().display(), segment.file_stem().unwrap().display());
    fs::rename(&segment, quarantine.join(name)).unwrap();
    assert!(drain(&open(&of(Signal::Traces, dir.path()))).0.is_empty());
    assert_eq!(drain(&open(&config(dir.path()))).0["a"], ["of logs"]);
}
