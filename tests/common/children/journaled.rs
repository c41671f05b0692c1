//! A service over `SpoolProcessor` with a journal, whose threads log without end and note in a file what `emit` has returned for.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::thread;
use std::time::Duration;

use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_spool::SpoolProcessor;

use super::{SEGMENT_BYTES, exporter};
use crate::child::{end_with_the_parent, say, setting};
use crate::service::{Service, name};

pub const THREADS: usize = 8;

pub(crate) fn main() {
    end_with_the_parent();
    let run = setting("RUN");
    let counts = OpenOptions::new().write(true).create(true).truncate(false).open(setting("COUNTS")).expect("a file");
    let exporter = exporter().with_segment_bytes(SEGMENT_BYTES);
    let service = Service::build(exporter, SdkLoggerProvider::builder(), |provider, exporter| {
        let delay = Duration::from_millis(setting("DELAY").parse().expect("a number"));
        let processor = SpoolProcessor::builder(exporter).with_journal(true).with_commit_delay(delay);
        provider.with_log_processor(processor.build().expect("a processor"))
    });
    say("ready");
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (service, counts, run) = (&service, &counts, &run);
            scope.spawn(move || {
                for number in 1.. {
                    service.log(&name(&format!("{run}:{thread}"), number));
                    let noted = (number as u64).to_le_bytes();
                    counts.write_all_at(&noted, 8 * thread as u64).expect("a file to write to");
                }
            });
        }
    });
}
