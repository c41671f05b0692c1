//! `--check`, and settings that are wrong.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use common::{free_port, in_words, spool_dir};
use opentelemetry_spool::{Durability, Listener, Relay, RelayBuilder};

use super::any_port;
use super::process::{Running, bare_command, command, outcome};

const COLLECTOR: &str = "http://collector.example:4318";

#[test]
fn a_check_says_what_would_be_done_and_does_nothing() {
    let spool = spool_dir();
    let dir = spool.path().join("spool");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").to_string();
    let status = format!("127.0.0.1:{}", free_port());
    let args = ["--otlp", &port, "--unix", "/nowhere/log.sock", "--status", &status, "--check"];
    let (code, out, error) = outcome(&mut command(&dir, COLLECTOR, &args));

    assert_eq!((code, &*error), (0, ""));
    let expected = format!(
        "listens on unix /nowhere/log.sock\nlistens on otlp {port}\nshows its status at http://{status}/\n\
         keeps records in {}\n\
         sends logs to {COLLECTOR}/v1/logs as otlp (application/x-protobuf)\n\
         sends traces to {COLLECTOR}/v1/traces as otlp (application/x-protobuf)\n\
         sends metrics to {COLLECTOR}/v1/metrics as otlp (application/x-protobuf)\n",
        dir.display()
    );
    assert_eq!(out, expected);
    assert!(!dir.exists(), "nothing is made");
}

#[test]
fn a_check_shows_no_secret_of_the_endpoint() {
    let spool = spool_dir();
    let to = "http://user:secret@collector.example/ingest?key=secret";
    let (code, out, error) = outcome(&mut command(spool.path(), to, &["--http", "--check"]));

    assert_eq!((code, &*error), (0, ""), "{out}");
    assert!(out.contains("collector.example/ingest as json (application/json)") && !out.contains("secret"), "{out}");
}

#[test]
fn an_address_without_a_path_is_a_collectors_only_where_otlp_is_sent() {
    let spool = spool_dir();
    for (to, format, endpoint) in [
        ("http://clickhouse.example:8123/?query=INSERT", "clickhouse", "http://clickhouse.example:8123/ as"),
        (COLLECTOR, "ndjson", "http://collector.example:4318/ as"),
        (COLLECTOR, "otlp-json", "http://collector.example:4318/v1/logs as"),
    ] {
        let (code, out, error) = outcome(&mut command(spool.path(), to, &["--http", "--format", format, "--check"]));
        assert_eq!((code, &*error), (0, ""), "{out}");
        assert!(out.contains(&format!("sends logs to {endpoint} {format} ")), "{out}");
    }
}

#[test]
fn a_check_refuses_what_a_start_refuses_in_the_same_words() {
    let spool = spool_dir();
    let own = format!("127.0.0.1:{}", free_port());
    let to_own = format!("http://{own}");
    let named = own.replace("127.0.0.1", "http://localhost");
    let no_variable = ("SPOOL_TEST_UNUSED", "");
    let logs = ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://collector.example/v1/logs");
    let cases: &[((&str, &str), &[&str], &str)] = &[
        (("OTEL_EXPORTER_OTLP_ENDPOINT", &named), &["--otlp", &own], "`OTEL_EXPORTER_OTLP_ENDPOINT` is invalid: logs"),
        // Spans then go to the port where the relay listens unless it is told otherwise.
        (logs, &["--otlp"], "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
        (no_variable, &["--otlp", &own, "--to", &to_own], "the relay itself"),
        (no_variable, &["--tcp", "--to", "file:///nowhere/app.log", "--format", "otlp"], "a file takes"),
        (no_variable, &["--tcp", "--to", "udp://collector.example:1", "--format", "otlp"], "a datagram takes"),
        (no_variable, &["--otlp", &own, "--http", &own, "--to", COLLECTOR], "http 127.0.0.1"),
        (no_variable, &["--unix", "/nowhere/a", "--unix-datagram", "/nowhere/a", "--to", COLLECTOR], "/nowhere/a"),
        (no_variable, &["--otlp", &own, "--status", &own, "--to", COLLECTOR], "allowed is another address"),
        (
            no_variable,
            &["--tcp", &own, "--tcp", "0.0.0.0:1", "--listen-anywhere", "--tcp", "127.0.0.1:1", "--to", COLLECTOR],
            "0.0.0.0:1",
        ),
    ];
    for ((variable, value), args, named) in cases {
        let outcomes = [&["--check"][..], &[]].map(|check| {
            let mut command = bare_command(&[spool.path().to_str().expect("a path of text")]);
            outcome(command.args(*args).args(check).env(variable, value))
        });
        assert_eq!(outcomes[0], outcomes[1], "{args:?}");
        let (code, _, error) = &outcomes[0];
        assert!(*code == 2 && error.contains(named), "{args:?}: {code} {error}");
    }
}

#[test]
fn what_may_not_be_meant_so_is_a_warning_of_a_check_and_of_a_start() {
    let spool = spool_dir();
    let not_taken = "traces and metrics are not taken";
    for (to, listener, warnings) in [
        (COLLECTOR, "--otlp", &[][..]),
        ("http://collector.example:4318/v1/log", "--otlp", &[not_taken, "sent as json", "/v1/logs"]),
        ("http://collector.example:4318/v1/log", "--http", &[]),
        ("file:///nowhere/app.log", "--otlp", &[not_taken, "sent as text"]),
        ("http://collector.example:4317", "--otlp", &["port 4317", "gRPC"]),
    ] {
        let (code, _, error) = outcome(&mut command(spool.path(), to, &[listener, "127.0.0.1:0", "--check"]));
        assert_eq!((code, error.is_empty()), (0, warnings.is_empty()), "{to}: {error}");
        assert!(warnings.iter().all(|warning| error.contains(warning)), "{to}: {error}");
    }
    let relay = Running::start(spool.path(), "http://127.0.0.1:9/v1/log", &["--otlp", "127.0.0.1:0"]);
    let said = relay.kill();
    assert!(said.contains(not_taken), "{said}");
}

#[test]
fn a_check_names_the_format() {
    let spool = spool_dir();
    for (to, args, named) in [
        (COLLECTOR, &[][..], "/v1/logs as otlp (application/x-protobuf)"),
        (COLLECTOR, &["--format", "otlp-json"], "/v1/logs as otlp-json (application/json)"),
        ("http://collector.example/ingest", &[], "as json (application/json)"),
        ("http://collector.example/ingest", &["--format", "loki"], "as loki (application/json)"),
        ("http://collector.example/ingest", &["--format", "http_logging_2"], "as http_logging_2 (application/json)"),
        ("tcp://collector.example:9020", &[], "as pickle ("),
        ("file:///nowhere/app.log", &[], "as text ("),
    ] {
        let (_, out, error) = outcome(command(spool.path(), to, args).args(["--tcp", "--check"]));
        assert!(out.contains(named), "{to} {args:?}: {out}{error}");
    }
}

#[test]
fn wrong_arguments_are_errors_that_name_them() {
    let spool = spool_dir();
    let dir = spool.path().to_str().expect("a path of text");
    let directory = "as in --otlp=127.0.0.1:4318 DIR";
    let cases: &[(&[&str], &str)] = &[
        (&[dir, "--to", COLLECTOR], "--otlp"),
        (&[dir, "--http"], "give --to URL, or set OTEL_EXPORTER_OTLP_ENDPOINT"),
        (&["--to", COLLECTOR, "--otlp"], "give DIR, or set OTEL_EXPORTER_SPOOL_DIR"),
        (&[dir, "--to", "gopher://collector", "--otlp"], "`--to` is invalid"),
        (&[dir, "--to", COLLECTOR, "--otlp", "0.0.0.0:4318"], "`--otlp` is invalid: otlp 0.0.0.0:4318"),
        (&[dir, "--to", COLLECTOR, "--otlp", "--tcp", "[::]:9020"], "`--tcp` is invalid: tcp [::]:9020"),
        (&[dir, "--to", COLLECTOR, "--http", "--http", "0.0.0.0:1"], "with `--listen-anywhere` others"),
        (&[dir, "--to", COLLECTOR, "--otlp", "--status", "0.0.0.0:9023"], "`--status` is invalid: 0.0.0.0:9023"),
        (&[dir, "--to", COLLECTOR, "--otlp", "--status", "0.0.0.0:9023"], "with `--listen-anywhere` others"),
        (&[dir, "--to", COLLECTOR, "--otlp", "--tcp", "--http", "127.0.0.1:9020"], "`--http` is invalid"),
        (&[dir, "--to", COLLECTOR, "--otlp", "nonsense"], "nonsense"),
        (&[dir, "--to", COLLECTOR, "--otlp", ":4318"], "such as 127.0.0.1:4318"),
        (&["--to", COLLECTOR, "--otlp", dir], directory),
        (&["--to", COLLECTOR, "--status", dir], directory),
        (&[dir, "--to", COLLECTOR, "--otlp", "--token-env", "SPOOL_TEST_UNSET"], "SPOOL_TEST_UNSET"),
        (&[dir, "--to", COLLECTOR, "--otlp", "--user-env", "SPOOL_TEST_WORD"], "USER:PASSWORD"),
        (&[dir, "--to", COLLECTOR, "--otlp", "--tcp", "--user-env", "SPOOL_TEST_USER"], "`--tcp` is invalid: frames"),
        (&[dir, "--to", COLLECTOR, "--otlp", "--partition-by", "weather"], "logserv-file"),
        (&[dir, "--to", COLLECTOR, "--otlp", "--format", "weather"], "otlp-json"),
        (&[dir, "--to", "file:///nowhere/app.log", "--tcp", "--format", "otlp"], "`--format` is invalid"),
        (&[dir, "--to", COLLECTOR, "--otlp", "--max-buffer-bytes", "1KiB"], "`--max-buffer-bytes` is invalid"),
        (&[dir, "--to", COLLECTOR, "--otlp", "--max-connections", "0"], "`--max-connections` is invalid"),
        (&[dir, "--to", COLLECTOR, "--otlp", "--max-spool-bytes", "1MiB"], "`--max-spool-bytes` is invalid"),
    ];
    for (args, named) in cases {
        let mut command = bare_command(args);
        command.arg("--check").env("SPOOL_TEST_USER", "user:password").env("SPOOL_TEST_WORD", "password");
        let (code, out, error) = outcome(&mut command);
        assert_eq!((code, &*out), (2, ""), "{args:?}: {error}");
        assert!(error.contains(named) && !error.contains("with_"), "{args:?}: {error}");
    }
}

#[test]
fn a_template_without_a_format_is_told_how_to_name_one() {
    let spool = spool_dir();
    let mut command = command(spool.path(), "http://collector.example/ingest", &["--tcp", "--check"]);
    let (code, _, error) = outcome(command.env("OTEL_EXPORTER_SPOOL_TEMPLATE", "{message}"));
    assert!(code == 2 && error.contains("text, form, loki: give one of them, such as --format text"), "{error}");
}

#[test]
fn a_port_and_localhost_are_the_loopback_address() {
    let spool = spool_dir();
    for (typed, address) in [
        ("4318", "127.0.0.1:4318"),
        ("localhost:4319", "127.0.0.1:4319"),
        ("127.0.0.2:4318", "127.0.0.2:4318"),
        ("[::1]:4318", "[::1]:4318"),
    ] {
        let typed_status = typed.replace("43", "53");
        let args = ["--otlp", typed, "--status", &typed_status, "--check"];
        let (code, out, error) = outcome(&mut command(spool.path(), COLLECTOR, &args));
        assert_eq!((code, &*error), (0, ""));
        let status = address.replace("43", "53");
        assert!(out.contains(&format!("otlp {address}\n")) && out.contains(&format!("http://{status}/")), "{out}");
    }
}

/// A file with an exporter of log records and one of spans, each with lines of its own.
fn file(dir: &Path, logs: &str, spans: Option<&str>) -> String {
    let provider = |name: &str, lines: &str| {
        let lines: String = lines.split("; ").map(|line| ["            ", line, "\n"].concat()).collect();
        format!("{name}:\n  processors:\n    - batch:\n        exporter:\n          spool:\n{lines}")
    };
    let path = dir.join("otel.yaml");
    let spans = spans.map(|lines| provider("tracer_provider", lines)).unwrap_or_default();
    std::fs::write(&path, provider("logger_provider", logs) + &spans).expect("a file");
    path.to_str().expect("a path of text").to_owned()
}

#[test]
fn a_signal_that_a_file_says_nothing_of_is_not_taken() {
    let dir = spool_dir();
    let both = "spool_dir: /nowhere/spool; endpoint: http://collector.example:4318; encoding: protobuf";
    for (spans, not_taken) in [(None, "traces and metrics"), (Some(both), "metrics")] {
        let file = file(dir.path(), both, spans);
        let (code, out, error) = outcome(&mut bare_command(&["--otlp", "--config", &file, "--check"]));
        assert_eq!(code, 0, "{error}");
        assert!(error.contains(&format!("warning: {not_taken} are not taken: the configuration has no")), "{error}");
        assert_eq!(out.contains("sends traces"), spans.is_some(), "{out}");
        assert!(out.contains("sends logs") && !out.contains("sends metrics"), "{out}");
    }
}

#[test]
fn what_is_wrong_with_a_file_names_it() {
    let dir = spool_dir();
    let here = |line: &str| format!("{line}; endpoint: http://collector.example:4318; encoding: protobuf");
    let cases = [
        (here("spool_dir: /nowhere/a"), Some(here("spool_dir: /nowhere/b")), "`spool_dir, line 14 of "),
        (here("spool_dir: /nowhere/a; max_age: a week"), None, "`max_age, line 7 of "),
        (here("linger: 1s"), None, "give DIR, or `spool_dir` in "),
        ("spool_dir: /nowhere/a".to_owned(), None, "give --to URL, or `endpoint` in "),
    ];
    for (logs, spans, named) in cases {
        let file = file(dir.path(), &logs, spans.as_deref());
        let mut command = bare_command(&["--otlp", "--config", &file, "--check"]);
        let (code, out, error) = outcome(command.env("OTEL_EXPORTER_OTLP_ENDPOINT", COLLECTOR));
        assert!(code == 2 && error.contains(&format!("{named}{file}")), "{code} {out}{error}");
    }
    let path = dir.path().join("otel.yaml");
    std::fs::write(&path, "meter_provider:\n  readers: [{periodic: {exporter: {spool: {spool_dir: /a}}}}]\n")
        .expect("a file");
    let path = path.to_str().expect("a path of text");
    let (code, _, error) = outcome(&mut bare_command(&["--otlp", "--config", path, "--check"]));
    assert!(code == 2 && error.contains(&format!("`{path}` is invalid: no processor of `logger_provider`")), "{error}");
}

#[test]
fn a_builder_says_which_setting_is_wrong() {
    let spool = spool_dir();
    let otlp = || {
        let builder = Relay::builder().with_spool_dir(spool.path()).with_endpoint(COLLECTOR);
        builder.with_listener(Listener::Otlp(any_port()))
    };
    let far = |builder: RelayBuilder| builder.with_listener(Listener::Http("0.0.0.0:0".parse().expect("an address")));
    let cases = vec![
        (Relay::builder().with_spool_dir(spool.path()).with_endpoint(COLLECTOR), "with_listener"),
        (far(otlp()), "http 0.0.0.0:0"),
        (otlp().with_max_connections(0), "with_max_connections"),
        (otlp().with_max_buffer_bytes(1), "with_max_buffer_bytes"),
        (otlp().with_durability(Durability::Process), "with_durability"),
        (otlp().with_durability(Durability::Interval(Duration::from_millis(5))), "with_durability"),
        (otlp().with_endpoint("gopher://collector"), "gopher"),
        (otlp().with_token(""), "with_token"),
        (otlp().with_token("token").with_listener(Listener::Udp(any_port())), "udp 127.0.0.1:0"),
        (otlp().with_listener(Listener::Unix("/nowhere/at/all/log.sock".into())), "unix /nowhere/at/all/log.sock"),
    ];
    for (builder, named) in cases {
        let error = in_words(&builder.build().expect_err(named));
        assert!(error.contains(named), "{error}");
    }
}

#[test]
fn a_relay_that_would_answer_before_the_records_are_synced_does_not_start() {
    let spool = spool_dir();
    for (value, is_allowed) in [("process", false), ("500ms", false), ("sync", true)] {
        for check in [true, false] {
            if is_allowed && !check {
                continue;
            }
            let mut command = command(spool.path(), COLLECTOR, &["--otlp", "127.0.0.1:0"]);
            command.args(check.then_some("--check")).env("OTEL_EXPORTER_SPOOL_DURABILITY", value);
            let (code, _, error) = outcome(&mut command);
            assert_eq!(code, if is_allowed { 0 } else { 2 }, "{value}: {error}");
            let says = error.contains("OTEL_EXPORTER_SPOOL_DURABILITY") && error.contains("allowed is `sync`");
            assert_eq!(says, !is_allowed, "{value}: {error}");
        }
    }
}

#[test]
fn a_port_that_is_taken_is_an_error_that_names_the_listener() {
    let spool = spool_dir();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").to_string();
    let (code, out, error) = outcome(&mut command(spool.path(), COLLECTOR, &["--otlp", &port]));

    assert_eq!((code, &*out), (4, ""), "{error}");
    assert!(error.contains(&format!("otlp {port}")), "{error}");
}
