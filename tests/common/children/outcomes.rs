//! A service that opens its spool and logs on command, and reports what came of it.

use std::process;
use std::time::{Duration, Instant};

use opentelemetry::logs::LogRecord as _;
use opentelemetry_spool::ExporterBuildError;

use super::strict_exporter;
use crate::child::{commands, say};
use crate::in_words;
use crate::service::{Returned, Service, name, noise};

const PADDING_BYTES: usize = 20_000;

fn open() -> Result<(Service, Returned), ExporterBuildError> {
    Service::candid(strict_exporter().with_max_batch_records(7))
}

pub(crate) fn main() {
    let one_line = |text: String| text.replace('\n', " ");
    let mut service = None;
    say(&format!("pid {}", process::id()));
    for command in commands() {
        let words: Vec<_> = command.split(' ').collect();
        match (&words[..], &service) {
            (["open"], _) => match open() {
                Ok(opened) => {
                    service = Some(opened);
                    say("opened");
                }
                Err(error) => say(&format!("failed {}", one_line(in_words(&error)))),
            },
            (["log", first, last], Some((service, returned))) => {
                let mut longest = Duration::ZERO;
                for number in first.parse().expect("a number")..=last.parse::<usize>().expect("a number") {
                    let begun = Instant::now();
                    service.log_with(&name("m", number), |record| {
                        record.add_attribute("padding", noise(PADDING_BYTES));
                    });
                    longest = longest.max(begun.elapsed());
                    match &*returned.lock().unwrap() {
                        Ok(()) => say(&format!("accepted {number}")),
                        Err(error) => say(&format!("refused {number} {}", one_line(in_words(error)))),
                    }
                }
                say(&format!("logged {}", longest.as_micros()));
            }
            (["try-to-flush"], Some((service, _))) => {
                let _ = service.handle.flush(Duration::from_millis(200));
                say("tried");
            }
            (["flush"], Some((service, _))) => {
                service.flush();
                say("flushed");
            }
            _ => panic!("what is {command:?}?"),
        }
    }
}
