//! Any record, with any options of the encoder, is JSON that other parsers take, and says what the record says.

#![no_main]

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arbitrary::{Arbitrary, Unstructured};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;
use opentelemetry::logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity};
use opentelemetry::{InstrumentationScope, Key, KeyValue, SpanId, TraceFlags, TraceId};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::{SdkLogRecord, SdkLogger, SdkLoggerProvider};
use opentelemetry_spool::{Encoder, JsonEncoder, LevelScale, SourceCodeKey};
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use simd_json::prelude::{ValueAsScalar as _, ValueObjectAccess as _};

/// Names that the encoder treats in a way of their own.
const NAMES: [&str; 13] = [
    "code.file.path",
    "code.filepath",
    "code.filename",
    "code.function.name",
    "code.function",
    "code.namespace",
    "code.line.number",
    "code.lineno",
    "thread.id",
    "thread.name",
    "exception.stacktrace",
    "exception.type",
    "exception.message",
];
const EXTRA_KEYS: [&str; 8] = ["extra", "level", "source_code", "", "a\"b\\", "tags", "\u{0}", "attributes"];
const EVENTS: [&str; 5] = ["", "event src/main.rs:12", "started", "event \"", "event \u{1f980}:x"];
const TEXTS: [&str; 4] = ["", "INFO", "\"\\\n", "\u{2028}"];

#[derive(Arbitrary, Debug)]
enum Name {
    Known(u8),
    Any(String),
}

impl Name {
    fn text(&self) -> &str {
        match self {
            Self::Known(nth) => NAMES[usize::from(*nth) % NAMES.len()],
            Self::Any(name) => name,
        }
    }
}

#[derive(Debug)]
struct Data(AnyValue);

impl<'a> Arbitrary<'a> for Data {
    fn arbitrary(input: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        any_value(input, 90).map(Self)
    }
}

fn any_value(input: &mut Unstructured<'_>, depth: usize) -> arbitrary::Result<AnyValue> {
    Ok(match input.int_in_range(0..=9)? {
        0 => AnyValue::Int(input.arbitrary()?),
        1 => AnyValue::Double(input.arbitrary()?),
        2 => AnyValue::Boolean(input.arbitrary()?),
        3 => AnyValue::Bytes(Box::new(input.arbitrary()?)),
        4 | 5 if depth > 0 => {
            let mut items = Vec::new();
            while items.len() < 8 && input.arbitrary()? {
                items.push(any_value(input, depth - 1)?);
            }
            AnyValue::ListAny(Box::new(items))
        }
        6 | 7 if depth > 0 => {
            let mut entries = HashMap::new();
            while entries.len() < 8 && input.arbitrary()? {
                entries.insert(Key::from(input.arbitrary::<String>()?), any_value(input, depth - 1)?);
            }
            AnyValue::Map(Box::new(entries))
        }
        // Deep and thin.
        8 => {
            let levels = input.int_in_range(0..=depth)?;
            let inner = any_value(input, 0)?;
            (0..levels).fold(inner, |inner, _| AnyValue::ListAny(Box::new(vec![inner])))
        }
        _ => AnyValue::String(input.arbitrary::<String>()?.into()),
    })
}

#[derive(Arbitrary, Debug)]
struct Time {
    before: bool,
    since: Duration,
}

impl Time {
    fn system_time(&self) -> Option<SystemTime> {
        if self.before { UNIX_EPOCH.checked_sub(self.since) } else { UNIX_EPOCH.checked_add(self.since) }
    }
}

#[derive(Arbitrary, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "so are the encoder's options")]
struct Options {
    like_http_logging_2: bool,
    message_type: Option<String>,
    opentelemetry_levels: bool,
    underscored: bool,
    extra_key: Option<u8>,
    extra_fields: Vec<(Name, Data)>,
    tags: Vec<String>,
    with_resource: bool,
    max_depth: Option<u8>,
    resource: Vec<(String, String)>,
}

#[derive(Arbitrary, Debug)]
struct Input {
    options: Options,
    body: Option<Data>,
    attributes: Vec<(Name, Data)>,
    severity: u8,
    severity_text: Option<u8>,
    target: Option<String>,
    event: Option<u8>,
    timestamp: Option<Time>,
    observed: Option<Time>,
    trace: Option<(u128, u64, Option<u8>)>,
    scope: String,
}

impl Options {
    /// The encoder, the name of its object for attributes, and its depth.
    fn encoder(&self) -> (JsonEncoder, String, usize) {
        let mut encoder = if self.like_http_logging_2 { JsonEncoder::http_logging_2() } else { JsonEncoder::default() };
        if let Some(message_type) = &self.message_type {
            encoder = encoder.with_message_type(message_type.clone());
        }
        if self.opentelemetry_levels {
            encoder = encoder.with_level_scale(LevelScale::OpenTelemetry);
        }
        if self.underscored {
            encoder = encoder.with_source_code_key(SourceCodeKey::Underscored);
        }
        let mut extra_key = "extra".to_owned();
        if let Some(nth) = self.extra_key {
            EXTRA_KEYS[usize::from(nth) % EXTRA_KEYS.len()].clone_into(&mut extra_key);
            encoder = encoder.with_extra_key(extra_key.clone());
            if ["level", "source_code", "tags"].contains(&&*extra_key) {
                extra_key.push('_');
            }
        }
        // Parsers stop at 128 levels.
        let max_depth = self.max_depth.map_or(64, |depth| usize::from(depth) % 100);
        let fields = self.extra_fields.iter().map(|(name, value)| (name.text().to_owned(), value.0.clone()));
        encoder = encoder
            .with_extra_fields(fields)
            .with_tags(self.tags.iter().cloned())
            .with_resource(self.with_resource)
            .with_max_depth(max_depth);
        let attributes = self.resource.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
        encoder.set_resource(&Resource::builder_empty().with_attributes(attributes).build());
        (encoder, extra_key, max_depth)
    }
}

impl Input {
    fn record(&self) -> SdkLogRecord {
        static LOGGER: OnceLock<SdkLogger> = OnceLock::new();
        let logger = LOGGER.get_or_init(|| SdkLoggerProvider::builder().build().logger("fuzz"));
        let mut record = logger.create_log_record();
        if let Some(body) = &self.body {
            record.set_body(body.0.clone());
        }
        for (name, value) in &self.attributes {
            record.add_attribute(name.text().to_owned(), value.0.clone());
        }
        if let Some(severity) = severity(self.severity) {
            record.set_severity_number(severity);
        }
        if let Some(nth) = self.severity_text {
            record.set_severity_text(TEXTS[usize::from(nth) % TEXTS.len()]);
        }
        if let Some(target) = &self.target {
            record.set_target(target.clone());
        }
        if let Some(nth) = self.event {
            record.set_event_name(EVENTS[usize::from(nth) % EVENTS.len()]);
        }
        if let Some(time) = self.timestamp.as_ref().and_then(Time::system_time) {
            record.set_timestamp(time);
        }
        if let Some(time) = self.observed.as_ref().and_then(Time::system_time) {
            record.set_observed_timestamp(time);
        }
        if let Some((trace, span, flags)) = self.trace {
            record.set_trace_context(TraceId::from(trace), SpanId::from(span), flags.map(TraceFlags::new));
        }
        record
    }
}

fn severity(number: u8) -> Option<Severity> {
    use Severity as S;
    const ALL: [Severity; 24] = [
        S::Trace,
        S::Trace2,
        S::Trace3,
        S::Trace4,
        S::Debug,
        S::Debug2,
        S::Debug3,
        S::Debug4,
        S::Info,
        S::Info2,
        S::Info3,
        S::Info4,
        S::Warn,
        S::Warn2,
        S::Warn3,
        S::Warn4,
        S::Error,
        S::Error2,
        S::Error3,
        S::Error4,
        S::Fatal,
        S::Fatal2,
        S::Fatal3,
        S::Fatal4,
    ];
    ALL.get(usize::from(number) % 25).copied()
}

/// The JSON that a value becomes, as the documentation says.
fn expected(value: &AnyValue, depth: usize) -> Value {
    match value {
        AnyValue::Int(number) => (*number).into(),
        AnyValue::Double(number) if number.is_nan() => "NaN".into(),
        AnyValue::Double(number) if number.is_infinite() => {
            if *number > 0.0 {
                "Infinity".into()
            } else {
                "-Infinity".into()
            }
        }
        AnyValue::Double(number) => (*number).into(),
        AnyValue::String(text) => text.as_str().into(),
        AnyValue::Boolean(is) => (*is).into(),
        AnyValue::Bytes(bytes) => STANDARD.encode(&**bytes).into(),
        AnyValue::ListAny(_) | AnyValue::Map(_) if depth == 0 => "[nested too deeply]".into(),
        AnyValue::ListAny(items) => items.iter().map(|item| expected(item, depth - 1)).collect(),
        AnyValue::Map(entries) => {
            entries.iter().map(|(key, value)| (key.to_string(), expected(value, depth - 1))).collect()
        }
        other => panic!("a kind that is new: {other:?}"),
    }
}

/// JSON of which no object has a key twice.
struct Distinct;

impl<'de> Deserialize<'de> for Distinct {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Distinct {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E: Error>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self, A::Error> {
        let mut keys = HashSet::new();
        while let Some((key, _)) = entries.next_entry::<String, Self>()? {
            if let Some(key) = keys.replace(key) {
                return Err(A::Error::custom(format!("{key:?} is there twice")));
            }
        }
        Ok(self)
    }
}

fuzz_target!(|input: Input| {
    let (encoder, extra_key, depth) = input.options.encoder();
    let record = input.record();
    let scope = InstrumentationScope::builder(input.scope.clone()).build();
    let mut out = b"before".to_vec();
    encoder.encode(&record, &scope, &mut out).expect("any record can be encoded");
    assert!(out.starts_with(b"before"), "what was there before is kept");
    let mut out = out.split_off(6);

    serde_json::from_slice::<Distinct>(&out).expect("valid JSON without duplicate keys");
    let parsed: Value = serde_json::from_slice(&out).expect("valid JSON");
    for key in ["type", "created", "relative_created", "message", "level", "process", "thread"] {
        assert!(parsed.get(key).is_some(), "{key} is always there");
    }
    match &input.body {
        None => assert!(parsed["message"].is_null()),
        Some(Data(AnyValue::String(text))) => assert_eq!(parsed["message"], text.as_str()),
        Some(Data(body)) => {
            let text = parsed["message"].as_str().expect("a message is text");
            let inner: Value = serde_json::from_str(text).expect("the text is JSON");
            assert_eq!(inner, expected(body, depth));
        }
    }
    let extra = parsed.get(&extra_key);
    let all = input.options.extra_fields.iter().chain(&input.attributes);
    let last: HashMap<&str, &AnyValue> = all.map(|(name, value)| (name.text(), &value.0)).collect();
    for (name, value) in last.iter().filter(|(name, _)| !NAMES.contains(name)) {
        assert_eq!(extra.and_then(|extra| extra.get(name)), Some(&expected(value, depth)), "{name:?}");
    }

    // This one unescapes in place.
    let other = simd_json::to_borrowed_value(&mut out).expect("valid JSON for other parsers too");
    let message = other.get("message").expect("a message");
    assert_eq!(message.as_str(), parsed["message"].as_str());
});
