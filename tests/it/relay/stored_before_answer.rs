//! A relay that is killed: what it answered with success is on disk, and what it had read keeps its order.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write};
use std::net::TcpStream;
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

#[cfg(unix)]
use common::wait_for;
use common::{Receiver, seed, spool_dir};

use super::client::ask;
use super::message::{FORM, JSON, PROTOBUF, frame, otlp_json, otlp_protobuf};
use super::process::{Running, outcome, tool};

/// The way of a client of HTTP to send one record.
type Client = fn(&str) -> (&'static str, (&'static str, &'static str), Vec<u8>);

/// Each client with the name that its records have.
const CLIENTS: [(&str, Client); 4] = [
    ("form", |message| {
        let body = format!("name=app&msg={message}&args=%28%29&levelname=INFO&levelno=20&created=1764201600.25");
        ("/log", FORM, body.into_bytes())
    }),
    ("array", |message| {
        let body =
            format!(r#"[{{"message":"{message}","created":1764201600.25,"level":{{"number":20,"name":"INFO"}}}}]"#);
        ("/logs", JSON, body.into_bytes())
    }),
    ("json", |message| ("/v1/logs", JSON, otlp_json(&[message.to_owned()]))),
    ("protobuf", |message| ("/v1/logs", PROTOBUF, otlp_protobuf(&[message.to_owned()]))),
];

/// Starts a relay for each client in turn, and kills it as soon as it has answered. Gives what is stored then.
fn answered_and_killed(to: &str, spool: &Path) -> Vec<String> {
    let mut stored = Vec::new();
    for round in 0..2 {
        for (name, client) in CLIENTS {
            let relay = Running::start(spool, to, &["--http", "127.0.0.1:0"]);
            let message = format!("{name}-{round}");
            let (target, content_type, body) = client(&message);
            let response = ask(relay.address("http"), "POST", target, &[content_type], body);
            relay.kill();
            assert_eq!(response.status, 200, "{message}: {}", response.text());
            stored.push(message);
        }
    }
    stored.sort();
    stored
}

#[test]
fn what_was_answered_before_a_kill_is_delivered_by_the_next_relay() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let stored = answered_and_killed(&receiver.url("/ingest"), spool.path());
    receiver.come_up();
    let _relay = Running::start(spool.path(), &receiver.url("/ingest"), &["--http", "127.0.0.1:0"]);
    let mut delivered = receiver.wait_for_records(stored.len());
    delivered.sort();
    assert_eq!(delivered, stored);
}

#[test]
fn what_was_answered_before_a_kill_is_delivered_by_the_command_that_drains() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let stored = answered_and_killed(&receiver.url("/ingest"), spool.path());
    receiver.come_up();
    let (code, _, error) = outcome(tool().arg("drain").arg(spool.path()));
    assert_eq!(code, 0, "{error}");
    let mut delivered = receiver.delivered();
    delivered.sort();
    assert_eq!(delivered, stored);
}

/// The numbers of each sender's records, in the order in which they are there: `SENDER NUMBER`.
fn by_sender(messages: &[String]) -> BTreeMap<String, Vec<usize>> {
    let mut numbers: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for message in messages {
        let (sender, number) = message.split_once(' ').unwrap_or_else(|| panic!("{message:?} was never sent"));
        let number = number.parse().unwrap_or_else(|_| panic!("{message:?} was never sent"));
        numbers.entry(sender.to_owned()).or_default().push(number);
    }
    numbers
}

/// Sends frames `SENDER NUMBER` on from a number until the relay is gone, or to the last one.
fn send_frames(mut stream: impl Write, sender: &str, numbers: std::ops::Range<usize>) -> usize {
    for number in numbers.clone() {
        if stream.write_all(&frame(&format!("{sender} {number}"))).is_err() {
            return number;
        }
    }
    numbers.end
}

#[cfg(unix)]
#[test]
fn frames_that_were_committed_before_a_kill_are_delivered_in_the_order_of_their_connection() {
    const FRAMES: usize = 500;

    let (receiver, spool, dir) = (Receiver::start_down(), spool_dir(), spool_dir());
    let socket = dir.path().join("log.sock");
    let args = ["--tcp", "127.0.0.1:0", "--unix", socket.to_str().expect("a path of text"), "--status", "127.0.0.1:0"];
    let relay = Running::start(spool.path(), &receiver.url("/ingest"), &args);
    let tcp = relay.address("tcp");
    thread::scope(|scope| {
        for number in 0..4 {
            let socket = &socket;
            scope.spawn(move || {
                let stream = TcpStream::connect(tcp).expect("the relay listens");
                send_frames(stream, &format!("tcp{number}"), 0..FRAMES)
            });
            scope.spawn(move || {
                let stream = UnixStream::connect(socket).expect("the relay listens");
                send_frames(stream, &format!("unix{number}"), 0..FRAMES)
            });
        }
    });
    // Nobody is told, so the page is asked.
    let status = relay.address("status");
    wait_for("a commit", || {
        let page = ask(status, "GET", "/status.json", &[], "");
        let page: serde_json::Value = serde_json::from_slice(&page.body).expect("JSON");
        (page["signals"][0]["accepted"] == 8 * FRAMES).then_some(())
    });
    relay.kill();

    receiver.come_up();
    let _relay = Running::start(spool.path(), &receiver.url("/ingest"), &args);
    let delivered = by_sender(&receiver.wait_for_records(8 * FRAMES));
    assert_eq!(delivered.len(), 8);
    for (sender, numbers) in delivered {
        assert_eq!(numbers, (0..FRAMES).collect::<Vec<_>>(), "{sender}");
    }
}

#[test]
fn a_kill_takes_the_last_frames_of_a_connection_and_none_before() {
    seed();
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let mut sent = BTreeMap::new();
    for run in 0..4 {
        let relay = Running::start(spool.path(), &receiver.url("/ingest"), &["--tcp", "127.0.0.1:0"]);
        let tcp = relay.address("tcp");
        thread::scope(|scope| {
            let senders: Vec<_> = (0..3)
                .map(|number| {
                    let sender = format!("run{run}-{number}");
                    let name = sender.clone();
                    let stream = TcpStream::connect(tcp).expect("the relay listens");
                    (sender, scope.spawn(move || send_frames(stream, &name, 0..200_000)))
                })
                .collect();
            let before = receiver.look(|log| log.delivered.len());
            receiver.wait_for_records(before + 1);
            thread::sleep(Duration::from_micros(fastrand::u64(..100_000)));
            relay.kill();
            sent.extend(senders.into_iter().map(|(name, sender)| (name, sender.join().expect("a client"))));
        });
    }
    let relay = Running::start(spool.path(), &receiver.url("/ingest"), &["--tcp", "127.0.0.1:0"]);
    let stream = TcpStream::connect(relay.address("tcp")).expect("the relay listens");
    send_frames(stream, "last", 0..1);
    receiver.wait_until("the last record", |log| log.delivered.contains(&"last 0".to_owned()).then_some(()));
    let (code, said) = relay.end("TERM");
    assert_eq!(code, Some(0), "{said}");
    for (sender, numbers) in by_sender(&receiver.delivered()) {
        assert_eq!(numbers, (0..numbers.len()).collect::<Vec<_>>(), "{sender}: a hole, or another order");
        let sent = sent.get(&sender).copied().unwrap_or(1);
        assert!(numbers.len() <= sent, "{sender}: {} of {sent}", numbers.len());
    }
}

/// The lines of a file, all of which are whole.
fn lines(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    assert!(text.ends_with('\n'), "the last line is torn");
    text.lines().map(str::to_owned).collect()
}

#[cfg(unix)]
#[test]
fn ten_senders_write_one_file_in_whole_lines_and_in_their_order() {
    const LINES: usize = 200;

    let (spool, dir) = (spool_dir(), spool_dir());
    let (socket, file) = (dir.path().join("log.sock"), dir.path().join("app.log"));
    let to = format!("file://{}", file.display());
    let args = ["--tcp", "127.0.0.1:0", "--http", "127.0.0.1:0", "--unix", socket.to_str().expect("a path of text")];
    let relay = Running::start(spool.path(), &to, &args);
    let (tcp, http) = (relay.address("tcp"), relay.address("http"));
    thread::scope(|scope| {
        for number in 0..10 {
            let socket = &socket;
            scope.spawn(move || match number % 3 {
                0 => drop(send_frames(TcpStream::connect(tcp).expect("a relay"), &format!("s{number}"), 0..LINES)),
                1 => drop(send_frames(UnixStream::connect(socket).expect("a relay"), &format!("s{number}"), 0..LINES)),
                _ => {
                    let mut client = super::client::Http::connect(http).expect("a relay");
                    for line in 0..LINES {
                        let text = format!("s{number} {line}");
                        let headers = [("Content-Type", "text/plain")];
                        let response = client.ask("POST", "/", &headers, text.as_bytes()).expect("a response");
                        assert_eq!(response.status, 200);
                    }
                }
            });
        }
    });
    let (code, said) = relay.end("TERM");
    assert_eq!(code, Some(0), "{said}");
    // What was not sent within the time of a shutdown.
    let (code, _, error) = outcome(tool().arg("drain").arg(spool.path()));
    assert_eq!(code, 0, "{error}");
    let senders = by_sender(&lines(&file));
    assert_eq!(senders.len(), 10);
    for (sender, numbers) in senders {
        assert_eq!(numbers, (0..LINES).collect::<Vec<_>>(), "{sender}");
    }
}

/// Speaks logserv's dialogue.
fn greet(stream: &mut TcpStream, file: &str) {
    let identify = format!("IDENTIFY {{\"--level\": 30, \"filename\": \"{file}\", \"maxBytes\": 0}}\n");
    for (line, answer) in [("HELLO 1.0\n", "HELLO 1.0\n"), (&identify, "OK\n"), ("LOG\n", "OK\n")] {
        stream.write_all(line.as_bytes()).expect("it is sent");
        let mut heard = vec![0; answer.len()];
        stream.read_exact(&mut heard).expect("an answer");
        assert_eq!(heard, answer.as_bytes(), "{line}");
    }
}

#[test]
fn clients_of_logserv_have_the_files_that_they_ask_for_in_one_directory() {
    const LINES: usize = 100;

    let (spool, dir) = (spool_dir(), spool_dir());
    let to = format!("file://{}/", dir.path().display());
    let args = ["--tcp", "127.0.0.1:0", "--partition-by", "logserv-file"];
    let relay = Running::start(spool.path(), &to, &args);
    let tcp = relay.address("tcp");
    // Of a path the last part is the name.
    let files = ["a.log", "a.log", "b.log", "b.log", "a.log", "../escaped.log", "/escaped.log"];
    thread::scope(|scope| {
        for (number, file) in files.iter().enumerate() {
            scope.spawn(move || {
                let mut stream = TcpStream::connect(tcp).expect("the relay listens");
                greet(&mut stream, file);
                send_frames(stream, &format!("s{number}"), 0..LINES);
            });
        }
    });
    let (code, said) = relay.end("TERM");
    assert_eq!(code, Some(0), "{said}");
    let (code, _, error) = outcome(tool().arg("drain").arg(spool.path()));
    assert_eq!(code, 0, "{error}");

    let senders = |file: &str| {
        let senders = by_sender(&lines(&dir.path().join(file)));
        for (sender, numbers) in &senders {
            assert_eq!(*numbers, (0..LINES).collect::<Vec<_>>(), "{sender}");
        }
        senders.into_keys().collect::<Vec<_>>()
    };
    assert_eq!(senders("a.log"), ["s0", "s1", "s4"]);
    assert_eq!(senders("b.log"), ["s2", "s3"]);
    let mut names: Vec<_> = fs::read_dir(dir.path())
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort();
    assert_eq!(names, ["a.log", "b.log", "escaped.log"]);
    assert_eq!(senders("escaped.log"), ["s5", "s6"]);
    assert!(!dir.path().with_file_name("escaped.log").exists() && !Path::new("/escaped.log").exists());
}

#[test]
fn a_relay_without_an_endpoint_that_answers_stores_all_the_same() {
    let spool = spool_dir();
    let relay = Running::start(spool.path(), "http://127.0.0.1:9/ingest", &["--http", "127.0.0.1:0"]);
    let (target, content_type, body) = CLIENTS[0].1("kept");
    assert_eq!(ask(relay.address("http"), "POST", target, &[content_type], body).status, 200);
    relay.kill();
    let (code, out, error) = outcome(tool().arg("cat").arg(spool.path()));
    assert_eq!(code, 0, "{error}");
    assert!(out.contains("\"kept\""), "{out}");
}

/// The endpoint of a relay is a server, a file or a socket: each of them is somebody else.
#[cfg(unix)]
#[test]
fn what_a_killed_relay_stored_for_one_endpoint_goes_to_no_other_until_that_is_asked_for() {
    let (receiver, spool, dir) = (Receiver::start(), spool_dir(), spool_dir());
    let file = format!("file://{}/app.log", dir.path().display());
    let to_nowhere = ["http://127.0.0.1:9/ingest", "tcp://127.0.0.1:9", &format!("unix://{}/s", dir.path().display())];
    let post = |relay: &Running, message: &str| {
        let (target, content_type, body) = CLIENTS[0].1(message);
        assert_eq!(ask(relay.address("http"), "POST", target, &[content_type], body).status, 200);
    };
    let listen = ["--http", "127.0.0.1:0", "--format", "ndjson"];
    for (number, endpoint) in (1..).zip(to_nowhere) {
        let relay = Running::start(spool.path(), endpoint, &listen);
        post(&relay, &format!("left-{number}"));
        relay.kill();
    }
    let relay = Running::start(spool.path(), &file, &listen);
    post(&relay, "for the file");
    let written = || std::fs::read_to_string(dir.path().join("app.log")).unwrap_or_default();
    wait_for("the record in the file", || written().contains("for the file").then_some(()));
    relay.kill();
    assert!(!written().contains("left"), "{}", written());
    let (_, out, _) = outcome(tool().arg("cat").arg(spool.path()));
    assert_eq!(out.matches("left-").count(), 3, "{out}");

    let mut command = super::process::command(spool.path(), &receiver.url("/ingest"), &listen);
    command.env("OTEL_EXPORTER_SPOOL_ADOPT_FROM", to_nowhere.join(","));
    let relay = Running::of(command, 1);
    receiver.wait_until("what was left", |log| {
        let bodies = log.requests.iter().filter(|request| request.answered == Some(200));
        let left: usize =
            bodies.map(|request| String::from_utf8_lossy(&request.plain()).matches("left-").count()).sum();
        (left == 3).then_some(())
    });
    relay.kill();
}
