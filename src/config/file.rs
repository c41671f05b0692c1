//! Declarative configuration: the exporter node `spool` in OpenTelemetry's YAML.

use std::fmt;

use serde::de::{Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_saphyr::Spanned;

use crate::config::table::{NAMES, Settings};
use crate::config::values::{Signal, Sourced};
use crate::error::ExporterBuildError;

/// The exporter node `spool` of OpenTelemetry's declarative configuration.
///
/// Its keys have the names of the schema's OTLP exporter where that has one (`endpoint`, `headers`, `headers_list`, `tls`,
/// `compression`, `timeout`, `encoding`), and those of the builder's methods, without `with_`, for the rest. A value is
/// written as in the environment; `${NAME}` and `${NAME:-default}` stand for the value of a variable, `$$` for a dollar.
///
/// ```yaml
/// logger_provider:
///   processors:
///     - batch:
///         exporter:
///           spool:
///             endpoint: https://collector.example.com/v1/logs
///             encoding: protobuf
///             compression: gzip
///             headers:
///               - name: authorization
///                 value: Bearer ${INGEST_TOKEN}
///             spool_dir: /var/lib/checkout/spool
///             max_spool_bytes: 4GiB
/// ```
///
/// With a file the environment's variables are not read, as the specification requires. Any deserializer can read the node;
/// errors name the line if it is `serde_saphyr`, as in [`from_yaml`](Self::from_yaml).
///
/// # Examples
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use opentelemetry_spool::{ExporterConfig, LogExporter};
///
/// let yaml = format!("
/// logger_provider:
///   processors:
///     - batch:
///         exporter:
///           spool:
///             endpoint: http://127.0.0.1:9/ingest
///             spool_dir: {}
///             max_age: 7d
/// ", dir.path().display());
/// let exporter = LogExporter::builder().with_config(ExporterConfig::from_yaml(&yaml)?).build()?;
/// # drop(exporter);
///
/// let wrong = yaml.replace("7d", "a week");
/// let error = LogExporter::builder().with_config(ExporterConfig::from_yaml(&wrong)?).build().unwrap_err();
/// assert!(error.to_string().starts_with("`max_age, line 9` is invalid: \"a week\""), "{error}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct ExporterConfig(Nodes);

/// Nodes `spool`.
#[derive(Clone)]
enum Nodes {
    /// One that was read alone, for whichever exporter it is.
    Alone(Node),
    /// The first one of each signal's provider in a file.
    Of(Vec<(Signal, Node)>),
}

impl ExporterConfig {
    /// Reads a complete configuration file. An exporter takes the first node `spool` of its signal's provider: in
    /// `logger_provider.processors` and `tracer_provider.processors`, in a `batch` or a `simple` processor, and in
    /// `meter_provider.readers`, in a `periodic` reader.
    ///
    /// # Errors
    ///
    /// [`ExporterBuildError::Invalid`] if the text is not YAML, with the line, or has no such exporter. That the provider of an
    /// exporter's signal has none is an error of its `build`.
    pub fn from_yaml(text: &str) -> Result<Self, ExporterBuildError> {
        let file = Sourced::new((), "the configuration");
        let document: Document =
            serde_saphyr::from_str(text).map_err(|error| file.invalid(error.without_snippet().to_string()))?;
        let nodes = [
            (Signal::Logs, document.logger_provider.unwrap_or_default().first()),
            (Signal::Traces, document.tracer_provider.unwrap_or_default().first()),
            (Signal::Metrics, document.meter_provider.unwrap_or_default().first()),
        ];
        let nodes: Vec<_> = nodes.into_iter().filter_map(|(signal, node)| Some((signal, node?))).collect();
        if nodes.is_empty() {
            return Err(file.invalid("no processor and no reader has the exporter `spool`"));
        }
        Ok(Self(Nodes::Of(nodes)))
    }

    /// The settings for an exporter of `signal`.
    pub(crate) fn settings(self, signal: Signal) -> Result<Settings, ExporterBuildError> {
        let node = match self.0 {
            Nodes::Alone(node) => Some(node),
            Nodes::Of(nodes) => nodes.into_iter().find(|(of, _)| *of == signal).map(|(_, node)| node),
        };
        let missing = || {
            let place = match signal {
                Signal::Logs => "no processor of `logger_provider`",
                Signal::Traces => "no processor of `tracer_provider`",
                Signal::Metrics => "no reader of `meter_provider`",
            };
            Sourced::new((), "the configuration").invalid(format!("{place} has the exporter `spool`"))
        };
        node.ok_or_else(missing)?.settings()
    }
}

/// A node `spool`.
#[derive(Clone, Default)]
struct Node {
    /// The values, by the setting's name.
    values: Vec<(&'static str, Sourced<String>)>,
    /// Headers as a list of a text, before which those that are named count.
    headers_list: Option<Sourced<String>>,
    /// Unknown keys, with their lines.
    unknown: Vec<String>,
}

impl Node {
    fn settings(mut self) -> Result<Settings, ExporterBuildError> {
        if let Some(key) = self.unknown.first() {
            let names: Vec<_> = own_names().chain(["headers", "headers_list", "tls", "encoding"]).collect();
            return Err(
                Sourced::new((), key).invalid(format!("there is no such setting; there are {}", names.join(", ")))
            );
        }
        if let Some(list) = self.headers_list.take().filter(|list| !list.value.is_empty()) {
            match self.values.iter_mut().find(|(name, given)| *name == "headers" && !given.value.is_empty()) {
                // The later of two headers counts.
                Some((_, named)) => named.value = format!("{},{}", list.value, named.value),
                None => self.values.push(("headers", list)),
            }
        }
        Settings::read(|setting, _| {
            let found = self.values.iter().rev().find(|(name, _)| *name == setting);
            Ok(found.map(|(_, given)| given.clone()).filter(|given| !given.value.is_empty()))
        })
    }

    /// Reads the value of a key, whose scalars are of the type `S`.
    fn read<'de, S: Scalar<'de>, M: MapAccess<'de>>(
        &mut self,
        key: &Spanned<String>,
        map: &mut M,
    ) -> Result<(), M::Error> {
        let source = place(&key.value, key);
        match key.value.as_str() {
            "headers" => {
                let headers: Option<Vec<Header<S>>> = map.next_value()?;
                let headers = headers.unwrap_or_default().into_iter().filter_map(Header::encoded);
                self.add("headers", source, headers.collect::<Vec<_>>().join(","));
            }
            "headers_list" => self.headers_list = Some(Sourced::new(map.next_value::<S>()?.into(), source)),
            "max_request_size" => self.add("max_request_bytes", source, map.next_value::<S>()?.into()),
            "max_response_size" => self.add("max_response_bytes", source, map.next_value::<S>()?.into()),
            "tls" => {
                let tls: Option<Tls<S>> = map.next_value()?;
                let (ca_file, key_file, cert_file) =
                    tls.map_or((None, None, None), |tls| (tls.ca_file, tls.key_file, tls.cert_file));
                for (setting, key, file) in [
                    ("certificate", "tls.ca_file", ca_file),
                    ("client_key", "tls.key_file", key_file),
                    ("client_certificate", "tls.cert_file", cert_file),
                ] {
                    if let Some(file) = file {
                        self.add(setting, place(key, &file), file.value.into());
                    }
                }
            }
            "encoding" => {
                let encoding: String = map.next_value::<S>()?.into();
                let protocol = match encoding.as_str() {
                    "" => String::new(),
                    "protobuf" | "json" => format!("http/{encoding}"),
                    _ => return Err(M::Error::custom("`encoding` is protobuf or json")),
                };
                self.add("protocol", source, protocol);
            }
            key => {
                if let Some(name) = own_names().find(|name| *name == key) {
                    self.add(name, source, map.next_value::<S>()?.into());
                } else {
                    let _: IgnoredAny = map.next_value()?;
                    self.unknown.push(source);
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, setting: &'static str, source: String, value: String) {
        self.values.push((setting, Sourced { value, source }));
    }
}

/// Shows the names of the settings, and no value.
impl fmt::Debug for ExporterConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes: Vec<_> = match &self.0 {
            Nodes::Alone(node) => vec![node],
            Nodes::Of(nodes) => nodes.iter().map(|(_, node)| node).collect(),
        };
        let names = nodes.into_iter().flat_map(|node| &node.values).map(|(name, _)| name);
        f.debug_set().entries(names).finish()
    }
}

/// The part of a file that is read.
#[derive(Deserialize)]
#[expect(clippy::struct_field_names, reason = "the schema's")]
struct Document {
    logger_provider: Option<Provider>,
    tracer_provider: Option<Provider>,
    meter_provider: Option<Meters>,
}

/// The provider of logs or spans.
#[derive(Default, Deserialize)]
struct Provider {
    processors: Option<Vec<Processor>>,
}

#[derive(Deserialize)]
struct Processor {
    batch: Option<Exporting>,
    simple: Option<Exporting>,
}

#[derive(Default, Deserialize)]
struct Meters {
    readers: Option<Vec<Reader>>,
}

#[derive(Deserialize)]
struct Reader {
    periodic: Option<Exporting>,
}

#[derive(Deserialize)]
struct Exporting {
    exporter: Option<Exporter>,
}

#[derive(Deserialize)]
struct Exporter {
    spool: Option<Node>,
}

impl Provider {
    fn first(self) -> Option<Node> {
        let mut exporting =
            self.processors.into_iter().flatten().filter_map(|processor| processor.batch.or(processor.simple));
        exporting.find_map(Exporting::node)
    }
}

impl Meters {
    fn first(self) -> Option<Node> {
        self.readers.into_iter().flatten().filter_map(|reader| reader.periodic).find_map(Exporting::node)
    }
}

impl Exporting {
    fn node(self) -> Option<Node> {
        self.exporter?.spool
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header<S> {
    name: S,
    /// A header that is null does not count.
    #[serde(default = "none")]
    value: Option<S>,
}

fn none<T>() -> Option<T> {
    None
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, bound = "S: Deserialize<'de>")]
#[expect(clippy::struct_field_names, reason = "the schema's")]
struct Tls<S> {
    ca_file: Option<Spanned<S>>,
    key_file: Option<Spanned<S>>,
    cert_file: Option<Spanned<S>>,
}

impl<'de> Deserialize<'de> for ExporterConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Node::deserialize(deserializer).map(|node| Self(Nodes::Alone(node)))
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Node;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the settings of the exporter `spool`")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Node, M::Error> {
                let mut node = Node::default();
                while let Some(key) = map.next_key::<Spanned<String>>()? {
                    // YAML knows the line, and gives each scalar as it is written; others have numbers and words of their own.
                    match key.referenced.line() {
                        0 => node.read::<Value, M>(&key, &mut map)?,
                        _ => node.read::<Written, M>(&key, &mut map)?,
                    }
                }
                Ok(node)
            }
        }

        deserializer.deserialize_map(Members)
    }
}

/// The settings for which the schema has no name of its own.
fn own_names() -> impl Iterator<Item = &'static str> {
    let named = ["headers", "certificate", "client_key", "client_certificate", "protocol"];
    NAMES.iter().copied().filter(move |name| !named.contains(name))
}

/// A key, and its line where known.
fn place<T>(key: &str, value: &Spanned<T>) -> String {
    match value.referenced.line() {
        0 => key.to_owned(),
        line => format!("{key}, line {line}"),
    }
}

impl<S: Into<String>> Header<S> {
    /// A header of a list.
    fn encoded(self) -> Option<String> {
        let (name, value): (String, String) = (self.name.into(), self.value?.into());
        Some(format!("{name}={}", percent_encoding::utf8_percent_encode(&value, percent_encoding::NON_ALPHANUMERIC)))
    }
}

/// A value as text, with variables replaced; null is empty, which counts as not set.
trait Scalar<'de>: Deserialize<'de> + Into<String> {}

/// A scalar of YAML, as it is written: `00123`, `1.10` and `yes` are what stands there, whatever they are as a number or a word
/// of some version of YAML. The type of the setting says what they have to be.
struct Written(String);

/// A value of a format whose numbers, `true` and `false` are no text.
struct Value(String);

impl Scalar<'_> for Written {}

impl Scalar<'_> for Value {}

impl From<Written> for String {
    fn from(Written(text): Written) -> Self {
        text
    }
}

impl From<Value> for String {
    fn from(Value(text): Value) -> Self {
        text
    }
}

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
        substituted(&text, &|name| std::env::var(name).ok()).map(Self).map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a number, true or false")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
                substituted(text, &|name| std::env::var(name).ok()).map(Value).map_err(E::custom)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
                Ok(Value(value.to_string()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
                Ok(Value(value.to_string()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
                Ok(Value(value.to_string()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
                Ok(Value(value.to_string()))
            }

            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value(String::new()))
            }
        }

        deserializer.deserialize_any(Text)
    }
}

/// Replaces variables by their values: `${NAME}`, `${env:NAME}`, `${NAME:-default}`; `$$` is a dollar.
fn substituted(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let (reference, after) = after.split_once('}').ok_or("a `${` without its `}`")?;
            let reference = reference.strip_prefix("env:").unwrap_or(reference);
            let (name, default) = reference.split_once(":-").unwrap_or((reference, ""));
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(is_name) {
                return Err(format!("${{{name}}} is no variable's name"));
            }
            out.push_str(&variable(name).filter(|value| !value.is_empty()).unwrap_or_else(|| default.to_owned()));
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::values::Protocol;

    const HEAD: &str = "logger_provider:\n  processors:\n    - batch:\n        schedule_delay: 1000\n        exporter:\n          spool:\n";

    fn config(settings: &str) -> Result<ExporterConfig, ExporterBuildError> {
        let indent = " ".repeat(12);
        let indented = settings.replace('\n', &format!("\n{indent}"));
        ExporterConfig::from_yaml(&format!("{HEAD}{indent}{indented}\n"))
    }

    #[test]
    fn the_names_are_the_schemas_and_the_builders() {
        let yaml = "endpoint: https://c/v1/logs\nencoding: json\ntimeout: 5000\nmax_spool_bytes: 2GiB\nlinger: 1s\nproxy:\n\
                    headers:\n  - name: a\n    value: x, y=%41\nheaders_list: b=1%202";
        let settings = config(yaml).unwrap().settings(Signal::Logs).unwrap();
        assert_eq!(settings.protocol.unwrap().value, Some(Protocol::HttpJson));
        assert_eq!(settings.timeout.unwrap().value, Duration::from_secs(5));
        assert_eq!(settings.max_spool_bytes.unwrap().value, 2 << 30);
        assert_eq!(settings.endpoint.unwrap().source, "endpoint, line 7");
        assert!(settings.proxy.is_none(), "null is none");
        let headers = [("b", "1 2"), ("a", "x, y=%41")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(settings.headers.unwrap().value.0, headers, "those that are named come later, and so count");
        let nothing =
            config("headers:\n  - name: a\n    value: null\n  - name: b\n    value:\nmax_request_size: 1KiB").unwrap();
        let nothing = nothing.settings(Signal::Logs).unwrap();
        assert!(nothing.headers.is_none(), "a null header does not count");
        assert_eq!(nothing.max_request_bytes.unwrap().value, 1024);
        assert!(config("headers:\ntls:\ncompression:").unwrap().settings(Signal::Logs).unwrap().headers.is_none());
        let settings = config("headers:\n  - name: a\n    value: x, y=%41").unwrap().settings(Signal::Logs).unwrap();
        assert_eq!(settings.headers.unwrap().value.0, [("a".to_owned(), "x, y=%41".to_owned())]);
    }

    #[test]
    fn a_text_is_the_text_as_it_stands() {
        let texts = [
            "00123",
            "1.10",
            "yes",
            "No",
            "0x10",
            "1e3",
            "1_000",
            "+5",
            "0o17",
            ".inf",
            "NaN",
            "2026-01-01",
            "12:30:45",
        ];
        for text in texts {
            let yaml = format!(
                "headers:\n  - name: a\n    value: {text}\nheaders_list:\nspool_dir: {text}\nendpoint: {text}\nproxy: {text}"
            );
            let settings = config(&yaml.replace("headers_list:\n", "")).unwrap().settings(Signal::Logs).unwrap();
            assert_eq!(settings.headers.unwrap().value.0, [("a".to_owned(), text.to_owned())]);
            assert_eq!(settings.spool_dir.unwrap().value.to_str(), Some(text));
            assert_eq!(settings.endpoint.unwrap().value, text);
            assert_eq!(settings.proxy.unwrap().value, text);
            let template = config(&format!("template: {text}")).unwrap().settings(Signal::Logs).unwrap().template;
            assert_eq!(template, Some(Sourced::new(text.parse().unwrap(), "template, line 7")));
        }
        for none in ["~", "null", "", "''"] {
            assert!(
                config(&format!("proxy: {none}")).unwrap().settings(Signal::Logs).unwrap().proxy.is_none(),
                "{none}"
            );
        }
        assert_eq!(
            config("proxy: '~'").unwrap().settings(Signal::Logs).unwrap().proxy.unwrap().value,
            "~",
            "quoted, it is a text"
        );
    }

    #[test]
    fn a_number_or_a_switch_is_one_where_the_setting_is() {
        let settings =
            config("max_in_flight: 3\nstrict_order: true\ntimeout: 1500").unwrap().settings(Signal::Logs).unwrap();
        assert_eq!((settings.max_in_flight.unwrap().value, settings.strict_order.unwrap().value), (3, true));
        assert_eq!(settings.timeout.unwrap().value, Duration::from_millis(1_500));
        for wrong in ["strict_order: yes", "max_in_flight: 0x10", "max_in_flight: 1e1"] {
            assert!(config(wrong).unwrap().settings(Signal::Logs).is_err(), "{wrong}");
        }
    }

    #[test]
    fn another_format_has_values_that_are_no_text() {
        let json =
            r#"{"max_in_flight": 3, "strict_order": true, "proxy": null, "headers": [{"name": "a", "value": 1.5}]}"#;
        let settings = serde_json::from_str::<ExporterConfig>(json).unwrap().settings(Signal::Logs).unwrap();
        assert_eq!((settings.max_in_flight.unwrap().value, settings.strict_order.unwrap().value), (3, true));
        assert!(settings.proxy.is_none());
        assert_eq!(settings.headers.unwrap().value.0, [("a".to_owned(), "1.5".to_owned())]);
    }

    #[test]
    fn an_error_names_the_line() {
        let error = |yaml| config(yaml).unwrap().settings(Signal::Logs).err().unwrap().to_string();
        let unknown = error("endpoint: http://a/\nmax_size: 3");
        let expected = "`max_size, line 8` is invalid: there is no such setting; there are endpoint, ";
        assert!(unknown.starts_with(expected), "{unknown}");
        let value = error("endpoint: http://a/\nmax_in_flight: many");
        assert_eq!(value, "`max_in_flight, line 8` is invalid: \"many\"; allowed is a number such as 512");
        let syntax = config("endpoint: [").unwrap_err().to_string();
        assert!(syntax.contains("line "), "{syntax}");
        let none = ExporterConfig::from_yaml("logger_provider:\n  processors: []\n").unwrap_err().to_string();
        assert!(none.contains("has the exporter `spool`"), "{none}");
    }

    #[test]
    fn each_signal_has_the_node_of_its_own_provider() {
        let yaml = "tracer_provider:\n  processors:\n    - simple:\n        exporter:\n          spool:\n            linger: 1s\n\
                    meter_provider:\n  readers:\n    - pull:\n    - periodic:\n        interval: 5000\n        exporter:\n          \
                    spool:\n            linger: 2s\n            temporality_preference: delta\n";
        let config = ExporterConfig::from_yaml(yaml).unwrap();
        let linger = |signal| config.clone().settings(signal).map(|settings| settings.linger.unwrap().value.as_secs());
        assert_eq!((linger(Signal::Traces).unwrap(), linger(Signal::Metrics).unwrap()), (1, 2));
        let error = linger(Signal::Logs).unwrap_err().to_string();
        assert_eq!(error, "`the configuration` is invalid: no processor of `logger_provider` has the exporter `spool`");
    }

    #[test]
    fn variables_are_put_in() {
        let variable = |name: &str| match name {
            "TOKEN" => Some("s3cret".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let text = "a ${TOKEN} ${env:TOKEN} ${EMPTY:-b} ${NONE} $$ $x";
        assert_eq!(substituted(text, &variable).unwrap(), "a s3cret s3cret b  $ $x");
        assert!(substituted("${TOKEN", &variable).is_err());
        assert!(substituted("${a-b}", &variable).is_err());
        assert!(substituted("${1API}", &variable).is_err());
    }
}
