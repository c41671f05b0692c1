//! Templates: text with fields of a record.

use std::io::Write;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry::logs::AnyValue;
use opentelemetry::{InstrumentationScope, SpanId, TraceId};

use super::any_value::{is_null, write_json};
use super::attributes::{Attributes, Known};
use super::level::{python_level, sent_level};
use super::object::Object;
use super::origin::{Origin, Source};
use super::time::{Date, micros_since, seconds, time_of};
use crate::encode::view::{LogView, RecordOrigin};
use crate::error::{BoxError, TemplateError};

/// A text with fields of a record: `"{asctime} {levelname} {message}"`.
///
/// The fields have the names of Python's `logging` in its `{` style, so that a format string can be reused unchanged;
/// OpenTelemetry's names stand beside them. A field that a record does not have is empty. `{{` and `}}` are braces.
///
/// | field | |
/// |---|---|
/// | `message` | the body; compact JSON if it is not a string, nothing if it is null |
/// | `timestamp` | the record's time, else its observed time: `2021-01-11T19:24:28.365492Z`; at least the year 1, at most 9999 |
/// | `asctime` | the same as Python writes it, in UTC: `2021-01-11 19:24:28,365` |
/// | `created`, `msecs`, `relativeCreated` | seconds since 1970, exact for any time; the milliseconds among them; milliseconds since the encoder was made |
/// | `levelname`, `levelno` | the severity on Python's scale: `WARNING`, `30` |
/// | `severity_text`, `severity_number` | as OpenTelemetry has it: `WARN`, `13` |
/// | `name` | the instrumentation scope, or the target if the scope has no name |
/// | `target`, `event` | the record's target and event name |
/// | `pathname`, `filename`, `module`, `funcName`, `lineno` | the place in the code: `src/orders.rs`, `orders.rs`, `orders`, `shop::orders`, `12` |
/// | `process`, `processName` | number and name of the process |
/// | `thread`, `threadName` | number and name of the thread that logged, with [`CallerThreadProcessor`](crate::CallerThreadProcessor) |
/// | `exc_text` | the stack trace, else the exception's type and message |
/// | `trace_id`, `span_id` | in hexadecimal |
/// | `attributes` | every attribute that has no field here, as a JSON object |
/// | `attributes[NAME]`, `resource[NAME]` | one attribute, of the record or of its resource |
///
/// A record of another process ([`LogView::origin`]) has the fields of that process: `process`, `processName`, `resource[NAME]`, and
/// `levelname`, `levelno` and `relativeCreated` as it has sent them.
///
/// # Examples
///
/// ```
/// use opentelemetry_spool::Template;
///
/// let template: Template = "{asctime} {levelname} {message} {attributes[tenant]}".parse()?;
/// assert!("{asctime} {tenant}".parse::<Template>().unwrap_err().to_string().contains("no field `tenant`"));
/// # Ok::<(), opentelemetry_spool::TemplateError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(Field),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Field {
    Message,
    Timestamp,
    AscTime,
    Created,
    Millis,
    RelativeCreated,
    LevelName,
    LevelNumber,
    SeverityText,
    SeverityNumber,
    Name,
    Target,
    Event,
    Path,
    FileName,
    Module,
    Function,
    Line,
    Process,
    ProcessName,
    Thread,
    ThreadName,
    StackTrace,
    TraceId,
    SpanId,
    Attributes,
    Attribute(String),
    Resource(String),
}

const FIELDS: [(&str, Field); 26] = [
    ("message", Field::Message),
    ("timestamp", Field::Timestamp),
    ("asctime", Field::AscTime),
    ("created", Field::Created),
    ("msecs", Field::Millis),
    ("relativeCreated", Field::RelativeCreated),
    ("levelname", Field::LevelName),
    ("levelno", Field::LevelNumber),
    ("severity_text", Field::SeverityText),
    ("severity_number", Field::SeverityNumber),
    ("name", Field::Name),
    ("target", Field::Target),
    ("event", Field::Event),
    ("pathname", Field::Path),
    ("filename", Field::FileName),
    ("module", Field::Module),
    ("funcName", Field::Function),
    ("lineno", Field::Line),
    ("process", Field::Process),
    ("processName", Field::ProcessName),
    ("thread", Field::Thread),
    ("threadName", Field::ThreadName),
    ("exc_text", Field::StackTrace),
    ("trace_id", Field::TraceId),
    ("span_id", Field::SpanId),
    ("attributes", Field::Attributes),
];

impl Field {
    fn parse(name: &str) -> Option<Self> {
        let of = |list: &str| Some(name.strip_prefix(list)?.strip_prefix('[')?.strip_suffix(']')?.to_owned());
        let named = FIELDS.iter().find(|(field, _)| *field == name).map(|(_, field)| field.clone());
        named.or_else(|| of("attributes").map(Self::Attribute)).or_else(|| of("resource").map(Self::Resource))
    }
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(template: &str) -> Result<Self, TemplateError> {
        let (mut parts, mut text, mut rest) = (Vec::new(), String::new(), template);
        while let Some(at) = rest.find(['{', '}']) {
            text.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                text.push_str(brace);
                rest = after;
                continue;
            }
            let at = template.len() - rest.len() - 1;
            let (field, after) =
                rest.split_once('}').filter(|_| brace == "{").ok_or(TemplateError::Unbalanced { at })?;
            let known = || FIELDS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
            let parsed = Field::parse(field)
                .ok_or_else(|| TemplateError::UnknownField { field: field.to_owned(), known: known() })?;
            if !text.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut text)));
            }
            parts.push(Part::Field(parsed));
            rest = after;
        }
        text.push_str(rest);
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        Ok(Self(parts))
    }
}

impl From<Field> for Template {
    fn from(field: Field) -> Self {
        Self(vec![Part::Field(field)])
    }
}

impl Template {
    /// Whether the stack trace is one of its fields.
    pub(in crate::encode) fn has_stack_trace(&self) -> bool {
        self.0.contains(&Part::Field(Field::StackTrace))
    }

    /// The body alone: `{message}`.
    pub fn message() -> Self {
        Field::Message.into()
    }

    /// A template of a single field.
    pub(in crate::encode) fn field(name: &str) -> Self {
        Field::parse(name).map_or_else(|| Self(vec![Part::Text(name.to_owned())]), Self::from)
    }

    /// Text without a field.
    pub(in crate::encode) fn text(text: &str) -> Self {
        Self(vec![Part::Text(text.to_owned())])
    }

    /// The text for every record of a process, if it is the same.
    pub(in crate::encode) fn of_process(&self, source: Source<'_>) -> Option<String> {
        let mut out = Vec::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Field(Field::Resource(name)) => {
                    source.get(name).map_or(Ok(()), |value| write_value(value, &mut out)).ok()?;
                }
                Part::Field(Field::ProcessName) => {
                    out.extend_from_slice(source.process_name().unwrap_or_default().as_bytes());
                }
                Part::Field(_) => return None,
            }
        }
        Some(String::from_utf8_lossy(&out).into_owned())
    }

    /// Appends the text for a record.
    pub(in crate::encode) fn write(&self, record: &mut Rendering<'_>, out: &mut Vec<u8>) -> Result<(), BoxError> {
        self.0.iter().try_for_each(|part| match part {
            Part::Text(text) => {
                out.extend_from_slice(text.as_bytes());
                Ok(())
            }
            Part::Field(field) => record.write(field, out),
        })
    }
}

/// The record whose fields are written.
pub(in crate::encode) struct Rendering<'a> {
    record: &'a dyn LogView,
    scope: &'a InstrumentationScope,
    source: Source<'a>,
    started: SystemTime,
    pub(in crate::encode) attributes: Attributes<'a>,
}

impl<'a> Rendering<'a> {
    pub(in crate::encode) fn new(
        record: &'a dyn LogView,
        scope: &'a InstrumentationScope,
        origin: &'a Origin,
        started: SystemTime,
    ) -> Self {
        Self { record, scope, source: origin.of_record(record), started, attributes: Attributes::of(record) }
    }

    fn write(&mut self, field: &Field, out: &mut Vec<u8>) -> Result<(), BoxError> {
        let (record, level) = (self.record, python_level(self.record.severity_number()));
        if let Some(result) = self.source.other().and_then(|other| write_sent(field, record, other, out)) {
            return result;
        }
        let text: &str = match field {
            Field::Message => return record.body().map_or(Ok(()), |body| write_value(body, out)),
            Field::Attribute(name) => {
                return self.attributes.last(name).map_or(Ok(()), |value| write_value(value, out));
            }
            Field::Resource(name) => return self.source.get(name).map_or(Ok(()), |value| write_value(value, out)),
            Field::Attributes => return self.write_attributes(out),
            Field::Timestamp | Field::AscTime | Field::Created | Field::Millis | Field::RelativeCreated => {
                return time_of(record).map_or(Ok(()), |time| write_time(field, time, self.started, out));
            }
            Field::LevelNumber => return number(out, level.number),
            Field::SeverityNumber => {
                return record.severity_number().map_or(Ok(()), |number_of| number(out, number_of as u8));
            }
            Field::Line => {
                return self.attributes.int(&[Known::Line, Known::OldLine]).map_or(Ok(()), |line| number(out, line));
            }
            Field::Thread => return self.attributes.int(&[Known::ThreadId]).map_or(Ok(()), |id| number(out, id)),
            Field::Process => return self.source.process_id().map_or(Ok(()), |id| number(out, id)),
            Field::StackTrace => {
                return self.attributes.stack_trace().map_or(Ok(()), |trace| Ok(write!(out, "{trace}")?));
            }
            Field::TraceId | Field::SpanId => return self.write_id(field, out),
            Field::LevelName => level.name,
            Field::SeverityText => record
                .severity_text()
                .or_else(|| record.severity_number().map(|severity| severity.name()))
                .unwrap_or_default(),
            // `tracing` gives every record the same scope, without a name.
            Field::Name if self.scope.name().is_empty() => record.target().unwrap_or_default(),
            Field::Name => self.scope.name(),
            Field::Target => record.target().unwrap_or_default(),
            Field::Event => record.event_name().unwrap_or_default(),
            Field::Path => self.attributes.path().unwrap_or_default(),
            Field::FileName => file_name(self.attributes.path().unwrap_or_default()),
            Field::Module => {
                let name = file_name(self.attributes.path().unwrap_or_default());
                name.rsplit_once('.').map_or(name, |(module, _)| module)
            }
            Field::Function => {
                self.attributes.text(&[Known::Function, Known::OldFunction, Known::Namespace]).unwrap_or_default()
            }
            Field::ProcessName => self.source.process_name().unwrap_or_default(),
            Field::ThreadName => self.attributes.text(&[Known::ThreadName]).unwrap_or_default(),
        };
        out.extend_from_slice(text.as_bytes());
        Ok(())
    }

    /// Every attribute without a field of its own.
    pub(in crate::encode) fn others(&self) -> impl Iterator<Item = (&'a str, &'a AnyValue)> {
        let others = self.attributes.last_of_each().filter(|(key, _)| Known::of(key).is_none());
        others.map(|(key, value)| (key.as_str(), value))
    }

    fn write_attributes(&self, out: &mut Vec<u8>) -> Result<(), BoxError> {
        let mut others = self.others().peekable();
        if others.peek().is_none() {
            return Ok(());
        }
        Object::write(out, |json| {
            others.try_for_each(|(key, value)| {
                json.any_key(key);
                Ok(write_json(value, json.out)?)
            })
        })
    }

    fn write_id(&self, field: &Field, out: &mut Vec<u8>) -> Result<(), BoxError> {
        let Some(trace) = self.record.trace() else { return Ok(()) };
        match field {
            Field::TraceId if trace.trace_id != TraceId::INVALID => write!(out, "{}", trace.trace_id)?,
            Field::SpanId if trace.span_id != SpanId::INVALID => write!(out, "{}", trace.span_id)?,
            _ => {}
        }
        Ok(())
    }
}

fn number(out: &mut Vec<u8>, number: impl std::fmt::Display) -> Result<(), BoxError> {
    Ok(write!(out, "{number}")?)
}

fn file_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

/// A field as another process has sent it; `None` if it has sent no such one, and the record says what it is.
#[cold]
fn write_sent(
    field: &Field,
    record: &dyn LogView,
    other: &RecordOrigin,
    out: &mut Vec<u8>,
) -> Option<Result<(), BoxError>> {
    match field {
        Field::LevelNumber => Some(number(out, other.level?)),
        Field::LevelName => {
            out.extend_from_slice(sent_level(record.severity_text(), other)?.1.as_bytes());
            Some(Ok(()))
        }
        Field::RelativeCreated => {
            let millis = other.relative_created.filter(|millis| millis.is_finite());
            // With a decimal, as Python and JSON have it.
            Some(millis.map_or(Ok(()), |millis| number(out, format_args!("{millis:?}"))))
        }
        _ => None,
    }
}

/// A string as it is, nothing for the value that stands for none, anything else as compact JSON.
pub(in crate::encode) fn write_value(value: &AnyValue, out: &mut Vec<u8>) -> Result<(), BoxError> {
    match value {
        AnyValue::String(text) => out.extend_from_slice(text.as_str().as_bytes()),
        value if is_null(value) => {}
        value => write_json(value, out)?,
    }
    Ok(())
}

fn write_time(field: &Field, time: SystemTime, started: SystemTime, out: &mut Vec<u8>) -> Result<(), BoxError> {
    match field {
        Field::Created => write!(out, "{}", seconds(micros_since(UNIX_EPOCH, time), 1_000_000, 6))?,
        Field::RelativeCreated => write!(out, "{}", seconds(micros_since(started, time), 1000, 3))?,
        field => {
            let Date { year, month, day, hour, minute, second, micros } = Date::of(time);
            match field {
                Field::Timestamp => {
                    write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")?;
                }
                Field::AscTime => {
                    let millis = micros / 1000;
                    write!(out, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02},{millis:03}")?;
                }
                _ => write!(out, "{}", micros / 1000)?,
            }
        }
    }
    Ok(())
}
