//! The dashboard and the alerts in `ops`: they load, and ask for series and labels that there are.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Receiver, ask, run, skip, spool_dir};
use opentelemetry_spool::{Listener, Relay};
use serde::Deserialize;
use serde_json::Value;

use super::metrics::Vocabulary;

#[derive(Deserialize)]
struct RuleFile {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    alert: String,
    expr: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository").join("ops").join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(file(name)).expect("a file of `ops`")
}

fn alerts() -> Vec<Rule> {
    let rules: RuleFile = serde_saphyr::from_str(&text("alerts.yaml")).expect("rules");
    rules.groups.into_iter().flat_map(|group| group.rules).collect()
}

fn panels() -> Vec<Value> {
    let dashboard: Value = serde_json::from_str(&text("grafana.json")).expect("JSON");
    dashboard["panels"].as_array().expect("panels").clone()
}

/// The queries of the dashboard with the texts that name their series, with what Grafana puts in place of its variables.
fn queries() -> Vec<(String, String)> {
    let targets = panels().into_iter().flat_map(|panel| panel["targets"].as_array().cloned().unwrap_or_default());
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let query = |query: &Value| text(query).replace("$__rate_interval", "5m").replace("$instance", ".*");
    targets.map(|target| (query(&target["expr"]), text(&target["legendFormat"]))).collect()
}

/// What exporters report, and what a relay shows that was sent a record and refused another.
fn vocabulary() -> Vocabulary {
    let mut vocabulary = Vocabulary::of_exporters();
    let (receiver, spool, any_port) = (Receiver::start(), spool_dir(), SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let relay = Relay::builder().with_spool_dir(spool.path()).with_endpoint(receiver.url("/ingest"));
    let relay = relay.with_listener(Listener::Http(any_port)).with_status(any_port).build().expect("a relay");
    let listener = format!("http://{}/", relay.addresses()[0]);
    assert_eq!(ask("POST", &listener, &[("Content-Type", "text/plain")], b"a line").0, 200);
    assert_eq!(ask("POST", &listener, &[], b"").0, 400);
    let status = format!("http://{}/metrics", relay.status_address().expect("a status page"));
    for line in ask("GET", &status, &[], b"").1.lines().filter(|line| !line.starts_with('#')) {
        let (name, rest) = line.split_at(line.find(['{', ' ']).expect("a value"));
        vocabulary.series.insert(name.to_owned());
        let labels = rest.split("=\"").map(|before| before.rsplit(['{', ',']).next().unwrap_or_default().to_owned());
        vocabulary.labels.extend(labels.filter(|label| label.bytes().all(|c| c.is_ascii_lowercase() || c == b'_')));
    }
    vocabulary
}

/// The labels that a text names, as `{{label}}` or as `{{ $labels.label }}`.
fn named_labels(text: &str) -> BTreeSet<String> {
    let inside = text.split("{{").skip(1).filter_map(|rest| rest.split("}}").next());
    let labels = inside.map(|text| text.trim().trim_start_matches("$labels."));
    labels.filter(|label| !label.starts_with('$')).map(str::to_owned).collect()
}

#[test]
fn the_dashboard_and_the_alerts_ask_for_series_and_labels_that_there_are() {
    let (vocabulary, alerts) = (vocabulary(), alerts());
    let of_alerts = alerts
        .iter()
        .map(|rule| (rule.expr.clone(), rule.annotations.values().map(String::as_str).collect::<String>()));
    let queries: Vec<_> = queries().into_iter().chain(of_alerts).collect();
    assert!(queries.len() > 40, "{} queries", queries.len());
    for (query, names) in queries {
        let mut unknown = vocabulary.unknown(&query);
        // What a query names of its result is among the labels that it keeps.
        let keeps_all = query.starts_with("opentelemetry_spool_");
        let is_kept = |label: &String| {
            query.contains(label.as_str()) || (keeps_all && (label == "instance" || vocabulary.labels.contains(label)))
        };
        unknown.extend(named_labels(&names).into_iter().filter(|label| !is_kept(label)));
        let Vocabulary { series, labels } = &vocabulary;
        assert!(unknown.is_empty(), "{unknown:?} in {query} are none of {series:#?}, {labels:#?}");
    }
}

#[test]
fn each_panel_has_a_place_of_its_own_and_takes_the_data_source_that_is_chosen() {
    let (panels, mut places, mut ids) = (panels(), BTreeSet::new(), BTreeSet::new());
    for panel in &panels {
        assert!(ids.insert(panel["id"].as_u64()), "{panel}");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().expect("a number"));
        for place in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(place.0 < 24 && places.insert(place), "{panel}");
        }
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        assert_eq!(targets.is_empty(), panel["type"] == "row", "{panel}");
        for of in targets.iter().chain([panel]).filter(|_| panel["type"] != "row") {
            assert_eq!(of["datasource"]["uid"], "${datasource}", "{of}");
        }
    }
    assert!(panels.len() > 20);
}

#[test]
fn each_alert_says_how_bad_it_is_and_what_to_do_and_is_tried_both_ways() {
    let (alerts, tried) = (alerts(), text("alerts_test.yaml"));
    assert!(alerts.len() > 10);
    for Rule { alert, labels, annotations, .. } in alerts {
        assert!(
            labels.get("severity").is_some_and(|severity| ["critical", "warning"].contains(&&**severity)),
            "{alert}"
        );
        for annotation in ["summary", "description", "runbook_url"] {
            assert!(annotations.get(annotation).is_some_and(|text| text.len() > 20), "{alert}: {annotation}");
        }
        assert!(tried.contains(&format!("alertname: {alert}}}")), "{alert} is not tried where all is well");
        assert!(tried.contains(&format!("alertname=\"{alert}\"")), "{alert} is not tried where it is to fire");
    }
}

#[test]
fn prometheus_takes_the_queries_and_fires_each_alert_when_it_should() {
    let promtool = Path::new("/usr/bin/promtool");
    if !promtool.exists() {
        skip("there is no promtool; tests/receivers/install.sh brings it");
        return;
    }
    let promtool = |args: &[&str], path: &Path| run(Command::new(promtool).args(args).arg(path));
    promtool(&["check", "rules"], &file("alerts.yaml")).expect("rules");
    promtool(&["test", "rules"], &file("alerts_test.yaml")).expect("alerts");
    // A dashboard's queries, as rules that record them.
    let record = |query: &String| format!("      - {{record: a, expr: {}}}\n", Value::from(query.as_str()));
    let rules = |queries: &[String]| {
        format!("groups:\n  - name: dashboard\n    rules:\n{}", queries.iter().map(record).collect::<String>())
    };
    let dir = spool_dir();
    let path = dir.path().join("dashboard.yaml");
    let queries: Vec<_> = queries().into_iter().map(|(query, _)| query).collect();
    fs::write(&path, rules(&queries)).expect("a file");
    promtool(&["check", "rules", "--lint=none"], &path).expect("queries");
    fs::write(&path, rules(&["sum(rate(a[5m])".to_owned()])).expect("a file");
    promtool(&["check", "rules", "--lint=none"], &path).expect_err("a bracket is missing");
}
