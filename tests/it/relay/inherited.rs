//! Sockets that a service manager hands over.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::Command;
use std::thread;

use common::{Program, Receiver, run, skip, spool_dir};

use super::client::ask;
use super::message::{JSON, frame, otlp_json};
use super::process::{bare_command, outcome};

/// A keeper of sockets that starts relays with them. `None` without Debian's Python; that is then said.
pub(super) fn keeper(sockets: &[String], relay: &Command) -> Option<Program> {
    const PYTHON: &str = "/usr/bin/python3";
    if let Err(why) = run(Command::new(PYTHON).args(["-c", ""])) {
        skip(&why);
        return None;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("it/relay/keep_sockets.py");
    let mut command = Command::new(PYTHON);
    command.arg(script).args(sockets).arg("--").arg(relay.get_program()).args(relay.get_args());
    Some(Program::start(&mut command))
}

#[test]
fn sockets_that_are_handed_over_serve_what_their_names_say_and_outlive_the_relay() {
    let (receiver, spool, dir) = (Receiver::start(), spool_dir(), spool_dir());
    let unix = |name: &str| dir.path().join(name).to_str().expect("a path of text").to_owned();
    let sockets = [
        "otlp:127.0.0.1:0".to_owned(),
        "tcp:127.0.0.1:0".to_owned(),
        "udp:127.0.0.1:0".to_owned(),
        format!("unix:{}", unix("log.sock")),
        format!("unix-datagram:{}", unix("datagram.sock")),
        "http:127.0.0.1:0".to_owned(),
    ];
    let to = receiver.url("/ingest");
    let spool_path = spool.path().to_str().expect("a path of text");
    let Some(mut keeper) = keeper(&sockets, &bare_command(&[spool_path, "--to", &to])) else { return };
    let addresses: Vec<_> = sockets.iter().map(|_| keeper.line()).collect();
    let address = |at: usize| addresses[at].parse::<SocketAddr>().expect("an address");

    let mut expected = Vec::new();
    for round in 0..3 {
        // Nobody serves the sockets at the moment, and all the same nobody is refused.
        let message = |kind: &str| format!("{kind} {round}");
        let otlp = address(0);
        let body = otlp_json(&[message("otlp")]);
        let asking = thread::spawn(move || ask(otlp, "POST", "/v1/logs", &[JSON], body));
        let (http, text) = (address(5), message("http"));
        let texting = thread::spawn(move || ask(http, "POST", "/", &[("Content-Type", "text/plain")], text));
        let mut tcp = TcpStream::connect(address(1)).expect("the socket is there");
        tcp.write_all(&frame(&message("tcp"))).expect("it is sent");
        let mut stream = UnixStream::connect(unix("log.sock")).expect("the socket is there");
        stream.write_all(&frame(&message("unix"))).expect("it is sent");
        UdpSocket::bind("127.0.0.1:0")
            .expect("a port")
            .send_to(&frame(&message("udp")), address(2))
            .expect("it is sent");
        let datagram = UnixDatagram::unbound().expect("a socket");
        datagram.send_to(&frame(&message("datagram")), unix("datagram.sock")).expect("it is sent");

        keeper.tell("start");
        let said: Vec<_> = sockets.iter().map(|_| keeper.line()).collect();
        for (at, (socket, line)) in sockets.iter().zip(&said).enumerate() {
            let (name, _) = socket.split_once(':').expect("a name");
            assert_eq!(*line, format!("listening on {name} {}", addresses[at]));
        }
        assert_eq!(asking.join().expect("a client").status, 200);
        assert_eq!(texting.join().expect("a client").status, 200);
        expected.extend(["otlp", "tcp", "udp", "unix", "datagram", "http"].map(message));
        let mut delivered = receiver.wait_for_records(expected.len());
        delivered.sort();
        expected.sort();
        assert_eq!(delivered, expected);
        keeper.tell("kill");
        assert_eq!(keeper.line(), "killed");
    }
}

#[test]
fn a_check_names_the_sockets_that_are_handed_over() {
    let spool = spool_dir();
    let dir = spool.path().to_str().expect("a path of text");
    let relay = bare_command(&[dir, "--to", "http://127.0.0.1:9/ingest", "--check"]);
    let sockets = ["http:127.0.0.1:0".to_owned(), "udp:127.0.0.1:0".to_owned()];
    let Some(mut keeper) = keeper(&sockets, &relay) else { return };
    let addresses = [keeper.line(), keeper.line()];
    keeper.tell("start");
    for (name, address) in ["http", "udp"].into_iter().zip(&addresses) {
        assert_eq!(keeper.line(), format!("listens on {name} {address}, which was handed over"));
    }
}

#[test]
fn a_socket_without_a_known_name_is_an_error_that_says_which_names_there_are() {
    let spool = spool_dir();
    let dir = spool.path().to_str().expect("a path of text");
    let mut relay = bare_command(&[dir, "--to", "http://127.0.0.1:9/ingest", "--http", "127.0.0.1:0", "--check"]);
    // Nothing is handed over to a process of another number.
    let (code, out, error) = outcome(relay.env("LISTEN_FDS", "1").env("LISTEN_PID", "1"));
    assert_eq!((code, &*error), (0, ""), "{out}");
    let activate = "/usr/bin/systemd-socket-activate";
    if let Err(why) = run(Command::new(activate).arg("--version")) {
        return skip(&why);
    }
    for check in [&["--check"][..], &[]] {
        names_are_checked(bare_command(&[dir, "--to", "http://127.0.0.1:9/ingest"]).args(check), activate);
    }
}

/// Starts a relay with a socket of a name that is none.
fn names_are_checked(relay: &Command, activate: &str) {
    let port = common::free_port();
    let mut command = Command::new(activate);
    command.args(["--listen", &format!("127.0.0.1:{port}"), "--fdname", "weather"]);
    command.arg(relay.get_program()).args(relay.get_args());
    // It starts the relay when somebody comes.
    let knocking = thread::spawn(move || common::wait_for("a port", || TcpStream::connect(("127.0.0.1", port)).ok()));
    let (code, _, error) = outcome(&mut command);
    drop(knocking.join());
    assert_eq!(code, 2, "{error}");
    assert!(error.contains("\"weather\"") && error.contains("unix-datagram"), "{error}");
}
