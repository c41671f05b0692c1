//! An application of `application.py` or `application.cjs`, in the server that it is run by.

use std::collections::HashSet;

use super::*;

/// The largest body that they take.
pub(super) const MAX_BYTES: usize = 20_000;

/// A server with its application.
pub(super) struct Application {
    _program: Program,
    dir: TempDir,
    port: u16,
}

impl Application {
    /// Starts a server. `command` gives the program and its arguments for a port.
    pub(super) fn start(command: impl FnOnce(u16) -> Vec<String>) -> Self {
        let (dir, port) = (spool_dir(), free_port());
        let mut server = Command::new("env");
        server.arg(format!("STORE={}", dir.path().join("store").display()));
        server.arg(format!("HOME={}", dir.path().display()));
        server.arg(format!("PYTHONPATH={}", script("").display()));
        // Nothing is written beside the source.
        server.arg("PYTHONDONTWRITEBYTECODE=1").args(command(port));
        let log = dir.path().join("log");
        let program = Program::keep("TERM", &server, &log);
        wait_for_port(port, &log);
        Self { _program: program, dir, port }
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/ingest", self.port)
    }

    /// The messages that it took, in order, each `Idempotency-Key` once.
    pub(super) fn stored(&self) -> Vec<String> {
        let store = fs::read_to_string(self.dir.path().join("store")).unwrap_or_default();
        let requests = store.lines().map(|line| serde_json::from_str(line).expect("a request"));
        let mut keys = HashSet::new();
        let first: Vec<(String, Vec<String>)> =
            requests.filter(|(key, _): &(String, _)| keys.insert(key.clone())).collect();
        first.into_iter().flat_map(|(_, messages)| messages).collect()
    }
}
