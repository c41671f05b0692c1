//! The end: it delivers what it can, leaves the rest in the spool, and never hangs.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use common::{Answer, PATIENCE, Receiver, Service, by_tenant, export, exporter, in_time, names, patient, spool_dir};
use opentelemetry::InstrumentationScope;
use opentelemetry::logs::{LogRecord as _, Logger as _, LoggerProvider as _};
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_spool::FlushError;

const NEVER: Duration = Duration::from_secs(1_000 * 60 * 60);

#[test]
fn shutdown_delivers_what_was_logged() {
    for start in [Service::simple, Service::batch] {
        let (receiver, spool) = (Receiver::start(), spool_dir());
        let service = start(exporter(&receiver, &spool));
        service.log_all("m", 1..=100);

        service.provider.shutdown().expect("an orderly end");

        assert_eq!(receiver.delivered(), names("m", 1..=100));
    }
}

#[test]
fn shutdown_does_not_wait_for_a_batch_to_linger() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let service = Service::batch(exporter(&receiver, &spool).with_linger(NEVER));
    service.log_all("m", 1..=100);

    service.provider.shutdown().expect("an orderly end");

    assert_eq!(receiver.delivered(), names("m", 1..=100));
}

#[test]
fn dropping_the_provider_delivers_what_was_logged() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let service = Service::batch(exporter(&receiver, &spool));
    service.log_all("m", 1..=100);

    // The provider shuts down when its last owner goes.
    drop(service);

    assert_eq!(receiver.delivered(), names("m", 1..=100));
}

#[test]
fn dropping_an_exporter_without_a_shutdown_leaves_the_rest_in_the_spool() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    receiver.answer_always(Answer::hang());
    let service = Service::careless(exporter(&receiver, &spool).with_timeout(NEVER));
    service.log_all("m", 1..=10);
    receiver.wait_for_requests(1);

    in_time("dropping the exporter", move || drop(service));

    receiver.answer_always(Answer::ok());
    Service::simple(exporter(&receiver, &spool)).deliver();
    assert_eq!(receiver.delivered(), names("m", 1..=10));
}

#[test]
fn an_exporter_that_was_never_used_can_be_dropped() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let exporter = exporter(&receiver, &spool);
    in_time("building and dropping an exporter", move || exporter.build().map(|_| ())).expect("an exporter");
}

#[test]
fn the_handle_may_outlive_the_exporter() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let service = Service::careless(exporter(&receiver, &spool));
    service.log("hello");
    service.deliver();
    let handle = service.handle.clone();
    drop(service);

    assert_eq!(handle.flush(PATIENCE), Err(FlushError::ShutDown));
    assert_eq!(handle.stats().delivered_records, 1);
    handle.pause();
    handle.resume();
}

#[test]
fn after_the_shutdown_the_figures_are_those_of_the_end() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let service = Service::simple(exporter(&receiver, &spool).with_retry_policy(patient()));
    service.log_all("m", 1..=3);
    let before = service.wait_for_stats("an attempt", |stats| stats.failed_requests > 0);

    // The handle keeps nothing alive.
    let Service { provider, handle, .. } = service;
    provider.shutdown().expect("an orderly end");
    drop(provider);

    let after = handle.stats();
    assert_eq!((after.pending_records, after.accepted_records), (3, 3), "{after:?}");
    assert!(after.oldest_age >= before.oldest_age && after.segments > 0 && after.disk_bytes > Some(0), "{after:?}");
    assert!(after.last_error.is_some() && !after.recovering, "{after:?}");
    let again = handle.stats();
    assert_eq!((again.oldest_age, again.disk_bytes), (after.oldest_age, after.disk_bytes), "they stay");
}

/// Shuts down while nothing can be delivered; expects it to return, and what it left to be delivered later.
fn shutdown_returns(receiver: &Receiver, service: Service, spool: &tempfile::TempDir) {
    let provider = service.provider.clone();
    // Whatever it says: the batch processor calls it a timeout when something is left to send.
    let _ = in_time("shutdown", move || provider.shutdown());
    in_time("dropping what was shut down", move || drop(service));

    receiver.come_up();
    receiver.answer_always(Answer::ok());
    let service = Service::simple(exporter(receiver, spool));
    service.deliver();
    assert_eq!(receiver.delivered(), names("m", 1..=100));
}

#[test]
fn shutdown_returns_though_the_endpoint_hangs() {
    for start in [Service::simple, Service::batch] {
        let (receiver, spool) = (Receiver::start(), spool_dir());
        receiver.answer_always(Answer::hang());
        let service = start(exporter(&receiver, &spool).with_timeout(NEVER));
        service.log_all("m", 1..=100);
        service.sync();
        receiver.wait_for_requests(1);
        shutdown_returns(&receiver, service, &spool);
    }
}

#[test]
fn shutdown_returns_though_the_endpoint_refuses_connections() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let service = Service::batch(exporter(&receiver, &spool));
    service.log_all("m", 1..=100);
    shutdown_returns(&receiver, service, &spool);
}

#[test]
fn shutdown_returns_though_the_server_asks_for_an_hour_s_patience() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    receiver.answer_always(Answer::status(503).header("retry-after", "3600"));
    let mut policy = patient();
    policy.max_retry_after = NEVER;
    let service = Service::batch(exporter(&receiver, &spool).with_retry_policy(policy));
    service.log_all("m", 1..=100);
    service.sync();
    receiver.wait_until("an answer", |log| log.requests.first()?.answered);
    shutdown_returns(&receiver, service, &spool);
}

#[test]
fn shutdown_returns_though_every_batch_is_held() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    receiver.answer_always(Answer::status(401));
    let service = Service::batch(exporter(&receiver, &spool));
    service.log_all("m", 1..=100);
    service.sync();
    receiver.wait_for_requests(2);
    shutdown_returns(&receiver, service, &spool);
}

#[test]
fn shutdown_returns_though_the_header_hook_fails() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let service =
        Service::batch(exporter(&receiver, &spool).with_header_hook(|_, _| Err("the vault is sealed".into())));
    service.log_all("m", 1..=100);
    shutdown_returns(&receiver, service, &spool);
    assert!(receiver.look(|log| log.repeated) == 0);
}

#[test]
fn shutdown_returns_though_the_header_hook_hangs() {
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
    let service = Service::batch(hook);
    service.log_all("m", 1..=100);
    service.sync();
    is_called.recv_timeout(PATIENCE).expect("the hook is called");
    shutdown_returns(&receiver, service, &spool);
}

#[test]
fn shutdown_returns_while_delivery_is_paused_and_leaves_the_rest_in_the_spool() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let service = Service::batch(exporter(&receiver, &spool));
    service.handle.pause();
    service.log_all("m", 1..=100);
    shutdown_returns(&receiver, service, &spool);
}

#[test]
fn shutdown_delivers_what_other_partitions_have_while_one_is_retried() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    receiver.answer_by(|request| Answer::status(if request.messages[0].starts_with("bad") { 503 } else { 200 }));
    let service = Service::batch(exporter(&receiver, &spool).with_partition_key(by_tenant).with_max_batch_records(10));
    service.handle.pause();
    for number in 1..=100 {
        service.log_of("bad", number..=number);
        service.log_of("good", number..=number);
    }
    service.sync();
    service.handle.resume();

    let _ = service.provider.shutdown();

    assert_eq!(receiver.delivered(), names("good", 1..=100));
    drop(service);
    receiver.answer_always(Answer::ok());
    Service::simple(exporter(&receiver, &spool)).deliver();
    assert_eq!(receiver.delivered()[100..], names("bad", 1..=100));
}

#[test]
fn shutdown_takes_as_long_as_it_is_given_and_no_longer_while_the_endpoint_hangs() {
    // Those with less return while the one with the most still waits, however slow the machine is.
    let limits = [NEVER, Duration::from_secs(3), Duration::from_millis(50), Duration::ZERO];
    let (returned, returns) = mpsc::channel();
    let endpoints = limits.map(|limit| {
        let (receiver, spool, returned) = (Receiver::start(), spool_dir(), returned.clone());
        receiver.answer_always(Answer::hang());
        let service = Service::simple(exporter(&receiver, &spool).with_timeout(NEVER));
        service.log_all("m", 1..=10);
        receiver.wait_for_requests(1);
        thread::spawn(move || {
            let began = Instant::now();
            let _ = service.provider.shutdown_with_timeout(limit);
            let _ = returned.send((limit, began.elapsed()));
        });
        (receiver, spool)
    });

    for _ in 1..limits.len() {
        let (limit, took) = returns.recv().expect("a shutdown");
        assert_ne!(limit, NEVER, "it had the time for what can still be delivered");
        // A part of it is left for the disk.
        assert!(took >= limit / 2, "what can still be delivered has the time for it: {took:?} of {limit:?}");
    }
    drop(endpoints);
}

#[test]
fn shutdown_of_an_idle_exporter_returns() {
    for start in [Service::simple, Service::batch, Service::careless] {
        let (receiver, spool) = (Receiver::start_down(), spool_dir());
        let service = start(exporter(&receiver, &spool));
        in_time("shutdown", move || service.provider.shutdown()).expect("an orderly end");
        assert_eq!(receiver.look(|log| log.connections), 0);
    }
}

#[test]
fn a_second_shutdown_says_so_and_does_nothing() {
    for start in [Service::simple, Service::batch] {
        let (receiver, spool) = (Receiver::start(), spool_dir());
        let service = start(exporter(&receiver, &spool));
        service.log("hello");
        service.provider.shutdown().expect("an orderly end");
        let again = in_time("a second shutdown", move || service.provider.shutdown());
        assert!(matches!(again, Err(OTelSdkError::AlreadyShutdown)), "{again:?}");
        assert_eq!(receiver.delivered(), ["hello"]);
    }
}

#[test]
fn the_exporter_itself_may_be_shut_down_twice_and_takes_nothing_afterwards() {
    use opentelemetry_sdk::logs::LogExporter as _;

    let (receiver, spool) = (Receiver::start(), spool_dir());
    let exporter = exporter(&receiver, &spool).build().expect("an exporter");
    exporter.shutdown().expect("an orderly end");
    let again = exporter.shutdown();
    assert!(matches!(again, Ok(()) | Err(OTelSdkError::AlreadyShutdown)), "{again:?}");

    let mut record = SdkLoggerProvider::builder().build().logger("test").create_log_record();
    record.set_body("late".into());
    let after = export(&exporter, &[(&record, &InstrumentationScope::default())]);
    assert!(matches!(after, Err(OTelSdkError::AlreadyShutdown)), "{after:?}");
    assert_eq!(exporter.handle().flush(PATIENCE), Err(FlushError::ShutDown));
    let stats = exporter.handle().stats();
    assert_eq!((stats.accepted_records, stats.pending_records), (0, 0), "{stats:?}");
    drop(exporter);
    let next = Service::simple(common::exporter(&receiver, &spool));
    next.log("next");
    next.deliver();
    assert_eq!(receiver.delivered(), ["next"]);
}

#[test]
fn what_is_logged_after_a_shutdown_is_ignored_without_harm() {
    for start in [Service::simple, Service::batch] {
        let (receiver, spool) = (Receiver::start(), spool_dir());
        let service = start(exporter(&receiver, &spool));
        service.log("before");
        service.provider.shutdown().expect("an orderly end");
        service.log("after");
        let _ = service.provider.force_flush();
        assert_eq!(service.handle.stats().accepted_records, 1);
        assert_eq!(service.handle.flush(PATIENCE), Err(FlushError::ShutDown));
        drop(service);
        assert_eq!(receiver.delivered(), ["before"]);
    }
}

#[test]
fn a_flush_that_waits_ends_with_a_shutdown() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    receiver.answer_always(Answer::hang());
    let service = Service::simple(exporter(&receiver, &spool).with_timeout(NEVER));
    service.log("hello");
    receiver.wait_for_requests(1);
    let handle = service.handle.clone();
    let flush = thread::spawn(move || handle.flush(NEVER));

    let _ = service.provider.shutdown_with_timeout(Duration::from_millis(50));
    let flushed = in_time("a flush", move || flush.join()).expect("no panic");

    assert_eq!(flushed, Err(FlushError::ShutDown));
}

#[test]
fn shutdown_while_others_log_loses_nothing_that_was_accepted() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let service = Service::simple(exporter(&receiver, &spool).with_max_batch_records(10));
    let accepted = thread::scope(|scope| {
        for thread in 0..4 {
            let service = &service;
            scope.spawn(move || service.log_all(&format!("t{thread}"), 1..=200));
        }
        receiver.wait_for_records(20);
        let _ = service.provider.shutdown();
        service.handle.stats().accepted_records
    });
    assert_eq!(service.handle.stats().accepted_records, accepted, "nothing is accepted after a shutdown");
    drop(service);
    Service::simple(exporter(&receiver, &spool)).deliver();

    assert_eq!(receiver.delivered().len() as u64, accepted);
}
