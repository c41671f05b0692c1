//! Lines of text.

use std::io::Write as _;
use std::time::SystemTime;

use opentelemetry::InstrumentationScope;
use opentelemetry_sdk::Resource;

use super::common::origin::Origin;
use super::common::template::{Rendering, Template};
use super::encoder::Encoder;
use super::view::LogView;
use crate::encode::framing::Framing;
use crate::error::{BoxError, TemplateError};

/// Encodes a record as text from a [`Template`], and a batch as lines: `text/plain; charset=utf-8`.
///
/// A record whose message has several lines is written in several lines, unless
/// [`with_escaped_newlines`](Self::with_escaped_newlines) is on.
///
/// # Examples
///
/// ```
/// use opentelemetry_spool::{LogExporter, TextEncoder};
///
/// let builder = LogExporter::builder().with_encoder(TextEncoder::new("{asctime} {levelname} {name}: {message}")?);
/// # Ok::<(), opentelemetry_spool::TemplateError>(())
/// ```
#[derive(Clone, Debug)]
pub struct TextEncoder {
    template: Template,
    framing: Framing,
    escaped_newlines: bool,
    traces_below: bool,
    origin: Origin,
    started: SystemTime,
}

impl TextEncoder {
    /// An encoder whose lines `template` describes.
    ///
    /// # Errors
    ///
    /// [`TemplateError`] if the template names a field that does not exist or has an unbalanced brace.
    pub fn new(template: &str) -> Result<Self, TemplateError> {
        Ok(Self::of(template.parse()?))
    }

    pub(crate) fn of(template: Template) -> Self {
        Self {
            template,
            framing: Framing::new("text/plain; charset=utf-8", "", "\n", ""),
            escaped_newlines: false,
            traces_below: false,
            origin: Origin::default(),
            started: SystemTime::now(),
        }
    }

    /// Sets the framing. Default: lines, as `text/plain; charset=utf-8`.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::{Framing, TextEncoder};
    ///
    /// // Only the message, each in a request of its own.
    /// let encoder = TextEncoder::new("{message}")?.with_framing(Framing::single("text/plain; charset=utf-8"));
    /// # Ok::<(), opentelemetry_spool::TemplateError>(())
    /// ```
    pub fn with_framing(mut self, framing: Framing) -> Self {
        self.framing = framing;
        self
    }

    /// Sets whether every record is a single line: line feeds and carriage returns become `\n` and `\r`. Default: `false`.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::TextEncoder;
    ///
    /// let encoder = TextEncoder::new("{message}")?.with_escaped_newlines(true);
    /// # Ok::<(), opentelemetry_spool::TemplateError>(())
    /// ```
    pub fn with_escaped_newlines(mut self, escaped: bool) -> Self {
        self.escaped_newlines = escaped;
        self
    }

    /// Sets whether the stack trace of a record follows below its text, as Python's formatters have it. Default: `false`. A trace that
    /// the template has is not repeated.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::TextEncoder;
    ///
    /// let encoder = TextEncoder::new("{asctime} {message}")?.with_traces_below(true);
    /// # Ok::<(), opentelemetry_spool::TemplateError>(())
    /// ```
    pub fn with_traces_below(mut self, below: bool) -> Self {
        self.traces_below = below;
        self
    }
}

impl Encoder for TextEncoder {
    fn framing(&self) -> Framing {
        self.framing.clone()
    }

    fn encode(&self, record: &dyn LogView, scope: &InstrumentationScope, out: &mut Vec<u8>) -> Result<(), BoxError> {
        let start = out.len();
        let mut rendering = Rendering::new(record, scope, &self.origin, self.started);
        self.template.write(&mut rendering, out)?;
        let below = self.traces_below && !self.template.has_stack_trace();
        if below && let Some(trace) = rendering.attributes.stack_trace() {
            write!(out, "\n{trace}")?;
        }
        if self.escaped_newlines && out[start..].iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
            for byte in out.split_off(start) {
                match byte {
                    b'\n' => out.extend_from_slice(b"\\n"),
                    b'\r' => out.extend_from_slice(b"\\r"),
                    byte => out.push(byte),
                }
            }
        }
        Ok(())
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.origin = Origin::of(resource);
    }
}
