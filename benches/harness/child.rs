//! The child processes: this program again, in another role. Orders go to their standard input, reports come from their
//! standard output, a line of JSON each. A child ends when its input does, so none outlives a parent that was killed.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Lines, StdinLock, Write};
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use opentelemetry_spool::BoxError;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The role of the process that counts; every other role is the name of a system.
pub(crate) const RECEIVER: &str = "receiver";

/// How long a child may take for what takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// The load begins at this time, in microseconds since the epoch.
    Begin(u64),
    /// Say what is left to say, and end.
    End,
}

/// A report of a child; the last one is its role's own.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Told<T> {
    /// It is ready to begin; the receiver says at which port, all others 0.
    Ready(u16),
    /// How many records it has seen by this tick.
    Tick(usize, u64),
    Done(T),
}

/// A child, seen from the parent. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Child<T> {
    process: std::process::Child,
    orders: ChildStdin,
    told: Receiver<Told<T>>,
    role: String,
}

impl<T: DeserializeOwned + Send + 'static> Child<T> {
    /// Starts this program again with the same options and some more.
    pub(crate) fn start<A: AsRef<OsStr>>(role: &str, more: impl IntoIterator<Item = A>) -> Result<Self, BoxError> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(std::env::args_os().skip(1))
            .args(["--role", role])
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C is the parent's: it ends its children.
            .process_group(0)
            .spawn()?;
        let orders = process.stdin.take().ok_or("no standard input")?;
        let output = BufReader::new(process.stdout.take().ok_or("no standard output")?);
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let Ok(line) = serde_json::from_str(&line) else { return };
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { process, orders, told, role: role.to_owned() })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Waits until it is ready; returns its port.
    pub(crate) fn ready(&self) -> Result<u16, BoxError> {
        match self.told.recv_timeout(PATIENCE) {
            Ok(Told::Ready(port)) => Ok(port),
            _ => Err(format!("the process {} did not start", self.role).into()),
        }
    }

    pub(crate) fn order(&mut self, order: &Order) -> Result<(), BoxError> {
        writeln!(self.orders, "{}", serde_json::to_string(order)?)?;
        Ok(())
    }

    /// Enters what it said so far into `seen`, by tick; returns its last words once they were said.
    pub(crate) fn hear(&self, seen: &mut Vec<u64>) -> Result<Option<T>, BoxError> {
        loop {
            match self.told.recv_timeout(Duration::ZERO) {
                Ok(Told::Tick(tick, records)) => {
                    // A tick that it was too busy for saw what the one before did.
                    let last = seen.last().copied().unwrap_or(0);
                    seen.resize(tick, last);
                    seen.push(records);
                }
                Ok(Told::Done(words)) => return Ok(Some(words)),
                Ok(Told::Ready(_)) => {}
                Err(RecvTimeoutError::Timeout) => return Ok(None),
                Err(RecvTimeoutError::Disconnected) => return Err(format!("the process {} died", self.role).into()),
            }
        }
    }

    /// Orders it to end and waits for its last words.
    pub(crate) fn last_words(&mut self, seen: &mut Vec<u64>) -> Result<T, BoxError> {
        self.order(&Order::End)?;
        let (mut moved, mut last) = (Instant::now(), None);
        while moved.elapsed() < PATIENCE {
            if let Some(words) = self.hear(seen)? {
                return Ok(words);
            }
            if last != seen.last().copied() {
                (moved, last) = (Instant::now(), seen.last().copied());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err(format!("the process {} does not end", self.role).into())
    }

    /// Orders it to end and waits until it has.
    pub(crate) fn end(&mut self) -> Result<(), BoxError> {
        self.order(&Order::End)?;
        for _ in 0..PATIENCE.as_millis() / 10 {
            if self.process.try_wait()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err(format!("the process {} does not end", self.role).into())
    }
}

impl<T> Drop for Child<T> {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Says something to the parent.
pub(crate) fn tell<T: Serialize>(told: &Told<T>) {
    let line = serde_json::to_string(told).expect("plain data");
    // Nobody is left to tell it to: nothing is left to do.
    if writeln!(std::io::stdout().lock(), "{line}").is_err() {
        std::process::exit(1);
    }
}

/// The orders of the parent.
pub(crate) struct Orders(Lines<StdinLock<'static>>);

impl Orders {
    pub(crate) fn new() -> Self {
        Self(std::io::stdin().lines())
    }

    /// Waits for the next order; without a parent this process ends.
    pub(crate) fn next(&mut self) -> Order {
        let line = self.0.next().and_then(Result::ok);
        line.and_then(|line| serde_json::from_str(&line).ok()).unwrap_or_else(|| std::process::exit(1))
    }
}
