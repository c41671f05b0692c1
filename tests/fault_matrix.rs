//! Every fault of an endpoint and of the way there, and what becomes of the records: one table.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use common::{Authority, Progress, Receiver, Service, by_tenant, exporter_to, in_time, name, spool_dir};
use opentelemetry_spool::{LogExporterBuilder, RetryPolicy};
use serde_json::Value;

/// Longer than any test lasts.
const NEVER: Duration = Duration::from_secs(1_000 * 60 * 60);
/// For what ends with the client's timeout only, and is then tried again.
const SHORT: Duration = Duration::from_millis(200);
/// The same, where the head of the response must come in time.
const LONG: Duration = Duration::from_secs(2);
/// How slow what is slow is: that is the fault.
const DRIP: Duration = Duration::from_millis(100);
/// How long a shutdown may take at most.
const SHUTDOWN: Duration = Duration::from_secs(1);
/// The records that are logged; the server's faults are about the requests with the second.
const RECORDS: [&str; 3] = ["first", "faulty", "last"];
/// Exporters that are tried at the same time.
const WORKERS: usize = 6;

/// How much of a request the server reads before it does something wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reads {
    Nothing,
    HalfTheBody,
    Everything,
}

/// The server's next step after it has sent what it sends.
#[derive(Clone, Copy, Debug)]
enum Then {
    Close,
    Reset,
    /// Says nothing until the client is gone.
    Hang,
    /// Says this again and again until the client is gone.
    Repeat(&'static str),
    /// Likewise, every 100 ms.
    Drip(&'static str),
}

#[derive(Clone, Debug)]
struct Fault {
    reads: Reads,
    /// A byte every 100 ms.
    slow: bool,
    says: Vec<u8>,
    then: Then,
}

impl Fault {
    fn new(reads: Reads, says: impl Into<Vec<u8>>, then: Then) -> Self {
        Self { reads, slow: false, says: says.into(), then }
    }

    fn says(says: impl Into<Vec<u8>>) -> Self {
        Self::new(Reads::Everything, says, Then::Close)
    }

    fn status(status: u16) -> Self {
        match status {
            // Never the last word.
            100..=199 => Self::says(format!("HTTP/1.1 {status} Wait\r\n\r\n")),
            300..=399 => Self::says(format!(
                "HTTP/1.1 {status} Moved\r\nlocation: /elsewhere\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            )),
            204 => Self::says("HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n"),
            _ => Self::says(format!("HTTP/1.1 {status} So\r\ncontent-length: 3\r\nconnection: close\r\n\r\nwhy")),
        }
    }
}

/// A request that was read to its end.
#[derive(Clone, Debug)]
struct Seen {
    key: String,
    messages: Vec<String>,
    body: Vec<u8>,
    taken: bool,
}

impl Seen {
    fn parse(head: &str, body: Vec<u8>) -> Self {
        let key = header(head, "idempotency-key").expect("a request has an Idempotency-Key").to_owned();
        let records: Vec<Value> = serde_json::from_slice(&body).expect("a JSON array");
        let messages = records.iter().map(|record| record["message"].as_str().expect("a message").to_owned()).collect();
        Self { key, messages, body, taken: false }
    }

    fn is_faulty(&self) -> bool {
        self.messages.iter().any(|message| message == "faulty")
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let named = |line: &&str| line.split(':').next().is_some_and(|found| found.eq_ignore_ascii_case(name));
    head.lines().find(named).and_then(|line| line.split_once(':')).map(|(_, value)| value.trim())
}

#[derive(Default)]
struct State {
    fault: Option<Fault>,
    /// Whether the records are taken in spite of it.
    takes: bool,
    /// How often the fault is still to be done.
    left: usize,
    seen: Vec<Seen>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    stopped: AtomicBool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fault to do now, if it reads so much of a request.
    fn fault(&self, wanted: impl Fn(&Fault) -> bool) -> Option<Fault> {
        let mut state = self.state();
        let fault = state.fault.clone().filter(|fault| state.left > 0 && wanted(fault))?;
        state.left -= 1;
        Some(fault)
    }

    fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        if let Some(fault) = self.fault(|fault| fault.reads == Reads::Nothing) {
            return perform(stream, &fault);
        }
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).expect("a head is text");
        let length: usize = header(&head, "content-length").and_then(|length| length.parse().ok()).expect("a length");
        let mut body = vec![0; length];
        let (front, rest) = body.split_at_mut(length / 2);
        stream.read_exact(front)?;
        if let Some(fault) = self.fault(|fault| fault.reads == Reads::HalfTheBody) {
            return perform(stream, &fault);
        }
        stream.read_exact(rest)?;
        let mut seen = Seen::parse(&head, body);
        let fault = if seen.is_faulty() { self.fault(|_| true) } else { None };
        let mut state = self.state();
        seen.taken = fault.is_none() || state.takes;
        state.seen.push(seen);
        drop(state);
        self.changed.notify_all();
        perform(stream, &fault.unwrap_or_else(|| Fault::status(200)))
    }
}

fn perform(mut stream: TcpStream, fault: &Fault) -> io::Result<()> {
    if fault.slow {
        for byte in &fault.says {
            stream.write_all(&[*byte])?;
            thread::sleep(DRIP);
        }
    } else {
        stream.write_all(&fault.says)?;
    }
    match fault.then {
        Then::Close => Ok(()),
        Then::Reset => reset(stream),
        Then::Hang => io::copy(&mut stream, &mut io::sink()).map(drop),
        Then::Repeat(text) => loop {
            stream.write_all(text.as_bytes())?;
        },
        Then::Drip(text) => loop {
            stream.write_all(text.as_bytes())?;
            thread::sleep(DRIP);
        },
    }
}

/// Closes a connection so that the client sees a reset.
fn reset(stream: TcpStream) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let _entered = runtime.enter();
    stream.set_nonblocking(true)?;
    tokio::net::TcpStream::from_std(stream)?.set_zero_linger()
}

/// A server that does one thing wrong so many times, and then takes everything.
struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared: Arc<Shared> = Arc::default();
        let for_thread = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if for_thread.stopped.load(Ordering::Acquire) {
                    return;
                }
                let _ = stream.set_nodelay(true);
                let shared = Arc::clone(&for_thread);
                // A client that goes away is not this server's business.
                thread::spawn(move || drop(shared.serve(stream)));
            }
        });
        Self { shared, address }
    }

    fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{}/ingest", self.address)
    }

    fn fail(&self, fault: &Fault, takes: bool, times: usize) {
        let mut state = self.shared.state();
        (state.fault, state.takes, state.left) = (Some(fault.clone()), takes, times);
    }

    fn seen(&self) -> Vec<Seen> {
        self.shared.state().seen.clone()
    }

    /// How many requests came in to their end that had the faulty record in them.
    fn faulty(&self) -> usize {
        self.shared.state().seen.iter().filter(|seen| seen.is_faulty()).count()
    }

    /// Waits until a record was taken.
    fn wait_for(&self, message: &str) {
        let mut progress = Progress::new();
        let mut state = self.shared.state();
        while !state.seen.iter().any(|seen| seen.taken && seen.messages.iter().any(|found| found == message)) {
            let left = progress.at(state.seen.len()).expect("requests come until the record is taken");
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The messages that were taken, each key once; without those that only show that others get through.
    fn delivered(&self) -> Vec<String> {
        let mut keys = HashSet::new();
        let state = self.shared.state();
        let first = state.seen.iter().filter(|seen| seen.taken && keys.insert(&seen.key));
        first.flat_map(|seen| seen.messages.clone()).filter(|message| RECORDS.contains(&message.as_str())).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        // To have the listener look.
        drop(TcpStream::connect(self.address));
    }
}

/// Where the fault is.
#[derive(Clone, Debug)]
enum Place {
    /// In the server: it can be gone the next time.
    Server(Fault),
    /// Nobody listens.
    Down,
    /// A server that does not speak TLS, behind `https`.
    PlainBehindTls,
    /// A server with a certificate that nobody vouches for.
    WrongCertificate,
    NoSuchHost,
}

/// The fate that the records must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// They are delivered by the first request.
    Delivered,
    /// They are sent again by themselves until the fault is gone.
    Retried,
    /// They are sent again when somebody asks for it, or after long.
    Held,
    /// The batch is split, and its faulty record is rejected with this status while others are taken.
    Divided(u16),
}

struct Row {
    name: String,
    place: Place,
    timeout: Duration,
    outcome: Outcome,
}

fn table() -> Vec<Row> {
    use Outcome::{Delivered, Divided, Held, Retried};
    use Reads::{Everything, HalfTheBody, Nothing};
    use Then::{Close, Drip, Hang, Repeat, Reset};

    let mut rows = Vec::new();
    let mut status = |status: u16, outcome| {
        rows.push(Row {
            name: format!("status {status}"),
            place: Place::Server(Fault::status(status)),
            timeout: NEVER,
            outcome,
        });
    };
    for code in [200, 201, 202, 204, 206, 299] {
        status(code, Delivered);
    }
    for code in [408, 429, 500, 501, 502, 503, 504, 507, 599] {
        status(code, Retried);
    }
    for code in [300, 301, 302, 304, 307, 308] {
        status(code, Held);
    }
    for code in [401, 403, 404, 405, 407, 409, 410, 411, 421, 425, 426, 431, 451, 499, 600, 999] {
        status(code, Held);
    }
    for code in [400, 413, 415, 422] {
        status(code, Divided(code));
    }
    // The connection ends, though no response came but one that is not the last.
    for code in [100, 102, 103, 150, 199] {
        status(code, Retried);
    }
    // Nobody asked for another protocol.
    status(101, Held);

    let mut row = |name: &str, place, timeout, outcome| {
        rows.push(Row { name: name.to_owned(), place, timeout, outcome });
    };
    row("connection refused", Place::Down, NEVER, Retried);
    if cfg!(feature = "tls") {
        row("no TLS behind https", Place::PlainBehindTls, NEVER, Retried);
        row("wrong certificate", Place::WrongCertificate, NEVER, Retried);
    }
    row("no such host", Place::NoSuchHost, NEVER, Retried);

    let ok = "HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n";
    let (plain, chunked) = ("HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
    let refused = "HTTP/1.1 400 Bad\r\n\r\n";
    let mut server = |name: &str, fault, timeout, outcome| row(name, Place::Server(fault), timeout, outcome);
    server("closed before the request", Fault::new(Nothing, "", Close), NEVER, Retried);
    server("reset before the request", Fault::new(Nothing, "", Reset), NEVER, Retried);
    server("closed in the request's body", Fault::new(HalfTheBody, "", Close), NEVER, Retried);
    server("reset in the request's body", Fault::new(HalfTheBody, "", Reset), NEVER, Retried);
    server("reset after the request", Fault::new(Everything, "", Reset), NEVER, Retried);
    server("empty answer", Fault::says(""), NEVER, Retried);
    server("reset in the status line", Fault::new(Everything, "HTTP/1.1 20", Reset), NEVER, Retried);
    server("closed in the answer's head", Fault::says("HTTP/1.1 200 OK\r\ncontent-le"), NEVER, Retried);
    server("reset in the answer's head", Fault::new(Everything, &ok[..ok.len() - 2], Reset), NEVER, Retried);
    // A success is one when its head is there.
    server("closed in the answer's body", Fault::says(format!("{ok}some")), NEVER, Delivered);
    server("silence in the answer's body", Fault::new(Everything, format!("{ok}some"), Hang), LONG, Delivered);
    server("a body that never ends", Fault::new(Everything, plain, Repeat("for ever and ever ")), NEVER, Delivered);
    server("chunks that never end", Fault::new(Everything, chunked, Repeat("4\r\never\r\n")), NEVER, Delivered);
    server("chunks that are none", Fault::says(format!("{chunked}nonsense\r\n")), NEVER, Delivered);
    server("a body that is slow", Fault::new(Everything, ok, Drip("x")), LONG, Delivered);
    // A rejection likewise.
    server("a rejection that never ends", Fault::new(Everything, refused, Repeat("why ")), NEVER, Divided(400));
    server(
        "a rejection that is broken off",
        Fault::says("HTTP/1.1 422 So\r\ncontent-length: 9\r\n\r\nwhy"),
        NEVER,
        Divided(422),
    );
    server("a 503 that never ends", Fault::new(Everything, "HTTP/1.1 503 So\r\n\r\n", Repeat("no ")), NEVER, Retried);
    server("no answer", Fault::new(Everything, "", Hang), SHORT, Retried);
    server("a body that nobody reads", Fault::new(HalfTheBody, "", Hang), SHORT, Retried);
    server("an answer that is slow", Fault { slow: true, ..Fault::says(ok) }, SHORT, Retried);
    server("silence in the answer's head", Fault::new(Everything, &ok[..ok.len() - 2], Hang), SHORT, Retried);
    server("waiting without end", Fault::new(Everything, "", Drip("HTTP/1.1 102 Processing\r\n\r\n")), SHORT, Retried);
    let all: Vec<_> = (100..=199).filter(|code| *code != 101).flat_map(|code| Fault::status(code).says).collect();
    server("every way of waiting", Fault::says(all.clone()), NEVER, Retried);
    server("every way of waiting, then success", Fault::says([&*all, plain.as_bytes()].concat()), NEVER, Delivered);
    server("waiting, then success", Fault::says(format!("HTTP/1.1 100 Continue\r\n\r\n{plain}")), NEVER, Delivered);
    server("waiting, then a 503", Fault::says("HTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 503 So\r\n\r\n"), NEVER, Retried);

    server("a status of letters", Fault::says("HTTP/1.1 abc OK\r\n\r\n"), NEVER, Retried);
    server("a status of two digits", Fault::says("HTTP/1.1 20 OK\r\n\r\n"), NEVER, Retried);
    server("a status of four digits", Fault::says("HTTP/1.1 2000 OK\r\n\r\n"), NEVER, Retried);
    server("a status of zero", Fault::says("HTTP/1.1 000 OK\r\n\r\n"), NEVER, Retried);
    server("another version", Fault::says("HTTP/3.9 200 OK\r\n\r\n"), NEVER, Retried);
    server("an older version", Fault::says("HTTP/1.0 200 OK\r\n\r\n"), NEVER, Delivered);
    server("another protocol", Fault::new(Nothing, "SSH-2.0-OpenSSH_9.6\r\n", Close), NEVER, Retried);
    server("no protocol", Fault::says(b"\x16\x03\x01\x00\xff\xfe\r\n\r\n".to_vec()), NEVER, Retried);
    server("a header without a name", Fault::says("HTTP/1.1 200 OK\r\n: x\r\n\r\n"), NEVER, Retried);
    server("a length below zero", Fault::says("HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n"), NEVER, Retried);

    let large = |bytes| format!("HTTP/1.1 200 OK\r\nx-large: {}\r\ncontent-length: 0\r\n\r\n", "x".repeat(bytes));
    server("a large header", Fault::says(large(100_000)), NEVER, Delivered);
    server("a huge header", Fault::says(large(4_000_000)), NEVER, Retried);
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(1_000));
    server("many headers", Fault::says(many), NEVER, Retried);
    server("headers without end", Fault::new(Everything, "HTTP/1.1 200 OK\r\n", Repeat("x: y\r\n")), NEVER, Retried);
    rows
}

/// Answers before the request was read, or more than one, and successes that do not end.
fn early_answers() -> Vec<Row> {
    use Outcome::{Delivered, Retried};
    use Reads::{Everything, HalfTheBody};
    use Then::{Close, Drip, Hang, Reset};

    let busy = "HTTP/1.1 503 So\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let twice = "HTTP/1.1 503 So\r\ncontent-length: 0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    let ok = "HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n";
    let events = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    let row = |name: &str, fault, outcome| Row {
        name: name.to_owned(),
        place: Place::Server(fault),
        timeout: NEVER,
        outcome,
    };
    vec![
        row("a 503 in the request's body", Fault::new(HalfTheBody, busy, Close), Retried),
        row("a 503 in the request's body, and a reset", Fault::new(HalfTheBody, busy, Reset), Retried),
        row("two answers to a request", Fault::new(Everything, twice, Hang), Retried),
        // A success's end is not waited for as long as the time lasts.
        row("events without end", Fault::new(Everything, events, Drip(": still here\n\n")), Delivered),
        row("a body that never comes", Fault::new(Everything, ok, Hang), Delivered),
    ]
}

/// A failed batch is retried at once, a few times; a held one not before somebody asks for it.
fn steep() -> RetryPolicy {
    let mut policy = RetryPolicy::default();
    policy.initial_delay = Duration::from_millis(1);
    policy.max_delay = Duration::from_secs(1_000 * 24 * 60 * 60);
    policy
}

/// The server and the spool that a row works with.
struct Bench {
    server: Server,
    spool: tempfile::TempDir,
    /// The keys of every attempt to send [`RECORDS`], also of those that reached nobody.
    keys: Arc<Mutex<BTreeSet<String>>>,
}

impl Bench {
    fn exporter(&self, endpoint: &str, timeout: Duration) -> LogExporterBuilder {
        let keys = Arc::clone(&self.keys);
        exporter_to(endpoint, &self.spool)
            .with_retry_policy(steep())
            .with_timeout(timeout)
            .with_partition_key(by_tenant)
            .with_header_hook(move |batch, _| {
                if batch.partition_key().is_empty() {
                    keys.lock().expect("nobody panics here").insert(batch.id().to_owned());
                }
                Ok(())
            })
    }

    /// The first exporter: the fault lasts. Returns its endpoint.
    fn while_it_lasts(&self, row: &Row) -> String {
        let authority = Authority::new();
        let (down, foreign) = (Receiver::start_down(), Receiver::start_tls(Authority::new().server(None)));
        let endpoint = match &row.place {
            Place::Server(_) => self.server.url("http"),
            Place::Down => down.url("/ingest"),
            Place::PlainBehindTls => self.server.url("https"),
            Place::WrongCertificate => foreign.url("/ingest"),
            Place::NoSuchHost => "http://does-not-exist.invalid/ingest".to_owned(),
        };
        let plain = Fault::new(Reads::Nothing, "HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n", Then::Close);
        match &row.place {
            Place::Server(fault) => self.server.fail(fault, row.outcome == Outcome::Delivered, usize::MAX),
            Place::PlainBehindTls => self.server.fail(&plain, false, usize::MAX),
            _ => {}
        }
        let mut exporter = self.exporter(&endpoint, row.timeout);
        if endpoint.starts_with("https") {
            exporter = exporter.with_root_certificate_pem(authority.pem());
        }
        // So they come in one batch.
        let service = Service::batch(exporter);
        service.log_these(&RECORDS);
        service.sync();
        match row.outcome {
            Outcome::Delivered => {
                service.flush();
                assert_eq!(self.server.faulty(), 1, "delivered by one request");
            }
            Outcome::Retried => {
                service.wait_for_stats("three attempts", |stats| stats.failed_requests >= 3);
            }
            Outcome::Held => {
                service.wait_for_stats("an attempt", |stats| stats.failed_requests >= 1);
                for number in 1..=5 {
                    service.log_of("other", number..=number);
                    service.sync();
                    self.server.wait_for(&name("other", number));
                }
                assert_eq!(self.server.faulty(), 1, "held, while others get through");
                service.wait_for_stats("others to be done", |stats| stats.pending_records == 3);
            }
            Outcome::Divided(status) => {
                service.wait_for_rejected(1);
                service.flush();
                check_rejected(&service, status);
            }
        }
        let stats = service.handle.stats();
        // Logged while it was waited for the rejection.
        let live = if let Outcome::Divided(_) = row.outcome { stats.accepted_records - 3 } else { 0 };
        let (delivered, rejected) = match row.outcome {
            Outcome::Delivered => (3, 0),
            Outcome::Retried => (0, 0),
            Outcome::Held => (5, 0),
            Outcome::Divided(_) => (2 + live, 1),
        };
        assert_eq!((stats.delivered_records, stats.rejected_records), (delivered, rejected), "{stats:?}");
        assert_eq!(stats.pending_records, stats.accepted_records - delivered - rejected, "{stats:?}");
        assert_eq!(stats.failed_exports + stats.corrupt_records + stats.lost_records, 0, "{stats:?}");
        if matches!(row.place, Place::WrongCertificate) {
            foreign.wait_until("handshakes", |log| (log.failed_handshakes >= 3).then_some(()));
        }
        shut_down(service);
        endpoint
    }

    /// The next exporter, after one with another endpoint perhaps: it ends.
    fn when_it_ends(&self, row: &Row, endpoint: String) {
        let before = self.server.seen().len();
        match (&row.place, row.outcome) {
            // It can be there a few times more.
            (Place::Server(fault), Outcome::Retried) => self.server.fail(fault, false, 2),
            (Place::Server(fault), Outcome::Held) => self.server.fail(fault, false, 1),
            _ => self.server.fail(&Fault::status(200), true, 0),
        }
        let exporter = self.exporter(&self.server.url("http"), row.timeout).with_adopt_from([endpoint]);
        let service = Service::simple(exporter);
        match row.outcome {
            Outcome::Retried => self.server.wait_for("faulty"),
            // It is held once that is said.
            Outcome::Held => drop(service.wait_for_stats("an attempt", |stats| stats.last_error.is_some())),
            Outcome::Delivered | Outcome::Divided(_) => {}
        }
        service.flush();

        let keys = self.keys.lock().expect("nobody panics here").clone();
        let rejected = service.handle.rejected().expect("the rejected store");
        if let Outcome::Divided(status) = row.outcome {
            assert_eq!(self.server.delivered(), ["first", "last"]);
            check_rejected(&service, status);
        } else {
            assert_eq!(self.server.delivered(), RECORDS);
            assert_eq!(rejected, []);
            assert_eq!(keys.len(), 1, "one key on every attempt: {keys:?}");
        }
        let seen = self.server.seen();
        if matches!(row.outcome, Outcome::Delivered | Outcome::Divided(_)) {
            assert_eq!(seen.len(), before, "what is done is not sent again");
        }
        for request in &seen {
            let same = seen.iter().filter(|other| other.key == request.key);
            assert!(same.clone().all(|other| other.body == request.body), "{} came with other bytes", request.key);
            // Only who asks with a short time can find that the response to a success came too late.
            let taken = same.filter(|other| other.taken).count();
            assert!(taken <= 1 || row.timeout == SHORT, "{} was taken {taken} times", request.key);
        }
        let stats = service.handle.stats();
        assert_eq!((stats.pending_records, stats.corrupt_records, stats.lost_records), (0, 0, 0), "{stats:?}");
        shut_down(service);
    }
}

fn check_rejected(service: &Service, status: u16) {
    let rejected = service.handle.rejected().expect("the rejected store");
    let [record] = &rejected[..] else { panic!("one record is set aside: {rejected:?}") };
    let body: Value = serde_json::from_slice(&record.body).expect("the body as it was sent");
    assert_eq!((record.status, body[0]["message"].as_str()), (status, Some("faulty")));
    assert!(record.response.starts_with("why"), "{:?}", record.response);
}

/// Whatever it says, it returns.
fn shut_down(service: Service) {
    let provider = service.provider.clone();
    let _ = in_time("shutdown", move || provider.shutdown_with_timeout(SHUTDOWN));
    in_time("dropping what was shut down", move || drop(service));
}

fn run(row: &Row) {
    let bench = Bench { server: Server::start(), spool: spool_dir(), keys: Arc::default() };
    let endpoint = bench.while_it_lasts(row);
    bench.when_it_ends(row, endpoint);
}

#[test]
fn whatever_the_endpoint_does_nothing_is_lost_and_a_shutdown_returns() {
    // A panic anywhere counts, also on the exporter's own threads.
    let panics: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = Arc::clone(&panics);
    panic::set_hook(Box::new(move |panic| {
        let thread = thread::current();
        let text = format!("{}: {panic}", thread.name().unwrap_or("a thread"));
        noted.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }));
    let rows: Mutex<VecDeque<_>> = Mutex::new(table().into_iter().chain(early_answers()).collect());
    let total = rows.lock().expect("nobody panics here").len();
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                let next = || rows.lock().expect("nobody panics here").pop_front();
                while let Some(row) = next() {
                    let work = || run(&row);
                    let row_thread = thread::Builder::new().name(row.name.clone());
                    // The failure was noted already.
                    let _ = thread::scope(|scope| row_thread.spawn_scoped(scope, work).expect("a thread").join());
                }
            });
        }
    });
    drop(panic::take_hook());
    let mut text = String::new();
    let panics = panics.lock().unwrap_or_else(PoisonError::into_inner);
    for panic in panics.iter() {
        let _ = write!(text, "\n{panic}");
    }
    assert!(panics.is_empty(), "{} panics in {total} rows:{text}", panics.len());
    println!("{total} rows");
}
