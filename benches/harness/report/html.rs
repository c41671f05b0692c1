//! The page: one file, nothing from elsewhere, no script.

use std::fmt::Write;

use super::chart::{Bottom, Chart, Series};
use super::figures::{EMITTED, LOST};
use super::format::{markup, text, value};
use super::run::{Latency, Load, Machine, Measurement, Run, Sample, System};
use super::{table, verdict};

/// Over how many samples a rate is taken: half a second.
const SMOOTHED: usize = 5;

const PERCENTILES: [&str; 5] = ["p50", "p90", "p99", "p99.9", "longest"];

const STYLE: &str = include_str!("page.css");

pub(super) fn page(run: &Run) -> String {
    let mut out = format!(
        "<!doctype html><html lang=en><head><meta charset=utf-8>\
         <meta name=viewport content=\"width=device-width, initial-scale=1\">\
         <title>Exporters through an outage</title><style>{STYLE}</style></head><body>\
         <h1>Exporters through an outage, end to end</h1><div class=verdict>"
    );
    for load in &run.loads {
        let _ = write!(out, "<b>{}</b>", text(&load.title));
        for sentence in verdict::of_load(run, load) {
            let _ = write!(out, "<p>{}</p>", markup(&sentence));
        }
    }
    let _ = write!(out, "<p class=faint>{}</p></div><div class=legend>", markup(&verdict::spread(run)));
    for (colour, system) in run.systems.iter().enumerate() {
        let _ = write!(out, "<span class=c{colour}><i></i>{}</span>", markup(&system.title));
    }
    out.push_str("</div>");
    for load in &run.loads {
        write_load(&mut out, run, load);
    }
    out.push_str(NOTES);
    let systems = run.systems.iter().map(|system| (markup(&system.title), markup(&system.guarantee)));
    write_list(&mut out, "What each one promises", systems);
    let Machine { begun, cores, processor, memory_gb, kernel, file_system, load_average, crates } = &run.machine;
    let crates: Vec<_> = crates.iter().map(|(name, version)| format!("{name} {version}")).collect();
    let machine = [
        ("begun", begun.clone()),
        ("processor", format!("{cores} cores, {processor}")),
        ("memory", format!("{memory_gb} GB")),
        ("kernel", kernel.clone()),
        ("file system", file_system.clone()),
        ("load average before", load_average.clone()),
        ("crates", crates.join(", ")),
    ];
    write_list(&mut out, "Machine", machine.iter().map(|(term, what)| ((*term).to_owned(), text(what))));
    out.push_str("</body></html>\n");
    out
}

const NOTES: &str = "<h2>How to read it</h2><p>Lost is what was emitted, did not arrive and does not wait on disk either. Who takes as \
    many as it can waits for its queue: where that stands still through an outage, little is lost because little is logged. Who emits \
    at a rate never waits. What an export gave up may have arrived all the same. Latencies are those of what arrived: who loses what an \
    outage holds up has short ones. CPU time and memory are those of the process under test, with the load generator, without the \
    receiver. Figures are medians of the rounds, with the least and the most below; lines are those of the first round, rates over half \
    a second.</p>";

fn write_list(out: &mut String, title: &str, items: impl Iterator<Item = (String, String)>) {
    let _ = write!(out, "<h2>{title}</h2><dl>");
    for (term, description) in items {
        let _ = write!(out, "<dt>{term}</dt><dd>{description}</dd>");
    }
    out.push_str("</dl>");
}

fn write_load(out: &mut String, run: &Run, load: &Load) {
    let _ = write!(out, "<h2>{}</h2><p class=faint>{}</p>", text(&load.title), text(&load.caption));
    write_losses(out, run, load);
    let _ = write!(out, "{}<div class=charts>", table::summary(run, load).html());
    for (chart, remark) in charts(run, load) {
        let (title, picture) = (chart.title, chart.svg());
        let _ = write!(out, "<figure><figcaption>{title}<span>{remark}</span></figcaption>{picture}</figure>");
    }
    let _ = write!(out, "</div><details><summary>All figures</summary>{}", table::figures(run, load).html());
    if let Some((base, table)) = run.base().zip(table::ratios(run, load)) {
        let _ = write!(out, "<h3>Divided by {}</h3>{}", markup(&base.title), table.html());
    }
    out.push_str("</details>");
}

/// A bar for each system, as long as what it lost.
fn write_losses(out: &mut String, run: &Run, load: &Load) {
    out.push_str("<figure><figcaption>Lost<span>Records that were emitted and never arrived.</span></figcaption>");
    let systems = || run.systems.iter().enumerate().filter(|(_, system)| system.delivers);
    let most = systems().filter_map(|(_, system)| LOST.median(load, system)).fold(1.0, f64::max);
    for (colour, system) in systems() {
        let Some((lost, emitted)) = LOST.median(load, system).zip(EMITTED.median(load, system)) else { continue };
        let _ = write!(
            out,
            "<div class=\"bar c{colour}\"><span>{}</span><div><i style=\"width:{:.1}%\"></i></div>\
             <span><b>{}</b> of {} ({})</span></div>",
            markup(&system.title),
            lost / most * 100.0,
            value(lost, LOST.unit),
            value(emitted, EMITTED.unit),
            verdict::percent(lost, emitted),
        );
    }
    out.push_str("</figure>");
}

/// Every chart and what there is to say about it.
fn charts(run: &Run, load: &Load) -> Vec<(Chart, &'static str)> {
    let samples = load.rounds.iter().flat_map(|round| &round.samples);
    let seconds = load.rounds.iter().map(|round| round.load_seconds).fold(0.0, f64::max);
    let outage = load.rounds.iter().find_map(|round| round.outage.clone());
    let end = samples.map(|sample| sample.seconds).fold(seconds, f64::max);
    let over_time = |title, unit, files: bool, points: fn(&[Sample]) -> Vec<(f64, f64)>| {
        let shown = |system: &System, round: &Measurement| (files || system.delivers).then(|| points(&round.samples));
        let bottom = Bottom::Time { outage: outage.clone(), load: seconds, end };
        Chart { title, unit, bottom, is_log: false, series: series(run, load, shown) }
    };
    let percentiles = |title, unit, latency: fn(&Measurement) -> Option<Vec<f64>>| {
        let shown = |_: &System, round: &Measurement| {
            Some(latency(round)?.into_iter().enumerate().map(|(at, value)| (at as f64, value)).collect())
        };
        Chart { title, unit, bottom: Bottom::Names(&PERCENTILES), is_log: true, series: series(run, load, shown) }
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
            percentiles("One emit", "µs, logarithmic", |round| Some(values(round.loaded.emit.as_ref()?, 1e3))),
            "What it costs the thread that logs.",
        ),
        (
            percentiles("From emit to arrival", "ms, logarithmic", |round| {
                Some(values(round.arrivals.latency.as_ref()?, 1e3))
            }),
            "Of what arrived, outage and waiting included.",
        ),
    ]
}

/// A line for each system that has one, of its first round.
fn series(run: &Run, load: &Load, points: impl Fn(&System, &Measurement) -> Option<Vec<(f64, f64)>>) -> Vec<Series> {
    let of_system = |(colour, system): (usize, &System)| {
        let first = load.of(system).next()?;
        Some(Series { name: system.title.clone(), colour, points: points(system, first)? })
    };
    run.systems.iter().enumerate().filter_map(of_system).collect()
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
