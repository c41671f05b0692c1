//! Damage at random, in every kind of file that a stopped spool has: no wrong data arrives, nothing is missing without a word,
//! and `otel-spool verify` names what it costs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use common::{Answer, Progress, Receiver, seed, spool_dir, variable, wait_for};

use super::{Accepted, SEGMENTS, TOOL, Witness, assert_unchanged, copy, is_gap, list, missing, text, tool};
use crate::CHILD;
use crate::spool::disk_faults::Fault;

/// A spool that was stopped: some of its records are delivered, one is rejected, and the others wait.
struct Stopped {
    spool: PathBuf,
    /// Where it was sent to.
    endpoint: String,
    waiting: Accepted,
    /// The ids under which those were delivered that were.
    delivered: BTreeMap<String, String>,
    rejected: String,
}

/// The ids of the requests that were taken, by the messages of their records.
fn ids(receiver: &Receiver) -> BTreeMap<String, String> {
    let mut ids = BTreeMap::new();
    for request in receiver.requests() {
        if request.answered == Some(200) {
            ids.extend(request.messages.iter().map(|message| (message.clone(), request.key().to_owned())));
        }
    }
    ids
}

/// The requests that are taken after a record was refused alone.
const TAKEN_AFTERWARDS: usize = 3;

fn stopped(spool: PathBuf) -> Option<Stopped> {
    let receiver = Receiver::start_down();
    let mut accepted = Accepted::new();
    let mut process = Witness::open(&receiver, &spool);
    process.log(&mut accepted, "early", 1, 20);
    process.log(&mut accepted, "bad", 1, 1);
    receiver.answer_by(|request| {
        let is_bad = request.messages.iter().any(|message| message.starts_with("bad"));
        Answer::status(if is_bad { 400 } else { 200 })
    });
    receiver.come_up();
    // A record is rejected between others that are taken.
    let rejected = || list(&spool.join("rejected")).into_iter().find(|file| file.extension().is_some());
    let mut live = 0;
    wait_for("a rejected record", || {
        live += 1;
        process.log(&mut accepted, "live", live, live);
        rejected()
    });
    receiver.go_down();
    process.log(&mut accepted, "late", 1, SEGMENTS);
    // Some segment is abandoned after an error.
    let fault = Fault::inject(("fdatasync", "EIO", "1+"), &[], process.pid)?;
    process.try_to_log(&mut accepted, "refused", 1, 3);
    drop(fault);
    process.log(&mut accepted, "last", 1, 30);
    // A batch is split, which fixes where batches end.
    let state = Mutex::new((false, TAKEN_AFTERWARDS));
    receiver.answer_by(move |request| {
        let mut state = state.lock().expect("nobody panics with it");
        let (is_split, left) = &mut *state;
        if *left == 0 {
            return Answer::status(503);
        }
        if request.messages.len() > 2 && !std::mem::replace(is_split, true) {
            return Answer::status(413);
        }
        *left -= usize::from(*is_split);
        Answer::ok()
    });
    receiver.come_up();
    receiver.wait_until("what is taken no more", |log| {
        log.requests.iter().any(|request| request.answered == Some(503)).then_some(())
    });
    process.close();

    let delivered = ids(&receiver);
    let rejected = "bad-000001".to_owned();
    let waiting = accepted.into_iter().filter(|one| !delivered.contains_key(one) && *one != rejected).collect();
    let endpoint = receiver.url("/ingest");
    Some(Stopped { spool, endpoint, waiting, delivered, rejected })
}

/// Every file, by its kind: its name, behind that of the cursor database's directory.
fn files(spool: &Path) -> BTreeMap<String, Vec<PathBuf>> {
    let mut kinds: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    let mut dirs = vec![spool.to_owned()];
    while let Some(dir) = dirs.pop() {
        for path in list(&dir) {
            if path.is_dir() {
                dirs.push(path);
                continue;
            }
            let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let kind = match (name(&dir).as_str(), path.extension()) {
                ("cursor", _) => format!("cursor/{}", name(&path)),
                (_, Some(extension)) => extension.to_string_lossy().into_owned(),
                _ => name(&path),
            };
            kinds.entry(kind).or_default().push(path);
        }
    }
    kinds
}

#[derive(Clone, Copy, Debug)]
enum Damage {
    Flipped { at: u64, bits: u8 },
    Zeroed { at: u64, bytes: u64 },
    Cut { to: u64 },
    Longer { bytes: u64 },
}

impl Damage {
    fn any(bytes: u64) -> Self {
        match fastrand::u32(..8) {
            0..4 if bytes > 0 => Self::Flipped { at: fastrand::u64(..bytes), bits: fastrand::u8(1..) },
            4..6 if bytes > 0 => {
                let size = *fastrand::choice(&[512, 4096]).expect("one of two");
                Self::Zeroed { at: fastrand::u64(..bytes) / size * size, bytes: size }
            }
            6 if bytes > 0 => Self::Cut { to: fastrand::u64(..bytes) },
            _ => Self::Longer { bytes: fastrand::u64(1..5_000) },
        }
    }

    fn apply(self, path: &Path) {
        let file = OpenOptions::new().read(true).write(true).open(path).expect("a file");
        let bytes = file.metadata().expect("a file").len();
        match self {
            Self::Flipped { at, bits } => {
                let mut byte = [0];
                file.read_exact_at(&mut byte, at).expect("a byte");
                file.write_all_at(&[byte[0] ^ bits], at).expect("a byte");
            }
            Self::Zeroed { at, bytes: size } => {
                let size = usize::try_from(size.min(bytes - at)).expect("a small number");
                file.write_all_at(&vec![0; size], at).expect("a block");
            }
            Self::Cut { to } => file.set_len(to).expect("a file"),
            Self::Longer { bytes: more } => {
                let more: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..))
                    .take(usize::try_from(more).expect("a small number"))
                    .collect();
                file.write_all_at(&more, bytes).expect("a file");
            }
        }
    }

    /// Whether one of the two copies in a cursor file can still be read.
    fn leaves_a_copy(self) -> bool {
        !matches!(self, Self::Cut { .. })
    }
}

/// Runs the tool, which is to end by itself; gives its exit code and all that it printed.
fn report(spool: &Path, words: &[&str]) -> (i32, String) {
    let output = tool(Command::new(TOOL), spool, words);
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(!said.contains("panicked"), "{words:?}: {said}");
    (output.status.code().unwrap_or_else(|| panic!("{words:?}: {}", output.status)), said)
}

/// Delivers the rest of a damaged spool; gives what that did, in words, or what is wrong about it.
fn check(stopped: &Stopped, kind: &str, path: &Path, damage: Damage, spool: &Path) -> Result<String, String> {
    let (original, changed) = (path.strip_prefix(&stopped.spool).expect("a file of the spool"), spool);
    let path = changed.join(original);
    damage.apply(&path);
    let (code, verified) = report(spool, &["verify"]);
    let (listed, rejected) = report(spool, &["rejected", "list"]);
    report(spool, &["cat"]);

    let receiver = Receiver::start();
    let mut process = Witness::start_with(
        Command::new(CHILD),
        &[("OTEL_EXPORTER_SPOOL_ADOPT_FROM", &stopped.endpoint)],
        &receiver,
        spool,
    );
    let refused = process.try_open();
    if let Err(error) = &refused {
        if kind != "format" || code == 0 {
            return Err(format!("it is not opened: {error}; verify: {code} {verified}"));
        }
        fs::copy(stopped.spool.join(original), &path).expect("a file");
        process.try_open().map_err(|error| format!("it is not opened after it is mended: {error}"))?;
    }
    // Some queues are adopted a little later.
    let mut progress = Progress::new();
    loop {
        let stats = process.stats();
        let missing = receiver.look(|log| missing(log, &stopped.waiting).len());
        let is_done = stats["pending"] == 0 && missing <= stats["corrupt"];
        if is_done || progress.at((stats, missing)).is_none() {
            break;
        }
        thread::sleep(Duration::from_millis(2));
    }
    let stats = process.stats();
    assert_unchanged(&receiver);
    let missing = receiver.look(|log| missing(log, &stopped.waiting));
    let now = ids(&receiver);
    let mut seen = BTreeSet::new();
    let twice: Vec<_> =
        receiver.delivered().into_iter().filter(|one| !is_gap(one) && !seen.insert(one.clone())).collect();
    let moved: Vec<_> = now
        .iter()
        .filter(|(message, id)| stopped.delivered.get(*message).is_some_and(|before| before != *id))
        .collect();
    let repeated = now.keys().filter(|message| stopped.delivered.contains_key(*message)).count();
    let corrupt = stats["corrupt"];
    let outcome = format!(
        "verify {code}, {} missing, {corrupt} counted, {repeated} repeated, {} of them under a second id, refused {refused:?}",
        missing.len(),
        moved.len()
    );
    let mut wrong = Vec::new();
    if missing.len() > corrupt {
        wrong.push(format!("missing without a word: {missing:?}"));
    }
    if !twice.is_empty() {
        wrong.push(format!("twice in one life: {twice:?}"));
    }
    let cursor_is_lost = kind.starts_with("cursor") && !damage.leaves_a_copy();
    if !moved.is_empty() && kind != "db" && !cursor_is_lost {
        wrong.push(format!("under a second id: {moved:?}"));
    }
    if (!missing.is_empty() || !moved.is_empty()) && code == 0 {
        wrong.push(format!("verify names nothing: {verified}"));
    }
    if kind == "json" && !rejected.contains(&stopped.rejected) && code == 0 && listed == 0 {
        wrong.push(format!("the rejected record is gone without a word: {rejected}"));
    }
    if !process.panics.is_empty() {
        wrong.push(format!("panics: {:?}", process.panics));
    }
    process.kill();
    if wrong.is_empty() { Ok(outcome) } else { Err(format!("{outcome}: {wrong:#?}")) }
}

#[test]
fn damage_at_random_in_any_file_costs_nothing_without_a_word() {
    seed();
    let dir = spool_dir();
    let Some(stopped) = stopped(dir.path().join("stopped")) else { return };
    let kinds = files(&stopped.spool);
    println!(
        "{} records wait, {} are delivered; {:?}",
        stopped.waiting.len(),
        stopped.delivered.len(),
        kinds.iter().map(|(kind, files)| (kind, files.len())).collect::<Vec<_>>()
    );
    let names: Vec<_> = kinds.keys().cloned().collect();
    let first = fastrand::usize(..names.len());
    let mut failed = Vec::new();
    for number in 0..usize::try_from(variable("SPOOL_TEST_DAMAGES", 12)).expect("a small number") {
        // One kind after the other, so that a few damages are in as many kinds as possible.
        let kind = &names[(first + number) % names.len()];
        let path = fastrand::choice(&kinds[kind]).expect("a file of this kind");
        let damage = Damage::any(fs::metadata(path).expect("a file").len());
        let spool = dir.path().join(format!("damaged-{number}"));
        copy(&stopped.spool, &spool);
        let what = format!("{}: {damage:?}", path.strip_prefix(&stopped.spool).expect("a file of the spool").display());
        match std::panic::catch_unwind(|| check(&stopped, kind, path, damage, &spool)) {
            Ok(Ok(outcome)) => println!("{what}: {outcome}"),
            Ok(Err(wrong)) => {
                println!("{what}: WRONG: {wrong}");
                failed.push(what);
            }
            Err(_) => {
                println!("{what}: PANIC");
                failed.push(what);
            }
        }
        let _ = fs::remove_dir_all(&spool);
    }
    assert!(failed.is_empty(), "these failed, for reasons given above: {failed:#?}");
}
