//! The push API of Loki.

use std::time::SystemTime;

use opentelemetry::InstrumentationScope;
use opentelemetry_sdk::Resource;

use super::common::object::{Object, write_text};
use super::common::origin::Origin;
use super::common::template::{Rendering, Template};
use super::common::time::{Span, time_or_now};
use super::encoder::Encoder;
use super::json::JsonEncoder;
use super::view::LogView;
use crate::encode::framing::Framing;
use crate::error::{BoxError, TemplateError};

/// Encodes records for Loki's push API, `/loki/api/v1/push`.
///
/// Another encoder writes the line, by default [`JsonEncoder`], whose lines LogQL parses with `| json`. The labels are
/// `service_name`, from the resource, and `level`; templates add further ones. Keep them few: every combination is a stream
/// of its own. A label with an empty value is left out.
///
/// Loki identifies a line of a stream by its time and text, so a line that is sent twice is stored once.
///
/// # Examples
///
/// ```
/// use opentelemetry_spool::{LogExporter, LokiEncoder, TextEncoder};
///
/// let encoder = LokiEncoder::new(TextEncoder::new("{target}: {message}")?)
///     .with_label("environment", "{resource[deployment.environment.name]}")?;
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
    origin: Origin,
    started: SystemTime,
}

impl Default for LokiEncoder {
    fn default() -> Self {
        Self::new(JsonEncoder::default())
    }
}

impl<E: Encoder> LokiEncoder<E> {
    /// An encoder whose lines `line` writes.
    pub fn new(line: E) -> Self {
        let service = Template::field("resource[service.name]");
        let labels = vec![("service_name".to_owned(), service), ("level".to_owned(), Template::field("levelname"))];
        Self { line, labels, origin: Origin::default(), started: SystemTime::now() }
    }

    /// Adds a label, or replaces the one with the same name. A character that a label's name may not have becomes an
    /// underscore.
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
    /// let encoder = LokiEncoder::default().with_label("host", "{resource[host.name]}")?;
    /// # Ok::<(), opentelemetry_spool::TemplateError>(())
    /// ```
    pub fn with_label(mut self, name: &str, template: &str) -> Result<Self, TemplateError> {
        let mut name: String =
            name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
        if !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            name.insert(0, '_');
        }
        self.labels.retain(|(other, _)| *other != name);
        self.labels.push((name, template.parse()?));
        Ok(self)
    }
}

impl<E: Encoder> Encoder for LokiEncoder<E> {
    fn framing(&self) -> Framing {
        Framing::new("application/json", "{\"streams\":[", ",", "]}")
    }

    fn encode(&self, record: &dyn LogView, scope: &InstrumentationScope, out: &mut Vec<u8>) -> Result<(), BoxError> {
        let mut text = Vec::new();
        Object::write(out, |json| {
            json.object("stream", |labels| {
                let mut rendering = Rendering::new(record, scope, &self.origin, self.started);
                for (name, template) in &self.labels {
                    text.clear();
                    template.write(&mut rendering, &mut text)?;
                    if !text.is_empty() {
                        labels.any_key(name)?;
                        write_text(labels.out, &String::from_utf8_lossy(&text))?;
                    }
                }
                Ok(())
            })?;
            text.clear();
            self.line.encode(record, scope, &mut text)?;
            let (nanos, _) = Span::NANOS.nearest(time_or_now(record));
            json.member("values", [[nanos.to_string().into(), String::from_utf8_lossy(&text)]])
        })
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.origin = Origin::of(resource);
        self.line.set_resource(resource);
    }
}
