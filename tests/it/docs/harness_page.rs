//! The page that `cargo bench -p benches --bench harness` leaves. It is made of figures alone, so none have to be measured here: a
//! page that speaks well of its makers has to be right about the figures under it.

use serde_json::{Value, json};

use self::report::run::Run;

#[path = "../../../benches/harness/report/mod.rs"]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "as in the harness"
)]
mod report;

const OURS: &str = "`LogExporter`, JSON";
const OTHERS: &str = "`opentelemetry-otlp`, protobuf";

/// A round of a system that emitted 120,000 records in 6 s, 2 s of them without an endpoint.
fn round(system: &str, round: u32, arrived: u64) -> Value {
    let latency = json!({ "p50": 230, "p90": 400, "p99": 1_700, "p999": 13_000, "max": 20_000 });
    let sample = |seconds: u64, arrived: u64| {
        json!({
            "seconds": seconds, "emitted": 20_000 * seconds, "arrived": arrived,
            "disk_bytes": 0, "memory_bytes": 89_000_000, "cpu_micros": 46_000 * seconds,
        })
    };
    let samples: Vec<_> = (0..=6).map(|seconds| sample(seconds, (20_000 * seconds).min(arrived))).collect();
    json!({
        "system": system, "round": round, "load_seconds": 6.0, "outage": { "start": 2.0, "end": 4.0 },
        "loaded": {
            "emitted": 120_000, "dropped_by_queue": 0, "failed": 0, "waiting": 0, "emit": latency, "stalled_micros": 0,
            "longest_stall_micros": 900_000, "cpu_micros": 276_000, "peak_memory_bytes": 89_400_000,
        },
        "arrivals": {
            "arrived": arrived, "duplicated": 0, "out_of_order": 0, "requests": 240, "body_bytes": 30_000_000,
            "last_micros": 1, "latency": latency,
        },
        "end_to_end_seconds": 6.0, "disk_left_bytes": 0, "samples": samples,
    })
}

/// A run of three rounds, of which ours lost this many records in the worst.
fn run(lost: u64) -> Run {
    let system = |name: &str, title: &str, ours: bool| json!({ "name": name, "title": title, "guarantee": "<promise>", "ours": ours, "delivers": true });
    let rounds = [
        round("spool", 1, 120_000),
        round("otlp-protobuf", 1, 80_000),
        round("spool", 2, 120_000 - lost),
        round("otlp-protobuf", 2, 79_654),
        round("spool", 3, 120_000),
        round("otlp-protobuf", 3, 77_523),
    ];
    let machine = json!({
        "begun": "today", "cores": 2, "processor": "a processor", "memory_gb": 8.0, "kernel": "6", "file_system": "ext4",
        "load_average": "0 0 0", "crates": { "sled": "0.34.7" },
    });
    let load = |title: &str, is_paced: bool| json!({ "title": title, "caption": "A caption.", "is_paced": is_paced, "rounds": rounds });
    let run = json!({
        "machine": machine,
        "settings": {},
        "systems": [system("spool", OURS, true), system("otlp-protobuf", OTHERS, false)],
        "loads": [load("20,000 records/s", true), load("As many records as each takes", false)],
    });
    serde_json::from_value(run).expect("a run as the harness writes it")
}

/// The page as text: its tags are gone, and what they held apart stays apart.
fn shown(page: &str) -> String {
    let body = page.split_once("<body>").expect("a body").1;
    let pieces = body.split('<').filter_map(|piece| piece.split_once('>'));
    let text: String =
        pieces.map(|(tag, text)| if tag.ends_with("code") { text.to_owned() } else { format!(" {text}") }).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The names of the rows of the first table.
fn row_names(markdown: &str) -> Vec<&str> {
    let lines = markdown.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    lines.skip(2).filter_map(|line| line.split('|').nth(1)).map(str::trim).collect()
}

#[test]
fn the_page_begins_with_who_lost_how_much() {
    let text = shown(&report::page(&run(0)));
    let verdict = text.split("A caption.").next().expect("a verdict");
    assert!(verdict.contains("With this crate 0 records were lost, in each of 3 runs."), "{verdict}");
    assert!(verdict.contains("opentelemetry-otlp, protobuf lost 40,346 of 120,000 (33.6 %)."), "{verdict}");
    assert!(verdict.contains("against opentelemetry-otlp, protobuf: 1.51× with LogExporter, JSON."), "{verdict}");
}

#[test]
fn the_verdict_is_as_loud_about_this_crate() {
    let text = shown(&report::page(&run(7)));
    assert!(text.contains("With this crate up to 7 records were lost (LogExporter, JSON)."), "{text}");
    assert!(!text.contains("With this crate 0 records"), "{text}");
}

#[test]
fn the_first_picture_of_the_page_is_of_lost_records() {
    let page = report::page(&run(0));
    let figure = page.split("<figure>").nth(1).expect("a picture");
    assert!(figure.contains("<figcaption>Lost"), "{figure}");
    assert!(figure.contains("<b>0</b> of 120,000 (0 %)"), "{figure}");
    assert!(figure.contains("width:100.0%") && figure.contains("<b>40,346</b> of 120,000 (33.6 %)"), "{figure}");
}

#[test]
fn a_figure_of_the_page_stands_with_the_least_and_the_most_of_its_rounds() {
    let page = report::page(&run(0));
    let row = page.split("<th scope=row>").find(|row| row.starts_with("arrived, records/s")).expect("the row");
    let row = shown(&format!("<body>{row}"));
    assert_eq!(row, "LogExporter, JSON 20,000 opentelemetry-otlp, protobuf 13,300 12,900 to 13,300");
}

#[test]
fn the_readme_has_the_table_of_the_page() {
    let readme = super::text(super::repository("README.md"));
    let costs = readme.split("## What it costs").nth(1).expect("the chapter");
    assert_eq!(row_names(costs), row_names(&report::markdown(&run(0))));
}

#[test]
fn the_page_needs_nothing_from_elsewhere_and_no_script() {
    let page = report::page(&run(0));
    for foreign in ["http:", "https:", "src=", "href=", "url(", "@import", "<script"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    assert!(page.contains("&lt;promise&gt;"), "what is no markup is none");
}
