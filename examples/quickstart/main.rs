//! A service, its endpoint, an outage and a `kill -9`: the purpose of the spool in half a minute.
//!
//! ```text
//! cargo run --no-default-features --features trace --example quickstart
//! ```
//!
//! It needs no server: it starts a receiver of its own on loopback, and itself a second time as the service. It ends
//! with an error if a record or span that was emitted is missing or arrived with another tenant's header, or if a record
//! is out of order.
//!
//! | file | contents |
//! |---|---|
//! | `service.rs` | **what to copy**: a service that logs with `tracing`, in spans, through a spool with a journal |
//! | `report.rs` | the service's reports to this program, line by line, so that a kill cannot take one back |
//! | `process.rs` | starts, kills and ends the service |
//! | `receiver.rs` | the endpoint: HTTP on loopback; it can go down, respond with 503, or withhold a response |
//! | `ledger.rs` | the ledger of what was emitted and delivered, and the verdict |
//! | `tally.rs` | the same of one signal |
//! | `body.rs` | reads the bodies of requests |
//! | `screen.rs` | progress bars and narration |
//! | `summary.rs` | the table, the record and the request at the end |

mod body;
mod ledger;
mod process;
mod receiver;
mod report;
mod screen;
mod service;
mod summary;
mod tally;
mod wait;

use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use indicatif::HumanCount;
use opentelemetry_spool::BoxError;

use crate::ledger::{Ledger, SharedLedger, books};
use crate::process::Service;
use crate::receiver::{Answer, Receiver};
use crate::screen::Screen;
use crate::wait::wait_until;

const HEALTHY: Duration = Duration::from_secs(4);
const OUTAGE_BEFORE_THE_KILL: Duration = Duration::from_secs(5);
const OUTAGE_AFTER_THE_KILL: Duration = Duration::from_secs(4);
/// The longest time that the story waits for the backlog.
const DRAINING_AT_MOST: Duration = Duration::from_secs(20);
/// The records and spans in the spool that count as no backlog: the service goes on logging.
const NO_BACKLOG: u64 = 500;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => tell(),
        ["service", run, url, spool_dir] => service::main(run, url, spool_dir).map(|()| true),
        _ => Err("this example takes no arguments".into()),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("quickstart: {}", with_causes(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

/// Runs the story; returns whether all ended well.
fn tell() -> Result<bool, BoxError> {
    let ledger: SharedLedger = Arc::new(Mutex::new(Ledger::default()));
    let spool = tempfile::Builder::new().prefix("quickstart-spool-").tempdir()?;
    let mut receiver = Receiver::start(Arc::clone(&ledger))?;
    let screen = Screen::start(Arc::clone(&ledger));
    let count = |records: u64| HumanCount(records).to_string();

    screen.chapter(&format!(
        "A service logs: {} threads, a tenant each, {} records a second, a span around each.\nIts endpoint is healthy.",
        service::TENANTS.len(),
        service::RECORDS_PER_SECOND,
    ));
    let service = Service::start(1, &receiver.url(), spool.path(), &ledger)?;
    sleep(HEALTHY);

    receiver.go_down();
    let outage = Instant::now();
    screen.chapter(
        "The endpoint goes down: connections are refused.\n\
         The service logs on and notices nothing. What it logs is in the spool.",
    );
    sleep(OUTAGE_BEFORE_THE_KILL);

    let killed_pid = service.pid();
    service.kill()?;
    let left = books(&ledger).in_spool();
    screen.chapter(&format!(
        "kill -9. Process {killed_pid} is gone, with no chance to say goodbye.\n\
         All that it emitted is delivered or in the spool, where {} records and spans wait.",
        count(left),
    ));
    sleep(Duration::from_millis(1500));

    let service = Service::start(2, &receiver.url(), spool.path(), &ledger)?;
    screen.chapter(&format!(
        "It is started again, as process {}, on the same spool directory,\n\
         and can log after {} ms. The endpoint is still down.",
        service.pid(),
        books(&ledger).opened_millis.unwrap_or_default(),
    ));
    // The dead process's last segment is scanned in the background.
    if wait_until(Duration::from_secs(2), || books(&ledger).pending >= left) {
        screen.line(&format!("It finds all {} records and spans that the dead process left.", count(left)));
        let replayed = books(&ledger).replayed;
        screen.line(&format!("{} of them were in the journal only, not yet committed.", count(replayed)));
    }
    sleep(OUTAGE_AFTER_THE_KILL);

    receiver.come_back(&[Answer::Busy, Answer::Busy, Answer::Busy, Answer::TakenButNotSaid])?;
    let outage = outage.elapsed();
    screen.chapter(
        "The endpoint comes back as endpoints do: it says 503 three times,\n\
         takes a batch without saying so (it is sent again), and is slow.",
    );
    let drained = wait_until(DRAINING_AT_MOST, || books(&ledger).in_spool() < NO_BACKLOG);
    screen.line(if drained { "The backlog is delivered." } else { "The backlog takes its time." });
    sleep(Duration::from_secs(1));

    screen.chapter(
        "The service ends in peace: what is in the journal is committed,\n\
         and what is in the spool is delivered.",
    );
    if let Err(error) = service.end() {
        books(&ledger).fault(error.to_string());
    }
    screen.finish();

    let verdict = books(&ledger).verdict();
    summary::print(&books(&ledger), &verdict, killed_pid, outage);
    if !verdict.is_good() {
        println!("The spool is kept in {}", spool.keep().display());
    }
    Ok(verdict.is_good())
}

/// An error with its causes, in one line.
fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
