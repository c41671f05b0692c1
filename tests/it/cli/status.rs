//! What the owner of a queue tells others of it, in a small file.

use common::wait_for;

use super::*;

/// The only queue of a spool, as it is listed.
fn listed(spool: &Path) -> Value {
    let mut listed = document(&print(spool, ["ls", "--json"]));
    let queues = listed["queues"].as_array_mut().expect("queues");
    assert_eq!(queues.len(), 1);
    queues.remove(0)
}

/// What is told of it once it says so.
fn told(spool: &Path, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
    wait_for(what, || Some(listed(spool)["status"].clone()).filter(&is_it))
}

/// A service that seems well is not: its owner tells whether it is behind, since when, and why.
#[test]
fn an_owner_tells_what_waits_what_was_delivered_and_why_nothing_is() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let url = receiver.url("/ingest?key=secret").replace("http://", "http://user:password@");
    let mut child = start_child(&url, spool.path());
    log_of(&mut child, "acme", 1, 3);
    let status = told(spool.path(), "an error", |status| !status["last_error"].is_null());
    assert_eq!(status["pending_records"], 3, "{status}");
    assert_eq!((&status["accepted_records"], &status["delivered_records"]), (&3.into(), &0.into()));
    assert_eq!((&status["last_success"], &status["rejected_records"]), (&Value::Null, &0.into()));
    assert!(status["oldest"].is_string() && status["process"].as_u64() > Some(0), "{status}");
    assert!(status["endpoint"].as_str().is_some_and(|url| url.ends_with("/ingest?...")), "{status}");
    let table = print(spool.path(), ["ls"]);
    assert!(table.contains(" failed ") && table.contains("/ingest?..."), "{table}");
    let counted = print(spool.path(), ["stats"]);
    assert!(counted.contains(&status["process"].to_string()) && counted.contains(" failed "), "{counted}");

    let file = queues(spool.path())[0].join("status");
    let text = fs::read_to_string(&file).expect("a file");
    assert!(!text.contains("secret") && !text.contains("password") && !text.contains("acme"), "{text}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
    }

    receiver.come_up();
    child.tell("flush");
    child.wait_for("flushed");
    let status = told(spool.path(), "a success", |status| status["pending_records"] == 0);
    assert_eq!((&status["oldest"], &status["delivered_records"]), (&Value::Null, &3.into()));
    assert!(status["last_success"].is_string() && status["last_error"].is_string(), "{status}");
    let table = print(spool.path(), ["ls"]);
    assert!(!table.contains(" failed "), "{table}");
    child.kill();
    let queue = listed(spool.path());
    assert_eq!((&queue["owner"], &queue["status"]["process"]), (&"gone".into(), &status["process"]));
}

/// A file of other contents says nothing, and is in nobody's way.
#[test]
fn what_is_told_is_no_part_of_a_spool() {
    let receiver = Receiver::start();
    for contents in [None, Some(""), Some("{\"process\":1}"), Some("\u{fffd}")] {
        let spool = spool_dir();
        left(small(exporter_to(&receiver.url("/ingest"), &spool)), |service| service.log_of("acme", 1..=3));
        let queue = queues(spool.path()).remove(0);
        assert!(queue.join("status").exists(), "an exporter that ends tells what it leaves");
        match contents {
            None => fs::remove_file(queue.join("status")).expect("a file"),
            Some(contents) => fs::write(queue.join("status"), contents).expect("a file"),
        }
        fs::write(queue.join("status.new"), "left by a kill").expect("a file");
        let listed = listed(spool.path());
        assert_eq!((&listed["status"], &listed["waiting_records"]), (&Value::Null, &3.into()));
        let table = print(spool.path(), ["ls"]);
        assert!(table.lines().nth(1).is_some_and(|line| line.ends_with("-     -")), "{table}");
        print(spool.path(), ["stats"]);
        print(spool.path(), ["verify"]);
        print(spool.path(), ["drain"]);
        assert!(!queue.exists(), "{:?}", tree(&queue).keys());
    }
}

#[test]
fn every_table_fits_eighty_columns_and_what_is_cut_shows_that() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let reason = "a response that is longer than a line of a terminal has columns, and of which the end is cut off";
    left_rejected(&receiver, &Answer::status(422).body(reason), &spool, 1);
    let long = "a-tenant-whose-name-has-more-characters-than-a-column-of-a-table-can-have";
    let exporter = small(exporter_to(NOWHERE, &spool)).with_partition_key(move |_, _| long.to_owned());
    left(exporter, |service| service.log_of("acme", 1..=2000));
    left_of("traces", NOWHERE, &spool);
    for args in [
        &["ls"][..],
        &["ls", "-l"],
        &["stats"],
        &["verify"],
        &["drain", "--dry-run", "--since", "2020-01-01"],
        &["rejected", "list"],
        &["salvage", "--list"],
    ] {
        let out = print(spool.path(), args.iter().copied());
        for line in out.lines() {
            assert!(line.chars().count() <= 80, "{args:?}: {line}");
        }
        assert!(out.contains("QUEUE") || out.contains("ID "), "{args:?}: {out}");
        let has_partition = ["stats", "drain"].contains(&args[0]);
        assert_eq!(out.contains('\u{2026}'), has_partition || args[0] == "rejected", "{args:?}: {out}");
    }
    let stats = document(&print(spool.path(), ["stats", "--json"]));
    let partitions = stats["partitions"].as_array().expect("partitions");
    assert!(partitions.iter().any(|of| of["partition"] == long), "{stats}");
}

#[test]
fn what_was_rejected_is_not_counted_as_delivered() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    receiver.answer_by(|request| {
        let refused = request.messages.iter().any(|message| message == "acme-000002");
        if refused { Answer::status(422) } else { Answer::ok() }
    });
    let service = Service::simple(exporter_to(&receiver.url("/ingest"), &spool));
    service.log_of("acme", 1..=5);
    service.wait_for_rejected(1);
    service.deliver();
    // The segment stays, since it is the active one.
    let listed = listed(spool.path());
    let segment = &listed["segments"][0];
    let records = segment["records"].as_u64().expect("a number");
    assert!(records > 5, "{segment}");
    assert_eq!((&segment["delivered"], &segment["rejected"]), (&(records - 1).into(), &1.into()));
    let stats = document(&print(spool.path(), ["stats", "--json"]));
    assert_eq!((&stats["delivered_records"], &stats["rejected_records"]), (&(records - 1).into(), &1.into()));
    let table = print(spool.path(), ["ls", "-l"]);
    let cells: Vec<_> = table.lines().last().expect("a line").split_whitespace().collect();
    assert_eq!(cells[2..6], ["1", "0", &(records - 1).to_string(), "1"], "{table}");
}

#[test]
fn a_segment_that_cannot_be_read_has_counts_that_are_not_known() {
    let spool = spool_dir();
    left_by_a_kill(NOWHERE, spool.path());
    let database = databases(spool.path()).remove(0);
    fs::remove_file(&database).expect("a file");
    // Reading a directory fails on every system.
    fs::create_dir(&database).expect("a directory");
    let (code, out, error) = run(spool.path(), ["ls", "--json"]);
    assert!(code == 0 && error.contains("its records are not counted"), "{error}");
    let queue = &document(&out)["queues"][0];
    let segment = &queue["segments"][0];
    assert_eq!((&segment["state"], &queue["is_partial"]), (&"unreadable".into(), &true.into()), "{out}");
    assert_eq!(
        (&segment["records"], &segment["delivered"], &segment["rejected"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    let (_, out, _) = run(spool.path(), ["ls"]);
    assert!(out.lines().nth(1).is_some_and(|line| line.contains("0+")), "{out}");
    let (_, out, _) = run(spool.path(), ["stats"]);
    assert!(out.contains("0+ records"), "{out}");
}

#[test]
fn a_spool_without_queues_is_said_to_have_none() {
    let spool = spool_dir();
    let _ = Service::simple(exporter_to(NOWHERE, &spool)).provider.shutdown();
    let (code, table, said) = run(spool.path(), ["ls"]);
    assert_eq!((code, table.lines().count(), &*said), (0, 1, "otel-spool: there are no queues, so nothing waits\n"));
}

/// Nothing of what an owner logs or tells may come to a full disk.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told_of() {
    let Some(disk) = common::FileSystem::create(common::Kind::Ext4) else { return };
    let spool = disk.path().join("spool");
    let service = Service::simple(exporter_to(NOWHERE, disk.path()).with_spool_dir(&spool));
    service.log("waits");
    let (_, _, said) = run(&spool, ["ls"]);
    assert_eq!(said, "");
    disk.fill();
    let (code, _, said) = run(&spool, ["ls"]);
    assert!(
        code == 0 && said.starts_with("otel-spool: its disk has 0 B free: what is logged may be in memory"),
        "{said}"
    );
}
