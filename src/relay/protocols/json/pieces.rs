//! [`Pieces`]: a body cut into the texts of its records, also where one of them is no JSON.

use crate::relay::json::Reader;

/// The text of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::relay::protocols) enum Piece<'a> {
    /// One value.
    Json(&'a [u8]),
    /// What is no JSON.
    Other(&'a [u8]),
}

/// The pieces of a body. They lie in a list, or follow one another.
pub(in crate::relay::protocols) struct Pieces<'a> {
    text: &'a [u8],
    at: usize,
    in_list: bool,
    /// How many bytes may still be read in vain. It keeps a body of nothing but beginnings from being read once for each of them.
    vain: usize,
}

impl<'a> Pieces<'a> {
    pub(in crate::relay::protocols) fn new(text: &'a [u8]) -> Self {
        let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
        Self { text, at: 0, in_list: false, vain: 4 * text.len() }
    }

    /// The text from the next piece on; none if there is none.
    pub(in crate::relay::protocols) fn rest(&mut self) -> Option<&'a [u8]> {
        loop {
            match self.text.get(self.at)? {
                b' ' | b'\t' | b'\r' | b'\n' | b',' => self.at += 1,
                b'[' if !self.in_list => {
                    self.in_list = true;
                    self.at += 1;
                }
                b']' if self.in_list => {
                    self.in_list = false;
                    self.at += 1;
                }
                _ => return self.text.get(self.at..),
            }
        }
    }

    /// Where a value ends that is no JSON.
    fn end_of_other(&mut self, read: usize) -> usize {
        let rest = &self.text[self.at..];
        let Some(vain) = self.vain.checked_sub(read) else { return rest.len() };
        self.vain = vain;
        if self.in_list { end_of_element(rest) } else { end_of_line(rest) }
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        let rest = self.rest()?;
        let mut reader = Reader::new(rest);
        if let Ok(json) = reader.skip_value() {
            self.at += reader.position();
            return Some(Piece::Json(json));
        }
        let len = self.end_of_other(reader.position()).max(1);
        self.at += len;
        Some(Piece::Other(rest[..len].trim_ascii()))
    }
}

/// The end of the lines of a record: the next one begins with a bracket.
fn end_of_line(text: &[u8]) -> usize {
    let begins = |pair: &[u8]| pair[0] == b'\n' && matches!(pair[1], b'{' | b'[');
    text.windows(2).position(begins).unwrap_or(text.len())
}

/// The end of an element of a list: the comma or bracket behind it that is within neither brackets nor a string.
fn end_of_element(text: &[u8]) -> usize {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (at, byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => depth += 1,
            b',' | b']' if depth == 0 => return at,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pieces, with an exclamation mark before what is no JSON.
    fn pieces(text: &str) -> Vec<String> {
        let shown = |piece| match piece {
            Piece::Json(text) => String::from_utf8_lossy(text).into_owned(),
            Piece::Other(text) => format!("!{}", String::from_utf8_lossy(text)),
        };
        Pieces::new(text.as_bytes()).map(shown).collect()
    }

    #[test]
    fn a_body_is_cut_into_its_records() {
        let cases: &[(&str, &[&str])] = &[
            ("", &[]),
            ("[]", &[]),
            (r#" {"a": 1} "#, &[r#"{"a": 1}"#]),
            ("[{}, {\"a\":[1]}]\r\n", &["{}", "{\"a\":[1]}"]),
            ("{}{\"a\":1}\n{}\r\n\n[1,\"b\"]{}", &["{}", "{\"a\":1}", "{}", "1", "\"b\"", "{}"]),
            ("[[1],[2]]", &["[1]", "[2]"]),
            // A record that is no JSON, between others.
            ("[{},{a:[1,2]},{}]", &["{}", "!{a:[1,2]}", "{}"]),
            (r#"[{"a":"]"} x,{"b":"\"}"],{}]"#, &[r#"{"a":"]"}"#, "!x", r#"!{"b":"\"}"]"#, "{}"]),
            ("[nope, {}]", &["!nope", "{}"]),
            ("{\"a\": oh}\n{}", &["!{\"a\": oh}", "{}"]),
            ("{\n \"a\": oh,\n \"b\": {}\n}\n{}", &["!{\n \"a\": oh,\n \"b\": {}\n}", "{}"]),
            ("{\"a\": \"x}\n{\"b\": 1}", &["!{\"a\": \"x}", "{\"b\": 1}"]),
            ("{} tail", &["{}", "!tail"]),
            // A body that was cut.
            ("[{},{\"a\":", &["{}", "!{\"a\":"]),
            ("{}\n{\"a\":\"b", &["{}", "!{\"a\":\"b"]),
            ("]", &["!]"]),
            ("[}", &["!}"]),
        ];
        for (text, expected) in cases {
            assert_eq!(pieces(text), *expected, "{text}");
        }
    }

    #[test]
    fn a_body_of_beginnings_is_given_up_before_it_is_read_for_each_of_them() {
        let lines = 20_000;
        let text = "{\"a\":[\n".repeat(lines) + "}";
        assert!(pieces(&text).len() < 10);
        let text = format!("[{}]", "{\"a\":}},".repeat(lines));
        assert_eq!(pieces(&text).len(), lines);
    }

    proptest::proptest! {
        #[test]
        fn nothing_of_a_body_is_lost(text in r#"([\[\]{},:"\\ue0-9a.\n -]|null|\{\}|"[a-z]*")*"#) {
            let kept = |text: &str| text.chars().filter(|c| !matches!(c, ' ' | '\t' | '\r' | '\n' | ',' | '[' | ']')).count();
            let all: usize = Pieces::new(text.as_bytes()).map(|piece| {
                let (Piece::Json(text) | Piece::Other(text)) = piece;
                kept(&String::from_utf8_lossy(text))
            }).sum();
            proptest::prop_assert_eq!(all, kept(&text));
        }
    }
}
