//! Unrelated processes that log to one file at once, which is what `RotatingFileHandler` cannot do.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use super::process::{Process, wait_for_each};
use super::{Client, Form, Places, count, python};

/// Has ten processes log at once. Gives the file's text once everything is in it.
fn log_at_once(python: &Path, kinds: &[&'static str], path: &str, options: &[&str]) -> String {
    let places = Places::new();
    let to = format!("file://{}", places.path(path));
    fs::create_dir(places.path("logs")).expect("a directory");
    let _relay = places.start(&to, options);
    let clients = (0..10).map(|number| {
        let kind = kinds[number % kinds.len()];
        Client::new(format!("p{number}-{kind}"), python, &["python_logging.py", kind], 0, Form::Pickle)
    });
    let mut processes: Vec<_> =
        clients.map(|client| Process::start(&client.name, &mut client.command(&places))).collect();
    wait_for_each(&processes, "its start", |_, said| said.is_ready);
    for process in &mut processes {
        process.tell("go");
        process.tell("back");
    }
    wait_for_each(&processes, "its end", |_, said| said.has_ended);
    for process in processes {
        assert_eq!(process.end().sent, count());
    }
    // The last frames may still be in the sockets.
    let file = places.path("logs/clients.log");
    let mut progress = common::Progress::new();
    loop {
        let text = fs::read_to_string(&file).unwrap_or_default();
        let records = text.lines().filter(|line| line.ends_with(" Gr\u{fc}\u{df}e")).count();
        if records >= 10 * count() {
            places.wait_for_delivery();
            return fs::read_to_string(&file).expect("a file of text");
        }
        assert!(progress.at(text.len()).is_some(), "{records} records in {file}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// Every record is whole, with its trace below it, and each process's records are in their order.
fn check(text: &str) {
    let mut numbers: HashMap<&str, usize> = HashMap::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let id = line.strip_suffix(" Gr\u{fc}\u{df}e").and_then(|line| line.split(' ').next_back());
        let Some((name, number)) = id.and_then(|id| id.rsplit_once('-')) else { panic!("no record begins so: {line}") };
        let expected = numbers.entry(name).or_default();
        assert_eq!(number, format!("{expected:06}"), "{line}");
        *expected += 1;
        // HTTPHandler sends the exception, and no trace.
        if name.ends_with("http-post") {
            assert_eq!(lines.next(), Some("ValueError('no such order')"), "below {line}");
            continue;
        }
        assert_eq!(lines.next(), Some("Traceback (most recent call last):"), "below {line}");
        assert_eq!(lines.find(|line| !line.starts_with("  ")), Some("ValueError: no such order"), "below {line}");
    }
    assert_eq!(numbers.len(), 10);
    assert!(numbers.values().all(|number| *number == count()), "{numbers:?}");
}

#[test]
fn ten_processes_log_to_one_file_at_once_and_every_line_is_whole() {
    let Some(python) = python() else { return };
    check(&log_at_once(&python, &["tcp", "unix", "http-post", "logserv", "unix-datagram"], "logs/clients.log", &[]));
}

#[test]
fn ten_clients_of_logserv_log_to_the_file_that_they_name_and_every_line_is_whole() {
    let Some(python) = python() else { return };
    let options = ["--partition-by", "logserv-file"];
    check(&log_at_once(&python, &["logserv", "logserv-unix"], "logs/", &options));
}
