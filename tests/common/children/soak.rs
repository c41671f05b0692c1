//! A service that logs in several ways at once, stops and delivers on command.

use std::process;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use opentelemetry::logs::LogRecord as _;
use opentelemetry_spool::RetryPolicy;

use super::exporter;
use crate::child::{commands, say};
use crate::service::{Service, by_tenant, name};

pub const MIB: u64 = 1 << 20;
pub const TENANTS: [&str; 5] = ["a", "b", "c", "d", "e"];
/// The rejected store keeps so many bytes.
pub const MAX_REJECTED_BYTES: u64 = 64 << 20;
/// This marks the records that the endpoint rejects for good.
const BAD: char = '!';

/// How a thread logs.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// The number of records without a pause.
    burst: usize,
    pause: Duration,
    padding: usize,
}

const PACES: [Pace; 4] = [
    Pace { burst: 1, pause: Duration::from_millis(5), padding: 100 },
    Pace { burst: 200, pause: Duration::from_secs(1), padding: 300 },
    Pace { burst: 1, pause: Duration::from_secs(2), padding: 10 },
    Pace { burst: 2, pause: Duration::from_millis(400), padding: 30_000 },
];

/// More records than this are never on their way to the disk, so that the processor's queue of 2048 never overflows.
const MAX_QUEUED: u64 = 1000;

pub fn message(tenant: &str, number: usize) -> String {
    let mut message = name(tenant, number);
    if number % 97 == 7 {
        message.push(BAD);
    }
    message
}

pub fn is_bad(message: &str) -> bool {
    message.ends_with(BAD)
}

/// The state that the child's threads share.
#[derive(Default)]
struct Logging {
    on: AtomicBool,
    emitted: AtomicU64,
    /// The threads that are in a burst.
    busy: AtomicUsize,
    /// How many records of each tenant are logged. Who logs one has the lock, so that they are numbered in their order.
    counts: [Mutex<usize>; TENANTS.len()],
}

impl Logging {
    fn log(&self, tenant: usize, padding: &str, service: &Service) {
        let mut count = self.counts[tenant].lock().expect("nobody panics here");
        *count += 1;
        service.log_with(&message(TENANTS[tenant], *count), |record| {
            record.add_attribute("tenant", TENANTS[tenant]);
            record.add_attribute("padding", padding.to_owned());
        });
        self.emitted.fetch_add(1, Ordering::SeqCst);
    }

    fn counts(&self) -> String {
        let counts = self.counts.iter().map(|count| count.lock().expect("nobody panics here").to_string());
        counts.collect::<Vec<_>>().join(" ")
    }
}

/// Logs as long as that is on.
fn log(pace: Pace, service: &Service, logging: &Logging) {
    let padding = "x".repeat(pace.padding);
    for burst in 0.. {
        thread::sleep(pace.pause);
        logging.busy.fetch_add(1, Ordering::SeqCst);
        while logging.on.load(Ordering::SeqCst)
            && logging.emitted.load(Ordering::SeqCst).saturating_sub(service.handle.stats().accepted_records)
                > MAX_QUEUED
        {
            thread::sleep(Duration::from_millis(2));
        }
        let records = if logging.on.load(Ordering::SeqCst) { pace.burst } else { 0 };
        for nth in 0..records {
            logging.log((burst + nth) % TENANTS.len(), &padding, service);
        }
        logging.busy.fetch_sub(1, Ordering::SeqCst);
    }
}

pub(crate) fn main() {
    let mut retries = RetryPolicy::default();
    retries.initial_delay = Duration::from_millis(20);
    retries.max_delay = Duration::from_millis(500);
    let exporter = exporter()
        .with_partition_key(by_tenant)
        .with_segment_bytes(4 * MIB)
        .with_max_batch_bytes(256 << 10)
        .with_max_rejected_bytes(MAX_REJECTED_BYTES)
        .with_timeout(Duration::from_millis(500))
        .with_retry_policy(retries);
    let service = Arc::new(Service::batch(exporter));
    let logging = Arc::new(Logging::default());
    for pace in PACES {
        let (service, logging) = (Arc::clone(&service), Arc::clone(&logging));
        thread::spawn(move || log(pace, &service, &logging));
    }
    say(&format!("pid {}", process::id()));
    for command in commands() {
        match command.as_str() {
            "log" => logging.on.store(true, Ordering::SeqCst),
            "how much" => {
                let stats = service.handle.stats();
                say(&format!("waiting {} of {} records", stats.pending_records, stats.accepted_records));
            }
            "drain" => {
                logging.on.store(false, Ordering::SeqCst);
                // A thread that begins its burst later sees that it must not.
                while logging.busy.load(Ordering::SeqCst) > 0 {
                    thread::sleep(Duration::from_millis(1));
                }
                service.sync();
                service.settle(|_| {
                    say(&format!("still {}", service.handle.stats().pending_records));
                    for tenant in 0..TENANTS.len() {
                        logging.log(tenant, "", &service);
                    }
                });
                let stats = service.handle.stats();
                let emitted = logging.emitted.load(Ordering::SeqCst);
                assert_eq!((stats.accepted_records, stats.pending_records), (emitted, 0), "{stats:?}");
                assert_eq!((stats.failed_exports, stats.lost_records, stats.corrupt_records), (0, 0, 0), "{stats:?}");
                say(&format!("drained {}", logging.counts()));
            }
            command => panic!("unknown: {command}"),
        }
    }
    let _ = service.provider.shutdown();
}
