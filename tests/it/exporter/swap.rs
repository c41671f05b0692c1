//! The swap: one source, compiled against `opentelemetry_otlp` and against this crate, sends the same.

use std::ffi::OsStr;

use std::process::Command;

use common::children::swap::before;
use common::{Child, Receiver, Request, spool_dir};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::logs::v1::ResourceLogs;
use prost::Message;

use crate::CHILD;

/// Every record with all that stands around it, in an order that does not depend on how they were grouped.
fn records(request: &Request) -> Vec<ResourceLogs> {
    let body = request.plain();
    let mut logs = match request.header("content-type") {
        Some("application/x-protobuf") => ExportLogsServiceRequest::decode(&*body).unwrap(),
        Some("application/json") => serde_json::from_slice(&body).unwrap(),
        other => panic!("{other:?}"),
    };
    let mut records = Vec::new();
    for resource in &mut logs.resource_logs {
        resource.resource.iter_mut().for_each(|resource| resource.attributes.sort_by(|a, b| a.key.cmp(&b.key)));
        for scope in &resource.scope_logs {
            for record in &scope.log_records {
                let scope = opentelemetry_proto::tonic::logs::v1::ScopeLogs {
                    log_records: vec![record.clone()],
                    ..scope.clone()
                };
                records.push(ResourceLogs { scope_logs: vec![scope], ..resource.clone() });
            }
        }
    }
    records.sort_by_key(|record| record.scope_logs[0].log_records[0].observed_time_unix_nano);
    records
}

/// A service's request: path, headers that matter, records.
fn seen(receiver: &Receiver) -> (String, Vec<Option<String>>, Vec<ResourceLogs>) {
    let requests = receiver.wait_for_requests(1);
    let request = requests.last().unwrap();
    let headers = ["content-type", "content-encoding", "x-api-key", "x-other"];
    let headers = headers.map(|name| request.header(name).map(str::to_owned)).to_vec();
    (request.target.clone(), headers, records(request))
}

#[test]
fn configured_in_code_both_send_the_same() {
    for protocol in ["protobuf", "json"] {
        let (before, after, spool) = (Receiver::start(), Receiver::start(), spool_dir());
        before::run(before::in_code(&before.url("/v1/logs"), protocol == "json"));
        let endpoint = after.url("/v1/logs");
        Child::start(
            Command::new(CHILD),
            "swap-in-code",
            [
                ("SPOOL_CHILD_ENDPOINT", OsStr::new(&endpoint)),
                ("SPOOL_CHILD_PROTOCOL", protocol.as_ref()),
                ("OTEL_EXPORTER_SPOOL_DIR", spool.path().as_ref()),
            ],
        )
        .finish();
        let (path, headers, records) = seen(&after);
        assert_eq!(records.len(), 2);
        assert_eq!(path, "/v1/logs");
        assert_eq!(headers[1..3], [Some("gzip".to_owned()), Some("secret".to_owned())]);
        assert_eq!(records, seen(&before).2, "{protocol}");
        assert_eq!(headers, seen(&before).1);
    }
}

#[test]
fn configured_by_the_environment_both_send_the_same() {
    for protocol in ["http/protobuf", "http/json"] {
        let (before, after, spool) = (Receiver::start(), Receiver::start(), spool_dir());
        for (receiver, service) in [(&before, "swap-before"), (&after, "swap-after")] {
            let endpoint = receiver.url("/otel/");
            Child::start(
                Command::new(CHILD),
                service,
                [
                    ("OTEL_EXPORTER_OTLP_ENDPOINT", OsStr::new(&endpoint)),
                    ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", protocol.as_ref()),
                    ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc".as_ref()),
                    ("OTEL_EXPORTER_OTLP_HEADERS", "x-api-key=a%20b, x-other=1".as_ref()),
                    ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip".as_ref()),
                    ("OTEL_EXPORTER_OTLP_TIMEOUT", "30000".as_ref()),
                    ("OTEL_EXPORTER_SPOOL_DIR", spool.path().as_ref()),
                ],
            )
            .finish();
        }
        let (path, headers, _) = seen(&after);
        assert_eq!(path, "/otel/v1/logs");
        assert_eq!(headers[1..], ["gzip", "a b", "1"].map(|value| Some(value.to_owned())));
        assert_eq!(seen(&after), seen(&before));
    }
}
