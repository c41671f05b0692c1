//! A client that runs, and what it has said so far.

use std::collections::{BTreeSet, VecDeque};
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use common::Progress;
use serde_json::Value;

/// What a client has said: `tests/clients/steps.py` explains it.
#[derive(Default)]
pub(super) struct Said {
    pub(super) is_ready: bool,
    pub(super) sent: usize,
    pub(super) told: BTreeSet<usize>,
    pub(super) last: Value,
    pub(super) has_ended: bool,
    errors: VecDeque<String>,
}

impl Said {
    pub(super) fn line(&mut self, line: &str) {
        match line.split_once(' ') {
            Some(("sent", _)) => self.sent += 1,
            Some(("told", number)) => {
                self.told.insert(number.parse().expect("a number"));
            }
            Some(("last", known)) => self.last = serde_json::from_str(known).expect("JSON"),
            None if line == "ready" => self.is_ready = true,
            None if line == "end" => self.has_ended = true,
            _ => self.error(line),
        }
    }

    /// Keeps the end of what it prints as errors.
    fn error(&mut self, line: &str) {
        self.errors.push_back(line.to_owned());
        if self.errors.len() > 40 {
            self.errors.pop_front();
        }
    }
}

/// Listens to a client.
type Ears = Arc<Mutex<Said>>;

fn lock(ears: &Mutex<Said>) -> MutexGuard<'_, Said> {
    ears.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A client that runs in a process or on a thread of its own. A process is killed when this is dropped.
pub(super) struct Process {
    pub(super) name: String,
    ears: Ears,
    tell: Box<dyn FnMut(&str)>,
    child: Option<Child>,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    /// Starts a program.
    pub(super) fn start(name: &str, command: &mut Command) -> Self {
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = pipes.spawn().expect("a client that is installed");
        let ears = Ears::default();
        let said = (Arc::clone(&ears), BufReader::new(child.stdout.take().expect("a pipe")));
        let errors = (Arc::clone(&ears), BufReader::new(child.stderr.take().expect("a pipe")));
        let readers = vec![
            thread::spawn(move || said.1.lines().map_while(Result::ok).for_each(|line| lock(&said.0).line(&line))),
            thread::spawn(move || errors.1.lines().map_while(Result::ok).for_each(|line| lock(&errors.0).error(&line))),
        ];
        let mut stdin = child.stdin.take().expect("a pipe");
        let tell = Box::new(move |line: &str| writeln!(stdin, "{line}").expect("the client listens"));
        Self { name: name.to_owned(), ears, tell, child: Some(child), readers }
    }

    /// Starts a thread. It is given where to say something, and what it is told.
    pub(super) fn thread(
        name: &str,
        run: impl FnOnce(&dyn Fn(&str), &mpsc::Receiver<String>) + Send + 'static,
    ) -> Self {
        let ears = Ears::default();
        let (sender, told) = mpsc::channel();
        let said = Arc::clone(&ears);
        let readers = vec![thread::spawn(move || run(&|line| lock(&said).line(line), &told))];
        let tell = Box::new(move |line: &str| sender.send(line.to_owned()).expect("the client listens"));
        Self { name: name.to_owned(), ears, tell, child: None, readers }
    }

    pub(super) fn tell(&mut self, line: &str) {
        (self.tell)(line);
    }

    pub(super) fn look<T>(&self, look: impl FnOnce(&Said) -> T) -> T {
        look(&lock(&self.ears))
    }

    /// Waits for the end of a client that has said that it ends. Gives what it has said.
    pub(super) fn end(mut self) -> Said {
        if let Some(child) = &mut self.child {
            let status = child.wait().expect("a child process");
            assert!(status.success(), "{}: {status}", self.name);
        }
        for reader in self.readers.drain(..) {
            reader.join().expect("a thread that does not panic");
        }
        std::mem::take(&mut *lock(&self.ears))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Waits until this is true of each client, as long as any of them gets on.
pub(super) fn wait_for_each(clients: &[Process], what: &str, is_so: impl Fn(&Process, &Said) -> bool) {
    let mut progress = Progress::new();
    loop {
        let late: Vec<_> = clients.iter().filter(|client| !client.look(|said| is_so(client, said))).collect();
        if late.is_empty() {
            return;
        }
        let figure: usize = clients.iter().map(|client| client.look(|said| said.sent + said.told.len())).sum();
        if progress.at((figure, late.len())).is_none() {
            let late: Vec<_> =
                late.iter().map(|client| (&client.name, client.look(|said| said.errors.clone()))).collect();
            panic!("{what} is waited for in vain: {late:#?}");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// A program of `tests/clients`.
pub(super) fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(name)
}
