//! The exporter bears what the process around it goes through: clocks that jump, forks, crowds of threads and
//! partitions, hooks that panic, and other containers on the same volume.

#![cfg(target_os = "linux")]

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use common::{
    Answer, Child, Receiver, Service, by_tenant, export, exporter, flush, in_time, name, names, run, settings, skip,
    spool_dir,
};
use opentelemetry::InstrumentationScope;
use opentelemetry_sdk::logs::SdkLogRecord;
use opentelemetry_spool::{BoxError, Durability, Encoder, Framing, FromSdk, JsonEncoder, SdkEncoder, Verdict};

#[cfg(feature = "internal-logs")]
mod events;
mod scarce_cpu;

/// The helper program.
const CHILD: &str = env!("CARGO_BIN_EXE_spool-test-child");

/// Has the child log a hundred records and waits until they are on disk.
fn log(child: &mut Child, prefix: &str) {
    child.tell(&format!("log {prefix} 1 100"));
    child.wait_for("accepted");
}

/// Has the child deliver everything.
fn deliver(child: &mut Child) {
    child.tell("flush");
    child.wait_for("flushed");
}

// --- clocks --------------------------------------------------------------------------------------------------------

/// The library that gives a process a clock of its own, where it is installed.
fn faketime() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?.flatten().map(|found| found.path());
    let folders = folders.chain([PathBuf::from("/usr/lib"), PathBuf::from("/usr/local/lib")]);
    folders.map(|folder| folder.join("faketime/libfaketime.so.1")).find(|library| library.exists())
}

#[test]
fn a_clock_that_is_set_back_and_forward_by_a_year_changes_neither_what_arrives_nor_its_order() {
    let Some(library) = faketime() else { return skip("there is no libfaketime") };
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let clock = spool.path().with_extension("clock");
    let (url, mut expected) = (receiver.url("/"), Vec::new());
    let start = |offset: &str| {
        fs::write(&clock, offset).expect("a file");
        let fake: [(&str, &OsStr); 4] = [
            ("LD_PRELOAD", library.as_ref()),
            ("FAKETIME_TIMESTAMP_FILE", clock.as_ref()),
            ("FAKETIME_NO_CACHE", "1".as_ref()),
            // Nobody can set that one.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".as_ref()),
        ];
        let mut child =
            Child::start(Command::new(CHILD), "service", settings(&url, spool.path()).into_iter().chain(fake));
        child.wait_for("ready");
        child
    };
    let mut child = start("+0");
    for (run, offset) in ["+0", "+1y", "-1y", "+2y", "-3y", "+0"].into_iter().enumerate() {
        fs::write(&clock, offset).expect("a file");
        let prefix = format!("run{run}");
        for answer in [503, 429] {
            receiver.answer_next(Answer::status(answer).header("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"));
        }
        log(&mut child, &prefix);
        deliver(&mut child);
        expected.extend(names(&prefix, 1..=100));
        assert_eq!(receiver.delivered(), expected, "the clock at {offset}");
    }
    // Left by one clock, delivered by others.
    for (run, offset) in ["+1y", "-1y", "+0"].into_iter().enumerate() {
        receiver.go_down();
        let prefix = format!("left{run}");
        log(&mut child, &prefix);
        expected.extend(names(&prefix, 1..=100));
        child.kill();
        receiver.come_up();
        child = start(offset);
        deliver(&mut child);
        assert_eq!(receiver.delivered(), expected, "the clock at {offset}");
    }
    fs::remove_file(clock).expect("a file");

    // The clock really was another one.
    let times = receiver.requests().into_iter().flat_map(|request| request.records());
    let years: HashSet<i64> = times
        .map(|record| record["created"].as_f64().expect("seconds since the epoch") / (365.25 * 24.0 * 3600.0))
        .map(|years| format!("{:.0}", years.floor()).parse().expect("a number"))
        .collect();
    assert!(years.len() >= 4, "{years:?}");
}

// --- processes -----------------------------------------------------------------------------------------------------

fn fork_and_log(when: &str) -> Vec<String> {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let mut child = Child::start(Command::new(CHILD), "fork-exporter", settings(&receiver.url("/"), spool.path()));
    child.wait_for("ready");
    child.tell(when);
    assert_eq!(child.wait_for("ended"), "0", "how the forked process ended");
    child.finish();
    let mut delivered = receiver.delivered();
    delivered.sort_unstable();
    delivered
}

#[test]
fn an_exporter_that_is_built_after_a_fork_works_in_both_processes() {
    assert_eq!(fork_and_log("before"), ["of the child", "of the parent"]);
}

#[test]
fn the_copy_of_an_exporter_that_was_forked_returns_errors_and_harms_nothing() {
    assert_eq!(fork_and_log("after"), ["after the child", "of the parent"]);
}

#[test]
fn containers_with_pid_namespaces_of_their_own_share_a_volume() {
    let contain = || {
        let mut unshare = Command::new("unshare");
        unshare.args(["--pid", "--fork", "--kill-child"]);
        unshare
    };
    if let Err(why) = run(contain().arg("true")) {
        return skip(&why);
    }
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let url = receiver.url("/");
    let start = || {
        let mut command = contain();
        command.arg(CHILD);
        let mut child = Child::start(command, "service", settings(&url, spool.path()));
        assert_eq!(child.wait_for("ready"), "1", "the process id");
        child
    };
    let mut children = [start(), start(), start()];
    for (prefix, child) in ["one", "two", "three"].into_iter().zip(&mut children) {
        log(child, prefix);
    }
    // The queues of two of them are adopted: by the one that comes, and by the one that stays.
    let [first, second, mut stays] = children;
    first.kill();
    second.kill();
    let mut comes = start();
    receiver.come_up();
    log(&mut comes, "four");
    deliver(&mut comes);
    deliver(&mut stays);

    let delivered = in_time("delivery", move || {
        receiver.wait_for_records(400);
        receiver.delivered()
    });
    assert_eq!(delivered.len(), 400);
    for prefix in ["one", "two", "three", "four"] {
        let of_it = delivered.iter().filter(|message| message.starts_with(&format!("{prefix}-")));
        assert!(of_it.eq(&names(prefix, 1..=100)), "{prefix}");
    }
}

// --- crowds --------------------------------------------------------------------------------------------------------

#[test]
fn thousands_of_threads_log_at_once() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let service = Service::simple(exporter(&receiver, &spool).with_durability(Durability::Process));
    thread::scope(|scope| {
        for thread in 0..3_000 {
            let service = &service;
            let log = move || service.log_all(&format!("t{thread}"), 1..=2);
            thread::Builder::new().stack_size(256 << 10).spawn_scoped(scope, log).expect("a thread");
        }
    });
    service.deliver();

    let mut of_threads: HashMap<String, Vec<String>> = HashMap::new();
    for message in receiver.delivered() {
        let (thread, number) = message.rsplit_once('-').expect("a message");
        of_threads.entry(thread.to_owned()).or_default().push(number.to_owned());
    }
    assert_eq!(of_threads.len(), 3_000);
    assert!(of_threads.into_values().all(|numbers| numbers == ["000001", "000002"]));
}

#[test]
fn ten_thousand_partitions_are_delivered_each_by_itself_and_also_after_a_restart() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let open = || {
        let exporter = exporter(&receiver, &spool).with_durability(Durability::Process);
        Service::batch(exporter.with_partition_key(by_tenant).with_segment_bytes(1 << 20))
    };
    let service = open();
    let tenant = |number: usize| format!("tenant{number}");
    for number in 0..10_000 {
        service.log_of(&tenant(number), 1..=1);
        if number % 500 == 0 {
            service.sync();
        }
    }
    service.sync();
    drop(service);
    let service = open();
    for number in 0..10_000 {
        service.log_of(&tenant(number), 2..=2);
        if number % 500 == 0 {
            service.sync();
        }
    }
    receiver.come_up();
    service.deliver();

    let requests = receiver.requests();
    assert!(requests.iter().all(|request| {
        let tenant = |message: &String| message.split('-').next().map(str::to_owned);
        request.messages.iter().all(|message| tenant(message) == tenant(&request.messages[0]))
    }));
    let delivered = receiver.delivered();
    assert_eq!(delivered.len(), 20_000);
    let at: HashMap<_, _> = delivered.iter().zip(0..).collect();
    for number in 0..10_000 {
        let [first, second] = [1, 2].map(|record| at[&name(&tenant(number), record)]);
        assert!(first < second, "{}", tenant(number));
    }
}

#[test]
fn keys_of_64_kib_and_more_are_kept_apart_by_their_first_64_kib() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let seen: Arc<Mutex<HashSet<String>>> = Arc::default();
    let open = || {
        let seen = Arc::clone(&seen);
        exporter(&receiver, &spool).with_partition_key(by_tenant).with_header_hook(move |batch, _| {
            seen.lock().unwrap().insert(batch.partition_key().to_owned());
            Ok(())
        })
    };
    // ü has two bytes: the cut must not go through it.
    let keys = ["ü", "u"].map(|letter| [1 << 15, 1 << 16, 1 << 20].map(|count| letter.repeat(count)));
    let service = Service::batch(open());
    for key in keys.as_flattened() {
        service.log_with(&key[..2], |record| {
            opentelemetry::logs::LogRecord::add_attribute(record, "tenant", key.clone());
        });
    }
    service.sync();
    drop(service);
    receiver.come_up();
    Service::batch(open()).deliver();

    assert_eq!(receiver.delivered().len(), 6);
    let seen: Vec<_> = seen.lock().unwrap().iter().map(|key| (key.len(), key.chars().next())).collect();
    let expected = HashSet::from([(1 << 16, Some('ü')), (1 << 15, Some('u')), (1 << 16, Some('u'))]);
    assert_eq!(seen.into_iter().collect::<HashSet<_>>(), expected);
}

#[test]
fn an_empty_batch_is_accepted_and_nothing_is_sent() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let built = exporter(&receiver, &spool).build().expect("an exporter");
    for _ in 0..3 {
        export(&built, &[]).expect("nothing is accepted");
    }
    flush(&built.handle());
    let stats = built.handle().stats();
    assert_eq!((stats.accepted_records, stats.requests, stats.failed_exports), (0, 0, 0));
    assert_eq!(receiver.requests().len(), 0);
}

#[test]
fn appends_of_several_exporters_at_once_start_no_other_thread_of_the_engine() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let mut child = Child::start(Command::new(CHILD), "crowd", settings(&receiver.url("/"), spool.path()));
    assert_eq!(child.wait_for("logged"), "7", "threads of the engine");
    child.finish();
}

// --- functions of the user's that panic ----------------------------------------------------------------------------

fn panics_for(record: &SdkLogRecord, tenant: &str) {
    let scope = InstrumentationScope::builder("test").build();
    assert_ne!(by_tenant(record, &scope), tenant, "a panic that is asked for");
}

/// Panics for one tenant in the middle of a record. It is written against the SDK's record.
struct Panicking(JsonEncoder);

impl SdkEncoder for Panicking {
    fn framing(&self) -> Framing {
        self.0.framing()
    }

    fn encode(&self, record: &SdkLogRecord, scope: &InstrumentationScope, out: &mut Vec<u8>) -> Result<(), BoxError> {
        out.extend_from_slice(b"{\"half a record");
        panics_for(record, "encoder");
        out.clear();
        self.0.encode(record, scope, out)
    }
}

#[test]
fn a_partition_key_or_an_encoder_that_panics_costs_that_record_alone_and_is_counted() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let exporter = exporter(&receiver, &spool).with_encoder(FromSdk(Panicking(JsonEncoder::default())));
    let service = Service::batch(exporter.with_partition_key(|record, scope| {
        panics_for(record, "key");
        by_tenant(record, scope)
    }));
    for number in 1..=20 {
        for tenant in ["good", "encoder", "key", "fine"] {
            service.log_of(tenant, number..=number);
        }
    }
    service.deliver();

    let delivered = receiver.delivered();
    for tenant in ["good", "fine"] {
        assert!(delivered.iter().filter(|message| message.starts_with(tenant)).eq(&names(tenant, 1..=20)));
    }
    let stats = service.handle.stats();
    assert_eq!((delivered.len(), stats.accepted_records, stats.encode_failed_records), (40, 40, 40));
}

#[test]
fn a_header_hook_or_a_classifier_that_panics_costs_an_attempt_and_holds_nobody_else() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let (calls, answers) = (AtomicUsize::new(0), AtomicUsize::new(0));
    receiver.answer_by(|request| match &request.messages[0] {
        message if message.starts_with("classifier") => Answer::status(299),
        _ => Answer::ok(),
    });
    let service = Service::batch(
        exporter(&receiver, &spool)
            .with_partition_key(by_tenant)
            .with_header_hook(move |batch, _| {
                let panics = batch.partition_key() == "hook" && calls.fetch_add(1, Ordering::Relaxed) < 5;
                assert!(!panics, "a panic that is asked for");
                Ok(())
            })
            .with_response_classifier(move |response| {
                let panics = response.status() == 299 && answers.fetch_add(1, Ordering::Relaxed) < 5;
                assert!(!panics, "a panic that is asked for");
                Verdict::of(response)
            }),
    );
    for tenant in ["hook", "good", "classifier"] {
        service.log_of(tenant, 1..=20);
    }
    service.deliver();

    for tenant in ["hook", "good", "classifier"] {
        let delivered = receiver.delivered();
        assert!(delivered.iter().filter(|message| message.starts_with(tenant)).eq(&names(tenant, 1..=20)), "{tenant}");
    }
    // The requests whose response was not looked at came twice, under their keys.
    assert_eq!(receiver.look(|log| log.repeated), 5 * 20);
}
