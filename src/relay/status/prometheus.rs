//! The snapshot in Prometheus' text format. Names and units follow its conventions; a partition is never a label, since there
//! is no bound on how many there are.

use std::fmt::{Display, Write};

use crate::config::values::Signal;
use crate::observe::loss::LossReason;
use crate::observe::stats::SpoolStats;
use crate::relay::counts::DropReason;
use crate::relay::status::snapshot::{Delivery, Intake, ListenerStatus, SignalStatus, Snapshot};

/// The content type of the format.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A metric of a signal: its name, its help, and the way to its value.
type Metric<Of, To> = (&'static str, &'static str, fn(&Of) -> To);

/// The counters of a signal.
const COUNTERS: &[Metric<SpoolStats, u64>] = &[
    ("accepted_records_total", "Records that were written to the spool.", |stats| stats.accepted_records),
    ("delivered_records_total", "Records that the endpoint took.", |stats| stats.delivered_records),
    ("rejected_records_total", "Records that the endpoint rejected for good.", |stats| stats.rejected_records),
    ("unconfirmed_records_total", "Delivered records of which some may have been rejected.", |stats| {
        stats.unconfirmed_records
    }),
    ("probed_records_total", "Records that were sent before earlier ones to find a failure's cause.", |stats| {
        stats.probed_records
    }),
    ("thinned_records_total", "Records that were not sent because newer ones stand for them.", |stats| {
        stats.thinned_records
    }),
    ("filtered_records_total", "Records that a filter of the application dropped.", |stats| stats.filtered_records),
    ("failed_commits_total", "Commits to the spool that failed.", |stats| stats.failed_exports),
    ("requests_total", "Requests that were sent to the endpoint.", |stats| stats.requests),
    ("retried_requests_total", "Requests that were not the first attempt of their batch.", |stats| stats.retries),
    ("failed_requests_total", "Requests that did not deliver their batch.", |stats| stats.failed_requests),
];

/// The gauges of a signal.
const GAUGES: &[Metric<SignalStatus, Value>] = &[
    ("pending_records", "Records in the spool that wait to be delivered.", |status| {
        Value::Count(status.stats.pending_records)
    }),
    ("stranded_records", "Records in the spool that were spooled for another endpoint.", |status| {
        Value::Count(status.stats.stranded_records)
    }),
    (
        "oldest_record_age_seconds",
        "Time that the oldest waiting record has been in the spool; 0 if none waits.",
        |status| Value::Seconds(status.stats.oldest_age.unwrap_or_default().as_secs_f64()),
    ),
    ("in_flight_requests", "Requests that are in flight.", |status| Value::Count(status.stats.in_flight_requests)),
    ("segments", "Segments of the spool.", |status| Value::Count(status.stats.segments)),
    ("partitions", "Partitions that have records in the spool.", |status| Value::Count(status.partitions)),
    ("delivery_failing", "Whether delivery fails and is retried.", |status| {
        Value::Count(u64::from(matches!(status.delivery, Delivery::Failing(_))))
    }),
    ("delivery_held", "Whether delivery is held until an operator acts.", |status| {
        Value::Count(u64::from(matches!(status.delivery, Delivery::Held(_))))
    }),
];

/// A value of a sample.
enum Value {
    Count(u64),
    Seconds(f64),
}

impl Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Count(count) => count.fmt(f),
            Self::Seconds(seconds) => seconds.fmt(f),
        }
    }
}

/// A name of a label, and its value.
type Label<'a> = (&'static str, &'a str);

/// The metrics of a relay.
pub(crate) fn metrics(snapshot: &Snapshot) -> String {
    let mut text = Text::default();
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    text.gauge("build_info", "Version of the relay.").sample(&version, 1);
    text.gauge("uptime_seconds", "Time since the relay was started.").sample(&[], snapshot.uptime.as_secs_f64());
    let accepts = u64::from(snapshot.refusal.is_none());
    text.gauge("accepting", "Whether records are accepted.").sample(&[], accepts);
    if let Some(bytes) = snapshot.disk_bytes() {
        text.gauge("disk_usage_bytes", "Size of the spool directory on disk.").sample(&[], bytes);
    }
    if let Some(bytes) = snapshot.max_bytes {
        text.gauge("disk_limit_bytes", "Largest size of the spool directory on disk.").sample(&[], bytes);
    }
    spool(&mut text, &snapshot.signals);
    listeners(&mut text, &snapshot.listeners);
    text.out
}

fn spool(text: &mut Text, signals: &[SignalStatus]) {
    if signals.is_empty() {
        return;
    }
    for (name, help, count) in COUNTERS {
        let mut family = text.counter(name, help);
        for status in signals {
            family.sample(&[("signal", status.signal.name())], count(&status.stats));
        }
    }
    let mut lost = text.counter("lost_records_total", "Records that are lost, by reason.");
    for status in signals {
        for reason in LossReason::ALL {
            let labels = [("signal", status.signal.name()), ("reason", reason.as_str())];
            lost.sample(&labels, of_reason(&status.stats, reason));
        }
    }
    for (name, help, value) in GAUGES {
        let mut family = text.gauge(name, help);
        for status in signals {
            family.sample(&[("signal", status.signal.name())], value(status));
        }
    }
}

fn of_reason(stats: &SpoolStats, reason: LossReason) -> u64 {
    match reason {
        LossReason::Evicted => stats.evicted_records,
        LossReason::NotWritten => stats.not_written_records,
        LossReason::BufferFull => stats.buffer_full_records,
        LossReason::EncodeFailed => stats.encode_failed_records,
        LossReason::Expired => stats.expired_records,
        LossReason::Corrupt => stats.corrupt_records,
        LossReason::BadFrame => stats.bad_frame_records,
        LossReason::Cut => stats.cut_records,
        LossReason::TooLarge => stats.too_large_records,
    }
}

fn listeners(text: &mut Text, listeners: &[ListenerStatus]) {
    if listeners.is_empty() {
        return;
    }
    let mut family = text.counter("relay_connections_total", "Connections that a listener accepted.");
    for listener in listeners {
        family.sample(&[("listener", &listener.name)], listener.connections);
    }
    let mut family = text.gauge("relay_open_connections", "Connections of a listener that are open.");
    for listener in listeners {
        family.sample(&[("listener", &listener.name)], listener.open_connections);
    }
    let intakes: Vec<_> =
        listeners.iter().flat_map(|listener| listener.intakes.iter().map(move |intake| (listener, intake))).collect();
    if intakes.is_empty() {
        return;
    }
    let mut family = text.counter("relay_received_records_total", "Records that a listener accepted.");
    for (listener, intake) in &intakes {
        family.sample(&labels(listener, intake), intake.records);
    }
    let mut family = text.counter("relay_received_bytes_total", "Size of the messages that held accepted records.");
    for (listener, intake) in &intakes {
        family.sample(&labels(listener, intake), intake.bytes);
    }
    let mut family = text.counter("relay_dropped_messages_total", "Messages that a listener did not take, by reason.");
    for (listener, intake) in &intakes {
        let [listener, protocol, signal] = labels(listener, intake);
        for (reason, count) in DropReason::ALL.into_iter().zip(intake.dropped) {
            family.sample(&[listener, protocol, signal, ("reason", reason.as_str())], count);
        }
    }
}

/// The labels of an intake. An empty one is the same as none.
fn labels<'a>(listener: &'a ListenerStatus, intake: &'a Intake) -> [Label<'a>; 3] {
    let signal = intake.signal.map_or("", Signal::name);
    [("listener", &listener.name), ("protocol", intake.protocol), ("signal", signal)]
}

/// The text, which grows family by family.
#[derive(Default)]
struct Text {
    out: String,
}

/// The samples of one metric, which have to stand together.
struct Family<'a> {
    name: &'a str,
    out: &'a mut String,
}

impl Text {
    fn counter<'a>(&'a mut self, name: &'a str, help: &str) -> Family<'a> {
        self.family(name, help, "counter")
    }

    fn gauge<'a>(&'a mut self, name: &'a str, help: &str) -> Family<'a> {
        self.family(name, help, "gauge")
    }

    fn family<'a>(&'a mut self, name: &'a str, help: &str, kind: &str) -> Family<'a> {
        for (comment, text) in [("HELP", help), ("TYPE", kind)] {
            self.out.extend(["# ", comment, " opentelemetry_spool_", name, " ", text, "\n"]);
        }
        Family { name, out: &mut self.out }
    }
}

impl Family<'_> {
    fn sample(&mut self, labels: &[Label<'_>], value: impl Display) {
        self.out.extend(["opentelemetry_spool_", self.name]);
        for (at, (name, value)) in labels.iter().enumerate() {
            self.out.extend([if at == 0 { "{" } else { "," }, name, "=\""]);
            value.chars().for_each(|char| match char {
                '\\' => self.out.push_str("\\\\"),
                '"' => self.out.push_str("\\\""),
                '\n' => self.out.push_str("\\n"),
                char => self.out.push(char),
            });
            self.out.push('"');
        }
        let end = if labels.is_empty() { "" } else { "}" };
        // Writing to a string does not fail.
        let _ = writeln!(self.out, "{end} {value}");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::relay::status::snapshot::tests::busy;

    /// A sample: the metric, its labels, and the value.
    type Sample = (String, BTreeMap<String, String>, f64);

    /// An expected sample: the metric, some of its labels, and the value.
    type Expected<'a> = (&'a str, &'a [(&'a str, &'a str)], f64);

    /// A name as the format has it.
    fn is_name(name: &str) -> bool {
        !name.is_empty()
            && !name.starts_with(|char: char| char.is_ascii_digit())
            && name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_')
    }

    /// The value of a label whose opening quote is read, and what follows its closing one.
    fn unescape(text: &str) -> (String, &str) {
        let mut value = String::new();
        let mut chars = text.char_indices();
        while let Some((at, char)) = chars.next() {
            match char {
                '"' => return (value, &text[at + 1..]),
                '\\' => match chars.next().expect("an escaped character").1 {
                    'n' => value.push('\n'),
                    char @ ('\\' | '"') => value.push(char),
                    char => panic!("no escape: {char:?}"),
                },
                char => value.push(char),
            }
        }
        panic!("no closing quote: {text}")
    }

    /// Reads the format and holds its rules: each family is declared once, before its samples, which stand together, no
    /// sample comes twice, and a counter's name says so.
    fn parse(text: &str) -> Vec<Sample> {
        assert!(text.ends_with('\n'));
        let mut declared = BTreeMap::new();
        let mut seen = BTreeSet::new();
        let mut samples = Vec::new();
        let mut family = "";
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').expect("a help text");
                assert!(!help.is_empty() && help.ends_with('.'), "{line}");
                family = name;
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect("a type");
                assert_eq!(name, family, "the type stands behind the help");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
                assert!(["counter", "gauge"].contains(&kind), "{kind}");
                assert_eq!(declared.insert(name, kind), None, "{name} is declared twice");
            } else {
                let (name, mut rest) = line.split_at(line.find(['{', ' ']).expect("a value"));
                assert!(is_name(name) && name == family && declared.contains_key(name), "{line}");
                let mut labels = BTreeMap::new();
                while let Some(label) = rest.strip_prefix(['{', ',']) {
                    let (label, value) = label.split_once("=\"").expect("a label");
                    let (value, behind) = unescape(value);
                    assert!(is_name(label) && labels.insert(label.to_owned(), value).is_none(), "{line}");
                    rest = behind;
                }
                let value = rest.strip_prefix('}').unwrap_or(rest).strip_prefix(' ').expect("a space");
                assert!(seen.insert((name, labels.clone())), "{line} comes twice");
                samples.push((name.to_owned(), labels, value.parse().expect("a number")));
            }
        }
        for name in declared.keys() {
            assert!(samples.iter().any(|(of, ..)| of == name), "{name} has a sample");
        }
        samples
    }

    /// The value of a metric with these labels among its own.
    #[track_caller]
    fn value(samples: &[Sample], name: &str, labels: &[(&str, &str)]) -> f64 {
        let fits = |(of, own, _): &&Sample| {
            of.strip_prefix("opentelemetry_spool_") == Some(name)
                && labels.iter().all(|(label, value)| own.get(*label).is_some_and(|own| own == value))
        };
        samples.iter().find(fits).unwrap_or_else(|| panic!("{name} {labels:?}")).2
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "they are written exactly")]
    fn every_count_is_a_sample_of_the_format() {
        let snapshot = busy();
        let samples = parse(&metrics(&snapshot));
        let cases: &[Expected<'_>] = &[
            ("accepting", &[], 1.0),
            ("uptime_seconds", &[], 60.0),
            ("disk_usage_bytes", &[], 65_536.0),
            ("accepted_records_total", &[("signal", "traces")], 1_000.0),
            ("lost_records_total", &[("signal", "logs"), ("reason", "evicted")], 5.0),
            ("lost_records_total", &[("signal", "logs"), ("reason", "corrupt")], 2.0),
            ("oldest_record_age_seconds", &[("signal", "logs")], 12.4),
            ("delivery_held", &[("signal", "logs")], 1.0),
            ("delivery_held", &[("signal", "traces")], 0.0),
            ("relay_connections_total", &[("listener", &snapshot.listeners[0].name)], 9.0),
            ("relay_received_records_total", &[("protocol", "pickle"), ("signal", "logs")], 1_000.0),
            ("relay_dropped_messages_total", &[("protocol", "pickle"), ("reason", "cut")], 3.0),
            ("relay_dropped_messages_total", &[("signal", ""), ("reason", "cross_site")], 10.0),
        ];
        for (name, labels, expected) in cases {
            assert_eq!(value(&samples, name, labels), *expected, "{name} {labels:?}");
        }
    }

    #[test]
    fn a_label_comes_back_as_it_was_however_hostile_it_is() {
        let snapshot = busy();
        let samples = parse(&metrics(&snapshot));
        let listeners: BTreeSet<_> = samples.iter().filter_map(|(_, labels, _)| labels.get("listener")).collect();
        assert_eq!(listeners.into_iter().collect::<Vec<_>>(), [&snapshot.listeners[0].name]);
    }

    #[test]
    fn there_is_no_partition_and_no_word_of_the_endpoint_in_it() {
        let mut snapshot = busy();
        snapshot.listeners.clear();
        let text = metrics(&snapshot);
        assert!(!text.contains("customer-17") && !text.contains("script"), "{text}");
    }

    #[test]
    fn a_relay_that_has_nothing_yet_has_valid_metrics() {
        let samples = parse(&metrics(&Snapshot::default()));
        assert_eq!(samples.len(), 3);
    }
}
