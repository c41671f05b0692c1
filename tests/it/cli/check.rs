//! `otel-spool check`: a table of broken setups, each with its first failure and exit code; setups that are well; and that nothing
//! is written.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::SystemTime;

use common::{free_port, skip, without_privileges};

use super::*;

/// What would otherwise lead somewhere else.
const PROXIES: [&str; 8] =
    ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"];

/// Patience with a loaded machine, where none is meant to run out.
const PATIENT: (&str, &str) = ("OTEL_EXPORTER_SPOOL_CONNECT_TIMEOUT", "10m");

/// The variables of a service, and what is typed.
#[derive(Clone, Default)]
struct Setup {
    variables: Vec<(String, String)>,
    args: Vec<String>,
    /// Permissions count, which they do not for root.
    unprivileged: bool,
}

impl Setup {
    /// A service whose records go to this URL.
    fn to(url: &str, dir: &Path) -> Self {
        let dir = dir.join("spool");
        let setup = Self::default().with("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", url);
        setup.with("OTEL_EXPORTER_SPOOL_DIR", dir.to_str().expect("text")).with(PATIENT.0, PATIENT.1)
    }

    /// The same in the format of records, whatever the path.
    fn json_to(url: &str, dir: &Path) -> Self {
        Self::to(url, dir).with("OTEL_EXPORTER_SPOOL_FORMAT", "json")
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    fn typed(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    fn send(self) -> Self {
        self.typed(&["--send"])
    }

    fn command(&self, form: &[&str]) -> Command {
        let program = tool(["check"]);
        let mut command = if self.unprivileged {
            let mut without = without_privileges(program.get_program());
            without.args(program.get_args()).stdin(Stdio::null());
            without
        } else {
            program
        };
        command.args(form).args(&self.args).envs(self.variables.iter().map(|(name, value)| (name, value)));
        let is_given = |name: &str| self.variables.iter().any(|(given, _)| given == name);
        let of_sdk = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        let of_sdk = of_sdk.filter(|name| name.starts_with("OTEL_"));
        of_sdk.chain(PROXIES.map(str::to_owned)).filter(|name| !is_given(name)).for_each(|name| {
            command.env_remove(name);
        });
        command
    }

    fn run(&self, form: &[&str]) -> (i32, String, String) {
        outcome(&self.command(form).output().expect("the tool runs"))
    }

    /// The exit code and the steps of the only signal.
    fn steps(&self) -> (i32, Vec<Value>) {
        let (code, out, error) = self.run(&["--json"]);
        assert_eq!(error, "", "{out}");
        let checks = document(&out)["checks"].as_array().expect("checks").clone();
        assert_eq!(checks.len(), 1, "{out}");
        (code, checks[0]["steps"].as_array().expect("steps").clone())
    }
}

fn line(step: &Value) -> String {
    let text = |key: &str| step[key].as_str().unwrap_or_default().to_owned();
    format!("{}: {}", text("step"), text("text"))
}

/// A setup, its exit code, how the line of its first failure begins, and a part of what to do.
struct Broken {
    what: &'static str,
    setup: Setup,
    code: i32,
    line: String,
    remedy: &'static str,
}

fn broken(what: &'static str, setup: Setup, code: i32, line: impl Into<String>, remedy: &'static str) -> Broken {
    Broken { what, setup, code, line: line.into(), remedy }
}

/// Checks every row and then fails with all that are not as expected.
fn expect(rows: Vec<Broken>) {
    let mut wrong = String::new();
    for Broken { what, setup, code, line: expected, remedy } in rows {
        let (found, steps) = setup.steps();
        let failed = steps.iter().find(|step| step["result"] == "failed");
        let said = failed.map(line).unwrap_or_default();
        let advised = failed.and_then(|step| step["remedy"].as_str()).unwrap_or_default();
        if found != code || !said.starts_with(&expected) || !advised.contains(remedy) {
            let _ = writeln!(
                wrong,
                "{what}: {found}, not {code}\n  said     {said}\n  expected {expected}\n  advised  {advised}\n  expected {remedy}"
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// A server that answers everything so.
fn answering(answer: Answer) -> Receiver {
    let receiver = Receiver::start();
    receiver.answer_always(answer);
    receiver
}

const CREDENTIALS: &str = "give credentials that are valid";

#[test]
fn each_wrong_answer_of_a_server_is_explained() {
    let dir = spool_dir();
    let row = |what, receiver: &Receiver, path, code, line: &str, remedy| {
        broken(what, Setup::json_to(&receiver.url(path), dir.path()).send(), code, line, remedy)
    };
    let status = |status: u16, body: &str| answering(Answer::status(status).body(body));
    let (missing, expired, no_type, no_json) = (
        status(404, "404 page not found"),
        status(401, "the token has expired"),
        status(415, "unsupported media type"),
        status(400, "no field `x`"),
    );
    let (down, busy, moved) = (
        status(503, "no healthy upstream"),
        answering(Answer::status(429).header("retry-after", "7")),
        answering(Answer::status(301).header("location", "/elsewhere")),
    );
    let off = answering(Answer::ok().header("date", "Sun, 06 Nov 1994 08:49:37 GMT"));
    let tls_only = status(400, "Client sent an HTTP request to an HTTPS server.\n");
    let hanging = answering(Answer::hang());
    let partial = answering(
        Answer::ok().body(r#"{"partialSuccess":{"rejectedLogRecords":"1","errorMessage":"no such tenant"}}"#),
    );
    let otlp = |receiver: &Receiver| {
        Setup::to(&receiver.url("/v1/logs"), dir.path()).with("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json").send()
    };
    let responded = "response: the server responded with";
    expect(vec![
        row(
            "wrong path",
            &missing,
            "/v1/log",
            3,
            &format!("{responded} 404: 404 page not found"),
            "correct the path in OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
        ),
        row("expired token", &expired, "/in", 3, &format!("{responded} 401: the token has expired"), CREDENTIALS),
        row(
            "wrong content type",
            &no_type,
            "/in",
            1,
            &format!("{responded} 415"),
            "records are sent as application/json",
        ),
        row("wrong format", &no_json, "/in", 1, &format!("{responded} 400"), "OTEL_EXPORTER_SPOOL_FORMAT"),
        row("a server without a backend", &down, "/in", 3, &format!("{responded} 503: no healthy upstream"), "later"),
        row("a server that is busy", &busy, "/in", 3, &format!("{responded} 429"), "later"),
        row("a redirect", &moved, "/in", 3, &format!("{responded} 301"), "redirects are not followed"),
        row("a clock that is off", &off, "/in", 1, "clock: this machine is ", "synchronized"),
        broken(
            "http to a port with TLS that says so",
            Setup::json_to(&tls_only.url("/in"), dir.path()).send(),
            3,
            format!("{responded} 400: Client sent an HTTP request to an HTTPS server."),
            "write https:// in OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
        ),
        broken(
            "an endpoint that hangs",
            Setup::json_to(&hanging.url("/in"), dir.path()).with("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", "1s").send(),
            3,
            format!("response: no response from {} within 1s", host(&hanging.url(""))),
            "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT",
        ),
        broken("a partial success", otlp(&partial), 1, format!("{responded} 200: no such tenant"), "what it says"),
    ]);
}

#[test]
fn a_server_that_takes_another_path_format_or_protocol_is_explained() {
    let dir = spool_dir();
    let spool = dir.path().join("spool").to_str().expect("text").to_owned();
    let missing = answering(Answer::status(404).body("404 page not found"));
    let (silent, grpc) = (answering(Answer::status(400).body("")), speaking_http2());
    let responded = "response: the server responded with";
    expect(vec![
        broken(
            "a path that is there twice",
            Setup::to(&missing.url("/v1/logs/v1/logs"), dir.path()).send(),
            3,
            format!("{responded} 404: 404 page not found; its path is /v1/logs and /v1/logs"),
            "correct the path in OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
        ),
        broken(
            "the format of records to a collector",
            Setup::default().typed(&["--to", &missing.url(""), &spool]).send(),
            3,
            format!(
                "{responded} 404: 404 page not found; records are sent as application/json and not as OTLP, which is mostly \
                 taken at /v1/logs"
            ),
            "correct the path in --to",
        ),
        broken(
            "a path above that of OTLP",
            Setup::to("", dir.path()).with("OTEL_EXPORTER_OTLP_ENDPOINT", &missing.url("/v1/log")).send(),
            3,
            format!(
                "{responded} 404: 404 page not found; /v1/logs was appended to the path of OTEL_EXPORTER_OTLP_ENDPOINT: correct \
                 that, or set OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"
            ),
            "correct the path in OTEL_EXPORTER_OTLP_ENDPOINT",
        ),
        broken(
            "a refusal without a word",
            Setup::json_to(&silent.url("/in"), dir.path()).send(),
            3,
            format!("{responded} 400: it does not say why; what was sent is application/json"),
            "OTEL_EXPORTER_SPOOL_FORMAT",
        ),
        broken(
            "a port of gRPC",
            Setup::to(&format!("http://{grpc}/v1/logs"), dir.path()).send(),
            3,
            format!(
                "response: the connection to {grpc} broke: invalid HTTP version parsed; it speaks no HTTP/1: does the port take gRPC"
            ),
            "give that of OTLP over HTTP in OTEL_EXPORTER_OTLP_LOGS_ENDPOINT, mostly 4318",
        ),
    ]);
}

/// The address of a server that responds to each request as one of gRPC does: with the first frame of HTTP/2.
fn speaking_http2() -> String {
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut buffer = [0; 4096];
            if stream.read(&mut buffer).is_ok_and(|read| read > 0) {
                let _ = stream.write_all(&SETTINGS);
                // Until the client closes: with data unread the connection would be reset.
                while stream.read(&mut buffer).is_ok_and(|read| read > 0) {}
            }
        }
    });
    address
}

/// `host:port` of a URL.
fn host(url: &str) -> String {
    url.split("://").nth(1).expect("a URL").trim_end_matches('/').to_owned()
}

#[test]
fn each_break_on_the_way_is_explained_without_a_record() {
    let dir = spool_dir();
    let (authority, other, namesake) = (Authority::new(), Authority::named("another one"), Authority::new());
    let pems = [("own.pem", &authority), ("other.pem", &other), ("namesake.pem", &namesake)];
    let [own, foreign, of_namesake] = pems.map(|(name, authority)| {
        let path = dir.path().join(name);
        fs::write(&path, authority.pem()).expect("a file");
        path.to_str().expect("text").to_owned()
    });
    let (tls, misnamed) = (
        Receiver::start_tls(authority.server(None)),
        Receiver::start_tls(authority.server_of("collector.example", None)),
    );
    let mutual = Receiver::start_tls(authority.server(Some(&authority)));
    let plain = Receiver::start();
    let (closed, away) = (free_port(), free_port());
    let certificate = "OTEL_EXPORTER_OTLP_LOGS_CERTIFICATE";
    let to = |url: &str| Setup::json_to(url, dir.path());
    let connection = |url: &str| format!("connection: no connection to {}: ", host(url));
    // Longer than a label may be, so that no resolver is asked for it.
    let nameless = "x".repeat(64) + ".invalid";
    let rows = vec![
        broken(
            "no such name",
            to(&format!("http://{nameless}/in")),
            3,
            format!("name: {nameless} "),
            "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
        ),
        broken(
            "nobody listens",
            to(&format!("http://127.0.0.1:{closed}/in")),
            3,
            format!("connection: no connection to 127.0.0.1:{closed}: tcp connect error: Connection refused"),
            "start what listens there, or correct the host and port in OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
        ),
        broken(
            "a proxy that is away",
            to(&plain.url("/in")).with("OTEL_EXPORTER_SPOOL_PROXY", &format!("http://127.0.0.1:{away}")),
            3,
            format!("connection: no connection to 127.0.0.1:{away}: "),
            "start the proxy of OTEL_EXPORTER_SPOOL_PROXY, or correct that or leave it out",
        ),
        broken(
            "a proxy that is away on the way to an endpoint with TLS",
            to("https://collector.example/in").with("OTEL_EXPORTER_SPOOL_PROXY", &format!("http://127.0.0.1:{away}")),
            3,
            format!("connection: no connection to 127.0.0.1:{away}: tunnel error"),
            "start the proxy of OTEL_EXPORTER_SPOOL_PROXY, or correct that or leave it out",
        ),
        broken(
            "a proxy of the environment that is away",
            to("http://collector.example/in").with("HTTP_PROXY", &format!("http://127.0.0.1:{away}")),
            3,
            format!("connection: no connection to 127.0.0.1:{away}: "),
            "NO_PROXY",
        ),
        broken(
            "https to a port without TLS",
            to(&plain.url("/in").replace("http:", "https:")),
            3,
            connection(&plain.url("")),
            "write http:// in the endpoint",
        ),
        broken(
            "a certificate of an unknown authority",
            to(&tls.url("/in")).with(certificate, &foreign),
            3,
            format!("{}invalid peer certificate: UnknownIssuer", connection(&tls.url(""))),
            "OTEL_EXPORTER_OTLP_CERTIFICATE",
        ),
        broken(
            "a certificate of an authority that is called like a known one",
            to(&tls.url("/in")).with(certificate, &of_namesake),
            3,
            format!("{}invalid peer certificate: BadSignature", connection(&tls.url(""))),
            "OTEL_EXPORTER_OTLP_CERTIFICATE",
        ),
        broken(
            "a certificate for another name",
            to(&misnamed.url("/in")).with(certificate, &own),
            3,
            format!("{}invalid peer certificate: certificate not valid for name", connection(&misnamed.url(""))),
            "as its certificate does",
        ),
    ];
    expect(rows);
    for receiver in [&tls, &misnamed, &plain, &mutual] {
        assert!(receiver.requests().is_empty(), "nothing is sent");
    }
    let asks = |receiver: &Receiver| receiver.url("/in").replace("https:", "http:");
    expect(vec![
        broken("http to a port with TLS", to(&asks(&tls)).send(), 3, "response: the connection to", "https://"),
        broken(
            "no client's certificate",
            to(&mutual.url("/in")).with(certificate, &own).send(),
            3,
            // Which of two it says depends on how far the body was sent.
            "response: the ",
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
        ),
    ]);
}

/// A file with an exporter of log records.
fn yaml(dir: &Path, lines: &[&str]) -> String {
    let lines: Vec<_> = lines.iter().map(|line| format!("            {line}\n")).collect();
    let path = dir.join("otel.yaml");
    let head =
        "file_format: \"1.0\"\nlogger_provider:\n  processors:\n    - batch:\n        exporter:\n          spool:\n";
    fs::write(&path, head.to_owned() + &lines.concat()).expect("a file");
    path.to_str().expect("text").to_owned()
}

#[test]
fn each_wrong_setting_and_directory_is_explained() {
    let dir = spool_dir();
    let receiver = Receiver::start();
    let here = dir.path().to_str().expect("text").to_owned();
    let to = || Setup::json_to(&receiver.url("/in"), dir.path());
    let of_another = spool_dir();
    left(exporter_to("http://me:s3cret@127.0.0.1:9/in?key=s3cret", &of_another), |service| service.log("waits"));
    fs::write(dir.path().join("file"), "").expect("a file");
    fs::create_dir(dir.path().join("photos")).expect("a directory");
    fs::write(dir.path().join("photos/format"), "photographs\n").expect("a file");
    let at = |name: &str| to().with("OTEL_EXPORTER_SPOOL_DIR", &format!("{here}/{name}"));
    let file =
        yaml(dir.path(), &[&format!("endpoint: {}", receiver.url("/in")), "spool_dir: /nowhere", "max_age: a week"]);
    expect(vec![
        broken(
            "a malformed variable",
            to().with("OTEL_EXPORTER_OTLP_TIMEOUT", "10 seconds").with("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", "10 seconds"),
            2,
            "settings: `OTEL_EXPORTER_OTLP_LOGS_TIMEOUT` is invalid: \"10 seconds\"",
            "",
        ),
        broken(
            "no directory",
            Setup::default().with("OTEL_EXPORTER_OTLP_ENDPOINT", &receiver.url("")),
            2,
            "settings: `DIR` is not set: give the directory",
            "",
        ),
        broken(
            "no endpoint",
            Setup::default().typed(&[&format!("{here}/spool")]),
            2,
            "settings: `--to` is not set: give the URL",
            "",
        ),
        broken(
            "no endpoint, and a spool that was sent somewhere",
            Setup::default().typed(&[of_another.path().to_str().expect("text")]),
            2,
            "settings: `--to` is not set: give the URL",
            "give --to URL: what is there was sent to http://127.0.0.1:9/in?...",
        ),
        broken(
            "a URL without a host",
            to().typed(&["--to", "http:///in"]),
            2,
            "settings: `--to` is invalid: it has no host",
            "",
        ),
        broken(
            "a malformed line of a file",
            Setup::default().typed(&["--config", &file]),
            2,
            format!("settings: `max_age, line 9 of {file}` is invalid: "),
            "",
        ),
        broken(
            "a file in the place of the directory",
            at("file"),
            2,
            format!("settings: `OTEL_EXPORTER_SPOOL_DIR` is invalid: `{here}/file` is a file"),
            "",
        ),
        broken(
            "somebody else's directory",
            at("photos"),
            4,
            format!("directory: the spool could not be opened: `{here}/photos` is not a spool"),
            "",
        ),
        broken(
            "a full disk",
            to().with("OTEL_EXPORTER_SPOOL_MIN_FREE_BYTES", "1048576TiB"),
            4,
            "space: ",
            "OTEL_EXPORTER_SPOOL_MIN_FREE_BYTES",
        ),
    ]);
    assert!(receiver.requests().is_empty(), "nothing is sent");
}

#[test]
fn a_protocol_that_is_not_read_beside_an_endpoint_that_is_typed_is_said_to_be_so() {
    let dir = spool_dir();
    let warned = |setup: &Setup| {
        let (code, steps) = setup.steps();
        assert_eq!(code, 0, "{steps:#?}");
        steps.iter().any(|step| line(step).starts_with("settings: `OTEL_EXPORTER_OTLP_PROTOCOL`: beside `--to`"))
    };
    let to = |path: &str| {
        let url = format!("http://127.0.0.1:9{path}");
        let setup = Setup::to("", dir.path()).with("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json");
        setup.typed(&["--local", "--to", &url])
    };
    assert!(warned(&to("/v1/log")));
    assert!(!warned(&to("/v1/logs")), "it counts");
    assert!(!warned(&to("/v1/log").with("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "http/protobuf")), "another one counts");
    assert!(!warned(&to("/v1/log").with("OTEL_EXPORTER_SPOOL_FORMAT", "ndjson")), "a format is meant");
    assert!(!warned(&to("/v1/log").typed(&["--signal", "traces"])), "spans are OTLP");
    assert!(!warned(&to("/v1/log").with("OTEL_EXPORTER_OTLP_PROTOCOL", "")), "none is set");
}

#[test]
fn a_directory_that_this_user_may_not_change_is_named_with_its_owner() {
    let dir = spool_dir();
    let theirs = dir.path().join("spool");
    fs::create_dir(&theirs).expect("a directory");
    fs::set_permissions(&theirs, fs::Permissions::from_mode(0o700)).expect("permissions");
    if std::os::unix::fs::chown(&theirs, Some(65534), Some(65534)).is_err() {
        return skip("only root gives a directory to somebody else");
    }
    if Command::new("setpriv").arg("--version").output().is_err() {
        return skip("there is no setpriv");
    }
    let receiver = Receiver::start();
    let mut setup = Setup::json_to(&receiver.url("/in"), dir.path());
    setup.unprivileged = true;
    let (code, steps) = setup.steps();
    let said = steps.iter().find(|step| step["result"] == "failed").map(line).unwrap_or_default();
    let expected = format!(
        "directory: `OTEL_EXPORTER_SPOOL_DIR` is invalid: `{path}` may not be changed: Permission denied (os error 13); `{path}` \
         belongs to user 65534 with mode 700, and this process runs as user 0; give a directory that this process may write to",
        path = theirs.display()
    );
    assert_eq!((code, said), (4, expected));
    // Whoever may do anything is told that the service may not.
    setup.unprivileged = false;
    let (code, steps) = setup.steps();
    let warned = steps.iter().find(|step| step["result"] == "warning").map(line).unwrap_or_default();
    assert!(code == 0 && warned.contains("belongs to user 65534, and this process runs as user 0"), "{code}: {warned}");
    // A queue of theirs in a directory of one's own is left to them, as an exporter leaves it.
    let (own, theirs) = (dir.path().join("shared"), dir.path().join("shared/theirs"));
    fs::create_dir_all(&theirs).expect("a directory");
    fs::set_permissions(&theirs, fs::Permissions::from_mode(0o700)).expect("permissions");
    std::os::unix::fs::chown(&theirs, Some(65534), Some(65534)).expect("an owner");
    let mut setup = setup.with("OTEL_EXPORTER_SPOOL_DIR", own.to_str().expect("text"));
    setup.unprivileged = true;
    let (code, steps) = setup.steps();
    let mut warned = steps.iter().filter(|step| step["result"] == "warning").map(line);
    let expected = format!("directory: `{}` may not be changed: ", theirs.display());
    assert!(code == 0 && warned.any(|line| line.starts_with(&expected)), "{code}: {steps:#?}");
}

#[test]
fn the_worst_of_several_signals_makes_the_exit_code_and_each_is_tried_once() {
    let dir = spool_dir();
    let away = format!("http://127.0.0.1:{}/in", free_port());
    let setup = Setup::json_to(&away, dir.path()).with("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http:///in");
    let setup = setup.typed(&["--signal", "traces", "--signal", "logs", "--signal", "traces"]);
    let (code, out, _) = setup.run(&["--json"]);
    let checked = document(&out);
    let signals: Vec<_> =
        checked["checks"].as_array().expect("checks").iter().map(|check| check["signal"].as_str()).collect();
    assert_eq!((code, signals), (2, vec![Some("logs"), Some("traces")]), "{out}");
}

#[test]
fn a_local_check_needs_no_endpoint_and_finds_what_is_wrong_here() {
    let dir = spool_dir();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("a listener");
    let url = format!("http://{}/in", listener.local_addr().expect("an address"));
    let setup = Setup::json_to(&url, dir.path()).typed(&["--local"]);
    let (code, steps) = setup.steps();
    assert_eq!(code, 0, "{steps:#?}");
    assert!(listener.accept().is_err(), "nobody connects");
    let full = setup.clone().with("OTEL_EXPORTER_SPOOL_MIN_FREE_BYTES", "1048576TiB");
    assert_eq!(full.steps().0, 4);
    assert_eq!(setup.with("OTEL_EXPORTER_SPOOL_MAX_AGE", "a week").steps().0, 2);
}

#[test]
fn setups_that_are_well_pass_and_one_marked_record_arrives_as_others_would() {
    let (dir, authority) = (spool_dir(), Authority::new());
    let pem = dir.path().join("ca.pem");
    fs::write(&pem, authority.pem()).expect("a file");
    let (plain, tls) = (Receiver::start(), Receiver::start_tls(authority.server(None)));
    let proxied = "http://collector.example/in";
    let file = yaml(
        dir.path(),
        &[
            &format!("endpoint: {}", plain.url("/in?key=s3cret")),
            &format!("spool_dir: {}/spool", dir.path().display()),
            "headers: [{name: authorization, value: Bearer t0ken-of-ours}]",
        ],
    );
    let good = [
        ("plain HTTP", &plain, Setup::json_to(&plain.url("/in"), dir.path())),
        ("OTLP in protobuf", &plain, {
            let setup =
                Setup::to("", dir.path()).with("OTEL_EXPORTER_OTLP_ENDPOINT", plain.url("").trim_end_matches('/'));
            setup.with("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip").typed(&["--signal", "logs"])
        }),
        ("TLS", &tls, {
            Setup::json_to(&tls.url("/in"), dir.path())
                .with("OTEL_EXPORTER_OTLP_LOGS_CERTIFICATE", pem.to_str().expect("text"))
        }),
        ("a proxy", &plain, {
            Setup::json_to(proxied, dir.path()).with("OTEL_EXPORTER_SPOOL_PROXY", plain.url("").trim_end_matches('/'))
        }),
        ("a file", &plain, Setup::default().typed(&["--config", &file])),
        (
            "spans",
            &plain,
            Setup::to(&plain.url("/in"), dir.path())
                .with("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &plain.url("/v1/traces"))
                .typed(&["--signal", "traces"]),
        ),
        (
            "metrics",
            &plain,
            Setup::to("", dir.path())
                .with("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", &plain.url("/v1/metrics"))
                .typed(&["--signal", "metrics"]),
        ),
    ];
    for (what, receiver, setup) in good {
        let before = receiver.requests().len();
        let (code, steps) = setup.steps();
        let lines: Vec<_> = steps.iter().map(line).collect();
        assert_eq!(code, 0, "{what}: {lines:#?}");
        assert_eq!(receiver.requests().len(), before, "{what}: nothing is sent");
        assert!(
            lines.last().is_some_and(|line| line.starts_with("response: no record was sent")),
            "{what}: {lines:#?}"
        );

        let (code, steps) = setup.send().steps();
        let lines: Vec<_> = steps.iter().map(line).collect();
        assert_eq!(code, 0, "{what}: {lines:#?}");
        assert!(lines.iter().any(|line| line == "response: the server responded with 200"), "{what}: {lines:#?}");
        assert!(
            lines.iter().any(|line| line.starts_with("clock: this machine and the server agree")),
            "{what}: {lines:#?}"
        );
        assert!(!lines.concat().contains("s3cret") && !lines.concat().contains("t0ken"), "{what}: {lines:#?}");
        let requests = receiver.requests();
        assert_eq!(requests.len(), before + 1, "{what}: one record");
        let request = requests.last().expect("a request");
        let body = String::from_utf8_lossy(&request.plain()).into_owned();
        assert!(body.contains("probe of opentelemetry-spool") && request.key().starts_with("probe-"), "{what}: {body}");
    }
    let tokens = plain.requests().iter().filter(|request| request.header("authorization").is_some()).count();
    assert_eq!(tokens, 1, "the headers of the settings are sent");
    assert!(plain.requests().iter().any(|request| request.target == proxied));
}

/// Everything below a directory, with the time of its last change of any kind.
fn snapshot(dir: &Path) -> BTreeMap<PathBuf, (i64, SystemTime, Vec<u8>)> {
    let changed = |path: &Path| fs::metadata(path).expect("a file").ctime_nsec();
    tree(dir).into_iter().map(|(path, (modified, bytes))| (path.clone(), (changed(&path), modified, bytes))).collect()
}

#[test]
fn nothing_is_written_whether_there_is_a_spool_or_none_and_whoever_owns_it() {
    let (receiver, dir, spool) = (Receiver::start(), spool_dir(), spool_dir());
    let setup = Setup::json_to(&receiver.url("/in"), dir.path()).send();
    let before = snapshot(dir.path());
    assert_eq!(setup.steps().0, 0);
    assert_eq!(snapshot(dir.path()), before, "there is none");

    // One with records, of an owner that is gone; the endpoint would take them.
    left(exporter_to(NOWHERE, &spool), |service| service.log("waits"));
    let of_spool = setup.with("OTEL_EXPORTER_SPOOL_DIR", spool.path().to_str().expect("text"));
    let before = snapshot(spool.path());
    assert_eq!(of_spool.steps().0, 0);
    assert_eq!(snapshot(spool.path()), before, "its owner is gone");

    // A living owner keeps its lock and its records.
    let service = Service::simple(exporter_to(NOWHERE, &spool));
    service.handle.pause();
    service.log("waits as well");
    // It has adopted what was left there.
    service.wait_for_stats("both records", |stats| stats.pending_records == 2);
    assert_eq!(of_spool.steps().0, 0);
    assert_eq!(service.handle.stats().pending_records, 2);
    let probes = |request: &common::Request| request.key().starts_with("probe-");
    assert!(receiver.requests().len() == 3 && receiver.requests().iter().all(probes), "what waits is not sent");
}

#[test]
fn a_check_fits_80_columns_and_explains_its_first_failure_with_what_to_do() {
    let dir = spool_dir();
    let port = free_port();
    let setup = Setup::to(&format!("http://127.0.0.1:{port}/v1/logs?key=s3cret"), dir.path());
    let (code, out, error) = setup.run(&[]);
    assert_eq!((code, &*error), (3, ""), "{out}");
    assert!(
        out.lines().all(|line| line.chars().count() <= 80 || line.contains(dir.path().to_str().expect("text"))),
        "{out}"
    );
    let failed: Vec<_> = out.lines().skip_while(|line| !line.starts_with("FAILED")).take(7).collect();
    let text = failed.iter().flat_map(|line| line.split_whitespace()).collect::<Vec<_>>().join(" ");
    let expected = format!(
        "FAILED connection no connection to 127.0.0.1:{port}: tcp connect error: Connection refused (os error 111) \
         -> start what listens there, or correct the host and port in OTEL_EXPORTER_OTLP_LOGS_ENDPOINT; is a firewall between? \
         warning delivery records wait in the spool"
    );
    assert!(text.starts_with(&expected), "{out}");
    assert!(!out.contains("s3cret"), "{out}");
}

#[test]
fn the_signals_of_a_file_are_checked_one_after_the_other() {
    let (receiver, dir) = (Receiver::start(), spool_dir());
    let lines = format!(
        "            spool_dir: {}/spool\n            endpoint: {}\n",
        dir.path().display(),
        receiver.url("/in")
    );
    let provider =
        |name: &str| format!("{name}:\n  processors:\n    - batch:\n        exporter:\n          spool:\n{lines}");
    let path = dir.path().join("otel.yaml");
    fs::write(&path, provider("logger_provider") + &provider("tracer_provider")).expect("a file");
    let setup = Setup::default().typed(&["--config", path.to_str().expect("text")]);
    let (code, out, _) = setup.run(&["--json"]);
    let checked = document(&out);
    let signals: Vec<_> =
        checked["checks"].as_array().expect("checks").iter().map(|check| check["signal"].as_str()).collect();
    assert_eq!((code, signals), (0, vec![Some("logs"), Some("traces")]), "{out}");
    let metrics = setup.typed(&["--signal", "metrics"]);
    let (code, steps) = metrics.steps();
    assert_eq!(code, 2, "{steps:#?}");
}

#[test]
fn a_socket_is_connected_to_and_nothing_said() {
    let dir = spool_dir();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = |port: u16| format!("tcp://127.0.0.1:{port}");
    let taken = listener.local_addr().expect("an address").port();
    let (code, steps) = Setup::json_to(&url(taken), dir.path()).steps();
    assert!(steps.iter().map(line).any(|line| line == "connection: the socket takes connections"), "{steps:#?}");
    assert_eq!(code, 0, "{steps:#?}");
    let (code, steps) = Setup::json_to(&url(free_port()), dir.path()).steps();
    assert_eq!(code, 3, "{steps:#?}");
}
