//! [`Snapshot`]: everything that the status page and the metrics show, as plain data. It holds counts, names of listeners and the
//! endpoint's words; no record, and partition keys only where they were asked for.

use std::time::Duration;

use crate::config::values::Signal;
use crate::observe::stats::SpoolStats;
use crate::relay::counts::DropReason;
use crate::relay::status::history::History;

/// The state of a relay at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    /// The time since the relay was started.
    pub(crate) uptime: Duration,
    /// The endpoint that records are delivered to, without credentials, query or fragment.
    pub(crate) endpoint: String,
    /// The reason for which no record can be accepted at the moment.
    pub(crate) refusal: Option<Refusal>,
    /// The largest size of the spool directory on disk, in bytes.
    pub(crate) max_bytes: Option<u64>,
    /// The signals that the relay has exporters for.
    pub(crate) signals: Vec<SignalStatus>,
    /// The listeners, in the order of the settings.
    pub(crate) listeners: Vec<ListenerStatus>,
    /// The last minutes, for the plots.
    pub(crate) history: History,
}

impl Snapshot {
    /// The size of the spool directory on disk, which the signals share.
    pub(crate) fn disk_bytes(&self) -> Option<u64> {
        self.signals.iter().find_map(|status| status.stats.disk_bytes)
    }

    /// Adds this moment to the history.
    pub(crate) fn record(&mut self) {
        let stats = self.signals.iter().map(|status| (status.signal, &status.stats));
        let intakes = self.listeners.iter().flat_map(|listener| &listener.intakes);
        let dropped = intakes.flat_map(|intake| DropReason::ALL.into_iter().zip(intake.dropped));
        let dropped = dropped.filter(|(reason, _)| reason.loses()).map(|(_, count)| count).sum();
        self.history.push(self.uptime, stats, dropped);
    }
}

/// The reason for which no record can be accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Commits fail, with the error.
    CommitsFail(String),
    /// The spool is full and refuses what is new.
    SpoolFull,
}

impl Refusal {
    /// The reason in words.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::CommitsFail(error) => format!("commits to the spool fail: {error}"),
            Self::SpoolFull => "the spool is full".to_owned(),
        }
    }
}

/// The spool and the delivery of one signal.
#[derive(Clone, Debug)]
pub(crate) struct SignalStatus {
    pub(crate) signal: Signal,
    pub(crate) stats: SpoolStats,
    pub(crate) delivery: Delivery,
    /// The time since a request failed last.
    pub(crate) last_error_age: Option<Duration>,
    /// The number of partitions that have records in the spool.
    pub(crate) partitions: u64,
    /// Those of them with the most records, by name, the largest first. Nothing shows them but for [`Options::show_keys`](super::Options::show_keys).
    pub(crate) keys: Vec<PartitionStatus>,
}

/// The way that delivery is, by the last events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// Nothing is known to fail.
    #[default]
    Working,
    /// The endpoint cannot be reached or is overloaded, in its words: it is retried.
    Failing(String),
    /// The endpoint takes nothing until an operator acts, in its words: it is retried slowly.
    Held(String),
}

/// A partition that has records in the spool.
#[derive(Clone, Debug)]
pub(crate) struct PartitionStatus {
    pub(crate) key: String,
    pub(crate) pending_records: u64,
}

/// A listener.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListenerStatus {
    /// The address as it is bound, such as `tcp://127.0.0.1:9020` or `unix:/run/relay.sock`.
    pub(crate) name: String,
    /// Connections that were accepted; of datagrams there are none.
    pub(crate) connections: u64,
    /// The connections that are open now.
    pub(crate) open_connections: u64,
    /// The messages that it took, by protocol and signal: those that occurred.
    pub(crate) intakes: Vec<Intake>,
}

/// The messages of one protocol and signal that a listener took, or did not take.
#[derive(Clone, Debug)]
pub(crate) struct Intake {
    /// The protocol's name; `http` or `frames` where a message was dropped before it was known.
    pub(crate) protocol: &'static str,
    /// The signal; `None` where a message was dropped before it was known.
    pub(crate) signal: Option<Signal>,
    /// Records that were accepted.
    pub(crate) records: u64,
    /// The size of the messages that held them, as they came.
    pub(crate) bytes: u64,
    /// Messages that were dropped, by reason in the order of [`DropReason::ALL`].
    pub(crate) dropped: [u64; DropReason::ALL.len()],
}

#[cfg(test)]
pub(in crate::relay::status) mod tests {
    use super::*;

    /// Words of an endpoint that attack whatever shows them without escaping.
    pub(in crate::relay::status) const HOSTILE: &str =
        "</script><img src=x onerror=alert(1)>\"\\\n# HELP x y\u{2028}{a=\"b\"}";

    /// A relay of two signals that has had everything happen to it.
    pub(in crate::relay::status) fn busy() -> Snapshot {
        let mut stats = SpoolStats {
            accepted_records: 1_000,
            delivered_records: 900,
            rejected_records: 3,
            pending_records: 90,
            oldest_age: Some(Duration::from_millis(12_400)),
            lost_records: 7,
            evicted_records: 5,
            corrupt_records: 2,
            requests: 40,
            retries: 4,
            failed_requests: 5,
            segments: 2,
            disk_bytes: Some(65_536),
            last_error: Some(HOSTILE.to_owned()),
            ..SpoolStats::default()
        };
        let logs = SignalStatus {
            signal: Signal::Logs,
            stats: stats.clone(),
            delivery: Delivery::Held(HOSTILE.to_owned()),
            last_error_age: Some(Duration::from_secs(3)),
            partitions: 2,
            keys: vec![
                PartitionStatus { key: HOSTILE.to_owned(), pending_records: 60 },
                PartitionStatus { key: "customer-17".to_owned(), pending_records: 30 },
            ],
        };
        stats.last_error = None;
        let traces = SignalStatus {
            signal: Signal::Traces,
            stats,
            delivery: Delivery::Working,
            last_error_age: None,
            partitions: 0,
            keys: Vec::new(),
        };
        let intake = Intake {
            protocol: "pickle",
            signal: Some(Signal::Logs),
            records: 1_000,
            bytes: 480_000,
            dropped: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
        };
        let unknown = Intake { protocol: "http", signal: None, records: 0, bytes: 0, ..intake.clone() };
        let mut snapshot = Snapshot {
            uptime: Duration::from_secs(60),
            endpoint: "https://logs.example.com".to_owned(),
            refusal: None,
            max_bytes: Some(1 << 30),
            signals: vec![logs, traces],
            listeners: vec![ListenerStatus {
                name: format!("unix:/run/{HOSTILE}"),
                connections: 9,
                open_connections: 4,
                intakes: vec![intake, unknown],
            }],
            history: History::default(),
        };
        snapshot.record();
        snapshot
    }

    #[test]
    fn the_number_of_a_reason_is_its_place() {
        for (at, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at, "{}", reason.as_str());
        }
    }
}
