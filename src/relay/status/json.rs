//! The snapshot as JSON, which the page polls. Times are in milliseconds.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::config::values::Signal;
use crate::observe::stats::SpoolStats;
use crate::relay::counts::DropReason;
use crate::relay::status::history::History;
use crate::relay::status::snapshot::{Delivery, ListenerStatus, SignalStatus, Snapshot};
use crate::relay::status::verdict::Verdict;

/// The state now. Partition keys are in it if `show_keys` says so.
pub(crate) fn status(snapshot: &Snapshot, show_keys: bool) -> Value {
    let verdict = Verdict::of(snapshot);
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime": millis(snapshot.uptime),
        "endpoint": snapshot.endpoint,
        "verdict": {"level": verdict.level.as_str(), "text": verdict.text, "detail": verdict.detail},
        "disk_bytes": snapshot.disk_bytes(),
        "max_bytes": snapshot.max_bytes,
        "signals": snapshot.signals.iter().map(|status| signal(status, show_keys)).collect::<Vec<_>>(),
        "listeners": snapshot.listeners.iter().map(listener).collect::<Vec<_>>(),
    })
}

/// The last minutes: rows of moment, accepted, delivered, lost, pending and the oldest record's age for each signal.
pub(crate) fn history(snapshot: &Snapshot) -> Value {
    let rows = |signal: Signal| -> Value {
        let samples = snapshot.history.samples().flat_map(|sample| {
            let of_signal = sample.counts.iter().filter(move |(of, _)| *of == signal);
            of_signal.map(|(_, counts)| {
                let oldest = counts.oldest.map(millis);
                json!([millis(sample.at), counts.accepted, counts.delivered, counts.lost, counts.pending, oldest])
            })
        });
        samples.collect()
    };
    let signals = snapshot.signals.iter().map(|status| (status.signal.name().to_owned(), rows(status.signal)));
    json!({
        "span": millis(History::SPAN),
        "signals": signals.collect::<Map<_, _>>(),
    })
}

fn signal(status: &SignalStatus, show_keys: bool) -> Value {
    let SpoolStats {
        accepted_records,
        delivered_records,
        rejected_records,
        unconfirmed_records,
        probed_records,
        thinned_records,
        filtered_records,
        // A relay has no journal.
        not_journaled_records: _,
        pending_records,
        stranded_records,
        oldest_age,
        recovering,
        lost_records,
        evicted_records,
        not_written_records,
        buffer_full_records,
        encode_failed_records,
        expired_records,
        corrupt_records,
        bad_frame_records,
        cut_records,
        too_large_records,
        failed_exports,
        requests,
        retries,
        in_flight_requests,
        failed_requests,
        segments,
        disk_bytes: _,
        last_error,
    } = &status.stats;
    let delivery = match &status.delivery {
        Delivery::Working => "working",
        Delivery::Failing(_) => "failing",
        Delivery::Held(_) => "held",
    };
    json!({
        "signal": status.signal.name(),
        "delivery": delivery,
        "accepted": accepted_records,
        "delivered": delivered_records,
        "rejected": rejected_records,
        "unconfirmed": unconfirmed_records,
        "probed": probed_records,
        "thinned": thinned_records,
        "filtered": filtered_records,
        "pending": pending_records,
        "stranded": stranded_records,
        "oldest": oldest_age.map(millis),
        "recovering": recovering,
        "lost_total": lost_records,
        "lost": {
            "evicted": evicted_records,
            "not_written": not_written_records,
            "buffer_full": buffer_full_records,
            "encode_failed": encode_failed_records,
            "expired": expired_records,
            "corrupt": corrupt_records,
            "bad_frame": bad_frame_records,
            "cut": cut_records,
            "too_large": too_large_records,
        },
        "failed_commits": failed_exports,
        "requests": requests,
        "retries": retries,
        "failed_requests": failed_requests,
        "in_flight": in_flight_requests,
        "segments": segments,
        "last_error": last_error,
        "last_error_age": status.last_error_age.map(millis),
        "partitions": status.partitions,
        "keys": show_keys.then(|| keys(status)),
    })
}

fn keys(status: &SignalStatus) -> Value {
    status.keys.iter().map(|partition| json!([partition.key, partition.pending_records])).collect()
}

fn listener(listener: &ListenerStatus) -> Value {
    let intakes = listener.intakes.iter().map(|intake| {
        let dropped = DropReason::ALL.into_iter().zip(intake.dropped);
        json!({
            "protocol": intake.protocol,
            "signal": intake.signal.map(Signal::name),
            "records": intake.records,
            "bytes": intake.bytes,
            "dropped": dropped.map(|(reason, count)| (reason.as_str().to_owned(), count.into())).collect::<Map<_, _>>(),
        })
    });
    json!({
        "name": listener.name,
        "connections": listener.connections,
        "open": listener.open_connections,
        "intakes": intakes.collect::<Vec<_>>(),
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::status::snapshot::tests::{HOSTILE, busy};

    #[test]
    fn keys_are_in_it_only_where_they_are_asked_for() {
        let hidden = status(&busy(), false);
        assert!(!hidden.to_string().contains("customer-17"));
        assert_eq!(hidden["signals"][0]["partitions"], 2);
        let shown = status(&busy(), true);
        assert_eq!(shown["signals"][0]["keys"], json!([[HOSTILE, 60], ["customer-17", 30]]));
    }

    #[test]
    fn hostile_words_come_back_as_they_were() {
        let text = status(&busy(), false).to_string();
        let read: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(read["signals"][0]["last_error"], HOSTILE);
        assert_eq!(read["verdict"]["detail"], HOSTILE);
    }

    #[test]
    fn losses_and_drops_have_their_reasons_names() {
        let status = status(&busy(), false);
        let lost = &status["signals"][0]["lost"];
        for reason in crate::observe::loss::LossReason::ALL {
            assert!(lost[reason.as_str()].is_u64(), "{}", reason.as_str());
        }
        let dropped = &status["listeners"][0]["intakes"][0]["dropped"];
        for (at, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(dropped[reason.as_str()], at + 1, "{}", reason.as_str());
        }
    }

    #[test]
    fn the_history_has_a_row_for_each_moment_and_signal() {
        let mut snapshot = busy();
        snapshot.uptime += Duration::from_secs(1);
        snapshot.signals[0].stats.accepted_records += 10;
        snapshot.record();
        let history = history(&snapshot);
        let expected = json!([[60_000, 1_000, 900, 7, 90, 12_400], [61_000, 1_010, 900, 7, 90, 12_400]]);
        assert_eq!(history["signals"]["logs"], expected);
        assert_eq!(history["signals"]["traces"].as_array().map(Vec::len), Some(2));
    }
}
