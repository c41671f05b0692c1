//! The journal of a `SpoolProcessor`: what `emit` has returned for survives a kill at any moment, once and in order.

#![cfg(target_os = "linux")]

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use common::children::NEVER;
use common::children::journaled::THREADS;
use common::children::processor::{FEW, service};
use common::{
    Answer, Child, Disk, Mount, Receiver, Service, exporter, name, names, noise, run, seed, settings, skip, spool_dir,
    variable, wait_for,
};
use opentelemetry::logs::{LogRecord as _, Severity};
use opentelemetry_spool::{FullPolicy, LogExporterBuilder, LossReason, SpoolEvent};

use crate::CHILD;

/// The files of journals in a spool.
fn journals(spool: &Path) -> Vec<String> {
    let entries = |dir: &Path| fs::read_dir(dir).expect("a directory").map(|found| found.expect("an entry").path());
    let queues = entries(spool).filter(|path| path.is_dir());
    let files = queues.flat_map(|queue| entries(&queue).collect::<Vec<_>>());
    let names = files.map(|file| file.file_name().expect("a name").to_string_lossy().into_owned());
    names.filter(|name| name.ends_with(".journal")).collect()
}

#[test]
fn a_kill_at_any_moment_takes_nothing_that_emit_has_returned_for() {
    seed();
    let kills = variable("SPOOL_TEST_KILLS", 12);
    // On a disk that stalls the journal may be suspended, and a kill then takes something.
    let memory = Path::new("/dev/shm");
    let spool = if memory.is_dir() { tempfile::tempdir_in(memory).expect("a directory") } else { spool_dir() };
    let (receiver, counts) = (Receiver::start(), spool_dir());
    let mut returned = HashMap::new();
    for run in 0..kills {
        if fastrand::bool() {
            receiver.come_up();
        } else {
            receiver.go_down();
        }
        let file = counts.path().join(run.to_string());
        let (endpoint, run) = (receiver.url("/ingest"), run.to_string());
        let delay = ["0", "1", "20", "100"][fastrand::usize(..4)];
        let own: [(&str, &std::ffi::OsStr); 3] = [
            ("SPOOL_CHILD_RUN", run.as_ref()),
            ("SPOOL_CHILD_COUNTS", file.as_ref()),
            ("SPOOL_CHILD_DELAY", delay.as_ref()),
        ];
        let settings = settings(&endpoint, spool.path()).into_iter().chain(own);
        let mut child = Child::start(Command::new(CHILD), "journaled", settings);
        // Anywhere: while it takes over what the one before has left, while it commits, while it changes files.
        if fastrand::u32(..5) > 0 {
            child.wait_for("ready");
        }
        thread::sleep(Duration::from_micros(fastrand::u64(..150_000)));
        child.kill();
        let counted = fs::read(&file).unwrap_or_default();
        for (thread, count) in counted.chunks_exact(8).enumerate() {
            let count = u64::from_le_bytes(count.try_into().expect("eight bytes"));
            returned.insert(format!("{run}:{thread}"), usize::try_from(count).expect("a count"));
        }
    }

    receiver.come_up();
    let last = Service::batch(exporter(&receiver, &spool));
    last.deliver();
    assert_eq!(journals(spool.path()), Vec::<String>::new());
    assert_eq!(last.handle.stats().lost_records, 0);
    let mut arrived = HashMap::<String, Vec<String>>::new();
    for message in receiver.delivered() {
        let (thread, _) = message.rsplit_once('-').expect("a name");
        arrived.entry(thread.to_owned()).or_default().push(message);
    }
    let total: usize = returned.values().sum();
    println!("{kills} kills: {total} records that emit returned for, of {} threads", returned.len());
    assert!(returned.len() >= THREADS, "{returned:?}");
    for (thread, count) in returned {
        let arrived = arrived.remove(&thread).unwrap_or_default();
        // Of one more it is not known whether `emit` returned.
        assert!((count..=count + 1).contains(&arrived.len()), "{thread}: {} of {count} records", arrived.len());
        assert!(arrived == names(&thread, 1..=arrived.len()), "{thread}: something came twice, or out of order");
    }
    // Those that had not noted any yet.
    assert!(arrived.values().all(|records| records.len() == 1), "{arrived:?}");
}

#[test]
fn what_was_committed_is_delivered_once_and_the_journal_is_gone_with_the_processor() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let service =
        service(exporter(&receiver, &spool), |it| it.with_journal(true).with_commit_delay(Duration::from_millis(20)));
    service.log_all("m", 1..=2_000);
    service.deliver();
    assert_eq!(journals(spool.path()).len(), 2);
    service.log_all("n", 1..=10);
    service.provider.shutdown().expect("a shutdown");
    assert_eq!(journals(spool.path()), Vec::<String>::new());
    assert_eq!(receiver.delivered(), [names("m", 1..=2_000), names("n", 1..=10)].concat());
}

/// Has a child with a journal log, which commits nothing, and kills it.
fn leave(receiver: &Receiver, spool: &Path, prefix: &str) {
    let endpoint = receiver.url("/ingest");
    let settings = settings(&endpoint, spool).into_iter().chain([("SPOOL_CHILD_JOURNAL", "on".as_ref())]);
    let mut child = Child::start(Command::new(CHILD), "processor", settings);
    child.tell(&format!("log {prefix}"));
    child.wait_for("done");
    child.kill();
}

#[test]
fn the_next_process_delivers_what_it_finds_before_its_own_and_says_how_much_it_was() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    for prefix in ["a", "b"] {
        leave(&receiver, spool.path(), prefix);
    }
    let replayed = Arc::new(Mutex::new(Vec::new()));
    let seen = replayed.clone();
    let exporter = exporter(&receiver, &spool).with_on_event(move |event| {
        if let SpoolEvent::JournalReplayed { records } = event {
            seen.lock().unwrap().push(*records);
        }
    });
    let service = service(exporter, |it| it.with_journal(true));
    service.log("of the next");
    receiver.come_up();
    service.deliver();
    let expected = [names("a", 1..=FEW), names("b", 1..=FEW), vec!["of the next".to_owned()]].concat();
    assert!(receiver.delivered() == expected, "{} records", receiver.delivered().len());
    wait_for("the event", || (!replayed.lock().unwrap().is_empty()).then_some(()));
    // The second child may have put the records of the first one into a segment, and may not.
    assert!([vec![FEW as u64], vec![2 * FEW as u64]].contains(&replayed.lock().unwrap()));
}

// --- disks that stall or take nothing --------------------------------------------------------------------------------

/// An exporter with a log of its events.
fn observed(exporter: LogExporterBuilder) -> (LogExporterBuilder, Arc<Mutex<Vec<&'static str>>>) {
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&events);
    (exporter.with_on_event(move |event| seen.lock().unwrap().push(event.name())), events)
}

fn wait_for_event(events: &Mutex<Vec<&'static str>>, name: &str) {
    wait_for(name, || events.lock().unwrap().contains(&name).then_some(()));
}

#[test]
fn a_disk_that_stalls_holds_up_one_thread_and_no_record_is_lost() {
    let Some(disk) = Disk::create(64) else { return };
    let receiver = Receiver::start();
    let (exporter, events) = observed(exporter(&receiver, disk.path().join("spool")));
    let service = service(exporter, |it| it.with_journal(true).with_max_wait(Duration::from_millis(20)));
    service.log("before");
    service.sync();
    let stall = disk.stall();
    thread::scope(|scope| {
        for thread in ["a", "b"] {
            let service = &service;
            scope.spawn(move || service.log_all(thread, 1..=100));
        }
        // One of the two waits for the disk.
        service.wait_for_stats("the other one to go on", |stats| stats.not_journaled_records >= 99);
        wait_for_event(&events, "Spool.JournalSuspended");
        drop(stall);
    });
    service.sync();
    service.log("behind");
    service.sync();
    wait_for_event(&events, "Spool.JournalResumed");
    let not_journaled = service.handle.stats().not_journaled_records;
    service.log("journaled again");
    assert_eq!(service.handle.stats().not_journaled_records, not_journaled);
    service.deliver();
    assert_eq!(receiver.delivered().len(), 203);
    assert_eq!(service.handle.stats().lost_records, 0);
}

#[test]
fn a_disk_without_space_suspends_the_journal_and_loses_nothing() {
    let Some(disk) = Disk::create(64) else { return };
    let receiver = Receiver::start_down();
    let exporter = exporter(&receiver, disk.path().join("spool")).with_segment_bytes(1 << 20);
    let (exporter, events) = observed(exporter);
    let service = service(exporter, |it| it.with_journal(true));
    service.log("m-000001");
    service.sync();
    disk.fill();
    let message = |number| format!("{} {}", name("m", number), noise(100_000));
    // More than the journal has taken of the disk ahead.
    for number in 2..=40 {
        service.log(&message(number));
    }
    wait_for_event(&events, "Spool.JournalSuspended");
    disk.free();
    receiver.come_up();
    service.wait_for_stats("the buffer to be committed", |stats| stats.accepted_records == 40);
    service.deliver();
    let delivered = receiver.delivered();
    assert!(delivered.iter().map(|message| &message[..8]).eq(names("m", 1..=40).iter()), "{}", delivered.len());
}

#[test]
fn what_a_full_spool_does_not_take_at_shutdown_stays_in_the_journal() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let full = || exporter(&receiver, &spool).with_max_spool_bytes(12 << 20).with_full_policy(FullPolicy::RejectNew);
    let filled = service(full(), |it| it.with_journal(true).with_max_buffer_bytes(1 << 20));
    let (mut logged, mut number) = (Vec::new(), 0);
    while filled.handle.stats().failed_exports == 0 {
        number += 1;
        logged.push(name("m", number));
        filled.log_with(&name("m", number), |record| record.add_attribute("padding", noise(100_000)));
        let _ = filled.provider.force_flush();
    }
    filled.provider.shutdown().expect("a shutdown that loses nothing");
    assert_eq!(filled.handle.stats().lost_records, 0);
    assert_eq!(journals(spool.path()).len(), 1);

    receiver.come_up();
    let next = Service::batch(full());
    next.deliver();
    assert!(receiver.delivered() == logged, "{} of {}", receiver.delivered().len(), logged.len());
    assert_eq!(journals(spool.path()), Vec::<String>::new());
}

#[test]
fn all_that_is_logged_while_the_spool_is_full_stays_in_the_journal_in_order() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let full = || exporter(&receiver, &spool).with_max_spool_bytes(12 << 20).with_full_policy(FullPolicy::RejectNew);
    let filled = service(full(), |it| it.with_journal(true).with_max_buffer_bytes(4 << 20));
    let log = |message: &str, bytes| {
        filled.log_with(message, |record| record.add_attribute("padding", noise(bytes)));
    };
    let (mut logged, mut number) = (Vec::new(), 0);
    while filled.handle.stats().failed_exports == 0 {
        number += 1;
        logged.push(name("m", number));
        log(&name("m", number), 100_000);
        let _ = filled.provider.force_flush();
    }
    // One commit is retried while these wait for the next one, which would fit.
    for number in number + 1..=number + 20 {
        logged.push(name("m", number));
        log(&name("m", number), 100);
    }
    filled.provider.shutdown().expect("a shutdown that loses nothing");
    assert_eq!(filled.handle.stats().lost_records, 0);

    receiver.come_up();
    let next = Service::batch(full());
    next.deliver();
    assert!(receiver.delivered() == logged, "{:?}", receiver.delivered());
    assert_eq!(journals(spool.path()), Vec::<String>::new());
}

/// A file system in memory of two megabytes, and the path of a spool there.
fn small_disk(dir: &Path) -> Option<(Mount, PathBuf)> {
    let mut mount = Command::new("mount");
    let disk = Mount::at(dir.join("mount"), mount.args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]));
    let disk = disk.inspect_err(|why| skip(why)).ok()?;
    let spool = disk.path().join("spool");
    Some((disk, spool))
}

#[test]
fn a_shutdown_on_a_full_disk_tells_how_many_records_are_lost_and_how_many_are_left_in_the_journal() {
    let dir = spool_dir();
    let Some((disk, spool)) = small_disk(dir.path()) else { return };
    let receiver = Receiver::start_down();
    let lost = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&lost);
    let observed = exporter(&receiver, &spool).with_on_event(move |event| {
        if let SpoolEvent::RecordsLost { reason: LossReason::NotWritten, records, cause } = event {
            told.lock().unwrap().push((*records, cause.clone()));
        }
    });
    let service = service(observed, |it| it.with_journal(true));
    for number in 1..=400 {
        service.log(&format!("{} {}", name("m", number), noise(10_000)));
    }
    let error = service.provider.shutdown().expect_err("a shutdown that loses records").to_string();
    let stats = service.handle.stats();
    let left = 400 - stats.accepted_records - stats.lost_records;
    assert!(stats.lost_records > 0, "{stats:?}");
    let expected =
        format!("records lost: {}, left in the journal for the next process: {left}, because: ", stats.lost_records);
    assert!(error.contains(&expected) && error.contains("(os error 28)"), "{error}");
    wait_for("each loss", || {
        let lost = lost.lock().unwrap();
        assert!(lost.iter().all(|(_, cause)| cause.ends_with("(os error 28)")), "{lost:?}");
        (lost.iter().map(|(records, _)| records).sum::<u64>() == stats.lost_records).then_some(())
    });
    drop(service);
    // What is in the journal takes room in the spool.
    run(Command::new("mount").args(["-o", "remount,size=16m"]).arg(disk.path())).expect("a larger disk");
    receiver.come_up();
    let next = Service::batch(exporter(&receiver, &spool));
    next.deliver();
    let delivered = receiver.delivered().iter().filter(|message| message.starts_with("m-")).count() as u64;
    assert_eq!(delivered, stats.accepted_records + left);
}

/// Commits fail and succeed in turn, while batches are in flight.
#[test]
fn on_a_disk_that_is_full_time_and_again_nothing_is_sent_twice() {
    let dir = spool_dir();
    let Some((_disk, spool)) = small_disk(dir.path()) else { return };
    let receiver = Receiver::start();
    receiver.answer_by(|_| {
        thread::sleep(Duration::from_millis(20));
        Answer::ok()
    });
    let service =
        service(exporter(&receiver, &spool), |it| it.with_journal(true).with_commit_delay(Duration::from_millis(20)));
    let failures = variable("SPOOL_TEST_FAILURES", 5);
    let mut number = 0;
    wait_for("commits that fail", || {
        number += 1;
        // A few records are in each commit.
        service.log(&format!("{} {}", name("m", number), noise(1_000)));
        thread::sleep(Duration::from_millis(10));
        (service.handle.stats().failed_exports >= failures).then_some(())
    });
    let _ = service.provider.shutdown();
    let stats = service.handle.stats();
    assert!(stats.delivered_records <= stats.accepted_records, "{stats:?}");
    assert_eq!(receiver.look(|log| log.repeated), 0, "{stats:?}");
}

// --- commits that begin early ----------------------------------------------------------------------------------------

#[test]
fn a_panic_of_any_thread_has_the_buffer_committed() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let service = service(exporter(&receiver, &spool), |it| it.with_commit_on_panic(true).with_commit_delay(NEVER));
    service.log_all("m", 1..=10);
    assert_eq!(service.handle.stats().accepted_records, 0);
    thread::spawn(|| panic!("as asked")).join().expect_err("a panic");
    service.wait_for_stats("a commit", |stats| stats.accepted_records == 10);
}

#[test]
fn a_record_of_some_severity_has_the_buffer_committed() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let service =
        service(exporter(&receiver, &spool), |it| it.with_commit_at(Severity::Error).with_commit_delay(NEVER));
    let log = |severity| service.log_with("m", |record| record.set_severity_number(severity));
    log(Severity::Warn);
    assert_eq!(service.handle.stats().accepted_records, 0);
    log(Severity::Fatal);
    service.wait_for_stats("a commit", |stats| stats.accepted_records == 2);
}
