//! A log record of OTLP as a [`Record`], for formats other than OTLP and for the keys of partitions.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::SystemTime;

use opentelemetry::logs::{AnyValue, Severity};
use opentelemetry::{InstrumentationScope, Key, KeyValue, SpanId, StringValue, TraceFlags, TraceId, Value};

use super::split::system_time;
use crate::encode::transcode::messages::{LEVEL, MAX_DEPTH};
use crate::encode::transcode::wire::{Fields, Wire, WireError, low};
use crate::encode::{RecordOrigin, TraceIds, null};
use crate::relay::protocol::OtlpRecord;
use crate::relay::protocols::level;
use crate::relay::record::Record;

/// The most values that one record may hold: two bytes are one, which takes a hundred in memory.
const MAX_VALUES: usize = 100_000;

/// The field of a record that may be there more than once.
const ATTRIBUTES: u32 = 6;

/// The most values of a resource, or of a scope: each record of it may be written with all of them.
const MAX_SHARED_VALUES: usize = 1_000;

/// How much of a record of OTLP its [`Record`] has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All that it may have.
    Whole,
    /// Not all: it has too many values or too many levels, one field twice, or fields that this version does not know.
    Part,
    /// Nothing but its bytes: it is damaged.
    Bytes,
}

/// The record that this is, which came at this time, but for its scope and its origin, which it shares with others. One that is damaged is a
/// record whose body are its bytes.
pub(crate) fn record(record: &OtlpRecord<'_>, arrived: SystemTime) -> (Record, Extent) {
    let mut values = Values::new(MAX_VALUES);
    let (mut read, extent) = if let Ok(read) = values.log(record.record) {
        (read, if values.is_whole { Extent::Whole } else { Extent::Part })
    } else {
        let body = Some(AnyValue::Bytes(Box::new(record.record.to_vec())));
        (Record { body, ..Record::default() }, Extent::Bytes)
    };
    read.observed = read.observed.or(Some(arrived));
    (read, extent)
}

/// The scope of the fields of `ScopeLogs`.
pub(crate) fn scope(message: &[u8]) -> InstrumentationScope {
    Values::new(MAX_SHARED_VALUES).scope(message)
}

/// The origin of the fields of `ResourceLogs`.
pub(crate) fn origin(message: &[u8]) -> RecordOrigin {
    Values::new(MAX_SHARED_VALUES).origin(message)
}

/// Reads values, and counts them.
struct Values {
    left: usize,
    /// Nothing was left out so far.
    is_whole: bool,
}

impl Values {
    fn new(most: usize) -> Self {
        Self { left: most, is_whole: true }
    }

    /// Notes a field of a message, where each may be there once. `seen` are those that were.
    fn once(&mut self, number: u32, seen: &mut u32) {
        let bit = 1_u32.checked_shl(number).unwrap_or(0);
        self.is_whole &= bit != 0 && *seen & bit == 0;
        *seen |= bit;
    }

    fn text(&mut self, bytes: &[u8]) -> String {
        let text = String::from_utf8_lossy(bytes);
        self.is_whole &= matches!(text, Cow::Borrowed(_));
        text.into_owned()
    }

    /// The bytes of an id that has so many, if it is one.
    fn id<const N: usize>(&mut self, bytes: &[u8]) -> Option<[u8; N]> {
        let id = bytes.try_into().ok();
        self.is_whole &= id.is_some() || bytes.is_empty();
        id
    }

    /// `LogRecord`.
    fn log(&mut self, message: &[u8]) -> Result<Record, WireError> {
        let mut record = Record::default();
        let (mut trace_id, mut span_id, mut flags) = (TraceId::INVALID, SpanId::INVALID, None);
        let mut seen = 0;
        for field in Fields(message) {
            let (number, value) = field?;
            if number != ATTRIBUTES {
                self.once(number, &mut seen);
            }
            match (number, value) {
                (1, Wire::Fixed64(nanos)) => record.timestamp = time(nanos),
                (2, Wire::Varint(number)) => record.severity = severity(number),
                (3, Wire::Bytes(bytes)) => {
                    record.severity_text = Some(self.text(bytes)).filter(|text| !text.is_empty());
                }
                (5, Wire::Bytes(value)) => record.body = Some(self.any(value, MAX_DEPTH)?),
                (ATTRIBUTES, Wire::Bytes(attribute)) => self.push(&mut record.attributes, attribute)?,
                // How many attributes the client has left out.
                (7, Wire::Varint(_)) => {}
                (8, Wire::Fixed32(value)) => flags = Some(TraceFlags::new(value.to_le_bytes()[0])),
                (9, Wire::Bytes(id)) => trace_id = self.id(id).map_or(TraceId::INVALID, TraceId::from_bytes),
                (10, Wire::Bytes(id)) => span_id = self.id(id).map_or(SpanId::INVALID, SpanId::from_bytes),
                (11, Wire::Fixed64(nanos)) => record.observed = time(nanos),
                (12, Wire::Bytes(bytes)) => record.event_name = Some(self.text(bytes)).filter(|text| !text.is_empty()),
                _ => self.is_whole = false,
            }
        }
        if trace_id != TraceId::INVALID || span_id != SpanId::INVALID {
            record.trace = Some(TraceIds { trace_id, span_id, flags });
        }
        Ok(record)
    }

    /// The fields of `ScopeLogs` but for its records.
    fn scope(&mut self, message: &[u8]) -> InstrumentationScope {
        let (mut name, mut version, mut url) = Default::default();
        let mut attributes = Vec::new();
        for field in readable(message) {
            match field {
                (1, Wire::Bytes(scope)) => {
                    for field in readable(scope) {
                        match field {
                            (1, Wire::Bytes(bytes)) => name = text(bytes),
                            (2, Wire::Bytes(bytes)) => version = text(bytes),
                            (3, Wire::Bytes(attribute)) => drop(self.push(&mut attributes, attribute)),
                            _ => {}
                        }
                    }
                }
                (3, Wire::Bytes(bytes)) => url = text(bytes),
                _ => {}
            }
        }
        let mut scope = InstrumentationScope::builder(name);
        if !version.is_empty() {
            scope = scope.with_version(version);
        }
        if !url.is_empty() {
            scope = scope.with_schema_url(url);
        }
        // The API knows no lists of mixed values here, and no maps.
        let plain = |(key, value)| Some(KeyValue::new::<Key, Value>(key, plain(value)?));
        scope.with_attributes(attributes.into_iter().filter_map(plain)).build()
    }

    /// The fields of `ResourceLogs` but for its scopes.
    fn origin(&mut self, message: &[u8]) -> RecordOrigin {
        let mut attributes = Vec::new();
        for (_, resource) in readable(message).filter(|(number, _)| *number == 1) {
            for (number, attribute) in readable(resource.bytes().unwrap_or_default()) {
                if let (1, Wire::Bytes(attribute)) = (number, attribute) {
                    let _ = self.push(&mut attributes, attribute);
                }
            }
        }
        let mut origin = RecordOrigin { resource_is_complete: true, ..RecordOrigin::default() };
        let mut places = HashMap::new();
        for (key, value) in attributes {
            match (key.as_str(), &value) {
                ("process.pid", AnyValue::Int(id)) => origin.process_id = Some(*id),
                ("process.pid", AnyValue::String(id)) => origin.process_id = id.as_str().parse().ok(),
                ("process.executable.name", AnyValue::String(name)) => origin.process_name = Some(name.to_string()),
                _ => {}
            }
            let place = *places.entry(key.clone()).or_insert(origin.resource.len());
            match origin.resource.get_mut(place) {
                Some(known) => known.1 = value,
                None => origin.resource.push((key, value)),
            }
        }
        origin
    }

    /// Pushes an attribute, if it can be read.
    fn push(&mut self, attributes: &mut Vec<(Key, AnyValue)>, message: &[u8]) -> Result<(), WireError> {
        let is_cut = || attributes.last().is_some_and(|(key, _)| key.as_str() == TOO_LARGE);
        if self.left > 0 {
            attributes.push(self.attribute(message, MAX_DEPTH)?);
        } else if !is_cut() {
            self.is_whole = false;
            attributes.push((Key::from_static_str(TOO_LARGE), null()));
        }
        Ok(())
    }

    /// `KeyValue`.
    fn attribute(&mut self, message: &[u8], depth: usize) -> Result<(Key, AnyValue), WireError> {
        let (mut key, mut value, mut seen) = (String::new(), &[][..], 0);
        for field in Fields(message) {
            let (number, field) = field?;
            self.once(number, &mut seen);
            match (number, field) {
                (1, Wire::Bytes(bytes)) => key = self.text(bytes),
                (2, Wire::Bytes(bytes)) => value = bytes,
                _ => self.is_whole = false,
            }
        }
        Ok((key.into(), self.any(value, depth)?))
    }

    /// `AnyValue`. At most `depth` messages are inside it.
    fn any(&mut self, message: &[u8], depth: usize) -> Result<AnyValue, WireError> {
        let mut value = None;
        for field in Fields(message) {
            // The last one counts.
            self.is_whole &= value.is_none();
            value = Some(match field? {
                (1, Wire::Bytes(bytes)) => self.text(bytes).into(),
                (2, Wire::Varint(value)) => (value != 0).into(),
                (3, Wire::Varint(value)) => value.cast_signed().into(),
                (4, Wire::Fixed64(bits)) => f64::from_bits(bits).into(),
                (5 | 6, Wire::Bytes(_)) if depth < LEVEL => {
                    self.is_whole = false;
                    "[nested too deeply]".into()
                }
                (5, Wire::Bytes(list)) => self.list(list, depth - 2)?,
                (6, Wire::Bytes(map)) => self.map(map, depth - LEVEL)?,
                (7, Wire::Bytes(bytes)) => AnyValue::Bytes(Box::new(bytes.to_vec())),
                _ => {
                    self.is_whole = false;
                    continue;
                }
            });
        }
        self.left = self.left.saturating_sub(1);
        Ok(value.unwrap_or_else(null))
    }

    /// `ArrayValue`.
    fn list(&mut self, message: &[u8], depth: usize) -> Result<AnyValue, WireError> {
        let mut items = Vec::new();
        for field in Fields(message) {
            let (1, Wire::Bytes(item)) = field? else {
                self.is_whole = false;
                continue;
            };
            if self.left == 0 {
                self.is_whole = false;
                items.push(TOO_LARGE.into());
                break;
            }
            items.push(self.any(item, depth)?);
        }
        Ok(AnyValue::ListAny(Box::new(items)))
    }

    /// `KeyValueList`.
    fn map(&mut self, message: &[u8], depth: usize) -> Result<AnyValue, WireError> {
        let mut entries = HashMap::new();
        for field in Fields(message) {
            let (1, Wire::Bytes(entry)) = field? else {
                self.is_whole = false;
                continue;
            };
            if self.left == 0 {
                self.is_whole = false;
                entries.insert(Key::from_static_str(TOO_LARGE), null());
                break;
            }
            let (key, value) = self.attribute(entry, depth)?;
            self.is_whole &= entries.insert(key, value).is_none();
        }
        Ok(AnyValue::Map(Box::new(entries)))
    }
}

/// Stands for values that are too many.
const TOO_LARGE: &str = "[too large]";

/// The fields of a message as far as it can be read.
fn readable(message: &[u8]) -> impl Iterator<Item = (u32, Wire<'_>)> {
    Fields(message).map_while(Result::ok)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn time(nanos: u64) -> Option<SystemTime> {
    system_time(nanos).filter(|_| nanos > 0)
}

fn severity(number: u64) -> Option<Severity> {
    level::of_number(low(number).into())
}

/// A value of a scope's attribute.
fn plain(value: AnyValue) -> Option<Value> {
    match value {
        AnyValue::Boolean(value) => Some(value.into()),
        AnyValue::Int(value) => Some(value.into()),
        AnyValue::Double(value) => Some(value.into()),
        AnyValue::String(value) => Some(StringValue::into(value)),
        _ => None,
    }
}
