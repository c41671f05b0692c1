//! Records in envelopes: bodies of any entries have each record in its own, and end where the stored numbers say.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::Value;

use super::*;
use crate::encode::blocks::{Encoded, Envelope};
use crate::encode::framing::Nesting;
use crate::spool::body::Loose;
use crate::spool::rejected::Rejection;

/// A record: outer and inner envelope, as numbers of [`LABELS`], and how long it is.
type Record = (usize, usize, usize);

/// Envelopes by what they say: nothing, texts that are alike when they are joined, and one that no frame holds.
const LABELS: [&str; 5] = ["", "a", "ab", "b", "long"];

fn label(number: usize) -> String {
    if LABELS[number] == "long" { "long".repeat(20_000) } else { LABELS[number].to_owned() }
}

fn framing(nesting: Nesting) -> Framing {
    match nesting {
        Nesting::Json => Framing::new("application/json", "{\"outers\":[", ",", "]}").nested(nesting),
        _ => Framing::new("application/x-protobuf", "", "", "").nested(nesting),
    }
}

/// A message of protobuf with one field.
fn field(tag: u8, value: &[u8]) -> Vec<u8> {
    let (mut out, mut len) = (vec![tag], value.len());
    while len > 127 {
        out.push(u8::try_from(len & 127).unwrap() | 128);
        len >>= 7;
    }
    out.push(u8::try_from(len).unwrap());
    [&out, value].concat()
}

/// Outer envelope, inner envelope and bytes of a record that says its number.
fn encoded(nesting: Nesting, (outer, inner, len): Record, number: usize) -> [Vec<u8>; 3] {
    let (outer, inner, text) = (label(outer), label(inner), format!("{number}{}", "x".repeat(len)));
    if nesting == Nesting::Json {
        let open = |label: &str, list: &str| {
            let label = if label.is_empty() { String::new() } else { format!("\"label\":\"{label}\",") };
            format!("{{{label}\"{list}\":[").into_bytes()
        };
        return [open(&outer, "inners"), open(&inner, "records"), format!("\"{text}\"").into_bytes()];
    }
    let message = |label: &str| if label.is_empty() { Vec::new() } else { field(0x0a, label.as_bytes()) };
    [message(&outer), message(&inner), field(0x12, text.as_bytes())]
}

fn blocks(nesting: Nesting, appends: &[Vec<Record>]) -> Vec<Block> {
    let (mut number, framing) = (0, framing(nesting));
    let block = |records: &Vec<Record>| {
        let mut block = Block::default();
        for record in records {
            let [outer, inner, bytes] = encoded(nesting, *record, number);
            let envelope = Envelope { outer: &outer, inner: &inner };
            block.push(Encoded { bytes: &bytes, envelope, timestamp: None }, framing.separator());
            number += 1;
        }
        block
    };
    appends.iter().map(block).collect()
}

/// A record that was found in a body: what its envelopes say, and its number.
type Found = (String, String, usize);

/// The fields of a message: tags of one byte, each with a length.
fn fields(mut bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let mut fields = Vec::new();
    while let Some((tag, rest)) = bytes.split_first() {
        let (mut len, mut shift, mut rest) = (0, 0, rest);
        loop {
            let (byte, behind) = rest.split_first().expect("a length");
            len |= usize::from(byte & 127) << shift;
            (shift, rest) = (shift + 7, behind);
            if byte & 128 == 0 {
                break;
            }
        }
        let (value, behind) = rest.split_at_checked(len).expect("as many bytes as the length says");
        fields.push((*tag, value));
        bytes = behind;
    }
    fields
}

/// A group of a body: the outer label, and each inner one with the numbers of its records.
type Group = (String, Vec<(String, Vec<usize>)>);

fn groups(nesting: Nesting, body: &[u8]) -> Vec<Group> {
    let number = |text: &str| text.trim_end_matches('x').parse().unwrap();
    if nesting == Nesting::Json {
        let body: Value = serde_json::from_slice(body).unwrap();
        let label = |of: &Value| of["label"].as_str().unwrap_or_default().to_owned();
        let inner = |of: &Value| {
            let records = of["records"].as_array().unwrap().iter();
            (label(of), records.map(|record| number(record.as_str().unwrap())).collect())
        };
        let outer = |of: &Value| (label(of), of["inners"].as_array().unwrap().iter().map(inner).collect());
        return body["outers"].as_array().unwrap().iter().map(outer).collect();
    }
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let parts = |message| {
        let (labels, rest): (Vec<_>, Vec<_>) = fields(message).into_iter().partition(|(tag, _)| *tag == 0x0a);
        assert!(labels.len() < 2 && rest.iter().all(|(tag, _)| *tag == 0x12));
        (labels.first().map(|(_, label)| text(label)).unwrap_or_default(), rest)
    };
    let inner = |message| {
        let (label, records) = parts(message);
        (label, records.into_iter().map(|(_, record)| number(&text(record))).collect())
    };
    let outer = |message| {
        let (label, inners) = parts(message);
        (label, inners.into_iter().map(|(_, message)| inner(message)).collect())
    };
    let body = fields(body);
    assert!(body.iter().all(|(tag, _)| *tag == 0x0a));
    body.into_iter().map(|(_, message)| outer(message)).collect()
}

fn found(nesting: Nesting, body: &[u8]) -> Vec<Found> {
    let mut found = Vec::new();
    for (outer, inners) in groups(nesting, body) {
        for (inner, numbers) in inners {
            found.extend(numbers.into_iter().map(|number| (outer.clone(), inner.clone(), number)));
        }
    }
    found
}

fn expected(appends: &[Vec<Record>]) -> Vec<Found> {
    let found = |(number, record): (usize, &Record)| (label(record.0), label(record.1), number);
    appends.iter().flatten().enumerate().map(found).collect()
}

/// A batch as it was delivered: the end of its id, how many records it has, and its body before compression.
type Sent = (String, u64, Vec<u8>);

fn deliver(spool: &Spool) -> Vec<Sent> {
    recovered(spool);
    let (partition, mut sent) = (spool.partition("a"), Vec::new());
    while let Some(batch) = next_of(&partition) {
        let records = batch.id.split_once('.').unwrap().1.to_owned();
        sent.push((records, batch.records, batch.plain_body()));
        batch.ack();
    }
    sent
}

fn codings() -> impl Iterator<Item = Coding> {
    let all = [Coding::Identity, Coding::Lz4, Coding::Deflate];
    all.into_iter().filter(|coding| cfg!(feature = "gzip-http") || *coding != Coding::Deflate)
}

/// A spool with these appends, each in an entry of its own or in several.
fn filled(nesting: Nesting, appends: &[Vec<Record>], config: &SpoolConfig) -> Spool {
    let spool = open(config);
    for block in blocks(nesting, appends) {
        spool.append(&[("a", &block)], &framing(nesting)).unwrap();
    }
    spool
}

/// Delivers these appends; what is sent after a restart with other limits must be the same.
fn sent(nesting: Nesting, appends: &[Vec<Record>], coding: Coding, batch: BatchLimits, restart: bool) -> Vec<Sent> {
    let dir = tempfile::tempdir().unwrap();
    let config = SpoolConfig { coding, batch, ..config(dir.path()) };
    let spool = filled(nesting, appends, &config);
    if !restart {
        return deliver(&spool);
    }
    kill(spool);
    let batch = BatchLimits { max_records: 3, max_bytes: 77, linger: Duration::ZERO };
    deliver(&open(&SpoolConfig { batch, coding: Coding::Identity, ..config }))
}

fn check(nesting: Nesting, appends: &[Vec<Record>], batch: BatchLimits) {
    let mut divisions = Vec::new();
    for coding in codings() {
        let sent = self::sent(nesting, appends, coding, batch, false);
        assert_eq!(sent, self::sent(nesting, appends, coding, batch, true), "after a restart, {coding:?}");
        let mut all = Vec::new();
        for (_, records, body) in &sent {
            let fits = body.len() as u64 <= batch.max_bytes && *records <= batch.max_records;
            assert!(fits || *records == 1, "{records} records in {} bytes", body.len());
            let groups = groups(nesting, body);
            if coding != Coding::Deflate {
                let outers: Vec<_> = groups.iter().map(|(outer, _)| outer).collect();
                assert!(outers.iter().all(|outer| outers.iter().filter(|other| other == &outer).count() == 1));
            }
            for (_, inners) in &groups {
                assert!(inners.iter().all(|inner| inners.iter().filter(|other| other.0 == inner.0).count() == 1));
            }
            let found = found(nesting, body);
            assert_eq!(found.len() as u64, *records);
            all.extend(found);
        }
        // Within an envelope records are in order.
        let in_envelopes = |records: &[Found]| {
            let mut records = records.to_vec();
            records.sort_by(|one, other| (&one.0, &one.1).cmp(&(&other.0, &other.1)));
            records
        };
        assert_eq!(in_envelopes(&all), in_envelopes(&expected(appends)), "{coding:?}");
        divisions.push(sent.into_iter().map(|(records, ..)| records).collect::<Vec<_>>());
    }
    // It follows from the entries: where an append takes more than one of them, it differs by how many.
    let is_long = |record: &Record| LABELS[record.0] == "long" || LABELS[record.1] == "long";
    if !appends.iter().flatten().any(is_long) {
        assert_eq!(divisions[0], divisions[1], "compressed in the spool or not");
        // A body that is compressed for the wire consists of whole entries.
        let are_single = appends.iter().all(|append| append.len() == 1);
        assert!(!are_single || divisions.iter().all(|division| *division == divisions[0]), "{divisions:?}");
    }
}

#[test]
fn a_record_outside_a_spool_has_the_body_that_it_would_have_in_one() {
    for nesting in [Nesting::Flat, Nesting::Json, Nesting::Protobuf] {
        for coding in codings() {
            let (dir, record) = (tempfile::tempdir().unwrap(), vec![(1, 2, 40)]);
            let config = SpoolConfig { coding, ..config(dir.path()) };
            let appends = [record];
            // Without envelopes, those of a record are a part of it.
            let (blocks, framing) = match nesting {
                Nesting::Flat => (vec![block(&["a record"])], FRAMING),
                nesting => (blocks(nesting, &appends), framing(nesting)),
            };
            let spool = open(&config);
            spool.append(&[("a", &blocks[0])], &framing).unwrap();
            recovered(&spool);
            let batch = next_of(&spool.partition("a")).unwrap();
            let loose = Loose::of(&blocks[0], &framing, coding);
            assert_eq!((&loose.bytes[..], loose.content_encoding), (&batch.body[..], batch.content_encoding));
            let places: Vec<_> = loose.records.into_iter().collect();
            if cfg!(feature = "relay") {
                assert_eq!(places, batch.places.to_vec(), "{nesting:?} {coding:?}");
            }
        }
    }
}

fn config_of_cases() -> ProptestConfig {
    let mut config = ProptestConfig { failure_persistence: None, max_shrink_iters: 200, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 16;
    }
    config
}

proptest! {
    #![proptest_config(config_of_cases())]

    #[test]
    fn any_records_arrive_in_their_envelopes_within_the_limits_and_under_the_same_ids(
        json in any::<bool>(),
        appends in vec(vec((0..5_usize, 0..5_usize, select(vec![0, 1, 30, 130, 400])), 1..12), 1..8),
        single in any::<bool>(),
        max_records in select(vec![1, 3, 7, 512]),
        max_bytes in select(vec![1, 90, 400, 3_000, 200_000, 1 << 20]),
    ) {
        let appends: Vec<_> = if single {
            appends.into_iter().flatten().map(|record| vec![record]).take(20).collect()
        } else {
            appends
        };
        let nesting = if json { Nesting::Json } else { Nesting::Protobuf };
        check(nesting, &appends, BatchLimits { max_records, max_bytes, linger: Duration::ZERO });
    }
}

/// Some hundred records in all envelopes but the long ones.
fn many(count: usize) -> Vec<Record> {
    (0..count).map(|number| (number % 2, number % 7 % 4, 100 + number % 90)).collect()
}

const BOTH: [Nesting; 2] = [Nesting::Protobuf, Nesting::Json];

#[test]
fn an_append_that_takes_many_entries_arrives_in_its_envelopes() {
    for nesting in BOTH {
        let appends = [many(3_000), many(10), many(2_000)];
        for coding in codings() {
            let batch = BatchLimits { max_records: 10_000, max_bytes: 500_000, linger: Duration::ZERO };
            let sent = sent(nesting, &appends, coding, batch, false);
            assert!((2..10).contains(&sent.len()), "{coding:?}: {}", sent.len());
            let mut all: Vec<_> = sent.iter().flat_map(|(_, _, body)| found(nesting, body)).collect();
            all.sort_by_key(|(.., number)| *number);
            assert_eq!(all, expected(&appends));
        }
    }
}

#[test]
fn a_batch_that_is_cut_at_every_record_has_each_in_its_envelope() {
    for (nesting, coding) in BOTH.into_iter().flat_map(|nesting| codings().map(move |coding| (nesting, coding))) {
        let dir = tempfile::tempdir().unwrap();
        let appends = [many(9), many(1), many(6)];
        let spool = filled(nesting, &appends, &SpoolConfig { coding, ..config(dir.path()) });
        let partition = spool.partition("a");
        next_of(&partition).unwrap().cut(&(1..16).collect::<Vec<_>>()).unwrap();
        let sent = deliver(&spool);
        assert!(sent.len() == 16 && sent.iter().all(|(_, records, _)| *records == 1), "{coding:?}");
        let mut all: Vec<_> = sent.iter().flat_map(|(_, _, body)| found(nesting, body)).collect();
        all.sort_by_key(|(.., number)| *number);
        assert_eq!(all, expected(&appends));
    }
}

#[test]
fn damage_to_an_entry_costs_its_records_and_the_rest_is_well_formed() {
    for (nesting, coding) in BOTH.into_iter().flat_map(|nesting| codings().map(move |coding| (nesting, coding))) {
        let dir = tempfile::tempdir().unwrap();
        let config = SpoolConfig { coding, ..config(dir.path()) };
        let marked = vec![(1, 3, 0)];
        let appends = [many(8), marked.clone(), many(8)];
        let spool = filled(nesting, &appends, &config);
        // Behind the key stands the number of runs, and no other entry has one.
        drop(spool);
        let file = segment_dirs(dir.path())[0].join("db");
        let mut bytes = fs::read(&file).unwrap();
        let head = [&b"a"[..], framing(nesting).content_type().as_bytes(), framing(nesting).open()].concat();
        let at = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(&head)).nth(1).unwrap();
        bytes[at] ^= 1;
        fs::write(&file, bytes).unwrap();

        let spool = open(&config);
        let sent = deliver(&spool);
        let mut all: Vec<_> = sent.iter().flat_map(|(_, _, body)| found(nesting, body)).collect();
        all.sort_by_key(|(.., number)| *number);
        let mut rest = expected(&appends);
        rest.remove(8);
        assert_eq!((all, spool.lost(LossReason::Corrupt)), (rest, 1), "{coding:?}");
    }
}

#[test]
fn a_place_in_a_body_names_a_record_only_where_they_are_in_order() {
    let in_order = [vec![(1, 1, 0), (1, 2, 0)], vec![(1, 2, 0)]];
    let mixed = [vec![(1, 1, 0), (1, 2, 0)], vec![(1, 1, 0)]];
    for (appends, knows) in [(in_order, true), (mixed, false)] {
        let dir = tempfile::tempdir().unwrap();
        let spool = filled(Nesting::Json, &appends, &config(dir.path()));
        let batch = next_of(&spool.partition("a")).unwrap();
        let named = [Rejection { record: 1, response: "bad" }];
        assert_eq!(batch.reject_some(&named, 400, SystemTime::now()).unwrap(), knows);
        let rejected = spool.rejected().records().unwrap();
        let bodies: Vec<_> = rejected.iter().map(|record| found(Nesting::Json, &record.body)).collect();
        if knows {
            assert_eq!(bodies, [[("a".to_owned(), "ab".to_owned(), 1)]]);
        }
        assert_eq!(batch.ack_up_to(1).unwrap(), knows, "the first");
    }
}

#[test]
fn records_in_envelopes_are_not_mixed_with_others() {
    let dir = tempfile::tempdir().unwrap();
    let spool = filled(Nesting::Json, &[vec![(1, 1, 0)]], &config(dir.path()));
    let flat = Framing::new("application/json", "{\"outers\":[", ",", "]}");
    let block = Block::of(&["{\"label\":\"b\",\"inners\":[]}"], b",");
    spool.append(&[("a", &block)], &flat).unwrap();
    let bodies: Vec<_> = deliver(&spool).into_iter().map(|(.., body)| String::from_utf8(body).unwrap()).collect();
    let nested = r#"{"outers":[{"label":"a","inners":[{"label":"a","records":["0"]}]}]}"#;
    assert_eq!(bodies, [nested, r#"{"outers":[{"label":"b","inners":[]}]}"#]);
}
