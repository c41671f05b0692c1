//! Who takes records in: the relay in a process of its own, and what it is compared with.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use opentelemetry_spool::Listener;
use tempfile::TempDir;

/// Takes frames in, and says how many it has put where it puts them.
pub(crate) trait Receiver {
    fn frames(&self) -> SocketAddr;
    fn taken(&mut self) -> u64;
}

/// A process that tells numbers when it is asked.
struct Talking {
    child: Child,
    asks: ChildStdin,
    tells: BufReader<ChildStdout>,
    _dir: TempDir,
}

impl Talking {
    fn start(mut command: Command, dir: TempDir) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a process");
        let (asks, tells) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, asks, tells, _dir: dir }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.tells.read_line(&mut line).expect("a line");
        line
    }

    fn ask(&mut self) -> u64 {
        self.asks.write_all(b"\n").expect("a process that listens");
        self.line().trim().parse().expect("a number")
    }
}

impl Drop for Talking {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// On the disk, not in memory: it is synced to.
fn scratch() -> TempDir {
    tempfile::tempdir_in(".").expect("a directory")
}

pub(crate) struct Relay {
    process: Talking,
    frames: SocketAddr,
    http: SocketAddr,
}

impl Relay {
    pub(crate) fn start() -> Self {
        let dir = scratch();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("serve").arg(dir.path());
        let mut process = Talking::start(command, dir);
        let mut address = || process.line().trim().parse().expect("an address");
        let (frames, http) = (address(), address());
        Self { process, frames, http }
    }

    pub(crate) fn http(&self) -> SocketAddr {
        self.http
    }

    pub(crate) fn peak_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }
}

impl Receiver for Relay {
    fn frames(&self) -> SocketAddr {
        self.frames
    }

    fn taken(&mut self) -> u64 {
        self.process.ask()
    }
}

/// The relay's own process: it prints its addresses, and what it has committed when it is asked. Its endpoint takes nothing.
pub(crate) fn serve(args: &[String]) {
    let local = SocketAddr::from(([127, 0, 0, 1], 0));
    let relay = opentelemetry_spool::Relay::builder()
        .with_spool_dir(&args[0])
        .with_endpoint("http://127.0.0.1:9")
        .with_max_spool_bytes(64 << 30)
        .with_listener(Listener::Tcp(local))
        .with_listener(Listener::Otlp(local))
        .build()
        .expect("a relay");
    relay.logs().pause();
    for address in relay.addresses() {
        println!("{address}");
    }
    for _ in std::io::stdin().lines() {
        let stats = relay.logs().stats();
        assert_eq!(stats.lost_records, 0, "the relay has lost records");
        println!("{}", stats.accepted_records);
    }
}

pub(crate) struct Cookbook {
    process: Talking,
    port: u16,
}

impl Cookbook {
    pub(crate) fn start() -> Self {
        let dir = scratch();
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("relay/cookbook.py");
        let mut command = Command::new("python3");
        command.arg(script).arg(dir.path().join("log"));
        let mut process = Talking::start(command, dir);
        let port = process.line().trim().parse().expect("a port");
        Self { process, port }
    }
}

impl Receiver for Cookbook {
    fn frames(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    fn taken(&mut self) -> u64 {
        self.process.ask()
    }
}

pub(crate) struct Rotel {
    child: Child,
    address: SocketAddr,
    _dir: TempDir,
}

impl Rotel {
    /// None if it is not installed.
    pub(crate) fn start() -> Option<Self> {
        let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "../target".to_owned());
        // Where it is depends on the version of Python.
        let python = std::fs::read_dir(format!("{target}/receivers/rotel/lib")).ok()?.next()?.ok()?.path();
        let port = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (address, other, dir) = (port(), port(), scratch());
        let child = Command::new(python.join("site-packages/rotel/rotel-agent"))
            .args(["start", "--exporter", "blackhole", "--otlp-http-endpoint", &address.to_string()])
            .args(["--otlp-grpc-endpoint", &other.to_string()])
            .arg("--pid-file")
            .arg(dir.path().join("pid"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        while TcpStream::connect(address).is_err() {
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(Self { child, address, _dir: dir })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Rotel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server that answers each request at once, and keeps nothing.
pub(crate) fn answer_at_once() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let mut buffer = [0; 16 << 10];
            // A client sends one request and waits.
            while let Ok(1..) = stream.read(&mut buffer) {
                if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").is_err() {
                    break;
                }
            }
        }
    });
    address
}
