//! Messages as clients send them.

use std::fmt::Write as _;
use std::io::Write as _;

use flate2::write::GzEncoder;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use prost::Message as _;

pub(super) const JSON: (&str, &str) = ("Content-Type", "application/json");
pub(super) const PROTOBUF: (&str, &str) = ("Content-Type", "application/x-protobuf");
pub(super) const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

/// A time like the clients' own: bodies of requests differ by it.
pub(super) fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time after 1970");
    u64::try_from(since.as_nanos()).expect("a time before 2554")
}

/// Records with these bodies as OTLP in JSON.
pub(super) fn otlp_json(bodies: &[String]) -> Vec<u8> {
    let mut records = String::new();
    for body in bodies {
        let comma = if records.is_empty() { "" } else { "," };
        let _ = write!(
            records,
            r#"{comma}{{"timeUnixNano":"{}","severityNumber":9,"body":{{"stringValue":"{body}"}}}}"#,
            now()
        );
    }
    format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{records}]}}]}}]}}"#).into_bytes()
}

/// The same in protobuf.
pub(super) fn otlp_protobuf(bodies: &[String]) -> Vec<u8> {
    let record = |body: &String| LogRecord {
        time_unix_nano: now(),
        severity_number: 9,
        body: Some(AnyValue { value: Some(Value::StringValue(body.clone())) }),
        ..LogRecord::default()
    };
    let scope_logs = vec![ScopeLogs { log_records: bodies.iter().map(record).collect(), ..ScopeLogs::default() }];
    let resource_logs = vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }];
    ExportLogsServiceRequest { resource_logs }.encode_to_vec()
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).expect("memory takes everything");
    gzip.finish().expect("memory takes everything")
}

/// A record as Python's handlers of sockets pickle it, in protocol 1.
pub(super) fn pickle(logger: &str, message: &str) -> Vec<u8> {
    fn text(text: &str, out: &mut Vec<u8>) {
        out.push(b'X');
        out.extend(u32::try_from(text.len()).expect("a short text").to_le_bytes());
        out.extend(text.as_bytes());
    }
    let mut out = b"}(".to_vec();
    for (key, value) in [("name", logger), ("msg", message), ("levelname", "INFO")] {
        text(key, &mut out);
        text(value, &mut out);
    }
    text("args", &mut out);
    out.push(b'N');
    text("levelno", &mut out);
    out.extend(b"K\x14");
    text("created", &mut out);
    out.push(b'G');
    out.extend(1_764_201_600.25_f64.to_be_bytes());
    out.extend(b"u.");
    out
}

/// A payload as a frame.
pub(super) fn framed(payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame");
    [&length.to_be_bytes(), payload].concat()
}

/// A record as a frame.
pub(super) fn frame(message: &str) -> Vec<u8> {
    framed(&pickle("app", message))
}
