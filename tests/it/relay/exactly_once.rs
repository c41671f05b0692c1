//! A relay that is killed again and again, at random moments: what a client of OTLP sends again until it is told that it is stored is
//! delivered once.

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use common::{Receiver, Request, free_port, seed, segments, spool_dir, variable, wait_for};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message as _;

use super::client::Http;
use super::message::{JSON, PROTOBUF, gzip, otlp_json, otlp_protobuf};
use super::process::Running;

/// A client that sends each body until it is told that it is stored.
#[derive(Clone, Copy, Debug)]
struct Client {
    number: usize,
    protobuf: bool,
    gzip: bool,
    /// Bytes that are added to each record: more than a frame of the spool takes make an entry of several.
    padding: usize,
    tenant: Option<&'static str>,
}

const CLIENTS: [Client; 5] = [
    Client { number: 0, protobuf: false, gzip: false, padding: 0, tenant: None },
    Client { number: 1, protobuf: true, gzip: false, padding: 0, tenant: Some("acme") },
    Client { number: 2, protobuf: true, gzip: true, padding: 40, tenant: Some("globex") },
    Client { number: 3, protobuf: false, gzip: true, padding: 200_000, tenant: Some("acme") },
    Client { number: 4, protobuf: true, gzip: false, padding: 70_000, tenant: None },
];

/// What the clients have in common.
#[derive(Default)]
struct Clients {
    ended: AtomicBool,
    answered: AtomicUsize,
    repeated: AtomicUsize,
}

impl Client {
    /// Sends until it is over. Gives the ids of the records that it was told are stored: all that it sent.
    fn run(self, to: SocketAddr, clients: &Clients) -> Vec<String> {
        let (mut sent, mut connection) = (Vec::new(), None);
        for number in 0.. {
            if clients.ended.load(Ordering::Relaxed) {
                break;
            }
            let records = 1 + (number + self.number) % 5;
            let ids: Vec<_> = (0..records).map(|record| format!("c{}-{number}-{record}", self.number)).collect();
            let padding = "x".repeat(self.padding);
            let bodies: Vec<_> = ids.iter().map(|id| format!("{id} {padding}")).collect();
            let body = if self.protobuf { otlp_protobuf(&bodies) } else { otlp_json(&bodies) };
            let body = if self.gzip { gzip(&body) } else { body };
            self.send(to, &body, &mut connection, clients);
            clients.answered.fetch_add(1, Ordering::Relaxed);
            sent.extend(ids);
        }
        sent
    }

    fn send(self, to: SocketAddr, body: &[u8], connection: &mut Option<Http>, clients: &Clients) {
        let mut headers = vec![if self.protobuf { PROTOBUF } else { JSON }];
        headers.extend(self.gzip.then_some(("Content-Encoding", "gzip")));
        headers.extend(self.tenant.map(|tenant| ("x-tenant", tenant)));
        let mut attempts = 0;
        wait_for("a body that is stored", || {
            attempts += 1;
            let mut http = connection.take().or_else(|| Http::connect(to).ok())?;
            let response = http.ask("POST", "/v1/logs", &headers, body).ok()?;
            *connection = Some(http);
            assert!(matches!(response.status, 200 | 503), "{response:?}");
            (response.status == 200).then_some(())
        });
        if attempts > 1 {
            clients.repeated.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Kills relays while the clients send, and lets the last one live until everything is delivered. Gives what was sent.
fn kill_again_and_again(to: &str, spool: &Path, kills: u64) -> (Running, Vec<String>) {
    let port = free_port();
    let (listener, address) = (format!("127.0.0.1:{port}"), SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let args = ["--otlp", &*listener, "--partition-by", "header:x-tenant"];
    let clients = Clients::default();
    thread::scope(|scope| {
        let running: Vec<_> = CLIENTS.iter().map(|client| scope.spawn(|| client.run(address, &clients))).collect();
        for _ in 0..kills {
            let relay = Running::start(spool, to, &args);
            let enough = clients.answered.load(Ordering::Relaxed) + fastrand::usize(..30);
            wait_for("answers", || (clients.answered.load(Ordering::Relaxed) >= enough).then_some(()));
            thread::sleep(Duration::from_micros(fastrand::u64(..10_000)));
            relay.kill();
        }
        let relay = Running::start(spool, to, &args);
        clients.ended.store(true, Ordering::Relaxed);
        let sent = running.into_iter().flat_map(|client| client.join().expect("a client")).collect();
        let repeated = clients.repeated.load(Ordering::Relaxed);
        println!("{kills} kills, {} bodies, {repeated} sent again", clients.answered.load(Ordering::Relaxed));
        (relay, sent)
    })
}

/// Fails with the first few of what is missing or there twice.
fn assert_each_once(sent: &[String], delivered: impl IntoIterator<Item = String>) {
    let mut counts: HashMap<_, i64> = HashMap::new();
    for id in delivered {
        *counts.entry(id).or_default() += 1;
    }
    for id in sent {
        *counts.entry(id.clone()).or_default() -= 1;
    }
    let mut wrong: Vec<_> = counts.into_iter().filter(|(_, count)| *count != 0).collect();
    wrong.sort();
    let few: Vec<_> = wrong.iter().take(20).collect();
    assert!(wrong.is_empty(), "{} of {} are missing (-1) or there again (1): {few:?}", wrong.len(), sent.len());
}

fn kills() -> u64 {
    variable("SPOOL_TEST_KILLS", 8)
}

/// Ends a relay that has delivered everything: what it would send in vain, it has sent then.
fn end(relay: Running) {
    let (code, said) = relay.end("TERM");
    assert_eq!(code, Some(0), "{said}");
}

fn id(body: &str) -> String {
    body.split(' ').next().unwrap_or_default().to_owned()
}

#[test]
fn each_record_is_delivered_once_as_json_whatever_the_relay_is_killed_in() {
    seed();
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let (relay, sent) = kill_again_and_again(&receiver.url("/ingest"), spool.path(), kills());

    receiver.wait_for_records(sent.len());
    end(relay);
    assert_each_once(&sent, receiver.delivered().iter().map(|message| id(message)));
}

#[test]
fn each_record_is_delivered_once_as_otlp_whatever_the_relay_is_killed_in() {
    seed();
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let (relay, sent) = kill_again_and_again(&receiver.url("/v1/logs"), spool.path(), kills());

    let mut taken = Taken::default();
    receiver.wait_until("all that was sent", |log| {
        taken.note(&log.requests);
        (taken.ids.len() >= sent.len()).then_some(())
    });
    end(relay);
    receiver.look(|log| taken.note(&log.requests));
    assert_each_once(&sent, taken.ids);
}

/// The ids of the records that were taken as OTLP, each `Idempotency-Key` once. Each request is decoded once as well: there are
/// many of them, and a wait looks again with each that comes.
#[derive(Default)]
struct Taken {
    ids: Vec<String>,
    keys: HashSet<String>,
    noted: usize,
}

impl Taken {
    fn note(&mut self, requests: &[Request]) {
        for request in &requests[self.noted..] {
            if self.keys.insert(request.key().to_owned()) {
                self.ids.extend(ids_of_otlp(request));
            }
        }
        self.noted = requests.len();
    }
}

fn ids_of_otlp(request: &Request) -> Vec<String> {
    let request = ExportLogsServiceRequest::decode(&*request.plain()).expect("a request of OTLP");
    let scopes = request.resource_logs.into_iter().flat_map(|resource| resource.scope_logs);
    let body = |record: opentelemetry_proto::tonic::logs::v1::LogRecord| match record.body?.value? {
        Value::StringValue(body) => Some(id(&body)),
        _ => None,
    };
    scopes.flat_map(|scope| scope.log_records).filter_map(body).collect()
}

#[test]
fn a_body_that_is_sent_again_after_a_restart_is_stored_once_wherever_the_directory_was_named() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let body = otlp_json(&["first".to_owned()]);
    let port = free_port();
    let listener = format!("127.0.0.1:{port}");
    for _ in 0..2 {
        // In a variable, in place of the command's first argument.
        let mut command = super::process::bare_command(&["--to", &receiver.url("/ingest"), "--otlp", &listener]);
        command.env("OTEL_EXPORTER_SPOOL_DIR", spool.path());
        let relay = Running::of(command, 1);
        let response = super::client::ask(relay.address("otlp"), "POST", "/v1/logs", &[JSON], &body);
        assert_eq!(response.status, 200, "{response:?}");
        receiver.wait_for_records(1);
        relay.kill();
    }
    let relay = Running::start(spool.path(), &receiver.url("/ingest"), &["--otlp", &listener]);
    super::client::ask(relay.address("otlp"), "POST", "/v1/logs", &[JSON], otlp_json(&["last".to_owned()]));
    receiver.wait_until("the last record", |log| log.delivered.contains(&"last".to_owned()).then_some(()));
    assert_eq!(receiver.delivered(), ["first", "last"]);
}

#[test]
fn a_body_that_is_sent_again_is_stored_once_also_when_what_it_held_is_delivered_and_deleted() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let body = otlp_json(&["first".to_owned()]);
    let listener = format!("127.0.0.1:{}", free_port());
    let start = || Running::start(spool.path(), &receiver.url("/ingest"), &["--otlp", &listener]);
    let send = |relay: &Running, body: &[u8]| {
        let response = super::client::ask(relay.address("otlp"), "POST", "/v1/logs", &[JSON], body);
        assert_eq!(response.status, 200, "{}", response.text());
    };

    let first = start();
    send(&first, &body);
    let of_first = segments(spool.path());
    assert!(!of_first.is_empty());
    first.kill();
    receiver.come_up();
    // The second one knows it from the first one's records, and ends before the client comes again.
    let second = start();
    wait_for("segments that are delivered and deleted", || of_first.iter().all(|path| !path.exists()).then_some(()));
    second.kill();
    let last = start();
    send(&last, &body);
    send(&last, &otlp_json(&["last".to_owned()]));
    receiver.wait_until("the last record", |log| log.delivered.contains(&"last".to_owned()).then_some(()));
    assert_eq!(receiver.delivered(), ["first", "last"]);
}

#[test]
fn a_body_that_is_sent_again_is_stored_once_also_when_it_was_delivered_and_deleted_by_the_relay_that_took_it() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let listener = format!("127.0.0.1:{}", free_port());
    let start = || Running::start(spool.path(), &receiver.url("/ingest"), &["--otlp", &listener]);
    // Each has a time of its own.
    let [one, two, three] = ["first", "second", "last"].map(|name| otlp_json(&[name.to_owned()]));
    let send = |relay: &Running, body: &[u8]| {
        let response = super::client::ask(relay.address("otlp"), "POST", "/v1/logs", &[JSON], body);
        assert_eq!(response.status, 200, "{}", response.text());
    };

    // A clean end deletes what is delivered, with its ids.
    let first = start();
    send(&first, &one);
    receiver.wait_for_records(1);
    end(first);
    let second = start();
    send(&second, &one);
    send(&second, &two);
    receiver.wait_for_records(2);
    second.kill();
    // So does a start.
    start().kill();
    let last = start();
    for body in [&one, &two, &three] {
        send(&last, body);
    }
    receiver.wait_until("the last record", |log| log.delivered.contains(&"last".to_owned()).then_some(()));
    assert_eq!(receiver.delivered(), ["first", "second", "last"]);
}
