//! Erasure: what is purged is in no file of the spool any more, and what stays is delivered as if nothing had happened.

use common::{files_with, noise, segments};

use super::*;

/// What is to be erased.
const ALICE: &str = "alice@example.com";

/// The messages of a tenant, every fifth of which names Alice.
fn message(tenant: &str, number: usize) -> String {
    let name = name(tenant, number);
    if number.is_multiple_of(5) { format!("{name} for {ALICE}") } else { name }
}

fn log_some(service: &Service, tenants: &[&str], numbers: std::ops::RangeInclusive<usize>) {
    for number in numbers {
        for tenant in tenants {
            service.log_with(&message(tenant, number), |record| {
                record.add_attribute("tenant", (*tenant).to_owned());
                record.add_attribute("padding", noise(2_000));
            });
        }
    }
}

fn without_alice(tenant: &str, numbers: std::ops::RangeInclusive<usize>) -> Vec<String> {
    numbers.map(|number| message(tenant, number)).filter(|message| !message.contains(ALICE)).collect()
}

/// Files that have it, and records that a person is shown with it: what is compressed is not found in files.
fn assert_is_nowhere(text: &str, spool: &Path) {
    assert_eq!(files_with(spool, text.as_bytes()), Vec::<PathBuf>::new());
    for command in [&["cat", "--all"][..], &["salvage"], &["rejected", "export"], &["ls", "-l", "--json"]] {
        let (_, out, _) = run(spool, command.iter().copied());
        assert!(!out.contains(text), "{command:?}: {out}");
    }
}

#[test]
fn a_text_is_erased_from_segments_in_every_form_and_all_others_are_delivered_once_and_in_order() {
    type Configure = fn(LogExporterBuilder) -> LogExporterBuilder;
    let forms: [(&str, Configure); 3] = [
        ("/ingest", |exporter| exporter.with_spool_compression(SpoolCompression::None)),
        ("/ingest", |exporter| exporter.with_spool_compression(SpoolCompression::Lz4)),
        ("/ingest", |exporter| exporter.with_compression(Compression::Gzip)),
    ];
    for (nth, (path, configure)) in forms.into_iter().enumerate() {
        let (receiver, spool) = (Receiver::start_down(), spool_dir());
        let builder = || configure(small(exporter_to(&receiver.url(path), &spool)));
        // Alice is a tenant as well, whose key has her name.
        left(builder(), |service| log_some(service, &["acme", "globex", ALICE], 1..=300));
        assert!(segments(spool.path()).len() > 1, "form {nth}");

        let before = tree(spool.path());
        let counted = print(spool.path(), ["purge", "--containing", ALICE, "--dry-run"]);
        assert_eq!(counted, "would delete 420 records that wait\n", "form {nth}");
        assert!(before == tree(spool.path()), "something was changed");
        let (code, _, error) = run(spool.path(), ["purge", "--containing", ALICE]);
        assert_eq!((code, before == tree(spool.path())), (1, true), "{error}");

        let purged = print(spool.path(), ["purge", "--containing", ALICE, "--yes"]);
        assert_eq!(purged, "deleted 420 records that wait\n", "form {nth}");
        assert_is_nowhere(ALICE, spool.path());
        print(spool.path(), ["verify"]);
        assert_eq!(print(spool.path(), ["purge", "--containing", ALICE, "--yes"]), "deleted no records\n");

        receiver.come_up();
        let service = Service::batch(builder());
        service.log_of("acme", 301..=301);
        service.deliver();
        assert_eq!(service.handle.stats().lost_records, 0, "form {nth}");
        let expected = [without_alice("acme", 1..=300), names("acme", 301..=301)].concat();
        assert_eq!(delivered_of(&receiver, "acme"), expected, "form {nth}");
        assert_eq!(delivered_of(&receiver, "globex"), without_alice("globex", 1..=300), "form {nth}");
        assert_eq!(receiver.delivered().len(), 481, "form {nth}");
    }
}

#[cfg(feature = "otlp")]
#[test]
fn a_text_is_erased_from_records_of_otlp_and_from_their_scope_where_all_of_it_goes() {
    use opentelemetry::logs::{Logger as _, LoggerProvider as _};
    use opentelemetry_spool::Protocol;

    for (protocol, gzip) in
        [Protocol::HttpBinary, Protocol::HttpJson].into_iter().flat_map(|it| [(it, false), (it, true)])
    {
        let spool = spool_dir();
        let exporter = exporter_to("http://127.0.0.1:9/v1/logs", &spool).with_protocol(protocol);
        let service = Service::batch(if gzip { exporter.with_compression(Compression::Gzip) } else { exporter });
        service.handle.pause();
        // In one export: an entry has the records of each scope together, the first ones, those in between and the last ones.
        let owners = [&format!("first of {ALICE}"), "bob", ALICE, "carol", &format!("last of {ALICE}")];
        for number in 1..=20 {
            for owner in owners {
                let logger = service.provider.logger(owner.to_owned());
                let mut record = logger.create_log_record();
                record.set_body(message("m", number).into());
                logger.emit(record);
            }
        }
        service.sync();
        drop(service);
        let all = documents(&print(spool.path(), ["cat"]));
        assert_eq!(all.len(), 100);
        print(spool.path(), ["purge", "--containing", ALICE, "--yes"]);
        assert_is_nowhere(ALICE, spool.path());
        print(spool.path(), ["verify"]);
        let left = documents(&print(spool.path(), ["cat"]));
        let expected: Vec<_> = all.into_iter().filter(|record| !record.to_string().contains(ALICE)).collect();
        assert_eq!((left.len(), left == expected), (32, true), "{protocol:?}, gzip {gzip}");
    }
}

#[test]
fn a_partition_is_erased_with_its_key() {
    let spool = spool_dir();
    // So long that the noise does not have it by chance.
    let gone = "acme-incorporated";
    left(small(exporter_to(NOWHERE, &spool)), |service| log_some(service, &[gone, "globex"], 1..=300));
    let purged = print(spool.path(), ["purge", "--partition", gone, "--yes"]);
    assert_eq!(purged, "deleted 300 records that wait\n");
    assert_is_nowhere(gone, spool.path());
    print(spool.path(), ["verify"]);
    let left: Vec<_> = (1..=300).map(|number| message("globex", number)).collect();
    assert_eq!(messages(&print(spool.path(), ["cat"])), left);
    // All that is given has to fit.
    let purged = print(spool.path(), ["purge", "--partition", "globex", "--containing", ALICE, "--yes"]);
    assert_eq!(purged, "deleted 60 records that wait\n");
    assert!(!files_with(spool.path(), b"globex").is_empty());
    assert_eq!(messages(&print(spool.path(), ["cat"])), without_alice("globex", 1..=300));
}

#[test]
fn what_is_older_is_erased_and_what_is_younger_stays() {
    let spool = spool_dir();
    let mut between = SystemTime::UNIX_EPOCH;
    left(small(exporter_to(NOWHERE, &spool)), |service| {
        service.log_of("acme", 1..=9);
        between = SystemTime::now();
        service.log_of("acme", 10..=20);
    });
    let between = jiff::Timestamp::try_from(between).expect("a time").to_string();
    assert_eq!(print(spool.path(), ["purge", "--older-than", "1h", "--yes"]), "deleted no records\n");
    print(spool.path(), ["purge", "--older-than", &between, "--yes"]);
    assert_eq!(messages(&print(spool.path(), ["cat"])), names("acme", 10..=20));
    assert_is_nowhere("acme-000009", spool.path());
}

#[test]
fn what_was_delivered_is_erased_too_and_not_sent_again() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    left_delivered_in_part(&receiver, spool.path(), 200);

    for number in ["acme-000007", "acme-000070", "acme-000071", "acme-000150"] {
        print(spool.path(), ["purge", "--containing", number, "--yes"]);
        assert_is_nowhere(number, spool.path());
    }
    let counted = document(&print(spool.path(), ["purge", "--containing", "acme-00001", "--dry-run", "--json"]));
    assert_eq!((&counted["delivered_records"], &counted["waiting_records"]), (&10.into(), &0.into()));
    receiver.come_up();
    Service::batch(small(exporter_to(&receiver.url("/ingest"), &spool))).deliver();
    let expected = [names("acme", 1..=70), names("acme", 72..=149), names("acme", 151..=200)].concat();
    assert_eq!(receiver.delivered(), expected);
}

#[test]
fn a_journal_is_purged_and_has_no_remainder_of_what_was_stored_before() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    // The first are stored, and stand in the journal's files until others take their place.
    left_in_a_journal(&receiver.url("/ingest"), spool.path());
    let of_journals = |text: &str| {
        let files = files_with(spool.path(), text.as_bytes()).into_iter();
        files.filter(|path| path.extension().is_some_and(|extension| extension == "journal")).count()
    };
    assert!(of_journals("a-000100") > 0 && of_journals("b-000100") > 0);

    let purged = print(spool.path(), ["purge", "--containing", "-000100", "--yes"]);
    assert_eq!(purged, "deleted 2 records: 1 that wait, 1 in journals\n");
    assert_is_nowhere("-000100", spool.path());
    assert_eq!((of_journals("a-0001"), of_journals("b-0001")), (0, 1));
    receiver.come_up();
    Service::batch(exporter(&receiver, &spool)).deliver();
    let but_one = |prefix| [names(prefix, 1..=99), names(prefix, 101..=500)].concat();
    assert_eq!(receiver.delivered(), [but_one("a"), but_one("b")].concat());
}

#[test]
fn rejected_records_are_purged_by_what_they_are_and_by_what_was_said_of_them() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    left_rejected(&receiver, &Answer::status(422).body("alice may not log"), &spool, 3);
    let count = |spool: &Path| documents(&print(spool, ["rejected", "list", "--json"])).len();
    let purged = print(spool.path(), ["purge", "--containing", "acme-000002", "--yes"]);
    assert!(
        purged.ends_with("1 record in the rejected store\n") || purged.contains("1 in the rejected store"),
        "{purged}"
    );
    assert_eq!(count(spool.path()), 2);
    print(spool.path(), ["purge", "--containing", "alice", "--older-than", "1h", "--yes"]);
    assert_eq!(count(spool.path()), 2);
    print(spool.path(), ["purge", "--containing", "alice", "--yes"]);
    assert_eq!(count(spool.path()), 0);
    assert_is_nowhere("alice", spool.path());
}

#[test]
fn damaged_segments_are_purged_in_quarantine_and_what_is_whole_there_stays() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    left(small(exporter_to(&receiver.url("/ingest"), &spool)), |service| log_some(service, &["acme"], 1..=300));
    damage(&databases(spool.path())[0], 10);
    receiver.come_up();
    assert_eq!(run(spool.path(), ["drain"]).0, 1, "a record is lost");
    let salvaged = |spool: &Path| messages(&run(spool, ["salvage"]).1);
    let before = salvaged(spool.path());
    assert!(before.iter().any(|message| message.contains(ALICE)));
    let (code, purged, error) = run(spool.path(), ["purge", "--containing", ALICE, "--yes"]);
    assert_eq!((code, purged.contains("in quarantine")), (0, true), "{purged}");
    assert!(error.contains("1 of its records cannot be read"), "{error}");
    // Also what is damaged and may have had her name.
    assert_is_nowhere(ALICE, spool.path());
    let left: Vec<_> = before.into_iter().filter(|message| !message.contains(ALICE)).collect();
    assert_eq!(salvaged(spool.path()), left);
}

#[test]
fn the_words_of_the_endpoint_go_with_a_record_that_they_may_repeat() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    receiver.answer_always(Answer::status(503).body(&format!("no room for {ALICE}")));
    let mut child = start_child(&receiver.url("/ingest"), spool.path());
    log_of(&mut child, "acme", 1, 1);
    common::wait_for("a status with the endpoint's words", || {
        let files = files_with(spool.path(), ALICE.as_bytes());
        files.iter().any(|path| path.ends_with("status")).then_some(())
    });
    child.kill();
    assert_eq!(print(spool.path(), ["purge", "--containing", ALICE, "--yes"]), "deleted no records\n");
    assert_is_nowhere(ALICE, spool.path());
    assert_eq!(messages(&print(spool.path(), ["cat"])), names("acme", 1..=1));
}

#[test]
fn nothing_is_purged_while_an_owner_lives_and_records_and_queues_are_not_chosen_at_once() {
    let spool = spool_dir();
    left(small(exporter_to(NOWHERE, &spool)), |service| service.log("one"));
    let alive = Service::careless(small(exporter_to(NOWHERE, &spool)).with_adopt_from(["http://127.0.0.1:8/"]));
    alive.handle.pause();
    alive.log("two");
    let before = databases(spool.path()).iter().map(|path| fs::read(path).expect("a file")).collect::<Vec<_>>();
    let (code, _, error) = run(spool.path(), ["purge", "--containing", "one", "--yes"]);
    assert_eq!(code, 1, "{error}");
    assert!(error.contains("its owner is alive: stop it first; nothing was purged"), "{error}");
    let (code, counted, error) = run(spool.path(), ["purge", "--containing", "one", "--dry-run"]);
    assert_eq!((code, &*counted), (0, "would delete 1 record that wait\n"), "{error}");
    let after = databases(spool.path()).iter().map(|path| fs::read(path).expect("a file")).collect::<Vec<_>>();
    assert!(before == after);
    for wrong in [&["--containing", ""][..], &["--containing", "one", "--all"], &["--partition", "a", "--rejected"]] {
        assert_eq!(run(spool.path(), [&["purge", "--yes"], wrong].concat()).0, 2, "{wrong:?}");
    }
}

#[test]
fn a_dry_run_says_what_would_be_deleted_as_a_whole() {
    let spool = spool_dir();
    left(small(exporter_to(NOWHERE, &spool)), |service| service.log("one"));
    let before = tree(spool.path());
    let said = print(spool.path(), ["purge", "--all", "--dry-run"]);
    assert!(said.starts_with("would delete queue ") && said.contains("1 record that wait"), "{said}");
    assert!(before == tree(spool.path()), "something was changed");
}

#[test]
fn kills_in_the_middle_of_a_purge_cost_nothing_that_stays() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let builder = || small(exporter_to(&receiver.url("/ingest"), &spool));
    left(builder(), |service| log_some(service, &["acme", "globex"], 1..=300));
    let stay = messages(&print(spool.path(), ["cat"])).into_iter().filter(|message| !message.contains(ALICE));
    let stay: Vec<_> = stay.collect();
    // A half of a new database is left only where a kill is in time.
    let is_half_done = || segments(spool.path()).iter().any(|segment| segment.join("db.new").exists());
    let mut kills_in_time = 0;
    for attempt in 0..common::variable("SPOOL_TEST_KILLS", 20) {
        let path = spool.path().to_str().expect("a path of text");
        let mut purge =
            tool(["purge", "--containing", ALICE, "--yes", path]).stderr(Stdio::null()).spawn().expect("a tool");
        // The first one at once when it has begun to write, the others at any time.
        while attempt == 0 && !is_half_done() && purge.try_wait().expect("a process").is_none() {}
        if attempt > 0 {
            std::thread::sleep(std::time::Duration::from_micros(fastrand::u64(..40_000)));
        }
        let _ = purge.kill();
        let ended = purge.wait().expect("a process");
        kills_in_time += usize::from(!ended.success());
        let (_, out, _) = run(spool.path(), ["cat"]);
        let found: Vec<_> = messages(&out).into_iter().filter(|message| !message.contains(ALICE)).collect();
        assert_eq!(found, stay);
    }
    assert!(kills_in_time > 0, "every purge ended before it was killed");
    print(spool.path(), ["purge", "--containing", ALICE, "--yes"]);
    assert_is_nowhere(ALICE, spool.path());
    receiver.come_up();
    let service = Service::batch(builder());
    service.deliver();
    assert_eq!(service.handle.stats().lost_records, 0);
    for tenant in ["acme", "globex"] {
        assert_eq!(delivered_of(&receiver, tenant), without_alice(tenant, 1..=300));
    }
}

#[test]
fn what_cannot_be_deleted_is_named_and_what_nobody_finishes_is_deleted_however_young_it_is() {
    let spool = spool_dir();
    left(small(exporter_to(NOWHERE, &spool)), |service| service.log("one"));
    // A file in place of a directory, which is deleted as one.
    let dead = queues(spool.path())[0].join("0000000001-00000000000000aa.dead");
    fs::write(&dead, ALICE).expect("a file");
    let rejected = spool.path().join("rejected");
    fs::create_dir(&rejected).expect("a directory");
    for name in ["00000000000000aa.0-0-0.logs.new", "00000000000000aa.0-0-0.traces.new"] {
        fs::write(rejected.join(name), ALICE).expect("a file");
    }
    fs::write(rejected.join("00000000000000aa.0-0-0.traces.json"), "not a record").expect("a file");
    let purge = ["purge", "--containing", ALICE, "--yes", "--signal", "logs"];
    let (code, _, error) = run(spool.path(), purge);
    assert_eq!((code, error.contains(".dead cannot be deleted")), (1, true), "{error}");
    fs::remove_file(dead).expect("a file");
    // What is damaged of another signal is nobody's business here.
    assert_eq!(print(spool.path(), purge), "deleted no records\n");
    let left = files_with(&rejected, ALICE.as_bytes());
    assert!(left.len() == 1 && left[0].ends_with("00000000000000aa.0-0-0.traces.new"), "{left:?}");
    let (code, _, error) = run(spool.path(), ["purge", "--containing", ALICE, "--yes"]);
    assert_eq!(code, 1, "{error}");
    assert_is_nowhere(ALICE, spool.path());
}

#[test]
fn a_cursor_that_is_lost_after_a_purge_brings_no_purged_record_back_and_hides_no_other() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let builder = || small(exporter_to(&receiver.url("/ingest"), &spool));
    left(builder(), |service| {
        // Some have no key, as lanes have of which nothing is left.
        for number in 1..=20 {
            service.log(&message("none", number));
        }
        log_some(service, &["acme", "globex"], 1..=20);
    });
    print(spool.path(), ["purge", "--partition", "globex", "--yes"]);
    print(spool.path(), ["purge", "--containing", ALICE, "--yes"]);
    for segment in segments(spool.path()) {
        fs::remove_file(segment.join("cursor")).expect("a cursor file");
    }
    receiver.come_up();
    let service = Service::batch(builder());
    service.deliver();
    assert_eq!(service.handle.stats().lost_records, 0);
    let mut delivered = receiver.delivered();
    delivered.sort();
    assert_eq!(delivered, [without_alice("acme", 1..=20), without_alice("none", 1..=20)].concat());
}

#[test]
fn keys_that_only_a_seal_has_go_as_well() {
    let spool = spool_dir();
    left(small(exporter_to(NOWHERE, &spool)), |service| log_some(service, &["acme", ALICE], 1..=300));
    let database = &databases(spool.path())[0];
    let mut bytes = fs::read(database).expect("a database");
    // Not an entry of hers is whole.
    let found = bytes.windows(ALICE.len()).enumerate().filter(|(_, found)| *found == ALICE.as_bytes());
    let of_her: Vec<_> = found.map(|(at, _)| at).collect();
    assert!(!of_her.is_empty());
    for at in of_her {
        bytes[at] = b'?';
    }
    fs::write(database, bytes).expect("a database");
    let (_, said, error) = run(spool.path(), ["purge", "--containing", ALICE, "--yes"]);
    assert!(error.contains("of its records cannot be read"), "{said} {error}");
    assert_is_nowhere(ALICE, spool.path());
}
