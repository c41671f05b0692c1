//! A disk that stalls: nobody loses a record by it. Applications wait for the relay as long as they do, so the longest time is printed.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{Disk, Receiver};

use super::client::Http;
use super::message::{JSON, frame, otlp_json};
use super::process::Running;

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
        disk.stall();
        thread::sleep(STALL);
        disk.go_on();
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
