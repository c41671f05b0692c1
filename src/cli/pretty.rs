//! Records as lines for people: of OTLP's JSON, and of the schema of the default encoder.
//!
//! Other programs have written some of what is read here, so whatever a record lacks, or has in another form than it should,
//! is left out, and nothing is an error.

use std::time::Duration;

use serde_json::{Map, Value};

use super::screen::printable;
use super::time;

/// The names of a signal's lists, and the line of a record in its scope.
type Signal = (&'static str, &'static str, &'static str, fn(&Value, &Value) -> Vec<String>);

const SIGNALS: [Signal; 3] = [
    ("resourceLogs", "scopeLogs", "logRecords", log),
    ("resourceSpans", "scopeSpans", "spans", span),
    ("resourceMetrics", "scopeMetrics", "metrics", metric),
];

/// A line for each record in this JSON; `None` if it is of another form.
pub(super) fn lines(json: &str) -> Option<Vec<String>> {
    let json: Value = serde_json::from_str(json).ok()?;
    for (resources, scopes, records, parts) in SIGNALS {
        let Some(resources) = json.get(resources) else { continue };
        let scopes = items(resources).flat_map(|resource| items(&resource[scopes]));
        let lines = scopes.flat_map(|scope| items(&scope[records]).map(move |record| joined(parts(scope, record))));
        return Some(lines.collect());
    }
    // A body of the default encoder is a list of records.
    let records = json.as_array().map_or(std::slice::from_ref(&json), Vec::as_slice);
    records.iter().map(|record| default_schema(record).map(joined)).collect()
}

/// What there is of the parts, on one line.
fn joined(parts: Vec<String>) -> String {
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    printable(&parts.join(" "))
}

// --- The signals --------------------------------------------------------------------------------------------------

fn log(scope: &Value, record: &Value) -> Vec<String> {
    let when =
        [&record["timeUnixNano"], &record["observedTimeUnixNano"]].into_iter().filter_map(number).find(|at| *at > 0);
    let level = match &record["severityText"] {
        Value::String(text) => text.clone(),
        _ => number(&record["severityNumber"]).map_or_else(String::new, severity),
    };
    let name = bare(&scope["scope"]["name"]);
    let mut parts = vec![
        when.map_or_else(|| "-".to_owned(), time::of_nanos),
        format!("{level:<5}"),
        if name.is_empty() { name } else { format!("{name}:") },
        record.get("body").map_or_else(String::new, |body| bare(&plain(body))),
    ];
    if !is_place(&bare(&record["eventName"])) {
        parts.push(labelled("event", &record["eventName"]));
    }
    parts.extend(attributes(&record["attributes"]));
    parts.extend([labelled("trace", &record["traceId"]), labelled("span", &record["spanId"])]);
    parts
}

/// Whether `tracing` made the name of an event up: `event src/main.rs:12`.
fn is_place(event: &str) -> bool {
    let line = event.strip_prefix("event ").and_then(|place| place.rsplit_once(':')).map(|(_, line)| line);
    line.is_some_and(|line| line.parse::<u32>().is_ok())
}

fn span(_scope: &Value, span: &Value) -> Vec<String> {
    const KINDS: [&str; 6] = ["-", "internal", "server", "client", "producer", "consumer"];
    let [start, end] = ["startTimeUnixNano", "endTimeUnixNano"].map(|key| number(&span[key]));
    let kind = number(&span["kind"]).and_then(|kind| KINDS.get(usize::try_from(kind).ok()?)).unwrap_or(&KINDS[0]);
    let duration =
        start.zip(end).map(|(start, end)| format!("{:.3?}", Duration::from_nanos(end.saturating_sub(start))));
    let status = match (number(&span["status"]["code"]), bare(&span["status"]["message"])) {
        (Some(1), _) => "status=ok".to_owned(),
        (Some(2), message) if message.is_empty() => "status=error".to_owned(),
        (Some(2), message) => format!("status={}", quoted(&format!("error: {message}"))),
        _ => String::new(),
    };
    let counted = |label: &str, list: &Value| match items(list).count() {
        0 => String::new(),
        count => format!("{label}={count}"),
    };
    let mut parts = vec![
        start.map_or_else(|| "-".to_owned(), time::of_nanos),
        format!("{kind:<8}"),
        bare(&span["name"]),
        duration.unwrap_or_default(),
        status,
    ];
    parts.extend(attributes(&span["attributes"]));
    parts.extend([
        counted("events", &span["events"]),
        counted("links", &span["links"]),
        labelled("trace", &span["traceId"]),
        labelled("span", &span["spanId"]),
        labelled("parent", &span["parentSpanId"]),
    ]);
    parts
}

fn metric(_scope: &Value, metric: &Value) -> Vec<String> {
    const KINDS: [(&str, &str); 5] = [
        ("gauge", "gauge"),
        ("sum", "sum"),
        ("histogram", "histogram"),
        ("exponentialHistogram", "exponential histogram"),
        ("summary", "summary"),
    ];
    const TEMPORALITIES: [&str; 3] = ["", "delta", "cumulative"];
    let found = KINDS.into_iter().find_map(|(key, kind)| Some((kind, metric.get(key)?)));
    let (kind, data) = found.unwrap_or(("-", &Value::Null));
    let temporality = number(&data["aggregationTemporality"]).and_then(|number| usize::try_from(number).ok());
    let temporality = temporality.and_then(|number| TEMPORALITIES.get(number).copied()).unwrap_or_default();
    let first = items(&data["dataPoints"]).find_map(|point| number(&point["timeUnixNano"]));
    let points: Vec<_> = items(&data["dataPoints"]).map(|of| point(of, first)).collect();
    let unit = bare(&metric["unit"]);
    vec![
        first.map_or_else(|| "-".to_owned(), time::of_nanos),
        bare(&metric["name"]),
        if unit.is_empty() { unit } else { format!("[{unit}]") },
        if temporality.is_empty() { format!("{kind}:") } else { format!("{kind} {temporality}:") },
        points.join("; "),
    ]
}

/// A point, with its time if that is another than `first`.
fn point(point: &Value, first: Option<u64>) -> String {
    let number_of = ["asInt", "asDouble"].into_iter().find_map(|key| point.get(key));
    let mut parts = vec![number_of.map_or_else(String::new, bare)];
    parts.extend(["count", "sum", "min", "max"].map(|key| labelled(key, &point[key])));
    parts
        .extend(items(&point["quantileValues"]).map(|of| format!("p{}={}", bare(&of["quantile"]), bare(&of["value"]))));
    parts.extend(attributes(&point["attributes"]));
    let when = number(&point["timeUnixNano"]).filter(|when| Some(*when) != first);
    parts.push(when.map_or_else(String::new, |when| format!("at={}", time::of_nanos(when))));
    parts.retain(|part| !part.is_empty());
    parts.join(" ")
}

/// A record of the default encoder.
fn default_schema(record: &Value) -> Option<Vec<String>> {
    let created = Duration::try_from_secs_f64(record.get("created")?.as_f64()?).ok()?;
    let (message, level) = (record.get("message")?.as_str()?, record.get("level")?.get("name")?);
    let logger = bare(&record["logger"]);
    // A double has the seconds to the microsecond, not to the nanosecond.
    let micros = u64::try_from((created + Duration::from_nanos(500)).as_micros()).ok()?;
    let mut parts = vec![
        time::of_nanos(micros.checked_mul(1000)?),
        format!("{:<5}", bare(level)),
        if logger.is_empty() { logger } else { format!("{logger}:") },
        message.to_owned(),
    ];
    let extra = record["extra"].as_object().into_iter().flatten();
    parts.extend(extra.map(|(key, value)| format!("{key}={}", quoted(&bare(value)))));
    parts.extend([labelled("trace", &record["trace"]["trace_id"]), labelled("span", &record["trace"]["span_id"])]);
    Some(parts)
}

// --- Values -------------------------------------------------------------------------------------------------------

/// The items of a list, of which there are none if it is none.
fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// A number, which 64-bit ones are as texts.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// The short name of a severity number.
fn severity(number: u64) -> String {
    const NAMES: [&str; 6] = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
    let at = number.checked_sub(1).and_then(|from_0| usize::try_from(from_0).ok());
    let name = at.and_then(|at| Some((NAMES.get(at / 4)?, at % 4 + 1)));
    match name {
        Some((name, 1)) => (*name).to_owned(),
        Some((name, nth)) => format!("{name}{nth}"),
        None => String::new(),
    }
}

/// `label=value`; nothing if there is no value.
fn labelled(label: &str, value: &Value) -> String {
    let value = bare(value);
    if value.is_empty() { value } else { format!("{label}={}", quoted(&value)) }
}

/// The attributes by their names: the order in which the SDK gives them changes.
fn attributes(list: &Value) -> impl Iterator<Item = String> {
    let mut all: Vec<_> = items(list).map(|of| (bare(&of["key"]), quoted(&bare(&plain(&of["value"]))))).collect();
    all.sort();
    all.into_iter().map(|(key, value)| format!("{key}={value}"))
}

/// A value of OTLP without the names of its types.
fn plain(any: &Value) -> Value {
    let Some((kind, value)) = any.as_object().and_then(|any| any.iter().next()) else { return Value::Null };
    match &**kind {
        "intValue" => {
            value.as_str().and_then(|text| text.parse::<i64>().ok()).map_or_else(|| value.clone(), Value::from)
        }
        "arrayValue" => items(&value["values"]).map(plain).collect(),
        "kvlistValue" => {
            let entries = items(&value["values"]).map(|entry| (bare(&entry["key"]), plain(&entry["value"])));
            Value::Object(entries.collect::<Map<_, _>>())
        }
        _ => value.clone(),
    }
}

/// A text without quotes, other values as JSON, and nothing for null.
fn bare(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The same, in quotes if its end could not be seen otherwise.
fn quoted(text: &str) -> String {
    let is_json = text.starts_with(['{', '[']);
    let is_clear =
        !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control() || "\"=;".contains(c));
    if is_json || is_clear { text.to_owned() } else { Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The one line of a request with one record.
    fn line(signal: usize, record: &Value) -> String {
        let (resources, scopes, records, _) = SIGNALS[signal];
        let scope = json!({ "scope": { "name": "checkout" }, records: [record] });
        let mut lines = lines(&json!({ resources: [{ scopes: [scope] }] }).to_string()).unwrap();
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines.remove(0)
    }

    fn attributes() -> Value {
        json!([
            { "key": "text", "value": { "stringValue": "a b" } },
            { "key": "n", "value": { "intValue": "7" } },
            { "key": "ratio", "value": { "doubleValue": "NaN" } },
            { "key": "list", "value": { "arrayValue": { "values": [{ "intValue": "1" }, { "boolValue": true }] } } },
            { "key": "map", "value": { "kvlistValue": { "values": [{ "key": "a", "value": { "stringValue": "b" } }] } } },
            { "key": "none", "value": {} },
        ])
    }

    const ATTRIBUTES: &str = "list=[1,true] map={\"a\":\"b\"} n=7 none=\"\" ratio=NaN text=\"a b\"";

    #[test]
    fn a_log_record_is_its_time_level_body_and_attributes() {
        let record = json!({
            "timeUnixNano": "1610393068365492100", "observedTimeUnixNano": "5", "severityNumber": 9,
            "severityText": "info", "body": { "stringValue": "order\n7 \u{1b}[2J" }, "attributes": attributes(),
            "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "eventName": "order.placed",
        });
        let ids = "trace=5b8efff798038103d269b633813fc60c span=eee19b7ec3c1b174";
        let expected = format!(
            "2021-01-11T19:24:28.365492Z info  checkout: order\\n7 \\u{{1b}}[2J event=order.placed {ATTRIBUTES} {ids}"
        );
        assert_eq!(line(0, &record), expected);
        let record = json!({
            "observedTimeUnixNano": 1_000, "severityNumber": 18, "body": { "intValue": 5 }, "eventName": "event src/main.rs:12",
        });
        assert_eq!(line(0, &record), "1970-01-01T00:00:00.000001Z ERROR2 checkout: 5");
    }

    #[test]
    fn a_span_is_its_time_kind_name_duration_status_and_attributes() {
        let record = json!({
            "traceId": "5b8e", "spanId": "eee1", "parentSpanId": "c2", "name": "GET /orders", "kind": 2,
            "startTimeUnixNano": "1610393068365492100", "endTimeUnixNano": "1610393068377892100",
            "attributes": attributes(), "events": [{}, {}], "links": [{}],
            "status": { "code": 2, "message": "it failed" },
        });
        let expected = format!(
            "2021-01-11T19:24:28.365492Z server   GET /orders 12.400ms status=\"error: it failed\" {ATTRIBUTES} \
             events=2 links=1 trace=5b8e span=eee1 parent=c2"
        );
        assert_eq!(line(1, &record), expected);
        let status = |status| line(1, &json!({ "kind": 9, "name": "a", "status": status }));
        assert_eq!(status(json!({ "code": 1 })), "- -        a status=ok");
        assert_eq!(status(json!({ "code": 2 })), "- -        a status=error");
        assert_eq!(status(json!({})), "- -        a");
    }

    #[test]
    fn a_metric_is_its_time_name_unit_and_each_point() {
        let now = "1610393068365492100";
        let (point, later) = (json!({ "timeUnixNano": now, "asInt": "3" }), "1610393069365492100");
        let other = json!({ "timeUnixNano": later, "asDouble": 0.5, "attributes": attributes() });
        let sum = json!({ "dataPoints": [point, other], "aggregationTemporality": 2 });
        let expected = format!(
            "2021-01-11T19:24:28.365492Z orders [{{order}}] sum cumulative: 3; 0.5 {ATTRIBUTES} at=2021-01-11T19:24:29.365492Z"
        );
        assert_eq!(line(2, &json!({ "name": "orders", "unit": "{order}", "sum": sum })), expected);
        let histogram = json!({ "timeUnixNano": now, "count": "2", "sum": 1.5, "min": 0.5, "max": 1.0 });
        for (key, kind) in [("histogram", "histogram"), ("exponentialHistogram", "exponential histogram")] {
            let metric = json!({ "name": "t", key: { "dataPoints": [histogram], "aggregationTemporality": 1 } });
            let expected = format!("2021-01-11T19:24:28.365492Z t {kind} delta: count=2 sum=1.5 min=0.5 max=1.0");
            assert_eq!(line(2, &metric), expected);
        }
        let summary = json!({ "count": "2", "sum": 1.5, "quantileValues": [{ "quantile": 0.5, "value": 1.0 }] });
        let metric = json!({ "name": "t", "summary": { "dataPoints": [summary] } });
        assert_eq!(line(2, &metric), "- t summary: count=2 sum=1.5 p0.5=1.0");
        assert_eq!(line(2, &json!({ "name": "t", "gauge": { "dataPoints": [] } })), "- t gauge:");
    }

    #[test]
    fn records_of_the_default_format_are_lines_alone_and_in_a_body() {
        let record = json!({
            "type": "async-http-logging", "created": 1_610_393_068.365_492, "message": "order taken",
            "level": { "number": 20, "name": "INFO" }, "extra": { "order": 7, "shop": "north end" }, "logger": "checkout",
            "trace": { "trace_id": "5b8e", "span_id": "c2", "flags": 1 },
        });
        let expected =
            "2021-01-11T19:24:28.365492Z INFO  checkout: order taken order=7 shop=\"north end\" trace=5b8e span=c2";
        assert_eq!(lines(&record.to_string()), Some(vec![expected.to_owned()]));
        let body = json!([record, record]).to_string();
        assert_eq!(lines(&body), Some(vec![expected.to_owned(), expected.to_owned()]));
        for other in ["{}", "[1]", "null", "not", "{\"created\":\"a\",\"message\":\"\",\"level\":{\"name\":\"\"}}"] {
            assert_eq!(lines(other), None, "{other}");
        }
    }

    #[test]
    fn what_has_another_form_than_it_should_is_left_out() {
        for (signal, _) in SIGNALS.iter().enumerate() {
            for record in [json!({}), json!(null), json!([]), json!(1)] {
                assert!(line(signal, &record).starts_with("- "), "{record}");
            }
        }
        let log = json!({
            "timeUnixNano": -1, "severityNumber": "x", "severityText": 3, "body": [], "attributes": { "a": 1 }, "traceId": null,
        });
        assert_eq!(line(0, &log), "-       checkout:");
        assert_eq!(lines("{\"resourceSpans\":{\"scopeSpans\":1}}"), Some(vec![]));
        let severities: Vec<_> = [0, 1, 4, 5, 24, 25, u64::MAX].into_iter().map(severity).collect();
        assert_eq!(severities, ["", "TRACE", "TRACE4", "DEBUG", "FATAL4", "", ""]);
    }
}
