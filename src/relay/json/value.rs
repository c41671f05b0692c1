//! JSON as the values of records.

use opentelemetry::Key;
use opentelemetry::logs::AnyValue;

use super::reader::{JsonError, Kind, Reader, Token};
use crate::encode::null;

/// How many lists and objects a value may have inside one another. Deeper ones are texts.
pub(crate) const MAX_DEPTH: usize = 64;

/// How many values a value may hold. With more it is a text, which takes a tenth of the memory.
const MAX_VALUES: usize = 100_000;

impl Reader<'_> {
    /// The next value, with at most `depth` lists and objects inside one another: [`MAX_DEPTH`], or less.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next); also if no value comes next.
    pub(crate) fn value(&mut self, depth: usize) -> Result<AnyValue, JsonError> {
        let mark = self.mark();
        let mut left = MAX_VALUES;
        if let Some(value) = self.value_of(depth.min(MAX_DEPTH), &mut left)? {
            return Ok(value);
        }
        self.rewind(mark);
        self.text_of_value()
    }

    /// The next value; `None` if it has more than `left` values.
    fn value_of(&mut self, depth: usize, left: &mut usize) -> Result<Option<AnyValue>, JsonError> {
        let Some(less) = left.checked_sub(1) else { return Ok(None) };
        *left = less;
        if depth == 0 && matches!(self.peek(), Kind::Array | Kind::Object) {
            return self.text_of_value().map(Some);
        }
        Ok(Some(match self.next()? {
            Token::BeginArray => {
                let mut items = Vec::new();
                while self.has_element()? {
                    let Some(item) = self.value_of(depth - 1, left)? else { return Ok(None) };
                    items.push(item);
                }
                AnyValue::ListAny(Box::new(items))
            }
            Token::BeginObject => {
                let mut members = std::collections::HashMap::new();
                while let Some(key) = self.key()? {
                    let Some(value) = self.value_of(depth - 1, left)? else { return Ok(None) };
                    members.insert(Key::from(key.into_owned()), value);
                }
                AnyValue::Map(Box::new(members))
            }
            Token::String(text) => text.into_owned().into(),
            Token::Number(text) => number(text),
            Token::Boolean(value) => value.into(),
            Token::Null => null(),
            Token::Key(_) | Token::EndArray | Token::EndObject | Token::End => {
                return Err(JsonError { reason: "a value is missing", at: self.position() });
            }
        }))
    }

    /// The next value as a text, its JSON.
    fn text_of_value(&mut self) -> Result<AnyValue, JsonError> {
        Ok(String::from_utf8_lossy(self.skip_value()?).into_owned().into())
    }
}

/// The value of a number. One that neither 64 bits nor a float hold is a text, as it stands there.
fn number(text: &str) -> AnyValue {
    if let Ok(value) = text.parse::<i64>() {
        return value.into();
    }
    let is_word = text.ends_with(['N', 'y']);
    let is_whole = !text.contains(['.', 'e', 'E']) && !is_word;
    match text.parse::<f64>() {
        Ok(value) if is_word || value.is_finite() && !is_whole => value.into(),
        _ => text.to_owned().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> AnyValue {
        let mut reader = Reader::new(text.as_bytes());
        let value = reader.value(MAX_DEPTH).expect("a value");
        assert_eq!(reader.next(), Ok(Token::End), "{text}");
        value
    }

    #[test]
    fn numbers_are_integers_floats_or_texts() {
        let cases: &[(&str, AnyValue)] = &[
            ("0", 0.into()),
            ("-12", (-12).into()),
            ("9223372036854775807", i64::MAX.into()),
            ("9223372036854775808", "9223372036854775808".into()),
            ("-1180591620717411303424", "-1180591620717411303424".into()),
            ("1.5", 1.5.into()),
            ("1e3", 1000.0.into()),
            ("1E999", "1E999".into()),
            ("Infinity", f64::INFINITY.into()),
            ("-Infinity", f64::NEG_INFINITY.into()),
        ];
        for (text, expected) in cases {
            assert_eq!(value(text), *expected, "{text}");
        }
        assert!(matches!(value("NaN"), AnyValue::Double(value) if value.is_nan()));
    }

    #[test]
    fn lists_and_objects_are_values() {
        let inner = AnyValue::from_iter([AnyValue::from(1), null(), true.into()]);
        assert_eq!(
            value(r#"{"a": 1, "b": [1, null, true], "a": "x"}"#),
            AnyValue::from_iter([("a", AnyValue::from("x")), ("b", inner)])
        );
        assert_eq!(value("[]"), AnyValue::ListAny(Box::default()));
        assert_eq!(value("{}"), AnyValue::Map(Box::default()));
        assert_eq!(value(r#""\ud800""#), "\u{fffd}".into());
    }

    #[test]
    fn what_is_nested_too_deeply_is_a_text() {
        let mut reader = Reader::new(br#"{"a": [{"b" : [1]}, 2], "c": 3}"#);
        let expected = [("a", AnyValue::from_iter([AnyValue::from(r#"{"b" : [1]}"#), 2.into()])), ("c", 3.into())];
        assert_eq!(reader.value(2), Ok(AnyValue::from_iter(expected)));
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        let mut innermost = &value(&deep);
        let mut depth = 0;
        while let AnyValue::ListAny(items) = innermost {
            (innermost, depth) = (&items[0], depth + 1);
        }
        assert_eq!((innermost, depth), (&deep[MAX_DEPTH..deep.len() - MAX_DEPTH].to_owned().into(), MAX_DEPTH));
    }

    #[test]
    fn a_value_of_too_many_values_is_a_text() {
        let list = |count: usize| format!("[{}]", vec!["0"; count].join(","));
        assert!(matches!(value(&list(MAX_VALUES - 1)), AnyValue::ListAny(_)));
        let text = list(MAX_VALUES);
        let mut reader = Reader::new(text.as_bytes());
        assert_eq!(reader.value(MAX_DEPTH), Ok(text.clone().into()));
        assert_eq!(reader.next(), Ok(Token::End));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_value_or_an_error(text in r#"([\[\]{},:"\\ue0-9a. -]|null|"[a-z]*")*"#, bytes: Vec<u8>) {
            for text in [text.as_bytes(), &bytes] {
                let mut reader = Reader::new(text);
                while reader.value(3).is_ok() {}
            }
        }
    }
}
