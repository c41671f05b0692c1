//! The members of an object, each as the text that it is, and what can be made of that.

use std::borrow::Cow;

use opentelemetry::logs::AnyValue;

use super::pieces::{Piece, Pieces};
use crate::relay::json::{MAX_DEPTH, Reader, Token};

/// An object with more members is kept as a text: in memory it would take ten times as much.
const MAX_MEMBERS: usize = 10_000;

/// The text of a value that is JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::relay::protocols) struct Value<'a>(pub(super) &'a [u8]);

/// The members of an object, in order. The last of several with the same name counts.
#[derive(Debug)]
pub(in crate::relay::protocols) struct Members<'a>(Vec<(Cow<'a, str>, Value<'a>)>);

impl<'a> Members<'a> {
    pub(in crate::relay::protocols) fn get(&self, name: &str) -> Option<Value<'a>> {
        self.0.iter().rfind(|(known, _)| known == name).map(|(_, value)| *value)
    }

    pub(in crate::relay::protocols) fn iter(&self) -> impl Iterator<Item = (&str, Value<'a>)> {
        self.0.iter().map(|(name, value)| (&**name, *value))
    }

    /// The only member.
    pub(super) fn single(&self) -> Option<(&str, Value<'a>)> {
        self.iter().next().filter(|_| self.0.len() == 1)
    }
}

impl<'a> Value<'a> {
    /// A value of a text that is JSON.
    pub(in crate::relay::protocols) fn new(json: &'a [u8]) -> Self {
        Self(json)
    }

    /// The text itself.
    pub(in crate::relay::protocols) fn json(self) -> String {
        String::from_utf8_lossy(self.0).into_owned()
    }

    pub(in crate::relay::protocols) fn is_list(self) -> bool {
        self.0.starts_with(b"[")
    }

    /// The elements of a list; none if it is something else.
    pub(in crate::relay::protocols) fn items(&self) -> impl Iterator<Item = Value<'a>> + use<'a> {
        let list = if self.is_list() { self.0 } else { b"" };
        Pieces::new(list).filter_map(|piece| match piece {
            Piece::Json(json) => Some(Value(json)),
            Piece::Other(_) => None,
        })
    }

    fn token(self) -> Token<'a> {
        Reader::new(self.0).next().unwrap_or(Token::End)
    }

    pub(in crate::relay::protocols) fn is_null(self) -> bool {
        self.token() == Token::Null
    }

    pub(in crate::relay::protocols) fn text(self) -> Option<String> {
        match self.token() {
            Token::String(text) => Some(text.into_owned()),
            _ => None,
        }
    }

    /// A text that is not blank.
    pub(super) fn words(self) -> Option<String> {
        self.text().filter(|text| !text.trim().is_empty())
    }

    /// The digits of a number.
    pub(in crate::relay::protocols) fn number(self) -> Option<&'a str> {
        match self.token() {
            Token::Number(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn int(self) -> Option<i64> {
        self.number()?.parse().ok()
    }

    pub(super) fn float(self) -> Option<f64> {
        self.number()?.parse().ok().filter(|value: &f64| value.is_finite())
    }

    /// The value, whatever it is.
    pub(in crate::relay::protocols) fn any(self) -> AnyValue {
        Reader::new(self.0).value(MAX_DEPTH).unwrap_or_else(|_| self.json().into())
    }

    pub(in crate::relay::protocols) fn object(self) -> Option<Members<'a>> {
        let mut reader = Reader::new(self.0);
        reader.begin_object().ok()?;
        let mut members = Vec::new();
        while let Some(key) = reader.key().ok()? {
            members.push((key, Value(reader.skip_value().ok()?)));
            if members.len() > MAX_MEMBERS {
                return None;
            }
        }
        Some(Members(members))
    }

    /// What Python's `repr` writes for a list, as a tuple, or an object: the arguments of a log record before they became JSON.
    pub(super) fn repr(self) -> Option<String> {
        let mut reader = Reader::new(self.0);
        let is_tuple = self.0.starts_with(b"[");
        let mut text = String::with_capacity(self.0.len());
        loop {
            let token = reader.next().ok()?;
            if text.is_empty() && !matches!(token, Token::BeginArray | Token::BeginObject) {
                return None;
            }
            // A comma too many at the end is none for Python.
            match token {
                Token::BeginArray if text.is_empty() => text.push('('),
                Token::EndArray if reader.depth() == 0 && is_tuple => text.push(')'),
                Token::BeginArray => text.push('['),
                Token::BeginObject => text.push('{'),
                Token::EndArray => end(&mut text, "]"),
                Token::EndObject => end(&mut text, "}"),
                Token::Key(key) => text.extend([&*quoted(&key), ": "]),
                Token::String(value) => text.push_str(&quoted(&value)),
                Token::Number("NaN") => text.push_str("nan"),
                Token::Number("Infinity") => text.push_str("inf"),
                Token::Number("-Infinity") => text.push_str("-inf"),
                Token::Number(number) => text.push_str(number),
                Token::Boolean(value) => text.push_str(if value { "True" } else { "False" }),
                Token::Null => text.push_str("None"),
                Token::End => return Some(text),
            }
            if !text.ends_with(['(', '[', '{', ' ']) && reader.depth() > 0 {
                text.push_str(", ");
            }
        }
    }
}

/// Ends a list or an object, without the comma behind its last value.
fn end(text: &mut String, bracket: &str) {
    text.truncate(text.trim_end_matches(", ").len());
    text.push_str(bracket);
}

/// A text as Python writes it.
fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut quoted = String::from(quote);
    for character in text.chars() {
        match character {
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            _ => {
                if character == quote || character == '\\' {
                    quoted.push('\\');
                }
                quoted.push(character);
            }
        }
    }
    quoted.push(quote);
    quoted
}
