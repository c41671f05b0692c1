//! The figures that are reported. Another figure is a line in [`FIGURES`].

use Better::{Less, More, Neither};

use crate::latency::Latency;
use crate::measure::Measurement;
use crate::systems::System;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    More,
    Less,
    /// Not a matter of better or worse.
    Neither,
}

#[derive(Debug)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) better: Better,
    of: fn(&Measurement) -> Option<f64>,
}

const fn figure(name: &'static str, unit: &'static str, better: Better, of: fn(&Measurement) -> Option<f64>) -> Figure {
    Figure { name, unit, better, of }
}

pub(crate) static FIGURES: &[Figure] = &[
    figure("emitted", "records", Neither, |m| Some(m.loaded.emitted as f64)),
    figure("arrived", "records", Neither, |m| Some(m.arrivals.arrived as f64)),
    figure("lost", "records", Less, |m| Some(m.lost() as f64)),
    figure("never left the SDK's queue", "records", Neither, |m| Some(m.loaded.dropped_by_queue as f64)),
    figure("in exports that failed", "records", Neither, |m| Some(m.loaded.failed as f64)),
    figure("still waiting on disk", "records", Neither, |m| Some(m.loaded.waiting as f64)),
    figure("arrived twice", "records", Less, |m| Some(m.arrivals.duplicated as f64)),
    figure("out of order", "records", Less, |m| Some(m.arrivals.out_of_order as f64)),
    figure("emitted, during the load", "records/s", More, |m| Some(m.loaded.emitted as f64 / m.load_seconds)),
    figure("emitted, while the endpoint was down", "records/s", More, Measurement::emitted_while_down),
    figure("arrived, during the load", "records/s", More, |m| Some(m.arrived_under_load() as f64 / m.load_seconds)),
    figure("arrived, until the last one", "records/s", More, |m| {
        Some(m.arrivals.arrived as f64 / m.end_to_end_seconds)
    }),
    figure("the emitter had to wait", "s", Less, |m| Some(m.loaded.stalled_micros as f64 / 1e6)),
    figure("the longest it waited at once", "s", Less, |m| Some(m.loaded.longest_stall_micros as f64 / 1e6)),
    figure("emit, p50", "ns", Less, |m| emit(m, |l| l.p50)),
    figure("emit, p90", "ns", Less, |m| emit(m, |l| l.p90)),
    figure("emit, p99", "ns", Less, |m| emit(m, |l| l.p99)),
    figure("emit, p99.9", "ns", Less, |m| emit(m, |l| l.p999)),
    figure("emit to arrival, p50", "ms", Less, |m| latency(m, |l| l.p50)),
    figure("emit to arrival, p99", "ms", Less, |m| latency(m, |l| l.p99)),
    figure("emit to arrival, p99.9", "ms", Less, |m| latency(m, |l| l.p999)),
    figure("emit to arrival, longest", "ms", Less, |m| latency(m, |l| l.max)),
    figure("CPU time per arrived record", "µs", Less, |m| per(m.loaded.cpu_micros as f64, m.arrivals.arrived)),
    figure("request bytes per record", "bytes", Less, |m| {
        per(m.arrivals.body_bytes as f64, m.arrivals.arrived + m.arrivals.duplicated).filter(|bytes| *bytes > 0.0)
    }),
    figure("peak memory", "MB", Less, |m| Some(m.loaded.peak_memory_bytes as f64 / 1e6)),
    figure("peak disk", "MB", Less, |m| Some(m.peak_disk_bytes() as f64 / 1e6)),
    figure("disk left at the end", "MB", Less, |m| Some(m.disk_left_bytes as f64 / 1e6)),
];

fn emit(measurement: &Measurement, of: fn(&Latency) -> u64) -> Option<f64> {
    measurement.loaded.emit.as_ref().map(|latency| of(latency) as f64)
}

fn latency(measurement: &Measurement, of: fn(&Latency) -> u64) -> Option<f64> {
    measurement.arrivals.latency.as_ref().map(|latency| of(latency) as f64 / 1e3)
}

fn per(total: f64, records: u64) -> Option<f64> {
    (records > 0).then(|| total / records as f64)
}

impl Figure {
    /// The values of a system's rounds, in ascending order.
    fn values(&self, measurements: &[Measurement], system: &System) -> Vec<f64> {
        let of_system = measurements.iter().filter(|measurement| measurement.system == system.name);
        let mut values: Vec<f64> = of_system.filter_map(self.of).collect();
        values.sort_unstable_by(f64::total_cmp);
        values
    }

    /// The least and the most of a system's rounds, where they differ.
    pub(crate) fn spread(&self, measurements: &[Measurement], system: &System) -> Option<(f64, f64)> {
        let values = self.values(measurements, system);
        let (least, most) = (*values.first()?, *values.last()?);
        (least < most).then_some((least, most))
    }

    /// The median of a system's rounds.
    pub(crate) fn median(&self, measurements: &[Measurement], system: &System) -> Option<f64> {
        let values = self.values(measurements, system);
        let middle = values.len() / 2;
        match values.len() {
            0 => None,
            odd if odd % 2 == 1 => Some(values[middle]),
            _ => Some(f64::midpoint(values[middle - 1], values[middle])),
        }
    }
}
