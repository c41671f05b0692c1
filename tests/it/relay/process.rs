//! `otel-spool relay` in a process of its own.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use common::{PATIENCE, emulated};

/// The options that name a socket. The command says a line of each.
const SOCKETS: [&str; 7] = ["--tcp", "--udp", "--unix", "--unix-datagram", "--http", "--otlp", "--status"];

/// The command, with the spool's directory and where it sends.
pub(super) fn command(spool: &Path, to: &str, args: &[&str]) -> Command {
    let mut command = bare_command(&["--to", to]);
    command.arg(spool).args(args);
    command
}

/// The command, without a directory.
pub(super) fn bare_command(args: &[&str]) -> Command {
    let mut command = tool();
    command.arg("relay").args(args);
    command
}

/// `otel-spool`.
pub(super) fn tool() -> Command {
    let mut command = emulated(Command::new(env!("CARGO_BIN_EXE_spool-test-tool")));
    command.stdin(Stdio::null());
    command
}

/// Runs a command that ends by itself. Gives its exit code, and what it prints as output and as errors.
pub(super) fn outcome(command: &mut Command) -> (i32, String, String) {
    let process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a process");
    let id = process.id().to_string();
    // One that goes on for ever fails the test, and does not keep it.
    let (sender, ended) = mpsc::channel();
    let waiting = thread::spawn(move || sender.send(process.wait_with_output().expect("a process")));
    let output = ended.recv_timeout(PATIENCE).unwrap_or_else(|_| {
        let _ = common::run(Command::new("kill").args(["-KILL", &id]));
        panic!("{command:?} does not end");
    });
    let _ = waiting.join();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().expect("it ends by itself"), text(&output.stdout), text(&output.stderr))
}

/// A relay that runs. It is killed when this is dropped.
pub(super) struct Running {
    process: Child,
    lines: Vec<String>,
    error: Option<JoinHandle<String>>,
}

impl Running {
    /// Starts a relay and waits until it listens.
    pub(super) fn start(spool: &Path, to: &str, args: &[&str]) -> Self {
        let sockets = args.iter().filter(|arg| SOCKETS.contains(arg)).count();
        Self::of(command(spool, to, args), sockets)
    }

    /// The same of a command that listens on so many sockets.
    pub(super) fn of(mut command: Command, sockets: usize) -> Self {
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a process");
        let stdout = BufReader::new(process.stdout.take().expect("a pipe"));
        let mut stderr = process.stderr.take().expect("a pipe");
        let error = thread::spawn(move || {
            let mut text = Vec::new();
            let _ = stderr.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        let (sender, said) = mpsc::channel();
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut running = Self { process, lines: Vec::new(), error: Some(error) };
        for _ in 0..sockets {
            match said.recv_timeout(PATIENCE) {
                Ok(line) => running.lines.push(line),
                Err(_) => panic!("the relay does not listen: {}", running.kill()),
            }
        }
        running
    }

    /// The address of the first listener of this name, or of the status page.
    pub(super) fn address(&self, name: &str) -> SocketAddr {
        let listening = format!("listening on {name} ");
        let address = self.lines.iter().find_map(|line| match name {
            "status" => line.strip_prefix("status at http://")?.strip_suffix('/'),
            _ => line.strip_prefix(&listening),
        });
        address.and_then(|address| address.parse().ok()).unwrap_or_else(|| panic!("no {name} in {:?}", self.lines))
    }

    /// Kills it with SIGKILL. Gives what it had printed as errors.
    pub(super) fn kill(mut self) -> String {
        let _ = self.process.kill();
        let _ = self.process.wait();
        self.error.take().and_then(|error| error.join().ok()).unwrap_or_default()
    }

    /// Ends it with a signal such as `TERM`. Gives its exit code and what it had printed as errors.
    pub(super) fn end(mut self, signal: &str) -> (Option<i32>, String) {
        self.signal(signal);
        let status = self.process.wait().expect("a child process");
        (status.code(), self.error.take().and_then(|error| error.join().ok()).unwrap_or_default())
    }

    pub(super) fn signal(&self, signal: &str) {
        let id = self.process.id().to_string();
        common::run(Command::new("kill").arg(format!("-{signal}")).arg(id)).expect("a signal");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
