//! HTML forms, one record per request.

use std::time::SystemTime;

use opentelemetry::InstrumentationScope;
use opentelemetry_sdk::Resource;

use super::common::origin::Origin;
use super::common::template::{Rendering, Template, write_value};
use super::encoder::Encoder;
use super::view::LogView;
use crate::encode::framing::{FORM, Framing};
use crate::error::{BoxError, TemplateError};

/// Encodes a record as the fields of an HTML form, one record per request: `application/x-www-form-urlencoded`.
///
/// With [`with_method`](crate::LogExporterBuilder::with_method)`(Method::Get)` the fields are the query of the URL. Requests
/// keep the order of the records, unless [`with_max_in_flight`](crate::LogExporterBuilder::with_max_in_flight) allows several
/// in flight.
///
/// # Examples
///
/// ```
/// use opentelemetry_spool::{FormEncoder, LogExporter, Method};
///
/// // GET /ingest?log=order+taken&level=INFO
/// let form = FormEncoder::new().with_field("log", "{message}")?.with_field("level", "{levelname}")?;
/// let builder = LogExporter::builder().with_encoder(form).with_method(Method::Get);
/// # Ok::<(), opentelemetry_spool::TemplateError>(())
/// ```
#[derive(Clone, Debug)]
pub struct FormEncoder {
    fields: Vec<(String, Template)>,
    attributes: bool,
    origin: Origin,
    started: SystemTime,
}

impl Default for FormEncoder {
    fn default() -> Self {
        Self { fields: Vec::new(), attributes: false, origin: Origin::default(), started: SystemTime::now() }
    }
}

impl FormEncoder {
    /// A form of one field.
    pub(crate) fn of(name: &str, template: Template) -> Self {
        Self { fields: vec![(name.to_owned(), template)], ..Self::default() }
    }

    /// A form without a field.
    pub fn new() -> Self {
        Self::default()
    }

    /// The form that Python's `logging.handlers.HTTPHandler` sends: its fields in its order, and every attribute as a field
    /// of its own.
    ///
    /// Fields that exist in Python only have the value of a record without them: `args` is `()`, and `exc_info`,
    /// `stack_info` and `taskName` are `None`.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::{FormEncoder, LogExporter};
    ///
    /// let builder = LogExporter::builder().with_encoder(FormEncoder::http_handler());
    /// ```
    pub fn http_handler() -> Self {
        let fields = [
            ("name", Template::field("name")),
            ("msg", Template::message()),
            ("args", Template::text("()")),
            ("levelname", Template::field("levelname")),
            ("levelno", Template::field("levelno")),
            ("pathname", Template::field("pathname")),
            ("filename", Template::field("filename")),
            ("module", Template::field("module")),
            ("exc_info", Template::text("None")),
            ("exc_text", Template::field("exc_text")),
            ("stack_info", Template::text("None")),
            ("lineno", Template::field("lineno")),
            ("funcName", Template::field("funcName")),
            ("created", Template::field("created")),
            ("msecs", Template::field("msecs")),
            ("relativeCreated", Template::field("relativeCreated")),
            ("thread", Template::field("thread")),
            ("threadName", Template::field("threadName")),
            ("processName", Template::field("processName")),
            ("process", Template::field("process")),
            ("taskName", Template::text("None")),
        ];
        let fields = fields.into_iter().map(|(name, template)| (name.to_owned(), template)).collect();
        Self { fields, attributes: true, ..Self::default() }
    }

    /// Adds a field behind the others.
    ///
    /// # Errors
    ///
    /// [`TemplateError`] if the template names a field that does not exist or has an unbalanced brace.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::FormEncoder;
    ///
    /// let form = FormEncoder::new().with_field("text", "{levelname} {message}")?;
    /// # Ok::<(), opentelemetry_spool::TemplateError>(())
    /// ```
    pub fn with_field(mut self, name: impl Into<String>, template: &str) -> Result<Self, TemplateError> {
        self.fields.push((name.into(), template.parse()?));
        Ok(self)
    }

    /// Sets whether every attribute becomes a field as well, behind the others. Default: `false`.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::FormEncoder;
    ///
    /// let form = FormEncoder::new().with_field("msg", "{message}")?.with_attributes(true);
    /// # Ok::<(), opentelemetry_spool::TemplateError>(())
    /// ```
    pub fn with_attributes(mut self, attributes: bool) -> Self {
        self.attributes = attributes;
        self
    }
}

/// `name=value`, after an ampersand if it is not the first.
fn write_field(name: &[u8], value: &[u8], start: usize, out: &mut Vec<u8>) {
    if out.len() > start {
        out.push(b'&');
    }
    for (text, end) in [(name, &b"="[..]), (value, b"")] {
        for piece in form_urlencoded::byte_serialize(text) {
            out.extend_from_slice(piece.as_bytes());
        }
        out.extend_from_slice(end);
    }
}

impl Encoder for FormEncoder {
    fn framing(&self) -> Framing {
        Framing::single(FORM)
    }

    fn encode(&self, record: &dyn LogView, scope: &InstrumentationScope, out: &mut Vec<u8>) -> Result<(), BoxError> {
        let mut record = Rendering::new(record, scope, &self.origin, self.started);
        let (start, mut value) = (out.len(), Vec::new());
        for (name, template) in &self.fields {
            value.clear();
            template.write(&mut record, &mut value)?;
            write_field(name.as_bytes(), &value, start, out);
        }
        if self.attributes {
            for (name, attribute) in record.others() {
                value.clear();
                write_value(attribute, &mut value)?;
                write_field(name.as_bytes(), &value, start, out);
            }
        }
        Ok(())
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.origin = Origin::of(resource);
    }
}
