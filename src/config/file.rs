//! Declarative configuration: the exporter node `spool` in OpenTelemetry's YAML.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_saphyr::Spanned;

use crate::config::environment::NOT_DISABLED;
use crate::config::nearest::nearest;
use crate::config::parse::{FromText, parse};
use crate::config::table::{NAMES, Settings, VARIABLES, Variable};
use crate::config::values::{BatchLimits, Headers, ProcessorSettings, Signal, Sourced, Warning};
use crate::error::ExporterBuildError;

/// The exporter node `spool` of OpenTelemetry's declarative configuration.
///
/// Its keys have the names of the schema's OTLP exporter where that has one (`endpoint`, `headers`, `headers_list`, `tls`,
/// `compression`, `timeout`, `encoding`), and those of the builder's methods, without `with_`, for the rest. A value is
/// written as in the environment; `${NAME}` and `${NAME:-default}` stand for the value of a variable, `$$` for a dollar. A variable
/// that is not set, or empty, is an error unless it has a default.
///
/// ```yaml
/// file_format: "1.0"
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
/// let yaml = format!("file_format: '1.0'
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
pub struct ExporterConfig {
    nodes: Nodes,
    /// What is noticed of the file, and of the provider of a signal.
    warnings: Vec<(Option<Signal>, Warning)>,
}

/// The source of what is about a file as a whole.
pub(crate) const FILE: &str = "the configuration";

/// Nodes `spool`.
#[derive(Clone)]
enum Nodes {
    /// An exporter's that was read alone, for whichever exporter it is.
    Alone(Node),
    /// The first exporter of each signal's provider in a file.
    Of(Vec<(Signal, Found)>),
}

/// An exporter in a file, and the processor `spool` that it stands in, if it does.
#[derive(Clone)]
struct Found {
    exporter: Node,
    line: u64,
    processor: Option<Values>,
}

impl ExporterConfig {
    /// Reads a complete configuration file. An exporter takes the first node `spool` of its signal's provider: in
    /// `logger_provider.processors` and `tracer_provider.processors`, in a `batch`, a `simple` or a `spool` processor, and in
    /// `meter_provider.readers`, in a `periodic` reader.
    ///
    /// # Errors
    ///
    /// [`ExporterBuildError::Invalid`] if the text is not YAML, with the line, or has no such exporter. That the provider of an
    /// exporter's signal has none is an error of its `build`.
    pub fn from_yaml(text: &str) -> Result<Self, ExporterBuildError> {
        let document: Document = serde_saphyr::from_str(text).map_err(|error| not_read(&error))?;
        let mut warnings = document.warnings();
        let mut nodes = Vec::new();
        for (signal, found) in [
            (Signal::Logs, document.logger_provider.map(Provider::found).unwrap_or_default()),
            (Signal::Traces, document.tracer_provider.map(Provider::found).unwrap_or_default()),
            (Signal::Metrics, document.meter_provider.map(Meters::found).unwrap_or_default()),
        ] {
            let mut found = found.into_iter();
            nodes.extend(found.next().map(|first| (signal, first)));
            warnings.extend(found.map(|further| {
                let reason = format!(
                    "it is a further exporter `spool` for {signal} and is not read: an exporter takes the first one; leave it out, or give \
                     it to an exporter of its own, in a file of its own"
                );
                (Some(signal), Warning::new(format!("spool, line {}", further.line), reason))
            }));
        }
        if nodes.is_empty() {
            return Err(Sourced::new((), FILE).invalid(format!(
                "no processor and no reader has the exporter `spool`; it stands there as in {}",
                example(Signal::Logs)
            )));
        }
        Ok(Self { nodes: Nodes::Of(nodes), warnings })
    }

    /// The signals that there are settings for.
    #[cfg(feature = "relay")]
    pub(crate) fn signals(&self) -> Vec<Signal> {
        match &self.nodes {
            Nodes::Alone(_) => Signal::ALL.to_vec(),
            Nodes::Of(nodes) => nodes.iter().map(|(signal, _)| *signal).collect(),
        }
    }

    /// The settings for an exporter of `signal`.
    pub(crate) fn settings(self, signal: Signal) -> Result<Settings, ExporterBuildError> {
        let node = match self.nodes {
            Nodes::Alone(node) => Some(node),
            Nodes::Of(nodes) => nodes.into_iter().find(|(of, _)| *of == signal).map(|(_, found)| found.exporter),
        };
        let missing = || {
            let place = match signal {
                Signal::Logs => "no processor of `logger_provider`",
                Signal::Traces => "no processor of `tracer_provider`",
                Signal::Metrics => "no reader of `meter_provider`",
            };
            let reason = format!("{place} has the exporter `spool`; it stands there as in {}", example(signal));
            Sourced::new((), FILE).invalid(reason)
        };
        let mut settings = node.ok_or_else(missing)?.settings()?;
        let warnings = self.warnings.into_iter().filter(|(of, _)| of.is_none_or(|of| of == signal));
        settings.warnings.extend(warnings.map(|(_, warning)| warning));
        Ok(settings)
    }

    /// The settings of the processor in front of an exporter of `signal`.
    pub(crate) fn processor(self, signal: Signal) -> Result<ProcessorSettings, ExporterBuildError> {
        let Nodes::Of(nodes) = self.nodes else {
            let reason = "a node that is read alone is an exporter's; allowed is a file with a processor `spool`";
            return Err(Sourced::new((), FILE).invalid(reason));
        };
        let found = nodes.into_iter().find(|(of, _)| *of == signal);
        let missing = || {
            let provider = if signal == Signal::Logs { "logger_provider" } else { "tracer_provider" };
            let reason = format!(
                "the first exporter `spool` of `{provider}` stands in no processor `spool`; allowed is \
                 `processors: [{{spool: {{exporter: {{spool: ...}}}}}}]`"
            );
            Sourced::new((), FILE).invalid(reason)
        };
        let values = found.and_then(|(_, found)| found.processor).ok_or_else(missing)?;
        values.check(PROCESSOR_NAMES)?;
        Ok(ProcessorSettings {
            max_buffer_bytes: values.value("max_buffer_bytes")?,
            commit_delay: values.value("commit_delay")?,
            max_wait: values.value("max_wait")?,
            journal: values.value("journal")?,
            commit_on_panic: values.value("commit_on_panic")?,
            commit_at: match values.get("commit_at") {
                Some(given) if signal != Signal::Logs => {
                    return Err(given.invalid("a span has no severity; allowed is no `commit_at`"));
                }
                given => given.map(parse).transpose()?.map(|least| least.value),
            },
        })
    }
}

/// The smallest file with an exporter of a signal.
fn example(signal: Signal) -> String {
    let exporter = "exporter: {spool: {endpoint: URL, spool_dir: DIR}}";
    match signal {
        Signal::Logs => format!("`logger_provider: {{processors: [{{batch: {{{exporter}}}}}]}}`"),
        Signal::Traces => format!("`tracer_provider: {{processors: [{{batch: {{{exporter}}}}}]}}`"),
        Signal::Metrics => format!("`meter_provider: {{readers: [{{periodic: {{{exporter}}}}}]}}`"),
    }
}

/// The keys of a processor `spool`.
const PROCESSOR_NAMES: &[&str] = &[
    "max_buffer_bytes",
    "commit_delay",
    "schedule_delay",
    "max_wait",
    "journal",
    "commit_on_panic",
    "commit_at",
    "exporter",
];

/// The values of a node, and what is wrong with it.
#[derive(Clone, Default)]
struct Values {
    /// The values, by the setting's name.
    given: Vec<(&'static str, Sourced<String>)>,
    /// The reasons why texts are no values, with their lines.
    wrong: Vec<Sourced<String>>,
    /// Unknown keys, with their lines.
    unknown: Vec<Sourced<String>>,
}

impl Values {
    /// Adds a value as it is written.
    fn add(&mut self, setting: &'static str, source: String, written: &str) {
        let value = self.text(&source, written);
        self.given.push((setting, Sourced { value, source }));
    }

    /// A text with its variables replaced.
    fn text(&mut self, source: &str, written: &str) -> String {
        substituted(written, &|name| std::env::var(name).ok()).unwrap_or_else(|reason| {
            self.wrong.push(Sourced::new(reason, source));
            String::new()
        })
    }

    /// Whether there is only what there may be.
    fn check(&self, names: &[&str]) -> Result<(), ExporterBuildError> {
        if let Some(key) = self.unknown.first() {
            let remedy = meant(&key.value, names)
                .map_or_else(|| format!("there are {}", names.join(", ")), |meant| format!("did you mean `{meant}`?"));
            return Err(key.invalid(format!("there is no such setting; {remedy}")));
        }
        self.wrong.first().map_or(Ok(()), |wrong| Err(wrong.invalid(&wrong.value)))
    }

    /// The value of a setting. An empty one counts as not set.
    fn get(&self, setting: &str) -> Option<&Sourced<String>> {
        let found = self.given.iter().rev().find(|(name, _)| *name == setting);
        found.map(|(_, given)| given).filter(|given| !given.value.is_empty())
    }

    fn value<T: FromText>(&self, setting: &str) -> Result<Option<T>, ExporterBuildError> {
        self.get(setting).map(|given| parse(given).map(|parsed| parsed.value)).transpose()
    }
}

/// A node `spool` of an exporter.
#[derive(Clone, Default)]
struct Node {
    values: Values,
    /// Headers as a list of a text, before which those that are named count.
    headers_list: Option<Sourced<String>>,
    /// The schema's limit of a request.
    max_request_size: Option<Sourced<String>>,
}

impl Node {
    fn settings(mut self) -> Result<Settings, ExporterBuildError> {
        let others = ["headers", "headers_list", "tls", "encoding", "max_request_size", "max_response_size"];
        self.values.check(&own_names().chain(others).collect::<Vec<_>>())?;
        if let Some(list) = self.headers_list.take().filter(|list| !list.value.is_empty()) {
            parse::<Headers>(&list)?;
            let mut given = self.values.given.iter_mut();
            match given.find(|(name, given)| *name == "headers" && !given.value.is_empty()) {
                // The later of two headers counts.
                Some((_, named)) => named.value = format!("{},{}", list.value, named.value),
                None => self.values.given.push(("headers", list)),
            }
        }
        let mut settings = Settings::read(|setting, _| Ok(self.values.get(setting).cloned()))?;
        if let Some(timeout) = settings.timeout.as_mut().filter(|timeout| timeout.value.is_zero()) {
            // No limit, as the schema says.
            timeout.value = Duration::MAX;
        }
        if let Some(size) = self.max_request_size.filter(|size| !size.value.is_empty()) {
            limit_requests(&mut settings, parse(&size)?);
        }
        Ok(settings)
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
                let headers = match map.next_value()? {
                    HeaderList::<S>::List(headers) => headers,
                    HeaderList::Other(kind) => {
                        let reason = format!(
                            "it is {kind}; allowed is a list, as in `headers: [{{name: NAME, value: VALUE}}]`, or \
                             `headers_list: NAME=VALUE,NAME=VALUE`"
                        );
                        self.values.wrong.push(Sourced::new(reason, &*source));
                        Vec::new()
                    }
                };
                let encoded = |header: Header<S>| header.encoded(&mut self.values, &key.value);
                let headers: Vec<_> = headers.into_iter().filter_map(encoded).collect();
                self.values.given.push(("headers", Sourced::new(headers.join(","), source)));
            }
            "headers_list" => {
                let list = map.next_value::<S>()?.into();
                self.headers_list = Some(Sourced::new(self.values.text(&source, &list), source));
            }
            "max_request_size" => {
                let size = map.next_value::<S>()?.into();
                self.max_request_size = Some(Sourced::new(self.values.text(&source, &size), source));
            }
            "max_response_size" => self.values.add("max_response_bytes", source, &map.next_value::<S>()?.into()),
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
                        self.values.add(setting, place(key, &file), &file.value.into());
                    }
                }
            }
            "encoding" => {
                let encoding = self.values.text(&source, &map.next_value::<S>()?.into());
                let protocol = match encoding.as_str() {
                    "" => String::new(),
                    "protobuf" | "json" => format!("http/{encoding}"),
                    _ => {
                        let reason = format!("{encoding:?}; allowed are protobuf, json");
                        self.values.wrong.push(Sourced::new(reason, &*source));
                        String::new()
                    }
                };
                self.values.given.push(("protocol", Sourced::new(protocol, source)));
            }
            key => {
                if let Some(name) = own_names().find(|name| *name == key) {
                    self.values.add(name, source, &map.next_value::<S>()?.into());
                } else {
                    let _: IgnoredAny = map.next_value()?;
                    self.values.unknown.push(Sourced::new(key.to_owned(), source));
                }
            }
        }
        Ok(())
    }
}

/// Limits requests as the schema says: before compression, and 0 is no limit. A batch ends before the limit; a single larger record is
/// measured when it is sent.
fn limit_requests(settings: &mut Settings, size: Sourced<u64>) {
    let limit = if size.value == 0 { u64::MAX } else { size.value };
    let of_batch = settings.max_batch_bytes.as_ref().map_or(BatchLimits::default().max_bytes, |bytes| bytes.value);
    if limit < of_batch {
        settings.max_batch_bytes = Some(Sourced::new(limit, &*size.source));
    }
    settings.max_request_bytes = Some(Sourced::new(limit, size.source));
}

/// Shows the names of the settings, and no value.
impl fmt::Debug for ExporterConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes: Vec<_> = match &self.nodes {
            Nodes::Alone(node) => vec![node],
            Nodes::Of(nodes) => nodes.iter().map(|(_, found)| &found.exporter).collect(),
        };
        let names = nodes.into_iter().flat_map(|node| &node.values.given).map(|(name, _)| name);
        f.debug_set().entries(names).finish()
    }
}

/// The part of a file that is read.
#[derive(Deserialize)]
struct Document {
    file_format: Option<Written>,
    disabled: Option<Spanned<Written>>,
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
    spool: Option<SpoolProcessing>,
}

/// A node `spool` of a processor.
struct SpoolProcessing {
    values: Values,
    exporter: Option<Exporter>,
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
    spool: Option<Spanned<Node>>,
}

impl Document {
    /// What is noticed of the file as a whole.
    fn warnings(&self) -> Vec<(Option<Signal>, Warning)> {
        let is_missing = self.file_format.as_ref().is_none_or(|format| format.0.is_empty());
        let reason = "`file_format` is missing, which names the version of the schema; begin the file with `file_format: \"1.0\"`";
        let format = is_missing.then(|| Warning::new(FILE, reason));
        let disabled = self.disabled.as_ref().filter(|disabled| disabled.value.0.eq_ignore_ascii_case("true"));
        let disabled = disabled.map(|disabled| Warning::new(place("disabled", disabled), NOT_DISABLED));
        format.into_iter().chain(disabled).map(|warning| (None, warning)).collect()
    }
}

impl Provider {
    fn found(self) -> Vec<Found> {
        self.processors.into_iter().flatten().filter_map(Processor::found).collect()
    }
}

impl Processor {
    fn found(self) -> Option<Found> {
        if let Some(SpoolProcessing { values, exporter }) = self.spool {
            return Some(Found { processor: Some(values), ..exporter?.found()? });
        }
        self.batch.or(self.simple)?.exporter?.found()
    }
}

impl Meters {
    fn found(self) -> Vec<Found> {
        let exporters = self.readers.into_iter().flatten().filter_map(|reader| reader.periodic?.exporter);
        exporters.filter_map(Exporter::found).collect()
    }
}

impl Exporter {
    fn found(self) -> Option<Found> {
        let Spanned { value: exporter, referenced, .. } = self.spool?;
        Some(Found { exporter, line: referenced.line(), processor: None })
    }
}

/// The headers of a node, or what stands in their place.
enum HeaderList<S> {
    List(Vec<Header<S>>),
    Other(&'static str),
}

impl<'de, S: Scalar<'de>> Deserialize<'de> for HeaderList<S> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements<S>(PhantomData<S>);

        impl<'de, S: Scalar<'de>> Visitor<'de> for Elements<S> {
            type Value = HeaderList<S>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of headers")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<HeaderList<S>, A::Error> {
                let mut headers = Vec::new();
                while let Some(header) = elements.next_element()? {
                    headers.push(header);
                }
                Ok(HeaderList::List(headers))
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<HeaderList<S>, M::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(HeaderList::Other("a map"))
            }

            fn visit_str<E>(self, _text: &str) -> Result<HeaderList<S>, E> {
                Ok(HeaderList::Other("a text"))
            }

            fn visit_unit<E>(self) -> Result<HeaderList<S>, E> {
                Ok(HeaderList::List(Vec::new()))
            }
        }

        deserializer.deserialize_any(Elements(PhantomData))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, bound = "S: Deserialize<'de>")]
struct Header<S> {
    name: Spanned<S>,
    /// A header that is null does not count.
    #[serde(default = "none")]
    value: Option<Spanned<S>>,
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
        let nodes = Nodes::Alone(Node::deserialize(deserializer)?);
        Ok(Self { nodes, warnings: Vec::new() })
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

impl<'de> Deserialize<'de> for SpoolProcessing {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = SpoolProcessing;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the settings of the processor `spool`")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<SpoolProcessing, M::Error> {
                let mut node = SpoolProcessing { values: Values::default(), exporter: None };
                while let Some(key) = map.next_key::<Spanned<String>>()? {
                    let source = place(&key.value, &key);
                    let setting = match key.value.as_str() {
                        "exporter" => {
                            node.exporter = map.next_value()?;
                            continue;
                        }
                        "max_buffer_bytes" => "max_buffer_bytes",
                        // The name of the schema's batch processor for the same.
                        "commit_delay" | "schedule_delay" => "commit_delay",
                        "max_wait" => "max_wait",
                        "journal" => "journal",
                        "commit_on_panic" => "commit_on_panic",
                        "commit_at" => "commit_at",
                        _ => {
                            let _: IgnoredAny = map.next_value()?;
                            node.values.unknown.push(Sourced::new(key.value, source));
                            continue;
                        }
                    };
                    node.values.add(setting, source, &String::from(map.next_value::<Written>()?));
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

/// The key that is meant by an unknown one: of `names`, or by the name that its setting has elsewhere.
fn meant<'a>(key: &str, names: &[&'a str]) -> Option<&'a str> {
    const ELSEWHERE: &[(&str, &str)] = &[
        ("protocol", "encoding"),
        ("certificate", "tls.ca_file"),
        ("client_key", "tls.key_file"),
        ("client_certificate", "tls.cert_file"),
    ];
    let key = key.strip_prefix("with_").unwrap_or(key);
    if let Some((_, here)) = ELSEWHERE.iter().find(|(there, here)| *there == key && names.contains(&first(here))) {
        return Some(*here);
    }
    let by_variable = || {
        let is_it = |variable: &Variable| {
            let (Variable::Otlp(name)
            | Variable::OtlpMetrics(name)
            | Variable::Spool(name)
            | Variable::SpoolMetrics(name)) = variable;
            name.eq_ignore_ascii_case(key)
        };
        let (setting, _) = VARIABLES.iter().find(|(_, variable)| is_it(variable))?;
        names.iter().copied().find(|name| name == setting)
    };
    nearest(key, names.iter().copied()).or_else(by_variable)
}

/// The first part of a key with a dot.
fn first(key: &str) -> &str {
    key.split('.').next().unwrap_or(key)
}

/// The error of a file that is no YAML, or of another form than the schema's.
fn not_read(error: &serde_saphyr::Error) -> ExporterBuildError {
    let line = error.location().map(|location| location.line()).filter(|line| *line > 0);
    let at = |key: &str| line.map_or_else(|| key.to_owned(), |line| format!("{key}, line {line}"));
    match error.without_snippet() {
        serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } => {
            Sourced::new((), at(key)).invalid("it stands there twice; leave one of them out")
        }
        serde_saphyr::Error::SerdeUnknownField { field, expected, .. } => {
            let meant = nearest(field, expected.iter().copied());
            let meant = meant.map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default();
            let reason = format!("there is no such setting; there are {}{meant}", expected.join(", "));
            Sourced::new((), at(field)).invalid(reason)
        }
        serde_saphyr::Error::Unexpected { expected: "string scalar", .. } => Sourced::new((), at(FILE))
            .invalid("a list or a map stands where a single value is expected; give a text, a number, true or false"),
        serde_saphyr::Error::Unexpected { expected: "mapping start", .. } => {
            Sourced::new((), at(FILE)).invalid("a map is expected there, with keys and their values")
        }
        error => Sourced::new((), at(FILE)).invalid(format!("it cannot be read as YAML: {error}")),
    }
}

/// A key, and its line where known.
fn place<T>(key: &str, value: &Spanned<T>) -> String {
    match value.referenced.line() {
        0 => key.to_owned(),
        line => format!("{key}, line {line}"),
    }
}

impl<S: Into<String>> Header<S> {
    /// A header of the list that has this key.
    fn encoded(self, values: &mut Values, key: &str) -> Option<String> {
        let mut text = |given: Spanned<S>| values.text(&place(key, &given), &given.value.into());
        let (name, value) = (text(self.name), text(self.value?));
        Some(format!("{name}={}", percent_encoding::utf8_percent_encode(&value, percent_encoding::NON_ALPHANUMERIC)))
    }
}

/// A value as text, as it is written; null is empty, which counts as not set.
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
        Option::<String>::deserialize(deserializer).map(|text| Self(text.unwrap_or_default()))
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

            fn visit_str<E>(self, text: &str) -> Result<Value, E> {
                Ok(Value(text.to_owned()))
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

/// Replaces variables by their values: `${NAME}`, `${env:NAME}`, `${NAME:-default}`; `$$` is a dollar. A variable without a value and
/// a default is an error: the specification has it empty, and a request would go elsewhere, or without its credentials.
fn substituted(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let (reference, after) = after.split_once('}').ok_or("a `${` without its `}`; allowed is ${NAME}")?;
            let reference = reference.strip_prefix("env:").unwrap_or(reference);
            let (name, default) = match reference.split_once(":-") {
                Some((name, default)) => (name, Some(default)),
                None => (reference, None),
            };
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(is_name) {
                return Err(format!(
                    "`${{{name}}}` is no variable's name; allowed are letters, digits and `_`, no digit at first, and `$$` for a dollar"
                ));
            }
            let value = variable(name).filter(|value| !value.is_empty());
            let value = value.or_else(|| default.map(str::to_owned)).ok_or_else(|| {
                format!(
                    "the variable `{name}` is not set, or empty, and has no default; set it, or give a default as in ${{{name}:-text}}"
                )
            })?;
            out.push_str(&value);
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
    use opentelemetry::logs::Severity;

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
        let encoding = config("encoding: xml").unwrap().settings(Signal::Logs).err().unwrap().to_string();
        assert_eq!(encoding, "`encoding, line 7` is invalid: \"xml\"; allowed are protobuf, json");
        let nothing =
            config("headers:\n  - name: a\n    value: null\n  - name: b\n    value:\nmax_request_size: 1KiB").unwrap();
        let nothing = nothing.settings(Signal::Logs).unwrap();
        assert!(nothing.headers.is_none(), "a null header does not count");
        assert_eq!(nothing.max_request_bytes.unwrap().value, 1024);
        assert!(config("headers:\ntls:\ncompression:").unwrap().settings(Signal::Logs).unwrap().headers.is_none());
        let settings = config("headers:\n  - name: a\n    value: x, y=%41").unwrap().settings(Signal::Logs).unwrap();
        assert_eq!(settings.headers.unwrap().value.0, [("a".to_owned(), "x, y=%41".to_owned())]);
    }

    /// The headers of a node.
    fn headers(yaml: &str) -> Vec<(String, String)> {
        config(yaml).unwrap().settings(Signal::Logs).unwrap().headers.map(|headers| headers.value.0).unwrap_or_default()
    }

    fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> Vec<(String, String)> {
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    #[test]
    fn a_null_header_does_not_count_and_leaves_that_of_the_list() {
        for null in ["value: null", "value:", "value: ~"] {
            let yaml = format!("headers:\n  - name: a\n    {null}\n  - name: b\n    value: '2'\nheaders_list: a=1");
            assert_eq!(headers(&yaml), pairs([("a", "1"), ("b", "2")]), "{null}");
        }
        assert_eq!(headers("headers:\n  - name: a\n    value: ''"), pairs([("a", "")]), "an empty text is none");
    }

    #[test]
    fn a_timeout_of_zero_is_no_limit() {
        let timeout = |yaml| config(yaml).unwrap().settings(Signal::Logs).unwrap().timeout.map(|timeout| timeout.value);
        assert_eq!(timeout("timeout: 0"), Some(Duration::MAX));
        assert_eq!(timeout("timeout: 1"), Some(Duration::from_millis(1)));
        assert_eq!(timeout("timeout:"), None);
    }

    #[test]
    fn the_size_of_a_request_is_limited_before_compression_and_zero_is_no_limit() {
        let limits = |yaml: &str| {
            let settings = config(yaml).unwrap().settings(Signal::Logs).unwrap();
            (settings.max_request_bytes.unwrap().value, settings.max_batch_bytes.map(|bytes| bytes.value))
        };
        assert_eq!(limits("max_request_size: 0"), (u64::MAX, None));
        assert_eq!(limits("max_request_size: 4194304"), (4 << 20, None), "a batch has a megabyte at most");
        assert_eq!(limits("max_request_size: 65536"), (65_536, Some(65_536)));
        assert_eq!(limits("max_request_size: 65536\nmax_batch_bytes: 1000"), (65_536, Some(1_000)));
        assert_eq!(limits("max_batch_bytes: 8MiB\nmax_request_size: 4MiB"), (4 << 20, Some(4 << 20)));
        assert_eq!(limits("max_request_bytes: 5"), (5, None), "the name of the builder's own");
        let response = config("max_response_size: 7").unwrap().settings(Signal::Logs).unwrap().max_response_bytes;
        assert_eq!(response, Some(Sourced::new(7, "max_response_size, line 7")));
        let wrong = config("max_request_size: many").unwrap().settings(Signal::Logs).err().unwrap().to_string();
        assert!(wrong.starts_with("`max_request_size, line 7` is invalid: \"many\"; allowed are bytes"), "{wrong}");
    }

    #[test]
    fn what_is_no_variable_is_named_with_its_line() {
        let allowed = "allowed are letters, digits and `_`, no digit at first, and `$$` for a dollar";
        for (yaml, place) in [
            ("linger: 1s\nendpoint: http://${1API}/", "endpoint, line 8"),
            ("headers:\n  - name: a\n    value: Bearer ${1API}", "headers, line 9"),
            ("headers_list: a=${1API}", "headers_list, line 7"),
            ("tls:\n  ca_file: ${1API}", "tls.ca_file, line 8"),
            ("encoding: ${1API}", "encoding, line 7"),
            ("max_request_size: ${1API}", "max_request_size, line 7"),
        ] {
            let error = config(yaml).unwrap().settings(Signal::Logs).err().unwrap().to_string();
            assert_eq!(error, format!("`{place}` is invalid: `${{1API}}` is no variable's name; {allowed}"));
        }
        let open = config("endpoint: ${API").unwrap().settings(Signal::Logs).err().unwrap().to_string();
        assert_eq!(open, "`endpoint, line 7` is invalid: a `${` without its `}`; allowed is ${NAME}");
        let escaped = config("proxy: $${1API}").unwrap().settings(Signal::Logs).unwrap().proxy.unwrap().value;
        assert_eq!(escaped, "${1API}");
    }

    // --- the processor ----------------------------------------------------------------------------------------------

    /// A file with a processor `spool` of a provider, which has these settings.
    fn processor(provider: &str, settings: &str) -> ExporterConfig {
        let yaml = format!(
            "{provider}:\n  processors:\n    - batch:\n        exporter:\n          console:\n    - spool:\n        \
             {}\n        exporter:\n          spool:\n            linger: 3s\n",
            settings.replace('\n', "\n        ")
        );
        ExporterConfig::from_yaml(&yaml).unwrap()
    }

    #[test]
    fn a_processor_has_settings_of_its_own_and_its_exporter_is_found() {
        for (provider, signal) in [("logger_provider", Signal::Logs), ("tracer_provider", Signal::Traces)] {
            let config = processor(provider, "max_buffer_bytes: 32MiB\ncommit_delay: 20\nmax_wait: 2s\njournal: true");
            let expected = ProcessorSettings {
                max_buffer_bytes: Some(32 << 20),
                commit_delay: Some(Duration::from_millis(20)),
                max_wait: Some(Duration::from_secs(2)),
                journal: Some(true),
                ..ProcessorSettings::default()
            };
            assert_eq!(config.clone().processor(signal).unwrap(), expected);
            assert_eq!(config.settings(signal).unwrap().linger.unwrap().value, Duration::from_secs(3));
        }
        let urgent = processor("logger_provider", "commit_at: error\ncommit_on_panic: true").processor(Signal::Logs);
        let (commit_on_panic, commit_at) = (Some(true), Some(Severity::Error));
        assert_eq!(urgent.unwrap(), ProcessorSettings { commit_on_panic, commit_at, ..ProcessorSettings::default() });
        let some = processor("logger_provider", "schedule_delay: 0\nmax_wait:").processor(Signal::Logs).unwrap();
        assert_eq!(some, ProcessorSettings { commit_delay: Some(Duration::ZERO), ..ProcessorSettings::default() });
    }

    #[test]
    fn an_error_of_a_processor_names_the_line() {
        let error = |settings| processor("logger_provider", settings).processor(Signal::Logs).unwrap_err().to_string();
        assert_eq!(
            error("max_wait: 1s\nmax_queue_size: 2048"),
            "`max_queue_size, line 8` is invalid: there is no such setting; there are max_buffer_bytes, commit_delay, \
             schedule_delay, max_wait, journal, commit_on_panic, commit_at, exporter"
        );
        let value = error("max_wait: long");
        assert!(value.starts_with("`max_wait, line 7` is invalid: \"long\"; allowed are milliseconds"), "{value}");
        let severity = error("commit_at: eror");
        assert!(severity.starts_with("`commit_at, line 7` is invalid: \"eror\"; allowed are trace, "), "{severity}");
        assert!(severity.ends_with("did you mean error?"), "{severity}");
        let span = processor("tracer_provider", "commit_at: error").processor(Signal::Traces).unwrap_err().to_string();
        assert_eq!(span, "`commit_at, line 7` is invalid: a span has no severity; allowed is no `commit_at`");
        let variable = error("max_buffer_bytes: ${1API}");
        assert!(variable.starts_with("`max_buffer_bytes, line 7` is invalid: `${1API}` is no variable"), "{variable}");
    }

    #[test]
    fn a_processor_takes_a_node_that_is_one() {
        let error = |config: ExporterConfig, signal| config.processor(signal).unwrap_err().to_string();
        let batch = error(config("linger: 1s").unwrap(), Signal::Logs);
        assert!(batch.contains("`logger_provider` stands in no processor `spool`; allowed is `processors:"), "{batch}");
        let other = error(processor("logger_provider", "max_wait: 0"), Signal::Traces);
        assert!(other.contains("`tracer_provider` stands in no processor `spool`"), "{other}");
        let alone = error(serde_json::from_str(r#"{"linger": 1}"#).unwrap(), Signal::Logs);
        assert!(alone.contains("a file with a processor `spool`"), "{alone}");
        let empty =
            "logger_provider:\n  processors:\n    - spool:\n    - spool:\n        exporter:\n          console:\n";
        let none = ExporterConfig::from_yaml(empty).unwrap_err().to_string();
        assert!(none.contains("no processor and no reader has the exporter `spool`"), "{none}");
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
        let expected = "`the configuration` is invalid: no processor of `logger_provider` has the exporter `spool`; it stands there as in \
                        `logger_provider: {processors: [{batch: {exporter: {spool: ";
        assert!(error.starts_with(expected), "{error}");
    }

    #[test]
    fn variables_are_put_in() {
        let variable = |name: &str| match name {
            "TOKEN" => Some("s3cret".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let text = "a ${TOKEN} ${env:TOKEN} ${EMPTY:-b} ${NONE:-} $$ $x";
        assert_eq!(substituted(text, &variable).unwrap(), "a s3cret s3cret b  $ $x");
        for missing in ["Bearer ${NONE}", "http://${EMPTY}/y", "${env:NONE}"] {
            let error = substituted(missing, &variable).unwrap_err();
            assert!(error.contains("is not set, or empty, and has no default; set it, or give"), "{missing}: {error}");
        }
        assert!(substituted("${TOKEN", &variable).is_err());
        assert!(substituted("${a-b}", &variable).is_err());
        assert!(substituted("${1API}", &variable).is_err());
    }
}
