//! The recipes: each example does what the chapter says of it.

#[path = "../../../examples/must_start.rs"]
#[expect(dead_code, reason = "what it does when it is run by itself")]
mod must_start;
#[path = "../../../examples/oauth.rs"]
#[allow(dead_code, clippy::duplicate_mod, reason = "the same, and both have the receiver of the examples")]
mod oauth;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use common::{Answer, Receiver, Service, exporter, impatient, spool_dir};
use opentelemetry::logs::LoggerProvider as _;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_spool::{ExporterBuildError, LogExporter};

/// A service whose token server gives the token with the number `valid`, for so many seconds, and whose endpoint takes no other.
fn with_tokens(
    tokens: &Receiver,
    endpoint: &Receiver,
    seconds: u32,
    valid: &Arc<AtomicUsize>,
) -> (Service, impl Sized) {
    let (given, taken, spool) = (Arc::clone(valid), Arc::clone(valid), spool_dir());
    tokens.answer_by(move |_| {
        let number = given.load(Ordering::Relaxed);
        Answer::ok().body(&format!(r#"{{"access_token":"t-{number}","token_type":"Bearer","expires_in":{seconds}}}"#))
    });
    endpoint.answer_by(move |request| {
        let bearer = format!("Bearer t-{}", taken.load(Ordering::Relaxed));
        Answer::status(if request.header("authorization") == Some(&*bearer) { 200 } else { 401 })
    });
    let account = oauth::Account {
        token_url: tokens.url("/token"),
        client_id: "checkout".to_owned(),
        client_secret: "s3cret".to_owned(),
    };
    let exporter = oauth::exporter(&endpoint.url("/logs"), account, spool.path()).with_retry_policy(impatient());
    (Service::batch(exporter), spool)
}

#[test]
fn a_token_is_fetched_when_there_is_one_used_again_and_replaced_when_it_is_revoked() {
    let (tokens, endpoint, valid) = (Receiver::start(), Receiver::start(), Arc::new(AtomicUsize::new(1)));
    let (service, _spool) = with_tokens(&tokens, &endpoint, 300, &valid);
    tokens.answer_next(Answer::status(503));
    service.log("while the token server is down at first");
    service.deliver();
    assert_eq!(tokens.requests().len(), 2);
    service.log("with the same token");
    service.deliver();
    assert_eq!(tokens.requests().len(), 2);
    valid.store(2, Ordering::Relaxed);
    service.log("after the token was revoked");
    service.deliver();
    assert_eq!(tokens.requests().len(), 3);

    let request = &tokens.requests()[0];
    let account = base64::engine::general_purpose::STANDARD.encode("checkout:s3cret");
    assert_eq!(request.header("authorization"), Some(&*format!("Basic {account}")));
    assert_eq!(&*request.body, b"grant_type=client_credentials");
    let bearers: Vec<_> =
        endpoint.requests().iter().map(|request| request.header("authorization").map(str::to_owned)).collect();
    assert_eq!(bearers, ["t-1", "t-1", "t-1", "t-2"].map(|token| Some(format!("Bearer {token}"))));
    assert_eq!(endpoint.delivered().len(), 3);
}

#[test]
fn a_token_that_expires_is_replaced_before_it_is_refused() {
    let (tokens, endpoint, valid) = (Receiver::start(), Receiver::start(), Arc::new(AtomicUsize::new(1)));
    let (service, _spool) = with_tokens(&tokens, &endpoint, 0, &valid);
    for number in 1..=3 {
        valid.store(number, Ordering::Relaxed);
        service.log("taken");
        service.deliver();
        assert_eq!((tokens.requests().len(), endpoint.requests().len()), (number, number));
    }
}

#[test]
fn a_service_starts_though_its_spool_cannot_be_opened_and_says_why() {
    let (receiver, dir) = (Receiver::start(), spool_dir());
    let (file, memory) = (dir.path().join("file"), dir.path().join("memory"));
    std::fs::write(&file, "this is no directory").expect("a file");
    let mut warning = None;
    let settings = || exporter(&receiver, "nowhere");
    let built = must_start::exporter(settings, &file.join("spool"), &memory, |why| warning = Some(why));
    let warning = warning.expect("a warning");
    let (path, memory) = (file.display().to_string(), memory.display().to_string());
    for words in ["logs are kept in memory", "do not survive a reboot", &path, &memory, "is a file"] {
        assert!(cfg!(not(unix)) || warning.contains(words), "{words} in {warning}");
    }
    let exporter = built.expect("an exporter all the same");
    let handle = exporter.handle();
    let provider = SdkLoggerProvider::builder().with_batch_exporter(exporter).build();
    let service = Service { logger: provider.logger("test"), handle, provider };
    service.log("in memory");
    service.deliver();
    assert_eq!(receiver.delivered(), ["in memory"]);
}

#[test]
fn a_spool_that_can_be_opened_is_used_and_a_wrong_setting_is_an_error_and_no_reason_to_do_without() {
    let (receiver, dir) = (Receiver::start(), spool_dir());
    let (disk, memory) = (dir.path().join("disk"), dir.path().join("memory"));
    let no_warning = |why| panic!("nobody is to be warned: {why}");
    let built = must_start::exporter(|| exporter(&receiver, "nowhere"), &disk, &memory, no_warning);
    drop(built.expect("an exporter"));
    assert!(disk.exists() && !memory.exists());
    let settings = || LogExporter::builder().with_endpoint("no URL");
    let built = must_start::exporter(settings, &disk, &memory, no_warning);
    assert!(matches!(built, Err(ExporterBuildError::Invalid { .. })), "{built:?}");
}

/// The receiver of `examples/exactly_once`.
#[cfg(unix)]
mod exactly_once {
    use std::path::Path;
    use std::process::Command;
    use std::sync::Mutex;

    use common::{
        Answer, Program, Receiver, Service, ask, exporter_to, free_port, name, names, spool_dir, wait_for_port,
    };

    /// How many records are sent to a receiver that is killed.
    const COUNT: usize = 1_000;

    fn start(dir: &Path, port: u16) -> Program {
        let mut receiver = Command::new(env!("CARGO_BIN_EXE_exactly-once-receiver"));
        receiver.arg(dir.join("records.db")).arg(format!("127.0.0.1:{port}"));
        let log = dir.join("log");
        let program = Program::keep("KILL", &receiver, &log);
        wait_for_port(port, &log);
        program
    }

    /// The messages in its database, in the order of their places.
    fn stored(dir: &Path) -> Vec<String> {
        let database = rusqlite::Connection::open(dir.join("records.db")).expect("a database");
        let message = "SELECT json_extract(record, '$.message') FROM records ORDER BY 1";
        let mut select = database.prepare(message).expect("a table");
        let rows = select.query_map((), |row| row.get(0)).expect("rows");
        rows.map(|message| message.expect("a message")).collect()
    }

    #[test]
    fn a_receiver_that_is_killed_again_and_again_has_every_record_once() {
        let (dir, spool, port) = (spool_dir(), spool_dir(), free_port());
        let endpoint = format!("http://127.0.0.1:{port}/ingest");
        let service = Service::batch(exporter_to(&endpoint, &spool).with_max_batch_records(10));
        service.store_all("m", 1..=COUNT);
        for _ in 1..=5 {
            let receiver = start(dir.path(), port);
            let delivered = service.handle.stats().delivered_records;
            service.wait_for_stats("a batch", |stats| stats.delivered_records > delivered);
            drop(receiver);
        }
        let _receiver = start(dir.path(), port);
        service.deliver();
        assert_eq!(stored(dir.path()), names("m", 1..=COUNT));
    }

    #[test]
    fn a_receiver_that_is_killed_when_it_has_stored_a_batch_and_has_not_said_so_has_every_record_once() {
        let (dir, spool, port, front) = (spool_dir(), spool_dir(), free_port(), Receiver::start());
        let (at, receiver) = (dir.path().to_owned(), Mutex::new(Some(start(dir.path(), port))));
        front.answer_by(move |request| {
            let key = [("Idempotency-Key", request.key())];
            let (status, body) = ask("POST", &format!("http://127.0.0.1:{port}/ingest"), &key, &request.body);
            if request.number % 3 > 0 {
                return Answer::status(status).body(&body);
            }
            let mut receiver = receiver.lock().expect("no test has failed here");
            *receiver = None;
            *receiver = Some(start(&at, port));
            Answer::Lost
        });
        let service = Service::batch(exporter_to(&front.url("/ingest"), &spool).with_max_batch_records(10));
        service.store_all("m", 1..=100);
        service.deliver();
        assert!(front.requests().len() >= 14, "{} requests", front.requests().len());
        assert_eq!(stored(dir.path()), names("m", 1..=100));
    }

    #[test]
    fn a_batch_whose_response_is_lost_again_and_again_is_there_once() {
        let (dir, spool, port, front) = (spool_dir(), spool_dir(), free_port(), Receiver::start());
        let _receiver = start(dir.path(), port);
        front.answer_by(move |request| {
            let key = [("Idempotency-Key", request.key())];
            let (status, body) = ask("POST", &format!("http://127.0.0.1:{port}/ingest"), &key, &request.body);
            // Of each three the first two are lost on the way back.
            if request.number % 3 < 2 { Answer::Lost } else { Answer::status(status).body(&body) }
        });
        let service = Service::batch(exporter_to(&front.url("/ingest"), &spool).with_max_batch_records(10));
        service.store_all("m", 1..=50);
        service.deliver();
        assert!(front.requests().len() >= 15, "{} requests", front.requests().len());
        assert_eq!(stored(dir.path()), names("m", 1..=50));
    }

    #[test]
    fn a_record_is_known_by_its_place_whatever_batch_it_comes_in() {
        let (dir, port) = (spool_dir(), free_port());
        let _receiver = start(dir.path(), port);
        let send = |key: Option<&str>, numbers: std::ops::RangeInclusive<usize>| {
            let records: Vec<_> = numbers.map(|number| serde_json::json!({"message": name("m", number)})).collect();
            let headers: Vec<_> = key.map(|key| ("Idempotency-Key", key)).into_iter().collect();
            let body = serde_json::to_vec(&records).expect("JSON");
            ask("POST", &format!("http://127.0.0.1:{port}/ingest"), &headers, &body).0
        };
        assert_eq!(send(Some("00000000000000aa.0-0-3"), 1..=4), 200);
        // Its parts, after it was split.
        assert_eq!(send(Some("00000000000000aa.0-0-1"), 1..=2), 200);
        assert_eq!(send(Some("00000000000000aa.0-2-3"), 3..=4), 200);
        assert_eq!(stored(dir.path()), names("m", 1..=4));
        // Another lane, another segment, and a batch of which a record is missing.
        assert_eq!(send(Some("00000000000000aa.1-0-0"), 5..=5), 200);
        assert_eq!(send(Some("00000000000000bb.0-0-0"), 6..=6), 200);
        assert_eq!(send(Some("00000000000000bb.0-1-3"), 7..=8), 200);
        assert_eq!(stored(dir.path()), names("m", 1..=8));
        assert_eq!(send(None, 9..=9), 400);
    }
}
