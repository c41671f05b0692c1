//! A program in a pseudo-terminal, and what is seen there.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use nix::pty::{Winsize, openpty};

use crate::progress::wait_for;

/// A program that believes that a person sits there. It is killed when this is dropped.
pub struct Terminal {
    program: Child,
    keyboard: File,
    seen: Arc<Mutex<Seen>>,
    reader: Option<JoinHandle<()>>,
}

/// What the program has written, and what that looks like.
struct Seen {
    parser: vt100::Parser,
    bytes: Vec<u8>,
}

impl Terminal {
    /// Starts a program in a session and a terminal of its own.
    pub fn start(program: &Command, columns: u16, rows: u16) -> Self {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).expect("a pseudo-terminal");
        let inner = || File::from(pty.slave.try_clone().expect("a terminal"));
        // Or it would find the terminal of whoever runs the tests.
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(program.get_program()).args(program.get_args());
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let program = command.stdin(inner()).stdout(inner()).stderr(inner()).spawn().expect("a program");
        // The end is seen when nobody has the terminal any more.
        drop((command, pty.slave));
        let keyboard = File::from(pty.master);
        let seen = Arc::new(Mutex::new(Seen { parser: vt100::Parser::new(rows, columns, 0), bytes: Vec::new() }));
        let (mut output, shown) = (keyboard.try_clone().expect("a terminal"), seen.clone());
        let reader = thread::spawn(move || {
            let mut bytes = [0; 4096];
            loop {
                match output.read(&mut bytes) {
                    // Linux calls it an error when the program has ended.
                    Ok(0) | Err(_) => return,
                    Ok(read) => {
                        let mut seen = shown.lock().unwrap_or_else(PoisonError::into_inner);
                        seen.parser.process(&bytes[..read]);
                        seen.bytes.extend_from_slice(&bytes[..read]);
                    }
                }
            }
        });
        Self { program, keyboard, seen, reader: Some(reader) }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is on the screen now.
    pub fn screen(&self) -> String {
        self.lock().parser.screen().contents()
    }

    /// Types something.
    pub fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("the program reads");
    }

    /// Waits until the screen shows something; gives all of it.
    pub fn wait_for(&self, what: &str, shows: impl Fn(&str) -> bool) -> String {
        wait_for(what, || Some(self.screen()).filter(|screen| shows(screen)))
    }

    /// Sends it SIGTERM.
    pub fn terminate(&self) {
        let process = nix::unistd::Pid::from_raw(self.program.id().try_into().expect("a process id"));
        nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGTERM).expect("a process");
    }

    /// Waits for its end: its exit code, and all that it has written.
    pub fn finish(mut self) -> (i32, String) {
        let status = self.program.wait().expect("a program");
        let _ = self.reader.take().map(JoinHandle::join);
        let bytes = self.lock().bytes.clone();
        (status.code().expect("it ends by itself"), String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        match self.program.kill() {
            Err(error) if error.kind() != ErrorKind::InvalidInput => {}
            _ => drop(self.program.wait()),
        }
    }
}
