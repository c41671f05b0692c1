//! Several exporters of one process on one spool directory: they share their threads, and nothing else.

use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use common::{Answer, PATIENCE, Receiver, Request, Service, exporter, exporter_to, in_time, name, names, spool_dir};

const NEVER: Duration = Duration::from_secs(1_000 * 60 * 60);

/// What only Linux tells: the threads of a process, by name.
#[cfg(target_os = "linux")]
mod threads {
    use std::process::Command;

    use common::{Child, Receiver, names, settings, spool_dir, wait_for};

    use crate::CHILD;

    fn start(receiver: &Receiver, spool: &tempfile::TempDir) -> Child {
        start_as("sharing", &receiver.url("/"), spool)
    }

    fn start_as(name: &str, endpoint: &str, spool: &tempfile::TempDir) -> Child {
        let mut child = Child::start(Command::new(CHILD), name, settings(endpoint, spool.path()));
        child.wait_for("ready");
        child
    }

    fn ask(child: &mut Child, command: &str, word: &str) -> String {
        child.tell(command);
        child.wait_for(word)
    }

    /// Waits for the exporters to have so many threads. One may be starting, and has no name yet, or be ending.
    fn settles_at(child: &mut Child, count: usize) {
        wait_for("threads to start or to end", || {
            (ask(child, "threads", "threads").parse() == Ok(count)).then_some(())
        });
    }

    #[test]
    fn three_exporters_have_the_threads_of_one_which_the_last_of_them_ends() {
        let (receiver, spool) = (Receiver::start(), spool_dir());
        let mut child = start(&receiver, &spool);
        for (run, [build, second_build]) in
            [["build", "build-careless"], ["build-careless", "build"]].iter().enumerate()
        {
            let first = 3 * run;
            ask(&mut child, &format!("{build} {}", receiver.url("/0")), "built");
            ask(&mut child, &format!("log {first} run{run} 10"), "delivered");
            // One delivers, one keeps house.
            let of_one = 2;
            settles_at(&mut child, of_one);
            for (number, path) in (first + 1..).zip(["/1", "/2"]) {
                ask(&mut child, &format!("{second_build} {}", receiver.url(path)), "built");
                ask(&mut child, &format!("log {number} run{run} 10"), "delivered");
                settles_at(&mut child, of_one);
            }
            for number in [first + 1, first] {
                ask(&mut child, &format!("end {number}"), "ended");
                settles_at(&mut child, of_one);
            }
            ask(&mut child, &format!("log {} run{run}-last 10", first + 2), "delivered");
            ask(&mut child, &format!("end {}", first + 2), "ended");
            settles_at(&mut child, 0);
        }
        child.finish();
        let of_a_run = |run: usize| [names(&format!("run{run}"), 1..=10), names(&format!("run{run}-last"), 1..=10)];
        assert_eq!(receiver.delivered_to("/2"), [of_a_run(0), of_a_run(1)].concat().concat());
    }

    #[cfg(all(feature = "trace", feature = "metrics"))]
    #[test]
    fn exporters_of_all_three_signals_have_the_threads_of_one_which_the_last_of_them_ends() {
        const SIGNALS: [&str; 3] = ["logs", "traces", "metrics"];
        for first in 0..SIGNALS.len() {
            let (receiver, spool) = (Receiver::start(), spool_dir());
            let mut child = start_as("three", &receiver.url(""), &spool);
            let order = [0, 1, 2].map(|after| SIGNALS[(first + after) % SIGNALS.len()]);
            let mut memory = vec![ask(&mut child, "memory", "memory")];
            for signal in order {
                ask(&mut child, &format!("build {signal}"), "built");
                ask(&mut child, "use 300", "used");
                settles_at(&mut child, 2);
                memory.push(ask(&mut child, "memory", "memory"));
            }
            println!("KiB with none, {order:?}: {memory:?}");
            for signal in &order[..2] {
                ask(&mut child, &format!("end {signal}"), "ended");
                ask(&mut child, "use 10", "used");
                settles_at(&mut child, 2);
            }
            ask(&mut child, &format!("end {}", order[2]), "ended");
            settles_at(&mut child, 0);
            child.finish();
        }
    }

    #[test]
    fn an_exporter_that_cannot_be_built_leaves_no_thread() {
        let (receiver, spool) = (Receiver::start(), spool_dir());
        let mut child = start(&receiver, &spool);
        assert_eq!(ask(&mut child, "fail", "failed"), "2");
        settles_at(&mut child, 0);
        ask(&mut child, &format!("build {}", receiver.url("/")), "built");
        assert_eq!(ask(&mut child, "fail", "failed"), "2");
        settles_at(&mut child, 2);
        ask(&mut child, "log 0 m 10", "delivered");
        child.finish();
    }
}

/// Never responds to what comes to the path of [`exporter`].
fn hangs(request: &Request) -> Answer {
    if request.target == "/ingest" { Answer::hang() } else { Answer::ok() }
}

/// Ends one exporter while nothing comes of another's requests, and expects a third one to go on. They have one server, as
/// exporters on one directory do.
fn ends_beside(stuck: Service, receiver: &Receiver, spool: &tempfile::TempDir) {
    for start in [Service::simple, Service::careless] {
        let [of_one, of_other] = [(); 2].map(|()| format!("/{:x}", fastrand::u64(..)));
        let [ends, stays] = [&of_one, &of_other].map(|path| start(exporter_to(&receiver.url(path), spool)));
        ends.log_all("m", 1..=10);
        ends.deliver();
        in_time("the end of an exporter", move || drop(ends));
        stays.log_all("m", 1..=10);
        stays.deliver();
        assert_eq!(receiver.delivered_to(&of_one), names("m", 1..=10));
        assert_eq!(receiver.delivered_to(&of_other), names("m", 1..=10));
    }
    drop(stuck);
}

#[test]
fn an_endpoint_that_hangs_delays_no_other_exporter_nor_its_end() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    receiver.answer_by(hangs);
    let stuck = Service::careless(exporter(&receiver, &spool).with_timeout(NEVER));
    stuck.log("hangs");
    receiver.wait_for_requests(1);
    ends_beside(stuck, &receiver, &spool);
}

#[test]
fn a_hook_that_hangs_delays_no_other_exporter_nor_its_end() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let (called, is_called) = mpsc::channel();
    let hook = exporter(&receiver, &spool).with_timeout(NEVER).with_async_header_hook(move |_, headers| {
        let called = called.clone();
        async move {
            let _ = called.send(());
            std::future::pending::<()>().await;
            Ok(headers)
        }
    });
    let stuck = Service::careless(hook);
    stuck.log("hangs");
    is_called.recv_timeout(PATIENCE).expect("the hook is called");
    ends_beside(stuck, &receiver, &spool);
}

#[test]
fn a_hook_that_blocks_its_thread_delays_no_other_exporter_nor_its_end() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let (called, is_called) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let hook = exporter(&receiver, &spool).with_header_hook(move |_, _| {
        let _ = called.send(());
        let _ = released.lock().expect("no panic").recv();
        Ok(())
    });
    let stuck = Service::careless(hook);
    stuck.log("waits");
    is_called.recv_timeout(PATIENCE).expect("the hook is called");
    ends_beside(stuck, &receiver, &spool);
    assert_eq!(receiver.delivered_to("/ingest"), Vec::<String>::new());
    drop(release);
    let last = Service::simple(exporter(&receiver, &spool));
    receiver.wait_until("what waited", |log| log.delivered.contains(&"waits".to_owned()).then_some(()));
    drop(last);
}

#[test]
fn an_exporter_that_has_shut_down_has_no_hook_that_runs() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let kept = Arc::new(());
    let of_hook = kept.clone();
    let service = Service::simple(exporter(&receiver, &spool).with_header_hook(move |_, _| {
        assert!(Arc::strong_count(&of_hook) > 1);
        Ok(())
    }));
    service.log_all("m", 1..=10);
    service.provider.shutdown().expect("a shutdown");
    assert_eq!(Arc::strong_count(&kept), 1);
    assert_eq!(receiver.delivered(), names("m", 1..=10));
}

#[test]
fn an_exporter_that_is_paused_or_shutting_down_delays_no_other_nor_its_end() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    receiver.answer_by(hangs);
    let paused = Service::careless(exporter(&receiver, &spool));
    paused.handle.pause();
    paused.log("waits");
    ends_beside(paused, &receiver, &spool);

    let ending = Service::simple(exporter(&receiver, &spool).with_timeout(NEVER));
    ending.log("hangs");
    receiver.wait_until("a request that hangs", |log| {
        log.requests.iter().any(|request| request.target == "/ingest").then_some(())
    });
    let provider = ending.provider.clone();
    // It ends with the process.
    thread::spawn(move || provider.shutdown_with_timeout(NEVER));
    ends_beside(ending, &receiver, &spool);
}

#[test]
fn the_records_of_exporters_that_start_and_end_in_many_threads_at_once_all_arrive() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    thread::scope(|scope| {
        for thread in 0..4 {
            let (receiver, spool) = (&receiver, &spool);
            scope.spawn(move || {
                for turn in 1..=25 {
                    let start = if turn % 2 == 0 { Service::simple } else { Service::careless };
                    let service = start(exporter(receiver, spool));
                    service.log(&name(&format!("t{thread}"), turn));
                    in_time("the end of an exporter", move || drop(service));
                }
            });
        }
    });
    // It adopts what was left, one queue after the other.
    let last = Service::simple(exporter(&receiver, &spool));
    let mut delivered = receiver.wait_for_records(100);
    drop(last);
    delivered.sort_unstable();
    assert_eq!(delivered, (0..4).flat_map(|thread| names(&format!("t{thread}"), 1..=25)).collect::<Vec<_>>());
}
