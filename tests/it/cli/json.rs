//! The page of JSON keys: it says what the tool prints, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

const PAGE: &str = include_str!("../../../src/docs/tool_json.md");

/// Keys that this test prints nothing of: the body of a rejected record that is not text.
const UNSEEN: [(&str, &str); 1] = [("rejected export", "body_base64")];

/// The keys of each command, with their types, by the page.
fn page() -> BTreeMap<String, BTreeMap<String, BTreeSet<String>>> {
    let sections = PAGE.split("\n## ").skip(1).map(|section| {
        let (command, text) = section.split_once('\n').expect("a title");
        let rows = text.lines().filter_map(|line| line.strip_prefix("| `")).map(|row| {
            let (key, rest) = row.split_once("` | ").expect("a key");
            let types = rest.split(" | ").next().expect("a type").split(" or ");
            (key.to_owned(), types.map(str::to_owned).collect())
        });
        (command.to_owned(), rows.collect())
    });
    sections.collect()
}

/// Adds every path in a document with the value's type.
fn collect(value: &Value, path: &str, found: &mut BTreeMap<String, BTreeSet<String>>) {
    let mut add = |path: &str, of: &str| {
        found.entry(path.to_owned()).or_default().insert(of.to_owned());
    };
    let of = match value {
        _ if path == "record" => return add(path, "any"),
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(text) if text.parse::<jiff::Timestamp>().is_ok() => "time",
        Value::String(_) => "text",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    // The page has a row for an array, and one for what is in it if that has no keys.
    let is_of_array = of == "object" && path.ends_with("[]");
    if !path.is_empty() && !is_of_array {
        add(path, of);
    }
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, &format!("{path}[]"), found)),
        Value::Object(fields) => {
            for (key, value) in fields {
                let key = if path == "endpoints" { "SIGNAL" } else { key };
                let path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
                collect(value, &path, found);
            }
        }
        _ => {}
    }
}

/// All that the commands print of a spool, whatever their exit codes.
#[derive(Default)]
struct Printed(BTreeMap<String, BTreeMap<String, BTreeSet<String>>>);

impl Printed {
    fn print<'a>(&mut self, section: &str, spool: &'a Path, args: &[&'a str]) {
        let (_, out, error) = run(spool, args.iter().copied());
        assert!(!out.is_empty(), "{args:?}: {error}");
        let found = self.0.entry(section.to_owned()).or_default();
        for document in documents(&out) {
            collect(&document, "", found);
        }
    }
}

/// Text that is no JSON.
struct Plain;

impl Encoder for Plain {
    fn framing(&self) -> Framing {
        Framing::new("text/plain", "", "\n", "")
    }

    fn encode(&self, _: &dyn LogView, _: &InstrumentationScope, out: &mut Vec<u8>) -> Result<(), BoxError> {
        out.extend_from_slice(b"plain");
        Ok(())
    }
}

#[test]
fn every_key_of_json_is_on_its_page_with_its_type_and_the_page_has_no_other() {
    let mut printed = Printed::default();
    let spool = spool_dir();
    left(small(exporter_to(NOWHERE, &spool)), |service| service.log_of("acme", 1..=3));
    left(exporter_to(NOWHERE, &spool).with_encoder(Binary), |service| service.log("binary"));
    left(exporter_to(NOWHERE, &spool).with_encoder(Plain), |service| service.log("plain"));
    for section in ["ls", "stats", "cat", "verify"] {
        printed.print(section, spool.path(), &[section, "--json"]);
    }
    printed.print("check", spool.path(), &["check", "--to", NOWHERE, "--json"]);
    printed.print("drain --dry-run", spool.path(), &["drain", "--dry-run", "--json"]);
    let elsewhere = ["assign", "--to", "http://127.0.0.1:8/in", "--yes", "--json"];
    printed.print("assign", spool.path(), &elsewhere);
    printed.print("purge --dry-run", spool.path(), &["purge", "--all", "--dry-run", "--json"]);
    // Something that is damaged, or cannot be read, is named.
    fs::remove_file(common::segments(spool.path())[0].join("cursor")).expect("a cursor file");
    fs::create_dir_all(spool.path().join("rejected")).expect("a directory");
    fs::write(spool.path().join("rejected/damaged.logs.json"), "damaged").expect("a file");
    printed.print("purge --containing", spool.path(), &["purge", "--containing", "binary", "--yes", "--json"]);
    printed.print("purge", spool.path(), &["purge", "--all", "--yes", "--json"]);

    let (receiver, spool) = (Receiver::start(), spool_dir());
    left_rejected(&receiver, &Answer::status(422).body("no"), &spool, 1);
    printed.print("rejected list", spool.path(), &["rejected", "list", "--json"]);
    printed.print("rejected export", spool.path(), &["rejected", "export"]);
    let url = receiver.url("/ingest");
    printed.print("rejected retry", spool.path(), &["rejected", "retry", "--all", "--json", "--to", &url]);

    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    left(small(exporter_to(&receiver.url("/ingest"), &spool)), |service| service.log_of("acme", 1..=100));
    damage(&databases(spool.path())[0], 40);
    printed.print("verify", spool.path(), &["verify", "--json"]);
    receiver.come_up();
    printed.print("drain", spool.path(), &["drain", "--json"]);
    printed.print("salvage --list", spool.path(), &["salvage", "--list", "--json"]);
    printed.print("cat", spool.path(), &["salvage", "--json"]);

    let page = page();
    assert_eq!(page.keys().collect::<Vec<_>>(), printed.0.keys().collect::<Vec<_>>());
    for (command, keys) in &page {
        let found = &printed.0[command];
        let is_unseen = |key: &str| UNSEEN.contains(&(command, key));
        // What `stats` says of a status is what `ls` does.
        let is_of_ls = |key: &str| command == "stats" && key.starts_with("queues[].status.");
        for (key, types) in found.iter().filter(|(key, _)| !is_of_ls(key)) {
            let known = keys.get(key).unwrap_or_else(|| panic!("{command}: `{key}` is not on the page"));
            assert!(types.is_subset(known), "{command}: `{key}` is {types:?}, and {known:?} by the page");
        }
        for key in keys.keys().filter(|key| !is_unseen(key)) {
            assert!(found.contains_key(key), "{command}: `{key}` is on the page and is not printed");
        }
    }
}
