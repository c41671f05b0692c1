//! Python's literals, as `repr` writes them: what `args` of a log record are once `HTTPHandler` has made a text of them.
//!
//! `nan` and `inf` are read as well, which `repr` writes and Python itself reads as names. A list of 100,000 values, a nesting of 64 and an
//! integer of 4,096 digits are the most that is read.

use std::borrow::Cow;

const MAX_DEPTH: usize = 64;
const MAX_VALUES: usize = 100_000;
const MAX_DIGITS: usize = 4096;

/// A value, and the text that it was read from, which is its `repr` in the Python that wrote it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Literal<'a> {
    pub(super) repr: &'a str,
    pub(super) value: Value<'a>,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value<'a> {
    None,
    Bool(bool),
    Int(i128),
    /// The decimal digits of a larger integer, with its sign.
    LongInt(&'a str),
    Float(f64),
    Text(Cow<'a, str>),
    Bytes(Vec<u8>),
    Tuple(Vec<Literal<'a>>),
    List(Vec<Literal<'a>>),
    Set(Vec<Literal<'a>>),
    Dict(Vec<(Literal<'a>, Literal<'a>)>),
}

/// The value of a text that is one literal; `None` if it is anything else.
pub(super) fn parse(text: &str) -> Option<Literal<'_>> {
    let mut parser = Parser { text, at: 0, left: MAX_VALUES };
    let literal = parser.literal(MAX_DEPTH)?;
    parser.skip_space();
    (parser.at == text.len()).then_some(literal)
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    /// How many values may still be read.
    left: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// Reads this text if it comes next, behind white space.
    fn eat(&mut self, text: &str) -> bool {
        self.skip_space();
        let found = self.rest().starts_with(text);
        self.at += if found { text.len() } else { 0 };
        found
    }

    fn literal(&mut self, depth: usize) -> Option<Literal<'a>> {
        self.skip_space();
        self.left = self.left.checked_sub(1)?;
        let start = self.at;
        let value = match self.peek()? {
            b'(' => self.tuple(depth.checked_sub(1)?)?,
            b'[' => self.list(depth.checked_sub(1)?)?,
            b'{' => self.braces(depth.checked_sub(1)?)?,
            b'"' | b'\'' => self.string("")?,
            b'0'..=b'9' | b'.' | b'+' | b'-' => self.number()?,
            _ => self.word(depth)?,
        };
        Some(Literal { repr: &self.text[start..self.at], value })
    }

    /// Values up to a closing bracket, and whether a comma stands behind the last one.
    fn items(&mut self, close: &str, depth: usize) -> Option<(Vec<Literal<'a>>, bool)> {
        let mut items = Vec::new();
        let mut comma = true;
        while !self.eat(close) {
            if !comma {
                return None;
            }
            items.push(self.literal(depth)?);
            comma = self.eat(",");
        }
        Some((items, comma))
    }

    fn tuple(&mut self, depth: usize) -> Option<Value<'a>> {
        self.at += 1;
        let (mut items, comma) = self.items(")", depth)?;
        // Parentheses around one value are no tuple.
        if items.len() == 1 && !comma { items.pop().map(|item| item.value) } else { Some(Value::Tuple(items)) }
    }

    fn list(&mut self, depth: usize) -> Option<Value<'a>> {
        self.at += 1;
        Some(Value::List(self.items("]", depth)?.0))
    }

    /// A dict or a set.
    fn braces(&mut self, depth: usize) -> Option<Value<'a>> {
        self.at += 1;
        if self.eat("}") {
            return Some(Value::Dict(Vec::new()));
        }
        let first = self.literal(depth)?;
        if !self.eat(":") {
            let mut items = vec![first];
            if self.eat(",") {
                items.extend(self.items("}", depth)?.0);
            } else if !self.eat("}") {
                return None;
            }
            return Some(Value::Set(items));
        }
        let mut members = vec![(first, self.literal(depth)?)];
        while self.eat(",") {
            if self.eat("}") {
                return Some(Value::Dict(members));
            }
            let key = self.literal(depth)?;
            members.push((key, self.eat(":").then(|| self.literal(depth))??));
        }
        self.eat("}").then_some(Value::Dict(members))
    }

    /// A name, or the prefix of a text.
    fn word(&mut self, depth: usize) -> Option<Value<'a>> {
        let rest = self.rest();
        let word = &rest[..rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len())];
        self.at += word.len();
        match word {
            "None" => Some(Value::None),
            "True" => Some(Value::Bool(true)),
            "False" => Some(Value::Bool(false)),
            "nan" => Some(Value::Float(f64::NAN)),
            "inf" => Some(Value::Float(f64::INFINITY)),
            "set" | "frozenset" if self.eat("(") => {
                if self.eat(")") {
                    return Some(Value::Set(Vec::new()));
                }
                let (Value::List(items) | Value::Set(items)) = self.literal(depth.checked_sub(1)?)?.value else {
                    return None;
                };
                self.eat(")").then_some(Value::Set(items))
            }
            _ if word.len() <= 2 && matches!(self.peek(), Some(b'"' | b'\'')) => {
                self.string(&word.to_ascii_lowercase())
            }
            _ => None,
        }
    }

    fn number(&mut self) -> Option<Value<'a>> {
        let negative = self.peek() == Some(b'-');
        let start = self.at;
        self.at += usize::from(matches!(self.peek(), Some(b'-' | b'+')));
        if self.rest().starts_with("inf") {
            self.at += 3;
            return Some(Value::Float(if negative { f64::NEG_INFINITY } else { f64::INFINITY }));
        }
        let bytes = self.rest().as_bytes();
        let is_part = |at: usize, byte: u8| match byte {
            b'+' | b'-' => matches!(bytes[at - 1], b'e' | b'E'),
            byte => byte.is_ascii_alphanumeric() || byte == b'.',
        };
        let len = (0..bytes.len()).find(|at| !is_part((*at).max(1), bytes[*at])).unwrap_or(bytes.len());
        let digits = &self.rest()[..len];
        self.at += len;
        let signed = |value: i128| if negative { -value } else { value };
        let lower = digits.to_ascii_lowercase();
        for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
            if let Some(digits) = lower.strip_prefix(prefix) {
                return i128::from_str_radix(digits.trim_end_matches('l'), radix).ok().map(|v| Value::Int(signed(v)));
            }
        }
        let whole = digits.trim_end_matches(['l', 'L']);
        if !whole.is_empty() && whole.bytes().all(|byte| byte.is_ascii_digit()) {
            return match whole.parse() {
                Ok(value) => Some(Value::Int(signed(value))),
                Err(_) if whole.len() > MAX_DIGITS => None,
                Err(_) => Some(Value::LongInt(&self.text[start..start + whole.len() + usize::from(negative)])),
            };
        }
        let is_float = digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
        let value: f64 = digits.parse().ok().filter(|_| is_float)?;
        Some(Value::Float(if negative { -value } else { value }))
    }

    /// A text or bytes, with one of Python's prefixes in lower case.
    fn string(&mut self, prefix: &str) -> Option<Value<'a>> {
        let (is_bytes, is_raw) = match prefix {
            "" | "u" => (false, false),
            "r" | "ur" => (false, true),
            "b" => (true, false),
            "br" | "rb" => (true, true),
            _ => return None,
        };
        let rest = self.rest();
        let quote = &rest[..1];
        let (open, close) =
            if rest.starts_with(&quote.repeat(3)) { (3, quote.repeat(3)) } else { (1, quote.to_owned()) };
        self.at += open;
        let source = self.until(&close)?;
        if is_bytes {
            if !source.is_ascii() {
                return None;
            }
            let source = if is_raw { Some(Unescaped::raw(source)) } else { unescape(source, true) };
            return source?.bytes().map(Value::Bytes);
        }
        if is_raw || !source.contains('\\') {
            return Some(Value::Text(source.into()));
        }
        let text = unescape(source, false)?;
        // Python 2 writes each byte of its `str` like that, and Python 3 only characters that are no UTF-8.
        let bytes = if prefix.is_empty() && text.is_bytes { text.bytes() } else { None };
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or(text.text);
        Some(Value::Text(text.into()))
    }

    /// What comes before the closing quotation mark, which is read as well.
    fn until(&mut self, close: &str) -> Option<&'a str> {
        let rest = self.rest();
        let bytes = rest.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            if bytes[at] == b'\\' {
                at += 2;
            } else if bytes[at..].starts_with(close.as_bytes()) {
                self.at += at + close.len();
                return rest.get(..at);
            } else {
                at += 1;
            }
        }
        None
    }
}

/// What a text's escapes stand for.
struct Unescaped {
    text: String,
    /// Whether each character stands for a byte: none is greater than 255, and those above 127 were escaped.
    is_bytes: bool,
}

impl Unescaped {
    fn raw(text: &str) -> Self {
        Self { text: text.to_owned(), is_bytes: true }
    }

    /// A byte for each character.
    fn bytes(&self) -> Option<Vec<u8>> {
        self.text.chars().map(|character| u8::try_from(u32::from(character)).ok()).collect()
    }
}

/// `None` for an escape that is none, and for `\N{..}`, whose names are in no table here.
fn unescape(source: &str, no_unicode: bool) -> Option<Unescaped> {
    let mut text = String::with_capacity(source.len());
    let mut is_bytes = source.is_ascii();
    let mut rest = source;
    while let Some((plain, escape)) = rest.split_once('\\') {
        text.push_str(plain);
        let kind = escape.chars().next()?;
        rest = &escape[kind.len_utf8()..];
        let digits = match kind {
            'x' => 2,
            'u' if !no_unicode => 4,
            'U' if !no_unicode => 8,
            'N' if !no_unicode => return None,
            '0'..='7' => {
                let len = escape.bytes().take(3).take_while(|byte| matches!(byte, b'0'..=b'7')).count();
                text.push(char::from_u32(u32::from_str_radix(&escape[..len], 8).ok()?)?);
                is_bytes &= text.ends_with(|last| last <= '\u{ff}');
                rest = &escape[len..];
                continue;
            }
            kind => {
                let known = match kind {
                    '\n' => continue,
                    '\\' | '\'' | '"' => kind,
                    'a' => '\u{7}',
                    'b' => '\u{8}',
                    'f' => '\u{c}',
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    'v' => '\u{b}',
                    // Python leaves an unknown one as it is.
                    _ => {
                        text.push('\\');
                        kind
                    }
                };
                text.push(known);
                continue;
            }
        };
        let mut code = hex(rest, digits)?;
        rest = &rest[digits..];
        is_bytes &= digits == 2;
        // Python 2 has pairs in some builds. Half a pair is no character.
        let second =
            rest.strip_prefix("\\u").and_then(|rest| hex(rest, 4)).filter(|unit| (0xdc00..0xe000).contains(unit));
        if let (4, 0xd800..0xdc00, Some(second)) = (digits, code, second) {
            code = 0x1_0000 + ((code - 0xd800) << 10) + (second - 0xdc00);
            rest = &rest[6..];
        }
        let is_half = (0xd800..0xe000).contains(&code);
        text.push(if is_half { char::REPLACEMENT_CHARACTER } else { char::from_u32(code)? });
    }
    text.push_str(rest);
    Some(Unescaped { text, is_bytes })
}

fn hex(text: &str, digits: usize) -> Option<u32> {
    let text = text.get(..digits).filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    u32::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn value(text: &str) -> Option<Value<'_>> {
        parse(text).map(|literal| literal.value)
    }

    #[test]
    fn texts_and_bytes_are_read_with_their_prefixes_and_escapes() {
        let texts = [
            ("''", ""),
            (r#""it's""#, "it's"),
            (r#"'\\ \' \" \a\b\f\n\r\t\v'"#, "\\ ' \" \u{7}\u{8}\u{c}\n\r\t\u{b}"),
            (r"'\x41\101\0\u20ac\U0001f600'", "AA\0€😀"),
            ("'a\\\nb'", "ab"),
            (r"'\q\é'", r"\q\é"),
            (r"'\ud800 \ud83d\ude00 \udfff'", "\u{fffd} 😀 \u{fffd}"),
            (r"r'\n'", r"\n"),
            (r"R'\''", r"\'"),
            (r"u'caf\xe9'", "café"),
            (r"ur'\n'", r"\n"),
            ("'''a'b\n\\\"'''", "a'b\n\""),
            (r#""""a"b""""#, "a\"b"),
            // A `str` of Python 2, and what Python 3 does not print.
            (r"'caf\xc3\xa9'", "café"),
            (r"'caf\xe9'", "café"),
            (r"'\x85é'", "\u{85}é"),
            (r"u'\xc3\xa9'", "Ã©"),
            (r"'\xc3\xa9\u20ac'", "Ã©€"),
        ];
        for (text, expected) in texts {
            assert_eq!(value(text), Some(Value::Text(expected.into())), "{text}");
        }
        let bytes: [(&str, &[u8]); 4] =
            [(r"b'a\xff\0\n'", b"a\xff\0\n"), (r"br'\x'", br"\x"), (r"Rb'\x'", br"\x"), (r"b'\u20ac'", br"\u20ac")];
        for (text, expected) in bytes {
            assert_eq!(value(text), Some(Value::Bytes(expected.into())), "{text}");
        }
    }

    #[test]
    fn numbers_are_read_in_every_spelling() {
        const LONG: &str = "-1606938044258990275541962092341162602522202993782792835301376";
        let cases = [
            ("0", Value::Int(0)),
            ("-7", Value::Int(-7)),
            ("+7", Value::Int(7)),
            ("7L", Value::Int(7)),
            ("0xffL", Value::Int(255)),
            ("-0o17", Value::Int(-15)),
            ("0b101", Value::Int(5)),
            ("1180591620717411303424", Value::Int(1 << 70)),
            (LONG, Value::LongInt(LONG)),
            ("1606938044258990275541962092341162602522202993782792835301376L", Value::LongInt(&LONG[1..])),
            ("1.5", Value::Float(1.5)),
            ("-1e-05", Value::Float(-1e-5)),
            ("1e+16", Value::Float(1e16)),
            (".5", Value::Float(0.5)),
            ("5.", Value::Float(5.0)),
            ("inf", Value::Float(f64::INFINITY)),
            ("-inf", Value::Float(f64::NEG_INFINITY)),
        ];
        for (text, expected) in cases {
            assert_eq!(value(text), Some(expected), "{text}");
        }
        assert!(matches!(value("nan"), Some(Value::Float(value)) if value.is_nan()));
    }

    #[test]
    fn containers_are_read_with_the_text_of_each_value() {
        let text = "('a', [1, None], {'k': (True,), 2: {3}}, set([4]), frozenset(), ())";
        let literal = parse(text).expect("a literal");
        assert_eq!(literal.repr, text);
        let Value::Tuple(items) = literal.value else { panic!("no tuple") };
        let texts: Vec<_> = items.iter().map(|item| item.repr).collect();
        assert_eq!(texts, ["'a'", "[1, None]", "{'k': (True,), 2: {3}}", "set([4])", "frozenset()", "()"]);
        let int = |repr: &'static str, value| Literal { repr, value: Value::Int(value) };
        assert_eq!(items[3].value, Value::Set(vec![int("4", 4)]));
        assert_eq!(items[4].value, Value::Set(vec![]));
        let Value::Dict(members) = &items[2].value else { panic!("no dict") };
        assert_eq!(members[1].1.value, Value::Set(vec![int("3", 3)]));
        assert_eq!(value("(1)"), Some(Value::Int(1)));
        assert_eq!(value("[1,]"), Some(Value::List(vec![int("1", 1)])));
    }

    #[test]
    #[rustfmt::skip]
    fn anything_else_is_no_literal() {
        let texts = [
            "", " ", "x", "None2", "(", ")", "(1", "(1,", "[1 2]", "(,)", "{1:}", "{1:2,3}", "{1 2}", "'a", "'\\", "'a' 'b'", "b'é'", "1 2",
            "x'a'", r"'\x4'", r"'\u12'", r"'\xé'", r"'\U00110000'", r"'\N{BULLET}'", "(<object object at 0x7f>,)", "f(1)", "set(1)",
            "set([1]", "1j", "1e", "--1", "1_0", "0x", "0xg", "-", "datetime.date(2026, 1, 2)", "é", "L",
        ];
        for text in texts {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn nesting_and_length_have_a_limit() {
        let nested = |depth| "[".repeat(depth) + &"]".repeat(depth);
        assert!(parse(&nested(MAX_DEPTH)).is_some());
        for text in [nested(MAX_DEPTH + 1), nested(1_000_000), "(".repeat(1_000_000), "set(".repeat(1_000_000)] {
            assert_eq!(parse(&text), None);
        }
        let list = |len: usize| format!("[{}]", "1,".repeat(len));
        assert!(parse(&list(MAX_VALUES - 1)).is_some());
        assert_eq!(parse(&list(MAX_VALUES)), None);
        assert!(parse(&"9".repeat(MAX_DIGITS)).is_some());
        assert_eq!(parse(&"9".repeat(MAX_DIGITS + 1)), None);
    }

    /// A value of Python.
    #[derive(Clone, Debug)]
    enum Py {
        None,
        Bool(bool),
        Int(i128),
        Float(f64),
        Text(String),
        Bytes(Vec<u8>),
        Tuple(Vec<Py>),
        List(Vec<Py>),
        Set(Vec<Py>),
        Dict(Vec<(Py, Py)>),
    }

    fn any_value() -> impl Strategy<Value = Py> {
        let finite = prop::num::f64::NORMAL | prop::num::f64::ZERO | prop::num::f64::SUBNORMAL;
        let leaf = prop_oneof![
            Just(Py::None),
            any::<bool>().prop_map(Py::Bool),
            any::<i128>().prop_map(Py::Int),
            finite.prop_map(Py::Float),
            any::<String>().prop_map(Py::Text),
            vec(any::<u8>(), 0..8).prop_map(Py::Bytes),
        ];
        leaf.prop_recursive(5, 40, 5, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..5).prop_map(Py::Tuple),
                vec(inner.clone(), 0..5).prop_map(Py::List),
                vec(inner.clone(), 0..5).prop_map(Py::Set),
                vec((inner.clone(), inner), 0..5).prop_map(Py::Dict),
            ]
        })
    }

    fn joined(items: &[Py]) -> String {
        items.iter().map(repr).collect::<Vec<_>>().join(", ")
    }

    /// What Python's `repr` writes: with the quotation mark that needs no escape, and escapes for what is not printed.
    fn repr(value: &Py) -> String {
        match value {
            Py::None => "None".to_owned(),
            Py::Bool(value) => if *value { "True" } else { "False" }.to_owned(),
            Py::Int(value) => value.to_string(),
            Py::Float(value) => format!("{value:?}"),
            Py::Text(text) => quoted(&text.chars(), |character| match u32::from(character) {
                code @ (0..0x20 | 0x7f..0xa1 | 0xad) => format!("\\x{code:02x}"),
                code @ 0xe000..0xf900 => format!("\\u{code:04x}"),
                code @ 0xe_0000.. => format!("\\U{code:08x}"),
                _ => character.to_string(),
            }),
            Py::Bytes(bytes) => {
                let characters = bytes.iter().copied().map(char::from);
                let escaped = quoted(&characters, |character| match u32::from(character) {
                    code @ (0..0x20 | 0x7f..) => format!("\\x{code:02x}"),
                    _ => character.to_string(),
                });
                format!("b{escaped}")
            }
            Py::Tuple(items) if items.len() == 1 => format!("({},)", repr(&items[0])),
            Py::Tuple(items) => format!("({})", joined(items)),
            Py::List(items) => format!("[{}]", joined(items)),
            Py::Set(items) if items.is_empty() => "set()".to_owned(),
            Py::Set(items) => format!("{{{}}}", joined(items)),
            Py::Dict(members) => {
                let members: Vec<_> =
                    members.iter().map(|(key, value)| format!("{}: {}", repr(key), repr(value))).collect();
                format!("{{{}}}", members.join(", "))
            }
        }
    }

    fn quoted(characters: &(impl Iterator<Item = char> + Clone), escape: impl Fn(char) -> String) -> String {
        let has = |quote| characters.clone().any(|character| character == quote);
        let quote = if has('\'') && !has('"') { '"' } else { '\'' };
        let escaped: String = characters
            .clone()
            .map(|character| match character {
                '\n' => "\\n".to_owned(),
                '\r' => "\\r".to_owned(),
                '\t' => "\\t".to_owned(),
                character if character == quote || character == '\\' => format!("\\{character}"),
                character => escape(character),
            })
            .collect();
        format!("{quote}{escaped}{quote}")
    }

    fn is(literal: &Literal<'_>, value: &Py) -> bool {
        let all = |read: &[Literal<'_>], items: &[Py]| {
            read.len() == items.len() && read.iter().zip(items).all(|(read, item)| is(read, item))
        };
        match (&literal.value, value) {
            (Value::None, Py::None) => true,
            (Value::Bool(read), Py::Bool(value)) => read == value,
            (Value::Int(read), Py::Int(value)) => read == value,
            // The lowest of all does not fit without its sign.
            (Value::LongInt(read), Py::Int(value)) => *read == value.to_string(),
            (Value::Float(read), Py::Float(value)) => read.to_bits() == value.to_bits(),
            (Value::Text(read), Py::Text(value)) => read == value,
            (Value::Bytes(read), Py::Bytes(value)) => read == value,
            (Value::Tuple(read), Py::Tuple(items))
            | (Value::List(read), Py::List(items))
            | (Value::Set(read), Py::Set(items)) => all(read, items),
            (Value::Dict(read), Py::Dict(members)) => {
                read.len() == members.len()
                    && read.iter().zip(members).all(|(read, member)| is(&read.0, &member.0) && is(&read.1, &member.1))
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn what_repr_writes_is_read_again(value in any_value()) {
            let text = repr(&value);
            let literal = parse(&text);
            prop_assert!(literal.as_ref().is_some_and(|literal| is(literal, &value)), "{} is {:?}", text, literal);
        }

        #[test]
        fn any_text_is_a_literal_or_none(text in r#"([\[\](){},:"'\\xubeLN0-9a. +-]|None|set|nan|inf|é)*"#, other: String) {
            let _ = (parse(&text), parse(&other));
        }
    }
}
