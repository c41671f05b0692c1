//! Frames of Python's `SocketHandler`: a pickled log record each.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry::logs::AnyValue;
use opentelemetry::{InstrumentationScope, SpanId, TraceId};
use opentelemetry_sdk::Resource;

use super::common::any_value::{is_null, write_json};
use super::common::depth;
use super::common::origin::Origin;
use super::common::template::{Rendering, Template};
use super::common::time::{micros_since, time_or_now};
use super::encoder::Encoder;
use super::view::LogView;
use crate::encode::framing::Framing;
use crate::error::BoxError;

/// The length in front of a pickle.
const LENGTH: usize = 4;

/// Encodes a record as Python's `logging.handlers.SocketHandler` sends it: a length of four bytes, and a pickle of the dictionary
/// that `logging.makeLogRecord` takes. Frames follow one another without anything between them.
///
/// Python's own receivers read it, such as the one in its logging cookbook. The pickle is of protocol 1, which every Python
/// reads, and holds nothing but texts, numbers, bytes, lists and dictionaries. Attributes that have no name in Python
/// follow under their own; one that is called as a field of Python's gets an underscore at the end. The ids of a span are
/// `otelTraceID` and `otelSpanID`, as OpenTelemetry calls them in Python. The content type is
/// `application/x-python-pickle-frames`, since there is no registered one.
///
/// # Examples
///
/// ```
/// use opentelemetry_spool::{LogExporter, PickleEncoder};
///
/// let builder = LogExporter::builder().with_encoder(PickleEncoder::default());
/// ```
#[derive(Clone, Debug)]
pub struct PickleEncoder {
    fields: Vec<(&'static str, Kind)>,
    origin: Origin,
    started: SystemTime,
}

/// How a field of Python's record is made.
#[derive(Clone, Debug)]
enum Kind {
    Text(Template),
    /// The same, but none if it is empty.
    TextOrNone(Template),
    IntOrNone(Template),
    IntOrZero(Template),
    Float(Template),
    None,
    Created,
    Millis,
}

impl Default for PickleEncoder {
    fn default() -> Self {
        let field = Template::field;
        let fields = vec![
            ("name", Kind::Text(field("name"))),
            ("msg", Kind::Text(Template::message())),
            ("args", Kind::None),
            ("levelname", Kind::Text(field("levelname"))),
            ("levelno", Kind::IntOrZero(field("levelno"))),
            ("pathname", Kind::Text(field("pathname"))),
            ("filename", Kind::Text(field("filename"))),
            ("module", Kind::Text(field("module"))),
            ("exc_info", Kind::None),
            ("exc_text", Kind::TextOrNone(field("exc_text"))),
            ("stack_info", Kind::None),
            ("lineno", Kind::IntOrZero(field("lineno"))),
            ("funcName", Kind::Text(field("funcName"))),
            ("created", Kind::Created),
            ("msecs", Kind::Millis),
            ("relativeCreated", Kind::Float(field("relativeCreated"))),
            ("thread", Kind::IntOrNone(field("thread"))),
            ("threadName", Kind::TextOrNone(field("threadName"))),
            ("processName", Kind::TextOrNone(field("processName"))),
            ("process", Kind::IntOrNone(field("process"))),
            ("taskName", Kind::None),
        ];
        Self { fields, origin: Origin::default(), started: SystemTime::now() }
    }
}

impl PickleEncoder {
    /// Names that attributes may not have: those of the fields, and two that Python's formatter sets.
    fn is_reserved(&self, name: &str) -> bool {
        ["message", "asctime"].contains(&name) || self.fields.iter().any(|(field, _)| *field == name)
    }
}

impl Encoder for PickleEncoder {
    fn framing(&self) -> Framing {
        Framing::new("application/x-python-pickle-frames", "", "", "")
    }

    fn encode(&self, record: &dyn LogView, scope: &InstrumentationScope, out: &mut Vec<u8>) -> Result<(), BoxError> {
        let micros = micros_since(UNIX_EPOCH, time_or_now(record));
        let start = out.len();
        out.extend_from_slice(&[0; LENGTH]);
        let mut rendering = Rendering::new(record, scope, &self.origin, self.started);
        let (mut pickle, mut text) = (Pickle(out), Vec::new());
        pickle.open(b'}');
        for (name, kind) in &self.fields {
            pickle.text(name)?;
            text.clear();
            if let Kind::Text(template)
            | Kind::TextOrNone(template)
            | Kind::IntOrNone(template)
            | Kind::IntOrZero(template)
            | Kind::Float(template) = kind
            {
                template.write(&mut rendering, &mut text)?;
            }
            let text = std::str::from_utf8(&text)?;
            match kind {
                Kind::TextOrNone(_) if text.is_empty() => pickle.none(),
                Kind::Text(_) | Kind::TextOrNone(_) => pickle.text(text)?,
                Kind::IntOrZero(_) => pickle.int(text.parse().unwrap_or_default()),
                Kind::IntOrNone(_) => match text.parse() {
                    Ok(number) => pickle.int(number),
                    Err(_) => pickle.none(),
                },
                Kind::Float(_) => pickle.float(text.parse().unwrap_or_default()),
                Kind::None => pickle.none(),
                Kind::Created => pickle.float(fraction(micros, 1e6)),
                Kind::Millis => pickle.float(fraction(micros.rem_euclid(1_000_000), 1e3)),
            }
        }
        for (name, value) in rendering.others() {
            if self.is_reserved(name) {
                pickle.text(&format!("{name}_"))?;
            } else {
                pickle.text(name)?;
            }
            pickle.value(value, depth::JSON)?;
        }
        if let Some(trace) = record.trace().filter(|trace| trace.trace_id != TraceId::INVALID) {
            pickle.text("otelTraceID")?;
            pickle.text(&trace.trace_id.to_string())?;
            if trace.span_id != SpanId::INVALID {
                pickle.text("otelSpanID")?;
                pickle.text(&trace.span_id.to_string())?;
            }
        }
        pickle.close(b'u');
        out.push(b'.');
        let len = u32::try_from(out.len() - start - LENGTH)?;
        out[start..start + LENGTH].copy_from_slice(&len.to_be_bytes());
        Ok(())
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.origin = Origin::of(resource);
    }
}

#[allow(clippy::cast_precision_loss, reason = "Python has no more digits either")]
fn fraction(value: i128, scale: f64) -> f64 {
    value as f64 / scale
}

/// The opcodes of protocol 1.
struct Pickle<'a>(&'a mut Vec<u8>);

impl Pickle<'_> {
    fn none(&mut self) {
        self.0.push(b'N');
    }

    fn text(&mut self, text: &str) -> Result<(), BoxError> {
        self.0.push(b'X');
        self.0.extend_from_slice(&u32::try_from(text.len())?.to_le_bytes());
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }

    fn int(&mut self, number: i64) {
        if let Ok(number) = u8::try_from(number) {
            self.0.extend_from_slice(&[b'K', number]);
        } else if let Ok(number) = i32::try_from(number) {
            self.0.push(b'J');
            self.0.extend_from_slice(&number.to_le_bytes());
        } else {
            self.0.extend_from_slice(format!("L{number}L\n").as_bytes());
        }
    }

    fn float(&mut self, number: f64) {
        self.0.push(b'G');
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    /// The start of a list or dictionary and its mark.
    fn open(&mut self, empty: u8) {
        self.0.extend_from_slice(&[empty, b'(']);
    }

    /// Puts all since the mark into the list or dictionary.
    fn close(&mut self, add: u8) {
        self.0.push(add);
    }

    /// A value with so many lists and maps inside one another; what is nested deeper is the text of its JSON.
    fn value(&mut self, value: &AnyValue, depth: usize) -> Result<(), BoxError> {
        match value {
            value if is_null(value) => self.none(),
            AnyValue::Int(number) => self.int(*number),
            AnyValue::Double(number) => self.float(*number),
            AnyValue::String(text) => self.text(text.as_str())?,
            AnyValue::Boolean(is) => self.0.extend_from_slice(if *is { b"I01\n" } else { b"I00\n" }),
            AnyValue::Bytes(bytes) => self.bytes(bytes)?,
            AnyValue::ListAny(_) | AnyValue::Map(_) if depth == 0 => {
                let mut json = Vec::new();
                write_json(value, &mut json)?;
                self.text(std::str::from_utf8(&json)?)?;
            }
            AnyValue::ListAny(items) => {
                self.open(b']');
                items.iter().try_for_each(|item| self.value(item, depth - 1))?;
                self.close(b'e');
            }
            AnyValue::Map(entries) => {
                self.open(b'}');
                entries.iter().try_for_each(|(key, value)| {
                    self.text(key.as_str())?;
                    self.value(value, depth - 1)
                })?;
                self.close(b'u');
            }
            // A kind that a later version of the API adds is better shown roughly than lost.
            other => self.text(&format!("{other:?}"))?,
        }
        Ok(())
    }

    /// Bytes, for which protocol 1 has no opcode: Python encodes a text.
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), BoxError> {
        let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
        self.0.extend_from_slice(b"c_codecs\nencode\n(");
        self.text(&text)?;
        self.text("latin1")?;
        self.0.extend_from_slice(b"tR");
        Ok(())
    }
}
