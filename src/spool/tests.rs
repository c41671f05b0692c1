//! The spool as a whole: its promises, and the engine's traps that it must not fall into.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::time::SystemTime;

use super::reader::Batch;
use super::*;
use crate::config::values::FullPolicy;
use crate::encode::blocks::Block;
use crate::encode::framing::Framing;
use crate::observe::loss::LossReason;

const FRAMING: Framing = Framing::ndjson();

fn config(dir: &Path) -> SpoolConfig {
    let batch = BatchLimits { max_records: 512, max_bytes: 1 << 20, linger: Duration::ZERO };
    SpoolConfig {
        dir: dir.to_owned(),
        durability: Durability::Process,
        coding: Coding::Identity,
        segment_bytes: 1 << 20,
        batch,
        limits: SpoolLimits::default(),
        endpoint: None,
    }
}

fn no_wake() -> Arc<Wake> {
    Arc::new(|| ())
}

/// A spool that tells of a gap in a line like `gap: 3 Dropped`, and all the gaps that it told of.
fn open_telling(config: &SpoolConfig) -> (Spool, Arc<Mutex<Vec<Gap>>>) {
    let told: Arc<Mutex<Vec<Gap>>> = Arc::default();
    let tell = told.clone();
    let gap_encoder = move |gap: &Gap| {
        tell.lock().unwrap().push(gap.clone());
        Some((group(&[format!("gap: {} {:?}", gap.records, gap.reason)]), FRAMING))
    };
    let gap_encoder: Arc<GapEncoder> = Arc::new(gap_encoder);
    (Spool::open(config, &hooks(gap_encoder)).unwrap(), told)
}

fn hooks(gap_encoder: Arc<GapEncoder>) -> SpoolHooks {
    SpoolHooks { gap_encoder, wake: no_wake(), events: Arc::default(), losses: Arc::default() }
}

fn open(config: &SpoolConfig) -> Spool {
    Spool::open_silent(config).unwrap()
}

fn group(records: &[impl AsRef<[u8]>]) -> Block {
    let mut group = Block::default();
    for (nth, record) in records.iter().enumerate() {
        if nth > 0 {
            group.payload.extend_from_slice(FRAMING.separator());
        }
        group.payload.extend_from_slice(record.as_ref());
        group.ends.push(group.payload.len());
    }
    group
}

fn append(spool: &Spool, key: &str, records: &[impl AsRef<[u8]>]) {
    spool.append(&[(key, &group(records))], &FRAMING).unwrap();
}

fn next(spool: &Spool, key: &Arc<str>) -> Option<Box<Batch>> {
    next_of(&spool.partition(key))
}

fn next_of(partition: &Partition) -> Option<Box<Batch>> {
    match partition.next(None, SystemTime::now(), false).unwrap() {
        Next::Batch(batch) => Some(batch),
        Next::Linger(_) | Next::Skipped | Next::Empty => None,
    }
}

impl Spool {
    /// Tells of no gap in the stream.
    pub(crate) fn open_silent(config: &SpoolConfig) -> Result<Self, SpoolError> {
        let gap_encoder: Arc<GapEncoder> = Arc::new(|_| None);
        Self::open(config, &hooks(gap_encoder))
    }

    fn lost(&self, reason: LossReason) -> u64 {
        self.inner.losses.get(reason)
    }

    pub(crate) fn partition(&self, key: &str) -> Partition {
        Partition { queue: self.inner.clone(), key: Arc::from(key) }
    }

    /// Waits for the housekeeper to have looked into what a killed process left.
    pub(crate) fn wait_recovered(&self) {
        for queue in self.queues() {
            let mut state = lock(&queue.state);
            while !state.is_recovered() {
                state = queue.progress.wait(state).unwrap();
            }
        }
    }

    /// From now on what is delivered cannot be written down, until the database is opened anew.
    pub(crate) fn fail_cursor(&self) {
        self.inner.cursor.fail_writes();
    }

    /// Ends a spool as a kill does: nothing is sealed or closed in order.
    pub(crate) fn kill(&self) {
        self.inner.closed.store(true, Ordering::Release);
        // Only so that the queue's lock goes, as it does with a process.
        self.inner.ask(Job::Finish);
        lock(&self.housekeeper).take().unwrap().join().unwrap();
    }
}

fn recovered(spool: &Spool) {
    spool.wait_recovered();
}

/// Delivers everything; the lines of each key in the order of delivery, and the ids.
fn drain(spool: &Spool) -> (HashMap<String, Vec<String>>, Vec<String>) {
    recovered(spool);
    let (mut lines, mut ids): (HashMap<String, Vec<String>>, _) = (HashMap::new(), Vec::new());
    while let Some(partition) = spool.checkout() {
        while let Some(batch) = next_of(&partition) {
            let body = std::str::from_utf8(&batch.body).unwrap();
            assert_eq!(body.lines().count() as u64, batch.records);
            lines.entry(partition.to_string()).or_default().extend(body.lines().map(str::to_owned));
            ids.push(batch.id.clone());
            batch.ack();
        }
        partition.release(true);
    }
    spool.settle();
    (lines, ids)
}

#[expect(clippy::needless_pass_by_value, reason = "nothing is done with it after a kill")]
fn kill(spool: Spool) {
    spool.kill();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for found in fs::read_dir(from).unwrap().flatten() {
        let (from, to) = (found.path(), to.join(found.file_name()));
        if from.is_dir() { copy(&from, &to) } else { assert!(fs::copy(from, to).is_ok()) }
    }
}

fn lines(range: Range<usize>) -> Vec<String> {
    range.map(|n| format!("line {n}")).collect()
}

fn segment_dirs(dir: &Path) -> Vec<PathBuf> {
    let is_queue = |found: &fs::DirEntry| found.file_name().len() == 16;
    let queue = fs::read_dir(dir).unwrap().flatten().find(is_queue).unwrap().path();
    let mut dirs: Vec<_> = fs::read_dir(queue).unwrap().flatten().map(|found| found.path()).collect();
    dirs.retain(|path| path.extension().is_some_and(|extension| extension == "segment"));
    dirs.sort();
    dirs
}

#[test]
fn what_is_appended_is_delivered_in_order_by_key() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&config(dir.path()));
    for n in 0..10 {
        append(&spool, "a", &lines(n * 3..n * 3 + 3));
        append(&spool, "b", &lines(n..n + 1));
    }
    let (delivered, _) = drain(&spool);
    assert_eq!(delivered["a"], lines(0..30));
    assert_eq!(delivered["b"], lines(0..10));
    assert_eq!(spool.depth().pending_records, 0);
}

#[test]
fn a_batch_is_the_same_until_it_is_acknowledged_also_after_a_kill_and_with_other_limits() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.batch.max_records = 7;
    let key: Arc<str> = Arc::from("a");
    let spool = open(&config);
    append(&spool, "a", &lines(0..20));
    let first = next(&spool, &key).unwrap();
    append(&spool, "a", &lines(20..30));
    let again = next(&spool, &key).unwrap();
    assert_eq!((&first.id, &first.body, first.records), (&again.id, &again.body, 7));
    first.ack();
    let second = next(&spool, &key).unwrap();
    assert_ne!(second.id, first.id);
    let sent = (second.id.clone(), second.body.clone());
    drop((first, again, second));
    kill(spool);

    config.batch.max_records = 512;
    let spool = open(&config);
    recovered(&spool);
    let again = next(&spool, &key).unwrap();
    assert_eq!(sent, (again.id.clone(), again.body.clone()));
    again.ack();
    let (delivered, _) = drain(&spool);
    assert_eq!(delivered["a"], lines(14..30));
}

#[test]
fn a_body_keeps_to_the_limits() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.batch.max_bytes = 100;
    let spool = open(&config);
    let long = "x".repeat(200);
    append(&spool, "a", &["a".repeat(49), "b".repeat(49), "c".repeat(50), long.clone(), "d".to_owned()]);
    append(&spool, "a", &["e"]);
    let key = spool.checkout().unwrap().key;
    let mut bodies = Vec::new();
    while let Some(batch) = next(&spool, &key) {
        bodies.push(batch.body.len());
        batch.ack();
    }
    // 49 + 1 + 49 + 1, 50 + 1, 200 + 1 alone, and the rest of two entries together.
    assert_eq!(bodies, [100, 51, 201, 4]);
}

/// However records are stored, they arrive as they are.
#[test]
fn what_is_compressed_in_the_spool_is_sent_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let config = SpoolConfig { coding: Coding::Lz4, ..config(dir.path()) };
    let spool = open(&config);
    let long: Vec<_> = (0..30).map(|n| format!("{n} {}", "long ".repeat(20_000))).collect();
    append(&spool, "a", &long);
    append(&spool, "a", &lines(0..2000));
    let (delivered, _) = drain(&spool);
    assert_eq!(delivered["a"], [long, lines(0..2000)].concat());
    kill(spool);
    let bytes = fs::metadata(segment_dirs(dir.path())[0].join("db")).unwrap().len();
    assert!(bytes < 1 << 20, "{bytes} bytes for 3 MB");
}

#[cfg(feature = "gzip-http")]
#[test]
fn what_is_compressed_for_the_wire_is_one_gzip_member_of_whole_pieces() {
    use std::io::Read;

    let dir = tempfile::tempdir().unwrap();
    let config = SpoolConfig { coding: Coding::Deflate, ..config(dir.path()) };
    let spool = open(&config);
    for n in 0..10 {
        append(&spool, "a", &lines(n * 300..n * 300 + 300));
    }
    append(&spool, "a", &lines(3000..5000));
    let (mut arrived, mut counts) = (Vec::new(), Vec::new());
    let key = spool.checkout().unwrap().key;
    while let Some(batch) = next(&spool, &key) {
        assert_eq!(batch.content_encoding, Some("gzip"));
        let mut plain = String::new();
        flate2::read::MultiGzDecoder::new(&batch.body[..]).read_to_string(&mut plain).unwrap();
        assert_eq!(batch.plain_body(), plain.as_bytes());
        let len = batch.body.len();
        assert!(len * 4 < plain.len(), "{len} bytes for {}", plain.len());
        arrived.extend(plain.lines().map(str::to_owned));
        counts.push(batch.records);
        if counts.len() == 2 {
            // As if it were refused: its halves are made of a part each.
            batch.split().unwrap();
            arrived.truncate(300);
            counts.pop();
            counts.push(0);
            continue;
        }
        batch.ack();
    }
    assert_eq!(arrived, lines(0..5000));
    // Never a part of a piece, unless that was divided.
    assert_eq!(counts, [&[300, 0, 150, 150][..], &[300; 8], &[512, 512, 512, 464]].concat());
}

fn lines_of(batch: &Batch) -> Vec<String> {
    std::str::from_utf8(&batch.plain_body()).unwrap().lines().map(str::to_owned).collect()
}

/// Delivers what is left of a partition, after what has arrived.
fn deliver_rest(spool: &Spool, partition: &Partition, mut arrived: Vec<String>) -> Vec<String> {
    loop {
        match partition.next(None, SystemTime::now(), false).unwrap() {
            Next::Batch(batch) => {
                arrived.extend(lines_of(&batch));
                batch.ack();
            }
            Next::Skipped => {}
            Next::Linger(_) | Next::Empty => break,
        }
    }
    assert_eq!(spool.depth().pending_records, 0, "{arrived:?}");
    arrived
}

/// A half can end where an entry does, before the middle.
#[cfg(feature = "gzip-http")]
#[test]
fn a_batch_of_several_pieces_that_is_divided_leaves_nothing_out() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&SpoolConfig { coding: Coding::Deflate, ..config(dir.path()) });
    for part in [0..3, 3..6, 6..10] {
        append(&spool, "a", &lines(part));
    }
    let partition = spool.checkout().unwrap();
    next_of(&partition).unwrap().split().unwrap();
    assert_eq!(deliver_rest(&spool, &partition, Vec::new()), lines(0..10));
}

#[test]
fn a_batch_that_is_divided_where_an_entry_is_damaged_leaves_nothing_else_out() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&config(dir.path()));
    for part in [47..50, 50..51, 51..55] {
        append(&spool, "a", &lines(part));
    }
    drop(spool);
    let path = segment_dirs(dir.path())[0].join("db");
    let mut bytes = fs::read(&path).unwrap();
    let at = place_of_line_50(&bytes);
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
    let spool = open(&config(dir.path()));
    recovered(&spool);
    let partition = spool.checkout().unwrap();
    let batch = next_of(&partition).unwrap();
    assert_eq!(batch.records, 7);
    // Its middle lies just behind what is missing.
    let half = lock(&spool.inner.state).front("a", None).map(|front| front.start);
    assert_eq!(half, Some(0));
    batch.split().unwrap();
    drop(batch);
    let expected = [lines(47..50), lines(51..55)].concat();
    assert_eq!(deliver_rest(&spool, &partition, Vec::new()), expected);
}

#[test]
fn what_expires_behind_a_request_that_is_under_way_is_given_up_once() {
    let dir = tempfile::tempdir().unwrap();
    let hour = Duration::from_secs(3600);
    let limits = SpoolLimits { max_age: Some(hour), ..SpoolLimits::default() };
    let batch = BatchLimits { max_records: 2, max_bytes: 1 << 20, linger: Duration::ZERO };
    let spool = open(&SpoolConfig { batch, limits, ..config(dir.path()) });
    append(&spool, "a", &lines(0..3));
    let partition = spool.checkout().unwrap();
    partition.allow(2);
    let first = next_of(&partition).unwrap();
    let later = SystemTime::now() + 2 * hour;
    assert!(matches!(partition.next(None, later, true), Ok(Next::Skipped)));
    assert_eq!(spool.lost(LossReason::Expired), 1);
    first.ack();
    assert_eq!(deliver_rest(&spool, &partition, Vec::new()), Vec::<String>::new());
}

#[test]
fn batches_that_are_refused_in_any_order_are_divided_and_all_is_delivered() {
    let dir = tempfile::tempdir().unwrap();
    let batch = BatchLimits { max_records: 8, max_bytes: 1 << 20, linger: Duration::ZERO };
    let spool = open(&SpoolConfig { batch, ..config(dir.path()) });
    append(&spool, "a", &lines(0..26));
    let partition = spool.checkout().unwrap();
    partition.allow(2);
    let (one, other) = (next_of(&partition).unwrap(), next_of(&partition).unwrap());
    other.split().unwrap();
    one.split().unwrap();
    let (half, next_half) = (next_of(&partition).unwrap(), next_of(&partition).unwrap());
    assert_ne!(half.id, next_half.id);
    half.split().unwrap();
    let quarter = next_of(&partition).unwrap();
    next_half.ack();
    // What was divided meanwhile is not acknowledged by a late answer.
    half.ack();
    quarter.ack();
    let arrived = [lines_of(&next_half), lines_of(&quarter)].concat();
    let mut arrived = deliver_rest(&spool, &partition, arrived);
    arrived.sort_by_key(|line| line[5..].parse::<usize>().unwrap());
    assert_eq!(arrived, lines(0..26));
}

#[test]
fn a_batch_that_is_never_taken_does_not_let_the_cursor_grow() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&config(dir.path()));
    append(&spool, "a", &["stuck"]);
    let partition = spool.checkout().unwrap();
    partition.allow(2);
    let stuck = next_of(&partition).unwrap();
    let mut delivered = 0;
    for _ in 0..400 {
        append(&spool, "a", &["passes"]);
        delivered += next_of(&partition).filter(|batch| batch.id != stuck.id).map_or(0, |batch| {
            batch.ack();
            1
        });
    }
    assert_eq!(delivered, 256);
    let front = lock(&spool.inner.state).front("a", Some(stuck.start())).unwrap();
    assert_eq!(front.cursor.ends.len(), 257);
    stuck.ack();
    assert_eq!(deliver_rest(&spool, &partition, Vec::new()).len(), 400 - 256);
}

#[test]
fn what_lingers_waits_until_it_is_full_old_or_forced() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.batch.linger = Duration::from_secs(60);
    config.batch.max_records = 3;
    let spool = open(&config);
    let key: Arc<str> = Arc::from("a");
    append(&spool, "a", &lines(0..2));
    let now = SystemTime::now();
    assert!(
        matches!(spool.inner.next(&key, None, now, false), Ok(Next::Linger(left)) if left <= Duration::from_secs(60))
    );
    assert!(matches!(spool.inner.next(&key, None, now + Duration::from_secs(61), false), Ok(Next::Batch(_))));
    let spool_dir = tempfile::tempdir().unwrap();
    config.dir = spool_dir.path().to_owned();
    let spool = open(&config);
    append(&spool, "a", &lines(0..2));
    assert!(matches!(spool.inner.next(&key, None, now, true), Ok(Next::Batch(batch)) if batch.records == 2));
    append(&spool, "b", &lines(0..4));
    assert!(
        matches!(spool.inner.next(&Arc::from("b"), None, now, false), Ok(Next::Batch(batch)) if batch.records == 3)
    );
}

#[test]
fn a_record_larger_than_a_frame_passes() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let spool = open(&config);
    let long: String = ('a'..='z').cycle().take(10_000_000).collect();
    append(&spool, "a", &["before", &long, "after"]);
    kill(spool);
    let spool = open(&config);
    let (delivered, _) = drain(&spool);
    assert!(delivered["a"] == ["before", &long, "after"]);
}

#[test]
fn framings_are_not_mixed_in_a_body_and_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let spool = open(&config);
    append(&spool, "a", &["1", "2"]);
    let mut json = group(&["[3]"]);
    json.ends = vec![3];
    spool.append(&[("a", &json)], &Framing::json_array()).unwrap();
    drop(spool);
    let spool = open(&config);
    let key = spool.checkout().unwrap().key;
    let first = next(&spool, &key).unwrap();
    assert_eq!((&first.body[..], &*first.content_type), (&b"1\n2\n"[..], "application/x-ndjson"));
    first.ack();
    let second = next(&spool, &key).unwrap();
    assert_eq!((&second.body[..], &*second.content_type), (&b"[[3]]"[..], "application/json"));
}

#[test]
fn disk_is_given_back_while_the_spool_drains() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let spool = open(&config);
    for n in 0..40 {
        append(&spool, "a", &[format!("{n:04}"), "x".repeat(250_000)]);
    }
    assert!(segment_dirs(dir.path()).len() >= 8);
    let (delivered, _) = drain(&spool);
    assert_eq!(delivered["a"].len(), 80);
    // The newest and the one prepared; the others are deleted in the background.
    let mut patience = 10_000;
    while segment_dirs(dir.path()).len() > 2 {
        std::thread::sleep(Duration::from_millis(1));
        patience -= 1;
        assert!(patience > 0);
    }
    spool.close();
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().flatten().map(|found| found.file_name()).collect();
    assert_eq!(left, ["format"], "what is delivered altogether leaves no queue");
}

/// A receiver remembers ids: one that comes again with other records would cost those.
#[test]
fn no_id_is_used_for_two_batches() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let mut used = HashSet::new();
    for round in 0..6 {
        let spool = open(&config);
        recovered(&spool);
        append(&spool, "a", &[format!("round {round}")]);
        let (_, ids) = drain(&spool);
        for id in ids {
            assert!(used.insert(id.clone()), "{id} came a second time in round {round}");
        }
        match round % 3 {
            0 => drop(spool),
            1 => kill(spool),
            _ => {
                append(&spool, "a", &["left for the next round"]);
                kill(spool);
            }
        }
    }
}

/// A stuck partition keeps an old segment while the newest is delivered altogether.
#[test]
fn the_number_of_a_segment_is_not_used_again_while_an_older_one_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let mut used = HashSet::new();
    let spool = open(&config);
    append(&spool, "stuck", &["one"]);
    drop(spool);
    for round in 0..4 {
        let spool = open(&config);
        assert_eq!(spool.checkout().as_deref(), Some("stuck"));
        append(&spool, "a", &[format!("round {round}")]);
        let (_, ids) = drain(&spool);
        assert!(ids.into_iter().all(|id| used.insert(id)), "round {round}");
        spool.partition("stuck").release(true);
    }
}

#[test]
fn a_partition_that_is_stuck_does_not_hold_the_others_nor_their_disk() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let spool = open(&config);
    append(&spool, "stuck", &["one"]);
    for n in 0..40 {
        append(&spool, "a", &[format!("{n:04}"), "x".repeat(250_000)]);
    }
    append(&spool, "stuck", &["two"]);
    assert_eq!(spool.checkout().as_deref(), Some("stuck"));
    let (delivered, _) = drain(&spool);
    assert_eq!(delivered["a"].len(), 80);
    spool.partition("stuck").release(true);
    drop(spool);
    assert_eq!(segment_dirs(dir.path()).len(), 2);
    let (delivered, _) = drain(&open(&config));
    assert_eq!(delivered["stuck"], ["one", "two"]);
}

#[test]
fn a_second_spool_on_one_directory_has_a_queue_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let (one, two) = (open(&config), open(&config));
    append(&one, "a", &["one"]);
    append(&two, "a", &["two"]);
    let (first, ids_of_first) = drain(&one);
    let (second, ids_of_second) = drain(&two);
    assert_eq!((&first["a"][..], &second["a"][..]), (&["one".to_owned()][..], &["two".to_owned()][..]));
    assert_ne!(ids_of_first, ids_of_second);
}

#[test]
fn queues_whose_owners_are_gone_are_adopted_one_after_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let dead: Vec<_> = (0..3).map(|_| open(&config)).collect();
    let living = open(&config);
    append(&living, "a", &["of a neighbour"]);
    let spool = open(&config);
    for (n, dead) in dead.into_iter().enumerate() {
        append(&dead, "a", &lines(n * 5..n * 5 + 5));
        append(&dead, "b", &["b"]);
        if n > 0 { kill(dead) } else { drop(dead) }
    }
    append(&spool, "a", &["its own"]);
    let (mut delivered, mut ids) = drain(&spool);
    for _ in 0..3 {
        spool.adopt();
        let (more, more_ids) = drain(&spool);
        ids.extend(more_ids);
        for (key, lines) in more {
            delivered.entry(key).or_default().extend(lines);
        }
        assert!(spool.may_adopt());
    }
    spool.adopt();
    assert!(!spool.may_adopt(), "there is no other");
    assert_eq!(delivered["a"].len(), 16);
    assert_eq!(delivered["b"].len(), 3);
    for n in 0..3 {
        let at = delivered["a"].iter().position(|line| *line == lines(n * 5..n * 5 + 5)[0]).unwrap();
        assert_eq!(delivered["a"][at..at + 5], lines(n * 5..n * 5 + 5));
    }
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
    assert_eq!(drain(&living).0["a"], ["of a neighbour"]);
}

#[test]
fn another_format_is_refused_in_words() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("format"), "opentelemetry-spool 5\n").unwrap();
    let error = Spool::open_silent(&config(dir.path())).map(drop).unwrap_err();
    assert!(error.to_string().ends_with("has spool format 5; this version reads formats up to 4"), "{error}");
    fs::write(dir.path().join("format"), "opentelemetry-spool 3\n").unwrap();
    assert!(matches!(Spool::open_silent(&config(dir.path())), Err(SpoolError::OlderFormat { found: 3, .. })));
    fs::write(dir.path().join("format"), "something else\n").unwrap();
    assert!(matches!(Spool::open_silent(&config(dir.path())), Err(SpoolError::NotASpool { .. })));
}

#[cfg(unix)]
#[test]
fn the_directories_are_the_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("new/spool");
    let spool = open(&config(&root));
    append(&spool, "a", &["one"]);
    drop(spool);
    let _spool = open(&config(&root));
    let (mut seen, mut left) = (0, vec![root]);
    while let Some(path) = left.pop() {
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        if path.is_dir() {
            assert!(mode == 0o700 || path.ends_with("blobs"), "{mode:o} {}", path.display());
            left.extend(fs::read_dir(path).unwrap().flatten().map(|found| found.path()));
        } else if !path.to_string_lossy().contains("snap.") {
            assert_eq!(mode, 0o600, "{}", path.display());
            seen += 1;
        }
    }
    assert!(seen >= 6, "{seen}");
}

#[cfg(unix)]
#[test]
fn a_symbolic_link_in_place_of_the_spool_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let link = dir.path().join("spool");
    std::os::unix::fs::symlink(elsewhere.path(), &link).unwrap();
    let error = Spool::open_silent(&config(&link)).map(drop).unwrap_err();
    assert!(crate::error::error_chain(&error).contains("it is a symbolic link"), "{error}");
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

/// Whatever happens to the file of a sealed segment: what is delivered is what was written, in order.
#[test]
fn no_damage_delivers_anything_that_was_not_written() {
    let original = tempfile::tempdir().unwrap();
    let base = config(original.path());
    sealed_segment(&base);
    let mut random = fastrand::Rng::with_seed(42);
    for round in 0..60 {
        let dir = tempfile::tempdir().unwrap();
        copy(original.path(), dir.path());
        let file = store::file_path(&segment_dirs(dir.path())[0]);
        let mut bytes = fs::read(&file).unwrap();
        let used = (place_of_line_50(&bytes) * 2).min(bytes.len());
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..used);
            let end = (at + random.usize(1..20_000)).min(bytes.len());
            let elsewhere = random.usize(..=bytes.len() - (end - at));
            match random.u8(..5) {
                0 => bytes[at] ^= 1 << random.u8(..8),
                1 => bytes[at..end].fill(0),
                2 => bytes[at..end].fill_with(|| random.u8(..)),
                3 => bytes.copy_within(at..end, elsewhere),
                _ => bytes.truncate(end),
            }
            bytes.resize(bytes.len().max(used), 0);
        }
        fs::write(&file, bytes).unwrap();
        let (spool, told) = open_telling(&SpoolConfig { dir: dir.path().to_owned(), ..base.clone() });
        let (mut delivered, _) = drain(&spool);
        all_told(&spool);
        drain(&spool);
        let mut lines = delivered.remove("a").unwrap_or_default();
        lines.retain(|line| !line.starts_with("gap"));
        let numbers: Vec<usize> =
            lines.iter().map(|line| line.strip_prefix("line ").unwrap().parse().unwrap()).collect();
        assert!(numbers.is_sorted_by(|one, two| one < two), "round {round}: {numbers:?}");
        let missing: u64 = told.lock().unwrap().iter().map(|gap| gap.records).sum();
        assert_eq!(lines.len() as u64 + missing, 100, "round {round}");
    }
}

// --- the engine's traps ------------------------------------------------------------------------------------------

/// Leaves that split or are consolidated write their values again; values above a quarter of the engine's log segment
/// become blob files. Neither happens.
#[test]
fn what_is_written_is_written_once_and_inline() {
    for record_bytes in [300, 180_000, 900_000, 3_000_000] {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        config.segment_bytes = 64 << 20;
        let spool = open(&config);
        let mut payload = 0;
        while payload < 40_000_000 {
            let count = (200_000 / record_bytes).max(1);
            append(&spool, "a", &vec![vec![b'x'; record_bytes]; count]);
            payload += count * record_bytes;
        }
        let segment = &segment_dirs(dir.path())[0];
        assert_eq!(fs::read_dir(segment.join("blobs")).unwrap().count(), 0);
        // The file only grows, so its length is what was written.
        let written = fs::metadata(store::file_path(segment)).unwrap().len();
        assert!(written * 100 < payload as u64 * 105, "{written} bytes for {payload} in records of {record_bytes}");
    }
}

fn sealed_segment(config: &SpoolConfig) -> PathBuf {
    let spool = open(config);
    for n in 0..100 {
        append(&spool, "a", &lines(n..n + 1));
    }
    drop(spool);
    segment_dirs(&config.dir).remove(0)
}

/// The last place: what follows `line 5` can be a `0` by chance.
fn place_of_line_50(bytes: &[u8]) -> usize {
    bytes.windows(7).rposition(|window| window == b"line 50").unwrap()
}

#[test]
fn a_flipped_bit_costs_one_entry() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let file = store::file_path(&sealed_segment(&config));
    let mut bytes = fs::read(&file).unwrap();
    let at = place_of_line_50(&bytes);
    bytes[at] ^= 1;
    fs::write(&file, bytes).unwrap();
    let spool = open(&config);
    let (delivered, _) = drain(&spool);
    assert_eq!(delivered["a"], [lines(0..50), lines(51..100)].concat());
    all_told(&spool);
    assert_eq!(fs::read_dir(dir.path().join("quarantine")).unwrap().count(), 1, "it is kept to be looked at");
}

#[test]
fn quarantine_keeps_to_its_share() {
    let dir = tempfile::tempdir().unwrap();
    let config = limited(dir.path());
    for round in 0..4 {
        let spool = open(&config);
        append(&spool, "a", &["x".repeat(900_000)]);
        drop(spool);
        let file = store::file_path(&segment_dirs(dir.path())[0]);
        let mut bytes = fs::read(&file).unwrap();
        bytes[500_000] ^= 1;
        fs::write(&file, bytes).unwrap();
        let (spool, told) = open_telling(&config);
        drain(&spool);
        all_told(&spool);
        assert_eq!(told.lock().unwrap().len(), 1, "round {round}");
        drain(&spool);
        assert!(fs::read_dir(dir.path().join("quarantine")).unwrap().count() <= 1);
    }
}

/// The whole directory is away for a while: unmounted, say.
#[test]
fn nothing_is_made_in_place_of_a_directory_that_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir.path().join("spool"));
    let spool = open(&config);
    append(&spool, "a", &lines(0..5));
    fs::rename(&config.dir, dir.path().join("away")).unwrap();
    lock(&spool.inner.head).as_mut().unwrap().segment.fail_writes();
    assert!(spool.append(&[("a", &group(&lines(5..10)))], &FRAMING).is_err());
    assert!(!config.dir.exists());
    fs::rename(dir.path().join("away"), &config.dir).unwrap();
    append(&spool, "a", &lines(10..15));
    let (delivered, _) = drain(&spool);
    assert_eq!(delivered["a"], [lines(0..5), lines(10..15)].concat());
}

#[test]
fn a_database_that_was_cut_short_gives_what_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let file = store::file_path(&sealed_segment(&config));
    let bytes = fs::read(&file).unwrap();
    let at = place_of_line_50(&bytes);
    fs::write(&file, &bytes[..at + 4]).unwrap();
    let (delivered, _) = drain(&open(&config));
    assert_eq!(delivered["a"], lines(0..50));
}

#[test]
fn leftovers_of_a_failed_opening_do_not_block_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let segment = sealed_segment(&config);
    fs::write(segment.with_file_name("cursor").join("snap.00000000000000FF.generating"), "half").unwrap();
    let (delivered, _) = drain(&open(&config));
    assert_eq!(delivered["a"], lines(0..100));
}

#[test]
fn a_cursor_that_cannot_be_opened_is_set_aside_and_all_is_delivered_again() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let segment = sealed_segment(&config);
    let cursor = segment.parent().unwrap().join("cursor");
    fs::remove_dir_all(&cursor).unwrap();
    fs::create_dir(&cursor).unwrap();
    fs::write(cursor.join("conf"), "not what the engine wrote").unwrap();
    let (delivered, _) = drain(&open(&config));
    assert_eq!(delivered["a"], lines(0..100));
}

#[test]
fn after_a_write_error_the_records_go_to_a_new_segment() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&config(dir.path()));
    append(&spool, "a", &lines(0..5));
    // What no database can be written to any more looks like: every write of this one fails from now on.
    lock(&spool.inner.head).as_mut().unwrap().segment.fail_writes();
    append(&spool, "a", &lines(5..10));
    let (delivered, ids) = drain(&spool);
    assert_eq!(delivered["a"], lines(0..10));
    assert_eq!(ids.len(), 2);
}

/// What a failed append had written already is written again elsewhere; a restart must not find it twice.
#[test]
fn what_was_written_but_not_accepted_is_not_delivered_twice_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let config = SpoolConfig { durability: Durability::Sync, ..config(dir.path()) };
    let spool = open(&config);
    append(&spool, "a", &lines(0..5));
    lock(&spool.inner.head).as_mut().unwrap().segment.fail_syncs();
    // Keeps the housekeeper from sealing what is found.
    let opening = lock(&spool.inner.opening);
    spool.inner.ask(Job::Prefetch(77));
    append(&spool, "a", &lines(5..10));
    copy(dir.path(), &dir.path().with_extension("killed"));
    drop(opening);
    let killed = SpoolConfig { dir: dir.path().with_extension("killed"), ..config };
    kill(spool);
    let (delivered, _) = drain(&open(&killed));
    assert_eq!(delivered["a"], lines(0..10));
    fs::remove_dir_all(killed.dir).unwrap();
}

#[test]
fn a_segment_that_cannot_be_read_for_a_while_is_delivered_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let spool = open(&config);
    append(&spool, "a", &lines(0..5));
    kill(spool);
    let file = store::file_path(&segment_dirs(dir.path())[0]);
    fs::rename(&file, file.with_extension("away")).unwrap();
    fs::create_dir(&file).unwrap();
    let spool = open(&config);
    append(&spool, "a", &lines(5..10));
    assert!(spool.checkout().is_none(), "nothing overtakes it");
    assert!(!spool.wait_delivered(Duration::from_millis(1)));
    fs::remove_dir(&file).unwrap();
    fs::rename(file.with_extension("away"), &file).unwrap();
    let (delivered, _) = drain(&spool);
    assert_eq!(delivered["a"], lines(0..10));
}

/// Nor does it keep a new exporter from working, or the other queues from being adopted.
#[test]
fn a_cursor_that_cannot_be_opened_for_a_while_is_not_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let file = store::file_path(&sealed_segment(&config).with_file_name("cursor"));
    fs::rename(&file, file.with_extension("away")).unwrap();
    fs::create_dir(&file).unwrap();
    let (spool, other) = (open(&config), open(&config));
    append(&spool, "a", &["new"]);
    append(&other, "a", &["of another"]);
    drop(other);
    for expected in [&["new", "of another"][..], &[]] {
        spool.adopt();
        let (mut delivered, _) = drain(&spool);
        assert_eq!(delivered.remove("a").unwrap_or_default(), expected);
    }
    fs::remove_dir(&file).unwrap();
    fs::rename(file.with_extension("away"), &file).unwrap();
    spool.adopt();
    let (delivered, _) = drain(&spool);
    assert_eq!(delivered["a"], lines(0..100));
}

#[test]
fn what_is_foreign_or_half_deleted_hinders_nothing_and_a_missing_file_is_missed() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let segment = sealed_segment(&config);
    let half_deleted = segment.with_file_name("0000000009.dead");
    fs::create_dir(&half_deleted).unwrap();
    for foreign in [half_deleted.join("db"), segment.join("notes"), segment.with_file_name("notes.segment")] {
        fs::write(foreign, "x").unwrap();
    }
    let spool = open(&config);
    assert_eq!(drain(&spool).0["a"], lines(0..100));
    assert!(!half_deleted.exists());
    drop(spool);

    let segment = sealed_segment(&config);
    fs::remove_file(store::file_path(&segment)).unwrap();
    let spool = open(&config);
    assert_eq!(drain(&spool).0.get("a"), None);
    assert_eq!(spool.lost(LossReason::Corrupt), 100);
}

/// Or its batches would have the ids of others.
#[test]
fn the_number_of_a_segment_whose_directory_is_gone_is_not_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    sealed_segment(&config);
    let spool = open(&config);
    append(&spool, "b", &["gone"]);
    next(&spool, &Arc::from("b")).unwrap().ack();
    spool.settle();
    kill(spool);
    let gone = segment_dirs(dir.path()).pop().unwrap();
    fs::remove_dir_all(&gone).unwrap();
    let spool = open(&config);
    append(&spool, "b", &["more"]);
    assert!(!gone.exists());
    let (delivered, _) = drain(&spool);
    assert_eq!((&delivered["a"], &*delivered["b"]), (&lines(0..100), &["more".to_owned()][..]));
}

#[test]
fn what_was_delivered_while_the_cursor_could_not_be_written_is_written_down_later() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.batch.max_records = 5;
    let spool = open(&config);
    append(&spool, "a", &lines(0..20));
    append(&spool, "b", &["once"]);
    let key: Arc<str> = Arc::from("a");
    let once = next(&spool, &Arc::from("b")).unwrap();
    spool.fail_cursor();
    once.ack();
    let first = next(&spool, &key).unwrap();
    first.ack();
    spool.settle();
    let second = next(&spool, &key).unwrap();
    assert_ne!(first.id, second.id);
    second.ack();
    spool.inner.cursor.reopen_now();
    let third = next(&spool, &key).unwrap();
    let sent = (third.id.clone(), third.body.clone());
    drop((once, first, second, third));
    kill(spool);
    let spool = open(&config);
    recovered(&spool);
    let again = next(&spool, &key).unwrap();
    assert_eq!((again.id.clone(), again.body.clone()), sent);
    assert!(next(&spool, &Arc::from("b")).is_none());
}

// --- limits --------------------------------------------------------------------------------------------------------

/// How many records the gap lines of a stream tell of.
fn told_in(lines: &[String]) -> usize {
    let gaps = lines.iter().filter_map(|line| line.strip_prefix("gap: ")?.split(' ').next()?.parse::<usize>().ok());
    gaps.sum()
}

/// Waits for the housekeeper to have told of everything.
fn all_told(spool: &Spool) {
    let (sender, told) = mpsc::channel();
    spool.inner.ask(Job::Tell(sender));
    told.recv().unwrap();
}

fn limited(dir: &Path) -> SpoolConfig {
    let mut config = config(dir);
    config.limits.max_bytes = 8 << 20;
    config
}

#[test]
fn the_oldest_segments_give_way_and_the_stream_tells_how_many_records() {
    let dir = tempfile::tempdir().unwrap();
    let config = limited(dir.path());
    let (spool, told) = open_telling(&config);
    let count = 300;
    for n in 0..count {
        append(&spool, "a", &[format!("{n:04}{}", "x".repeat(100_000))]);
        let used = spool.disk_bytes();
        assert!(used <= config.limits.max_bytes + config.segment_bytes, "{used} bytes after {n}");
    }
    all_told(&spool);
    let dropped = usize::try_from(spool.lost(LossReason::Evicted)).unwrap();
    let (delivered, _) = drain(&spool);
    let (gaps, records): (Vec<_>, Vec<_>) = delivered["a"].iter().cloned().partition(|line| line.starts_with("gap"));
    assert!(dropped > 200, "{dropped}");
    assert_eq!(told_in(&gaps), dropped);
    let numbers: Vec<usize> = records.iter().map(|line| line[..4].parse().unwrap()).collect();
    assert_eq!(numbers, (dropped..count).collect::<Vec<_>>());
    assert!(!told.lock().unwrap().is_empty());
    for gap in told.lock().unwrap().iter() {
        assert_eq!((&*gap.key, gap.reason), ("a", LossReason::Evicted));
        assert!(gap.first.unwrap() <= gap.last.unwrap());
    }
}

#[test]
fn what_was_adopted_gives_way_before_what_is_new() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = limited(dir.path());
    config.limits.max_bytes = 16 << 20;
    let (elder, spool) = (open(&config), open_telling(&config).0);
    let record = |n: usize| group(&[format!("{n:04}{}", "x".repeat(100_000))]);
    for n in 0..100 {
        elder.append(&[("a", &record(n))], &FRAMING).unwrap();
    }
    kill(elder);
    spool.adopt();
    recovered(&spool);
    for n in 100..150 {
        spool.append(&[("a", &record(n))], &FRAMING).unwrap();
    }
    all_told(&spool);
    let (delivered, _) = drain(&spool);
    let mut numbers: Vec<usize> = delivered["a"].iter().filter_map(|line| line.get(..4)?.parse().ok()).collect();
    numbers.sort_unstable();
    assert!(numbers.ends_with(&(100..150).collect::<Vec<_>>()), "{numbers:?}");
    assert!(numbers.len() < 140, "{numbers:?}");
}

#[test]
fn with_drop_newest_what_was_accepted_stays_and_there_is_room_again_after_a_delivery() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = limited(dir.path());
    config.limits.when_full = FullPolicy::RejectNew;
    let (spool, _) = open_telling(&config);
    let try_append = |n: usize| {
        let group = group(&[format!("{n:04}{}", "x".repeat(100_000))]);
        let records = [("a", &group)];
        spool.append(&records, &FRAMING).inspect_err(|_| spool.note_not_written(&records))
    };
    let mut accepted = Vec::new();
    for n in 0..120 {
        match try_append(n) {
            Ok(()) => accepted.push(n),
            Err(error) => assert!(matches!(error, SpoolError::Full { .. }), "{error}"),
        }
    }
    assert!((60..100).contains(&accepted.len()), "{}", accepted.len());
    assert_eq!(spool.lost(LossReason::NotWritten), 120 - accepted.len() as u64);
    let (delivered, _) = drain(&spool);
    let records = delivered["a"].iter().filter(|line| !line.starts_with("gap"));
    assert!(records.map(|line| line[..4].parse::<usize>().unwrap()).eq(accepted));
    while try_append(200).is_err() {
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Their keys are in every entry.
#[test]
fn long_keys_count_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let config = limited(dir.path());
    let spool = open(&config);
    for n in 0..500 {
        append(&spool, &format!("{n}{}", "x".repeat(60_000)), &["short"]);
        let used = spool.inner.dir.root_bytes();
        assert!(used <= config.limits.max_bytes + config.segment_bytes, "{used} bytes after {n}");
    }
    assert!(spool.lost(LossReason::Evicted) > 0);
}

#[test]
fn whatever_lies_in_the_quarantine_gives_way() {
    let dir = tempfile::tempdir().unwrap();
    let config = limited(dir.path());
    let spool = open(&config);
    let quarantine = dir.path().join("quarantine");
    fs::create_dir_all(quarantine.join("of a person")).unwrap();
    for file in ["notes.txt", "of a person/more.txt"] {
        fs::write(quarantine.join(file), "x").unwrap();
    }
    for n in 0..40 {
        append(&spool, "a", &[format!("{n:04}{}", "x".repeat(500_000))]);
    }
    assert_eq!(fs::read_dir(&quarantine).unwrap().count(), 0);
}

#[test]
fn what_is_to_be_left_free_is_left_free() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.limits.min_free_bytes = u64::MAX / 2;
    let spool = open(&config);
    let error = spool.append(&[("a", &group(&["x"]))], &FRAMING).unwrap_err();
    assert!(error.to_string().contains("bytes are free and"), "{error}");
}

#[test]
fn what_is_too_old_is_given_up_a_batch_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.limits.max_age = Some(Duration::from_secs(3600));
    config.batch.max_records = 4;
    let (spool, told) = open_telling(&config);
    append(&spool, "a", &lines(0..10));
    let key = spool.checkout().unwrap().key;
    let later = SystemTime::now() + Duration::from_secs(3601);
    assert!(
        matches!(spool.inner.next(&key, None, later - Duration::from_secs(60), false), Ok(Next::Batch(batch)) if batch.records == 4)
    );
    // What tells of it is as old by this clock: it is told again, and counted once.
    for _ in 0..5 {
        assert!(matches!(spool.inner.next(&key, None, later, false), Ok(Next::Skipped)));
        all_told(&spool);
    }
    assert_eq!(spool.lost(LossReason::Expired), 10);
    spool.partition(&key).release(true);
    let (delivered, _) = drain(&spool);
    assert_eq!(told_in(&delivered["a"]), 10);
    assert!(!told.lock().unwrap().is_empty());
}

#[test]
fn what_is_too_old_and_damaged_is_counted_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    let file = store::file_path(&sealed_segment(&config));
    let mut bytes = fs::read(&file).unwrap();
    let at = place_of_line_50(&bytes);
    bytes[at] ^= 1;
    fs::write(&file, bytes).unwrap();
    config.limits.max_age = Some(Duration::from_nanos(1));
    let (spool, _) = open_telling(&config);
    let later = SystemTime::now() + Duration::from_secs(60);
    while let Some(partition) = spool.checkout() {
        assert!(matches!(partition.next(None, later, true), Ok(Next::Skipped)));
        partition.release(true);
        if spool.lost(LossReason::Expired) > 0 {
            break;
        }
    }
    assert_eq!((spool.lost(LossReason::Expired), spool.lost(LossReason::Corrupt)), (99, 1));
}

#[test]
fn damage_is_told_in_the_stream() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let file = store::file_path(&sealed_segment(&config));
    let mut bytes = fs::read(&file).unwrap();
    let at = place_of_line_50(&bytes);
    bytes[at] ^= 1;
    fs::write(&file, bytes).unwrap();
    let (spool, _) = open_telling(&config);
    let (before, _) = drain(&spool);
    all_told(&spool);
    let (after, _) = drain(&spool);
    let all = [before["a"].clone(), after.get("a").cloned().unwrap_or_default()].concat();
    assert_eq!(told_in(&all), 1);
    assert_eq!(spool.lost(LossReason::Corrupt), 1);
}

#[test]
fn disk_that_was_taken_ahead_is_given_back_and_nothing_of_what_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let (path, id) = (dir.path().join("1.segment"), SegmentId { queue: 1, number: 1 });
    let mut segment = Segment::create(&path, id).unwrap();
    segment.reserve(4 << 20);
    let len = || fs::metadata(path.join("db")).unwrap().len();
    assert_eq!((len(), segment.unwritten()), (4 << 20, 4 << 20));
    // What was written may end with zeros as well.
    let mut runway = 0;
    for number in 0..10 {
        segment.write(number, &mut runway, &vec![0; 60_000]).unwrap();
    }
    segment.sync().unwrap();
    segment.trim();
    assert!((600_000..1 << 20).contains(&len()), "{}", len());
    drop(segment);
    let (_, frames) = Segment::recover(&path, id, u64::MAX, ReadErrors::Fail).unwrap();
    assert_eq!(frames, 10);
}

#[test]
fn the_oldest_age_is_that_of_the_first_record_that_waits_and_comes_from_its_timestamp_before_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let now = SystemTime::now() + Duration::from_secs(3600);
    let spool = open(&config(dir.path()));
    assert_eq!(spool.oldest_age(now), None);
    let timestamp = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    for key in ["a", "b"] {
        let group = Block { first_timestamp: Some(timestamp), last_timestamp: Some(timestamp), ..group(&["x"]) };
        spool.append(&[(key, &group)], &FRAMING).unwrap();
    }
    let batches = ["a", "b"].map(|key| next(&spool, &Arc::from(key)).unwrap());
    let ages = batches.each_ref().map(|batch| now.duration_since(batch.appended_at()).unwrap_or_default());
    assert!(ages[0] > ages[1], "{ages:?}");
    for (batch, age) in batches.iter().zip(ages) {
        assert_eq!(spool.oldest_age(now), Some(age));
        batch.ack();
    }
    assert_eq!(spool.oldest_age(now), None);
    let group = Block { first_timestamp: Some(timestamp), last_timestamp: Some(timestamp), ..group(&["y"]) };
    spool.append(&[("a", &group)], &FRAMING).unwrap();
    drop(batches);
    spool.close();
    drop(spool);

    let spool = open(&config(dir.path()));
    assert_eq!(spool.oldest_age(now), Some(now.duration_since(timestamp).unwrap()));
    let batch = next(&spool, &Arc::from("a")).unwrap();
    assert_eq!(spool.oldest_age(now), Some(now.duration_since(batch.appended_at()).unwrap_or_default()));
}

#[cfg(feature = "cli")]
#[test]
fn readers_share_what_an_owner_that_is_gone_has_left_and_one_that_starts_meanwhile_takes_it_over_later() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let spool = open(&config);
    append(&spool, "a", &["1", "2"]);
    let directory = inspect::Directory::open(dir.path()).unwrap();
    let look = || directory.queues().unwrap().next().unwrap().unwrap();
    assert!(look().is_owned());
    spool.kill();
    drop(spool);

    let (one, other) = (look(), look());
    assert!(!one.is_owned() && !other.is_owned());
    assert!(!one.make_exclusive(), "another one reads it");
    let spool = open(&config);
    append(&spool, "a", &["3"]);
    assert_eq!(spool.depth().pending_records, 1);
    assert!(!one.remove().unwrap(), "another one reads it");
    drop(other);
    spool.adopt();
    recovered(&spool);
    assert_eq!(spool.depth().pending_records, 3);
}
