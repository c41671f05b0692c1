//! A service with a record filter, through each of the doors that records have.

use opentelemetry::InstrumentationScope;
use opentelemetry::logs::{AnyValue, LogRecord as _};
use opentelemetry_spool::{Filtered, LogView, Redaction};

use super::processor::{lossless, service};
use super::{NEVER, exporter};
use crate::child::{commands, say, setting, tell_what_moves};
use crate::service::Service;

/// This may not be on any disk.
pub const SECRET: &str = "hunter2";

/// The doors: an exporter, a buffer that is committed, and a journal of which nothing is.
pub const DOORS: [&str; 3] = ["exporter", "buffer", "journal"];

/// Drops records with `drop` in front, panics over those with `panic`, and takes the secret out of all others.
pub fn filter(record: &dyn LogView, _: &InstrumentationScope) -> Filtered {
    let body = match record.body() {
        Some(AnyValue::String(body)) => body.as_str(),
        _ => "",
    };
    match body.split_once('-') {
        Some(("drop", _)) => Filtered::Drop,
        Some(("panic", _)) => std::panic::panic_any("a record that the filter does not like"),
        Some(("body", rest)) => Filtered::Redact(Redaction::new().with_body(rest.replace(SECRET, "redacted"))),
        Some(("none", _)) => Filtered::Redact(Redaction::new().without_body()),
        Some(("keep", _)) => Filtered::Keep,
        _ => Filtered::Redact(Redaction::new().without("password").with_attribute("token", "redacted")),
    }
}

/// Logs a record of each kind: six, of which a filter drops one and another one makes it panic.
pub fn log_all(service: &Service) {
    for prefix in ["drop", "panic", "body", "none"] {
        service.log(&format!("{prefix}-{SECRET}"));
    }
    service.log("keep-all");
    service.log_with("attributes", |record| {
        record.add_attribute("password", SECRET);
        record.add_attribute("token", SECRET);
        record.add_attribute("password", format!("another {SECRET}"));
    });
}

pub(crate) fn main() {
    let exporter = exporter().with_record_filter(filter);
    let service = match &*setting("DOOR") {
        "exporter" => Service::batch(exporter),
        "buffer" => service(exporter, lossless),
        _ => service(exporter, |it| lossless(it).with_commit_delay(NEVER).with_journal(true)),
    };
    tell_what_moves(&service.handle);
    for _ in commands() {
        log_all(&service);
        if setting("DOOR") != "journal" {
            service.sync();
        }
        let stats = service.handle.stats();
        say(&format!("filtered {} {}", stats.filtered_records, stats.encode_failed_records));
    }
}
