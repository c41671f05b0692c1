//! The page: one file, nothing from elsewhere, no script.

use std::fmt::Write;

use super::chart::{Bottom, Chart, Series};
use super::collected::Report;
use super::format::text;
use super::table;
use crate::latency::Latency;
use crate::measure::Measurement;
use crate::sample::Sample;
use crate::systems::{self, System};

/// Over how many samples a rate is taken: half a second.
const SMOOTHED: usize = 5;

const PERCENTILES: [&str; 5] = ["p50", "p90", "p99", "p99.9", "longest"];

/// Colours that differ also for those who see few of them, one row for each ground.
const STYLE: &str = "
:root { color-scheme: light dark; --ground: #fff; --ink: #1c2024; --faint: #60646c; --line: #e0e1e6; --shade: #f3c9c955;
  --c0: #0b62d6; --c1: #d9480f; --c2: #0a8a5f; --c3: #7c3aed; --c4: #b8860b; --c5: #c2255c; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #16181c; --ink: #edeef0; --faint: #a0a4ab; --line: #33373d; --shade: #b0404040;
    --c0: #6ea8fe; --c1: #ff922b; --c2: #38d9a9; --c3: #b197fc; --c4: #ffd43b; --c5: #faa2c1; } }
body { background: var(--ground); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; max-width: 84rem;
  margin: 2rem auto; padding: 0 1.5rem; }
h1 { font-size: 1.5rem; margin-bottom: .3rem } h2 { font-size: 1.1rem; margin-top: 2.5rem }
.faint, figcaption span { color: var(--faint) }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 34rem), 1fr)); gap: 1.5rem 2.5rem }
figure { margin: 0 } figcaption { font-weight: 600 } figcaption span { font-weight: 400; display: block; font-size: .87rem }
svg { width: 100%; height: auto; display: block; overflow: visible } svg text { fill: var(--faint); font-size: 12px }
.end { text-anchor: end } .middle { text-anchor: middle } svg .note { font-size: 11px }
.grid { stroke: var(--line) } .mark { stroke: var(--faint); stroke-dasharray: 3 3 } .outage { fill: var(--shade) }
polyline { fill: none; stroke-width: 2; stroke-linejoin: round } .touch { fill: transparent; stroke: none }
.touch:hover { fill: var(--ink) }
.c0 { --c: var(--c0) } .c1 { --c: var(--c1) } .c2 { --c: var(--c2) } .c3 { --c: var(--c3) } .c4 { --c: var(--c4) }
.c5 { --c: var(--c5) } polyline { stroke: var(--c) } .dot { fill: var(--c) }
.legend { position: sticky; top: 0; background: var(--ground); padding: .6rem 0; display: flex; flex-wrap: wrap; gap: 1.5rem }
.legend i { display: inline-block; width: 1.6rem; height: .25rem; margin-right: .5rem; vertical-align: middle;
  background: var(--c) }
.wide { overflow-x: auto } table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { text-align: right; padding: .25rem .9rem; border-bottom: 1px solid var(--line); white-space: nowrap }
th:first-child, :is(th, td):nth-child(2) { text-align: left } tbody th { font-weight: 400 } td:nth-child(2) { color: var(--faint) }
dt { font-weight: 600 } dd { margin: 0 0 .6rem }
";

pub(super) fn page(report: &Report<'_>) -> String {
    let mut out = format!(
        "<!doctype html><html lang=en><head><meta charset=utf-8>\
         <meta name=viewport content=\"width=device-width, initial-scale=1\">\
         <title>Log exporters side by side</title><style>{STYLE}</style></head><body>\
         <h1>Log exporters side by side, end to end</h1><p class=faint>{}</p><div class=legend>",
        text(&report.caption())
    );
    for (colour, system) in report.systems.iter().enumerate() {
        let _ = write!(out, "<span class=c{colour}><i></i>{}</span>", system.name);
    }
    out.push_str("</div><div class=charts>");
    for (chart, remark) in charts(report) {
        let (title, picture) = (chart.title, chart.svg());
        let _ = write!(out, "<figure><figcaption>{title}<span>{remark}</span></figcaption>{picture}</figure>");
    }
    out.push_str("</div>");
    for (title, table) in [("Figures", Some(table::figures(report))), ("Ratios", table::ratios(report))] {
        if let Some(table) = table {
            let _ = write!(out, "<h2>{title}</h2>{}", table.html());
        }
    }
    out.push_str(
        "<p class=faint>Without --rate the emitter waits for the exporter: where it waits through an outage, little is lost \
         because little is logged. With a rate it never waits. Lost is what was emitted, did not arrive and does not wait on disk either. What an export gave up \
         may have arrived all the same. Latencies are those of what arrived: who loses what an outage holds up has short \
         ones. CPU time and memory are those of the process under test, with the load generator, without the receiver. \
         The lines are those of the first round, rates over half a second.</p><h2>What each one promises</h2><dl>",
    );
    for system in &report.systems {
        let _ = write!(out, "<dt>{}</dt><dd>{}</dd>", system.name, text(system.guarantee));
    }
    out.push_str("</dl><h2>Machine</h2><dl>");
    let machine = &report.machine;
    let crates: Vec<_> = machine.crates.iter().map(|(name, version)| format!("{name} {version}")).collect();
    for (term, description) in [
        ("begun", machine.begun.clone()),
        ("processor", format!("{} cores, {}", machine.cores, machine.processor)),
        ("memory", format!("{} GB", machine.memory_gb)),
        ("kernel", machine.kernel.clone()),
        ("file system", machine.file_system.clone()),
        ("load average before", machine.load_average.clone()),
        ("crates", crates.join(", ")),
    ] {
        let _ = write!(out, "<dt>{term}</dt><dd>{}</dd>", text(&description));
    }
    out.push_str("</dl></body></html>\n");
    out
}

/// Every chart and what there is to say about it.
fn charts(report: &Report<'_>) -> Vec<(Chart, &'static str)> {
    let samples = report.measurements.iter().flat_map(|measurement| &measurement.samples);
    let end = samples.map(|sample| sample.seconds).fold(report.settings.seconds, f64::max);
    let over_time = |title, unit, files: bool, points: fn(&[Sample]) -> Vec<(f64, f64)>| {
        let shown = |measurement: &Measurement| {
            (files || systems::named(measurement.system).delivers()).then(|| points(&measurement.samples))
        };
        let bottom = Bottom::Time { outage: report.outage.clone(), load: report.settings.seconds, end };
        Chart { title, unit, bottom, is_log: false, series: series(report, shown) }
    };
    let percentiles = |title, unit, latency: fn(&Measurement) -> Option<Vec<f64>>| {
        let shown = |measurement: &Measurement| {
            Some(latency(measurement)?.into_iter().enumerate().map(|(at, value)| (at as f64, value)).collect())
        };
        Chart { title, unit, bottom: Bottom::Names(&PERCENTILES), is_log: true, series: series(report, shown) }
    };
    vec![
        (
            over_time("Arrived", "records/s", true, |samples| rate(samples, |sample| sample.arrived)),
            "What the receiver counted, each record once; for the file, what was written.",
        ),
        (
            over_time("Emitted", "records/s", true, |samples| rate(samples, |sample| sample.emitted)),
            "What the application got rid of.",
        ),
        (
            over_time("Emitted, not arrived", "records", false, |samples| {
                each(samples, |sample| sample.emitted.saturating_sub(sample.arrived) as f64)
            }),
            "Back to zero: nothing is lost. What is left at the end is.",
        ),
        (
            over_time("Backlog on disk", "MB", false, |samples| each(samples, |sample| sample.disk_bytes as f64 / 1e6)),
            "What the spool takes; the others keep nothing there.",
        ),
        (
            over_time("Memory", "MB", true, |samples| each(samples, |sample| sample.memory_bytes as f64 / 1e6)),
            "Of the process under test.",
        ),
        (
            over_time("CPU", "cores", true, |samples| {
                let rates = rate(samples, |sample| sample.cpu_micros);
                rates.into_iter().map(|(seconds, micros)| (seconds, micros / 1e6)).collect()
            }),
            "Of the process under test, with the load generator.",
        ),
        (
            percentiles("One emit", "µs, logarithmic", |measurement| {
                Some(values(measurement.loaded.emit.as_ref()?, 1e3))
            }),
            "What it costs the thread that logs.",
        ),
        (
            percentiles("From emit to arrival", "ms, logarithmic", |measurement| {
                Some(values(measurement.arrivals.latency.as_ref()?, 1e3))
            }),
            "Of what arrived, outage and waiting included.",
        ),
    ]
}

/// A line for each system that has one, of its first round.
fn series(report: &Report<'_>, points: impl Fn(&Measurement) -> Option<Vec<(f64, f64)>>) -> Vec<Series> {
    let of_system = |(colour, system): (usize, &&'static System)| {
        let measurement = report.measurements.iter().find(|measurement| measurement.system == system.name)?;
        Some(Series { name: system.name, colour, points: points(measurement)? })
    };
    report.systems.iter().enumerate().filter_map(of_system).collect()
}

fn each(samples: &[Sample], value: fn(&Sample) -> f64) -> Vec<(f64, f64)> {
    samples.iter().map(|sample| (sample.seconds, value(sample))).collect()
}

/// How fast a count grows, per second.
fn rate(samples: &[Sample], count: fn(&Sample) -> u64) -> Vec<(f64, f64)> {
    let between = |pair: &[Sample]| {
        let (first, last) = (&pair[0], &pair[pair.len() - 1]);
        let seconds = last.seconds - first.seconds;
        (
            f64::midpoint(first.seconds, last.seconds),
            count(last).saturating_sub(count(first)) as f64 / seconds.max(1e-3),
        )
    };
    samples.windows(SMOOTHED + 1).map(between).collect()
}

fn values(latency: &Latency, divisor: f64) -> Vec<f64> {
    [latency.p50, latency.p90, latency.p99, latency.p999, latency.max]
        .map(|value| value.max(1) as f64 / divisor)
        .to_vec()
}
