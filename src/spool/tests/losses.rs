//! Losses: the events that tell of them.

use std::sync::atomic::AtomicUsize;
use std::sync::{OnceLock, Weak};

use super::*;
use crate::observe::event::{Events, SpoolEvent};
use crate::spool::queue::Queue;

fn gap(records: u64) -> Gap {
    Gap { key: Arc::from("a"), reason: LossReason::Evicted, records, first: None, last: None, signal: None }
}

#[test]
fn a_loss_is_told_once_until_losses_are_reported_whatever_else_waits_for_that() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _) = open_reporting(&config(dir.path()));
    end_housekeeper(&spool);
    let queue = &spool.queue;
    let tells = |records: u64| match queue.count_gap(gap(records)) {
        Some(SpoolEvent::RecordsLost { records: told, .. }) => told == records,
        _ => false,
    };
    queue.report_again([gap(1)]);
    assert!(tells(2));
    assert!(!tells(3));
    queue.report_gaps().unwrap();
    assert!(tells(4));
    queue.report_again([gap(1)]);
    assert!(!tells(5));
    // A loss that could not be reported has no second event.
    queue.closed.store(true, Ordering::Release);
    assert!(queue.report_gaps().is_err());
    assert!(!tells(6));
}

/// Closes a spool in which, while a loss is reported, there is another one, so many times. How many records are reported in
/// the stream, and the events.
fn close_while_records_are_lost(times: usize) -> (usize, Vec<SpoolEvent>) {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let (sender, told) = mpsc::channel();
    let queue: Arc<OnceLock<Weak<Queue>>> = Arc::default();
    let (loses, count) = (queue.clone(), AtomicUsize::new(0));
    let gap_encoder: Arc<GapEncoder> = Arc::new(move |reported: &Gap| {
        if count.fetch_add(1, Ordering::Relaxed) < times
            && let Some(queue) = loses.get().and_then(Weak::upgrade)
        {
            let _ = queue.count_gap(gap(1));
        }
        Some((block(&[format!("gap: {} {:?}", reported.records, reported.reason)]), FRAMING))
    });
    let events = Events::start("logs", Box::new(move |event| sender.send(event.clone()).unwrap())).unwrap();
    let hooks = SpoolHooks { events: Arc::new(events), ..hooks(gap_encoder) };
    let spool = Spool::open(&config, &hooks).unwrap();
    drop(hooks);
    end_housekeeper(&spool);
    assert!(queue.set(Arc::downgrade(&spool.queue)).is_ok());
    let _ = spool.queue.count_gap(gap(1));
    assert!(spool.close());
    drop(spool);
    // With the spool, those who could report an event are gone.
    let told = std::iter::from_fn(|| told.recv_timeout(Duration::from_secs(10)).ok()).collect();
    let (delivered, _) = drain(&open(&config));
    (reported_in(&delivered["a"]), told)
}

#[test]
fn what_is_lost_while_a_spool_reports_its_losses_and_closes_is_reported_as_well() {
    let (reported, told) = close_while_records_are_lost(1);
    assert_eq!(reported, 2);
    assert!(told.is_empty(), "{told:?}");
}

#[test]
fn closing_ends_and_tells_that_a_loss_is_not_reported_if_there_is_always_another() {
    let (reported, told) = close_while_records_are_lost(usize::MAX);
    assert!(reported > 1);
    assert!(matches!(told[..], [SpoolEvent::GapNotReported { records: 1, .. }]), "{told:?}");
}
