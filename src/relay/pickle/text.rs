//! Texts, as the protocols of pickling write them.

use std::borrow::Cow;

/// UTF-8 that may hold surrogates, as Python writes names of files that are none: each of them becomes a U+FFFD, and so does
/// whatever else is none.
#[inline]
pub(super) fn utf8(bytes: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(bytes).map_or_else(|_| replaced(bytes).into(), Cow::Borrowed)
}

#[cold]
fn replaced(bytes: &[u8]) -> String {
    let mut rest = bytes;
    let mut text = String::new();
    loop {
        let error = match std::str::from_utf8(rest) {
            Ok(valid) => return text + valid,
            Err(error) => error,
        };
        let (valid, invalid) = rest.split_at(error.valid_up_to());
        text.push_str(std::str::from_utf8(valid).unwrap_or_default());
        text.push(char::REPLACEMENT_CHARACTER);
        let len = match invalid {
            [0xED, 0xA0..=0xBF, 0x80..=0xBF, ..] => 3,
            _ => error.error_len().unwrap_or(invalid.len()),
        };
        rest = &invalid[len..];
    }
}

/// A `str` of Python 2, which has no encoding: UTF-8 if it can be, else Latin-1, of which any bytes are text.
pub(super) fn python_2(bytes: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(bytes).map_or_else(|_| latin_1(bytes).into(), Cow::Borrowed)
}

pub(super) fn latin_1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// The bytes of a text of which every character is one byte in Latin-1.
pub(super) fn latin_1_bytes(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    text.chars().map(|c| u8::try_from(c).ok()).collect()
}

/// A text of protocol 0: Latin-1 with `\uXXXX` and `\UXXXXXXXX`. The result is UTF-8.
pub(super) fn unescape_unicode(line: &[u8]) -> Cow<'_, [u8]> {
    if line.is_ascii() && !line.contains(&b'\\') {
        return line.into();
    }
    let (mut text, mut rest) = (String::with_capacity(line.len()), line);
    while let Some((first, behind)) = rest.split_first() {
        let Some((code, len)) = unicode_escape(rest) else {
            text.push(char::from(*first));
            rest = behind;
            continue;
        };
        rest = &rest[len..];
        // Python 2 writes what is beyond 16 bits as a pair.
        let low =
            unicode_escape(rest).filter(|(low, _)| (0xD800..0xDC00).contains(&code) && (0xDC00..0xE000).contains(low));
        let code = match low {
            Some((low, len)) => {
                rest = &rest[len..];
                0x1_0000 + ((code - 0xD800) << 10) + (low - 0xDC00)
            }
            None => code,
        };
        text.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
    }
    text.into_bytes().into()
}

/// The code of the escape at the beginning of a text, and how long that is.
fn unicode_escape(text: &[u8]) -> Option<(u32, usize)> {
    let len = match text {
        [b'\\', b'u', ..] => 6,
        [b'\\', b'U', ..] => 10,
        _ => return None,
    };
    Some((hex(text.get(2..len)?)?, len))
}

fn hex(digits: &[u8]) -> Option<u32> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    digits.iter().try_fold(0, |code: u32, byte| Some(code << 4 | digit(byte)?))
}

/// A `str` of protocol 0: in quotes, with the escapes of Python's `repr`.
pub(super) fn unquote(line: &[u8]) -> Option<Cow<'_, [u8]>> {
    let line = line.trim_ascii_end();
    let (quote @ (b'\'' | b'"'), [quoted @ .., end]) = line.split_first()? else {
        return None;
    };
    if quote != end {
        return None;
    }
    if !quoted.contains(&b'\\') {
        return Some(quoted.into());
    }
    let (mut bytes, mut rest) = (Vec::with_capacity(quoted.len()), quoted);
    while let Some((first, behind)) = rest.split_first() {
        let (byte, len) = match (first, behind) {
            (b'\\', [b'x', digits @ ..]) => (u8::try_from(hex(digits.get(..2)?)?).ok()?, 4),
            (b'\\', [b'n', ..]) => (b'\n', 2),
            (b'\\', [b'r', ..]) => (b'\r', 2),
            (b'\\', [b't', ..]) => (b'\t', 2),
            (b'\\', [escaped @ (b'\\' | b'\'' | b'"'), ..]) => (*escaped, 2),
            _ => (*first, 1),
        };
        bytes.push(byte);
        rest = &rest[len..];
    }
    Some(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn surrogates_and_what_is_no_utf_8_become_one_sign_each() {
        let cases: [(&[u8], &str); 6] = [
            (b"plain", "plain"),
            ("Zoë 🦀".as_bytes(), "Zoë 🦀"),
            (b"a\xED\xB3\xA9b", "a\u{FFFD}b"),
            (b"\xED\xA0\xBD\xED\xB8\x80", "\u{FFFD}\u{FFFD}"),
            (b"a\xFFb\xC3", "a\u{FFFD}b\u{FFFD}"),
            (b"\xED\xA0", "\u{FFFD}\u{FFFD}"),
        ];
        for (bytes, text) in cases {
            assert_eq!(utf8(bytes), text, "{bytes:?}");
        }
    }

    #[test]
    fn a_str_of_python_2_is_utf_8_or_latin_1() {
        assert_eq!(python_2("Zoë".as_bytes()), "Zoë");
        assert_eq!(python_2(b"Zo\xEB"), "Zoë");
    }

    #[test]
    fn bytes_that_were_written_as_latin_1_are_bytes_again() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(latin_1_bytes(latin_1(&all).as_bytes()), Some(all));
        assert_eq!(latin_1_bytes("€".as_bytes()), None);
        assert_eq!(latin_1_bytes(b"\xFF"), None);
    }

    #[test]
    fn the_escapes_of_protocol_0_are_read() {
        let unicode: [(&[u8], &str); 6] = [
            (b"plain", "plain"),
            (b"Zo\xEB", "Zoë"),
            (b"\\u20ac \\u005c \\u000a", "€ \\ \n"),
            (b"\\U0001f980 \\ud83e\\udd80", "🦀 🦀"),
            (b"\\ud83e \\udd80", "\u{FFFD} \u{FFFD}"),
            (b"\\n \\u20 \\", "\\n \\u20 \\"),
        ];
        for (line, text) in unicode {
            assert_eq!(unescape_unicode(line), text.as_bytes(), "{line:?}");
        }
        let quoted: [(&[u8], Option<&[u8]>); 7] = [
            (b"'plain'", Some(b"plain")),
            (b"\"it's\" ", Some(b"it's")),
            (b"'\\\\ \\' \\n\\r\\t \\xff'", Some(b"\\ ' \n\r\t \xFF")),
            (b"'\\q'", Some(b"\\q")),
            (b"'", None),
            (b"'open", None),
            (b"'\\x1'", None),
        ];
        for (line, bytes) in quoted {
            assert_eq!(unquote(line).as_deref(), bytes, "{line:?}");
        }
    }
}
