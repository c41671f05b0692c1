//! A child process, to be killed: the program `spool-test-child`, which does what `children` holds under a name.

use std::env;
use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{self, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use opentelemetry_spool::SpoolHandle;

use crate::progress::PATIENCE;

/// Where a child's exporter sends its records, and where its spool is.
pub fn settings<'a>(endpoint: &'a str, spool: &'a Path) -> [(&'a str, &'a OsStr); 2] {
    [("SPOOL_CHILD_ENDPOINT", endpoint.as_ref()), ("SPOOL_CHILD_DIR", spool.as_ref())]
}

/// Has a program of the tests run by the emulator that `SPOOL_TEST_RUNNER` names: one in which the tests themselves run emulates
/// no process that they start.
pub fn emulated(program: Command) -> Command {
    let Ok(runner) = env::var("SPOOL_TEST_RUNNER") else { return program };
    let mut words = runner.split(' ');
    let mut command = Command::new(words.next().expect("a program"));
    command.args(words).arg(program.get_program()).args(program.get_args());
    command
}

/// The parent's end. The child is killed when this is dropped, and ends itself when the parent is gone.
pub struct Child {
    process: process::Child,
    stdin: Option<ChildStdin>,
    lines: mpsc::Receiver<String>,
}

impl Child {
    /// Starts `program`, which is `spool-test-child` or a command that runs it, as the child `name`, with these environment
    /// variables.
    pub fn start<'a>(program: Command, name: &str, settings: impl IntoIterator<Item = (&'a str, &'a OsStr)>) -> Self {
        let mut process = emulated(program)
            .arg(name)
            .envs(settings)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child process");
        let (sender, lines) = mpsc::channel();
        let stdout = BufReader::new(process.stdout.take().expect("a pipe"));
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let stdin = process.stdin.take();
        Self { process, stdin, lines }
    }

    /// Sends the child a line.
    pub fn tell(&mut self, command: &str) {
        let stdin = self.stdin.as_mut().expect("a child that is not finished");
        writeln!(stdin, "{command}").expect("the child listens");
    }

    /// Waits for the child to say a line that begins with `word`, as long as it says anything; gives the rest of it.
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

    /// The lines that it has said and nobody has waited for.
    pub fn unheard(&self) -> Vec<String> {
        self.lines.try_iter().collect()
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

/// In the child: a setting from the parent, without what every one's name begins with.
pub(crate) fn setting(name: &str) -> String {
    env::var(format!("SPOOL_CHILD_{name}")).unwrap_or_else(|_| panic!("the parent sets no SPOOL_CHILD_{name}"))
}

/// In the child: the same, with a default.
pub(crate) fn setting_or(name: &str, default: &str) -> String {
    env::var(format!("SPOOL_CHILD_{name}")).unwrap_or_else(|_| default.to_owned())
}

/// In the child: says a line, at once. Without a parent that listens, the child ends.
pub(crate) fn say(line: &str) {
    let mut stdout = io::stdout().lock();
    if stdout.write_all(format!("{line}\n").as_bytes()).and_then(|()| stdout.flush()).is_err() {
        process::exit(1);
    }
}

/// In the child: what the parent tells, until it has nothing more to tell or is gone.
pub(crate) fn commands() -> impl Iterator<Item = String> {
    io::stdin().lines().map_while(Result::ok)
}

/// In a child that takes no commands: ends it when the parent is gone.
pub(crate) fn end_with_the_parent() {
    thread::spawn(|| {
        commands().for_each(drop);
        process::exit(1);
    });
}

/// In the child: says so while records move, so that the parent waits as long as they do.
pub(crate) fn tell_what_moves(handle: &SpoolHandle) {
    let handle = handle.clone();
    thread::spawn(move || {
        let mut seen = None;
        loop {
            thread::sleep(Duration::from_secs(1));
            let stats = handle.stats();
            let now = Some((stats.accepted_records, stats.pending_records));
            if seen != now {
                seen = now;
                say("...");
            }
        }
    });
}
