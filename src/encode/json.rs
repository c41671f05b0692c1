//! The default wire format: one JSON object per record, in the schema of the Python package `http-logging`.

use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry::logs::{AnyValue, Severity};
use opentelemetry::{InstrumentationScope, Key, SpanId, TraceId};
use opentelemetry_sdk::Resource;

use super::common::any_value::{JsonText, JsonValue, is_null};
use super::common::attributes::{Attributes, Known};
use super::common::depth;
use super::common::level::{python_level, sent_level};
use super::common::object::{Object, write_text};
use super::common::origin::{Origin, Source};
use super::common::time::{micros_since, time_of};
use super::encoder::Encoder;
use super::view::{LogView, TraceIds};
use crate::encode::framing::Framing;
use crate::error::BoxError;

/// The keys of the schema, in either spelling, which [`JsonEncoder::with_extra_key`] may not use.
pub(crate) const RESERVED_KEYS: [&str; 16] = [
    "type",
    "created",
    "relative_created",
    "message",
    "level",
    "sourcecode",
    "source_code",
    "process",
    "thread",
    "stack_trace",
    "tags",
    "logger",
    "target",
    "event",
    "trace",
    "resource",
];

/// The numbers and names that [`JsonEncoder`] gives to severities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LevelScale {
    /// The scale of Python's `logging`: `TRACE` 5, `DEBUG` 10, `INFO` 20, `WARNING` 30, `ERROR` 40, `CRITICAL` 50;
    /// `NOTSET` 0 for a record without a severity number. This is the default.
    #[default]
    Python,
    /// OpenTelemetry's scale: the severity number, 1 to 24, and the severity text, or the number's short name where
    /// there is no text. Without a severity number it is 0, and without both the name is null.
    OpenTelemetry,
}

/// The spelling of the key under which [`JsonEncoder`] writes the place in the code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SourceCodeKey {
    /// `sourcecode`, as `http-logging` documents it. This is the default.
    #[default]
    Joined,
    /// `source_code`, as `http-logging` sends it.
    Underscored,
}

impl SourceCodeKey {
    fn as_str(self) -> &'static str {
        match self {
            Self::Joined => "sourcecode",
            Self::Underscored => "source_code",
        }
    }
}

/// Encodes a record as one JSON object, and a batch as one JSON array. It is the default encoder.
///
/// Every record has these keys, in this order; an unknown value is null:
///
/// ```json
/// {"type": "async-http-logging", "created": 1610393068.365492, "relative_created": 1505.512,
///  "message": "Some useful information...", "level": {"number": 20, "name": "INFO"},
///  "sourcecode": {"pathname": "/srv/app/main.rs", "function": "app::main", "line": 123},
///  "process": {"id": 1234, "name": "checkout"}, "thread": {"id": 7, "name": "main"}}
/// ```
///
/// | key | value |
/// |---|---|
/// | `created` | the record's time, else when it was observed: seconds since 1970, to the microsecond |
/// | `relative_created` | the same in milliseconds since the encoder was made |
/// | `message` | the body; empty if there is none |
/// | `level` | the severity, on the scale of [`with_level_scale`](Self::with_level_scale) |
/// | `sourcecode` | the attributes `code.file.path`, `code.function.name` (else `code.namespace`) and `code.line.number`, or their older names |
/// | `process` | the resource's `process.pid`, else the real one; its `process.executable.name`, else `service.name`, else the executable's file name |
/// | `thread` | the attributes `thread.id` and `thread.name` |
///
/// These keys follow if they have a value:
///
/// | key | value |
/// |---|---|
/// | `stack_trace` | `exception.stacktrace`, else `exception.type` and `exception.message`, as text |
/// | `tags` | the list of [`with_tags`](Self::with_tags) |
/// | `extra` | every attribute that is not used for another key, an object |
/// | `logger` | the name of the instrumentation scope |
/// | `target` | the target of the record |
/// | `event` | the name of the event, unless `tracing` made it up from file and line |
/// | `trace` | `trace_id` and `span_id` in hexadecimal, `flags` as a number |
/// | `resource` | the attributes of the resource, if [`with_resource`](Self::with_resource) is on |
///
/// A record of another process ([`LogView::origin`]) has what that one has sent, never what this process is:
///
/// | key | value |
/// |---|---|
/// | `relative_created` | as it was sent, else null |
/// | `level` | on Python's scale the number and the name that were sent, such as 17 and `Level 17`; without a number, the severity as above |
/// | `process` | the id and name that were sent; else what the record's own resource says, as above; else null |
/// | `resource` | the record's, and of this process's resource what the record's leaves open, unless it is [complete](crate::RecordOrigin::resource_is_complete) |
///
/// Any record yields valid JSON without duplicate keys:
///
/// - The last of several attributes with the same name wins.
/// - An attribute such as `code.line.number` whose value is of an unexpected type stays in `extra`.
/// - The floats that JSON does not know become the strings `"NaN"`, `"Infinity"` and `"-Infinity"`; bytes become
///   Base64, with the standard alphabet and padded.
/// - A body that is not a string becomes the text of its JSON. A null that another process has sent is null in `extra` and `resource`, however
///   deep in a list or map, and an empty `message`.
/// - A list or map nested deeper than [`with_max_depth`](Self::with_max_depth) becomes the text of its JSON.
///
/// # Examples
///
/// ```
/// use opentelemetry_spool::{JsonEncoder, LevelScale};
///
/// let encoder = JsonEncoder::default()
///     .with_message_type("checkout-log")
///     .with_level_scale(LevelScale::OpenTelemetry)
///     .with_extra_fields([("datacenter", "fra1")]);
/// ```
#[derive(Clone, Debug)]
pub struct JsonEncoder {
    message_type: String,
    level_scale: LevelScale,
    source_code_key: SourceCodeKey,
    /// As `http-logging` has it: `stack_trace` in every record, before `source_code`, empty if there is none.
    always_stack_trace: bool,
    tags: Vec<String>,
    extra_key: String,
    extra_fields: Vec<(Key, AnyValue)>,
    with_resource: bool,
    max_depth: usize,
    started: SystemTime,
    framing: Framing,
    origin: Origin,
    /// The object made of the process, the same for every record. Made once: an exporter does not outlive a fork.
    process: OnceLock<Vec<u8>>,
}

impl Default for JsonEncoder {
    fn default() -> Self {
        Self {
            message_type: "async-http-logging".to_owned(),
            level_scale: LevelScale::default(),
            source_code_key: SourceCodeKey::default(),
            always_stack_trace: false,
            tags: Vec::new(),
            extra_key: "extra".to_owned(),
            extra_fields: Vec::new(),
            with_resource: false,
            max_depth: depth::JSON,
            started: SystemTime::now(),
            framing: Framing::json_array(),
            origin: Origin::default(),
            process: OnceLock::new(),
        }
    }
}

impl JsonEncoder {
    /// An encoder that writes the records that version 2.0.0 of the Python package `http-logging` sends. They differ from
    /// its documentation: the type is `async-http-log`, the place in the code is under `source_code`, and every record
    /// has a `stack_trace` after its `level`, which is an empty string if there is none.
    ///
    /// Keys that the package does not have, such as `logger` and `trace`, follow. Level 5 is called `TRACE`, not
    /// `Level 5`.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::JsonEncoder;
    ///
    /// let encoder = JsonEncoder::http_logging_2();
    /// ```
    pub fn http_logging_2() -> Self {
        Self {
            message_type: "async-http-log".to_owned(),
            source_code_key: SourceCodeKey::Underscored,
            always_stack_trace: true,
            ..Self::default()
        }
    }

    /// Sets the value of `type`. The default is `async-http-logging`.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::JsonEncoder;
    ///
    /// let encoder = JsonEncoder::default().with_message_type("checkout-log");
    /// ```
    pub fn with_message_type(mut self, message_type: impl Into<String>) -> Self {
        self.message_type = message_type.into();
        self
    }

    /// Sets the scale of `level`. The default is [`LevelScale::Python`].
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::{JsonEncoder, LevelScale};
    ///
    /// let encoder = JsonEncoder::default().with_level_scale(LevelScale::OpenTelemetry);
    /// ```
    pub fn with_level_scale(mut self, level_scale: LevelScale) -> Self {
        self.level_scale = level_scale;
        self
    }

    /// Sets the spelling of the key of the place in the code. The default is [`SourceCodeKey::Joined`],
    /// `sourcecode`.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::{JsonEncoder, SourceCodeKey};
    ///
    /// let encoder = JsonEncoder::default().with_source_code_key(SourceCodeKey::Underscored);
    /// ```
    pub fn with_source_code_key(mut self, source_code_key: SourceCodeKey) -> Self {
        self.source_code_key = source_code_key;
        self
    }

    /// Adds fields to the `extra` of every record. Default: none.
    ///
    /// An attribute of the record replaces a field with its name, and a later field replaces an earlier one.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::JsonEncoder;
    ///
    /// let encoder = JsonEncoder::default()
    ///     .with_extra_fields([("datacenter", "fra1"), ("stage", "live")])
    ///     .with_extra_fields([("shard", 7)]);
    /// ```
    pub fn with_extra_fields<K, V>(mut self, fields: impl IntoIterator<Item = (K, V)>) -> Self
    where
        K: Into<Key>,
        V: Into<AnyValue>,
    {
        for (key, value) in fields {
            let key = key.into();
            self.extra_fields.retain(|(other, _)| *other != key);
            self.extra_fields.push((key, value.into()));
        }
        self
    }

    /// Sets the name of the object that holds the attributes. The default is `extra`.
    ///
    /// A name that the schema uses itself gets an underscore at the end, so that neither value hides the other: `level`
    /// becomes `level_`.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::JsonEncoder;
    ///
    /// let encoder = JsonEncoder::default().with_extra_key("attributes");
    /// ```
    pub fn with_extra_key(mut self, extra_key: impl Into<String>) -> Self {
        self.extra_key = extra_key.into();
        if RESERVED_KEYS.contains(&self.extra_key.as_str()) {
            self.extra_key.push('_');
        }
        self
    }

    /// Sets the list under `tags`. Default: none, and the key is left out.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::JsonEncoder;
    ///
    /// let encoder = JsonEncoder::default().with_tags(["checkout", "live"]);
    /// ```
    pub fn with_tags(mut self, tags: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.tags = tags.into_iter().map(Into::into).collect();
        self
    }

    /// Sets whether every record has the attributes of the resource under `resource`. Default: `false`, since they are the
    /// same in every record of a process.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::JsonEncoder;
    ///
    /// let encoder = JsonEncoder::default().with_resource(true);
    /// ```
    pub fn with_resource(mut self, with_resource: bool) -> Self {
        self.with_resource = with_resource;
        self
    }

    /// Sets the depth to which lists and maps of one value are nested. Default: 60; at most 256.
    ///
    /// A list or map that is nested deeper becomes a string, the text of its JSON; with zero, every list and map does. Many JSON
    /// parsers read 64 levels, including the three around an attribute.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::JsonEncoder;
    ///
    /// let encoder = JsonEncoder::default().with_max_depth(8);
    /// ```
    pub fn with_max_depth(mut self, max_depth: usize) -> Self {
        self.max_depth = max_depth.min(depth::JSON_AT_MOST);
        self
    }

    /// Sets the framing. Default: [`Framing::json_array`].
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::{Encoder, Framing, JsonEncoder};
    ///
    /// let lines = JsonEncoder::default().with_framing(Framing::ndjson());
    /// assert_eq!(lines.framing().content_type(), "application/x-ndjson");
    /// ```
    pub fn with_framing(mut self, framing: Framing) -> Self {
        self.framing = framing;
        self
    }

    fn write_record(
        &self,
        record: &dyn LogView,
        scope: &InstrumentationScope,
        json: &mut Object<'_>,
    ) -> Result<(), BoxError> {
        let mut attributes = Attributes::of(record);
        let stack_trace = attributes.stack_trace();
        let source = self.origin.of_record(record);

        json.text("type", Some(&self.message_type))?;
        let time = time_of(record);
        json.decimal("created", time.map(|time| micros_since(UNIX_EPOCH, time)), 6)?;
        match source.other() {
            None => json.decimal("relative_created", time.map(|time| micros_since(self.started, time)), 3)?,
            Some(other) => {
                json.member("relative_created", other.relative_created.filter(|millis| millis.is_finite()))?;
            }
        }
        match record.body() {
            Some(AnyValue::String(body)) => json.text("message", Some(body.as_str()))?,
            Some(body) if !is_null(body) => json.member("message", JsonText(body))?,
            _ => json.text("message", Some(""))?,
        }
        match (self.level_scale, source.other().and_then(|other| sent_level(record, other))) {
            (LevelScale::Python, Some((number, name))) => json.object("level", |level| {
                level.member("number", number)?;
                level.text("name", Some(&name))
            })?,
            (LevelScale::Python, None) => json.raw("level", python_level(record.severity_number()).json.as_bytes()),
            (LevelScale::OpenTelemetry, _) => json.object("level", |level| {
                let severity = record.severity_number();
                level.member("number", severity.map_or(0, |severity| severity as u8))?;
                level.text("name", record.severity_text().or(severity.as_ref().map(Severity::name)))
            })?,
        }
        if self.always_stack_trace {
            json.member("stack_trace", stack_trace.unwrap_or_default())?;
        }
        json.object(self.source_code_key.as_str(), |code| {
            code.text("pathname", attributes.path())?;
            code.text("function", attributes.text(&[Known::Function, Known::OldFunction, Known::Namespace]))?;
            code.member("line", attributes.int(&[Known::Line, Known::OldLine]))
        })?;
        match source.other() {
            None => json.raw("process", self.process.get_or_init(|| process_object(source))),
            Some(_) => json.object("process", |process| write_process(source, process))?,
        }
        json.object("thread", |thread| {
            thread.member("id", attributes.int(&[Known::ThreadId]))?;
            thread.text("name", attributes.text(&[Known::ThreadName]))
        })?;

        if let Some(stack_trace) = stack_trace.filter(|_| !self.always_stack_trace) {
            json.member("stack_trace", stack_trace)?;
        }
        if !self.tags.is_empty() {
            json.member("tags", &self.tags)?;
        }
        let fixed = pairs(&self.extra_fields).filter(|(key, _)| !attributes.in_rest(key));
        self.write_attributes(json, &self.extra_key, fixed.chain(attributes.rest()))?;
        if !scope.name().is_empty() {
            json.text("logger", Some(scope.name()))?;
        }
        if let Some(target) = record.target().filter(|target| !target.is_empty()) {
            json.text("target", Some(target))?;
        }
        if let Some(event) = record.event_name().filter(|event| !event.is_empty() && !is_place(event)) {
            json.text("event", Some(event))?;
        }
        if let Some(trace) = record.trace().filter(|trace| trace.trace_id != TraceId::INVALID) {
            json.object("trace", |json| write_trace(trace, json))?;
        }
        if self.with_resource {
            self.write_attributes(json, "resource", source.resource())?;
        }
        Ok(())
    }

    /// Writes an object of attributes with different names, unless there are none.
    fn write_attributes<'a>(
        &self,
        json: &mut Object<'_>,
        key: &str,
        attributes: impl Iterator<Item = (&'a Key, &'a AnyValue)>,
    ) -> Result<(), BoxError> {
        let mut attributes = attributes.peekable();
        if attributes.peek().is_none() {
            return Ok(());
        }
        json.any_key(key)?;
        Object::write(json.out, |json| {
            attributes.try_for_each(|(key, value)| {
                json.any_key(key.as_str())?;
                match value {
                    AnyValue::String(text) => write_text(json.out, text.as_str()),
                    value => json.value(self.value(value)),
                }
            })
        })
    }

    /// The same with at most this depth.
    pub(super) fn no_deeper_than(self, depth: usize) -> Self {
        let max_depth = self.max_depth.min(depth);
        self.with_max_depth(max_depth)
    }

    fn value<'a>(&self, value: &'a AnyValue) -> JsonValue<'a> {
        JsonValue { value, depth: self.max_depth }
    }
}

impl Encoder for JsonEncoder {
    fn framing(&self) -> Framing {
        self.framing.clone()
    }

    fn encode(&self, record: &dyn LogView, scope: &InstrumentationScope, out: &mut Vec<u8>) -> Result<(), BoxError> {
        Object::write(out, |json| self.write_record(record, scope, json))
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.origin = Origin::of(resource);
        self.process = OnceLock::new();
    }
}

/// The object made of a process.
fn process_object(source: Source<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    let _ = Object::write(&mut out, |process| write_process(source, process));
    out
}

fn write_process(source: Source<'_>, process: &mut Object<'_>) -> Result<(), BoxError> {
    process.member("id", source.process_id())?;
    process.text("name", source.process_name())
}

fn pairs(attributes: &[(Key, AnyValue)]) -> impl Iterator<Item = (&Key, &AnyValue)> {
    attributes.iter().map(|(key, value)| (key, value))
}

/// Whether `tracing` made the name of an event up: `event src/main.rs:12`.
fn is_place(event: &str) -> bool {
    let line = event.strip_prefix("event ").and_then(|place| place.rsplit_once(':')).map(|(_, line)| line);
    line.is_some_and(|line| !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_digit()))
}

fn write_trace(trace: TraceIds, json: &mut Object<'_>) -> Result<(), BoxError> {
    json.hex("trace_id", trace.trace_id.to_bytes());
    if trace.span_id == SpanId::INVALID {
        json.member("span_id", ())?;
    } else {
        json.hex("span_id", trace.span_id.to_bytes());
    }
    json.member("flags", trace.flags.map(opentelemetry::TraceFlags::to_u8))
}
