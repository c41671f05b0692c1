//! A child process to be killed: this same test binary, running one of its ignored tests.

use std::env;
use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{self, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::thread;

use super::receiver::PATIENCE;

/// Marks the child's lines among what the test harness prints.
const MARK: &str = "@@ ";

/// Where a child's exporter sends its records, and where its spool is.
pub fn settings<'a>(endpoint: &'a str, spool: &'a Path) -> [(&'a str, &'a OsStr); 2] {
    [("SPOOL_TEST_ENDPOINT", endpoint.as_ref()), ("SPOOL_TEST_DIR", spool.as_ref())]
}

/// The parent's end. The child is killed when this is dropped, and ends itself when the parent is gone.
pub struct Child {
    process: process::Child,
    stdin: Option<ChildStdin>,
    lines: mpsc::Receiver<String>,
}

impl Child {
    /// Starts the ignored test `test` in a process of its own, with these environment variables.
    pub fn start<'a>(test: &str, settings: impl IntoIterator<Item = (&'a str, &'a OsStr)>) -> Self {
        Self::start_by(Command::new(Self::program()), test, settings)
    }

    /// The path of this test binary.
    pub fn program() -> PathBuf {
        env::current_exe().expect("the path of this test binary")
    }

    /// The same by a command that runs [`program`](Self::program) in some way.
    pub fn start_by<'a>(
        mut command: Command,
        test: &str,
        settings: impl IntoIterator<Item = (&'a str, &'a OsStr)>,
    ) -> Self {
        let mut process = command
            // More than one thread, or the harness prints the test's name on the line where the child's first begins.
            .args(["--ignored", "--exact", test, "--nocapture", "--test-threads=2"])
            .envs(settings)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child process");
        let (sender, lines) = mpsc::channel();
        let stdout = BufReader::new(process.stdout.take().expect("a pipe"));
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if let Some(at) = line.find(MARK)
                    && sender.send(line[at + MARK.len()..].to_owned()).is_err()
                {
                    return;
                }
            }
        });
        let stdin = process.stdin.take();
        Self { process, stdin, lines }
    }

    /// Sends the child a line.
    pub fn tell(&mut self, command: &str) {
        let stdin = self.stdin.as_mut().expect("a child that is not finished");
        writeln!(stdin, "{command}").expect("the child listens");
    }

    /// Waits for the child to say a line that begins with `word`; gives the rest of it.
    pub fn wait_for(&mut self, word: &str) -> String {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    if let Some(rest) = line.strip_prefix(word) {
                        return rest.trim().to_owned();
                    }
                }
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("waited {PATIENCE:?} in vain for {word:?}"),
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    panic!("the child ended ({:?}) before it said {word:?}", self.process.wait());
                }
            }
        }
    }

    /// Kills the child with SIGKILL; gives the lines that it had said and nobody had waited for.
    pub fn kill(mut self) -> Vec<String> {
        if let Some(status) = self.process.try_wait().expect("a child process") {
            panic!("the child was to be killed, but had already ended: {status}");
        }
        self.process.kill().expect("a child that can be killed");
        self.process.wait().expect("a child process");
        self.lines.iter().collect()
    }

    /// Waits for the child to end by itself, once it has nothing more to read.
    pub fn finish(mut self) {
        drop(self.stdin.take());
        // Until the end, or the child could block on a full pipe.
        let said: Vec<String> = self.lines.iter().collect();
        let status = self.process.wait().expect("a child process");
        assert!(status.success(), "the child failed: {status}; it had said {said:#?}");
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// In the child: a setting from the parent.
pub fn setting(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("this is a child process's part: it needs {name} from its parent"))
}

/// In the child: says a line, at once.
pub fn say(line: &str) {
    let mut stdout = io::stdout().lock();
    stdout.write_all(format!("{MARK}{line}\n").as_bytes()).and_then(|()| stdout.flush()).expect("the parent listens");
}

/// In the child: what the parent tells, until it has nothing more to tell or is gone.
pub fn commands() -> impl Iterator<Item = String> {
    io::stdin().lines().map_while(Result::ok)
}

/// In a child that takes no commands: ends it when the parent is gone.
pub fn end_with_the_parent() {
    thread::spawn(|| {
        commands().for_each(drop);
        process::exit(1);
    });
}
