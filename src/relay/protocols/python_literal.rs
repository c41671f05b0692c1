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
                let (Value::List(items) | Value::Set(items)) = self.literal(depth)?.value else { return None };
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
        let (open, close) = if rest.starts_with(&quote.repeat(3)) { (3, quote.repeat(3)) } else { (1, quote.to_owned()) };
        self.at += open;
        let source = self.to_close(&close)?;
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
    fn to_close(&mut self, close: &str) -> Option<&'a str> {
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
fn unescape(source: &str, in_bytes: bool) -> Option<Unescaped> {
    let mut text = String::with_capacity(source.len());
    let mut is_bytes = source.is_ascii();
    let mut rest = source;
    while let Some((plain, escape)) = rest.split_once('\\') {
        text.push_str(plain);
        let kind = escape.chars().next()?;
        rest = &escape[kind.len_utf8()..];
        let digits = match kind {
            'x' => 2,
            'u' if !in_bytes => 4,
            'U' if !in_bytes => 8,
            'N' if !in_bytes => return None,
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
        if let (0xd800..0xdc00, Some(second)) = (code, rest.strip_prefix("\\u").and_then(|rest| hex(rest, 4))) {
            if (0xdc00..0xe000).contains(&second) && digits == 4 {
                code = 0x1_0000 + ((code - 0xd800) << 10) + (second - 0xdc00);
                rest = &rest[6..];
            }
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
