//! The figures that are reported. Another figure is a line in [`FIGURES`], another line of the README's table one in [`ROWS`].

use Better::{Less, More, Neither};

use super::run::{Latency, Load, Measurement, System};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Better {
    More,
    Less,
    /// Not a matter of better or worse.
    Neither,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Figure {
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
    pub(super) better: Better,
    of: fn(&Measurement) -> Option<f64>,
}

/// A line of the README's table.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) figures: &'static [Figure],
}

const fn figure(name: &'static str, unit: &'static str, better: Better, of: fn(&Measurement) -> Option<f64>) -> Figure {
    Figure { name, unit, better, of }
}

pub(super) const LOST: Figure = figure("lost", "records", Less, |m| Some(m.lost() as f64));
pub(super) const EMITTED: Figure = figure("emitted", "records", Neither, |m| Some(m.loaded.emitted as f64));
pub(super) const ARRIVED: Figure =
    figure("arrived", "records/s", More, |m| Some(m.arrivals.arrived as f64 / m.end_to_end_seconds));
const EMITTED_WHILE_DOWN: Figure =
    figure("emitted during the outage", "records/s", More, Measurement::emitted_while_down);
const LONGEST_WAIT: Figure =
    figure("longest wait of the application", "s", Less, |m| Some(m.loaded.longest_stall_micros as f64 / 1e6));
const EMIT_P50: Figure = figure("emit, median", "µs", Less, |m| emit(m, |l| l.p50));
const EMIT_P99: Figure = figure("emit, 99th percentile", "µs", Less, |m| emit(m, |l| l.p99));
const CPU: Figure = figure("CPU time per record", "µs", Less, |m| per(m.loaded.cpu_micros as f64, m.arrivals.arrived));
const PEAK_MEMORY: Figure = figure("peak memory", "MB", Less, |m| Some(m.loaded.peak_memory_bytes as f64 / 1e6));

/// The README's table, in its order and by its names.
pub(super) static ROWS: &[Row] = &[
    Row { name: "lost, records", figures: &[LOST] },
    Row { name: "arrived, records/s", figures: &[ARRIVED] },
    Row { name: "emitted during the outage, records/s", figures: &[EMITTED_WHILE_DOWN] },
    Row { name: "longest wait of the application, s", figures: &[LONGEST_WAIT] },
    Row { name: "`emit`, median and 99th percentile, µs", figures: &[EMIT_P50, EMIT_P99] },
    Row { name: "CPU time per record, µs", figures: &[CPU] },
    Row { name: "peak memory, MB", figures: &[PEAK_MEMORY] },
];

pub(super) static FIGURES: &[Figure] = &[
    EMITTED,
    figure("arrived", "records", Neither, |m| Some(m.arrivals.arrived as f64)),
    LOST,
    figure("never left the SDK's queue", "records", Neither, |m| Some(m.loaded.dropped_by_queue as f64)),
    figure("in exports that failed", "records", Neither, |m| Some(m.loaded.failed as f64)),
    figure("still waiting on disk", "records", Neither, |m| Some(m.loaded.waiting as f64)),
    figure("arrived twice", "records", Less, |m| Some(m.arrivals.duplicated as f64)),
    figure("out of order", "records", Less, |m| Some(m.arrivals.out_of_order as f64)),
    figure("emitted during the load", "records/s", More, |m| Some(m.loaded.emitted as f64 / m.load_seconds)),
    EMITTED_WHILE_DOWN,
    figure("arrived during the load", "records/s", More, |m| Some(m.arrived_under_load() as f64 / m.load_seconds)),
    ARRIVED,
    figure("all waits of the application", "s", Less, |m| Some(m.loaded.stalled_micros as f64 / 1e6)),
    LONGEST_WAIT,
    EMIT_P50,
    figure("emit, 90th percentile", "µs", Less, |m| emit(m, |l| l.p90)),
    EMIT_P99,
    figure("emit, 99.9th percentile", "µs", Less, |m| emit(m, |l| l.p999)),
    figure("emit to arrival, median", "ms", Less, |m| latency(m, |l| l.p50)),
    figure("emit to arrival, 99th percentile", "ms", Less, |m| latency(m, |l| l.p99)),
    figure("emit to arrival, 99.9th percentile", "ms", Less, |m| latency(m, |l| l.p999)),
    figure("emit to arrival, longest", "ms", Less, |m| latency(m, |l| l.max)),
    CPU,
    figure("request bytes per record", "bytes", Less, |m| {
        per(m.arrivals.body_bytes as f64, m.arrivals.arrived + m.arrivals.duplicated).filter(|bytes| *bytes > 0.0)
    }),
    PEAK_MEMORY,
    figure("peak disk", "MB", Less, |m| Some(m.peak_disk_bytes() as f64 / 1e6)),
    figure("disk left at the end", "MB", Less, |m| Some(m.disk_left_bytes as f64 / 1e6)),
];

fn emit(measurement: &Measurement, of: fn(&Latency) -> u64) -> Option<f64> {
    measurement.loaded.emit.as_ref().map(|latency| of(latency) as f64 / 1e3)
}

fn latency(measurement: &Measurement, of: fn(&Latency) -> u64) -> Option<f64> {
    measurement.arrivals.latency.as_ref().map(|latency| of(latency) as f64 / 1e3)
}

fn per(total: f64, records: u64) -> Option<f64> {
    (records > 0).then(|| total / records as f64)
}

impl Figure {
    /// The values of a system's rounds, in ascending order.
    fn values(&self, load: &Load, system: &System) -> Vec<f64> {
        let mut values: Vec<f64> = load.of(system).filter_map(self.of).collect();
        values.sort_unstable_by(f64::total_cmp);
        values
    }

    /// The least and the most of a system's rounds, where they differ.
    pub(super) fn spread(&self, load: &Load, system: &System) -> Option<(f64, f64)> {
        let values = self.values(load, system);
        let (least, most) = (*values.first()?, *values.last()?);
        (least < most).then_some((least, most))
    }

    /// The median of a system's rounds.
    pub(super) fn median(&self, load: &Load, system: &System) -> Option<f64> {
        let values = self.values(load, system);
        let middle = values.len() / 2;
        match values.len() {
            0 => None,
            odd if odd % 2 == 1 => Some(values[middle]),
            _ => Some(f64::midpoint(values[middle - 1], values[middle])),
        }
    }
}
