//! OTLP's JSON as OTLP's protobuf, by the table that [`transcode`](crate::encode::transcode) has for the other way.
//!
//! SDKs differ in what they write, and one value that is odd must not lose a whole request. So everything that is JSON is read:
//!
//! | in the text | here |
//! |---|---|
//! | `traceId`, `trace_id` | the same field |
//! | a field that the table does not have; null | nothing |
//! | an integer as a number, as a text, in exponent form | itself |
//! | an `intValue` or `asInt` beyond 64 bits, or with a fraction | a float; a text where a float has not all of its digits |
//! | an enumeration by its number, its name, or its name without what all begin with | its number |
//! | an id in hexadecimal, else in Base64 | its bytes; nothing if their number is wrong |
//! | bytes in Base64 of either alphabet, padded or not; as a list or object of numbers | the bytes |
//! | a value in place of an `AnyValue`, an object with other fields than those | the value; a text, its JSON |
//! | an object in place of a list of `KeyValue` | its members |
//! | one message in place of a list of them | a list of one |
//! | a value nested more deeply than a reader of protobuf goes | a text, its JSON |
//! | a log record that is no object | a log record whose body it is |
//!
//! It recurses as deeply as messages may be nested, and what it writes is in proportion to what it reads.

use std::borrow::Cow;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::number::{double, is_exact, whole};
use crate::config::values::Signal;
use crate::encode::transcode::messages::Kind::{
    Base64, Bool, Double, Enum, Fixed32, Fixed64, Hex, Int64, Of, Sfixed64, Sint32, Text, Uint32, Uint64,
};
use crate::encode::transcode::messages::{
    self as schema, ANY_VALUE, Field, KEY_VALUE, LEVEL, LOG_RECORD, MAX_DEPTH, Message, Names, lists, request_of,
};
use crate::encode::transcode::wire::{Wire, low, put_field, put_message, put_value};
use crate::relay::json::{JsonError, Kind, Reader, Token};

/// `AnyValue`.
const STRING: u32 = 1;
const ARRAY: u32 = 5;
/// `ArrayValue`.
const VALUES: u32 = 1;
/// `KeyValue`.
const KEY: u32 = 1;
const VALUE: u32 = 2;
/// `LogRecord`.
const BODY: u32 = 5;

/// Both alphabets are read with this one, after two characters are replaced.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// What a body in JSON is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// A request of a signal.
    Of(Signal),
    /// An object without members, or no text at all.
    Empty,
    /// An object of other members, or anything else.
    Other,
    /// An object that breaks off before it says what it is.
    Broken,
}

impl Content {
    pub(super) fn of(body: &[u8]) -> Self {
        let mut reader = Reader::new(body);
        match reader.peek() {
            Kind::Object => Self::of_members(&mut reader).unwrap_or(Self::Broken),
            _ if matches!(reader.next(), Ok(Token::End)) => Self::Empty,
            _ => Self::Other,
        }
    }

    fn of_members(reader: &mut Reader<'_>) -> Result<Self, JsonError> {
        let mut content = Self::Empty;
        reader.begin_object()?;
        while let Some(key) = reader.key()? {
            if let Some(signal) = Signal::ALL.into_iter().find(|signal| is_name(lists(*signal)[0].0, &key)) {
                return Ok(Self::Of(signal));
            }
            reader.skip_value()?;
            content = Self::Other;
        }
        Ok(content)
    }
}

/// A request in protobuf.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) protobuf: Vec<u8>,
    /// How many spans, metrics or envelopes are no objects, so that nothing can be made of them.
    pub(super) rejected: u64,
}

/// Reads a request of a signal.
///
/// # Errors
///
/// If it is no object of JSON.
pub(super) fn request(signal: Signal, body: &[u8]) -> Result<Request, JsonError> {
    let lists = lists(signal).map(|(_, message)| message);
    let mut transcoder = Transcoder { body, reader: Reader::new(body), lists, rejected: 0 };
    let mut protobuf = Vec::with_capacity(body.len());
    if transcoder.reader.peek() == Kind::Object {
        transcoder.fields(request_of(signal), MAX_DEPTH - 1, &mut protobuf)?;
    }
    let at = transcoder.reader.position();
    match transcoder.reader.next()? {
        Token::End => Ok(Request { protobuf, rejected: transcoder.rejected }),
        _ => Err(JsonError { reason: "a request is one object", at }),
    }
}

/// A value that is no message.
#[derive(Debug)]
enum Scalar<'a> {
    Null,
    Bool(bool),
    Number(&'a str),
    Text(Cow<'a, str>),
    /// The JSON of a list or object.
    Json(&'a [u8]),
}

struct Transcoder<'a> {
    body: &'a [u8],
    reader: Reader<'a>,
    /// The messages of resources, scopes and records.
    lists: [&'static Message; 3],
    rejected: u64,
}

impl<'a> Transcoder<'a> {
    /// Reads an object and appends the fields of its message, in which at most `depth` further messages are inside one another. Returns
    /// whether it has members that the message does not have.
    fn fields(&mut self, message: &'static Message, depth: usize, out: &mut Vec<u8>) -> Result<bool, JsonError> {
        let mut has_others = false;
        self.reader.begin_object()?;
        while let Some(key) = self.reader.key()? {
            let Some(field) = message.fields.iter().find(|field| is_name(field.name, &key)) else {
                has_others = true;
                self.reader.skip_value()?;
                continue;
            };
            match (field.kind, self.reader.peek()) {
                (Of(of), Kind::Object) if field.is_repeated && of.is(&KEY_VALUE) => {
                    self.members(field.number, depth, out)?;
                }
                (_, Kind::Array) if field.is_repeated => self.list(message, field, depth, out)?,
                (Of(_), kind) if message.is(&ANY_VALUE) && (depth < LEVEL || kind != Kind::Object) => {
                    put_text(STRING, &self.scalar()?, out);
                }
                (Of(of), Kind::Other) => match self.scalar()? {
                    Scalar::Null => {}
                    value => self.no_message(of, field.number, &value, out),
                },
                (Of(of), _) => self.message(of, field.number, depth, out)?,
                _ => put(message, field, &self.scalar()?, out),
            }
        }
        Ok(has_others)
    }

    /// An object whose members are attributes.
    fn members(&mut self, number: u32, depth: usize, out: &mut Vec<u8>) -> Result<(), JsonError> {
        self.reader.begin_object()?;
        while let Some(key) = self.reader.key()? {
            put_message(number, out, |out| {
                put_field(KEY, Wire::Bytes(key.as_bytes()), out);
                put_message(VALUE, out, |out| self.any_value(depth.saturating_sub(2), out))
            })?;
        }
        Ok(())
    }

    fn list(
        &mut self,
        message: &'static Message,
        field: &'static Field,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), JsonError> {
        self.reader.begin_array()?;
        match field.kind {
            Of(of) => {
                while self.reader.has_element()? {
                    self.message(of, field.number, depth, out)?;
                }
            }
            Text | Hex | Base64 => {
                while self.reader.has_element()? {
                    put(message, field, &self.scalar()?, out);
                }
            }
            kind => put_message(field.number, out, |out| {
                // The others must keep their places; a number that JSON has not is null to JavaScript.
                let none = Scalar::Number(if matches!(kind, Double) { "NaN" } else { "0" });
                while self.reader.has_element()? {
                    let value = self.scalar()?;
                    let value = number(kind, &value).or_else(|| number(kind, &none));
                    if let Some(value) = value {
                        put_value(value, out);
                    }
                }
                Ok(())
            })?,
        }
        Ok(())
    }

    /// Appends the next value, which should be a message, as a field.
    fn message(
        &mut self,
        message: &'static Message,
        number: u32,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), JsonError> {
        let depth = depth.saturating_sub(1);
        if message.is(&ANY_VALUE) {
            return put_message(number, out, |out| self.any_value(depth, out));
        }
        if self.reader.peek() == Kind::Object {
            put_message(number, out, |out| self.fields(message, depth, out))?;
            return Ok(());
        }
        let value = self.scalar()?;
        self.no_message(message, number, &value, out);
        Ok(())
    }

    /// Appends, as a message, a value that is none.
    fn no_message(&mut self, message: &Message, number: u32, value: &Scalar<'_>, out: &mut Vec<u8>) {
        match value {
            value if message.is(&ANY_VALUE) => put_message(number, out, |out| put_any(value, out)),
            Scalar::Null => {}
            value if message.is(&LOG_RECORD) => put_message(number, out, |out| {
                put_message(BODY, out, |out| put_text(STRING, value, out));
            }),
            _ => self.rejected += u64::from(self.lists.iter().any(|list| list.is(message))),
        }
    }

    /// Reads any value and appends the fields of an `AnyValue`.
    fn any_value(&mut self, depth: usize, out: &mut Vec<u8>) -> Result<(), JsonError> {
        match self.reader.peek() {
            Kind::Object => {
                let (start, len) = (self.reader.position(), out.len());
                if self.fields(&ANY_VALUE, depth, out)? && out.len() == len {
                    put_text(STRING, &Scalar::Json(&self.body[start..self.reader.position()]), out);
                }
            }
            Kind::Array if depth >= LEVEL => put_message(ARRAY, out, |out| {
                self.reader.begin_array()?;
                while self.reader.has_element()? {
                    self.message(&ANY_VALUE, VALUES, depth - 1, out)?;
                }
                Ok(())
            })?,
            _ => put_any(&self.scalar()?, out),
        }
        Ok(())
    }

    /// Reads a value that is no message; a list or object as a whole.
    fn scalar(&mut self) -> Result<Scalar<'a>, JsonError> {
        if matches!(self.reader.peek(), Kind::Array | Kind::Object) {
            return Ok(Scalar::Json(self.reader.skip_value()?));
        }
        match self.reader.next()? {
            Token::Null => Ok(Scalar::Null),
            Token::Boolean(value) => Ok(Scalar::Bool(value)),
            Token::Number(text) => Ok(Scalar::Number(text)),
            Token::String(text) => Ok(Scalar::Text(text)),
            _ => Err(JsonError { reason: "a value is missing", at: self.reader.position() }),
        }
    }
}

/// Whether a key is the name of a field, in camel case or as the schema spells it.
fn is_name(camel: &str, key: &str) -> bool {
    let schema = camel.bytes().flat_map(|byte| {
        let underscore = byte.is_ascii_uppercase().then_some(b'_');
        underscore.into_iter().chain([byte.to_ascii_lowercase()])
    });
    camel == key || schema.eq(key.bytes())
}

// --- Values -------------------------------------------------------------------------------------------------------

/// Appends a field that is no message. A value that the field cannot hold goes to another field of an `AnyValue` or of a point; elsewhere
/// it is left out.
fn put(message: &Message, field: &Field, value: &Scalar<'_>, out: &mut Vec<u8>) {
    if let Some(wire) = number(field.kind, value) {
        return put_field(field.number, wire, out);
    }
    if let Some(bytes) = bytes(field, value) {
        return put_field(field.number, Wire::Bytes(&bytes), out);
    }
    let is_any = message.is(&ANY_VALUE);
    if matches!(field.kind, Int64 | Sfixed64)
        && let Some(text) = digits(value)
        && let Some(float) = double(text).filter(|float| !is_any || is_exact(*float, text))
        && let Some(field) = message.fields.iter().find(|field| ["doubleValue", "asDouble"].contains(&field.name))
    {
        return put_field(field.number, Wire::Fixed64(float.to_bits()), out);
    }
    if is_any {
        put_text(STRING, value, out);
    }
}

/// Appends the field of an `AnyValue` that holds a value.
fn put_any(value: &Scalar<'_>, out: &mut Vec<u8>) {
    let name = match value {
        Scalar::Bool(_) => "boolValue",
        Scalar::Number(_) => "intValue",
        Scalar::Null | Scalar::Text(_) | Scalar::Json(_) => "stringValue",
    };
    if let Some(field) = ANY_VALUE.fields.iter().find(|field| field.name == name) {
        put(&ANY_VALUE, field, value, out);
    }
}

/// Appends a text: a text as it is, anything else as its JSON. Null is none.
fn put_text(number: u32, value: &Scalar<'_>, out: &mut Vec<u8>) {
    if let Some(text) = text(value) {
        put_field(number, Wire::Bytes(text.as_bytes()), out);
    }
}

fn text<'a>(value: &'a Scalar<'_>) -> Option<Cow<'a, str>> {
    Some(match value {
        Scalar::Null => return None,
        Scalar::Bool(value) => Cow::Borrowed(if *value { "true" } else { "false" }),
        Scalar::Number(text) => Cow::Borrowed(text),
        Scalar::Text(text) => Cow::Borrowed(text),
        Scalar::Json(json) => String::from_utf8_lossy(json),
    })
}

/// The text of a number.
fn digits<'a>(value: &'a Scalar<'_>) -> Option<&'a str> {
    match value {
        Scalar::Number(text) => Some(text),
        Scalar::Text(text) => Some(text),
        Scalar::Null | Scalar::Bool(_) | Scalar::Json(_) => None,
    }
}

/// The value of a field that is a number on the wire.
fn number(kind: schema::Kind, value: &Scalar<'_>) -> Option<Wire<'static>> {
    let text = digits(value);
    // The nearest number that there is: a time in a float is rounded, and one before 1970 is no time.
    let unsigned = |max: u64| {
        let (value, _) = whole(text?)?;
        Some(u64::try_from(value.max(0)).map_or(max, |value| value.min(max)))
    };
    let unsigned32 = || Some(low(unsigned(u32::MAX.into())?));
    let signed = || whole(text?).filter(|(_, is_exact)| *is_exact).and_then(|(value, _)| i64::try_from(value).ok());
    Some(match kind {
        Text | Hex | Base64 | Of(_) => return None,
        Bool => Wire::Varint(match (value, text) {
            (Scalar::Bool(value), _) => (*value).into(),
            (_, Some("true")) => 1,
            (_, Some("false")) => 0,
            _ => (unsigned(u64::MAX)? != 0).into(),
        }),
        Enum(names) => Wire::Varint(match unsigned32() {
            Some(number) => number.into(),
            None => names.number(text?)?,
        }),
        Uint32 => Wire::Varint(unsigned32()?.into()),
        Fixed32 => Wire::Fixed32(unsigned32()?),
        Uint64 => Wire::Varint(unsigned(u64::MAX)?),
        Fixed64 => Wire::Fixed64(unsigned(u64::MAX)?),
        Sint32 => {
            let value = i32::try_from(whole(text?)?.0).ok()?;
            Wire::Varint(((value << 1) ^ (value >> 31)).cast_unsigned().into())
        }
        Int64 => Wire::Varint(signed()?.cast_unsigned()),
        Sfixed64 => Wire::Fixed64(signed()?.cast_unsigned()),
        Double => Wire::Fixed64(double(text?)?.to_bits()),
    })
}

impl Names {
    /// The number of a name, with or without what all of them begin with.
    fn number(&self, name: &str) -> Option<u64> {
        let name = name.strip_prefix(self.prefix).unwrap_or(name);
        let mut names = (0..).zip(self.names);
        names.find(|(_, other)| other.eq_ignore_ascii_case(name)).map(|(number, _)| number)
    }
}

/// The value of a field that is a text or bytes.
fn bytes<'a>(field: &Field, value: &'a Scalar<'_>) -> Option<Cow<'a, [u8]>> {
    match (field.kind, value) {
        (Text, value) => Some(match text(value)? {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        }),
        (Hex, Scalar::Text(text)) => {
            let len = if field.name == "traceId" { 16 } else { 8 };
            let bytes = hex(text).filter(|bytes| bytes.len() == len).or_else(|| base64(text))?;
            (bytes.len() == len).then_some(bytes.into())
        }
        (Base64, Scalar::Text(text)) => Some(base64(text)?.into()),
        (Base64, Scalar::Json(json)) => Some(octets(json)?.into()),
        _ => None,
    }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digit = |digit: u8| u8::try_from(char::from(digit).to_digit(16)?).ok();
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
    if rest.is_empty() { bytes } else { None }
}

fn base64(text: &str) -> Option<Vec<u8>> {
    let standard = text.trim().replace('-', "+").replace('_', "/");
    BASE64.decode(standard).ok()
}

/// The bytes of a list of numbers, or of an object whose members they are: a byte array of JavaScript.
fn octets(json: &[u8]) -> Option<Vec<u8>> {
    let (mut reader, mut bytes) = (Reader::new(json), Vec::new());
    loop {
        match reader.next().ok()? {
            Token::Number(text) => bytes.push(text.parse().ok()?),
            Token::BeginArray | Token::BeginObject | Token::Key(_) | Token::EndArray | Token::EndObject => {}
            Token::End => return Some(bytes),
            Token::String(_) | Token::Boolean(_) | Token::Null => return None,
        }
    }
}
