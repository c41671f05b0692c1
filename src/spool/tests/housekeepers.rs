//! One housekeeper for all queues of the process in one directory.

use super::super::housekeeper::{hire, queues_of};
use super::*;

/// A spool whose housekeeper does nothing else until the sender is dropped.
fn busy(dir: &Path) -> (Spool, mpsc::Sender<()>) {
    let (begun, begins) = mpsc::channel();
    let (end, ends) = mpsc::channel::<()>();
    let ends = Mutex::new(ends);
    let gap_encoder: Arc<GapEncoder> = Arc::new(move |_| {
        let _ = begun.send(());
        let _ = ends.lock().unwrap().recv();
        None
    });
    let spool = Spool::open(&config(dir), &hooks(gap_encoder)).unwrap();
    spool.note_not_written(&[("a", &block(&["lost"]))]);
    begins.recv().unwrap();
    (spool, end)
}

/// What is called so in a queue, by how its name ends.
fn named(spool: &Spool, end: &str) -> usize {
    let found = fs::read_dir(&spool.queue.dir.path).unwrap().flatten();
    found.filter(|found| found.file_name().to_string_lossy().ends_with(end)).count()
}

#[test]
fn a_spool_is_open_before_its_first_segment_is_made_and_an_append_waits_for_no_housekeeper() {
    let dir = tempfile::tempdir().unwrap();
    let (_busy, end) = busy(dir.path());
    let spool = open(&config(dir.path()));
    // Dropped first, or a test that fails would wait.
    let end = end;
    let least = spool.least_segment();
    // On Windows it has its name from the start.
    let started = if cfg!(windows) { (0, 1, 0) } else { (1, 0, 0) };
    assert_eq!((named(&spool, ".new"), named(&spool, ".segment"), named(&spool, "ballast")), started);
    append(&spool, "a", &["first"]);
    assert_eq!((named(&spool, ".new"), named(&spool, ".segment"), named(&spool, "ballast")), (0, 1, 0));
    // A start after a kill would look for it from there on.
    assert_eq!(spool.queue.writer.lock().active.as_ref().unwrap().id().number, least);
    drop(end);
    all_reported(&spool);
    assert_eq!((named(&spool, ".new"), named(&spool, ".segment"), named(&spool, "ballast")), (0, 1, 1));
    assert_eq!(drain(&spool).0["a"], ["first"]);
}

#[test]
fn a_spool_that_is_closed_before_its_first_segment_is_made_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (_busy, end) = busy(dir.path());
    let spool = open(&config(dir.path()));
    let (queue, path) = (spool.queue.clone(), spool.queue.dir.path.clone());
    std::thread::scope(|scope| {
        scope.spawn(|| drop(spool));
        while !queue.is_closed() {
            std::thread::yield_now();
        }
        drop(end);
    });
    assert!(!path.exists());
    for _ in 0..20 {
        let spool = open(&config(dir.path()));
        let path = spool.queue.dir.path.clone();
        drop(spool);
        assert!(!path.exists());
    }
}

#[test]
fn queues_in_one_directory_have_one_housekeeper_which_the_last_of_them_ends() {
    let (dir, other_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let one = open(&config(dir.path()));
    let place = one.place().clone();
    assert_eq!(queues_of(&place), 1);
    // By another path.
    let two = open(&config(&dir.path().join("..").join(dir.path().file_name().unwrap())));
    let elsewhere = open(&config(&other_dir.path().join("spool")));
    assert_eq!((queues_of(&place), queues_of(elsewhere.place())), (2, 1));
    drop(one);
    append(&two, "a", &["still looked after"]);
    all_reported(&two);
    assert_eq!(queues_of(&place), 1);
    kill(two);
    assert_eq!(queues_of(&place), 0);
    let again = open(&config(dir.path()));
    assert_eq!(drain(&again).0["a"], ["still looked after"]);
    assert_eq!(queues_of(&place), 1);
}

#[test]
fn a_queue_that_is_adopted_is_looked_after_by_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (dead, spool) = (open(&config(dir.path())), open(&config(dir.path())));
    append(&dead, "a", &["left"]);
    kill(dead);
    spool.adopt_now();
    assert_eq!(queues_of(spool.place()), 2);
    assert_eq!(drain(&spool).0["a"], ["left"]);
    spool.adopt_now();
    assert_eq!(queues_of(spool.place()), 1);
}

#[test]
fn a_queue_with_much_to_do_or_that_waits_for_its_time_delays_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let never = Duration::from_secs(1_000 * 60 * 60);
    let busy = open(&SpoolConfig { durability: Durability::Interval(never), ..config(dir.path()) });
    let other = open(&config(dir.path()));
    append(&busy, "a", &["synced in a long time"]);
    all_reported(&other);
    // The second job waits for this until the other queue has had its turn.
    let active = busy.queue.writer.lock().active.as_ref().unwrap().id();
    let opening = busy.queue.begin_phase(active, crate::spool::read_cache::Phase::Sealing);
    let writer = busy.queue.writer.lock();
    busy.queue.ask(Job::MakeNext);
    busy.queue.ask(Job::KeepSeal(active, crate::spool::seal::Seal { frames: 0, lanes: Vec::new() }));
    let (sender, done) = mpsc::channel();
    other.queue.ask(Job::Reply(sender));
    drop(writer);
    done.recv_timeout(Duration::from_secs(120)).expect("its turn");
    drop(opening);
    all_reported(&busy);
}

#[test]
fn a_job_that_panics_costs_no_other_queue_its_housekeeper() {
    let dir = tempfile::tempdir().unwrap();
    let gap_encoder: Arc<GapEncoder> = Arc::new(|_| panic!("a panic that is asked for"));
    let panics = Spool::open(&config(dir.path()), &hooks(gap_encoder)).unwrap();
    let other = open(&config(dir.path()));
    panics.note_not_written(&[("a", &block(&["lost"]))]);
    all_reported(&panics);
    all_reported(&other);
    assert_eq!(queues_of(other.place()), 2);
}

#[test]
fn housekeepers_are_hired_and_let_go_by_many_threads_at_once() {
    let (dir, other_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (spool, elsewhere) = (open(&config(dir.path())), open(&config(other_dir.path())));
    let place = elsewhere.place().clone();
    drop(elsewhere);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..500 {
                    let desk = hire(&place).unwrap();
                    let ask = desk.ask();
                    let let_go = desk.look_after(spool.queue.clone());
                    let (sender, done) = mpsc::channel();
                    ask(Job::Reply(sender));
                    done.recv().unwrap();
                    ask(Job::Finish);
                    let_go.recv().unwrap_err();
                }
            });
        }
    });
    assert_eq!(queues_of(&place), 0);
}
