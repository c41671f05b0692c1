//! What the tests that kill a process under load, or cut its power, have in common.

use std::path::Path;

use common::children::TENANTS;
use common::{Answer, Receiver, Service, check_runs, exporter};

/// The endpoint is healthy, breaks, rejects, loses responses and hangs, a partition at a time or all together.
pub(super) fn answer_in_every_way(receiver: &Receiver) {
    receiver.answer_by(|request| match fastrand::u32(..100) {
        0..10 => Answer::status(503),
        10..15 => Answer::Reset,
        15..20 => Answer::Lost,
        20..22 => Answer::hang(),
        22..40 if request.messages[0].starts_with('b') => Answer::status(429),
        _ => Answer::ok(),
    });
}

/// How many records of each tenant a process said last that it had accepted.
pub(super) fn accepted(said: &[String]) -> usize {
    said.iter().rev().find_map(|line| line.strip_prefix("accepted ")?.parse().ok()).unwrap_or(0)
}

/// Delivers what the runs left in the spool and fails unless all that they had accepted arrived, in order. Prints the
/// figures; `ends` is how often a run was ended, and by what.
pub(super) fn deliver_and_check(receiver: &Receiver, spool: &Path, accepted: &[usize], ends: &str) {
    receiver.come_up();
    receiver.answer_always(Answer::ok());
    let service = Service::batch(exporter(receiver, spool));
    service.deliver();
    assert_eq!(service.handle.stats().pending_records, 0);

    let delivered = receiver.delivered();
    check_runs(&delivered, &TENANTS, accepted);
    let total: usize = accepted.iter().map(|accepted| accepted * TENANTS.len()).sum();
    let (requests, repeated) = receiver.look(|log| (log.requests.len(), log.repeated));
    println!(
        "{ends}, {total} records known as accepted, {} delivered, {requests} requests, {repeated} records repeated",
        delivered.len()
    );
}
