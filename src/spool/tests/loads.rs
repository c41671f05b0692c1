//! Loads: what of a request is stored is there wholly or not at all, and once, wherever a kill, a power cut or damage comes.

use super::*;
use crate::spool::dir::parse_segment;
use crate::spool::entry::HEAD_BYTES;
use crate::spool::frame::{self, Location, ReadErrors};
#[cfg(feature = "cli")]
use crate::spool::inspect::Directory;
use crate::spool::position::SegmentId;
#[cfg(feature = "relay")]
use crate::spool::recent_loads::recent_loads;
use crate::spool::segment::Segment;
use crate::spool::store::file_path;

/// The number of a load, 0 for none, and its lines by partition.
type Lines = (u8, Vec<(&'static str, Vec<String>)>);

fn id_of(number: u8) -> Option<LoadId> {
    (number > 0).then(|| LoadId::of_hash([number, 0, 0, 0, 0, 0, 0, 1]))
}

fn append_all(spool: &Spool, loads: &[Lines]) {
    append_loads(spool, &loads.iter().map(|(number, lines)| (id_of(*number), lines.clone())).collect::<Vec<_>>());
}

/// Lines of about so many bytes.
fn long(name: &str, lines: usize, bytes: usize) -> Vec<String> {
    (0..lines).map(|n| format!("{name} {n} {}", "x".repeat(bytes))).collect()
}

/// A segment that a killed process left.
struct Killed {
    dir: tempfile::TempDir,
    bytes: Vec<u8>,
    id: SegmentId,
    /// The frames, and the number of the append's load that each is of.
    frames: Vec<(Location, u8)>,
    loads: Vec<Lines>,
}

impl Killed {
    /// Of some appends. Each number of a load, but for 0, is there once.
    fn after(appends: &[Vec<Lines>]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let spool = open(&config(dir.path()));
        for loads in appends {
            append_all(&spool, loads);
        }
        kill(spool);
        let segment = segment_dirs(dir.path()).remove(0);
        let id = parse_segment(&segment.file_name().unwrap().to_string_lossy()).unwrap();
        let bytes = fs::read(file_path(&segment)).unwrap();
        let load_at = HEAD_BYTES - 32;
        let read = |frame: frame::Frame<'_>| (frame.part == 0).then(|| frame.payload[load_at]);
        let found = frame::scan(id, &bytes[..], read).unwrap();
        let mut of = 0;
        let frames = found.into_iter().map(|(location, load)| {
            of = load.unwrap_or(of);
            (location, of)
        });
        Self { frames: frames.collect(), dir, bytes, id, loads: appends.concat() }
    }

    /// A copy with another database.
    fn image(&self, bytes: &[u8]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        copy(self.dir.path(), dir.path());
        fs::write(file_path(&segment_dirs(dir.path())[0]), bytes).unwrap();
        dir
    }

    /// The same without some frames.
    fn without(&self, missing: impl Fn(u64) -> bool) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        for (frame, _) in self.frames.iter().filter(|(frame, _)| missing(frame.number)) {
            let at = usize::try_from(frame.offset).unwrap();
            bytes[at..at + frame.len].fill(0);
        }
        bytes
    }

    /// How many loads, from the first, have all their frames in a database. Those without a number take one frame each.
    fn whole_in(&self, bytes: &[u8]) -> usize {
        let found: Vec<_> = frame::scan(self.id, bytes, |_| ()).unwrap().iter().map(|(at, ())| at.number).collect();
        let mut without_number = self.frames.iter().filter(|(_, load)| *load == 0);
        let is_found = |(frame, _): &(Location, u8)| found.contains(&frame.number);
        let is_whole = |(number, _): &&Lines| match number {
            0 => is_found(without_number.next().unwrap()),
            _ => self.frames.iter().filter(|(_, load)| load == number).all(is_found),
        };
        self.loads.iter().take_while(is_whole).count()
    }

    /// Looks into the segment with that database, as [`check`](Self::check) does, without anything around it.
    fn check_segment(&self, bytes: &[u8], whole: usize, what: &str) {
        let segment = &segment_dirs(self.dir.path())[0];
        fs::write(file_path(segment), bytes).unwrap();
        #[cfg(feature = "relay")]
        {
            let loads = Segment::whole_loads(segment, self.id, None, ReadErrors::Fail).unwrap();
            let numbers: Vec<_> = self.loads[..whole].iter().map(|(number, _)| *number).collect();
            assert_eq!(loads.iter().map(|load| load.id).collect::<Vec<_>>(), ids(&numbers), "{what}");
        }
        let (found, _) = Segment::open_unsealed(segment, self.id, u64::MAX, ReadErrors::Fail).unwrap();
        let found = found.lanes().into_iter().map(|lane| (lane.key.to_string(), lane.records));
        let written = by_key(&self.loads[..whole]).into_iter().map(|(key, lines)| (key, lines.len() as u64));
        assert_eq!(found.collect::<HashMap<_, _>>(), written.collect(), "{what}");
    }

    /// Opens a copy with that database: so many loads from the first are there, and nothing of the others.
    fn check(&self, bytes: &[u8], whole: usize, what: &str) {
        let dir = self.image(bytes);
        #[cfg(feature = "relay")]
        {
            let numbers: Vec<_> = self.loads[..whole].iter().map(|(number, _)| *number).collect();
            assert_eq!(recent_in(dir.path()), ids(&numbers), "{what}");
        }
        #[cfg(feature = "cli")]
        assert_eq!(shown_in(dir.path()), by_key(&self.loads[..whole]), "{what}");
        let spool = open(&config(dir.path()));
        let (delivered, _) = drain(&spool);
        assert!(delivered == by_key(&self.loads[..whole]), "{what}");
        assert_eq!(spool.lost(LossReason::Corrupt), 0, "{what}");
        drop(spool);
        assert!(!dir.path().join("quarantine").exists(), "{what}");
    }
}

fn by_key(loads: &[Lines]) -> HashMap<String, Vec<String>> {
    let mut lines: HashMap<_, Vec<_>> = HashMap::new();
    for (key, of_key) in loads.iter().flat_map(|(_, lines)| lines) {
        lines.entry((*key).to_owned()).or_default().extend(of_key.iter().cloned());
    }
    lines
}

#[cfg(feature = "relay")]
fn recent_in(dir: &Path) -> Vec<LoadId> {
    recent_since(dir, Signal::Logs, SystemTime::UNIX_EPOCH)
}

#[cfg(feature = "relay")]
fn recent_since(dir: &Path, signal: Signal, since: SystemTime) -> Vec<LoadId> {
    let mut ids: Vec<_> = recent_loads(dir, signal, since).unwrap().iter().map(|load| load.id).collect();
    ids.sort_unstable();
    ids
}

#[cfg(feature = "relay")]
fn ids(numbers: &[u8]) -> Vec<LoadId> {
    numbers.iter().filter_map(|number| id_of(*number)).collect()
}

/// The lines that `otel-spool cat` shows. What it counts, by the lanes, is the same.
#[cfg(feature = "cli")]
fn shown_in(dir: &Path) -> HashMap<String, Vec<String>> {
    let mut lines: HashMap<_, Vec<_>> = HashMap::new();
    for queue in Directory::open(dir).unwrap().queues(None).unwrap() {
        for segment in queue.unwrap().segments().unwrap() {
            let reader = segment.read().unwrap();
            for entry in reader.entries(0..reader.end()).map(|entry| entry.unwrap().unwrap()) {
                let of_key = lines.entry(entry.key.to_string()).or_default();
                of_key.extend(entry.records().map(|(_, line)| String::from_utf8(line.into_owned()).unwrap()));
            }
            let counts = reader.lanes().into_iter().map(|lane| (lane.key.to_string(), lane.records));
            let shown = lines.iter().map(|(key, lines)| (key.clone(), lines.len() as u64));
            assert_eq!(counts.collect::<HashMap<_, _>>(), shown.collect());
        }
    }
    lines
}

/// An acknowledged append, and one of 8 frames: two loads of several partitions and entries, and between them what is of none. The
/// partition `c` is of the last load alone.
fn two_appends() -> [Vec<Lines>; 2] {
    let first = vec![(1, vec![("a", long("one", 2, 17_000)), ("b", long("one", 1, 10))])];
    let second = vec![
        (2, vec![("a", long("two", 2, 17_000)), ("b", long("two", 3, 10))]),
        (0, vec![("b", long("none", 2, 10))]),
        (3, vec![("c", long("three", 1, 65_000)), ("a", long("three", 2, 10))]),
    ];
    [first, second]
}

#[test]
fn loads_are_delivered_as_other_records_are() {
    let appends = two_appends();
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&config(dir.path()));
    for loads in &appends {
        append_all(&spool, loads);
    }
    append(&spool, "a", &["as ever"]);
    let mut expected = by_key(&appends.concat());
    expected.get_mut("a").unwrap().push("as ever".to_owned());
    assert!(drain(&spool).0 == expected);
}

#[test]
fn a_file_that_ends_anywhere_has_each_load_wholly_or_not_at_all() {
    let killed = Killed::after(&two_appends());
    let frames = killed.frames.iter().map(|(frame, _)| (usize::try_from(frame.offset).unwrap(), frame.len));
    let ends = frames.flat_map(|(start, len)| [start, start + 40, start + len / 2, start + len - 1, start + len]);
    let mut seen = [false; 5];
    for end in ends.chain([killed.bytes.len()]) {
        let bytes = &killed.bytes[..end];
        let whole = killed.whole_in(bytes);
        seen[whole] = true;
        killed.check(bytes, whole, &format!("{end} bytes"));
    }
    assert_eq!(seen, [true; 5]);
}

#[test]
fn a_file_of_short_loads_that_ends_at_any_byte_has_each_wholly_or_not_at_all() {
    let lines = |number: u8, keys: &[&'static str]| {
        (number, keys.iter().map(|key| (*key, vec![format!("{number} {key}")])).collect())
    };
    let killed = Killed::after(&[
        vec![lines(1, &["a", "b"])],
        vec![lines(2, &["b", "c"]), lines(3, &["a"])],
        vec![lines(4, &["a", "d"])],
    ]);
    let [start, end] = [killed.frames.first(), killed.frames.last()]
        .map(|frame| frame.map(|(frame, _)| usize::try_from(frame.offset).unwrap() + frame.len).unwrap());
    for end in start..=end {
        let bytes = &killed.bytes[..end];
        killed.check_segment(bytes, killed.whole_in(bytes), &format!("{end} bytes"));
    }
}

/// The disk keeps no order between what was not synced.
#[test]
fn whatever_frames_a_power_cut_takes_of_an_append_each_of_its_loads_is_there_wholly_or_not_at_all() {
    let killed = Killed::after(&two_appends());
    let of_last = killed.frames.iter().filter(|(_, load)| *load != 1).count() as u64;
    assert_eq!(of_last, 8);
    let first = killed.frames.len() as u64 - of_last;
    for taken in 0_u64..1 << of_last {
        let bytes = killed.without(|frame| frame >= first && taken & (1 << (frame - first)) != 0);
        let (whole, what) = (killed.whole_in(&bytes), format!("without the frames {taken:08b}"));
        killed.check_segment(&bytes, whole, &what);
        if taken.is_power_of_two() || taken % 16 == 9 {
            killed.check(&bytes, whole, &what);
        }
    }
}

#[test]
fn damage_to_what_lies_before_the_last_append_is_told_and_costs_nothing_else() {
    // What comes behind says how many records a damaged entry had.
    let behind = ["a", "b", "c"].map(|key| (key, long("four", 1, 10))).to_vec();
    let killed = Killed::after(&[&two_appends()[..], &[vec![(4, behind)]]].concat());
    // Of each entry of the second append the first frame, its load, and how many records it has.
    let starts = [(3, 2, 1), (4, 2, 1), (5, 2, 3), (6, 0, 2), (7, 3, 1), (10, 3, 2)];
    for (frame, load, records) in starts {
        let dir = killed.image(&killed.without(|number| number == frame));
        #[cfg(feature = "relay")]
        {
            let found = recent_in(dir.path());
            assert!(ids(&[load]).iter().all(|id| !found.contains(id)), "frame {frame}: {found:?}");
            assert!(ids(&[1, 4]).iter().all(|id| found.contains(id)), "frame {frame}: {found:?}");
        }
        let spool = open(&config(dir.path()));
        let delivered: usize = drain(&spool).0.values().map(Vec::len).sum();
        let all: usize = by_key(&killed.loads).values().map(Vec::len).sum();
        assert_eq!(delivered, all - records, "frame {frame} of load {load}");
        assert_eq!(spool.lost(LossReason::Corrupt), records as u64, "frame {frame} of load {load}");
    }
}

#[test]
fn a_load_that_could_not_be_written_is_written_elsewhere_and_there_once() {
    let dir = tempfile::tempdir().unwrap();
    let config = SpoolConfig { durability: Durability::Sync, ..config(dir.path()) };
    let spool = open(&config);
    let appends = two_appends();
    append_all(&spool, &appends[0]);
    spool.queue.writer.lock().active.as_mut().unwrap().segment.fail_syncs();
    append_all(&spool, &appends[1]);
    #[cfg(feature = "relay")]
    assert_eq!(recent_in(dir.path()), ids(&[1, 2, 3]));
    kill(spool);
    let spool = open(&config);
    assert!(drain(&spool).0 == by_key(&appends.concat()));
}

#[cfg(feature = "cli")]
#[test]
fn who_looks_at_a_segment_is_told_of_a_load_that_is_not_whole() {
    let killed = Killed::after(&two_appends());
    let last = killed.frames.len() as u64 - 1;
    let verified = |bytes: &[u8]| {
        let dir = killed.image(bytes);
        let queue = Directory::open(dir.path()).unwrap().queues(None).unwrap().next().unwrap().unwrap();
        queue.segments().unwrap()[0].verify(true).unwrap().damage
    };
    assert_eq!(verified(&killed.bytes), [""; 0]);
    let what = "its last append is not whole: it was written when the process ended, or is damaged";
    assert_eq!(verified(&killed.without(|frame| frame == last)), [what]);
}

#[cfg(feature = "relay")]
#[test]
fn recent_loads_are_those_of_all_queues_of_a_signal_that_are_whole_and_appended_since() {
    let dir = tempfile::tempdir().unwrap();
    let config = SpoolConfig { segment_bytes: 2000, ..config(dir.path()) };
    assert_eq!(recent_in(&dir.path().join("not made yet")), []);
    let of = |number| vec![(number, vec![("a", long("line", 2, 1000))])];
    let (killed, living) = (open(&config), open(&config));
    let traces = open(&SpoolConfig { signal: Signal::Traces, ..config.clone() });
    for number in 1..6 {
        append_all(&killed, &of(number));
    }
    kill(killed);
    append_all(&living, &of(6));
    append_all(&traces, &of(7));
    append(&living, "a", &["of no load"]);
    all_reported(&living);
    let since = recent_loads(dir.path(), Signal::Logs, SystemTime::UNIX_EPOCH).unwrap();
    let since = since.into_iter().find(|load| load.id == id_of(4).unwrap()).unwrap().appended_at;
    assert_eq!(recent_in(dir.path()), ids(&[1, 2, 3, 4, 5, 6]));
    assert_eq!(recent_since(dir.path(), Signal::Logs, since), ids(&[4, 5, 6]));
    assert_eq!(recent_since(dir.path(), Signal::Traces, since), ids(&[7]));
    // What is older is not even read. Windows keeps a file that is open.
    if cfg!(windows) {
        return;
    }
    let future = SystemTime::now() + Duration::from_secs(3600);
    let segment = segment_dirs(dir.path()).remove(0);
    fs::remove_file(file_path(&segment)).unwrap();
    fs::create_dir(file_path(&segment)).unwrap();
    assert_eq!(recent_loads(dir.path(), Signal::Logs, future).unwrap(), []);
    assert!(recent_loads(dir.path(), Signal::Logs, since).is_err());
}
