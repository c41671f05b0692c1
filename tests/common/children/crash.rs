//! A service for the crash oracle: some of its records are bad, and it is killed at the worst moments.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use opentelemetry::logs::LogRecord as _;
use opentelemetry_spool::LogExporterBuilder;

use super::{SEGMENT_BYTES, TENANTS, exporter};
use crate::child::{commands, say, setting};
use crate::service::{Service, by_tenant, name};

/// The number of records of a partition that are logged between two lines of the child.
pub const STRIDE: usize = 10;
/// This marks the records that the endpoint rejects for good.
const BAD: char = '!';

pub fn message(tenant: &str, run: usize, number: usize) -> String {
    let mut message = name(&format!("{tenant}-{run}"), number);
    if (number + 13 * run) % 61 == 7 {
        message.push(BAD);
    }
    message
}

pub fn is_bad(message: &str) -> bool {
    message.ends_with(BAD)
}

/// The settings that the child and the exporter after it have in common.
pub fn configured(exporter: LogExporterBuilder) -> LogExporterBuilder {
    exporter
        .with_partition_key(by_tenant)
        .with_segment_bytes(SEGMENT_BYTES)
        .with_max_batch_records(50)
        .with_max_batch_bytes(256 << 10)
        .with_max_rejected_bytes(1 << 30)
}

/// Logs without end, for several tenants, and says how many records of each were accepted.
pub(crate) fn main() {
    let shut_down = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&shut_down);
    thread::spawn(move || {
        for command in commands() {
            assert_eq!(command, "shut down");
            told.store(true, Ordering::Release);
        }
        // The parent is gone.
        std::process::exit(1);
    });
    let run = setting("RUN").parse().expect("a number");
    let padding = "x".repeat(setting("PADDING").parse().expect("a number of bytes"));
    let exporter = configured(exporter()).with_timeout(Duration::from_millis(200));
    let one_by_one = setting("ONE_BY_ONE") == "true";
    say("starting");
    let service = if one_by_one { Service::careless(exporter) } else { Service::batch(exporter) };
    say("ready");
    for number in 1.. {
        for tenant in TENANTS {
            service.log_with(&message(tenant, run, number), |record| {
                record.add_attribute("tenant", tenant);
                record.add_attribute("padding", padding.clone());
            });
        }
        if number % STRIDE == 0 {
            service.sync();
            let stats = service.handle.stats();
            let total = u64::try_from(number * TENANTS.len()).expect("a small number");
            assert_eq!((stats.accepted_records, stats.failed_exports), (total, 0), "{stats:?}");
            say(&format!("accepted {number}"));
            if shut_down.load(Ordering::Acquire) {
                say(&format!("shutting down {number}"));
                let _ = service.provider.shutdown();
                // Still there to be killed.
                loop {
                    thread::park();
                }
            }
        }
    }
}
