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

/// A configuration file that names these files of certificates.
#[cfg(feature = "config-file")]
fn config(receiver: &Receiver, spool: &std::path::Path, files: &[(&str, &std::path::Path)]) -> LogExporterBuilder {
    let files: Vec<_> = files.iter().map(|(key, file)| format!("              {key}: {}", file.display())).collect();
    let yaml = format!(
        "logger_provider:\n  processors:\n    - simple:\n        exporter:\n          spool:\n            endpoint: {}\n            \
         spool_dir: {}\n            tls:\n{}\n",
        receiver.url("/ingest"),
        spool.display(),
        files.join("\n")
    );
    let config = opentelemetry_spool::ExporterConfig::from_yaml(&yaml).expect("a configuration");
    opentelemetry_spool::LogExporter::builder().with_config(config).with_retry_policy(common::impatient())
}

#[cfg(feature = "config-file")]
#[test]
fn certificates_and_identities_are_read_again_when_their_files_change() {
    let (authority, clients, other) = (Authority::new(), Authority::new(), Authority::new());
    let receiver = Receiver::start_tls(authority.server(Some(&clients)));
    let (spool, dir) = (spool_dir(), spool_dir());
    let [ca, key, cert] = ["ca.pem", "key.pem", "cert.pem"].map(|name| dir.path().join(name));
    let write = |file: &std::path::Path, pem: &str| std::fs::write(file, pem).expect("a file");
    let identity = |of: &Authority| {
        let identity = of.client_identity();
        let (private, certificate) = identity.split_once("-----BEGIN CERT").expect("a key, then a certificate");
        write(&key, private);
        write(&cert, &format!("-----BEGIN CERT{certificate}"));
    };
    write(&ca, &other.pem());
    identity(&other);
    let files = [("ca_file", &*ca), ("key_file", &key), ("cert_file", &cert)];
    let service = Service::simple(config(&receiver, spool.path(), &files));
    service.log("hello");
    let failures = |more: usize| {
        let before = receiver.look(|log| log.failed_handshakes);
        receiver.wait_until("failed handshakes", |log| (log.failed_handshakes > before + more).then_some(()));
    };
    failures(2);

    // Half a file is none: what was read last counts until it is one again.
    write(&ca, "-----BEGIN CERTIFICATE-----\n!!!");
    failures(2);
    write(&ca, &authority.pem());
    failures(2);
    assert_eq!(receiver.requests().len(), 0, "the identity is still another one's");

    identity(&clients);
    service.deliver();
    assert_eq!(receiver.delivered(), ["hello"]);
}

#[test]
fn an_image_without_certificates_sends_over_http_whatever_the_variables_of_proxies_say() {
    use common::{Child, settings};
    use std::ffi::OsStr;
    use std::process::Command;

    let none = spool_dir();
    let (file, folder) = (none.path().join("empty.pem"), none.path().join("empty"));
    std::fs::write(&file, "").expect("a file");
    std::fs::create_dir(&folder).expect("a folder");
    let proxy = Receiver::start();
    let proxies: [&[(&str, &str)]; 5] = [
        &[],
        &[("HTTP_PROXY", ""), ("http_proxy", ""), ("ALL_PROXY", "")],
        &[("http_proxy", &proxy.url("")), ("HTTP_PROXY", &proxy.url(""))],
        &[("HTTP_PROXY", "https://127.0.0.1:9"), ("NO_PROXY", "127.0.0.1")],
        &[("ALL_PROXY", "https://127.0.0.1:9"), ("NO_PROXY", "127.0.0.0/8")],
    ];
    for variables in proxies {
        let (receiver, spool) = (Receiver::start(), spool_dir());
        let url = receiver.url("/ingest");
        let certificates = [("SSL_CERT_FILE", file.as_os_str()), ("SSL_CERT_DIR", folder.as_os_str())];
        let variables = variables.iter().map(|(name, value)| (*name, OsStr::new(value)));
        let program = Command::new(env!("CARGO_BIN_EXE_spool-test-child"));
        let mut child = Child::start(
            program,
            "service",
            settings(&url, spool.path()).into_iter().chain(certificates).chain(variables),
        );
        child.wait_for("ready");
        child.tell("log m 1 3");
        child.wait_for("accepted");
        child.tell("flush");
        child.wait_for("flushed");
        child.finish();
        let receivers = [&receiver, &proxy].map(Receiver::delivered);
        assert!(receivers.contains(&names("m", 1..=3)), "{receivers:?}");
    }
}
