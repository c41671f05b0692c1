//! A service that logs what it is sent and delivers it.

use std::process;

use super::{NEVER, small_exporter};
use crate::child::{commands, say, tell_what_moves};
use crate::service::Service;

pub(crate) fn main() {
    let service = Service::batch(small_exporter().with_timeout(NEVER).with_max_batch_records(100));
    say(&format!("ready {}", process::id()));
    tell_what_moves(&service.handle);
    for command in commands() {
        let words: Vec<_> = command.split(' ').collect();
        match words[..] {
            ["log", prefix, first, last] => {
                let numbers = first.parse().expect("a number")..=last.parse().expect("a number");
                service.store_all(prefix, numbers);
                say(&format!("accepted {prefix} {last}"));
            }
            ["log-of", tenant, first, last] => {
                service.log_of(tenant, first.parse().expect("a number")..=last.parse().expect("a number"));
                service.sync();
                say(&format!("accepted {tenant} {last}"));
            }
            ["flush"] => {
                service.deliver();
                say("flushed");
            }
            _ => panic!("what is {command:?}?"),
        }
    }
}
