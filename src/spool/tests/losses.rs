//! Losses: the events that tell of them.

use super::*;
use crate::observe::event::SpoolEvent;

fn gap(records: u64) -> Gap {
    Gap { key: Arc::from("a"), reason: LossReason::Evicted, records, first: None, last: None }
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
    // What could not be reported is told no second time.
    queue.closed.store(true, Ordering::Release);
    assert!(queue.report_gaps().is_err());
    assert!(!tells(6));
}
