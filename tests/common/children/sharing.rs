//! Several exporters of one process on one spool directory, and the threads that they have together.

use std::fs;

use opentelemetry_spool::LogExporterBuilder;

use super::exporter;
use crate::child::{commands, say};
use crate::service::Service;

pub(crate) fn main() {
    let mut services: Vec<Option<Service>> = Vec::new();
    say("ready");
    for command in commands() {
        let words: Vec<_> = command.split(' ').collect();
        let at = |number: &str| number.parse::<usize>().expect("a number");
        match words[..] {
            ["build", endpoint] => {
                services.push(Some(Service::simple(exporter().with_endpoint(endpoint))));
                say("built");
            }
            ["build-careless", endpoint] => {
                services.push(Some(Service::careless(exporter().with_endpoint(endpoint))));
                say("built");
            }
            ["fail"] => {
                let wrong =
                    [exporter().with_client_identity_pem("no certificate"), exporter().with_spool_dir("/dev/null")];
                let failed = wrong.into_iter().map(LogExporterBuilder::build).filter(Result::is_err).count();
                say(&format!("failed {failed}"));
            }
            ["log", number, prefix, last] => {
                let service = services[at(number)].as_ref().expect("an exporter");
                service.log_all(prefix, 1..=at(last));
                service.deliver();
                say("delivered");
            }
            // Of a careless one the exporter is dropped; the other one is shut down.
            ["end", number] => {
                drop(services[at(number)].take());
                say("ended");
            }
            ["threads"] => say(&format!("threads {}", threads())),
            ["memory"] => say(&format!("memory {} KiB, {} threads in all", memory(), all_threads().len())),
            _ => panic!("what is {command:?}?"),
        }
    }
}

fn all_threads() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").expect("the threads of this process").flatten();
    tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok()).collect()
}

/// How many threads the exporters have.
pub(super) fn threads() -> usize {
    all_threads().iter().filter(|name| name.starts_with("otel-spool-")).count()
}

/// The memory of the process that is in use, in KiB.
pub(super) fn memory() -> String {
    let status = fs::read_to_string("/proc/self/status").expect("the state of this process");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the memory in use");
    resident.trim().trim_end_matches(" kB").to_owned()
}
