//! The push API of Loki.

use std::sync::OnceLock;
use std::time::SystemTime;

use opentelemetry::InstrumentationScope;
use opentelemetry_sdk::Resource;

use super::common::any_value::JsonText;
use super::common::object::Object;
use super::common::origin::{Origin, Source, host_name};
use super::common::string::write_text;
use super::common::template::{Rendering, Template};
use super::common::time::{EXACT, Span, time_or_now};
use super::encoder::Encoder;
use super::json::JsonEncoder;
use super::view::LogView;
use crate::encode::framing::Framing;
use crate::error::{BoxError, TemplateError};

/// The longest value of a label that Loki takes by default (`max_label_value_length`), in bytes.
const MAX_LABEL_BYTES: usize = 2048;

/// The room for the labels of a stream, in bytes: what a framing holds.
const MAX_LABELS_BYTES: usize = 60_000;

/// Encodes records for Loki's push API, `/loki/api/v1/push`.
///
/// Another encoder writes the line, by default [`JsonEncoder`], whose lines LogQL parses with `| json`.
///
/// All records of a process are one stream. Its labels are `service_name` and, so that no two processes share a stream,
/// `service_instance_id` if the resource has one, else `host`, the resource's `host.name` or the machine's. Further ones are the same for
/// every record as well: a request is then one stream with all its lines, to which Loki responds as one. Where several processes of a service run on
/// one host, give each a `service.instance.id`: Loki refuses lines that are an hour older than the newest of their stream, such as the
/// backlog of one process behind the lines of another.
///
/// A record of another process ([`LogView::origin`]) is in a stream of its own: its labels are those of that process, and its service is
/// `unknown_service` where nothing says which it is.
///
/// What differs from record to record is structured metadata: `level`, `target`, `trace_id` and `span_id`, and what
/// [`with_metadata`](Self::with_metadata) adds. A label or metadata with an empty value is left out.
///
/// Loki identifies a line of a stream by its time and text: a line that is sent twice is stored once, but `count_over_time` counts it twice.
///
/// # Examples
///
/// ```
/// use opentelemetry_spool::{LogExporter, LokiEncoder, TextEncoder};
///
/// let encoder = LokiEncoder::new(TextEncoder::new("{target}: {message}")?)
///     .with_label("environment", "{resource[deployment.environment.name]}")?
///     .with_metadata("tenant", "{attributes[tenant]}")?;
/// let builder = LogExporter::builder()
///     .with_endpoint("https://loki.example.com/loki/api/v1/push")
///     .with_headers([("x-scope-orgid", "acme")])
///     .with_encoder(encoder);
/// # Ok::<(), opentelemetry_spool::TemplateError>(())
/// ```
#[derive(Clone, Debug)]
pub struct LokiEncoder<E = JsonEncoder> {
    line: E,
    labels: Vec<(String, Template)>,
    metadata: Vec<(String, Template)>,
    structured_metadata: bool,
    origin: Origin,
    /// With the labels of the stream.
    framing: Framing,
    started: SystemTime,
    /// The name of this host, once it is needed.
    host: OnceLock<Option<String>>,
}

impl Default for LokiEncoder {
    fn default() -> Self {
        Self::new(JsonEncoder::default())
    }
}

impl<E: Encoder> LokiEncoder<E> {
    /// An encoder whose lines `line` writes.
    pub fn new(line: E) -> Self {
        let metadata = [("level", "levelname"), ("target", "target"), ("trace_id", "trace_id"), ("span_id", "span_id")];
        let metadata = metadata.map(|(name, field)| (name.to_owned(), Template::field(field))).into();
        let mut encoder = Self {
            line,
            labels: Vec::new(),
            metadata,
            structured_metadata: true,
            origin: Origin::default(),
            framing: Framing::json_array(),
            started: SystemTime::now(),
            host: OnceLock::new(),
        };
        encoder.set_framing();
        encoder
    }

    /// Adds a label of the stream, or replaces the one with the same name. The template has text and the fields `resource[NAME]` and
    /// `processName`. Loki takes 15 labels and values of 2,048 bytes; a longer value is cut.
    ///
    /// A character that a label's name may not have becomes an underscore. A `service_instance_id` or `host` of your own takes the place
    /// of the one by default.
    ///
    /// # Errors
    ///
    /// [`TemplateError`] if the template names a field that does not exist or that differs from record to record, or has an
    /// unbalanced brace.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::LokiEncoder;
    ///
    /// let encoder = LokiEncoder::default().with_label("namespace", "{resource[k8s.namespace.name]}")?;
    /// assert!(LokiEncoder::default().with_label("level", "{levelname}").is_err());
    /// # Ok::<(), opentelemetry_spool::TemplateError>(())
    /// ```
    pub fn with_label(mut self, name: &str, template: &str) -> Result<Self, TemplateError> {
        let template: Template = template.parse()?;
        if template.of_process(self.origin.own()).is_none() {
            return Err(TemplateError::DiffersByRecord { label: name.to_owned() });
        }
        set(&mut self.labels, name, template);
        self.set_framing();
        Ok(self)
    }

    /// Adds an entry of structured metadata, or replaces the one with the same name. The template may have any field.
    ///
    /// A character that a name may not have becomes an underscore.
    ///
    /// # Errors
    ///
    /// [`TemplateError`] if the template names a field that does not exist or has an unbalanced brace.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::LokiEncoder;
    ///
    /// let encoder = LokiEncoder::default().with_metadata("tenant", "{attributes[tenant]}")?;
    /// # Ok::<(), opentelemetry_spool::TemplateError>(())
    /// ```
    pub fn with_metadata(mut self, name: &str, template: &str) -> Result<Self, TemplateError> {
        set(&mut self.metadata, name, template.parse()?);
        Ok(self)
    }

    /// Sets whether lines have structured metadata. Default: `true`.
    ///
    /// Loki takes it from version 2.9 on, with the schema `v13` and `allow_structured_metadata: true` in its `limits_config`, which is the default
    /// from 3.0 on. Otherwise it refuses the lines with 400.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::LokiEncoder;
    ///
    /// let encoder = LokiEncoder::default().with_structured_metadata(false); // the level is in the line
    /// ```
    pub fn with_structured_metadata(mut self, structured_metadata: bool) -> Self {
        self.structured_metadata = structured_metadata;
        self
    }

    fn set_framing(&mut self) {
        self.framing = self.stream(self.origin.own());
    }

    /// One stream with the labels of a process, whose lines are its records.
    fn stream(&self, source: Source<'_>) -> Framing {
        let is_given = |names: &[&str]| self.labels.iter().any(|(name, _)| names.contains(&&**name));
        let of_resource =
            |name: &str| Template::field(&format!("resource[{name}]")).of_process(source).unwrap_or_default();
        let mut labels = Vec::new();
        if !is_given(&["service_name"]) {
            let or = |name: String, other: &dyn Fn() -> String| if name.is_empty() { other() } else { name };
            let service = or(of_resource("service.name"), &|| match source.other() {
                None => source.process_name().unwrap_or_default().to_owned(),
                // Names such as `ForkPoolWorker-17` would be too many streams. Loki refuses a stream without labels.
                Some(_) => or(of_resource("process.executable.name"), &|| "unknown_service".to_owned()),
            });
            labels.push(("service_name", service));
        }
        if !is_given(&["service_instance_id", "host"]) {
            let [instance, host] = ["service.instance.id", "host.name"].map(of_resource);
            labels.push(match (instance.is_empty(), host.is_empty()) {
                (false, _) => ("service_instance_id", instance),
                (true, false) => ("host", host),
                // What a complete resource does not say is not known.
                (true, true) if source.other().is_some_and(|other| other.resource_is_complete) => {
                    ("host", String::new())
                }
                (true, true) => ("host", self.host.get_or_init(host_name).clone().unwrap_or_default()),
            });
        }
        let given = self.labels.iter();
        labels.extend(given.map(|(name, template)| (&**name, template.of_process(source).unwrap_or_default())));

        let mut open = b"{\"streams\":[{\"stream\":{".to_vec();
        let mut stream = Object { out: &mut open, is_empty: true };
        for (name, mut value) in labels.into_iter().filter(|(_, value)| !value.is_empty()) {
            let mut ends = (0..=MAX_LABEL_BYTES.min(value.len())).rev();
            value.truncate(ends.find(|end| value.is_char_boundary(*end)).unwrap_or_default());
            let end = stream.out.len();
            stream.any_key(name);
            write_text(stream.out, &value);
            if stream.out.len() > MAX_LABELS_BYTES {
                stream.out.truncate(end);
                break;
            }
        }
        open.extend_from_slice(b"},\"values\":[");
        Framing::new("application/json", "", ",", "]}]}").with_open(open)
    }

    fn write_metadata(
        &self,
        record: &dyn LogView,
        scope: &InstrumentationScope,
        out: &mut Vec<u8>,
    ) -> Result<(), BoxError> {
        let (start, mut text) = (out.len(), Vec::new());
        let mut rendering = Rendering::new(record, scope, &self.origin, self.started);
        out.push(b',');
        let mut is_empty = true;
        Object::write(out, |json| {
            for (name, template) in &self.metadata {
                text.clear();
                template.write(&mut rendering, &mut text)?;
                if !text.is_empty() {
                    json.any_key(name);
                    write_text(json.out, &String::from_utf8_lossy(&text));
                }
            }
            if let (_, Some(exact)) = Span::NANOS.nearest(time_or_now(record)) {
                json.any_key(&label_name(EXACT));
                json.value(JsonText(&exact))?;
            }
            is_empty = json.is_empty;
            Ok(())
        })?;
        if is_empty {
            out.truncate(start);
        }
        Ok(())
    }
}

impl<E: Encoder> Encoder for LokiEncoder<E> {
    fn framing(&self) -> Framing {
        self.framing.clone()
    }

    fn framing_of(&self, record: &dyn LogView) -> Option<Framing> {
        let source = self.origin.of_record(record);
        source.other().map(|_| self.stream(source))
    }

    fn encode(&self, record: &dyn LogView, scope: &InstrumentationScope, out: &mut Vec<u8>) -> Result<(), BoxError> {
        let mut line = Vec::new();
        self.line.encode(record, scope, &mut line)?;
        let (nanos, _) = Span::NANOS.nearest(time_or_now(record));
        out.extend_from_slice(format!("[\"{nanos}\",").as_bytes());
        write_text(out, &String::from_utf8_lossy(&line));
        if self.structured_metadata {
            self.write_metadata(record, scope, out)?;
        }
        out.push(b']');
        Ok(())
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.origin = Origin::of(resource);
        self.set_framing();
        self.line.set_resource(resource);
    }
}

/// Puts a template under a name that Loki takes.
fn set(templates: &mut Vec<(String, Template)>, name: &str, template: Template) {
    let name = label_name(name);
    templates.retain(|(other, _)| *other != name);
    templates.push((name, template));
}

fn label_name(name: &str) -> String {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut name: String = name.chars().map(|c| if is_allowed(c) { c } else { '_' }).collect();
    if !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        name.insert(0, '_');
    }
    name
}
