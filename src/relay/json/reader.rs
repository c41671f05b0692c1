//! [`Reader`]: JSON as a sequence of tokens. It recurses nowhere; what it keeps is one byte for each list and object that is open.

use std::borrow::Cow;
use std::iter;

/// A piece of JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    BeginObject,
    /// The key of the member whose value follows.
    Key(Cow<'a, str>),
    EndObject,
    BeginArray,
    EndArray,
    String(Cow<'a, str>),
    /// A number as it stands there; `NaN`, `Infinity` and `-Infinity` as well.
    Number(&'a str),
    Boolean(bool),
    Null,
    /// Nothing follows, and no list or object is open.
    End,
}

/// The kind of a value that comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Object,
    Array,
    String,
    /// A number, a boolean, null, or what is no JSON.
    Other,
}

/// A text that is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at byte {at}")]
pub(crate) struct JsonError {
    pub(crate) reason: &'static str,
    pub(crate) at: usize,
}

/// A list or an object that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Array,
    Object,
}

/// What was read last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    /// Nothing, or the beginning of a list or object.
    Begin,
    Key,
    Value,
}

/// A place in the text to which [`Reader::rewind`] goes back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    at: usize,
    open: usize,
    last: Last,
}

/// Reads JSON token by token. After an error nothing more is to be read from it.
///
/// Several values may follow one another, with white space between them or without. A comma before the end of a list or object is no error.
///
/// ```text
/// let mut reader = Reader::new(br#"{"resourceLogs": [], "other": 1}"#);
/// reader.begin_object()?;
/// while let Some(key) = reader.key()? {
///     match &*key {
///         "resourceLogs" | "resource_logs" => {
///             reader.begin_array()?;
///             while reader.has_element()? { .. }
///         }
///         _ => _ = reader.skip_value()?,
///     }
/// }
/// ```
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    open: Vec<Open>,
    last: Last,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        let at = if text.starts_with("\u{feff}".as_bytes()) { 3 } else { 0 };
        Self { text, at, open: Vec::new(), last: Last::Begin }
    }

    /// How many bytes are read.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// How many lists and objects are open.
    pub(crate) fn depth(&self) -> usize {
        self.open.len()
    }

    /// The next token.
    ///
    /// # Errors
    ///
    /// [`JsonError`] where the text is not JSON or ends within a value.
    pub(crate) fn next(&mut self) -> Result<Token<'a>, JsonError> {
        self.separate()?;
        let Some(byte) = self.peek_byte() else {
            return if self.open.is_empty() { Ok(Token::End) } else { Err(self.error("the text ends within a value")) };
        };
        match (byte, self.open.last(), self.last) {
            (b'}', Some(Open::Object), Last::Begin | Last::Value) => Ok(self.close(Token::EndObject)),
            (b']', Some(Open::Array), _) => Ok(self.close(Token::EndArray)),
            (b'"', Some(Open::Object), Last::Begin | Last::Value) => {
                self.at += 1;
                let key = self.string()?;
                self.skip_space();
                if self.peek_byte() != Some(b':') {
                    return Err(self.error("a colon is missing"));
                }
                self.at += 1;
                self.last = Last::Key;
                Ok(Token::Key(key))
            }
            (_, Some(Open::Object), Last::Begin | Last::Value) => Err(self.error("a key is missing")),
            (b'{', ..) => Ok(self.begin(Open::Object, Token::BeginObject)),
            (b'[', ..) => Ok(self.begin(Open::Array, Token::BeginArray)),
            (b'"', ..) => {
                self.at += 1;
                let text = self.string()?;
                self.last = Last::Value;
                Ok(Token::String(text))
            }
            _ => {
                let scalar = self.scalar()?;
                self.last = Last::Value;
                Ok(scalar)
            }
        }
    }

    /// The kind of the next value. Also [`Kind::Other`] where no value follows.
    pub(crate) fn peek(&mut self) -> Kind {
        if self.separate().is_err() {
            return Kind::Other;
        }
        match self.peek_byte() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'"') => Kind::String,
            _ => Kind::Other,
        }
    }

    /// Reads the beginning of an object.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next); also if the next value is no object.
    pub(crate) fn begin_object(&mut self) -> Result<(), JsonError> {
        let at = self.at;
        match self.next()? {
            Token::BeginObject => Ok(()),
            _ => Err(JsonError { reason: "an object is missing", at }),
        }
    }

    /// Reads the beginning of a list.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next); also if the next value is no list.
    pub(crate) fn begin_array(&mut self) -> Result<(), JsonError> {
        let at = self.at;
        match self.next()? {
            Token::BeginArray => Ok(()),
            _ => Err(JsonError { reason: "a list is missing", at }),
        }
    }

    /// The next key of the open object; `None` at its end, which is read then. The value of the key before it must be read.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next); also if a value comes next.
    pub(crate) fn key(&mut self) -> Result<Option<Cow<'a, str>>, JsonError> {
        let at = self.at;
        match self.next()? {
            Token::Key(key) => Ok(Some(key)),
            Token::EndObject => Ok(None),
            _ => Err(JsonError { reason: "a key is missing", at }),
        }
    }

    /// Whether another element of the open list follows. If there is none, the end of the list is read.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next).
    pub(crate) fn has_element(&mut self) -> Result<bool, JsonError> {
        self.separate()?;
        if self.peek_byte() == Some(b']') && self.open.last() == Some(&Open::Array) {
            self.close(Token::EndArray);
            return Ok(false);
        }
        Ok(true)
    }

    /// Reads the next value, of any kind, and returns its text.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next); also if no value comes next.
    pub(crate) fn skip_value(&mut self) -> Result<&'a [u8], JsonError> {
        self.separate()?;
        let (start, depth) = (self.at, self.open.len());
        loop {
            match self.next()? {
                Token::End => return Err(self.error("a value is missing")),
                Token::EndArray | Token::EndObject if self.open.len() < depth => {
                    return Err(JsonError { reason: "a value is missing", at: start });
                }
                Token::Key(_) if self.open.len() == depth => {
                    return Err(JsonError { reason: "a value is missing", at: start });
                }
                _ if self.open.len() == depth => return Ok(&self.text[start..self.at]),
                _ => {}
            }
        }
    }

    /// Reads the rest of the list or object that is open, and its end.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next).
    #[cfg(test)]
    pub(crate) fn leave(&mut self) -> Result<(), JsonError> {
        let depth = self.open.len();
        while depth > 0 && self.open.len() >= depth {
            self.next()?;
        }
        Ok(())
    }

    pub(super) fn mark(&self) -> Mark {
        Mark { at: self.at, open: self.open.len(), last: self.last }
    }

    /// Goes back to a mark, which may not lie in a list or object that was left since.
    pub(super) fn rewind(&mut self, mark: Mark) {
        self.at = mark.at;
        self.open.truncate(mark.open);
        self.last = mark.last;
    }

    fn error(&self, reason: &'static str) -> JsonError {
        JsonError { reason, at: self.at }
    }

    fn peek_byte(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek_byte(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// Reads what stands between two values: white space, and a comma within a list or object.
    fn separate(&mut self) -> Result<(), JsonError> {
        self.skip_space();
        if self.last == Last::Value && !self.open.is_empty() {
            match self.peek_byte() {
                Some(b',') => {
                    self.at += 1;
                    self.skip_space();
                    self.last = Last::Begin;
                }
                Some(b']' | b'}') => {}
                Some(_) => return Err(self.error("a comma is missing")),
                None => return Err(self.error("the text ends within a value")),
            }
        }
        Ok(())
    }

    fn begin(&mut self, open: Open, token: Token<'a>) -> Token<'a> {
        self.at += 1;
        self.open.push(open);
        self.last = Last::Begin;
        token
    }

    fn close(&mut self, token: Token<'a>) -> Token<'a> {
        self.at += 1;
        self.open.pop();
        self.last = Last::Value;
        token
    }

    /// The text behind a quotation mark, to the next one.
    fn string(&mut self) -> Result<Cow<'a, str>, JsonError> {
        let plain = self.plain()?;
        if self.text[self.at] == b'"' {
            self.at += 1;
            return Ok(String::from_utf8_lossy(plain));
        }
        let mut text = String::from_utf8_lossy(plain).into_owned();
        while self.text[self.at] == b'\\' {
            self.at += 1;
            self.escape(&mut text)?;
            text.push_str(&String::from_utf8_lossy(self.plain()?));
        }
        self.at += 1;
        Ok(text.into())
    }

    /// What comes before the next quotation mark or backslash.
    fn plain(&mut self) -> Result<&'a [u8], JsonError> {
        let rest = &self.text[self.at..];
        let Some(len) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\')) else {
            self.at = self.text.len();
            return Err(self.error("the text ends within a string"));
        };
        self.at += len;
        Ok(&rest[..len])
    }

    /// Reads an escape behind its backslash. An unknown one is left as it is.
    fn escape(&mut self, text: &mut String) -> Result<(), JsonError> {
        let Some(byte) = self.peek_byte() else { return Err(self.error("the text ends within a string")) };
        if let Some(character) = self.unicode() {
            text.push(character);
            return Ok(());
        }
        self.at += 1;
        text.push(match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            _ => {
                self.at -= 1;
                '\\'
            }
        });
        Ok(())
    }

    /// Reads `uXXXX`, and the second half of a pair behind it. Half a pair is U+FFFD.
    fn unicode(&mut self) -> Option<char> {
        let first = self.unit(self.at)?;
        self.at += 5;
        let second = || (self.peek_byte() == Some(b'\\')).then(|| self.unit(self.at + 1)).flatten();
        let units = iter::once(first).chain(iter::once_with(second).flatten());
        let character = char::decode_utf16(units).next()?.unwrap_or(char::REPLACEMENT_CHARACTER);
        if character.len_utf16() == 2 {
            self.at += 6;
        }
        Some(character)
    }

    /// The number in `uXXXX` at a place.
    fn unit(&self, at: usize) -> Option<u16> {
        let digits = self.text.get(at..at + 5)?.strip_prefix(b"u")?;
        let unit = digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))?;
        u16::try_from(unit).ok()
    }

    /// A number or a word.
    fn scalar(&mut self) -> Result<Token<'a>, JsonError> {
        let rest = &self.text[self.at..];
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.' | b'_');
        let len = rest.iter().position(|byte| !is_part(byte)).unwrap_or(rest.len());
        let word = std::str::from_utf8(&rest[..len]).unwrap_or_default();
        let token = match word {
            "true" => Token::Boolean(true),
            "false" => Token::Boolean(false),
            "null" => Token::Null,
            "NaN" | "Infinity" | "-Infinity" => Token::Number(word),
            _ if is_number(word) => Token::Number(word),
            _ => return Err(self.error("a value is missing")),
        };
        self.at += len;
        Ok(token)
    }
}

/// Whether a word is a number. It may begin with a plus or zeros, and have no digit on one side of its point.
fn is_number(word: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E');
    word.bytes().all(is_part) && word.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tokens of a text, in short, to its end or its first error.
    fn tokens(text: &[u8]) -> String {
        let mut reader = Reader::new(text);
        let mut tokens = Vec::new();
        loop {
            tokens.push(match reader.next() {
                Ok(Token::BeginObject) => "{".to_owned(),
                Ok(Token::Key(key)) => format!("{key}:"),
                Ok(Token::EndObject) => "}".to_owned(),
                Ok(Token::BeginArray) => "[".to_owned(),
                Ok(Token::EndArray) => "]".to_owned(),
                Ok(Token::String(text)) => format!("'{text}'"),
                Ok(Token::Number(text)) => text.to_owned(),
                Ok(Token::Boolean(value)) => value.to_string(),
                Ok(Token::Null) => "null".to_owned(),
                Ok(Token::End) => return tokens.join(" "),
                Err(error) => format!("! {error}"),
            });
            if tokens.last().is_some_and(|last| last.starts_with('!')) {
                return tokens.join(" ");
            }
        }
    }

    #[test]
    fn json_is_read_token_by_token() {
        let cases: &[(&str, &str)] = &[
            ("", ""),
            (" \r\n\t", ""),
            ("{}", "{ }"),
            (r#"{"a": [1, "b", {}], "c": null}"#, "{ a: [ 1 'b' { } ] c: null }"),
            ("\u{feff}[true,false]", "[ true false ]"),
            // What follows one another, and a comma at the end.
            ("{}{}\n[]1 2", "{ } { } [ ] 1 2"),
            ("[1,]", "[ 1 ]"),
            (r#"{"a":1,}"#, "{ a: 1 }"),
            // Numbers as Python writes them, and others.
            ("[NaN, Infinity, -Infinity]", "[ NaN Infinity -Infinity ]"),
            ("[-0.5e+10, 1e400, 007, .5, 1., +1]", "[ -0.5e+10 1e400 007 .5 1. +1 ]"),
            ("[123456789012345678901234567890]", "[ 123456789012345678901234567890 ]"),
            // Strings.
            (r#""\"\\\/\b\f\n\r\t\u00e9""#, "'\"\\/\u{8}\u{c}\n\r\té'"),
            (r#""\ud83d\ude00 \ud83d \ude00 \ud83d\u0041 \ud83d\n""#, "'😀 \u{fffd} \u{fffd} \u{fffd}A \u{fffd}\n'"),
            (r#""\udbff\udfff \ud800\udc00""#, "'\u{10ffff} \u{10000}'"),
            (r#""\q \u12 \u12zz""#, r"'\q \u12 \u12zz'"),
            ("\"a\nb\"", "'a\nb'"),
            // What is no JSON.
            ("[1 2]", "[ 1 ! a comma is missing at byte 3"),
            ("[,1]", "[ ! a value is missing at byte 1"),
            ("{1}", "{ ! a key is missing at byte 1"),
            (r#"{"a" 1}"#, "{ ! a colon is missing at byte 5"),
            (r#"{"a":}"#, "{ a: ! a value is missing at byte 5"),
            ("[}", "[ ! a value is missing at byte 1"),
            ("{]", "{ ! a key is missing at byte 1"),
            ("]", "! a value is missing at byte 0"),
            ("[1", "[ 1 ! the text ends within a value at byte 2"),
            (r#"{"a":"#, "{ a: ! the text ends within a value at byte 5"),
            (r#""a"#, "! the text ends within a string at byte 2"),
            (r#""\"#, "! the text ends within a string at byte 2"),
            (r#""\u00"#, "! the text ends within a string at byte 5"),
            ("nul", "! a value is missing at byte 0"),
            ("e", "! a value is missing at byte 0"),
            ("1-2-3", "! a value is missing at byte 0"),
        ];
        for (text, expected) in cases {
            assert_eq!(tokens(text.as_bytes()), *expected, "{text}");
        }
        assert_eq!(tokens(b"\"\xff\xe4\""), "'\u{fffd}\u{fffd}'");
    }

    #[test]
    fn objects_and_lists_are_walked_by_their_keys_and_elements() -> Result<(), JsonError> {
        let mut reader = Reader::new(br#" {"a": {"b": [1, [2]]}, "c": [3, 4], "d": "e"} "#);
        reader.begin_object()?;
        assert_eq!(reader.key()?.as_deref(), Some("a"));
        assert_eq!(reader.peek(), Kind::Object);
        assert_eq!(reader.skip_value()?, br#"{"b": [1, [2]]}"#);
        assert_eq!(reader.key()?.as_deref(), Some("c"));
        reader.begin_array()?;
        assert!(reader.has_element()?);
        assert_eq!(reader.next()?, Token::Number("3"));
        reader.leave()?;
        assert_eq!((reader.key()?.as_deref(), reader.depth()), (Some("d"), 1));
        assert_eq!((reader.peek(), reader.skip_value()?), (Kind::String, &br#""e""#[..]));
        assert_eq!((reader.key()?, reader.depth()), (None, 0));
        assert_eq!(reader.next()?, Token::End);
        assert!(reader.skip_value().is_err());

        let mut reader = Reader::new(b"[1]");
        reader.begin_array()?;
        assert!(reader.has_element()? && reader.has_element()?);
        assert_eq!(reader.skip_value()?, b"1");
        assert!(reader.clone().skip_value().is_err());
        assert!(!reader.has_element()?);
        assert!(Reader::new(b"[]").begin_object().is_err());
        assert!(Reader::new(b"{}").begin_array().is_err());
        Ok(())
    }

    #[test]
    fn a_megabyte_of_brackets_takes_no_stack() {
        let text = "[".repeat(1 << 20);
        assert!(Reader::new(text.as_bytes()).skip_value().is_err());
        let text = text + &"]".repeat(1 << 20);
        assert_eq!(Reader::new(text.as_bytes()).skip_value().map(<[u8]>::len), Ok(text.len()));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_to_their_end_or_an_error(text in r#"([\[\]{},:"\\ue0-9a. -]|null|"[a-z]*")*"#, bytes: Vec<u8>) {
            for text in [text.as_bytes(), &bytes] {
                let mut reader = Reader::new(text);
                while !matches!(reader.next(), Ok(Token::End) | Err(_)) {}
                let mut reader = Reader::new(text);
                while reader.skip_value().is_ok() {}
            }
        }

        #[test]
        fn what_is_valid_json_is_valid_here(text in r#"[\[\]{},:"a1 ]*"#) {
            if serde_json::from_str::<serde_json::Value>(&text).is_ok() {
                proptest::prop_assert_eq!(Reader::new(text.as_bytes()).skip_value(), Ok(text.trim().as_bytes()));
            }
        }
    }
}
