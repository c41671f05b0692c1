//! Servers and proxies that answer before they have read the request, close a connection while it is used, say too much or
//! too little.
//!
//! Each is played as it was seen. Whatever they do, every record arrives, once where the server can tell, and none is rejected.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use common::{Authority, Heard, Service, Wire, WireServer, exporter_to, name, names, noise, patient, spool_dir};
use opentelemetry::logs::LogRecord as _;
use opentelemetry_spool::{LogExporterBuilder, RetryPolicy, SpoolStats};
use tempfile::TempDir;

/// Longer than any test lasts.
const NEVER: Duration = Duration::from_secs(1_000 * 60 * 60);

/// Reads a request to its end and takes it; gives whether there was one.
fn take(wire: &mut Wire) -> io::Result<bool> {
    let Some(head) = wire.head()? else { return Ok(false) };
    let body = wire.body(&head)?;
    wire.store(&head, &body);
    wire.respond(200, "")?;
    Ok(true)
}

/// Has records delivered in batches of 100.
fn deliver(
    server: &WireServer,
    count: usize,
    change: impl FnOnce(LogExporterBuilder) -> LogExporterBuilder,
) -> (Heard, SpoolStats) {
    let spool = spool_dir();
    let service = Service::batch(change(exporter_to(&server.url(), &spool).with_max_batch_records(100)));
    service.handle.pause();
    service.store_all("m", 1..=count);
    service.handle.resume();
    service.flush();
    let (heard, stats) = (server.heard(), service.handle.stats());
    assert_eq!((stats.rejected_records, stats.pending_records), (0, 0), "{stats:?}");
    (heard, stats)
}

/// Every record was taken once. A batch that fails whole is parked while others are taken.
fn check_all_once(mut heard: Heard, count: usize) {
    heard.stored.sort();
    assert_eq!(heard.stored, names("m", 1..=count));
    assert_eq!(heard.repeated, 0);
}

/// Every record was taken, in order and once.
fn check_once(heard: &Heard, count: usize) {
    assert_eq!(heard.stored, names("m", 1..=count));
    assert_eq!(heard.repeated, 0);
}

/// A batch above the limit is read to its end by a proxy, whose server has closed by then: the proxy says 502, and keeps the
/// connection.
fn too_large_for_the_server_behind(code: u16) {
    let server = WireServer::start(move |wire| {
        while let Some(head) = wire.head()? {
            let body = wire.body(&head)?;
            if head.length > 10_000 {
                wire.respond(code, "")?;
            } else {
                wire.store(&head, &body);
                wire.respond(200, "")?;
            }
        }
        Ok(())
    });
    // As slow as retries are, so that their number says something.
    let mut policy = RetryPolicy::default();
    (policy.initial_delay, policy.max_delay) = (Duration::from_millis(500), Duration::from_secs(1));
    let (heard, stats) = deliver(&server, 200, |exporter| exporter.with_retry_policy(policy));
    check_all_once(heard, 200);
    // Each size fails a few times, and is then given up for good.
    assert!(stats.requests < 150, "{stats:?}");
}

#[test]
fn a_batch_that_is_too_large_shows_as_502_and_is_split() {
    too_large_for_the_server_behind(502);
}

#[test]
fn a_batch_that_is_too_large_shows_as_503_and_is_split() {
    too_large_for_the_server_behind(503);
}

#[test]
fn a_batch_that_is_too_large_shows_as_500_and_is_split() {
    too_large_for_the_server_behind(500);
}

#[test]
fn a_connection_that_closes_as_the_next_request_arrives_costs_neither_a_delay_nor_a_word() {
    let server = WireServer::start(|wire| {
        take(wire)?;
        // The idle time is over about now.
        wire.head().map(drop)
    });
    let (spool, events) = (spool_dir(), Arc::<Mutex<Vec<String>>>::default());
    let noted = Arc::clone(&events);
    // Whatever is not repeated at once is not repeated in this test.
    let exporter = exporter_to(&server.url(), &spool).with_retry_policy(patient());
    let service = Service::simple(exporter.with_on_event(move |event| {
        noted.lock().expect("nobody panics here").push(format!("{event:?}"));
    }));
    for number in 1..=10 {
        service.log(&name("m", number));
        service.deliver();
    }
    let heard = server.heard();
    check_once(&heard, 10);
    assert_eq!((heard.connections, heard.heads.len()), (10, 19));
    assert_eq!(service.handle.stats().rejected_records, 0);
    service.provider.shutdown().expect("a shutdown");
    let events = events.lock().expect("nobody panics here");
    assert!(events.is_empty(), "{events:?}");
}

/// Refuses, after the head alone, whatever is larger than a limit, and closes with the rest unread: the client's system
/// throws away what it has not sent, and often what it has received.
fn refuses_after_the_head(authority: Option<&Authority>, code: u16, headers: &'static str, times: usize) -> WireServer {
    let left = AtomicUsize::new(times);
    let conversation = move |wire: &mut Wire| {
        while let Some(head) = wire.head()? {
            let is_too_large = head.length > 1 << 20;
            let once_more = |left: usize| left.checked_sub(1);
            if is_too_large && left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, once_more).is_ok() {
                return wire.respond(code, headers);
            }
            let body = wire.body(&head)?;
            wire.store(&head, &body);
            wire.respond(200, "")?;
        }
        Ok(())
    };
    match authority {
        Some(authority) => WireServer::start_tls(authority.server(None), 16 << 10, conversation),
        None => WireServer::start_narrow(16 << 10, conversation),
    }
}

/// Whether the connection is encrypted: then what was received last is lost more often.
fn authorities() -> Vec<Option<Authority>> {
    let mut authorities = vec![None];
    if cfg!(feature = "tls") {
        authorities.push(Some(Authority::new()));
    }
    authorities
}

/// An exporter of large batches to it.
fn large_batches(server: &WireServer, authority: Option<&Authority>, spool: &TempDir) -> LogExporterBuilder {
    let exporter = exporter_to(&server.url(), spool).with_max_batch_bytes(16 << 20).with_timeout(NEVER);
    match authority {
        Some(authority) => exporter.with_root_certificate_pem(authority.pem()),
        None => exporter,
    }
}

/// Logs 64 records that are 4 MiB together.
fn log_much(service: &Service) {
    service.handle.pause();
    for number in 1..=64 {
        service.log_with(&name("m", number), |record| record.add_attribute("padding", noise(64 << 10)));
    }
    service.sync();
    service.handle.resume();
}

#[test]
fn a_413_in_the_middle_of_a_large_request_is_seen_and_the_batch_is_split() {
    for authority in authorities() {
        let authority = authority.as_ref();
        let server = refuses_after_the_head(authority, 413, "connection: close\r\n", usize::MAX);
        let spool = spool_dir();
        let service = Service::batch(large_batches(&server, authority, &spool));
        log_much(&service);
        service.flush();
        check_once(&server.heard(), 64);
        let stats = service.handle.stats();
        assert_eq!(stats.rejected_records, 0, "{stats:?}");
        // Some are tried again, where the answer was lost for good.
        assert!(stats.requests < 100, "{stats:?}");
    }
}

#[test]
fn a_retry_after_in_the_middle_of_a_large_request_is_heeded() {
    for authority in authorities() {
        let authority = authority.as_ref();
        let server = refuses_after_the_head(authority, 429, "connection: close\r\nretry-after: 0\r\n", 1);
        let spool = spool_dir();
        // Without the response there is no retry in this test, but one at once. After more failures others are tried.
        let service = Service::batch(large_batches(&server, authority, &spool).with_retry_policy(patient()));
        log_much(&service);
        service.flush();
        check_once(&server.heard(), 64);
        assert_eq!(service.handle.stats().rejected_records, 0);
    }
}

#[test]
fn a_401_in_the_middle_of_a_large_request_is_told() {
    for authority in authorities() {
        let authority = authority.as_ref();
        let server = refuses_after_the_head(authority, 401, "connection: close\r\n", usize::MAX);
        let spool = spool_dir();
        let service = Service::batch(large_batches(&server, authority, &spool));
        log_much(&service);
        let stats = service
            .wait_for_stats("the status", |stats| stats.last_error.as_ref().is_some_and(|error| error.contains("401")));
        assert_eq!((stats.rejected_records, stats.pending_records), (0, 64), "{stats:?}");
    }
}

#[test]
fn a_connection_is_not_used_again_after_a_413() {
    let server = WireServer::start(|wire| {
        while let Some(head) = wire.head()? {
            let body = wire.body(&head)?;
            if head.length > 10_000 {
                wire.respond(413, "")?;
                // Closes when the next request comes.
                return wire.head().map(drop);
            }
            wire.store(&head, &body);
            wire.respond(200, "")?;
        }
        Ok(())
    });
    let (heard, stats) = deliver(&server, 200, |exporter| exporter.with_retry_policy(patient()));
    check_once(&heard, 200);
    assert_eq!(heard.heads.len() as u64, stats.requests, "no request was lost: {heard:?}");
    assert_eq!(heard.connections as u64, stats.failed_requests + 1, "{heard:?}");
}

#[test]
fn a_connection_is_kept_after_a_fully_sent_request_was_refused() {
    for code in [400, 429, 503] {
        let is_first = AtomicBool::new(true);
        let server = WireServer::start(move |wire| {
            while let Some(head) = wire.head()? {
                let body = wire.body(&head)?;
                if is_first.swap(false, Ordering::Relaxed) {
                    wire.respond(code, "retry-after: 0\r\n")?;
                } else {
                    wire.store(&head, &body);
                    wire.respond(200, "")?;
                }
            }
            Ok(())
        });
        let (heard, _) = deliver(&server, 200, |exporter| exporter);
        assert_eq!((heard.stored.len(), heard.connections), (200, 1), "{code}");
    }
}

#[test]
fn a_second_answer_after_a_413_is_nobody_s() {
    for second in
        ["HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"]
    {
        let server = WireServer::start(move |wire| {
            while let Some(head) = wire.head()? {
                let body = wire.body(&head)?;
                if head.length > 10_000 {
                    wire.say(&format!("HTTP/1.1 413 So\r\ncontent-length: 0\r\n\r\n{second}"))?;
                    return wire.wait_for_the_end();
                }
                wire.store(&head, &body);
                wire.respond(200, "")?;
            }
            Ok(())
        });
        let (heard, _) = deliver(&server, 200, |exporter| exporter);
        check_once(&heard, 200);
    }
}

/// A server of OTLP's whose success does not end as it should.
#[cfg(feature = "otlp")]
fn unconfirmed(rest: impl Fn(&mut Wire) -> io::Result<()> + Send + Sync + 'static) {
    let server = WireServer::start(move |wire| {
        while let Some(head) = wire.head()? {
            wire.body(&head)?;
            wire.store_these(&head, vec![head.key().to_owned()]);
            wire.say(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{\"partialSucc",
            )?;
            rest(wire)?;
        }
        Ok(())
    });
    let spool = spool_dir();
    let exporter = exporter_to(&server.url(), &spool).with_protocol(opentelemetry_spool::Protocol::HttpJson);
    let service = Service::batch(exporter.with_max_batch_records(100).with_timeout(Duration::from_secs(2)));
    service.handle.pause();
    service.store_all("m", 1..=200);
    service.handle.resume();
    service.flush();
    let stats = service.handle.stats();
    assert_eq!((stats.delivered_records, stats.unconfirmed_records), (200, 200), "{stats:?}");
    assert_eq!((stats.rejected_records, stats.requests), (0, 6), "{stats:?}");
    let heard = server.heard();
    assert_eq!((heard.stored.len(), heard.repeated), (2, 4), "two batches, each three times under its id: {heard:?}");
}

#[cfg(feature = "otlp")]
#[test]
fn an_otlp_success_that_breaks_off_is_repeated_twice_and_then_told() {
    unconfirmed(|_| Err(io::ErrorKind::Other.into()));
}

#[cfg(feature = "otlp")]
#[test]
fn an_otlp_success_that_never_ends_is_repeated_twice_and_then_told() {
    unconfirmed(Wire::wait_for_the_end);
}

#[test]
fn a_bulk_success_that_breaks_off_holds_nothing_but_itself() {
    let server = WireServer::start(|wire| {
        while let Some(head) = wire.head()? {
            let body = String::from_utf8(wire.body(&head)?).expect("text");
            if body.contains("m-000001\"") {
                return wire.say("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"errors\":fal");
            }
            let documents = body.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
            let messages: Vec<_> = documents.filter_map(|it| it["message"].as_str().map(str::to_owned)).collect();
            let items = vec![r#"{"create":{"status":201}}"#; messages.len()].join(",");
            wire.store_these(&head, messages);
            let answer = format!("{{\"errors\":false,\"items\":[{items}]}}");
            wire.say(&format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{answer}", answer.len()))?;
        }
        Ok(())
    });
    let spool = spool_dir();
    let exporter = exporter_to(&server.url(), &spool).with_encoder(opentelemetry_spool::BulkEncoder::default());
    let service = Service::batch(exporter.with_max_batch_records(100));
    service.handle.pause();
    service.store_all("m", 1..=300);
    service.handle.resume();
    let stats = service.wait_for_stats("the others", |stats| stats.delivered_records == 299);
    assert_eq!((stats.rejected_records, stats.pending_records), (0, 1), "{stats:?}");
    let mut stored = server.heard().stored;
    stored.sort();
    assert_eq!(stored, names("m", 2..=300));
}

#[test]
fn a_success_is_one_at_its_head_whatever_comes_after() {
    let server = WireServer::start(|wire| {
        let Some(head) = wire.head()? else { return Ok(()) };
        let body = wire.body(&head)?;
        wire.store(&head, &body);
        wire.say("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")?;
        loop {
            wire.say(": still here\n\n")?;
            thread::sleep(Duration::from_millis(50));
        }
    });
    // The rest is waited for neither to its end nor to the end of the time.
    let (heard, stats) = deliver(&server, 500, |exporter| exporter.with_timeout(NEVER));
    check_once(&heard, 500);
    assert_eq!((stats.requests, stats.failed_requests), (5, 0), "{stats:?}");
}

#[test]
fn a_batch_that_takes_longer_than_the_timeout_gets_more_time() {
    let server = WireServer::start(|wire| {
        while let Some(head) = wire.head()? {
            let body = wire.body(&head)?;
            wire.store(&head, &body);
            thread::sleep(Duration::from_secs(1));
            wire.respond(200, "")?;
        }
        Ok(())
    });
    let timeouts = |exporter: LogExporterBuilder| {
        exporter.with_timeout(Duration::from_millis(200)).with_max_timeout(Duration::from_secs(30))
    };
    let (heard, stats) = deliver(&server, 100, timeouts);
    assert_eq!(heard.stored, names("m", 1..=100), "taken under one id, however often it was sent: {heard:?}");
    assert!(stats.requests < 10, "{stats:?}");
}

#[test]
fn a_slow_line_gets_more_time() {
    // 256 KiB/s.
    let server = WireServer::start_narrow(16 << 10, |wire| {
        while let Some(head) = wire.head()? {
            let body = wire.body_in_pieces(&head, 16 << 10, || thread::sleep(Duration::from_millis(62)))?;
            wire.store(&head, &body);
            wire.respond(200, "")?;
        }
        Ok(())
    });
    let spool = spool_dir();
    let exporter = exporter_to(&server.url(), &spool).with_max_batch_bytes(1 << 20);
    let timeouts = exporter.with_timeout(Duration::from_secs(1)).with_max_timeout(Duration::from_secs(60));
    let service = Service::batch(timeouts);
    log_much(&service);
    service.flush();
    assert_eq!(server.heard().stored, names("m", 1..=64));
    let stats = service.handle.stats();
    assert_eq!(stats.rejected_records, 0, "{stats:?}");
    assert!(stats.requests < 60, "{stats:?}");
}

/// A server whose application does not know gzip, and which says so with this status.
#[cfg(feature = "gzip-http")]
fn knows_no_gzip(code: u16) -> (Heard, SpoolStats) {
    let server = WireServer::start(move |wire| {
        while let Some(head) = wire.head()? {
            let body = wire.body(&head)?;
            if head.header("content-encoding").is_some() {
                wire.respond(code, "")?;
            } else {
                wire.store(&head, &body);
                wire.respond(200, "")?;
            }
        }
        Ok(())
    });
    let gzip = opentelemetry_spool::Compression::Gzip;
    let (heard, stats) = deliver(&server, 1_000, |exporter| exporter.with_compression(gzip));
    check_once(&heard, 1_000);
    (heard, stats)
}

#[cfg(feature = "gzip-http")]
#[test]
fn what_a_server_refuses_with_gzip_is_sent_without_under_the_same_id() {
    for code in [400, 415] {
        let (heard, stats) = knows_no_gzip(code);
        // After three batches gzip is off.
        assert_eq!((stats.requests, stats.failed_requests), (13, 3), "{code}: {stats:?}");
        let key = |number: usize| &heard.heads[number].1;
        assert!([0, 2, 4].iter().all(|&number| key(number) == key(number + 1)), "{code}: {heard:?}");
    }
}

#[cfg(feature = "gzip-http")]
#[test]
fn what_a_server_fails_for_with_gzip_is_sent_without() {
    let (_, stats) = knows_no_gzip(500);
    assert!(stats.requests < 100, "{stats:?}");
}

#[test]
fn a_400_without_a_word_can_mean_too_large_and_the_batch_is_split() {
    // As Tornado says it: not a header, then the end.
    let server = WireServer::start(|wire| {
        while let Some(head) = wire.head()? {
            if head.length > 10_000 {
                wire.body(&head)?;
                wire.say("HTTP/1.1 400 Bad Request\r\n\r\n")?;
                return Ok(());
            }
            let body = wire.body(&head)?;
            wire.store(&head, &body);
            wire.respond(200, "")?;
        }
        Ok(())
    });
    let (heard, _) = deliver(&server, 200, |exporter| exporter);
    check_all_once(heard, 200);
}

#[test]
fn a_proxy_whose_server_is_silent_keeps_its_connection_and_delays_nothing_but_itself() {
    for (code, headers) in [(504, ""), (502, ""), (503, "retry-after: 1\r\n")] {
        let left = AtomicUsize::new(2);
        let server = WireServer::start(move |wire| {
            while let Some(head) = wire.head()? {
                let body = wire.body(&head)?;
                let once_more = |left: usize| left.checked_sub(1);
                if left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, once_more).is_ok() {
                    wire.respond(code, headers)?;
                } else {
                    wire.store(&head, &body);
                    wire.respond(200, "")?;
                }
            }
            Ok(())
        });
        let (heard, stats) = deliver(&server, 300, |exporter| exporter);
        check_once(&heard, 300);
        assert_eq!((heard.connections, stats.requests, stats.failed_requests), (1, 5, 2), "{code}: {stats:?}");
    }
}
