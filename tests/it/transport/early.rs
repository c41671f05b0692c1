//! Responses that come before the request was sent, and which connections are used again behind which response.

use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use common::children::NEVER;
use common::{Answer, Receiver, Service, exporter, exporter_to, noise, spool_dir};
use opentelemetry_spool::LogExporterBuilder;

use super::raw::Raw;

/// More than the buffers of both ends of a connection hold.
const LARGE: usize = 24 << 20;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

fn to(server: &Raw, spool: &tempfile::TempDir) -> LogExporterBuilder {
    exporter_to(&server.url(), spool).with_timeout(NEVER)
}

#[test]
fn a_server_that_refuses_by_the_head_and_closes_is_heard() {
    for answer in ["401 Unauthorized", "429 Too Many Requests"] {
        // Closes with most of the request unread, which resets the connection under the client's hands: what it says is heard
        // by those alone who send nothing behind the head yet.
        let server = Raw::start(move |connection| {
            if connection.head().is_some() && connection.is_silent() {
                connection.say(&format!("HTTP/1.1 {answer}\r\ncontent-length: 3\r\nconnection: close\r\n\r\nwhy"));
            }
        });
        let spool = spool_dir();
        let service = Service::simple(to(&server, &spool));
        service.log(&noise(LARGE));
        let heard = format!("responded with {}", &answer[..3]);
        service.wait_for_stats(&heard, |stats| stats.last_error.as_ref().is_some_and(|error| error.contains(&heard)));
    }
}

#[test]
fn a_server_that_closes_without_a_word_is_said_to_have_refused_the_size() {
    let server = Raw::start(|connection| {
        let _ = connection.head();
    });
    let spool = spool_dir();
    let service = Service::simple(to(&server, &spool));
    service.log(&noise(LARGE));
    let stats = service.wait_for_stats("an error", |stats| stats.last_error.is_some());
    let error = stats.last_error.expect("an error");
    for part in ["closed the connection while it was sent the batch of 25", "bytes", "lower with_max_batch_bytes"] {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(stats.pending_records, 1);
}

#[test]
fn a_connection_is_closed_after_a_response_that_came_before_the_request_was_sent() {
    let (refused, is_refused) = channel::<()>();
    let (counted, came) = channel();
    let ends = Mutex::new(Some((is_refused, counted)));
    let server = Raw::start(move |connection| {
        if connection.number > 0 {
            while connection.request().is_some() {
                connection.say(OK);
            }
            return;
        }
        let head = connection.head().expect("a request");
        connection.say("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nretry-after: 1\r\n\r\n");
        // Reads on when the client has dealt with the response: whoever sends the rest all the same would be served here.
        let (refused, counted) = ends.lock().unwrap().take().expect("the first connection");
        let _ = refused.recv();
        let _ = counted.send(connection.skip(head.content_length));
        while connection.request().is_some() {
            connection.say(OK);
        }
    });
    let spool = spool_dir();
    let service = Service::simple(to(&server, &spool));
    service.log(&noise(LARGE));
    service.wait_for_stats("a response", |stats| stats.failed_requests == 1);
    refused.send(()).expect("the server waits");
    service.deliver();

    assert_eq!((server.connections(), server.requests()), (2, 2));
    let came = came.recv().expect("the first connection");
    assert!(came < LARGE as u64, "the rest was not sent: {came}");
}

#[test]
fn a_success_that_comes_early_counts_when_the_request_was_sent() {
    let server = Raw::start(|connection| {
        while let Some(head) = connection.head() {
            connection.say(OK);
            // The first time it takes no record after all, once the client can have heard that it would.
            if head.number == 0 {
                thread::sleep(Duration::from_millis(200));
                return;
            }
            connection.skip(head.content_length);
        }
    });
    let spool = spool_dir();
    let service = Service::simple(to(&server, &spool));
    service.log(&noise(LARGE));
    service.deliver();

    let stats = service.handle.stats();
    assert_eq!((stats.delivered_records, server.connections()), (1, server.requests()), "none is used twice");
    assert!(server.requests() > 1, "what broke off is sent again");
}

#[test]
fn no_connection_is_used_again_after_a_413_and_one_is_after_any_other_refusal() {
    for (status, is_kept) in [(413, false), (400, true), (429, true), (503, true)] {
        let (receiver, spool) = (Receiver::start(), spool_dir());
        receiver.answer_next(Answer::status(status).header("retry-after", "0"));
        let service = Service::simple(exporter(&receiver, &spool));
        service.log("refused");
        service.deliver();
        service.log("behind it");
        service.deliver();
        let ports: Vec<_> = receiver.requests().iter().map(|request| request.remote_port).collect();
        assert_eq!(ports[0] == ports[1], is_kept, "{status}: {ports:?}");
    }
}

#[test]
fn what_comes_before_the_response_is_none() {
    let server = Raw::start(|connection| {
        while connection.request().is_some() {
            connection.say("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n");
            connection.say("HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    let spool = spool_dir();
    let service = Service::simple(to(&server, &spool));
    for message in ["a", "b", "c"] {
        service.log(message);
        service.deliver();
    }
    assert_eq!((server.connections(), server.requests()), (1, 3));
    assert_eq!(service.handle.stats().failed_requests, 0);
}

#[cfg(feature = "tls")]
#[test]
fn http_1_1_is_all_that_is_offered() {
    let (sender, hello) = channel();
    let sender = Mutex::new(sender);
    let server = Raw::start(move |connection| {
        let _ = sender.lock().unwrap().send(connection.some_bytes());
    });
    let spool = spool_dir();
    let url = server.url().replace("http://", "https://");
    let service = Service::simple(exporter_to(&url, &spool).with_timeout(NEVER));
    service.log("hello");
    let hello = hello.recv_timeout(common::PATIENCE).expect("a TLS handshake");
    let offers = |name: &[u8]| hello.windows(name.len()).any(|bytes| bytes == name);
    assert!(offers(b"\x08http/1.1") && !offers(b"\x02h2"), "{hello:?}");
}
