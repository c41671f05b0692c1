//! A service that logs what it is sent, each record in an export of its own.

use std::process;

use opentelemetry::logs::LogRecord as _;

use super::strict_exporter;
use crate::child::{commands, say, tell_what_moves};
use crate::service::{Service, name, noise};

pub(crate) fn main() {
    say(&format!("pid {}", process::id()));
    let service = Service::careless(strict_exporter().with_max_batch_records(10));
    say("ready");
    tell_what_moves(&service.handle);
    for command in commands() {
        let words: Vec<_> = command.split(' ').collect();
        match words[..] {
            ["log", prefix, first, last] => {
                let numbers = first.parse().expect("a number")..=last.parse::<usize>().expect("a number");
                for number in numbers {
                    service.log_with(&name(prefix, number), |record| {
                        record.add_attribute("padding", noise(10_000));
                    });
                }
                say(&format!("accepted {last}"));
            }
            ["log-of-long-tenants", tenants, rounds] => {
                for _ in 0..rounds.parse().expect("a number") {
                    for tenant in 0..tenants.parse().expect("a number") {
                        let tenant = format!("{tenant:x>60000}");
                        service.log_with("long", |record| record.add_attribute("tenant", tenant));
                    }
                }
                say("accepted");
            }
            ["flush"] => {
                service.flush();
                say("flushed");
            }
            _ => panic!("what is {command:?}?"),
        }
    }
}
