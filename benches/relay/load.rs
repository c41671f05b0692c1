//! What is sent: captured frames, OTLP, forms.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use prost::Message as _;

/// The records of one request.
const RECORDS: u64 = 512;

/// The frames that are on their way: sent, and not yet where their receiver puts them.
#[derive(Default)]
pub(crate) struct Window {
    sent: AtomicU64,
    taken: AtomicU64,
}

impl Window {
    pub(crate) fn note_taken(&self, taken: u64) {
        self.taken.store(taken, Ordering::Relaxed);
    }

    fn is_full(&self) -> bool {
        self.sent.load(Ordering::Relaxed).saturating_sub(self.taken.load(Ordering::Relaxed)) > 40_000
    }
}

/// Frames that were captured of Python's `SocketHandler`.
pub(crate) struct Frames {
    bytes: Vec<u8>,
    frames: u64,
}

impl Frames {
    /// The plain record of each capture, over and over, to some 64 KiB.
    pub(crate) fn captured() -> Self {
        let captures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/captures");
        let mut plain = Vec::new();
        for version in ["3.8", "3.11", "3.13"] {
            let all = std::fs::read(captures.join(format!("python-{version}.bin"))).expect("a capture");
            plain.push(shortest(&all));
        }
        let (mut bytes, mut frames) = (Vec::new(), 0);
        while bytes.len() < 64 << 10 {
            bytes.extend_from_slice(&plain[frames as usize % plain.len()]);
            frames += 1;
        }
        Self { bytes, frames }
    }

    /// Sends for so long over so many connections, and as the window allows. Returns how many frames were sent.
    pub(crate) fn send(&self, to: SocketAddr, connections: usize, length: Duration, window: &Window) -> u64 {
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..connections {
                scope.spawn(|| {
                    let mut stream = TcpStream::connect(to).expect("a receiver");
                    while begun.elapsed() < length {
                        if window.is_full() {
                            std::thread::sleep(Duration::from_micros(200));
                            continue;
                        }
                        window.sent.fetch_add(self.frames, Ordering::Relaxed);
                        stream.write_all(&self.bytes).expect("a receiver that reads");
                    }
                });
            }
        });
        window.sent.load(Ordering::Relaxed)
    }
}

/// The shortest frame of a capture: a record without extras.
fn shortest(mut capture: &[u8]) -> Vec<u8> {
    let mut found: Option<&[u8]> = None;
    while let Some((head, _)) = capture.split_first_chunk::<4>() {
        let (frame, rest) = capture.split_at(4 + u32::from_be_bytes(*head) as usize);
        if found.is_none_or(|found| frame.len() < found.len()) {
            found = Some(frame);
        }
        capture = rest;
    }
    found.expect("a frame").to_vec()
}

/// Sends requests of OTLP for so long over so many connections, each after the answer to the one before. Returns records per second.
pub(crate) fn send_otlp(to: SocketAddr, connections: usize, length: Duration) -> f64 {
    let sent = AtomicU64::new(0);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for connection in 0..connections {
            let sent = &sent;
            scope.spawn(move || {
                let mut stream = TcpStream::connect(to).expect("a receiver");
                stream.set_nodelay(true).unwrap();
                let mut number = connection as u64 * 1_000_000_000;
                while begun.elapsed() < length {
                    let body = request(number);
                    number += RECORDS;
                    post(&mut stream, "/v1/logs", "application/x-protobuf", &body);
                    sent.fetch_add(RECORDS, Ordering::Relaxed);
                }
            });
        }
    });
    sent.into_inner() as f64 / begun.elapsed().as_secs_f64()
}

/// A request whose records are unlike those of any other.
fn request(number: u64) -> Vec<u8> {
    let text = |text: String| Some(AnyValue { value: Some(Value::StringValue(text)) });
    let attribute =
        |key: &str, value: String| KeyValue { key: key.to_owned(), value: text(value), ..KeyValue::default() };
    let log_records = (number..number + RECORDS).map(|number| LogRecord {
        time_unix_nano: 1_795_831_729_000_000_000 + number,
        severity_number: 9,
        severity_text: "INFO".to_owned(),
        body: text(format!("order {number} was paid and handed over to the warehouse")),
        attributes: vec![
            attribute("customer", format!("c-{:08}", number % 99_991)),
            attribute("code.file.path", "src/orders.rs".to_owned()),
        ],
        ..LogRecord::default()
    });
    let scope = InstrumentationScope { name: "shop::orders".to_owned(), ..InstrumentationScope::default() };
    let scope_logs = vec![ScopeLogs { scope: Some(scope), log_records: log_records.collect(), ..ScopeLogs::default() }];
    ExportLogsServiceRequest { resource_logs: vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }] }
        .encode_to_vec()
}

/// Posts a body and reads the answer, which has a length.
fn post(stream: &mut TcpStream, path: &str, content_type: &str, body: &[u8]) {
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    stream.write_all(&request).expect("a server that reads");
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let read = stream.read(&mut buffer).expect("an answer");
        assert!(read > 0, "the connection was closed");
        answer.extend_from_slice(&buffer[..read]);
        let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 200"), "{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse::<usize>().ok());
        if answer.len() >= end + 4 + length.unwrap_or(0) {
            return;
        }
    }
}

/// The time of a client per record that sends forms as Python's `HTTPHandler` does: a connection each.
pub(crate) fn time_per_form(to: SocketAddr, length: Duration) -> Duration {
    let begun = Instant::now();
    let mut forms = 0;
    while begun.elapsed() < length {
        let mut stream = TcpStream::connect(to).expect("a server");
        stream.set_nodelay(true).unwrap();
        let body = format!(
            "name=shop&msg=order+{forms}+was+paid&args=None&levelname=INFO&levelno=20&pathname=shop.py&lineno=12&created=1795831729.5&process=1"
        );
        post(&mut stream, "/log", "application/x-www-form-urlencoded", body.as_bytes());
        forms += 1;
    }
    begun.elapsed() / forms
}

/// The time of a write of 4 KiB and an fdatasync, to a file that has its bytes already.
pub(crate) fn time_per_sync(length: Duration) -> Duration {
    let dir = tempfile::tempdir_in(".").unwrap();
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(dir.path().join("file")).unwrap();
    file.write_all_at(&vec![1; 16 << 20], 0).unwrap();
    file.sync_all().unwrap();
    let (begun, mut syncs) = (Instant::now(), 0);
    while begun.elapsed() < length {
        file.write_all_at(&[2; 4096], u64::from(syncs) % 4096 * 4096).unwrap();
        file.sync_data().unwrap();
        syncs += 1;
    }
    begun.elapsed() / syncs
}
