//! The services that tests start as processes of their own, to kill them, fork them or give them a subscriber: what
//! `spool-test-child NAME` does, and what the test that starts it has to know of it.

mod bridged;
pub mod crash;
#[cfg(target_os = "linux")]
mod crowd;
pub mod filtered;
#[cfg(feature = "gzip-http")]
pub mod fixture;
#[cfg(unix)]
mod fork_exporter;
#[cfg(unix)]
mod fork_processor;
#[cfg(target_os = "linux")]
pub mod journaled;
mod load;
mod outcomes;
mod power;
pub mod processor;
mod service;
pub mod settings;
#[cfg(target_os = "linux")]
mod sharing;
#[cfg(all(feature = "trace", feature = "metrics"))]
pub mod signals;
#[cfg(target_os = "linux")]
pub mod soak;
#[cfg(all(feature = "gzip-http", feature = "otlp"))]
pub mod swap;
#[cfg(all(target_os = "linux", feature = "trace", feature = "metrics"))]
mod three;
#[cfg(all(feature = "trace", feature = "metrics"))]
mod traced;
pub mod witness;

use std::time::Duration;

use opentelemetry_spool::{Durability, LogExporterBuilder};

use crate::child::{setting, setting_or};
use crate::service::{by_tenant, exporter_to};

/// The tenants of `load`.
pub const TENANTS: [&str; 3] = ["a", "b", "c"];
/// An interval that is never over.
pub const NEVER: Duration = Duration::from_secs(1_000 * 60 * 60);

/// Small, so that there are many segments.
const SEGMENT_BYTES: u64 = 1 << 20;

/// Does what the program was started for.
pub fn run(name: &str) {
    match name {
        "bridged" => bridged::main(),
        "crash" => crash::main(),
        #[cfg(target_os = "linux")]
        "crowd" => crowd::main(),
        "filtered" => filtered::main(),
        #[cfg(feature = "gzip-http")]
        "fixture" => fixture::main(),
        #[cfg(unix)]
        "fork-exporter" => fork_exporter::main(),
        #[cfg(unix)]
        "fork-processor" => fork_processor::main(),
        #[cfg(target_os = "linux")]
        "journaled" => journaled::main(),
        "load" => load::main(),
        "outcomes" => outcomes::main(),
        "power" => power::main(),
        "processor" => processor::main(),
        "service" => service::main(),
        "settings" => settings::main(),
        #[cfg(all(feature = "trace", feature = "metrics"))]
        "signals" => signals::main(),
        #[cfg(target_os = "linux")]
        "sharing" => sharing::main(),
        #[cfg(target_os = "linux")]
        "soak" => soak::main(),
        #[cfg(all(feature = "gzip-http", feature = "otlp"))]
        "swap-in-code" => swap::after::run(swap::after::in_code(&setting("ENDPOINT"), setting("PROTOCOL") == "json")),
        #[cfg(all(feature = "gzip-http", feature = "otlp"))]
        "swap-before" => swap::before::run(swap::before::from_environment()),
        #[cfg(all(feature = "gzip-http", feature = "otlp"))]
        "swap-after" => swap::after::run(swap::after::from_environment()),
        #[cfg(all(target_os = "linux", feature = "trace", feature = "metrics"))]
        "three" => three::main(),
        #[cfg(all(feature = "trace", feature = "metrics"))]
        "traced" => traced::main(),
        "witness" => witness::main(),
        _ => panic!("there is no {name:?}"),
    }
}

/// The exporter that the parent's settings ask for.
fn exporter() -> LogExporterBuilder {
    exporter_to(&setting("ENDPOINT"), setting("DIR"))
}

/// The same, with segments that are soon full, and durable as asked.
fn small_exporter() -> LogExporterBuilder {
    let durability = match setting_or("DURABILITY", "sync").as_str() {
        "sync" => Durability::Sync,
        "process" => Durability::Process,
        "never" => Durability::Interval(NEVER),
        millis => Durability::Interval(Duration::from_millis(millis.parse().expect("a number"))),
    };
    exporter().with_durability(durability).with_partition_key(by_tenant).with_segment_bytes(SEGMENT_BYTES)
}

/// The same for what is about the disk: nothing leaves the order, or is cut, because an endpoint failed for long.
fn strict_exporter() -> LogExporterBuilder {
    small_exporter().with_strict_order(true)
}
