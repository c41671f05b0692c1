//! [`Report`]: everything that was measured, and its medians.

use std::collections::BTreeMap;

use serde::Serialize;

use super::machine::Machine;
use crate::args::{Args, OutageKind};
use crate::figures::FIGURES;
use crate::measure::Measurement;
use crate::systems::System;

#[derive(Serialize)]
pub(crate) struct Report<'a> {
    pub(super) machine: Machine,
    pub(super) settings: &'a Args,
    /// In seconds from the beginning.
    pub(super) outage: Option<std::ops::Range<f64>>,
    pub(super) guarantees: BTreeMap<&'static str, &'static str>,
    /// The medians of the rounds, by figure and system.
    figures: Vec<Row>,
    pub(super) measurements: Vec<Measurement>,
    #[serde(skip)]
    pub(super) systems: Vec<&'static System>,
}

#[derive(Serialize)]
struct Row {
    figure: &'static str,
    unit: &'static str,
    median: BTreeMap<&'static str, Option<f64>>,
}

impl<'a> Report<'a> {
    pub(crate) fn new(
        args: &'a Args,
        machine: Machine,
        systems: &[&'static System],
        measurements: Vec<Measurement>,
    ) -> Self {
        let figures = FIGURES.iter().map(|figure| Row {
            figure: figure.name,
            unit: figure.unit,
            median: systems.iter().map(|system| (system.name, figure.median(&measurements, system))).collect(),
        });
        Self {
            machine,
            settings: args,
            outage: args.outage(),
            guarantees: systems.iter().map(|system| (system.name, system.guarantee)).collect(),
            figures: figures.collect(),
            measurements,
            systems: systems.to_vec(),
        }
    }

    /// Describes the measurement in a sentence or two.
    pub(super) fn caption(&self) -> String {
        let args = self.settings;
        let rate = match (args.rate, args.in_queue()) {
            (Some(rate), _) => format!("{rate} records/s"),
            (None, Some(records)) => format!("as many records as are taken, {records} in the SDK's queue at most"),
            (None, None) => "as many records as can be emitted, whatever becomes of them".to_owned(),
        };
        let outage = self.outage.as_ref().map_or("no outage".to_owned(), |outage| {
            let how = match args.outage_kind {
                OutageKind::Refuse => "connections refused",
                OutageKind::Hang => "requests never answered",
                OutageKind::Unavailable => "requests answered with 503",
            };
            format!("{how} from {:.1} s to {:.1} s", outage.start, outage.end)
        });
        let rounds = if args.rounds > 1 {
            format!("; medians of {} rounds by turns, with the least and the most", args.rounds)
        } else {
            String::new()
        };
        format!(
            "{} s of load with {}: {rate}, messages of {} bytes, {} partition(s), {} thread(s), durability {:?}; {outage}{rounds}.",
            args.seconds,
            args.signal.records(),
            args.record_bytes,
            args.partitions,
            args.threads,
            args.durability(),
        )
    }
}
