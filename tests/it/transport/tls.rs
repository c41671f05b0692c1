//! Over TLS: who is trusted, who is let in, and that nothing gets through to anybody else.

use std::net::TcpListener;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use common::children::NEVER;
use common::{Authority, PATIENCE, Receiver, Service, exporter, exporter_to, names, spool_dir};
use opentelemetry_spool::LogExporterBuilder;

#[test]
fn a_server_whose_authority_is_added_is_trusted() {
    let (authority, other, spool) = (Authority::new(), Authority::new(), spool_dir());
    let receiver = Receiver::start_tls(authority.server(None));
    let service = Service::simple(
        exporter(&receiver, &spool)
            .with_root_certificate_pem(other.pem())
            .with_root_certificate_pem(authority.pem().into_bytes()),
    );

    service.log("hello");
    service.deliver();

    assert_eq!(receiver.delivered(), ["hello"]);
}

#[test]
fn one_pem_may_hold_several_authorities() {
    let (authority, other, spool) = (Authority::new(), Authority::new(), spool_dir());
    let receiver = Receiver::start_tls(authority.server(None));
    let bundle = other.pem() + &authority.pem();
    let service = Service::simple(exporter(&receiver, &spool).with_root_certificate_pem(bundle));

    service.log("hello");
    service.deliver();

    assert_eq!(receiver.delivered(), ["hello"]);
}

/// Expects that nothing gets through to a TLS server with these settings, and that nothing is lost by it.
fn nothing_is_sent(receiver: &Receiver, strict: LogExporterBuilder, fixed: LogExporterBuilder) {
    let service = Service::simple(strict);
    service.log_all("m", 1..=3);
    receiver.wait_until("failed handshakes", |log| (log.failed_handshakes > 2).then_some(()));
    let stats = service.wait_for_stats("an error", |stats| stats.last_error.is_some());
    assert_eq!((stats.delivered_records, stats.pending_records), (0, 3));
    assert_eq!(receiver.requests().len(), 0);
    drop(service);

    let service = Service::simple(fixed);
    service.deliver();
    assert_eq!(receiver.delivered(), names("m", 1..=3));
}

#[test]
fn a_server_of_an_unknown_authority_gets_nothing_and_the_records_are_kept() {
    let (authority, other, spool) = (Authority::new(), Authority::new(), spool_dir());
    let receiver = Receiver::start_tls(authority.server(None));
    let strict = || exporter(&receiver, &spool).with_root_certificate_pem(other.pem());
    nothing_is_sent(&receiver, strict(), strict().with_root_certificate_pem(authority.pem()));
}

#[test]
fn invalid_certificates_are_accepted_only_by_the_switch_that_says_so() {
    let (authority, spool) = (Authority::new(), spool_dir());
    let receiver = Receiver::start_tls(authority.server(None));
    let with = |accept| exporter(&receiver, &spool).with_danger_accept_invalid_certificates(accept);
    nothing_is_sent(&receiver, with(false), with(true));
}

#[test]
fn a_server_that_asks_for_a_client_certificate_gets_one() {
    let (authority, clients, spool) = (Authority::new(), Authority::new(), spool_dir());
    let receiver = Receiver::start_tls(authority.server(Some(&clients)));
    let strict = || exporter(&receiver, &spool).with_root_certificate_pem(authority.pem());
    nothing_is_sent(&receiver, strict(), strict().with_client_identity_pem(clients.client_identity()));
}

#[test]
fn a_client_certificate_of_the_wrong_authority_is_rejected_by_the_server() {
    let (authority, clients, spool) = (Authority::new(), Authority::new(), spool_dir());
    let receiver = Receiver::start_tls(authority.server(Some(&clients)));
    let with = |identity| {
        exporter(&receiver, &spool).with_root_certificate_pem(authority.pem()).with_client_identity_pem(identity)
    };
    nothing_is_sent(&receiver, with(authority.client_identity()), with(clients.client_identity()));
}

/// A server that accepts connections and never says a word; counts them.
fn mute_server() -> (String, mpsc::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("https://{}/ingest", listener.local_addr().expect("an address"));
    let (accepted, connections) = mpsc::channel();
    thread::spawn(move || {
        let mut kept = Vec::new();
        for stream in listener.incoming() {
            kept.push(stream);
            if accepted.send(()).is_err() {
                return;
            }
        }
    });
    (url, connections)
}

#[test]
fn a_connection_that_is_not_made_within_the_connect_timeout_is_tried_again() {
    let spool = spool_dir();
    let (url, connections) = mute_server();
    // Only the connect timeout can end the TLS handshake: the request itself may take for ever.
    let service =
        Service::simple(exporter_to(&url, &spool).with_timeout(NEVER).with_connect_timeout(Duration::from_millis(50)));
    service.log("hello");
    for _ in 0..3 {
        connections.recv_timeout(PATIENCE).expect("one more attempt");
    }
    assert_eq!(service.handle.stats().pending_records, 1);
}

#[test]
fn the_timeout_covers_the_whole_request_with_its_connection() {
    let spool = spool_dir();
    let (url, connections) = mute_server();
    let service =
        Service::simple(exporter_to(&url, &spool).with_connect_timeout(NEVER).with_timeout(Duration::from_millis(50)));
    service.log("hello");
    for _ in 0..3 {
        connections.recv_timeout(PATIENCE).expect("one more attempt");
    }
}
