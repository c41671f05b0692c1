//! A record at the endpoint, field by field, against what its client knows of it.

use serde_json::{Value, json};

/// How a client sends a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As a pickle, with every type.
    Pickle,
    /// As fields of a form, all of them text.
    Fields,
    /// As JSON, with the types that it has.
    Json,
    /// As text, of which the time is unknown.
    Text,
    /// As a pickle whose message is a map.
    Structlog,
    /// As a pickle whose extras are in one.
    Loguru,
    OtlpLog,
    OtlpSpan,
    OtlpMetric,
    OtlpPino,
}

const TEXT: &str = "Z\u{fc}rich \"1\"\nline \u{1f980}";

impl Form {
    /// Checks the newest record of a client.
    pub(super) fn check(self, name: &str, record: &Value, known: &Value) {
        match self {
            Self::OtlpMetric => {}
            Self::OtlpLog | Self::OtlpSpan | Self::OtlpPino => self.check_otlp(name, record),
            _ => self.check_log(name, record, known),
        }
    }

    fn check_log(self, name: &str, record: &Value, known: &Value) {
        let message = record["message"].as_str().unwrap_or_default();
        assert!(message.contains(&format!("{name}-")), "{name}: {record:#}");
        match self {
            Self::Text => return,
            Self::Structlog => assert!(message.contains(TEXT_OF_MAP), "{name}: {record:#}"),
            Self::Loguru => {}
            _ => assert!(message.ends_with(" Gr\u{fc}\u{df}e"), "{name}: {record:#}"),
        }
        assert_eq!(record["level"], json!({"number": 30, "name": "WARNING"}), "{name}: {record:#}");
        assert_eq!(record["process"]["id"], known["pid"], "{name}: {record:#}");
        assert_eq!(record["thread"]["name"], "MainThread", "{name}: {record:#}");
        // http-logging sends no name.
        let logger = if self == Self::Json { Value::Null } else { json!("shop.orders") };
        if self != Self::Loguru {
            assert_eq!(record["logger"], logger, "{name}: {record:#}");
            check_known(name, record, known);
        }
        let extra = &record["extra"];
        for (key, expected) in self.extra() {
            assert_eq!(extra[key], expected, "{name}: {key} in {record:#}");
        }
        if let Self::Pickle | Self::Fields | Self::Json = self {
            let trace = record["stack_trace"].as_str().unwrap_or_default();
            // HTTPHandler sends the exception, and no trace.
            let expected = if self == Self::Fields { "no such order" } else { "ValueError: no such order" };
            assert!(trace.contains(expected), "{name}: {record:#}");
        }
    }

    /// The extras that are to arrive, by the types that the form has.
    fn extra(self) -> Vec<(&'static str, Value)> {
        let json = vec![
            ("text", json!(TEXT)),
            ("integer", json!(42)),
            ("double", json!(0.1)),
            ("flag", json!(true)),
            ("none", Value::Null),
            ("list", json!([1, "two", false])),
            ("tuple", json!([1, [2, 3]])),
            ("map", json!({"depth": {"inner": 1.5}})),
            ("infinite", json!("Infinity")),
            ("huge", json!("1180591620717411303424")),
        ];
        let pickled = vec![
            ("octets", json!("AP8K")),
            ("day", json!("2026-11-27")),
            ("moment", json!("2026-11-27T01:02:03.000456")),
            ("amount", json!("12.50")),
            ("id", json!("12345678-1234-5678-1234-567812345678")),
            ("order", json!({"__class__": "steps.Order", "state": {"number": 7}})),
        ];
        match self {
            Self::Pickle | Self::Loguru => [json, pickled].concat(),
            Self::Json => json.into_iter().filter(|(key, _)| *key != "infinite" && *key != "huge").collect(),
            Self::Fields => vec![
                ("integer", json!("42")),
                ("double", json!("0.1")),
                ("flag", json!("True")),
                ("none", json!("None")),
                ("day", json!("2026-11-27")),
                ("amount", json!("12.50")),
            ],
            _ => Vec::new(),
        }
    }

    fn check_otlp(self, name: &str, record: &Value) {
        let attributes = record["attributes"].as_array().expect("attributes");
        let attribute = |key: &str| {
            let found = attributes.iter().find(|attribute| attribute["key"] == key);
            found.unwrap_or_else(|| panic!("{name}: no {key} in {record:#}"))["value"].clone()
        };
        assert_eq!(attribute("integer"), json!({"intValue": "42"}), "{name}: {record:#}");
        if self == Self::OtlpSpan {
            assert!(record["name"].as_str().is_some_and(|of| of.starts_with(name)), "{record:#}");
            assert_eq!(record["events"][0]["name"], "placed", "{record:#}");
            return;
        }
        assert!(record["body"]["stringValue"].as_str().is_some_and(|of| of.starts_with(name)), "{record:#}");
        assert_eq!(record["severityNumber"], 13, "{name}: {record:#}");
        if self == Self::OtlpLog {
            assert_eq!(record["severityText"], "WARN", "{name}: {record:#}");
            assert_eq!(record["timeUnixNano"], "1700000000123456789", "{name}: {record:#}");
        }
        assert_eq!(attribute("text"), json!({"stringValue": TEXT}), "{name}: {record:#}");
        assert_eq!(attribute("double"), json!({"doubleValue": 0.1}), "{name}: {record:#}");
        assert_eq!(attribute("flag"), json!({"boolValue": true}), "{name}: {record:#}");
    }
}

/// The text among the extras of structlog, as Python writes it.
const TEXT_OF_MAP: &str = "Z\u{fc}rich \"1\"\\nline \u{1f980}";

/// What Python's own record says.
fn check_known(name: &str, record: &Value, known: &Value) {
    let seconds = |value: &Value| value.as_f64().unwrap_or_default();
    let apart = (seconds(&record["created"]) - seconds(&known["created"])).abs();
    // Python has microseconds, in a double or in six digits, and 2.7 has ten milliseconds in a form.
    assert!(apart < 0.011, "{name}: {record:#} of {known:#}");
    let same = [
        (&record["process"]["name"], "processName"),
        (&record["thread"]["id"], "thread"),
        (&record["sourcecode"]["pathname"], "pathname"),
        (&record["sourcecode"]["function"], "funcName"),
        (&record["sourcecode"]["line"], "lineno"),
    ];
    for (value, key) in same {
        assert_eq!(*value, known[key], "{name}: {key} in {record:#}");
    }
}
