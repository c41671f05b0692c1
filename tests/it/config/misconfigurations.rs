//! What is said of settings that are wrong: for each the first line of its error, or its warning.
//!
//! Many hosts show no more than that line. A service that does not start and does not say why, or starts and delivers
//! elsewhere, costs its operators an evening. So each line names the setting, the value unless it can be a secret, what is
//! allowed and what to do.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::children::settings::said;
use common::{emulated, spool_dir};
use opentelemetry_spool::{
    Compression, Durability, ExporterConfig, FormEncoder, JsonEncoder, LogExporter, LogExporterBuilder, Method,
    RetryPolicy,
};

use crate::CHILD;

/// An exporter with everything that it takes.
fn whole(dir: &Path) -> LogExporterBuilder {
    LogExporter::builder().with_endpoint("http://127.0.0.1:9/in").with_spool_dir(dir.join("spool"))
}

/// The line that is expected, if one is, with the directory of the test put in.
fn expected(dir: &Path, line: &str) -> Vec<String> {
    let line = line.replace("{dir}", dir.to_str().expect("text"));
    if line.is_empty() { Vec::new() } else { vec![line] }
}

/// Compares what is said with what is expected, of all rows, and then fails.
fn check(what: &str, rows: impl IntoIterator<Item = (String, Vec<String>, Vec<String>)>) {
    let (mut count, mut wrong) = (0, String::new());
    for (row, said, expected) in rows {
        count += 1;
        if said != expected {
            let _ = writeln!(wrong, "{row}\n  said     {said:#?}\n  expected {expected:#?}");
        }
    }
    assert!(wrong.is_empty(), "{what}, of {count} rows:\n{wrong}");
}

// --- code ----------------------------------------------------------------------------------------------------------

/// How an exporter is built in a directory, and what is said of it.
type InCode = (fn(&Path) -> LogExporterBuilder, &'static str);

fn retry(initial: u64, max: u64) -> RetryPolicy {
    let mut policy = RetryPolicy::default();
    (policy.initial_delay, policy.max_delay) = (Duration::from_secs(initial), Duration::from_secs(max));
    policy
}

const IN_CODE: &[InCode] = &[
    (
        |_| LogExporter::builder(),
        "`with_endpoint` is not set: give the URL that records are sent to, such as https://logs.example.com/ingest, \
         or set OTEL_EXPORTER_OTLP_LOGS_ENDPOINT, or in a file `endpoint`",
    ),
    (
        |dir| LogExporter::builder().with_spool_dir(dir),
        "`with_endpoint` is not set: give the URL that records are sent to, such as https://logs.example.com/ingest, \
         or set OTEL_EXPORTER_OTLP_LOGS_ENDPOINT, or in a file `endpoint`",
    ),
    (
        |_| LogExporter::builder().with_endpoint("http://127.0.0.1:9/in"),
        "`with_spool_dir` is not set: give the directory that keeps records until they are delivered, such as \
         /var/lib/NAME/spool, or set OTEL_EXPORTER_SPOOL_DIR, or in a file `spool_dir`",
    ),
    // The directory.
    (
        |dir| whole(dir).with_spool_dir(""),
        "`with_spool_dir` is invalid: it is empty; give a directory, such as /var/lib/NAME/spool",
    ),
    (
        |dir| whole(dir).with_spool_dir(dir.join("file")),
        "`with_spool_dir` is invalid: `{dir}/file` is a file; give a directory, such as /var/lib/NAME/spool",
    ),
    (
        |dir| whole(dir).with_spool_dir(dir.join("file/spool")),
        "`with_spool_dir` is invalid: `{dir}/file` is a file; give a directory, such as /var/lib/NAME/spool",
    ),
    (
        |dir| whole(dir).with_spool_dir(dir.join("link")),
        "`with_spool_dir` is invalid: `{dir}/link` is a symbolic link, which could be made to lead anywhere; give \
         the directory `{dir}/other`",
    ),
    (
        |dir| whole(dir).with_spool_dir(dir.join("dangling")),
        "`with_spool_dir` is invalid: `{dir}/dangling` is a symbolic link, which could be made to lead anywhere; \
         give the directory itself",
    ),
    (
        |dir| whole(dir).with_spool_dir(dir.join("other")),
        "warning: `with_spool_dir`: `{dir}/other` is no spool yet and has other files, such as `photo.jpg`; give a \
         directory of its own",
    ),
    (
        |dir| whole(dir).with_spool_dir(dir.join("newer")),
        "the spool could not be opened: `{dir}/newer` has spool format 99; this version reads formats up to 8: start \
         the one that wrote it, or give another directory",
    ),
    (
        |dir| whole(dir).with_spool_dir(dir.join("none")),
        "the spool could not be opened: `{dir}/none` is not a spool: its file `format` is missing, or reads \
         \"photographs\\n\"; is it the directory of `with_spool_dir`?",
    ),
    (
        |dir| whole(dir).with_required_mount(dir.join("no volume")),
        "`with_required_mount` is invalid: `{dir}/no volume` cannot be looked up: No such file or directory (os \
         error 2); expected is that a volume is mounted at `{dir}/no volume`, and the spool directory `{dir}/spool` \
         on it",
    ),
    (
        |dir| whole(dir).with_min_free_bytes(1 << 60),
        "warning: `with_min_free_bytes`: 1152921504606846976 bytes are to stay free, and the whole disk of \
         `{dir}/spool` has {total}: no record is stored; give less",
    ),
    (
        |dir| whole(dir).with_max_spool_bytes(1 << 20),
        "`with_max_spool_bytes` is invalid: 1048576 bytes; allowed are 8388608 and more",
    ),
    (
        |dir| whole(dir).with_segment_bytes(1),
        "`with_segment_bytes` is invalid: 1 bytes; allowed are 1048576 to 134217728, an eighth of the spool",
    ),
    (
        |dir| whole(dir).with_max_age(Duration::ZERO),
        "`with_max_age` is invalid: zero; allowed are longer ones, such as 7d",
    ),
    (
        |dir| whole(dir).with_durability(Durability::Interval(Duration::ZERO)),
        "`with_durability` is invalid: an interval of zero; allowed are longer ones, such as 500ms, or \
         `Durability::Sync`",
    ),
    // The endpoint.
    (
        |dir| whole(dir).with_endpoint(""),
        "`with_endpoint` is invalid: it is not a URL; allowed are http://host/path, https://host/path, file:///path, \
         tcp://host:port, udp://host:port and unix:///path",
    ),
    (
        |dir| whole(dir).with_endpoint("localhost:4318/v1/logs"),
        "`with_endpoint` is invalid: it is not a URL; allowed are http://host/path, https://host/path, file:///path, \
         tcp://host:port, udp://host:port and unix:///path",
    ),
    (
        |dir| whole(dir).with_endpoint("ftp://host/in"),
        "`with_endpoint` is invalid: its scheme is \"ftp\"; allowed are http, https, file, tcp, udp and unix",
    ),
    (
        |dir| whole(dir).with_endpoint("http://"),
        "`with_endpoint` is invalid: it is not a URL; allowed is http://host/path or https://host/path, with or \
         without a query",
    ),
    (
        |dir| whole(dir).with_endpoint("http:///x"),
        "`with_endpoint` is invalid: it has no host; allowed is http://host/path or https://host/path, with or \
         without a query",
    ),
    (
        |dir| whole(dir).with_endpoint("http://host/in#part"),
        "`with_endpoint` is invalid: it has a fragment, behind #, which is not sent; allowed is http://host/path or \
         https://host/path, with or without a query",
    ),
    (
        |dir| whole(dir).with_endpoint("http://host:443/in"),
        "warning: `with_endpoint`: it is http:// with port 443, where servers expect TLS; did you mean https://?",
    ),
    (
        |dir| whole(dir).with_endpoint("https://host:80/in"),
        "warning: `with_endpoint`: it is https:// with port 80, where servers expect no TLS; did you mean http://?",
    ),
    (
        |dir| whole(dir).with_endpoint("http://host:4317"),
        "warning: `with_endpoint`: it has port 4317, where collectors expect gRPC, and this exporter speaks HTTP; \
         did you mean port 4318?",
    ),
    (
        |dir| whole(dir).with_endpoint("http://host/v1/traces"),
        "warning: `with_endpoint`: its path /v1/traces is that of traces, and logs are sent there; did you mean \
         /v1/logs?",
    ),
    (
        |dir| whole(dir).with_endpoint("http://host/v1/logs/v1/logs"),
        "warning: `with_endpoint`: its path ends in /v1/logs twice; leave one of them out: to \
         OTEL_EXPORTER_OTLP_ENDPOINT it is appended",
    ),
    (
        |dir| whole(dir).with_endpoint("http://host/v1/logs").with_encoder(JsonEncoder::default()),
        "warning: `with_endpoint`: its path /v1/logs is that of OTLP, and records are sent there as application/json \
         of another format; leave out the encoder or the format, and OTLP is sent",
    ),
    (
        |dir| whole(dir).with_endpoint("tcp://host"),
        "`with_endpoint` is invalid: a TCP socket is tcp://host:port, and nothing else",
    ),
    (
        |dir| whole(dir).with_endpoint("file:///var/log/app.log").with_headers([("a", "b")]),
        "`with_headers` is invalid: a file has no use for it; leave it out",
    ),
    (
        |dir| whole(dir).with_proxy("proxy:3128"),
        "`with_proxy` is invalid: it is not a proxy's URL; allowed is http://host:port or https://host:port",
    ),
    (
        |dir| whole(dir).with_proxy("http:///proxy"),
        "`with_proxy` is invalid: it is not a proxy's URL; allowed is http://host:port or https://host:port",
    ),
    // The request.
    (
        |dir| whole(dir).with_headers([("host", "other")]),
        "warning: `with_headers`: the header `host` replaces the endpoint's own host in every request, and a proxy \
         or server may take the request for another one's; leave it out unless that is meant",
    ),
    (
        |dir| whole(dir).with_headers([("x key", "s3cret")]),
        "`with_headers` is invalid: a header's name has a character at byte 1 that is not allowed, or none: allowed \
         are letters, digits and !#$%&'*+-.^_`|~",
    ),
    (
        |dir| whole(dir).with_headers([("x-key", "s3cret\n")]),
        "`with_headers` is invalid: header `x-key`: the value has the control character 0x0a at byte 6; allowed are \
         visible characters, space and tab",
    ),
    (
        |dir| whole(dir).with_headers([("content-length", "3")]),
        "`with_headers` is invalid: header `content-length` frames the request and cannot be set; leave it out",
    ),
    (
        |dir| whole(dir).with_method(Method::Get),
        "`with_method` is invalid: a GET carries one form; it takes a `FormEncoder`, or the format `form`",
    ),
    (
        |dir| {
            let form = whole(dir).with_encoder(FormEncoder::http_handler()).with_method(Method::Get);
            form.with_compression(Compression::Gzip)
        },
        "`with_method` is invalid: a GET cannot be compressed; leave out `with_compression`",
    ),
    (
        |dir| whole(dir).with_timeout(Duration::ZERO),
        "`with_timeout` is invalid: a timeout of zero lets no request through; allowed are longer ones, such as 10s",
    ),
    (
        |dir| whole(dir).with_connect_timeout(Duration::ZERO),
        "`with_connect_timeout` is invalid: a timeout of zero lets no request through; allowed are longer ones, such \
         as 10s",
    ),
    (
        |dir| whole(dir).with_timeout(Duration::from_secs(3)).with_max_timeout(Duration::from_secs(1)),
        "`with_max_timeout` is invalid: 1s; allowed is 3s, the time of a request at first, and more",
    ),
    (|dir| whole(dir).with_max_batch_records(0), "`with_max_batch_records` is invalid: 0; allowed are 1 and more"),
    (|dir| whole(dir).with_max_batch_bytes(0), "`with_max_batch_bytes` is invalid: 0; allowed are 1 and more"),
    (|dir| whole(dir).with_max_request_bytes(0), "`with_max_request_bytes` is invalid: 0; allowed are 1 and more"),
    (|dir| whole(dir).with_max_response_bytes(0), "`with_max_response_bytes` is invalid: 0; allowed are 1 and more"),
    (|dir| whole(dir).with_max_in_flight(0), "`with_max_in_flight` is invalid: 0; allowed are 1 to 1024"),
    (|dir| whole(dir).with_backlog_share(1.5), "`with_backlog_share` is invalid: 1.5; allowed are 0 to 1"),
    (
        |dir| whole(dir).with_backlog_share(0.5).with_strict_order(true),
        "`with_backlog_share` is invalid: 0.5: new records would overtake earlier ones, and the order is strict \
         (`with_strict_order`); allowed with that is 1, which is off",
    ),
    (
        |dir| whole(dir).with_retry_policy(retry(10, 1)),
        "`with_retry_policy` is invalid: initial_delay is 10s and max_delay 1s; allowed is an initial_delay above \
         zero and a max_delay that is not shorter",
    ),
    (
        |dir| whole(dir).with_endpoint("https://host/in").with_root_certificate_pem("no certificate"),
        "`with_root_certificate_pem` is invalid: it is not a certificate in PEM; allowed are one or more CERTIFICATE \
         blocks",
    ),
    (
        |dir| whole(dir).with_endpoint("https://host/in").with_client_identity_pem("no key"),
        "`with_client_identity_pem` is invalid: it is not an identity in PEM; allowed are a PRIVATE KEY and its \
         CERTIFICATE blocks together",
    ),
];

/// A line without the size of the test's disk.
fn without_size(line: &str) -> String {
    let size = line.split("` has ").nth(1).and_then(|rest| rest.split(": no record").next());
    size.filter(|_| line.contains("whole disk")).map_or_else(|| line.to_owned(), |size| line.replace(size, "{total}"))
}

#[test]
fn what_is_wrong_in_code_is_said_in_a_line() {
    let rows = IN_CODE.iter().enumerate().map(|(at, (builder, lines))| {
        let dir = spool_dir();
        let path = dir.path().canonicalize().expect("a directory");
        fs::write(path.join("file"), "").expect("a file");
        for (name, format) in [("newer", "opentelemetry-spool 99\n"), ("none", "photographs\n")] {
            fs::create_dir(path.join(name)).expect("a directory");
            fs::write(path.join(name).join("format"), format).expect("a file");
        }
        fs::create_dir(path.join("other")).expect("a directory");
        fs::write(path.join("other/photo.jpg"), "").expect("a file");
        std::os::unix::fs::symlink(path.join("other"), path.join("link")).expect("a link");
        std::os::unix::fs::symlink(path.join("nothing"), path.join("dangling")).expect("a link");
        let said = said(builder(&path)).iter().map(|line| without_size(line)).collect();
        (format!("row {at} of code"), said, expected(&path, lines))
    });
    check("code", rows);
}

// --- the environment -----------------------------------------------------------------------------------------------

/// Variables that are set besides those that make a whole configuration, and what is said.
type InEnvironment = (&'static [(&'static str, &'static str)], &'static str);

const IN_ENVIRONMENT: &[InEnvironment] = &[
    (
        &[("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "grpc"), ("OTEL_EXPORTER_SPOOL_FORMAT", "")],
        "`OTEL_EXPORTER_OTLP_LOGS_PROTOCOL` is invalid: grpc; this exporter speaks http/protobuf and http/json: set \
         OTEL_EXPORTER_OTLP_LOGS_PROTOCOL=http/protobuf",
    ),
    (
        &[("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "protobuf")],
        "`OTEL_EXPORTER_OTLP_LOGS_PROTOCOL` is invalid: \"protobuf\"; allowed are http/protobuf, http/json; did you \
         mean http/protobuf?",
    ),
    (
        &[("OTEL_EXPORTER_OTLP_PROTOCOL", "http")],
        "`OTEL_EXPORTER_OTLP_PROTOCOL` is invalid: \"http\"; allowed are http/protobuf, http/json",
    ),
    (
        &[("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd")],
        "`OTEL_EXPORTER_OTLP_COMPRESSION` is invalid: \"zstd\"; allowed are gzip, none",
    ),
    (
        &[("OTEL_EXPORTER_OTLP_TIMEOUT", "10 seconds")],
        "`OTEL_EXPORTER_OTLP_TIMEOUT` is invalid: \"10 seconds\"; allowed are milliseconds such as 10000, or a \
         number with ms, s, m, h or d such as 10s",
    ),
    (
        &[("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", "0")],
        "`OTEL_EXPORTER_OTLP_LOGS_TIMEOUT` is invalid: a timeout of zero lets no request through; allowed are longer \
         ones, such as 10s",
    ),
    (
        &[("OTEL_EXPORTER_OTLP_HEADERS", "s3cret")],
        "`OTEL_EXPORTER_OTLP_HEADERS` is invalid: the header at place 1 has no `=`; allowed is name=value,name=value",
    ),
    (
        &[("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "Host=other")],
        "warning: `OTEL_EXPORTER_OTLP_LOGS_HEADERS`: the header `host` replaces the endpoint's own host in every \
         request, and a proxy or server may take the request for another one's; leave it out unless that is meant",
    ),
    (
        &[("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere/ca.pem")],
        "`OTEL_EXPORTER_OTLP_CERTIFICATE` is invalid: \"/nowhere/ca.pem\" cannot be read: No such file or directory \
         (os error 2)",
    ),
    (
        &[("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/dev/null")],
        "`OTEL_EXPORTER_OTLP_CLIENT_KEY` is invalid: a client's key takes its certificate as well",
    ),
    (
        &[("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http:///x")],
        "`OTEL_EXPORTER_OTLP_LOGS_ENDPOINT` is invalid: it has no host; allowed is http://host/path or \
         https://host/path, with or without a query",
    ),
    (
        &[("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", ""), ("OTEL_EXPORTER_OTLP_ENDPOINT", "http:///x")],
        "`OTEL_EXPORTER_OTLP_ENDPOINT` is invalid: it has no host; allowed is http://host/path or https://host/path, \
         with or without a query",
    ),
    (
        &[
            ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", ""),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://host:4318/v1/logs"),
            ("OTEL_EXPORTER_SPOOL_FORMAT", ""),
        ],
        "warning: `OTEL_EXPORTER_OTLP_ENDPOINT`: its path ends in /v1/logs twice; leave one of them out: to \
         OTEL_EXPORTER_OTLP_ENDPOINT it is appended",
    ),
    (
        &[
            ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", ""),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://host:4317"),
            ("OTEL_EXPORTER_SPOOL_FORMAT", ""),
        ],
        "warning: `OTEL_EXPORTER_OTLP_ENDPOINT`: it has port 4317, where collectors expect gRPC, and this exporter \
         speaks HTTP; did you mean port 4318?",
    ),
    (
        &[("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", ""), ("OTEL_EXPORTER_SPOOL_ENDPOINT", "http://host/in")],
        "`OTEL_EXPORTER_SPOOL_ENDPOINT` is invalid: there is no such variable, and it is not read; did you mean \
         `OTEL_EXPORTER_OTLP_LOGS_ENDPOINT`?",
    ),
    (
        &[("OTEL_SDK_DISABLED", "true")],
        "warning: `OTEL_SDK_DISABLED`: it is true, and neither the Rust SDK nor this exporter reads it: records are \
         taken and delivered; to have none, build no exporter then",
    ),
    (
        &[("OTEL_EXPORTER_SPOOL_DIR", "")],
        "`with_spool_dir` is not set: give the directory that keeps records until they are delivered, such as \
         /var/lib/NAME/spool, or set OTEL_EXPORTER_SPOOL_DIR, or in a file `spool_dir`",
    ),
    (
        &[("OTEL_EXPORTER_SPOOL_DIR", "spool")],
        "warning: `OTEL_EXPORTER_SPOOL_DIR`: `spool` is relative: it is `{dir}/spool` now, and another one if the \
         process starts elsewhere; give an absolute path",
    ),
    (
        &[("OTEL_EXPORTER_SPOOL_DRI", "/var/lib/spool")],
        "warning: `OTEL_EXPORTER_SPOOL_DRI`: there is no such variable, and it is not read; did you mean \
         `OTEL_EXPORTER_SPOOL_DIR`?",
    ),
    (
        &[("OTEL_EXPORTER_SPOOL_DIRECTORY", "/var/lib/spool")],
        "warning: `OTEL_EXPORTER_SPOOL_DIRECTORY`: there is no such variable, and it is not read; did you mean \
         `OTEL_EXPORTER_SPOOL_DIR`?",
    ),
    (
        &[("OTEL_EXPORTER_SPOOL_MAX_SPOOL_BYTES", "1GiB")],
        "warning: `OTEL_EXPORTER_SPOOL_MAX_SPOOL_BYTES`: there is no such variable, and it is not read; did you mean \
         `OTEL_EXPORTER_SPOOL_MAX_BYTES`?",
    ),
    (
        &[("OTEL_EXPORTER_SPOOL_PERSISTENCE", "on")],
        "warning: `OTEL_EXPORTER_SPOOL_PERSISTENCE`: there is no such variable, and it is not read; the chapter \
         `configuration` has those that there are",
    ),
    (
        &[("OTEL_EXPORTER_SPOOL_FORMAT", "jsn")],
        "`OTEL_EXPORTER_SPOOL_FORMAT` is invalid: \"jsn\"; allowed are json, http_logging_2, ndjson, text, form, \
         bulk, loki, splunk, clickhouse, pickle; did you mean json?",
    ),
    (
        &[("OTEL_EXPORTER_SPOOL_FORMAT", "xml")],
        "`OTEL_EXPORTER_SPOOL_FORMAT` is invalid: \"xml\"; allowed are json, http_logging_2, ndjson, text, form, \
         bulk, loki, splunk, clickhouse, pickle",
    ),
    (
        &[("OTEL_EXPORTER_SPOOL_TEMPLATE", "{message}")],
        "`OTEL_EXPORTER_SPOOL_TEMPLATE` is invalid: a template goes with one of the formats text, form, loki",
    ),
    (
        &[("OTEL_EXPORTER_SPOOL_FORMAT", "text"), ("OTEL_EXPORTER_SPOOL_TEMPLATE", "{massage}")],
        "`OTEL_EXPORTER_SPOOL_TEMPLATE` is invalid: there is no field `massage`; there are message, timestamp, \
         asctime, created, msecs, relativeCreated, levelname, levelno, severity_text, severity_number, name, target, \
         event, pathname, filename, module, funcName, lineno, process, processName, thread, threadName, exc_text, \
         trace_id, span_id, attributes, attributes[NAME] and resource[NAME]; did you mean message?",
    ),
    (
        &[("OTEL_EXPORTER_SPOOL_METHOD", "PUT")],
        "`OTEL_EXPORTER_SPOOL_METHOD` is invalid: \"PUT\"; allowed are post, get",
    ),
    (
        &[("OTEL_EXPORTER_SPOOL_DURABILITY", "never")],
        "`OTEL_EXPORTER_SPOOL_DURABILITY` is invalid: \"never\"; allowed are sync, process, or how long a power cut \
         may take back, such as 500ms",
    ),
    (
        &[("OTEL_EXPORTER_SPOOL_COMPRESSION", "gzip")],
        "`OTEL_EXPORTER_SPOOL_COMPRESSION` is invalid: \"gzip\"; allowed are lz4, none",
    ),
    (
        &[("OTEL_EXPORTER_SPOOL_SEGMENT_BYTES", "1GiB")],
        "`OTEL_EXPORTER_SPOOL_SEGMENT_BYTES` is invalid: 1073741824 bytes; allowed are 1048576 to 134217728, an \
         eighth of the spool",
    ),
    (
        &[("OTEL_EXPORTER_SPOOL_MAX_BYTES", "4MB")],
        "`OTEL_EXPORTER_SPOOL_MAX_BYTES` is invalid: \"4MB\"; allowed are bytes such as 1048576, 64KiB, 512MiB or \
         2GiB",
    ),
    (
        &[("OTEL_EXPORTER_SPOOL_FULL_POLICY", "evict-oldest")],
        "`OTEL_EXPORTER_SPOOL_FULL_POLICY` is invalid: \"evict-oldest\"; allowed are evict_oldest, reject_new; did \
         you mean evict_oldest?",
    ),
    (
        &[("OTEL_EXPORTER_SPOOL_MAX_AGE", "a week")],
        "`OTEL_EXPORTER_SPOOL_MAX_AGE` is invalid: \"a week\"; allowed are milliseconds such as 10000, or a number \
         with ms, s, m, h or d such as 10s",
    ),
    (
        &[("OTEL_EXPORTER_SPOOL_MAX_IN_FLIGHT", "many")],
        "`OTEL_EXPORTER_SPOOL_MAX_IN_FLIGHT` is invalid: \"many\"; allowed is a number such as 512",
    ),
    (
        &[("OTEL_EXPORTER_SPOOL_STRICT_ORDER", "yes")],
        "`OTEL_EXPORTER_SPOOL_STRICT_ORDER` is invalid: \"yes\"; allowed are true, false",
    ),
    (
        &[("OTEL_EXPORTER_SPOOL_BACKLOG_SHARE", "half")],
        "`OTEL_EXPORTER_SPOOL_BACKLOG_SHARE` is invalid: \"half\"; allowed is a number such as 0.5",
    ),
    (
        &[("OTEL_EXPORTER_SPOOL_PROXY", "proxy:3128")],
        "`OTEL_EXPORTER_SPOOL_PROXY` is invalid: it is not a proxy's URL; allowed is http://host:port or \
         https://host:port",
    ),
];

#[test]
fn what_is_wrong_in_the_environment_is_said_in_a_line() {
    let rows = IN_ENVIRONMENT.iter().map(|(variables, lines)| {
        let dir = spool_dir();
        let path = dir.path().canonicalize().expect("a directory");
        let mut child = emulated(Command::new(CHILD));
        child
            .arg("settings")
            .current_dir(&path)
            .env("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://127.0.0.1:9/in")
            .env("OTEL_EXPORTER_SPOOL_FORMAT", "json")
            .env("OTEL_EXPORTER_SPOOL_DIR", path.join("spool"))
            .envs(variables.iter().copied());
        let output = child.output().expect("a child process");
        assert!(output.status.success(), "{variables:?}: {output:?}");
        let said = String::from_utf8(output.stdout).expect("text").lines().map(str::to_owned).collect();
        (format!("{variables:?}"), said, expected(&path, lines))
    });
    check("the environment", rows);
}

// --- a file --------------------------------------------------------------------------------------------------------

/// The lines of a node `spool`, from line 7 on, and what is said.
const IN_NODE: &[(&str, &str)] = &[
    ("linger: 1s", ""),
    ("endpont: http://host/in", "`endpont, line 7` is invalid: there is no such setting; did you mean `endpoint`?"),
    ("dir: /var/lib/spool", "`dir, line 7` is invalid: there is no such setting; did you mean `spool_dir`?"),
    ("with_max_age: 7d", "`with_max_age, line 7` is invalid: there is no such setting; did you mean `max_age`?"),
    (
        "certificate: /etc/ssl/ca.pem",
        "`certificate, line 7` is invalid: there is no such setting; did you mean `tls.ca_file`?",
    ),
    ("linger: 1s\nlinger: 2s", "`linger, line 8` is invalid: it stands there twice; leave one of them out"),
    (
        "headers:\n  authorization: Bearer s3cret",
        "`headers, line 7` is invalid: it is a map; allowed is a list, as in `headers: [{name: NAME, value: \
         VALUE}]`, or `headers_list: NAME=VALUE,NAME=VALUE`",
    ),
    (
        "headers: authorization=s3cret",
        "`headers, line 7` is invalid: it is a text; allowed is a list, as in `headers: [{name: NAME, value: \
         VALUE}]`, or `headers_list: NAME=VALUE,NAME=VALUE`",
    ),
    (
        "headers:\n  - name: authorization\n    value: Bearer ${NO_TOKEN_HERE}",
        "`headers, line 9` is invalid: the variable `NO_TOKEN_HERE` is not set, or empty, and has no default; set \
         it, or give a default as in ${NO_TOKEN_HERE:-text}",
    ),
    (
        "headers:\n  - nmae: authorization\n    value: s3cret",
        "`nmae, line 8` is invalid: there is no such setting; there are name, value; did you mean `name`?",
    ),
    (
        "headers_list: s3cret",
        "`headers_list, line 7` is invalid: the header at place 1 has no `=`; allowed is name=value,name=value",
    ),
    (
        "proxy: http://${NO_HOST_HERE}/y",
        "`proxy, line 7` is invalid: the variable `NO_HOST_HERE` is not set, or empty, and has no default; set it, \
         or give a default as in ${NO_HOST_HERE:-text}",
    ),
    (
        "proxy: http://${1HOST}/y",
        "`proxy, line 7` is invalid: `${1HOST}` is no variable's name; allowed are letters, digits and `_`, no digit \
         at first, and `$$` for a dollar",
    ),
    ("proxy: http://${HOST/y", "`proxy, line 7` is invalid: a `${` without its `}`; allowed is ${NAME}"),
    (
        "tls:\n  ca: /etc/ssl/ca.pem",
        "`ca, line 8` is invalid: there is no such setting; there are ca_file, key_file, cert_file",
    ),
    (
        "tls:\n  ca_file: /nowhere/ca.pem",
        "`tls.ca_file, line 8` is invalid: \"/nowhere/ca.pem\" cannot be read: No such file or directory (os error 2)",
    ),
    ("encoding: xml", "`encoding, line 7` is invalid: \"xml\"; allowed are protobuf, json"),
    ("compression: lz4", "`compression, line 7` is invalid: \"lz4\"; allowed are gzip, none"),
    (
        "timeout: 10 seconds",
        "`timeout, line 7` is invalid: \"10 seconds\"; allowed are milliseconds such as 10000, or a number with ms, \
         s, m, h or d such as 10s",
    ),
    (
        "max_in_flight: [1, 2]",
        "`the configuration, line 7` is invalid: a list or a map stands where a single value is expected; give a \
         text, a number, true or false",
    ),
    (
        "max_spool_bytes: {}",
        "`the configuration, line 7` is invalid: a list or a map stands where a single value is expected; give a \
         text, a number, true or false",
    ),
    ("strict_order: yes", "`strict_order, line 7` is invalid: \"yes\"; allowed are true, false"),
    (
        "max_age: a week",
        "`max_age, line 7` is invalid: \"a week\"; allowed are milliseconds such as 10000, or a number with ms, s, \
         m, h or d such as 10s",
    ),
    (
        "proxy: [",
        "`the configuration, line 7` is invalid: a list or a map stands where a single value is expected; give a \
         text, a number, true or false",
    ),
];

/// A whole file, and what is said.
const IN_FILE: &[(&str, &str)] = &[
    (
        "",
        "`the configuration` is invalid: no processor and no reader has the exporter `spool`; it stands there as in \
         `logger_provider: {processors: [{batch: {exporter: {spool: {endpoint: URL, spool_dir: DIR}}}}]}`",
    ),
    ("no map", "`the configuration, line 1` is invalid: a map is expected there, with keys and their values"),
    (
        "file_format: '1.0'\nlogger_provider:\n  processors: []\n",
        "`the configuration` is invalid: no processor and no reader has the exporter `spool`; it stands there as in \
         `logger_provider: {processors: [{batch: {exporter: {spool: {endpoint: URL, spool_dir: DIR}}}}]}`",
    ),
    (
        "file_format: '1.0'\nlogger_provider:\n  processors:\n    - batch:\n        exporter:\n          otlp_http:\n            endpoint: http://host/\n",
        "`the configuration` is invalid: no processor and no reader has the exporter `spool`; it stands there as in \
         `logger_provider: {processors: [{batch: {exporter: {spool: {endpoint: URL, spool_dir: DIR}}}}]}`",
    ),
    (
        "file_format: '1.0'\ntracer_provider:\n  processors:\n    - batch:\n        exporter:\n          spool:\n            spool_dir: /nowhere\n",
        "`the configuration` is invalid: no processor of `logger_provider` has the exporter `spool`; it stands there \
         as in `logger_provider: {processors: [{batch: {exporter: {spool: {endpoint: URL, spool_dir: DIR}}}}]}`",
    ),
    (
        "logger_provider:\n  processors:\n    - batch:\n        exporter:\n          spool:\n            endpoint: http://127.0.0.1:9/in\n            \
         spool_dir: {dir}/spool\n",
        "warning: `the configuration`: `file_format` is missing, which names the version of the schema; begin the \
         file with `file_format: \"1.0\"`",
    ),
    (
        "file_format: '1.0'\ndisabled: true\nlogger_provider:\n  processors:\n    - batch:\n        exporter:\n          spool:\n            \
         endpoint: http://127.0.0.1:9/in\n            spool_dir: {dir}/spool\n",
        "warning: `disabled, line 2`: it is true, and neither the Rust SDK nor this exporter reads it: records are \
         taken and delivered; to have none, build no exporter then",
    ),
    (
        "file_format: '1.0'\nlogger_provider:\n  processors:\n    - batch:\n        exporter:\n          spool:\n            \
         endpoint: http://127.0.0.1:9/in\n            spool_dir: {dir}/spool\n    - simple:\n        exporter:\n          spool:\n            \
         endpoint: http://127.0.0.1:9/other\n            spool_dir: {dir}/spool\n",
        "warning: `spool, line 12`: it is a further exporter `spool` for logs and is not read: an exporter takes the \
         first one; leave it out, or give it to an exporter of its own, in a file of its own",
    ),
    (
        "file_format: '1.0'\nlogger_provider:\n  processors: []\nlogger_provider:\n  processors: []\n",
        "`logger_provider, line 4` is invalid: it stands there twice; leave one of them out",
    ),
];

#[test]
fn what_is_wrong_in_a_file_is_said_in_a_line() {
    let of_node = |lines: &str| {
        let indented: Vec<_> = lines.lines().map(|line| format!("            {line}\n")).collect();
        let node = indented.concat();
        format!(
            "file_format: '1.0'\nlogger_provider:\n  processors:\n    - batch:\n        exporter:\n          spool:\n{node}            \
             endpoint: http://127.0.0.1:9/in\n            spool_dir: {{dir}}/spool\n"
        )
    };
    let nodes = IN_NODE.iter().map(|(lines, said)| (of_node(lines), *said));
    let files = IN_FILE.iter().map(|(text, said)| ((*text).to_owned(), *said));
    let rows = nodes.chain(files).map(|(text, lines)| {
        let dir = spool_dir();
        let path = dir.path().canonicalize().expect("a directory");
        let said = match ExporterConfig::from_yaml(&text.replace("{dir}", path.to_str().expect("text"))) {
            Ok(config) => said(LogExporter::builder().with_config(config)),
            Err(error) => vec![error.to_string().lines().next().unwrap_or_default().to_owned()],
        };
        (text, said, expected(&path, lines))
    });
    check("a file", rows);
}
