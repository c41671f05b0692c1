//! The end of a relay, and its next start.

use std::io::Write as _;
use std::net::{TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::time::Duration;

use common::{Receiver, noise, spool_dir, wait_for};
use opentelemetry_spool::{FlushError, Listener, Relay};

use super::client::{Http, ask};
use super::message::{JSON, frame, otlp_json};
use super::process::Running;
use super::{any_port, builder, http_relay};

const SHUTDOWN: Duration = Duration::from_secs(60);

/// Every kind of socket.
fn sockets(dir: &std::path::Path) -> Vec<String> {
    let unix = |name: &str| dir.join(name).to_str().expect("a path of text").to_owned();
    let mut args: Vec<String> = Vec::new();
    for option in ["--tcp", "--udp", "--http", "--otlp"] {
        args.extend([option.to_owned(), "127.0.0.1:0".to_owned()]);
    }
    args.extend(["--unix".to_owned(), unix("log.sock"), "--unix-datagram".to_owned(), unix("datagram.sock")]);
    args
}

#[test]
fn what_has_come_before_the_signal_is_committed() {
    for signal in ["TERM", "INT"] {
        let (receiver, spool, dir) = (Receiver::start_down(), spool_dir(), spool_dir());
        let args = sockets(dir.path());
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let relay = Running::start(spool.path(), &receiver.url("/ingest"), &args);
        let mut tcp = TcpStream::connect(relay.address("tcp")).expect("the relay listens");
        let mut unix = UnixStream::connect(dir.path().join("log.sock")).expect("the relay listens");
        let (udp, datagram) =
            (UdpSocket::bind("127.0.0.1:0").expect("a port"), UnixDatagram::unbound().expect("a socket"));
        let mut expected = Vec::new();
        for number in 0..5 {
            let message = |kind: &str| format!("{kind} {number}");
            tcp.write_all(&frame(&message("tcp"))).expect("it is sent");
            unix.write_all(&frame(&message("unix"))).expect("it is sent");
            udp.send_to(&frame(&message("udp")), relay.address("udp")).expect("it is sent");
            datagram.send_to(&frame(&message("datagram")), dir.path().join("datagram.sock")).expect("it is sent");
            expected.extend(["tcp", "unix", "udp", "datagram"].map(message));
        }
        // Nobody has accepted these yet.
        for number in 0..20 {
            let mut late = TcpStream::connect(relay.address("tcp")).expect("the relay listens");
            late.write_all(&frame(&format!("late {number}"))).expect("it is sent");
            expected.push(format!("late {number}"));
        }
        // A connection without a request, and one that stays open, are in nobody's way.
        let _idle = Http::connect(relay.address("http")).expect("the relay listens");
        let (code, said) = relay.end(signal);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("40 records") && said.contains("; 0 lost, 40 wait in the spool"), "{said}");

        receiver.come_up();
        let relay = Running::start(spool.path(), &receiver.url("/ingest"), &args);
        let mut delivered = receiver.wait_for_records(expected.len());
        delivered.sort();
        expected.sort();
        assert_eq!(delivered, expected);
        relay.end(signal);
    }
}

#[test]
fn what_a_full_spool_did_not_take_is_lost_at_the_end_which_says_so() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let args = ["--http", "127.0.0.1:0", "--reject-new", "--max-spool-bytes", "8MiB"];
    let relay = Running::start(spool.path(), &receiver.url("/ingest"), &args);
    let texts: Vec<_> = [vec![1_300_000; 9], vec![10; 30]].concat().into_iter().map(noise).collect();
    let address = relay.address("http");
    let status = |text| ask(address, "POST", "/", &[("Content-Type", "text/plain")], text).status;
    let kept = texts.iter().map(status).filter(|status| *status == 503).count();
    assert!(kept > 30, "{kept}");
    let (code, said) = relay.end("TERM");

    assert_eq!(code, Some(3), "{said}");
    assert!(
        said.contains(&format!("ended: 39 records of 39 connections, 0 repeated requests; {kept} lost, ")),
        "{said}"
    );
    assert!(said.contains(&format!("could not be written, and are lost: {kept}")), "{said}");
    let waiting = said.split(" lost, ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
    assert!(waiting >= Some(39 - kept), "gap records wait as well: {said}");
}

#[test]
fn nobody_listens_afterwards_and_the_next_relay_does_at_the_same_places() {
    let (receiver, spool, dir) = (Receiver::start(), spool_dir(), spool_dir());
    let socket = dir.path().join("log.sock");
    let args =
        ["--unix", socket.to_str().expect("a path of text"), "--otlp", &format!("127.0.0.1:{}", common::free_port())];
    for run in 0..3 {
        let relay = Running::start(spool.path(), &receiver.url("/ingest"), &args);
        let address = relay.address("otlp");
        assert_eq!(ask(address, "POST", "/v1/logs", &[JSON], otlp_json(&[format!("run {run}")])).status, 200);
        let mut unix = UnixStream::connect(&socket).expect("the relay listens");
        unix.write_all(&frame(&format!("frame {run}"))).expect("it is sent");
        drop(unix);
        receiver.wait_for_records(2 * (run + 1));
        // By a kill as well: then the file of the socket stays.
        if run == 1 {
            relay.kill();
        } else {
            let (code, said) = relay.end("TERM");
            assert_eq!(code, Some(0), "{said}");
        }
        assert!(TcpStream::connect(address).is_err());
        assert!(UnixStream::connect(&socket).is_err());
    }
}

#[test]
fn a_request_that_has_begun_is_answered_and_its_connection_closed() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let relay = Running::start(spool.path(), &receiver.url("/ingest"), &["--http", "127.0.0.1:0"]);
    let mut client = Http::connect(relay.address("http")).expect("the relay listens");
    client
        .send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 10\r\n\r\nfirst")
        .expect("it is sent");
    let address = relay.address("http");
    // It has been read.
    assert_eq!(ask(address, "POST", "/", &[("Content-Type", "text/plain")], "before").status, 200);
    relay.signal("TERM");
    wait_for("a closed port", || TcpStream::connect(address).is_err().then_some(()));
    client.send(b" half").expect("it is sent");
    let response = client.response(false).expect("a response");
    assert_eq!((response.status, response.header("connection")), (200, Some("close")));
    assert!(client.is_closed());
    let (code, said) = relay.end("TERM");
    assert_eq!(code, Some(0), "{said}");
    let delivered = receiver.wait_for_records(2);
    assert_eq!(delivered, ["before", "first half"]);
}

#[test]
fn a_relay_is_shut_down_once() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let relay = http_relay(&receiver, spool.path());
    assert_eq!(ask(relay.addresses()[0], "POST", "/", &[("Content-Type", "text/plain")], "hello").status, 200);
    relay.shutdown(SHUTDOWN).expect("it is shut down");
    assert!(matches!(relay.shutdown(SHUTDOWN), Err(FlushError::ShutDown)));
    assert_eq!(receiver.delivered(), ["hello"], "it delivers what it can");
    assert!(Http::connect(relay.addresses()[0]).is_err());
    assert_eq!(relay.stats().records(), 1, "the counts stay");
}

#[test]
fn a_relay_can_be_made_and_dropped_inside_of_a_runtime_and_outside() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let build = || {
        let relay = builder(&receiver, spool.path()).with_listener(Listener::Http(any_port()));
        let relay = relay.with_listener(Listener::Tcp(any_port())).with_status(any_port()).build().expect("a relay");
        assert_eq!(ask(relay.addresses()[0], "POST", "/", &[("Content-Type", "text/plain")], "hello").status, 200);
        relay
    };
    drop(build());
    let multi_thread = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let current_thread = tokio::runtime::Builder::new_current_thread().enable_all().build();
    for runtime in [multi_thread.expect("a runtime"), current_thread.expect("a runtime")] {
        runtime.block_on(async { drop(build()) });
        let outlived: Relay = runtime.block_on(async { build() });
        drop(outlived);
        runtime.block_on(async {
            let relay = build();
            relay.shutdown(SHUTDOWN).expect("it is shut down");
        });
        drop(runtime);
    }
    let _last = build();
    assert_eq!(receiver.wait_for_records(8), ["hello"; 8], "what was answered is in the spool");
}
