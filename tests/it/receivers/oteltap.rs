//! oteltap, which has a server for OTLP in a library of its own.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;

/// The program and its address.
fn oteltap() -> Option<(Program, String)> {
    let python = installed("oteltap/bin/python")?;
    let program = Program::start(Command::new(python).arg(script("oteltap_records.py")).arg(free_port().to_string()));
    let url = program.line();
    Some((program, url))
}

/// The records that it has understood, in the order in which it did.
fn understood(program: &Program, count: usize) -> Vec<LogRecord> {
    let record = |_| STANDARD.decode(program.line()).expect("base64");
    (0..count).map(record).map(|record| LogRecord::decode(&*record).expect("a record")).collect()
}

#[test]
fn oteltap_understands_every_field_of_otlp_in_protobuf() {
    let Some((program, url)) = oteltap() else { return };
    let spool = spool_dir();
    let exporter = exporter_to(&format!("{url}/v1/logs"), &spool);
    let service = shop(exporter.with_protocol(Protocol::HttpBinary));
    orders(&service, 1..=COUNT);
    assert_eq!(deliver(&service).failed_requests, 0);
    check_records(understood(&program, COUNT));
}

#[test]
fn oteltap_that_takes_no_gzip_has_every_record_without() {
    let Some((program, url)) = oteltap() else { return };
    let spool = spool_dir();
    let exporter = exporter_to(&format!("{url}/v1/logs"), &spool);
    let service = shop(exporter.with_protocol(Protocol::HttpBinary).with_compression(Compression::Gzip));
    orders(&service, 1..=COUNT);
    deliver(&service);
    check_records(understood(&program, COUNT));
}
