//! A service under load: logs records of several tenants, so many or without end, and says how far they were accepted.

use std::{process, thread};

use opentelemetry::logs::LogRecord as _;

use super::{TENANTS, strict_exporter};
use crate::child::{end_with_the_parent, say, setting};
use crate::service::{Service, name};

pub(crate) fn main() {
    say(&format!("pid {}", process::id()));
    end_with_the_parent();
    let run = setting("RUN");
    let records: usize = setting("RECORDS").parse().expect("a number");
    let service = Service::batch(strict_exporter().with_max_batch_records(50));
    say("ready");
    for number in 1..=records {
        for tenant in TENANTS {
            service.log_with(&name(&format!("{tenant}-{run}"), number), |record| {
                record.add_attribute("tenant", tenant);
                record.add_attribute("padding", "x".repeat(1_000));
            });
        }
        if number % 10 == 0 || number == records {
            service.sync();
            // That tells of the last export only; the figures, of all.
            let stats = service.handle.stats();
            let accepted = (number * TENANTS.len()) as u64;
            assert_eq!((stats.failed_exports, stats.accepted_records), (0, accepted), "{stats:?}");
            say(&format!("accepted {number}"));
        }
    }
    loop {
        thread::park();
    }
}
