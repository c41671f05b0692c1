//! A server that is a program of its own: started, waited for, asked, and ended with the test.

#[cfg(target_os = "linux")]
use std::ffi::OsStr;
#[cfg(target_os = "linux")]
use std::fs;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
#[cfg(target_os = "linux")]
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::progress::{PATIENCE, Progress};

/// Runs a program as a user for whom permissions count, which root is not.
#[cfg(target_os = "linux")]
pub fn without_privileges(program: impl AsRef<OsStr>) -> Command {
    let is_root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    if !is_root {
        return Command::new(program);
    }
    let dropped = "-dac_override,-dac_read_search,-fowner";
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set", dropped, "--inh-caps", dropped]).arg(program);
    command
}

/// Sends a program that does not watch its input this signal when the input of this ends: when the test is done with it, or
/// was killed.
const END_WITH_THE_INPUT: &str = r#"signal=$0; "$@" & cat > /dev/null; kill -"$signal" $!; wait"#;

/// A program that runs until this is dropped.
pub struct Program {
    process: Child,
    stdin: Option<ChildStdin>,
    lines: mpsc::Receiver<String>,
}

impl Program {
    /// Starts a program that ends with its input.
    pub fn start(command: &mut Command) -> Self {
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a program that is installed");
        let stdout = BufReader::new(process.stdout.take().expect("a pipe"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let stdin = process.stdin.take();
        Self { process, stdin, lines }
    }

    /// Starts a program that is ended by a signal. What it says goes to the file `log`.
    pub fn keep(signal: &str, command: &Command, log: &Path) -> Self {
        let log = File::create(log).expect("a file");
        let mut keeper = Command::new("sh");
        keeper.args(["-c", END_WITH_THE_INPUT, signal]).arg(command.get_program()).args(command.get_args());
        keeper.stdin(Stdio::piped()).stdout(log.try_clone().expect("a file")).stderr(log);
        let mut process = keeper.spawn().expect("a shell");
        let (stdin, (_, lines)) = (process.stdin.take(), mpsc::channel());
        Self { process, stdin, lines }
    }

    /// The next line that it prints.
    pub fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("the program says something")
    }

    /// Sends it a line.
    pub fn tell(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().expect("a program that runs"), "{line}").expect("the program listens");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.process.wait();
    }
}

/// A port of this machine that nobody uses; none of those that the system itself gives away.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = fastrand::u16(..);
    let ports = 20_000..32_000;
    let _ = NEXT.compare_exchange(0, first, Ordering::Relaxed, Ordering::Relaxed);
    let mut candidates =
        std::iter::repeat_with(|| ports.start + NEXT.fetch_add(1, Ordering::Relaxed) % (ports.end - ports.start));
    candidates.find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()).expect("a free port")
}

/// Waits until connections to a port are accepted.
pub fn wait_for_port(port: u16, log: &Path) {
    let said = || std::fs::read_to_string(log).unwrap_or_default();
    // Its output shows how far it has come.
    let mut progress = Progress::new();
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        assert!(progress.at(said().len()).is_some(), "nobody listens at {port}: {}", said());
        thread::sleep(Duration::from_millis(5));
    }
}

/// Sends a request to a URL of this machine; gives the response's status and body.
pub fn ask(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, String) {
    let (host, path) = url.strip_prefix("http://").and_then(|url| url.split_once('/')).expect("a URL with a path");
    // In HTTP/1.0 the response ends with the connection; some servers have to be told so.
    let head =
        format!("{method} /{path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    let headers: Vec<_> = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request = format!("{head}{}\r\n", headers.concat());
    let mut connection = TcpStream::connect(host).expect("somebody listens");
    connection.set_read_timeout(Some(PATIENCE)).expect("a limit");
    connection.write_all(&[request.as_bytes(), body].concat()).expect("a request is taken");
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).expect("an answer");
    let answer = String::from_utf8(answer).expect("an answer is text");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, body.to_owned())
}
