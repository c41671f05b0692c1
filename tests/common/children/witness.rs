//! A service that opens its spool, logs and stops on command, and reports all that it sees: what came of every record, events,
//! panics and figures.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::{panic, process};

use opentelemetry::logs::LogRecord as _;
use opentelemetry_spool::{ExporterBuildError, FullPolicy, SpoolStats};

use super::small_exporter;
use crate::child::{commands, say, setting_or};
use crate::in_words;
use crate::service::{Returned, Service, name};

const PADDING_BYTES: usize = 20_000;
/// The most records of a batch.
pub const BATCH_RECORDS: usize = 7;

/// What the record with this message holds beside it. It does not get smaller in the spool.
pub fn padding(message: &str) -> String {
    let mut hasher = DefaultHasher::new();
    message.hash(&mut hasher);
    let mut random = fastrand::Rng::with_seed(hasher.finish());
    std::iter::repeat_with(|| random.alphanumeric()).take(PADDING_BYTES).collect()
}

fn one_line(text: &str) -> String {
    text.replace('\n', " ")
}

fn open() -> Result<(Service, Returned), ExporterBuildError> {
    let mut exporter = small_exporter()
        .with_max_batch_records(BATCH_RECORDS)
        .with_on_event(|event| say(&one_line(&format!("event {event:?}"))));
    if let Ok(bytes) = setting_or("MAX_SPOOL_BYTES", "").parse() {
        exporter = exporter.with_max_spool_bytes(bytes).with_full_policy(FullPolicy::RejectNew);
    }
    Service::candid(exporter)
}

fn figures(stats: &SpoolStats) -> String {
    let SpoolStats {
        accepted_records,
        delivered_records,
        pending_records,
        lost_records,
        corrupt_records,
        not_written_records,
        ..
    } = stats;
    // The others were accepted.
    let lost = lost_records - not_written_records;
    format!(
        "accepted {accepted_records} delivered {delivered_records} pending {pending_records} lost {lost} \
         corrupt {corrupt_records}"
    )
}

pub(crate) fn main() {
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        say(&one_line(&format!("panic {panic}")));
        print(panic);
    }));
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
                Err(error) => say(&format!("failed {}", one_line(&in_words(&error)))),
            },
            (["log", prefix, first, last], Some((service, returned))) => {
                for number in first.parse().expect("a number")..=last.parse::<usize>().expect("a number") {
                    let message = name(prefix, number);
                    service.log_with(&message, |record| record.add_attribute("padding", padding(&message)));
                    match &*returned.lock().unwrap() {
                        Ok(()) => say(&format!("accepted {message}")),
                        Err(error) => say(&format!("refused {message} {}", one_line(&in_words(error)))),
                    }
                }
                say("logged");
            }
            (["stats"], Some((service, _))) => say(&format!("stats {}", figures(&service.handle.stats()))),
            (["close"], Some(_)) => {
                // Dropped without a shutdown: what is not delivered stays.
                service = None;
                say("closed");
            }
            _ => panic!("what is {command:?}?"),
        }
    }
}
