//! What is left when all is done: the tables, a page, and everything as JSON.

mod chart;
mod html;
mod machine;
mod table;

use std::collections::BTreeMap;
use std::io::Write;

use opentelemetry_spool::BoxError;
use serde::Serialize;

use crate::args::Args;
use crate::figures::FIGURES;
use crate::measure::Measurement;
use crate::systems::System;
pub(crate) use machine::Machine;

#[derive(Serialize)]
pub(crate) struct Report<'a> {
    machine: Machine,
    settings: &'a Args,
    /// In seconds from the beginning.
    outage: Option<std::ops::Range<f64>>,
    guarantees: BTreeMap<&'static str, &'static str>,
    /// The medians of the rounds, by figure and system.
    figures: Vec<Row>,
    measurements: Vec<Measurement>,
    #[serde(skip)]
    systems: Vec<&'static System>,
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

    /// Writes the files and prints the tables.
    pub(crate) fn publish(&self, args: &Args) -> Result<(), BoxError> {
        let (json, page) = (args.out.join("harness.json"), args.out.join("harness.html"));
        let text = serde_json::to_string(self)?;
        std::fs::write(&json, &text)?;
        let printed = if args.json {
            text
        } else {
            std::fs::write(&page, html::page(self))?;
            format!("{}\n{}\n{}\n", self.markdown(), page.display(), json.display())
        };
        Ok(std::io::stdout().write_all(printed.as_bytes())?)
    }

    fn markdown(&self) -> String {
        let tables = std::iter::once(table::figures(self)).chain(table::ratios(self)).map(|table| table.markdown());
        let guarantees = self.systems.iter().map(|system| format!("- `{}`: {}", system.name, system.guarantee));
        let parts = std::iter::once(self.caption() + "\n").chain(tables).chain(guarantees);
        parts.collect::<Vec<_>>().join("\n") + "\n"
    }

    /// What was done, in a sentence or two.
    fn caption(&self) -> String {
        let args = self.settings;
        let rate = match (args.rate, args.in_queue()) {
            (Some(rate), _) => format!("{rate} records/s"),
            (None, Some(records)) => format!("as many records as are taken, {records} in the SDK's queue at most"),
            (None, None) => "as many records as can be emitted, whatever becomes of them".to_owned(),
        };
        let outage = self.outage.as_ref().map_or("no outage".to_owned(), |outage| {
            let how = match args.outage_kind {
                crate::args::OutageKind::Refuse => "connections refused",
                crate::args::OutageKind::Hang => "requests never answered",
                crate::args::OutageKind::Unavailable => "requests answered with 503",
            };
            format!("{how} from {:.1} s to {:.1} s", outage.start, outage.end)
        });
        let rounds =
            if args.rounds > 1 { format!("; medians of {} rounds by turns", args.rounds) } else { String::new() };
        format!(
            "{} s of load: {rate}, messages of {} bytes, {} partition(s), {} thread(s), durability {:?}; {outage}{rounds}.",
            args.seconds,
            args.record_bytes,
            args.partitions,
            args.threads,
            args.durability(),
        )
    }
}
