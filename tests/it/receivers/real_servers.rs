//! Servers and proxies as they are installed: each with a limit for bodies, an idle time of a second, and behind it an
//! application that knows nothing of gzip. Whatever they answer, and however they close, every record arrives or is named
//! as rejected.

use std::env;
use std::thread;

use super::application::{Application, MAX_BYTES};
use super::*;

/// A server that can be started; a proxy stands before this receiver.
struct Server {
    name: &'static str,
    start: fn(&Receiver) -> Option<Running>,
    /// It says 413 to what is above its limit.
    names_the_limit: bool,
}

/// Those that the gate has. `SPOOL_TEST_SERVERS` adds the others.
const IN_THE_GATE: &[Server] = &[
    Server { name: "nginx", start: nginx, names_the_limit: true },
    Server { name: "apache", start: apache, names_the_limit: true },
    Server { name: "haproxy", start: haproxy, names_the_limit: true },
    // It passes on what it has read so far, notices its own limit then, and says 502.
    Server { name: "caddy", start: caddy, names_the_limit: false },
    Server { name: "uvicorn", start: uvicorn, names_the_limit: true },
];

const OTHERS: &[Server] = &[
    Server { name: "lighttpd", start: lighttpd, names_the_limit: true },
    Server { name: "varnish", start: varnish, names_the_limit: true },
    Server { name: "hypercorn", start: hypercorn, names_the_limit: true },
    Server { name: "gunicorn", start: gunicorn, names_the_limit: true },
    Server { name: "granian", start: granian, names_the_limit: true },
    Server { name: "fastify", start: fastify, names_the_limit: true },
];

/// A server that runs.
enum Running {
    Nginx(Nginx),
    Proxy { _program: Program, _dir: TempDir, port: u16 },
    Application(Application),
}

impl Running {
    fn url(&self) -> String {
        match self {
            Self::Nginx(nginx) => format!("http://127.0.0.1:{}/ingest", nginx.port),
            Self::Proxy { port, .. } => format!("http://127.0.0.1:{port}/ingest"),
            Self::Application(application) => application.url(),
        }
    }

    fn stored(&self, behind: &Receiver) -> Vec<String> {
        match self {
            Self::Application(application) => application.stored(),
            Self::Nginx(_) | Self::Proxy { .. } => behind.delivered(),
        }
    }
}

/// Starts a proxy with a configuration for its folder and port.
fn proxy(
    program: &str,
    configuration: impl FnOnce(&Path, u16) -> String,
    arguments: impl FnOnce(&Path, u16) -> Vec<String>,
) -> Option<Running> {
    let (program, dir, port) = (installed(program)?, spool_dir(), free_port());
    fs::write(dir.path().join("conf"), configuration(dir.path(), port)).expect("a file");
    let mut command = Command::new("env");
    command.arg(format!("HOME={}", dir.path().display())).arg(program).args(arguments(dir.path(), port));
    let log = dir.path().join("log");
    let program = Program::keep("TERM", &command, &log);
    wait_for_port(port, &log);
    Some(Running::Proxy { _program: program, _dir: dir, port })
}

fn port_of(receiver: &Receiver) -> String {
    receiver.url("").rsplit(':').next().expect("a port").to_owned()
}

fn arguments(before: &[&str], dir: &Path) -> Vec<String> {
    let conf = dir.join("conf").display().to_string();
    before.iter().map(|argument| (*argument).to_owned()).chain([conf]).collect()
}

fn nginx(behind: &Receiver) -> Option<Running> {
    let http = format!("client_max_body_size {MAX_BYTES}; keepalive_timeout 1s;");
    Nginx::start(behind, &http, "", "").map(Running::Nginx)
}

fn apache(behind: &Receiver) -> Option<Running> {
    let configuration = |dir: &Path, port| {
        let modules = ["mpm_event", "authz_core", "proxy", "proxy_http"];
        let modules = modules.map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"));
        format!(
            "{}ServerName localhost\nServerRoot {1}\nDefaultRuntimeDir {1}\nPidFile {1}/pid\nErrorLog {1}/error\n\
            User nobody\nGroup nogroup\nStartServers 1\nListen 127.0.0.1:{port}\n\
            KeepAliveTimeout 1\nProxyPass / {2}\n",
            modules.concat(),
            dir.display(),
            behind.url("/")
        )
    };
    proxy("/usr/sbin/apache2", configuration, |dir, _| arguments(&["-DFOREGROUND", "-f"], dir))
}

fn haproxy(behind: &Receiver) -> Option<Running> {
    let configuration = |_: &Path, port| {
        format!(
            "defaults\n mode http\n timeout client 5s\n timeout server 60s\n timeout connect 5s\n timeout http-keep-alive 1s\n\
            frontend all\n bind 127.0.0.1:{port}\n default_backend receiver\n\
            \x20http-request deny deny_status 413 if {{ req.body_size gt {MAX_BYTES} }}\n\
            backend receiver\n server receiver 127.0.0.1:{}\n",
            port_of(behind)
        )
    };
    proxy("/usr/sbin/haproxy", configuration, |dir, _| arguments(&["-db", "-f"], dir))
}

fn caddy(behind: &Receiver) -> Option<Running> {
    let configuration = |_: &Path, port| {
        format!(
            "{{\n admin off\n auto_https off\n servers {{\n timeouts {{\n idle 1s\n }}\n }}\n}}\n\
            http://127.0.0.1:{port} {{\n bind 127.0.0.1\n request_body {{\n max_size {MAX_BYTES}\n }}\n\
            reverse_proxy 127.0.0.1:{}\n}}\n",
            port_of(behind)
        )
    };
    proxy("/usr/bin/caddy", configuration, |dir, _| arguments(&["run", "--adapter", "caddyfile", "--config"], dir))
}

fn lighttpd(behind: &Receiver) -> Option<Running> {
    let configuration = |dir: &Path, port| {
        format!(
            "server.document-root = \"{0}\"\nserver.upload-dirs = (\"{0}\")\nserver.errorlog = \"{0}/error\"\n\
            server.bind = \"127.0.0.1\"\nserver.port = {port}\nserver.modules = (\"mod_proxy\")\n\
            server.max-request-size = {1}\nserver.max-keep-alive-idle = 1\n\
            proxy.server = (\"\" => ((\"host\" => \"127.0.0.1\", \"port\" => {2})))\n",
            dir.display(),
            MAX_BYTES / 1024,
            port_of(behind)
        )
    };
    proxy("/usr/sbin/lighttpd", configuration, |dir, _| arguments(&["-D", "-f"], dir))
}

fn varnish(behind: &Receiver) -> Option<Running> {
    let configuration = |_: &Path, _| {
        format!(
            "vcl 4.1;\nimport std;\nbackend receiver {{ .host = \"127.0.0.1\"; .port = \"{}\"; }}\n\
            sub vcl_recv {{\n if (std.integer(req.http.content-length, 0) > {MAX_BYTES}) {{ return (synth(413)); }}\n\
            return (pass);\n}}\n",
            port_of(behind)
        )
    };
    proxy("/usr/sbin/varnishd", configuration, |dir, port| {
        let (at, listen) = (dir.join("work").display().to_string(), format!("127.0.0.1:{port}"));
        let own = ["-F", "-j", "none", "-n", &at, "-a", &listen, "-s", "malloc,32m", "-p", "timeout_idle=1", "-f"];
        arguments(&own, dir)
    })
}

/// A program of the virtual environment of the applications, with its arguments for a port.
fn python(program: &str, arguments: impl FnOnce(u16) -> String) -> Option<Running> {
    let program = installed(&format!("applications/bin/{program}"))?.display().to_string();
    let command = |port| {
        let arguments = arguments(port);
        std::iter::once(program).chain(arguments.split(' ').map(str::to_owned)).collect()
    };
    Some(Running::Application(Application::start(command)))
}

fn uvicorn(_: &Receiver) -> Option<Running> {
    python("uvicorn", |port| {
        format!("--port {port} --timeout-keep-alive 1 --lifespan off application:asgi_application")
    })
}

fn hypercorn(_: &Receiver) -> Option<Running> {
    python("hypercorn", |port| format!("--bind 127.0.0.1:{port} --keep-alive 1 application:asgi_application"))
}

fn gunicorn(_: &Receiver) -> Option<Running> {
    python("gunicorn", |port| {
        format!(
            "--bind 127.0.0.1:{port} --worker-class gthread --threads 4 --keep-alive 1 application:flask_application"
        )
    })
}

fn granian(_: &Receiver) -> Option<Running> {
    python("granian", |port| format!("--interface asginl --host 127.0.0.1 --port {port} application:asgi_application"))
}

fn fastify(_: &Receiver) -> Option<Running> {
    let modules = installed("fastify/node_modules")?.display().to_string();
    let command = |port: u16| {
        let script = script("application.cjs").display().to_string();
        vec![format!("NODE_PATH={modules}"), node().display().to_string(), script, port.to_string()]
    };
    Some(Running::Application(Application::start(command)))
}

/// Logs batches that are too large at first, a record that is too large alone, and records with pauses in which the server
/// closes the connection.
fn everything_arrives(server: &Server, compression: Option<Compression>) {
    let behind = Receiver::start();
    // Apache's own limit is not for what it passes on.
    behind.answer_by(|request| match request.body.len() {
        ..=MAX_BYTES if request.header("content-encoding").is_none() => Answer::ok(),
        ..=MAX_BYTES => Answer::status(400).body("no JSON"),
        _ => Answer::status(413),
    });
    let Some(running) = (server.start)(&behind) else { return };
    let spool = spool_dir();
    let exporter = exporter_to(&running.url(), &spool);
    let service = shop(match compression {
        Some(compression) => exporter.with_compression(compression),
        None => exporter,
    });
    orders(&service, 1..=41);
    if server.names_the_limit {
        order(&service, 42, |record| record.set_body(AnyValue::from(noise(2 * MAX_BYTES))));
    }
    orders(&service, 42..=COUNT);
    service.wait_for_rejected(u64::from(server.names_the_limit));
    service.deliver();
    for number in COUNT + 1..=COUNT + 5 {
        order(&service, number, |_| {});
        service.deliver();
        // The connection is closed about when the next request comes.
        thread::sleep(Duration::from_secs(1));
    }

    let mut stored = running.stored(&behind);
    if !server.names_the_limit {
        // What fails without a word is parked while others are taken.
        stored.sort();
    }
    check_order(stored, &names("m", 1..=COUNT + 5), &service);
    let rejected = service.handle.rejected().expect("a rejected store");
    let statuses: Vec<_> = rejected.iter().map(|record| record.status).collect();
    assert_eq!(statuses, if server.names_the_limit { vec![413] } else { vec![] });
    let stats = service.handle.stats();
    println!("{}, {compression:?}: {} requests for {} records", server.name, stats.requests, stats.accepted_records);
}

fn real_servers(compression: Option<Compression>) {
    let all = env::var_os("SPOOL_TEST_SERVERS").is_some();
    let servers = IN_THE_GATE.iter().chain(OTHERS.iter().filter(|_| all));
    let failed: Vec<_> = thread::scope(|scope| {
        let start = |server: &'static Server| {
            let test = thread::Builder::new().name(format!("real_servers, {}", server.name));
            (server.name, test.spawn_scoped(scope, move || everything_arrives(server, compression)).expect("a thread"))
        };
        let running: Vec<_> = servers.map(start).collect();
        running.into_iter().filter_map(|(name, thread)| thread.join().err().map(|_| name)).collect()
    });
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn real_servers_have_every_record_or_name_it() {
    real_servers(None);
}

#[test]
fn real_servers_that_take_no_gzip_have_every_record_or_name_it() {
    real_servers(Some(Compression::Gzip));
}
