//! Sockets as endpoints: what is written is what a receiver of Python's kind reads.

use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, UdpSocket};
use std::thread;

use common::{Service, names, spool_dir};

use super::texts;

/// Reads lines until it has the last one.
fn read_until(stream: impl Read, last: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        let is_last = line == last;
        lines.push(line);
        if is_last {
            break;
        }
    }
    lines
}

#[test]
fn lines_go_over_one_tcp_connection_in_order() {
    let (listener, spool) = (TcpListener::bind("127.0.0.1:0").expect("a port"), spool_dir());
    let endpoint = format!("tcp://{}", listener.local_addr().expect("an address"));
    let receiver = thread::spawn(move || read_until(listener.accept().expect("a connection").0, "m-000100"));
    let service = Service::batch(texts(&endpoint, spool.path()).with_max_batch_records(7));
    service.log_all("m", 1..=100);
    assert_eq!(receiver.join().expect("a receiver"), names("m", 1..=100));
}

#[test]
fn a_receiver_that_closes_the_connection_gets_what_follows_over_the_next_one() {
    let (listener, spool) = (TcpListener::bind("127.0.0.1:0").expect("a port"), spool_dir());
    let endpoint = format!("tcp://{}", listener.local_addr().expect("an address"));
    let service = Service::batch(texts(&endpoint, spool.path()));
    let all = names("m", 1..=5);
    for (at, name) in all.iter().enumerate() {
        service.log(name);
        let (stream, _) = listener.accept().expect("a connection");
        // It is closed behind this line. Where that is seen first, the line before may have been lost with it, and comes again.
        let received = read_until(stream, name);
        assert!(received == all[at..=at] || (at > 0 && received == all[at - 1..=at]), "{received:?}");
        service.deliver();
    }
}

#[cfg(unix)]
#[test]
fn a_unix_socket_that_appears_later_gets_what_waited_for_it() {
    use std::os::unix::net::UnixListener;

    for slashes in ["//", ""] {
        let (sockets, spool) = (spool_dir(), spool_dir());
        let path = sockets.path().join("log.sock");
        let service = Service::batch(texts(&format!("unix:{slashes}{}", path.display()), spool.path()));
        service.log_all("m", 1..=20);
        let stats = service.wait_for_stats("failed requests", |stats| stats.failed_requests > 1);
        assert_eq!(stats.delivered_records, 0);
        let error = stats.last_error.expect("an error");
        let start = format!("unix:{slashes}{}: could not connect: ", path.display());
        assert!(error.starts_with(&start), "{error}");
        let listener = UnixListener::bind(&path).expect("a socket");
        let receiver = thread::spawn(move || read_until(listener.accept().expect("a connection").0, "m-000020"));
        assert_eq!(receiver.join().expect("a receiver"), names("m", 1..=20));
    }
}

#[test]
fn each_record_is_a_udp_datagram_and_counts_as_not_confirmed() {
    let (receiver, spool) = (UdpSocket::bind("127.0.0.1:0").expect("a port"), spool_dir());
    let endpoint = format!("udp://{}", receiver.local_addr().expect("an address"));
    let service = Service::batch(texts(&endpoint, spool.path()));
    service.log_all("m", 1..=50);
    let datagrams: Vec<_> = (0..50)
        .map(|_| {
            let mut datagram = [0; 100];
            let len = receiver.recv(&mut datagram).expect("a datagram");
            String::from_utf8_lossy(&datagram[..len]).into_owned()
        })
        .collect();
    assert_eq!(datagrams, names("m", 1..=50));
    service.deliver();
    let stats = service.handle.stats();
    assert_eq!((stats.delivered_records, stats.unconfirmed_records), (50, 50));
}
