//! A disk that stalls: nobody loses a record by it. Applications wait for the relay as long as they do, so the longest time is printed.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{Disk, Receiver, Stall, wait_for};
use opentelemetry_spool::{DropReason, Listener, Relay};

use super::client::{Http, Response, ask};
use super::message::{FORM, JSON, frame, otlp_json};
use super::process::Running;
use super::{any_port, builder};

/// The senders of each kind, and the time between two records of one: 2,000 a second together.
const SENDERS: usize = 4;
const PAUSE: Duration = Duration::from_millis(4);

const STALL: Duration = Duration::from_secs(3);

#[test]
fn a_disk_that_stalls_costs_no_record() {
    let Some(disk) = Disk::create(64) else { return };
    let receiver = Receiver::start();
    let relay = Running::start(
        &disk.path().join("spool"),
        &receiver.url("/ingest"),
        &["--tcp", "127.0.0.1:0", "--otlp", "127.0.0.1:0"],
    );
    let (tcp, otlp) = (relay.address("tcp"), relay.address("otlp"));
    let (ended, longest_write, longest_answer) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let micros = |since: Instant| u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
    let mut sent: Vec<String> = thread::scope(|scope| {
        let (ended, longest_write, longest_answer) = (&ended, &longest_write, &longest_answer);
        let mut senders = Vec::new();
        for sender in 0..SENDERS {
            senders.push(scope.spawn(move || {
                let mut stream = TcpStream::connect(tcp).expect("the relay listens");
                let mut sent = Vec::new();
                while !ended.load(Ordering::Relaxed) {
                    let message = format!("tcp{sender} {}", sent.len());
                    let begun = Instant::now();
                    stream.write_all(&frame(&message)).expect("the relay reads");
                    longest_write.fetch_max(micros(begun), Ordering::Relaxed);
                    sent.push(message);
                    thread::sleep(PAUSE);
                }
                sent
            }));
            senders.push(scope.spawn(move || {
                let mut http = Http::connect(otlp).expect("the relay listens");
                let (mut sent, begun) = (Vec::new(), Instant::now());
                while !ended.load(Ordering::Relaxed) {
                    // What has come together while the last answer was waited for, as in a client's queue.
                    let due = usize::try_from(begun.elapsed().as_millis() / PAUSE.as_millis()).expect("a number");
                    let batch: Vec<_> =
                        (sent.len()..due.min(sent.len() + 512)).map(|at| format!("otlp{sender} {at}")).collect();
                    if batch.is_empty() {
                        thread::sleep(PAUSE);
                        continue;
                    }
                    let asked = Instant::now();
                    let body = otlp_json(&batch);
                    // Who is told to send it again does so.
                    common::wait_for("a success", || {
                        let response = http.ask("POST", "/v1/logs", &[JSON], &body).expect("a response");
                        assert!(matches!(response.status, 200 | 503), "{}", response.text());
                        (response.status == 200).then_some(())
                    });
                    longest_answer.fetch_max(micros(asked), Ordering::Relaxed);
                    sent.extend(batch);
                }
                sent
            }));
        }
        receiver.wait_for_records(500);
        let stall = disk.stall();
        thread::sleep(STALL);
        drop(stall);
        let before = receiver.delivered().len();
        receiver.wait_for_records(before + 500);
        ended.store(true, Ordering::Relaxed);
        senders.into_iter().flat_map(|sender| sender.join().expect("a client")).collect()
    });
    let mut delivered = receiver.wait_for_records(sent.len());
    let (code, said) = relay.end("TERM");
    assert_eq!(code, Some(0), "{said}");
    sent.sort();
    delivered.sort();
    assert_eq!(delivered.len(), sent.len());
    assert!(delivered == sent, "what was delivered is not what was sent");
    println!(
        "{} records; a stall of {STALL:?}; longest write() over TCP {:?}, longest wait for an answer {:?}",
        sent.len(),
        Duration::from_micros(longest_write.into_inner()),
        Duration::from_micros(longest_answer.into_inner()),
    );
}

/// A relay with a small buffer and with listeners of HTTP and of frames, whose disk stalls in the middle of a commit.
fn stalled(disk: &Disk, receiver: &Receiver) -> (Relay, thread::JoinHandle<Response>, Stall) {
    let builder = builder(receiver, &disk.path().join("spool")).with_listener(Listener::Http(any_port()));
    let builder = builder.with_listener(Listener::Tcp(any_port()));
    let relay = builder.with_max_buffer_bytes(1 << 20).build().expect("a relay");
    let address = relay.addresses()[0];
    assert_eq!(ask(address, "POST", "/v1/logs", &[JSON], otlp_json(&["before".to_owned()])).status, 200);
    let stall = disk.stall();
    let body = otlp_json(&[large("first")]);
    let first = thread::spawn(move || ask(address, "POST", "/v1/logs", &[JSON], body));
    // What is being committed is nothing that can be taken out of the buffer, nor joined.
    wait_for("a message that was read", || (relay.stats().listeners[0].connections == 2).then_some(()));
    thread::sleep(Duration::from_millis(300));
    (relay, first, stall)
}

/// A record of which the buffer holds one.
fn large(name: &str) -> String {
    format!("{name} {}", "x".repeat(300_000))
}

fn names(receiver: &Receiver) -> Vec<String> {
    let delivered = receiver.delivered().into_iter();
    delivered.map(|message| message.split(' ').next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn a_full_buffer_is_503_for_those_who_ask_and_a_loss_for_those_who_cannot() {
    let Some(disk) = Disk::create(64) else { return };
    let receiver = Receiver::start();
    let (relay, first, stall) = stalled(&disk, &receiver);
    let otlp = otlp_json(&[large("refused")]);
    let form = format!("msg={}&levelname=INFO", large("lost").replace(' ', "+"));
    let refused = ask(relay.addresses()[0], "POST", "/v1/logs", &[JSON], &otlp);
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("3")), "{}", refused.text());
    let lost = ask(relay.addresses()[0], "POST", "/", &[FORM], form);
    assert_eq!((lost.status, lost.header("retry-after")), (503, Some("3")), "{}", lost.text());
    let mut frames = TcpStream::connect(relay.addresses()[1]).expect("the relay listens");
    frames.write_all(&frame(&large("dropped"))).expect("it is read");
    wait_for("a loss", || (relay.logs().stats().buffer_full_records == 2).then_some(()));
    drop(stall);

    assert_eq!(first.join().expect("a client").status, 200);
    // No other record has to come for that.
    receiver.wait_until("a gap record", |log| {
        log.delivered.iter().any(|message| message.starts_with("lost 2 records (buffer_full)")).then_some(())
    });
    let again = ask(relay.addresses()[0], "POST", "/v1/logs", &[JSON], &otlp);
    assert_eq!(again.status, 200, "{}", again.text());
    receiver.wait_for_records(4);
    assert_eq!(names(&receiver), ["before", "first", "lost", "refused"]);
}

#[test]
fn who_never_sends_again_is_told_that_it_takes_long_and_who_does_that_nothing_is_stored() {
    let Some(disk) = Disk::create(64) else { return };
    let receiver = Receiver::start();
    let (relay, first, stall) = stalled(&disk, &receiver);
    let address = relay.addresses()[0];
    let otlp = otlp_json(&["taken-out".to_owned()]);
    let again = otlp.clone();
    let taken_out = thread::spawn(move || ask(address, "POST", "/v1/logs", &[JSON], otlp));
    let kept = ask(address, "POST", "/", &[FORM], "msg=kept&levelname=INFO");
    assert_eq!(kept.status, 503, "{}", kept.text());
    let taken_out = taken_out.join().expect("a client");
    assert_eq!((taken_out.status, taken_out.header("retry-after")), (503, Some("3")), "{}", taken_out.text());
    assert_eq!(relay.stats().dropped(DropReason::Unavailable), 2);
    drop(stall);

    // Its commit had begun, so that it was not told anything but the truth.
    assert_eq!(first.join().expect("a client").status, 200);
    receiver.wait_for_records(3);
    assert_eq!(names(&receiver), ["before", "first", "kept"]);
    assert_eq!(ask(address, "POST", "/v1/logs", &[JSON], again).status, 200);
    receiver.wait_for_records(4);
    assert_eq!(names(&receiver), ["before", "first", "kept", "taken-out"]);
}
