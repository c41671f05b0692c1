//! Several exporters in one process that append at once: a record that takes several log segments of the engine, and many
//! small ones.

use std::fs;
use std::path::Path;
use std::sync::Barrier;
use std::thread;

use opentelemetry::logs::LogRecord as _;
use opentelemetry_spool::Durability;

use super::exporter;
use crate::child::{say, setting};
use crate::service::{Service, noise};

const EXPORTERS: usize = 8;
const SMALL_RECORDS: usize = 500;
const RECORD_BYTES: usize = 12 << 20;

pub(crate) fn main() {
    // It does not get smaller: it is longer than what is compressed together.
    let padding = noise(1 << 20).repeat(RECORD_BYTES >> 20);
    let dir = setting("DIR");
    let services: Vec<_> = (0..EXPORTERS)
        .map(|number| {
            let own = exporter().with_spool_dir(Path::new(&dir).join(number.to_string()));
            Service::simple(own.with_durability(Durability::Process))
        })
        .collect();
    let barrier = Barrier::new(EXPORTERS);
    thread::scope(|scope| {
        for service in &services {
            scope.spawn(|| {
                barrier.wait();
                service.log_with("large", |record| record.add_attribute("padding", padding.clone()));
                say("...");
                service.log_all("small", 1..=SMALL_RECORDS);
            });
        }
    });
    let accepted: u64 = services.iter().map(|service| service.handle.stats().accepted_records).sum();
    assert_eq!(accepted, (EXPORTERS * (1 + SMALL_RECORDS)) as u64);
    say(&format!("logged {}", threads()));
}

/// How many threads the engine has.
fn threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").expect("the threads of this process").flatten();
    let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| name.starts_with("sled-io-")).count()
}
