//! Accepted records survive the end of the exporter and of the process by SIGKILL, whatever was in flight.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use std::process::Command;

use common::{
    Answer, Child, Receiver, Service, by_tenant, exporter, exporter_to, name, names, noise, seed, settings, spool_dir,
    variable,
};
use opentelemetry::InstrumentationScope;
use opentelemetry::logs::{AnyValue, LogRecord as _};
use opentelemetry_spool::{BoxError, Encoder, ExporterBuildError, Framing, LogView, SpoolError};

use crate::CHILD;
use crate::spool::load::{accepted, answer_in_every_way, deliver_and_check};

const MIB: usize = 1 << 20;

#[test]
fn what_an_exporter_left_is_delivered_by_the_next_one_before_new_records() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let service = Service::careless(exporter(&receiver, &spool));
    service.log_all("old", 1..=50);
    assert_eq!(service.handle.stats().pending_records, 50);
    drop(service);

    let service = Service::simple(exporter(&receiver, &spool));
    assert_eq!(service.handle.stats().pending_records, 50);
    service.log_all("new", 1..=50);
    receiver.come_up();
    service.deliver();

    assert_eq!(receiver.delivered(), [names("old", 1..=50), names("new", 1..=50)].concat());
    assert_eq!(service.handle.stats().pending_records, 0);
}

#[test]
fn what_a_shutdown_left_is_delivered_by_the_next_exporter() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    for round in 1..=3 {
        let service = Service::batch(exporter(&receiver, &spool));
        service.log_all(&format!("r{round}"), 1..=50);
        let _ = service.provider.shutdown();
    }
    receiver.come_up();
    let service = Service::simple(exporter(&receiver, &spool));
    service.deliver();

    assert_eq!(receiver.delivered(), [names("r1", 1..=50), names("r2", 1..=50), names("r3", 1..=50)].concat());
}

#[test]
fn what_was_delivered_is_not_sent_again_after_a_restart() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    for round in 1..=4 {
        let start = if round % 2 == 0 { Service::simple } else { Service::careless };
        let service = start(exporter(&receiver, &spool).with_max_batch_records(3));
        service.log_all(&format!("r{round}"), 1..=20);
        service.deliver();
    }
    assert_eq!(receiver.delivered().len(), 80);
    assert_eq!(receiver.look(|log| log.repeated), 0);
}

#[test]
fn what_was_delivered_before_kill_9_is_not_sent_again_and_no_key_is_used_again() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    for round in 1..=3 {
        let mut child = Child::start(Command::new(CHILD), "service", settings(&receiver.url("/ingest"), spool.path()));
        child.tell(&format!("log r{round} 1 300"));
        child.tell("flush");
        child.wait_for("flushed");
        child.kill();
    }

    assert_eq!(receiver.delivered(), [names("r1", 1..=300), names("r2", 1..=300), names("r3", 1..=300)].concat());
    assert_eq!(receiver.look(|log| log.repeated), 0);
}

#[test]
fn a_batch_keeps_its_key_and_bytes_when_the_exporter_is_built_anew() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    receiver.answer_always(Answer::status(503));
    let service = Service::careless(exporter(&receiver, &spool).with_max_batch_records(10));
    service.handle.pause();
    service.log_all("m", 1..=30);
    service.handle.resume();
    let before = receiver.wait_for_requests(1).remove(0);
    drop(service);

    receiver.answer_always(Answer::ok());
    let seen = receiver.requests().len();
    let service = Service::careless(exporter(&receiver, &spool).with_max_batch_records(7).with_max_batch_bytes(1));
    service.deliver();

    let after = &receiver.requests()[seen];
    assert_eq!((after.key(), &after.body), (before.key(), &before.body));
    assert_eq!(before.messages.len(), 10);
    assert_eq!(receiver.delivered(), names("m", 1..=30));
}

#[test]
fn a_thousand_records_accepted_while_the_endpoint_is_down_survive_kill_9() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let mut child = Child::start(Command::new(CHILD), "service", settings(&receiver.url("/ingest"), spool.path()));
    child.tell("log m 1 1000");
    child.wait_for("accepted m 1000");
    child.kill();

    receiver.come_up();
    let service = Service::batch(exporter(&receiver, &spool));
    service.deliver();

    assert_eq!(receiver.delivered(), names("m", 1..=1_000));
    assert_eq!(service.handle.stats().pending_records, 0);
}

#[test]
fn accepted_records_survive_kill_9_under_every_durability() {
    for durability in ["sync", "never", "process"] {
        let (receiver, spool) = (Receiver::start_down(), spool_dir());
        let endpoint = receiver.url("/ingest");
        let durability = ("SPOOL_CHILD_DURABILITY", durability.as_ref());
        let settings = settings(&endpoint, spool.path()).into_iter().chain([durability]);
        let mut child = Child::start(Command::new(CHILD), "service", settings);
        child.tell("log m 1 3000");
        child.wait_for("accepted m 3000");
        child.kill();

        receiver.come_up();
        Service::batch(exporter(&receiver, &spool)).deliver();
        assert_eq!(receiver.delivered(), names("m", 1..=3_000));
    }
}

/// Kills a child whose first `before` requests had a response and whose next one hangs, and restarts with other limits.
fn killed_while_a_request_hangs(before: usize, max_batch_records: usize, max_batch_bytes: usize) {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    for _ in 0..before {
        receiver.answer_next(Answer::ok());
    }
    receiver.answer_always(Answer::hang());
    let mut child = Child::start(Command::new(CHILD), "service", settings(&receiver.url("/ingest"), spool.path()));
    for round in 0..=before {
        child.tell(&format!("log m {} {}", round * 10 + 1, round * 10 + 10));
        child.wait_for(&format!("accepted m {}", round * 10 + 10));
        receiver.wait_for_requests(round + 1);
    }
    // The batch that hangs is frozen: what comes now would still find room in it, and must not.
    child.tell(&format!("log m {} 1000", before * 10 + 11));
    child.wait_for("accepted m 1000");
    child.kill();
    let hung = receiver.requests().pop().expect("a request that hangs");
    assert_eq!((hung.number, hung.answered), (before, None));

    receiver.answer_always(Answer::ok());
    let service = Service::batch(
        exporter(&receiver, &spool)
            .with_partition_key(by_tenant)
            .with_max_batch_records(max_batch_records)
            .with_max_batch_bytes(max_batch_bytes),
    );
    service.deliver();

    // Nothing is missing, nothing came under a second key, and only the batch that hung was sent again.
    assert_eq!(receiver.delivered(), names("m", 1..=1_000));
    let requests = receiver.requests();
    let again = &requests[before + 1];
    assert_eq!((again.key(), &again.body), (hung.key(), &hung.body));
    assert_eq!(requests.iter().filter(|request| request.key() == hung.key()).count(), 2);
    assert_eq!(requests.iter().map(|request| request.messages.len()).sum::<usize>(), 1_000 + hung.messages.len());
}

#[test]
fn a_process_killed_while_its_first_request_hangs_loses_nothing_and_retries_that_batch_unchanged() {
    killed_while_a_request_hangs(0, 100, MIB);
}

#[test]
fn a_process_killed_while_a_later_request_hangs_loses_nothing_and_retries_that_batch_unchanged() {
    killed_while_a_request_hangs(3, 100, MIB);
}

#[test]
fn a_batch_that_hung_is_retried_unchanged_also_when_smaller_batches_are_configured_after_the_restart() {
    killed_while_a_request_hangs(0, 3, MIB);
    killed_while_a_request_hangs(2, 512, 500);
}

#[test]
fn a_batch_that_hung_is_retried_unchanged_also_when_larger_batches_are_configured_after_the_restart() {
    killed_while_a_request_hangs(0, 5_000, 100 * MIB);
    killed_while_a_request_hangs(2, 5_000, 100 * MIB);
}

#[test]
fn a_process_killed_before_the_response_to_a_delivered_batch_came_retries_that_batch_unchanged() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    receiver.answer_by(|request| if request.number < 2 { Answer::ok() } else { Answer::Lost });
    let mut child = Child::start(Command::new(CHILD), "service", settings(&receiver.url("/ingest"), spool.path()));
    child.tell("log m 1 1000");
    child.wait_for("accepted m 1000");
    receiver.wait_until("a batch taken more than once", |log| (log.repeated > 0).then_some(()));
    child.kill();

    receiver.answer_always(Answer::ok());
    let service = Service::batch(exporter(&receiver, &spool));
    service.deliver();

    assert_eq!(receiver.delivered(), names("m", 1..=1_000));
}

#[test]
fn partition_keys_survive_a_restart() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    receiver.answer_always(Answer::status(503));
    let tenants = ["acme", "", "größer 🦀\r\n\"x\"", &"long".repeat(1_000)];
    let service = Service::careless(exporter(&receiver, &spool).with_partition_key(by_tenant));
    for tenant in tenants {
        service.log_of(tenant, 1..=5);
    }
    drop(service);
    receiver.answer_always(Answer::ok());

    // Nobody tells the new exporter how records are partitioned.
    let keys: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
    let seen = Arc::clone(&keys);
    let service = Service::simple(exporter(&receiver, &spool).with_header_hook(move |batch, _| {
        seen.lock().unwrap().push((batch.id().to_owned(), batch.partition_key().to_owned()));
        Ok(())
    }));
    service.deliver();

    let keys: BTreeMap<_, _> = keys.lock().unwrap().clone().into_iter().collect();
    let requests = receiver.requests();
    let delivered: Vec<_> = requests.iter().filter(|request| request.answered == Some(200)).collect();
    for request in &delivered {
        let tenant = &keys[request.key()];
        assert!(request.messages.iter().all(|message| message.rsplit_once('-').expect("a message").0 == *tenant));
    }
    for tenant in tenants {
        let messages: Vec<_> = delivered
            .iter()
            .filter(|request| keys[request.key()] == tenant)
            .flat_map(|request| request.messages.iter().cloned())
            .collect();
        assert_eq!(messages, names(tenant, 1..=5));
    }
}

#[test]
fn a_spool_is_drained_in_the_format_in_which_it_was_filled() {
    struct Lines;
    impl Encoder for Lines {
        fn framing(&self) -> Framing {
            Framing::new("text/x-lines", "<", "|", ">")
        }
        fn encode(&self, record: &dyn LogView, _: &InstrumentationScope, out: &mut Vec<u8>) -> Result<(), BoxError> {
            let Some(AnyValue::String(text)) = record.body() else { return Err("no text".into()) };
            out.extend_from_slice(text.as_str().as_bytes());
            Ok(())
        }
    }
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let service = Service::careless(exporter(&receiver, &spool).with_encoder(Lines));
    service.log_these(&["one", "two"]);
    drop(service);

    receiver.come_up();
    let service = Service::simple(exporter(&receiver, &spool));
    service.log("three");
    service.deliver();

    let requests = receiver.requests();
    let bodies: Vec<_> = requests.iter().map(|request| String::from_utf8_lossy(&request.body)).collect();
    let (json, text): (Vec<_>, Vec<_>) =
        requests.iter().partition(|request| request.header("content-type") == Some("application/json"));
    assert!(text.iter().all(|request| request.header("content-type") == Some("text/x-lines")), "{bodies:?}");
    let text: String = text.iter().map(|request| String::from_utf8_lossy(&request.body)).collect();
    assert!(text == "<one|two>" || text == "<one><two>", "{bodies:?}");
    assert_eq!(json.len(), 1);
    assert_eq!(receiver.delivered(), ["three"]);
}

#[test]
fn segments_that_are_delivered_give_their_disk_space_back() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let store = |service: &Service, prefix: &str| {
        for number in 1..=40 {
            service.log_with(&name(prefix, number), |record| record.add_attribute("padding", noise(200_000)));
            service.sync();
        }
    };
    let service = Service::batch(exporter(&receiver, &spool).with_segment_bytes(MIB as u64));
    store(&service, "old");
    let _ = service.provider.shutdown();
    drop(service);
    let service = Service::batch(exporter(&receiver, &spool).with_segment_bytes(MIB as u64));
    store(&service, "new");
    let stats = service.handle.stats();
    assert!(stats.segments >= 12, "{stats:?}");
    assert!(stats.disk_bytes >= Some(16_000_000), "{stats:?}");

    receiver.come_up();
    service.deliver();

    assert_eq!(receiver.delivered(), [names("old", 1..=40), names("new", 1..=40)].concat());
    // Directories are deleted in the background.
    let stats = service.wait_for_stats("segments to be deleted", |stats| stats.segments <= 2);
    assert!(stats.disk_bytes.is_some_and(|bytes| bytes < 8_000_000), "{stats:?}");
}

#[test]
fn a_record_of_more_than_10_mb_survives_a_restart() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let service = Service::careless(exporter(&receiver, &spool).with_segment_bytes(MIB as u64));
    let large = |number: usize| format!("{}-{}", name("m", number), "0123456789abcdef".repeat(700_000));
    service.log("before");
    service.log(&large(1));
    service.log("between");
    service.log(&large(2));
    service.log("after");
    drop(service);

    receiver.come_up();
    // A busy machine takes its time for them.
    let service = Service::simple(exporter(&receiver, &spool).with_timeout(common::children::NEVER));
    service.deliver();

    // Not with assert_eq: nobody wants to read that.
    assert!(receiver.delivered() == ["before".into(), large(1), "between".into(), large(2), "after".into()]);
}

#[test]
fn two_exporters_of_one_process_share_a_directory_without_mixing_their_records() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let first = Service::simple(exporter_to(&receiver.url("/one"), &spool));
    let second = Service::batch(exporter_to(&receiver.url("/two"), &spool));
    thread::scope(|scope| {
        scope.spawn(|| first.store_all("one", 1..=300));
        scope.spawn(|| second.store_all("two", 1..=1_000));
    });
    first.deliver();
    second.deliver();

    assert_eq!(receiver.delivered_to("/one"), names("one", 1..=300));
    assert_eq!(receiver.delivered_to("/two"), names("two", 1..=1_000));
}

#[test]
fn two_processes_share_a_directory_without_mixing_their_records() {
    let (one, two, three, spool) = (Receiver::start(), Receiver::start(), Receiver::start(), spool_dir());
    let mut first = Child::start(Command::new(CHILD), "service", settings(&one.url("/"), spool.path()));
    let mut second = Child::start(Command::new(CHILD), "service", settings(&two.url("/"), spool.path()));
    let third = Service::batch(exporter(&three, &spool));
    first.wait_for("ready");
    second.wait_for("ready");
    first.tell("log one 1 1000");
    second.tell("log two 1 1000");
    third.store_all("three", 1..=1_000);
    first.tell("flush");
    second.tell("flush");
    first.wait_for("flushed");
    second.wait_for("flushed");
    third.deliver();
    first.finish();
    second.finish();

    assert_eq!(one.delivered(), names("one", 1..=1_000));
    assert_eq!(two.delivered(), names("two", 1..=1_000));
    assert_eq!(three.delivered(), names("three", 1..=1_000));
}

#[test]
fn a_killed_process_leaves_its_neighbour_on_the_same_directory_alone() {
    let (one, two, spool) = (Receiver::start_down(), Receiver::start_down(), spool_dir());
    let neighbour = Service::batch(exporter(&two, &spool));
    let mut child = Child::start(Command::new(CHILD), "service", settings(&one.url("/"), spool.path()));
    neighbour.store_all("two", 1..=500);
    child.tell("log one 1 500");
    child.wait_for("accepted one 500");
    child.kill();
    neighbour.store_all("two", 501..=1_000);

    one.come_up();
    two.come_up();
    let mut restarted = Child::start(Command::new(CHILD), "service", settings(&one.url("/"), spool.path()));
    restarted.wait_for("ready");
    restarted.tell("flush");
    restarted.wait_for("flushed");
    restarted.finish();
    neighbour.deliver();

    assert_eq!(one.delivered(), names("one", 1..=500));
    assert_eq!(two.delivered(), names("two", 1..=1_000));
}

#[test]
fn a_spool_of_a_newer_format_is_left_alone_and_named_in_the_error() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let service = Service::careless(exporter(&receiver, &spool));
    service.log_all("m", 1..=5);
    drop(service);
    let format = spool.path().join("format");
    let ours = fs::read_to_string(&format).expect("a format file");
    let (name, number) = ours.trim().rsplit_once(' ').expect("a name and a number");
    fs::write(&format, format!("{name} 99\n")).expect("a format file");

    let error = exporter(&receiver, &spool).build().expect_err("a newer format");

    let ExporterBuildError::Spool(SpoolError::NewerFormat { path, found, supported }) = &error else {
        panic!("{error:?}");
    };
    assert!(path.starts_with(spool.path()));
    assert_eq!((*found, supported.to_string()), (99, number.to_owned()));
    let said = error.to_string();
    assert!(said.contains("format 99") && said.contains(&spool.path().display().to_string()), "{said}");

    // Back with the version that can read it, everything is there.
    fs::write(&format, ours).expect("a format file");
    receiver.come_up();
    let service = Service::simple(exporter(&receiver, &spool));
    service.deliver();
    assert_eq!(receiver.delivered(), names("m", 1..=5));
}

#[test]
fn a_directory_that_is_something_else_s_is_an_error() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    fs::write(spool.path().join("format"), "a novel\n").expect("a file");

    let error = exporter(&receiver, &spool).build().expect_err("not a spool");

    assert!(matches!(error, ExporterBuildError::Spool(SpoolError::NotASpool { .. })), "{error:?}");
    assert_eq!(fs::read_to_string(spool.path().join("format")).expect("a file"), "a novel\n");
}

#[test]
fn a_spool_directory_that_cannot_be_made_is_an_error_that_names_it() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    fs::write(spool.path().join("file"), "").expect("a file");
    let below = spool.path().join("file").join("spool");

    let error = exporter(&receiver, &below).build().expect_err("a file in the way");

    let file = spool.path().join("file").display().to_string();
    assert!(error.to_string().contains(&format!("`{file}` is a file")), "{error}");
}

#[cfg(unix)]
#[test]
fn a_spool_directory_is_made_with_those_above_it_and_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;

    let (receiver, spool) = (Receiver::start(), spool_dir());
    let deep = spool.path().join("a").join("b").join("spool");
    let service = Service::simple(exporter(&receiver, &deep));
    service.log("hello");
    service.deliver();

    assert_eq!(fs::metadata(&deep).expect("a directory").permissions().mode() & 0o777, 0o700);
}

#[test]
fn kill_9_at_random_moments_under_load_never_loses_an_accepted_record() {
    seed();
    let kills = variable("SPOOL_TEST_KILLS", 25);
    let (receiver, spool) = (Receiver::start(), spool_dir());
    answer_in_every_way(&receiver);
    let mut runs = Vec::new();
    for run in 0..kills {
        match fastrand::u32(..4) {
            0 => receiver.go_down(),
            _ => receiver.come_up(),
        }
        let endpoint = receiver.url("/ingest");
        let run = run.to_string();
        let load = [("SPOOL_CHILD_RUN", run.as_ref()), ("SPOOL_CHILD_RECORDS", "1000000000".as_ref())];
        let load = settings(&endpoint, spool.path()).into_iter().chain(load);
        let mut child = Child::start(Command::new(CHILD), "load", load);
        // Anywhere: while it starts, while it opens the spool, while it logs, while it delivers, while it rotates.
        if fastrand::u32(..5) > 0 {
            child.wait_for("ready");
        }
        thread::sleep(Duration::from_micros(fastrand::u64(..150_000)));
        let said = child.kill();
        runs.push(accepted(&said));
    }

    deliver_and_check(&receiver, spool.path(), &runs, &format!("{kills} kills"));
}
