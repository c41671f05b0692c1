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
#[allow(clippy::struct_excessive_bools, reason = "one for each flag")]
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
        let width = length(spec, arguments)?;
        conversion.left |= width < 0;
        conversion.width = usize::try_from(width.unsigned_abs()).ok()?;
        if let Some(behind) = spec.strip_prefix('.') {
            *spec = behind;
            // A negative one counts as none of its digits.
            let precision = length(spec, arguments)?;
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
                let exponent: i32 =
                    rounded.split_once('e').and_then(|(_, digits)| digits.parse().ok()).unwrap_or_default();
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

/// A width or precision: its digits, or an argument in place of `*`; 0 if there is none.
fn length(spec: &mut &str, arguments: &mut Arguments<'_>) -> Option<i64> {
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
            return Some(0);
        }
        digits.parse().ok()?
    };
    (usize::try_from(length.unsigned_abs()).ok()? <= MAX_WIDTH).then_some(length)
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
            code @ 0x80..=0xff => text.extend(["\\x", &format!("{code:02x}")]),
            code @ 0x100..=0xffff => text.extend(["\\u", &format!("{code:04x}")]),
            code => text.extend(["\\U", &format!("{code:08x}")]),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::protocols::python_literal::parse;

    fn formatted(text: &str, arguments: &str) -> Option<String> {
        format(text, &parse(arguments).expect("a literal"))
    }

    /// A format, the `repr` of its arguments, and what Python 3.6 makes of them, as `format % arguments` printed it.
    /// The later ones differ in `%5%`, an error for 3.13.
    #[test]
    #[rustfmt::skip]
    #[allow(clippy::too_many_lines, reason = "a table")]
    fn a_message_is_the_one_that_python_makes() {
        let cases: &[(&str, &str, Option<&str>)] = &[
            ("plain", "()", Some("plain")),
            ("100%%", "()", Some("100%")),
            ("%s", "('a',)", Some("a")),
            ("%s and %s", "('a', 1)", Some("a and 1")),
            ("%s", "()", None),
            ("a", "(1,)", None),
            ("%s", "(1, 2)", None),
            ("%s %s %s %s", "(None, True, False, 1.5)", Some("None True False 1.5")),
            ("%s", "(0.30000000000000004,)", Some("0.30000000000000004")),
            ("%s %s %s", "(1e+16, 1e-05, 123456789.0)", Some("1e+16 1e-05 123456789.0")),
            ("%r", "(\"it's\",)", Some("\"it's\"")),
            ("%r", "('q\"\\'',)", Some("'q\"\\''")),
            ("%s", "('é€😀',)", Some("é€😀")),
            ("%r", "('é€😀\\x85\\n',)", Some("'é€😀\\x85\\n'")),
            ("%a", "('é€😀',)", Some("'\\xe9\\u20ac\\U0001f600'")),
            ("%5s|%-5s|%05s|%.2s|%5.1s|", "('é', 'é', 'é', 'é', 'é')", Some("    é|é    |    é|é|    é|")),
            ("%*s|%-*s|%.*s", "(5, 'a', 5, 'b', 1, 'cd')", Some("    a|b    |c")),
            ("%*s|", "(-5, 'a')", Some("a    |")),
            ("%.*s|", "(-1, 'abc')", Some("|")),
            ("%s", "((1, 2),)", Some("(1, 2)")),
            ("%s", "([1, 'a', None, {'k': (1,)}],)", Some("[1, 'a', None, {'k': (1,)}]")),
            ("%s", "({'a': [1.0, 2]},)", Some("{'a': [1.0, 2]}")),
            ("%s", "(b'a\\xff\\n',)", Some("b'a\\xff\\n'")),
            ("%r", "({1},)", Some("{1}")),
            ("%s", "(set(),)", Some("set()")),
            ("%s", "(frozenset({1}),)", Some("frozenset({1})")),
            ("%d %i %u", "(1, -2, 3)", Some("1 -2 3")),
            ("%d", "(3.99,)", Some("3")),
            ("%d", "(-3.99,)", Some("-3")),
            ("%d", "(-0.5,)", Some("0")),
            ("%d", "(True,)", Some("1")),
            ("%d", "('3',)", None),
            ("%d", "(None,)", None),
            ("%d", "(nan,)", None),
            ("%d", "(inf,)", None),
            ("%d", "(1e+22,)", Some("10000000000000000000000")),
            ("%d", "(1180591620717411303424,)", Some("1180591620717411303424")),
            ("%s", "(-1606938044258990275541962092341162602522202993782792835301376,)", Some("-1606938044258990275541962092341162602522202993782792835301376")),
            ("%f", "(1606938044258990275541962092341162602522202993782792835301376,)", Some("1606938044258990275541962092341162602522202993782792835301376.000000")),
            ("%x", "(1267650600228229401496703205376,)", Some("10000000000000000000000000")),
            ("%5d|%-5d|%05d|%+d|% d|%+5d|%-+5d|", "(42, 42, 42, 42, 42, 42, 42)", Some("   42|42   |00042|+42| 42|  +42|+42  |")),
            ("%05d|%+05d|% 05d|%-05d|", "(-42, 42, 42, 42)", Some("-0042|+0042| 0042|42   |")),
            ("%.3d|%5.3d|%05.3d|%-6.3d|%+.3d", "(5, 5, 5, 5, 5)", Some("005|  005|00005|005   |+005")),
            ("%+d % d", "(-1, -1)", Some("-1 -1")),
            ("%+ d", "(1,)", Some("+1")),
            ("%.0d", "(0,)", Some("0")),
            ("%x %X %o", "(255, 255, 8)", Some("ff FF 10")),
            ("%#x %#X %#o", "(255, 255, 8)", Some("0xff 0XFF 0o10")),
            ("%#06x|%#6x|%-#6x|%06x|", "(255, 255, 255, 255)", Some("0x00ff|  0xff|0xff  |0000ff|")),
            ("%x %#x", "(-255, -255)", Some("-ff -0xff")),
            ("%#o %#x", "(0, 0)", Some("0o0 0x0")),
            ("%.4x|%#.4x|%#08.4x", "(10, 10, 10)", Some("000a|0x000a|0x00000a")),
            ("%x", "(1.0,)", None),
            ("%x", "(True,)", Some("1")),
            ("%f %F", "(1.5, 1.5)", Some("1.500000 1.500000")),
            ("%f", "(1,)", Some("1.000000")),
            ("%.0f %.1f %.2f %.3f", "(2.5, 0.25, 1.005, 0.0001)", Some("2 0.2 1.00 0.000")),
            ("%#.0f", "(3.0,)", Some("3.")),
            ("%10.2f|%-10.2f|%010.2f|%+.2f|% .2f", "(3.14159, 3.14159, 3.14159, 3.14159, 3.14159)", Some("      3.14|3.14      |0000003.14|+3.14| 3.14")),
            ("%f", "(-0.0,)", Some("-0.000000")),
            ("%.3f", "(1e+22,)", Some("10000000000000000000000.000")),
            ("%f %F %e %g %G", "(nan, nan, nan, nan, nan)", Some("nan NAN nan nan NAN")),
            ("%f %F %e %g", "(inf, inf, -inf, -inf)", Some("inf INF -inf -inf")),
            ("%08f|%-8f|%+f", "(inf, inf, inf)", Some("00000inf|inf     |+inf")),
            ("%+f", "(nan,)", Some("+nan")),
            ("%05f", "(-inf,)", Some("-0inf")),
            ("%f", "('1',)", None),
            ("%f", "(True,)", Some("1.000000")),
            ("%e %E", "(12345.678, 12345.678)", Some("1.234568e+04 1.234568E+04")),
            ("%.0e %#.0e %.3e", "(12345.678, 12345.678, 12345.678)", Some("1e+04 1.e+04 1.235e+04")),
            ("%e %e", "(0.0, 1e-300)", Some("0.000000e+00 1.000000e-300")),
            ("%e", "(1e+100,)", Some("1.000000e+100")),
            ("%12.3e|%-12.3e|%012.3e", "(1234.5, 1234.5, 1234.5)", Some("   1.234e+03|1.234e+03   |0001.234e+03")),
            ("%g %g %g %g %g", "(0.0001, 1e-05, 123456.0, 1234567.0, 1e+100)", Some("0.0001 1e-05 123456 1.23457e+06 1e+100")),
            ("%g %g", "(100000.0, 1000000.0)", Some("100000 1e+06")),
            ("%g", "(0.0,)", Some("0")),
            ("%.3g|%.10g|%.0g|%#g|%#.3g|%G", "(3.14159265, 3.14159265, 3.14, 1.0, 100.0, 1e-10)", Some("3.14|3.14159265|3|1.00000|100.|1E-10")),
            ("%g", "(999999.5,)", Some("1e+06")),
            ("%.3g", "(999.5,)", Some("1e+03")),
            ("%#.0g %#.1g", "(5.0, 5.0)", Some("5. 5.")),
            ("%#.3g", "(10000000000.0,)", Some("1.00e+10")),
            ("%010g|%+g|% g", "(1.5, 1.5, 1.5)", Some("00000001.5|+1.5| 1.5")),
            ("%.17g", "(0.1,)", Some("0.10000000000000001")),
            ("%g", "(123,)", Some("123")),
            ("%c%c", "(65, 'b')", Some("Ab")),
            ("%c", "(8364,)", Some("€")),
            ("%5c|%-5c|%05c|", "('a', 'b', 'c')", Some("    a|b    |    c|")),
            ("%c", "('ab',)", None),
            ("%c", "(1114112,)", None),
            ("%c", "(-1,)", None),
            ("%c", "(1.0,)", None),
            ("%.0c|", "('a',)", Some("a|")),
            ("%(a)s %(b)d", "{'a': 'x', 'b': 3}", Some("x 3")),
            ("%(a)s", "{'a': {'c': 1}}", Some("{'c': 1}")),
            ("%(missing)s", "{'a': 1}", None),
            ("%(a)5.1f|", "{'a': 2.25}", Some("  2.2|")),
            ("%s", "{'a': 1}", Some("{'a': 1}")),
            ("%s %s", "{'a': 1}", None),
            ("%(a)s %s", "{'a': 1}", None),
            ("nothing", "{'a': 1}", Some("nothing")),
            ("%(a)s", "(1,)", None),
            ("%(a(b)c)s", "{'a(b)c': 1}", Some("1")),
            ("%(a)*d", "{'a': 1}", None),
            ("%(a)%", "{'a': 1}", Some("%")),
            ("%(a", "{'a': 1}", None),
            ("%()s", "{'': 1}", Some("1")),
            ("%(é)s", "{'é': 'ü'}", Some("ü")),
            ("%", "(1,)", None),
            ("100%", "(1,)", None),
            ("%5%|", "()", Some("%|")),
            ("%y", "(1,)", None),
            ("% s|", "('a',)", Some("a|")),
            ("%ld %hd %Lf %lls", "(1, 2, 3.0, 4)", None),
            ("%lld", "(1,)", None),
            ("%%%s%%", "(1,)", Some("%1%")),
            ("50% done %s", "(1,)", None),
            ("50% off", "(1,)", Some("50 1ff")),
            ("%é", "(1,)", None),
            ("%-+ #05d|", "(7,)", Some("+7   |")),
            ("%s", "[1, 2]", Some("[1, 2]")),
            ("x", "[1, 2]", Some("x")),
            ("x", "5", None),
            ("%d", "5", Some("5")),
            ("%.d", "(5,)", Some("5")),
            ("%.f|%.e|%.g|%.s|", "(1.5, 1.5, 1.5, 'abc')", Some("2|2e+00|2||")),
            ("%5.f|", "(2.5,)", Some("    2|")),
            ("%s%", "('a',)", None),
            ("%r %r %r", "('u', 5, 1.0)", Some("'u' 5 1.0")),
            ("%.3r", "('abcdef',)", Some("'ab")),
            ("%10a|", "('é',)", Some("    '\\xe9'|")),
            ("%*d", "('a', 1)", None),
            ("%*d", "(True, 1)", Some("1")),
            ("%.*f", "(3, 1.0)", Some("1.000")),
            ("%-*.*f|", "(9, 2, 3.14159)", Some("3.14     |")),
            ("%d%%", "(50,)", Some("50%")),
            ("\n%s\t", "('x',)", Some("\nx\t")),
            ("%s %s", "('a',)", None),
            ("%+.1e", "(0.05,)", Some("+5.0e-02")),
            ("%.15g", "(1000000000000000.0,)", Some("1e+15")),
            ("%.6g", "(1000000000000000.0,)", Some("1e+15")),
            ("%s", "(1e+301,)", Some("1e+301")),
            ("%#x", "(10,)", Some("0xa")),
        ];
        for (text, arguments, expected) in cases {
            assert_eq!(formatted(text, arguments).as_deref(), *expected, "{text:?} % {arguments}");
        }
    }

    #[test]
    fn a_message_of_python_2_is_made_of_its_texts_and_long_integers() {
        let arguments = r"(u'caf\xe9', 'caf\xc3\xa9', 5L, 'x')";
        assert_eq!(formatted("%s %s %s %r", arguments).as_deref(), Some("café café 5 'x'"));
        assert_eq!(formatted("%r %r", r"(u'\xe9', 5L)").as_deref(), Some(r"u'\xe9' 5L"));
    }

    #[test]
    fn a_width_that_nobody_needs_fails() {
        for text in ["%99999s", "%.99999f", "%99999999999999999999s", "%.99999999999999999999s"] {
            assert_eq!(formatted(text, "(1,)"), None, "{text}");
        }
        assert_eq!(formatted("%*s", "(99999, 1)"), None);
        assert_eq!(formatted("%*s", "(-170141183460469231731687303715884105727, 1)"), None);
        let many = "%4096s".repeat(2000);
        assert_eq!(formatted(&many, &format!("({})", "1,".repeat(2000))), None);
    }

    proptest::proptest! {
        #[test]
        fn any_format_is_a_message_or_none(
            text in r"(%|\(a\)|[#0 +-]|[0-9]{1,2}|\*|\.|[srdiufFeEgGxXoca]|[a-zé()])*",
            arguments in r"(\((-?[0-9.]{1,40}, |'é', |None, |nan, |\[\], ){0,5}\)|\{'a': 1\}|-?[0-9]{1,40})",
        ) {
            if let Some(arguments) = parse(&arguments) {
                let _ = format(&text, &arguments);
            }
        }
    }
}
