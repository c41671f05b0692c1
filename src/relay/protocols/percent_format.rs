//! Python's `%` of a text and its arguments, which makes the message of a log record.

use std::borrow::Cow;

use super::python_literal::{Literal, Value};

/// The longest width and precision. Python has no such limit, but nobody who logs needs more.
const MAX_WIDTH: usize = 4096;

/// The longest message that is made.
const MAX_BYTES: usize = 4 << 20;

/// The message of a format and its arguments: a tuple, a dict, or one value. `None` where Python would raise an error.
///
/// The `repr` of an argument is the text that it was read from.
pub(super) fn format(format: &str, arguments: &Literal<'_>) -> Option<String> {
    let mut arguments = Arguments::new(arguments);
    let mut message = String::with_capacity(format.len() + 16);
    let mut rest = format;
    while let Some((plain, behind)) = rest.split_once('%') {
        message.push_str(plain);
        let mut spec = behind;
        if let Some(behind) = spec.strip_prefix('%') {
            message.push('%');
            rest = behind;
            continue;
        }
        if let Some(behind) = spec.strip_prefix('(') {
            let (key, behind) = split_key(behind)?;
            arguments.select(key)?;
            spec = behind;
        }
        let conversion = Conversion::read(&mut spec, &mut arguments)?;
        if conversion.kind == '%' {
            message.push('%');
        } else {
            message.push_str(&conversion.write(arguments.next()?)?);
        }
        if message.len() > MAX_BYTES {
            return None;
        }
        rest = spec;
    }
    message.push_str(rest);
    arguments.all_used().then_some(message)
}

/// The key before its closing parenthesis, and what is behind it. A key may have parentheses in pairs.
fn split_key(text: &str) -> Option<(&str, &str)> {
    let mut open = 1;
    let end = text.bytes().position(|byte| {
        open += i32::from(byte == b'(') - i32::from(byte == b')');
        open == 0
    })?;
    Some((&text[..end], &text[end + 1..]))
}

/// The arguments, as they are used up.
struct Arguments<'a> {
    /// What keys look into.
    by_key: Option<&'a [(Literal<'a>, Literal<'a>)]>,
    /// Those that are left.
    left: &'a [Literal<'a>],
    /// Whether some may be left at the end.
    may_be_left: bool,
}

impl<'a> Arguments<'a> {
    fn new(arguments: &'a Literal<'a>) -> Self {
        let (by_key, left) = match &arguments.value {
            Value::Dict(members) => (Some(members.as_slice()), std::slice::from_ref(arguments)),
            Value::Tuple(items) => (None, items.as_slice()),
            _ => (None, std::slice::from_ref(arguments)),
        };
        let may_be_left = matches!(arguments.value, Value::Dict(_) | Value::List(_) | Value::Bytes(_));
        Self { by_key, left, may_be_left }
    }

    fn select(&mut self, key: &str) -> Option<()> {
        let is_key = |name: &Literal<'_>| matches!(&name.value, Value::Text(name) if name == key);
        let (_, value) = self.by_key?.iter().rfind(|(name, _)| is_key(name))?;
        self.left = std::slice::from_ref(value);
        Some(())
    }

    fn next(&mut self) -> Option<&'a Literal<'a>> {
        let (first, left) = self.left.split_first()?;
        self.left = left;
        Some(first)
    }

    fn all_used(&self) -> bool {
        self.left.is_empty() || self.may_be_left
    }
}

/// What stands behind a percent sign, but for the key.
#[derive(Default)]
struct Conversion {
    alternate: bool,
    zero: bool,
    left: bool,
    space: bool,
    plus: bool,
    width: usize,
    precision: Option<usize>,
    kind: char,
}

impl Conversion {
    fn read(spec: &mut &str, arguments: &mut Arguments<'_>) -> Option<Self> {
        let mut conversion = Self::default();
        loop {
            match spec.bytes().next()? {
                b'#' => conversion.alternate = true,
                b'0' => conversion.zero = true,
                b'-' => conversion.left = true,
                b' ' => conversion.space = true,
                b'+' => conversion.plus = true,
                _ => break,
            }
            *spec = &spec[1..];
        }
        let width = length(spec, arguments)?.unwrap_or_default();
        conversion.left |= width < 0;
        conversion.width = usize::try_from(width.unsigned_abs()).ok()?;
        if let Some(behind) = spec.strip_prefix('.') {
            *spec = behind;
            // A negative one counts as none of its digits.
            let precision = length(spec, arguments)?.unwrap_or_default();
            conversion.precision = Some(usize::try_from(precision).unwrap_or_default());
        }
        *spec = spec.strip_prefix(['h', 'l', 'L']).unwrap_or(spec);
        conversion.kind = spec.chars().next()?;
        *spec = &spec[conversion.kind.len_utf8()..];
        Some(conversion)
    }

    fn write(&self, argument: &Literal<'_>) -> Option<String> {
        match self.kind {
            's' => Some(self.text(&to_text(argument))),
            'r' => Some(self.text(argument.repr)),
            'a' => Some(self.text(&to_ascii(argument.repr))),
            'c' => Some(self.character(character(&argument.value)?)),
            'd' | 'i' | 'u' => {
                let digits = whole(&argument.value)?;
                let (negative, digits) = digits.strip_prefix('-').map_or((false, &*digits), |digits| (true, digits));
                Some(self.number(negative, "", &self.with_precision(digits)))
            }
            'x' | 'X' | 'o' => {
                let value = match argument.value {
                    Value::Int(value) => value,
                    Value::Bool(value) => value.into(),
                    _ => return None,
                };
                let (prefix, digits) = match self.kind {
                    'x' => ("0x", format!("{:x}", value.unsigned_abs())),
                    'X' => ("0X", format!("{:X}", value.unsigned_abs())),
                    _ => ("0o", format!("{:o}", value.unsigned_abs())),
                };
                let prefix = if self.alternate { prefix } else { "" };
                Some(self.number(value < 0, prefix, &self.with_precision(&digits)))
            }
            'e' | 'E' | 'f' | 'F' | 'g' | 'G' => {
                let value = float(&argument.value)?;
                let negative = value.is_sign_negative() && !value.is_nan();
                let digits = self.float(value.abs());
                let digits = if self.kind.is_ascii_uppercase() { digits.to_ascii_uppercase() } else { digits };
                Some(self.number(negative, "", &digits))
            }
            _ => None,
        }
    }

    /// A text, cut to the precision and filled to the width.
    fn text(&self, text: &str) -> String {
        let end = self.precision.and_then(|precision| text.char_indices().nth(precision));
        let text = end.map_or(text, |(end, _)| &text[..end]);
        self.fill(text.to_owned())
    }

    fn character(&self, character: char) -> String {
        self.fill(character.to_string())
    }

    fn fill(&self, text: String) -> String {
        let missing = self.width.saturating_sub(text.chars().count());
        if self.left { text + &" ".repeat(missing) } else { " ".repeat(missing) + &text }
    }

    fn with_precision(&self, digits: &str) -> String {
        let missing = self.precision.unwrap_or_default().saturating_sub(digits.len());
        "0".repeat(missing) + digits
    }

    /// A number of sign, prefix and digits. Zeros go between them, spaces around them.
    fn number(&self, negative: bool, prefix: &str, digits: &str) -> String {
        let sign = match (negative, self.plus, self.space) {
            (true, ..) => "-",
            (false, true, _) => "+",
            (false, false, true) => " ",
            (false, false, false) => "",
        };
        let missing = self.width.saturating_sub(sign.len() + prefix.len() + digits.len());
        let zeros = "0".repeat(if self.zero && !self.left { missing } else { 0 });
        self.fill(format!("{sign}{prefix}{zeros}{digits}"))
    }

    /// A float without a sign, in lower case.
    fn float(&self, value: f64) -> String {
        if !value.is_finite() {
            return if value.is_nan() { "nan" } else { "inf" }.to_owned();
        }
        let precision = self.precision.unwrap_or(6);
        let point = if self.alternate { "." } else { "" };
        match self.kind.to_ascii_lowercase() {
            'f' => format!("{value:.precision$}{}", if precision == 0 { point } else { "" }),
            'e' => with_exponent(value, precision, point),
            _ => {
                let precision = precision.max(1);
                let rounded = format!("{value:.*e}", precision - 1);
                let exponent: i32 = rounded.split_once('e').and_then(|(_, digits)| digits.parse().ok()).unwrap_or_default();
                let fixed = usize::try_from(i32::try_from(precision).unwrap_or(i32::MAX) - 1 - exponent);
                let (digits, tail) = match fixed {
                    Ok(decimals) if exponent >= -4 => {
                        (format!("{value:.decimals$}{}", if decimals == 0 { point } else { "" }), String::new())
                    }
                    _ => {
                        let text = with_exponent(value, precision - 1, point);
                        let (digits, tail) = text.split_once('e').unwrap_or((&text, ""));
                        (digits.to_owned(), format!("e{tail}"))
                    }
                };
                let is_trimmed = !self.alternate && digits.contains('.');
                let digits = if is_trimmed { digits.trim_end_matches('0').trim_end_matches('.') } else { &digits };
                format!("{digits}{tail}")
            }
        }
    }
}

/// A float with an exponent of at least two digits; `point` follows a whole number.
fn with_exponent(value: f64, precision: usize, point: &str) -> String {
    let text = format!("{value:.precision$e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
    format!("{digits}{}e{sign}{exponent:0>2}", if precision == 0 { point } else { "" })
}

/// A width or precision: its digits, or an argument in place of `*`. The outer `None` is an error, the inner one that there is none.
fn length(spec: &mut &str, arguments: &mut Arguments<'_>) -> Option<Option<i64>> {
    let length = if let Some(behind) = spec.strip_prefix('*') {
        *spec = behind;
        match arguments.next()?.value {
            Value::Int(length) => i64::try_from(length).ok()?,
            Value::Bool(length) => length.into(),
            _ => return None,
        }
    } else {
        let len = spec.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, behind) = spec.split_at(len);
        *spec = behind;
        if digits.is_empty() {
            return Some(None);
        }
        digits.parse().ok()?
    };
    (usize::try_from(length.unsigned_abs()).ok()? <= MAX_WIDTH).then_some(Some(length))
}

/// What `str` makes of a value.
fn to_text<'a>(literal: &'a Literal<'_>) -> Cow<'a, str> {
    match &literal.value {
        Value::Text(text) => text.as_ref().into(),
        Value::Int(value) => value.to_string().into(),
        Value::LongInt(digits) => (*digits).into(),
        _ => literal.repr.into(),
    }
}

/// A `repr` with escapes in place of what is not ASCII.
fn to_ascii(repr: &str) -> String {
    let mut text = String::with_capacity(repr.len());
    for character in repr.chars() {
        match u32::from(character) {
            0..=0x7f => text.push(character),
            code @ 0x80..=0xff => text.push_str(&format!("\\x{code:02x}")),
            code @ 0x100..=0xffff => text.push_str(&format!("\\u{code:04x}")),
            code => text.push_str(&format!("\\U{code:08x}")),
        }
    }
    text
}

/// The decimal digits of a number, without its fraction.
fn whole(value: &Value<'_>) -> Option<String> {
    match value {
        Value::Int(value) => Some(value.to_string()),
        Value::LongInt(digits) => Some((*digits).to_owned()),
        Value::Bool(value) => Some(u8::from(*value).to_string()),
        Value::Float(value) if value.is_finite() => {
            let digits = format!("{:.0}", value.trunc());
            Some(if digits == "-0" { "0".to_owned() } else { digits })
        }
        _ => None,
    }
}

#[allow(clippy::cast_precision_loss, reason = "Python loses it as well")]
fn float(value: &Value<'_>) -> Option<f64> {
    match value {
        Value::Float(value) => Some(*value),
        Value::Int(value) => Some(*value as f64),
        Value::LongInt(digits) => digits.parse().ok().filter(|value: &f64| value.is_finite()),
        Value::Bool(value) => Some((*value).into()),
        _ => None,
    }
}

fn character(value: &Value<'_>) -> Option<char> {
    match value {
        Value::Int(code @ 0xd800..0xe000) => Some(*code).and(Some(char::REPLACEMENT_CHARACTER)),
        Value::Int(code) => char::from_u32(u32::try_from(*code).ok()?),
        Value::Bool(value) => Some(char::from(u8::from(*value))),
        Value::Text(text) => {
            let mut characters = text.chars();
            characters.next().filter(|_| characters.next().is_none())
        }
        _ => None,
    }
}
