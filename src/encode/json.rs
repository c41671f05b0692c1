//! The default wire format: one JSON object per record, in the schema of the Python package `http-logging`.

use std::sync::OnceLock;
use std::time::SystemTime;

use opentelemetry::logs::{AnyValue, Severity};
use opentelemetry::{InstrumentationScope, Key, SpanId, TraceId};
use opentelemetry_sdk::Resource;

use super::common::any_value::{JsonText, is_null, write_value};
use super::common::attributes::{Attributes, Known};
use super::common::depth;
use super::common::level::{python_level, sent_level};
use super::common::number::{write_decimal, write_integer};
use super::common::origin::{Origin, Source};
use super::common::string::{write_between, write_hex, write_text};
use super::common::time::{micros, nanos_since_epoch, time_of};
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
    /// The start of the object.
    fn open(self) -> &'static str {
        match self {
            Self::Joined => r#","sourcecode":{"pathname":"#,
            Self::Underscored => r#","source_code":{"pathname":"#,
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
    /// The start of every record: its type, and the key of its time.
    head: String,
    level_scale: LevelScale,
    source_code_key: SourceCodeKey,
    /// As `http-logging` has it: `stack_trace` in every record, before `source_code`, empty if there is none.
    always_stack_trace: bool,
    tags: Vec<String>,
    /// The key of the object that holds the attributes.
    extra: String,
    extra_fields: Vec<(Key, AnyValue)>,
    with_resource: bool,
    max_depth: usize,
    /// When the encoder was made, in nanoseconds since 1970.
    started: i128,
    framing: Framing,
    origin: Origin,
    /// The object made of the process, the same for every record. Made once: an exporter does not outlive a fork.
    process: OnceLock<Vec<u8>>,
}

impl Default for JsonEncoder {
    fn default() -> Self {
        Self {
            head: head("async-http-logging"),
            level_scale: LevelScale::default(),
            source_code_key: SourceCodeKey::default(),
            always_stack_trace: false,
            tags: Vec::new(),
            extra: further("extra"),
            extra_fields: Vec::new(),
            with_resource: false,
            max_depth: depth::JSON,
            started: nanos_since_epoch(SystemTime::now()),
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
            head: head("async-http-log"),
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
        self.head = head(&message_type.into());
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
        let mut extra_key = extra_key.into();
        if RESERVED_KEYS.contains(&extra_key.as_str()) {
            extra_key.push('_');
        }
        self.extra = further(&extra_key);
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
        record: &(impl LogView + ?Sized),
        scope: &InstrumentationScope,
        out: &mut Vec<u8>,
    ) -> Result<(), BoxError> {
        let mut attributes = Attributes::default();
        attributes.read(record);
        let stack_trace = attributes.stack_trace();
        let source = self.origin.of_record(record);

        self.write_times(record, source, out)?;
        write_message(record.body(), out)?;
        self.write_level(record, source, out);
        if self.always_stack_trace {
            put(out, r#","stack_trace":"#);
            serde_json::to_writer(&mut *out, &stack_trace.unwrap_or_default())?;
        }
        put(out, self.source_code_key.open());
        write_text_or_null(out, attributes.path());
        put(out, r#","function":"#);
        write_text_or_null(out, attributes.text(&[Known::Function, Known::OldFunction, Known::Namespace]));
        put(out, r#","line":"#);
        write_integer(out, attributes.int(&[Known::Line, Known::OldLine]));
        put(out, r#"},"process":"#);
        match source.other() {
            None => out.extend_from_slice(self.process.get_or_init(|| process_object(source))),
            Some(_) => write_process(source, out),
        }
        put(out, r#","thread":{"id":"#);
        write_integer(out, attributes.int(&[Known::ThreadId]));
        put(out, r#","name":"#);
        write_text_or_null(out, attributes.text(&[Known::ThreadName]));
        put(out, "}");

        if let Some(stack_trace) = stack_trace.filter(|_| !self.always_stack_trace) {
            put(out, r#","stack_trace":"#);
            serde_json::to_writer(&mut *out, &stack_trace)?;
        }
        if !self.tags.is_empty() {
            put(out, r#","tags":"#);
            serde_json::to_writer(&mut *out, &self.tags)?;
        }
        let fixed = pairs(&self.extra_fields).filter(|(key, _)| !attributes.in_rest(key));
        self.write_attributes(&self.extra, fixed.chain(attributes.rest()), out)?;
        if !scope.name().is_empty() {
            write_between(out, br#","logger":""#, scope.name(), b"\"");
        }
        if let Some(target) = record.target().filter(|target| !target.is_empty()) {
            write_between(out, br#","target":""#, target, b"\"");
        }
        if let Some(event) = record.event_name().filter(|event| !event.is_empty() && !is_place(event)) {
            write_between(out, br#","event":""#, event, b"\"");
        }
        if let Some(trace) = record.trace().filter(|trace| trace.trace_id != TraceId::INVALID) {
            write_trace(trace, out);
        }
        if self.with_resource {
            self.write_attributes(r#","resource":"#, source.resource(), out)?;
        }
        put(out, "}");
        Ok(())
    }

    /// Writes the type and the times: the start of the record.
    #[inline]
    fn write_times(
        &self,
        record: &(impl LogView + ?Sized),
        source: Source<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), BoxError> {
        let time = time_of(record).map(nanos_since_epoch);
        put(out, &self.head);
        match time {
            Some(time) => write_decimal::<6>(out, micros(time)),
            None => put(out, "null"),
        }
        put(out, r#","relative_created":"#);
        match (source.other(), time) {
            (None, Some(time)) => write_decimal::<3>(out, micros(time - self.started)),
            (None, None) => put(out, "null"),
            (Some(other), _) => {
                serde_json::to_writer(out, &other.relative_created.filter(|millis| millis.is_finite()))?;
            }
        }
        Ok(())
    }

    #[inline]
    fn write_level(&self, record: &(impl LogView + ?Sized), source: Source<'_>, out: &mut Vec<u8>) {
        put(out, r#","level":"#);
        let sent = source.other().and_then(|other| sent_level(record.severity_text(), other));
        let severity = record.severity_number();
        match (self.level_scale, sent) {
            (LevelScale::Python, None) => put(out, python_level(severity).json),
            (LevelScale::Python, Some((number, name))) => write_number_and_name(out, number, Some(&name)),
            (LevelScale::OpenTelemetry, _) => {
                let number = severity.map_or(0, |severity| severity as i64);
                let name = record.severity_text().or(severity.as_ref().map(Severity::name));
                write_number_and_name(out, number, name);
            }
        }
    }

    /// Writes a member that is an object of attributes with different names, unless there are none.
    fn write_attributes<'a>(
        &self,
        key: &str,
        mut attributes: impl Iterator<Item = (&'a Key, &'a AnyValue)>,
        out: &mut Vec<u8>,
    ) -> Result<(), BoxError> {
        let before = out.len();
        put(out, key);
        let open = out.len();
        attributes.try_for_each(|(key, value)| {
            write_between(out, b",\"", key.as_str(), b"\":");
            write_value(out, value, self.max_depth)
        })?;
        if let Some(first) = out.get_mut(open) {
            // In place of the comma before the first one.
            *first = b'{';
            put(out, "}");
        } else {
            out.truncate(before);
        }
        Ok(())
    }

    /// The same with at most this depth.
    pub(super) fn no_deeper_than(self, depth: usize) -> Self {
        let max_depth = self.max_depth.min(depth);
        self.with_max_depth(max_depth)
    }
}

impl Encoder for JsonEncoder {
    fn framing(&self) -> Framing {
        self.framing.clone()
    }

    fn encode(&self, record: &dyn LogView, scope: &InstrumentationScope, out: &mut Vec<u8>) -> Result<(), BoxError> {
        // Most records are the SDK's: code for them alone need not ask what a view is.
        match record.as_sdk_record() {
            Some(record) => self.write_record(record, scope, out),
            None => self.write_record(record, scope, out),
        }
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.origin = Origin::of(resource);
        self.process = OnceLock::new();
    }
}

#[inline]
fn put(out: &mut Vec<u8>, json: &str) {
    out.extend_from_slice(json.as_bytes());
}

/// The start of a record of this type.
fn head(message_type: &str) -> String {
    format!(r#"{{"type":{},"created":"#, serde_json::Value::from(message_type))
}

/// The key of a further member.
fn further(key: &str) -> String {
    format!(",{}:", serde_json::Value::from(key))
}

#[inline]
fn write_message(body: Option<&AnyValue>, out: &mut Vec<u8>) -> Result<(), BoxError> {
    match body {
        Some(AnyValue::String(body)) => write_between(out, br#","message":""#, body.as_str(), b"\""),
        Some(body) if !is_null(body) => {
            put(out, r#","message":"#);
            serde_json::to_writer(out, &JsonText(body))?;
        }
        _ => put(out, r#","message":"""#),
    }
    Ok(())
}

#[inline]
fn write_text_or_null(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => write_text(out, text),
        None => put(out, "null"),
    }
}

#[cold]
fn write_number_and_name(out: &mut Vec<u8>, number: i64, name: Option<&str>) {
    put(out, r#"{"number":"#);
    write_integer(out, number);
    put(out, r#","name":"#);
    write_text_or_null(out, name);
    put(out, "}");
}

/// The object made of a process.
fn process_object(source: Source<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    write_process(source, &mut out);
    out
}

fn write_process(source: Source<'_>, out: &mut Vec<u8>) {
    put(out, r#"{"id":"#);
    write_integer(out, source.process_id());
    put(out, r#","name":"#);
    write_text_or_null(out, source.process_name());
    put(out, "}");
}

fn pairs(attributes: &[(Key, AnyValue)]) -> impl Iterator<Item = (&Key, &AnyValue)> {
    attributes.iter().map(|(key, value)| (key, value))
}

/// Whether `tracing` made the name of an event up: `event src/main.rs:12`.
fn is_place(event: &str) -> bool {
    let line = event.strip_prefix("event ").and_then(|place| place.rsplit_once(':')).map(|(_, line)| line);
    line.is_some_and(|line| !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_digit()))
}

#[inline]
fn write_trace(trace: TraceIds, out: &mut Vec<u8>) {
    put(out, r#","trace":{"trace_id":""#);
    write_hex(out, trace.trace_id.to_bytes());
    if trace.span_id == SpanId::INVALID {
        put(out, r#"","span_id":null,"flags":"#);
    } else {
        put(out, r#"","span_id":""#);
        write_hex(out, trace.span_id.to_bytes());
        put(out, r#"","flags":"#);
    }
    write_integer(out, trace.flags.map(opentelemetry::TraceFlags::to_u8));
    put(out, "}");
}
